//! Exports of the codec `topk`; the payload is described in cpu/gradients_topk.zig.

const abi = @import("../abi.zig");
const buffers = @import("gradient_buffers.zig");
const expectLength = @import("options.zig").expectLength;
const topk = @import("../cpu/gradients_topk.zig");

/// Writes at most `bytes` of payload with `bits` (4 to 8) for each value; used = [bytes].
pub fn gradients_topk_encode(
    gradients: ?[*]const f32,
    gradients_length: u32,
    bytes: f64,
    bits: u32,
    exact: u32,
    payload: ?[*]u8,
    payload_length: u32,
    used: ?[*]f64,
    used_length: u32,
) callconv(.c) i32 {
    return abi.finish(encode(gradients, gradients_length, bytes, bits, exact, payload, payload_length, used, used_length));
}

pub fn gradients_topk_decode(
    payload: ?[*]const u8,
    payload_length: u32,
    bits: u32,
    gradients: ?[*]f32,
    gradients_length: u32,
) callconv(.c) i32 {
    return abi.finish(decode(payload, payload_length, bits, gradients, gradients_length));
}

/// Refuses what cannot be the payload of `count` gradients.
pub fn gradients_topk_inspect(payload: ?[*]const u8, payload_length: u32, bits: u32, count: u32) callconv(.c) i32 {
    return abi.finish(inspect(payload, payload_length, bits, count));
}

fn encode(gradients: ?[*]const f32, gradients_length: u32, bytes: f64, bits: u32, exact: u32, payload: ?[*]u8, payload_length: u32, used: ?[*]f64, used_length: u32) abi.Failure!void {
    const source, const target = try buffers.encoding(gradients, gradients_length, payload, payload_length);
    const result = try abi.writable(f64, used, used_length, "the bytes used");
    try expectLength("the bytes used", result.len, 1);
    const options: topk.Options = try .init(bytes, bits, exact);
    result[0] = @floatFromInt(try topk.encode(.{ .here = source }, options, target));
}

fn decode(payload: ?[*]const u8, payload_length: u32, bits: u32, gradients: ?[*]f32, gradients_length: u32) abi.Failure!void {
    const source, const target = try buffers.decoding(payload, payload_length, gradients, gradients_length);
    try topk.expectBits(bits);
    return topk.decode(source, bits, target);
}

fn inspect(payload: ?[*]const u8, payload_length: u32, bits: u32, count: u32) abi.Failure!void {
    try topk.expectBits(bits);
    return topk.inspect(try abi.readable(u8, payload, payload_length, "the payload"), bits, count);
}
