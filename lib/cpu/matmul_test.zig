//! The products of every tier against plain scalar loops, and against one another to the last bit.

const std = @import("std");
const testing = std.testing;
const dispatch = @import("dispatch.zig");
const matmul = @import("matmul.zig");
const memory = @import("../memory.zig");
const threads = @import("threads.zig");
const weights_file = @import("weights.zig");

const Case = struct { rows: u32, columns: u32, groups: u32, tokens: u32 };
const cases = [_]Case{
    .{ .rows = 1, .columns = 1, .groups = 1, .tokens = 1 },
    .{ .rows = 3, .columns = 3, .groups = 3, .tokens = 2 },
    .{ .rows = 31, .columns = 33, .groups = 1, .tokens = 3 },
    .{ .rows = 33, .columns = 31, .groups = 1, .tokens = 4 },
    .{ .rows = 64, .columns = 64, .groups = 2, .tokens = 5 },
    .{ .rows = 65, .columns = 144, .groups = 3, .tokens = 6 },
    .{ .rows = 130, .columns = 1000, .groups = 1, .tokens = 7 },
    .{ .rows = 80, .columns = 1040, .groups = 2, .tokens = 11 },
};

const Data = struct {
    trits: []i8,
    scales: []f32,
    input: []f32,
    bias: []f32,

    fn init(allocator: std.mem.Allocator, case: Case, seed: u64) !Data {
        var state = std.Random.DefaultPrng.init(seed);
        const random = state.random();
        const self: Data = .{
            .trits = try allocator.alloc(i8, case.rows * case.columns),
            .scales = try allocator.alloc(f32, case.rows * case.groups),
            .input = try allocator.alloc(f32, case.tokens * case.columns),
            .bias = try allocator.alloc(f32, case.rows),
        };
        for (self.trits) |*trit| trit.* = random.intRangeAtMost(i8, -1, 1);
        for (self.scales) |*scale| scale.* = random.float(f32) + 0.5;
        for (self.input) |*value| value.* = random.float(f32) * 2 - 1;
        for (self.bias) |*value| value.* = random.float(f32) * 2 - 1;
        // One token of zeros, and one so small that 127 / absmax would overflow.
        if (case.tokens > 2) @memset(self.input[case.columns..][0..case.columns], 0);
        if (case.tokens > 3) for (self.input[2 * case.columns ..][0..case.columns]) |*value| {
            value.* *= 1e-39;
        };
        return self;
    }
};

fn multiply(tier: *const dispatch.Tier, weights: *const weights_file.Weights, data: Data, int8: bool, thread_count: u32, output: []f32) !void {
    threads.enter();
    defer threads.leave();
    const tokens: u32 = @intCast(data.input.len / weights.columns);
    const size = @max(matmul.tokensSize(weights.shape(), tokens, thread_count), matmul.tilesSizeF32(thread_count));
    const scratch = try threads.scratch(size);
    if (!int8) return matmul.multiplyF32(tier.kernels, weights, data.input, data.bias, output, scratch, thread_count, false);
    const quantized = try matmul.quantizeTokens(tier.kernels, weights.shape(), data.input, tokens, 0, scratch, thread_count);
    matmul.multiplyI8(tier.kernels, weights, quantized, data.bias, output, thread_count);
}

/// The definition of the int8 product, operation by operation.
fn referenceI8(case: Case, data: Data, token: usize, row: usize) f32 {
    const input = data.input[token * case.columns ..][0..case.columns];
    var absmax: f32 = 0;
    for (input) |value| absmax = @max(absmax, @abs(value));
    const factor: f32 = if (absmax < 0x1p-96) 0x1p+96 else 1;
    const inverse: f32 = if (absmax == 0) 0 else 127 / (absmax * factor);
    const group_columns = case.columns / case.groups;
    var total: f32 = 0;
    for (0..case.groups) |group| {
        var sum: i32 = 0;
        for (group * group_columns..(group + 1) * group_columns) |k| {
            sum += @as(i32, @intFromFloat(roundTiesEven(input[k] * factor * inverse))) * data.trits[row * case.columns + k];
        }
        total += @as(f32, @floatFromInt(sum)) * data.scales[row * case.groups + group];
    }
    const scale: f32 = if (absmax == 0) 1 else absmax / 127;
    return total * scale + data.bias[row];
}

fn roundTiesEven(x: f32) f32 {
    const whole = @floor(x);
    const rest = x - whole;
    if (rest > 0.5 or (rest == 0.5 and @mod(whole, 2) == 1)) return whole + 1;
    return whole;
}

test "int8 products are exact on every tier and thread count" {
    var arena = std.heap.ArenaAllocator.init(testing.allocator);
    defer arena.deinit();
    for (cases, 0..) |case, seed| {
        const data = try Data.init(arena.allocator(), case, seed);
        const weights = try weights_file.fromTernary(data.trits, data.scales, case.rows, case.columns);
        defer weights.destroy();
        const output = try arena.allocator().alloc(f32, case.tokens * case.rows);
        for ([_]weights_file.Layout{ .planes, .base3 }) |layout| {
            try weights.changeLayout(layout);
            for (&dispatch.tiers) |*tier| {
                if (!tier.isSupported()) continue;
                for ([_]u32{ 1, 2, 3 }) |thread_count| {
                    try multiply(tier, weights, data, true, thread_count, output);
                    for (output, 0..) |value, i| {
                        try testing.expectEqual(referenceI8(case, data, i / case.rows, i % case.rows), value);
                    }
                }
            }
        }
    }
}

test "f32 products are close to f64 and the same on every tier and thread count" {
    var arena = std.heap.ArenaAllocator.init(testing.allocator);
    defer arena.deinit();
    for (cases, 0..) |case, seed| {
        const data = try Data.init(arena.allocator(), case, seed);
        const weights = try weights_file.fromTernary(data.trits, data.scales, case.rows, case.columns);
        defer weights.destroy();
        const first = try arena.allocator().alloc(f32, case.tokens * case.rows);
        const output = try arena.allocator().alloc(f32, first.len);
        for ([_]weights_file.Layout{ .planes, .triples }) |layout| {
            try weights.changeLayout(layout);
            try multiply(&dispatch.tiers[dispatch.tiers.len - 1], weights, data, false, 1, first);
            for (first, 0..) |value, i| try expectClose(case, data, i / case.rows, i % case.rows, value);
            for (&dispatch.tiers) |*tier| {
                if (!tier.isSupported()) continue;
                for ([_]u32{ 1, 2, 3 }) |thread_count| {
                    try multiply(tier, weights, data, false, thread_count, output);
                    try testing.expectEqualSlices(u32, @ptrCast(first), @ptrCast(output));
                }
            }
        }
    }
}

test "every layout holds the same weights" {
    var arena = std.heap.ArenaAllocator.init(testing.allocator);
    defer arena.deinit();
    for (cases, 0..) |case, seed| {
        const data = try Data.init(arena.allocator(), case, seed);
        const weights = try weights_file.fromTernary(data.trits, data.scales, case.rows, case.columns);
        defer weights.destroy();
        const planes = try arena.allocator().dupe(u8, weights.data);
        const trits = try arena.allocator().alloc(i8, case.columns);
        for ([_]weights_file.Layout{ .base3, .triples, .base3, .planes }) |layout| {
            try weights.changeLayout(layout);
            try testing.expectEqual(layout, weights.layout);
            for (0..case.rows) |row| {
                weights.readRow(row, trits);
                try testing.expectEqualSlices(i8, data.trits[row * case.columns ..][0..case.columns], trits);
            }
        }
        try testing.expectEqualSlices(u8, planes, weights.data);
    }
}

/// A segment adds at most 256 pairs, each of one rounding, or 144 triples of two, and there are at
/// most 3 segments: below 270 roundings of 2^-24 of the sum of magnitudes.
fn expectClose(case: Case, data: Data, token: usize, row: usize, value: f32) !void {
    const group_columns = case.columns / case.groups;
    var sum: f64 = data.bias[row];
    var magnitude: f64 = @abs(sum);
    for (0..case.columns) |k| {
        const trit: f64 = @floatFromInt(data.trits[row * case.columns + k]);
        const term = trit * data.input[token * case.columns + k] * data.scales[row * case.groups + k / group_columns];
        sum += term;
        magnitude += @abs(term);
    }
    try testing.expect(@abs(value - sum) <= 270 * 0x1p-24 * magnitude);
}

test "a token with a value that is not finite is refused by int8 and is NaN in f32" {
    var arena = std.heap.ArenaAllocator.init(testing.allocator);
    defer arena.deinit();
    const case: Case = .{ .rows = 20, .columns = 50, .groups = 1, .tokens = 3 };
    const data = try Data.init(arena.allocator(), case, 1);
    const weights = try weights_file.fromTernary(data.trits, data.scales, case.rows, case.columns);
    defer weights.destroy();
    const output = try arena.allocator().alloc(f32, case.tokens * case.rows);
    for ([_]f32{ std.math.nan(f32), std.math.inf(f32), -std.math.inf(f32) }) |bad| {
        data.input[1 * case.columns + 49] = bad;
        for (&dispatch.tiers) |*tier| {
            if (!tier.isSupported()) continue;
            try testing.expectError(error.NotFinite, multiply(tier, weights, data, true, 1, output));
            try multiply(tier, weights, data, false, 1, output);
            for (output, 0..) |value, i| try testing.expectEqual(i / case.rows == 1, std.math.isNan(value));
        }
    }
}

test "sums of very wide rows stay exact" {
    var arena = std.heap.ArenaAllocator.init(testing.allocator);
    defer arena.deinit();
    for ([_]u32{ 1 << 19, (1 << 19) + 16, weights_file.columns_max }) |columns| {
        const case: Case = .{ .rows = 1, .columns = columns, .groups = 1, .tokens = 1 };
        const data = try Data.init(arena.allocator(), case, 1);
        @memset(data.trits, 1);
        @memset(data.input, 1);
        @memset(data.bias, 0);
        data.scales[0] = 1;
        const weights = try weights_file.fromTernary(data.trits, data.scales, 1, columns);
        defer weights.destroy();
        for ([_]weights_file.Layout{ .planes, .base3 }) |layout| {
            try weights.changeLayout(layout);
            for (&dispatch.tiers) |*tier| {
                if (!tier.isSupported()) continue;
                var output: [1]f32 = undefined;
                try multiply(tier, weights, data, true, 1, &output);
                const sum: f32 = @floatFromInt(@as(i32, 127) * @as(i32, @intCast(columns)));
                try testing.expectEqual(sum * (@as(f32, 1) / 127), output[0]);
            }
        }
    }
}

test "every source prepares the same weights" {
    const rows = 12;
    const columns = 37;
    var state = std.Random.DefaultPrng.init(5);
    var trits: [rows * columns]i8 = undefined;
    for (&trits) |*trit| trit.* = state.random().intRangeAtMost(i8, -1, 1);
    const scales: [rows]f32 = @splat(0.25);
    var wire: [rows * 10]u8 = undefined;
    const packing = @import("packing.zig");
    try testing.expectEqual(null, packing.pack(i8, try dispatch.kernels(), &trits, try .init(rows, columns), &wire));
    var bitnet: [rows / 4 * columns]u8 = @splat(0);
    for (trits, 0..) |trit, i| {
        const row = i / columns;
        const code: u8 = @intCast(trit + 1);
        bitnet[row % 3 * columns + i % columns] |= code << @intCast(row / 3 * 2);
    }
    const first = try weights_file.fromTernary(&trits, &scales, rows, columns);
    defer first.destroy();
    const second = try weights_file.fromWire(&wire, &scales, rows, columns);
    defer second.destroy();
    const third = try weights_file.fromBitnetPacked(&bitnet, 0.25, rows, columns);
    defer third.destroy();
    try testing.expectEqualSlices(u8, first.data, second.data);
    try testing.expectEqualSlices(u8, first.data, third.data);
    try testing.expectEqualSlices(f32, first.row_scales, third.row_scales);
    var nonzeros: u64 = 0;
    for (trits) |trit| nonzeros += @intFromBool(trit != 0);
    try testing.expectEqual(nonzeros, third.nonzeros);

    wire[10 * 7] |= 3;
    try testing.expectError(error.InvalidValue, weights_file.fromWire(&wire, &scales, rows, columns));
    bitnet[5] |= 3;
    try testing.expectError(error.InvalidValue, weights_file.fromBitnetPacked(&bitnet, 0.25, rows, columns));
    trits[100] = 2;
    try testing.expectError(error.InvalidValue, weights_file.fromTernary(&trits, &scales, rows, columns));
}
