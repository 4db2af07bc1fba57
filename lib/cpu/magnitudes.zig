//! Sums over the magnitudes of a run of weights, in f64, and the largest of them.
//!
//! Element i is added to sum i mod 16 and the sixteen sums are added in order, whatever the width of
//! a vector, so that the results are the same on every tier. Floor: one read of the weights.

const Kept = @import("ternary_table.zig").Kept;
const simd = @import("simd.zig");

const width = 16;
const F = @Vector(width, f32);
const Sums = @Vector(width, f64);

pub fn sum(weights: [*]const f32, count: usize) callconv(.c) f64 {
    var sums: Sums = @splat(0);
    var i: usize = 0;
    while (i + width <= count) : (i += width) sums += @as(Sums, @abs(simd.load(F, weights + i)));
    var total = inOrder(sums);
    while (i < count) : (i += 1) total += @abs(weights[i]);
    return total;
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
