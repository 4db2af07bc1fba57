// The codecs `rotated` and `projection`: random signs, a Hadamard transform of up to 4096 gradients, and
// then a few levels for each of them or a few of them as they are; and the reverse.
//
// 256 threads take a block, 16 values each. The transform adds in the order of its levels, h = 1, 2, 4,
// ... as on the CPU, four levels in registers at a time:
//
//     h = 1 .. 8        thread t has values 16 t + r
//     h = 16 .. 128     thread t has values t % 16 + 16 r + 256 (t / 16)
//     h = 256 .. 2048   thread t has values t + 256 r
//
// and between them everything goes through shared memory once, where pieces of 16 bytes are permuted
// such that none of these patterns meets in a bank. Blocks that are smaller, the last ones, take a level
// at a time.
//
// Floor: 4 bytes read for each gradient, and what is written; 12 additions, some 6 accesses to shared
// memory and for each level two comparisons, per gradient.

#include "gradients.cuh"

namespace gradients {

constexpr u32 block_values = 4096;
constexpr u32 block_threads = 256;

/// A block that is smaller, or has fewer gradients than places.
struct Piece {
    u32 start;
    u32 count;
    u32 size;
    /// Where its codes begin in the payload.
    u32 codes;
    /// What its gradients are multiplied by.
    float factor;
};

struct Rotation {
    float* gradients;
    u8* payload;
    u32* found;
    u64 seed;
    /// Values of all blocks, how many of them a projection keeps, and the quotient of the two: whole, rest
    /// and what a product with the rest is multiplied by to be divided.
    u64 places;
    u64 kept;
    u64 whole;
    u64 rest;
    double inverse;
    /// Blocks of 4096 gradients, and what those are multiplied by.
    u32 full;
    float factor;
    /// All blocks; and whether samples stand for the places around them.
    u32 blocks;
    u32 weighted;
    Piece pieces[13];
};

/// The place of value i in shared memory.
__device__ __forceinline__ u32 place_of(u32 i) {
    const u32 piece = i >> 2;
    return (piece ^ (piece >> 3 & 7) ^ (piece >> 6 & 1) << 2) << 2 | (i & 3);
}

struct __align__(16) Memory {
    float values[block_values];
    u32 signs[block_values / 32];
    /// Codes of a block, or a byte for each value at three levels.
    __align__(16) u16 words[block_values / 2];
    float levels[8];
    u32 largest[8];
    u32 range[2];
    float squares;
};

/// The block that these threads take.
template <bool whole>
__device__ __forceinline__ Piece piece_of(const Rotation& r, u32 index) {
    if (whole) return {index * block_values, block_values, block_values, 0, r.factor};
    return r.pieces[index - r.full];
}

/// Words of signs of a block, 128 bits a lane of the last warp.
__device__ __forceinline__ void draw_signs(Memory& m, u32 index, u64 seed) {
    const u32 lane = threadIdx.x % 32;
    if (threadIdx.x >= block_threads - 32)
        reinterpret_cast<uint4*>(m.signs)[lane] = philox(lane, index, 5, seed);
}

__device__ __forceinline__ float turned(float value, u32 sign) {
    return __uint_as_float(__float_as_uint(value) ^ (sign << 31));
}

/// Reads gradients 1024 j + 4 t + e of a block as x[4 j + e]; returns the bits of the block's largest
/// magnitude, for everybody. The signs are drawn, too.
template <bool whole>
__device__ __forceinline__ u32 load(const Rotation& r, const Piece& piece, u32 index, Memory& m, float (&x)[16]) {
    const float* from = r.gradients + piece.start;
#pragma unroll
    for (u32 j = 0; j < 4; j++) {
        const u32 i = j * 1024 + threadIdx.x * 4;
        if (whole) {
            const float4 four = *reinterpret_cast<const float4*>(from + i);
            x[4 * j] = four.x, x[4 * j + 1] = four.y, x[4 * j + 2] = four.z, x[4 * j + 3] = four.w;
        } else {
#pragma unroll
            for (u32 e = 0; e < 4; e++) x[4 * j + e] = i + e < piece.count ? from[i + e] : 0.0f;
        }
    }
    draw_signs(m, index, r.seed);
    u32 largest = 0;
#pragma unroll
    for (u32 i = 0; i < 16; i++) largest = max(largest, __float_as_uint(x[i]) & magnitude_mask);
    largest = __reduce_max_sync(everyone, largest);
    if (threadIdx.x % 32 == 0) m.largest[threadIdx.x / 32] = largest;
    __syncthreads();
    largest = m.largest[0];
#pragma unroll
    for (u32 warp = 1; warp < 8; warp++) largest = max(largest, m.largest[warp]);
    if (largest >= infinity_bits && threadIdx.x == 0) atomicOr(r.found, not_finite);
    return largest;
}

/// Puts the products with a factor into shared memory, with their signs; zeros that fill up a sixteen get
/// signs, too, as on the CPU.
template <bool whole>
__device__ __forceinline__ void flip(const Piece& piece, Memory& m, float factor, float (&x)[16]) {
    const u32 signed_count = (piece.count + 15) / 16 * 16;
#pragma unroll
    for (u32 j = 0; j < 4; j++) {
        const u32 i = j * 1024 + threadIdx.x * 4;
        const u32 bits = m.signs[i / 32] >> i % 32;
#pragma unroll
        for (u32 e = 0; e < 4; e++) {
            const float scaled = __fmul_rn(x[4 * j + e], factor);
            x[4 * j + e] = whole || i + e < signed_count ? turned(scaled, bits >> e) : 0.0f;
        }
        *reinterpret_cast<float4*>(m.values + place_of(i)) = make_float4(x[4 * j], x[4 * j + 1], x[4 * j + 2], x[4 * j + 3]);
    }
}

/// Four levels on 16 values.
__device__ __forceinline__ void butterflies(float (&x)[16]) {
#pragma unroll
    for (u32 h = 1; h < 16; h *= 2) {
#pragma unroll
        for (u32 i = 0; i < 16; i++) {
            if (i & h) continue;
            const float a = x[i], b = x[i + h];
            x[i] = __fadd_rn(a, b);
            x[i + h] = __fsub_rn(a, b);
        }
    }
}

/// Values 16 t + r, from and to shared memory.
__device__ __forceinline__ void read_neighbours(const Memory& m, float (&x)[16]) {
#pragma unroll
    for (u32 q = 0; q < 4; q++) {
        const float4 four = *reinterpret_cast<const float4*>(m.values + place_of(threadIdx.x * 16 + q * 4));
        x[4 * q] = four.x, x[4 * q + 1] = four.y, x[4 * q + 2] = four.z, x[4 * q + 3] = four.w;
    }
}

__device__ __forceinline__ void write_neighbours(Memory& m, const float (&x)[16]) {
#pragma unroll
    for (u32 q = 0; q < 4; q++)
        *reinterpret_cast<float4*>(m.values + place_of(threadIdx.x * 16 + q * 4)) =
            make_float4(x[4 * q], x[4 * q + 1], x[4 * q + 2], x[4 * q + 3]);
}

/// The last eight levels; thread t ends with values t + 256 r.
__device__ __forceinline__ void upper_levels(Memory& m, float (&x)[16]) {
    const u32 middle = threadIdx.x % 16 + threadIdx.x / 16 * 256;
    __syncthreads();
#pragma unroll
    for (u32 r = 0; r < 16; r++) x[r] = m.values[place_of(middle + 16 * r)];
    butterflies(x);
#pragma unroll
    for (u32 r = 0; r < 16; r++) m.values[place_of(middle + 16 * r)] = x[r];
    __syncthreads();
#pragma unroll
    for (u32 r = 0; r < 16; r++) x[r] = m.values[place_of(threadIdx.x + 256 * r)];
    butterflies(x);
}

/// All levels of a smaller block, in shared memory; values t + 256 r, as far as there are any.
__device__ __forceinline__ void small_levels(Memory& m, u32 size, float (&x)[16]) {
    for (u32 h = 1; h < size; h *= 2) {
        __syncthreads();
        for (u32 pair = threadIdx.x; pair < size / 2; pair += block_threads) {
            const u32 i = pair / h * 2 * h + pair % h;
            const float a = m.values[place_of(i)], b = m.values[place_of(i + h)];
            m.values[place_of(i)] = __fadd_rn(a, b);
            m.values[place_of(i + h)] = __fsub_rn(a, b);
        }
    }
    __syncthreads();
#pragma unroll
    for (u32 r = 0; r < 16; r++) x[r] = threadIdx.x + 256 * r < size ? m.values[place_of(threadIdx.x + 256 * r)] : 0.0f;
}

/// Writes gradients back: products with a scale, with their signs.
template <bool whole>
__device__ __forceinline__ void unflip(const Rotation& r, const Piece& piece, const Memory& m, float scale, const float (&x)[16]) {
    float* to = r.gradients + piece.start;
#pragma unroll
    for (u32 j = 0; j < 16; j++) {
        const u32 i = threadIdx.x + 256 * j;
        if (whole || i < piece.count) to[i] = turned(__fmul_rn(x[j], scale), m.signs[i / 32] >> i % 32);
    }
}

// ---- rotated ----

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

/// How many thresholds a magnitude exceeds, and the level there.
template <u32 levels, u32 n = 0>
__device__ __forceinline__ void choose(float size, const float* limits, u32& index, float& chosen) {
    if constexpr (n + 1 < positive<levels>) {
        const bool is_above = size > limits[n];
        index += is_above;
        chosen = is_above ? level<levels, n + 1>() : chosen;
        choose<levels, n + 1>(size, limits, index, chosen);
    }
}

template <u32 levels, u32 n = 0>
__device__ __forceinline__ void fill_limits(float deviation, float* limits) {
    if constexpr (n + 1 < positive<levels>) {
        limits[n] = __fmul_rn(threshold<levels, n>(), deviation);
        fill_limits<levels, n + 1>(deviation, limits);
    }
}

/// 2^ceil(log2(size) / 2)
__device__ __forceinline__ float scale_unit(u32 size) {
    return float(1u << ((31 - __clz(size) + 1) / 2));
}

/// The power of two that makes squares neither overflow nor vanish.
__device__ __forceinline__ float sound_factor(u32 largest) {
    constexpr u32 least = (127u - 56) << 23, most = (127u + 56) << 23;
    if (largest == 0 || (largest >= least && largest <= most) || largest >= infinity_bits) return 1;
    // Below the normal range the exponent is that of the highest bit.
    const int exponent = largest >= 0x800000 ? int(largest >> 23) - 127 : 31 - __clz(largest) - 149;
    const int power = min(max(-exponent, -120), 120);
    return __uint_as_float(u32(127 + power) << 23);
}

/// Sums of squares of what lies in shared memory, by one warp: 64 lanes as on the CPU.
__device__ __forceinline__ float sum_squares(const Memory& m, u32 size) {
    const u32 lane = threadIdx.x % 32;
    float low = 0, high = 0;
#pragma unroll 8
    for (u32 i = lane; i < size; i += 64) {
        const float x = m.values[place_of(i)];
        low = __fadd_rn(low, __fmul_rn(x, x));
        const float y = i + 32 < size ? m.values[place_of(i + 32)] : 0.0f;
        high = __fadd_rn(high, __fmul_rn(y, y));
    }
    low = __fadd_rn(low, __shfl_xor_sync(everyone, low, 16));
    high = __fadd_rn(high, __shfl_xor_sync(everyone, high, 16));
    return sum_halves(__fadd_rn(low, high));
}

template <u32 levels, bool whole>
__device__ __forceinline__ void encode_rotated(const Rotation& r, u32 index, Memory& m) {
    const Piece piece = piece_of<whole>(r, index);
    const u32 size = whole ? block_values : piece.size;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float x[16];
    const u32 largest = load<whole>(r, piece, index, m, x);
    const float factor = sound_factor(largest);
    flip<whole>(piece, m, factor, x);
    __syncthreads();
    if (whole) read_neighbours(m, x);
    if (warp == 0) {
        const float squares = sum_squares(m, size);
        if (lane == 0) m.squares = squares;
    }
    if (whole) {
        butterflies(x);
        // The squares have been read.
        __syncthreads();
        write_neighbours(m, x);
        upper_levels(m, x);
    } else {
        small_levels(m, size, x);
    }

    const float squares = m.squares;
    float limits[positive<levels>];
    fill_limits<levels>(__fsqrt_rn(squares), limits);
#pragma unroll
    for (u32 j = 0; j < 16; j++) {
        const u32 i = threadIdx.x + 256 * j;
        if (!whole && 256 * j + 32 * warp >= size) continue;
        const float magnitude = fabsf(x[j]);
        const bool is_negative = __float_as_int(x[j]) < 0;
        u32 above = 0;
        float chosen = level<levels, 0>();
        choose<levels>(magnitude, limits, above, chosen);
        m.values[place_of(i)] = __fmul_rn(magnitude, chosen);
        if constexpr (levels == 3) {
            reinterpret_cast<u8*>(m.words)[i] = u8(above ? (is_negative ? 0 : 2) : 1);
        } else {
            // Lanes p and planes + p write plane p of the two sixteens.
            const bool is_there = whole || i < size;
            u32 own = __ballot_sync(everyone, is_there && is_negative);
#pragma unroll
            for (u32 plane = 1; plane < planes<levels>; plane++) {
                const u32 digits = __ballot_sync(everyone, is_there && (above >> (planes<levels> - 1 - plane) & 1));
                if (lane % planes<levels> == plane) own = digits;
            }
            const u32 half = lane / planes<levels>;
            if (half < 2) m.words[(i - lane) / 16 * planes<levels> + lane] = u16(half ? own >> 16 : own);
        }
    }
    __syncthreads();
    if (warp == 1) {
        float sum = 0;
#pragma unroll 16
        for (u32 i = lane; i < size; i += 32) sum = __fadd_rn(sum, m.values[place_of(i)]);
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
    const Piece piece = piece_of<whole>(r, index);
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

// ---- projection ----

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
__device__ __forceinline__ void find_strata(const Rotation& r, const Piece& piece, Memory& m) {
    if (threadIdx.x != 0) return;
    m.range[0] = u32(((u64(piece.start) + 1) * r.kept - 1) / r.places);
    m.range[1] = u32(((u64(piece.start) + piece.size) * r.kept + r.places - 1) / r.places);
}

/// Calls `take(sample, place in the block, places it stands for)` for what is kept of a block.
template <class Take>
__device__ __forceinline__ void for_samples(const Rotation& r, const Piece& piece, const Memory& m, Take take) {
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
    const Piece piece = piece_of<whole>(r, index);
    float x[16];
    find_strata(r, piece, m);
    load<whole>(r, piece, index, m, x);
    flip<whole>(piece, m, piece.factor, x);
    if (whole) {
        __syncthreads();
        read_neighbours(m, x);
        butterflies(x);
        write_neighbours(m, x);
        upper_levels(m, x);
#pragma unroll
        for (u32 j = 0; j < 16; j++) m.values[place_of(threadIdx.x + 256 * j)] = x[j];
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
    const Piece piece = piece_of<whole>(r, index);
    find_strata(r, piece, m);
    draw_signs(m, index, r.seed);
#pragma unroll
    for (u32 j = 0; j < 4; j++)
        reinterpret_cast<float4*>(m.values)[j * block_threads + threadIdx.x] = make_float4(0, 0, 0, 0);
    __syncthreads();
    const float* samples = reinterpret_cast<const float*>(r.payload);
    for_samples(r, piece, m, [&](u64 sample, u32 place, u32 places) {
        m.values[place_of(place)] = __fmul_rn(samples[sample], r.weighted ? float(places) : 1.0f);
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
