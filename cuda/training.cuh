// What the kernels of training share.

#pragma once

#include "common.cuh"

namespace training {

constexpr u32 everyone = 0xffffffff;

__device__ __forceinline__ float4 four_at(const float* address) {
    return *reinterpret_cast<const float4*>(address);
}

__device__ __forceinline__ void put_four(float* address, const float4& values) {
    *reinterpret_cast<float4*>(address) = values;
}

__device__ __forceinline__ float4 operator+(const float4& a, const float4& b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

__device__ __forceinline__ float4 operator*(const float4& a, const float4& b) {
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}

__device__ __forceinline__ float4 operator*(const float4& a, float b) {
    return make_float4(a.x * b, a.y * b, a.z * b, a.w * b);
}

__device__ __forceinline__ float dot(const float4& a, const float4& b, float sum) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

/// Calls `four(first)` or, for the last values, `one(place)`: four values for each thread.
template <class Four, class One>
__device__ __forceinline__ void for_fours(u64 count, Four four, One one) {
    const u64 first = (u64(blockIdx.x) * 256 + threadIdx.x) * 4;
    if (first + 4 <= count) four(first);
    else
        for (u64 i = first; i < count; i++) one(i);
}

} // namespace training
