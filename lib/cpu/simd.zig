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
pub const I16 = @Vector(lanes * 2, i16);
const U16 = @Vector(lanes * 2, u16);

/// Adds to each 32-bit lane the dot product of its four unsigned codes (at most 2) with its four
/// signed activations (at most 127 in size).
pub inline fn dot4(sum: I32, codes: U32, activations: I32) I32 {
    if (has_avx512) return vpdpbusd(sum, codes, activations);
    // Two products of at most 2 * 127 fit a 16-bit lane without saturating.
    if (has_avx2) return sum + addPairs(dotPairs(codes, activations));
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

/// One word of activations in every lane, on AVX-512. By assembly, as the compiler would take the
/// float form of the instruction, and crossing over to integers costs Zen 4 a twelfth of `dotPlanes`.
pub inline fn broadcast(word: [*]const i32) I32 {
    return asm volatile ("vpbroadcastd (%[word]), %[result]"
        : [result] "=v" (-> I32),
        : [word] "r" (word),
        : .{ .memory = true });
}

/// Adds to four sums the dot products of the four planes of a vector of codes, left where they are:
/// codes times 1, 4, 16 and 64. On AVX-512, as one block of assembly: two ANDs before their two dot
/// products keep all pipes of Zen 4 busy, where the compiler's order costs a sixth.
pub inline fn dotPlanes(sums: *[4]I32, codes: [*]const u8, masks: [4]U32, activations: [4]I32) void {
    var sum0, var sum1, var sum2, var sum3 = sums.*;
    var vector: U32 = undefined;
    var even: U32 = undefined;
    var odd: U32 = undefined;
    asm volatile ("vmovdqu64 (%[codes]), %[vector]\n" ++
            "vpandd %[mask0], %[vector], %[even]\n" ++
            "vpandd %[mask1], %[vector], %[odd]\n" ++
            "vpdpbusd %[activations0], %[even], %[sum0]\n" ++
            "vpdpbusd %[activations1], %[odd], %[sum1]\n" ++
            "vpandd %[mask2], %[vector], %[even]\n" ++
            "vpandd %[mask3], %[vector], %[odd]\n" ++
            "vpdpbusd %[activations2], %[even], %[sum2]\n" ++
            "vpdpbusd %[activations3], %[odd], %[sum3]"
        : [sum0] "+v" (sum0),
          [sum1] "+v" (sum1),
          [sum2] "+v" (sum2),
          [sum3] "+v" (sum3),
          [vector] "=&v" (vector),
          [even] "=&v" (even),
          [odd] "=&v" (odd),
        : [codes] "r" (codes),
          [mask0] "v" (masks[0]),
          [mask1] "v" (masks[1]),
          [mask2] "v" (masks[2]),
          [mask3] "v" (masks[3]),
          [activations0] "v" (activations[0]),
          [activations1] "v" (activations[1]),
          [activations2] "v" (activations[2]),
          [activations3] "v" (activations[3]),
        : .{ .memory = true });
    sums.* = .{ sum0, sum1, sum2, sum3 };
}

/// The two halves of `dot4` on AVX2: sums of two products of codes and activations, and of two such
/// sums in each 32-bit lane.
pub inline fn dotPairs(codes: U32, activations: I32) I16 {
    return vpmaddubsw(codes, activations);
}

pub inline fn addPairs(pairs: I16) I32 {
    return vpmaddwd(pairs, @splat(1));
}

const Bytes = @Vector(lanes * 4, u8);

/// Splits bytes c0 + 3 c1 + 9 c2 + 27 c3 + 81 c4 into c0 | c1 << 2 | c2 << 4 | c3 << 6, and c4 in bits
/// 7-6 of a second vector whose other bits mean nothing.
pub inline fn splitBase3(bytes: Bytes) [2]U32 {
    const rest = remainder(bytes, 81);
    // 0, 81 and 162 are 00.., 01.. and 10.. in binary.
    const top: U32 = @bitCast(bytes -% rest);
    if (has_avx512) return .{ @bitCast(lookup128(rest)), top };
    const low27 = remainder(rest, 27);
    const low9 = remainder(low27, 9);
    const low3 = remainder(low9, 3);
    const quad = low3 | (quotient(low9 -% low3, 3) << @splat(2)) |
        (quotient(low27 -% low9, 9) << @splat(4)) | (quotient(rest -% low27, 27) << @splat(6));
    return .{ @bitCast(quad), top };
}

/// bytes mod divisor, for bytes below three times the divisor: of the differences that do not wrap
/// round the smallest is it.
inline fn remainder(bytes: Bytes, comptime divisor: u8) Bytes {
    return @min(bytes, bytes -% @as(Bytes, @splat(divisor)), bytes -% @as(Bytes, @splat(2 * divisor)));
}

/// 0, 1 or 2 of a multiple of the divisor.
inline fn quotient(multiple: Bytes, comptime divisor: u8) Bytes {
    return @min(multiple, @as(Bytes, @splat(1))) + @as(Bytes, @intFromBool(multiple > @as(Bytes, @splat(divisor))));
}

/// Four base-3 digits as 2-bit fields, for numbers below 81.
inline fn lookup128(indices: Bytes) Bytes {
    const table: [2]Bytes = comptime blk: {
        @setEvalBranchQuota(10_000);
        var entries: [128]u8 = @splat(0);
        for (entries[0..81], 0..) |*entry, i| {
            entry.* = i % 3 | (i / 3 % 3) << 2 | (i / 9 % 3) << 4 | (i / 27) << 6;
        }
        break :blk .{ entries[0..64].*, entries[64..128].* };
    };
    return asm ("vpermi2b %[high], %[low], %[result]"
        : [result] "=v" (-> Bytes),
        : [low] "v" (table[0]),
          [high] "v" (table[1]),
          [indices] "0" (indices),
    );
}

const V16 = @Vector(16, f32);
const Indices16 = @Vector(16, u32);

/// How a looked-up value joins its sum: added, or times 1 by a fused multiplication, which rounds
/// nothing and runs on pipes of its own.
pub const Join = enum { add, fused };

/// Adds what each lane's low four bits name in a table of 16. One block of assembly, because the
/// compiler would gather lookups far ahead of their additions and run out of registers.
pub inline fn addLookup16(sum: V16, entries: V16, indices: Indices16, comptime join: Join, one: V16) V16 {
    var found: V16 = undefined;
    return asm ("vpermps %[entries], %[indices], %[found]\n" ++ joining(join)
        : [result] "=v" (-> V16),
          [found] "=&v" (found),
        : [sum] "0" (sum),
          [entries] "v" (entries),
          [indices] "v" (indices),
          [one] "v" (one),
    );
}

/// The same with the low five bits and a table of 32.
pub inline fn addLookup32(sum: V16, low: V16, high: V16, indices: Indices16, comptime join: Join, one: V16) V16 {
    var found: V16 = undefined;
    return asm ("vmovdqa64 %[indices], %[found]\nvpermi2ps %[high], %[low], %[found]\n" ++ joining(join)
        : [result] "=v" (-> V16),
          [found] "=&v" (found),
        : [sum] "0" (sum),
          [low] "v" (low),
          [high] "v" (high),
          [indices] "v" (indices),
          [one] "v" (one),
    );
}

fn joining(comptime join: Join) []const u8 {
    return switch (join) {
        .add => "vaddps %[found], %[result], %[result]",
        .fused => "vfmadd231ps %[found], %[one], %[result]",
    };
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
    inline for (weights.parts, activations.parts) |w, a| total +%= dotHalves(w, a);
    return total;
}

/// Products of 16-bit lanes, neighbours added.
inline fn dotHalves(a: I16, b: I16) I32 {
    if (has_avx2) return vpmaddwd(a, b);
    if (is_x86) return pmaddwd(a, b);
    const wide_a: I32 = @bitCast(a);
    const wide_b: I32 = @bitCast(b);
    const half: @Vector(lanes, u5) = @splat(16);
    return (wide_a >> half) * (wide_b >> half) + ((wide_a << half) >> half) * ((wide_b << half) >> half);
}
