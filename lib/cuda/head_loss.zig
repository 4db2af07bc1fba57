//! The head of a language model with its loss on a device; see cuda/head_loss.cu.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const bitlinear = @import("bitlinear.zig");
const cublas = @import("cublas.zig");
const training = @import("training.zig");

const Buffer = backend.Buffer;
const Stream = backend.Stream;

/// See head_loss.cu.
pub const Pass = extern struct {
    source: u64 = 0,
    targets: u64 = 0,
    first: u64 = 0,
    second: u64 = 0,
    losses: u64 = 0,
    result: u64 = 0,
    scale: f64 = 0,
    count: u64 = 0,
    columns: u32 = 0,
    option: u32 = 0,
};

/// Logits that are held at a time.
const logits_bytes = 256 << 20;

pub const Gradients = struct { hidden: *Buffer, table: *Buffer };

pub const Task = struct {
    hidden: *Buffer,
    table: *Buffer,
    targets: *Buffer,
    gradients: ?Gradients,
    width: u32,
    scale: f64,
};

fn rowsOf(name: []const u8, buffer: *const Buffer, width: u64) abi.Failure!u32 {
    if (buffer.bytes == 0 or buffer.bytes % (4 * width) != 0 or buffer.bytes / (4 * width) > std.math.maxInt(i32)) return abi.fail(
        error.InvalidShape,
        "Expected {s} in whole rows of {d} values, got {d} bytes",
        .{ name, width, buffer.bytes },
    );
    return @intCast(buffer.bytes / (4 * width));
}

fn expectSame(name: []const u8, buffer: *const Buffer, other: *const Buffer) abi.Failure!void {
    if (buffer.bytes != other.bytes) return abi.fail(error.InvalidLength, "Expected {s} to hold {d} bytes, got {d}", .{ name, other.bytes, buffer.bytes });
}

/// The mean loss and how many targets count; waits for them.
pub fn run(task: Task) abi.Failure![2]f64 {
    const device = task.hidden.device;
    if (task.width == 0 or task.width > std.math.maxInt(i32) / 3) return abi.fail(error.InvalidShape, "Expected rows of at least 1 value, got {d}", .{task.width});
    const tokens = try rowsOf("the hidden states", task.hidden, task.width);
    const vocab = try rowsOf("the table", task.table, task.width);
    if (task.targets.bytes != 4 * @as(u64, tokens)) return abi.fail(error.InvalidLength, "Expected {d} targets, got {d} bytes", .{ tokens, task.targets.bytes });
    for ([_]*Buffer{ task.table, task.targets }) |buffer| if (buffer.device != device) return refuseDevice(device, buffer);
    if (task.gradients) |gradients| {
        for ([_]*Buffer{ gradients.hidden, gradients.table }) |buffer| if (buffer.device != device) return refuseDevice(device, buffer);
        try expectSame("the gradient of the hidden states", gradients.hidden, task.hidden);
        try expectSame("the gradient of the table", gradients.table, task.table);
        try training.expectApart(.{ gradients.hidden, gradients.table }, .{ task.hidden, task.table, task.targets });
    }
    const stream = try device.stream();
    var pass = try Chunks.create(task, stream, tokens, vocab);
    defer pass.destroy();
    return pass.run();
}

fn refuseDevice(device: *const backend.Device, buffer: *const Buffer) abi.Failure {
    return abi.fail(error.InvalidValue, "Expected all tensors on cuda:{d}, got one on cuda:{d}", .{ device.index, buffer.device.index });
}

/// Memory of a pass, and its addresses.
const Chunks = struct {
    task: Task,
    stream: *Stream,
    tokens: u32,
    vocab: u32,
    /// Tokens at a time.
    chunk: u32,
    memory: *Buffer,
    table: u64,
    rows: u64,
    logits: u64,
    halves: [2]u64,
    losses: u64,
    result: u64,

    fn create(task: Task, stream: *Stream, tokens: u32, vocab: u32) abi.Failure!Chunks {
        const most = std.math.clamp(logits_bytes / 4 / @as(u64, vocab), 16, tokens + 16);
        const chunk: u32 = @intCast(@min(most, tokens));
        const width: u64 = task.width;
        const sizes = [_]u64{
            6 * width * vocab,
            6 * width * chunk,
            4 * @as(u64, chunk) * vocab,
            if (task.gradients == null) 0 else 2 * @as(u64, chunk) * vocab,
            if (task.gradients == null) 0 else 2 * @as(u64, chunk) * vocab,
            8 * @as(u64, tokens),
            16,
        };
        var places: [sizes.len]u64 = undefined;
        var bytes: u64 = 0;
        for (sizes, &places) |size, *place| {
            place.* = bytes;
            bytes += std.mem.alignForward(u64, size, 256);
        }
        const memory: *Buffer = try .create(stream.device, bytes);
        errdefer memory.release();
        const base = try memory.use(stream);
        return .{
            .task = task,
            .stream = stream,
            .tokens = tokens,
            .vocab = vocab,
            .chunk = chunk,
            .memory = memory,
            .table = base + places[0],
            .rows = base + places[1],
            .logits = base + places[2],
            .halves = .{ base + places[3], base + places[4] },
            .losses = base + places[5],
            .result = base + places[6],
        };
    }

    fn destroy(self: *Chunks) void {
        self.memory.release();
    }

    fn run(self: *Chunks) abi.Failure![2]f64 {
        const stream = self.stream;
        const one: backend.Launch = .{ .blocks = 1, .threads = 256 };
        try stream.launch(.head_loss_count, one, .{ .targets = try self.task.targets.use(stream), .result = self.result, .count = self.tokens });
        try self.split(try self.task.table.use(stream), self.table, self.vocab, 1);
        var token: u32 = 0;
        while (token < self.tokens) : (token += self.chunk) try self.compute(token, @min(self.chunk, self.tokens - token));
        try stream.launch(.head_loss_total, one, .{ .losses = self.losses, .result = self.result, .count = self.tokens });
        var found: [2]f64 = undefined;
        try stream.download(self.result, std.mem.asBytes(&found));
        return .{ if (found[1] == 0) 0 else found[0] / found[1], found[1] };
    }

    /// Rows as halves, three wide.
    fn split(self: *Chunks, source: u64, target: u64, count: u32, option: u32) abi.Failure!void {
        const values = @as(u64, count) * self.task.width;
        return self.stream.launch(.head_loss_split, bitlinear.valuesShape(values), .{
            .source = source,
            .first = target,
            .count = values,
            .columns = self.task.width,
            .option = option,
        });
    }

    fn compute(self: *Chunks, token: u32, count: u32) abi.Failure!void {
        const stream = self.stream;
        const width = self.task.width;
        const offset = 4 * @as(u64, token) * width;
        try self.split(try self.task.hidden.use(stream) + offset, self.rows, count, 0);
        try cublas.multiplyAt(stream, .{
            .m = count,
            .n = self.vocab,
            .k = 3 * width,
            .a = .{ .pointer = self.rows, .stride = 3 * width },
            .b = .{ .pointer = self.table, .stride = 3 * width, .transposed = true },
            .out = .{ .pointer = self.logits, .stride = self.vocab },
            .float = .bf16,
        });
        try stream.launch(.head_loss_softmax, .{ .blocks = count, .threads = 256 }, .{
            .source = self.logits,
            .targets = try self.task.targets.use(stream) + 4 * @as(u64, token),
            .first = self.halves[0],
            .second = self.halves[1],
            .losses = self.losses + 8 * @as(u64, token),
            .result = self.result,
            .scale = self.task.scale,
            .columns = self.vocab,
            .option = @intFromBool(self.task.gradients != null),
        });
        const gradients = self.task.gradients orelse return;
        const d_hidden = try gradients.hidden.use(stream) + offset;
        const d_table = try gradients.table.use(stream);
        // Halves of the table stand at columns 0 and `width`, of the rows at 0 and 2 `width`.
        for ([_]u32{ 0, 0, 1 }, [_]u32{ 0, 1, 0 }, 0..) |half, other, turn| {
            const a = self.halves[half];
            try cublas.multiplyAt(stream, .{
                .m = count,
                .n = width,
                .k = self.vocab,
                .a = .{ .pointer = a, .stride = self.vocab },
                .b = .{ .pointer = self.table + 2 * @as(u64, other) * width, .stride = 3 * width },
                .out = .{ .pointer = d_hidden, .stride = width },
                .float = .bf16,
                .beta = if (turn == 0) 0 else 1,
            });
            try cublas.multiplyAt(stream, .{
                .m = self.vocab,
                .n = width,
                .k = count,
                .a = .{ .pointer = a, .stride = self.vocab, .transposed = true },
                .b = .{ .pointer = self.rows + 4 * @as(u64, other) * width, .stride = 3 * width },
                .out = .{ .pointer = d_table, .stride = width },
                .float = .bf16,
                .beta = 1,
            });
        }
    }
};
