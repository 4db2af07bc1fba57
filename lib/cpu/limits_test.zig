const std = @import("std");
const testing = std.testing;
const dispatch = @import("dispatch.zig");
const limits = @import("limits.zig");
const probe_table = @import("probe_table.zig");
const threads = @import("threads.zig");

test "reading sees every byte" {
    var bytes: [3 * probe_table.read_bytes]u8 align(64) = @splat(0);
    for (dispatch.tiers) |tier| {
        if (!tier.isSupported()) continue;
        try testing.expectEqual(0, tier.kernels.probes.read(&bytes, bytes.len));
        for (&bytes, 0..) |*byte, index| {
            byte.* = 0x81;
            const expected: u32 = @as(u32, 0x81) << @intCast(index % 4 * 8);
            try testing.expectEqual(expected, tier.kernels.probes.read(&bytes, bytes.len));
            byte.* = 0;
        }
    }
}

test "the computing probes do the work that they count" {
    for (dispatch.tiers) |tier| {
        if (!tier.isSupported()) continue;
        const probes = &tier.kernels.probes;
        // Bytes of one: every product is 1, or 257 * 257 where two bytes make a 16-bit factor, so each
        // multiply-add that is counted adds the same to the sum.
        const once = probes.dot(1, 0x01010101);
        try testing.expect(@mod(once, @as(i32, @intCast(probes.dot_operations / 8))) == 0 and once > 0);
        try testing.expectEqual(once * 2, probes.dot(2, 0x01010101));
        try testing.expectEqual(0, probes.dot(0, 0x01010101));
        // Sums near one, in f32: a thousand additions of 1e-3 come within a percent.
        const lanes: f32 = @floatFromInt(probes.add_operations);
        const added = probes.add(1000, 1e-3) - probes.add(0, 1e-3);
        try testing.expectApproxEqRel(lanes, added, 0.01);
        // x -> x * (1 - e) + e has the fixed point 1.
        try testing.expectApproxEqRel(lanes, probes.multiply_add(100_000, 1e-3), 0.01);
        try testing.expectEqual(probes.add_operations * 2, probes.multiply_add_operations);
    }
}

test "limits are positive and the best is no less than the median" {
    const before = threads.getThreads();
    defer threads.setThreads(before) catch unreachable;
    for ([_]u32{ 1, 3 }) |count| {
        try threads.setThreads(count);
        for (std.enums.values(limits.Kind)) |kind| {
            const rates = try limits.measure(&(try dispatch.kernels()).probes, kind, 1 << 20, 5);
            try testing.expect(rates.median >= 0 and rates.best > 0);
            try testing.expect(rates.best >= rates.median);
        }
    }
}

test "what cannot be measured is refused" {
    const probes = &(try dispatch.kernels()).probes;
    try threads.setThreads(2);
    try testing.expectError(error.InvalidOption, limits.measure(probes, .read, 2047, 5));
    try testing.expectError(error.InvalidOption, limits.measure(probes, .read, limits.size_bytes_max + 1, 5));
    try testing.expectError(error.InvalidOption, limits.measure(probes, .dot, 0, 0));
    try testing.expectError(error.InvalidOption, limits.measure(probes, .dot, 0, limits.duration_ms_max + 1));
}
