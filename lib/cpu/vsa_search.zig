//! Rows against queries: all scores, or the best rows of each query.
//!
//! A few rows that fit a core's own cache meet all queries before the next few are read, so that with
//! many queries memory is no limit. Threads share the rows, or the queries where there are more of
//! those. Each part keeps its own best rows; higher scores come first and, among equal ones, lower
//! rows, which orders any two rows, so that the result does not depend on how the work was cut.

const std = @import("std");
const abi = @import("../abi.zig");
const parallel = @import("parallel.zig");
const table = @import("vsa_table.zig");
const threads = @import("threads.zig");
const vsa = @import("vsa_vectors.zig");

const Vectors = vsa.Vectors;
const Metric = vsa.Metric;

/// Rows and queries that meet in one call of a kernel.
const rows_max = 64;
const queries_max = 16;
/// Queries for each part from which on they are shared and not the rows.
const shared_queries_min = 4 * queries_max;
/// What rows may take of a core's own cache while queries pass.
const chunk_bytes = 256 << 10;
/// What the rows and queries of one call may take; longer vectors are cut.
const segment_bytes = 512 << 10;

pub const Search = struct {
    kernels: *const table.Kernels,
    metric: Metric,
    rows: *const Vectors,
    row_count: u32,
    queries: *const Vectors,

    fn pairs(self: *const Search) u64 {
        return @as(u64, self.row_count) * self.queries.count;
    }

    /// Each part of shared rows has results of its own for every query, so where queries are enough to
    /// go round they are shared.
    fn cut(self: *const Search) Cut {
        const bytes = std.math.mul(u64, self.pairs(), self.vectorBytes()) catch std.math.maxInt(u64);
        const parts = parallel.partsOf(bytes, @max(self.row_count, self.queries.count));
        const many = @as(u64, parts) * shared_queries_min;
        return .{ .parts = parts, .by_queries = self.queries.count > @min(self.row_count, many) };
    }

    fn vectorBytes(self: *const Search) u64 {
        return self.rows.words * 2 * @sizeOf(u64);
    }

    fn needsNonzeros(self: *const Search) bool {
        return self.metric == .cosine or self.metric == .jaccard;
    }

    fn scanKernel(self: *const Search) *const fn (*const table.Scan) callconv(.c) void {
        return switch (self.metric) {
            .dot, .cosine => self.kernels.scan_dot,
            .hamming, .hamming_similarity => self.kernels.scan_distance,
            .overlap, .jaccard => self.kernels.scan_common,
        };
    }

    fn nonzeros(self: *const Search, vector: table.Vector) f64 {
        return @floatFromInt(self.kernels.ones(vector, self.rows.words));
    }

    /// The part's rows and queries.
    fn shareOf(self: *const Search, by_queries: bool, part: u32, count: u32) Share {
        const from, const to = threads.share(if (by_queries) self.queries.count else self.row_count, part, count);
        return if (by_queries)
            .{ .row_from = 0, .row_to = self.row_count, .query_from = from, .query_to = to }
        else
            .{ .row_from = from, .row_to = to, .query_from = 0, .query_to = self.queries.count };
    }

    /// Hands the scores of the share's pairs to `sink.take(block)`, for each query in ascending order
    /// of rows; `sink.least(query)` is the score that is worth looking at.
    fn scan(self: *const Search, share: Share, sign: f64, query_nonzeros: []const f64, sink: anytype) void {
        const words = self.rows.words;
        const kernel = self.scanKernel();
        const chunk = std.math.clamp(chunk_bytes / (words * 2 * @sizeOf(u64)), 4, rows_max);
        const is_one = share.query_to - share.query_from == 1;
        var sums: [queries_max * rows_max]i64 = undefined;
        var scores: [queries_max * rows_max]f64 = undefined;
        var row_nonzeros: [rows_max]f64 = undefined;
        var above: [rows_max]u64 = undefined;
        var least: [rows_max]f64 = undefined;
        var few_nonzeros: [queries_max]f64 = undefined;

        // The next rows are fetched while these are busy with the queries.
        const row_lines = words * 2 * @sizeOf(u64) / 64;
        const fours = (share.query_to - share.query_from) / 4;
        const lines = if (fours < 1 or row_lines * chunk * 64 > chunk_bytes) 0 else (row_lines + fours - 1) / fours;

        var row = share.row_from;
        while (row < share.row_to) : (row += chunk) {
            const row_count = @min(chunk, share.row_to - row);
            const next: [*]const u8 = @ptrCast(self.rows.row(row) + row_count * 2 * words);
            var query = share.query_from;
            while (query < share.query_to) : (query += queries_max) {
                const query_count = @min(queries_max, share.query_to - query);
                const stride: usize = if (is_one) 1 else queries_max;
                const segment = @max(segment_bytes / 128 / (row_count + query_count), 8) * table.block_words;
                var from: usize = 0;
                while (from < words) : (from += segment) kernel(&.{
                    .rows = .{ .first = self.rows.row(row), .stride = 2 * words },
                    .row_count = row_count,
                    .queries = .{ .first = self.queries.row(query), .stride = 2 * words },
                    .query_count = query_count,
                    .words = words,
                    .from = from,
                    .to = @min(from + segment, words),
                    .sums = &sums,
                    .sums_stride = stride,
                    .row_nonzeros = if (query == share.query_from and self.needsNonzeros()) &row_nonzeros else null,
                    .ahead = next + (query - share.query_from) / 4 * row_count * lines * 64,
                    .ahead_lines = if (row + row_count < share.row_to) lines else 0,
                });
                if (is_one) {
                    @memset(least[0..row_count], sink.least(query));
                } else {
                    for (least[0..query_count], query..) |*value, q| value.* = sink.least(q);
                }
                @memcpy(few_nonzeros[0..query_count], query_nonzeros[query..][0..query_count]);
                self.kernels.scores(&.{
                    .metric = self.metric,
                    .dim = self.rows.dim,
                    .sign = sign,
                    .sums = &sums,
                    .scores = &scores,
                    .stride = stride,
                    .count = if (is_one) 1 else row_count,
                    .inner_count = if (is_one) row_count else query_count,
                    .nonzeros = if (is_one) &few_nonzeros else &row_nonzeros,
                    .inner_nonzeros = if (is_one) &row_nonzeros else &few_nonzeros,
                    .inner_least = &least,
                    .above = &above,
                });
                sink.take(Block{
                    .row = row,
                    .row_count = row_count,
                    .query = query,
                    .query_count = query_count,
                    .scores = &scores,
                    .is_one = is_one,
                    .above = &above,
                });
            }
        }
    }

    /// Nonzero trits of each query.
    fn queryNonzeros(self: *const Search) abi.Failure![]f64 {
        const counts = try std.heap.c_allocator.alloc(f64, self.queries.count);
        for (counts, 0..) |*count, query| count.* = if (self.needsNonzeros()) self.nonzeros(self.queries.row(query)) else 0;
        return counts;
    }
};

/// How many parts there are, and whether they are of the queries or of the rows.
const Cut = struct { parts: u32, by_queries: bool };

const Share = struct { row_from: usize, row_to: usize, query_from: usize, query_to: usize };

/// Scores of some rows with some queries.
const Block = struct {
    row: usize,
    row_count: usize,
    query: usize,
    query_count: usize,
    /// For each row queries_max of them, or one after the other where there is but one query.
    scores: [*]const f64,
    is_one: bool,
    /// For each row the queries, or for one query the rows, that score more than the least.
    above: [*]const u64,
};

/// out[row * queries + query]
pub fn matrix(search: *const Search, out: []f64) abi.Failure!void {
    const Job = struct {
        search: *const Search,
        query_nonzeros: []const f64,
        by_queries: bool,
        out: []f64,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            self.search.scan(self.search.shareOf(self.by_queries, part, parts), 1, self.query_nonzeros, self);
        }

        fn least(_: *const @This(), _: usize) f64 {
            return std.math.inf(f64);
        }

        fn take(self: *const @This(), block: Block) void {
            const columns = self.search.queries.count;
            if (block.is_one) {
                for (0..block.row_count) |r| self.out[(block.row + r) * columns + block.query] = block.scores[r];
                return;
            }
            for (0..block.row_count) |r| @memcpy(
                self.out[(block.row + r) * columns + block.query ..][0..block.query_count],
                block.scores[r * queries_max ..][0..block.query_count],
            );
        }
    };
    const query_nonzeros = try search.queryNonzeros();
    defer std.heap.c_allocator.free(query_nonzeros);
    const cut = search.cut();
    const job: Job = .{ .search = search, .query_nonzeros = query_nonzeros, .by_queries = cut.by_queries, .out = out };
    parallel.runParts(cut.parts, &job, Job.work);
}

const Candidate = struct {
    score: f64,
    row: u32,

    fn isBefore(_: void, a: Candidate, b: Candidate) bool {
        return a.score > b.score or (a.score == b.score and a.row < b.row);
    }
};

/// The best rows so far, the last of them at the root of a heap.
const Best = struct {
    candidates: []Candidate,
    count: usize = 0,

    /// The score that another row must exceed: rows come in ascending order, so that one that scores
    /// as much as the last has lost.
    fn least(self: *const Best) f64 {
        return if (self.count < self.candidates.len) -std.math.inf(f64) else self.candidates[0].score;
    }

    fn take(self: *Best, row: usize, score: f64) void {
        const candidate: Candidate = .{ .score = score, .row = @intCast(row) };
        if (self.count < self.candidates.len) {
            self.append(candidate);
        } else if (score > self.candidates[0].score) {
            self.replaceLast(candidate);
        }
    }

    fn append(self: *Best, candidate: Candidate) void {
        var place = self.count;
        self.count += 1;
        while (place > 0) {
            const parent = (place - 1) / 2;
            if (!Candidate.isBefore({}, self.candidates[parent], candidate)) break;
            self.candidates[place] = self.candidates[parent];
            place = parent;
        }
        self.candidates[place] = candidate;
    }

    fn replaceLast(self: *Best, candidate: Candidate) void {
        var place: usize = 0;
        while (true) {
            var child = 2 * place + 1;
            if (child >= self.count) break;
            if (child + 1 < self.count and Candidate.isBefore({}, self.candidates[child], self.candidates[child + 1])) child += 1;
            if (!Candidate.isBefore({}, candidate, self.candidates[child])) break;
            self.candidates[place] = self.candidates[child];
            place = child;
        }
        self.candidates[place] = candidate;
    }
};

const TopK = struct {
    search: *const Search,
    query_nonzeros: []const f64,
    by_queries: bool,
    /// One for each query, or, where the rows are shared, for each part and query.
    bests: []Best,

    fn work(self: *const TopK, part: u32, parts: u32) void {
        const search = self.search;
        const sink: Sink = .{ .bests = self.bests[if (self.by_queries) 0 else @as(usize, part) * search.queries.count..] };
        // The nearest come first.
        const sign: f64 = if (search.metric == .hamming) -1 else 1;
        search.scan(search.shareOf(self.by_queries, part, parts), sign, self.query_nonzeros, &sink);
    }

    const Sink = struct {
        bests: []Best,

        fn least(self: *const Sink, query: usize) f64 {
            return self.bests[query].least();
        }

        fn take(self: *const Sink, block: Block) void {
            for (block.above[0..if (block.is_one) 1 else block.row_count], 0..) |mask, i| {
                var left = mask;
                while (left != 0) : (left &= left - 1) {
                    const j = @ctz(left);
                    const row, const query = if (block.is_one) .{ j, 0 } else .{ i, j };
                    const place = if (block.is_one) j else i * queries_max + j;
                    self.bests[block.query + query].take(block.row + row, block.scores[place]);
                }
            }
        }
    };
};

/// The `k` best of the first rows for each query, at indices[query * k ..] and scores[query * k ..];
/// for Hamming distances those are the smallest.
pub fn topK(search: *const Search, k: usize, indices: []u32, scores: []f64) abi.Failure!void {
    const allocator = std.heap.c_allocator;
    const cut = search.cut();
    const lists: usize = if (cut.by_queries) 1 else cut.parts;
    const capacity = @min(k, (search.row_count + lists - 1) / lists);
    const queries: usize = search.queries.count;

    const query_nonzeros = try search.queryNonzeros();
    defer allocator.free(query_nonzeros);
    const bests = try allocator.alloc(Best, queries * lists);
    defer allocator.free(bests);
    const candidates = try allocator.alloc(Candidate, bests.len * capacity + lists * capacity);
    defer allocator.free(candidates);
    for (bests, 0..) |*best, i| best.* = .{ .candidates = candidates[i * capacity ..][0..capacity] };

    const job: TopK = .{ .search = search, .query_nonzeros = query_nonzeros, .by_queries = cut.by_queries, .bests = bests };
    parallel.runParts(cut.parts, &job, TopK.work);

    const merged = candidates[bests.len * capacity ..];
    for (0..queries) |query| {
        var count: usize = 0;
        for (0..lists) |list| {
            const best = bests[list * queries + query];
            @memcpy(merged[count..][0..best.count], best.candidates[0..best.count]);
            count += best.count;
        }
        std.mem.sortUnstable(Candidate, merged[0..count], {}, Candidate.isBefore);
        for (merged[0..k], indices[query * k ..][0..k], scores[query * k ..][0..k]) |candidate, *index, *score| {
            index.* = candidate.row;
            score.* = if (search.metric == .hamming) 0 - candidate.score else candidate.score;
        }
    }
}
