//! The head of a language model with its loss on a device: lib/cpu/head_loss.zig with cuBLAS and the
//! kernels of cuda/head_loss.cu, some tokens at a time.
//!
//!     logits = h E^T,  loss = -log softmax(logits)[target],  g = factor (softmax - one hot)
//!     dh = g E,  dE += g^T h
//!
//! All three are products of f32, cut into two bf16 parts each: a b = a1 b1 + a1 b2 + a2 b1, within about
//! 2^-17, three products with sums in f32, cut as in bitlinear.zig. For the logits the parts stand beside each other,
//! [h1 h1 h2] and [E1 E2 E1], and one product does.
//!
//! Tokens that do not count are computed too, with a gradient of 0: their number stays on the device.

const std = @import("std");
const abi = @import("../abi.zig");
const arguments = @import("bitlinear_arguments.zig");
const backend = @import("backend.zig");
const bitlinear = @import("bitlinear.zig");
const cublas = @import("cublas.zig");

const Buffer = backend.Buffer;
const Stream = backend.Stream;
const wholeEights = bitlinear.wholeEights;

/// Logits that are held at a time; their gradients take as much.
const logits_bytes = 256 << 20;

pub const Head = struct {
    hidden: *Buffer,
    /// [vocab, features]
    table: *Buffer,
    targets: *Buffer,
    /// Both or neither.
    hidden_gradient: ?*Buffer,
    table_gradient: ?*Buffer,
    features: u32,
    scale: f64,

    /// The mean loss and the number of tokens that count.
    pub fn run(self: *const Head) abi.Failure![2]f64 {
        const device = self.hidden.device;
        for ([_]?*Buffer{ self.table, self.targets, self.hidden_gradient, self.table_gradient }) |maybe| {
            if (maybe) |buffer| if (buffer.device != device) return abi.fail(
                error.InvalidValue,
                "Expected all tensors on cuda:{d}, got one on cuda:{d}",
                .{ device.index, buffer.device.index },
            );
        }
        if (!std.math.isFinite(self.scale)) return abi.fail(error.InvalidOption, "Expected a finite scale, got {d}", .{self.scale});
        const row_bytes = @as(u64, self.features) * 4;
        const tokens = try bitlinear.rowsOf("hidden", self.hidden, row_bytes);
        const vocab = try bitlinear.rowsOf("the table", self.table, row_bytes);
        // A row of three parts, and one of logits, are sizes of cuBLAS.
        if (self.features > 1 << 28 or vocab > 1 << 30)
            return abi.fail(error.InvalidShape, "Expected at most 2^30 rows of 2^28 features, got {d} of {d}", .{ vocab, self.features });
        const lists = [_]?*Buffer{ self.targets, self.hidden_gradient, self.table_gradient };
        const sizes = [_]u64{ @as(u64, tokens) * 4, self.hidden.bytes, self.table.bytes };
        for (lists, sizes, [_][]const u8{ "targets", "the gradient of hidden", "the table's gradient" }) |maybe, bytes, name| {
            if (maybe) |buffer| if (buffer.bytes != bytes)
                return abi.fail(error.InvalidLength, "Expected {s} to hold {d} bytes, got {d}", .{ name, bytes, buffer.bytes });
        }
        try bitlinear.expectApart(&.{ self.hidden_gradient, self.table_gradient }, &.{ self.hidden, self.table, self.targets });

        const stream = try device.stream();
        const memory: *Buffer = try .create(device, 16 + @as(u64, tokens) * 8);
        defer memory.release();
        const result = try memory.use(stream);
        const pass: Pass = .{
            .head = self,
            .stream = stream,
            .hidden = try self.hidden.use(stream),
            .table = try self.table.use(stream),
            .targets = try self.targets.use(stream),
            .hidden_gradient = if (self.hidden_gradient) |buffer| try buffer.use(stream) else 0,
            .table_gradient = if (self.table_gradient) |buffer| try buffer.use(stream) else 0,
            .result = result,
            .losses = result + 16,
            .tokens = tokens,
            .vocab = vocab,
        };
        {
            stream.lock.lock();
            defer stream.lock.unlock();
            try pass.run();
        }
        var found: [2]f64 = undefined;
        try stream.download(result, std.mem.asBytes(&found));
        if (found[1] > 0) found[0] /= found[1];
        return found;
    }
};

/// Memory of a chunk of tokens.
const Chunk = struct {
    /// [vocab][3 features]: E1 E2 E1.
    table: u64,
    /// [token][3 features]: h1 h1 h2.
    hidden: u64,
    /// [2 tokens][features]: h1, then h1 again.
    twice: u64,
    logits: u64,
    /// [2 tokens][vocab]: the first parts of the gradients, then the second.
    gradients: u64,
};

const Pass = struct {
    head: *const Head,
    stream: *Stream,
    hidden: u64,
    table: u64,
    targets: u64,
    hidden_gradient: u64,
    table_gradient: u64,
    result: u64,
    losses: u64,
    tokens: u32,
    vocab: u32,

    fn width(self: *const Pass) u32 {
        return wholeEights(self.head.features);
    }

    fn run(self: *const Pass) abi.Failure!void {
        const features: u64 = self.width();
        const vocab = wholeEights(self.vocab);
        const at_once: u32 = @intCast(std.math.clamp(logits_bytes / 4 / @as(u64, vocab) / 128 * 128, 128, 1 << 16));
        const most: u64 = @min(at_once, self.tokens);
        const gradients = self.hidden_gradient != 0;
        var next: u64 = 0;
        const chunk: Chunk = .{
            .table = bitlinear.carve(&next, 6 * features * vocab),
            .hidden = bitlinear.carve(&next, 6 * features * most),
            .twice = bitlinear.carve(&next, if (gradients) 4 * features * most else 0),
            .logits = bitlinear.carve(&next, 4 * most * vocab),
            .gradients = bitlinear.carve(&next, if (gradients) 4 * most * vocab else 0),
        };
        const base = try self.stream.takeScratch(next);
        const all: arguments.Loss = .{ .targets = self.targets, .result = self.result, .tokens = self.tokens, .losses = self.losses };
        try self.stream.launch(.loss_count, .{ .blocks = 1, .threads = 1024 }, all);
        try self.split(self.table, self.vocab, vocab, .{
            .first = .{ base + chunk.table, base + chunk.table + 4 * features },
            .second = base + chunk.table + 2 * features,
            .stride = 3 * features,
        });
        var first: u32 = 0;
        while (first < self.tokens) : (first += at_once) {
            const count = @min(at_once, self.tokens - first);
            try self.chunkOf(first, count, .{
                .table = base + chunk.table,
                .hidden = base + chunk.hidden,
                .twice = base + chunk.twice,
                .logits = base + chunk.logits,
                .gradients = base + chunk.gradients,
            });
        }
        return self.stream.launch(.loss_sum, .{ .blocks = 1, .threads = 1024 }, all);
    }

    const Places = struct { first: [2]u64, second: u64, stride: u64 };

    fn split(self: *const Pass, source: u64, rows: u32, padded_rows: u32, places: Places) abi.Failure!void {
        return self.stream.launch(.bitlinear_split, try bitlinear.eightsShape(padded_rows, self.width()), .{
            .source = source,
            .first = places.first,
            .second = places.second,
            .row_stride = places.stride,
            .rows = rows,
            .padded_rows = padded_rows,
            .columns = self.head.features,
            .padded_columns = self.width(),
        });
    }

    fn chunkOf(self: *const Pass, first: u32, count: u32, chunk: Chunk) abi.Failure!void {
        const features = self.head.features;
        const stride = self.width();
        const vocab = wholeEights(self.vocab);
        const start = @as(u64, first) * features * 4;
        const part: u64 = @as(u64, stride) * 2;
        try self.split(self.hidden + start, count, count, .{
            .first = .{ chunk.hidden, chunk.hidden + part },
            .second = chunk.hidden + 2 * part,
            .stride = 3 * @as(u64, stride),
        });
        try cublas.launch(self.stream, .{
            .m = count,
            .n = vocab,
            .k = 3 * stride,
            .a = .{ .address = chunk.hidden, .stride = 3 * stride },
            .b = .{ .address = chunk.table, .stride = 3 * stride, .transposed = true },
            .out = chunk.logits,
            .factors = .{ .host = .{ 1, 0 } },
            .float = .bf16,
        });
        const gradients = self.hidden_gradient != 0;
        const parts = [2]u64{ chunk.gradients, chunk.gradients + @as(u64, count) * vocab * 2 };
        try self.stream.launch(.loss_rows, .{ .blocks = count, .threads = 1024 }, .{
            .logits = chunk.logits,
            .targets = self.targets + @as(u64, first) * 4,
            .first = if (gradients) parts[0] else 0,
            .second = if (gradients) parts[1] else 0,
            .losses = self.losses + @as(u64, first) * 8,
            .result = self.result,
            .scale = self.head.scale,
            .stride = vocab,
            .vocab = self.vocab,
            .tokens = count,
        });
        if (!gradients) return;
        // g2 E1 + g1 E2 + g1 E1
        for ([_][2]u64{ .{ parts[1], chunk.table }, .{ parts[0], chunk.table + part }, .{ parts[0], chunk.table } }, 0..) |pair, step| {
            try cublas.launchDeep(self.stream, .{
                .m = count,
                .n = features,
                .k = vocab,
                .a = .{ .address = pair[0], .stride = vocab },
                .b = .{ .address = pair[1], .stride = 3 * stride },
                .out = self.hidden_gradient + start,
                .factors = .{ .host = .{ 1, if (step == 0) 0 else 1 } },
                .float = .bf16,
            });
        }
        // [g1; g2]^T [h1; h1] + g1^T h2
        const second = chunk.twice + @as(u64, count) * part;
        try self.split(self.hidden + start, count, count, .{ .first = .{ chunk.twice, second }, .second = 0, .stride = stride });
        var task: cublas.Task = .{
            .m = self.vocab,
            .n = features,
            .k = 2 * count,
            .a = .{ .address = parts[0], .stride = vocab, .transposed = true },
            .b = .{ .address = chunk.twice, .stride = stride },
            .out = self.table_gradient,
            .factors = .{ .host = .{ 1, 1 } },
            .float = .bf16,
        };
        try cublas.launch(self.stream, task);
        task.k = count;
        task.b = .{ .address = chunk.hidden + 2 * part, .stride = 3 * stride };
        return cublas.launch(self.stream, task);
    }
};
