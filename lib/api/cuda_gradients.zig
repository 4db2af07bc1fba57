//! Exports of the gradient codecs for tensors on CUDA devices: as gradients.zig, with gradients by
//! handle. Payloads are on the host.

const abi = @import("../abi.zig");
const Buffer = @import("../cuda/backend.zig").Buffer;
const codecs = @import("../cuda/gradients.zig");
const entropy = @import("../cuda/gradients_entropy.zig");
const entropy_decode = @import("../cuda/gradients_entropy_decode.zig");
const expectLength = @import("options.zig").expectLength;
const goals = @import("../cpu/gradients_entropy.zig");
const handles = @import("../handles.zig");
const matrix = @import("../cuda/gradients_matrix.zig");

pub fn cuda_gradients_sign_encode(gradients: u64, block: u32, payload: ?[*]u8, payload_length: u32) callconv(.c) i32 {
    return abi.finish(encode(gradients, payload, payload_length, codecs.encodeSign, .{block}));
}

pub fn cuda_gradients_sign_decode(payload: ?[*]const u8, payload_length: u32, block: u32, gradients: u64) callconv(.c) i32 {
    return abi.finish(decode(payload, payload_length, gradients, codecs.decodeSign, .{block}));
}

/// Method 0 is optimal, 1 TWN, 2 absmean.
pub fn cuda_gradients_ternary_encode(gradients: u64, block: u32, method: u32, payload: ?[*]u8, payload_length: u32) callconv(.c) i32 {
    return abi.finish(encode(gradients, payload, payload_length, codecs.encodeTernary, .{ block, method }));
}

pub fn cuda_gradients_ternary_decode(payload: ?[*]const u8, payload_length: u32, block: u32, gradients: u64) callconv(.c) i32 {
    return abi.finish(decode(payload, payload_length, gradients, codecs.decodeTernary, .{block}));
}

/// Levels are 2, 3, 4, 8 or 16.
pub fn cuda_gradients_rotated_encode(gradients: u64, levels: u32, seed: u64, payload: ?[*]u8, payload_length: u32) callconv(.c) i32 {
    return abi.finish(encode(gradients, payload, payload_length, codecs.encodeRotated, .{ levels, seed }));
}

pub fn cuda_gradients_rotated_decode(payload: ?[*]const u8, payload_length: u32, levels: u32, seed: u64, gradients: u64) callconv(.c) i32 {
    return abi.finish(decode(payload, payload_length, gradients, codecs.decodeRotated, .{ levels, seed }));
}

/// A sketch by a Hadamard transform; the gradients count times `factor`.
pub fn cuda_gradients_projection_encode(gradients: u64, seed: u64, factor: f32, payload: ?[*]u8, payload_length: u32) callconv(.c) i32 {
    return abi.finish(encode(gradients, payload, payload_length, codecs.encodeProjection, .{ seed, factor }));
}

/// Unbiased, or with `contraction` 1 the orthogonal projection.
pub fn cuda_gradients_projection_decode(payload: ?[*]const u8, payload_length: u32, seed: u64, contraction: u32, gradients: u64) callconv(.c) i32 {
    return abi.finish(decode(payload, payload_length, gradients, codecs.decodeProjection, .{ seed, contraction == 0 }));
}

/// Members of `dim` gradients, bundled into one hypervector.
pub fn cuda_gradients_vsa_encode(gradients: u64, dim: u32, seed: u64, payload: ?[*]u8, payload_length: u32) callconv(.c) i32 {
    return abi.finish(encode(gradients, payload, payload_length, codecs.encodeVsa, .{ dim, seed }));
}

pub fn cuda_gradients_vsa_decode(payload: ?[*]const u8, payload_length: u32, dim: u32, seed: u64, gradients: u64) callconv(.c) i32 {
    return abi.finish(decode(payload, payload_length, gradients, codecs.decodeVsa, .{ dim, seed }));
}

/// Writes at most `bytes` of payload, or, where that is 0, what reaches the cosine; used = [bytes].
pub fn cuda_gradients_entropy_encode(
    gradients: u64,
    bytes: f64,
    cosine: f64,
    payload: ?[*]u8,
    payload_length: u32,
    used: ?[*]f64,
    used_length: u32,
) callconv(.c) i32 {
    return abi.finish(entropyEncode(gradients, bytes, cosine, payload, payload_length, abi.writable(f64, used, used_length, "the bytes used")));
}

pub fn cuda_gradients_entropy_decode(payload: ?[*]const u8, payload_length: u32, gradients: u64) callconv(.c) i32 {
    return abi.finish(decode(payload, payload_length, gradients, entropy_decode.decode, .{}));
}

fn entropyEncode(gradients: u64, bytes: f64, cosine: f64, payload: ?[*]u8, payload_length: u32, used: abi.Failure![]f64) abi.Failure!void {
    const result = try used;
    try expectLength("the bytes used", result.len, 1);
    return encode(gradients, payload, payload_length, entropy.encode, .{ try goals.goalOf(bytes, cosine), &result[0] });
}

/// `state` is as for gradients_lowrank_encode, and on the host.
pub fn cuda_gradients_lowrank_encode(
    gradients: u64,
    rows: u32,
    rank: u32,
    seed: u64,
    state: ?[*]f32,
    state_length: u32,
    payload: ?[*]u8,
    payload_length: u32,
) callconv(.c) i32 {
    return abi.finish(lowrankEncode(gradients, rows, rank, seed, abi.writable(f32, state, state_length, "the state"), payload, payload_length));
}

pub fn cuda_gradients_lowrank_decode(payload: ?[*]const u8, payload_length: u32, rows: u32, rank: u32, gradients: u64) callconv(.c) i32 {
    return abi.finish(decode(payload, payload_length, gradients, matrix.decode, .{ rows, rank }));
}

fn lowrankEncode(gradients: u64, rows: u32, rank: u32, seed: u64, state: abi.Failure![]f32, payload: ?[*]u8, payload_length: u32) abi.Failure!void {
    return encode(gradients, payload, payload_length, matrix.encode, .{ rows, rank, seed, try state });
}

fn encode(handle: u64, pointer: ?[*]u8, length: u32, comptime function: anytype, arguments: anytype) abi.Failure!void {
    const gradients = try handles.acquire(Buffer, .tensor, handle);
    defer handles.release(handle);
    const payload = try abi.writable(u8, pointer, length, "the payload");
    return @call(.auto, function, .{gradients} ++ arguments ++ .{payload});
}

fn decode(pointer: ?[*]const u8, length: u32, handle: u64, comptime function: anytype, arguments: anytype) abi.Failure!void {
    const gradients = try handles.acquire(Buffer, .tensor, handle);
    defer handles.release(handle);
    const payload = try abi.readable(u8, pointer, length, "the payload");
    return @call(.auto, function, .{payload} ++ arguments ++ .{gradients});
}
