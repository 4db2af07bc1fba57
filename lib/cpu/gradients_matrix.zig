//! The codec `lowrank`: a matrix as the product of two thin ones, by one step of power iteration from
//! where the last call ended (PowerSGD, arXiv:1905.13727).
//!
//!     [P f32, rank x rows][Q f32, rank x columns]        M is about P transposed(Q)
//!
//! P = M Q for the Q of the call before, its columns made orthonormal; Q = transposed(M) P. A column of
//! Q that is zero (all are at first) starts with random signs: word w of column k, which holds the signs
//! of elements 32w .. 32w + 31, is output w % 4 of Philox4x32-10 for the counter (w / 4, k, 0, 8).
//!
//! Floor: M is read twice, from memory where it is large; see gradients_lowrank.zig.

const std = @import("std");
const abi = @import("../abi.zig");
const dispatch = @import("dispatch.zig");
const finite = @import("gradients_finite.zig");
const firstNotFinite = @import("finite.zig").firstNotFinite;
const memory = @import("../memory.zig");
const parallel = @import("parallel.zig");
const philox = @import("../philox.zig");
const table = @import("gradients_table.zig");
const threads = @import("threads.zig");
const Domain = @import("vsa_random.zig").Domain;

pub const Shape = struct {
    rows: usize,
    columns: usize,
    rank: usize,

    pub fn of(count: usize, rows: u32, rank: u32) abi.Failure!Shape {
        if (rows == 0 or count % rows != 0)
            return abi.fail(error.InvalidShape, "Expected whole rows, got {d} gradients in {d} rows", .{ count, rows });
        const columns = count / rows;
        if (rank == 0 or rank > rows or rank > columns)
            return abi.fail(error.InvalidOption, "Expected a rank from 1 to {d}, got {d}", .{ @min(rows, columns), rank });
        return .{ .rows = rows, .columns = columns, .rank = rank };
    }
};

/// M, P and Q of a call; P and Q are scratch.
const Matrices = struct {
    kernels: *const table.Kernels,
    shape: Shape,
    m: []const f32,
    p: []f32,
    q: []f32,

    fn right(self: *const Matrices, part: u32, parts: u32) void {
        const from, const to = threads.share(self.shape.rows, part, parts);
        for (from..to) |row| {
            const values = self.m.ptr + row * self.shape.columns;
            self.kernels.dots(values, self.q.ptr, self.shape.columns, self.shape.rank, self.p.ptr + row, self.shape.rows);
        }
    }

    fn left(self: *const Matrices, part: u32, parts: u32) void {
        const unit = 16;
        const from, const to = threads.share((self.shape.columns + unit - 1) / unit, part, parts);
        const end = @min(to * unit, self.shape.columns);
        self.kernels.transposed(self.m.ptr, self.shape.rows, self.shape.columns, from * unit, end, self.p.ptr, self.shape.rank, self.q.ptr);
    }
};

/// `state` is Q, before and after.
pub fn encode(shape: Shape, seed: u64, m: []const f32, state: []f32, payload: []u8) abi.Failure!void {
    if (firstNotFinite(m) != null) return finite.refuse(m);
    const Products = struct {
        shape: Shape,
        m: []const f32,

        pub fn right(self: @This(), q: []f32, p: []f32) abi.Failure!void {
            const matrices: Matrices = .{ .kernels = &(try dispatch.kernels()).gradients, .shape = self.shape, .m = self.m, .p = p, .q = q };
            parallel.run(self.m.len * @sizeOf(f32), self.shape.rows, &matrices, Matrices.right);
        }

        pub fn left(self: @This(), p: []f32, q: []f32) abi.Failure!void {
            const matrices: Matrices = .{ .kernels = &(try dispatch.kernels()).gradients, .shape = self.shape, .m = self.m, .p = p, .q = q };
            parallel.run(self.m.len * @sizeOf(f32), (self.shape.columns + 15) / 16, &matrices, Matrices.left);
        }
    };
    return encodeBy(Products{ .shape = shape, .m = m }, shape, seed, state, payload);
}

/// The same for a matrix that is anywhere: `products` has `right(q, p)` for M Q and `left(p, q)` for
/// transposed(M) P.
pub fn encodeBy(products: anytype, shape: Shape, seed: u64, state: []f32, payload: []u8) abi.Failure!void {
    if (firstNotFinite(state)) |index|
        return abi.fail(error.InvalidValue, "Expected a finite state, got {d} at index {d}", .{ state[index], index });
    const kernels = &(try dispatch.kernels()).gradients;
    const scratch = try memory.alloc(f32, shape.rank * (shape.rows + shape.columns));
    defer memory.free(f32, scratch);
    const p, const q = .{ scratch[0 .. shape.rank * shape.rows], scratch[shape.rank * shape.rows ..] };
    @memcpy(q, state);
    for (0..shape.rank) |k| begin(kernels, q[k * shape.columns ..][0..shape.columns], k, seed);
    try products.right(q, p);
    orthonormalize(kernels, p, shape);
    try products.left(p, q);
    if (firstNotFinite(scratch) != null)
        return abi.fail(error.InvalidValue, "Expected gradients whose sums f32 can hold, got larger ones", .{});
    @memcpy(payload, std.mem.sliceAsBytes(scratch));
    @memcpy(state, q);
}

/// Gives a column of Q the length 1, so that products with it stay in range.
fn begin(kernels: *const table.Kernels, column: []f32, k: usize, seed: u64) void {
    const length = @sqrt(dot(kernels, column, column));
    if (length > 0) return rescale(kernels, column, 1 / length);
    var words: [4]u32 = undefined;
    const size = 1 / @sqrt(@as(f32, @floatFromInt(column.len)));
    for (column, 0..) |*element, j| {
        if (j % 128 == 0) words = philox.block(
            .{ @intCast(j / 128), @intCast(k), 0, @backingInt(Domain.matrices) },
            .{ @truncate(seed), @truncate(seed >> 32) },
        );
        const bit = words[j / 32 % 4] >> @intCast(j % 32) & 1;
        element.* = if (bit == 1) -size else size;
    }
}

/// Makes the columns of P orthonormal (modified Gram-Schmidt, each twice); what depends on those
/// before becomes zero.
fn orthonormalize(kernels: *const table.Kernels, p: []f32, shape: Shape) void {
    for (0..shape.rank) |k| {
        const column = p[k * shape.rows ..][0..shape.rows];
        const before = @sqrt(dot(kernels, column, column));
        for (0..2) |_| for (0..k) |l| {
            const other = p[l * shape.rows ..][0..shape.rows];
            const share: f32 = @floatCast(dot(kernels, other, column));
            kernels.combine(column.ptr, 1, other.ptr, -share, column.len, column.ptr);
        };
        const length = @sqrt(dot(kernels, column, column));
        // Rounding alone leaves about 2^-24 of a dependent column.
        if (length <= before * 0x1p-20) @memset(column, 0) else rescale(kernels, column, 1 / length);
    }
}

fn dot(kernels: *const table.Kernels, a: []const f32, b: []const f32) f64 {
    var sums: table.Sums = undefined;
    kernels.sums(a.ptr, b.ptr, a.len, &sums);
    return sums.dot;
}

/// In two steps, as one factor may be beyond f32 where the result is not.
fn rescale(kernels: *const table.Kernels, column: []f32, factor: f64) void {
    const exponent = std.math.clamp(if (std.math.isFinite(factor) and factor != 0) std.math.ilogb(factor) else 0, -120, 120);
    const power: f32 = std.math.ldexp(@as(f32, 1), exponent);
    kernels.combine(column.ptr, power, column.ptr, 0, column.len, column.ptr);
    kernels.combine(column.ptr, @floatCast(factor / power), column.ptr, 0, column.len, column.ptr);
}

pub fn decode(shape: Shape, payload: []const u8, gradients: []f32) abi.Failure!void {
    const thin = try memory.alloc(f32, shape.rank * (shape.rows + shape.columns));
    defer memory.free(f32, thin);
    @memcpy(std.mem.sliceAsBytes(thin), payload);
    if (firstNotFinite(thin)) |index|
        return abi.fail(error.InvalidFormat, "Expected finite factors, got {d} at index {d}", .{ thin[index], index });
    const job: Decode = .{
        .kernels = &(try dispatch.kernels()).gradients,
        .shape = shape,
        .p = thin[0 .. shape.rank * shape.rows],
        .q = thin[shape.rank * shape.rows ..],
        .gradients = gradients,
    };
    parallel.run(gradients.len * @sizeOf(f32), shape.rows, &job, Decode.work);
}

const Decode = struct {
    kernels: *const table.Kernels,
    shape: Shape,
    p: []const f32,
    q: []const f32,
    gradients: []f32,

    fn work(self: *const Decode, part: u32, parts: u32) void {
        const from, const to = threads.share(self.shape.rows, part, parts);
        const columns = self.shape.columns;
        for (from..to) |row|
            self.kernels.expand_row(self.p.ptr + row, self.shape.rows, self.q.ptr, columns, self.shape.rank, self.gradients.ptr + row * columns);
    }
};
