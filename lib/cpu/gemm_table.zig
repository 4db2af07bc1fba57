//! The kernels of dense matrix products, and what they are told.
//!
//! Both factors are packed first, a block of the reduction at a time: into panels of `tile_rows` rows
//! of the left one and `tile_columns` columns of the right one, index by index of the reduction, and
//! padded with zeros to whole panels:
//!
//!     panel 0 [k 0: outer 0 .. n-1][k 1: outer 0 .. n-1] ...  panel 1 [k 0: outer n .. 2n-1] ...

/// What a factor's elements are.
pub const Kind = enum(u32) { f32 = 0, i8 = 1 };

/// A piece of a factor on its way into panels. "Outer" is the row of the left factor or the column of
/// the right one.
pub const Pack = extern struct {
    source: [*]const u8,
    /// Elements between two outer indices, and between two indices of the reduction; one of them is 1,
    /// and for i8 it is the first.
    outer_stride: usize,
    depth_stride: usize,
    /// A factor for each index of the reduction, or null.
    depth_scales: ?[*]const f32,
    target: [*]f32,
    outer: u32,
    depth: u32,
    /// A Kind.
    kind: u32,
};

/// Packed panels times packed panels: c = alpha a b + beta c, where c is not read if beta is 0.
pub const Block = extern struct {
    a: [*]const f32,
    b: [*]const f32,
    c: [*]f32,
    c_stride: usize,
    rows: u32,
    columns: u32,
    depth: u32,
    alpha: f32,
    beta: f32,
};

pub const Kernels = extern struct {
    tile_rows: u32,
    tile_columns: u32,
    pack_rows: *const fn (*const Pack) callconv(.c) void,
    pack_columns: *const fn (*const Pack) callconv(.c) void,
    multiply: *const fn (*const Block) callconv(.c) void,
};
