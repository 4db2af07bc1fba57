//! The buffers that every codec of gradients takes.

const abi = @import("../abi.zig");

const Encoding = struct { []const f32, []u8 };
const Decoding = struct { []const u8, []f32 };

/// The buffers of a call that compresses: at least one gradient, and memory that is apart.
pub fn encoding(gradients: ?[*]const f32, gradients_length: u32, payload: ?[*]u8, payload_length: u32) abi.Failure!Encoding {
    const source = try abi.readable(f32, gradients, gradients_length, "the gradients");
    const target = try abi.writable(u8, payload, payload_length, "the payload");
    try expectApart(source, target);
    return .{ source, target };
}

/// Those of one that decompresses.
pub fn decoding(payload: ?[*]const u8, payload_length: u32, gradients: ?[*]f32, gradients_length: u32) abi.Failure!Decoding {
    const source = try abi.readable(u8, payload, payload_length, "the payload");
    const target = try abi.writable(f32, gradients, gradients_length, "the gradients");
    try expectApart(target, source);
    return .{ source, target };
}

fn expectApart(gradients: anytype, payload: anytype) abi.Failure!void {
    if (gradients.len == 0) return abi.fail(error.InvalidLength, "Expected at least one gradient, got none", .{});
    if (abi.overlap(gradients, payload))
        return abi.fail(error.InvalidValue, "Expected the payload in memory of its own, got some that overlaps the gradients", .{});
}
