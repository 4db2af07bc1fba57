//! The kernels of gradient codecs that every instruction-set tier fills.

pub const Kernels = extern struct {
    /// Bit i % 8 of byte i / 8 is the sign bit of value i; bits after the last are 0.
    sign_bits: *const fn (values: [*]const f32, count: usize, bits: [*]u8) callconv(.c) void,
    /// `scale` with the sign that each bit says.
    signed: *const fn (bits: [*]const u8, count: usize, scale: f32, values: [*]f32) callconv(.c) void,
};
