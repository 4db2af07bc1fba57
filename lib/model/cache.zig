//! The keys and values of the tokens that a model has seen: preallocated, per layer and kv head, in
//! the layout that attention reads (cpu/nn_table.zig), keys after their rotation.
//!
//! Position p lives in slot p mod capacity. A cache that reports an error when it is full has as many
//! slots as tokens. A sliding one shows each query the last `max_tokens` positions up to its own, also
//! inside a chunk, so it has slack for a chunk: the chunk's first query still needs its oldest key
//! when the keys of all the others are written already.
//!
//!     slots:   [ p-max+1 ... p ][ p+1 ... p+n-1 ]      n tokens of a chunk, capacity >= max + n - 1

const std = @import("std");
const abi = @import("../abi.zig");
const memory = @import("../memory.zig");
const nn_table = @import("../cpu/nn_table.zig");
const sync = @import("../sync.zig");

/// Tokens that one pass through the layers takes at most.
pub const chunk_tokens_max = 128;

/// Positions fit an i32 with room to add to them.
pub const tokens_max = std.math.maxInt(i32);

pub const Policy = enum(u32) { fail = 0, slide = 1 };

pub const Options = struct {
    layers: u32,
    kv_heads: u32,
    head_dim: u32,
    max_tokens: u32,
    policy: Policy,
};

pub const Cache = struct {
    options: Options,
    /// Elements of one value: head_dim padded to whole vectors.
    value_dim: u32,
    /// A multiple of 16.
    capacity: u64,
    keys: []align(memory.alignment) f32,
    values: []align(memory.alignment) f32,
    /// Per layer, the tokens ever appended; equal except between calls of `append`.
    positions: []u64,
    /// Held by a call for as long as it uses the cache.
    lock: sync.Mutex = .{},

    pub fn create(options: Options) abi.Failure!*Cache {
        const slack: u64 = if (options.policy == .slide) @min(options.max_tokens, chunk_tokens_max) - 1 else 0;
        const capacity = std.mem.alignForward(u64, options.max_tokens + slack, nn_table.key_block);
        const value_dim = std.math.cast(u32, std.mem.alignForward(u64, options.head_dim, 16)) orelse return error.OutOfMemory;
        const heads = @as(u64, options.layers) * options.kv_heads;
        const rows = std.math.mul(u64, heads, capacity) catch return error.OutOfMemory;
        const key_count = std.math.mul(u64, rows, options.head_dim) catch return error.OutOfMemory;
        const value_count = std.math.mul(u64, rows, value_dim) catch return error.OutOfMemory;

        const allocator = std.heap.c_allocator;
        const self = try allocator.create(Cache);
        errdefer allocator.destroy(self);
        const positions = try allocator.alloc(u64, options.layers);
        errdefer allocator.free(positions);
        const keys = try memory.alloc(f32, key_count);
        errdefer memory.free(f32, keys);
        const values = try memory.alloc(f32, value_count);
        @memset(positions, 0);
        self.* = .{
            .options = options,
            .value_dim = value_dim,
            .capacity = capacity,
            .keys = keys,
            .values = values,
            .positions = positions,
        };
        return self;
    }

    pub fn destroy(self: *Cache) void {
        memory.free(f32, self.keys);
        memory.free(f32, self.values);
        std.heap.c_allocator.free(self.positions);
        std.heap.c_allocator.destroy(self);
    }

    pub fn memoryBytes(self: *const Cache) u64 {
        return (self.keys.len + self.values.len) * @sizeOf(f32) + self.positions.len * @sizeOf(u64) + @sizeOf(Cache);
    }

    /// Tokens that every layer has seen.
    pub fn position(self: *const Cache) u64 {
        return std.mem.min(u64, self.positions);
    }

    /// Tokens that a layer that has seen `seen` of them shows.
    pub fn held(self: *const Cache, seen: u64) u64 {
        return @min(seen, self.options.max_tokens);
    }

    /// Tokens of a chunk, so that no key is overwritten that a query of the chunk still sees.
    pub fn chunkTokens(self: *const Cache) u32 {
        if (self.options.policy == .fail) return chunk_tokens_max;
        return @intCast(@min(self.capacity - self.options.max_tokens + 1, chunk_tokens_max));
    }

    pub fn failWhenFull(self: *const Cache, seen: u64, tokens: u64) abi.Failure!void {
        const most = self.options.max_tokens;
        if (self.options.policy == .fail and tokens > most - @min(seen, most)) return abi.fail(
            error.CacheFull,
            "Expected room for {d} more tokens in the cache, got {d} of {d} taken",
            .{ tokens, seen, most },
        );
    }

    /// Keys of a layer and head, from the block of slot 0 on.
    pub fn keysOf(self: *const Cache, layer: usize, head: usize) [*]f32 {
        const size = self.capacity * self.options.head_dim;
        return self.keys.ptr + (layer * self.options.kv_heads + head) * size;
    }

    pub fn valuesOf(self: *const Cache, layer: usize, head: usize) [*]f32 {
        const size = self.capacity * self.value_dim;
        return self.values.ptr + (layer * self.options.kv_heads + head) * size;
    }

    /// Writes the keys and values of all heads at a position; does not move the layer's position.
    pub fn store(self: *Cache, layer: usize, at: u64, keys: [*]const f32, values: [*]const f32) void {
        const dim = self.options.head_dim;
        for (0..self.options.kv_heads) |head| self.storeHead(layer, head, at, keys + head * dim, values + head * dim);
    }

    /// The same for one head.
    pub fn storeHead(self: *Cache, layer: usize, head: usize, at: u64, key: [*]const f32, value: [*]const f32) void {
        const dim = self.options.head_dim;
        const slot: usize = @intCast(at % self.capacity);
        const column = self.keyColumn(layer, head, slot);
        for (key[0..dim], 0..) |element, d| column[d * nn_table.key_block] = element;
        const row = self.valuesOf(layer, head) + slot * self.value_dim;
        @memcpy(row[0..dim], value[0..dim]);
        @memset(row[dim..self.value_dim], 0);
    }

    /// Asks for the memory that a token at a position will be written to: a key's elements lie 64
    /// bytes apart, and waiting for each of them takes longer than attention to a short text.
    pub fn prefetch(self: *const Cache, layer: usize, head: usize, at: u64) void {
        const dim = self.options.head_dim;
        const slot: usize = @intCast(at % self.capacity);
        const column = self.keyColumn(layer, head, slot);
        for (0..dim) |d| @prefetch(column + d * nn_table.key_block, .{ .locality = 2 });
        const row = self.valuesOf(layer, head) + slot * self.value_dim;
        var d: usize = 0;
        while (d < dim) : (d += 16) @prefetch(row + d, .{ .locality = 2 });
    }

    /// Appends tokens to all layers whose values are NaN, so that whoever sees them gets NaN.
    pub fn poison(self: *Cache, tokens: u64) void {
        const start = self.positions[0];
        const row_length = self.value_dim;
        for (0..self.options.layers * @as(usize, self.options.kv_heads)) |head| {
            const values = self.values.ptr + head * self.capacity * row_length;
            for (tokens - @min(tokens, self.capacity)..tokens) |token| {
                const slot: usize = @intCast((start + token) % self.capacity);
                @memset(values[slot * row_length ..][0..row_length], std.math.nan(f32));
            }
        }
        for (self.positions) |*seen| seen.* += tokens;
    }

    fn load(self: *const Cache, layer: usize, at: u64, keys: []f32, values: []f32) void {
        const dim = self.options.head_dim;
        const slot: usize = @intCast(at % self.capacity);
        for (0..self.options.kv_heads) |head| {
            const column = self.keyColumn(layer, head, slot);
            for (keys[head * dim ..][0..dim], 0..) |*key, d| key.* = column[d * nn_table.key_block];
            const row = self.valuesOf(layer, head) + slot * self.value_dim;
            @memcpy(values[head * dim ..][0..dim], row[0..dim]);
        }
    }

    /// The first dimension of a slot's key; the others follow 16 elements apart.
    fn keyColumn(self: *const Cache, layer: usize, head: usize, slot: usize) [*]f32 {
        const block = slot / nn_table.key_block * nn_table.key_block * self.options.head_dim;
        return self.keysOf(layer, head) + block + slot % nn_table.key_block;
    }

    fn rowLength(self: *const Cache) usize {
        return @as(usize, self.options.kv_heads) * self.options.head_dim;
    }

    fn checkLayer(self: *const Cache, layer: u32) abi.Failure!void {
        if (layer >= self.options.layers)
            return abi.fail(error.InvalidValue, "Expected a layer below {d}, got {d}", .{ self.options.layers, layer });
    }

    fn tokensIn(self: *const Cache, keys: usize, values: usize) abi.Failure!usize {
        if (keys != values or keys % self.rowLength() != 0) return abi.fail(
            error.InvalidLength,
            "Expected keys and values of the same whole number of tokens of {d} elements, got {d} and {d}",
            .{ self.rowLength(), keys, values },
        );
        return keys / self.rowLength();
    }

    /// Appends tokens to one layer, for a cache that is used without a model.
    pub fn append(self: *Cache, layer: u32, keys: []const f32, values: []const f32) abi.Failure!void {
        try self.checkLayer(layer);
        const tokens = try self.tokensIn(keys.len, values.len);
        const start = self.positions[layer];
        try self.failWhenFull(start, tokens);
        const length = self.rowLength();
        for (0..tokens) |token| {
            self.store(layer, start + token, keys.ptr + token * length, values.ptr + token * length);
        }
        self.positions[layer] = start + tokens;
    }

    /// The layer's oldest tokens, as many as fit the buffers.
    pub fn read(self: *const Cache, layer: u32, keys: []f32, values: []f32) abi.Failure!void {
        try self.checkLayer(layer);
        const tokens = try self.tokensIn(keys.len, values.len);
        const seen = self.positions[layer];
        const shown = self.held(seen);
        if (tokens > shown) return abi.fail(
            error.InvalidLength,
            "Expected at most {d} tokens, which the layer holds, got room for {d}",
            .{ shown, tokens },
        );
        const length = self.rowLength();
        for (0..tokens) |token| {
            self.load(layer, seen - shown + token, keys[token * length ..][0..length], values[token * length ..][0..length]);
        }
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
        for (self.positions) |*seen| seen.* = tokens;
    }
};
