//! The tier's kernels of hypervectors.

const bind = @import("vsa_bind.zig");
const bundle = @import("vsa_bundle.zig");
const bytes = @import("vsa_bytes.zig");
const compare = @import("vsa_compare.zig");
const counts = @import("vsa_counts.zig");
const floats = @import("vsa_floats.zig");
const formats = @import("vsa_formats.zig");
const move = @import("vsa_move.zig");
const ngrams = @import("vsa_ngrams.zig");
const random = @import("vsa_random.zig");
const scan = @import("vsa_scan.zig");
const table = @import("vsa_table.zig");
const trits = @import("vsa_trits.zig");

pub const kernels: table.Kernels = .{
    .add = bind.add,
    .subtract = bind.subtract,
    .multiply = bind.multiply,
    .negate = bind.negate,
    .dot = compare.dot,
    .distance = compare.distance,
    .counts = compare.counts,
    .scan_dot = scan.dot,
    .scan_distance = scan.distance,
    .scan_common = scan.common,
    .scores = scan.scores,
    .ones = compare.ones,
    .from_i8 = bytes.fromI8,
    .to_i8 = bytes.toI8,
    .random = random.random,
    .random_bipolar = random.randomBipolar,
    .bundle = bundle.bundle,
    .fill_ties = random.fillTies,
    .bind_many = bind.bindMany,
    .count = counts.add,
    .count_signs = counts.signs,
    .count_dot = counts.dot,
    .count_squares = counts.squares,
    .thin = random.thin,
    .move = move.move,
    .formats = formats.kernels,
    .trits = trits.kernels,
    .encoders = .{
        .count_grams = ngrams.count,
        .dot = floats.dot,
        .add = floats.add,
        .dot_counts = floats.dotCounts,
        .add_counts = floats.addCounts,
        .squares = floats.squares,
        .squares_counts = floats.squaresCounts,
    },
};
