//! The memory that a pass of up to so many tokens works in, cut once from one piece.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const cache_file = @import("cache.zig");
const kernels = @import("model_kernels.zig");
const Columns = @import("kernels.zig").Columns;
const slab_slack = @import("kernels.zig").slab_slack;
const Model = @import("model.zig").Model;

/// Products may read whole tiles of tokens.
const tile_tokens = 256;

/// Blocks of choose_token.
pub const choose_blocks = 128;

/// Blocks of a head for every multiprocessor.
pub const head_blocks = 3;

/// Heads that a block of attention takes; see attention.cu.
pub fn headsAtOnce(dim: u32) u32 {
    return if (dim == 256) 2 else 4;
}

pub const Scratch = struct {
    buffer: *backend.Buffer,
    tokens: u32,
    ids: u64 = 0,
    x: u64 = 0,
    /// What a projection adds to x.
    delta: u64 = 0,
    normed: u64 = 0,
    qkv: u64 = 0,
    attention: u64 = 0,
    gate_up: u64 = 0,
    /// Rows that shared memory does not hold.
    memory: u64 = 0,
    values: u64 = 0,
    sums: u64 = 0,
    scales: u64 = 0,
    cosines: u64 = 0,
    sines: u64 = 0,
    /// Joined parts of attention.
    partial: u64 = 0,
    tickets: u64 = 0,
    /// A row for each of `logit_rows` tokens.
    logits: u64 = 0,
    logit_rows: u32 = 0,
    choice: u64 = 0,
    choose_sums: u64 = 0,
    choose_largest: u64 = 0,
    choose_ids: u64 = 0,
    choose_done: u64 = 0,

    pub fn create(model: *const Model, tokens: u32) abi.Failure!Scratch {
        var self: Scratch = .{ .buffer = undefined, .tokens = tokens };
        const bytes = self.cut(model, 0);
        self.buffer = try .create(model.device, bytes);
        _ = self.cut(model, self.buffer.pointer);
        // Tickets begin at 0; the rest only must not be what others left.
        const device = model.device;
        const stream = device.stream() catch |failure| {
            self.buffer.release();
            return failure;
        };
        device.check(device.driver.cuMemsetD8Async(self.buffer.pointer, 0, @intCast(bytes), stream.handle), "clear memory") catch |failure| {
            self.buffer.release();
            return failure;
        };
        return self;
    }

    pub fn destroy(self: *Scratch) void {
        self.buffer.release();
    }

    /// Sets every address from `base` on; gives the bytes.
    fn cut(self: *Scratch, model: *const Model, base: u64) u64 {
        const o = &model.options;
        const n: u64 = self.tokens;
        const widest: u64 = @max(o.hidden, o.queryWidth(), o.intermediate);
        // Wide heads of a few tokens may be read as whole groups of four.
        const rows = std.mem.alignForward(u64, n, 4);
        self.logit_rows = if (n == 1) 1 else @intCast(std.math.clamp((8 << 20) / o.vocab, 4, @max(4, n)));
        var carver: Carver = .{ .next = base };
        self.ids = carver.take(n * 4);
        self.x = carver.take(n * o.hidden * 4);
        self.delta = carver.take(n * o.hidden * 4);
        self.normed = carver.take(rows * o.hidden * 4);
        self.qkv = carver.take(n * (o.queryWidth() + 2 * o.keyWidth()) * 4);
        self.attention = carver.take(n * o.queryWidth() * 4);
        self.gate_up = carver.take(n * o.intermediate * 8);
        self.memory = if (widest > kernels.shared_row_floats) carver.take(n * widest * 4) else 0;
        const columns: Columns = .init(@intCast(widest), @intCast(widest));
        self.values = carver.take(std.mem.alignForward(u64, n, tile_tokens) * columns.padded() + slab_slack);
        self.sums = carver.take(std.mem.alignForward(u64, n, tile_tokens) * 4);
        self.scales = carver.take(std.mem.alignForward(u64, n, tile_tokens) * 4);
        self.cosines = carver.take(n * o.head_dim * 2);
        self.sines = carver.take(n * o.head_dim * 2);
        const dim: u64 = cache_file.paddedWidth(o.head_dim) catch unreachable;
        const parts: u64 = @max(model.device.multiprocessors, 1);
        self.partial = carver.take(parts * headsAtOnce(@intCast(dim)) * (dim + 2) * 4);
        self.tickets = carver.take(parts * 4);
        self.logits = carver.take(@as(u64, self.logit_rows) * o.vocab * 4);
        self.choice = carver.take(@sizeOf(kernels.Choice));
        const blocks = @max(choose_blocks, head_blocks * parts);
        self.choose_sums = carver.take(blocks * 8);
        self.choose_largest = carver.take(blocks * 4);
        self.choose_ids = carver.take(blocks * 4);
        self.choose_done = carver.take(4);
        return carver.next - base;
    }
};

const Carver = struct {
    next: u64,

    fn take(self: *Carver, bytes: u64) u64 {
        const address = self.next;
        self.next += std.mem.alignForward(u64, bytes, 256);
        return address;
    }
};
