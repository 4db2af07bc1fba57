//! Some rows with some queries: one sum for each pair, and scores from the sums.
//!
//!     dot       |a.nonzero & b.nonzero| - 2 |a.nonzero & b.nonzero & (a.negative ^ b.negative)|
//!     distance  |(a.nonzero ^ b.nonzero) | (a.negative ^ b.negative)|
//!     common    |a.nonzero & b.nonzero|
//!
//! A tile of 2 rows and 4 queries keeps its counts in registers, so that each block that is loaded
//! serves several pairs. Floor: for 512 pairs of trits 6 instructions (distance 4, common 3), two of
//! which Zen 4 issues in a cycle.

const simd = @import("simd.zig");
const table = @import("vsa_table.zig");
const bits = @import("vsa_bits.zig");
const counter = @import("vsa_counter.zig");

const Block = bits.Block;
const Count = counter.Count;
const Sums = @Vector(table.block_words, i64);
const Kind = enum { dot, distance, common };

// With half as many and narrower registers the counts of more pairs would be kept in memory.
const tile_rows = if (simd.has_avx512) 2 else 1;
const tile_queries = if (simd.has_avx512) 4 else 2;

inline fn at(plane: table.Vector, i: usize) Block {
    return bits.load(@alignCast(plane + i));
}

fn kernelOf(comptime kind: Kind) fn (*const table.Scan) callconv(.c) void {
    return struct {
        fn run(scan: *const table.Scan) callconv(.c) void {
            var query: usize = 0;
            while (query + tile_queries <= scan.query_count) : (query += tile_queries) withQueries(kind, tile_queries, scan, query);
            while (query < scan.query_count) : (query += 1) withQueries(kind, 1, scan, query);
        }
    }.run;
}

inline fn withQueries(comptime kind: Kind, comptime queries: usize, scan: *const table.Scan, query: usize) void {
    var row: usize = 0;
    while (row + tile_rows <= scan.row_count) : (row += tile_rows) tile(kind, tile_rows, queries, scan, row, query);
    while (row < scan.row_count) : (row += 1) tile(kind, 1, queries, scan, row, query);
}

fn tile(comptime kind: Kind, comptime rows: usize, comptime queries: usize, scan: *const table.Scan, row: usize, query: usize) void {
    const words = scan.words;
    var x: [rows]table.Vector = undefined;
    inline for (&x, 0..) |*pointer, r| pointer.* = @alignCast(scan.rows.first + (row + r) * scan.rows.stride);
    var y: [queries]table.Vector = undefined;
    inline for (&y, 0..) |*pointer, q| pointer.* = @alignCast(scan.queries.first + (query + q) * scan.queries.stride);

    var sums: [queries][rows]Sums = @splat(@splat(@splat(0)));
    var i = scan.from;
    while (i < scan.to) {
        const end = i + @min(scan.to - i, counter.blocks_max * table.block_words);
        var first: [queries][rows]Count = @splat(@splat(counter.none));
        var second: [queries][rows]Count = @splat(@splat(counter.none));
        while (i < end) : (i += table.block_words) {
            var nonzero: [rows]Block = undefined;
            var negative: [rows]Block = undefined;
            inline for (0..rows) |r| {
                nonzero[r] = at(x[r], i);
                if (kind != .common) negative[r] = at(x[r], words + i);
            }
            inline for (0..queries) |q| {
                const query_nonzero = at(y[q], i);
                const query_negative = if (kind != .common) at(y[q], words + i);
                inline for (0..rows) |r| switch (kind) {
                    .dot => {
                        const both = nonzero[r] & query_nonzero;
                        first[q][r] += counter.ones(both);
                        second[q][r] += counter.ones(bits.andXor(both, negative[r], query_negative));
                    },
                    .distance => first[q][r] += counter.ones(bits.orXor(nonzero[r] ^ query_nonzero, negative[r], query_negative)),
                    .common => first[q][r] += counter.ones(nonzero[r] & query_nonzero),
                };
            }
        }
        inline for (0..queries) |q| inline for (0..rows) |r| {
            sums[q][r] += @as(Sums, @bitCast(counter.lanesOf(first[q][r])));
            if (kind == .dot) sums[q][r] -= @as(Sums, @bitCast(counter.lanesOf(second[q][r]))) << @splat(1);
        };
    }
    inline for (0..queries) |q| inline for (0..rows) |r| {
        const target = &scan.sums[(query + q) * scan.sums_stride + row + r];
        const sum = @reduce(.Add, sums[q][r]);
        target.* = if (scan.from == 0) sum else target.* + sum;
    };
}

pub const dot = kernelOf(.dot);
pub const distance = kernelOf(.distance);
pub const common = kernelOf(.common);

const F64 = @Vector(8, f64);

/// The same operations, in the same order, as vsa_vectors.scoreOf.
pub fn scores(job: *const table.Scores) callconv(.c) void {
    const dim: F64 = @splat(@floatFromInt(job.dim));
    const of_query: F64 = @splat(job.query_nonzeros);
    const zeros: F64 = @splat(0);
    var i: usize = 0;
    while (i < job.count) : (i += 8) {
        const sum: F64 = @floatFromInt(@as(Sums, job.sums[i..][0..8].*));
        const of_row: F64 = job.row_nonzeros[i..][0..8].*;
        const score: F64 = switch (job.metric) {
            .dot, .hamming, .overlap => sum,
            .cosine => blk: {
                const product = of_row * of_query;
                break :blk @select(f64, product == zeros, zeros, sum / @sqrt(product));
            },
            .hamming_similarity => @as(F64, @splat(1)) - sum / dim,
            .jaccard => blk: {
                const either = of_row + of_query - sum;
                break :blk @select(f64, either == zeros, zeros, sum / either);
            },
        };
        job.scores[i..][0..8].* = score;
    }
}
