//! Exports of the gradient codecs: each turns gradients into a payload and back. The payloads are
//! described in cpu/gradients_*.zig; what they travel in is the business of src/gradients/container.ts.

const abi = @import("../abi.zig");
const buffers = @import("gradient_buffers.zig");
const expectLength = @import("options.zig").expectLength;
const rotated = @import("../cpu/gradients_rotated.zig");
const sign = @import("../cpu/gradients_sign.zig");
const std = @import("std");
const ternary = @import("../cpu/gradients_ternary.zig");
const measures = @import("../cpu/gradients_measures.zig");

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

/// Blocks of `block` gradients, a multiple of 320, become a scale each and a trit a gradient; method 0 is
/// optimal, 1 TWN, 2 absmean.
pub fn gradients_ternary_encode(
    gradients: ?[*]const f32,
    gradients_length: u32,
    block: u32,
    method: u32,
    payload: ?[*]u8,
    payload_length: u32,
) callconv(.c) i32 {
    return abi.finish(ternaryEncode(gradients, gradients_length, block, method, payload, payload_length));
}

pub fn gradients_ternary_decode(
    payload: ?[*]const u8,
    payload_length: u32,
    block: u32,
    gradients: ?[*]f32,
    gradients_length: u32,
) callconv(.c) i32 {
    return abi.finish(ternaryDecode(payload, payload_length, block, gradients, gradients_length));
}

/// Rotated gradients at 2, 3, 4, 8 or 16 levels.
pub fn gradients_rotated_encode(
    gradients: ?[*]const f32,
    gradients_length: u32,
    levels: u32,
    seed: u64,
    payload: ?[*]u8,
    payload_length: u32,
) callconv(.c) i32 {
    return abi.finish(rotatedEncode(gradients, gradients_length, levels, seed, payload, payload_length));
}

pub fn gradients_rotated_decode(
    payload: ?[*]const u8,
    payload_length: u32,
    levels: u32,
    seed: u64,
    gradients: ?[*]f32,
    gradients_length: u32,
) callconv(.c) i32 {
    return abi.finish(rotatedDecode(payload, payload_length, levels, seed, gradients, gradients_length));
}

/// Bytes of the payload that so many gradients become at 2, 3, 4, 8 or 16 levels.
pub fn gradients_rotated_bytes(count: u32, levels: u32, bytes: ?[*]f64, bytes_length: u32) callconv(.c) i32 {
    return abi.finish(rotatedBytes(count, levels, bytes, bytes_length));
}

/// result = [sum of a b, sum of a^2, sum of b^2, sum of (a - b)^2]
pub fn gradients_measure(
    a: ?[*]const f32,
    a_length: u32,
    b: ?[*]const f32,
    b_length: u32,
    result: ?[*]f64,
    result_length: u32,
) callconv(.c) i32 {
    return abi.finish(measure(a, a_length, b, b_length, result, result_length));
}

/// out = alpha a + beta b; `out` may be either.
pub fn gradients_combine(
    a: ?[*]const f32,
    a_length: u32,
    alpha: f32,
    b: ?[*]const f32,
    b_length: u32,
    beta: f32,
    out: ?[*]f32,
    out_length: u32,
) callconv(.c) i32 {
    return abi.finish(combine(a, a_length, alpha, b, b_length, beta, out, out_length));
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

fn ternaryEncode(gradients: ?[*]const f32, gradients_length: u32, block: u32, method: u32, payload: ?[*]u8, payload_length: u32) abi.Failure!void {
    const source, const target = try buffers.encoding(gradients, gradients_length, payload, payload_length);
    const sizes: ternary.Sizes = try .init(source.len, block);
    try expectLength("the payload", target.len, sizes.bytes);
    const rule = std.enums.fromInt(ternary.Method, method) orelse
        return abi.fail(error.InvalidOption, "Expected a method from 0 to 2, got {d}", .{method});
    return ternary.encode(sizes, rule, source, target);
}

fn ternaryDecode(payload: ?[*]const u8, payload_length: u32, block: u32, gradients: ?[*]f32, gradients_length: u32) abi.Failure!void {
    const source, const target = try buffers.decoding(payload, payload_length, gradients, gradients_length);
    const sizes: ternary.Sizes = try .init(target.len, block);
    try expectLength("the payload", source.len, sizes.bytes);
    return ternary.decode(sizes, source, target);
}

fn rotatedEncode(gradients: ?[*]const f32, gradients_length: u32, levels: u32, seed: u64, payload: ?[*]u8, payload_length: u32) abi.Failure!void {
    const source, const target = try buffers.encoding(gradients, gradients_length, payload, payload_length);
    const layout: rotated.Layout = try .init(source.len, levels);
    try expectLength("the payload", target.len, layout.bytes);
    return rotated.encode(&layout, seed, source, target);
}

fn rotatedDecode(payload: ?[*]const u8, payload_length: u32, levels: u32, seed: u64, gradients: ?[*]f32, gradients_length: u32) abi.Failure!void {
    const source, const target = try buffers.decoding(payload, payload_length, gradients, gradients_length);
    const layout: rotated.Layout = try .init(target.len, levels);
    try expectLength("the payload", source.len, layout.bytes);
    return rotated.decode(&layout, seed, source, target);
}

fn rotatedBytes(count: u32, levels: u32, bytes: ?[*]f64, bytes_length: u32) abi.Failure!void {
    const result = try abi.writable(f64, bytes, bytes_length, "the bytes");
    try expectLength("the bytes", result.len, 1);
    const layout: rotated.Layout = try .init(count, levels);
    result[0] = @floatFromInt(layout.bytes);
}

fn measure(a: ?[*]const f32, a_length: u32, b: ?[*]const f32, b_length: u32, result: ?[*]f64, result_length: u32) abi.Failure!void {
    const first = try abi.readable(f32, a, a_length, "the first list");
    const second = try abi.readable(f32, b, b_length, "the second list");
    const sums = try abi.writable(f64, result, result_length, "the sums");
    try expectLength("the second list", second.len, first.len);
    try expectLength("the sums", sums.len, 4);
    sums[0..4].* = try measures.measure(first, second);
}

fn combine(a: ?[*]const f32, a_length: u32, alpha: f32, b: ?[*]const f32, b_length: u32, beta: f32, out: ?[*]f32, out_length: u32) abi.Failure!void {
    const first = try abi.readable(f32, a, a_length, "the first list");
    const second = try abi.readable(f32, b, b_length, "the second list");
    const target = try abi.writable(f32, out, out_length, "the result");
    try expectLength("the second list", second.len, first.len);
    try expectLength("the result", target.len, first.len);
    try measures.combine(first, alpha, second, beta, target);
}
