//! The other half of a random rotation: signs from Philox before the transform, and after it when
//! gradients come back.
//!
//! Value i of block b is negated where bit i % 32 of word i / 32 of the block is set. Word w is output
//! w % 4 of Philox4x32-10 for the counter (w / 4, b low, b high, 5), with the seed as key.
//!
//! A key of hypervectors is such a list of signs too: the bipolar random vector b (vsa_random.zig).
//!
//! Floor: one read and one write; on AVX-512 a masked change of sign, and for the check of the
//! gradients the largest magnitude and the sum of squares, six instructions for 16 values. A block of
//! 4096 takes two calls of the generator there.

const Flipped = @import("gradients_table.zig").Flipped;
const random = @import("vsa_random.zig");
const size_max = @import("gradients_hadamard.zig").size_max;
const simd = @import("simd.zig");
const vector16 = @import("vector16.zig");

const V = vector16.V;
const U = @Vector(16, u32);
const Mask = @Vector(16, bool);
const zero: V = @splat(0);
const magnitude: U = @splat(0x7fff_ffff);

/// A block's signs, 16 values in each element.
const Signs = [size_max / 16]u16;

fn draw(comptime domain: random.Domain, signs: *Signs, count: usize, block: u64, seed: u64) void {
    const step = 4 * simd.lanes;
    const words: *[size_max / 32]u32 = @ptrCast(@alignCast(signs));
    var word: usize = 0;
    while (word * 32 < count) : (word += step)
        words[word..][0..step].* = random.wordsInOrder(random.blocks(domain, @intCast(word / 4), block, seed));
}

inline fn turned(vector: V, signs: u16) V {
    const mask: Mask = @bitCast(signs);
    return @bitCast(@as(U, @bitCast(vector)) ^ @select(u32, mask, @as(U, @splat(0x8000_0000)), @as(U, @splat(0))));
}

/// Sums of squares of 64 lanes.
const Squares = [4]V;

pub fn flip(values: [*]const f32, count: usize, size: usize, block: u64, seed: u64, factor: f32, out: [*]align(64) f32, flipped: *Flipped) callconv(.c) void {
    var signs: Signs align(64) = undefined;
    draw(.signs, &signs, count, block, seed);
    const factors: V = @splat(factor);
    var largest: [2]U = @splat(@splat(0));
    var squares: Squares = @splat(zero);
    var i: usize = 0;
    while (i + 64 <= count) : (i += 64) {
        inline for (0..4) |part| {
            const vector: V = values[i + 16 * part ..][0..16].*;
            largest[part % 2] = @max(largest[part % 2], @as(U, @bitCast(vector)) & magnitude);
            const scaled = vector * factors;
            squares[part] += scaled * scaled;
            out[i + 16 * part ..][0..16].* = turned(scaled, signs[i / 16 + part]);
        }
    }
    while (i < size) : (i += 16) {
        const rest = @min(count -| i, 16);
        const vector = vector16.loadPart(values + @min(i, count), rest, 0);
        largest[0] = @max(largest[0], @as(U, @bitCast(vector)) & magnitude);
        const scaled = vector * factors;
        squares[i / 16 % 4] += scaled * scaled;
        vector16.storePart(out + i, @min(size - i, 16), if (rest == 0) zero else turned(scaled, signs[i / 16]));
    }
    flipped.* = .{
        .largest = @reduce(.Max, @max(largest[0], largest[1])),
        .squares = vector16.sum((squares[0] + squares[1]) + (squares[2] + squares[3])),
    };
}

pub fn unflip(values: [*]align(64) const f32, count: usize, block: u64, seed: u64, scale: f32, out: [*]f32) callconv(.c) void {
    var signs: Signs align(64) = undefined;
    draw(.signs, &signs, count, block, seed);
    const scales: V = @splat(scale);
    var i: usize = 0;
    while (i + 16 <= count) : (i += 16) {
        const vector: V = values[i..][0..16].*;
        out[i..][0..16].* = turned(vector * scales, signs[i / 16]);
    }
    if (i == count) return;
    const last = vector16.loadPart(values + i, count - i, 0);
    vector16.storePart(out + i, count - i, turned(last * scales, signs[i / 16]));
}

/// Multiplies values in place with the bipolar random vector `row`.
pub fn bind(values: [*]align(64) f32, size: usize, row: u64, seed: u64) callconv(.c) void {
    var signs: Signs align(64) = undefined;
    draw(.vectors, &signs, size, row, seed);
    var i: usize = 0;
    // Blocks of the padded kind have at least 16 values, and are powers of two.
    while (i < size) : (i += 16) values[i..][0..16].* = turned(values[i..][0..16].*, signs[i / 16]);
}
