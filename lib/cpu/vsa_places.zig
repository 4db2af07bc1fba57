//! Operations that move the trits of rows to other places, or to other formats, shared out to the
//! threads.

const std = @import("std");
const abi = @import("../abi.zig");
const memory = @import("../memory.zig");
const parallel = @import("parallel.zig");
const philox = @import("../philox.zig");
const table = @import("vsa_table.zig");
const threads = @import("threads.zig");
const Vectors = @import("vsa_vectors.zig").Vectors;

/// Rows from `first` on of another format, which has a `length` of rows and reads one. Returns the
/// first row in which something is no trit.
pub fn readRows(comptime T: type, format: anytype, elements: []const T, out: *const Vectors, first: u32) ?usize {
    const Job = struct {
        format: @TypeOf(format),
        elements: []const T,
        out: *const Vectors,
        first: u32,
        bad: std.atomic.Value(usize) = .init(std.math.maxInt(usize)),

        fn work(self: *@This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.elements.len / self.format.length, part, parts);
            for (from..to) |row| {
                const source = self.elements.ptr + row * self.format.length;
                const bad = self.format.read(source, self.out.dim, self.out.row(self.first + row), self.out.words);
                if (bad != 0) _ = self.bad.fetchMin(row, .monotonic);
            }
        }
    };
    var job: Job = .{ .format = format, .elements = elements, .out = out, .first = first };
    parallel.run(elements.len * @sizeOf(T), elements.len / format.length, &job, Job.work);
    const bad = job.bad.load(.monotonic);
    return if (bad == std.math.maxInt(usize)) null else bad;
}

pub const WriteRow = *const fn (a: table.Vector, words: usize, dim: usize, bytes: [*]u8) callconv(.c) void;

/// Rows from `first` on to another format, `length` bytes each.
pub fn writeRows(kernel: WriteRow, length: usize, vectors: *const Vectors, first: u32, bytes: []u8) void {
    const Job = struct {
        kernel: WriteRow,
        length: usize,
        vectors: *const Vectors,
        first: u32,
        bytes: []u8,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.bytes.len / self.length, part, parts);
            const vectors_ = self.vectors;
            for (from..to) |row|
                self.kernel(vectors_.row(self.first + row), vectors_.words, vectors_.dim, self.bytes.ptr + row * self.length);
        }
    };
    const job: Job = .{ .kernel = kernel, .length = length, .vectors = vectors, .first = first, .bytes = bytes };
    parallel.run(bytes.len, bytes.len / length, &job, Job.work);
}

/// result[(i + shift) mod dim] = source[i] in every row, for a shift below dim; `out` may be `a`.
pub fn rotate(move: table.Move, a: *const Vectors, out: *const Vectors, shift: u32) abi.Failure!void {
    const Job = struct {
        move: table.Move,
        a: *const Vectors,
        out: *const Vectors,
        shift: u32,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.out.count, part, parts);
            for (from..to) |row| rotateRow(self.move, self.a.row(row), self.out.row(row), self.a, self.shift);
        }
    };
    if (shift == 0 and a == out) return;
    if (a == out) {
        const source = try memory.alloc(u64, 2 * a.words);
        defer memory.free(u64, source);
        for (0..a.count) |row| {
            @memcpy(source, a.row(row)[0 .. 2 * a.words]);
            rotateRow(move, source.ptr, out.row(row), a, shift);
        }
        return;
    }
    const job: Job = .{ .move = move, .a = a, .out = out, .shift = shift };
    parallel.run(out.sizeBytes(), out.count, &job, Job.work);
}

fn rotateRow(move: table.Move, source: table.Vector, target: table.Target, like: *const Vectors, shift: u32) void {
    for (0..2) |plane| {
        const from = source + plane * like.words;
        const to = target + plane * like.words;
        move(from, 0, to, shift, like.dim - shift);
        move(from, like.dim - shift, to, 0, shift);
    }
}

/// `count` trits of every row, from place `from` of `a` to place `to` of `out`, which is another.
pub fn moveRows(move: table.Move, a: *const Vectors, from: u32, out: *const Vectors, to: u32, count: u32) void {
    const Job = struct {
        move: table.Move,
        a: *const Vectors,
        out: *const Vectors,
        from: u32,
        to: u32,
        count: u32,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            const first, const end = threads.share(self.out.count, part, parts);
            for (first..end) |row| for (0..2) |plane| self.move(
                self.a.row(row) + plane * self.a.words,
                self.from,
                self.out.row(row) + plane * self.out.words,
                self.to,
                self.count,
            );
        }
    };
    const job: Job = .{ .move = move, .a = a, .out = out, .from = from, .to = to, .count = count };
    parallel.run(@as(u64, out.count) * count / 4, out.count, &job, Job.work);
}

/// Trit i of each row is trit places[i] of that of `a`; `out` may be `a`. False where a place does not
/// exist.
pub fn gather(kernels: *const table.Kernels, a: *const Vectors, out: *const Vectors, places: []const u32) abi.Failure!bool {
    const Job = struct {
        kernels: *const table.Kernels,
        a: *const Vectors,
        out: *const Vectors,
        places: []const u32,
        trits: []i8,
        parts: u32,
        bad: std.atomic.Value(bool) = .init(false),

        fn work(self: *@This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.out.count, part, parts);
            const dim = self.a.dim;
            const trits = self.trits[part * @as(usize, dim) ..][0..dim];
            for (from..to) |row| {
                self.kernels.to_i8(self.a.row(row), self.a.words, dim, trits.ptr);
                const bad = self.kernels.formats.gather(trits.ptr, self.places.ptr, dim, self.out.row(row), self.out.words);
                if (bad != 0) self.bad.store(true, .monotonic);
            }
        }
    };
    const parts = parallel.partsOf(@as(u64, out.count) * out.dim * 8, out.count);
    const trits = try memory.alloc(i8, @as(u64, parts) * a.dim);
    defer memory.free(i8, trits);
    var job: Job = .{ .kernels = kernels, .a = a, .out = out, .places = places, .trits = trits, .parts = parts };
    parallel.runParts(parts, &job, Job.work);
    return !job.bad.load(.monotonic);
}

/// Keeps trits of every row at random, as vsa_random.zig says; `out` may be `a`.
pub fn thin(kernels: *const table.Kernels, a: *const Vectors, out: *const Vectors, seed: u64, below: u32) void {
    const Job = struct {
        kernels: *const table.Kernels,
        a: *const Vectors,
        out: *const Vectors,
        seed: u64,
        below: u32,

        fn work(self: *const @This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.out.count, part, parts);
            for (from..to) |row|
                self.kernels.thin(self.a.row(row), self.out.row(row), self.out.words, self.out.dim, row, self.seed, self.below);
        }
    };
    const job: Job = .{ .kernels = kernels, .a = a, .out = out, .seed = seed, .below = below };
    parallel.run(out.sizeBytes() * 4, out.count, &job, Job.work);
}

/// The counter's last word of the numbers that permutations are made of; see vsa_random.zig.
const domain = 3;

/// A random permutation by Fisher and Yates: for i from the last place down to 1, places i and
/// floor(w (i + 1) / 2^32) change, where w is word `last - i` of the seed's numbers.
pub fn shuffle(places: []u32, seed: u64) void {
    for (places, 0..) |*place, i| place.* = @intCast(i);
    var words: [4]u32 = undefined;
    for (0..places.len -| 1) |n| {
        if (n % 4 == 0) words = philox.block(
            .{ @intCast(n / 4), 0, 0, domain },
            .{ @truncate(seed), @truncate(seed >> 32) },
        );
        const i = places.len - 1 - n;
        const j: usize = @intCast(@as(u64, words[n % 4]) * (i + 1) >> 32);
        std.mem.swap(u32, &places[i], &places[j]);
    }
}
