//! Exports for sums over stored gradients: linear combinations, their distance from the truth, and
//! ternary accumulation.

const std = @import("std");
const abi = @import("../abi.zig");
const accumulation = @import("../cpu/accumulation.zig");
const block_sums = @import("../cpu/block_sums.zig");
const dispatch = @import("../cpu/dispatch.zig");
const parallel = @import("../cpu/parallel.zig");
const precision_table = @import("../cpu/precision_table.zig");
const table = @import("../cpu/table.zig");
const threads = @import("../cpu/threads.zig");
const expectLength = @import("options.zig").expectLength;

/// Sources of one combination.
const sources_max = 4096;

/// One or two linear combinations of arrays of `size` elements that lie one after the other:
/// out[o][i] = sum over s of coefficients[o][s] * sources[s][i]. A single output may be a source.
pub fn gradients_combine(
    sources: ?[*]const f32,
    sources_length: u32,
    coefficients: ?[*]const f64,
    coefficients_length: u32,
    out: ?[*]f32,
    out_length: u32,
    size: u32,
) callconv(.c) i32 {
    return abi.finish(combine(
        abi.readable(f32, sources, sources_length, "sources"),
        abi.readable(f64, coefficients, coefficients_length, "coefficients"),
        abi.writable(f32, out, out_length, "out"),
        size,
    ));
}

/// The prediction p is such a combination: sums = [(a - p)^2, a^2, p^2, a p], each over all elements.
pub fn gradients_compare(
    sources: ?[*]const f32,
    sources_length: u32,
    coefficients: ?[*]const f64,
    coefficients_length: u32,
    actual: ?[*]const f32,
    actual_length: u32,
    sums: ?[*]f64,
    sums_length: u32,
) callconv(.c) i32 {
    return abi.finish(compare(
        abi.readable(f32, sources, sources_length, "sources"),
        abi.readable(f64, coefficients, coefficients_length, "coefficients"),
        abi.readable(f32, actual, actual_length, "actual"),
        abi.writable(f64, sums, sums_length, "sums"),
    ));
}

/// Rounds values to trits, 4 a byte, and their scale. With `threshold` at least 0 a trit is the sign
/// of what is larger than threshold x mean|x|, and the scale is the mean of these; with -1 it is the
/// sign with probability |x| / max|x|, drawn by seed and row, and the scale is max|x|.
pub fn ternary_round(
    values: ?[*]const f32,
    values_length: u32,
    bytes: ?[*]u8,
    bytes_length: u32,
    scale: ?[*]f32,
    scale_length: u32,
    threshold: f64,
    seed: u64,
    row: u64,
) callconv(.c) i32 {
    return abi.finish(ternaryRound(
        abi.readable(f32, values, values_length, "values"),
        abi.writable(u8, bytes, bytes_length, "bytes"),
        abi.writable(f32, scale, scale_length, "scale"),
        threshold,
        seed,
        row,
    ));
}

/// The mean of arrays of trits, 4 a byte, one after the other: out = sum of scale x trit / count.
pub fn ternary_mean(
    bytes: ?[*]const u8,
    bytes_length: u32,
    scales: ?[*]const f32,
    scales_length: u32,
    out: ?[*]f32,
    out_length: u32,
) callconv(.c) i32 {
    return abi.finish(ternaryMean(
        abi.readable(u8, bytes, bytes_length, "bytes"),
        abi.readable(f32, scales, scales_length, "scales"),
        abi.writable(f32, out, out_length, "out"),
    ));
}

/// A combination whose lengths fit each other.
fn jobOf(sources: []const f32, coefficients: []const f64, out: []f32, size: usize, outputs: usize) abi.Failure!precision_table.Combine {
    if (size == 0 or sources.len == 0 or sources.len % size != 0) return abi.fail(
        error.InvalidLength,
        "Expected whole sources of {d} elements, got {d} elements",
        .{ size, sources.len },
    );
    const count = sources.len / size;
    if (count > sources_max)
        return abi.fail(error.InvalidLength, "Expected at most {d} sources, got {d}", .{ sources_max, count });
    try expectLength("coefficients", coefficients.len, count * outputs);
    for (coefficients, 0..) |coefficient, index| if (!std.math.isFinite(coefficient)) return abi.fail(
        error.InvalidValue,
        "Expected finite coefficients, got {d} at index {d}",
        .{ coefficient, index },
    );
    return .{
        .sources = sources.ptr,
        .stride = size,
        .coefficients = coefficients.ptr,
        .out = out.ptr,
        .out_stride = size,
        .sources_count = @intCast(count),
        .outputs = @intCast(outputs),
    };
}

fn combine(
    sources_result: abi.Failure![]const f32,
    coefficients_result: abi.Failure![]const f64,
    out_result: abi.Failure![]f32,
    size: u32,
) abi.Failure!void {
    const sources = try sources_result;
    const coefficients = try coefficients_result;
    const out = try out_result;
    if (size == 0 or (out.len != size and out.len != 2 * @as(u64, size))) return abi.fail(
        error.InvalidLength,
        "Expected one or two outputs of {d} elements, got {d} elements",
        .{ size, out.len },
    );
    const Job = struct {
        kernels: *const table.Kernels,
        combine: precision_table.Combine,

        fn work(self: @This(), index: u32, count: u32) void {
            const from, const to = threads.share(self.combine.stride, index, count);
            self.kernels.precision.combine(&self.combine, from, to);
        }
    };
    const job: Job = .{
        .kernels = try dispatch.kernels(),
        .combine = try jobOf(sources, coefficients, out, size, out.len / size),
    };
    if (abi.overlap(coefficients, out) or (abi.overlap(sources, out) and !isSource(sources, out, size))) return abi.fail(
        error.InvalidValue,
        "Expected an output in separate memory, or one that is a source, got overlapping buffers",
        .{},
    );
    parallel.run((sources.len + out.len) * @sizeOf(f32), size, job, Job.work);
}

/// An element of the output is written after that of every source was read, if they stand together.
fn isSource(sources: []const f32, out: []const f32, size: usize) bool {
    const start = @intFromPtr(out.ptr);
    const first = @intFromPtr(sources.ptr);
    return out.len == size and start >= first and (start - first) % (size * @sizeOf(f32)) == 0;
}

fn compare(
    sources_result: abi.Failure![]const f32,
    coefficients_result: abi.Failure![]const f64,
    actual_result: abi.Failure![]const f32,
    sums_result: abi.Failure![]f64,
) abi.Failure!void {
    const sources = try sources_result;
    const coefficients = try coefficients_result;
    const actual = try actual_result;
    const sums = try sums_result;
    try expectLength("sums", sums.len, 4);
    const Job = struct {
        kernels: *const table.Kernels,
        combine: precision_table.Combine,
        actual: []const f32,

        fn block(self: @This(), from: usize, to: usize) precision_table.Compared {
            var found: precision_table.Compared = @splat(0);
            self.kernels.precision.compare(&self.combine, self.actual.ptr, from, to, &found);
            return found;
        }
    };
    const job: Job = .{
        .kernels = try dispatch.kernels(),
        .combine = try jobOf(sources, coefficients, &.{}, actual.len, 1),
        .actual = actual,
    };
    const bytes_per_element = (job.combine.sources_count + 1) * @sizeOf(f32);
    sums[0..4].* = try block_sums.of(4, actual.len, bytes_per_element, job, Job.block);
}

fn ternaryRound(
    values_result: abi.Failure![]const f32,
    bytes_result: abi.Failure![]u8,
    scale_result: abi.Failure![]f32,
    threshold: f64,
    seed: u64,
    row: u64,
) abi.Failure!void {
    const values = try values_result;
    const bytes = try bytes_result;
    const scale = try scale_result;
    if (values.len == 0) return abi.fail(error.InvalidLength, "Expected values to hold at least 1 element, got 0", .{});
    try expectLength("bytes", bytes.len, accumulation.bytesOf(values.len));
    try expectLength("scale", scale.len, 1);
    if (abi.overlap(values, bytes) or abi.overlap(values, scale) or abi.overlap(bytes, scale))
        return abi.fail(error.InvalidValue, "Expected trits and scale in memory of their own, got overlapping buffers", .{});
    const rounding: accumulation.Rounding = if (threshold == -1)
        .{ .random = .{ .seed = seed, .row = row } }
    else if (threshold >= 0 and std.math.isFinite(threshold))
        .{ .threshold = threshold }
    else
        return abi.fail(error.InvalidOption, "Expected a threshold of at least 0, or -1, got {d}", .{threshold});
    scale[0] = try accumulation.round(try dispatch.kernels(), values, bytes, rounding);
}

fn ternaryMean(
    bytes_result: abi.Failure![]const u8,
    scales_result: abi.Failure![]const f32,
    out_result: abi.Failure![]f32,
) abi.Failure!void {
    const bytes = try bytes_result;
    const scales = try scales_result;
    const out = try out_result;
    if (out.len == 0) return abi.fail(error.InvalidLength, "Expected out to hold at least 1 element, got 0", .{});
    if (scales.len == 0 or scales.len > accumulation.rows_max) return abi.fail(
        error.InvalidLength,
        "Expected 1 to {d} arrays of trits, got {d}",
        .{ accumulation.rows_max, scales.len },
    );
    try expectLength("bytes", bytes.len, accumulation.bytesOf(out.len) * @as(u64, scales.len));
    if (abi.overlap(out, bytes) or abi.overlap(out, scales))
        return abi.fail(error.InvalidValue, "Expected out in separate memory, got overlapping buffers", .{});
    return accumulation.mean(try dispatch.kernels(), bytes, scales, out);
}
