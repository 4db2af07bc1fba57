//! The forward pass: tokens in, logits out, in chunks of at most 128 tokens.
//!
//!     x = embed[ids]
//!     per layer:  x += o(sub_norm(attention(rope(q, k), v)))     q, k, v of norm(x)
//!                 x += down(sub_norm(act(gate) * up))            gate, up of norm(x)
//!     logits = norm(x) . head
//!
//! Projections quantise their input to int8 per token and multiply by ternary weights; everything
//! else is f32. A token's arithmetic never depends on the tokens beside it in the chunk.
//!
//! Floor for one token: every ternary weight once (1/4 byte each), the keys and values of the
//! context, and the head's table; activations stay in the caches.

const std = @import("std");
const abi = @import("../abi.zig");
const cache_file = @import("cache.zig");
const dispatch = @import("../cpu/dispatch.zig");
const threads = @import("../cpu/threads.zig");
const Cache = cache_file.Cache;
const Model = @import("model.zig").Model;
const Options = @import("model.zig").Options;
const Pass = @import("pass.zig").Pass;

/// Which positions' logits are wanted.
pub const Want = enum { all, last, none };

pub fn wantOf(options: *const Options, ids: usize, logits: usize) abi.Failure!Want {
    const vocab: u64 = options.vocab;
    if (logits == 0) return .none;
    if (logits == ids * vocab) return .all;
    if (logits == vocab) return .last;
    return abi.fail(
        error.InvalidLength,
        "Expected room for the logits of all {d} tokens, the last one or none (of {d} each), got {d} elements",
        .{ ids, vocab, logits },
    );
}

/// Without a cache, one of the tokens' number is made for the call.
pub fn forward(model: *const Model, cache: ?*Cache, ids: []const u32, logits: []f32) abi.Failure!void {
    const want = try wantOf(&model.options, ids.len, logits.len);
    try checkIds(&model.options, ids);
    try checkApart(ids, logits);
    if (cache) |given| {
        given.lock.lock();
        defer given.lock.unlock();
        return forwardLocked(model, given, ids, logits, want);
    }
    const temporary = try createCache(model, ids.len);
    defer temporary.destroy();
    return forwardLocked(model, temporary, ids, logits, want);
}

pub fn createCache(model: *const Model, tokens: usize) abi.Failure!*Cache {
    if (tokens > cache_file.tokens_max)
        return abi.fail(error.InvalidLength, "Expected at most {d} tokens, got {d}", .{ cache_file.tokens_max, tokens });
    return Cache.create(.{
        .layers = model.options.layers,
        .kv_heads = model.options.kv_heads,
        .head_dim = model.options.head_dim,
        .max_tokens = @intCast(tokens),
        .policy = .fail,
    });
}

pub fn checkIds(options: *const Options, ids: []const u32) abi.Failure!void {
    if (ids.len == 0) return abi.fail(error.InvalidLength, "Expected at least 1 token id, got none", .{});
    for (ids, 0..) |id, index| {
        if (id >= options.vocab) return abi.fail(
            error.InvalidValue,
            "Expected token ids below {d}, got {d} at index {d}",
            .{ options.vocab, id, index },
        );
    }
}

/// The logits of one chunk are written before the ids of the next are read.
pub fn checkApart(ids: []const u32, logits: []const f32) abi.Failure!void {
    if (abi.overlap(ids, logits))
        return abi.fail(error.InvalidValue, "Expected ids and logits in separate memory, got overlapping buffers", .{});
}

fn checkCache(model: *const Model, cache: *const Cache) abi.Failure!void {
    const a = &model.options;
    const b = &cache.options;
    if (a.layers != b.layers or a.kv_heads != b.kv_heads or a.head_dim != b.head_dim) return abi.fail(
        error.InvalidShape,
        "Expected a cache of {d} layers, {d} kv heads of {d}, got {d} layers, {d} kv heads of {d}",
        .{ a.layers, a.kv_heads, a.head_dim, b.layers, b.kv_heads, b.head_dim },
    );
    for (cache.positions) |seen| {
        if (seen != cache.positions[0]) return abi.fail(
            error.InvalidValue,
            "Expected a cache whose layers hold the same tokens, got {d} and {d} tokens",
            .{ cache.positions[0], seen },
        );
    }
}

fn forwardLocked(model: *const Model, cache: *Cache, ids: []const u32, logits: []f32, want: Want) abi.Failure!void {
    try checkCache(model, cache);
    try cache.failWhenFull(cache.position(), ids.len);
    const kernels = try dispatch.kernels();
    threads.enter();
    defer threads.leave();
    const chunk = @min(cache.chunkTokens(), @as(u32, @intCast(@min(ids.len, cache_file.chunk_tokens_max))));
    var pass: Pass = try .init(model, cache, kernels, ids.len, chunk);
    var own_ids: [cache_file.chunk_tokens_max]u32 = undefined;
    var done: usize = 0;
    while (done < ids.len) {
        const tokens = @min(chunk, ids.len - done);
        const part = switch (want) {
            .all => logits[done * model.options.vocab ..][0 .. tokens * model.options.vocab],
            .last => if (done + tokens == ids.len) logits else logits[0..0],
            .none => logits[0..0],
        };
        // A copy: another thread may change the caller's ids after they were checked.
        for (own_ids[0..tokens], ids[done..][0..tokens]) |*own, id| own.* = @min(id, model.options.vocab - 1);
        pass.run(own_ids[0..tokens], part) catch {
            // An activation is NaN or infinite: no number of this call, and nothing that later
            // calls read of these tokens, may look like a result.
            @memset(logits, std.math.nan(f32));
            return cache.poison(ids.len - done);
        };
        done += tokens;
    }
}
