//! A ternary matrix from what a checkpoint holds: packed codes, bytes, or floats, which either are
//! -1, 0 and 1 already or are quantised here by the mean of their magnitudes.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const memory = @import("../memory.zig");
const weights_file = @import("../cpu/weights.zig");
const firstNotFinite = @import("../cpu/finite.zig").firstNotFinite;
const sumMagnitudes = @import("../cpu/quantization.zig").sumMagnitudes;
const Dtype = @import("dtype.zig").Dtype;
const Float = @import("../cpu/vector16.zig").Float;
const Weights = weights_file.Weights;

/// How a layer's scale enters: weight = trit * scale, weight = trit / scale, or the mean magnitude
/// of float weights.
pub const ScaleMode = enum(u32) { multiply = 0, divide = 1, absmean = 2 };

/// The least mean, as in the models' training.
const mean_floor = 1e-5;

pub fn prepare(bytes: []const u8, dtype: Dtype, rows: u32, columns: u32, scale: f32, mode: ScaleMode) abi.Failure!*Weights {
    if (mode == .absmean) {
        const float = dtype.float() orelse
            return abi.fail(error.InvalidType, "Expected float weights to quantise, got {t}", .{dtype});
        return quantized(bytes, float, rows, columns);
    }
    const factor = if (mode == .divide) 1 / scale else scale;
    if (!std.math.isFinite(factor)) return abi.fail(error.InvalidValue, "Expected a usable weight scale, got {d}", .{scale});
    return switch (dtype) {
        .bitnet => weights_file.fromBitnetPacked(bytes, factor, rows, columns),
        .i8 => fromTrits(@ptrCast(bytes), factor, rows, columns),
        .f32, .f16, .bf16 => exact(bytes, dtype.float().?, factor, rows, columns),
    };
}

fn fromTrits(trits: []const i8, scale: f32, rows: u32, columns: u32) abi.Failure!*Weights {
    const scales = try std.heap.c_allocator.alloc(f32, rows);
    defer std.heap.c_allocator.free(scales);
    @memset(scales, scale);
    return weights_file.fromTernary(trits, scales, rows, columns);
}

/// Reads a float matrix row by row.
const Rows = struct {
    bytes: []const u8,
    float: Float,
    columns: u32,
    row: []f32,

    fn init(bytes: []const u8, float: Float, columns: u32) abi.Failure!Rows {
        return .{ .bytes = bytes, .float = float, .columns = columns, .row = try std.heap.c_allocator.alloc(f32, columns) };
    }

    fn deinit(self: Rows) void {
        std.heap.c_allocator.free(self.row);
    }

    fn get(self: Rows, index: usize) abi.Failure![]f32 {
        const kernels = try dispatch.kernels();
        const start = index * self.columns * self.float.size();
        kernels.nn.widen(self.bytes.ptr + start, @backingInt(self.float), self.row.ptr, self.columns);
        return self.row;
    }
};

fn exact(bytes: []const u8, float: Float, scale: f32, rows: u32, columns: u32) abi.Failure!*Weights {
    const source: Rows = try .init(bytes, float, columns);
    defer source.deinit();
    const trits = try memory.alloc(i8, @as(u64, rows) * columns);
    defer memory.free(i8, trits);
    for (0..rows) |row| {
        for (try source.get(row), trits[row * columns ..][0..columns], 0..) |value, *trit, column| {
            if (value != 0 and value != 1 and value != -1) return abi.fail(
                error.InvalidValue,
                "Expected ternary values -1, 0 or 1, got {d} at index {d}",
                .{ value, row * columns + column },
            );
            trit.* = @intFromFloat(value);
        }
    }
    return fromTrits(trits, scale, rows, columns);
}

fn quantized(bytes: []const u8, float: Float, rows: u32, columns: u32) abi.Failure!*Weights {
    const source: Rows = try .init(bytes, float, columns);
    defer source.deinit();
    const trits = try memory.alloc(i8, @as(u64, rows) * columns);
    defer memory.free(i8, trits);

    var total: f64 = 0;
    for (0..rows) |row| {
        const values = try source.get(row);
        if (firstNotFinite(values)) |column| return abi.fail(
            error.InvalidValue,
            "Expected finite weights, got {d} at index {d}",
            .{ values[column], row * columns + column },
        );
        total += sumMagnitudes(values);
    }
    const count: f64 = @floatFromInt(trits.len);
    const mean: f32 = @max(@as(f32, @floatCast(total / count)), mean_floor);
    // |w| / mean >= 1/2, without the division's rounding.
    const least = 0.5 * mean;
    for (0..rows) |row| {
        for (try source.get(row), trits[row * columns ..][0..columns]) |value, *trit| {
            trit.* = @as(i8, @intFromBool(value >= least)) - @intFromBool(value <= -least);
        }
    }
    return fromTrits(trits, mean, rows, columns);
}
