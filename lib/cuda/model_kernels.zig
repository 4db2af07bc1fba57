//! What the kernels of a model are told: the structures of nn.cu, attention.cu and head.cu.

const std = @import("std");

const Columns = @import("kernels.zig").Columns;

/// Where a sequence is; see nn.cu.
pub const Step = extern struct { position: u32, id: u32 };

/// Leaves the id as it is.
pub const no_id = 0xffff_ffff;

pub const SetStep = extern struct { step: u64, position: u32, id: u32 };

pub const Embed = extern struct {
    table: u64,
    ids: u64,
    step: u64,
    x: u64,
    frequencies: u64,
    cosines: u64,
    sines: u64,
    hidden: u32,
    half: u32,
    kind: u32,
    rope_scale: f32,
    vocab: u32,
    reserved: u32 = 0,
};

pub const Rows = extern struct {
    input: u64,
    other: u64 = 0,
    x: u64 = 0,
    norm: u64 = 0,
    own_norm: u64 = 0,
    memory: u64,
    floats: u64 = 0,
    values: u64,
    sums: u64,
    scales: u64,
    input_stride: u64,
    other_stride: u64,
    columns: Columns,
    count: u32,
    padded_count: u32,
    epsilon: f32,
    own_epsilon: f32 = 0,
    activation: u32 = 0,
    slabs: u32 = 0,
};

pub const Choice = extern struct { id: u32, bad: u32, log_probability: f64 };

pub const Choose = extern struct {
    logits: u64,
    choice: u64,
    step: u64,
    sums: u64,
    largest: u64,
    ids: u64,
    done: u64,
    count: u32,
    reserved: u32 = 0,

    pub const none: Choose = std.mem.zeroes(Choose);
};

pub const Decode = extern struct {
    weights: u64,
    row_scales: u64,
    bias: u64,
    input: u64,
    norm: u64,
    output: u64,
    columns: Columns,
    rows: u32,
    epsilon: f32,
    activation: u32,
    reserved: u32 = 0,
};

pub const Attention = extern struct {
    queries: u64,
    new_keys: u64,
    new_values: u64,
    keys: u64,
    values: u64,
    cosines: u64,
    sines: u64,
    output: u64,
    partial: u64,
    tickets: u64,
    step: u64,
    query_stride: u32,
    key_stride: u32,
    value_stride: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    capacity: u32,
    max_tokens: u32,
    count: u32,
    scale: f32,
};

pub const Head = extern struct {
    table: u64,
    row_scales: u64 = 0,
    hidden: u64,
    token_scales: u64 = 0,
    logits: u64,
    norm: u64 = 0,
    choose: Choose = .none,
    rows: u32,
    width: u32,
    table_stride: u32,
    hidden_stride: u32,
    count: u32,
    epsilon: f32 = 0,
};

/// Floats of a row that the kernels of nn.cu keep in shared memory, at most.
pub const shared_row_floats = 12_000;

/// See head.cu.
pub const head_shared_floats = 11 * 1024;

pub const Splitting = extern struct {
    keys: u64,
    values: u64,
    parts: u64,
    scales: u64,
    step: u64,
    kv_heads: u32,
    capacity: u32,
    max_tokens: u32,
    count: u32,
};

pub const AttendMany = extern struct {
    queries: u64,
    cosines: u64,
    sines: u64,
    parts: u64,
    scales: u64,
    output: u64,
    step: u64,
    query_stride: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    capacity: u32,
    max_tokens: u32,
    count: u32,
    scale: f32,
};

/// Rows of a block of attend_many.
pub const many_rows = 64;

/// Three stages of 32 keys and values as pairs of f16, with their scales; see attention_many.cu.
pub fn manySharedBytes(dim: u32) u32 {
    return 3 * 32 * (4 * dim * 2 + 8);
}
