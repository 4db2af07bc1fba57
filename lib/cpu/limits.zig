//! Measures what the machine can do at most: all threads of the pool run a probe of `probes.zig` at
//! the same time, for a given time.
//!
//! Each thread keeps its own part of the memory and repeats it without waiting for the others, as
//! fast as it can; the time is cut into windows, and each pass adds its work to the windows it fell
//! in. A window's rate is the work of all threads in it. That way one interrupted thread spoils a
//! window and not the measurement, and no barrier is measured along with the work.
//!
//!     thread 0   |--pass--|--pass--|--pass--|...
//!     thread 1   |---pass---|---pass---|---...
//!     windows    |    0    |    1    |    2    |

const std = @import("std");
const builtin = @import("builtin");
const abi = @import("../abi.zig");
const memory = @import("../memory.zig");
const probe_table = @import("probe_table.zig");
const threads = @import("threads.zig");

pub const Kind = enum(u32) { read, dot, multiply_add, add };

/// In operations, or bytes read, per nanosecond.
pub const Rates = struct { median: f64, best: f64 };

pub const size_bytes_max = 1 << 30;
pub const duration_ms_max = 1000;
const windows = 25;

/// A pass takes about this long, so that looking at the clock costs nothing.
const pass_ns_min = 20_000;

/// A thread that cannot be started or is kept from running for so long is reported, not waited for.
const gathering_ns_max = 2_000_000_000;

const Work = [windows]f64;

const Probe = struct {
    kernels: *const probe_table.Kernels,
    kind: Kind,
    bytes: []align(memory.alignment) u8,
    window_ns: f64,
    arrived: std.atomic.Value(u32) = .init(0),
    late: std.atomic.Value(bool) = .init(false),
    work: [threads.threads_max]Work = undefined,

    fn run(self: *Probe, part: u32, parts: u32) void {
        const from, const to = threads.share(self.bytes.len / probe_table.read_bytes, part, parts);
        const slice: []align(memory.alignment) u8 = @alignCast(self.bytes[from * probe_table.read_bytes .. to * probe_table.read_bytes]);
        // Pages that were never written all read the same page of zeros.
        @memset(slice, 1);
        const repeats = self.calibrate(slice);
        self.work[part] = @splat(0);
        if (!self.gather(parts)) return;
        const start = nanoseconds();
        const end = start + self.window_ns * windows;
        var begun = start;
        while (begun < end) {
            const done = self.pass(slice, repeats);
            const now = nanoseconds();
            self.credit(&self.work[part], begun - start, now - start, done);
            begun = now;
        }
    }

    /// Repeats of the probe that one pass takes.
    fn calibrate(self: *const Probe, slice: []align(memory.alignment) const u8) u32 {
        var repeats: u32 = 1;
        while (repeats < 1 << 24) : (repeats *= 2) {
            const begun = nanoseconds();
            _ = self.pass(slice, repeats);
            if (nanoseconds() - begun >= pass_ns_min) break;
        }
        return repeats;
    }

    /// Bytes or operations done.
    fn pass(self: *const Probe, slice: []align(memory.alignment) const u8, repeats: u32) f64 {
        const count: f64 = @floatFromInt(repeats);
        switch (self.kind) {
            .read => {
                for (0..repeats) |_| std.mem.doNotOptimizeAway(self.kernels.read(slice.ptr, slice.len));
                return count * @as(f64, @floatFromInt(slice.len));
            },
            .dot => {
                std.mem.doNotOptimizeAway(self.kernels.dot(repeats, 1));
                return count * @as(f64, @floatFromInt(self.kernels.dot_operations));
            },
            .multiply_add => {
                std.mem.doNotOptimizeAway(self.kernels.multiply_add(repeats, 1e-3));
                return count * @as(f64, @floatFromInt(self.kernels.multiply_add_operations));
            },
            .add => {
                std.mem.doNotOptimizeAway(self.kernels.add(repeats, 1e-3));
                return count * @as(f64, @floatFromInt(self.kernels.add_operations));
            },
        }
    }

    /// Waits until every thread is here. Without it a thread could run two parts one after the
    /// other, each with the machine to itself, and the sum would be more than the machine can do.
    fn gather(self: *Probe, parts: u32) bool {
        _ = self.arrived.fetchAdd(1, .acq_rel);
        const begun = nanoseconds();
        var spin: u32 = 0;
        while (self.arrived.load(.acquire) < parts) : (spin += 1) {
            if (self.late.load(.monotonic)) return false;
            if (spin < 1000) {
                std.atomic.spinLoopHint();
            } else if (nanoseconds() - begun > gathering_ns_max) {
                self.late.store(true, .monotonic);
                return false;
            } else {
                std.Thread.yield() catch {};
            }
        }
        return true;
    }

    /// Shares the work of a pass out to the windows in proportion to the time that it spent in them.
    fn credit(self: *const Probe, work: *Work, begun: f64, ended: f64, done: f64) void {
        const first: usize = @intFromFloat(begun / self.window_ns);
        for (first..windows) |window| {
            const window_start = self.window_ns * @as(f64, @floatFromInt(window));
            if (window_start >= ended) return;
            const overlap = @min(ended, window_start + self.window_ns) - @max(begun, window_start);
            work[window] += done * overlap / @max(ended - begun, 1);
        }
    }
};

/// Measures with all threads of the pool; `size_bytes` is what they read together.
pub fn measure(kernels: *const probe_table.Kernels, kind: Kind, size_bytes: u64, duration_ms: u32) abi.Failure!Rates {
    const parts = threads.getThreads();
    const least: u64 = if (kind == .read) @as(u64, probe_table.read_bytes) * parts else 0;
    if (size_bytes < least or size_bytes > size_bytes_max) return abi.fail(
        error.InvalidOption,
        "Expected a size from {d} to {d} bytes for {d} threads, got {d}",
        .{ least, size_bytes_max, parts, size_bytes },
    );
    if (duration_ms == 0 or duration_ms > duration_ms_max) return abi.fail(
        error.InvalidOption,
        "Expected a duration from 1 to {d} ms, got {d}",
        .{ duration_ms_max, duration_ms },
    );
    const bytes = try memory.alloc(u8, if (kind == .read) size_bytes else 0);
    defer memory.free(u8, bytes);
    // Too large for the stack of a caller that is not ours.
    const probe = try std.heap.c_allocator.create(Probe);
    defer std.heap.c_allocator.destroy(probe);
    probe.* = .{
        .kernels = kernels,
        .kind = kind,
        .bytes = bytes,
        .window_ns = @as(f64, @floatFromInt(duration_ms)) * 1e6 / windows,
    };
    {
        threads.enter();
        defer threads.leave();
        threads.run(parts, probe, Probe.run);
    }
    if (probe.late.load(.monotonic))
        return abi.fail(error.Unsupported, "Expected {d} threads at the same time, got fewer within 2 seconds", .{parts});
    return ratesOf(probe.work[0..parts], probe.window_ns);
}

fn ratesOf(work: []const Work, window_ns: f64) Rates {
    var totals: Work = @splat(0);
    for (work) |of_thread| {
        for (&totals, of_thread) |*total, done| total.* += done;
    }
    std.mem.sortUnstable(f64, &totals, {}, std.sort.asc(f64));
    return .{ .median = totals[windows / 2] / window_ns, .best = totals[windows - 1] / window_ns };
}

fn nanoseconds() f64 {
    if (builtin.os.tag == .windows) {
        const ntdll = std.os.windows.ntdll;
        var frequency: std.os.windows.LARGE_INTEGER = undefined;
        var count: std.os.windows.LARGE_INTEGER = undefined;
        _ = ntdll.RtlQueryPerformanceFrequency(&frequency);
        _ = ntdll.RtlQueryPerformanceCounter(&count);
        return @as(f64, @floatFromInt(count)) * 1e9 / @as(f64, @floatFromInt(frequency));
    }
    var now: std.c.timespec = undefined;
    _ = std.c.clock_gettime(.MONOTONIC, &now);
    return @as(f64, @floatFromInt(now.sec)) * 1e9 + @as(f64, @floatFromInt(now.nsec));
}
