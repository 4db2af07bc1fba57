//! Exports of linear layers in training and of the head with its loss on CUDA devices. Arguments are
//! handles of tensors on one device; only `cuda_head_loss` waits for it.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("../cuda/backend.zig");
const bitlinear = @import("../cuda/bitlinear.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const head_loss = @import("../cuda/head_loss.zig");

const Buffer = backend.Buffer;
const Layer = bitlinear.Layer;

/// Rounds rows of `features` floats to int8 with a scale each, as bitlinear_quantize_tokens; a row that
/// is not finite gets a scale of NaN.
pub fn cuda_tokens_quantize(input: u64, values: u64, scales: u64, features: u32) callconv(.c) i32 {
    return abi.finish(quantizeTokens(input, values, scales, features));
}

/// What a layer of rows x columns weights keeps between its passes.
pub fn cuda_bitlinear_create(device: u32, columns: u32, rows: u32, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(createLayer(device, columns, rows, handle, handle_length));
}

/// Quantises the f32 weights anew and multiplies: out [tokens, rows], with a bias unless it is 0.
pub fn cuda_bitlinear_forward(layer: u64, weight: u64, values: u64, scales: u64, bias: u64, out: u64) callconv(.c) i32 {
    return abi.finish(forward(layer, weight, values, scales, bias, out));
}

/// Gradients by the weights of the last pass forward: those of weight and bias are added to, that of the
/// input is written, or added to with accumulate 1.
/// handles = [gradient, values, scales, weight gradient, bias gradient or 0, input gradient]
pub fn cuda_bitlinear_backward(layer: u64, tensors: ?[*]const u64, tensors_length: u32, accumulate: u32) callconv(.c) i32 {
    return abi.finish(backward(layer, tensors, tensors_length, accumulate));
}

/// result = [mean loss, targets that count], as head_loss; waits for it. A target outside of the table
/// gives a loss of NaN.
/// handles = [hidden, table, targets of i32, hidden gradient or 0, table gradient or 0]: the hidden states'
/// gradient is written, the table's added to.
pub fn cuda_head_loss(tensors: ?[*]const u64, tensors_length: u32, features: u32, scale: f64, result: ?[*]f64, result_length: u32) callconv(.c) i32 {
    return abi.finish(headLoss(tensors, tensors_length, features, scale, result, result_length));
}

/// The tensors behind handles, of which some may be 0; held until `release`.
fn Tensors(comptime count: usize) type {
    return struct {
        handles: [count]u64,
        at: [count]?*Buffer = @splat(null),

        fn acquire(values: [count]u64) abi.Failure!@This() {
            var self: @This() = .{ .handles = values };
            errdefer self.release();
            for (values, &self.at) |value, *buffer| {
                if (value != 0) buffer.* = try handles.acquire(Buffer, .tensor, value);
            }
            return self;
        }

        fn read(pointer: ?[*]const u64, length: u32) abi.Failure!@This() {
            const values = try abi.readable(u64, pointer, length, "tensors");
            try expectLength("tensors", values.len, count);
            return acquire(values[0..count].*);
        }

        fn release(self: *const @This()) void {
            for (self.handles, self.at) |handle, buffer| {
                if (buffer != null) handles.release(handle);
            }
        }

        fn get(self: *const @This(), index: usize) abi.Failure!*Buffer {
            return self.at[index] orelse abi.fail(error.Disposed, "Expected a live tensor handle as number {d}, got 0", .{index});
        }
    };
}

fn quantizeTokens(input: u64, values: u64, scales: u64, features: u32) abi.Failure!void {
    const held = try Tensors(3).acquire(.{ input, values, scales });
    defer held.release();
    return bitlinear.quantizeTokens(try held.get(0), try held.get(1), try held.get(2), features);
}

fn destroyLayer(object: *anyopaque) void {
    const layer: *Layer = @ptrCast(@alignCast(object));
    layer.destroy();
}

fn createLayer(index: u32, columns: u32, rows: u32, pointer: ?[*]u64, length: u32) abi.Failure!void {
    const handle = try abi.writable(u64, pointer, length, "the handle");
    try expectLength("the handle", handle.len, 1);
    const layer: *Layer = try .create(try backend.open(index), columns, rows);
    errdefer layer.destroy();
    handle[0] = try handles.create(.device_layer, layer, destroyLayer);
}

fn forward(handle: u64, weight: u64, values: u64, scales: u64, bias: u64, out: u64) abi.Failure!void {
    const layer = try handles.acquire(Layer, .device_layer, handle);
    defer handles.release(handle);
    const held = try Tensors(5).acquire(.{ weight, values, scales, bias, out });
    defer held.release();
    return layer.forward(try held.get(0), try held.get(1), try held.get(2), held.at[3], try held.get(4));
}

fn backward(handle: u64, tensors: ?[*]const u64, tensors_length: u32, accumulate: u32) abi.Failure!void {
    if (accumulate > 1) return abi.fail(error.InvalidOption, "Expected 0 or 1 for accumulate, got {d}", .{accumulate});
    const layer = try handles.acquire(Layer, .device_layer, handle);
    defer handles.release(handle);
    const held = try Tensors(6).read(tensors, tensors_length);
    defer held.release();
    return layer.backward(.{
        .gradient = try held.get(0),
        .values = try held.get(1),
        .scales = try held.get(2),
        .weight_gradient = try held.get(3),
        .bias_gradient = held.at[4],
        .input_gradient = try held.get(5),
        .accumulate = accumulate == 1,
    });
}

fn headLoss(tensors: ?[*]const u64, tensors_length: u32, features: u32, scale: f64, pointer: ?[*]f64, length: u32) abi.Failure!void {
    const result = try abi.writable(f64, pointer, length, "the result");
    try expectLength("the result", result.len, 2);
    if (!std.math.isFinite(scale)) return abi.fail(error.InvalidOption, "Expected a finite scale, got {d}", .{scale});
    const held = try Tensors(5).read(tensors, tensors_length);
    defer held.release();
    const wants = held.at[3] != null or held.at[4] != null;
    const found = try head_loss.run(.{
        .hidden = try held.get(0),
        .table = try held.get(1),
        .targets = try held.get(2),
        .gradients = if (wants) .{ .hidden = try held.get(3), .table = try held.get(4) } else null,
        .width = features,
        .scale = scale,
    });
    result[0..2].* = found;
}
