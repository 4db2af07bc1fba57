//! Stochastic rounding to trits: each element becomes its sign with probability |x| / scale, else 0,
//! so that scale * trit is x on average.
//!
//! Element i of a row is decided by word i of the row's random numbers (vsa_random.zig, counters that
//! end in 16): it keeps its sign where word * scale * 2^-32 < |x|. The product is exact but for its
//! last bits and the same everywhere, so a seed gives the same trits on every tier.
//!
//!     byte i / 4:  bits 2 (i mod 4) and the next: 00 = 0, 01 = +1, 10 = -1 (the wire format)
//!
//! Floor: ten rounds of Philox for four elements; memory waits for it.

const random = @import("vsa_random.zig");

const lanes = random.lanes;
/// Elements that one set of random numbers serves.
const width = 4 * lanes;
const F = @Vector(width, f32);
const Wide = @Vector(width, f64);
const Words = @Vector(width, u32);

pub fn packRandom(values: [*]const f32, scale: f32, row: u64, seed: u64, bytes: [*]u8, from: usize, to: usize) callconv(.c) void {
    const unit: Wide = @splat(@as(f64, scale) * 0x1p-32);
    var i = from;
    while (i < to) : (i += width) {
        const left = @min(width, to - i);
        var x: [width]f32 = @splat(0);
        if (left == width) x = values[i..][0..width].* else for (x[0..left], values + i) |*lane, value| {
            lane.* = value;
        }
        const words: Words = random.wordsInOrder(random.blocks(.rounding, @intCast(i / 4), row, seed));
        const kept = @as(Wide, @floatFromInt(words)) * unit < @as(Wide, @abs(@as(F, x)));
        const negative = @as(F, x) < @as(F, @splat(0));
        const codes = @select(u32, kept, @select(u32, negative, all(2), all(1)), all(0));
        const quads: [width]u32 = codes;
        for (0..(left + 3) / 4) |byte| {
            const four = quads[4 * byte ..][0..4];
            bytes[i / 4 + byte] = @intCast(four[0] | four[1] << 2 | four[2] << 4 | four[3] << 6);
        }
    }
}

inline fn all(code: u32) Words {
    return @splat(code);
}
