//! Exports of the gradient codecs: each turns gradients into a payload and back. The payloads are
//! described in cpu/gradients_*.zig; what they travel in is the business of src/gradients/container.ts.

const abi = @import("../abi.zig");
const bundle = @import("../cpu/gradients_bundle.zig");
const buffers = @import("gradient_buffers.zig");
const finite = @import("../cpu/gradients_finite.zig");
const expectLength = @import("options.zig").expectLength;
const matrix = @import("../cpu/gradients_matrix.zig");
const projection = @import("../cpu/gradients_projection.zig");
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

/// A sketch of as many f32 as the payload holds; `dense` is 0 for a Hadamard transform, 1 for a matrix
/// of random trits. The gradients count times `factor`.
pub fn gradients_projection_encode(
    gradients: ?[*]const f32,
    gradients_length: u32,
    dense: u32,
    seed: u64,
    factor: f32,
    payload: ?[*]u8,
    payload_length: u32,
) callconv(.c) i32 {
    return abi.finish(projectionEncode(gradients, gradients_length, dense, seed, factor, payload, payload_length));
}

/// What a sketch stands for: unbiased, or with `contraction` 1 the orthogonal projection, which is
/// shorter than the gradients.
pub fn gradients_projection_decode(
    payload: ?[*]const u8,
    payload_length: u32,
    dense: u32,
    seed: u64,
    contraction: u32,
    gradients: ?[*]f32,
    gradients_length: u32,
) callconv(.c) i32 {
    return abi.finish(projectionDecode(payload, payload_length, dense, seed, contraction, gradients, gradients_length));
}

/// Gradients of a matrix with so many rows become two thin ones; `state` is the second of the call
/// before, rank x columns, zeros at first, and after it.
pub fn gradients_lowrank_encode(
    gradients: ?[*]const f32,
    gradients_length: u32,
    rows: u32,
    rank: u32,
    seed: u64,
    state: ?[*]f32,
    state_length: u32,
    payload: ?[*]u8,
    payload_length: u32,
) callconv(.c) i32 {
    return abi.finish(lowrankEncode(gradients, gradients_length, rows, rank, seed, state, state_length, payload, payload_length));
}

pub fn gradients_lowrank_decode(
    payload: ?[*]const u8,
    payload_length: u32,
    rows: u32,
    rank: u32,
    gradients: ?[*]f32,
    gradients_length: u32,
) callconv(.c) i32 {
    return abi.finish(lowrankDecode(payload, payload_length, rows, rank, gradients, gradients_length));
}

/// Members of `dim` gradients, bundled into one hypervector.
pub fn gradients_vsa_encode(
    gradients: ?[*]const f32,
    gradients_length: u32,
    dim: u32,
    seed: u64,
    payload: ?[*]u8,
    payload_length: u32,
) callconv(.c) i32 {
    return abi.finish(vsaEncode(gradients, gradients_length, dim, seed, payload, payload_length));
}

pub fn gradients_vsa_decode(
    payload: ?[*]const u8,
    payload_length: u32,
    dim: u32,
    seed: u64,
    gradients: ?[*]f32,
    gradients_length: u32,
) callconv(.c) i32 {
    return abi.finish(vsaDecode(payload, payload_length, dim, seed, gradients, gradients_length));
}

/// Bytes of the payload that so many gradients become in members of `dim`.
pub fn gradients_vsa_bytes(count: u32, dim: u32, bytes: ?[*]f64, bytes_length: u32) callconv(.c) i32 {
    return abi.finish(vsaBytes(count, dim, bytes, bytes_length));
}

/// The sums of two lists of samples; `out` may be either.
pub fn gradients_add_samples(
    a: ?[*]const u8,
    a_length: u32,
    b: ?[*]const u8,
    b_length: u32,
    out: ?[*]u8,
    out_length: u32,
) callconv(.c) i32 {
    return abi.finish(addSamples(a, a_length, b, b_length, out, out_length));
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
pub fn gradients_blend(
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
    const layout: rotated.Layout = try .init(count, levels);
    try putBytes(bytes, bytes_length, layout.bytes);
}

/// The f32 of a payload, which may lie at any byte: at least one, and no more than there are gradients.
fn samplesOf(bytes: anytype, count: usize) abi.Failure!@TypeOf(std.mem.bytesAsSlice(f32, bytes)) {
    if (bytes.len % 4 != 0 or bytes.len == 0 or bytes.len / 4 > count)
        return abi.fail(error.InvalidLength, "Expected 1 to {d} samples of 4 bytes, got {d} bytes", .{ count, bytes.len });
    return std.mem.bytesAsSlice(f32, bytes);
}

/// How many random numbers a dense projection may draw: some seconds of them.
const draws_max = 1 << 30;

fn expectFlag(name: []const u8, flag: u32) abi.Failure!bool {
    if (flag > 1) return abi.fail(error.InvalidOption, "Expected {s} to be 0 or 1, got {d}", .{ name, flag });
    return flag == 1;
}

fn expectDraws(count: u64, samples: u64) abi.Failure!void {
    if (count * samples > draws_max)
        return abi.fail(error.InvalidOption, "Expected a dense projection of at most {d} entries, got {d}", .{ draws_max, count * samples });
}

fn projectionEncode(gradients: ?[*]const f32, gradients_length: u32, dense: u32, seed: u64, factor: f32, payload: ?[*]u8, payload_length: u32) abi.Failure!void {
    const source, const target = try buffers.encoding(gradients, gradients_length, payload, payload_length);
    const samples = try samplesOf(target, source.len);
    if (!std.math.isFinite(factor)) return abi.fail(error.InvalidOption, "Expected a finite factor, got {d}", .{factor});
    if (!try expectFlag("dense", dense)) return projection.encode(seed, factor, source, samples);
    try expectDraws(source.len, samples.len);
    const norm = 1 / @sqrt(@as(f64, @floatFromInt(source.len)));
    return projection.encodeDense(seed, @floatCast(factor * norm), source, samples);
}

fn projectionDecode(payload: ?[*]const u8, payload_length: u32, dense: u32, seed: u64, contraction: u32, gradients: ?[*]f32, gradients_length: u32) abi.Failure!void {
    const source, const target = try buffers.decoding(payload, payload_length, gradients, gradients_length);
    const samples = try samplesOf(source, target.len);
    try finite.expectSamples(source);
    const shorter = try expectFlag("contraction", contraction);
    if (!try expectFlag("dense", dense)) return projection.decode(seed, !shorter, samples, target);
    try expectDraws(target.len, samples.len);
    // An entry's square is 0.32 on average; the projection shortens what it leaves by k / (n + k).
    const n: f64 = @floatFromInt(target.len);
    const k: f64 = @floatFromInt(samples.len);
    const gain = if (shorter) k / (n + k) else 1;
    return projection.decodeDense(seed, @floatCast(gain * @sqrt(n) / (0.32 * k)), samples, target);
}

fn lowrankEncode(gradients: ?[*]const f32, gradients_length: u32, rows: u32, rank: u32, seed: u64, state: ?[*]f32, state_length: u32, payload: ?[*]u8, payload_length: u32) abi.Failure!void {
    const source, const target = try buffers.encoding(gradients, gradients_length, payload, payload_length);
    const kept = try abi.writable(f32, state, state_length, "the state");
    const shape: matrix.Shape = try .of(source.len, rows, rank);
    try expectLength("the state", kept.len, shape.rank * shape.columns);
    try expectLength("the payload", target.len, 4 * shape.rank * (shape.rows + shape.columns));
    if (abi.overlap(kept, source) or abi.overlap(kept, target))
        return abi.fail(error.InvalidValue, "Expected the state in memory of its own, got some that overlaps", .{});
    return matrix.encode(shape, seed, source, kept, target);
}

fn lowrankDecode(payload: ?[*]const u8, payload_length: u32, rows: u32, rank: u32, gradients: ?[*]f32, gradients_length: u32) abi.Failure!void {
    const source, const target = try buffers.decoding(payload, payload_length, gradients, gradients_length);
    const shape: matrix.Shape = try .of(target.len, rows, rank);
    try expectLength("the payload", source.len, 4 * shape.rank * (shape.rows + shape.columns));
    return matrix.decode(shape, source, target);
}

fn vsaEncode(gradients: ?[*]const f32, gradients_length: u32, dim: u32, seed: u64, payload: ?[*]u8, payload_length: u32) abi.Failure!void {
    const source, const target = try buffers.encoding(gradients, gradients_length, payload, payload_length);
    const layout: bundle.Layout = try .init(source.len, dim);
    try expectLength("the payload", target.len, layout.bytes);
    return bundle.encode(&layout, seed, source, target);
}

fn vsaDecode(payload: ?[*]const u8, payload_length: u32, dim: u32, seed: u64, gradients: ?[*]f32, gradients_length: u32) abi.Failure!void {
    const source, const target = try buffers.decoding(payload, payload_length, gradients, gradients_length);
    const layout: bundle.Layout = try .init(target.len, dim);
    try expectLength("the payload", source.len, layout.bytes);
    return bundle.decode(&layout, seed, source, target);
}

fn vsaBytes(count: u32, dim: u32, bytes: ?[*]f64, bytes_length: u32) abi.Failure!void {
    const layout: bundle.Layout = try .init(count, dim);
    try putBytes(bytes, bytes_length, layout.bytes);
}

fn putBytes(bytes: ?[*]f64, bytes_length: u32, length: usize) abi.Failure!void {
    const result = try abi.writable(f64, bytes, bytes_length, "the bytes");
    try expectLength("the bytes", result.len, 1);
    result[0] = @floatFromInt(length);
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
    if (first.len == 0) return abi.fail(error.InvalidLength, "Expected at least one number, got none", .{});
    try expectLength("the second list", second.len, first.len);
    try expectLength("the result", target.len, first.len);
    try measures.combine(first, alpha, second, beta, target);
}

fn addSamples(a: ?[*]const u8, a_length: u32, b: ?[*]const u8, b_length: u32, out: ?[*]u8, out_length: u32) abi.Failure!void {
    const first = try abi.readable(u8, a, a_length, "the first samples");
    const second = try abi.readable(u8, b, b_length, "the second samples");
    const target = try abi.writable(u8, out, out_length, "the sums");
    if (first.len % 4 != 0 or first.len == 0)
        return abi.fail(error.InvalidLength, "Expected at least one sample of 4 bytes, got {d} bytes", .{first.len});
    try expectLength("the second samples", second.len, first.len);
    try expectLength("the sums", target.len, first.len);
    try finite.expectSamples(first);
    try finite.expectSamples(second);
    const sums = std.mem.bytesAsSlice(f32, target);
    try measures.combine(std.mem.bytesAsSlice(f32, first), 1, std.mem.bytesAsSlice(f32, second), 1, sums);
    for (sums, 0..) |sum, index| if (!std.math.isFinite(sum))
        return abi.fail(error.InvalidValue, "Expected samples whose sums f32 can hold, got larger ones at index {d}", .{index});
}
