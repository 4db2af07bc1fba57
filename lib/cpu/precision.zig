//! Elementwise passes over gradients: half precision, clipping, scaling, sums.
//!
//!     narrow       f32 -> bf16 or f16, to nearest, ties to even; NaN stays NaN (quiet, with the upper
//!                  bits of its payload), what is too large becomes infinite
//!     clip         min(max(x, least), most)
//!     scale        x * factor, rounded once, and whether anything is not finite
//!     add_scaled   sum + weight * term
//!     sum_squares  element i is squared in f64 and added to sum i mod 16; one tree adds the sums
//!
//! Floor: every element is read once and, but for the sum, written once; a few instructions for 16 of
//! them, so that memory is what they wait for.

const v16 = @import("vector16.zig");
const precision_table = @import("precision_table.zig");
const prediction = @import("prediction.zig");
const rounding = @import("rounding.zig");

const V = v16.V;
const width = v16.width;
const U = @Vector(width, u32);
const H = @Vector(width, u16);
const Wide = @Vector(width, f64);
const has_half = v16.has_half;

pub const kernels: precision_table.Kernels = .{
    .narrow = narrow,
    .clip = clip,
    .scale = scale,
    .add_scaled = addScaled,
    .sum_squares = sumSquares,
    .combine = prediction.combine,
    .compare = prediction.compare,
    .pack_random = rounding.packRandom,
};

const sign_bit: U = @splat(0x8000_0000);
const infinity: U = @splat(0x7f80_0000);

fn narrow(values: [*]const f32, float: u32, out: [*]u16, count: usize) callconv(.c) void {
    switch (@as(v16.Float, @fromBackingInt(@intCast(float)))) {
        .f32 => {},
        inline .f16, .bf16 => |kind| narrowTo(kind, values, out, count),
    }
}

fn narrowTo(comptime kind: v16.Float, values: [*]const f32, out: [*]u16, count: usize) void {
    const convert = if (kind == .bf16) toBf16 else toF16;
    var i: usize = 0;
    while (i + width <= count) : (i += width) out[i..][0..width].* = convert(v16.load(values + i));
    const rest: [width]u16 = convert(v16.loadPart(values + i, count - i, 0));
    for (out[i..count], rest[0 .. count - i]) |*value, half| value.* = half;
}

inline fn toBf16(x: V) H {
    const bits: U = @bitCast(x);
    const odd = (bits >> @splat(16)) & @as(U, @splat(1));
    const rounded = (bits +% @as(U, @splat(0x7fff)) +% odd) >> @splat(16);
    const quiet = bits >> @splat(16) | @as(U, @splat(0x40));
    return @intCast(@select(u32, x == x, rounded, quiet));
}

inline fn toF16(x: V) H {
    if (has_half) return @bitCast(@as(@Vector(width, f16), @floatCast(x)));
    const bits: U = @bitCast(x);
    const size = bits & ~sign_bit;
    // The exponent moves from bias 127 to 15; what is rounded up may carry into it, up to infinity.
    const odd = (size >> @splat(13)) & @as(U, @splat(1));
    const normal = (size -% @as(U, @splat((127 - 15) << 23)) +% @as(U, @splat(0xfff)) +% odd) >> @splat(13);
    // Added to 0.5, the last bit of an f32 is the least subnormal: the addition rounds.
    const half = v16.splat(0.5);
    const subnormal = @as(U, @bitCast(@as(V, @bitCast(size)) + half)) -% @as(U, @bitCast(half));
    const least_normal: U = @splat((127 - 14) << 23);
    const too_large: U = @splat((127 + 16) << 23);
    const quiet = @as(U, @splat(0x7e00)) | (size >> @splat(13) & @as(U, @splat(0x3ff)));
    const finite = @select(u32, size < least_normal, subnormal, normal);
    const bounded = @select(u32, size >= too_large, @as(U, @splat(0x7c00)), finite);
    const magnitude = @select(u32, size > infinity, quiet, bounded);
    return @intCast(magnitude | (bits & sign_bit) >> @splat(16));
}

/// values[i] = function(context, values[i]), 16 elements at a time.
inline fn update(values: [*]f32, count: usize, context: anytype, comptime function: fn (@TypeOf(context), V) callconv(.@"inline") V) void {
    var i: usize = 0;
    while (i + width <= count) : (i += width) v16.store(values + i, function(context, v16.load(values + i)));
    if (i < count) v16.storePart(values + i, count - i, function(context, v16.loadPart(values + i, count - i, 0)));
}

fn clip(values: [*]f32, least: f32, most: f32, nan_to_zero: u32, count: usize) callconv(.c) void {
    const Bounds = struct { least: f32, most: f32 };
    const bounds: Bounds = .{ .least = least, .most = most };
    // Comparisons with NaN are false, so it passes.
    const between = struct {
        inline fn call(b: Bounds, x: V) V {
            const low = @select(f32, x < v16.splat(b.least), v16.splat(b.least), x);
            return @select(f32, low > v16.splat(b.most), v16.splat(b.most), low);
        }
    }.call;
    if (nan_to_zero == 0) return update(values, count, bounds, between);
    update(values, count, bounds, struct {
        inline fn call(b: Bounds, x: V) V {
            return between(b, @select(f32, x == x, x, v16.splat(0)));
        }
    }.call);
}

fn scale(values: [*]f32, factor: f64, count: usize) callconv(.c) u32 {
    var largest: U = @splat(0);
    var i: usize = 0;
    while (i + width <= count) : (i += width) {
        const scaled = scaledBy(v16.load(values + i), factor);
        largest = @max(largest, @as(U, @bitCast(scaled)) & ~sign_bit);
        v16.store(values + i, scaled);
    }
    if (i < count) {
        const scaled = scaledBy(v16.loadPart(values + i, count - i, 0), factor);
        largest = @max(largest, @as(U, @bitCast(scaled)) & ~sign_bit);
        v16.storePart(values + i, count - i, scaled);
    }
    return @intFromBool(@reduce(.Max, largest) >= infinity[0]);
}

inline fn scaledBy(x: V, factor: f64) V {
    return @floatCast(@as(Wide, x) * @as(Wide, @splat(factor)));
}

fn addScaled(sum: [*]f32, term: [*]const f32, weight: f64, count: usize) callconv(.c) void {
    var i: usize = 0;
    while (i + width <= count) : (i += width) v16.store(sum + i, added(v16.load(sum + i), v16.load(term + i), weight));
    const left = count - i;
    if (left > 0) v16.storePart(sum + i, left, added(v16.loadPart(sum + i, left, 0), v16.loadPart(term + i, left, 0), weight));
}

inline fn added(sum: V, term: V, weight: f64) V {
    return @floatCast(@as(Wide, sum) + @as(Wide, term) * @as(Wide, @splat(weight)));
}

fn sumSquares(values: [*]const f32, count: usize) callconv(.c) f64 {
    var sums: Wide = @splat(0);
    var i: usize = 0;
    while (i + width <= count) : (i += width) {
        const x: Wide = v16.load(values + i);
        sums += x * x;
    }
    const x: Wide = v16.loadPart(values + i, count - i, 0);
    return v16.sumF64(sums + x * x);
}
