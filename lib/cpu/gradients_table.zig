//! The kernels of gradient codecs that every instruction-set tier fills.

const places = @import("gradients_places_table.zig");

/// What the signs of a block were put on.
pub const Flipped = extern struct {
    /// The bits of the largest magnitude, before the factor.
    largest: u32,
    /// The sum of the squares, after the factor.
    squares: f32,
};

/// Sums over two lists of values.
pub const Sums = extern struct { dot: f64, squares_a: f64, squares_b: f64, squares_difference: f64 };

/// What is above a threshold.
pub const Kept = extern struct { magnitudes: f32, count: u32 };

/// A number of levels; see gradients_levels.zig.
pub const Levels = extern struct {
    quantize: *const fn (values: [*]align(64) const f32, size: usize, deviation: f32, codes: [*]u8) callconv(.c) f32,
    dequantize: *const fn (codes: [*]const u8, size: usize, values: [*]align(64) f32) callconv(.c) void,
};

pub const Kernels = extern struct {
    /// Bit i % 8 of byte i / 8 is the sign bit of value i; bits after the last are 0.
    sign_bits: *const fn (values: [*]const f32, count: usize, bits: [*]u8) callconv(.c) void,
    /// `scale` with the sign that each bit says.
    signed: *const fn (bits: [*]const u8, count: usize, scale: f32, values: [*]f32) callconv(.c) void,
    /// See gradients_hadamard.zig and gradients_rotate.zig.
    hadamard: *const fn (values: [*]align(64) f32, size: usize) callconv(.c) void,
    flip: *const fn (values: [*]const f32, count: usize, size: usize, block: u64, seed: u64, factor: f32, out: [*]align(64) f32, flipped: *Flipped) callconv(.c) void,
    unflip: *const fn (values: [*]align(64) const f32, count: usize, block: u64, seed: u64, scale: f32, out: [*]f32) callconv(.c) void,
    bind: *const fn (values: [*]align(64) f32, size: usize, row: u64, seed: u64) callconv(.c) void,
    levels: extern struct { two: Levels, three: Levels, four: Levels, eight: Levels, sixteen: Levels },
    /// See gradients_trits.zig.
    pack_codes: *const fn (codes: [*]const u8, count: usize, bytes: [*]u8) callconv(.c) void,
    unpack_codes: *const fn (bytes: [*]const u8, count: usize, codes: [*]u8) callconv(.c) u32,
    keep: *const fn (values: [*]const f32, count: usize, factor: f32, limit: f32, codes: [*]u8, kept: *Kept) callconv(.c) void,
    classes: *const fn (values: [*]const f32, count: usize, factor: f32, counts: *[16]u32) callconv(.c) void,
    scaled: *const fn (codes: [*]const u8, count: usize, scale: f32, values: [*]f32) callconv(.c) void,
    add_trits: *const fn (codes: [*]const u8, length: usize, counts: [*]i32) callconv(.c) void,
    sign_codes: *const fn (counts: [*]const i32, length: usize, codes: [*]u8) callconv(.c) void,
    dot_trits: *const fn (values: [*]const f32, codes: [*]const u8, length: usize, nonzeros: *u32) callconv(.c) f32,
    /// See gradients_samples.zig.
    gather: *const fn (values: [*]const f32, start: u64, end: u64, n: u64, k: u64, seed: u64, samples: [*]align(1) f32) callconv(.c) u32,
    scatter: *const fn (samples: [*]align(1) const f32, start: u64, end: u64, n: u64, k: u64, seed: u64, weighted: u32, values: [*]f32) callconv(.c) void,
    /// See gradients_dense.zig.
    project: *const fn (gradients: [*]const f32, count: usize, from: usize, to: usize, seed: u64, factor: f32, sums: [*]align(64) f32) callconv(.c) void,
    expand: *const fn (samples: [*]align(64) const f32, count: usize, row: u64, seed: u64) callconv(.c) f32,
    /// See gradients_lowrank.zig.
    dots: *const fn (row: [*]const f32, q: [*]const f32, columns: usize, rank: usize, out: [*]f32, stride: usize) callconv(.c) void,
    transposed: *const fn (m: [*]const f32, rows: usize, columns: usize, from: usize, to: usize, p: [*]const f32, rank: usize, out: [*]f32) callconv(.c) void,
    expand_row: *const fn (p: [*]const f32, stride: usize, q: [*]const f32, columns: usize, rank: usize, out: [*]f32) callconv(.c) void,
    /// See gradients_sums.zig.
    sums: *const fn (a: [*]const f32, b: [*]const f32, count: usize, result: *Sums) callconv(.c) void,
    combine: *const fn (a: [*]align(1) const f32, alpha: f32, b: [*]align(1) const f32, beta: f32, count: usize, out: [*]align(1) f32) callconv(.c) void,
    /// See gradients_collect.zig.
    collect: *const fn (values: [*]const f32, count: usize, least: u32, bits: [*]u64, found: [*]u32, most: *u32) callconv(.c) usize,
    code_levels: *const fn (found: [*]const u32, count: usize, least: u32, factor: u32, codes: [*]u8) callconv(.c) void,
    place: *const fn (bits: [*]const u64, count: usize, values: [*]const f32, out: [*]f32) callconv(.c) void,
    /// See gradients_places.zig. `encode` returns how many words it wrote.
    encode_places: *const fn (*places.Encode) callconv(.c) usize,
    decode_places: *const fn (*places.Decode) callconv(.c) u32,
};
