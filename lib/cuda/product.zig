//! Products with ternary weights on a device: what is checked, which kernel runs, how it is launched.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const kernels = @import("kernels.zig");
const Weights = @import("weights.zig").Weights;

const Buffer = backend.Buffer;
const Kernel = kernels.Kernel;

/// A kernel with the rows, the tokens and the threads of a block.
const Variant = struct { kernel: Kernel, rows: u32, tokens: u32 = 1, threads: u32, shared_bytes: u32 = 0 };

/// int8 activations, whole-row scales. The sizes were chosen by what bench/cuda.md tells.
fn variantI8(rows: u32, tokens: u32) Variant {
    if (tokens == 1) {
        if (rows <= 6144) return .{ .kernel = .multiply_one_8_1_4, .rows = 8, .threads = 256 };
        return .{ .kernel = .multiply_one_8_2_4, .rows = 16, .threads = 256 };
    }
    if (tokens > 32) return .{
        .kernel = .multiply_many,
        .rows = 128,
        .tokens = 128,
        .threads = 256,
        .shared_bytes = kernels.many_shared_bytes,
    };
    const tiles: u32 = if (rows <= 8192) 1 else if (rows <= 20480) 2 else 4;
    const kernel: Kernel = if (tokens <= 8) switch (tiles) {
        1 => .multiply_few_8_1_1,
        2 => .multiply_few_8_2_1,
        else => .multiply_few_8_4_1,
    } else if (tokens <= 16) switch (tiles) {
        1 => .multiply_few_8_1_2,
        2 => .multiply_few_8_2_2,
        else => .multiply_few_8_4_2,
    } else switch (tiles) {
        1 => .multiply_few_8_1_4,
        2 => .multiply_few_8_2_4,
        else => .multiply_few_8_4_4,
    };
    return .{ .kernel = kernel, .rows = tiles * 16, .tokens = 32, .threads = 256 };
}

fn variantF32(rows: u32, tokens: u32) Variant {
    if (tokens == 1 and rows <= 6144) return .{ .kernel = .multiply_floats_8_1_1, .rows = 8, .threads = 256 };
    if (tokens == 1) return .{ .kernel = .multiply_floats_8_2_1, .rows = 16, .threads = 256 };
    if (tokens == 2) return .{ .kernel = .multiply_floats_8_2_2, .rows = 16, .tokens = 2, .threads = 256 };
    return .{ .kernel = .multiply_floats_8_2_4, .rows = 16, .tokens = 4, .threads = 256 };
}

/// Rows of a grid's second axis, at most.
const grid_y_max = 65535;

/// output[token][row] = input x weights^T + bias, with the activations as f32 or quantised to int8.
/// Returns when the device has been asked, not when it is done.
pub fn multiply(weights: *Weights, input: *Buffer, bias: ?*Buffer, output: *Buffer, int8: bool) abi.Failure!void {
    const device = weights.device;
    for ([_]?*Buffer{ input, bias, output }) |buffer| {
        if (buffer != null and buffer.?.device != device) return abi.fail(
            error.InvalidValue,
            "Expected all tensors on the device of the weights, cuda:{d}, got one on cuda:{d}",
            .{ device.index, buffer.?.device.index },
        );
    }
    const row_bytes = @as(u64, weights.columns.columns) * 4;
    const count = std.math.cast(u32, input.bytes / row_bytes) orelse 0;
    if (count == 0 or input.bytes % row_bytes != 0) return abi.fail(
        error.InvalidShape,
        "Expected input in whole rows of {d} features, got {d} bytes",
        .{ weights.columns.columns, input.bytes },
    );
    try expectBytes("output", output, @as(u64, count) * weights.rows * 4);
    if (bias) |buffer| try expectBytes("bias", buffer, @as(u64, weights.rows) * 4);
    if (input == output or bias == output) return abi.fail(error.InvalidValue, "Expected the output in memory of its own", .{});

    const stream = try device.stream();
    var product: kernels.Product = .{
        .weights = try weights.data.use(stream),
        .row_scales = try weights.scales.use(stream),
        .tokens = try input.use(stream),
        .bias = if (bias) |buffer| try buffer.use(stream) else 0,
        .output = try output.use(stream),
        .columns = weights.columns,
        .rows = weights.rows,
        .count = count,
    };
    stream.lock.lock();
    defer stream.lock.unlock();
    if (!int8) {
        if (!weights.columns.isDense()) try padTokens(stream, &product);
        return launch(stream, variantF32(weights.rows, count), product, row_stride_f32);
    }
    try quantizeTokens(stream, &product);
    if (weights.columns.groups > 1)
        return launch(stream, .{ .kernel = .multiply_groups, .rows = 8, .threads = 256 }, product, row_stride_i8);
    return launch(stream, variantI8(weights.rows, count), product, row_stride_i8);
}

/// int8 activations that are on the device, as quantize_tokens makes them: rows of the padded columns,
/// whole tiles of `paddedCount` tokens.
pub const QuantizedTokens = struct { values: u64, sums: u64, scales: u64, count: u32 };

/// output[token][row] for whole-row scales; `bias` is an address or 0. It only launches kernels, so it
/// may be recorded in a graph; who calls it has ordered the stream after everything that is read.
pub fn multiplyQuantized(stream: *backend.Stream, weights: *Weights, tokens: QuantizedTokens, bias: u64, output: u64) abi.Failure!void {
    return launch(stream, variantI8(weights.rows, tokens.count), .{
        .weights = weights.data.pointer,
        .row_scales = weights.scales.pointer,
        .tokens = tokens.values,
        .token_sums = tokens.sums,
        .token_scales = tokens.scales,
        .bias = bias,
        .output = output,
        .columns = weights.columns,
        .rows = weights.rows,
        .count = tokens.count,
    }, row_stride_i8);
}

const row_stride_f32 = 4;
const row_stride_i8 = 1;

fn expectBytes(name: []const u8, buffer: *const Buffer, bytes: u64) abi.Failure!void {
    if (buffer.bytes != bytes) return abi.fail(error.InvalidLength, "Expected {s} to hold {d} bytes, got {d}", .{ name, bytes, buffer.bytes });
}

/// Launches over all tokens, as many at a time as a grid takes.
fn launch(stream: *backend.Stream, variant: Variant, product: kernels.Product, element_bytes: u64) abi.Failure!void {
    const at_once = grid_y_max / 128 * 128 * variant.tokens;
    var first: u32 = 0;
    while (first < product.count) : (first += at_once) {
        var part = product;
        part.count = @min(at_once, product.count - first);
        part.tokens += first * product.columns.padded() * element_bytes;
        if (element_bytes == row_stride_i8) {
            part.token_sums += @as(u64, first) * product.columns.groups * 4;
            part.token_scales += @as(u64, first) * 4;
        }
        part.output += @as(u64, first) * product.rows * 4;
        try stream.launchOf(variant.kernel, .{
            .blocks = kernels.divideUp(product.rows, variant.rows),
            .blocks_y = kernels.divideUp(part.count, variant.tokens),
            .threads = variant.threads,
            .shared_bytes = variant.shared_bytes,
        }, &part);
    }
}

/// Tokens that the kernels read: a whole tile of 8, or as many tiles as a variant for few tokens has.
pub fn paddedCount(count: u32) u32 {
    if (count == 1) return 1;
    return if (count <= 32) @max(8, std.math.ceilPowerOfTwoAssert(u32, count)) else std.mem.alignForward(u32, count, 8);
}

/// Quantises the input into scratch memory: whole tiles of 8 tokens, their sums and scales.
fn quantizeTokens(stream: *backend.Stream, product: *kernels.Product) abi.Failure!void {
    const columns = product.columns;
    const padded_count = paddedCount(product.count);
    const tokens_bytes = padded_count * columns.padded();
    const sums_bytes = std.mem.alignForward(u64, @as(u64, product.count) * columns.groups * 4, 256);
    const memory = try stream.takeScratch(tokens_bytes + sums_bytes + @as(u64, product.count) * 4);
    const tokens: kernels.Tokens = .{
        .input = product.tokens,
        .padded = memory,
        .sums = memory + tokens_bytes,
        .scales = memory + tokens_bytes + sums_bytes,
        .columns = columns,
        .count = product.count,
        .padded_count = padded_count,
    };
    product.tokens = tokens.padded;
    product.token_sums = tokens.sums;
    product.token_scales = tokens.scales;
    // Enough threads for four values each, where one token is alone on the device.
    const threads: u32 = if (columns.padded() >= 4096 and product.count <= 2 * stream.device.multiprocessors) 1024 else 256;
    return stream.launch(.quantize_tokens, .{ .blocks = padded_count, .threads = threads }, tokens);
}

/// Copies the input with the zeros that groups and chunks are padded with.
fn padTokens(stream: *backend.Stream, product: *kernels.Product) abi.Failure!void {
    const padded = product.columns.padded();
    const memory = try stream.takeScratch(product.count * padded * 4);
    var first: u32 = 0;
    while (first < product.count) : (first += grid_y_max) {
        const count = @min(grid_y_max, product.count - first);
        try stream.launch(.pad_tokens, .{ .blocks = @intCast(kernels.divideUp(padded, 1024)), .blocks_y = count, .threads = 256 }, .{
            .input = product.tokens + @as(u64, first) * product.columns.columns * 4,
            .padded = memory + first * padded * 4,
            .columns = product.columns,
            .count = count,
            .padded_count = count,
        });
    }
    product.tokens = memory;
}
