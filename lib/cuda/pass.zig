//! Some tokens through all layers: which kernels, with what. Only launches, so that it can be recorded.
//!
//!     embed
//!     per layer:  norm + int8, q k v      rotate, cache, attend      sub-norm + int8, o
//!                 add, norm + int8, gate and up      act, sub-norm + int8, down
//!     add, norm, head

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const Cache = @import("cache.zig").Cache;
const kernels = @import("kernels.zig");
const model_kernels = @import("model_kernels.zig");
const model_file = @import("model.zig");
const product = @import("product.zig");
const scratch_file = @import("scratch.zig");
const variants = @import("product_variants.zig");
const Group = model_file.Group;
const Kernel = kernels.Kernel;
const Model = model_file.Model;
const Scratch = scratch_file.Scratch;

/// Queries of a kv head from which on tensor cores pay.
const many_rows_min = 32;

/// Where one projection's output lies: [token][stride].
const Output = struct { at: u64, stride: u32 };

pub const Pass = struct {
    model: *Model,
    cache: *Cache,
    stream: *backend.Stream,
    scratch: *const Scratch,
    count: u32,
    /// Position of the first token; unknown where the pass is recorded, and not needed there.
    start: u64 = 0,
    /// Address of the tokens.
    ids: u64,
    /// Whether the last projection is yet to be added to x.
    adds_last: bool = true,

    pub fn layers(self: Pass) abi.Failure!void {
        const o = &self.model.options;
        const s = self.scratch;
        try self.embed();
        for (self.model.layers, 0..) |*layer, index| {
            try self.project(&layer.qkv, self.sumRows(index > 0, layer.input_norm), false, s.qkv);
            try self.attend(index, &layer.qkv);
            var attention = self.plainRows(s.attention, o.queryWidth());
            attention.norm = layer.attn_sub_norm;
            try self.project(&layer.o, attention, false, s.delta);
            try self.project(&layer.gate_up, self.sumRows(true, layer.post_norm), false, s.gate_up);
            try self.project(&layer.down, self.gateRows(layer), true, s.delta);
        }
    }

    pub fn embed(self: Pass) abi.Failure!void {
        const model = self.model;
        const o = &model.options;
        const s = self.scratch;
        return self.stream.launch(.embed_tokens, .{ .blocks = self.count, .threads = 256, .programmatic = self.count == 1 }, .{
            .table = model.embed.data.pointer,
            .ids = self.ids,
            .step = self.cache.step.pointer,
            .x = s.x,
            .frequencies = model.frequencies,
            .cosines = s.cosines,
            .sines = s.sines,
            .hidden = o.hidden,
            .half = o.head_dim / 2,
            .kind = model.embed.kind,
            .rope_scale = o.rope_scale,
            .vocab = o.vocab,
        });
    }

    fn plainRows(self: Pass, input: u64, width: u32) model_kernels.Rows {
        const s = self.scratch;
        return .{
            .input = input,
            .memory = if (width > model_kernels.shared_row_floats) s.memory else 0,
            .values = s.values,
            .sums = s.sums,
            .scales = s.scales,
            .input_stride = width,
            .other_stride = width,
            .columns = .init(width, width),
            .count = self.count,
            .padded_count = product.paddedCount(self.count),
            .epsilon = self.model.options.epsilon,
        };
    }

    /// x, with what the projection before adds to it.
    fn sumRows(self: Pass, adds: bool, norm: u64) model_kernels.Rows {
        const s = self.scratch;
        var rows = self.plainRows(s.x, self.model.options.hidden);
        rows.norm = norm;
        if (adds) {
            rows.other = s.delta;
            rows.x = s.x;
        }
        return rows;
    }

    fn gateRows(self: Pass, layer: *const model_file.Layer) model_kernels.Rows {
        const o = &self.model.options;
        const gate = self.outputOf(&layer.gate_up, 0, self.scratch.gate_up, &.{ o.intermediate, o.intermediate });
        const up = self.outputOf(&layer.gate_up, 1, self.scratch.gate_up, &.{ o.intermediate, o.intermediate });
        var rows = self.plainRows(gate.at, o.intermediate);
        rows.input_stride = gate.stride;
        rows.other = up.at;
        rows.other_stride = up.stride;
        rows.norm = layer.ffn_sub_norm;
        rows.activation = o.activation;
        return rows;
    }

    /// Projections that are one matrix give one row a token; separate ones an array each.
    fn outputOf(self: Pass, group: *const Group, index: usize, base: u64, widths: []const u32) Output {
        var before: u64 = 0;
        for (widths[0..index]) |width| before += width;
        if (group.count == 1) return .{ .at = base + before * 4, .stride = group.parts[0].weights.rows };
        return .{ .at = base + before * self.count * 4, .stride = widths[index] };
    }

    /// Quantises rows and multiplies them with every matrix of a group.
    fn project(self: Pass, group: *const Group, given: model_kernels.Rows, comptime gate: bool, output: u64) abi.Failure!void {
        var rows = given;
        var target = output;
        for (group.slice(), 0..) |part, index| {
            const slabs = variants.wantsSlabs(self.model.device, part.weights.rows, part.weights.columns, self.count);
            rows.own_norm = part.norm;
            rows.own_epsilon = part.epsilon;
            rows.slabs = @intFromBool(slabs);
            rows.padded_count = if (slabs) std.mem.alignForward(u32, self.count, 8) else product.paddedCount(self.count);
            try self.launchRows(rows, gate);
            const tokens: product.QuantizedTokens = .{ .values = rows.values, .sums = rows.sums, .scales = rows.scales, .count = self.count, .slabs = slabs };
            try product.multiplyQuantized(self.stream, part.weights, tokens, part.bias, target);
            target += @as(u64, self.count) * part.weights.rows * 4;
            // The sum has been stored.
            if (index == 0 and !gate) rows.other = 0;
            if (index == 0) rows.x = 0;
        }
    }

    fn launchRows(self: Pass, rows: model_kernels.Rows, comptime gate: bool) abi.Failure!void {
        const width = rows.columns.columns;
        // Enough threads for four values each, where one token is alone on the device.
        const threads: u32 = if (width >= 2048 and rows.count <= 2 * self.model.device.multiprocessors) 1024 else 256;
        const kernel: Kernel = if (width % 4 == 0)
            (if (gate) .gate_tokens else .norm_tokens)
        else
            (if (gate) .gate_tokens_odd else .norm_tokens_odd);
        return self.stream.launchOf(kernel, .{
            .blocks = if (rows.floats != 0) rows.count else rows.padded_count,
            .threads = threads,
            .programmatic = self.count == 1,
            .shared_bytes = if (rows.memory == 0) width * 4 else 0,
        }, &rows);
    }

    pub fn attend(self: Pass, index: usize, group: *const Group) abi.Failure!void {
        const o = &self.model.options;
        const s = self.scratch;
        const cache = self.cache;
        const widths = [_]u32{ o.queryWidth(), o.keyWidth(), o.keyWidth() };
        const q = self.outputOf(group, 0, s.qkv, &widths);
        const k = self.outputOf(group, 1, s.qkv, &widths);
        const v = self.outputOf(group, 2, s.qkv, &widths);
        const attention: model_kernels.Attention = .{
            .queries = q.at,
            .new_keys = k.at,
            .new_values = v.at,
            .keys = cache.data.pointer + cache.keysOffset(index),
            .values = cache.data.pointer + cache.valuesOffset(index),
            .cosines = s.cosines,
            .sines = s.sines,
            .output = s.attention,
            .partial = s.partial,
            .tickets = s.tickets,
            .step = cache.step.pointer,
            .query_stride = q.stride,
            .key_stride = k.stride,
            .value_stride = v.stride,
            .heads = o.heads,
            .kv_heads = o.kv_heads,
            .head_dim = o.head_dim,
            .capacity = cache.capacity,
            .max_tokens = cache.options.max_tokens,
            .count = self.count,
            .scale = 1 / @sqrt(@as(f32, @floatFromInt(o.head_dim))),
        };
        const group_heads = o.heads / o.kv_heads;
        const blocks_y = o.kv_heads * kernels.divideUp(group_heads, scratch_file.headsAtOnce(cache.dim));
        const shape: backend.Launch = .{
            // Parts of the positions, where heads and tokens alone do not fill the device.
            .blocks = @max(1, self.model.device.multiprocessors / (blocks_y * self.count)),
            .blocks_y = blocks_y,
            .blocks_z = self.count,
            .threads = 256,
            .programmatic = self.count == 1,
        };
        switch (cache.dim) {
            inline 32, 64, 128, 256 => |dim| {
                const name = std.fmt.comptimePrint("{d}", .{dim});
                if (self.count == 1) return self.stream.launch(@field(Kernel, "attend_one_" ++ name), shape, attention);
                if (dim < 256) if (self.count * group_heads >= many_rows_min) return self.attendMany(dim, attention);
                try self.stream.launch(@field(Kernel, "place_tokens_" ++ name), .{ .blocks = self.count, .threads = 256 }, attention);
                return self.stream.launch(@field(Kernel, "attend_each_" ++ name), shape, attention);
            },
            else => unreachable,
        }
    }

    /// On tensor cores, over a copy of the cache that suits them.
    fn attendMany(self: Pass, comptime dim: u32, attention: model_kernels.Attention) abi.Failure!void {
        const a = &attention;
        const parts = self.cache.parts.?.pointer;
        const scales = parts + @as(u64, a.kv_heads) * a.capacity * dim * 8;
        const seen = @min(self.start + a.count, @as(u64, a.max_tokens) + a.count - 1);
        const name = std.fmt.comptimePrint("{d}", .{dim});
        try self.stream.launch(@field(Kernel, "place_keys_" ++ name), .{ .blocks = a.count, .threads = 256 }, attention);
        try self.stream.launch(@field(Kernel, "split_cache_" ++ name), .{
            .blocks = @intCast(kernels.divideUp(seen, 8)),
            .blocks_y = a.kv_heads,
            .blocks_z = 2,
            .threads = 256,
        }, .{
            .keys = a.keys,
            .values = a.values,
            .parts = parts,
            .scales = scales,
            .step = a.step,
            .kv_heads = a.kv_heads,
            .capacity = a.capacity,
            .max_tokens = a.max_tokens,
            .count = a.count,
        });
        return self.stream.launch(@field(Kernel, "attend_many_" ++ name), .{
            .blocks = kernels.divideUp(a.count * (a.heads / a.kv_heads), model_kernels.many_rows),
            .blocks_y = a.kv_heads,
            .threads = 2 * model_kernels.many_rows,
            .shared_bytes = model_kernels.manySharedBytes(dim),
        }, .{
            .queries = a.queries,
            .cosines = a.cosines,
            .sines = a.sines,
            .parts = parts,
            .scales = scales,
            .output = a.output,
            .step = a.step,
            .query_stride = a.query_stride,
            .heads = a.heads,
            .kv_heads = a.kv_heads,
            .head_dim = a.head_dim,
            .capacity = a.capacity,
            .max_tokens = a.max_tokens,
            .count = a.count,
            .scale = a.scale,
        });
    }

    /// The final norm of the tokens from `first` on, to the first hidden states.
    fn normFinal(self: Pass, first: u32, count: u32, quantizes: bool) abi.Failure!void {
        const s = self.scratch;
        var rows = self.sumRows(self.adds_last, self.model.final_norm);
        const offset = @as(u64, first) * self.model.options.hidden * 4;
        rows.input += offset;
        if (rows.other != 0) rows.other += offset;
        rows.x = 0;
        rows.count = count;
        rows.padded_count = count;
        if (!quantizes) rows.floats = s.normed;
        return self.launchRows(rows, false);
    }

    pub fn normAll(self: Pass) abi.Failure!void {
        return self.normFinal(0, self.count, self.model.head.kind == 3);
    }

    /// To the scratch's first row of logits.
    pub fn logitsOfLast(self: Pass) abi.Failure!void {
        try self.normFinal(self.count - 1, 1, self.model.head.kind == 3);
        return self.launchHead(self.headOf(0, 1));
    }

    /// The same for a token alone whose x is complete, and the choice of the next token.
    pub fn chooseOfOne(self: Pass) abi.Failure!void {
        var head = self.headOf(0, 1);
        if (self.model.head.kind == 3 or self.model.options.hidden > model_kernels.head_shared_floats) {
            try self.logitsOfLast();
            return self.chooseToken();
        }
        head.hidden = self.scratch.x;
        head.norm = self.model.final_norm;
        head.epsilon = self.model.options.epsilon;
        head.choose = self.chooseArguments();
        return self.launchHead(head);
    }

    /// Logits of hidden states from `first` on.
    pub fn logitsOf(self: Pass, first: u32, count: u32) abi.Failure!void {
        return self.launchHead(self.headOf(first, count));
    }

    fn headOf(self: Pass, first: u32, count: u32) model_kernels.Head {
        const o = &self.model.options;
        const s = self.scratch;
        const head = &self.model.head;
        const bytes = head.kind == 3;
        const columns: kernels.Columns = .init(o.hidden, o.hidden);
        const stride: u32 = if (bytes) @intCast(columns.padded()) else o.hidden;
        return .{
            .table = head.data.pointer,
            .row_scales = if (head.scales) |scales| scales.pointer else 0,
            .hidden = if (bytes) s.values + @as(u64, first) * stride else s.normed + @as(u64, first) * stride * 4,
            .token_scales = s.scales + @as(u64, first) * 4,
            .logits = s.logits,
            .rows = o.vocab,
            .width = o.hidden,
            .table_stride = head.stride,
            .hidden_stride = stride,
            .count = count,
        };
    }

    fn launchHead(self: Pass, head: model_kernels.Head) abi.Failure!void {
        const kind = self.model.head.kind;
        const bytes = kind == 3;
        const kernel: Kernel = if (bytes) .head_int8 else if (head.count == 1) switch (kind) {
            0 => .head_f32_1,
            1 => .head_f16_1,
            else => .head_bf16_1,
        } else switch (kind) {
            0 => .head_f32_4,
            1 => .head_f16_4,
            else => .head_bf16_4,
        };
        const at_once: u32 = if (bytes or head.count == 1) 1 else 4;
        const floats = std.mem.alignForward(u32, head.width, 4) * at_once;
        return self.stream.launchOf(kernel, .{
            // A warp takes two rows at a time.
            .blocks = @min(self.model.device.multiprocessors * scratch_file.head_blocks, kernels.divideUp(head.rows, 16)),
            .blocks_y = kernels.divideUp(head.count, at_once),
            .threads = 256,
            .programmatic = self.count == 1,
            .shared_bytes = if (bytes or floats > model_kernels.head_shared_floats) 0 else floats * 4,
        }, &head);
    }

    pub fn chooseToken(self: Pass) abi.Failure!void {
        const arguments = self.chooseArguments();
        return self.stream.launch(.choose_token, .{
            .blocks = @min(scratch_file.choose_blocks, kernels.divideUp(arguments.count, 256)),
            .threads = 256,
            .programmatic = self.count == 1,
        }, arguments);
    }

    fn chooseArguments(self: Pass) model_kernels.Choose {
        const s = self.scratch;
        return .{
            .logits = s.logits,
            .choice = s.choice,
            .step = self.cache.step.pointer,
            .sums = s.choose_sums,
            .largest = s.choose_largest,
            .ids = s.choose_ids,
            .done = s.choose_done,
            .count = self.model.options.vocab,
        };
    }
};
