//! Dense f32 products of packed panels, a register tile at a time, and the packing.
//!
//!     c[i][j] = alpha * (sum over k of a[i][k] * b[k][j]) + beta * c[i][j]
//!
//! A tile's sums stay in registers over the block of the reduction; each is one chain of additions in
//! the order of k, so that tiles, blocks and threads never show in a result. Products are fused with
//! their sums where the tier can do so: tiers with and without differ in the last bits.
//!
//! Floor: tile_rows * tile_columns / lanes fused multiplications per index of the reduction, beside
//! tile_columns / lanes loads and tile_rows broadcasts.

const simd = @import("simd.zig");
const gemm_table = @import("gemm_table.zig");

const lanes = simd.lanes;
const F32 = simd.F32;

/// Accumulators, the vectors of a row of b and a broadcast must fit the registers: 32 of them on
/// AVX-512 and NEON, 16 elsewhere.
const tile_rows = if (simd.has_avx512) 12 else if (lanes == 4 and simd.has_fma) 8 else if (simd.has_avx2) 6 else 4;
const tile_vectors = if (lanes == 4 and simd.has_fma) 3 else 2;
const tile_columns = tile_vectors * lanes;

pub const kernels: gemm_table.Kernels = .{
    .tile_rows = tile_rows,
    .tile_columns = tile_columns,
    .pack_rows = packOf(tile_rows),
    .pack_columns = packOf(tile_columns),
    .multiply = multiply,
};

inline fn addProduct(a: F32, b: F32, sum: F32) F32 {
    return if (simd.has_fma) @mulAdd(F32, a, b, sum) else a * b + sum;
}

fn multiply(task: *const gemm_table.Block) callconv(.c) void {
    const depth: usize = task.depth;
    var column: usize = 0;
    while (column < task.columns) : (column += tile_columns) {
        var row: usize = 0;
        while (row < task.rows) : (row += tile_rows) {
            tile(task, task.a + row * depth, task.b + column * depth, row, column);
        }
    }
}

noinline fn tile(task: *const gemm_table.Block, a: [*]const f32, b: [*]const f32, row: usize, column: usize) void {
    var sums: [tile_rows][tile_vectors]F32 = @splat(@splat(@splat(0)));
    for (0..task.depth) |k| {
        var right: [tile_vectors]F32 = undefined;
        inline for (0..tile_vectors) |v| right[v] = simd.load(F32, b + k * tile_columns + v * lanes);
        inline for (0..tile_rows) |r| {
            const left: F32 = @splat(a[k * tile_rows + r]);
            inline for (0..tile_vectors) |v| sums[r][v] = addProduct(left, right[v], sums[r][v]);
        }
    }
    const c = task.c + row * task.c_stride + column;
    const whole = row + tile_rows <= task.rows and column + tile_columns <= task.columns;
    if (whole) {
        inline for (0..tile_rows) |r| {
            inline for (0..tile_vectors) |v| {
                const place = c + r * task.c_stride + v * lanes;
                const old: ?F32 = if (task.beta == 0) null else simd.load(F32, place);
                simd.store(place, blend(task, sums[r][v], old));
            }
        }
    } else storePart(task, &sums, c, @min(tile_rows, task.rows - row), @min(tile_columns, task.columns - column));
}

inline fn blend(task: *const gemm_table.Block, sum: F32, old: ?F32) F32 {
    const scaled = sum * @as(F32, @splat(task.alpha));
    return if (old) |values| scaled + values * @as(F32, @splat(task.beta)) else scaled;
}

fn storePart(task: *const gemm_table.Block, sums: *const [tile_rows][tile_vectors]F32, c: [*]f32, rows: usize, columns: usize) void {
    for (0..rows) |r| {
        const values: [tile_columns]f32 = @bitCast(sums[r]);
        for (values[0..columns], c + r * task.c_stride) |value, *place| {
            const scaled = value * task.alpha;
            place.* = if (task.beta == 0) scaled else scaled + place.* * task.beta;
        }
    }
}

/// Packs panels of `width` outer indices.
fn packOf(comptime width: usize) *const fn (*const gemm_table.Pack) callconv(.c) void {
    return struct {
        fn pack(task: *const gemm_table.Pack) callconv(.c) void {
            var first: usize = 0;
            var target = task.target;
            while (first < task.outer) : (first += width) {
                const count = @min(width, task.outer - first);
                if (task.kind == @backingInt(gemm_table.Kind.i8)) {
                    const source: [*]const i8 = @ptrCast(task.source);
                    packAcross(i8, width, task, source + first, count, target);
                } else {
                    const source: [*]const f32 = @ptrCast(@alignCast(task.source));
                    if (task.outer_stride == 1) {
                        packAcross(f32, width, task, source + first, count, target);
                    } else packAlong(width, task, source + first * task.outer_stride, count, target);
                }
                target += width * task.depth;
            }
        }
    }.pack;
}

/// Outer indices are neighbours in memory.
fn packAcross(comptime T: type, comptime width: usize, task: *const gemm_table.Pack, source: [*]const T, count: usize, target: [*]f32) void {
    const Row = @Vector(width, f32);
    for (0..task.depth) |k| {
        const from = source + k * task.depth_stride;
        const to = target + k * width;
        const scale: f32 = if (task.depth_scales) |scales| scales[k] else 1;
        if (count == width) {
            const values: @Vector(width, T) = from[0..width].*;
            const floats: Row = if (T == f32) values else @floatFromInt(values);
            to[0..width].* = if (task.depth_scales == null) floats else floats * @as(Row, @splat(scale));
        } else {
            for (0..count) |i| to[i] = (if (T == f32) from[i] else @as(f32, @floatFromInt(from[i]))) * scale;
            @memset(to[count..width], 0);
        }
    }
}

/// The indices of the reduction are neighbours: squares of lanes x lanes are transposed.
fn packAlong(comptime width: usize, task: *const gemm_table.Pack, source: [*]const f32, count: usize, target: [*]f32) void {
    const depth: usize = task.depth;
    var k: usize = 0;
    if (count == width and task.depth_scales == null) {
        while (k + lanes <= depth) : (k += lanes) {
            comptime var first: usize = 0;
            inline while (first < width) : (first += lanes) {
                const used = comptime @min(lanes, width - first);
                var square: [lanes]F32 = @splat(@splat(0));
                inline for (0..used) |i| square[i] = simd.load(F32, source + (first + i) * task.outer_stride + k);
                transpose(&square);
                inline for (0..lanes) |j| {
                    const values: [lanes]f32 = square[j];
                    (target + (k + j) * width + first)[0..used].* = values[0..used].*;
                }
            }
        }
    }
    while (k < depth) : (k += 1) {
        const scale: f32 = if (task.depth_scales) |scales| scales[k] else 1;
        for (0..count) |i| target[k * width + i] = source[i * task.outer_stride + k] * scale;
        @memset(target[k * width + count .. (k + 1) * width], 0);
    }
}

/// Swaps the off-diagonal halves of ever smaller squares.
inline fn transpose(square: *[lanes]F32) void {
    @setEvalBranchQuota(100_000);
    comptime var distance: usize = lanes / 2;
    inline while (distance > 0) : (distance /= 2) {
        inline for (0..lanes) |i| {
            if (i & distance == 0) {
                const a = square[i];
                const b = square[i + distance];
                square[i] = @shuffle(f32, a, b, halves(distance, false));
                square[i + distance] = @shuffle(f32, a, b, halves(distance, true));
            }
        }
    }
}

/// Which lanes of two rows make the upper or the lower row of a swapped pair.
fn halves(comptime distance: usize, comptime lower: bool) [lanes]i32 {
    @setEvalBranchQuota(100_000);
    var mask: [lanes]i32 = undefined;
    for (&mask, 0..) |*lane, i| {
        const index: i32 = @intCast(i);
        const step: i32 = @intCast(distance);
        const from_b = i & distance != 0;
        lane.* = if (from_b) ~(if (lower) index else index - step) else (if (lower) index + step else index);
    }
    return mask;
}
