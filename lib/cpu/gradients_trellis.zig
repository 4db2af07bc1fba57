//! Magnitudes of blocks, and the trellis-coded quantisation of gradients_entropy_table.zig.
//!
//! Per step and lane the trellis sees the magnitude in 2^-5 steps, the costs of the nearest level of
//! each of the four subsets (levels at n steps, n mod 4), and eight sums of costs, one for each state:
//!
//!     n mod 4:      0           1           2           3
//!     subset:    even, p=0   odd, p=1   even, p=1   odd, p=0     (p: parity of the level k = (n+1)/2)
//!
//! Zero belongs to both even levels of parity 0. State (s0', s1', s2') is reached from s0 = s2',
//! s1 = s0' ^ s2', and s2 = 0 or 1 with p = s1' ^ s2, so one bit a state says where its path came from,
//! and the path is found back 32 lanes at once, as words. Everything is integer arithmetic.
//!
//! Floor: some 115 vector instructions forward and 25 back for 32 values on AVX-512, two in a cycle at
//! best; on Zen 4 (two pipes for compares and shuffles) about 80 cycles.

const std = @import("std");
const table = @import("gradients_entropy_table.zig");

const lanes = table.lanes;
const I = @Vector(lanes, i16);
const B = @Vector(lanes, bool);
const F = @Vector(16, f32);
const steps_max = table.segment_steps;

/// What a level that does not exist costs.
const never: i16 = 16384;
/// What it costs to begin in another state than the lane's.
const elsewhere: i16 = 12000;
/// Zero is not considered above four steps.
const zero_max = 4 << table.fraction_bits;

inline fn splat(value: i16) I {
    return @splat(value);
}

inline fn mask(bits: u32) B {
    return @bitCast(bits);
}

pub fn measure(values: [*]const f32, blocks: usize, steps: u32, sums: [*]f32, largest: [*]f32) callconv(.c) void {
    for (0..blocks) |block| {
        var sum: F = @splat(0);
        var most: F = @splat(0);
        const first = values + block * steps * lanes;
        for (0..steps) |step| {
            inline for (0..2) |half| {
                const magnitudes: F = @abs(@as(F, first[step * lanes + half * 16 ..][0..16].*));
                sum += magnitudes;
                most = @select(f32, magnitudes > most, magnitudes, most);
            }
        }
        sums[block] = @import("vector16.zig").sum(sum);
        largest[block] = @reduce(.Max, most);
    }
}

/// Decisions of the forward pass at one step.
const Decisions = struct { from: [8]u32, zero_even: u32, zero_odd: u32 };

pub fn trellis(path: *table.Path) callconv(.c) void {
    var decisions: [steps_max]Decisions = undefined;
    const total = path.count * path.steps;
    var sums = startingSums(path.states);
    var step: u32 = 0;
    for (path.blocks[0..path.count], path.classes[0..path.count]) |block, class| {
        const first = path.values + @as(usize, block) * path.steps * lanes;
        const costs = &path.costs[class];
        for (0..path.steps) |i| {
            const magnitudes = fixed(first + i * lanes, path.factor, &path.signs[step]);
            path.levels[step * lanes ..][0..lanes].* = @bitCast(magnitudes);
            forward(&sums, magnitudes, costs, &decisions[step]);
            step += 1;
        }
    }
    path.states = best(sums);
    var states = path.states;
    while (step > 0) {
        step -= 1;
        back(&states, &decisions[step], path.levels + step * lanes, &path.quantizers[step]);
    }
    std.debug.assert(total <= steps_max);
}

/// Magnitudes in 2^-5 steps, cut off; the caller has seen to it that they fit.
inline fn fixed(values: [*]const f32, factor: f32, signs: *u32) I {
    var parts: [2]@Vector(16, i16) = undefined;
    var negative: [2]u16 = undefined;
    inline for (0..2) |half| {
        const vector: F = values[half * 16 ..][0..16].*;
        negative[half] = @bitCast(@as(@Vector(16, i32), @bitCast(vector)) < @as(@Vector(16, i32), @splat(0)));
        const scaled: @Vector(16, i32) = @intFromFloat(@abs(vector) * @as(F, @splat(factor)));
        parts[half] = @truncate(scaled);
    }
    signs.* = @as(u32, negative[1]) << 16 | negative[0];
    return std.simd.join(parts[0], parts[1]);
}

inline fn forward(sums: *[8]I, magnitudes: I, costs: *const table.Costs, decisions: *Decisions) void {
    const slope = splat(costs.slope);
    const one = splat(1 << table.fraction_bits);
    const rest = magnitudes & splat((1 << table.fraction_bits) - 1);
    const below = magnitudes >> @splat(table.fraction_bits);
    // Costs of the levels at below - 1, below, below + 1 and below + 2 steps.
    var near: [4]I = undefined;
    near[0] = square(rest + one) -% slope;
    near[1] = square(rest);
    near[2] = square(one - rest) +% slope;
    near[3] = square(one + one - rest) +% slope +% slope;
    near[0] = @select(i16, below < splat(2), splat(never), near[0]);
    near[1] = @select(i16, below < splat(1), splat(never), near[1]);
    // From places to residues: the one at below - 1 has (below - 1) mod 4.
    const turn_one = (below & splat(1)) != splat(0);
    const turn_two = (below & splat(2)) != splat(0);
    var turned: [4]I = undefined;
    inline for (0..4) |i| turned[i] = @select(i16, turn_one, near[(i + 3) % 4], near[i]);
    var subsets: [4]I = undefined;
    inline for (0..4) |i| subsets[(i + 3) % 4] = @select(i16, turn_two, turned[(i + 2) % 4], turned[i]);
    subsets[1] +%= splat(costs.odd);
    subsets[3] +%= splat(costs.odd);
    // Zero, against the same base: what `below` steps would cost.
    const small = @min(magnitudes, splat(zero_max));
    const distance = square(small) -% slope *% (small >> @splat(table.fraction_bits));
    const zero_even = distance +% splat(costs.zero_even);
    const zero_odd = distance +% splat(costs.zero_odd);
    decisions.zero_even = @bitCast(zero_even < subsets[0]);
    decisions.zero_odd = @bitCast(zero_odd < subsets[3]);
    subsets[0] = @min(subsets[0], zero_even);
    subsets[3] = @min(subsets[3], zero_odd);

    var next: [8]I = undefined;
    inline for (0..8) |state| {
        const s0 = state & 1;
        const s1 = state >> 1 & 1;
        const s2 = state >> 2;
        const from = s2 | (s0 ^ s2) << 1;
        const low = sums[from] +| subsets[subsetOf(s2, s1)];
        const high = sums[from | 4] +| subsets[subsetOf(s2, s1 ^ 1)];
        decisions.from[state] = @bitCast(high < low);
        next[state] = @min(low, high);
    }
    // Only differences matter.
    sums[0] = splat(0);
    inline for (1..8) |state| sums[state] = next[state] -| next[0];
}

/// n mod 4 of the levels of a quantiser and parity.
inline fn subsetOf(comptime quantizer: u32, comptime parity: u32) u32 {
    return if (quantizer == 0) 2 * parity else 3 - 2 * parity;
}

inline fn square(x: I) I {
    return x *% x;
}

fn startingSums(states: table.States) [8]I {
    var sums: [8]I = undefined;
    inline for (0..8) |state| {
        var is: u32 = ~@as(u32, 0);
        inline for (states.bits, 0..) |bits, i| is &= if (state >> i & 1 == 1) bits else ~bits;
        sums[state] = @select(i16, mask(is), splat(0), splat(elsewhere));
    }
    return sums;
}

fn best(sums: [8]I) table.States {
    var least = sums[0];
    var states: table.States = .{};
    inline for (1..8) |state| {
        const is: u32 = @bitCast(sums[state] < least);
        least = @min(least, sums[state]);
        inline for (&states.bits, 0..) |*bits, i| bits.* = if (state >> i & 1 == 1) bits.* | is else bits.* & ~is;
    }
    return states;
}

/// Undoes one step of all paths: magnitudes become levels.
inline fn back(states: *table.States, decisions: *const Decisions, levels: [*]u16, quantizers: *u32) void {
    const s0, const s1, const s2 = states.bits;
    const from = choose(
        s2,
        choose(s1, choose(s0, decisions.from[7], decisions.from[6]), choose(s0, decisions.from[5], decisions.from[4])),
        choose(s1, choose(s0, decisions.from[3], decisions.from[2]), choose(s0, decisions.from[1], decisions.from[0])),
    );
    const quantizer = s2;
    const parity = s1 ^ from;
    const zero = ~parity & choose(quantizer, decisions.zero_odd, decisions.zero_even);
    quantizers.* = quantizer;
    states.bits = .{ s2, s0 ^ s2, from };

    const magnitudes: I = @bitCast(@as(@Vector(lanes, u16), levels[0..lanes].*));
    const first = (magnitudes >> @splat(table.fraction_bits)) - splat(1);
    const residues = @select(i16, mask(quantizer), @select(i16, mask(parity), splat(1), splat(3)), @select(i16, mask(parity), splat(2), splat(0)));
    const nearest = first + ((residues -% first) & splat(3));
    const found = (nearest + splat(1)) >> @splat(1);
    levels[0..lanes].* = @bitCast(@select(i16, mask(zero), splat(0), found));
}

inline fn choose(selector: u32, one: u32, zero: u32) u32 {
    return (selector & one) | (~selector & zero);
}
