//! A ternary layer in training on a device: lib/cpu/bitlinear.zig with the kernels of cuda/bitlinear.cu.
//!
//!     forward     y = (q s) (t w)^T       the exact product of inference
//!     backward    dx = g (t w)            dW = g^T (q s)
//!
//! Trits and int8 are exact in bf16. The other factor of a backward product is cut into two bf16 parts,
//! a = a1 + a2 within 2^-17 of a, whose products are summed in f32 by cuBLAS. The mean w stays on the
//! device, where cuBLAS reads it.

const std = @import("std");
const abi = @import("../abi.zig");
const arguments = @import("bitlinear_arguments.zig");
const backend = @import("backend.zig");
const columns_max = @import("../cpu/weights.zig").columns_max;
const cublas = @import("cublas.zig");
const kernels = @import("kernels.zig");
const products = @import("product.zig");
const training = @import("training.zig");
const variants = @import("product_variants.zig");
const Weights = @import("weights.zig").Weights;

const Buffer = backend.Buffer;
const Stream = backend.Stream;
const divideUp = kernels.divideUp;

/// Magnitudes that a block adds up.
const sum_values = 4096;

/// Parts of the tokens of a backward pass, at most so many bytes at a time.
const parts_bytes_max = 1 << 30;

fn expectBytes(name: []const u8, buffer: *const Buffer, bytes: u64) abi.Failure!void {
    if (buffer.bytes != bytes) return abi.fail(error.InvalidLength, "Expected {s} to hold {d} bytes, got {d}", .{ name, bytes, buffer.bytes });
}

fn expectDevice(device: *const backend.Device, list: []const ?*Buffer) abi.Failure!void {
    for (list) |maybe| if (maybe) |buffer| if (buffer.device != device) return abi.fail(
        error.InvalidValue,
        "Expected all tensors on cuda:{d}, got one on cuda:{d}",
        .{ device.index, buffer.device.index },
    );
}

/// `outputs` share memory with nothing else; those that are null are left out.
pub fn expectApart(outputs: []const ?*Buffer, inputs: []const ?*Buffer) abi.Failure!void {
    for (outputs, 0..) |maybe, place| {
        const output = maybe orelse continue;
        const among = std.mem.indexOfScalar(?*Buffer, inputs, output) != null or
            std.mem.indexOfScalar(?*Buffer, outputs[place + 1 ..], output) != null;
        if (among) return abi.fail(error.InvalidValue, "Expected outputs in memory of their own, got tensors that share it", .{});
    }
}

/// Whole rows, at least one; how many.
pub fn rowsOf(name: []const u8, buffer: *const Buffer, row_bytes: u64) abi.Failure!u32 {
    const rows = if (row_bytes == 0) 0 else buffer.bytes / row_bytes;
    if (rows == 0 or buffer.bytes % row_bytes != 0 or rows > std.math.maxInt(i32)) return abi.fail(
        error.InvalidShape,
        "Expected {s} in whole rows of {d} bytes, from 1 to 2^31 - 1, got {d} bytes",
        .{ name, row_bytes, buffer.bytes },
    );
    return @intCast(rows);
}

pub fn quantizeTokens(input: *Buffer, values: *Buffer, scales: *Buffer, features: u32) abi.Failure!void {
    try expectDevice(input.device, &.{ values, scales });
    if (features == 0 or features > columns_max)
        return abi.fail(error.InvalidShape, "Expected 1 to {d} features, got {d}", .{ columns_max, features });
    const count = try rowsOf("input", input, @as(u64, features) * 4);
    try expectBytes("values", values, @as(u64, count) * features);
    try expectBytes("scales", scales, @as(u64, count) * 4);
    try expectApart(&.{ values, scales }, &.{input});
    const stream = try input.device.stream();
    return stream.launch(.bitlinear_quantize, .{ .blocks = count, .threads = 256 }, .{
        .input = try input.use(stream),
        .values = try values.use(stream),
        .scales = try scales.use(stream),
        .features = features,
        .count = count,
    });
}

pub const Forward = struct { weight: *Buffer, values: *Buffer, scales: *Buffer, bias: ?*Buffer, out: *Buffer };

pub const Backward = struct {
    gradient: *Buffer,
    values: *Buffer,
    scales: *Buffer,
    weight_gradient: *Buffer,
    bias_gradient: ?*Buffer,
    input_gradient: *Buffer,
    /// To the gradient of the input; to those of weights and bias always.
    adds: bool,
};

pub const Layer = struct {
    /// Trits of the last forward pass, with the mean as the scale of every row.
    weights: *Weights,
    /// The mean, 0 and 1, for cuBLAS.
    factors: *Buffer,
    has_trits: std.atomic.Value(bool) = .init(false),

    pub fn create(device: *backend.Device, rows: u32, columns: u32) abi.Failure!*Layer {
        const self = try std.heap.c_allocator.create(Layer);
        errdefer std.heap.c_allocator.destroy(self);
        const weights: *Weights = try .create(device, rows, columns, columns);
        errdefer weights.destroy();
        self.* = .{ .weights = weights, .factors = try .create(device, 16) };
        return self;
    }

    pub fn destroy(self: *Layer) void {
        self.weights.destroy();
        self.factors.release();
        std.heap.c_allocator.destroy(self);
    }

    fn width(self: *const Layer) u32 {
        return self.weights.columns.columns;
    }

    /// How many tokens there are, with what belongs to them checked.
    fn tokensOf(self: *const Layer, values: *const Buffer, scales: *const Buffer) abi.Failure!u32 {
        const count = try rowsOf("values", values, self.width());
        try expectBytes("scales", scales, @as(u64, count) * 4);
        return count;
    }

    pub fn forward(self: *Layer, task: Forward) abi.Failure!void {
        const device = self.weights.device;
        const rows: u64 = self.weights.rows;
        try expectDevice(device, &.{ task.weight, task.values, task.scales, task.bias, task.out });
        try expectBytes("weight", task.weight, rows * self.width() * 4);
        const count = try self.tokensOf(task.values, task.scales);
        if (task.bias) |bias| try expectBytes("bias", bias, rows * 4);
        try expectBytes("out", task.out, rows * count * 4);
        try expectApart(&.{task.out}, &.{ task.weight, task.values, task.scales, task.bias });

        const stream = try device.stream();
        const weight = try task.weight.use(stream);
        const values = try task.values.use(stream);
        const scales = try task.scales.use(stream);
        const bias = if (task.bias) |buffer| try buffer.use(stream) else 0;
        const out = try task.out.use(stream);
        const trits = try self.weights.data.use(stream);
        const row_scales = try self.weights.scales.use(stream);
        const factors = try self.factors.use(stream);
        stream.lock.lock();
        defer stream.lock.unlock();
        try self.ternarize(stream, weight, .{ trits, row_scales, factors });
        self.has_trits.store(true, .release);
        // After the weights: a product that is let in early may read them before it waits.
        const tokens = try placeTokens(stream, self.weights, values, scales, count);
        return products.multiplyQuantized(stream, self.weights, tokens, bias, out);
    }

    /// The trits and the mean of the weights.
    fn ternarize(self: *Layer, stream: *Stream, weight: u64, targets: [3]u64) abi.Failure!void {
        const weights = self.weights;
        const count = @as(u64, weights.rows) * self.width();
        const blocks = divideUp(count, sum_values);
        const sums = try stream.takeScratch(blocks * 8);
        try stream.launch(.bitlinear_sum, .{ .blocks = @intCast(blocks), .threads = 256 }, .{ .weights = weight, .sums = sums, .count = count });
        return stream.launch(.bitlinear_ternarize, weights.warpsShape(), .{
            .weights = weight,
            .sums = sums,
            .trits = targets[0],
            .scales = targets[1],
            .factors = targets[2],
            .count = count,
            .columns = weights.columns,
            .rows = weights.rows,
            .tiles = weights.tiles(),
        });
    }

    pub fn backward(self: *Layer, task: Backward) abi.Failure!void {
        const device = self.weights.device;
        const rows: u64 = self.weights.rows;
        try expectDevice(device, &.{ task.gradient, task.values, task.scales, task.weight_gradient, task.bias_gradient, task.input_gradient });
        const count = try self.tokensOf(task.values, task.scales);
        try expectBytes("gradient", task.gradient, rows * count * 4);
        try expectBytes("the weight's gradient", task.weight_gradient, rows * self.width() * 4);
        try expectBytes("the input's gradient", task.input_gradient, @as(u64, count) * self.width() * 4);
        if (task.bias_gradient) |bias| try expectBytes("the bias's gradient", bias, rows * 4);
        try expectApart(
            &.{ task.weight_gradient, task.bias_gradient, task.input_gradient },
            &.{ task.gradient, task.values, task.scales },
        );
        if (!self.has_trits.load(.acquire))
            return abi.fail(error.InvalidValue, "Expected a forward pass before the backward pass, got none", .{});
        if (task.bias_gradient) |bias| try training.columnSums(task.gradient, bias);

        const stream = try device.stream();
        var pass: Pass = .{
            .layer = self,
            .stream = stream,
            .trits = try self.weights.data.use(stream),
            .factors = try self.factors.use(stream),
            .gradient = try task.gradient.use(stream),
            .values = try task.values.use(stream),
            .scales = try task.scales.use(stream),
            .weight_gradient = try task.weight_gradient.use(stream),
            .input_gradient = try task.input_gradient.use(stream),
            .adds = task.adds,
        };
        stream.lock.lock();
        defer stream.lock.unlock();
        return pass.run(count);
    }
};

/// int8 activations as the product's kernels read them.
fn placeTokens(stream: *Stream, weights: *const Weights, values: u64, scales: u64, count: u32) abi.Failure!products.QuantizedTokens {
    const columns = weights.columns;
    const slabs = variants.wantsSlabs(stream.device, weights.rows, columns, count);
    const padded_count = if (slabs) std.mem.alignForward(u32, count, 8) else products.paddedCount(count);
    const bytes = std.mem.alignForward(u64, padded_count * columns.padded() + if (slabs) kernels.slab_slack else @as(u64, 0), 256);
    const memory = try stream.takeScratch(bytes + @as(u64, count) * 4);
    try stream.launch(.bitlinear_place, .{ .blocks = divideUp(padded_count, 4), .threads = 128 }, .{
        .values = values,
        .padded = memory,
        .sums = memory + bytes,
        .columns = columns,
        .count = count,
        .padded_count = padded_count,
        .slabs = @intFromBool(slabs),
    });
    return .{ .values = memory, .sums = memory + bytes, .scales = scales, .count = count, .slabs = slabs };
}

/// cuBLAS multiplies bf16 fast where rows begin at multiples of 16 bytes.
pub fn wholeEights(count: u32) u32 {
    return std.mem.alignForward(u32, count, 8);
}

/// A grid over runs of eight values, one for a thread.
pub fn eightsShape(rows: u64, padded_columns: u32) abi.Failure!backend.Launch {
    const blocks = divideUp(rows * (padded_columns / 8), 256);
    return .{ .blocks = std.math.cast(u31, blocks) orelse return error.OutOfMemory, .threads = 256 };
}

/// The addresses and sizes of a backward pass.
const Pass = struct {
    layer: *Layer,
    stream: *Stream,
    trits: u64,
    factors: u64,
    gradient: u64,
    values: u64,
    scales: u64,
    weight_gradient: u64,
    input_gradient: u64,
    adds: bool,

    fn run(self: *Pass, count: u32) abi.Failure!void {
        const weights = self.layer.weights;
        const rows = wholeEights(weights.rows);
        const columns = wholeEights(self.layer.width());
        const token_bytes = 8 * @as(u64, rows) + 2 * @as(u64, columns);
        const at_once: u32 = @intCast(std.math.clamp(parts_bytes_max / token_bytes / 128 * 128, 128, 1 << 20));
        const most: u64 = @min(at_once, count);
        var next: u64 = 0;
        const places: Places = .{
            .trits = carve(&next, 4 * @as(u64, rows) * columns),
            .parts = carve(&next, 4 * rows * most),
            .scaled = carve(&next, 4 * rows * most),
            .values = carve(&next, 2 * columns * most),
        };
        const base = try self.stream.takeScratch(next);
        try self.stream.launch(.bitlinear_unpack, try eightsShape(rows, columns), .{
            .trits = self.trits,
            .out = base + places.trits,
            .columns = weights.columns,
            .padded_rows = rows,
            .stride = columns,
        });
        var first: u32 = 0;
        while (first < count) : (first += at_once) try self.chunk(first, @min(at_once, count - first), .{
            .trits = base + places.trits,
            .parts = base + places.parts,
            .scaled = base + places.scaled,
            .values = base + places.values,
        });
    }

    fn chunk(self: *Pass, first: u32, tokens: u32, at: Places) abi.Failure!void {
        const rows = self.layer.weights.rows;
        const columns = self.layer.width();
        const stride = wholeEights(rows);
        const values_stride = wholeEights(columns);
        const second = @as(u64, tokens) * stride * 2;
        try self.stream.launch(.bitlinear_split, try eightsShape(tokens, stride), .{
            .source = self.gradient + @as(u64, first) * rows * 4,
            .first = .{ at.parts, 0 },
            .second = at.parts + @as(u64, stride) * 2,
            .row_stride = 2 * @as(u64, stride),
            .scales = self.scales + @as(u64, first) * 4,
            .scaled_first = at.scaled,
            .scaled_second = at.scaled + second,
            .rows = tokens,
            .padded_rows = tokens,
            .columns = rows,
            .padded_columns = stride,
        });
        try self.stream.launch(.bitlinear_widen, try eightsShape(tokens, values_stride), .{
            .values = self.values + @as(u64, first) * columns,
            .out = at.values,
            .count = tokens,
            .columns = columns,
            .stride = values_stride,
        });
        // dW += (g2 s)^T q + (g1 s)^T q
        for ([_]u64{ at.scaled + second, at.scaled }) |part| try cublas.launchDeep(self.stream, .{
            .m = rows,
            .n = columns,
            .k = tokens,
            .a = .{ .address = part, .stride = stride, .transposed = true },
            .b = .{ .address = at.values, .stride = values_stride },
            .out = self.weight_gradient,
            .factors = .{ .host = .{ 1, 1 } },
            .float = .bf16,
        });
        // dx = [g1 g2] [t w; t w]
        try cublas.launchDeep(self.stream, .{
            .m = tokens,
            .n = columns,
            .k = 2 * stride,
            .a = .{ .address = at.parts, .stride = 2 * stride },
            .b = .{ .address = at.trits, .stride = values_stride },
            .out = self.input_gradient + @as(u64, first) * columns * 4,
            .factors = .{ .device = .{ .alpha = self.factors, .beta = self.factors + @as(u64, if (self.adds) 8 else 4), .one = self.factors + 8 } },
            .float = .bf16,
        });
    }
};

/// What a backward pass needs of the scratch memory.
const Places = struct {
    /// [2 rows][columns]
    trits: u64,
    /// [token][2 rows], the first part and then the second.
    parts: u64,
    /// [2 tokens][rows], of gradients times the tokens' scales.
    scaled: u64,
    /// [token][column]
    values: u64,
};

/// An offset for so many bytes.
pub fn carve(next: *u64, bytes: u64) u64 {
    defer next.* += std.mem.alignForward(u64, bytes, 256);
    return next.*;
}
