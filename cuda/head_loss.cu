// Softmax cross-entropy over rows of logits, and its gradient in two bf16 parts as products take it.
//
// A block takes a token: one pass for the largest logit and the sum of exponentials, one that writes
// the gradient. Floor: 4 bytes read (the second time from the L2 cache) and 4 written for a logit. One
// block is on a multiprocessor, and what is written passes by the caches: the rows of more would not
// stay in the L2 cache. Every sum has one order.

#pragma once

#include "bitlinear.cu"

namespace loss {

constexpr int ignored = -100;
constexpr u32 everyone = 0xffffffff;

struct Loss {
    const float* logits;
    const int* targets;
    u16* first;
    u16* second;
    double* losses;
    /// [0] the sum of the losses, [1] how many tokens count.
    double* result;
    double scale;
    u32 stride;
    u32 vocab;
    u32 tokens;
    u32 reserved;
};

/// The largest of some logits, and the sum of exp(logit - largest).
struct Soft {
    float most;
    float sum;

    __device__ __forceinline__ static Soft none() { return {__uint_as_float(0xff800000), 0.0f}; }

    /// Four logits; NaN makes the sum NaN, and minus infinity adds nothing.
    __device__ __forceinline__ void add(const float4& x) {
        const float largest = fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w));
        if (largest > most) {
            sum *= __expf(most - largest);
            most = largest;
        }
        sum += (power(x.x) + power(x.y)) + (power(x.z) + power(x.w));
    }

    __device__ __forceinline__ float power(float x) const { return x == most ? 1.0f : __expf(x - most); }

    __device__ __forceinline__ void add(const Soft& other) {
        const float larger = fmaxf(most, other.most);
        // Where both are minus infinity there is nothing yet.
        const float own = most == larger ? 1.0f : expf(most - larger);
        const float others = other.most == larger ? 1.0f : expf(other.most - larger);
        sum = sum * own + other.sum * others;
        most = larger;
    }

    /// Over the block, for everybody.
    __device__ void share() {
        __shared__ Soft parts[32];
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2) {
            Soft other;
            other.most = __shfl_xor_sync(everyone, most, distance);
            other.sum = __shfl_xor_sync(everyone, sum, distance);
            add(other);
        }
        if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = *this;
        __syncthreads();
        *this = parts[0];
        for (u32 part = 1; part < blockDim.x / 32; part++) add(parts[part]);
    }
};

/// The sum over a block of 1024 threads, for the first; one tree.
__device__ double total_of(double sum) {
    __shared__ double parts[32];
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(everyone, sum, distance);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = parts[threadIdx.x % 32];
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(everyone, sum, distance);
    return sum;
}

} // namespace loss

/// How many tokens count.
extern "C" __global__ void __launch_bounds__(1024) loss_count(const __grid_constant__ loss::Loss l) {
    double count = 0;
    for (u32 token = threadIdx.x; token < l.tokens; token += 1024) count += l.targets[token] != loss::ignored;
    count = loss::total_of(count);
    if (threadIdx.x == 0) l.result[1] = count;
}

/// The sum of the losses.
extern "C" __global__ void __launch_bounds__(1024) loss_sum(const __grid_constant__ loss::Loss l) {
    double sum = 0;
    for (u32 token = threadIdx.x; token < l.tokens; token += 1024) sum += l.losses[token];
    sum = loss::total_of(sum);
    if (threadIdx.x == 0) l.result[0] = sum;
}

/// The loss of a token, and its gradient; both 0 for one that does not count.
extern "C" __global__ void __launch_bounds__(1024, 1) loss_rows(const __grid_constant__ loss::Loss l) {
    using namespace loss;
    const u32 token = blockIdx.x;
    const int target = l.targets[token];
    const float* row = l.logits + u64(token) * l.stride;
    u16* first = l.first + u64(token) * l.stride;
    u16* second = l.second + u64(token) * l.stride;
    const bool known = target >= 0 && u32(target) < l.vocab;
    if (!known) {
        if (threadIdx.x == 0) l.losses[token] = target == ignored ? 0.0 : __longlong_as_double(0x7ff8000000000000);
        if (!l.first) return;
        for (u32 at = threadIdx.x * 8; at < l.stride; at += blockDim.x * 8) {
            *reinterpret_cast<uint4*>(first + at) = make_uint4(0, 0, 0, 0);
            *reinterpret_cast<uint4*>(second + at) = make_uint4(0, 0, 0, 0);
        }
        return;
    }
    Soft soft = Soft::none();
#pragma unroll 4
    for (u32 at = threadIdx.x * 4; at < l.vocab; at += 4096) {
        float4 x = *reinterpret_cast<const float4*>(row + at);
        if (at + 4 > l.vocab) {
            const float nothing = __uint_as_float(0xff800000);
            x.w = nothing;
            if (at + 2 >= l.vocab) x.z = nothing;
            if (at + 1 >= l.vocab) x.y = nothing;
        }
        soft.add(x);
    }
    soft.share();
    if (threadIdx.x == 0) l.losses[token] = log(double(soft.sum)) + (double(soft.most) - double(row[target]));
    if (!l.first) return;
    const float factor = float(l.scale / l.result[1]);
    const float share = factor / soft.sum;
#pragma unroll 2
    for (u32 at = threadIdx.x * 8; at < l.stride; at += 8192) {
        float x[8];
        bitlinear::load_eight(row, at, l.vocab > at ? l.vocab - at : 0, x);
#pragma unroll
        for (u32 i = 0; i < 8; i++) {
            x[i] = at + i < l.vocab ? __expf(x[i] - soft.most) * share : 0.0f;
            if (at + i == u32(target)) x[i] -= factor;
        }
        uint4 high, low;
        bitlinear::cut_eight(x, high, low);
        __stcs(reinterpret_cast<uint4*>(first + at), high);
        __stcs(reinterpret_cast<uint4*>(second + at), low);
    }
}
