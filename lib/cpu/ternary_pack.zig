//! Runs of trits to the wire format, from f32 or i8 trits, from checkpoints, and from f32 weights with
//! a threshold.
//!
//! Whatever the source, four vectors of 32-bit lanes become one vector of bytes, one for each value in
//! order, of which two bits count:
//!
//!     bit 7: the sign     bit 0: not zero
//!
//! and a dot product with 1, 4, 16, 64 folds four such bytes into one of the wire format. For f32 trits
//! the byte is simply the top byte of the float: +-1 is 0x3f800000 with a sign, and 0 is 0. Floor for
//! f32 on AVX-512: 4 loads and about 18 vector instructions for 64 values, 9 cycles where two of them
//! issue in each, which keeps up with the L3 cache. A threshold on AVX-512 is 8 comparisons for 64
//! values instead, whose masks are spread by pdep.

const simd = @import("simd.zig");
const bytes_of = @import("ternary_bytes.zig");

const lanes = simd.lanes;
const U32 = simd.U32;
const Bytes = bytes_of.Bytes;
const Words = @Vector(lanes * 2, u16);

/// Values that become one vector of bytes.
const chunk = 4 * lanes;

/// f32 trits, whose bits are collected to be judged once at the end of the run.
const Floats = struct {
    const Value = f32;
    /// Bits that no trit has.
    set: U32 = @splat(0),
    /// Bits of top halves, to which the lowest bit of the exponent has been added.
    carried: Words = @splat(0),

    inline fn load(self: *Floats, values: [*]const f32) Bytes {
        const a, const b, const c, const d = .{ bits(values, 0), bits(values, 1), bits(values, 2), bits(values, 3) };
        const tops: U32 = @splat(0xffff_0000);
        self.set |= a | b;
        self.set |= c | d;
        const ac = (a >> @splat(16)) | (c & tops);
        const bd = (b >> @splat(16)) | (d & tops);
        const least: Words = @splat(0x0080);
        self.carried |= (@as(Words, @bitCast(ac)) +% least) | (@as(Words, @bitCast(bd)) +% least);
        const odd: U32 = @splat(0xff00_ff00);
        return bytes_of.inOrder(((ac >> @splat(8)) & ~odd) | (bd & odd));
    }

    /// A trit has bit 30 and the mantissa clear, and bits 23 to 29 are all ones, which a carry clears,
    /// or all zeros.
    inline fn isBad(self: *const Floats) bool {
        const carried = self.carried & @as(Words, @splat(0x3f7f));
        const set = self.set & @as(U32, @splat(0x407f_ffff));
        return @reduce(.Or, carried) != 0 or @reduce(.Or, set) != 0;
    }
};

const SignedBytes = struct {
    const Value = i8;
    /// trit + 1, at most 2.
    most: Bytes = @splat(0),

    inline fn load(self: *SignedBytes, values: [*]const i8) Bytes {
        const trits: Bytes = @bitCast(simd.load(@Vector(chunk, i8), values));
        self.most = @max(self.most, trits +% @as(Bytes, @splat(1)));
        return trits;
    }

    inline fn isBad(self: *const SignedBytes) bool {
        return @reduce(.Max, self.most) > 2;
    }
};

/// Bits `shift` and `shift` + 1 of each byte are trit + 1.
const Codes = struct {
    const Value = u8;
    shift: @Vector(chunk / 2, u4),
    most: Bytes = @splat(0),

    inline fn load(self: *Codes, values: [*]const u8) Bytes {
        const pairs: @Vector(chunk / 2, u16) = @bitCast(simd.load(Bytes, values));
        const codes = @as(Bytes, @bitCast(pairs >> self.shift)) & @as(Bytes, @splat(3));
        self.most = @max(self.most, codes);
        // 0, 1, 2 become -1, 0, 1.
        return codes -% @as(Bytes, @splat(1));
    }

    inline fn isBad(self: *const Codes) bool {
        return @reduce(.Max, self.most) > 2;
    }
};

/// Weights whose magnitude decides; they are finite.
const Above = struct {
    const Value = f32;
    above: f32,

    inline fn load(self: *Above, values: [*]const f32) Bytes {
        return bytes_of.inOrder(bytes_of.joinTops(
            self.keep(values, 0),
            self.keep(values, 1),
            self.keep(values, 2),
            self.keep(values, 3),
        ));
    }

    inline fn keep(self: *Above, values: [*]const f32, comptime index: usize) U32 {
        const signs: U32 = @splat(0x8000_0000);
        const one: U32 = @splat(0x0100_0000);
        const weights = bits(values, index);
        const magnitudes: simd.F32 = @bitCast(weights & ~signs);
        const kept = magnitudes > @as(simd.F32, @splat(self.above));
        return @select(u32, kept, weights & signs | one, @as(U32, @splat(0)));
    }

    inline fn isBad(_: *const Above) bool {
        return false;
    }
};

inline fn bits(values: [*]const f32, comptime index: usize) U32 {
    return @bitCast(simd.load(simd.F32, values + index * lanes));
}

/// One byte of the wire format in each lane, for several vectors side by side: one by one each would
/// wait for its own instructions, and hold up the next.
inline fn fold(comptime n: usize, bytes: [n]Bytes) [n]U32 {
    const low: Bytes = @splat(1);
    var codes: [n]Bytes = undefined;
    var negative: [n]Words = undefined;
    var folded: [n]U32 = undefined;
    inline for (0..n) |i| codes[i] = bytes[i] & low;
    inline for (0..n) |i| negative[i] = @as(Words, @bitCast(bytes[i])) >> @splat(7);
    // 01 for +1, 10 for -1.
    inline for (0..n) |i| codes[i] += @as(Bytes, @bitCast(negative[i])) & codes[i];
    inline for (0..n) |i| folded[i] = @bitCast(simd.dot4(@splat(0), @bitCast(codes[i]), @splat(0x4010_0401)));
    return folded;
}

fn run(source: anytype, values: [*]const @TypeOf(source.*).Value, count: usize, target: [*]u8) u32 {
    var i: usize = 0;
    while (i + 4 * chunk <= count) : (i += 4 * chunk) {
        var quarters: [4]Bytes = undefined;
        inline for (&quarters, 0..) |*quarter, part| quarter.* = source.load(values + i + part * chunk);
        const folded = fold(4, quarters);
        const bytes = bytes_of.inOrder(bytes_of.joinLows(folded[0], folded[1], folded[2], folded[3]));
        simd.store(target + i / 4, bytes);
    }
    while (i + chunk <= count) : (i += chunk) {
        simd.store(target + i / 4, @as(@Vector(lanes, u8), @truncate(fold(1, .{source.load(values + i)})[0])));
    }
    if (i < count) {
        var last: [chunk]@TypeOf(source.*).Value = @splat(if (@TypeOf(source.*) == Codes) 0x55 else 0);
        @memcpy(last[0 .. count - i], values[i..count]);
        const bytes: [lanes]u8 = @as(@Vector(lanes, u8), @truncate(fold(1, .{source.load(&last)})[0]));
        @memcpy(target[i / 4 .. (count + 3) / 4], bytes[0 .. (count + 3) / 4 - i / 4]);
    }
    return @intFromBool(source.isBad());
}

pub fn packF32(trits: [*]const f32, count: usize, bytes: [*]u8) callconv(.c) u32 {
    var source: Floats = .{};
    return run(&source, trits, count, bytes);
}

pub fn packI8(trits: [*]const i8, count: usize, bytes: [*]u8) callconv(.c) u32 {
    var source: SignedBytes = .{};
    return run(&source, trits, count, bytes);
}

pub fn packCodes(codes: [*]const u8, shift: u32, count: usize, bytes: [*]u8) callconv(.c) u32 {
    var source: Codes = .{ .shift = @splat(@intCast(shift)) };
    return run(&source, codes, count, bytes);
}

pub fn packAbove(weights: [*]const f32, count: usize, above: f32, bytes: [*]u8) callconv(.c) void {
    const done = if (simd.has_avx512) packMasks(weights, count, above, bytes) else 0;
    var source: Above = .{ .above = above };
    _ = run(&source, weights + done, count - done, bytes + done / 4);
}

const Floats64 = @Vector(64, f32);

/// Packs whole runs of 64 and returns how many weights that were.
fn packMasks(weights: [*]const f32, count: usize, above: f32, bytes: [*]u8) usize {
    const most: Floats64 = @splat(above);
    const words: [*]align(1) u64 = @ptrCast(bytes);
    var i: usize = 0;
    while (i + 64 <= count) : (i += 64) {
        const values = simd.load(Floats64, weights + i);
        const plus: u64 = @bitCast(values > most);
        const minus: u64 = @bitCast(values < -most);
        words[i / 32] = spread(plus) | spread(minus) << 1;
        words[i / 32 + 1] = spread(plus >> 32) | spread(minus >> 32) << 1;
    }
    return i;
}

/// The low 32 bits, each followed by a zero.
inline fn spread(low: u64) u64 {
    return asm ("pdepq %[places], %[low], %[result]"
        : [result] "=r" (-> u64),
        : [low] "r" (low),
          [places] "r" (@as(u64, 0x5555_5555_5555_5555)),
    );
}

pub fn tritsAbove(weights: [*]const f32, count: usize, above: f32, trits: [*]i8) callconv(.c) void {
    var source: Above = .{ .above = above };
    var i: usize = 0;
    while (i + chunk <= count) : (i += chunk) {
        if (simd.has_avx512) {
            const values = simd.load(Floats64, weights + i);
            const most: Floats64 = @splat(above);
            const plus: @Vector(64, i8) = @intFromBool(values > most);
            const minus: @Vector(64, i8) = @intFromBool(values < -most);
            simd.store(trits + i, plus - minus);
        } else simd.store(trits + i, signed(source.load(weights + i)));
    }
    if (i < count) {
        var last: [chunk]f32 = @splat(0);
        @memcpy(last[0 .. count - i], weights[i..count]);
        const ended: [chunk]i8 = signed(source.load(&last));
        @memcpy(trits[i..count], ended[0 .. count - i]);
    }
}

/// 0x01, 0x81 and 0 become 1, -1 and 0.
inline fn signed(bytes: Bytes) @Vector(chunk, i8) {
    const sign: Bytes = @splat(0x80);
    const none: Bytes = @splat(0);
    return @bitCast(@select(u8, bytes & sign != none, none -% (bytes & ~sign), bytes));
}
