//! Exports of ternary layers and of the loss in training on CUDA devices: what bitlinear.zig and
//! head_loss of training.zig do for arrays, on tensors.
//!
//! Tensors are f32 unless it says otherwise, all on one device; what is written lies apart from the
//! rest. Nothing waits for the device but what says so.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("../cuda/backend.zig");
const bitlinear = @import("../cuda/bitlinear.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const head_loss = @import("../cuda/head_loss.zig");

const Buffer = backend.Buffer;
const Layer = bitlinear.Layer;

/// values (i8) [tokens, features] and scales [tokens] of the input, by the largest magnitude of each
/// token, at least 1e-5. A token that holds NaN or an infinity gets a scale of NaN and zeros.
pub fn cuda_tokens_quantize(input: u64, values: u64, scales: u64, features: u32) callconv(.c) i32 {
    return abi.finish(quantizeTokens(input, values, scales, features));
}

/// What a layer of weights [rows, columns] keeps on its device between its passes: a quarter of a byte
/// for a weight.
pub fn cuda_bitlinear_create(device: u32, columns: u32, rows: u32, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(createLayer(device, columns, rows, handle, handle_length));
}

/// out [tokens, rows] = the product of int8 values [tokens, columns] with their scales and the weights,
/// quantised anew by the mean magnitude of all (at least 1e-5), plus the bias (0 for none). Exact as on
/// the CPU. A weight that is not finite makes everything NaN.
pub fn cuda_bitlinear_forward(layer: u64, weight: u64, values: u64, scales: u64, bias: u64, out: u64) callconv(.c) i32 {
    return abi.finish(forward(layer, weight, values, scales, bias, out));
}

/// weight_gradient += g^T (q s), bias_gradient += the sums of the gradient's columns, input_gradient = (or
/// += with accumulate 1) g (t w) with the trits of the last forward pass.
/// tensors = [gradient, values (i8), scales, weight gradient, bias gradient or 0, input gradient]
pub fn cuda_bitlinear_backward(layer: u64, tensors: ?[*]const u64, tensors_length: u32, accumulate: u32) callconv(.c) i32 {
    return abi.finish(backward(layer, tensors, tensors_length, accumulate));
}

/// result = [mean loss, tokens that count]: softmax cross-entropy of hidden [tokens, features] with the
/// table [vocab, features]; a target of -100 does not count, and one outside of the table gives NaN. The
/// gradients, both or neither, are of the mean times `scale`: that of hidden is written, that of the
/// table added. Waits for the loss.
/// tensors = [hidden, table, targets (i32), hidden gradient or 0, table gradient or 0]
pub fn cuda_head_loss(
    tensors: ?[*]const u64,
    tensors_length: u32,
    features: u32,
    scale: f64,
    result: ?[*]f64,
    result_length: u32,
) callconv(.c) i32 {
    return abi.finish(headLoss(tensors, tensors_length, features, scale, result, result_length));
}

/// Tensors of a call by their handles, 0 for none; held until `release`.
fn Held(comptime count: usize) type {
    return struct {
        const Self = @This();

        handles: [count]u64,
        buffers: [count]?*Buffer = @splat(null),

        /// `optional` are places that may be 0.
        fn acquire(pointer: ?[*]const u64, length: u32, comptime optional: []const usize) abi.Failure!Self {
            const given = try abi.readable(u64, pointer, length, "tensors");
            try expectLength("tensors", given.len, count);
            var self: Self = .{ .handles = given[0..count].* };
            errdefer self.release();
            for (self.handles, &self.buffers, 0..) |handle, *buffer, place| {
                if (handle == 0 and std.mem.indexOfScalar(usize, optional, place) != null) continue;
                buffer.* = try handles.acquire(Buffer, .tensor, handle);
            }
            return self;
        }

        fn release(self: *const Self) void {
            for (self.handles, self.buffers) |handle, buffer| if (buffer != null) handles.release(handle);
        }
    };
}

fn quantizeTokens(input: u64, values: u64, scales: u64, features: u32) abi.Failure!void {
    const held: Held(3) = try .acquire(&[3]u64{ input, values, scales }, 3, &.{});
    defer held.release();
    return bitlinear.quantizeTokens(held.buffers[0].?, held.buffers[1].?, held.buffers[2].?, features);
}

fn destroyLayer(object: *anyopaque) void {
    const layer: *Layer = @ptrCast(@alignCast(object));
    layer.destroy();
}

fn createLayer(index: u32, columns: u32, rows: u32, pointer: ?[*]u64, length: u32) abi.Failure!void {
    const target = try abi.writable(u64, pointer, length, "the handle");
    try expectLength("the handle", target.len, 1);
    const layer: *Layer = try .create(try backend.open(index), rows, columns);
    errdefer layer.destroy();
    target[0] = try handles.create(.device_linear, layer, destroyLayer);
}

fn forward(handle: u64, weight: u64, values: u64, scales: u64, bias: u64, out: u64) abi.Failure!void {
    const layer = try handles.acquire(Layer, .device_linear, handle);
    defer handles.release(handle);
    const held: Held(5) = try .acquire(&[5]u64{ weight, values, scales, bias, out }, 5, &.{3});
    defer held.release();
    const b = held.buffers;
    return layer.forward(.{ .weight = b[0].?, .values = b[1].?, .scales = b[2].?, .bias = b[3], .out = b[4].? });
}

fn backward(handle: u64, tensors: ?[*]const u64, tensors_length: u32, accumulate: u32) abi.Failure!void {
    const layer = try handles.acquire(Layer, .device_linear, handle);
    defer handles.release(handle);
    const held: Held(6) = try .acquire(tensors, tensors_length, &.{4});
    defer held.release();
    if (accumulate > 1) return abi.fail(error.InvalidOption, "Expected 0 or 1 for whether to accumulate, got {d}", .{accumulate});
    const b = held.buffers;
    return layer.backward(.{
        .gradient = b[0].?,
        .values = b[1].?,
        .scales = b[2].?,
        .weight_gradient = b[3].?,
        .bias_gradient = b[4],
        .input_gradient = b[5].?,
        .adds = accumulate == 1,
    });
}

fn headLoss(tensors: ?[*]const u64, tensors_length: u32, features: u32, scale: f64, pointer: ?[*]f64, length: u32) abi.Failure!void {
    const held: Held(5) = try .acquire(tensors, tensors_length, &.{ 3, 4 });
    defer held.release();
    const result = try abi.writable(f64, pointer, length, "result");
    try expectLength("result", result.len, 2);
    const b = held.buffers;
    if ((b[3] == null) != (b[4] == null))
        return abi.fail(error.InvalidValue, "Expected both gradients or neither, got one", .{});
    const head: head_loss.Head = .{
        .hidden = b[0].?,
        .table = b[1].?,
        .targets = b[2].?,
        .hidden_gradient = b[3],
        .table_gradient = b[4],
        .features = features,
        .scale = scale,
    };
    result[0..2].* = try head.run();
}
