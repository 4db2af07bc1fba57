//! Linear combinations of stored gradients, and how far they are from the truth.
//!
//!     combine   out[o][i] = sum over s of c[o][s] x[s][i], in f64 and in the order of the sources
//!     compare   the sums that distance and angle between a prediction and the true gradient need;
//!               element i of the range is added to sum i mod 8, one tree adds the sums
//!
//! A weighted least-squares line through past gradients is two such combinations, which one pass
//! computes together: every stored gradient is read once.
//!
//! Floor: one read of each source, one write of each output; for 8 elements of a source a conversion
//! and, for each output, a multiplication and an addition.

const v16 = @import("vector16.zig");
const precision_table = @import("precision_table.zig");

const Job = precision_table.Combine;

/// Every element is summed by itself, so this many at a time is free to choose: enough for several
/// additions to be in flight, as few as the registers hold.
const combined = if (v16.has_avx512 or v16.has_avx2 or v16.has_neon) 16 else 8;

/// Here the sums depend on it.
const compared = 8;

pub fn combine(job: *const Job, from: usize, to: usize) callconv(.c) void {
    switch (job.outputs) {
        inline 1, 2 => |outputs| {
            var i = from;
            while (i + combined <= to) : (i += combined) {
                const results = at(outputs, combined, job, i, combined);
                inline for (results, 0..) |result, o| job.out[o * job.out_stride + i ..][0..combined].* = result;
            }
            const left = to - i;
            if (left == 0) return;
            const results = at(outputs, combined, job, i, left);
            inline for (results, 0..) |result, o| {
                const lanes: [combined]f32 = result;
                for (job.out[o * job.out_stride + i ..][0..left], lanes[0..left]) |*value, lane| value.* = lane;
            }
        },
        else => {},
    }
}

/// The outputs of `count` elements from i on.
inline fn at(comptime outputs: usize, comptime width: usize, job: *const Job, i: usize, count: usize) [outputs]@Vector(width, f32) {
    const Wide = @Vector(width, f64);
    var sums: [outputs]Wide = @splat(@splat(0));
    for (0..job.sources_count) |s| {
        const x: Wide = load(width, job.sources + s * job.stride + i, count);
        inline for (&sums, 0..) |*sum, o| {
            sum.* += x * @as(Wide, @splat(job.coefficients[o * job.sources_count + s]));
        }
    }
    var results: [outputs]@Vector(width, f32) = undefined;
    inline for (sums, &results) |sum, *result| result.* = @floatCast(sum);
    return results;
}

inline fn load(comptime width: usize, pointer: [*]const f32, count: usize) @Vector(width, f32) {
    if (count == width) return pointer[0..width].*;
    var lanes: [width]f32 = @splat(0);
    for (lanes[0..count], pointer) |*lane, value| lane.* = value;
    return lanes;
}

pub fn compare(job: *const Job, actual: [*]const f32, from: usize, to: usize, sums: *precision_table.Compared) callconv(.c) void {
    var lanes: [4]@Vector(compared, f64) = @splat(@splat(0));
    var i = from;
    while (i + compared <= to) : (i += compared) addTerms(&lanes, job, actual, i, compared);
    if (i < to) addTerms(&lanes, job, actual, i, to - i);
    for (sums, lanes) |*sum, lane| sum.* += v16.sumF64(@as([compared]f64, lane) ++ @as([compared]f64, @splat(0)));
}

inline fn addTerms(sums: *[4]@Vector(compared, f64), job: *const Job, actual: [*]const f32, i: usize, count: usize) void {
    const a: @Vector(compared, f64) = load(compared, actual + i, count);
    const p: @Vector(compared, f64) = at(1, compared, job, i, count)[0];
    const difference = a - p;
    sums[0] += difference * difference;
    sums[1] += a * a;
    sums[2] += p * p;
    sums[3] += a * p;
}
