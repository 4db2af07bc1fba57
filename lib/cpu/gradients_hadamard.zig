//! The Walsh-Hadamard transform of a block, in place and not normalised: out[i] is the sum of all
//! values[j], negated where i & j has an odd number of bits. Twice gives `size` times the values.
//!
//! One level for each bit of the size replaces pairs (a, b) that are h apart by (a + b, a - b), for
//! h = 1, 2, 4, ... in this order on every tier, so that the sums are the same to the last bit. Levels
//! within a register exchange lanes; the others are taken `radix` registers at a time:
//!
//!     levels 1 .. lanes radix / 2   on `radix` neighbouring registers, loaded and stored once
//!     then log2(radix) levels       on `radix` registers that are h apart, loaded and stored once
//!
//! Floor: a block of 4096 (16 KiB, in the first cache) takes 12 additions for every value; on AVX-512
//! two passes of loads and stores, 4 of the 12 levels as exchanges of lanes and fused products with
//! -1 and 1.

const std = @import("std");
const simd = @import("simd.zig");

pub const size_max = 4096;

const lanes = simd.lanes;
const F = simd.F32;
/// Registers that are transformed together; AVX-512 has 32 of them, the others 16.
const radix = if (simd.has_avx512) 16 else 8;

pub fn hadamard(values: [*]align(64) f32, size: usize) callconv(.c) void {
    const first = lanes * radix;
    if (size < first) return small(values, size);
    var i: usize = 0;
    while (i < size) : (i += first) neighbours(values + i);
    var h: usize = first;
    while (h * radix <= size) : (h *= radix) pass(radix, values, size, h);
    switch (size / h) {
        2 => pass(2, values, size, h),
        4 => pass(4, values, size, h),
        8 => if (radix > 8) pass(8, values, size, h),
        else => {},
    }
}

/// Blocks that are shorter than the registers which would hold them.
fn small(values: [*]f32, size: usize) void {
    var h: usize = 1;
    while (h < size) : (h *= 2) {
        var i: usize = 0;
        while (i < size) : (i += 2 * h) {
            for (values[i..][0..h], values[i + h ..][0..h]) |*low, *high| {
                const a, const b = .{ low.*, high.* };
                low.* = a + b;
                high.* = a - b;
            }
        }
    }
}

/// The levels within `radix` registers side by side.
fn neighbours(values: [*]f32) void {
    @setEvalBranchQuota(10_000);
    var registers: [radix]F = undefined;
    inline for (&registers, 0..) |*register, i| {
        register.* = values[i * lanes ..][0..lanes].*;
        inline for (0..std.math.log2(lanes)) |level| register.* = exchange(1 << level, register.*);
    }
    butterflies(radix, &registers);
    inline for (registers, 0..) |register, i| values[i * lanes ..][0..lanes].* = register;
}

/// log2(count) levels on registers that are h, 2h, ... apart.
fn pass(comptime count: usize, values: [*]f32, size: usize, h: usize) void {
    var start: usize = 0;
    while (start < size) : (start += count * h) {
        var i = start;
        while (i < start + h) : (i += lanes) {
            var registers: [count]F = undefined;
            inline for (&registers, 0..) |*register, n| register.* = values[i + n * h ..][0..lanes].*;
            butterflies(count, &registers);
            inline for (registers, 0..) |register, n| values[i + n * h ..][0..lanes].* = register;
        }
    }
}

inline fn butterflies(comptime count: usize, registers: *[count]F) void {
    comptime var h: usize = 1;
    inline while (h < count) : (h *= 2) {
        comptime var i: usize = 0;
        inline while (i < count) : (i += 1) if (i & h == 0) {
            const a, const b = .{ registers[i], registers[i + h] };
            registers[i] = a + b;
            registers[i + h] = a - b;
        };
    }
}

/// One level within a register: each lane gets its partner's value plus or minus its own.
inline fn exchange(comptime h: usize, vector: F) F {
    comptime var partners: [lanes]i32 = undefined;
    comptime var ones: [lanes]f32 = undefined;
    inline for (0..lanes) |lane| {
        partners[lane] = lane ^ h;
        ones[lane] = if (lane & h == 0) 1 else -1;
    }
    const partner = @shuffle(f32, vector, undefined, partners);
    return simd.addProduct(vector, ones, partner);
}
