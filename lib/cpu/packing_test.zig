const std = @import("std");
const testing = std.testing;
const packing = @import("packing.zig");

const sizes = [_]u32{ 1, 3, 4, 31, 33, 64, 127, 1000 };

test "packing and unpacking are inverse on odd sizes" {
    var random = std.Random.DefaultPrng.init(1);
    for (sizes) |columns| {
        const shape: packing.Shape = try .init(3, columns);
        const trits = try testing.allocator.alloc(i8, shape.size());
        defer testing.allocator.free(trits);
        const back = try testing.allocator.alloc(i8, shape.size());
        defer testing.allocator.free(back);
        const bytes = try testing.allocator.alloc(u8, shape.packedBytes());
        defer testing.allocator.free(bytes);
        const floats = try testing.allocator.alloc(f32, shape.size());
        defer testing.allocator.free(floats);
        for (trits, floats) |*trit, *float| {
            trit.* = random.random().intRangeAtMost(i8, -1, 1);
            float.* = @floatFromInt(trit.*);
        }
        try testing.expectEqual(null, packing.pack(i8, kernels, trits, shape, bytes));
        try testing.expectEqual(null, packing.unpack(kernels, bytes, shape, back));
        try testing.expectEqualSlices(i8, trits, back);
        const same = try testing.allocator.alloc(u8, bytes.len);
        defer testing.allocator.free(same);
        try testing.expectEqual(null, packing.pack(f32, kernels, floats, shape, same));
        try testing.expectEqualSlices(u8, bytes, same);
    }
}

test "the first value that is no trit is named" {
    for (sizes) |columns| {
        const shape: packing.Shape = try .init(1, columns);
        const trits = try testing.allocator.alloc(f32, columns);
        defer testing.allocator.free(trits);
        const bytes = try testing.allocator.alloc(u8, shape.packedBytes());
        defer testing.allocator.free(bytes);
        for ([_]f32{ 0.5, 2, std.math.nan(f32), std.math.inf(f32) }) |bad| {
            @memset(trits, 1);
            trits[columns - 1] = bad;
            try testing.expectEqual(columns - 1, packing.pack(f32, kernels, trits, shape, bytes));
        }
    }
}

test "code 11 is refused, but not in a row's padding" {
    var trits: [5]i8 = undefined;
    const shape: packing.Shape = try .init(1, 5);
    try testing.expectEqual(4, packing.unpack(kernels, &.{ 0x49, 0x03 }, shape, &trits));
    try testing.expectEqual(null, packing.unpack(kernels, &.{ 0x49, 0xfc }, shape, &trits));
    try testing.expectEqualSlices(i8, &.{ 1, -1, 0, 1, 0 }, &trits);
}
