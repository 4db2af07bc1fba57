//! Exports of hypervectors by the places of their nonzero trits: a list of those of +1, a list of those
//! of -1, each in any order; they share no place.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const sparse = @import("../cpu/vsa_sparse.zig");
const vector_handles = @import("vector_handles.zig");
const vsa = @import("../cpu/vsa_vectors.zig");

const acquire = vector_handles.acquire;

/// Writes a row: the trits of these places, and 0 elsewhere. What it holds is undefined if both lists
/// name a place.
pub fn vectors_write_places(handle: u64, row: u32, positive: ?[*]const u32, positive_length: u32, negative: ?[*]const u32, negative_length: u32) callconv(.c) i32 {
    return abi.finish(write(handle, row, positive, positive_length, negative, negative_length));
}

/// Reads the places of a row, rising, into lists of exactly as many as there are (vectors_count).
pub fn vectors_read_places(handle: u64, row: u32, positive: ?[*]u32, positive_length: u32, negative: ?[*]u32, negative_length: u32) callconv(.c) i32 {
    return abi.finish(read(handle, row, positive, positive_length, negative, negative_length));
}

/// The similarity of the places' vector to each row; metrics as in vectors_similarity. The lists name
/// each place once.
pub fn vectors_similarity_places(handle: u64, positive: ?[*]const u32, positive_length: u32, negative: ?[*]const u32, negative_length: u32, metric: u32, scores: ?[*]f64, scores_length: u32) callconv(.c) i32 {
    return abi.finish(similarity(handle, positive, positive_length, negative, negative_length, metric, scores, scores_length));
}

fn listsOf(positive: ?[*]const u32, positive_length: u32, negative: ?[*]const u32, negative_length: u32) abi.Failure!sparse.Lists {
    return .{
        .positive = try abi.readable(u32, positive, positive_length, "the positive places"),
        .negative = try abi.readable(u32, negative, negative_length, "the negative places"),
    };
}

fn write(handle: u64, row: u32, positive: ?[*]const u32, positive_length: u32, negative: ?[*]const u32, negative_length: u32) abi.Failure!void {
    const lists = try listsOf(positive, positive_length, negative, negative_length);
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    try vectors.expectRows(row, 1);
    try lists.expectBelow(vectors.dim);
    if (sparse.write(vectors, row, lists)) |place|
        return abi.fail(error.InvalidValue, "Expected different places of +1 and -1, got {d} in both", .{place});
}

fn read(handle: u64, row: u32, positive: ?[*]u32, positive_length: u32, negative: ?[*]u32, negative_length: u32) abi.Failure!void {
    const ones = try abi.writable(u32, positive, positive_length, "the positive places");
    const minuses = try abi.writable(u32, negative, negative_length, "the negative places");
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    try vectors.expectRows(row, 1);
    const counts = sparse.read(vectors, row, ones, minuses);
    try expectLength("the positive places", ones.len, counts[0]);
    try expectLength("the negative places", minuses.len, counts[1]);
}

fn similarity(handle: u64, positive: ?[*]const u32, positive_length: u32, negative: ?[*]const u32, negative_length: u32, metric: u32, scores: ?[*]f64, scores_length: u32) abi.Failure!void {
    const results = try abi.writable(f64, scores, scores_length, "the scores");
    const lists = try listsOf(positive, positive_length, negative, negative_length);
    const known = std.enums.fromInt(vsa.Metric, metric) orelse
        return abi.fail(error.InvalidOption, "Expected a metric from 0 to 5, got {d}", .{metric});
    const kernels = &(try dispatch.kernels()).vsa;
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    try expectLength("the scores", results.len, vectors.count);
    try lists.expectBelow(vectors.dim);
    sparse.similarities(kernels, known, lists, vectors, results);
}
