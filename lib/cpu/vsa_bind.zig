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
                    const result = apply(
                        operation,
                        .{ .nonzero = bits.load(@alignCast(x + i)), .negative = bits.load(@alignCast(x + words + i)) },
                        .{ .nonzero = bits.load(@alignCast(y + i)), .negative = bits.load(@alignCast(y + words + i)) },
                    );
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
