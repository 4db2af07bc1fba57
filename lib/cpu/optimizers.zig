//! Element-wise updates of parameters.
//!
//!     AdamW   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
//!             p = keep p - rate m / (sqrt(v) square_factor + e)
//!     SGD     u = momentum u + g,  p = keep p - rate (u, or g + momentum u after Nesterov)
//!
//! The bias corrections are in `rate` and `square_factor`, decoupled weight decay in `keep`. The same
//! bits on every tier: elements are independent, and nothing is fused. Floor: AdamW reads 16 bytes
//! and writes 12 an element, which is what limits it.

const v16 = @import("vector16.zig");
const training_table = @import("training_table.zig");

const V = v16.V;
const width = v16.width;

inline fn load(pointer: [*]const f32, left: usize) V {
    return if (left >= width) v16.load(pointer) else v16.loadPart(pointer, left, 0);
}

inline fn store(pointer: [*]f32, left: usize, values: V) void {
    if (left >= width) v16.store(pointer, values) else v16.storePart(pointer, left, values);
}

pub fn adamw(task: *const training_table.AdamW) callconv(.c) void {
    const beta1 = v16.splat(task.beta1);
    const beta2 = v16.splat(task.beta2);
    const rest1 = v16.splat(1 - task.beta1);
    const rest2 = v16.splat(1 - task.beta2);
    var i: usize = 0;
    while (i < task.count) : (i += width) {
        const left = task.count - i;
        const g = load(task.gradient + i, left);
        const mean = beta1 * load(task.mean + i, left) + rest1 * g;
        const square = beta2 * load(task.square + i, left) + rest2 * (g * g);
        const size = @sqrt(square) * v16.splat(task.square_factor) + v16.splat(task.epsilon);
        const kept = load(task.data + i, left) * v16.splat(task.keep);
        store(task.mean + i, left, mean);
        store(task.square + i, left, square);
        store(task.data + i, left, kept - v16.splat(task.rate) * (mean / size));
    }
}

pub fn sgd(task: *const training_table.Sgd) callconv(.c) void {
    const momentum = v16.splat(task.momentum);
    var i: usize = 0;
    while (i < task.count) : (i += width) {
        const left = task.count - i;
        const g = load(task.gradient + i, left);
        var change = g;
        if (task.velocity) |velocity| {
            const after = momentum * load(velocity + i, left) + g;
            store(velocity + i, left, after);
            change = if (task.nesterov != 0) g + momentum * after else after;
        }
        const kept = load(task.data + i, left) * v16.splat(task.keep);
        store(task.data + i, left, kept - v16.splat(task.rate) * change);
    }
}
