//! The kernels of the codec `entropy` that every instruction-set tier fills, and what they share.
//!
//! Gradients are cut into blocks of whole steps of 32 values, one for each lane. A block has a class:
//! zero, kept (stored as bf16), or one of up to 14 that are coded, by how large its values are.
//!
//! Quantisation is trellis-coded. A lane is always in one of eight states of three bits (s0, s1, s2),
//! and s0 says which of two quantisers the next value of this lane meets; a level k >= 0 and a sign
//! stand for
//!
//!     s0 = 0, even:   k = 0, 1, 2, ...  at  0, 2, 4, 6, ...  steps
//!     s0 = 1, odd:    k = 0, 1, 2, ...  at  0, 1, 3, 5, ...  steps
//!
//! and the parity p of k leads to the next state: s0' = s0 ^ s1, s1' = s2 ^ p, s2' = s0. So the levels
//! of a value lie two steps apart, as if it cost a bit less, and the encoder, which sees the whole
//! path, chooses among all of them (Marcellin and Fischer 1990; Ungerboeck's code of eight states; both
//! quantisers have a zero, as in the dependent quantisation of H.266). This gains about 0.8 dB on
//! a uniform quantiser with the same number of bits.
//!
//! A symbol is (quantiser << 4) | token, where token is k >> shift of the block's class, or 15 where
//! that is above what the class has tokens for.

const std = @import("std");
const bit_stream = @import("gradients_bit_stream.zig");

pub const lanes = 32;
pub const escape = 15;

/// Values at one step or more up to this many are coded; blocks with larger ones are kept.
pub const magnitude_max = 1000;
/// No coded level is above this.
pub const level_max = magnitude_max / 2 + 2;

/// Blocks that a trellis runs over before its path is decided.
pub const segment_steps = 512;

/// Fractional bits of magnitudes in the trellis, whose costs are in units of 2^-10 squared steps.
pub const fraction_bits = 5;

/// What levels cost in the trellis: bits times lambda, in its units. A level at n steps costs n times
/// `slope`, and `odd` more where n is odd; zeros cost `zero_even` or `zero_odd`.
pub const Costs = extern struct { slope: i16, odd: i16, zero_even: i16, zero_odd: i16 };

/// The states of 32 lanes, bit by bit.
pub const States = extern struct { bits: [3]u32 = @splat(0) };

/// A run over blocks, at most `segment_steps` steps together.
pub const Path = extern struct {
    values: [*]const f32,
    /// Steps of a block.
    steps: u32,
    count: u32,
    /// [count] places of the blocks, and their indices into `costs`.
    blocks: [*]const u32,
    classes: [*]const u8,
    costs: [*]const Costs,
    /// 2^fraction_bits over the step.
    factor: f32,
    states: States,
    /// [steps][32] levels, then a bit a lane: the quantiser, and whether the value is negative.
    levels: [*]align(64) u16,
    quantizers: [*]u32,
    signs: [*]u32,
};

/// The tokens of one class.
pub const Tokens = extern struct {
    shift: u32,
    /// The last token of each quantiser that is not the escape.
    last: [2]u32,
};

/// Levels of a path to symbols and plain bits.
pub const Symbols = extern struct {
    steps: u32,
    count: u32,
    /// [count] indices into `tokens`.
    classes: [*]const u8,
    tokens: [*]const Tokens,
    levels: [*]align(64) const u16,
    quantizers: [*]const u32,
    signs: [*]const u32,
    symbols: [*]u8,
    /// Plain bits; see gradients_rans.zig.
    bits: *bit_stream.Writer,
};

/// Probabilities are whole parts of 2^12.
pub const frequency_bits = 12;
pub const frequency_one = 1 << frequency_bits;
/// States of rANS lie from here to 2^16 times as much, and give and take words of 16 bits.
pub const state_least = 1 << 15;

/// How the symbols of a class are coded: [quantiser * 16 + token].
pub const Coder = extern struct {
    /// frequency | cumulative << 13 | shift << 26, and the reciprocal: with it a state over the
    /// frequency is (state * reciprocal) >> shift, exactly.
    packed_frequencies: [lanes]u32 align(64),
    reciprocals: [lanes]u32 align(64),

    pub fn set(self: *Coder, symbol: usize, frequency: u32, cumulative: u32) void {
        // 2^(31 + l) / f, rounded up, with 2^l >= f: exact for states below 2^31.
        const l = std.math.log2_int_ceil(u32, frequency);
        const dividend = @as(u64, 1) << @intCast(31 + l);
        self.reciprocals[symbol] = @intCast((dividend + frequency - 1) / frequency);
        self.packed_frequencies[symbol] = frequency | cumulative << 13 | @as(u32, 31 + l) << 26;
    }
};

/// Symbols to words, from last to first, with as many states as there are lanes or with one.
pub const Encode = extern struct {
    steps: u32,
    count: u32,
    classes: [*]const u8,
    coders: [*]const Coder,
    symbols: [*]const u8,
    /// One past where the last word goes.
    end: [*]u16,
    is_wide: u32,
    states: [lanes]u32 align(64),
};

/// How the symbols of a class are decoded.
pub const Decoder = extern struct {
    frequencies: [lanes]u16 align(64),
    cumulative: [lanes]u16 align(64),
    /// What a symbol stands for, where it needs no further bits.
    magnitudes: [lanes]f32 align(64),
    /// The token of every slot: [quantiser][2^12].
    slots: [*]const u8,
    shift: u32,
    /// Level k of a quantiser stands for (2 k - quantiser + offset) step unit, with the offsets for 1, 2
    /// and from 3 on.
    offsets: [2][3]f32,
    step: f32,
    unit: f32,
};

/// Classes of blocks that have no coder.
pub const class_zero = 0;
pub const class_kept = 1;
pub const class_coded = 2;
pub const classes_max = 16;

/// A chunk's words and bits to values.
pub const Decode = extern struct {
    steps: u32,
    count: u32,
    /// [count] classes; coded ones are `class_coded` more than their index into `decoders`.
    classes: [*]const u8,
    decoders: [*]const Decoder,
    words: [*]align(1) const u16,
    word_count: usize,
    bits: [*]const u8,
    bit_bytes: usize,
    is_wide: u32,
    /// bf16 of all values of kept blocks, times `kept_scale`; the caller has counted them.
    kept: [*]align(1) const u16,
    kept_scale: f32,
    states: [lanes]u32 align(64),
    values: [*]f32,
};

pub const Kernels = extern struct {
    /// The sum of the magnitudes of each block, and the largest of them.
    measure: *const fn (values: [*]const f32, blocks: usize, steps: u32, sums: [*]f32, largest: [*]f32) callconv(.c) void,
    trellis: *const fn (*Path) callconv(.c) void,
    symbols: *const fn (*const Symbols) callconv(.c) void,
    /// Returns how many words it wrote.
    encode: *const fn (*Encode) callconv(.c) usize,
    /// Returns 0, or 1 where words or bits do not fit the classes.
    decode: *const fn (*Decode) callconv(.c) u32,
};
