//! The table of kernels that every instruction-set tier fills, and the layouts they share.
//!
//! Prepared weights. Rows are cut into panels of 16, columns into steps (each group of columns that
//! has its own scale is padded to whole steps). A panel's step is 64 bytes, one 32-bit word for each
//! row; up to four panels make a block, and a block's panels alternate:
//!
//!     block: step 0 [panel 0][panel 1][panel 2][panel 3] step 1 [panel 0] ...
//!
//! What a word holds is the layout. Codes are trit + 1 (0, 1, 2); padding rows and columns hold 1.
//!
//! planes, 16 columns a step: byte j holds columns j, 4+j, 8+j, 12+j as 2-bit codes,
//!
//!     byte j:   bits 7-6      5-4      3-2      1-0
//!               col 12+j     8+j      4+j      j
//!
//! so that AND with one mask leaves the four columns 4p..4p+3 of plane p as the four bytes of each
//! 32-bit lane, which is what a dot-product instruction takes. Serves both kinds of activations.
//!
//! base3, 20 columns a step: byte j is c[j] + 3 c[4+j] + 9 c[8+j] + 27 c[12+j] + 81 c[16+j]: five
//! planes in 8 bits, a fifth less to read than planes and more to compute. int8 activations.
//!
//! triples, 18 columns a step: bits 5t..5t+4 are c[3t] + 3 c[3t+1] + 9 c[3t+2], the index of a sum of
//! three activations in a table of 27 that two registers of AVX-512 hold. f32 activations.

const gradient_entropy_table = @import("gradients_entropy_table.zig");
const gradients_table = @import("gradients_table.zig");
const gemm_table = @import("gemm_table.zig");
const nn_table = @import("nn_table.zig");
const ternary_table = @import("ternary_table.zig");
const probe_table = @import("probe_table.zig");
const training_table = @import("training_table.zig");
const vsa_table = @import("vsa_table.zig");
const precision_table = @import("precision_table.zig");

pub const panel_rows = ternary_table.panel_rows;
/// Columns of a step of planes, the layout that weights are first prepared in.
pub const step_columns = 16;
pub const panel_step_bytes = 64;
pub const panels_per_block = 4;
pub const block_rows = panel_rows * panels_per_block;

pub const Layout = enum(u8) {
    planes,
    base3,
    triples,

    pub fn stepColumns(self: Layout) u32 {
        return switch (self) {
            .planes => step_columns,
            .base3 => 20,
            .triples => 18,
        };
    }

    /// Steps of one f32 segment: partial sums of at most 512 columns are scaled and added to the
    /// output, which bounds the rounding error and makes the order of additions the same on every
    /// tier. Shorter ones would spend more time on the output, longer ones on fetching their tables.
    pub fn segmentSteps(self: Layout) u32 {
        return if (self == .triples) 24 else 32;
    }

    /// Floats per step and token in an f32 tile on AVX-512: 8 tables of 16 sums, or 6 of 32. The
    /// other tiers keep the activations themselves.
    pub fn tableFloats(self: Layout) u32 {
        return if (self == .triples) 6 * 32 else 8 * 16;
    }
};

pub const step_columns_max = 20;

/// Tokens that one pass over the weights serves with f32 activations; a tile in memory interleaves 1
/// to this many.
pub const tile_tokens_f32 = 4;

/// int8: one block of weights times one tile of tokens, over all columns.
pub const BlockI8 = extern struct {
    /// The block's first byte.
    weights: [*]const u8,
    /// [step][plane][token] 32-bit words of four activations; as many planes as the layout has.
    tile: [*]const i32,
    /// [group][token] sums of the activations, because codes are trit + 1.
    sums: [*]const i32,
    /// [token] activation scales.
    token_scales: [*]const f32,
    /// [panel][group][16] weight scales of the block.
    row_scales: [*]const f32,
    /// The rows' biases, or null.
    bias: ?[*]const f32,
    /// Output of the block's first row for the first token.
    output: [*]f32,
    /// Elements between the outputs of two tokens.
    output_stride: usize,
    panels: u32,
    /// Rows of the block that exist; the rest is padding.
    rows: u32,
    groups: u32,
    group_steps: u32,
    tokens: u32,
};

/// f32: one block of weights times one tile of tokens, over one segment of columns.
pub const BlockF32 = extern struct {
    /// The block's bytes at the segment's first step.
    weights: [*]const u8,
    /// Where the next block's stand: far away, so the processor is told in time.
    next_weights: [*]const u8,
    /// [step][...] as `prepare` of the same tier and layout wrote it.
    tile: [*]const f32,
    /// Scales of the segment's group: panel p's 16 scales stand at p * row_scales_stride.
    row_scales: [*]const f32,
    row_scales_stride: usize,
    bias: ?[*]const f32,
    output: [*]f32,
    output_stride: usize,
    panels: u32,
    rows: u32,
    steps: u32,
    tokens: u32,
    /// The first segment stores, the others add.
    first: u32,
    /// The last segment adds the bias.
    last: u32,
};

pub const Kernels = extern struct {
    /// The same with int8 activations.
    tile_tokens_i8: u32,
    /// 1 where f32 products look sums of activations up, which takes half the time of a dense product.
    has_sum_tables: u32,
    /// Quantises one token: q = round(x * 127/absmax) ties to even, group by group, each padded with
    /// zeros to whole steps; writes the scale and the sum of each group. Returns 0, or 1 where a
    /// value is not finite. `absmax_floor` is the least divisor (0, or 1e-5 in models).
    quantize_token: *const fn (input: [*]const f32, columns: u32, group_columns: u32, step_columns: u32, absmax_floor: f32, quantized: [*]i8, sums: [*]i32, scale: *f32) callconv(.c) u32,
    /// Weights as planes, and as base3.
    matmul_i8: *const fn (*const BlockI8) callconv(.c) void,
    matmul_i8_base3: *const fn (*const BlockI8) callconv(.c) void,
    /// Weights as planes, and as triples.
    f32_planes: KernelsF32,
    f32_triples: KernelsF32,
    nn: nn_table.Kernels,
    gemm: gemm_table.Kernels,
    training: training_table.Kernels,
    ternary: ternary_table.Kernels,
    probes: probe_table.Kernels,
    vsa: vsa_table.Kernels,
    precision: precision_table.Kernels,
    gradients: gradients_table.Kernels,
    gradient_entropy: gradient_entropy_table.Kernels,
};

pub const KernelsF32 = extern struct {
    /// Writes the tile of `tokens` inputs (each `stride` apart) for columns [0, columns), padded with
    /// zeros to whole steps.
    prepare: *const fn (input: [*]const f32, stride: usize, tokens: u32, columns: u32, tile: [*]f32) callconv(.c) void,
    matmul: *const fn (*const BlockF32) callconv(.c) void,
};
