//! MPI, found at run time: Open MPI or MPICH, whose C ABIs differ in what a handle is.
//!
//! In Open MPI a handle is the address of a global symbol, in MPICH a 32-bit number. Both travel in a
//! register of 64 bits, whose upper half MPICH does not look at, so one table of functions serves both;
//! a request is a word that begins as zero and of which MPICH writes the lower half.

const std = @import("std");
const abi = @import("../abi.zig");
const library = @import("library.zig");

pub const Handle = usize;
/// At least as large as a status of either.
pub const Status = [128]u8;

pub const thread_funneled = 1;

pub const Table = struct {
    MPI_Initialized: *const fn (*c_int) callconv(.c) c_int,
    MPI_Finalized: *const fn (*c_int) callconv(.c) c_int,
    MPI_Init_thread: *const fn (?*c_int, ?*anyopaque, c_int, *c_int) callconv(.c) c_int,
    MPI_Finalize: *const fn () callconv(.c) c_int,
    MPI_Comm_rank: *const fn (Handle, *c_int) callconv(.c) c_int,
    MPI_Comm_size: *const fn (Handle, *c_int) callconv(.c) c_int,
    MPI_Comm_idup: *const fn (Handle, *Handle, *Handle) callconv(.c) c_int,
    MPI_Comm_free: *const fn (*Handle) callconv(.c) c_int,
    MPI_Comm_set_errhandler: *const fn (Handle, Handle) callconv(.c) c_int,
    MPI_Error_string: *const fn (c_int, [*]u8, *c_int) callconv(.c) c_int,
    MPI_Get_library_version: *const fn ([*]u8, *c_int) callconv(.c) c_int,
    MPI_Test: *const fn (*Handle, *c_int, *align(16) Status) callconv(.c) c_int,
    MPI_Ibarrier: *const fn (Handle, *Handle) callconv(.c) c_int,
    MPI_Ibcast: *const fn (*anyopaque, c_int, Handle, c_int, Handle, *Handle) callconv(.c) c_int,
    MPI_Iallreduce: *const fn (Handle, *anyopaque, c_int, Handle, Handle, Handle, *Handle) callconv(.c) c_int,
    MPI_Iallgather: *const fn (*const anyopaque, c_int, Handle, *anyopaque, c_int, Handle, Handle, *Handle) callconv(.c) c_int,
    MPI_Iallgatherv: *const fn (*const anyopaque, c_int, Handle, *anyopaque, [*]const c_int, [*]const c_int, Handle, Handle, *Handle) callconv(.c) c_int,
    MPI_Ialltoall: *const fn (*const anyopaque, c_int, Handle, *anyopaque, c_int, Handle, Handle, *Handle) callconv(.c) c_int,
    MPI_Ireduce_scatter_block: *const fn (*const anyopaque, *anyopaque, c_int, Handle, Handle, Handle, *Handle) callconv(.c) c_int,
};

/// What is added up, and what only travels; `half` is an f32 that travels as bf16, for which MPI has no
/// type.
pub const Element = enum(u32) {
    u8 = 0,
    i32 = 1,
    f32 = 2,
    f64 = 3,
    half = 4,

    pub fn size(self: Element) usize {
        return switch (self) {
            .u8 => 1,
            .i32, .f32, .half => 4,
            .f64 => 8,
        };
    }
};

pub const Operation = enum(u32) { sum = 0, max = 1, min = 2 };

/// The predefined handles.
pub const Names = struct {
    world: Handle,
    errors_return: Handle,
    /// Instead of what is sent: it lies where the result goes.
    in_place: Handle,
    elements: [4]Handle,
    operations: [3]Handle,

    pub fn element(self: *const Names, which: Element) Handle {
        return self.elements[if (which == .half) 0 else @backingInt(which)];
    }

    pub fn operation(self: *const Names, which: Operation) Handle {
        return self.operations[@backingInt(which)];
    }
};

const mpich_names: Names = .{
    .world = 0x4400_0000,
    .errors_return = 0x5400_0001,
    .in_place = std.math.maxInt(Handle),
    .elements = .{ 0x4c00_010d, 0x4c00_0405, 0x4c00_040a, 0x4c00_080b },
    .operations = .{ 0x5800_0003, 0x5800_0001, 0x5800_0002 },
};

fn openMpiNames(found: library.Library) ?Names {
    const world = library.symbol(found, "ompi_mpi_comm_world") orelse return null;
    var names: Names = undefined;
    names.world = @intFromPtr(world);
    names.in_place = 1;
    names.errors_return = @intFromPtr(library.symbol(found, "ompi_mpi_errors_return") orelse return null);
    inline for (.{ "byte", "int", "float", "double" }, &names.elements) |name, *handle|
        handle.* = @intFromPtr(library.symbol(found, "ompi_mpi_" ++ name) orelse return null);
    inline for (.{ "sum", "max", "min" }, &names.operations) |name, *handle|
        handle.* = @intFromPtr(library.symbol(found, "ompi_mpi_op_" ++ name) orelse return null);
    return names;
}

pub const Mpi = struct { functions: Table, names: Names };

const open_mpi_files = [_][*:0]const u8{ "libmpi.so.40", "libmpi.40.dylib" };
const mpich_files = [_][*:0]const u8{ "libmpich.so.12", "libmpi.so.12", "libmpi.12.dylib" };
const other_files = [_][*:0]const u8{ "libmpi.so", "libmpi.dylib" };

/// The library of a path, or for an empty one that which the launcher belongs to, or any.
pub fn find(path: []const u8) abi.Failure!Mpi {
    if (!library.supported) return abi.fail(error.Unsupported, "MPI is not supported on this system", .{});
    if (path.len > 0) return read(try openNamed(path), path);
    // A launcher of MPICH's family sets PMI_RANK; a process of the other family would be alone there.
    const mpich_first = std.c.getenv("PMI_RANK") != null and std.c.getenv("OMPI_COMM_WORLD_RANK") == null;
    const orders = [2][]const [*:0]const u8{ &open_mpi_files, &mpich_files };
    const found = openFirst(orders[@intFromBool(mpich_first)]) orelse
        openFirst(orders[@intFromBool(!mpich_first)]) orelse
        openFirst(&other_files) orelse
        return abi.fail(error.LibraryUnavailable, "Expected an MPI library (libmpi.so.40 of Open MPI or libmpich.so.12 of MPICH), found none: install one, or name it by the option library or the variable TRITTER_MPI_LIBRARY", .{});
    return read(found, "The MPI library");
}

fn openFirst(files: []const [*:0]const u8) ?library.Library {
    for (files) |file| if (library.open(file)) |found| return found;
    return null;
}

pub fn openNamed(path: []const u8) abi.Failure!library.Library {
    var buffer: [4096]u8 = undefined;
    const text = std.fmt.bufPrintSentinel(&buffer, "{s}", .{path}, 0) catch
        return abi.fail(error.InvalidOption, "Expected a path of at most {d} bytes, got {d}", .{ buffer.len - 1, path.len });
    return library.open(text.ptr) orelse
        abi.fail(error.LibraryUnavailable, "Expected a library that can be opened: {s}", .{library.openError()});
}

fn read(found: library.Library, shown: []const u8) abi.Failure!Mpi {
    var self: Mpi = undefined;
    if (library.fill(found, &self.functions)) |missing|
        return abi.fail(error.LibraryUnavailable, "{s} must have the functions of MPI 3, it has no {s}", .{ shown, missing });
    self.names = openMpiNames(found) orelse blk: {
        if (!isMpich(&self.functions)) return abi.fail(error.LibraryUnavailable, "{s} must have the ABI of Open MPI or of MPICH, it has neither", .{shown});
        break :blk mpich_names;
    };
    return self;
}

/// MPICH's ABI is that of several products since 2014.
fn isMpich(functions: *const Table) bool {
    // MPI_MAX_LIBRARY_VERSION_STRING is at most 8192.
    var text: [8193]u8 = undefined;
    var length: c_int = 0;
    if (functions.MPI_Get_library_version(&text, &length) != 0) return false;
    const version = text[0..@intCast(std.math.clamp(length, 0, text.len))];
    for ([_][]const u8{ "MPICH", "Intel(R) MPI", "MVAPICH" }) |name|
        if (std.mem.find(u8, version, name) != null) return true;
    return false;
}
