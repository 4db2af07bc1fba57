//! Exports of passes over f32 tensors on CUDA devices: what precision.zig and gradient_sums.zig do for
//! arrays.

const std = @import("std");
const abi = @import("../abi.zig");
const Buffer = @import("../cuda/backend.zig").Buffer;
const expectLength = @import("options.zig").expectLength;
const floats = @import("../cuda/floats.zig");
const handles = @import("../handles.zig");

/// out = alpha a + beta b; `out` may be either.
pub fn cuda_floats_combine(a: u64, alpha: f32, b: u64, beta: f32, out: u64) callconv(.c) i32 {
    return abi.finish(combine(a, alpha, b, beta, out));
}

/// Copies all values.
pub fn cuda_floats_copy(values: u64, out: u64) callconv(.c) i32 {
    return abi.finish(copy(values, out));
}

/// Moves values outside of least .. most to the bounds, in place; NaN becomes 0 first with 1.
pub fn cuda_floats_clip(values: u64, least: f32, most: f32, nan_to_zero: u32) callconv(.c) i32 {
    return abi.finish(clip(values, least, most, nan_to_zero));
}

/// found[0] is the index of the first NaN or infinity, or the length where there is none.
pub fn cuda_floats_find_not_finite(values: u64, found: ?[*]f64, found_length: u32) callconv(.c) i32 {
    return abi.finish(findNotFinite(values, found, found_length));
}

/// sums[i] is the sum of the squares of tensor i, in the order of the CPU; waits once for all.
pub fn cuda_floats_sum_squares_all(values: ?[*]const u64, values_length: u32, sums: ?[*]f64, sums_length: u32) callconv(.c) i32 {
    return abi.finish(sumSquaresAll(values, values_length, sums, sums_length));
}

/// Multiplies tensors in place; overflow[0] becomes 1 where any product is not finite, else 0; waits once.
pub fn cuda_floats_scale_all(
    values: ?[*]const u64,
    values_length: u32,
    factor: f64,
    overflow: ?[*]u32,
    overflow_length: u32,
) callconv(.c) i32 {
    return abi.finish(scaleAll(values, values_length, factor, overflow, overflow_length));
}

/// Rounds f32 to 16 bits; `float` is 1 for f16, 2 for bf16.
pub fn cuda_floats_narrow(values: u64, out: u64, float: u32) callconv(.c) i32 {
    return abi.finish(convert(values, out, float, .floats_narrow));
}

/// The values of 16-bit floats.
pub fn cuda_floats_widen(halves: u64, out: u64, float: u32) callconv(.c) i32 {
    return abi.finish(convert(halves, out, float, .floats_widen));
}

fn combine(a: u64, alpha: f32, b: u64, beta: f32, out: u64) abi.Failure!void {
    const first = try handles.acquire(Buffer, .tensor, a);
    defer handles.release(a);
    const second = try handles.acquire(Buffer, .tensor, b);
    defer handles.release(b);
    const target = try handles.acquire(Buffer, .tensor, out);
    defer handles.release(out);
    return floats.combine(first, alpha, second, beta, target);
}

fn copy(source: u64, target: u64) abi.Failure!void {
    const from = try handles.acquire(Buffer, .tensor, source);
    defer handles.release(source);
    const to = try handles.acquire(Buffer, .tensor, target);
    defer handles.release(target);
    return floats.copy(from, to);
}

fn clip(handle: u64, least: f32, most: f32, nan_to_zero: u32) abi.Failure!void {
    const values = try handles.acquire(Buffer, .tensor, handle);
    defer handles.release(handle);
    return floats.clip(values, least, most, nan_to_zero);
}

fn findNotFinite(handle: u64, pointer: ?[*]f64, length: u32) abi.Failure!void {
    const values = try handles.acquire(Buffer, .tensor, handle);
    defer handles.release(handle);
    const found = try abi.writable(f64, pointer, length, "found");
    try expectLength("found", found.len, 1);
    found[0] = @floatFromInt(try floats.findNotFinite(values) orelse values.bytes / 4);
}

fn convert(source: u64, target: u64, float: u32, comptime kernel: @import("../cuda/kernels.zig").Kernel) abi.Failure!void {
    const from = try handles.acquire(Buffer, .tensor, source);
    defer handles.release(source);
    const to = try handles.acquire(Buffer, .tensor, target);
    defer handles.release(target);
    return floats.convert(from, to, float, kernel);
}

/// Calls `work` with the tensors behind a list of handles.
fn withTensors(pointer: ?[*]const u64, length: u32, context: anytype, comptime work: fn (@TypeOf(context), []const *Buffer) abi.Failure!void) abi.Failure!void {
    const values = try abi.readable(u64, pointer, length, "tensors");
    if (values.len == 0) return abi.fail(error.InvalidLength, "Expected at least 1 tensor, got none", .{});
    const allocator = std.heap.c_allocator;
    // Another thread may write to the list of handles meanwhile.
    const own = try allocator.dupe(u64, values);
    defer allocator.free(own);
    const buffers = try allocator.alloc(*Buffer, own.len);
    defer allocator.free(buffers);
    try handles.acquireEach(Buffer, .tensor, own, buffers);
    defer handles.releaseEach(own);
    return work(context, buffers);
}

fn sumSquaresAll(values: ?[*]const u64, values_length: u32, sums_pointer: ?[*]f64, sums_length: u32) abi.Failure!void {
    const sums = try abi.writable(f64, sums_pointer, sums_length, "sums");
    try expectLength("sums", sums.len, values_length);
    return withTensors(values, values_length, sums, struct {
        fn work(out: []f64, buffers: []const *Buffer) abi.Failure!void {
            return floats.sumSquaresAll(buffers, out);
        }
    }.work);
}

fn scaleAll(values: ?[*]const u64, values_length: u32, factor: f64, overflow_pointer: ?[*]u32, overflow_length: u32) abi.Failure!void {
    const overflow = try abi.writable(u32, overflow_pointer, overflow_length, "overflow");
    try expectLength("overflow", overflow.len, 1);
    const Context = struct { factor: f64, overflow: *u32 };
    return withTensors(values, values_length, Context{ .factor = factor, .overflow = &overflow[0] }, struct {
        fn work(self: Context, buffers: []const *Buffer) abi.Failure!void {
            self.overflow.* = @intFromBool(try floats.scaleAll(buffers, self.factor));
        }
    }.work);
}
