//! Dense products by cuBLAS, a library of NVIDIA's that is found at run time and not needed for
//! anything else: TRITTER_CUBLAS_LIB names its file, or it is where the system, CUDA_PATH or
//! /usr/local/cuda has it.

const std = @import("std");
const builtin = @import("builtin");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const driver = @import("driver.zig");
const sync = @import("../sync.zig");

const Buffer = backend.Buffer;
const Handle = *opaque {};

const Status = enum(c_int) { success = 0, alloc_failed = 3, _ };

/// The functions in use; the names are those of cuBLAS.
const Table = struct {
    cublasCreate_v2: *const fn (*Handle) callconv(.c) Status,
    cublasSetStream_v2: *const fn (Handle, driver.Stream) callconv(.c) Status,
    cublasSetPointerMode_v2: *const fn (Handle, c_int) callconv(.c) Status,
    cublasGetStatusString: *const fn (Status) callconv(.c) [*:0]const u8,
    cublasGemmEx: *const fn (Handle, c_int, c_int, c_int, c_int, c_int, u64, u64, c_int, c_int, u64, c_int, c_int, u64, u64, c_int, c_int, c_int, c_int) callconv(.c) Status,
};

const names = if (builtin.os.tag == .windows)
    [_][:0]const u8{ "cublas64_13.dll", "cublas64_12.dll" }
else
    [_][:0]const u8{ "libcublas.so.13", "libcublas.so.12" };

/// Below CUDA_PATH.
const folders = if (builtin.os.tag == .windows) [_][]const u8{ "\\bin\\x64\\", "\\bin\\" } else [_][]const u8{"/lib64/"};

const State = union(enum) { unknown, ready: Table, absent };

var lock: sync.Mutex = .{};
var state: State = .unknown;
/// One for each stream.
var handles: [backend.devices_max][32]?Handle = @splat(@splat(null));

fn find() abi.Failure!*const Table {
    lock.lock();
    defer lock.unlock();
    if (state == .unknown) state = if (open()) |table| .{ .ready = table } else .absent;
    return switch (state) {
        .unknown => unreachable,
        .ready => |*table| table,
        .absent => abi.fail(
            error.DeviceUnavailable,
            "Expected cuBLAS 12 or 13 for a dense product on a CUDA device, but " ++ names[0] ++
                " could not be opened: install it, or set TRITTER_CUBLAS_LIB to its file",
            .{},
        ),
    };
}

fn open() ?Table {
    if (std.c.getenv("TRITTER_CUBLAS_LIB")) |path| return tableOf(driver.system.openAt(path));
    for (names) |name| if (tableOf(driver.system.openAt(name))) |table| return table;
    const root = if (std.c.getenv("CUDA_PATH")) |path| std.mem.span(path) else "/usr/local/cuda";
    for (names) |name| for (folders) |folder| {
        var buffer: [1024]u8 = undefined;
        const path = std.fmt.bufPrintSentinel(&buffer, "{s}{s}{s}", .{ root, folder, name }, 0) catch continue;
        if (tableOf(driver.system.openAt(path))) |table| return table;
    };
    return null;
}

fn tableOf(library: ?*anyopaque) ?Table {
    var table: Table = undefined;
    inline for (@typeInfo(Table).@"struct".field_names) |name|
        @field(table, name) = @ptrCast(@alignCast(driver.system.symbol(library orelse return null, name) orelse return null));
    return table;
}

fn check(table: *const Table, status: Status, what: []const u8) abi.Failure!void {
    if (status == .success) return;
    if (status == .alloc_failed) return error.OutOfMemory;
    return abi.fail(error.Internal, "cuBLAS could not {s}: {s}", .{ what, table.cublasGetStatusString(status) });
}

/// The handle of a stream, whose device is current; by who holds the stream's lock.
fn handleOf(table: *const Table, stream: *backend.Stream) abi.Failure!Handle {
    const place = &handles[stream.device.index][stream.slot];
    if (place.*) |handle| return handle;
    var handle: Handle = undefined;
    try check(table, table.cublasCreate_v2(&handle), "start");
    try check(table, table.cublasSetStream_v2(handle, stream.handle), "use a stream");
    place.* = handle;
    return handle;
}

/// What a and b are; the result is f32.
pub const Float = enum(u32) {
    f32 = 0,
    f16 = 1,
    bf16 = 2,

    fn size(self: Float) u64 {
        return if (self == .f32) 4 else 2;
    }

    fn code(self: Float) c_int {
        return switch (self) {
            .f32 => 0,
            .f16 => 2,
            .bf16 => 14,
        };
    }
};

/// Sums in f32, and products of f32 in f32: never TF32.
const compute_32f = 68;
const algorithm_default = -1;

pub const Product = struct {
    m: u32,
    n: u32,
    k: u32,
    transpose_a: bool,
    transpose_b: bool,
    alpha: f32,
    beta: f32,
    float: Float,
};

/// out = alpha a b + beta out, row-major: [m, k] times [k, n], or transposed. Returns when the device has
/// been asked.
pub fn multiply(p: Product, a: *Buffer, b: *Buffer, out: *Buffer) abi.Failure!void {
    for ([_]u32{ p.m, p.n, p.k }) |size| if (size == 0 or size > std.math.maxInt(c_int))
        return abi.fail(error.InvalidShape, "Expected sizes from 1 to {d}, got {d}", .{ std.math.maxInt(c_int), size });
    try expectBytes("a", a, @as(u64, p.m) * p.k * p.float.size());
    try expectBytes("b", b, @as(u64, p.k) * p.n * p.float.size());
    try expectBytes("out", out, @as(u64, p.m) * p.n * 4);
    for ([_]*Buffer{ b, out }) |buffer| if (buffer.device != a.device)
        return abi.fail(error.InvalidValue, "Expected all tensors on cuda:{d}, got one on cuda:{d}", .{ a.device.index, buffer.device.index });
    if (out == a or out == b) return abi.fail(error.InvalidValue, "Expected the output in memory of its own", .{});
    const stream = try a.device.stream();
    const task: Task = .{
        .m = p.m,
        .n = p.n,
        .k = p.k,
        .a = .{ .address = try a.use(stream), .stride = if (p.transpose_a) p.m else p.k, .transposed = p.transpose_a },
        .b = .{ .address = try b.use(stream), .stride = if (p.transpose_b) p.k else p.n, .transposed = p.transpose_b },
        .out = try out.use(stream),
        .factors = .{ .host = .{ p.alpha, p.beta } },
        .float = p.float,
    };
    stream.lock.lock();
    defer stream.lock.unlock();
    return launch(stream, task);
}

/// A matrix in device memory: rows of `stride` elements, or columns where it is transposed.
pub const Operand = struct { address: u64, stride: u32, transposed: bool = false };

/// out = alpha a b + beta out, row-major; the result is f32 and has no gaps between its rows.
pub const Task = struct {
    m: u32,
    n: u32,
    k: u32,
    a: Operand,
    b: Operand,
    out: u64,
    /// alpha and beta, or where they and a 1 stand in device memory.
    factors: union(enum) { host: [2]f32, device: struct { alpha: u64, beta: u64, one: u64 } },
    float: Float,
};

/// Asks for a product of what is in order on the stream, by who holds the stream's lock.
pub fn launch(stream: *backend.Stream, task: Task) abi.Failure!void {
    const table = try find();
    const handle = try handleOf(table, stream);
    const factors: [2]u64, const mode: c_int = switch (task.factors) {
        .host => |*values| .{ .{ @intFromPtr(&values[0]), @intFromPtr(&values[1]) }, 0 },
        .device => |places| .{ .{ places.alpha, places.beta }, 1 },
    };
    try check(table, table.cublasSetPointerMode_v2(handle, mode), "take factors");
    // cuBLAS is column-major, where these matrices are their transposes: out^T = b^T a^T.
    try check(table, table.cublasGemmEx(
        handle,
        @intFromBool(task.b.transposed),
        @intFromBool(task.a.transposed),
        @intCast(task.n),
        @intCast(task.m),
        @intCast(task.k),
        factors[0],
        task.b.address,
        task.float.code(),
        @intCast(task.b.stride),
        task.a.address,
        task.float.code(),
        @intCast(task.a.stride),
        factors[1],
        task.out,
        Float.f32.code(),
        @intCast(task.n),
        compute_32f,
        algorithm_default,
    ), "multiply");
}

/// Products of tensor cores that are summed before the result is rounded to nearest: they cut off what
/// does not fit a sum, which then comes out too small by about 1e-9 for each of them.
const depth_max = 8192;

/// The same in equal pieces of what is summed, none longer than `depth_max`: of f16 or bf16.
pub fn launchDeep(stream: *backend.Stream, whole: Task) abi.Failure!void {
    const pieces = (whole.k + depth_max - 1) / depth_max;
    const depth = std.mem.alignForward(u32, (whole.k + pieces - 1) / pieces, 64);
    const size = whole.float.size();
    var task = whole;
    var done: u32 = 0;
    while (done < whole.k) : (done += depth) {
        task.k = @min(depth, whole.k - done);
        task.a.address = whole.a.address + done * size * (if (whole.a.transposed) whole.a.stride else 1);
        task.b.address = whole.b.address + done * size * (if (whole.b.transposed) 1 else whole.b.stride);
        if (done > 0) switch (task.factors) {
            .host => |*values| values[1] = 1,
            .device => |*places| places.beta = places.one,
        };
        try launch(stream, task);
    }
}

fn expectBytes(name: []const u8, buffer: *const Buffer, bytes: u64) abi.Failure!void {
    if (buffer.bytes != bytes) return abi.fail(error.InvalidLength, "Expected {s} to hold {d} bytes, got {d}", .{ name, bytes, buffer.bytes });
}
