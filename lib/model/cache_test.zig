//! The cache as a queue of tokens, with both policies.

const std = @import("std");
const abi = @import("../abi.zig");
const Cache = @import("cache.zig").Cache;
const expectEqual = std.testing.expectEqual;
const expectError = std.testing.expectError;

fn tokenValue(layer: usize, token: usize, element: usize, is_value: bool) f32 {
    const whole = ((layer * 1000 + token) * 100 + element) * 2 + @intFromBool(is_value);
    return @floatFromInt(whole);
}

fn append(cache: *Cache, layer: u32, first: usize, count: usize) abi.Failure!void {
    var keys: [64 * 10]f32 = undefined;
    var values: [64 * 10]f32 = undefined;
    const length = cache.options.kv_heads * cache.options.head_dim;
    for (0..count) |token| for (0..length) |element| {
        keys[token * length + element] = tokenValue(layer, first + token, element, false);
        values[token * length + element] = tokenValue(layer, first + token, element, true);
    };
    return cache.append(layer, keys[0 .. count * length], values[0 .. count * length]);
}

fn expectHeld(cache: *Cache, layer: u32, first: usize, count: usize) !void {
    var keys: [64 * 10]f32 = undefined;
    var values: [64 * 10]f32 = undefined;
    const length = cache.options.kv_heads * cache.options.head_dim;
    try cache.read(layer, keys[0 .. count * length], values[0 .. count * length]);
    for (0..count) |token| for (0..length) |element| {
        try expectEqual(tokenValue(layer, first + token, element, false), keys[token * length + element]);
        try expectEqual(tokenValue(layer, first + token, element, true), values[token * length + element]);
    };
}

test "a full cache says so and stays as it was" {
    const cache: *Cache = try .create(.{ .layers = 2, .kv_heads = 2, .head_dim = 5, .max_tokens = 20, .policy = .fail });
    defer cache.destroy();
    for (0..2) |layer| try append(cache, @intCast(layer), 0, 17);
    try expectEqual(17, cache.position());
    try expectError(error.CacheFull, append(cache, 1, 17, 4));
    for (0..2) |layer| try expectHeld(cache, @intCast(layer), 0, 17);
    try append(cache, 1, 17, 3);
    try expectEqual(17, cache.position());
    try expectHeld(cache, 1, 0, 20);
    try expectError(error.CacheFull, append(cache, 1, 20, 1));
    try expectError(error.InvalidLength, expectHeld(cache, 0, 0, 18));
    try expectError(error.InvalidValue, append(cache, 2, 0, 1));
    try expectError(error.InvalidLength, cache.append(0, &.{ 1, 2, 3 }, &.{ 1, 2, 3 }));
    try expectError(error.InvalidValue, cache.truncate(18));
    try cache.truncate(4);
    for (0..2) |layer| try append(cache, @intCast(layer), 4, 2);
    for (0..2) |layer| try expectHeld(cache, @intCast(layer), 0, 6);
    try cache.truncate(0);
    try expectEqual(0, cache.position());
}

test "a sliding cache keeps the last tokens" {
    const cache: *Cache = try .create(.{ .layers = 1, .kv_heads = 1, .head_dim = 3, .max_tokens = 7, .policy = .slide });
    defer cache.destroy();
    var seen: usize = 0;
    for ([_]usize{ 3, 4, 1, 5, 64, 2, 7, 30 }) |count| {
        try append(cache, 0, seen, count);
        seen += count;
        try expectEqual(seen, cache.position());
        const held = @min(seen, 7);
        try expectEqual(held, cache.held(cache.position()));
        try expectHeld(cache, 0, seen - held, held);
    }
    try expectError(error.InvalidOption, cache.truncate(3));
    try cache.truncate(0);
    try expectEqual(0, cache.position());
}

test "sizes that no machine has" {
    const most = std.math.maxInt(u32);
    const result = Cache.create(.{ .layers = most, .kv_heads = most, .head_dim = most, .max_tokens = most, .policy = .slide });
    try expectError(error.OutOfMemory, result);
}
