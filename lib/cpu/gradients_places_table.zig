//! Places as bits, coded: what the kernels and the codec `topk` share.
//!
//!     gradients      0 0 1 0 | 0 0 0 0 | 1 1 0 0 | ...    1 where one is kept
//!     nibbles            4         0         3            the first place is the lowest bit
//!     block          32 nibbles, one for each lane of rANS: 128 places
//!
//! A nibble is coded with the frequencies of its block's class, and that is a density, half an octave
//! wide, which decoder and encoder know from the blocks before: 256 times a running mean m of how many
//! places of a block are kept, m += (256 kept - m) / 4.

pub const lanes = @import("gradients_entropy_table.zig").lanes;
pub const block_places = 4 * lanes;
pub const block_words = block_places / 64;
pub const classes_count = 30;

/// A running mean, and the class that it means for the next block.
pub const Density = struct {
    mean: u32,

    const one = 256;
    const least = 4;
    pub const most = block_places * one;

    /// At the middle of a class.
    pub fn ofClass(index: u32) Density {
        return .{ .mean = @max(least, (5 + 2 * (index & 1)) << @intCast(index >> 1) >> 2) };
    }

    pub inline fn follow(self: *Density, kept: u32) void {
        const mean: i32 = @intCast(self.mean);
        const change = (@as(i32, @intCast(kept * one)) - mean) >> 1;
        self.mean = @intCast(@min(@max(mean + change, least), most - 1));
    }

    /// Below `classes_count`.
    pub inline fn class(self: Density) u8 {
        const octave: u5 = @intCast(31 - @clz(self.mean));
        return @intCast(2 * @as(u32, octave) + (self.mean >> (octave - 1) & 1));
    }
};

/// Bits of places to nibbles, and the class of each block, more by `first_class`.
pub const Map = extern struct {
    /// Whole blocks.
    bits: [*]const u64,
    blocks: u32,
    start: u32,
    first_class: u32,
    nibbles: [*]u8,
    classes: [*]u8,
};

/// The frequencies of the nibbles of a class, and their sums; the second half is 0.
pub const Model = extern struct {
    frequencies: [lanes]u16 align(64),
    cumulative: [lanes]u16 align(64),
};

/// Words of rANS to bits of places.
pub const Decode = extern struct {
    models: [*]const Model,
    words: [*]align(1) const u16,
    word_count: usize,
    blocks: u32,
    start: u32,
    states: [lanes]u32 align(64),
    bits: [*]u64,
};
