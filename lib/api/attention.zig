//! Rotary positions and causal attention of whole texts, forward and backward.
//!
//! Buffers' lengths stand behind the numbers of the options, in the order of the arguments.

const std = @import("std");
const abi = @import("../abi.zig");
const buffers = @import("buffers.zig");
const causal_attention = @import("../cpu/causal_attention.zig");
const dispatch = @import("../cpu/dispatch.zig");
const passes = @import("../cpu/layer_passes.zig");
const rope = @import("../model/rope.zig");
const threads = @import("../cpu/threads.zig");
const options_file = @import("options.zig");
const Fields = options_file.Fields;
const expectLength = options_file.expectLength;

const any = std.math.maxInt(u32);

/// cos and sin, both of one length, [positions, frequencies]: of position times frequency, times `scale`.
pub fn rope_tables(
    frequencies: ?[*]const f32,
    frequencies_length: u32,
    scale: f32,
    cos: ?[*]f32,
    cos_length: u32,
    sin: ?[*]f32,
) callconv(.c) i32 {
    return abi.finish(ropeTables(frequencies, frequencies_length, scale, cos, cos_length, sin));
}

/// Turns the heads of every token in place; x is [texts, length, heads, head_dim].
/// options = [length, heads, head_dim, lengths]
pub fn rope_turn(
    x: ?[*]f32,
    cos: ?[*]const f32,
    sin: ?[*]const f32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(ropeTurn(x, cos, sin, options, options_length));
}

/// Causal attention of whole texts. q and output are [batch, length, heads, head_dim], k and v
/// [batch, length, kv heads, head_dim].
/// options = [batch, length, heads, kv heads, head_dim, lengths]
pub fn attention_forward(
    q: ?[*]const f32,
    k: ?[*]const f32,
    v: ?[*]const f32,
    output: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(attentionForward(q, k, v, output, options, options_length));
}

/// The gradients of q, k and v, from that of the output.
/// options = [batch, length, heads, kv heads, head_dim, lengths]
pub fn attention_backward(
    q: ?[*]const f32,
    k: ?[*]const f32,
    v: ?[*]const f32,
    gradient: ?[*]const f32,
    dq: ?[*]f32,
    dk: ?[*]f32,
    dv: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(attentionBackward(q, k, v, gradient, dq, dk, dv, options, options_length));
}

fn ropeTables(
    frequencies_pointer: ?[*]const f32,
    frequencies_length: u32,
    scale: f32,
    cos_pointer: ?[*]f32,
    length: u32,
    sin_pointer: ?[*]f32,
) abi.Failure!void {
    const frequencies = try abi.readable(f32, frequencies_pointer, frequencies_length, "frequencies");
    const cos = try abi.writable(f32, cos_pointer, length, "cos");
    const sin = try abi.writable(f32, sin_pointer, length, "sin");
    const positions = try buffers.rowsOf(length, frequencies_length, "cos");
    try buffers.expectApart(.{ cos, sin }, .{frequencies});
    const half = frequencies.len;
    for (0..positions) |at| rope.fill(frequencies, scale, at, cos[at * half ..][0..half], sin[at * half ..][0..half]);
}

fn ropeTurn(x_pointer: ?[*]f32, cos_pointer: ?[*]const f32, sin_pointer: ?[*]const f32, options: ?[*]const f64, options_length: u32) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const length = try fields.count("the length", 1, any);
    const heads = try fields.count("the heads", 1, any);
    const head_dim = try fields.count("the head dimension", 2, 1 << 20);
    const x = try buffers.writable(&fields, f32, x_pointer, "x");
    const cos = try buffers.readable(&fields, f32, cos_pointer, "cos");
    const sin = try buffers.readable(&fields, f32, sin_pointer, "sin");
    if (head_dim % 2 != 0) return abi.fail(error.InvalidShape, "Expected an even head dimension, got {d}", .{head_dim});
    const text = @as(u64, length) * heads * head_dim;
    if (x.len % text != 0) return abi.fail(
        error.InvalidShape,
        "Expected x in whole texts of {d} elements, got {d} elements",
        .{ text, x.len },
    );
    const least = @as(u64, length) * head_dim / 2;
    if (cos.len < least or sin.len != cos.len) return abi.fail(
        error.InvalidLength,
        "Expected cos and sin to hold at least {d} elements, got {d} and {d}",
        .{ least, cos.len, sin.len },
    );
    try buffers.expectApart(.{x}, .{ cos, sin });
    const job: passes.Rotate = .{
        .kernels = try dispatch.kernels(),
        .x = x,
        .cos = cos,
        .sin = sin,
        .length = length,
        .heads = heads,
        .head_dim = head_dim,
    };
    threads.enter();
    defer threads.leave();
    job.run();
}

/// Positions of a text, so that sums over them and scratch stay within reason.
const length_max = 1 << 20;

fn attentionShape(fields: *Fields) abi.Failure!causal_attention.Shape {
    const shape: causal_attention.Shape = .{
        .batch = try fields.count("the batch", 1, any),
        .length = try fields.count("the length", 1, length_max),
        .heads = try fields.count("the heads", 1, 1 << 16),
        .kv_heads = try fields.count("the kv heads", 1, 1 << 16),
        .head_dim = try fields.count("the head dimension", 2, 1 << 14),
    };
    if (shape.head_dim % 2 != 0) return abi.fail(error.InvalidShape, "Expected an even head dimension, got {d}", .{shape.head_dim});
    if (shape.heads % shape.kv_heads != 0) return abi.fail(
        error.InvalidShape,
        "Expected kv heads that divide the {d} heads, got {d}",
        .{ shape.heads, shape.kv_heads },
    );
    return shape;
}

fn expectQueries(shape: causal_attention.Shape, name: []const u8, length: usize) abi.Failure!void {
    try expectLength(name, length, @as(u64, shape.batch) * shape.length * shape.queryWidth());
}

fn expectKeys(shape: causal_attention.Shape, name: []const u8, length: usize) abi.Failure!void {
    try expectLength(name, length, @as(u64, shape.batch) * shape.length * shape.keyWidth());
}

fn attentionForward(
    q_pointer: ?[*]const f32,
    k_pointer: ?[*]const f32,
    v_pointer: ?[*]const f32,
    output_pointer: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const shape = try attentionShape(&fields);
    const q = try buffers.readable(&fields, f32, q_pointer, "q");
    const k = try buffers.readable(&fields, f32, k_pointer, "k");
    const v = try buffers.readable(&fields, f32, v_pointer, "v");
    const output = try buffers.writable(&fields, f32, output_pointer, "output");
    try expectQueries(shape, "q", q.len);
    try expectKeys(shape, "k", k.len);
    try expectKeys(shape, "v", v.len);
    try expectQueries(shape, "output", output.len);
    try buffers.expectApart(.{output}, .{ q, k, v });
    const job: causal_attention.Forward = .{
        .kernels = try dispatch.kernels(),
        .shape = shape,
        .q = q.ptr,
        .k = k.ptr,
        .v = v.ptr,
        .output = output.ptr,
    };
    threads.enter();
    defer threads.leave();
    try job.run();
}

fn attentionBackward(
    q_pointer: ?[*]const f32,
    k_pointer: ?[*]const f32,
    v_pointer: ?[*]const f32,
    gradient_pointer: ?[*]const f32,
    dq_pointer: ?[*]f32,
    dk_pointer: ?[*]f32,
    dv_pointer: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const shape = try attentionShape(&fields);
    const q = try buffers.readable(&fields, f32, q_pointer, "q");
    const k = try buffers.readable(&fields, f32, k_pointer, "k");
    const v = try buffers.readable(&fields, f32, v_pointer, "v");
    const gradient = try buffers.readable(&fields, f32, gradient_pointer, "gradient");
    const dq = try buffers.writable(&fields, f32, dq_pointer, "dq");
    const dk = try buffers.writable(&fields, f32, dk_pointer, "dk");
    const dv = try buffers.writable(&fields, f32, dv_pointer, "dv");
    for ([_]usize{ q.len, gradient.len, dq.len }) |length| try expectQueries(shape, "q, gradient and dq", length);
    for ([_]usize{ k.len, v.len, dk.len, dv.len }) |length| try expectKeys(shape, "k, v, dk and dv", length);
    try buffers.expectApart(.{ dq, dk, dv }, .{ q, k, v, gradient });
    const job: causal_attention.Backward = .{
        .kernels = try dispatch.kernels(),
        .shape = shape,
        .q = q.ptr,
        .k = k.ptr,
        .v = v.ptr,
        .gradient = gradient.ptr,
        .dq = dq.ptr,
        .dk = dk.ptr,
        .dv = dv.ptr,
    };
    threads.enter();
    defer threads.leave();
    try job.run();
}
