//! What an inference engine does on a device besides products: softmax, layer norm, adding a bias, and
//! copies of parts of tensors; the kernels of cuda/engine.cu.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const kernels = @import("kernels.zig");
const training = @import("training.zig");

const Buffer = backend.Buffer;
const divideUp = kernels.divideUp;

/// See engine.cu.
pub const Rows = extern struct {
    input: u64,
    weight: u64 = 0,
    bias: u64 = 0,
    out: u64,
    rows: u64,
    size: u32,
    stride: u32 = 1,
    epsilon: f32 = 0,
    reserved: u32 = 0,
};

/// Values of a row from which on it is worth a block.
const block_size_min = 512;

fn shapeOf(rows: u64, size: u32) abi.Failure!backend.Launch {
    const blocks = if (size < block_size_min) divideUp(rows, 8) else rows;
    // Four values for each thread, in whole warps.
    const threads = std.math.clamp(std.mem.alignForward(u32, divideUp(size, 4), 32), 128, 512);
    return .{ .blocks = try gridOf(blocks), .threads = if (size < block_size_min) 256 else threads };
}

fn gridOf(blocks: u64) abi.Failure!u32 {
    if (blocks > std.math.maxInt(i32)) return abi.fail(error.InvalidShape, "Expected at most 2^31 - 1 blocks of rows, got {d}", .{blocks});
    return @intCast(blocks);
}

/// `input` in softmaxes of `size` values, `stride` places apart.
pub fn softmax(input: *Buffer, out: *Buffer, size: u32, stride: u32) abi.Failure!void {
    const count = try training.sameCounts(input, .{.{ "the output", out }});
    try training.expectApart(.{out}, .{input});
    const plane = @as(u64, size) * stride;
    if (plane == 0 or count % plane != 0) return abi.fail(
        error.InvalidShape,
        "Expected input in whole blocks of {d} x {d} elements, got {d} elements",
        .{ size, stride, count },
    );
    const rows = count / size;
    const stream = try input.device.stream();
    const arguments: Rows = .{
        .input = try input.use(stream),
        .out = try out.use(stream),
        .rows = rows,
        .size = size,
        .stride = stride,
    };
    if (stride > 1) return stream.launch(.engine_softmax_columns, .{
        .blocks = try gridOf(count / plane * divideUp(stride, 32)),
        .threads = 32 * @as(u32, @min(32, size)),
    }, arguments);
    const kernel: kernels.Kernel = if (size < block_size_min) .engine_softmax_warp else .engine_softmax_block;
    return stream.launchOf(kernel, try shapeOf(rows, size), &arguments);
}

pub fn layerNorm(input: *Buffer, weight: *Buffer, bias: ?*Buffer, out: *Buffer, epsilon: f32) abi.Failure!void {
    const count = try training.sameCounts(input, .{.{ "the output", out }});
    const size = try training.sameCounts(weight, .{.{ "the bias", bias orelse weight }});
    try training.expectDevice(input, weight);
    try training.expectApart(.{out}, .{ input, weight, bias orelse weight });
    if (size > std.math.maxInt(i32) or count % size != 0) return abi.fail(
        error.InvalidShape,
        "Expected input in whole rows of {d} features, got {d} elements",
        .{ size, count },
    );
    if (!(epsilon >= 0) or std.math.isInf(epsilon))
        return abi.fail(error.InvalidOption, "Expected epsilon to be finite and at least 0, got {d}", .{epsilon});
    const stream = try input.device.stream();
    const arguments: Rows = .{
        .input = try input.use(stream),
        .weight = try weight.use(stream),
        .bias = if (bias) |given| try given.use(stream) else 0,
        .out = try out.use(stream),
        .rows = count / size,
        .size = @intCast(size),
        .epsilon = epsilon,
    };
    const kernel: kernels.Kernel = if (size < block_size_min) .engine_norm_warp else .engine_norm_block;
    return stream.launchOf(kernel, try shapeOf(count / size, @intCast(size)), &arguments);
}

/// Adds a row to every row, in place.
pub fn addRow(values: *Buffer, bias: *Buffer) abi.Failure!void {
    const count = try training.sameCounts(values, .{});
    const size = try training.sameCounts(bias, .{});
    try training.expectDevice(values, bias);
    try training.expectApart(.{values}, .{bias});
    if (size > std.math.maxInt(i32) or count % size != 0) return abi.fail(
        error.InvalidShape,
        "Expected values in whole rows of {d}, got {d}",
        .{ size, count },
    );
    const stream = try values.device.stream();
    const pointer = try values.use(stream);
    return stream.launch(.engine_add_row, .{ .blocks = try gridOf(divideUp(count, 256)), .threads = 256 }, .{
        .input = pointer,
        .bias = try bias.use(stream),
        .out = pointer,
        .rows = count / size,
        .size = @intCast(size),
    });
}

/// Copies bytes within a device.
pub fn copyPart(source: *Buffer, source_offset: u64, target: *Buffer, target_offset: u64, bytes: u64) abi.Failure!void {
    try training.expectDevice(source, target);
    try training.expectApart(.{target}, .{source});
    for ([_]*Buffer{ source, target }, [_]u64{ source_offset, target_offset }) |buffer, offset| {
        if (offset > buffer.bytes or bytes > buffer.bytes - offset) return abi.fail(
            error.InvalidLength,
            "Expected a part of {d} bytes, got {d} bytes from {d} on",
            .{ buffer.bytes, bytes, offset },
        );
    }
    const device = source.device;
    const stream = try device.stream();
    const from = try source.use(stream) + source_offset;
    const to = try target.use(stream) + target_offset;
    if (bytes == 0) return;
    try device.check(device.driver.cuMemcpyPeerAsync(to, device.context, from, device.context, @intCast(bytes), stream.handle), "copy");
}
