//! A model on a device: a copy of a finished model of the CPU, and the memory that its passes work in.
//!
//! Projections of one input are one matrix: q, k and v, and gate and up, row after row; scales belong
//! to rows, so nothing is lost. Only where projections norm their input themselves are they separate.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const cache_file = @import("cache.zig");
const decode = @import("decode.zig");
const head_file = @import("../model/head.zig");
const host = @import("../model/model.zig");
const memory = @import("../memory.zig");
const nn_table = @import("../cpu/nn_table.zig");
const scratch_file = @import("scratch.zig");
const sync = @import("../sync.zig");
const weights_file = @import("weights.zig");

const Buffer = backend.Buffer;
const Scratch = scratch_file.Scratch;
const Weights = weights_file.Weights;

/// One matrix, with the address of its bias and of its norm, 0 for none.
pub const Part = struct { weights: *Weights, bias: u64, norm: u64, epsilon: f32 };

/// Projections of one input.
pub const Group = struct {
    parts: [3]Part = undefined,
    count: u32 = 0,

    pub fn slice(self: *const Group) []const Part {
        return self.parts[0..self.count];
    }
};

/// Norms are addresses, 0 for none.
pub const Layer = struct {
    input_norm: u64 = 0,
    post_norm: u64 = 0,
    attn_sub_norm: u64 = 0,
    ffn_sub_norm: u64 = 0,
    qkv: Group = .{},
    o: Group = .{},
    gate_up: Group = .{},
    down: Group = .{},
};

/// A table with a row per token id; `kind` is 0 f32, 1 f16, 2 bf16, 3 int8.
pub const Table = struct { data: *Buffer, scales: ?*Buffer = null, kind: u32, stride: u32 };

var serials: std.atomic.Value(u64) = .init(1);

pub const Model = struct {
    device: *backend.Device,
    options: host.Options,
    /// Never used twice.
    serial: u64,
    layers: []Layer,
    vectors: Vectors,
    frequencies: u64 = 0,
    final_norm: u64 = 0,
    embed: Table,
    head: Table,
    /// Whether decode.zig has kernels for its shape.
    decodes: bool = false,
    /// For one token, with an address that does not change; recorded in graphs.
    one: Scratch,
    /// For prompts, once there was one.
    many: ?Scratch = null,
    lock: sync.Mutex = .{},

    pub fn fromCpu(device: *backend.Device, source: *host.Model) abi.Failure!*Model {
        try source.expectFinished();
        _ = try cache_file.paddedWidth(source.options.head_dim);
        const allocator = std.heap.c_allocator;
        const self = try allocator.create(Model);
        errdefer allocator.destroy(self);
        const layers = try allocator.alloc(Layer, source.layers.len);
        errdefer allocator.free(layers);
        @memset(layers, .{});
        self.* = .{
            .device = device,
            .options = source.options,
            .serial = serials.fetchAdd(1, .monotonic),
            .layers = layers,
            .vectors = try .create(device, vectorBytes(source)),
            .embed = undefined,
            .head = undefined,
            .one = undefined,
        };
        errdefer self.vectors.buffer.release();
        errdefer for (layers) |*layer| destroyLayer(layer);
        self.frequencies = try self.vectors.add(source.inv_frequencies);
        self.final_norm = try self.vectors.add(source.final_norm);
        for (source.layers, layers) |*from, *to| try self.copyLayer(from, to);
        self.decodes = decode.fits(self);
        self.embed = try copyRows(device, source.embed.?.bytes, @backingInt(source.embed.?.dtype.float().?), source.options.hidden);
        errdefer destroyTable(self.embed);
        self.head = try self.copyHead(source);
        errdefer destroyTable(self.head);
        self.one = try .create(self, 1);
        errdefer self.one.destroy();
        // From here on only reads: no stream has to wait for what this one did.
        const stream = try device.stream();
        try stream.synchronize();
        return self;
    }

    pub fn destroy(self: *Model) void {
        // After what other threads have asked for: what is freed below is freed in this thread's stream.
        if (self.device.stream()) |stream| {
            _ = self.one.buffer.use(stream) catch 0;
        } else |_| {}
        self.one.destroy();
        if (self.many) |*scratch| scratch.destroy();
        destroyTable(self.head);
        destroyTable(self.embed);
        for (self.layers) |*layer| destroyLayer(layer);
        self.vectors.buffer.release();
        std.heap.c_allocator.free(self.layers);
        std.heap.c_allocator.destroy(self);
    }

    /// Memory for so many tokens at a time.
    pub fn scratchFor(self: *Model, tokens: u32) abi.Failure!*const Scratch {
        if (tokens == 1) return &self.one;
        if (self.many) |*scratch| {
            if (scratch.tokens >= tokens) return scratch;
            scratch.destroy();
            self.many = null;
        }
        const size = @min(std.math.ceilPowerOfTwoAssert(u32, @max(tokens, 16)), cache_file.chunk_tokens_max);
        self.many = try .create(self, size);
        return &self.many.?;
    }

    pub const Sizes = struct { memory: u64, weights: u64, head: u64 };

    pub fn sizes(self: *const Model) Sizes {
        var weights: u64 = 0;
        for (self.layers) |*layer| for ([_]*const Group{ &layer.qkv, &layer.o, &layer.gate_up, &layer.down }) |group| {
            for (group.slice()) |part| weights += part.weights.memoryBytes();
        };
        const head = tableBytes(self.head);
        const tables = if (self.head.data == self.embed.data) head else head + tableBytes(self.embed);
        return .{ .memory = weights + self.vectors.buffer.bytes + tables, .weights = weights, .head = head };
    }

    fn copyLayer(self: *Model, from: *const host.Layer, to: *Layer) abi.Failure!void {
        to.input_norm = try self.vectors.add(from.input_norm);
        to.post_norm = try self.vectors.add(from.post_norm);
        to.attn_sub_norm = try self.vectors.add(from.attn_sub_norm);
        to.ffn_sub_norm = try self.vectors.add(from.ffn_sub_norm);
        const linears = &from.linears;
        try self.copyGroup(&to.qkv, linears[0..3]);
        try self.copyGroup(&to.o, linears[3..4]);
        try self.copyGroup(&to.gate_up, linears[4..6]);
        try self.copyGroup(&to.down, linears[6..7]);
    }

    fn copyGroup(self: *Model, group: *Group, linears: []const host.Linear) abi.Failure!void {
        const together = for (linears) |linear| {
            if (linear.norm.len > 0) break false;
        } else true;
        if (together) return self.copyTogether(group, linears);
        for (linears) |linear| {
            const weights = try weights_file.fromCpu(self.device, linear.weights.?);
            group.parts[group.count] = .{ .weights = weights, .bias = 0, .norm = 0, .epsilon = linear.norm_epsilon };
            group.count += 1;
            group.parts[group.count - 1].bias = try self.vectors.add(linear.bias);
            group.parts[group.count - 1].norm = try self.vectors.add(linear.norm);
        }
    }

    fn copyTogether(self: *Model, group: *Group, linears: []const host.Linear) abi.Failure!void {
        var sources: [3]*const @import("../cpu/weights.zig").Weights = undefined;
        var has_bias = false;
        for (linears, sources[0..linears.len]) |linear, *source| {
            source.* = linear.weights.?;
            has_bias = has_bias or linear.bias.len > 0;
        }
        const weights = try weights_file.fromCpuRows(self.device, sources[0..linears.len]);
        group.parts[0] = .{ .weights = weights, .bias = 0, .norm = 0, .epsilon = 0 };
        group.count = 1;
        if (!has_bias) return;
        const bias = try std.heap.c_allocator.alloc(f32, weights.rows);
        defer std.heap.c_allocator.free(bias);
        @memset(bias, 0);
        var first: usize = 0;
        for (linears) |linear| {
            if (linear.bias.len > 0) @memcpy(bias[first..][0..linear.bias.len], linear.bias);
            first += linear.weights.?.rows;
        }
        group.parts[0].bias = try self.vectors.add(bias);
    }

    fn copyHead(self: *Model, source: *host.Model) abi.Failure!Table {
        const hidden = source.options.hidden;
        if (source.prepared_head) |*prepared| {
            if (prepared.kind == .int8) return copyBytesHead(self.device, prepared, source.options.vocab, hidden);
            return copyRows(self.device, prepared.data, 2, hidden);
        }
        if (source.options.tied) {
            self.embed.data.retain();
            return self.embed;
        }
        const table = &source.head.?;
        return copyRows(self.device, table.bytes, @backingInt(table.dtype.float().?), hidden);
    }
};

fn destroyLayer(layer: *Layer) void {
    for ([_]*Group{ &layer.qkv, &layer.o, &layer.gate_up, &layer.down }) |group| {
        for (group.slice()) |part| part.weights.destroy();
        group.count = 0;
    }
}

fn destroyTable(table: Table) void {
    table.data.release();
    if (table.scales) |scales| scales.release();
}

fn tableBytes(table: Table) u64 {
    return table.data.bytes + if (table.scales) |scales| scales.bytes else 0;
}

fn copyRows(device: *backend.Device, bytes: []const u8, kind: u32, hidden: u32) abi.Failure!Table {
    const data: *Buffer = try .create(device, bytes.len);
    errdefer data.release();
    const stream = try device.stream();
    try stream.upload(data.pointer, bytes);
    return .{ .data = data, .kind = kind, .stride = hidden };
}

/// The CPU's blocks of interleaved rows, as rows.
fn copyBytesHead(device: *backend.Device, prepared: *const head_file.Prepared, vocab: u32, hidden: u32) abi.Failure!Table {
    const block_rows = nn_table.dense_i8_rows;
    const stride: usize = std.mem.alignForward(usize, hidden, 256);
    const source_stride = prepared.data.len / prepared.scales.len;
    const data: *Buffer = try .create(device, vocab * stride);
    errdefer data.release();
    const scales: *Buffer = try .create(device, @as(u64, vocab) * 4);
    errdefer scales.release();
    const stream = try device.stream();
    try stream.upload(scales.pointer, std.mem.sliceAsBytes(prepared.scales[0..vocab]));
    const allocator = std.heap.c_allocator;
    const rows = try allocator.alloc(u8, block_rows * stride);
    defer allocator.free(rows);
    @memset(rows, 0);
    var first: usize = 0;
    while (first < vocab) : (first += block_rows) {
        const count = @min(block_rows, vocab - first);
        for (0..count) |row| {
            const lane = prepared.data.ptr + first * source_stride + row * 4;
            for (0..std.math.divCeil(usize, hidden, 4) catch unreachable) |word|
                rows[row * stride + word * 4 ..][0..4].* = lane[word * block_rows * 4 ..][0..4].*;
        }
        try stream.upload(data.pointer + first * stride, rows[0 .. count * stride]);
    }
    return .{ .data = data, .scales = scales, .kind = 3, .stride = @intCast(stride) };
}

const vector_alignment = 256;

fn vectorBytes(source: *const host.Model) u64 {
    var total = sizeOfVector(source.inv_frequencies.len) + sizeOfVector(source.final_norm.len);
    for (source.layers) |*layer| {
        for ([_]usize{ layer.input_norm.len, layer.post_norm.len, layer.attn_sub_norm.len, layer.ffn_sub_norm.len }) |length| total += sizeOfVector(length);
        // Biases that stand together take no more than each with its own alignment.
        for (&layer.linears) |*linear| total += sizeOfVector(linear.weights.?.rows) + sizeOfVector(linear.norm.len);
    }
    return total;
}

fn sizeOfVector(length: usize) u64 {
    return std.mem.alignForward(u64, @as(u64, length) * 4, vector_alignment);
}

/// Norms and biases, one after the other in one piece of memory.
const Vectors = struct {
    buffer: *Buffer,
    used: u64 = 0,

    fn create(device: *backend.Device, bytes: u64) abi.Failure!Vectors {
        return .{ .buffer = try .create(device, bytes) };
    }

    /// The address of a copy, 0 for an empty one.
    fn add(self: *Vectors, vector: []const f32) abi.Failure!u64 {
        if (vector.len == 0) return 0;
        const stream = try self.buffer.device.stream();
        const address = self.buffer.pointer + self.used;
        try stream.upload(address, std.mem.sliceAsBytes(vector));
        self.used += sizeOfVector(vector.len);
        return address;
    }
};
