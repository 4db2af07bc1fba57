//! Which kernel multiplies: chosen by what bench/cuda.md tells of the sizes there.

const std = @import("std");
const backend = @import("backend.zig");
const kernels = @import("kernels.zig");

const Columns = kernels.Columns;
const Kernel = kernels.Kernel;

/// A kernel with the rows, the tokens and the threads of a block.
pub const Variant = struct { kernel: Kernel, rows: u32, tokens: u32 = 1, threads: u32, shared_bytes: u32 = 0 };

/// Bytes of weights up to which all of them are in flight at once.
fn isSmall(rows: u32, columns: Columns) bool {
    return rows * columns.padded() <= 40 << 20;
}

/// One token of floats that the kernel itself quantises; null where it cannot.
pub fn forToken(rows: u32, columns: Columns) ?Variant {
    if (columns.groups != 1 or columns.columns % 4 != 0 or columns.padded() > kernels.token_columns_max) return null;
    const shared: u32 = @intCast(columns.padded());
    if (isSmall(rows, columns)) return .{ .kernel = .multiply_token_16_2_1, .rows = 16, .threads = 512, .shared_bytes = shared };
    return .{ .kernel = .multiply_token_16_4_1, .rows = 32, .threads = 512, .shared_bytes = shared };
}

/// int8 activations in rows, whole-row scales.
pub fn forRows(rows: u32, columns: Columns, count: u32) Variant {
    if (count == 1) {
        if (isSmall(rows, columns)) return .{ .kernel = .multiply_one_16_2_1, .rows = 16, .threads = 512 };
        return .{ .kernel = .multiply_one_8_1_4, .rows = 8, .threads = 256 };
    }
    if (count > 32) return .{
        .kernel = .multiply_many,
        .rows = 128,
        .tokens = 128,
        .threads = 256,
        .shared_bytes = kernels.many_shared_bytes,
    };
    const kernel: Kernel = if (count <= 8) .multiply_few_8_4_1 else if (count <= 16) .multiply_few_8_4_2 else .multiply_few_8_4_4;
    return .{ .kernel = kernel, .rows = 64, .tokens = 32, .threads = 256 };
}

/// Whether int8 activations are multiplied fastest in slabs, by wgmma.
pub fn wantsSlabs(device: *const backend.Device, columns: Columns, count: u32) bool {
    return device.has_wgmma and columns.groups == 1 and count > 16;
}

/// The largest tiles that still fill the device.
pub fn forSlabs(device: *const backend.Device, rows: u32, count: u32) Variant {
    const tiles = [_]kernels.Tile{ kernels.wgmma_256_128, kernels.wgmma_128_128, kernels.wgmma_128_64, kernels.wgmma_64_64 };
    var chosen = if (count <= 32) kernels.wgmma_128_32 else tiles[tiles.len - 1];
    for (tiles) |tile| {
        const blocks = @as(u64, kernels.divideUp(rows, tile.rows)) * kernels.divideUp(count, tile.tokens);
        if (count > 32 and blocks >= device.multiprocessors) {
            chosen = tile;
            break;
        }
    }
    return .{ .kernel = chosen.kernel, .rows = chosen.rows, .tokens = chosen.tokens, .threads = chosen.threads, .shared_bytes = chosen.shared_bytes };
}

pub fn forFloats(rows: u32, columns: Columns, count: u32) Variant {
    if (count == 1) return if (isSmall(rows, columns))
        .{ .kernel = .multiply_floats_8_2_1, .rows = 16, .threads = 256 }
    else
        .{ .kernel = .multiply_floats_4_4_1, .rows = 32, .threads = 128 };
    if (count == 2) return .{ .kernel = .multiply_floats_8_2_2, .rows = 16, .tokens = 2, .threads = 256 };
    return .{ .kernel = .multiply_floats_8_2_4, .rows = 16, .tokens = 4, .threads = 256 };
}

/// Whether f32 activations are multiplied fastest in bf16 parts, by wgmma.
pub fn wantsParts(device: *const backend.Device, columns: Columns, count: u32) bool {
    return device.has_wgmma and columns.groups == 1 and count > 4;
}

pub fn forParts(device: *const backend.Device, rows: u32, count: u32) Variant {
    _ = device;
    _ = rows;
    const tile = if (count <= 8) kernels.parts_8 else if (count <= 32) kernels.parts_32 else kernels.parts_128;
    return .{ .kernel = tile.kernel, .rows = tile.rows, .tokens = tile.tokens, .threads = tile.threads, .shared_bytes = tile.shared_bytes };
}
