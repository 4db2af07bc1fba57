//! What every exported function shares: status codes, the error message of the calling thread, and
//! the checks that turn a foreign pointer and a length into a slice.

const std = @import("std");

pub const version = "0.1.0";

/// Statuses are part of the ABI: `src/native/library.ts` maps them to error codes.
pub const Status = enum(i32) {
    ok = 0,
    invalid_type = -1,
    invalid_shape = -2,
    invalid_length = -3,
    invalid_value = -4,
    invalid_option = -5,
    disposed = -6,
    out_of_memory = -7,
    io = -8,
    invalid_format = -9,
    unsupported = -10,
    device_unavailable = -11,
    cache_full = -12,
    timeout = -13,
    library_unavailable = -14,
    internal = -99,
};

pub const Failure = error{
    InvalidType,
    InvalidShape,
    InvalidLength,
    InvalidValue,
    InvalidOption,
    Disposed,
    OutOfMemory,
    Io,
    InvalidFormat,
    Unsupported,
    DeviceUnavailable,
    CacheFull,
    Timeout,
    LibraryUnavailable,
    Internal,
};

threadlocal var message_buffer: [512]u8 = undefined;
threadlocal var message_length: usize = 0;

/// Records the message of the calling thread and returns the failure, so that a check reads
/// `return abi.fail(error.InvalidShape, "...", .{})`.
pub fn fail(failure: Failure, comptime format: []const u8, arguments: anytype) Failure {
    const text = std.fmt.bufPrint(&message_buffer, format, arguments) catch "";
    message_length = text.len;
    return failure;
}

pub fn lastMessage() []const u8 {
    return message_buffer[0..message_length];
}

/// The status of a shim's result. Out of memory is the one failure that is raised without a message.
pub fn finish(result: Failure!void) i32 {
    result catch |failure| {
        const status: Status = switch (failure) {
            error.InvalidType => .invalid_type,
            error.InvalidShape => .invalid_shape,
            error.InvalidLength => .invalid_length,
            error.InvalidValue => .invalid_value,
            error.InvalidOption => .invalid_option,
            error.Disposed => .disposed,
            error.OutOfMemory => blk: {
                fail(error.OutOfMemory, "Out of memory", .{}) catch {};
                break :blk .out_of_memory;
            },
            error.Io => .io,
            error.InvalidFormat => .invalid_format,
            error.Unsupported => .unsupported,
            error.DeviceUnavailable => .device_unavailable,
            error.CacheFull => .cache_full,
            error.Timeout => .timeout,
            error.LibraryUnavailable => .library_unavailable,
            error.Internal => .internal,
        };
        return @backingInt(status);
    };
    return @backingInt(Status.ok);
}

/// A buffer that is read. Both runtimes may pass null for an empty array, and only for one.
pub fn readable(comptime T: type, pointer: ?[*]const T, length: u64, name: []const u8) Failure![]const T {
    if (length == 0) return &.{};
    const many = pointer orelse return fail(error.InvalidLength, "Expected {s} to hold {d} elements, got no buffer", .{ name, length });
    return many[0..length];
}

/// A buffer that is written.
pub fn writable(comptime T: type, pointer: ?[*]T, length: u64, name: []const u8) Failure![]T {
    if (length == 0) return &.{};
    const many = pointer orelse return fail(error.InvalidLength, "Expected {s} to hold {d} elements, got no buffer", .{ name, length });
    return many[0..length];
}

/// Whether two buffers share memory.
pub fn overlap(a: anytype, b: anytype) bool {
    const a_bytes = std.mem.sliceAsBytes(a);
    const b_bytes = std.mem.sliceAsBytes(b);
    if (a_bytes.len == 0 or b_bytes.len == 0) return false;
    const a_start = @intFromPtr(a_bytes.ptr);
    const b_start = @intFromPtr(b_bytes.ptr);
    return a_start < b_start + b_bytes.len and b_start < a_start + a_bytes.len;
}
