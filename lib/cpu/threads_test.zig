const std = @import("std");
const testing = std.testing;
const threads = @import("threads.zig");

const Counter = struct {
    hits: [8]std.atomic.Value(u32) = @splat(.init(0)),
    /// Hits that there must be after the barrier of this round.
    expected: u32 = 0,
    behind: std.atomic.Value(u32) = .init(0),

    fn hit(self: *Counter, index: u32, count: u32) void {
        _ = self.hits[index].fetchAdd(1, .monotonic);
        threads.barrier(count);
        // After a barrier every thread of the region has been counted.
        var total: u32 = 0;
        for (&self.hits) |*counter| total += counter.load(.monotonic);
        if (total != self.expected) _ = self.behind.fetchAdd(1, .monotonic);
        threads.barrier(count);
    }
};

test "every thread of every region runs once" {
    var counter: Counter = .{};
    const rounds = 200;
    for (0..rounds) |round| {
        threads.enter();
        defer threads.leave();
        // Between two sizes, so that workers also have to sit regions out.
        const count: u32 = if (round % 2 == 0) 4 else 2;
        counter.expected += count;
        threads.run(count, &counter, Counter.hit);
    }
    try testing.expectEqual(rounds, counter.hits[0].load(.monotonic));
    try testing.expectEqual(rounds, counter.hits[1].load(.monotonic));
    try testing.expectEqual(rounds / 2, counter.hits[2].load(.monotonic));
    try testing.expectEqual(rounds / 2, counter.hits[3].load(.monotonic));
    try testing.expectEqual(0, counter.behind.load(.monotonic));
}

test "shares cover everything once" {
    for ([_]usize{ 0, 1, 3, 7, 64 }) |total| {
        var next: usize = 0;
        for (0..5) |index| {
            const from, const to = threads.share(total, @intCast(index), 5);
            try testing.expectEqual(next, from);
            next = to;
        }
        try testing.expectEqual(total, next);
    }
}
