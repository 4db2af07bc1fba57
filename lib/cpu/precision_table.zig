//! The kernels of mixed precision, accumulation and predicted gradients, and what they are told.

/// Linear combinations of arrays that lie one after the other, element by element:
///
///     out[o][i] = sum over s of coefficients[o][s] * sources[s][i]
///
/// The sum is in f64, in the order of the sources, and is rounded once.
pub const Combine = extern struct {
    /// [source][element]
    sources: [*]const f32,
    /// Elements between two sources.
    stride: usize,
    /// [output][source]
    coefficients: [*]const f64,
    /// [output][element]; with one output it may be one of the sources.
    out: [*]f32,
    out_stride: usize,
    sources_count: u32,
    /// 1 or 2.
    outputs: u32,
};

/// Sums over elements: (a - p)^2, a^2, p^2 and a p, where p is the first output of a combination.
pub const Compared = [4]f64;

pub const Kernels = extern struct {
    /// Rounds to f16 or bf16 (a vector16.Float), ties to even.
    narrow: *const fn (values: [*]const f32, float: u32, out: [*]u16, count: usize) callconv(.c) void,
    /// Moves what lies outside to the bounds; NaN becomes 0 first, or stays.
    clip: *const fn (values: [*]f32, least: f32, most: f32, nan_to_zero: u32, count: usize) callconv(.c) void,
    /// Multiplies in f64 and rounds once; 1 where a result is not finite, else 0.
    scale: *const fn (values: [*]f32, factor: f64, count: usize) callconv(.c) u32,
    /// sum += weight * term, in f64 and rounded once.
    add_scaled: *const fn (sum: [*]f32, term: [*]const f32, weight: f64, count: usize) callconv(.c) void,
    /// In f64: the square of no f32 overflows there.
    sum_squares: *const fn (values: [*]const f32, count: usize) callconv(.c) f64,
    /// The elements from `from` up to `to`.
    combine: *const fn (job: *const Combine, from: usize, to: usize) callconv(.c) void,
    /// Adds to the sums.
    compare: *const fn (job: *const Combine, actual: [*]const f32, from: usize, to: usize, sums: *Compared) callconv(.c) void,
    /// Packs trits, `from` a multiple of 16: the sign of x with probability |x| / scale, else 0.
    pack_random: *const fn (values: [*]const f32, scale: f32, row: u64, seed: u64, bytes: [*]u8, from: usize, to: usize) callconv(.c) void,
};
