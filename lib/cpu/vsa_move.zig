//! Runs of bits from any place of a plane to any place of another: what cyclic shifts, slices and
//! concatenations consist of.
//!
//!     target word  |      high bits of s[j]     |   low bits of s[j + 1]  |
//!
//! Floor: two overlapping loads, a store and four instructions for 512 bits.

const Words = @Vector(8, u64);

inline fn load(source: [*]const u64) Words {
    return @as(*align(8) const Words, @ptrCast(source)).*;
}

/// 64 bits from bit `shift` of the first of two words on.
inline fn joined(low: anytype, high: anytype, shift: u6) @TypeOf(low) {
    if (@TypeOf(low) == u64) return low >> shift | (high << 1) << (63 - shift);
    const V = @Vector(8, u6);
    return low >> @as(V, @splat(shift)) | (high << @as(V, @splat(1))) << @as(V, @splat(63 - shift));
}

fn ones(count: usize) u64 {
    return if (count >= 64) ~@as(u64, 0) else (@as(u64, 1) << @intCast(count)) - 1;
}

/// At most 64 bits from place `from` on; no word beyond them is read.
fn read(source: [*]const u64, from: usize, count: usize) u64 {
    const low = source[from / 64] >> @intCast(from % 64);
    const have = 64 - from % 64;
    if (count <= have) return low & ones(count);
    return (low | source[from / 64 + 1] << @intCast(have)) & ones(count);
}

pub fn move(source: [*]const u64, from_: usize, target: [*]u64, to_: usize, count: usize) callconv(.c) void {
    var from = from_;
    var to = to_;
    var left = count;
    if (to % 64 != 0 and left > 0) {
        const some = @min(64 - to % 64, left);
        merge(&target[to / 64], to % 64, read(source, from, some), some);
        from += some;
        to += some;
        left -= some;
    }
    const shift: u6 = @intCast(from % 64);
    var s = source + from / 64;
    var t = target + to / 64;
    // Eight words need a ninth, which exists if at least one more bit than they hold is left.
    while (left > 512) : (left -= 512) {
        @as(*align(8) Words, @ptrCast(t)).* = joined(load(s), load(s + 1), shift);
        s += 8;
        t += 8;
    }
    while (left > 64) : (left -= 64) {
        t[0] = joined(s[0], s[1], shift);
        s += 1;
        t += 1;
    }
    if (left > 0) merge(&t[0], 0, read(s, shift, left), left);
}

inline fn merge(word: *u64, place: usize, bits: u64, count: usize) void {
    const mask = ones(count) << @intCast(place);
    word.* = word.* & ~mask | bits << @intCast(place);
}
