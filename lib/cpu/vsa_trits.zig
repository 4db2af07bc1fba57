//! Binding and similarity of trits in bytes, one a trit, as the caller has them.
//!
//!     (a + b) mod 3   x = a + b + 4 is from 2 to 6, and of x, x - 3 and x - 6 as unsigned bytes the
//!                     smallest is x mod 3; 1 less is the trit
//!     a * b           (a ^ b) | 1 is the sign where both are nonzero, which bit 0 of a & b tells
//!
//! Dot products are those of trit + 1 with a trit, less the sum of the latter. Floor: the bytes, and 9
//! instructions for 64 trits to bind (multiply 8), 7 for a dot product, 12 for all counts.

const simd = @import("simd.zig");
const table = @import("vsa_table.zig");

const chunk = 4 * simd.lanes;
const Bytes = @Vector(chunk, u8);

inline fn splat(value: u8) Bytes {
    return @splat(value);
}

/// A vector of trits, and the largest trit + 1 so far as an unsigned byte: at most 2 unless one was bad.
inline fn take(source: [*]const i8, most: *Bytes) Bytes {
    const trits: Bytes = @bitCast(simd.load(@Vector(chunk, i8), source));
    most.* = @max(most.*, trits +% splat(1));
    return trits;
}

/// The last trits of a run, filled up with zeros.
inline fn lastOf(source: [*]const i8, count: usize) [chunk]i8 {
    var last: [chunk]i8 = @splat(0);
    @memcpy(last[0..count], source[0..count]);
    return last;
}

const Operation = enum { add, subtract, multiply };

inline fn apply(comptime operation: Operation, a: Bytes, b: Bytes) Bytes {
    if (operation == .multiply) return ((a ^ b) | splat(1)) & (splat(0) -% (a & b & splat(1)));
    const sum = splat(4) +% if (operation == .add) a +% b else a -% b;
    return @min(sum, sum -% splat(3), sum -% splat(6)) -% splat(1);
}

fn kernelOf(comptime operation: Operation) table.BindTrits {
    return struct {
        fn run(a: [*]const i8, b: [*]const i8, out: [*]i8, count: usize) callconv(.c) u32 {
            var most = splat(0);
            var i: usize = 0;
            while (i + chunk <= count) : (i += chunk) {
                const result = apply(operation, take(a + i, &most), take(b + i, &most));
                simd.store(out + i, @as(@Vector(chunk, i8), @bitCast(result)));
            }
            if (i < count) {
                const x = lastOf(a + i, count - i);
                const y = lastOf(b + i, count - i);
                const result: [chunk]i8 = @as(@Vector(chunk, i8), @bitCast(apply(operation, take(&x, &most), take(&y, &most))));
                @memcpy(out[i..count], result[0 .. count - i]);
            }
            return @intFromBool(@reduce(.Max, most) > 2);
        }
    }.run;
}

/// Sums of products of bytes: `codes` at most 2, `trits` from -1 to 1.
const Sum = struct {
    lanes: simd.I32 = @splat(0),

    inline fn add(self: *Sum, codes: Bytes, trits: Bytes) void {
        self.lanes = simd.dot4(self.lanes, @bitCast(codes), @bitCast(trits));
    }

    inline fn total(self: Sum) i64 {
        return @reduce(.Add, self.lanes);
    }
};

const Dot = struct {
    most: Bytes = splat(0),
    /// Of a + 1 and b, and of b alone.
    raised: Sum = .{},
    b: Sum = .{},

    inline fn add(self: *Dot, a: [*]const i8, b: [*]const i8) void {
        const x = take(a, &self.most) +% splat(1);
        const y = take(b, &self.most);
        self.raised.add(x, y);
        self.b.add(splat(1), y);
    }
};

const All = struct {
    dot: Dot = .{},
    common: Sum = .{},
    nonzero_a: Sum = .{},
    nonzero_b: Sum = .{},

    inline fn add(self: *All, a: [*]const i8, b: [*]const i8) void {
        self.dot.add(a, b);
        const x = @as(Bytes, @bitCast(simd.load(@Vector(chunk, i8), a))) & splat(1);
        const y = @as(Bytes, @bitCast(simd.load(@Vector(chunk, i8), b))) & splat(1);
        self.common.add(x, y);
        self.nonzero_a.add(x, splat(1));
        self.nonzero_b.add(y, splat(1));
    }
};

inline fn sumUp(comptime Sums: type, a: [*]const i8, b: [*]const i8, count: usize) Sums {
    var sums: Sums = .{};
    var i: usize = 0;
    while (i + chunk <= count) : (i += chunk) sums.add(a + i, b + i);
    if (i < count) {
        const x = lastOf(a + i, count - i);
        const y = lastOf(b + i, count - i);
        sums.add(&x, &y);
    }
    return sums;
}

pub fn dot(a: [*]const i8, b: [*]const i8, count: usize, result: *i64) callconv(.c) u32 {
    const sums = sumUp(Dot, a, b, count);
    result.* = sums.raised.total() - sums.b.total();
    return @intFromBool(@reduce(.Max, sums.most) > 2);
}

pub fn counts(a: [*]const i8, b: [*]const i8, count: usize, result: *table.Counts) callconv(.c) u32 {
    result.* = .{ .common = 0, .opposite = 0, .nonzero_a = 0, .nonzero_b = 0 };
    const sums = sumUp(All, a, b, count);
    if (@reduce(.Max, sums.dot.most) > 2) return 1;
    const common = sums.common.total();
    const product = sums.dot.raised.total() - sums.dot.b.total();
    result.* = .{
        .common = @intCast(common),
        .opposite = @intCast(@divExact(common - product, 2)),
        .nonzero_a = @intCast(sums.nonzero_a.total()),
        .nonzero_b = @intCast(sums.nonzero_b.total()),
    };
    return 0;
}

pub const kernels: table.TritKernels = .{
    .add = kernelOf(.add),
    .subtract = kernelOf(.subtract),
    .multiply = kernelOf(.multiply),
    .counts = counts,
    .dot = dot,
};
