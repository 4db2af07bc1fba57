//! The tier's kernels of gradient codecs.

const collect = @import("gradients_collect.zig");
const bits = @import("gradients_bits.zig");
const dense = @import("gradients_dense.zig");
const hadamard = @import("gradients_hadamard.zig");
const levels = @import("gradients_levels.zig");
const lowrank = @import("gradients_lowrank.zig");
const places = @import("gradients_places.zig");
const rotate = @import("gradients_rotate.zig");
const samples = @import("gradients_samples.zig");
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
    .bind = rotate.bind,
    .levels = .{
        .two = levelsOf(2),
        .three = levelsOf(3),
        .four = levelsOf(4),
        .eight = levelsOf(8),
        .sixteen = levelsOf(16),
    },
    .pack_codes = trits.pack,
    .unpack_codes = trits.unpack,
    .keep = trits.keep,
    .classes = trits.classes,
    .scaled = trits.scaled,
    .add_trits = trits.addTrits,
    .sign_codes = trits.signCodes,
    .dot_trits = trits.dotTrits,
    .gather = samples.gather,
    .scatter = samples.scatter,
    .project = dense.project,
    .expand = dense.expand,
    .dots = lowrank.dots,
    .transposed = lowrank.transposed,
    .expand_row = lowrank.expandRow,
    .sums = sums.sums,
    .combine = sums.combine,
    .collect = collect.collect,
    .code_levels = collect.levels,
    .place = collect.place,
    .encode_places = places.encode,
    .decode_places = places.decode,
};
