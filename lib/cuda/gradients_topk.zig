//! The codec `topk` on a device: gradients stay there, and only a sample of them and what may be kept
//! comes to the host, whose coder of lib/cpu/gradients_topk.zig makes the same bytes of it as of gradients
//! in memory. Back, the host decodes what was kept, and the device puts it to its places.
//!
//! What travels: 1.5 MB of samples, a bit for each gradient, and 4 bytes for each candidate.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const choice_file = @import("../cpu/gradients_topk_choice.zig");
const chunks_file = @import("../cpu/gradients_topk_chunks.zig");
const codecs = @import("gradients.zig");
const structures = @import("gradients_arguments.zig");
const kernels = @import("kernels.zig");
const memory = @import("../memory.zig");
const source_file = @import("../cpu/gradients_topk_source.zig");
const topk = @import("../cpu/gradients_topk.zig");

const Buffer = backend.Buffer;
const Candidates = choice_file.Candidates;
const Work = codecs.Work;
const divideUp = kernels.divideUp;

/// See gradients_topk.cu.
const block_values = 8192;
const block_bytes = block_values / 8;
const block_threads = 256;
const blocks_of_chunk = chunks_file.chunk_values / block_values;

comptime {
    std.debug.assert(chunks_file.chunk_values % block_values == 0);
}

pub fn encode(gradients: *Buffer, options: topk.Options, payload: []u8) abi.Failure!usize {
    const count = try codecs.countOf(gradients);
    return topk.encode(.{ .away = .{
        .context = gradients,
        .len = count,
        .sample = readSample,
        .pieces = readPieces,
        .collect = collect,
        .refuse = refuse,
    } }, options, payload);
}

pub fn decode(payload: []const u8, bits: u32, gradients: *Buffer) abi.Failure!void {
    const count = try codecs.countOf(gradients);
    const kept: topk.Kept = try .decode(payload, bits, count);
    defer kept.deinit();
    const starts = try memory.alloc(u32, blocksOf(count));
    defer memory.free(u32, starts);
    var next: u32 = 0;
    for (starts, 0..) |*start, block| {
        start.* = next;
        const from = block * (block_values / 64);
        for (kept.places[from..@min(from + block_values / 64, kept.places.len)]) |word| next += @popCount(word);
    }
    const work = try workFor(gradients, count);
    defer work.deinit();
    const values: *Buffer = try .create(gradients.device, std.mem.sliceAsBytes(kept.values).len);
    defer values.release();
    const pointer = try values.use(work.stream);
    try work.stream.upload(pointer, std.mem.sliceAsBytes(kept.values));
    // Of the last block, what the places of gradients do not fill.
    const places_bytes = std.mem.sliceAsBytes(kept.places);
    const rest = block_bytes * starts.len - places_bytes.len;
    const cuda = work.stream.device.driver;
    if (rest > 0) try work.stream.device.check(cuda.cuMemsetD8Async(work.payload + places_bytes.len, 0, rest, work.stream.handle), "clear memory");
    try work.stream.upload(work.payload, places_bytes);
    try work.stream.upload(work.more, std.mem.sliceAsBytes(starts));
    return work.stream.launch(.gradients_topk_place, shapeOf(starts.len), argumentsOf(&work, count, 1, pointer));
}

/// Places of gradients as bits, and a number for each block of threads.
fn workFor(gradients: *Buffer, count: u32) abi.Failure!Work {
    const blocks: u64 = blocksOf(count);
    return .init(gradients, block_bytes * blocks, 4 * blocks);
}

fn blocksOf(count: u32) u32 {
    return @intCast(divideUp(@as(u64, count), block_values));
}

fn argumentsOf(work: *const Work, count: u32, least: u32, values: u64) structures.Largest {
    return .{
        .gradients = work.values,
        .places = work.payload,
        .values = values,
        .counts = work.more,
        .found = work.found,
        .count = count,
        .least = least,
    };
}

fn shapeOf(blocks: u64) backend.Launch {
    return .{ .blocks = @intCast(blocks), .threads = block_threads };
}

// ---- what the host's coder asks for ----

fn gradientsOf(context: *anyopaque) *Buffer {
    return @ptrCast(@alignCast(context));
}

fn readSample(context: *anyopaque, runs: choice_file.Runs, bits: []u32) abi.Failure!void {
    return readSome(gradientsOf(context), std.mem.sliceAsBytes(bits), .{
        .gradients = 0,
        .bits = 0,
        .pieces = 0,
        .count = runs.total,
        .runs = @intCast(runs.count),
        .sample = @intCast(bits.len),
        .piece_count = 0,
        .piece = source_file.piece_values,
    });
}

fn readPieces(context: *anyopaque, values: []f32) abi.Failure!void {
    const gradients = gradientsOf(context);
    return readSome(gradients, std.mem.sliceAsBytes(values), .{
        .gradients = 0,
        .bits = 0,
        .pieces = 0,
        .count = try codecs.countOf(gradients),
        .runs = 0,
        .sample = 0,
        .piece_count = source_file.pieces,
        .piece = source_file.piece_values,
    });
}

/// Words of gradients, which a kernel picks as it is told.
fn readSome(gradients: *Buffer, target: []u8, what: structures.Samples) abi.Failure!void {
    const work: Work = try .init(gradients, target.len, 0);
    defer work.deinit();
    var arguments = what;
    arguments.gradients = work.values;
    arguments.bits = work.payload;
    arguments.pieces = work.payload;
    try work.stream.launch(.gradients_topk_sample, shapeOf(divideUp(target.len / 4, block_threads)), arguments);
    return work.stream.download(work.payload, target);
}

fn collect(context: *anyopaque, least: u32) abi.Failure!Candidates {
    const gradients = gradientsOf(context);
    const count = try codecs.countOf(gradients);
    const blocks = blocksOf(count);
    const work = try workFor(gradients, count);
    defer work.deinit();
    try work.stream.launch(.gradients_topk_find, shapeOf(blocks), argumentsOf(&work, count, least, 0));
    try work.expectFinite();
    const starts = try memory.alloc(u32, blocks);
    defer memory.free(u32, starts);
    try work.stream.download(work.more, std.mem.sliceAsBytes(starts));
    var all: Candidates = .{
        .places = try memory.alloc(u64, divideUp(@as(u64, count), 64)),
        .counts = undefined,
        .found = .empty,
    };
    errdefer memory.free(u64, all.places);
    all.counts = try memory.alloc(usize, chunks_file.chunksOf(count));
    errdefer memory.free(usize, all.counts);
    const total = addUp(starts, all.counts);
    errdefer all.found.deinit(std.heap.c_allocator);
    try all.found.resize(std.heap.c_allocator, total);
    try work.stream.upload(work.more, std.mem.sliceAsBytes(starts));
    const values: *Buffer = try .create(gradients.device, 4 * @as(u64, total));
    defer values.release();
    const pointer = try values.use(work.stream);
    try work.stream.launch(.gradients_topk_gather, shapeOf(blocks), argumentsOf(&work, count, least, pointer));
    try work.stream.download(work.payload, std.mem.sliceAsBytes(all.places));
    try work.stream.download(pointer, std.mem.sliceAsBytes(all.found.items));
    return all;
}

/// Numbers of blocks become where they begin, and are added up for each chunk; returns them all.
fn addUp(blocks: []u32, chunks: []usize) u32 {
    var next: u32 = 0;
    @memset(chunks, 0);
    for (blocks, 0..) |*block, index| {
        const count = block.*;
        chunks[index / blocks_of_chunk] += count;
        block.* = next;
        next += count;
    }
    return next;
}

fn refuse(context: *anyopaque) abi.Failure {
    return codecs.refuse(gradientsOf(context));
}
