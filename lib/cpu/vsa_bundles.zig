//! Bundles and folds of hypervectors, and counters that vectors are added to and taken off from,
//! shared out to the threads.

const std = @import("std");
const abi = @import("../abi.zig");
const memory = @import("../memory.zig");
const parallel = @import("parallel.zig");
const table = @import("vsa_table.zig");
const threads = @import("threads.zig");
const vsa = @import("vsa_vectors.zig");

const Vectors = vsa.Vectors;

/// What a sum of zero becomes.
pub const Tie = enum(u32) { zero, positive, random, first };

pub const Options = struct {
    threshold: u32,
    tie: Tie,
    seed: u64,

    /// With a threshold, trits of 0 are what it cut off.
    pub fn check(self: Options) abi.Failure!void {
        if (self.threshold > 0 and self.tie != .zero)
            return abi.fail(error.InvalidOption, "Expected ties of zero with a threshold, got {t}", .{self.tie});
    }
};

/// The words of a part of a vector, whole blocks.
fn wordsOf(words: usize, part: u32, parts: u32) struct { usize, usize } {
    const from, const to = threads.share(words / table.block_words, part, parts);
    return .{ from * table.block_words, to * table.block_words };
}

fn sizeOf(sources: table.Sources, words: usize) u64 {
    return @as(u64, sources.count) * words * 2 * @sizeOf(u64);
}

/// One bundle of all sources for each row of `out`: the next `sources.count` rows each.
pub fn bundle(kernels: *const table.Kernels, sources: table.Sources, weights: ?[*]const f32, options: Options, out: *const Vectors) void {
    const Job = struct {
        kernels: *const table.Kernels,
        sources: table.Sources,
        weights: ?[*]const f32,
        options: Options,
        out: *const Vectors,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            if (self.out.count == 1) {
                const from, const to = wordsOf(self.out.words, part, parts);
                return self.row(0, self.sources, from, to);
            }
            const from, const to = threads.share(self.out.count, part, parts);
            for (from..to) |index| {
                const count = self.sources.count;
                self.row(index, self.sources.rows(index * count, count), 0, self.out.words);
            }
        }

        fn row(self: *const @This(), index: usize, sources_: table.Sources, from: usize, to: usize) void {
            const target = self.out.row(index);
            self.kernels.bundle(&.{
                .sources = sources_,
                .weights = self.weights,
                .words = self.out.words,
                .threshold = self.options.threshold,
                .first_ties = @intFromBool(self.options.tie == .first),
                .out = target,
            }, from, to);
            fillTies(self.kernels, self.options, self.out, index, from, to);
        }
    };
    const job: Job = .{ .kernels = kernels, .sources = sources, .weights = weights, .options = options, .out = out };
    const units = if (out.count == 1) out.words / table.block_words else out.count;
    parallel.run(sizeOf(sources, out.words) * out.count, units, &job, Job.work);
}

fn fillTies(kernels: *const table.Kernels, options: Options, out: *const Vectors, row: usize, from: usize, to: usize) void {
    if (options.tie != .positive and options.tie != .random) return;
    const random = @intFromBool(options.tie == .random);
    kernels.fill_ties(out.row(row), out.words, out.dim, from, to, row, options.seed, random);
}

/// The left fold of a binding over all sources, or, in each row of `out`, over as many of them.
pub fn bindMany(kernels: *const table.Kernels, sources: table.Sources, operation: u32, out: *const Vectors) void {
    const Job = struct {
        kernels: *const table.Kernels,
        sources: table.Sources,
        operation: u32,
        out: *const Vectors,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            if (self.out.count == 1) {
                const from, const to = wordsOf(self.out.words, part, parts);
                return self.row(0, self.sources, from, to);
            }
            const from, const to = threads.share(self.out.count, part, parts);
            for (from..to) |index| {
                const count = self.sources.count;
                self.row(index, self.sources.rows(index * count, count), 0, self.out.words);
            }
        }

        fn row(self: *const @This(), index: usize, sources_: table.Sources, from: usize, to: usize) void {
            self.kernels.bind_many(&sources_, self.operation, self.out.row(index), self.out.words, from, to);
        }
    };
    const job: Job = .{ .kernels = kernels, .sources = sources, .operation = operation, .out = out };
    const units = if (out.count == 1) out.words / table.block_words else out.count;
    parallel.run(sizeOf(sources, out.words) * out.count, units, &job, Job.work);
}

/// No count passes this, with either sign.
pub const count_max = std.math.maxInt(i32);

/// Sums of vectors, one i32 for each trit.
pub const Counters = struct {
    dim: u32,
    words: usize,
    counts: []align(memory.alignment) i32,
    /// No count is larger than this.
    bound: u64,
    /// Sum of the squares of the counts, null after a change.
    squares: ?f64,

    pub fn create(dim: u32) abi.Failure!*Counters {
        if (dim == 0 or dim > vsa.dim_max)
            return abi.fail(error.InvalidShape, "Expected from 1 to {d} dimensions, got {d}", .{ vsa.dim_max, dim });
        const words = table.wordsOf(dim);
        const self = try std.heap.c_allocator.create(Counters);
        errdefer std.heap.c_allocator.destroy(self);
        const counts = try memory.allocZeroed(i32, @as(u64, words) * 64);
        self.* = .{ .dim = dim, .words = words, .counts = counts, .bound = 0, .squares = null };
        return self;
    }

    pub fn destroy(self: *Counters) void {
        memory.freeZeroed(i32, self.counts);
        std.heap.c_allocator.destroy(self);
    }

    pub fn clear(self: *Counters) void {
        @memset(self.counts, 0);
        self.bound = 0;
        self.squares = null;
    }

    /// Adds all vectors, each times the weight; nothing where a count could leave the range.
    pub fn add(self: *Counters, kernels: *const table.Kernels, vectors: *const Vectors, weight: i32) abi.Failure!void {
        const amount = @as(u64, vectors.count) * @abs(weight);
        if (self.bound + amount > count_max) self.bound = self.largest();
        if (self.bound + amount > count_max) return abi.fail(
            error.InvalidValue,
            "Expected counts of at most {d}, got {d} and {d} more",
            .{ count_max, self.bound, amount },
        );
        self.bound += amount;
        self.squares = null;
        const Job = struct {
            kernels: *const table.Kernels,
            counters: *const Counters,
            sources: table.Sources,
            weight: i32,

            fn work(job: *const @This(), part: u32, parts: u32) void {
                const words = job.counters.words;
                const from, const to = wordsOf(words, part, parts);
                job.kernels.count(job.counters.counts.ptr, &job.sources, words, from, to, job.weight);
            }
        };
        const job: Job = .{ .kernels = kernels, .counters = self, .sources = vectors.sources(), .weight = weight };
        parallel.run(sizeOf(job.sources, self.words) + self.counts.len * 4, self.words / table.block_words, &job, Job.work);
    }

    fn largest(self: *const Counters) u64 {
        var most: u64 = 0;
        for (self.counts) |count| most = @max(most, @abs(count));
        return most;
    }

    pub fn result(self: *const Counters, kernels: *const table.Kernels, options: Options, out: *const Vectors) void {
        const Job = struct {
            kernels: *const table.Kernels,
            counters: *const Counters,
            options: Options,
            out: *const Vectors,

            fn work(job: *const @This(), part: u32, parts: u32) void {
                const from, const to = wordsOf(job.out.words, part, parts);
                const target = job.out.row(0);
                job.kernels.count_signs(job.counters.counts.ptr, job.options.threshold, target, job.out.words, from, to);
                fillTies(job.kernels, job.options, job.out, 0, from, to);
            }
        };
        const job: Job = .{ .kernels = kernels, .counters = self, .options = options, .out = out };
        parallel.run(self.counts.len * 4, self.words / table.block_words, &job, Job.work);
    }

    /// The cosine of the angle between the counts and a vector; 0 where one has only zeros.
    pub fn cosine(self: *Counters, kernels: *const table.Kernels, query: table.Vector) f64 {
        const squares = self.squares orelse blk: {
            var halves: [2]u64 = undefined;
            kernels.count_squares(self.counts.ptr, self.counts.len, &halves);
            const value: f64 = @floatFromInt((@as(u128, halves[1]) << 32) + halves[0]);
            self.squares = value;
            break :blk value;
        };
        const nonzero: f64 = @floatFromInt(kernels.ones(query, self.words));
        if (squares == 0 or nonzero == 0) return 0;
        return @as(f64, @floatFromInt(kernels.count_dot(self.counts.ptr, query, self.words))) / @sqrt(squares * nonzero);
    }
};
