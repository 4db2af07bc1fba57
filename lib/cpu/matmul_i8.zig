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

const Layout = table.Layout;

/// Tokens of a register tile, and its row-vectors: accumulators plus codes must fit the registers.
pub const tile_tokens = if (simd.has_avx512 or simd.has_dot_product) 5 else if (simd.has_avx2) 4 else 2;

fn tileRows(comptime tokens: usize) usize {
    if (simd.has_avx512 or simd.has_dot_product) return 4;
    // One token leaves the registers of AVX2 to a whole block.
    return if (simd.has_avx2 and tokens == 1) 8 else 2;
}

const vectors_per_panel = table.panel_rows / simd.lanes;

pub fn planes(task: *const table.BlockI8) callconv(.c) void {
    block(.planes, task);
}

pub fn base3(task: *const table.BlockI8) callconv(.c) void {
    block(.base3, task);
}

inline fn block(comptime layout: Layout, task: *const table.BlockI8) void {
    switch (task.tokens) {
        inline 1...tile_tokens => |tokens| rowsOf(layout, task, tokens),
        else => unreachable,
    }
}

inline fn rowsOf(comptime layout: Layout, task: *const table.BlockI8, comptime tokens: usize) void {
    const rows = comptime tileRows(tokens);
    const vectors = task.panels * vectors_per_panel;
    var start: usize = 0;
    while (start < vectors) : (start += rows) {
        switch (@as(usize, @min(rows, vectors - start))) {
            inline 1...rows => |count| {
                // Panels are whole, and so are register tiles that hold less than one.
                if (comptime count % @min(rows, vectors_per_panel) != 0) unreachable;
                registerTile(layout, task, start, count, tokens);
            },
            else => unreachable,
        }
    }
}

/// `count` row-vectors from vector `start` on, times the tile's tokens.
noinline fn registerTile(
    comptime layout: Layout,
    task: *const table.BlockI8,
    start: usize,
    comptime count: usize,
    comptime tokens: usize,
) void {
    const stride = task.panels * table.panel_step_bytes;
    var totals: [count][tokens]simd.F32 = @splat(@splat(@splat(0)));
    var weights = task.weights + start * simd.lanes * 4;
    var tile = task.tile;
    for (0..task.groups) |group| {
        const sums = if (simd.has_avx512 and tokens == 1 and task.group_steps <= shifted_steps_max)
            groupOfOne(layout, weights, stride, tile, task.group_steps, count, tokens)
        else if (simd.has_avx2 and !simd.has_avx512)
            groupOfPairs(layout, weights, stride, tile, task.group_steps, count, tokens)
        else
            groupOfMany(layout, weights, stride, tile, task.group_steps, count, tokens);
        weights += task.group_steps * stride;
        tile += task.group_steps * planesOf(layout) * tokens;
        inline for (0..count) |v| {
            const scales = rowScales(task, start + v, group);
            inline for (0..tokens) |t| {
                const offset: simd.I32 = @splat(task.sums[group * tokens + t]);
                const exact: simd.F32 = @floatFromInt(sums[v][t] - offset);
                totals[v][t] = totals[v][t] + exact * scales;
            }
        }
    }
    inline for (0..count) |v| {
        inline for (0..tokens) |t| {
            const scaled = totals[v][t] * @as(simd.F32, @splat(task.token_scales[t]));
            storeRows(task, (start + v) * simd.lanes, t, scaled);
        }
    }
}

/// A sum of codes times 64 stays within 32 bits for this many steps, even where two planes share it:
/// 2 * 4 * 128 * 127 * 2^14 < 2^31.
const shifted_steps_max = 1 << 14;

/// One token on AVX-512: the planes stay where they are (codes times 1, 4, 16, 64), each with an accumulator
/// of its own, and the sums are shifted back at the end; no shift per vector of weights.
inline fn groupOfOne(
    comptime layout: Layout,
    weights: [*]const u8,
    stride: usize,
    tile: [*]const i32,
    steps: usize,
    comptime count: usize,
    comptime tokens: usize,
) [count][1]simd.I32 {
    const words = comptime planesOf(layout);
    const masks = comptime [4]simd.U32{ maskOf(0), maskOf(1), maskOf(2), maskOf(3) };
    var planes_sums: [count][4]simd.I32 = @splat(@splat(@splat(0)));
    for (0..steps) |step| {
        var activations: [words]simd.I32 = undefined;
        inline for (0..words) |plane| activations[plane] = simd.broadcast(tile + (step * words + plane) * tokens);
        inline for (0..count) |v| {
            const place = weights + step * stride + v * simd.lanes * 4;
            if (layout == .planes) {
                simd.dotPlanes(&planes_sums[v], place, masks, activations[0..4].*);
            } else {
                const codes = loadCodes(layout, place, 0);
                inline for (0..words) |plane| {
                    // The fifth plane stands where the fourth does, and shares its sum.
                    const sum = &planes_sums[v][@min(plane, 3)];
                    sum.* = simd.dot4(sum.*, codes[plane / 4] & masks[@min(plane, 3)], activations[plane]);
                }
            }
        }
    }
    var sums: [count][1]simd.I32 = undefined;
    inline for (0..count) |v| {
        const own = planes_sums[v];
        sums[v][0] = own[0] + (own[1] >> @splat(2)) + (own[2] >> @splat(4)) + (own[3] >> @splat(6));
    }
    return sums;
}

inline fn groupOfMany(
    comptime layout: Layout,
    weights: [*]const u8,
    stride: usize,
    tile: [*]const i32,
    steps: usize,
    comptime count: usize,
    comptime tokens: usize,
) [count][tokens]simd.I32 {
    var sums: [count][tokens]simd.I32 = @splat(@splat(@splat(0)));
    const words = comptime planesOf(layout);
    const mask: simd.U32 = @splat(0x03030303);
    for (0..steps) |step| {
        var codes: [count][codeVectors(layout)]simd.U32 = undefined;
        inline for (0..count) |v| codes[v] = loadCodes(layout, weights + step * stride, v);
        inline for (0..words) |plane| {
            var masked: [count]simd.U32 = undefined;
            inline for (0..count) |v| masked[v] = (codes[v][plane / 4] >> @splat(shiftOf(plane))) & mask;
            inline for (0..tokens) |t| {
                const activations: simd.I32 = @splat(tile[(step * words + plane) * tokens + t]);
                inline for (0..count) |v| sums[v][t] = simd.dot4(sums[v][t], masked[v], activations);
            }
        }
    }
    return sums;
}

/// AVX2: products of two columns are summed in 16 bits, as many as fit, before they are widened.
inline fn groupOfPairs(
    comptime layout: Layout,
    weights: [*]const u8,
    stride: usize,
    tile: [*]const i32,
    steps: usize,
    comptime count: usize,
    comptime tokens: usize,
) [count][tokens]simd.I32 {
    const words = comptime planesOf(layout);
    // A pair of codes of at most 2 times 127 is at most 508.
    const run_steps = 32767 / (508 * words);
    const mask: simd.U32 = @splat(0x03030303);
    var sums: [count][tokens]simd.I32 = @splat(@splat(@splat(0)));
    var from: usize = 0;
    while (from < steps) : (from += run_steps) {
        var pairs: [count][tokens]simd.I16 = @splat(@splat(@splat(0)));
        for (from..@min(from + run_steps, steps)) |step| {
            inline for (0..words) |plane| {
                var activations: [tokens]simd.I32 = undefined;
                inline for (0..tokens) |t| activations[t] = @splat(tile[(step * words + plane) * tokens + t]);
                inline for (0..count) |v| {
                    const codes = loadCodes(layout, weights + step * stride, v);
                    const masked = (codes[plane / 4] >> @splat(shiftOf(plane))) & mask;
                    inline for (0..tokens) |t| pairs[v][t] +%= simd.dotPairs(masked, activations[t]);
                }
            }
        }
        inline for (0..count) |v| {
            inline for (0..tokens) |t| sums[v][t] +%= simd.addPairs(pairs[v][t]);
        }
    }
    return sums;
}

fn planesOf(comptime layout: Layout) usize {
    return layout.stepColumns() / 4;
}

/// The first bit of a plane's codes; the fifth plane stands where the fourth does, in its own vector.
fn shiftOf(comptime plane: usize) u5 {
    return if (plane < 3) 2 * plane else 6;
}

fn maskOf(comptime plane: usize) simd.U32 {
    return @splat(0x03030303 << shiftOf(plane));
}

fn codeVectors(comptime layout: Layout) usize {
    return if (layout == .base3) 2 else 1;
}

/// Four planes as 2-bit codes and, where there is one, the fifth in bits 7-6 of the second vector.
inline fn loadCodes(
    comptime layout: Layout,
    weights: [*]const u8,
    comptime vector: usize,
) [codeVectors(layout)]simd.U32 {
    const bytes = simd.load(@Vector(simd.lanes * 4, u8), weights + vector * simd.lanes * 4);
    return if (layout == .base3) simd.splitBase3(bytes) else .{@bitCast(bytes)};
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
