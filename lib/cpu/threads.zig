//! The thread pool: one process-wide set of workers that spin briefly after a job and then park.
//!
//! Work is fork-join: the calling thread is worker 0 and returns when all have finished. Only one
//! parallel region runs at a time; `enter` is the lock, and it also guards the shared workspace, so
//! that calls from several JavaScript workers take turns instead of fighting for the cores.
//! Spinning is bounded everywhere: on a machine whose cores are shared, a spinning barrier stalls
//! for a whole scheduler slice.

const std = @import("std");
const abi = @import("../abi.zig");
const cores = @import("cores.zig");
const memory = @import("../memory.zig");
const sync = @import("../sync.zig");

/// Fits the low byte of the region word.
pub const threads_max = 255;

/// About 20 to 60 microseconds, several times the gap between two operations of a model.
const spin_limit = 1500;

const Job = *const fn (context: *anyopaque, index: u32, count: u32) void;

var region_lock: sync.Mutex = .{};
var wanted: std.atomic.Value(u32) = .init(0);
var spawned: u32 = 0;

/// Number of the region (upper 24 bits) and its thread count (low 8 bits) in one word, so that a
/// worker learns both at once; a worker that is not counted never looks at the job.
var region: sync.Word = .init(0);
var pending: sync.Word = .init(0);
var sleepers: sync.Word = .init(0);
var job: Job = undefined;
var job_context: *anyopaque = undefined;

var barrier_arrived: std.atomic.Value(u32) = .init(0);
var barrier_phase: sync.Word = .init(0);
var barrier_sleepers: sync.Word = .init(0);

var workspace: []align(memory.alignment) u8 = &.{};

pub fn setThreads(count: u32) abi.Failure!void {
    if (count == 0 or count > threads_max)
        return abi.fail(error.InvalidOption, "Expected a thread count from 1 to {d}, got {d}", .{ threads_max, count });
    wanted.store(count, .monotonic);
}

/// Threads used when nothing else was asked for: one per physical core that this process may use.
pub fn getThreads() u32 {
    const count = wanted.load(.monotonic);
    if (count != 0) return count;
    const found = std.math.clamp(cores.physicalCount(), 1, threads_max);
    wanted.store(found, .monotonic);
    return found;
}

/// Begins a region: takes the pool and the workspace until `leave`.
pub fn enter() void {
    region_lock.lock();
}

pub fn leave() void {
    region_lock.unlock();
}

/// Scratch memory of the current region, kept between calls so that the hot path allocates nothing.
pub fn scratch(size_bytes: usize) error{OutOfMemory}![]align(memory.alignment) u8 {
    if (workspace.len < size_bytes) {
        if (workspace.len > 0) memory.free(u8, workspace);
        workspace = &.{};
        workspace = try memory.alloc(u8, size_bytes + size_bytes / 4);
    }
    return workspace[0..size_bytes];
}

/// Runs `function(context, index, count)` on `count` threads and returns when all are done.
/// Must be called between `enter` and `leave`.
pub fn run(count_wanted: u32, context: anytype, comptime function: fn (@TypeOf(context), u32, u32) void) void {
    const Context = @TypeOf(context);
    const shim = struct {
        fn call(pointer: *anyopaque, index: u32, count: u32) void {
            function(@as(*const Context, @ptrCast(@alignCast(pointer))).*, index, count);
        }
    };
    const count = @min(count_wanted, ensureWorkers(count_wanted));
    if (count <= 1) return function(context, 0, 1);
    var local = context;
    job = shim.call;
    job_context = @ptrCast(&local);
    pending.store(count - 1, .monotonic);
    const number = (region.raw >> 8) +% 1;
    region.store((number << 8) | count, .seq_cst);
    if (sleepers.load(.seq_cst) > 0) sync.wakeAll(&region);

    function(context, 0, count);

    var left = pending.load(.acquire);
    while (left != 0) left = sync.waitForChange(&pending, left, spin_limit);
}

/// Every thread of the running region waits here for the others.
pub fn barrier(count: u32) void {
    if (count <= 1) return;
    const phase = barrier_phase.load(.acquire);
    if (barrier_arrived.fetchAdd(1, .acq_rel) + 1 == count) {
        barrier_arrived.store(0, .monotonic);
        barrier_phase.store(phase +% 1, .seq_cst);
        if (barrier_sleepers.load(.seq_cst) > 0) sync.wakeAll(&barrier_phase);
        return;
    }
    var spin: u32 = 0;
    while (spin < spin_limit) : (spin += 1) {
        if (barrier_phase.load(.acquire) != phase) return;
        std.atomic.spinLoopHint();
    }
    _ = barrier_sleepers.fetchAdd(1, .seq_cst);
    while (barrier_phase.load(.seq_cst) == phase) sync.wait(&barrier_phase, phase);
    _ = barrier_sleepers.fetchSub(1, .monotonic);
}

/// The half-open share of `total` items that thread `index` of `count` takes.
pub fn share(total: usize, index: u32, count: u32) struct { usize, usize } {
    return .{ total * index / count, total * (index + 1) / count };
}

/// Starts workers up to count - 1; fewer where the system refuses. Returns the threads there are.
fn ensureWorkers(count: u32) u32 {
    while (spawned + 1 < count) {
        const thread = std.Thread.spawn(
            .{ .stack_size = 1 << 20 },
            workerLoop,
            .{ spawned + 1, region.raw },
        ) catch break;
        thread.detach();
        spawned += 1;
    }
    return spawned + 1;
}

fn workerLoop(index: u32, start: u32) void {
    var seen = start;
    while (true) {
        seen = nextRegion(seen);
        const count = seen & 0xff;
        if (index >= count) continue;
        job(job_context, index, count);
        if (pending.fetchSub(1, .acq_rel) == 1) sync.wakeAll(&pending);
    }
}

fn nextRegion(seen: u32) u32 {
    var spin: u32 = 0;
    while (spin < spin_limit) : (spin += 1) {
        const now = region.load(.acquire);
        if (now != seen) return now;
        std.atomic.spinLoopHint();
    }
    _ = sleepers.fetchAdd(1, .seq_cst);
    defer _ = sleepers.fetchSub(1, .monotonic);
    while (true) {
        const now = region.load(.seq_cst);
        if (now != seen) return now;
        sync.wait(&region, seen);
    }
}
