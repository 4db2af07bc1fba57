//! Exports of sums of hypervectors: bundles, folds of bindings, and counters.

const std = @import("std");
const abi = @import("../abi.zig");
const bundles = @import("../cpu/vsa_bundles.zig");
const dispatch = @import("../cpu/dispatch.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const table = @import("../cpu/vsa_table.zig");
const vector_handles = @import("vector_handles.zig");
const Vectors = @import("../cpu/vsa_vectors.zig").Vectors;

const Counters = bundles.Counters;

/// The sign of the sum of single vectors, in the last of the list, which may be one of the others.
/// threshold: sums of at most this size become 0. tie: sums of zero become 0 (0), 1 (1), random (2) or
/// the trit of the first vector (3). weights: none, or one for each vector.
pub fn vectors_bundle(list: ?[*]const u64, list_length: u32, weights: ?[*]const f32, weights_length: u32, threshold: u32, tie: u32, seed: u64) callconv(.c) i32 {
    return abi.finish(bundle(list, list_length, weights, weights_length, threshold, tie, seed));
}

/// The same for each `group` rows of a batch, one row of `out` each.
pub fn vectors_bundle_rows(source: u64, group: u32, out: u64, weights: ?[*]const f32, weights_length: u32, threshold: u32, tie: u32, seed: u64) callconv(.c) i32 {
    return abi.finish(bundleRows(source, group, out, weights, weights_length, threshold, tie, seed));
}

/// Binds single vectors from the left into the last of the list; operations as of vectors_bind.
pub fn vectors_bind_many(list: ?[*]const u64, list_length: u32, operation: u32) callconv(.c) i32 {
    return abi.finish(bindMany(list, list_length, operation));
}

/// The same for each `group` rows of a batch, one row of `out` each.
pub fn vectors_bind_rows(source: u64, group: u32, out: u64, operation: u32) callconv(.c) i32 {
    return abi.finish(bindRows(source, group, out, operation));
}

/// Makes counters of zero, one for each trit.
pub fn counters_create(dim: u32, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(countersCreate(dim, handle, handle_length));
}

/// Adds each vector times the weight; refused where a count could leave the range of an i32.
pub fn counters_add(counters: u64, vectors: u64, weight: i32) callconv(.c) i32 {
    return abi.finish(countersAdd(counters, vectors, weight));
}

pub fn counters_clear(counters: u64) callconv(.c) i32 {
    return abi.finish(countersClear(counters));
}

pub fn counters_read(counters: u64, counts: ?[*]i32, counts_length: u32) callconv(.c) i32 {
    return abi.finish(countersRead(counters, counts, counts_length));
}

/// The signs of the counts; options as of vectors_bundle, without the tie 3.
pub fn counters_result(counters: u64, out: u64, threshold: u32, tie: u32, seed: u64) callconv(.c) i32 {
    return abi.finish(countersResult(counters, out, threshold, tie, seed));
}

/// The cosine of the counts and a vector.
pub fn counters_cosine(counters: u64, vector: u64, cosine: ?[*]f64, cosine_length: u32) callconv(.c) i32 {
    return abi.finish(countersCosine(counters, vector, cosine, cosine_length));
}

fn optionsOf(threshold: u32, tie: u32, seed: u64) abi.Failure!bundles.Options {
    const known = std.enums.fromInt(bundles.Tie, tie) orelse
        return abi.fail(error.InvalidOption, "Expected a tie from 0 to 3, got {d}", .{tie});
    const options: bundles.Options = .{ .threshold = threshold, .tie = known, .seed = seed };
    try options.check();
    return options;
}

/// None, or as many finite ones as vectors.
fn weightsOf(weights: ?[*]const f32, length: u32, count: usize) abi.Failure!?[*]const f32 {
    const values = try abi.readable(f32, weights, length, "the weights");
    if (values.len == 0) return null;
    try expectLength("the weights", values.len, count);
    for (values, 0..) |value, index| if (!std.math.isFinite(value))
        return abi.fail(error.InvalidValue, "Expected finite weights, got {d} at index {d}", .{ value, index });
    return values.ptr;
}

/// The vectors behind a list of handles, the last of which is where a result goes.
const List = struct {
    values: []const u64,
    objects: []*Vectors,
    vectors: []table.Vector,
    /// Lists up to this length take no allocation.
    near_objects: [128]*Vectors,
    near_vectors: [128]table.Vector,

    fn acquire(self: *List, list: ?[*]const u64, length: u32) abi.Failure!void {
        self.values = try abi.readable(u64, list, length, "the list");
        if (self.values.len < 2)
            return abi.fail(error.InvalidLength, "Expected at least one vector and the result's, got {d}", .{length});
        const near = length <= self.near_objects.len;
        self.objects = if (near) self.near_objects[0..length] else try std.heap.c_allocator.alloc(*Vectors, length);
        errdefer if (!near) std.heap.c_allocator.free(self.objects);
        self.vectors = if (near) self.near_vectors[0..length] else try std.heap.c_allocator.alloc(table.Vector, length);
        errdefer if (!near) std.heap.c_allocator.free(self.vectors);
        try handles.acquireEach(Vectors, .vectors, self.values, self.objects);
        errdefer handles.releaseEach(self.values);
        const dim = self.objects[0].dim;
        for (self.objects, self.vectors) |object, *vector| {
            if (object.dim != dim) try object.expectDim(dim);
            if (object.count != 1) return abi.fail(error.InvalidShape, "Expected single vectors, got {d}", .{object.count});
            vector.* = object.row(0);
        }
    }

    fn release(self: *const List) void {
        handles.releaseEach(self.values);
        if (self.values.len <= self.near_objects.len) return;
        std.heap.c_allocator.free(self.objects);
        std.heap.c_allocator.free(self.vectors);
    }

    fn sources(self: *const List) table.Sources {
        const count = self.vectors.len - 1;
        return .{ .list = self.vectors.ptr, .first = self.vectors[0], .stride = 0, .count = count };
    }

    fn out(self: *const List) *Vectors {
        return self.objects[self.objects.len - 1];
    }
};

fn bundle(list: ?[*]const u64, list_length: u32, weights: ?[*]const f32, weights_length: u32, threshold: u32, tie: u32, seed: u64) abi.Failure!void {
    const kernels = &(try dispatch.kernels()).vsa;
    const options = try optionsOf(threshold, tie, seed);
    const factors = try weightsOf(weights, weights_length, list_length -| 1);
    var vectors: List = undefined;
    try vectors.acquire(list, list_length);
    defer vectors.release();
    bundles.bundle(kernels, vectors.sources(), factors, options, vectors.out());
}

fn bundleRows(source: u64, group: u32, out: u64, weights: ?[*]const f32, weights_length: u32, threshold: u32, tie: u32, seed: u64) abi.Failure!void {
    const kernels = &(try dispatch.kernels()).vsa;
    const options = try optionsOf(threshold, tie, seed);
    const factors = try weightsOf(weights, weights_length, group);
    const operands = [_]u64{ source, out };
    const from, const to = try vector_handles.acquire(2, operands);
    defer handles.releaseEach(&operands);
    try expectGroups(from, group, to);
    bundles.bundle(kernels, from.sources().rows(0, group), factors, options, to);
}

/// `group` rows for each row of the result.
fn expectGroups(from: *const Vectors, group: u32, to: *const Vectors) abi.Failure!void {
    if (group == 0) return abi.fail(error.InvalidShape, "Expected groups of at least one row, got 0", .{});
    try from.expectDim(to.dim);
    if (@as(u64, to.count) * group != from.count) return abi.fail(
        error.InvalidShape,
        "Expected {d} groups of {d} rows, got {d} rows",
        .{ to.count, group, from.count },
    );
}

fn expectOperation(operation: u32) abi.Failure!void {
    if (operation > 2) return abi.fail(error.InvalidOption, "Expected a binding from 0 to 2, got {d}", .{operation});
}

fn bindMany(list: ?[*]const u64, list_length: u32, operation: u32) abi.Failure!void {
    const kernels = &(try dispatch.kernels()).vsa;
    try expectOperation(operation);
    var vectors: List = undefined;
    try vectors.acquire(list, list_length);
    defer vectors.release();
    bundles.bindMany(kernels, vectors.sources(), operation, vectors.out());
}

fn bindRows(source: u64, group: u32, out: u64, operation: u32) abi.Failure!void {
    const kernels = &(try dispatch.kernels()).vsa;
    try expectOperation(operation);
    const operands = [_]u64{ source, out };
    const from, const to = try vector_handles.acquire(2, operands);
    defer handles.releaseEach(&operands);
    try expectGroups(from, group, to);
    bundles.bindMany(kernels, from.sources().rows(0, group), operation, to);
}

fn expectOne(vectors: *const Vectors) abi.Failure!void {
    if (vectors.count != 1) return abi.fail(error.InvalidShape, "Expected one vector, got {d}", .{vectors.count});
}

fn destroyCounters(object: *anyopaque) void {
    const counters: *Counters = @ptrCast(@alignCast(object));
    counters.destroy();
}

fn countersCreate(dim: u32, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const target = try abi.writable(u64, handle, handle_length, "the handle");
    try expectLength("the handle", target.len, 1);
    const counters = try Counters.create(dim);
    errdefer counters.destroy();
    target[0] = try handles.create(.counters, counters, destroyCounters);
}

fn countersAdd(handle: u64, vectors: u64, weight: i32) abi.Failure!void {
    const kernels = &(try dispatch.kernels()).vsa;
    const counters = try handles.acquire(Counters, .counters, handle);
    defer handles.release(handle);
    const added = try handles.acquire(Vectors, .vectors, vectors);
    defer handles.release(vectors);
    try added.expectDim(counters.dim);
    try counters.add(kernels, added, weight);
}

fn countersClear(handle: u64) abi.Failure!void {
    const counters = try handles.acquire(Counters, .counters, handle);
    defer handles.release(handle);
    counters.clear();
}

fn countersRead(handle: u64, counts: ?[*]i32, counts_length: u32) abi.Failure!void {
    const target = try abi.writable(i32, counts, counts_length, "the counts");
    const counters = try handles.acquire(Counters, .counters, handle);
    defer handles.release(handle);
    try expectLength("the counts", target.len, counters.dim);
    @memcpy(target, counters.counts[0..target.len]);
}

fn countersResult(handle: u64, out: u64, threshold: u32, tie: u32, seed: u64) abi.Failure!void {
    const kernels = &(try dispatch.kernels()).vsa;
    const options = try optionsOf(threshold, tie, seed);
    if (options.tie == .first)
        return abi.fail(error.InvalidOption, "Expected a tie that needs no vector, got the first one's", .{});
    const counters = try handles.acquire(Counters, .counters, handle);
    defer handles.release(handle);
    const target = try handles.acquire(Vectors, .vectors, out);
    defer handles.release(out);
    try target.expectDim(counters.dim);
    try expectOne(target);
    counters.result(kernels, options, target);
}

fn countersCosine(handle: u64, vector: u64, cosine: ?[*]f64, cosine_length: u32) abi.Failure!void {
    const result = try abi.writable(f64, cosine, cosine_length, "the cosine");
    try expectLength("the cosine", result.len, 1);
    const kernels = &(try dispatch.kernels()).vsa;
    const counters = try handles.acquire(Counters, .counters, handle);
    defer handles.release(handle);
    const query = try handles.acquire(Vectors, .vectors, vector);
    defer handles.release(vector);
    try query.expectDim(counters.dim);
    try expectOne(query);
    result[0] = counters.cosine(kernels, query.row(0));
}
