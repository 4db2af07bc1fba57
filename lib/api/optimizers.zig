//! Steps of optimisers on one parameter.

const std = @import("std");
const abi = @import("../abi.zig");
const buffers = @import("buffers.zig");
const dispatch = @import("../cpu/dispatch.zig");
const table = @import("../cpu/table.zig");
const threads = @import("../cpu/threads.zig");
const training_table = @import("../cpu/training_table.zig");
const Fields = @import("options.zig").Fields;

/// One step of AdamW, all buffers of one length.
/// options = [length, beta1, beta2, learning rate over 1 - beta1^t, 1 / sqrt(1 - beta2^t), epsilon,
/// 1 - learning rate * weight decay]
pub fn adamw_step(
    data: ?[*]f32,
    gradient: ?[*]const f32,
    mean: ?[*]f32,
    square: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(adamwStep(f32, data, .{}, gradient, mean, square, options, options_length));
}

/// The same on bf16, which is rounded at random: by the seed, and a row that no other step has.
pub fn adamw_step_bf16(
    data: ?[*]u16,
    gradient: ?[*]const f32,
    mean: ?[*]f32,
    square: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
    seed: u64,
    row: u64,
) callconv(.c) i32 {
    return abi.finish(adamwStep(u16, data, .{ .seed = seed, .row = row }, gradient, mean, square, options, options_length));
}

/// One step of gradient descent; `velocity` has length 0 where there is no momentum.
/// options = [length, length of velocity, momentum, learning rate, 1 - learning rate * weight decay,
/// 1 for Nesterov's]
pub fn sgd_step(
    data: ?[*]f32,
    gradient: ?[*]const f32,
    velocity: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(sgdStep(f32, data, .{}, gradient, velocity, options, options_length));
}

/// The same on bf16, which is rounded at random: by the seed, and a row that no other step has.
pub fn sgd_step_bf16(
    data: ?[*]u16,
    gradient: ?[*]const f32,
    velocity: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
    seed: u64,
    row: u64,
) callconv(.c) i32 {
    return abi.finish(sgdStep(u16, data, .{ .seed = seed, .row = row }, gradient, velocity, options, options_length));
}

const any = std.math.maxInt(u32);

/// Elements of a part: a multiple of 16, so that parts cut no vector.
const piece = 1 << 14;

fn piecesOf(length: usize) usize {
    return (length + piece - 1) / piece;
}

fn runPieces(length: usize, context: anytype, comptime function: fn (@TypeOf(context), u32, u32) void) void {
    threads.enter();
    defer threads.leave();
    threads.run(@intCast(@max(1, @min(piecesOf(length), threads.getThreads() * 4))), context, function);
}

/// What random rounding is drawn from.
const Draw = struct { seed: u64 = 0, row: u64 = 0 };

fn valuesOf(comptime T: type, data: []T, draw: Draw) training_table.Values {
    return .{
        .floats = if (T == f32) data.ptr else null,
        .halves = if (T == u16) data.ptr else null,
        .seed = draw.seed,
        .row = draw.row,
    };
}

fn adamwStep(
    comptime T: type,
    data_pointer: ?[*]T,
    draw: Draw,
    gradient_pointer: ?[*]const f32,
    mean_pointer: ?[*]f32,
    square_pointer: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const length = try fields.count("the length", 0, any);
    const data = try abi.writable(T, data_pointer, length, "data");
    const gradient = try abi.readable(f32, gradient_pointer, length, "gradient");
    const mean = try abi.writable(f32, mean_pointer, length, "mean");
    const square = try abi.writable(f32, square_pointer, length, "square");
    try buffers.expectApart(.{ data, mean, square }, .{gradient});
    if (length == 0) return;
    const job: AdamW = .{ .kernels = try dispatch.kernels(), .task = .{
        .values = valuesOf(T, data, draw),
        .gradient = gradient.ptr,
        .mean = mean.ptr,
        .square = square.ptr,
        .count = length,
        .beta1 = @floatCast(try fields.number("beta1")),
        .beta2 = @floatCast(try fields.number("beta2")),
        .rate = @floatCast(try fields.number("the rate")),
        .square_factor = @floatCast(try fields.number("the correction of squares")),
        .epsilon = @floatCast(try fields.number("epsilon")),
        .keep = @floatCast(try fields.number("what is kept")),
    } };
    runPieces(length, &job, AdamW.work);
}

const AdamW = struct {
    kernels: *const table.Kernels,
    task: training_table.AdamW,

    fn work(self: *const AdamW, index: u32, count: u32) void {
        const first, const last = threads.share(piecesOf(self.task.count), index, count);
        const from = first * piece;
        var part = self.task;
        part.values = part.values.from(from);
        part.gradient += from;
        part.mean += from;
        part.square += from;
        part.count = @min(last * piece, self.task.count) - from;
        self.kernels.training.adamw(&part);
    }
};

fn sgdStep(
    comptime T: type,
    data_pointer: ?[*]T,
    draw: Draw,
    gradient_pointer: ?[*]const f32,
    velocity_pointer: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const length = try fields.count("the length", 0, any);
    const velocity_length = try fields.count("the length of velocity", 0, any);
    const data = try abi.writable(T, data_pointer, length, "data");
    const gradient = try abi.readable(f32, gradient_pointer, length, "gradient");
    const velocity = try abi.writable(f32, velocity_pointer, velocity_length, "velocity");
    if (velocity.len != 0 and velocity.len != length) return abi.fail(
        error.InvalidLength,
        "Expected velocity to hold {d} elements or none, got {d}",
        .{ length, velocity.len },
    );
    try buffers.expectApart(.{ data, velocity }, .{gradient});
    if (length == 0) return;
    const job: Sgd = .{ .kernels = try dispatch.kernels(), .task = .{
        .values = valuesOf(T, data, draw),
        .gradient = gradient.ptr,
        .velocity = if (velocity.len == 0) null else velocity.ptr,
        .count = length,
        .momentum = @floatCast(try fields.number("momentum")),
        .rate = @floatCast(try fields.number("the rate")),
        .keep = @floatCast(try fields.number("what is kept")),
        .nesterov = try fields.count("whether Nesterov's", 0, 1),
    } };
    runPieces(length, &job, Sgd.work);
}

const Sgd = struct {
    kernels: *const table.Kernels,
    task: training_table.Sgd,

    fn work(self: *const Sgd, index: u32, count: u32) void {
        const first, const last = threads.share(piecesOf(self.task.count), index, count);
        const from = first * piece;
        var part = self.task;
        part.values = part.values.from(from);
        part.gradient += from;
        if (part.velocity) |velocity| part.velocity = velocity + from;
        part.count = @min(last * piece, self.task.count) - from;
        self.kernels.training.sgd(&part);
    }
};
