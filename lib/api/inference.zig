//! Models, their caches, and the choice of tokens.

const std = @import("std");
const abi = @import("../abi.zig");
const cache_file = @import("../model/cache.zig");
const dispatch = @import("../cpu/dispatch.zig");
const dtype = @import("../model/dtype.zig");
const files = @import("../files.zig");
const forward = @import("../model/forward.zig");
const handles = @import("../handles.zig");
const model_file = @import("../model/model.zig");
const nll = @import("../model/nll.zig");
const options_file = @import("options.zig");
const sampling = @import("../model/sampling.zig");
const threads = @import("../cpu/threads.zig");
const weights_file = @import("../cpu/weights.zig");
const Cache = cache_file.Cache;
const Fields = options_file.Fields;
const Model = model_file.Model;

pub fn model_create(
    options: ?[*]const f64,
    options_length: u32,
    inv_frequencies: ?[*]const f32,
    inv_frequencies_length: u32,
    handle: ?[*]u64,
    handle_length: u32,
) callconv(.c) i32 {
    return abi.finish(modelCreate(options, options_length, inv_frequencies, inv_frequencies_length, handle, handle_length));
}

pub fn model_set_tensor(
    model: u64,
    file: u64,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(modelSetTensor(model, file, options, options_length));
}

pub fn model_finish(
    model: u64,
) callconv(.c) i32 {
    return abi.finish(modelFinish(model));
}

pub fn model_info(
    model: u64,
    info: ?[*]u64,
    info_length: u32,
) callconv(.c) i32 {
    return abi.finish(modelInfo(model, info, info_length));
}

pub fn cache_create(
    options: ?[*]const f64,
    options_length: u32,
    handle: ?[*]u64,
    handle_length: u32,
) callconv(.c) i32 {
    return abi.finish(cacheCreate(options, options_length, handle, handle_length));
}

pub fn cache_info(
    cache: u64,
    info: ?[*]u64,
    info_length: u32,
) callconv(.c) i32 {
    return abi.finish(cacheInfo(cache, info, info_length));
}

pub fn cache_truncate(
    cache: u64,
    tokens: u32,
) callconv(.c) i32 {
    return abi.finish(cacheTruncate(cache, tokens));
}

pub fn cache_append(
    cache: u64,
    layer: u32,
    keys: ?[*]const f32,
    keys_length: u32,
    values: ?[*]const f32,
    values_length: u32,
) callconv(.c) i32 {
    return abi.finish(cacheAppend(cache, layer, keys, keys_length, values, values_length));
}

pub fn cache_read(
    cache: u64,
    layer: u32,
    keys: ?[*]f32,
    keys_length: u32,
    values: ?[*]f32,
    values_length: u32,
) callconv(.c) i32 {
    return abi.finish(cacheRead(cache, layer, keys, keys_length, values, values_length));
}

pub fn model_forward(
    model: u64,
    cache: u64,
    ids: ?[*]const u32,
    ids_length: u32,
    logits: ?[*]f32,
    logits_length: u32,
) callconv(.c) i32 {
    return abi.finish(modelForward(model, cache, ids, ids_length, logits, logits_length));
}

pub fn model_nll(
    model: u64,
    ids: ?[*]const u32,
    ids_length: u32,
    nll_out: ?[*]f64,
    nll_length: u32,
) callconv(.c) i32 {
    return abi.finish(modelNll(model, ids, ids_length, nll_out, nll_length));
}

pub fn sample(
    logits: ?[*]const f32,
    logits_length: u32,
    options: ?[*]const f64,
    options_length: u32,
    choice: ?[*]f64,
    choice_length: u32,
) callconv(.c) i32 {
    return abi.finish(sampleOne(logits, logits_length, options, options_length, choice, choice_length));
}

/// Bounds that keep every size computed from a shape far below 2^64.
const width_max = weights_file.columns_max;
const layers_max = 1 << 16;

fn handleSlot(pointer: ?[*]u64, length: u32) abi.Failure!*u64 {
    const handle = try abi.writable(u64, pointer, length, "the handle");
    if (handle.len == 0) return abi.fail(error.InvalidLength, "Expected room for a handle, got none", .{});
    return &handle[0];
}

fn modelCreate(
    options: ?[*]const f64,
    options_length: u32,
    inv_frequencies: ?[*]const f32,
    inv_frequencies_length: u32,
    handle: ?[*]u64,
    handle_length: u32,
) abi.Failure!void {
    const slot = try handleSlot(handle, handle_length);
    const frequencies = try abi.readable(f32, inv_frequencies, inv_frequencies_length, "inv_frequencies");
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const parsed: model_file.Options = .{
        .hidden = try fields.count("hidden", 1, width_max),
        .intermediate = try fields.count("intermediate", 1, width_max),
        .layers = try fields.count("layers", 1, layers_max),
        .heads = try fields.count("heads", 1, width_max),
        .kv_heads = try fields.count("kv_heads", 1, width_max),
        .head_dim = try fields.count("head_dim", 2, width_max),
        .vocab = try fields.count("vocab", 1, std.math.maxInt(i32)),
        .epsilon = try narrow(try fields.number("rms_norm_eps"), "rms_norm_eps"),
        .activation = try fields.count("the activation", 0, 1),
        .tied = try fields.count("tied", 0, 1) == 1,
        .sub_norms = try fields.count("sub_norms", 0, 1) == 1,
        .rope_scale = try narrow(try fields.number("rope_scale"), "rope_scale"),
        .head = @fromBackingInt(@intCast(try fields.count("the kind of head", 0, 2))),
        .layout = @fromBackingInt(@intCast(try fields.count("the layout", 0, 1))),
    };
    try checkShape(&parsed, frequencies);
    const model = try Model.create(parsed, frequencies);
    errdefer model.destroy();
    slot.* = try handles.create(.model, model, destroyModel);
}

fn checkShape(options: *const model_file.Options, frequencies: []const f32) abi.Failure!void {
    if (options.heads % options.kv_heads != 0) return abi.fail(
        error.InvalidOption,
        "Expected heads to be a multiple of kv_heads, got {d} and {d}",
        .{ options.heads, options.kv_heads },
    );
    if (options.head_dim % 2 != 0) return abi.fail(error.InvalidOption, "Expected an even head_dim, got {d}", .{options.head_dim});
    if (@as(u64, options.heads) * options.head_dim > width_max) return abi.fail(
        error.InvalidOption,
        "Expected heads times head_dim up to {d}, got {d} x {d}",
        .{ width_max, options.heads, options.head_dim },
    );
    if (options.epsilon < 0) return abi.fail(error.InvalidOption, "Expected rms_norm_eps of at least 0, got {d}", .{options.epsilon});
    try options_file.expectLength("inv_frequencies", frequencies.len, options.head_dim / 2);
    for (frequencies, 0..) |frequency, index| {
        if (!std.math.isFinite(frequency))
            return abi.fail(error.InvalidValue, "Expected finite inv_frequencies, got {d} at index {d}", .{ frequency, index });
    }
}

/// A finite f64 as f32, which it must fit.
fn narrow(value: f64, name: []const u8) abi.Failure!f32 {
    const narrowed: f32 = @floatCast(value);
    if (!std.math.isFinite(narrowed)) return abi.fail(error.InvalidOption, "Expected {s} within the range of f32, got {d}", .{ name, value });
    return narrowed;
}

fn destroyModel(object: *anyopaque) void {
    const model: *Model = @ptrCast(@alignCast(object));
    model.destroy();
}

fn modelSetTensor(model_handle: u64, file_handle: u64, options: ?[*]const f64, options_length: u32) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const any = std.math.maxInt(u32);
    const source: model_file.Source = .{
        .role = try fields.count("the role", 0, 36),
        .layer = try fields.count("the layer", 0, layers_max),
        .dtype = @fromBackingInt(@intCast(try fields.count("the dtype", 0, 4))),
        .rows = try fields.count("rows", 1, any),
        .columns = try fields.count("cols", 1, any),
        .offset = try fields.size("the offset", 0, 1 << 53),
        .size = try fields.size("the size", 0, 1 << 53),
        .scale = try narrow(try fields.number("the scale"), "the scale"),
        .mode = @fromBackingInt(@intCast(try fields.count("the scale mode", 0, 2))),
    };
    const model = try handles.acquire(Model, .model, model_handle);
    defer handles.release(model_handle);
    const file = try handles.acquire(files.File, .file, file_handle);
    defer handles.release(file_handle);
    return model.setTensor(file, source);
}

fn modelFinish(handle: u64) abi.Failure!void {
    const model = try handles.acquire(Model, .model, handle);
    defer handles.release(handle);
    return model.finish();
}

fn modelInfo(handle: u64, pointer: ?[*]u64, length: u32) abi.Failure!void {
    const model = try handles.acquire(Model, .model, handle);
    defer handles.release(handle);
    const info = try abi.writable(u64, pointer, length, "info");
    if (info.len < 3) return abi.fail(error.InvalidLength, "Expected room for 3 fields of info, got {d}", .{info.len});
    const sizes = model.sizes();
    info[0..3].* = .{ sizes.memory, sizes.weights, sizes.head };
}

fn cacheCreate(options: ?[*]const f64, options_length: u32, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const slot = try handleSlot(handle, handle_length);
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const parsed: cache_file.Options = .{
        .layers = try fields.count("layers", 1, layers_max),
        .kv_heads = try fields.count("kv_heads", 1, width_max),
        .head_dim = try fields.count("head_dim", 1, width_max),
        .max_tokens = try fields.count("max_tokens", 1, cache_file.tokens_max),
        .policy = @fromBackingInt(@intCast(try fields.count("the policy", 0, 1))),
    };
    const cache = try Cache.create(parsed);
    errdefer cache.destroy();
    slot.* = try handles.create(.cache, cache, destroyCache);
}

fn destroyCache(object: *anyopaque) void {
    const cache: *Cache = @ptrCast(@alignCast(object));
    cache.destroy();
}

fn cacheInfo(handle: u64, pointer: ?[*]u64, length: u32) abi.Failure!void {
    const cache = try handles.acquire(Cache, .cache, handle);
    defer handles.release(handle);
    const info = try abi.writable(u64, pointer, length, "info");
    if (info.len < 4) return abi.fail(error.InvalidLength, "Expected room for 4 fields of info, got {d}", .{info.len});
    cache.lock.lock();
    defer cache.lock.unlock();
    const position = cache.position();
    info[0..4].* = .{ cache.held(position), cache.options.max_tokens, position, cache.memoryBytes() };
}

fn cacheTruncate(handle: u64, tokens: u32) abi.Failure!void {
    const cache = try handles.acquire(Cache, .cache, handle);
    defer handles.release(handle);
    cache.lock.lock();
    defer cache.lock.unlock();
    return cache.truncate(tokens);
}

fn cacheAppend(
    handle: u64,
    layer: u32,
    keys_pointer: ?[*]const f32,
    keys_length: u32,
    values_pointer: ?[*]const f32,
    values_length: u32,
) abi.Failure!void {
    const cache = try handles.acquire(Cache, .cache, handle);
    defer handles.release(handle);
    const keys = try abi.readable(f32, keys_pointer, keys_length, "keys");
    const values = try abi.readable(f32, values_pointer, values_length, "values");
    cache.lock.lock();
    defer cache.lock.unlock();
    return cache.append(layer, keys, values);
}

fn cacheRead(
    handle: u64,
    layer: u32,
    keys_pointer: ?[*]f32,
    keys_length: u32,
    values_pointer: ?[*]f32,
    values_length: u32,
) abi.Failure!void {
    const cache = try handles.acquire(Cache, .cache, handle);
    defer handles.release(handle);
    const keys = try abi.writable(f32, keys_pointer, keys_length, "keys");
    const values = try abi.writable(f32, values_pointer, values_length, "values");
    cache.lock.lock();
    defer cache.lock.unlock();
    return cache.read(layer, keys, values);
}

fn modelForward(
    model_handle: u64,
    cache_handle: u64,
    ids_pointer: ?[*]const u32,
    ids_length: u32,
    logits_pointer: ?[*]f32,
    logits_length: u32,
) abi.Failure!void {
    const model = try handles.acquire(Model, .model, model_handle);
    defer handles.release(model_handle);
    const ids = try abi.readable(u32, ids_pointer, ids_length, "ids");
    const logits = try abi.writable(f32, logits_pointer, logits_length, "logits");
    try model.expectFinished();
    if (cache_handle == 0) return forward.forward(model, null, ids, logits);
    const cache = try handles.acquire(Cache, .cache, cache_handle);
    defer handles.release(cache_handle);
    return forward.forward(model, cache, ids, logits);
}

fn modelNll(handle: u64, ids_pointer: ?[*]const u32, ids_length: u32, nll_pointer: ?[*]f64, nll_length: u32) abi.Failure!void {
    const model = try handles.acquire(Model, .model, handle);
    defer handles.release(handle);
    const ids = try abi.readable(u32, ids_pointer, ids_length, "ids");
    const result = try abi.writable(f64, nll_pointer, nll_length, "nll");
    if (result.len == 0) return abi.fail(error.InvalidLength, "Expected room for 1 result, got none", .{});
    try model.expectFinished();
    result[0] = try nll.meanNll(model, ids);
}

fn sampleOne(
    logits_pointer: ?[*]const f32,
    logits_length: u32,
    options: ?[*]const f64,
    options_length: u32,
    choice_pointer: ?[*]f64,
    choice_length: u32,
) abi.Failure!void {
    const logits = try abi.readable(f32, logits_pointer, logits_length, "logits");
    const choice = try abi.writable(f64, choice_pointer, choice_length, "choice");
    if (choice.len < 2) return abi.fail(error.InvalidLength, "Expected room for 2 fields of the choice, got {d}", .{choice.len});
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const parsed: sampling.Options = .{
        .temperature = try temperatureOf(try fields.number("the temperature")),
        .top_k = try fields.count("top_k", 0, std.math.maxInt(u32)),
        .top_p = try fields.number("top_p"),
        .seed = try fields.size("the seed", 0, 1 << 53),
        .step = try fields.size("the step", 0, 1 << 53),
    };
    if (parsed.top_p < 0 or parsed.top_p > 1)
        return abi.fail(error.InvalidOption, "Expected top_p from 0 to 1, got {d}", .{parsed.top_p});
    const nn = &(try dispatch.kernels()).nn;
    threads.enter();
    defer threads.leave();
    const memory = try threads.scratch(sampling.scratchLength(logits.len) * @sizeOf(u64));
    const scratch: [*]u64 = @ptrCast(memory.ptr);
    const chosen = try sampling.choose(nn, logits, parsed, scratch[0..sampling.scratchLength(logits.len)]);
    choice[0..2].* = .{ @floatFromInt(chosen.id), chosen.log_probability };
}

/// Only 0 itself is greedy: what would round to 0 or to a subnormal becomes the least normal f32.
fn temperatureOf(value: f64) abi.Failure!f32 {
    if (value < 0) return abi.fail(error.InvalidOption, "Expected a temperature of at least 0, got {d}", .{value});
    const narrowed = try narrow(value, "the temperature");
    return if (value > 0) @max(narrowed, std.math.floatMin(f32)) else 0;
}
