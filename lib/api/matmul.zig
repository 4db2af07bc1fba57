//! Exports of prepared ternary weights and of the matrix products.

const std = @import("std");
const abi = @import("../abi.zig");
const expectLength = @import("options.zig").expectLength;
const Fields = @import("options.zig").Fields;
const Quantize = @import("options.zig").Quantize;
const dispatch = @import("../cpu/dispatch.zig");
const handles = @import("../handles.zig");
const packing = @import("../cpu/packing.zig");
const Product = @import("../cpu/product.zig").Product;
const threads = @import("../cpu/threads.zig");
const weights_file = @import("../cpu/weights.zig");

const Weights = weights_file.Weights;

/// Prepares weights from int8 trits and one scale for each row, or each group of a row.
pub fn weights_from_ternary(
    ternary: ?[*]const i8,
    ternary_length: u32,
    scales: ?[*]const f32,
    scales_length: u32,
    rows: u32,
    cols: u32,
    handle: ?[*]u64,
    handle_length: u32,
) callconv(.c) i32 {
    return abi.finish(fromTernary(i8, ternary, ternary_length, scales, scales_length, rows, cols, handle, handle_length));
}

/// The same from trits as f32.
pub fn weights_from_ternary_f32(
    ternary: ?[*]const f32,
    ternary_length: u32,
    scales: ?[*]const f32,
    scales_length: u32,
    rows: u32,
    cols: u32,
    handle: ?[*]u64,
    handle_length: u32,
) callconv(.c) i32 {
    return abi.finish(fromTernary(f32, ternary, ternary_length, scales, scales_length, rows, cols, handle, handle_length));
}

/// Quantises f32 weights and prepares them.
/// options = [rows, cols, group size (0 = whole rows), method, 1 for least-squares scales, argument]
pub fn weights_from_f32(
    weights: ?[*]const f32,
    weights_length: u32,
    options: ?[*]const f64,
    options_length: u32,
    handle: ?[*]u64,
    handle_length: u32,
) callconv(.c) i32 {
    return abi.finish(fromWeights(weights, weights_length, options, options_length, handle, handle_length));
}

/// Prepares weights from the wire format.
pub fn weights_from_packed(
    packed_bytes: ?[*]const u8,
    packed_length: u32,
    scales: ?[*]const f32,
    scales_length: u32,
    rows: u32,
    cols: u32,
    handle: ?[*]u64,
    handle_length: u32,
) callconv(.c) i32 {
    return abi.finish(fromPacked(packed_bytes, packed_length, scales, scales_length, rows, cols, handle, handle_length));
}

/// Rewrites prepared weights in another layout: 0 planes, 1 base3, 2 triples (cpu/table.zig). Nothing
/// else may use the weights meanwhile.
pub fn weights_change_layout(handle: u64, layout: u32) callconv(.c) i32 {
    return abi.finish(changeLayout(handle, layout));
}

/// info = [rows, cols, group size, number of scales, bytes of memory, nonzero weights]
pub fn weights_info(handle: u64, info: ?[*]u64, info_length: u32) callconv(.c) i32 {
    return abi.finish(weightsInfo(handle, info, info_length));
}

/// The weights' trits, row-major.
pub fn weights_to_ternary(handle: u64, ternary: ?[*]i8, ternary_length: u32) callconv(.c) i32 {
    return abi.finish(toTernary(handle, ternary, ternary_length));
}

/// The weights in the wire format.
pub fn weights_to_packed(handle: u64, packed_bytes: ?[*]u8, packed_length: u32) callconv(.c) i32 {
    return abi.finish(toPacked(handle, packed_bytes, packed_length));
}

/// The weights as trit * scale, row-major.
pub fn weights_to_f32(handle: u64, weights: ?[*]f32, weights_length: u32) callconv(.c) i32 {
    return abi.finish(toF32(handle, weights, weights_length));
}

/// The scales, row by row.
pub fn weights_scales(handle: u64, scales: ?[*]f32, scales_length: u32) callconv(.c) i32 {
    return abi.finish(scalesOf(handle, scales, scales_length));
}

/// output[batch][row] = input[batch] x weights^T + bias, with the activations as f32 (0) or
/// quantised to int8 per token (1). Input and output must not overlap.
pub fn weights_matmul(
    handle: u64,
    input: ?[*]const f32,
    input_length: u32,
    bias: ?[*]const f32,
    bias_length: u32,
    output: ?[*]f32,
    output_length: u32,
    activations: u32,
) callconv(.c) i32 {
    return abi.finish(weightsMatmul(handle, input, input_length, bias, bias_length, output, output_length, activations));
}

/// The same with weights in the wire format, prepared for this one call.
/// options = [rows, cols, activations, input length, packed length, scales length, bias length, output length]
pub fn matmul_packed(
    input: ?[*]const f32,
    packed_bytes: ?[*]const u8,
    scales: ?[*]const f32,
    bias: ?[*]const f32,
    output: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(matmulPacked(input, packed_bytes, scales, bias, output, options, options_length));
}

fn destroyWeights(object: *anyopaque) void {
    const weights: *Weights = @ptrCast(@alignCast(object));
    weights.destroy();
}

fn register(weights: *Weights, handle: []u64) abi.Failure!void {
    errdefer weights.destroy();
    if (handle.len < 1) return abi.fail(error.InvalidLength, "Expected room for a handle, got none", .{});
    handle[0] = try handles.create(.weights, weights, destroyWeights);
}

fn fromWeights(
    pointer: ?[*]const f32,
    length: u32,
    options: ?[*]const f64,
    options_length: u32,
    handle: ?[*]u64,
    handle_length: u32,
) abi.Failure!void {
    const asked: Quantize = try .read(try abi.readable(f64, options, options_length, "options"));
    const values = try abi.readable(f32, pointer, length, "weights");
    try expectLength("weights", values.len, asked.size());
    const weights = try weights_file.fromWeights(values, asked.rows, asked.columns, asked.options);
    return register(weights, abi.writable(u64, handle, handle_length, "the handle") catch &.{});
}

fn fromTernary(
    comptime T: type,
    ternary: ?[*]const T,
    ternary_length: u32,
    scales: ?[*]const f32,
    scales_length: u32,
    rows: u32,
    cols: u32,
    handle: ?[*]u64,
    handle_length: u32,
) abi.Failure!void {
    const weights = try weights_file.fromTrits(
        T,
        try abi.readable(T, ternary, ternary_length, "ternary"),
        try abi.readable(f32, scales, scales_length, "scales"),
        rows,
        cols,
    );
    return register(weights, abi.writable(u64, handle, handle_length, "the handle") catch &.{});
}

fn fromPacked(
    packed_bytes: ?[*]const u8,
    packed_length: u32,
    scales: ?[*]const f32,
    scales_length: u32,
    rows: u32,
    cols: u32,
    handle: ?[*]u64,
    handle_length: u32,
) abi.Failure!void {
    const weights = try weights_file.fromWire(
        try abi.readable(u8, packed_bytes, packed_length, "packed"),
        try abi.readable(f32, scales, scales_length, "scales"),
        rows,
        cols,
    );
    return register(weights, abi.writable(u64, handle, handle_length, "the handle") catch &.{});
}

fn changeLayout(handle: u64, number: u32) abi.Failure!void {
    const weights = try handles.acquire(Weights, .weights, handle);
    defer handles.release(handle);
    const layout = std.enums.fromInt(weights_file.Layout, number) orelse
        return abi.fail(error.InvalidOption, "Expected layout 0, 1 or 2, got {d}", .{number});
    try weights.changeLayout(layout);
}

fn weightsInfo(handle: u64, pointer: ?[*]u64, length: u32) abi.Failure!void {
    const weights = try handles.acquire(Weights, .weights, handle);
    defer handles.release(handle);
    const info = try abi.writable(u64, pointer, length, "info");
    if (info.len < 6) return abi.fail(error.InvalidLength, "Expected room for 6 fields of info, got {d}", .{info.len});
    info[0..6].* = .{
        weights.rows,
        weights.columns,
        weights.group_columns,
        @as(u64, weights.rows) * weights.shape().groups(),
        weights.memory_bytes,
        weights.nonzeros,
    };
}

fn toTernary(handle: u64, pointer: ?[*]i8, length: u32) abi.Failure!void {
    const weights = try handles.acquire(Weights, .weights, handle);
    defer handles.release(handle);
    const ternary = try abi.writable(i8, pointer, length, "ternary");
    try expectLength("ternary", ternary.len, @as(u64, weights.rows) * weights.columns);
    for (0..weights.rows) |row| weights.readRow(row, ternary[row * weights.columns ..][0..weights.columns]);
}

fn toPacked(handle: u64, pointer: ?[*]u8, length: u32) abi.Failure!void {
    const weights = try handles.acquire(Weights, .weights, handle);
    defer handles.release(handle);
    const bytes = try abi.writable(u8, pointer, length, "packed");
    const shape: packing.Shape = try .init(1, weights.columns);
    try expectLength("packed", bytes.len, @as(u64, weights.rows) * shape.rowBytes());
    return weights.packRows(try dispatch.kernels(), 0, bytes);
}

fn toF32(handle: u64, pointer: ?[*]f32, length: u32) abi.Failure!void {
    const weights = try handles.acquire(Weights, .weights, handle);
    defer handles.release(handle);
    const values = try abi.writable(f32, pointer, length, "weights");
    try expectLength("weights", values.len, @as(u64, weights.rows) * weights.columns);
    const row_trits = try std.heap.c_allocator.alloc(i8, weights.columns);
    defer std.heap.c_allocator.free(row_trits);
    for (0..weights.rows) |row| {
        weights.readRow(row, row_trits);
        for (row_trits, 0..) |trit, column| {
            const scale = weights.scaleOf(row, column / weights.group_columns).*;
            values[row * weights.columns + column] = @as(f32, @floatFromInt(trit)) * scale;
        }
    }
}

fn scalesOf(handle: u64, pointer: ?[*]f32, length: u32) abi.Failure!void {
    const weights = try handles.acquire(Weights, .weights, handle);
    defer handles.release(handle);
    const scales = try abi.writable(f32, pointer, length, "scales");
    const groups = weights.shape().groups();
    try expectLength("scales", scales.len, @as(u64, weights.rows) * groups);
    for (scales, 0..) |*scale, index| scale.* = weights.scaleOf(index / groups, index % groups).*;
}

fn weightsMatmul(
    handle: u64,
    input_pointer: ?[*]const f32,
    input_length: u32,
    bias_pointer: ?[*]const f32,
    bias_length: u32,
    output_pointer: ?[*]f32,
    output_length: u32,
    activations: u32,
) abi.Failure!void {
    const weights = try handles.acquire(Weights, .weights, handle);
    defer handles.release(handle);
    const product: Product = .{
        .input = try abi.readable(f32, input_pointer, input_length, "input"),
        .bias = try abi.readable(f32, bias_pointer, bias_length, "bias"),
        .output = try abi.writable(f32, output_pointer, output_length, "output"),
        .int8 = try isInt8(activations),
    };
    try check(product, weights.rows, weights.columns);
    threads.enter();
    defer threads.leave();
    try product.multiply(weights);
}

fn isInt8(activations: u32) abi.Failure!bool {
    if (activations > 1) return abi.fail(error.InvalidOption, "Expected activations 0 (f32) or 1 (int8), got {d}", .{activations});
    return activations == 1;
}

fn check(product: Product, rows: u32, columns: u32) abi.Failure!void {
    if (product.input.len % columns != 0) return abi.fail(
        error.InvalidShape,
        "Expected input in whole rows of {d} features, got {d} elements",
        .{ columns, product.input.len },
    );
    try expectLength("output", product.output.len, product.input.len / columns * @as(u64, rows));
    if (product.bias.len != 0) try expectLength("bias", product.bias.len, rows);
    if (abi.overlap(product.input, product.output) or abi.overlap(product.bias, product.output)) return abi.fail(
        error.InvalidValue,
        "Expected the output in memory of its own, got one that overlaps the input or the bias",
        .{},
    );
}

fn matmulPacked(
    input: ?[*]const f32,
    packed_bytes: ?[*]const u8,
    scales_pointer: ?[*]const f32,
    bias: ?[*]const f32,
    output: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const any = std.math.maxInt(u32);
    const rows = try fields.count("rows", 1, any);
    const columns = try fields.count("cols", 1, any);
    const activations = try fields.count("activations", 0, 1);
    const input_length = try fields.count("the input length", 0, any);
    const packed_length = try fields.count("the packed length", 0, any);
    const scales_length = try fields.count("the scales length", 0, any);
    const bias_length = try fields.count("the bias length", 0, any);
    const output_length = try fields.count("the output length", 0, any);
    const product: Product = .{
        .input = try abi.readable(f32, input, input_length, "input"),
        .bias = try abi.readable(f32, bias, bias_length, "bias"),
        .output = try abi.writable(f32, output, output_length, "output"),
        .int8 = activations == 1,
    };
    const bytes = try abi.readable(u8, packed_bytes, packed_length, "packed");
    const scales = try abi.readable(f32, scales_pointer, scales_length, "scales");
    try check(product, rows, columns);
    const shape = try weights_file.checkShape(rows, columns, scales);
    const row_bytes = (columns + 3) / 4;
    try weights_file.checkLength("packed", bytes.len, @as(u64, rows) * row_bytes, rows, columns);

    threads.enter();
    defer threads.leave();
    const source: weights_file.WireSource = .{ .bytes = bytes, .row_bytes = row_bytes };
    try product.multiplyWire(source, scales, rows, shape);
}
