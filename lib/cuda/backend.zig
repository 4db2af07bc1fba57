//! Devices in use: the primary context of each, its kernels, streams and memory.
//!
//! A thread has one stream on a device (of 16, which more threads than that share), and everything it
//! asks for is done there in order. Nothing waits for a device except what hands its results to the
//! host. Memory comes from the device's pool in stream order and goes back to it the same way; an
//! allocation that fails is tried once more after the pool has given back what it keeps.

const std = @import("std");
const abi = @import("../abi.zig");
const attention_kernels = @import("attention_kernels.zig");
const driver = @import("driver.zig");
const kernels = @import("kernels.zig");
const model_kernels = @import("model_kernels.zig");
const sync = @import("../sync.zig");
const vsa = @import("vsa_arguments.zig");

pub const devices_max = 16;
const streams_max = 16;

/// The least compute capability with kernels in the fat binary.
const capability_min = 8;

pub const Device = struct {
    index: u32,
    driver: *const driver.Table,
    context: driver.Context,
    pool: driver.Pool,
    functions: [std.enums.values(kernels.Kernel).len]driver.Function,
    multiprocessors: u32,
    /// Compute capability 9.0, which the kernels with wgmma are compiled for.
    has_wgmma: bool,
    /// Kernels may start before those before them are done.
    has_programmatic_launch: bool,
    /// Stages of vsa_matrix_* that its shared memory holds: 4 or 2.
    matrix_stages: u32 = 2,
    lock: sync.Mutex = .{},
    streams: [streams_max]?*Stream = @splat(null),
    /// Is never run on: graphs are recorded there, so that nothing else gets into them.
    recording: ?*Stream = null,
    recording_lock: sync.Mutex = .{},
    /// For what goes on beside the work of the threads.
    side: ?*Stream = null,

    /// What `record(context, stream)` asks a stream for, as a graph; its kernels only.
    pub fn recordGraph(self: *Device, context: anytype, comptime record: fn (@TypeOf(context), *Stream) abi.Failure!void) abi.Failure!driver.GraphExec {
        self.recording_lock.lock();
        defer self.recording_lock.unlock();
        if (self.recording == null) self.recording = try Stream.create(self, 0);
        const target = self.recording.?;
        try self.check(self.driver.cuStreamBeginCapture_v2(target.handle, driver.capture_relaxed), "record a graph");
        var graph: ?driver.Graph = null;
        const recorded = record(context, target);
        const ended = self.driver.cuStreamEndCapture(target.handle, &graph);
        defer if (graph) |made| {
            _ = self.driver.cuGraphDestroy(made);
        };
        try recorded;
        try self.check(ended, "record a graph");
        var exec: driver.GraphExec = undefined;
        try self.check(self.driver.cuGraphInstantiateWithFlags(&exec, graph.?, 0), "prepare a graph");
        return exec;
    }

    /// The stream of the calling thread; makes the device current.
    pub fn stream(self: *Device) abi.Failure!*Stream {
        try self.check(self.driver.cuCtxSetCurrent(self.context), "use its context");
        const slot = threadSlot();
        self.lock.lock();
        defer self.lock.unlock();
        if (self.streams[slot] == null) self.streams[slot] = try Stream.create(self, slot);
        return self.streams[slot].?;
    }

    /// A stream beside those of the threads, for data that travel while the device computes: what uses
    /// the same memory waits, as between threads. Makes the device current.
    pub fn sideStream(self: *Device) abi.Failure!*Stream {
        try self.check(self.driver.cuCtxSetCurrent(self.context), "use its context");
        self.lock.lock();
        defer self.lock.unlock();
        // Its slot is one that a thread has as well; whoever frees memory also waits for its last user.
        if (self.side == null) self.side = try Stream.create(self, 0);
        return self.side.?;
    }

    pub fn check(self: *const Device, result: driver.Result, what: []const u8) abi.Failure!void {
        return driver.check(self.driver, result, what);
    }
};

pub const Stream = struct {
    device: *Device,
    slot: u5,
    handle: driver.Stream,
    /// Marks the places that other streams wait for.
    order: driver.Event,
    /// Held by a call that uses what follows.
    lock: sync.Mutex = .{},
    scratch: driver.Pointer = 0,
    scratch_bytes: u64 = 0,
    staging: [2]?Staging = @splat(null),

    fn create(device: *Device, slot: u5) abi.Failure!*Stream {
        const self = try std.heap.c_allocator.create(Stream);
        errdefer std.heap.c_allocator.destroy(self);
        const cuda = device.driver;
        self.* = .{ .device = device, .slot = slot, .handle = undefined, .order = undefined };
        try device.check(cuda.cuStreamCreate(&self.handle, driver.stream_non_blocking), "create a stream");
        try device.check(cuda.cuEventCreate(&self.order, driver.event_disable_timing), "create an event");
        return self;
    }

    pub fn launch(self: *Stream, comptime kernel: kernels.Kernel, shape: Launch, arguments: kernel.Arguments()) abi.Failure!void {
        return self.launchOf(kernel, shape, &arguments);
    }

    /// Launches one of several kernels that take the same arguments.
    pub fn launchOf(self: *Stream, kernel: kernels.Kernel, shape: Launch, arguments: *const anyopaque) abi.Failure!void {
        var parameters = [1]?*const anyopaque{arguments};
        const device = self.device;
        const function = device.functions[@backingInt(kernel)];
        if (shape.programmatic and device.has_programmatic_launch) {
            const config: driver.LaunchConfig = .{
                .grid = .{ shape.blocks, shape.blocks_y, shape.blocks_z },
                .block = .{ shape.threads, 1, 1 },
                .shared_bytes = shape.shared_bytes,
                .stream = self.handle,
                .attributes = &driver.programmatic_launch,
                .attributes_count = driver.programmatic_launch.len,
            };
            return device.check(device.driver.cuLaunchKernelEx(&config, function, &parameters, null), "launch a kernel");
        }
        try device.check(device.driver.cuLaunchKernel(
            function,
            shape.blocks,
            shape.blocks_y,
            shape.blocks_z,
            shape.threads,
            1,
            1,
            shape.shared_bytes,
            self.handle,
            &parameters,
            null,
        ), "launch a kernel");
    }

    pub fn synchronize(self: *Stream) abi.Failure!void {
        try self.device.check(self.device.driver.cuStreamSynchronize(self.handle), "finish its work");
    }

    /// Makes this stream wait for what another has been asked for so far.
    pub fn waitFor(self: *Stream, other: *Stream) abi.Failure!void {
        if (self == other) return;
        other.lock.lock();
        defer other.lock.unlock();
        const cuda = self.device.driver;
        // An event belongs to its device's context.
        try self.device.check(cuda.cuCtxSetCurrent(other.device.context), "use its context");
        const recorded = cuda.cuEventRecord(other.order, other.handle);
        try self.device.check(cuda.cuCtxSetCurrent(self.device.context), "use its context");
        try self.device.check(recorded, "record an event");
        try self.device.check(cuda.cuStreamWaitEvent(self.handle, other.order, 0), "wait for an event");
    }

    /// Memory of the call that holds the lock; what the stream does next may use it again.
    pub fn takeScratch(self: *Stream, bytes: u64) abi.Failure!driver.Pointer {
        if (bytes <= self.scratch_bytes) return self.scratch;
        if (self.scratch_bytes > 0) _ = self.device.driver.cuMemFreeAsync(self.scratch, self.handle);
        self.scratch_bytes = 0;
        const size = std.mem.alignForward(u64, bytes + bytes / 4, 1 << 20);
        self.scratch = try self.allocate(size);
        self.scratch_bytes = size;
        return self.scratch;
    }

    fn allocate(self: *Stream, bytes: u64) abi.Failure!driver.Pointer {
        const cuda = self.device.driver;
        var pointer: driver.Pointer = 0;
        const size = std.math.cast(usize, @max(bytes, 1)) orelse return error.OutOfMemory;
        if (cuda.cuMemAllocAsync(&pointer, size, self.handle) != .success) {
            // What has been freed and not yet given back may be enough.
            try self.synchronize();
            _ = cuda.cuMemPoolTrimTo(self.device.pool, 0);
            try self.device.check(cuda.cuMemAllocAsync(&pointer, size, self.handle), "allocate memory");
        }
        return pointer;
    }

    /// Copies to the device; the source may change as soon as this returns.
    pub fn upload(self: *Stream, target: driver.Pointer, bytes: []const u8) abi.Failure!void {
        self.lock.lock();
        defer self.lock.unlock();
        const cuda = self.device.driver;
        var from: usize = 0;
        var slot: usize = 0;
        while (from < bytes.len) : (slot ^= 1) {
            const staging = try self.stagingAt(slot);
            const count = @min(staging.bytes.len, bytes.len - from);
            try self.device.check(cuda.cuEventSynchronize(staging.done), "finish a copy");
            @memcpy(staging.bytes[0..count], bytes[from..][0..count]);
            try self.device.check(cuda.cuMemcpyHtoDAsync_v2(target + from, staging.bytes.ptr, count, self.handle), "copy to the device");
            try self.device.check(cuda.cuEventRecord(staging.done, self.handle), "record an event");
            from += count;
        }
    }

    /// Copies to the host, after everything that the stream has been asked for.
    pub fn download(self: *Stream, source: driver.Pointer, bytes: []u8) abi.Failure!void {
        self.lock.lock();
        defer self.lock.unlock();
        const cuda = self.device.driver;
        var asked: usize = 0;
        var done: usize = 0;
        var ask_slot: usize = 0;
        var done_slot: usize = 0;
        var waiting: usize = 0;
        while (done < bytes.len) {
            if (asked < bytes.len and waiting < self.staging.len) {
                const staging = try self.stagingAt(ask_slot);
                const count = @min(staging.bytes.len, bytes.len - asked);
                try self.device.check(cuda.cuMemcpyDtoHAsync_v2(staging.bytes.ptr, source + asked, count, self.handle), "copy to the host");
                try self.device.check(cuda.cuEventRecord(staging.done, self.handle), "record an event");
                asked += count;
                ask_slot ^= 1;
                waiting += 1;
                continue;
            }
            const staging = try self.stagingAt(done_slot);
            const count = @min(staging.bytes.len, bytes.len - done);
            try self.device.check(cuda.cuEventSynchronize(staging.done), "finish its work");
            @memcpy(bytes[done..][0..count], staging.bytes[0..count]);
            done += count;
            done_slot ^= 1;
            waiting -= 1;
        }
    }

    fn stagingAt(self: *Stream, slot: usize) abi.Failure!Staging {
        if (self.staging[slot]) |staging| return staging;
        const cuda = self.device.driver;
        var memory: ?*anyopaque = null;
        try self.device.check(cuda.cuMemHostAlloc(&memory, staging_bytes, 0), "allocate pinned memory");
        errdefer _ = cuda.cuMemFreeHost(memory.?);
        var done: driver.Event = undefined;
        try self.device.check(cuda.cuEventCreate(&done, driver.event_disable_timing), "create an event");
        const pointer: [*]u8 = @ptrCast(memory.?);
        self.staging[slot] = .{ .bytes = pointer[0..staging_bytes], .done = done };
        return self.staging[slot].?;
    }
};

/// Pinned memory on the way to or from a device; large enough that starting a copy does not show.
const Staging = struct { bytes: []u8, done: driver.Event };
const staging_bytes = 4 << 20;

pub const Launch = struct {
    blocks: u32,
    blocks_y: u32 = 1,
    blocks_z: u32 = 1,
    threads: u32,
    shared_bytes: u32 = 0,
    /// For a kernel that calls `wait_for_previous` (common.cuh) in every block.
    programmatic: bool = false,
};

/// Device memory: of tensors, and of what else lives longer than a call.
pub const Buffer = struct {
    device: *Device,
    pointer: driver.Pointer,
    bytes: u64,
    references: std.atomic.Value(u32) = .init(1),
    lock: sync.Mutex = .{},
    /// Who used it last, maybe of another device, and everybody of this one who did, by slot.
    last: *Stream,
    users: u32,

    pub fn create(device: *Device, bytes: u64) abi.Failure!*Buffer {
        const stream = try device.stream();
        const self = try std.heap.c_allocator.create(Buffer);
        errdefer std.heap.c_allocator.destroy(self);
        const pointer = try stream.allocate(bytes);
        self.* = .{ .device = device, .pointer = pointer, .bytes = bytes, .last = stream, .users = @as(u32, 1) << stream.slot };
        _ = allocated_bytes.fetchAdd(bytes, .monotonic);
        return self;
    }

    /// The address, for what the stream is asked for next.
    pub fn use(self: *Buffer, stream: *Stream) abi.Failure!driver.Pointer {
        self.lock.lock();
        defer self.lock.unlock();
        try stream.waitFor(self.last);
        self.last = stream;
        if (stream.device == self.device) self.users |= @as(u32, 1) << stream.slot;
        return self.pointer;
    }

    pub fn retain(self: *Buffer) void {
        _ = self.references.fetchAdd(1, .monotonic);
    }

    pub fn release(self: *Buffer) void {
        if (self.references.fetchSub(1, .acq_rel) > 1) return;
        self.free() catch {};
        _ = allocated_bytes.fetchSub(self.bytes, .monotonic);
        std.heap.c_allocator.destroy(self);
    }

    /// The memory goes back when everybody who used it is done with it; nobody waits.
    fn free(self: *Buffer) abi.Failure!void {
        const stream = try self.device.stream();
        for (self.device.streams, 0..) |other, slot| {
            if (self.users >> @intCast(slot) & 1 != 0) try stream.waitFor(other.?);
        }
        // A copy to another device runs in a stream of that one.
        try stream.waitFor(self.last);
        try self.device.check(self.device.driver.cuMemFreeAsync(self.pointer, stream.handle), "free memory");
    }
};

var allocated_bytes: std.atomic.Value(u64) = .init(0);

/// Bytes of device memory that live objects hold.
pub fn allocatedBytes() u64 {
    return allocated_bytes.load(.monotonic);
}

var threads_seen: std.atomic.Value(u32) = .init(0);
threadlocal var own_slot: ?u5 = null;

fn threadSlot() u5 {
    if (own_slot) |slot| return slot;
    const slot: u5 = @intCast(threads_seen.fetchAdd(1, .monotonic) % streams_max);
    own_slot = slot;
    return slot;
}

var lock: sync.Mutex = .{};
var devices: [devices_max]?*Device = @splat(null);

/// The driver, or a failure that says why there is none.
pub fn table() abi.Failure!*const driver.Table {
    if (!kernels.has_cuda) return abi.fail(error.DeviceUnavailable, "Expected a CUDA device, but the library of this platform has no CUDA kernels", .{});
    return switch (driver.find()) {
        .table => |found| found,
        .absent => |reason| abi.fail(error.DeviceUnavailable, "Expected a CUDA device, but {s}", .{reason}),
    };
}

pub fn deviceCount(found: *const driver.Table) u32 {
    var devices_count: c_int = 0;
    if (found.cuDeviceGetCount(&devices_count) != .success) return 0;
    return @intCast(@min(@max(devices_count, 0), devices_max));
}

pub fn attribute(found: *const driver.Table, device: driver.Device, which: driver.Attribute) u32 {
    var value: c_int = 0;
    if (found.cuDeviceGetAttribute(&value, which, device) != .success) return 0;
    return @intCast(@max(value, 0));
}

/// Whether the kernels run on a device.
pub fn isUsable(found: *const driver.Table, device: driver.Device) bool {
    return attribute(found, device, .compute_capability_major) >= capability_min and
        attribute(found, device, .memory_pools_supported) != 0;
}

/// The device of an index, made ready on first use.
pub fn open(index: u32) abi.Failure!*Device {
    const found = try table();
    lock.lock();
    defer lock.unlock();
    const known = deviceCount(found);
    if (index >= known) return abi.fail(
        error.DeviceUnavailable,
        "Expected one of the {d} CUDA devices there are, got cuda:{d}",
        .{ known, index },
    );
    if (devices[index] == null) devices[index] = try start(found, index);
    return devices[index].?;
}

fn start(found: *const driver.Table, index: u32) abi.Failure!*Device {
    var handle: driver.Device = undefined;
    try driver.check(found, found.cuDeviceGet(&handle, @intCast(index)), "find the device");
    if (!isUsable(found, handle)) return abi.fail(
        error.DeviceUnavailable,
        "Expected a device of compute capability {d}.0 or later with memory pools, but cuda:{d} has {d}.{d}",
        .{ capability_min, index, attribute(found, handle, .compute_capability_major), attribute(found, handle, .compute_capability_minor) },
    );
    const self = try std.heap.c_allocator.create(Device);
    errdefer std.heap.c_allocator.destroy(self);
    const major = attribute(found, handle, .compute_capability_major);
    const minor = attribute(found, handle, .compute_capability_minor);
    self.* = .{
        .index = index,
        .driver = found,
        .context = undefined,
        .pool = undefined,
        .functions = undefined,
        .multiprocessors = attribute(found, handle, .multiprocessor_count),
        .has_wgmma = major == 9 and minor == 0,
        // Later devices run the PTX of 8.0, whose kernels do not wait.
        .has_programmatic_launch = major == 9 or major == 10 or major == 12,
    };
    try self.check(found.cuDevicePrimaryCtxRetain(&self.context, handle), "start the device");
    try self.check(found.cuCtxSetCurrent(self.context), "use its context");
    try self.check(found.cuDeviceGetDefaultMemPool(&self.pool, handle), "find the memory pool");
    // Freed memory stays with the pool: what is needed again and again costs nothing.
    try self.check(found.cuMemPoolSetAttribute(self.pool, driver.pool_attribute_release_threshold, &std.math.maxInt(u64)), "set up the memory pool");
    var module: driver.Module = undefined;
    try self.check(found.cuModuleLoadData(&module, kernels.image.ptr), "load the kernels");
    for (std.enums.values(kernels.Kernel), &self.functions) |kernel, *function|
        try self.check(found.cuModuleGetFunction(function, module, @tagName(kernel).ptr), "find a kernel");
    inline for (.{ 64, 128 }) |dim| {
        const attend = self.functions[@backingInt(@field(kernels.Kernel, std.fmt.comptimePrint("attend_many_{d}", .{dim})))];
        try self.check(found.cuFuncSetAttribute(attend, .max_dynamic_shared_size_bytes, @intCast(model_kernels.manySharedBytes(dim))), "set up a kernel");
    }
    for (kernels.large_shared) |large| {
        if (large.needs_wgmma and !self.has_wgmma) continue;
        const function = self.functions[@backingInt(large.kernel)];
        try self.check(found.cuFuncSetAttribute(function, .max_dynamic_shared_size_bytes, @intCast(large.bytes)), "set up a kernel");
    }
    for (attention_kernels.variants) |variant| {
        for ([_]?attention_kernels.Tile{ variant.forward, variant.queries, variant.keys, variant.values }) |tile| {
            const attend = tile orelse continue;
            try self.check(found.cuFuncSetAttribute(self.functions[@backingInt(attend.kernel)], .max_dynamic_shared_size_bytes, @intCast(attend.shared_bytes)), "set up a kernel");
        }
    }
    const shared = attribute(found, handle, .max_shared_memory_per_block_optin);
    if (shared >= 4 * vsa.matrix_stage_bytes) self.matrix_stages = 4;
    for ([_]kernels.Kernel{ .vsa_matrix_dot, .vsa_matrix_distance, .vsa_matrix_common }) |kernel| {
        const bytes: c_int = @intCast(self.matrix_stages * vsa.matrix_stage_bytes);
        try self.check(found.cuFuncSetAttribute(self.functions[@backingInt(kernel)], .max_dynamic_shared_size_bytes, bytes), "set up a kernel");
    }
    return self;
}
