//! Bits of places to words of rANS, and back; see gradients_places_table.zig.
//!
//! Floor on AVX-512 for a nibble of each of 32 lanes: 30 instructions to cut it and to follow the means,
//! then 35 for each of its bits; to decode it, the same, and a chain of some 40 cycles for each bit.

const std = @import("std");
const simd = @import("simd.zig");
const entropy = @import("gradients_entropy_table.zig");
const rans = @import("gradients_rans.zig");
const table = @import("gradients_places_table.zig");

const lanes = table.lanes;
const Bytes = @Vector(lanes, u8);
const U16 = @Vector(lanes, u16);
const U32 = @Vector(16, u32);
const Words = @Vector(lanes, u64);
const B = @Vector(16, bool);
const Halves = [2]U32;

inline fn splat(value: u32) U32 {
    return @splat(value);
}

inline fn halves(bytes: Bytes) Halves {
    return .{ std.simd.extract(bytes, 0, 16), std.simd.extract(bytes, 16, 16) };
}

// ---- means ----

inline fn classesOf(means: U32) U32 {
    const floats: @Vector(16, f32) = @floatFromInt(@as(@Vector(16, i32), @bitCast(means)));
    return (@as(U32, @bitCast(floats)) >> @splat(22)) - splat(table.first_class);
}

inline fn follow(means: U32, nibbles: U32) U32 {
    const pairs = (nibbles & splat(5)) + (nibbles >> @splat(1) & splat(5));
    const kept = (pairs & splat(3)) + (pairs >> @splat(2));
    const next = means - (means >> @splat(table.mean_shift)) + (kept << @splat(table.mean_bits - 2 - table.mean_shift));
    return @max(next, splat(table.mean_least));
}

// ---- encoder ----

pub fn encode(job: *table.Encode) callconv(.c) usize {
    cut(job);
    var states: Halves = @splat(splat(entropy.state_least));
    var target = job.end;
    var step = 16 * job.lane_words;
    while (step > 0) {
        step -= 1;
        const classes = halves(job.classes[step * lanes ..][0..lanes].*);
        const nibbles = halves(job.nibbles[step * lanes ..][0..lanes].*);
        var entries: [2][2]U32 = undefined;
        var reciprocals: [2][2]U32 = undefined;
        inline for (0..2) |bit| inline for (0..2) |half| {
            entries[bit][half] = lookup(classes[half], &coders[bit].packed_frequencies);
            reciprocals[bit][half] = lookup(classes[half], &coders[bit].reciprocals);
        };
        inline for (.{ 3, 2, 1, 0 }) |bit| {
            var full: [2]B = undefined;
            var chosen: Halves = undefined;
            var factors: Halves = undefined;
            inline for (0..2) |half| {
                const is_kept = nibbles[half] & splat(1 << bit) != splat(0);
                chosen[half] = @select(u32, is_kept, entries[1][half], entries[0][half]);
                factors[half] = @select(u32, is_kept, reciprocals[1][half], reciprocals[0][half]);
                full[half] = states[half] >= (chosen[half] & splat(0x1fff)) << @splat(19);
            }
            target = put(target, states, full);
            inline for (0..2) |half| {
                states[half] = @select(u32, full[half], states[half] >> @splat(16), states[half]);
                states[half] = rans.advance(states[half], chosen[half], factors[half]);
            }
        }
    }
    job.states[0..16].* = states[0];
    job.states[16..32].* = states[1];
    return (@intFromPtr(job.end) - @intFromPtr(target)) / 2;
}

/// Fills in the nibbles and their classes.
fn cut(job: *table.Encode) void {
    var means: Halves = @splat(splat(job.mean));
    var step: usize = 0;
    for (0..job.lane_words) |place| {
        var all: [lanes]u64 = undefined;
        inline for (&all, 0..) |*word, lane| word.* = job.bits[lane * job.lane_words + place];
        var words: Words = all;
        for (0..16) |_| {
            const nibbles = @as(Bytes, @truncate(words)) & @as(Bytes, @splat(15));
            words >>= @splat(4);
            const found = halves(nibbles);
            job.nibbles[step * lanes ..][0..lanes].* = nibbles;
            inline for (0..2) |half| {
                job.classes[step * lanes + 16 * half ..][0..16].* = @as(@Vector(16, u8), @truncate(classesOf(means[half])));
                means[half] = follow(means[half], found[half]);
            }
            step += 1;
        }
    }
}

/// The low halves of states that are full, before what is there.
inline fn put(target: [*]u16, states: Halves, full: [2]B) [*]u16 {
    const mask = maskOf(full);
    const words: U16 = std.simd.join(@as(@Vector(16, u16), @truncate(states[0])), @as(@Vector(16, u16), @truncate(states[1])));
    const start = target - @popCount(mask);
    if (simd.has_avx512) {
        rans.storeFirst(start, rans.compress(words, mask), @popCount(mask));
        return start;
    }
    const all: [lanes]u16 = words;
    var left = mask;
    var next = start;
    while (left != 0) : (left &= left - 1) {
        next[0] = std.mem.nativeToLittle(u16, all[@ctz(left)]);
        next += 1;
    }
    return start;
}

inline fn maskOf(parts: [2]B) u32 {
    return @as(u32, @as(u16, @bitCast(parts[1]))) << 16 | @as(u16, @bitCast(parts[0]));
}

/// How a bit of each class is coded: ones lie below zeros.
const coders: [2]entropy.Coder = blk: {
    @setEvalBranchQuota(10_000);
    var all: [2]entropy.Coder = @splat(.{ .packed_frequencies = @splat(0), .reciprocals = @splat(0) });
    for (table.frequencies, 0..) |ones, class| {
        all[1].set(class, ones, 0);
        all[0].set(class, entropy.frequency_one - ones, ones);
    }
    break :blk all;
};

inline fn lookup(indices: U32, entries: *const [table.class_entries]u32) U32 {
    if (simd.has_avx512) return rans.lookup32(indices, .{ entries[0..16].*, entries[16..32].* });
    const places: [16]u32 = indices;
    var found: [16]u32 = undefined;
    inline for (&found, places) |*value, place| value.* = entries[place % table.class_entries];
    return found;
}

// ---- decoder ----

/// Returns 0, or 1 where the words are unsound.
pub fn decode(job: *table.Decode) callconv(.c) u32 {
    var source = job.words[0..job.word_count];
    var states: Halves = .{ job.states[0..16].*, job.states[16..32].* };
    var means: Halves = @splat(splat(job.mean));
    for (0..job.lane_words) |place| {
        var words: Words = @splat(0);
        for (0..16) |_| {
            var nibbles: Halves = @splat(splat(0));
            const ones: Halves = .{ lookup(classesOf(means[0]), &table.frequencies), lookup(classesOf(means[1]), &table.frequencies) };
            inline for (0..4) |bit| {
                var few: [2]B = undefined;
                inline for (0..2) |half| {
                    const slots = states[half] & splat(entropy.frequency_one - 1);
                    const is_kept = slots < ones[half];
                    const frequency = @select(u32, is_kept, ones[half], splat(entropy.frequency_one) - ones[half]);
                    const rests = @select(u32, is_kept, slots, slots -% ones[half]);
                    nibbles[half] |= @select(u32, is_kept, splat(1 << bit), splat(0));
                    states[half] = frequency * (states[half] >> @splat(entropy.frequency_bits)) + rests;
                    few[half] = states[half] < splat(entropy.state_least);
                }
                if (!take(&source, &states, few)) return 1;
            }
            const low: @Vector(16, u8) = @truncate(nibbles[0]);
            const high: @Vector(16, u8) = @truncate(nibbles[1]);
            // The first nibble ends up lowest.
            words = words >> @splat(4) | @as(Words, std.simd.join(low, high)) << @splat(60);
            inline for (0..2) |half| means[half] = follow(means[half], nibbles[half]);
        }
        const all: [lanes]u64 = words;
        inline for (all, 0..) |word, lane| job.bits[lane * job.lane_words + place] = word;
    }
    const least = splat(entropy.state_least);
    const is_sound = source.len == 0 and @reduce(.And, states[0] == least) and @reduce(.And, states[1] == least);
    return @intFromBool(!is_sound);
}

/// Feeds states that are low; false where there are too few words.
inline fn take(source: *[]align(1) const u16, states: *Halves, few: [2]B) bool {
    const mask = maskOf(few);
    const count = @popCount(mask);
    if (count > source.len) return false;
    if (simd.has_avx512) {
        const words = rans.expand(rans.loadFirst(source.ptr, count), mask);
        inline for (states, 0..) |*state, half| {
            const fed = state.* << @splat(16) | @as(U32, std.simd.extract(words, 16 * half, 16));
            state.* = @select(u32, few[half], fed, state.*);
        }
    } else if (mask != 0) {
        var all: [lanes]u32 = undefined;
        all[0..16].* = states[0];
        all[16..32].* = states[1];
        var left = mask;
        for (source.*[0..count]) |word| {
            const lane = @ctz(left);
            all[lane] = all[lane] << 16 | std.mem.littleToNative(u16, word);
            left &= left - 1;
        }
        states.* = .{ all[0..16].*, all[16..32].* };
    }
    source.* = source.*[count..];
    return true;
}
