//! A transformer with ternary matrices, tensor by tensor as a loader hands them over.
//!
//! Ternary matrices are prepared once, 2 bits a weight; norms and biases are widened to f32; the
//! embedding and the head stay in the mapped file, in its 16 or 32 bits, and are read in place.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const finite = @import("../cpu/finite.zig");
const files = @import("../files.zig");
const head_file = @import("head.zig");
const memory = @import("../memory.zig");
const sync = @import("../sync.zig");
const ternary = @import("ternary.zig");
const weights_file = @import("../cpu/weights.zig");
const Dtype = @import("dtype.zig").Dtype;
const Float = @import("../cpu/vector16.zig").Float;
const Weights = weights_file.Weights;

pub const Options = struct {
    hidden: u32,
    intermediate: u32,
    layers: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    vocab: u32,
    epsilon: f32,
    activation: u32,
    tied: bool,
    sub_norms: bool,
    rope_scale: f32,
    /// How the head is kept.
    head: head_file.Kind = .stored,
    /// How the ternary weights lie in memory: planes or base3.
    layout: weights_file.Layout = .planes,

    pub fn queryWidth(self: Options) u32 {
        return self.heads * self.head_dim;
    }

    pub fn keyWidth(self: Options) u32 {
        return self.kv_heads * self.head_dim;
    }
};

/// The ternary matrices of a layer, in the order of their roles.
pub const Projection = enum(u32) { q = 0, k, v, o, gate, up, down };
const projections = std.enums.values(Projection);

const Vector = []align(memory.alignment) f32;

/// Vectors that are not there are empty.
pub const Linear = struct {
    weights: ?*Weights = null,
    bias: Vector = &.{},
    /// Norm of its own, before the quantisation of its input.
    norm: Vector = &.{},
    norm_epsilon: f32 = 0,
};

pub const Layer = struct {
    input_norm: Vector = &.{},
    post_norm: Vector = &.{},
    attn_sub_norm: Vector = &.{},
    ffn_sub_norm: Vector = &.{},
    linears: [projections.len]Linear = @splat(.{}),
};

/// A matrix [vocab, hidden] in a mapped file.
pub const Table = struct {
    file: *files.File,
    bytes: []const u8,
    dtype: Dtype,

    fn rows(self: *const Table) Rows {
        return .{ .bytes = self.bytes, .float = self.dtype.float().? };
    }
};

/// The rows of a table, wherever they lie.
pub const Rows = struct { bytes: []const u8, float: Float };

/// Where a tensor belongs and what it is.
pub const Source = struct {
    role: u32,
    layer: u32,
    dtype: Dtype,
    rows: u32,
    columns: u32,
    offset: u64,
    size: u64,
    scale: f32,
    mode: ternary.ScaleMode,
};

pub const Model = struct {
    options: Options,
    inv_frequencies: []f32,
    embed: ?Table = null,
    head: ?Table = null,
    /// Made by `finish` where the head is not used in place.
    prepared_head: ?head_file.Prepared = null,
    final_norm: Vector = &.{},
    layers: []Layer,
    has_own_norms: bool = false,
    /// Guards everything until `finished` is set; from then on nothing changes.
    lock: sync.Mutex = .{},
    finished: std.atomic.Value(bool) = .init(false),

    pub fn create(options: Options, inv_frequencies: []const f32) abi.Failure!*Model {
        const allocator = std.heap.c_allocator;
        const self = try allocator.create(Model);
        errdefer allocator.destroy(self);
        const frequencies = try allocator.dupe(f32, inv_frequencies);
        errdefer allocator.free(frequencies);
        const layers = try allocator.alloc(Layer, options.layers);
        @memset(layers, .{});
        self.* = .{ .options = options, .inv_frequencies = frequencies, .layers = layers };
        return self;
    }

    pub fn destroy(self: *Model) void {
        for ([_]?Table{ self.embed, self.head }) |table| if (table) |t| t.file.release();
        if (self.prepared_head) |prepared| prepared.destroy();
        freeVector(self.final_norm);
        for (self.layers) |*layer| {
            for ([_]Vector{ layer.input_norm, layer.post_norm, layer.attn_sub_norm, layer.ffn_sub_norm }) |v| freeVector(v);
            for (&layer.linears) |*linear| {
                if (linear.weights) |weights| weights.destroy();
                freeVector(linear.bias);
                freeVector(linear.norm);
            }
        }
        const allocator = std.heap.c_allocator;
        allocator.free(self.layers);
        allocator.free(self.inv_frequencies);
        allocator.destroy(self);
    }

    pub fn setTensor(self: *Model, file: *files.File, source: Source) abi.Failure!void {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.finished.load(.monotonic))
            return abi.fail(error.InvalidOption, "Expected a model that is still being loaded, got a finished one", .{});
        if (source.role >= 3 and source.layer >= self.options.layers)
            return abi.fail(error.InvalidValue, "Expected a layer below {d}, got {d}", .{ self.options.layers, source.layer });
        const bytes = try file.range(source.offset, source.size);
        switch (source.role) {
            0 => try self.setTable(&self.embed, file, source, bytes, "the embedding"),
            1 => try self.setTable(&self.head, file, source, bytes, "the head"),
            2 => try setVector(&self.final_norm, source, bytes, self.options.hidden, "the final norm"),
            3...6 => try self.setNorm(source, bytes),
            10...16, 20...26, 30...36 => try self.setLinear(source, bytes),
            else => return abi.fail(error.InvalidOption, "Expected a known role of a tensor, got {d}", .{source.role}),
        }
    }

    fn setTable(self: *Model, place: *?Table, file: *files.File, source: Source, bytes: []const u8, name: []const u8) abi.Failure!void {
        if (place.* != null) return failTwice(name);
        try expectShape(source, self.options.vocab, self.options.hidden, name);
        if (source.dtype.float() == null)
            return abi.fail(error.InvalidType, "Expected {s} as f32, f16 or bf16, got {t}", .{ name, source.dtype });
        try expectBytes(source, bytes.len, name);
        // This reads the whole table, which the first tokens would have to do anyway.
        if (finite.firstNotFiniteIn(source.dtype.float().?, bytes)) |index|
            return abi.fail(error.InvalidValue, "Expected {s} to be finite, got NaN or an infinity at index {d}", .{ name, index });
        file.retain();
        place.* = .{ .file = file, .bytes = bytes, .dtype = source.dtype };
    }

    fn setNorm(self: *Model, source: Source, bytes: []const u8) abi.Failure!void {
        const layer = &self.layers[source.layer];
        const options = &self.options;
        return switch (source.role) {
            3 => setVector(&layer.input_norm, source, bytes, options.hidden, "the input norm"),
            4 => setVector(&layer.post_norm, source, bytes, options.hidden, "the norm after attention"),
            5 => setVector(&layer.attn_sub_norm, source, bytes, options.queryWidth(), "the sub-norm of attention"),
            else => setVector(&layer.ffn_sub_norm, source, bytes, options.intermediate, "the sub-norm of the feed-forward part"),
        };
    }

    fn setLinear(self: *Model, source: Source, bytes: []const u8) abi.Failure!void {
        const projection: Projection = @fromBackingInt(@intCast(source.role % 10));
        const rows, const columns = self.shapeOf(projection);
        const linear = &self.layers[source.layer].linears[@backingInt(projection)];
        if (source.role >= 30) {
            try setVector(&linear.norm, source, bytes, columns, "the norm of a projection");
            linear.norm_epsilon = if (source.scale > 0) source.scale else self.options.epsilon;
            self.has_own_norms = true;
        } else if (source.role >= 20) {
            try setVector(&linear.bias, source, bytes, rows, "the bias of a projection");
            // There the scale is applied after the bias is added.
            if (source.mode == .multiply) for (linear.bias, 0..) |*value, index| {
                value.* *= source.scale;
                if (!std.math.isFinite(value.*)) return abi.fail(
                    error.InvalidValue,
                    "Expected the bias of a projection to be finite after its scale, got {d} at index {d}",
                    .{ value.*, index },
                );
            };
        } else {
            if (linear.weights != null) return failTwice(@tagName(projection));
            try expectShape(source, rows, columns, @tagName(projection));
            try expectBytes(source, bytes.len, @tagName(projection));
            const weights = try ternary.prepare(bytes, source.dtype, rows, columns, source.scale, source.mode);
            errdefer weights.destroy();
            try weights.changeLayout(self.options.layout);
            linear.weights = weights;
        }
    }

    /// Rows and columns of a projection.
    fn shapeOf(self: *const Model, projection: Projection) struct { u32, u32 } {
        const options = &self.options;
        return switch (projection) {
            .q => .{ options.queryWidth(), options.hidden },
            .k, .v => .{ options.keyWidth(), options.hidden },
            .o => .{ options.hidden, options.queryWidth() },
            .gate, .up => .{ options.intermediate, options.hidden },
            .down => .{ options.hidden, options.intermediate },
        };
    }

    /// Checks that every tensor is there; from then on the model can run.
    pub fn finish(self: *Model) abi.Failure!void {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.embed == null) return failMissing("the embedding", 0);
        if (!self.options.tied and self.head == null) return failMissing("the head", 0);
        if (self.final_norm.len == 0) return failMissing("the final norm", 0);
        for (self.layers, 0..) |*layer, index| {
            if (layer.input_norm.len == 0) return failMissing("the input norm", index);
            if (layer.post_norm.len == 0) return failMissing("the norm after attention", index);
            if (self.options.sub_norms and layer.attn_sub_norm.len == 0) return failMissing("the sub-norm of attention", index);
            if (self.options.sub_norms and layer.ffn_sub_norm.len == 0)
                return failMissing("the sub-norm of the feed-forward part", index);
            for (&layer.linears, projections) |*linear, projection| {
                if (linear.weights == null) return failMissing(@tagName(projection), index);
            }
        }
        try self.prepareHead();
        self.finished.store(true, .release);
    }

    /// Once prepared, a head of its own is not needed any more in the file; of a tied one single rows
    /// are, as embeddings, and its pages may leave memory until then.
    fn prepareHead(self: *Model) abi.Failure!void {
        if (self.options.head == .stored or self.prepared_head != null) return;
        const source = if (self.options.tied) &self.embed.? else &self.head.?;
        self.prepared_head = try .create(try dispatch.kernels(), self.options.head, source, self.options.vocab, self.options.hidden);
        source.file.forget(source.bytes);
        if (self.options.tied) return;
        self.head.?.file.release();
        self.head = null;
    }

    pub fn expectFinished(self: *const Model) abi.Failure!void {
        if (!self.finished.load(.acquire))
            return abi.fail(error.InvalidOption, "Expected a model with all its tensors loaded, got an unfinished one", .{});
    }

    /// The rows of a head of floats.
    pub fn headTable(self: *const Model) Rows {
        if (self.prepared_head) |*prepared| return .{ .bytes = prepared.data, .float = .bf16 };
        return if (self.options.tied) self.embed.?.rows() else self.head.?.rows();
    }

    /// Bytes of the head that a token reads.
    fn headBytes(self: *const Model) u64 {
        if (self.prepared_head) |*prepared| return prepared.bytesOf();
        const table = if (self.options.tied) self.embed else self.head;
        return if (table) |t| t.bytes.len else 0;
    }

    pub const Sizes = struct { memory: u64, weights: u64, head: u64 };

    /// Bytes of prepared weights, norms, biases and tables, of the prepared weights alone, and of the
    /// head that a token reads.
    pub fn sizes(self: *Model) Sizes {
        self.lock.lock();
        defer self.lock.unlock();
        var weights: u64 = 0;
        var vectors: u64 = self.final_norm.len;
        for (self.layers) |*layer| {
            vectors += layer.input_norm.len + layer.post_norm.len + layer.attn_sub_norm.len + layer.ffn_sub_norm.len;
            for (&layer.linears) |*linear| {
                vectors += linear.bias.len + linear.norm.len;
                if (linear.weights) |w| weights += w.memory_bytes;
            }
        }
        var tables: u64 = 0;
        for ([_]?Table{ self.embed, self.head }) |table| if (table) |t| {
            tables += t.bytes.len;
        };
        if (self.prepared_head) |*prepared| tables += prepared.bytesOf();
        return .{ .memory = weights + vectors * @sizeOf(f32) + tables, .weights = weights, .head = self.headBytes() };
    }
};

fn freeVector(vector: Vector) void {
    if (vector.len > 0) memory.free(f32, vector);
}

fn failTwice(name: []const u8) abi.Failure {
    return abi.fail(error.InvalidOption, "Expected {s} once, got it again", .{name});
}

fn failMissing(name: []const u8, layer: usize) abi.Failure {
    return abi.fail(error.InvalidFormat, "Expected a model with {s} (layer {d}), got none", .{ name, layer });
}

fn expectShape(source: Source, rows: u32, columns: u32, name: []const u8) abi.Failure!void {
    if (source.rows != rows or source.columns != columns) return abi.fail(
        error.InvalidShape,
        "Expected {s} of shape {d} x {d}, got {d} x {d}",
        .{ name, rows, columns, source.rows, source.columns },
    );
}

fn expectBytes(source: Source, length: u64, name: []const u8) abi.Failure!void {
    const expected = source.dtype.bytes(source.rows, source.columns);
    if (length != expected) return abi.fail(
        error.InvalidLength,
        "Expected {s} as {d} x {d} {t} to take {d} bytes, got {d}",
        .{ name, source.rows, source.columns, source.dtype, expected, length },
    );
}

/// Widens a norm or a bias to f32.
fn setVector(place: *Vector, source: Source, bytes: []const u8, count: u32, name: []const u8) abi.Failure!void {
    if (place.len > 0) return failTwice(name);
    try expectShape(source, 1, count, name);
    const float = source.dtype.float() orelse
        return abi.fail(error.InvalidType, "Expected {s} as f32, f16 or bf16, got {t}", .{ name, source.dtype });
    try expectBytes(source, bytes.len, name);
    const kernels = try dispatch.kernels();
    const vector = try memory.alloc(f32, count);
    errdefer memory.free(f32, vector);
    kernels.nn.widen(bytes.ptr, @backingInt(float), vector.ptr, count);
    if (finite.firstNotFinite(vector)) |index|
        return abi.fail(error.InvalidValue, "Expected {s} to be finite, got {d} at index {d}", .{ name, vector[index], index });
    place.* = vector;
}
