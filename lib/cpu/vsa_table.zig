//! The kernels of hypervectors that every instruction-set tier fills, and their memory layout.
//!
//! A trit t is two bits, one in each of two planes: nonzero = (t != 0) and negative = (t < 0), so that
//! t = nonzero - 2 negative. A plane is whole blocks of 512 bits; trit i is bit i % 64 of word i / 64
//! of each plane, and bits from `dim` on are 0.
//!
//!     vector: [nonzero: words u64][negative: words u64]     words = 8 * ceil(dim / 512)
//!     batch:  vector 0, vector 1, ...
//!
//! These two planes, and not one for +1 and one for -1, because AVX-512's three-input instructions
//! then add modulo 3 in three, and multiply and compare in two. Kernels take a vector's first word and
//! the words of one plane, a positive multiple of 8; all vectors are aligned to 64 bytes.

const encoders = @import("vsa_encoders_table.zig");

/// 64-bit words of a block.
pub const block_words = 8;
pub const block_trits = 512;

/// Words of a plane.
pub fn wordsOf(dim: u32) usize {
    return (@as(usize, dim) + block_trits - 1) / block_trits * block_words;
}

pub const Vector = [*]align(64) const u64;
pub const Target = [*]align(64) u64;

/// Rows of vectors: words from one to the next, 0 where one vector serves all.
pub const Rows = extern struct {
    first: Vector,
    stride: usize,
};

/// Vectors that are read together: those of a list, or rows `stride` words apart.
pub const Sources = extern struct {
    /// Null where they are rows.
    list: ?[*]const Vector,
    first: Vector,
    stride: usize,
    count: usize,

    pub inline fn at(self: *const Sources, index: usize) Vector {
        if (self.list) |list| return list[index];
        return @alignCast(self.first + index * self.stride);
    }

    /// `count` rows from `index` on.
    pub fn rows(self: *const Sources, index: usize, count: usize) Sources {
        return .{ .list = null, .first = self.at(index), .stride = self.stride, .count = count };
    }
};

/// One bundle: the sign of the sum of `sources` where its size is above `threshold`.
pub const Bundle = extern struct {
    sources: Sources,
    /// Null where each counts once.
    weights: ?[*]const f32,
    words: usize,
    threshold: u32,
    /// 1 where a sum of zero takes the trit of the first source.
    first_ties: u32,
    out: Target,
};

pub const Bind = *const fn (a: Rows, b: Rows, out: Target, words: usize, rows: usize) callconv(.c) void;

/// Everything that the similarities of two vectors are made of.
pub const Counts = extern struct {
    /// Both are nonzero.
    common: u64,
    /// Both are nonzero, of different sign.
    opposite: u64,
    nonzero_a: u64,
    nonzero_b: u64,
};

/// What a similarity measures; see vsa_vectors.zig for each.
pub const Metric = enum(u32) { dot, cosine, hamming, hamming_similarity, overlap, jaccard };

/// One number for each pair of a few rows and a few queries, from the words `from` to `to` of their
/// planes, multiples of 8. The first words set the sums, later ones add to them.
pub const Scan = extern struct {
    rows: Rows,
    row_count: usize,
    queries: Rows,
    query_count: usize,
    words: usize,
    from: usize,
    to: usize,
    /// The sum of row r and query q is at r * sums_stride + q.
    sums: [*]i64,
    sums_stride: usize,
    /// Nonzero trits of each row, or null where nobody asks. Trits that differ do not count them.
    row_nonzeros: ?[*]f64,
    /// Memory to fetch into the second cache meanwhile: so many lines for each row and four queries.
    ahead: [*]const u8,
    ahead_lines: usize,
};

/// What makes scores out of sums: rows with queries, or one query with rows, as scores do not mind
/// which is which.
pub const Scores = extern struct {
    metric: Metric,
    dim: u32,
    /// -1 for those of which the smallest are the best.
    sign: f64,
    /// The sum of i and j is at i * stride + j, as is its score.
    sums: [*]const i64,
    scores: [*]f64,
    stride: usize,
    count: usize,
    /// At most 64; room and numbers are there for the next multiple of 8.
    inner_count: usize,
    /// Nonzero trits; only cosine and Jaccard look at them.
    nonzeros: [*]const f64,
    inner_nonzeros: [*]const f64,
    /// Bit j of above[i] is set where the score is larger than inner_least[j].
    inner_least: [*]const f64,
    above: [*]u64,
};

const ScanKernel = *const fn (scan: *const Scan) callconv(.c) void;

/// Bits from place `from` of `source` to place `to` of `target`; those around them stay. No word may be
/// in both.
pub const Move = *const fn (source: [*]const u64, from: usize, target: [*]u64, to: usize, count: usize) callconv(.c) void;

/// Whole vectors from and to other formats, which vsa_formats.zig describes. Those that read another
/// format write every word, keep the padding 0 and return 0, or 1 where something is no trit.
pub const Formats = extern struct {
    from_wire: *const fn (bytes: [*]const u8, dim: usize, out: Target, words: usize) callconv(.c) u32,
    to_wire: *const fn (a: Vector, words: usize, dim: usize, bytes: [*]u8) callconv(.c) void,
    from_base3: *const fn (bytes: [*]const u8, dim: usize, out: Target, words: usize) callconv(.c) u32,
    to_base3: *const fn (a: Vector, words: usize, dim: usize, bytes: [*]u8) callconv(.c) void,
    from_planes: *const fn (bytes: [*]const u8, dim: usize, out: Target, words: usize) callconv(.c) u32,
    to_planes: *const fn (a: Vector, words: usize, dim: usize, bytes: [*]u8) callconv(.c) void,
    /// Signs of the values whose magnitude is above `above`; NaN is no trit.
    from_f32: *const fn (values: [*]const f32, dim: usize, above: f32, out: Target, words: usize) callconv(.c) u32,
    /// Trit i is trits[places[i]]. A place that is not below `dim` is no trit, and nothing is written.
    gather: *const fn (trits: [*]const i8, places: [*]const u32, dim: usize, out: Target, words: usize) callconv(.c) u32,
};

pub const BindTrits = *const fn (a: [*]const i8, b: [*]const i8, out: [*]i8, count: usize) callconv(.c) u32;

/// The same operations on one signed byte a trit, at most 2^24 at a time. They return 0, or 1 where a
/// value is no trit.
pub const TritKernels = extern struct {
    /// `out` may be `a` or `b`.
    add: BindTrits,
    subtract: BindTrits,
    multiply: BindTrits,
    counts: *const fn (a: [*]const i8, b: [*]const i8, count: usize, counts: *Counts) callconv(.c) u32,
    dot: *const fn (a: [*]const i8, b: [*]const i8, count: usize, dot: *i64) callconv(.c) u32,
};

pub const Kernels = extern struct {
    /// (a + b) mod 3, (a - b) mod 3 and a * b in balanced digits; `out` may be `a` or `b`.
    add: Bind,
    subtract: Bind,
    multiply: Bind,
    negate: *const fn (a: Vector, out: Target, words: usize, rows: usize) callconv(.c) void,
    dot: *const fn (a: Vector, b: Vector, words: usize) callconv(.c) i64,
    /// Trits that differ.
    distance: *const fn (a: Vector, b: Vector, words: usize) callconv(.c) u64,
    counts: *const fn (a: Vector, b: Vector, words: usize, counts: *Counts) callconv(.c) void,
    /// Every row with every query: products, trits that differ, dimensions in which both are nonzero.
    scan_dot: ScanKernel,
    scan_distance: ScanKernel,
    scan_common: ScanKernel,
    scores: *const fn (job: *const Scores) callconv(.c) void,
    /// Bits that are set in one plane.
    ones: *const fn (plane: Vector, words: usize) callconv(.c) u64,
    /// Trits of a whole vector from bytes, padding included. Returns 0, or 1 where a value is no trit.
    from_i8: *const fn (trits: [*]const i8, dim: usize, out: Target, words: usize) callconv(.c) u32,
    to_i8: *const fn (a: Vector, words: usize, dim: usize, trits: [*]i8) callconv(.c) void,
    /// Random trits of one vector; the mapping is described in vsa_random.zig.
    random: *const fn (out: Target, words: usize, dim: usize, row: u64, seed: u64, below: u32) callconv(.c) void,
    random_bipolar: *const fn (out: Target, words: usize, dim: usize, row: u64, seed: u64) callconv(.c) void,
    /// Kernels with `from` and `to` take these words of both planes, whole blocks.
    bundle: *const fn (bundle: *const Bundle, from: usize, to: usize) callconv(.c) void,
    /// Trits of 0 become 1, or random ones of `row` where `random` is 1.
    fill_ties: *const fn (out: Target, words: usize, dim: usize, from: usize, to: usize, row: u64, seed: u64, random: u32) callconv(.c) void,
    /// The left fold of one binding (0 add, 1 subtract, 2 multiply); `out` may be a source.
    bind_many: *const fn (sources: *const Sources, operation: u32, out: Target, words: usize, from: usize, to: usize) callconv(.c) void,
    /// Adds the weighted trits of vectors to counts, one i32 a trit, padding included.
    count: *const fn (counts: [*]align(64) i32, sources: *const Sources, words: usize, from: usize, to: usize, weight: i32) callconv(.c) void,
    /// The sign of the counts whose size is above `threshold`.
    count_signs: *const fn (counts: [*]align(64) const i32, threshold: u32, out: Target, words: usize, from: usize, to: usize) callconv(.c) void,
    count_dot: *const fn (counts: [*]align(64) const i32, a: Vector, words: usize) callconv(.c) i64,
    /// Sums of the low and of the high halves of the squares of `length` counts, a multiple of 16.
    count_squares: *const fn (counts: [*]align(64) const i32, length: usize, sums: *[2]u64) callconv(.c) void,
    /// Keeps the trits whose random word is below `below`; `out` may be `a`.
    thin: *const fn (a: Vector, out: Target, words: usize, dim: usize, row: u64, seed: u64, below: u32) callconv(.c) void,
    move: Move,
    formats: Formats,
    trits: TritKernels,
    encoders: encoders.Kernels,
};
