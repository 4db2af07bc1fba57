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
const Vector = [*]const u64;
const Grams = encoders.Grams;
const Counts = [table.block_trits]i32;

/// Windows that the adders take at a time.
const group = 8;
const planes = 8;
/// Windows after which 8 planes of counts are full, in whole groups.
const chunk = ((1 << planes) - 1) / group * group;

/// Counts of ones in 512 columns of bits: plane p is worth 2^p.
const Adder = struct {
    values: [planes]Block,

    const empty: Adder = .{ .values = @splat(bits.none) };
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
};

/// counts += factor x ones, in every column.
fn flush(adder: *const Adder, comptime factor: i32, counts: *Counts) void {
    const words: *const [planes][table.block_words]u64 = @ptrCast(&adder.values);
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
}

pub fn count(grams: *const Grams, block: usize, counts: *Counts) callconv(.c) void {
    switch (grams.mode) {
        .multiply_bipolar => {
            // Without a negative item every window adds 1; each negative one takes off 2.
            @memset(counts, @truncate(@as(i64, @intCast(grams.grams))));
            run(.bipolar, grams, block, counts);
        },
        inline .add, .subtract, .multiply => |mode| {
            @memset(counts, 0);
            run(if (mode == .add) .add else if (mode == .subtract) .subtract else .multiply, grams, block, counts);
        },
    }
}

const Binding = enum { add, subtract, multiply, bipolar };

fn run(comptime binding: Binding, grams: *const Grams, block: usize, counts: *Counts) void {
    switch (grams.n) {
        2 => runOf(binding, 2, grams, block, counts),
        3 => runOf(binding, 3, grams, block, counts),
        4 => runOf(binding, 4, grams, block, counts),
        else => runOf(binding, null, grams, block, counts),
    }
}

/// Planes that a bound window has: the negative one alone, or both.
fn widthOf(comptime binding: Binding) usize {
    return if (binding == .bipolar) 1 else 2;
}

fn runOf(comptime binding: Binding, comptime known: ?usize, grams: *const Grams, block: usize, counts: *Counts) void {
    const width = comptime widthOf(binding);
    const reader: Reader(binding, known) = .{
        .items = grams.items + block * table.block_words + if (binding == .bipolar) grams.words else 0,
        .words = grams.words,
        .n = grams.n,
        .symbols = grams.symbols,
    };
    var window: usize = 0;
    while (window < grams.grams) {
        const end = @min(window + chunk, grams.grams);
        var adders: [width]Adder = @splat(.empty);
        while (window + group <= end) : (window += group) {
            const rows = reader.windows(window);
            inline for (&adders, rows) |*adder, row| adder.add(row);
        }
        if (window < end) {
            var rows: [width][group]Block = @splat(@splat(bits.none));
            for (window..end, 0..) |index, i| {
                const bound = reader.one(index);
                inline for (&rows, bound) |*row, plane| row[i] = plane;
            }
            inline for (&adders, rows) |*adder, row| adder.add(row);
            window = end;
        }
        if (binding == .bipolar) {
            flush(&adders[0], -2, counts);
        } else {
            flush(&adders[0], 1, counts);
            flush(&adders[1], -2, counts);
        }
    }
}

/// Reads a block of windows; `known` is n where it is one of the usual.
fn Reader(comptime binding: Binding, comptime known: ?usize) type {
    return struct {
        items: Vector,
        words: usize,
        n: usize,
        symbols: [*]const u32,

        const Self = @This();
        const width = widthOf(binding);
        const Bound = [width]Block;

        /// Where the items of the symbols of `count` windows begin.
        inline fn bases(self: *const Self, comptime windows_count: usize, first: usize) [windows_count + (known orelse 1) - 1]Vector {
            const stride = (known orelse self.n) * 2 * self.words;
            var result: [windows_count + (known orelse 1) - 1]Vector = undefined;
            inline for (&result, 0..) |*base, i| base.* = self.items + self.symbols[first + i] * stride;
            return result;
        }

        inline fn windows(self: *const Self, first: usize) [width][group]Block {
            var rows: [width][group]Block = undefined;
            if (known != null) {
                const all = self.bases(group, first);
                inline for (0..group) |i| {
                    const result = self.bound(all, i);
                    inline for (&rows, result) |*row, plane| row[i] = plane;
                }
            } else {
                inline for (0..group) |i| {
                    const result = self.boundAny(first + i);
                    inline for (&rows, result) |*row, plane| row[i] = plane;
                }
            }
            return rows;
        }

        inline fn bound(self: *const Self, all: anytype, comptime i: usize) Bound {
            const n = known.?;
            const step = 2 * self.words;
            if (binding == .bipolar and n == 3)
                return .{bits.xor3(at(all[i]), at(all[i + 1] + step), at(all[i + 2] + 2 * step))};
            var result = self.item(all[i]);
            inline for (1..n) |place| result = combine(result, self.item(all[i + place] + place * step));
            return result;
        }

        inline fn one(self: *const Self, window: usize) Bound {
            return if (known == null) self.boundAny(window) else self.bound(self.bases(1, window), 0);
        }

        inline fn boundAny(self: *const Self, window: usize) Bound {
            const step = 2 * self.words;
            var result = self.item(self.bases(1, window)[0]);
            for (1..self.n) |place| result = combine(result, self.item(self.bases(1, window + place)[0] + place * step));
            return result;
        }

        inline fn item(self: *const Self, place: Vector) Bound {
            return if (binding == .bipolar) .{at(place)} else .{ at(place), at(place + self.words) };
        }

        inline fn combine(a: Bound, b: Bound) Bound {
            if (binding == .bipolar) return .{a[0] ^ b[0]};
            const operation: bind.Operation = switch (binding) {
                .add => .add,
                .subtract => .subtract,
                .multiply, .bipolar => .multiply,
            };
            const result = bind.apply(operation, .{ .nonzero = a[0], .negative = a[1] }, .{ .nonzero = b[0], .negative = b[1] });
            return .{ result.nonzero, result.negative };
        }

        inline fn at(place: Vector) Block {
            return bits.load(@alignCast(place));
        }
    };
}
