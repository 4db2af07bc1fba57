//! Exports of similarities of hypervectors on CUDA devices; what they do is what the functions of
//! vectors.zig and vector_search.zig do that have the same names without `cuda_`. Results go to the
//! host: a call returns when the device has computed them.

const std = @import("std");
const abi = @import("../abi.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const search = @import("../cuda/vsa_search.zig");
const table = @import("../cpu/vsa_table.zig");
const Vectors = @import("../cuda/vsa.zig").Vectors;

/// counts = [nonzero trits, negative trits] of `rows` rows from `row` on.
pub fn cuda_vectors_count(handle: u64, row: u32, rows: u32, counts: ?[*]f64, counts_length: u32) callconv(.c) i32 {
    return abi.finish(count_(handle, row, rows, counts, counts_length));
}

/// counts[2 * i ..] = [nonzero trits, negative trits] of row i.
pub fn cuda_vectors_count_rows(handle: u64, counts: ?[*]u32, counts_length: u32) callconv(.c) i32 {
    return abi.finish(countRows(handle, counts, counts_length));
}

/// Row by row; one vector serves all rows. Metrics as in vectors_similarity.
pub fn cuda_vectors_similarity(a: u64, b: u64, metric: u32, scores: ?[*]f64, scores_length: u32) callconv(.c) i32 {
    return abi.finish(similarity(a, b, metric, scores, scores_length));
}

/// Scores of every row with every query: scores[row * queries + query].
pub fn cuda_vectors_similarity_matrix(rows: u64, queries: u64, metric: u32, scores: ?[*]f64, scores_length: u32) callconv(.c) i32 {
    return abi.finish(matrix(rows, queries, metric, scores, scores_length));
}

/// The k best of the first `row_count` rows for each query, best first, equal scores in ascending
/// order of rows.
pub fn cuda_vectors_top_k(
    rows: u64,
    row_count: u32,
    queries: u64,
    metric: u32,
    k: u32,
    indices: ?[*]u32,
    indices_length: u32,
    scores: ?[*]f64,
    scores_length: u32,
) callconv(.c) i32 {
    return abi.finish(topK(rows, row_count, queries, metric, k, indices, indices_length, scores, scores_length));
}

fn acquirePair(values: [2]u64) abi.Failure![2]*Vectors {
    var objects: [2]*Vectors = undefined;
    try handles.acquireEach(Vectors, .device_vectors, &values, &objects);
    return objects;
}

fn metricOf(metric: u32) abi.Failure!table.Metric {
    return std.enums.fromInt(table.Metric, metric) orelse
        abi.fail(error.InvalidOption, "Expected a metric from 0 to 5, got {d}", .{metric});
}

fn count_(handle: u64, row: u32, rows: u32, counts: ?[*]f64, counts_length: u32) abi.Failure!void {
    const results = try abi.writable(f64, counts, counts_length, "the counts");
    try expectLength("the counts", results.len, 2);
    const vectors = try handles.acquire(Vectors, .device_vectors, handle);
    defer handles.release(handle);
    try vectors.expectRows(row, rows);
    const allocator = std.heap.c_allocator;
    const each = try allocator.alloc(u32, 2 * @as(usize, vectors.count));
    defer allocator.free(each);
    try search.readCounts(vectors, each);
    var totals: [2]u64 = .{ 0, 0 };
    for (row..row + rows) |index| {
        totals[0] += each[2 * index];
        totals[1] += each[2 * index + 1];
    }
    for (results, totals) |*result, total| result.* = @floatFromInt(total);
}

fn countRows(handle: u64, counts: ?[*]u32, counts_length: u32) abi.Failure!void {
    const results = try abi.writable(u32, counts, counts_length, "the counts");
    const vectors = try handles.acquire(Vectors, .device_vectors, handle);
    defer handles.release(handle);
    try expectLength("the counts", results.len, 2 * @as(u64, vectors.count));
    return search.readCounts(vectors, results);
}

fn similarity(a: u64, b: u64, metric: u32, scores: ?[*]f64, scores_length: u32) abi.Failure!void {
    const results = try abi.writable(f64, scores, scores_length, "the scores");
    const known = try metricOf(metric);
    const operands = [_]u64{ a, b };
    const x, const y = try acquirePair(operands);
    defer handles.releaseEach(&operands);
    try expectLength("the scores", results.len, @max(x.count, y.count));
    return search.similarities(x, y, known, results);
}

fn matrix(rows: u64, queries: u64, metric: u32, scores: ?[*]f64, scores_length: u32) abi.Failure!void {
    const results = try abi.writable(f64, scores, scores_length, "the scores");
    const known = try metricOf(metric);
    const operands = [_]u64{ rows, queries };
    const x, const y = try acquirePair(operands);
    defer handles.releaseEach(&operands);
    try expectLength("the scores", results.len, @as(u64, x.count) * y.count);
    return search.matrix(x, y, known, results);
}

fn topK(
    rows: u64,
    row_count: u32,
    queries: u64,
    metric: u32,
    k: u32,
    indices: ?[*]u32,
    indices_length: u32,
    scores: ?[*]f64,
    scores_length: u32,
) abi.Failure!void {
    const places = try abi.writable(u32, indices, indices_length, "the indices");
    const results = try abi.writable(f64, scores, scores_length, "the scores");
    const known = try metricOf(metric);
    const operands = [_]u64{ rows, queries };
    const x, const y = try acquirePair(operands);
    defer handles.releaseEach(&operands);
    try x.expectRows(0, row_count);
    if (k == 0 or k > row_count)
        return abi.fail(error.InvalidOption, "Expected from 1 to {d} best rows, got {d}", .{ row_count, k });
    try expectLength("the indices", places.len, @as(u64, k) * y.count);
    try expectLength("the scores", results.len, @as(u64, k) * y.count);
    return search.topK(x, row_count, y, known, k, places, results);
}
