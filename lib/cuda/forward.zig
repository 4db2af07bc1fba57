//! The forward pass on a device: what lib/model/forward.zig does, as launches of kernels.
//!
//! One token through all layers is a graph, recorded once per cache and launched once per token: where
//! the sequence is and which token comes stands on the device. Longer texts go through the layers in
//! chunks. Calls of one model follow each other, also from several threads, because they share its
//! scratch memory.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const cache_file = @import("cache.zig");
const decode = @import("decode.zig");
const Flight = @import("flight.zig").Flight;
const host = @import("../model/forward.zig");
const kernels = @import("model_kernels.zig");
const model_file = @import("model.zig");
const pass_file = @import("pass.zig");
const Cache = cache_file.Cache;
const Model = model_file.Model;
const Pass = pass_file.Pass;

pub fn createCache(model: *const Model, tokens: usize) abi.Failure!*Cache {
    if (tokens > std.math.maxInt(i32))
        return abi.fail(error.InvalidLength, "Expected at most {d} tokens, got {d}", .{ std.math.maxInt(i32), tokens });
    return Cache.create(model.device, .{
        .layers = model.options.layers,
        .kv_heads = model.options.kv_heads,
        .head_dim = model.options.head_dim,
        .max_tokens = @intCast(tokens),
        .policy = .fail,
    });
}

/// Without a cache, one of the tokens' number is made for the call.
pub fn forward(model: *Model, cache: ?*Cache, ids: []const u32, logits: []f32) abi.Failure!void {
    const want = try host.wantOf(&model.options, ids.len, logits.len);
    try host.checkIds(&model.options, ids);
    try host.checkApart(ids, logits);
    const temporary = if (cache == null) try createCache(model, ids.len) else null;
    defer if (temporary) |made| made.destroy();
    const used = cache orelse temporary.?;
    model.lock.lock();
    defer model.lock.unlock();
    used.lock.lock();
    defer used.lock.unlock();
    const run: Run = try .init(model, used, ids.len);
    used.land();
    const vocab = model.options.vocab;
    if (ids.len == 1) {
        try run.one(ids[0]);
        if (want != .none) try run.stream.download(model.one.logits, std.mem.sliceAsBytes(logits));
        // Which token was the likeliest is on the device only.
        used.known = null;
    } else {
        // Also where a chunk fails: the one before has moved on.
        used.known = null;
        var done: usize = 0;
        while (done < ids.len) {
            const count = @min(run.chunk, ids.len - done);
            const pass = try run.many(ids[done..][0..count], done);
            done += count;
            if (want == .all) try run.logitsOfAll(pass, logits[(done - count) * vocab ..][0 .. count * vocab]);
            if (want == .last and done == ids.len) {
                try pass.logitsOfLast();
                try run.stream.download(pass.scratch.logits, std.mem.sliceAsBytes(logits));
            }
        }
    }
    for (used.positions) |*seen| seen.* += ids.len;
}

/// choice[0..2] = the likeliest token after the ids and its log-probability.
pub fn choose(model: *Model, cache: *Cache, ids: []const u32, choice: []f64) abi.Failure!void {
    try host.checkIds(&model.options, ids);
    model.lock.lock();
    defer model.lock.unlock();
    cache.lock.lock();
    defer cache.lock.unlock();
    const run: Run = try .init(model, cache, ids.len);
    const chosen = try if (ids.len == 1) run.chooseOne(ids[0]) else run.chooseMany(ids);
    for (cache.positions) |*seen| seen.* += ids.len;
    cache.known = .{ .position = @intCast(cache.positions[0]), .id = chosen.id };
    if (chosen.bad != 0) return abi.fail(error.InvalidValue, "Expected logits without NaN and infinity, got others", .{});
    choice[0..2].* = .{ @floatFromInt(chosen.id), chosen.log_probability };
}

fn checkCache(model: *const Model, cache: *const Cache) abi.Failure!void {
    const a = &model.options;
    const b = &cache.options;
    if (a.layers != b.layers or a.kv_heads != b.kv_heads or a.head_dim != b.head_dim) return abi.fail(
        error.InvalidShape,
        "Expected a cache of {d} layers, {d} kv heads of {d}, got {d} layers, {d} kv heads of {d}",
        .{ a.layers, a.kv_heads, a.head_dim, b.layers, b.kv_heads, b.head_dim },
    );
    if (model.device != cache.device) return abi.fail(
        error.InvalidValue,
        "Expected a cache on the device of the model, cuda:{d}, got one on cuda:{d}",
        .{ model.device.index, cache.device.index },
    );
    for (cache.positions) |seen| {
        if (seen != cache.positions[0]) return abi.fail(
            error.InvalidValue,
            "Expected a cache whose layers hold the same tokens, got {d} and {d} tokens",
            .{ cache.positions[0], seen },
        );
    }
}

/// A call: everything is checked, and the calling thread's stream waits for what others do.
const Run = struct {
    model: *Model,
    cache: *Cache,
    stream: *backend.Stream,
    position: u64,
    chunk: usize,

    fn init(model: *Model, cache: *Cache, tokens: usize) abi.Failure!Run {
        try checkCache(model, cache);
        try cache.failWhenFull(cache.position(), tokens);
        const stream = try model.device.stream();
        _ = try model.one.buffer.use(stream);
        if (model.many) |scratch| _ = try scratch.buffer.use(stream);
        _ = try cache.data.use(stream);
        _ = try cache.step.use(stream);
        return .{
            .model = model,
            .cache = cache,
            .stream = stream,
            .position = cache.position(),
            .chunk = @min(cache.chunkTokens(), tokens),
        };
    }

    fn setStep(self: *const Run, position: u64, id: u32) abi.Failure!void {
        return self.stream.launch(.set_step, .{ .blocks = 1, .threads = 1 }, .{
            .step = self.cache.step.pointer,
            .position = @intCast(position),
            .id = id,
        });
    }

    /// One token, and the choice of the next.
    fn one(self: *const Run, id: u32) abi.Failure!void {
        const cache = self.cache;
        const known = cache.known;
        cache.known = null;
        if (known == null or known.?.position != self.position or known.?.id != id) try self.setStep(self.position, id);
        if (cache.graph == null or cache.graph_model != self.model.serial) {
            cache.dropGraph();
            cache.graph = try self.model.device.recordGraph(self, record);
            cache.graph_model = self.model.serial;
        }
        return self.launchGraph();
    }

    fn launchGraph(self: *const Run) abi.Failure!void {
        const device = self.model.device;
        return device.check(device.driver.cuGraphLaunch(self.cache.graph.?, self.stream.handle), "launch a graph");
    }

    /// A token that goes on as the device has chosen is begun before it is asked for.
    fn chooseOne(self: *const Run, id: u32) abi.Failure!kernels.Choice {
        const cache = self.cache;
        const flight = try cache.flightOf();
        const goes_on = if (cache.known) |known| known.position == self.position and known.id == id else false;
        const place = if (goes_on and self.hasBegun(flight)) flight.next ^ 1 else launched: {
            cache.land();
            try self.one(id);
            break :launched try flight.ask(self.stream, self.model.one.choice);
        };
        flight.begun = null;
        cache.known = null;
        if (goes_on and cache.hasRoomAhead(self.position + 1)) {
            try self.launchGraph();
            _ = try flight.ask(self.stream, self.model.one.choice);
            flight.begun = .{ .position = self.position + 1, .stream = self.stream };
        }
        return flight.take(place);
    }

    fn hasBegun(self: *const Run, flight: *const Flight) bool {
        const begun = flight.begun orelse return false;
        return begun.position == self.position and begun.stream == self.stream and self.cache.graph_model == self.model.serial;
    }

    fn chooseMany(self: *const Run, ids: []const u32) abi.Failure!kernels.Choice {
        const cache = self.cache;
        cache.land();
        cache.known = null;
        var done: usize = 0;
        while (true) {
            const count = @min(self.chunk, ids.len - done);
            const pass = try self.many(ids[done..][0..count], done);
            done += count;
            if (done < ids.len) continue;
            try pass.logitsOfLast();
            try self.setStep(self.position + done - 1, kernels.no_id);
            try pass.chooseToken();
            var chosen: kernels.Choice = undefined;
            try self.stream.download(pass.scratch.choice, std.mem.asBytes(&chosen));
            return chosen;
        }
    }

    fn record(self: *const Run, stream: *backend.Stream) abi.Failure!void {
        const pass: Pass = .{
            .model = self.model,
            .cache = self.cache,
            .stream = stream,
            .scratch = &self.model.one,
            .count = 1,
            .ids = self.cache.step.pointer + @offsetOf(kernels.Step, "id"),
            .adds_last = !self.model.decodes,
        };
        if (self.model.decodes) {
            try decode.layers(pass);
            return pass.chooseOfOne();
        }
        try pass.layers();
        try pass.logitsOfLast();
        return pass.chooseToken();
    }

    /// A chunk of tokens, `done` after the call's first.
    fn many(self: *const Run, ids: []const u32, done: usize) abi.Failure!Pass {
        const scratch = try self.model.scratchFor(@intCast(ids.len));
        try self.cache.makeParts(self.stream);
        try self.stream.upload(scratch.ids, std.mem.sliceAsBytes(ids));
        try self.setStep(self.position + done, kernels.no_id);
        const pass: Pass = .{
            .model = self.model,
            .cache = self.cache,
            .stream = self.stream,
            .scratch = scratch,
            .count = @intCast(ids.len),
            .start = self.position + done,
            .ids = scratch.ids,
        };
        try pass.layers();
        return pass;
    }

    fn logitsOfAll(self: *const Run, pass: Pass, logits: []f32) abi.Failure!void {
        const vocab: usize = self.model.options.vocab;
        try pass.normAll();
        var first: u32 = 0;
        while (first < pass.count) {
            const rows = @min(pass.scratch.logit_rows, pass.count - first);
            try pass.logitsOf(first, rows);
            try self.stream.download(pass.scratch.logits, std.mem.sliceAsBytes(logits[first * vocab ..][0 .. rows * vocab]));
            first += rows;
        }
    }
};
