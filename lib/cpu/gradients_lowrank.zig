//! Products of a matrix with a few thin ones: M Q, transposed(M) P and P transposed(Q).
//!
//!     M   [rows][columns]        P   [rank][rows]        Q   [rank][columns]
//!
//! Thin matrices lie column by column, so that all inner loops run along memory. Sums have one order
//! on every tier: 16 lanes along a row for M Q, the rows in order for transposed(M) P, the ranks in
//! order for P transposed(Q).
//!
//! Floor: M is read once for every four ranks; four products and sums for each of its values.

const vector16 = @import("vector16.zig");

const V = vector16.V;

/// Ranks that one pass over M serves.
const group = 4;

inline fn part(pointer: [*]const f32, rest: usize) V {
    return if (rest >= 16) pointer[0..16].* else vector16.loadPart(pointer, rest, 0);
}

/// out[k * stride] = the product of a row with rank k of Q.
pub fn dots(row: [*]const f32, q: [*]const f32, columns: usize, rank: usize, out: [*]f32, stride: usize) callconv(.c) void {
    var k: usize = 0;
    while (k + group <= rank) : (k += group) dotsOf(group, row, q + k * columns, columns, out + k * stride, stride);
    while (k < rank) : (k += 1) dotsOf(1, row, q + k * columns, columns, out + k * stride, stride);
}

inline fn dotsOf(comptime count: usize, row: [*]const f32, q: [*]const f32, columns: usize, out: [*]f32, stride: usize) void {
    var sums: [count]V = @splat(@splat(0));
    var j: usize = 0;
    while (j < columns) : (j += 16) {
        const values = part(row + j, columns - j);
        inline for (&sums, 0..) |*sum, k| sum.* += values * part(q + k * columns + j, columns - j);
    }
    inline for (sums, 0..) |sum, k| out[k * stride] = vector16.sum(sum);
}

/// Columns whose sums stay in the first cache.
const strip = 512;

/// out[k][j] = the sum over the rows, in order, of M[i][j] P[k][i], for the columns from `from` to `to`.
pub fn transposed(m: [*]const f32, rows: usize, columns: usize, from: usize, to: usize, p: [*]const f32, rank: usize, out: [*]f32) callconv(.c) void {
    var start = from;
    while (start < to) : (start += strip) {
        const width = @min(strip, to - start);
        for (0..rank) |k| @memset(out[k * columns + start ..][0..width], 0);
        var i: usize = 0;
        while (i + group <= rows) : (i += group) addRows(group, m + i * columns + start, columns, width, p + i, rows, rank, out + start);
        while (i < rows) : (i += 1) addRows(1, m + i * columns + start, columns, width, p + i, rows, rank, out + start);
    }
}

inline fn addRows(comptime count: usize, m: [*]const f32, columns: usize, width: usize, p: [*]const f32, rows: usize, rank: usize, out: [*]f32) void {
    for (0..rank) |k| {
        const target = out + k * columns;
        var factors: [count]V = undefined;
        inline for (&factors, 0..) |*factor, i| factor.* = @splat(p[k * rows + i]);
        var j: usize = 0;
        while (j + 16 <= width) : (j += 16) {
            var sum: V = target[j..][0..16].*;
            inline for (factors, 0..) |factor, i| sum += factor * @as(V, m[i * columns + j ..][0..16].*);
            target[j..][0..16].* = sum;
        }
        while (j < width) : (j += 1) {
            inline for (factors, 0..) |factor, i| target[j] += factor[0] * m[i * columns + j];
        }
    }
}

/// out[j] = the sum over the ranks, in order, of P[k] Q[k][j], where P[k] are `stride` apart.
pub fn expandRow(p: [*]const f32, stride: usize, q: [*]const f32, columns: usize, rank: usize, out: [*]f32) callconv(.c) void {
    var j: usize = 0;
    while (j < columns) : (j += 16) {
        var sum: V = @splat(0);
        for (0..rank) |k| sum += @as(V, @splat(p[k * stride])) * part(q + k * columns + j, columns - j);
        vector16.storePart(out + j, @min(16, columns - j), sum);
    }
}
