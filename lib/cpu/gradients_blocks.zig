//! How gradients are cut into blocks whose sizes are powers of two, for the Hadamard transform.
//!
//! As many blocks of 4096 as there are, and the rest in one of two ways:
//!
//!     exact    its binary digits: 1000 = 512 + 256 + 128 + 64 + 32 + 8, nothing is padded
//!     padded   a block of at least 16 is padded with zeros where that makes it at most a third
//!              larger, else the largest power of two is split off: 1000 fills 1024, 600 = 512 + 64 + 24,
//!              of which the last is 16 and a padded 8
//!
//! Exact blocks keep as many numbers as there are gradients; padded ones have fewer, larger blocks,
//! each of which costs a scale and is closer to a normal distribution.

const std = @import("std");
const size_max = @import("gradients_hadamard.zig").size_max;

pub const Rest = enum { exact, padded };
const size_min = 16;

pub const Block = struct {
    /// The first gradient, and how many there are.
    start: usize,
    count: usize,
    /// The first of `size` transformed values.
    place: usize,
    size: usize,
};

pub const Blocks = struct {
    len: usize,
    /// Transformed values of all blocks.
    places: usize,
    full: usize,
    /// Blocks after the full ones, each at most half as large as the one before, but for 16.
    tail: [std.math.log2_int(usize, size_max) + 1]Block,

    pub fn init(count: usize, comptime rest: Rest) Blocks {
        const full = count / size_max;
        var blocks: Blocks = .{ .len = full, .places = full * size_max, .full = full, .tail = undefined };
        var start = blocks.places;
        while (start < count) {
            const left = count - start;
            const next = nextSize(left, rest);
            blocks.tail[blocks.len - full] = .{ .start = start, .count = @min(left, next), .place = blocks.places, .size = next };
            blocks.len += 1;
            blocks.places += next;
            start += @min(left, next);
        }
        return blocks;
    }

    pub fn at(self: *const Blocks, index: usize) Block {
        if (index >= self.full) return self.tail[index - self.full];
        return .{ .start = index * size_max, .count = size_max, .place = index * size_max, .size = size_max };
    }
};

fn nextSize(left: usize, comptime rest: Rest) usize {
    const below = std.math.floorPowerOfTwo(usize, left);
    if (rest == .exact or left == below) return @max(below, if (rest == .exact) 1 else size_min);
    if (left < size_min) return size_min;
    return if (4 * left > 3 * 2 * below) 2 * below else below;
}
