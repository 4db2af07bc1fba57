//! The choice of tokens against a plain one: sort everything, then walk.

const std = @import("std");
const dispatch = @import("../cpu/dispatch.zig");
const philox = @import("../philox.zig");
const sampling = @import("sampling.zig");
const expectEqual = std.testing.expectEqual;
const expectError = std.testing.expectError;

var scratch: [40_000]u64 = undefined;

fn choose(logits: []const f32, options: sampling.Options) !sampling.Choice {
    const nn = &(try dispatch.kernels()).nn;
    return sampling.choose(nn, logits, options, scratch[0..sampling.scratchLength(logits.len)]);
}

const greedy: sampling.Options = .{ .temperature = 0, .top_k = 0, .top_p = 1, .seed = 0, .step = 0 };

test "greedy takes the lowest of equal ids" {
    const inf = std.math.inf(f32);
    const choice = try choose(&.{ -1, 2, 2, -inf, 0.5 }, greedy);
    try expectEqual(1, choice.id);
    const total = @exp(@as(f64, -3)) + 2 + @exp(@as(f64, -1.5));
    try std.testing.expectApproxEqAbs(-@log(total), choice.log_probability, 1e-6);
    try expectEqual(0, (try choose(&.{ -0.0, 0 }, greedy)).id);
}

test "logits without a meaning are refused" {
    const inf = std.math.inf(f32);
    try expectError(error.InvalidValue, choose(&.{ 1, std.math.nan(f32) }, greedy));
    try expectError(error.InvalidValue, choose(&.{ 1, inf }, greedy));
    try expectError(error.InvalidValue, choose(&.{ -inf, -inf }, greedy));
    try expectError(error.InvalidLength, choose(&.{}, greedy));
}

/// Ids by falling logit, rising id.
fn ranking(logits: []const f32, ids: []u32) void {
    for (ids, 0..) |*id, index| id.* = @intCast(index);
    std.mem.sort(u32, ids, logits, struct {
        fn lessThan(values: []const f32, a: u32, b: u32) bool {
            return values[a] > values[b];
        }
    }.lessThan);
}

fn reference(logits: []const f32, options: sampling.Options, ids: []u32) u32 {
    ranking(logits, ids);
    var kept = if (options.top_k > 0) @min(options.top_k, ids.len) else ids.len;
    var total: f64 = 0;
    for (ids[0..kept]) |id| total += weight(logits, ids[0], id, options);
    if (options.top_p < 1) {
        var sum: f64 = 0;
        for (ids[0..kept], 1..) |id, count| {
            sum += weight(logits, ids[0], id, options);
            if (sum >= total * options.top_p) {
                kept = count;
                break;
            }
        }
        total = sum;
    }
    if (options.top_p >= 1 and kept == ids.len) std.mem.sort(u32, ids, {}, std.sort.asc(u32));
    const target = total * philox.uniform(options.seed, options.step);
    var sum: f64 = 0;
    const best = ids[0];
    for (ids[0..kept]) |id| {
        sum += weight(logits, if (kept == ids.len) bestOf(logits) else best, id, options);
        if (sum > target) return id;
    }
    return ids[kept - 1];
}

fn bestOf(logits: []const f32) u32 {
    return @intCast(std.mem.indexOfMax(f32, logits));
}

fn weight(logits: []const f32, best: u32, id: u32, options: sampling.Options) f64 {
    return @exp(@as(f64, (logits[id] - logits[best]) * (1 / options.temperature)));
}

test "chance agrees with sorting everything" {
    var prng: std.Random.DefaultPrng = .init(1);
    const random = prng.random();
    var logits: [3000]f32 = undefined;
    var ids: [3000]u32 = undefined;
    for ([_]f32{ 0.1, 3, 40, 4000 }) |spread| {
        for (&logits) |*logit| logit.* = random.floatNorm(f32) * spread;
        // Ties, and tokens that were masked.
        for (0..200) |i| logits[i * 7] = logits[i * 11];
        for (0..50) |i| logits[i * 13] = if (i % 2 == 0) -std.math.inf(f32) else -1e9;
        for ([_]f32{ 0.3, 1, 2 }) |temperature| for ([_]u32{ 0, 1, 5, 11, 50, 2999, 5000 }) |top_k| for ([_]f64{ 0, 0.3, 0.9, 1 }) |top_p| {
            for (0..6) |step| {
                const options: sampling.Options = .{
                    .temperature = temperature,
                    .top_k = top_k,
                    .top_p = top_p,
                    .seed = 17,
                    .step = step,
                };
                try expectEqual(reference(&logits, options, &ids), (try choose(&logits, options)).id);
            }
        };
    }
}

test "frequencies follow the softmax" {
    const logits = [_]f32{ 0, @log(@as(f32, 2)), @log(@as(f32, 5)), -std.math.inf(f32) };
    var counts: [4]u32 = @splat(0);
    for (0..8000) |step| {
        const choice = try choose(&logits, .{ .temperature = 1, .top_k = 0, .top_p = 1, .seed = 5, .step = step });
        counts[choice.id] += 1;
    }
    for ([_]f64{ 1000, 2000, 5000 }, counts[0..3]) |expected, count| {
        try std.testing.expectApproxEqAbs(expected, @as(f64, @floatFromInt(count)), 150);
    }
    try expectEqual(0, counts[3]);
}

test "a temperature near zero is greedy, a huge one even" {
    const logits = [_]f32{ 1, 3, 2.999 };
    for (0..50) |step| {
        const cold = try choose(&logits, .{ .temperature = std.math.floatMin(f32), .top_k = 0, .top_p = 1, .seed = 9, .step = step });
        try expectEqual(1, cold.id);
    }
    var seen: [3]bool = @splat(false);
    for (0..50) |step| {
        const hot = try choose(&logits, .{ .temperature = 1e30, .top_k = 0, .top_p = 0.999, .seed = 9, .step = step });
        seen[hot.id] = true;
    }
    try expectEqual([3]bool{ true, true, true }, seen);
}
