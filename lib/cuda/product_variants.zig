//! Which kernel multiplies: chosen by what bench/cuda.md tells of the sizes there.

const backend = @import("backend.zig");
const kernels = @import("kernels.zig");

const Columns = kernels.Columns;
const Kernel = kernels.Kernel;

/// A kernel with the rows, the tokens and the threads of a block.
pub const Variant = struct {
    kernel: Kernel,
    rows: u32,
    tokens: u32 = 1,
    threads: u32,
    shared_bytes: u32 = 0,
    /// Of a kernel whose blocks stay: how many of them a multiprocessor holds. Else 0.
    resident: u32 = 0,

    fn ofTile(tile: kernels.Tile) Variant {
        return .{ .kernel = tile.kernel, .rows = tile.rows, .tokens = tile.tokens, .threads = tile.threads, .shared_bytes = tile.shared_bytes };
    }
};

/// Whether 2-bit weights take at most 10 MB: all of them are in flight at once.
fn isSmall(rows: u32, columns: Columns) bool {
    return rows * columns.padded() <= 40 << 20;
}

/// One token of floats that the kernel itself quantises; null where it cannot.
pub fn forToken(rows: u32, columns: Columns) ?Variant {
    if (columns.groups != 1 or columns.columns % 4 != 0 or columns.padded() > kernels.token_columns_max) return null;
    const shared: u32 = @intCast(columns.padded());
    if (isSmall(rows, columns)) return .{ .kernel = .multiply_token_16_2_1, .rows = 16, .threads = 512, .shared_bytes = shared };
    return .{ .kernel = .multiply_fused_16_4_1_2, .rows = 32, .threads = 512, .shared_bytes = shared, .resident = 2 };
}

/// int8 activations in rows, whole-row scales.
pub fn forRows(rows: u32, columns: Columns, count: u32) Variant {
    if (count == 1) return .{ .kernel = .multiply_one_16_2_1, .rows = 16, .threads = 512 };
    if (count > 32) return .{
        .kernel = .multiply_many,
        .rows = 128,
        .tokens = 128,
        .threads = 256,
        .shared_bytes = kernels.many_shared_bytes,
    };
    const small = isSmall(rows, columns);
    const kernel: Kernel = if (count <= 8)
        (if (small) .multiply_few_8_2_1 else .multiply_few_8_4_1)
    else if (count <= 16)
        (if (small) .multiply_few_8_1_2 else .multiply_few_8_4_2)
    else
        (if (small) .multiply_few_8_1_4 else .multiply_few_8_4_4);
    const block_rows: u32 = if (!small) 64 else if (count <= 8) 32 else 16;
    return .{ .kernel = kernel, .rows = block_rows, .tokens = 32, .threads = 256 };
}

/// Whether int8 activations are multiplied fastest in slabs, by wgmma.
pub fn wantsSlabs(device: *const backend.Device, rows: u32, columns: Columns, count: u32) bool {
    if (!device.has_wgmma or columns.groups != 1) return false;
    return count > 32 or (count > 8 and !isSmall(rows, columns));
}

/// How many blocks a tile makes.
fn blocksOf(tile: kernels.Tile, rows: u32, count: u32) u64 {
    return @as(u64, kernels.divideUp(rows, tile.rows)) * kernels.divideUp(count, tile.tokens);
}

/// Few tokens: small tiles while all of them are resident. Many: the largest that fill the device.
pub fn forSlabs(device: *const backend.Device, rows: u32, count: u32) Variant {
    const k = kernels;
    if (count <= 32) {
        const tile = if (count <= 16) k.wgmma_64_16 else k.wgmma_64_32;
        const resident = blocksOf(tile, rows, count) <= @as(u64, 3) * device.multiprocessors;
        return .ofTile(if (resident) tile else k.wgmma_128_32);
    }
    if (count <= 64) {
        const resident = blocksOf(k.wgmma_64_64, rows, count) <= @as(u64, 2) * device.multiprocessors;
        return .ofTile(if (resident) k.wgmma_64_64 else k.wgmma_128_64);
    }
    return .ofTile(largestFilling(device, &.{ k.wgmma_256_128, k.wgmma_128_128, k.wgmma_64_64 }, rows, count));
}

/// The first tile of which there are enough for four fifths of the device, or the last.
fn largestFilling(device: *const backend.Device, tiles: []const kernels.Tile, rows: u32, count: u32) kernels.Tile {
    for (tiles) |tile| {
        if (blocksOf(tile, rows, count) * 5 >= @as(u64, device.multiprocessors) * 4) return tile;
    }
    return tiles[tiles.len - 1];
}

pub fn forFloats(rows: u32, columns: Columns, count: u32) Variant {
    if (count == 1) return if (isSmall(rows, columns))
        .{ .kernel = .multiply_floats_8_2_1, .rows = 16, .threads = 256 }
    else
        .{ .kernel = .multiply_floats_4_2_1, .rows = 16, .threads = 128 };
    if (count == 2) return .{ .kernel = .multiply_floats_8_2_2, .rows = 16, .tokens = 2, .threads = 256 };
    return .{ .kernel = .multiply_floats_8_2_4, .rows = 16, .tokens = 4, .threads = 256 };
}

/// Whether f32 activations are multiplied fastest in bf16 parts, by wgmma.
pub fn wantsParts(device: *const backend.Device, columns: Columns, count: u32) bool {
    return device.has_wgmma and columns.groups == 1 and count > 2;
}

pub fn forParts(device: *const backend.Device, rows: u32, count: u32) Variant {
    const k = kernels;
    if (count <= 8) return .ofTile(k.parts_128_8);
    if (count <= 32) return .ofTile(k.parts_128_32);
    return .ofTile(largestFilling(device, &.{ k.parts_128_128, k.parts_64_64 }, rows, count));
}
