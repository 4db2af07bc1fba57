//! A row's step of weights in one word, in each layout of table.zig.

const table = @import("table.zig");

const Layout = table.Layout;

/// The codes (trit + 1) of a step, as many as the layout has columns.
pub const Codes = [table.step_columns_max]u8;

/// Where a column's code stands in the word: it counts `factor` times in the field from bit `bit` on.
const Place = struct { bit: u5, width: u6, factor: u8 };

inline fn placeOf(comptime layout: Layout, comptime column: usize) Place {
    const powers = [_]u8{ 1, 3, 9, 27, 81 };
    return switch (layout) {
        .planes => .{ .bit = 8 * (column % 4) + 2 * (column / 4), .width = 2, .factor = 1 },
        .base3 => .{ .bit = 8 * (column % 4), .width = 8, .factor = powers[column / 4] },
        .triples => .{ .bit = 5 * (column / 3), .width = 5, .factor = powers[column % 3] },
    };
}

pub fn encode(layout: Layout, codes: *const Codes) u32 {
    var word: u32 = 0;
    switch (layout) {
        inline else => |known| inline for (0..comptime known.stepColumns()) |column| {
            const place = comptime placeOf(known, column);
            word += @as(u32, codes[column]) * place.factor << place.bit;
        },
    }
    return word;
}

pub fn decode(layout: Layout, word: u32) Codes {
    var codes: Codes = @splat(1);
    switch (layout) {
        inline else => |known| inline for (0..comptime known.stepColumns()) |column| {
            const place = comptime placeOf(known, column);
            const field: u32 = (word >> place.bit) & ((1 << place.width) - 1);
            codes[column] = @intCast(field / place.factor % (if (known == .planes) 4 else 3));
        },
    }
    return codes;
}
