//! Exports of passes over f32 tensors on CUDA devices: what precision.zig and gradient_sums.zig do for
//! arrays.

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

/// Multiplies in place; overflow[0] becomes 1 where a product is not finite, else 0.
pub fn cuda_floats_scale(values: u64, factor: f64, overflow: ?[*]u32, overflow_length: u32) callconv(.c) i32 {
    return abi.finish(scale(values, factor, overflow, overflow_length));
}

/// Moves values outside of least .. most to the bounds, in place; NaN becomes 0 first with 1.
pub fn cuda_floats_clip(values: u64, least: f32, most: f32, nan_to_zero: u32) callconv(.c) i32 {
    return abi.finish(clip(values, least, most, nan_to_zero));
}

/// found[0] is the index of the first NaN or infinity, or the length where there is none.
pub fn cuda_floats_find_not_finite(values: u64, found: ?[*]f64, found_length: u32) callconv(.c) i32 {
    return abi.finish(findNotFinite(values, found, found_length));
}

/// sum[0] is the sum of the squares.
pub fn cuda_floats_sum_squares(values: u64, sum: ?[*]f64, sum_length: u32) callconv(.c) i32 {
    return abi.finish(sumSquares(values, sum, sum_length));
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

fn scale(handle: u64, factor: f64, pointer: ?[*]u32, length: u32) abi.Failure!void {
    const values = try handles.acquire(Buffer, .tensor, handle);
    defer handles.release(handle);
    const overflow = try abi.writable(u32, pointer, length, "overflow");
    try expectLength("overflow", overflow.len, 1);
    overflow[0] = @intFromBool(try floats.scale(values, factor));
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

fn sumSquares(handle: u64, pointer: ?[*]f64, length: u32) abi.Failure!void {
    const values = try handles.acquire(Buffer, .tensor, handle);
    defer handles.release(handle);
    const sum = try abi.writable(f64, pointer, length, "sum");
    try expectLength("sum", sum.len, 1);
    sum[0] = try floats.sumSquares(values);
}

fn convert(source: u64, target: u64, float: u32, comptime kernel: @import("../cuda/kernels.zig").Kernel) abi.Failure!void {
    const from = try handles.acquire(Buffer, .tensor, source);
    defer handles.release(source);
    const to = try handles.acquire(Buffer, .tensor, target);
    defer handles.release(target);
    return floats.convert(from, to, float, kernel);
}
