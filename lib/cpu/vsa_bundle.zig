//! Bundling: the sign of the sum of vectors, trit by trit.
//!
//! Up to 112 vectors are counted as bits in registers (vsa_sums.zig), more in memory for a stretch of
//! lanes at a time. Digit by digit from the lowest,
//!
//!     above = majority(digit, above, not the limit's digit)
//!
//! then compares all counters with a limit. Weighted sums are f64, one for each trit, in the order of
//! the vectors: exact for integers, and the same on every tier.
//!
//! Floor on AVX-512 for K vectors and 512 trits: 128 K bytes read and 4 K instructions. On Zen 4, 2 K
//! cycles from the first cache, 4 K from the second, which gives 32 bytes a cycle. 10,000 trits take
//! 42 ns for 3 vectors (its floor is 32), 370 ns for 16 and 1.46 us for 64 (1.38): no slower than only
//! reading them.

const sums = @import("vsa_sums.zig");
const table = @import("vsa_table.zig");

const Lane = sums.Lane;
const lane_words = sums.lane_words;
const none: Lane = @splat(0);
const all = ~none;

const Planes = struct { nonzero: Lane, negative: Lane };

pub fn bundle(job: *const table.Bundle, from: usize, to: usize) callconv(.c) void {
    const count = job.sources.count;
    if (job.weights) |weights| return weighted(job, weights, from, to);
    // No sum is larger than the count.
    if (job.threshold >= count) {
        @memset(job.out[from..to], 0);
        @memset(job.out[job.words + from .. job.words + to], 0);
        return;
    }
    if (job.threshold == 0 and count == 2) return few(2, job, from, to);
    if (job.threshold == 0 and count == 3) return few(3, job, from, to);
    if (job.threshold == 0)
        inline for (1..sums.group_max + 1) |n| if (count == n) return inRegisters(n, job, from, to);
    if (job.threshold == 0 and count <= sums.block_max) return inBlock(job, from, to);
    const limits: Limits = .init(count, job.threshold);
    const target: Target = .init(job);
    var counters: sums.Counters = undefined;
    var start = from;
    while (start < to) : (start += sums.stretch * lane_words) {
        const end = @min(start + sums.stretch * lane_words, to);
        counters.run(&job.sources, job.words, start, end);
        for (0..(end - start) / lane_words) |lane|
            target.finish(start + lane * lane_words, limits.compare(counters.of(lane)));
    }
}

/// Two or three vectors, from the sums of their planes: that of the nonzero ones is `one` + 2 `two`.
fn few(comptime n: usize, job: *const table.Bundle, from: usize, to: usize) void {
    const sources = sums.vectorsOf(n, &job.sources, 0);
    const target: Target = .init(job);
    var i = from;
    while (i < to) : (i += lane_words) {
        var nonzero: [3]Lane = @splat(none);
        var negative: [3]Lane = @splat(none);
        inline for (sources, 0..) |source, index| {
            nonzero[index] = sums.load(source + i);
            negative[index] = sums.load(source + target.words + i);
        }
        const one, const two = sums.count3(nonzero);
        const one_negative, const two_negative = sums.count3(negative);
        target.finish(i, .{
            .nonzero = one | (two ^ one_negative),
            .negative = two_negative | (one_negative & ~two),
        });
    }
}

/// Up to `group_max` vectors, whose counters never leave the registers.
fn inRegisters(comptime n: usize, job: *const table.Bundle, from: usize, to: usize) void {
    const sources = sums.vectorsOf(n, &job.sources, 0);
    const target: Target = .init(job);
    var i = from;
    while (i < to) : (i += lane_words) {
        var digits: [sums.digitsOf(n)]Lane = undefined;
        _ = sums.add(n, .fresh, &sources, target.words, i, &digits);
        // The counter is n - sum: compared with n, whose digits are known.
        var reaches = all;
        var above = none;
        inline for (digits, 0..) |digit, level| {
            reaches = if (n >> level & 1 == 1) digit & reaches else digit | reaches;
            above = if (n >> level & 1 == 1) digit & above else digit | above;
        }
        target.finish(i, .{ .nonzero = ~reaches | above, .negative = above });
    }
}

/// Up to `block_max` vectors. The counters start so high that a sum of zero ends with all digits but the
/// last set, and only a negative one with that.
fn inBlock(job: *const table.Bundle, from: usize, to: usize) void {
    const top = sums.block_digits - 1;
    comptime if (2 * sums.block_max >= 1 << sums.block_digits or sums.block_max >= 1 << top) unreachable;
    var block: sums.Block = undefined;
    block.init(&job.sources, 0, (1 << top) - 1 - job.sources.count);
    const target: Target = .init(job);
    var i = from;
    while (i < to) : (i += lane_words) {
        const digits = block.sum(target.words, i);
        var ones = digits[0];
        for (digits[1..top]) |digit| ones &= digit;
        target.finish(i, .{ .nonzero = digits[top] | ~ones, .negative = digits[top] });
    }
}

/// The digits of `count` - `threshold` and `count` + `threshold`, complemented.
const Limits = struct {
    low: [34]u64,
    high: [34]u64,

    fn init(count: usize, threshold: usize) Limits {
        var limits: Limits = undefined;
        for (&limits.low, &limits.high, 0..) |*low, *high, digit| {
            low.* = if ((count - threshold) >> @intCast(digit) & 1 == 1) 0 else ~@as(u64, 0);
            high.* = if ((count + threshold) >> @intCast(digit) & 1 == 1) 0 else ~@as(u64, 0);
        }
        return limits;
    }

    /// Positive where the counter, which is count - sum, is below the low limit, negative where it is
    /// above the high one.
    inline fn compare(self: *const Limits, digits: []const Lane) Planes {
        var reaches: Lane = all;
        var above: Lane = none;
        for (digits, 0..) |digit, i| {
            reaches = sums.majority(digit, reaches, @splat(self.low[i]));
            above = sums.majority(digit, above, @splat(self.high[i]));
        }
        return .{ .nonzero = ~reaches | above, .negative = above };
    }
};

/// Where lanes of a result go. A copy of what the job says: a result could be the job itself for all
/// that the compiler knows.
const Target = struct {
    out: table.Target,
    words: usize,
    /// Whose trits take the place of sums of zero.
    first: ?table.Vector,

    fn init(job: *const table.Bundle) Target {
        return .{ .out = job.out, .words = job.words, .first = if (job.first_ties != 0) job.sources.at(0) else null };
    }

    /// The first source is read before the lane is written, as it may be where the result goes.
    inline fn finish(self: *const Target, i: usize, planes: Planes) void {
        var result = planes;
        if (self.first) |first| {
            result.negative |= sums.load(first + self.words + i) & ~planes.nonzero;
            result.nonzero |= sums.load(first + i);
        }
        sums.store(self.out + i, result.nonzero);
        sums.store(self.out + self.words + i, result.negative);
    }
};

fn weighted(job: *const table.Bundle, weights: [*]const f32, from: usize, to: usize) void {
    const Sums = @Vector(8, f64);
    const Mask = @Vector(8, bool);
    const threshold: Sums = @splat(@floatFromInt(job.threshold));
    for (from..to) |word| {
        var totals: [8]Sums = @splat(@splat(0));
        for (0..job.sources.count) |index| {
            const source = job.sources.at(index);
            const weight: Sums = @splat(weights[index]);
            // Byte by byte from memory: masks need not come out of one register then.
            const nonzero: [*]const u8 = @ptrCast(source + word);
            const negative: [*]const u8 = @ptrCast(source + job.words + word);
            inline for (&totals, 0..) |*total, byte| {
                const some: Mask = @bitCast(nonzero[byte]);
                const minus: Mask = @bitCast(negative[byte]);
                total.* = @select(f64, some, total.* + @select(f64, minus, -weight, weight), total.*);
            }
        }
        var nonzero: u64 = 0;
        var negative: u64 = 0;
        inline for (totals, 0..) |total, byte| {
            const plus: u8 = @bitCast(total > threshold);
            const minus: u8 = @bitCast(total < -threshold);
            nonzero |= @as(u64, plus | minus) << 8 * byte;
            negative |= @as(u64, minus) << 8 * byte;
        }
        if (job.first_ties != 0) {
            const first = job.sources.at(0);
            negative |= first[job.words + word] & ~nonzero;
            nonzero |= first[word];
        }
        job.out[word] = nonzero;
        job.out[job.words + word] = negative;
    }
}
