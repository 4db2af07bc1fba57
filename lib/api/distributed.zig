//! Exports of what several processes do together: over MPI with memory of the host, over NCCL with
//! tensors of CUDA devices. Elements: 0 u8, 1 i32, 2 f32, 3 f64; operations: 0 sum, 1 max, 2 min.
//! For MPI element 4 is f32 whose sum travels as bf16.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("../cuda/backend.zig");
const deadline = @import("../distributed/deadline.zig");
const handles = @import("../handles.zig");
const mpi = @import("../distributed/mpi.zig");
const nccl = @import("../distributed/nccl.zig");
const World = @import("../distributed/world.zig").World;

/// A JSON object with the variables that launchers of several processes set; `length` receives its
/// size in bytes.
pub fn distributed_launcher(text: ?[*]u8, text_length: u32, length: ?[*]u32, length_length: u32) callconv(.c) i32 {
    return abi.finish(describeLauncher(text, text_length, length, length_length));
}

/// Takes part in MPI; an empty library is looked for. world = [rank, size]
pub fn mpi_open(library: ?[*]const u8, library_length: u32, timeout: f64, world: ?[*]u32, world_length: u32, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(mpiOpen(library, library_length, timeout, world, world_length, handle, handle_length));
}

/// Leaves MPI when all ranks are there, for the rest of the process's life.
pub fn mpi_finish(world: u64) callconv(.c) i32 {
    return abi.finish(mpiFinish(world));
}

/// Waits for all ranks.
pub fn mpi_barrier(world: u64) callconv(.c) i32 {
    return abi.finish(mpiBarrier(world));
}

/// Everybody's bytes become those of the root.
pub fn mpi_broadcast(world: u64, data: ?[*]u8, data_length: u32, root: u32) callconv(.c) i32 {
    return abi.finish(mpiBroadcast(world, abi.writable(u8, data, data_length, "data"), root));
}

/// Reduces over all ranks, in place.
pub fn mpi_all_reduce(world: u64, data: ?[*]u8, data_length: u32, element: u32, operation: u32) callconv(.c) i32 {
    return abi.finish(mpiAllReduce(world, abi.writable(u8, data, data_length, "data"), element, operation));
}

/// Begins to reduce a copy over all ranks; `ticket` receives what it ends with.
pub fn mpi_all_reduce_start(world: u64, data: ?[*]const u8, data_length: u32, element: u32, operation: u32, ticket: ?[*]u32, ticket_length: u32) callconv(.c) i32 {
    return abi.finish(mpiAllReduceStart(
        world,
        abi.readable(u8, data, data_length, "data"),
        element,
        operation,
        abi.writable(u32, ticket, ticket_length, "the ticket"),
    ));
}

/// Lets what has begun go on, without waiting.
pub fn mpi_all_reduce_advance(world: u64) callconv(.c) i32 {
    return abi.finish(mpiAllReduceAdvance(world));
}

/// Waits for what has begun, and copies its result.
pub fn mpi_all_reduce_end(world: u64, ticket: u32, data: ?[*]u8, data_length: u32) callconv(.c) i32 {
    return abi.finish(mpiAllReduceEnd(world, ticket, abi.writable(u8, data, data_length, "data")));
}

/// The bytes of all ranks one after another, as many of each.
pub fn mpi_all_gather(world: u64, data: ?[*]const u8, data_length: u32, out: ?[*]u8, out_length: u32) callconv(.c) i32 {
    return abi.finish(mpiAllGather(world, abi.readable(u8, data, data_length, "data"), abi.writable(u8, out, out_length, "out")));
}

/// The bytes of all ranks one after another, `lengths[rank]` of each.
pub fn mpi_all_gather_v(
    world: u64,
    data: ?[*]const u8,
    data_length: u32,
    lengths: ?[*]const u32,
    lengths_length: u32,
    out: ?[*]u8,
    out_length: u32,
) callconv(.c) i32 {
    return abi.finish(mpiAllGatherV(
        world,
        abi.readable(u8, data, data_length, "data"),
        abi.readable(u32, lengths, lengths_length, "lengths"),
        abi.writable(u8, out, out_length, "out"),
    ));
}

/// out = part `rank` of the data, reduced over all ranks.
pub fn mpi_reduce_scatter(
    world: u64,
    data: ?[*]const u8,
    data_length: u32,
    out: ?[*]u8,
    out_length: u32,
    element: u32,
    operation: u32,
) callconv(.c) i32 {
    return abi.finish(mpiReduceScatter(
        world,
        abi.readable(u8, data, data_length, "data"),
        abi.writable(u8, out, out_length, "out"),
        element,
        operation,
    ));
}

/// The 128 bytes that the ranks of NCCL find each other by; with an address `host:port` every rank
/// makes the same ones, and rank 0 listens there.
pub fn nccl_unique_id(library: ?[*]const u8, library_length: u32, address: ?[*]const u8, address_length: u32, id: ?[*]u8, id_length: u32) callconv(.c) i32 {
    return abi.finish(ncclUniqueId(
        abi.readable(u8, library, library_length, "library"),
        abi.readable(u8, address, address_length, "address"),
        abi.writable(u8, id, id_length, "id"),
    ));
}

/// Meets the other ranks; an empty library is looked for. options = [device, rank, size, timeout in
/// seconds]
pub fn nccl_open(
    library: ?[*]const u8,
    library_length: u32,
    id: ?[*]const u8,
    id_length: u32,
    options: ?[*]const f64,
    options_length: u32,
    handle: ?[*]u64,
    handle_length: u32,
) callconv(.c) i32 {
    return abi.finish(ncclOpen(
        abi.readable(u8, library, library_length, "library"),
        abi.readable(u8, id, id_length, "id"),
        abi.readable(f64, options, options_length, "options"),
        handle,
        handle_length,
    ));
}

/// Leaves the group of GPUs, when all ranks are there.
pub fn nccl_finish(group: u64) callconv(.c) i32 {
    return abi.finish(ncclFinish(group));
}

/// Waits, but not for ever, until the device has done what was asked for.
pub fn nccl_wait(group: u64) callconv(.c) i32 {
    return abi.finish(ncclWait(group));
}

/// Reduces a tensor over all ranks, in place; element 4 is bf16, operation 3 the mean. Returns before
/// it is done.
pub fn nccl_all_reduce(group: u64, tensor: u64, element: u32, operation: u32) callconv(.c) i32 {
    return abi.finish(ncclAllReduce(group, tensor, element, operation));
}

/// Everybody's tensor becomes that of the root. Returns before it is done.
pub fn nccl_broadcast(group: u64, tensor: u64, root: u32) callconv(.c) i32 {
    return abi.finish(ncclBroadcast(group, tensor, root));
}

/// The tensors of all ranks one after another. Returns before it is done.
pub fn nccl_all_gather(group: u64, tensor: u64, out: u64) callconv(.c) i32 {
    return abi.finish(ncclAllGather(group, tensor, out));
}

/// out = part `rank` of the tensor, reduced over all ranks. Returns before it is done.
pub fn nccl_reduce_scatter(group: u64, tensor: u64, out: u64, element: u32, operation: u32) callconv(.c) i32 {
    return abi.finish(ncclReduceScatter(group, tensor, out, element, operation));
}

const launcher_variables = [_][*:0]const u8{
    "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
    "PMI_RANK",             "PMI_SIZE",             "MPI_LOCALRANKID",
    "RANK",                 "WORLD_SIZE",           "LOCAL_RANK",
    "MASTER_ADDR",          "MASTER_PORT",          "TRITTER_NCCL_ID_FILE",
    "TRITTER_MPI_LIBRARY",  "TRITTER_NCCL_LIBRARY",
};

fn describeLauncher(text: ?[*]u8, text_length: u32, length: ?[*]u32, length_length: u32) abi.Failure!void {
    const target = try abi.writable(u8, text, text_length, "text");
    const size = try abi.writable(u32, length, length_length, "the length");
    if (size.len < 1) return abi.fail(error.InvalidLength, "Expected room for one element, got none", .{});
    var used: usize = 0;
    for (launcher_variables) |name| {
        const value = std.mem.span(std.c.getenv(name) orelse continue);
        if (!isPlain(value)) continue;
        const piece = std.fmt.bufPrint(target[used..], "{s}\"{s}\":\"{s}\"", .{ if (used == 0) "{" else ",", name, value }) catch
            return abi.fail(error.InvalidLength, "Expected more room than {d} bytes for the variables", .{target.len});
        used += piece.len;
    }
    const end = std.fmt.bufPrint(target[used..], "{s}", .{if (used == 0) "{}" else "}"}) catch
        return abi.fail(error.InvalidLength, "Expected more room than {d} bytes for the variables", .{target.len});
    size[0] = @intCast(used + end.len);
}

/// Whether a text can stand in JSON as it is.
fn isPlain(text: []const u8) bool {
    for (text) |byte| if (byte < ' ' or byte > '~' or byte == '"' or byte == '\\') return false;
    return true;
}

fn checkTimeout(seconds: f64) abi.Failure!f64 {
    if (seconds >= deadline.seconds_min and seconds <= deadline.seconds_max) return seconds;
    return abi.fail(error.InvalidOption, "Expected a timeout from {d} to {d} s, got {d}", .{ deadline.seconds_min, deadline.seconds_max, seconds });
}

fn enumOf(comptime E: type, value: u32, name: []const u8) abi.Failure!E {
    return std.enums.fromInt(E, value) orelse
        abi.fail(error.InvalidOption, "Expected a known {s}, got {d}", .{ name, value });
}

fn roomForOne(pointer: ?[*]u64, length: u32) abi.Failure!*u64 {
    const target = try abi.writable(u64, pointer, length, "the handle");
    if (target.len < 1) return abi.fail(error.InvalidLength, "Expected room for one element, got none", .{});
    return &target[0];
}

fn destroyWorld(object: *anyopaque) void {
    const world: *World = @ptrCast(@alignCast(object));
    world.destroy();
}

fn mpiOpen(library: ?[*]const u8, library_length: u32, timeout: f64, world: ?[*]u32, world_length: u32, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const path = try abi.readable(u8, library, library_length, "library");
    const place = try abi.writable(u32, world, world_length, "world");
    if (place.len < 2) return abi.fail(error.InvalidLength, "Expected room for 2 elements, got {d}", .{place.len});
    const target = try roomForOne(handle, handle_length);
    const made: *World = try .create(path, try checkTimeout(timeout));
    errdefer made.destroy();
    place[0..2].* = .{ made.rank, made.size };
    target.* = try handles.create(.mpi_world, made, destroyWorld);
}

fn mpiFinish(handle: u64) abi.Failure!void {
    const world = try handles.acquire(World, .mpi_world, handle);
    defer handles.release(handle);
    return world.finish();
}

fn mpiBarrier(handle: u64) abi.Failure!void {
    const world = try handles.acquire(World, .mpi_world, handle);
    defer handles.release(handle);
    return world.barrier();
}

fn mpiBroadcast(handle: u64, data: abi.Failure![]u8, root: u32) abi.Failure!void {
    const world = try handles.acquire(World, .mpi_world, handle);
    defer handles.release(handle);
    return world.broadcast(try data, root);
}

fn mpiAllReduce(handle: u64, data: abi.Failure![]u8, element: u32, operation: u32) abi.Failure!void {
    const world = try handles.acquire(World, .mpi_world, handle);
    defer handles.release(handle);
    return world.allReduce(try data, try enumOf(mpi.Element, element, "element"), try enumOf(mpi.Operation, operation, "operation"));
}

fn mpiAllReduceStart(handle: u64, data: abi.Failure![]const u8, element: u32, operation: u32, ticket: abi.Failure![]u32) abi.Failure!void {
    const world = try handles.acquire(World, .mpi_world, handle);
    defer handles.release(handle);
    const target = try ticket;
    if (target.len < 1) return abi.fail(error.InvalidLength, "Expected room for one element, got none", .{});
    target[0] = try world.startAllReduce(try data, try enumOf(mpi.Element, element, "element"), try enumOf(mpi.Operation, operation, "operation"));
}

fn mpiAllReduceAdvance(handle: u64) abi.Failure!void {
    const world = try handles.acquire(World, .mpi_world, handle);
    defer handles.release(handle);
    return world.advanceAllReduces();
}

fn mpiAllReduceEnd(handle: u64, ticket: u32, data: abi.Failure![]u8) abi.Failure!void {
    const world = try handles.acquire(World, .mpi_world, handle);
    defer handles.release(handle);
    return world.endAllReduce(ticket, try data);
}

fn mpiAllGather(handle: u64, data: abi.Failure![]const u8, out: abi.Failure![]u8) abi.Failure!void {
    const world = try handles.acquire(World, .mpi_world, handle);
    defer handles.release(handle);
    return world.allGather(try data, try out);
}

fn mpiAllGatherV(handle: u64, data: abi.Failure![]const u8, lengths: abi.Failure![]const u32, out: abi.Failure![]u8) abi.Failure!void {
    const world = try handles.acquire(World, .mpi_world, handle);
    defer handles.release(handle);
    return world.allGatherV(try data, try lengths, try out);
}

fn mpiReduceScatter(handle: u64, data: abi.Failure![]const u8, out: abi.Failure![]u8, element: u32, operation: u32) abi.Failure!void {
    const world = try handles.acquire(World, .mpi_world, handle);
    defer handles.release(handle);
    return world.reduceScatter(try data, try out, try enumOf(mpi.Element, element, "element"), try enumOf(mpi.Operation, operation, "operation"));
}

fn ncclUniqueId(library: abi.Failure![]const u8, address: abi.Failure![]const u8, id: abi.Failure![]u8) abi.Failure!void {
    const target = try id;
    if (target.len != nccl.id_bytes) return abi.fail(error.InvalidLength, "Expected an id of {d} bytes, got {d}", .{ nccl.id_bytes, target.len });
    return nccl.uniqueId(try library, try address, target[0..nccl.id_bytes]);
}

fn destroyGroup(object: *anyopaque) void {
    const group: *nccl.Group = @ptrCast(@alignCast(object));
    group.destroy();
}

fn ncclOpen(library: abi.Failure![]const u8, id: abi.Failure![]const u8, options: abi.Failure![]const f64, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    var fields: @import("options.zig").Fields = .init(try options);
    const device = try fields.count("the device", 0, backend.devices_max - 1);
    const rank = try fields.count("the rank", 0, 1 << 20);
    const size = try fields.count("the size", 1, 1 << 20);
    const timeout = try checkTimeout(try fields.number("the timeout"));
    const bytes = try id;
    if (bytes.len != nccl.id_bytes) return abi.fail(error.InvalidLength, "Expected an id of {d} bytes, got {d}", .{ nccl.id_bytes, bytes.len });
    const target = try roomForOne(handle, handle_length);
    const group: *nccl.Group = try .create(try library, device, rank, size, bytes[0..nccl.id_bytes], timeout);
    errdefer group.destroy();
    target.* = try handles.create(.nccl_group, group, destroyGroup);
}

fn ncclFinish(handle: u64) abi.Failure!void {
    const group = try handles.acquire(nccl.Group, .nccl_group, handle);
    defer handles.release(handle);
    return group.finish();
}

fn ncclWait(handle: u64) abi.Failure!void {
    const group = try handles.acquire(nccl.Group, .nccl_group, handle);
    defer handles.release(handle);
    return group.wait();
}

fn ncclAllReduce(handle: u64, tensor: u64, element: u32, operation: u32) abi.Failure!void {
    const group = try handles.acquire(nccl.Group, .nccl_group, handle);
    defer handles.release(handle);
    const data = try handles.acquire(backend.Buffer, .tensor, tensor);
    defer handles.release(tensor);
    return group.allReduce(data, try enumOf(nccl.Element, element, "element"), try enumOf(nccl.Operation, operation, "operation"));
}

fn ncclBroadcast(handle: u64, tensor: u64, root: u32) abi.Failure!void {
    const group = try handles.acquire(nccl.Group, .nccl_group, handle);
    defer handles.release(handle);
    const data = try handles.acquire(backend.Buffer, .tensor, tensor);
    defer handles.release(tensor);
    return group.broadcast(data, root);
}

fn ncclAllGather(handle: u64, tensor: u64, out_tensor: u64) abi.Failure!void {
    const group = try handles.acquire(nccl.Group, .nccl_group, handle);
    defer handles.release(handle);
    const data = try handles.acquire(backend.Buffer, .tensor, tensor);
    defer handles.release(tensor);
    const out = try handles.acquire(backend.Buffer, .tensor, out_tensor);
    defer handles.release(out_tensor);
    return group.allGather(data, out);
}

fn ncclReduceScatter(handle: u64, tensor: u64, out_tensor: u64, element: u32, operation: u32) abi.Failure!void {
    const group = try handles.acquire(nccl.Group, .nccl_group, handle);
    defer handles.release(handle);
    const data = try handles.acquire(backend.Buffer, .tensor, tensor);
    defer handles.release(tensor);
    const out = try handles.acquire(backend.Buffer, .tensor, out_tensor);
    defer handles.release(out_tensor);
    return group.reduceScatter(data, out, try enumOf(nccl.Element, element, "element"), try enumOf(nccl.Operation, operation, "operation"));
}
