//! How many physical cores this process may use.

const std = @import("std");
const builtin = @import("builtin");

pub fn physicalCount() u32 {
    return switch (builtin.os.tag) {
        .linux => linuxCount(),
        .macos => macosCount(),
        else => logicalCount(),
    };
}

fn logicalCount() u32 {
    return @intCast(std.Thread.getCpuCount() catch 1);
}

/// Counts the allowed CPUs that are the first of their core's hardware threads. Where the kernel
/// does not tell, every allowed CPU counts.
fn linuxCount() u32 {
    const set = std.posix.sched_getaffinity(0) catch return logicalCount();
    var count: u32 = 0;
    for (0..@bitSizeOf(@TypeOf(set))) |cpu| {
        if (!isAllowed(&set, cpu)) continue;
        if (firstSibling(cpu)) |first| {
            // A core whose first thread is not allowed is counted by its first allowed one.
            if (first != cpu and isAllowed(&set, first)) continue;
        }
        count += 1;
    }
    return @max(count, 1);
}

fn isAllowed(set: *const std.posix.cpu_set_t, cpu: usize) bool {
    const bits = @bitSizeOf(usize);
    if (cpu / bits >= set.len) return false;
    return (set[cpu / bits] >> @intCast(cpu % bits)) & 1 == 1;
}

fn firstSibling(cpu: usize) ?usize {
    var path_buffer: [96]u8 = undefined;
    const path = std.fmt.bufPrintSentinel(
        &path_buffer,
        "/sys/devices/system/cpu/cpu{d}/topology/thread_siblings_list",
        .{cpu},
        0,
    ) catch return null;
    const file = std.c.open(path, .{ .CLOEXEC = true });
    if (file < 0) return null;
    defer _ = std.c.close(file);
    var text: [64]u8 = undefined;
    const length = std.c.read(file, &text, text.len);
    if (length <= 0) return null;
    var end: usize = 0;
    while (end < @as(usize, @intCast(length)) and std.ascii.isDigit(text[end])) end += 1;
    return std.fmt.parseInt(usize, text[0..end], 10) catch null;
}

/// The performance cores: the efficiency cores of Apple's chips would hold every barrier up.
fn macosCount() u32 {
    for ([_][*:0]const u8{ "hw.perflevel0.physicalcpu", "hw.physicalcpu" }) |name| {
        var value: c_int = 0;
        var size: usize = @sizeOf(c_int);
        if (std.c.sysctlbyname(name, &value, &size, null, 0) == 0 and value > 0) return @intCast(value);
    }
    return logicalCount();
}
