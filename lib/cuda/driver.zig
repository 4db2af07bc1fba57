//! The CUDA driver, found at run time: libcuda.so.1 or nvcuda.dll. Nothing is linked, so the same
//! library runs on machines without it. The functions stand in one table that is filled by their
//! names; their failures become those of abi.zig.

const std = @import("std");
const builtin = @import("builtin");
const abi = @import("../abi.zig");
const sync = @import("../sync.zig");

pub const Device = c_int;
pub const Pointer = u64;
pub const Context = *opaque {};
pub const Module = *opaque {};
pub const Function = *opaque {};
pub const Stream = *opaque {};
pub const Event = *opaque {};
pub const Pool = *opaque {};
pub const Graph = *opaque {};
pub const GraphExec = *opaque {};

pub const Result = enum(c_int) {
    success = 0,
    invalid_value = 1,
    out_of_memory = 2,
    no_device = 100,
    no_binary_for_gpu = 209,
    unsupported_ptx_version = 222,
    not_ready = 600,
    _,
};

pub const Attribute = enum(c_int) {
    max_shared_memory_per_block_optin = 97,
    multiprocessor_count = 16,
    memory_pools_supported = 115,
    compute_capability_major = 75,
    compute_capability_minor = 76,
};

pub const FunctionAttribute = enum(c_int) { max_dynamic_shared_size_bytes = 8 };

pub const stream_non_blocking = 1;
pub const event_disable_timing = 2;
pub const pool_attribute_release_threshold = 4;
pub const capture_relaxed = 2;

/// How cuLaunchKernelEx launches: CUlaunchConfig.
pub const LaunchConfig = extern struct {
    grid: [3]c_uint,
    block: [3]c_uint,
    shared_bytes: c_uint,
    stream: Stream,
    attributes: [*]const LaunchAttribute,
    attributes_count: c_uint,
};

pub const LaunchAttribute = extern struct {
    id: c_int,
    padding: [4]u8 = @splat(0),
    value: extern union { flag: c_int, whole: [64]u8 },
};

/// The kernel may start before those before it in the stream are done; it waits for them itself.
pub const programmatic_launch: [1]LaunchAttribute = .{.{ .id = 6, .value = .{ .flag = 1 } }};

/// The functions in use; the names are those of the driver.
pub const Table = struct {
    cuInit: *const fn (c_uint) callconv(.c) Result,
    cuDriverGetVersion: *const fn (*c_int) callconv(.c) Result,
    cuGetErrorName: *const fn (Result, *?[*:0]const u8) callconv(.c) Result,
    cuGetErrorString: *const fn (Result, *?[*:0]const u8) callconv(.c) Result,
    cuDeviceGetCount: *const fn (*c_int) callconv(.c) Result,
    cuDeviceGet: *const fn (*Device, c_int) callconv(.c) Result,
    cuDeviceGetName: *const fn ([*]u8, c_int, Device) callconv(.c) Result,
    cuDeviceGetAttribute: *const fn (*c_int, Attribute, Device) callconv(.c) Result,
    cuDeviceTotalMem_v2: *const fn (*usize, Device) callconv(.c) Result,
    cuDevicePrimaryCtxRetain: *const fn (*Context, Device) callconv(.c) Result,
    cuDeviceGetDefaultMemPool: *const fn (*Pool, Device) callconv(.c) Result,
    cuMemPoolSetAttribute: *const fn (Pool, c_int, *const u64) callconv(.c) Result,
    cuMemPoolTrimTo: *const fn (Pool, usize) callconv(.c) Result,
    cuCtxSetCurrent: *const fn (?Context) callconv(.c) Result,
    cuCtxGetCurrent: *const fn (*?Context) callconv(.c) Result,
    cuModuleLoadData: *const fn (*Module, *const anyopaque) callconv(.c) Result,
    cuModuleGetFunction: *const fn (*Function, Module, [*:0]const u8) callconv(.c) Result,
    cuFuncSetAttribute: *const fn (Function, FunctionAttribute, c_int) callconv(.c) Result,
    cuStreamCreate: *const fn (*Stream, c_uint) callconv(.c) Result,
    cuStreamSynchronize: *const fn (Stream) callconv(.c) Result,
    cuStreamWaitEvent: *const fn (Stream, Event, c_uint) callconv(.c) Result,
    cuEventCreate: *const fn (*Event, c_uint) callconv(.c) Result,
    cuEventRecord: *const fn (Event, Stream) callconv(.c) Result,
    cuEventQuery: *const fn (Event) callconv(.c) Result,
    cuEventSynchronize: *const fn (Event) callconv(.c) Result,
    cuEventDestroy_v2: *const fn (Event) callconv(.c) Result,
    cuMemAllocAsync: *const fn (*Pointer, usize, Stream) callconv(.c) Result,
    cuMemFreeAsync: *const fn (Pointer, Stream) callconv(.c) Result,
    cuMemsetD8Async: *const fn (Pointer, u8, usize, Stream) callconv(.c) Result,
    cuMemcpyHtoDAsync_v2: *const fn (Pointer, *const anyopaque, usize, Stream) callconv(.c) Result,
    cuMemcpyDtoHAsync_v2: *const fn (*anyopaque, Pointer, usize, Stream) callconv(.c) Result,
    cuMemcpyDtoDAsync_v2: *const fn (Pointer, Pointer, usize, Stream) callconv(.c) Result,
    cuMemcpyPeerAsync: *const fn (Pointer, Context, Pointer, Context, usize, Stream) callconv(.c) Result,
    cuMemHostAlloc: *const fn (*?*anyopaque, usize, c_uint) callconv(.c) Result,
    cuMemFreeHost: *const fn (*anyopaque) callconv(.c) Result,
    cuStreamBeginCapture_v2: *const fn (Stream, c_int) callconv(.c) Result,
    cuStreamEndCapture: *const fn (Stream, *?Graph) callconv(.c) Result,
    cuGraphInstantiateWithFlags: *const fn (*GraphExec, Graph, c_ulonglong) callconv(.c) Result,
    cuGraphDestroy: *const fn (Graph) callconv(.c) Result,
    cuGraphExecDestroy: *const fn (GraphExec) callconv(.c) Result,
    cuGraphLaunch: *const fn (GraphExec, Stream) callconv(.c) Result,
    cuLaunchKernel: *const fn (Function, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Stream, ?[*]?*const anyopaque, ?[*]?*anyopaque) callconv(.c) Result,
    cuLaunchKernelEx: *const fn (*const LaunchConfig, Function, ?[*]?*const anyopaque, ?[*]?*anyopaque) callconv(.c) Result,
};

/// The kernels are compiled for CUDA 13; an older driver would refuse them one by one.
const version_min = 13000;

const State = union(enum) {
    unknown,
    ready: Table,
    /// Why there is none, as the end of a sentence.
    absent: []const u8,
};

var lock: sync.Mutex = .{};
var state: State = .unknown;
var reason_buffer: [128]u8 = undefined;

/// The driver, or why there is none. It is looked for once.
pub const Found = union(enum) { table: *const Table, absent: []const u8 };

pub fn find() Found {
    lock.lock();
    defer lock.unlock();
    if (state == .unknown) state = open();
    return switch (state) {
        .unknown => unreachable,
        .ready => |*table| .{ .table = table },
        .absent => |reason| .{ .absent = reason },
    };
}

fn open() State {
    const library = system.open() orelse return .{ .absent = "no NVIDIA driver is installed (" ++ system.name ++ " could not be opened)" };
    var table: Table = undefined;
    inline for (@typeInfo(Table).@"struct".field_names) |name| {
        const address = system.symbol(library, name) orelse
            return .{ .absent = "the NVIDIA driver is too old (it has no " ++ name ++ ")" };
        @field(table, name) = @ptrCast(@alignCast(address));
    }
    const started = table.cuInit(0);
    if (started != .success) return .{ .absent = explain(&table, "the NVIDIA driver does not start", started) };
    var version: c_int = 0;
    _ = table.cuDriverGetVersion(&version);
    if (version < version_min) {
        const text = std.fmt.bufPrint(&reason_buffer, "the NVIDIA driver supports CUDA {d}.{d}, expected 13.0 or later", .{
            @divTrunc(version, 1000),
            @divTrunc(@rem(version, 1000), 10),
        }) catch "the NVIDIA driver is too old";
        return .{ .absent = text };
    }
    return .{ .ready = table };
}

fn explain(table: *const Table, what: []const u8, result: Result) []const u8 {
    return std.fmt.bufPrint(&reason_buffer, "{s} ({s})", .{ what, errorName(table, result) }) catch what;
}

pub fn errorName(table: *const Table, result: Result) []const u8 {
    var text: ?[*:0]const u8 = null;
    if (table.cuGetErrorName(result, &text) != .success) return "an unknown error";
    return std.mem.span(text orelse return "an unknown error");
}

/// Turns a result into a failure whose message says what was attempted.
pub fn check(table: *const Table, result: Result, what: []const u8) abi.Failure!void {
    if (result == .success) return;
    if (result == .out_of_memory) return error.OutOfMemory;
    var text: ?[*:0]const u8 = null;
    const meaning: []const u8 = if (table.cuGetErrorString(result, &text) == .success and text != null) std.mem.span(text.?) else "unknown";
    return abi.fail(error.Internal, "CUDA could not {s}: {s} ({s})", .{ what, errorName(table, result), meaning });
}

/// Libraries that are opened at run time; cublas.zig opens another one.
pub const system = if (builtin.os.tag == .windows) windows else posix;

const posix = struct {
    const name = "libcuda.so.1";
    extern "c" fn dlopen(path: [*:0]const u8, mode: c_int) ?*anyopaque;
    extern "c" fn dlsym(library: *anyopaque, name: [*:0]const u8) ?*anyopaque;

    const now: c_int = 2;

    fn open() ?*anyopaque {
        return dlopen(posix.name, now);
    }

    pub fn openAt(path: [*:0]const u8) ?*anyopaque {
        return dlopen(path, now);
    }

    pub fn symbol(library: *anyopaque, comptime function: [:0]const u8) ?*anyopaque {
        return dlsym(library, function.ptr);
    }
};

const windows = struct {
    const name = "nvcuda.dll";
    extern "kernel32" fn LoadLibraryExA(path: [*:0]const u8, file: ?*anyopaque, flags: u32) callconv(.winapi) ?*anyopaque;
    extern "kernel32" fn GetProcAddress(library: *anyopaque, name: [*:0]const u8) callconv(.winapi) ?*anyopaque;

    /// Nothing that lies in the program's or the current folder.
    const search_system32 = 0x800;
    /// What a library needs may lie next to it, where its path is absolute.
    const search_own_folder_and_defaults = 0x1100;
    const search_defaults = 0x1000;

    fn open() ?*anyopaque {
        return LoadLibraryExA(windows.name, null, search_system32);
    }

    pub fn openAt(path: [*:0]const u8) ?*anyopaque {
        // A bare name has no folder of its own, and is refused with one.
        return LoadLibraryExA(path, null, search_own_folder_and_defaults) orelse LoadLibraryExA(path, null, search_defaults);
    }

    pub fn symbol(library: *anyopaque, comptime function: [:0]const u8) ?*anyopaque {
        return GetProcAddress(library, function.ptr);
    }
};
