//! Exports of the codec `topk` for tensors on CUDA devices: as gradient_topk.zig, with gradients by
//! handle. Payloads are on the host, and are coded there.

const abi = @import("../abi.zig");
const Buffer = @import("../cuda/backend.zig").Buffer;
const codec = @import("../cuda/gradients_topk.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const topk = @import("../cpu/gradients_topk.zig");

/// As gradients_topk_encode; only a sample and what may be kept leaves the device.
pub fn cuda_gradients_topk_encode(
    gradients: u64,
    bytes: f64,
    bits: u32,
    exact: u32,
    payload: ?[*]u8,
    payload_length: u32,
    used: ?[*]f64,
    used_length: u32,
) callconv(.c) i32 {
    return abi.finish(encode(gradients, bytes, bits, exact, payload, payload_length, used, used_length));
}

pub fn cuda_gradients_topk_decode(payload: ?[*]const u8, payload_length: u32, bits: u32, gradients: u64) callconv(.c) i32 {
    return abi.finish(decode(payload, payload_length, bits, gradients));
}

fn encode(handle: u64, bytes: f64, bits: u32, exact: u32, payload: ?[*]u8, payload_length: u32, used: ?[*]f64, used_length: u32) abi.Failure!void {
    const gradients = try handles.acquire(Buffer, .tensor, handle);
    defer handles.release(handle);
    const target = try abi.writable(u8, payload, payload_length, "the payload");
    const result = try abi.writable(f64, used, used_length, "the bytes used");
    try expectLength("the bytes used", result.len, 1);
    const options: topk.Options = try .init(bytes, bits, exact);
    result[0] = @floatFromInt(try codec.encode(gradients, options, target));
}

fn decode(payload: ?[*]const u8, payload_length: u32, bits: u32, handle: u64) abi.Failure!void {
    const gradients = try handles.acquire(Buffer, .tensor, handle);
    defer handles.release(handle);
    const source = try abi.readable(u8, payload, payload_length, "the payload");
    try topk.expectBits(bits);
    return codec.decode(source, bits, gradients);
}
