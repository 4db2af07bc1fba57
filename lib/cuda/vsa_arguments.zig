//! What the kernels of hypervectors are told: the structures of cuda/vsa*.cu. Pieces are 16 bytes of a
//! plane, words 4; strides are in pieces, 0 where one vector serves all rows.

pub const Random = extern struct {
    out: u64,
    seed: u64,
    count: u64,
    words: u32,
    dim: u32,
    below: u32,
    reserved: u32 = 0,
};

pub const Bind = extern struct {
    a: u64,
    b: u64 = 0,
    out: u64,
    count: u64,
    a_stride: u32,
    b_stride: u32 = 0,
    pieces: u32,
    operation: u32 = 0,
    /// Rows that become one, for vsa_fold.
    group: u32 = 1,
    reserved: u32 = 0,
};

pub const Rotate = extern struct {
    a: u64,
    out: u64,
    count: u64,
    words: u32,
    dim: u32,
    shift: u32,
    reserved: u32 = 0,
};

pub const Equal = extern struct {
    a: u64,
    b: u64,
    different: u64,
    count: u64,
};

pub const Bundle = extern struct {
    source: u64,
    out: u64,
    weights: u64 = 0,
    counts: u64 = 0,
    seed: u64,
    count: u64,
    group: u32,
    words: u32,
    dim: u32,
    threshold: u32,
    tie: u32,
    part: u32 = 0,
};

pub const Pairs = extern struct {
    a: u64,
    b: u64 = 0,
    scores: u64,
    count: u64,
    a_stride: u32,
    b_stride: u32 = 0,
    pieces: u32,
    dim: u32,
    metric: u32 = 0,
    reserved: u32 = 0,
};

pub const Scan = extern struct {
    rows: u64,
    query: u64,
    keys: u64,
    places: u64,
    after_key: u64,
    after_row: u64,
    count: u64,
    pieces: u32,
    dim: u32,
    metric: u32,
    k: u32,
};

pub const Matrix = extern struct {
    queries: u64,
    rows: u64,
    sums: u64,
    tops: u64,
    query_counts: u64,
    row_counts: u64,
    query_count: u32,
    row_count: u32,
    stride: u32,
    pieces: u32,
    stages: u32,
    metric: u32,
};

pub const Select = extern struct {
    sums: u64,
    tops: u64,
    query_counts: u64,
    row_counts: u64,
    after_key: u64,
    after_row: u64,
    best_keys: u64,
    indices: u64,
    count: u32,
    stride: u32,
    after_stride: u32,
    out_stride: u32,
    dim: u32,
    metric: u32,
    k: u32,
    reserved: u32 = 0,
};

pub const Merge = extern struct {
    keys: u64,
    places: u64,
    best_keys: u64,
    indices: u64,
    lists: u32,
    k: u32,
};

pub const Scores = extern struct {
    sums: u64,
    query_counts: u64,
    row_counts: u64,
    scores: u64,
    query_count: u32,
    row_count: u32,
    stride: u32,
    out_stride: u32,
    dim: u32,
    metric: u32,
};

/// Queries and rows of a block of vsa_matrix_*.
pub const matrix_queries = 128;
pub const matrix_rows = 256;

/// Rows of a tile whose largest key is noted.
pub const tile_side = 64;

/// Shared memory of a stage: a chunk of both, 128 bytes each; see vsa_matrix.cu.
pub const matrix_stage_bytes = (matrix_queries + matrix_rows) * 128;
