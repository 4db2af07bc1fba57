//! Finds the values whose magnitude is at least a bound, with their places.
//!
//! Floor: one read of the values; on AVX-512 four instructions for 16 of them, and six more where there
//! is one to be found.

const std = @import("std");
const simd = @import("simd.zig");

const U = @Vector(16, u32);
const Mask = u16;
/// Looked at together: most have nothing to be found.
const group = 4;

const magnitude_bits: U = @splat(0x7fff_ffff);
const places: U = std.simd.iota(u32, 16);

/// Magnitudes as bits, which compare like them. There is room for 16 elements more than will be found.
/// `most` becomes the largest magnitude, or stays.
pub fn collect(values: [*]const f32, count: usize, first: u32, least: u32, indices: [*]u32, found: [*]u32, most: *u32) callconv(.c) usize {
    var length: usize = 0;
    var largest: U = @splat(0);
    var i: usize = 0;
    while (i + 16 * group <= count) : (i += 16 * group) {
        var bits: [group]U = undefined;
        var masks: [group]Mask = undefined;
        inline for (&bits, &masks, 0..) |*vector, *mask, part| {
            vector.* = @bitCast(@as(@Vector(16, f32), values[i + 16 * part ..][0..16].*));
            const magnitudes = vector.* & magnitude_bits;
            largest = @max(largest, magnitudes);
            mask.* = @bitCast(magnitudes >= @as(U, @splat(least)));
        }
        if (@as(u64, @bitCast(masks)) == 0) continue;
        inline for (bits, masks, 0..) |vector, mask, part| {
            const at: u32 = first + @as(u32, @intCast(i)) + 16 * @as(u32, part);
            take(vector, mask, at, indices + length, found + length);
            length += @popCount(mask);
        }
    }
    most.* = @max(most.*, @reduce(.Max, largest));
    while (i < count) : (i += 1) {
        const bits: u32 = @bitCast(values[i]);
        most.* = @max(most.*, bits & 0x7fff_ffff);
        if (bits & 0x7fff_ffff < least) continue;
        indices[length] = first + @as(u32, @intCast(i));
        found[length] = bits;
        length += 1;
    }
    return length;
}

inline fn take(bits: U, mask: Mask, at: u32, indices: [*]u32, found: [*]u32) void {
    if (simd.has_avx512) {
        indices[0..16].* = compress(places + @as(U, @splat(at)), mask);
        found[0..16].* = compress(bits, mask);
        return;
    }
    const all: [16]u32 = bits;
    var left = mask;
    var length: usize = 0;
    while (left != 0) : (left &= left - 1) {
        const place = @ctz(left);
        indices[length] = at + place;
        found[length] = all[place];
        length += 1;
    }
}

inline fn compress(vector: U, mask: Mask) U {
    return asm ("vpcompressd %[vector], %[result]{%[mask]}{z}"
        : [result] "=v" (-> U),
        : [vector] "v" (vector),
          [mask] "{k1}" (mask),
    );
}
