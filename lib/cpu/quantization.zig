//! Weights to trits and scales, by every rule the library offers.
//!
//! Two passes over each run of columns that shares a scale: the first finds the threshold, the
//! second, out of the cache, writes the trits; a third sums the kept magnitudes where the scale needs
//! them. Sums are taken in f64. Threads share out the runs, so their number changes no result.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("dispatch.zig");
const firstNotFinite = @import("finite.zig").firstNotFinite;
const magnitudes = @import("magnitudes.zig");
const memory = @import("../memory.zig");
const parallel = @import("parallel.zig");
const table = @import("table.zig");
const threads = @import("threads.zig");
const Kept = @import("ternary_table.zig").Kept;

pub const Method = enum(u8) { absmean, absmax, twn, percentile, mean_std, manual };

pub const Options = struct {
    group_columns: u32,
    method: Method,
    /// The scale that fits the kept weights best (their mean magnitude) instead of the method's own.
    least_squares: bool,
    /// percentile: 0 to 100; mean_std: k; manual: the threshold.
    argument: f64,

    /// Floats of scratch that a thread needs.
    pub fn sortedCount(self: Options) usize {
        return if (self.method == .percentile) self.group_columns else 0;
    }
};

/// What a run becomes: trits of the weights whose magnitude is above a threshold, and their scale.
pub const Group = struct { above: f32, scale: f32 };

/// A magnitude becomes a trit when it is above `threshold`, or equal to it where `inclusive`.
const Rule = struct { threshold: f64, inclusive: bool, scale: ?f64 };

/// The bits of infinity, which those of every finite magnitude are below.
const infinity_bits = 0x7f80_0000;

/// The threshold and the scale of a run, or null where a weight is not finite. `sorted` is scratch.
pub fn measure(kernels: *const table.Kernels, run: []const f32, options: Options, sorted: []f32) ?Group {
    const rule = ruleOf(kernels, run, options, sorted) orelse return null;
    const above = largestNotKept(rule);
    if (!options.least_squares) if (rule.scale) |scale| return .{ .above = above, .scale = @floatCast(scale) };
    var kept: Kept = undefined;
    kernels.ternary.sum_kept(run.ptr, run.len, above, &kept);
    const mean = kept.magnitudes / @as(f64, @floatFromInt(kept.count));
    return .{ .above = above, .scale = if (kept.count == 0 or kept.magnitudes == 0) 1 else @floatCast(mean) };
}

fn ruleOf(kernels: *const table.Kernels, run: []const f32, options: Options, sorted: []f32) ?Rule {
    switch (options.method) {
        .absmean => {
            // The mean is rounded to f32 first, as everybody who sees only the scale would compare.
            const mean: f32 = @floatCast(meanMagnitude(kernels, run) orelse return null);
            if (mean == 0) return .{ .threshold = 0.5, .inclusive = true, .scale = 1 };
            return .{ .threshold = 0.5 * @as(f64, mean), .inclusive = true, .scale = mean };
        },
        .absmax => {
            const most = largestMagnitude(kernels, run) orelse return null;
            const scale: f64 = if (most <= 1e-10) 1 else most;
            return .{ .threshold = 0.5 * scale, .inclusive = false, .scale = scale };
        },
        .twn => {
            const mean = meanMagnitude(kernels, run) orelse return null;
            return .{ .threshold = 0.7 * mean, .inclusive = false, .scale = null };
        },
        .percentile => {
            _ = largestMagnitude(kernels, run) orelse return null;
            const ascending = sorted[0..run.len];
            for (ascending, run) |*magnitude, weight| magnitude.* = @abs(weight);
            std.mem.sortUnstable(f32, ascending, {}, std.sort.asc(f32));
            const place: usize = @intFromFloat(options.argument / 100 * @as(f64, @floatFromInt(run.len - 1)));
            return .{ .threshold = ascending[@min(place, run.len - 1)], .inclusive = false, .scale = null };
        },
        .mean_std => {
            const mean = meanMagnitude(kernels, run) orelse return null;
            const squares = kernels.ternary.sum_squares(run.ptr, run.len, mean);
            const deviation = @sqrt(squares / @as(f64, @floatFromInt(run.len)));
            return .{ .threshold = mean + options.argument * deviation, .inclusive = false, .scale = null };
        },
        .manual => {
            _ = largestMagnitude(kernels, run) orelse return null;
            return .{ .threshold = options.argument, .inclusive = false, .scale = null };
        },
    }
}

/// Null where a weight is not finite: no sum of finite f32 magnitudes leaves the range of f64.
fn meanMagnitude(kernels: *const table.Kernels, run: []const f32) ?f64 {
    const sum = kernels.ternary.sum_magnitudes(run.ptr, run.len);
    return if (std.math.isFinite(sum)) sum / @as(f64, @floatFromInt(run.len)) else null;
}

fn largestMagnitude(kernels: *const table.Kernels, run: []const f32) ?f32 {
    const bits = kernels.ternary.largest(run.ptr, run.len);
    return if (bits < infinity_bits) @bitCast(bits) else null;
}

/// The f64 sum of a run's magnitudes; the same on every tier.
pub fn sumMagnitudes(run: []const f32) f64 {
    const kernels = dispatch.kernels() catch return magnitudes.sum(run.ptr, run.len);
    return kernels.ternary.sum_magnitudes(run.ptr, run.len);
}

/// Comparing f32 magnitudes with this f32 decides exactly as comparing with the rule's f64 does.
/// Never below zero: a zero weight is not kept, whatever the threshold.
fn largestNotKept(rule: Rule) f32 {
    const nearest: f32 = @floatCast(rule.threshold);
    const too_large = nearest > rule.threshold or (rule.inclusive and nearest == rule.threshold);
    const largest = if (too_large) std.math.nextAfter(f32, nearest, -std.math.inf(f32)) else nearest;
    return @max(largest, 0);
}

/// Names the first weight that is not finite.
pub fn refuseNotFinite(weights: []const f32) abi.Failure {
    const index = firstNotFinite(weights) orelse 0;
    return abi.fail(error.InvalidValue, "Expected finite weights, got {d} at index {d}", .{ weights[index], index });
}

/// Quantises every run of `group_columns` weights.
pub fn quantize(weights: []const f32, ternary: []i8, scales: []f32, options: Options) abi.Failure!void {
    const parts = parallel.partsOf(weights.len * @sizeOf(f32), scales.len);
    const sorted = try memory.alloc(f32, options.sortedCount() * parts);
    defer memory.free(f32, sorted);
    var job: Job = .{
        .kernels = try dispatch.kernels(),
        .weights = weights,
        .ternary = ternary,
        .scales = scales,
        .options = options,
        .sorted = sorted,
    };
    parallel.runParts(parts, &job, Job.work);
    if (job.bad.load(.monotonic)) return refuseNotFinite(weights);
}

const Job = struct {
    kernels: *const table.Kernels,
    weights: []const f32,
    ternary: []i8,
    scales: []f32,
    options: Options,
    sorted: []f32,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *Job, part: u32, parts: u32) void {
        const from, const to = threads.share(self.scales.len, part, parts);
        const size = self.options.group_columns;
        const sorted_count = self.options.sortedCount();
        const sorted = self.sorted[part * sorted_count ..][0..sorted_count];
        for (from..to) |index| {
            const run = self.weights[index * size ..][0..size];
            const group = measure(self.kernels, run, self.options, sorted) orelse
                return self.bad.store(true, .monotonic);
            self.scales[index] = group.scale;
            self.kernels.ternary.trits_above(run.ptr, size, group.above, self.ternary.ptr + index * size);
        }
    }
};
