//! Sixteen f32 lanes, whatever the width of the hardware's vectors.
//!
//! A model must give the same bits on every tier, so each f32 kernel has one virtual shape: partial
//! sums in 16 lanes, added by one fixed tree, products and sums rounded separately (no fused
//! multiply-add, which the baseline lacks), and an exponential of its own. The compiler cuts the 16
//! lanes into one, two or four registers; which lane meets which never changes.

const builtin = @import("builtin");

pub const width = 16;
pub const V = @Vector(width, f32);
const U = @Vector(width, u32);
const I = @Vector(width, i32);

const cpu = builtin.cpu;
const is_x86 = cpu.arch == .x86_64;
pub const has_avx512 = is_x86 and cpu.has(.x86, .avx512f);
pub const has_avx2 = is_x86 and cpu.has(.x86, .avx2);
pub const has_neon = cpu.arch == .aarch64;
pub const has_half = (is_x86 and cpu.has(.x86, .f16c)) or has_neon;

pub inline fn splat(value: f32) V {
    return @splat(value);
}

pub inline fn load(pointer: [*]const f32) V {
    return pointer[0..width].*;
}

pub inline fn store(pointer: [*]f32, vector: V) void {
    pointer[0..width].* = vector;
}

/// The first `count` lanes from memory, the others `fill`.
pub inline fn loadPart(pointer: [*]const f32, count: usize, fill: f32) V {
    var lanes: [width]f32 = @splat(fill);
    for (lanes[0..count], pointer) |*lane, value| lane.* = value;
    return lanes;
}

pub inline fn storePart(pointer: [*]f32, count: usize, vector: V) void {
    const lanes: [width]f32 = vector;
    for (pointer, lanes[0..count]) |*value, lane| value.* = lane;
}

/// The sum of the lanes: halves on halves, always in this order.
pub inline fn sum(vector: V) f32 {
    const eight = half(f32, 8, 0, vector) + half(f32, 8, 8, vector);
    const four = half(f32, 4, 0, eight) + half(f32, 4, 4, eight);
    const two = half(f32, 2, 0, four) + half(f32, 2, 2, four);
    return two[0] + two[1];
}

pub inline fn sumF64(vector: @Vector(width, f64)) f64 {
    const eight = half(f64, 8, 0, vector) + half(f64, 8, 8, vector);
    const four = half(f64, 4, 0, eight) + half(f64, 4, 4, eight);
    const two = half(f64, 2, 0, four) + half(f64, 2, 2, four);
    return two[0] + two[1];
}

inline fn half(comptime T: type, comptime count: usize, comptime first: i32, vector: anytype) @Vector(count, T) {
    comptime var mask: [count]i32 = undefined;
    inline for (&mask, 0..) |*lane, index| lane.* = first + @as(i32, index);
    return @shuffle(T, vector, undefined, mask);
}

/// The larger of each pair, the second where either is NaN: what one instruction does everywhere.
pub inline fn larger(a: V, b: V) V {
    return @select(f32, a > b, a, b);
}

pub inline fn largest(vector: V) f32 {
    const lanes: [width]f32 = vector;
    var most = lanes[0];
    inline for (lanes[1..]) |lane| most = if (lane > most) lane else most;
    return most;
}

/// e^x within 2 units in the last place: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial in r, and
/// n added to the exponent. Results that would be subnormal are 0; NaN stays NaN.
pub inline fn exp(x: V) V {
    const least = splat(-87.3);
    const most = splat(0x1.62e42ep+6);
    const bounded = @select(f32, x < least, least, @select(f32, x > most, most, x));
    const shift = splat(0x1.8p+23);
    const shifted = bounded * splat(1.44269504088896341) + shift;
    const n = shifted - shift;
    // ln 2 in two parts, the first short enough for its product with n to be exact.
    const r = bounded - n * splat(0.693359375) - n * splat(-2.12194440e-4);
    var p = splat(1.9875691500e-4);
    p = p * r + splat(1.3981999507e-3);
    p = p * r + splat(8.3334519073e-3);
    p = p * r + splat(4.1665795894e-2);
    p = p * r + splat(1.6666665459e-1);
    p = p * r + splat(5.0000001201e-1);
    p = p * (r * r) + r + splat(1);
    const exponent = @as(I, @bitCast(shifted)) -% @as(I, @bitCast(shift));
    const power: V = @bitCast(@as(I, @bitCast(p)) +% (exponent << @splat(23)));
    const low = @select(f32, x < least, splat(0), power);
    const high = @select(f32, x > most, splat(@as(f32, @bitCast(@as(u32, 0x7f80_0000)))), low);
    return @select(f32, x == x, high, x);
}

/// What tables of 16 lanes may be stored as; part of the ABI of `model_set_tensor`.
pub const Float = enum(u32) {
    f32 = 0,
    f16 = 1,
    bf16 = 2,

    pub fn size(self: Float) usize {
        return if (self == .f32) 4 else 2;
    }
};

/// Sixteen floats from bytes that need not be aligned: files put tensors anywhere.
pub inline fn loadFloat(comptime float: Float, pointer: [*]const u8) V {
    switch (float) {
        .f32 => return @as(*align(1) const [width]f32, @ptrCast(pointer)).*,
        .bf16 => {
            const bits: @Vector(width, u16) = @as(*align(1) const [width]u16, @ptrCast(pointer)).*;
            return @bitCast(@as(U, bits) << @splat(16));
        },
        .f16 => {
            const bits: @Vector(width, u16) = @as(*align(1) const [width]u16, @ptrCast(pointer)).*;
            if (has_half) return @floatCast(@as(@Vector(width, f16), @bitCast(bits)));
            return widenHalf(bits);
        },
    }
}

pub inline fn loadFloatPart(comptime float: Float, pointer: [*]const u8, count: usize) V {
    var bytes: [width * 4]u8 = @splat(0);
    const used = count * comptime float.size();
    for (bytes[0..used], pointer) |*byte, value| byte.* = value;
    return loadFloat(float, &bytes);
}

/// f16 without the instruction: the exponent moves by a multiplication, which also makes subnormals
/// right; infinities and NaN get the largest exponent, and NaN becomes quiet as by the instruction.
inline fn widenHalf(bits: @Vector(width, u16)) V {
    const wide: U = bits;
    const magnitude = (wide & @as(U, @splat(0x7fff))) << @splat(13);
    const scaled: U = @bitCast(@as(V, @bitCast(magnitude)) * splat(0x1p+112));
    const infinite: U = @splat(0x7c00 << 13);
    const special = magnitude >= infinite;
    const quiet = @select(u32, magnitude > infinite, @as(U, @splat(0x0040_0000)), @as(U, @splat(0)));
    const payload = magnitude | quiet | @as(U, @splat(0x7f80_0000));
    const sign = (wide & @as(U, @splat(0x8000))) << @splat(16);
    return @bitCast(@select(u32, special, payload, scaled) | sign);
}
