//! Waiting on a 32-bit word, and the mutex built on it. The library brings its own because it must
//! behave the same inside any host process: no runtime, no allocation, nothing to tear down.

const std = @import("std");
const builtin = @import("builtin");

pub const Word = std.atomic.Value(u32);

/// Sleeps while the word holds `expected`; may wake for no reason.
pub fn wait(word: *const Word, expected: u32) void {
    switch (builtin.os.tag) {
        .linux => {
            const linux = std.os.linux;
            _ = linux.futex_4arg(&word.raw, .{ .cmd = .WAIT, .private = true }, expected, null);
        },
        .macos => _ = std.c.__ulock_wait(.{ .op = .COMPARE_AND_WAIT, .NO_ERRNO = true }, &word.raw, expected, 0),
        .windows => {
            var compare = expected;
            _ = std.os.windows.ntdll.RtlWaitOnAddress(&word.raw, &compare, @sizeOf(u32), null);
        },
        else => @compileError("no word wait for this system"),
    }
}

pub fn wakeAll(word: *const Word) void {
    switch (builtin.os.tag) {
        .linux => _ = std.os.linux.futex_3arg(&word.raw, .{ .cmd = .WAKE, .private = true }, std.math.maxInt(i32)),
        .macos => _ = std.c.__ulock_wake(.{ .op = .COMPARE_AND_WAIT, .NO_ERRNO = true, .WAKE_ALL = true }, &word.raw, 0),
        .windows => std.os.windows.ntdll.RtlWakeAddressAll(&word.raw),
        else => @compileError("no word wake for this system"),
    }
}

/// 0 free, 1 taken, 2 taken and somebody sleeps.
pub const Mutex = struct {
    word: Word = .init(0),

    pub fn lock(self: *Mutex) void {
        if (self.word.cmpxchgStrong(0, 1, .acquire, .monotonic) == null) return;
        var spin: u32 = 0;
        while (spin < 200) : (spin += 1) {
            std.atomic.spinLoopHint();
            if (self.word.cmpxchgWeak(0, 1, .acquire, .monotonic) == null) return;
        }
        while (self.word.swap(2, .acquire) != 0) wait(&self.word, 2);
    }

    pub fn unlock(self: *Mutex) void {
        if (self.word.swap(0, .release) == 2) wakeAll(&self.word);
    }
};
