//! Libraries that others install, found at run time: opened so that their own plugins see them, and
//! kept as a table of functions that is filled by their names.

const std = @import("std");
const builtin = @import("builtin");

pub const Library = *anyopaque;

extern "c" fn dlopen(path: [*:0]const u8, mode: c_int) ?*anyopaque;
extern "c" fn dlsym(library: *anyopaque, name: [*:0]const u8) ?*anyopaque;
extern "c" fn dlerror() ?[*:0]const u8;

const now: c_int = 2;
/// RTLD_GLOBAL: the plugins of Open MPI look the library's symbols up in the process.
const global: c_int = if (builtin.os.tag == .macos) 8 else 0x100;

/// There is neither MPI nor NCCL behind this interface on Windows.
pub const supported = builtin.os.tag != .windows;

pub fn open(path: [*:0]const u8) ?Library {
    if (!supported) return null;
    return dlopen(path, now | global);
}

/// Why the last library could not be opened, as the loader says it.
pub fn openError() []const u8 {
    if (!supported) return "this system has no such library";
    return std.mem.span(dlerror() orelse return "unknown");
}

pub fn symbol(library: Library, name: [*:0]const u8) ?*anyopaque {
    if (!supported) return null;
    return dlsym(library, name);
}

/// Fills the table; returns the name of a function that the library does not have.
pub fn fill(library: Library, table: anytype) ?[]const u8 {
    const Table = @typeInfo(@TypeOf(table)).pointer.child;
    inline for (@typeInfo(Table).@"struct".field_names) |name| {
        const address = symbol(library, name) orelse return name;
        @field(table, name) = @ptrCast(@alignCast(address));
    }
    return null;
}
