// Ternary weights times several tokens of int8 activations, on tensor cores (mma.m16n8k32).
//
// Few tokens (up to 32): the weights are the traffic. A block takes TILES x 16 rows and all tokens;
// its warps cut the columns into chunks and add up in shared memory. Both operands are read from
// global memory as fragments: the weights once, the activations by every block, from the L2 cache.
//
// Many tokens: a block of 8 warps computes 128 rows x 128 tokens; chunks of 256 columns of both
// operands are copied to shared memory one ahead. Per 16 x 32 codes 7 integer instructions, which four
// tensor instructions of every warp share. Floor: 2 x rows x columns x tokens at the rate of mma.sync.

#pragma once

#include "common.cuh"

/// The fragments of step s of a word, for rows g and g + 8.
struct Codes {
    u32 a[4];

    __device__ __forceinline__ Codes(u32 low, u32 high, int step) {
        a[0] = (low >> (4 * step)) & codes_mask;
        a[1] = (high >> (4 * step)) & codes_mask;
        a[2] = (low >> (4 * step + 2)) & codes_mask;
        a[3] = (high >> (4 * step + 2)) & codes_mask;
    }
};

template <int WARPS, int TILES, int EIGHTS>
__device__ void multiply_few(const Product& p) {
    constexpr int rows = TILES * 16;
    __shared__ int totals[EIGHTS * 8][rows + 4];
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 chunks = p.columns.chunks;
    const u32 tiles = (p.rows + 15) / 16;
    for (u32 i = threadIdx.x; i < EIGHTS * 8 * rows; i += WARPS * 32) totals[i / rows][i % rows] = 0;

    const uint4* weights[TILES];
#pragma unroll
    for (int tile = 0; tile < TILES; tile++)
        weights[tile] = p.weights + u64(min(blockIdx.x * TILES + tile, tiles - 1)) * chunks * chunk_pieces + lane;
    const int4* x = static_cast<const int4*>(p.tokens) + u64(lane / 4) * chunks * 16 + lane % 4;
    int sums[TILES][EIGHTS][4] = {};
    uint4 next[TILES][2];
#pragma unroll
    for (int tile = 0; tile < TILES; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            next[tile][half] = load_stream(weights[tile] + u64(min(warp, chunks - 1)) * chunk_pieces + half * 32);
    for (u32 chunk = warp; chunk < chunks; chunk += WARPS) {
        uint4 pieces[TILES][2];
#pragma unroll
        for (int tile = 0; tile < TILES; tile++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                pieces[tile][half] = next[tile][half];
                next[tile][half] = load_stream(weights[tile] + u64(min(chunk + WARPS, chunks - 1)) * chunk_pieces + half * 32);
            }
#pragma unroll
        for (int w = 0; w < 4; w++) {
            int4 b[EIGHTS];
#pragma unroll
            for (int e = 0; e < EIGHTS; e++) b[e] = __ldg(x + u64(e) * 8 * chunks * 16 + chunk * 16 + w * 4);
#pragma unroll
            for (int tile = 0; tile < TILES; tile++)
#pragma unroll
                for (int step = 0; step < 2; step++) {
                    const Codes c(word_of(pieces[tile][0], w), word_of(pieces[tile][1], w), step);
#pragma unroll
                    for (int e = 0; e < EIGHTS; e++)
                        multiply_tile(sums[tile][e], c.a[0], c.a[1], c.a[2], c.a[3], step ? b[e].z : b[e].x, step ? b[e].w : b[e].y);
                }
        }
    }
    __syncthreads();
#pragma unroll
    for (int tile = 0; tile < TILES; tile++)
#pragma unroll
        for (int e = 0; e < EIGHTS; e++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                atomicAdd(&totals[e * 8 + lane % 4 * 2 + i % 2][tile * 16 + i / 2 * 8 + lane / 4], sums[tile][e][i]);
    __syncthreads();
    for (u32 i = threadIdx.x; i < EIGHTS * 8 * rows; i += WARPS * 32) {
        const u32 token = i / rows;
        const u32 row = blockIdx.x * rows + i % rows;
        if (token < p.count && row < p.rows) store_exact(p, row, token, totals[token][i % rows] - p.token_sums[token]);
    }
}

#define MULTIPLY_FEW(WARPS, TILES, EIGHTS)                                              \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                            \
        multiply_few_##WARPS##_##TILES##_##EIGHTS(const __grid_constant__ Product p) { \
        multiply_few<WARPS, TILES, EIGHTS>(p);                                          \
    }
MULTIPLY_FEW(8, 2, 1)
MULTIPLY_FEW(8, 2, 2)
MULTIPLY_FEW(8, 2, 4)

constexpr int many_tiles = 8;
constexpr int many_tokens = 128;
constexpr int many_weights_bytes = many_tiles * 1024;
constexpr int many_tokens_bytes = many_tokens * chunk_columns;
constexpr int many_stage_bytes = many_weights_bytes + many_tokens_bytes;

/// Copies a chunk of both operands. The 16-byte pieces of odd tokens are swapped with those 64 bytes
/// away, so that the eight lanes of a phase, two tokens, meet all banks.
__device__ __forceinline__ void stage_chunk(const Product& p, u8* stage, u32 chunk, u32 tiles, u32 padded_count) {
    const u32 chunks = p.columns.chunks;
#pragma unroll
    for (int i = 0; i < many_weights_bytes / 16 / 256; i++) {
        const u32 piece = threadIdx.x + i * 256;
        const u32 tile = blockIdx.x * many_tiles + piece / chunk_pieces;
        const uint4* source = p.weights + (u64(min(tile, tiles - 1)) * chunks + chunk) * chunk_pieces + piece % chunk_pieces;
        copy_async(stage + piece * 16, source, true);
    }
#pragma unroll
    for (int i = 0; i < many_tokens_bytes / 16 / 256; i++) {
        const u32 piece = threadIdx.x + i * 256;
        const u32 within = piece / 16;
        const u32 token = blockIdx.y * many_tokens + within;
        const u32 swapped = piece % 16 ^ (within & 1) << 2;
        const bool there = token < padded_count;
        const int4* source = static_cast<const int4*>(p.tokens) + (u64(there ? token : 0) * chunks + chunk) * 16 + piece % 16;
        copy_async(stage + many_weights_bytes + within * chunk_columns + swapped * 16, source, there);
    }
    asm volatile("cp.async.commit_group;");
}

extern "C" __global__ void __launch_bounds__(256, 1) multiply_many(const __grid_constant__ Product p) {
    extern __shared__ __align__(128) u8 stages[];
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 first_tile = warp / 4 * 4;
    const u32 first_token = warp % 4 * 32;
    const u32 chunks = p.columns.chunks;
    const u32 tiles = (p.rows + 15) / 16;
    const u32 padded_count = (p.count + 7) / 8 * 8;
    int sums[4][4][4] = {};
    stage_chunk(p, stages, 0, tiles, padded_count);
    for (u32 chunk = 0; chunk < chunks; chunk++) {
        if (chunk + 1 < chunks) {
            stage_chunk(p, stages + (chunk + 1) % 2 * many_stage_bytes, chunk + 1, tiles, padded_count);
            asm volatile("cp.async.wait_group 1;");
        } else {
            asm volatile("cp.async.wait_group 0;");
        }
        __syncthreads();
        const u8* stage = stages + chunk % 2 * many_stage_bytes;
        uint4 pieces[4][2];
#pragma unroll
        for (int tile = 0; tile < 4; tile++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                pieces[tile][half] = *reinterpret_cast<const uint4*>(stage + ((first_tile + tile) * 64 + half * 32 + lane) * 16);
#pragma unroll
        for (int w = 0; w < 4; w++) {
            int4 b[4];
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const u32 token = first_token + e * 8 + lane / 4;
                const u32 piece = (w * 4 + lane % 4) ^ (token & 1) << 2;
                b[e] = *reinterpret_cast<const int4*>(stage + many_weights_bytes + token * chunk_columns + piece * 16);
            }
#pragma unroll
            for (int step = 0; step < 2; step++)
#pragma unroll
                for (int tile = 0; tile < 4; tile++) {
                    const Codes c(word_of(pieces[tile][0], w), word_of(pieces[tile][1], w), step);
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        multiply_tile(sums[tile][e], c.a[0], c.a[1], c.a[2], c.a[3], step ? b[e].z : b[e].x, step ? b[e].w : b[e].y);
                }
        }
        __syncthreads();
    }
#pragma unroll
    for (int e = 0; e < 4; e++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const u32 token = blockIdx.y * many_tokens + first_token + e * 8 + lane % 4 * 2 + i;
            if (token >= p.count) continue;
            const int sum = p.token_sums[token];
#pragma unroll
            for (int tile = 0; tile < 4; tile++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const u32 row = (blockIdx.x * many_tiles + first_tile + tile) * 16 + half * 8 + lane / 4;
                    if (row < p.rows) store_exact(p, row, token, sums[tile][e][half * 2 + i] - sum);
                }
        }
}
