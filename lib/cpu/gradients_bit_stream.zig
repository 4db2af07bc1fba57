//! Bits one after the other, the lowest of each byte first.

const std = @import("std");

/// Writes up to 32 bits at a time. There must be room for 8 bytes more than will be used.
pub const Writer = extern struct {
    bytes: [*]u8,
    used: usize = 0,
    word: u64 = 0,
    filled: u64 = 0,

    pub inline fn append(self: *Writer, value: u32, count: u32) void {
        self.word |= @as(u64, value) << @intCast(self.filled);
        self.bytes[self.used..][0..8].* = @bitCast(std.mem.nativeToLittle(u64, self.word));
        self.filled += count;
        const whole = self.filled / 8;
        self.used += whole;
        // Never all 64 at once: at most 7 + 32 are there.
        self.word >>= @intCast(whole * 8);
        self.filled %= 8;
    }

    /// Bytes that hold everything so far.
    pub fn length(self: *const Writer) usize {
        return self.used + @intFromBool(self.filled != 0);
    }
};

/// Reads them; beyond the end there are zeros, and `isExact` fails.
pub const Reader = struct {
    bytes: [*]const u8,
    length: usize,
    place: usize = 0,
    word: u64 = 0,
    filled: u32 = 0,

    pub fn init(bytes: []const u8) Reader {
        return .{ .bytes = bytes.ptr, .length = bytes.len };
    }

    /// Makes sure of 56 bits.
    pub inline fn fill(self: *Reader) void {
        if (self.place + 8 <= self.length) {
            const next: u64 = std.mem.littleToNative(u64, @bitCast(self.bytes[self.place..][0..8].*));
            self.word |= next << @intCast(self.filled);
            const taken = (63 - self.filled) / 8;
            self.place += taken;
            self.filled += taken * 8;
        } else self.fillSlowly();
    }

    noinline fn fillSlowly(self: *Reader) void {
        while (self.filled < 56) : (self.filled += 8) {
            const byte: u64 = if (self.place < self.length) self.bytes[self.place] else 0;
            self.place += 1;
            self.word |= byte << @intCast(self.filled);
        }
    }

    /// At most 32 bits of those that `fill` made sure of.
    pub inline fn take(self: *Reader, count: u32) u32 {
        const mask = (@as(u64, 1) << @intCast(count)) - 1;
        const value: u32 = @truncate(self.word & mask);
        self.word >>= @intCast(count);
        self.filled -= count;
        return value;
    }

    pub fn read(self: *Reader, count: u32) u32 {
        self.fill();
        return self.take(count);
    }

    /// Bytes that have been begun.
    pub fn begun(self: *const Reader) usize {
        return (self.place * 8 - self.filled + 7) / 8;
    }

    /// Whether all bytes were needed and no more.
    pub fn isExact(self: *const Reader) bool {
        return self.begun() == self.length;
    }
};
