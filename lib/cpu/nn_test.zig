//! The f32 kernels against plain loops in f64, and every tier against the first, bit by bit.

const std = @import("std");
const dispatch = @import("dispatch.zig");
const nn_table = @import("nn_table.zig");
const expect = std.testing.expect;

const sizes = [_]u32{ 1, 3, 16, 31, 33, 1000 };
const size_max = 1024;

fn fill(random: std.Random, values: []f32, spread: f32) void {
    for (values) |*value| value.* = (random.float(f32) * 2 - 1) * spread;
}

fn expectNear(expected: f64, actual: f32, tolerance: f64) !void {
    const bound = tolerance * @max(1, @abs(expected));
    try expect(@abs(expected - actual) <= bound);
}

/// Runs `case.run(nn, output)` on every tier; all must write the same bits. Returns them.
fn onEveryTier(case: anytype, output: []f32) !void {
    var first = true;
    var other: [size_max * 8]f32 = undefined;
    for (dispatch.tiers) |tier| {
        if (!tier.isSupported()) continue;
        const target = if (first) output else other[0..output.len];
        @memset(target, -77);
        case.run(&tier.kernels.nn, target);
        if (!first) try expect(std.mem.eql(u8, std.mem.sliceAsBytes(output), std.mem.sliceAsBytes(target)));
        first = false;
    }
}

const Row = struct {
    x: []const f32,
    w: []const f32,
    b: []const f32,
    kind: enum { rms, layer, layer_no_bias, softmax, relu2, silu, add, scale },

    fn run(self: Row, nn: *const nn_table.Kernels, output: []f32) void {
        const n: u32 = @intCast(self.x.len);
        const out = output.ptr;
        switch (self.kind) {
            .rms => nn.rms_norm(self.x.ptr, self.w.ptr, out, n, 1e-5),
            .layer => nn.layer_norm(self.x.ptr, self.w.ptr, self.b.ptr, out, n, 1e-5),
            .layer_no_bias => nn.layer_norm(self.x.ptr, self.w.ptr, null, out, n, 1e-5),
            .softmax => nn.softmax_row(self.x.ptr, out, n),
            .scale => nn.scale(self.x.ptr, 0.37, out, n),
            .relu2, .silu, .add => {
                @memcpy(output, self.x);
                if (self.kind == .add) nn.add(out, self.w.ptr, n) else nn.gate(out, self.w.ptr, n, @intFromBool(self.kind == .silu));
            },
        }
    }

    fn reference(self: Row, output: []f64) void {
        const n: f64 = @floatFromInt(self.x.len);
        var mean: f64 = 0;
        var squares: f64 = 0;
        var most: f64 = -std.math.inf(f64);
        for (self.x) |x| {
            mean += x / n;
            squares += @as(f64, x) * x / n;
            most = @max(most, x);
        }
        var variance: f64 = 0;
        var total: f64 = 0;
        for (self.x) |x| {
            variance += (x - mean) * (x - mean) / n;
            total += @exp(x - most);
        }
        for (self.x, self.w, self.b, output) |x, w, b, *y| y.* = switch (self.kind) {
            .rms => x / @sqrt(squares + 1e-5) * w,
            .layer => (x - mean) / @sqrt(variance + 1e-5) * w + b,
            .layer_no_bias => (x - mean) / @sqrt(variance + 1e-5) * w,
            .softmax => @exp(x - most) / total,
            .relu2 => if (x > 0) @as(f64, x) * x * w else 0,
            .silu => x / (1 + @exp(-@as(f64, x))) * w,
            .add => @as(f64, x) + w,
            .scale => x * 0.37,
        };
    }
};

test "norms, softmax, gates and sums on every tier" {
    var prng: std.Random.DefaultPrng = .init(1);
    var buffers: [4][size_max]f32 = undefined;
    var expected: [size_max]f64 = undefined;
    for (std.enums.values(@FieldType(Row, "kind"))) |kind| {
        for (sizes) |n| {
            for (buffers[0..3], [_]f32{ 9, 2, 1 }) |*buffer, spread| fill(prng.random(), buffer, spread);
            const row: Row = .{ .x = buffers[0][0..n], .w = buffers[1][0..n], .b = buffers[2][0..n], .kind = kind };
            const output = buffers[3][0..n];
            try onEveryTier(row, output);
            row.reference(expected[0..n]);
            for (expected[0..n], output) |e, actual| try expectNear(e, actual, 2e-5);
        }
    }
}

test "softmax of what is not finite" {
    const inf = std.math.inf(f32);
    for (dispatch.tiers) |tier| {
        if (!tier.isSupported()) continue;
        var row = [_]f32{ 0, -inf, 1e30, -1e30, 1e30 };
        tier.kernels.nn.softmax_row(&row, &row, row.len);
        try std.testing.expectEqualSlices(f32, &.{ 0, 0, 0.5, 0, 0.5 }, &row);
        for ([_]f32{ inf, std.math.nan(f32) }) |bad| {
            var poisoned = [_]f32{ 0, bad, 1 };
            tier.kernels.nn.softmax_row(&poisoned, &poisoned, poisoned.len);
            try expect(std.math.isNan(poisoned[1]));
        }
    }
}

const Columns = struct {
    x: []const f32,
    size: u32,
    stride: u32,

    fn run(self: Columns, nn: *const nn_table.Kernels, output: []f32) void {
        var column: u32 = 0;
        while (column < self.stride) : (column += 16) {
            const lanes = @min(16, self.stride - column);
            nn.softmax_columns(self.x.ptr + column, output.ptr + column, self.size, self.stride, lanes);
        }
    }
};

test "softmax along a strided axis" {
    var prng: std.Random.DefaultPrng = .init(2);
    var x: [size_max]f32 = undefined;
    var y: [size_max]f32 = undefined;
    for ([_][2]u32{ .{ 1, 2 }, .{ 7, 3 }, .{ 5, 16 }, .{ 9, 37 } }) |shape| {
        const size, const stride = shape;
        fill(prng.random(), &x, 9);
        try onEveryTier(Columns{ .x = &x, .size = size, .stride = stride }, y[0 .. size * stride]);
        for (0..stride) |column| {
            var total: f64 = 0;
            for (0..size) |i| total += @exp(@as(f64, x[i * stride + column]));
            for (0..size) |i| try expectNear(@exp(@as(f64, x[i * stride + column])) / total, y[i * stride + column], 1e-6);
        }
    }
}

/// e^x is not exported by itself, but the sum of one exponential is.
const Exponential = struct {
    x: []const f32,

    fn run(self: Exponential, nn: *const nn_table.Kernels, output: []f32) void {
        for (self.x, output) |x, *y| y.* = @floatCast(nn.sum_exp(&.{x}, 1, 0, 1));
    }
};

test "the exponential within two units in the last place" {
    const inf = std.math.inf(f32);
    var x: [1000]f32 = undefined;
    var y: [1000]f32 = undefined;
    for (&x, 0..) |*value, i| value.* = -87.25 + 0.1757 * @as(f32, @floatFromInt(i));
    x[0..8].* = .{ 0, -0.0, 88.72283, 88.8, 1e30, inf, -1e30, -inf };
    x[8] = std.math.nan(f32);
    try onEveryTier(Exponential{ .x = &x }, &y);
    try std.testing.expectEqualSlices(f32, &.{ 1, 1 }, y[0..2]);
    try std.testing.expectEqualSlices(f32, &.{ inf, inf, inf, 0, 0 }, y[3..8]);
    try expect(std.math.isNan(y[8]));
    for (x[9..], y[9..]) |value, actual| {
        const expected = @exp(@as(f64, value));
        if (expected > std.math.floatMax(f32)) continue;
        try expect(@abs(expected - actual) <= expected * 0x1p-22);
    }
}

const Sum = struct {
    x: []const f32,

    fn run(self: Sum, nn: *const nn_table.Kernels, output: []f32) void {
        const total = nn.sum_exp(self.x.ptr, @intCast(self.x.len), 2, 0.7);
        output[0..2].* = @bitCast(total);
    }
};

test "sums of exponentials" {
    var prng: std.Random.DefaultPrng = .init(3);
    var x: [size_max]f32 = undefined;
    for (sizes) |n| {
        fill(prng.random(), &x, 9);
        var bits: [2]f32 = undefined;
        try onEveryTier(Sum{ .x = x[0..n] }, &bits);
        var expected: f64 = 0;
        for (x[0..n]) |value| expected += @exp((@as(f64, value) - 2) * 0.7);
        try std.testing.expectApproxEqRel(expected, @as(f64, @bitCast(bits)), 1e-6);
    }
}

const Dense = struct {
    x: []const f32,
    weights: [*]const u8,
    bias: ?[*]const f32,
    tokens: u32,
    rows: u32,
    columns: u32,
    float: u32,

    fn run(self: Dense, nn: *const nn_table.Kernels, output: []f32) void {
        const size: usize = if (self.float == 0) 4 else 2;
        nn.dense(&.{
            .input = self.x.ptr,
            .input_stride = self.columns,
            .weights = self.weights,
            .row_bytes = self.columns * size,
            .bias = self.bias,
            .output = output.ptr,
            .output_stride = self.rows,
            .tokens = self.tokens,
            .rows = self.rows,
            .columns = self.columns,
            .float = self.float,
        });
    }

    fn weight(self: Dense, index: usize) f64 {
        const p = self.weights + index * @as(usize, if (self.float == 0) 4 else 2);
        return switch (self.float) {
            0 => @as(f32, @bitCast(p[0..4].*)),
            1 => @as(f16, @bitCast(p[0..2].*)),
            else => @as(f32, @bitCast([4]u8{ 0, 0, p[0], p[1] })),
        };
    }
};

test "dense rows of f32, f16 and bf16 at any alignment" {
    var prng: std.Random.DefaultPrng = .init(4);
    const random = prng.random();
    var x: [9 * 1000]f32 = undefined;
    var bias: [16]f32 = undefined;
    var bytes: [7 * 1000 * 4 + 1]u8 = undefined;
    var y: [9 * 16]f32 = undefined;
    var alone: [16]f32 = undefined;
    for (0..3) |float| for (sizes) |columns| for ([_][2]u32{ .{ 1, 7 }, .{ 2, 1 }, .{ 9, 6 } }) |shape| {
        fill(random, &x, 1);
        fill(random, &bias, 1);
        const count = shape[1] * columns;
        const raw = bytes[1..];
        for (0..count) |i| {
            const value = random.float(f32) * 2 - 1;
            switch (float) {
                0 => raw[i * 4 ..][0..4].* = @bitCast(value),
                1 => raw[i * 2 ..][0..2].* = @bitCast(@as(f16, @floatCast(value))),
                else => raw[i * 2 ..][0..2].* = @as([4]u8, @bitCast(value))[2..4].*,
            }
        }
        var case: Dense = .{
            .x = &x,
            .weights = raw.ptr,
            .bias = &bias,
            .tokens = shape[0],
            .rows = shape[1],
            .columns = columns,
            .float = @intCast(float),
        };
        try onEveryTier(case, y[0 .. case.tokens * case.rows]);
        for (0..case.tokens) |t| for (0..case.rows) |r| {
            var expected: f64 = bias[r];
            for (0..columns) |c| expected += x[t * columns + c] * case.weight(r * columns + c);
            try expectNear(expected, y[t * case.rows + r], 1e-5);
        };
        // A token's result must not depend on the tokens that come with it.
        const last = case.tokens - 1;
        case.x = x[last * columns ..];
        case.tokens = 1;
        try onEveryTier(case, alone[0..case.rows]);
        try std.testing.expectEqualSlices(f32, y[last * case.rows ..][0..case.rows], alone[0..case.rows]);
    };
}

test "every f16 and bf16 widens exactly" {
    var source: [65536]u16 = undefined;
    for (&source, 0..) |*value, i| value.* = @intCast(i);
    var wide: [65536]f32 = undefined;
    for (dispatch.tiers) |tier| {
        if (!tier.isSupported()) continue;
        tier.kernels.nn.widen(@ptrCast(&source), 1, &wide, wide.len);
        for (source, wide) |bits, value| {
            const expected: f32 = @as(f16, @bitCast(bits));
            if (std.math.isNan(expected)) try expect(std.math.isNan(value)) else try expect(@as(u32, @bitCast(expected)) == @as(u32, @bitCast(value)));
        }
        tier.kernels.nn.widen(@ptrCast(&source), 2, &wide, wide.len);
        for (source, wide) |bits, value| try expect(@as(u32, bits) << 16 == @as(u32, @bitCast(value)));
    }
}

const Rope = struct {
    x: []const f32,
    cos: []const f32,
    sin: []const f32,

    fn run(self: Rope, nn: *const nn_table.Kernels, output: []f32) void {
        @memcpy(output, self.x);
        nn.rope(output.ptr, self.cos.ptr, self.sin.ptr, @intCast(self.cos.len));
    }
};

test "rotation of pairs" {
    var prng: std.Random.DefaultPrng = .init(5);
    var buffers: [4][size_max]f32 = undefined;
    for ([_]usize{ 1, 8, 16, 37, 64 }) |half| {
        for (buffers[0..3]) |*buffer| fill(prng.random(), buffer, 1);
        const x = buffers[0][0 .. half * 2];
        const y = buffers[3][0 .. half * 2];
        try onEveryTier(Rope{ .x = x, .cos = buffers[1][0..half], .sin = buffers[2][0..half] }, y);
        for (0..half) |i| {
            const c = buffers[1][i];
            const s = buffers[2][i];
            try expectNear(@as(f64, x[i]) * c - @as(f64, x[half + i]) * s, y[i], 1e-6);
            try expectNear(@as(f64, x[half + i]) * c + @as(f64, x[i]) * s, y[half + i], 1e-6);
        }
    }
}

test "the exponential is finite up to its limit and infinite beyond" {
    const v16 = @import("vector16.zig");
    var x: f32 = 88.7;
    while (x < 88.75) : (x = std.math.nextAfter(f32, x, 100)) {
        const result: [16]f32 = v16.exp(@splat(x));
        try expect(!std.math.isNan(result[0]));
        const exact = @exp(@as(f64, x));
        if (std.math.isInf(result[0])) {
            // The limit is the last f32 below 128 ln 2, 8e-6 early.
            try expect(exact > 0x1p128 * (1 - 1e-5));
        } else {
            try expect(@abs(result[0] - exact) <= exact * 2 * 0x1p-23);
        }
    }
}
