//! A dense random projection by a matrix of -1, 0 and 1, drawn anew for every product: tritter-accel's
//! own, for few gradients and for comparison.
//!
//! Entry (i, j) of n x k is 1 where word j of row i is below 0.16 2^32, -1 where it is below twice that.
//! Word j is output j % 4 of Philox4x32-10 for the counter (j / 4, i low, i high, 7), with the seed as key.
//!
//! Floor: the generator: n k words, some 100 vector instructions for four registers of them.

const simd = @import("simd.zig");
const random = @import("vsa_random.zig");
const vector16 = @import("vector16.zig");

const batch = 4 * simd.lanes;
/// 0.16 2^32
const share = 687194767;

const V = vector16.V;
const U = @Vector(16, u32);

inline fn entries(words: *const [batch]u32, part: usize, values: V) V {
    const word: U = words[16 * part ..][0..16].*;
    const zero: V = @splat(0);
    const negative = @select(f32, word < @as(U, @splat(2 * share)), -values, zero);
    return @select(f32, word < @as(U, @splat(share)), values, negative);
}

/// sums[j - from] = factor times the sum over i, in order, of gradients[i] times entry (i, j), for the
/// columns from `from`, a multiple of 64, to `to`. There is room for whole multiples of 64.
pub fn project(gradients: [*]const f32, count: usize, from: usize, to: usize, seed: u64, factor: f32, sums: [*]align(64) f32) callconv(.c) void {
    const padded = (to - from + 63) / 64 * 64;
    @memset(sums[0..padded], 0);
    for (gradients[0..count], 0..) |gradient, i| {
        const values: V = @splat(gradient);
        var j = from;
        while (j < to) : (j += batch) {
            const words = random.wordsInOrder(random.blocks(.dense, @intCast(j / 4), i, seed));
            inline for (0..batch / 16) |part| {
                const target = sums[j - from + 16 * part ..][0..16];
                target.* = @as(V, target.*) + entries(&words, part, values);
            }
        }
    }
    for (sums[0..padded]) |*sum| sum.* *= factor;
}

/// The product of the entries of row i with `count` samples, which are padded with zeros to 64.
pub fn expand(samples: [*]align(64) const f32, count: usize, row: u64, seed: u64) callconv(.c) f32 {
    var sum: V = @splat(0);
    var j: usize = 0;
    while (j < count) : (j += batch) {
        const words = random.wordsInOrder(random.blocks(.dense, @intCast(j / 4), row, seed));
        inline for (0..batch / 16) |part|
            sum += entries(&words, part, samples[j + 16 * part ..][0..16].*);
    }
    return vector16.sum(sum);
}
