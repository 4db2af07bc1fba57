//! Cuts a stream of work into parts that get smaller and smaller: large ones first, which are read in
//! one go, and small ones last, so that no thread waits long for the other's last part.
//!
//!     [        |        ][    |    ][  |  ][ | ][|][|]      two threads, rounds of two parts

const std = @import("std");

pub const Parts = struct {
    total: usize,
    threads: u32,

    /// A part of this round when `left` items are left.
    fn size(self: Parts, left: usize) usize {
        return @max(1, left / (2 * @as(usize, self.threads)));
    }

    pub fn count(self: Parts) u32 {
        if (self.threads <= 1) return 1;
        var left = self.total;
        var parts: usize = 0;
        while (left > 0) {
            const taken = @min(self.threads, (left + self.size(left) - 1) / self.size(left));
            left -= @min(left, taken * self.size(left));
            parts += taken;
        }
        return @intCast(parts);
    }

    /// The half-open range of items of a part.
    pub fn range(self: Parts, part: u32) struct { usize, usize } {
        if (self.threads <= 1) return .{ 0, self.total };
        var start: usize = 0;
        var index: usize = part;
        while (index >= self.threads) : (index -= self.threads) {
            start += @min(self.total - start, self.size(self.total - start) * self.threads);
        }
        const each = self.size(self.total - start);
        return .{ @min(self.total, start + index * each), @min(self.total, start + (index + 1) * each) };
    }
};

test "parts cover everything once, in order" {
    for ([_]u32{ 1, 2, 3, 7, 255 }) |thread_count| {
        for ([_]usize{ 1, 2, 3, 10, 216, 2004, 100_000 }) |total| {
            const parts: Parts = .{ .total = total, .threads = thread_count };
            var at: usize = 0;
            for (0..parts.count()) |part| {
                const from, const to = parts.range(@intCast(part));
                try std.testing.expectEqual(at, from);
                try std.testing.expect(to > from);
                at = to;
            }
            try std.testing.expectEqual(total, at);
        }
    }
}
