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
constexpr u32 rows_right = 4;
constexpr u32 ranks_left = 8;
constexpr u32 tile_height = 64;
constexpr u32 tile_width = 32;
constexpr u32 stages = 4;
constexpr u32 rows_at_once = 8;

} // namespace gradients

/// P = M Q: half a warp takes four rows, and four ranks of them.
extern "C" __global__ void __launch_bounds__(128) gradients_lowrank_right(const __grid_constant__ gradients::Thin t) {
    using namespace gradients;
    const u32 lane = threadIdx.x % 16;
    const u32 row = (blockIdx.x * 8 + threadIdx.x / 16) * rows_right;
    const float* rows[rows_right];
#pragma unroll
    for (u32 i = 0; i < rows_right; i++) rows[i] = t.m + u64(min(row + i, t.rows - 1)) * t.columns;
    u32 largest = 0;
    for (u32 first = 0; first < t.rank; first += ranks_right) {
        const float* columns[ranks_right];
#pragma unroll
        for (u32 k = 0; k < ranks_right; k++) columns[k] = t.q + u64(min(first + k, t.rank - 1)) * t.columns;
        float sums[rows_right][ranks_right] = {};
#pragma unroll 4
        for (u32 j = lane; j < t.columns; j += 16) {
            float q[ranks_right];
#pragma unroll
            for (u32 k = 0; k < ranks_right; k++) q[k] = columns[k][j];
#pragma unroll
            for (u32 i = 0; i < rows_right; i++) {
                const float value = rows[i][j];
                largest = max(largest, __float_as_uint(value) & magnitude_mask);
#pragma unroll
                for (u32 k = 0; k < ranks_right; k++) sums[i][k] = __fadd_rn(sums[i][k], __fmul_rn(value, q[k]));
            }
        }
        __syncwarp();
#pragma unroll
        for (u32 i = 0; i < rows_right; i++)
#pragma unroll
            for (u32 k = 0; k < ranks_right; k++) {
                const float sum = sum_halves(sums[i][k]);
                if (lane == 0 && row + i < t.rows && first + k < t.rank) t.p[u64(first + k) * t.rows + row + i] = sum;
            }
    }
    if (largest >= infinity_bits) atomicOr(t.found, not_finite);
}

/// Starts to copy a value to shared memory, or a zero.
__device__ __forceinline__ void copy_soon(float* to, const float* from, bool is_there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(u32(__cvta_generic_to_shared(to))), "l"(from), "r"(is_there ? 4 : 0));
}

/// Q = transposed(M) P
extern "C" __global__ void __launch_bounds__(256) gradients_lowrank_left(const __grid_constant__ gradients::Thin t) {
    using namespace gradients;
    __shared__ float tile[stages][tile_height][tile_width];
    __shared__ float factors[stages][ranks_left][tile_height];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 column = blockIdx.x * tile_width + lane;
    const u32 first = blockIdx.y * ranks_left;
    const auto fetch = [&](u32 slot, u32 start) {
#pragma unroll
        for (u32 i = warp; i < tile_height; i += 8) {
            const bool is_there = start + i < t.rows && column < t.columns;
            copy_soon(&tile[slot][i][lane], t.m + (is_there ? u64(start + i) * t.columns + column : 0), is_there);
        }
#pragma unroll
        for (u32 place = threadIdx.x; place < ranks_left * tile_height; place += 256) {
            const u32 rank = place / tile_height, i = place % tile_height;
            const bool is_there = first + rank < t.rank && start + i < t.rows;
            copy_soon(&factors[slot][rank][i], t.p + (is_there ? u64(first + rank) * t.rows + start + i : 0), is_there);
        }
    };
    // One group of copies for each stage, also where there is nothing to copy any more.
#pragma unroll
    for (u32 stage = 0; stage + 1 < stages; stage++) {
        if (stage * tile_height < t.rows) fetch(stage, stage * tile_height);
        asm volatile("cp.async.commit_group;");
    }
    float sum = 0;
    u32 slot = 0;
    for (u32 start = 0; start < t.rows; start += tile_height) {
        asm volatile("cp.async.wait_group %0;" ::"n"(stages - 2));
        __syncthreads();
        // The slot before this one has been read by everybody.
        const u64 next = u64(start) + (stages - 1) * tile_height;
        if (next < t.rows) fetch((slot + stages - 1) % stages, u32(next));
        asm volatile("cp.async.commit_group;");
        if (first + warp < t.rank) {
            const u32 height = min(tile_height, t.rows - start);
#pragma unroll 16
            for (u32 i = 0; i < height; i++) sum = __fadd_rn(sum, __fmul_rn(factors[slot][warp][i], tile[slot][i][lane]));
        }
        slot = (slot + 1) % stages;
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
