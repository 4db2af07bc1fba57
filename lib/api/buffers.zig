//! Buffers whose lengths come as fields of the options, after the numbers and in the order of the
//! arguments, and the check that what is written overlaps nothing else.

const std = @import("std");
const abi = @import("../abi.zig");
const Fields = @import("options.zig").Fields;

pub fn readable(fields: *Fields, comptime T: type, pointer: ?[*]const T, name: []const u8) abi.Failure![]const T {
    return abi.readable(T, pointer, try fields.count(name, 0, std.math.maxInt(u32)), name);
}

pub fn writable(fields: *Fields, comptime T: type, pointer: ?[*]T, name: []const u8) abi.Failure![]T {
    return abi.writable(T, pointer, try fields.count(name, 0, std.math.maxInt(u32)), name);
}

/// `outputs` and `inputs` are tuples of slices.
pub fn expectApart(outputs: anytype, inputs: anytype) abi.Failure!void {
    inline for (outputs, 0..) |output, index| {
        inline for (inputs) |input| if (abi.overlap(output, input)) return refuse();
        inline for (outputs, 0..) |other, place| {
            if (place > index and abi.overlap(output, other)) return refuse();
        }
    }
}

fn refuse() abi.Failure {
    return abi.fail(error.InvalidValue, "Expected outputs in memory of their own, got buffers that overlap", .{});
}

/// Whole rows of `columns` elements; returns how many.
pub fn rowsOf(length: usize, columns: u32, name: []const u8) abi.Failure!usize {
    if (columns == 0 or length % columns != 0) return abi.fail(
        error.InvalidShape,
        "Expected {s} in whole rows of {d} elements, got {d} elements",
        .{ name, columns, length },
    );
    return length / columns;
}
