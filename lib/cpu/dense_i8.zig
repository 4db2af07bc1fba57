//! int8 rows times int8 activations, for the LM head; exact in 32-bit integers.
//!
//!     y[token][row] = (float(sum of w * q) * row_scale) * token_scale
//!
//! Blocks of 64 rows, four columns at a time, so that a block is read from its first byte to its
//! last and no sum is needed across lanes:
//!
//!     block:  columns 0..3  [row 0: 4 bytes][row 1] ... [row 63]   columns 4..7  [row 0] ...
//!
//! Padding rows and columns hold zero. Floor for one token: the bytes, once; per 64 of them one load
//! and on AVX-512 one dot-product instruction, so memory is the limit up to about five tokens.

const simd = @import("simd.zig");
const nn_table = @import("nn_table.zig");

const vectors = nn_table.dense_i8_rows / simd.lanes;

/// Row-vectors and tokens of a register tile, and row-vectors for one token alone: accumulators and
/// operands must fit the registers, of which there are 32 or 16.
const tile_vectors = if (simd.has_avx512 or simd.has_dot_product) 4 else 2;
const tile_tokens = if (simd.has_avx512 or simd.has_dot_product) 5 else 2;
const single_vectors = if (simd.has_avx512) 4 else if (simd.has_dot_product) 16 else if (simd.has_avx2) 8 else 4;

pub fn denseI8(task: *const nn_table.DenseI8) callconv(.c) void {
    if (task.tokens == 1) {
        for (0..vectors / single_vectors) |i| tile(task, i * single_vectors, single_vectors, 0, 1);
        return;
    }
    for (0..vectors / tile_vectors) |i| {
        var token: usize = 0;
        while (token < task.tokens) {
            switch (@min(task.tokens - token, tile_tokens)) {
                inline 1...tile_tokens => |count| {
                    tile(task, i * tile_vectors, tile_vectors, token, count);
                    token += count;
                },
                else => unreachable,
            }
        }
    }
}

/// Weights far enough ahead that they are there when their turn comes.
const prefetch_bytes = 4096;

noinline fn tile(
    task: *const nn_table.DenseI8,
    first: usize,
    comptime count: usize,
    token: usize,
    comptime tokens: usize,
) void {
    const stride = nn_table.dense_i8_rows * 4;
    const interleave: usize = task.tokens;
    const lane_bytes = simd.lanes * 4;
    var sums: [count][tokens]simd.I32 = @splat(@splat(@splat(0)));
    for (0..task.words) |word| {
        const bytes = task.weights + word * stride + first * lane_bytes;
        var operands: [tokens]simd.ByteOperand = undefined;
        inline for (0..tokens) |t| operands[t] = .activations(@splat(task.tile[word * interleave + token + t]));
        inline for (0..count) |v| {
            if (tokens == 1 and v * lane_bytes % 64 == 0) @prefetch(bytes + prefetch_bytes + v * lane_bytes, .{ .locality = 2 });
            const weights: simd.ByteOperand = .weights(@bitCast(simd.load(@Vector(lane_bytes, u8), bytes + v * lane_bytes)));
            inline for (0..tokens) |t| sums[v][t] = simd.dotBytes(sums[v][t], weights, operands[t]);
        }
    }
    inline for (0..tokens) |t| {
        const offset: simd.I32 = @splat(task.sums[token + t] *% simd.byte_offset);
        const token_scale: simd.F32 = @splat(task.token_scales[token + t]);
        inline for (0..count) |v| {
            const row = (first + v) * simd.lanes;
            const exact: simd.F32 = @floatFromInt(sums[v][t] -% offset);
            storeRows(task, row, token + t, exact * simd.load(simd.F32, task.row_scales + row) * token_scale);
        }
    }
}

/// Writes the outputs of the rows that exist.
inline fn storeRows(task: *const nn_table.DenseI8, row: usize, token: usize, values: simd.F32) void {
    const output = task.output + token * task.output_stride + row;
    if (row + simd.lanes <= task.rows) {
        simd.store(output, values);
    } else if (row < task.rows) {
        const array: [simd.lanes]f32 = values;
        for (0..task.rows - row) |lane| output[lane] = array[lane];
    }
}
