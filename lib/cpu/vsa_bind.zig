//! Binding: element by element, in balanced digits,
//!
//!     add       (a + b) mod 3: commutative, associative, undone by subtract
//!     subtract  (a - b) mod 3
//!     multiply  a * b: its own inverse where the key has no zero
//!
//! With a = (m, n), b = (k, l) as (nonzero, negative) planes and f = m ^ n ^ l:
//!
//!                nonzero                      negative
//!     add        (m ^ k) | (f & m & k)        (n ^ k) & (m ^ l)
//!     subtract   (m ^ k) | (~f & m & k)       ~f & (n ^ k)
//!     multiply   m & k                        (m & k) & (n ^ l)
//!
//! Floor: 4 loads, 2 stores and, on AVX-512, 3 instructions (multiply 2) for 512 trits. Zen 4 stores
//! 32 bytes a cycle, so that 10,000 trits take 80 cycles from its first cache.

const simd = @import("simd.zig");
const table = @import("vsa_table.zig");
const bits = @import("vsa_bits.zig");

const Block = bits.Block;
pub const Planes = struct { nonzero: Block, negative: Block };
pub const Operation = enum { add, subtract, multiply };

pub inline fn apply(comptime operation: Operation, a: Planes, b: Planes) Planes {
    const m, const n, const k, const l = .{ a.nonzero, a.negative, b.nonzero, b.negative };
    if (operation == .multiply) {
        const both = m & k;
        return .{ .nonzero = both, .negative = bits.andXor(both, n, l) };
    }
    const f = bits.xor3(m, n, l);
    if (simd.has_avx512) return switch (operation) {
        .add => .{ .nonzero = bits.ternary(0xe6, f, m, k), .negative = bits.ternary(0x24, f, n, k) },
        .subtract => .{ .nonzero = bits.ternary(0x6e, f, m, k), .negative = bits.ternary(0x06, f, n, k) },
        .multiply => unreachable,
    };
    return switch (operation) {
        .add => .{ .nonzero = (m ^ k) | (f & m & k), .negative = (n ^ k) & (m ^ l) },
        .subtract => .{ .nonzero = (m ^ k) | (m & k & ~f), .negative = (n ^ k) & ~f },
        .multiply => unreachable,
    };
}

fn kernelOf(comptime operation: Operation) table.Bind {
    return struct {
        fn run(a: table.Rows, b: table.Rows, out: table.Target, words: usize, rows: usize) callconv(.c) void {
            for (0..rows) |row| {
                const x: table.Vector = @alignCast(a.first + row * a.stride);
                const y: table.Vector = @alignCast(b.first + row * b.stride);
                const target: table.Target = @alignCast(out + row * 2 * words);
                var i: usize = 0;
                while (i < words) : (i += table.block_words) {
                    const result = apply(operation, planesAt(x, words, i), planesAt(y, words, i));
                    bits.store(@alignCast(target + i), result.nonzero);
                    bits.store(@alignCast(target + words + i), result.negative);
                }
            }
        }
    }.run;
}

pub const add = kernelOf(.add);
pub const subtract = kernelOf(.subtract);
pub const multiply = kernelOf(.multiply);

/// The left fold: the first with the second, that with the third, and so on, block by block.
pub fn bindMany(sources: *const table.Sources, operation: u32, out: table.Target, words: usize, from: usize, to: usize) callconv(.c) void {
    switch (operation) {
        0 => fold(.add, sources, out, words, from, to),
        1 => fold(.subtract, sources, out, words, from, to),
        else => fold(.multiply, sources, out, words, from, to),
    }
}

/// Blocks in flight: each waits for its own last result only.
const fold_blocks = 4;

inline fn fold(comptime operation: Operation, sources: *const table.Sources, out: table.Target, words: usize, from: usize, to: usize) void {
    var i = from;
    while (i + fold_blocks * table.block_words <= to) : (i += fold_blocks * table.block_words)
        foldBlocks(operation, fold_blocks, sources, out, words, i);
    while (i < to) : (i += table.block_words) foldBlocks(operation, 1, sources, out, words, i);
}

inline fn foldBlocks(comptime operation: Operation, comptime n: usize, sources: *const table.Sources, out: table.Target, words: usize, i: usize) void {
    var results: [n]Planes = undefined;
    inline for (&results, 0..) |*result, block| result.* = planesAt(sources.at(0), words, i + block * table.block_words);
    for (1..sources.count) |index| {
        const source = sources.at(index);
        inline for (&results, 0..) |*result, block|
            result.* = apply(operation, result.*, planesAt(source, words, i + block * table.block_words));
    }
    inline for (results, 0..) |result, block| {
        bits.store(@alignCast(out + i + block * table.block_words), result.nonzero);
        bits.store(@alignCast(out + words + i + block * table.block_words), result.negative);
    }
}

inline fn planesAt(vector: table.Vector, words: usize, i: usize) Planes {
    return .{ .nonzero = bits.load(@alignCast(vector + i)), .negative = bits.load(@alignCast(vector + words + i)) };
}

pub fn negate(a: table.Vector, out: table.Target, words: usize, rows: usize) callconv(.c) void {
    for (0..rows) |row| {
        const x: table.Vector = @alignCast(a + row * 2 * words);
        const target: table.Target = @alignCast(out + row * 2 * words);
        var i: usize = 0;
        while (i < words) : (i += table.block_words) {
            const nonzero = bits.load(@alignCast(x + i));
            bits.store(@alignCast(target + i), nonzero);
            bits.store(@alignCast(target + words + i), nonzero ^ bits.load(@alignCast(x + words + i)));
        }
    }
}
