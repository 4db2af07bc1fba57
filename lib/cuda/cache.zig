//! The keys and values of a sequence on a device: per layer and kv head [slot][dim], where dim is the
//! head's width padded to what the kernels are compiled for. Slots and policies are those of
//! lib/model/cache.zig.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const driver = @import("driver.zig");
const Flight = @import("flight.zig").Flight;
const host = @import("../model/cache.zig");
const kernels = @import("model_kernels.zig");
const sync = @import("../sync.zig");

const Buffer = backend.Buffer;

pub const Options = host.Options;

/// Tokens of a pass through the layers, at most: enough for the products to fill a device.
pub const chunk_tokens_max = 2048;

/// Tokens of a pass in a sliding cache, which keeps as many more slots.
const sliding_chunk_max = host.chunk_tokens_max;

/// Widths of heads that attention is compiled for.
pub const widths = [_]u32{ 32, 64, 128, 256 };

/// The widest heads that attention on tensor cores is compiled for.
const widest_parts = 128;

/// A head's width, padded.
pub fn paddedWidth(head_dim: u32) abi.Failure!u32 {
    for (widths) |width| if (head_dim <= width) return width;
    return abi.fail(error.Unsupported, "Expected heads of at most {d} numbers on a CUDA device, got {d}", .{ widths[widths.len - 1], head_dim });
}

pub const Cache = struct {
    device: *backend.Device,
    options: Options,
    dim: u32,
    capacity: u32,
    /// Keys of all layers, then values.
    data: *Buffer,
    /// One layer's keys and values as attention to many tokens wants them, once it was needed.
    parts: ?*Buffer = null,
    /// A `kernels.Step`.
    step: *Buffer,
    /// Per layer, the tokens ever appended; equal except between calls of `append`.
    positions: []u64,
    /// One token through a model, recorded; and the model that it is of.
    graph: ?driver.GraphExec = null,
    graph_model: u64 = 0,
    /// What `step` holds when nothing is in flight, where it is known.
    known: ?kernels.Step = null,
    flight: ?Flight = null,
    lock: sync.Mutex = .{},

    pub fn create(device: *backend.Device, options: Options) abi.Failure!*Cache {
        const dim = try paddedWidth(options.head_dim);
        const slack: u64 = if (options.policy == .slide) @min(options.max_tokens, sliding_chunk_max) - 1 else 0;
        const capacity = std.math.cast(u32, options.max_tokens + slack) orelse return error.OutOfMemory;
        const heads = @as(u64, options.layers) * options.kv_heads;
        const rows = std.math.mul(u64, heads, capacity) catch return error.OutOfMemory;
        const bytes = std.math.mul(u64, rows, @as(u64, dim) * 8) catch return error.OutOfMemory;
        const allocator = std.heap.c_allocator;
        const self = try allocator.create(Cache);
        errdefer allocator.destroy(self);
        const positions = try allocator.alloc(u64, options.layers);
        errdefer allocator.free(positions);
        @memset(positions, 0);
        const data: *Buffer = try .create(device, bytes);
        errdefer data.release();
        const step: *Buffer = try .create(device, @sizeOf(kernels.Step));
        self.* = .{ .device = device, .options = options, .dim = dim, .capacity = capacity, .data = data, .step = step, .positions = positions };
        return self;
    }

    pub fn destroy(self: *Cache) void {
        if (self.flight) |*flight| flight.destroy();
        self.dropGraph();
        if (self.parts) |parts| parts.release();
        self.data.release();
        self.step.release();
        std.heap.c_allocator.free(self.positions);
        std.heap.c_allocator.destroy(self);
    }

    /// A graph that still runs is freed by the driver when it is done.
    pub fn dropGraph(self: *Cache) void {
        const graph = self.graph orelse return;
        _ = self.device.driver.cuCtxSetCurrent(self.device.context);
        _ = self.device.driver.cuGraphExecDestroy(graph);
        self.graph = null;
    }

    pub fn flightOf(self: *Cache) abi.Failure!*Flight {
        if (self.flight == null) self.flight = try .create(self.device);
        return &self.flight.?;
    }

    /// Whether a token may be begun that is not asked for yet: its slot must not be one that is seen.
    pub fn hasRoomAhead(self: *const Cache, seen: u64) bool {
        if (self.options.policy == .slide) return self.capacity > self.options.max_tokens and seen < host.tokens_max;
        return seen < self.options.max_tokens;
    }

    /// Forgets a token that was begun: where the sequence is must then be said again.
    pub fn land(self: *Cache) void {
        const flight = if (self.flight) |*flight| flight else return;
        if (flight.begun == null) return;
        flight.begun = null;
        self.known = null;
    }

    /// Four parts of 16 bits for every number, and a scale for every head.
    pub fn makeParts(self: *Cache, stream: *backend.Stream) abi.Failure!void {
        if (self.dim > widest_parts) return;
        if (self.parts == null) {
            const heads = @as(u64, self.options.kv_heads) * self.capacity;
            self.parts = try .create(self.device, heads * (self.dim * 8 + 8));
        }
        _ = try self.parts.?.use(stream);
    }

    pub fn memoryBytes(self: *const Cache) u64 {
        return self.data.bytes + self.step.bytes + (if (self.parts) |parts| parts.bytes else 0) + self.positions.len * @sizeOf(u64) + @sizeOf(Cache);
    }

    pub fn position(self: *const Cache) u64 {
        return std.mem.min(u64, self.positions);
    }

    pub fn held(self: *const Cache, seen: u64) u64 {
        return @min(seen, self.options.max_tokens);
    }

    pub fn chunkTokens(self: *const Cache) u32 {
        return if (self.options.policy == .fail) chunk_tokens_max else self.capacity - self.options.max_tokens + 1;
    }

    pub fn failWhenFull(self: *const Cache, seen: u64, tokens: u64) abi.Failure!void {
        const most = self.options.max_tokens;
        if (self.options.policy == .fail and tokens > most - @min(seen, most)) return abi.fail(
            error.CacheFull,
            "Expected room for {d} more tokens in the cache, got {d} of {d} taken",
            .{ tokens, seen, most },
        );
        // Positions are 32 bits on the device.
        if (seen + tokens > host.tokens_max)
            return abi.fail(error.InvalidLength, "Expected at most {d} tokens in a sequence, got {d}", .{ host.tokens_max, seen + tokens });
    }

    fn headBytes(self: *const Cache) u64 {
        return @as(u64, self.capacity) * self.dim * 4;
    }

    /// Bytes from the buffer's start to a layer's keys.
    pub fn keysOffset(self: *const Cache, layer: usize) u64 {
        return layer * self.options.kv_heads * self.headBytes();
    }

    pub fn valuesOffset(self: *const Cache, layer: usize) u64 {
        return self.data.bytes / 2 + self.keysOffset(layer);
    }

    fn rowLength(self: *const Cache) usize {
        return @as(usize, self.options.kv_heads) * self.options.head_dim;
    }

    fn tokensIn(self: *const Cache, layer: u32, keys: usize, values: usize) abi.Failure!usize {
        if (layer >= self.options.layers)
            return abi.fail(error.InvalidValue, "Expected a layer below {d}, got {d}", .{ self.options.layers, layer });
        if (keys != values or keys % self.rowLength() != 0) return abi.fail(
            error.InvalidLength,
            "Expected keys and values of the same whole number of tokens of {d} elements, got {d} and {d}",
            .{ self.rowLength(), keys, values },
        );
        return keys / self.rowLength();
    }

    pub fn append(self: *Cache, layer: u32, keys: []const f32, values: []const f32) abi.Failure!void {
        const tokens = try self.tokensIn(layer, keys.len, values.len);
        const start = self.positions[layer];
        try self.failWhenFull(start, tokens);
        // What was begun has not seen these.
        self.land();
        // Of more tokens than there are slots only the last ones stay.
        const kept = @min(tokens, self.capacity);
        const skipped = (tokens - kept) * self.rowLength();
        const run: Run = .{ .cache = self, .from = start + tokens - kept, .tokens = kept };
        try run.move(.upload, self.keysOffset(layer), @constCast(keys[skipped..]));
        try run.move(.upload, self.valuesOffset(layer), @constCast(values[skipped..]));
        self.positions[layer] = start + tokens;
    }

    /// The layer's oldest tokens, as many as fit the buffers.
    pub fn read(self: *Cache, layer: u32, keys: []f32, values: []f32) abi.Failure!void {
        const tokens = try self.tokensIn(layer, keys.len, values.len);
        const shown = self.held(self.positions[layer]);
        if (tokens > shown) return abi.fail(
            error.InvalidLength,
            "Expected at most {d} tokens, which the layer holds, got room for {d}",
            .{ shown, tokens },
        );
        const run: Run = .{ .cache = self, .from = self.positions[layer] - shown, .tokens = tokens };
        try run.move(.download, self.keysOffset(layer), keys);
        try run.move(.download, self.valuesOffset(layer), values);
    }

    /// Forgets all tokens but the first `tokens`.
    pub fn truncate(self: *Cache, tokens: u32) abi.Failure!void {
        if (tokens > 0 and self.options.policy == .slide)
            return abi.fail(error.InvalidOption, "Expected 0 tokens to keep in a sliding cache, got {d}", .{tokens});
        if (tokens > self.position()) return abi.fail(
            error.InvalidValue,
            "Expected at most the {d} tokens that the cache holds, got {d}",
            .{ self.position(), tokens },
        );
        self.land();
        @memset(self.positions, tokens);
    }
};

const Direction = enum { upload, download };

/// Tokens on their way between rows of all heads on the host and the heads' slots on the device.
const Run = struct {
    cache: *Cache,
    /// Position of the first.
    from: u64,
    tokens: usize,

    fn move(self: Run, direction: Direction, offset: u64, rows: []f32) abi.Failure!void {
        const cache = self.cache;
        const dim = cache.options.head_dim;
        const stream = try cache.device.stream();
        const base = try cache.data.use(stream) + offset;
        const allocator = std.heap.c_allocator;
        const slots = try allocator.alloc(f32, self.tokens * cache.dim);
        defer allocator.free(slots);
        @memset(slots, 0);
        for (0..cache.options.kv_heads) |head| {
            const first = head * dim;
            if (direction == .upload) for (0..self.tokens) |token| {
                @memcpy(slots[token * cache.dim ..][0..dim], rows[token * cache.rowLength() + first ..][0..dim]);
            };
            try self.moveSlots(direction, stream, base + head * cache.headBytes(), slots);
            if (direction == .download) for (0..self.tokens) |token| {
                @memcpy(rows[token * cache.rowLength() + first ..][0..dim], slots[token * cache.dim ..][0..dim]);
            };
        }
    }

    /// In two pieces where the slots wrap around.
    fn moveSlots(self: Run, direction: Direction, stream: *backend.Stream, base: u64, slots: []f32) abi.Failure!void {
        const cache = self.cache;
        var done: usize = 0;
        while (done < self.tokens) {
            const slot = (self.from + done) % cache.capacity;
            const count: usize = @intCast(@min(self.tokens - done, cache.capacity - slot));
            const bytes = std.mem.sliceAsBytes(slots[done * cache.dim ..][0 .. count * cache.dim]);
            const address = base + slot * cache.dim * 4;
            switch (direction) {
                .upload => try stream.upload(address, bytes),
                .download => try stream.download(address, bytes),
            }
            done += count;
        }
    }
};
