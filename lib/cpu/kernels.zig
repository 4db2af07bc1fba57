//! The table of kernels, compiled once per instruction-set tier by build.zig.

const std = @import("std");
const tier = @import("tier_options").tier;
const activations = @import("activations.zig");
const gradients = @import("gradients.zig");
const gradient_entropy = @import("gradients_entropy_kernels.zig");
const table = @import("table.zig");
const matmul_i8 = @import("matmul_i8.zig");
const matmul_f32 = @import("matmul_f32.zig");
const gemm = @import("gemm.zig");
const nn = @import("nn.zig");
const ternary = @import("ternary.zig");
const probes = @import("probes.zig");
const training = @import("training.zig");
const vsa = @import("vsa.zig");
const precision = @import("precision.zig");

const kernels: table.Kernels = .{
    .quantize_token = activations.quantizeToken,
    .tile_tokens_i8 = matmul_i8.tile_tokens,
    .has_sum_tables = @intFromBool(matmul_f32.uses_tables),
    .matmul_i8 = matmul_i8.planes,
    .matmul_i8_base3 = matmul_i8.base3,
    .f32_planes = .{ .prepare = matmul_f32.Of(.planes).prepare, .matmul = matmul_f32.Of(.planes).block },
    .f32_triples = .{ .prepare = matmul_f32.Of(.triples).prepare, .matmul = matmul_f32.Of(.triples).block },
    .nn = nn.kernels,
    .gemm = gemm.kernels,
    .training = training.kernels,
    .ternary = ternary.kernels,
    .probes = probes.kernels,
    .vsa = vsa.kernels,
    .precision = precision.kernels,
    .gradients = gradients.kernels,
    .gradient_entropy = gradient_entropy.kernels,
};

comptime {
    // Hidden: the tiers meet inside the library, and nothing of them shows outside.
    @export(&kernels, .{ .name = "tritter_kernels_" ++ tier, .visibility = .hidden });
}
