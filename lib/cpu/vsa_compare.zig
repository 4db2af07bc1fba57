//! Counts of bits that similarities are made of.
//!
//!     common   = |a.nonzero & b.nonzero|
//!     opposite = |a.nonzero & b.nonzero & (a.negative ^ b.negative)|
//!     dot      = common - 2 opposite
//!     distance = |(a.nonzero ^ b.nonzero) | (a.negative ^ b.negative)|
//!
//! Floor: 256 bytes read for 512 pairs of trits, and 6 instructions (distance 4, all counts 10) on
//! AVX-512: from the second cache on, reading is what takes the time.

const table = @import("vsa_table.zig");
const bits = @import("vsa_bits.zig");

const Block = bits.Block;

inline fn at(plane: table.Vector, i: usize) Block {
    return bits.load(@alignCast(plane + i));
}

pub fn dot(a: table.Vector, b: table.Vector, words: usize) callconv(.c) i64 {
    var common: Block = bits.none;
    var opposite: Block = bits.none;
    var i: usize = 0;
    while (i < words) : (i += table.block_words) {
        const both = at(a, i) & at(b, i);
        common += @popCount(both);
        opposite += @popCount(bits.andXor(both, at(a, words + i), at(b, words + i)));
    }
    return @as(i64, @intCast(@reduce(.Add, common))) - 2 * @as(i64, @intCast(@reduce(.Add, opposite)));
}

pub fn distance(a: table.Vector, b: table.Vector, words: usize) callconv(.c) u64 {
    var differing: Block = bits.none;
    var i: usize = 0;
    while (i < words) : (i += table.block_words) {
        const support = at(a, i) ^ at(b, i);
        differing += @popCount(bits.orXor(support, at(a, words + i), at(b, words + i)));
    }
    return @reduce(.Add, differing);
}

pub fn counts(a: table.Vector, b: table.Vector, words: usize, result: *table.Counts) callconv(.c) void {
    var common: Block = bits.none;
    var opposite: Block = bits.none;
    var nonzero_a: Block = bits.none;
    var nonzero_b: Block = bits.none;
    var i: usize = 0;
    while (i < words) : (i += table.block_words) {
        const x = at(a, i);
        const y = at(b, i);
        const both = x & y;
        common += @popCount(both);
        opposite += @popCount(bits.andXor(both, at(a, words + i), at(b, words + i)));
        nonzero_a += @popCount(x);
        nonzero_b += @popCount(y);
    }
    result.* = .{
        .common = @reduce(.Add, common),
        .opposite = @reduce(.Add, opposite),
        .nonzero_a = @reduce(.Add, nonzero_a),
        .nonzero_b = @reduce(.Add, nonzero_b),
    };
}

pub fn ones(plane: table.Vector, words: usize) callconv(.c) u64 {
    var total: Block = bits.none;
    var i: usize = 0;
    while (i < words) : (i += table.block_words) total += @popCount(at(plane, i));
    return @reduce(.Add, total);
}
