//! Exports of hypervectors (vector symbolic architectures); the layout is described in
//! cpu/vsa_table.zig. `count` vectors of `dim` trits are one object.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const parallel = @import("../cpu/parallel.zig");
const table = @import("../cpu/vsa_table.zig");
const threads = @import("../cpu/threads.zig");
const vector_handles = @import("vector_handles.zig");
const vsa = @import("../cpu/vsa_vectors.zig");

const Vectors = vsa.Vectors;
const acquire = vector_handles.acquire;

/// Makes vectors of zeros.
pub fn vectors_create(count: u32, dim: u32, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(create(count, dim, handle, handle_length));
}

/// Writes whole rows from `row` on. What they hold is undefined if a value is no trit.
pub fn vectors_write_i8(handle: u64, row: u32, trits: ?[*]const i8, trits_length: u32) callconv(.c) i32 {
    return abi.finish(writeI8(handle, row, trits, trits_length));
}

/// Reads whole rows from `row` on.
pub fn vectors_read_i8(handle: u64, row: u32, trits: ?[*]i8, trits_length: u32) callconv(.c) i32 {
    return abi.finish(readI8(handle, row, trits, trits_length));
}

/// Copies rows; within one object they must not overlap.
pub fn vectors_copy(source: u64, source_row: u32, target: u64, target_row: u32, rows: u32) callconv(.c) i32 {
    return abi.finish(copy(source, source_row, target, target_row, rows));
}

/// Fills all rows with random trits: -1 and +1 with probability below / 2^32 each (below <= 2^31), or
/// bipolar ones where `below` is 2^32 - 1.
pub fn vectors_random(handle: u64, seed: u64, below: u32) callconv(.c) i32 {
    return abi.finish(random(handle, seed, below));
}

/// out = a + b (0), a - b (1), both modulo 3, or a * b (2), row by row; one vector serves all rows.
/// `out` may be `a` or `b`.
pub fn vectors_bind(a: u64, b: u64, out: u64, operation: u32) callconv(.c) i32 {
    return abi.finish(bind(a, b, out, operation));
}

/// out = -a; `out` may be `a`.
pub fn vectors_negate(a: u64, out: u64) callconv(.c) i32 {
    return abi.finish(negate(a, out));
}

/// Row by row; one vector serves all rows. metric: 0 dot, 1 cosine, 2 Hamming distance, 3 Hamming
/// similarity, 4 overlap, 5 Jaccard
pub fn vectors_similarity(a: u64, b: u64, metric: u32, scores: ?[*]f64, scores_length: u32) callconv(.c) i32 {
    return abi.finish(similarity(a, b, metric, scores, scores_length));
}

/// counts = [nonzero trits, negative trits] of `rows` rows from `row` on.
pub fn vectors_count(handle: u64, row: u32, rows: u32, counts: ?[*]f64, counts_length: u32) callconv(.c) i32 {
    return abi.finish(count_(handle, row, rows, counts, counts_length));
}

/// counts[2 * i ..] = [nonzero trits, negative trits] of row i.
pub fn vectors_count_rows(handle: u64, counts: ?[*]u32, counts_length: u32) callconv(.c) i32 {
    return abi.finish(countRows(handle, counts, counts_length));
}

/// equal = 1 where both have the same shape and the same trits, else 0.
pub fn vectors_equal(a: u64, b: u64, equal: ?[*]u32, equal_length: u32) callconv(.c) i32 {
    return abi.finish(isEqual(a, b, equal, equal_length));
}

fn create(count: u32, dim: u32, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const target = try abi.writable(u64, handle, handle_length, "the handle");
    try vector_handles.register(try Vectors.create(count, dim), target);
}

fn writeI8(handle: u64, row: u32, trits: ?[*]const i8, trits_length: u32) abi.Failure!void {
    const values = try abi.readable(i8, trits, trits_length, "the trits");
    const kernels = &(try dispatch.kernels()).vsa;
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    const dim = vectors.dim;
    for (0..try vector_handles.rowsOf(vectors, row, values.len)) |i| {
        const part = values[i * dim ..][0..dim];
        if (kernels.from_i8(part.ptr, dim, vectors.row(row + i), vectors.words) == 0) continue;
        for (part, i * dim..) |value, index| if (value < -1 or value > 1) return abi.fail(
            error.InvalidValue,
            "Expected trits of -1, 0 or 1, got {d} at index {d}",
            .{ value, index },
        );
    }
}

fn readI8(handle: u64, row: u32, trits: ?[*]i8, trits_length: u32) abi.Failure!void {
    const values = try abi.writable(i8, trits, trits_length, "the trits");
    const kernels = &(try dispatch.kernels()).vsa;
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    for (0..try vector_handles.rowsOf(vectors, row, values.len)) |i|
        kernels.to_i8(vectors.row(row + i), vectors.words, vectors.dim, values.ptr + i * vectors.dim);
}

fn copy(source: u64, source_row: u32, target: u64, target_row: u32, rows: u32) abi.Failure!void {
    const pair = [_]u64{ source, target };
    const from, const to = try acquire(2, pair);
    defer handles.releaseEach(&pair);
    try to.expectDim(from.dim);
    try from.expectRows(source_row, rows);
    try to.expectRows(target_row, rows);
    const length = @as(usize, rows) * 2 * from.words;
    const bytes = from.row(source_row)[0..length];
    const destination = to.row(target_row)[0..length];
    if (abi.overlap(bytes, destination))
        return abi.fail(error.InvalidOption, "Expected rows that do not overlap", .{});
    @memcpy(destination, bytes);
}

/// A share that stands for bipolar vectors, which no threshold does.
const bipolar = std.math.maxInt(u32);

fn random(handle: u64, seed: u64, below: u32) abi.Failure!void {
    const kernels = &(try dispatch.kernels()).vsa;
    if (below > 1 << 31 and below != bipolar)
        return abi.fail(error.InvalidOption, "Expected a share of at most 2^31, got {d}", .{below});
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    vsa.random(kernels, vectors, seed, if (below == bipolar) null else below);
}

fn bind(a: u64, b: u64, out: u64, operation: u32) abi.Failure!void {
    const kernels = &(try dispatch.kernels()).vsa;
    const kernel = switch (operation) {
        0 => kernels.add,
        1 => kernels.subtract,
        2 => kernels.multiply,
        else => return abi.fail(error.InvalidOption, "Expected a binding from 0 to 2, got {d}", .{operation}),
    };
    const operands = [_]u64{ a, b, out };
    const x, const y, const target = try acquire(3, operands);
    defer handles.releaseEach(&operands);
    try x.expectDim(target.dim);
    try y.expectDim(target.dim);
    vsa.bind(kernel, try x.rowsFor(target.count), try y.rowsFor(target.count), target);
}

fn negate(a: u64, out: u64) abi.Failure!void {
    const kernels = &(try dispatch.kernels()).vsa;
    const operands = [_]u64{ a, out };
    const x, const target = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    try vector_handles.expectSameShape(x, target);
    kernels.negate(x.row(0), target.row(0), x.words, x.count);
}

fn similarity(a: u64, b: u64, metric: u32, scores: ?[*]f64, scores_length: u32) abi.Failure!void {
    const results = try abi.writable(f64, scores, scores_length, "the scores");
    const kernels = &(try dispatch.kernels()).vsa;
    const known = std.enums.fromInt(vsa.Metric, metric) orelse
        return abi.fail(error.InvalidOption, "Expected a metric from 0 to 5, got {d}", .{metric});
    const operands = [_]u64{ a, b };
    const x, const y = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    try y.expectDim(x.dim);
    const count = @max(x.count, y.count);
    try expectLength("the scores", results.len, count);
    vsa.similarities(kernels, known, try x.rowsFor(count), try y.rowsFor(count), x, results);
}

fn count_(handle: u64, row: u32, rows: u32, counts: ?[*]f64, counts_length: u32) abi.Failure!void {
    const results = try abi.writable(f64, counts, counts_length, "the counts");
    try expectLength("the counts", results.len, 2);
    const kernels = &(try dispatch.kernels()).vsa;
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    try vectors.expectRows(row, rows);
    var totals: [2]u64 = .{ 0, 0 };
    for (row..row + rows) |index| {
        const nonzero, const negative = onesOf(kernels, vectors, index);
        totals[0] += nonzero;
        totals[1] += negative;
    }
    for (results, totals) |*result, total| result.* = @floatFromInt(total);
}

/// Ones in both planes of a row.
fn onesOf(kernels: *const table.Kernels, vectors: *const Vectors, row: usize) [2]u64 {
    const planes = vectors.row(row);
    const negative: table.Vector = @alignCast(planes + vectors.words);
    return .{ kernels.ones(planes, vectors.words), kernels.ones(negative, vectors.words) };
}

const CountJob = struct {
    kernels: *const table.Kernels,
    vectors: *const Vectors,
    counts: []u32,

    fn work(self: *const CountJob, part: u32, parts: u32) void {
        const from, const to = threads.share(self.vectors.count, part, parts);
        for (from..to) |row| {
            for (self.counts[2 * row ..][0..2], onesOf(self.kernels, self.vectors, row)) |*count, ones| count.* = @intCast(ones);
        }
    }
};

fn countRows(handle: u64, counts: ?[*]u32, counts_length: u32) abi.Failure!void {
    const results = try abi.writable(u32, counts, counts_length, "the counts");
    const kernels = &(try dispatch.kernels()).vsa;
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    try expectLength("the counts", results.len, 2 * @as(u64, vectors.count));
    const job: CountJob = .{ .kernels = kernels, .vectors = vectors, .counts = results };
    parallel.run(vectors.sizeBytes(), vectors.count, &job, CountJob.work);
}

fn isEqual(a: u64, b: u64, equal: ?[*]u32, equal_length: u32) abi.Failure!void {
    const result = try abi.writable(u32, equal, equal_length, "the result");
    try expectLength("the result", result.len, 1);
    const operands = [_]u64{ a, b };
    const x, const y = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    result[0] = @intFromBool(x.dim == y.dim and std.mem.eql(u64, x.data, y.data));
}
