//! Sums of many trits at once, as bits: the counter of a trit stands in the same place of several
//! registers, one for each binary digit.
//!
//!     K - sum = (trits that are zero) + 2 (negative trits)     from 0 to 2K
//!
//! so a vector adds one bit of weight 1 (the complement of its nonzero plane) and one of weight 2 (its
//! negative plane). Bits of one weight wait until there are three; a full adder makes of them one of
//! the same and one of twice the weight. Each adder takes one bit out of the world, so that K vectors
//! take 2K adders less the digits that are left: 4K instructions on AVX-512, where exclusive or and
//! majority of three, complements included, are one each.

const simd = @import("simd.zig");
const table = @import("vsa_table.zig");

/// Trits that are added side by side: what one register holds.
pub const lane_words = simd.lanes / 2;
pub const Lane = @Vector(lane_words, u64);

/// The most vectors that are added in one go.
pub const group_max = 16;

/// Binary digits of `K - sum` for K vectors.
pub fn digitsOf(count: u64) u32 {
    return 65 - @clz(count);
}

pub inline fn load(plane: [*]const u64) Lane {
    const pointer: *const Lane = @ptrCast(@alignCast(plane));
    return pointer.*;
}

pub inline fn store(plane: [*]u64, lane: Lane) void {
    const pointer: *Lane = @ptrCast(@alignCast(plane));
    pointer.* = lane;
}

inline fn ternary(comptime truth: u8, a: Lane, b: Lane, c: Lane) Lane {
    return asm ("vpternlogq %[truth], %[c], %[b], %[result]"
        : [result] "=v" (-> Lane),
        : [a] "0" (a),
          [b] "v" (b),
          [c] "v" (c),
          [truth] "i" (truth),
    );
}

/// Three bits of one weight, some of them complements of what is meant, as one bit of the same weight
/// and one of twice the weight.
inline fn addThree(comptime flipped: [3]bool, bits: [3]Lane) [2]Lane {
    if (simd.has_avx512) {
        // The carry from two bits and their sum leaves all registers free to be written to.
        const sum = ternary(comptime truthOf(.sum, flipped), bits[2], bits[0], bits[1]);
        return .{ sum, ternary(comptime truthOf(.carry, flipped), bits[0], bits[1], sum) };
    }
    const a, const b, const c = .{ meant(flipped[0], bits[0]), meant(flipped[1], bits[1]), meant(flipped[2], bits[2]) };
    const differ = a ^ b;
    return .{ differ ^ c, (a & b) | (c & differ) };
}

inline fn meant(comptime flipped: bool, lane: Lane) Lane {
    return if (flipped) ~lane else lane;
}

/// How many of three bits are set: the digit of weight 1, and that of weight 2.
pub inline fn count3(bits: [3]Lane) [2]Lane {
    return addThree(@splat(false), bits);
}

/// The bits that two or three of them have.
pub inline fn majority(a: Lane, b: Lane, c: Lane) Lane {
    return if (simd.has_avx512) ternary(0xe8, a, b, c) else (a & b) | (c & (a ^ b));
}

/// The table that AVX-512's function of three bits takes: of c, a and b for their sum, of a, b and the
/// sum for the carry.
fn truthOf(what: enum { sum, carry }, flipped: [3]bool) u8 {
    var truth: u8 = 0;
    for (0..8) |index| {
        const high, const middle, const low = .{ index >> 2 & 1 == 1, index >> 1 & 1 == 1, index & 1 == 1 };
        const result = switch (what) {
            .sum => ((high != flipped[2]) != (middle != flipped[0])) != (low != flipped[1]),
            .carry => blk: {
                const a, const b = .{ high != flipped[0], middle != flipped[1] };
                break :blk if (a == b) a else !low;
            },
        };
        if (result) truth |= 1 << index;
    }
    return truth;
}

/// Adds `n` vectors at word `i`. Without counters to start from, the digits are all
/// of the sum; with them, the digits are those of both as far as the new ones reach, and `carry` is
/// what the next one gets.
pub inline fn add(
    comptime n: usize,
    comptime start: enum { fresh, counters },
    sources: *const [n]table.Vector,
    words: usize,
    i: usize,
    digits: *[digitsOf(n)]Lane,
) Lane {
    @setEvalBranchQuota(100_000);
    const levels = comptime digitsOf(n);
    // One place more for the bits that leave at the top.
    var waiting: [levels + 1][3]Lane = undefined;
    comptime var flipped: [levels + 1][3]bool = @splat(@splat(false));
    comptime var height: [levels + 1]usize = @splat(0);
    if (start == .counters) inline for (0..levels) |level| {
        waiting[level][0] = digits[level];
        height[level] = 1;
    };
    inline for (sources) |source| {
        inline for (0..2) |plane| {
            waiting[plane][height[plane]] = load(source + plane * words + i);
            flipped[plane][height[plane]] = plane == 0;
            height[plane] += 1;
            comptime var level = plane;
            inline while (level < levels and height[level] == 3) : (level += 1) {
                waiting[level][0], waiting[level + 1][height[level + 1]] = addThree(flipped[level], waiting[level]);
                height[level] = 1;
                height[level + 1] += 1;
                flipped[level][0] = false;
            }
        }
    }
    inline for (0..levels) |level| {
        if (height[level] == 3) {
            digits[level], waiting[level + 1][height[level + 1]] = addThree(flipped[level], waiting[level]);
            height[level + 1] += 1;
        } else if (height[level] == 2) {
            const a = meant(flipped[level][0], waiting[level][0]);
            const b = meant(flipped[level][1], waiting[level][1]);
            waiting[level + 1][height[level + 1]] = a & b;
            height[level + 1] += 1;
            digits[level] = a ^ b;
        } else {
            digits[level] = meant(flipped[level][0], waiting[level][0]);
        }
    }
    comptime if (start == .counters and height[levels] != 1) @compileError("more than one carry");
    return if (start == .counters) waiting[levels][0] else @splat(0);
}

/// `n` vectors from `first` on.
pub inline fn vectorsOf(comptime n: usize, sources: *const table.Sources, first: usize) [n]table.Vector {
    var vectors: [n]table.Vector = undefined;
    for (&vectors, first..) |*vector, index| vector.* = sources.at(index);
    return vectors;
}

/// Vectors whose counters stay in registers, and the digits of these.
pub const block_max = 112;
pub const block_digits = digitsOf(block_max);

/// Vectors that are added together, at most `block_max`.
pub const Block = struct {
    count: usize,
    vectors: [block_max]table.Vector,
    /// What all counters start from.
    start: [block_digits]Lane,

    /// From `first` on, as many as there are.
    pub fn init(self: *Block, sources: *const table.Sources, first: usize, start: usize) void {
        for (&self.start, 0..) |*digit, level| digit.* = @splat(if (start >> @intCast(level) & 1 == 1) ~@as(u64, 0) else 0);
        self.count = @min(sources.count - first, block_max);
        for (self.vectors[0..self.count], first..) |*vector, index| vector.* = sources.at(index);
    }

    pub inline fn sum(self: *const Block, words: usize, i: usize) [block_digits]Lane {
        var digits = self.start;
        var first: usize = 0;
        while (first + group_max <= self.count) : (first += group_max)
            self.group(group_max, first, words, i, &digits);
        inline for (.{ 8, 4, 2, 1 }) |n| if (self.count & n != 0) {
            self.group(n, first, words, i, &digits);
            first += n;
        };
        return digits;
    }

    inline fn group(self: *const Block, comptime n: usize, first: usize, words: usize, i: usize, digits: *[block_digits]Lane) void {
        const levels = comptime digitsOf(n);
        const vectors = self.vectors[first..][0..n];
        ripple(digits[levels..], add(n, .counters, vectors, words, i, digits[0..levels]));
    }
};

/// Adds a bit of the lowest digit.
inline fn ripple(digits: []Lane, bit: Lane) void {
    var carry = bit;
    for (digits) |*digit| {
        const sum = digit.* ^ carry;
        carry &= digit.*;
        digit.* = sum;
    }
}

/// Counters of a stretch of lanes, for any number of vectors.
pub const stretch = 16;
const levels_max = 33;

pub const Counters = struct {
    levels: usize,
    digits: [levels_max * stretch]Lane,

    /// Counts all sources at the words [from, to), at most a stretch of lanes.
    pub fn run(self: *Counters, sources: *const table.Sources, words: usize, from: usize, to: usize) void {
        self.levels = @max(digitsOf(sources.count), block_digits);
        @memset(self.digits[0 .. (to - from) / lane_words * self.levels], @splat(0));
        var block: Block = undefined;
        var first: usize = 0;
        while (first < sources.count) : (first += block.count) {
            block.init(sources, first, 0);
            var i = from;
            while (i < to) : (i += lane_words) {
                const digits = self.of((i - from) / lane_words);
                var carry: Lane = @splat(0);
                for (digits[0..block_digits], block.sum(words, i)) |*digit, added|
                    digit.*, carry = addThree(@splat(false), .{ digit.*, added, carry });
                ripple(digits[block_digits..], carry);
            }
        }
    }

    pub fn of(self: *Counters, lane: usize) []Lane {
        return self.digits[lane * self.levels ..][0..self.levels];
    }
};
