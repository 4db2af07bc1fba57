//! The kernel of int8 rows against a plain loop on every tier, and models whose head is prepared:
//! the same bits however fed, and near the logits of the table as it is stored.

const std = @import("std");
const dispatch = @import("../cpu/dispatch.zig");
const forward = @import("forward.zig");
const nn_table = @import("../cpu/nn_table.zig");
const test_model = @import("test_model.zig");
const threads = @import("../cpu/threads.zig");
const TestModel = test_model.TestModel;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;

test {
    _ = @import("head.zig");
}

const words_max = 25;
const tokens_max = 5;
const block_rows = nn_table.dense_i8_rows;

/// Weights and activations of the whole range: -127 and 127 as often as all others together, so that
/// sums of neighbours reach what 16 bits cannot hold.
fn fillBytes(random: std.Random, bytes: []i8) void {
    for (bytes) |*byte| byte.* = switch (random.uintLessThan(u8, 4)) {
        0 => 127,
        1 => -127,
        else => @intCast(random.intRangeAtMost(i16, -127, 127)),
    };
}

fn checkBlock(random: std.Random, words: u32, tokens: u32, rows: u32) !void {
    var weights: [words_max * block_rows * 4]i8 = undefined;
    var tile: [words_max * tokens_max * 4]i8 align(4) = undefined;
    fillBytes(random, &weights);
    fillBytes(random, &tile);
    var sums: [tokens_max]i32 = @splat(0);
    for (0..words * tokens * 4) |i| sums[i / 4 % tokens] += tile[i];
    var row_scales: [block_rows]f32 = undefined;
    var token_scales: [tokens_max]f32 = undefined;
    for (&row_scales) |*scale| scale.* = random.float(f32);
    for (&token_scales) |*scale| scale.* = random.float(f32);

    for (dispatch.tiers) |tier| {
        if (!tier.isSupported()) continue;
        var output: [block_rows * tokens_max + 1]f32 = @splat(-77);
        tier.kernels.nn.dense_i8(&.{
            .weights = @ptrCast(&weights),
            .tile = @ptrCast(&tile),
            .sums = &sums,
            .token_scales = &token_scales,
            .row_scales = &row_scales,
            .output = &output,
            .output_stride = rows,
            .rows = rows,
            .words = words,
            .tokens = tokens,
        });
        for (0..tokens) |token| {
            for (0..rows) |row| {
                var exact: i32 = 0;
                for (0..words * 4) |column| {
                    const w: i32 = weights[(column / 4 * block_rows + row) * 4 + column % 4];
                    exact += w * tile[(column / 4 * tokens + token) * 4 + column % 4];
                }
                const expected = @as(f32, @floatFromInt(exact)) * row_scales[row] * token_scales[token];
                try expectEqual(expected, output[token * rows + row]);
            }
        }
        try expectEqual(-77, output[tokens * rows]);
    }
}

test "int8 rows times int8 tokens, exactly, on every tier" {
    var prng: std.Random.DefaultPrng = .init(7);
    for ([_]u32{ 1, 4, words_max }) |words| {
        for (1..tokens_max + 1) |tokens| {
            for ([_]u32{ block_rows, block_rows - 1, 17, 1 }) |rows| try checkBlock(prng.random(), words, @intCast(tokens), rows);
        }
    }
}

const text_length = 40;
const count = text_length * test_model.vocab;
var stored: [count]f32 = undefined;
var expected_logits: [count]f32 = undefined;
var logits: [count]f32 = undefined;

fn run(kind: test_model.Kind, output: []f32) !void {
    const tested: TestModel = try .create(kind);
    defer tested.destroy();
    var ids: [text_length]u32 = undefined;
    for (&ids, 0..) |*id, i| id.* = @intCast(i * 7 % test_model.vocab);
    try forward.forward(tested.model, null, &ids, output);
    // Token by token.
    const cache = try forward.createCache(tested.model, ids.len);
    defer cache.destroy();
    for (0..ids.len) |i| {
        var row: [test_model.vocab]f32 = undefined;
        try forward.forward(tested.model, cache, ids[i .. i + 1], &row);
        try expect(std.mem.eql(u8, std.mem.sliceAsBytes(&row), std.mem.sliceAsBytes(output[i * row.len ..][0..row.len])));
    }
}

fn sameBits() bool {
    return std.mem.eql(u8, std.mem.sliceAsBytes(&expected_logits), std.mem.sliceAsBytes(&logits));
}

/// The length of the difference over the length.
fn distance(a: []const f32, b: []const f32) f64 {
    var difference: f64 = 0;
    var length: f64 = 0;
    for (a, b) |x, y| {
        difference += (@as(f64, x) - y) * (@as(f64, x) - y);
        length += @as(f64, y) * y;
    }
    return @sqrt(difference / length);
}

test "a head of int8: the same bits everywhere, near the stored one" {
    const threads_before = threads.getThreads();
    defer threads.setThreads(threads_before) catch {};
    const tier_before = (try dispatch.active()).name;
    defer dispatch.force(tier_before) catch {};
    for ([_]test_model.Kind{ .{}, .{ .sub_norms = false, .tied = false, .table = .f32, .head_dim = 32 } }) |kind| {
        try run(kind, &stored);
        var prepared = kind;
        prepared.head = .int8;
        try run(prepared, &expected_logits);
        // Rounding is uniform within half a step of 1/127 of the largest magnitude on either side:
        // about 2/127/sqrt(12) of it each, against values of a third to a half of it and more.
        const error_size = distance(&expected_logits, &stored);
        try expect(error_size > 0 and error_size < 0.02);
        for (dispatch.tiers) |tier| {
            if (!tier.isSupported()) continue;
            try dispatch.force(tier.name);
            for ([_]u32{ 1, 3 }) |thread_count| {
                try threads.setThreads(thread_count);
                try run(prepared, &logits);
                try expect(sameBits());
            }
        }
    }
}

test "a head of bf16 is the stored one where that is bf16, and near it otherwise" {
    try run(.{}, &expected_logits);
    try run(.{ .head = .bf16 }, &logits);
    try expect(sameBits());
    inline for (.{ .f32, .f16 }) |dtype| {
        try run(.{ .table = dtype, .tied = false, .sub_norms = false }, &stored);
        try run(.{ .table = dtype, .tied = false, .sub_norms = false, .head = .bf16 }, &logits);
        // Eight bits of fraction: each weight moves by at most 2^-9 of itself.
        const error_size = distance(&logits, &stored);
        try expect(error_size > 0 and error_size < 0x1p-8);
    }
}
