// What the codecs of gradients share: random words, trits in bytes, and what kernels find out.
//
// Payloads are those of lib/cpu/gradients_*.zig to the last bit: every sum of floats has the order that
// the CPU gives it, and products and sums are rounded one by one.

#pragma once

#include "common.cuh"

namespace gradients {

/// What is found, OR-ed into one word.
constexpr u32 not_finite = 1;
constexpr u32 too_large = 2;
constexpr u32 bad_trits = 4;

constexpr u32 infinity_bits = 0x7f800000;
constexpr u32 magnitude_mask = 0x7fffffff;
constexpr u32 everyone = 0xffffffff;

/// Philox4x32-10 for the counter (place, row low, row high, domain), with the seed as key.
__device__ __forceinline__ uint4 philox(u32 place, u64 row, u32 domain, u64 seed) {
    uint4 c = make_uint4(place, u32(row), u32(row >> 32), domain);
    u32 key0 = u32(seed), key1 = u32(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const u32 a_low = 0xd2511f53u * c.x, a_high = __umulhi(0xd2511f53u, c.x);
        const u32 b_low = 0xcd9e8d57u * c.z, b_high = __umulhi(0xcd9e8d57u, c.z);
        c = make_uint4(b_high ^ c.y ^ key0, b_low, a_high ^ c.w ^ key1, a_low);
        key0 += 0x9e3779b9u;
        key1 += 0xbb67ae85u;
    }
    return c;
}

/// Where the five trits of a byte stand in a run: trit p at first + p stride, where that is below the
/// run's length; see lib/cpu/gradients_trits.zig.
struct TritByte {
    u32 first;
    u32 stride;

    __device__ static TritByte of(u32 count, u32 byte) {
        const u32 large = count / 320 * 320;
        if (byte < large / 5) return {byte / 64 * 320 + byte % 64, 64};
        byte -= large / 5;
        const u32 small = (count - large) / 80 * 80;
        if (byte < small / 5) return {large + byte / 16 * 80 + byte % 16, 16};
        byte -= small / 5;
        return {large + small + byte, (count - large - small + 4) / 5};
    }
};

/// The byte of five codes, trit + 1; those that are missing count as 0.
__device__ __forceinline__ u32 pack_trits_of(const u8* codes, u32 count, u32 byte) {
    const TritByte place = TritByte::of(count, byte);
    u32 sum = 0;
#pragma unroll
    for (int back = 4; back >= 0; back--) {
        const u32 at = place.first + back * place.stride;
        sum = 3 * sum + (at < count ? codes[at] : 0);
    }
    return sum;
}

/// Hands the codes of a byte to `put(place, code)`; returns whether it is one.
template <class Put>
__device__ __forceinline__ bool unpack_trits_of(u32 value, u32 count, u32 byte, Put put) {
    const TritByte place = TritByte::of(count, byte);
    bool good = value <= 242;
#pragma unroll
    for (u32 plane = 0; plane < 5; plane++) {
        const u32 at = place.first + plane * place.stride;
        const u32 code = value % 3;
        value /= 3;
        if (at < count) put(at, code);
        else good = good && code == 0;
    }
    return good;
}

/// The sum of 16 lanes as vector16.sum adds them up; for every lane of each half warp.
__device__ __forceinline__ float sum_halves(float value) {
#pragma unroll
    for (int step = 8; step > 0; step /= 2) value = __fadd_rn(value, __shfl_xor_sync(everyone, value, step, 16));
    return value;
}

} // namespace gradients
