//! Frequencies of up to 16 symbols as a coder wants them, 2^12 together, and how a payload tells them.
//!
//!     which symbols there are (a bit each)   the commonest (4 bits)   for each other of them: 7 bits
//!
//! The seven bits q stand for the frequency 2^(12 - q / 8), rounded, so that each probability is right
//! to 5 %, which costs some 0.0005 bits a symbol; the commonest symbol takes the rest. Where there is one
//! symbol only, or none, nothing follows the first bits.

const std = @import("std");
const bit_stream = @import("gradients_bit_stream.zig");
const table = @import("gradients_entropy_table.zig");

pub const symbols_max = 16;
const one = table.frequency_one;

/// 2^(12 - q / 8) for q up to 96, where it is 1.
const rounded: [97]u16 = blk: {
    var values: [97]u16 = undefined;
    for (&values, 0..) |*value, q| value.* = @intFromFloat(@round(@as(f64, one) * std.math.exp2(-@as(f64, q) / 8)));
    break :blk values;
};

pub const Frequencies = struct {
    values: [symbols_max]u16,
    codes: [symbols_max]u7,
    present: u16,
    commonest: u4,

    /// Of symbols with these weights; those of weight 0 are not there.
    pub fn init(weights: []const f64) Frequencies {
        var self: Frequencies = .{ .values = @splat(0), .codes = @splat(0), .present = 0, .commonest = 0 };
        var total: f64 = 0;
        for (weights, 0..) |weight, symbol| {
            if (weight <= 0) continue;
            total += weight;
            self.present |= @as(u16, 1) << @intCast(symbol);
            if (weight > weights[self.commonest]) self.commonest = @intCast(symbol);
        }
        for (weights, 0..) |weight, symbol| {
            if (weight <= 0 or symbol == self.commonest) continue;
            const q = @round(8 * (log2(total) - log2(weight)));
            self.codes[symbol] = @intFromFloat(std.math.clamp(q, 0, 96));
        }
        // The others have at most 15/16 of the weight, and so, rounded up, less than 2^12 together.
        const is_sound = self.finish();
        std.debug.assert(is_sound);
        return self;
    }

    fn finish(self: *Frequencies) bool {
        if (self.present == 0) return true;
        var rest: u32 = one;
        for (0..symbols_max) |symbol| {
            if (self.present >> @intCast(symbol) & 1 == 0 or symbol == self.commonest) continue;
            self.values[symbol] = rounded[self.codes[symbol]];
            if (self.values[symbol] >= rest) return false;
            rest -= self.values[symbol];
        }
        self.values[self.commonest] = @intCast(rest);
        return true;
    }

    pub fn write(self: *const Frequencies, bits: *bit_stream.Writer, count: u32) void {
        bits.append(self.present, count);
        if (@popCount(self.present) < 2) return;
        bits.append(self.commonest, 4);
        for (self.codes, 0..) |code, symbol| {
            if (self.present >> @intCast(symbol) & 1 == 1 and symbol != self.commonest) bits.append(code, 7);
        }
    }

    pub fn read(bits: *bit_stream.Reader, count: u32) ?Frequencies {
        var self: Frequencies = .{ .values = @splat(0), .codes = @splat(0), .present = @intCast(bits.read(count)), .commonest = 0 };
        if (@popCount(self.present) < 2) {
            if (self.present != 0) self.commonest = @intCast(@ctz(self.present));
        } else {
            self.commonest = @intCast(bits.read(4));
            if (self.present >> self.commonest & 1 == 0) return null;
            for (&self.codes, 0..) |*code, symbol| {
                if (self.present >> @intCast(symbol) & 1 == 0 or symbol == self.commonest) continue;
                code.* = @intCast(bits.read(7));
                if (code.* >= rounded.len) return null;
            }
        }
        return if (self.finish()) self else null;
    }

    /// Bits that `write` takes.
    pub fn size(self: *const Frequencies, count: u32) f64 {
        const symbols = @popCount(self.present);
        return @floatFromInt(count + if (symbols < 2) 0 else 4 + 7 * @as(u32, symbols - 1));
    }

    /// Bits that symbols of these weights take.
    pub fn cost(self: *const Frequencies, weights: []const f64) f64 {
        var bits: f64 = 0;
        for (weights, 0..) |weight, symbol| {
            if (weight > 0) bits += weight * (table.frequency_bits - log2(@floatFromInt(self.values[symbol])));
        }
        return bits;
    }
};

/// By basic arithmetic alone, so that all machines agree; right to 10^-10.
pub fn log2(x: f64) f64 {
    const bits: u64 = @bitCast(x);
    var exponent: f64 = @floatFromInt(@as(i64, @intCast(bits >> 52)) - 1023);
    var mantissa: f64 = @bitCast((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if (mantissa > 1.4142135623730951) {
        mantissa *= 0.5;
        exponent += 1;
    }
    const s = (mantissa - 1) / (mantissa + 1);
    const z = s * s;
    const series = 1 + z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0 + z * (1.0 / 11.0 + z / 13.0)))));
    return exponent + s * series * 2.8853900817779268;
}

/// 2^x, likewise, for |x| < 1000.
pub fn exp2(x: f64) f64 {
    const whole = @round(x);
    const y = (x - whole) * 0.6931471805599453;
    const fraction = 1 + y * (1 + y / 2 * (1 + y / 3 * (1 + y / 4 * (1 + y / 5 * (1 + y / 6 * (1 + y / 7 * (1 + y / 8)))))));
    return std.math.ldexp(fraction, @intFromFloat(whole));
}

test "frequencies" {
    const testing = std.testing;
    for ([_][16]f64{
        @splat(1),
        .{ 1000000, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 },
        .{ 5, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1e-3 },
        .{ 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 },
        @splat(0),
    }) |weights| {
        const made: Frequencies = .init(&weights);
        var buffer: [64]u8 = undefined;
        var bits: bit_stream.Writer = .{ .bytes = &buffer };
        made.write(&bits, 16);
        try testing.expectEqual(@as(usize, @intFromFloat(@ceil(made.size(16) / 8))), bits.length());
        var reader: bit_stream.Reader = .init(buffer[0..bits.length()]);
        const read = Frequencies.read(&reader, 16).?;
        try testing.expect(reader.isExact());
        try testing.expectEqualSlices(u16, &made.values, &read.values);
        var sum: u32 = 0;
        for (read.values, weights) |value, weight| {
            sum += value;
            try testing.expectEqual(weight > 0, value > 0);
        }
        try testing.expect(sum == one or made.present == 0);
    }
    for ([_]f64{ 1, 2, 0.3, 1e-30, 12345.678 }) |x| try testing.expectApproxEqAbs(std.math.log2(x), log2(x), 1e-9);
    for ([_]f64{ 0, 1, -0.3, 20.7, -77.77 }) |x| try testing.expectApproxEqRel(std.math.exp2(x), exp2(x), 1e-9);
}
