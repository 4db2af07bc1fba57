//! A linear layer in training: latent f32 weights that compute as if they were ternary, on activations
//! that compute as if they were int8, and gradients that pass by both as if nothing had been rounded.
//!
//!     forward     y = (q s) (t w)^T       q int8 and s per token, t trits and w of the whole matrix
//!     backward    dx = g (t w)            dW = g^T (q s)
//!
//! The forward pass is that of inference, with the same kernels and the same bits; the weights are laid
//! out anew for every call, which takes a few hundredths of the product with a thousand tokens. The
//! products of the backward pass are dense and read trits and int8 activations as they are.
//!
//! Everything here runs between threads.enter() and threads.leave(), on checked arguments.

const std = @import("std");
const dense_product = @import("dense_product.zig");
const matmul = @import("matmul.zig");
const table = @import("table.zig");
const threads = @import("threads.zig");
const weights_file = @import("weights.zig");
const TritSource = @import("weights_sources.zig").TritSource;

const Product = dense_product.Product;
const Shape = weights_file.Shape;
const Weights = weights_file.Weights;

/// The least mean magnitude of weights and the least largest magnitude of a token, as in the models'
/// training elsewhere.
const floor = 1e-5;

/// Elements of a pass that are worth a second thread.
const parallel_elements_min = 1 << 16;

fn partsFor(elements: usize, units: usize) u32 {
    return if (elements < parallel_elements_min) 1 else @intCast(@max(1, @min(units, threads.getThreads() * 4)));
}

/// Trits of the weights, f32 or the bits of bf16, whose magnitude is at least half the mean of all, and
/// that mean; null where a weight is not finite.
pub fn quantizeWeights(comptime T: type, kernels: *const table.Kernels, weights: []const T, columns: usize, trits: []i8) error{OutOfMemory}!?f32 {
    const rows = weights.len / columns;
    const parts = partsFor(weights.len, rows);
    const widened = if (T == f32) 0 else parts * columns;
    const memory = try threads.scratch(rows * @sizeOf(f64) + widened * @sizeOf(f32) + 128);
    var carver: matmul.Carver = .{ .memory = memory };
    const sums = carver.take(f64, rows);
    var job: WeightsJob(T) = .{
        .kernels = kernels,
        .weights = weights,
        .columns = columns,
        .trits = trits,
        .sums = sums,
        .floats = carver.take(f32, widened),
        .above = 0,
    };
    threads.run(parts, @as(*const WeightsJob(T), &job), WeightsJob(T).sum);
    // Row by row, as weights are quantised that are loaded.
    var total: f64 = 0;
    for (sums) |value| total += value;
    if (!std.math.isFinite(total)) return null;
    const mean: f32 = @max(@as(f32, @floatCast(total / @as(f64, @floatFromInt(weights.len)))), floor);
    job.above = std.math.nextAfter(f32, 0.5 * mean, -std.math.inf(f32));
    threads.run(parts, @as(*const WeightsJob(T), &job), WeightsJob(T).round);
    return mean;
}

fn WeightsJob(comptime T: type) type {
    return struct {
        const Self = @This();

        kernels: *const table.Kernels,
        weights: []const T,
        columns: usize,
        trits: []i8,
        sums: []f64,
        /// A row of each part.
        floats: []f32,
        above: f32,

        fn sum(self: *const Self, index: u32, count: u32) void {
            const from, const to = threads.share(self.sums.len, index, count);
            for (from..to) |i| self.sums[i] = self.kernels.ternary.sum_magnitudes(self.row(i, index), self.columns);
        }

        fn round(self: *const Self, index: u32, count: u32) void {
            const from, const to = threads.share(self.sums.len, index, count);
            for (from..to) |i| {
                self.kernels.ternary.trits_above(self.row(i, index), self.columns, self.above, self.trits.ptr + i * self.columns);
            }
        }

        fn row(self: *const Self, i: usize, part: usize) [*]const f32 {
            const weights = self.weights[i * self.columns ..][0..self.columns];
            if (T == f32) return weights.ptr;
            const floats = self.floats[part * self.columns ..][0..self.columns];
            for (floats, weights) |*float, bits| float.* = @bitCast(@as(u32, bits) << 16);
            return floats.ptr;
        }
    };
}

/// Row-major int8 activations with a scale and the sum of each token.
pub const Tokens = struct {
    values: []const i8,
    scales: []const f32,
    sums: []const i32,

    fn columns(self: Tokens) usize {
        return self.values.len / self.scales.len;
    }
};

/// Returns false where an activation is not finite.
pub fn quantizeTokens(kernels: *const table.Kernels, input: []const f32, values: []i8, scales: []f32, sums: []i32) bool {
    var job: TokensJob = .{ .kernels = kernels, .input = input, .values = values, .scales = scales, .sums = sums };
    threads.run(partsFor(input.len, scales.len), &job, TokensJob.work);
    return !job.bad.load(.monotonic);
}

const TokensJob = struct {
    kernels: *const table.Kernels,
    input: []const f32,
    values: []i8,
    scales: []f32,
    sums: []i32,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *TokensJob, index: u32, count: u32) void {
        const columns = self.input.len / self.scales.len;
        const width: u32 = @intCast(columns);
        const from, const to = threads.share(self.scales.len, index, count);
        for (from..to) |token| {
            const start = token * columns;
            // Steps of one column: nothing is padded.
            const bad = self.kernels.quantize_token(self.input.ptr + start, width, width, 1, floor, self.values.ptr + start, self.sums.ptr + token, &self.scales[token]);
            if (bad != 0) return self.bad.store(true, .monotonic);
        }
    }
};

pub const Linear = struct {
    trits: []const i8,
    scale: f32,
    columns: u32,

    fn rows(self: Linear) u32 {
        return @intCast(self.trits.len / self.columns);
    }

    /// output [tokens, rows]; returns false where a trit is none.
    pub fn forward(self: Linear, kernels: *const table.Kernels, tokens: Tokens, bias: ?[]const f32, output: []f32) error{OutOfMemory}!bool {
        const shape: Shape = .{ .columns = self.columns, .group_columns = self.columns };
        const thread_count = threads.getThreads();
        const count: u32 = @intCast(tokens.scales.len);
        const data_bytes = std.mem.alignForward(usize, weights_file.dataBytes(self.rows(), shape), 64);
        const scales_count = weights_file.scalesCount(self.rows(), shape);
        const words = shape.paddedColumns() / 4 * count;
        const memory = try threads.scratch(data_bytes + std.mem.alignForward(usize, scales_count * 4, 64) +
            std.mem.alignForward(usize, words * 4, 64) + 2 * std.mem.alignForward(usize, count * 4, 64));
        var carver: matmul.Carver = .{ .memory = memory };
        var weights: Weights = .{
            .rows = self.rows(),
            .columns = self.columns,
            .group_columns = self.columns,
            .layout = .planes,
            .data = carver.take(u8, data_bytes),
            .row_scales = carver.take(f32, scales_count),
            .nonzeros = 0,
            .memory_bytes = 0,
        };
        @memset(weights.row_scales, self.scale);
        const source: TritSource(i8) = .{ .values = self.trits, .columns = self.columns };
        const parts: u32 = if (self.trits.len < parallel_elements_min) 1 else thread_count;
        if (!weights_file.fill(&weights, kernels, source, parts)) return false;
        const tiles: matmul.TokensI8 = .{
            .tokens = count,
            .tile_tokens = kernels.tile_tokens_i8,
            .shape = shape,
            .words = carver.take(i32, words),
            .sums = carver.take(i32, count),
            .scales = carver.take(f32, count),
        };
        @memcpy(tiles.sums, tokens.sums);
        @memcpy(tiles.scales, tokens.scales);
        const job: TileJob = .{ .tokens = tokens, .tiles = tiles };
        threads.run(partsFor(tokens.values.len, tiles.tiles()), &job, TileJob.work);
        matmul.multiplyI8(kernels, &weights, tiles, bias, output, thread_count);
        return true;
    }

    /// dx = g (t w), or += it; the trits are checked. With tables of sums it takes half the time of a
    /// dense product, and without them twice as much.
    pub fn backwardInput(self: Linear, kernels: *const table.Kernels, gradient: []const f32, dx: []f32, adds: bool) error{OutOfMemory}!void {
        if (kernels.has_sum_tables != 0) return self.backwardByTables(kernels, gradient, dx, adds);
        const product: Product = .{
            .a = .along(gradient.ptr, self.rows()),
            .b = .acrossBytes(self.trits.ptr, self.columns),
            .c = dx.ptr,
            .c_stride = self.columns,
            .m = gradient.len / self.rows(),
            .n = self.columns,
            .k = self.rows(),
            .alpha = self.scale,
            .beta = if (adds) 1 else 0,
        };
        product.multiply(&kernels.gemm, try threads.scratch(product.scratchBytes(&kernels.gemm)), threads.getThreads());
    }

    fn backwardByTables(self: Linear, kernels: *const table.Kernels, gradient: []const f32, dx: []f32, adds: bool) error{OutOfMemory}!void {
        const shape: Shape = .{ .columns = self.rows(), .group_columns = self.rows(), .layout = .triples };
        const thread_count = threads.getThreads();
        const data_bytes = std.mem.alignForward(usize, weights_file.dataBytes(self.columns, shape), 64);
        const scales_count = weights_file.scalesCount(self.columns, shape);
        const panels = (self.columns + table.panel_rows - 1) / table.panel_rows;
        const parts = partsFor(self.trits.len, panels);
        const turned = std.mem.alignForward(usize, parts * table.panel_rows * self.rows(), 64);
        const tiles_bytes = matmul.tilesSizeF32(thread_count);
        const memory = try threads.scratch(data_bytes + std.mem.alignForward(usize, scales_count * 4, 64) + turned + tiles_bytes);
        var carver: matmul.Carver = .{ .memory = memory };
        const weights: Weights = .{
            .rows = self.columns,
            .columns = self.rows(),
            .group_columns = self.rows(),
            .layout = .triples,
            .data = carver.take(u8, data_bytes),
            .row_scales = carver.take(f32, scales_count),
            .nonzeros = 0,
            .memory_bytes = 0,
        };
        @memset(weights.row_scales, self.scale);
        const job: TurnJob = .{ .linear = self, .weights = &weights, .rows = @ptrCast(carver.take(u8, turned)) };
        threads.run(parts, &job, TurnJob.work);
        matmul.multiplyF32(kernels, &weights, gradient, null, dx, carver.memory, thread_count, adds);
    }
};

/// Prepares the transposed weights, whose rows are columns of trits.
const TurnJob = struct {
    linear: Linear,
    weights: *const Weights,
    /// A panel's rows for each part.
    rows: []i8,

    fn work(self: *const TurnJob, part: u32, parts: u32) void {
        const columns = self.linear.columns;
        const length = self.linear.rows();
        const own = self.rows[part * table.panel_rows * length ..][0 .. table.panel_rows * length];
        const panels = (columns + table.panel_rows - 1) / table.panel_rows;
        const from, const to = threads.share(panels, part, parts);
        for (from..to) |panel| {
            const first = panel * table.panel_rows;
            const width = @min(table.panel_rows, columns - first);
            // Padding is zeros.
            if (width < table.panel_rows) @memset(own, 0);
            for (0..length) |row| {
                const trits = self.linear.trits[row * columns + first ..][0..width];
                for (trits, 0..) |trit, i| own[i * length + row] = trit;
            }
            for (0..table.panel_rows) |i| self.weights.writeRow(first + i, own[i * length ..][0..length]);
        }
    }
};

/// dW += g^T (q s)
pub fn backwardWeights(kernels: *const table.Kernels, gradient: []const f32, tokens: Tokens, dw: []f32) error{OutOfMemory}!void {
    const columns = tokens.columns();
    const rows = dw.len / columns;
    const product: Product = .{
        .a = .{
            .data = @ptrCast(gradient.ptr),
            .outer_stride = 1,
            .depth_stride = rows,
            .depth_scales = tokens.scales.ptr,
        },
        .b = .acrossBytes(tokens.values.ptr, columns),
        .c = dw.ptr,
        .c_stride = columns,
        .m = rows,
        .n = columns,
        .k = tokens.scales.len,
        .beta = 1,
    };
    product.multiply(&kernels.gemm, try threads.scratch(product.scratchBytes(&kernels.gemm)), threads.getThreads());
}

/// Interleaves the tokens of each tile word by word, as the product's kernels take them.
const TileJob = struct {
    tokens: Tokens,
    tiles: matmul.TokensI8,

    fn work(self: *const TileJob, index: u32, count: u32) void {
        const from, const to = threads.share(self.tiles.tiles(), index, count);
        for (from..to) |tile| {
            const first = self.tiles.first(tile);
            const width = self.tiles.first(tile + 1) - first;
            for (0..width) |lane| self.place(first, width, lane);
        }
    }

    fn place(self: *const TileJob, first: usize, width: usize, lane: usize) void {
        const columns = self.tokens.columns();
        const source = self.tokens.values[(first + lane) * columns ..][0..columns];
        const target = self.tiles.words[first * self.tiles.wordsPerToken() ..];
        const whole = columns / 4;
        for (0..whole) |word| target[word * width + lane] = @bitCast(source[word * 4 ..][0..4].*);
        for (whole..self.tiles.wordsPerToken()) |word| {
            var bytes: [4]i8 = @splat(0);
            const left = columns -| word * 4;
            for (bytes[0..@min(4, left)], 0..) |*byte, i| byte.* = source[word * 4 + i];
            target[word * width + lane] = @bitCast(bytes);
        }
    }
};
