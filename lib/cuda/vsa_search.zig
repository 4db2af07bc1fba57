//! Similarities of hypervectors on a device: row by row, of all pairs, and the best rows of queries.
//!
//! One query is scanned by warps that keep the best rows; more of them meet the rows on tensor cores,
//! which leaves one sum for each pair, and then each query's sums are looked through. The best are
//! found 32 at a time: the next round takes only what comes after the last of the round before.

const std = @import("std");
const abi = @import("../abi.zig");
const arguments = @import("vsa_arguments.zig");
const backend = @import("backend.zig");
const driver = @import("driver.zig");
const kernels = @import("kernels.zig");
const table = @import("../cpu/vsa_table.zig");
const vsa = @import("vsa.zig");

const Buffer = backend.Buffer;
const Metric = table.Metric;
const Stream = backend.Stream;
const Vectors = vsa.Vectors;

/// What a warp keeps.
const round_max = 32;
/// Memory that the sums of one call may take.
const sums_bytes_max = 512 << 20;
/// Lists that vsa_merge takes.
const lists_max = 1024;
/// Blocks of a scan for each multiprocessor.
const scan_blocks = 4;

/// Warps for rows, 8 a block.
fn rowsShape(device: *const backend.Device, rows: u32) backend.Launch {
    return vsa.shapeFor(device, @as(u64, rows) * 32);
}

/// counts[2 * i ..] = nonzero and negative trits of row i.
pub fn readCounts(vectors: *Vectors, counts: []u32) abi.Failure!void {
    const stream = try vectors.device.stream();
    const buffer = try vectors.countRows(stream);
    defer buffer.release();
    return stream.download(try buffer.use(stream), std.mem.sliceAsBytes(counts));
}

/// scores[i] of a[i] and b[i]; one vector serves all.
pub fn similarities(a: *Vectors, b: *Vectors, metric: Metric, scores: []f64) abi.Failure!void {
    try a.expectDeviceOf(b);
    try b.expectDim(a.dim);
    const count: u32 = @max(a.count, b.count);
    if ((a.count != count and a.count != 1) or (b.count != count and b.count != 1))
        return abi.fail(error.InvalidShape, "Expected 1 or {d} vectors, got {d}", .{ count, @min(a.count, b.count) });
    const stream = try a.device.stream();
    const buffer: *Buffer = try .create(a.device, @as(u64, count) * 8);
    defer buffer.release();
    try stream.launch(.vsa_pairs, rowsShape(a.device, count), .{
        .a = try a.buffer.use(stream),
        .b = try b.buffer.use(stream),
        .scores = try buffer.use(stream),
        .count = count,
        .a_stride = if (a.count == 1) 0 else a.stride(),
        .b_stride = if (b.count == 1) 0 else b.stride(),
        .pieces = a.pieces(),
        .dim = a.dim,
        .metric = @backingInt(metric),
    });
    return stream.download(try buffer.use(stream), std.mem.sliceAsBytes(scores));
}

/// Rows and queries that meet on tensor cores, some queries at a time.
const Meeting = struct {
    stream: *Stream,
    rows: *Vectors,
    row_count: u32,
    queries: *Vectors,
    metric: Metric,
    /// Integers from the sums of a query to those of the next.
    stride: u32,
    /// Queries at a time.
    at_once: u32,
    sums: *Buffer,
    /// The largest key, about, of every tile of rows, [query][tile]; for searches.
    tops: ?*Buffer,
    row_counts: *Buffer,
    query_counts: *Buffer,

    fn create(rows: *Vectors, row_count: u32, queries: *Vectors, metric: Metric, with_tops: bool) abi.Failure!Meeting {
        const device = rows.device;
        const stream = try device.stream();
        const stride = try strideOf(row_count);
        const fitting: u32 = @intCast(std.math.clamp(sums_bytes_max / (@as(u64, stride) * 4), 1, queries.count));
        const at_once = if (fitting < arguments.matrix_queries or fitting == queries.count) fitting else fitting / arguments.matrix_queries * arguments.matrix_queries;
        const row_counts = try rows.countRows(stream);
        errdefer row_counts.release();
        const query_counts = try queries.countRows(stream);
        errdefer query_counts.release();
        const tiles = kernels.divideUp(row_count, arguments.tile_side);
        const tops: ?*Buffer = if (with_tops) try .create(device, @as(u64, at_once) * tiles * 4) else null;
        errdefer if (tops) |buffer| buffer.release();
        return .{
            .tops = tops,
            .stream = stream,
            .rows = rows,
            .row_count = row_count,
            .queries = queries,
            .metric = metric,
            .stride = stride,
            .at_once = at_once,
            .sums = try .create(device, @as(u64, at_once) * stride * 4),
            .row_counts = row_counts,
            .query_counts = query_counts,
        };
    }

    fn destroy(self: *const Meeting) void {
        self.sums.release();
        if (self.tops) |tops| tops.release();
        self.row_counts.release();
        self.query_counts.release();
    }

    fn queryCountsAt(self: *const Meeting, first: u32) abi.Failure!driver.Pointer {
        return try self.query_counts.use(self.stream) + @as(u64, first) * 8;
    }

    fn topsAt(self: *const Meeting) abi.Failure!driver.Pointer {
        return if (self.tops) |tops| tops.use(self.stream) else 0;
    }

    /// The sums of `count` queries from `first` on.
    fn run(self: *const Meeting, first: u32, count: u32) abi.Failure!void {
        const blocks = @as(u64, kernels.divideUp(count, arguments.matrix_queries)) * kernels.divideUp(self.row_count, arguments.matrix_rows);
        const stages = self.rows.device.matrix_stages;
        const told: arguments.Matrix = .{
            .queries = try self.queries.buffer.use(self.stream) + first * self.queries.rowBytes(),
            .rows = try self.rows.buffer.use(self.stream),
            .sums = try self.sums.use(self.stream),
            .tops = try self.topsAt(),
            .query_counts = try self.queryCountsAt(first),
            .row_counts = try self.row_counts.use(self.stream),
            .query_count = count,
            .row_count = self.row_count,
            .stride = self.stride,
            .pieces = self.rows.pieces(),
            .stages = stages,
            .metric = @backingInt(self.metric),
        };
        const kernel: kernels.Kernel = switch (self.metric) {
            .dot, .cosine => .vsa_matrix_dot,
            .hamming, .hamming_similarity => .vsa_matrix_distance,
            .overlap, .jaccard => .vsa_matrix_common,
        };
        return self.stream.launchOf(kernel, .{
            .blocks = std.math.cast(u31, blocks) orelse
                return abi.fail(error.Unsupported, "Expected fewer pairs of rows and queries, got {d} x {d}", .{ self.row_count, count }),
            .threads = 256,
            .shared_bytes = stages * arguments.matrix_stage_bytes,
        }, &told);
    }
};

/// Rows padded to fours, which are read at once.
fn strideOf(rows: u32) abi.Failure!u32 {
    if (rows > std.math.maxInt(i32)) return abi.fail(error.Unsupported, "Expected fewer than 2^31 rows on a CUDA device, got {d}", .{rows});
    return (rows + 3) / 4 * 4;
}

fn expectMeeting(rows: *Vectors, queries: *Vectors) abi.Failure!void {
    try queries.expectDim(rows.dim);
    return queries.expectDeviceOf(rows);
}

/// out[row * queries + query]
pub fn matrix(rows: *Vectors, queries: *Vectors, metric: Metric, out: []f64) abi.Failure!void {
    try expectMeeting(rows, queries);
    const meeting: Meeting = try .create(rows, rows.count, queries, metric, false);
    defer meeting.destroy();
    const stream = meeting.stream;
    const scores: *Buffer = try .create(rows.device, out.len * 8);
    defer scores.release();
    const columns: u32 = queries.count;
    var first: u32 = 0;
    while (first < columns) : (first += meeting.at_once) {
        const count = @min(meeting.at_once, columns - first);
        try meeting.run(first, count);
        const blocks = @as(u64, kernels.divideUp(count, 32)) * kernels.divideUp(rows.count, 32);
        try stream.launch(.vsa_scores, .{ .blocks = @intCast(blocks), .threads = 256 }, .{
            .sums = try meeting.sums.use(stream),
            .query_counts = try meeting.queryCountsAt(first),
            .row_counts = try meeting.row_counts.use(stream),
            .scores = try scores.use(stream) + @as(u64, first) * 8,
            .query_count = count,
            .row_count = rows.count,
            .stride = meeting.stride,
            .out_stride = columns,
            .dim = rows.dim,
            .metric = @backingInt(metric),
        });
    }
    return stream.download(try scores.use(stream), std.mem.sliceAsBytes(out));
}

/// The best rows of some queries while they are being found, [query][place], larger keys first: all
/// keys, then all rows.
const Found = struct {
    stream: *Stream,
    buffer: *Buffer,
    entries: u64,
    k: u32,

    fn create(device: *backend.Device, queries: u32, k: u32) abi.Failure!Found {
        const entries = @as(u64, queries) * k;
        return .{ .stream = try device.stream(), .buffer = try .create(device, entries * 12), .entries = entries, .k = k };
    }

    fn destroy(self: *const Found) void {
        self.buffer.release();
    }

    fn keyAt(self: *const Found, place: u64) abi.Failure!driver.Pointer {
        return try self.buffer.use(self.stream) + place * 8;
    }

    fn placeAt(self: *const Found, place: u64) abi.Failure!driver.Pointer {
        return try self.buffer.use(self.stream) + self.entries * 8 + place * 4;
    }
};

/// The `k` best of the first rows for each query, as on the CPU.
pub fn topK(rows: *Vectors, row_count: u32, queries: *Vectors, metric: Metric, k: u32, indices: []u32, scores: []f64) abi.Failure!void {
    try expectMeeting(rows, queries);
    const found: Found = try .create(rows.device, queries.count, k);
    defer found.destroy();
    if (queries.count == 1) try scan(rows, row_count, queries, metric, &found) else try meet(rows, row_count, queries, metric, &found);
    // One copy to the host, as waiting for two takes twice as long.
    const bytes = try std.heap.c_allocator.alignedAlloc(u8, .of(f64), @intCast(found.buffer.bytes));
    defer std.heap.c_allocator.free(bytes);
    try found.stream.download(try found.keyAt(0), bytes);
    @memcpy(std.mem.sliceAsBytes(scores), bytes[0 .. scores.len * 8]);
    @memcpy(std.mem.sliceAsBytes(indices), bytes[scores.len * 8 ..]);
    // Keys of distances are negative.
    if (metric == .hamming) for (scores) |*score| {
        score.* = 0 - score.*;
    };
}

fn scan(rows: *Vectors, row_count: u32, query: *Vectors, metric: Metric, found: *const Found) abi.Failure!void {
    const device = rows.device;
    const stream = found.stream;
    const blocks: u32 = @min(kernels.divideUp(row_count, 8), device.multiprocessors * scan_blocks, lists_max);
    const lists: Found = try .create(device, blocks, @min(found.k, round_max));
    defer lists.destroy();
    const kernel: kernels.Kernel = switch (metric) {
        .dot, .cosine => .vsa_scan_dot,
        .hamming, .hamming_similarity => .vsa_scan_distance,
        .overlap, .jaccard => .vsa_scan_common,
    };
    var first: u32 = 0;
    while (first < found.k) : (first += round_max) {
        const k = @min(round_max, found.k - first);
        const told: arguments.Scan = .{
            .rows = try rows.buffer.use(stream),
            .query = try query.buffer.use(stream),
            .keys = try lists.keyAt(0),
            .places = try lists.placeAt(0),
            .after_key = if (first == 0) 0 else try found.keyAt(first - 1),
            .after_row = if (first == 0) 0 else try found.placeAt(first - 1),
            .count = row_count,
            .pieces = rows.pieces(),
            .dim = rows.dim,
            .metric = @backingInt(metric),
            .k = k,
        };
        try stream.launchOf(kernel, .{ .blocks = blocks, .threads = 256 }, &told);
        try stream.launch(.vsa_merge, .{ .blocks = 1, .threads = 1024 }, .{
            .keys = told.keys,
            .places = told.places,
            .best_keys = try found.keyAt(first),
            .indices = try found.placeAt(first),
            .lists = blocks,
            .k = k,
        });
    }
}

fn meet(rows: *Vectors, row_count: u32, queries: *Vectors, metric: Metric, found: *const Found) abi.Failure!void {
    const meeting: Meeting = try .create(rows, row_count, queries, metric, true);
    defer meeting.destroy();
    const stream = meeting.stream;
    var first_query: u32 = 0;
    while (first_query < queries.count) : (first_query += meeting.at_once) {
        const count = @min(meeting.at_once, queries.count - first_query);
        try meeting.run(first_query, count);
        const base = @as(u64, first_query) * found.k;
        var first: u32 = 0;
        while (first < found.k) : (first += round_max) {
            const k = @min(round_max, found.k - first);
            try stream.launch(.vsa_select, .{ .blocks = count, .threads = 256 }, .{
                .sums = try meeting.sums.use(stream),
                .tops = try meeting.topsAt(),
                .query_counts = try meeting.queryCountsAt(first_query),
                .row_counts = try meeting.row_counts.use(stream),
                .after_key = if (first == 0) 0 else try found.keyAt(base + first - 1),
                .after_row = if (first == 0) 0 else try found.placeAt(base + first - 1),
                .best_keys = try found.keyAt(base + first),
                .indices = try found.placeAt(base + first),
                .count = row_count,
                .stride = meeting.stride,
                .after_stride = found.k,
                .out_stride = found.k,
                .dim = rows.dim,
                .metric = @backingInt(metric),
                .k = k,
            });
        }
    }
}
