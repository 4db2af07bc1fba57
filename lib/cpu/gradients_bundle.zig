//! The codec `vsa`: gradients in members of `dim`, each a ternary hypervector, bound with a key of its
//! own and bundled into one.
//!
//!     [scale f32 x members, for each block of the bundle][trits of the bundle, gradients_trits.zig]
//!
//! Member t is the gradients t dim .. (t + 1) dim. Block b of it is rotated (gradients_rotate.zig, block
//! t blocks + b), multiplied by its key, the bipolar random vector with the same number as row, and
//! becomes +1 or -1 where it is beyond 0.612 standard deviations, the best threshold for a normal
//! distribution. The bundle has the sign of the sum of all members, 0 where they balance. The scale of a
//! member is what fits the bundle to it best: <member, bundle> / <bundle, bundle>.
//!
//! The design of vsa-optim-rs, mended: keys are bipolar and binding multiplies, which loses nothing;
//! its projections, dense and far larger than the gradients, are Hadamard transforms.
//!
//! Floor: each member is read and rotated twice, for the bundle and for its scale.

const std = @import("std");
const abi = @import("../abi.zig");
const blocks_of = @import("gradients_blocks.zig");
const dispatch = @import("dispatch.zig");
const finite = @import("gradients_finite.zig");
const parallel = @import("parallel.zig");
const rotated = @import("gradients_rotated.zig");
const size_max = @import("gradients_hadamard.zig").size_max;
const table = @import("gradients_table.zig");
const threads = @import("threads.zig");
const trits = @import("gradients_trits.zig");

const Block = blocks_of.Block;

/// In standard deviations.
const threshold = 0.612003181;

pub const Layout = struct {
    count: usize,
    dim: usize,
    members: usize,
    /// Of the bundle.
    blocks: blocks_of.Blocks,
    bytes: usize,

    pub fn init(count: usize, dim: u32) abi.Failure!Layout {
        if (dim == 0 or dim > count)
            return abi.fail(error.InvalidOption, "Expected from 1 to {d} dimensions, got {d}", .{ count, dim });
        var layout: Layout = .{
            .count = count,
            .dim = dim,
            .members = (count + dim - 1) / dim,
            .blocks = .init(dim, .padded),
            .bytes = 0,
        };
        layout.bytes = layout.codesAt(layout.blocks.len);
        return layout;
    }

    /// Where the trits of a block stand in a payload.
    pub fn codesAt(self: *const Layout, index: usize) usize {
        const full = @min(index, self.blocks.full);
        var place = 4 * self.members * self.blocks.len + full * trits.bytesOf(size_max);
        for (full..index) |later| place += trits.bytesOf(self.blocks.at(later).size);
        return place;
    }

    /// Block b of a member: which gradients it is of, maybe none.
    fn piece(self: *const Layout, block: Block, member: usize) Block {
        const start = @min(member * self.dim + block.start, self.count);
        return .{ .start = start, .count = @min(block.count, self.count - start), .place = block.place, .size = block.size };
    }

    fn scaleAt(self: *const Layout, member: usize, index: usize) usize {
        return 4 * (index * self.members + member);
    }
};

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

const Values = [size_max]f32;
/// A rotated and bound piece: its standard deviation, and what it was multiplied by to be in range.
const Bound = struct { deviation: f32, factor: f64 };

const Encode = struct {
    kernels: *const table.Kernels,
    layout: *const Layout,
    seed: u64,
    gradients: []const f32,
    payload: []u8,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *Encode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.layout.blocks.len, part, parts);
        for (from..to) |index| self.encodeBlock(index) orelse return self.bad.store(true, .monotonic);
    }

    /// Null where a gradient is not finite.
    fn encodeBlock(self: *Encode, index: usize) ?void {
        const block = self.layout.blocks.at(index);
        var values: Values align(64) = undefined;
        var codes: [size_max]u8 = undefined;
        var counts: [size_max]i32 = undefined;
        @memset(counts[0..block.size], 0);
        for (0..self.layout.members) |member| {
            const bound = self.bind(block, member, index, &values) orelse return null;
            var kept: table.Kept = undefined;
            self.kernels.keep(&values, block.size, 1, threshold * bound.deviation, &codes, &kept);
            self.kernels.add_trits(&codes, block.size, &counts);
        }
        self.kernels.sign_codes(&counts, block.size, &codes);
        self.kernels.pack_codes(&codes, block.size, self.payload.ptr + self.layout.codesAt(index));
        for (0..self.layout.members) |member| {
            const bound = self.bind(block, member, index, &values) orelse return null;
            var nonzeros: u32 = undefined;
            const dot = self.kernels.dot_trits(&values, &codes, block.size, &nonzeros);
            const size: f64 = @floatFromInt(block.size);
            const scale = if (nonzeros == 0) 0 else dot / @as(f64, @floatFromInt(nonzeros)) / size * rotated.scaleUnit(block.size) / bound.factor;
            const kept: f32 = @floatCast(@min(scale, std.math.floatMax(f32)));
            self.payload[self.layout.scaleAt(member, index)..][0..4].* = @bitCast(kept);
        }
    }

    fn bind(self: *const Encode, block: Block, member: usize, index: usize, values: *align(64) Values) ?Bound {
        const number = member * self.layout.blocks.len + index;
        var flipped: table.Flipped = undefined;
        const piece = self.layout.piece(block, member);
        const factor = rotated.flipScaled(self.kernels, self.gradients, piece, number, self.seed, values, &flipped) orelse return null;
        self.kernels.hadamard(values, block.size);
        self.kernels.bind(values, block.size, number, self.seed);
        return .{ .deviation = @sqrt(flipped.squares), .factor = factor };
    }
};

pub fn decode(layout: *const Layout, seed: u64, payload: []const u8, gradients: []f32) abi.Failure!void {
    try finite.expectScales(payload[0 .. 4 * layout.members * layout.blocks.len]);
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
    kernels: *const table.Kernels,
    layout: *const Layout,
    seed: u64,
    gradients: []f32,
    payload: []const u8,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *Decode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.layout.blocks.len, part, parts);
        for (from..to) |index| self.decodeBlock(index) orelse return self.bad.store(true, .monotonic);
    }

    /// Null where bytes are not trits.
    fn decodeBlock(self: *Decode, index: usize) ?void {
        const block = self.layout.blocks.at(index);
        var values: Values align(64) = undefined;
        var codes: [size_max]u8 = undefined;
        if (self.kernels.unpack_codes(self.payload.ptr + self.layout.codesAt(index), block.size, &codes) != 0) return null;
        for (0..self.layout.members) |member| {
            const number = member * self.layout.blocks.len + index;
            const piece = self.layout.piece(block, member);
            if (piece.count == 0) continue;
            const scale: f32 = @bitCast(self.payload[self.layout.scaleAt(member, index)..][0..4].*);
            self.kernels.scaled(&codes, block.size, 1, &values);
            self.kernels.bind(&values, block.size, number, self.seed);
            self.kernels.hadamard(&values, block.size);
            const unit: f32 = @floatCast(rotated.scaleUnit(block.size));
            self.kernels.unflip(&values, piece.count, number, self.seed, scale / unit, self.gradients.ptr + piece.start);
        }
    }
};
