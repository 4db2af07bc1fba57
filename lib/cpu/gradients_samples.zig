//! A few of many rotated gradients, and what they stand for.
//!
//! Of n places k are kept: one, at random, of each stratum
//!
//!     i n / k .. (i + 1) n / k      rounded down, i from 0 to k - 1, L places
//!
//! which is place floor(w L / 2^32) of it, where w is word i of Philox4x32-10: output i % 4 for the
//! counter (i / 4, 0, 0, 6), with the seed as key. Each place is kept with probability 1 / L, so that L
//! times what was kept is unbiased; no place is kept twice, and none is lost where k is n.
//!
//! Floor: about ten scalar instructions for each place that is kept, and half a call of the generator
//! for sixteen of them.

const simd = @import("simd.zig");
const random = @import("vsa_random.zig");

const batch = 4 * simd.lanes;

/// The places that strata keep, in order.
const Walk = struct {
    seed: u64,
    count: u64,
    index: u64,
    low: u64,
    high: u64,
    /// n / k, and n % k summed up modulo k.
    whole: u64,
    rest: u64,
    carried: u64,
    words: [batch]u32,

    /// From the first stratum on that reaches beyond place `from`.
    fn init(self: *Walk, n: u64, k: u64, seed: u64, from: u64) void {
        const index = ((from + 1) * k - 1) / n;
        self.seed = seed;
        self.count = k;
        self.index = index;
        self.whole = n / k;
        self.rest = n % k;
        self.low = index * n / k;
        self.carried = index * n % k;
        self.step();
        self.draw();
    }

    /// The upper end of the stratum.
    inline fn step(self: *Walk) void {
        self.high = self.low + self.whole;
        self.carried += self.rest;
        if (self.carried >= self.count) {
            self.carried -= self.count;
            self.high += 1;
        }
    }

    fn draw(self: *Walk) void {
        const block: u32 = @intCast(self.index / batch * simd.lanes);
        self.words = random.wordsInOrder(random.blocks(.samples, block, 0, self.seed));
    }

    inline fn place(self: *const Walk) u64 {
        return self.low + (self.words[self.index % batch] * (self.high - self.low) >> 32);
    }

    /// The next stratum, unless it begins at `end`.
    inline fn next(self: *Walk, end: u64) bool {
        self.index += 1;
        self.low = self.high;
        if (self.index == self.count or self.low >= end) return false;
        self.step();
        if (self.index % batch == 0) self.draw();
        return true;
    }
};

/// Copies those of the places from `start` to `end` that are kept from `values` to their places in
/// `samples`, and returns the bits of the largest magnitude among them.
pub fn gather(values: [*]const f32, start: u64, end: u64, n: u64, k: u64, seed: u64, samples: [*]align(1) f32) callconv(.c) u32 {
    var walk: Walk = undefined;
    walk.init(n, k, seed, start);
    var largest: u32 = 0;
    while (true) {
        const place = walk.place();
        // A stratum may begin before the places, or end after them.
        if (place >= start and place < end) {
            const value = values[@intCast(place - start)];
            samples[@intCast(walk.index)] = value;
            largest = @max(largest, @as(u32, @bitCast(value)) & 0x7fff_ffff);
        }
        if (!walk.next(end)) return largest;
    }
}

/// The reverse, where `values` holds zeros: each is multiplied by the places that it stands for, or by
/// 1 where `weighted` is 0.
pub fn scatter(samples: [*]align(1) const f32, start: u64, end: u64, n: u64, k: u64, seed: u64, weighted: u32, values: [*]f32) callconv(.c) void {
    var walk: Walk = undefined;
    walk.init(n, k, seed, start);
    while (true) {
        const place = walk.place();
        if (place >= start and place < end) {
            const weight: f32 = if (weighted == 0) 1 else @floatFromInt(walk.high - walk.low);
            values[@intCast(place - start)] = samples[@intCast(walk.index)] * weight;
        }
        if (!walk.next(end)) return;
    }
}
