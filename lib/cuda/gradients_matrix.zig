//! The codec `lowrank` on a device: the products with the gradients are there, and what is small between
//! them, which is done by lib/cpu/gradients_matrix.zig, on the host.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const codecs = @import("gradients.zig");
const firstNotFiniteIn = @import("../cpu/finite.zig").firstNotFiniteIn;
const structures = @import("gradients_arguments.zig");
const kernels = @import("kernels.zig");
const matrix = @import("../cpu/gradients_matrix.zig");

const Buffer = backend.Buffer;
const Shape = matrix.Shape;
const divideUp = kernels.divideUp;

/// See gradients_lowrank.cu.
/// Rows of a block of threads for M Q.
const rows_right = 32;
const ranks_left = 8;
const tile_width = 32;
const rows_at_once = 8;
const grid_y_max = 65535;

fn thinBytes(shape: Shape) u64 {
    return 4 * @as(u64, shape.rank) * (shape.rows + shape.columns);
}

/// P and Q lie in the payload's memory.
fn argumentsOf(work: *const codecs.Work, shape: Shape) structures.Thin {
    return .{
        .m = work.values,
        .p = work.payload,
        .q = work.payload + 4 * shape.rank * shape.rows,
        .found = work.found,
        .rows = @intCast(shape.rows),
        .columns = @intCast(shape.columns),
        .rank = @intCast(shape.rank),
    };
}

const Products = struct {
    work: *const codecs.Work,
    shape: Shape,

    pub fn right(self: Products, q: []f32, p: []f32) abi.Failure!void {
        const arguments = argumentsOf(self.work, self.shape);
        const stream = self.work.stream;
        try stream.upload(arguments.q, std.mem.sliceAsBytes(q));
        try stream.launch(.gradients_lowrank_right, .{ .blocks = divideUp(arguments.rows, rows_right), .threads = 128 }, arguments);
        try self.work.expectFinite();
        return stream.download(arguments.p, std.mem.sliceAsBytes(p));
    }

    pub fn left(self: Products, p: []f32, q: []f32) abi.Failure!void {
        const arguments = argumentsOf(self.work, self.shape);
        const stream = self.work.stream;
        try stream.upload(arguments.p, std.mem.sliceAsBytes(p));
        try stream.launch(.gradients_lowrank_left, .{
            .blocks = divideUp(arguments.columns, tile_width),
            .blocks_y = divideUp(arguments.rank, ranks_left),
            .threads = 256,
        }, arguments);
        return stream.download(arguments.q, std.mem.sliceAsBytes(q));
    }
};

fn expectBytes(name: []const u8, length: u64, expected: u64) abi.Failure!void {
    if (length != expected) return abi.fail(error.InvalidLength, "Expected {s} to hold {d} elements, got {d}", .{ name, expected, length });
}

pub fn encode(gradients: *Buffer, rows: u32, rank: u32, seed: u64, state: []f32, payload: []u8) abi.Failure!void {
    const shape: Shape = try .of(try codecs.countOf(gradients), rows, rank);
    // Blocks of threads in the second axis of a grid.
    if (rank > grid_y_max * ranks_left) return abi.fail(error.InvalidOption, "Expected a rank of at most {d} on a device, got {d}", .{ grid_y_max * ranks_left, rank });
    try expectBytes("the state", state.len, @as(u64, shape.rank) * shape.columns);
    try expectBytes("the payload", payload.len, thinBytes(shape));
    const work: codecs.Work = try .init(gradients, payload.len, 0);
    defer work.deinit();
    return matrix.encodeBy(Products{ .work = &work, .shape = shape }, shape, seed, state, payload);
}

pub fn decode(payload: []const u8, rows: u32, rank: u32, gradients: *Buffer) abi.Failure!void {
    const shape: Shape = try .of(try codecs.countOf(gradients), rows, rank);
    try expectBytes("the payload", payload.len, thinBytes(shape));
    if (firstNotFiniteIn(.f32, payload)) |index|
        return abi.fail(error.InvalidFormat, "Expected finite factors, got others at index {d}", .{index});
    const work: codecs.Work = try .init(gradients, payload.len, 0);
    defer work.deinit();
    try work.stream.upload(work.payload, payload);
    const arguments = argumentsOf(&work, shape);
    return work.stream.launch(.gradients_lowrank_expand, .{
        .blocks = divideUp(arguments.columns, 256),
        .blocks_y = @min(divideUp(arguments.rows, rows_at_once), grid_y_max),
        .threads = 256,
    }, arguments);
}
