//! Steps of optimisers on tensors of a device: those of lib/cpu/optimizers.zig to the last bit.

const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const kernels = @import("kernels.zig");
const training = @import("training.zig");

const Buffer = backend.Buffer;

pub const AdamW = struct {
    beta1: f32,
    beta2: f32,
    rate: f32,
    square_factor: f32,
    epsilon: f32,
    keep: f32,

    pub fn run(self: AdamW, data: *Buffer, gradient: *Buffer, mean: *Buffer, square: *Buffer) abi.Failure!void {
        const count = try training.sameCounts(data, .{ .{ "gradient", gradient }, .{ "mean", mean }, .{ "square", square } });
        try training.expectApart(.{ data, mean, square }, .{gradient});
        const stream = try data.device.stream();
        return stream.launch(.training_adamw, training.foursShape(count), .{
            .data = try data.use(stream),
            .gradient = try gradient.use(stream),
            .mean = try mean.use(stream),
            .square = try square.use(stream),
            .count = count,
            .beta1 = self.beta1,
            .beta2 = self.beta2,
            .rate = self.rate,
            .square_factor = self.square_factor,
            .epsilon = self.epsilon,
            .keep = self.keep,
        });
    }
};

pub const Sgd = struct {
    momentum: f32,
    rate: f32,
    keep: f32,
    nesterov: u32,

    /// Without a velocity there is no momentum.
    pub fn run(self: Sgd, data: *Buffer, gradient: *Buffer, velocity: ?*Buffer) abi.Failure!void {
        const count = try training.sameCounts(data, .{.{ "gradient", gradient }});
        try training.expectApart(.{data}, .{gradient});
        if (velocity) |kept| {
            _ = try training.sameCounts(data, .{.{ "velocity", kept }});
            try training.expectApart(.{ data, kept }, .{gradient});
        }
        const stream = try data.device.stream();
        return stream.launch(.training_sgd, training.foursShape(count), .{
            .data = try data.use(stream),
            .gradient = try gradient.use(stream),
            .velocity = if (velocity) |kept| try kept.use(stream) else 0,
            .count = count,
            .momentum = self.momentum,
            .rate = self.rate,
            .keep = self.keep,
            .nesterov = self.nesterov,
        });
    }
};
