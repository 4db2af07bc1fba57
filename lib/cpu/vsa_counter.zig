//! Counting the ones of many blocks.
//!
//! AVX-512 counts the bits of 64-bit words and adds those up. The other tiers count the bits of bytes,
//! which costs them fewer instructions, and add bytes up for as long as these have room.

const std = @import("std");
const simd = @import("simd.zig");
const bits = @import("vsa_bits.zig");

const Block = bits.Block;

/// A running count of up to `blocks_max` blocks.
pub const Count = if (simd.has_avx512) Block else @Vector(64, u8);

pub const none: Count = @splat(0);

pub const blocks_max: usize = if (simd.has_avx512) std.math.maxInt(u32) else 255 / 8;

pub inline fn ones(block: Block) Count {
    if (simd.has_avx512) return @popCount(block);
    return @popCount(@as(Count, @bitCast(block)));
}

/// A running count as counts of 64-bit lanes.
pub inline fn lanesOf(count: Count) Block {
    if (simd.has_avx512) return count;
    const words: @Vector(32, u16) = pairs(u16, @bitCast(count));
    const halves: @Vector(16, u32) = pairs(u32, @bitCast(words));
    return pairs(u64, @bitCast(halves));
}

/// Sums of the two halves of each element.
inline fn pairs(comptime T: type, values: @Vector(64 / @sizeOf(T), T)) @TypeOf(values) {
    const half = @bitSizeOf(T) / 2;
    const low: T = (1 << half) - 1;
    return (values & @as(@TypeOf(values), @splat(low))) + (values >> @splat(half));
}
