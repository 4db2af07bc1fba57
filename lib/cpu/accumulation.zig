//! Gradients of micro-batches as trits: what is kept of each is 2 bits an element and one scale, and
//! their mean is taken at the end, each with its own scale.
//!
//!     row r: [trits of elements 0..3][4..7] ... as in the wire format, whole bytes; scale r
//!     mean:  sum over r of scale r * trit r / rows, in f64 and in the order of the rows

const std = @import("std");
const abi = @import("../abi.zig");
const block_sums = @import("block_sums.zig");
const firstNotFinite = @import("finite.zig").firstNotFinite;
const parallel = @import("parallel.zig");
const precision_table = @import("precision_table.zig");
const table = @import("table.zig");
const threads = @import("threads.zig");
const Kept = @import("ternary_table.zig").Kept;
const magnitudes = @import("magnitudes.zig");

/// Micro-batches that can be averaged.
pub const rows_max = 256;

/// Elements that are unpacked together: rows_max of them fit the stack of a thread.
const chunk = 256;

pub fn bytesOf(elements: usize) usize {
    return (elements + 3) / 4;
}

pub const Rounding = union(enum) {
    /// Relative to the mean of the magnitudes.
    threshold: f64,
    random: struct { seed: u64, row: u64 },
};

const Values = struct {
    kernels: *const table.Kernels,
    values: []const f32,
    above: f32 = 0,

    fn magnitudesOf(self: Values, from: usize, to: usize) [1]f64 {
        return .{self.kernels.ternary.sum_magnitudes(self.values.ptr + from, to - from)};
    }

    /// Of what is above the threshold, the sum of the magnitudes and the number.
    fn keptOf(self: Values, from: usize, to: usize) [2]f64 {
        var kept: Kept = undefined;
        self.kernels.ternary.sum_kept(self.values.ptr + from, to - from, self.above, &kept);
        return .{ kept.magnitudes, @floatFromInt(kept.count) };
    }
};

/// Rounds to trits and returns their scale; 0 where all are 0.
pub fn round(kernels: *const table.Kernels, values: []const f32, bytes: []u8, rounding: Rounding) abi.Failure!f32 {
    return switch (rounding) {
        .threshold => |relative| roundAbove(kernels, values, bytes, relative),
        .random => blk: {
            const bits = largest(kernels, values);
            if (bits >= magnitudes.infinity_bits) return notFinite(values);
            const job: Pack = .{
                .kernels = kernels,
                .values = values,
                .bytes = bytes,
                .scale = @bitCast(bits),
                .rounding = rounding,
            };
            // A pass that computes: a random number costs more than the bytes it decides.
            parallel.run(16 * values.len, unitsOf(values.len), job, Pack.work);
            break :blk job.scale;
        },
    };
}

fn roundAbove(kernels: *const table.Kernels, values: []const f32, bytes: []u8, relative: f64) abi.Failure!f32 {
    var input: Values = .{ .kernels = kernels, .values = values };
    const count: f64 = @floatFromInt(values.len);
    const total = (try block_sums.of(1, values.len, @sizeOf(f32), input, Values.magnitudesOf))[0];
    if (!std.math.isFinite(total)) return notFinite(values);
    input.above = @floatCast(@min(relative * total / count, std.math.floatMax(f32)));
    const kept = try block_sums.of(2, values.len, @sizeOf(f32), input, Values.keptOf);
    const job: Pack = .{
        .kernels = kernels,
        .values = values,
        .bytes = bytes,
        .scale = input.above,
        .rounding = .{ .threshold = relative },
    };
    parallel.run(5 * values.len, unitsOf(values.len), job, Pack.work);
    return if (kept[1] == 0) 0 else @floatCast(kept[0] / kept[1]);
}

fn notFinite(values: []const f32) abi.Failure {
    const index = firstNotFinite(values) orelse 0;
    return abi.fail(error.InvalidValue, "Expected finite gradients, got {d} at index {d}", .{ values[index], index });
}

/// Elements that a part begins with are a multiple of this: whole bytes, and whole random numbers.
const unit = 64;

fn unitsOf(elements: usize) usize {
    return (elements + unit - 1) / unit;
}

const Pack = struct {
    kernels: *const table.Kernels,
    values: []const f32,
    bytes: []u8,
    /// The largest magnitude, or the threshold.
    scale: f32,
    rounding: Rounding,

    fn work(self: Pack, index: u32, count: u32) void {
        const first, const last = threads.share(unitsOf(self.values.len), index, count);
        const from = first * unit;
        const to = @min(last * unit, self.values.len);
        switch (self.rounding) {
            .threshold => self.kernels.ternary.pack_above(self.values.ptr + from, to - from, self.scale, self.bytes.ptr + from / 4),
            .random => |numbers| self.kernels.precision.pack_random(
                self.values.ptr,
                self.scale,
                numbers.row,
                numbers.seed,
                self.bytes.ptr,
                from,
                to,
            ),
        }
    }
};

const Largest = struct {
    kernels: *const table.Kernels,
    values: []const f32,
    bits: std.atomic.Value(u32) = .init(0),

    fn work(self: *Largest, index: u32, count: u32) void {
        const from, const to = threads.share(self.values.len, index, count);
        _ = self.bits.fetchMax(self.kernels.ternary.largest(self.values.ptr + from, to - from), .monotonic);
    }
};

/// The bits of the largest magnitude.
fn largest(kernels: *const table.Kernels, values: []const f32) u32 {
    var job: Largest = .{ .kernels = kernels, .values = values };
    parallel.run(4 * values.len, unitsOf(values.len), &job, Largest.work);
    return job.bits.load(.monotonic);
}

const Mean = struct {
    kernels: *const table.Kernels,
    bytes: []const u8,
    coefficients: []const f64,
    out: []f32,
    bad: std.atomic.Value(u32) = .init(0),

    fn work(self: *Mean, index: u32, count: u32) void {
        const rows = self.coefficients.len;
        const row_bytes = bytesOf(self.out.len);
        var trits: [rows_max * chunk]f32 = undefined;
        const first, const last = threads.share((self.out.len + chunk - 1) / chunk, index, count);
        for (first..last) |block| {
            const from = block * chunk;
            const size = @min(chunk, self.out.len - from);
            var bad: u32 = 0;
            for (0..rows) |row| {
                const source = self.bytes.ptr + row * row_bytes + from / 4;
                bad |= self.kernels.ternary.unpack_f32(source, size, 1, trits[row * chunk ..].ptr);
            }
            if (bad != 0) self.bad.store(1, .monotonic);
            const job: precision_table.Combine = .{
                .sources = &trits,
                .stride = chunk,
                .coefficients = self.coefficients.ptr,
                .out = self.out.ptr + from,
                .out_stride = chunk,
                .sources_count = @intCast(rows),
                .outputs = 1,
            };
            self.kernels.precision.combine(&job, 0, size);
        }
    }
};

pub fn mean(kernels: *const table.Kernels, bytes: []const u8, scales: []const f32, out: []f32) abi.Failure!void {
    var coefficients: [rows_max]f64 = undefined;
    const rows: f64 = @floatFromInt(scales.len);
    for (scales, coefficients[0..scales.len]) |scale, *coefficient| coefficient.* = scale / rows;
    var job: Mean = .{ .kernels = kernels, .bytes = bytes, .coefficients = coefficients[0..scales.len], .out = out };
    parallel.run((bytes.len + out.len * @sizeOf(f32)) * 4, (out.len + chunk - 1) / chunk, &job, Mean.work);
    if (job.bad.load(.monotonic) != 0)
        return abi.fail(error.InvalidFormat, "Expected trits of -1, 0 and 1, got the code 11", .{});
}
