//! The f32 kernels of training besides the products.
//!
//!     rms norm    y = x r w, r = 1 / sqrt(mean(x^2) + e):
//!                 dx = r (g w) - x r^3 / n sum(g w x),   dw += g x r
//!     gate        y = act(a) b:   da = g b act'(a),   db = g act(a)
//!     softmax     w = e^(s - max) / sum:   ds = w (g - sum(w g))
//!     loss        -log softmax(x)[t]:   dx = softmax(x) - [i = t]
//!
//! One fixed order of sums on every tier, as in nn.zig; only `add_outer`, a small dense product, fuses
//! its multiplications with additions where the tier can. Floor: each element is read and written once.

const simd = @import("simd.zig");
const v16 = @import("vector16.zig");
const optimizers = @import("optimizers.zig");
const training_table = @import("training_table.zig");

const V = v16.V;
const width = v16.width;

pub const kernels: training_table.Kernels = .{
    .rms_norm_backward = rmsNormBackward,
    .gate_forward = gateForward,
    .gate_backward = gateBackward,
    .cross_entropy = crossEntropy,
    .softmax_backward = softmaxBackward,
    .add_outer = addOuter,
    .adamw = optimizers.adamw,
    .sgd = optimizers.sgd,
};

/// Sixteen elements from `i` on, zeros behind the last.
inline fn at(pointer: [*]const f32, i: usize, count: usize) V {
    return if (i + width <= count) v16.load(pointer + i) else v16.loadPart(pointer + i, count - i, 0);
}

inline fn put(pointer: [*]f32, i: usize, count: usize, values: V) void {
    if (i + width <= count) v16.store(pointer + i, values) else v16.storePart(pointer + i, count - i, values);
}

fn rmsNormBackward(
    input: [*]const f32,
    weight: [*]const f32,
    gradient: [*]const f32,
    dx: [*]f32,
    dw: [*]f32,
    count: u32,
    epsilon: f32,
    adds: u32,
) callconv(.c) void {
    const n: f32 = @floatFromInt(count);
    var squares = v16.splat(0);
    var products = v16.splat(0);
    var i: usize = 0;
    while (i < count) : (i += width) {
        const x = at(input, i, count);
        squares = squares + x * x;
        products = products + at(gradient, i, count) * at(weight, i, count) * x;
    }
    const inverse = 1 / @sqrt(v16.sum(squares) / n + epsilon);
    const pull = inverse * inverse * inverse * (v16.sum(products) / n);
    i = 0;
    while (i < count) : (i += width) {
        const x = at(input, i, count);
        const g = at(gradient, i, count);
        const change = g * at(weight, i, count) * v16.splat(inverse) - x * v16.splat(pull);
        put(dw, i, count, at(dw, i, count) + g * x * v16.splat(inverse));
        put(dx, i, count, if (adds != 0) at(dx, i, count) + change else change);
    }
}

inline fn positive(x: V) V {
    return @select(f32, x < v16.splat(0), v16.splat(0), x);
}

inline fn sigmoid(x: V) V {
    return v16.splat(1) / (v16.splat(1) + v16.exp(-x));
}

fn gateForward(gate: [*]const f32, up: [*]const f32, out: [*]f32, count: u32, kind: u32) callconv(.c) void {
    var i: usize = 0;
    while (i < count) : (i += width) {
        const a = at(gate, i, count);
        const b = at(up, i, count);
        // The same operations in the same order as inference has them.
        const activated = if (kind == 0) positive(a) * positive(a) else a / (v16.splat(1) + v16.exp(-a));
        put(out, i, count, activated * b);
    }
}

fn gateBackward(gate: [*]const f32, up: [*]const f32, gradient: [*]const f32, dgate: [*]f32, dup: [*]f32, count: u32, kind: u32) callconv(.c) void {
    var i: usize = 0;
    while (i < count) : (i += width) {
        const a = at(gate, i, count);
        const b = at(up, i, count);
        const g = at(gradient, i, count);
        if (kind == 0) {
            const p = positive(a);
            put(dgate, i, count, g * b * (p + p));
            put(dup, i, count, g * (p * p));
        } else {
            const s = sigmoid(a);
            put(dgate, i, count, g * b * (s * (v16.splat(1) + a * (v16.splat(1) - s))));
            put(dup, i, count, g * (a * s));
        }
    }
}

const negative_infinity: f32 = @bitCast(@as(u32, 0xff80_0000));

fn crossEntropy(logits: [*]f32, count: u32, target: u32, factor: f32) callconv(.c) f64 {
    var most = v16.splat(negative_infinity);
    var i: usize = 0;
    while (i < count) : (i += width) {
        const x = if (i + width <= count) v16.load(logits + i) else v16.loadPart(logits + i, count - i, negative_infinity);
        most = v16.larger(x, most);
    }
    const top = v16.largest(most);
    const chosen = logits[target];
    var total: @Vector(width, f64) = @splat(0);
    i = 0;
    while (i < count) : (i += width) {
        const x = if (i + width <= count) v16.load(logits + i) else v16.loadPart(logits + i, count - i, negative_infinity);
        const weight = v16.exp(x - v16.splat(top));
        total = total + @as(@Vector(width, f64), weight);
        if (factor != 0) put(logits, i, count, weight);
    }
    const sum = v16.sumF64(total);
    if (factor != 0) {
        const each: f32 = @floatCast(factor / sum);
        i = 0;
        while (i < count) : (i += width) put(logits, i, count, at(logits, i, count) * v16.splat(each));
        logits[target] -= factor;
    }
    return @log(sum) + (@as(f64, top) - chosen);
}

fn softmaxBackward(weights: [*]f32, gradients: [*]f32, blocks: u32, factor: f32, scale: f32) callconv(.c) void {
    var total = v16.splat(0);
    for (0..blocks) |block| {
        const w = v16.load(weights + block * width) * v16.splat(factor);
        v16.store(weights + block * width, w);
        total = total + w * v16.load(gradients + block * width);
    }
    const mean = v16.splat(v16.sum(total));
    for (0..blocks) |block| {
        const g = v16.load(gradients + block * width) - mean;
        v16.store(gradients + block * width, v16.load(weights + block * width) * g * v16.splat(scale));
    }
}

/// Keys and vectors of 16 dimensions of a register tile.
const outer_keys = if (v16.has_avx512) 8 else if (v16.has_neon or v16.has_avx2) 4 else 2;
const outer_slices = if (v16.has_avx512) 2 else 1;

fn addOuter(task: *const training_table.Outer) callconv(.c) void {
    var key: usize = 0;
    while (key + outer_keys <= task.keys) : (key += outer_keys) outerKeys(task, outer_keys, key);
    while (key < task.keys) : (key += 1) outerKeys(task, 1, key);
}

inline fn outerKeys(task: *const training_table.Outer, comptime keys: usize, key: usize) void {
    var d: usize = 0;
    while (d + outer_slices * width <= task.dim) : (d += outer_slices * width) outerTile(task, keys, outer_slices, key, d);
    while (d < task.dim) : (d += width) outerTile(task, keys, 1, key, d);
}

fn outerTile(task: *const training_table.Outer, comptime keys: usize, comptime slices: usize, key: usize, d: usize) void {
    const dim: usize = task.dim;
    var sums: [keys][slices]V = undefined;
    inline for (0..keys) |k| {
        inline for (0..slices) |s| sums[k][s] = v16.load(task.sums + (key + k) * dim + d + s * width);
    }
    for (0..task.rows) |row| {
        const weights = task.weights + row * task.weights_stride + key;
        var vector: [slices]V = undefined;
        inline for (0..slices) |s| vector[s] = v16.load(task.vectors + row * dim + d + s * width);
        inline for (0..keys) |k| {
            const weight = v16.splat(weights[k]);
            inline for (0..slices) |s| {
                sums[k][s] = if (simd.has_fma) @mulAdd(V, weight, vector[s], sums[k][s]) else weight * vector[s] + sums[k][s];
            }
        }
    }
    inline for (0..keys) |k| {
        inline for (0..slices) |s| v16.store(task.sums + (key + k) * dim + d + s * width, sums[k][s]);
    }
}
