//! Dense rows times tokens, for the LM head and `linear_f32`; rows are f32, f16 or bf16 and are
//! widened as they are read.
//!
//!     y[token][row] = sum over columns of x[token][column] * w[row][column] + bias[row]
//!
//! Each output is one accumulator of 16 lanes (column c goes to lane c mod 16) and one tree, so that
//! how rows and tokens are tiled never shows in the result.
//!
//! Floor for one token: the bytes of the table, once; per 16 columns of a row one load, a widening,
//! one multiplication and one addition. Several tokens share the loads of a tile's rows.

const v16 = @import("vector16.zig");
const nn_table = @import("nn_table.zig");

const V = v16.V;
const width = v16.width;

/// Accumulators of one tile must fit the registers: 32 of 16 lanes, 32 of 4, 16 of 8, or 16 of 4.
const tile_rows = if (v16.has_avx512) 4 else if (v16.has_avx2 or v16.has_neon) 2 else 1;
const tile_tokens = if (v16.has_avx512) 4 else 2;
/// Rows that a single token takes at once, to have several additions in flight.
const single_rows = if (v16.has_avx512 or v16.has_avx2 or v16.has_neon) 4 else 2;
const rows_step = @max(tile_rows, single_rows);

/// Rows that stay in the second-level cache while all tokens pass by.
const group_bytes = 512 << 10;

pub fn dense(task: *const nn_table.Dense) callconv(.c) void {
    switch (task.float) {
        inline 0, 1, 2 => |float| typed(task, @fromBackingInt(@intCast(float))),
        else => {},
    }
}

fn typed(task: *const nn_table.Dense, comptime float: v16.Float) void {
    const group = @max(rows_step, group_bytes / @max(task.row_bytes, 1) / rows_step * rows_step);
    var row: usize = 0;
    while (row < task.rows) : (row += group) {
        const end = @min(row + group, task.rows);
        var token: usize = 0;
        while (token + tile_tokens <= task.tokens) : (token += tile_tokens) {
            rowsOf(task, float, tile_rows, tile_tokens, row, end, token);
        }
        while (token < task.tokens) : (token += 1) rowsOf(task, float, single_rows, 1, row, end, token);
    }
}

fn rowsOf(
    task: *const nn_table.Dense,
    comptime float: v16.Float,
    comptime rows: usize,
    comptime tokens: usize,
    first: usize,
    end: usize,
    token: usize,
) void {
    var row = first;
    while (row + rows <= end) : (row += rows) tile(task, float, rows, tokens, row, token);
    while (row < end) : (row += 1) tile(task, float, 1, tokens, row, token);
}

fn tile(
    task: *const nn_table.Dense,
    comptime float: v16.Float,
    comptime rows: usize,
    comptime tokens: usize,
    row: usize,
    token: usize,
) void {
    var sums: [rows][tokens]V = @splat(@splat(@splat(0)));
    const weights = task.weights + row * task.row_bytes;
    const input = task.input + token * task.input_stride;
    const size = comptime float.size();
    var column: usize = 0;
    while (column + width <= task.columns) : (column += width) {
        var x: [tokens]V = undefined;
        inline for (0..tokens) |t| x[t] = v16.load(input + t * task.input_stride + column);
        inline for (0..rows) |r| {
            const w = v16.loadFloat(float, weights + r * task.row_bytes + column * size);
            // The rows of the next tile: hardware prefetchers stop at the end of a page, which for a
            // mapped file is 4096 bytes.
            if (tokens == 1) @prefetch(weights + (rows + r) * task.row_bytes + column * size, .{ .locality = 2 });
            inline for (0..tokens) |t| sums[r][t] = sums[r][t] + w * x[t];
        }
    }
    const left = task.columns - column;
    if (left > 0) {
        inline for (0..rows) |r| {
            const w = v16.loadFloatPart(float, weights + r * task.row_bytes + column * size, left);
            inline for (0..tokens) |t| {
                const x = v16.loadPart(input + t * task.input_stride + column, left, 0);
                sums[r][t] = sums[r][t] + w * x;
            }
        }
    }
    inline for (0..rows) |r| {
        inline for (0..tokens) |t| {
            const total = v16.sum(sums[r][t]);
            const output = &task.output[(token + t) * task.output_stride + row + r];
            output.* = if (task.bias) |bias| total + bias[row + r] else total;
        }
    }
}

/// Exact conversion to f32.
pub fn widen(source: [*]const u8, float: u32, output: [*]f32, count: u32) callconv(.c) void {
    switch (float) {
        inline 0, 1, 2 => |number| {
            const kind: v16.Float = @fromBackingInt(@intCast(number));
            const size = comptime kind.size();
            var i: usize = 0;
            while (i + width <= count) : (i += width) v16.store(output + i, v16.loadFloat(kind, source + i * size));
            if (i < count) v16.storePart(output + i, count - i, v16.loadFloatPart(kind, source + i * size, count - i));
        },
        else => {},
    }
}
