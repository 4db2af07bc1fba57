//! The codec `projection`: a linear sketch of k numbers that can be added to those of others.
//!
//!     [sample f32 x k]
//!
//! A subsampled randomised Hadamard transform: blocks of up to 4096 gradients (exact ones, see
//! gradients_blocks.zig) get random signs and an orthonormal Hadamard transform, and k of the results
//! are kept (gradients_samples.zig). Back come L times the samples, 0 elsewhere, through the reverse:
//! unbiased over the seeds, with a cosine of about sqrt(k / n) whatever the gradients are.
//!
//! `dense` is the projection by a matrix of -1, 0 and 1 that this takes the place of: n k random numbers.
//!
//! Floor: one read of the gradients, a transform in the first cache, and the samples.

const std = @import("std");
const abi = @import("../abi.zig");
const Block = @import("gradients_blocks.zig").Block;
const Blocks = @import("gradients_blocks.zig").Blocks;
const dispatch = @import("dispatch.zig");
const finite = @import("gradients_finite.zig");
const Flipped = @import("gradients_table.zig").Flipped;
const Kernels = @import("gradients_table.zig").Kernels;
const memory = @import("../memory.zig");
const parallel = @import("parallel.zig");
const size_max = @import("gradients_hadamard.zig").size_max;
const threads = @import("threads.zig");

const infinity_bits = 0x7f80_0000;

/// 1 / sqrt(size) for a power of two.
pub fn norm(size: usize) f32 {
    const digits = std.math.log2_int(usize, size);
    const whole = 1 / @as(f32, @floatFromInt(@as(u32, 1) << @intCast(digits / 2)));
    return if (digits % 2 == 0) whole else whole * std.math.sqrt1_2;
}

pub fn encode(seed: u64, factor: f32, gradients: []const f32, samples: []align(1) f32) abi.Failure!void {
    const blocks: Blocks = .init(gradients.len, .exact);
    var job: Encode = .{
        .kernels = &(try dispatch.kernels()).gradients,
        .blocks = &blocks,
        .seed = seed,
        .factor = factor,
        .gradients = gradients,
        .samples = samples,
    };
    parallel.run(gradients.len * @sizeOf(f32), blocks.len, &job, Encode.work);
    if (job.bad.load(.monotonic)) return finite.refuse(gradients);
    if (job.large.load(.monotonic)) return refuseLarge();
}

pub fn refuseLarge() abi.Failure {
    return abi.fail(error.InvalidValue, "Expected gradients whose sums f32 can hold, got larger ones", .{});
}

const Encode = struct {
    kernels: *const Kernels,
    blocks: *const Blocks,
    seed: u64,
    factor: f32,
    gradients: []const f32,
    samples: []align(1) f32,
    bad: std.atomic.Value(bool) = .init(false),
    large: std.atomic.Value(bool) = .init(false),

    fn work(self: *Encode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.blocks.len, part, parts);
        var values: [size_max]f32 align(64) = undefined;
        for (from..to) |index| {
            const block = self.blocks.at(index);
            var flipped: Flipped = undefined;
            self.kernels.flip(self.gradients.ptr + block.start, block.count, block.size, index, self.seed, self.factor * norm(block.size), &values, &flipped);
            if (flipped.largest >= infinity_bits) return self.bad.store(true, .monotonic);
            self.kernels.hadamard(&values, block.size);
            const largest = self.kernels.gather(&values, block.place, block.place + block.size, self.blocks.places, self.samples.len, self.seed, self.samples.ptr);
            if (largest >= infinity_bits) self.large.store(true, .monotonic);
        }
    }
};

pub fn decode(seed: u64, weighted: bool, samples: []align(1) const f32, gradients: []f32) abi.Failure!void {
    const blocks: Blocks = .init(gradients.len, .exact);
    const job: Decode = .{
        .kernels = &(try dispatch.kernels()).gradients,
        .blocks = &blocks,
        .seed = seed,
        .weighted = weighted,
        .gradients = gradients,
        .samples = samples,
    };
    parallel.run(gradients.len * @sizeOf(f32), blocks.len, &job, Decode.work);
}

const Decode = struct {
    kernels: *const Kernels,
    blocks: *const Blocks,
    seed: u64,
    weighted: bool,
    gradients: []f32,
    samples: []align(1) const f32,

    fn work(self: *const Decode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.blocks.len, part, parts);
        var values: [size_max]f32 align(64) = undefined;
        for (from..to) |index| {
            const block = self.blocks.at(index);
            @memset(values[0..block.size], 0);
            self.kernels.scatter(self.samples.ptr, block.place, block.place + block.size, self.blocks.places, self.samples.len, self.seed, @intFromBool(self.weighted), &values);
            self.kernels.hadamard(&values, block.size);
            self.kernels.unflip(&values, block.count, index, self.seed, norm(block.size), self.gradients.ptr + block.start);
        }
    }
};

/// Columns that one part of a dense projection adds up.
const columns = 1024;

pub fn encodeDense(seed: u64, factor: f32, gradients: []const f32, samples: []align(1) f32) abi.Failure!void {
    if (@import("finite.zig").firstNotFinite(gradients) != null) return finite.refuse(gradients);
    var job: EncodeDense = .{
        .kernels = &(try dispatch.kernels()).gradients,
        .seed = seed,
        .factor = factor,
        .gradients = gradients,
        .samples = samples,
    };
    const units = (samples.len + columns - 1) / columns;
    parallel.run(gradients.len * samples.len, units, &job, EncodeDense.work);
    if (job.large.load(.monotonic)) return refuseLarge();
}

const EncodeDense = struct {
    kernels: *const Kernels,
    seed: u64,
    factor: f32,
    gradients: []const f32,
    samples: []align(1) f32,
    large: std.atomic.Value(bool) = .init(false),

    fn work(self: *EncodeDense, part: u32, parts: u32) void {
        const from, const to = threads.share((self.samples.len + columns - 1) / columns, part, parts);
        var sums: [columns]f32 align(64) = undefined;
        for (from..to) |unit| {
            const first = unit * columns;
            const end = @min(first + columns, self.samples.len);
            self.kernels.project(self.gradients.ptr, self.gradients.len, first, end, self.seed, self.factor, &sums);
            for (self.samples[first..end], sums[0 .. end - first]) |*sample, sum| {
                if (!std.math.isFinite(sum)) self.large.store(true, .monotonic);
                sample.* = sum;
            }
        }
    }
};

/// Back through the transpose, times `factor`.
pub fn decodeDense(seed: u64, factor: f32, samples: []align(1) const f32, gradients: []f32) abi.Failure!void {
    const padded = try memory.alloc(f32, (samples.len + 63) / 64 * 64);
    defer memory.free(f32, padded);
    @memset(padded[samples.len..], 0);
    @memcpy(padded[0..samples.len], samples);
    const job: DecodeDense = .{
        .kernels = &(try dispatch.kernels()).gradients,
        .seed = seed,
        .factor = factor,
        .samples = padded,
        .count = samples.len,
        .gradients = gradients,
    };
    parallel.run(gradients.len * samples.len, gradients.len, &job, DecodeDense.work);
}

const DecodeDense = struct {
    kernels: *const Kernels,
    seed: u64,
    factor: f32,
    samples: []align(64) const f32,
    count: usize,
    gradients: []f32,

    fn work(self: *const DecodeDense, part: u32, parts: u32) void {
        const from, const to = threads.share(self.gradients.len, part, parts);
        for (self.gradients[from..to], from..) |*gradient, row|
            gradient.* = self.factor * self.kernels.expand(self.samples.ptr, self.count, row, self.seed);
    }
};
