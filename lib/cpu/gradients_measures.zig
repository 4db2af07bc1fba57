//! Passes over whole lists of gradients; the kernels are in gradients_sums.zig.
//!
//! Sums are taken for each 65536 gradients and added in order, whatever the number of threads.

const abi = @import("../abi.zig");
const dispatch = @import("dispatch.zig");
const memory = @import("../memory.zig");
const parallel = @import("parallel.zig");
const table = @import("gradients_table.zig");
const threads = @import("threads.zig");

const chunk = 1 << 16;

/// The sums of a b, a^2, b^2 and (a - b)^2.
pub fn measure(a: []const f32, b: []const f32) abi.Failure![4]f64 {
    const sums = try memory.alloc(table.Sums, (a.len + chunk - 1) / chunk);
    defer memory.free(table.Sums, sums);
    const job: Measure = .{ .kernels = &(try dispatch.kernels()).gradients, .a = a, .b = b, .sums = sums };
    parallel.run(2 * a.len * @sizeOf(f32), sums.len, &job, Measure.work);
    var total: [4]f64 = @splat(0);
    for (sums) |part| {
        for (&total, [4]f64{ part.dot, part.squares_a, part.squares_b, part.squares_difference }) |*sum, term| sum.* += term;
    }
    return total;
}

const Measure = struct {
    kernels: *const table.Kernels,
    a: []const f32,
    b: []const f32,
    sums: []table.Sums,

    fn work(self: *const Measure, part: u32, parts: u32) void {
        const from, const to = threads.share(self.sums.len, part, parts);
        for (self.sums[from..to], from..) |*sum, index| {
            const start = index * chunk;
            const count = @min(self.a.len - start, chunk);
            self.kernels.sums(self.a.ptr + start, self.b.ptr + start, count, sum);
        }
    }
};

/// out = alpha a + beta b
pub fn combine(a: []align(1) const f32, alpha: f32, b: []align(1) const f32, beta: f32, out: []align(1) f32) abi.Failure!void {
    const job: Combine = .{
        .kernels = &(try dispatch.kernels()).gradients,
        .a = a,
        .alpha = alpha,
        .b = b,
        .beta = beta,
        .out = out,
    };
    parallel.run(3 * a.len * @sizeOf(f32), a.len, &job, Combine.work);
}

const Combine = struct {
    kernels: *const table.Kernels,
    a: []align(1) const f32,
    alpha: f32,
    b: []align(1) const f32,
    beta: f32,
    out: []align(1) f32,

    fn work(self: *const Combine, part: u32, parts: u32) void {
        const from, const to = threads.share(self.out.len, part, parts);
        self.kernels.combine(self.a.ptr + from, self.alpha, self.b.ptr + from, self.beta, to - from, self.out.ptr + from);
    }
};
