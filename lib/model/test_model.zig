//! A small random model for the tests, loaded through the same door as a real one.

const std = @import("std");
const files = @import("../files.zig");
const head_file = @import("head.zig");
const model_file = @import("model.zig");
const Dtype = @import("dtype.zig").Dtype;
const Layout = @import("../cpu/table.zig").Layout;
const Model = model_file.Model;

pub const Kind = struct {
    sub_norms: bool = true,
    tied: bool = true,
    own_norms: bool = false,
    biases: bool = false,
    table: Dtype = .bf16,
    head_dim: u32 = 12,
    head: head_file.Kind = .stored,
    layout: Layout = .planes,
};

pub const vocab = 50;

pub const TestModel = struct {
    model: *Model,
    file: *files.File,

    pub fn create(kind: Kind) !TestModel {
        const options: model_file.Options = .{
            .hidden = 48,
            .intermediate = 80,
            .layers = 2,
            .heads = 6,
            .kv_heads = 2,
            .head_dim = kind.head_dim,
            .vocab = vocab,
            .epsilon = 1e-5,
            .activation = @intFromBool(!kind.sub_norms),
            .tied = kind.tied,
            .sub_norms = kind.sub_norms,
            .rope_scale = 1,
            .head = kind.head,
            .layout = kind.layout,
        };
        var frequencies: [64]f32 = undefined;
        for (frequencies[0 .. kind.head_dim / 2], 0..) |*f, i| f.* = 1 / @as(f32, @floatFromInt(1 + i * i));
        const bytes = try std.testing.allocator.alignedAlloc(u8, .fromByteUnits(std.heap.page_size_min), 1 << 17);
        const file = try std.testing.allocator.create(files.File);
        file.* = .{ .bytes = bytes, .references = .init(1), .is_mapped = false };
        const self: TestModel = .{ .model = try .create(options, frequencies[0 .. kind.head_dim / 2]), .file = file };
        var writer: Writer = .{ .test_model = self, .bytes = bytes };
        try writer.all(kind);
        return self;
    }

    pub fn destroy(self: TestModel) void {
        self.model.destroy();
        // Everything but this reference is gone, or the bytes would be unmapped.
        std.debug.assert(self.file.references.load(.monotonic) == 1);
        std.testing.allocator.free(@constCast(self.file.bytes));
        std.testing.allocator.destroy(self.file);
    }
};

const Writer = struct {
    test_model: TestModel,
    bytes: []u8,
    /// Odd, as tensors in files may be.
    at: usize = 1,
    prng: std.Random.DefaultPrng = .init(42),

    fn all(self: *Writer, kind: Kind) !void {
        const o = self.test_model.model.options;
        try self.floats(0, 0, kind.table, o.vocab, o.hidden, 0);
        if (!kind.tied) try self.floats(1, 0, kind.table, o.vocab, o.hidden, 0);
        try self.floats(2, 0, .f32, 1, o.hidden, 1);
        for (0..o.layers) |index| {
            const layer: u32 = @intCast(index);
            try self.floats(3, layer, .f32, 1, o.hidden, 1);
            try self.floats(4, layer, .f16, 1, o.hidden, 1);
            if (kind.sub_norms) try self.floats(5, layer, .bf16, 1, o.queryWidth(), 1);
            if (kind.sub_norms) try self.floats(6, layer, .bf16, 1, o.intermediate, 1);
            const shapes = [7][2]u32{
                .{ o.queryWidth(), o.hidden }, .{ o.keyWidth(), o.hidden },   .{ o.keyWidth(), o.hidden },
                .{ o.hidden, o.queryWidth() }, .{ o.intermediate, o.hidden }, .{ o.intermediate, o.hidden },
                .{ o.hidden, o.intermediate },
            };
            for (shapes, 0..) |shape, p| {
                const projection: u32 = @intCast(p);
                try self.matrix(10 + projection, layer, shape);
                if (kind.biases) try self.floats(20 + projection, layer, .bf16, 1, shape[0], 0);
                if (kind.own_norms and projection != 1) try self.floats(30 + projection, layer, .f32, 1, shape[1], 1);
            }
        }
        try self.test_model.model.finish();
    }

    fn matrix(self: *Writer, role: u32, layer: u32, shape: [2]u32) !void {
        const random = self.prng.random();
        const dtype: Dtype = if (role % 2 == 0) .i8 else .bitnet;
        const size: usize = @intCast(dtype.bytes(shape[0], shape[1]));
        for (self.bytes[self.at..][0..size]) |*byte| {
            const codes: [4]u8 = .{ random.uintLessThan(u8, 3), random.uintLessThan(u8, 3), random.uintLessThan(u8, 3), random.uintLessThan(u8, 3) };
            byte.* = if (dtype == .i8) codes[0] -% 1 else codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6;
        }
        try self.set(role, layer, dtype, shape[0], shape[1], size);
    }

    fn floats(self: *Writer, role: u32, layer: u32, dtype: Dtype, rows: u32, columns: u32, mean: f32) !void {
        const element: usize = if (dtype == .f32) 4 else 2;
        const count = @as(usize, rows) * columns;
        for (0..count) |i| {
            const value = mean + (self.prng.random().float(f32) - 0.5);
            const place = self.bytes[self.at + i * element ..];
            switch (dtype) {
                .f32 => place[0..4].* = @bitCast(value),
                .f16 => place[0..2].* = @bitCast(@as(f16, @floatCast(value))),
                else => place[0..2].* = @as([4]u8, @bitCast(value))[2..4].*,
            }
        }
        try self.set(role, layer, dtype, rows, columns, count * element);
    }

    fn set(self: *Writer, role: u32, layer: u32, dtype: Dtype, rows: u32, columns: u32, size: usize) !void {
        try self.test_model.model.setTensor(self.test_model.file, .{
            .role = role,
            .layer = layer,
            .dtype = dtype,
            .rows = rows,
            .columns = columns,
            .offset = self.at,
            .size = size,
            .scale = 0.31,
            .mode = if (layer == 0) .multiply else .divide,
        });
        self.at += size;
    }
};
