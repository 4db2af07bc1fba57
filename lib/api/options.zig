//! Reading an options buffer field by field. Numbers come as f64, so every count up to 2^53 is exact
//! and nothing has to be trusted: each field is checked as it is taken.

const std = @import("std");
const abi = @import("../abi.zig");
const quantization = @import("../cpu/quantization.zig");

pub const Fields = struct {
    values: []const f64,
    next: usize = 0,

    pub fn init(values: []const f64) Fields {
        return .{ .values = values };
    }

    pub fn number(self: *Fields, name: []const u8) abi.Failure!f64 {
        if (self.next >= self.values.len) return abi.fail(
            error.InvalidLength,
            "Expected {s} as field {d} of the options, got {d} fields",
            .{ name, self.next, self.values.len },
        );
        const value = self.values[self.next];
        self.next += 1;
        if (!std.math.isFinite(value)) return abi.fail(error.InvalidOption, "Expected {s} to be finite, got {d}", .{ name, value });
        return value;
    }

    /// A whole number between the bounds.
    pub fn count(self: *Fields, name: []const u8, least: u32, most: u32) abi.Failure!u32 {
        return @intCast(try self.size(name, least, most));
    }

    pub fn size(self: *Fields, name: []const u8, least: u64, most: u64) abi.Failure!u64 {
        const value = try self.number(name);
        // 2^53 bounds what an f64 counts exactly.
        if (value < 0 or value > 0x1p53 or value != @floor(value)) return abi.fail(
            error.InvalidOption,
            "Expected {s} to be a whole number from {d} to {d}, got {d}",
            .{ name, least, most, value },
        );
        const whole: u64 = @intFromFloat(value);
        if (whole < least or whole > most) return abi.fail(
            error.InvalidOption,
            "Expected {s} to be a whole number from {d} to {d}, got {d}",
            .{ name, least, most, whole },
        );
        return whole;
    }
};

pub fn expectLength(name: []const u8, length: u64, expected: u64) abi.Failure!void {
    if (length != expected)
        return abi.fail(error.InvalidLength, "Expected {s} to hold {d} elements, got {d}", .{ name, expected, length });
}

/// How a matrix of weights is quantised.
pub const Quantize = struct {
    rows: u32,
    columns: u32,
    options: quantization.Options,

    /// [rows, cols, group size (0 = whole rows), method, 1 for least-squares scales, argument]
    pub fn read(values: []const f64) abi.Failure!Quantize {
        var fields: Fields = .init(values);
        const rows = try fields.count("rows", 1, std.math.maxInt(u32));
        const columns = try fields.count("cols", 1, std.math.maxInt(u32));
        const group = try fields.count("the group size", 0, columns);
        const method: quantization.Method = @fromBackingInt(@intCast(try fields.count("the method", 0, 5)));
        const least_squares = try fields.count("the scale mode", 0, 1);
        const argument = try fields.number("the argument");
        const group_columns = if (group == 0) columns else group;
        if (columns % group_columns != 0) return abi.fail(
            error.InvalidShape,
            "Expected a group size that divides {d} columns, got {d}",
            .{ columns, group_columns },
        );
        if (method == .percentile and (argument < 0 or argument > 100))
            return abi.fail(error.InvalidOption, "Expected a percentile from 0 to 100, got {d}", .{argument});
        if (method == .manual and argument < 0)
            return abi.fail(error.InvalidOption, "Expected a threshold of at least 0, got {d}", .{argument});
        return .{ .rows = rows, .columns = columns, .options = .{
            .group_columns = group_columns,
            .method = method,
            .least_squares = least_squares == 1,
            .argument = argument,
        } };
    }

    pub fn size(self: Quantize) u64 {
        return @as(u64, self.rows) * self.columns;
    }
};
