//! Rotated gradients, which are close to normal, to the levels of least squared error for a normal
//! distribution (Lloyd and Max), and back.
//!
//!     2, 4, 8, 16 levels   16 values are 1, 2, 3 or 4 words of 16 bits: the signs, then the digits of
//!                          how many thresholds the magnitude exceeds, highest first
//!     3 levels             a byte for each value, 0, 1 or 2, which gradients_trits.zig packs
//!
//! Floor: for 16 values a comparison and a selection for each positive threshold, two instructions for
//! the sign, and the product with the level that was chosen, by which the scale is made unbiased.

const std = @import("std");
const vector16 = @import("vector16.zig");

const V = vector16.V;
const U = @Vector(16, u32);
const Mask = @Vector(16, bool);
const Bytes = @Vector(16, u8);

/// Positive levels and the thresholds between them, in standard deviations; for an odd count the first
/// threshold is that of zero.
fn levelsOf(comptime count: usize) []const f32 {
    return switch (count) {
        2 => &.{0.7978845608},
        3 => &.{ 0, 1.2240063619 },
        4 => &.{ 0.452780035, 1.510417608 },
        8 => &.{ 0.245094179, 0.756005281, 1.343909279, 2.151945705 },
        16 => &.{ 0.12839503, 0.388048299, 0.656759119, 0.942340456, 1.256231197, 1.618046386, 2.069017227, 2.732589571 },
        else => comptime unreachable,
    };
}

pub fn Of(comptime count: usize) type {
    const levels = levelsOf(count);
    const thresholds = levels.len - 1;
    const planes: comptime_int = std.math.log2_int(usize, count);
    const Word = @Int(.unsigned, 16 * planes);

    return struct {
        /// Returns the sum of the magnitudes times their levels.
        pub fn quantize(values: [*]align(64) const f32, size: usize, deviation: f32, codes: [*]u8) callconv(.c) f32 {
            var limits: [thresholds]V = undefined;
            for (&limits, 1..) |*limit, i| limit.* = @splat((levels[i - 1] + levels[i]) / 2 * deviation);
            var sums: [2]V = @splat(@splat(0));
            // Blocks are powers of two, and have at least 16 values.
            var i: usize = 0;
            while (i + 32 <= size) : (i += 32) {
                inline for (&sums, 0..) |*sum, part| sum.* += products(values, i + 16 * part, &limits, codes);
            }
            if (i < size) sums[0] += products(values, i, &limits, codes);
            return vector16.sum(sums[0] + sums[1]);
        }

        /// Writes the codes of 16 values, and returns their magnitudes times their levels.
        inline fn products(values: [*]align(64) const f32, i: usize, limits: *const [thresholds]V, codes: [*]u8) V {
            const vector: V = values[i..][0..16].*;
            const size_of = @abs(vector);
            const negative: u16 = @bitCast(@as(@Vector(16, i32), @bitCast(vector)) < @as(@Vector(16, i32), @splat(0)));
            var above: [thresholds]u16 = undefined;
            var chosen: V = @splat(levels[0]);
            inline for (0..thresholds) |n| {
                const mask = size_of > limits[n];
                above[n] = @bitCast(mask);
                chosen = @select(f32, mask, @as(V, @splat(levels[n + 1])), chosen);
            }
            if (count == 3) {
                const one: Bytes = @splat(1);
                const sign = @select(u8, @as(Mask, @bitCast(negative)), @as(Bytes, @splat(0)), @as(Bytes, @splat(2)));
                codes[i..][0..16].* = @select(u8, @as(Mask, @bitCast(above[0])), sign, one);
            } else {
                // As one number: of stores side by side the compiler would make a detour through memory.
                var word: Word = negative;
                inline for (1..planes) |plane| word |= @as(Word, digit(planes - 1 - plane, above)) << (16 * plane);
                codes[i / 8 * planes ..][0 .. 2 * planes].* = @bitCast(word);
            }
            return size_of * chosen;
        }

        pub fn dequantize(codes: [*]const u8, size: usize, values: [*]align(64) f32) callconv(.c) void {
            var i: usize = 0;
            while (i < size) : (i += 16) {
                if (count == 3) {
                    const bytes: Bytes = codes[i..][0..16].*;
                    const trits: V = @floatFromInt(@as(@Vector(16, i32), bytes) - @as(@Vector(16, i32), @splat(1)));
                    values[i..][0..16].* = trits * @as(V, @splat(levels[1]));
                    continue;
                }
                const source = codes + i / 8 * planes;
                var index: U = @splat(0);
                inline for (1..planes) |plane| {
                    const bits: u16 = @bitCast(source[2 * plane ..][0..2].*);
                    index |= @select(u32, @as(Mask, @bitCast(bits)), @as(U, @splat(1 << (planes - 1 - plane))), @as(U, @splat(0)));
                }
                const negative: u16 = @bitCast(source[0..2].*);
                const sign = @select(u32, @as(Mask, @bitCast(negative)), @as(U, @splat(0x8000_0000)), @as(U, @splat(0)));
                values[i..][0..16].* = @bitCast(@as(U, @bitCast(levelAt(index))) ^ sign);
            }
        }

        /// Binary digit 2^place of how many thresholds are exceeded. They are nested, so that the
        /// digit is 1 where an odd number of the multiples of 2^place is.
        inline fn digit(comptime place: usize, above: [thresholds]u16) u16 {
            var bits: u16 = 0;
            comptime var n: usize = 1 << place;
            inline while (n <= thresholds) : (n += 1 << place) bits ^= above[n - 1];
            return bits;
        }

        inline fn levelAt(index: U) V {
            var chosen: V = @splat(levels[0]);
            inline for (1..levels.len) |n|
                chosen = @select(f32, index == @as(U, @splat(n)), @as(V, @splat(levels[n])), chosen);
            return chosen;
        }
    };
}
