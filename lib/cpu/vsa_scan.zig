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

const unroll = 4;

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
    // The first queries count the rows' nonzero trits along with theirs.
    if (kind != .distance and query == 0 and scan.row_nonzeros != null) return withRows(kind, queries, true, scan, query);
    withRows(kind, queries, false, scan, query);
}

inline fn withRows(comptime kind: Kind, comptime queries: usize, comptime counting: bool, scan: *const table.Scan, query: usize) void {
    var row: usize = 0;
    if (queries == 1) {
        const query_negatives = if (kind == .common) 0 else negativesOf(scan, query);
        while (row < scan.row_count) : (row += 1) pair(kind, counting, scan, row, query, query_negatives);
        return;
    }
    while (row + tile_rows <= scan.row_count) : (row += tile_rows) {
        fetchAhead(tile_rows, scan, row, query);
        tile(kind, tile_rows, queries, counting, scan, row, query);
    }
    while (row < scan.row_count) : (row += 1) tile(kind, 1, queries, counting, scan, row, query);
}

inline fn fetchAhead(rows: usize, scan: *const table.Scan, row: usize, query: usize) void {
    if (query % 4 != 0) return;
    const start = (query / 4 * scan.row_count + row) * scan.ahead_lines;
    for (start..start + rows * scan.ahead_lines) |line| @prefetch(scan.ahead + line * 64, .{ .locality = 2 });
}

fn tile(
    comptime kind: Kind,
    comptime rows: usize,
    comptime queries: usize,
    comptime counting: bool,
    scan: *const table.Scan,
    row: usize,
    query: usize,
) void {
    const words = scan.words;
    var x: [rows]table.Vector = undefined;
    inline for (&x, 0..) |*pointer, r| pointer.* = @alignCast(scan.rows.first + (row + r) * scan.rows.stride);
    var y: [queries]table.Vector = undefined;
    inline for (&y, 0..) |*pointer, q| pointer.* = @alignCast(scan.queries.first + (query + q) * scan.queries.stride);

    var sums: [rows][queries]Sums = @splat(@splat(@splat(0)));
    var row_sums: [rows]Sums = @splat(@splat(0));
    var i = scan.from;
    while (i < scan.to) {
        const end = i + @min(scan.to - i, counter.blocks_max * table.block_words);
        var firsts: [queries][rows]Count = @splat(@splat(counter.none));
        var seconds: [queries][rows]Count = @splat(@splat(counter.none));
        var of_rows: [rows]Count = @splat(counter.none);
        while (i < end) : (i += table.block_words) {
            var nonzero: [rows]Block = undefined;
            var negative: [rows]Block = undefined;
            inline for (0..rows) |r| {
                nonzero[r] = at(x[r], i);
                if (kind != .common) negative[r] = at(x[r], words + i);
                if (counting) of_rows[r] += counter.ones(nonzero[r]);
            }
            inline for (0..queries) |q| {
                const query_nonzero = at(y[q], i);
                const query_negative = if (kind != .common) at(y[q], words + i);
                inline for (0..rows) |r| switch (kind) {
                    .dot => {
                        const both = nonzero[r] & query_nonzero;
                        firsts[q][r] += counter.ones(both);
                        seconds[q][r] += counter.ones(bits.andXor(both, negative[r], query_negative));
                    },
                    .distance => firsts[q][r] += counter.ones(bits.orXor(nonzero[r] ^ query_nonzero, negative[r], query_negative)),
                    .common => firsts[q][r] += counter.ones(nonzero[r] & query_nonzero),
                };
            }
        }
        inline for (0..queries) |q| inline for (0..rows) |r| {
            sums[r][q] += @as(Sums, @bitCast(counter.lanesOf(firsts[q][r])));
            if (kind == .dot) sums[r][q] -= @as(Sums, @bitCast(counter.lanesOf(seconds[q][r]))) << @splat(1);
        };
        if (counting) inline for (0..rows) |r| {
            row_sums[r] += @as(Sums, @bitCast(counter.lanesOf(of_rows[r])));
        };
    }
    const totals = totalsOf(rows * queries, @bitCast(sums));
    inline for (0..rows) |r| {
        const target: *align(8) @Vector(queries, i64) = @ptrCast(scan.sums + (row + r) * scan.sums_stride + query);
        const of_row: @Vector(queries, i64) = totals[r * queries ..][0..queries].*;
        target.* = if (scan.from == 0) of_row else target.* + of_row;
    }
    if (counting) inline for (0..rows) |r| {
        const target = &scan.row_nonzeros.?[row + r];
        const sum: f64 = @floatFromInt(@reduce(.Add, row_sums[r]));
        target.* = if (scan.from == 0) sum else target.* + sum;
    };
}

/// One row and one query, for which memory is the limit: one plane of the row after the other, so that
/// rows are read from front to back. With a = (m, n), b = (k, l) and everything counted
///
///     dot       |k & (m ^ l)| - 2 |k & (n ^ l)| + |l|
///     distance  |m ^ k| + |m & l| + |k & (n ^ l)| - |l|
fn pair(comptime kind: Kind, comptime counting: bool, scan: *const table.Scan, row: usize, query: usize, query_negatives: i64) void {
    const words = scan.words;
    const x: table.Vector = @alignCast(scan.rows.first + row * scan.rows.stride);
    const y: table.Vector = @alignCast(scan.queries.first + query * scan.queries.stride);
    var sums: Sums = @splat(0);
    var row_sums: Sums = @splat(0);
    var i = scan.from;
    while (i < scan.to) {
        const end = i + @min(scan.to - i, counter.blocks_max / 2 * table.block_words);
        var count: Count = counter.none;
        var of_row: Count = counter.none;
        while (i + unroll * table.block_words <= end) : (i += unroll * table.block_words) {
            inline for (0..unroll) |step| first(kind, counting, x, y, words, i + step * table.block_words, &count, &of_row);
        }
        while (i < end) : (i += table.block_words) first(kind, counting, x, y, words, i, &count, &of_row);
        sums += @as(Sums, @bitCast(counter.lanesOf(count)));
        if (counting) row_sums += @as(Sums, @bitCast(counter.lanesOf(of_row)));
    }
    if (kind != .common) {
        i = scan.from;
        while (i < scan.to) {
            const end = i + @min(scan.to - i, counter.blocks_max * table.block_words);
            var count: Count = counter.none;
            while (i + unroll * table.block_words <= end) : (i += unroll * table.block_words) {
                inline for (0..unroll) |step| count += second(x, y, words, i + step * table.block_words);
            }
            while (i < end) : (i += table.block_words) count += second(x, y, words, i);
            const lanes: Sums = @bitCast(counter.lanesOf(count));
            sums = if (kind == .dot) sums - (lanes << @splat(1)) else sums + lanes;
        }
    }
    const negatives = if (kind == .dot) query_negatives else if (kind == .distance) -query_negatives else 0;
    const sum = @reduce(.Add, sums) + negatives;
    const target = &scan.sums[row * scan.sums_stride + query];
    target.* = if (scan.from == 0) sum else target.* + sum;
    if (counting) {
        const of_row: f64 = @floatFromInt(@reduce(.Add, row_sums));
        const place = &scan.row_nonzeros.?[row];
        place.* = if (scan.from == 0) of_row else place.* + of_row;
    }
}

/// What a block of the first plane adds.
inline fn first(
    comptime kind: Kind,
    comptime counting: bool,
    x: table.Vector,
    y: table.Vector,
    words: usize,
    i: usize,
    count: *Count,
    of_row: *Count,
) void {
    const nonzero = at(x, i);
    const query_nonzero = at(y, i);
    if (counting) of_row.* += counter.ones(nonzero);
    count.* += switch (kind) {
        .dot => counter.ones(bits.andXor(query_nonzero, nonzero, at(y, words + i))),
        .distance => counter.ones(nonzero ^ query_nonzero) + counter.ones(nonzero & at(y, words + i)),
        .common => counter.ones(nonzero & query_nonzero),
    };
}

/// What a block of the second plane adds.
inline fn second(x: table.Vector, y: table.Vector, words: usize, i: usize) Count {
    return counter.ones(bits.andXor(at(y, i), at(x, words + i), at(y, words + i)));
}

fn negativesOf(scan: *const table.Scan, query: usize) i64 {
    const y: table.Vector = @alignCast(scan.queries.first + query * scan.queries.stride + scan.words);
    var count: Block = bits.none;
    var i = scan.from;
    while (i < scan.to) : (i += table.block_words) count += @popCount(at(y, i));
    return @intCast(@reduce(.Add, count));
}

pub const dot = kernelOf(.dot);
pub const distance = kernelOf(.distance);
pub const common = kernelOf(.common);

/// The sums of the lanes of each vector. Eight at once take three steps that each halve their number.
inline fn totalsOf(comptime n: usize, sums: [n]Sums) [n]i64 {
    if (n != 8) {
        var totals: [n]i64 = undefined;
        inline for (&totals, sums) |*total, sum| total.* = @reduce(.Add, sum);
        return totals;
    }
    var pairs: [4]Sums = undefined;
    inline for (&pairs, 0..) |*result, i| result.* =
        @shuffle(i64, sums[2 * i], sums[2 * i + 1], [8]i32{ 0, -1, 2, -3, 4, -5, 6, -7 }) +
        @shuffle(i64, sums[2 * i], sums[2 * i + 1], [8]i32{ 1, -2, 3, -4, 5, -6, 7, -8 });
    var fours: [2]Sums = undefined;
    inline for (&fours, 0..) |*result, i| result.* =
        @shuffle(i64, pairs[2 * i], pairs[2 * i + 1], [8]i32{ 0, 1, -1, -2, 4, 5, -5, -6 }) +
        @shuffle(i64, pairs[2 * i], pairs[2 * i + 1], [8]i32{ 2, 3, -3, -4, 6, 7, -7, -8 });
    return @shuffle(i64, fours[0], fours[1], [8]i32{ 0, 1, 2, 3, -1, -2, -3, -4 }) +
        @shuffle(i64, fours[0], fours[1], [8]i32{ 4, 5, 6, 7, -5, -6, -7, -8 });
}

const F64 = @Vector(8, f64);

/// The same operations, in the same order, as vsa_vectors.scoreOf.
pub fn scores(job: *const table.Scores) callconv(.c) void {
    switch (job.metric) {
        inline else => |metric| for (0..job.count) |i| {
            job.above[i] = scoresOf(metric, job, i);
        },
    }
}

inline fn scoresOf(comptime metric: table.Metric, job: *const table.Scores, i: usize) u64 {
    const zeros: F64 = @splat(0);
    const nonzeros: F64 = @splat(job.nonzeros[i]);
    var above: u64 = 0;
    var j: usize = 0;
    while (j < job.inner_count) : (j += 8) {
        const place = i * job.stride + j;
        const sum: F64 = @floatFromInt(@as(Sums, job.sums[place..][0..8].*));
        const inner: F64 = job.inner_nonzeros[j..][0..8].*;
        const score: F64 = switch (metric) {
            .dot, .hamming, .overlap => sum,
            .cosine => blk: {
                const product = inner * nonzeros;
                break :blk @select(f64, product == zeros, zeros, sum / @sqrt(product));
            },
            .hamming_similarity => @as(F64, @splat(1)) - sum / @as(F64, @splat(@floatFromInt(job.dim))),
            .jaccard => blk: {
                const either = inner + nonzeros - sum;
                break :blk @select(f64, either == zeros, zeros, sum / either);
            },
        } * @as(F64, @splat(job.sign));
        job.scores[place..][0..8].* = score;
        const is_above: u8 = @bitCast(score > @as(F64, job.inner_least[j..][0..8].*));
        above |= @as(u64, is_above) << @intCast(j);
    }
    const rest: u6 = @intCast(64 - job.inner_count);
    return above << rest >> rest;
}
