//! Files mapped into memory, read-only. A mapping costs address space, not memory: pages come in when
//! they are read and go when the system needs them, so a model may be larger than both the largest
//! JavaScript buffer and, nearly, the memory of the machine.
//!
//! A mapping is reference counted, because tensors point into it after its handle is freed. A file
//! that another process shortens while it is mapped faults on access; nothing can be done about it.

const std = @import("std");
const builtin = @import("builtin");
const abi = @import("abi.zig");

pub const File = struct {
    bytes: []align(std.heap.page_size_min) const u8,
    references: std.atomic.Value(u32),
    /// False for memory that stands in for a file: its pages would be lost, not read again.
    is_mapped: bool = true,

    pub fn retain(self: *File) void {
        _ = self.references.fetchAdd(1, .monotonic);
    }

    pub fn release(self: *File) void {
        if (self.references.fetchSub(1, .acq_rel) > 1) return;
        system.unmap(self.bytes);
        std.heap.c_allocator.destroy(self);
    }

    /// The bytes of a range that must lie in the file.
    pub fn range(self: *const File, offset: u64, size: u64) abi.Failure![]const u8 {
        const length: u64 = self.bytes.len;
        if (offset > length or size > length - offset) return abi.fail(
            error.InvalidFormat,
            "Expected a range within the file's {d} bytes, got {d} bytes at offset {d}",
            .{ length, size, offset },
        );
        return self.bytes[@intCast(offset)..][0..@intCast(size)];
    }

    /// Lets the pages of a range leave this process's memory; they come back when they are read.
    pub fn forget(self: *const File, bytes: []const u8) void {
        if (builtin.os.tag != .linux or !self.is_mapped) return;
        const page = std.heap.pageSize();
        const start = std.mem.alignForward(usize, @intFromPtr(bytes.ptr), page);
        const end = std.mem.alignBackward(usize, @intFromPtr(bytes.ptr) + bytes.len, page);
        // Advice only, and nothing that anybody wrote is in these pages.
        if (end > start) _ = std.c.madvise(@ptrFromInt(start), end - start, std.c.MADV.DONTNEED);
    }
};

/// Maps a whole file. The caller holds the first reference.
pub fn map(path: []const u8) abi.Failure!*File {
    if (path.len == 0) return abi.fail(error.Io, "Expected the path of a file, got an empty one", .{});
    if (std.mem.indexOfScalar(u8, path, 0) != null) return abi.fail(error.Io, "Expected a path without zero bytes, got one", .{});
    if (!std.unicode.utf8ValidateSlice(path)) return abi.fail(error.Io, "Expected a path in UTF-8, got other bytes", .{});
    const self = try std.heap.c_allocator.create(File);
    errdefer std.heap.c_allocator.destroy(self);
    self.* = .{ .bytes = try system.map(path), .references = .init(1) };
    return self;
}

/// As much of a path as fits a message, cut between characters.
fn shown(path: []const u8) []const u8 {
    const most = 200;
    if (path.len <= most) return path;
    var cut: usize = most;
    while (cut > 0 and path[cut] & 0xc0 == 0x80) cut -= 1;
    return path[0..cut];
}

fn failEmpty(path: []const u8) abi.Failure {
    return abi.fail(error.InvalidFormat, "Expected a file with content, got an empty one at \"{s}\"", .{shown(path)});
}

const system = if (builtin.os.tag == .windows) windows else posix;

const posix = struct {
    const c = std.c;

    fn map(path: []const u8) abi.Failure![]align(std.heap.page_size_min) const u8 {
        const terminated = try std.heap.c_allocator.dupeSentinel(u8, path, 0);
        defer std.heap.c_allocator.free(terminated);
        // Without blocking: opening a pipe that nobody writes to would wait for ever.
        const descriptor = c.open(terminated.ptr, .{ .ACCMODE = .RDONLY, .NONBLOCK = true, .CLOEXEC = true });
        if (descriptor < 0) return failed("open", path);
        defer _ = c.close(descriptor);

        // Reading a byte tells directories from files without the layout of `stat`.
        var byte: [1]u8 = undefined;
        const read = c.pread(descriptor, &byte, 1, 0);
        if (read < 0) return failed("read", path);
        const end = c.lseek(descriptor, 0, c.SEEK.END);
        if (end < 0) return failed("measure", path);
        if (read == 0 or end == 0) return failEmpty(path);

        const size = std.math.cast(usize, end) orelse return failEmpty(path);
        const pointer = c.mmap(null, size, .{ .READ = true }, .{ .TYPE = .PRIVATE }, descriptor, 0);
        if (pointer == c.MAP_FAILED) return failed("map", path);
        const bytes: [*]align(std.heap.page_size_min) const u8 = @ptrCast(@alignCast(pointer));
        return bytes[0..size];
    }

    fn unmap(bytes: []align(std.heap.page_size_min) const u8) void {
        _ = c.munmap(@ptrCast(bytes.ptr), bytes.len);
    }

    fn failed(action: []const u8, path: []const u8) abi.Failure {
        const number = c.errno(-1);
        const name = std.enums.tagName(c.E, number) orelse "UNKNOWN";
        return abi.fail(error.Io, "Could not {s} the file \"{s}\" (E{s})", .{ action, shown(path), name });
    }
};

const windows = struct {
    const Handle = *anyopaque;
    const invalid: Handle = @ptrFromInt(std.math.maxInt(usize));
    const generic_read = 0x8000_0000;
    /// Others may read, write and delete meanwhile, as on the other systems.
    const share_all = 7;
    const open_existing = 3;
    const attribute_normal = 0x80;
    const page_readonly = 2;
    const map_read = 4;

    extern "kernel32" fn CreateFileW([*:0]const u16, u32, u32, ?*anyopaque, u32, u32, ?Handle) callconv(.winapi) Handle;
    extern "kernel32" fn GetFileSizeEx(Handle, *i64) callconv(.winapi) i32;
    extern "kernel32" fn CreateFileMappingW(Handle, ?*anyopaque, u32, u32, u32, ?[*:0]const u16) callconv(.winapi) ?Handle;
    extern "kernel32" fn MapViewOfFile(Handle, u32, u32, u32, usize) callconv(.winapi) ?*anyopaque;
    extern "kernel32" fn UnmapViewOfFile(*const anyopaque) callconv(.winapi) i32;
    extern "kernel32" fn CloseHandle(Handle) callconv(.winapi) i32;
    extern "kernel32" fn GetLastError() callconv(.winapi) u32;

    fn map(path: []const u8) abi.Failure![]align(std.heap.page_size_min) const u8 {
        const wide = std.unicode.utf8ToUtf16LeAllocZ(std.heap.c_allocator, path) catch return error.OutOfMemory;
        defer std.heap.c_allocator.free(wide);
        const file = CreateFileW(wide.ptr, generic_read, share_all, null, open_existing, attribute_normal, null);
        if (file == invalid) return failed("open", path);
        defer _ = CloseHandle(file);

        var size: i64 = 0;
        if (GetFileSizeEx(file, &size) == 0) return failed("measure", path);
        if (size <= 0) return failEmpty(path);
        const mapping = CreateFileMappingW(file, null, page_readonly, 0, 0, null) orelse return failed("map", path);
        // The view keeps the mapping alive.
        defer _ = CloseHandle(mapping);
        const pointer = MapViewOfFile(mapping, map_read, 0, 0, 0) orelse return failed("map", path);
        const bytes: [*]align(std.heap.page_size_min) const u8 = @ptrCast(@alignCast(pointer));
        return bytes[0..@intCast(size)];
    }

    fn unmap(bytes: []align(std.heap.page_size_min) const u8) void {
        _ = UnmapViewOfFile(bytes.ptr);
    }

    fn failed(action: []const u8, path: []const u8) abi.Failure {
        return abi.fail(error.Io, "Could not {s} the file \"{s}\" (Windows error {d})", .{ action, shown(path), GetLastError() });
    }
};
