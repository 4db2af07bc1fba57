//! Sums over the magnitudes of a run of weights, in f64, and the largest of them.
//!
//! Element i is added to sum i mod 16, the sixteen sums are added in order and the rest of the run
//! after them, whatever the width of a vector, so that the results are the same on every tier. Floor:
//! one read of the weights; on AVX-512 six vector instructions for 16 of them.

const std = @import("std");
const Kept = @import("ternary_table.zig").Kept;
const simd = @import("simd.zig");

const width = 16;
const F = @Vector(width, f32);
const Sums = @Vector(width, f64);

/// Whether a weight is not finite shows in the result: it is not finite either.
pub fn sum(weights: [*]const f32, count: usize) callconv(.c) f64 {
    var even: @Vector(width / 2, f64) = @splat(0);
    var odd: @Vector(width / 2, f64) = @splat(0);
    var i: usize = 0;
    while (i + width <= count) : (i += width) {
        const pairs: @Vector(width / 2, u64) = @bitCast(simd.load(F, weights + i));
        even += shrunk(pairs << @splat(32));
        odd += shrunk(pairs);
    }
    const sums: Sums = @bitCast(std.simd.interlace(.{ even, odd }));
    var total = inOrder(sums * @as(Sums, @splat(unshrink)));
    while (i < count) : (i += 1) total += @abs(weights[i]);
    // What is not finite counted as 2^128 at least.
    if (total >= 0x1p128 and largest(weights, count) >= infinity_bits) return std.math.nan(f64);
    return total;
}

/// The bits of the least magnitude that is not finite.
pub const infinity_bits = 0x7f80_0000;
const unshrink = 0x1p896;

/// The magnitude of the f32 in each upper half, times 2^-896: its exponent and mantissa as those of an
/// f64, which is cheaper than a conversion and as exact, also for what is below the normal range.
inline fn shrunk(pairs: @Vector(width / 2, u64)) @Vector(width / 2, f64) {
    const magnitude: @Vector(width / 2, u64) = @splat(0x7fff_ffff_0000_0000 >> 3);
    return @bitCast((pairs >> @splat(3)) & magnitude);
}

/// Squared distances of the magnitudes from their mean.
pub fn sumSquares(weights: [*]const f32, count: usize, mean: f64) callconv(.c) f64 {
    const means: Sums = @splat(mean);
    var sums: Sums = @splat(0);
    var i: usize = 0;
    while (i + width <= count) : (i += width) {
        const distances = @as(Sums, @abs(simd.load(F, weights + i))) - means;
        sums += distances * distances;
    }
    var total = inOrder(sums);
    while (i < count) : (i += 1) {
        const distance = @as(f64, @abs(weights[i])) - mean;
        total += distance * distance;
    }
    return total;
}

pub fn sumKept(weights: [*]const f32, count: usize, above: f32, kept: *Kept) callconv(.c) void {
    const none: F = @splat(0);
    const one: @Vector(width, u32) = @splat(1);
    var sums: Sums = @splat(0);
    var counts: @Vector(width, u32) = @splat(0);
    var i: usize = 0;
    while (i + width <= count) : (i += width) {
        const magnitudes = @abs(simd.load(F, weights + i));
        const chosen = magnitudes > @as(F, @splat(above));
        sums += @as(Sums, @select(f32, chosen, magnitudes, none));
        counts += @select(u32, chosen, one, @as(@Vector(width, u32), @splat(0)));
    }
    kept.* = .{ .magnitudes = inOrder(sums), .count = @reduce(.Add, counts) };
    while (i < count) : (i += 1) {
        if (@abs(weights[i]) <= above) continue;
        kept.magnitudes += @abs(weights[i]);
        kept.count += 1;
    }
}

inline fn inOrder(sums: Sums) f64 {
    const each: [width]f64 = sums;
    var total = each[0];
    for (each[1..]) |one| total += one;
    return total;
}

/// Magnitudes compare like integers, and every NaN and infinity is at least the infinity.
pub fn largest(weights: [*]const f32, count: usize) callconv(.c) u32 {
    const magnitude: @Vector(width, u32) = @splat(0x7fff_ffff);
    var most: [2]@Vector(width, u32) = @splat(@splat(0));
    var i: usize = 0;
    while (i + 2 * width <= count) : (i += 2 * width) {
        inline for (&most, 0..) |*part, index| {
            part.* = @max(part.*, @as(@Vector(width, u32), @bitCast(simd.load(F, weights + i + index * width))) & magnitude);
        }
    }
    var result = @reduce(.Max, @max(most[0], most[1]));
    while (i < count) : (i += 1) result = @max(result, @as(u32, @bitCast(weights[i])) & 0x7fff_ffff);
    return result;
}
