//! The head of a language model with its loss: logits, softmax cross-entropy and both gradients, some
//! tokens at a time, so that logits of all tokens never exist.
//!
//!     logits = h E^T,  loss = -log softmax(logits)[target],  g = factor (softmax - one hot)
//!     dh = g E,  dE += g^T h
//!
//! Tokens whose target is -100 have neither loss nor gradient; they are left out of the products. How
//! many tokens go together depends on the size of the vocabulary alone, so every sum has one order.
//!
//! Everything here runs between threads.enter() and threads.leave(), on checked arguments.

const std = @import("std");
const dense_product = @import("dense_product.zig");
const matmul = @import("matmul.zig");
const table = @import("table.zig");
const threads = @import("threads.zig");

const Product = dense_product.Product;

pub const ignored = -100;

/// Logits that are held at a time.
const logits_bytes = 4 << 20;

pub const HeadLoss = struct {
    kernels: *const table.Kernels,
    hidden: []const f32,
    /// [vocab, width]
    embeddings: []const f32,
    targets: []const i32,
    width: usize,
    vocab: usize,
    /// Empty where no gradients are wanted.
    d_hidden: []f32 = &.{},
    d_embeddings: []f32 = &.{},
    /// What the loss of all tokens is multiplied with before its gradients are taken, over their number.
    factor: f32 = 0,

    pub fn counted(self: *const HeadLoss) usize {
        var count: usize = 0;
        for (self.targets) |target| count += @intFromBool(target != ignored);
        return count;
    }

    /// The sum of the losses.
    pub fn run(self: *const HeadLoss) error{OutOfMemory}!f64 {
        const gemm = &self.kernels.gemm;
        const chunk = std.math.clamp(logits_bytes / 4 / self.vocab, 16, 512);
        const wide = @max(self.vocab, self.width);
        const largest: Product = .{
            .a = .along(undefined, 0),
            .b = .along(undefined, 0),
            .c = undefined,
            .c_stride = 0,
            .m = @max(wide, chunk),
            .n = wide,
            .k = wide,
        };
        const product_bytes = largest.scratchBytes(gemm);
        const row_bytes = std.mem.alignForward(usize, chunk * self.width * 4, 64);
        const memory = try threads.scratch(std.mem.alignForward(usize, chunk * self.vocab * 4, 64) + 2 * row_bytes +
            std.mem.alignForward(usize, chunk * @sizeOf(f64), 64) + std.mem.alignForward(usize, chunk * @sizeOf(usize), 64) + product_bytes);
        var carver: matmul.Carver = .{ .memory = memory };
        var state: Chunk = .{
            .of = self,
            .logits = carver.take(f32, chunk * self.vocab),
            .rows = carver.take(f32, chunk * self.width),
            .d_rows = carver.take(f32, chunk * self.width),
            .losses = carver.take(f64, chunk),
            .tokens = carver.take(usize, chunk),
            .scratch = carver.memory,
        };
        var total: f64 = 0;
        var token: usize = 0;
        while (state.gather(&token)) {
            state.compute();
            for (state.losses[0..state.count]) |loss| total += loss;
        }
        return total;
    }
};

const Chunk = struct {
    of: *const HeadLoss,
    logits: []f32,
    /// Hidden states of the tokens that count, side by side, and their gradients.
    rows: []f32,
    d_rows: []f32,
    losses: []f64,
    tokens: []usize,
    count: usize = 0,
    scratch: []align(64) u8,

    /// Takes the next tokens that count; false where none are left.
    fn gather(self: *Chunk, next: *usize) bool {
        const of = self.of;
        self.count = 0;
        while (next.* < of.targets.len and self.count < self.tokens.len) : (next.* += 1) {
            const token = next.*;
            if (of.targets[token] == ignored) {
                if (of.d_hidden.len > 0) @memset(of.d_hidden[token * of.width ..][0..of.width], 0);
                continue;
            }
            @memcpy(self.rows[self.count * of.width ..][0..of.width], of.hidden[token * of.width ..][0..of.width]);
            self.tokens[self.count] = token;
            self.count += 1;
        }
        return self.count > 0;
    }

    fn compute(self: *Chunk) void {
        const of = self.of;
        const thread_count = threads.getThreads();
        self.product(.{
            .a = .along(self.rows.ptr, of.width),
            .b = .along(of.embeddings.ptr, of.width),
            .c = self.logits.ptr,
            .c_stride = of.vocab,
            .m = self.count,
            .n = of.vocab,
            .k = of.width,
        });
        const parts = if (self.count * of.vocab < 1 << 14) 1 else @min(self.count, thread_count * 4);
        threads.run(@intCast(parts), @as(*const Chunk, self), lossesOf);
        if (of.d_hidden.len == 0) return;
        self.product(.{
            .a = .along(self.logits.ptr, of.vocab),
            .b = .across(of.embeddings.ptr, of.width),
            .c = self.d_rows.ptr,
            .c_stride = of.width,
            .m = self.count,
            .n = of.width,
            .k = of.vocab,
        });
        self.product(.{
            .a = .across(self.logits.ptr, of.vocab),
            .b = .across(self.rows.ptr, of.width),
            .c = of.d_embeddings.ptr,
            .c_stride = of.width,
            .m = of.vocab,
            .n = of.width,
            .k = self.count,
            .beta = 1,
        });
        for (self.tokens[0..self.count], 0..) |token, row| {
            @memcpy(of.d_hidden[token * of.width ..][0..of.width], self.d_rows[row * of.width ..][0..of.width]);
        }
    }

    fn product(self: *Chunk, task: Product) void {
        task.multiply(&self.of.kernels.gemm, self.scratch, threads.getThreads());
    }

    fn lossesOf(self: *const Chunk, index: u32, count: u32) void {
        const of = self.of;
        const from, const to = threads.share(self.count, index, count);
        for (from..to) |row| {
            const target: u32 = @intCast(of.targets[self.tokens[row]]);
            self.losses[row] = of.kernels.training.cross_entropy(self.logits.ptr + row * of.vocab, @intCast(of.vocab), target, of.factor);
        }
    }
};
