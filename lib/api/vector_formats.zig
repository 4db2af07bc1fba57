//! Exports that take hypervectors to and from other formats, and their trits to other places; formats
//! are described in cpu/vsa_formats.zig. Buffers hold whole rows, from row `row` on.

const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const places_of = @import("../cpu/vsa_places.zig");
const std = @import("std");
const table = @import("../cpu/vsa_table.zig");
const vector_handles = @import("vector_handles.zig");
const Vectors = @import("../cpu/vsa_vectors.zig").Vectors;

const acquire = vector_handles.acquire;

/// Reads rows as the wire format: 2 bits a trit, each row padded to whole bytes.
pub fn vectors_read_wire(handle: u64, row: u32, bytes: ?[*]u8, bytes_length: u32) callconv(.c) i32 {
    return abi.finish(read(.wire, handle, row, bytes, bytes_length));
}

/// Writes rows of the wire format. What they hold is undefined if a code is 11.
pub fn vectors_write_wire(handle: u64, row: u32, bytes: ?[*]const u8, bytes_length: u32) callconv(.c) i32 {
    return abi.finish(write(.wire, handle, row, bytes, bytes_length));
}

/// Reads rows with 5 trits a byte, each row padded to whole bytes.
pub fn vectors_read_base3(handle: u64, row: u32, bytes: ?[*]u8, bytes_length: u32) callconv(.c) i32 {
    return abi.finish(read(.base3, handle, row, bytes, bytes_length));
}

/// Writes rows with 5 trits a byte. What they hold is undefined if a byte is above 242 or a trit after
/// the last is not 0.
pub fn vectors_write_base3(handle: u64, row: u32, bytes: ?[*]const u8, bytes_length: u32) callconv(.c) i32 {
    return abi.finish(write(.base3, handle, row, bytes, bytes_length));
}

/// Reads rows as two planes of whole bytes.
pub fn vectors_read_planes(handle: u64, row: u32, bytes: ?[*]u8, bytes_length: u32) callconv(.c) i32 {
    return abi.finish(read(.planes, handle, row, bytes, bytes_length));
}

/// Writes rows of two planes of whole bytes. What they hold is undefined if a bit after the last or a
/// negative zero is set.
pub fn vectors_write_planes(handle: u64, row: u32, bytes: ?[*]const u8, bytes_length: u32) callconv(.c) i32 {
    return abi.finish(write(.planes, handle, row, bytes, bytes_length));
}

/// Writes the signs of values whose magnitude is above `threshold`, 0 for the others. What the rows
/// hold is undefined if a value is NaN.
pub fn vectors_write_f32(handle: u64, row: u32, values: ?[*]const f32, values_length: u32, threshold: f64) callconv(.c) i32 {
    return abi.finish(writeFloats(handle, row, values, values_length, threshold));
}

/// trit = that of one place of a row.
pub fn vectors_get(handle: u64, row: u32, place: u32, trit: ?[*]i8, trit_length: u32) callconv(.c) i32 {
    return abi.finish(get(handle, row, place, trit, trit_length));
}

/// out[(i + shift) mod dim] = a[i] in every row, for a shift below dim; `out` may be `a`.
pub fn vectors_rotate(a: u64, out: u64, shift: u32) callconv(.c) i32 {
    return abi.finish(rotate(a, out, shift));
}

/// out[i] = a[places[i]] in every row; `out` may be `a`.
pub fn vectors_gather(a: u64, out: u64, places: ?[*]const u32, places_length: u32) callconv(.c) i32 {
    return abi.finish(gather(a, out, places, places_length));
}

/// Copies `count` trits of every row from place `from` of `a` to place `to` of `out`, another object.
pub fn vectors_move(a: u64, from: u32, out: u64, to: u32, count: u32) callconv(.c) i32 {
    return abi.finish(move(a, from, out, to, count));
}

/// Keeps each nonzero trit with probability below / 2^32; `out` may be `a`.
pub fn vectors_thin(a: u64, out: u64, seed: u64, below: u32) callconv(.c) i32 {
    return abi.finish(thin(a, out, seed, below));
}

/// A random permutation of 0, 1, ...; the mapping stands in cpu/vsa_places.zig.
pub fn permutation_random(seed: u64, places: ?[*]u32, places_length: u32) callconv(.c) i32 {
    return abi.finish(randomPermutation(seed, places, places_length));
}

/// inverse[places[i]] = i; refuses what is no permutation of 0, 1, ...
pub fn permutation_invert(places: ?[*]const u32, places_length: u32, inverse: ?[*]u32, inverse_length: u32) callconv(.c) i32 {
    return abi.finish(invert(places, places_length, inverse, inverse_length));
}

/// A format that takes a threshold.
const Floats = struct {
    length: usize,
    above: f32,
    kernel: @FieldType(table.Formats, "from_f32"),

    pub fn read(self: Floats, values: [*]const f32, dim: usize, out: table.Target, words: usize) u32 {
        return self.kernel(values, dim, self.above, out, words);
    }
};

const Name = enum { wire, base3, planes };

/// How a format reads and writes a row of `length` bytes.
const Format = struct {
    length: usize,
    from: @FieldType(table.Formats, "from_wire"),
    to: @FieldType(table.Formats, "to_wire"),

    pub fn read(self: Format, bytes: [*]const u8, dim: usize, out: table.Target, words: usize) u32 {
        return self.from(bytes, dim, out, words);
    }
};

fn formatOf(name: Name, kernels: *const table.Formats, dim: usize) Format {
    return switch (name) {
        .wire => .{ .length = (dim + 3) / 4, .from = kernels.from_wire, .to = kernels.to_wire },
        .base3 => .{ .length = (dim + 4) / 5, .from = kernels.from_base3, .to = kernels.to_base3 },
        .planes => .{ .length = (dim + 7) / 8 * 2, .from = kernels.from_planes, .to = kernels.to_planes },
    };
}

/// Whole rows of a buffer, which exist from `row` on.
fn expectRows(vectors: *const Vectors, row: u32, length: usize, row_length: usize) abi.Failure!void {
    if (length % row_length != 0) return abi.fail(
        error.InvalidLength,
        "Expected rows of {d} elements, got {d} elements",
        .{ row_length, length },
    );
    try vectors.expectRows(row, length / row_length);
}

fn read(name: Name, handle: u64, row: u32, bytes: ?[*]u8, bytes_length: u32) abi.Failure!void {
    const target = try abi.writable(u8, bytes, bytes_length, "the bytes");
    const kernels = &(try dispatch.kernels()).vsa;
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    const format = formatOf(name, &kernels.formats, vectors.dim);
    try expectRows(vectors, row, target.len, format.length);
    places_of.writeRows(format.to, format.length, vectors, row, target);
}

fn write(name: Name, handle: u64, row: u32, bytes: ?[*]const u8, bytes_length: u32) abi.Failure!void {
    const source = try abi.readable(u8, bytes, bytes_length, "the bytes");
    const kernels = &(try dispatch.kernels()).vsa;
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    const format = formatOf(name, &kernels.formats, vectors.dim);
    try expectRows(vectors, row, source.len, format.length);
    const bad = places_of.readRows(u8, format, source, vectors, row) orelse return;
    return switch (name) {
        .wire => abi.fail(error.InvalidValue, "Expected packed codes 00, 01 or 10, got 11 in row {d}", .{bad}),
        .base3 => abi.fail(error.InvalidValue, "Expected bytes of at most 242 and zeros after the last trit, got others in row {d}", .{bad}),
        .planes => abi.fail(error.InvalidValue, "Expected planes without negative zeros or bits after the last trit, got some in row {d}", .{bad}),
    };
}

fn writeFloats(handle: u64, row: u32, values: ?[*]const f32, values_length: u32, threshold: f64) abi.Failure!void {
    const source = try abi.readable(f32, values, values_length, "the values");
    if (!std.math.isFinite(threshold) or threshold < 0)
        return abi.fail(error.InvalidOption, "Expected a threshold of at least 0, got {d}", .{threshold});
    const kernels = &(try dispatch.kernels()).vsa;
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    try expectRows(vectors, row, source.len, vectors.dim);
    // A float is above the threshold where it is above the largest float that is not.
    var above: f32 = @floatCast(threshold);
    if (above > threshold) above = std.math.nextAfter(f32, above, 0);
    const bad = places_of.readRows(f32, Floats{ .kernel = kernels.formats.from_f32, .above = above, .length = vectors.dim }, source, vectors, row) orelse return;
    for (source[bad * vectors.dim ..], bad * vectors.dim..) |value, index| if (std.math.isNan(value))
        return abi.fail(error.InvalidValue, "Expected numbers, got NaN at index {d}", .{index});
}

fn get(handle: u64, row: u32, place: u32, trit: ?[*]i8, trit_length: u32) abi.Failure!void {
    const result = try abi.writable(i8, trit, trit_length, "the trit");
    try expectLength("the trit", result.len, 1);
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    try vectors.expectRows(row, 1);
    if (place >= vectors.dim)
        return abi.fail(error.InvalidValue, "Expected a place below {d}, got {d}", .{ vectors.dim, place });
    const planes = vectors.row(row);
    const nonzero: i8 = @intCast(planes[place / 64] >> @intCast(place % 64) & 1);
    const negative: i8 = @intCast(planes[vectors.words + place / 64] >> @intCast(place % 64) & 1);
    result[0] = nonzero - 2 * negative;
}

fn rotate(a: u64, out: u64, shift: u32) abi.Failure!void {
    const kernels = &(try dispatch.kernels()).vsa;
    const operands = [_]u64{ a, out };
    const source, const target = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    try vector_handles.expectSameShape(source, target);
    if (shift >= source.dim)
        return abi.fail(error.InvalidOption, "Expected a shift below {d}, got {d}", .{ source.dim, shift });
    try places_of.rotate(kernels.move, source, target, shift);
}

fn gather(a: u64, out: u64, places: ?[*]const u32, places_length: u32) abi.Failure!void {
    const from = try abi.readable(u32, places, places_length, "the places");
    const kernels = &(try dispatch.kernels()).vsa;
    const operands = [_]u64{ a, out };
    const source, const target = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    try vector_handles.expectSameShape(source, target);
    try expectLength("the places", from.len, source.dim);
    if (!try places_of.gather(kernels, source, target, from))
        return abi.fail(error.InvalidValue, "Expected places below {d}, got a larger one", .{source.dim});
}

fn move(a: u64, from: u32, out: u64, to: u32, count: u32) abi.Failure!void {
    const kernels = &(try dispatch.kernels()).vsa;
    const operands = [_]u64{ a, out };
    const source, const target = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    if (count == 0) return abi.fail(error.InvalidOption, "Expected at least one trit to copy, got none", .{});
    if (source == target) return abi.fail(error.InvalidOption, "Expected two objects, got the same twice", .{});
    if (source.count != target.count)
        return abi.fail(error.InvalidShape, "Expected {d} vectors, got {d}", .{ target.count, source.count });
    for ([_]u64{ from, to }, [_]u32{ source.dim, target.dim }) |first, dim| if (@as(u64, first) + count > dim)
        return abi.fail(error.InvalidShape, "Expected trits {d} to {d} of {d}", .{ first, @as(u64, first) + count, dim });
    places_of.moveRows(kernels.move, source, from, target, to, count);
}

fn thin(a: u64, out: u64, seed: u64, below: u32) abi.Failure!void {
    const kernels = &(try dispatch.kernels()).vsa;
    const operands = [_]u64{ a, out };
    const source, const target = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    try vector_handles.expectSameShape(source, target);
    places_of.thin(kernels, source, target, seed, below);
}

fn randomPermutation(seed: u64, places: ?[*]u32, places_length: u32) abi.Failure!void {
    const target = try abi.writable(u32, places, places_length, "the places");
    if (target.len == 0) return abi.fail(error.InvalidLength, "Expected at least one place, got none", .{});
    places_of.shuffle(target, seed);
}

fn invert(places: ?[*]const u32, places_length: u32, inverse: ?[*]u32, inverse_length: u32) abi.Failure!void {
    const source = try abi.readable(u32, places, places_length, "the places");
    const target = try abi.writable(u32, inverse, inverse_length, "the inverse");
    try expectLength("the inverse", target.len, source.len);
    if (target.len == 0) return abi.fail(error.InvalidLength, "Expected at least one place, got none", .{});
    if (abi.overlap(source, target))
        return abi.fail(error.InvalidValue, "Expected the inverse in memory of its own, got some that overlaps the places", .{});
    const unset = std.math.maxInt(u32);
    @memset(target, unset);
    for (source, 0..) |place, i| {
        if (place >= source.len)
            return abi.fail(error.InvalidValue, "Expected places below {d}, got {d} at index {d}", .{ source.len, place, i });
        if (target[place] != unset)
            return abi.fail(error.InvalidValue, "Expected every place once, got {d} again at index {d}", .{ place, i });
        target[place] = @intCast(i);
    }
}
