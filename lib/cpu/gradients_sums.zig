//! How much two lists of gradients have in common, and linear combinations of them.
//!
//! Sums are in f64, in 16 lanes. Floor: one read of both; on AVX-512 four conversions, a subtraction
//! and four products with additions, in two halves, for 16 pairs.

const Sums = @import("gradients_table.zig").Sums;
const vector16 = @import("vector16.zig");

const V = vector16.V;
const Wide = @Vector(16, f64);

pub fn sums(a: [*]const f32, b: [*]const f32, count: usize, result: *Sums) callconv(.c) void {
    var dot: Wide = @splat(0);
    var squares_a: Wide = @splat(0);
    var squares_b: Wide = @splat(0);
    var squares_difference: Wide = @splat(0);
    var i: usize = 0;
    while (i < count) : (i += 16) {
        const rest = count - i;
        const x: Wide = @floatCast(if (rest >= 16) vector16.load(a + i) else vector16.loadPart(a + i, rest, 0));
        const y: Wide = @floatCast(if (rest >= 16) vector16.load(b + i) else vector16.loadPart(b + i, rest, 0));
        dot += x * y;
        squares_a += x * x;
        squares_b += y * y;
        squares_difference += (x - y) * (x - y);
    }
    result.* = .{
        .dot = vector16.sumF64(dot),
        .squares_a = vector16.sumF64(squares_a),
        .squares_b = vector16.sumF64(squares_b),
        .squares_difference = vector16.sumF64(squares_difference),
    };
}

/// out = alpha a + beta b; `out` may be either.
pub fn combine(a: [*]align(1) const f32, alpha: f32, b: [*]align(1) const f32, beta: f32, count: usize, out: [*]align(1) f32) callconv(.c) void {
    const alphas: V = @splat(alpha);
    const betas: V = @splat(beta);
    var i: usize = 0;
    while (i + 16 <= count) : (i += 16) {
        const x: *align(1) const [16]f32 = @ptrCast(a + i);
        const y: *align(1) const [16]f32 = @ptrCast(b + i);
        const target: *align(1) [16]f32 = @ptrCast(out + i);
        target.* = alphas * @as(V, x.*) + betas * @as(V, y.*);
    }
    while (i < count) : (i += 1) out[i] = alpha * a[i] + beta * b[i];
}
