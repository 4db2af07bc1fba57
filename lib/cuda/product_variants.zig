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
    /// Started before the kernel before it is done: faster where weights are fetched meanwhile.
    programmatic: bool = false,

    fn ofTile(tile: kernels.Tile) Variant {
        return .{ .kernel = tile.kernel, .rows = tile.rows, .tokens = tile.tokens, .threads = tile.threads, .shared_bytes = tile.shared_bytes };
    }
};

/// One token of floats that the kernel itself quantises; null where it cannot.
pub fn forToken(rows: u32, columns: Columns) ?Variant {
    if (columns.groups != 1 or columns.columns % 4 != 0 or columns.padded() > kernels.token_columns_max) return null;
    const shared: u32 = @intCast(columns.padded());
    if (rows > 8192 or (rows > 4096 and columns.chunks <= 10))
        return .{ .kernel = .multiply_token_10_4, .rows = 32, .threads = 320, .shared_bytes = shared, .programmatic = true };
    return .{ .kernel = .multiply_token_16_2, .rows = 16, .threads = 512, .shared_bytes = shared, .programmatic = true };
}

/// int8 activations in rows, whole-row scales.
pub fn forRows(rows: u32, columns: Columns, count: u32) Variant {
    if (count == 1) return forOne(rows, columns);
    if (count > 32) return .{
        .kernel = .multiply_many,
        .rows = 128,
        .tokens = 128,
        .threads = 256,
        .shared_bytes = kernels.many_shared_bytes,
    };
    const kernel: Kernel = if (count <= 8) .multiply_few_8_2_1 else if (count <= 16) .multiply_few_8_2_2 else .multiply_few_8_2_4;
    return .{ .kernel = kernel, .rows = 32, .tokens = 32, .threads = 256 };
}

fn forOne(rows: u32, columns: Columns) Variant {
    if (rows > 8192 and columns.chunks <= 16) return .{ .kernel = .multiply_one_10_4, .rows = 32, .threads = 320, .programmatic = true };
    return .{ .kernel = .multiply_one_16_4, .rows = 32, .threads = 512, .programmatic = true };
}

/// Whether there are rows for a tile of 64 on every multiprocessor.
fn fillsDevice(device: *const backend.Device, rows: u32) bool {
    return rows >= @as(u64, 64) * device.multiprocessors;
}

/// Whether int8 activations are multiplied fastest in slabs, by wgmma.
pub fn wantsSlabs(device: *const backend.Device, rows: u32, columns: Columns, count: u32) bool {
    if (!device.has_wgmma or columns.groups != 1) return false;
    return count > 32 or (count > 8 and fillsDevice(device, rows));
}

/// How many blocks a tile makes.
fn blocksOf(tile: kernels.Tile, rows: u32, count: u32) u64 {
    return @as(u64, kernels.divideUp(rows, tile.rows)) * kernels.divideUp(count, tile.tokens);
}

/// Few tokens: small tiles while all of them are resident. Many: the largest that fill the device.
pub fn forSlabs(device: *const backend.Device, rows: u32, count: u32) Variant {
    const k = kernels;
    if (count <= 64) {
        if (areResident(device, k.wgmma_64_32, 3, rows, count)) return .ofTile(k.wgmma_64_32);
        if (count <= 32) return .ofTile(k.wgmma_128_32);
        return .ofTile(if (areResident(device, k.wgmma_64_64, 2, rows, count)) k.wgmma_64_64 else k.wgmma_128_64);
    }
    const tile = largestFilling(device, &.{ k.wgmma_256_128, k.wgmma_128_128, k.wgmma_64_64 }, rows, count);
    // Half a tile takes three fifths of the time of one, and may leave less of the device idle at the end.
    const is_large = tile.kernel == k.wgmma_256_128.kernel;
    if (is_large and roundsOf(device, k.wgmma_128_128, rows, count) * 3 < roundsOf(device, tile, rows, count) * 5) return .ofTile(k.wgmma_128_128);
    return .ofTile(tile);
}

/// How often every multiprocessor takes a block.
fn roundsOf(device: *const backend.Device, tile: kernels.Tile, rows: u32, count: u32) u64 {
    return kernels.divideUp(blocksOf(tile, rows, count), device.multiprocessors);
}

/// Whether all blocks run at once, so many on a multiprocessor.
fn areResident(device: *const backend.Device, tile: kernels.Tile, each: u32, rows: u32, count: u32) bool {
    return blocksOf(tile, rows, count) <= @as(u64, each) * device.multiprocessors;
}

/// The first tile of which there are enough for four fifths of the device, or the last.
fn largestFilling(device: *const backend.Device, tiles: []const kernels.Tile, rows: u32, count: u32) kernels.Tile {
    for (tiles) |tile| {
        if (blocksOf(tile, rows, count) * 5 >= @as(u64, device.multiprocessors) * 4) return tile;
    }
    return tiles[tiles.len - 1];
}

pub fn forFloats(rows: u32, columns: Columns, count: u32) Variant {
    if (count == 1) return if (rows > 8192 and columns.chunks <= 16)
        .{ .kernel = .multiply_floats_4_2_1, .rows = 16, .threads = 128 }
    else
        .{ .kernel = .multiply_floats_8_2_1, .rows = 16, .threads = 256 };
    if (count == 2) return .{ .kernel = .multiply_floats_8_2_2, .rows = 16, .tokens = 2, .threads = 256 };
    return .{ .kernel = .multiply_floats_8_2_4, .rows = 16, .tokens = 4, .threads = 256 };
}

/// Whether f32 activations are multiplied fastest in bf16 parts, by wgmma.
pub fn wantsParts(device: *const backend.Device, rows: u32, columns: Columns, count: u32) bool {
    if (!device.has_wgmma or columns.groups != 1) return false;
    return count > 8 or (count > 2 and fillsDevice(device, rows));
}

pub fn forParts(device: *const backend.Device, rows: u32, count: u32) Variant {
    const k = kernels;
    if (count <= 8) return .ofTile(k.parts_64_8);
    if (count <= 32) return .ofTile(k.parts_64_32);
    if (count <= 64) return .ofTile(k.parts_64_64);
    return .ofTile(largestFilling(device, &.{ k.parts_128_128, k.parts_64_64 }, rows, count));
}
