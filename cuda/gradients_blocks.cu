// The codecs `sign` and `ternary`: a scale for each block, and a bit or a trit for each gradient.
//
// Floor: 4 bytes read for each gradient and 1/8 or 1/5 written, and the reverse. A half warp reads 512
// gradients for `sign`, as many as the CPU adds up at a time; a warp holds the 640 of a default block for
// `ternary` in registers, so that they are read once for their mean, their classes and their trits.

#include "gradients.cuh"

namespace gradients {

/// What these codecs are told: the payload's scales and what comes after them.
struct Scaled {
    float* gradients;
    float* scales;
    u8* codes;
    /// Of steps, where a block of `sign` has too many for one block of threads.
    double* sums;
    u32* found;
    u32 count;
    u32 block;
    u32 blocks;
    /// Steps of a block for `sign`, the method for `ternary`.
    u32 rule;
};

constexpr u32 step_values = 512;
constexpr u32 steps_at_once = 16;

/// The sum of 16 lanes in their order: of the own half warp, or of the first one.
template <int width>
__device__ __forceinline__ double sum_in_order(double sum) {
    double total = __shfl_sync(everyone, sum, 0, width);
#pragma unroll
    for (int from = 1; from < 16; from++) total += __shfl_sync(everyone, sum, from, width);
    return total;
}

/// What a half warp finds in a step.
struct SignStep {
    double sum;
    u32 word;
    u32 largest;
};

/// Adds up the magnitudes of `length` gradients; word `lane` of their signs. `run` is the lane's first one.
template <bool whole>
__device__ __forceinline__ SignStep read_signs(const float* run, u32 length) {
    const u32 lane = threadIdx.x % 16;
    float x[32];
#pragma unroll
    for (u32 row = 0; row < 32; row++) x[row] = whole || row * 16 + lane < length ? run[row * 16] : 0.0f;
    const u32 rows = length / 16;
    SignStep step = {0, 0, 0};
    float last = 0;
#pragma unroll
    for (u32 row = 0; row < 32; row++) {
        step.largest = max(step.largest, __float_as_uint(x[row]) & magnitude_mask);
        if (!whole && row == rows) last = x[row];
        if (whole || row < rows) step.sum += double(fabsf(x[row]));
        const u32 signs = __ballot_sync(everyone, __float_as_int(x[row]) < 0);
        const u32 own = threadIdx.x & 16 ? signs >> 16 : signs & 0xffff;
        if (row / 2 == lane) step.word |= own << (row % 2 * 16);
    }
    step.sum = sum_in_order<16>(step.sum);
    if (whole) return step;
    // What is left over comes after the lanes.
    const u32 rest = length % 16;
    for (u32 from = 0; __any_sync(everyone, from < rest); from++) {
        const double value = fabsf(__shfl_sync(everyone, last, from, 16));
        if (from < rest) step.sum += value;
    }
    return step;
}

} // namespace gradients

extern "C" __global__ void __launch_bounds__(256, 5) gradients_sign_encode(const __grid_constant__ gradients::Scaled s) {
    using namespace gradients;
    __shared__ double sums[steps_at_once];
    const u32 lane = threadIdx.x % 16;
    const u32 half = threadIdx.x / 16;
    const u32 steps = s.rule;
    const bool together = steps <= steps_at_once;
    const u32 own_blocks = together ? steps_at_once / steps : 0;
    const u64 index = u64(blockIdx.x) * steps_at_once + half;
    u32 block = together ? blockIdx.x * own_blocks + half / steps : u32(index / steps);
    const u32 step = together ? half % steps : u32(index % steps);
    if (together && half / steps >= own_blocks) block = s.blocks;
    const u64 begin = u64(block) * s.block + u64(step) * step_values;
    const u64 end = min(u64(block + 1) * s.block, u64(s.count));
    const u32 length = block < s.blocks && begin < end ? u32(min(u64(step_values), end - begin)) : 0;

    const float* run = s.gradients + begin + lane;
    const bool whole = __all_sync(everyone, length == step_values);
    const SignStep found = whole ? read_signs<true>(run, step_values) : read_signs<false>(run, length);
    if (lane * 32 < length) reinterpret_cast<u32*>(s.codes)[begin / 32 + lane] = found.word;
    if (found.largest >= infinity_bits) atomicOr(s.found, not_finite);
    if (!together) {
        if (lane == 0 && block < s.blocks) s.sums[index] = found.sum;
        return;
    }
    if (lane == 0) sums[half] = found.sum;
    __syncthreads();
    const u32 mine = blockIdx.x * own_blocks + threadIdx.x;
    if (threadIdx.x >= own_blocks || mine >= s.blocks) return;
    double all = 0;
    for (u32 from = 0; from < steps; from++) all += sums[threadIdx.x * steps + from];
    const u64 values = min(u64(s.block), s.count - u64(mine) * s.block);
    s.scales[mine] = __double2float_rn(all / double(values));
}

/// Scales of blocks with many steps.
extern "C" __global__ void __launch_bounds__(64) gradients_sign_scales(const __grid_constant__ gradients::Scaled s) {
    const u32 block = blockIdx.x * blockDim.x + threadIdx.x;
    if (block >= s.blocks) return;
    const u64 values = min(u64(s.block), s.count - u64(block) * s.block);
    const double* sums = s.sums + u64(block) * s.rule;
    double all = 0;
#pragma unroll 8
    for (u32 from = 0; from < s.rule; from++) all += sums[from];
    s.scales[block] = __double2float_rn(all / double(values));
}

extern "C" __global__ void __launch_bounds__(256) gradients_sign_decode(const __grid_constant__ gradients::Scaled s) {
    const u64 first = u64(blockIdx.x) * 4096 + threadIdx.x * 4;
    u32 bits[4];
    float scales[4];
#pragma unroll
    for (u32 part = 0; part < 4; part++) {
        const u64 at = first + part * 1024;
        const bool there = at < s.count;
        bits[part] = there ? u32(s.codes[at / 8]) >> (at & 4) : 0;
        scales[part] = there ? s.scales[u32(at) / s.block] : 0.0f;
    }
#pragma unroll
    for (u32 part = 0; part < 4; part++) {
        const u64 at = first + part * 1024;
        float values[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++)
            values[i] = __uint_as_float(__float_as_uint(scales[part]) ^ (bits[part] >> i << 31));
        if (at + 4 <= s.count) {
            *reinterpret_cast<float4*>(s.gradients + at) = make_float4(values[0], values[1], values[2], values[3]);
        } else {
#pragma unroll
            for (u32 i = 0; i < 4; i++)
                if (at + i < s.count) s.gradients[at + i] = values[i];
        }
    }
}

namespace gradients {

/// Magnitudes are counted by exponent and two digits of the mantissa; class 1 begins at 0.5, and 22 is
/// everything from 20 on.
constexpr u32 classes = 23;
constexpr u32 class_base = (0x3f000000u >> 21) - 1;

/// The class in which edge j begins (5 bits each), and 8 times the middle up to the next edge (a byte).
__device__ __forceinline__ u32 edge_class(u32 edge) {
    constexpr u64 low = 1ull | 3ull << 5 | 5ull << 10 | 6ull << 15 | 7ull << 20 | 9ull << 25 | 10ull << 30 | 11ull << 35;
    constexpr u64 high = 12ull | 13ull << 5 | 14ull << 10 | 15ull << 15 | 16ull << 20 | 18ull << 25 | 20ull << 30 | 22ull << 35;
    return u32((edge < 8 ? low : high) >> edge % 8 * 5) & 31;
}

__device__ __forceinline__ u32 edge_middle(u32 edge) {
    constexpr u64 low = 5ull | 7ull << 8 | 9ull << 16 | 11ull << 24 | 14ull << 32 | 18ull << 40 | 22ull << 48 | 26ull << 56;
    constexpr u64 high = 30ull | 36ull << 8 | 44ull << 16 | 52ull << 24 | 68ull << 32 | 96ull << 40 | 136ull << 48 | 240ull << 56;
    return u32((edge < 8 ? low : high) >> edge % 8 * 8) & 255;
}

/// The edge above which (sum of the kept)^2 / count is largest, with sums of counts times the middles of
/// classes, which are exact: so one lane takes one edge. `number` is this lane's class.
__device__ __forceinline__ float best_edge(u32 number) {
    const u32 edge = threadIdx.x % 16;
    const u32 own = edge_class(edge);
    const u32 next = edge == 15 ? classes : edge_class((edge + 1) % 16);
    u32 above = __shfl_sync(everyone, number, own);
    const u32 second = __shfl_sync(everyone, number, own + 1);
    if (next - own == 2) above += second;
    u32 sum = above * edge_middle(edge);
#pragma unroll
    for (u32 step = 1; step < 16; step *= 2) {
        const u32 more = __shfl_down_sync(everyone, above, step, 16);
        const u32 more_sum = __shfl_down_sync(everyone, sum, step, 16);
        if (edge + step < 16) above += more, sum += more_sum;
    }
    const double middle = double(sum) * 0.125;
    const double quality = above == 0 ? 0.0 : __ddiv_rn(__dmul_rn(middle, middle), double(above));
    double most = quality;
#pragma unroll
    for (int step = 8; step > 0; step /= 2) most = fmax(most, __shfl_xor_sync(everyone, most, step, 16));
    const u32 found = __ballot_sync(everyone, quality == most) & 0xffff;
    const u32 best = most > 0 ? 31 - __clz(found) : 0;
    // Just below the edge, which belongs to its class.
    return __uint_as_float(((edge_class(best) + class_base) << 21) - 1);
}

/// Encodes a block with a warp, which holds its `held` rows of 32 gradients; with 0 rows they are read
/// again from a cache for each of three passes. `counts` is memory of the warp.
template <u32 held>
struct TernaryBlock {
    const Scaled& t;
    u32* counts;
    u32 lane;
    u32 length;
    const float* run;
    float x[held == 0 ? 1 : held];

    __device__ float value(u32 row) const {
        if (held > 0) return x[row];
        return row * 32 + lane < length ? run[row * 32 + lane] : 0.0f;
    }

    __device__ u32 rows() const { return held > 0 ? held : (length + 31) / 32; }

    /// The sum of the magnitudes; `largest` becomes the bits of the largest one.
    __device__ double magnitudes(u32& largest) const {
        const u32 whole = length / 16;
        double sum = 0;
#pragma unroll
        for (u32 row = 0; row < rows(); row++) {
            const float own = fabsf(value(row));
            largest = max(largest, __float_as_uint(own));
            const float other = __shfl_xor_sync(everyone, own, 16);
            // Lane i below 16 gets gradient i of each half row, in order; what the others add up is not used.
            if (held > 0 || 2 * row < whole) sum += double(own);
            if (held > 0 || 2 * row + 1 < whole) sum += double(other);
        }
        double total = sum_in_order<32>(sum);
        for (u32 i = whole * 16; i < length; i++) total += double(fabsf(run[i]));
        return total;
    }

    __device__ float best(float factor) const {
#pragma unroll
        for (u32 which = 0; which < classes; which++) counts[which * 32 + lane] = 0;
        __syncwarp();
#pragma unroll
        for (u32 row = 0; row < rows(); row++) {
            const u32 bits = __float_as_uint(__fmul_rn(fabsf(value(row)), factor)) >> 21;
            const u32 which = min(max(bits, class_base) - class_base, classes - 1);
            // Every lane has a column of its own; what there is no gradient for is in class 0.
            atomicAdd(counts + which * 32 + lane, 1u);
        }
        __syncwarp();
        u32 number = 0;
        if (lane < classes) {
#pragma unroll 8
            for (u32 column = 0; column < 32; column++) number += counts[lane * 32 + (column + lane) % 32];
        }
        return best_edge(number);
    }

    __device__ void encode(u32 index) {
        u32 largest = 0;
        const double sum = magnitudes(largest);
        if (largest >= infinity_bits) atomicOr(t.found, not_finite);
        const double mean = sum / double(length);
        const float factor = __double2float_rn(fmin(1.0 / mean, 0x1p126));
        const float unit = __double2float_rn(mean * double(factor));
        float limit = __fmul_rn(t.rule == 2 ? 0.5f : 0.7f, unit);
        if (t.rule == 0 && !(mean < 0x1p-126)) limit = best(factor);

        u8* bytes = t.codes + u64(index) * (t.block / 5);
        double kept = 0;
        float part = 0;
        u32 number = 0;
        const u32 chunks = length / 320;
#pragma unroll
        for (u32 chunk = 0; chunk < (held > 0 ? held / 10 : chunks); chunk++) {
            // Sums of trits times powers of 3 are exact; codes are trits plus 1.
            float even = 121, odd = 121;
#pragma unroll
            for (u32 row = 0; row < 10; row++) {
                const float power = row < 2 ? 1 : row < 4 ? 3 : row < 6 ? 9 : row < 8 ? 27 : 81;
                const float own = value(chunk * 10 + row);
                const float trit = keep(own, factor, limit, part, number) ? copysignf(power, own) : 0.0f;
                if (row % 2 == 0) even += trit;
                else odd += trit;
            }
            bytes[chunk * 64 + lane] = u8(__float2uint_rn(even));
            bytes[chunk * 64 + 32 + lane] = u8(__float2uint_rn(odd));
            if (held == 0 && chunk % 4 == 3) kept += flush(part);
        }
        if (held == 0 && length % 320 != 0) encodeRest(bytes, chunks, factor, limit, part, number);
        kept += flush(part);
        number = __reduce_add_sync(everyone, number);
        if (lane != 0) return;
        const float scale = number == 0 ? 0.0f : __double2float_rn(kept / double(number) / double(factor));
        t.scales[index] = t.rule == 2 ? __double2float_rn(mean) : scale;
    }

    /// Whether a gradient is kept; adds it up if it is.
    __device__ static bool keep(float value, float factor, float limit, float& part, u32& number) {
        const float size = __fmul_rn(fabsf(value), factor);
        const bool is_kept = size > limit;
        part = __fadd_rn(part, is_kept ? size : 0.0f);
        number += is_kept;
        return is_kept;
    }

    __device__ static u8 code_of(bool is_kept, float value) { return is_kept ? (__float_as_int(value) < 0 ? 0 : 2) : 1; }

    /// What the kept magnitudes of at most 1280 gradients add up to, and begins anew.
    __device__ static double flush(float& part) {
        const float both = __fadd_rn(part, __shfl_xor_sync(everyone, part, 16));
        part = 0;
        return double(sum_halves(both));
    }

    /// The last fewer than 320 gradients: a row that is not whole is added to the first 16 lanes.
    __device__ void encodeRest(u8* bytes, u32 chunks, float factor, float limit, float& part, u32& number) const {
        u8* codes = reinterpret_cast<u8*>(counts);
        const u32 rest = length - chunks * 320;
        __syncwarp();
        for (u32 row = 0; row < (rest + 31) / 32; row++) {
            const float own = value(chunks * 10 + row);
            if (row * 32 + 32 <= rest) {
                codes[row * 32 + lane] = code_of(keep(own, factor, limit, part, number), own);
                continue;
            }
            float ignored = 0;
            codes[row * 32 + lane] = code_of(keep(own, factor, limit, ignored, number), own);
            const float upper = __shfl_down_sync(everyone, ignored, 16);
            if (lane < 16) part = __fadd_rn(__fadd_rn(part, ignored), upper);
        }
        __syncwarp();
        for (u32 byte = lane; byte < (rest + 4) / 5; byte += 32) bytes[chunks * 64 + byte] = u8(pack_trits_of(codes, rest, byte));
    }
};

constexpr u32 held_rows = 20;

__device__ __forceinline__ void encode_ternary(const Scaled& t, u32 index, u32* counts, bool hold) {
    const u32 lane = threadIdx.x % 32;
    const u64 begin = u64(index) * t.block;
    const u32 length = u32(min(u64(t.block), t.count - begin));
    const float* run = t.gradients + begin;
    if (hold && length == held_rows * 32) {
        TernaryBlock<held_rows> block{t, counts, lane, held_rows * 32, run};
#pragma unroll
        for (u32 row = 0; row < held_rows; row++) block.x[row] = run[row * 32 + lane];
        block.encode(index);
    } else {
        TernaryBlock<0> block{t, counts, lane, length, run};
        block.encode(index);
    }
}

} // namespace gradients

extern "C" __global__ void __launch_bounds__(256) gradients_ternary_encode(const __grid_constant__ gradients::Scaled t) {
    using namespace gradients;
    __shared__ u32 counts[8][classes * 32];
    const u32 warp = threadIdx.x / 32;
    const u32 index = blockIdx.x * 8 + warp;
    if (index < t.blocks) encode_ternary(t, index, counts[warp], true);
}

/// A half warp takes the 64 bytes of 320 gradients, a lane four of them.
extern "C" __global__ void __launch_bounds__(256) gradients_ternary_decode(const __grid_constant__ gradients::Scaled t) {
    using namespace gradients;
    const u32 chunk = blockIdx.x * 16 + threadIdx.x / 16;
    const u32 lane = threadIdx.x % 16;
    const u64 begin = u64(chunk) * 320;
    if (begin >= t.count) return;
    const float scale = t.scales[chunk / (t.block / 320)];
    float* run = t.gradients + begin;
    bool good = true;
    if (begin + 320 <= t.count) {
        const u32 word = reinterpret_cast<const u32*>(t.codes)[u64(chunk) * 16 + lane];
        u32 bytes[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            bytes[i] = word >> 8 * i & 255;
            good = good && bytes[i] <= 242;
        }
#pragma unroll
        for (u32 plane = 0; plane < 5; plane++) {
            float values[4];
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                const u32 rest = bytes[i] / 3;
                values[i] = __fmul_rn(float(int(bytes[i] - 3 * rest) - 1), scale);
                bytes[i] = rest;
            }
            *reinterpret_cast<float4*>(run + plane * 64 + lane * 4) = make_float4(values[0], values[1], values[2], values[3]);
        }
    } else {
        const u32 rest = u32(t.count - begin);
        const u8* codes = t.codes + u64(chunk) * 64;
        for (u32 byte = lane; byte < (rest + 4) / 5; byte += 16) {
            const bool is_good = unpack_trits_of(codes[byte], rest, byte, [&](u32 at, u32 code) {
                run[at] = __fmul_rn(float(int(code) - 1), scale);
            });
            good = good && is_good;
        }
    }
    if (!good) atomicOr(t.found, bad_trits);
}
