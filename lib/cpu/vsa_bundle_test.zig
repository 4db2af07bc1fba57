const std = @import("std");
const testing = std.testing;
const dispatch = @import("dispatch.zig");
const memory = @import("../memory.zig");
const table = @import("vsa_table.zig");

const Trits = []align(memory.alignment) u64;

/// Vectors of random trits with zeros from `dim` on.
fn randomVectors(random: std.Random, data: Trits, dim: usize, words: usize) void {
    @memset(data, 0);
    for (0..data.len / (2 * words)) |vector| for (0..dim) |i| {
        const trit = random.intRangeAtMost(i8, -1, 1);
        const row = data[vector * 2 * words ..];
        const bit = @as(u64, 1) << @intCast(i % 64);
        if (trit != 0) row[i / 64] |= bit;
        if (trit < 0) row[words + i / 64] |= bit;
    };
}

fn tritOf(vector: [*]const u64, words: usize, i: usize) i64 {
    const bit: u6 = @intCast(i % 64);
    const nonzero: i64 = @intCast(vector[i / 64] >> bit & 1);
    const negative: i64 = @intCast(vector[words + i / 64] >> bit & 1);
    return nonzero - 2 * negative;
}

/// Runs a check with the kernels of every tier that this machine has.
fn onEveryTier(check: *const fn (kernels: *const table.Kernels) anyerror!void) !void {
    for (dispatch.tiers) |tier| if (tier.isSupported()) try check(&tier.kernels.vsa);
}

const dims = [_]u32{ 1, 65, 512, 1000 };
const counts_of_vectors = [_]usize{ 1, 2, 3, 4, 5, 7, 8, 11, 15, 16, 17, 31, 33, 64, 100, 112, 113, 250, 500 };
const most = 500;

const Fixture = struct {
    words: usize,
    vectors: Trits,
    list: [most]table.Vector,
    out: Trits,

    fn init(random: std.Random, dim: u32) !Fixture {
        const words = table.wordsOf(dim);
        var self: Fixture = .{
            .words = words,
            .vectors = try memory.alloc(u64, most * 2 * words),
            .list = undefined,
            .out = try memory.alloc(u64, 2 * words),
        };
        randomVectors(random, self.vectors, dim, words);
        // In an order of its own, so that a list is not the rows.
        for (&self.list, 0..) |*vector, i| vector.* = self.row(i * 7 % most);
        return self;
    }

    fn deinit(self: *const Fixture) void {
        memory.free(u64, self.vectors);
        memory.free(u64, self.out);
    }

    fn row(self: *const Fixture, index: usize) table.Vector {
        return @alignCast(self.vectors.ptr + index * 2 * self.words);
    }

    fn sources(self: *const Fixture, listed: bool, count: usize) table.Sources {
        return .{ .list = if (listed) &self.list else null, .first = self.row(0), .stride = 2 * self.words, .count = count };
    }
};

test "bundles are the signs of scalar sums on every tier" {
    try onEveryTier(struct {
        fn check(kernels: *const table.Kernels) !void {
            var prng = std.Random.DefaultPrng.init(1);
            var weights: [most]f32 = undefined;
            for (&weights, 0..) |*weight, i| weight.* = @as(f32, @floatFromInt(i % 5)) - 1.5;
            for (dims) |dim| {
                const fixture: Fixture = try .init(prng.random(), dim);
                defer fixture.deinit();
                for (counts_of_vectors) |count| for ([_]bool{ false, true }) |listed| {
                    const sources = fixture.sources(listed, count);
                    for ([_]u32{ 0, 1, 4 }) |threshold| for ([_]?[*]const f32{ null, &weights }) |factors| {
                        const first_ties = threshold == 0 and count % 2 == 0;
                        @memset(fixture.out, 0xaaaa_aaaa_aaaa_aaaa);
                        const job: table.Bundle = .{
                            .sources = sources,
                            .weights = factors,
                            .words = fixture.words,
                            .threshold = threshold,
                            .first_ties = @intFromBool(first_ties),
                            .out = fixture.out.ptr,
                        };
                        kernels.bundle(&job, 0, table.block_words);
                        kernels.bundle(&job, table.block_words, fixture.words);
                        for (0..fixture.words * 64) |i| {
                            var sum: f64 = 0;
                            for (0..count) |k| {
                                const trit: f64 = @floatFromInt(tritOf(sources.at(k), fixture.words, i));
                                sum += if (factors) |factor| trit * factor[k] else trit;
                            }
                            var expected: i64 = 0;
                            if (@abs(sum) > @as(f64, @floatFromInt(threshold))) expected = if (sum > 0) 1 else -1;
                            if (sum == 0 and first_ties) expected = tritOf(sources.at(0), fixture.words, i);
                            try testing.expectEqual(expected, tritOf(fixture.out.ptr, fixture.words, i));
                        }
                    };
                };
            }
        }
    }.check);
}

test "ties are filled with ones or the same random trits on every tier, and padding stays" {
    const dim = 1000;
    const words = comptime table.wordsOf(dim);
    var first: [2 * words]u64 align(memory.alignment) = undefined;
    var known = false;
    for (dispatch.tiers) |tier| if (tier.isSupported()) {
        var start: [2 * words]u64 align(memory.alignment) = undefined;
        var prng = std.Random.DefaultPrng.init(2);
        randomVectors(prng.random(), &start, dim, words);
        for ([_]u32{ 0, 1 }) |with_random| {
            var filled: [2 * words]u64 align(memory.alignment) = start;
            tier.kernels.vsa.fill_ties(&filled, words, dim, 0, 8, 3, 4, with_random);
            tier.kernels.vsa.fill_ties(&filled, words, dim, 8, words, 3, 4, with_random);
            for (0..words * 64) |i| {
                const before = tritOf(&start, words, i);
                const after = tritOf(&filled, words, i);
                if (before != 0 or i >= dim) {
                    try testing.expectEqual(before, after);
                } else if (with_random == 0) {
                    try testing.expectEqual(1, after);
                } else {
                    try testing.expect(after != 0);
                }
            }
            if (with_random == 0) continue;
            if (!known) first = filled;
            known = true;
            try testing.expectEqualSlices(u64, &first, &filled);
        }
    };
}

test "folds of bindings are bindings one after the other on every tier" {
    try onEveryTier(struct {
        fn check(kernels: *const table.Kernels) !void {
            var prng = std.Random.DefaultPrng.init(3);
            for ([_]u32{ 65, 3000 }) |dim| {
                const fixture: Fixture = try .init(prng.random(), dim);
                defer fixture.deinit();
                const words = fixture.words;
                const expected = try memory.alloc(u64, 2 * words);
                defer memory.free(u64, expected);
                for ([_]table.Bind{ kernels.add, kernels.subtract, kernels.multiply }, 0..) |kernel, operation| {
                    for ([_]usize{ 1, 2, 9 }) |count| for ([_]bool{ false, true }) |listed| {
                        const sources = fixture.sources(listed, count);
                        @memcpy(expected, sources.at(0)[0 .. 2 * words]);
                        for (1..count) |k| kernel(
                            .{ .first = expected.ptr, .stride = 0 },
                            .{ .first = sources.at(k), .stride = 0 },
                            expected.ptr,
                            words,
                            1,
                        );
                        kernels.bind_many(&sources, @intCast(operation), fixture.out.ptr, words, 0, words);
                        try testing.expectEqualSlices(u64, expected, fixture.out);
                    };
                }
            }
        }
    }.check);
}

test "counts are scalar sums on every tier" {
    try onEveryTier(struct {
        fn check(kernels: *const table.Kernels) !void {
            var prng = std.Random.DefaultPrng.init(4);
            for (dims) |dim| {
                const fixture: Fixture = try .init(prng.random(), dim);
                defer fixture.deinit();
                const words = fixture.words;
                const counts = try memory.allocZeroed(i32, words * 64);
                defer memory.freeZeroed(i32, counts);
                const expected = try testing.allocator.alloc(i64, words * 64);
                defer testing.allocator.free(expected);
                @memset(expected, 0);
                for (counts_of_vectors, 0..) |count, turn| {
                    const weight: i32 = if (turn % 2 == 0) -3 else 100_000;
                    const sources = fixture.sources(turn % 3 == 0, count);
                    kernels.count(counts.ptr, &sources, words, 0, words, weight);
                    for (expected, 0..) |*sum, i| for (0..count) |k| {
                        sum.* += weight * tritOf(sources.at(k), words, i);
                    };
                    for (expected, counts) |sum, value| try testing.expectEqual(sum, value);
                }
                var dot: i64 = 0;
                var squares: u128 = 0;
                for (expected, 0..) |sum, i| {
                    dot += sum * tritOf(fixture.row(0), words, i);
                    squares += @intCast(@as(i128, sum) * sum);
                }
                try testing.expectEqual(dot, kernels.count_dot(counts.ptr, fixture.row(0), words));
                var halves: [2]u64 = undefined;
                kernels.count_squares(counts.ptr, counts.len, &halves);
                try testing.expectEqual(squares, (@as(u128, halves[1]) << 32) + halves[0]);
                for ([_]u32{ 0, 90_000, std.math.maxInt(u32) }) |threshold| {
                    kernels.count_signs(counts.ptr, threshold, fixture.out.ptr, words, 0, words);
                    for (expected, 0..) |sum, i| {
                        const sign: i64 = if (@abs(sum) > threshold) std.math.sign(sum) else 0;
                        try testing.expectEqual(sign, tritOf(fixture.out.ptr, words, i));
                    }
                }
            }
        }
    }.check);
}
