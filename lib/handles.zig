//! Long-lived native objects as u64 handles: the low half is a slot, the high half the slot's
//! generation, so that a freed or invented handle is an error and never a wild pointer.
//!
//! An object is reference counted: a call that uses it holds a reference, so that a handle freed by
//! another thread in the middle of a call is destroyed after it.

const std = @import("std");
const abi = @import("abi.zig");
const sync = @import("sync.zig");

pub const Kind = enum(u8) { weights, file, model, cache, vectors, counters, centroids, tensor, device_weights, mark, mpi_world, nccl_group, device_vectors, device_model, device_cache, device_linear };

const Slot = struct {
    generation: u32,
    kind: Kind,
    /// Calls in flight, plus one while the handle is alive. Zero marks a free slot.
    references: u32,
    alive: bool,
    object: *anyopaque,
    destroy: *const fn (*anyopaque) void,
    next_free: u32,
};

const no_slot = std.math.maxInt(u32);

var lock: sync.Mutex = .{};
var slots: std.ArrayList(Slot) = .empty;
var first_free: u32 = no_slot;
var live_count: u32 = 0;

pub fn liveCount() u32 {
    lock.lock();
    defer lock.unlock();
    return live_count;
}

/// Registers an object; `destroy` runs once, when the handle is freed and no call uses the object.
pub fn create(kind: Kind, object: *anyopaque, destroy: *const fn (*anyopaque) void) error{OutOfMemory}!u64 {
    lock.lock();
    defer lock.unlock();
    var index = first_free;
    if (index == no_slot) {
        index = @intCast(slots.items.len);
        try slots.append(std.heap.c_allocator, .{
            .generation = 0,
            .kind = kind,
            .references = 0,
            .alive = false,
            .object = object,
            .destroy = destroy,
            .next_free = no_slot,
        });
    } else {
        first_free = slots.items[index].next_free;
    }
    const slot = &slots.items[index];
    slot.generation +%= 1;
    slot.kind = kind;
    slot.references = 1;
    slot.alive = true;
    slot.object = object;
    slot.destroy = destroy;
    live_count += 1;
    return (@as(u64, slot.generation) << 32) | (index + 1);
}

fn find(handle: u64) ?*Slot {
    const low: u32 = @truncate(handle);
    if (low == 0 or low > slots.items.len) return null;
    const slot = &slots.items[low - 1];
    if (!slot.alive or slot.generation != @as(u32, @truncate(handle >> 32))) return null;
    return slot;
}

/// The object behind a handle, held until `release`.
pub fn acquire(comptime T: type, kind: Kind, handle: u64) abi.Failure!*T {
    lock.lock();
    defer lock.unlock();
    return take(T, kind, handle);
}

/// Under the lock.
fn take(comptime T: type, kind: Kind, handle: u64) abi.Failure!*T {
    const slot = find(handle) orelse
        return abi.fail(error.Disposed, "Expected a live {t} handle, got one that was freed or never existed", .{kind});
    if (slot.kind != kind)
        return abi.fail(error.Disposed, "Expected a {t} handle, got a {t} handle", .{ kind, slot.kind });
    slot.references += 1;
    return @ptrCast(@alignCast(slot.object));
}

/// The objects behind several handles of one kind, under one lock: an operation on three short
/// vectors takes little longer than the lock itself. Held until `releaseEach`.
pub fn acquireEach(comptime T: type, kind: Kind, values: []const u64, objects: []*T) abi.Failure!void {
    lock.lock();
    defer lock.unlock();
    for (values, objects, 0..) |value, *object, held| {
        object.* = take(T, kind, value) catch |failure| {
            // Nothing is destroyed here: the handles are alive, so each keeps one reference.
            for (values[0..held]) |taken| slots.items[slotOf(taken)].references -= 1;
            return failure;
        };
    }
}

pub fn releaseEach(values: []const u64) void {
    lock.lock();
    for (values, 0..) |value, index| {
        const slot = &slots.items[slotOf(value)];
        if (slot.references > 1) {
            slot.references -= 1;
            continue;
        }
        // Freed while it was in use; the rest is released one by one, each destroying its object.
        lock.unlock();
        for (values[index..]) |rest| release(rest);
        return;
    }
    lock.unlock();
}

fn slotOf(handle: u64) u32 {
    return @as(u32, @truncate(handle)) - 1;
}

pub fn release(handle: u64) void {
    drop(slotOf(handle));
}

pub fn free(handle: u64) abi.Failure!void {
    {
        lock.lock();
        defer lock.unlock();
        const slot = find(handle) orelse
            return abi.fail(error.Disposed, "Expected a live handle, got one that was freed or never existed", .{});
        slot.alive = false;
        live_count -= 1;
    }
    drop(slotOf(handle));
}

fn drop(index: u32) void {
    lock.lock();
    const slot = &slots.items[index];
    slot.references -= 1;
    if (slot.references > 0) return lock.unlock();
    const object = slot.object;
    const destroy = slot.destroy;
    slot.next_free = first_free;
    first_free = index;
    lock.unlock();
    // Outside the lock: destroying a model releases the handles it holds.
    destroy(object);
}
