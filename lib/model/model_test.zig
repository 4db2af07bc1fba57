//! A small model's logits: the same bits however the tokens are fed, on every tier, with any number
//! of threads; attention against a plain loop; and what a model refuses.

const std = @import("std");
const dispatch = @import("../cpu/dispatch.zig");
const attend = @import("attend.zig");
const forward = @import("forward.zig");
const nll = @import("nll.zig");
const sampling = @import("sampling.zig");
const ternary = @import("ternary.zig");
const test_model = @import("test_model.zig");
const threads = @import("../cpu/threads.zig");
const Cache = @import("cache.zig").Cache;
const Model = @import("model.zig").Model;
const Pass = @import("pass.zig").Pass;
const TestModel = test_model.TestModel;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;
const expectError = std.testing.expectError;

const vocab = test_model.vocab;
const text_length = 300;

fn text() [text_length]u32 {
    var ids: [text_length]u32 = undefined;
    for (&ids, 0..) |*id, i| id.* = @intCast((i * 7 + i / 5 * 3) % vocab);
    return ids;
}

var expected_logits: [text_length * vocab]f32 = undefined;
var logits: [text_length * vocab]f32 = undefined;

fn expectSame(expected: []const f32, actual: []const f32) !void {
    try expect(std.mem.eql(u8, std.mem.sliceAsBytes(expected), std.mem.sliceAsBytes(actual)));
}

fn createCache(model: *const Model, max_tokens: u32, slides: bool) !*Cache {
    const o = &model.options;
    return Cache.create(.{
        .layers = o.layers,
        .kv_heads = o.kv_heads,
        .head_dim = o.head_dim,
        .max_tokens = max_tokens,
        .policy = if (slides) .slide else .fail,
    });
}

/// Feeds the text in pieces of the given sizes, over and over.
fn feed(model: *const Model, max_tokens: u32, slides: bool, pieces: []const usize, output: []f32) !void {
    const ids = text();
    const cache = try createCache(model, max_tokens, slides);
    defer cache.destroy();
    var done: usize = 0;
    var turn: usize = 0;
    while (done < ids.len) : (turn += 1) {
        const count = @min(pieces[turn % pieces.len], ids.len - done);
        try forward.forward(model, cache, ids[done..][0..count], output[done * vocab ..][0 .. count * vocab]);
        done += count;
    }
}

fn expectSameEveryWay(kind: test_model.Kind) !void {
    const tested: TestModel = try .create(kind);
    defer tested.destroy();
    const model = tested.model;
    const ids = text();
    const threads_before = threads.getThreads();
    defer threads.setThreads(threads_before) catch {};
    const tier_before = (try dispatch.active()).name;
    defer dispatch.force(tier_before) catch {};

    try forward.forward(model, null, &ids, &expected_logits);
    try expect(std.math.isFinite(expected_logits[text_length * vocab - 1]));
    for (dispatch.tiers) |tier| {
        if (!tier.isSupported()) continue;
        try dispatch.force(tier.name);
        for ([_]u32{ 1, 2, 3 }) |count| {
            try threads.setThreads(count);
            try forward.forward(model, null, &ids, &logits);
            try expectSame(&expected_logits, &logits);
        }
        try feed(model, text_length, false, &.{1}, &logits);
        try expectSame(&expected_logits, &logits);
    }
    try feed(model, text_length, false, &.{ 5, 1, 128, 17, 129 }, &logits);
    try expectSame(&expected_logits, &logits);
    // A window that the text does not fill is as good as none.
    try feed(model, text_length, true, &.{ 200, 1 }, &logits);
    try expectSame(&expected_logits, &logits);

    var last: [vocab]f32 = undefined;
    const cache = try createCache(model, text_length, false);
    defer cache.destroy();
    try forward.forward(model, cache, ids[0..200], &.{});
    try forward.forward(model, cache, ids[200..], &last);
    try expectSame(expected_logits[(text_length - 1) * vocab ..], &last);
}

test "the same bits however fed: BitNet" {
    try expectSameEveryWay(.{});
}

// The golden number is what x86-64 gives; aarch64 must give it too.
test "the same bits on every processor" {
    const tested: TestModel = try .create(.{});
    defer tested.destroy();
    try forward.forward(tested.model, null, &text(), &logits);
    try expectEqual(7972332674227427976, std.hash.Wyhash.hash(0, std.mem.sliceAsBytes(&logits)));
}

test "the same bits in less memory: base3" {
    const kind: test_model.Kind = .{ .layout = .base3, .head = .int8 };
    try expectSameEveryWay(kind);
    const planes: TestModel = try .create(.{ .head = .int8 });
    defer planes.destroy();
    try forward.forward(planes.model, null, &text(), &logits);
    try expectSame(&expected_logits, &logits);
}

test "the same bits however fed: Llama, with biases" {
    try expectSameEveryWay(.{ .sub_norms = false, .tied = false, .biases = true, .table = .f32, .head_dim = 32 });
}

test "the same bits however fed: norms of their own" {
    try expectSameEveryWay(.{ .own_norms = true, .table = .f16, .head_dim = 50 });
}

test "a sliding window, however fed" {
    const tested: TestModel = try .create(.{});
    defer tested.destroy();
    for ([_]u32{ 1, 2, 13, 64, 150 }) |window| {
        try feed(tested.model, window, true, &.{1}, &expected_logits);
        for ([_][]const usize{ &.{text_length}, &.{ 3, 40, 1, 7 }, &.{2} }) |pieces| {
            try feed(tested.model, window, true, pieces, &logits);
            try expectSame(&expected_logits, &logits);
        }
    }
    // Within the window nothing has slid yet.
    try feed(tested.model, 150, true, &.{1}, &expected_logits);
    try feed(tested.model, text_length, false, &.{text_length}, &logits);
    try expectSame(expected_logits[0 .. 150 * vocab], logits[0 .. 150 * vocab]);
    try expect(!std.mem.eql(f32, expected_logits[200 * vocab ..], logits[200 * vocab ..]));
}

/// Appends `tokens` random tokens to the one cache, and returns their keys and values.
fn appendRandom(cache: *Cache, random: std.Random, tokens: usize, keys: []f32, values: []f32) !void {
    const length = cache.options.kv_heads * cache.options.head_dim;
    for (keys[0 .. tokens * length], values[0 .. tokens * length]) |*key, *value| {
        key.* = random.floatNorm(f32);
        value.* = random.floatNorm(f32);
    }
    for (0..cache.options.layers) |layer| {
        try cache.append(@intCast(layer), keys[0 .. tokens * length], values[0 .. tokens * length]);
    }
}

test "attention against a plain loop" {
    const allocator = std.testing.allocator;
    const tested: TestModel = try .create(.{ .head_dim = 20 });
    defer tested.destroy();
    const o = &tested.model.options;
    const length = o.keyWidth();
    var prng: std.Random.DefaultPrng = .init(8);
    const total = 150;
    const keys = try allocator.alloc(f32, total * length);
    defer allocator.free(keys);
    const values = try allocator.alloc(f32, total * length);
    defer allocator.free(values);
    for ([_]u32{ 5, 33, total }) |window| for ([_]u32{ 1, 3, 40 }) |chunk| {
        const cache = try createCache(tested.model, window, window < total);
        defer cache.destroy();
        if (chunk > cache.chunkTokens()) continue;
        const before = total - chunk;
        try appendRandom(cache, prng.random(), before, keys, values);
        try appendRandom(cache, prng.random(), chunk, keys[before * length ..], values[before * length ..]);
        for (cache.positions) |*seen| seen.* = before;
        threads.enter();
        defer threads.leave();
        var pass: Pass = try .init(tested.model, cache, try dispatch.kernels(), chunk, chunk);
        pass.tokens = chunk;
        pass.start = before;
        pass.layer = 1;
        const width = chunk * o.queryWidth();
        for (pass.q[0..width]) |*q| q.* = prng.random().floatNorm(f32);
        attend.run(&pass);
        for (0..chunk) |token| for (0..o.heads) |head| {
            const offset = token * o.queryWidth() + head * o.head_dim;
            const end = before + token + 1;
            var output: [64]f64 = undefined;
            const kv_offset = head / (o.heads / o.kv_heads) * o.head_dim;
            plainAttention(pass.q[offset..][0..o.head_dim], keys, values, length, kv_offset, end - @min(end, window), end, &output);
            for (output[0..o.head_dim], pass.attention[offset..][0..o.head_dim]) |expected, actual| {
                try std.testing.expectApproxEqAbs(expected, actual, 1e-5);
            }
        };
    };
}

fn plainAttention(q: []const f32, keys: []const f32, values: []const f32, length: usize, offset: usize, first: usize, end: usize, output: []f64) void {
    var total: f64 = 0;
    @memset(output, 0);
    for (first..end) |position| {
        var dot: f64 = 0;
        for (q, keys[position * length + offset ..][0..q.len]) |a, b| dot += @as(f64, a) * b;
        const weight = @exp(dot / @sqrt(@as(f64, @floatFromInt(q.len))));
        total += weight;
        for (output[0..q.len], values[position * length + offset ..][0..q.len]) |*sum, value| sum.* += weight * value;
    }
    for (output) |*sum| sum.* /= total;
}

test "a full cache refuses and stays as it was" {
    const tested: TestModel = try .create(.{});
    defer tested.destroy();
    const ids = text();
    try forward.forward(tested.model, null, ids[0..20], expected_logits[0 .. 20 * vocab]);
    const cache = try createCache(tested.model, 20, false);
    defer cache.destroy();
    try forward.forward(tested.model, cache, ids[0..18], &.{});
    try expectError(error.CacheFull, forward.forward(tested.model, cache, ids[0..3], logits[0..vocab]));
    try expectEqual(18, cache.position());
    try forward.forward(tested.model, cache, ids[18..20], logits[0 .. 2 * vocab]);
    try expectSame(expected_logits[18 * vocab .. 20 * vocab], logits[0 .. 2 * vocab]);
}

test "the negative log-likelihood is that of the logits" {
    const tested: TestModel = try .create(.{});
    defer tested.destroy();
    const ids = text();
    const nn = &(try dispatch.kernels()).nn;
    for ([_]usize{ 2, 64, 65, 66, text_length }) |count| {
        const inputs = count - 1;
        try forward.forward(tested.model, null, ids[0..inputs], logits[0 .. inputs * vocab]);
        var total: f64 = 0;
        for (0..inputs) |t| {
            const row = logits[t * vocab ..][0..vocab];
            var sum: f64 = 0;
            for (row) |logit| sum += @exp(@as(f64, logit));
            try std.testing.expectApproxEqAbs(@log(sum), sampling.logSumExp(nn, row), 1e-6);
            total += @log(sum) - row[ids[t + 1]];
        }
        try std.testing.expectApproxEqAbs(total / @as(f64, @floatFromInt(inputs)), try nll.meanNll(tested.model, ids[0..count]), 1e-6);
    }
    try expectError(error.InvalidLength, nll.meanNll(tested.model, ids[0..1]));
    try expectError(error.InvalidValue, nll.meanNll(tested.model, &.{ 1, vocab }));
}

test "a bad id in the middle of a long text is refused before it is used" {
    const tested: TestModel = try .create(.{});
    defer tested.destroy();
    var ids = text();
    // The last target of the first piece of 64, which is the first token of the second.
    ids[64] = 0x0fff_ffff;
    try expectError(error.InvalidValue, nll.meanNll(tested.model, &ids));
    try expectError(error.InvalidValue, forward.forward(tested.model, null, &ids, &logits));
}

test "ids in the memory of the logits are refused" {
    const tested: TestModel = try .create(.{});
    defer tested.destroy();
    const inside: [*]u32 = @ptrCast(&logits);
    @memset(inside[0..text_length], 1);
    try expectError(error.InvalidValue, forward.forward(tested.model, null, inside[0..text_length], &logits));
}

test "numbers that are not finite give NaN, not an error, until they are out of sight" {
    const tested: TestModel = try .create(.{});
    defer tested.destroy();
    const norm = tested.model.layers[1].input_norm;
    const good = norm[3];
    const cache = try createCache(tested.model, 10, true);
    defer cache.destroy();
    const ids = text();
    try forward.forward(tested.model, cache, ids[0..5], &.{});
    norm[3] = std.math.inf(f32);
    try forward.forward(tested.model, cache, ids[5..8], logits[0..vocab]);
    for (logits[0..vocab]) |logit| try expect(std.math.isNan(logit));
    norm[3] = good;
    try forward.forward(tested.model, cache, ids[8..9], logits[0..vocab]);
    for (logits[0..vocab]) |logit| try expect(std.math.isNan(logit));
}

test "ids, lengths and caches that do not fit" {
    const tested: TestModel = try .create(.{});
    defer tested.destroy();
    const model = tested.model;
    try expectError(error.InvalidLength, forward.forward(model, null, &.{}, &.{}));
    try expectError(error.InvalidValue, forward.forward(model, null, &.{ 1, vocab }, &.{}));
    try expectError(error.InvalidLength, forward.forward(model, null, &.{ 1, 2 }, logits[0 .. vocab + 1]));
    const other: *Cache = try .create(.{ .layers = 1, .kv_heads = 2, .head_dim = 12, .max_tokens = 9, .policy = .fail });
    defer other.destroy();
    try expectError(error.InvalidShape, forward.forward(model, other, &.{1}, &.{}));
    const uneven = try createCache(model, 9, false);
    defer uneven.destroy();
    const rows: [24]f32 = @splat(0);
    try uneven.append(0, &rows, &rows);
    try expectError(error.InvalidValue, forward.forward(model, uneven, &.{1}, &.{}));
}

test "float weights are quantised by their mean, or must be ternary" {
    const values = [8]f32{ 1, -0.2, 0.25, -3, 0, 0.5, 0.05, -0.0 };
    // The mean magnitude is 0.625.
    const weights = try ternary.prepare(std.mem.sliceAsBytes(&values), .f32, 2, 4, 99, .absmean);
    defer weights.destroy();
    try expectEqual(3, weights.nonzeros);
    try expectEqual(0.625, weights.scaleOf(1, 0).*);
    const bytes = std.mem.sliceAsBytes(&values);
    try expectError(error.InvalidValue, ternary.prepare(bytes, .f32, 2, 4, 1, .multiply));
    try expectError(error.InvalidValue, ternary.prepare(bytes[0..8], .i8, 2, 4, 0, .divide));
    try expectError(error.InvalidType, ternary.prepare(bytes[0..8], .i8, 2, 4, 1, .absmean));
    const exact = [4]f32{ 1, -1, 0, -0.0 };
    const trits = try ternary.prepare(std.mem.sliceAsBytes(&exact), .f32, 1, 4, 4, .divide);
    defer trits.destroy();
    try expectEqual(0.25, trits.scaleOf(0, 0).*);
    const bad = [2]f32{ 1, std.math.nan(f32) };
    try expectError(error.InvalidValue, ternary.prepare(std.mem.sliceAsBytes(&bad), .f32, 1, 2, 1, .absmean));
}

test "tensors that do not belong" {
    const tested: TestModel = try .create(.{});
    defer tested.destroy();
    const options = tested.model.options;
    const model: *Model = try .create(options, tested.model.inv_frequencies);
    defer model.destroy();
    try expectError(error.InvalidFormat, model.finish());
    try expectError(error.InvalidOption, model.expectFinished());
    const good: @import("model.zig").Source = .{
        .role = 2,
        .layer = 0,
        .dtype = .f32,
        .rows = 1,
        .columns = options.hidden,
        .offset = 4096,
        .size = options.hidden * 4,
        .scale = 1,
        .mode = .multiply,
    };
    @memset(@constCast(tested.file.bytes)[4096..8192], 0);
    var bad = good;
    bad.size = 7;
    try expectError(error.InvalidLength, model.setTensor(tested.file, bad));
    bad = good;
    bad.columns += 1;
    try expectError(error.InvalidShape, model.setTensor(tested.file, bad));
    bad = good;
    bad.offset = 1 << 40;
    try expectError(error.InvalidFormat, model.setTensor(tested.file, bad));
    bad = good;
    bad.dtype = .i8;
    try expectError(error.InvalidType, model.setTensor(tested.file, bad));
    bad = good;
    bad.role = 7;
    try expectError(error.InvalidOption, model.setTensor(tested.file, bad));
    bad = good;
    bad.role = 3;
    bad.layer = 2;
    try expectError(error.InvalidValue, model.setTensor(tested.file, bad));
    try model.setTensor(tested.file, good);
    try expectError(error.InvalidOption, model.setTensor(tested.file, good));
    try expectError(error.InvalidOption, tested.model.setTensor(tested.file, good));
}
