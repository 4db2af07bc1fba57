//! One chunk of tokens through all layers. The buffers are cut from the threads' scratch memory once
//! per call; nothing is allocated per token.

const std = @import("std");
const attend = @import("attend.zig");
const head = @import("head.zig");
const matmul = @import("../cpu/matmul.zig");
const model_file = @import("model.zig");
const rope = @import("rope.zig");
const table = @import("../cpu/table.zig");
const threads = @import("../cpu/threads.zig");
const weights_file = @import("../cpu/weights.zig");
const Cache = @import("cache.zig").Cache;
const Parts = @import("parts.zig").Parts;
const Layer = model_file.Layer;
const Linear = model_file.Linear;
const Model = model_file.Model;
const Projection = model_file.Projection;

/// The least divisor of the activations' quantisation, as in the models' training.
const absmax_floor = 1e-5;

/// Below this many elements of a step between two matrix products one thread is faster.
const parallel_elements_min = 1 << 15;

pub const Pass = struct {
    model: *const Model,
    cache: *Cache,
    kernels: *const table.Kernels,
    thread_count: u32,
    /// This chunk's tokens and the position of the first.
    tokens: u32 = 0,
    start: u64 = 0,
    layer: u32 = 0,
    /// Row-major [tokens][width], one row per token.
    x: []f32,
    normed: []f32,
    q: []f32,
    k: []f32,
    v: []f32,
    attention: []f32,
    gate: []f32,
    up: []f32,
    /// What a projection adds to x.
    delta: []f32,
    /// Input of a projection that has a norm of its own.
    own: []f32,
    cos: []f32,
    sin: []f32,
    quantized: []align(64) u8,
    attention_scratch: []align(64) u8,
    scores_stride: usize,

    /// For `total` tokens in chunks of `chunk`.
    pub fn init(model: *const Model, cache: *Cache, kernels: *const table.Kernels, total: usize, chunk: u32) error{OutOfMemory}!Pass {
        const o = &model.options;
        const n: usize = chunk;
        const thread_count = threads.getThreads();
        const widest = @max(o.hidden, o.queryWidth(), o.intermediate);
        const own_width = if (model.has_own_norms) widest else 0;
        const half = o.head_dim / 2;
        const widths = [_]usize{
            o.hidden,       o.hidden,       o.queryWidth(), o.keyWidth(), o.keyWidth(), o.queryWidth(),
            o.intermediate, o.intermediate, o.hidden,       own_width,    half,         half,
        };
        // The head is never laid out as the other weights.
        var quantized_bytes: usize = 0;
        for ([_]weights_file.Layout{ .planes, o.layout }) |layout| {
            const shape: weights_file.Shape = .{ .columns = widest, .group_columns = widest, .layout = layout };
            const size = std.mem.alignForward(usize, matmul.tokensSize(shape, chunk, thread_count), 64);
            quantized_bytes = @max(quantized_bytes, size);
        }
        const scores_stride = attend.scoresStride(cache.held(cache.position() + total));
        const attention_bytes = attend.scratchBytes(cache, scores_stride) * thread_count;
        var bytes = quantized_bytes + attention_bytes;
        for (widths) |width| bytes += std.mem.alignForward(usize, width * n * @sizeOf(f32), 64);

        var carver: matmul.Carver = .{ .memory = try threads.scratch(bytes) };
        var buffers: [widths.len][]f32 = undefined;
        for (&buffers, widths) |*buffer, width| buffer.* = carver.take(f32, width * n);
        return .{
            .model = model,
            .cache = cache,
            .kernels = kernels,
            .thread_count = thread_count,
            .x = buffers[0],
            .normed = buffers[1],
            .q = buffers[2],
            .k = buffers[3],
            .v = buffers[4],
            .attention = buffers[5],
            .gate = buffers[6],
            .up = buffers[7],
            .delta = buffers[8],
            .own = buffers[9],
            .cos = buffers[10],
            .sin = buffers[11],
            .quantized = @alignCast(carver.take(u8, quantized_bytes)),
            .attention_scratch = @alignCast(carver.take(u8, attention_bytes)),
            .scores_stride = scores_stride,
        };
    }

    /// Logits of all the tokens, of the last one or none: as many as `logits` holds.
    pub fn run(self: *Pass, ids: []const u32, logits: []f32) error{NotFinite}!void {
        const model = self.model;
        self.tokens = @intCast(ids.len);
        self.start = self.cache.position();
        const half = model.options.head_dim / 2;
        for (0..ids.len) |t| {
            rope.fill(
                model.inv_frequencies,
                model.options.rope_scale,
                self.start + t,
                self.cos[t * half ..][0..half],
                self.sin[t * half ..][0..half],
            );
        }
        self.each(.{ .embed = .{ .ids = ids, .norm = model.layers[0].input_norm } });
        for (model.layers, 0..) |*layer, index| {
            self.layer = @intCast(index);
            try self.attentionPart(layer);
            try self.feedForwardPart(layer);
            const last = index + 1 == model.layers.len;
            self.each(.{ .add_and_norm = if (last) model.final_norm else model.layers[index + 1].input_norm });
        }
        if (logits.len > 0) try head.run(self, logits);
        for (self.cache.positions) |*seen| seen.* += ids.len;
    }

    /// x += o(attention), normed = norm(x)
    fn attentionPart(self: *Pass, layer: *const Layer) error{NotFinite}!void {
        const outputs = [_]Output{ .{ .of = .q, .to = self.q }, .{ .of = .k, .to = self.k }, .{ .of = .v, .to = self.v } };
        try self.project(layer, self.normed, &outputs);
        if (self.tokens == 1) {
            attend.placeAndRun(self);
        } else {
            self.each(.place);
            attend.run(self);
        }
        if (layer.attn_sub_norm.len > 0) self.each(.{ .norm_attention = layer.attn_sub_norm });
        try self.project(layer, self.attention, &.{.{ .of = .o, .to = self.delta }});
        self.each(.{ .add_and_norm = layer.post_norm });
    }

    /// delta = down(act(gate) * up)
    fn feedForwardPart(self: *Pass, layer: *const Layer) error{NotFinite}!void {
        try self.project(layer, self.normed, &.{ .{ .of = .gate, .to = self.gate }, .{ .of = .up, .to = self.up } });
        self.each(.{ .gate = layer.ffn_sub_norm });
        try self.project(layer, self.gate, &.{.{ .of = .down, .to = self.delta }});
    }

    const Output = struct { of: Projection, to: []f32 };

    /// Projections of the same input share its quantisation and are one job for the threads, unless
    /// they norm it first.
    fn project(self: *Pass, layer: *const Layer, input: []const f32, outputs: []const Output) error{NotFinite}!void {
        const linears = &layer.linears;
        for (outputs) |output| {
            if (linears[@backingInt(output.of)].norm.len > 0) break;
        } else return self.projectTogether(linears, input, outputs);
        for (outputs) |output| {
            const linear = &linears[@backingInt(output.of)];
            if (linear.norm.len > 0) self.each(.{ .own_norm = .{ .linear = linear, .input = input } });
            try self.projectTogether(linears, if (linear.norm.len > 0) self.own else input, &.{output});
        }
    }

    fn projectTogether(self: *Pass, linears: []const Linear, input: []const f32, outputs: []const Output) error{NotFinite}!void {
        const shape = linears[@backingInt(outputs[0].of)].weights.?.shape();
        const tokens = try self.quantize(shape, input[0 .. @as(usize, self.tokens) * shape.columns], self.tokens);
        var job: Products = .{ .pass = self, .warms_cache = self.tokens == 1 and outputs[0].of == .q };
        var work: usize = 0;
        for (outputs) |output| {
            const linear = &linears[@backingInt(output.of)];
            const weights = linear.weights.?;
            job.add(.{
                .kernels = self.kernels,
                .weights = weights,
                .tokens = tokens,
                .bias = if (linear.bias.len > 0) linear.bias else null,
                .output = output.to[0 .. @as(usize, self.tokens) * weights.rows],
            });
            work += @as(usize, weights.rows) * weights.columns * self.tokens;
        }
        job.parts.threads = matmul.threadsFor(work, self.thread_count);
        threads.run(job.parts.count(), &job, Products.work);
    }

    pub fn quantize(self: *Pass, shape: weights_file.Shape, input: []const f32, tokens: u32) error{NotFinite}!matmul.TokensI8 {
        return matmul.quantizeTokens(self.kernels, shape, input, tokens, absmax_floor, self.quantized, self.thread_count);
    }

    /// Runs a step for every token, on several threads where that pays.
    fn each(self: *Pass, step: Step) void {
        const job: Each = .{ .pass = self, .step = step };
        const elements = @as(usize, self.tokens) * self.model.options.hidden;
        const count = if (self.tokens == 1 or elements < parallel_elements_min) 1 else self.thread_count;
        threads.run(@min(count, self.tokens), &job, Each.work);
    }

    /// Turns queries and keys of one kv head by their position and puts key and value into the cache.
    pub fn placeHead(self: *const Pass, token: usize, kv_head: usize) void {
        const o = &self.model.options;
        const half = o.head_dim / 2;
        const cos = self.cos.ptr + token * half;
        const sin = self.sin.ptr + token * half;
        const group = o.heads / o.kv_heads;
        const q = self.q.ptr + token * o.queryWidth() + kv_head * group * o.head_dim;
        const offset = token * o.keyWidth() + kv_head * o.head_dim;
        const key = self.k.ptr + offset;
        for (0..group) |index| self.kernels.nn.rope(q + index * o.head_dim, cos, sin, half);
        self.kernels.nn.rope(key, cos, sin, half);
        self.cache.storeHead(self.layer, kv_head, self.start + token, key, self.v.ptr + offset);
    }
};

/// Up to three products of the same tokens, whose blocks the threads share as if they were one.
const Products = struct {
    pass: *const Pass,
    /// Whether the cache's memory for the token is fetched meanwhile.
    warms_cache: bool,
    items: [3]matmul.MultiplyI8 = undefined,
    count: u32 = 0,
    parts: Parts = .{ .total = 0, .threads = 1 },

    fn add(self: *Products, item: matmul.MultiplyI8) void {
        self.items[self.count] = item;
        self.count += 1;
        self.parts.total += item.weights.blocks();
    }

    fn work(self: *const Products, index: u32, count: u32) void {
        if (self.warms_cache) {
            const from, const to = threads.share(self.pass.model.options.kv_heads, index, count);
            for (from..to) |head_index| self.pass.cache.prefetch(self.pass.layer, head_index, self.pass.start);
        }
        const first, const last = self.parts.range(index);
        var start: usize = 0;
        for (self.items[0..self.count]) |*item| {
            const end = start + item.weights.blocks();
            if (first < end and last > start) item.multiplyBlocks(@max(first, start) - start, @min(last, end) - start);
            start = end;
        }
    }
};

const Step = union(enum) {
    embed: struct { ids: []const u32, norm: []const f32 },
    /// Rotates q and k and puts k and v into the cache.
    place,
    norm_attention: []const f32,
    add_and_norm: []const f32,
    /// gate = act(gate) * up, then the sub-norm where there is one.
    gate: []const f32,
    own_norm: struct { linear: *const Linear, input: []const f32 },
};

const Each = struct {
    pass: *Pass,
    step: Step,

    fn work(self: *const Each, index: u32, count: u32) void {
        const from, const to = threads.share(self.pass.tokens, index, count);
        for (from..to) |token| self.stepOf(token);
    }

    fn stepOf(self: *const Each, token: usize) void {
        const pass = self.pass;
        const o = &pass.model.options;
        const nn = &pass.kernels.nn;
        const x = pass.x.ptr + token * o.hidden;
        const normed = pass.normed.ptr + token * o.hidden;
        switch (self.step) {
            .embed => |embed| {
                const source = &pass.model.embed.?;
                const row_bytes = source.dtype.bytes(1, o.hidden);
                const row = source.bytes.ptr + embed.ids[token] * row_bytes;
                nn.widen(row, @backingInt(source.dtype.float().?), x, o.hidden);
                nn.rms_norm(x, embed.norm.ptr, normed, o.hidden, o.epsilon);
            },
            .place => for (0..o.kv_heads) |kv_head| pass.placeHead(token, kv_head),
            .norm_attention => |weight| {
                const row = pass.attention.ptr + token * o.queryWidth();
                nn.rms_norm(row, weight.ptr, row, o.queryWidth(), o.epsilon);
            },
            .add_and_norm => |weight| {
                nn.add(x, pass.delta.ptr + token * o.hidden, o.hidden);
                nn.rms_norm(x, weight.ptr, normed, o.hidden, o.epsilon);
            },
            .gate => |weight| {
                const row = pass.gate.ptr + token * o.intermediate;
                nn.gate(row, pass.up.ptr + token * o.intermediate, o.intermediate, o.activation);
                if (weight.len > 0) nn.rms_norm(row, weight.ptr, row, o.intermediate, o.epsilon);
            },
            .own_norm => |own| {
                const width: u32 = @intCast(own.linear.norm.len);
                const offset = token * width;
                const output = pass.own.ptr + offset;
                nn.rms_norm(own.input.ptr + offset, own.linear.norm.ptr, output, width, own.linear.norm_epsilon);
            },
        }
    }
};
