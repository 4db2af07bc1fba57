//! Mapping files: what is there, what is not, and ranges at the edges.

const std = @import("std");
const abi = @import("abi.zig");
const files = @import("files.zig");
const expectError = std.testing.expectError;

fn expectMessage(part: []const u8) !void {
    try std.testing.expect(std.mem.indexOf(u8, abi.lastMessage(), part) != null);
}

test "a file is mapped and its ranges are checked" {
    const file = try files.map("/proc/self/exe");
    defer file.release();
    try std.testing.expectEqualStrings("\x7fELF", try file.range(0, 4));
    const size: u64 = file.bytes.len;
    try std.testing.expectEqual(0, (try file.range(size, 0)).len);
    for ([_][2]u64{ .{ size, 1 }, .{ size + 1, 0 }, .{ 1, size }, .{ 8, std.math.maxInt(u64) }, .{ std.math.maxInt(u64), 8 } }) |range| {
        try expectError(error.InvalidFormat, file.range(range[0], range[1]));
    }
    file.retain();
    file.release();
    try std.testing.expectEqual(size, file.bytes.len);
}

test "what is no file with content is an error with its path" {
    // Windows has other names for all of these, and other words for what is wrong with them.
    if (@import("builtin").os.tag == .windows) return error.SkipZigTest;
    try expectError(error.Io, files.map("/no/such/file"));
    try expectMessage("open the file \"/no/such/file\" (ENOENT)");
    try expectError(error.Io, files.map("/"));
    try expectMessage("(EISDIR)");
    try expectError(error.InvalidFormat, files.map("/dev/null"));
    try expectMessage("empty");
}

test "what is no name of a file is an error" {
    try expectError(error.Io, files.map("no-such-folder/no-such-file"));
    try expectMessage("no-such-folder/no-such-file");
    try expectError(error.Io, files.map(""));
    try expectError(error.Io, files.map("/a\x00b"));
    try expectError(error.Io, files.map("/\xff\xfe"));
    var long: [6001]u8 = @splat('/');
    for (0..3000) |i| long[1 + 2 * i ..][0..2].* = "\u{e9}".*;
    try expectError(error.Io, files.map(&long));
    try std.testing.expect(std.unicode.utf8ValidateSlice(abi.lastMessage()));
}
