//! The kernels of training beside the products: backward passes of norms, gates and attention, the
//! loss, and optimisers.

/// sums[key][d] += weights[row][key] * vectors[row][d], in the order of the rows.
pub const Outer = extern struct {
    weights: [*]const f32,
    weights_stride: usize,
    vectors: [*]const f32,
    sums: [*]f32,
    rows: u32,
    /// A multiple of 16; also the elements between two vectors and between two sums.
    dim: u32,
    keys: u32,
};

/// Values that an optimiser changes: f32, or bf16 that is rounded up or down at random.
pub const Values = extern struct {
    /// Null where they are bf16.
    floats: ?[*]f32,
    halves: ?[*]u16,
    /// The first value's place in the parameter, a multiple of 64, and what the rounding is drawn from.
    place: usize = 0,
    seed: u64 = 0,
    row: u64 = 0,

    /// Those from a place on.
    pub fn from(self: Values, start: usize) Values {
        var rest = self;
        if (self.floats) |floats| rest.floats = floats + start;
        if (self.halves) |halves| rest.halves = halves + start;
        rest.place += start;
        return rest;
    }
};

/// One run of an optimiser's element-wise update.
pub const AdamW = extern struct {
    values: Values,
    gradient: [*]const f32,
    mean: [*]f32,
    square: [*]f32,
    count: usize,
    beta1: f32,
    beta2: f32,
    /// The learning rate over the first moment's bias correction.
    rate: f32,
    /// One over the square root of the second moment's bias correction.
    square_factor: f32,
    epsilon: f32,
    /// 1 - learning rate * weight decay.
    keep: f32,
};

pub const Sgd = extern struct {
    values: Values,
    gradient: [*]const f32,
    /// Null where there is no momentum.
    velocity: ?[*]f32,
    count: usize,
    momentum: f32,
    rate: f32,
    keep: f32,
    nesterov: u32,
};

pub const Kernels = extern struct {
    /// dx = (or += where `adds`) the gradient of the row's input, dw += that of the weight.
    rms_norm_backward: *const fn (input: [*]const f32, weight: [*]const f32, gradient: [*]const f32, dx: [*]f32, dw: [*]f32, count: u32, epsilon: f32, adds: u32) callconv(.c) void,
    /// out = act(gate) * up; kind 0 is relu squared, 1 is silu.
    gate_forward: *const fn (gate: [*]const f32, up: [*]const f32, out: [*]f32, count: u32, kind: u32) callconv(.c) void,
    /// `dgate` and `dup` may be `gate` and `up`.
    gate_backward: *const fn (gate: [*]const f32, up: [*]const f32, gradient: [*]const f32, dgate: [*]f32, dup: [*]f32, count: u32, kind: u32) callconv(.c) void,
    /// Turns logits into factor * (softmax - one hot) where `factor` is not 0; returns the loss.
    cross_entropy: *const fn (logits: [*]f32, count: u32, target: u32, factor: f32) callconv(.c) f64,
    /// weights *= factor; gradients = weights * (gradients - sum of weights * gradients) * scale.
    softmax_backward: *const fn (weights: [*]f32, gradients: [*]f32, blocks: u32, factor: f32, scale: f32) callconv(.c) void,
    add_outer: *const fn (*const Outer) callconv(.c) void,
    adamw: *const fn (*const AdamW) callconv(.c) void,
    sgd: *const fn (*const Sgd) callconv(.c) void,
};
