//! The thread pool: one process-wide set of workers that spin briefly after a job and then park.
//!
//! A job is cut into parts, and whoever is awake takes the next one: the calling thread begins at
//! once and never waits for a worker that sleeps or whose core is busy with something else; it
//! waits only for parts that have been taken. Only one job runs at a time; `enter` is the lock, and
//! it also guards the shared workspace, so that calls from several JavaScript workers take turns
//! instead of fighting for the cores.

const std = @import("std");
const abi = @import("../abi.zig");
const cores = @import("cores.zig");
const memory = @import("../memory.zig");
const sync = @import("../sync.zig");

pub const threads_max = 255;

/// About 20 to 60 microseconds, several times the gap between two operations of a model.
const spin_limit = 1500;

const Job = *const fn (context: *anyopaque, part: u32, parts: u32) void;

/// What the threads agree on, in one word: which job it is, its parts, and the next one to take. A
/// part can only be taken while its job is the current one, and the job's caller does not return
/// before every part is done, so the fields below are stable for whoever has taken one.
const Ticket = packed struct(u64) {
    next: u16 = 0,
    parts: u16 = 0,
    number: u32 = 0,
};

var region_lock: sync.Mutex = .{};
var wanted: std.atomic.Value(u32) = .init(0);
var spawned: u32 = 0;

var ticket: std.atomic.Value(u64) = .init(0);
var job: Job = undefined;
var job_context: *anyopaque = undefined;
/// Parts that are not done.
var pending: sync.Word = .init(0);
var caller_sleeps: std.atomic.Value(bool) = .init(false);
/// Number of the newest job; parked workers wait for it to change.
var newest: sync.Word = .init(0);
var sleepers: sync.Word = .init(0);
/// Changes with the wanted number of threads; workers beyond it wait for that.
var resized: sync.Word = .init(0);

var workspace: []align(memory.alignment) u8 = &.{};

pub fn setThreads(count: u32) abi.Failure!void {
    if (count == 0 or count > threads_max)
        return abi.fail(error.InvalidOption, "Expected a thread count from 1 to {d}, got {d}", .{ threads_max, count });
    wanted.store(count, .monotonic);
    _ = resized.fetchAdd(1, .release);
    sync.wakeAll(&resized);
}

/// Threads used when nothing else was asked for: one per physical core that this process may use.
pub fn getThreads() u32 {
    const count = wanted.load(.monotonic);
    if (count != 0) return count;
    const found = std.math.clamp(cores.physicalCount(), 1, threads_max);
    return wanted.cmpxchgStrong(0, found, .monotonic, .monotonic) orelse found;
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

/// Whether the workers are still awake from the last job. Waking them takes some 50 microseconds.
pub fn isWarm() bool {
    return sleepers.load(.monotonic) == 0;
}

/// Runs `function(context, part, parts)` once for each part and returns when all are done.
/// Must be called between `enter` and `leave`.
pub fn run(parts: u32, context: anytype, comptime function: fn (@TypeOf(context), u32, u32) void) void {
    if (parts <= 1) return function(context, 0, 1);
    const Context = @TypeOf(context);
    const shim = struct {
        fn call(pointer: *anyopaque, part: u32, count: u32) void {
            function(@as(*const Context, @ptrCast(@alignCast(pointer))).*, part, count);
        }
    };
    ensureWorkers(@min(parts, getThreads()));
    var local = context;
    job = shim.call;
    job_context = @ptrCast(&local);
    pending.store(parts, .monotonic);
    const number = newest.raw +% 1;
    ticket.store(@bitCast(Ticket{ .parts = @intCast(parts), .number = number }), .release);
    newest.store(number, .seq_cst);
    if (sleepers.load(.seq_cst) > 0) sync.wakeAll(&newest);

    takeParts(number);
    var spin: u32 = 0;
    while (spin < spin_limit) : (spin += 1) {
        if (pending.load(.acquire) == 0) return;
        std.atomic.spinLoopHint();
    }
    caller_sleeps.store(true, .seq_cst);
    defer caller_sleeps.store(false, .monotonic);
    while (true) {
        const left = pending.load(.seq_cst);
        if (left == 0) return;
        sync.wait(&pending, left);
    }
}

fn takeParts(number: u32) void {
    while (takePart(number)) |taken| {
        job(job_context, taken.next, taken.parts);
        if (pending.fetchSub(1, .seq_cst) == 1 and caller_sleeps.load(.seq_cst)) sync.wakeAll(&pending);
    }
}

fn takePart(number: u32) ?Ticket {
    var seen = ticket.load(.acquire);
    while (true) {
        const now: Ticket = @bitCast(seen);
        if (now.number != number or now.next >= now.parts) return null;
        var after = now;
        after.next += 1;
        seen = ticket.cmpxchgWeak(seen, @bitCast(after), .acq_rel, .acquire) orelse return now;
    }
}

/// The half-open share of `total` items that part `index` of `count` covers.
pub fn share(total: usize, index: u32, count: u32) struct { usize, usize } {
    return .{ total * index / count, total * (index + 1) / count };
}

/// Starts workers up to count - 1; fewer where the system refuses.
fn ensureWorkers(count: u32) void {
    while (spawned + 1 < count) : (spawned += 1) {
        const thread = std.Thread.spawn(.{ .stack_size = 1 << 20 }, workerLoop, .{ spawned + 1, newest.raw }) catch return;
        thread.detach();
    }
}

fn workerLoop(index: u32, start: u32) void {
    var seen = start;
    while (true) {
        const version = resized.load(.acquire);
        if (index >= getThreads()) {
            // What it has seen stays as old as it is: a job may have begun before this one woke.
            sync.wait(&resized, version);
            continue;
        }
        seen = nextJob(seen);
        takeParts(seen);
    }
}

fn nextJob(seen: u32) u32 {
    var spin: u32 = 0;
    while (spin < spin_limit) : (spin += 1) {
        const now = newest.load(.acquire);
        if (now != seen) return now;
        std.atomic.spinLoopHint();
    }
    _ = sleepers.fetchAdd(1, .seq_cst);
    defer _ = sleepers.fetchSub(1, .monotonic);
    while (true) {
        const now = newest.load(.seq_cst);
        if (now != seen) return now;
        sync.wait(&newest, seen);
    }
}
