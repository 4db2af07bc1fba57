//! The tier's kernels of gradient codecs.

const bits = @import("gradients_bits.zig");
const table = @import("gradients_table.zig");

pub const kernels: table.Kernels = .{
    .sign_bits = bits.signBits,
    .signed = bits.signed,
};
