//! The kernels of quantisation on every tier, and weights quantised straight into their prepared form.

const std = @import("std");
const testing = std.testing;
const dispatch = @import("dispatch.zig");
const quantization = @import("quantization.zig");
const table = @import("table.zig");
const threads = @import("threads.zig");
const weights_file = @import("weights.zig");
const Kept = @import("ternary_table.zig").Kept;

const sizes = [_]usize{ 1, 3, 15, 16, 17, 31, 33, 64, 65, 255, 257, 1000 };

/// Weights of many magnitudes, with zeros of both signs, denormals and extremes among them.
fn fill(values: []f32, seed: u64) void {
    var state = std.Random.DefaultPrng.init(seed);
    const random = state.random();
    const special = [_]f32{ 0, -0.0, 1e-45, -1e-40, 0.5, -0.5, 1, -1, std.math.floatMax(f32), -std.math.floatMin(f32) };
    for (values, 0..) |*value, i| {
        value.* = if (i % 7 == 3) special[random.uintLessThan(usize, special.len)] else random.float(f32) * 2 - 1;
    }
}

test "magnitudes are summed in one order, and thresholds decide as a scalar loop does, on every tier" {
    var room: [1001]f32 = undefined;
    for (sizes) |size| {
        const values = room[1..][0..size];
        fill(values, size);
        var lanes: [16]f64 = @splat(0);
        const whole = size / 16 * 16;
        for (values[0..whole], 0..) |value, i| lanes[i % 16] += @abs(value);
        var sum: f64 = lanes[0];
        for (lanes[1..]) |lane| sum += lane;
        for (values[whole..]) |value| sum += @abs(value);
        var largest: f32 = 0;
        for (values) |value| largest = @max(largest, @abs(value));
        for (dispatch.tiers) |tier| if (tier.isSupported()) {
            const kernels = tier.kernels.ternary;
            try testing.expectEqual(sum, kernels.sum_magnitudes(values.ptr, size));
            try testing.expectEqual(@as(u32, @bitCast(largest)), kernels.largest(values.ptr, size));
            for ([_]f32{ 0, 1e-42, 0.3, 0.5, 1, std.math.floatMax(f32) }) |above| try expectAbove(kernels, values, above);
        };
    }
}

test "sums beyond the range of f32 and below its normal numbers are exact" {
    for (dispatch.tiers) |tier| if (tier.isSupported()) {
        const kernels = tier.kernels.ternary;
        const huge: [40]f32 = @splat(-std.math.floatMax(f32));
        try testing.expectEqual(40 * @as(f64, std.math.floatMax(f32)), kernels.sum_magnitudes(&huge, huge.len));
        const tiny: [40]f32 = @splat(std.math.floatTrueMin(f32));
        try testing.expectEqual(40 * @as(f64, std.math.floatTrueMin(f32)), kernels.sum_magnitudes(&tiny, tiny.len));
        for ([_]f32{ std.math.nan(f32), std.math.inf(f32), -std.math.inf(f32) }) |bad| {
            for (0..huge.len) |place| {
                var values = if (place % 2 == 0) huge else tiny;
                values[place] = bad;
                try testing.expect(!std.math.isFinite(kernels.sum_magnitudes(&values, values.len)));
            }
        }
    };
}

fn expectAbove(kernels: anytype, values: []const f32, above: f32) !void {
    var trits: [1000]i8 = @splat(9);
    var bytes: [250]u8 = @splat(0xff);
    var kept: Kept = undefined;
    kernels.trits_above(values.ptr, values.len, above, &trits);
    kernels.pack_above(values.ptr, values.len, above, &bytes);
    kernels.sum_kept(values.ptr, values.len, above, &kept);
    var count: u64 = 0;
    for (values, 0..) |value, i| {
        const trit: i8 = if (value > above) 1 else if (value < -above) -1 else 0;
        try testing.expectEqual(trit, trits[i]);
        const code: u8 = if (trit == 1) 1 else if (trit == -1) 2 else 0;
        try testing.expectEqual(code, bytes[i / 4] >> @intCast(i % 4 * 2) & 3);
        count += @intFromBool(trit != 0);
    }
    try testing.expectEqual(count, kept.count);
    // What stands behind the last weight is left alone, but for the padding of its byte.
    for (trits[values.len..]) |trit| try testing.expectEqual(9, trit);
    for (bytes[(values.len + 3) / 4 ..]) |byte| try testing.expectEqual(0xff, byte);
    if (values.len % 4 != 0) try testing.expectEqual(0, bytes[values.len / 4] >> @intCast(values.len % 4 * 2));
}

const cases = [_]struct { rows: u32, columns: u32, group: u32 }{
    .{ .rows = 1, .columns = 1, .group = 1 },
    .{ .rows = 3, .columns = 6, .group = 2 },
    .{ .rows = 17, .columns = 33, .group = 33 },
    .{ .rows = 65, .columns = 130, .group = 65 },
    .{ .rows = 31, .columns = 1000, .group = 1000 },
    .{ .rows = 80, .columns = 1024, .group = 64 },
    .{ .rows = 5, .columns = 9001, .group = 9001 },
    .{ .rows = 300, .columns = 1030, .group = 206 },
};

test "quantised straight into place is quantised and then packed, by every rule, tier and number of threads" {
    const allocator = testing.allocator;
    const isa = (try dispatch.active()).name;
    const count_before = threads.getThreads();
    defer dispatch.force(isa) catch {};
    defer threads.setThreads(count_before) catch {};
    for (cases) |case| {
        const size = case.rows * case.columns;
        const values = try allocator.alloc(f32, size);
        defer allocator.free(values);
        const trits = try allocator.alloc(i8, size);
        defer allocator.free(trits);
        const scales = try allocator.alloc(f32, size / case.group);
        defer allocator.free(scales);
        var state = std.Random.DefaultPrng.init(size);
        for (values) |*value| value.* = state.random().floatNorm(f32);
        for (std.enums.values(quantization.Method)) |method| {
            for ([_]bool{ false, true }) |least_squares| {
                const options: quantization.Options = .{
                    .group_columns = case.group,
                    .method = method,
                    .least_squares = least_squares,
                    .argument = if (method == .percentile) 40 else 0.25,
                };
                try threads.setThreads(1);
                try dispatch.force(dispatch.tiers[dispatch.tiers.len - 1].name);
                try quantization.quantize(values, trits, scales, options);
                const expected = try weights_file.fromTernary(trits, scales, case.rows, case.columns);
                defer expected.destroy();
                for (dispatch.tiers) |tier| if (tier.isSupported()) {
                    try dispatch.force(tier.name);
                    for ([_]u32{ 1, 2, 3 }) |count| {
                        try threads.setThreads(count);
                        const made = try weights_file.fromWeights(values, case.rows, case.columns, options);
                        defer made.destroy();
                        try testing.expectEqualSlices(u8, expected.data, made.data);
                        try testing.expectEqualSlices(f32, expected.row_scales, made.row_scales);
                        try testing.expectEqual(expected.nonzeros, made.nonzeros);
                    }
                };
            }
        }
    }
}

test "weights that are not finite are refused, wherever they are" {
    const columns = 100;
    var values: [2 * columns]f32 = @splat(0.5);
    var trits: [2 * columns]i8 = undefined;
    var scales: [2]f32 = undefined;
    for (std.enums.values(quantization.Method)) |method| {
        const options: quantization.Options = .{ .group_columns = columns, .method = method, .least_squares = false, .argument = 1 };
        for (0..values.len) |place| {
            for ([_]f32{ std.math.nan(f32), std.math.inf(f32), -std.math.inf(f32) }) |bad| {
                values[place] = bad;
                try testing.expectError(error.InvalidValue, quantization.quantize(&values, &trits, &scales, options));
                try testing.expectError(error.InvalidValue, weights_file.fromWeights(&values, 2, columns, options));
                values[place] = 0.5;
            }
        }
    }
}

// A wire row, a BitNet row and a row of trits by their definitions, on widths that no step divides.
test "every source fills the same panels on every tier" {
    const allocator = testing.allocator;
    const isa = (try dispatch.active()).name;
    defer dispatch.force(isa) catch {};
    for ([_]u32{ 1, 5, 16, 33, 64, 255, 4100 }) |columns| {
        const rows = 36;
        const trits = try allocator.alloc(i8, rows * columns);
        defer allocator.free(trits);
        const floats = try allocator.alloc(f32, rows * columns);
        defer allocator.free(floats);
        const row_bytes = (columns + 3) / 4;
        const wire = try allocator.alloc(u8, rows * row_bytes);
        defer allocator.free(wire);
        const bitnet = try allocator.alloc(u8, rows / 4 * columns);
        defer allocator.free(bitnet);
        @memset(wire, 0);
        @memset(bitnet, 0);
        var state = std.Random.DefaultPrng.init(columns);
        var nonzeros: u64 = 0;
        for (trits, floats, 0..) |*trit, *float, i| {
            trit.* = state.random().intRangeAtMost(i8, -1, 1);
            float.* = @floatFromInt(trit.*);
            nonzeros += @intFromBool(trit.* != 0);
            const row = i / columns;
            const column = i % columns;
            const code: u8 = if (trit.* == 1) 1 else if (trit.* == -1) 2 else 0;
            wire[row * row_bytes + column / 4] |= code << @intCast(column % 4 * 2);
            bitnet[row % 9 * columns + column] |= @as(u8, @intCast(trit.* + 1)) << @intCast(row / 9 * 2);
        }
        var scales: [rows]f32 = @splat(0.25);
        const back = try allocator.alloc(i8, columns);
        defer allocator.free(back);
        for (dispatch.tiers) |tier| if (tier.isSupported()) {
            try dispatch.force(tier.name);
            const made = [_]*weights_file.Weights{
                try weights_file.fromTernary(trits, &scales, rows, columns),
                try weights_file.fromTrits(f32, floats, &scales, rows, columns),
                try weights_file.fromWire(wire, &scales, rows, columns),
                try weights_file.fromBitnetPacked(bitnet, 0.25, rows, columns),
            };
            defer for (made) |weights| weights.destroy();
            for (made) |weights| {
                try testing.expectEqual(nonzeros, weights.nonzeros);
                for (0..rows) |row| {
                    weights.readRow(row, back);
                    try testing.expectEqualSlices(i8, trits[row * columns ..][0..columns], back);
                }
                try testing.expectEqualSlices(u8, made[0].data, weights.data);
                try testing.expectEqualSlices(f32, made[0].row_scales, weights.row_scales);
            }
            // Groups that begin inside a byte.
            if (columns == 255) {
                var grouped: [rows * 15]f32 = @splat(0.5);
                const a = try weights_file.fromTernary(trits, &grouped, rows, columns);
                defer a.destroy();
                const b = try weights_file.fromWire(wire, &grouped, rows, columns);
                defer b.destroy();
                try testing.expectEqualSlices(u8, a.data, b.data);
                try testing.expectEqual(nonzeros, b.nonzeros);
            }
        };
    }
}
