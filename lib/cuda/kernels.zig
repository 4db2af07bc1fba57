//! The kernels of cuda/*.cu by name, what they are told, and the fat binary they come in.
//!
//! kernels.txt stands next to the fat binary and says what is in it: a kernel that is launched here
//! and missing there, or one whose arguments have another size, is an error of the compiler.

const std = @import("std");
const options = @import("cuda_options");
const model = @import("model_kernels.zig");

/// The fat binary, or nothing on platforms that have no CUDA.
pub const image: []align(64) const u8 = if (options.has_cuda) &aligned_image else &.{};
const aligned_image: [@embedFile("kernels_fatbin").len]u8 align(64) = @embedFile("kernels_fatbin").*;

pub const has_cuda = options.has_cuda;

pub const Kernel = enum {
    quantize_tokens,
    pad_tokens,
    pack_trits,
    pack_wire,
    quantize_absmean,
    unpack_wire,
    multiply_groups,
    multiply_many,
    multiply_one_8_1_4,
    multiply_one_16_1_2,
    multiply_one_4_2_4,
    multiply_one_8_2_2,
    multiply_one_8_2_4,
    multiply_one_16_2_1,
    multiply_one_4_4_4,
    multiply_one_8_4_2,
    multiply_few_8_1_1,
    multiply_few_8_2_1,
    multiply_few_8_4_1,
    multiply_few_8_1_2,
    multiply_few_8_2_2,
    multiply_few_8_4_2,
    multiply_few_8_1_4,
    multiply_few_8_2_4,
    multiply_few_8_4_4,
    multiply_floats_8_1_1,
    multiply_floats_4_2_1,
    multiply_floats_8_2_1,
    multiply_floats_4_4_1,
    multiply_floats_8_2_2,
    multiply_floats_8_2_4,
    set_step,
    embed_tokens,
    norm_tokens,
    norm_tokens_odd,
    gate_tokens,
    gate_tokens_odd,
    choose_token,
    place_tokens_32,
    attend_one_32,
    attend_each_32,
    place_tokens_64,
    attend_one_64,
    attend_each_64,
    place_tokens_128,
    attend_one_128,
    attend_each_128,
    place_tokens_256,
    attend_one_256,
    attend_each_256,
    place_keys_32,
    place_keys_64,
    place_keys_128,
    split_cache_32,
    split_cache_64,
    split_cache_128,
    attend_many_32,
    attend_many_64,
    attend_many_128,
    decode_store_10_1_1,
    decode_store_8_1_2,
    decode_add_10_1_1,
    decode_add_9_1_3,
    decode_add_8_1_4,
    decode_gate_10_4_1,
    decode_gate_8_2_2,
    head_f32_1,
    head_f16_1,
    head_bf16_1,
    head_f32_4,
    head_f16_4,
    head_bf16_4,
    head_int8,

    pub fn Arguments(comptime self: Kernel) type {
        return switch (self) {
            .quantize_tokens, .pad_tokens => Tokens,
            .pack_trits, .pack_wire, .quantize_absmean, .unpack_wire => Packing,
            .set_step => model.SetStep,
            .embed_tokens => model.Embed,
            .norm_tokens, .norm_tokens_odd, .gate_tokens, .gate_tokens_odd => model.Rows,
            .choose_token => model.Choose,
            .place_tokens_32, .place_tokens_64, .place_tokens_128, .place_tokens_256 => model.Attention,
            .place_keys_32, .place_keys_64, .place_keys_128 => model.Attention,
            .attend_one_32, .attend_one_64, .attend_one_128, .attend_one_256 => model.Attention,
            .split_cache_32, .split_cache_64, .split_cache_128 => model.Splitting,
            .attend_many_32, .attend_many_64, .attend_many_128 => model.AttendMany,
            .attend_each_32, .attend_each_64, .attend_each_128, .attend_each_256 => model.Attention,
            .decode_store_10_1_1, .decode_store_8_1_2 => model.Decode,
            .decode_add_10_1_1, .decode_add_9_1_3, .decode_add_8_1_4 => model.Decode,
            .decode_gate_10_4_1, .decode_gate_8_2_2 => model.Decode,
            .head_f32_1, .head_f16_1, .head_bf16_1, .head_f32_4, .head_f16_4, .head_bf16_4, .head_int8 => model.Head,
            else => Product,
        };
    }
};

/// See common.cuh.
pub const Columns = extern struct {
    columns: u32,
    groups: u32,
    group_columns: u32,
    group_blocks: u32,
    chunks: u32,
    reserved: u32 = 0,

    pub fn init(columns: u32, group_columns: u32) Columns {
        const groups = columns / group_columns;
        const group_blocks = divideUp(group_columns, 64);
        return .{
            .columns = columns,
            .groups = groups,
            .group_columns = group_columns,
            .group_blocks = group_blocks,
            .chunks = @intCast(divideUp(@as(u64, groups) * group_blocks, 4)),
        };
    }

    pub fn padded(self: Columns) u64 {
        return @as(u64, self.chunks) * 256;
    }

    pub fn isDense(self: Columns) bool {
        return self.padded() == self.columns and self.group_blocks * 64 == self.group_columns;
    }
};

/// See quantization.cu.
pub const Tokens = extern struct {
    input: u64,
    padded: u64,
    sums: u64 = 0,
    scales: u64 = 0,
    columns: Columns,
    count: u32,
    padded_count: u32,
};

/// See packing.cu.
pub const Packing = extern struct {
    source: u64,
    weights: u64,
    row_scales: u64 = 0,
    found: u64 = 0,
    columns: Columns,
    rows: u32,
    tiles: u32,
};

/// See common.cuh.
pub const Product = extern struct {
    weights: u64,
    row_scales: u64,
    tokens: u64,
    token_sums: u64 = 0,
    token_scales: u64 = 0,
    bias: u64,
    output: u64,
    columns: Columns,
    rows: u32,
    count: u32,
};

pub fn divideUp(a: anytype, b: @TypeOf(a)) @TypeOf(a) {
    return (a + b - 1) / b;
}

comptime {
    @setEvalBranchQuota(1_000_000);
    for (std.enums.values(Kernel)) |kernel| {
        const line = std.fmt.comptimePrint("\n{s} {d}\n", .{ @tagName(kernel), @sizeOf(kernel.Arguments()) });
        if (std.mem.indexOf(u8, @embedFile("kernels_list"), line) == null)
            @compileError("cuda/kernels.txt, and so the fat binary, has no kernel" ++ line);
    }
}

/// Two stages of 8 tiles of weights and 128 tokens, a chunk each; see matmul_many.cu.
pub const many_shared_bytes = 2 * (8 * 1024 + 128 * 256);
