const std = @import("std");
const testing = std.testing;
const threads = @import("threads.zig");

const Counter = struct {
    hits: [64]std.atomic.Value(u32) = @splat(.init(0)),

    fn hit(self: *Counter, part: u32, parts: u32) void {
        _ = self.hits[part].fetchAdd(parts, .monotonic);
    }
};

test "every part of every job runs once" {
    try threads.setThreads(3);
    var counter: Counter = .{};
    var expected: [64]u32 = @splat(0);
    for (0..3000) |round| {
        threads.enter();
        defer threads.leave();
        const parts: u32 = @intCast(1 + round * 7 % 64);
        threads.run(parts, &counter, Counter.hit);
        // Complete at the very moment that run returns.
        for (expected[0..parts]) |*hits| hits.* += parts;
        for (&counter.hits, expected) |*hits, count| try testing.expectEqual(count, hits.load(.monotonic));
    }
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
