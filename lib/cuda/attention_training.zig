//! Causal attention of whole texts on a device, forward and backward; see cuda/attention_training.cu.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const kernels = @import("kernels.zig");

const Buffer = backend.Buffer;

/// The widest head that there is a kernel for.
pub const head_dim_max = 256;

pub const Shape = struct {
    batch: u32,
    length: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,

    fn rows(self: Shape) u64 {
        return @as(u64, self.batch) * self.length * self.heads;
    }

    fn queryBytes(self: Shape) u64 {
        return 4 * self.rows() * self.head_dim;
    }

    fn keyBytes(self: Shape) u64 {
        return 4 * @as(u64, self.batch) * self.length * self.kv_heads * self.head_dim;
    }
};

pub const Forward = struct { queries: *Buffer, keys: *Buffer, values: *Buffer, out: *Buffer, log_sums: *Buffer };

pub const Backward = struct {
    queries: *Buffer,
    keys: *Buffer,
    values: *Buffer,
    out: *Buffer,
    log_sums: *Buffer,
    gradient: *Buffer,
    query_gradient: *Buffer,
    key_gradient: *Buffer,
    value_gradient: *Buffer,
};

/// Every tensor on one device and of its length; what is written is nothing else.
fn expectTensors(tensors: anytype, shape: Shape, comptime written: []const []const u8) abi.Failure!void {
    const device = tensors.queries.device;
    inline for (@typeInfo(@TypeOf(tensors)).@"struct".field_names) |name| {
        const buffer: *Buffer = @field(tensors, name);
        if (buffer.device != device) return abi.fail(
            error.InvalidValue,
            "Expected all tensors on cuda:{d}, got one on cuda:{d}",
            .{ device.index, buffer.device.index },
        );
        const bytes = comptime bytesOf(name);
        const expected = bytes(shape);
        if (buffer.bytes != expected) return abi.fail(
            error.InvalidLength,
            "Expected {s} to hold {d} bytes, got {d}",
            .{ name, expected, buffer.bytes },
        );
        inline for (written) |target| {
            if (comptime !std.mem.eql(u8, target, name)) {
                if (@field(tensors, target) == buffer) return abi.fail(
                    error.InvalidValue,
                    "Expected {s} in memory of its own, got that of {s}",
                    .{ target, name },
                );
            }
        }
    }
}

fn bytesOf(comptime name: []const u8) fn (Shape) u64 {
    if (std.mem.eql(u8, name, "log_sums")) return struct {
        fn sums(shape: Shape) u64 {
            return 4 * shape.rows();
        }
    }.sums;
    const of_keys = std.mem.startsWith(u8, name, "key") or std.mem.startsWith(u8, name, "value");
    return if (of_keys) Shape.keyBytes else Shape.queryBytes;
}

pub fn forward(tensors: Forward, shape: Shape) abi.Failure!void {
    try expectTensors(tensors, shape, &.{ "out", "log_sums" });
    return abi.fail(error.Unsupported, "Expected attention on the CPU, got a device", .{});
}

pub fn backward(tensors: Backward, shape: Shape) abi.Failure!void {
    try expectTensors(tensors, shape, &.{ "query_gradient", "key_gradient", "value_gradient" });
    return abi.fail(error.Unsupported, "Expected attention on the CPU, got a device", .{});
}
