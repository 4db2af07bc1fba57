//! Weights to trits and scales, by every rule the library offers.
//!
//! Two passes over each run of columns that shares a scale: the first finds the threshold, the
//! second writes the trits and the mean magnitude of those that are kept. Sums are taken in f64.

const std = @import("std");
const abi = @import("../abi.zig");

pub const Method = enum(u8) { absmean, absmax, twn, percentile, mean_std, manual };

pub const Options = struct {
    group_columns: u32,
    method: Method,
    /// The scale that fits the kept weights best (their mean magnitude) instead of the method's own.
    least_squares: bool,
    /// percentile: 0 to 100; mean_std: k; manual: the threshold.
    argument: f64,
};

/// A magnitude becomes a trit when it is above `threshold`, or equal to it where `inclusive`.
const Rule = struct { threshold: f64, inclusive: bool, scale: ?f64 };

/// `sorted` is needed for percentiles only, as large as a group.
pub fn quantize(weights: []const f32, ternary: []i8, scales: []f32, options: Options, sorted: []f32) void {
    const size = options.group_columns;
    for (scales, 0..) |*scale, group| {
        const run = weights[group * size ..][0..size];
        const rule = ruleOf(run, options, sorted);
        const kept = apply(run, ternary[group * size ..][0..size], rule);
        scale.* = @floatCast(if (options.least_squares) kept else rule.scale orelse kept);
    }
}

fn ruleOf(run: []const f32, options: Options, sorted: []f32) Rule {
    switch (options.method) {
        .absmean => {
            // The mean is rounded to f32 first, as everybody who sees only the scale would compare.
            const mean: f32 = @floatCast(meanMagnitude(run));
            if (mean == 0) return .{ .threshold = 0.5, .inclusive = true, .scale = 1 };
            return .{ .threshold = 0.5 * @as(f64, mean), .inclusive = true, .scale = mean };
        },
        .absmax => {
            const most = largestMagnitude(run);
            const scale: f64 = if (most <= 1e-10) 1 else most;
            return .{ .threshold = 0.5 * scale, .inclusive = false, .scale = scale };
        },
        .twn => return .{ .threshold = 0.7 * meanMagnitude(run), .inclusive = false, .scale = null },
        .percentile => {
            const magnitudes = sorted[0..run.len];
            for (magnitudes, run) |*magnitude, weight| magnitude.* = @abs(weight);
            std.mem.sortUnstable(f32, magnitudes, {}, std.sort.asc(f32));
            const place: usize = @intFromFloat(options.argument / 100 * @as(f64, @floatFromInt(run.len - 1)));
            return .{ .threshold = magnitudes[@min(place, run.len - 1)], .inclusive = false, .scale = null };
        },
        .mean_std => {
            const mean = meanMagnitude(run);
            var squares: f64 = 0;
            for (run) |weight| {
                const distance = @abs(@as(f64, weight)) - mean;
                squares += distance * distance;
            }
            const deviation = @sqrt(squares / @as(f64, @floatFromInt(run.len)));
            return .{ .threshold = mean + options.argument * deviation, .inclusive = false, .scale = null };
        },
        .manual => return .{ .threshold = options.argument, .inclusive = false, .scale = null },
    }
}

const width = 16;
const F = @Vector(width, f32);

fn meanMagnitude(run: []const f32) f64 {
    return sumMagnitudes(run) / @as(f64, @floatFromInt(run.len));
}

pub fn sumMagnitudes(run: []const f32) f64 {
    // Sums side by side, so that the additions do not wait for one another.
    var sums: @Vector(width, f64) = @splat(0);
    var i: usize = 0;
    while (i + width <= run.len) : (i += width) {
        sums += @floatCast(@abs(@as(F, run[i..][0..width].*)));
    }
    var total = @reduce(.Add, sums);
    while (i < run.len) : (i += 1) total += @abs(run[i]);
    return total;
}

fn largestMagnitude(run: []const f32) f32 {
    var most: F = @splat(0);
    var i: usize = 0;
    while (i + width <= run.len) : (i += width) most = @max(most, @abs(@as(F, run[i..][0..width].*)));
    var largest = @reduce(.Max, most);
    while (i < run.len) : (i += 1) largest = @max(largest, @abs(run[i]));
    return largest;
}

/// Writes the trits; returns the mean magnitude of the kept weights, 1 where none is.
fn apply(run: []const f32, ternary: []i8, rule: Rule) f64 {
    const above = largestNotKept(rule);
    var sums: @Vector(width, f64) = @splat(0);
    var count: usize = 0;
    var i: usize = 0;
    while (i + width <= run.len) : (i += width) {
        const weights: F = run[i..][0..width].*;
        const kept = @abs(weights) > @as(F, @splat(above));
        ternary[i..][0..width].* = signs(width, weights, kept);
        sums += @floatCast(@select(f32, kept, @abs(weights), @as(F, @splat(0))));
        count += @popCount(@as(@Int(.unsigned, width), @bitCast(kept)));
    }
    var sum = @reduce(.Add, sums);
    while (i < run.len) : (i += 1) {
        const weight: @Vector(1, f32) = .{run[i]};
        const kept = @abs(weight) > @as(@Vector(1, f32), @splat(above));
        ternary[i] = signs(1, weight, kept)[0];
        if (kept[0]) {
            sum += @abs(run[i]);
            count += 1;
        }
    }
    return if (count == 0 or sum == 0) 1 else sum / @as(f64, @floatFromInt(count));
}

/// Comparing f32 magnitudes with this f32 decides exactly as comparing with the rule's f64 does.
/// Never below zero: a zero weight is not kept, whatever the threshold.
fn largestNotKept(rule: Rule) f32 {
    const nearest: f32 = @floatCast(rule.threshold);
    const too_large = nearest > rule.threshold or (rule.inclusive and nearest == rule.threshold);
    const largest = if (too_large) std.math.nextAfter(f32, nearest, -std.math.inf(f32)) else nearest;
    return @max(largest, 0);
}

inline fn signs(comptime n: usize, weights: @Vector(n, f32), kept: @Vector(n, bool)) @Vector(n, i8) {
    const zero: @Vector(n, f32) = @splat(0);
    const none: @Vector(n, i8) = @splat(0);
    const plus: @Vector(n, i8) = @intFromBool(weights > zero);
    const minus: @Vector(n, i8) = @intFromBool(weights < zero);
    return @select(i8, kept, plus - minus, none);
}
