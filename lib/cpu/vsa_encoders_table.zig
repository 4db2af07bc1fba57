//! The kernels of n-grams and of classifiers that every instruction-set tier fills.
//!
//! A centroid is one f32 a dimension, padded with zeros to whole blocks of 512 as vectors are.

const table = @import("vsa_table.zig");

pub const Centroid = [*]align(64) const f32;
pub const CentroidTarget = [*]align(64) f32;

/// How the items of an n-gram are bound.
pub const Mode = enum(u32) { add, subtract, multiply, multiply_bipolar };

/// n-grams of the symbols: row n * symbol + j of `items` is what stands for a symbol at place j.
pub const Grams = extern struct {
    items: table.Vector,
    /// Words of one plane.
    words: usize,
    n: u32,
    mode: Mode,
    symbols: [*]const u32,
    /// Number of n-grams: symbols - n + 1.
    grams: usize,
};

pub const Kernels = extern struct {
    /// Sums of all n-grams' trits in one block of 512 dimensions.
    count_grams: *const fn (grams: *const Grams, block: usize, counts: *[table.block_trits]i32) callconv(.c) void,
    /// Sum of centroid x trit.
    dot: *const fn (centroid: Centroid, vector: table.Vector, words: usize) callconv(.c) f64,
    /// centroid += weight x trit, each rounded once.
    add: *const fn (centroid: CentroidTarget, vector: table.Vector, words: usize, weight: f32) callconv(.c) void,
    /// The same with counts in place of trits; the product and the sum are rounded.
    dot_counts: *const fn (centroid: Centroid, counts: [*]const i32, dim: usize) callconv(.c) f64,
    add_counts: *const fn (centroid: CentroidTarget, counts: [*]const i32, dim: usize, weight: f32) callconv(.c) void,
    /// Sums of squares.
    squares: *const fn (centroid: Centroid, dim: usize) callconv(.c) f64,
    squares_counts: *const fn (counts: [*]const i32, dim: usize) callconv(.c) f64,
};
