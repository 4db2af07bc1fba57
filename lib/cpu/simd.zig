//! What the kernels of every tier share: the width of a vector of 32-bit lanes, the dot product of
//! four bytes, and sums in a fixed order.

const builtin = @import("builtin");

const cpu = builtin.cpu;
const is_x86 = cpu.arch == .x86_64;
const is_arm = cpu.arch == .aarch64;

pub const has_avx512 = is_x86 and cpu.has(.x86, .avx512vnni);
pub const has_avx2 = is_x86 and cpu.has(.x86, .avx2);
pub const has_dot_product = is_arm and cpu.has(.aarch64, .dotprod);
/// Products with -1, 0 and 1 are exact, so fusing them changes no bit; without the instruction the
/// fused form would be a library call.
pub const has_fma = has_avx2 or is_arm;

/// 32-bit lanes of one register.
pub const lanes = if (has_avx512) 16 else if (has_avx2) 8 else 4;

pub const I32 = @Vector(lanes, i32);
pub const U32 = @Vector(lanes, u32);
pub const F32 = @Vector(lanes, f32);
const I16 = @Vector(lanes * 2, i16);
const U16 = @Vector(lanes * 2, u16);

/// Adds to each 32-bit lane the dot product of its four unsigned codes (at most 2) with its four
/// signed activations (at most 127 in size).
pub inline fn dot4(sum: I32, codes: U32, activations: I32) I32 {
    if (has_avx512) return vpdpbusd(sum, codes, activations);
    // Two products of at most 2 * 127 fit a 16-bit lane without saturating.
    if (has_avx2) return sum + vpmaddwd(vpmaddubsw(codes, activations), @splat(1));
    if (has_dot_product) return sdot(sum, codes, activations);
    // Even and odd bytes as 16-bit lanes.
    const code_pairs: U16 = @bitCast(codes);
    const even_codes: I16 = @bitCast(code_pairs & @as(U16, @splat(0xff)));
    const odd_codes: I16 = @bitCast(code_pairs >> @splat(8));
    const activation_pairs: I16 = @bitCast(activations);
    const odd_activations = activation_pairs >> @splat(8);
    const even_activations = (activation_pairs << @splat(8)) >> @splat(8);
    if (is_x86) return sum + pmaddwd(even_codes, even_activations) + pmaddwd(odd_codes, odd_activations);
    const products = even_codes * even_activations + odd_codes * odd_activations;
    const low: I32 = (@as(I32, @bitCast(products)) << @splat(16)) >> @splat(16);
    const high: I32 = @as(I32, @bitCast(products)) >> @splat(16);
    return sum + low + high;
}

/// Looks each lane's low four bits up in a table of 16.
pub inline fn lookup16(entries: @Vector(16, f32), indices: @Vector(16, u32)) @Vector(16, f32) {
    return asm ("vpermps %[entries], %[indices], %[result]"
        : [result] "=v" (-> @Vector(16, f32)),
        : [entries] "v" (entries),
          [indices] "v" (indices),
    );
}

// Instructions are written as assembly and not as LLVM intrinsics: an intrinsic declared as an
// extern function takes the C calling convention of the target, which on Windows passes vectors by
// reference and breaks it.

inline fn vpdpbusd(sum: I32, codes: U32, activations: I32) I32 {
    return asm ("vpdpbusd %[activations], %[codes], %[result]"
        : [result] "=v" (-> I32),
        : [codes] "v" (codes),
          [activations] "v" (activations),
          [sum] "0" (sum),
    );
}

inline fn vpmaddubsw(codes: U32, activations: I32) I16 {
    return asm ("vpmaddubsw %[activations], %[codes], %[result]"
        : [result] "=x" (-> I16),
        : [codes] "x" (codes),
          [activations] "x" (activations),
    );
}

inline fn vpmaddwd(a: I16, b: I16) I32 {
    return asm ("vpmaddwd %[b], %[a], %[result]"
        : [result] "=x" (-> I32),
        : [a] "x" (a),
          [b] "x" (b),
    );
}

inline fn pmaddwd(a: I16, b: I16) I32 {
    return asm ("pmaddwd %[b], %[result]"
        : [result] "=x" (-> I32),
        : [a] "0" (a),
          [b] "x" (b),
    );
}

inline fn sdot(sum: I32, codes: U32, activations: I32) I32 {
    return asm ("sdot %[result].4s, %[codes].16b, %[activations].16b"
        : [result] "=w" (-> I32),
        : [codes] "w" (codes),
          [activations] "w" (activations),
          [sum] "0" (sum),
    );
}

/// x * w + sum for a w of -1, 0 or 1.
pub inline fn addProduct(x: F32, w: F32, sum: F32) F32 {
    return if (has_fma) @mulAdd(F32, x, w, sum) else x * w + sum;
}

pub inline fn load(comptime V: type, pointer: anytype) V {
    const n = @typeInfo(V).vector.len;
    return pointer[0..n].*;
}

pub inline fn store(pointer: anytype, vector: anytype) void {
    const n = @typeInfo(@TypeOf(vector)).vector.len;
    pointer[0..n].* = vector;
}

/// Signed bytes as `dotBytes` takes them: where no instruction multiplies bytes of the whole range,
/// the even and the odd ones as 16-bit lanes.
pub const ByteOperand = struct {
    parts: if (has_avx512 or has_dot_product) [1]U32 else [2]I16,

    /// A weight w may be as low as -127; AVX-512 wants one side unsigned and gets w + 128.
    pub inline fn weights(bytes: U32) ByteOperand {
        if (has_avx512) return .{ .parts = .{bytes ^ @as(U32, @splat(0x80808080))} };
        return .activations(@bitCast(bytes));
    }

    pub inline fn activations(bytes: I32) ByteOperand {
        if (has_avx512 or has_dot_product) return .{ .parts = .{@bitCast(bytes)} };
        const pairs: I16 = @bitCast(bytes);
        return .{ .parts = .{ (pairs << @splat(8)) >> @splat(8), pairs >> @splat(8) } };
    }
};

/// What `dotBytes` adds to every weight; times the sum of the activations it is to be taken off.
pub const byte_offset: i32 = if (has_avx512) 128 else 0;

/// Adds to each 32-bit lane the dot product of its four weights with its four activations.
pub inline fn dotBytes(sum: I32, weights: ByteOperand, activations: ByteOperand) I32 {
    if (has_avx512) return vpdpbusd(sum, weights.parts[0], @bitCast(activations.parts[0]));
    if (has_dot_product) return sdot(sum, weights.parts[0], @bitCast(activations.parts[0]));
    var total = sum;
    inline for (weights.parts, activations.parts) |w, a| total +%= addPairs(w, a);
    return total;
}

/// Products of 16-bit lanes, neighbours added.
inline fn addPairs(a: I16, b: I16) I32 {
    if (has_avx2) return vpmaddwd(a, b);
    if (is_x86) return pmaddwd(a, b);
    const wide_a: I32 = @bitCast(a);
    const wide_b: I32 = @bitCast(b);
    const half: @Vector(lanes, u5) = @splat(16);
    return (wide_a >> half) * (wide_b >> half) + ((wide_a << half) >> half) * ((wide_b << half) >> half);
}
