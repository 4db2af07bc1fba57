//! Keeps the library in the process once it has been used.
//!
//! A runtime closes what a JavaScript worker has opened when the worker ends. Unmapping the code that
//! the pool's parked threads will wake up in would crash the process, and joining them at such a
//! moment could wait for a thread that the system has already stopped; so the library stays.

const std = @import("std");
const builtin = @import("builtin");

var pinned: std.atomic.Value(bool) = .init(false);

pub fn pin() void {
    if (pinned.swap(true, .monotonic)) return;
    switch (builtin.os.tag) {
        .linux, .macos => posix.pin(),
        .windows => windows.pin(),
        else => {},
    }
}

const posix = struct {
    const Info = extern struct {
        file_name: ?[*:0]const u8,
        file_base: ?*anyopaque,
        symbol_name: ?[*:0]const u8,
        symbol_address: ?*anyopaque,
    };
    extern "c" fn dladdr(address: *const anyopaque, info: *Info) c_int;
    extern "c" fn dlopen(path: [*:0]const u8, mode: c_int) ?*anyopaque;

    const lazy: c_int = 1;
    const no_load: c_int = if (builtin.os.tag == .macos) 0x10 else 0x4;
    const no_delete: c_int = if (builtin.os.tag == .macos) 0x80 else 0x1000;

    /// Opening it once more, by the name it was loaded under, marks it as not to be unloaded.
    fn pin() void {
        var info: Info = undefined;
        if (dladdr(&pinned, &info) == 0) return;
        _ = dlopen(info.file_name orelse return, lazy | no_load | no_delete);
    }
};

const windows = struct {
    extern "kernel32" fn GetModuleHandleExW(flags: u32, address: ?*const anyopaque, module: *?*anyopaque) callconv(.winapi) c_int;

    const from_address = 4;
    const pin_module = 1;

    fn pin() void {
        var module: ?*anyopaque = null;
        _ = GetModuleHandleExW(from_address | pin_module, &pinned, &module);
    }
};
