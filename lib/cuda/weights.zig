//! Ternary weights on a device, in the layout of common.cuh, and how they get there.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const cpu = @import("../cpu/weights.zig");
const dispatch = @import("../cpu/dispatch.zig");
const kernels = @import("kernels.zig");
const packing = @import("../cpu/packing.zig");

const Buffer = backend.Buffer;
const Columns = kernels.Columns;

pub const Weights = struct {
    device: *backend.Device,
    rows: u32,
    columns: Columns,
    data: *Buffer,
    /// [row][group]
    scales: *Buffer,
    nonzeros: u64,

    pub fn tiles(self: *const Weights) u32 {
        return kernels.divideUp(self.rows, 16);
    }

    pub fn memoryBytes(self: *const Weights) u64 {
        return self.data.bytes + self.scales.bytes;
    }

    pub fn create(device: *backend.Device, rows: u32, columns: u32, group_columns: u32) abi.Failure!*Weights {
        if (rows == 0 or columns == 0)
            return abi.fail(error.InvalidShape, "Expected a shape of at least 1 x 1, got {d} x {d}", .{ rows, columns });
        if (columns > cpu.columns_max)
            return abi.fail(error.InvalidShape, "Expected at most {d} columns, got {d}", .{ cpu.columns_max, columns });
        if (group_columns == 0 or columns % group_columns != 0)
            return abi.fail(error.InvalidShape, "Expected groups that divide {d} columns, got groups of {d}", .{ columns, group_columns });
        const self = try std.heap.c_allocator.create(Weights);
        errdefer std.heap.c_allocator.destroy(self);
        self.* = .{
            .device = device,
            .rows = rows,
            .columns = .init(columns, group_columns),
            .data = undefined,
            .scales = undefined,
            .nonzeros = 0,
        };
        self.data = try .create(device, @as(u64, self.tiles()) * self.columns.chunks * 1024);
        errdefer self.data.release();
        self.scales = try .create(device, @as(u64, rows) * self.columns.groups * 4);
        return self;
    }

    pub fn destroy(self: *Weights) void {
        self.data.release();
        self.scales.release();
        std.heap.c_allocator.destroy(self);
    }

    /// The wire format of all rows.
    pub fn toWire(self: *Weights, bytes: []u8) abi.Failure!void {
        const stream = try self.device.stream();
        const wire: *Buffer = try .create(self.device, bytes.len);
        defer wire.release();
        try stream.launch(.unpack_wire, self.warpsShape(), .{
            .source = try wire.use(stream),
            .weights = try self.data.use(stream),
            .columns = self.columns,
            .rows = self.rows,
            .tiles = self.tiles(),
        });
        return stream.download(wire.pointer, bytes);
    }

    pub fn readScales(self: *Weights, scales: []f32) abi.Failure!void {
        const stream = try self.device.stream();
        return stream.download(try self.scales.use(stream), std.mem.sliceAsBytes(scales));
    }

    /// Runs a kernel that fills the weights from `source`; says whether all values were good.
    fn fill(self: *Weights, comptime kernel: kernels.Kernel, shape: backend.Launch, source: *Buffer) abi.Failure!bool {
        const stream = try self.device.stream();
        const found: *Buffer = try .create(self.device, 16);
        defer found.release();
        const device = self.device;
        const found_pointer = try found.use(stream);
        try device.check(device.driver.cuMemsetD8Async(found_pointer, 0, 16, stream.handle), "clear memory");
        try stream.launch(kernel, shape, .{
            .source = try source.use(stream),
            .weights = try self.data.use(stream),
            .row_scales = try self.scales.use(stream),
            .found = found_pointer,
            .columns = self.columns,
            .rows = self.rows,
            .tiles = self.tiles(),
        });
        var values: [2]u64 = undefined;
        try stream.download(found_pointer, std.mem.sliceAsBytes(&values));
        self.nonzeros = values[0];
        return values[1] == 0;
    }

    /// Blocks that stay, a row at a time, with a warp for 512 columns.
    fn rowsShape(self: *const Weights) backend.Launch {
        const warps: u32 = @min(16, kernels.divideUp(self.columns.columns, 512));
        const resident = self.device.multiprocessors * (32 / warps);
        return .{ .blocks = @min(self.tiles() * 16, resident), .threads = 32 * warps, .shared_bytes = kernels.rows_shared_bytes * warps };
    }

    pub fn warpsShape(self: *const Weights) backend.Launch {
        const warps = @as(u64, self.tiles()) * self.columns.chunks * 2;
        return .{ .blocks = @intCast(@min(kernels.divideUp(warps, 8), self.device.multiprocessors * 32)), .threads = 256 };
    }
};

/// A copy of the CPU's weights: they travel in the wire format, 2 bits each.
pub fn fromCpu(device: *backend.Device, source: *const cpu.Weights) abi.Failure!*Weights {
    return fromCpuRows(device, &.{source});
}

/// The rows of several matrices of the same columns, one after the other.
pub fn fromCpuRows(device: *backend.Device, matrices: []const *const cpu.Weights) abi.Failure!*Weights {
    const columns = matrices[0].columns;
    var total: u32 = 0;
    for (matrices) |source| {
        if (source.columns != columns or source.group_columns != matrices[0].group_columns)
            return abi.fail(error.InvalidShape, "Expected matrices of the same {d} columns, got {d}", .{ columns, source.columns });
        total += source.rows;
    }
    const self = try Weights.create(device, total, columns, matrices[0].group_columns);
    errdefer self.destroy();
    const stream = try device.stream();
    const shape: packing.Shape = try .init(1, columns);
    const wire: *Buffer = try .create(device, @as(u64, total) * shape.rowBytes());
    defer wire.release();
    var first: u64 = 0;
    for (matrices) |source| {
        try uploadRows(stream, source, shape, try wire.use(stream) + first * shape.rowBytes(), try self.scales.use(stream) + first * self.columns.groups * 4);
        first += source.rows;
    }
    if (!try self.fill(.pack_wire, self.warpsShape(), wire))
        return abi.fail(error.Internal, "Expected weights in the wire format, got a code 11", .{});
    return self;
}

fn uploadRows(stream: *backend.Stream, source: *const cpu.Weights, shape: packing.Shape, wire: u64, scales_target: u64) abi.Failure!void {
    const row_bytes = shape.rowBytes();
    const groups = source.shape().groups();
    const allocator = std.heap.c_allocator;
    const rows_at_once = @max(1, @min(source.rows, (4 << 20) / row_bytes));
    const bytes = try allocator.alloc(u8, rows_at_once * row_bytes);
    defer allocator.free(bytes);
    const scales = try allocator.alloc(f32, rows_at_once * groups);
    defer allocator.free(scales);
    const cpu_kernels = try dispatch.kernels();
    var first: usize = 0;
    while (first < source.rows) : (first += rows_at_once) {
        const rows = @min(rows_at_once, source.rows - first);
        try source.packRows(cpu_kernels, first, bytes[0 .. rows * row_bytes]);
        for (0..rows) |row| {
            for (0..groups) |group| scales[row * groups + group] = source.scaleOf(first + row, group).*;
        }
        try stream.upload(wire + first * row_bytes, bytes[0 .. rows * row_bytes]);
        try stream.upload(scales_target + first * groups * 4, std.mem.sliceAsBytes(scales[0 .. rows * groups]));
    }
}

/// Trits that are on the device, with scales from the host.
pub fn fromTrits(source: *Buffer, scales: []const f32, rows: u32, columns: u32) abi.Failure!*Weights {
    const shape = try cpu.checkShape(rows, columns, scales);
    const self = try Weights.create(source.device, rows, columns, shape.group_columns);
    errdefer self.destroy();
    try expectBytes(source, @as(u64, rows) * columns);
    const stream = try source.device.stream();
    try stream.upload(try self.scales.use(stream), std.mem.sliceAsBytes(scales));
    if (!try self.fill(.pack_trits, self.warpsShape(), source))
        return abi.fail(error.InvalidValue, "Expected ternary values -1, 0 or 1, got others", .{});
    return self;
}

/// Floats that are on the device, quantised by the mean magnitude of every group.
pub fn fromAbsmean(source: *Buffer, rows: u32, columns: u32, group_columns: u32) abi.Failure!*Weights {
    const self = try Weights.create(source.device, rows, columns, group_columns);
    errdefer self.destroy();
    try expectBytes(source, @as(u64, rows) * columns * 4);
    const good = if (columns == group_columns and columns % 4 == 0)
        try self.fill(.quantize_absmean_rows, self.rowsShape(), source)
    else
        try self.fill(.quantize_absmean, .{ .blocks = self.tiles(), .threads = 256 }, source);
    if (!good) return abi.fail(error.InvalidValue, "Expected finite weights, got others", .{});
    return self;
}

fn expectBytes(buffer: *const Buffer, bytes: u64) abi.Failure!void {
    if (buffer.bytes != bytes) return abi.fail(error.InvalidLength, "Expected a tensor of {d} bytes, got {d}", .{ bytes, buffer.bytes });
}
