// The codec `rotated`: gradients after a random rotation at 2, 3, 4, 8 or 16 levels, and back.
//
// Floor: 4 bytes read for each gradient and 1/8 to 1/2 written, or the reverse; the transform, and for
// each positive threshold three instructions per gradient.

#include "gradients_hadamard.cuh"

namespace gradients {

/// Positive levels in standard deviations; see lib/cpu/gradients_levels.zig.
template <u32 levels>
struct Levels;
template <>
struct Levels<2> {
    static constexpr float of[] = {0.7978845608f};
};
template <>
struct Levels<3> {
    static constexpr float of[] = {0.0f, 1.2240063619f};
};
template <>
struct Levels<4> {
    static constexpr float of[] = {0.452780035f, 1.510417608f};
};
template <>
struct Levels<8> {
    static constexpr float of[] = {0.245094179f, 0.756005281f, 1.343909279f, 2.151945705f};
};
template <>
struct Levels<16> {
    static constexpr float of[] = {0.12839503f, 0.388048299f, 0.656759119f, 0.942340456f, 1.256231197f, 1.618046386f, 2.069017227f, 2.732589571f};
};

template <u32 levels>
constexpr u32 positive = sizeof(Levels<levels>::of) / sizeof(float);
/// Bits of a value; 3 levels are bytes.
template <u32 levels>
constexpr u32 planes = levels == 2 ? 1 : levels == 4 ? 2 : levels == 8 ? 3 : levels == 16 ? 4 : 0;

/// Level n as a constant that is in no memory.
template <u32 levels, u32 n>
__device__ __forceinline__ float level() {
    constexpr float value = Levels<levels>::of[n];
    return value;
}

template <u32 levels, u32 n>
__device__ __forceinline__ float threshold() {
    constexpr float value = (Levels<levels>::of[n] + Levels<levels>::of[n + 1]) / 2;
    return value;
}

/// The binary digits of how many thresholds a magnitude exceeds, highest first, and the level there. The
/// thresholds are looked at as in a search, so that every comparison is used at once.
template <u32 levels>
__device__ __forceinline__ float choose(float size, const float* limits, bool (&digits)[3]) {
    constexpr u32 count = positive<levels>;
    if constexpr (count == 1) return level<levels, 0>();
    if constexpr (count == 2) {
        digits[0] = size > limits[0];
        return digits[0] ? level<levels, 1>() : level<levels, 0>();
    }
    if constexpr (count == 4) {
        const bool high = size > limits[1];
        const bool low = size > (high ? limits[2] : limits[0]);
        digits[0] = high, digits[1] = low;
        const float even = high ? level<levels, 2>() : level<levels, 0>();
        const float odd = high ? level<levels, 3>() : level<levels, 1>();
        return low ? odd : even;
    }
    if constexpr (count == 8) {
        const bool high = size > limits[3];
        const bool middle = size > (high ? limits[5] : limits[1]);
        const float below = high ? limits[4] : limits[0];
        const float above = high ? limits[6] : limits[2];
        const bool low = size > (middle ? above : below);
        digits[0] = high, digits[1] = middle, digits[2] = low;
        const float first = high ? level<levels, 4>() : level<levels, 0>();
        const float second = high ? level<levels, 5>() : level<levels, 1>();
        const float third = high ? level<levels, 6>() : level<levels, 2>();
        const float fourth = high ? level<levels, 7>() : level<levels, 3>();
        const float even = middle ? third : first;
        const float odd = middle ? fourth : second;
        return low ? odd : even;
    }
}

template <u32 levels, u32 n = 0>
__device__ __forceinline__ void fill_limits(float deviation, float* limits) {
    if constexpr (n + 1 < positive<levels>) {
        limits[n] = __fmul_rn(threshold<levels, n>(), deviation);
        fill_limits<levels, n + 1>(deviation, limits);
    }
}

template <u32 levels, bool whole>
__device__ __forceinline__ void encode_rotated(const Rotation& r, u32 index, Memory& m) {
    const Stretch piece = piece_of<whole>(r, index);
    const u32 size = whole ? block_values : piece.size;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float x[16];
    const u32 largest = load(r, piece, index, m, x, whole);
    const float factor = sound_factor(largest);
    flip<whole>(piece, m, factor, x);
    __syncthreads();
    if (whole) read_neighbours(m, x);
    sum_squares(m, size);
    if (whole) {
        butterflies(x);
        // The squares have been read.
        __syncthreads();
        write_neighbours(m, x);
        upper_levels(m, x);
    } else {
        small_levels(m, size, x);
    }

    const float squares = squares_of(m);
    float limits[positive<levels>];
    fill_limits<levels>(__fsqrt_rn(squares), limits);
    const UpperPlaces places;
    u32 words[4] = {};
#pragma unroll
    for (u32 j = 0; j < 16; j++) {
        const u32 i = threadIdx.x + 256 * j;
        if (!whole && 256 * j + 32 * warp >= size) continue;
        const float magnitude = fabsf(x[j]);
        const bool is_negative = __float_as_int(x[j]) < 0;
        bool digits[3] = {};
        m.values[places.at(j)] = __fmul_rn(magnitude, choose<levels>(magnitude, limits, digits));
        if constexpr (levels == 3) {
            reinterpret_cast<u8*>(m.words)[i] = u8(digits[0] ? (is_negative ? 0 : 2) : 1);
        } else {
            // Lane j keeps what the warp has of row j.
            const bool is_there = whole || i < size;
            const u32 signs = __ballot_sync(everyone, is_there && is_negative);
            if (lane == j) words[0] = signs;
#pragma unroll
            for (u32 plane = 1; plane < planes<levels>; plane++) {
                const u32 ones = __ballot_sync(everyone, is_there && digits[plane - 1]);
                if (lane == j) words[plane] = ones;
            }
        }
    }
    if constexpr (levels != 3) {
        // Two sixteens of each plane.
        u16* own = m.words + (2 * warp + 16 * lane) * planes<levels>;
        if (lane < 16) {
#pragma unroll
            for (u32 half = 0; half < 2; half++)
#pragma unroll
                for (u32 plane = 0; plane < planes<levels>; plane++)
                    own[half * planes<levels> + plane] = u16(words[plane] >> 16 * half);
        }
    }
    __syncthreads();
    if (is_turn_of(2)) {
        float sum = 0;
        const auto take = [&](float product) { sum = __fadd_rn(sum, product); };
        if (whole) for_rows<0, 1>(m, take);
        else
            for (u32 i = lane; i < size; i += 32) take(m.values[place_of(i)]);
        const float dot = sum_halves(__fadd_rn(sum, __shfl_xor_sync(everyone, sum, 16)));
        const double scale = double(squares) / double(dot) * double(scale_unit(size)) / double(factor);
        if (lane == 0)
            reinterpret_cast<float*>(r.payload)[index] = squares == 0 ? 0.0f : __double2float_rn(fmin(scale, 3.4028234663852886e38));
    }
    u8* codes = r.payload + (whole ? 4ull * r.blocks + u64(index) * (levels == 3 ? 820 : 512 * planes<levels>) : u64(piece.codes));
    if constexpr (levels == 3) {
        for (u32 byte = threadIdx.x; byte < (size + 4) / 5; byte += block_threads)
            codes[byte] = u8(pack_trits_of(reinterpret_cast<const u8*>(m.words), size, byte));
    } else if (whole) {
#pragma unroll
        for (u32 i = threadIdx.x; i < 128 * planes<levels>; i += block_threads)
            reinterpret_cast<u32*>(codes)[i] = reinterpret_cast<const u32*>(m.words)[i];
    } else {
        for (u32 i = threadIdx.x; i < size / 16 * planes<levels>; i += block_threads)
            reinterpret_cast<u16*>(codes)[i] = m.words[i];
    }
}

/// The value of 16 that bit e of each plane says.
template <u32 levels>
__device__ __forceinline__ float value_at(const u32 (&words)[4], u32 e, const float* table) {
    const u32 sign = words[0] >> e & 1;
    if constexpr (levels == 2) return turned(level<2, 0>(), sign);
    if constexpr (levels == 4) return turned(words[1] >> e & 1 ? level<4, 1>() : level<4, 0>(), sign);
    u32 index = 0;
#pragma unroll
    for (u32 plane = 1; plane < planes<levels>; plane++) index = 2 * index + (words[plane] >> e & 1);
    return turned(table[index], sign);
}

template <u32 levels, u32 n = 0>
__device__ __forceinline__ void fill_table(float* table) {
    if constexpr (n < positive<levels>) {
        table[n] = level<levels, n>();
        fill_table<levels, n + 1>(table);
    }
}

template <u32 levels, bool whole>
__device__ __forceinline__ void decode_rotated(const Rotation& r, u32 index, Memory& m) {
    const Stretch piece = piece_of<whole>(r, index);
    const u32 size = whole ? block_values : piece.size;
    const u8* codes = r.payload + (whole ? 4ull * r.blocks + u64(index) * (levels == 3 ? 820 : 512 * planes<levels>) : u64(piece.codes));
    draw_signs(m, index, r.seed);
    float x[16];
    if constexpr (levels == 3) {
        u8* trits = reinterpret_cast<u8*>(m.words);
        bool good = true;
        for (u32 byte = threadIdx.x; byte < (size + 4) / 5; byte += block_threads) {
            const bool is_good = unpack_trits_of(codes[byte], size, byte, [&](u32 at, u32 code) { trits[at] = u8(code); });
            good = good && is_good;
        }
        if (!good) atomicOr(r.found, bad_trits);
        __syncthreads();
        if (threadIdx.x * 16 < size) {
            const uint4 own = reinterpret_cast<const uint4*>(trits)[threadIdx.x];
#pragma unroll
            for (u32 e = 0; e < 16; e++)
                x[e] = __fmul_rn(float(int(word_of(own, e / 4) >> e % 4 * 8 & 255) - 1), level<3, 1>());
        }
    } else {
        if (levels > 4) {
            if (threadIdx.x == 0) fill_table<levels>(m.levels);
            __syncthreads();
        }
        if (threadIdx.x * 16 < size) {
            const u16* own = reinterpret_cast<const u16*>(codes) + threadIdx.x * planes<levels>;
            u32 words[4];
            if constexpr (planes<levels> % 2 == 0 && whole) {
#pragma unroll
                for (u32 pair = 0; pair < planes<levels> / 2; pair++) {
                    const u32 both = reinterpret_cast<const u32*>(own)[pair];
                    words[2 * pair] = both & 0xffff;
                    words[2 * pair + 1] = both >> 16;
                }
            } else {
#pragma unroll
                for (u32 plane = 0; plane < planes<levels>; plane++) words[plane] = own[plane];
            }
#pragma unroll
            for (u32 e = 0; e < 16; e++) x[e] = value_at<levels>(words, e, m.levels);
        }
    }
    if (whole) {
        butterflies(x);
        write_neighbours(m, x);
        upper_levels(m, x);
    } else {
        if (threadIdx.x * 16 < size) write_neighbours(m, x);
        small_levels(m, size, x);
    }
    const float scale = __fdiv_rn(reinterpret_cast<const float*>(r.payload)[index], scale_unit(size));
    unflip<whole>(r, piece, m, scale, x);
}

} // namespace gradients

/// One kernel each way for every number of levels.
#define TRITTER_ROTATED(LEVELS)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256)                                                                       \
        gradients_rotated_encode_##LEVELS(const __grid_constant__ gradients::Rotation r) {                                  \
        __shared__ gradients::Memory m;                                                                                     \
        if (blockIdx.x < r.full) gradients::encode_rotated<LEVELS, true>(r, blockIdx.x, m);                                 \
        else gradients::encode_rotated<LEVELS, false>(r, blockIdx.x, m);                                                    \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                                       \
        gradients_rotated_decode_##LEVELS(const __grid_constant__ gradients::Rotation r) {                                  \
        __shared__ gradients::Memory m;                                                                                     \
        if (blockIdx.x < r.full) gradients::decode_rotated<LEVELS, true>(r, blockIdx.x, m);                                 \
        else gradients::decode_rotated<LEVELS, false>(r, blockIdx.x, m);                                                    \
    }

TRITTER_ROTATED(2)
TRITTER_ROTATED(3)
TRITTER_ROTATED(4)
TRITTER_ROTATED(8)
TRITTER_ROTATED(16)
