//! Kernels that move trits, read and write other formats, and work on trits in bytes: on every tier,
//! against loops over single trits.

const std = @import("std");
const testing = std.testing;
const dispatch = @import("dispatch.zig");
const places = @import("vsa_places.zig");
const table = @import("vsa_table.zig");

const Random = std.Random;
const dims = [_]u32{ 1, 4, 31, 63, 64, 65, 255, 257, 511, 512, 513, 1030 };

fn onEveryTier(check: *const fn (kernels: *const table.Kernels, arena: std.mem.Allocator, random: Random) anyerror!void) !void {
    for (dispatch.tiers) |tier| if (tier.isSupported()) {
        var arena: std.heap.ArenaAllocator = .init(testing.allocator);
        defer arena.deinit();
        var prng: Random.DefaultPrng = .init(1);
        try check(&tier.kernels.vsa, arena.allocator(), prng.random());
    };
}

fn bit(words: [*]const u64, place: usize) u1 {
    return @truncate(words[place / 64] >> @intCast(place % 64));
}

test "move copies bits from any place to any place and nothing else" {
    try onEveryTier(struct {
        fn check(kernels: *const table.Kernels, arena: std.mem.Allocator, random: Random) !void {
            const words = 40;
            const source = try arena.alloc(u64, words);
            const before = try arena.alloc(u64, words);
            const target = try arena.alloc(u64, words);
            for (0..4000) |_| {
                random.bytes(std.mem.sliceAsBytes(source));
                random.bytes(std.mem.sliceAsBytes(before));
                @memcpy(target, before);
                const from = random.uintLessThan(usize, words * 64);
                const to = random.uintLessThan(usize, words * 64);
                const count = random.uintAtMost(usize, words * 64 - @max(from, to));
                kernels.move(source.ptr, from, target.ptr, to, count);
                for (0..words * 64) |place| {
                    const inside = place >= to and place < to + count;
                    const expected = if (inside) bit(source.ptr, from + place - to) else bit(before.ptr, place);
                    try testing.expectEqual(expected, bit(target.ptr, place));
                }
            }
        }
    }.check);
}

test "move reads no word beyond the bits" {
    // Windows protects pages with other functions.
    if (@import("builtin").os.tag == .windows) return error.SkipZigTest;
    try onEveryTier(struct {
        fn check(kernels: *const table.Kernels, arena: std.mem.Allocator, random: Random) !void {
            const page = std.heap.pageSize();
            const bytes = try std.heap.page_allocator.alloc(u8, 2 * page);
            defer std.heap.page_allocator.free(bytes);
            // What follows the source cannot be read.
            if (std.c.mprotect(@ptrCast(@alignCast(bytes.ptr + page)), page, .{}) != 0) return error.SkipZigTest;
            defer _ = std.c.mprotect(@ptrCast(@alignCast(bytes.ptr + page)), page, .{ .READ = true, .WRITE = true });
            const target = try arena.alloc(u64, page / 8);
            const end: [*]const u64 = @ptrCast(@alignCast(bytes.ptr));
            for (0..2000) |_| {
                const count = random.uintAtMost(usize, 2000);
                kernels.move(end, page * 8 - count, target.ptr, random.uintAtMost(usize, 2000), count);
            }
        }
    }.check);
}

const Vector = struct {
    dim: usize,
    words: usize,
    data: []align(64) u64,

    fn init(arena: std.mem.Allocator, dim: u32) !Vector {
        const words = table.wordsOf(dim);
        const data = try arena.alignedAlloc(u64, .fromByteUnits(64), 2 * words);
        @memset(data, ~@as(u64, 0));
        return .{ .dim = dim, .words = words, .data = data };
    }

    fn trit(self: Vector, place: usize) i8 {
        return @as(i8, bit(self.data.ptr, place)) - 2 * @as(i8, bit(self.data.ptr + self.words, place));
    }

    /// No padding is set and no zero is negative.
    fn expectSound(self: Vector) !void {
        for (0..self.words * 64) |place| {
            const nonzero = bit(self.data.ptr, place);
            const negative = bit(self.data.ptr + self.words, place);
            try testing.expect(negative <= nonzero);
            if (place >= self.dim) try testing.expectEqual(0, nonzero);
        }
    }
};

test "formats keep vectors sound whatever the bytes are, and read back what they write" {
    try onEveryTier(struct {
        fn check(kernels: *const table.Kernels, arena: std.mem.Allocator, random: Random) !void {
            const formats = &kernels.formats;
            const readers = [_]@TypeOf(formats.from_wire){ formats.from_wire, formats.from_base3, formats.from_planes };
            const writers = [_]@TypeOf(formats.to_wire){ formats.to_wire, formats.to_base3, formats.to_planes };
            for (dims) |dim| {
                const vector: Vector = try .init(arena, dim);
                const back: Vector = try .init(arena, dim);
                const lengths = [_]usize{ (dim + 3) / 4, (dim + 4) / 5, (dim + 7) / 8 * 2 };
                for (readers, writers, lengths) |read, write, length| for (0..50) |_| {
                    // One byte late, so that nothing is aligned, and with a guard behind.
                    const bytes = (try arena.alloc(u8, length + 2))[1..];
                    random.bytes(bytes);
                    @memset(vector.data, ~@as(u64, 0));
                    _ = read(bytes.ptr, dim, vector.data.ptr, vector.words);
                    try vector.expectSound();
                    const guard = bytes[length];
                    write(vector.data.ptr, vector.words, dim, bytes.ptr);
                    try testing.expectEqual(guard, bytes[length]);
                    try testing.expectEqual(0, read(bytes.ptr, dim, back.data.ptr, back.words));
                    try testing.expectEqualSlices(u64, vector.data, back.data);
                };
            }
        }
    }.check);
}

test "every byte of base 3 is five digits" {
    try onEveryTier(struct {
        fn check(kernels: *const table.Kernels, arena: std.mem.Allocator, _: Random) !void {
            const vector: Vector = try .init(arena, 5);
            for (0..256) |value| {
                const bytes = [_]u8{@intCast(value)};
                const bad = kernels.formats.from_base3(&bytes, 5, vector.data.ptr, vector.words);
                try testing.expectEqual(@intFromBool(value > 242), bad);
                if (bad != 0) continue;
                var rest = value;
                for (0..5) |place| {
                    try testing.expectEqual(@as(i8, @intCast(rest % 3)) - 1, vector.trit(place));
                    rest /= 3;
                }
            }
        }
    }.check);
}

test "gather follows its places and refuses others" {
    try onEveryTier(struct {
        fn check(kernels: *const table.Kernels, arena: std.mem.Allocator, random: Random) !void {
            for (dims) |dim| {
                const vector: Vector = try .init(arena, dim);
                const trits = try arena.alloc(i8, dim);
                const from = try arena.alloc(u32, dim);
                for (trits, from) |*trit, *place| {
                    trit.* = random.intRangeAtMost(i8, -1, 1);
                    place.* = random.uintLessThan(u32, dim);
                }
                try testing.expectEqual(0, kernels.formats.gather(trits.ptr, from.ptr, dim, vector.data.ptr, vector.words));
                try vector.expectSound();
                for (from, 0..) |place, i| try testing.expectEqual(trits[place], vector.trit(i));
                for ([_]u32{ dim, std.math.maxInt(u32) }) |place| {
                    from[dim / 2] = place;
                    try testing.expectEqual(1, kernels.formats.gather(trits.ptr, from.ptr, dim, vector.data.ptr, vector.words));
                }
            }
        }
    }.check);
}

fn modulo(sum: i8) i8 {
    return @mod(sum + 4, 3) - 1;
}

fn bound(operation: usize, a: i8, b: i8) i8 {
    return switch (operation) {
        0 => modulo(a + b),
        1 => modulo(a - b),
        else => a * b,
    };
}

test "trits in bytes are bound and counted like single ones, in place too" {
    try onEveryTier(struct {
        fn check(kernels: *const table.Kernels, arena: std.mem.Allocator, random: Random) !void {
            const binds = [_]table.BindTrits{ kernels.trits.add, kernels.trits.subtract, kernels.trits.multiply };
            for (1..300) |size| {
                const offset = random.uintLessThan(usize, 64);
                const a = (try arena.alloc(i8, size + offset))[offset..];
                const b = (try arena.alloc(i8, size))[0..];
                const out = (try arena.alloc(i8, size + 1 + offset))[offset..];
                const expected = try arena.alloc(i8, size);
                var counts: table.Counts = .{ .common = 0, .opposite = 0, .nonzero_a = 0, .nonzero_b = 0 };
                var dot: i64 = 0;
                for (a, b) |*x, *y| {
                    x.* = random.intRangeAtMost(i8, -1, 1);
                    y.* = random.intRangeAtMost(i8, -1, 1);
                    dot += x.* * y.*;
                    counts.common += @intFromBool(x.* != 0 and y.* != 0);
                    counts.opposite += @intFromBool(x.* * y.* < 0);
                    counts.nonzero_a += @intFromBool(x.* != 0);
                    counts.nonzero_b += @intFromBool(y.* != 0);
                }
                var found: table.Counts = undefined;
                try testing.expectEqual(0, kernels.trits.counts(a.ptr, b.ptr, size, &found));
                try testing.expectEqual(counts, found);
                var product: i64 = undefined;
                try testing.expectEqual(0, kernels.trits.dot(a.ptr, b.ptr, size, &product));
                try testing.expectEqual(dot, product);
                for (binds, 0..) |kernel, operation| {
                    for (expected, a, b) |*want, x, y| want.* = bound(operation, x, y);
                    out[size] = 77;
                    try testing.expectEqual(0, kernel(a.ptr, b.ptr, out.ptr, size));
                    try testing.expectEqualSlices(i8, expected, out[0..size]);
                    try testing.expectEqual(77, out[size]);
                    @memcpy(out[0..size], a);
                    try testing.expectEqual(0, kernel(out.ptr, b.ptr, out.ptr, size));
                    try testing.expectEqualSlices(i8, expected, out[0..size]);
                    @memcpy(out[0..size], b);
                    try testing.expectEqual(0, kernel(a.ptr, out.ptr, out.ptr, size));
                    try testing.expectEqualSlices(i8, expected, out[0..size]);
                }
            }
        }
    }.check);
}

test "every byte that is no trit is noticed, wherever it is" {
    try onEveryTier(struct {
        fn check(kernels: *const table.Kernels, arena: std.mem.Allocator, _: Random) !void {
            const size = 150;
            const good = try arena.alloc(i8, size);
            const bad = try arena.alloc(i8, size);
            const out = try arena.alloc(i8, size);
            @memset(good, 0);
            @memset(bad, 0);
            var counts: table.Counts = undefined;
            var dot: i64 = undefined;
            for ([_]usize{ 0, 63, 64, 127, 128, 149 }) |place| for (0..256) |value| {
                bad[place] = @bitCast(@as(u8, @intCast(value)));
                defer bad[place] = 0;
                const expected: u32 = @intFromBool(bad[place] < -1 or bad[place] > 1);
                for ([_][2][]i8{ .{ bad, good }, .{ good, bad } }) |pair| {
                    const a, const b = .{ pair[0].ptr, pair[1].ptr };
                    try testing.expectEqual(expected, kernels.trits.add(a, b, out.ptr, size));
                    try testing.expectEqual(expected, kernels.trits.subtract(a, b, out.ptr, size));
                    try testing.expectEqual(expected, kernels.trits.multiply(a, b, out.ptr, size));
                    try testing.expectEqual(expected, kernels.trits.counts(a, b, size, &counts));
                    try testing.expectEqual(expected, kernels.trits.dot(a, b, size, &dot));
                }
            };
        }
    }.check);
}

test "shuffle gives every place once" {
    var order: [1000]u32 = undefined;
    for (0..20) |seed| {
        places.shuffle(&order, seed);
        var seen: [1000]bool = @splat(false);
        for (order) |place| {
            try testing.expect(!seen[place]);
            seen[place] = true;
        }
    }
}
