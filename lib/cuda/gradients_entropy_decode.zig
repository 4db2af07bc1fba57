//! The codec `entropy` back on a device: the host decodes the classes of blocks; they travel (a byte a
//! block), as do tables and the payload.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const chunks_file = @import("../cpu/gradients_entropy_chunks.zig");
const codecs = @import("gradients.zig");
const dispatch = @import("../cpu/dispatch.zig");
const entropy = @import("../cpu/gradients_entropy.zig");
const kernels = @import("kernels.zig");
const memory = @import("../memory.zig");
const model_file = @import("../cpu/gradients_entropy_model.zig");
const parallel = @import("../cpu/parallel.zig");
const table = @import("../cpu/gradients_entropy_table.zig");
const threads = @import("../cpu/threads.zig");

const Buffer = backend.Buffer;
const chunk_values = model_file.chunk_values;
const divideUp = kernels.divideUp;

/// Where the parts of a chunk lie, in units of 4 bytes.
const Parts = extern struct {
    words_at: u32,
    words: u32,
    bits_at: u32,
    bit_bytes: u32,
    kept_at: u32,
    is_wide: u32,
    states: [table.lanes]u32,
};

const Decoder = extern struct {
    frequencies: [table.lanes]u16,
    cumulative: [table.lanes]u16,
    magnitudes: [table.lanes]f32,
    offsets: [2][3]f32,
    shift: u32,
    reserved: u32 = 0,
};

pub fn decode(payload: []const u8, gradients: *Buffer) abi.Failure!void {
    const count = try codecs.countOf(gradients);
    const parts = try entropy.Payload.read(payload, count) orelse {
        const device = gradients.device;
        const stream = try device.stream();
        return device.check(device.driver.cuMemsetD8Async(try gradients.use(stream), 0, @intCast(gradients.bytes), stream.handle), "clear memory");
    };
    defer parts.deinit();
    const decoders: chunks_file.Decoders = try .init(&parts.model, &(try dispatch.kernels()).gradient_entropy);
    defer decoders.deinit();
    var unpacked: Unpacked = try .init(&decoders, parts.chunks, count);
    defer unpacked.deinit();
    parallel.runParts(@intCast(@min(threads.getThreads(), parts.chunks.len)), &unpacked, Unpacked.work);
    if (unpacked.bad.load(.monotonic)) return refuse();
    return unpacked.decode(gradients);
}

fn refuse() abi.Failure {
    return entropy.refuse("chunks are unsound");
}

/// A payload as the device reads it.
const Unpacked = struct {
    decoders: *const chunks_file.Decoders,
    chunks: []const chunks_file.Chunk,
    count: u32,
    /// Blocks of a whole chunk.
    blocks: u32,
    heads: []align(memory.alignment) Parts,
    classes: []align(memory.alignment) u8,
    units: []align(memory.alignment) u32,
    bad: std.atomic.Value(bool) = .init(false),

    fn init(decoders: *const chunks_file.Decoders, chunks: []const chunks_file.Chunk, count: u32) abi.Failure!Unpacked {
        const blocks: u32 = @intCast(chunk_values / decoders.model.blockValues());
        var self: Unpacked = .{ .decoders = decoders, .chunks = chunks, .count = count, .blocks = blocks, .heads = &.{}, .classes = &.{}, .units = &.{} };
        errdefer self.deinit();
        self.heads = try memory.alloc(Parts, chunks.len);
        self.classes = try memory.alloc(u8, chunks.len * blocks);
        var units: u32 = 0;
        for (self.heads, chunks) |*head, chunk| {
            head.* = .{
                .words_at = units,
                .words = @intCast(chunk.words.len / 2),
                .bits_at = undefined,
                .bit_bytes = @intCast(chunk.bits.len),
                .kept_at = undefined,
                .is_wide = @intFromBool(chunk.is_wide),
                .states = undefined,
            };
            units += unitsOf(chunk.words);
            head.bits_at = units;
            units += unitsOf(chunk.bits);
            head.kept_at = units;
            units += unitsOf(chunk.kept);
        }
        self.units = try memory.alloc(u32, units);
        return self;
    }

    fn unitsOf(bytes: []const u8) u32 {
        return @intCast(divideUp(bytes.len, 4));
    }

    fn deinit(self: *Unpacked) void {
        memory.free(Parts, self.heads);
        memory.free(u8, self.classes);
        memory.free(u32, self.units);
    }

    /// Classes of some chunks, and their bytes where they belong.
    fn work(self: *Unpacked, part: u32, parts: u32) void {
        const size = self.decoders.model.blockValues();
        const from, const to = threads.share(self.chunks.len, part, parts);
        for (self.chunks[from..to], self.heads[from..to], from..) |*chunk, *head, index| {
            const there = @min(chunk_values, self.count - index * chunk_values);
            const classes = self.classes[index * self.blocks ..][0 .. (there + size - 1) / size];
            if (!self.decoders.begin(chunk, classes, &head.states)) return self.bad.store(true, .monotonic);
            self.copy(head.words_at, chunk.words);
            self.copy(head.bits_at, chunk.bits);
            self.copy(head.kept_at, chunk.kept);
        }
    }

    fn copy(self: *Unpacked, at: u32, bytes: []const u8) void {
        if (bytes.len == 0) return;
        const target = self.units[at..][0..unitsOf(bytes)];
        target[target.len - 1] = 0;
        @memcpy(std.mem.sliceAsBytes(target)[0..bytes.len], bytes);
    }

    fn decode(self: *const Unpacked, gradients: *Buffer) abi.Failure!void {
        const model = self.decoders.model;
        const room = self.decoders.room;
        var made: [model_file.coded_max]Decoder = undefined;
        for (made[0..model.count], room.decoders[0..model.count]) |*target, *decoder| target.* = .{
            .frequencies = decoder.frequencies,
            .cumulative = decoder.cumulative,
            .magnitudes = decoder.magnitudes,
            .offsets = decoder.offsets,
            .shift = decoder.shift,
        };
        const pieces = [_][]const u8{
            std.mem.sliceAsBytes(self.heads),
            std.mem.sliceAsBytes(made[0..model.count]),
            std.mem.sliceAsBytes(room.slots[0..model.count]),
            self.classes,
            std.mem.sliceAsBytes(self.units),
        };
        var places: [pieces.len]u64 = undefined;
        var total: u64 = 0;
        for (&places, pieces) |*place, piece| {
            place.* = total;
            total += std.mem.alignForward(u64, piece.len, 256);
        }
        const device: codecs.Work = try .init(gradients, total, 0);
        defer device.deinit();
        for (&places, pieces) |*place, piece| {
            place.* += device.payload;
            if (piece.len > 0) try device.stream.upload(place.*, piece);
        }
        try device.stream.launch(.gradients_entropy_decode, .{ .blocks = @intCast(self.chunks.len), .threads = 32 }, .{
            .parts = places[0],
            .bytes = places[4],
            .classes = places[3],
            .slots = places[2],
            .decoders = places[1],
            .gradients = device.values,
            .found = device.found,
            .count = self.count,
            .steps = model.steps,
            .blocks = self.blocks,
            .coded = model.count,
            .step = model.step,
            .unit = model.unit(),
            .kept_scale = model.unit(),
        });
        if (try device.findings() & codecs.bad_chunk != 0) return refuse();
    }
};
