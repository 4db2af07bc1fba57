// Activations to int8, one token at a time, as lib/cpu/activations.zig does to the last bit:
//
//     scale = absmax / 127 (1 for a token of zeros), q = round(x * (127 / absmax)), ties to even
//
// A block takes a token: one pass for the largest magnitude, one (from the L2 cache) that rounds,
// sums every group and writes the padded row. Floor: 4 bytes read and 1 written per value. A token
// that holds NaN or an infinity gets a scale of NaN, which makes all its outputs NaN; nobody waits
// for the device to raise an error.

#pragma once

#include "common.cuh"

struct Tokens {
    const float* input;
    /// [token][padded column] of i8, or of float for padding only.
    void* padded;
    int* sums;
    float* scales;
    Columns columns;
    u32 count;
    /// Tokens with the zeros that fill the last tile.
    u32 padded_count;
    /// Not zero: in slabs (`slab_place`), for wgmma. Zero: rows of padded columns.
    u32 slabs;
    u32 reserved;

    __device__ u32* word_at(u32 token, u32 place) const {
        const u64 offset = slabs ? slab_place(token, place, padded_count) : u64(token) * columns.padded() + place;
        return reinterpret_cast<u32*>(static_cast<u8*>(padded) + offset);
    }
};

/// The largest of a value over the block, for everybody.
__device__ u32 block_largest(u32 value) {
    __shared__ u32 parts[32];
    value = __reduce_max_sync(0xffffffff, value);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    const u32 warps = blockDim.x / 32;
    return __reduce_max_sync(0xffffffff, threadIdx.x % 32 < warps ? parts[threadIdx.x % 32] : 0);
}

/// The bits of the largest magnitude.
__device__ __forceinline__ u32 largest_of(const float4& x) {
    return max(max(__float_as_uint(x.x) & 0x7fffffff, __float_as_uint(x.y) & 0x7fffffff),
               max(__float_as_uint(x.z) & 0x7fffffff, __float_as_uint(x.w) & 0x7fffffff));
}

/// What a token is multiplied by, from the bits of its largest magnitude.
struct TokenScale {
    bool finite;
    float factor;
    float inverse;
    float scale;

    __device__ explicit TokenScale(u32 largest) {
        finite = largest < 0x7f800000;
        const float most = finite ? __uint_as_float(largest) : 0.0f;
        const float absmax = __fdiv_rn(most, 127.0f) == 0.0f ? 0.0f : most;
        factor = absmax < 0x1p-96f ? 0x1p+96f : 1.0f;
        inverse = absmax == 0.0f ? 0.0f : __fdiv_rn(127.0f, __fmul_rn(absmax, factor));
        scale = !finite ? __uint_as_float(0x7fc00000) : absmax == 0.0f ? 1.0f : __fdiv_rn(absmax, 127.0f);
    }

    __device__ int round(float x) const { return finite ? __float2int_rn(__fmul_rn(__fmul_rn(x, factor), inverse)) : 0; }

    /// Four int8 in a word, and their sum.
    __device__ u32 quantize(const float4& x, int& sum) const {
        const int q[4] = {round(x.x), round(x.y), round(x.z), round(x.w)};
        sum = q[0] + q[1] + q[2] + q[3];
        return (q[0] & 255) | (q[1] & 255) << 8 | (q[2] & 255) << 16 | u32(q[3]) << 24;
    }
};

/// Four values of a token at padded place `place`, zero where there is padding.
__device__ __forceinline__ float4 load_padded(const float* row, const Columns& columns, u32 place, bool wide) {
    if (wide) return *reinterpret_cast<const float4*>(row + place);
    float values[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const u32 column = columns.column_at(place + i);
        values[i] = column < columns.columns ? row[column] : 0.0f;
    }
    return make_float4(values[0], values[1], values[2], values[3]);
}

extern "C" __global__ void __launch_bounds__(1024) quantize_tokens(const __grid_constant__ Tokens t) {
    const u32 token = blockIdx.x;
    const u32 padded = t.columns.padded();
    launch_next();
    wait_for_previous();
    if (token >= t.count) {
        for (u32 place = threadIdx.x * 4; place < padded; place += blockDim.x * 4)
            *t.word_at(token, place) = 0;
        return;
    }
    const float* row = t.input + u64(token) * t.columns.columns;
    const bool wide = t.columns.dense() && (reinterpret_cast<u64>(row) & 15) == 0;

    u32 largest = 0;
    for (u32 place = threadIdx.x * 4; place < padded; place += blockDim.x * 4) {
        const float4 x = load_padded(row, t.columns, place, wide);
        largest = max(largest, largest_of(x));
    }
    const TokenScale scale(block_largest(largest));
    int* sums = t.sums + u64(token) * t.columns.groups;
    if (threadIdx.x == 0)
        t.scales[token] = scale.scale;

    __shared__ int total;
    if (threadIdx.x == 0) total = 0;
    if (t.columns.groups > 1)
        for (u32 group = threadIdx.x; group < t.columns.groups; group += blockDim.x) sums[group] = 0;
    __syncthreads();
    int own = 0;
    for (u32 place = threadIdx.x * 4; place < padded; place += blockDim.x * 4) {
        const float4 x = load_padded(row, t.columns, place, wide);
        int sum;
        *t.word_at(token, place) = scale.quantize(x, sum);
        const u32 group = place / (t.columns.group_blocks * block_columns);
        if (t.columns.groups == 1) own += sum;
        else if (group < t.columns.groups && sum != 0) atomicAdd(sums + group, sum);
    }
    if (t.columns.groups > 1) return;
    own = __reduce_add_sync(0xffffffff, own);
    if (threadIdx.x % 32 == 0) atomicAdd(&total, own);
    __syncthreads();
    if (threadIdx.x == 0) sums[0] = total;
}

/// Rows of floats with the zeros that groups and chunks are padded with.
extern "C" __global__ void __launch_bounds__(256) pad_tokens(const __grid_constant__ Tokens t) {
    const u32 padded = t.columns.padded();
    const u32 token = blockIdx.y;
    const u32 place = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (place >= padded) return;
    const float4 x = load_padded(t.input + u64(token) * t.columns.columns, t.columns, place, false);
    *reinterpret_cast<float4*>(static_cast<float*>(t.padded) + u64(token) * padded + place) = x;
}
