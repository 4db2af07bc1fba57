//! Activations to int8, one token at a time:
//!
//!     scale = absmax / 127 (1 for a token of zeros), q = round(x * (127 / absmax)), ties to even
//!
//! Two passes over the token, the second from the L1 cache; about four vector instructions per 16
//! values in each.

const std = @import("std");
const magnitudes = @import("magnitudes.zig");
const simd = @import("simd.zig");

/// Values below this would make 127 / absmax overflow; they are scaled up by a power of two first.
const tiny = 0x1p-96;
const tiny_factor = 0x1p+96;

pub fn quantizeToken(
    input: [*]const f32,
    columns: u32,
    group_columns: u32,
    step_columns: u32,
    absmax_floor: f32,
    quantized: [*]i8,
    sums: [*]i32,
    scale: *f32,
) callconv(.c) u32 {
    const largest = magnitudes.largest(input, columns);
    if (largest >= magnitudes.infinity_bits) return 1;
    const most = @max(@as(f32, @bitCast(largest)), absmax_floor);
    // A token whose scale would be 0 is a token of zeros.
    const absmax = if (most / 127 == 0) 0 else most;
    const factor: f32 = if (absmax < tiny) tiny_factor else 1;
    const inverse: f32 = if (absmax == 0) 0 else 127 / (absmax * factor);
    scale.* = if (absmax == 0) 1 else absmax / 127;
    var group: usize = 0;
    var from: usize = 0;
    var to: usize = 0;
    while (from < columns) : (group += 1) {
        const step_end = (group_columns + step_columns - 1) / step_columns * step_columns;
        sums[group] = quantizeRun(input[from..][0..group_columns], factor, inverse, quantized + to);
        @memset(quantized[to + group_columns .. to + step_end], 0);
        from += group_columns;
        to += step_end;
    }
    return 0;
}

const width = 16;
const F = @Vector(width, f32);

/// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even, and the low bits
/// of the shifted value are that integer: exact for the magnitudes here, on every tier.
const round_magic: f32 = 0x1.8p+23;

fn quantizeRun(input: []const f32, factor: f32, inverse: f32, quantized: [*]i8) i32 {
    const magic: F = @splat(round_magic);
    const magic_bits: @Vector(width, i32) = @bitCast(magic);
    var sum: @Vector(width, i32) = @splat(0);
    var i: usize = 0;
    while (i + width <= input.len) : (i += width) {
        const scaled = simd.load(F, input.ptr + i) * @as(F, @splat(factor)) * @as(F, @splat(inverse));
        const integers = @as(@Vector(width, i32), @bitCast(scaled + magic)) - magic_bits;
        sum +%= integers;
        simd.store(quantized + i, @as(@Vector(width, i8), @truncate(integers)));
    }
    var total = @reduce(.Add, sum);
    while (i < input.len) : (i += 1) {
        const scaled = input[i] * factor * inverse;
        const integer = @as(i32, @bitCast(scaled + round_magic)) - @as(i32, @bitCast(round_magic));
        total +%= integer;
        quantized[i] = @truncate(integer);
    }
    return total;
}
