//! Exports of quantisation; the work is in cpu/quantization.zig and the tier's kernels.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const firstNotFinite = @import("../cpu/finite.zig").firstNotFinite;
const parallel = @import("../cpu/parallel.zig");
const quantization = @import("../cpu/quantization.zig");
const table = @import("../cpu/table.zig");
const threads = @import("../cpu/threads.zig");
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
    const asked: options_file.Quantize = try .read(try options_result);
    try options_file.expectLength("weights", weights.len, asked.size());
    try options_file.expectLength("ternary", ternary.len, asked.size());
    try options_file.expectLength("scales", scales.len, asked.size() / asked.options.group_columns);
    if (abi.overlap(weights, ternary) or abi.overlap(weights, scales) or abi.overlap(ternary, scales)) return abi.fail(
        error.InvalidValue,
        "Expected trits and scales in memory of their own, got some that overlap each other or the weights",
        .{},
    );
    return quantization.quantize(weights, ternary, scales, asked.options);
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
    if (abi.overlap(activations, quantized) or abi.overlap(activations, scales) or abi.overlap(quantized, scales)) return abi.fail(
        error.InvalidValue,
        "Expected quantized and scales in memory of their own, got some that overlap each other or the activations",
        .{},
    );
    var job: TokensJob = .{
        .kernels = kernels,
        .activations = activations,
        .features = features,
        .quantized = quantized,
        .scales = scales,
    };
    parallel.run(activations.len * @sizeOf(f32), scales.len, &job, TokensJob.work);
    if (!job.bad.load(.monotonic)) return;
    const index = firstNotFinite(activations) orelse 0;
    return abi.fail(error.InvalidValue, "Expected finite activations, got {d} at index {d}", .{ activations[index], index });
}

const TokensJob = struct {
    kernels: *const table.Kernels,
    activations: []const f32,
    features: u32,
    quantized: []i8,
    scales: []f32,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *TokensJob, part: u32, parts: u32) void {
        const from, const to = threads.share(self.scales.len, part, parts);
        const features = self.features;
        for (from..to) |token| {
            const input = self.activations.ptr + token * features;
            const target = self.quantized[token * features ..][0..features];
            var sum: i32 = 0;
            // Steps of one column are never padded.
            if (self.kernels.quantize_token(input, features, features, 1, 0, target.ptr, @ptrCast(&sum), &self.scales[token]) != 0)
                return self.bad.store(true, .monotonic);
        }
    }
};
