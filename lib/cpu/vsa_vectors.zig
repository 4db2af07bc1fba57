//! Hypervectors in native memory, and the operations on rows of them, shared out to the threads.

const std = @import("std");
const abi = @import("../abi.zig");
const memory = @import("../memory.zig");
const parallel = @import("parallel.zig");
const table = @import("vsa_table.zig");
const threads = @import("threads.zig");

pub const dim_max = 1 << 31;

/// `count` vectors of `dim` trits, laid out as vsa_table.zig says.
pub const Vectors = struct {
    count: u32,
    dim: u32,
    /// Words of one plane.
    words: usize,
    data: []align(memory.alignment) u64,

    /// Makes vectors of zeros.
    pub fn create(count: u32, dim: u32) abi.Failure!*Vectors {
        if (dim == 0 or dim > dim_max)
            return abi.fail(error.InvalidShape, "Expected from 1 to {d} dimensions, got {d}", .{ dim_max, dim });
        if (count == 0) return abi.fail(error.InvalidShape, "Expected at least one vector, got none", .{});
        const words = table.wordsOf(dim);
        const self = try std.heap.c_allocator.create(Vectors);
        errdefer std.heap.c_allocator.destroy(self);
        const data = try memory.allocZeroed(u64, @as(u64, count) * 2 * words);
        self.* = .{ .count = count, .dim = dim, .words = words, .data = data };
        return self;
    }

    pub fn destroy(self: *Vectors) void {
        memory.freeZeroed(u64, self.data);
        std.heap.c_allocator.destroy(self);
    }

    pub fn row(self: *const Vectors, index: usize) table.Target {
        return @alignCast(self.data.ptr + index * 2 * self.words);
    }

    /// Its rows side by side with those of a batch of `count`: one vector serves all.
    pub fn rowsFor(self: *const Vectors, count: u32) abi.Failure!table.Rows {
        if (self.count != count and self.count != 1)
            return abi.fail(error.InvalidShape, "Expected 1 or {d} vectors, got {d}", .{ count, self.count });
        return .{ .first = self.row(0), .stride = if (self.count == 1) 0 else 2 * self.words };
    }

    /// All rows, to be read together.
    pub fn sources(self: *const Vectors) table.Sources {
        return .{ .list = null, .first = self.row(0), .stride = 2 * self.words, .count = self.count };
    }

    pub fn expectDim(self: *const Vectors, dim: u32) abi.Failure!void {
        if (self.dim != dim)
            return abi.fail(error.InvalidShape, "Expected vectors of {d} dimensions, got {d}", .{ dim, self.dim });
    }

    /// `rows` rows from `first` on exist.
    pub fn expectRows(self: *const Vectors, first: u32, rows: u64) abi.Failure!void {
        if (@as(u64, first) + rows > self.count) return abi.fail(
            error.InvalidShape,
            "Expected rows {d} to {d} of {d} vectors",
            .{ first, @as(u64, first) + rows, self.count },
        );
    }

    pub fn sizeBytes(self: *const Vectors) u64 {
        return self.data.len * @sizeOf(u64);
    }
};

/// Rows a and b to rows of `out`, by one of the kernels that bind.
pub fn bind(kernel: table.Bind, a: table.Rows, b: table.Rows, out: *const Vectors) void {
    const Job = struct {
        kernel: table.Bind,
        a: table.Rows,
        b: table.Rows,
        out: *const Vectors,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.out.count, part, parts);
            const x: table.Rows = .{ .first = @alignCast(self.a.first + from * self.a.stride), .stride = self.a.stride };
            const y: table.Rows = .{ .first = @alignCast(self.b.first + from * self.b.stride), .stride = self.b.stride };
            self.kernel(x, y, self.out.row(from), self.out.words, to - from);
        }
    };
    const job: Job = .{ .kernel = kernel, .a = a, .b = b, .out = out };
    parallel.run(out.sizeBytes(), out.count, &job, Job.work);
}

pub const Metric = table.Metric;

/// The similarity of two vectors; `dim` is theirs.
pub fn similarity(kernels: *const table.Kernels, metric: Metric, a: table.Vector, b: table.Vector, words: usize, dim: u32) f64 {
    switch (metric) {
        .dot => return @floatFromInt(kernels.dot(a, b, words)),
        .hamming => return @floatFromInt(kernels.distance(a, b, words)),
        .hamming_similarity => return 1 - @as(f64, @floatFromInt(kernels.distance(a, b, words))) / @as(f64, @floatFromInt(dim)),
        else => {
            var counts: table.Counts = undefined;
            kernels.counts(a, b, words, &counts);
            return scoreOf(metric, counts, dim);
        },
    }
}

/// A similarity from its counts. Two vectors of which one has no nonzero trit have cosine 0, and two
/// that both have none have Jaccard similarity 0.
pub fn scoreOf(metric: Metric, counts: table.Counts, dim: u32) f64 {
    const common: f64 = @floatFromInt(counts.common);
    const opposite: f64 = @floatFromInt(counts.opposite);
    const nonzero_a: f64 = @floatFromInt(counts.nonzero_a);
    const nonzero_b: f64 = @floatFromInt(counts.nonzero_b);
    const differing = nonzero_a + nonzero_b - 2 * common + opposite;
    const either = nonzero_a + nonzero_b - common;
    return switch (metric) {
        .dot => common - 2 * opposite,
        .cosine => if (nonzero_a == 0 or nonzero_b == 0) 0 else (common - 2 * opposite) / @sqrt(nonzero_a * nonzero_b),
        .hamming => differing,
        .hamming_similarity => 1 - differing / @as(f64, @floatFromInt(dim)),
        .overlap => common,
        .jaccard => if (either == 0) 0 else common / either,
    };
}

/// Similarities row by row: scores[i] of a[i] and b[i].
pub fn similarities(kernels: *const table.Kernels, metric: Metric, a: table.Rows, b: table.Rows, like: *const Vectors, scores: []f64) void {
    const Job = struct {
        kernels: *const table.Kernels,
        metric: Metric,
        a: table.Rows,
        b: table.Rows,
        like: *const Vectors,
        scores: []f64,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.scores.len, part, parts);
            for (self.scores[from..to], from..) |*score, row| {
                const x: table.Vector = @alignCast(self.a.first + row * self.a.stride);
                const y: table.Vector = @alignCast(self.b.first + row * self.b.stride);
                score.* = similarity(self.kernels, self.metric, x, y, self.like.words, self.like.dim);
            }
        }
    };
    const job: Job = .{ .kernels = kernels, .metric = metric, .a = a, .b = b, .like = like, .scores = scores };
    parallel.run(scores.len * like.words * 2 * @sizeOf(u64), scores.len, &job, Job.work);
}

/// Random trits in every row; `below` as in vsa_random.zig, null for bipolar ones.
pub fn random(kernels: *const table.Kernels, vectors: *const Vectors, seed: u64, below: ?u32) void {
    const Job = struct {
        kernels: *const table.Kernels,
        vectors: *const Vectors,
        seed: u64,
        below: ?u32,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.vectors.count, part, parts);
            const words, const dim = .{ self.vectors.words, self.vectors.dim };
            for (from..to) |row| {
                const out = self.vectors.row(row);
                if (self.below) |below_| {
                    self.kernels.random(out, words, dim, row, self.seed, below_);
                } else {
                    self.kernels.random_bipolar(out, words, dim, row, self.seed);
                }
            }
        }
    };
    const job: Job = .{ .kernels = kernels, .vectors = vectors, .seed = seed, .below = below };
    parallel.run(vectors.sizeBytes() * 4, vectors.count, &job, Job.work);
}
