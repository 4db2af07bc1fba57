//! Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3"): random
//! numbers as a function of a key and a counter, with no state in between.

const std = @import("std");

const multipliers = [2]u32{ 0xd2511f53, 0xcd9e8d57 };
const weyl = [2]u32{ 0x9e3779b9, 0xbb67ae85 };
const rounds = 10;

pub fn block(counter_start: [4]u32, key_start: [2]u32) [4]u32 {
    var counter = counter_start;
    var key = key_start;
    for (0..rounds) |_| {
        const a = @as(u64, multipliers[0]) * counter[0];
        const b = @as(u64, multipliers[1]) * counter[2];
        counter = .{
            @as(u32, @truncate(b >> 32)) ^ counter[1] ^ key[0],
            @truncate(b),
            @as(u32, @truncate(a >> 32)) ^ counter[3] ^ key[1],
            @truncate(a),
        };
        key = .{ key[0] +% weyl[0], key[1] +% weyl[1] };
    }
    return counter;
}

/// Uniform in [0, 1), 53 bits.
pub fn uniform(seed: u64, step: u64) f64 {
    const words = block(halves(step) ++ [2]u32{ 0, 0 }, halves(seed));
    const bits = @as(u64, words[0] >> 5) << 26 | words[1] >> 6;
    return @as(f64, @floatFromInt(bits)) * 0x1p-53;
}

fn halves(value: u64) [2]u32 {
    return .{ @truncate(value), @truncate(value >> 32) };
}

test "the paper's known answers" {
    const expectEqual = std.testing.expectEqual;
    try expectEqual([4]u32{ 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 }, block(@splat(0), @splat(0)));
    const all = 0xffff_ffff;
    try expectEqual([4]u32{ 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd }, block(@splat(all), @splat(all)));
    try expectEqual(
        [4]u32{ 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 },
        block(.{ 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, .{ 0xa4093822, 0x299f31d0 }),
    );
}
