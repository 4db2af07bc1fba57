//! The wire format: 2 bits a trit, four trits a byte, low bits first; each row starts on a byte.
//!
//!     00 = 0    01 = +1    10 = -1    11 is no trit
//!
//! Where rows are whole bytes a matrix is one long run. Nothing is looked for while a run is packed:
//! the kernels only tell that a value was bad, and then it is searched for.

const std = @import("std");
const abi = @import("../abi.zig");
const parallel = @import("parallel.zig");
const table = @import("table.zig");
const threads = @import("threads.zig");

pub const Shape = struct {
    rows: usize,
    columns: usize,

    pub fn init(rows: u32, columns: u32) abi.Failure!Shape {
        if (rows == 0 or columns == 0)
            return abi.fail(error.InvalidShape, "Expected a shape of at least 1 x 1, got {d} x {d}", .{ rows, columns });
        return .{ .rows = rows, .columns = columns };
    }

    pub fn size(self: Shape) usize {
        return self.rows * self.columns;
    }

    pub fn rowBytes(self: Shape) usize {
        return (self.columns + 3) / 4;
    }

    pub fn packedBytes(self: Shape) usize {
        return self.rows * self.rowBytes();
    }

    /// The same matrix in runs that start on a byte, cut to be shared out.
    fn runs(self: Shape) Runs {
        if (self.columns % 4 != 0) return .{ .length = self.columns, .count = self.rows, .size = self.size() };
        const length = 4096;
        return .{ .length = length, .count = (self.size() + length - 1) / length, .size = self.size() };
    }
};

const Runs = struct {
    length: usize,
    count: usize,
    size: usize,

    /// First value and number of values of runs [from, to).
    fn span(self: Runs, from: usize, to: usize) struct { usize, usize } {
        const end = @min(to * self.length, self.size);
        return .{ from * self.length, end - from * self.length };
    }
};

/// Packs rows of i8 or f32 trits. Returns the index of the first value that is no trit.
pub fn pack(comptime T: type, kernels: *const table.Kernels, trits: []const T, shape: Shape, bytes: []u8) ?usize {
    var job: PackJob(T) = .{ .kernels = kernels, .trits = trits, .runs = shape.runs(), .bytes = bytes };
    parallel.run(shape.size() * @sizeOf(T), job.runs.count, &job, PackJob(T).work);
    if (!job.bad.load(.monotonic)) return null;
    return firstNotTrit(T, trits);
}

/// The index of a value that is no trit, of which there was one; 0 if it has become one meanwhile.
pub fn firstNotTrit(comptime T: type, values: []const T) usize {
    for (values, 0..) |value, index| if (value != 0 and value != 1 and value != -1) return index;
    return 0;
}

fn PackJob(comptime T: type) type {
    return struct {
        kernels: *const table.Kernels,
        trits: []const T,
        runs: Runs,
        bytes: []u8,
        bad: std.atomic.Value(bool) = .init(false),

        fn work(self: *@This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.runs.count, part, parts);
            const kernel = if (T == f32) self.kernels.ternary.pack_f32 else self.kernels.ternary.pack_i8;
            const length = self.runs.length;
            if (length % 4 == 0) {
                const start, const count = self.runs.span(from, to);
                if (kernel(self.trits.ptr + start, count, self.bytes.ptr + start / 4) != 0) self.bad.store(true, .monotonic);
                return;
            }
            for (from..to) |row| {
                const target = self.bytes.ptr + row * ((length + 3) / 4);
                if (kernel(self.trits.ptr + row * length, length, target) != 0) self.bad.store(true, .monotonic);
            }
        }
    };
}

/// Trits of packed rows. Returns the index of the first code 11.
pub fn unpack(kernels: *const table.Kernels, bytes: []const u8, shape: Shape, trits: []i8) ?usize {
    var job: UnpackJob = .{ .kernels = kernels, .bytes = bytes, .runs = shape.runs(), .trits = trits };
    parallel.run(shape.size(), job.runs.count, &job, UnpackJob.work);
    return if (job.bad.load(.monotonic)) firstBad(bytes, shape) else null;
}

const UnpackJob = struct {
    kernels: *const table.Kernels,
    bytes: []const u8,
    runs: Runs,
    trits: []i8,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *UnpackJob, part: u32, parts: u32) void {
        const from, const to = threads.share(self.runs.count, part, parts);
        const kernel = self.kernels.ternary.unpack_i8;
        const length = self.runs.length;
        if (length % 4 == 0) {
            const start, const count = self.runs.span(from, to);
            if (kernel(self.bytes.ptr + start / 4, count, self.trits.ptr + start) != 0) self.bad.store(true, .monotonic);
            return;
        }
        for (from..to) |row| {
            const source = self.bytes.ptr + row * ((length + 3) / 4);
            if (kernel(source, length, self.trits.ptr + row * length) != 0) self.bad.store(true, .monotonic);
        }
    }
};

/// Weights of packed rows: trit * scale, with one scale for each `shape.size() / scales.len` columns.
/// Returns the index of the first code 11.
pub fn unpackScaled(kernels: *const table.Kernels, bytes: []const u8, shape: Shape, scales: []const f32, weights: []f32) ?usize {
    var job: ScaledJob = .{ .kernels = kernels, .bytes = bytes, .shape = shape, .scales = scales, .weights = weights };
    parallel.run(weights.len * @sizeOf(f32), shape.rows, &job, ScaledJob.work);
    return if (job.bad.load(.monotonic)) firstBad(bytes, shape) else null;
}

const ScaledJob = struct {
    kernels: *const table.Kernels,
    bytes: []const u8,
    shape: Shape,
    scales: []const f32,
    weights: []f32,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *ScaledJob, part: u32, parts: u32) void {
        const from, const to = threads.share(self.shape.rows, part, parts);
        const columns = self.shape.columns;
        const groups = self.scales.len / self.shape.rows;
        const size = columns / groups;
        var bad: u32 = 0;
        for (from..to) |row| {
            const source = self.bytes.ptr + row * self.shape.rowBytes();
            const scales = self.scales[row * groups ..][0..groups];
            const target = self.weights[row * columns ..][0..columns];
            if (groups > 1 and (size % 4 != 0 or size < 16)) {
                bad |= self.smallGroups(source, scales, target);
            } else for (scales, 0..) |scale, group| {
                bad |= self.kernels.ternary.unpack_f32(source + group * size / 4, size, scale, target.ptr + group * size);
            }
        }
        if (bad != 0) self.bad.store(true, .monotonic);
    }

    /// A row whose groups are short or begin inside a byte, by way of its trits.
    fn smallGroups(self: *ScaledJob, source: [*]const u8, scales: []const f32, target: []f32) u32 {
        const size = target.len / scales.len;
        var bad: u32 = 0;
        var trits: [1024]i8 = undefined;
        var first: usize = 0;
        while (first < target.len) : (first += trits.len) {
            const count = @min(trits.len, target.len - first);
            bad |= self.kernels.ternary.unpack_i8(source + first / 4, count, &trits);
            var group = first / size;
            var left = (group + 1) * size - first;
            for (target[first..][0..count], trits[0..count]) |*weight, trit| {
                if (left == 0) {
                    group += 1;
                    left = size;
                }
                left -= 1;
                weight.* = @as(f32, @floatFromInt(trit)) * scales[group];
            }
        }
        return bad;
    }
};

/// The index of a code 11, of which there was one; 0 if it has become a trit meanwhile.
pub fn firstBad(bytes: []const u8, shape: Shape) usize {
    for (0..shape.rows) |row| {
        const source = bytes[row * shape.rowBytes() ..][0..shape.rowBytes()];
        for (0..shape.columns) |column| {
            if (source[column / 4] >> @intCast(column % 4 * 2) & 3 == 3) return row * shape.columns + column;
        }
    }
    return 0;
}
