//! Ternary weights in the layout of table.zig: 2 bits per weight and one f32 scale per row and group.
//!
//! Every source hands over 16 codes (trit + 1) of one row at a time; four of these bytes words, each
//! shifted to its plane, are one row of a panel's step.

const std = @import("std");
const abi = @import("../abi.zig");
const memory = @import("../memory.zig");
const table = @import("table.zig");

/// Above this many columns a sum of codes times activations might leave 32 bits.
pub const columns_max = 1 << 22;

pub const Shape = struct {
    columns: u32,
    group_columns: u32,

    pub fn groups(self: Shape) u32 {
        return self.columns / self.group_columns;
    }

    /// Steps of one group, the last one padded.
    pub fn groupSteps(self: Shape) u32 {
        return (self.group_columns + table.step_columns - 1) / table.step_columns;
    }

    pub fn steps(self: Shape) u32 {
        return self.groups() * self.groupSteps();
    }
};

pub const Weights = struct {
    rows: u32,
    columns: u32,
    group_columns: u32,
    /// See table.zig.
    data: []u8,
    /// [panel][group][16].
    row_scales: []f32,
    nonzeros: u64,
    memory_bytes: u64,

    pub fn shape(self: *const Weights) Shape {
        return .{ .columns = self.columns, .group_columns = self.group_columns };
    }

    pub fn blocks(self: *const Weights) usize {
        return blockCount(self.rows);
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

    /// The word that holds columns 16 * step .. of a row.
    pub fn word(self: *const Weights, row: usize, step: usize) *align(1) u32 {
        const block = row / table.block_rows;
        const panel = row % table.block_rows / table.panel_rows;
        return @ptrCast(self.blockData(block, step) + panel * table.panel_step_bytes + row % table.panel_rows * 4);
    }

    pub fn scaleOf(self: *const Weights, row: usize, group: usize) *f32 {
        const groups = self.shape().groups();
        return &self.row_scales[(row / table.panel_rows * groups + group) * table.panel_rows + row % table.panel_rows];
    }

    pub fn destroy(self: *Weights) void {
        memory.free(u8, @alignCast(self.data));
        memory.free(f32, @alignCast(self.row_scales));
        std.heap.c_allocator.destroy(self);
    }
};

pub fn blockCount(rows: u32) usize {
    return (@as(usize, rows) + table.block_rows - 1) / table.block_rows;
}

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
    for (scales, 0..) |scale, index| {
        if (!std.math.isFinite(scale))
            return abi.fail(error.InvalidValue, "Expected finite scales, got {d} at index {d}", .{ scale, index });
    }
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
        .data = data,
        .row_scales = scales,
        .nonzeros = 0,
        .memory_bytes = data.len + scales.len * @sizeOf(f32) + @sizeOf(Weights),
    };
    return self;
}

/// Sixteen codes of a row; those at and after `count` are 1.
pub const Codes = @Vector(16, u8);
const ones: Codes = @splat(1);

/// Trits as bytes, row-major.
pub const TernarySource = struct {
    values: []const i8,
    columns: usize,

    pub fn codes(self: TernarySource, row: usize, column: usize, count: usize) Codes {
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

    pub fn codes(self: WireSource, row: usize, column: usize, count: usize) Codes {
        const bytes = self.bytes[row * self.row_bytes ..][0..self.row_bytes];
        var wire: u64 = 0;
        const first = column / 4;
        for (first..@min(first + 5, bytes.len), 0..) |index, i| wire |= @as(u64, bytes[index]) << @intCast(8 * i);
        var word: u32 = @truncate(wire >> @intCast(column % 4 * 2));
        if (count < 16) word &= (@as(u32, 1) << @intCast(2 * count)) - 1;
        // Bits (h, l) become (l, not (h xor l)): 00 -> 01, 01 -> 10, 10 -> 00, and 11 stays to be seen.
        const coded = (word & 0x5555_5555) << 1 | (~(word ^ word >> 1) & 0x5555_5555);
        const shifts: @Vector(16, u5) = .{ 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30 };
        const fields = @as(@Vector(16, u32), @splat(coded)) >> shifts;
        return @as(Codes, @truncate(fields)) & @as(Codes, @splat(3));
    }
};

/// BitNet checkpoints: byte (p, c), bit pair k holds the code of row p + k * (rows / 4), column c.
pub const BitnetSource = struct {
    bytes: []const u8,
    columns: usize,
    quarter_rows: usize,

    pub fn codes(self: BitnetSource, row: usize, column: usize, count: usize) Codes {
        const bytes = self.bytes.ptr + row % self.quarter_rows * self.columns + column;
        const shift: @Vector(16, u3) = @splat(@intCast(row / self.quarter_rows * 2));
        const three: Codes = @splat(3);
        if (count == 16) return (@as(Codes, bytes[0..16].*) >> shift) & three;
        var result: [16]u8 = ones;
        for (0..count) |i| result[i] = (bytes[i] >> shift[0]) & 3;
        return result;
    }
};

/// Fills blocks [first, last) from a source. Returns the place (row * columns + column) of the first
/// value that is no trit, or null.
pub fn fill(self: *const Weights, source: anytype, first: usize, last: usize) ?u64 {
    const shape = self.shape();
    for (first..last) |block| {
        const end = (block * table.panels_per_block + self.panelsOf(block)) * table.panel_rows;
        for (block * table.block_rows..end) |row| {
            for (0..shape.groups()) |group| {
                if (fillGroup(self, source, row, group)) |bad| return bad;
            }
        }
    }
    return null;
}

fn fillGroup(self: *const Weights, source: anytype, row: usize, group: usize) ?u64 {
    const shape = self.shape();
    for (0..shape.groupSteps()) |step| {
        const within = step * table.step_columns;
        const count = @min(table.step_columns, shape.group_columns - within);
        const column = group * shape.group_columns + within;
        const codes = if (row < self.rows) source.codes(row, column, count) else ones;
        if (@reduce(.Max, codes) > 2) {
            const array: [16]u8 = codes;
            for (array, 0..) |code, i| if (code > 2) return @as(u64, row) * self.columns + column + i;
        }
        self.word(row, group * shape.groupSteps() + step).* = pack(codes);
    }
    return null;
}

/// Bytes j, 4+j, 8+j, 12+j become the four planes of byte j.
inline fn pack(codes: Codes) u32 {
    const words: [4]u32 = @bitCast(@as([16]u8, codes));
    return words[0] | words[1] << 2 | words[2] << 4 | words[3] << 6;
}

pub inline fn unpack(word: u32) Codes {
    const words: [4]u32 = .{ word, word >> 2, word >> 4, word >> 6 };
    return @as(Codes, @as([16]u8, @bitCast(words))) & @as(Codes, @splat(3));
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
        const word: u32 = @bitCast(self.data[i..][0..4].*);
        ones_count += @popCount(word & ~(word >> 1) & 0x5555_5555);
    }
    return self.data.len * 4 - ones_count;
}

fn fromSource(source: anytype, scales: []const f32, rows: u32, shape: Shape) abi.Failure!*Weights {
    const self = try create(rows, shape);
    errdefer self.destroy();
    if (fill(self, source, 0, self.blocks())) |bad| return abi.fail(
        error.InvalidValue,
        "Expected ternary values -1, 0 or 1, got another one at index {d} (row {d}, column {d})",
        .{ bad, bad / shape.columns, bad % shape.columns },
    );
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
