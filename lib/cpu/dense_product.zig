//! The driver of dense products: packs blocks of both factors on all threads, then shares out the
//! product's blocks. Everything here runs between threads.enter() and threads.leave().
//!
//!     c [m, n] = alpha a [m, k] b [k, n] + beta c
//!
//! Threads get blocks of the output, and every output adds up over k in one order, in the same blocks
//! whatever their number: the result never depends on it.

const std = @import("std");
const gemm_table = @import("gemm_table.zig");
const matmul = @import("matmul.zig");
const threads = @import("threads.zig");

const Kernels = gemm_table.Kernels;

/// Indices of the reduction in a block: what two panels of them take stays near the first cache.
const depth_max = 384;
/// Rows and columns that are packed at a time, so that scratch does not grow with the factors.
const rows_max = 2304;
const columns_max = 2304;
/// Rows and columns of a thread's task, whose packed factors stay in the second cache.
const task_rows = 96;
const task_columns = 128;

/// A factor: element (outer, k) stands outer * outer_stride + k * depth_stride after the first.
pub const Factor = struct {
    data: [*]const u8,
    kind: gemm_table.Kind = .f32,
    outer_stride: usize,
    depth_stride: usize,
    depth_scales: ?[*]const f32 = null,

    /// Rows [outer][k] of a matrix.
    pub fn along(data: [*]const f32, stride: usize) Factor {
        return .{ .data = @ptrCast(data), .outer_stride = stride, .depth_stride = 1 };
    }

    /// Rows [k][outer] of a matrix.
    pub fn across(data: [*]const f32, stride: usize) Factor {
        return .{ .data = @ptrCast(data), .outer_stride = 1, .depth_stride = stride };
    }

    /// Rows [k][outer] of bytes.
    pub fn acrossBytes(data: [*]const i8, stride: usize) Factor {
        return .{ .data = @ptrCast(data), .kind = .i8, .outer_stride = 1, .depth_stride = stride };
    }

    fn elementBytes(self: Factor) usize {
        return if (self.kind == .i8) 1 else 4;
    }
};

pub const Product = struct {
    a: Factor,
    b: Factor,
    c: [*]f32,
    c_stride: usize,
    m: usize,
    n: usize,
    k: usize,
    alpha: f32 = 1,
    beta: f32 = 0,

    pub fn scratchBytes(self: Product, kernels: *const Kernels) usize {
        const depth = @min(self.k, depth_max);
        return sizeOf(@min(self.m, rows_max), kernels.tile_rows, depth) + sizeOf(@min(self.n, columns_max), kernels.tile_columns, depth);
    }

    /// `memory` holds `scratchBytes`.
    pub fn multiply(self: Product, kernels: *const Kernels, memory: []align(64) u8, thread_count: u32) void {
        if (self.m == 0 or self.n == 0) return;
        if (self.k == 0) return self.scaleOnly();
        var column: usize = 0;
        while (column < self.n) : (column += columns_max) {
            var depth: usize = 0;
            while (depth < self.k) : (depth += depth_max) {
                var row: usize = 0;
                while (row < self.m) : (row += rows_max) {
                    var pass: Pass = .{
                        .product = &self,
                        .kernels = kernels,
                        .row = row,
                        .column = column,
                        .depth_first = depth,
                        .rows = @min(rows_max, self.m - row),
                        .columns = @min(columns_max, self.n - column),
                        .depth = @min(depth_max, self.k - depth),
                        .packed_a = undefined,
                        .packed_b = undefined,
                        .packs_b = row == 0,
                    };
                    pass.run(memory, thread_count);
                }
            }
        }
    }

    fn scaleOnly(self: Product) void {
        for (0..self.m) |i| for ((self.c + i * self.c_stride)[0..self.n]) |*value| {
            value.* = if (self.beta == 0) 0 else value.* * self.beta;
        };
    }
};

/// Bytes of packed panels.
fn sizeOf(outer: usize, width: usize, depth: usize) usize {
    return std.mem.alignForward(usize, std.mem.alignForward(usize, outer, width) * depth * @sizeOf(f32), 64);
}

fn panelsOf(outer: usize, width: usize) usize {
    return (outer + width - 1) / width;
}

/// One block of the reduction.
const Pass = struct {
    product: *const Product,
    kernels: *const Kernels,
    row: usize,
    column: usize,
    depth_first: usize,
    rows: usize,
    columns: usize,
    depth: usize,
    packed_a: []f32,
    packed_b: []f32,
    /// The right factor stays packed while rows pass by.
    packs_b: bool,

    fn run(self: *Pass, memory: []align(64) u8, thread_count: u32) void {
        var carver: matmul.Carver = .{ .memory = memory };
        const kernels = self.kernels;
        self.packed_b = carver.take(f32, std.mem.alignForward(usize, self.columns, kernels.tile_columns) * self.depth);
        self.packed_a = carver.take(f32, std.mem.alignForward(usize, self.rows, kernels.tile_rows) * self.depth);
        const count = matmul.threadsFor(self.rows * self.columns * self.depth, thread_count);
        const panels = self.panelsOfA() + self.panelsOfB();
        threads.run(@intCast(@min(panels, if (count == 1) 1 else count * 4)), @as(*const Pass, self), pack);
        const tasks = self.taskCount();
        threads.run(@intCast(@min(tasks, if (count == 1) 1 else count * 8)), @as(*const Pass, self), multiply);
    }

    fn panelsOfA(self: *const Pass) usize {
        return panelsOf(self.rows, self.kernels.tile_rows);
    }

    fn panelsOfB(self: *const Pass) usize {
        return if (self.packs_b) panelsOf(self.columns, self.kernels.tile_columns) else 0;
    }

    fn pack(self: *const Pass, index: u32, count: u32) void {
        const panels_a = self.panelsOfA();
        const from, const to = threads.share(panels_a + self.panelsOfB(), index, count);
        if (from < panels_a) self.packPanels(.rows, from, @min(to, panels_a));
        if (to > panels_a) self.packPanels(.columns, @max(from, panels_a) - panels_a, to - panels_a);
    }

    fn packPanels(self: *const Pass, comptime side: enum { rows, columns }, from: usize, to: usize) void {
        const kernels = self.kernels;
        const factor = if (side == .rows) self.product.a else self.product.b;
        const width: usize = if (side == .rows) kernels.tile_rows else kernels.tile_columns;
        const outer = if (side == .rows) self.rows else self.columns;
        const outer_first = (if (side == .rows) self.row else self.column) + from * width;
        const target = if (side == .rows) self.packed_a else self.packed_b;
        const place = outer_first * factor.outer_stride + self.depth_first * factor.depth_stride;
        const task: gemm_table.Pack = .{
            .source = factor.data + place * factor.elementBytes(),
            .outer_stride = factor.outer_stride,
            .depth_stride = factor.depth_stride,
            .depth_scales = if (factor.depth_scales) |scales| scales + self.depth_first else null,
            .target = target.ptr + from * width * self.depth,
            .outer = @intCast(@min(to * width, outer) - from * width),
            .depth = @intCast(self.depth),
            .kind = @backingInt(factor.kind),
        };
        if (side == .rows) kernels.pack_rows(&task) else kernels.pack_columns(&task);
    }

    fn taskColumns(self: *const Pass) usize {
        return std.mem.alignForward(usize, task_columns, self.kernels.tile_columns);
    }

    fn taskRows(self: *const Pass) usize {
        return std.mem.alignForward(usize, task_rows, self.kernels.tile_rows);
    }

    fn taskCount(self: *const Pass) usize {
        return panelsOf(self.rows, self.taskRows()) * panelsOf(self.columns, self.taskColumns());
    }

    fn multiply(self: *const Pass, index: u32, count: u32) void {
        const product = self.product;
        const from, const to = threads.share(self.taskCount(), index, count);
        const across = panelsOf(self.columns, self.taskColumns());
        for (from..to) |task| {
            const row = task / across * self.taskRows();
            const column = task % across * self.taskColumns();
            self.kernels.multiply(&.{
                .a = self.packed_a.ptr + row * self.depth,
                .b = self.packed_b.ptr + column * self.depth,
                .c = product.c + (self.row + row) * product.c_stride + self.column + column,
                .c_stride = product.c_stride,
                .rows = @intCast(@min(self.taskRows(), self.rows - row)),
                .columns = @intCast(@min(self.taskColumns(), self.columns - column)),
                .depth = @intCast(self.depth),
                .alpha = product.alpha,
                .beta = if (self.depth_first == 0) product.beta else 1,
            });
        }
    }
};
