//! Exports for models and their caches on CUDA devices.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("../cuda/backend.zig");
const cache_file = @import("../cuda/cache.zig");
const forward = @import("../cuda/forward.zig");
const handles = @import("../handles.zig");
const host_cache = @import("../model/cache.zig");
const host_forward = @import("../model/forward.zig");
const host_model = @import("../model/model.zig");
const memory = @import("../memory.zig");
const model_file = @import("../cuda/model.zig");
const dispatch = @import("../cpu/dispatch.zig");
const logSumExp = @import("../model/sampling.zig").logSumExp;
const Cache = cache_file.Cache;
const Fields = @import("options.zig").Fields;
const Model = model_file.Model;

/// A copy of a finished model on a device; the model may be freed afterwards.
pub fn cuda_model_create(model: u64, device: u32, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(createModel(model, device, handle, handle_length));
}

/// info = [bytes of everything, of the ternary weights, of the table that gives the logits]
pub fn cuda_model_info(model: u64, info: ?[*]u64, info_length: u32) callconv(.c) i32 {
    return abi.finish(modelInfo(model, info, info_length));
}

/// As `model_forward`.
pub fn cuda_model_forward(
    model: u64,
    cache: u64,
    ids: ?[*]const u32,
    ids_length: u32,
    logits: ?[*]f32,
    logits_length: u32,
) callconv(.c) i32 {
    return abi.finish(modelForward(model, cache, ids, ids_length, logits, logits_length));
}

/// choice = [the likeliest token after the ids, its log-probability]; logits stay on the device.
pub fn cuda_model_choose(
    model: u64,
    cache: u64,
    ids: ?[*]const u32,
    ids_length: u32,
    choice: ?[*]f64,
    choice_length: u32,
) callconv(.c) i32 {
    return abi.finish(modelChoose(model, cache, ids, ids_length, choice, choice_length));
}

/// As `model_nll`.
pub fn cuda_model_nll(model: u64, ids: ?[*]const u32, ids_length: u32, nll_out: ?[*]f64, nll_length: u32) callconv(.c) i32 {
    return abi.finish(modelNll(model, ids, ids_length, nll_out, nll_length));
}

/// As `cache_create`, on a device.
pub fn cuda_cache_create(device: u32, options: ?[*]const f64, options_length: u32, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(cacheCreate(device, options, options_length, handle, handle_length));
}

/// info = [tokens held, most tokens, tokens ever seen, bytes]
pub fn cuda_cache_info(cache: u64, info: ?[*]u64, info_length: u32) callconv(.c) i32 {
    return abi.finish(cacheInfo(cache, info, info_length));
}

/// Forgets all tokens but the first `tokens`.
pub fn cuda_cache_truncate(cache: u64, tokens: u32) callconv(.c) i32 {
    return abi.finish(cacheTruncate(cache, tokens));
}

/// Adds tokens to one layer, from the host.
pub fn cuda_cache_append(
    cache: u64,
    layer: u32,
    keys: ?[*]const f32,
    keys_length: u32,
    values: ?[*]const f32,
    values_length: u32,
) callconv(.c) i32 {
    return abi.finish(cacheAppend(cache, layer, keys, keys_length, values, values_length));
}

/// A layer's oldest tokens, to the host.
pub fn cuda_cache_read(
    cache: u64,
    layer: u32,
    keys: ?[*]f32,
    keys_length: u32,
    values: ?[*]f32,
    values_length: u32,
) callconv(.c) i32 {
    return abi.finish(cacheRead(cache, layer, keys, keys_length, values, values_length));
}

const width_max = @import("../cpu/weights.zig").columns_max;
const layers_max = 1 << 16;

/// The place of the new handle, checked before anything is made.
fn handleSlot(pointer: ?[*]u64, length: u32) abi.Failure!*u64 {
    const handle = try abi.writable(u64, pointer, length, "the handle");
    if (handle.len == 0) return abi.fail(error.InvalidLength, "Expected room for a handle, got none", .{});
    return &handle[0];
}

fn createModel(source: u64, index: u32, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const slot = try handleSlot(handle, handle_length);
    const model = try handles.acquire(host_model.Model, .model, source);
    defer handles.release(source);
    const copy = try Model.fromCpu(try backend.open(index), model);
    errdefer copy.destroy();
    slot.* = try handles.create(.device_model, copy, destroyModel);
}

fn destroyModel(object: *anyopaque) void {
    const model: *Model = @ptrCast(@alignCast(object));
    model.destroy();
}

fn modelInfo(handle: u64, pointer: ?[*]u64, length: u32) abi.Failure!void {
    const model = try handles.acquire(Model, .device_model, handle);
    defer handles.release(handle);
    const info = try abi.writable(u64, pointer, length, "info");
    if (info.len < 3) return abi.fail(error.InvalidLength, "Expected room for 3 fields of info, got {d}", .{info.len});
    const sizes = model.sizes();
    info[0..3].* = .{ sizes.memory, sizes.weights, sizes.head };
}

fn modelForward(
    model_handle: u64,
    cache_handle: u64,
    ids_pointer: ?[*]const u32,
    ids_length: u32,
    logits_pointer: ?[*]f32,
    logits_length: u32,
) abi.Failure!void {
    const model = try handles.acquire(Model, .device_model, model_handle);
    defer handles.release(model_handle);
    const ids = try abi.readable(u32, ids_pointer, ids_length, "ids");
    const logits = try abi.writable(f32, logits_pointer, logits_length, "logits");
    if (cache_handle == 0) return forward.forward(model, null, ids, logits);
    const cache = try handles.acquire(Cache, .device_cache, cache_handle);
    defer handles.release(cache_handle);
    return forward.forward(model, cache, ids, logits);
}

fn modelChoose(
    model_handle: u64,
    cache_handle: u64,
    ids_pointer: ?[*]const u32,
    ids_length: u32,
    choice_pointer: ?[*]f64,
    choice_length: u32,
) abi.Failure!void {
    const model = try handles.acquire(Model, .device_model, model_handle);
    defer handles.release(model_handle);
    const cache = try handles.acquire(Cache, .device_cache, cache_handle);
    defer handles.release(cache_handle);
    const ids = try abi.readable(u32, ids_pointer, ids_length, "ids");
    const choice = try abi.writable(f64, choice_pointer, choice_length, "choice");
    if (choice.len < 2) return abi.fail(error.InvalidLength, "Expected room for 2 fields of the choice, got {d}", .{choice.len});
    return forward.choose(model, cache, ids, choice);
}

const piece_tokens = 256;

fn modelNll(handle: u64, ids_pointer: ?[*]const u32, ids_length: u32, nll_pointer: ?[*]f64, nll_length: u32) abi.Failure!void {
    const model = try handles.acquire(Model, .device_model, handle);
    defer handles.release(handle);
    const ids = try abi.readable(u32, ids_pointer, ids_length, "ids");
    const result = try abi.writable(f64, nll_pointer, nll_length, "nll");
    if (result.len == 0) return abi.fail(error.InvalidLength, "Expected room for 1 result, got none", .{});
    if (ids.len < 2) return abi.fail(error.InvalidLength, "Expected at least 2 token ids, got {d}", .{ids.len});
    const vocab: usize = model.options.vocab;
    // All of them at once: a piece's last target is the next piece's first token.
    try host_forward.checkIds(&model.options, ids);
    const inputs = ids.len - 1;
    const nn = &(try dispatch.kernels()).nn;
    const logits = try memory.alloc(f32, vocab * @min(inputs, piece_tokens));
    defer memory.free(f32, logits);
    const cache = try forward.createCache(model, inputs);
    defer cache.destroy();
    var total: f64 = 0;
    var done: usize = 0;
    while (done < inputs) {
        const tokens = @min(inputs - done, piece_tokens);
        try forward.forward(model, cache, ids[done..][0..tokens], logits[0 .. tokens * vocab]);
        for (0..tokens) |token| {
            const row = logits[token * vocab ..][0..vocab];
            // Another thread may have changed the caller's ids after they were checked.
            total += logSumExp(nn, row) - row[@min(ids[done + token + 1], vocab - 1)];
        }
        done += tokens;
    }
    result[0] = total / @as(f64, @floatFromInt(inputs));
}

fn cacheCreate(index: u32, options: ?[*]const f64, options_length: u32, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const slot = try handleSlot(handle, handle_length);
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const parsed: cache_file.Options = .{
        .layers = try fields.count("layers", 1, layers_max),
        .kv_heads = try fields.count("kv_heads", 1, width_max),
        .head_dim = try fields.count("head_dim", 1, width_max),
        .max_tokens = try fields.count("max_tokens", 1, host_cache.tokens_max),
        .policy = @fromBackingInt(@intCast(try fields.count("the policy", 0, 1))),
    };
    const cache = try Cache.create(try backend.open(index), parsed);
    errdefer cache.destroy();
    slot.* = try handles.create(.device_cache, cache, destroyCache);
}

fn destroyCache(object: *anyopaque) void {
    const cache: *Cache = @ptrCast(@alignCast(object));
    cache.destroy();
}

fn cacheInfo(handle: u64, pointer: ?[*]u64, length: u32) abi.Failure!void {
    const cache = try handles.acquire(Cache, .device_cache, handle);
    defer handles.release(handle);
    const info = try abi.writable(u64, pointer, length, "info");
    if (info.len < 4) return abi.fail(error.InvalidLength, "Expected room for 4 fields of info, got {d}", .{info.len});
    cache.lock.lock();
    defer cache.lock.unlock();
    const position = cache.position();
    info[0..4].* = .{ cache.held(position), cache.options.max_tokens, position, cache.memoryBytes() };
}

fn cacheTruncate(handle: u64, tokens: u32) abi.Failure!void {
    const cache = try handles.acquire(Cache, .device_cache, handle);
    defer handles.release(handle);
    cache.lock.lock();
    defer cache.lock.unlock();
    return cache.truncate(tokens);
}

fn cacheAppend(handle: u64, layer: u32, keys_pointer: ?[*]const f32, keys_length: u32, values_pointer: ?[*]const f32, values_length: u32) abi.Failure!void {
    const cache = try handles.acquire(Cache, .device_cache, handle);
    defer handles.release(handle);
    const keys = try abi.readable(f32, keys_pointer, keys_length, "keys");
    const values = try abi.readable(f32, values_pointer, values_length, "values");
    cache.lock.lock();
    defer cache.lock.unlock();
    return cache.append(layer, keys, values);
}

fn cacheRead(handle: u64, layer: u32, keys_pointer: ?[*]f32, keys_length: u32, values_pointer: ?[*]f32, values_length: u32) abi.Failure!void {
    const cache = try handles.acquire(Cache, .device_cache, handle);
    defer handles.release(handle);
    const keys = try abi.writable(f32, keys_pointer, keys_length, "keys");
    const values = try abi.writable(f32, values_pointer, values_length, "values");
    cache.lock.lock();
    defer cache.lock.unlock();
    return cache.read(layer, keys, values);
}
