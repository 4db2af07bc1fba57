//! The limits of the machine, for reports that say how close to them a kernel comes.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const limits = @import("../cpu/limits.zig");
const expectLength = @import("options.zig").expectLength;

/// Runs a probe on all threads for a while.
/// kind: 0 reading memory, 1 byte dot products, 2 f32 multiply-adds, 3 f32 additions
/// result = [median, best] in bytes (kind 0) or operations (a multiply-add is two) per nanosecond
pub fn probe(kind: u32, size_bytes: u64, duration_ms: u32, result: ?[*]f64, result_length: u32) callconv(.c) i32 {
    return abi.finish(measure(kind, size_bytes, duration_ms, result, result_length));
}

fn measure(kind: u32, size_bytes: u64, duration_ms: u32, result: ?[*]f64, result_length: u32) abi.Failure!void {
    const known = std.enums.fromInt(limits.Kind, kind) orelse
        return abi.fail(error.InvalidOption, "Expected a probe from 0 to 3, got {d}", .{kind});
    const rates = try abi.writable(f64, result, result_length, "the result");
    try expectLength("the result", rates.len, 2);
    const measured = try limits.measure(&(try dispatch.kernels()).probes, known, size_bytes, duration_ms);
    rates[0] = measured.median;
    rates[1] = measured.best;
}
