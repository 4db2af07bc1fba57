//! Bits of places to the nibbles that rANS codes, and back; see gradients_places_table.zig.
//!
//! Floor on AVX-512 for the 128 places of a block: 12 instructions to cut them, besides the 50 that
//! encode them; 80 and a chain of some 100 cycles to decode them.

const std = @import("std");
const simd = @import("simd.zig");
const entropy = @import("gradients_entropy_table.zig");
const rans = @import("gradients_rans.zig");
const table = @import("gradients_places_table.zig");

const lanes = table.lanes;
const Half = @Vector(lanes / 2, u8);
const U16 = @Vector(lanes, u16);
const U32 = @Vector(16, u32);
const Words = @Vector(table.block_words, u64);

pub fn map(job: *const table.Map) callconv(.c) void {
    var density: table.Density = .ofClass(job.start);
    for (0..job.blocks) |block| {
        job.classes[block] = density.class() + @as(u8, @intCast(job.first_class));
        const words: Words = job.bits[block * table.block_words ..][0..table.block_words].*;
        const bytes: Half = @bitCast(words);
        const low = bytes & @as(Half, @splat(15));
        const high = bytes >> @splat(4);
        job.nibbles[block * lanes ..][0..lanes].* = std.simd.interlace(.{ low, high });
        density.follow(kept(words));
    }
}

inline fn kept(words: Words) u32 {
    return @as(u32, @popCount(words[0])) + @popCount(words[1]);
}

pub fn decode(job: *table.Decode) callconv(.c) u32 {
    const is_sound = if (simd.has_avx512) decodeVector(job) else decodeScalar(job);
    return @intFromBool(!is_sound);
}

fn decodeVector(job: *table.Decode) bool {
    var words = job.words[0..job.word_count];
    var low: U32 = job.states[0..16].*;
    var high: U32 = job.states[16..32].*;
    var density: table.Density = .ofClass(job.start);
    for (0..job.blocks) |block| {
        const model = &job.models[density.class()];
        const nibbles = rans.takeSymbols(&words, model.frequencies, model.cumulative, @splat(0), &low, &high) orelse return false;
        const pairs: U32 = @bitCast(nibbles);
        const bits: Words = @bitCast(@as(Half, @truncate(pairs | pairs >> @splat(12))));
        job.bits[block * table.block_words ..][0..table.block_words].* = bits;
        density.follow(kept(bits));
    }
    const least: U32 = @splat(entropy.state_least);
    return words.len == 0 and @reduce(.And, low == least) and @reduce(.And, high == least);
}

fn decodeScalar(job: *table.Decode) bool {
    var words = job.words[0..job.word_count];
    var density: table.Density = .ofClass(job.start);
    for (0..job.blocks) |block| {
        const model = &job.models[density.class()];
        var bits: Words = undefined;
        inline for (0..table.block_words) |word| {
            var value: u64 = 0;
            for (0..16) |i| {
                const nibble = takeNibble(&words, model, &job.states[word * 16 + i]) orelse return false;
                value |= @as(u64, nibble) << @intCast(4 * i);
            }
            bits[word] = value;
        }
        job.bits[block * table.block_words ..][0..table.block_words].* = bits;
        density.follow(kept(bits));
    }
    for (job.states) |state| if (state != entropy.state_least) return false;
    return words.len == 0;
}

inline fn takeNibble(words: *[]align(1) const u16, model: *const table.Model, state: *u32) ?u32 {
    const x = state.*;
    const slot: u16 = @intCast(x % entropy.frequency_one);
    var nibble: u32 = 0;
    inline for (.{ 8, 4, 2, 1 }) |stride| {
        nibble += if (slot >= model.cumulative[nibble + stride]) stride else 0;
    }
    var next = @as(u32, model.frequencies[nibble]) * (x / entropy.frequency_one) + slot - model.cumulative[nibble];
    if (next < entropy.state_least) {
        if (words.len == 0) return null;
        next = next << 16 | std.mem.littleToNative(u16, words.*[0]);
        words.* = words.*[1..];
    }
    state.* = next;
    return nibble;
}
