//! Random hypervectors from Philox4x32-10, a function of seed, row and place alone: the same on every
//! tier and device.
//!
//! The key is the seed (low word, high word). Block j of a row is the output for the counter
//! (j, row low, row high, 1), or 2 in place of 1 for the trits that decide ties, and word w of the row is output w % 4 of block w / 4.
//!
//!     by threshold   trit i is decided by word i: -1 below `below`, +1 from 2^32 - `below` on,
//!                    0 in between. Uniform thirds are below = 1431655765 = floor(2^32 / 3);
//!                    a share p of zeros is below = round((1 - p) 2^31).
//!     bipolar        trit i is -1 where bit i % 32 of word i / 32 is set, else +1.
//!     thinned        trit i is kept where word i is below `below`; these counters end in 4, not 1.
//!
//! Gradient codecs draw from the same generator, with counters that end in 5 to 8; see gradients_*.zig.
//!
//! Floor: 10 rounds of two 32 x 32-bit products for 4 words, in as many lanes as a register has.

const simd = @import("simd.zig");
const table = @import("vsa_table.zig");

pub const lanes = simd.lanes;
const U32 = simd.U32;
const U64 = @Vector(lanes, u64);

/// Distinguishes numbers of the same seed: those of random vectors, that decide ties, and that thin;
/// signs before a rotation, samples after it, dense projections, and thin matrices; those that round
/// gradients, and weights. Permutations have 3.
pub const Domain = enum(u32) { vectors = 1, ties = 2, thin = 4, signs = 5, samples = 6, dense = 7, matrices = 8, rounding = 16, latents = 17 };

const places: U32 = blk: {
    var result: [lanes]u32 = undefined;
    for (&result, 0..) |*place, i| place.* = i;
    break :blk result;
};

/// Outputs of the blocks first, first + 1, ... of a row, one in each lane.
pub inline fn blocks(comptime domain: Domain, first: u32, row: u64, seed: u64) [4]U32 {
    var counter = [4]U32{
        @as(U32, @splat(first)) +% places,
        @splat(@truncate(row)),
        @splat(@truncate(row >> 32)),
        @splat(@backingInt(domain)),
    };
    var key = [2]u32{ @truncate(seed), @truncate(seed >> 32) };
    inline for (0..10) |_| {
        const a_low, const a_high = products(counter[0], 0xd2511f53);
        const b_low, const b_high = products(counter[2], 0xcd9e8d57);
        counter = .{
            b_high ^ counter[1] ^ @as(U32, @splat(key[0])),
            b_low,
            a_high ^ counter[3] ^ @as(U32, @splat(key[1])),
            a_low,
        };
        key = .{ key[0] +% 0x9e3779b9, key[1] +% 0xbb67ae85 };
    }
    return counter;
}

/// Low and high halves of 32 x 32-bit products.
inline fn products(a: U32, comptime factor: u32) struct { U32, U32 } {
    const wide = @as(U64, a) * @as(U64, @splat(factor));
    return .{ @truncate(wide), @truncate(wide >> @splat(32)) };
}

/// Words of a row in order: four for each lane.
pub inline fn wordsInOrder(outputs: [4]U32) [4 * lanes]u32 {
    var words: [4 * lanes]u32 = undefined;
    inline for (0..4) |i| {
        const output: [lanes]u32 = outputs[i];
        inline for (0..lanes) |lane| words[4 * lane + i] = output[lane];
    }
    return words;
}

pub fn random(out: table.Target, words: usize, dim: usize, row: u64, seed: u64, below: u32) callconv(.c) void {
    for (0..words) |word| {
        var nonzero: u64 = 0;
        var negative: u64 = 0;
        var i: usize = 0;
        while (i < 64 and word * 64 + i < dim) : (i += 4 * lanes) {
            const first: u32 = @intCast((word * 64 + i) / 4);
            const values: @Vector(4 * lanes, u32) = wordsInOrder(blocks(.vectors, first, row, seed));
            const Mask = @Int(.unsigned, 4 * lanes);
            const minus: Mask = @bitCast(values < @as(@Vector(4 * lanes, u32), @splat(below)));
            const plus: Mask = @bitCast(values > @as(@Vector(4 * lanes, u32), @splat(~below)));
            negative |= @as(u64, minus) << @intCast(i);
            nonzero |= @as(u64, minus | plus) << @intCast(i);
        }
        const kept = keptBits(word, dim);
        out[word] = nonzero & kept;
        out[words + word] = negative & kept;
    }
}

pub fn randomBipolar(out: table.Target, words: usize, dim: usize, row: u64, seed: u64) callconv(.c) void {
    const step = 2 * lanes;
    var word: usize = 0;
    while (word < words) : (word += step) {
        const values = wordsInOrder(blocks(.vectors, @intCast(word / 2), row, seed));
        for (word..@min(word + step, words), 0..) |target, i| {
            const kept = keptBits(target, dim);
            out[target] = kept;
            out[words + target] = kept & (@as(u64, values[2 * i + 1]) << 32 | values[2 * i]);
        }
    }
}

/// Trits of 0 become 1, or bipolar ones drawn for ties.
pub fn fillTies(out: table.Target, words: usize, dim: usize, from: usize, to: usize, row: u64, seed: u64, with_random: u32) callconv(.c) void {
    const step = 2 * lanes;
    var word = from;
    while (word < to) : (word += step) {
        const end = @min(word + step, to);
        var ties: [step]u64 = @splat(0);
        var any: u64 = 0;
        for (word..end, ties[0 .. end - word]) |target, *tie| {
            tie.* = keptBits(target, dim) & ~out[target];
            out[target] |= tie.*;
            any |= tie.*;
        }
        if (with_random == 0 or any == 0) continue;
        const values = wordsInOrder(blocks(.ties, @intCast(word / 2), row, seed));
        for (word..end, 0..) |target, i|
            out[words + target] |= ties[i] & (@as(u64, values[2 * i + 1]) << 32 | values[2 * i]);
    }
}

pub fn thin(a: table.Vector, out: table.Target, words: usize, dim: usize, row: u64, seed: u64, below: u32) callconv(.c) void {
    for (0..words) |word| {
        var kept: u64 = 0;
        var i: usize = 0;
        while (i < 64 and word * 64 + i < dim) : (i += 4 * lanes) {
            const first: u32 = @intCast((word * 64 + i) / 4);
            const values: @Vector(4 * lanes, u32) = wordsInOrder(blocks(.thin, first, row, seed));
            const Mask = @Int(.unsigned, 4 * lanes);
            const mask: Mask = @bitCast(values < @as(@Vector(4 * lanes, u32), @splat(below)));
            kept |= @as(u64, mask) << @intCast(i);
        }
        out[word] = a[word] & kept;
        out[words + word] = a[words + word] & kept;
    }
}

/// Ones for the bits of a word that are not padding.
fn keptBits(word: usize, dim: usize) u64 {
    const left = dim -| word * 64;
    return if (left >= 64) ~@as(u64, 0) else (@as(u64, 1) << @intCast(left)) - 1;
}
