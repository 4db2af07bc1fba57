//! Which gradients the codec `topk` keeps: bounds from a sample, and those that reach one.

const std = @import("std");
const abi = @import("../abi.zig");
const chunks_file = @import("gradients_topk_chunks.zig");
const finite = @import("gradients_finite.zig");
const kernels_table = @import("table.zig");
const memory = @import("../memory.zig");
const parallel = @import("parallel.zig");
const threads = @import("threads.zig");

const chunk_values = chunks_file.chunk_values;
const chunksOf = chunks_file.chunksOf;
const infinity_bits = chunks_file.infinity_bits;
const magnitude_mask = chunks_file.magnitude_mask;

// ---- samples ----

/// Of so many gradients the magnitudes, eight neighbours at a time.
pub const sample_count = 1 << 17;
const sample_run = 8;

/// Where the sample is: all gradients where there are no more, else one run in each of as many parts.
pub const Runs = struct {
    total: usize,
    /// None where all gradients are taken.
    count: usize,

    pub fn init(total: usize) Runs {
        return .{ .total = total, .count = if (total <= sample_count) 0 else sample_count / sample_run };
    }

    pub fn values(self: *const Runs) usize {
        return @min(self.total, sample_count);
    }

    pub fn read(self: *const Runs, gradients: []const f32, bits: []u32) void {
        if (self.count == 0) return magnitudesOf(gradients, bits);
        for (0..self.count) |i| {
            const from = i * self.total / self.count;
            const width = (i + 1) * self.total / self.count - from - (sample_run - 1);
            const hash = (@as(u64, i) +% 1) *% 0x9e37_79b9_7f4a_7c15;
            const start = from + @as(usize, @intCast((hash >> 32) * width >> 32));
            magnitudesOf(gradients[start..][0..sample_run], bits[i * sample_run ..][0..sample_run]);
        }
    }
};

fn magnitudesOf(values: []const f32, bits: []u32) void {
    for (bits, values) |*pattern, value| pattern.* = @as(u32, @bitCast(value)) & magnitude_mask;
}

pub const Sample = struct {
    bits: []align(memory.alignment) u32,
    total: usize,

    pub fn deinit(self: *const Sample) void {
        memory.free(u32, self.bits);
    }

    /// The bits of a magnitude that about `wanted` gradients reach, or with a margin of so many standard
    /// deviations more of them; 1 where that is all that are not 0.
    pub fn bound(self: *const Sample, wanted: f64, margin: f64) u32 {
        const share = @as(f64, @floatFromInt(self.bits.len)) / @as(f64, @floatFromInt(self.total));
        const expected = wanted * share;
        const rank = @max(0, expected + margin * @sqrt(expected));
        if (rank >= @as(f64, @floatFromInt(self.bits.len))) return 1;
        return @max(1, nthLargest(self.bits, @intFromFloat(rank)));
    }
};

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

// ---- candidates ----

/// Gradients that may be kept, in order: their places as bits, and their own.
pub const Candidates = struct {
    places: []align(memory.alignment) u64,
    found: std.ArrayList(u32),
    /// Of each chunk.
    counts: []align(memory.alignment) usize,

    /// All gradients from a bound on, by as many threads as there are parts.
    pub fn collect(kernels: *const kernels_table.Kernels, gradients: []const f32, least: u32, parts_count: usize) abi.Failure!Candidates {
        var all: Candidates = .{
            .places = try memory.alloc(u64, (gradients.len + 63) / 64),
            .counts = undefined,
            .found = .empty,
        };
        errdefer memory.free(u64, all.places);
        all.counts = try memory.alloc(usize, chunksOf(gradients.len));
        errdefer memory.free(usize, all.counts);
        const parts = try memory.alloc(Collected, parts_count);
        defer memory.free(Collected, parts);
        for (parts) |*part| part.* = .{};
        defer for (parts) |*part| part.found.deinit(std.heap.c_allocator);
        parallel.runParts(@intCast(parts.len), &Collecting{
            .kernels = kernels,
            .gradients = gradients,
            .least = least,
            .candidates = &all,
            .parts = parts,
        }, Collecting.work);
        var most: u32 = 0;
        for (parts) |part| {
            if (part.failed) return error.OutOfMemory;
            most = @max(most, part.most);
        }
        if (most >= infinity_bits) return finite.refuse(gradients);
        all.found = parts[0].found;
        parts[0].found = .empty;
        errdefer all.found.deinit(std.heap.c_allocator);
        for (parts[1..]) |*part| try all.found.appendSlice(std.heap.c_allocator, part.found.items);
        return all;
    }

    pub fn deinit(self: *Candidates) void {
        memory.free(u64, self.places);
        memory.free(usize, self.counts);
        self.found.deinit(std.heap.c_allocator);
    }
};

/// A thread's share of them.
const Collected = struct {
    found: std.ArrayList(u32) = .empty,
    most: u32 = 0,
    failed: bool = false,
};

const Collecting = struct {
    kernels: *const kernels_table.Kernels,
    gradients: []const f32,
    least: u32,
    candidates: *Candidates,
    parts: []Collected,

    /// Looked at together, a part of a chunk.
    const step = 1 << 15;

    fn work(self: *const Collecting, part: u32, parts: u32) void {
        const from, const to = threads.share(self.candidates.counts.len, part, parts);
        const mine = &self.parts[part];
        for (from..to) |chunk| {
            const before = mine.found.items.len;
            var i = chunk * chunk_values;
            const end = @min(i + chunk_values, self.gradients.len);
            while (i < end) : (i += step) {
                const count = @min(step, end - i);
                mine.found.ensureUnusedCapacity(std.heap.c_allocator, count + 16) catch {
                    mine.failed = true;
                    return;
                };
                const target = mine.found.items.ptr + mine.found.items.len;
                mine.found.items.len += self.kernels.gradients.collect(self.gradients.ptr + i, count, self.least, self.candidates.places.ptr + i / 64, target, &mine.most);
            }
            self.candidates.counts[chunk] = mine.found.items.len - before;
        }
    }
};

/// Which candidates are kept: those above the least, and those that equal it as far as a place in their
/// order.
pub const Choice = struct { least: u32, end: usize };

pub fn choose(found: []const u32, magnitudes: []u32, count: usize) Choice {
    for (magnitudes, found) |*magnitude, bits| magnitude.* = bits & magnitude_mask;
    const least = nthLargest(magnitudes, count - 1);
    var equal = count;
    for (magnitudes) |magnitude| equal -= @intFromBool(magnitude > least);
    for (magnitudes, 0..) |magnitude, i| {
        if (magnitude != least) continue;
        equal -= 1;
        if (equal == 0) return .{ .least = least, .end = i + 1 };
    }
    unreachable;
}
