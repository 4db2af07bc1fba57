//! The codec `rotated`: blocks of up to 4096 gradients get random signs, a Hadamard transform, which
//! makes a sum of many of each value and so close to normal, and the nearest of a few levels.
//!
//!     [scale f32 x blocks][codes of block 0][codes of block 1] ...
//!
//! Blocks are padded (gradients_blocks.zig); codes are as in gradients_levels.zig, 3 levels five a byte.
//! The scale is |y|^2 / <y, levels(y)>, that of EDEN and DRIVE: with it what comes back is unbiased
//! over the signs. It is kept times 2^ceil(log2(size) / 2) / size, to be about the size of a gradient.
//!
//! Floor: see gradients_hadamard.zig, gradients_rotate.zig and gradients_levels.zig: some 30 vector
//! instructions for 16 values with 4 levels, all in the first cache, and one read of the gradients.

const std = @import("std");
const abi = @import("../abi.zig");
const blocks_of = @import("gradients_blocks.zig");
const dispatch = @import("dispatch.zig");
const finite = @import("gradients_finite.zig");
const gradients_table = @import("gradients_table.zig");
const parallel = @import("parallel.zig");
const size_max = @import("gradients_hadamard.zig").size_max;
const threads = @import("threads.zig");
const trits = @import("gradients_trits.zig");

const Block = blocks_of.Block;
const Blocks = blocks_of.Blocks;
const Kernels = gradients_table.Kernels;

pub const Layout = struct {
    blocks: Blocks,
    levels: u32,
    bytes: usize,

    pub fn init(count: usize, levels: u32) abi.Failure!Layout {
        switch (levels) {
            2, 3, 4, 8, 16 => {},
            else => return abi.fail(error.InvalidOption, "Expected 2, 3, 4, 8 or 16 levels, got {d}", .{levels}),
        }
        var layout: Layout = .{ .blocks = .init(count, .padded), .levels = levels, .bytes = 0 };
        layout.bytes = 4 * layout.blocks.len + layout.codesBefore(layout.blocks.len);
        return layout;
    }

    /// Bytes that the codes of the first `index` blocks take.
    fn codesBefore(self: *const Layout, index: usize) usize {
        const full = @min(index, self.blocks.full);
        var bytes = full * self.codeBytes(size_max);
        for (full..index) |later| bytes += self.codeBytes(self.blocks.at(later).size);
        return bytes;
    }

    fn codeBytes(self: *const Layout, size: usize) usize {
        return if (self.levels == 3) trits.bytesOf(size) else size / 8 * std.math.log2_int(u32, self.levels);
    }

    /// Where the codes of a block stand in a payload.
    pub fn codes(self: *const Layout, block: usize) usize {
        return 4 * self.blocks.len + self.codesBefore(block);
    }

    fn kernels(self: *const Layout, all: *const Kernels) gradients_table.Levels {
        return switch (self.levels) {
            2 => all.levels.two,
            3 => all.levels.three,
            4 => all.levels.four,
            8 => all.levels.eight,
            else => all.levels.sixteen,
        };
    }
};

/// The bits of the magnitudes between which squares neither overflow nor vanish.
const normal_min: u32 = @bitCast(@as(f32, 0x1p-56));
const normal_max: u32 = @bitCast(@as(f32, 0x1p56));

/// Signs on a block, such that the sum of squares of the result is sound; returns the power of two
/// that it was multiplied by, or null where a gradient is not finite.
pub fn flipScaled(kernels: *const Kernels, gradients: []const f32, block: Block, index: usize, seed: u64, out: [*]align(64) f32, flipped: *gradients_table.Flipped) ?f64 {
    const values = gradients[block.start..][0..block.count];
    kernels.flip(values.ptr, values.len, block.size, index, seed, 1, out, flipped);
    if (flipped.largest >= 0x7f80_0000) return null;
    if (flipped.largest == 0 or (flipped.largest >= normal_min and flipped.largest <= normal_max)) return 1;
    const exponent = std.math.clamp(-std.math.ilogb(@as(f32, @bitCast(flipped.largest))), -120, 120);
    const factor = std.math.ldexp(@as(f32, 1), exponent);
    kernels.flip(values.ptr, values.len, block.size, index, seed, factor, out, flipped);
    return factor;
}

/// 2^ceil(log2(size) / 2): how much larger scales are kept than they are applied.
pub fn scaleUnit(size: usize) f64 {
    return @floatFromInt(@as(u64, 1) << @intCast((std.math.log2_int(usize, size) + 1) / 2));
}

pub fn encode(layout: *const Layout, seed: u64, gradients: []const f32, payload: []u8) abi.Failure!void {
    var job: Encode = .{
        .kernels = &(try dispatch.kernels()).gradients,
        .layout = layout,
        .seed = seed,
        .gradients = gradients,
        .payload = payload,
    };
    parallel.run(gradients.len * @sizeOf(f32), layout.blocks.len, &job, Encode.work);
    if (job.bad.load(.monotonic)) return finite.refuse(gradients);
}

const Encode = struct {
    kernels: *const Kernels,
    layout: *const Layout,
    seed: u64,
    gradients: []const f32,
    payload: []u8,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *Encode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.layout.blocks.len, part, parts);
        var codes = self.layout.codes(from);
        for (from..to) |index| {
            const block = self.layout.blocks.at(index);
            const scale = self.encodeBlock(index, block, self.payload[codes..]) orelse
                return self.bad.store(true, .monotonic);
            self.payload[4 * index ..][0..4].* = @bitCast(scale);
            codes += self.layout.codeBytes(block.size);
        }
    }

    fn encodeBlock(self: *Encode, index: usize, block: Block, codes: []u8) ?f32 {
        var values: [size_max]f32 align(64) = undefined;
        var flipped: gradients_table.Flipped = undefined;
        const factor = flipScaled(self.kernels, self.gradients, block, index, self.seed, &values, &flipped) orelse return null;
        self.kernels.hadamard(&values, block.size);
        // The transform multiplies the sum of squares by the size, over which they are spread.
        const deviation = @sqrt(flipped.squares);
        const levels = self.layout.kernels(self.kernels);
        var dot: f32 = undefined;
        if (self.layout.levels == 3) {
            var bytes: [size_max]u8 = undefined;
            dot = levels.quantize(&values, block.size, deviation, &bytes);
            self.kernels.pack_codes(&bytes, block.size, codes.ptr);
        } else {
            dot = levels.quantize(&values, block.size, deviation, codes.ptr);
        }
        if (flipped.squares == 0) return 0;
        const scale = @as(f64, flipped.squares) / dot * scaleUnit(block.size) / factor;
        return @floatCast(@min(scale, std.math.floatMax(f32)));
    }
};

pub fn decode(layout: *const Layout, seed: u64, payload: []const u8, gradients: []f32) abi.Failure!void {
    try finite.expectScales(payload[0 .. 4 * layout.blocks.len]);
    var job: Decode = .{
        .kernels = &(try dispatch.kernels()).gradients,
        .layout = layout,
        .seed = seed,
        .gradients = gradients,
        .payload = payload,
    };
    parallel.run(gradients.len * @sizeOf(f32), layout.blocks.len, &job, Decode.work);
    if (job.bad.load(.monotonic)) return finite.refuseTrits();
}

const Decode = struct {
    kernels: *const Kernels,
    layout: *const Layout,
    seed: u64,
    gradients: []f32,
    payload: []const u8,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *Decode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.layout.blocks.len, part, parts);
        const levels = self.layout.kernels(self.kernels);
        var place = self.layout.codes(from);
        var values: [size_max]f32 align(64) = undefined;
        for (from..to) |index| {
            const block = self.layout.blocks.at(index);
            const codes = self.payload[place..][0..self.layout.codeBytes(block.size)];
            place += codes.len;
            if (self.layout.levels == 3) {
                var bytes: [size_max]u8 = undefined;
                if (self.kernels.unpack_codes(codes.ptr, block.size, &bytes) != 0) return self.bad.store(true, .monotonic);
                levels.dequantize(&bytes, block.size, &values);
            } else {
                levels.dequantize(codes.ptr, block.size, &values);
            }
            self.kernels.hadamard(&values, block.size);
            const scale = @as(f32, @bitCast(self.payload[4 * index ..][0..4].*)) / @as(f32, @floatCast(scaleUnit(block.size)));
            self.kernels.unflip(&values, block.count, index, self.seed, scale, self.gradients.ptr + block.start);
        }
    }
};
