//! A classifier's centroids: one sum of samples for each class, compared by cosine.
//!
//! Samples are trits, or counts scaled to the length of a vector without zeros (sqrt dim). Results do
//! not depend on the number of threads: a dot product is never cut, and a class's samples are added in
//! their order.

const std = @import("std");
const abi = @import("../abi.zig");
const memory = @import("../memory.zig");
const encoders = @import("vsa_encoders_table.zig");
const parallel = @import("parallel.zig");
const table = @import("vsa_table.zig");
const threads = @import("threads.zig");
const vsa = @import("vsa_vectors.zig");

/// No sample adds more than this times its trits, and an f32 of 2^76 no longer changes when that much
/// is added: nothing a classifier learns is ever infinite.
pub const rate_max = 1 << 20;
/// The largest value that a loaded centroid may have.
pub const value_max = 0x1p80;

pub const classes_max = 1 << 24;
pub const none = std.math.maxInt(u32);

pub const Centroids = struct {
    classes: u32,
    dim: u32,
    words: usize,
    values: []align(memory.alignment) f32,
    /// Sum of squares of each class; 0 where nothing has been learnt.
    squares: []align(memory.alignment) f64,

    pub fn create(dim: u32, classes: u32) abi.Failure!*Centroids {
        if (dim == 0 or dim > vsa.dim_max)
            return abi.fail(error.InvalidShape, "Expected from 1 to {d} dimensions, got {d}", .{ vsa.dim_max, dim });
        if (classes == 0 or classes > classes_max)
            return abi.fail(error.InvalidShape, "Expected from 1 to {d} classes, got {d}", .{ classes_max, classes });
        const words = table.wordsOf(dim);
        const self = try std.heap.c_allocator.create(Centroids);
        errdefer std.heap.c_allocator.destroy(self);
        const values = try memory.allocZeroed(f32, @as(u64, classes) * 64 * words);
        errdefer memory.freeZeroed(f32, values);
        const squares = try memory.allocZeroed(f64, classes);
        self.* = .{ .classes = classes, .dim = dim, .words = words, .values = values, .squares = squares };
        return self;
    }

    pub fn destroy(self: *Centroids) void {
        memory.freeZeroed(f32, self.values);
        memory.freeZeroed(f64, self.squares);
        std.heap.c_allocator.destroy(self);
    }

    pub fn of(self: *const Centroids, class: usize) encoders.CentroidTarget {
        return @alignCast(self.values.ptr + class * 64 * self.words);
    }

    /// Copies the classes of another of the same dimensions and at most as many classes.
    pub fn copyFrom(self: *Centroids, source: *const Centroids) void {
        @memcpy(self.values[0..source.values.len], source.values);
        @memcpy(self.squares[0..source.squares.len], source.squares);
    }

    pub fn measure(self: *Centroids, kernels: *const table.Kernels, class: usize) void {
        self.squares[class] = kernels.encoders.squares(self.of(class), self.dim);
    }
};

/// Rows to learn from or to classify.
pub const Samples = union(enum) {
    trits: *const vsa.Vectors,
    /// Rows of as many counts as there are dimensions.
    counts: []const i32,

    fn rowCounts(counts: []const i32, dim: u32, row: usize) [*]const i32 {
        return counts.ptr + row * dim;
    }

    fn dot(self: Samples, kernels: *const table.Kernels, centroids: *const Centroids, class: usize, row: usize) f64 {
        const centroid = centroids.of(class);
        return switch (self) {
            .trits => |vectors| kernels.encoders.dot(centroid, vectors.row(row), centroids.words),
            .counts => |counts| kernels.encoders.dot_counts(centroid, rowCounts(counts, centroids.dim, row), centroids.dim),
        };
    }

    fn squares(self: Samples, kernels: *const table.Kernels, dim: u32, row: usize) f64 {
        return switch (self) {
            .trits => |vectors| @floatFromInt(kernels.ones(vectors.row(row), vectors.words)),
            .counts => |counts| kernels.encoders.squares_counts(rowCounts(counts, dim, row), dim),
        };
    }

    fn addTo(self: Samples, kernels: *const table.Kernels, centroids: *Centroids, class: usize, row: usize, weight: f64) void {
        const target = centroids.of(class);
        switch (self) {
            .trits => |vectors| kernels.encoders.add(target, vectors.row(row), centroids.words, @floatCast(weight)),
            .counts => |counts| {
                const values = rowCounts(counts, centroids.dim, row);
                const length = @sqrt(kernels.encoders.squares_counts(values, centroids.dim));
                if (length == 0) return;
                const scaled = weight * @sqrt(@as(f64, @floatFromInt(centroids.dim))) / length;
                kernels.encoders.add_counts(target, values, centroids.dim, @floatCast(scaled));
            },
        }
    }
};

/// The cosine; 0 where one of them has only zeros.
fn cosine(product: f64, squares_a: f64, squares_b: f64) f64 {
    if (squares_a == 0 or squares_b == 0) return 0;
    // Rounding could take it beyond its bounds.
    return std.math.clamp(product / @sqrt(squares_a * squares_b), -1, 1);
}

/// scores[row * classes + class], of the first `classes` classes.
pub fn score(kernels: *const table.Kernels, centroids: *const Centroids, samples: Samples, classes: u32, scores: []f64) void {
    const Job = struct {
        kernels: *const table.Kernels,
        centroids: *const Centroids,
        samples: Samples,
        classes: u32,
        scores: []f64,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.scores.len, part, parts);
            var row: usize = none;
            var squares: f64 = 0;
            for (from..to) |index| {
                const class = index % self.classes;
                if (index / self.classes != row) {
                    row = index / self.classes;
                    squares = self.samples.squares(self.kernels, self.centroids.dim, row);
                }
                const known = self.centroids.squares[class];
                const product = if (known == 0) 0 else self.samples.dot(self.kernels, self.centroids, class, row);
                self.scores[index] = cosine(product, known, squares);
            }
        }
    };
    const job: Job = .{ .kernels = kernels, .centroids = centroids, .samples = samples, .classes = classes, .scores = scores };
    parallel.run(scores.len * centroids.words * 64 * @sizeOf(f32), scores.len, &job, Job.work);
}

/// The class of the highest score, the first of several, among those that have learnt something; `none`
/// where none has.
pub fn best(centroids: *const Centroids, scores: []const f64) u32 {
    var found: u32 = none;
    for (scores, 0..) |value, class| {
        if (centroids.squares[class] == 0) continue;
        if (found == none or value > scores[found]) found = @intCast(class);
    }
    return found;
}

/// A row of samples and the class it belongs to.
pub const Visit = extern struct { row: u32, class: u32 };

pub const Rule = enum(u32) {
    /// Every sample is added to its class.
    centroid,
    /// A sample that is taken for another class is added to its own and taken off the other.
    perceptron,
    /// The same, each weighted by 1 - the similarity to that class.
    online,
    /// As `online`, but every sample is added to its own class.
    online_first,
};

/// Learns from samples in the order of visits; returns how many were classified wrongly before they were
/// learnt, 0 with the rule `centroid`, which does not look. `scores` is room for one score a class.
pub fn train(
    kernels: *const table.Kernels,
    centroids: *Centroids,
    samples: Samples,
    visits: []const Visit,
    rule: Rule,
    rate: f64,
    scores: []f64,
) abi.Failure!u32 {
    if (rule == .centroid) {
        addAll(kernels, centroids, samples, visits, rate);
        return 0;
    }
    var errors: u32 = 0;
    for (visits) |visit| {
        const row, const label = .{ visit.row, visit.class };
        scoreRow(kernels, centroids, samples, row, scores);
        const predicted = best(centroids, scores);
        const wrong = predicted != label;
        errors += @intFromBool(wrong);
        if (wrong or rule == .online_first) {
            const weight = if (rule == .perceptron) rate else rate * (1 - scores[label]);
            samples.addTo(kernels, centroids, label, row, weight);
            centroids.measure(kernels, label);
        }
        if (wrong and predicted != none) {
            const weight = if (rule == .perceptron) rate else rate * (1 - scores[predicted]);
            samples.addTo(kernels, centroids, predicted, row, -weight);
            centroids.measure(kernels, predicted);
        }
    }
    return errors;
}

fn scoreRow(kernels: *const table.Kernels, centroids: *const Centroids, samples: Samples, row: usize, scores: []f64) void {
    const Job = struct {
        kernels: *const table.Kernels,
        centroids: *const Centroids,
        samples: Samples,
        row: usize,
        squares: f64,
        scores: []f64,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.scores.len, part, parts);
            for (self.scores[from..to], from..) |*result, class| {
                const known = self.centroids.squares[class];
                const product = if (known == 0) 0 else self.samples.dot(self.kernels, self.centroids, class, self.row);
                result.* = cosine(product, known, self.squares);
            }
        }
    };
    const squares = samples.squares(kernels, centroids.dim, row);
    const job: Job = .{ .kernels = kernels, .centroids = centroids, .samples = samples, .row = row, .squares = squares, .scores = scores };
    parallel.run(scores.len * centroids.words * 64 * @sizeOf(f32), scores.len, &job, Job.work);
}

/// No sum of squares.
const unknown = -1;

fn addAll(kernels: *const table.Kernels, centroids: *Centroids, samples: Samples, visits: []const Visit, rate: f64) void {
    const Job = struct {
        kernels: *const table.Kernels,
        centroids: *Centroids,
        samples: Samples,
        visits: []const Visit,
        rate: f64,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.centroids.classes, part, parts);
            for (self.visits) |visit| {
                if (visit.class < from or visit.class >= to) continue;
                self.samples.addTo(self.kernels, self.centroids, visit.class, visit.row, self.rate);
                self.centroids.squares[visit.class] = unknown;
            }
            for (self.visits) |visit| {
                if (visit.class < from or visit.class >= to) continue;
                if (self.centroids.squares[visit.class] == unknown) self.centroids.measure(self.kernels, visit.class);
            }
        }
    };
    const job: Job = .{ .kernels = kernels, .centroids = centroids, .samples = samples, .visits = visits, .rate = rate };
    parallel.run(visits.len * centroids.words * 64 * @sizeOf(f32), centroids.classes, &job, Job.work);
}
