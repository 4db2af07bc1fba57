//! The choice of the next token.
//!
//! Greedy, or by chance from softmax(logits / temperature), cut to the `top_k` likeliest tokens and
//! then to the fewest of those that together reach `top_p`. Equal logits rank by id, lowest first.
//! The chance comes from Philox4x32-10, whose counter is the step: a seed gives the same text on
//! every tier and thread count, and a step can be repeated.
//!
//! A vocabulary of 128 thousand is never sorted. For few tokens it is cut into groups: as many groups'
//! largest logits as tokens are wanted are a bound that no other token of the wanted ones is below,
//! and only what reaches it is sorted. For many a histogram over the logits tells how far down the
//! wanted rank is.

const std = @import("std");
const abi = @import("../abi.zig");
const nn_table = @import("../cpu/nn_table.zig");
const philox = @import("../philox.zig");

pub const Options = struct {
    /// 0 is greedy.
    temperature: f32,
    /// 0 is all.
    top_k: u32,
    /// 1 is all.
    top_p: f64,
    seed: u64,
    step: u64,
};

pub const Choice = struct {
    id: u32,
    /// Under the softmax of the logits as they are.
    log_probability: f64,
};

/// Elements of scratch that `choose` needs.
pub fn scratchLength(vocab: usize) usize {
    return vocab + vocab / group_logits + 1;
}

/// The log of the sum of e^x: f32 exponentials, added in f64.
pub fn logSumExp(nn: *const nn_table.Kernels, logits: []const f32) f64 {
    return logSumExpBelow(nn, logits, largestOf(logits).value);
}

fn logSumExpBelow(nn: *const nn_table.Kernels, logits: []const f32, most: f32) f64 {
    return most + @log(nn.sum_exp(logits.ptr, @intCast(logits.len), most, 1));
}

pub fn choose(nn: *const nn_table.Kernels, logits: []const f32, options: Options, scratch: []u64) abi.Failure!Choice {
    const best = try findBest(logits);
    const id = if (options.temperature == 0) best else sample(nn, logits, best, options, scratch);
    return .{ .id = id, .log_probability = @as(f64, logits[id]) - logSumExpBelow(nn, logits, logits[best]) };
}

/// The id of the largest logit, the lowest where several are.
fn findBest(logits: []const f32) abi.Failure!u32 {
    if (logits.len == 0) return abi.fail(error.InvalidLength, "Expected at least 1 logit, got none", .{});
    const largest = largestOf(logits);
    if (!largest.is_usable) for (logits, 0..) |logit, index| {
        if (!(logit < std.math.inf(f32)))
            return abi.fail(error.InvalidValue, "Expected logits without NaN and infinity, got {d} at index {d}", .{ logit, index });
    };
    if (largest.value == -std.math.inf(f32))
        return abi.fail(error.InvalidValue, "Expected a finite logit, got -inf for all {d}", .{logits.len});
    return @intCast(indexOf(logits, largest.value));
}

const width = 16;
const Lanes = @Vector(width, f32);

/// The largest logit, and whether all are below infinity, which NaN is not.
fn largestOf(logits: []const f32) struct { value: f32, is_usable: bool } {
    const infinity: Lanes = @splat(std.math.inf(f32));
    var most: Lanes = @splat(-std.math.inf(f32));
    var usable: @Vector(width, bool) = @splat(true);
    var i: usize = 0;
    while (i + width <= logits.len) : (i += width) {
        const lanes: Lanes = logits[i..][0..width].*;
        most = @select(f32, lanes > most, lanes, most);
        usable = @select(bool, lanes < infinity, usable, @as(@Vector(width, bool), @splat(false)));
    }
    var value = @reduce(.Max, most);
    var is_usable = @reduce(.And, usable);
    for (logits[i..]) |logit| {
        if (logit > value) value = logit;
        is_usable = is_usable and logit < std.math.inf(f32);
    }
    return .{ .value = value, .is_usable = is_usable };
}

/// The first place of a value; 0 where another thread has changed it meanwhile.
fn indexOf(logits: []const f32, value: f32) usize {
    const wanted: Lanes = @splat(value);
    var i: usize = 0;
    while (i + width <= logits.len) : (i += width) {
        if (@reduce(.Or, @as(Lanes, logits[i..][0..width].*) == wanted)) break;
    }
    while (i < logits.len) : (i += 1) if (logits[i] == value) return i;
    return 0;
}

fn sample(nn: *const nn_table.Kernels, logits: []const f32, best: u32, options: Options, scratch: []u64) u32 {
    const most = logits[best];
    const chance = philox.uniform(options.seed, options.step);
    // The largest finite f32 bounds the inverse, because 0 times infinity has no value.
    const scale = @min(1 / options.temperature, std.math.floatMax(f32));
    const softmax: Softmax = .{ .nn = nn, .logits = logits, .most = most, .scale = scale };
    const is_cut = options.top_k > 0 and options.top_k < logits.len;
    if (!is_cut and options.top_p >= 1) return softmax.pickFromAll(chance);

    var ranked: []u64 = &.{};
    var total: f64 = 0;
    if (is_cut) {
        ranked = rank(logits, most, options.top_k, scratch);
        for (ranked) |key| total += softmax.weight(logits[idOf(key)]);
    } else {
        total = nn.sum_exp(logits.ptr, @intCast(logits.len), most, scale);
    }
    if (options.top_p < 1) {
        const wanted = total * options.top_p;
        var most_ranked: usize = if (is_cut) ranked.len else @min(logits.len, 64);
        while (true) {
            if (!is_cut) ranked = rank(logits, most, most_ranked, scratch);
            var sum: f64 = 0;
            const reached = for (ranked, 1..) |key, kept| {
                sum += softmax.weight(logits[idOf(key)]);
                if (sum >= wanted) break kept;
            } else 0;
            if (reached > 0) ranked = ranked[0..reached];
            if (reached > 0 or ranked.len < most_ranked or most_ranked == logits.len or is_cut) {
                total = sum;
                break;
            }
            most_ranked = @min(logits.len, most_ranked * 8);
        }
    }
    // Another thread may have changed the logits since the best was found.
    if (ranked.len == 0) return best;
    return softmax.pickFrom(ranked, total * chance);
}

const Softmax = struct {
    nn: *const nn_table.Kernels,
    logits: []const f32,
    most: f32,
    scale: f32,

    /// Not normalised. The difference is taken as the kernel takes it.
    fn weight(self: Softmax, logit: f32) f64 {
        return @exp(@as(f64, (logit - self.most) * self.scale));
    }

    /// Walks the ranked tokens until the weights pass the target.
    fn pickFrom(self: Softmax, ranked: []const u64, target: f64) u32 {
        var sum: f64 = 0;
        for (ranked) |key| {
            sum += self.weight(self.logits[idOf(key)]);
            if (sum > target) return idOf(key);
        }
        return idOf(ranked[ranked.len - 1]);
    }

    /// Walks all tokens by id, in strides of which only the last is walked one by one.
    fn pickFromAll(self: Softmax, chance: f64) u32 {
        const stride = 1024;
        const target = self.sumOf(0, self.logits.len) * chance;
        var before: f64 = 0;
        var start: usize = 0;
        // The last stride that holds any weight, and how much the ones before hold.
        var chosen: usize = 0;
        var chosen_before: f64 = 0;
        while (start < self.logits.len) : (start += stride) {
            const part = self.sumOf(start, @min(stride, self.logits.len - start));
            if (part > 0) {
                chosen = start;
                chosen_before = before;
            }
            before += part;
            if (before > target) break;
        }
        return self.pickWithin(chosen, @min(stride, self.logits.len - chosen), target - chosen_before);
    }

    fn pickWithin(self: Softmax, start: usize, count: usize, target: f64) u32 {
        var within: f64 = 0;
        var last = start;
        for (self.logits[start..][0..count], start..) |logit, id| {
            const share = self.weight(logit);
            if (share > 0) last = id;
            within += share;
            if (within > target) break;
        }
        return @intCast(last);
    }

    fn sumOf(self: Softmax, start: usize, count: usize) f64 {
        return self.nn.sum_exp(self.logits.ptr + start, @intCast(count), self.most, self.scale);
    }
};

/// A logit and its id as one number that sorts by falling logit and rising id.
fn keyOf(logit: f32, id: usize) u64 {
    // Adding zero makes -0 equal to 0.
    const bits: u32 = @bitCast(logit + 0);
    // Negative floats sort backwards, and all below the positive ones.
    const rising = if (bits >> 31 == 0) bits | 0x8000_0000 else ~bits;
    return @as(u64, ~rising) << 32 | id;
}

fn idOf(key: u64) u32 {
    return @truncate(key);
}

const bins = 2048;
/// Tokens this far below the best share the last bin; more would make the bins coarse.
const range_max = 256;

const group_logits = 128;

/// The `count` largest logits above -inf, best first.
fn rank(logits: []const f32, most: f32, count: usize, scratch: []u64) []u64 {
    const many = count > logits.len / group_logits / 2;
    const found = if (many) collectByHistogram(logits, most, count, scratch) else collectByGroups(logits, count, scratch);
    std.mem.sortUnstable(u64, found, {}, std.sort.asc(u64));
    return found[0..@min(found.len, count)];
}

/// At least the `count` largest, in any order, by the bound that the groups' largest are. There must
/// be more groups than `count`.
fn collectByGroups(logits: []const f32, count: usize, scratch: []u64) []u64 {
    const groups = scratch[logits.len..][0 .. (logits.len + group_logits - 1) / group_logits];
    for (groups, 0..) |*key, group| {
        key.* = keyOf(largestOf(groupOf(logits, group)).value, group);
    }
    std.mem.sortUnstable(u64, groups, {}, std.sort.asc(u64));
    const bound = largestOf(groupOf(logits, idOf(groups[count - 1]))).value;
    var found: usize = 0;
    for (groups, 0..) |key, order| {
        const group = idOf(key);
        const values = groupOf(logits, group);
        // Equal groups may follow the last one that is needed.
        if (order >= count and largestOf(values).value < bound) break;
        for (values, group * group_logits..) |logit, id| {
            if (logit < bound or logit == -std.math.inf(f32)) continue;
            scratch[found] = keyOf(logit, id);
            found += 1;
        }
    }
    return scratch[0..found];
}

fn groupOf(logits: []const f32, group: usize) []const f32 {
    return logits[group * group_logits .. @min((group + 1) * group_logits, logits.len)];
}

/// The same for any `count`.
fn collectByHistogram(logits: []const f32, most: f32, count: usize, scratch: []u64) []u64 {
    var least = most;
    for (logits) |logit| if (logit < least and logit >= most - range_max) {
        least = logit;
    };
    const scale: f32 = if (most > least) (bins - 2) / (most - least) else 1;
    var histogram: [bins]u32 = @splat(0);
    for (logits) |logit| histogram[binOf(logit, most, scale)] += 1;
    var last: usize = 0;
    var above: usize = histogram[0];
    while (above < count and last + 1 < bins) {
        last += 1;
        above += histogram[last];
    }
    var found: usize = 0;
    for (logits, 0..) |logit, id| {
        if (logit == -std.math.inf(f32) or binOf(logit, most, scale) > last) continue;
        scratch[found] = keyOf(logit, id);
        found += 1;
    }
    return scratch[0..found];
}

/// Falls as the logit rises, never the other way round.
fn binOf(logit: f32, most: f32, scale: f32) usize {
    const bin = (most - logit) * scale;
    // Also where nothing but the best is finite and the product has no value.
    return if (bin < bins - 1) @intFromFloat(@max(bin, 0)) else bins - 1;
}
