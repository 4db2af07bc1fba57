//! Binding and similarity of trits in bytes, one a trit, as the caller has them.
//!
//!     (a + b) mod 3   x = a + b + 4 is from 2 to 6, and of x, x - 3 and x - 6 as unsigned bytes the
//!                     smallest is x mod 3; 1 less is the trit
//!     a * b           (a ^ b) | 1 is the sign where both are nonzero, which bit 0 of a & b tells
//!
//! On AVX-512 a table of 64 bytes holds the results: bits 2 and 3 of its index are the lowest of b, the
//! others come from a.
//!
//! Dot products are those of trit + 1 with a trit, less the sum of the latter. Floor: the bytes, and 11
//! instructions for a vector to bind (6 on AVX-512), 6 for a dot product, 11 for all counts.

const simd = @import("simd.zig");
const table = @import("vsa_table.zig");

const chunk = 4 * simd.lanes;
const Bytes = @Vector(chunk, u8);

inline fn splat(value: u8) Bytes {
    return @splat(value);
}

/// Whether there was something else than trits among vectors of bytes.
const Guard = struct {
    /// On AVX-512 the bits of all magnitudes, elsewhere the largest trit + 1 as an unsigned byte.
    seen: Bytes = splat(0),

    inline fn take(self: *Guard, a: Bytes, b: Bytes) void {
        if (simd.has_avx512) {
            self.seen |= magnitudes(a) | magnitudes(b);
        } else {
            self.seen = @max(self.seen, a +% splat(1), b +% splat(1));
        }
    }

    inline fn isBad(self: Guard) bool {
        return @reduce(.Max, self.seen) > if (simd.has_avx512) 1 else 2;
    }
};

inline fn magnitudes(bytes: Bytes) Bytes {
    return @abs(@as(@Vector(chunk, i8), @bitCast(bytes)));
}

/// 1 for each nonzero trit.
inline fn nonzero(trits: Bytes) Bytes {
    return if (simd.has_avx512) magnitudes(trits) else trits & splat(1);
}

inline fn load(source: [*]const i8) Bytes {
    return @bitCast(simd.load(@Vector(chunk, i8), source));
}

/// The last trits of a run, filled up with zeros.
inline fn lastOf(source: [*]const i8, count: usize) Bytes {
    var last: [chunk]i8 = @splat(0);
    @memcpy(last[0..count], source[0..count]);
    return load(&last);
}

const Operation = enum { add, subtract, multiply };

inline fn apply(comptime operation: Operation, a: Bytes, b: Bytes) Bytes {
    if (simd.has_avx512) return looked(comptime resultsOf(operation), a, b);
    if (operation == .multiply) return ((a ^ b) | splat(1)) & (splat(0) -% (a & b & splat(1)));
    const sum = splat(4) +% if (operation == .add) a +% b else a -% b;
    return @min(sum, sum -% splat(3), sum -% splat(6)) -% splat(1);
}

fn resultsOf(operation: Operation) [chunk]u8 {
    @setEvalBranchQuota(10_000);
    var results: [chunk]u8 = @splat(0);
    for ([_]i8{ -1, 0, 1 }) |a| for ([_]i8{ -1, 0, 1 }) |b| {
        const x: u8 = @bitCast(a);
        const y: u8 = @bitCast(b);
        const result = switch (operation) {
            .add => @mod(a + b + 1, 3) - 1,
            .subtract => @mod(a - b + 1, 3) - 1,
            .multiply => a * b,
        };
        results[(x & 0x33) | (y << 2 & 0x0c)] = @bitCast(result);
    };
    return results;
}

inline fn looked(comptime results: [chunk]u8, a: Bytes, b: Bytes) Bytes {
    const Pairs = @Vector(chunk / 2, u16);
    const shifted: Bytes = @bitCast(@as(Pairs, @bitCast(b)) << @splat(2));
    const indices = (a & splat(0xf3)) | (shifted & splat(0x0c));
    const table_: Bytes = results;
    return asm ("vpermb %[results], %[indices], %[found]"
        : [found] "=v" (-> Bytes),
        : [results] "v" (table_),
          [indices] "v" (indices),
    );
}

fn kernelOf(comptime operation: Operation) table.BindTrits {
    return struct {
        fn run(a: [*]const i8, b: [*]const i8, out: [*]i8, count: usize) callconv(.c) u32 {
            var guard: Guard = .{};
            // The first and the last vector may overlap others, unless they would read results.
            const may_overlap = count >= chunk and out != a and out != b;
            var i: usize = 0;
            if (may_overlap) {
                whole(&guard, a, b, out);
                // On from where memory's own vectors begin: what crosses cache lines takes longer.
                i = chunk - @intFromPtr(out) % chunk;
            }
            while (i + chunk <= count) : (i += chunk) whole(&guard, a + i, b + i, out + i);
            if (i < count) {
                const last = count -| chunk;
                if (may_overlap) whole(&guard, a + last, b + last, out + last) else few(&guard, a + i, b + i, out + i, count - i);
            }
            return @intFromBool(guard.isBad());
        }

        inline fn whole(guard: *Guard, a: [*]const i8, b: [*]const i8, out: [*]i8) void {
            const x, const y = .{ load(a), load(b) };
            guard.take(x, y);
            simd.store(out, @as(@Vector(chunk, i8), @bitCast(apply(operation, x, y))));
        }

        /// Fewer than a vector.
        fn few(guard: *Guard, a: [*]const i8, b: [*]const i8, out: [*]i8, count: usize) void {
            const x, const y = .{ lastOf(a, count), lastOf(b, count) };
            guard.take(x, y);
            const result: [chunk]u8 = apply(operation, x, y);
            @memcpy(@as([*]u8, @ptrCast(out))[0..count], result[0..count]);
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
    guard: Guard = .{},
    /// Of a + 1 and b, and of b alone.
    raised: Sum = .{},
    b: Sum = .{},

    inline fn add(self: *Dot, a: Bytes, b: Bytes) void {
        self.guard.take(a, b);
        self.raised.add(a +% splat(1), b);
        self.b.add(splat(1), b);
    }
};

const All = struct {
    dot: Dot = .{},
    common: Sum = .{},
    nonzero_a: Sum = .{},
    nonzero_b: Sum = .{},

    inline fn add(self: *All, a: Bytes, b: Bytes) void {
        self.dot.add(a, b);
        const x, const y = .{ nonzero(a), nonzero(b) };
        self.common.add(x, y);
        self.nonzero_a.add(x, splat(1));
        self.nonzero_b.add(y, splat(1));
    }
};

inline fn sumUp(comptime Sums: type, a: [*]const i8, b: [*]const i8, count: usize) Sums {
    var sums: Sums = .{};
    var i: usize = 0;
    while (i + chunk <= count) : (i += chunk) sums.add(load(a + i), load(b + i));
    if (i < count) sums.add(lastOf(a + i, count - i), lastOf(b + i, count - i));
    return sums;
}

pub fn dot(a: [*]const i8, b: [*]const i8, count: usize, result: *i64) callconv(.c) u32 {
    const sums = sumUp(Dot, a, b, count);
    result.* = sums.raised.total() - sums.b.total();
    return @intFromBool(sums.guard.isBad());
}

pub fn counts(a: [*]const i8, b: [*]const i8, count: usize, result: *table.Counts) callconv(.c) u32 {
    result.* = .{ .common = 0, .opposite = 0, .nonzero_a = 0, .nonzero_b = 0 };
    const sums = sumUp(All, a, b, count);
    if (sums.dot.guard.isBad()) return 1;
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
