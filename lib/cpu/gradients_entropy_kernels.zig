//! The tier's kernels of the codec `entropy`.

const rans = @import("gradients_rans.zig");
const table = @import("gradients_entropy_table.zig");
const trellis = @import("gradients_trellis.zig");

pub const kernels: table.Kernels = .{
    .measure = trellis.measure,
    .trellis = trellis.trellis,
    .symbols = rans.symbols,
    .encode = rans.encode,
    .decode = rans.decode,
};
