//! Passes over f32 tensors on a device: combinations, scaling, clipping, sums of squares, half precision.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const kernels = @import("kernels.zig");

const Buffer = backend.Buffer;
const Stream = backend.Stream;

/// Values of a block of threads; see floats.cu.
const block_values = 4096;
/// Values whose squares are added up together, and how many such runs a block has.
const sum_values = 16384;
const block_runs = 4;

fn expectDevice(first: *const Buffer, other: *const Buffer) abi.Failure!void {
    if (first.device != other.device) return abi.fail(
        error.InvalidValue,
        "Expected all tensors on cuda:{d}, got one on cuda:{d}",
        .{ first.device.index, other.device.index },
    );
}

fn expectBytes(name: []const u8, buffer: *const Buffer, bytes: u64) abi.Failure!void {
    if (buffer.bytes != bytes) return abi.fail(error.InvalidLength, "Expected {s} to hold {d} bytes, got {d}", .{ name, bytes, buffer.bytes });
}

/// How many values there are; a grid takes 2^31 blocks of them.
fn countOf(buffer: *const Buffer, size: u64) abi.Failure!u64 {
    if (buffer.bytes == 0 or buffer.bytes % size != 0) return abi.fail(
        error.InvalidLength,
        "Expected at least one value of {d} bytes, got {d} bytes",
        .{ size, buffer.bytes },
    );
    return buffer.bytes / size;
}

fn shapeOf(count: u64) backend.Launch {
    return .{ .blocks = @intCast(kernels.divideUp(count, block_values)), .threads = 256 };
}

/// out = alpha a + beta b; `out` may be either.
pub fn combine(a: *Buffer, alpha: f32, b: *Buffer, beta: f32, out: *Buffer) abi.Failure!void {
    const count = try countOf(a, 4);
    for ([_]*Buffer{ b, out }, [_][]const u8{ "the second list", "the result" }) |buffer, name| {
        try expectDevice(a, buffer);
        try expectBytes(name, buffer, a.bytes);
    }
    const stream = try a.device.stream();
    return stream.launch(.floats_combine, shapeOf(count), .{
        .source = try a.use(stream),
        .second = try b.use(stream),
        .target = try out.use(stream),
        .count = count,
        .alpha = alpha,
        .beta = beta,
    });
}

/// Copies within a device.
pub fn copy(source: *Buffer, target: *Buffer) abi.Failure!void {
    try expectDevice(source, target);
    try expectBytes("the copy", target, source.bytes);
    const device = source.device;
    const stream = try device.stream();
    const from = try source.use(stream);
    const to = try target.use(stream);
    if (from == to) return;
    try device.check(device.driver.cuMemcpyPeerAsync(to, device.context, from, device.context, @intCast(source.bytes), stream.handle), "copy");
}

/// What a kernel finds: a word that begins with the same byte everywhere.
fn found(comptime T: type, stream: *Stream, fill: u8, context: anytype, comptime work: fn (@TypeOf(context), *Stream, u64) abi.Failure!void) abi.Failure!T {
    const device = stream.device;
    const memory: *Buffer = try .create(device, 16);
    defer memory.release();
    const pointer = try memory.use(stream);
    try device.check(device.driver.cuMemsetD8Async(pointer, fill, 16, stream.handle), "clear memory");
    try work(context, stream, pointer);
    var result: T = undefined;
    try stream.download(pointer, std.mem.asBytes(&result));
    return result;
}

const Values = struct { buffer: *Buffer, count: u64 };

/// Launches a kernel over tensors of one device, so many values of one for each block: many tensors at a
/// time, for most are too small to fill the device. `found_bytes` of what it finds come from each block.
fn launchMany(
    comptime kernel: kernels.Kernel,
    stream: *Stream,
    buffers: []const *Buffer,
    shape: struct { values: u64, threads: u32, found_bytes: u64 },
    found_pointer: u64,
    factor: f64,
) abi.Failure!void {
    const capacity = kernels.PassOfMany.capacity;
    var from: usize = 0;
    var pointer = found_pointer;
    while (from < buffers.len) : (from += capacity) {
        const some = buffers[from..@min(from + capacity, buffers.len)];
        // A launch copies all of it.
        var list = std.mem.zeroes(kernels.PassOfMany);
        list.found = pointer;
        list.factor = factor;
        list.length = @intCast(some.len);
        var blocks: u32 = 0;
        for (some, list.values[0..some.len], list.counts[0..some.len], list.first[0..some.len]) |buffer, *values, *count, *first| {
            values.* = try buffer.use(stream);
            count.* = buffer.bytes / 4;
            first.* = blocks;
            blocks += @intCast(kernels.divideUp(count.*, shape.values));
        }
        try stream.launch(kernel, .{ .blocks = blocks, .threads = shape.threads }, list);
        pointer += blocks * shape.found_bytes;
    }
}

fn expectValues(buffers: []const *Buffer) abi.Failure!void {
    for (buffers) |buffer| {
        try expectDevice(buffers[0], buffer);
        _ = try countOf(buffer, 4);
    }
}

const Scaling = struct { buffers: []const *Buffer, factor: f64 };

/// Multiplies tensors of one device in place; whether any product is not finite. Waits once.
pub fn scaleAll(buffers: []const *Buffer, factor: f64) abi.Failure!bool {
    if (!std.math.isFinite(factor)) return abi.fail(error.InvalidOption, "Expected a finite factor, got {d}", .{factor});
    try expectValues(buffers);
    const context: Scaling = .{ .buffers = buffers, .factor = factor };
    const overflow = try found(u32, try buffers[0].device.stream(), 0, context, struct {
        fn work(self: Scaling, stream: *Stream, pointer: u64) abi.Failure!void {
            return launchMany(.floats_scale, stream, self.buffers, .{ .values = block_values, .threads = 256, .found_bytes = 0 }, pointer, self.factor);
        }
    }.work);
    return overflow != 0;
}

/// The index of the first NaN or infinity.
pub fn findNotFinite(values: *Buffer) abi.Failure!?u64 {
    const context: Values = .{ .buffer = values, .count = try countOf(values, 4) };
    const index = try found(u64, try values.device.stream(), 0xff, context, struct {
        fn work(self: Values, stream: *Stream, pointer: u64) abi.Failure!void {
            return stream.launch(.floats_find, shapeOf(self.count), .{
                .source = try self.buffer.use(stream),
                .found = pointer,
                .count = self.count,
            });
        }
    }.work);
    return if (index < context.count) index else null;
}

/// Moves what is outside of least .. most to the bounds, in place.
pub fn clip(values: *Buffer, least: f32, most: f32, nan_to_zero: u32) abi.Failure!void {
    const count = try countOf(values, 4);
    if (!(least <= most)) return abi.fail(
        error.InvalidOption,
        "Expected a least value that is not above the most, got {d} and {d}",
        .{ least, most },
    );
    if (nan_to_zero > 1) return abi.fail(error.InvalidOption, "Expected 0 or 1 for NaN to zero, got {d}", .{nan_to_zero});
    const stream = try values.device.stream();
    const address = try values.use(stream);
    return stream.launch(.floats_clip, shapeOf(count), .{
        .source = address,
        .target = address,
        .count = count,
        .alpha = least,
        .beta = most,
        .option = nan_to_zero,
    });
}

/// Runs of a tensor, those that its last block has too many among them.
fn runsOf(buffer: *const Buffer) u64 {
    return kernels.divideUp(buffer.bytes / 4, sum_values * block_runs) * block_runs;
}

/// The sum of each tensor's squares in the order of the CPU, of tensors on one device. Waits once.
pub fn sumSquaresAll(buffers: []const *Buffer, sums: []f64) abi.Failure!void {
    try expectValues(buffers);
    var runs: u64 = 0;
    for (buffers) |buffer| runs += runsOf(buffer);
    const device = buffers[0].device;
    const stream = try device.stream();
    const memory: *Buffer = try .create(device, 8 * runs);
    defer memory.release();
    const pointer = try memory.use(stream);
    try launchMany(.floats_sum_squares, stream, buffers, .{ .values = sum_values * block_runs, .threads = 64, .found_bytes = 8 * block_runs }, pointer, 0);
    const parts = try std.heap.c_allocator.alloc(f64, @intCast(runs));
    defer std.heap.c_allocator.free(parts);
    try stream.download(pointer, std.mem.sliceAsBytes(parts));
    var rest = parts;
    for (buffers, sums) |buffer, *sum| {
        sum.* = 0;
        for (rest[0..@intCast(kernels.divideUp(buffer.bytes / 4, sum_values))]) |part| sum.* += part;
        rest = rest[@intCast(runsOf(buffer))..];
    }
}

/// Between f32 and 16 bits: `float` is 1 for f16, 2 for bf16.
pub fn convert(source: *Buffer, target: *Buffer, float: u32, comptime kernel: kernels.Kernel) abi.Failure!void {
    const from_size: u64 = if (kernel == .floats_narrow) 4 else 2;
    const count = try countOf(source, from_size);
    try expectDevice(source, target);
    try expectBytes("out", target, count * (6 - from_size));
    if (float != 1 and float != 2) return abi.fail(error.InvalidOption, "Expected a half-precision float, 1 or 2, got {d}", .{float});
    const stream = try source.device.stream();
    return stream.launch(kernel, shapeOf(count), .{
        .source = try source.use(stream),
        .target = try target.use(stream),
        .count = count,
        .option = float,
    });
}
