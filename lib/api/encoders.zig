//! Exports of encoders: rows of a table of vectors, and texts as bundles of n-grams.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const encoders = @import("../cpu/vsa_encoders_table.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const Texts = @import("../cpu/vsa_texts.zig").Texts;
const texts_of = @import("../cpu/vsa_texts.zig");
const vector_handles = @import("vector_handles.zig");

const acquire = vector_handles.acquire;

/// out[i] = source[rows[i]]; two objects.
pub fn vectors_take(source: u64, rows: ?[*]const u32, rows_length: u32, out: u64) callconv(.c) i32 {
    return abi.finish(take(source, rows, rows_length, out));
}

/// Fills rows from `row` on with the random rows that `rows` names; `below` as in vectors_random.
pub fn vectors_random_rows(handle: u64, row: u32, rows: ?[*]const u32, rows_length: u32, seed: u64, below: u32) callconv(.c) i32 {
    return abi.finish(randomRows(handle, row, rows, rows_length, seed, below));
}

/// Sums of the n-grams' trits, a row of counts for each text. Row n * symbol + j of `items` stands for
/// a symbol at place j; mode: 0 add, 1 subtract, 2 multiply, 3 multiply of items without zeros.
pub fn ngrams_count(items: u64, n: u32, mode: u32, symbols: ?[*]const u32, symbols_length: u32, lengths: ?[*]const u32, lengths_length: u32, counts: ?[*]i32, counts_length: u32) callconv(.c) i32 {
    return abi.finish(count(items, n, mode, symbols, symbols_length, lengths, lengths_length, counts, counts_length));
}

/// The signs of the sums, where they are above `threshold`. tie: 0 zero, 1 positive, 2 random,
/// 3 the first n-gram's.
pub fn ngrams_encode(items: u64, n: u32, mode: u32, symbols: ?[*]const u32, symbols_length: u32, lengths: ?[*]const u32, lengths_length: u32, out: u64, tie: u32, seed: u64, threshold: u32) callconv(.c) i32 {
    return abi.finish(encode(items, n, mode, symbols, symbols_length, lengths, lengths_length, out, tie, seed, threshold));
}

fn take(source: u64, rows: ?[*]const u32, rows_length: u32, out: u64) abi.Failure!void {
    const indices = try abi.readable(u32, rows, rows_length, "the rows");
    const operands = [_]u64{ source, out };
    const from, const to = try acquire(2, operands);
    defer handles.releaseEach(&operands);
    try to.expectDim(from.dim);
    try expectLength("the rows", indices.len, to.count);
    if (from == to) return abi.fail(error.InvalidOption, "Expected two objects, got the same twice", .{});
    for (indices, 0..) |index, row| if (index >= from.count) return abi.fail(
        error.InvalidValue,
        "Expected rows below {d}, got {d} at index {d}",
        .{ from.count, index, row },
    );
    for (indices, 0..) |index, row| @memcpy(to.row(row)[0 .. 2 * to.words], from.row(index));
}

fn randomRows(handle: u64, row: u32, rows: ?[*]const u32, rows_length: u32, seed: u64, below: u32) abi.Failure!void {
    const numbers = try abi.readable(u32, rows, rows_length, "the rows");
    const kernels = &(try dispatch.kernels()).vsa;
    if (below > 1 << 31 and below != std.math.maxInt(u32))
        return abi.fail(error.InvalidOption, "Expected a share of at most 2^31, got {d}", .{below});
    const vectors = (try acquire(1, .{handle}))[0];
    defer handles.release(handle);
    try vectors.expectRows(row, numbers.len);
    for (numbers, row..) |number, index| {
        const out = vectors.row(index);
        if (below == std.math.maxInt(u32)) {
            kernels.random_bipolar(out, vectors.words, vectors.dim, number, seed);
        } else {
            kernels.random(out, vectors.words, vectors.dim, number, seed, below);
        }
    }
}

/// The most n-grams of a text, so that no sum leaves an i32.
const grams_max = std.math.maxInt(i32);

/// Checks everything but what the result goes to, and holds the items.
fn textsOf(items: u64, n: u32, mode: u32, symbols: ?[*]const u32, symbols_length: u32, lengths: ?[*]const u32, lengths_length: u32) abi.Failure!Texts {
    const all = try abi.readable(u32, symbols, symbols_length, "the symbols");
    const parts = try abi.readable(u32, lengths, lengths_length, "the lengths");
    const kernels = &(try dispatch.kernels()).vsa;
    const known = std.enums.fromInt(encoders.Mode, mode) orelse
        return abi.fail(error.InvalidOption, "Expected a binding from 0 to 3, got {d}", .{mode});
    if (n == 0) return abi.fail(error.InvalidOption, "Expected n-grams of at least 1 symbol, got 0", .{});
    var total: u64 = 0;
    for (parts) |length| {
        if (length > grams_max) return abi.fail(error.InvalidLength, "Expected texts of at most 2^31 - 1 symbols, got {d}", .{length});
        total += length;
    }
    try expectLength("the symbols", all.len, total);
    const table = (try acquire(1, .{items}))[0];
    errdefer handles.release(items);
    const places = table.count / n;
    for (all, 0..) |symbol, index| if (symbol >= places) return abi.fail(
        error.InvalidValue,
        "Expected symbols below {d}, got {d} at index {d}",
        .{ places, symbol, index },
    );
    return .{ .kernels = kernels, .items = table, .n = n, .mode = known, .symbols = all, .lengths = parts };
}

fn count(items: u64, n: u32, mode: u32, symbols: ?[*]const u32, symbols_length: u32, lengths: ?[*]const u32, lengths_length: u32, counts: ?[*]i32, counts_length: u32) abi.Failure!void {
    const results = try abi.writable(i32, counts, counts_length, "the counts");
    const texts = try textsOf(items, n, mode, symbols, symbols_length, lengths, lengths_length);
    defer handles.release(items);
    try expectLength("the counts", results.len, @as(u64, texts.lengths.len) * texts.items.dim);
    texts.count(results);
}

fn encode(items: u64, n: u32, mode: u32, symbols: ?[*]const u32, symbols_length: u32, lengths: ?[*]const u32, lengths_length: u32, out: u64, tie: u32, seed: u64, threshold: u32) abi.Failure!void {
    const known = std.enums.fromInt(texts_of.Tie, tie) orelse
        return abi.fail(error.InvalidOption, "Expected a tie from 0 to 3, got {d}", .{tie});
    const target = (try acquire(1, .{out}))[0];
    defer handles.release(out);
    const texts = try textsOf(items, n, mode, symbols, symbols_length, lengths, lengths_length);
    defer handles.release(items);
    try target.expectDim(texts.items.dim);
    try expectLength("the lengths", texts.lengths.len, target.count);
    if (target == texts.items) return abi.fail(error.InvalidOption, "Expected two objects, got the same twice", .{});
    texts.encode(target, .{ .tie = known, .seed = seed, .threshold = threshold });
}
