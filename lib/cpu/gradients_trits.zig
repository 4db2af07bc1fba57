//! Trits as codes (trit + 1), a byte each, to five a byte and back, and magnitudes against thresholds.
//!
//!     byte j of a chunk of 5s trits:   c[j] + 3 c[s+j] + 9 c[2s+j] + 27 c[3s+j] + 81 c[4s+j]
//!
//! A run of trits is chunks with s = 64, then s = 16, then one with s = ceil(rest / 5) whose missing
//! trits count as code 0: ceil(n / 5) bytes in all. Five planes, and not five neighbours, so that
//! whole registers of bytes are multiplied and added.
//!
//! Floor: packing 320 trits takes 5 loads, 8 additions and shifts; unpacking them about 40 instructions
//! on bytes; making codes of 16 floats some ten
//! instructions; counting them by size another ten, and a comparison of 64 bytes for each class.

const Kept = @import("gradients_table.zig").Kept;
const simd = @import("simd.zig");
const vector16 = @import("vector16.zig");

const V = vector16.V;
const I = @Vector(16, i32);
const U = @Vector(16, u32);

pub fn bytesOf(count: usize) usize {
    return (count + 4) / 5;
}

pub fn pack(codes: [*]const u8, count: usize, bytes: [*]u8) callconv(.c) void {
    var from = codes;
    var to = bytes;
    var rest = count;
    inline for (.{ 64, 16 }) |stride| {
        const B = @Vector(stride, u8);
        while (rest >= 5 * stride) : (rest -= 5 * stride) {
            var sum: B = from[4 * stride ..][0..stride].*;
            inline for (.{ 3, 2, 1, 0 }) |plane|
                sum = sum + sum + sum + @as(B, from[plane * stride ..][0..stride].*);
            to[0..stride].* = sum;
            from += 5 * stride;
            to += stride;
        }
    }
    const stride = bytesOf(rest);
    for (0..stride) |j| {
        var sum: u8 = 0;
        for (0..5) |back| {
            const place = (4 - back) * stride + j;
            sum = 3 * sum + if (place < rest) from[place] else 0;
        }
        to[j] = sum;
    }
}

/// 1 where a byte is none of five trits, or a trit that is missing is not 0.
pub fn unpack(bytes: [*]const u8, count: usize, codes: [*]u8) callconv(.c) u32 {
    var from = bytes;
    var to = codes;
    var rest = count;
    var largest: u8 = 0;
    inline for (.{ 64, 16 }) |stride| {
        const B = @Vector(stride, u8);
        var most: B = @splat(0);
        while (rest >= 5 * stride) : (rest -= 5 * stride) {
            var value: B = from[0..stride].*;
            most = @max(most, value);
            inline for (.{ 81, 27, 9, 3, 1 }, .{ 4, 3, 2, 1, 0 }) |power, plane| {
                const once: @Vector(stride, u1) = @intFromBool(value >= @as(B, @splat(power)));
                const twice: @Vector(stride, u1) = @intFromBool(value >= @as(B, @splat(2 * power)));
                to[plane * stride ..][0..stride].* = @as(B, once) + @as(B, twice);
                // Of the differences that do not wrap round the smallest is the rest.
                if (power > 1) value = @min(value, value -% @as(B, @splat(power)), value -% @as(B, @splat(2 * power)));
            }
            from += stride;
            to += 5 * stride;
        }
        largest = @max(largest, @reduce(.Max, most));
    }
    const stride = bytesOf(rest);
    var bad = largest > 242;
    for (0..stride) |j| {
        var value = from[j];
        bad = bad or value > 242;
        for (0..5) |plane| {
            const place = plane * stride + j;
            if (place < rest) to[place] = value % 3 else bad = bad or value % 3 != 0;
            value /= 3;
        }
    }
    return @intFromBool(bad);
}

/// Code 0 or 2 by the sign of what is above the limit in magnitude, 1 for the rest; and the sum and the
/// number of those magnitudes. Both are those of the values times `factor`, so that no sum leaves the
/// range of f32.
pub fn keep(values: [*]const f32, count: usize, factor: f32, limit: f32, codes: [*]u8, kept: *Kept) callconv(.c) void {
    const factors: V = @splat(factor);
    const limits: V = @splat(limit);
    var sums: [2]V = @splat(@splat(0));
    var counts: [2]I = @splat(@splat(0));
    var i: usize = 0;
    while (i + 32 <= count) : (i += 32) {
        inline for (&sums, &counts, 0..) |*sum, *number, part|
            codes[i + 16 * part ..][0..16].* = keepOf(values[i + 16 * part ..][0..16].*, factors, limits, sum, number);
    }
    while (i < count) : (i += 16) {
        const rest = @min(count - i, 16);
        const last: [16]u8 = keepOf(vector16.loadPart(values + i, rest, 0), factors, limits, &sums[0], &counts[0]);
        for (codes[i..][0..rest], last[0..rest]) |*code, value| code.* = value;
    }
    kept.* = .{ .magnitudes = vector16.sum(sums[0] + sums[1]), .count = @intCast(@reduce(.Add, counts[0] + counts[1])) };
}

inline fn keepOf(vector: V, factors: V, limits: V, sum: *V, number: *I) @Vector(16, u8) {
    const zero: I = @splat(0);
    const one: I = @splat(1);
    const size = @abs(vector * factors);
    const mask = size > limits;
    sum.* += @select(f32, mask, size, @as(V, @splat(0)));
    number.* += @select(i32, mask, one, zero);
    const negative = @as(I, @bitCast(vector)) < zero;
    const sign = @select(i32, negative, zero, one + one);
    return @intCast(@select(i32, mask, sign, one));
}

/// (code - 1) times the scale.
pub fn scaled(codes: [*]const u8, count: usize, scale: f32, values: [*]f32) callconv(.c) void {
    const scales: V = @splat(scale);
    var i: usize = 0;
    while (i + 16 <= count) : (i += 16) values[i..][0..16].* = valuesOf(codes[i..][0..16].*, scales);
    for (values[i..count], codes[i..count]) |*value, code| value.* = (@as(f32, @floatFromInt(code)) - 1) * scale;
}

inline fn valuesOf(codes: @Vector(16, u8), scales: V) V {
    return @as(V, @floatFromInt(@as(I, codes) - @as(I, @splat(1)))) * scales;
}

/// Lower ends of the classes that `classes` counts: an octave in at most four parts.
pub const edges = [16]f32{ 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 10, 14, 20 };

/// The number of a class by the exponent and two digits of the mantissa: 1 from 0.5 on.
fn classOf(comptime edge: f32) u8 {
    return @intCast((@as(u32, @bitCast(edge)) >> 21) - class_base);
}
const class_base = (@as(u32, @bitCast(@as(f32, 0.5))) >> 21) - 1;

/// Values that are looked at together.
pub const classes_max = 1280;

/// counts[j] = how many of at most `classes_max` magnitudes times `factor` are at least edges[j].
pub fn classes(values: [*]const f32, count: usize, factor: f32, counts: *[edges.len]u32) callconv(.c) void {
    const factors: V = @splat(factor);
    var codes: [classes_max]u8 align(64) = undefined;
    var i: usize = 0;
    while (i + 16 <= count) : (i += 16) codes[i..][0..16].* = classesOf(values[i..][0..16].*, factors);
    const padded = (count + 63) / 64 * 64;
    if (i < padded) {
        const last = classesOf(vector16.loadPart(values + i, count - i, 0), factors);
        @memset(codes[i..padded], 0);
        codes[i..][0..16].* = last;
    }
    var found: [edges.len]u64 = @splat(0);
    i = 0;
    while (i < padded) : (i += 64) {
        const B = @Vector(64, u8);
        const class: B = codes[i..][0..64].*;
        inline for (edges, &found) |edge, *number|
            number.* += ones(@bitCast(class >= @as(B, @splat(comptime classOf(edge)))));
    }
    for (counts, found) |*number, total| number.* = @intCast(total);
}

inline fn classesOf(vector: V, factors: V) @Vector(16, u8) {
    const base: U = @splat(class_base);
    const bits = @as(U, @bitCast(@abs(vector * factors))) >> @splat(21);
    return @intCast(@min(@max(bits, base) - base, @as(U, @splat(255))));
}

/// Set bits. By assembly on AVX-512, as the compiler would gather all masks in a register to count them
/// there, which takes longer than everything else.
inline fn ones(mask: u64) u64 {
    if (!simd.has_avx512) return @popCount(mask);
    return asm ("popcntq %[mask], %[result]"
        : [result] "=r" (-> u64),
        : [mask] "r" (mask),
        : .{ .cc = true });
}

/// Adds trits to counts.
pub fn addTrits(codes: [*]const u8, length: usize, counts: [*]i32) callconv(.c) void {
    var i: usize = 0;
    while (i < length) : (i += 16)
        counts[i..][0..16].* = @as(I, counts[i..][0..16].*) + (@as(I, @as(@Vector(16, u8), codes[i..][0..16].*)) - @as(I, @splat(1)));
}

/// The signs of counts as codes; `length` is a multiple of 16 here, too.
pub fn signCodes(counts: [*]const i32, length: usize, codes: [*]u8) callconv(.c) void {
    const zero: I = @splat(0);
    const one: I = @splat(1);
    var i: usize = 0;
    while (i < length) : (i += 16) {
        const sums: I = counts[i..][0..16].*;
        const positive = @select(i32, sums > zero, one + one, one);
        codes[i..][0..16].* = @as(@Vector(16, u8), @intCast(@select(i32, sums < zero, zero, positive)));
    }
}

/// The sum of values times trits, and how many trits are not 0.
pub fn dotTrits(values: [*]const f32, codes: [*]const u8, length: usize, nonzeros: *u32) callconv(.c) f32 {
    var sum: V = @splat(0);
    var found: I = @splat(0);
    var i: usize = 0;
    while (i < length) : (i += 16) {
        const trits = @as(I, @as(@Vector(16, u8), codes[i..][0..16].*)) - @as(I, @splat(1));
        sum += @as(V, values[i..][0..16].*) * @as(V, @floatFromInt(trits));
        found += trits * trits;
    }
    nonzeros.* = @intCast(@reduce(.Add, found));
    return vector16.sum(sum);
}
