//! Grouped-query causal attention of whole texts, forward and backward; no tensor of heads x tokens x
//! tokens is kept: the backward pass computes the weights again, some rows at a time.
//!
//!     s = scale q k^T, w = softmax(s) of the keys up to the query, o = w v
//!     dv += w^T g,  dw = g v^T,  ds = scale w (dw - sum(w dw)),  dq = ds k,  dk += ds^T q
//!
//! A task is one kv head of one text, with all the query heads that share it; threads share the tasks,
//! and within a task everything has one order. The forward pass has the arithmetic of inference, bit
//! for bit. Keys and values are copied into the layouts of nn_table.zig first.
//!
//! Floor per pair of query and key it sees, head dimension d: 2 d multiplications and additions
//! forward, 5 d backward, on data of the second cache.

const std = @import("std");
const matmul = @import("matmul.zig");
const nn_table = @import("nn_table.zig");
const table = @import("table.zig");
const threads = @import("threads.zig");

const key_block = nn_table.key_block;
const rows_max = nn_table.rows_max;

/// Queries whose weights are held at a time in the backward pass: what they add to a key is added in
/// registers first.
const rows_at_once = 16;

/// Below this many multiply-adds one thread is faster.
const parallel_work_min = 1 << 19;

pub const Shape = struct {
    batch: u32,
    length: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,

    pub fn queryWidth(self: Shape) usize {
        return @as(usize, self.heads) * self.head_dim;
    }

    pub fn keyWidth(self: Shape) usize {
        return @as(usize, self.kv_heads) * self.head_dim;
    }

    fn tasks(self: Shape) usize {
        return @as(usize, self.batch) * self.kv_heads;
    }

    fn paddedLength(self: Shape) usize {
        return std.mem.alignForward(usize, self.length, key_block);
    }

    fn paddedDim(self: Shape) usize {
        return std.mem.alignForward(usize, self.head_dim, key_block);
    }

    fn threadCount(self: Shape) u32 {
        const work = @as(usize, self.batch) * self.length * self.length * self.queryWidth();
        return if (work < parallel_work_min) 1 else @intCast(@min(threads.getThreads(), self.tasks()));
    }
};

pub const Forward = struct {
    kernels: *const table.Kernels,
    shape: Shape,
    q: [*]const f32,
    k: [*]const f32,
    v: [*]const f32,
    output: [*]f32,

    pub fn run(self: Forward) error{OutOfMemory}!void {
        try runTasks(Forward, &self, false);
    }

    fn task(self: *const Forward, work: *Workspace, text: usize, kv_head: usize) void {
        const shape = self.shape;
        const group = shape.heads / shape.kv_heads;
        work.load(self.k, self.v, text, kv_head);
        for (kv_head * group..(kv_head + 1) * group) |head| {
            var row: usize = 0;
            while (row < shape.length) : (row += rows_max) {
                const rows = @min(rows_max, shape.length - row);
                const offset = (text * shape.length + row) * shape.queryWidth() + head * shape.head_dim;
                work.score(self.q + offset, work.keys, scaleOf(shape), row, rows, work.weights);
                @memset(work.sums[0 .. rows * shape.paddedDim()], 0);
                var factors: [rows_max]f32 = undefined;
                for (0..rows) |r| factors[r] = work.weigh(row, r, rows, work.weights);
                work.mix(row + rows, rows, work.weights, work.value_rows, work.sums);
                for (0..rows) |r| {
                    self.kernels.nn.scale(work.sums.ptr + r * shape.paddedDim(), factors[r], self.output + offset + r * shape.queryWidth(), shape.head_dim);
                }
            }
        }
    }
};

pub const Backward = struct {
    kernels: *const table.Kernels,
    shape: Shape,
    q: [*]const f32,
    k: [*]const f32,
    v: [*]const f32,
    gradient: [*]const f32,
    dq: [*]f32,
    dk: [*]f32,
    dv: [*]f32,

    pub fn run(self: Backward) error{OutOfMemory}!void {
        try runTasks(Backward, &self, true);
    }

    fn task(self: *const Backward, work: *Workspace, text: usize, kv_head: usize) void {
        const shape = self.shape;
        const group = shape.heads / shape.kv_heads;
        work.load(self.k, self.v, text, kv_head);
        @memset(work.dk, 0);
        @memset(work.dv, 0);
        for (kv_head * group..(kv_head + 1) * group) |head| {
            var row: usize = 0;
            while (row < shape.length) : (row += rows_at_once) {
                const offset = (text * shape.length + row) * shape.queryWidth() + head * shape.head_dim;
                self.rowsOf(work, row, @min(rows_at_once, shape.length - row), offset);
            }
        }
        const offset = text * shape.length * shape.keyWidth() + kv_head * shape.head_dim;
        copyRows(work.dk.ptr, shape.paddedDim(), self.dk + offset, shape.keyWidth(), shape.length, shape.head_dim);
        copyRows(work.dv.ptr, shape.paddedDim(), self.dv + offset, shape.keyWidth(), shape.length, shape.head_dim);
    }

    /// Some queries of a head; `offset` is where the first one's elements stand.
    fn rowsOf(self: *const Backward, work: *Workspace, row: usize, rows: usize, offset: usize) void {
        const shape = self.shape;
        const dim = shape.paddedDim();
        const stride = shape.queryWidth();
        copyRows(self.q + offset, stride, work.queries.ptr, dim, rows, shape.head_dim);
        copyRows(self.gradient + offset, stride, work.gradients.ptr, dim, rows, shape.head_dim);
        const blocks: u32 = @intCast((row + rows + key_block - 1) / key_block);
        var first: usize = 0;
        while (first < rows) : (first += rows_max) {
            const count = @min(rows_max, rows - first);
            const weights = work.weights[first * shape.paddedLength() ..];
            const changes = work.changes[first * shape.paddedLength() ..];
            const place = offset + first * stride;
            work.scoreBlocks(self.q + place, work.keys, scaleOf(shape), count, blocks, weights);
            work.scoreBlocks(self.gradient + place, work.values, 1, count, blocks, changes);
            for (0..count) |r| {
                const w = weights.ptr + r * shape.paddedLength();
                const factor = self.kernels.nn.weigh(w, 0, @intCast(row + first + r + 1), blocks);
                self.kernels.training.softmax_backward(w, changes.ptr + r * shape.paddedLength(), blocks, factor, scaleOf(shape));
            }
            @memset(work.sums[0 .. count * dim], 0);
            work.mix(row + first + count, count, changes, work.key_rows, work.sums);
            copyRows(work.sums.ptr, dim, self.dq + place, stride, count, shape.head_dim);
        }
        work.addOuter(row + rows, rows, work.weights, work.gradients, work.dv);
        work.addOuter(row + rows, rows, work.changes, work.queries, work.dk);
    }
};

fn scaleOf(shape: Shape) f32 {
    return 1 / @sqrt(@as(f32, @floatFromInt(shape.head_dim)));
}

fn copyRows(source: [*]const f32, source_stride: usize, target: [*]f32, target_stride: usize, rows: usize, count: usize) void {
    for (0..rows) |row| @memcpy((target + row * target_stride)[0..count], source + row * source_stride);
}

/// Runs all tasks, each thread with scratch of its own.
fn runTasks(comptime Job: type, job: *const Job, comptime backward: bool) error{OutOfMemory}!void {
    const shape = job.shape;
    const count = shape.threadCount();
    const size = Workspace.sizeOf(shape, backward);
    const Shared = struct {
        job: *const Job,
        memory: []align(64) u8,

        fn work(self: *const @This(), index: u32, parts: u32) void {
            const own = self.job.shape;
            const bytes = Workspace.sizeOf(own, backward);
            var workspace: Workspace = .init(self.job.kernels, own, @alignCast(self.memory[index * bytes ..][0..bytes]), backward);
            var item: usize = index;
            while (item < own.tasks()) : (item += parts) {
                self.job.task(&workspace, item / own.kv_heads, item % own.kv_heads);
            }
        }
    };
    const shared: Shared = .{ .job = job, .memory = try threads.scratch(size * count) };
    threads.run(count, &shared, Shared.work);
}

/// What a thread needs for one task.
const Workspace = struct {
    kernels: *const table.Kernels,
    shape: Shape,
    /// In blocks of 16 positions, positions innermost.
    keys: []f32,
    values: []f32,
    /// Row by row, padded to 16 dimensions.
    key_rows: []f32,
    value_rows: []f32,
    queries: []f32,
    gradients: []f32,
    sums: []f32,
    dk: []f32,
    dv: []f32,
    /// A row of all positions for each query.
    weights: []f32,
    changes: []f32,

    const Counts = struct { blocks: [2]usize, rows: [2]usize, queries: usize, sums: usize, results: usize, weights: usize, changes: usize };

    fn countsOf(shape: Shape, backward: bool) Counts {
        const blocks = shape.paddedLength() * shape.head_dim;
        const rows = shape.paddedLength() * shape.paddedDim();
        const held: usize = if (backward) rows_at_once else rows_max;
        return .{
            .blocks = .{ blocks, if (backward) blocks else 0 },
            .rows = .{ if (backward) rows else 0, if (backward) 0 else rows },
            .queries = if (backward) rows_at_once * shape.paddedDim() else 0,
            .sums = rows_max * shape.paddedDim(),
            .results = if (backward) rows else 0,
            .weights = held * shape.paddedLength(),
            .changes = if (backward) held * shape.paddedLength() else 0,
        };
    }

    /// The kernels fetch a block ahead; nothing behind the end is used.
    fn sizeOf(shape: Shape, backward: bool) usize {
        const c = countsOf(shape, backward);
        var bytes: usize = 0;
        for ([_]usize{ c.blocks[0], c.blocks[1], c.rows[0], c.rows[1], c.queries, c.queries, c.sums, c.results, c.results, c.weights, c.changes }) |count| {
            bytes += std.mem.alignForward(usize, count * @sizeOf(f32), 64);
        }
        return bytes;
    }

    fn init(kernels: *const table.Kernels, shape: Shape, memory: []align(64) u8, backward: bool) Workspace {
        const c = countsOf(shape, backward);
        var carver: matmul.Carver = .{ .memory = memory };
        const self: Workspace = .{
            .kernels = kernels,
            .shape = shape,
            .keys = carver.take(f32, c.blocks[0]),
            .values = carver.take(f32, c.blocks[1]),
            .key_rows = carver.take(f32, c.rows[0]),
            .value_rows = carver.take(f32, c.rows[1]),
            .queries = carver.take(f32, c.queries),
            .gradients = carver.take(f32, c.queries),
            .sums = carver.take(f32, c.sums),
            .dk = carver.take(f32, c.results),
            .dv = carver.take(f32, c.results),
            .weights = carver.take(f32, c.weights),
            .changes = carver.take(f32, c.changes),
        };
        // Padding is multiplied, though never kept: it must be finite.
        for ([_][]f32{ self.keys, self.values, self.key_rows, self.value_rows, self.queries, self.gradients }) |piece| @memset(piece, 0);
        return self;
    }

    /// Keys and values of a kv head into the layouts at hand.
    fn load(self: *Workspace, k: [*]const f32, v: [*]const f32, text: usize, kv_head: usize) void {
        const shape = self.shape;
        const stride = shape.keyWidth();
        const offset = text * shape.length * stride + kv_head * shape.head_dim;
        placeBlocks(k + offset, stride, shape, self.keys);
        if (self.values.len > 0) placeBlocks(v + offset, stride, shape, self.values);
        if (self.key_rows.len > 0) copyRows(k + offset, stride, self.key_rows.ptr, shape.paddedDim(), shape.length, shape.head_dim);
        if (self.value_rows.len > 0) copyRows(v + offset, stride, self.value_rows.ptr, shape.paddedDim(), shape.length, shape.head_dim);
    }

    /// Scores of up to four queries with the keys that the last of them sees.
    fn score(self: *Workspace, queries: [*]const f32, keys: []const f32, scale: f32, row: usize, rows: usize, scores: []f32) void {
        self.scoreBlocks(queries, keys, scale, rows, @intCast((row + rows + key_block - 1) / key_block), scores);
    }

    fn scoreBlocks(self: *Workspace, queries: [*]const f32, keys: []const f32, scale: f32, rows: usize, blocks: u32, scores: []f32) void {
        var pointers: [rows_max][*]const f32 = @splat(queries);
        for (0..rows) |r| pointers[r] = queries + r * self.shape.queryWidth();
        self.kernels.nn.scores(&.{
            .queries = pointers,
            .keys = keys.ptr,
            .scores = scores.ptr,
            .scores_stride = self.shape.paddedLength(),
            .scale = scale,
            .rows = @intCast(rows),
            .dim = self.shape.head_dim,
            .blocks = blocks,
        });
    }

    fn weigh(self: *Workspace, row: usize, r: usize, rows: usize, weights: []f32) f32 {
        const blocks: u32 = @intCast((row + rows + key_block - 1) / key_block);
        return self.kernels.nn.weigh(weights.ptr + r * self.shape.paddedLength(), 0, @intCast(row + r + 1), blocks);
    }

    fn mix(self: *Workspace, keys: usize, rows: usize, weights: []const f32, values: []const f32, sums: []f32) void {
        self.kernels.nn.mix(&.{
            .weights = weights.ptr,
            .weights_stride = self.shape.paddedLength(),
            .values = values.ptr,
            .sums = sums.ptr,
            .rows = @intCast(rows),
            .dim = @intCast(self.shape.paddedDim()),
            .keys = @intCast(keys),
        });
    }

    fn addOuter(self: *Workspace, keys: usize, rows: usize, weights: []const f32, vectors: []const f32, sums: []f32) void {
        self.kernels.training.add_outer(&.{
            .weights = weights.ptr,
            .weights_stride = self.shape.paddedLength(),
            .vectors = vectors.ptr,
            .sums = sums.ptr,
            .rows = @intCast(rows),
            .dim = @intCast(self.shape.paddedDim()),
            .keys = @intCast(keys),
        });
    }
};

fn placeBlocks(source: [*]const f32, stride: usize, shape: Shape, target: []f32) void {
    const dim: usize = shape.head_dim;
    for (0..shape.length) |position| {
        const block = target[position / key_block * key_block * dim ..];
        for (0..dim) |d| block[d * key_block + position % key_block] = source[position * stride + d];
    }
}
