// Rows and columns of an inference engine, in f32: softmax along any axis, layer norm, and adding a row
// to every row.
//
//     softmax      y = exp(x - max) / sum exp(x - max)
//     layer norm   y = (x - mean) / sqrt(mean((x - mean)^2) + e) w + b
//
// A warp or a block has a row; what it reads again comes from its caches. Along another axis than the
// last a block has 32 columns. Floor: every value read and written once.

#include "common.cuh"

namespace engine {

struct Rows {
    const float* input;
    const float* weight;
    /// May be null.
    const float* bias;
    float* out;
    u64 rows;
    u32 size;
    /// Places from one element of a softmax to its next.
    u32 stride;
    float epsilon;
    u32 reserved;
};

constexpr u32 everyone = 0xffffffff;

/// A value over the lanes of a warp, or over the block, for everybody. `parts` may be used again after
/// one further barrier.
template <bool BLOCK, class Join>
__device__ __forceinline__ float joined(float value, float none, float* parts, Join join) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) value = join(value, __shfl_xor_sync(everyone, value, lanes));
    if (!BLOCK) return value;
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = threadIdx.x % 32 < blockDim.x / 32 ? parts[threadIdx.x % 32] : none;
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) value = join(value, __shfl_xor_sync(everyone, value, lanes));
    return value;
}

struct Add {
    __device__ float operator()(float a, float b) const { return a + b; }
};

/// NaN stays.
struct Larger {
    __device__ float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};

/// Calls `four(place, value)` for the row's values that this thread has, four at a time where they lie so.
template <class Each>
__device__ __forceinline__ void for_row(const float* row, u32 size, u32 thread, u32 threads, Each each) {
    if (size % 4 == 0 && (reinterpret_cast<u64>(row) & 15) == 0) {
        for (u32 i = thread * 4; i < size; i += threads * 4) {
            const float4 x = *reinterpret_cast<const float4*>(row + i);
            each(i, x.x), each(i + 1, x.y), each(i + 2, x.z), each(i + 3, x.w);
        }
    } else {
        for (u32 i = thread; i < size; i += threads) each(i, row[i]);
    }
}

/// Writes `value(place, x)` for the row's values, as they were read.
template <class Value>
__device__ __forceinline__ void map_row(const float* row, float* out, u32 size, u32 thread, u32 threads, Value value) {
    if (size % 4 == 0 && ((reinterpret_cast<u64>(row) | reinterpret_cast<u64>(out)) & 15) == 0) {
        for (u32 i = thread * 4; i < size; i += threads * 4) {
            const float4 x = *reinterpret_cast<const float4*>(row + i);
            *reinterpret_cast<float4*>(out + i) = make_float4(value(i, x.x), value(i + 1, x.y), value(i + 2, x.z), value(i + 3, x.w));
        }
    } else {
        for (u32 i = thread; i < size; i += threads) out[i] = value(i, row[i]);
    }
}

template <bool BLOCK>
__device__ __forceinline__ void softmax(const Rows& r) {
    __shared__ float most_parts[32], sum_parts[32];
    const u64 row = BLOCK ? blockIdx.x : u64(blockIdx.x) * 8 + threadIdx.x / 32;
    if (row >= r.rows) return;
    const u32 thread = BLOCK ? threadIdx.x : threadIdx.x % 32;
    const u32 threads = BLOCK ? blockDim.x : 32;
    const float* input = r.input + row * r.size;
    float most = -INFINITY;
    for_row(input, r.size, thread, threads, [&](u32, float x) { most = Larger()(most, x); });
    most = joined<BLOCK>(most, -INFINITY, most_parts, Larger());
    float sum = 0.0f;
    for_row(input, r.size, thread, threads, [&](u32, float x) { sum += expf(x - most); });
    sum = joined<BLOCK>(sum, 0.0f, sum_parts, Add());
    map_row(input, r.out + row * r.size, r.size, thread, threads, [&](u32, float x) { return __fdiv_rn(expf(x - most), sum); });
}

template <bool BLOCK>
__device__ __forceinline__ void layer_norm(const Rows& r) {
    __shared__ float mean_parts[32], variance_parts[32];
    const u64 row = BLOCK ? blockIdx.x : u64(blockIdx.x) * 8 + threadIdx.x / 32;
    if (row >= r.rows) return;
    const u32 thread = BLOCK ? threadIdx.x : threadIdx.x % 32;
    const u32 threads = BLOCK ? blockDim.x : 32;
    const float* input = r.input + row * r.size;
    float sum = 0.0f;
    for_row(input, r.size, thread, threads, [&](u32, float x) { sum += x; });
    const float mean = __fdiv_rn(joined<BLOCK>(sum, 0.0f, mean_parts, Add()), float(r.size));
    float squares = 0.0f;
    for_row(input, r.size, thread, threads, [&](u32, float x) { squares = fmaf(x - mean, x - mean, squares); });
    const float variance = __fdiv_rn(joined<BLOCK>(squares, 0.0f, variance_parts, Add()), float(r.size));
    const float inverse = __fdiv_rn(1.0f, __fsqrt_rn(variance + r.epsilon));
    map_row(input, r.out + row * r.size, r.size, thread, threads, [&](u32 i, float x) {
        return fmaf((x - mean) * inverse, r.weight[i], r.bias ? r.bias[i] : 0.0f);
    });
}

}  // namespace engine

extern "C" __global__ void __launch_bounds__(256) engine_softmax_warp(const __grid_constant__ engine::Rows r) { engine::softmax<false>(r); }
extern "C" __global__ void __launch_bounds__(512) engine_softmax_block(const __grid_constant__ engine::Rows r) { engine::softmax<true>(r); }
extern "C" __global__ void __launch_bounds__(256) engine_norm_warp(const __grid_constant__ engine::Rows r) { engine::layer_norm<false>(r); }
extern "C" __global__ void __launch_bounds__(512) engine_norm_block(const __grid_constant__ engine::Rows r) { engine::layer_norm<true>(r); }

/// A block has 32 neighbouring columns, of which each warp takes some of the elements.
extern "C" __global__ void __launch_bounds__(1024) engine_softmax_columns(const __grid_constant__ engine::Rows r) {
    using namespace engine;
    __shared__ float parts[32][33];
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const u32 strips = (r.stride + 31) / 32;
    const u32 column = blockIdx.x % strips * 32 + lane;
    const bool there = column < r.stride;
    const u64 start = u64(blockIdx.x / strips) * r.stride * r.size + (there ? column : 0);
    const float* input = r.input + start;
    // What all warps found for this lane's column.
    const auto over_warps = [&](float value, float none, auto join) {
        __syncthreads();
        parts[warp][lane] = value;
        __syncthreads();
        value = none;
        for (u32 i = 0; i < warps; i++) value = join(value, parts[i][lane]);
        return value;
    };
    float most = -INFINITY, sum = 0.0f;
#pragma unroll 4
    for (u32 i = warp; i < r.size; i += warps) most = Larger()(most, input[u64(i) * r.stride]);
    most = over_warps(most, -INFINITY, Larger());
#pragma unroll 4
    for (u32 i = warp; i < r.size; i += warps) sum += expf(input[u64(i) * r.stride] - most);
    sum = over_warps(sum, 0.0f, Add());
    if (!there) return;
    float* out = r.out + start;
#pragma unroll 4
    for (u32 i = warp; i < r.size; i += warps) out[u64(i) * r.stride] = __fdiv_rn(expf(input[u64(i) * r.stride] - most), sum);
}

/// out[row] = input[row] + bias, which may be in place.
extern "C" __global__ void __launch_bounds__(256) engine_add_row(const __grid_constant__ engine::Rows r) {
    const u64 i = u64(blockIdx.x) * 256 + threadIdx.x;
    if (i < r.rows * r.size) r.out[i] = r.input[i] + r.bias[i % r.size];
}
