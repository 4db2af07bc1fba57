//! The tier's kernels of gradient codecs.

const bits = @import("gradients_bits.zig");
const hadamard = @import("gradients_hadamard.zig");
const levels = @import("gradients_levels.zig");
const rotate = @import("gradients_rotate.zig");
const sums = @import("gradients_sums.zig");
const table = @import("gradients_table.zig");
const trits = @import("gradients_trits.zig");

fn levelsOf(comptime count: usize) table.Levels {
    return .{ .quantize = levels.Of(count).quantize, .dequantize = levels.Of(count).dequantize };
}

pub const kernels: table.Kernels = .{
    .sign_bits = bits.signBits,
    .signed = bits.signed,
    .hadamard = hadamard.hadamard,
    .flip = rotate.flip,
    .unflip = rotate.unflip,
    .levels = .{
        .two = levelsOf(2),
        .three = levelsOf(3),
        .four = levelsOf(4),
        .eight = levelsOf(8),
        .sixteen = levelsOf(16),
    },
    .pack_codes = trits.pack,
    .unpack_codes = trits.unpack,
    .codes_above = trits.codesAbove,
    .scaled = trits.scaled,
    .sum_above = trits.sumAbove,
    .sums = sums.sums,
    .combine = sums.combine,
};
