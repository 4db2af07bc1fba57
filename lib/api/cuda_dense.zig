//! Export of dense products on CUDA devices, which cuBLAS computes.

const std = @import("std");
const abi = @import("../abi.zig");
const Buffer = @import("../cuda/backend.zig").Buffer;
const cublas = @import("../cuda/cublas.zig");
const Fields = @import("options.zig").Fields;
const handles = @import("../handles.zig");

/// out = alpha A B + beta out of tensors; options = [m, n, k, transpose a, transpose b, alpha, beta, what a
/// and b are: 0 f32, 1 f16, 2 bf16]. The result is f32.
pub fn cuda_dense_product(a: u64, b: u64, out: u64, options: ?[*]const f64, options_length: u32) callconv(.c) i32 {
    return abi.finish(multiply(a, b, out, options, options_length));
}

fn multiply(a: u64, b: u64, out: u64, options: ?[*]const f64, options_length: u32) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const most = std.math.maxInt(u32);
    const product: cublas.Product = .{
        .m = try fields.count("m", 1, most),
        .n = try fields.count("n", 1, most),
        .k = try fields.count("k", 1, most),
        .transpose_a = try fields.count("transpose a", 0, 1) == 1,
        .transpose_b = try fields.count("transpose b", 0, 1) == 1,
        .alpha = @floatCast(try fields.number("alpha")),
        .beta = @floatCast(try fields.number("beta")),
        .float = @fromBackingInt(try fields.count("the format", 0, 2)),
    };
    const first = try handles.acquire(Buffer, .tensor, a);
    defer handles.release(a);
    const second = try handles.acquire(Buffer, .tensor, b);
    defer handles.release(b);
    const target = try handles.acquire(Buffer, .tensor, out);
    defer handles.release(out);
    return cublas.multiply(product, first, second, target);
}
