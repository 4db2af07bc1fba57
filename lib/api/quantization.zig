//! Exports of quantisation; the work is in cpu/quantization.zig and the tier's kernels.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const firstNotFinite = @import("../cpu/finite.zig").firstNotFinite;
const memory = @import("../memory.zig");
const quantization = @import("../cpu/quantization.zig");
const options_file = @import("options.zig");

/// Trits and scales of a matrix of f32 weights.
/// options = [rows, cols, group size (0 = whole rows), method, 1 for least-squares scales, argument]
pub fn quantize_weights(
    weights: ?[*]const f32,
    weights_length: u32,
    ternary: ?[*]i8,
    ternary_length: u32,
    scales: ?[*]f32,
    scales_length: u32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(quantizeWeights(
        abi.readable(f32, weights, weights_length, "weights"),
        abi.writable(i8, ternary, ternary_length, "ternary"),
        abi.writable(f32, scales, scales_length, "scales"),
        abi.readable(f64, options, options_length, "options"),
    ));
}

/// int8 values and a scale for each token: scale = absmax / 127, values rounded to nearest even.
pub fn quantize_activations(
    activations: ?[*]const f32,
    activations_length: u32,
    features: u32,
    quantized: ?[*]i8,
    quantized_length: u32,
    scales: ?[*]f32,
    scales_length: u32,
) callconv(.c) i32 {
    return abi.finish(quantizeActivations(
        abi.readable(f32, activations, activations_length, "activations"),
        features,
        abi.writable(i8, quantized, quantized_length, "quantized"),
        abi.writable(f32, scales, scales_length, "scales"),
    ));
}

fn quantizeWeights(
    weights_result: abi.Failure![]const f32,
    ternary_result: abi.Failure![]i8,
    scales_result: abi.Failure![]f32,
    options_result: abi.Failure![]const f64,
) abi.Failure!void {
    const weights = try weights_result;
    const ternary = try ternary_result;
    const scales = try scales_result;
    var fields = options_file.Fields.init(try options_result);
    const rows = try fields.count("rows", 1, std.math.maxInt(u32));
    const columns = try fields.count("cols", 1, std.math.maxInt(u32));
    const group = try fields.count("the group size", 0, columns);
    const method = try fields.count("the method", 0, 5);
    const least_squares = try fields.count("the scale mode", 0, 1);
    const argument = try fields.number("the argument");
    const group_columns = if (group == 0) columns else group;
    if (columns % group_columns != 0) return abi.fail(
        error.InvalidShape,
        "Expected a group size that divides {d} columns, got {d}",
        .{ columns, group_columns },
    );
    const size = @as(u64, rows) * columns;
    try options_file.expectLength("weights", weights.len, size);
    try options_file.expectLength("ternary", ternary.len, size);
    try options_file.expectLength("scales", scales.len, size / group_columns);
    if (firstNotFinite(weights)) |index|
        return abi.fail(error.InvalidValue, "Expected finite weights, got {d} at index {d}", .{ weights[index], index });
    const kind: quantization.Method = @fromBackingInt(@intCast(method));
    if (kind == .percentile and (argument < 0 or argument > 100))
        return abi.fail(error.InvalidOption, "Expected a percentile from 0 to 100, got {d}", .{argument});
    if (kind == .manual and argument < 0)
        return abi.fail(error.InvalidOption, "Expected a threshold of at least 0, got {d}", .{argument});
    const sorted = try memory.alloc(f32, if (kind == .percentile) group_columns else 0);
    defer memory.free(f32, sorted);
    quantization.quantize(weights, ternary, scales, .{
        .group_columns = group_columns,
        .method = kind,
        .least_squares = least_squares == 1,
        .argument = argument,
    }, sorted);
}

fn quantizeActivations(
    activations_result: abi.Failure![]const f32,
    features: u32,
    quantized_result: abi.Failure![]i8,
    scales_result: abi.Failure![]f32,
) abi.Failure!void {
    const activations = try activations_result;
    const quantized = try quantized_result;
    const scales = try scales_result;
    const kernels = try dispatch.kernels();
    if (features == 0 or activations.len % features != 0) return abi.fail(
        error.InvalidShape,
        "Expected whole tokens of {d} activations, got {d} activations",
        .{ features, activations.len },
    );
    try options_file.expectLength("quantized", quantized.len, activations.len);
    try options_file.expectLength("scales", scales.len, activations.len / features);
    // The kernel pads a token to whole steps, which the caller's buffer has no room for.
    const row = try memory.alloc(i8, std.mem.alignForward(u64, features, 64));
    defer memory.free(i8, row);
    for (scales, 0..) |*scale, token| {
        const input = activations[token * features ..][0..features];
        var sum: i32 = 0;
        if (kernels.quantize_token(input.ptr, features, features, 1, 0, row.ptr, @ptrCast(&sum), scale) != 0) {
            const index = token * features + (firstNotFinite(input) orelse 0);
            return abi.fail(error.InvalidValue, "Expected finite activations, got {d} at index {d}", .{ activations[index], index });
        }
        @memcpy(quantized[token * features ..][0..features], row[0..features]);
    }
}
