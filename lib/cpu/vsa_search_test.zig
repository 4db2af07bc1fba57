const std = @import("std");
const testing = std.testing;
const dispatch = @import("dispatch.zig");
const table = @import("vsa_table.zig");
const threads = @import("threads.zig");
const vsa = @import("vsa_vectors.zig");
const vsa_search = @import("vsa_search.zig");

const Vectors = vsa.Vectors;

/// Tiles and remainders of rows and queries, counters that overflow a byte, more queries than rows.
const shapes = [_]struct { rows: u32, queries: u32, dim: u32 }{
    .{ .rows = 1, .queries = 1, .dim = 1 },
    .{ .rows = 3, .queries = 5, .dim = 513 },
    .{ .rows = 70, .queries = 1, .dim = 1000 },
    .{ .rows = 131, .queries = 23, .dim = 65 },
    .{ .rows = 5, .queries = 37, .dim = 20_000 },
    .{ .rows = 9, .queries = 6, .dim = 300_000 },
    .{ .rows = 300, .queries = 20, .dim = 5000 },
};

fn expectBest(matrix: []const f64, queries: usize, query: usize, sign: f64, indices: []const u32, scores: []const f64) !void {
    for (indices, scores, 0..) |index, score, place| {
        try testing.expectEqual(matrix[index * queries + query], score);
        if (place == 0) continue;
        const before = scores[place - 1];
        try testing.expect(sign * before > sign * score or (before == score and indices[place - 1] < index));
    }
    // Every other row comes after the last.
    const last = indices.len - 1;
    var ahead: usize = 0;
    for (0..matrix.len / queries) |row| {
        const score = sign * matrix[row * queries + query];
        if (score > sign * scores[last] or (score == sign * scores[last] and row < indices[last])) ahead += 1;
    }
    try testing.expectEqual(last, ahead);
}

test "a matrix is its pairs, and the best rows are those of the matrix, on every tier" {
    const before = threads.getThreads();
    defer threads.setThreads(before) catch unreachable;
    for (dispatch.tiers) |tier| if (tier.isSupported()) for (shapes) |shape| for (std.enums.values(vsa.Metric)) |metric| {
        try threads.setThreads(if (shape.rows % 2 == 0) 3 else 1);
        const kernels = &tier.kernels.vsa;
        const rows = try Vectors.create(shape.rows, shape.dim);
        defer rows.destroy();
        const queries = try Vectors.create(shape.queries, shape.dim);
        defer queries.destroy();
        vsa.random(kernels, rows, 1, 1 << 30);
        vsa.random(kernels, queries, 2, null);
        // A query of zeros, whose scores are all the same.
        @memset(queries.row(0)[0 .. 2 * queries.words], 0);

        const search: vsa_search.Search = .{ .kernels = kernels, .metric = metric, .rows = rows, .row_count = shape.rows, .queries = queries };
        const matrix = try testing.allocator.alloc(f64, shape.rows * shape.queries);
        defer testing.allocator.free(matrix);
        try vsa_search.matrix(&search, matrix);
        for (matrix, 0..) |score, i| {
            const a, const b = .{ rows.row(i / shape.queries), queries.row(i % shape.queries) };
            try testing.expectEqual(vsa.similarity(kernels, metric, a, b, rows.words, shape.dim), score);
        }

        for ([_]u32{ 1, 3, shape.rows }) |wanted| {
            const k = @min(wanted, shape.rows);
            const indices = try testing.allocator.alloc(u32, k * shape.queries);
            defer testing.allocator.free(indices);
            const scores = try testing.allocator.alloc(f64, indices.len);
            defer testing.allocator.free(scores);
            try vsa_search.topK(&search, k, indices, scores);
            const sign: f64 = if (metric == .hamming) -1 else 1;
            for (0..shape.queries) |query|
                try expectBest(matrix, shape.queries, query, sign, indices[query * k ..][0..k], scores[query * k ..][0..k]);
        }
    };
}

test "sums of segments add up to those of the whole" {
    for (dispatch.tiers) |tier| if (tier.isSupported()) {
        const kernels = &tier.kernels.vsa;
        const vectors = try Vectors.create(7, 40_000);
        defer vectors.destroy();
        vsa.random(kernels, vectors, 3, 1 << 30);
        for ([_]@FieldType(table.Kernels, "scan_dot"){ kernels.scan_dot, kernels.scan_distance, kernels.scan_common }) |kernel| {
            var whole: [7 * 7]i64 = undefined;
            var cut: [7 * 7]i64 = undefined;
            var nonzeros: [2][7]f64 = @splat(@splat(0));
            var scan: table.Scan = .{
                .rows = .{ .first = vectors.row(0), .stride = 2 * vectors.words },
                .row_count = 7,
                .queries = .{ .first = vectors.row(0), .stride = 2 * vectors.words },
                .query_count = 7,
                .words = vectors.words,
                .from = 0,
                .to = vectors.words,
                .sums = &whole,
                .sums_stride = 7,
                .row_nonzeros = &nonzeros[0],
                .ahead = @ptrCast(vectors.row(0)),
                .ahead_lines = 1,
            };
            kernel(&scan);
            scan.sums = &cut;
            scan.row_nonzeros = &nonzeros[1];
            var from: usize = 0;
            while (from < vectors.words) : (from += 24) {
                scan.from = from;
                scan.to = @min(from + 24, vectors.words);
                kernel(&scan);
            }
            try testing.expectEqualSlices(i64, &whole, &cut);
            try testing.expectEqualSlices(f64, &nonzeros[0], &nonzeros[1]);
        }
    };
}
