//! Exports of packing; the format is described in cpu/packing.zig.

const abi = @import("../abi.zig");
const expectLength = @import("options.zig").expectLength;
const dispatch = @import("../cpu/dispatch.zig");
const firstNotFinite = @import("../cpu/finite.zig").firstNotFinite;
const packing = @import("../cpu/packing.zig");

/// Packs int8 trits into the wire format.
pub fn pack_i8(
    ternary: ?[*]const i8,
    ternary_length: u32,
    rows: u32,
    cols: u32,
    packed_bytes: ?[*]u8,
    packed_length: u32,
) callconv(.c) i32 {
    return abi.finish(pack(i8, ternary, ternary_length, rows, cols, packed_bytes, packed_length));
}

/// Packs trits given as f32 into the wire format.
pub fn pack_f32(
    ternary: ?[*]const f32,
    ternary_length: u32,
    rows: u32,
    cols: u32,
    packed_bytes: ?[*]u8,
    packed_length: u32,
) callconv(.c) i32 {
    return abi.finish(pack(f32, ternary, ternary_length, rows, cols, packed_bytes, packed_length));
}

/// Trits of the wire format.
pub fn unpack_i8(
    packed_bytes: ?[*]const u8,
    packed_length: u32,
    rows: u32,
    cols: u32,
    ternary: ?[*]i8,
    ternary_length: u32,
) callconv(.c) i32 {
    return abi.finish(unpackTrits(packed_bytes, packed_length, rows, cols, ternary, ternary_length));
}

/// Weights of the wire format: trit * scale, with one scale for each row or each group of a row.
pub fn unpack_f32(
    packed_bytes: ?[*]const u8,
    packed_length: u32,
    scales: ?[*]const f32,
    scales_length: u32,
    rows: u32,
    cols: u32,
    weights: ?[*]f32,
    weights_length: u32,
) callconv(.c) i32 {
    return abi.finish(unpackWeights(packed_bytes, packed_length, scales, scales_length, rows, cols, weights, weights_length));
}

/// Refuses scales that are not finite, and none at all.
pub fn check_scales(scales: ?[*]const f32, scales_length: u32) callconv(.c) i32 {
    return abi.finish(checkScales(abi.readable(f32, scales, scales_length, "scales")));
}

fn checkScales(result: abi.Failure![]const f32) abi.Failure!void {
    const scales = try result;
    if (scales.len == 0) return abi.fail(error.InvalidLength, "Expected at least one scale, got none", .{});
    if (firstNotFinite(scales)) |index|
        return abi.fail(error.InvalidValue, "Expected finite scales, got {d} at index {d}", .{ scales[index], index });
}

fn pack(
    comptime T: type,
    ternary: ?[*]const T,
    ternary_length: u32,
    rows: u32,
    cols: u32,
    packed_bytes: ?[*]u8,
    packed_length: u32,
) abi.Failure!void {
    const trits = try abi.readable(T, ternary, ternary_length, "ternary");
    const bytes = try abi.writable(u8, packed_bytes, packed_length, "packed");
    const shape: packing.Shape = try .init(rows, cols);
    try expectLength("ternary", trits.len, shape.size());
    try expectLength("packed", bytes.len, shape.packedBytes());
    try expectApart(trits, bytes, "packed");
    if (packing.pack(T, try dispatch.kernels(), trits, shape, bytes)) |index| return abi.fail(
        error.InvalidValue,
        "Expected ternary values -1, 0 or 1, got {d} at index {d}",
        .{ trits[index], index },
    );
}

fn unpackTrits(
    packed_bytes: ?[*]const u8,
    packed_length: u32,
    rows: u32,
    cols: u32,
    ternary: ?[*]i8,
    ternary_length: u32,
) abi.Failure!void {
    const bytes = try abi.readable(u8, packed_bytes, packed_length, "packed");
    const trits = try abi.writable(i8, ternary, ternary_length, "ternary");
    const shape: packing.Shape = try .init(rows, cols);
    try expectLength("packed", bytes.len, shape.packedBytes());
    try expectLength("ternary", trits.len, shape.size());
    try expectApart(bytes, trits, "ternary");
    try rejectBadCode(packing.unpack(try dispatch.kernels(), bytes, shape, trits));
}

fn unpackWeights(
    packed_bytes: ?[*]const u8,
    packed_length: u32,
    scales_pointer: ?[*]const f32,
    scales_length: u32,
    rows: u32,
    cols: u32,
    weights_pointer: ?[*]f32,
    weights_length: u32,
) abi.Failure!void {
    const bytes = try abi.readable(u8, packed_bytes, packed_length, "packed");
    const scales = try abi.readable(f32, scales_pointer, scales_length, "scales");
    const weights = try abi.writable(f32, weights_pointer, weights_length, "weights");
    const shape: packing.Shape = try .init(rows, cols);
    try expectLength("packed", bytes.len, shape.packedBytes());
    try expectLength("weights", weights.len, shape.size());
    if (scales.len == 0 or scales.len % rows != 0 or cols % (scales.len / rows) != 0) return abi.fail(
        error.InvalidLength,
        "Expected one scale a row ({d}) or one a group of equal size, got {d}",
        .{ rows, scales.len },
    );
    try checkScales(scales);
    try expectApart(bytes, weights, "weights");
    try expectApart(scales, weights, "weights");
    try rejectBadCode(packing.unpackScaled(try dispatch.kernels(), bytes, shape, scales, weights));
}

fn expectApart(source: anytype, target: anytype, name: []const u8) abi.Failure!void {
    if (abi.overlap(source, target))
        return abi.fail(error.InvalidValue, "Expected {s} in memory of its own, got some that overlaps the input", .{name});
}

fn rejectBadCode(place: ?usize) abi.Failure!void {
    if (place) |index|
        return abi.fail(error.InvalidValue, "Expected packed codes 00, 01 or 10, got 11 at index {d}", .{index});
}
