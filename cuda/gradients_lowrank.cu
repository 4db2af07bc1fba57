// The codec `lowrank`: products of a matrix with a few thin ones, each in the CPU's order; see
// lib/cpu/gradients_lowrank.zig. What is between them is small, and done on the host.
//
//     M   [rows][columns]        P   [rank][rows]        Q   [rank][columns]
//
// Floor: M is read once for every four ranks of M Q and once for every eight of transposed(M) P, whose
// sums over the rows have one order: eight warps bring 64 rows of 32 columns at a time into shared
// memory, where a warp adds them up for each rank. P transposed(Q) is written once.

#include "gradients.cuh"

namespace gradients {

struct Thin {
    float* m;
    float* p;
    float* q;
    u32* found;
    u32 rows;
    u32 columns;
    u32 rank;
    u32 reserved;
};

constexpr u32 ranks_right = 4;
constexpr u32 ranks_left = 8;
constexpr u32 tile_height = 64;
constexpr u32 tile_width = 32;
constexpr u32 rows_at_once = 8;

} // namespace gradients

/// P = M Q: half a warp takes a row, and four ranks of it.
extern "C" __global__ void __launch_bounds__(256) gradients_lowrank_right(const __grid_constant__ gradients::Thin t) {
    using namespace gradients;
    const u32 lane = threadIdx.x % 16;
    const u32 row = blockIdx.x * 16 + threadIdx.x / 16;
    const bool is_there = row < t.rows;
    const float* values = t.m + u64(is_there ? row : 0) * t.columns;
    u32 largest = 0;
    for (u32 first = 0; first < t.rank; first += ranks_right) {
        const u32 ranks = min(ranks_right, t.rank - first);
        const float* q = t.q + u64(first) * t.columns;
        float sums[ranks_right] = {};
#pragma unroll 8
        for (u32 j = lane; j < t.columns; j += 16) {
            const float value = values[j];
            largest = max(largest, __float_as_uint(value) & magnitude_mask);
#pragma unroll
            for (u32 k = 0; k < ranks_right; k++)
                if (k < ranks) sums[k] = __fadd_rn(sums[k], __fmul_rn(value, q[u64(k) * t.columns + j]));
        }
        __syncwarp();
#pragma unroll
        for (u32 k = 0; k < ranks_right; k++) {
            const float sum = sum_halves(sums[k]);
            if (is_there && lane == 0 && k < ranks) t.p[u64(first + k) * t.rows + row] = sum;
        }
    }
    if (is_there && largest >= infinity_bits) atomicOr(t.found, not_finite);
}

/// Q = transposed(M) P
extern "C" __global__ void __launch_bounds__(256) gradients_lowrank_left(const __grid_constant__ gradients::Thin t) {
    using namespace gradients;
    __shared__ float tile[2][tile_height][tile_width];
    __shared__ float factors[2][ranks_left][tile_height];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 column = blockIdx.x * tile_width + lane;
    const u32 first = blockIdx.y * ranks_left;
    constexpr u32 own_rows = tile_height / 8;
    constexpr u32 own_factors = ranks_left * tile_height / 256;
    float values[own_rows];
    float own[own_factors];
    const auto fetch = [&](u32 start) {
#pragma unroll
        for (u32 i = 0; i < own_rows; i++) {
            const u32 row = start + i * 8 + warp;
            values[i] = row < t.rows && column < t.columns ? t.m[u64(row) * t.columns + column] : 0.0f;
        }
#pragma unroll
        for (u32 i = 0; i < own_factors; i++) {
            const u32 place = i * 256 + threadIdx.x;
            const u32 rank = first + place / tile_height, row = start + place % tile_height;
            own[i] = rank < t.rank && row < t.rows ? t.p[u64(rank) * t.rows + row] : 0.0f;
        }
    };
    fetch(0);
    float sum = 0;
    u32 slot = 0;
    for (u32 start = 0; start < t.rows; start += tile_height, slot ^= 1) {
#pragma unroll
        for (u32 i = 0; i < own_rows; i++) tile[slot][i * 8 + warp][lane] = values[i];
#pragma unroll
        for (u32 i = 0; i < own_factors; i++) {
            const u32 place = i * 256 + threadIdx.x;
            factors[slot][place / tile_height][place % tile_height] = own[i];
        }
        // Two slots: who is ahead by one barrier writes what nobody reads any more.
        __syncthreads();
        if (start + tile_height < t.rows) fetch(start + tile_height);
        if (first + warp >= t.rank) continue;
        const u32 height = min(tile_height, t.rows - start);
#pragma unroll 16
        for (u32 i = 0; i < height; i++) sum = __fadd_rn(sum, __fmul_rn(factors[slot][warp][i], tile[slot][i][lane]));
    }
    if (first + warp < t.rank && column < t.columns) t.q[u64(first + warp) * t.columns + column] = sum;
}

/// M = P transposed(Q)
extern "C" __global__ void __launch_bounds__(256) gradients_lowrank_expand(const __grid_constant__ gradients::Thin t) {
    using namespace gradients;
    const u32 column = blockIdx.x * 256 + threadIdx.x;
    if (column >= t.columns) return;
    for (u64 start = u64(blockIdx.y) * rows_at_once; start < t.rows; start += u64(gridDim.y) * rows_at_once) {
        float sums[rows_at_once] = {};
        for (u32 k = 0; k < t.rank; k++) {
            const float q = t.q[u64(k) * t.columns + column];
            const float* p = t.p + u64(k) * t.rows + start;
#pragma unroll
            for (u32 i = 0; i < rows_at_once; i++)
                if (start + i < t.rows) sums[i] = __fadd_rn(sums[i], __fmul_rn(p[i], q));
        }
#pragma unroll
        for (u32 i = 0; i < rows_at_once; i++)
            if (start + i < t.rows) t.m[(start + i) * t.columns + column] = sums[i];
    }
}
