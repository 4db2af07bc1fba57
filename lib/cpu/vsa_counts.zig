//! Sums of vectors as one i32 for each trit, padding included, from which vectors can be taken off
//! again.
//!
//! One vector is added under masks, 16 counts at a time. Several are first counted as bits
//! (vsa_sums.zig), whose digits, eight for a block of vectors, become bytes and then counts.
//!
//! Floor: counts of 10,000 trits are 40 KB, read and written. One vector takes 700 ns, what the second
//! cache of Zen 4 needs for that; of a batch each takes 45 ns, of which 35 are counting the bits.

const sums = @import("vsa_sums.zig");
const table = @import("vsa_table.zig");

const V = @Vector(16, i32);
const Mask = @Vector(16, bool);
const Bytes = @Vector(64, u8);
const V64 = @Vector(16, i64);

/// From so many vectors on, counting their bits first is faster.
const many = 4;

/// 16-bit pieces of a word.
const pieces = 4;

inline fn maskAt(word: u64, comptime piece: usize) Mask {
    return @bitCast(@as(u16, @truncate(word >> 16 * piece)));
}

/// The counts of a piece of a word.
inline fn at(counts: [*]align(64) const i32, word: usize, comptime piece: usize) V {
    const place: *const V = @ptrCast(@alignCast(counts + word * 64 + piece * 16));
    return place.*;
}

inline fn set(counts: [*]align(64) i32, word: usize, comptime piece: usize, value: V) void {
    const place: *V = @ptrCast(@alignCast(counts + word * 64 + piece * 16));
    place.* = value;
}

pub fn add(counts: [*]align(64) i32, sources: *const table.Sources, words: usize, from: usize, to: usize, weight: i32) callconv(.c) void {
    if (sources.count >= many) return addMany(counts, sources, words, from, to, weight);
    for (0..sources.count) |index| addOne(counts, sources.at(index), words, from, to, weight);
}

fn addOne(counts: [*]align(64) i32, source: table.Vector, words: usize, from: usize, to: usize, weight: i32) void {
    const step: V = @splat(weight);
    for (from..to) |word| {
        const negative = source[words + word];
        const positive = source[word] & ~negative;
        inline for (0..pieces) |piece| {
            var value = at(counts, word, piece);
            value = @select(i32, maskAt(positive, piece), value +% step, value);
            value = @select(i32, maskAt(negative, piece), value -% step, value);
            set(counts, word, piece, value);
        }
    }
}

fn addMany(counts: [*]align(64) i32, sources: *const table.Sources, words: usize, from: usize, to: usize, weight: i32) void {
    var block: sums.Block = undefined;
    var first: usize = 0;
    while (first < sources.count) : (first += block.count) {
        block.init(sources, first, 0);
        const count: V = @splat(@intCast(block.count));
        var i = from;
        while (i < to) : (i += sums.lane_words) {
            const digits: [sums.block_digits][sums.lane_words]u64 = @bitCast(block.sum(words, i));
            inline for (0..sums.lane_words) |word| {
                var bytes: Bytes = @splat(0);
                inline for (digits, 0..) |digit, level| {
                    const mask: @Vector(64, bool) = @bitCast(digit[word]);
                    bytes = @select(u8, mask, bytes + @as(Bytes, @splat(1 << level)), bytes);
                }
                const values: [pieces]@Vector(16, u8) = @bitCast(bytes);
                inline for (values, 0..) |value, piece| {
                    // The counter is count - sum.
                    const sum = count - @as(V, value);
                    set(counts, i + word, piece, at(counts, i + word, piece) +% sum *% @as(V, @splat(weight)));
                }
            }
        }
    }
}

pub fn signs(counts: [*]align(64) const i32, threshold: u32, out: table.Target, words: usize, from: usize, to: usize) callconv(.c) void {
    const limit: V = @splat(@intCast(@min(threshold, 0x7fff_ffff)));
    for (from..to) |word| {
        var positive: u64 = 0;
        var negative: u64 = 0;
        inline for (0..pieces) |piece| {
            const value = at(counts, word, piece);
            positive |= @as(u64, @as(u16, @bitCast(value > limit))) << 16 * piece;
            negative |= @as(u64, @as(u16, @bitCast(value < -limit))) << 16 * piece;
        }
        out[word] = positive | negative;
        out[words + word] = negative;
    }
}

pub fn dot(counts: [*]align(64) const i32, a: table.Vector, words: usize) callconv(.c) i64 {
    var total: V64 = @splat(0);
    const none: V = @splat(0);
    for (0..words) |word| {
        const negative = a[words + word];
        const positive = a[word] & ~negative;
        inline for (0..pieces) |piece| {
            const value = at(counts, word, piece);
            // One of both is 0, and no count is -2^31.
            const part = @select(i32, maskAt(positive, piece), value, none) - @select(i32, maskAt(negative, piece), value, none);
            total += part;
        }
    }
    return @reduce(.Add, total);
}

pub fn squares(counts: [*]align(64) const i32, length: usize, result: *[2]u64) callconv(.c) void {
    const U64 = @Vector(16, u64);
    var low: U64 = @splat(0);
    var high: U64 = @splat(0);
    var i: usize = 0;
    while (i < length) : (i += 16) {
        const value: V64 = @as(V, counts[i..][0..16].*);
        const square: U64 = @bitCast(value * value);
        low += square & @as(U64, @splat(0xffff_ffff));
        high += square >> @splat(32);
    }
    result.* = .{ @reduce(.Add, low), @reduce(.Add, high) };
}
