//! The kernels of a transformer's f32 side, and what they are told.
//!
//! The cache's layout is theirs too. Per layer and kv head, keys lie in blocks of 16 positions with
//! the positions innermost, so that one vector holds one dimension of 16 keys and a score needs no
//! sum across lanes; values lie row by row, because they are added row by row:
//!
//!     keys:    block 0 [dim 0: pos 0..15][dim 1: pos 0..15] ... block 1 [dim 0: pos 16..31] ...
//!     values:  pos 0 [dim 0 .. dim n-1, padded to 16] pos 1 [...] ...

pub const key_block = 16;

/// Queries that one pass over keys or values serves.
pub const rows_max = 4;

/// Rows of a dense table times tokens.
pub const Dense = extern struct {
    input: [*]const f32,
    /// Elements between two tokens.
    input_stride: usize,
    /// The first row; any alignment.
    weights: [*]const u8,
    row_bytes: usize,
    /// The rows' biases, or null.
    bias: ?[*]const f32,
    /// Output of the first row for the first token.
    output: [*]f32,
    output_stride: usize,
    tokens: u32,
    rows: u32,
    columns: u32,
    /// A vector16.Float.
    float: u32,
};

/// Rows of a block of int8 rows; see dense_i8.zig.
pub const dense_i8_rows = 64;

/// One block of int8 rows times one tile of tokens.
pub const DenseI8 = extern struct {
    weights: [*]const u8,
    /// [word][token] 32-bit words of four activations.
    tile: [*]const i32,
    /// [token] sums of the activations.
    sums: [*]const i32,
    token_scales: [*]const f32,
    /// Of all rows of the block, also those that are padding.
    row_scales: [*]const f32,
    /// Output of the block's first row for the first token.
    output: [*]f32,
    output_stride: usize,
    /// Rows that exist.
    rows: u32,
    /// Columns over four, padded as the activations are.
    words: u32,
    tokens: u32,
};

/// Scaled dot products of up to `rows_max` queries with consecutive blocks of keys.
pub const Scores = extern struct {
    queries: [rows_max][*]const f32,
    keys: [*]const f32,
    scores: [*]f32,
    scores_stride: usize,
    scale: f32,
    rows: u32,
    dim: u32,
    blocks: u32,
};

/// sums[row][d] += weights[row][key] * values[key][d], in the order of the keys.
pub const Mix = extern struct {
    weights: [*]const f32,
    weights_stride: usize,
    values: [*]const f32,
    sums: [*]f32,
    rows: u32,
    /// A multiple of 16; also the elements between two values and between two sums.
    dim: u32,
    keys: u32,
};

pub const Kernels = extern struct {
    rms_norm: *const fn (input: [*]const f32, weight: [*]const f32, output: [*]f32, count: u32, epsilon: f32) callconv(.c) void,
    layer_norm: *const fn (input: [*]const f32, weight: [*]const f32, bias: ?[*]const f32, output: [*]f32, count: u32, epsilon: f32) callconv(.c) void,
    /// Softmax of consecutive elements.
    softmax_row: *const fn (input: [*]const f32, output: [*]f32, count: u32) callconv(.c) void,
    /// Softmax of `lanes` (1 to 16) neighbouring columns, each of `size` elements `stride` apart.
    softmax_columns: *const fn (input: [*]const f32, output: [*]f32, size: u32, stride: u32, lanes: u32) callconv(.c) void,
    /// The f64 sum of e^((x - most) * scale).
    sum_exp: *const fn (input: [*]const f32, count: u32, most: f32, scale: f32) callconv(.c) f64,
    dense: *const fn (*const Dense) callconv(.c) void,
    dense_i8: *const fn (*const DenseI8) callconv(.c) void,
    /// Exact conversion of f32, f16 or bf16 to f32.
    widen: *const fn (source: [*]const u8, float: u32, output: [*]f32, count: u32) callconv(.c) void,
    /// gate = act(gate) * up; kind 0 is relu squared, 1 is silu.
    gate: *const fn (gate: [*]f32, up: [*]const f32, count: u32, kind: u32) callconv(.c) void,
    add: *const fn (sum: [*]f32, term: [*]const f32, count: u32) callconv(.c) void,
    /// Turns the pairs (x[i], x[half + i]) by their angles, in place.
    rope: *const fn (x: [*]f32, cos: [*]const f32, sin: [*]const f32, half: u32) callconv(.c) void,
    scores: *const fn (*const Scores) callconv(.c) void,
    /// e^(score - max) of the scores in [first, end), 0 for the others up to `blocks` blocks; returns
    /// one over their sum.
    weigh: *const fn (scores: [*]f32, first: u32, end: u32, blocks: u32) callconv(.c) f32,
    mix: *const fn (*const Mix) callconv(.c) void,
    scale: *const fn (input: [*]const f32, factor: f32, output: [*]f32, count: u32) callconv(.c) void,
};
