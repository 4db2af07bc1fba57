//! Normal numbers from Philox4x32-10 by the method of Box and Muller, the same on every machine: the
//! logarithm is a series of f64 operations, as are sine and cosine, and no mathematics library is asked.
//!
//! Block j of a stream is the output for the counter (j, stream, 0, 5) and the key (seed low, seed
//! high). Its words a, b, c, d make four numbers: radius and angle from a and b, then from c and d, the
//! cosine's before the sine's.

const std = @import("std");
const philox = @import("../philox.zig");
const rope = @import("../model/rope.zig");
const threads = @import("threads.zig");

/// Distinguishes these numbers from others of the same seed: see cpu/vsa_random.zig.
const domain = 5;

/// Must be called between threads.enter and threads.leave.
pub fn fill(output: []f32, seed: u64, stream: u32, deviation: f32) void {
    const job: Job = .{ .output = output, .seed = seed, .stream = stream, .deviation = deviation };
    threads.run(if (output.len < 1 << 14) 1 else threads.getThreads() * 4, &job, Job.work);
}

const Job = struct {
    output: []f32,
    seed: u64,
    stream: u32,
    deviation: f32,

    fn work(self: *const Job, index: u32, count: u32) void {
        const from, const to = threads.share((self.output.len + 3) / 4, index, count);
        const key = [2]u32{ @truncate(self.seed), @truncate(self.seed >> 32) };
        for (from..to) |j| {
            const words = philox.block(.{ @intCast(j), self.stream, 0, domain }, key);
            const numbers = pair(words[0], words[1]) ++ pair(words[2], words[3]);
            const part = self.output[j * 4 .. @min(j * 4 + 4, self.output.len)];
            for (part, numbers[0..part.len]) |*value, number| value.* = @as(f32, @floatCast(number)) * self.deviation;
        }
    }
};

fn pair(a: u32, b: u32) [2]f64 {
    // Above 0, and symmetric: the middles of 2^32 equal parts of (0, 1).
    const uniform = (@as(f64, @floatFromInt(a)) + 0.5) * 0x1p-32;
    const angle: f32 = @floatCast(@as(f64, @floatFromInt(b >> 8)) * (2 * std.math.pi * 0x1p-24));
    const radius = @sqrt(-2 * logarithm(uniform));
    const turn = rope.sincos(angle);
    return .{ radius * turn.cos, radius * turn.sin };
}

/// For normal numbers above 0, within 2^-50: x = 2^n m, log m = 2 atanh((m - 1) / (m + 1)).
fn logarithm(x: f64) f64 {
    const bits: u64 = @bitCast(x);
    var exponent = @as(i64, @intCast(bits >> 52)) - 1023;
    var m: f64 = @bitCast(bits & ((1 << 52) - 1) | (1023 << 52));
    if (m > std.math.sqrt2) {
        m /= 2;
        exponent += 1;
    }
    const s = (m - 1) / (m + 1);
    const z = s * s;
    var series: f64 = 0;
    var n: usize = 23;
    while (n >= 1) : (n -= 2) {
        series = series * z + 1 / @as(f64, @floatFromInt(n));
        if (n == 1) break;
    }
    return @as(f64, @floatFromInt(exponent)) * std.math.ln2 + 2 * s * series;
}

test "logarithms" {
    for ([_]f64{ 0x1p-33, 1e-9, 0.1, 0.5, 0.7071, 0.70711, 0.999999, 1 - 0x1p-33 }) |x| {
        try std.testing.expectApproxEqAbs(@log(x), logarithm(x), 1e-14);
    }
}
