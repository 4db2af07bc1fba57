//! Products with ternary weights on a device: what is checked, which kernel runs, how it is launched.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const kernels = @import("kernels.zig");
const variants = @import("product_variants.zig");
const Weights = @import("weights.zig").Weights;

const Buffer = backend.Buffer;
const Kernel = kernels.Kernel;
const Variant = variants.Variant;

/// int8 activations on the device: [token][padded column] with whole tiles of `paddedCount` tokens, or
/// slabs as the kernel quantize_tokens writes them; the sums and scales of every token.
pub const QuantizedTokens = struct {
    values: u64,
    sums: u64,
    scales: u64,
    count: u32,
    /// Whether the values are in slabs, with `kernels.slab_slack` bytes behind them.
    slabs: bool = false,
};

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
    const product: kernels.Product = .{
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
    if (!int8) return multiplyFloats(stream, product);
    if (count == 1 and weights.columns.groups == 1) {
        if (variants.forToken(product.rows, product.columns)) |variant| return launch(stream, variant, product, row_stride_f32);
    }
    const slabs = variants.wantsSlabs(device, product.rows, product.columns, count);
    return multiplyI8(stream, try quantizeTokens(stream, product, slabs), slabs);
}

/// output[token][row] of activations that are quantised; `bias` is an address or 0. It only launches
/// kernels, so it may be recorded in a graph; who calls it has ordered the stream after everything
/// that is read.
pub fn multiplyQuantized(stream: *backend.Stream, weights: *Weights, tokens: QuantizedTokens, bias: u64, output: u64) abi.Failure!void {
    return multiplyI8(stream, .{
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
    }, tokens.slabs);
}

fn multiplyI8(stream: *backend.Stream, product: kernels.Product, slabs: bool) abi.Failure!void {
    if (slabs) return launchTiles(stream, variants.forSlabs(stream.device, product.rows, product.count), product);
    if (product.columns.groups > 1) return launch(stream, .{ .kernel = .multiply_groups, .rows = 8, .threads = 256 }, product, row_stride_i8);
    return launch(stream, variants.forRows(product.rows, product.columns, product.count), product, row_stride_i8);
}

fn multiplyFloats(stream: *backend.Stream, given: kernels.Product) abi.Failure!void {
    var product = given;
    if (variants.wantsParts(stream.device, product.rows, product.columns, product.count)) return multiplyParts(stream, product);
    if (!product.columns.isDense()) try padTokens(stream, &product);
    return launch(stream, variants.forFloats(product.rows, product.columns, product.count), product, row_stride_f32);
}

const row_stride_f32 = 4;
const row_stride_i8 = 1;

/// Rows of a grid's second axis, at most.
const grid_y_max = 65535;

fn expectBytes(name: []const u8, buffer: *const Buffer, bytes: u64) abi.Failure!void {
    if (buffer.bytes != bytes) return abi.fail(error.InvalidLength, "Expected {s} to hold {d} bytes, got {d}", .{ name, bytes, buffer.bytes });
}

/// Launches over all tokens, as many at a time as a grid takes.
fn launch(stream: *backend.Stream, variant: Variant, product: kernels.Product, element_bytes: u64) abi.Failure!void {
    const blocks = kernels.divideUp(product.rows, variant.rows);
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
            .blocks = if (variant.resident == 0) blocks else @min(blocks, variant.resident * stream.device.multiprocessors),
            .blocks_y = kernels.divideUp(part.count, variant.tokens),
            .threads = variant.threads,
            .shared_bytes = variant.shared_bytes,
            .programmatic = true,
        }, &part);
    }
}

/// Launches a kernel whose blocks are numbered through, rows first.
fn launchTiles(stream: *backend.Stream, variant: Variant, product: kernels.Product) abi.Failure!void {
    const blocks = @as(u64, kernels.divideUp(product.rows, variant.rows)) * kernels.divideUp(product.count, variant.tokens);
    return stream.launchOf(variant.kernel, .{
        .blocks = std.math.cast(u31, blocks) orelse return error.OutOfMemory,
        .threads = variant.threads,
        .shared_bytes = variant.shared_bytes,
        .programmatic = true,
    }, &product);
}

/// Tokens that the kernels read: a whole tile of 8, or as many tiles as a variant for few tokens has.
pub fn paddedCount(count: u32) u32 {
    if (count == 1) return 1;
    return if (count <= 32) @max(8, std.math.ceilPowerOfTwoAssert(u32, count)) else std.mem.alignForward(u32, count, 8);
}

/// Quantises the input into scratch memory: whole tiles of 8 tokens, their sums and scales.
fn quantizeTokens(stream: *backend.Stream, given: kernels.Product, slabs: bool) abi.Failure!kernels.Product {
    const columns = given.columns;
    const padded_count = if (slabs) std.mem.alignForward(u32, given.count, 8) else paddedCount(given.count);
    const tokens_bytes = padded_count * columns.padded() + if (slabs) kernels.slab_slack else @as(u64, 0);
    const sums_bytes = std.mem.alignForward(u64, @as(u64, given.count) * columns.groups * 4, 256);
    const memory = try stream.takeScratch(tokens_bytes + sums_bytes + @as(u64, given.count) * 4);
    const tokens: kernels.Tokens = .{
        .input = given.tokens,
        .padded = memory,
        .sums = memory + tokens_bytes,
        .scales = memory + tokens_bytes + sums_bytes,
        .columns = columns,
        .count = given.count,
        .padded_count = padded_count,
        .slabs = @intFromBool(slabs),
    };
    // Enough threads for four values each, where one token is alone on the device.
    const threads: u32 = if (columns.padded() >= 4096 and given.count <= 2 * stream.device.multiprocessors) 1024 else 256;
    try stream.launch(.quantize_tokens, .{ .blocks = padded_count, .threads = threads, .programmatic = true }, tokens);
    var product = given;
    product.tokens = tokens.padded;
    product.token_sums = tokens.sums;
    product.token_scales = tokens.scales;
    return product;
}

/// Copies the input with the zeros that groups and chunks are padded with.
fn padTokens(stream: *backend.Stream, product: *kernels.Product) abi.Failure!void {
    const padded = product.columns.padded();
    const memory = try stream.takeScratch(product.count * padded * 4);
    var first: u32 = 0;
    while (first < product.count) : (first += grid_y_max) {
        const count = @min(grid_y_max, product.count - first);
        try stream.launch(.pad_tokens, .{
            .blocks = @intCast(kernels.divideUp(padded, 1024)),
            .blocks_y = count,
            .threads = 256,
            .programmatic = true,
        }, .{
            .input = product.tokens + @as(u64, first) * product.columns.columns * 4,
            .padded = memory + first * padded * 4,
            .columns = product.columns,
            .count = count,
            .padded_count = count,
        });
    }
    product.tokens = memory;
}

/// Memory for the parts of the tokens that are multiplied at a time.
const parts_bytes_max = 256 << 20;

/// Cuts the activations into bf16 parts, as many tokens at a time as fit the memory for that.
fn multiplyParts(stream: *backend.Stream, product: kernels.Product) abi.Failure!void {
    const padded = product.columns.padded();
    const token_bytes = padded * 6;
    const at_once: u32 = @intCast(std.math.clamp(parts_bytes_max / token_bytes / 128 * 128, 128, 32768));
    const most = std.mem.alignForward(u32, @min(at_once, product.count), 8);
    const memory = try stream.takeScratch(most * token_bytes + kernels.slab_slack);
    var first: u32 = 0;
    while (first < product.count) : (first += at_once) {
        var part = product;
        part.count = @min(at_once, product.count - first);
        part.tokens = memory;
        part.output += @as(u64, first) * product.rows * 4;
        const padded_count = std.mem.alignForward(u32, part.count, 8);
        try stream.launch(.split_tokens, .{
            .blocks = @intCast(kernels.divideUp(padded, 512)),
            .blocks_y = padded_count,
            .threads = 256,
            .programmatic = true,
        }, .{
            .input = product.tokens + @as(u64, first) * product.columns.columns * 4,
            .padded = memory,
            .columns = product.columns,
            .count = part.count,
            .padded_count = padded_count,
        });
        try launchTiles(stream, variants.forParts(stream.device, product.rows, part.count), part);
    }
}
