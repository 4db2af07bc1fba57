//! Bundling: the sign of the sum of vectors, trit by trit.
//!
//! Unweighted sums are counted as bits (vsa_sums.zig); digit by digit from the lowest,
//!
//!     above = majority(digit, above, not the limit's digit)
//!
//! then compares all counters with a limit. Weighted sums are f64, one for each trit, in the order of
//! the vectors: exact for integers, and the same on every tier.

const simd = @import("simd.zig");
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
    const limits: Limits = .init(count, job.threshold);
    inline for (1..sums.group_max + 1) |n| if (count == n) return inRegisters(n, job, &limits, from, to);
    var counters: sums.Counters = undefined;
    var start = from;
    while (start < to) : (start += sums.stretch * lane_words) {
        const end = @min(start + sums.stretch * lane_words, to);
        counters.run(&job.sources, job.words, start, end);
        for (0..(end - start) / lane_words) |lane|
            finish(job, start + lane * lane_words, limits.compare(counters.of(lane)));
    }
}

/// Two or three vectors, from the sums of their planes: that of the nonzero ones is `one` + 2 `two`.
fn few(comptime n: usize, job: *const table.Bundle, from: usize, to: usize) void {
    var sources: [n]table.Vector = undefined;
    for (&sources, 0..) |*source, index| source.* = job.sources.at(index);
    var i = from;
    while (i < to) : (i += lane_words) {
        var nonzero: [3]Lane = @splat(none);
        var negative: [3]Lane = @splat(none);
        inline for (sources, 0..) |source, index| {
            nonzero[index] = sums.load(source + i);
            negative[index] = sums.load(source + job.words + i);
        }
        const one, const two = sums.count3(nonzero);
        const one_negative, const two_negative = sums.count3(negative);
        finish(job, i, .{
            .nonzero = one | (two ^ one_negative),
            .negative = two_negative | (one_negative & ~two),
        });
    }
}

fn inRegisters(comptime n: usize, job: *const table.Bundle, limits: *const Limits, from: usize, to: usize) void {
    var i = from;
    while (i < to) : (i += lane_words) {
        var digits: [sums.digitsOf(n)]Lane = undefined;
        _ = sums.add(n, .fresh, &job.sources, 0, job.words, i, &digits);
        finish(job, i, limits.compare(&digits));
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

/// Writes a lane; the first source is read before, as it may be where the result goes.
inline fn finish(job: *const table.Bundle, i: usize, planes: Planes) void {
    var result = planes;
    if (job.first_ties != 0) {
        const first = job.sources.at(0);
        result.negative |= sums.load(first + job.words + i) & ~planes.nonzero;
        result.nonzero |= sums.load(first + i);
    }
    sums.store(job.out + i, result.nonzero);
    sums.store(job.out + job.words + i, result.negative);
}

fn weighted(job: *const table.Bundle, weights: [*]const f32, from: usize, to: usize) void {
    const Sums = @Vector(8, f64);
    const Mask = @Vector(8, bool);
    const threshold: Sums = @splat(@floatFromInt(job.threshold));
    for (from..to) |word| {
        var totals: [8]Sums = @splat(@splat(0));
        for (0..job.sources.count) |index| {
            const source = job.sources.at(index);
            const weight: Sums = @splat(weights[index]);
            const nonzero = source[word];
            const negative = source[job.words + word];
            const positive = nonzero & ~negative;
            inline for (&totals, 0..) |*total, byte| {
                const plus: Mask = @bitCast(@as(u8, @truncate(positive >> 8 * byte)));
                const minus: Mask = @bitCast(@as(u8, @truncate(negative >> 8 * byte)));
                total.* = @select(f64, plus, total.* + weight, total.*);
                total.* = @select(f64, minus, total.* - weight, total.*);
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
