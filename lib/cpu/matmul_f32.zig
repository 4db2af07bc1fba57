//! Ternary weights times f32 activations, by additions only.
//!
//!     y[token][row] = sum over segments of (sum over pairs of (+-x[k] +-x[k+4])) * row_scale + bias
//!
//! A segment is at most 256 columns of one scale group. Within it two activations that share a
//! nibble of the weights are added first (one rounding), then the pair is added to the lane's sum:
//! the same order on every tier, so the result is the same to the last bit.
//!
//! On AVX-512 the nine sums of a pair are a table in a register, prepared once per token, and a
//! nibble of the weights looks its sum up: per 16 rows and two columns one shift, one permute per
//! token and one addition. Elsewhere the codes are turned into -1.0, 0.0, 1.0 once per tile.
//! Floor per block of 64 rows and 16 columns: 32 shifts, then 32 permutes and 32 additions a token.

const std = @import("std");
const simd = @import("simd.zig");
const table = @import("table.zig");

const uses_tables = simd.has_avx512;
const tile_rows = if (simd.has_avx512) 4 else 2;
const vectors_per_panel = table.panel_rows / simd.lanes;
/// Only AVX-512, whose vector is a whole panel, meets blocks that do not fill its register tile.
const tile_rows_min = if (vectors_per_panel == 1) 1 else tile_rows;
const nibbles = 8;
/// Floats that a token takes per step of a tile.
const step_floats = if (uses_tables) nibbles * 16 else table.step_columns;

/// The two columns of nibble `index` within a step.
inline fn pairOf(index: usize) [2]usize {
    const first = (index & 1) * 8 + index / 2;
    return .{ first, first + 4 };
}

pub fn prepare(input: [*]const f32, stride: usize, tokens: u32, columns: u32, tile: [*]f32) callconv(.c) void {
    const steps = (columns + table.step_columns - 1) / table.step_columns;
    for (0..tokens) |token| {
        const source = input + token * stride;
        for (0..steps) |step| {
            const first = step * table.step_columns;
            var values: [table.step_columns]f32 = @splat(0);
            const count = @min(table.step_columns, columns - first);
            if (count == table.step_columns) {
                values = source[first..][0..table.step_columns].*;
            } else {
                for (0..count) |k| values[k] = source[first + k];
            }
            if (uses_tables) {
                prepareTables(&values, tile + (step * nibbles * tokens + token) * 16, tokens);
            } else {
                for (0..table.step_columns) |k| tile[(step * table.step_columns + k) * tokens + token] = values[k];
            }
        }
    }
}

/// Entry c0 + 4 * c1 of a pair's table is (c0 - 1) * x0 + (c1 - 1) * x1; both products are exact.
fn prepareTables(values: *const [16]f32, tile: [*]f32, tokens: usize) void {
    const first: @Vector(16, f32) = .{ -1, 0, 1, 0, -1, 0, 1, 0, -1, 0, 1, 0, -1, 0, 1, 0 };
    const second: @Vector(16, f32) = .{ -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0 };
    inline for (0..nibbles) |nibble| {
        const pair = comptime pairOf(nibble);
        const x0: @Vector(16, f32) = @splat(values[pair[0]]);
        const x1: @Vector(16, f32) = @splat(values[pair[1]]);
        simd.store(tile + nibble * tokens * 16, first * x0 + second * x1);
    }
}

pub fn block(task: *const table.BlockF32) callconv(.c) void {
    const vectors = task.panels * vectors_per_panel;
    var start: usize = 0;
    while (start < vectors) : (start += tile_rows) {
        switch (@as(usize, @min(tile_rows, vectors - start))) {
            inline tile_rows_min...tile_rows => |count| tokensOf(task, start, count),
            else => unreachable,
        }
    }
}

inline fn tokensOf(task: *const table.BlockF32, start: usize, comptime count: usize) void {
    switch (task.tokens) {
        inline 1...table.tile_tokens_f32 => |tokens| registerTile(task, start, count, tokens),
        else => unreachable,
    }
}

noinline fn registerTile(
    task: *const table.BlockF32,
    start: usize,
    comptime count: usize,
    comptime tokens: usize,
) void {
    var sums: [count][tokens]simd.F32 = @splat(@splat(@splat(0)));
    var weights = task.weights + start * simd.lanes * 4;
    var tile = task.tile;
    for (0..task.steps) |_| {
        var codes: [count]simd.U32 = undefined;
        inline for (0..count) |v| {
            codes[v] = @bitCast(simd.load(@Vector(simd.lanes * 4, u8), weights + v * simd.lanes * 4));
        }
        inline for (0..nibbles) |nibble| {
            if (uses_tables) {
                addLookups(count, tokens, &sums, &codes, tile, nibble);
            } else {
                addPairs(count, tokens, &sums, &codes, tile, nibble);
            }
        }
        weights += task.panels * table.panel_step_bytes;
        tile += step_floats * tokens;
    }
    inline for (0..count) |v| {
        const scales = rowScales(task, start + v);
        inline for (0..tokens) |t| storeRows(task, (start + v) * simd.lanes, t, sums[v][t] * scales);
    }
}

inline fn addLookups(
    comptime count: usize,
    comptime tokens: usize,
    sums: *[count][tokens]simd.F32,
    codes: *const [count]simd.U32,
    tile: [*]const f32,
    comptime nibble: usize,
) void {
    inline for (0..count) |v| {
        const indices = codes[v] >> @splat(4 * nibble);
        inline for (0..tokens) |t| {
            const entries = simd.load(@Vector(16, f32), tile + (nibble * tokens + t) * 16);
            sums[v][t] = sums[v][t] + simd.lookup16(entries, indices);
        }
    }
}

inline fn addPairs(
    comptime count: usize,
    comptime tokens: usize,
    sums: *[count][tokens]simd.F32,
    codes: *const [count]simd.U32,
    tile: [*]const f32,
    comptime nibble: usize,
) void {
    const pair = comptime pairOf(nibble);
    inline for (0..count) |v| {
        const first = trits(codes[v] >> @splat(4 * nibble));
        const second = trits(codes[v] >> @splat(4 * nibble + 2));
        inline for (0..tokens) |t| {
            const x0: simd.F32 = @splat(tile[pair[0] * tokens + t]);
            const x1: simd.F32 = @splat(tile[pair[1] * tokens + t]);
            sums[v][t] = sums[v][t] + simd.addProduct(x1, second, first * x0);
        }
    }
}

/// The low two bits of each lane as -1.0, 0.0 or 1.0: put into the mantissa of 2^23, exactly.
inline fn trits(codes: simd.U32) simd.F32 {
    const bits = (codes & @as(simd.U32, @splat(3))) | @as(simd.U32, @splat(0x4b00_0000));
    return @as(simd.F32, @bitCast(bits)) - @as(simd.F32, @splat(8388609));
}

inline fn rowScales(task: *const table.BlockF32, vector: usize) simd.F32 {
    const row = vector % vectors_per_panel * simd.lanes;
    return simd.load(simd.F32, task.row_scales + vector / vectors_per_panel * task.row_scales_stride + row);
}

inline fn storeRows(task: *const table.BlockF32, row: usize, token: usize, values: simd.F32) void {
    if (row >= task.rows) return;
    const output = task.output + token * task.output_stride + row;
    const whole = row + simd.lanes <= task.rows;
    var old: [simd.lanes]f32 = @splat(0);
    var bias: [simd.lanes]f32 = @splat(0);
    const count = if (whole) simd.lanes else task.rows - row;
    if (task.first == 0) copyLanes(&old, output, count);
    if (task.last != 0) if (task.bias) |pointer| copyLanes(&bias, pointer + row, count);
    // Adding a zero bias would turn -0 into 0, and so would adding to a zero output.
    var result = if (task.first == 0) @as(simd.F32, old) + values else values;
    if (task.last != 0 and task.bias != null) result = result + @as(simd.F32, bias);
    if (whole) {
        simd.store(output, result);
    } else {
        const array: [simd.lanes]f32 = result;
        for (0..count) |lane| output[lane] = array[lane];
    }
}

inline fn copyLanes(lanes: *[simd.lanes]f32, source: [*]const f32, count: usize) void {
    if (count == simd.lanes) {
        lanes.* = source[0..simd.lanes].*;
    } else {
        for (0..count) |lane| lanes[lane] = source[lane];
    }
}
