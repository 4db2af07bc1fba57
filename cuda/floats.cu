// Passes over gradients: combinations, scaling, clipping, sums of squares, half precision.
//
// Floor: what is read and written once. Results are those of lib/cpu/precision.zig and
// gradients_sums.zig to the last bit: products in f64 are rounded once, and sums of squares have the
// order of the CPU: 16 lanes over 16,384 values, whose sums the host adds up.

#include "common.cuh"

namespace floats {

struct Pass {
    /// What is read; two of them for a combination.
    const void* source;
    const void* second;
    void* target;
    /// Largest magnitudes (bits), the first place that is not finite, or sums.
    void* found;
    u64 count;
    double factor;
    float alpha;
    float beta;
    /// 1 for f16, 2 for bf16; or whether NaN becomes 0.
    u32 option;
    u32 reserved;
};

/// Several lists of values.
struct PassOfMany {
    void* found;
    double factor;
    u32 length;
    u32 reserved;
    float* values[128];
    u64 counts[128];
    /// The first block of each.
    u32 first[128];

    /// The list that this block is of.
    __device__ u32 own() const {
        u32 at = 0;
#pragma unroll
        for (u32 step = 64; step > 0; step /= 2)
            if (at + step < length && first[at + step] <= blockIdx.x) at += step;
        return at;
    }
};

constexpr u32 infinity_bits = 0x7f800000;
constexpr u32 magnitude_mask = 0x7fffffff;
constexpr u32 everyone = 0xffffffff;
/// Values that a thread takes at a time, and a block of 256 of them.
constexpr u32 own_values = 16;
constexpr u32 block_values = 256 * own_values;

/// Calls `four(first)` for every four values of a block that are all there, and `one(place)` for the rest.
template <class Four, class One>
__device__ __forceinline__ void for_values(u64 count, Four four, One one, u32 block = blockIdx.x) {
    const u64 first = u64(block) * block_values + threadIdx.x * 4;
#pragma unroll
    for (u32 part = 0; part < own_values / 4; part++) {
        const u64 at = first + part * 1024;
        if (at + 4 <= count) four(at);
        else
            for (u64 i = at; i < count; i++) one(i);
    }
}

__device__ __forceinline__ float4 load_four(const void* values, u64 at) {
    return *reinterpret_cast<const float4*>(static_cast<const float*>(values) + at);
}

/// target[i] = function(source[i])
template <class Function>
__device__ __forceinline__ void map(const float* source, float* target, u64 count, u32 block, Function function) {
    for_values(
        count,
        [&](u64 at) {
            const float4 x = load_four(source, at);
            *reinterpret_cast<float4*>(target + at) = make_float4(function(x.x), function(x.y), function(x.z), function(x.w));
        },
        [&](u64 i) { target[i] = function(source[i]); }, block);
}

/// To nearest, ties to even; NaN becomes quiet and keeps the upper bits of its payload.
__device__ __forceinline__ u32 narrow_bf16(float x) {
    const u32 bits = __float_as_uint(x);
    return x == x ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : bits >> 16 | 0x40;
}

__device__ __forceinline__ u32 narrow_f16(float x) {
    const u32 bits = __float_as_uint(x);
    if (x != x) return (bits >> 16 & 0x8000) | 0x7e00 | (bits >> 13 & 0x3ff);
    u16 half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(x));
    return half;
}

__device__ __forceinline__ float widen(u32 half, u32 format) {
    if (format == 2) return __uint_as_float(half << 16);
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(u16(half)));
    // NaN keeps its payload here too.
    if (x != x) x = __uint_as_float((half & 0x8000) << 16 | 0x7fc00000 | (half & 0x3ff) << 13);
    return x;
}

} // namespace floats

/// target = alpha source + beta second
extern "C" __global__ void __launch_bounds__(256) floats_combine(const __grid_constant__ floats::Pass p) {
    using namespace floats;
    float* target = static_cast<float*>(p.target);
    const float* a = static_cast<const float*>(p.source);
    const float* b = static_cast<const float*>(p.second);
    const auto combined = [&](float x, float y) { return __fadd_rn(__fmul_rn(p.alpha, x), __fmul_rn(p.beta, y)); };
    for_values(
        p.count,
        [&](u64 at) {
            const float4 x = load_four(a, at), y = load_four(b, at);
            *reinterpret_cast<float4*>(target + at) =
                make_float4(combined(x.x, y.x), combined(x.y, y.y), combined(x.z, y.z), combined(x.w, y.w));
        },
        [&](u64 i) { target[i] = combined(a[i], b[i]); });
}

/// Values times the factor; found[0] becomes 1 where a product is not finite.
extern "C" __global__ void __launch_bounds__(256) floats_scale(const __grid_constant__ floats::PassOfMany p) {
    using namespace floats;
    const u32 own = p.own();
    u32 largest = 0;
    map(p.values[own], p.values[own], p.counts[own], blockIdx.x - p.first[own], [&](float x) {
        const float scaled = __double2float_rn(__dmul_rn(double(x), p.factor));
        largest = max(largest, __float_as_uint(scaled) & magnitude_mask);
        return scaled;
    });
    if (largest >= infinity_bits) *static_cast<u32*>(p.found) = 1;
}

/// target = source within alpha .. beta
extern "C" __global__ void __launch_bounds__(256) floats_clip(const __grid_constant__ floats::Pass p) {
    floats::map(static_cast<const float*>(p.source), static_cast<float*>(p.target), p.count, blockIdx.x, [&](float x) {
        // Comparisons with NaN are false, so it passes.
        if (p.option == 1 && x != x) x = 0;
        x = x < p.alpha ? p.alpha : x;
        return x > p.beta ? p.beta : x;
    });
}

/// found[0] becomes the first place that is not finite, if it is before what stands there.
extern "C" __global__ void __launch_bounds__(256) floats_find(const __grid_constant__ floats::Pass p) {
    using namespace floats;
    const u32* source = static_cast<const u32*>(p.source);
    const auto look = [&](u32 bits, u64 i) {
        if ((bits & magnitude_mask) >= infinity_bits) atomicMin(static_cast<u64*>(p.found), i);
    };
    for_values(
        p.count,
        [&](u64 at) {
            const uint4 x = *reinterpret_cast<const uint4*>(source + at);
            look(x.x, at), look(x.y, at + 1), look(x.z, at + 2), look(x.w, at + 3);
        },
        [&](u64 i) { look(source[i], i); });
}

/// found[run] = the sum of the squares of 16,384 values: value i in lane i % 16, and one tree. A block
/// has four runs of a list, 0 behind its last. Told that 16 blocks are enough, the compiler keeps all 32
/// loads on their way.
extern "C" __global__ void __launch_bounds__(64, 16) floats_sum_squares(const __grid_constant__ floats::PassOfMany p) {
    using namespace floats;
    constexpr u32 values = 16384;
    const u32 own = p.own();
    const u64 count = p.counts[own];
    const u32 lane = threadIdx.x % 16;
    const u64 begin = (u64(blockIdx.x - p.first[own]) * 4 + threadIdx.x / 16) * values;
    const u32 length = begin < count ? u32(min(u64(values), count - begin)) : 0;
    const float* run = p.values[own] + begin;
    double sum = 0;
    u32 i = lane;
    for (; i + 16 * 31 < length; i += 16 * 32) {
        float x[32];
#pragma unroll
        for (u32 row = 0; row < 32; row++) x[row] = run[i + 16 * row];
        // A square of f32 is exact in f64.
#pragma unroll
        for (u32 row = 0; row < 32; row++) sum = __fma_rn(double(x[row]), double(x[row]), sum);
    }
    for (; i < length; i += 16) sum = __fma_rn(double(run[i]), double(run[i]), sum);
#pragma unroll
    for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(everyone, sum, step, 16);
    if (lane == 0) static_cast<double*>(p.found)[u64(blockIdx.x) * 4 + threadIdx.x / 16] = sum;
}

/// target = source in 16 bits
extern "C" __global__ void __launch_bounds__(256) floats_narrow(const __grid_constant__ floats::Pass p) {
    using namespace floats;
    u16* target = static_cast<u16*>(p.target);
    const float* source = static_cast<const float*>(p.source);
    const auto narrow = [&](float x) { return p.option == 2 ? narrow_bf16(x) : narrow_f16(x); };
    for_values(
        p.count,
        [&](u64 at) {
            const float4 x = load_four(source, at);
            *reinterpret_cast<uint2*>(target + at) =
                make_uint2(narrow(x.x) | narrow(x.y) << 16, narrow(x.z) | narrow(x.w) << 16);
        },
        [&](u64 i) { target[i] = u16(narrow(source[i])); });
}

/// target = source from 16 bits
extern "C" __global__ void __launch_bounds__(256) floats_widen(const __grid_constant__ floats::Pass p) {
    using namespace floats;
    float* target = static_cast<float*>(p.target);
    const u16* source = static_cast<const u16*>(p.source);
    for_values(
        p.count,
        [&](u64 at) {
            const uint2 x = *reinterpret_cast<const uint2*>(source + at);
            *reinterpret_cast<float4*>(target + at) = make_float4(
                widen(x.x & 0xffff, p.option), widen(x.x >> 16, p.option), widen(x.y & 0xffff, p.option), widen(x.y >> 16, p.option));
        },
        [&](u64 i) { target[i] = widen(source[i], p.option); });
}
