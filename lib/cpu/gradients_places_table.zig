//! Places as bits, coded: what the kernels and the codec `topk` share.
//!
//!     gradients   0 0 1 0 | 0 0 0 0 | 1 1 0 0 | ...    1 where one is kept, 64 a word
//!     lanes       32, each of which takes as many words in a row as the others
//!     step        the next bit of every lane; four steps are a nibble
//!
//! A bit is coded by rANS (gradients_rans.zig) with the probability that its lane has had lately: a
//! running mean m of 2^20 times the share of places that are kept, m += (kept 2^18 - m) / 32 after each
//! nibble, m at least 2^8. Its class is half an octave of m, and that has a frequency of 2^12.

const entropy = @import("gradients_entropy_table.zig");

pub const lanes = entropy.lanes;
/// Where it begins, the mean says what is kept of all.
pub const mean_bits = 20;
pub const mean_least = 1 << 8;
pub const mean_shift = 5;

/// Half an octave: the exponent of a mean as f32, and a bit of its fraction, from that of the least.
pub inline fn classOf(mean: u32) u32 {
    return (@as(u32, @bitCast(@as(f32, @floatFromInt(mean)))) >> 22) - first_class;
}

pub const first_class = 2 * (127 + 8);
/// The last is that of 2^20 alone.
pub const classes_count = 2 * (mean_bits - 8) + 1;
pub const class_entries = 32;

/// Of ones among 2^12, by class.
pub const frequencies: [class_entries]u32 = blk: {
    var all: [class_entries]u32 = @splat(1);
    for (all[0..classes_count], 0..) |*frequency, class| {
        const middle = (5 + 2 * (class % 2)) << (class / 2);
        // 4 2^8 of a mean are 2^-12 of all.
        frequency.* = @min((middle + 2) / 4, entropy.frequency_one - 128);
    }
    break :blk all;
};

/// Words that a lane takes of so many.
pub fn laneWords(words: usize) usize {
    return (words + lanes - 1) / lanes;
}

/// Bits to words of rANS, from last to first.
pub const Encode = extern struct {
    /// [lanes][lane_words], zeros at the end.
    bits: [*]const u64,
    lane_words: usize,
    mean: u32,
    /// [16 lane_words][lanes]
    nibbles: [*]u8,
    classes: [*]u8,
    /// One past where the last word goes.
    end: [*]u16,
    states: [lanes]u32 align(64),
};

/// And back.
pub const Decode = extern struct {
    words: [*]align(1) const u16,
    word_count: usize,
    bits: [*]u64,
    lane_words: usize,
    mean: u32,
    states: [lanes]u32 align(64),
};
