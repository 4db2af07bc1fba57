//! The layers of training besides products and attention, on a device: embeddings, norms, rotations,
//! gates and column sums; the kernels of cuda/training*.cu. Same formulas as lib/cpu/layer_passes.zig.
//!
//! Sums over rows have one order, which only the sizes decide.

const std = @import("std");
const abi = @import("../abi.zig");
const arguments = @import("training_arguments.zig");
const backend = @import("backend.zig");
const kernels = @import("kernels.zig");

const Buffer = backend.Buffer;
const Stream = backend.Stream;
const divideUp = kernels.divideUp;

/// Values that a block of 256 threads takes, four each; see training.cu.
const block_values = 1024;

/// Blocks of a dimension of a grid besides the first.
const grid_rows_max = 65535;

pub fn foursShape(count: u64) backend.Launch {
    return .{ .blocks = @intCast(divideUp(count, block_values)), .threads = 256 };
}

/// Outputs that overlap nothing else; tensors share the whole of their memory or none.
pub fn expectApart(outputs: anytype, inputs: anytype) abi.Failure!void {
    inline for (outputs, 0..) |output, index| {
        inline for (inputs) |input| if (output == input) return refuse();
        inline for (outputs, 0..) |other, place| {
            if (place > index and output == other) return refuse();
        }
    }
}

fn refuse() abi.Failure {
    return abi.fail(error.InvalidValue, "Expected outputs in memory of their own, got tensors that share it", .{});
}

pub fn expectDevice(first: *const Buffer, other: *const Buffer) abi.Failure!void {
    if (first.device != other.device) return abi.fail(
        error.InvalidValue,
        "Expected all tensors on cuda:{d}, got one on cuda:{d}",
        .{ first.device.index, other.device.index },
    );
}

/// Whole values of four bytes, at least one, and few enough for a grid.
fn countOf(name: []const u8, buffer: *const Buffer) abi.Failure!u64 {
    if (buffer.bytes == 0 or buffer.bytes % 4 != 0) return abi.fail(
        error.InvalidLength,
        "Expected {s} to hold at least one value of 4 bytes, got {d} bytes",
        .{ name, buffer.bytes },
    );
    return buffer.bytes / 4;
}

fn expectCount(name: []const u8, buffer: *const Buffer, count: u64) abi.Failure!void {
    const found = try countOf(name, buffer);
    if (found != count) return abi.fail(error.InvalidLength, "Expected {s} to hold {d} values, got {d}", .{ name, count, found });
}

/// The values of a tensor, as many as each of the others has: a tuple of names and tensors.
pub fn sameCounts(first: *const Buffer, others: anytype) abi.Failure!u64 {
    const count = try countOf("a tensor", first);
    inline for (others) |other| {
        try expectDevice(first, other[1]);
        try expectCount(other[0], other[1], count);
    }
    return count;
}

/// Whole rows; how many.
fn rowsOf(name: []const u8, buffer: *const Buffer, columns: u64) abi.Failure!u32 {
    const count = try countOf(name, buffer);
    if (columns == 0 or count % columns != 0 or count / columns > std.math.maxInt(i32)) return abi.fail(
        error.InvalidShape,
        "Expected {s} in whole rows of {d} values, at most 2^31 - 1 of them, got {d} values",
        .{ name, columns, count },
    );
    return @intCast(count / columns);
}

pub fn clear(values: *Buffer) abi.Failure!void {
    const device = values.device;
    const stream = try device.stream();
    const pointer = try values.use(stream);
    if (values.bytes == 0) return;
    return device.check(device.driver.cuMemsetD8Async(pointer, 0, @intCast(values.bytes), stream.handle), "clear memory");
}

/// Rows for tokens, and the table that they are of.
fn embeddingArguments(table: *Buffer, ids: *Buffer, rows: *Buffer, features: u32) abi.Failure!arguments.Embedding {
    try expectDevice(table, ids);
    try expectDevice(table, rows);
    const vocab = try rowsOf("the table", table, features);
    const tokens = try rowsOf("ids", ids, 1);
    try expectCount("the tokens' rows", rows, @as(u64, tokens) * features);
    return .{ .source = 0, .ids = 0, .target = 0, .tokens = tokens, .features = features, .vocab = vocab };
}

pub fn embeddingForward(table: *Buffer, ids: *Buffer, out: *Buffer, features: u32) abi.Failure!void {
    var task = try embeddingArguments(table, ids, out, features);
    try expectApart(.{out}, .{ table, ids });
    const stream = try table.device.stream();
    task.source = try table.use(stream);
    task.ids = try ids.use(stream);
    task.target = try out.use(stream);
    const units = if (features % 4 == 0) features / 4 else features;
    return stream.launch(.training_embed, .{ .blocks = task.tokens, .threads = threadsFor(units, 256) }, task);
}

/// Whole warps for so many units of work.
fn threadsFor(units: u32, most: u32) u32 {
    return @min(most, std.mem.alignForward(u32, @min(units, most), 32));
}

/// Tokens of an id that a warp adds up, features of such a warp, and of a block for ids with more.
const few_tokens = 32;
const few_features = 256;
const many_features = 128;
const many_blocks = 256;

pub fn embeddingBackward(gradient: *Buffer, ids: *Buffer, table_gradient: *Buffer, features: u32) abi.Failure!void {
    var task = try embeddingArguments(table_gradient, ids, gradient, features);
    try expectApart(.{table_gradient}, .{ gradient, ids });
    const slabs = divideUp(features, many_features);
    if (slabs > grid_rows_max) return abi.fail(error.InvalidShape, "Expected at most {d} features, got {d}", .{ grid_rows_max * many_features, features });
    const device = gradient.device;
    const stream = try device.stream();
    const ids_most = @min(task.tokens, task.vocab);
    const many_most = task.tokens / (few_tokens + 1);
    // Counts and two numbers, which begin at 0; ids, those with many tokens, and the tokens of the others.
    const cleared = (@as(u64, task.vocab) + 2) * 4;
    const listed = (@as(u64, ids_most) + many_most) * 4;
    const memory: *Buffer = try .create(device, cleared + listed + @as(u64, task.vocab) * few_tokens * 4);
    defer memory.release();
    task.source = try gradient.use(stream);
    task.ids = try ids.use(stream);
    task.target = try table_gradient.use(stream);
    task.counts = try memory.use(stream);
    task.numbers = task.counts + cleared - 8;
    task.all = task.counts + cleared;
    task.many = task.all + @as(u64, ids_most) * 4;
    task.slots = task.all + listed;
    try device.check(device.driver.cuMemsetD8Async(task.counts, 0, @intCast(cleared), stream.handle), "clear memory");
    try stream.launch(.training_embed_count, .{ .blocks = divideUp(task.tokens, 256), .threads = 256 }, task);
    const few: backend.Launch = .{ .blocks = divideUp(ids_most, 8), .blocks_y = divideUp(features, few_features), .threads = 256 };
    try stream.launch(.training_embed_few, few, task);
    if (many_most == 0) return;
    return stream.launch(.training_embed_many, .{ .blocks = @min(many_most, many_blocks), .blocks_y = slabs, .threads = 512 }, task);
}

/// The fours of a row's columns that a thread of a kernel keeps, or 0 where rows are not kept.
fn foursOf(columns: u32) u32 {
    if (columns % 4 != 0 or columns > 8192) return 0;
    return if (columns <= 512) 1 else if (columns <= 1024) 2 else 4;
}

fn normThreads(columns: u32) u32 {
    const fours = foursOf(columns);
    return if (fours == 0) 256 else threadsFor(divideUp(columns, 4 * fours), 512);
}

fn normKernel(comptime name: []const u8, columns: u32) kernels.Kernel {
    return switch (foursOf(columns)) {
        1 => @field(kernels.Kernel, name ++ "_1"),
        2 => @field(kernels.Kernel, name ++ "_2"),
        4 => @field(kernels.Kernel, name ++ "_4"),
        else => @field(kernels.Kernel, name ++ "_any"),
    };
}

fn expectEpsilon(epsilon: f32) abi.Failure!void {
    if (!(epsilon >= 0) or std.math.isInf(epsilon)) return abi.fail(error.InvalidOption, "Expected a finite epsilon of at least 0, got {d}", .{epsilon});
}

fn columnsOf(weight: *const Buffer) abi.Failure!u32 {
    const columns = try countOf("weight", weight);
    return std.math.cast(u32, columns) orelse abi.fail(error.InvalidLength, "Expected weight to hold fewer than 2^32 values, got {d}", .{columns});
}

pub fn normForward(input: *Buffer, weight: *Buffer, out: *Buffer, epsilon: f32) abi.Failure!void {
    const columns = try columnsOf(weight);
    try expectEpsilon(epsilon);
    try expectDevice(input, weight);
    _ = try sameCounts(input, .{.{ "the result", out }});
    const rows = try rowsOf("input", input, columns);
    try expectApart(.{out}, .{ input, weight });
    const stream = try input.device.stream();
    const task: arguments.Norm = .{
        .input = try input.use(stream),
        .weight = try weight.use(stream),
        .out = try out.use(stream),
        .rows = rows,
        .columns = columns,
        .epsilon = epsilon,
    };
    return stream.launchOf(normKernel("training_norm", columns), .{ .blocks = rows, .threads = normThreads(columns) }, &task);
}

pub const NormBackward = struct {
    input: *Buffer,
    weight: *Buffer,
    gradient: *Buffer,
    out: *Buffer,
    weight_gradient: *Buffer,
    epsilon: f32,
    accumulate: u32,
};

/// Blocks that share the rows of a norm, if each has `norm_rows_min`.
const norm_blocks = 1024;
const norm_rows_min = 8;

pub fn normBackward(norm: NormBackward) abi.Failure!void {
    const columns = try columnsOf(norm.weight);
    try expectEpsilon(norm.epsilon);
    if (norm.accumulate > 1) return abi.fail(error.InvalidOption, "Expected 0 or 1 for whether to accumulate, got {d}", .{norm.accumulate});
    try expectDevice(norm.input, norm.weight);
    _ = try sameCounts(norm.input, .{ .{ "gradient", norm.gradient }, .{ "the result", norm.out } });
    _ = try sameCounts(norm.weight, .{.{ "the weight's gradient", norm.weight_gradient }});
    const rows = try rowsOf("input", norm.input, columns);
    try expectApart(.{ norm.out, norm.weight_gradient }, .{ norm.input, norm.weight });
    try expectApart(.{norm.weight_gradient}, .{norm.gradient});
    if (norm.accumulate == 1) try expectApart(.{norm.out}, .{norm.gradient});
    const device = norm.input.device;
    const stream = try device.stream();
    const block_rows = @max(norm_rows_min, divideUp(rows, norm_blocks));
    const blocks = divideUp(rows, block_rows);
    const memory: *Buffer = try .create(device, @as(u64, blocks) * columns * 4);
    defer memory.release();
    const task: arguments.Norm = .{
        .input = try norm.input.use(stream),
        .weight = try norm.weight.use(stream),
        .gradient = try norm.gradient.use(stream),
        .out = try norm.out.use(stream),
        .partial = try memory.use(stream),
        .rows = rows,
        .columns = columns,
        .block_rows = block_rows,
        .epsilon = norm.epsilon,
        .accumulate = norm.accumulate,
    };
    try stream.launchOf(normKernel("training_norm_back", columns), .{ .blocks = blocks, .threads = normThreads(columns) }, &task);
    return addSums(stream, task.partial, blocks, columns, try norm.weight_gradient.use(stream));
}

/// Rows that one block adds up are a multiple, and blocks of rows at most so many.
const sums_rows_min = 256;
const sums_blocks = 256;

/// sums[column] += the rows, which are few: one block for 32 columns.
fn addSums(stream: *Stream, values: u64, rows: u32, columns: u32, sums: u64) abi.Failure!void {
    return stream.launch(.training_sum_columns, .{ .blocks = divideUp(columns, 32), .threads = 1024 }, .{
        .values = values,
        .sums = sums,
        .rows = rows,
        .columns = columns,
        .block_rows = rows,
        .adds = 1,
    });
}

pub fn columnSums(values: *Buffer, sums: *Buffer) abi.Failure!void {
    const columns = try columnsOf(sums);
    try expectDevice(values, sums);
    const rows = try rowsOf("values", values, columns);
    try expectApart(.{sums}, .{values});
    const device = values.device;
    const stream = try device.stream();
    const source = try values.use(stream);
    const target = try sums.use(stream);
    if (rows <= sums_rows_min) return addSums(stream, source, rows, columns, target);
    const block_rows = std.mem.alignForward(u32, divideUp(rows, sums_blocks), sums_rows_min);
    const blocks = divideUp(rows, block_rows);
    const memory: *Buffer = try .create(device, @as(u64, blocks) * columns * 4);
    defer memory.release();
    const partial = try memory.use(stream);
    try stream.launch(.training_sum_columns, .{ .blocks = divideUp(columns, 32), .blocks_y = blocks, .threads = 1024 }, .{
        .values = source,
        .sums = partial,
        .rows = rows,
        .columns = columns,
        .block_rows = block_rows,
        .adds = 0,
    });
    return addSums(stream, partial, blocks, columns, target);
}

pub const RopeShape = struct { length: u32, heads: u32, head_dim: u32 };

pub fn ropeTurn(values: *Buffer, cos: *Buffer, sin: *Buffer, shape: RopeShape) abi.Failure!void {
    if (shape.head_dim % 2 != 0) return abi.fail(error.InvalidShape, "Expected an even head dimension, got {d}", .{shape.head_dim});
    const half = shape.head_dim / 2;
    const count = try countOf("values", values);
    const token = @as(u64, shape.heads) * shape.head_dim;
    const text = std.math.mul(u64, token, shape.length) catch std.math.maxInt(u64);
    if (count % text != 0) return abi.fail(error.InvalidShape, "Expected values in whole texts of {d} values, got {d} values", .{ text, count });
    const least = @as(u64, shape.length) * half;
    for ([_]*Buffer{ cos, sin }, [_][]const u8{ "cos", "sin" }) |table, name| {
        try expectDevice(values, table);
        const held = try countOf(name, table);
        if (held < least) return abi.fail(error.InvalidLength, "Expected {s} to hold at least {d} values, got {d}", .{ name, least, held });
    }
    try expectApart(.{values}, .{ cos, sin });
    const stream = try values.device.stream();
    const wide = half % 4 == 0;
    const units = if (wide) count / 8 else count / 2;
    const task: arguments.Rope = .{
        .values = try values.use(stream),
        .cos = try cos.use(stream),
        .sin = try sin.use(stream),
        .units = units,
        .length = shape.length,
        .heads = shape.heads,
        .half = half,
    };
    const launch: backend.Launch = .{ .blocks = @intCast(divideUp(units, 256)), .threads = 256 };
    return stream.launchOf(if (wide) .training_rope_4 else .training_rope_1, launch, &task);
}

fn expectKind(kind: u32) abi.Failure!void {
    if (kind > 1) return abi.fail(error.InvalidOption, "Expected activation 0 (relu2) or 1 (silu), got {d}", .{kind});
}

pub fn gateForward(gate: *Buffer, up: *Buffer, out: *Buffer, kind: u32) abi.Failure!void {
    const count = try sameCounts(gate, .{ .{ "up", up }, .{ "the result", out } });
    try expectKind(kind);
    try expectApart(.{out}, .{ gate, up });
    const stream = try gate.device.stream();
    return stream.launch(.training_gate, foursShape(count), .{
        .gate = try gate.use(stream),
        .up = try up.use(stream),
        .first = try out.use(stream),
        .count = count,
        .kind = kind,
    });
}

pub fn gateBackward(gate: *Buffer, up: *Buffer, gradient: *Buffer, gate_out: *Buffer, up_out: *Buffer, kind: u32) abi.Failure!void {
    const count = try sameCounts(gate, .{
        .{ "up", up },
        .{ "gradient", gradient },
        .{ "the gate's gradient", gate_out },
        .{ "the gradient of up", up_out },
    });
    try expectKind(kind);
    try expectApart(.{ gate_out, up_out }, .{gradient});
    try expectApart(.{gate_out}, .{up});
    try expectApart(.{up_out}, .{gate});
    const stream = try gate.device.stream();
    return stream.launch(.training_gate_back, foursShape(count), .{
        .gate = try gate.use(stream),
        .up = try up.use(stream),
        .gradient = try gradient.use(stream),
        .first = try gate_out.use(stream),
        .second = try up_out.use(stream),
        .count = count,
        .kind = kind,
    });
}
