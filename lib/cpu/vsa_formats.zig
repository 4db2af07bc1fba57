//! Hypervectors from and to other formats; a row of each starts on a byte.
//!
//!     wire     2 bits a trit, low bits first: 00 = 0, 01 = +1, 10 = -1, 11 is no trit; bits after the
//!              last trit count for nothing
//!     base 3   5 trits a byte: the sum of (trit i + 1) 3^i, at most 242; trits after the last are 0
//!     planes   ceil(dim / 8) bytes of the nonzero plane, then as many of the negative one; what the
//!              layout excludes is refused: set bits after the last, and a negative zero
//!     floats   the sign of what has a magnitude above a threshold, else 0; NaN is refused
//!
//! Floor: the bytes of the other format, 4 to 20 times those of the planes for bytes and floats. Wire:
//! ten shifts and masks for 8 words, which hold 256 trits.

const simd = @import("simd.zig");
const table = @import("vsa_table.zig");

const Words = @Vector(8, u64);
const Shifts = @Vector(8, u6);

/// Trits of eight words of the wire format.
const wire_trits = 256;
const wire_bytes = 64;

inline fn every(comptime pattern: u64) Words {
    return @splat(pattern);
}

inline fn right(words: Words, comptime places: u6) Words {
    return words >> @as(Shifts, @splat(places));
}

inline fn left(words: Words, comptime places: u6) Words {
    return words << @as(Shifts, @splat(places));
}

/// Every second bit, packed: 32 for each word. The others are 0.
inline fn packed_(bits: Words) @Vector(8, u32) {
    var words = bits;
    words = (words | right(words, 1)) & every(0x3333_3333_3333_3333);
    words = (words | right(words, 2)) & every(0x0f0f_0f0f_0f0f_0f0f);
    words = (words | right(words, 4)) & every(0x00ff_00ff_00ff_00ff);
    words = (words | right(words, 8)) & every(0x0000_ffff_0000_ffff);
    return @truncate(words | right(words, 16));
}

/// The reverse.
inline fn spread(bits: @Vector(8, u32)) Words {
    var words: Words = bits;
    words = (words | left(words, 16)) & every(0x0000_ffff_0000_ffff);
    words = (words | left(words, 8)) & every(0x00ff_00ff_00ff_00ff);
    words = (words | left(words, 4)) & every(0x0f0f_0f0f_0f0f_0f0f);
    words = (words | left(words, 2)) & every(0x3333_3333_3333_3333);
    return (words | left(words, 1)) & every(0x5555_5555_5555_5555);
}

inline fn at(comptime V: type, pointer: anytype) *align(1) V {
    return @ptrCast(pointer);
}

inline fn from(comptime V: type, pointer: anytype) V {
    return @as(*align(1) const V, @ptrCast(pointer)).*;
}

pub fn fromWire(bytes: [*]const u8, dim: usize, out: table.Target, words: usize) callconv(.c) u32 {
    var bad: Words = @splat(0);
    var i: usize = 0;
    while (i < words * 64) : (i += wire_trits) {
        var wire: Words = @splat(0);
        if (i + wire_trits <= dim) {
            wire = from(Words, bytes + i / 4);
        } else if (i < dim) {
            var last: [wire_bytes]u8 = @splat(0);
            const rest = (dim - i + 3) / 4;
            @memcpy(last[0..rest], bytes[i / 4 ..][0..rest]);
            if (dim % 4 != 0) last[rest - 1] &= (@as(u8, 1) << @intCast(dim % 4 * 2)) - 1;
            wire = from(Words, &last);
        }
        const low = wire & every(0x5555_5555_5555_5555);
        const high = right(wire, 1) & every(0x5555_5555_5555_5555);
        bad |= low & high;
        // A code of 11 counts as -1, so that the planes are sound whatever comes.
        at(@Vector(8, u32), out + i / 64).* = packed_(low | high);
        at(@Vector(8, u32), out + words + i / 64).* = packed_(high);
    }
    return @intFromBool(@reduce(.Or, bad) != 0);
}

pub fn toWire(a: table.Vector, words: usize, dim: usize, bytes: [*]u8) callconv(.c) void {
    var i: usize = 0;
    while (i < dim) : (i += wire_trits) {
        const nonzero = spread(from(@Vector(8, u32), a + i / 64));
        const negative = spread(from(@Vector(8, u32), a + words + i / 64));
        const wire = (nonzero ^ negative) | left(negative, 1);
        if (i + wire_trits <= dim) {
            at(Words, bytes + i / 4).* = wire;
        } else {
            const last: [wire_bytes]u8 = @bitCast(wire);
            const rest = (dim - i + 3) / 4;
            @memcpy(bytes[i / 4 ..][0..rest], last[0..rest]);
        }
    }
}

const digits = 5;
const powers = [digits]u8{ 1, 3, 9, 27, 81 };
const bad_byte = 1 << 15;

/// Of each byte: 5 bits of nonzero trits, from bit 8 on 5 of negative ones, and bit 15 if it is none.
const base3_trits: [256]u16 = blk: {
    @setEvalBranchQuota(10_000);
    var entries: [256]u16 = @splat(bad_byte);
    for (entries[0..243], 0..) |*entry, byte| {
        entry.* = 0;
        for (powers, 0..) |power, i| switch (byte / power % 3) {
            0 => entry.* |= 0x101 << i,
            2 => entry.* |= 1 << i,
            else => {},
        };
    }
    break :blk entries;
};

/// Sums of the powers of three that five bits select.
const base3_sums: [32]u8 = blk: {
    var sums: [32]u8 = @splat(0);
    for (&sums, 0..) |*sum, bits| {
        for (powers, 0..) |power, i| if (bits >> i & 1 == 1) {
            sum.* += power;
        };
    }
    break :blk sums;
};

pub fn fromBase3(bytes: [*]const u8, dim: usize, out: table.Target, words: usize) callconv(.c) u32 {
    const count = (dim + digits - 1) / digits;
    var bad: u16 = 0;
    // Bits that wait for their word to be full; below 64 + 5 of them.
    var nonzero: u128 = 0;
    var negative: u128 = 0;
    var held: usize = 0;
    var word: usize = 0;
    for (bytes[0..count]) |byte| {
        const entry = base3_trits[byte];
        bad |= entry;
        nonzero |= @as(u128, entry & 31) << @intCast(held);
        negative |= @as(u128, entry >> 8 & 31) << @intCast(held);
        held += digits;
        if (held < 64) continue;
        out[word] = @truncate(nonzero);
        out[words + word] = @truncate(negative);
        nonzero >>= 64;
        negative >>= 64;
        held -= 64;
        word += 1;
    }
    // What is left may be the digits after the last trit alone, of a plane that is full.
    if (word < words) {
        out[word] = @truncate(nonzero);
        out[words + word] = @truncate(negative);
        nonzero = 0;
        @memset(out[word + 1 .. words], 0);
        @memset(out[words + word + 1 .. 2 * words], 0);
    }
    return @intFromBool(bad & bad_byte != 0 or nonzero != 0) | clearPadding(dim, out, words);
}

pub fn toBase3(a: table.Vector, words: usize, dim: usize, bytes: [*]u8) callconv(.c) void {
    const count = (dim + digits - 1) / digits;
    for (bytes[0..count], 0..) |*byte, i| {
        const place = i * digits;
        const nonzero = five(a, words, place);
        const negative = five(a + words, words, place);
        byte.* = 121 + base3_sums[nonzero] - 2 * base3_sums[negative];
    }
}

inline fn five(plane: [*]const u64, words: usize, place: usize) u5 {
    const word = place / 64;
    const low = plane[word] >> @intCast(place % 64);
    if (place % 64 <= 59 or word + 1 == words) return @truncate(low);
    return @truncate(low | plane[word + 1] << @intCast(64 - place % 64));
}

/// Makes the bits after the last trit 0; 1 if one was not.
fn clearPadding(dim: usize, out: table.Target, words: usize) u32 {
    var found: u64 = 0;
    for (dim / 64..words) |word| {
        const kept: u64 = if (word == dim / 64) (@as(u64, 1) << @intCast(dim % 64)) - 1 else 0;
        found |= (out[word] | out[words + word]) & ~kept;
        out[word] &= kept;
        out[words + word] &= kept;
    }
    return @intFromBool(found != 0);
}

pub fn fromPlanes(bytes: [*]const u8, dim: usize, out: table.Target, words: usize) callconv(.c) u32 {
    const length = (dim + 7) / 8;
    for (0..2) |plane| {
        const target: [*]u8 = @ptrCast(out + plane * words);
        @memcpy(target[0..length], bytes[plane * length ..][0..length]);
        @memset(target[length .. words * 8], 0);
    }
    var bad: Words = @splat(0);
    var i: usize = 0;
    while (i < words) : (i += table.block_words) {
        const nonzero = from(Words, out + i);
        const negative = from(Words, out + words + i);
        bad |= negative & ~nonzero;
        at(Words, out + words + i).* = negative & nonzero;
    }
    return clearPadding(dim, out, words) | @intFromBool(@reduce(.Or, bad) != 0);
}

pub fn toPlanes(a: table.Vector, words: usize, dim: usize, bytes: [*]u8) callconv(.c) void {
    const length = (dim + 7) / 8;
    for (0..2) |plane| {
        const source: [*]const u8 = @ptrCast(a + plane * words);
        @memcpy(bytes[plane * length ..][0..length], source[0..length]);
    }
}

const F32 = simd.F32;
const Mask = @Int(.unsigned, simd.lanes);

pub fn fromF32(values: [*]const f32, dim: usize, above: f32, out: table.Target, words: usize) callconv(.c) u32 {
    var bad: Mask = 0;
    const most: F32 = @splat(above);
    for (0..words) |word| {
        const start = word * 64;
        var last: [64]f32 = @splat(0);
        var source: [*]const f32 = &last;
        if (start + 64 <= dim) {
            source = values + start;
        } else if (start < dim) {
            @memcpy(last[0 .. dim - start], values[start..dim]);
        }
        var positive: u64 = 0;
        var negative: u64 = 0;
        inline for (0..64 / simd.lanes) |part| {
            const floats = simd.load(F32, source + part * simd.lanes);
            positive |= @as(u64, @as(Mask, @bitCast(floats > most))) << (part * simd.lanes);
            negative |= @as(u64, @as(Mask, @bitCast(floats < -most))) << (part * simd.lanes);
            bad |= @bitCast(floats != floats);
        }
        out[word] = positive | negative;
        out[words + word] = negative;
    }
    return @intFromBool(bad != 0);
}

const Bytes = @Vector(64, i8);

pub fn gather(trits: [*]const i8, places: [*]const u32, dim: usize, out: table.Target, words: usize) callconv(.c) u32 {
    var largest: u32 = 0;
    for (places[0..dim]) |place| largest = @max(largest, place);
    if (largest >= dim) return 1;
    // Many at a time: vectors loaded right after their bytes were stored would wait for them.
    var found: [1024]i8 = @splat(0);
    var i: usize = 0;
    while (i < words * 64) : (i += 512) {
        const half = found[i % 1024 ..][0..512];
        const count = @min(dim -| i, 512);
        for (half[0..count], places[@min(i, dim)..][0..count]) |*trit, place| trit.* = trits[place];
        @memset(half[count..], 0);
        for (0..8) |word| {
            const bytes = simd.load(Bytes, half.ptr + word * 64);
            out[i / 64 + word] = @bitCast(bytes != @as(Bytes, @splat(0)));
            out[words + i / 64 + word] = @bitCast(bytes < @as(Bytes, @splat(0)));
        }
    }
    return 0;
}

pub const kernels: table.Formats = .{
    .from_wire = fromWire,
    .to_wire = toWire,
    .from_base3 = fromBase3,
    .to_base3 = toBase3,
    .from_planes = fromPlanes,
    .to_planes = toPlanes,
    .from_f32 = fromF32,
    .gather = gather,
};
