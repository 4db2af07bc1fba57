//! The codecs `topk` and `entropy` by themselves: the same bytes and gradients on every tier and with
//! every number of threads, bytes that do not change from one version to the next, and payloads that
//! were damaged.

const std = @import("std");
const testing = std.testing;
const abi = @import("../abi.zig");
const dispatch = @import("dispatch.zig");
const entropy = @import("gradients_entropy.zig");
const choice_file = @import("gradients_topk_choice.zig");
const source_file = @import("gradients_topk_source.zig");
const threads = @import("threads.zig");
const topk = @import("gradients_topk.zig");

const gpa = testing.allocator;

/// Heavy tails, in rows of different size, from integers alone: the same everywhere.
fn fill(gradients: []f32) void {
    var prng: std.Random.DefaultPrng = .init(gradients.len);
    const random = prng.random();
    var scale: f32 = 1;
    for (gradients, 0..) |*gradient, i| {
        if (i % 300 == 0) scale = @floatFromInt(random.uintLessThan(u32, 64));
        const a: f32 = @floatFromInt(random.intRangeAtMost(i32, -1000, 1000));
        const b: f32 = @floatFromInt(random.uintLessThan(u32, 1000));
        gradient.* = scale * a * b * 0x1p-30;
    }
}

const Codec = union(enum) {
    topk: topk.Options,
    entropy: f64,

    fn encode(self: Codec, gradients: []const f32, payload: []u8) abi.Failure!usize {
        return switch (self) {
            .topk => |options| topk.encode(.{ .here = gradients }, options, payload),
            .entropy => |bytes| entropy.encode(gradients, .{ .bytes = bytes }, payload),
        };
    }

    fn decode(self: Codec, payload: []const u8, gradients: []f32) abi.Failure!void {
        return switch (self) {
            .topk => |options| topk.decode(payload, options.bits, gradients),
            .entropy => entropy.decode(payload, gradients),
        };
    }
};

const Case = struct { count: usize, codec: Codec, hash: u64 };

fn exact(bytes: f64, bits: u32) Codec {
    return .{ .topk = .{ .bytes = bytes, .bits = bits, .is_exact = true } };
}

const cases = [_]Case{
    .{ .count = 1, .codec = exact(24, 8), .hash = 0xc2f615e3274bec5 },
    .{ .count = 63, .codec = exact(40, 8), .hash = 0xf182d3b89d51a187 },
    .{ .count = 1000, .codec = exact(400, 5), .hash = 0xc2aba43ae32d4825 },
    .{ .count = 100_000, .codec = exact(20_000, 8), .hash = 0x2ab2d15684dd182b },
    .{ .count = 100_000, .codec = exact(60_000, 4), .hash = 0x8526c9c2ddb5d564 },
    .{ .count = 2_200_001, .codec = .{ .topk = .{ .bytes = 300_000, .bits = 8, .is_exact = false } }, .hash = 0x5a6bf3ad2b6c143a },
    .{ .count = 1000, .codec = .{ .entropy = 300 }, .hash = 0x6bfe290521ae3211 },
    .{ .count = 200_001, .codec = .{ .entropy = 40_000 }, .hash = 0x3604f1108d472308 },
};

test "codecs write the bytes that they always wrote, on every tier with any number of threads" {
    const tier_before = (try dispatch.active()).name;
    const threads_before = threads.getThreads();
    defer {
        dispatch.force(tier_before) catch unreachable;
        threads.setThreads(threads_before) catch unreachable;
    }
    for (cases) |case| {
        const gradients = try gpa.alloc(f32, case.count);
        defer gpa.free(gradients);
        fill(gradients);
        const restored = try gpa.alloc(f32, case.count);
        defer gpa.free(restored);
        const payload = try gpa.alloc(u8, 4 * case.count + 1000);
        defer gpa.free(payload);
        for (dispatch.tiers) |tier| if (tier.isSupported()) {
            try dispatch.force(tier.name);
            for ([_]u32{ 1, 3 }) |count| {
                try threads.setThreads(count);
                const used = try case.codec.encode(gradients, payload);
                @memset(restored, std.math.nan(f32));
                try case.codec.decode(payload[0..used], restored);
                var hasher: std.hash.XxHash64 = .init(0);
                hasher.update(payload[0..used]);
                hasher.update(std.mem.sliceAsBytes(restored));
                testing.expectEqual(case.hash, hasher.final()) catch |err| {
                    std.debug.print("{d} gradients, {s}, {d} threads: {d} bytes\n", .{ case.count, tier.name, count, used });
                    return err;
                };
            }
        };
    }
}

test "damaged payloads are refused, or read as some gradients" {
    var prng: std.Random.DefaultPrng = .init(1);
    const random = prng.random();
    for ([_]Case{ cases[2], cases[3], cases[4], cases[7] }) |case| {
        const gradients = try gpa.alloc(f32, case.count);
        defer gpa.free(gradients);
        fill(gradients);
        const payload = try gpa.alloc(u8, 4 * case.count + 1000);
        defer gpa.free(payload);
        const used = try case.codec.encode(gradients, payload);
        for (0..300) |round| {
            // Memory of its own, so that a byte beyond it is found.
            const damaged = try gpa.dupe(u8, payload[0..if (round % 3 == 0) random.uintLessThan(usize, used) else used]);
            defer gpa.free(damaged);
            const within = if (round % 2 == 0) @min(damaged.len, 64) else damaged.len;
            if (within > 0) for (0..1 + round % 4) |_| {
                damaged[random.uintLessThan(usize, within)] = random.int(u8);
            };
            case.codec.decode(damaged, gradients) catch |err| {
                try testing.expectEqual(error.InvalidFormat, err);
                continue;
            };
            for (gradients) |gradient| try testing.expect(std.math.isFinite(gradient));
        }
    }
}

/// Gradients in memory that are asked for as if they were elsewhere.
const Elsewhere = struct {
    here: source_file.Source,

    fn away(self: *Elsewhere) source_file.Source {
        return .{ .away = .{
            .context = self,
            .len = self.here.len(),
            .sample = sample,
            .pieces = pieces,
            .collect = collect,
            .refuse = refuse,
        } };
    }

    fn of(context: *anyopaque) *Elsewhere {
        return @ptrCast(@alignCast(context));
    }

    fn sample(context: *anyopaque, runs: choice_file.Runs, bits: []u32) abi.Failure!void {
        runs.read(of(context).here.here, bits);
    }

    fn pieces(context: *anyopaque, values: []f32) abi.Failure!void {
        return of(context).here.readPieces(values);
    }

    fn collect(context: *anyopaque, least: u32) abi.Failure!choice_file.Candidates {
        return of(context).here.collect(try dispatch.kernels(), least, 1);
    }

    fn refuse(context: *anyopaque) abi.Failure {
        return of(context).here.refuse();
    }
};

test "gradients that are elsewhere become the same bytes, and come back as what was kept" {
    for (cases) |case| {
        const options = switch (case.codec) {
            .topk => |options| options,
            .entropy => continue,
        };
        const gradients = try gpa.alloc(f32, case.count);
        defer gpa.free(gradients);
        fill(gradients);
        const payloads = [2][]u8{ try gpa.alloc(u8, 4 * case.count + 1000), try gpa.alloc(u8, 4 * case.count + 1000) };
        defer for (payloads) |payload| gpa.free(payload);
        const used = try case.codec.encode(gradients, payloads[0]);
        var elsewhere: Elsewhere = .{ .here = .{ .here = gradients } };
        const same = try topk.encode(elsewhere.away(), options, payloads[1]);
        try testing.expectEqualSlices(u8, payloads[0][0..used], payloads[1][0..same]);

        const restored = try gpa.alloc(f32, case.count);
        defer gpa.free(restored);
        try case.codec.decode(payloads[0][0..used], restored);
        const kept: topk.Kept = try .decode(payloads[0][0..used], options.bits, case.count);
        defer kept.deinit();
        var next: usize = 0;
        for (restored, 0..) |value, i| {
            const is_kept = kept.places[i / 64] >> @intCast(i % 64) & 1 != 0;
            try testing.expectEqual(value, if (is_kept) kept.values[next] else 0);
            next += @intFromBool(is_kept);
        }
        try testing.expectEqual(kept.values.len, next);

        gradients[case.count - 1] = std.math.nan(f32);
        try testing.expectError(error.InvalidValue, topk.encode(elsewhere.away(), options, payloads[1]));
    }
}
