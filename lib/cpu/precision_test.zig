//! The kernels of mixed precision and accumulation against scalar loops, on every tier.

const std = @import("std");
const testing = std.testing;
const abi = @import("../abi.zig");
const accumulation = @import("accumulation.zig");
const dispatch = @import("dispatch.zig");
const philox = @import("../philox.zig");
const threads = @import("threads.zig");

/// The nearest f16 or bf16 by search among the two neighbours of a truncated value.
fn rounded(comptime Half: type, value: f32) u16 {
    if (Half == f16) return @bitCast(@as(f16, @floatCast(value)));
    const bits: u32 = @bitCast(value);
    const low = bits & 0xffff_0000;
    const high = low +% 0x1_0000;
    const rest = bits & 0xffff;
    const up = rest > 0x8000 or (rest == 0x8000 and (bits >> 16) & 1 == 1);
    return @truncate((if (up) high else low) >> 16);
}

test "floats are rounded to half precision as the compiler's own conversion does, on every tier" {
    const count = 4099;
    var values: [count]f32 = undefined;
    var halves: [count]u16 = undefined;
    var state = std.Random.DefaultPrng.init(5);
    for (0..40) |round| {
        for (&values, 0..) |*value, i| {
            // All exponents, and ties of both kinds of fractions.
            var bits = state.random().int(u32);
            if (i % 3 == 0) bits &= 0xffff_f000;
            if (i % 3 == 1) bits &= 0xffff_8000;
            if (bits & 0x7f80_0000 == 0x7f80_0000) bits &= 0xff80_0000;
            if (i % 5 == 0) bits = bits & 0x807f_ffff | @as(u32, @intCast(100 + (i + round) % 60)) << 23;
            value.* = @bitCast(bits);
        }
        for (dispatch.tiers) |tier| if (tier.isSupported()) {
            tier.kernels.precision.narrow(&values, 1, &halves, count);
            for (values, halves) |value, half| try testing.expectEqual(rounded(f16, value), half);
            tier.kernels.precision.narrow(&values, 2, &halves, count);
            for (values, halves) |value, half| try testing.expectEqual(rounded(u16, value), half);
        };
    }
}

test "NaN stays NaN in half precision and back, with the same bits on every tier" {
    var wide: [16]f32 = undefined;
    var halves: [65536]u16 = undefined;
    for (&halves, 0..) |*half, i| half.* = @intCast(i);
    var expected: [16]u32 = undefined;
    for (0..4096) |block| {
        const source = halves[16 * block ..][0..16];
        for ([_]u32{ 1, 2 }) |float| {
            for (source, &expected) |half, *bits| {
                const value: f32 = if (float == 1) @as(f16, @bitCast(half)) else @bitCast(@as(u32, half) << 16);
                bits.* = @bitCast(value);
                if (float == 1 and value != value) bits.* |= 0x0040_0000;
            }
            for (dispatch.tiers) |tier| if (tier.isSupported()) {
                tier.kernels.nn.widen(std.mem.sliceAsBytes(source).ptr, float, &wide, 16);
                try testing.expectEqualSlices(u32, &expected, @as(*[16]u32, @ptrCast(&wide)));
                var back: [16]u16 = undefined;
                tier.kernels.precision.narrow(&wide, float, &back, 16);
                for (source, back, wide) |half, again, value| {
                    const quiet: u16 = if (value == value) 0 else if (float == 1) 0x200 else 0x40;
                    try testing.expectEqual(half | quiet, again);
                }
            };
        }
    }
    for (dispatch.tiers) |tier| if (tier.isSupported()) {
        var odd: [16]f32 = @splat(@bitCast(@as(u32, 0x7f80_0001)));
        var back: [16]u16 = undefined;
        tier.kernels.precision.narrow(&odd, 1, &back, 16);
        try testing.expectEqual(@as(u16, 0x7e00), back[3]);
        tier.kernels.precision.narrow(&odd, 2, &back, 16);
        try testing.expectEqual(@as(u16, 0x7fc0), back[3]);
    };
}

test "stochastic rounding draws the words of Philox in order, on every tier and with any number of threads" {
    const allocator = testing.allocator;
    const isa = (try dispatch.active()).name;
    defer dispatch.force(isa) catch {};
    for ([_]usize{ 1, 3, 31, 33, 1000, 65_537 }) |size| {
        const values = try allocator.alloc(f32, size);
        defer allocator.free(values);
        const bytes = try allocator.alloc(u8, (size + 3) / 4);
        defer allocator.free(bytes);
        var state = std.Random.DefaultPrng.init(size);
        var most: f32 = 0;
        for (values) |*value| {
            value.* = state.random().floatNorm(f32);
            most = @max(most, @abs(value.*));
        }
        const seed = 0x1234_5678_9abc_def0;
        const row = 0x1_0000_0002;
        const expected = try allocator.alloc(u8, bytes.len);
        defer allocator.free(expected);
        @memset(expected, 0);
        for (values, 0..) |value, i| {
            const words = philox.block(.{ @intCast(i / 4), 2, 1, 16 }, .{ 0x9abc_def0, 0x1234_5678 });
            const kept = @as(f64, @floatFromInt(words[i % 4])) * (@as(f64, most) * 0x1p-32) < @abs(value);
            const code: u8 = if (!kept) 0 else if (value < 0) 2 else 1;
            expected[i / 4] |= code << @intCast(2 * (i % 4));
        }
        for (dispatch.tiers) |tier| if (tier.isSupported()) {
            try dispatch.force(tier.name);
            for ([_]u32{ 1, 2, 3 }) |count| {
                try threads.setThreads(count);
                @memset(bytes, 0xff);
                const scale = try accumulation.round(tier.kernels, values, bytes, .{ .random = .{ .seed = seed, .row = row } });
                try testing.expectEqual(most, scale);
                try testing.expectEqualSlices(u8, expected, bytes);
            }
        };
    }
}
