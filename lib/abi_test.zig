const std = @import("std");
const testing = std.testing;
const abi = @import("abi.zig");
const api = @import("api.zig");
const handles = @import("handles.zig");
const core = @import("api/core.zig");

var destroyed: u32 = 0;

fn countDestroy(_: *anyopaque) void {
    destroyed += 1;
}

test "a freed handle is refused, and its slot gets another generation" {
    var object: u32 = 7;
    const first = try handles.create(.weights, &object, countDestroy);
    try testing.expectEqual(&object, try handles.acquire(u32, .weights, first));
    try testing.expectError(error.Disposed, handles.acquire(u32, .cache, first));
    destroyed = 0;
    try handles.free(first);
    try testing.expectEqual(0, destroyed);
    try testing.expectError(error.Disposed, handles.acquire(u32, .weights, first));
    handles.release(first);
    try testing.expectEqual(1, destroyed);
    try testing.expectError(error.Disposed, handles.free(first));
    const second = try handles.create(.weights, &object, countDestroy);
    try testing.expect(second != first);
    try testing.expectError(error.Disposed, handles.acquire(u32, .weights, first));
    try handles.free(second);
}

test "invented handles are refused" {
    for ([_]u64{ 0, 1, 1 << 32, std.math.maxInt(u64), 0xdead_beef }) |handle| {
        try testing.expectError(error.Disposed, handles.free(handle));
    }
}

test "a status comes with a message" {
    try testing.expectEqual(@backingInt(abi.Status.invalid_option), core.set_threads(0));
    try testing.expect(std.mem.indexOf(u8, abi.lastMessage(), "got 0") != null);
    var text: [16]u8 = undefined;
    var length: [1]u32 = undefined;
    try testing.expectEqual(0, core.last_error(&text, text.len, &length, 1));
    try testing.expect(length[0] > text.len);
    try testing.expectEqualStrings("Expected a threa", &text);
}

test "the fingerprint tells the declarations" {
    var fingerprint: [1]u64 = undefined;
    try testing.expectEqual(0, core.abi_fingerprint(&fingerprint, 1));
    try testing.expectEqual(api.fingerprint, fingerprint[0]);
    try testing.expectEqual(@backingInt(abi.Status.invalid_length), core.abi_fingerprint(null, 0));
    try testing.expectEqual(@backingInt(abi.Status.invalid_length), core.abi_fingerprint(null, 1));
}
