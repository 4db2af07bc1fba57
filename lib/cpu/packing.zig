//! The wire format: 2 bits a trit, four trits a byte, low bits first; each row starts on a byte.
//!
//!     00 = 0    01 = +1    10 = -1    11 is no trit
//!
//! A trit's two low bits are 00, 01 and 11, so its code is (low bit, xor of both bits).

const std = @import("std");
const abi = @import("../abi.zig");

pub const Shape = struct {
    rows: usize,
    columns: usize,

    pub fn init(rows: u32, columns: u32) abi.Failure!Shape {
        if (rows == 0 or columns == 0)
            return abi.fail(error.InvalidShape, "Expected a shape of at least 1 x 1, got {d} x {d}", .{ rows, columns });
        return .{ .rows = rows, .columns = columns };
    }

    pub fn size(self: Shape) usize {
        return self.rows * self.columns;
    }

    pub fn rowBytes(self: Shape) usize {
        return (self.columns + 3) / 4;
    }

    pub fn packedBytes(self: Shape) usize {
        return self.rows * self.rowBytes();
    }
};

/// Packs rows of i8 or f32 trits. Returns the index of the first value that is no trit.
pub fn pack(comptime T: type, trits: []const T, shape: Shape, bytes: []u8) ?usize {
    for (0..shape.rows) |row| {
        const source = trits[row * shape.columns ..][0..shape.columns];
        const target = bytes[row * shape.rowBytes() ..][0..shape.rowBytes()];
        if (packRow(T, source, target)) |column| return row * shape.columns + column;
    }
    return null;
}

fn packRow(comptime T: type, source: []const T, target: []u8) ?usize {
    const width = 64;
    var column: usize = 0;
    while (column + width <= source.len) : (column += width) {
        const values: @Vector(width, T) = source[column..][0..width].*;
        const codes = codesOf(T, width, values) orelse break;
        const words: @Vector(width / 4, u32) = @bitCast(codes);
        const folded = words | words >> @splat(6) | words >> @splat(12) | words >> @splat(18);
        target[column / 4 ..][0 .. width / 4].* = @as(@Vector(width / 4, u8), @truncate(folded));
    }
    while (column < source.len) : (column += 1) {
        if (column % 4 == 0) target[column / 4] = 0;
        const code = codesOf(T, 1, .{source[column]}) orelse return column;
        target[column / 4] |= code[0] << @intCast(column % 4 * 2);
    }
    return null;
}

/// The codes of a vector of trits, or null where one is not a trit.
inline fn codesOf(comptime T: type, comptime width: usize, values: @Vector(width, T)) ?@Vector(width, u8) {
    const one: @Vector(width, T) = @splat(1);
    const minus_one: @Vector(width, T) = @splat(-1);
    const zero: @Vector(width, T) = @splat(0);
    const plus: @Vector(width, u8) = @intFromBool(values == one);
    const minus: @Vector(width, u8) = @intFromBool(values == minus_one);
    const none: @Vector(width, u8) = @intFromBool(values == zero);
    if (@reduce(.And, plus | minus | none) == 0) return null;
    return plus | minus << @splat(1);
}

/// Trits of packed rows. Returns the index of the first code 11.
pub fn unpack(bytes: []const u8, shape: Shape, trits: []i8) ?usize {
    for (0..shape.rows) |row| {
        const source = bytes[row * shape.rowBytes() ..][0..shape.rowBytes()];
        const target = trits[row * shape.columns ..][0..shape.columns];
        if (unpackRow(source, target)) |column| return row * shape.columns + column;
    }
    return null;
}

fn unpackRow(source: []const u8, target: []i8) ?usize {
    var bad: u8 = 0;
    for (source[0 .. target.len / 4], 0..) |byte, index| {
        bad |= byte & byte >> 1;
        target[index * 4 ..][0..4].* = quads[byte];
    }
    if (bad & 0x55 == 0 and target.len % 4 == 0) return null;
    return unpackCarefully(source, target);
}

/// The last bytes of a row, and rows that hold a code 11.
fn unpackCarefully(source: []const u8, target: []i8) ?usize {
    for (source, 0..) |byte, index| {
        const left = @min(4, target.len - index * 4);
        if (byte & byte >> 1 & 0x55 & mask(left) != 0) {
            for (0..left) |i| if (byte >> @intCast(2 * i) & 3 == 3) return index * 4 + i;
        }
        const four = quads[byte];
        if (left == 4) {
            target[index * 4 ..][0..4].* = four;
        } else {
            for (0..left) |i| target[index * 4 + i] = four[i];
        }
    }
    return null;
}

/// The bits of a byte's first `count` codes.
fn mask(count: usize) u8 {
    return @truncate((@as(u16, 1) << @intCast(2 * count)) - 1);
}

/// The four trits of every byte; 11 stands as 0 and is caught before.
const quads: [256][4]i8 = blk: {
    @setEvalBranchQuota(10_000);
    var table: [256][4]i8 = undefined;
    for (&table, 0..) |*four, byte| {
        for (four, 0..) |*trit, i| trit.* = ([4]i8{ 0, 1, -1, 0 })[byte >> @intCast(2 * i) & 3];
    }
    break :blk table;
};
