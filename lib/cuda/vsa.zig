//! Hypervectors in device memory, as on the CPU bit for bit, and what is done to them element by
//! element. Nothing waits for the device but what hands results to the host.

const std = @import("std");
const abi = @import("../abi.zig");
const arguments = @import("vsa_arguments.zig");
const backend = @import("backend.zig");
const bundles = @import("../cpu/vsa_bundles.zig");
const cpu = @import("../cpu/vsa_vectors.zig");
const driver = @import("driver.zig");
const kernels = @import("kernels.zig");
const sync = @import("../sync.zig");
const table = @import("../cpu/vsa_table.zig");

const Buffer = backend.Buffer;
const Stream = backend.Stream;

/// Counts and dot products of device kernels are i32.
const dim_max = cpu.dim_max - 1;

/// The most rows that counters of one bit a digit take in vsa_bundle_few and _some.
const few_max = 31;
const some_max = 1023;
/// Rows of a part of vsa_count.
const part_max = 127;

pub const Vectors = struct {
    device: *backend.Device,
    count: u32,
    dim: u32,
    /// 32-bit words of one plane.
    words: u32,
    buffer: *Buffer,
    /// Nonzero and negative trits of each row, two u32, while they are known; held by `lock`.
    counts: ?*Buffer = null,
    lock: sync.Mutex = .{},

    /// Vectors of zeros.
    pub fn create(device: *backend.Device, count: u32, dim: u32) abi.Failure!*Vectors {
        if (dim == 0 or dim > dim_max)
            return abi.fail(error.InvalidShape, "Expected from 1 to {d} dimensions on a CUDA device, got {d}", .{ dim_max, dim });
        if (count == 0) return abi.fail(error.InvalidShape, "Expected at least one vector, got none", .{});
        const self = try std.heap.c_allocator.create(Vectors);
        errdefer std.heap.c_allocator.destroy(self);
        const words: u32 = @intCast(table.wordsOf(dim) * 2);
        self.* = .{ .device = device, .count = count, .dim = dim, .words = words, .buffer = undefined };
        self.buffer = try .create(device, count * self.rowBytes());
        errdefer self.buffer.release();
        const stream = try device.stream();
        const bytes: usize = @intCast(self.buffer.bytes);
        try device.check(device.driver.cuMemsetD8Async(try self.buffer.use(stream), 0, bytes, stream.handle), "clear memory");
        return self;
    }

    pub fn destroy(self: *Vectors) void {
        self.forgetCounts();
        self.buffer.release();
        std.heap.c_allocator.destroy(self);
    }

    /// The address, for what changes the vectors next.
    pub fn change(self: *Vectors, stream: *Stream) abi.Failure!driver.Pointer {
        self.forgetCounts();
        return self.buffer.use(stream);
    }

    fn forgetCounts(self: *Vectors) void {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.counts) |counts| counts.release();
        self.counts = null;
    }

    /// Nonzero and negative trits of each row, two u32, counted once after every change; the caller's
    /// to release.
    pub fn countRows(self: *Vectors, stream: *Stream) abi.Failure!*Buffer {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.counts == null) {
            const counts: *Buffer = try .create(self.device, @as(u64, self.count) * 8);
            errdefer counts.release();
            try stream.launch(.vsa_count_rows, shapeFor(self.device, @as(u64, self.count) * 32), .{
                .a = try self.buffer.use(stream),
                .scores = try counts.use(stream),
                .count = self.count,
                .a_stride = self.stride(),
                .pieces = self.pieces(),
                .dim = self.dim,
            });
            self.counts = counts;
        }
        self.counts.?.retain();
        return self.counts.?;
    }

    pub fn rowBytes(self: *const Vectors) u64 {
        return @as(u64, self.words) * 8;
    }

    /// Pieces of a plane.
    pub fn pieces(self: *const Vectors) u32 {
        return self.words / 4;
    }

    /// Pieces from a row to the next.
    pub fn stride(self: *const Vectors) u32 {
        return 2 * self.pieces();
    }

    /// The same for a batch of `count`: one vector serves all.
    fn strideFor(self: *const Vectors, count: u32) abi.Failure!u32 {
        if (self.count == count) return self.stride();
        if (self.count == 1) return 0;
        return abi.fail(error.InvalidShape, "Expected 1 or {d} vectors, got {d}", .{ count, self.count });
    }

    pub fn expectDim(self: *const Vectors, dim: u32) abi.Failure!void {
        if (self.dim != dim)
            return abi.fail(error.InvalidShape, "Expected vectors of {d} dimensions, got {d}", .{ dim, self.dim });
    }

    pub fn expectRows(self: *const Vectors, first: u32, rows: u64) abi.Failure!void {
        if (@as(u64, first) + rows > self.count) return abi.fail(
            error.InvalidShape,
            "Expected rows {d} to {d} of {d} vectors",
            .{ first, @as(u64, first) + rows, self.count },
        );
    }

    pub fn expectShapeOf(self: *const Vectors, other: *const Vectors) abi.Failure!void {
        try self.expectDim(other.dim);
        if (self.count != other.count)
            return abi.fail(error.InvalidShape, "Expected {d} vectors, got {d}", .{ other.count, self.count });
    }

    /// Nothing travels unasked.
    pub fn expectDeviceOf(self: *const Vectors, other: *const Vectors) abi.Failure!void {
        if (self.device != other.device) return abi.fail(
            error.InvalidValue,
            "Expected all vectors on cuda:{d}, got some on cuda:{d}",
            .{ other.device.index, self.device.index },
        );
    }

    /// Copies all rows of vectors of the CPU.
    pub fn upload(self: *Vectors, source: *const cpu.Vectors) abi.Failure!void {
        try self.expectSame(source);
        const stream = try self.device.stream();
        return stream.upload(try self.change(stream), std.mem.sliceAsBytes(source.data));
    }

    pub fn download(self: *Vectors, target: *const cpu.Vectors) abi.Failure!void {
        try self.expectSame(target);
        const stream = try self.device.stream();
        return stream.download(try self.buffer.use(stream), std.mem.sliceAsBytes(target.data));
    }

    fn expectSame(self: *const Vectors, other: *const cpu.Vectors) abi.Failure!void {
        try self.expectDim(other.dim);
        if (self.count != other.count)
            return abi.fail(error.InvalidShape, "Expected {d} vectors, got {d}", .{ other.count, self.count });
    }
};

/// Threads of 256 a block, that go round where there is more to do than the device takes at once.
pub fn shapeFor(device: *const backend.Device, threads: u64) backend.Launch {
    const blocks = kernels.divideUp(@max(threads, 1), 256);
    return .{ .blocks = @intCast(@min(blocks, device.multiprocessors * 64)), .threads = 256 };
}

/// As many threads as there is to do.
fn shapeOf(threads: u64) abi.Failure!backend.Launch {
    const blocks = std.math.cast(u31, kernels.divideUp(threads, 256)) orelse
        return abi.fail(error.Unsupported, "Expected fewer than 2^39 words of hypervectors in one call, got {d}", .{threads});
    return .{ .blocks = blocks, .threads = 256 };
}

/// Copies rows, also to another device; within one object they must not overlap.
pub fn copyRows(source: *Vectors, source_row: u32, target: *Vectors, target_row: u32, rows: u32) abi.Failure!void {
    try target.expectDim(source.dim);
    try source.expectRows(source_row, rows);
    try target.expectRows(target_row, rows);
    const apart = if (source_row > target_row) source_row - target_row else target_row - source_row;
    if (source == target and apart < rows)
        return abi.fail(error.InvalidOption, "Expected rows that do not overlap", .{});
    const device = target.device;
    const stream = try device.stream();
    const from = try source.buffer.use(stream) + source_row * source.rowBytes();
    const to = try target.change(stream) + target_row * target.rowBytes();
    const bytes: usize = @intCast(rows * source.rowBytes());
    try device.check(device.driver.cuMemcpyPeerAsync(to, device.context, from, source.device.context, bytes, stream.handle), "copy vectors");
}

/// Random trits in every row; `below` null for bipolar ones.
pub fn random(vectors: *Vectors, seed: u64, below: ?u32) abi.Failure!void {
    const stream = try vectors.device.stream();
    const told: arguments.Random = .{
        .out = try vectors.change(stream),
        .seed = seed,
        .count = vectors.count,
        .words = vectors.words,
        .dim = vectors.dim,
        .below = below orelse 0,
    };
    const words = @as(u64, vectors.count) * vectors.words;
    if (below == null) return stream.launch(.vsa_random_bipolar, shapeFor(vectors.device, words / 4), told);
    return stream.launch(.vsa_random, shapeFor(vectors.device, words), told);
}

/// The operation of each row of `a` and `b`: add, subtract or multiply; `out` may be one of them.
pub fn bind(a: *Vectors, b: *Vectors, out: *Vectors, operation: u32) abi.Failure!void {
    for ([_]*Vectors{ a, b }) |operand| {
        try operand.expectDim(out.dim);
        try operand.expectDeviceOf(out);
    }
    const kernel: kernels.Kernel = switch (operation) {
        0 => .vsa_add,
        1 => .vsa_subtract,
        2 => .vsa_multiply,
        else => return abi.fail(error.InvalidOption, "Expected a binding from 0 to 2, got {d}", .{operation}),
    };
    const a_stride = try a.strideFor(out.count);
    const b_stride = try b.strideFor(out.count);
    const stream = try out.device.stream();
    const told: arguments.Bind = .{
        .a = try a.buffer.use(stream),
        .b = try b.buffer.use(stream),
        .out = try out.change(stream),
        .count = out.count,
        .a_stride = a_stride,
        .b_stride = b_stride,
        .pieces = out.pieces(),
    };
    // Two pieces a thread; see bind_items.
    return stream.launchOf(kernel, try shapeOf(kernels.divideUp(@as(u64, out.count) * out.pieces(), 2)), &told);
}

pub fn negate(a: *Vectors, out: *Vectors) abi.Failure!void {
    try a.expectShapeOf(out);
    try a.expectDeviceOf(out);
    const stream = try out.device.stream();
    return stream.launch(.vsa_negate, shapeFor(out.device, @as(u64, out.count) * out.pieces()), .{
        .a = try a.buffer.use(stream),
        .out = try out.change(stream),
        .count = out.count,
        .a_stride = a.stride(),
        .pieces = out.pieces(),
    });
}

/// out[(i + shift) mod dim] = a[i] in every row; `out` may be `a`.
pub fn rotate(a: *Vectors, out: *Vectors, shift: u32) abi.Failure!void {
    try a.expectShapeOf(out);
    try a.expectDeviceOf(out);
    if (shift >= out.dim) return abi.fail(error.InvalidOption, "Expected a shift below {d}, got {d}", .{ out.dim, shift });
    const stream = try out.device.stream();
    if (a == out) {
        const copy: *Vectors = try .create(a.device, a.count, a.dim);
        defer copy.destroy();
        try copyRows(a, 0, copy, 0, a.count);
        return rotate(copy, out, shift);
    }
    return stream.launch(.vsa_rotate, shapeFor(out.device, @as(u64, out.count) * out.words), .{
        .a = try a.buffer.use(stream),
        .out = try out.change(stream),
        .count = out.count,
        .words = out.words,
        .dim = out.dim,
        .shift = shift,
    });
}

pub fn isEqual(a: *Vectors, b: *Vectors) abi.Failure!bool {
    try a.expectDeviceOf(b);
    if (a.dim != b.dim or a.count != b.count) return false;
    const stream = try a.device.stream();
    const flag: *Buffer = try .create(a.device, 4);
    defer flag.release();
    const pointer = try flag.use(stream);
    try a.device.check(a.device.driver.cuMemsetD8Async(pointer, 0, 4, stream.handle), "clear memory");
    const count = @as(u64, a.count) * a.stride();
    try stream.launch(.vsa_equal, shapeFor(a.device, count), .{
        .a = try a.buffer.use(stream),
        .b = try b.buffer.use(stream),
        .different = pointer,
        .count = count,
    });
    var different: [1]u32 = undefined;
    try stream.download(pointer, std.mem.sliceAsBytes(&different));
    return different[0] == 0;
}

/// `group` rows for each row of the result.
fn expectGroups(from: *const Vectors, group: u32, to: *const Vectors) abi.Failure!void {
    if (group == 0) return abi.fail(error.InvalidShape, "Expected groups of at least one row, got 0", .{});
    try from.expectDim(to.dim);
    try from.expectDeviceOf(to);
    if (@as(u64, to.count) * group != from.count) return abi.fail(
        error.InvalidShape,
        "Expected {d} groups of {d} rows, got {d} rows",
        .{ to.count, group, from.count },
    );
}

/// Each `group` rows bound from the left.
pub fn fold(from: *Vectors, group: u32, to: *Vectors, operation: u32) abi.Failure!void {
    try expectGroups(from, group, to);
    if (operation > 2) return abi.fail(error.InvalidOption, "Expected a binding from 0 to 2, got {d}", .{operation});
    const stream = try to.device.stream();
    return stream.launch(.vsa_fold, shapeFor(to.device, @as(u64, to.count) * to.pieces()), .{
        .a = try from.buffer.use(stream),
        .out = try to.change(stream),
        .count = to.count,
        .a_stride = from.stride(),
        .pieces = to.pieces(),
        .operation = operation,
        .group = group,
    });
}

/// The sign of the sum of each `group` rows; `weights` is empty or has one for each of a group.
pub fn bundle(from: *Vectors, group: u32, to: *Vectors, weights: []const f32, options: bundles.Options) abi.Failure!void {
    try expectGroups(from, group, to);
    try options.check();
    const stream = try to.device.stream();
    var told: arguments.Bundle = .{
        .source = try from.buffer.use(stream),
        .out = try to.change(stream),
        .seed = options.seed,
        .count = to.count,
        .group = group,
        .words = to.words,
        .dim = to.dim,
        .threshold = options.threshold,
        .tie = @backingInt(options.tie),
    };
    const words = @as(u64, to.count) * to.words;
    if (weights.len > 0) {
        const buffer: *Buffer = try .create(to.device, weights.len * 4);
        defer buffer.release();
        told.weights = try buffer.use(stream);
        try stream.upload(told.weights, std.mem.sliceAsBytes(weights));
        return stream.launch(.vsa_bundle_weighted, shapeFor(to.device, words * 32), told);
    }
    const part = partOf(to.device, words, group);
    if (part < group) return bundleByParts(stream, to.device, told, words, part);
    const shape = try shapeOf(words);
    if (group <= few_max) return stream.launch(.vsa_bundle_few, shape, told);
    if (group <= some_max) return stream.launch(.vsa_bundle_some, shape, told);
    return stream.launch(.vsa_bundle_many, shape, told);
}

/// Rows that a thread should count: all, where the words alone give the device enough to do.
fn partOf(device: *const backend.Device, words: u64, group: u32) u32 {
    const wanted = @as(u64, device.multiprocessors) * 1024;
    if (words >= wanted or group <= 2 * few_max) return group;
    const parts = kernels.divideUp(wanted, words);
    return @intCast(std.math.clamp(kernels.divideUp(@as(u64, group), parts), few_max, part_max));
}

/// Blocks along a grid's second axis, at most.
const grid_y_max = 65535;

fn bundleByParts(stream: *Stream, device: *backend.Device, whole: arguments.Bundle, words: u64, part: u32) abi.Failure!void {
    var told = whole;
    const counts: *Buffer = try .create(device, words * 32 * 4);
    defer counts.release();
    told.counts = try counts.use(stream);
    told.part = part;
    try device.check(device.driver.cuMemsetD8Async(told.counts, 0, @intCast(counts.bytes), stream.handle), "clear memory");
    const shape: backend.Launch = .{
        .blocks = @intCast(kernels.divideUp(words, 128)),
        .blocks_y = @min(kernels.divideUp(told.group, part), grid_y_max),
        .threads = 128,
    };
    try stream.launch(.vsa_count, shape, told);
    return stream.launch(.vsa_count_signs, .{ .blocks = shape.blocks, .threads = 128 }, told);
}

/// Single vectors as the rows of one batch, in memory of the call.
pub fn gather(list: []const *Vectors) abi.Failure!*Vectors {
    const first = list[0];
    const rows: *Vectors = try .create(first.device, @intCast(list.len), first.dim);
    errdefer rows.destroy();
    for (list, 0..) |vector, row| {
        try vector.expectDim(first.dim);
        try vector.expectDeviceOf(first);
        if (vector.count != 1) return abi.fail(error.InvalidShape, "Expected single vectors, got {d}", .{vector.count});
        try copyRows(vector, 0, rows, @intCast(row), 1);
    }
    return rows;
}
