//! f64 sums over long arrays that do not depend on the number of threads: the array is cut into blocks
//! of one fixed size, each is summed by itself, and the blocks' sums are added in order.

const std = @import("std");
const parallel = @import("parallel.zig");
const threads = @import("threads.zig");

/// Elements of a block: 64 KiB of f32.
pub const block_elements = 16 << 10;

/// Adds up what `function(context, from, to)` returns for the blocks of `length` elements, for each of
/// `count` sums. `bytes_per_element` says what a pass reads. Must not be called between threads.enter
/// and threads.leave.
pub fn of(
    comptime count: usize,
    length: usize,
    bytes_per_element: u64,
    context: anytype,
    comptime function: fn (@TypeOf(context), usize, usize) [count]f64,
) error{OutOfMemory}![count]f64 {
    const blocks = std.math.divCeil(usize, length, block_elements) catch unreachable;
    const parts = parallel.partsOf(length * bytes_per_element, blocks);
    var totals: [count]f64 = @splat(0);
    if (parts == 1) {
        for (0..blocks) |block| add(count, &totals, blockOf(length, context, function, block));
        return totals;
    }
    threads.enter();
    defer threads.leave();
    const scratch = try threads.scratch(blocks * @sizeOf([count]f64));
    const Job = struct {
        length: usize,
        context: @TypeOf(context),
        sums: [][count]f64,

        fn work(self: @This(), index: u32, total: u32) void {
            const from, const to = threads.share(self.sums.len, index, total);
            for (from..to) |block| self.sums[block] = blockOf(self.length, self.context, function, block);
        }
    };
    const sums: [][count]f64 = @as([*][count]f64, @ptrCast(@alignCast(scratch.ptr)))[0..blocks];
    threads.run(parts, Job{ .length = length, .context = context, .sums = sums }, Job.work);
    for (sums) |sum| add(count, &totals, sum);
    return totals;
}

inline fn blockOf(length: usize, context: anytype, comptime function: anytype, block: usize) @typeInfo(@TypeOf(function)).@"fn".return_type.? {
    const from = block * block_elements;
    return function(context, from, @min(from + block_elements, length));
}

inline fn add(comptime count: usize, totals: *[count]f64, terms: [count]f64) void {
    for (totals, terms) |*total, term| total.* += term;
}
