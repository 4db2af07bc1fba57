//! The codec `ternary`: -1, 0 or 1 for each gradient and a scale for each block.
//!
//!     [scale f32 x blocks][trits of block 0][trits of block 1] ...      gradients_trits.zig, 5 a byte
//!
//! Blocks are multiples of 320 gradients, whole chunks of 64 bytes. With m the mean magnitude of a block,
//! a gradient is kept as its sign where its magnitude is above
//!
//!     optimal    the best of eight multiples of m: the one with the largest (sum of the kept)^2 / count,
//!                which leaves the least squared error
//!     twn        0.7 m (Ternary Weight Networks, arXiv:1605.04711)
//!     absmean    m / 2, with m as the scale (the rule of tritter-accel's compress_ternary)
//!
//! and the scale of the first two is the mean of the kept magnitudes, which fits the trits best.
//!
//! Floor: one read of the gradients from memory; from the first cache they are read again for the eight
//! sums (three instructions each for 16 values) and for the trits.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("dispatch.zig");
const finite = @import("gradients_finite.zig");
const parallel = @import("parallel.zig");
const table = @import("table.zig");
const threads = @import("threads.zig");
const trits = @import("gradients_trits.zig");

pub const chunk = 320;
/// Keeps the counters of a lane, and the stack, small.
pub const block_max = chunk << 10;

pub const Method = enum(u32) { optimal, twn, absmean };

/// Multiples of the mean magnitude.
const multiples = [2][trits.candidates]f64{ .{ 0.5, 0.75, 1, 1.4 }, .{ 2, 3, 4.5, 7 } };

pub const Sizes = struct {
    count: usize,
    block: usize,
    blocks: usize,
    bytes: usize,

    pub fn init(count: usize, block: u32) abi.Failure!Sizes {
        if (block == 0 or block % chunk != 0 or block > block_max) return abi.fail(
            error.InvalidOption,
            "Expected blocks of a multiple of {d} gradients up to {d}, got {d}",
            .{ chunk, block_max, block },
        );
        const blocks = (count + block - 1) / block;
        return .{ .count = count, .block = block, .blocks = blocks, .bytes = 4 * blocks + trits.bytesOf(count) };
    }

    fn range(self: Sizes, index: usize) struct { usize, usize } {
        return .{ index * self.block, @min((index + 1) * self.block, self.count) };
    }
};

pub fn encode(sizes: Sizes, method: Method, gradients: []const f32, payload: []u8) abi.Failure!void {
    var job: Encode = .{
        .kernels = try dispatch.kernels(),
        .sizes = sizes,
        .method = method,
        .gradients = gradients,
        .payload = payload,
    };
    parallel.run(gradients.len * @sizeOf(f32), sizes.blocks, &job, Encode.work);
    if (job.bad.load(.monotonic)) return finite.refuse(gradients);
}

/// What is kept, and the scale of it.
const Choice = struct { above: f32, scale: f32 };

const Encode = struct {
    kernels: *const table.Kernels,
    sizes: Sizes,
    method: Method,
    gradients: []const f32,
    payload: []u8,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *Encode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.sizes.blocks, part, parts);
        const bytes = self.payload[4 * self.sizes.blocks ..];
        for (from..to) |index| {
            const start, const end = self.sizes.range(index);
            const values = self.gradients[start..end];
            const choice = self.choose(values) orelse return self.bad.store(true, .monotonic);
            self.payload[4 * index ..][0..4].* = @bitCast(choice.scale);
            self.packBlock(values, choice.above, bytes.ptr + start / 5);
        }
    }

    fn choose(self: *const Encode, values: []const f32) ?Choice {
        const sum = self.kernels.ternary.sum_magnitudes(values.ptr, values.len);
        if (!std.math.isFinite(sum)) return null;
        const mean = sum / @as(f64, @floatFromInt(values.len));
        return switch (self.method) {
            .absmean => .{ .above = @floatCast(mean / 2), .scale = @floatCast(mean) },
            .twn => self.kept(values, @floatCast(0.7 * mean)),
            .optimal => self.best(values, mean),
        };
    }

    fn kept(self: *const Encode, values: []const f32, above: f32) Choice {
        var found: @import("ternary_table.zig").Kept = undefined;
        self.kernels.ternary.sum_kept(values.ptr, values.len, above, &found);
        const scale = if (found.count == 0) 0 else found.magnitudes / @as(f64, @floatFromInt(found.count));
        return .{ .above = above, .scale = @floatCast(scale) };
    }

    fn best(self: *const Encode, values: []const f32, mean: f64) Choice {
        // Magnitudes over their mean have a bounded sum; the bound keeps tiny means from overflowing.
        const factor: f32 = @floatCast(@min(1 / mean, 0x1p100));
        const unit = mean * factor;
        var choice: Choice = .{ .above = 0, .scale = 0 };
        var most: f64 = 0;
        for (multiples) |group| {
            var limits: [trits.candidates]f32 = undefined;
            for (&limits, group) |*limit, multiple| limit.* = @floatCast(multiple * unit);
            var sums: [trits.candidates]f32 = undefined;
            var counts: [trits.candidates]u32 = undefined;
            self.kernels.gradients.sum_above(values.ptr, values.len, factor, &limits, &sums, &counts);
            for (limits, sums, counts) |limit, sum, count| {
                if (count == 0) continue;
                const scale = @as(f64, sum) / @as(f64, @floatFromInt(count));
                if (scale * sum <= most) continue;
                most = scale * sum;
                choice = .{ .above = @floatCast(@as(f64, limit) / factor), .scale = @floatCast(scale / factor) };
            }
        }
        return choice;
    }

    /// Through codes in the first cache, a few chunks at a time.
    fn packBlock(self: *const Encode, values: []const f32, above: f32, bytes: [*]u8) void {
        var codes: [4 * chunk]u8 = undefined;
        var i: usize = 0;
        while (i < values.len) : (i += codes.len) {
            const count = @min(values.len - i, codes.len);
            self.kernels.gradients.codes_above(values.ptr + i, count, above, &codes);
            self.kernels.gradients.pack_codes(&codes, count, bytes + i / 5);
        }
    }
};

pub fn decode(sizes: Sizes, payload: []const u8, gradients: []f32) abi.Failure!void {
    try finite.expectScales(payload[0 .. 4 * sizes.blocks]);
    var job: Decode = .{
        .kernels = try dispatch.kernels(),
        .sizes = sizes,
        .gradients = gradients,
        .payload = payload,
    };
    parallel.run(gradients.len * @sizeOf(f32), sizes.blocks, &job, Decode.work);
    if (job.bad.load(.monotonic)) return finite.refuseTrits();
}

const Decode = struct {
    kernels: *const table.Kernels,
    sizes: Sizes,
    gradients: []f32,
    payload: []const u8,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *Decode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.sizes.blocks, part, parts);
        const bytes = self.payload[4 * self.sizes.blocks ..];
        for (from..to) |index| {
            const start, const end = self.sizes.range(index);
            const scale: f32 = @bitCast(self.payload[4 * index ..][0..4].*);
            var codes: [4 * chunk]u8 = undefined;
            var i = start;
            while (i < end) : (i += codes.len) {
                const count = @min(end - i, codes.len);
                if (self.kernels.gradients.unpack_codes(bytes.ptr + i / 5, count, &codes) != 0)
                    return self.bad.store(true, .monotonic);
                self.kernels.gradients.scaled(&codes, count, scale, self.gradients.ptr + i);
            }
        }
    }
};
