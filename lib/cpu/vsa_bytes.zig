//! Hypervectors from and to one signed byte a trit.
//!
//! Floor: the bytes, one for each trit; 64 of them become a word of each plane.

const table = @import("vsa_table.zig");

const Bytes = @Vector(64, i8);
const Bits = @Vector(64, u1);

pub fn fromI8(trits: [*]const i8, dim: usize, out: table.Target, words: usize) callconv(.c) u32 {
    // The largest trit + 1 as an unsigned byte.
    var most: @Vector(64, u8) = @splat(0);
    for (0..words) |word| {
        const start = word * 64;
        var bytes: Bytes = @splat(0);
        if (start + 64 <= dim) {
            bytes = trits[start..][0..64].*;
        } else if (start < dim) {
            var last: [64]i8 = @splat(0);
            @memcpy(last[0 .. dim - start], trits[start..dim]);
            bytes = last;
        }
        most = @max(most, @as(@Vector(64, u8), @bitCast(bytes)) +% @as(@Vector(64, u8), @splat(1)));
        out[word] = @bitCast(bytes != @as(Bytes, @splat(0)));
        out[words + word] = @bitCast(bytes < @as(Bytes, @splat(0)));
    }
    return @intFromBool(@reduce(.Max, most) > 2);
}

pub fn toI8(a: table.Vector, words: usize, dim: usize, trits: [*]i8) callconv(.c) void {
    var word: usize = 0;
    while (word * 64 + 64 <= dim) : (word += 1) trits[word * 64 ..][0..64].* = bytesOf(a[word], a[words + word]);
    if (word * 64 < dim) {
        const last: [64]i8 = bytesOf(a[word], a[words + word]);
        @memcpy(trits[word * 64 .. dim], last[0 .. dim - word * 64]);
    }
}

inline fn bytesOf(nonzero: u64, negative: u64) Bytes {
    const ones: Bytes = @intCast(@as(Bits, @bitCast(nonzero)));
    const minus: @Vector(64, bool) = @bitCast(negative);
    return @select(i8, minus, @as(Bytes, @splat(-1)), ones);
}
