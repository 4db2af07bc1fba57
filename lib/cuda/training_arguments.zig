//! What the kernels of training are told: the structures of cuda/training*.cu.

pub const Embedding = extern struct {
    /// The table, or the gradients of tokens.
    source: u64,
    ids: u64,
    /// The tokens' rows, or the gradient of the table.
    target: u64,
    /// What embeddingBackward notes about ids; see training_embedding.cu.
    counts: u64 = 0,
    slots: u64 = 0,
    numbers: u64 = 0,
    all: u64 = 0,
    many: u64 = 0,
    tokens: u32,
    features: u32,
    vocab: u32,
    reserved: u32 = 0,
};

pub const Norm = extern struct {
    input: u64,
    weight: u64,
    gradient: u64 = 0,
    out: u64,
    /// [block][column] sums of the weight's gradient.
    partial: u64 = 0,
    rows: u32,
    columns: u32,
    /// Rows of a block.
    block_rows: u32 = 1,
    epsilon: f32,
    accumulate: u32 = 0,
    reserved: u32 = 0,
};

pub const Rope = extern struct {
    values: u64,
    cos: u64,
    sin: u64,
    /// Of a pair, or of four.
    units: u64,
    length: u32,
    heads: u32,
    half: u32,
    reserved: u32 = 0,
};

pub const Gate = extern struct {
    gate: u64,
    up: u64,
    gradient: u64 = 0,
    /// The result, or the gradient of the gate.
    first: u64,
    second: u64 = 0,
    count: u64,
    kind: u32,
    reserved: u32 = 0,
};

pub const Sums = extern struct {
    values: u64,
    /// [block][column]
    sums: u64,
    rows: u32,
    columns: u32,
    block_rows: u32,
    /// 1 adds to what is there.
    adds: u32,
};

pub const AdamW = extern struct {
    data: u64,
    gradient: u64,
    mean: u64,
    square: u64,
    count: u64,
    beta1: f32,
    beta2: f32,
    rate: f32,
    square_factor: f32,
    epsilon: f32,
    keep: f32,
};

pub const Sgd = extern struct {
    data: u64,
    gradient: u64,
    velocity: u64,
    count: u64,
    momentum: f32,
    rate: f32,
    keep: f32,
    nesterov: u32,
};
