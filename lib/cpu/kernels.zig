//! The table of kernels, compiled once per instruction-set tier by build.zig.

const std = @import("std");
const tier = @import("tier_options").tier;
const activations = @import("activations.zig");
const table = @import("table.zig");
const matmul_i8 = @import("matmul_i8.zig");
const matmul_f32 = @import("matmul_f32.zig");
const nn = @import("nn.zig");
const probes = @import("probes.zig");

const kernels: table.Kernels = .{
    .quantize_token = activations.quantizeToken,
    .matmul_i8 = matmul_i8.block,
    .prepare_f32 = matmul_f32.prepare,
    .matmul_f32 = matmul_f32.block,
    .nn = nn.kernels,
    .probes = probes.kernels,
};

comptime {
    // Hidden: the tiers meet inside the library, and nothing of them shows outside.
    @export(&kernels, .{ .name = "tritter_kernels_" ++ tier, .visibility = .hidden });
}
