//! One whole product: f32 activations in, f32 out, with weights that are prepared or in the wire
//! format. Everything here runs between threads.enter() and threads.leave(), on checked arguments.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("dispatch.zig");
const firstNotFinite = @import("finite.zig").firstNotFinite;
const matmul = @import("matmul.zig");
const threads = @import("threads.zig");
const weights_file = @import("weights.zig");

const Shape = weights_file.Shape;
const Weights = weights_file.Weights;
const WireSource = weights_file.WireSource;

pub const Product = struct {
    input: []const f32,
    /// Empty where there is none.
    bias: []const f32,
    output: []f32,
    int8: bool,

    pub fn multiply(self: Product, weights: *const Weights) abi.Failure!void {
        if (weights.layout == @as(weights_file.Layout, if (self.int8) .triples else .base3)) return abi.fail(
            error.InvalidOption,
            "Expected activations that the layout of the weights serves: {s} weights take {s} only",
            .{ @tagName(weights.layout), if (self.int8) "f32" else "int8" },
        );
        return self.compute(weights, 0, threads.getThreads());
    }

    /// Prepares the weights in scratch memory, on all threads, and multiplies.
    pub fn multiplyWire(self: Product, source: WireSource, scales: []const f32, rows: u32, shape: Shape) abi.Failure!void {
        const data_bytes = std.mem.alignForward(usize, weights_file.dataBytes(rows, shape), 64);
        const scales_bytes = std.mem.alignForward(usize, weights_file.scalesCount(rows, shape) * 4, 64);
        // Asked once: a product that finds more threads than it was given room for would move the
        // scratch, and the weights with it.
        const thread_count = threads.getThreads();
        const memory = try threads.scratch(data_bytes + scales_bytes + self.scratchBytes(shape, thread_count));
        var carver: matmul.Carver = .{ .memory = memory };
        var weights: Weights = .{
            .rows = rows,
            .columns = shape.columns,
            .group_columns = shape.group_columns,
            .layout = shape.layout,
            .data = carver.take(u8, data_bytes),
            .row_scales = carver.take(f32, weights_file.scalesCount(rows, shape)),
            .nonzeros = 0,
            .memory_bytes = 0,
        };
        weights_file.fillScales(&weights, scales);
        const parts: u32 = if (data_bytes < 1 << 16) 1 else thread_count;
        if (!weights_file.fill(&weights, try dispatch.kernels(), source, parts)) return source.refuse(rows, shape);
        return self.compute(&weights, data_bytes + scales_bytes, thread_count);
    }

    fn tokens(self: Product, columns: u32) u32 {
        return @intCast(self.input.len / columns);
    }

    fn scratchBytes(self: Product, shape: Shape, thread_count: u32) usize {
        if (!self.int8) return matmul.tilesSizeF32(thread_count);
        return matmul.tokensSize(shape, self.tokens(shape.columns), thread_count);
    }

    /// Scratch begins `reserved` bytes in, after what the caller keeps there.
    fn compute(self: Product, weights: *const Weights, reserved: usize, thread_count: u32) abi.Failure!void {
        if (self.input.len == 0) return;
        const kernels = try dispatch.kernels();
        const shape = weights.shape();
        const scratch = try threads.scratch(reserved + self.scratchBytes(shape, thread_count));
        const memory: []align(64) u8 = @alignCast(scratch[reserved..]);
        const bias = if (self.bias.len == 0) null else self.bias;
        if (!self.int8) return matmul.multiplyF32(kernels, weights, self.input, bias, self.output, memory, thread_count, false);
        const count = self.tokens(shape.columns);
        const quantized = matmul.quantizeTokens(kernels, shape, self.input, count, 0, memory, thread_count) catch {
            const index = firstNotFinite(self.input) orelse 0;
            return abi.fail(error.InvalidValue, "Expected finite activations, got {d} at index {d}", .{ self.input[index], index });
        };
        matmul.multiplyI8(kernels, weights, quantized, bias, self.output, thread_count);
    }
};
