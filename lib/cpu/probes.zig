//! The loops that measure what a core can do at most: loads, byte dot products, f32 multiply-adds
//! and f32 additions. They compute nothing of use, so nothing but the instruction limits them: no
//! loop waits for an earlier result (more accumulators than latency times throughput of any core
//! known) and the results are returned, so that no compiler can leave them out.

const builtin = @import("builtin");
const simd = @import("simd.zig");
const table = @import("probe_table.zig");

const is_arm = builtin.cpu.arch == .aarch64;

/// Accumulators: 2 instructions a cycle of 4 cycles latency need 8, and Apple's 4 of 3 need 12. The
/// tiers with 16 registers keep two to four for the operands.
const accumulators = if (simd.has_avx512 or is_arm) 16 else 12;

pub const kernels: table.Kernels = .{
    .read = read,
    .dot = dot,
    .multiply_add = multiplyAdd,
    .add = add,
    // Each 32-bit lane takes four products.
    .dot_operations = accumulators * simd.lanes * 4 * 2,
    .multiply_add_operations = accumulators * simd.lanes * 2,
    .add_operations = accumulators * simd.lanes,
};

/// One forward stream: the hardware's prefetchers follow it better than several.
fn read(bytes: [*]align(64) const u8, size: usize) callconv(.c) u32 {
    const vectors: [*]const simd.U32 = @ptrCast(@alignCast(bytes));
    const width = simd.lanes * 4;
    var sums: [8]simd.U32 = @splat(@splat(0));
    var index: usize = 0;
    while (index < size / width) : (index += table.read_bytes / width) {
        inline for (0..table.read_bytes / width) |offset| sums[offset % 8] |= vectors[index + offset];
    }
    var total: simd.U32 = @splat(0);
    for (sums) |sum| total |= sum;
    return @reduce(.Or, total);
}

fn dot(rounds: u32, seed: i32) callconv(.c) i32 {
    var sums: [accumulators]simd.I32 = @splat(@splat(0));
    for (0..rounds) |_| {
        inline for (&sums) |*sum| sum.* = dotProducts(sum.*, @splat(seed));
    }
    var total: simd.I32 = @splat(0);
    for (sums) |sum| total +%= sum;
    return @reduce(.Add, total);
}

/// One vector of four-byte dot products by what the products use on this tier, without the work of
/// preparing operands. Volatile, because the operands do not change.
inline fn dotProducts(before: simd.I32, factors: simd.I32) simd.I32 {
    var sum = before;
    if (simd.has_avx512) {
        asm volatile ("vpdpbusd %[factors], %[factors], %[sum]"
            : [sum] "+v" (sum),
            : [factors] "v" (factors),
        );
    } else if (simd.has_avx2) {
        // The kernels add pairs of products in 16 bits, and widen the sums so seldom that it hides.
        var products: simd.I32 = undefined;
        asm volatile (
            \\vpmaddubsw %[factors], %[factors], %[products]
            \\vpaddw %[products], %[sum], %[sum]
            : [sum] "+x" (sum),
              [products] "=&x" (products),
            : [factors] "x" (factors),
        );
    } else if (!is_arm) {
        // 16-bit lanes hold half as many products, so it takes two.
        var products: simd.I32 = undefined;
        inline for (0..2) |_| asm volatile (
            \\movdqa %[factors], %[products]
            \\pmaddwd %[factors], %[products]
            \\paddd %[products], %[sum]
            : [sum] "+x" (sum),
              [products] "=&x" (products),
            : [factors] "x" (factors),
        );
    } else if (simd.has_dot_product) {
        asm volatile ("sdot %[sum].4s, %[factors].16b, %[factors].16b"
            : [sum] "+w" (sum),
            : [factors] "w" (factors),
        );
    } else {
        var products: simd.I32 = undefined;
        asm volatile (
            \\smull %[products].8h, %[factors].8b, %[factors].8b
            \\smlal2 %[products].8h, %[factors].16b, %[factors].16b
            \\sadalp %[sum].4s, %[products].8h
            : [sum] "+w" (sum),
              [products] "=&w" (products),
            : [factors] "w" (factors),
        );
    }
    return sum;
}

/// The factor is a little below one and the accumulators start near one, so that no sum overflows,
/// vanishes or becomes subnormal.
fn multiplyAdd(rounds: u32, seed: f32) callconv(.c) f32 {
    const factor: simd.F32 = @splat(1 - seed);
    const term: simd.F32 = @splat(seed);
    var sums = starts(seed);
    for (0..rounds) |_| {
        inline for (&sums) |*sum| sum.* = if (simd.has_fma) @mulAdd(simd.F32, sum.*, factor, term) else sum.* * factor + term;
    }
    return sumOf(sums);
}

fn add(rounds: u32, seed: f32) callconv(.c) f32 {
    const term: simd.F32 = @splat(seed);
    var sums = starts(seed);
    for (0..rounds) |_| {
        inline for (&sums) |*sum| sum.* += term;
    }
    return sumOf(sums);
}

fn starts(seed: f32) [accumulators]simd.F32 {
    var sums: [accumulators]simd.F32 = undefined;
    inline for (&sums, 0..) |*sum, index| sum.* = @splat(1 + seed * index);
    return sums;
}

fn sumOf(sums: [accumulators]simd.F32) f32 {
    var total: simd.F32 = @splat(0);
    for (sums) |sum| total += sum;
    return @reduce(.Add, total);
}
