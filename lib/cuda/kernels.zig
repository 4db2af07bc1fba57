//! The kernels of cuda/*.cu by name, what they are told, and the fat binary they come in.
//!
//! kernels.txt stands next to the fat binary and says what is in it: a kernel that is launched here
//! and missing there, or one whose arguments have another size, is an error of the compiler.

const std = @import("std");
const options = @import("cuda_options");
const engine = @import("engine.zig");
const gradients = @import("gradients_arguments.zig");
const training = @import("training_arguments.zig");
const vsa = @import("vsa_arguments.zig");
const model = @import("model_kernels.zig");
const attention = @import("attention_kernels.zig");
const linear = @import("bitlinear_arguments.zig");

/// The fat binary, or nothing on platforms that have no CUDA.
pub const image: []align(64) const u8 = if (options.has_cuda) &aligned_image else &.{};
const aligned_image: [@embedFile("kernels_fatbin").len]u8 align(64) = @embedFile("kernels_fatbin").*;

pub const has_cuda = options.has_cuda;

pub const Kernel = enum {
    quantize_tokens,
    pad_tokens,
    split_tokens,
    pack_trits,
    pack_wire,
    quantize_absmean,
    quantize_absmean_rows,
    unpack_wire,
    multiply_groups,
    multiply_many,
    multiply_one_16_4,
    multiply_one_10_4,
    multiply_token_16_2,
    multiply_token_10_4,
    multiply_few_8_2_1,
    multiply_few_8_2_2,
    multiply_few_8_2_4,
    multiply_wgmma_2_2_128_4,
    multiply_wgmma_2_1_128_5,
    multiply_wgmma_2_1_64_4,
    multiply_wgmma_1_1_64_5,
    multiply_wgmma_2_1_32_6,
    multiply_wgmma_1_1_32_6,
    multiply_split_2_128_4,
    multiply_split_1_64_4,
    multiply_split_1_32_6,
    multiply_split_1_8_8,
    multiply_floats_4_2_1,
    multiply_floats_8_2_1,
    multiply_floats_8_2_2,
    multiply_floats_8_2_4,
    vsa_random,
    vsa_random_bipolar,
    vsa_add,
    vsa_subtract,
    vsa_multiply,
    vsa_negate,
    vsa_fold,
    vsa_rotate,
    vsa_equal,
    vsa_bundle_few,
    vsa_bundle_some,
    vsa_bundle_many,
    vsa_bundle_weighted,
    vsa_count,
    vsa_count_signs,
    vsa_pairs,
    vsa_count_rows,
    vsa_scan_dot,
    vsa_scan_distance,
    vsa_scan_common,
    vsa_matrix_dot,
    vsa_matrix_distance,
    vsa_matrix_common,
    vsa_select,
    vsa_merge,
    vsa_scores,
    floats_combine,
    floats_scale,
    floats_clip,
    floats_find,
    floats_sum_squares,
    floats_narrow,
    floats_widen,
    gradients_sign_encode,
    gradients_sign_scales,
    gradients_sign_decode,
    gradients_ternary_encode,
    gradients_ternary_decode,
    gradients_rotated_encode_2,
    gradients_rotated_encode_3,
    gradients_rotated_encode_4,
    gradients_rotated_encode_8,
    gradients_rotated_encode_16,
    gradients_rotated_decode_2,
    gradients_rotated_decode_3,
    gradients_rotated_decode_4,
    gradients_rotated_decode_8,
    gradients_rotated_decode_16,
    gradients_projection_encode,
    gradients_projection_decode,
    gradients_bundle_encode,
    gradients_bundle_scales,
    gradients_bundle_decode,
    gradients_entropy_measure,
    gradients_entropy_scale,
    gradients_entropy_sample,
    gradients_entropy_keep,
    gradients_entropy_sums,
    gradients_entropy_encode,
    gradients_entropy_decode,
    gradients_lowrank_right,
    gradients_lowrank_left,
    gradients_lowrank_expand,
    gradients_topk_sample,
    gradients_topk_find,
    gradients_topk_gather,
    gradients_topk_place,
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
    engine_softmax_warp,
    engine_softmax_block,
    engine_softmax_columns,
    engine_norm_warp,
    engine_norm_block,
    engine_add_row,
    training_embed,
    training_embed_count,
    training_embed_few,
    training_embed_many,
    training_norm_1,
    training_norm_2,
    training_norm_4,
    training_norm_any,
    training_norm_back_1,
    training_norm_back_2,
    training_norm_back_4,
    training_norm_back_any,
    training_sum_columns,
    training_rope_1,
    training_rope_4,
    training_gate,
    training_gate_back,
    training_adamw,
    training_sgd,
    attend_text_split_32,
    attend_text_forward_32,
    attend_text_queries_32,
    attend_text_keys_32,
    attend_text_split_64,
    attend_text_forward_64,
    attend_text_queries_64,
    attend_text_keys_64,
    attend_text_split_128,
    attend_text_forward_128,
    attend_text_queries_128,
    attend_text_keys_128,
    attend_text_split_256,
    attend_text_forward_256,
    attend_text_queries_256,
    attend_text_keys_256,
    attend_text_values_256,
    attend_text_add,
    bitlinear_quantize,
    bitlinear_sum,
    bitlinear_ternarize,
    bitlinear_place,
    bitlinear_unpack,
    bitlinear_widen,
    bitlinear_split,
    loss_count,
    loss_rows,
    loss_sum,

    pub fn Arguments(comptime self: Kernel) type {
        return switch (self) {
            .quantize_tokens, .pad_tokens, .split_tokens => Tokens,
            .pack_trits, .pack_wire, .quantize_absmean, .quantize_absmean_rows, .unpack_wire => Packing,
            .vsa_random, .vsa_random_bipolar => vsa.Random,
            .vsa_add, .vsa_subtract, .vsa_multiply, .vsa_negate, .vsa_fold => vsa.Bind,
            .vsa_rotate => vsa.Rotate,
            .vsa_equal => vsa.Equal,
            .vsa_bundle_few, .vsa_bundle_some, .vsa_bundle_many, .vsa_bundle_weighted, .vsa_count, .vsa_count_signs => vsa.Bundle,
            .vsa_pairs, .vsa_count_rows => vsa.Pairs,
            .vsa_scan_dot, .vsa_scan_distance, .vsa_scan_common => vsa.Scan,
            .vsa_matrix_dot, .vsa_matrix_distance, .vsa_matrix_common => vsa.Matrix,
            .vsa_select => vsa.Select,
            .vsa_merge => vsa.Merge,
            .vsa_scores => vsa.Scores,
            .floats_combine, .floats_clip, .floats_find, .floats_narrow, .floats_widen => Pass,
            .floats_scale, .floats_sum_squares => PassOfMany,
            .gradients_sign_encode, .gradients_sign_scales, .gradients_sign_decode => gradients.Scaled,
            .gradients_ternary_encode, .gradients_ternary_decode => gradients.Scaled,
            .gradients_rotated_encode_2, .gradients_rotated_encode_3, .gradients_rotated_encode_4 => gradients.Rotation,
            .gradients_rotated_encode_8, .gradients_rotated_encode_16 => gradients.Rotation,
            .gradients_rotated_decode_2, .gradients_rotated_decode_3, .gradients_rotated_decode_4 => gradients.Rotation,
            .gradients_rotated_decode_8, .gradients_rotated_decode_16 => gradients.Rotation,
            .gradients_projection_encode, .gradients_projection_decode => gradients.Rotation,
            .gradients_bundle_encode, .gradients_bundle_scales, .gradients_bundle_decode => gradients.Rotation,
            .gradients_entropy_measure, .gradients_entropy_scale, .gradients_entropy_sample => gradients.EntropyPass,
            .gradients_entropy_keep, .gradients_entropy_sums => gradients.EntropyPass,
            .gradients_entropy_encode => gradients.EntropyEncode,
            .gradients_entropy_decode => gradients.EntropyDecode,
            .gradients_lowrank_right, .gradients_lowrank_left, .gradients_lowrank_expand => gradients.Thin,
            .gradients_topk_sample => gradients.Samples,
            .gradients_topk_find, .gradients_topk_gather, .gradients_topk_place => gradients.Largest,
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
            .engine_softmax_warp, .engine_softmax_block, .engine_softmax_columns => engine.Rows,
            .engine_norm_warp, .engine_norm_block, .engine_add_row => engine.Rows,
            .training_embed, .training_embed_count, .training_embed_few, .training_embed_many => training.Embedding,
            .training_norm_1, .training_norm_2, .training_norm_4, .training_norm_any => training.Norm,
            .training_norm_back_1, .training_norm_back_2, .training_norm_back_4, .training_norm_back_any => training.Norm,
            .training_sum_columns => training.Sums,
            .training_rope_1, .training_rope_4 => training.Rope,
            .training_gate, .training_gate_back => training.Gate,
            .training_adamw => training.AdamW,
            .training_sgd => training.Sgd,
            .head_f32_1, .head_f16_1, .head_bf16_1, .head_f32_4, .head_f16_4, .head_bf16_4, .head_int8 => model.Head,
            .attend_text_split_32, .attend_text_split_64, .attend_text_split_128, .attend_text_split_256 => attention.AttendText,
            .attend_text_forward_32, .attend_text_forward_64, .attend_text_forward_128, .attend_text_forward_256 => attention.AttendText,
            .attend_text_queries_32, .attend_text_queries_64, .attend_text_queries_128, .attend_text_queries_256 => attention.AttendText,
            .attend_text_keys_32, .attend_text_keys_64, .attend_text_keys_128, .attend_text_keys_256 => attention.AttendText,
            .attend_text_values_256, .attend_text_add => attention.AttendText,
            .bitlinear_quantize => linear.Quantize,
            .bitlinear_sum => linear.Magnitudes,
            .bitlinear_ternarize => linear.Ternarize,
            .bitlinear_place => linear.Place,
            .bitlinear_unpack => linear.Unpack,
            .bitlinear_widen => linear.Widen,
            .bitlinear_split => linear.Split,
            .loss_count, .loss_rows, .loss_sum => linear.Loss,
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
    slabs: u32 = 0,
    reserved: u32 = 0,
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

/// See floats.cu.
pub const Pass = extern struct {
    source: u64,
    second: u64 = 0,
    target: u64 = 0,
    found: u64 = 0,
    count: u64,
    factor: f64 = 0,
    alpha: f32 = 0,
    beta: f32 = 0,
    option: u32 = 0,
    reserved: u32 = 0,
};

/// See floats.cu.
pub const PassOfMany = extern struct {
    found: u64,
    factor: f64 = 0,
    length: u32,
    reserved: u32 = 0,
    values: [capacity]u64,
    counts: [capacity]u64,
    first: [capacity]u32,

    pub const capacity = 128;
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

/// Padded columns that the kernels multiply_token keep in shared memory, which may be 48 KiB.
pub const token_columns_max = 44 << 10;

/// Bytes that a block may read behind the last slab of tokens; see common.cuh.
pub const slab_slack: u64 = 128 * 128;

/// A kernel of sm_90a with what a block of it computes and takes.
pub const Tile = struct { kernel: Kernel, rows: u32, tokens: u32, threads: u32, shared_bytes: u32 };

/// A kernel of matmul_wgmma.cu: its name has its groups, blocks, tokens and stages.
fn wgmmaTile(comptime groups: u32, comptime blocks: u32, comptime tokens: u32, comptime stages: u32) Tile {
    return .{
        .kernel = @field(Kernel, std.fmt.comptimePrint("multiply_wgmma_{d}_{d}_{d}_{d}", .{ groups, blocks, tokens, stages })),
        .rows = groups * blocks * 64,
        .tokens = tokens,
        .threads = groups * 128 + if (blocks * tokens >= 256) 128 else 32,
        .shared_bytes = stages * (tokens * 256 + groups * blocks * 4096 + 16) + 1024,
    };
}

/// A kernel of matmul_split.cu: its name has its groups, tokens and stages.
fn splitTile(comptime groups: u32, comptime tokens: u32, comptime stages: u32) Tile {
    return .{
        .kernel = @field(Kernel, std.fmt.comptimePrint("multiply_split_{d}_{d}_{d}", .{ groups, tokens, stages })),
        .rows = groups * 64,
        .tokens = tokens,
        .threads = groups * 128 + if (tokens >= 128) 128 else 32,
        .shared_bytes = stages * (tokens * 384 + 16) + 1024,
    };
}

pub const wgmma_256_128 = wgmmaTile(2, 2, 128, 4);
pub const wgmma_128_128 = wgmmaTile(2, 1, 128, 5);
pub const wgmma_128_64 = wgmmaTile(2, 1, 64, 4);
pub const wgmma_64_64 = wgmmaTile(1, 1, 64, 5);
pub const wgmma_128_32 = wgmmaTile(2, 1, 32, 6);
pub const wgmma_64_32 = wgmmaTile(1, 1, 32, 6);
pub const parts_128_128 = splitTile(2, 128, 4);
pub const parts_64_64 = splitTile(1, 64, 4);
pub const parts_64_32 = splitTile(1, 32, 6);
pub const parts_64_8 = splitTile(1, 8, 8);

const wgmma_tiles = [_]Tile{
    wgmma_256_128, wgmma_128_128, wgmma_128_64, wgmma_64_64, wgmma_128_32,
    wgmma_64_32,   parts_128_128, parts_64_64,  parts_64_32, parts_64_8,
};

/// A kernel with the shared memory that must be asked for.
pub const SharedMemory = struct { kernel: Kernel, bytes: u32, needs_wgmma: bool };

/// Kernels that may take more than 48 KiB of shared memory.
pub const large_shared = blk: {
    var list: [wgmma_tiles.len + 3]SharedMemory = undefined;
    list[0] = .{ .kernel = .multiply_many, .bytes = many_shared_bytes, .needs_wgmma = false };
    list[1] = .{ .kernel = .quantize_absmean_rows, .bytes = rows_shared_bytes * 16, .needs_wgmma = false };
    list[2] = .{ .kernel = .gradients_entropy_encode, .bytes = gradients.entropy_shared_bytes, .needs_wgmma = false };
    for (wgmma_tiles, list[3..]) |tile, *large| large.* = .{ .kernel = tile.kernel, .bytes = tile.shared_bytes, .needs_wgmma = true };
    break :blk list;
};

/// For every warp of quantize_absmean_rows; see packing.cu.
pub const rows_shared_bytes = 3 * 32 * 64;
