//! A linear layer in training on a device; see cuda/bitlinear.cu.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const cublas = @import("cublas.zig");
const kernels = @import("kernels.zig");
const training = @import("training.zig");

const Buffer = backend.Buffer;
const Stream = backend.Stream;
const divideUp = kernels.divideUp;

/// See bitlinear.cu.
pub const Pass = extern struct {
    source: u64,
    scales: u64 = 0,
    mean: u64 = 0,
    bias: u64 = 0,
    target: u64,
    second: u64 = 0,
    count: u64,
    columns: u32 = 0,
    parts: u32 = 0,
};

/// Values of a block of floats::for_values.
const block_values = 4096;
/// Weights whose magnitudes are added up together.
const sum_values = 16384;
/// A sum of 127 times as many columns is exact in f32.
pub const columns_max = (1 << 24) / 127;

pub fn valuesShape(count: u64) backend.Launch {
    return .{ .blocks = @intCast(divideUp(count, block_values)), .threads = 256 };
}

fn expectBytes(name: []const u8, buffer: *const Buffer, bytes: u64) abi.Failure!void {
    if (buffer.bytes != bytes) return abi.fail(error.InvalidLength, "Expected {s} to hold {d} bytes, got {d}", .{ name, bytes, buffer.bytes });
}

fn expectDevice(device: *const backend.Device, others: anytype) abi.Failure!void {
    inline for (others) |other| if (other.device != device) return abi.fail(
        error.InvalidValue,
        "Expected all tensors on cuda:{d}, got one on cuda:{d}",
        .{ device.index, other.device.index },
    );
}

/// Rows of int8 and a scale for each; how many there are.
fn tokensOf(values: *const Buffer, scales: *const Buffer, columns: u32) abi.Failure!u32 {
    const count = scales.bytes / 4;
    if (count == 0 or scales.bytes % 4 != 0 or count > std.math.maxInt(i32)) return abi.fail(
        error.InvalidLength,
        "Expected 1 to {d} scales of 4 bytes, got {d} bytes",
        .{ std.math.maxInt(i32), scales.bytes },
    );
    try expectBytes("the activations", values, count * columns);
    return @intCast(count);
}

/// Rounds rows of `columns` floats to int8, with a scale for each.
pub fn quantizeTokens(input: *Buffer, values: *Buffer, scales: *Buffer, columns: u32) abi.Failure!void {
    if (columns == 0) return abi.fail(error.InvalidShape, "Expected at least 1 column, got none", .{});
    try expectDevice(input.device, .{ values, scales });
    const count = try tokensOf(values, scales, columns);
    try expectBytes("the input", input, 4 * values.bytes);
    try training.expectApart(.{ values, scales }, .{input});
    const stream = try input.device.stream();
    return stream.launch(.bitlinear_tokens, .{ .blocks = count, .threads = 256 }, .{
        .source = try input.use(stream),
        .target = try values.use(stream),
        .second = try scales.use(stream),
        .count = values.bytes,
        .columns = columns,
    });
}

/// Adds up to what is there, or not.
pub const Backward = struct {
    gradient: *Buffer,
    values: *Buffer,
    scales: *Buffer,
    weight_gradient: *Buffer,
    bias_gradient: ?*Buffer,
    input_gradient: *Buffer,
    accumulate: bool,
};

/// What a layer keeps: the trits of its weights as bf16, twice, their mean, and sums on the way to it.
pub const Layer = struct {
    device: *backend.Device,
    columns: u32,
    rows: u32,
    trits: *Buffer,
    sums: *Buffer,
    /// Whether there have been weights.
    is_ready: bool = false,

    pub fn create(device: *backend.Device, columns: u32, rows: u32) abi.Failure!*Layer {
        if (columns == 0 or columns > columns_max) return abi.fail(error.InvalidShape, "Expected 1 to {d} columns, got {d}", .{ columns_max, columns });
        if (rows == 0 or rows > std.math.maxInt(i32) / 2) return abi.fail(error.InvalidShape, "Expected 1 to {d} rows, got {d}", .{ std.math.maxInt(i32) / 2, rows });
        const self = try std.heap.c_allocator.create(Layer);
        errdefer std.heap.c_allocator.destroy(self);
        self.* = .{ .device = device, .columns = columns, .rows = rows, .trits = undefined, .sums = undefined };
        self.trits = try .create(device, 4 * self.count());
        errdefer self.trits.release();
        self.sums = try .create(device, 8 * self.parts() + 8);
        return self;
    }

    pub fn destroy(self: *Layer) void {
        self.trits.release();
        self.sums.release();
        std.heap.c_allocator.destroy(self);
    }

    pub fn memoryBytes(self: *const Layer) u64 {
        return self.trits.bytes + self.sums.bytes;
    }

    fn count(self: *const Layer) u64 {
        return @as(u64, self.rows) * self.columns;
    }

    fn parts(self: *const Layer) u64 {
        return divideUp(self.count(), sum_values);
    }

    /// Where the mean is: behind the sums.
    fn meanAt(self: *const Layer, sums: u64) u64 {
        return sums + 8 * self.parts();
    }

    /// Quantises the weights and multiplies; nothing waits.
    pub fn forward(self: *Layer, weight: *Buffer, values: *Buffer, scales: *Buffer, bias: ?*Buffer, out: *Buffer) abi.Failure!void {
        try expectDevice(self.device, .{ weight, values, scales, bias orelse out, out });
        try expectBytes("the weights", weight, 4 * self.count());
        const tokens = try tokensOf(values, scales, self.columns);
        if (bias) |given| try expectBytes("the bias", given, 4 * @as(u64, self.rows));
        const outputs = @as(u64, tokens) * self.rows;
        try expectBytes("the output", out, 4 * outputs);
        try training.expectApart(.{out}, .{ weight, values, scales });
        if (bias == out) try training.expectApart(.{out}, .{out});
        const stream = try self.device.stream();
        const wide: *Buffer = try .create(self.device, 2 * values.bytes);
        defer wide.release();
        try self.quantize(stream, weight);
        try widen(stream, values, wide);
        const trits = try self.trits.use(stream);
        try cublas.multiplyAt(stream, .{
            .m = tokens,
            .n = self.rows,
            .k = self.columns,
            .a = .{ .pointer = try wide.use(stream), .stride = self.columns },
            .b = .{ .pointer = trits, .stride = self.columns, .transposed = true },
            .out = .{ .pointer = try out.use(stream), .stride = self.rows },
            .float = .bf16,
        });
        return stream.launch(.bitlinear_finish, valuesShape(outputs), .{
            .source = 0,
            .scales = try scales.use(stream),
            .mean = self.meanAt(try self.sums.use(stream)),
            .bias = if (bias) |given| try given.use(stream) else 0,
            .target = try out.use(stream),
            .count = outputs,
            .columns = self.rows,
        });
    }

    fn quantize(self: *Layer, stream: *Stream, weight: *Buffer) abi.Failure!void {
        const source = try weight.use(stream);
        const sums = try self.sums.use(stream);
        const length = self.parts();
        try stream.launch(.bitlinear_sum, .{ .blocks = @intCast(length), .threads = 256 }, .{ .source = source, .target = sums, .count = self.count() });
        try stream.launch(.bitlinear_round, valuesShape(self.count()), .{
            .source = source,
            .mean = self.meanAt(sums),
            .target = try self.trits.use(stream),
            .second = sums,
            .count = self.count(),
            .parts = @intCast(length),
        });
        self.is_ready = true;
    }

    /// Adds the gradients of weights and bias and gives that of the input, by the trits of the last pass
    /// forward.
    pub fn backward(self: *Layer, p: Backward) abi.Failure!void {
        if (!self.is_ready) return abi.fail(error.InvalidValue, "Expected a pass forward before the pass backward", .{});
        try expectDevice(self.device, .{ p.gradient, p.values, p.scales, p.weight_gradient, p.bias_gradient orelse p.gradient, p.input_gradient });
        const tokens = try tokensOf(p.values, p.scales, self.columns);
        const outputs = @as(u64, tokens) * self.rows;
        try expectBytes("the gradient", p.gradient, 4 * outputs);
        try expectBytes("the weight's gradient", p.weight_gradient, 4 * self.count());
        try expectBytes("the input's gradient", p.input_gradient, 4 * p.values.bytes);
        try training.expectApart(.{ p.weight_gradient, p.input_gradient }, .{ p.gradient, p.values, p.scales });
        const stream = try self.device.stream();
        if (p.bias_gradient) |sums| {
            try expectBytes("the bias's gradient", sums, 4 * @as(u64, self.rows));
            try training.columnSums(p.gradient, sums);
        }
        const side_by_side: *Buffer = try .create(self.device, 4 * outputs);
        defer side_by_side.release();
        const halves: *Buffer = try .create(self.device, 4 * outputs);
        defer halves.release();
        const wide: *Buffer = try .create(self.device, 2 * p.values.bytes);
        defer wide.release();
        try stream.launch(.bitlinear_split, valuesShape(outputs), .{
            .source = try p.gradient.use(stream),
            .scales = try p.scales.use(stream),
            .mean = self.meanAt(try self.sums.use(stream)),
            .target = try side_by_side.use(stream),
            .second = try halves.use(stream),
            .count = outputs,
            .columns = self.rows,
        });
        try widen(stream, p.values, wide);
        try cublas.multiplyAt(stream, .{
            .m = tokens,
            .n = self.columns,
            .k = 2 * self.rows,
            .a = .{ .pointer = try side_by_side.use(stream), .stride = 2 * self.rows },
            .b = .{ .pointer = try self.trits.use(stream), .stride = self.columns },
            .out = .{ .pointer = try p.input_gradient.use(stream), .stride = self.columns },
            .float = .bf16,
            .beta = if (p.accumulate) 1 else 0,
        });
        for (0..2) |half| try cublas.multiplyAt(stream, .{
            .m = self.rows,
            .n = self.columns,
            .k = tokens,
            .a = .{ .pointer = try halves.use(stream) + 2 * outputs * half, .stride = self.rows, .transposed = true },
            .b = .{ .pointer = try wide.use(stream), .stride = self.columns },
            .out = .{ .pointer = try p.weight_gradient.use(stream), .stride = self.columns },
            .float = .bf16,
            .beta = 1,
        });
    }
};

/// int8 as bf16
fn widen(stream: *Stream, values: *Buffer, target: *Buffer) abi.Failure!void {
    return stream.launch(.bitlinear_widen, valuesShape(values.bytes), .{
        .source = try values.use(stream),
        .target = try target.use(stream),
        .count = values.bytes,
    });
}
