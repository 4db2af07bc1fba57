//! One token through the layers by the kernels of decode.cu, five a layer:
//!
//!     norm, q k v     rotate, cache, attend     sub-norm, o, add     norm, gate and up, act     sub-norm, down, add

const abi = @import("../abi.zig");
const kernels = @import("kernels.zig");
const model_file = @import("model.zig");
const Group = model_file.Group;
const Kernel = kernels.Kernel;
const Model = model_file.Model;
const Pass = @import("pass.zig").Pass;

/// A kernel with the warps, the tiles of 16 rows that a block takes, and the chunks of columns that each
/// warp holds.
const Variant = struct { kernel: Kernel, warps: u32, tiles: u32, rounds: u32 };

const store = [_]Variant{
    .{ .kernel = .decode_store_10_1_1, .warps = 10, .tiles = 1, .rounds = 1 },
    .{ .kernel = .decode_store_8_1_2, .warps = 8, .tiles = 1, .rounds = 2 },
};
const add = [_]Variant{
    .{ .kernel = .decode_add_10_1_1, .warps = 10, .tiles = 1, .rounds = 1 },
    .{ .kernel = .decode_add_9_1_3, .warps = 9, .tiles = 1, .rounds = 3 },
    .{ .kernel = .decode_add_8_1_4, .warps = 8, .tiles = 1, .rounds = 4 },
};
const gate = [_]Variant{
    .{ .kernel = .decode_gate_10_4_1, .warps = 10, .tiles = 4, .rounds = 1 },
    .{ .kernel = .decode_gate_8_2_2, .warps = 8, .tiles = 2, .rounds = 2 },
};

/// The first variant that holds a row.
fn find(variants: []const Variant, chunks: u32) ?Variant {
    for (variants) |variant| if (chunks <= variant.warps * variant.rounds) return variant;
    return null;
}

fn hasVariant(group: *const Group, variants: []const Variant) bool {
    if (group.count != 1 or group.parts[0].norm != 0) return false;
    const columns = group.parts[0].weights.columns;
    return columns.groups == 1 and columns.columns % 4 == 0 and find(variants, columns.chunks) != null;
}

pub fn fits(model: *const Model) bool {
    if (model.options.intermediate % 8 != 0) return false;
    for (model.layers) |*layer| {
        if (!hasVariant(&layer.qkv, &store) or !hasVariant(&layer.o, &add)) return false;
        if (!hasVariant(&layer.gate_up, &gate) or !hasVariant(&layer.down, &add)) return false;
    }
    return true;
}

pub fn layers(pass: Pass) abi.Failure!void {
    const o = &pass.model.options;
    const s = pass.scratch;
    try pass.embed();
    for (pass.model.layers, 0..) |*layer, index| {
        const qkv = &layer.qkv.parts[0];
        const chunks = qkv.weights.columns.chunks;
        try multiply(pass, find(&store, chunks).?, qkv, layer.input_norm, s.x, s.qkv, qkv.weights.rows);
        try pass.attend(index, &layer.qkv);
        try addTo(pass, &layer.o, layer.attn_sub_norm, s.attention);
        const gate_up = &layer.gate_up.parts[0];
        try multiply(pass, find(&gate, chunks).?, gate_up, layer.post_norm, s.x, s.gate_up, o.intermediate);
        try addTo(pass, &layer.down, layer.ffn_sub_norm, s.gate_up);
    }
}

/// x += the projection.
fn addTo(pass: Pass, group: *const Group, norm: u64, input: u64) abi.Failure!void {
    const part = &group.parts[0];
    return multiply(pass, find(&add, part.weights.columns.chunks).?, part, norm, input, pass.scratch.x, part.weights.rows);
}

fn multiply(pass: Pass, variant: Variant, part: *const model_file.Part, norm: u64, input: u64, output: u64, rows: u32) abi.Failure!void {
    // With a gate, a tile is eight rows of each of two matrices.
    const outputs: u32 = if (rows < part.weights.rows) 8 else 16;
    return pass.stream.launchOf(variant.kernel, .{
        .blocks = kernels.divideUp(rows, variant.tiles * outputs),
        .threads = variant.warps * 32,
        .programmatic = true,
    }, &@import("model_kernels.zig").Decode{
        .weights = part.weights.data.pointer,
        .row_scales = part.weights.scales.pointer,
        .bias = part.bias,
        .input = input,
        .norm = norm,
        .output = output,
        .columns = part.weights.columns,
        .rows = rows,
        .epsilon = pass.model.options.epsilon,
        .activation = pass.model.options.activation,
    });
}
