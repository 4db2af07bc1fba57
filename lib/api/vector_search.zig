//! Exports of hypervectors: batches against batches.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const vector_handles = @import("vector_handles.zig");
const vsa = @import("../cpu/vsa_vectors.zig");
const vsa_search = @import("../cpu/vsa_search.zig");

/// Scores of every row with every query: scores[row * queries + query]; metrics as in
/// vectors_similarity.
pub fn vectors_similarity_matrix(
    rows: u64,
    queries: u64,
    metric: u32,
    scores: ?[*]f64,
    scores_length: u32,
) callconv(.c) i32 {
    return abi.finish(matrix(rows, queries, metric, scores, scores_length));
}

/// The k best of the first `row_count` rows for each query, best first, at
/// indices[query * k ..] and scores[query * k ..]. Equal scores are in ascending order of rows.
pub fn vectors_top_k(
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

fn matrix(rows: u64, queries: u64, metric: u32, scores: ?[*]f64, scores_length: u32) abi.Failure!void {
    const results = try abi.writable(f64, scores, scores_length, "the scores");
    const known = try metricOf(metric);
    const operands = [_]u64{ rows, queries };
    const x, const y = try vector_handles.acquire(2, operands);
    defer handles.releaseEach(&operands);
    try expectLength("the scores", results.len, @as(u64, x.count) * y.count);
    const search = try searchOf(x, x.count, y, known);
    try vsa_search.matrix(&search, results);
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
    const x, const y = try vector_handles.acquire(2, operands);
    defer handles.releaseEach(&operands);
    try x.expectRows(0, row_count);
    if (k == 0 or k > row_count)
        return abi.fail(error.InvalidOption, "Expected from 1 to {d} best rows, got {d}", .{ row_count, k });
    try expectLength("the indices", places.len, @as(u64, k) * y.count);
    try expectLength("the scores", results.len, @as(u64, k) * y.count);
    const search = try searchOf(x, row_count, y, known);
    try vsa_search.topK(&search, k, places, results);
}

fn metricOf(metric: u32) abi.Failure!vsa.Metric {
    return std.enums.fromInt(vsa.Metric, metric) orelse
        abi.fail(error.InvalidOption, "Expected a metric from 0 to 5, got {d}", .{metric});
}

fn searchOf(rows: *const vsa.Vectors, row_count: u32, queries: *const vsa.Vectors, metric: vsa.Metric) abi.Failure!vsa_search.Search {
    try queries.expectDim(rows.dim);
    return .{
        .kernels = &(try dispatch.kernels()).vsa,
        .metric = metric,
        .rows = rows,
        .row_count = row_count,
        .queries = queries,
    };
}
