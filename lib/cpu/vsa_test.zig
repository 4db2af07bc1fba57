const std = @import("std");
const testing = std.testing;
const dispatch = @import("dispatch.zig");
const philox = @import("../philox.zig");
const table = @import("vsa_table.zig");
const vsa = @import("vsa_vectors.zig");

const Vectors = vsa.Vectors;
const dims = [_]u32{ 1, 31, 32, 33, 63, 64, 65, 511, 512, 513, 1000, 1025 };

fn kernelsOfTiers() []const *const table.Kernels {
    const found = struct {
        var list: [dispatch.tiers.len]*const table.Kernels = undefined;
    };
    var count: usize = 0;
    for (dispatch.tiers) |tier| if (tier.isSupported()) {
        found.list[count] = &tier.kernels.vsa;
        count += 1;
    };
    return found.list[0..count];
}

fn randomTrits(seed: u64, trits: []i8) void {
    var random = std.Random.DefaultPrng.init(seed);
    for (trits) |*trit| trit.* = random.random().intRangeAtMost(i8, -1, 1);
}

fn modulo(sum: i8) i8 {
    return if (sum > 1) sum - 3 else if (sum < -1) sum + 3 else sum;
}

/// The padding of a vector is zero in both planes, and nothing is negative that is zero.
fn expectCanonical(vectors: *const Vectors) !void {
    for (0..vectors.count) |index| {
        const row = vectors.row(index);
        for (0..vectors.words) |word| {
            const left = vectors.dim -| word * 64;
            const padding = if (left >= 64) 0 else ~@as(u64, 0) << @intCast(left);
            try testing.expectEqual(0, row[word] & padding);
            try testing.expectEqual(0, row[vectors.words + word] & ~row[word]);
        }
    }
}

test "binding, negating and comparing follow the definitions on every tier, at odd sizes" {
    var buffers: [4][2 * 1025]i8 = undefined;
    for (kernelsOfTiers()) |kernels| for (dims) |dim| {
        const a, const b = .{ buffers[0][0 .. 2 * dim], buffers[1][0..dim] };
        randomTrits(dim, a);
        randomTrits(dim + 1, b);
        const x = try Vectors.create(2, dim);
        defer x.destroy();
        const y = try Vectors.create(1, dim);
        defer y.destroy();
        const out = try Vectors.create(2, dim);
        defer out.destroy();
        for (0..2) |i| try testing.expectEqual(0, kernels.from_i8(a.ptr + i * dim, dim, x.row(i), x.words));
        try testing.expectEqual(0, kernels.from_i8(b.ptr, dim, y.row(0), y.words));
        try expectCanonical(x);
        const result = buffers[2][0..dim];
        inline for (.{ kernels.add, kernels.subtract, kernels.multiply, kernels.add }, 0..) |kernel, operation| {
            vsa.bind(kernel, try x.rowsFor(2), try y.rowsFor(2), out);
            try expectCanonical(out);
            for (0..2) |i| {
                kernels.to_i8(out.row(i), out.words, dim, result.ptr);
                for (result, a[i * dim ..][0..dim], b) |actual, p, q| try testing.expectEqual(switch (operation) {
                    1 => modulo(p - q),
                    2 => p * q,
                    else => modulo(p + q),
                }, actual);
            }
        }
        kernels.negate(x.row(0), out.row(0), x.words, 2);
        try expectCanonical(out);
        kernels.to_i8(out.row(1), out.words, dim, result.ptr);
        for (result, a[dim..]) |actual, p| try testing.expectEqual(-p, actual);
        var expected: table.Counts = .{ .common = 0, .opposite = 0, .nonzero_a = 0, .nonzero_b = 0 };
        var dot: i64 = 0;
        var distance: u64 = 0;
        for (a[0..dim], b) |p, q| {
            dot += p * q;
            distance += @intFromBool(p != q);
            expected.common += @intFromBool(p * q != 0);
            expected.opposite += @intFromBool(p * q < 0);
            expected.nonzero_a += @intFromBool(p != 0);
            expected.nonzero_b += @intFromBool(q != 0);
        }
        var counts: table.Counts = undefined;
        kernels.counts(x.row(0), y.row(0), x.words, &counts);
        try testing.expectEqual(expected, counts);
        try testing.expectEqual(dot, kernels.dot(x.row(0), y.row(0), x.words));
        try testing.expectEqual(distance, kernels.distance(x.row(0), y.row(0), x.words));
        try testing.expectEqual(expected.nonzero_a, kernels.ones(x.row(0), x.words));
        a[dim - 1] = 2;
        try testing.expectEqual(1, kernels.from_i8(a.ptr, dim, x.row(0), x.words));
        a[dim - 1] = -128;
        try testing.expectEqual(1, kernels.from_i8(a.ptr, dim, x.row(0), x.words));
    };
}

test "random trits follow the documented mapping on every tier" {
    const seed = 0x0123_4567_89ab_cdef;
    const row = 1 << 33 | 5;
    const below = 1431655765;
    var trits: [1025]i8 = undefined;
    for (kernelsOfTiers()) |kernels| for (dims) |dim| {
        const vectors = try Vectors.create(1, dim);
        defer vectors.destroy();
        for ([_]bool{ false, true }) |is_bipolar| {
            if (is_bipolar) {
                kernels.random_bipolar(vectors.row(0), vectors.words, dim, row, seed);
            } else {
                kernels.random(vectors.row(0), vectors.words, dim, row, seed, below);
            }
            try expectCanonical(vectors);
            kernels.to_i8(vectors.row(0), vectors.words, dim, &trits);
            for (trits[0..dim], 0..) |trit, i| {
                const word = if (is_bipolar) i / 32 else i;
                const output = philox.block(.{ @intCast(word / 4), 5, 2, 1 }, .{ 0x89ab_cdef, 0x0123_4567 })[word % 4];
                const expected: i8 = if (is_bipolar)
                    (if (output >> @intCast(i % 32) & 1 == 1) -1 else 1)
                else if (output < below) -1 else if (output >= 0x1_0000_0000 - below) 1 else 0;
                try testing.expectEqual(expected, trit);
            }
        }
    };
}
