//! Ternary weights times int8 activations, exact in 32-bit integers.
//!
//!     y[token][row] = (sum over groups of float(sum of trit * q) * row_scale) * token_scale + bias
//!
//! Codes are trit + 1, so each group's dot product is too large by the sum of its activations, which
//! is subtracted once per group. The largest sum is 2 * 127 * columns, below 2^31 up to 8.4 million
//! columns; `columns_max` keeps clear of it.
//!
//! Floor per block of 64 rows and 16 columns: 256 bytes of weights; one 64-byte load, four ANDs and
//! four dot-product instructions per panel and token on AVX-512, so at one token reading the weights
//! is the limit (and the ANDs, on other ports, are free), from about five tokens on the dot products.

const simd = @import("simd.zig");
const table = @import("table.zig");

/// Row-vectors per register tile, and tokens: accumulators plus codes must fit the registers.
const tile_rows = if (simd.has_avx512) 4 else if (simd.has_dot_product) 4 else 2;
const tile_tokens = if (simd.has_avx512) 5 else if (simd.has_dot_product) 5 else if (simd.has_avx2) 5 else 2;

const vectors_per_panel = table.panel_rows / simd.lanes;
/// Only AVX-512, whose vector is a whole panel, meets blocks that do not fill its register tile.
const tile_rows_min = if (vectors_per_panel == 1) 1 else tile_rows;

pub fn block(task: *const table.BlockI8) callconv(.c) void {
    const vectors = task.panels * vectors_per_panel;
    var start: usize = 0;
    while (start < vectors) : (start += tile_rows) {
        switch (@as(usize, @min(tile_rows, vectors - start))) {
            inline tile_rows_min...tile_rows => |count| tokensOf(task, start, count),
            else => unreachable,
        }
    }
}

/// Splits the tile's tokens into register tiles. The tile in memory interleaves all its tokens.
inline fn tokensOf(task: *const table.BlockI8, start: usize, comptime count: usize) void {
    switch (task.tokens) {
        inline 1...table.tile_tokens_i8 => |tokens| {
            comptime var first: usize = 0;
            inline while (first < tokens) {
                const width = comptime @min(tile_tokens, tokens - first);
                registerTile(task, start, count, tokens, first, width);
                first += width;
            }
        },
        else => unreachable,
    }
}

/// `count` row-vectors from vector `start` on, times `width` of the tile's `tokens` from `first` on.
noinline fn registerTile(
    task: *const table.BlockI8,
    start: usize,
    comptime count: usize,
    comptime tokens: usize,
    comptime first: usize,
    comptime width: usize,
) void {
    const stride = task.panels * table.panel_step_bytes;
    var totals: [count][width]simd.F32 = @splat(@splat(@splat(0)));
    var weights = task.weights + start * simd.lanes * 4;
    var tile = task.tile + first;
    for (0..task.groups) |group| {
        const sums = if (simd.has_avx512 and width == 1 and task.group_steps <= shifted_steps_max)
            groupOfOne(weights, stride, tile, task.group_steps, count, tokens)
        else
            groupOfMany(weights, stride, tile, task.group_steps, count, tokens, width);
        weights += task.group_steps * stride;
        tile += task.group_steps * 4 * tokens;
        inline for (0..count) |v| {
            const scales = rowScales(task, start + v, group);
            inline for (0..width) |t| {
                const offset: simd.I32 = @splat(task.sums[group * tokens + first + t]);
                const exact: simd.F32 = @floatFromInt(sums[v][t] - offset);
                totals[v][t] = totals[v][t] + exact * scales;
            }
        }
    }
    inline for (0..count) |v| {
        inline for (0..width) |t| {
            const scaled = totals[v][t] * @as(simd.F32, @splat(task.token_scales[first + t]));
            storeRows(task, (start + v) * simd.lanes, first + t, scaled);
        }
    }
}

/// A sum of codes times 64 stays within 32 bits for this many steps: 4 * 128 * 127 * 2^15 < 2^31.
const shifted_steps_max = 1 << 15;

/// One token: the planes stay where they are (codes times 1, 4, 16, 64), each with an accumulator
/// of its own, and the sums are shifted back at the end; no shift per vector of weights.
inline fn groupOfOne(
    weights: [*]const u8,
    stride: usize,
    tile: [*]const i32,
    steps: usize,
    comptime count: usize,
    comptime tokens: usize,
) [count][1]simd.I32 {
    var planes: [count][4]simd.I32 = @splat(@splat(@splat(0)));
    for (0..steps) |step| {
        inline for (0..count) |v| {
            const codes = loadCodes(weights + step * stride, v);
            inline for (0..4) |plane| {
                const mask: simd.U32 = @splat(0x03030303 << (2 * plane));
                const activations: simd.I32 = @splat(tile[(step * 4 + plane) * tokens]);
                planes[v][plane] = simd.dot4(planes[v][plane], codes & mask, activations);
            }
        }
    }
    var sums: [count][1]simd.I32 = undefined;
    inline for (0..count) |v| {
        sums[v][0] = planes[v][0] + (planes[v][1] >> @splat(2)) + (planes[v][2] >> @splat(4)) + (planes[v][3] >> @splat(6));
    }
    return sums;
}

inline fn groupOfMany(
    weights: [*]const u8,
    stride: usize,
    tile: [*]const i32,
    steps: usize,
    comptime count: usize,
    comptime tokens: usize,
    comptime width: usize,
) [count][width]simd.I32 {
    var sums: [count][width]simd.I32 = @splat(@splat(@splat(0)));
    const mask: simd.U32 = @splat(0x03030303);
    for (0..steps) |step| {
        inline for (0..4) |plane| {
            var codes: [count]simd.U32 = undefined;
            inline for (0..count) |v| codes[v] = (loadCodes(weights + step * stride, v) >> @splat(2 * plane)) & mask;
            inline for (0..width) |t| {
                const activations: simd.I32 = @splat(tile[(step * 4 + plane) * tokens + t]);
                inline for (0..count) |v| sums[v][t] = simd.dot4(sums[v][t], codes[v], activations);
            }
        }
    }
    return sums;
}

inline fn loadCodes(weights: [*]const u8, comptime vector: usize) simd.U32 {
    return @bitCast(simd.load(@Vector(simd.lanes * 4, u8), weights + vector * simd.lanes * 4));
}

inline fn rowScales(task: *const table.BlockI8, vector: usize, group: usize) simd.F32 {
    const panel = vector / vectors_per_panel;
    const row = vector % vectors_per_panel * simd.lanes;
    return simd.load(simd.F32, task.row_scales + (panel * task.groups + group) * table.panel_rows + row);
}

/// Writes the outputs of the rows that exist.
inline fn storeRows(task: *const table.BlockI8, row: usize, token: usize, values: simd.F32) void {
    const output = task.output + token * task.output_stride + row;
    if (row + simd.lanes <= task.rows) {
        const biased = if (task.bias) |bias| values + simd.load(simd.F32, bias + row) else values;
        simd.store(output, biased);
    } else if (row < task.rows) {
        const array: [simd.lanes]f32 = values;
        for (0..task.rows - row) |lane| {
            output[lane] = if (task.bias) |bias| array[lane] + bias[row + lane] else array[lane];
        }
    }
}
