//! The kernels of gradient codecs that every instruction-set tier fills.

/// What the signs of a block were put on.
pub const Flipped = extern struct {
    /// The bits of the largest magnitude, before the factor.
    largest: u32,
    /// The sum of the squares, after the factor.
    squares: f32,
};

/// Sums over two lists of values.
pub const Sums = extern struct { dot: f64, squares_a: f64, squares_b: f64, squares_difference: f64 };

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
    levels: extern struct { two: Levels, three: Levels, four: Levels, eight: Levels, sixteen: Levels },
    /// See gradients_trits.zig.
    pack_codes: *const fn (codes: [*]const u8, count: usize, bytes: [*]u8) callconv(.c) void,
    unpack_codes: *const fn (bytes: [*]const u8, count: usize, codes: [*]u8) callconv(.c) u32,
    codes_above: *const fn (values: [*]const f32, count: usize, limit: f32, codes: [*]u8) callconv(.c) void,
    scaled: *const fn (codes: [*]const u8, count: usize, scale: f32, values: [*]f32) callconv(.c) void,
    sum_above: *const fn (values: [*]const f32, count: usize, factor: f32, limits: *const [4]f32, sums: *[4]f32, counts: *[4]u32) callconv(.c) void,
    /// See gradients_sums.zig.
    sums: *const fn (a: [*]const f32, b: [*]const f32, count: usize, result: *Sums) callconv(.c) void,
    combine: *const fn (a: [*]align(1) const f32, alpha: f32, b: [*]align(1) const f32, beta: f32, count: usize, out: [*]align(1) f32) callconv(.c) void,
};
