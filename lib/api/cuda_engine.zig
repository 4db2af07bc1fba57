//! Exports of what an inference engine does on CUDA devices: what nn.zig does for arrays. Nothing waits
//! for the device; outputs lie apart from the inputs.

const abi = @import("../abi.zig");
const Buffer = @import("../cuda/backend.zig").Buffer;
const engine = @import("../cuda/engine.zig");
const handles = @import("../handles.zig");

/// As `softmax`.
pub fn cuda_softmax(input: u64, out: u64, size: u32, stride: u32) callconv(.c) i32 {
    return abi.finish(softmax(input, out, size, stride));
}

/// As `layer_norm`; `bias` is 0 where there is none.
pub fn cuda_layer_norm(input: u64, weight: u64, bias: u64, out: u64, epsilon: f32) callconv(.c) i32 {
    return abi.finish(layerNorm(input, weight, bias, out, epsilon));
}

/// Adds a bias to every row of values, in place.
pub fn cuda_add_row(values: u64, bias: u64) callconv(.c) i32 {
    return abi.finish(addRow(values, bias));
}

/// Copies some bytes of a tensor into another on the same device.
pub fn cuda_tensor_copy_part(source: u64, source_offset: u64, target: u64, target_offset: u64, bytes: u64) callconv(.c) i32 {
    return abi.finish(copyPart(source, source_offset, target, target_offset, bytes));
}

fn softmax(input: u64, out: u64, size: u32, stride: u32) abi.Failure!void {
    const source = try handles.acquire(Buffer, .tensor, input);
    defer handles.release(input);
    const target = try handles.acquire(Buffer, .tensor, out);
    defer handles.release(out);
    return engine.softmax(source, target, size, stride);
}

fn layerNorm(input: u64, weight: u64, bias: u64, out: u64, epsilon: f32) abi.Failure!void {
    const source = try handles.acquire(Buffer, .tensor, input);
    defer handles.release(input);
    const factors = try handles.acquire(Buffer, .tensor, weight);
    defer handles.release(weight);
    const target = try handles.acquire(Buffer, .tensor, out);
    defer handles.release(out);
    if (bias == 0) return engine.layerNorm(source, factors, null, target, epsilon);
    const terms = try handles.acquire(Buffer, .tensor, bias);
    defer handles.release(bias);
    return engine.layerNorm(source, factors, terms, target, epsilon);
}

fn addRow(values: u64, bias: u64) abi.Failure!void {
    const target = try handles.acquire(Buffer, .tensor, values);
    defer handles.release(values);
    const terms = try handles.acquire(Buffer, .tensor, bias);
    defer handles.release(bias);
    return engine.addRow(target, terms);
}

fn copyPart(source: u64, source_offset: u64, target: u64, target_offset: u64, bytes: u64) abi.Failure!void {
    const from = try handles.acquire(Buffer, .tensor, source);
    defer handles.release(source);
    const to = try handles.acquire(Buffer, .tensor, target);
    defer handles.release(target);
    return engine.copyPart(from, source_offset, to, target_offset, bytes);
}
