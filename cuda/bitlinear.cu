// A linear layer in training: what stands around its products, which cuBLAS computes in bf16.
//
//     forward     y = (q s) (t w)^T + b      q int8 and s per token, t trits and w of the whole matrix
//     backward    dx = (g w) t,  dW += (g s)^T q
//
// Trits and int8 are bf16 without loss, and sums of their products below 2^24 are exact in f32. A
// gradient is the sum of two bf16 (16 bits of its 24, an error below 2^-17 of each), and its product is
// that of both: for dx side by side along the inner dimension, over the trits twice, one on top of the
// other. The arithmetic of the rest is that of lib/cpu/bitlinear.zig, each operation rounded by itself.
//
// A token or a weight that is not finite makes a scale of NaN, and so a result of NaN; nobody waits for
// the device to raise an error. Floor: what is read and written once.

#include "floats.cuh"

namespace bitlinear {

struct Pass {
    const void* source;
    /// Scales of tokens.
    const float* scales;
    /// The mean magnitude of the weights.
    float* mean;
    const float* bias;
    void* target;
    void* second;
    u64 count;
    u32 columns;
    /// Blocks of sums of magnitudes.
    u32 parts;
};

/// The least mean magnitude of weights and the least largest magnitude of a token.
constexpr float least = 1e-5f;
/// Weights whose magnitudes a block of 256 threads adds up.
constexpr u32 sum_values = 16384;

__device__ __forceinline__ u16 upper_half(float x) { return u16(__float_as_uint(x) >> 16); }

/// The sum of 256 threads' values, for everybody, in one order.
__device__ __forceinline__ double sum_of_block(double value) {
    __shared__ double parts[8];
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffff, value, lanes);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    double sum = 0;
#pragma unroll
    for (int warp = 0; warp < 8; warp++) sum += parts[warp];
    __syncthreads();
    return sum;
}

/// x as the sum of two bf16, and what is left out.
__device__ __forceinline__ void split(float x, u16& first, u16& second) {
    first = u16(floats::narrow_bf16(x));
    second = u16(floats::narrow_bf16(__fsub_rn(x, widen_brain(first))));
}

__device__ __forceinline__ void store_four(u16* target, const u16 (&v)[4]) {
    *reinterpret_cast<uint2*>(target) = make_uint2(v[0] | u32(v[1]) << 16, v[2] | u32(v[3]) << 16);
}

} // namespace bitlinear

/// One token a block: target is int8, second the scales.
extern "C" __global__ void __launch_bounds__(256) bitlinear_tokens(const __grid_constant__ bitlinear::Pass p) {
    const u64 start = u64(blockIdx.x) * p.columns;
    const float* row = static_cast<const float*>(p.source) + start;
    i8* target = static_cast<i8*>(p.target) + start;
    const bool wide = p.columns % 4 == 0;
    u32 largest = 0;
    if (wide)
        for (u32 i = threadIdx.x * 4; i < p.columns; i += 1024) largest = max(largest, largest_of(*reinterpret_cast<const float4*>(row + i)));
    else
        for (u32 i = threadIdx.x; i < p.columns; i += 256) largest = max(largest, __float_as_uint(row[i]) & 0x7fffffff);
    largest = block_largest(largest);
    const bool finite = largest < 0x7f800000;
    const float absmax = finite ? fmaxf(__uint_as_float(largest), bitlinear::least) : 1.0f;
    const float inverse = finite ? __fdiv_rn(127.0f, absmax) : 0.0f;
    const auto round = [&](float x) { return finite ? __float2int_rn(__fmul_rn(x, inverse)) : 0; };
    if (threadIdx.x == 0)
        static_cast<float*>(p.second)[blockIdx.x] = finite ? __fdiv_rn(absmax, 127.0f) : __uint_as_float(0x7fc00000);
    if (wide)
        for (u32 i = threadIdx.x * 4; i < p.columns; i += 1024) {
            const float4 x = *reinterpret_cast<const float4*>(row + i);
            *reinterpret_cast<u32*>(target + i) =
                (round(x.x) & 255) | (round(x.y) & 255) << 8 | (round(x.z) & 255) << 16 | u32(round(x.w)) << 24;
        }
    else
        for (u32 i = threadIdx.x; i < p.columns; i += 256) target[i] = i8(round(row[i]));
}

/// target[block] = the sum of the magnitudes of 16,384 weights
extern "C" __global__ void __launch_bounds__(256) bitlinear_sum(const __grid_constant__ bitlinear::Pass p) {
    using namespace bitlinear;
    const u64 begin = u64(blockIdx.x) * sum_values;
    const u64 end = min(begin + sum_values, p.count);
    const float* source = static_cast<const float*>(p.source);
    double sum = 0;
#pragma unroll 8
    for (u64 i = begin + threadIdx.x; i < end; i += 256) sum += fabsf(source[i]);
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) static_cast<double*>(p.target)[blockIdx.x] = sum;
}

/// Trits of the weights as bf16, twice; `second` has the sums of bitlinear_sum, and mean[0] is written.
extern "C" __global__ void __launch_bounds__(256) bitlinear_round(const __grid_constant__ bitlinear::Pass p) {
    using namespace bitlinear;
    double sum = 0;
    for (u32 i = threadIdx.x; i < p.parts; i += 256) sum += static_cast<const double*>(p.second)[i];
    sum = sum_of_block(sum);
    const float magnitude = __double2float_rn(sum / double(p.count));
    const bool finite = (__float_as_uint(magnitude) & 0x7fffffff) < 0x7f800000;
    const float mean = finite ? fmaxf(magnitude, least) : __uint_as_float(0x7fc00000);
    if (blockIdx.x == 0 && threadIdx.x == 0) p.mean[0] = mean;
    const float half = __fmul_rn(0.5f, mean);
    const float* source = static_cast<const float*>(p.source);
    u16* target = static_cast<u16*>(p.target);
    const auto trit = [&](float w) -> u16 { return fabsf(w) >= half ? (w < 0.0f ? 0xbf80 : 0x3f80) : 0; };
    const bool wide = p.count % 4 == 0;
    floats::for_values(
        p.count,
        [&](u64 at) {
            const float4 w = floats::load_four(source, at);
            const u16 trits[4] = {trit(w.x), trit(w.y), trit(w.z), trit(w.w)};
            store_four(target + at, trits);
            if (wide) store_four(target + p.count + at, trits);
            else
                for (int i = 0; i < 4; i++) target[p.count + at + i] = trits[i];
        },
        [&](u64 i) { target[i] = target[p.count + i] = trit(source[i]); });
}

/// target = int8 as bf16
extern "C" __global__ void __launch_bounds__(256) bitlinear_widen(const __grid_constant__ bitlinear::Pass p) {
    using namespace bitlinear;
    const i8* source = static_cast<const i8*>(p.source);
    u16* target = static_cast<u16*>(p.target);
    const auto widen = [](int value) { return upper_half(__int2float_rn(value)); };
    floats::for_values(
        p.count,
        [&](u64 at) {
            const char4 q = *reinterpret_cast<const char4*>(source + at);
            store_four(target + at, {widen(q.x), widen(q.y), widen(q.z), widen(q.w)});
        },
        [&](u64 i) { target[i] = widen(source[i]); });
}

/// target [token][column] = exact sum times the mean, times the token's scale, plus the bias; in place
extern "C" __global__ void __launch_bounds__(256) bitlinear_finish(const __grid_constant__ bitlinear::Pass p) {
    float* target = static_cast<float*>(p.target);
    const float mean = p.mean[0];
    const auto finish = [&](float exact, float scale, u32 column) {
        const float value = __fmul_rn(__fmul_rn(exact, mean), scale);
        return p.bias ? __fadd_rn(value, p.bias[column]) : value;
    };
    const bool wide = p.columns % 4 == 0;
    const auto one = [&](u64 i) {
        const u64 row = i / p.columns;
        target[i] = finish(target[i], p.scales[row], u32(i - row * p.columns));
    };
    floats::for_values(
        p.count,
        [&](u64 at) {
            if (!wide) {
                for (int i = 0; i < 4; i++) one(at + i);
                return;
            }
            const u64 row = at / p.columns;
            const u32 column = u32(at - row * p.columns);
            const float scale = p.scales[row];
            const float4 x = floats::load_four(target, at);
            *reinterpret_cast<float4*>(target + at) = make_float4(
                finish(x.x, scale, column), finish(x.y, scale, column + 1), finish(x.z, scale, column + 2), finish(x.w, scale, column + 3));
        },
        one);
}

/// Gradients [token][column] as sums of two bf16: times the mean, side by side in the rows of `target`;
/// times the token's scale, one after the other in `second`.
extern "C" __global__ void __launch_bounds__(256) bitlinear_split(const __grid_constant__ bitlinear::Pass p) {
    using namespace bitlinear;
    const float* source = static_cast<const float*>(p.source);
    u16* rows = static_cast<u16*>(p.target);
    u16* halves = static_cast<u16*>(p.second);
    const float mean = p.mean[0];
    const bool wide = p.columns % 4 == 0;
    const auto one = [&](u64 i) {
        const u64 row = i / p.columns;
        u16* place = rows + i + row * p.columns;
        split(__fmul_rn(source[i], mean), place[0], place[p.columns]);
        split(__fmul_rn(source[i], p.scales[row]), halves[i], halves[p.count + i]);
    };
    floats::for_values(
        p.count,
        [&](u64 at) {
            if (!wide) {
                for (int i = 0; i < 4; i++) one(at + i);
                return;
            }
            const u64 row = at / p.columns;
            const float scale = p.scales[row];
            const float4 four = floats::load_four(source, at);
            const float x[4] = {four.x, four.y, four.z, four.w};
            u16 first[4], second[4];
#pragma unroll
            for (int i = 0; i < 4; i++) split(__fmul_rn(x[i], mean), first[i], second[i]);
            u16* place = rows + at + row * p.columns;
            store_four(place, first), store_four(place + p.columns, second);
#pragma unroll
            for (int i = 0; i < 4; i++) split(__fmul_rn(x[i], scale), first[i], second[i]);
            store_four(halves + at, first), store_four(halves + p.count + at, second);
        },
        one);
}
