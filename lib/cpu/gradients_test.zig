//! The kernels of gradient codecs on every tier, next to plain loops.

const std = @import("std");
const testing = std.testing;
const dispatch = @import("dispatch.zig");
const table = @import("gradients_table.zig");
const trits = @import("gradients_trits.zig");

const size_max = 4096;
const counts = [_]usize{ 1, 15, 16, 17, 63, 64, 65, 79, 80, 319, 320, 321, 1000, 1280 };

fn kernelsOfTiers() []const *const table.Kernels {
    const found = struct {
        var list: [dispatch.tiers.len]*const table.Kernels = undefined;
    };
    var count: usize = 0;
    for (dispatch.tiers) |tier| if (tier.isSupported()) {
        found.list[count] = &tier.kernels.gradients;
        count += 1;
    };
    return found.list[0..count];
}

fn randomValues(seed: u64, values: []f32) void {
    var random = std.Random.DefaultPrng.init(seed);
    for (values) |*value| value.* = random.random().floatNorm(f32);
}

test "the transform adds in one order on every tier" {
    var values: [size_max]f32 align(64) = undefined;
    var expected: [size_max]f32 = undefined;
    for (kernelsOfTiers()) |kernels| {
        var size: usize = 1;
        while (size <= size_max) : (size *= 2) {
            randomValues(size, values[0..size]);
            @memcpy(expected[0..size], values[0..size]);
            var h: usize = 1;
            while (h < size) : (h *= 2) for (0..size) |i| if (i & h == 0) {
                const a, const b = .{ expected[i], expected[i + h] };
                expected[i] = a + b;
                expected[i + h] = a - b;
            };
            kernels.hadamard(&values, size);
            try testing.expectEqualSlices(f32, expected[0..size], values[0..size]);
        }
    }
}

test "signs are the same on every tier, and taken off again" {
    var values: [size_max]f32 align(64) = undefined;
    var first: [size_max]f32 align(64) = undefined;
    var out: [size_max]f32 align(64) = undefined;
    var back: [size_max]f32 = undefined;
    randomValues(1, &values);
    for (kernelsOfTiers(), 0..) |kernels, tier| for (counts) |count| {
        const size = std.math.ceilPowerOfTwoAssert(usize, @max(count, 16));
        var flipped: table.Flipped = undefined;
        kernels.flip(&values, count, size, 3, 7, 1, &out, &flipped);
        if (tier == 0 and count == 1280) first = out;
        if (count == 1280) try testing.expectEqualSlices(f32, first[0..count], out[0..count]);
        for (out[count..size]) |padding| try testing.expectEqual(0, padding);
        var largest: f32 = 0;
        var squares: f64 = 0;
        for (values[0..count], out[0..count]) |value, signed| {
            try testing.expectEqual(@abs(value), @abs(signed));
            largest = @max(largest, @abs(value));
            squares += @as(f64, value) * value;
        }
        try testing.expectEqual(@as(u32, @bitCast(largest)), flipped.largest);
        try testing.expectApproxEqRel(squares, flipped.squares, 1e-5);
        kernels.unflip(&out, count, 3, 7, 1, &back);
        try testing.expectEqualSlices(f32, values[0..count], back[0..count]);
    };
}

test "levels are the nearest ones, and come back" {
    var values: [size_max]f32 align(64) = undefined;
    var chosen: [size_max]f32 align(64) = undefined;
    var codes: [size_max]u8 = undefined;
    randomValues(2, &values);
    for (kernelsOfTiers()) |kernels| {
        const all = kernels.levels;
        for ([_]table.Levels{ all.two, all.three, all.four, all.eight, all.sixteen }) |levels| {
            for ([_]usize{ 16, 32, 64, 4096 }) |size| {
                const dot = levels.quantize(&values, size, 1, &codes);
                levels.dequantize(&codes, size, &chosen);
                var expected: f64 = 0;
                for (values[0..size], chosen[0..size]) |value, level| {
                    expected += @as(f64, value) * level;
                    // No other level of the block is nearer.
                    for (chosen[0..@min(size, 64)]) |other| try testing.expect(@abs(value - level) <= @abs(value - other) + 1e-5);
                }
                try testing.expectApproxEqRel(expected, dot, 1e-5);
            }
        }
    }
}

test "trits are packed, unpacked, kept and counted as by loops" {
    var values: [1280]f32 = undefined;
    var codes: [1280]u8 = undefined;
    var again: [1280]u8 = undefined;
    var bytes: [256]u8 = undefined;
    randomValues(3, &values);
    for (kernelsOfTiers()) |kernels| for (counts) |count| {
        var kept: table.Kept = undefined;
        kernels.keep(&values, count, 0.5, 0.4, &codes, &kept);
        var sum: f64 = 0;
        var number: u32 = 0;
        for (values[0..count], codes[0..count]) |value, code| {
            const is_kept = @abs(value * 0.5) > 0.4;
            try testing.expectEqual(@as(u8, if (!is_kept) 1 else if (value < 0) 0 else 2), code);
            if (!is_kept) continue;
            sum += @abs(value * 0.5);
            number += 1;
        }
        try testing.expectEqual(number, kept.count);
        try testing.expectApproxEqAbs(sum, kept.magnitudes, 1e-3);
        kernels.pack_codes(&codes, count, &bytes);
        try testing.expectEqual(0, kernels.unpack_codes(&bytes, count, &again));
        try testing.expectEqualSlices(u8, codes[0..count], again[0..count]);
        bytes[trits.bytesOf(count) - 1] = 243;
        try testing.expectEqual(1, kernels.unpack_codes(&bytes, count, &again));
        var found: [trits.edges.len]u32 = undefined;
        kernels.classes(&values, count, 2, &found);
        for (trits.edges, found) |edge, class| {
            var above: u32 = 0;
            for (values[0..count]) |value| above += @intFromBool(@abs(2 * value) >= edge);
            try testing.expectEqual(above, class);
        }
    };
}

test "samples are one of each stratum, whatever the blocks are" {
    var values: [size_max]f32 = undefined;
    var samples: [size_max]f32 align(1) = undefined;
    var back: [size_max]f32 = undefined;
    randomValues(4, &values);
    for (kernelsOfTiers()) |kernels| for ([_][2]u64{ .{ 1, 1 }, .{ 100, 7 }, .{ 1000, 999 }, .{ 4096, 4096 }, .{ 4096, 1 } }) |sizes| {
        const n, const k = sizes;
        @memset(samples[0..k], 0);
        const middle = n / 3;
        if (middle > 0) _ = kernels.gather(&values, 0, middle, n, k, 5, &samples);
        _ = kernels.gather(values[middle..].ptr, middle, n, n, k, 5, &samples);
        @memset(back[0..n], 0);
        kernels.scatter(&samples, 0, n, n, k, 5, 0, &back);
        for (0..k) |i| {
            var nonzeros: u32 = 0;
            for (i * n / k..(i + 1) * n / k) |place| {
                if (back[place] == 0) continue;
                nonzeros += 1;
                try testing.expectEqual(values[place], back[place]);
                try testing.expectEqual(values[place], samples[i]);
            }
            try testing.expectEqual(1, nonzeros);
        }
    };
}
