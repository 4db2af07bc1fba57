//! Waiting for others without waiting for ever.

const std = @import("std");
const builtin = @import("builtin");

/// The longest time to wait, in seconds; beyond that nobody is still interested.
pub const seconds_max = 1e7;
/// The shortest: what is nearer to nothing is a mistake.
pub const seconds_min = 1e-3;

const spins = 64;
const yield_ns = 5_000_000;
const pause_ns = 100_000;

/// Polls again and again until its time is over: at first in a spin, then giving the processor to
/// others, then in short sleeps. Several processes may share a core, and the one that is waited for
/// needs it.
pub const Deadline = struct {
    begun: u64,
    limit: u64,
    polls: u32 = 0,

    pub fn start(seconds: f64) Deadline {
        return .{ .begun = nanoseconds(), .limit = @intFromFloat(@min(seconds, seconds_max) * 1e9) };
    }

    /// Rests until the next poll; false once the time is over.
    pub fn rest(self: *Deadline) bool {
        if (self.polls < spins) {
            self.polls += 1;
            std.atomic.spinLoopHint();
            return true;
        }
        const passed = nanoseconds() - self.begun;
        if (passed > self.limit) return false;
        if (passed < yield_ns) std.Thread.yield() catch {} else sleep();
        return true;
    }
};

const posix = struct {
    extern "c" fn nanosleep(time: *const std.c.timespec, rest: ?*std.c.timespec) c_int;
};

fn sleep() void {
    if (builtin.os.tag == .windows) return std.Thread.yield() catch {};
    _ = posix.nanosleep(&.{ .sec = 0, .nsec = pause_ns }, null);
}

fn nanoseconds() u64 {
    // Nothing of this is reached on Windows, which has no library to wait for.
    if (builtin.os.tag == .windows) return 0;
    var now: std.c.timespec = undefined;
    _ = std.c.clock_gettime(.MONOTONIC, &now);
    return @as(u64, @intCast(now.sec)) * 1_000_000_000 + @as(u64, @intCast(now.nsec));
}
