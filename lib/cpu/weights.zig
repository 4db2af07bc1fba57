//! Ternary weights in the layout of table.zig: 2 bits per weight and one f32 scale per row and group.
//!
//! Whatever weights come from (trits, the wire format, a BitNet checkpoint) is a source that hands over
//! one row of a panel's step at a time: 16 codes (trit + 1) in the planes of a word, or nothing where
//! one of them is no trit.

const std = @import("std");
const abi = @import("../abi.zig");
const firstNotFinite = @import("finite.zig").firstNotFinite;
const layouts = @import("layouts.zig");
const memory = @import("../memory.zig");
const table = @import("table.zig");

/// Above this many columns a sum of codes times activations might leave 32 bits.
pub const columns_max = 1 << 22;

pub const Layout = table.Layout;

pub const Shape = struct {
    columns: u32,
    group_columns: u32,
    layout: Layout = .planes,

    pub fn groups(self: Shape) u32 {
        return self.columns / self.group_columns;
    }

    /// Steps of one group, the last one padded.
    pub fn groupSteps(self: Shape) u32 {
        const each = self.layout.stepColumns();
        return (self.group_columns + each - 1) / each;
    }

    pub fn steps(self: Shape) u32 {
        return self.groups() * self.groupSteps();
    }

    pub fn paddedColumns(self: Shape) usize {
        return @as(usize, self.steps()) * self.layout.stepColumns();
    }
};

pub const Weights = struct {
    rows: u32,
    columns: u32,
    group_columns: u32,
    layout: Layout,
    /// See table.zig.
    data: []u8,
    /// [panel][group][16].
    row_scales: []f32,
    nonzeros: u64,
    memory_bytes: u64,

    pub fn shape(self: *const Weights) Shape {
        return .{ .columns = self.columns, .group_columns = self.group_columns, .layout = self.layout };
    }

    pub fn blocks(self: *const Weights) usize {
        return (@as(usize, self.rows) + table.block_rows - 1) / table.block_rows;
    }

    pub fn panelsOf(self: *const Weights, block: usize) u32 {
        const rows = @min(self.rows - block * table.block_rows, table.block_rows);
        return @intCast((rows + table.panel_rows - 1) / table.panel_rows);
    }

    /// The block's bytes from step `step` on.
    pub fn blockData(self: *const Weights, block: usize, step: usize) [*]u8 {
        const whole_block = table.panels_per_block * table.panel_step_bytes * self.shape().steps();
        return self.data.ptr + block * whole_block + step * self.panelsOf(block) * table.panel_step_bytes;
    }

    /// The word that holds the columns of a step of a row.
    pub fn word(self: *const Weights, row: usize, step: usize) *align(1) u32 {
        const block = row / table.block_rows;
        const panel = row % table.block_rows / table.panel_rows;
        return @ptrCast(self.blockData(block, step) + panel * table.panel_step_bytes + row % table.panel_rows * 4);
    }

    pub fn scaleOf(self: *const Weights, row: usize, group: usize) *f32 {
        const groups = self.shape().groups();
        return &self.row_scales[(row / table.panel_rows * groups + group) * table.panel_rows + row % table.panel_rows];
    }

    /// The trits of a row.
    pub fn readRow(self: *const Weights, row: usize, trits: []i8) void {
        const own = self.shape();
        const each = own.layout.stepColumns();
        for (0..own.groups()) |group| {
            for (0..own.groupSteps()) |step| {
                const within = step * each;
                const codes = layouts.decode(own.layout, self.word(row, group * own.groupSteps() + step).*);
                const target = trits[group * own.group_columns + within ..];
                const count = @min(each, own.group_columns - within);
                for (target[0..count], codes[0..count]) |*trit, code| trit.* = @as(i8, @intCast(code)) - 1;
            }
        }
    }

    /// Rewrites the weights in another layout.
    pub fn changeLayout(self: *Weights, layout: Layout) error{OutOfMemory}!void {
        if (layout == self.layout) return;
        const shape_after: Shape = .{ .columns = self.columns, .group_columns = self.group_columns, .layout = layout };
        var after = self.*;
        after.layout = layout;
        after.data = try memory.alloc(u8, dataBytes(self.rows, shape_after));
        errdefer memory.free(u8, @alignCast(after.data));
        const trits = try memory.alloc(i8, self.columns);
        defer memory.free(i8, trits);
        const panels = (self.rows + table.panel_rows - 1) / table.panel_rows;
        for (0..panels * table.panel_rows) |row| {
            if (row < self.rows) self.readRow(row, trits) else @memset(trits, 0);
            after.writeRow(row, trits);
        }
        after.memory_bytes = after.data.len + self.row_scales.len * @sizeOf(f32) + @sizeOf(Weights);
        memory.free(u8, @alignCast(self.data));
        self.* = after;
    }

    fn writeRow(self: *const Weights, row: usize, trits: []const i8) void {
        const own = self.shape();
        const each = own.layout.stepColumns();
        for (0..own.groups()) |group| {
            for (0..own.groupSteps()) |step| {
                const within = step * each;
                var codes: layouts.Codes = @splat(1);
                const source = trits[group * own.group_columns + within ..];
                const count = @min(each, own.group_columns - within);
                for (codes[0..count], source[0..count]) |*code, trit| code.* = @intCast(trit + 1);
                self.word(row, group * own.groupSteps() + step).* = layouts.encode(own.layout, &codes);
            }
        }
    }

    pub fn destroy(self: *Weights) void {
        memory.free(u8, @alignCast(self.data));
        memory.free(f32, @alignCast(self.row_scales));
        std.heap.c_allocator.destroy(self);
    }
};

pub fn dataBytes(rows: u32, shape: Shape) usize {
    const panels = (@as(usize, rows) + table.panel_rows - 1) / table.panel_rows;
    return panels * shape.steps() * table.panel_step_bytes;
}

pub fn scalesCount(rows: u32, shape: Shape) usize {
    const panels = (@as(usize, rows) + table.panel_rows - 1) / table.panel_rows;
    return panels * table.panel_rows * shape.groups();
}

/// Checks the shape of a matrix and the number of its scales, and tells the group size.
pub fn checkShape(rows: u32, columns: u32, scales: []const f32) abi.Failure!Shape {
    if (rows == 0 or columns == 0)
        return abi.fail(error.InvalidShape, "Expected a shape of at least 1 x 1, got {d} x {d}", .{ rows, columns });
    if (columns > columns_max)
        return abi.fail(error.InvalidShape, "Expected at most {d} columns, got {d}", .{ columns_max, columns });
    const per_row = scales.len / rows;
    if (scales.len == 0 or scales.len % rows != 0 or per_row > columns or columns % per_row != 0) return abi.fail(
        error.InvalidLength,
        "Expected one scale a row ({d}) or one a group of equal size, got {d} scales for {d} x {d}",
        .{ rows, scales.len, rows, columns },
    );
    if (firstNotFinite(scales)) |index|
        return abi.fail(error.InvalidValue, "Expected finite scales, got {d} at index {d}", .{ scales[index], index });
    return .{ .columns = columns, .group_columns = @intCast(columns / per_row) };
}

pub fn create(rows: u32, shape: Shape) error{OutOfMemory}!*Weights {
    const self = try std.heap.c_allocator.create(Weights);
    errdefer std.heap.c_allocator.destroy(self);
    const data = try memory.alloc(u8, dataBytes(rows, shape));
    errdefer memory.free(u8, data);
    const scales = try memory.alloc(f32, scalesCount(rows, shape));
    self.* = .{
        .rows = rows,
        .columns = shape.columns,
        .group_columns = shape.group_columns,
        .layout = shape.layout,
        .data = data,
        .row_scales = scales,
        .nonzeros = 0,
        .memory_bytes = data.len + scales.len * @sizeOf(f32) + @sizeOf(Weights),
    };
    return self;
}

/// Sources fill planes; other layouts are made from those.
const step_columns = Layout.planes.stepColumns();

/// Sixteen codes of a row; those that stand for no column are 1.
pub const Codes = @Vector(16, u8);
const ones: Codes = @splat(1);
const padding_word = pack(ones);

/// Trits as bytes, row-major.
pub const TernarySource = struct {
    values: []const i8,
    columns: usize,

    /// The word of `count` columns from `column` on, or null where one is no trit.
    pub inline fn word(self: TernarySource, row: usize, column: usize, count: usize) ?u32 {
        const codes = self.codesAt(row, column, count);
        return if (@reduce(.Max, codes) > 2) null else pack(codes);
    }

    pub fn refuse(self: TernarySource, index: u64) abi.Failure {
        return abi.fail(
            error.InvalidValue,
            "Expected ternary values -1, 0 or 1, got {d} at index {d}",
            .{ self.values[@intCast(index)], index },
        );
    }

    pub fn isTrit(self: TernarySource, row: usize, column: usize) bool {
        return self.codesAt(row, column, 1)[0] <= 2;
    }

    inline fn codesAt(self: TernarySource, row: usize, column: usize, count: usize) Codes {
        const values = self.values.ptr + row * self.columns + column;
        if (count == 16) return @as(Codes, @bitCast(@as(@Vector(16, i8), values[0..16].*))) +% ones;
        var result: [16]u8 = ones;
        for (0..count) |i| result[i] = @as(u8, @bitCast(values[i])) +% 1;
        return result;
    }
};

/// The wire format: 2 bits a trit, low bits first, 00 = 0, 01 = +1, 10 = -1; rows start on a byte.
pub const WireSource = struct {
    bytes: []const u8,
    row_bytes: usize,

    pub inline fn word(self: WireSource, row: usize, column: usize, count: usize) ?u32 {
        const prepared = prepare(1, .{self.wireWord(row, column, count)}) orelse return null;
        return prepared[0];
    }

    /// The words of `steps` whole steps at once; the column must begin a byte.
    pub inline fn words(self: WireSource, row: usize, column: usize, comptime steps: usize) ?@Vector(steps, u32) {
        const bytes = self.bytes.ptr + row * self.row_bytes + column / 4;
        return prepare(steps, @bitCast(@as(@Vector(steps * 4, u8), bytes[0 .. steps * 4].*)));
    }

    inline fn prepare(comptime n: usize, wire: @Vector(n, u32)) ?@Vector(n, u32) {
        const low: @Vector(n, u32) = @splat(0x5555_5555);
        const high = wire >> @splat(1);
        if (@reduce(.Or, wire & high & low) != 0) return null;
        // Codes: bits (h, l) become (l, not (h or l)): 00 -> 01, 01 -> 10, 10 -> 00.
        const coded = (wire & low) << @splat(1) | (~(wire | high) & low);
        // Column 4p + j goes from place 4p + j to place 4j + p: swap bits 0 and 2, then 1 and 3, of
        // each place's number.
        return swapFields(n, swapFields(n, coded, 6, 0x00cc_00cc), 12, 0x0000_f0f0);
    }

    pub fn refuse(_: WireSource, index: u64) abi.Failure {
        return abi.fail(error.InvalidValue, "Expected packed codes 00, 01 or 10, got 11 at index {d}", .{index});
    }

    pub fn isTrit(self: WireSource, row: usize, column: usize) bool {
        return self.wireWord(row, column, 1) != 3;
    }

    inline fn wireWord(self: WireSource, row: usize, column: usize, count: usize) u32 {
        const bytes = self.bytes[row * self.row_bytes ..][0..self.row_bytes];
        const first = column / 4;
        if (count == 16 and column % 4 == 0) return std.mem.readInt(u32, bytes[first..][0..4], .little);
        var wire: u64 = 0;
        for (first..@min(first + 5, bytes.len), 0..) |index, i| wire |= @as(u64, bytes[index]) << @intCast(8 * i);
        wire >>= @intCast(column % 4 * 2);
        return @truncate(wire & (@as(u64, 1) << @intCast(2 * count)) - 1);
    }
};

inline fn swapFields(
    comptime n: usize,
    word: @Vector(n, u32),
    comptime distance: u5,
    comptime mask: u32,
) @Vector(n, u32) {
    const difference = (word >> @splat(distance) ^ word) & @as(@Vector(n, u32), @splat(mask));
    return word ^ difference ^ difference << @splat(distance);
}

/// BitNet checkpoints: byte (p, c), bit pair k holds the code of row p + k * (rows / 4), column c.
pub const BitnetSource = struct {
    bytes: []const u8,
    columns: usize,
    quarter_rows: usize,

    pub inline fn word(self: BitnetSource, row: usize, column: usize, count: usize) ?u32 {
        const packed_word = pack(self.codesAt(row, column, count));
        return if (packed_word & packed_word >> 1 & 0x5555_5555 != 0) null else packed_word;
    }

    pub fn refuse(_: BitnetSource, index: u64) abi.Failure {
        return abi.fail(error.InvalidValue, "Expected packed codes 0, 1 or 2, got 3 at index {d}", .{index});
    }

    pub fn isTrit(self: BitnetSource, row: usize, column: usize) bool {
        return self.codesAt(row, column, 1)[0] <= 2;
    }

    inline fn codesAt(self: BitnetSource, row: usize, column: usize, count: usize) Codes {
        const bytes = self.bytes.ptr + row % self.quarter_rows * self.columns + column;
        const shift: @Vector(16, u3) = @splat(@intCast(row / self.quarter_rows * 2));
        const three: Codes = @splat(3);
        if (count == 16) return (@as(Codes, bytes[0..16].*) >> shift) & three;
        var result: [16]u8 = ones;
        for (0..count) |i| result[i] = (bytes[i] >> shift[0]) & 3;
        return result;
    }
};

/// Steps that are filled row by row before the next ones, so that the lines they share stay in L1.
const fill_steps = 32;

/// Fills blocks [first, last) from a source. Returns the place (row * columns + column) of a value
/// that is no trit, the first of its block, or null.
pub fn fill(self: *const Weights, source: anytype, first: usize, last: usize) ?u64 {
    const shape = self.shape();
    for (first..last) |block| {
        var bad: ?u64 = null;
        for (0..shape.groups()) |group| {
            var step: usize = 0;
            while (step < shape.groupSteps()) : (step += fill_steps) {
                const found = fillSteps(self, source, block, group, step) orelse continue;
                bad = @min(bad orelse found, found);
            }
        }
        if (bad != null) return bad;
    }
    return null;
}

fn fillSteps(self: *const Weights, source: anytype, block: usize, group: usize, step_first: usize) ?u64 {
    const shape = self.shape();
    const panels = self.panelsOf(block);
    const stride = panels * table.panel_step_bytes;
    const step_last = @min(step_first + fill_steps, shape.groupSteps());
    const base = self.blockData(block, group * shape.groupSteps());
    for (0..panels * table.panel_rows) |row_in_block| {
        const row = block * table.block_rows + row_in_block;
        const lane = base + row_in_block * 4;
        var step = step_first;
        if (@hasDecl(@TypeOf(source), "words") and row < self.rows and shape.group_columns % 4 == 0) {
            const whole = shape.group_columns / step_columns;
            while (step + 16 <= @min(step_last, whole)) : (step += 16) {
                const column = group * shape.group_columns + step * step_columns;
                const words: [16]u32 = source.words(row, column, 16) orelse break;
                inline for (0..16) |i| @as(*align(1) u32, @ptrCast(lane + (step + i) * stride)).* = words[i];
            }
        }
        while (step < step_last) : (step += 1) {
            const target: *align(1) u32 = @ptrCast(lane + step * stride);
            const within = step * step_columns;
            const count = @min(step_columns, shape.group_columns - within);
            const column = group * shape.group_columns + within;
            target.* = if (row >= self.rows) padding_word else source.word(row, column, count) orelse
                return badPlace(self, source, row, column, count);
        }
    }
    return null;
}

fn badPlace(self: *const Weights, source: anytype, row: usize, column: usize, count: usize) u64 {
    var bad = column;
    // Bounded, because another thread may have made it a trit meanwhile.
    while (bad + 1 < column + count and source.isTrit(row, bad)) bad += 1;
    return @as(u64, row) * self.columns + bad;
}

/// Bytes j, 4+j, 8+j, 12+j become the four planes of byte j.
inline fn pack(codes: Codes) u32 {
    const words: @Vector(4, u32) = @bitCast(codes);
    return words[0] | words[1] << 2 | words[2] << 4 | words[3] << 6;
}

pub fn fillScales(self: *const Weights, scales: []const f32) void {
    const groups = self.shape().groups();
    @memset(self.row_scales, 0);
    for (0..self.rows) |row| {
        for (0..groups) |group| self.scaleOf(row, group).* = scales[row * groups + group];
    }
}

pub fn countNonzeros(self: *const Weights) u64 {
    var ones_count: u64 = 0;
    var i: usize = 0;
    while (i < self.data.len) : (i += 4) {
        const word = std.mem.readInt(u32, self.data[i..][0..4], .little);
        ones_count += @popCount(word & ~(word >> 1) & 0x5555_5555);
    }
    return self.data.len * 4 - ones_count;
}

fn fromSource(source: anytype, scales: []const f32, rows: u32, shape: Shape) abi.Failure!*Weights {
    const self = try create(rows, shape);
    errdefer self.destroy();
    if (fill(self, source, 0, self.blocks())) |bad| return source.refuse(bad);
    fillScales(self, scales);
    self.nonzeros = countNonzeros(self);
    return self;
}

pub fn fromTernary(ternary: []const i8, scales: []const f32, rows: u32, columns: u32) abi.Failure!*Weights {
    const shape = try checkShape(rows, columns, scales);
    try checkLength("ternary", ternary.len, @as(u64, rows) * columns, rows, columns);
    return fromSource(TernarySource{ .values = ternary, .columns = columns }, scales, rows, shape);
}

pub fn fromWire(bytes: []const u8, scales: []const f32, rows: u32, columns: u32) abi.Failure!*Weights {
    const shape = try checkShape(rows, columns, scales);
    const row_bytes = (columns + 3) / 4;
    try checkLength("packed", bytes.len, @as(u64, rows) * row_bytes, rows, columns);
    return fromSource(WireSource{ .bytes = bytes, .row_bytes = row_bytes }, scales, rows, shape);
}

pub fn fromBitnetPacked(bytes: []const u8, scale: f32, rows: u32, columns: u32) abi.Failure!*Weights {
    if (rows % 4 != 0)
        return abi.fail(error.InvalidShape, "Expected a multiple of 4 rows for packed BitNet weights, got {d}", .{rows});
    const scales = try memory.alloc(f32, rows);
    defer memory.free(f32, scales);
    @memset(scales, scale);
    const shape = try checkShape(rows, columns, scales);
    try checkLength("packed", bytes.len, @as(u64, rows) / 4 * columns, rows, columns);
    const source: BitnetSource = .{ .bytes = bytes, .columns = columns, .quarter_rows = rows / 4 };
    return fromSource(source, scales, rows, shape);
}

pub fn checkLength(name: []const u8, length: u64, expected: u64, rows: u32, columns: u32) abi.Failure!void {
    if (length != expected) return abi.fail(
        error.InvalidLength,
        "Expected {s} to hold {d} elements for {d} x {d}, got {d}",
        .{ name, expected, rows, columns, length },
    );
}
