//! Exports of hypervectors on CUDA devices; what they do is what the functions of vectors.zig and
//! bundles.zig do that have the same names without `cuda_`. All operands are on one device.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("../cuda/backend.zig");
const bundles = @import("../cpu/vsa_bundles.zig");
const cpu = @import("../cpu/vsa_vectors.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const vsa = @import("../cuda/vsa.zig");

const Vectors = vsa.Vectors;

/// Makes vectors of zeros on a device.
pub fn cuda_vectors_create(device: u32, count: u32, dim: u32, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(create(device, count, dim, handle, handle_length));
}

/// Copies all rows of vectors of the CPU to the device.
pub fn cuda_vectors_write(target: u64, source: u64) callconv(.c) i32 {
    return abi.finish(write(target, source));
}

/// Copies all rows to vectors of the CPU, when everything asked for before is done.
pub fn cuda_vectors_read(source: u64, target: u64) callconv(.c) i32 {
    return abi.finish(read(source, target));
}

/// Copies rows, also to another device; within one object they must not overlap.
pub fn cuda_vectors_copy(source: u64, source_row: u32, target: u64, target_row: u32, rows: u32) callconv(.c) i32 {
    return abi.finish(copy(source, source_row, target, target_row, rows));
}

pub fn cuda_vectors_random(handle: u64, seed: u64, below: u32) callconv(.c) i32 {
    return abi.finish(random(handle, seed, below));
}

pub fn cuda_vectors_bind(a: u64, b: u64, out: u64, operation: u32) callconv(.c) i32 {
    return abi.finish(bind(a, b, out, operation));
}

pub fn cuda_vectors_negate(a: u64, out: u64) callconv(.c) i32 {
    return abi.finish(negate(a, out));
}

pub fn cuda_vectors_rotate(a: u64, out: u64, shift: u32) callconv(.c) i32 {
    return abi.finish(rotate(a, out, shift));
}

pub fn cuda_vectors_equal(a: u64, b: u64, equal: ?[*]u32, equal_length: u32) callconv(.c) i32 {
    return abi.finish(isEqual(a, b, equal, equal_length));
}

pub fn cuda_vectors_bundle(list: ?[*]const u64, list_length: u32, weights: ?[*]const f32, weights_length: u32, threshold: u32, tie: u32, seed: u64) callconv(.c) i32 {
    return abi.finish(bundle(list, list_length, weights, weights_length, threshold, tie, seed));
}

pub fn cuda_vectors_bundle_rows(source: u64, group: u32, out: u64, weights: ?[*]const f32, weights_length: u32, threshold: u32, tie: u32, seed: u64) callconv(.c) i32 {
    return abi.finish(bundleRows(source, group, out, weights, weights_length, threshold, tie, seed));
}

pub fn cuda_vectors_bind_many(list: ?[*]const u64, list_length: u32, operation: u32) callconv(.c) i32 {
    return abi.finish(bindMany(list, list_length, operation));
}

pub fn cuda_vectors_bind_rows(source: u64, group: u32, out: u64, operation: u32) callconv(.c) i32 {
    return abi.finish(bindRows(source, group, out, operation));
}

fn destroyVectors(object: *anyopaque) void {
    const vectors: *Vectors = @ptrCast(@alignCast(object));
    vectors.destroy();
}

fn acquire(comptime n: usize, values: [n]u64) abi.Failure![n]*Vectors {
    var objects: [n]*Vectors = undefined;
    try handles.acquireEach(Vectors, .device_vectors, &values, &objects);
    return objects;
}

fn create(index: u32, count: u32, dim: u32, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const target = try abi.writable(u64, handle, handle_length, "the handle");
    try expectLength("the handle", target.len, 1);
    const vectors: *Vectors = try .create(try backend.open(index), count, dim);
    errdefer vectors.destroy();
    target[0] = try handles.create(.device_vectors, vectors, destroyVectors);
}

fn write(target: u64, source: u64) abi.Failure!void {
    const to = (try acquire(1, .{target}))[0];
    defer handles.release(target);
    const from = try handles.acquire(cpu.Vectors, .vectors, source);
    defer handles.release(source);
    return to.upload(from);
}

fn read(source: u64, target: u64) abi.Failure!void {
    const from = (try acquire(1, .{source}))[0];
    defer handles.release(source);
    const to = try handles.acquire(cpu.Vectors, .vectors, target);
    defer handles.release(target);
    return from.download(to);
}

fn copy(source: u64, source_row: u32, target: u64, target_row: u32, rows: u32) abi.Failure!void {
    const pair = [_]u64{ source, target };
    const from, const to = try acquire(2, pair);
    defer handles.releaseEach(&pair);
    return vsa.copyRows(from, source_row, to, target_row, rows);
}

/// A share that stands for bipolar vectors, which no threshold does.
const bipolar = std.math.maxInt(u32);

fn random(handle: u64, seed: u64, below: u32) abi.Failure!void {
    if (below > 1 << 31 and below != bipolar)
        return abi.fail(error.InvalidOption, "Expected a share of at most 2^31, got {d}", .{below});
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    return vsa.random(vectors, seed, if (below == bipolar) null else below);
}

fn bind(a: u64, b: u64, out: u64, operation: u32) abi.Failure!void {
    const operands = [_]u64{ a, b, out };
    const x, const y, const target = try acquire(3, operands);
    defer handles.releaseEach(&operands);
    return vsa.bind(x, y, target, operation);
}

fn negate(a: u64, out: u64) abi.Failure!void {
    const operands = [_]u64{ a, out };
    const x, const target = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    return vsa.negate(x, target);
}

fn rotate(a: u64, out: u64, shift: u32) abi.Failure!void {
    const operands = [_]u64{ a, out };
    const x, const target = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    return vsa.rotate(x, target, shift);
}

fn isEqual(a: u64, b: u64, equal: ?[*]u32, equal_length: u32) abi.Failure!void {
    const result = try abi.writable(u32, equal, equal_length, "the result");
    try expectLength("the result", result.len, 1);
    const operands = [_]u64{ a, b };
    const x, const y = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    result[0] = @intFromBool(try vsa.isEqual(x, y));
}

fn optionsOf(threshold: u32, tie: u32, seed: u64) abi.Failure!bundles.Options {
    const known = std.enums.fromInt(bundles.Tie, tie) orelse
        return abi.fail(error.InvalidOption, "Expected a tie from 0 to 3, got {d}", .{tie});
    return .{ .threshold = threshold, .tie = known, .seed = seed };
}

/// None, or as many finite ones as vectors.
fn weightsOf(weights: ?[*]const f32, length: u32, count: usize) abi.Failure![]const f32 {
    const values = try abi.readable(f32, weights, length, "the weights");
    if (values.len == 0) return values;
    try expectLength("the weights", values.len, count);
    for (values, 0..) |value, index| if (!std.math.isFinite(value))
        return abi.fail(error.InvalidValue, "Expected finite weights, got {d} at index {d}", .{ value, index });
    return values;
}

/// The vectors behind a list of handles, the last of which is where a result goes, as rows of a batch.
const List = struct {
    values: []const u64,
    rows: *Vectors,
    out: *Vectors,

    fn acquire(list: ?[*]const u64, length: u32) abi.Failure!List {
        const values = try abi.readable(u64, list, length, "the list");
        if (values.len < 2)
            return abi.fail(error.InvalidLength, "Expected at least one vector and the result's, got {d}", .{length});
        const allocator = std.heap.c_allocator;
        const objects = try allocator.alloc(*Vectors, length);
        defer allocator.free(objects);
        try handles.acquireEach(Vectors, .device_vectors, values, objects);
        errdefer handles.releaseEach(values);
        const out = objects[length - 1];
        if (out.count != 1) return abi.fail(error.InvalidShape, "Expected a single vector for the result, got {d}", .{out.count});
        return .{ .values = values, .rows = try vsa.gather(objects[0 .. length - 1]), .out = out };
    }

    fn release(self: *const List) void {
        self.rows.destroy();
        handles.releaseEach(self.values);
    }
};

fn bundle(list: ?[*]const u64, list_length: u32, weights: ?[*]const f32, weights_length: u32, threshold: u32, tie: u32, seed: u64) abi.Failure!void {
    const options = try optionsOf(threshold, tie, seed);
    const factors = try weightsOf(weights, weights_length, list_length -| 1);
    const vectors = try List.acquire(list, list_length);
    defer vectors.release();
    return vsa.bundle(vectors.rows, vectors.rows.count, vectors.out, factors, options);
}

fn bundleRows(source: u64, group: u32, out: u64, weights: ?[*]const f32, weights_length: u32, threshold: u32, tie: u32, seed: u64) abi.Failure!void {
    const options = try optionsOf(threshold, tie, seed);
    const factors = try weightsOf(weights, weights_length, group);
    const operands = [_]u64{ source, out };
    const from, const to = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    return vsa.bundle(from, group, to, factors, options);
}

fn bindMany(list: ?[*]const u64, list_length: u32, operation: u32) abi.Failure!void {
    const vectors = try List.acquire(list, list_length);
    defer vectors.release();
    return vsa.fold(vectors.rows, vectors.rows.count, vectors.out, operation);
}

fn bindRows(source: u64, group: u32, out: u64, operation: u32) abi.Failure!void {
    const operands = [_]u64{ source, out };
    const from, const to = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    return vsa.fold(from, group, to, operation);
}
