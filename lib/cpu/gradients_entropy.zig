//! The codec `entropy`: a trellis-coded quantiser (gradients_entropy_table.zig) with one step for all
//! gradients, whose symbols rANS codes with frequencies of their block's class. The payload is what
//! gradients_entropy_model.zig describes, and then the chunks of gradients_entropy_chunks.zig.
//!
//! The step is searched on a sample for the bytes or the cosine that is wanted, everything is encoded
//! with it, and again where the sample has misled. Chunks are fixed, so that neither their number
//! nor the threads that share them change a byte, and all that is coded is integers.
//!
//! Floor: the gradients are read twice, once to be measured; the rest is what gradients_trellis.zig and
//! gradients_rans.zig compute in the caches.

const std = @import("std");
const abi = @import("../abi.zig");
const Blocks = @import("gradients_entropy_blocks.zig").Blocks;
const chunks_file = @import("gradients_entropy_chunks.zig");
const dispatch = @import("dispatch.zig");
const frequencies_file = @import("gradients_frequencies.zig");
const measures = @import("gradients_measures.zig");
const memory = @import("../memory.zig");
const model_file = @import("gradients_entropy_model.zig");
const parallel = @import("parallel.zig");
const Search = @import("gradients_entropy_search.zig").Search;
const table = @import("gradients_entropy_table.zig");
const threads = @import("threads.zig");

const Plan = chunks_file.Plan;
const exp2 = frequencies_file.exp2;
const log2 = frequencies_file.log2;

/// What is kept as bf16 allows no more.
pub const cosine_max = 0.99999;

/// Of a block.
pub const block_steps = 2;

pub const Goal = union(enum) {
    /// Bytes of the payload.
    bytes: f64,
    cosine: f64,
};

/// What callers mean: bytes, or where those are 0 a cosine.
pub fn goalOf(bytes: f64, cosine: f64) abi.Failure!Goal {
    if (!(bytes >= 0) or bytes > 0x1p40) return abi.fail(error.InvalidOption, "Expected bytes of at least 0, got {d}", .{bytes});
    if (bytes > 0) return .{ .bytes = bytes };
    if (cosine > 0 and cosine <= cosine_max) return .{ .cosine = cosine };
    return abi.fail(error.InvalidOption, "Expected a cosine above 0, at most {d}, got {d}", .{ cosine_max, cosine });
}

/// A payload never needs to be smaller: a few gradients may take so much, and each chunk its numbers.
const bytes_least = 256;
const bytes_of_chunk = 8;

pub fn encode(gradients: []const f32, goal: Goal, payload: []u8) abi.Failure!usize {
    var blocks: Blocks = try .init(gradients, block_steps);
    defer blocks.deinit();
    if (blocks.most == 0) {
        if (payload.len == 0) return noRoom(payload);
        payload[0] = model_file.zeros_only;
        return 1;
    }
    return encodeBlocks(&blocks, Host{ .blocks = &blocks, .gradients = gradients }, goal, payload);
}

/// Encodes measured blocks that are not all zero, wherever their values are: `source` has `sample` as
/// Blocks does, `writeChunks` and `cosineOf` as Host.
pub fn encodeBlocks(blocks: *const Blocks, source: anytype, goal: Goal, payload: []u8) abi.Failure!usize {
    var search: Search = try .init(blocks, source, goal == .cosine);
    defer search.deinit();
    const plans = try memory.alloc(Plan, 1);
    defer memory.free(Plan, plans);
    plans[0].blocks = blocks;
    var encoder: Encoder(@TypeOf(source)) = .{ .source = source, .search = &search, .plan = &plans[0], .payload = payload };
    switch (goal) {
        .bytes => |wanted| return encoder.toBytes(@max(wanted, bytes_least + bytes_of_chunk * @as(f64, @floatFromInt(plans[0].chunks())))),
        .cosine => |wanted| return encoder.toCosine(wanted),
    }
}

fn noRoom(payload: []const u8) abi.Failure {
    return abi.fail(error.InvalidLength, "Expected room for the payload, got {d} bytes", .{payload.len});
}

const attempts_max = 48;
const searches_max = 6;
const looks_max = 20;
/// Below the largest magnitude, how far steps are looked for.
const octaves = 40;
/// Octaves from one look to the next.
const move_max = 2;
const coarse_looks = 6;
const coarse_stride = 4;
/// Blocks of a sample that is worth thinning.
const coarse_least = 1024;
/// How near (log2) what is foretold must come to what is wanted.
const tolerance = 0.002;

fn Encoder(comptime Source: type) type {
    return struct {
        const Self = @This();
        source: Source,
        search: *Search,
        plan: *Plan,
        payload: []u8,
        /// log2 of the latest step.
        place: ?f64 = null,

        /// As many bytes as are wanted, or somewhat fewer.
        fn toBytes(self: *Self, wanted: f64) abi.Failure!usize {
            // What is foretold from a sample is right to some tenths of a percent, and another look would
            // cost as much as everything.
            var aim = wanted * @as(f64, if (self.search.isWhole()) 0.9995 else 0.995);
            for (0..searches_max) |_| {
                if (!self.findStep(.{ .bytes = aim })) break;
                const used = try self.write() orelse {
                    aim *= 0.9;
                    continue;
                };
                if (@as(f64, @floatFromInt(used)) <= wanted) return used;
                aim = wanted * 0.9995;
                self.search.written *= @as(f64, @floatFromInt(used)) / self.search.bytes;
            }
            return self.toFewerBlocks(wanted);
        }

        /// Where even the largest step takes too much, only the blocks with the largest sums are coded.
        fn toFewerBlocks(self: *Self, wanted: f64) abi.Failure!usize {
            const blocks = self.plan.blocks;
            const order = try memory.alloc(u32, blocks.count);
            defer memory.free(u32, order);
            for (order, 0..) |*place, i| place.* = @intCast(i);
            std.mem.sortUnstable(u32, order, blocks, struct {
                fn lessThan(context: *const Blocks, a: u32, b: u32) bool {
                    return if (context.sums[a] == context.sums[b]) a < b else context.sums[a] > context.sums[b];
                }
            }.lessThan);
            var coded = blocks.count;
            while (true) {
                if (coded < blocks.count) self.search.cut = .{ .sum = blocks.sums[order[coded]], .index = order[coded] };
                self.place = log2(blocks.most) - 1;
                self.lookAll();
                var share: f64 = 0.5;
                if (try self.write()) |used| {
                    share = wanted / @as(f64, @floatFromInt(used));
                    if (share >= 1 or coded == 1) return used;
                } else if (coded == 1) return noRoom(self.payload);
                const fewer: usize = @intFromFloat(@as(f64, @floatFromInt(coded)) * share * 0.99);
                coded = @max(1, @min(fewer, coded - 1));
            }
        }

        /// The cosine that is wanted, or somewhat more.
        fn toCosine(self: *Self, wanted: f64) abi.Failure!usize {
            const lost_wanted = 1 - wanted * wanted;
            var aim = lost_wanted * 0.998;
            for (0..attempts_max) |attempt| {
                if (attempt < searches_max) {
                    _ = self.findStep(.{ .cosine = aim });
                } else {
                    // A few gradients change by leaps.
                    self.place = self.place.? - 1;
                    self.lookAll();
                }
                const used = try self.write() orelse return noRoom(self.payload);
                const cosine = try self.source.cosineOf(self.payload[0..used]);
                const lost = @max(1 - cosine * cosine, 1e-12);
                if (cosine >= wanted and (lost > 0.98 * lost_wanted or attempt >= 2)) return used;
                aim *= lost_wanted / lost * 0.998;
            }
            return abi.fail(error.Internal, "Expected to reach a cosine of {d}, got less after {d} attempts", .{ wanted, attempts_max });
        }

        fn lookAll(self: *Self) void {
            self.search.look(@floatCast(exp2(self.place.?)), 1);
            self.search.plan(&self.plan.model, &self.plan.map);
        }

        /// Makes the plan for the bytes or the lost energy that are wanted, or a little less of them; false
        /// where no step is large enough.
        fn findStep(self: *Self, wanted: Goal) bool {
            const search = self.search;
            const largest = log2(self.plan.blocks.most) - 1;
            var line: Line = .{
                .low = largest - octaves,
                .high = largest,
                .slope = if (wanted == .bytes) 0.8 else 1.5,
                .wanted = if (wanted == .bytes) tolerance else -tolerance,
            };
            const is_first = self.place == null;
            var place = self.place orelse std.math.clamp(log2(search.rootMeanSquare()) - 1, line.low, line.high);
            for (0..looks_max) |i| {
                // Few blocks show the way while costs settle, all of the sample decide.
                const is_coarse = is_first and i < coarse_looks;
                // What all of the sample says is another line.
                if (i == coarse_looks) line.before = null;
                self.place = place;
                search.look(@floatCast(exp2(place)), if (is_coarse and search.places.len >= coarse_least) coarse_stride else 1);
                // A plan is dear, so the first one tells the looks what to expect.
                const is_planned = !is_coarse and search.correction == 1;
                if (is_planned) search.plan(&self.plan.model, &self.plan.map);
                var excess = self.excessOf(wanted);
                if (!is_coarse and (line.isNear(excess) or i + 1 == looks_max)) {
                    if (!is_planned) search.plan(&self.plan.model, &self.plan.map);
                    excess = self.excessOf(wanted);
                    if (line.isNear(excess)) return true;
                }
                if (!is_coarse and line.bound(place, excess)) {
                    if (!is_planned) search.plan(&self.plan.model, &self.plan.map);
                    return place < largest or excess >= 0 or wanted == .cosine;
                }
                place = line.next(place, excess);
            }
            return true;
        }

        /// How far (log2) the step is above the one wanted; it grows with the step.
        fn excessOf(self: *const Self, wanted: Goal) f64 {
            return switch (wanted) {
                .bytes => |bytes| log2(bytes / self.search.bytes),
                .cosine => |lost| log2(@max(self.search.lost, 1e-18) / lost),
            };
        }

        /// Writes everything as planned; returns the bytes that took, or null where there is no room.
        fn write(self: *Self) abi.Failure!?usize {
            const plan = self.plan;
            plan.fine = self.search.fine;
            plan.costs = self.search.work.costs;
            plan.prepare();
            var header: [model_file.written_max]u8 = undefined;
            const start = plan.model.write(&header);
            if (self.payload.len < start) return null;
            @memcpy(self.payload[0..start], header[0..start]);
            return start + (try self.source.writeChunks(plan, self.payload[start..]) orelse return null);
        }
    };
}

/// Gradients on the host.
const Host = struct {
    blocks: *const Blocks,
    gradients: []const f32,

    pub fn sample(self: Host, places: []const u32, target: []f32) abi.Failure!void {
        return self.blocks.sample(places, target);
    }

    /// Between the gradients and what a payload of them stands for.
    pub fn cosineOf(self: Host, payload: []const u8) abi.Failure!f64 {
        const restored = try memory.alloc(f32, self.gradients.len);
        defer memory.free(f32, restored);
        try decode(payload, restored);
        const sums = try measures.measure(self.gradients, restored);
        return cosineFrom(sums[0..3].*);
    }

    /// Writes all chunks; returns the bytes that took, or null where there is no room.
    pub fn writeChunks(_: Host, plan: *const Plan, out: []u8) abi.Failure!?usize {
        const chunks = plan.chunks();
        const parts: u32 = @intCast(@min(threads.getThreads(), chunks));
        const encoded = try memory.alloc(Part, parts);
        defer memory.free(Part, encoded);
        var made: usize = 0;
        defer for (encoded[0..made]) |*part| part.deinit(out);
        while (made < parts) : (made += 1) encoded[made] = try .init(plan, out, made);
        parallel.runParts(parts, @as([]Part, encoded), Part.work);
        var used: usize = 0;
        for (encoded) |*part| {
            if (part.is_full or part.used > out.len - used) return null;
            if (part.bytes.ptr != out.ptr) @memcpy(out[used..][0..part.used], part.bytes[0..part.used]);
            used += part.used;
        }
        return used;
    }
};

/// From sums of products and of either's squares.
pub fn cosineFrom(sums: [3]f64) f64 {
    return if (sums[2] > 0) sums[0] / @sqrt(sums[1]) / @sqrt(sums[2]) else 0;
}

/// Where an excess is the one wanted: by secants until there is a look on either side, then between
/// the two (the Illinois rule).
const Line = struct {
    low: f64,
    high: f64,
    /// How far above the wanted one the excess is at the bounds, where looks have set them.
    low_over: ?f64 = null,
    high_over: ?f64 = null,
    slope: f64,
    wanted: f64,
    before: ?[2]f64 = null,

    fn isNear(self: *const Line, excess: f64) bool {
        return @abs(excess - self.wanted) < tolerance;
    }

    /// Notes on which side the wanted place lies; true where there is no place left.
    fn bound(self: *Line, place: f64, excess: f64) bool {
        const over = excess - self.wanted;
        const was_low = if (self.before) |before| before[0] == self.low else false;
        const was_high = if (self.before) |before| before[0] == self.high else false;
        if (over < 0) {
            self.low = place;
            self.low_over = over;
            if (was_low) if (self.high_over) |*other| {
                other.* *= 0.5;
            };
        } else {
            self.high = place;
            self.high_over = over;
            if (was_high) if (self.low_over) |*other| {
                other.* *= 0.5;
            };
        }
        return self.high - self.low < 1e-4;
    }

    fn next(self: *Line, place: f64, excess: f64) f64 {
        const over = excess - self.wanted;
        if (self.before) |before| if (@abs(place - before[0]) > 0.02) {
            self.slope = std.math.clamp((over - before[1]) / (place - before[0]), 0.3, 4);
        };
        self.before = .{ place, over };
        if (self.low_over) |low| if (self.high_over) |high| {
            return self.low - (self.high - self.low) * std.math.clamp(low / (high - low), -0.98, -0.02);
        };
        return std.math.clamp(place - std.math.clamp(over / self.slope, -move_max, move_max), self.low, self.high);
    }
};

/// A thread's share of the chunks.
const Part = struct {
    encoder: chunks_file.Encoder,
    /// The first part writes where its chunks belong.
    bytes: []u8,
    used: usize = 0,
    is_full: bool = false,

    fn init(plan: *const Plan, out: []u8, index: usize) error{OutOfMemory}!Part {
        var encoder: chunks_file.Encoder = try .init(plan);
        errdefer encoder.deinit();
        return .{ .encoder = encoder, .bytes = if (index == 0) out else try memory.alloc(u8, out.len) };
    }

    fn deinit(self: *Part, out: []u8) void {
        if (self.bytes.ptr != out.ptr) memory.free(u8, @alignCast(self.bytes));
        self.encoder.deinit();
    }

    fn work(all: []Part, index: u32, parts: u32) void {
        const self = &all[index];
        const from, const to = threads.share(self.encoder.plan.chunks(), index, parts);
        for (from..to) |chunk| {
            self.used += self.encoder.encode(chunk, self.bytes[self.used..]) orelse {
                self.is_full = true;
                return;
            };
        }
    }
};

// ---- back ----

pub fn refuse(comptime what: []const u8) abi.Failure {
    return abi.fail(error.InvalidFormat, "Expected a payload of compressed gradients, got one whose " ++ what, .{});
}

pub fn decode(payload: []const u8, gradients: []f32) abi.Failure!void {
    const parts = try Payload.read(payload, gradients.len) orelse {
        @memset(gradients, 0);
        return;
    };
    defer parts.deinit();
    const model = &parts.model;
    const decoders: chunks_file.Decoders = try .init(model, &(try dispatch.kernels()).gradient_entropy);
    defer decoders.deinit();
    const size = model.blockValues();
    const last = gradients.len % model_file.chunk_values;
    const tail = try memory.alloc(f32, if (last % size == 0) 0 else last + size);
    defer memory.free(f32, tail);
    var job: Decode = .{ .decoders = &decoders, .chunks = parts.chunks, .gradients = gradients, .tail = tail };
    parallel.runParts(@intCast(@min(threads.getThreads(), parts.chunks.len)), &job, Decode.work);
    if (job.bad.load(.monotonic)) return refuse("chunks are unsound");
}

/// Refuses what is no payload of so many gradients, as far as can be seen without decoding it.
pub fn inspect(payload: []const u8, count: usize) abi.Failure!void {
    if (try Payload.read(payload, count)) |parts| parts.deinit();
}

pub const Payload = struct {
    model: model_file.Model,
    chunks: []align(memory.alignment) chunks_file.Chunk,

    /// Null where it stands for zeros only.
    pub fn read(payload: []const u8, count: usize) abi.Failure!?Payload {
        if (payload.len == 0) return refuse("header is cut off");
        if (payload[0] == model_file.zeros_only) return if (payload.len > 1) refuse("end is missing") else null;
        var length: usize = undefined;
        const model = model_file.Model.read(payload, &length) orelse return refuse("header is unsound");
        const chunks = (count + model_file.chunk_values - 1) / model_file.chunk_values;
        // Before there is memory for them: a chunk has four numbers at least.
        if (payload.len - length < 4 * chunks) return refuse("chunks are cut off");
        const self: Payload = .{ .model = model, .chunks = try memory.alloc(chunks_file.Chunk, chunks) };
        errdefer self.deinit();
        var rest: chunks_file.Chunks = .{ .input = .{ .bytes = payload[length..] } };
        for (self.chunks) |*chunk| chunk.* = rest.next() orelse return refuse("chunks are cut off");
        return if (rest.input.bytes.len > 0) refuse("end is missing") else self;
    }

    pub fn deinit(self: *const Payload) void {
        memory.free(chunks_file.Chunk, self.chunks);
    }
};

const Decode = struct {
    decoders: *const chunks_file.Decoders,
    chunks: []const chunks_file.Chunk,
    gradients: []f32,
    /// Room for the last chunk where its last block is cut off.
    tail: []f32,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *Decode, part: u32, parts: u32) void {
        const size = self.decoders.model.blockValues();
        var classes: [model_file.chunk_values / table.lanes]u8 = undefined;
        const from, const to = threads.share(self.chunks.len, part, parts);
        for (self.chunks[from..to], from..) |*chunk, index| {
            const start = index * model_file.chunk_values;
            const there = @min(model_file.chunk_values, self.gradients.len - start);
            const target = self.gradients[start..][0..there];
            const is_cut = there % size != 0;
            const values = if (is_cut) self.tail.ptr else target.ptr;
            if (!self.decoders.decode(chunk, classes[0 .. (there + size - 1) / size], values))
                return self.bad.store(true, .monotonic);
            if (is_cut) @memcpy(target, self.tail[0..there]);
        }
    }
};
