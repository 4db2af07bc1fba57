// What the kernels of hypervectors share: their layout, bits in words, and random numbers.
//
// Vectors lie as on the CPU (lib/cpu/vsa_table.zig): a plane of the trits that are not zero, then one
// of those that are negative, each in whole blocks of 512 bits, padded with zeros. A piece is 16 bytes
// of a plane, 128 trits; a plane of `pieces` pieces follows another, a vector the one before.

#pragma once

#include "common.cuh"

constexpr u32 all_lanes = 0xffffffff;

/// W 32-bit words of a plane, which are read and written at once.
template <int W>
struct alignas(4 * W) Words {
    u32 word[W];
};

using Piece = Words<4>;

/// The same bits of both planes.
template <class Word>
struct Trits {
    Word nonzero;
    Word negative;
};

/// Ones for the bits of a 32-bit word that are not padding.
__device__ __forceinline__ u32 kept_bits(u32 word, u32 dim) {
    const u32 first = word * 32;
    if (first >= dim) return 0;
    return dim - first >= 32 ? 0xffffffff : (1u << (dim - first)) - 1;
}

__device__ __forceinline__ u32 majority(u32 a, u32 b, u32 c) {
    return (a & b) | (c & (a | b));
}

/// What a random word is for, the last word of the counter; see lib/cpu/vsa_random.zig.
constexpr u32 domain_vectors = 1;
constexpr u32 domain_ties = 2;

/// Philox4x32-10.
__device__ __forceinline__ uint4 philox(u32 block, u64 row, u32 domain, u64 seed) {
    uint4 counter = make_uint4(block, u32(row), u32(row >> 32), domain);
    u32 low = u32(seed);
    u32 high = u32(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const u64 a = u64(counter.x) * 0xd2511f53u;
        const u64 b = u64(counter.z) * 0xcd9e8d57u;
        counter = make_uint4(u32(b >> 32) ^ counter.y ^ low, u32(b), u32(a >> 32) ^ counter.w ^ high, u32(a));
        low += 0x9e3779b9u;
        high += 0xbb67ae85u;
    }
    return counter;
}

/// A row and a place in it of a flat index, with 32-bit division where that is enough.
struct Place {
    u64 row;
    u32 at;

    __device__ __forceinline__ static Place of(u64 index, u32 length) {
        if (index >> 32 == 0) {
            const u32 row = u32(index) / length;
            return {row, u32(index) - row * length};
        }
        const u64 row = index / length;
        return {row, u32(index - row * length)};
    }
};

__device__ __forceinline__ u64 thread_index() {
    return u64(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ u64 thread_count() {
    return u64(gridDim.x) * blockDim.x;
}

/// Binding in balanced digits; see lib/cpu/vsa_bind.zig.
enum BindOperation : u32 { bind_add, bind_subtract, bind_multiply };

__device__ __forceinline__ Trits<u32> bind_words(u32 operation, Trits<u32> a, Trits<u32> b) {
    const u32 both = a.nonzero & b.nonzero;
    if (operation == bind_multiply) return {both, both & (a.negative ^ b.negative)};
    const u32 f = a.nonzero ^ a.negative ^ b.negative;
    const u32 different = a.nonzero ^ b.nonzero;
    if (operation == bind_add) return {different | (f & both), (a.negative ^ b.nonzero) & (a.nonzero ^ b.negative)};
    return {different | (both & ~f), (a.negative ^ b.nonzero) & ~f};
}

template <int W>
__device__ __forceinline__ Trits<Words<W>> bind_words(u32 operation, const Trits<Words<W>>& a, const Trits<Words<W>>& b) {
    Trits<Words<W>> out;
#pragma unroll
    for (int i = 0; i < W; i++) {
        const Trits<u32> word = bind_words(operation, Trits<u32>{a.nonzero.word[i], a.negative.word[i]}, Trits<u32>{b.nonzero.word[i], b.negative.word[i]});
        out.nonzero.word[i] = word.nonzero;
        out.negative.word[i] = word.negative;
    }
    return out;
}

/// Both planes' words at a place; `plane` words of W lie between them.
template <int W>
__device__ __forceinline__ Trits<Words<W>> load_trits(const Words<W>* at, u64 plane) {
    return {at[0], at[plane]};
}

template <int W>
__device__ __forceinline__ void store_trits(Words<W>* at, u64 plane, const Trits<Words<W>>& trits) {
    at[0] = trits.nonzero;
    at[plane] = trits.negative;
}
