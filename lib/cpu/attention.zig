//! Attention of up to four queries over the keys and values of one kv head.
//!
//!     scores  s[row][key] = (q[row] . k[key]) * scale         even and odd dimensions apart, then added
//!     weigh   w[row][key] = e^(s - max s), and 1 / sum of w
//!     mix     o[row]     += w[row][key] * v[key]              strictly in the order of the keys
//!
//! Layouts: nn_table.zig. A (row, key) pair's arithmetic depends on nothing but the pair, and sums
//! over keys go by position, so a prompt gives the same bits whole, in pieces or token by token.
//!
//! Floor per key, head dimension d: 4 d bytes of keys and 4 d of values, read once for the queries of
//! a group; d / 16 multiplications and additions per row for each of them.

const v16 = @import("vector16.zig");
const nn_table = @import("nn_table.zig");

const V = v16.V;
const width = v16.width;

/// Rows of a register tile, two accumulators each.
const score_rows = if (v16.has_avx512) 4 else if (v16.has_avx2 or v16.has_neon) 2 else 1;

/// Rows and vectors of 16 dimensions of a register tile.
const mix_rows = score_rows;
const mix_slices = if (v16.has_avx512) 4 else 2;

/// Keys whose values stay in the first-level cache while all rows and dimensions are mixed.
const mix_keys = 32;

pub fn scores(task: *const nn_table.Scores) callconv(.c) void {
    for (0..task.blocks) |block| {
        var row: usize = 0;
        while (row < task.rows) {
            const left = task.rows - row;
            // The first tile asks for the next block; the others find this one in the cache.
            switch (@min(left, score_rows)) {
                inline 1...score_rows => |rows| {
                    if (row == 0) scoresOf(task, rows, 0, block, true) else scoresOf(task, rows, row, block, false);
                    row += rows;
                },
                else => unreachable,
            }
        }
    }
}

inline fn scoresOf(task: *const nn_table.Scores, comptime rows: usize, first: usize, block: usize, comptime prefetch: bool) void {
    const dim = task.dim;
    var queries: [rows][*]const f32 = undefined;
    inline for (0..rows) |r| queries[r] = task.queries[first + r];
    const keys = task.keys + block * nn_table.key_block * dim;
    var even: [rows]V = @splat(@splat(0));
    var odd: [rows]V = @splat(@splat(0));
    var d: usize = 0;
    while (d + 2 <= dim) : (d += 2) {
        const k0 = v16.load(keys + d * width);
        const k1 = v16.load(keys + (d + 1) * width);
        if (prefetch) {
            @prefetch(keys + (dim + d) * width, .{ .locality = 2 });
            @prefetch(keys + (dim + d + 1) * width, .{ .locality = 2 });
        }
        inline for (0..rows) |r| {
            even[r] = even[r] + v16.splat(queries[r][d]) * k0;
            odd[r] = odd[r] + v16.splat(queries[r][d + 1]) * k1;
        }
    }
    inline for (0..rows) |r| {
        const output = task.scores + (first + r) * task.scores_stride + block * width;
        v16.store(output, (even[r] + odd[r]) * v16.splat(task.scale));
    }
}

pub fn weigh(row: [*]f32, first: u32, end: u32, blocks: u32) callconv(.c) f32 {
    const lowest = v16.splat(-@as(f32, @bitCast(@as(u32, 0x7f80_0000))));
    // Scores outside the range are of positions that the query must not see, or were never written.
    var most = lowest;
    for (0..blocks) |block| {
        const pointer = row + block * width;
        const inside = insideOf(block, first, end);
        const masked = @select(f32, inside, v16.load(pointer), lowest);
        v16.store(pointer, masked);
        most = v16.larger(masked, most);
    }
    const top = v16.splat(v16.largest(most));
    var total = v16.splat(0);
    for (0..blocks) |block| {
        const pointer = row + block * width;
        const inside = insideOf(block, first, end);
        const weight = @select(f32, inside, v16.exp(v16.load(pointer) - top), v16.splat(0));
        v16.store(pointer, weight);
        total = total + weight;
    }
    return 1 / v16.sum(total);
}

inline fn insideOf(block: usize, first: u32, end: u32) @Vector(width, bool) {
    const Positions = @Vector(width, u32);
    const lanes: Positions = .{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    const positions = lanes + @as(Positions, @splat(@intCast(block * width)));
    return @select(
        bool,
        positions >= @as(Positions, @splat(first)),
        positions < @as(Positions, @splat(end)),
        @as(@Vector(width, bool), @splat(false)),
    );
}

pub fn mix(task: *const nn_table.Mix) callconv(.c) void {
    var key: usize = 0;
    while (key < task.keys) : (key += mix_keys) {
        const keys = @min(mix_keys, task.keys - key);
        var row: usize = 0;
        while (row < task.rows) {
            switch (@min(task.rows - row, mix_rows)) {
                inline 1...mix_rows => |rows| {
                    if (row == 0) mixRows(task, rows, 0, key, keys, true) else mixRows(task, rows, row, key, keys, false);
                    row += rows;
                },
                else => unreachable,
            }
        }
    }
}

inline fn mixRows(task: *const nn_table.Mix, comptime rows: usize, row: usize, key: usize, keys: usize, comptime prefetch: bool) void {
    var d: usize = 0;
    while (d + mix_slices * width <= task.dim) : (d += mix_slices * width) {
        mixTile(task, rows, mix_slices, row, d, key, keys, prefetch);
    }
    while (d < task.dim) : (d += width) mixTile(task, rows, 1, row, d, key, keys, prefetch);
}

inline fn mixTile(
    task: *const nn_table.Mix,
    comptime rows: usize,
    comptime slices: usize,
    row: usize,
    d: usize,
    first: usize,
    keys: usize,
    comptime prefetch: bool,
) void {
    const dim: usize = task.dim;
    var sums: [rows][slices]V = undefined;
    inline for (0..rows) |r| {
        inline for (0..slices) |s| sums[r][s] = v16.load(task.sums + (row + r) * dim + d + s * width);
    }
    for (first..first + keys) |key| {
        const value = task.values + key * dim + d;
        inline for (0..slices) |s| {
            const v = v16.load(value + s * width);
            if (prefetch) @prefetch(value + mix_keys * dim + s * width, .{ .locality = 2 });
            inline for (0..rows) |r| {
                const weight = task.weights[(row + r) * task.weights_stride + key];
                sums[r][s] = sums[r][s] + v16.splat(weight) * v;
            }
        }
    }
    inline for (0..rows) |r| {
        inline for (0..slices) |s| v16.store(task.sums + (row + r) * dim + d + s * width, sums[r][s]);
    }
}

/// A vector of 16 pairs at a time: x1 cos - x2 sin, x2 cos + x1 sin.
pub fn rope(x: [*]f32, cos: [*]const f32, sin: [*]const f32, half: u32) callconv(.c) void {
    const second = x + half;
    var i: usize = 0;
    while (i + width <= half) : (i += width) {
        const turned = turn(v16.load(x + i), v16.load(second + i), v16.load(cos + i), v16.load(sin + i));
        v16.store(x + i, turned[0]);
        v16.store(second + i, turned[1]);
    }
    const left = half - i;
    if (left > 0) {
        const turned = turn(
            v16.loadPart(x + i, left, 0),
            v16.loadPart(second + i, left, 0),
            v16.loadPart(cos + i, left, 0),
            v16.loadPart(sin + i, left, 0),
        );
        v16.storePart(x + i, left, turned[0]);
        v16.storePart(second + i, left, turned[1]);
    }
}

inline fn turn(a: V, b: V, c: V, s: V) [2]V {
    return .{ a * c - b * s, b * c + a * s };
}
