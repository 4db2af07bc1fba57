//! What prepared weights are made of: trits, the wire format, BitNet checkpoints, float weights.
//!
//! `wire` hands over some steps of 16 columns of a row's group in the wire format, zeros after the
//! last column: in the buffer given or where they lie already. It returns null where a value is bad;
//! the wire format itself is judged by whoever reads it. `refuse` then finds the first bad value.

const std = @import("std");
const abi = @import("../abi.zig");
const packing = @import("packing.zig");
const quantization = @import("quantization.zig");
const table = @import("table.zig");
const weights_file = @import("weights.zig");

const Shape = weights_file.Shape;
const Weights = weights_file.Weights;

/// The columns that steps of a row's group stand for.
const Columns = struct {
    first: usize,
    count: usize,

    fn of(shape: Shape, group: usize, step: usize, steps: usize) Columns {
        const within = step * table.step_columns;
        return .{
            .first = group * shape.group_columns + within,
            .count = @min(steps * table.step_columns, shape.group_columns - within),
        };
    }

    /// Zeros the bytes of the steps after the last column's.
    fn pad(self: Columns, steps: usize, buffer: [*]u8) void {
        @memset(buffer[(self.count + 3) / 4 .. steps * 4], 0);
    }
};

/// Trits as i8 or f32, row-major.
pub fn TritSource(comptime T: type) type {
    return struct {
        values: []const T,
        columns: usize,

        const Self = @This();

        pub fn sizeBytes(self: Self) u64 {
            return self.values.len * @sizeOf(T);
        }

        pub fn wire(self: *Self, weights: *const Weights, kernels: *const table.Kernels, row: usize, group: usize, step: usize, steps: usize, buffer: [*]u8) ?[*]const u8 {
            const columns: Columns = .of(weights.shape(), group, step, steps);
            const pack = if (T == f32) kernels.ternary.pack_f32 else kernels.ternary.pack_i8;
            if (pack(self.values.ptr + row * self.columns + columns.first, columns.count, buffer) != 0) return null;
            columns.pad(steps, buffer);
            return buffer;
        }

        pub fn refuse(self: Self, _: u32, _: Shape) abi.Failure {
            const index = packing.firstNotTrit(T, self.values);
            return abi.fail(error.InvalidValue, "Expected ternary values -1, 0 or 1, got {d} at index {d}", .{ self.values[index], index });
        }
    };
}

/// The wire format: 2 bits a trit, low bits first, 00 = 0, 01 = +1, 10 = -1; rows start on a byte.
pub const WireSource = struct {
    bytes: []const u8,
    row_bytes: usize,

    pub fn sizeBytes(self: WireSource) u64 {
        // Prepared weights are as large, and are written besides.
        return self.bytes.len * 2;
    }

    pub fn wire(self: *WireSource, weights: *const Weights, _: *const table.Kernels, row: usize, group: usize, step: usize, steps: usize, buffer: [*]u8) ?[*]const u8 {
        const columns: Columns = .of(weights.shape(), group, step, steps);
        const bytes = self.bytes[row * self.row_bytes ..][0..self.row_bytes];
        const first = columns.first / 4;
        const size = (columns.count + 3) / 4;
        const bit: u3 = @intCast(columns.first % 4 * 2);
        if (bit == 0 and columns.count % table.step_columns == 0) return bytes.ptr + first;
        if (bit == 0) {
            @memcpy(buffer[0..size], bytes[first..][0..size]);
        } else for (buffer[0..size], first..) |*byte, index| {
            const next: u16 = if (index + 1 < bytes.len) bytes[index + 1] else 0;
            byte.* = @truncate((next << 8 | bytes[index]) >> bit);
        }
        if (columns.count % 4 != 0) buffer[size - 1] &= (@as(u8, 1) << @intCast(columns.count % 4 * 2)) - 1;
        columns.pad(steps, buffer);
        return buffer;
    }

    pub fn refuse(self: WireSource, rows: u32, shape: Shape) abi.Failure {
        const index = packing.firstBad(self.bytes, .{ .rows = rows, .columns = shape.columns });
        return abi.fail(error.InvalidValue, "Expected packed codes 00, 01 or 10, got 11 at index {d}", .{index});
    }
};

/// BitNet checkpoints: byte (p, c), bit pair k holds the code of row p + k * (rows / 4), column c.
pub const BitnetSource = struct {
    bytes: []const u8,
    columns: usize,
    quarter_rows: usize,

    pub fn sizeBytes(self: BitnetSource) u64 {
        return self.bytes.len * 4;
    }

    pub fn wire(self: *BitnetSource, weights: *const Weights, kernels: *const table.Kernels, row: usize, group: usize, step: usize, steps: usize, buffer: [*]u8) ?[*]const u8 {
        const columns: Columns = .of(weights.shape(), group, step, steps);
        const codes = self.bytes.ptr + row % self.quarter_rows * self.columns + columns.first;
        const shift: u32 = @intCast(row / self.quarter_rows * 2);
        if (kernels.ternary.pack_codes(codes, shift, columns.count, buffer) != 0) return null;
        columns.pad(steps, buffer);
        return buffer;
    }

    pub fn refuse(self: BitnetSource, rows: u32, _: Shape) abi.Failure {
        const index = for (0..@as(u64, rows) * self.columns) |i| {
            const row = i / self.columns;
            const byte = self.bytes[row % self.quarter_rows * self.columns + i % self.columns];
            if (byte >> @intCast(row / self.quarter_rows * 2) & 3 == 3) break i;
        } else 0;
        return abi.fail(error.InvalidValue, "Expected packed codes 0, 1 or 2, got 3 at index {d}", .{index});
    }
};

/// Float weights, quantised as they are read; the scales go where the weights keep them.
pub const WeightSource = struct {
    values: []const f32,
    options: quantization.Options,
    /// Scratch of all threads.
    sorted: []f32,
    /// What each row of the panel at hand keeps in the group at hand.
    above: [table.panel_rows]f32 = undefined,

    /// Takes the thread's share of the scratch.
    pub fn begin(self: *WeightSource, part: u32) void {
        const count = self.options.sortedCount();
        self.sorted = self.sorted[part * count ..][0..count];
    }

    pub fn wire(self: *WeightSource, weights: *Weights, kernels: *const table.Kernels, row: usize, group: usize, step: usize, steps: usize, buffer: [*]u8) ?[*]const u8 {
        const shape = weights.shape();
        const above = &self.above[row % table.panel_rows];
        if (step == 0) {
            const run = self.values[row * shape.columns + group * shape.group_columns ..][0..shape.group_columns];
            const found = quantization.measure(kernels, run, self.options, self.sorted) orelse return null;
            above.* = found.above;
            weights.scaleOf(row, group).* = found.scale;
        }
        const columns: Columns = .of(shape, group, step, steps);
        kernels.ternary.pack_above(self.values.ptr + row * shape.columns + columns.first, columns.count, above.*, buffer);
        columns.pad(steps, buffer);
        return buffer;
    }
};
