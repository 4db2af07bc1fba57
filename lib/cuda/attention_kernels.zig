//! What the kernels of attention_training.cu are told, and what a block of each computes and takes.

const std = @import("std");
const Kernel = @import("kernels.zig").Kernel;

/// See attention_training.cu.
pub const AttendText = extern struct {
    queries: u64,
    keys: u64,
    values: u64,
    out: u64 = 0,
    log_sums: u64,
    gradient: u64 = 0,
    sums: u64 = 0,
    query_gradient: u64 = 0,
    key_gradient: u64 = 0,
    value_gradient: u64 = 0,
    key_parts: u64 = 0,
    value_parts: u64 = 0,
    query_halves: u64,
    key_halves: u64,
    value_halves: u64,
    gradient_halves: u64 = 0,
    query_scales: u64,
    key_scales: u64,
    value_scales: u64,
    gradient_scales: u64 = 0,
    batch: u32,
    length: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    scale: f32,
};

/// A kernel, the rows that a block has, and its shared memory.
pub const Tile = struct {
    kernel: Kernel,
    rows: u32,
    shared_bytes: u32,

    /// Of `kept` tiles of rows, and of `stages` with a tile of columns of two tensors each and `words` for
    /// every column.
    fn init(comptime name: []const u8, comptime dim: u32, rows: u32, kept: u32, columns: u32, stages: u32, words: u32) Tile {
        return .{
            .kernel = kernelOf(name, dim),
            .rows = rows,
            .shared_bytes = 4 * (kept * rows * dim + stages * columns * (2 * dim + words)),
        };
    }

    /// For so many heads of all texts.
    pub fn blocks(self: Tile, length: u32, heads: u32) u32 {
        return (length + self.rows - 1) / self.rows * heads;
    }

    pub fn threads(self: Tile) u32 {
        return self.rows * 2;
    }
};

fn kernelOf(comptime name: []const u8, comptime dim: u32) Kernel {
    return @field(Kernel, std.fmt.comptimePrint("attend_text_{s}_{d}", .{ name, dim }));
}

/// The kernels for heads of up to `dim` elements.
pub const Variant = struct {
    dim: u32,
    split: Kernel,
    forward: Tile,
    queries: Tile,
    keys: Tile,
    /// Where the registers hold only one of the gradients of keys and values.
    values: ?Tile = null,

    fn init(comptime dim: u32, query_stages: u32, key_stages: u32) Variant {
        return .{
            .dim = dim,
            .split = kernelOf("split", dim),
            .forward = .init("forward", dim, 64, 1, 64, 1, 2),
            .queries = .init("queries", dim, 64, 2, 32, query_stages, 2),
            .keys = .init("keys", dim, 64, 2, 32, key_stages, 4),
        };
    }
};

pub const variants = [_]Variant{
    .init(32, 2, 2),
    .init(64, 1, 2),
    .init(128, 1, 1),
    .{
        .dim = 256,
        .split = kernelOf("split", 256),
        .forward = .init("forward", 256, 32, 1, 32, 1, 2),
        .queries = .init("queries", 256, 32, 2, 16, 1, 2),
        .keys = .init("keys", 256, 32, 2, 16, 1, 4),
        .values = .init("values", 256, 32, 2, 16, 1, 4),
    },
};

/// Threads of a block of attend_text_split, and what each takes of a row.
pub const split_threads = 256;
const split_rows = 2;

/// Rows that a block of attend_text_split takes.
pub fn splitRows(dim: u32) u32 {
    const lanes: u32 = @min(dim / 4, 32);
    return split_rows * split_threads / lanes;
}

/// The widest head that there is a kernel for.
pub const head_dim_max = variants[variants.len - 1].dim;

pub fn variantOf(head_dim: u32) *const Variant {
    for (&variants) |*variant| if (head_dim <= variant.dim) return variant;
    unreachable;
}
