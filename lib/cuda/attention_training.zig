//! Causal attention of whole texts on a device, forward and backward; see cuda/attention_training.cu.

const std = @import("std");
const abi = @import("../abi.zig");
const attention_kernels = @import("attention_kernels.zig");
const backend = @import("backend.zig");
const kernels = @import("kernels.zig");

const Buffer = backend.Buffer;

pub const head_dim_max = attention_kernels.head_dim_max;

pub const Shape = struct {
    batch: u32,
    length: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,

    fn rows(self: Shape) u64 {
        return @as(u64, self.batch) * self.length * self.heads;
    }

    fn queryBytes(self: Shape) u64 {
        return 4 * self.rows() * self.head_dim;
    }

    fn keyBytes(self: Shape) u64 {
        return 4 * @as(u64, self.batch) * self.length * self.kv_heads * self.head_dim;
    }
};

pub const Forward = struct { queries: *Buffer, keys: *Buffer, values: *Buffer, out: *Buffer, log_sums: *Buffer };

pub const Backward = struct {
    queries: *Buffer,
    keys: *Buffer,
    values: *Buffer,
    out: *Buffer,
    log_sums: *Buffer,
    gradient: *Buffer,
    query_gradient: *Buffer,
    key_gradient: *Buffer,
    value_gradient: *Buffer,
};

/// Every tensor on one device and of its length; what is written is nothing else.
fn expectTensors(tensors: anytype, shape: Shape, comptime written: []const []const u8) abi.Failure!void {
    const device = tensors.queries.device;
    inline for (@typeInfo(@TypeOf(tensors)).@"struct".field_names) |name| {
        const buffer: *Buffer = @field(tensors, name);
        if (buffer.device != device) return abi.fail(
            error.InvalidValue,
            "Expected all tensors on cuda:{d}, got one on cuda:{d}",
            .{ device.index, buffer.device.index },
        );
        const bytes = comptime bytesOf(name);
        const expected = bytes(shape);
        if (buffer.bytes != expected) return abi.fail(
            error.InvalidLength,
            "Expected {s} to hold {d} bytes, got {d}",
            .{ name, expected, buffer.bytes },
        );
        inline for (written) |target| {
            if (comptime !std.mem.eql(u8, target, name)) {
                if (@field(tensors, target) == buffer) return abi.fail(
                    error.InvalidValue,
                    "Expected {s} in memory of its own, got that of {s}",
                    .{ target, name },
                );
            }
        }
    }
}

fn bytesOf(comptime name: []const u8) fn (Shape) u64 {
    if (std.mem.eql(u8, name, "log_sums")) return struct {
        fn sums(shape: Shape) u64 {
            return 4 * shape.rows();
        }
    }.sums;
    const of_keys = std.mem.startsWith(u8, name, "key") or std.mem.startsWith(u8, name, "value");
    return if (of_keys) Shape.keyBytes else Shape.queryBytes;
}

/// Blocks that fill a device, however uneven their work is; with fewer, every head has blocks of its own
/// for the gradients of the keys and values that it shares with others.
const enough_blocks = 1024;

fn launch(stream: *backend.Stream, tile: attention_kernels.Tile, shape: Shape, heads: u32, arguments: *const attention_kernels.AttendText) abi.Failure!void {
    return stream.launchOf(tile.kernel, .{
        .blocks = tile.blocks(shape.length, shape.batch * heads),
        .threads = tile.threads(),
        .shared_bytes = tile.shared_bytes,
    }, arguments);
}

/// What a pass works in, cut from one piece.
const Scratch = struct {
    buffer: *Buffer,
    next: u64,

    fn create(device: *backend.Device, stream: *backend.Stream, bytes: u64) abi.Failure!Scratch {
        const buffer: *Buffer = try .create(device, bytes);
        errdefer buffer.release();
        return .{ .buffer = buffer, .next = try buffer.use(stream) };
    }

    fn take(self: *Scratch, bytes: u64) u64 {
        const address = self.next;
        self.next += padded(bytes);
        return address;
    }
};

fn padded(bytes: u64) u64 {
    return std.mem.alignForward(u64, bytes, 256);
}

/// Sizes of what a pass keeps of the queries, or gradients, and of keys or values.
const Sizes = struct {
    rows: u64,
    key_rows: u64,
    dim: u32,

    fn of(shape: Shape, variant: *const attention_kernels.Variant) Sizes {
        return .{ .rows = shape.rows(), .key_rows = @as(u64, shape.batch) * shape.length * shape.kv_heads, .dim = variant.dim };
    }

    fn halves(self: Sizes, rows: u64) u64 {
        return 4 * rows * self.dim;
    }

    /// Parts and scales of as many tensors.
    fn bytes(self: Sizes, of_queries: u64, of_keys: u64) u64 {
        return of_queries * (padded(self.halves(self.rows)) + padded(4 * self.rows)) +
            of_keys * (padded(self.halves(self.key_rows)) + padded(4 * self.key_rows));
    }
};

/// The arguments that both passes have, with room for the parts of queries, keys and values.
fn argumentsOf(tensors: anytype, shape: Shape, sizes: Sizes, scratch: *Scratch, stream: *backend.Stream) abi.Failure!attention_kernels.AttendText {
    return .{
        .queries = try tensors.queries.use(stream),
        .keys = try tensors.keys.use(stream),
        .values = try tensors.values.use(stream),
        .out = try tensors.out.use(stream),
        .log_sums = try tensors.log_sums.use(stream),
        .query_halves = scratch.take(sizes.halves(sizes.rows)),
        .key_halves = scratch.take(sizes.halves(sizes.key_rows)),
        .value_halves = scratch.take(sizes.halves(sizes.key_rows)),
        .query_scales = scratch.take(4 * sizes.rows),
        .key_scales = scratch.take(4 * sizes.key_rows),
        .value_scales = scratch.take(4 * sizes.key_rows),
        .batch = shape.batch,
        .length = shape.length,
        .heads = shape.heads,
        .kv_heads = shape.kv_heads,
        .head_dim = shape.head_dim,
        .scale = 1 / @sqrt(@as(f32, @floatFromInt(shape.head_dim))),
    };
}

/// Of queries, keys, values and maybe the gradient.
fn split(stream: *backend.Stream, variant: *const attention_kernels.Variant, sizes: Sizes, tensors: u32, arguments: *const attention_kernels.AttendText) abi.Failure!void {
    return stream.launchOf(variant.split, .{
        .blocks = @intCast(kernels.divideUp(sizes.rows, attention_kernels.splitRows(variant.dim))),
        .blocks_y = tensors,
        .threads = attention_kernels.split_threads,
    }, arguments);
}

pub fn forward(tensors: Forward, shape: Shape) abi.Failure!void {
    try expectTensors(tensors, shape, &.{ "out", "log_sums" });
    const device = tensors.queries.device;
    const stream = try device.stream();
    const variant = attention_kernels.variantOf(shape.head_dim);
    const sizes: Sizes = .of(shape, variant);
    var scratch: Scratch = try .create(device, stream, sizes.bytes(1, 2));
    defer scratch.buffer.release();
    const arguments = try argumentsOf(tensors, shape, sizes, &scratch, stream);
    try split(stream, variant, sizes, 3, &arguments);
    return launch(stream, variant.forward, shape, shape.heads, &arguments);
}

pub fn backward(tensors: Backward, shape: Shape) abi.Failure!void {
    try expectTensors(tensors, shape, &.{ "query_gradient", "key_gradient", "value_gradient" });
    const device = tensors.queries.device;
    const stream = try device.stream();
    const variant = attention_kernels.variantOf(shape.head_dim);
    const sizes: Sizes = .of(shape, variant);
    const by_head = shape.heads > shape.kv_heads and variant.keys.blocks(shape.length, shape.batch * shape.kv_heads) < enough_blocks;
    const parts_bytes = if (by_head) padded(shape.queryBytes()) else 0;
    var scratch: Scratch = try .create(device, stream, sizes.bytes(2, 2) + padded(4 * sizes.rows) + 2 * parts_bytes);
    defer scratch.buffer.release();
    var arguments = try argumentsOf(tensors, shape, sizes, &scratch, stream);
    arguments.gradient = try tensors.gradient.use(stream);
    arguments.query_gradient = try tensors.query_gradient.use(stream);
    arguments.key_gradient = try tensors.key_gradient.use(stream);
    arguments.value_gradient = try tensors.value_gradient.use(stream);
    arguments.gradient_halves = scratch.take(sizes.halves(sizes.rows));
    arguments.gradient_scales = scratch.take(4 * sizes.rows);
    arguments.sums = scratch.take(4 * sizes.rows);
    if (by_head) {
        arguments.key_parts = scratch.take(parts_bytes);
        arguments.value_parts = scratch.take(parts_bytes);
    }
    try split(stream, variant, sizes, 4, &arguments);
    // The first writes the sums that the others read.
    try launch(stream, variant.queries, shape, shape.heads, &arguments);
    const heads = if (by_head) shape.heads else shape.kv_heads;
    try launch(stream, variant.keys, shape, heads, &arguments);
    if (variant.values) |values| try launch(stream, values, shape, heads, &arguments);
    if (!by_head) return;
    const pairs = shape.keyBytes() / 8;
    return stream.launch(.attend_text_add, .{ .blocks = @intCast(kernels.divideUp(pairs, 256)), .threads = 256 }, arguments);
}
