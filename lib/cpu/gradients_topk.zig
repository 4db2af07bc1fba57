//! The codec `topk`: the largest gradients, and where they are.
//!
//!     least u32        the bits of the smallest magnitude
//!     mean u32         2^20 times the share that is kept, about: what gradients_places_table.zig begins with
//!     the chunks of gradients_topk_chunks.zig
//!
//! "Sampled", a bound is taken from a sample, and what reaches it is encoded at once. Where that takes too
//! many bytes or too few, it tells how many to take from the sample next. "Exact", all that may be kept
//! is collected first, with a bound that a sample has given, and as many of these are chosen as there is
//! room for; the sampled way falls back on this where the sample cannot tell values apart.
//!
//! Floor: one read of the gradients, the instructions of gradients_collect.zig, and a quarter of a symbol
//! of rANS for each gradient.

const std = @import("std");
const abi = @import("../abi.zig");
const choice_file = @import("gradients_topk_choice.zig");
const chunks_file = @import("gradients_topk_chunks.zig");
const dispatch = @import("dispatch.zig");
const log2 = @import("gradients_frequencies.zig").log2;
const memory = @import("../memory.zig");
const numbers = @import("gradients_numbers.zig");
const parallel = @import("parallel.zig");
const places = @import("gradients_places_table.zig");
const source_file = @import("gradients_topk_source.zig");
const threads = @import("threads.zig");

const chunk_values = chunks_file.chunk_values;
const chunksOf = chunks_file.chunksOf;
const infinity_bits = chunks_file.infinity_bits;
const Candidates = choice_file.Candidates;
const Choice = choice_file.Choice;
const Sample = choice_file.Sample;
const Plan = chunks_file.Plan;
const Source = source_file.Source;

pub const Options = struct {
    /// Of the payload, at most; at least one gradient is kept even so.
    bytes: f64,
    /// Of a value with its sign, 4 to 8.
    bits: u32,
    /// Whether the bound is found among all gradients.
    is_exact: bool,

    /// Checks them; `exact` is 0 or 1.
    pub fn init(bytes: f64, bits: u32, exact: u32) abi.Failure!Options {
        if (!(bytes >= 1) or bytes > 0x1p40) return abi.fail(error.InvalidOption, "Expected bytes of at least 1, got {d}", .{bytes});
        try expectBits(bits);
        if (exact > 1) return abi.fail(error.InvalidOption, "Expected 0 or 1 for an exact choice, got {d}", .{exact});
        return .{ .bytes = bytes, .bits = bits, .is_exact = exact == 1 };
    }
};

pub fn expectBits(bits: u32) abi.Failure!void {
    if (bits < 4 or bits > 8) return abi.fail(error.InvalidOption, "Expected 4 to 8 bits for a value, got {d}", .{bits});
}

const header_bytes = 8;
const mean_one = 1 << places.mean_bits;

/// Bits of a value that is kept among p n, but for its place: log2 of the binomial coefficient, a value.
fn bitsOf(share: f64, bits: u32) f64 {
    const rest = 1 - share;
    const place = if (rest > 0) -log2(share) - rest / share * log2(rest) else 0;
    return @as(f64, @floatFromInt(bits)) + place + 0.05;
}

/// How many there is room for where they lie anywhere.
fn roomFor(count: usize, bits: u32, bytes: f64) f64 {
    const all: f64 = @floatFromInt(count);
    const wanted = bytes * 8 / all;
    var low: f64 = 1e-12;
    var high: f64 = 1;
    for (0..60) |_| {
        const middle = @sqrt(low * high);
        if (middle * bitsOf(middle, bits) > wanted) high = middle else low = middle;
    }
    return @max(1, low * all);
}

pub fn encode(source: Source, options: Options, payload: []u8) abi.Failure!usize {
    var job: Job = try .init(&source, options, payload);
    defer job.deinit();
    const guess = try job.refine(roomFor(job.count, options.bits, options.bytes));
    if (!options.is_exact and job.count > choice_file.sample_count) {
        if (try job.encodeSampled(guess)) |bytes| return bytes;
    }
    return job.encodeExact(guess);
}

// ---- encoder ----

/// A thread's share of the chunks.
const Part = struct {
    encoder: chunks_file.Encoder,
    /// The first part writes where its chunks belong.
    bytes: []u8,
    output: numbers.Output = undefined,
    needed: usize = 0,
    most: u32 = 0,
};

/// Of the pieces, how many tell how many bytes they take.
const kept_telling = 256;

const sampled_attempts = 4;
/// Of the bytes, what a sampled bound should use.
const enough = 0.92;
/// A sample errs, and too much is worse than too little.
const sampled_margin = -1.5;

const Job = struct {
    source: *const Source,
    count: usize,
    options: Options,
    payload: []u8,
    parts: []align(memory.alignment) Part,
    /// Parts that have their memory.
    made: usize = 0,
    sample: Sample,
    plan: Plan,
    candidates: ?*const Candidates = null,
    choice: Choice = .{ .least = 1, .end = 0 },

    fn init(source: *const Source, options: Options, payload: []u8) abi.Failure!Job {
        const kernels = try dispatch.kernels();
        if (payload.len < header_bytes) return noRoom(payload);
        var job: Job = .{
            .source = source,
            .count = source.len(),
            .options = options,
            .payload = payload,
            .parts = &.{},
            .sample = try source.sample(),
            .plan = .{ .least = 1, .bits = options.bits, .mean = places.mean_least },
        };
        errdefer job.deinit();
        job.parts = try memory.alloc(Part, @min(threads.getThreads(), chunksOf(job.count)));
        for (job.parts) |*part| {
            part.encoder = try .init(kernels, job.count);
            errdefer part.encoder.deinit();
            part.bytes = if (job.made == 0) payload[header_bytes..] else try memory.alloc(u8, payload.len);
            job.made += 1;
        }
        return job;
    }

    fn deinit(self: *Job) void {
        for (self.parts[0..self.made], 0..) |*part, i| {
            part.encoder.deinit();
            if (i > 0) memory.free(u8, @alignCast(part.bytes));
        }
        if (self.parts.len > 0) memory.free(Part, self.parts);
        self.sample.deinit();
    }

    /// How many there is room for, from what those of a few pieces take, which is less where they lie
    /// together.
    fn refine(self: *Job, guess: f64) abi.Failure!f64 {
        const count = source_file.pieces * source_file.piece_values;
        if (self.count <= 2 * count) return guess;
        const values = try memory.alloc(f32, count);
        defer memory.free(f32, values);
        try self.source.readPieces(values);
        self.plan.least = self.sample.bound(guess, 0);
        const encoder = &self.parts[0].encoder;
        const kept = encoder.collect(values, &self.plan);
        // Those that are not finite are found again by who can name them.
        if (kept < kept_telling or encoder.most >= infinity_bits) return guess;
        self.setMean(guess);
        var nowhere: numbers.Output = .{ .bytes = &.{} };
        const bytes = encoder.encode(count, kept, &self.plan, &nowhere);
        const each = @as(f64, @floatFromInt(bytes)) / @as(f64, @floatFromInt(kept));
        return std.math.clamp(self.options.bytes / each, 0.5 * guess, 2 * guess);
    }

    /// Null where a sample cannot tell.
    fn encodeSampled(self: *Job, guess: f64) abi.Failure!?usize {
        var wanted = guess;
        for (0..sampled_attempts) |_| {
            self.plan.least = self.sample.bound(wanted, sampled_margin);
            // All that are not 0: the least of them is not known.
            if (self.plan.least == 1) return null;
            const bytes = try self.writeReaching(wanted);
            const used = @as(f64, @floatFromInt(bytes)) / self.options.bytes;
            if (used <= 1 and used > enough) return bytes;
            wanted *= 1 / used;
            if (!(wanted >= 1)) return null;
        }
        return null;
    }

    /// Writes all gradients that reach the plan's bound: as candidates where they are not here.
    fn writeReaching(self: *Job, expected: f64) abi.Failure!usize {
        if (self.source.* == .here) return self.write(expected);
        var candidates = try self.collect(self.plan.least);
        defer candidates.deinit();
        self.candidates = &candidates;
        self.choice = .{ .least = self.plan.least, .end = candidates.found.items.len };
        return self.write(expected);
    }

    fn collect(self: *Job, least: u32) abi.Failure!Candidates {
        return self.source.collect(self.parts[0].encoder.kernels, least, self.parts.len);
    }

    fn encodeExact(self: *Job, guess: f64) abi.Failure!usize {
        const all: f64 = @floatFromInt(self.count);
        // Places that lie together take fewer bits, so there may be room for more.
        var wanted = @min(guess * 1.3 + 16, all);
        while (true) {
            const least = self.sample.bound(wanted, 3);
            var candidates = try self.collect(least);
            defer candidates.deinit();
            const found: f64 = @floatFromInt(candidates.found.items.len);
            if (least == 1 or found >= guess) {
                self.candidates = &candidates;
                const used = try self.encodeMost(guess);
                if (least == 1 or used.count < found or used.bytes > 0.95 * self.options.bytes) return @intFromFloat(used.bytes);
            }
            wanted = @min(wanted * 2, all);
        }
    }

    const Used = struct { bytes: f64, count: f64 };
    const attempts_max = 12;

    /// As many of the candidates as there is room for.
    fn encodeMost(self: *Job, guess: f64) abi.Failure!Used {
        const found = self.candidates.?.found.items;
        if (found.len == 0) return .{ .bytes = @floatFromInt(try self.write(0)), .count = 0 };
        const magnitudes = try memory.alloc(u32, found.len);
        defer memory.free(u32, magnitudes);
        const all: f64 = @floatFromInt(found.len);
        const room = self.options.bytes;
        var wanted = @min(guess, all);
        // The most that fitted, and the least that did not.
        var fitting: f64 = 0;
        var excessive = all + 1;
        for (0..attempts_max) |_| {
            const bytes = try self.writeLargest(magnitudes, wanted);
            if (bytes <= room or wanted <= 1) {
                fitting = wanted;
                // More may take less, where another way to code places begins.
                if (excessive <= fitting) excessive = all + 1;
                if (bytes > 0.97 * room or wanted >= all or wanted + 1 >= excessive) return .{ .bytes = bytes, .count = wanted };
            } else excessive = wanted;
            const next = @min(@floor(wanted * room / bytes * 0.995), all);
            wanted = if (next > fitting and next < excessive) next else @floor((fitting + excessive) / 2);
            wanted = @max(1, @min(wanted, all));
        }
        wanted = @max(1, fitting);
        return .{ .bytes = try self.writeLargest(magnitudes, wanted), .count = wanted };
    }

    fn writeLargest(self: *Job, magnitudes: []u32, count: f64) abi.Failure!f64 {
        self.choice = choice_file.choose(self.candidates.?.found.items, magnitudes, @intFromFloat(count));
        self.plan.least = self.choice.least;
        return @floatFromInt(try self.write(count));
    }

    /// Writes what the plan says, about so many gradients; returns the bytes that it takes, which are more
    /// than there is room for where it could not be written.
    fn write(self: *Job, expected: f64) abi.Failure!usize {
        self.setMean(expected);
        for (self.parts) |*part| part.* = .{ .encoder = part.encoder, .bytes = part.bytes, .output = .{ .bytes = part.bytes } };
        parallel.runParts(@intCast(self.parts.len), self, encodeChunks);
        var most: u32 = 0;
        var needed: usize = header_bytes;
        for (self.parts) |*part| {
            most = @max(most, part.most);
            needed += part.needed;
        }
        if (most >= infinity_bits) return self.source.refuse();
        if (needed > self.payload.len) {
            if (expected <= 1) return noRoom(self.payload);
            return needed;
        }
        std.mem.writeInt(u32, self.payload[0..4], self.plan.least, .little);
        std.mem.writeInt(u32, self.payload[4..8], self.plan.mean, .little);
        var used = header_bytes + self.parts[0].needed;
        for (self.parts[1..]) |*part| {
            @memcpy(self.payload[used..][0..part.needed], part.bytes[0..part.needed]);
            used += part.needed;
        }
        return used;
    }

    fn setMean(self: *Job, expected: f64) void {
        const all: f64 = @floatFromInt(self.count);
        self.plan.mean = @intFromFloat(std.math.clamp(expected / all * mean_one, places.mean_least, mean_one));
    }

    fn encodeChunks(self: *Job, index: u32, parts: u32) void {
        const part = &self.parts[index];
        const encoder = &part.encoder;
        const from, const to = threads.share(chunksOf(self.count), index, parts);
        // Where the chunk's candidates begin.
        var first: usize = 0;
        if (self.candidates) |candidates| for (candidates.counts[0..from]) |count| {
            first += count;
        };
        for (from..to) |chunk| {
            const start = chunk * chunk_values;
            const count = @min(chunk_values, self.count - start);
            const kept = if (self.candidates) |candidates|
                encoder.choose(candidates.places[start / 64 ..], candidates.found.items[first..], count, self.choice.least, self.choice.end -| first)
            else
                encoder.collect(self.source.here[start..][0..count], &self.plan);
            if (self.candidates) |candidates| first += candidates.counts[chunk];
            part.most = @max(part.most, encoder.most);
            part.needed += encoder.encode(count, kept, &self.plan, &part.output);
        }
    }
};

fn noRoom(payload: []const u8) abi.Failure {
    return abi.fail(error.InvalidLength, "Expected room for the payload, got {d} bytes", .{payload.len});
}

// ---- decoder ----

const Chunk = chunks_file.Chunk;

fn refuse(comptime what: []const u8) abi.Failure {
    return abi.fail(error.InvalidFormat, "Expected a payload of the largest gradients, got one whose " ++ what, .{});
}

const Payload = struct {
    plan: Plan,
    chunks: []align(memory.alignment) Chunk,

    fn read(payload: []const u8, bits: u32, total: usize) abi.Failure!Payload {
        var input: numbers.Input = .{ .bytes = payload };
        const count = chunksOf(total);
        // Before there is memory for them: a chunk has a byte at least.
        if (payload.len < header_bytes + count) return refuse("header is cut off");
        const least = input.word().?;
        const mean = input.word().?;
        if (least == 0 or least >= infinity_bits) return refuse("magnitudes are not finite");
        if (mean < places.mean_least or mean > mean_one) return refuse("density is none");
        const plan: Plan = .{ .least = least, .bits = bits, .mean = mean };
        const chunks = try memory.alloc(Chunk, count);
        errdefer memory.free(Chunk, chunks);
        for (chunks, 0..) |*chunk, index| {
            const values = @min(chunk_values, total - index * chunk_values);
            chunk.* = Chunk.take(&input, values, &plan) orelse return refuse("chunks are cut off");
        }
        if (input.bytes.len > 0) return refuse("end is missing");
        return .{ .plan = plan, .chunks = chunks };
    }

    fn deinit(self: *const Payload) void {
        memory.free(Chunk, self.chunks);
    }
};

/// Refuses what is no payload of so many gradients, as far as can be seen without decoding it.
pub fn inspect(payload: []const u8, bits: u32, total: usize) abi.Failure!void {
    (try Payload.read(payload, bits, total)).deinit();
}

pub fn decode(payload: []const u8, bits: u32, gradients: []f32) abi.Failure!void {
    const parts = try Payload.read(payload, bits, gradients.len);
    defer parts.deinit();
    return decodeChunks(&parts, gradients.len, .{ .gradients = gradients });
}

/// Gradients that were kept, in order, and where they are, as bits.
pub const Kept = struct {
    places: []align(memory.alignment) u64,
    values: []align(memory.alignment) f32,

    pub fn decode(payload: []const u8, bits: u32, total: usize) abi.Failure!Kept {
        const parts = try Payload.read(payload, bits, total);
        defer parts.deinit();
        var count: usize = 0;
        for (parts.chunks) |*chunk| count += chunk.kept;
        const all = try memory.alloc(u64, (total + 63) / 64);
        errdefer memory.free(u64, all);
        const values = try memory.alloc(f32, count);
        errdefer memory.free(f32, values);
        const kept: Kept = .{ .places = all, .values = values };
        try decodeChunks(&parts, total, .{ .kept = kept });
        return kept;
    }

    pub fn deinit(self: *const Kept) void {
        memory.free(u64, self.places);
        memory.free(f32, self.values);
    }
};

const Target = union(enum) { gradients: []f32, kept: Kept };

fn decodeChunks(parts: *const Payload, total: usize, target: Target) abi.Failure!void {
    const kernels = try dispatch.kernels();
    const decoders = try memory.alloc(chunks_file.Decoder, @min(threads.getThreads(), parts.chunks.len));
    defer memory.free(chunks_file.Decoder, decoders);
    var made: usize = 0;
    defer for (decoders[0..made]) |*decoder| decoder.deinit();
    while (made < decoders.len) : (made += 1) decoders[made] = try .init(kernels, total);
    var job: Decode = .{ .payload = parts, .decoders = decoders, .total = total, .target = target };
    parallel.runParts(@intCast(decoders.len), &job, Decode.work);
    if (job.bad.load(.monotonic)) return refuse("chunks are unsound");
}

const Decode = struct {
    payload: *const Payload,
    decoders: []chunks_file.Decoder,
    total: usize,
    target: Target,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *Decode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.payload.chunks.len, part, parts);
        const decoder = &self.decoders[part];
        const plan = &self.payload.plan;
        // Where the chunk's values begin.
        var first: usize = 0;
        for (self.payload.chunks[0..from]) |*chunk| first += chunk.kept;
        for (self.payload.chunks[from..to], from..) |*chunk, index| {
            const start = index * chunk_values;
            const count = @min(chunk_values, self.total - start);
            const is_sound = switch (self.target) {
                .gradients => |gradients| decoder.decode(chunk, plan, gradients[start..][0..count]),
                .kept => |kept| decoder.decodeKept(chunk, plan, kept.places[start / 64 ..][0 .. (count + 63) / 64], count, kept.values[first..][0..chunk.kept]),
            };
            if (!is_sound) return self.bad.store(true, .monotonic);
            first += chunk.kept;
        }
    }
};
