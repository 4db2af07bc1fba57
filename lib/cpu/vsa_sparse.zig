//! Trits of hypervectors by the places at which they are not 0, in two lists: those of +1 and of -1.
//!
//!   write   2 stores a place, after zeros            read   one pass over both planes
//!   meet    2 loads a place; lists that rise touch each cache line of a plane once

const std = @import("std");
const abi = @import("../abi.zig");
const parallel = @import("parallel.zig");
const table = @import("vsa_table.zig");
const threads = @import("threads.zig");
const vsa = @import("vsa_vectors.zig");

const Vectors = vsa.Vectors;

/// Places of +1 and of -1.
pub const Lists = struct {
    positive: []const u32,
    negative: []const u32,

    fn count(self: Lists) usize {
        return self.positive.len + self.negative.len;
    }

    /// All places lie below `dim`.
    pub fn expectBelow(self: Lists, dim: u32) abi.Failure!void {
        for ([_][]const u32{ self.positive, self.negative }) |places| for (places, 0..) |place, index| if (place >= dim)
            return abi.fail(error.InvalidValue, "Expected places below {d}, got {d} at index {d}", .{ dim, place, index });
    }
};

fn bitOf(plane: table.Vector, place: u32) u64 {
    return plane[place / 64] >> @intCast(place % 64) & 1;
}

/// Trits of a row; others become 0. Places lie below the vector's dimensions. Returns a place that both
/// lists name, where there is one; then the row holds nothing of use.
pub fn write(vectors: *const Vectors, row: usize, lists: Lists) ?u32 {
    const words = vectors.words;
    const nonzero = vectors.row(row);
    const negative = nonzero + words;
    @memset(nonzero[0 .. 2 * words], 0);
    for (lists.positive) |place| nonzero[place / 64] |= @as(u64, 1) << @intCast(place % 64);
    for (lists.negative) |place| {
        const bit = @as(u64, 1) << @intCast(place % 64);
        const word = &nonzero[place / 64];
        if (word.* & bit != 0 and negative[place / 64] & bit == 0) return place;
        word.* |= bit;
        negative[place / 64] |= bit;
    }
    return null;
}

/// Places of a row's trits, rising. Returns how many there are; those that do not fit are left out.
pub fn read(vectors: *const Vectors, row: usize, positive: []u32, negative: []u32) [2]usize {
    const words = vectors.words;
    const planes = vectors.row(row);
    var counts: [2]usize = .{ 0, 0 };
    for (0..words) |word| {
        const minus = planes[words + word];
        const parts = [_]u64{ planes[word] & ~minus, minus };
        for (parts, [_][]u32{ positive, negative }, &counts) |part, places, *count| {
            var rest = part;
            while (rest != 0) : (rest &= rest - 1) {
                if (count.* < places.len) places[count.*] = @intCast(word * 64 + @ctz(rest));
                count.* += 1;
            }
        }
    }
    return counts;
}

/// What a row has at the places; nonzero_a counts the lists, nonzero_b, where it is needed, the row.
fn meet(vectors: *const Vectors, row: usize, lists: Lists) table.Counts {
    const nonzero: table.Vector = vectors.row(row);
    const negative: table.Vector = @alignCast(nonzero + vectors.words);
    var common: u64 = 0;
    var opposite: u64 = 0;
    for (lists.positive) |place| {
        common += bitOf(nonzero, place);
        opposite += bitOf(negative, place);
    }
    for (lists.negative) |place| {
        const found = bitOf(nonzero, place);
        common += found;
        opposite += found & ~bitOf(negative, place);
    }
    return .{ .common = common, .opposite = opposite, .nonzero_a = lists.count(), .nonzero_b = 0 };
}

/// The similarity of the lists' vector to every row; places lie below the vectors' dimensions.
pub fn similarities(kernels: *const table.Kernels, metric: vsa.Metric, lists: Lists, vectors: *const Vectors, scores: []f64) void {
    const Job = struct {
        kernels: *const table.Kernels,
        metric: vsa.Metric,
        lists: Lists,
        vectors: *const Vectors,
        scores: []f64,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.scores.len, part, parts);
            for (self.scores[from..to], from..) |*score, row| {
                var counts = meet(self.vectors, row, self.lists);
                // A pass over the whole row, which these two do without.
                if (self.metric != .dot and self.metric != .overlap)
                    counts.nonzero_b = self.kernels.ones(self.vectors.row(row), self.vectors.words);
                score.* = vsa.scoreOf(self.metric, counts, self.vectors.dim);
            }
        }
    };
    const job: Job = .{ .kernels = kernels, .metric = metric, .lists = lists, .vectors = vectors, .scores = scores };
    // Each place costs about as much as streaming a cache line does.
    parallel.run(scores.len * (lists.count() * 16 + vectors.words * 8), scores.len, &job, Job.work);
}
