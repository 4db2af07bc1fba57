//! Exports of the gradient codecs: each turns gradients into a payload and back. The payloads are
//! described in cpu/gradients_*.zig; what they travel in is the business of src/gradients/container.ts.

const abi = @import("../abi.zig");
const buffers = @import("gradient_buffers.zig");
const expectLength = @import("options.zig").expectLength;
const sign = @import("../cpu/gradients_sign.zig");

/// Blocks of `block` gradients, a multiple of 64, become a scale each and a bit a gradient.
pub fn gradients_sign_encode(
    gradients: ?[*]const f32,
    gradients_length: u32,
    block: u32,
    payload: ?[*]u8,
    payload_length: u32,
) callconv(.c) i32 {
    return abi.finish(signEncode(gradients, gradients_length, block, payload, payload_length));
}

pub fn gradients_sign_decode(
    payload: ?[*]const u8,
    payload_length: u32,
    block: u32,
    gradients: ?[*]f32,
    gradients_length: u32,
) callconv(.c) i32 {
    return abi.finish(signDecode(payload, payload_length, block, gradients, gradients_length));
}

fn signEncode(gradients: ?[*]const f32, gradients_length: u32, block: u32, payload: ?[*]u8, payload_length: u32) abi.Failure!void {
    const source, const target = try buffers.encoding(gradients, gradients_length, payload, payload_length);
    const sizes: sign.Sizes = try .init(source.len, block);
    try expectLength("the payload", target.len, sizes.bytes);
    return sign.encode(sizes, source, target);
}

fn signDecode(payload: ?[*]const u8, payload_length: u32, block: u32, gradients: ?[*]f32, gradients_length: u32) abi.Failure!void {
    const source, const target = try buffers.decoding(payload, payload_length, gradients, gradients_length);
    const sizes: sign.Sizes = try .init(target.len, block);
    try expectLength("the payload", source.len, sizes.bytes);
    return sign.decode(sizes, source, target);
}
