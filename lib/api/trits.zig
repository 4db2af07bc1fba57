//! Exports that bind and compare trits in the caller's own bytes, one a trit, in one call.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const expectLength = @import("options.zig").expectLength;
const parallel = @import("../cpu/parallel.zig");
const table = @import("../cpu/vsa_table.zig");
const threads = @import("../cpu/threads.zig");
const vsa = @import("../cpu/vsa_vectors.zig");

/// out = a + b (0), a - b (1), both modulo 3, or a * b (2). `out` may be `a` or `b`; it holds nothing of
/// use if a value is no trit.
pub fn trits_bind(
    a: ?[*]const i8,
    a_length: u32,
    b: ?[*]const i8,
    b_length: u32,
    out: ?[*]i8,
    out_length: u32,
    operation: u32,
) callconv(.c) i32 {
    return abi.finish(bind(a, a_length, b, b_length, out, out_length, operation));
}

/// metric: 0 dot, 1 cosine, 2 Hamming distance, 3 Hamming similarity, 4 overlap, 5 Jaccard
pub fn trits_similarity(
    a: ?[*]const i8,
    a_length: u32,
    b: ?[*]const i8,
    b_length: u32,
    metric: u32,
    score: ?[*]f64,
    score_length: u32,
) callconv(.c) i32 {
    return abi.finish(similarity(a, a_length, b, b_length, metric, score, score_length));
}

/// Refuses floats other than -1, 0 and 1, and none at all.
pub fn trits_check_f32(values: ?[*]const f32, values_length: u32) callconv(.c) i32 {
    return abi.finish(checkFloats(values, values_length));
}

fn checkFloats(values: ?[*]const f32, values_length: u32) abi.Failure!void {
    const floats = try abi.readable(f32, values, values_length, "the values");
    if (floats.len == 0) return abi.fail(error.InvalidLength, "Expected at least one trit, got none", .{});
    for (floats, 0..) |value, index| if (value != -1 and value != 0 and value != 1)
        return abi.fail(error.InvalidValue, "Expected trits of -1, 0 or 1, got {d} at index {d}", .{ value, index });
}

/// Trits that a kernel takes at once.
const run_max = 1 << 24;

fn expectTrits(values: []const i8) abi.Failure!void {
    for (values, 0..) |value, index| if (value < -1 or value > 1)
        return abi.fail(error.InvalidValue, "Expected trits of -1, 0 or 1, got {d} at index {d}", .{ value, index });
}

const BindJob = struct {
    kernel: table.BindTrits,
    a: []const i8,
    b: []const i8,
    out: []i8,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *BindJob, part: u32, parts: u32) void {
        const from, const to = threads.share(self.out.len, part, parts);
        if (self.kernel(self.a.ptr + from, self.b.ptr + from, self.out.ptr + from, to - from) != 0)
            self.bad.store(true, .monotonic);
    }
};

fn bind(
    a: ?[*]const i8,
    a_length: u32,
    b: ?[*]const i8,
    b_length: u32,
    out: ?[*]i8,
    out_length: u32,
    operation: u32,
) abi.Failure!void {
    const x = try abi.readable(i8, a, a_length, "the first trits");
    const y = try abi.readable(i8, b, b_length, "the second trits");
    const target = try abi.writable(i8, out, out_length, "the result");
    try expectLength("the second trits", y.len, x.len);
    try expectLength("the result", target.len, x.len);
    if (x.len == 0) return abi.fail(error.InvalidLength, "Expected at least one trit, got none", .{});
    for ([_][]const i8{ x, y }) |source| if (abi.overlap(source, target) and source.ptr != target.ptr)
        return abi.fail(error.InvalidValue, "Expected the result in memory of its own or in that of an operand, got some that overlaps one", .{});
    const kernels = &(try dispatch.kernels()).vsa.trits;
    const kernel = switch (operation) {
        0 => kernels.add,
        1 => kernels.subtract,
        2 => kernels.multiply,
        else => return abi.fail(error.InvalidOption, "Expected a binding from 0 to 2, got {d}", .{operation}),
    };
    var job: BindJob = .{ .kernel = kernel, .a = x, .b = y, .out = target };
    parallel.run(target.len * 3, target.len, &job, BindJob.work);
    if (!job.bad.load(.monotonic)) return;
    if (x.ptr != target.ptr) try expectTrits(x);
    if (y.ptr != target.ptr) try expectTrits(y);
    return abi.fail(error.InvalidValue, "Expected trits of -1, 0 or 1, got others", .{});
}

const CountJob = struct {
    kernels: *const table.TritKernels,
    a: []const i8,
    b: []const i8,
    dot_only: bool,
    dot: std.atomic.Value(i64) = .init(0),
    counts: [4]std.atomic.Value(u64) = @splat(.init(0)),
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *CountJob, part: u32, parts: u32) void {
        var from, const to = threads.share(self.a.len, part, parts);
        while (from < to) : (from += run_max) {
            if (!self.take(from, @min(run_max, to - from))) self.bad.store(true, .monotonic);
        }
    }

    fn take(self: *CountJob, from: usize, count: usize) bool {
        if (self.dot_only) {
            var dot: i64 = undefined;
            if (self.kernels.dot(self.a.ptr + from, self.b.ptr + from, count, &dot) != 0) return false;
            _ = self.dot.fetchAdd(dot, .monotonic);
            return true;
        }
        var counts: table.Counts = undefined;
        if (self.kernels.counts(self.a.ptr + from, self.b.ptr + from, count, &counts) != 0) return false;
        const values = [_]u64{ counts.common, counts.opposite, counts.nonzero_a, counts.nonzero_b };
        for (&self.counts, values) |*sum, value| _ = sum.fetchAdd(value, .monotonic);
        return true;
    }
};

fn similarity(
    a: ?[*]const i8,
    a_length: u32,
    b: ?[*]const i8,
    b_length: u32,
    metric: u32,
    score: ?[*]f64,
    score_length: u32,
) abi.Failure!void {
    const x = try abi.readable(i8, a, a_length, "the first trits");
    const y = try abi.readable(i8, b, b_length, "the second trits");
    const result = try abi.writable(f64, score, score_length, "the score");
    try expectLength("the second trits", y.len, x.len);
    try expectLength("the score", result.len, 1);
    if (x.len == 0) return abi.fail(error.InvalidLength, "Expected at least one trit, got none", .{});
    const known = std.enums.fromInt(vsa.Metric, metric) orelse
        return abi.fail(error.InvalidOption, "Expected a metric from 0 to 5, got {d}", .{metric});
    const kernels = &(try dispatch.kernels()).vsa.trits;
    var job: CountJob = .{ .kernels = kernels, .a = x, .b = y, .dot_only = known == .dot };
    parallel.run(x.len * 2, x.len, &job, CountJob.work);
    if (job.bad.load(.monotonic)) {
        try expectTrits(x);
        try expectTrits(y);
        return abi.fail(error.InvalidValue, "Expected trits of -1, 0 or 1, got others", .{});
    }
    if (known == .dot) {
        result[0] = @floatFromInt(job.dot.load(.monotonic));
        return;
    }
    const counts: table.Counts = .{
        .common = job.counts[0].load(.monotonic),
        .opposite = job.counts[1].load(.monotonic),
        .nonzero_a = job.counts[2].load(.monotonic),
        .nonzero_b = job.counts[3].load(.monotonic),
    };
    result[0] = vsa.scoreOf(known, counts, @intCast(x.len));
}
