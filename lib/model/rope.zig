//! Sines and cosines for rotary position embeddings.
//!
//! As Hugging Face does: the angle is a product in f32, its cosine and sine are rounded to f32 and
//! then scaled. In between is f64, with the library's own series, so that every system's mathematics
//! library gives the same bits: it is not asked.

const std = @import("std");

/// Fills cos and sin of one position, a value per pair of dimensions.
pub fn fill(inv_frequencies: []const f32, scale: f32, position: u64, cos: []f32, sin: []f32) void {
    const at: f32 = @floatFromInt(position);
    for (inv_frequencies, cos, sin) |frequency, *c, *s| {
        const both = sincos(at * frequency);
        c.* = @as(f32, @floatCast(both.cos)) * scale;
        s.* = @as(f32, @floatCast(both.sin)) * scale;
    }
}

pub const Both = struct { sin: f64, cos: f64 };

/// pi / 2 in three parts; the first two have 28 bits, so that their products with a quarter turn's
/// number below 2^25 are exact.
const quarter_parts = [3]f64{ 0x1.921fb54p+0, 0x1.10b4610p-30, 0x1.a62633145c06ep-58 };

pub fn sincos(angle: f32) Both {
    const x: f64 = angle;
    const n = @floor(x * (2.0 / std.math.pi) + 0.5);
    const r = ((x - n * quarter_parts[0]) - n * quarter_parts[1]) - n * quarter_parts[2];
    const s = sineOf(r);
    const c = cosineOf(r);
    const quadrant = n - 4 * @floor(n * 0.25);
    if (quadrant == 0) return .{ .sin = s, .cos = c };
    if (quadrant == 1) return .{ .sin = c, .cos = -s };
    if (quadrant == 2) return .{ .sin = -s, .cos = -c };
    // An infinite angle comes here too, with NaN for both.
    return .{ .sin = -c, .cos = s };
}

/// On [-pi/4, pi/4], within 2^-58.
fn sineOf(x: f64) f64 {
    const z = x * x;
    const series = [_]f64{
        -1.66666666666666324348e-01, 8.33333333332248946124e-03,  -1.98412698298579493134e-04,
        2.75573137070700676789e-06,  -2.50507602534068634195e-08, 1.58969099521155010221e-10,
    };
    return x + x * z * horner(&series, z);
}

fn cosineOf(x: f64) f64 {
    const z = x * x;
    const series = [_]f64{
        4.16666666666666019037e-02,  -1.38888888888741095749e-03, 2.48015872894767294178e-05,
        -2.75573143513906633035e-07, 2.08757232129817482790e-09,  -1.13596475577881948265e-11,
    };
    return 1 - (0.5 * z - z * z * horner(&series, z));
}

fn horner(series: []const f64, z: f64) f64 {
    var sum: f64 = 0;
    var i = series.len;
    while (i > 0) {
        i -= 1;
        sum = sum * z + series[i];
    }
    return sum;
}

test "sines and cosines agree with the system's" {
    var angle: f32 = 0;
    var step: f32 = 0.0137;
    while (angle < 4_000_000) : (angle += step) {
        if (angle > 100) step = 97.31;
        const both = sincos(angle);
        try std.testing.expectApproxEqAbs(@sin(@as(f64, angle)), both.sin, 1e-15);
        try std.testing.expectApproxEqAbs(@cos(@as(f64, angle)), both.cos, 1e-15);
    }
}
