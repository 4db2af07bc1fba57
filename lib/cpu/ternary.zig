//! The tier's kernels that make, read and move trits.

const magnitudes = @import("magnitudes.zig");
const pack = @import("ternary_pack.zig");
const panel = @import("ternary_panel.zig");
const table = @import("ternary_table.zig");
const unpack = @import("ternary_unpack.zig");

pub const kernels: table.Kernels = .{
    .pack_f32 = pack.packF32,
    .pack_i8 = pack.packI8,
    .pack_codes = pack.packCodes,
    .pack_above = pack.packAbove,
    .trits_above = pack.tritsAbove,
    .unpack_i8 = unpack.unpackI8,
    .unpack_f32 = unpack.unpackF32,
    .fill_panel = panel.fill,
    .sum_magnitudes = magnitudes.sum,
    .sum_squares = magnitudes.sumSquares,
    .sum_kept = magnitudes.sumKept,
    .largest = magnitudes.largest,
};
