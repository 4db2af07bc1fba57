//! NCCL, found at run time: what the GPUs of several processes do together.
//!
//! The communicator is a nonblocking one (NCCL 2.14 and later): every call comes back at once and is
//! polled until its time is over, and then given up with ncclCommAbort, which also ends kernels that
//! wait on the device. The work itself is put into a stream beside those of the threads: after what the
//! device was asked for before, and while it does what it is asked for later with other tensors.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("../cuda/backend.zig");
const Deadline = @import("deadline.zig").Deadline;
const driver = @import("../cuda/driver.zig");
const library = @import("library.zig");
const mpi = @import("mpi.zig");
const sync = @import("../sync.zig");

const Comm = *opaque {};

const Result = enum(c_int) { success = 0, in_progress = 7, _ };

pub const id_bytes = 128;

/// Passed by value.
const UniqueId = extern struct { bytes: [id_bytes]u8 };

/// The beginning of ncclConfig_t, as it was in NCCL 2.14; `size` says where it ends.
const Config = extern struct {
    size: usize = @sizeOf(Config),
    magic: c_uint = 0xcafebeef,
    version: c_uint = 21400,
    blocking: c_int = 0,
};

const Table = struct {
    ncclGetUniqueId: *const fn (*UniqueId) callconv(.c) Result,
    ncclCommInitRankConfig: *const fn (*?Comm, c_int, UniqueId, c_int, *const Config) callconv(.c) Result,
    ncclCommFinalize: *const fn (Comm) callconv(.c) Result,
    ncclCommDestroy: *const fn (Comm) callconv(.c) Result,
    ncclCommAbort: *const fn (Comm) callconv(.c) Result,
    ncclCommGetAsyncError: *const fn (Comm, *Result) callconv(.c) Result,
    ncclGetErrorString: *const fn (Result) callconv(.c) [*:0]const u8,
    ncclAllReduce: *const fn (driver.Pointer, driver.Pointer, usize, c_int, c_int, Comm, driver.Stream) callconv(.c) Result,
    ncclBroadcast: *const fn (driver.Pointer, driver.Pointer, usize, c_int, c_int, Comm, driver.Stream) callconv(.c) Result,
    ncclAllGather: *const fn (driver.Pointer, driver.Pointer, usize, c_int, Comm, driver.Stream) callconv(.c) Result,
    ncclReduceScatter: *const fn (driver.Pointer, driver.Pointer, usize, c_int, c_int, Comm, driver.Stream) callconv(.c) Result,
};

/// What is added up, with NCCL's numbers for it.
pub const Element = enum(u32) {
    u8 = 0,
    i32 = 1,
    f32 = 2,
    f64 = 3,
    bf16 = 4,

    fn size(self: Element) u64 {
        return switch (self) {
            .u8 => 1,
            .bf16 => 2,
            .i32, .f32 => 4,
            .f64 => 8,
        };
    }

    fn number(self: Element) c_int {
        return switch (self) {
            .u8 => 1,
            .i32 => 2,
            .f32 => 7,
            .f64 => 8,
            .bf16 => 9,
        };
    }
};

pub const Operation = enum(u32) {
    sum = 0,
    max = 1,
    min = 2,
    mean = 3,

    fn number(self: Operation) c_int {
        return switch (self) {
            .sum => 0,
            .max => 2,
            .min => 3,
            .mean => 4,
        };
    }
};

const files = [_][*:0]const u8{ "libnccl.so.2", "libnccl.so" };

var lock: sync.Mutex = .{};
var table: ?Table = null;

extern "c" fn setenv(name: [*:0]const u8, value: [*:0]const u8, overwrite: c_int) c_int;

/// The library of a path, or for an empty one where the system finds it; it is opened once.
fn find(path: []const u8) abi.Failure!*const Table {
    lock.lock();
    defer lock.unlock();
    if (table) |*known| return known;
    const found = if (path.len > 0) try mpi.openNamed(path) else blk: {
        for (files) |file| if (library.open(file)) |opened| break :blk opened;
        return abi.fail(error.LibraryUnavailable, "Expected NCCL (libnccl.so.2), found none: install it, or name it by the option library or the variable TRITTER_NCCL_LIBRARY", .{});
    };
    var filled: Table = undefined;
    if (library.fill(found, &filled)) |missing|
        return abi.fail(error.LibraryUnavailable, "NCCL must be 2.14 or later, it has no {s}", .{missing});
    table = filled;
    return &table.?;
}

/// What every rank needs to find the others: made by one of them, or by each from an address
/// `host:port` at which rank 0 will listen.
pub fn uniqueId(path: []const u8, address: []const u8, id: *[id_bytes]u8) abi.Failure!void {
    var buffer: [256]u8 = undefined;
    if (address.len > 0) {
        const text = std.fmt.bufPrintSentinel(&buffer, "{s}", .{address}, 0) catch
            return abi.fail(error.InvalidOption, "Expected an address of at most {d} bytes, got {d}", .{ buffer.len - 1, address.len });
        if (library.supported) _ = setenv("NCCL_COMM_ID", text.ptr, 1);
    }
    const functions = try find(path);
    var made: UniqueId = undefined;
    const result = functions.ncclGetUniqueId(&made);
    if (result != .success)
        return abi.fail(error.Io, "NCCL could not make an id: {s}", .{std.mem.span(functions.ncclGetErrorString(result))});
    id.* = made.bytes;
}

/// The GPUs of all ranks.
pub const Group = struct {
    functions: *const Table,
    device: *backend.Device,
    comm: ?Comm,
    rank: u32,
    size: u32,
    timeout: f64,
    done: driver.Event,
    operations: u64 = 0,

    pub fn create(path: []const u8, index: u32, rank: u32, size: u32, id: *const [id_bytes]u8, timeout: f64) abi.Failure!*Group {
        if (size < 1 or rank >= size) return abi.fail(error.InvalidValue, "Expected a rank below {d}, got {d}", .{ size, rank });
        const functions = try find(path);
        const device = try backend.open(index);
        _ = try device.stream();
        const self = try std.heap.c_allocator.create(Group);
        errdefer std.heap.c_allocator.destroy(self);
        self.* = .{ .functions = functions, .device = device, .comm = null, .rank = rank, .size = size, .timeout = timeout, .done = undefined };
        try device.check(device.driver.cuEventCreate(&self.done, driver.event_disable_timing), "create an event");
        errdefer _ = device.driver.cuEventDestroy_v2(self.done);
        const result = functions.ncclCommInitRankConfig(&self.comm, @intCast(size), .{ .bytes = id.* }, @intCast(rank), &.{});
        try self.settle(result, "meeting");
        return self;
    }

    pub fn destroy(self: *Group) void {
        _ = self.device.driver.cuCtxSetCurrent(self.device.context);
        if (self.comm) |comm| _ = self.functions.ncclCommAbort(comm);
        _ = self.device.driver.cuEventDestroy_v2(self.done);
        std.heap.c_allocator.destroy(self);
    }

    /// Leaves the group in peace, when everything asked for is done.
    pub fn finish(self: *Group) abi.Failure!void {
        try self.wait();
        const comm = try self.begin();
        try self.settle(self.functions.ncclCommFinalize(comm), "end");
        self.comm = null;
        _ = self.functions.ncclCommDestroy(comm);
    }

    pub fn allReduce(self: *Group, data: *backend.Buffer, element: Element, operation: Operation) abi.Failure!void {
        const comm = try self.begin();
        const count = try countOf(data, element);
        const stream = try self.device.sideStream();
        const pointer = try self.use(data, stream);
        const result = self.functions.ncclAllReduce(pointer, pointer, count, element.number(), operation.number(), comm, stream.handle);
        return self.settle(result, "all-reduce");
    }

    pub fn broadcast(self: *Group, data: *backend.Buffer, root: u32) abi.Failure!void {
        if (root >= self.size) return abi.fail(error.InvalidValue, "Expected a root below {d}, got {d}", .{ self.size, root });
        const comm = try self.begin();
        const stream = try self.device.sideStream();
        const pointer = try self.use(data, stream);
        const result = self.functions.ncclBroadcast(pointer, pointer, data.bytes, Element.u8.number(), @intCast(root), comm, stream.handle);
        return self.settle(result, "broadcast");
    }

    pub fn allGather(self: *Group, data: *backend.Buffer, out: *backend.Buffer) abi.Failure!void {
        try self.expectAll(out, data);
        const comm = try self.begin();
        const stream = try self.device.sideStream();
        const from = try self.use(data, stream);
        const to = try self.use(out, stream);
        const result = self.functions.ncclAllGather(from, to, data.bytes, Element.u8.number(), comm, stream.handle);
        return self.settle(result, "all-gather");
    }

    pub fn reduceScatter(self: *Group, data: *backend.Buffer, out: *backend.Buffer, element: Element, operation: Operation) abi.Failure!void {
        try self.expectAll(data, out);
        const comm = try self.begin();
        const count = try countOf(out, element);
        const stream = try self.device.sideStream();
        const from = try self.use(data, stream);
        const to = try self.use(out, stream);
        const result = self.functions.ncclReduceScatter(from, to, count, element.number(), operation.number(), comm, stream.handle);
        return self.settle(result, "reduce-scatter");
    }

    /// Waits until the device has done what the calling thread has asked for.
    pub fn wait(self: *Group) abi.Failure!void {
        const comm = try self.begin();
        const cuda = self.device.driver;
        const own = try self.device.stream();
        const stream = try self.device.sideStream();
        try stream.waitFor(own);
        try self.device.check(cuda.cuEventRecord(self.done, stream.handle), "record an event");
        var deadline: Deadline = .start(self.timeout);
        while (true) {
            const state = cuda.cuEventQuery(self.done);
            if (state != .not_ready) return self.device.check(state, "finish its work");
            var trouble: Result = .success;
            _ = self.functions.ncclCommGetAsyncError(comm, &trouble);
            if (trouble != .success and trouble != .in_progress) return self.failed(trouble, "work");
            if (!deadline.rest()) return self.late("work");
        }
    }

    fn begin(self: *Group) abi.Failure!Comm {
        self.operations += 1;
        return self.comm orelse
            abi.fail(error.Io, "This communicator has failed before: the other ranks may be anywhere, start all of them again", .{});
    }

    fn use(self: *Group, buffer: *backend.Buffer, stream: *backend.Stream) abi.Failure!driver.Pointer {
        if (buffer.device != self.device)
            return abi.fail(error.InvalidValue, "Expected a tensor on cuda:{d}, got one on cuda:{d}", .{ self.device.index, buffer.device.index });
        return buffer.use(stream);
    }

    /// Waits until NCCL has taken a call in.
    fn settle(self: *Group, first: Result, what: []const u8) abi.Failure!void {
        var result = first;
        var deadline: Deadline = .start(self.timeout);
        while (result == .in_progress) {
            const comm = self.comm orelse break;
            const asked = self.functions.ncclCommGetAsyncError(comm, &result);
            if (asked != .success) result = asked;
            if (result == .in_progress and !deadline.rest()) return self.late(what);
        }
        if (result != .success) return self.failed(result, what);
    }

    fn giveUp(self: *Group) void {
        if (self.comm) |comm| _ = self.functions.ncclCommAbort(comm);
        self.comm = null;
    }

    fn failed(self: *Group, result: Result, what: []const u8) abi.Failure {
        self.giveUp();
        const meaning = std.mem.span(self.functions.ncclGetErrorString(result));
        return abi.fail(error.Io, "The {s} (operation {d}) of rank {d} failed: {s}", .{ what, self.operations, self.rank, meaning });
    }

    fn late(self: *Group, what: []const u8) abi.Failure {
        self.giveUp();
        return abi.fail(
            error.Timeout,
            "Expected the {s} (operation {d}) of rank {d} to end within {d} s: one of the {d} ranks has died, hangs, or does something else",
            .{ what, self.operations, self.rank, self.timeout, self.size },
        );
    }

    fn expectAll(self: *const Group, all: *const backend.Buffer, one: *const backend.Buffer) abi.Failure!void {
        if (all.bytes != one.bytes * self.size)
            return abi.fail(error.InvalidLength, "Expected {d} bytes for {d} ranks with {d} each, got {d}", .{ one.bytes * self.size, self.size, one.bytes, all.bytes });
    }
};

fn countOf(buffer: *const backend.Buffer, element: Element) abi.Failure!usize {
    if (buffer.bytes % element.size() != 0)
        return abi.fail(error.InvalidLength, "Expected a multiple of {d} bytes, got {d}", .{ element.size(), buffer.bytes });
    return @intCast(buffer.bytes / element.size());
}
