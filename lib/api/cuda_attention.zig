//! Exports for causal attention of whole texts on CUDA devices, forward and backward: what
//! attention.zig does for arrays.

const abi = @import("../abi.zig");
const attention = @import("../cuda/attention_training.zig");
const Buffer = @import("../cuda/backend.zig").Buffer;
const expectLength = @import("options.zig").expectLength;
const Fields = @import("options.zig").Fields;
const handles = @import("../handles.zig");

/// Causal attention of whole texts. queries and out are [batch, length, heads, head_dim], keys and values
/// [batch, length, kv heads, head_dim], log_sums [batch, heads, length]: what the backward pass needs.
/// options = [batch, length, heads, kv heads, head_dim]
pub fn cuda_attention_forward(
    queries: u64,
    keys: u64,
    values: u64,
    out: u64,
    log_sums: u64,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(forward(.{ queries, keys, values, out, log_sums }, options, options_length));
}

/// The gradients of queries, keys and values from that of the output; they are written, not added.
/// handles = [queries, keys, values, out, log sums, gradient, query gradient, key gradient, value gradient]
/// options = [batch, length, heads, kv heads, head_dim]
pub fn cuda_attention_backward(
    tensors: ?[*]const u64,
    tensors_length: u32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(backward(tensors, tensors_length, options, options_length));
}

/// Positions of a text, as on the CPU.
const length_max = 1 << 20;

/// Texts times heads: with the length over the rows of a block, less than the 2^31 blocks of a grid.
const heads_total_max = (1 << 16) - 1;

fn shapeOf(pointer: ?[*]const f64, length: u32) abi.Failure!attention.Shape {
    var fields: Fields = .init(try abi.readable(f64, pointer, length, "options"));
    const shape: attention.Shape = .{
        .batch = try fields.count("the batch", 1, heads_total_max),
        .length = try fields.count("the length", 1, length_max),
        .heads = try fields.count("the heads", 1, heads_total_max),
        .kv_heads = try fields.count("the kv heads", 1, heads_total_max),
        .head_dim = try fields.count("the head dimension on a device", 2, attention.head_dim_max),
    };
    if (shape.head_dim % 2 != 0) return abi.fail(error.InvalidShape, "Expected an even head dimension, got {d}", .{shape.head_dim});
    if (shape.heads % shape.kv_heads != 0) return abi.fail(
        error.InvalidShape,
        "Expected kv heads that divide the {d} heads, got {d}",
        .{ shape.heads, shape.kv_heads },
    );
    if (@as(u64, shape.batch) * shape.heads > heads_total_max) return abi.fail(
        error.InvalidShape,
        "Expected a batch with at most {d} heads in all, got {d} texts of {d} heads",
        .{ heads_total_max, shape.batch, shape.heads },
    );
    return shape;
}

fn forward(tensors: [5]u64, options: ?[*]const f64, options_length: u32) abi.Failure!void {
    const shape = try shapeOf(options, options_length);
    var found: [5]*Buffer = undefined;
    try handles.acquireEach(Buffer, .tensor, &tensors, &found);
    defer handles.releaseEach(&tensors);
    return attention.forward(.{
        .queries = found[0],
        .keys = found[1],
        .values = found[2],
        .out = found[3],
        .log_sums = found[4],
    }, shape);
}

fn backward(pointer: ?[*]const u64, length: u32, options: ?[*]const f64, options_length: u32) abi.Failure!void {
    const shape = try shapeOf(options, options_length);
    const given = try abi.readable(u64, pointer, length, "handles");
    try expectLength("handles", given.len, 9);
    // The caller's array may change under us.
    const tensors: [9]u64 = given[0..9].*;
    var found: [9]*Buffer = undefined;
    try handles.acquireEach(Buffer, .tensor, &tensors, &found);
    defer handles.releaseEach(&tensors);
    return attention.backward(.{
        .queries = found[0],
        .keys = found[1],
        .values = found[2],
        .out = found[3],
        .log_sums = found[4],
        .gradient = found[5],
        .query_gradient = found[6],
        .key_gradient = found[7],
        .value_gradient = found[8],
    }, shape);
}
