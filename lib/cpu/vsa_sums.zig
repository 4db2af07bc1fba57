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

inline fn meant(comptime flipped: bool, lane: Lane) Lane {
    return if (flipped) ~lane else lane;
}

inline fn xor3(comptime flipped: [3]bool, bits: [3]Lane) Lane {
    if (simd.has_avx512) return ternary(comptime truthOf(.xor, flipped), bits[0], bits[1], bits[2]);
    const odd = flipped[0] != (flipped[1] != flipped[2]);
    return meant(odd, bits[0] ^ bits[1] ^ bits[2]);
}

inline fn majority3(comptime flipped: [3]bool, bits: [3]Lane) Lane {
    if (simd.has_avx512) return ternary(comptime truthOf(.majority, flipped), bits[0], bits[1], bits[2]);
    const a, const b, const c = .{ meant(flipped[0], bits[0]), meant(flipped[1], bits[1]), meant(flipped[2], bits[2]) };
    return (a & b) | (c & (a ^ b));
}

pub inline fn majority(a: Lane, b: Lane, c: Lane) Lane {
    return majority3(@splat(false), .{ a, b, c });
}

/// How many of three bits are set: the digit of weight 1, and that of weight 2.
pub inline fn count3(bits: [3]Lane) [2]Lane {
    return .{ xor3(@splat(false), bits), majority3(@splat(false), bits) };
}

/// The table that AVX-512's function of three bits takes, some of them complemented.
fn truthOf(operation: enum { xor, majority }, flipped: [3]bool) u8 {
    var truth: u8 = 0;
    for (0..8) |index| {
        var ones: u8 = 0;
        for (flipped, 0..) |flip, i| ones += @intFromBool((index >> @intCast(2 - i) & 1 == 1) != flip);
        const result = if (operation == .xor) ones % 2 == 1 else ones >= 2;
        if (result) truth |= 1 << index;
    }
    return truth;
}

/// Adds `n` vectors from `first` on, at word `i`. Without counters to start from, the digits are all
/// of the sum; with them, the digits are those of both as far as the new ones reach, and `carry` is
/// what the next one gets.
pub inline fn add(
    comptime n: usize,
    comptime start: enum { fresh, counters },
    sources: *const table.Sources,
    first: usize,
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
    inline for (0..n) |index| {
        const source = sources.at(first + index);
        inline for (0..2) |plane| {
            waiting[plane][height[plane]] = load(source + plane * words + i);
            flipped[plane][height[plane]] = plane == 0;
            height[plane] += 1;
            comptime var level = plane;
            inline while (level < levels and height[level] == 3) : (level += 1) {
                waiting[level + 1][height[level + 1]] = majority3(flipped[level], waiting[level]);
                waiting[level][0] = xor3(flipped[level], waiting[level]);
                height[level] = 1;
                height[level + 1] += 1;
                flipped[level][0] = false;
            }
        }
    }
    inline for (0..levels) |level| {
        if (height[level] == 3) {
            waiting[level + 1][height[level + 1]] = majority3(flipped[level], waiting[level]);
            height[level + 1] += 1;
            digits[level] = xor3(flipped[level], waiting[level]);
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

/// Counters of a stretch of lanes, for any number of vectors.
pub const stretch = 16;
const levels_max = 33;

pub const Counters = struct {
    levels: usize,
    digits: [levels_max * stretch]Lane,

    /// Counts all sources at the words [from, to), at most a stretch of lanes; more than
    /// `group_max` sources.
    pub fn run(self: *Counters, sources: *const table.Sources, words: usize, from: usize, to: usize) void {
        self.levels = digitsOf(sources.count);
        self.group(group_max, .fresh, sources, 0, words, from, to);
        var first: usize = group_max;
        while (first + group_max <= sources.count) : (first += group_max)
            self.group(group_max, .counters, sources, first, words, from, to);
        inline for (.{ 8, 4, 2, 1 }) |n| if (sources.count & n != 0) {
            self.group(n, .counters, sources, first, words, from, to);
            first += n;
        };
    }

    pub fn of(self: *Counters, lane: usize) []Lane {
        return self.digits[lane * self.levels ..][0..self.levels];
    }

    fn group(self: *Counters, comptime n: usize, comptime start: @EnumLiteral(), sources: *const table.Sources, first: usize, words: usize, from: usize, to: usize) void {
        const levels = comptime digitsOf(n);
        var i = from;
        var lane: usize = 0;
        while (i < to) : ({
            i += lane_words;
            lane += 1;
        }) {
            const digits = self.of(lane);
            var carry = add(n, start, sources, first, words, i, digits[0..levels]);
            for (digits[levels..]) |*digit| {
                if (start == .fresh) {
                    digit.* = @splat(0);
                } else {
                    const sum = digit.* ^ carry;
                    carry &= digit.*;
                    digit.* = sum;
                }
            }
        }
    }
};
