// Random signs and a Hadamard transform of up to 4096 gradients: what `rotated`, `projection` and `vsa`
// have in common.
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
// Floor: 12 additions, and some 5 accesses to shared memory, for each gradient.

#pragma once

#include "gradients.cuh"

namespace gradients {

constexpr u32 block_values = 4096;
constexpr u32 block_threads = 256;

/// A block that is smaller, or has fewer gradients than places.
struct Stretch {
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
    /// Values of all blocks (gradients of all members of a bundle), how many of them a projection keeps (or a
    /// member has), and the quotient of the two: whole, rest
    /// and what a product with the rest is multiplied by to be divided.
    u64 places;
    u64 kept;
    u64 whole;
    u64 rest;
    double inverse;
    /// Blocks of 4096 gradients, and what those are multiplied by.
    u32 full;
    float factor;
    /// All blocks; and whether samples stand for the places around them, or how many members a bundle has.
    u32 blocks;
    u32 option;
    Stretch pieces[13];
};

/// The place of value i in shared memory.
__device__ __forceinline__ u32 place_of(u32 i) {
    const u32 piece = i >> 2;
    return (piece ^ (piece >> 3 & 7) ^ (piece >> 6 & 1) << 2) << 2 | (i & 3);
}

struct __align__(16) Memory {
    float values[block_values];
    u32 signs[block_values / 32];
    /// Signs of the key that a member of a bundle is bound with.
    u32 keys[block_values / 32];
    /// Codes of a block, or a byte for each value at three levels.
    __align__(16) u16 words[block_values / 2];
    float levels[8];
    u32 largest[8];
    u32 range[2];
    float squares[32];
};

/// The block that these threads take.
template <bool whole>
__device__ __forceinline__ Stretch piece_of(const Rotation& r, u32 index) {
    if (whole) return {index * block_values, block_values, block_values, 0, r.factor};
    return r.pieces[index - r.full];
}

/// Words of signs of a block, 128 bits a lane of the last warp.
__device__ __forceinline__ void draw_signs(Memory& m, u32 index, u64 seed) {
    const u32 lane = threadIdx.x % 32;
    if (threadIdx.x >= block_threads - 32)
        reinterpret_cast<uint4*>(m.signs)[lane] = philox(lane, index, 5, seed);
}

/// Those of a key, by the warp before.
__device__ __forceinline__ void draw_keys(Memory& m, u32 index, u64 seed) {
    const u32 lane = threadIdx.x % 32;
    if (threadIdx.x / 32 == block_threads / 32 - 2)
        reinterpret_cast<uint4*>(m.keys)[lane] = philox(lane, index, 1, seed);
}

__device__ __forceinline__ float turned(float value, u32 sign) {
    return __uint_as_float(__float_as_uint(value) ^ (sign << 31));
}

/// Reads gradients 1024 j + 4 t + e of a block as x[4 j + e]; returns the bits of the block's largest
/// magnitude, for everybody. The signs are drawn, too. `wide` where all are there, at a multiple of four.
__device__ __forceinline__ u32 load(const Rotation& r, const Stretch& piece, u32 index, Memory& m, float (&x)[16], bool wide) {
    const float* from = r.gradients + piece.start;
#pragma unroll
    for (u32 j = 0; j < 4; j++) {
        const u32 i = j * 1024 + threadIdx.x * 4;
        if (wide) {
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

/// The warp that does what only one can, another one in every block: warps of one number share a
/// scheduler.
__device__ __forceinline__ bool is_turn_of(u32 task) { return threadIdx.x / 32 == (blockIdx.x + task) % (block_threads / 32); }

/// Puts the products with a factor into shared memory, with their signs; zeros that fill up a sixteen get
/// signs, too, as on the CPU.
template <bool whole>
__device__ __forceinline__ void flip(const Stretch& piece, Memory& m, float factor, float (&x)[16]) {
    const u32 signed_count = (piece.count + 15) / 16 * 16;
    if (factor != 1) {
#pragma unroll
        for (u32 i = 0; i < 16; i++) x[i] = __fmul_rn(x[i], factor);
    }
#pragma unroll
    for (u32 j = 0; j < 4; j++) {
        const u32 i = j * 1024 + threadIdx.x * 4;
        const u32 bits = m.signs[i / 32] >> i % 32;
#pragma unroll
        for (u32 e = 0; e < 4; e++)
            x[4 * j + e] = whole || i + e < signed_count ? turned(x[4 * j + e], bits >> e) : 0.0f;
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

/// place_of(t % 16 + 16 r + 256 (t / 16)) for a known r: one exclusive or.
struct MiddlePlaces {
    u32 own;
    u32 start;

    __device__ MiddlePlaces() {
        const u32 low = threadIdx.x % 16, high = threadIdx.x / 16;
        own = (low / 4 ^ (high & 1) << 2) << 2;
        start = high * 256 + low % 4;
    }

    __device__ __forceinline__ u32 at(u32 r) const {
        return (own ^ ((r & 1) << 2 ^ r >> 1) << 2) + (start + (r >> 1) * 32);
    }
};

/// place_of(t + 256 r) for a known r.
struct UpperPlaces {
    u32 even;
    u32 odd;

    __device__ UpperPlaces() {
        even = place_of(threadIdx.x);
        odd = even ^ 16;
    }

    __device__ __forceinline__ u32 at(u32 r) const { return (r & 1 ? odd : even) + 256 * r; }
};

/// The last eight levels; thread t ends with values t + 256 r.
__device__ __forceinline__ void upper_levels(Memory& m, float (&x)[16]) {
    const MiddlePlaces middle;
    const UpperPlaces upper;
    __syncthreads();
#pragma unroll
    for (u32 r = 0; r < 16; r++) x[r] = m.values[middle.at(r)];
    butterflies(x);
#pragma unroll
    for (u32 r = 0; r < 16; r++) m.values[middle.at(r)] = x[r];
    __syncthreads();
#pragma unroll
    for (u32 r = 0; r < 16; r++) x[r] = m.values[upper.at(r)];
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
__device__ __forceinline__ void unflip(const Rotation& r, const Stretch& piece, const Memory& m, float scale, const float (&x)[16]) {
    float* to = r.gradients + piece.start;
#pragma unroll
    for (u32 j = 0; j < 16; j++) {
        const u32 i = threadIdx.x + 256 * j;
        if (whole || i < piece.count) to[i] = turned(__fmul_rn(x[j], scale), m.signs[i / 32] >> i % 32);
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

/// Calls `take(value)` for values lane + 32 (first + step i) of a block of 4096 in shared memory, in order.
template <u32 first, u32 step, class Take>
__device__ __forceinline__ void for_rows(const Memory& m, Take take) {
    const u32 lane = threadIdx.x % 32;
    // place_of(lane + 32 row) is this, with the piece's number changed by the row.
#pragma unroll
    for (u32 row = first; row < block_values / 32; row += step) {
        const u32 changed = (lane ^ ((row & 7) ^ (row >> 3 & 1) << 2) << 2) + 32 * row;
        take(m.values[changed]);
    }
}

/// Squares of a block in shared memory, added up in 64 lanes as on the CPU, the even or the odd half of
/// them: the 16 sums of this half are m.squares[16 half ..] after a barrier.
template <u32 half>
__device__ __forceinline__ void sum_squares_of(Memory& m, u32 size) {
    const u32 lane = threadIdx.x % 32;
    float sum = 0;
    const auto take = [&](float x) { sum = __fadd_rn(sum, __fmul_rn(x, x)); };
    if (size == block_values) for_rows<half, 2>(m, take);
    else
        for (u32 i = lane + 32 * half; i < size; i += 64) take(m.values[place_of(i)]);
    sum = __fadd_rn(sum, __shfl_xor_sync(everyone, sum, 16));
    if (lane < 16) m.squares[16 * half + lane] = sum;
}

__device__ __forceinline__ void sum_squares(Memory& m, u32 size) {
    if (is_turn_of(0)) sum_squares_of<0>(m, size);
    if (is_turn_of(1)) sum_squares_of<1>(m, size);
}

/// Their sum, for everybody.
__device__ __forceinline__ float squares_of(const Memory& m) {
    const u32 lane = threadIdx.x % 16;
    return sum_halves(__fadd_rn(m.squares[lane], m.squares[16 + lane]));
}

} // namespace gradients
