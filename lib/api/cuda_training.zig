//! Exports of what training does on CUDA devices besides products and attention: what training.zig and
//! optimizers.zig do for arrays, on tensors.
//!
//! Tensors are f32 unless it says otherwise, all on one device; what is written lies apart from the
//! rest unless it says otherwise. Nothing waits for the device.

const std = @import("std");
const abi = @import("../abi.zig");
const Buffer = @import("../cuda/backend.zig").Buffer;
const Fields = @import("options.zig").Fields;
const handles = @import("../handles.zig");
const optimizers = @import("../cuda/training_optimizers.zig");
const training = @import("../cuda/training.zig");

/// Makes every byte of a tensor of any type 0.
pub fn cuda_tensor_clear(values: u64) callconv(.c) i32 {
    return abi.finish(clear(values));
}

/// out [ids, features] = rows of the table; `ids` is of i32, and one outside of the table gives NaN.
pub fn cuda_embedding_forward(table: u64, ids: u64, out: u64, features: u32) callconv(.c) i32 {
    return abi.finish(embeddingForward(table, ids, out, features));
}

/// table_gradient[id] += gradient of the token, for every token whose id is in the table.
pub fn cuda_embedding_backward(gradient: u64, ids: u64, table_gradient: u64, features: u32) callconv(.c) i32 {
    return abi.finish(embeddingBackward(gradient, ids, table_gradient, features));
}

/// out = rows of the weight's length over their root mean square, times the weight.
pub fn cuda_rms_norm_forward(input: u64, weight: u64, out: u64, epsilon: f32) callconv(.c) i32 {
    return abi.finish(normForward(input, weight, out, epsilon));
}

/// out = (or += with accumulate 1) the gradient of the norm's input, weight_gradient += that of its
/// weight. Without accumulate `out` may be `gradient`.
pub fn cuda_rms_norm_backward(
    input: u64,
    weight: u64,
    gradient: u64,
    out: u64,
    weight_gradient: u64,
    epsilon: f32,
    accumulate: u32,
) callconv(.c) i32 {
    return abi.finish(normBackward(input, weight, gradient, out, weight_gradient, epsilon, accumulate));
}

/// Turns the pairs of each head by their cosines and sines, in place: values are [texts, length, heads,
/// head_dim], the tables [length or more, head_dim / 2]. options = [length, heads, head_dim]
pub fn cuda_rope_turn(values: u64, cos: u64, sin: u64, options: ?[*]const f64, options_length: u32) callconv(.c) i32 {
    return abi.finish(ropeTurn(values, cos, sin, options, options_length));
}

/// out = act(gate) * up; kind 0 is relu squared, 1 is silu.
pub fn cuda_gate_forward(gate: u64, up: u64, out: u64, kind: u32) callconv(.c) i32 {
    return abi.finish(gateForward(gate, up, out, kind));
}

/// The gradients of gate and up; `gate_out` may be `gate`, and `up_out` may be `up`.
pub fn cuda_gate_backward(gate: u64, up: u64, gradient: u64, gate_out: u64, up_out: u64, kind: u32) callconv(.c) i32 {
    return abi.finish(gateBackward(gate, up, gradient, gate_out, up_out, kind));
}

/// sums[column] += the elements of the rows, which have the length of `sums`.
pub fn cuda_column_sums(values: u64, sums: u64) callconv(.c) i32 {
    return abi.finish(columnSums(values, sums));
}

/// One step of AdamW, all tensors of one length.
/// options = [beta1, beta2, learning rate over 1 - beta1^t, 1 / sqrt(1 - beta2^t), epsilon,
/// 1 - learning rate * weight decay]
pub fn cuda_adamw_step(
    data: u64,
    gradient: u64,
    mean: u64,
    square: u64,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(adamwStep(data, gradient, mean, square, options, options_length));
}

/// One step of gradient descent; `velocity` is 0 where there is no momentum.
/// options = [momentum, learning rate, 1 - learning rate * weight decay, 1 for Nesterov's]
pub fn cuda_sgd_step(data: u64, gradient: u64, velocity: u64, options: ?[*]const f64, options_length: u32) callconv(.c) i32 {
    return abi.finish(sgdStep(data, gradient, velocity, options, options_length));
}

/// The tensors behind handles, held until `release`.
fn Tensors(comptime count: usize) type {
    return struct {
        handles: [count]u64,
        at: [count]*Buffer,

        fn acquire(values: [count]u64) abi.Failure!@This() {
            var self: @This() = .{ .handles = values, .at = undefined };
            try handles.acquireEach(Buffer, .tensor, &self.handles, &self.at);
            return self;
        }

        fn release(self: *const @This()) void {
            handles.releaseEach(&self.handles);
        }
    };
}

fn clear(values: u64) abi.Failure!void {
    const held = try Tensors(1).acquire(.{values});
    defer held.release();
    return training.clear(held.at[0]);
}

fn embeddingForward(table: u64, ids: u64, out: u64, features: u32) abi.Failure!void {
    const held = try Tensors(3).acquire(.{ table, ids, out });
    defer held.release();
    return training.embeddingForward(held.at[0], held.at[1], held.at[2], features);
}

fn embeddingBackward(gradient: u64, ids: u64, table_gradient: u64, features: u32) abi.Failure!void {
    const held = try Tensors(3).acquire(.{ gradient, ids, table_gradient });
    defer held.release();
    return training.embeddingBackward(held.at[0], held.at[1], held.at[2], features);
}

fn normForward(input: u64, weight: u64, out: u64, epsilon: f32) abi.Failure!void {
    const held = try Tensors(3).acquire(.{ input, weight, out });
    defer held.release();
    return training.normForward(held.at[0], held.at[1], held.at[2], epsilon);
}

fn normBackward(input: u64, weight: u64, gradient: u64, out: u64, weight_gradient: u64, epsilon: f32, accumulate: u32) abi.Failure!void {
    const held = try Tensors(5).acquire(.{ input, weight, gradient, out, weight_gradient });
    defer held.release();
    return training.normBackward(.{
        .input = held.at[0],
        .weight = held.at[1],
        .gradient = held.at[2],
        .out = held.at[3],
        .weight_gradient = held.at[4],
        .epsilon = epsilon,
        .accumulate = accumulate,
    });
}

fn ropeTurn(values: u64, cos: u64, sin: u64, options: ?[*]const f64, options_length: u32) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const shape: training.RopeShape = .{
        .length = try fields.count("the length", 1, std.math.maxInt(u32)),
        .heads = try fields.count("the heads", 1, 1 << 20),
        .head_dim = try fields.count("the head dimension", 2, 1 << 20),
    };
    const held = try Tensors(3).acquire(.{ values, cos, sin });
    defer held.release();
    return training.ropeTurn(held.at[0], held.at[1], held.at[2], shape);
}

fn gateForward(gate: u64, up: u64, out: u64, kind: u32) abi.Failure!void {
    const held = try Tensors(3).acquire(.{ gate, up, out });
    defer held.release();
    return training.gateForward(held.at[0], held.at[1], held.at[2], kind);
}

fn gateBackward(gate: u64, up: u64, gradient: u64, gate_out: u64, up_out: u64, kind: u32) abi.Failure!void {
    const held = try Tensors(5).acquire(.{ gate, up, gradient, gate_out, up_out });
    defer held.release();
    return training.gateBackward(held.at[0], held.at[1], held.at[2], held.at[3], held.at[4], kind);
}

fn columnSums(values: u64, sums: u64) abi.Failure!void {
    const held = try Tensors(2).acquire(.{ values, sums });
    defer held.release();
    return training.columnSums(held.at[0], held.at[1]);
}

fn adamwStep(data: u64, gradient: u64, mean: u64, square: u64, options: ?[*]const f64, options_length: u32) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const step: optimizers.AdamW = .{
        .beta1 = @floatCast(try fields.number("beta1")),
        .beta2 = @floatCast(try fields.number("beta2")),
        .rate = @floatCast(try fields.number("the rate")),
        .square_factor = @floatCast(try fields.number("the correction of squares")),
        .epsilon = @floatCast(try fields.number("epsilon")),
        .keep = @floatCast(try fields.number("what is kept")),
    };
    const held = try Tensors(4).acquire(.{ data, gradient, mean, square });
    defer held.release();
    return step.run(held.at[0], held.at[1], held.at[2], held.at[3]);
}

fn sgdStep(data: u64, gradient: u64, velocity: u64, options: ?[*]const f64, options_length: u32) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const step: optimizers.Sgd = .{
        .momentum = @floatCast(try fields.number("momentum")),
        .rate = @floatCast(try fields.number("the rate")),
        .keep = @floatCast(try fields.number("what is kept")),
        .nesterov = try fields.count("whether Nesterov's", 0, 1),
    };
    const held = try Tensors(2).acquire(.{ data, gradient });
    defer held.release();
    if (velocity == 0) return step.run(held.at[0], held.at[1], null);
    const kept = try Tensors(1).acquire(.{velocity});
    defer kept.release();
    return step.run(held.at[0], held.at[1], kept.at[0]);
}
