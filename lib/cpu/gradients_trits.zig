//! Trits as codes (trit + 1), a byte each, to five a byte and back, and magnitudes against thresholds.
//!
//!     byte j of a chunk of 5s trits:   c[j] + 3 c[s+j] + 9 c[2s+j] + 27 c[3s+j] + 81 c[4s+j]
//!
//! A run of trits is chunks with s = 64, then s = 16, then one with s = ceil(rest / 5) whose missing
//! trits count as code 0: ceil(n / 5) bytes in all. Five planes, and not five neighbours, so that
//! whole registers of bytes are multiplied and added.
//!
//! Floor: packing 320 trits takes 5 loads, 8 additions and shifts; unpacking them about 40 instructions
//! on bytes; making codes of 16 floats a load, a comparison of the magnitude, of the sign, and a
//! narrowing store.

const vector16 = @import("vector16.zig");

const V = vector16.V;
const I = @Vector(16, i32);

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

/// Code 0 or 2 by the sign of what is above the limit in magnitude, 1 for the rest.
pub fn codesAbove(values: [*]const f32, count: usize, limit: f32, codes: [*]u8) callconv(.c) void {
    const limits: V = @splat(limit);
    var i: usize = 0;
    while (i + 16 <= count) : (i += 16) codes[i..][0..16].* = codesOf(values[i..][0..16].*, limits);
    if (i == count) return;
    const last: [16]u8 = codesOf(vector16.loadPart(values + i, count - i, 0), limits);
    for (codes[i..count], last[0 .. count - i]) |*code, value| code.* = value;
}

inline fn codesOf(vector: V, limits: V) @Vector(16, u8) {
    const one: I = @splat(1);
    const positive = @select(i32, vector > limits, @as(I, @splat(2)), one);
    return @intCast(@select(i32, vector < -limits, @as(I, @splat(0)), positive));
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

/// Candidates that are compared at once.
pub const candidates = 4;

/// For each limit the sum of the magnitudes above it, and how many there are. The values are scaled by
/// `factor` first, so that no sum leaves the range of f32.
pub fn sumAbove(values: [*]const f32, count: usize, factor: f32, limits: *const [candidates]f32, sums: *[candidates]f32, counts: *[candidates]u32) callconv(.c) void {
    const factors: V = @splat(factor);
    var each: [candidates]V = @splat(@splat(0));
    var each_count: [candidates]I = @splat(@splat(0));
    var i: usize = 0;
    while (i < count) : (i += 16) {
        const vector: V = if (i + 16 <= count) values[i..][0..16].* else vector16.loadPart(values + i, count - i, 0);
        const size = @abs(vector * factors);
        inline for (&each, &each_count, 0..) |*sum, *number, n| {
            const mask = size > @as(V, @splat(limits[n]));
            sum.* += @select(f32, mask, size, @as(V, @splat(0)));
            number.* += @select(i32, mask, @as(I, @splat(1)), @as(I, @splat(0)));
        }
    }
    for (sums, counts, each, each_count) |*sum, *number, lanes, lane_counts| {
        sum.* = vector16.sum(lanes);
        number.* = @intCast(@reduce(.Add, lane_counts));
    }
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
