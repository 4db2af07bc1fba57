//! Element-wise updates of parameters.
//!
//!     AdamW   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
//!             p = keep p - rate m / (sqrt(v) square_factor + e)
//!     SGD     u = momentum u + g,  p = keep p - rate (u, or g + momentum u after Nesterov)
//!
//! Values that are bf16 are rounded at random, up with the probability that what is cut off is of a step:
//! word i of Philox4x32-10 (see vsa_random.zig) for value i, of which the low 16 bits are added before
//! the low 16 bits of the f32 are cut off. So changes far below a step of bf16 are right in the mean.
//!
//! The bias corrections are in `rate` and `square_factor`, decoupled weight decay in `keep`. The same
//! bits on every tier: elements are independent, and nothing is fused. Floor: AdamW reads 16 bytes
//! and writes 12 an element, which is what limits it.

const v16 = @import("vector16.zig");
const random = @import("vsa_random.zig");
const training_table = @import("training_table.zig");

const V = v16.V;
const U = @Vector(width, u32);
const width = v16.width;

inline fn load(pointer: [*]const f32, left: usize) V {
    return if (left >= width) v16.load(pointer) else v16.loadPart(pointer, left, 0);
}

inline fn store(pointer: [*]f32, left: usize, values: V) void {
    if (left >= width) v16.store(pointer, values) else v16.storePart(pointer, left, values);
}

const Type = enum { floats, halves };

/// Words that are drawn together.
const drawn = 64;

/// Reads and writes values in order, 16 at a time.
fn Cursor(comptime of: Type) type {
    return struct {
        const Self = @This();

        values: *const training_table.Values,
        words: if (of == .halves) [drawn]u32 else void = undefined,

        inline fn read(self: *const Self, i: usize, left: usize) V {
            if (of == .floats) return load(self.values.floats.? + i, left);
            const bytes: [*]const u8 = @ptrCast(self.values.halves.? + i);
            return if (left >= width) v16.loadFloat(.bf16, bytes) else v16.loadFloatPart(.bf16, bytes, left);
        }

        inline fn write(self: *Self, i: usize, left: usize, vector: V) void {
            if (of == .floats) return store(self.values.floats.? + i, left, vector);
            if (i % drawn == 0) self.draw(i);
            const words: U = self.words[i % drawn ..][0..width].*;
            const halves: [width]u16 = narrow(vector, words);
            const target = self.values.halves.? + i;
            if (left >= width) target[0..width].* = halves else @memcpy(target[0..left], halves[0..left]);
        }

        fn draw(self: *Self, i: usize) void {
            const step = 4 * random.lanes;
            comptime var at = 0;
            inline while (at < drawn) : (at += step) {
                const block: u32 = @intCast((self.values.place + i + at) / 4);
                self.words[at..][0..step].* = random.wordsInOrder(random.blocks(.latents, block, self.values.row, self.values.seed));
            }
        }
    };
}

/// What is not finite is cut off, and NaN stays NaN.
inline fn narrow(vector: V, words: U) @Vector(width, u16) {
    const bits: U = @bitCast(vector);
    const rounded = (bits + (words & @as(U, @splat(0xffff)))) >> @splat(16);
    const infinity: U = @splat(0x7f80_0000);
    const magnitude = bits & @as(U, @splat(0x7fff_ffff));
    const quiet = @select(u32, magnitude > infinity, @as(U, @splat(0x40)), @as(U, @splat(0)));
    const cut = bits >> @splat(16) | quiet;
    return @truncate(@select(u32, magnitude >= infinity, cut, rounded));
}

pub fn adamw(task: *const training_table.AdamW) callconv(.c) void {
    if (task.values.floats == null) adamwOf(.halves, task) else adamwOf(.floats, task);
}

fn adamwOf(comptime of: Type, task: *const training_table.AdamW) void {
    const beta1 = v16.splat(task.beta1);
    const beta2 = v16.splat(task.beta2);
    const rest1 = v16.splat(1 - task.beta1);
    const rest2 = v16.splat(1 - task.beta2);
    var values: Cursor(of) = .{ .values = &task.values };
    var i: usize = 0;
    while (i < task.count) : (i += width) {
        const left = task.count - i;
        const g = load(task.gradient + i, left);
        const mean = beta1 * load(task.mean + i, left) + rest1 * g;
        const square = beta2 * load(task.square + i, left) + rest2 * (g * g);
        const size = @sqrt(square) * v16.splat(task.square_factor) + v16.splat(task.epsilon);
        const kept = values.read(i, left) * v16.splat(task.keep);
        store(task.mean + i, left, mean);
        store(task.square + i, left, square);
        values.write(i, left, kept - v16.splat(task.rate) * (mean / size));
    }
}

pub fn sgd(task: *const training_table.Sgd) callconv(.c) void {
    if (task.values.floats == null) sgdOf(.halves, task) else sgdOf(.floats, task);
}

fn sgdOf(comptime of: Type, task: *const training_table.Sgd) void {
    const momentum = v16.splat(task.momentum);
    var values: Cursor(of) = .{ .values = &task.values };
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
        const kept = values.read(i, left) * v16.splat(task.keep);
        values.write(i, left, kept - v16.splat(task.rate) * change);
    }
}
