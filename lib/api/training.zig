//! Layers in training besides linear ones and attention: norms, gates, embeddings, the head with its
//! loss, and random numbers to begin with.
//!
//! Buffers' lengths stand behind the numbers of the options, in the order of the arguments.

const std = @import("std");
const abi = @import("../abi.zig");
const buffers = @import("buffers.zig");
const dispatch = @import("../cpu/dispatch.zig");
const head_loss_file = @import("../cpu/head_loss.zig");
const normal = @import("../cpu/normal.zig");
const passes = @import("../cpu/layer_passes.zig");
const threads = @import("../cpu/threads.zig");
const options_file = @import("options.zig");
const Fields = options_file.Fields;
const expectLength = options_file.expectLength;

const any = std.math.maxInt(u32);

/// dx = (or += where asked) the gradient of the norm's input, dw += that of its weight. `dx` may be
/// `gradient`.
/// options = [epsilon, 1 to add to dx, lengths]
pub fn rms_norm_backward(
    input: ?[*]const f32,
    weight: ?[*]const f32,
    gradient: ?[*]const f32,
    dx: ?[*]f32,
    dw: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(rmsNormBackward(input, weight, gradient, dx, dw, options, options_length));
}

/// output = act(gate) * up, all of one length; kind 0 is relu squared, 1 is silu.
pub fn gate_forward(gate: ?[*]const f32, gate_length: u32, up: ?[*]const f32, output: ?[*]f32, kind: u32) callconv(.c) i32 {
    return abi.finish(gateForward(gate, gate_length, up, output, kind));
}

/// The gradients of gate and up, all of one length; `dgate` and `dup` may be `gate` and `up`.
pub fn gate_backward(
    gate: ?[*]const f32,
    gate_length: u32,
    up: ?[*]const f32,
    gradient: ?[*]const f32,
    dgate: ?[*]f32,
    dup: ?[*]f32,
    kind: u32,
) callconv(.c) i32 {
    return abi.finish(gateBackward(gate, gate_length, up, gradient, dgate, dup, kind));
}

/// sum += term, both of one length.
pub fn vector_add(sum: ?[*]f32, sum_length: u32, term: ?[*]const f32) callconv(.c) i32 {
    return abi.finish(vectorAdd(sum, sum_length, term));
}

/// sums += the sum of the rows, each as long as `sums`.
pub fn column_sums(rows: ?[*]const f32, rows_length: u32, sums: ?[*]f32, sums_length: u32) callconv(.c) i32 {
    return abi.finish(columnSums(rows, rows_length, sums, sums_length));
}

/// output [ids, columns] = rows of the table.
pub fn embedding_forward(
    rows: ?[*]const f32,
    rows_length: u32,
    columns: u32,
    ids: ?[*]const i32,
    ids_length: u32,
    output: ?[*]f32,
    output_length: u32,
) callconv(.c) i32 {
    return abi.finish(embeddingForward(rows, rows_length, columns, ids, ids_length, output, output_length));
}

/// rows[id] += gradient of the token, for every token.
pub fn embedding_backward(
    gradient: ?[*]const f32,
    gradient_length: u32,
    columns: u32,
    ids: ?[*]const i32,
    ids_length: u32,
    rows: ?[*]f32,
    rows_length: u32,
) callconv(.c) i32 {
    return abi.finish(embeddingBackward(gradient, gradient_length, columns, ids, ids_length, rows, rows_length));
}

/// The loss of a head: result = [mean loss, targets that count]. d_hidden is written, d_embeddings
/// added to: gradients of scale times the mean loss; both are empty where none are wanted.
/// options = [hidden width, scale, lengths]
pub fn head_loss(
    hidden: ?[*]const f32,
    embeddings: ?[*]const f32,
    targets: ?[*]const i32,
    d_hidden: ?[*]f32,
    d_embeddings: ?[*]f32,
    result: ?[*]f64,
    options: ?[*]const f64,
    options_length: u32,
) callconv(.c) i32 {
    return abi.finish(headLoss(hidden, embeddings, targets, d_hidden, d_embeddings, result, options, options_length));
}

/// Normal numbers of mean 0, a function of seed, stream and place.
pub fn random_normal(output: ?[*]f32, output_length: u32, seed: u64, stream: u32, deviation: f32) callconv(.c) i32 {
    return abi.finish(randomNormal(output, output_length, seed, stream, deviation));
}

fn rmsNormBackward(
    input_pointer: ?[*]const f32,
    weight_pointer: ?[*]const f32,
    gradient_pointer: ?[*]const f32,
    dx_pointer: ?[*]f32,
    dw_pointer: ?[*]f32,
    options: ?[*]const f64,
    options_length: u32,
) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const epsilon = try fields.number("epsilon");
    const adds = try fields.count("whether to add", 0, 1);
    const input = try buffers.readable(&fields, f32, input_pointer, "input");
    const weight = try buffers.readable(&fields, f32, weight_pointer, "weight");
    const gradient = try buffers.readable(&fields, f32, gradient_pointer, "gradient");
    const dx = try buffers.writable(&fields, f32, dx_pointer, "dx");
    const dw = try buffers.writable(&fields, f32, dw_pointer, "dw");
    if (!(epsilon >= 0)) return abi.fail(error.InvalidOption, "Expected epsilon to be at least 0, got {d}", .{epsilon});
    _ = try buffers.rowsOf(input.len, @intCast(weight.len), "input");
    try expectLength("gradient", gradient.len, input.len);
    try expectLength("dx", dx.len, input.len);
    try expectLength("dw", dw.len, weight.len);
    try buffers.expectApart(.{ dx, dw }, .{ input, weight });
    try buffers.expectApart(.{dw}, .{gradient});
    if (dx.ptr != gradient.ptr) try buffers.expectApart(.{dx}, .{gradient});
    var job: passes.NormBackward = .{
        .kernels = try dispatch.kernels(),
        .input = input,
        .weight = weight,
        .gradient = gradient,
        .dx = dx,
        .dw = dw,
        .epsilon = @floatCast(epsilon),
        .adds = adds == 1,
    };
    threads.enter();
    defer threads.leave();
    try job.run();
}

fn expectSome(length: usize) abi.Failure!void {
    if (length == 0) return abi.fail(error.InvalidLength, "Expected at least 1 element, got none", .{});
}

fn checkKind(kind: u32) abi.Failure!void {
    if (kind > 1) return abi.fail(error.InvalidOption, "Expected activation 0 (relu2) or 1 (silu), got {d}", .{kind});
}

fn gateForward(gate_pointer: ?[*]const f32, length: u32, up_pointer: ?[*]const f32, output_pointer: ?[*]f32, kind: u32) abi.Failure!void {
    const gate = try abi.readable(f32, gate_pointer, length, "gate");
    const up = try abi.readable(f32, up_pointer, length, "up");
    const output = try abi.writable(f32, output_pointer, length, "output");
    try checkKind(kind);
    try expectSome(length);
    try buffers.expectApart(.{output}, .{ gate, up });
    const job: passes.Gate = .{ .kernels = try dispatch.kernels(), .gate = gate, .up = up, .first = output, .kind = kind };
    threads.enter();
    defer threads.leave();
    job.run();
}

fn gateBackward(
    gate_pointer: ?[*]const f32,
    length: u32,
    up_pointer: ?[*]const f32,
    gradient_pointer: ?[*]const f32,
    dgate_pointer: ?[*]f32,
    dup_pointer: ?[*]f32,
    kind: u32,
) abi.Failure!void {
    const gate = try abi.readable(f32, gate_pointer, length, "gate");
    const up = try abi.readable(f32, up_pointer, length, "up");
    const gradient = try abi.readable(f32, gradient_pointer, length, "gradient");
    const dgate = try abi.writable(f32, dgate_pointer, length, "dgate");
    const dup = try abi.writable(f32, dup_pointer, length, "dup");
    try checkKind(kind);
    try expectSome(length);
    try buffers.expectApart(.{ dgate, dup }, .{gradient});
    if (dgate.ptr != gate.ptr) try buffers.expectApart(.{dgate}, .{gate});
    if (dup.ptr != up.ptr) try buffers.expectApart(.{dup}, .{up});
    try buffers.expectApart(.{dgate}, .{up});
    try buffers.expectApart(.{dup}, .{gate});
    const job: passes.Gate = .{
        .kernels = try dispatch.kernels(),
        .gate = gate,
        .up = up,
        .gradient = gradient,
        .first = dgate,
        .second = dup,
        .kind = kind,
    };
    threads.enter();
    defer threads.leave();
    job.run();
}

fn vectorAdd(sum_pointer: ?[*]f32, length: u32, term_pointer: ?[*]const f32) abi.Failure!void {
    try expectSome(length);
    const sum = try abi.writable(f32, sum_pointer, length, "sum");
    const term = try abi.readable(f32, term_pointer, length, "term");
    try buffers.expectApart(.{sum}, .{term});
    const job: passes.Add = .{ .kernels = try dispatch.kernels(), .sum = sum, .term = term };
    threads.enter();
    defer threads.leave();
    job.run();
}

fn columnSums(rows_pointer: ?[*]const f32, rows_length: u32, sums_pointer: ?[*]f32, sums_length: u32) abi.Failure!void {
    const rows = try abi.readable(f32, rows_pointer, rows_length, "rows");
    const sums = try abi.writable(f32, sums_pointer, sums_length, "sums");
    _ = try buffers.rowsOf(rows.len, sums_length, "rows");
    try buffers.expectApart(.{sums}, .{rows});
    const job: passes.ColumnSums = .{ .kernels = try dispatch.kernels(), .rows = rows, .sums = sums };
    threads.enter();
    defer threads.leave();
    job.run();
}

fn expectIds(ids: []const i32, rows: usize, name: []const u8, ignored: ?i32) abi.Failure!void {
    for (ids, 0..) |id, index| {
        if (id >= 0 and id < rows) continue;
        if (ignored) |value| if (id == value) continue;
        return abi.fail(error.InvalidValue, "Expected {s} from 0 to {d}, got {d} at index {d}", .{ name, rows -| 1, id, index });
    }
}

fn embeddingForward(
    rows_pointer: ?[*]const f32,
    rows_length: u32,
    columns: u32,
    ids_pointer: ?[*]const i32,
    ids_length: u32,
    output_pointer: ?[*]f32,
    output_length: u32,
) abi.Failure!void {
    const rows = try abi.readable(f32, rows_pointer, rows_length, "rows");
    const ids = try abi.readable(i32, ids_pointer, ids_length, "ids");
    const output = try abi.writable(f32, output_pointer, output_length, "output");
    try expectIds(ids, try buffers.rowsOf(rows.len, columns, "rows"), "ids", null);
    try expectLength("output", output.len, @as(u64, ids.len) * columns);
    try buffers.expectApart(.{output}, .{ rows, ids });
    const job: passes.Embedding = .{
        .kernels = try dispatch.kernels(),
        .ids = ids,
        .columns = columns,
        .table_rows = rows.ptr,
        .output = output.ptr,
    };
    job.gather();
}

fn embeddingBackward(
    gradient_pointer: ?[*]const f32,
    gradient_length: u32,
    columns: u32,
    ids_pointer: ?[*]const i32,
    ids_length: u32,
    rows_pointer: ?[*]f32,
    rows_length: u32,
) abi.Failure!void {
    const gradient = try abi.readable(f32, gradient_pointer, gradient_length, "gradient");
    const ids = try abi.readable(i32, ids_pointer, ids_length, "ids");
    const rows = try abi.writable(f32, rows_pointer, rows_length, "rows");
    try expectIds(ids, try buffers.rowsOf(rows.len, columns, "rows"), "ids", null);
    try expectLength("gradient", gradient.len, @as(u64, ids.len) * columns);
    try buffers.expectApart(.{rows}, .{ gradient, ids });
    const job: passes.Embedding = .{
        .kernels = try dispatch.kernels(),
        .ids = ids,
        .columns = columns,
        .table_rows = gradient.ptr,
        .output = rows.ptr,
    };
    threads.enter();
    defer threads.leave();
    job.scatter();
}

fn headLoss(
    hidden_pointer: ?[*]const f32,
    embeddings_pointer: ?[*]const f32,
    targets_pointer: ?[*]const i32,
    d_hidden_pointer: ?[*]f32,
    d_embeddings_pointer: ?[*]f32,
    result_pointer: ?[*]f64,
    options: ?[*]const f64,
    options_length: u32,
) abi.Failure!void {
    var fields: Fields = .init(try abi.readable(f64, options, options_length, "options"));
    const width = try fields.count("the hidden width", 1, any);
    const scale = try fields.number("the scale");
    const hidden = try buffers.readable(&fields, f32, hidden_pointer, "hidden");
    const embeddings = try buffers.readable(&fields, f32, embeddings_pointer, "embeddings");
    const targets = try buffers.readable(&fields, i32, targets_pointer, "targets");
    const d_hidden = try buffers.writable(&fields, f32, d_hidden_pointer, "d_hidden");
    const d_embeddings = try buffers.writable(&fields, f32, d_embeddings_pointer, "d_embeddings");
    const result = try abi.writable(f64, result_pointer, 2, "result");
    const vocab = try buffers.rowsOf(embeddings.len, width, "embeddings");
    try expectLength("targets", targets.len, try buffers.rowsOf(hidden.len, width, "hidden"));
    try expectIds(targets, vocab, "targets", head_loss_file.ignored);
    if (d_hidden.len > 0 or d_embeddings.len > 0) {
        try expectLength("d_hidden", d_hidden.len, hidden.len);
        try expectLength("d_embeddings", d_embeddings.len, embeddings.len);
    }
    try buffers.expectApart(.{ d_hidden, d_embeddings, result }, .{ hidden, embeddings, targets });
    var job: head_loss_file.HeadLoss = .{
        .kernels = try dispatch.kernels(),
        .hidden = hidden,
        .embeddings = embeddings,
        .targets = targets,
        .width = width,
        .vocab = vocab,
        .d_hidden = d_hidden,
        .d_embeddings = d_embeddings,
    };
    const count: f64 = @floatFromInt(job.counted());
    if (count > 0 and d_hidden.len > 0) job.factor = @floatCast(scale / count);
    threads.enter();
    defer threads.leave();
    const total = try job.run();
    result[0] = if (count == 0) 0 else total / count;
    result[1] = count;
}

fn randomNormal(output_pointer: ?[*]f32, output_length: u32, seed: u64, stream: u32, deviation: f32) abi.Failure!void {
    const output = try abi.writable(f32, output_pointer, output_length, "output");
    try expectSome(output.len);
    if (!(deviation >= 0) or std.math.isInf(deviation))
        return abi.fail(error.InvalidOption, "Expected a finite deviation of at least 0, got {d}", .{deviation});
    threads.enter();
    defer threads.leave();
    normal.fill(output, seed, stream, deviation);
}
