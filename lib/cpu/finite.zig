//! Finds NaN and infinities: values whose exponent bits are all ones. One pass, as fast as reading.

const dispatch = @import("dispatch.zig");
const Float = @import("vector16.zig").Float;

/// The index of the first NaN or infinity.
pub fn firstNotFinite(values: []const f32) ?usize {
    const kernels = dispatch.kernels() catch return find(u32, exponentOf(.f32), @ptrCast(values));
    const block = 4096;
    var i: usize = 0;
    while (i < values.len) : (i += block) {
        const part = values[i..][0..@min(block, values.len - i)];
        if (kernels.ternary.largest(part.ptr, part.len) < exponentOf(.f32)) continue;
        if (find(u32, exponentOf(.f32), @ptrCast(part))) |index| return i + index;
    }
    return null;
}

/// The same for a table of any float type, which may lie at any byte of a file.
pub fn firstNotFiniteIn(float: Float, bytes: []const u8) ?usize {
    return switch (float) {
        .f32 => find(u32, exponentOf(.f32), @ptrCast(bytes)),
        inline .f16, .bf16 => |half| find(u16, exponentOf(half), @ptrCast(bytes)),
    };
}

fn exponentOf(comptime float: Float) comptime_int {
    return switch (float) {
        .f32 => 0x7f80_0000,
        .f16 => 0x7c00,
        .bf16 => 0x7f80,
    };
}

fn find(comptime Word: type, comptime exponent: Word, words: []align(1) const Word) ?usize {
    const width = 128 / @sizeOf(Word);
    const mask: @Vector(width, Word) = @splat(exponent);
    var i: usize = 0;
    while (i + width <= words.len) : (i += width) {
        const vector: @Vector(width, Word) = words[i..][0..width].*;
        if (@reduce(.Or, vector & mask == mask)) break;
    }
    while (i < words.len) : (i += 1) if (words[i] & exponent == exponent) return i;
    return null;
}
