//! Sixteen rows of the wire format to a panel of prepared weights (table.zig): every word of 16 codes
//! changes its code and its order, and a square of 16 rows times 16 words is turned over.
//!
//! Floor: the bytes of the panel read and written once; about ten instructions for each vector of
//! words, and 64 shuffles for a square, which is 4096 weights.

const Panel = @import("ternary_table.zig").Panel;
const Found = @import("ternary_table.zig").Found;
const simd = @import("simd.zig");

const rows = @import("ternary_table.zig").panel_rows;
const Row = @Vector(16, u32);

pub fn fill(panel: *const Panel, found: *Found) callconv(.c) void {
    var bad: Row = @splat(0);
    var nonzeros: u64 = 0;
    var step: usize = 0;
    while (step < panel.steps) : (step += 16) {
        const steps = @min(16, panel.steps - step);
        var square: [rows]Row = undefined;
        var counts: Row = @splat(0);
        for (&square, 0..) |*row, i| {
            const wire: Row = if (i >= panel.rows_count) @splat(0) else load(panel.rows[i] + step * 4, steps);
            bad |= wire & (wire >> @splat(1));
            counts += @popCount(wire);
            row.* = prepared(wire);
        }
        nonzeros += @reduce(.Add, counts);
        turn(&square);
        const target = panel.target + step * panel.stride;
        for (square[0..steps], 0..) |words, i| {
            const place: [*]align(1) u32 = @ptrCast(target + i * panel.stride);
            place[0..16].* = words;
        }
    }
    found.nonzeros = nonzeros;
    found.bad = @intFromBool(@reduce(.Or, bad) & 0x5555_5555 != 0);
}

inline fn load(bytes: [*]const u8, steps: usize) Row {
    const words: [*]align(1) const u32 = @ptrCast(bytes);
    if (steps == 16) return @as(*align(1) const Row, @ptrCast(words)).*;
    var part: [16]u32 = @splat(0);
    for (part[0..steps], words[0..steps]) |*word, wire| word.* = wire;
    return part;
}

inline fn prepared(wire: Row) Row {
    const low: Row = @splat(0x5555_5555);
    // Bits (h, l) become (l, not (h or l)): 00 -> 01, 01 -> 10, 10 -> 00.
    const codes = ((wire & low) << @splat(1)) | (~(wire | (wire >> @splat(1))) & low);
    // Column 4p + j goes from place 4p + j to place 4j + p: swap bits 0 and 2, then 1 and 3, of each
    // place's number.
    return swapFields(swapFields(codes, 6, 0x00cc_00cc), 12, 0x0000_f0f0);
}

inline fn swapFields(word: Row, comptime distance: u5, comptime mask: u32) Row {
    const difference = ((word >> @splat(distance)) ^ word) & @as(Row, @splat(mask));
    return word ^ difference ^ (difference << @splat(distance));
}

/// Turns rows into columns: interleaving the first half of the rows with the second, four times over,
/// moves element (i, j) to (j, i).
inline fn turn(square: *[16]Row) void {
    const low = comptime interleaved(0);
    const high = comptime interleaved(8);
    for (0..4) |_| {
        var next: [16]Row = undefined;
        inline for (0..8) |i| {
            next[2 * i] = @shuffle(u32, square[i], square[i + 8], low);
            next[2 * i + 1] = @shuffle(u32, square[i], square[i + 8], high);
        }
        square.* = next;
    }
}

fn interleaved(comptime first: i32) @Vector(16, i32) {
    var places: [16]i32 = undefined;
    for (&places, 0..) |*place, i| {
        const index = first + @as(i32, @intCast(i / 2));
        place.* = if (i % 2 == 0) index else ~index;
    }
    return places;
}
