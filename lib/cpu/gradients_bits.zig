//! Values to signs, a bit each, and back.
//!
//!     byte i / 8:   bit 7  ...  bit 0
//!                   sign of value 8b + 7 ... 8b
//!
//! Floor: 4 1/8 bytes a value; on AVX-512 a load and a move to a mask for 16 values, and back a masked
//! move and a store.

const V = @Vector(16, f32);
const I = @Vector(16, i32);
const U = @Vector(16, u32);

inline fn signs(values: [*]const f32) u16 {
    const vector: V = values[0..16].*;
    return @bitCast(@as(I, @bitCast(vector)) < @as(I, @splat(0)));
}

pub fn signBits(values: [*]const f32, count: usize, bits: [*]u8) callconv(.c) void {
    var i: usize = 0;
    while (i + 64 <= count) : (i += 64) {
        var word: u64 = 0;
        inline for (0..4) |part| word |= @as(u64, signs(values + i + 16 * part)) << (16 * part);
        bits[i / 8 ..][0..8].* = @bitCast(word);
    }
    while (i < count) : (i += 8) {
        var byte: u8 = 0;
        for (values[i..@min(i + 8, count)], 0..) |value, bit| {
            byte |= @as(u8, @intCast(@as(u32, @bitCast(value)) >> 31)) << @intCast(bit);
        }
        bits[i / 8] = byte;
    }
}

pub fn signed(bits: [*]const u8, count: usize, scale: f32, values: [*]f32) callconv(.c) void {
    const plus: V = @splat(scale);
    var i: usize = 0;
    while (i + 16 <= count) : (i += 16) {
        const word: u16 = @bitCast(bits[i / 8 ..][0..2].*);
        values[i..][0..16].* = @select(f32, @as(@Vector(16, bool), @bitCast(word)), -plus, plus);
    }
    while (i < count) : (i += 1) {
        const bit = bits[i / 8] >> @intCast(i % 8) & 1;
        values[i] = if (bit == 1) -scale else scale;
    }
}
