//! The codec `ternary`: -1, 0 or 1 for each gradient and a scale for each block.
//!
//!     [scale f32 x blocks][trits of block 0][trits of block 1] ...      gradients_trits.zig, 5 a byte
//!
//! Blocks are multiples of 320 gradients, whole chunks of 64 bytes. With m the mean magnitude of a block,
//! a gradient is kept as its sign where its magnitude is above
//!
//!     optimal    the best of 16 multiples of m from 1/2 to 20: the one with the largest (sum of the
//!                kept)^2 / count, which leaves the least squared error
//!     twn        0.7 m (Ternary Weight Networks, arXiv:1605.04711)
//!     absmean    m / 2, with m as the scale (the rule of tritter-accel's compress_ternary)
//!
//! and the scale of the first two is the mean of the kept magnitudes, which fits the trits best.
//!
//! Floor: one read of the gradients from memory; from the first cache they are read again to be counted
//! by size, and for the trits.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("dispatch.zig");
const finite = @import("gradients_finite.zig");
const gradients_table = @import("gradients_table.zig");
const parallel = @import("parallel.zig");
const table = @import("table.zig");
const threads = @import("threads.zig");
const trits = @import("gradients_trits.zig");

pub const chunk = 320;
/// Keeps the counters of a lane, and the stack, small.
pub const block_max = chunk << 10;

pub const Method = enum(u32) { optimal, twn, absmean };

const edges = trits.edges;

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
            const scale = self.encodeBlock(self.gradients[start..end], bytes.ptr + start / 5) orelse
                return self.bad.store(true, .monotonic);
            self.payload[4 * index ..][0..4].* = @bitCast(scale);
        }
    }

    /// Packs the trits and returns their scale, or null where a gradient is not finite.
    fn encodeBlock(self: *const Encode, values: []const f32, bytes: [*]u8) ?f32 {
        const sum = self.kernels.ternary.sum_magnitudes(values.ptr, values.len);
        if (!std.math.isFinite(sum)) return null;
        const mean = sum / @as(f64, @floatFromInt(values.len));
        // Magnitudes over their mean have a bounded sum. A mean below the normal range has no inverse.
        const factor: f32 = @floatCast(@min(1 / mean, 0x1p126));
        const unit: f32 = @floatCast(mean * factor);
        const limit: f32 = switch (self.method) {
            .absmean => 0.5 * unit,
            .twn => 0.7 * unit,
            .optimal => if (mean < 0x1p-126) 0.7 * unit else self.best(values, factor),
        };
        const kept = self.pack(values, factor, limit, bytes);
        if (self.method == .absmean) return @floatCast(mean);
        return if (kept.count == 0) 0 else @floatCast(kept.magnitudes / @as(f64, @floatFromInt(kept.count)) / factor);
    }

    /// The edge of a class, above which lies the largest (sum of the kept)^2 / count; sums are those of
    /// counts times the middles of their classes.
    fn best(self: *const Encode, values: []const f32, factor: f32) f32 {
        var counts: [edges.len]u64 = @splat(0);
        var i: usize = 0;
        while (i < values.len) : (i += trits.classes_max) {
            var some: [edges.len]u32 = undefined;
            self.kernels.gradients.classes(values.ptr + i, @min(values.len - i, trits.classes_max), factor, &some);
            for (&counts, some) |*count, number| count.* += number;
        }
        var limit = edges[0];
        var most: f64 = 0;
        var sum: f64 = 0;
        var above: u64 = 0;
        for (0..edges.len) |back| {
            const j = edges.len - 1 - back;
            const upper = if (back == 0) 2 * edges[j] else edges[j + 1];
            sum += @as(f64, @floatFromInt(counts[j] - above)) * (edges[j] + upper) / 2;
            above = counts[j];
            if (above == 0 or sum * sum / @as(f64, @floatFromInt(above)) <= most) continue;
            most = sum * sum / @as(f64, @floatFromInt(above));
            limit = edges[j];
        }
        // Just below the edge, which belongs to the class.
        return std.math.nextAfter(f32, limit, 0);
    }

    /// Through codes in the first cache, a few chunks at a time.
    fn pack(self: *const Encode, values: []const f32, factor: f32, limit: f32, bytes: [*]u8) Kept {
        var codes: [4 * chunk]u8 = undefined;
        var total: Kept = .{ .magnitudes = 0, .count = 0 };
        var i: usize = 0;
        while (i < values.len) : (i += codes.len) {
            const count = @min(values.len - i, codes.len);
            var kept: gradients_table.Kept = undefined;
            self.kernels.gradients.keep(values.ptr + i, count, factor, limit, &codes, &kept);
            self.kernels.gradients.pack_codes(&codes, count, bytes + i / 5);
            total.magnitudes += kept.magnitudes;
            total.count += kept.count;
        }
        return total;
    }
};

const Kept = struct { magnitudes: f64, count: u64 };

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
