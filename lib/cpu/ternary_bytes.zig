//! Moving bytes between vectors of 32-bit lanes and vectors of bytes in order.

const simd = @import("simd.zig");

const lanes = simd.lanes;
const U32 = simd.U32;

/// As many bytes as a vector of 32-bit lanes has.
pub const Bytes = @Vector(lanes * 4, u8);

/// The top bytes of four vectors: lane i holds those of a[i], b[i], c[i], d[i].
pub inline fn joinTops(a: U32, b: U32, c: U32, d: U32) U32 {
    const words: U32 = @splat(0xffff_0000);
    const ac = (a >> @splat(16)) | (c & words);
    const bd = (b >> @splat(16)) | (d & words);
    const odd: U32 = @splat(0xff00_ff00);
    return ((ac >> @splat(8)) & ~odd) | (bd & odd);
}

/// The same for lanes below 256.
pub inline fn joinLows(a: U32, b: U32, c: U32, d: U32) U32 {
    return (a | b << @splat(8)) | (c | d << @splat(8)) << @splat(16);
}

/// Joined lanes with the bytes of the first vector first, then those of the second, and so on.
pub inline fn inOrder(joined: U32) Bytes {
    const order = comptime blk: {
        var places: [lanes * 4]i32 = undefined;
        for (&places, 0..) |*place, i| place.* = @intCast(i % lanes * 4 + i / lanes);
        break :blk places;
    };
    const bytes: Bytes = @bitCast(joined);
    return @shuffle(u8, bytes, undefined, order);
}
