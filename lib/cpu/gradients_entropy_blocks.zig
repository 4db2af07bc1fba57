//! Gradients as blocks: padded, scaled where they are extreme, and measured.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("dispatch.zig");
const finite = @import("gradients_finite.zig");
const firstNotFinite = @import("finite.zig").firstNotFinite;
const memory = @import("../memory.zig");
const parallel = @import("parallel.zig");
const table = @import("gradients_entropy_table.zig");
const threads = @import("threads.zig");

/// Between these no sum of a block overflows, and no step loses digits.
const largest_max = 0x1p100;
const largest_min = 0x1p-80;
/// Others are scaled so that the largest is about 1, by no more than a payload can say.
const exponent_max = 120;

pub const Blocks = struct {
    kernels: *const table.Kernels,
    /// The gradients, or a copy that is scaled by 2^exponent; none where they are on a device.
    values: []const f32,
    length: usize,
    scaled: ?[]align(memory.alignment) f32 = null,
    exponent: i32 = 0,
    steps: u32,
    /// Also the last one, which may be cut off.
    count: usize,
    sums: []align(memory.alignment) f32,
    largest: []align(memory.alignment) f32,
    most: f32 = 0,

    pub fn init(values: []const f32, steps: u32) abi.Failure!Blocks {
        const size = steps * table.lanes;
        const count = (values.len + size - 1) / size;
        const sums = try memory.alloc(f32, count);
        errdefer memory.free(f32, sums);
        var self: Blocks = .{
            .kernels = &(try dispatch.kernels()).gradient_entropy,
            .values = values,
            .length = values.len,
            .steps = steps,
            .count = count,
            .sums = sums,
            .largest = try memory.alloc(f32, count),
        };
        errdefer memory.free(f32, self.largest);
        if (!self.measure() and firstNotFinite(values) != null) return finite.refuse(values);
        if (self.isExtreme()) {
            try self.scale();
            _ = self.measure();
        }
        return self;
    }

    pub fn deinit(self: *Blocks) void {
        memory.free(f32, self.sums);
        memory.free(f32, self.largest);
        if (self.scaled) |scaled| memory.free(f32, scaled);
    }

    pub fn blockValues(self: *const Blocks) usize {
        return self.steps * table.lanes;
    }

    /// The values of a block, with zeros after the last.
    pub fn copy(self: *const Blocks, block: usize, target: []f32) void {
        const from = block * self.blockValues();
        const there = @min(self.blockValues(), self.values.len - from);
        @memcpy(target[0..there], self.values[from..][0..there]);
        @memset(target[there..self.blockValues()], 0);
    }

    /// The values of a sample's blocks.
    pub fn sample(self: *const Blocks, places: []const u32, target: []f32) abi.Failure!void {
        const size = self.blockValues();
        for (places, 0..) |place, i| self.copy(place, target[i * size ..][0..size]);
    }

    /// Whether the values must be scaled, and measured again.
    pub fn isExtreme(self: *const Blocks) bool {
        return self.most != 0 and (self.most > largest_max or self.most < largest_min);
    }

    /// Decides on the exponent; returns the two factors of 2^exponent.
    pub fn chooseScale(self: *Blocks) [2]f32 {
        self.exponent = std.math.clamp(-std.math.ilogb(self.most), -exponent_max, exponent_max);
        const first = @divTrunc(self.exponent, 2);
        return .{ std.math.ldexp(@as(f32, 1), first), std.math.ldexp(@as(f32, 1), self.exponent - first) };
    }

    fn scale(self: *Blocks) error{OutOfMemory}!void {
        const factor, const rest = self.chooseScale();
        const scaled = try memory.alloc(f32, self.values.len);
        for (scaled, self.values) |*target, value| target.* = value * factor * rest;
        self.scaled = scaled;
        self.values = scaled;
    }

    /// Whether all sums are finite.
    fn measure(self: *Blocks) bool {
        var job: Measure = .{ .blocks = self };
        parallel.run(self.values.len * @sizeOf(f32), self.count, &job, Measure.work);
        self.most = @bitCast(job.most.load(.monotonic));
        return job.is_finite.load(.monotonic);
    }

    const Measure = struct {
        blocks: *Blocks,
        most: std.atomic.Value(u32) = .init(0),
        is_finite: std.atomic.Value(bool) = .init(true),

        fn work(self: *Measure, part: u32, parts: u32) void {
            const blocks = self.blocks;
            const size = blocks.blockValues();
            const from, const to = threads.share(blocks.count, part, parts);
            const whole = @min(to, blocks.values.len / size);
            const kernels = blocks.kernels;
            if (whole > from) kernels.measure(blocks.values.ptr + from * size, whole - from, blocks.steps, blocks.sums.ptr + from, blocks.largest.ptr + from);
            if (to > whole) {
                var last: [table.lanes * 4]f32 = undefined;
                blocks.copy(whole, &last);
                kernels.measure(&last, 1, blocks.steps, blocks.sums.ptr + whole, blocks.largest.ptr + whole);
            }
            var most: f32 = 0;
            // A NaN or an infinity stays one in a sum.
            var sum: f32 = 0;
            for (blocks.largest[from..to], blocks.sums[from..to]) |largest, block_sum| {
                most = @max(most, largest);
                sum += block_sum - block_sum;
            }
            if (sum != 0) self.is_finite.store(false, .monotonic);
            // Magnitudes compare like integers.
            _ = self.most.fetchMax(@bitCast(most), .monotonic);
        }
    };
};
