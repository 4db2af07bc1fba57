//! The driver of the ternary matrix products: prepares the activations, cuts the work into blocks of
//! rows for the threads and into tiles of tokens for the registers, and calls the tier's kernels.
//! Everything here runs between threads.enter() and threads.leave().

const std = @import("std");
const firstNotFinite = @import("finite.zig").firstNotFinite;
const table = @import("table.zig");
const threads = @import("threads.zig");
const weights_file = @import("weights.zig");

const Kernels = table.Kernels;
const Shape = weights_file.Shape;
const Weights = weights_file.Weights;

/// Below this many multiply-adds sharing the work costs more than the second thread saves: a
/// microsecond or so while the workers are awake, several when they have to be woken.
const parallel_work_min = 1 << 20;
const parallel_work_min_cold = 1 << 22;

/// Parts per thread of a large product, so that a thread whose core is busy elsewhere takes fewer.
const parts_per_thread = 4;

/// Activations of one pass over a block of weights; more would fall out of the L2 cache.
const tile_group_bytes = 640 << 10;

pub fn threadsFor(work: usize, wanted: u32) u32 {
    const least: usize = if (threads.isWarm()) parallel_work_min else parallel_work_min_cold;
    return if (work < least) 1 else wanted;
}

/// Quantised tokens in tiles: tile i holds tokens [first(i), first(i + 1)), interleaved word by word.
pub const TokensI8 = struct {
    tokens: u32,
    /// Tokens of a tile, at most.
    tile_tokens: u32,
    shape: Shape,
    words: []i32,
    sums: []i32,
    scales: []f32,

    pub fn tiles(self: *const TokensI8) usize {
        return (@as(usize, self.tokens) + self.tile_tokens - 1) / self.tile_tokens;
    }

    pub fn first(self: *const TokensI8, tile: usize) usize {
        return self.tokens * tile / self.tiles();
    }

    pub fn wordsPerToken(self: *const TokensI8) usize {
        return self.shape.paddedColumns() / 4;
    }
};

/// Bytes that `quantizeTokens` needs for that many tokens.
pub fn tokensSize(shape: Shape, tokens: u32, thread_count: u32) usize {
    const padded = shape.paddedColumns();
    const sums = std.mem.alignForward(usize, @as(usize, tokens) * shape.groups() * 4, 64);
    const scales = std.mem.alignForward(usize, @as(usize, tokens) * 4, 64);
    return std.mem.alignForward(usize, padded * tokens, 64) + sums + scales + rowsSize(shape, tokens, thread_count);
}

/// Room for a token on its way into a tile, for every thread; one token alone needs none.
fn rowsSize(shape: Shape, tokens: u32, thread_count: u32) usize {
    const padded = shape.paddedColumns();
    const row_bytes = std.mem.alignForward(usize, padded + @as(usize, shape.groups()) * 4, 64);
    return if (tokens == 1) 0 else row_bytes * @min(thread_count, tokens);
}

pub fn quantizeTokens(
    kernels: *const Kernels,
    shape: Shape,
    input: []const f32,
    tokens: u32,
    absmax_floor: f32,
    memory: []align(64) u8,
    thread_count: u32,
) error{NotFinite}!TokensI8 {
    var rest: Carver = .{ .memory = memory };
    const padded = shape.paddedColumns();
    var job: QuantizeJob = .{
        .kernels = kernels,
        .input = input,
        .floor = absmax_floor,
        .result = .{
            .tokens = tokens,
            .tile_tokens = kernels.tile_tokens_i8,
            .shape = shape,
            .words = rest.take(i32, padded * tokens / 4),
            .sums = rest.take(i32, @as(usize, tokens) * shape.groups()),
            .scales = rest.take(f32, tokens),
        },
        .rows = rest.take(u8, rowsSize(shape, tokens, thread_count)),
        .bad = .init(0),
    };
    const count = if (tokens == 1) 1 else threadsFor(input.len * 8, @min(thread_count, tokens));
    threads.run(count, &job, QuantizeJob.work);
    if (job.bad.load(.monotonic) != 0) return error.NotFinite;
    return job.result;
}

const QuantizeJob = struct {
    kernels: *const Kernels,
    input: []const f32,
    floor: f32,
    result: TokensI8,
    /// Per thread: one token's bytes and sums before they are interleaved.
    rows: []u8,
    bad: std.atomic.Value(u32),

    fn work(self: *QuantizeJob, index: u32, count: u32) void {
        const result = &self.result;
        const from, const to = threads.share(result.tiles(), index, count);
        const row_bytes = self.rows.len / count;
        const row: []align(4) u8 = @alignCast(self.rows[index * row_bytes / 64 * 64 ..]);
        for (from..to) |tile| {
            for (result.first(tile)..result.first(tile + 1)) |token| self.quantize(tile, token, row);
        }
    }

    fn quantize(self: *QuantizeJob, tile: usize, token: usize, row: []align(4) u8) void {
        const result = &self.result;
        const shape = result.shape;
        const tile_first = result.first(tile);
        const width = result.first(tile + 1) - tile_first;
        const lane = token - tile_first;
        const words = result.words[tile_first * result.wordsPerToken() ..];
        const sums = result.sums[tile_first * shape.groups() ..];
        const direct = width == 1;
        const quantized: [*]i8 = if (direct) @ptrCast(words.ptr) else @ptrCast(row.ptr);
        const token_sums: [*]i32 = if (direct) sums.ptr else @ptrCast(@alignCast(row.ptr + result.wordsPerToken() * 4));
        const bad = self.kernels.quantize_token(
            self.input.ptr + token * shape.columns,
            shape.columns,
            shape.group_columns,
            shape.layout.stepColumns(),
            self.floor,
            quantized,
            token_sums,
            &result.scales[token],
        );
        if (bad != 0) return self.bad.store(1, .monotonic);
        if (direct) return;
        const source: [*]const i32 = @ptrCast(@alignCast(row.ptr));
        for (0..result.wordsPerToken()) |i| words[i * width + lane] = source[i];
        for (0..shape.groups()) |group| sums[group * width + lane] = token_sums[group];
    }
};

/// Cuts typed pieces, 64-byte aligned, off a block of memory.
pub const Carver = struct {
    memory: []align(64) u8,

    pub fn take(self: *Carver, comptime T: type, count: usize) []T {
        const bytes = std.mem.alignForward(usize, count * @sizeOf(T), 64);
        const piece: [*]T = @ptrCast(self.memory.ptr);
        self.memory = @alignCast(self.memory[bytes..]);
        return piece[0..count];
    }
};

/// output[token][row] = tokens x weights^T, plus the bias.
pub fn multiplyI8(
    kernels: *const Kernels,
    weights: *const Weights,
    tokens: TokensI8,
    bias: ?[]const f32,
    output: []f32,
    thread_count: u32,
) void {
    const job: MultiplyI8 = .{ .kernels = kernels, .weights = weights, .tokens = tokens, .bias = bias, .output = output };
    const work = @as(usize, weights.rows) * weights.columns * tokens.tokens;
    const count = threadsFor(work, thread_count);
    const parts = if (count == 1) 1 else @min(count * parts_per_thread, weights.blocks());
    threads.run(@intCast(parts), &job, MultiplyI8.run);
}

/// A product of which threads take blocks of rows.
pub const MultiplyI8 = struct {
    kernels: *const Kernels,
    weights: *const Weights,
    tokens: TokensI8,
    bias: ?[]const f32,
    output: []f32,

    fn run(self: *const MultiplyI8, index: u32, count: u32) void {
        const from, const to = threads.share(self.weights.blocks(), index, count);
        self.multiplyBlocks(from, to);
    }

    pub fn multiplyBlocks(self: *const MultiplyI8, from: usize, to: usize) void {
        const tiles = self.tokens.tiles();
        const tile_bytes = self.tokens.wordsPerToken() * 4 * self.tokens.tile_tokens;
        const at_once = @max(1, tile_group_bytes / tile_bytes);
        var first: usize = 0;
        while (first < tiles) : (first += at_once) {
            for (from..to) |block| {
                for (first..@min(first + at_once, tiles)) |tile| self.multiplyBlock(block, tile);
            }
        }
    }

    fn multiplyBlock(self: *const MultiplyI8, block: usize, tile: usize) void {
        const weights = self.weights;
        const tokens = &self.tokens;
        const groups = weights.shape().groups();
        const token = tokens.first(tile);
        const row = block * table.block_rows;
        const multiply = switch (weights.layout) {
            .planes => self.kernels.matmul_i8,
            .base3 => self.kernels.matmul_i8_base3,
            .triples => unreachable, // Refused by product.zig.
        };
        multiply(&.{
            .weights = weights.blockData(block, 0),
            .tile = tokens.words.ptr + token * tokens.wordsPerToken(),
            .sums = tokens.sums.ptr + token * groups,
            .token_scales = tokens.scales.ptr + token,
            .row_scales = weights.row_scales.ptr + row * groups,
            .bias = if (self.bias) |bias| bias.ptr + row else null,
            .output = self.output.ptr + token * weights.rows + row,
            .output_stride = weights.rows,
            .panels = weights.panelsOf(block),
            .rows = @min(weights.rows - @as(u32, @intCast(row)), table.block_rows),
            .groups = groups,
            .group_steps = weights.shape().groupSteps(),
            .tokens = @intCast(tokens.first(tile + 1) - token),
        });
    }
};

/// Bytes of scratch that `multiplyF32` needs.
pub fn tilesSizeF32(thread_count: u32) usize {
    var most: usize = 0;
    for (std.enums.values(table.Layout)) |layout| {
        most = @max(most, layout.segmentSteps() * table.tile_tokens_f32 * layout.tableFloats() * 4);
    }
    return most * (if (thread_count == 1) 1 else thread_count * parts_per_thread);
}

/// The same with f32 activations; with `adds`, output += it. A token that holds NaN or an infinity gets NaN everywhere.
pub fn multiplyF32(
    kernels: *const Kernels,
    weights: *const Weights,
    input: []const f32,
    bias: ?[]const f32,
    output: []f32,
    memory: []align(64) u8,
    thread_count: u32,
    adds: bool,
) void {
    const job: MultiplyF32 = .{
        .kernels = switch (weights.layout) {
            .planes => &kernels.f32_planes,
            .triples => &kernels.f32_triples,
            .base3 => unreachable, // Refused by product.zig.
        },
        .weights = weights,
        .input = input,
        .bias = bias,
        .output = output,
        .memory = memory,
        .adds = adds,
    };
    const work = @as(usize, weights.rows) * input.len;
    const count = threadsFor(work, thread_count);
    const tiles = job.tiles();
    if (count > 1 and tiles >= 2 * count) {
        threads.run(@intCast(@min(tiles, count * parts_per_thread)), &job, MultiplyF32.runTokens);
    } else {
        threads.run(count, &job, MultiplyF32.runRows);
        job.spreadNotFinite(0, input.len / weights.columns);
    }
}

const MultiplyF32 = struct {
    kernels: *const table.KernelsF32,
    weights: *const Weights,
    input: []const f32,
    bias: ?[]const f32,
    output: []f32,
    memory: []align(64) u8,
    /// To what the output holds.
    adds: bool,

    fn tiles(self: *const MultiplyF32) usize {
        const tokens = self.input.len / self.weights.columns;
        return (tokens + table.tile_tokens_f32 - 1) / table.tile_tokens_f32;
    }

    /// A share of the rows for all tokens: every part prepares the tokens for itself.
    fn runRows(self: *const MultiplyF32, index: u32, count: u32) void {
        const from, const to = threads.share(self.weights.blocks(), index, count);
        for (0..self.tiles()) |tile| self.multiplyTile(self.tileMemory(index), tile, from, to);
    }

    /// A share of the tokens for all rows.
    fn runTokens(self: *const MultiplyF32, index: u32, count: u32) void {
        const from, const to = threads.share(self.tiles(), index, count);
        for (from..to) |tile| self.multiplyTile(self.tileMemory(index), tile, 0, self.weights.blocks());
        const tokens = self.input.len / self.weights.columns;
        self.spreadNotFinite(from * table.tile_tokens_f32, @min(to * table.tile_tokens_f32, tokens));
    }

    fn tileMemory(self: *const MultiplyF32, index: u32) [*]f32 {
        return @ptrCast(@alignCast(self.memory.ptr + index * tilesSizeF32(1)));
    }

    /// Makes everything NaN that a token with a value that is not finite gave.
    fn spreadNotFinite(self: *const MultiplyF32, from: usize, to: usize) void {
        const columns = self.weights.columns;
        const rows = self.weights.rows;
        for (from..to) |token| {
            if (firstNotFinite(self.input[token * columns ..][0..columns]) != null)
                @memset(self.output[token * rows ..][0..rows], std.math.nan(f32));
        }
    }

    fn multiplyTile(self: *const MultiplyF32, tile: [*]f32, index: usize, from: usize, to: usize) void {
        const weights = self.weights;
        const token = index * table.tile_tokens_f32;
        const width: u32 = @intCast(@min(table.tile_tokens_f32, self.input.len / weights.columns - token));
        const shape = weights.shape();
        const steps = shape.layout.segmentSteps();
        const step_columns = shape.layout.stepColumns();
        for (0..shape.groups()) |group| {
            var step: usize = 0;
            while (step < shape.groupSteps()) : (step += steps) {
                const column = group * shape.group_columns + step * step_columns;
                const columns = @min(steps * step_columns, shape.group_columns - step * step_columns);
                const segment = self.input.ptr + token * shape.columns + column;
                self.kernels.prepare(segment, shape.columns, width, @intCast(columns), tile);
                for (from..to) |block| self.multiplyBlock(tile, token, width, group, step, block);
            }
        }
    }

    fn multiplyBlock(
        self: *const MultiplyF32,
        tile: [*]const f32,
        token: usize,
        width: u32,
        group: usize,
        step: usize,
        block: usize,
    ) void {
        const weights = self.weights;
        const shape = weights.shape();
        const group_steps = shape.groupSteps();
        const row = block * table.block_rows;
        const steps = @min(shape.layout.segmentSteps(), group_steps - step);
        self.kernels.matmul(&.{
            .weights = weights.blockData(block, group * group_steps + step),
            .next_weights = weights.blockData(@min(block + 1, weights.blocks() - 1), group * group_steps + step),
            .tile = tile,
            .row_scales = weights.row_scales.ptr + row * shape.groups() + group * table.panel_rows,
            .row_scales_stride = @as(usize, shape.groups()) * table.panel_rows,
            .bias = if (self.bias) |bias| bias.ptr + row else null,
            .output = self.output.ptr + token * weights.rows + row,
            .output_stride = weights.rows,
            .panels = weights.panelsOf(block),
            .rows = @min(weights.rows - @as(u32, @intCast(row)), table.block_rows),
            .steps = @intCast(steps),
            .tokens = width,
            .first = @intFromBool(group == 0 and step == 0 and !self.adds),
            .last = @intFromBool(group + 1 == shape.groups() and step + steps == group_steps),
        });
    }
};
