//! Sums of vectors as one i32 for each trit, padding included, from which vectors can be taken off
//! again.
//!
//! One vector is added under masks, 16 counts at a time. Several are first counted as bits
//! (vsa_sums.zig), whose digits are then spread: the more vectors, the less it costs.

const sums = @import("vsa_sums.zig");
const table = @import("vsa_table.zig");

const V = @Vector(16, i32);
const Mask = @Vector(16, bool);
const V64 = @Vector(16, i64);

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
    if (sources.count > sums.group_max) return addMany(counts, sources, words, from, to, weight);
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
    var counters: sums.Counters = undefined;
    var start = from;
    while (start < to) : (start += sums.stretch * sums.lane_words) {
        const end = @min(start + sums.stretch * sums.lane_words, to);
        counters.run(sources, words, start, end);
        for (start..end) |word| {
            const lane = counters.of((word - start) / sums.lane_words);
            const digits: [*]const u64 = @ptrCast(lane.ptr);
            const place = (word - start) % sums.lane_words;
            inline for (0..pieces) |piece| {
                // The counter is count - sum. It may wrap round, the sum does not.
                var value: V = @splat(@bitCast(@as(u32, @truncate(sources.count))));
                for (0..lane.len) |level| {
                    const digit: V = @splat(@bitCast(@as(u32, @truncate(@as(u64, 1) << @intCast(level)))));
                    const mask = maskAt(digits[level * sums.lane_words + place], piece);
                    value = @select(i32, mask, value -% digit, value);
                }
                set(counts, word, piece, at(counts, word, piece) +% value *% @as(V, @splat(weight)));
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
