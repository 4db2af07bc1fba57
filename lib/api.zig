//! The list of exported functions, and its fingerprint.
//!
//! Every `pub` function of these files is exported as `tritter_<name>`. The fingerprint is computed
//! from the declarations themselves; the TypeScript bridge carries the one it was generated from, so
//! that a library and a bridge that do not belong together are noticed at load.

const std = @import("std");

pub const modules = .{
    @import("api/core.zig"),
    @import("api/quantization.zig"),
    @import("api/packing.zig"),
    @import("api/matmul.zig"),
    @import("api/nn.zig"),
    @import("api/limits.zig"),
    @import("api/vectors.zig"),
    @import("api/vector_search.zig"),
    @import("api/bundles.zig"),
    @import("api/vector_formats.zig"),
    @import("api/sparse_vectors.zig"),
    @import("api/trits.zig"),
    @import("api/encoders.zig"),
    @import("api/centroids.zig"),
    @import("api/precision.zig"),
    @import("api/gradient_sums.zig"),
    @import("api/gradients.zig"),
    @import("api/gradient_entropy.zig"),
    @import("api/gradient_topk.zig"),
    @import("api/files.zig"),
    @import("api/inference.zig"),
    @import("api/bitlinear.zig"),
    @import("api/training.zig"),
    @import("api/attention.zig"),
    @import("api/optimizers.zig"),
    @import("api/cuda.zig"),
    @import("api/distributed.zig"),
    @import("api/cuda_vsa.zig"),
    @import("api/cuda_vsa_search.zig"),
    @import("api/cuda_gradients.zig"),
    @import("api/cuda_gradients_topk.zig"),
    @import("api/cuda_floats.zig"),
    @import("api/cuda_dense.zig"),
    @import("api/cuda_training.zig"),
    @import("api/cuda_model.zig"),
    @import("api/cuda_attention.zig"),
    @import("api/cuda_bitlinear.zig"),
    @import("api/cuda_engine.zig"),
};

/// FNV-1a 64 over `name(type,type,...)\n` of every function, sorted by name.
pub const fingerprint: u64 = blk: {
    @setEvalBranchQuota(1_000_000);
    var lines: []const []const u8 = &.{};
    for (modules) |module| {
        for (@typeInfo(module).@"struct".decl_names) |name| lines = lines ++ .{signature(module, name)};
    }
    var sorted: [lines.len][]const u8 = lines[0..lines.len].*;
    std.mem.sortUnstable([]const u8, &sorted, {}, struct {
        fn lessThan(_: void, a: []const u8, b: []const u8) bool {
            return std.mem.lessThan(u8, a, b);
        }
    }.lessThan);
    var hash: u64 = 0xcbf29ce484222325;
    for (sorted) |line| {
        for (line) |byte| hash = (hash ^ byte) *% 0x100000001b3;
    }
    break :blk hash;
};

fn signature(comptime module: type, comptime name: []const u8) []const u8 {
    const function = @typeInfo(@TypeOf(@field(module, name))).@"fn";
    var text: []const u8 = name ++ "(";
    for (function.param_types, 0..) |parameter, index| {
        text = text ++ (if (index == 0) "" else ",") ++ typeName(parameter.?);
    }
    return text ++ ")\n";
}

/// `r:` marks a buffer that is read, `w:` one that is written.
fn typeName(comptime T: type) []const u8 {
    return switch (@typeInfo(T)) {
        .optional => |optional| {
            const pointer = @typeInfo(optional.child).pointer;
            return (if (pointer.attrs.@"const") "r:" else "w:") ++ @typeName(pointer.child);
        },
        else => @typeName(T),
    };
}
