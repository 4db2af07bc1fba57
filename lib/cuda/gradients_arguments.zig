//! What the kernels of gradient codecs are told: the structures of cuda/gradients_*.cu.

/// See gradients_blocks.cu.
pub const Scaled = extern struct {
    gradients: u64,
    scales: u64,
    codes: u64,
    sums: u64 = 0,
    found: u64,
    count: u32,
    block: u32,
    blocks: u32,
    rule: u32,
};

/// See gradients_rotated.cu.
pub const Piece = extern struct { start: u32, count: u32, size: u32, codes: u32, factor: f32 };
pub const Rotation = extern struct {
    gradients: u64,
    payload: u64,
    found: u64,
    seed: u64,
    places: u64 = 0,
    kept: u64 = 0,
    whole: u64 = 0,
    rest: u64 = 0,
    inverse: f64 = 0,
    full: u32,
    factor: f32 = 0,
    blocks: u32,
    option: u32 = 0,
    pieces: [13]Piece,
};

/// See gradients_entropy.cu.
pub const EntropyPass = extern struct {
    source: u64,
    second: u64 = 0,
    places: u64 = 0,
    target: u64,
    largest: u64 = 0,
    found: u64 = 0,
    count: u32,
    units: u32 = 0,
    factor: f32 = 0,
    rest: f32 = 0,
};
pub const EntropyEncode = extern struct {
    values: u64,
    active: u64,
    starts: u64,
    tables: u64,
    symbols: u64,
    words: u64,
    bits: u64,
    results: u64,
    count: u32,
    factor: f32,
};
pub const EntropyDecode = extern struct {
    parts: u64,
    bytes: u64,
    classes: u64,
    slots: u64,
    decoders: u64,
    gradients: u64,
    found: u64,
    count: u32,
    steps: u32,
    blocks: u32,
    coded: u32,
    step: f32,
    unit: f32,
    kept_scale: f32,
    reserved: u32 = 0,
};
/// Of gradients_entropy_encode: 512 steps of 32 lanes.
pub const entropy_shared_bytes = 4 * 512 * 32;

/// See gradients_lowrank.cu.
pub const Thin = extern struct { m: u64, p: u64, q: u64, found: u64, rows: u32, columns: u32, rank: u32, reserved: u32 = 0 };

/// See gradients_topk.cu.
pub const Largest = extern struct {
    gradients: u64,
    places: u64,
    values: u64 = 0,
    counts: u64,
    found: u64 = 0,
    count: u32,
    least: u32 = 1,
};

/// See gradients_topk.cu.
pub const Samples = extern struct {
    gradients: u64,
    bits: u64,
    pieces: u64,
    count: u64,
    runs: u32,
    sample: u32,
    piece_count: u32,
    piece: u32,
};
