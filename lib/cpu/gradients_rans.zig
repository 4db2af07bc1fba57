//! Levels to symbols, symbols to words of rANS, and both back.
//!
//! A state x holds what is still to be told. A symbol of frequency f, cumulative frequency c (of 2^12)
//!
//!     encoder, from the last symbol to the first:   x >= f 2^19:  put x mod 2^16, x = x / 2^16
//!                                                   x = (x / f) 2^12 + x mod f + c
//!     decoder:   c <= x mod 2^12 < c + f            x = f (x / 2^12) + x mod 2^12 - c
//!                                                   x < 2^15:  x = x 2^16 + next word
//!
//! (Duda 2013). Where it pays, every lane has a state of its own, and the lanes take words in order
//! (Giesen 2014); else one state takes all lanes in turn. An encoder begins with all states 2^15.
//!
//! Plain bits of a step, lowest bit first: for each escaped lane the length of k >> shift in bits (4)
//! and its bits below the highest; then for each of the low `shift` bits of k that bit of all lanes; then
//! a sign for each lane whose k is not 0.
//!
//! Floor on AVX-512, for 32 symbols: 50 vector instructions to encode, 60 to decode, and a chain of some
//! 80 cycles from one state of a decoder to the next: a search of four steps among the cumulative
//! frequencies, which one register holds, a product, and the words.

const std = @import("std");
const bit_stream = @import("gradients_bit_stream.zig");
const builtin = @import("builtin");
const simd = @import("simd.zig");
const table = @import("gradients_entropy_table.zig");

const cpu = builtin.cpu;
const lanes = table.lanes;
const has_avx512 = simd.has_avx512;
const has_bmi2 = cpu.arch == .x86_64 and cpu.has(.x86, .bmi2);

const U8 = @Vector(lanes, u8);
const U16 = @Vector(lanes, u16);
const U32 = @Vector(16, u32);
const F = @Vector(16, f32);
const B = @Vector(lanes, bool);

// ---- symbols ----

pub fn symbols(job: *const table.Symbols) callconv(.c) void {
    var bits: bit_stream.Writer = job.bits.*;
    var step: usize = 0;
    for (job.classes[0..job.count]) |class| {
        const tokens = &job.tokens[class];
        for (0..job.steps) |_| {
            const levels: U16 = job.levels[step * lanes ..][0..lanes].*;
            const odd: B = @bitCast(job.quantizers[step]);
            const values = levels >> @splat(@intCast(tokens.shift));
            const last = @select(u16, odd, @as(U16, @splat(@intCast(tokens.last[1]))), @as(U16, @splat(@intCast(tokens.last[0]))));
            const escaped = values > last;
            const tokens_of = @select(u16, escaped, @as(U16, @splat(table.escape)), values);
            const offset = @select(u16, odd, @as(U16, @splat(16)), @as(U16, @splat(0)));
            job.symbols[step * lanes ..][0..lanes].* = @as(U8, @truncate(tokens_of | offset));
            const escapes: u32 = @bitCast(escaped);
            if (escapes != 0) writeEscapes(&bits, escapes, values);
            if (tokens.shift != 0) writeLow(&bits, levels, tokens.shift);
            const nonzero: u32 = @bitCast(levels != @as(U16, @splat(0)));
            bits.append(extract(job.signs[step], nonzero), @popCount(nonzero));
            step += 1;
        }
    }
    job.bits.* = bits;
}

noinline fn writeEscapes(bits: *bit_stream.Writer, escapes: u32, values: [lanes]u16) void {
    var left = escapes;
    while (left != 0) : (left &= left - 1) {
        const value = values[@ctz(left)];
        const length: u32 = 16 - @as(u32, @clz(value));
        bits.append(length, 4);
        bits.append(value & ~(@as(u32, 1) << @intCast(length - 1)), length - 1);
    }
}

/// Bit by bit, 32 lanes at once.
fn writeLow(bits: *bit_stream.Writer, levels: U16, shift: u32) void {
    for (0..shift) |bit| {
        const one: U16 = @splat(@as(u16, 1) << @intCast(bit));
        bits.append(@bitCast((levels & one) != @as(U16, @splat(0))), 32);
    }
}

/// The bits of `value` where `selected` has ones, side by side.
inline fn extract(value: u32, selected: u32) u32 {
    if (has_bmi2) return asm ("pextl %[selected], %[value], %[result]"
        : [result] "=r" (-> u32),
        : [value] "r" (value),
          [selected] "r" (selected),
    );
    var result: u32 = 0;
    var left = selected;
    var place: u5 = 0;
    while (left != 0) : (left &= left - 1) {
        result |= (value >> @intCast(@ctz(left)) & 1) << place;
        place +%= 1;
    }
    return result;
}

/// The reverse of `extract`.
inline fn deposit(value: u32, selected: u32) u32 {
    if (has_bmi2) return asm ("pdepl %[selected], %[value], %[result]"
        : [result] "=r" (-> u32),
        : [value] "r" (value),
          [selected] "r" (selected),
    );
    var result: u32 = 0;
    var left = selected;
    var rest = value;
    while (left != 0) : (left &= left - 1) {
        result |= (rest & 1) << @intCast(@ctz(left));
        rest >>= 1;
    }
    return result;
}

// ---- encoder ----

pub fn encode(job: *table.Encode) callconv(.c) usize {
    for (&job.states) |*state| state.* = table.state_least;
    if (job.is_wide == 0) return encodeScalar(job, false);
    return if (has_avx512) encodeVector(job) else encodeScalar(job, true);
}

fn encodeScalar(job: *table.Encode, comptime is_wide: bool) usize {
    var target = job.end;
    var step = job.count * job.steps;
    var block = job.count;
    while (block > 0) {
        block -= 1;
        const coder = &job.coders[job.classes[block] - table.class_coded];
        for (0..job.steps) |_| {
            step -= 1;
            var lane: usize = lanes;
            while (lane > 0) {
                lane -= 1;
                const state = &job.states[if (is_wide) lane else 0];
                const symbol = job.symbols[step * lanes + lane];
                const entry = coder.packed_frequencies[symbol];
                const frequency = entry & 0x1fff;
                var x = state.*;
                if (x >= frequency << 19) {
                    target -= 1;
                    target[0] = std.mem.nativeToLittle(u16, @truncate(x));
                    x >>= 16;
                }
                const quotient: u32 = @intCast(@as(u64, x) * coder.reciprocals[symbol] >> @intCast(entry >> 26));
                state.* = x + quotient * (table.frequency_one - frequency) + (entry >> 13 & 0x1fff);
            }
        }
    }
    return (@intFromPtr(job.end) - @intFromPtr(target)) / 2;
}

fn encodeVector(job: *table.Encode) usize {
    var low: U32 = job.states[0..16].*;
    var high: U32 = job.states[16..32].*;
    var target = job.end;
    var step = job.count * job.steps;
    var block = job.count;
    while (block > 0) {
        block -= 1;
        const coder = &job.coders[job.classes[block] - table.class_coded];
        const frequencies: [2]U32 = .{ coder.packed_frequencies[0..16].*, coder.packed_frequencies[16..32].* };
        const reciprocals: [2]U32 = .{ coder.reciprocals[0..16].*, coder.reciprocals[16..32].* };
        for (0..job.steps) |_| {
            step -= 1;
            const at = job.symbols + step * lanes;
            const first: U32 = @as(@Vector(16, u8), at[0..16].*);
            const second: U32 = @as(@Vector(16, u8), at[16..32].*);
            const entry_low = lookup32(first, frequencies);
            const entry_high = lookup32(second, frequencies);
            const full_low = low >= (entry_low & splat(0x1fff)) << @splat(19);
            const full_high = high >= (entry_high & splat(0x1fff)) << @splat(19);
            const full = @as(u32, @as(u16, @bitCast(full_high))) << 16 | @as(u16, @bitCast(full_low));
            const words: U16 = std.simd.join(@as(@Vector(16, u16), @truncate(low)), @as(@Vector(16, u16), @truncate(high)));
            target -= @popCount(full);
            storeFirst(target, compress(words, full), @popCount(full));
            low = @select(u32, full_low, low >> @splat(16), low);
            high = @select(u32, full_high, high >> @splat(16), high);
            low = advance(low, entry_low, lookup32(first, reciprocals));
            high = advance(high, entry_high, lookup32(second, reciprocals));
        }
    }
    job.states[0..16].* = low;
    job.states[16..32].* = high;
    return (@intFromPtr(job.end) - @intFromPtr(target)) / 2;
}

inline fn splat(value: u32) U32 {
    return @splat(value);
}

const U64 = @Vector(8, u64);

/// x / f for the entries' frequencies, and from it the next states.
pub inline fn advance(x: U32, entries: U32, reciprocals: U32) U32 {
    const low: U64 = @splat(0xffff_ffff);
    const pairs: U64 = @bitCast(x);
    const factors: U64 = @bitCast(reciprocals);
    const shifts: U64 = @bitCast(entries);
    const even = (pairs & low) * (factors & low) >> @intCast((shifts & low) >> @splat(26));
    const odd = (pairs >> @splat(32)) * (factors >> @splat(32)) >> @intCast(shifts >> @splat(58));
    const quotients: U32 = @bitCast(even | odd << @splat(32));
    return x + quotients * (splat(table.frequency_one) - (entries & splat(0x1fff))) + (entries >> @splat(13) & splat(0x1fff));
}

pub inline fn lookup32(indices: U32, entries: [2]U32) U32 {
    return asm ("vpermi2d %[high], %[low], %[result]"
        : [result] "=v" (-> U32),
        : [low] "v" (entries[0]),
          [high] "v" (entries[1]),
          [indices] "0" (indices),
    );
}

inline fn lookup32Float(indices: U32, entries: [2]F) F {
    return asm ("vpermi2ps %[high], %[low], %[result]"
        : [result] "=v" (-> F),
        : [low] "v" (entries[0]),
          [high] "v" (entries[1]),
          [indices] "0" (indices),
    );
}

inline fn lookupWords(indices: U16, entries: U16) U16 {
    return asm ("vpermw %[entries], %[indices], %[result]"
        : [result] "=v" (-> U16),
        : [entries] "v" (entries),
          [indices] "v" (indices),
    );
}

/// The chosen words side by side.
pub inline fn compress(words: U16, chosen: u32) U16 {
    return asm ("vpcompressw %[words], %[result]{%[chosen]}{z}"
        : [result] "=v" (-> U16),
        : [words] "v" (words),
          [chosen] "{k1}" (chosen),
    );
}

/// Words side by side to the chosen lanes.
pub inline fn expand(words: U16, chosen: u32) U16 {
    return asm ("vpexpandw %[words], %[result]{%[chosen]}{z}"
        : [result] "=v" (-> U16),
        : [words] "v" (words),
          [chosen] "{k1}" (chosen),
    );
}

inline fn firstOf(count: u32) u32 {
    return @truncate((@as(u64, 1) << @intCast(count)) - 1);
}

pub inline fn storeFirst(target: [*]u16, words: U16, count: u32) void {
    asm volatile ("vmovdqu16 %[words], (%[target]){%[chosen]}"
        :
        : [words] "v" (words),
          [target] "r" (target),
          [chosen] "{k1}" (firstOf(count)),
        : .{ .memory = true });
}

/// Touches nothing beyond the first `count` words.
pub inline fn loadFirst(source: [*]align(1) const u16, count: u32) U16 {
    return asm volatile ("vmovdqu16 (%[source]), %[result]{%[chosen]}{z}"
        : [result] "=v" (-> U16),
        : [source] "r" (source),
          [chosen] "{k1}" (firstOf(count)),
        : .{ .memory = true });
}

// ---- decoder ----

/// Words, states and bits of a chunk that is being decoded.
const Source = struct {
    job: *const table.Decode,
    words: []align(1) const u16,
    bits: bit_stream.Reader,
    kept: [*]align(1) const u16,

    fn init(job: *const table.Decode) Source {
        return .{
            .job = job,
            .words = job.words[0..job.word_count],
            .bits = .init(job.bits[0..job.bit_bytes]),
            .kept = job.kept,
        };
    }
};

pub fn decode(job: *table.Decode) callconv(.c) u32 {
    const is_sound = if (job.is_wide == 0)
        decodeBlocks(job, false)
    else
        decodeBlocks(job, true);
    return @intFromBool(!is_sound);
}

fn decodeBlocks(job: *table.Decode, comptime is_wide: bool) bool {
    var source: Source = .init(job);
    var trellis: table.States = .{};
    const size = job.steps * lanes;
    var low: U32 = job.states[0..16].*;
    var high: U32 = job.states[16..32].*;
    for (job.classes[0..job.count], 0..) |class, block| {
        const values = job.values + block * size;
        switch (class) {
            table.class_zero => @memset(values[0..size], 0),
            table.class_kept => decodeKept(&source, values[0..size]),
            else => {
                const decoder = &job.decoders[class - table.class_coded];
                for (0..job.steps) |step| {
                    const target = values + step * lanes;
                    if (is_wide and has_avx512) {
                        if (!decodeVector(&source, decoder, &trellis, &low, &high, target)) return false;
                    } else {
                        if (!decodeScalar(&source, decoder, &trellis, job, is_wide, target)) return false;
                    }
                }
            },
        }
    }
    if (is_wide and has_avx512) {
        job.states[0..16].* = low;
        job.states[16..32].* = high;
    }
    for (job.states[0..if (is_wide) lanes else 1]) |state| if (state != table.state_least) return false;
    return source.words.len == 0 and source.bits.isExact();
}

fn decodeKept(source: *Source, values: []f32) void {
    for (values, source.kept) |*value, word| {
        const float: f32 = @bitCast(@as(u32, std.mem.littleToNative(u16, word)) << 16);
        // bf16 may have been rounded up to what f32 cannot hold.
        value.* = @max(@min(float * source.job.kept_scale, std.math.floatMax(f32)), -std.math.floatMax(f32));
    }
    source.kept += values.len;
}

fn decodeScalar(source: *Source, decoder: *const table.Decoder, trellis: *table.States, job: *table.Decode, comptime is_wide: bool, target: [*]f32) bool {
    const odd = trellis.bits[0];
    var tokens: [lanes]u16 = undefined;
    var escapes: u32 = 0;
    for (&tokens, 0..) |*token, lane| {
        const state = &job.states[if (is_wide) lane else 0];
        const x = state.*;
        const quantizer = odd >> @intCast(lane) & 1;
        const slot = x % table.frequency_one;
        const symbol = decoder.slots[quantizer * table.frequency_one + slot];
        var next = @as(u32, decoder.frequencies[symbol]) * (x / table.frequency_one) + slot - decoder.cumulative[symbol];
        if (next < table.state_least) {
            if (source.words.len == 0) return false;
            next = next << 16 | std.mem.littleToNative(u16, source.words[0]);
            source.words = source.words[1..];
        }
        state.* = next;
        token.* = symbol & 15;
        if (symbol & 15 == table.escape) escapes |= @as(u32, 1) << @intCast(lane);
    }
    if (escapes != 0 or decoder.shift != 0) return decodeLevels(source, decoder, trellis, tokens, escapes, target);
    var parity: u32 = 0;
    var nonzero: u32 = 0;
    for (tokens, 0..) |token, lane| {
        parity |= @as(u32, token & 1) << @intCast(lane);
        nonzero |= @as(u32, @intFromBool(token != 0)) << @intCast(lane);
    }
    source.bits.fill();
    const signs = deposit(source.bits.take(@popCount(nonzero)), nonzero);
    for (tokens, 0..) |token, lane| {
        const symbol = token | (odd >> @intCast(lane) & 1) << 4;
        const sign = (signs >> @intCast(lane) & 1) << 31;
        target[lane] = @bitCast(@as(u32, @bitCast(decoder.magnitudes[symbol])) | sign);
    }
    advanceTrellis(trellis, parity);
    return true;
}

inline fn advanceTrellis(trellis: *table.States, parity: u32) void {
    const s0, const s1, const s2 = trellis.bits;
    trellis.bits = .{ s0 ^ s1, s2 ^ parity, s0 };
}

/// Steps with escapes or low bits.
noinline fn decodeLevels(source: *Source, decoder: *const table.Decoder, trellis: *table.States, tokens: U16, escapes: u32, target: [*]f32) bool {
    const bits = &source.bits;
    var levels = tokens;
    if (escapes != 0) levels = readEscapes(bits, tokens, escapes) orelse return false;
    if (decoder.shift != 0) {
        levels <<= @splat(@intCast(decoder.shift));
        for (0..decoder.shift) |bit| {
            bits.fill();
            const set: B = @bitCast(bits.take(lanes));
            levels |= @select(u16, set, @as(U16, @splat(@as(u16, 1) << @intCast(bit))), @as(U16, @splat(0)));
        }
    }
    if (@reduce(.Max, levels) > table.level_max) return false;
    const nonzero: u32 = @bitCast(levels != @as(U16, @splat(0)));
    const parity: u32 = @bitCast((levels & @as(U16, @splat(1))) != @as(U16, @splat(0)));
    bits.fill();
    const signs = deposit(bits.take(@popCount(nonzero)), nonzero);
    inline for (0..2) |half| {
        const odd: u16 = @truncate(trellis.bits[0] >> (16 * half));
        const found = magnitudes(decoder, std.simd.extract(levels, half * 16, 16), odd);
        storeSigned(target + half * 16, found, @truncate(signs >> (16 * half)));
    }
    advanceTrellis(trellis, parity);
    return true;
}

/// Escaped levels in place of their tokens; null where one is too large to be right.
fn readEscapes(bits: *bit_stream.Reader, tokens: [lanes]u16, escapes: u32) ?U16 {
    var levels = tokens;
    var left = escapes;
    while (left != 0) : (left &= left - 1) {
        bits.fill();
        const length = bits.take(4);
        if (length == 0 or length > 10) return null;
        levels[@ctz(left)] = @intCast(bits.take(length - 1) | @as(u32, 1) << @intCast(length - 1));
    }
    return levels;
}

/// What levels stand for; `odd` has a bit for each lane.
pub inline fn magnitudes(decoder: *const table.Decoder, levels: @Vector(16, u16), odd: u16) F {
    const k: @Vector(16, i32) = levels;
    const is_odd: @Vector(16, bool) = @bitCast(odd);
    var offsets: F = undefined;
    inline for (0..3) |i| {
        const here = @select(f32, is_odd, @as(F, @splat(decoder.offsets[1][i])), @as(F, @splat(decoder.offsets[0][i])));
        offsets = if (i == 0) here else @select(f32, k > @as(@Vector(16, i32), @splat(i)), here, offsets);
    }
    const places: F = @floatFromInt(k + k - @select(i32, is_odd, @as(@Vector(16, i32), @splat(1)), @as(@Vector(16, i32), @splat(0))));
    const found = (places + offsets) * @as(F, @splat(decoder.step)) * @as(F, @splat(decoder.unit));
    const most: F = @splat(std.math.floatMax(f32));
    return @select(f32, k == @as(@Vector(16, i32), @splat(0)), @as(F, @splat(0)), @select(f32, found > most, most, found));
}

inline fn storeSigned(target: [*]f32, found: F, signs: u16) void {
    const negative: @Vector(16, bool) = @bitCast(signs);
    target[0..16].* = @select(f32, negative, -found, found);
}

inline fn decodeVector(source: *Source, decoder: *const table.Decoder, trellis: *table.States, low: *U32, high: *U32, target: [*]f32) bool {
    const cumulative: U16 = decoder.cumulative;
    const odd: B = @bitCast(trellis.bits[0]);
    const slot_mask = splat(table.frequency_one - 1);
    const slots_low = low.* & slot_mask;
    const slots_high = high.* & slot_mask;
    const slots: U16 = std.simd.join(@as(@Vector(16, u16), @truncate(slots_low)), @as(@Vector(16, u16), @truncate(slots_high)));
    var symbol = @select(u16, odd, @as(U16, @splat(16)), @as(U16, @splat(0)));
    inline for (.{ 8, 4, 2, 1 }) |stride| {
        const next = symbol + @as(U16, @splat(stride));
        symbol = @select(u16, slots >= lookupWords(next, cumulative), next, symbol);
    }
    const frequencies = lookupWords(symbol, decoder.frequencies);
    const rests = slots - lookupWords(symbol, cumulative);
    var x_low = @as(U32, std.simd.extract(frequencies, 0, 16)) * (low.* >> @splat(12)) + @as(U32, std.simd.extract(rests, 0, 16));
    var x_high = @as(U32, std.simd.extract(frequencies, 16, 16)) * (high.* >> @splat(12)) + @as(U32, std.simd.extract(rests, 16, 16));
    const least = splat(table.state_least);
    const few_low = x_low < least;
    const few_high = x_high < least;
    const few = @as(u32, @as(u16, @bitCast(few_high))) << 16 | @as(u16, @bitCast(few_low));
    const count = @popCount(few);
    if (count > source.words.len) return false;
    const words = expand(loadFirst(source.words.ptr, count), few);
    source.words = source.words[count..];
    x_low = @select(u32, few_low, x_low << @splat(16) | @as(U32, std.simd.extract(words, 0, 16)), x_low);
    x_high = @select(u32, few_high, x_high << @splat(16) | @as(U32, std.simd.extract(words, 16, 16)), x_high);
    low.* = x_low;
    high.* = x_high;

    const tokens = symbol & @as(U16, @splat(15));
    const escapes: u32 = @bitCast(tokens == @as(U16, @splat(table.escape)));
    if (escapes != 0 or decoder.shift != 0) return decodeLevels(source, decoder, trellis, tokens, escapes, target);
    const nonzero: u32 = @bitCast(tokens != @as(U16, @splat(0)));
    const parity: u32 = @bitCast((symbol & @as(U16, @splat(1))) != @as(U16, @splat(0)));
    source.bits.fill();
    const signs = deposit(source.bits.take(@popCount(nonzero)), nonzero);
    const entries: [2]F = .{ decoder.magnitudes[0..16].*, decoder.magnitudes[16..32].* };
    inline for (0..2) |half| {
        const found = lookup32Float(std.simd.extract(symbol, half * 16, 16), entries);
        storeSigned(target + half * 16, found, @truncate(signs >> (16 * half)));
    }
    advanceTrellis(trellis, parity);
    return true;
}
