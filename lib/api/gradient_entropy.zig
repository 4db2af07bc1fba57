//! Exports of the codec `entropy`; the payload is described in cpu/gradients_entropy.zig.

const abi = @import("../abi.zig");
const buffers = @import("gradient_buffers.zig");
const entropy = @import("../cpu/gradients_entropy.zig");
const expectLength = @import("options.zig").expectLength;

/// Writes at most `bytes` of payload, or, where that is 0, what reaches the cosine; used = [bytes].
pub fn gradients_entropy_encode(
    gradients: ?[*]const f32,
    gradients_length: u32,
    bytes: f64,
    cosine: f64,
    payload: ?[*]u8,
    payload_length: u32,
    used: ?[*]f64,
    used_length: u32,
) callconv(.c) i32 {
    return abi.finish(encode(gradients, gradients_length, bytes, cosine, payload, payload_length, used, used_length));
}

pub fn gradients_entropy_decode(
    payload: ?[*]const u8,
    payload_length: u32,
    gradients: ?[*]f32,
    gradients_length: u32,
) callconv(.c) i32 {
    return abi.finish(decode(payload, payload_length, gradients, gradients_length));
}

/// Refuses what cannot be the payload of `count` gradients.
pub fn gradients_entropy_inspect(payload: ?[*]const u8, payload_length: u32, count: u32) callconv(.c) i32 {
    return abi.finish(inspect(payload, payload_length, count));
}

fn inspect(payload: ?[*]const u8, payload_length: u32, count: u32) abi.Failure!void {
    return entropy.inspect(try abi.readable(u8, payload, payload_length, "the payload"), count);
}

fn encode(gradients: ?[*]const f32, gradients_length: u32, bytes: f64, cosine: f64, payload: ?[*]u8, payload_length: u32, used: ?[*]f64, used_length: u32) abi.Failure!void {
    const source, const target = try buffers.encoding(gradients, gradients_length, payload, payload_length);
    const result = try abi.writable(f64, used, used_length, "the bytes used");
    try expectLength("the bytes used", result.len, 1);
    result[0] = @floatFromInt(try entropy.encode(source, try entropy.goalOf(bytes, cosine), target));
}

fn decode(payload: ?[*]const u8, payload_length: u32, gradients: ?[*]f32, gradients_length: u32) abi.Failure!void {
    const source, const target = try buffers.decoding(payload, payload_length, gradients, gradients_length);
    return entropy.decode(source, target);
}
