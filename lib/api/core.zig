//! What the library is, what it runs on, and what went wrong last.

const std = @import("std");
const builtin = @import("builtin");
const abi = @import("../abi.zig");
const api = @import("../api.zig");
const cores = @import("../cpu/cores.zig");
const dispatch = @import("../cpu/dispatch.zig");
const handles = @import("../handles.zig");
const memory = @import("../memory.zig");
const pin = @import("../pin.zig").pin;
const threads = @import("../cpu/threads.zig");

/// The fingerprint of the exported functions; the bridge compares it with its own. As the first call
/// of every load it also makes the library stay in the process (see pin.zig).
pub fn abi_fingerprint(fingerprint: ?[*]u64, fingerprint_length: u32) callconv(.c) i32 {
    pin();
    return abi.finish(putOne(u64, fingerprint, fingerprint_length, api.fingerprint));
}

/// A JSON object that describes the library and the machine; `length` receives its size in bytes.
pub fn info(text: ?[*]u8, text_length: u32, length: ?[*]u32, length_length: u32) callconv(.c) i32 {
    return abi.finish(writeInfo(text, text_length, length, length_length));
}

/// The message of the calling thread's last failure.
pub fn last_error(text: ?[*]u8, text_length: u32, length: ?[*]u32, length_length: u32) callconv(.c) i32 {
    return abi.finish(putText(abi.lastMessage(), text, text_length, length, length_length));
}

/// Threads that later calls use, 1 to 255.
pub fn set_threads(count: u32) callconv(.c) i32 {
    return abi.finish(threads.setThreads(count));
}

pub fn get_threads(count: ?[*]u32, count_length: u32) callconv(.c) i32 {
    return abi.finish(putOne(u32, count, count_length, threads.getThreads()));
}

/// Switches the whole process to a tier by its name in `info`.
pub fn set_isa(name: ?[*]const u8, name_length: u32) callconv(.c) i32 {
    return abi.finish(setIsa(name, name_length));
}

/// Frees any handle; the object goes when no call uses it any more.
pub fn free(handle: u64) callconv(.c) i32 {
    return abi.finish(handles.free(handle));
}

/// XXH64 with seed 0 (xxHash 0.8): what everything that is saved ends in.
pub fn checksum(bytes: ?[*]const u8, bytes_length: u32, sum: ?[*]u64, sum_length: u32) callconv(.c) i32 {
    return abi.finish(writeChecksum(bytes, bytes_length, sum, sum_length));
}

fn writeChecksum(bytes: ?[*]const u8, bytes_length: u32, sum: ?[*]u64, sum_length: u32) abi.Failure!void {
    const source = try abi.readable(u8, bytes, bytes_length, "the bytes");
    return putOne(u64, sum, sum_length, std.hash.XxHash64.hash(0, source));
}

fn setIsa(name: ?[*]const u8, name_length: u32) abi.Failure!void {
    return dispatch.force(try abi.readable(u8, name, name_length, "name"));
}

fn putOne(comptime T: type, pointer: ?[*]T, length: u32, value: T) abi.Failure!void {
    const target = try abi.writable(T, pointer, length, "the result");
    if (target.len < 1) return abi.fail(error.InvalidLength, "Expected room for one element, got none", .{});
    target[0] = value;
}

/// Copies as much as fits; the length tells how much there is.
fn putText(source: []const u8, text: ?[*]u8, text_length: u32, length: ?[*]u32, length_length: u32) abi.Failure!void {
    const target = try abi.writable(u8, text, text_length, "text");
    const count = @min(source.len, target.len);
    @memcpy(target[0..count], source[0..count]);
    try putOne(u32, length, length_length, @intCast(source.len));
}

fn writeInfo(text: ?[*]u8, text_length: u32, length: ?[*]u32, length_length: u32) abi.Failure!void {
    const tier = try dispatch.active();
    var buffer: [1024]u8 = undefined;
    var names: [128]u8 = undefined;
    const json = std.fmt.bufPrint(&buffer,
        \\{{"version":"{s}","abi":"{x:0>16}","isa":"{s}","isas":[{s}],"threads":{d},"cores":{d},"os":"{t}","arch":"{t}","handles":{d},"allocatedBytes":{d}}}
    , .{
        abi.version,
        api.fingerprint,
        tier.name,
        supportedNames(&names),
        threads.getThreads(),
        cores.physicalCount(),
        builtin.os.tag,
        builtin.cpu.arch,
        handles.liveCount(),
        memory.allocatedBytes(),
    }) catch return abi.fail(error.Internal, "Expected the description to fit its buffer", .{});
    return putText(json, text, text_length, length, length_length);
}

fn supportedNames(buffer: []u8) []const u8 {
    var used: usize = 0;
    for (dispatch.tiers) |tier| {
        if (!tier.isSupported()) continue;
        const separator = if (used == 0) "" else ",";
        const piece = std.fmt.bufPrint(buffer[used..], "{s}\"{s}\"", .{ separator, tier.name }) catch break;
        used += piece.len;
    }
    return buffer[0..used];
}
