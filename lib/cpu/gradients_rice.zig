//! Places of few among many, by their distances.
//!
//!     the distance g from the one before, or from the start, less one:
//!         g / 2^r ones and a zero, r bits         (Rice; from 24 ones on: 24 ones, 20 bits)
//!
//! r follows the distances: floor(log2 m) with a mean m of 1 at least, m += (g - m) / 16.
//!
//! Floor: some ten nanoseconds for each place.

const std = @import("std");
const bit_stream = @import("gradients_bit_stream.zig");

const ones_max = 24;
const distance_bits = 20;
/// Places below this have distances that fit.
pub const places_max = 1 << distance_bits;
/// Bytes of one distance, at most, and what its writing may touch.
pub const bytes_max = 8;

pub const Rice = struct {
    /// Sixteen times the mean.
    mean: u32,

    pub fn init(mean: u32) Rice {
        return .{ .mean = 16 * @as(u32, @min(@max(mean, 1), places_max)) };
    }

    inline fn shift(self: *const Rice) u5 {
        return @intCast(31 - @clz(self.mean >> 4 | 1));
    }

    inline fn follow(self: *Rice, distance: u32) void {
        self.mean = @max(16, self.mean - (self.mean >> 4) + distance);
    }

    pub fn write(self: *Rice, bits: *bit_stream.Writer, distance: u32) void {
        const r = self.shift();
        const ones = distance >> r;
        if (ones < ones_max) {
            bits.append((@as(u32, 1) << @intCast(ones)) - 1, ones + 1);
            bits.append(distance & ((@as(u32, 1) << r) - 1), r);
        } else {
            bits.append((1 << ones_max) - 1, ones_max);
            bits.append(distance, distance_bits);
        }
        self.follow(distance);
    }

    pub fn read(self: *Rice, bits: *bit_stream.Reader) u32 {
        bits.fill();
        const r = self.shift();
        const ones: u32 = @ctz(~bits.word | 1 << ones_max);
        var distance: u32 = undefined;
        if (ones < ones_max) {
            _ = bits.take(ones + 1);
            distance = ones << r | bits.take(r);
        } else {
            _ = bits.take(ones_max);
            distance = bits.take(distance_bits);
        }
        self.follow(distance);
        return distance;
    }
};
