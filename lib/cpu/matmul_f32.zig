//! Ternary weights times f32 activations, by additions only.
//!
//!     y[token][row] = sum over segments of (sum over pairs or triples of (+-x +-x ...)) * row_scale + bias
//!
//! A segment is at most 512 columns of one scale group. Within it the two (planes) or three (triples)
//! activations that share an index of the weights are added first, then their sum is added to the
//! lane's: the same order on every tier, so the result is the same to the last bit.
//!
//! On AVX-512 the 9 sums of a pair, or the 27 of a triple, are a table in one or two registers,
//! prepared once per token, and the weights' index looks its sum up: per 16 rows and two or three
//! columns one permute and one addition a token, and one shift that all tokens share. Elsewhere the
//! codes are turned into -1.0, 0.0, 1.0 once per tile.
//! Which layout is fastest for what was measured, not guessed (4096 x 4096, Zen 4, two threads): with
//! tables of triples 94 us for one token and 350 to 380 GOP/s for many, with pairs 135 us and 270 to
//! 300. Three int8 digits of every activation ("fix24") would give 116 us and 290 GOP/s from the same
//! bytes as pairs, lose to triples everywhere and give small activations next to large ones fewer
//! bits than a float has; they are not worth a third way.
//!
//! Floor per block of 64 rows and token: planes 2 permutes and 2 additions a column, triples 1.33 of
//! each, where a dense product has 4 fused multiplications. Permutes and additions run on different
//! pipes; half of the additions are fused multiplications by 1, which have pipes of their own too.

const simd = @import("simd.zig");
const table = @import("table.zig");

pub const uses_tables = simd.has_avx512;
const tile_rows = if (simd.has_avx512) 4 else 2;
const vectors_per_panel = table.panel_rows / simd.lanes;
/// Only AVX-512, whose vector is a whole panel, meets blocks that do not fill its register tile.
const tile_rows_min = if (vectors_per_panel == 1) 1 else tile_rows;

const V16 = @Vector(16, f32);

/// The kernels of one layout.
pub fn Of(comptime layout: table.Layout) type {
    return struct {
        const step_columns = layout.stepColumns();
        /// Columns, bits and table entries of one index.
        const columns_each = if (layout == .triples) 3 else 2;
        const bits = if (layout == .triples) 5 else 4;
        const entries = if (layout == .triples) 32 else 16;
        const indices = step_columns / columns_each;
        /// Floats that a token takes per step of a tile.
        const step_floats = if (uses_tables) indices * entries else step_columns;

        const Codes = simd.U32;

        pub fn prepare(input: [*]const f32, stride: usize, tokens: u32, columns: u32, tile: [*]f32) callconv(.c) void {
            const steps = (columns + step_columns - 1) / step_columns;
            for (0..tokens) |token| {
                const source = input + token * stride;
                for (0..steps) |step| {
                    const first = step * step_columns;
                    var values: [step_columns]f32 = @splat(0);
                    const count = @min(step_columns, columns - first);
                    if (count == step_columns) {
                        values = source[first..][0..step_columns].*;
                    } else {
                        for (0..count) |k| values[k] = source[first + k];
                    }
                    if (uses_tables) {
                        prepareTables(&values, tile + (step * indices * tokens + token) * entries, tokens);
                    } else {
                        for (values, 0..) |value, k| tile[(step * step_columns + k) * tokens + token] = value;
                    }
                }
            }
        }

        /// The entry of codes c is the sum of (c - 1) * x; the products are exact.
        fn prepareTables(values: *const [step_columns]f32, tile: [*]f32, tokens: usize) void {
            inline for (0..indices) |index| {
                const columns = comptime columnsOf(index);
                inline for (0..entries / 16) |half| {
                    const target = tile + index * tokens * entries + half * 16;
                    var sum: V16 = signs(half, 0) * @as(V16, @splat(values[columns[0]]));
                    inline for (1..columns_each) |i| sum = sum + signs(half, i) * @as(V16, @splat(values[columns[i]]));
                    simd.store(target, sum);
                }
            }
        }

        /// The columns of an index within a step.
        fn columnsOf(comptime index: usize) [columns_each]usize {
            if (layout == .triples) return .{ 3 * index, 3 * index + 1, 3 * index + 2 };
            const first = (index & 1) * 8 + index / 2;
            return .{ first, first + 4 };
        }

        /// What entries 16 * half .. take of their `i`th activation: -1, 0 or 1.
        fn signs(comptime half: usize, comptime i: usize) V16 {
            comptime var values: [16]f32 = undefined;
            inline for (&values, 16 * half..) |*value, entry| {
                const code = if (layout == .triples) entry / ([_]usize{ 1, 3, 9 })[i] % 3 else (entry >> 2 * i) & 3;
                value.* = if (code == 3) 0 else @as(f32, @floatFromInt(code)) - 1;
            }
            return values;
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
            var next = task.next_weights + start * simd.lanes * 4;
            var tile = task.tile;
            for (0..task.steps) |_| {
                var codes: [count]Codes = undefined;
                inline for (0..count) |v| {
                    codes[v] = @bitCast(simd.load(@Vector(simd.lanes * 4, u8), weights + v * simd.lanes * 4));
                    @prefetch(next + v * simd.lanes * 4, .{ .locality = 3 });
                }
                inline for (0..indices) |index| {
                    if (uses_tables) {
                        addLookups(count, tokens, &sums, &codes, tile + index * tokens * entries);
                    } else {
                        addSigned(count, tokens, &sums, &codes, tile, index);
                    }
                    inline for (0..count) |v| codes[v] >>= @splat(bits);
                }
                weights += task.panels * table.panel_step_bytes;
                next += task.panels * table.panel_step_bytes;
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
            codes: *const [count]Codes,
            tile: [*]const f32,
        ) void {
            const one: V16 = @splat(1);
            // Lookups in two registers leave the pipes of fused multiplications less room, unless the
            // sums of one token wait for each other anyway.
            const fused_every = if (entries == 32 and tokens > 1) 4 else 2;
            inline for (0..tokens) |t| {
                const low = simd.load(V16, tile + t * entries);
                const high = if (entries == 32) simd.load(V16, tile + t * entries + 16) else undefined;
                inline for (0..count) |v| {
                    const join: simd.Join = if ((v + t) % fused_every != 0) .add else .fused;
                    sums[v][t] = if (entries == 32)
                        simd.addLookup32(sums[v][t], low, high, codes[v], join, one)
                    else
                        simd.addLookup16(sums[v][t], low, codes[v], join, one);
                }
            }
        }

        inline fn addSigned(
            comptime count: usize,
            comptime tokens: usize,
            sums: *[count][tokens]simd.F32,
            codes: *const [count]Codes,
            tile: [*]const f32,
            comptime index: usize,
        ) void {
            const columns = comptime columnsOf(index);
            inline for (0..count) |v| {
                const factors = factorsOf(codes[v]);
                inline for (0..tokens) |t| {
                    var sum = factors[0] * @as(simd.F32, @splat(tile[columns[0] * tokens + t]));
                    inline for (1..columns_each) |i| {
                        sum = simd.addProduct(@splat(tile[columns[i] * tokens + t]), factors[i], sum);
                    }
                    sums[v][t] = sums[v][t] + sum;
                }
            }
        }

        /// -1.0, 0.0 or 1.0 for each activation of the lowest index.
        inline fn factorsOf(codes: Codes) [columns_each]simd.F32 {
            if (layout != .triples) return .{ trits(codes & splat(3)), trits((codes >> @splat(2)) & splat(3)) };
            const index = codes & splat(31);
            // Exact quotients for numbers this small.
            const third = (index * splat(57)) >> @splat(9);
            const pair = index - third * splat(9);
            const second = (pair * splat(11)) >> @splat(5);
            return .{ trits(pair - second * splat(3)), trits(second), trits(third) };
        }
    };
}

inline fn splat(comptime value: u32) simd.U32 {
    return @splat(value);
}

/// Codes 0, 1, 2 as -1.0, 0.0, 1.0: put into the mantissa of 2^23, exactly.
inline fn trits(codes: simd.U32) simd.F32 {
    return @as(simd.F32, @bitCast(codes | splat(0x4b00_0000))) - @as(simd.F32, @splat(8388609));
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
