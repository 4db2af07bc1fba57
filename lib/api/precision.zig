//! Exports of mixed precision: half precision, clipping, scaling and norms of gradients.

const std = @import("std");
const abi = @import("../abi.zig");
const block_sums = @import("../cpu/block_sums.zig");
const dispatch = @import("../cpu/dispatch.zig");
const firstNotFinite = @import("../cpu/finite.zig").firstNotFinite;
const parallel = @import("../cpu/parallel.zig");
const table = @import("../cpu/table.zig");
const threads = @import("../cpu/threads.zig");
const Float = @import("../cpu/vector16.zig").Float;
const expectLength = @import("options.zig").expectLength;

/// Rounds f32 to 16 bits, to nearest, ties to even; `float` is 1 for f16, 2 for bf16.
pub fn floats_narrow(
    values: ?[*]const f32,
    values_length: u32,
    out: ?[*]u16,
    out_length: u32,
    float: u32,
) callconv(.c) i32 {
    return abi.finish(narrow(
        abi.readable(f32, values, values_length, "values"),
        abi.writable(u16, out, out_length, "out"),
        float,
    ));
}

/// The exact values of 16-bit floats; `float` is 1 for f16, 2 for bf16.
pub fn floats_widen(
    halves: ?[*]const u16,
    halves_length: u32,
    out: ?[*]f32,
    out_length: u32,
    float: u32,
) callconv(.c) i32 {
    return abi.finish(widen(
        abi.readable(u16, halves, halves_length, "halves"),
        abi.writable(f32, out, out_length, "out"),
        float,
    ));
}

/// found[0] is the index of the first NaN or infinity, or the length where there is none.
pub fn floats_find_not_finite(
    values: ?[*]const f32,
    values_length: u32,
    found: ?[*]u32,
    found_length: u32,
) callconv(.c) i32 {
    return abi.finish(findNotFinite(
        abi.readable(f32, values, values_length, "values"),
        abi.writable(u32, found, found_length, "found"),
    ));
}

/// Moves values outside of [least, most] to the bounds, in place; NaN becomes 0 first where
/// `nan_to_zero` is 1 and stays where it is 0.
pub fn floats_clip(
    values: ?[*]f32,
    values_length: u32,
    least: f32,
    most: f32,
    nan_to_zero: u32,
) callconv(.c) i32 {
    return abi.finish(clip(abi.writable(f32, values, values_length, "values"), least, most, nan_to_zero));
}

/// Multiplies by a factor, in place; overflow[0] becomes 1 where a product is not finite, else 0.
pub fn floats_scale(
    values: ?[*]f32,
    values_length: u32,
    factor: f64,
    overflow: ?[*]u32,
    overflow_length: u32,
) callconv(.c) i32 {
    return abi.finish(scale(
        abi.writable(f32, values, values_length, "values"),
        factor,
        abi.writable(u32, overflow, overflow_length, "overflow"),
    ));
}

/// sum[0] is the sum of the squares.
pub fn floats_sum_squares(
    values: ?[*]const f32,
    values_length: u32,
    sum: ?[*]f64,
    sum_length: u32,
) callconv(.c) i32 {
    return abi.finish(sumSquares(
        abi.readable(f32, values, values_length, "values"),
        abi.writable(f64, sum, sum_length, "sum"),
    ));
}

/// sums += weight * terms, each rounded once.
pub fn floats_add_scaled(
    sums: ?[*]f32,
    sums_length: u32,
    terms: ?[*]const f32,
    terms_length: u32,
    weight: f64,
) callconv(.c) i32 {
    return abi.finish(addScaled(
        abi.writable(f32, sums, sums_length, "sums"),
        abi.readable(f32, terms, terms_length, "terms"),
        weight,
    ));
}

/// The bridge passes no empty array: there is nothing to do for one.
fn expectSome(length: usize, name: []const u8) abi.Failure!void {
    if (length == 0) return abi.fail(error.InvalidLength, "Expected {s} to hold at least 1 element, got 0", .{name});
}

fn expectHalf(float: u32) abi.Failure!Float {
    if (float != 1 and float != 2)
        return abi.fail(error.InvalidOption, "Expected a half-precision float, 1 or 2, got {d}", .{float});
    return @fromBackingInt(float);
}

fn expectApart(a: anytype, b: anytype) abi.Failure!void {
    if (abi.overlap(a, b))
        return abi.fail(error.InvalidValue, "Expected inputs and output in separate memory, got overlapping buffers", .{});
}

/// What passes over elements in parts of whole 16s, so that every element meets the same instructions.
fn shareOf(length: usize, index: u32, count: u32) struct { usize, usize } {
    const from, const to = threads.share((length + 15) / 16, index, count);
    return .{ from * 16, @min(to * 16, length) };
}

fn narrow(values_result: abi.Failure![]const f32, out_result: abi.Failure![]u16, float: u32) abi.Failure!void {
    const values = try values_result;
    const out = try out_result;
    const half = try expectHalf(float);
    try expectSome(values.len, "values");
    try expectLength("out", out.len, values.len);
    try expectApart(values, out);
    const Job = struct {
        kernels: *const table.Kernels,
        values: []const f32,
        out: []u16,
        half: Float,

        fn work(self: @This(), index: u32, count: u32) void {
            const from, const to = shareOf(self.values.len, index, count);
            self.kernels.precision.narrow(self.values.ptr + from, @backingInt(self.half), self.out.ptr + from, to - from);
        }
    };
    const job: Job = .{ .kernels = try dispatch.kernels(), .values = values, .out = out, .half = half };
    parallel.run(6 * values.len, (values.len + 15) / 16, job, Job.work);
}

fn widen(halves_result: abi.Failure![]const u16, out_result: abi.Failure![]f32, float: u32) abi.Failure!void {
    const halves = try halves_result;
    const out = try out_result;
    const half = try expectHalf(float);
    try expectSome(halves.len, "halves");
    try expectLength("out", out.len, halves.len);
    try expectApart(halves, out);
    const Job = struct {
        kernels: *const table.Kernels,
        halves: []const u16,
        out: []f32,
        half: Float,

        fn work(self: @This(), index: u32, count: u32) void {
            const from, const to = shareOf(self.halves.len, index, count);
            const source = std.mem.sliceAsBytes(self.halves[from..to]);
            self.kernels.nn.widen(source.ptr, @backingInt(self.half), self.out.ptr + from, @intCast(to - from));
        }
    };
    const job: Job = .{ .kernels = try dispatch.kernels(), .halves = halves, .out = out, .half = half };
    parallel.run(6 * halves.len, (halves.len + 15) / 16, job, Job.work);
}

/// Values that are looked at together; the search stops between two runs.
const run_elements = 16 << 10;

fn findNotFinite(values_result: abi.Failure![]const f32, found_result: abi.Failure![]u32) abi.Failure!void {
    const values = try values_result;
    const found = try found_result;
    try expectSome(values.len, "values");
    try expectLength("found", found.len, 1);
    // What a tier that cannot be used would report.
    _ = try dispatch.kernels();
    const Job = struct {
        values: []const f32,
        first: std.atomic.Value(usize),

        fn work(self: *@This(), index: u32, count: u32) void {
            const runs = (self.values.len + run_elements - 1) / run_elements;
            const from, const to = threads.share(runs, index, count);
            for (from..to) |run| {
                const start = run * run_elements;
                if (self.first.load(.monotonic) < start) return;
                const part = self.values[start..@min(start + run_elements, self.values.len)];
                const place = firstNotFinite(part) orelse continue;
                _ = self.first.fetchMin(start + place, .monotonic);
                return;
            }
        }
    };
    var job: Job = .{ .values = values, .first = .init(values.len) };
    parallel.run(4 * values.len, (values.len + run_elements - 1) / run_elements, &job, Job.work);
    found[0] = @intCast(job.first.load(.monotonic));
}

fn clip(values_result: abi.Failure![]f32, least: f32, most: f32, nan_to_zero: u32) abi.Failure!void {
    const values = try values_result;
    try expectSome(values.len, "values");
    if (!(least <= most)) return abi.fail(
        error.InvalidOption,
        "Expected a least value that is not above the most, got {d} and {d}",
        .{ least, most },
    );
    if (nan_to_zero > 1)
        return abi.fail(error.InvalidOption, "Expected 0 or 1 for NaN to zero, got {d}", .{nan_to_zero});
    const Job = struct {
        kernels: *const table.Kernels,
        values: []f32,
        least: f32,
        most: f32,
        nan_to_zero: u32,

        fn work(self: @This(), index: u32, count: u32) void {
            const from, const to = shareOf(self.values.len, index, count);
            self.kernels.precision.clip(self.values.ptr + from, self.least, self.most, self.nan_to_zero, to - from);
        }
    };
    const job: Job = .{
        .kernels = try dispatch.kernels(),
        .values = values,
        .least = least,
        .most = most,
        .nan_to_zero = nan_to_zero,
    };
    parallel.run(8 * values.len, (values.len + 15) / 16, job, Job.work);
}

fn scale(values_result: abi.Failure![]f32, factor: f64, overflow_result: abi.Failure![]u32) abi.Failure!void {
    const values = try values_result;
    const overflow = try overflow_result;
    try expectSome(values.len, "values");
    try expectLength("overflow", overflow.len, 1);
    try expectApart(values, overflow);
    if (!std.math.isFinite(factor))
        return abi.fail(error.InvalidOption, "Expected a finite factor, got {d}", .{factor});
    const Job = struct {
        kernels: *const table.Kernels,
        values: []f32,
        factor: f64,
        overflow: std.atomic.Value(u32),

        fn work(self: *@This(), index: u32, count: u32) void {
            const from, const to = shareOf(self.values.len, index, count);
            const found = self.kernels.precision.scale(self.values.ptr + from, self.factor, to - from);
            if (found != 0) self.overflow.store(1, .monotonic);
        }
    };
    var job: Job = .{ .kernels = try dispatch.kernels(), .values = values, .factor = factor, .overflow = .init(0) };
    parallel.run(8 * values.len, (values.len + 15) / 16, &job, Job.work);
    overflow[0] = job.overflow.load(.monotonic);
}

fn sumSquares(values_result: abi.Failure![]const f32, sum_result: abi.Failure![]f64) abi.Failure!void {
    const values = try values_result;
    const sum = try sum_result;
    try expectSome(values.len, "values");
    try expectLength("sum", sum.len, 1);
    const Job = struct {
        kernels: *const table.Kernels,
        values: []const f32,

        fn block(self: @This(), from: usize, to: usize) [1]f64 {
            return .{self.kernels.precision.sum_squares(self.values.ptr + from, to - from)};
        }
    };
    const job: Job = .{ .kernels = try dispatch.kernels(), .values = values };
    sum[0..1].* = try block_sums.of(1, values.len, @sizeOf(f32), job, Job.block);
}

fn addScaled(sums_result: abi.Failure![]f32, terms_result: abi.Failure![]const f32, weight: f64) abi.Failure!void {
    const sums = try sums_result;
    const terms = try terms_result;
    try expectSome(sums.len, "sums");
    try expectLength("terms", terms.len, sums.len);
    try expectApart(terms, sums);
    if (!std.math.isFinite(weight))
        return abi.fail(error.InvalidOption, "Expected a finite weight, got {d}", .{weight});
    const Job = struct {
        kernels: *const table.Kernels,
        sums: []f32,
        terms: []const f32,
        weight: f64,

        fn work(self: @This(), index: u32, count: u32) void {
            const from, const to = shareOf(self.sums.len, index, count);
            self.kernels.precision.add_scaled(self.sums.ptr + from, self.terms.ptr + from, self.weight, to - from);
        }
    };
    const job: Job = .{ .kernels = try dispatch.kernels(), .sums = sums, .terms = terms, .weight = weight };
    parallel.run(12 * sums.len, (sums.len + 15) / 16, job, Job.work);
}
