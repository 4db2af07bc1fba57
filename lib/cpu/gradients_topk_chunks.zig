//! Chunks of a payload of the codec `topk`: 2^20 gradients each but for the last, which can be coded apart
//! from each other.
//!
//!     how many are kept              (7 bits a byte, the lowest first; nothing follows where none is)
//!     range u32                      of the magnitudes' bits, which are their logarithms but for rounding
//!     their places: below 4096 of them
//!         bytes (7 bits a byte)      bits, as in gradients_rice.zig
//!     and from there on
//!         words (7 bits a byte)      32 states u32, words u16, as in gradients_places_table.zig
//!     their codes                    as many bits each as are wanted, the lowest first
//!
//! A code is the level (magnitude bits - least) 2^(bits - 1) / range, twice, and 1 more where the
//! gradient is negative; the level stands for the middle. The running means that the coding of places
//! follows begin as the payload says.

const std = @import("std");
const bit_stream = @import("gradients_bit_stream.zig");
const entropy = @import("gradients_entropy_table.zig");
const kernels_table = @import("table.zig");
const memory = @import("../memory.zig");
const numbers = @import("gradients_numbers.zig");
const places = @import("gradients_places_table.zig");
const rice_file = @import("gradients_rice.zig");

const Rice = rice_file.Rice;

pub const chunk_values = 1 << 20;
const rice_max = 4096;
pub const magnitude_mask = 0x7fff_ffff;
pub const infinity_bits = 0x7f80_0000;
/// Vectors read and write so many elements more than there are.
const spare = 16;

comptime {
    std.debug.assert(chunk_values <= rice_file.places_max);
}

pub fn chunksOf(count: usize) usize {
    return (count + chunk_values - 1) / chunk_values;
}

/// What all chunks are encoded with, and what a payload says before them.
pub const Plan = struct {
    /// The bits of the smallest magnitude that may be kept.
    least: u32,
    /// Of a code.
    bits: u32,
    /// 2^20 times the share that is kept, about, where chunks begin.
    mean: u32,

    fn rice(self: *const Plan) Rice {
        return .init((1 << places.mean_bits) / self.mean);
    }

    /// Bytes of so many codes.
    fn codeBytes(self: *const Plan, count: usize) usize {
        return (count * self.bits + 7) / 8;
    }
};

// ---- encoder ----

/// A thread's memory, and what is kept of the chunk that it is at.
pub const Encoder = struct {
    kernels: *const kernels_table.Kernels,
    memory: []align(memory.alignment) u8,
    /// As many words for each lane.
    bits: []u64,
    found: []u32,
    codes: []u8,
    nibbles: []u8,
    classes: []u8,
    words: []u16,
    distances: []u8,
    /// The largest magnitude.
    most: u32 = 0,

    pub fn init(kernels: *const kernels_table.Kernels, count: usize) error{OutOfMemory}!Encoder {
        const words = paddedWords(@min(count, chunk_values));
        const values = 64 * words;
        const distances: usize = @min(values, rice_max);
        const sizes = [_]usize{ values / 8, 4 * (values + spare), values + spare, values / 4, values / 4, values / 2, (distances + 1) * rice_file.bytes_max };
        var total: usize = 0;
        for (sizes) |size| total += std.mem.alignForward(usize, size, memory.alignment);
        const all = try memory.alloc(u8, total);
        var starts: [sizes.len]usize = undefined;
        var start: usize = 0;
        for (&starts, sizes) |*place, size| {
            place.* = start;
            start += std.mem.alignForward(usize, size, memory.alignment);
        }
        return .{
            .kernels = kernels,
            .memory = all,
            .bits = @ptrCast(@alignCast(all[starts[0]..][0..sizes[0]])),
            .found = @ptrCast(@alignCast(all[starts[1]..][0..sizes[1]])),
            .codes = all[starts[2]..][0..sizes[2]],
            .nibbles = all[starts[3]..][0..sizes[3]],
            .classes = all[starts[4]..][0..sizes[4]],
            .words = @ptrCast(@alignCast(all[starts[5]..][0..sizes[5]])),
            .distances = all[starts[6]..][0..sizes[6]],
        };
    }

    pub fn deinit(self: *Encoder) void {
        memory.free(u8, self.memory);
    }

    /// Keeps what is at least as large as the plan says; returns how many that is.
    pub fn collect(self: *Encoder, values: []const f32, plan: *const Plan) usize {
        self.most = 0;
        const kept = self.kernels.gradients.collect(values.ptr, values.len, plan.least, self.bits.ptr, self.found.ptr, &self.most);
        self.padBits(values.len);
        return kept;
    }

    /// Keeps candidates above `least`, and as many of the first `end` as equal it.
    pub fn choose(self: *Encoder, bits: []const u64, found: []const u32, count: usize, least: u32, end: usize) usize {
        self.most = 0;
        var next: usize = 0;
        var kept: usize = 0;
        for (bits[0 .. (count + 63) / 64], 0..) |word, i| {
            var left = word;
            var chosen: u64 = 0;
            while (left != 0) : (left &= left - 1) {
                const pattern = found[next];
                const magnitude = pattern & magnitude_mask;
                const is_kept = magnitude > least or (magnitude == least and next < end);
                chosen |= if (is_kept) left & (~left + 1) else 0;
                self.found[kept] = pattern;
                kept += @intFromBool(is_kept);
                self.most = @max(self.most, magnitude);
                next += 1;
            }
            self.bits[i] = chosen;
        }
        self.padBits(count);
        return kept;
    }

    /// Zeros up to the end of the last lane.
    fn padBits(self: *Encoder, count: usize) void {
        @memset(self.bits[(count + 63) / 64 .. paddedWords(count)], 0);
    }

    /// Writes what is kept of so many values, as far as there is room; returns the bytes it takes.
    pub fn encode(self: *Encoder, count: usize, kept: usize, plan: *const Plan, out: *numbers.Output) usize {
        var header: [20]u8 = undefined;
        var output: numbers.Output = .{ .bytes = &header };
        output.number(kept);
        if (kept == 0) return write(out, &.{header[0..output.used]});
        const range = @max(self.most - plan.least + 1, (@as(u32, 1) << @intCast(plan.bits - 1)) + 1);
        output.word(range);
        const codes = self.encodeLevels(kept, range, plan);
        if (kept < rice_max) {
            const bits = self.encodeDistances(count, plan);
            output.number(bits.len);
            return write(out, &.{ header[0..output.used], bits, codes });
        }
        var job: places.Encode = .{
            .bits = self.bits.ptr,
            .lane_words = paddedWords(count) / places.lanes,
            .mean = plan.mean,
            .nibbles = self.nibbles.ptr,
            .classes = self.classes.ptr,
            .end = self.words[self.words.len..].ptr,
            .states = undefined,
        };
        const words = self.kernels.gradients.encode_places(&job);
        output.number(words);
        for (&job.states) |*state| state.* = std.mem.nativeToLittle(u32, state.*);
        return write(out, &.{
            header[0..output.used],
            std.mem.sliceAsBytes(&job.states),
            std.mem.sliceAsBytes(self.words[self.words.len - words ..]),
            codes,
        });
    }

    fn encodeLevels(self: *Encoder, kept: usize, range: u32, plan: *const Plan) []const u8 {
        const factor: u32 = @intCast((@as(u64, 1) << @intCast(31 + plan.bits)) / range);
        self.kernels.gradients.code_levels(self.found.ptr, kept, plan.least, factor, self.codes.ptr);
        if (plan.bits == 8) return self.codes[0..kept];
        // What was found is not needed any more, and has room.
        var writer: bit_stream.Writer = .{ .bytes = std.mem.sliceAsBytes(self.found).ptr };
        for (self.codes[0..kept]) |code| writer.append(code, plan.bits);
        return writer.bytes[0..writer.length()];
    }

    fn encodeDistances(self: *Encoder, count: usize, plan: *const Plan) []const u8 {
        var writer: bit_stream.Writer = .{ .bytes = self.distances.ptr };
        var rice = plan.rice();
        var next: u32 = 0;
        for (self.bits[0 .. (count + 63) / 64], 0..) |word, i| {
            var left = word;
            while (left != 0) : (left &= left - 1) {
                const place: u32 = @intCast(64 * i + @ctz(left));
                rice.write(&writer, place - next);
                next = place + 1;
            }
        }
        return writer.bytes[0..writer.length()];
    }
};

fn write(out: *numbers.Output, parts: []const []const u8) usize {
    var length: usize = 0;
    for (parts) |part| {
        out.all(part);
        length += part.len;
    }
    return length;
}

/// Words of bits for so many places, as many for each lane.
fn paddedWords(count: usize) usize {
    return places.laneWords((count + 63) / 64) * places.lanes;
}

// ---- decoder ----

/// Where the parts of a chunk lie.
pub const Chunk = struct {
    kept: usize,
    range: u32 = 1,
    /// Of distances, or of states and words.
    places: []const u8 = &.{},
    codes: []const u8 = &.{},

    /// Takes a chunk of so many gradients off a payload; null where it is cut off, or what it says cannot
    /// be.
    pub fn take(input: *numbers.Input, count: usize, plan: *const Plan) ?Chunk {
        const kept = input.number() orelse return null;
        if (kept > count) return null;
        if (kept == 0) return .{ .kept = 0 };
        const range = input.word() orelse return null;
        if (range == 0 or range > infinity_bits) return null;
        const length = input.number() orelse return null;
        return .{
            .kept = kept,
            .range = range,
            .places = input.take(if (kept < rice_max) length else 4 * places.lanes + 2 * length) orelse return null,
            .codes = input.take(plan.codeBytes(kept)) orelse return null,
        };
    }
};

/// Values that are put to their places at a time.
const piece_values = 4096;

/// A thread's memory.
pub const Decoder = struct {
    kernels: *const kernels_table.Kernels,
    bits: []align(memory.alignment) u64,

    pub fn init(kernels: *const kernels_table.Kernels, count: usize) error{OutOfMemory}!Decoder {
        return .{ .kernels = kernels, .bits = try memory.alloc(u64, paddedWords(@min(count, chunk_values))) };
    }

    pub fn deinit(self: *Decoder) void {
        memory.free(u64, self.bits);
    }

    /// False where the chunk is unsound.
    pub fn decode(self: *Decoder, chunk: *const Chunk, plan: *const Plan, target: []f32) bool {
        if (chunk.kept == 0) {
            @memset(target, 0);
            return true;
        }
        if (!self.readBits(chunk, plan, target.len)) return false;
        const values = valuesOf(chunk.range, plan);
        var codes: bit_stream.Reader = .init(chunk.codes);
        var found: [piece_values + spare]f32 = undefined;
        var next: usize = 0;
        var from: usize = 0;
        while (from < target.len) : (from += piece_values) {
            const count = @min(piece_values, target.len - from);
            const bits = self.bits[from / 64 ..];
            var kept: usize = 0;
            for (bits[0 .. (count + 63) / 64]) |word| kept += @popCount(word);
            if (plan.bits == 8) {
                for (found[0..kept], chunk.codes[next..][0..kept]) |*value, code| value.* = values[code];
            } else {
                for (found[0..kept]) |*value| value.* = values[codes.read(plan.bits)];
            }
            next += kept;
            self.kernels.gradients.place(bits.ptr, count, &found, target.ptr + from);
        }
        return true;
    }

    /// The places among so many as bits, and the values that belong there, instead of all gradients.
    pub fn decodeKept(self: *Decoder, chunk: *const Chunk, plan: *const Plan, bits: []u64, count: usize, found: []f32) bool {
        if (chunk.kept == 0) {
            @memset(bits, 0);
            return true;
        }
        if (!self.readBits(chunk, plan, count)) return false;
        @memcpy(bits, self.bits[0..bits.len]);
        const values = valuesOf(chunk.range, plan);
        var codes: bit_stream.Reader = .init(chunk.codes);
        for (found) |*value| value.* = values[codes.read(plan.bits)];
        return true;
    }

    fn readBits(self: *Decoder, chunk: *const Chunk, plan: *const Plan, count: usize) bool {
        return if (chunk.kept < rice_max) self.readDistances(chunk, plan, count) else self.readPlaces(chunk, plan, count);
    }

    fn readDistances(self: *Decoder, chunk: *const Chunk, plan: *const Plan, count: usize) bool {
        @memset(self.bits[0 .. (count + 63) / 64], 0);
        var reader: bit_stream.Reader = .init(chunk.places);
        var rice = plan.rice();
        var place: usize = 0;
        for (0..chunk.kept) |_| {
            place += rice.read(&reader);
            if (place >= count) return false;
            self.bits[place / 64] |= @as(u64, 1) << @intCast(place % 64);
            place += 1;
        }
        return reader.isExact();
    }

    fn readPlaces(self: *Decoder, chunk: *const Chunk, plan: *const Plan, count: usize) bool {
        const words = chunk.places[4 * places.lanes ..];
        var job: places.Decode = .{
            .words = @ptrCast(words.ptr),
            .word_count = words.len / 2,
            .bits = self.bits.ptr,
            .lane_words = paddedWords(count) / places.lanes,
            .mean = plan.mean,
            .states = undefined,
        };
        for (&job.states, 0..) |*state, i| {
            state.* = std.mem.readInt(u32, chunk.places[4 * i ..][0..4], .little);
            if (state.* < entropy.state_least or state.* >= 1 << 31) return false;
        }
        if (self.kernels.gradients.decode_places(&job) != 0) return false;
        var kept: usize = 0;
        const all = self.bits[0..paddedWords(count)];
        for (all) |word| kept += @popCount(word);
        // None beyond the end.
        for (all[@min(count / 64, all.len)..], 0..) |word, i| {
            if (i > 0 and word != 0 or i == 0 and word >> @intCast(count % 64) != 0) return false;
        }
        return kept == chunk.kept;
    }
};

/// What codes stand for.
fn valuesOf(range: u32, plan: *const Plan) [256]f32 {
    var values: [256]f32 = undefined;
    for (values[0 .. @as(usize, 1) << @intCast(plan.bits)], 0..) |*value, code| {
        const above = (2 * (code >> 1) + 1) * @as(u64, range) >> @intCast(plan.bits);
        const magnitude: u32 = @intCast(@min(plan.least + above, infinity_bits - 1));
        value.* = @bitCast(magnitude | @as(u32, @intCast(code & 1)) << 31);
    }
    return values;
}
