//! The codec `sign`: one bit a gradient, and the mean magnitude of each block as its scale, which is
//! the scale of least squared error.
//!
//!     [scale f32 x blocks][signs of the gradients, a bit each]
//!
//! Floor: one read of the gradients; some come from memory for the sum of their magnitudes, and from the
//! first cache for their signs.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("dispatch.zig");
const finite = @import("gradients_finite.zig");
const parallel = @import("parallel.zig");
const table = @import("table.zig");
const threads = @import("threads.zig");

/// Gradients that are summed and whose signs are taken before the next ones: so few that the memory
/// never waits.
const step = 512;

pub const Sizes = struct {
    count: usize,
    block: usize,
    blocks: usize,
    bytes: usize,

    pub fn init(count: usize, block: u32) abi.Failure!Sizes {
        if (block == 0 or block % 64 != 0)
            return abi.fail(error.InvalidOption, "Expected blocks of a multiple of 64 gradients, got {d}", .{block});
        const blocks = (count + block - 1) / block;
        return .{ .count = count, .block = block, .blocks = blocks, .bytes = 4 * blocks + (count + 7) / 8 };
    }

    fn range(self: Sizes, index: usize) struct { usize, usize } {
        return .{ index * self.block, @min((index + 1) * self.block, self.count) };
    }
};

pub fn encode(sizes: Sizes, gradients: []const f32, payload: []u8) abi.Failure!void {
    var job: Encode = .{ .kernels = try dispatch.kernels(), .sizes = sizes, .gradients = gradients, .payload = payload };
    parallel.run(gradients.len * @sizeOf(f32), sizes.blocks, &job, Encode.work);
    if (job.bad.load(.monotonic)) return finite.refuse(gradients);
}

const Encode = struct {
    kernels: *const table.Kernels,
    sizes: Sizes,
    gradients: []const f32,
    payload: []u8,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *Encode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.sizes.blocks, part, parts);
        const bits = self.payload[4 * self.sizes.blocks ..];
        for (from..to) |index| {
            const start, const end = self.sizes.range(index);
            var sum: f64 = 0;
            var i = start;
            while (i < end) : (i += step) {
                const count = @min(end - i, step);
                sum += self.kernels.ternary.sum_magnitudes(self.gradients.ptr + i, count);
                self.kernels.gradients.sign_bits(self.gradients.ptr + i, count, bits.ptr + i / 8);
            }
            if (!std.math.isFinite(sum)) return self.bad.store(true, .monotonic);
            const scale: f32 = @floatCast(sum / @as(f64, @floatFromInt(end - start)));
            self.payload[4 * index ..][0..4].* = @bitCast(scale);
        }
    }
};

pub fn decode(sizes: Sizes, payload: []const u8, gradients: []f32) abi.Failure!void {
    try finite.expectScales(payload[0 .. 4 * sizes.blocks]);
    var job: Decode = .{ .kernels = try dispatch.kernels(), .sizes = sizes, .gradients = gradients, .payload = payload };
    parallel.run(gradients.len * @sizeOf(f32), sizes.blocks, &job, Decode.work);
}

const Decode = struct {
    kernels: *const table.Kernels,
    sizes: Sizes,
    gradients: []f32,
    payload: []const u8,

    fn work(self: *Decode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.sizes.blocks, part, parts);
        const bits = self.payload[4 * self.sizes.blocks ..];
        for (from..to) |index| {
            const start, const end = self.sizes.range(index);
            const scale: f32 = @bitCast(self.payload[4 * index ..][0..4].*);
            self.kernels.gradients.signed(bits.ptr + start / 8, end - start, scale, self.gradients.ptr + start);
        }
    }
};
