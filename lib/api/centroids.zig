//! Exports of classifiers: a centroid for each class, which learns from vectors or from counts.

const std = @import("std");
const abi = @import("../abi.zig");
const centroids = @import("../cpu/vsa_centroids.zig");
const dispatch = @import("../cpu/dispatch.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const vector_handles = @import("vector_handles.zig");

const Centroids = centroids.Centroids;

/// Makes classes that have learnt nothing.
pub fn centroids_create(dim: u32, classes: u32, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(create(dim, classes, handle, handle_length));
}

/// Copies all classes to the first ones of another object.
pub fn centroids_copy(source: u64, target: u64) callconv(.c) i32 {
    return abi.finish(copy(source, target));
}

/// Learns from rows of vectors; visits = pairs of a row and its class, in the order of learning. rule:
/// 0 centroid, 1 perceptron, 2 online, 3 online, first pass. errors = samples that were classified
/// wrongly before they were learnt (0 with rule 0).
pub fn centroids_train(handle: u64, vectors: u64, visits: ?[*]const u32, visits_length: u32, rule: u32, rate: f64, errors: ?[*]u32, errors_length: u32) callconv(.c) i32 {
    return abi.finish(trainVectors(handle, vectors, visits, visits_length, rule, rate, errors, errors_length));
}

/// The same from rows of counts.
pub fn centroids_train_counts(handle: u64, counts: ?[*]const i32, counts_length: u32, visits: ?[*]const u32, visits_length: u32, rule: u32, rate: f64, errors: ?[*]u32, errors_length: u32) callconv(.c) i32 {
    return abi.finish(trainCounts(handle, counts, counts_length, visits, visits_length, rule, rate, errors, errors_length));
}

/// Cosines of each vector with the first `classes` classes.
pub fn centroids_scores(handle: u64, vectors: u64, classes: u32, scores: ?[*]f64, scores_length: u32) callconv(.c) i32 {
    return abi.finish(scoreVectors(handle, vectors, classes, scores, scores_length));
}

/// The same for rows of counts.
pub fn centroids_scores_counts(handle: u64, counts: ?[*]const i32, counts_length: u32, classes: u32, scores: ?[*]f64, scores_length: u32) callconv(.c) i32 {
    return abi.finish(scoreCounts(handle, counts, counts_length, classes, scores, scores_length));
}

/// The class of the highest of the scores, a row for each sample; 2^32 - 1 where none has learnt
/// anything.
pub fn centroids_best(handle: u64, scores: ?[*]const f64, scores_length: u32, classes: ?[*]u32, classes_length: u32) callconv(.c) i32 {
    return abi.finish(best(handle, scores, scores_length, classes, classes_length));
}

pub fn centroids_read(handle: u64, index: u32, values: ?[*]f32, values_length: u32) callconv(.c) i32 {
    return abi.finish(read(handle, index, values, values_length));
}

/// Replaces what a class has learnt by values of at most 2^80.
pub fn centroids_write(handle: u64, index: u32, values: ?[*]const f32, values_length: u32) callconv(.c) i32 {
    return abi.finish(write(handle, index, values, values_length));
}

fn destroyCentroids(object: *anyopaque) void {
    const self: *Centroids = @ptrCast(@alignCast(object));
    self.destroy();
}

fn create(dim: u32, classes: u32, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const target = try abi.writable(u64, handle, handle_length, "the handle");
    try expectLength("the handle", target.len, 1);
    const self = try Centroids.create(dim, classes);
    errdefer self.destroy();
    target[0] = try handles.create(.centroids, self, destroyCentroids);
}

fn acquire(handle: u64) abi.Failure!*Centroids {
    return handles.acquire(Centroids, .centroids, handle);
}

fn copy(source: u64, target: u64) abi.Failure!void {
    const from = try acquire(source);
    defer handles.release(source);
    const to = try acquire(target);
    defer handles.release(target);
    if (from.dim != to.dim or from.classes > to.classes or from == to) return abi.fail(
        error.InvalidShape,
        "Expected another classifier of {d} dimensions and at least {d} classes, got {d} and {d}",
        .{ from.dim, from.classes, to.dim, to.classes },
    );
    to.copyFrom(from);
}

fn expectDim(self: *const Centroids, dim: u32) abi.Failure!void {
    if (self.dim != dim)
        return abi.fail(error.InvalidShape, "Expected vectors of {d} dimensions, got {d}", .{ self.dim, dim });
}

fn trainVectors(handle: u64, vectors: u64, visits: ?[*]const u32, visits_length: u32, rule: u32, rate: f64, errors: ?[*]u32, errors_length: u32) abi.Failure!void {
    const samples = (try vector_handles.acquire(1, .{vectors}))[0];
    defer handles.release(vectors);
    try train(handle, .{ .trits = samples }, samples.dim, visits, visits_length, rule, rate, errors, errors_length);
}

fn trainCounts(handle: u64, counts: ?[*]const i32, counts_length: u32, visits: ?[*]const u32, visits_length: u32, rule: u32, rate: f64, errors: ?[*]u32, errors_length: u32) abi.Failure!void {
    const samples = try abi.readable(i32, counts, counts_length, "the counts");
    try train(handle, .{ .counts = samples }, null, visits, visits_length, rule, rate, errors, errors_length);
}

fn train(
    handle: u64,
    samples: centroids.Samples,
    dim: ?u32,
    visits: ?[*]const u32,
    visits_length: u32,
    rule: u32,
    rate: f64,
    errors: ?[*]u32,
    errors_length: u32,
) abi.Failure!void {
    const pairs = try abi.readable(u32, visits, visits_length, "the visits");
    if (pairs.len % 2 != 0) return abi.fail(error.InvalidLength, "Expected pairs of a row and a class, got {d} numbers", .{pairs.len});
    const known_visits: []const centroids.Visit = @ptrCast(pairs);
    const result = try abi.writable(u32, errors, errors_length, "the errors");
    try expectLength("the errors", result.len, 1);
    const known = std.enums.fromInt(centroids.Rule, rule) orelse
        return abi.fail(error.InvalidOption, "Expected a rule from 0 to 3, got {d}", .{rule});
    if (!(rate >= 0 and rate <= centroids.rate_max))
        return abi.fail(error.InvalidOption, "Expected a rate from 0 to {d}, got {d}", .{ centroids.rate_max, rate });
    const kernels = &(try dispatch.kernels()).vsa;
    const self = try acquire(handle);
    defer handles.release(handle);
    try expectDim(self, dim orelse self.dim);
    const rows = try rowsOf(self, samples);
    for (known_visits, 0..) |visit, index| if (visit.class >= self.classes or visit.row >= rows) return abi.fail(
        error.InvalidValue,
        "Expected rows below {d} and classes below {d}, got {d} and {d} at visit {d}",
        .{ rows, self.classes, visit.row, visit.class, index },
    );
    const scores = try std.heap.c_allocator.alloc(f64, self.classes);
    defer std.heap.c_allocator.free(scores);
    result[0] = try centroids.train(kernels, self, samples, known_visits, known, rate, scores);
}

fn rowsOf(self: *const Centroids, samples: centroids.Samples) abi.Failure!usize {
    switch (samples) {
        .trits => |vectors| return vectors.count,
        .counts => |counts| if (counts.len % self.dim != 0) return abi.fail(
            error.InvalidLength,
            "Expected whole rows of {d} counts, got {d}",
            .{ self.dim, counts.len },
        ) else return counts.len / self.dim,
    }
}

fn scoreVectors(handle: u64, vectors: u64, classes: u32, scores: ?[*]f64, scores_length: u32) abi.Failure!void {
    const samples = (try vector_handles.acquire(1, .{vectors}))[0];
    defer handles.release(vectors);
    try score(handle, .{ .trits = samples }, samples.dim, classes, scores, scores_length);
}

fn scoreCounts(handle: u64, counts: ?[*]const i32, counts_length: u32, classes: u32, scores: ?[*]f64, scores_length: u32) abi.Failure!void {
    const samples = try abi.readable(i32, counts, counts_length, "the counts");
    try score(handle, .{ .counts = samples }, null, classes, scores, scores_length);
}

fn score(handle: u64, samples: centroids.Samples, dim: ?u32, classes: u32, scores: ?[*]f64, scores_length: u32) abi.Failure!void {
    const results = try abi.writable(f64, scores, scores_length, "the scores");
    const kernels = &(try dispatch.kernels()).vsa;
    const self = try acquire(handle);
    defer handles.release(handle);
    try expectDim(self, dim orelse self.dim);
    if (classes == 0 or classes > self.classes)
        return abi.fail(error.InvalidShape, "Expected from 1 to {d} classes, got {d}", .{ self.classes, classes });
    try expectLength("the scores", results.len, try rowsOf(self, samples) * classes);
    centroids.score(kernels, self, samples, classes, results);
}

fn best(handle: u64, scores: ?[*]const f64, scores_length: u32, classes: ?[*]u32, classes_length: u32) abi.Failure!void {
    const values = try abi.readable(f64, scores, scores_length, "the scores");
    const results = try abi.writable(u32, classes, classes_length, "the classes");
    const self = try acquire(handle);
    defer handles.release(handle);
    if (results.len == 0) return;
    const width = values.len / results.len;
    if (width * results.len != values.len or width > self.classes) return abi.fail(
        error.InvalidLength,
        "Expected rows of at most {d} scores for {d} samples, got {d} scores",
        .{ self.classes, results.len, values.len },
    );
    for (results, 0..) |*result, row| result.* = centroids.best(self, values[row * width ..][0..width]);
}

fn expectClass(self: *const Centroids, class: u32, length: usize) abi.Failure!void {
    if (class >= self.classes)
        return abi.fail(error.InvalidShape, "Expected a class below {d}, got {d}", .{ self.classes, class });
    try expectLength("the values", length, self.dim);
}

fn read(handle: u64, index: u32, values: ?[*]f32, values_length: u32) abi.Failure!void {
    const results = try abi.writable(f32, values, values_length, "the values");
    const self = try acquire(handle);
    defer handles.release(handle);
    try expectClass(self, index, results.len);
    @memcpy(results, self.of(index)[0..self.dim]);
}

fn write(handle: u64, index: u32, values: ?[*]const f32, values_length: u32) abi.Failure!void {
    const source = try abi.readable(f32, values, values_length, "the values");
    const kernels = &(try dispatch.kernels()).vsa;
    const self = try acquire(handle);
    defer handles.release(handle);
    try expectClass(self, index, source.len);
    for (source, 0..) |value, place| if (!(@abs(value) <= centroids.value_max)) return abi.fail(
        error.InvalidValue,
        "Expected values from -2^80 to 2^80, got {d} at index {d}",
        .{ value, place },
    );
    @memcpy(self.of(index)[0..self.dim], source);
    self.measure(kernels, index);
}
