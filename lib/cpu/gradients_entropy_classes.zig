//! From what quantised blocks look like to the classes and frequencies that code them.
//!
//! Blocks are sorted by their mean magnitude over the step, two classes an octave; these fine classes
//! are then joined, neighbours first, as long as the table that is saved is worth more than the bits
//! that less exact frequencies cost. Gradients whose blocks are all alike so end with one class, whose
//! sequence costs nothing.

const std = @import("std");
const Class = model_file.Class;
const frequencies_file = @import("gradients_frequencies.zig");
const model_file = @import("gradients_entropy_model.zig");
const table = @import("gradients_entropy_table.zig");

const Frequencies = frequencies_file.Frequencies;
const log2 = frequencies_file.log2;

/// Fine classes that are coded, from a mean magnitude of 2^-6 steps on; before them come zero and kept.
pub const fine_count = 28;
pub const all_count = table.class_coded + fine_count;
const least_octave = -6;

/// What a bit may cost, in squared steps: the slope of distortion over rate, a little below that of a
/// uniform quantiser (2 ln 2 / 12 times the square of two steps is 0.46, less the trellis's gain).
pub const lambda = 0.25;

/// A block none of whose values reaches so many steps is all zeros if their mean is below that.
const zero_below = 1.6;
const zero_mean = 0.3;

pub const levels = 512;

/// Where a block is to be zero whatever it holds.
pub const Cut = struct {
    sum: f32 = 0,
    index: usize = std.math.maxInt(usize),
};

/// The fine class of a block.
pub inline fn fineClass(sum: f32, largest: f32, index: usize, inverse: f32, steps: u32, cut: Cut) u8 {
    const most = largest * inverse;
    const mean = sum * inverse / @as(f32, @floatFromInt(steps * table.lanes));
    if ((most < zero_below and mean < zero_mean) or sum < cut.sum or (sum == cut.sum and index >= cut.index)) return table.class_zero;
    if (most >= table.magnitude_max) return table.class_kept;
    const octaves = @as(i32, @intCast(@as(u32, @bitCast(mean)) >> 22)) - 2 * (127 + least_octave);
    return @intCast(table.class_coded + std.math.clamp(octaves, 0, fine_count - 1));
}

/// Of quantised blocks of one fine class.
pub const Fine = struct {
    blocks: u32 = 0,
    /// Levels that occur are below this.
    above: u32 = 0,
    /// [quantiser * levels + level]: how often a level occurs, and in the lower bits the sum of the
    /// magnitudes that became it, in 2^-5 steps. Twice, for even and odd lanes: most are zero, and would
    /// wait for the one before.
    tallies: [2][2 * levels]u64 = undefined,
    /// Whether there is anything in the tallies: what never occurs costs no memory.
    is_begun: bool = false,
    /// The sum of the squares of all magnitudes, where it is wanted.
    squares: f64 = 0,

    pub const count_one = 1 << 40;

    pub fn begin(self: *Fine) void {
        if (!self.is_begun) self.tallies = @splat(@splat(0));
        self.is_begun = true;
        self.blocks += 1;
    }

    pub fn reset(self: *Fine) void {
        for (&self.tallies) |*tallies| {
            for (0..2) |quantizer| @memset(tallies[quantizer * levels ..][0..self.above], 0);
        }
        self.blocks = 0;
        self.above = 0;
        self.squares = 0;
    }

    pub fn count(self: *const Fine, quantizer: usize, level: usize) u64 {
        return self.tally(quantizer, level) / count_one;
    }

    fn tally(self: *const Fine, quantizer: usize, level: usize) u64 {
        const index = quantizer * levels + level;
        return self.tallies[0][index] + self.tallies[1][index];
    }

    /// The sum of what the magnitudes of a level are above its place.
    fn rest(self: *const Fine, quantizer: usize, level: usize) f64 {
        const both = self.tally(quantizer, level);
        const sum: i64 = @intCast(both % count_one);
        return @floatFromInt(sum - placeOf(quantizer, level) * @as(i64, @intCast(both / count_one)));
    }

    /// Squared steps between the values and what levels with the best offsets stand for.
    pub fn distortion(self: *const Fine) f64 {
        var total = self.squares;
        for (0..2) |quantizer| {
            var rests: [3]f64 = @splat(0);
            var counts: [3]f64 = @splat(0);
            for (1..@max(1, self.above)) |level| {
                const n: f64 = @floatFromInt(self.count(quantizer, level));
                const place: f64 = @floatFromInt(placeOf(quantizer, level));
                const over = self.rest(quantizer, level);
                // Of (magnitude - place)^2, all but the squares of the magnitudes.
                total -= place * (place * n + 2 * over);
                rests[@min(level, 3) - 1] += over;
                counts[@min(level, 3) - 1] += n;
            }
            for (rests, counts) |over, n| if (n > 0) {
                total -= over * over / n;
            };
        }
        return total / (1 << 2 * table.fraction_bits);
    }
};

/// Of a level, in 2^-5 steps.
fn placeOf(quantizer: usize, level: usize) i64 {
    return @intCast((2 * level - if (level == 0) 0 else quantizer) << table.fraction_bits);
}

/// Levels of fine classes together, with the weight that each has in the whole.
pub const Joined = struct {
    counts: [2][levels]f64 = @splat(@splat(0)),
    rests: [2][3]f64 = @splat(@splat(0)),
    above: u32 = 0,

    pub fn add(self: *Joined, fine: *const Fine, weight: f64) void {
        self.above = @max(self.above, fine.above);
        for (&self.counts, &self.rests, 0..) |*counts, *rests, quantizer| {
            for (counts[0..fine.above], 0..) |*count, level| {
                count.* += weight * @as(f64, @floatFromInt(fine.count(quantizer, level)));
                if (level > 0) rests[@min(level, 3) - 1] += weight * fine.rest(quantizer, level);
            }
        }
    }

    /// The class that codes them best, and the bits that it takes with its table.
    pub fn class(self: *const Joined) struct { Class, f64 } {
        var result: Class = .{ .tokens = undefined };
        result.shift = self.bestShift();
        var bits: f64 = 0;
        for (0..2) |quantizer| {
            const tokens, const plain = self.tokensOf(quantizer, @intCast(result.shift));
            result.tokens[quantizer] = .init(&tokens);
            bits += plain + result.tokens[quantizer].cost(&tokens);
            for (0..3) |i| result.offsets[quantizer][i] = self.offset(quantizer, i);
        }
        return .{ result, bits + model_file.classSize(&result) };
    }

    /// The least that leaves all but one in 32 levels with a token of their own.
    fn bestShift(self: *const Joined) u32 {
        var total: f64 = 0;
        for (self.counts) |counts| {
            for (counts[0..self.above]) |count| total += count;
        }
        var shift: u4 = 0;
        while (shift < 8) : (shift += 1) {
            const limit = @as(usize, table.escape) << shift;
            var beyond: f64 = 0;
            for (self.counts) |counts| {
                if (limit < self.above) for (counts[limit..self.above]) |count| {
                    beyond += count;
                };
            }
            if (beyond * 32 <= total) break;
        }
        return shift;
    }

    /// Weights of the tokens, and the plain bits that come with them.
    fn tokensOf(self: *const Joined, quantizer: usize, shift: u4) struct { [16]f64, f64 } {
        var tokens: [16]f64 = @splat(0);
        var plain: f64 = 0;
        for (self.counts[quantizer][0..self.above], 0..) |count, level| {
            if (count == 0) continue;
            const value = level >> shift;
            tokens[@min(value, table.escape)] += count;
            plain += count * @as(f64, @floatFromInt(shift + @intFromBool(level != 0)));
            if (value >= table.escape) plain += count * @as(f64, @floatFromInt(4 + std.math.log2_int(usize, value)));
        }
        // Tokens below the last one exist, and so does the escape: the levels of all gradients are
        // only guessed from some.
        var last: usize = 14;
        while (last > 0 and tokens[last] == 0) last -= 1;
        for (tokens[0 .. last + 1]) |*token| token.* = @max(token.*, 0.25);
        tokens[table.escape] = @max(tokens[table.escape], 0.25);
        return .{ tokens, plain };
    }

    /// In 1/64 steps; magnitudes were cut off, by half a unit on average.
    fn offset(self: *const Joined, quantizer: usize, index: usize) i8 {
        var count: f64 = 0;
        const counts = &self.counts[quantizer];
        if (index < 2) count = counts[index + 1] else for (counts[3..@max(3, self.above)]) |one| {
            count += one;
        }
        if (count == 0) return 0;
        return @intFromFloat(std.math.clamp(@round(2 * self.rests[quantizer][index] / count + 1), -128, 127));
    }
};

/// How often a fine class follows another.
pub const Transitions = [all_count][all_count]u32;

/// Fine classes to classes.
pub const Map = [all_count]u8;

/// Joins fine classes, and fills in the model's classes. `weights` say how many blocks each sampled one
/// stands for. Returns the bits of symbols, plain bits, class sequence and tables.
pub fn join(model: *model_file.Model, fine: *const [fine_count]Fine, weights: *const [fine_count]f64, transitions: *const Transitions, map: *Map) f64 {
    var groups: Groups = .{ .fine = fine, .weights = weights };
    groups.init(transitions);
    while (groups.count > 1) if (!groups.joinBest()) break;
    for (map, 0..) |*class, index| class.* = if (index < table.class_coded) @intCast(index) else groups.classOf(index - table.class_coded);
    model.count = groups.count;
    var bits: f64 = 0;
    for (model.classes[0..groups.count], groups.items[0..groups.count]) |*class, *group| {
        class.* = group.class;
        bits += group.bits;
    }
    for (0..model.classCount()) |before| {
        model.following[before] = .init(groups.following[before][0..model.classCount()]);
        bits += model.following[before].cost(groups.following[before][0..model.classCount()]);
        bits += model.following[before].size(model.classCount());
    }
    return bits;
}

const Group = struct { from: usize, to: usize, class: Class, bits: f64 };

const Groups = struct {
    fine: *const [fine_count]Fine,
    weights: *const [fine_count]f64,
    count: u32 = 0,
    items: [fine_count]Group = undefined,
    /// Item i joined with the one after it.
    pairs: [fine_count]Group = undefined,
    following: [all_count][all_count]f64 = @splat(@splat(0)),

    fn init(self: *Groups, transitions: *const Transitions) void {
        var index: Map = @splat(0);
        index[table.class_kept] = table.class_kept;
        var from: usize = 0;
        for (self.fine, 0..) |*fine, i| {
            if (fine.blocks == 0) continue;
            self.items[self.count] = self.group(from, i + 1);
            self.count += 1;
            from = i + 1;
        }
        // Classes that were not sampled go with the one above, the last ones with the one below.
        if (self.count > 0) self.items[self.count - 1].to = fine_count;
        for (0..fine_count) |i| index[table.class_coded + i] = if (self.count == 0) table.class_kept else self.classOf(i);
        for (transitions, 0..) |row, before| {
            for (row, 0..) |count, after| self.following[index[before]][index[after]] += @floatFromInt(count);
        }
        for (0..self.count -| 1) |i| self.pairs[i] = self.group(self.items[i].from, self.items[i + 1].to);
    }

    fn group(self: *Groups, from: usize, to: usize) Group {
        var joined: Joined = .{};
        for (self.fine[from..to], self.weights[from..to]) |*fine, weight| joined.add(fine, weight);
        const class, const bits = joined.class();
        return .{ .from = from, .to = to, .class = class, .bits = bits };
    }

    fn classOf(self: *const Groups, fine: usize) u8 {
        for (self.items[0..self.count], 0..) |*item, i| {
            if (fine < item.to) return @intCast(table.class_coded + i);
        }
        return table.class_kept;
    }

    /// Joins the two neighbours that gain most; false where none do and the classes are few enough.
    fn joinBest(self: *Groups) bool {
        const now = self.sequenceBits(null);
        var best: usize = 0;
        var best_gain = -std.math.inf(f64);
        for (0..self.count - 1) |i| {
            const gain = self.items[i].bits + self.items[i + 1].bits - self.pairs[i].bits + now - self.sequenceBits(i);
            if (gain <= best_gain) continue;
            best_gain = gain;
            best = i;
        }
        if (best_gain <= 0 and self.count <= model_file.coded_max) return false;
        self.joinAt(best);
        return true;
    }

    fn joinAt(self: *Groups, at: usize) void {
        const classes = table.class_coded + self.count;
        const class = table.class_coded + at;
        for (self.following[0..classes]) |*row| {
            row[class] += row[class + 1];
            std.mem.copyForwards(f64, row[class + 1 .. classes - 1], row[class + 2 .. classes]);
        }
        for (0..classes - 1) |after| self.following[class][after] += self.following[class + 1][after];
        for (class + 1..classes - 1) |row| self.following[row] = self.following[row + 1];
        for (self.following[0..classes]) |*row| row[classes - 1] = 0;
        self.following[classes - 1] = @splat(0);
        self.items[at] = self.pairs[at];
        std.mem.copyForwards(Group, self.items[at + 1 .. self.count - 1], self.items[at + 2 .. self.count]);
        if (at + 2 < self.count) std.mem.copyForwards(Group, self.pairs[at .. self.count - 2], self.pairs[at + 1 .. self.count - 1]);
        self.count -= 1;
        if (at + 1 < self.count) self.pairs[at] = self.group(self.items[at].from, self.items[at + 1].to);
        if (at > 0) self.pairs[at - 1] = self.group(self.items[at - 1].from, self.items[at].to);
    }

    /// Bits of the sequence of classes and its tables, with item `joined` and the next as one.
    fn sequenceBits(self: *const Groups, joined: ?usize) f64 {
        const classes = table.class_coded + self.count;
        const skipped = if (joined) |i| table.class_coded + i + 1 else classes;
        var bits: f64 = 0;
        for (0..classes) |before| {
            if (before == skipped) continue;
            var total: f64 = 0;
            var kinds: f64 = 0;
            for (0..classes) |after| {
                if (after == skipped) continue;
                var weight = self.following[before][after];
                if (after + 1 == skipped) weight += self.following[before][skipped];
                if (before + 1 == skipped) {
                    weight += self.following[skipped][after];
                    if (after + 1 == skipped) weight += self.following[skipped][skipped];
                }
                if (weight == 0) continue;
                total += weight;
                kinds += 1;
                bits -= weight * log2(weight);
            }
            if (total > 0) bits += total * log2(total);
            bits += @floatFromInt(classes - @intFromBool(joined != null));
            if (kinds > 1) bits += 4 + 7 * (kinds - 1);
        }
        return bits;
    }
};
