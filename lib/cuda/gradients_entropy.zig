//! The codec `entropy` on a device; payloads are those of lib/cpu/gradients_entropy.zig.
//!
//! To encode, the sums and largest magnitudes of blocks come to the host (a thirty-second of the bytes of
//! the gradients) and the values of the sample (1 MiB at most, 256 KiB at least): the step is searched
//! there, by the code of the CPU. Then which blocks are coded, and how, goes to the device (4 bytes a
//! block), and symbols, plain bits and kept values come back as the payload has them; meanwhile the
//! host codes the classes. For a cosine the payload is decoded again, and only sums come back.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const chunks_file = @import("../cpu/gradients_entropy_chunks.zig");
const classes_file = @import("../cpu/gradients_entropy_classes.zig");
const codecs = @import("gradients.zig");
const decode = @import("gradients_entropy_decode.zig").decode;
const dispatch = @import("../cpu/dispatch.zig");
const entropy = @import("../cpu/gradients_entropy.zig");
const structures = @import("gradients_arguments.zig");
const kernels = @import("kernels.zig");
const memory = @import("../memory.zig");
const model_file = @import("../cpu/gradients_entropy_model.zig");
const numbers = @import("../cpu/gradients_numbers.zig");
const parallel = @import("../cpu/parallel.zig");
const search_file = @import("../cpu/gradients_entropy_search.zig");
const table = @import("../cpu/gradients_entropy_table.zig");
const threads = @import("../cpu/threads.zig");
const Blocks = @import("../cpu/gradients_entropy_blocks.zig").Blocks;

const Buffer = backend.Buffer;
const Plan = chunks_file.Plan;
const chunk_values = model_file.chunk_values;
const divideUp = kernels.divideUp;

/// See gradients_entropy.cu.
const block_values = 64;
const blocks_of_chunk = chunk_values / block_values;

comptime {
    if (entropy.block_steps * table.lanes != block_values) @compileError("the kernels encode blocks of 64 values");
}

pub fn encode(gradients: *Buffer, goal: entropy.Goal, used: *f64, payload: []u8) abi.Failure!void {
    const count = try codecs.countOf(gradients);
    const sums = try memory.alloc(f32, divideUp(count, block_values));
    defer memory.free(f32, sums);
    var blocks: Blocks = .{
        .kernels = &(try dispatch.kernels()).gradient_entropy,
        .values = &.{},
        .length = count,
        .steps = entropy.block_steps,
        .count = sums.len,
        .sums = sums,
        .largest = try memory.alloc(f32, sums.len),
    };
    defer memory.free(f32, blocks.largest);
    used.* = @floatFromInt(try encodeWith(&blocks, gradients, goal, payload));
}

fn encodeWith(blocks: *Blocks, gradients: *Buffer, goal: entropy.Goal, payload: []u8) abi.Failure!usize {
    try measure(blocks, gradients);
    if (blocks.most == 0) {
        if (payload.len == 0) return abi.fail(error.InvalidLength, "Expected room for the payload, got 0 bytes", .{});
        payload[0] = model_file.zeros_only;
        return 1;
    }
    if (!blocks.isExtreme()) return entropy.encodeBlocks(blocks, Source{ .gradients = gradients, .values = gradients }, goal, payload);
    const scaled: *Buffer = try .create(gradients.device, gradients.bytes);
    defer scaled.release();
    const stream = try gradients.device.stream();
    const factor, const rest = blocks.chooseScale();
    try stream.launch(.gradients_entropy_scale, .{ .blocks = @intCast(divideUp(blocks.length, 256)), .threads = 256 }, .{
        .source = try gradients.use(stream),
        .target = try scaled.use(stream),
        .count = @intCast(blocks.length),
        .factor = factor,
        .rest = rest,
    });
    try measure(blocks, scaled);
    return entropy.encodeBlocks(blocks, Source{ .gradients = gradients, .values = scaled }, goal, payload);
}

/// Fills in sums, largest magnitudes and the largest of those.
fn measure(blocks: *Blocks, values: *Buffer) abi.Failure!void {
    const bytes = 4 * blocks.count;
    const work: codecs.Work = try .init(values, bytes, bytes);
    defer work.deinit();
    try work.stream.launch(.gradients_entropy_measure, .{ .blocks = @intCast(divideUp(blocks.count, 16)), .threads = 256 }, .{
        .source = work.values,
        .target = work.payload,
        .largest = work.more,
        .found = work.found,
        .count = @intCast(blocks.length),
        .units = @intCast(blocks.count),
    });
    try work.expectFinite();
    try work.stream.download(work.payload, std.mem.sliceAsBytes(blocks.sums));
    try work.stream.download(work.more, std.mem.sliceAsBytes(blocks.largest));
    blocks.most = 0;
    for (blocks.largest) |largest| blocks.most = @max(blocks.most, largest);
}

/// Chunks that are encoded together: they need three quarters of the gradients' bytes each.
const chunks_at_once = 128;

/// What the encoder asks for.
const Source = struct {
    gradients: *Buffer,
    /// The same, or scaled.
    values: *Buffer,

    pub fn sample(self: Source, places: []const u32, target: []f32) abi.Failure!void {
        return self.fetch(.gradients_entropy_sample, places, std.mem.sliceAsBytes(target));
    }

    /// Values of blocks, as the kernel writes them.
    fn fetch(self: Source, comptime kernel: kernels.Kernel, places: []const u32, target: []u8) abi.Failure!void {
        const work: codecs.Work = try .init(self.values, target.len, 4 * places.len);
        defer work.deinit();
        try work.stream.upload(work.more, std.mem.sliceAsBytes(places));
        try work.stream.launch(kernel, .{ .blocks = @intCast(divideUp(places.len, 4)), .threads = 256 }, .{
            .source = work.values,
            .places = work.more,
            .target = work.payload,
            .count = @intCast(self.values.bytes / 4),
            .units = @intCast(places.len),
        });
        return work.stream.download(work.payload, target);
    }

    pub fn cosineOf(self: Source, payload: []const u8) abi.Failure!f64 {
        const restored: *Buffer = try .create(self.gradients.device, self.gradients.bytes);
        defer restored.release();
        try decode(payload, restored);
        const count = self.gradients.bytes / 4;
        const parts = try memory.alloc([3]f64, divideUp(count, 1 << 16));
        defer memory.free([3]f64, parts);
        const work: codecs.Work = try .init(self.gradients, @sizeOf([3]f64) * parts.len, 0);
        defer work.deinit();
        try work.stream.launch(.gradients_entropy_sums, .{ .blocks = @intCast(divideUp(parts.len, 2)), .threads = 32 }, .{
            .source = work.values,
            .second = try restored.use(work.stream),
            .target = work.payload,
            .count = @intCast(count),
            .units = @intCast(parts.len),
        });
        try work.stream.download(work.payload, std.mem.sliceAsBytes(parts));
        var sums: [3]f64 = @splat(0);
        for (parts) |part| {
            for (&sums, part) |*sum, term| sum.* += term;
        }
        return entropy.cosineFrom(sums);
    }

    pub fn writeChunks(self: Source, plan: *const Plan, out: []u8) abi.Failure!?usize {
        var used: usize = 0;
        var first: usize = 0;
        while (first < plan.chunks()) : (first += chunks_at_once) {
            var batch: Batch = try .init(plan, first, @min(plan.chunks() - first, chunks_at_once));
            defer batch.deinit();
            used += try batch.write(self, out[used..]) orelse return null;
        }
        return used;
    }
};

/// As the kernel has them.
const Tables = extern struct {
    costs: [classes_file.fine_count]table.Costs,
    tokens: [classes_file.fine_count]table.Tokens,
    coders: [model_file.coded_max]table.Coder,
};
const Result = extern struct { words: u32, bit_bytes: u32, states: [table.lanes]u32 };

/// Bytes of a chunk's rooms; see the kernel.
const symbols_bytes = chunk_values;
const words_bytes = 2 * chunk_values;
const bits_bytes = 3 * chunk_values + 256;

/// A chunk as the host sees it.
const Head = struct {
    /// Its coded and kept blocks end here.
    active: u32,
    kept: u32,
    class_state: ?u32,
    class_words: []const u16,
};

/// Chunks that are encoded at once.
const Batch = struct {
    plan: *const Plan,
    first: usize,
    heads: []align(memory.alignment) Head,
    classes: []align(memory.alignment) u8,
    class_words: []align(memory.alignment) u16,
    /// Coded blocks, and the places of kept ones among all.
    active: []align(memory.alignment) u32,
    kept: []align(memory.alignment) u32,

    fn init(plan: *const Plan, first: usize, chunks: usize) abi.Failure!Batch {
        const blocks = @min(plan.blocks.count - first * blocks_of_chunk, chunks * blocks_of_chunk);
        var self: Batch = .{
            .plan = plan,
            .first = first,
            .heads = &.{},
            .classes = &.{},
            .class_words = &.{},
            .active = &.{},
            .kept = &.{},
        };
        errdefer self.deinit();
        self.heads = try memory.alloc(Head, chunks);
        self.classes = try memory.alloc(u8, blocks);
        self.class_words = try memory.alloc(u16, blocks);
        self.active = try memory.alloc(u32, blocks);
        self.kept = try memory.alloc(u32, blocks);
        var active: u32 = 0;
        var kept: u32 = 0;
        for (self.heads, 0..) |*head, chunk| {
            const from = chunk * blocks_of_chunk;
            const to = @min(from + blocks_of_chunk, blocks);
            for (plan.fine[first * blocks_of_chunk ..][from..to], self.classes[from..to], 0..) |fine, *class, i| {
                class.* = plan.map[fine];
                if (class.* == table.class_kept) {
                    self.kept[kept] = @intCast(first * blocks_of_chunk + from + i);
                    kept += 1;
                } else if (class.* >= table.class_coded) {
                    self.active[active] = @as(u32, @intCast(i)) | @as(u32, class.*) << 16 | @as(u32, fine - table.class_coded) << 24;
                    active += 1;
                }
            }
            head.* = .{ .active = active, .kept = kept, .class_state = null, .class_words = &.{} };
        }
        return self;
    }

    fn deinit(self: *Batch) void {
        memory.free(Head, self.heads);
        memory.free(u8, self.classes);
        memory.free(u16, self.class_words);
        memory.free(u32, self.active);
        memory.free(u32, self.kept);
    }

    /// The classes of some chunks, while the device is at work.
    fn codeClasses(self: *Batch, part: u32, parts: u32) void {
        const from, const to = threads.share(self.heads.len, part, parts);
        for (self.heads[from..to], from..) |*head, chunk| {
            const start = chunk * blocks_of_chunk;
            const end = @min(start + blocks_of_chunk, self.classes.len);
            head.class_state, head.class_words = chunks_file.encodeClasses(&self.plan.model, self.classes[start..end], self.class_words[start..end]);
        }
    }

    fn write(self: *Batch, source: Source, out: []u8) abi.Failure!?usize {
        const chunks = self.heads.len;
        const active = self.heads[chunks - 1].active;
        const lengths = [_]u64{
            @sizeOf(Tables),
            4 * (chunks + 1),
            4 * @as(u64, active),
            @sizeOf(Result) * chunks,
            symbols_bytes * chunks,
            words_bytes * chunks,
            bits_bytes * chunks,
        };
        var places: [lengths.len]u64 = undefined;
        var total: u64 = 0;
        for (&places, lengths) |*place, length| {
            place.* = total;
            total += std.mem.alignForward(u64, length, 256);
        }
        const work: codecs.Work = try .init(source.values, total, 0);
        defer work.deinit();
        for (&places) |*place| place.* += work.payload;
        const tables, const starts, const actives, const results, const symbols, const words, const bits = places;
        try self.uploadTables(&work, tables);
        try self.uploadStarts(&work, starts);
        try work.stream.upload(actives, std.mem.sliceAsBytes(self.active[0..active]));
        const skipped = 4 * @as(u64, self.first) * chunk_values;
        try work.stream.launch(.gradients_entropy_encode, .{ .blocks = @intCast(chunks), .threads = 32, .shared_bytes = structures.entropy_shared_bytes }, .{
            .values = work.values + skipped,
            .active = actives,
            .starts = starts,
            .tables = tables,
            .symbols = symbols,
            .words = words,
            .bits = bits,
            .results = results,
            .count = @intCast((source.values.bytes - skipped) / 4),
            .factor = 1 / self.plan.model.step * (1 << table.fraction_bits),
        });
        parallel.runParts(@intCast(@min(threads.getThreads(), chunks)), self, codeClasses);
        const found = try memory.alloc(Result, chunks);
        defer memory.free(Result, found);
        try work.stream.download(results, std.mem.sliceAsBytes(found));
        var output: numbers.Output = .{ .bytes = out };
        var kept: u32 = 0;
        var begun: u32 = 0;
        for (self.heads, found, 0..) |*head, *result, chunk| {
            const kept_bytes = (head.kept - kept) * block_values * 2;
            self.writeHead(head, head.active - begun, result, kept_bytes, &output);
            const words_end = words + words_bytes * (chunk + 1);
            if (output.is_full) return null;
            try download(&work, words_end - 2 * @as(u64, result.words), 2 * result.words, &output);
            try download(&work, bits + bits_bytes * chunk, result.bit_bytes, &output);
            if (output.is_full or kept_bytes > out.len - output.used) return null;
            if (kept_bytes > 0) try source.fetch(.gradients_entropy_keep, self.kept[kept..head.kept], out[output.used..][0..kept_bytes]);
            output.used += kept_bytes;
            kept = head.kept;
            begun = head.active;
        }
        return output.used;
    }

    /// Everything up to the words.
    fn writeHead(self: *const Batch, head: *const Head, active: u32, result: *const Result, kept_bytes: u32, output: *numbers.Output) void {
        const is_wide = active * self.plan.blocks.steps >= search_file.wide_steps;
        const states: chunks_file.States = if (active == 0) .none else if (is_wide) .wide else .one;
        output.number(if (head.class_state) |_| 4 + head.class_words.len * 2 else 0);
        output.number(@as(usize, result.words) << 2 | @backingInt(states));
        output.number(result.bit_bytes);
        output.number(kept_bytes);
        if (head.class_state) |state| output.word(state);
        output.all(std.mem.sliceAsBytes(head.class_words));
        if (active > 0) for (result.states[0..if (is_wide) table.lanes else 1]) |state| output.word(state);
    }

    fn uploadTables(self: *const Batch, work: *const codecs.Work, target: u64) abi.Failure!void {
        const tables: Tables = .{ .costs = self.plan.costs, .tokens = self.plan.tokens, .coders = self.plan.coders };
        return work.stream.upload(target, std.mem.asBytes(&tables));
    }

    fn uploadStarts(self: *const Batch, work: *const codecs.Work, target: u64) abi.Failure!void {
        var starts: [chunks_at_once + 1]u32 = undefined;
        starts[0] = 0;
        for (self.heads, starts[1..][0..self.heads.len]) |*head, *start| start.* = head.active;
        return work.stream.upload(target, std.mem.sliceAsBytes(starts[0 .. self.heads.len + 1]));
    }
};

/// Bytes from the device to the end of the output, if there is room.
fn download(work: *const codecs.Work, from: u64, bytes: usize, output: *numbers.Output) abi.Failure!void {
    if (output.is_full or bytes > output.bytes.len - output.used) {
        output.is_full = true;
        return;
    }
    if (bytes > 0) try work.stream.download(from, output.bytes[output.used..][0..bytes]);
    output.used += bytes;
}
