//! What codecs do about NaN and infinities: they name the first one.

const std = @import("std");
const abi = @import("../abi.zig");
const firstNotFinite = @import("finite.zig").firstNotFinite;
const firstNotFiniteIn = @import("finite.zig").firstNotFiniteIn;

/// For gradients among which a kernel has met one that is not finite.
pub fn refuse(gradients: []const f32) abi.Failure {
    const index = firstNotFinite(gradients) orelse 0;
    return abi.fail(error.InvalidValue, "Expected finite gradients, got {d} at index {d}", .{ gradients[index], index });
}

/// The f32 of a payload, which may lie at any byte.
fn expectFinite(name: []const u8, bytes: []const u8) abi.Failure!void {
    const index = firstNotFiniteIn(.f32, bytes) orelse return;
    const value: f32 = @bitCast(bytes[4 * index ..][0..4].*);
    return abi.fail(error.InvalidFormat, "Expected finite {s}, got {d} at index {d}", .{ name, value, index });
}

pub fn expectScales(bytes: []const u8) abi.Failure!void {
    return expectFinite("scales", bytes);
}

pub fn expectSamples(bytes: []const u8) abi.Failure!void {
    return expectFinite("samples", bytes);
}

pub fn refuseTrits() abi.Failure {
    return abi.fail(error.InvalidFormat, "Expected bytes of at most 242 and zeros after the last trit, got others", .{});
}
