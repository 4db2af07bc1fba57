//! Files mapped into memory.

const abi = @import("../abi.zig");
const handles = @import("../handles.zig");
const files = @import("../files.zig");

pub fn file_map(
    path: ?[*]const u8,
    path_length: u32,
    handle: ?[*]u64,
    handle_length: u32,
    size: ?[*]u64,
    size_length: u32,
) callconv(.c) i32 {
    return abi.finish(fileMap(path, path_length, handle, handle_length, size, size_length));
}

pub fn file_read(
    handle: u64,
    offset: u64,
    bytes: ?[*]u8,
    bytes_length: u32,
) callconv(.c) i32 {
    return abi.finish(fileRead(handle, offset, bytes, bytes_length));
}

fn fileMap(
    path_pointer: ?[*]const u8,
    path_length: u32,
    handle_pointer: ?[*]u64,
    handle_length: u32,
    size_pointer: ?[*]u64,
    size_length: u32,
) abi.Failure!void {
    const path = try abi.readable(u8, path_pointer, path_length, "the path");
    const handle = try abi.writable(u64, handle_pointer, handle_length, "the handle");
    const size = try abi.writable(u64, size_pointer, size_length, "the size");
    if (handle.len == 0 or size.len == 0)
        return abi.fail(error.InvalidLength, "Expected room for a handle and a size, got {d} and {d} elements", .{ handle.len, size.len });
    const file = try files.map(path);
    errdefer file.release();
    handle[0] = try handles.create(.file, file, destroy);
    size[0] = file.bytes.len;
}

fn destroy(object: *anyopaque) void {
    const file: *files.File = @ptrCast(@alignCast(object));
    file.release();
}

fn fileRead(handle: u64, offset: u64, pointer: ?[*]u8, length: u32) abi.Failure!void {
    const file = try handles.acquire(files.File, .file, handle);
    defer handles.release(handle);
    const bytes = try abi.writable(u8, pointer, length, "bytes");
    @memcpy(bytes, try file.range(offset, bytes.len));
}
