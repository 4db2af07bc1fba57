//! Centroids in f32 meet trits and counts.
//!
//! Sums have one order on every tier: 64 lanes in f32 over 4096 dimensions, folded pairwise in f64,
//! and these one after the other. Updates are element by element, without contraction.
//!
//! Floor: 4 bytes of the centroid a dimension (written again by updates) and, on AVX-512, a masked
//! change of sign and a masked addition for 16 dimensions.

const table = @import("vsa_table.zig");
const encoders = @import("vsa_encoders_table.zig");

const V = @Vector(16, f32);
const Wide = @Vector(16, f64);
const Mask = @Vector(16, bool);
const zero: V = @splat(0);

/// Words of dimensions that are summed in f32.
const segment_words = 64;

inline fn mask(word: u64, comptime part: usize) Mask {
    return @bitCast(@as(u16, @truncate(word >> (16 * part))));
}

inline fn signed(values: V, nonzero: u64, negative: u64, comptime part: usize) V {
    const turned = @select(f32, mask(negative, part), -values, values);
    return @select(f32, mask(nonzero, part), turned, zero);
}

inline fn fold(wide: Wide) f64 {
    const a: [16]f64 = wide;
    const b = @as(@Vector(8, f64), a[0..8].*) + @as(@Vector(8, f64), a[8..16].*);
    const c: [8]f64 = b;
    const d: [4]f64 = @as(@Vector(4, f64), c[0..4].*) + @as(@Vector(4, f64), c[4..8].*);
    return (d[0] + d[2]) + (d[1] + d[3]);
}

pub fn dot(centroid: encoders.Centroid, vector: table.Vector, words: usize) callconv(.c) f64 {
    var total: f64 = 0;
    var word: usize = 0;
    while (word < words) {
        const end = @min(word + segment_words, words);
        var sums: [4]V = @splat(zero);
        while (word < end) : (word += 1) {
            inline for (&sums, 0..) |*sum, part| {
                const values: V = centroid[word * 64 + part * 16 ..][0..16].*;
                sum.* += signed(values, vector[word], vector[words + word], part);
            }
        }
        const both = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        total += fold(both);
    }
    return total;
}

pub fn add(centroid: encoders.CentroidTarget, vector: table.Vector, words: usize, weight: f32) callconv(.c) void {
    const weights: V = @splat(weight);
    for (0..words) |word| {
        inline for (0..4) |part| {
            const target = centroid[word * 64 + part * 16 ..][0..16];
            target.* = @as(V, target.*) + signed(weights, vector[word], vector[words + word], part);
        }
    }
}

/// 16 counts from `first` on, padded with zeros.
inline fn countsAt(counts: [*]const i32, first: usize, dim: usize) @Vector(16, i32) {
    if (first + 16 <= dim) return counts[first..][0..16].*;
    var last: [16]i32 = @splat(0);
    @memcpy(last[0 .. dim - first], counts[first..dim]);
    return last;
}

pub fn dotCounts(centroid: encoders.Centroid, counts: [*]const i32, dim: usize) callconv(.c) f64 {
    var sums: Wide = @splat(0);
    var i: usize = 0;
    while (i < dim) : (i += 16) {
        const values: Wide = @floatCast(@as(V, centroid[i..][0..16].*));
        sums += values * @as(Wide, @floatFromInt(countsAt(counts, i, dim)));
    }
    return fold(sums);
}

pub fn addCounts(centroid: encoders.CentroidTarget, counts: [*]const i32, dim: usize, weight: f32) callconv(.c) void {
    const weights: V = @splat(weight);
    var i: usize = 0;
    while (i < dim) : (i += 16) {
        const target = centroid[i..][0..16];
        const values: V = @floatFromInt(countsAt(counts, i, dim));
        target.* = @as(V, target.*) + weights * values;
    }
}

pub fn squares(centroid: encoders.Centroid, dim: usize) callconv(.c) f64 {
    var sums: Wide = @splat(0);
    var i: usize = 0;
    while (i < dim) : (i += 16) {
        const values: Wide = @floatCast(@as(V, centroid[i..][0..16].*));
        sums += values * values;
    }
    return fold(sums);
}

pub fn squaresCounts(counts: [*]const i32, dim: usize) callconv(.c) f64 {
    var sums: Wide = @splat(0);
    var i: usize = 0;
    while (i < dim) : (i += 16) {
        const values: Wide = @floatFromInt(countsAt(counts, i, dim));
        sums += values * values;
    }
    return fold(sums);
}
