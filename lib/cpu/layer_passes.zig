//! The passes of training over tokens that are no products: gradients of norms and biases, gates,
//! rotations, embeddings. Threads share tokens, or columns where tokens are added up; sums over tokens
//! have one order whatever the number of threads.
//!
//! Everything here runs between threads.enter() and threads.leave(), on checked arguments.

const std = @import("std");
const matmul = @import("matmul.zig");
const table = @import("table.zig");
const threads = @import("threads.zig");

/// Tokens whose gradients of a norm's weight are added up before they join the others'.
const chunk_tokens = 64;

/// Elements of a pass that are worth a second thread.
const parallel_elements_min = 1 << 15;

fn partsFor(elements: usize, units: usize) u32 {
    if (elements < parallel_elements_min) return 1;
    return @intCast(@max(1, @min(units, threads.getThreads() * 4)));
}

pub const NormBackward = struct {
    kernels: *const table.Kernels,
    input: []const f32,
    weight: []const f32,
    gradient: []const f32,
    dx: []f32,
    dw: []f32,
    epsilon: f32,
    adds: bool,
    partial: []f32 = &.{},

    pub fn run(self: *NormBackward) error{OutOfMemory}!void {
        const columns = self.weight.len;
        var carver: matmul.Carver = .{ .memory = try threads.scratch(std.mem.alignForward(usize, self.chunks() * columns * 4, 64)) };
        self.partial = carver.take(f32, self.chunks() * columns);
        @memset(self.partial, 0);
        threads.run(partsFor(self.input.len, self.chunks()), @as(*const NormBackward, self), work);
        for (0..self.chunks()) |chunk| self.kernels.nn.add(self.dw.ptr, self.partial.ptr + chunk * columns, @intCast(columns));
    }

    fn tokens(self: *const NormBackward) usize {
        return self.input.len / self.weight.len;
    }

    fn chunks(self: *const NormBackward) usize {
        return (self.tokens() + chunk_tokens - 1) / chunk_tokens;
    }

    fn work(self: *const NormBackward, index: u32, count: u32) void {
        const columns = self.weight.len;
        const from, const to = threads.share(self.chunks(), index, count);
        for (from..to) |chunk| {
            for (chunk * chunk_tokens..@min((chunk + 1) * chunk_tokens, self.tokens())) |token| {
                const start = token * columns;
                self.kernels.training.rms_norm_backward(
                    self.input.ptr + start,
                    self.weight.ptr,
                    self.gradient.ptr + start,
                    self.dx.ptr + start,
                    self.partial.ptr + chunk * columns,
                    @intCast(columns),
                    self.epsilon,
                    @intFromBool(self.adds),
                );
            }
        }
    }
};

pub const Gate = struct {
    kernels: *const table.Kernels,
    gate: []const f32,
    up: []const f32,
    /// Null in the forward pass.
    gradient: ?[]const f32 = null,
    /// The output, or the gradient of the gate.
    first: []f32,
    /// The gradient of `up`.
    second: []f32 = &.{},
    kind: u32,

    const piece = 4096;

    pub fn run(self: *const Gate) void {
        threads.run(partsFor(self.gate.len, (self.gate.len + piece - 1) / piece), self, work);
    }

    fn work(self: *const Gate, index: u32, count: u32) void {
        const from, const to = threads.share((self.gate.len + piece - 1) / piece, index, count);
        for (from..to) |number| {
            const start = number * piece;
            const size: u32 = @intCast(@min(piece, self.gate.len - start));
            const gate = self.gate.ptr + start;
            const up = self.up.ptr + start;
            if (self.gradient) |gradient| {
                self.kernels.training.gate_backward(gate, up, gradient.ptr + start, self.first.ptr + start, self.second.ptr + start, size, self.kind);
            } else self.kernels.training.gate_forward(gate, up, self.first.ptr + start, size, self.kind);
        }
    }
};

pub const Add = struct {
    kernels: *const table.Kernels,
    sum: []f32,
    term: []const f32,

    const piece = 4096;

    pub fn run(self: *const Add) void {
        threads.run(partsFor(self.sum.len, (self.sum.len + piece - 1) / piece), self, work);
    }

    fn work(self: *const Add, index: u32, count: u32) void {
        const from, const to = threads.share((self.sum.len + piece - 1) / piece, index, count);
        const start = from * piece;
        const end = @min(to * piece, self.sum.len);
        self.kernels.nn.add(self.sum.ptr + start, self.term.ptr + start, @intCast(end - start));
    }
};

/// Turns every head of every token by its position in its text.
pub const Rotate = struct {
    kernels: *const table.Kernels,
    x: []f32,
    /// [length, head_dim / 2]
    cos: []const f32,
    sin: []const f32,
    length: usize,
    heads: usize,
    head_dim: usize,

    pub fn run(self: *const Rotate) void {
        threads.run(partsFor(self.x.len, self.tokens()), self, work);
    }

    fn tokens(self: *const Rotate) usize {
        return self.x.len / (self.heads * self.head_dim);
    }

    fn work(self: *const Rotate, index: u32, count: u32) void {
        const half = self.head_dim / 2;
        const from, const to = threads.share(self.tokens(), index, count);
        for (from..to) |token| {
            const place = token % self.length * half;
            for (0..self.heads) |head| {
                const x = self.x.ptr + (token * self.heads + head) * self.head_dim;
                self.kernels.nn.rope(x, self.cos.ptr + place, self.sin.ptr + place, @intCast(half));
            }
        }
    }
};

/// sums[column] += the rows' elements, row by row.
pub const ColumnSums = struct {
    kernels: *const table.Kernels,
    rows: []const f32,
    sums: []f32,

    const piece = 64;

    pub fn run(self: *const ColumnSums) void {
        threads.run(partsFor(self.rows.len, (self.sums.len + piece - 1) / piece), self, work);
    }

    fn work(self: *const ColumnSums, index: u32, count: u32) void {
        const columns = self.sums.len;
        const from, const to = threads.share((columns + piece - 1) / piece, index, count);
        const start = from * piece;
        const width: u32 = @intCast(@min(to * piece, columns) - start);
        for (0..self.rows.len / columns) |row| self.kernels.nn.add(self.sums.ptr + start, self.rows.ptr + row * columns + start, width);
    }
};

pub const Embedding = struct {
    kernels: *const table.Kernels,
    ids: []const i32,
    columns: usize,
    table_rows: [*]const f32,
    output: [*]f32,

    pub fn gather(self: *const Embedding) void {
        for (self.ids, 0..) |id, token| {
            const start = @as(usize, @intCast(id)) * self.columns;
            @memcpy((self.output + token * self.columns)[0..self.columns], self.table_rows + start);
        }
    }

    /// output[id] += row of the token, token by token; threads share the columns.
    pub fn scatter(self: *const Embedding) void {
        threads.run(partsFor(self.ids.len * self.columns, (self.columns + 63) / 64), self, scatterColumns);
    }

    fn scatterColumns(self: *const Embedding, index: u32, count: u32) void {
        const from, const to = threads.share((self.columns + 63) / 64, index, count);
        const start = from * 64;
        const width: u32 = @intCast(@min(to * 64, self.columns) - start);
        for (self.ids, 0..) |id, token| {
            const row = self.output + @as(usize, @intCast(id)) * self.columns + start;
            self.kernels.nn.add(row, self.table_rows + token * self.columns + start, width);
        }
    }
};
