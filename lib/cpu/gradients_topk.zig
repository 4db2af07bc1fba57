//! The codec `topk`: the largest gradients, and where they are.
//!
//!     least u32, range u32       of the magnitudes' bits, which are their logarithms but for rounding
//!     for each chunk of 2^20 gradients: how many are kept, bytes of bits     (7 bits a byte)
//!     the chunks' bits, for each that is kept:
//!         its distance g from the one before, or from the start of the chunk, less one:
//!             g / 2^r ones and a zero, r bits     (Rice; from 24 ones on: 24 ones, 20 bits)
//!         negative (1), level (bits - 1)
//!
//! The level is (magnitude bits - least) 2^(bits - 1) / range, and stands for the middle. r follows the
//! distances: floor(log2 m) with m = 1 at least, in each chunk from the mean of all on, m += (g - m) / 16.
//!
//! Values that are large enough are collected in one pass, with a bound that a sample has given; how many
//! of them there is room for, and so which, is found among those.
//!
//! Floor: one read of the gradients, and some ten nanoseconds for each that is kept.

const std = @import("std");
const abi = @import("../abi.zig");
const bit_stream = @import("gradients_bit_stream.zig");
const dispatch = @import("dispatch.zig");
const finite = @import("gradients_finite.zig");
const log2 = @import("gradients_frequencies.zig").log2;
const memory = @import("../memory.zig");
const numbers = @import("gradients_numbers.zig");
const parallel = @import("parallel.zig");
const threads = @import("threads.zig");

const chunk_values = 1 << 20;
const ones_max = 24;
const distance_bits = 20;
const infinity_bits = 0x7f80_0000;
const magnitude_mask = 0x7fff_ffff;

pub const Options = struct {
    /// Of the payload, at most; at least one gradient is kept even so.
    bytes: f64,
    /// Of a value with its sign, 4 to 8.
    bits: u32,
    /// Whether the bound of the sample is lowered where it turns out to have been too high.
    is_exact: bool,
};

fn chunksOf(count: usize) usize {
    return (count + chunk_values - 1) / chunk_values;
}

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

// ---- which ----

/// Gradients that may be kept, in order.
const Candidates = struct {
    indices: std.ArrayList(u32) = .empty,
    bits: std.ArrayList(u32) = .empty,

    fn deinit(self: *Candidates) void {
        self.indices.deinit(std.heap.c_allocator);
        self.bits.deinit(std.heap.c_allocator);
    }

    fn reserve(self: *Candidates, count: usize) error{OutOfMemory}!void {
        try self.indices.ensureTotalCapacity(std.heap.c_allocator, count);
        try self.bits.ensureTotalCapacity(std.heap.c_allocator, count);
    }

    fn add(self: *Candidates, indices: []const u32, bits: []const u32) error{OutOfMemory}!void {
        try self.indices.appendSlice(std.heap.c_allocator, indices);
        try self.bits.appendSlice(std.heap.c_allocator, bits);
    }
};

const sample_count = 1 << 15;

/// The bits of a magnitude that about `wanted` gradients reach.
fn sampledBound(gradients: []const f32, wanted: f64) error{OutOfMemory}!u32 {
    const count = @min(gradients.len, sample_count);
    const sample = try memory.alloc(u32, count);
    defer memory.free(u32, sample);
    for (sample, 0..) |*bits, i| {
        const from = i * gradients.len / count;
        const hash = (@as(u64, i) +% 1) *% 0x9e37_79b9_7f4a_7c15;
        const width = (i + 1) * gradients.len / count - from;
        bits.* = @as(u32, @bitCast(gradients[from + @as(usize, @intCast((hash >> 32) * width >> 32))])) & magnitude_mask;
    }
    const share = wanted / @as(f64, @floatFromInt(gradients.len));
    // A few more, as a sample errs.
    const expected = share * @as(f64, @floatFromInt(count));
    const rank = expected + 3 * @sqrt(expected) + 3;
    if (count == gradients.len and wanted >= @as(f64, @floatFromInt(count)) or rank >= @as(f64, @floatFromInt(count))) return 1;
    return @max(1, nthLargest(sample, @intFromFloat(rank)));
}

/// The element of this rank (0 is the largest), by counting their upper halves and then the lower ones.
fn nthLargest(elements: []const u32, rank: usize) u32 {
    var upper: u32 = 0;
    var left = rank;
    var counts: [1 << 16]u32 = undefined;
    inline for (.{ 16, 0 }) |shift| {
        @memset(&counts, 0);
        for (elements) |element| {
            if (shift == 16 or element >> 16 == upper) counts[element >> shift & 0xffff] += 1;
        }
        var bucket: u32 = 1 << 16;
        while (bucket > 0) {
            bucket -= 1;
            if (counts[bucket] > left) break;
            left -= counts[bucket];
        }
        upper = if (shift == 16) bucket else upper << 16 | bucket;
    }
    return upper;
}

/// A thread's share of the gradients.
const Collect = struct {
    candidates: Candidates = .{},
    most: u32 = 0,
    failed: bool = false,
};

const collect_step = 1 << 15;

const Collecting = struct {
    gradients: []const f32,
    least: u32,
    parts: []Collect,

    fn work(self: *const Collecting, part: u32, parts: u32) void {
        const from, const to = threads.share(self.gradients.len, part, parts);
        const mine = &self.parts[part];
        const kernels = &(dispatch.kernels() catch unreachable).gradients;
        var indices: [collect_step + 16]u32 = undefined;
        var bits: [collect_step + 16]u32 = undefined;
        var i = from;
        while (i < to) : (i += collect_step) {
            const count = @min(collect_step, to - i);
            const length = kernels.collect(self.gradients.ptr + i, count, @intCast(i), self.least, &indices, &bits, &mine.most);
            mine.candidates.add(indices[0..length], bits[0..length]) catch {
                mine.failed = true;
                return;
            };
        }
    }
};

/// All gradients from a bound on.
fn collect(gradients: []const f32, least: u32, expected: f64) abi.Failure!Candidates {
    _ = try dispatch.kernels();
    const count = parallel.partsOf(gradients.len * @sizeOf(f32), gradients.len);
    const parts = try memory.alloc(Collect, count);
    defer memory.free(Collect, parts);
    for (parts) |*part| part.* = .{};
    // All in one place, so that it need not be moved.
    try parts[0].candidates.reserve(@intFromFloat(expected * 1.1 + collect_step));
    defer for (parts) |*part| part.candidates.deinit();
    parallel.runParts(count, &Collecting{ .gradients = gradients, .least = least, .parts = parts }, Collecting.work);
    var most: u32 = 0;
    for (parts) |part| {
        if (part.failed) return error.OutOfMemory;
        most = @max(most, part.most);
    }
    if (most >= infinity_bits) return finite.refuse(gradients);
    var all = parts[0].candidates;
    parts[0].candidates = .{};
    errdefer all.deinit();
    for (parts[1..]) |*part| try all.add(part.candidates.indices.items, part.candidates.bits.items);
    return all;
}

// ---- encoder ----

/// Which candidates are kept: those above `least`, and the first ones that equal it.
const Choice = struct { least: u32, equal: usize, count: usize, largest: u32 };

fn choose(candidates: *const Candidates, magnitudes: []u32, count: usize) Choice {
    const kept = @min(count, candidates.bits.items.len);
    if (kept == 0) return .{ .least = 0, .equal = 0, .count = 0, .largest = 0 };
    var largest: u32 = 0;
    for (magnitudes, candidates.bits.items) |*magnitude, bits| {
        magnitude.* = bits & magnitude_mask;
        largest = @max(largest, magnitude.*);
    }
    const least = nthLargest(magnitudes, kept - 1);
    var above: usize = 0;
    for (magnitudes) |magnitude| above += @intFromBool(magnitude > least);
    return .{ .least = least, .equal = kept - above, .count = kept, .largest = largest };
}

pub fn encode(gradients: []const f32, options: Options, payload: []u8) abi.Failure!usize {
    const guess = roomFor(gradients.len, options.bits, options.bytes);
    // Places that lie together take fewer bits, so there may be room for more.
    var wanted = @min(guess * 1.3 + 16, @as(f64, @floatFromInt(gradients.len)));
    while (true) {
        const least = try sampledBound(gradients, wanted);
        var candidates = try collect(gradients, least, wanted);
        defer candidates.deinit();
        const found = candidates.bits.items.len;
        const is_all = least <= 1;
        if (options.is_exact and !is_all and @as(f64, @floatFromInt(found)) < guess) {
            wanted = @min(wanted * 2, @as(f64, @floatFromInt(gradients.len)));
            continue;
        }
        const used = try encodeMost(gradients.len, &candidates, options, payload, guess);
        const needs_more = used.count == found and !is_all and used.bytes < 0.95 * options.bytes;
        if (!options.is_exact or !needs_more) return @intFromFloat(used.bytes);
        wanted = @min(wanted * 2, @as(f64, @floatFromInt(gradients.len)));
    }
}

const Used = struct { bytes: f64, count: usize };
const attempts_max = 12;

/// As many of the candidates as there is room for.
fn encodeMost(total: usize, candidates: *const Candidates, options: Options, payload: []u8, guess: f64) abi.Failure!Used {
    const magnitudes = try memory.alloc(u32, candidates.bits.items.len);
    defer memory.free(u32, magnitudes);
    const all: f64 = @floatFromInt(candidates.bits.items.len);
    var wanted = @min(guess, all);
    // The most that fitted, and the least that did not.
    var fitting: f64 = 0;
    var excessive = all + 1;
    for (0..attempts_max) |_| {
        const choice = choose(candidates, magnitudes, @intFromFloat(wanted));
        const bytes: f64 = if (write(total, candidates, choice, options.bits, payload)) |used| @floatFromInt(used) else 2 * options.bytes;
        if (bytes <= options.bytes or wanted <= 1) {
            fitting = wanted;
            if (bytes > 0.97 * options.bytes or wanted >= all or wanted + 1 >= excessive) return .{ .bytes = bytes, .count = choice.count };
        } else excessive = wanted;
        const next = @floor(wanted * options.bytes / bytes * 0.995);
        wanted = if (next > fitting and next < excessive) next else @floor((fitting + excessive) / 2);
        wanted = @max(1, @min(wanted, all));
    }
    const choice = choose(candidates, magnitudes, @intFromFloat(@max(1, fitting)));
    const used = write(total, candidates, choice, options.bits, payload) orelse
        return abi.fail(error.InvalidLength, "Expected room for the payload, got {d} bytes", .{payload.len});
    return .{ .bytes = @floatFromInt(used), .count = choice.count };
}

/// Bytes that bits of one more value may touch.
const spare_bytes = 24;

/// Null where there is no room.
fn write(total: usize, candidates: *const Candidates, choice: Choice, bits: u32, payload: []u8) ?usize {
    var output: numbers.Output = .{ .bytes = payload };
    const range = choice.largest - choice.least + 1;
    output.word(choice.least);
    output.word(range);
    const factor = (@as(u64, 1) << @intCast(32 + bits - 1)) / range;
    var next: usize = 0;
    var equal = choice.equal;
    const indices = candidates.indices.items;
    const values = candidates.bits.items;
    // Chunks are written behind their directory, which is as long as it can get, and then moved.
    const directory = chunksOf(total) * 8;
    if (payload.len < output.used + directory) return null;
    var place = output.used + directory;
    for (0..chunksOf(total)) |chunk| {
        const end = (chunk + 1) * chunk_values;
        if (place + spare_bytes > payload.len) return null;
        var writer: bit_stream.Writer = .{ .bytes = payload[place..].ptr };
        const room = payload.len - place - spare_bytes;
        var rice: Rice = .init(total, choice.count);
        var before = chunk * chunk_values;
        var count: usize = 0;
        while (next < indices.len and indices[next] < end) : (next += 1) {
            const magnitude = values[next] & magnitude_mask;
            if (magnitude < choice.least) continue;
            if (magnitude == choice.least) {
                if (equal == 0) continue;
                equal -= 1;
            }
            if (writer.used > room) return null;
            const level: u32 = @intCast((magnitude - choice.least) * factor >> 32);
            rice.write(&writer, @intCast(indices[next] - before), level << 1 | values[next] >> 31, bits);
            before = indices[next] + 1;
            count += 1;
        }
        output.number(count);
        output.number(writer.length());
        place += writer.length();
    }
    const length = place - (8 + directory);
    std.mem.copyForwards(u8, payload[output.used..][0..length], payload[8 + directory ..][0..length]);
    return output.used + length;
}

/// How distances are coded.
const Rice = struct {
    /// Sixteen times the mean.
    mean: u32,

    fn init(values: usize, count: usize) Rice {
        const mean: u32 = @intCast(@min(chunk_values, values / @max(1, count)));
        return .{ .mean = @max(1, mean) * 16 };
    }

    inline fn shift(self: *const Rice) u5 {
        return @intCast(31 - @clz(self.mean >> 4 | 1));
    }

    inline fn follow(self: *Rice, distance: u32) void {
        self.mean = @max(16, self.mean - (self.mean >> 4) + distance);
    }

    /// A distance, and `count` bits of `code`.
    inline fn write(self: *Rice, bits: *bit_stream.Writer, distance: u32, code: u32, count: u32) void {
        const r = self.shift();
        const ones = distance >> r;
        const length = ones +| 1 + r;
        const rest = distance & ((@as(u32, 1) << r) - 1);
        if (length + count <= 32) {
            bits.append((@as(u32, 1) << @intCast(ones)) - 1 | rest << @intCast(ones + 1) | code << @intCast(length), length + count);
        } else if (ones < ones_max) {
            bits.append((@as(u32, 1) << @intCast(ones)) - 1, ones + 1);
            bits.append(rest, r);
            bits.append(code, count);
        } else {
            bits.append((1 << ones_max) - 1, ones_max);
            bits.append(distance, distance_bits);
            bits.append(code, count);
        }
        self.follow(distance);
    }

    inline fn read(self: *Rice, bits: *bit_stream.Reader) u32 {
        bits.fill();
        const r = self.shift();
        const ones: u32 = @ctz(~bits.word | 1 << ones_max);
        var distance: u32 = undefined;
        if (ones < ones_max) {
            _ = bits.take(ones + 1);
            distance = ones << r | bits.take(r);
        } else {
            _ = bits.take(ones_max);
            distance = bits.take(distance_bits);
        }
        self.follow(distance);
        return distance;
    }
};

// ---- decoder ----

fn refuse(comptime what: []const u8) abi.Failure {
    return abi.fail(error.InvalidFormat, "Expected a payload of the largest gradients, got one whose " ++ what, .{});
}

const Chunk = struct { count: usize, bits: []const u8 };

const Payload = struct {
    least: u32,
    range: u32,
    /// Of all chunks.
    kept: usize,
    chunks: []align(memory.alignment) Chunk,

    fn read(payload: []const u8, total: usize) abi.Failure!Payload {
        var input: numbers.Input = .{ .bytes = payload };
        const count = chunksOf(total);
        // Before there is memory for them: a chunk has two numbers at least.
        if (payload.len < 8 + 2 * count) return refuse("header is cut off");
        const least = input.word().?;
        const range = input.word().?;
        if (least >= infinity_bits or range == 0 or range > infinity_bits - least) return refuse("magnitudes are not finite");
        const chunks = try memory.alloc(Chunk, count);
        errdefer memory.free(Chunk, chunks);
        var kept: usize = 0;
        for (chunks, 0..) |*chunk, index| {
            chunk.count = input.number() orelse return refuse("directory is cut off");
            const bytes = input.number() orelse return refuse("directory is cut off");
            if (chunk.count > @min(chunk_values, total - index * chunk_values)) return refuse("counts are too large");
            chunk.bits.len = bytes;
            kept += chunk.count;
        }
        for (chunks) |*chunk| chunk.bits = input.take(chunk.bits.len) orelse return refuse("chunks are cut off");
        if (input.bytes.len > 0) return refuse("end is missing");
        return .{ .least = least, .range = range, .kept = kept, .chunks = chunks };
    }

    fn deinit(self: *const Payload) void {
        memory.free(Chunk, self.chunks);
    }
};

/// Refuses what is no payload of so many gradients, as far as can be seen without decoding it.
pub fn inspect(payload: []const u8, total: usize) abi.Failure!void {
    (try Payload.read(payload, total)).deinit();
}

pub fn decode(payload: []const u8, bits: u32, gradients: []f32) abi.Failure!void {
    const parts = try Payload.read(payload, gradients.len);
    defer parts.deinit();
    var job: Decode = .{ .payload = &parts, .bits = bits, .gradients = gradients };
    for (job.magnitudes[0 .. @as(usize, 1) << @intCast(bits - 1)], 0..) |*magnitude, level| {
        magnitude.* = parts.least + @as(u32, @intCast((2 * level + 1) * @as(u64, parts.range) >> @intCast(bits)));
    }
    parallel.run(gradients.len * @sizeOf(f32), parts.chunks.len, &job, Decode.work);
    if (job.bad.load(.monotonic)) return refuse("chunks are unsound");
}

const Decode = struct {
    payload: *const Payload,
    bits: u32,
    gradients: []f32,
    /// The bits of what each level stands for.
    magnitudes: [128]u32 = undefined,
    bad: std.atomic.Value(bool) = .init(false),

    fn work(self: *Decode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.payload.chunks.len, part, parts);
        for (self.payload.chunks[from..to], from..) |*chunk, index| {
            const start = index * chunk_values;
            const target = self.gradients[start..@min(start + chunk_values, self.gradients.len)];
            @memset(target, 0);
            if (!self.decodeChunk(chunk, target)) return self.bad.store(true, .monotonic);
        }
    }

    fn decodeChunk(self: *const Decode, chunk: *const Chunk, target: []f32) bool {
        var bits: bit_stream.Reader = .init(chunk.bits);
        var rice: Rice = .init(self.gradients.len, self.payload.kept);
        var place: usize = 0;
        for (0..chunk.count) |_| {
            place += rice.read(&bits);
            if (place >= target.len) return false;
            const code = bits.read(self.bits);
            target[place] = @bitCast(self.magnitudes[code >> 1] | (code & 1) << 31);
            place += 1;
        }
        return bits.isExact();
    }
};
