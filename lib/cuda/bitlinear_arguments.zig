//! What the kernels of ternary layers and of the loss in training are told: the structures of
//! cuda/bitlinear.cu and head_loss.cu.

const Columns = @import("kernels.zig").Columns;

pub const Quantize = extern struct { input: u64, values: u64, scales: u64, features: u32, count: u32 };

pub const Magnitudes = extern struct { weights: u64, sums: u64, count: u64 };

pub const Ternarize = extern struct {
    weights: u64,
    /// [block] of `bitlinear_sum`.
    sums: u64,
    trits: u64,
    /// [row], the mean for each.
    scales: u64,
    /// The mean, 0 and 1: what cuBLAS multiplies with.
    factors: u64,
    count: u64,
    columns: Columns,
    rows: u32,
    tiles: u32,
};

pub const Place = extern struct {
    values: u64,
    padded: u64,
    sums: u64,
    columns: Columns,
    count: u32,
    padded_count: u32,
    slabs: u32,
    reserved: u32 = 0,
};

pub const Unpack = extern struct {
    trits: u64,
    out: u64,
    columns: Columns,
    padded_rows: u32,
    stride: u32,
};

pub const Widen = extern struct { values: u64, out: u64, count: u64, columns: u32, stride: u32 };

/// Places of the two parts of f32, 0 for none.
pub const Split = extern struct {
    source: u64,
    first: [2]u64,
    second: u64 = 0,
    row_stride: u64,
    /// [row] factors of the scaled parts, or 0.
    scales: u64 = 0,
    scaled_first: u64 = 0,
    scaled_second: u64 = 0,
    rows: u32,
    padded_rows: u32,
    columns: u32,
    padded_columns: u32,
};

pub const Loss = extern struct {
    logits: u64 = 0,
    targets: u64,
    /// Parts of the gradient, or 0.
    first: u64 = 0,
    second: u64 = 0,
    /// [token] of f64.
    losses: u64 = 0,
    /// The sum of the losses and the number of tokens that count, f64.
    result: u64,
    scale: f64 = 0,
    stride: u32 = 0,
    vocab: u32 = 0,
    tokens: u32,
    reserved: u32 = 0,
};
