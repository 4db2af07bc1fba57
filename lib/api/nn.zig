//! Dense layers, softmax and norms on plain f32 buffers.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const nn_table = @import("../cpu/nn_table.zig");
const threads = @import("../cpu/threads.zig");
const expectLength = @import("options.zig").expectLength;

pub fn linear_f32(
    input: ?[*]const f32,
    input_length: u32,
    weights: ?[*]const f32,
    weights_length: u32,
    bias: ?[*]const f32,
    bias_length: u32,
    output: ?[*]f32,
    output_length: u32,
    features: u32,
) callconv(.c) i32 {
    return abi.finish(linear(input, input_length, weights, weights_length, bias, bias_length, output, output_length, features));
}

pub fn softmax(
    input: ?[*]const f32,
    input_length: u32,
    output: ?[*]f32,
    output_length: u32,
    size: u32,
    stride: u32,
) callconv(.c) i32 {
    return abi.finish(softmaxOf(input, input_length, output, output_length, size, stride));
}

pub fn layer_norm(
    input: ?[*]const f32,
    input_length: u32,
    weight: ?[*]const f32,
    weight_length: u32,
    bias: ?[*]const f32,
    bias_length: u32,
    output: ?[*]f32,
    output_length: u32,
    epsilon: f32,
) callconv(.c) i32 {
    return abi.finish(layerNorm(input, input_length, weight, weight_length, bias, bias_length, output, output_length, epsilon));
}

pub fn rms_norm(
    input: ?[*]const f32,
    input_length: u32,
    weight: ?[*]const f32,
    weight_length: u32,
    output: ?[*]f32,
    output_length: u32,
    epsilon: f32,
) callconv(.c) i32 {
    return abi.finish(rmsNorm(input, input_length, weight, weight_length, output, output_length, epsilon));
}

/// Below this many vector operations of 16 lanes a fork and join costs more than it saves.
const parallel_work_min = 1 << 14;

fn threadsFor(vector_operations: u64) u32 {
    return if (vector_operations < parallel_work_min) 1 else threads.getThreads();
}

fn expectApart(a: []const f32, b: []const f32) abi.Failure!void {
    if (abi.overlap(a, b))
        return abi.fail(error.InvalidValue, "Expected inputs and output in separate memory, got overlapping buffers", .{});
}

/// Element-wise work may be done in place, but not half in place.
fn expectApartOrSame(a: []const f32, b: []const f32) abi.Failure!void {
    if (a.ptr != b.ptr) try expectApart(a, b);
}

fn linear(
    input_pointer: ?[*]const f32,
    input_length: u32,
    weights_pointer: ?[*]const f32,
    weights_length: u32,
    bias_pointer: ?[*]const f32,
    bias_length: u32,
    output_pointer: ?[*]f32,
    output_length: u32,
    features: u32,
) abi.Failure!void {
    const input = try abi.readable(f32, input_pointer, input_length, "input");
    const weights = try abi.readable(f32, weights_pointer, weights_length, "weights");
    const bias = try abi.readable(f32, bias_pointer, bias_length, "bias");
    const output = try abi.writable(f32, output_pointer, output_length, "output");
    if (features == 0) return abi.fail(error.InvalidShape, "Expected at least 1 feature, got 0", .{});
    if (input.len % features != 0 or weights.len % features != 0) return abi.fail(
        error.InvalidShape,
        "Expected input and weights in whole rows of {d} features, got {d} and {d} elements",
        .{ features, input.len, weights.len },
    );
    const tokens = input.len / features;
    const rows = weights.len / features;
    try expectLength("output", output.len, @as(u64, tokens) * rows);
    if (bias.len != 0) try expectLength("bias", bias.len, rows);
    try expectApart(input, output);
    try expectApart(weights, output);
    try expectApart(bias, output);
    const job: LinearJob = .{
        .kernels = &(try dispatch.kernels()).nn,
        .task = .{
            .input = input.ptr,
            .input_stride = features,
            .weights = @ptrCast(weights.ptr),
            .row_bytes = @as(usize, features) * 4,
            .bias = if (bias.len == 0) null else bias.ptr,
            .output = output.ptr,
            .output_stride = rows,
            .tokens = @intCast(tokens),
            .rows = @intCast(rows),
            .columns = features,
            .float = 0,
        },
    };
    threads.enter();
    defer threads.leave();
    threads.run(threadsFor(@as(u64, weights.len) / 16 * tokens), &job, LinearJob.work);
}

const LinearJob = struct {
    kernels: *const nn_table.Kernels,
    task: nn_table.Dense,

    /// Threads share the rows; with few rows and many tokens, the tokens.
    fn work(self: *const LinearJob, index: u32, count: u32) void {
        var part = self.task;
        if (part.rows >= part.tokens) {
            const from, const to = threads.share(part.rows, index, count);
            part.weights += from * part.row_bytes;
            part.output += from;
            if (part.bias) |bias| part.bias = bias + from;
            part.rows = @intCast(to - from);
        } else {
            const from, const to = threads.share(part.tokens, index, count);
            part.input += from * part.input_stride;
            part.output += from * part.output_stride;
            part.tokens = @intCast(to - from);
        }
        self.kernels.dense(&part);
    }
};

fn softmaxOf(
    input_pointer: ?[*]const f32,
    input_length: u32,
    output_pointer: ?[*]f32,
    output_length: u32,
    size: u32,
    stride: u32,
) abi.Failure!void {
    const input = try abi.readable(f32, input_pointer, input_length, "input");
    const output = try abi.writable(f32, output_pointer, output_length, "output");
    try expectLength("output", output.len, input.len);
    const plane = @as(u64, size) * stride;
    if (plane == 0 or input.len % plane != 0) return abi.fail(
        error.InvalidShape,
        "Expected input in whole blocks of {d} x {d} elements, got {d} elements",
        .{ size, stride, input.len },
    );
    try expectApartOrSame(input, output);
    const job: SoftmaxJob = .{
        .kernels = &(try dispatch.kernels()).nn,
        .input = input,
        .output = output,
        .size = size,
        .stride = stride,
    };
    threads.enter();
    defer threads.leave();
    threads.run(threadsFor(input.len), &job, SoftmaxJob.work);
}

const SoftmaxJob = struct {
    kernels: *const nn_table.Kernels,
    input: []const f32,
    output: []f32,
    size: u32,
    stride: u32,

    /// Threads share the softmaxes, 16 neighbouring columns at a time where they are strided.
    fn work(self: *const SoftmaxJob, index: u32, count: u32) void {
        const plane = @as(usize, self.size) * self.stride;
        const strips = (@as(usize, self.stride) + 15) / 16;
        const from, const to = threads.share(self.input.len / plane * strips, index, count);
        for (from..to) |strip| {
            const column = strip % strips * 16;
            const start = strip / strips * plane + column;
            const input = self.input.ptr + start;
            const output = self.output.ptr + start;
            if (self.stride == 1) {
                self.kernels.softmax_row(input, output, self.size);
            } else {
                const lanes: u32 = @intCast(@min(16, self.stride - column));
                self.kernels.softmax_columns(input, output, self.size, self.stride, lanes);
            }
        }
    }
};

fn layerNorm(
    input: ?[*]const f32,
    input_length: u32,
    weight: ?[*]const f32,
    weight_length: u32,
    bias: ?[*]const f32,
    bias_length: u32,
    output: ?[*]f32,
    output_length: u32,
    epsilon: f32,
) abi.Failure!void {
    const job: NormJob = .{
        .kernels = &(try dispatch.kernels()).nn,
        .kind = .layer,
        .input = try abi.readable(f32, input, input_length, "input"),
        .weight = try abi.readable(f32, weight, weight_length, "weight"),
        .bias = try abi.readable(f32, bias, bias_length, "bias"),
        .output = try abi.writable(f32, output, output_length, "output"),
        .epsilon = epsilon,
    };
    return job.run();
}

fn rmsNorm(
    input: ?[*]const f32,
    input_length: u32,
    weight: ?[*]const f32,
    weight_length: u32,
    output: ?[*]f32,
    output_length: u32,
    epsilon: f32,
) abi.Failure!void {
    const job: NormJob = .{
        .kernels = &(try dispatch.kernels()).nn,
        .kind = .rms,
        .input = try abi.readable(f32, input, input_length, "input"),
        .weight = try abi.readable(f32, weight, weight_length, "weight"),
        .bias = &.{},
        .output = try abi.writable(f32, output, output_length, "output"),
        .epsilon = epsilon,
    };
    return job.run();
}

const NormJob = struct {
    kernels: *const nn_table.Kernels,
    kind: enum { layer, rms },
    input: []const f32,
    weight: []const f32,
    bias: []const f32,
    output: []f32,
    epsilon: f32,

    fn run(self: *const NormJob) abi.Failure!void {
        const features = self.weight.len;
        if (features == 0 or self.input.len % features != 0) return abi.fail(
            error.InvalidShape,
            "Expected input in whole rows of {d} features, got {d} elements",
            .{ features, self.input.len },
        );
        try expectLength("output", self.output.len, self.input.len);
        if (self.bias.len != 0) try expectLength("bias", self.bias.len, features);
        if (!(self.epsilon >= 0) or std.math.isInf(self.epsilon))
            return abi.fail(error.InvalidOption, "Expected epsilon to be finite and at least 0, got {d}", .{self.epsilon});
        try expectApartOrSame(self.input, self.output);
        try expectApart(self.weight, self.output);
        try expectApart(self.bias, self.output);
        threads.enter();
        defer threads.leave();
        threads.run(threadsFor(self.input.len / 4), self, work);
    }

    fn work(self: *const NormJob, index: u32, count: u32) void {
        const features = self.weight.len;
        const width: u32 = @intCast(features);
        const from, const to = threads.share(self.input.len / features, index, count);
        for (from..to) |row| {
            const input = self.input.ptr + row * features;
            const output = self.output.ptr + row * features;
            switch (self.kind) {
                .rms => self.kernels.rms_norm(input, self.weight.ptr, output, width, self.epsilon),
                .layer => {
                    const bias = if (self.bias.len == 0) null else self.bias.ptr;
                    self.kernels.layer_norm(input, self.weight.ptr, bias, output, width, self.epsilon);
                },
            }
        }
    }
};
