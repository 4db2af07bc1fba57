//! Chunks of a payload: 2^19 values each but for the last, which can be coded apart from each other.
//!
//!     four numbers, 7 bits a byte, the lowest first: bytes of classes; 4 times the words of symbols,
//!         plus 0 where there are none, 1 where one state codes them and 2 where 32 do; bytes of plain
//!         bits; bytes of kept values
//!     classes of its blocks: a state u32 and words u16; nothing where all are zero
//!     symbols of its coded blocks: states u32 and words u16
//!     plain bits, as in gradients_rans.zig
//!     bf16 of the values of its kept blocks
//!
//! The classes are coded like symbols, by one state from the last to the first, with the frequencies
//! that belong to the class before; the one before the first is zero.

const std = @import("std");
const bit_stream = @import("gradients_bit_stream.zig");
const Blocks = @import("gradients_entropy_blocks.zig").Blocks;
const classes_file = @import("gradients_entropy_classes.zig");
const memory = @import("../memory.zig");
const model_file = @import("gradients_entropy_model.zig");
const numbers = @import("gradients_numbers.zig");
const search_file = @import("gradients_entropy_search.zig");
const table = @import("gradients_entropy_table.zig");
const Frequencies = @import("gradients_frequencies.zig").Frequencies;

const chunk_values = model_file.chunk_values;
const Model = model_file.Model;

/// How many states code the symbols of a chunk.
pub const States = enum(u2) { none = 0, one = 1, wide = 2, _ };

/// What all chunks are encoded with.
pub const Plan = struct {
    blocks: *const Blocks,
    model: Model,
    map: classes_file.Map,
    /// The fine class of every block, and what levels cost in each.
    fine: []const u8,
    costs: [classes_file.fine_count]table.Costs,
    coders: [model_file.coded_max]table.Coder,
    tokens: [classes_file.fine_count]table.Tokens,

    pub fn prepare(self: *Plan) void {
        for (self.model.classes[0..self.model.count], self.coders[0..self.model.count]) |*class, *coder| coder.* = model_file.coderOf(class);
        for (&self.tokens, self.map[table.class_coded..]) |*tokens, class| {
            if (class >= table.class_coded) tokens.* = model_file.tokensOf(&self.model.classes[class - table.class_coded]);
        }
    }

    pub fn blocksOfChunk(self: *const Plan) usize {
        return chunk_values / self.blocks.blockValues();
    }

    pub fn chunks(self: *const Plan) usize {
        return (self.blocks.count + self.blocksOfChunk() - 1) / self.blocksOfChunk();
    }
};

/// A thread's memory.
pub const Encoder = struct {
    plan: *const Plan,
    room: Room,

    /// As large as the chunks are.
    const Room = struct {
        memory: []align(memory.alignment) u8,
        classes: []u8,
        class_words: []u16,
        /// Coded blocks: their places in the chunk, classes and fine classes.
        active: []u32,
        active_classes: []u8,
        active_fine: []u8,
        symbols: []u8,
        levels: []align(64) u16,
        quantizers: []u32,
        signs: []u32,
        /// A symbol takes one word at most, and 3 bytes of plain bits.
        words: []u16,
        bits: []u8,
        values: []f32,
    };

    pub fn init(plan: *const Plan) error{OutOfMemory}!Encoder {
        const blocks = @min(plan.blocks.count, plan.blocksOfChunk());
        const values = blocks * plan.blocks.blockValues();
        const steps: usize = @min(table.segment_steps, values / table.lanes);
        const lengths = .{
            .classes = blocks,
            .class_words = blocks,
            .active = blocks,
            .active_classes = blocks,
            .active_fine = blocks,
            .symbols = values,
            .levels = steps * table.lanes,
            .quantizers = steps,
            .signs = steps,
            .words = values,
            .bits = 3 * values + 64,
            .values = values,
        };
        var room: Room = undefined;
        var total: usize = 0;
        const names = comptime std.meta.fieldNames(@TypeOf(lengths));
        inline for (names) |name| total += bytesOf(@FieldType(Room, name), @field(lengths, name));
        room.memory = try memory.alloc(u8, total);
        var place: usize = 0;
        inline for (names) |name| {
            const Slice = @FieldType(Room, name);
            const first: [*]std.meta.Elem(Slice) = @ptrCast(@alignCast(room.memory.ptr + place));
            @field(room, name) = @alignCast(first[0..@field(lengths, name)]);
            place += bytesOf(Slice, @field(lengths, name));
        }
        return .{ .plan = plan, .room = room };
    }

    /// Of a slice, whole lines of the cache.
    fn bytesOf(comptime Slice: type, length: usize) usize {
        return std.mem.alignForward(usize, length * @sizeOf(std.meta.Elem(Slice)), memory.alignment);
    }

    pub fn deinit(self: *Encoder) void {
        memory.free(u8, self.room.memory);
    }

    /// Writes a chunk; returns its bytes, or null where there is no room for them.
    pub fn encode(self: *Encoder, chunk: usize, out: []u8) ?usize {
        const plan = self.plan;
        const room = &self.room;
        const first = chunk * plan.blocksOfChunk();
        const count = @min(plan.blocksOfChunk(), plan.blocks.count - first);
        const values = self.valuesOf(first, count);
        var active: u32 = 0;
        var kept: usize = 0;
        for (plan.fine[first..][0..count], room.classes[0..count], 0..) |fine, *class, i| {
            class.* = plan.map[fine];
            kept += @intFromBool(class.* == table.class_kept);
            if (class.* < table.class_coded) continue;
            room.active[active] = @intCast(i);
            room.active_classes[active] = class.*;
            room.active_fine[active] = fine - table.class_coded;
            active += 1;
        }
        const class_state, const class_words = encodeClasses(&plan.model, room.classes[0..count], room.class_words);
        const bits = self.followPath(values, active);
        var job: table.Encode = .{
            .steps = plan.blocks.steps,
            .count = active,
            .classes = room.active_classes.ptr,
            .coders = &plan.coders,
            .symbols = room.symbols.ptr,
            .end = room.words[room.words.len..].ptr,
            .is_wide = @intFromBool(active * plan.blocks.steps >= search_file.wide_steps),
            .states = undefined,
        };
        const words = plan.blocks.kernels.encode(&job);
        var output: numbers.Output = .{ .bytes = out };
        output.number(if (class_state) |_| 4 + class_words.len * 2 else 0);
        const states: States = if (active == 0) .none else if (job.is_wide == 1) .wide else .one;
        output.number(words << 2 | @backingInt(states));
        output.number(bits.length());
        output.number(kept * plan.blocks.blockValues() * 2);
        if (class_state) |state| output.word(state);
        output.all(std.mem.sliceAsBytes(class_words));
        if (active > 0) for (job.states[0..if (job.is_wide == 1) table.lanes else 1]) |state| output.word(state);
        output.all(std.mem.sliceAsBytes(room.words[room.words.len - words ..]));
        output.all(room.bits[0..bits.length()]);
        if (kept > 0) self.writeKept(values, count, &output);
        return if (output.is_full) null else output.used;
    }

    /// The chunk's values, padded where they end.
    fn valuesOf(self: *Encoder, first: usize, count: usize) [*]const f32 {
        const blocks = self.plan.blocks;
        const size = blocks.blockValues();
        if ((first + count) * size <= blocks.values.len) return blocks.values.ptr + first * size;
        for (0..count) |i| blocks.copy(first + i, self.room.values[i * size ..][0..size]);
        return self.room.values.ptr;
    }

    /// Fills in the symbols of the coded blocks, and returns their plain bits.
    fn followPath(self: *Encoder, values: [*]const f32, active: u32) bit_stream.Writer {
        const plan = self.plan;
        const room = &self.room;
        var bits: bit_stream.Writer = .{ .bytes = room.bits.ptr };
        var path: table.Path = .{
            .values = values,
            .steps = plan.blocks.steps,
            .count = 0,
            .blocks = undefined,
            .classes = undefined,
            .costs = &plan.costs,
            .factor = 1 / plan.model.step * (1 << table.fraction_bits),
            .states = .{},
            .levels = room.levels.ptr,
            .quantizers = room.quantizers.ptr,
            .signs = room.signs.ptr,
        };
        var from: u32 = 0;
        while (from < active) : (from += path.count) {
            path.count = @min(active - from, table.segment_steps / path.steps);
            path.blocks = room.active[from..].ptr;
            path.classes = room.active_fine[from..].ptr;
            plan.blocks.kernels.trellis(&path);
            plan.blocks.kernels.symbols(&.{
                .steps = path.steps,
                .count = path.count,
                .classes = path.classes,
                .tokens = &plan.tokens,
                .levels = room.levels.ptr,
                .quantizers = room.quantizers.ptr,
                .signs = room.signs.ptr,
                .symbols = room.symbols[from * path.steps * table.lanes ..].ptr,
                .bits = &bits,
            });
        }
        return bits;
    }

    fn writeKept(self: *Encoder, values: [*]const f32, count: usize, output: *numbers.Output) void {
        const size = self.plan.blocks.blockValues();
        for (self.room.classes[0..count], 0..) |class, i| {
            if (class != table.class_kept) continue;
            for (values[i * size ..][0..size]) |value| {
                const bits: u32 = @bitCast(value);
                // To nearest; values are far from overflow.
                const word: u16 = @truncate((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
                output.all(std.mem.asBytes(&std.mem.nativeToLittle(u16, word)));
            }
        }
    }
};

/// The state and words of a chunk's classes; nothing where all are zero.
pub fn encodeClasses(model: *const Model, classes: []const u8, words: []u16) struct { ?u32, []const u16 } {
    if (std.mem.allEqual(u8, classes, table.class_zero)) return .{ null, &.{} };
    var cumulative: [table.classes_max][table.classes_max]u16 = undefined;
    for (cumulative[0..model.classCount()], model.following[0..model.classCount()]) |*sums, *frequencies| {
        var sum: u16 = 0;
        for (sums, frequencies.values) |*place, frequency| {
            place.* = sum;
            sum += frequency;
        }
    }
    var x: u32 = table.state_least;
    var start = words.len;
    var i = classes.len;
    while (i > 0) {
        i -= 1;
        const before = if (i == 0) table.class_zero else classes[i - 1];
        const frequency: u32 = model.following[before].values[classes[i]];
        if (x >= frequency << 19) {
            start -= 1;
            words[start] = std.mem.nativeToLittle(u16, @truncate(x));
            x >>= 16;
        }
        x = x / frequency << table.frequency_bits | x % frequency + cumulative[before][classes[i]];
    }
    return .{ x, words[start..] };
}

// ---- back ----

/// How payloads of a model are decoded.
pub const Decoders = struct {
    model: *const Model,
    kernels: *const table.Kernels,
    room: *Room,

    const Room = struct {
        decoders: [model_file.coded_max]table.Decoder,
        slots: [model_file.coded_max][model_file.slots_of_class]u8,
        /// For each class before: the class of each slot.
        class_slots: [table.classes_max][table.frequency_one]u8,
        cumulative: [table.classes_max][table.classes_max]u16,
    };

    pub fn init(model: *const Model, kernels: *const table.Kernels) error{OutOfMemory}!Decoders {
        const room = &(try memory.alloc(Room, 1))[0];
        for (model.classes[0..model.count], room.decoders[0..model.count], room.slots[0..model.count]) |*class, *decoder, *slots| {
            decoder.* = model_file.decoderOf(model, class, slots);
        }
        const count = model.classCount();
        for (model.following[0..count], room.class_slots[0..count], room.cumulative[0..count]) |*frequencies, *slots, *sums| {
            var sum: u16 = 0;
            for (frequencies.values, sums, 0..) |frequency, *place, class| {
                place.* = sum;
                @memset(slots[sum..][0..frequency], @intCast(class));
                sum += frequency;
            }
            // Nothing follows a class that does not occur.
            if (sum == 0) @memset(slots, 0);
        }
        return .{ .model = model, .kernels = kernels, .room = room };
    }

    pub fn deinit(self: *const Decoders) void {
        const room: *align(memory.alignment) Room = @alignCast(self.room);
        memory.free(Room, room[0..1]);
    }

    /// Finds a chunk's classes and states; false where they do not fit the rest of it.
    pub fn begin(self: *const Decoders, chunk: *const Chunk, classes: []u8, states: *[table.lanes]u32) bool {
        if (!self.decodeClasses(chunk, classes)) return false;
        var kept: usize = 0;
        var coded: usize = 0;
        for (classes) |class| {
            kept += @intFromBool(class == table.class_kept);
            coded += @intFromBool(class >= table.class_coded);
        }
        if (kept * self.model.blockValues() * 2 != chunk.kept.len) return false;
        if ((coded == 0) != (chunk.states.len == 0)) return false;
        states.* = @splat(table.state_least);
        for (0..chunk.states.len / 4) |i| {
            states[i] = std.mem.readInt(u32, chunk.states[4 * i ..][0..4], .little);
            if (states[i] < table.state_least or states[i] >= 1 << 31) return false;
        }
        return true;
    }

    /// Decodes a chunk's blocks, padding included; false where the bytes are unsound.
    pub fn decode(self: *const Decoders, chunk: *const Chunk, classes: []u8, values: [*]f32) bool {
        var job: table.Decode = .{
            .steps = self.model.steps,
            .count = @intCast(classes.len),
            .classes = classes.ptr,
            .decoders = &self.room.decoders,
            .words = @ptrCast(chunk.words.ptr),
            .word_count = chunk.words.len / 2,
            .bits = chunk.bits.ptr,
            .bit_bytes = chunk.bits.len,
            .kept = @ptrCast(chunk.kept.ptr),
            .kept_scale = self.model.unit(),
            .is_wide = @intFromBool(chunk.is_wide),
            .states = undefined,
            .values = values,
        };
        return self.begin(chunk, classes, &job.states) and self.kernels.decode(&job) == 0;
    }

    fn decodeClasses(self: *const Decoders, chunk: *const Chunk, classes: []u8) bool {
        if (chunk.classes.len == 0) {
            @memset(classes, table.class_zero);
            return true;
        }
        var x = std.mem.readInt(u32, chunk.classes[0..4], .little);
        if (x < table.state_least or x >= 1 << 31) return false;
        var words: []align(1) const u16 = @ptrCast(chunk.classes[4..]);
        var before: usize = table.class_zero;
        for (classes) |*class| {
            const slot = x % table.frequency_one;
            class.* = self.room.class_slots[before][slot];
            const frequency: u32 = self.model.following[before].values[class.*];
            if (frequency == 0) return false;
            x = frequency * (x / table.frequency_one) + slot - self.room.cumulative[before][class.*];
            if (x < table.state_least) {
                if (words.len == 0) return false;
                x = x << 16 | std.mem.littleToNative(u16, words[0]);
                words = words[1..];
            }
            before = class.*;
        }
        return x == table.state_least and words.len == 0;
    }
};

/// Where the parts of a chunk lie.
pub const Chunk = struct {
    classes: []const u8,
    is_wide: bool,
    states: []const u8,
    words: []const u8,
    bits: []const u8,
    kept: []const u8,
};

/// Takes chunks off a payload.
pub const Chunks = struct {
    input: numbers.Input,

    /// Null where there are fewer bytes than it says, or what it says cannot be.
    pub fn next(self: *Chunks) ?Chunk {
        const class_bytes = self.input.number() orelse return null;
        const words = self.input.number() orelse return null;
        const bit_bytes = self.input.number() orelse return null;
        const kept_bytes = self.input.number() orelse return null;
        if (class_bytes % 2 != 0 or class_bytes == 2 or kept_bytes % 2 != 0) return null;
        const states: usize = switch (@as(States, @fromBackingInt(@intCast(words & 3)))) {
            .none => 0,
            .one => 1,
            .wide => table.lanes,
            _ => return null,
        };
        return .{
            .classes = self.input.take(class_bytes) orelse return null,
            .is_wide = states == table.lanes,
            .states = self.input.take(4 * states) orelse return null,
            .words = self.input.take(2 * (words >> 2)) orelse return null,
            .bits = self.input.take(bit_bytes) orelse return null,
            .kept = self.input.take(kept_bytes) orelse return null,
        };
    }
};
