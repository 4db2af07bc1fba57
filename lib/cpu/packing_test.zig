const std = @import("std");
const testing = std.testing;
const dispatch = @import("dispatch.zig");
const packing = @import("packing.zig");
const threads = @import("threads.zig");

const sizes = [_]u32{ 1, 3, 4, 31, 33, 64, 65, 127, 1000, 1030 };

/// Runs a check with the kernels of every tier that this machine has.
fn onEveryTier(check: *const fn (kernels: *const @import("table.zig").Kernels) anyerror!void) !void {
    for (dispatch.tiers) |tier| if (tier.isSupported()) try check(tier.kernels);
}

fn code(trit: i8) u8 {
    return switch (trit) {
        1 => 1,
        -1 => 2,
        else => 0,
    };
}

/// The wire format by its definition.
fn wireOf(trits: []const i8, shape: packing.Shape, bytes: []u8) void {
    @memset(bytes, 0);
    for (trits, 0..) |trit, i| {
        const column = i % shape.columns;
        bytes[i / shape.columns * shape.rowBytes() + column / 4] |= code(trit) << @intCast(column % 4 * 2);
    }
}

test "packing and unpacking follow the definition on every tier, at odd sizes and places" {
    try onEveryTier(struct {
        fn check(kernels: *const @import("table.zig").Kernels) !void {
            var arena: std.heap.ArenaAllocator = .init(testing.allocator);
            defer arena.deinit();
            const allocator = arena.allocator();
            var random = std.Random.DefaultPrng.init(1);
            for (sizes) |columns| {
                const shape: packing.Shape = try .init(3, columns);
                // One element late, so that no vector is aligned.
                const trits = (try allocator.alloc(i8, shape.size() + 1))[1..];
                const floats = (try allocator.alloc(f32, shape.size() + 1))[1..];
                const back = (try allocator.alloc(i8, shape.size() + 1))[1..];
                const weights = (try allocator.alloc(f32, shape.size() + 1))[1..];
                const expected = (try allocator.alloc(u8, shape.packedBytes() + 1))[1..];
                const bytes = (try allocator.alloc(u8, shape.packedBytes() + 1))[1..];
                for (trits, floats, 0..) |*trit, *float, i| {
                    trit.* = random.random().intRangeAtMost(i8, -1, 1);
                    float.* = @floatFromInt(trit.*);
                    if (trit.* == 0 and i % 2 == 0) float.* = -0.0;
                }
                wireOf(trits, shape, expected);
                @memset(bytes, 0xff);
                try testing.expectEqual(null, packing.pack(i8, kernels, trits, shape, bytes));
                try testing.expectEqualSlices(u8, expected, bytes);
                @memset(bytes, 0xff);
                try testing.expectEqual(null, packing.pack(f32, kernels, floats, shape, bytes));
                try testing.expectEqualSlices(u8, expected, bytes);
                try testing.expectEqual(null, packing.unpack(kernels, bytes, shape, back));
                try testing.expectEqualSlices(i8, trits, back);
                const scales = [_]f32{ 0.5, -2, 0 };
                try testing.expectEqual(null, packing.unpackScaled(kernels, bytes, shape, &scales, weights));
                for (trits, weights, 0..) |trit, weight, i| {
                    const product = @as(f32, @floatFromInt(trit)) * scales[i / columns];
                    try testing.expectEqual(@as(u32, @bitCast(product)), @as(u32, @bitCast(weight)));
                }
            }
        }
    }.check);
}

test "every value that is no trit is named, wherever it is" {
    try onEveryTier(struct {
        fn check(kernels: *const @import("table.zig").Kernels) !void {
            const columns = 400;
            const shape: packing.Shape = try .init(1, columns);
            var floats: [columns]f32 = undefined;
            var trits: [columns]i8 = undefined;
            var bytes: [columns / 4]u8 = undefined;
            for (&floats, &trits, 0..) |*float, *trit, i| {
                trit.* = @as(i8, @intCast(i % 3)) - 1;
                float.* = @floatFromInt(trit.*);
            }
            for (0..columns) |place| {
                const float = floats[place];
                // Every bit that makes a trit something else, and then some famous values.
                for (0..31) |bit| {
                    floats[place] = @bitCast(@as(u32, @bitCast(float)) ^ @as(u32, 1) << @intCast(bit));
                    try testing.expectEqual(place, packing.pack(f32, kernels, &floats, shape, &bytes));
                }
                for ([_]f32{ 2, -2, 0.5, -0.5, std.math.nan(f32), std.math.inf(f32), -std.math.inf(f32), std.math.floatMax(f32), std.math.floatTrueMin(f32) }) |bad| {
                    floats[place] = bad;
                    try testing.expectEqual(place, packing.pack(f32, kernels, &floats, shape, &bytes));
                }
                floats[place] = float;
                const trit = trits[place];
                for ([_]i8{ 2, -2, 3, 127, -128, 0x55 }) |bad| {
                    trits[place] = bad;
                    try testing.expectEqual(place, packing.pack(i8, kernels, &trits, shape, &bytes));
                }
                trits[place] = trit;
            }
            // The first of two.
            floats[399] = 7;
            floats[123] = -1.5;
            try testing.expectEqual(123, packing.pack(f32, kernels, &floats, shape, &bytes));
        }
    }.check);
}

// The 2^32 floats in steps of a prime: about 1.3 million of them, all exponents among them.
test "a float is refused unless it is -1, 0 or 1" {
    try onEveryTier(struct {
        fn check(kernels: *const @import("table.zig").Kernels) !void {
            var values: [64]f32 = @splat(1);
            var bytes: [16]u8 = undefined;
            var bits: u64 = 0;
            while (bits < 1 << 32) : (bits += 3271) {
                const value: f32 = @bitCast(@as(u32, @intCast(bits)));
                values[bits % 64] = value;
                const good = value == 0 or value == 1 or value == -1;
                try testing.expectEqual(good, kernels.ternary.pack_f32(&values, 64, &bytes) == 0);
                values[bits % 64] = 1;
            }
        }
    }.check);
}

test "code 11 is refused, but not in a row's padding" {
    try onEveryTier(struct {
        fn check(kernels: *const @import("table.zig").Kernels) !void {
            var trits: [5]i8 = undefined;
            const shape: packing.Shape = try .init(1, 5);
            try testing.expectEqual(4, packing.unpack(kernels, &.{ 0x49, 0x03 }, shape, &trits));
            try testing.expectEqual(null, packing.unpack(kernels, &.{ 0x49, 0xfc }, shape, &trits));
            try testing.expectEqualSlices(i8, &.{ 1, -1, 0, 1, 0 }, &trits);
            const long: packing.Shape = try .init(1, 400);
            var bytes: [100]u8 = @splat(0x49);
            var back: [400]i8 = undefined;
            var weights: [400]f32 = undefined;
            for (0..400) |place| {
                const byte = bytes[place / 4];
                bytes[place / 4] |= @as(u8, 3) << @intCast(place % 4 * 2);
                try testing.expectEqual(place, packing.unpack(kernels, &bytes, long, &back));
                try testing.expectEqual(place, packing.unpackScaled(kernels, &bytes, long, &.{1}, &weights));
                try testing.expectEqual(place, packing.unpackScaled(kernels, &bytes, long, &@as([80]f32, @splat(1)), &weights));
                bytes[place / 4] = byte;
            }
        }
    }.check);
}

test "large matrices are the same on any number of threads" {
    const allocator = testing.allocator;
    const before = threads.getThreads();
    defer threads.setThreads(before) catch {};
    const kernels = try dispatch.kernels();
    for ([_]u32{ 1024, 1021 }) |columns| {
        const shape: packing.Shape = try .init(301, columns);
        const floats = try allocator.alloc(f32, shape.size());
        defer allocator.free(floats);
        const trits = try allocator.alloc(i8, shape.size());
        defer allocator.free(trits);
        const bytes = try allocator.alloc(u8, shape.packedBytes());
        defer allocator.free(bytes);
        const expected = try allocator.alloc(u8, shape.packedBytes());
        defer allocator.free(expected);
        var random = std.Random.DefaultPrng.init(columns);
        for (trits, floats) |*trit, *float| {
            trit.* = random.random().intRangeAtMost(i8, -1, 1);
            float.* = @floatFromInt(trit.*);
        }
        wireOf(trits, shape, expected);
        for ([_]u32{ 1, 2, 3 }) |count| {
            try threads.setThreads(count);
            @memset(bytes, 0xff);
            try testing.expectEqual(null, packing.pack(f32, kernels, floats, shape, bytes));
            try testing.expectEqualSlices(u8, expected, bytes);
            const last = floats.len - 1;
            const kept = floats[last];
            floats[last] = 3;
            try testing.expectEqual(last, packing.pack(f32, kernels, floats, shape, bytes));
            floats[last] = kept;
        }
    }
}
