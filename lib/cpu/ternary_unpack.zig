//! Runs of the wire format to i8 trits and to f32 weights.
//!
//! Floor: the bytes written, 16 times those read for f32. On AVX-512 and AVX2 a vector of weights is
//! three instructions: a word to every lane, a shift by each lane's place, and a lookup of its code.

const simd = @import("simd.zig");
const bytes_of = @import("ternary_bytes.zig");

const lanes = simd.lanes;
const U32 = simd.U32;
const F32 = simd.F32;
const Bytes = bytes_of.Bytes;

/// Both bits of a code set, for each code that is 11.
inline fn both(word: anytype) @TypeOf(word) {
    return word & (word >> if (@typeInfo(@TypeOf(word)) == .vector) @splat(1) else 1);
}

/// The bits of a run's last codes that count; the rest of the byte is padding.
fn lastByte(bytes: [*]const u8, count: usize) u8 {
    const mask = (@as(u16, 1) << @intCast(count % 4 * 2)) - 1;
    return bytes[count / 4] & @as(u8, @intCast(mask));
}

pub fn unpackI8(bytes: [*]const u8, count: usize, trits: [*]i8) callconv(.c) u32 {
    const chunk = lanes * 4;
    var bad: U32 = @splat(0);
    var i: usize = 0;
    while (i + chunk <= count) : (i += chunk) {
        const wire: U32 = simd.load(@Vector(lanes, u8), bytes + i / 4);
        bad |= both(wire);
        simd.store(trits + i, tritsOf(wire));
    }
    if (i < count) {
        var rest: [lanes]u8 = @splat(0);
        @memcpy(rest[0 .. (count - i) / 4], bytes[i / 4 .. count / 4]);
        if (count % 4 != 0) rest[(count - i) / 4] = lastByte(bytes, count);
        const wire: U32 = @as(@Vector(lanes, u8), rest);
        bad |= both(wire);
        const last: [chunk]i8 = tritsOf(wire);
        @memcpy(trits[i..count], last[0 .. count - i]);
    }
    return @reduce(.Or, bad) & 0x55;
}

/// The four trits of each lane's byte.
inline fn tritsOf(wire: U32) @Vector(lanes * 4, i8) {
    // Byte k of the lane gets the byte shifted down by 2k.
    const two = wire | wire << @splat(6);
    const four = two | two << @splat(12);
    const ones: U32 = @splat(0x0101_0101);
    const plus: @Vector(lanes * 4, i8) = @bitCast(four & ones);
    const minus: @Vector(lanes * 4, i8) = @bitCast((four >> @splat(1)) & ones);
    return plus - minus;
}

pub fn unpackF32(bytes: [*]const u8, count: usize, scale: f32, weights: [*]f32) callconv(.c) u32 {
    const values: Values = .init(scale);
    var bad: u32 = 0;
    var i: usize = 0;
    const words: [*]align(1) const u32 = @ptrCast(bytes);
    while (i + 16 <= count) : (i += 16) {
        const word = words[i / 16];
        bad |= both(word);
        inline for (0..16 / lanes) |part| simd.store(weights + i + part * lanes, values.of(word >> (part * lanes * 2)));
    }
    if (i < count) {
        var rest: [4]u8 = @splat(0);
        @memcpy(rest[0 .. (count - i) / 4], bytes[i / 4 .. count / 4]);
        if (count % 4 != 0) rest[(count - i) / 4] = lastByte(bytes, count);
        const word: u32 = @bitCast(rest);
        bad |= both(word);
        var last: [16]f32 = undefined;
        inline for (0..16 / lanes) |part| simd.store(@as([*]f32, &last) + part * lanes, values.of(word >> (part * lanes * 2)));
        @memcpy(weights[i..count], last[0 .. count - i]);
    }
    return bad & 0x5555_5555;
}

/// What the codes stand for at one scale.
const Values = struct {
    /// Four values over and over, because a lookup takes more bits of the index than a code has.
    table: F32,

    inline fn init(scale: f32) Values {
        // A product also for zero: its sign is that of the scale.
        const four: @Vector(4, f32) = .{ 0 * scale, scale, -scale, 0 };
        const places = comptime blk: {
            var result: [lanes]i32 = undefined;
            for (&result, 0..) |*place, i| place.* = i % 4;
            break :blk result;
        };
        return .{ .table = @shuffle(f32, four, undefined, places) };
    }

    /// The values of the word's lowest codes.
    inline fn of(self: Values, word: u32) F32 {
        const places = comptime blk: {
            var result: [lanes]u5 = undefined;
            for (&result, 0..) |*place, i| place.* = 2 * i;
            break :blk result;
        };
        const codes = @as(U32, @splat(word)) >> places;
        if (simd.has_avx2) return lookup(self.table, codes);
        const plus = codes & @as(U32, @splat(1)) != @as(U32, @splat(0));
        const minus = codes & @as(U32, @splat(2)) != @as(U32, @splat(0));
        const zero: F32 = @splat(self.table[0]);
        const positive = @select(f32, plus, @as(F32, @splat(self.table[1])), zero);
        return @select(f32, minus, @as(F32, @splat(self.table[2])), positive);
    }
};

inline fn lookup(table: F32, indices: U32) F32 {
    return asm ("vpermps %[table], %[indices], %[result]"
        : [result] "=v" (-> F32),
        : [table] "v" (table),
          [indices] "v" (indices),
    );
}
