//! Ternary weights in a layout of table.zig, about 2 bits each, and one f32 scale per row and group.
//!
//! Whatever weights come from (weights_sources.zig) hands over its rows in the wire format, 16 rows of
//! a group at a time, and the tier's kernel turns them into a panel. Panels are shared out to threads.

const std = @import("std");
const abi = @import("../abi.zig");
const firstNotFinite = @import("finite.zig").firstNotFinite;
const dispatch = @import("dispatch.zig");
const layouts = @import("layouts.zig");
const memory = @import("../memory.zig");
const parallel = @import("parallel.zig");
const quantization = @import("quantization.zig");
const sources = @import("weights_sources.zig");
const table = @import("table.zig");
const threads = @import("threads.zig");
const Found = @import("ternary_table.zig").Found;
const Panel = @import("ternary_table.zig").Panel;

pub const WireSource = sources.WireSource;

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
        const step_columns = self.layout.stepColumns();
        return (self.group_columns + step_columns - 1) / step_columns;
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

    fn panels(self: *const Weights) usize {
        return (@as(usize, self.rows) + table.panel_rows - 1) / table.panel_rows;
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
        const step_columns = own.layout.stepColumns();
        for (0..own.groups()) |group| {
            for (0..own.groupSteps()) |step| {
                const within = step * step_columns;
                const codes = layouts.decode(own.layout, self.word(row, group * own.groupSteps() + step).*);
                const target = trits[group * own.group_columns + within ..];
                const count = @min(step_columns, own.group_columns - within);
                for (target[0..count], codes[0..count]) |*trit, code| trit.* = @as(i8, @intCast(code)) - 1;
            }
        }
    }

    /// Rewrites the weights in another layout, on all threads.
    pub fn changeLayout(self: *Weights, layout: Layout) error{OutOfMemory}!void {
        if (layout == self.layout) return;
        var after = self.*;
        after.layout = layout;
        after.data = try memory.alloc(u8, dataBytes(self.rows, after.shape()));
        errdefer memory.free(u8, @alignCast(after.data));
        const parts = parallel.partsOf(self.data.len, self.panels());
        const trits = try memory.alloc(i8, @as(u64, self.columns) * parts);
        defer memory.free(i8, trits);
        const job: RewriteJob = .{ .before = self, .after = &after, .trits = trits };
        parallel.runParts(parts, &job, RewriteJob.work);
        after.memory_bytes = after.data.len + self.row_scales.len * @sizeOf(f32) + @sizeOf(Weights);
        memory.free(u8, @alignCast(self.data));
        self.* = after;
    }

    /// Rows from `first` on in the wire format, as many as `bytes` holds, on all threads.
    pub fn packRows(self: *const Weights, kernels: *const table.Kernels, first: usize, bytes: []u8) error{OutOfMemory}!void {
        const row_bytes = (@as(usize, self.columns) + 3) / 4;
        const rows = bytes.len / row_bytes;
        const parts = parallel.partsOf(@as(u64, rows) * self.columns, rows);
        const trits = try memory.alloc(i8, @as(u64, self.columns) * parts);
        defer memory.free(i8, trits);
        const job: PackRowsJob = .{ .weights = self, .kernels = kernels, .first = first, .rows = rows, .bytes = bytes, .trits = trits };
        parallel.runParts(parts, &job, PackRowsJob.work);
    }

    pub fn writeRow(self: *const Weights, row: usize, trits: []const i8) void {
        const own = self.shape();
        const step_columns = own.layout.stepColumns();
        for (0..own.groups()) |group| {
            for (0..own.groupSteps()) |step| {
                const within = step * step_columns;
                var codes: layouts.Codes = @splat(1);
                const source = trits[group * own.group_columns + within ..];
                const count = @min(step_columns, own.group_columns - within);
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

const RewriteJob = struct {
    before: *const Weights,
    after: *const Weights,
    /// A row for every part.
    trits: []i8,

    fn work(self: *const RewriteJob, part: u32, parts: u32) void {
        const columns = self.before.columns;
        const trits = self.trits[part * columns ..][0..columns];
        const from, const to = threads.share(self.before.panels(), part, parts);
        for (from * table.panel_rows..to * table.panel_rows) |row| {
            if (row < self.before.rows) self.before.readRow(row, trits) else @memset(trits, 0);
            self.after.writeRow(row, trits);
        }
    }
};

const PackRowsJob = struct {
    weights: *const Weights,
    kernels: *const table.Kernels,
    first: usize,
    rows: usize,
    bytes: []u8,
    /// A row for every part.
    trits: []i8,

    fn work(self: *const PackRowsJob, part: u32, parts: u32) void {
        const columns = self.weights.columns;
        const row_bytes = self.bytes.len / self.rows;
        const trits = self.trits[part * columns ..][0..columns];
        const from, const to = threads.share(self.rows, part, parts);
        for (from..to) |row| {
            self.weights.readRow(self.first + row, trits);
            // Weights hold nothing but trits.
            _ = self.kernels.ternary.pack_i8(trits.ptr, columns, self.bytes.ptr + row * row_bytes);
        }
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
    if (columns > columns_max) return refuseColumns(columns);
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

fn refuseColumns(columns: u32) abi.Failure {
    return abi.fail(error.InvalidShape, "Expected at most {d} columns, got {d}", .{ columns_max, columns });
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

/// Steps of a row that are fetched before those of the next row: what 16 rows of them take fits the
/// stack of a worker and the L1 cache.
const chunk_steps = 256;

/// Fills the panels from a source, in parts that run between threads.enter and threads.leave unless
/// it is one, and counts the nonzeros. Returns whether all values were good.
pub fn fill(self: *Weights, kernels: *const table.Kernels, source: anytype, parts: u32) bool {
    var job: FillJob(@TypeOf(source)) = .{ .weights = self, .kernels = kernels, .source = source };
    if (parts == 1) job.work(0, 1) else threads.run(parts, &job, FillJob(@TypeOf(source)).work);
    self.nonzeros = job.nonzeros.load(.monotonic);
    return !job.bad.load(.monotonic);
}

fn FillJob(comptime Source: type) type {
    return struct {
        weights: *Weights,
        kernels: *const table.Kernels,
        source: Source,
        nonzeros: std.atomic.Value(u64) = .init(0),
        bad: std.atomic.Value(bool) = .init(false),

        fn work(self: *@This(), part: u32, parts: u32) void {
            const from, const to = threads.share(self.weights.panels(), part, parts);
            // A source may remember something of the rows at hand.
            var source = self.source;
            if (@hasDecl(Source, "begin")) source.begin(part);
            var nonzeros: u64 = 0;
            for (from..to) |panel| {
                nonzeros += fillPanel(self.weights, self.kernels, &source, panel) orelse
                    return self.bad.store(true, .monotonic);
            }
            _ = self.nonzeros.fetchAdd(nonzeros, .monotonic);
        }
    };
}

/// Returns the number of nonzeros, or null where a value was bad.
fn fillPanel(self: *Weights, kernels: *const table.Kernels, source: anytype, panel: usize) ?u64 {
    const own = self.shape();
    const row_first = panel * table.panel_rows;
    const block = row_first / table.block_rows;
    const stride = self.panelsOf(block) * table.panel_step_bytes;
    const rows_count = @min(table.panel_rows, self.rows - row_first);
    var buffers: [table.panel_rows][chunk_steps * 4]u8 = undefined;
    var nonzeros: u64 = 0;
    for (0..own.groups()) |group| {
        const first_step = group * own.groupSteps();
        var step: usize = 0;
        while (step < own.groupSteps()) : (step += chunk_steps) {
            const steps: u32 = @intCast(@min(chunk_steps, own.groupSteps() - step));
            const place = row_first % table.block_rows / table.panel_rows * table.panel_step_bytes;
            var job: Panel = .{
                .rows = undefined,
                .rows_count = @intCast(rows_count),
                .steps = steps,
                .target = self.blockData(block, first_step + step) + place,
                .stride = stride,
            };
            for (0..rows_count) |i| {
                job.rows[i] = source.wire(self, kernels, row_first + i, group, step, steps, &buffers[i]) orelse return null;
            }
            var found: Found = undefined;
            kernels.ternary.fill_panel(&job, &found);
            if (found.bad != 0) return null;
            nonzeros += found.nonzeros;
        }
    }
    return nonzeros;
}

/// Sets the scales, given row by row, in the order of the panels.
pub fn fillScales(self: *const Weights, scales: []const f32) void {
    const groups = self.shape().groups();
    for (0..self.panels()) |panel| {
        const rows = @min(table.panel_rows, self.rows - panel * table.panel_rows);
        const source = scales[panel * table.panel_rows * groups ..][0 .. rows * groups];
        const target = self.row_scales[panel * table.panel_rows * groups ..][0 .. table.panel_rows * groups];
        for (0..groups) |group| {
            const sixteen = target[group * table.panel_rows ..][0..table.panel_rows];
            for (sixteen[0..rows], 0..) |*scale, row| scale.* = source[row * groups + group];
            @memset(sixteen[rows..], 0);
        }
    }
}

fn fromSource(source: anytype, scales: []const f32, rows: u32, shape: Shape) abi.Failure!*Weights {
    const kernels = try dispatch.kernels();
    const self = try create(rows, shape);
    errdefer self.destroy();
    const parts = parallel.partsOf(source.sizeBytes(), self.panels());
    if (!fillOnThreads(self, kernels, source, parts)) return source.refuse(rows, shape);
    fillScales(self, scales);
    return self;
}

fn fillOnThreads(self: *Weights, kernels: *const table.Kernels, source: anytype, parts: u32) bool {
    if (parts == 1) return fill(self, kernels, source, 1);
    threads.enter();
    defer threads.leave();
    return fill(self, kernels, source, parts);
}

/// From trits as i8 or f32.
pub fn fromTrits(comptime T: type, trits: []const T, scales: []const f32, rows: u32, columns: u32) abi.Failure!*Weights {
    const shape = try checkShape(rows, columns, scales);
    try checkLength("ternary", trits.len, @as(u64, rows) * columns, rows, columns);
    return fromSource(sources.TritSource(T){ .values = trits, .columns = columns }, scales, rows, shape);
}

pub fn fromTernary(ternary: []const i8, scales: []const f32, rows: u32, columns: u32) abi.Failure!*Weights {
    return fromTrits(i8, ternary, scales, rows, columns);
}

/// Quantises weights, every group by itself, and keeps the trits in no other form than this one.
pub fn fromWeights(values: []const f32, rows: u32, columns: u32, options: quantization.Options) abi.Failure!*Weights {
    if (columns > columns_max) return refuseColumns(columns);
    const kernels = try dispatch.kernels();
    const shape: Shape = .{ .columns = columns, .group_columns = options.group_columns };
    const self = try create(rows, shape);
    errdefer self.destroy();
    @memset(self.row_scales, 0);
    const parts = parallel.partsOf(values.len * @sizeOf(f32), self.panels());
    const sorted = try memory.alloc(f32, options.sortedCount() * parts);
    defer memory.free(f32, sorted);
    const source: sources.WeightSource = .{ .values = values, .options = options, .sorted = sorted };
    return if (fillOnThreads(self, kernels, source, parts)) self else quantization.refuseNotFinite(values);
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
    const source: sources.BitnetSource = .{ .bytes = bytes, .columns = columns, .quarter_rows = rows / 4 };
    return fromSource(source, scales, rows, shape);
}

pub fn checkLength(name: []const u8, length: u64, expected: u64, rows: u32, columns: u32) abi.Failure!void {
    if (length != expected) return abi.fail(
        error.InvalidLength,
        "Expected {s} to hold {d} elements for {d} x {d}, got {d}",
        .{ name, expected, rows, columns, length },
    );
}
