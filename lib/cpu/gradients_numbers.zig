//! The numbers and bytes that payloads are put together from.

const std = @import("std");

pub const Output = struct {
    bytes: []u8,
    used: usize = 0,
    /// Something has not been written.
    is_full: bool = false,

    pub fn all(self: *Output, source: []const u8) void {
        if (self.is_full or source.len > self.bytes.len - self.used) {
            self.is_full = true;
            return;
        }
        @memcpy(self.bytes[self.used..][0..source.len], source);
        self.used += source.len;
    }

    pub fn word(self: *Output, value: u32) void {
        self.all(std.mem.asBytes(&std.mem.nativeToLittle(u32, value)));
    }

    /// 7 bits a byte, the lowest first.
    pub fn number(self: *Output, value: usize) void {
        var rest = value;
        while (rest >= 0x80) : (rest >>= 7) self.all(&.{@intCast(rest & 0x7f | 0x80)});
        self.all(&.{@intCast(rest)});
    }
};

/// Takes them off; null where there are none left.
pub const Input = struct {
    bytes: []const u8,

    pub fn take(self: *Input, count: usize) ?[]const u8 {
        if (count > self.bytes.len) return null;
        defer self.bytes = self.bytes[count..];
        return self.bytes[0..count];
    }

    pub fn word(self: *Input) ?u32 {
        return std.mem.readInt(u32, (self.take(4) orelse return null)[0..4], .little);
    }

    /// Below 2^35.
    pub fn number(self: *Input) ?usize {
        var value: u64 = 0;
        for (0..5) |i| {
            const byte = (self.take(1) orelse return null)[0];
            value |= @as(u64, byte & 0x7f) << @intCast(7 * i);
            if (byte < 0x80) return @intCast(value);
        }
        return null;
    }
};
