//! What a payload of the codec `entropy` says before its chunks: the step, and how the symbols of each
//! class and the classes themselves are coded. All bits, the lowest of each byte first:
//!
//!     steps of a block - 1 (2)   classes that are coded (4)   step, f32 (32)   exponent + 128 (8)
//!     for each class:  shift (4)   three offsets of each quantiser (6 x 8)   frequencies of the 16
//!                      tokens of each quantiser
//!     for each class, zero and kept included, of the block before: frequencies of all classes
//!
//! A payload of one byte 0xff stands for zeros only. Frequencies are as in gradients_frequencies.zig.
//! Level k lies at ((2k - quantiser + offset / 64) step) 2^-exponent, with the offset for k = 1, 2 and
//! the third from 3 on; 0 is 0. Kept values are bf16, times 2^-exponent.

const std = @import("std");
const bit_stream = @import("gradients_bit_stream.zig");
const rans = @import("gradients_rans.zig");
const table = @import("gradients_entropy_table.zig");
const Frequencies = @import("gradients_frequencies.zig").Frequencies;

pub const coded_max = table.classes_max - table.class_coded;
pub const zeros_only = 0xff;
/// Of a block, 1, 2 or 4.
pub const steps_max = 4;
const shift_max = 8;
const offset_one = 64;

/// Values of a chunk, which can be decoded by itself.
pub const chunk_values = 1 << 19;

/// Bytes that `Model.write` may touch.
pub const written_max = 8 + 4096;

pub const Class = struct {
    shift: u32 = 0,
    offsets: [2][3]i8 = @splat(@splat(0)),
    tokens: [2]Frequencies,
};

pub const Model = struct {
    steps: u32,
    step: f32,
    exponent: i32,
    count: u32,
    classes: [coded_max]Class,
    /// For each class of the block before.
    following: [table.classes_max]Frequencies,

    pub fn blockValues(self: *const Model) usize {
        return self.steps * table.lanes;
    }

    pub fn classCount(self: *const Model) u32 {
        return table.class_coded + self.count;
    }

    pub fn write(self: *const Model, bytes: [*]u8) usize {
        var bits: bit_stream.Writer = .{ .bytes = bytes };
        bits.append(self.steps - 1, 2);
        bits.append(self.count, 4);
        bits.append(@bitCast(self.step), 32);
        bits.append(@intCast(self.exponent + 128), 8);
        for (self.classes[0..self.count]) |*class| {
            bits.append(class.shift, 4);
            for (class.offsets) |offsets| for (offsets) |offset| bits.append(@as(u8, @bitCast(offset)), 8);
            for (&class.tokens) |*tokens| tokens.write(&bits, 16);
        }
        for (self.following[0..self.classCount()]) |*frequencies| frequencies.write(&bits, self.classCount());
        return bits.length();
    }

    /// Bytes that `write` takes.
    pub fn size(self: *const Model) f64 {
        var bits: f64 = 46;
        for (self.classes[0..self.count]) |*class| bits += classSize(class);
        for (self.following[0..self.classCount()]) |*frequencies| bits += frequencies.size(self.classCount());
        return @ceil(bits / 8);
    }

    /// Null where it is unsound. `length` becomes the bytes it took.
    pub fn read(bytes: []const u8, length: *usize) ?Model {
        var bits: bit_stream.Reader = .init(bytes);
        var model: Model = undefined;
        model.steps = bits.read(2) + 1;
        model.count = bits.read(4);
        model.step = @bitCast(bits.read(32));
        model.exponent = @as(i32, @intCast(bits.read(8))) - 128;
        if (model.steps == 3 or model.count > coded_max) return null;
        if (!(model.step > 0) or !std.math.isFinite(model.step)) return null;
        for (model.classes[0..model.count]) |*class| {
            class.shift = bits.read(4);
            if (class.shift > shift_max) return null;
            for (&class.offsets) |*offsets| {
                for (offsets) |*offset| offset.* = @bitCast(@as(u8, @intCast(bits.read(8))));
            }
            for (&class.tokens) |*tokens| tokens.* = Frequencies.read(&bits, 16) orelse return null;
        }
        for (model.following[0..model.classCount()]) |*frequencies| {
            frequencies.* = Frequencies.read(&bits, model.classCount()) orelse return null;
        }
        length.* = bits.begun();
        return if (length.* <= bytes.len) model else null;
    }

    /// What the step is multiplied by.
    pub fn unit(self: *const Model) f32 {
        return std.math.ldexp(@as(f32, 1), -self.exponent);
    }
};

/// Bits of a class in a payload.
pub fn classSize(class: *const Class) f64 {
    return 4 + 48 + class.tokens[0].size(16) + class.tokens[1].size(16);
}

/// How an encoder codes a class.
pub fn coderOf(class: *const Class) table.Coder {
    var coder: table.Coder = .{ .packed_frequencies = @splat(0), .reciprocals = @splat(0) };
    for (&class.tokens, 0..) |*tokens, quantizer| {
        var cumulative: u32 = 0;
        for (tokens.values, quantizer * 16..) |frequency, symbol| {
            if (frequency == 0) continue;
            coder.set(symbol, frequency, cumulative);
            cumulative += frequency;
        }
    }
    return coder;
}

pub fn tokensOf(class: *const Class) table.Tokens {
    var result: table.Tokens = .{ .shift = class.shift, .last = undefined };
    for (&class.tokens, &result.last) |*tokens, *last| last.* = 15 - @as(u32, @clz(tokens.present & 0x7fff | 1));
    return result;
}

/// Bytes of the slots of a class.
pub const slots_of_class = 2 * table.frequency_one;

pub fn decoderOf(model: *const Model, class: *const Class, slots: []u8) table.Decoder {
    var decoder: table.Decoder = .{
        .frequencies = undefined,
        .cumulative = undefined,
        .magnitudes = undefined,
        .slots = slots.ptr,
        .shift = class.shift,
        .offsets = undefined,
        .step = model.step,
        .unit = model.unit(),
    };
    for (&decoder.offsets, class.offsets) |*targets, offsets| {
        for (targets, offsets) |*target, offset| target.* = @as(f32, offset) / offset_one;
    }
    for (&class.tokens, 0..) |*tokens, quantizer| {
        // A quantiser that never occurs: all slots are the escape's, which then has no frequency.
        var cumulative: u16 = 0;
        const slots_here = slots[quantizer * table.frequency_one ..][0..table.frequency_one];
        @memset(slots_here, @intCast(quantizer << 4 | table.escape));
        for (tokens.values, 0..) |frequency, token| {
            const symbol = quantizer << 4 | token;
            decoder.frequencies[symbol] = frequency;
            decoder.cumulative[symbol] = cumulative;
            @memset(slots_here[cumulative..][0..frequency], @intCast(symbol));
            cumulative += frequency;
        }
        // Levels with tokens of their own; other tokens need further bits.
        const levels = std.simd.iota(u16, 16);
        decoder.magnitudes[quantizer * 16 ..][0..16].* = rans.magnitudes(&decoder, levels, if (quantizer == 1) 0xffff else 0);
    }
    return decoder;
}
