//! The LM head: the last hidden state times a table of a row per token id.
//!
//! stored  the rows of the mapped file, as they are: f32, f16 or bf16
//! bf16    a copy on huge pages, rounded to bf16 where the file has more: half the bytes of f32, and
//!         no smaller pages than the other weights have
//! int8    rows quantised by their largest magnitude, times the hidden state quantised the same way:
//!         half the bytes of bf16; the logits differ by about a two-hundredth of their length
//!
//! Floor for one token: the bytes of the table, once.

const std = @import("std");
const abi = @import("../abi.zig");
const matmul = @import("../cpu/matmul.zig");
const memory = @import("../memory.zig");
const model_file = @import("model.zig");
const nn_table = @import("../cpu/nn_table.zig");
const table_file = @import("../cpu/table.zig");
const threads = @import("../cpu/threads.zig");
const Float = @import("../cpu/vector16.zig").Float;
const Parts = @import("parts.zig").Parts;
const Pass = @import("pass.zig").Pass;
const Shape = @import("../cpu/weights.zig").Shape;

/// The numbers are part of the ABI.
pub const Kind = enum(u32) { stored = 0, bf16 = 1, int8 = 2 };

/// Above this a sum of products of bytes, 127 * 127 each, might leave 32 bits.
pub const int8_columns_max = std.math.maxInt(i32) / (127 * 127);

const block_rows = nn_table.dense_i8_rows;

/// Below this many multiply-adds one thread is faster.
const parallel_work_min = 1 << 18;

/// A head that does not lie in the file.
pub const Prepared = struct {
    kind: Kind,
    data: []align(memory.alignment) u8,
    /// A scale per row for int8, of whole blocks.
    scales: []align(memory.alignment) f32,

    pub fn create(kernels: *const table_file.Kernels, kind: Kind, source: *const model_file.Table, rows: u32, columns: u32) abi.Failure!Prepared {
        if (kind == .int8 and columns > int8_columns_max) return abi.fail(
            error.InvalidOption,
            "Expected at most {d} columns for a head of int8, got {d}",
            .{ int8_columns_max, columns },
        );
        const padded_rows = std.mem.alignForward(u64, rows, block_rows);
        const bytes = if (kind == .int8) padded_rows * paddedColumns(columns) else @as(u64, rows) * columns * 2;
        const data = try memory.alloc(u8, bytes);
        errdefer memory.free(u8, data);
        const scales = try memory.alloc(f32, if (kind == .int8) padded_rows else 0);
        errdefer memory.free(f32, scales);
        const self: Prepared = .{ .kind = kind, .data = data, .scales = scales };
        threads.enter();
        defer threads.leave();
        const thread_count = threads.getThreads();
        const job: Fill = .{
            .kernels = kernels,
            .head = &self,
            .source = source,
            .rows = rows,
            .columns = columns,
            .scratch = try threads.scratch(Fill.scratchBytes(columns) * thread_count),
        };
        threads.run(if (bytes < 1 << 20) 1 else thread_count, &job, Fill.work);
        return self;
    }

    pub fn destroy(self: Prepared) void {
        memory.free(u8, self.data);
        memory.free(f32, self.scales);
    }

    pub fn bytesOf(self: *const Prepared) u64 {
        return self.data.len + self.scales.len * @sizeOf(f32);
    }
};

/// The hidden state is quantised as for ternary weights of one group.
fn shapeOf(columns: u32) Shape {
    return .{ .columns = columns, .group_columns = columns };
}

/// Rows are padded as the hidden state is.
fn paddedColumns(columns: u32) usize {
    return shapeOf(columns).paddedColumns();
}

/// Fills a prepared head from the table in the file; threads share the blocks.
const Fill = struct {
    kernels: *const table_file.Kernels,
    head: *const Prepared,
    source: *const model_file.Table,
    rows: u32,
    columns: u32,
    scratch: []align(64) u8,

    /// A row as f32, then as bytes.
    fn scratchBytes(columns: u32) usize {
        return std.mem.alignForward(usize, @as(usize, columns) * 4, 64) + std.mem.alignForward(usize, paddedColumns(columns), 64);
    }

    fn work(self: *const Fill, index: u32, count: u32) void {
        const blocks = (self.rows + block_rows - 1) / block_rows;
        const from, const to = threads.share(blocks, index, count);
        var carver: matmul.Carver = .{ .memory = @alignCast(self.scratch[index * scratchBytes(self.columns) ..]) };
        const floats = carver.take(f32, self.columns);
        const bytes = carver.take(u8, paddedColumns(self.columns));
        const float = self.source.dtype.float().?;
        const row_bytes = @as(usize, self.columns) * float.size();
        for (from * block_rows..to * block_rows) |row| {
            if (row >= self.rows) {
                if (self.head.kind == .int8) self.padRow(row);
                continue;
            }
            const stored = self.source.bytes[row * row_bytes ..][0..row_bytes];
            if (self.head.kind == .bf16 and float == .bf16) {
                @memcpy(self.head.data[row * row_bytes ..][0..row_bytes], stored);
                continue;
            }
            self.kernels.nn.widen(stored.ptr, @backingInt(float), floats.ptr, self.columns);
            if (self.head.kind == .bf16) self.roundRow(row, floats) else self.quantizeRow(row, floats, bytes);
        }
    }

    fn roundRow(self: *const Fill, row: usize, floats: []const f32) void {
        const output: [*]align(1) u16 = @ptrCast(self.head.data.ptr + row * floats.len * 2);
        for (floats, 0..) |value, i| output[i] = roundToBf16(value);
    }

    fn quantizeRow(self: *const Fill, row: usize, floats: []const f32, bytes: []u8) void {
        const shape = shapeOf(self.columns);
        var sum: [1]i32 = undefined;
        // Loading has refused values that are not finite. A file that somebody changes meanwhile may
        // give any numbers.
        _ = self.kernels.quantize_token(floats.ptr, self.columns, self.columns, shape.layout.stepColumns(), 0, @ptrCast(bytes.ptr), &sum, &self.head.scales[row]);
        const lane = self.lanesOf(row);
        var word: usize = 0;
        while (word * 4 < bytes.len) : (word += 1) lane[word * block_rows * 4 ..][0..4].* = bytes[word * 4 ..][0..4].*;
    }

    fn padRow(self: *const Fill, row: usize) void {
        self.head.scales[row] = 0;
        const lane = self.lanesOf(row);
        for (0..paddedColumns(self.columns) / 4) |word| lane[word * block_rows * 4 ..][0..4].* = @splat(0);
    }

    /// The first four bytes of a row; the next four follow a block's rows later.
    fn lanesOf(self: *const Fill, row: usize) [*]u8 {
        const block = row / block_rows * block_rows * paddedColumns(self.columns);
        return self.head.data.ptr + block + row % block_rows * 4;
    }
};

/// To nearest, ties to even; a finite value too large for bf16 becomes the largest there is.
fn roundToBf16(value: f32) u16 {
    const bits: u32 = @bitCast(value);
    const rounded = (bits +% 0x7fff +% (bits >> 16 & 1)) >> 16;
    const infinite = rounded & 0x7fff == 0x7f80;
    return @intCast(if (infinite) rounded - 1 else rounded);
}

/// Logits of the last tokens of a chunk, as many as `logits` holds.
pub fn run(pass: *Pass, logits: []f32) error{NotFinite}!void {
    const o = &pass.model.options;
    const count: u32 = @intCast(logits.len / o.vocab);
    const input = pass.normed[@as(usize, pass.tokens - count) * o.hidden ..][0 .. count * o.hidden];
    const thread_count = if (logits.len * o.hidden < parallel_work_min) 1 else pass.thread_count;
    const parts: Parts = .{ .total = (o.vocab + block_rows - 1) / block_rows, .threads = thread_count };
    if (pass.model.prepared_head) |*head| if (head.kind == .int8) {
        const tokens = try pass.quantize(shapeOf(o.hidden), input, count);
        const job: Bytes = .{ .pass = pass, .head = head, .tokens = &tokens, .logits = logits.ptr, .parts = parts };
        return threads.run(parts.count(), &job, Bytes.work);
    };
    const table = pass.model.headTable();
    const job: Floats = .{ .pass = pass, .rows = table.bytes, .float = table.float, .input = input, .logits = logits.ptr, .parts = parts };
    threads.run(parts.count(), &job, Floats.work);
}

const Bytes = struct {
    pass: *const Pass,
    head: *const Prepared,
    tokens: *const matmul.TokensI8,
    logits: [*]f32,
    parts: Parts,

    fn work(self: *const Bytes, index: u32, _: u32) void {
        const from, const to = self.parts.range(index);
        for (from..to) |block| {
            for (0..self.tokens.tiles()) |tile| self.multiply(block, tile);
        }
    }

    fn multiply(self: *const Bytes, block: usize, tile: usize) void {
        const vocab = self.pass.model.options.vocab;
        const tokens = self.tokens;
        const token = tokens.first(tile);
        const words = tokens.wordsPerToken();
        const row = block * block_rows;
        self.pass.kernels.nn.dense_i8(&.{
            .weights = self.head.data.ptr + row * words * 4,
            .tile = tokens.words.ptr + token * words,
            .sums = tokens.sums.ptr + token,
            .token_scales = tokens.scales.ptr + token,
            .row_scales = self.head.scales.ptr + row,
            .output = self.logits + token * vocab + row,
            .output_stride = vocab,
            .rows = @intCast(@min(vocab - row, block_rows)),
            .words = @intCast(words),
            .tokens = @intCast(tokens.first(tile + 1) - token),
        });
    }
};

const Floats = struct {
    pass: *const Pass,
    rows: []const u8,
    float: Float,
    input: []const f32,
    logits: [*]f32,
    parts: Parts,

    fn work(self: *const Floats, index: u32, _: u32) void {
        const o = &self.pass.model.options;
        const first, const last = self.parts.range(index);
        const from = first * block_rows;
        const to = @min(last * block_rows, o.vocab);
        const row_bytes = o.hidden * self.float.size();
        self.pass.kernels.nn.dense(&.{
            .input = self.input.ptr,
            .input_stride = o.hidden,
            .weights = self.rows.ptr + from * row_bytes,
            .row_bytes = row_bytes,
            .bias = null,
            .output = self.logits + from,
            .output_stride = o.vocab,
            .tokens = @intCast(self.input.len / o.hidden),
            .rows = @intCast(to - from),
            .columns = o.hidden,
            .float = @backingInt(self.float),
        });
    }
};

test "f32 rounds to the nearest bf16" {
    const expectEqual = std.testing.expectEqual;
    try expectEqual(0x3f80, roundToBf16(1));
    // Halfway between neighbours the even one.
    try expectEqual(0x3f80, roundToBf16(@bitCast(@as(u32, 0x3f80_8000))));
    try expectEqual(0x3f82, roundToBf16(@bitCast(@as(u32, 0x3f81_8000))));
    try expectEqual(0xbf81, roundToBf16(@bitCast(@as(u32, 0xbf80_8001))));
    try expectEqual(0x7f7f, roundToBf16(std.math.floatMax(f32)));
    try expectEqual(0xff7f, roundToBf16(-std.math.floatMax(f32)));
}
