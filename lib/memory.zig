//! Long-lived native memory: 64-byte aligned, counted, and on huge pages where it is large.

const std = @import("std");
const builtin = @import("builtin");

pub const alignment = 64;

/// From this size on a buffer is aligned to a huge page and the kernel is asked for huge pages:
/// streaming weights touches one TLB entry per 2 MiB instead of 512.
const huge_page_bytes = 2 << 20;

var allocated_bytes: std.atomic.Value(u64) = .init(0);

/// Bytes that long-lived native objects hold at this moment.
pub fn allocatedBytes() u64 {
    return allocated_bytes.load(.monotonic);
}

pub fn alloc(comptime T: type, count: u64) error{OutOfMemory}![]align(alignment) T {
    const bytes = std.math.mul(u64, count, @sizeOf(T)) catch return error.OutOfMemory;
    if (bytes > std.math.maxInt(usize) / 2) return error.OutOfMemory;
    const size: usize = @intCast(@max(bytes, 1));
    const block = if (size >= huge_page_bytes)
        try hugeBlock(size)
    else
        try std.heap.c_allocator.alignedAlloc(u8, .fromByteUnits(alignment), size);
    _ = allocated_bytes.fetchAdd(size, .monotonic);
    const typed: [*]align(alignment) T = @ptrCast(block.ptr);
    return typed[0..@intCast(count)];
}

fn hugeBlock(size: usize) error{OutOfMemory}![]align(alignment) u8 {
    const block = try std.heap.c_allocator.alignedAlloc(u8, .fromByteUnits(huge_page_bytes), size);
    if (builtin.os.tag == .linux) {
        // Advice only: where it is refused, ordinary pages serve.
        _ = std.c.madvise(@ptrCast(@alignCast(block.ptr)), size, std.c.MADV.HUGEPAGE);
    }
    return block;
}

pub fn free(comptime T: type, slice: []align(alignment) T) void {
    const size: usize = @max(slice.len * @sizeOf(T), 1);
    const bytes: [*]align(alignment) u8 = @ptrCast(slice.ptr);
    if (size >= huge_page_bytes) {
        const aligned: [*]align(huge_page_bytes) u8 = @alignCast(bytes);
        std.heap.c_allocator.free(aligned[0..size]);
    } else {
        std.heap.c_allocator.free(bytes[0..size]);
    }
    _ = allocated_bytes.fetchSub(size, .monotonic);
}

/// Memory of zeros. What is large comes as pages that the system hands out when they are first
/// touched, so room for millions of vectors costs nothing before they are there.
pub fn allocZeroed(comptime T: type, count: u64) error{OutOfMemory}![]align(alignment) T {
    const bytes = std.math.mul(u64, count, @sizeOf(T)) catch return error.OutOfMemory;
    if (bytes < huge_page_bytes) {
        const slice = try alloc(T, count);
        @memset(slice, 0);
        return slice;
    }
    if (bytes > std.math.maxInt(usize) / 2) return error.OutOfMemory;
    const size: usize = @intCast(bytes);
    // Room to align, and for the block's own address in front of what the caller gets.
    const block = std.c.calloc(1, size + huge_page_bytes + @sizeOf(usize)) orelse return error.OutOfMemory;
    const start = std.mem.alignForward(usize, @intFromPtr(block) + @sizeOf(usize), huge_page_bytes);
    @as(*usize, @ptrFromInt(start - @sizeOf(usize))).* = @intFromPtr(block);
    if (builtin.os.tag == .linux) _ = std.c.madvise(@ptrFromInt(start), size, std.c.MADV.HUGEPAGE);
    _ = allocated_bytes.fetchAdd(size, .monotonic);
    const typed: [*]align(alignment) T = @ptrFromInt(start);
    return typed[0..@intCast(count)];
}

/// Frees what `allocZeroed` returned.
pub fn freeZeroed(comptime T: type, slice: []align(alignment) T) void {
    const size = slice.len * @sizeOf(T);
    if (size < huge_page_bytes) return free(T, slice);
    const block: *const usize = @ptrFromInt(@intFromPtr(slice.ptr) - @sizeOf(usize));
    std.c.free(@ptrFromInt(block.*));
    _ = allocated_bytes.fetchSub(size, .monotonic);
}
