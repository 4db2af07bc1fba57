//! Attention of a chunk over the cache: cuts the queries into tiles of up to four and gives the tiles
//! to the threads.
//!
//! The queries of one kv head, token by token and within a token head by head, are its rows; a tile
//! is four consecutive rows, which read keys and values together. Each row has its own range of
//! positions, [first, end), because a query sees nothing after itself and, in a sliding cache, not
//! everything before it:
//!
//!     row 0   . ####### .            # all rows: mixed together
//!     row 1   . ####### + .          + some rows: each row by itself
//!     row 2     + ##### + +          (never added with weight 0, which is not nothing beside NaN)

const std = @import("std");
const nn_table = @import("../cpu/nn_table.zig");
const threads = @import("../cpu/threads.zig");
const Cache = @import("cache.zig").Cache;
const Pass = @import("pass.zig").Pass;

const key_block = nn_table.key_block;
const rows_max = nn_table.rows_max;

/// Below this many multiply-adds one thread is faster.
const parallel_work_min = 1 << 19;

/// What storing an element of a key costs, in multiply-adds: it touches a cache line of its own.
const store_work = 256;

/// Elements between the scores of two rows, when at most `visible` positions are seen by each: what a
/// tile's rows see together, in whole blocks. Grown in steps, so that scratch does not grow with
/// every token.
pub fn scoresStride(visible: u64) usize {
    return @intCast(std.mem.alignForward(u64, visible + rows_max + 2 * key_block, 1024));
}

/// Bytes of scratch of one thread.
pub fn scratchBytes(cache: *const Cache, stride: usize) usize {
    return (stride + cache.value_dim) * rows_max * @sizeOf(f32);
}

/// Attention of tokens that are in the cache.
pub fn run(pass: *const Pass) void {
    const o = &pass.model.options;
    const rows = @as(usize, pass.tokens) * (o.heads / o.kv_heads);
    const count = if (workOf(pass) < parallel_work_min) 1 else pass.thread_count;
    // Smaller tiles read keys and values more often, but leave no thread without work.
    var tile_rows: usize = rows_max;
    while (tile_rows > 1 and (rows + tile_rows - 1) / tile_rows * o.kv_heads < count) tile_rows /= 2;
    const job: Attend = .{ .pass = pass, .rows = rows, .tile_rows = tile_rows };
    threads.run(count, &job, Attend.work);
}

/// One token: each of its heads is put into the cache by the thread that reads it there, where the
/// heads are enough for all threads.
pub fn placeAndRun(pass: *const Pass) void {
    const o = &pass.model.options;
    const work = workOf(pass) + store_work * o.keyWidth();
    const count = if (work < parallel_work_min) 1 else pass.thread_count;
    const job: Attend = .{ .pass = pass, .rows = o.heads / o.kv_heads, .tile_rows = rows_max };
    if (count <= o.kv_heads) return threads.run(count, &job, Attend.placeAndWork);
    for (0..o.kv_heads) |kv_head| pass.placeHead(0, kv_head);
    run(pass);
}

/// Multiply-adds.
fn workOf(pass: *const Pass) usize {
    const o = &pass.model.options;
    const seen: usize = @intCast(@min(pass.start + pass.tokens, pass.cache.options.max_tokens));
    return pass.tokens * seen * o.queryWidth() * 2;
}

const Attend = struct {
    pass: *const Pass,
    /// Queries per kv head.
    rows: usize,
    tile_rows: usize,

    fn placeAndWork(self: *const Attend, index: u32, count: u32) void {
        const from, const to = threads.share(self.pass.model.options.kv_heads, index, count);
        for (from..to) |kv_head| {
            self.pass.placeHead(0, kv_head);
            var first: usize = 0;
            while (first < self.rows) : (first += self.tile_rows) self.attendTile(kv_head, first, index);
        }
    }

    fn attendTile(self: *const Attend, kv_head: usize, first: usize, thread: u32) void {
        var tile: Tile = .init(self, kv_head, first, @min(self.tile_rows, self.rows - first), thread);
        tile.score();
        tile.mix();
    }

    /// Tiles are dealt out in turn, because later tokens see more keys.
    fn work(self: *const Attend, index: u32, count: u32) void {
        const tiles = (self.rows + self.tile_rows - 1) / self.tile_rows;
        var item: usize = index;
        while (item < tiles * self.pass.model.options.kv_heads) : (item += count) {
            self.attendTile(item / tiles, item % tiles * self.tile_rows, index);
        }
    }
};

const Range = struct { first: u64, end: u64 };

const Tile = struct {
    pass: *const Pass,
    kv_head: usize,
    rows: u32,
    ranges: [rows_max]Range,
    queries: [rows_max][*]const f32,
    outputs: [rows_max][*]f32,
    /// The position of the scores' first column: the start of a block.
    base: u64,
    blocks: u32,
    scores: [*]f32,
    sums: [*]f32,
    factors: [rows_max]f32,

    fn init(job: *const Attend, kv_head: usize, first_row: usize, rows: usize, thread: u32) Tile {
        const pass = job.pass;
        const o = &pass.model.options;
        const group = o.heads / o.kv_heads;
        const scratch = pass.attention_scratch.ptr + thread * scratchBytes(pass.cache, pass.scores_stride);
        const scores: [*]f32 = @ptrCast(@alignCast(scratch));
        var self: Tile = .{
            .pass = pass,
            .kv_head = kv_head,
            .rows = @intCast(rows),
            .ranges = undefined,
            .queries = undefined,
            .outputs = undefined,
            .base = 0,
            .blocks = 0,
            .scores = scores,
            .sums = scores + pass.scores_stride * rows_max,
            .factors = undefined,
        };
        for (0..rows) |r| {
            const token = (first_row + r) / group;
            const head = kv_head * group + (first_row + r) % group;
            const offset = token * o.queryWidth() + head * o.head_dim;
            self.queries[r] = pass.q.ptr + offset;
            self.outputs[r] = pass.attention.ptr + offset;
            const end = pass.start + token + 1;
            self.ranges[r] = .{ .first = end - pass.cache.held(end), .end = end };
        }
        // Unused queries must be pointers all the same.
        for (rows..rows_max) |r| self.queries[r] = self.queries[0];
        self.base = self.ranges[0].first / key_block * key_block;
        self.blocks = @intCast((self.ranges[rows - 1].end - self.base + key_block - 1) / key_block);
        return self;
    }

    /// Scores of the blocks that any row sees, and from them the weights of what each row sees.
    fn score(self: *Tile) void {
        const pass = self.pass;
        const cache = pass.cache;
        const dim = cache.options.head_dim;
        const ring = cache.capacity / key_block;
        const scale = 1 / @sqrt(@as(f32, @floatFromInt(dim)));
        var block: u32 = 0;
        while (block < self.blocks) {
            const slot: usize = @intCast((self.base / key_block + block) % ring);
            const length: u32 = @intCast(@min(self.blocks - block, ring - slot));
            pass.kernels.nn.scores(&.{
                .queries = self.queries,
                .keys = cache.keysOf(pass.layer, self.kv_head) + slot * key_block * dim,
                .scores = self.scores + block * key_block,
                .scores_stride = pass.scores_stride,
                .scale = scale,
                .rows = self.rows,
                .dim = dim,
                .blocks = length,
            });
            block += length;
        }
        for (0..self.rows) |r| {
            const first: u32 = @intCast(self.ranges[r].first - self.base);
            const end: u32 = @intCast(self.ranges[r].end - self.base);
            self.factors[r] = pass.kernels.nn.weigh(self.scores + r * pass.scores_stride, first, end, self.blocks);
        }
    }

    fn mix(self: *Tile) void {
        const pass = self.pass;
        const value_dim = pass.cache.value_dim;
        @memset(self.sums[0 .. self.rows * value_dim], 0);
        const common: Range = .{ .first = self.ranges[self.rows - 1].first, .end = self.ranges[0].end };
        const together = common.first < common.end;
        if (together) {
            for (0..self.rows) |r| self.mixRange(r, 1, .{ .first = self.ranges[r].first, .end = common.first });
            self.mixRange(0, self.rows, common);
        }
        for (0..self.rows) |r| {
            const first = if (together) common.end else self.ranges[r].first;
            self.mixRange(r, 1, .{ .first = first, .end = self.ranges[r].end });
            const sums = self.sums + r * value_dim;
            pass.kernels.nn.scale(sums, self.factors[r], self.outputs[r], pass.cache.options.head_dim);
        }
    }

    /// Adds the weighted values of a range of positions to the sums of some rows.
    fn mixRange(self: *Tile, row: usize, rows: u32, range: Range) void {
        const pass = self.pass;
        const cache = pass.cache;
        var at = range.first;
        while (at < range.end) {
            const slot: usize = @intCast(at % cache.capacity);
            const length = @min(range.end - at, cache.capacity - slot);
            const column: usize = @intCast(at - self.base);
            pass.kernels.nn.mix(&.{
                .weights = self.scores + row * pass.scores_stride + column,
                .weights_stride = pass.scores_stride,
                .values = cache.valuesOf(pass.layer, self.kv_head) + slot * cache.value_dim,
                .sums = self.sums + row * cache.value_dim,
                .rows = rows,
                .dim = cache.value_dim,
                .keys = @intCast(length),
            });
            at += length;
        }
    }
};
