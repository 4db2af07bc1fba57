//! What the processor offers and the operating system saves on a context switch. A processor with
//! AVX-512 under a system that does not save its registers would corrupt them silently, hence xgetbv.

const std = @import("std");
const builtin = @import("builtin");

pub fn always() bool {
    return true;
}

const Leaf = struct { eax: u32, ebx: u32, ecx: u32, edx: u32 };

fn cpuid(leaf: u32, subleaf: u32) Leaf {
    var eax: u32 = undefined;
    var ebx: u32 = undefined;
    var ecx: u32 = undefined;
    var edx: u32 = undefined;
    asm volatile ("cpuid"
        : [eax] "={eax}" (eax),
          [ebx] "={ebx}" (ebx),
          [ecx] "={ecx}" (ecx),
          [edx] "={edx}" (edx),
        : [leaf] "{eax}" (leaf),
          [subleaf] "{ecx}" (subleaf),
    );
    return .{ .eax = eax, .ebx = ebx, .ecx = ecx, .edx = edx };
}

fn xgetbv() u32 {
    return asm volatile ("xgetbv"
        : [eax] "={eax}" (-> u32),
        : [ecx] "{ecx}" (@as(u32, 0)),
        : .{ .edx = true });
}

fn allBits(word: u32, comptime bits: []const u5) bool {
    comptime var mask: u32 = 0;
    inline for (bits) |bit| mask |= 1 << bit;
    return word & mask == mask;
}

/// x86-64-v3: AVX2 and what came with it, saved by the system (XMM and YMM state).
pub fn hasAvx2() bool {
    if (cpuid(0, 0).eax < 7) return false;
    // FMA, SSE4.1, SSE4.2, MOVBE, POPCNT, OSXSAVE, AVX, F16C
    if (!allBits(cpuid(1, 0).ecx, &.{ 12, 19, 20, 22, 23, 27, 28, 29 })) return false;
    if (xgetbv() & 0x06 != 0x06) return false;
    // BMI1, AVX2, BMI2
    if (!allBits(cpuid(7, 0).ebx, &.{ 3, 5, 8 })) return false;
    return cpuid(0x8000_0000, 0).eax >= 0x8000_0001 and allBits(cpuid(0x8000_0001, 0).ecx, &.{5}); // LZCNT
}

/// x86-64-v4 with VNNI, VBMI, VBMI2, BITALG and VPOPCNTDQ (Ice Lake, Zen 4 and later), saved by the
/// system (opmask and ZMM state too).
pub fn hasAvx512() bool {
    if (!hasAvx2() or xgetbv() & 0xe6 != 0xe6) return false;
    const leaf = cpuid(7, 0);
    // F, DQ, CD, BW, VL; then VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ
    return allBits(leaf.ebx, &.{ 16, 17, 28, 30, 31 }) and allBits(leaf.ecx, &.{ 1, 6, 11, 12, 14 });
}

/// From Linux's elf.h and asm/hwcap.h.
const at_hwcap = 16;
const hwcap_asimddp = 1 << 20;

/// SDOT and UDOT. Every Apple chip has them; on Linux the kernel tells.
pub fn hasDotProduct() bool {
    return switch (builtin.os.tag) {
        .linux => std.c.getauxval(at_hwcap) & hwcap_asimddp != 0,
        .macos => true,
        else => false,
    };
}
