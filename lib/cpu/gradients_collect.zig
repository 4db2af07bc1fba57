//! Finds the values whose magnitude is at least a bound, rounds them to levels, and puts what levels stand
//! for back to its places.
//!
//! Floor: one read of the values, and a bit of each and a word of each that is found to be written; on
//! AVX-512 seven instructions for 16 of them, then twelve for 16 of those found. Back: one write of all.

const std = @import("std");
const simd = @import("simd.zig");

const U = @Vector(16, u32);
const Mask = u16;

const magnitude_bits: U = @splat(0x7fff_ffff);

/// The places as bits, whole words of them, and the values' bits in `found`, in order, which has room for
/// 16 more. `most` becomes the largest magnitude, or stays. Returns how many there are.
pub fn collect(values: [*]const f32, count: usize, least: u32, bits: [*]u64, found: [*]u32, most: *u32) callconv(.c) usize {
    var length: usize = 0;
    var largest: U = @splat(0);
    var i: usize = 0;
    while (i + 64 <= count) : (i += 64) {
        var vectors: [4]U = undefined;
        var masks: [4]Mask = undefined;
        inline for (&vectors, &masks, 0..) |*vector, *mask, part| {
            vector.* = @bitCast(@as(@Vector(16, f32), values[i + 16 * part ..][0..16].*));
            const magnitudes = vector.* & magnitude_bits;
            largest = @max(largest, magnitudes);
            mask.* = @bitCast(magnitudes >= @as(U, @splat(least)));
        }
        const word: u64 = @bitCast(masks);
        bits[i / 64] = word;
        if (word == 0) continue;
        inline for (vectors, masks) |vector, mask| length += take(vector, mask, found + length);
    }
    most.* = @max(most.*, @reduce(.Max, largest));
    if (i == count) return length;
    var word: u64 = 0;
    for (values[i..count], 0..) |value, bit| {
        const pattern: u32 = @bitCast(value);
        const magnitude = pattern & 0x7fff_ffff;
        most.* = @max(most.*, magnitude);
        if (magnitude < least) continue;
        word |= @as(u64, 1) << @intCast(bit);
        found[length] = pattern;
        length += 1;
    }
    bits[i / 64] = word;
    return length;
}

inline fn take(vector: U, mask: Mask, found: [*]u32) usize {
    if (simd.has_avx512) {
        found[0..16].* = compress(vector, mask);
        return @popCount(mask);
    }
    const all: [16]u32 = vector;
    var length: usize = 0;
    // Without a branch for each, where there are many.
    if (@popCount(mask) > 4) {
        inline for (all, 0..) |pattern, lane| {
            found[length] = pattern;
            length += mask >> lane & 1;
        }
        return length;
    }
    var left = mask;
    while (left != 0) : (left &= left - 1) {
        found[length] = all[@ctz(left)];
        length += 1;
    }
    return length;
}

inline fn compress(vector: U, mask: Mask) U {
    return asm ("vpcompressd %[vector], %[result]{%[mask]}{z}"
        : [result] "=v" (-> U),
        : [vector] "v" (vector),
          [mask] "{k1}" (mask),
    );
}

inline fn spread(vector: U, mask: Mask) U {
    return asm ("vpexpandd %[vector], %[result]{%[mask]}{z}"
        : [result] "=v" (-> U),
        : [vector] "v" (vector),
          [mask] "{k1}" (mask),
    );
}

/// Twice the level (magnitude bits - least) factor / 2^32, and one more where the value is negative.
/// The level is below 128; there is room for 16 codes more.
pub fn levels(found: [*]const u32, count: usize, least: u32, factor: u32, codes: [*]u8) callconv(.c) void {
    const Wide = @Vector(16, u64);
    var i: usize = 0;
    while (i < count) : (i += 16) {
        const vector: U = found[i..][0..16].*;
        const above = (vector & magnitude_bits) -% @as(U, @splat(least));
        const products = @as(Wide, above) * @as(Wide, @splat(factor));
        const level: U = @truncate(products >> @splat(32));
        const code = level << @splat(1) | vector >> @splat(31);
        codes[i..][0..16].* = @as(@Vector(16, u8), @truncate(code));
    }
}

/// Values to their places, zeros to the others. There are as many values as bits, and 16 more may be
/// read; bits beyond `count` are 0.
pub fn place(bits: [*]const u64, count: usize, values: [*]const f32, out: [*]f32) callconv(.c) void {
    var next: usize = 0;
    var i: usize = 0;
    while (i + 64 <= count) : (i += 64) {
        const masks: [4]Mask = @bitCast(bits[i / 64]);
        inline for (masks, 0..) |mask, part| {
            const target = out + i + 16 * part;
            if (simd.has_avx512) {
                const vector: U = @bitCast(@as(@Vector(16, f32), values[next..][0..16].*));
                target[0..16].* = @bitCast(spread(vector, mask));
            } else {
                target[0..16].* = @splat(0);
                put(mask, values + next, target);
            }
            next += @popCount(mask);
        }
    }
    if (i == count) return;
    @memset(out[i..count], 0);
    put(bits[i / 64], values + next, out + i);
}

inline fn put(mask: u64, values: [*]const f32, out: [*]f32) void {
    var left = mask;
    var next: usize = 0;
    while (left != 0) : (left &= left - 1) {
        out[@ctz(left)] = values[next];
        next += 1;
    }
}
