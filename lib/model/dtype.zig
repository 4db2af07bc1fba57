//! What the tensors of a file are made of; the numbers are part of the ABI.

const Float = @import("../cpu/vector16.zig").Float;

pub const Dtype = enum(u32) {
    f32 = 0,
    f16 = 1,
    bf16 = 2,
    /// Four codes a byte, row-interleaved: byte (p, c), bit pair k holds row p + k * (rows / 4).
    bitnet = 3,
    /// Trits.
    i8 = 4,

    pub fn float(self: Dtype) ?Float {
        return switch (self) {
            .f32 => .f32,
            .f16 => .f16,
            .bf16 => .bf16,
            .bitnet, .i8 => null,
        };
    }

    /// Bytes of a matrix; its rows are a multiple of 4 where they are interleaved.
    pub fn bytes(self: Dtype, rows: u64, columns: u64) u64 {
        return switch (self) {
            .f32 => rows * columns * 4,
            .f16, .bf16 => rows * columns * 2,
            .bitnet => rows / 4 * columns,
            .i8 => rows * columns,
        };
    }
};
