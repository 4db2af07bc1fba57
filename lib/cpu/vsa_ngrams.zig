//! Bundles of n-grams: for every window of n symbols the vectors that stand for them at their places
//! are bound, and the trits of all windows are added up, dimension by dimension.
//!
//! A block of 512 dimensions is worked through for the whole text before the next, so that its part
//! of the table of items stays in the first cache and no bound vector is ever written:
//!
//!     items (n places of each symbol) --bind--> planes --carry-save adders--> 8 planes of counts
//!     --every 255 windows--> i32
//!
//! Items without zeros, bound by multiplication, need one plane: the xor of their negative planes.
//!
//! Floor on AVX-512: n loads, 1 xor of three (n = 3) and 2 x 7/8 + 10/8 instructions of the adders for
//! 512 dimensions of a window, twice that and the binding with two planes.

const simd = @import("simd.zig");
const table = @import("vsa_table.zig");
const encoders = @import("vsa_encoders_table.zig");
const bind = @import("vsa_bind.zig");
const bits = @import("vsa_bits.zig");

const Block = bits.Block;
const Grams = encoders.Grams;
const Counts = [table.block_trits]i32;

/// Windows that the adders take at a time.
const group = 8;
const planes = 8;
/// Windows after which 8 planes of counts are full, in whole groups.
const chunk = ((1 << planes) - 1) / group * group;

/// Counts of ones in 512 columns of bits: plane p is worth 2^p.
const Adder = struct {
    values: [planes]Block = @splat(bits.none),

    const Sum = struct { sum: Block, carry: Block };

    inline fn full(a: Block, b: Block, c: Block) Sum {
        return .{ .sum = bits.xor3(a, b, c), .carry = bits.majority(a, b, c) };
    }

    inline fn add(self: *Adder, rows: [group]Block) void {
        const v = &self.values;
        const a = full(v[0], rows[0], rows[1]);
        const b = full(a.sum, rows[2], rows[3]);
        const c = full(b.sum, rows[4], rows[5]);
        const d = full(c.sum, rows[6], rows[7]);
        v[0] = d.sum;
        const e = full(v[1], a.carry, b.carry);
        const f = full(e.sum, c.carry, d.carry);
        v[1] = f.sum;
        const g = full(v[2], e.carry, f.carry);
        v[2] = g.sum;
        var carry = g.carry;
        inline for (3..planes) |p| {
            const next = v[p] & carry;
            v[p] ^= carry;
            carry = next;
        }
    }

    /// counts += factor x ones, in every column.
    fn flush(self: *Adder, comptime factor: i32, counts: *Counts) void {
        var words: [planes][table.block_words]u64 = undefined;
        inline for (&words, self.values) |*word, value| word.* = value;
        for (0..table.block_words) |w| {
            var ones: @Vector(64, u8) = @splat(0);
            inline for (0..planes) |p| {
                const set: @Vector(64, bool) = @bitCast(words[p][w]);
                ones |= @select(u8, set, @as(@Vector(64, u8), @splat(1 << p)), @as(@Vector(64, u8), @splat(0)));
            }
            const bytes: [64]u8 = ones;
            inline for (0..64 / simd.lanes) |part| {
                const column = w * 64 + part * simd.lanes;
                const some: @Vector(simd.lanes, u8) = bytes[part * simd.lanes ..][0..simd.lanes].*;
                const wide: simd.I32 = @intCast(some);
                const sum = simd.load(simd.I32, counts[column..].ptr) +% wide * @as(simd.I32, @splat(factor));
                simd.store(counts[column..].ptr, sum);
            }
        }
        self.values = @splat(bits.none);
    }
};

pub fn count(grams: *const Grams, block: usize, counts: *Counts) callconv(.c) void {
    switch (grams.mode) {
        .multiply_bipolar => switch (grams.n) {
            2 => countBipolar(2, grams, block, counts),
            3 => countBipolar(3, grams, block, counts),
            4 => countBipolar(4, grams, block, counts),
            else => countBipolar(null, grams, block, counts),
        },
        .add => countTrits(.add, grams, block, counts),
        .subtract => countTrits(.subtract, grams, block, counts),
        .multiply => countTrits(.multiply, grams, block, counts),
    }
}

/// The planes of a window's symbol at a place.
inline fn item(grams: *const Grams, n: usize, first: table.Vector, window: usize, place: usize) table.Vector {
    const row = @as(usize, grams.symbols[window + place]) * n + place;
    return @alignCast(first + row * 2 * grams.words);
}

fn countBipolar(comptime known: ?usize, grams: *const Grams, block: usize, counts: *Counts) void {
    const n = known orelse @as(usize, grams.n);
    // Of the negative plane.
    const first: table.Vector = @alignCast(grams.items + grams.words + block * table.block_words);
    // Without a negative item every window adds 1; each negative one takes off 2.
    @memset(counts, @truncate(@as(i64, @intCast(grams.grams))));
    var adder: Adder = .{};
    var window: usize = 0;
    while (window < grams.grams) : (window += group) {
        if (window > 0 and window % chunk == 0) adder.flush(-2, counts);
        var rows: [group]Block = @splat(bits.none);
        if (window + group <= grams.grams) {
            inline for (&rows, 0..) |*row, i| row.* = parity(known, grams, n, first, window + i);
        } else {
            for (rows[0 .. grams.grams - window], window..) |*row, index| row.* = parity(known, grams, n, first, index);
        }
        adder.add(rows);
    }
    adder.flush(-2, counts);
}

inline fn parity(comptime known: ?usize, grams: *const Grams, n: usize, first: table.Vector, window: usize) Block {
    if (known == 3) return bits.xor3(
        bits.load(item(grams, n, first, window, 0)),
        bits.load(item(grams, n, first, window, 1)),
        bits.load(item(grams, n, first, window, 2)),
    );
    var result = bits.load(item(grams, n, first, window, 0));
    if (known) |places| {
        inline for (1..places) |place| result ^= bits.load(item(grams, n, first, window, place));
    } else {
        for (1..n) |place| result ^= bits.load(item(grams, n, first, window, place));
    }
    return result;
}

fn countTrits(comptime operation: bind.Operation, grams: *const Grams, block: usize, counts: *Counts) void {
    const n: usize = grams.n;
    const first: table.Vector = @alignCast(grams.items + block * table.block_words);
    @memset(counts, 0);
    var nonzero: Adder = .{};
    var negative: Adder = .{};
    var window: usize = 0;
    while (window < grams.grams) : (window += group) {
        if (window > 0 and window % chunk == 0) {
            nonzero.flush(1, counts);
            negative.flush(-2, counts);
        }
        var rows: [2][group]Block = @splat(@splat(bits.none));
        for (0..@min(group, grams.grams - window)) |i| {
            const bound = bindWindow(operation, grams, n, first, window + i);
            rows[0][i] = bound.nonzero;
            rows[1][i] = bound.negative;
        }
        nonzero.add(rows[0]);
        negative.add(rows[1]);
    }
    nonzero.flush(1, counts);
    negative.flush(-2, counts);
}

inline fn bindWindow(comptime operation: bind.Operation, grams: *const Grams, n: usize, first: table.Vector, window: usize) bind.Planes {
    var result = planesOf(grams, item(grams, n, first, window, 0));
    for (1..n) |place| result = bind.apply(operation, result, planesOf(grams, item(grams, n, first, window, place)));
    return result;
}

inline fn planesOf(grams: *const Grams, vector: table.Vector) bind.Planes {
    return .{ .nonzero = bits.load(vector), .negative = bits.load(@alignCast(vector + grams.words)) };
}
