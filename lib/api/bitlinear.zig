//! Dense products, and linear layers in training.

const std = @import("std");
const abi = @import("../abi.zig");
const bitlinear = @import("../cpu/bitlinear.zig");
const buffers = @import("buffers.zig");
const dense = @import("../cpu/dense_product.zig");
const dispatch = @import("../cpu/dispatch.zig");
const firstNotFinite = @import("../cpu/finite.zig").firstNotFinite;
const firstNotFiniteIn = @import("../cpu/finite.zig").firstNotFiniteIn;
const packing = @import("../cpu/packing.zig");
const threads = @import("../cpu/threads.zig");
const options_file = @import("options.zig");
const Fields = options_file.Fields;
const expectLength = options_file.expectLength;

const any = std.math.maxInt(u32);

/// c [m, n] = alpha op(a) op(b) + beta c, all row-major; c is not read if beta is 0.
/// options = [m, n, k, 1 if a is given as [k, m], 1 if b is given as [n, k], alpha, beta, length of a,
/// of b, of c]
pub fn dense_product(
    a: ?[*]const f32,
    b: ?[*]const f32,
    c: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(denseProduct(a, b, c, options, options_length));
}

/// The trits of weights by the mean of their magnitudes, which is the scale: 1e-5 at least.
pub fn bitlinear_quantize_weights(
    weights: ?[*]const f32,
    weights_length: u32,
    columns: u32,
    trits: ?[*]i8,
    trits_length: u32,
    scale: ?[*]f32,
    scale_length: u32,
) callconv(.c) i32 {
    return abi.finish(quantizeWeights(f32, weights, weights_length, columns, trits, trits_length, scale, scale_length));
}

/// The same of bf16.
pub fn bitlinear_quantize_bf16(
    weights: ?[*]const u16,
    weights_length: u32,
    columns: u32,
    trits: ?[*]i8,
    trits_length: u32,
    scale: ?[*]f32,
    scale_length: u32,
) callconv(.c) i32 {
    return abi.finish(quantizeWeights(u16, weights, weights_length, columns, trits, trits_length, scale, scale_length));
}

/// int8 activations by the largest magnitude of each token (1e-5 at least), with scale and sum.
pub fn bitlinear_quantize_tokens(
    input: ?[*]const f32,
    input_length: u32,
    columns: u32,
    quantized: ?[*]i8,
    quantized_length: u32,
    scales: ?[*]f32,
    sums: ?[*]i32,
    tokens: u32,
) callconv(.c) i32 {
    return abi.finish(quantizeTokens(input, input_length, columns, quantized, quantized_length, scales, sums, tokens));
}

/// output [tokens, rows] = tokens x trits^T x scales, plus the bias.
/// options = [columns, scale of the weights, length of quantized, of scales, of sums, of trits, of
/// bias (may be 0), of output]
pub fn bitlinear_forward(
    quantized: ?[*]const i8,
    scales: ?[*]const f32,
    sums: ?[*]const i32,
    trits: ?[*]const i8,
    bias: ?[*]const f32,
    output: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(forward(quantized, scales, sums, trits, bias, output, options, options_length));
}

/// dx [tokens, columns] = (or += ) gradient x trits x scale.
/// options = [columns, scale of the weights, 1 to add, length of gradient, of trits, of dx]
pub fn bitlinear_backward_input(
    gradient: ?[*]const f32,
    trits: ?[*]const i8,
    dx: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(backwardInput(gradient, trits, dx, options, options_length));
}

/// dw [rows, columns] += gradient^T x quantized x scales.
/// options = [columns, length of gradient, of quantized, of scales, of dw]
pub fn bitlinear_backward_weights(
    gradient: ?[*]const f32,
    quantized: ?[*]const i8,
    scales: ?[*]const f32,
    dw: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(backwardWeights(gradient, quantized, scales, dw, options, options_length));
}

fn denseProduct(a_pointer: ?[*]const f32, b_pointer: ?[*]const f32, c_pointer: ?[*]f32, options: ?[*]const f64, options_length: u32) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const m = try fields.count("m", 1, any);
    const n = try fields.count("n", 1, any);
    const k = try fields.count("k", 1, any);
    const a_across = try fields.count("the order of a", 0, 1) == 1;
    const b_along = try fields.count("the order of b", 0, 1) == 1;
    const alpha = try fields.number("alpha");
    const beta = try fields.number("beta");
    const a = try buffers.readable(&fields, f32, a_pointer, "a");
    const b = try buffers.readable(&fields, f32, b_pointer, "b");
    const c = try buffers.writable(&fields, f32, c_pointer, "c");
    try expectLength("a", a.len, @as(u64, m) * k);
    try expectLength("b", b.len, @as(u64, k) * n);
    try expectLength("c", c.len, @as(u64, m) * n);
    try buffers.expectApart(.{c}, .{ a, b });
    const product: dense.Product = .{
        .a = if (a_across) .across(a.ptr, m) else .along(a.ptr, k),
        .b = if (b_along) .along(b.ptr, k) else .across(b.ptr, n),
        .c = c.ptr,
        .c_stride = n,
        .m = m,
        .n = n,
        .k = k,
        .alpha = @floatCast(alpha),
        .beta = @floatCast(beta),
    };
    const kernels = try dispatch.kernels();
    threads.enter();
    defer threads.leave();
    product.multiply(&kernels.gemm, try threads.scratch(product.scratchBytes(&kernels.gemm)), threads.getThreads());
}

fn quantizeWeights(
    comptime T: type,
    weights_pointer: ?[*]const T,
    weights_length: u32,
    columns: u32,
    trits_pointer: ?[*]i8,
    trits_length: u32,
    scale_pointer: ?[*]f32,
    scale_length: u32,
) abi.Failure!void {
    const weights = try abi.readable(T, weights_pointer, weights_length, "weights");
    const trits = try abi.writable(i8, trits_pointer, trits_length, "trits");
    const scale = try abi.writable(f32, scale_pointer, scale_length, "scale");
    if (try buffers.rowsOf(weights.len, columns, "weights") == 0)
        return abi.fail(error.InvalidLength, "Expected weights, got none", .{});
    try expectLength("trits", trits.len, weights.len);
    try expectLength("scale", scale.len, 1);
    try buffers.expectApart(.{ trits, scale }, .{weights});
    const kernels = try dispatch.kernels();
    threads.enter();
    defer threads.leave();
    if (try bitlinear.quantizeWeights(T, kernels, weights, columns, trits)) |mean| {
        scale[0] = mean;
    } else {
        const index = firstNotFiniteIn(if (T == f32) .f32 else .bf16, std.mem.sliceAsBytes(weights)) orelse 0;
        const value: f32 = if (T == f32) weights[index] else @bitCast(@as(u32, weights[index]) << 16);
        return abi.fail(error.InvalidValue, "Expected finite weights, got {d} at index {d}", .{ value, index });
    }
}

fn quantizeTokens(
    input_pointer: ?[*]const f32,
    input_length: u32,
    columns: u32,
    quantized_pointer: ?[*]i8,
    quantized_length: u32,
    scales_pointer: ?[*]f32,
    sums_pointer: ?[*]i32,
    tokens: u32,
) abi.Failure!void {
    const input = try abi.readable(f32, input_pointer, input_length, "input");
    const quantized = try abi.writable(i8, quantized_pointer, quantized_length, "quantized");
    const scales = try abi.writable(f32, scales_pointer, tokens, "scales");
    const sums = try abi.writable(i32, sums_pointer, tokens, "sums");
    try checkColumns(columns);
    try expectLength("scales", tokens, try buffers.rowsOf(input.len, columns, "input"));
    try expectLength("quantized", quantized.len, input.len);
    try buffers.expectApart(.{ quantized, scales, sums }, .{input});
    if (tokens == 0) return;
    const kernels = try dispatch.kernels();
    threads.enter();
    defer threads.leave();
    if (bitlinear.quantizeTokens(kernels, input, quantized, scales, sums)) return;
    const index = firstNotFinite(input) orelse 0;
    return abi.fail(error.InvalidValue, "Expected finite activations, got {d} at index {d}", .{ input[index], index });
}

/// A sum of 127 times 127 over all columns must fit 32 bits, as must one of codes of 2 times 127.
fn checkColumns(columns: u32) abi.Failure!void {
    const most = @import("../cpu/weights.zig").columns_max;
    if (columns == 0 or columns > most)
        return abi.fail(error.InvalidShape, "Expected 1 to {d} columns, got {d}", .{ most, columns });
}

fn forward(
    quantized_pointer: ?[*]const i8,
    scales_pointer: ?[*]const f32,
    sums_pointer: ?[*]const i32,
    trits_pointer: ?[*]const i8,
    bias_pointer: ?[*]const f32,
    output_pointer: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const columns = try fields.count("columns", 1, any);
    const scale = try fields.number("the scale");
    const quantized = try buffers.readable(&fields, i8, quantized_pointer, "quantized");
    const scales = try buffers.readable(&fields, f32, scales_pointer, "scales");
    const sums = try buffers.readable(&fields, i32, sums_pointer, "sums");
    const trits = try buffers.readable(&fields, i8, trits_pointer, "trits");
    const bias = try buffers.readable(&fields, f32, bias_pointer, "bias");
    const output = try buffers.writable(&fields, f32, output_pointer, "output");
    try checkColumns(columns);
    const rows = try buffers.rowsOf(trits.len, columns, "trits");
    const tokens = try buffers.rowsOf(quantized.len, columns, "quantized");
    try expectLength("scales", scales.len, tokens);
    try expectLength("sums", sums.len, tokens);
    if (bias.len > 0) try expectLength("bias", bias.len, rows);
    try expectLength("output", output.len, @as(u64, tokens) * rows);
    try buffers.expectApart(.{output}, .{ quantized, scales, sums, trits, bias });
    if (output.len == 0) return;
    const linear: bitlinear.Linear = .{ .trits = trits, .scale = @floatCast(scale), .columns = columns };
    const kernels = try dispatch.kernels();
    threads.enter();
    defer threads.leave();
    const good = try linear.forward(
        kernels,
        .{ .values = quantized, .scales = scales, .sums = sums },
        if (bias.len > 0) bias else null,
        output,
    );
    if (!good) return refuseTrits(trits);
}

fn areTrits(trits: []const i8) bool {
    var most: u8 = 0;
    for (trits) |trit| most = @max(most, @as(u8, @bitCast(trit +% 1)));
    return most <= 2;
}

fn refuseTrits(trits: []const i8) abi.Failure {
    const index = packing.firstNotTrit(i8, trits);
    return abi.fail(error.InvalidValue, "Expected trits of -1, 0 or 1, got {d} at index {d}", .{ trits[index], index });
}

fn backwardInput(
    gradient_pointer: ?[*]const f32,
    trits_pointer: ?[*]const i8,
    dx_pointer: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const columns = try fields.count("columns", 1, any);
    const scale = try fields.number("the scale");
    const adds = try fields.count("whether to add", 0, 1) == 1;
    const gradient = try buffers.readable(&fields, f32, gradient_pointer, "gradient");
    const trits = try buffers.readable(&fields, i8, trits_pointer, "trits");
    const dx = try buffers.writable(&fields, f32, dx_pointer, "dx");
    const rows = try buffers.rowsOf(trits.len, columns, "trits");
    const tokens = try buffers.rowsOf(dx.len, columns, "dx");
    try expectLength("gradient", gradient.len, @as(u64, tokens) * rows);
    try buffers.expectApart(.{dx}, .{ gradient, trits });
    if (rows == 0 or tokens == 0) return;
    if (!areTrits(trits)) return refuseTrits(trits);
    const linear: bitlinear.Linear = .{ .trits = trits, .scale = @floatCast(scale), .columns = columns };
    const kernels = try dispatch.kernels();
    threads.enter();
    defer threads.leave();
    try linear.backwardInput(kernels, gradient, dx, adds);
}

fn backwardWeights(
    gradient_pointer: ?[*]const f32,
    quantized_pointer: ?[*]const i8,
    scales_pointer: ?[*]const f32,
    dw_pointer: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const columns = try fields.count("columns", 1, any);
    const gradient = try buffers.readable(&fields, f32, gradient_pointer, "gradient");
    const quantized = try buffers.readable(&fields, i8, quantized_pointer, "quantized");
    const scales = try buffers.readable(&fields, f32, scales_pointer, "scales");
    const dw = try buffers.writable(&fields, f32, dw_pointer, "dw");
    const rows = try buffers.rowsOf(dw.len, columns, "dw");
    const tokens = try buffers.rowsOf(quantized.len, columns, "quantized");
    try expectLength("scales", scales.len, tokens);
    try expectLength("gradient", gradient.len, @as(u64, tokens) * rows);
    try buffers.expectApart(.{dw}, .{ gradient, quantized, scales });
    if (rows == 0 or tokens == 0) return;
    const kernels = try dispatch.kernels();
    threads.enter();
    defer threads.leave();
    try bitlinear.backwardWeights(kernels, gradient, .{ .values = quantized, .scales = scales, .sums = &.{} }, dw);
}
