//! One pass over memory, cut into parts for the thread pool.

const threads = @import("threads.zig");

/// Smaller passes end before another thread has begun.
const bytes_min = 256 << 10;

/// From here on even sleeping workers are worth waking.
const bytes_worth_waking = 1 << 20;

/// Parts for each thread, so that one that comes late takes fewer.
const parts_per_thread = 4;

/// Parts of at least `bytes_min` / 2 that `units` can be cut into.
pub fn partsOf(size_bytes: u64, units: usize) u32 {
    const count = threads.getThreads();
    if (count == 1 or size_bytes < bytes_min) return 1;
    if (size_bytes < bytes_worth_waking and !threads.isWarm()) return 1;
    return @intCast(@min(size_bytes / (bytes_min / 2), units, count * parts_per_thread));
}

/// Runs `function(context, part, parts)` for the parts of a pass over `size_bytes`. Must not be called
/// between threads.enter and threads.leave.
pub fn run(size_bytes: u64, units: usize, context: anytype, comptime function: fn (@TypeOf(context), u32, u32) void) void {
    runParts(partsOf(size_bytes, units), context, function);
}

/// The same for parts that the caller has counted.
pub fn runParts(parts: u32, context: anytype, comptime function: fn (@TypeOf(context), u32, u32) void) void {
    if (parts == 1) return function(context, 0, 1);
    threads.enter();
    defer threads.leave();
    threads.run(parts, context, function);
}
