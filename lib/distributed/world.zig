//! All processes that a launcher of MPI started together, and what they do together.
//!
//! Every operation is a nonblocking one that is polled until its time is over, and works on memory of
//! this file: MPI may still touch that when the caller has long given up. What is larger than this
//! memory goes in pieces. After a failure the others are somewhere else in the program, so nothing
//! more can be done with them.

const std = @import("std");
const abi = @import("../abi.zig");
const Deadline = @import("deadline.zig").Deadline;
const memory = @import("../memory.zig");
const mpi = @import("mpi.zig");

const Element = mpi.Element;
const Operation = mpi.Operation;

/// Bytes of a piece, of each rank where ranks have pieces of their own.
const piece_bytes = 4 << 20;

pub const World = struct {
    functions: mpi.Table,
    names: mpi.Names,
    rank: u32,
    size: u32,
    /// Seconds that an operation may take.
    timeout: f64,
    /// MPI was asked for calls from one thread.
    thread: std.Thread.Id,
    broken: bool = false,
    operations: u64 = 0,
    send: []align(memory.alignment) u8,
    receive: []align(memory.alignment) u8,
    counts: []c_int,
    starts: []c_int,

    pub fn create(path: []const u8, timeout: f64) abi.Failure!*World {
        const found = try mpi.find(path);
        const functions = &found.functions;
        var over: c_int = 0;
        var begun: c_int = 0;
        _ = functions.MPI_Finalized(&over);
        if (over != 0) return abi.fail(error.Unsupported, "MPI cannot be started again in a process that has left it", .{});
        _ = functions.MPI_Initialized(&begun);
        var level: c_int = 0;
        if (begun == 0 and functions.MPI_Init_thread(null, null, mpi.thread_funneled, &level) != 0)
            return abi.fail(error.Io, "MPI could not be started", .{});
        _ = functions.MPI_Comm_set_errhandler(found.names.world, found.names.errors_return);
        var rank: c_int = 0;
        var size: c_int = 0;
        if (functions.MPI_Comm_rank(found.names.world, &rank) != 0 or functions.MPI_Comm_size(found.names.world, &size) != 0)
            return abi.fail(error.Io, "MPI does not know its processes", .{});
        return allocate(found, @intCast(rank), @intCast(size), timeout);
    }

    fn allocate(found: mpi.Mpi, rank: u32, size: u32, timeout: f64) abi.Failure!*World {
        const allocator = std.heap.c_allocator;
        const self = try allocator.create(World);
        errdefer allocator.destroy(self);
        const counts = try allocator.alloc(c_int, size);
        errdefer allocator.free(counts);
        const starts = try allocator.alloc(c_int, size);
        errdefer allocator.free(starts);
        const send = try memory.alloc(u8, 0);
        errdefer memory.free(u8, send);
        self.* = .{
            .functions = found.functions,
            .names = found.names,
            .rank = rank,
            .size = size,
            .timeout = timeout,
            .thread = std.Thread.getCurrentId(),
            .send = send,
            .receive = try memory.alloc(u8, 0),
            .counts = counts,
            .starts = starts,
        };
        return self;
    }

    /// Frees the memory, unless an operation that never ended may still use it.
    pub fn destroy(self: *World) void {
        if (self.broken) return;
        memory.free(u8, self.send);
        memory.free(u8, self.receive);
        std.heap.c_allocator.free(self.counts);
        std.heap.c_allocator.free(self.starts);
        std.heap.c_allocator.destroy(self);
    }

    /// Leaves MPI, together with all others.
    pub fn finish(self: *World) abi.Failure!void {
        // MPI_Finalize cannot be given up, so everybody has to be there before.
        try self.barrier();
        if (self.functions.MPI_Finalize() != 0) return abi.fail(error.Io, "MPI could not be left", .{});
    }

    pub fn barrier(self: *World) abi.Failure!void {
        try self.begin();
        var request: mpi.Handle = 0;
        return self.wait(self.functions.MPI_Ibarrier(self.names.world, &request), &request, "barrier");
    }

    /// Everybody's bytes become those of the root.
    pub fn broadcast(self: *World, data: []u8, root: u32) abi.Failure!void {
        if (root >= self.size) return abi.fail(error.InvalidValue, "Expected a root below {d}, got {d}", .{ self.size, root });
        try self.begin();
        const byte = self.names.element(.u8);
        const room = try self.sendRoom(@min(data.len, piece_bytes));
        var pieces: Pieces = .{ .length = data.len, .most = piece_bytes };
        while (pieces.next()) |piece| {
            const part = data[piece.start..][0..piece.count];
            if (self.rank == root) @memcpy(room[0..part.len], part);
            var request: mpi.Handle = 0;
            const status = self.functions.MPI_Ibcast(room.ptr, @intCast(part.len), byte, @intCast(root), self.names.world, &request);
            try self.wait(status, &request, "broadcast");
            if (self.rank != root) @memcpy(part, room[0..part.len]);
        }
    }

    /// Everybody's elements become the sum, maximum or minimum over all.
    pub fn allReduce(self: *World, data: []u8, element: Element, operation: Operation) abi.Failure!void {
        try checkNumbers(data.len, element);
        try self.begin();
        const room = try self.sendRoom(@min(data.len, piece_bytes));
        const reduced = try self.receiveRoom(@min(data.len, piece_bytes));
        var pieces: Pieces = .{ .length = data.len, .most = piece_bytes };
        while (pieces.next()) |piece| {
            const part = data[piece.start..][0..piece.count];
            @memcpy(room[0..part.len], part);
            var request: mpi.Handle = 0;
            const status = self.functions.MPI_Iallreduce(
                room.ptr,
                reduced.ptr,
                @intCast(part.len / element.size()),
                self.names.element(element),
                self.names.operation(operation),
                self.names.world,
                &request,
            );
            try self.wait(status, &request, "all-reduce");
            @memcpy(part, reduced[0..part.len]);
        }
    }

    /// The bytes of all, as many of each, in the order of the ranks.
    pub fn allGather(self: *World, data: []const u8, out: []u8) abi.Failure!void {
        try self.expectAll(out.len, data.len);
        try self.begin();
        const most = piece_bytes / self.size + 1;
        const room = try self.sendRoom(@min(data.len, most));
        const gathered = try self.receiveRoom(self.size * @min(data.len, most));
        var pieces: Pieces = .{ .length = data.len, .most = most };
        while (pieces.next()) |piece| {
            @memcpy(room[0..piece.count], data[piece.start..][0..piece.count]);
            try self.gatherPiece(room.ptr, gathered.ptr, piece.count);
            for (0..self.size) |rank| {
                const from = gathered[rank * piece.count ..][0..piece.count];
                @memcpy(out[rank * data.len + piece.start ..][0..piece.count], from);
            }
        }
    }

    fn gatherPiece(self: *World, from: [*]const u8, to: [*]u8, bytes: usize) abi.Failure!void {
        const byte = self.names.element(.u8);
        const count: c_int = @intCast(bytes);
        var request: mpi.Handle = 0;
        const status = self.functions.MPI_Iallgather(from, count, byte, to, count, byte, self.names.world, &request);
        return self.wait(status, &request, "all-gather");
    }

    /// The bytes of all one after another, `lengths[rank]` of each.
    pub fn allGatherV(self: *World, data: []const u8, lengths: []const u32, out: []u8) abi.Failure!void {
        var total: u64 = 0;
        var longest: usize = 0;
        if (lengths.len != self.size) return abi.fail(error.InvalidLength, "Expected {d} lengths, got {d}", .{ self.size, lengths.len });
        for (lengths) |length| {
            total += length;
            longest = @max(longest, length);
        }
        if (lengths[self.rank] != data.len or total != out.len) return abi.fail(
            error.InvalidLength,
            "Expected {d} bytes and room for {d}, got {d} and {d}",
            .{ lengths[self.rank], total, data.len, out.len },
        );
        try self.begin();
        const most = piece_bytes / self.size + 1;
        const room = try self.sendRoom(@min(data.len, most));
        const gathered = try self.receiveRoom(self.size * @min(longest, most));
        var pieces: Pieces = .{ .length = longest, .most = most };
        while (pieces.next()) |piece| try self.gatherUneven(data, lengths, out, piece, room, gathered);
    }

    fn gatherUneven(self: *World, data: []const u8, lengths: []const u32, out: []u8, piece: Piece, room: []u8, gathered: []u8) abi.Failure!void {
        var used: usize = 0;
        for (lengths, self.counts, self.starts) |length, *count, *start| {
            count.* = @intCast(@min(piece.count, length -| piece.start));
            start.* = @intCast(used);
            used += @intCast(count.*);
        }
        const own: usize = @intCast(self.counts[self.rank]);
        if (own > 0) @memcpy(room[0..own], data[piece.start..][0..own]);
        const byte = self.names.element(.u8);
        var request: mpi.Handle = 0;
        const status = self.functions.MPI_Iallgatherv(room.ptr, @intCast(own), byte, gathered.ptr, self.counts.ptr, self.starts.ptr, byte, self.names.world, &request);
        try self.wait(status, &request, "all-gather");
        var before: usize = 0;
        for (lengths, self.counts, self.starts) |length, count, start| {
            const part = gathered[@intCast(start)..][0..@intCast(count)];
            if (part.len > 0) @memcpy(out[before + piece.start ..][0..part.len], part);
            before += length;
        }
    }

    /// The sum, maximum or minimum of what everybody has for this rank: part `rank` of `data`.
    pub fn reduceScatter(self: *World, data: []const u8, out: []u8, element: Element, operation: Operation) abi.Failure!void {
        try checkNumbers(out.len, element);
        try self.expectAll(data.len, out.len);
        try self.begin();
        const most = std.mem.alignForward(usize, piece_bytes / self.size, 8);
        const room = try self.sendRoom(self.size * @min(out.len, most));
        const reduced = try self.receiveRoom(@min(out.len, most));
        var pieces: Pieces = .{ .length = out.len, .most = most };
        while (pieces.next()) |piece| {
            for (0..self.size) |rank|
                @memcpy(room[rank * piece.count ..][0..piece.count], data[rank * out.len + piece.start ..][0..piece.count]);
            var request: mpi.Handle = 0;
            const status = self.functions.MPI_Ireduce_scatter_block(
                room.ptr,
                reduced.ptr,
                @intCast(piece.count / element.size()),
                self.names.element(element),
                self.names.operation(operation),
                self.names.world,
                &request,
            );
            try self.wait(status, &request, "reduce-scatter");
            @memcpy(out[piece.start..][0..piece.count], reduced[0..piece.count]);
        }
    }

    /// The sum over all with two bytes a value on the way, for which MPI has no type: everybody sends
    /// each rank its part of the values, that rank adds them up in f32 in the order of the ranks and
    /// sends the sum, rounded again, to everybody.
    pub fn allReduceBf16(self: *World, values: []f32) abi.Failure!void {
        try self.begin();
        const most = piece_bytes / 2;
        const share_most = (@min(values.len, most) + self.size - 1) / self.size;
        const all = share_most * self.size;
        const send = std.mem.bytesAsSlice(u16, try self.sendRoom(2 * all));
        const receive = std.mem.bytesAsSlice(u16, try self.receiveRoom(2 * all));
        var pieces: Pieces = .{ .length = values.len, .most = most };
        while (pieces.next()) |piece| {
            const part = values[piece.start..][0..piece.count];
            const share = (part.len + self.size - 1) / self.size;
            const used = share * self.size;
            for (part, send[0..part.len]) |value, *word| word.* = narrow(value);
            @memset(send[part.len..used], 0);
            try self.exchange(send, receive, 2 * share);
            for (send[0..share], 0..) |*word, index| word.* = narrow(sumOf(receive[0..used], index, share));
            try self.gatherPiece(@ptrCast(send.ptr), @ptrCast(receive.ptr), 2 * share);
            for (part, receive[0..part.len]) |*value, word| value.* = widen(word);
        }
    }

    fn exchange(self: *World, send: []u16, receive: []u16, bytes: usize) abi.Failure!void {
        const byte = self.names.element(.u8);
        const count: c_int = @intCast(bytes);
        var request: mpi.Handle = 0;
        const status = self.functions.MPI_Ialltoall(send.ptr, count, byte, receive.ptr, count, byte, self.names.world, &request);
        return self.wait(status, &request, "all-to-all");
    }

    fn begin(self: *World) abi.Failure!void {
        if (self.broken) return abi.fail(error.Io, "This communicator has failed before: the other ranks may be anywhere, start all of them again", .{});
        if (self.thread != std.Thread.getCurrentId())
            return abi.fail(error.Unsupported, "A communicator of MPI must be used by the thread that made it", .{});
        self.operations += 1;
    }

    /// Waits for what was begun with this result.
    fn wait(self: *World, begun: c_int, request: *mpi.Handle, what: []const u8) abi.Failure!void {
        try self.check(begun, what);
        var deadline: Deadline = .start(self.timeout);
        var status: mpi.Status align(16) = undefined;
        while (true) {
            var done: c_int = 0;
            try self.check(self.functions.MPI_Test(request, &done, &status), what);
            if (done != 0) return;
            if (deadline.rest()) continue;
            self.broken = true;
            return abi.fail(
                error.Timeout,
                "Expected the {s} (operation {d}) of rank {d} to end within {d} s: one of the {d} ranks has died, hangs, or does something else",
                .{ what, self.operations, self.rank, self.timeout, self.size },
            );
        }
    }

    fn check(self: *World, result: c_int, what: []const u8) abi.Failure!void {
        if (result == 0) return;
        self.broken = true;
        // MPI_MAX_ERROR_STRING is at most 512.
        var text: [1024]u8 = undefined;
        var length: c_int = 0;
        _ = self.functions.MPI_Error_string(result, &text, &length);
        const meaning = text[0..@intCast(std.math.clamp(length, 0, 200))];
        return abi.fail(error.Io, "The {s} (operation {d}) of rank {d} failed: {s}", .{ what, self.operations, self.rank, meaning });
    }

    fn expectAll(self: *const World, all: u64, one: u64) abi.Failure!void {
        if (all != one * self.size)
            return abi.fail(error.InvalidLength, "Expected {d} bytes for {d} ranks with {d} each, got {d}", .{ one * self.size, self.size, one, all });
    }

    fn sendRoom(self: *World, bytes: usize) abi.Failure![]align(memory.alignment) u8 {
        try grow(&self.send, bytes);
        return self.send;
    }

    fn receiveRoom(self: *World, bytes: usize) abi.Failure![]align(memory.alignment) u8 {
        try grow(&self.receive, bytes);
        return self.receive;
    }
};

fn grow(room: *[]align(memory.alignment) u8, bytes: usize) abi.Failure!void {
    if (room.len >= bytes) return;
    const larger = try memory.alloc(u8, std.mem.alignForward(usize, bytes, memory.alignment));
    memory.free(u8, room.*);
    room.* = larger;
}

const Piece = struct { start: usize, count: usize };

const Pieces = struct {
    length: usize,
    most: usize,
    start: usize = 0,

    fn next(self: *Pieces) ?Piece {
        if (self.start >= self.length) return null;
        const piece: Piece = .{ .start = self.start, .count = @min(self.most, self.length - self.start) };
        self.start += piece.count;
        return piece;
    }
};

fn checkNumbers(bytes: usize, element: Element) abi.Failure!void {
    if (element == .u8) return abi.fail(error.InvalidType, "Expected numbers to be added up, got bytes", .{});
    if (bytes % element.size() != 0)
        return abi.fail(error.InvalidLength, "Expected a multiple of {d} bytes, got {d}", .{ element.size(), bytes });
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
