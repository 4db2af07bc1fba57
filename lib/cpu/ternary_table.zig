//! The kernels that make, read and move trits, and what they are told.
//!
//! All of them meet in the wire format (packing.zig): floats, bytes and checkpoints are packed into
//! it a run at a time, and sixteen rows of it at a time become a panel of prepared weights.

pub const panel_rows = 16;

/// Sixteen rows of the wire format, and where their columns go in prepared weights.
pub const Panel = extern struct {
    rows: [panel_rows][*]const u8,
    /// Rows that exist; the rest is padding.
    rows_count: u32,
    steps: u32,
    /// The panel's first step; see table.zig.
    target: [*]u8,
    /// Bytes between two steps of the panel.
    stride: usize,
};

/// What a panel turned out to hold.
pub const Found = extern struct {
    nonzeros: u64,
    /// 0, or 1 where a code was 11.
    bad: u32,
};

/// The weights above a threshold.
pub const Kept = extern struct {
    magnitudes: f64,
    count: u64,
};

pub const Kernels = extern struct {
    /// Pack a run of trits, the last byte padded with zeros. Return 0, or 1 where a value was no trit;
    /// every byte is written all the same.
    pack_f32: *const fn (trits: [*]const f32, count: usize, bytes: [*]u8) callconv(.c) u32,
    pack_i8: *const fn (trits: [*]const i8, count: usize, bytes: [*]u8) callconv(.c) u32,
    /// The same for bits `shift` and `shift` + 1 of each byte, which hold trit + 1.
    pack_codes: *const fn (codes: [*]const u8, shift: u32, count: usize, bytes: [*]u8) callconv(.c) u32,
    /// Packs the signs of the weights whose magnitude is above `above`, 0 for the others.
    pack_above: *const fn (weights: [*]const f32, count: usize, above: f32, bytes: [*]u8) callconv(.c) void,
    /// The same as bytes.
    trits_above: *const fn (weights: [*]const f32, count: usize, above: f32, trits: [*]i8) callconv(.c) void,
    /// Unpack a run. Return 0, or 1 where a code was 11.
    unpack_i8: *const fn (bytes: [*]const u8, count: usize, trits: [*]i8) callconv(.c) u32,
    unpack_f32: *const fn (bytes: [*]const u8, count: usize, scale: f32, weights: [*]f32) callconv(.c) u32,
    fill_panel: *const fn (panel: *const Panel, found: *Found) callconv(.c) void,

    /// Sums of f64, in an order that is the same on every tier; not finite where a weight is not.
    sum_magnitudes: *const fn (weights: [*]const f32, count: usize) callconv(.c) f64,
    sum_squares: *const fn (weights: [*]const f32, count: usize, mean: f64) callconv(.c) f64,
    sum_kept: *const fn (weights: [*]const f32, count: usize, above: f32, kept: *Kept) callconv(.c) void,
    /// The bits of the largest magnitude; at least those of infinity where a weight is not finite.
    largest: *const fn (weights: [*]const f32, count: usize) callconv(.c) u32,
};
