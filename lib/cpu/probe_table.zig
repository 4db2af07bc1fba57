//! What a tier offers for measuring the limits of the machine; `probes.zig` fills it, `limits.zig`
//! takes the times.

/// Slices that `read` takes are multiples of this.
pub const read_bytes = 1024;

pub const Kernels = extern struct {
    /// Loads every byte once, with the tier's widest loads, and ORs them all together.
    read: *const fn (bytes: [*]align(64) const u8, size: usize) callconv(.c) u32,
    /// Runs the instruction over independent accumulators, `rounds` times each.
    dot: *const fn (rounds: u32, seed: i32) callconv(.c) i32,
    multiply_add: *const fn (rounds: u32, seed: f32) callconv(.c) f32,
    add: *const fn (rounds: u32, seed: f32) callconv(.c) f32,
    /// Operations of one round; a multiply-add counts as two.
    dot_operations: u32,
    multiply_add_operations: u32,
    add_operations: u32,
};
