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

    fn sharesQueries(self: *const Search) bool {
        return self.queries.count > self.row_count;
    }

    fn parts(self: *const Search) u32 {
        const bytes = std.math.mul(u64, self.pairs(), self.vectorBytes()) catch std.math.maxInt(u64);
        return parallel.partsOf(bytes, @max(self.row_count, self.queries.count));
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
    fn shareOf(self: *const Search, part: u32, count: u32) Share {
        const from, const to = threads.share(if (self.sharesQueries()) self.queries.count else self.row_count, part, count);
        return if (self.sharesQueries())
            .{ .row_from = 0, .row_to = self.row_count, .query_from = from, .query_to = to }
        else
            .{ .row_from = from, .row_to = to, .query_from = 0, .query_to = self.queries.count };
    }

    /// Hands the scores of the share's pairs to `sink.take(query, first_row, scores)`, for each query
    /// in ascending order of rows.
    fn scan(self: *const Search, share: Share, query_nonzeros: []const f64, sink: anytype) void {
        const words = self.rows.words;
        const kernel = self.scanKernel();
        const chunk = std.math.clamp(chunk_bytes / (words * 2 * @sizeOf(u64)), 4, rows_max);
        var sums: [queries_max * rows_max]i64 = undefined;
        var row_nonzeros: [rows_max]f64 = undefined;
        var scores: [rows_max]f64 = undefined;

        var row = share.row_from;
        while (row < share.row_to) : (row += chunk) {
            const row_count = @min(chunk, share.row_to - row);
            var query = share.query_from;
            while (query < share.query_to) : (query += queries_max) {
                const query_count = @min(queries_max, share.query_to - query);
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
                    .sums_stride = rows_max,
                    .row_nonzeros = if (query == share.query_from and self.needsNonzeros()) &row_nonzeros else null,
                });
                for (0..query_count) |q| {
                    self.kernels.scores(&.{
                        .metric = self.metric,
                        .dim = self.rows.dim,
                        .sums = sums[q * rows_max ..].ptr,
                        .row_nonzeros = &row_nonzeros,
                        .query_nonzeros = query_nonzeros[query + q],
                        .scores = &scores,
                        .count = std.mem.alignForward(usize, row_count, 8),
                    });
                    sink.take(query + q, row, scores[0..row_count]);
                }
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

const Share = struct { row_from: usize, row_to: usize, query_from: usize, query_to: usize };

/// out[row * queries + query]
pub fn matrix(search: *const Search, out: []f64) abi.Failure!void {
    const Job = struct {
        search: *const Search,
        query_nonzeros: []const f64,
        out: []f64,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            self.search.scan(self.search.shareOf(part, parts), self.query_nonzeros, self);
        }

        fn take(self: *const @This(), query: usize, first_row: usize, scores: []const f64) void {
            const columns = self.search.queries.count;
            for (scores, first_row..) |score, row| self.out[row * columns + query] = score;
        }
    };
    const query_nonzeros = try search.queryNonzeros();
    defer std.heap.c_allocator.free(query_nonzeros);
    const job: Job = .{ .search = search, .query_nonzeros = query_nonzeros, .out = out };
    parallel.runParts(search.parts(), &job, Job.work);
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

    /// Rows come in ascending order, so that one that scores no more than the last has lost.
    fn take(self: *Best, first_row: usize, scores: []const f64) void {
        for (scores, first_row..) |score, row| {
            const candidate: Candidate = .{ .score = score, .row = @intCast(row) };
            if (self.count < self.candidates.len) {
                self.append(candidate);
            } else if (score > self.candidates[0].score) {
                self.replaceLast(candidate);
            }
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
    k: usize,
    query_nonzeros: []const f64,
    /// One for each query, or, where the rows are shared, for each part and query.
    bests: []Best,

    fn work(self: *const TopK, part: u32, parts: u32) void {
        const sink: Sink = .{ .job = self, .part = part };
        self.search.scan(self.search.shareOf(part, parts), self.query_nonzeros, &sink);
    }

    const Sink = struct {
        job: *const TopK,
        part: u32,

        fn take(self: *const Sink, query: usize, first_row: usize, scores: []f64) void {
            const search = self.job.search;
            // The nearest come first.
            if (search.metric == .hamming) for (scores) |*score| {
                score.* = -score.*;
            };
            const first = if (search.sharesQueries()) 0 else self.part * search.queries.count;
            self.job.bests[first + query].take(first_row, scores);
        }
    };
};

/// The `k` best of the first rows for each query, at indices[query * k ..] and scores[query * k ..];
/// for Hamming distances those are the smallest.
pub fn topK(search: *const Search, k: usize, indices: []u32, scores: []f64) abi.Failure!void {
    const allocator = std.heap.c_allocator;
    const parts = search.parts();
    const lists = if (search.sharesQueries()) 1 else parts;
    const capacity = @min(k, (search.row_count + lists - 1) / lists);
    const queries: usize = search.queries.count;

    const query_nonzeros = try search.queryNonzeros();
    defer allocator.free(query_nonzeros);
    const bests = try allocator.alloc(Best, queries * lists);
    defer allocator.free(bests);
    const candidates = try allocator.alloc(Candidate, bests.len * capacity + lists * capacity);
    defer allocator.free(candidates);
    for (bests, 0..) |*best, i| best.* = .{ .candidates = candidates[i * capacity ..][0..capacity] };

    const job: TopK = .{ .search = search, .k = k, .query_nonzeros = query_nonzeros, .bests = bests };
    parallel.runParts(parts, &job, TopK.work);

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
