// The codec `projection`: a few of many rotated gradients, and back.
//
// Floor: 4 bytes read for each gradient and 4 written for each sample, or the reverse; the transform, and
// half a call of the generator for four samples.

#include "gradients_hadamard.cuh"

namespace gradients {

/// The lower end of stratum i, one place of which is kept (lib/cpu/gradients_samples.zig): i places / kept,
/// rounded down. The quotient of the rest is off by one at most.
__device__ __forceinline__ u64 stratum_low(const Rotation& r, u64 i) {
    const u64 product = i * r.rest;
    u64 quotient = u64(double(product) * r.inverse);
    const long long left = (long long)(product - quotient * r.kept);
    if (left < 0) quotient--;
    else if (left >= (long long)r.kept) quotient++;
    return i * r.whole + quotient;
}

/// Finds the strata that reach into a block: by one thread, for everybody after a barrier.
__device__ __forceinline__ void find_strata(const Rotation& r, const Stretch& piece, Memory& m) {
    if (threadIdx.x != 0) return;
    m.range[0] = u32(((u64(piece.start) + 1) * r.kept - 1) / r.places);
    m.range[1] = u32(((u64(piece.start) + piece.size) * r.kept + r.places - 1) / r.places);
}

/// Calls `take(sample, place in the block, places it stands for)` for what is kept of a block.
template <class Take>
__device__ __forceinline__ void for_samples(const Rotation& r, const Stretch& piece, const Memory& m, Take take) {
    const u32 first = m.range[0], end = m.range[1];
    for (u32 four = first / 4 + threadIdx.x; u64(four) * 4 < end; four += block_threads) {
        const uint4 words = philox(four, 0, 6, r.seed);
        u64 low = stratum_low(r, u64(four) * 4);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const u64 sample = u64(four) * 4 + i;
            const u64 high = stratum_low(r, sample + 1);
            const u64 place = low + (u64(word_of(words, i)) * (high - low) >> 32) - piece.start;
            // A stratum may begin before the block, or end after it.
            if (sample < r.kept && place < piece.size) take(sample, u32(place), u32(high - low));
            low = high;
        }
    }
}

template <bool whole>
__device__ __forceinline__ void encode_projection(const Rotation& r, u32 index, Memory& m) {
    const Stretch piece = piece_of<whole>(r, index);
    float x[16];
    find_strata(r, piece, m);
    load(r, piece, index, m, x, whole);
    flip<whole>(piece, m, piece.factor, x);
    if (whole) {
        __syncthreads();
        read_neighbours(m, x);
        butterflies(x);
        write_neighbours(m, x);
        upper_levels(m, x);
#pragma unroll
        for (u32 j = 0; j < 16; j++) m.values[UpperPlaces().at(j)] = x[j];
    } else {
        small_levels(m, piece.size, x);
    }
    __syncthreads();
    float* samples = reinterpret_cast<float*>(r.payload);
    u32 largest = 0;
    for_samples(r, piece, m, [&](u64 sample, u32 place, u32) {
        const float value = m.values[place_of(place)];
        largest = max(largest, __float_as_uint(value) & magnitude_mask);
        samples[sample] = value;
    });
    if (largest >= infinity_bits) atomicOr(r.found, too_large);
}

template <bool whole>
__device__ __forceinline__ void decode_projection(const Rotation& r, u32 index, Memory& m) {
    const Stretch piece = piece_of<whole>(r, index);
    find_strata(r, piece, m);
    draw_signs(m, index, r.seed);
#pragma unroll
    for (u32 j = 0; j < 4; j++)
        reinterpret_cast<float4*>(m.values)[j * block_threads + threadIdx.x] = make_float4(0, 0, 0, 0);
    __syncthreads();
    const float* samples = reinterpret_cast<const float*>(r.payload);
    for_samples(r, piece, m, [&](u64 sample, u32 place, u32 places) {
        m.values[place_of(place)] = __fmul_rn(samples[sample], r.option ? float(places) : 1.0f);
    });
    float x[16];
    if (whole) {
        __syncthreads();
        read_neighbours(m, x);
        butterflies(x);
        write_neighbours(m, x);
        upper_levels(m, x);
    } else {
        small_levels(m, piece.size, x);
    }
    unflip<whole>(r, piece, m, piece.factor, x);
}

} // namespace gradients

extern "C" __global__ void __launch_bounds__(256) gradients_projection_encode(const __grid_constant__ gradients::Rotation r) {
    __shared__ gradients::Memory m;
    if (blockIdx.x < r.full) gradients::encode_projection<true>(r, blockIdx.x, m);
    else gradients::encode_projection<false>(r, blockIdx.x, m);
}

extern "C" __global__ void __launch_bounds__(256) gradients_projection_decode(const __grid_constant__ gradients::Rotation r) {
    __shared__ gradients::Memory m;
    if (blockIdx.x < r.full) gradients::decode_projection<true>(r, blockIdx.x, m);
    else gradients::decode_projection<false>(r, blockIdx.x, m);
}
