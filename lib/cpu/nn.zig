//! The f32 kernels of a transformer besides its matmuls: norms, softmax, the gate of the
//! feed-forward part, and the table that names them all (dense.zig and attention.zig hold the rest).
//!
//!     rms_norm     y = (x / sqrt(mean(x^2) + e)) * w
//!     layer_norm   y = ((x - mean) / sqrt(var + e)) * w + b
//!     softmax      y = e^(x - max) / sum
//!
//! Sums keep two accumulators of 16 lanes; element i goes to lane i mod 16 of accumulator
//! i / 16 mod 2, on every tier. Floor: each element is read once or twice and written once; a row
//! of a model fits the first-level cache, so the second pass is free of memory traffic.

const v16 = @import("vector16.zig");
const nn_table = @import("nn_table.zig");
const dense = @import("dense.zig");
const dense_i8 = @import("dense_i8.zig");
const attention = @import("attention.zig");

const V = v16.V;
const width = v16.width;

pub const kernels: nn_table.Kernels = .{
    .rms_norm = rmsNorm,
    .layer_norm = layerNorm,
    .softmax_row = softmaxRow,
    .softmax_columns = softmaxColumns,
    .sum_exp = sumExp,
    .dense = dense.dense,
    .dense_i8 = dense_i8.denseI8,
    .widen = dense.widen,
    .gate = gate,
    .add = add,
    .rope = attention.rope,
    .scores = attention.scores,
    .weigh = attention.weigh,
    .mix = attention.mix,
    .scale = scale,
};

/// Calls `function(context, vector)` on every 16 elements and adds up what it returns; lanes past
/// the end count as zero.
inline fn sumOf(input: [*]const f32, count: usize, context: anytype, comptime function: fn (@TypeOf(context), V) callconv(.@"inline") V) f32 {
    var sums: [2]V = @splat(@splat(0));
    var i: usize = 0;
    while (i + 2 * width <= count) : (i += 2 * width) {
        inline for (0..2) |part| sums[part] = sums[part] + function(context, v16.load(input + i + part * width));
    }
    if (i + width <= count) {
        sums[0] = sums[0] + function(context, v16.load(input + i));
        i += width;
        if (i < count) sums[1] = sums[1] + tailOf(input + i, count - i, context, function);
    } else if (i < count) {
        sums[0] = sums[0] + tailOf(input + i, count - i, context, function);
    }
    return v16.sum(sums[0] + sums[1]);
}

inline fn tailOf(input: [*]const f32, left: usize, context: anytype, comptime function: fn (@TypeOf(context), V) callconv(.@"inline") V) V {
    const values: [width]f32 = function(context, v16.loadPart(input, left, 0));
    return v16.loadPart(&values, left, 0);
}

/// output[i] = function(context, i-th vectors of the inputs), 16 elements at a time.
inline fn map(
    comptime inputs: usize,
    sources: [inputs][*]const f32,
    output: [*]f32,
    count: usize,
    context: anytype,
    comptime function: fn (@TypeOf(context), [inputs]V) callconv(.@"inline") V,
) void {
    var x: [inputs]V = undefined;
    var i: usize = 0;
    while (i + width <= count) : (i += width) {
        inline for (0..inputs) |n| x[n] = v16.load(sources[n] + i);
        v16.store(output + i, function(context, x));
    }
    if (i < count) {
        inline for (0..inputs) |n| x[n] = v16.loadPart(sources[n] + i, count - i, 0);
        v16.storePart(output + i, count - i, function(context, x));
    }
}

inline fn identity(_: void, x: V) V {
    return x;
}

inline fn square(_: void, x: V) V {
    return x * x;
}

inline fn squaredDistance(mean: f32, x: V) V {
    const distance = x - v16.splat(mean);
    return distance * distance;
}

fn rmsNorm(input: [*]const f32, weight: [*]const f32, output: [*]f32, count: u32, epsilon: f32) callconv(.c) void {
    const mean = sumOf(input, count, {}, square) / @as(f32, @floatFromInt(count));
    const inverse = 1 / @sqrt(mean + epsilon);
    map(2, .{ input, weight }, output, count, inverse, struct {
        inline fn call(factor: f32, x: [2]V) V {
            return x[0] * v16.splat(factor) * x[1];
        }
    }.call);
}

fn layerNorm(input: [*]const f32, weight: [*]const f32, bias: ?[*]const f32, output: [*]f32, count: u32, epsilon: f32) callconv(.c) void {
    const n: f32 = @floatFromInt(count);
    const mean = sumOf(input, count, {}, identity) / n;
    const variance = sumOf(input, count, mean, squaredDistance) / n;
    const Moments = struct { mean: f32, inverse: f32 };
    const moments: Moments = .{ .mean = mean, .inverse = 1 / @sqrt(variance + epsilon) };
    if (bias) |terms| {
        map(3, .{ input, weight, terms }, output, count, moments, struct {
            inline fn call(m: Moments, x: [3]V) V {
                return (x[0] - v16.splat(m.mean)) * v16.splat(m.inverse) * x[1] + x[2];
            }
        }.call);
    } else {
        map(2, .{ input, weight }, output, count, moments, struct {
            inline fn call(m: Moments, x: [2]V) V {
                return (x[0] - v16.splat(m.mean)) * v16.splat(m.inverse) * x[1];
            }
        }.call);
    }
}

const negative_infinity: f32 = @bitCast(@as(u32, 0xff80_0000));

fn softmaxRow(input: [*]const f32, output: [*]f32, count: u32) callconv(.c) void {
    var most = v16.splat(negative_infinity);
    var i: usize = 0;
    while (i + width <= count) : (i += width) most = v16.larger(v16.load(input + i), most);
    if (i < count) most = v16.larger(v16.loadPart(input + i, count - i, negative_infinity), most);
    const top = v16.largest(most);
    map(1, .{input}, output, count, top, struct {
        inline fn call(t: f32, x: [1]V) V {
            return v16.exp(x[0] - v16.splat(t));
        }
    }.call);
    const total = sumOf(output, count, {}, identity);
    map(1, .{output}, output, count, total, struct {
        inline fn call(t: f32, x: [1]V) V {
            return x[0] / v16.splat(t);
        }
    }.call);
}

fn softmaxColumns(input: [*]const f32, output: [*]f32, size: u32, stride: u32, lanes: u32) callconv(.c) void {
    var most = v16.splat(negative_infinity);
    for (0..size) |i| most = v16.larger(loadLanes(input + i * stride, lanes), most);
    var total = v16.splat(0);
    for (0..size) |i| {
        const weight = v16.exp(loadLanes(input + i * stride, lanes) - most);
        total = total + weight;
        storeLanes(output + i * stride, lanes, weight);
    }
    for (0..size) |i| storeLanes(output + i * stride, lanes, loadLanes(output + i * stride, lanes) / total);
}

inline fn loadLanes(pointer: [*]const f32, lanes: u32) V {
    return if (lanes == width) v16.load(pointer) else v16.loadPart(pointer, lanes, 0);
}

inline fn storeLanes(pointer: [*]f32, lanes: u32, vector: V) void {
    if (lanes == width) v16.store(pointer, vector) else v16.storePart(pointer, lanes, vector);
}

fn sumExp(input: [*]const f32, count: u32, most: f32, factor: f32) callconv(.c) f64 {
    var total: @Vector(width, f64) = @splat(0);
    var i: usize = 0;
    while (i < count) : (i += width) {
        const x = if (i + width <= count) v16.load(input + i) else v16.loadPart(input + i, count - i, negative_infinity);
        total = total + @as(@Vector(width, f64), v16.exp((x - v16.splat(most)) * v16.splat(factor)));
    }
    return v16.sumF64(total);
}

fn gate(values: [*]f32, up: [*]const f32, count: u32, kind: u32) callconv(.c) void {
    if (kind == 0) {
        map(2, .{ values, up }, values, count, {}, struct {
            inline fn call(_: void, x: [2]V) V {
                const positive = @select(f32, x[0] < v16.splat(0), v16.splat(0), x[0]);
                return positive * positive * x[1];
            }
        }.call);
    } else {
        map(2, .{ values, up }, values, count, {}, struct {
            inline fn call(_: void, x: [2]V) V {
                return x[0] / (v16.splat(1) + v16.exp(-x[0])) * x[1];
            }
        }.call);
    }
}

fn add(sum: [*]f32, term: [*]const f32, count: u32) callconv(.c) void {
    map(2, .{ sum, term }, sum, count, {}, struct {
        inline fn call(_: void, x: [2]V) V {
            return x[0] + x[1];
        }
    }.call);
}

fn scale(input: [*]const f32, factor: f32, output: [*]f32, count: u32) callconv(.c) void {
    map(1, .{input}, output, count, factor, struct {
        inline fn call(f: f32, x: [1]V) V {
            return x[0] * v16.splat(f);
        }
    }.call);
}
