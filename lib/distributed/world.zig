//! All processes that a launcher of MPI started together, and what they do together.
//!
//! Every operation is a nonblocking one that is polled until its time is over, and works on memory of
//! this file: MPI may still touch that when the caller has long given up. What is larger than this
//! memory goes in pieces. After a failure the others are somewhere else in the program, so nothing
//! more can be done with them.
//!
//! MPI believes what it is told: ranks that call different things, or with different lengths, get each
//! other's bytes, or crash. So every call begins with a look at what the others call.

const std = @import("std");
const abi = @import("../abi.zig");
const Deadline = @import("deadline.zig").Deadline;
const memory = @import("../memory.zig");
const mpi = @import("mpi.zig");

const reductions = @import("reductions.zig");
const sync = @import("../sync.zig");

const Element = mpi.Element;
const Operation = mpi.Operation;

/// Bytes of a piece, of each rank where ranks have pieces of their own.
const piece_bytes = 4 << 20;

/// What ranks can call together; the end is the least.
const Call = enum(u32) { end, barrier, broadcast, @"all-reduce", @"all-gather", @"reduce-scatter" };

fn callOf(number: f64) Call {
    return @fromBackingInt(@as(u32, @trunc(number)));
}

/// Communicators of one world, so that what is done in different orders is not mixed up.
const Comms = struct {
    /// What is sent.
    data: mpi.Handle = 0,
    /// What is called.
    calls: mpi.Handle = 0,
    /// The second halves of all-reduces.
    halves: mpi.Handle = 0,
};

/// MPI itself, which a process joins and leaves once, whatever number of worlds it has.
const Membership = struct {
    lock: sync.Mutex = .{},
    /// Asked for calls from one thread: the first.
    thread: ?std.Thread.Id = null,
    /// False where somebody else in the process has joined, who will leave as well.
    is_ours: bool = false,
    worlds: u32 = 0,

    fn join(self: *Membership, functions: *const mpi.Table) abi.Failure!void {
        self.lock.lock();
        defer self.lock.unlock();
        var over: c_int = 0;
        var begun: c_int = 0;
        _ = functions.MPI_Finalized(&over);
        if (over != 0) return abi.fail(error.Unsupported, "MPI cannot be started again in a process that has left it", .{});
        const thread = self.thread orelse std.Thread.getCurrentId();
        if (thread != std.Thread.getCurrentId()) return abi.fail(error.Unsupported, "MPI must be used by the thread that joined it first", .{});
        _ = functions.MPI_Initialized(&begun);
        var level: c_int = 0;
        if (begun == 0) {
            if (functions.MPI_Init_thread(null, null, mpi.thread_funneled, &level) != 0)
                return abi.fail(error.Io, "MPI could not be started", .{});
            self.is_ours = true;
        }
        self.thread = thread;
    }

    /// A world has been made.
    fn count(self: *Membership) void {
        self.lock.lock();
        defer self.lock.unlock();
        self.worlds += 1;
    }

    fn leave(self: *Membership, functions: *const mpi.Table) abi.Failure!void {
        self.lock.lock();
        defer self.lock.unlock();
        self.worlds -= 1;
        if (self.worlds > 0 or !self.is_ours) return;
        if (functions.MPI_Finalize() != 0) return abi.fail(error.Io, "MPI could not be left", .{});
    }
};

var membership: Membership = .{};

pub const World = struct {
    functions: mpi.Table,
    names: mpi.Names,
    comms: Comms = .{},
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
    /// What the ranks call: the largest and the negative of the least.
    called: [6]f64 = @splat(0),
    running: reductions.Reductions = .{},

    pub fn create(path: []const u8, timeout: f64) abi.Failure!*World {
        const found = try mpi.find(path);
        const functions = &found.functions;
        try membership.join(functions);
        _ = functions.MPI_Comm_set_errhandler(found.names.world, found.names.errors_return);
        var rank: c_int = 0;
        var size: c_int = 0;
        if (functions.MPI_Comm_rank(found.names.world, &rank) != 0 or functions.MPI_Comm_size(found.names.world, &size) != 0)
            return abi.fail(error.Io, "MPI does not know its processes", .{});
        const self = try allocate(found, @intCast(rank), @intCast(size), timeout);
        errdefer self.destroy();
        inline for (.{ "data", "calls", "halves" }) |comm| try self.copyWorld(&@field(self.comms, comm));
        membership.count();
        return self;
    }

    /// A communicator of all ranks that inherits how errors are told.
    fn copyWorld(self: *World, comm: *mpi.Handle) abi.Failure!void {
        var request: mpi.Handle = 0;
        return self.wait(self.functions.MPI_Comm_idup(self.names.world, comm, &request), &request, "meeting");
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
        if (self.broken or self.running.running.items.len > 0) return;
        memory.free(u8, self.send);
        memory.free(u8, self.receive);
        self.running.deinit();
        std.heap.c_allocator.free(self.counts);
        std.heap.c_allocator.free(self.starts);
        std.heap.c_allocator.destroy(self);
    }

    /// Leaves MPI, together with all others; after a failure nobody waits for them.
    pub fn finish(self: *World) abi.Failure!void {
        if (self.broken) return;
        // MPI_Finalize cannot be given up, so everybody has to be there before, with nothing left to do.
        if (self.thread == std.Thread.getCurrentId()) try self.running.drain(self);
        try self.begin(.end, 0, 0);
        inline for (.{ "data", "calls", "halves" }) |comm| _ = self.functions.MPI_Comm_free(&@field(self.comms, comm));
        return membership.leave(&self.functions);
    }

    pub fn barrier(self: *World) abi.Failure!void {
        return self.begin(.barrier, 0, 0);
    }

    /// Everybody's bytes become those of the root.
    pub fn broadcast(self: *World, data: []u8, root: u32) abi.Failure!void {
        if (root >= self.size) return abi.fail(error.InvalidValue, "Expected a root below {d}, got {d}", .{ self.size, root });
        try self.begin(.broadcast, root, data.len);
        const byte = self.names.element(.u8);
        const room = try self.sendRoom(@min(data.len, piece_bytes));
        var pieces: Pieces = .{ .length = data.len, .most = piece_bytes };
        while (pieces.next()) |piece| {
            const part = data[piece.start..][0..piece.count];
            if (self.rank == root) @memcpy(room[0..part.len], part);
            var request: mpi.Handle = 0;
            const status = self.functions.MPI_Ibcast(room.ptr, @intCast(part.len), byte, @intCast(root), self.comms.data, &request);
            try self.wait(status, &request, "broadcast");
            if (self.rank != root) @memcpy(part, room[0..part.len]);
        }
    }

    /// Everybody's elements become the sum, maximum or minimum over all.
    pub fn allReduce(self: *World, data: []u8, element: Element, operation: Operation) abi.Failure!void {
        try checkNumbers(data.len, element);
        try self.begin(.@"all-reduce", detailOf(element, operation), data.len);
        var pieces: Pieces = .{ .length = data.len, .most = piece_bytes };
        while (pieces.next()) |piece| {
            const part = data[piece.start..][0..piece.count];
            const ticket = try self.running.start(self, part, element, operation);
            try self.running.end(self, ticket, part);
        }
    }

    /// Begins an all-reduce of a copy, and returns its ticket. All ranks begin the same ones, with as
    /// many elements: nobody waits here to look at what the others do.
    pub fn startAllReduce(self: *World, data: []const u8, element: Element, operation: Operation) abi.Failure!u32 {
        try self.enter();
        return self.running.start(self, data, element, operation);
    }

    /// Lets what has begun go on.
    pub fn advanceAllReduces(self: *World) abi.Failure!void {
        try self.enter();
        return self.running.advance(self);
    }

    /// Waits for what has begun, and takes its result.
    pub fn endAllReduce(self: *World, ticket: u32, data: []u8) abi.Failure!void {
        try self.enter();
        return self.running.end(self, ticket, data);
    }

    /// The bytes of all, as many of each, in the order of the ranks.
    pub fn allGather(self: *World, data: []const u8, out: []u8) abi.Failure!void {
        try self.expectAll(out.len, data.len);
        try self.begin(.@"all-gather", 0, data.len);
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
        const status = self.functions.MPI_Iallgather(from, count, byte, to, count, byte, self.comms.data, &request);
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
        try self.begin(.@"all-gather", 1, total);
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
        const status = self.functions.MPI_Iallgatherv(room.ptr, @intCast(own), byte, gathered.ptr, self.counts.ptr, self.starts.ptr, byte, self.comms.data, &request);
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
        if (element == .half) return abi.fail(error.InvalidType, "Expected numbers that are added up as they are, got bf16", .{});
        try checkNumbers(out.len, element);
        try self.expectAll(data.len, out.len);
        try self.begin(.@"reduce-scatter", detailOf(element, operation), data.len);
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
                self.comms.data,
                &request,
            );
            try self.wait(status, &request, "reduce-scatter");
            @memcpy(out[piece.start..][0..piece.count], reduced[0..piece.count]);
        }
    }

    fn enter(self: *World) abi.Failure!void {
        if (self.broken) return abi.fail(error.Io, "This communicator has failed before: the other ranks may be anywhere, start all of them again", .{});
        if (self.thread != std.Thread.getCurrentId())
            return abi.fail(error.Unsupported, "A communicator of MPI must be used by the thread that made it", .{});
        self.operations += 1;
    }

    /// Waits until all ranks are here, and throws on all of them where they call different things.
    fn begin(self: *World, call: Call, detail: u64, bytes: u64) abi.Failure!void {
        try self.enter();
        if (self.size == 1) return;
        const own = [_]u64{ @backingInt(call), detail, bytes };
        for (own, self.called[0..3], self.called[3..]) |value, *most, *least| {
            most.* = @floatFromInt(value);
            least.* = -most.*;
        }
        var request: mpi.Handle = 0;
        const begun = self.functions.MPI_Iallreduce(
            self.names.in_place,
            &self.called,
            self.called.len,
            self.names.element(.f64),
            self.names.operation(.max),
            self.comms.calls,
            &request,
        );
        const name = @tagName(call);
        try self.wait(begun, &request, name);
        const most = self.called[0..3];
        const least = [_]f64{ -self.called[3], -self.called[4], -self.called[5] };
        if (most[0] != least[0]) {
            const calls = [_]Call{ callOf(least[0]), callOf(most[0]) };
            // One of them has left, so that nobody may wait for all again.
            self.broken = calls[0] == .end;
            return abi.fail(
                error.InvalidValue,
                "Expected all ranks to call the same, rank {d} is at the {s} (operation {d}), another rank at the {s}",
                .{ self.rank, name, self.operations, @tagName(calls[@intFromBool(calls[0] == call)]) },
            );
        }
        if (most[2] != least[2]) return abi.fail(
            error.InvalidLength,
            "Expected all ranks to have as many bytes for the {s} (operation {d}), got {d} to {d}, on rank {d} {d}",
            .{ name, self.operations, least[2], most[2], self.rank, bytes },
        );
        if (most[1] != least[1]) return abi.fail(
            error.InvalidValue,
            "Expected all ranks to call the {s} (operation {d}) with elements, an operation and a root that are the same, rank {d} has others than another rank",
            .{ name, self.operations, self.rank },
        );
    }

    /// Waits for what was begun with this result.
    fn wait(self: *World, begun: c_int, request: *mpi.Handle, what: []const u8) abi.Failure!void {
        try self.check(begun, what);
        var deadline: Deadline = .start(self.timeout);
        while (!try self.hasEnded(request, what)) {
            if (!deadline.rest()) return self.late(what);
        }
    }

    /// Looks at a request, which also lets all others go on.
    pub fn hasEnded(self: *World, request: *mpi.Handle, what: []const u8) abi.Failure!bool {
        var status: mpi.Status align(16) = undefined;
        var done: c_int = 0;
        try self.check(self.functions.MPI_Test(request, &done, &status), what);
        return done != 0;
    }

    /// What is said when the time is over.
    pub fn late(self: *World, what: []const u8) abi.Failure {
        self.broken = true;
        return abi.fail(
            error.Timeout,
            "Expected the {s} (operation {d}) of rank {d} to end within {d} s: one of the {d} ranks has died, hangs, or does something else",
            .{ what, self.operations, self.rank, self.timeout, self.size },
        );
    }

    pub fn check(self: *World, result: c_int, what: []const u8) abi.Failure!void {
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
        try reductions.grow(&self.send, bytes);
        return self.send;
    }

    fn receiveRoom(self: *World, bytes: usize) abi.Failure![]align(memory.alignment) u8 {
        try reductions.grow(&self.receive, bytes);
        return self.receive;
    }
};

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

/// What all ranks must have alike.
fn detailOf(element: Element, operation: Operation) u64 {
    return 8 * @as(u64, @backingInt(element)) + @backingInt(operation);
}
