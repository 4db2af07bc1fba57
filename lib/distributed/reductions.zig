//! All-reduces that go on while the caller does something else.
//!
//! Each works on memory of its own, which MPI may touch until it has ended. MPI matches what the ranks
//! do by the order in which they do it. All-reduces begin in the same order everywhere; the second
//! halves of those with bf16 begin when the first halves have ended, which is another moment on every
//! rank, so they have a communicator to themselves and begin in the order of the first ones.

const std = @import("std");
const abi = @import("../abi.zig");
const Deadline = @import("deadline.zig").Deadline;
const memory = @import("../memory.zig");
const mpi = @import("mpi.zig");
const World = @import("world.zig").World;

const Element = mpi.Element;
const Operation = mpi.Operation;
const Room = []align(memory.alignment) u8;

const name = "all-reduce";

/// Bytes of one all-reduce: MPI counts with 31 bits.
pub const bytes_max = 1 << 30;

const Step = enum { reducing, gathering, done };

const Reduction = struct {
    ticket: u32,
    element: Element,
    bytes: usize,
    /// The values and then their sum; with bf16 what is sent and what is received.
    rooms: [2]Room,
    request: mpi.Handle = 0,
    step: Step = .reducing,

    /// Words of each rank's part, with bf16.
    fn share(self: *const Reduction, size: usize) usize {
        return (self.bytes / 4 + size - 1) / size;
    }

    fn begin(self: *Reduction, world: *World, data: []const u8, operation: Operation) abi.Failure!void {
        if (data.len == 0) {
            self.step = .done;
        } else if (self.element == .half) {
            try self.scatter(world, data);
        } else {
            @memcpy(self.rooms[0][0..data.len], data);
            const names = &world.names;
            const count: c_int = @intCast(data.len / self.element.size());
            try world.check(world.functions.MPI_Iallreduce(
                names.in_place,
                self.rooms[0].ptr,
                count,
                names.element(self.element),
                names.operation(operation),
                world.comms.data,
                &self.request,
            ), name);
        }
    }

    /// Two bytes a value: everybody sends each rank its part of the values, ...
    fn scatter(self: *Reduction, world: *World, data: []const u8) abi.Failure!void {
        const part = self.share(world.size);
        const words = std.mem.bytesAsSlice(u16, self.rooms[0][0 .. 2 * part * world.size]);
        const values = std.mem.bytesAsSlice(f32, data);
        for (values, words[0..values.len]) |value, *word| word.* = narrow(value);
        @memset(words[values.len..], 0);
        const byte = world.names.element(.u8);
        const count: c_int = @intCast(2 * part);
        const begun = world.functions.MPI_Ialltoall(words.ptr, count, byte, self.rooms[1].ptr, count, byte, world.comms.data, &self.request);
        return world.check(begun, name);
    }

    /// ... and that rank adds them up in f32 in the order of the ranks, and sends the sum, rounded again,
    /// to everybody.
    fn gather(self: *Reduction, world: *World) abi.Failure!void {
        const part = self.share(world.size);
        const sums = std.mem.bytesAsSlice(u16, self.rooms[0][0 .. 2 * part]);
        const words = std.mem.bytesAsSlice(u16, self.rooms[1][0 .. 2 * part * world.size]);
        for (sums, 0..) |*sum, index| sum.* = narrow(sumOf(words, index, part));
        const byte = world.names.element(.u8);
        const count: c_int = @intCast(2 * part);
        self.step = .gathering;
        const begun = world.functions.MPI_Iallgather(sums.ptr, count, byte, self.rooms[1].ptr, count, byte, world.comms.halves, &self.request);
        return world.check(begun, name);
    }

    /// Goes on where it can; whoever comes later may begin a second half once this one has.
    fn advance(self: *Reduction, world: *World) abi.Failure!void {
        if (self.step == .done or !try world.hasEnded(&self.request, name)) return;
        if (self.step == .reducing and self.element == .half) return self.gather(world);
        self.step = .done;
    }

    fn write(self: *const Reduction, data: []u8) void {
        if (self.element != .half) {
            @memcpy(data, self.rooms[0][0..data.len]);
        } else {
            const values = std.mem.bytesAsSlice(f32, data);
            const words = std.mem.bytesAsSlice(u16, self.rooms[1]);
            for (values, words[0..values.len]) |*value, word| value.* = widen(word);
        }
    }
};

pub const Reductions = struct {
    /// Those that have not ended, in the order in which they began.
    running: std.ArrayList(Reduction) = .empty,
    /// Memory of those that have.
    spare: std.ArrayList([2]Room) = .empty,
    next: u32 = 0,

    const allocator = std.heap.c_allocator;

    /// Nothing may be running any more.
    pub fn deinit(self: *Reductions) void {
        for (self.spare.items) |rooms| for (rooms) |room| memory.free(u8, room);
        self.spare.deinit(allocator);
        self.running.deinit(allocator);
    }

    /// Begins to add up a copy of the values; the ticket is what `end` is called with.
    pub fn start(self: *Reductions, world: *World, data: []const u8, element: Element, operation: Operation) abi.Failure!u32 {
        if (element == .u8) return abi.fail(error.InvalidType, "Expected numbers to be added up, got bytes", .{});
        if (element == .half and operation != .sum) return abi.fail(error.InvalidOption, "Expected a sum of bf16, got another operation", .{});
        if (data.len % element.size() != 0 or data.len > bytes_max)
            return abi.fail(error.InvalidLength, "Expected a multiple of {d} bytes, at most {d}, got {d}", .{ element.size(), bytes_max, data.len });
        // Before anything is begun: later there is nothing that could fail but MPI.
        try self.running.ensureUnusedCapacity(allocator, 1);
        try self.spare.ensureTotalCapacity(allocator, self.running.items.len + self.spare.items.len + 1);
        var made: Reduction = .{ .ticket = self.next, .element = element, .bytes = data.len, .rooms = undefined };
        made.rooms = try self.takeRooms(if (element == .half) 2 * made.share(world.size) * world.size else data.len, element == .half);
        self.running.appendAssumeCapacity(made);
        self.next +%= 1;
        try self.running.items[self.running.items.len - 1].begin(world, data, operation);
        return made.ticket;
    }

    fn takeRooms(self: *Reductions, bytes: usize, both: bool) error{OutOfMemory}![2]Room {
        var rooms: [2]Room = self.spare.pop() orelse .{ try memory.alloc(u8, 0), try memory.alloc(u8, 0) };
        errdefer self.spare.appendAssumeCapacity(rooms);
        try grow(&rooms[0], bytes);
        if (both) try grow(&rooms[1], bytes);
        return rooms;
    }

    /// Lets go on what can.
    pub fn advance(self: *Reductions, world: *World) abi.Failure!void {
        for (self.running.items) |*one| {
            try one.advance(world);
            // A look at the first that has not ended moves all of them.
            if (one.step == .reducing) return;
        }
    }

    /// Waits for one, and copies its result.
    pub fn end(self: *Reductions, world: *World, ticket: u32, data: []u8) abi.Failure!void {
        const index = for (self.running.items, 0..) |one, index| {
            if (one.ticket == ticket) break index;
        } else return abi.fail(error.InvalidValue, "Expected the ticket of an all-reduce that has not ended, got {d}", .{ticket});
        const one = &self.running.items[index];
        if (one.bytes != data.len) return abi.fail(error.InvalidLength, "Expected room for {d} bytes, got {d}", .{ one.bytes, data.len });
        var deadline: Deadline = .start(world.timeout);
        while (one.step != .done) {
            try self.advance(world);
            if (one.step != .done and !deadline.rest()) return world.late(name);
        }
        one.write(data);
        self.spare.appendAssumeCapacity(self.running.orderedRemove(index).rooms);
    }

    /// Waits for all of them; nobody wants the results any more.
    pub fn drain(self: *Reductions, world: *World) abi.Failure!void {
        var deadline: Deadline = .start(world.timeout);
        while (self.running.items.len > 0) {
            const first = &self.running.items[0];
            if (first.step == .done) {
                self.spare.appendAssumeCapacity(self.running.orderedRemove(0).rooms);
                continue;
            }
            try self.advance(world);
            if (first.step != .done and !deadline.rest()) return world.late(name);
        }
    }
};

pub fn grow(room: *Room, bytes: usize) error{OutOfMemory}!void {
    if (room.len >= bytes) return;
    const larger = try memory.alloc(u8, std.mem.alignForward(usize, bytes, memory.alignment));
    memory.free(u8, room.*);
    room.* = larger;
}

fn sumOf(words: []const u16, index: usize, share: usize) f32 {
    var sum: f32 = 0;
    var at = index;
    while (at < words.len) : (at += share) sum += widen(words[at]);
    return sum;
}

/// To nearest, ties to even; NaN stays NaN.
fn narrow(value: f32) u16 {
    const bits: u32 = @bitCast(value);
    if (value != value) return @truncate(bits >> 16 | 0x40);
    return @truncate((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

fn widen(word: u16) f32 {
    return @bitCast(@as(u32, word) << 16);
}

test "bf16 rounds to nearest even" {
    for ([_][2]u32{ .{ 0x3f80_8000, 0x3f80 }, .{ 0x3f81_8000, 0x3f82 }, .{ 0x3f80_8001, 0x3f81 }, .{ 0x7f7f_ffff, 0x7f80 }, .{ 0x8000_0000, 0x8000 } }) |case|
        try std.testing.expectEqual(case[1], narrow(@bitCast(case[0])));
    try std.testing.expect(std.math.isNan(widen(narrow(std.math.nan(f32)))));
}
