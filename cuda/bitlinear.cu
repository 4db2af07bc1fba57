// Ternary layers in training: weights to trits, activations to int8 and where the products read them,
// and both in bf16 with what they are multiplied with on the way back.
//
// Everything here reads and writes once: floors are bytes over bandwidth.
//
//     quantize    4 bytes read (the second time from the caches), 1 written for an activation
//     sum, ternarize    4 read each, 1/4 written for a weight
//     place       1 read, 1 written for an activation
//     unpack      1/4 read, 4 written for a weight (two copies)
//     widen       1 read, 2 written for an activation
//     split       4 read, 8 written for a gradient
//
// Trits and int8 are those of lib/cpu/bitlinear.zig to the last bit, and so is the mean but for the
// order of a sum in f64, which only the size decides.

#pragma once

#include "common.cuh"
#include "quantization.cu"
#include "packing.cu"

namespace bitlinear {

/// The least mean magnitude of weights and the least largest magnitude of a token.
constexpr float least_mean = 1e-5f;
constexpr u32 sum_values = 4096;
constexpr u32 everyone = 0xffffffff;

struct Quantize {
    const float* input;
    i8* values;
    float* scales;
    u32 features;
    u32 count;
};

struct Magnitudes {
    const float* weights;
    double* sums;
    u64 count;
};

struct Ternarize {
    const float* weights;
    const double* sums;
    uint4* trits;
    float* scales;
    float* factors;
    u64 count;
    Columns columns;
    u32 rows;
    u32 tiles;
};

struct Place {
    const i8* values;
    void* padded;
    int* sums;
    Columns columns;
    u32 count;
    u32 padded_count;
    u32 slabs;
    u32 reserved;
};

struct Unpack {
    const u32* trits;
    u16* out;
    Columns columns;
    u32 padded_rows;
    u32 stride;
};

struct Widen {
    const i8* values;
    u16* out;
    u64 count;
    u32 columns;
    u32 stride;
};

struct Split {
    const float* source;
    u16* first[2];
    u16* second;
    u64 row_stride;
    /// [row] factors of the scaled parts, which have rows of `padded_columns`; null for none.
    const float* scales;
    u16* scaled_first;
    u16* scaled_second;
    u32 rows;
    u32 padded_rows;
    u32 columns;
    u32 padded_columns;
};

/// The sum over a block of 256 threads, for everybody; one tree.
__device__ double block_sum(double sum) {
    __shared__ double parts[8];
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(everyone, sum, distance);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    double total = parts[0];
#pragma unroll
    for (int part = 1; part < 8; part++) total += parts[part];
    return total;
}

/// To nearest, ties to even; what is not finite stays so.
__device__ __forceinline__ u32 narrow(float x) {
    const u32 bits = __float_as_uint(x);
    return x == x ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : 0x7fff;
}

/// Eight values from `at` on, of `left` that there are.
__device__ __forceinline__ void load_eight(const float* source, u64 at, u32 left, float (&x)[8]) {
    if (left >= 8 && (reinterpret_cast<u64>(source + at) & 15) == 0) {
        const float4 low = *reinterpret_cast<const float4*>(source + at);
        const float4 high = *reinterpret_cast<const float4*>(source + at + 4);
        x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
        x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
        return;
    }
#pragma unroll
    for (u32 i = 0; i < 8; i++) x[i] = i < left ? source[at + i] : 0.0f;
}

/// A trit in bf16 from its code, 0 for -1 to 2 for 1.
__device__ __forceinline__ u32 trit_bits(u32 code) { return code == 1 ? 0u : code == 2 ? 0x3f80u : 0xbf80u; }

} // namespace bitlinear

extern "C" __global__ void __launch_bounds__(256) bitlinear_quantize(const __grid_constant__ bitlinear::Quantize q) {
    using namespace bitlinear;
    const u32 token = blockIdx.x;
    const float* row = q.input + u64(token) * q.features;
    i8* values = q.values + u64(token) * q.features;
    const bool wide = q.features % 4 == 0;
    u32 largest = __float_as_uint(least_mean);
    if (wide) {
#pragma unroll 4
        for (u32 at = threadIdx.x * 4; at < q.features; at += 1024)
            largest = max(largest, largest_of(*reinterpret_cast<const float4*>(row + at)));
    } else {
        for (u32 at = threadIdx.x; at < q.features; at += 256) largest = max(largest, __float_as_uint(row[at]) & 0x7fffffff);
    }
    const TokenScale scale(block_largest(largest));
    if (threadIdx.x == 0) q.scales[token] = scale.scale;
    if (wide) {
#pragma unroll 4
        for (u32 at = threadIdx.x * 4; at < q.features; at += 1024) {
            int sum;
            *reinterpret_cast<u32*>(values + at) = scale.quantize(*reinterpret_cast<const float4*>(row + at), sum);
        }
    } else {
        for (u32 at = threadIdx.x; at < q.features; at += 256) values[at] = i8(scale.round(row[at]));
    }
}

/// sums[block] = the sum of 4,096 magnitudes
extern "C" __global__ void __launch_bounds__(256) bitlinear_sum(const __grid_constant__ bitlinear::Magnitudes m) {
    using namespace bitlinear;
    const u64 first = u64(blockIdx.x) * sum_values;
    double sum = 0;
#pragma unroll
    for (u32 part = 0; part < sum_values / 1024; part++) {
        const u64 at = first + part * 1024 + threadIdx.x * 4;
        if (at + 4 <= m.count) {
            const float4 x = *reinterpret_cast<const float4*>(m.weights + at);
            sum += (double(fabsf(x.x)) + double(fabsf(x.y))) + (double(fabsf(x.z)) + double(fabsf(x.w)));
        } else {
            for (u64 i = at; i < m.count; i++) sum += double(fabsf(m.weights[i]));
        }
    }
    const double total = block_sum(sum);
    if (threadIdx.x == 0) m.sums[blockIdx.x] = total;
}

namespace bitlinear {

/// Codes of 16 columns from `column` on, in a word of the layout.
__device__ __forceinline__ u32 code_word(const Ternarize& t, u32 row, u32 column, float half) {
    u32 word = 0x55555555;
    if (row >= t.rows || column >= t.columns.columns) return word;
    const float* source = t.weights + u64(row) * t.columns.columns + column;
    const u32 left = t.columns.columns - column;
    float x[16];
    if (left >= 16 && t.columns.columns % 4 == 0) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const float4 four = *reinterpret_cast<const float4*>(source + 4 * i);
            x[4 * i] = four.x, x[4 * i + 1] = four.y, x[4 * i + 2] = four.z, x[4 * i + 3] = four.w;
        }
    } else {
#pragma unroll
        for (u32 i = 0; i < 16; i++) x[i] = i < left ? source[i] : 0.0f;
    }
#pragma unroll
    for (u32 i = 0; i < 16; i++) {
        // Comparisons with a mean of NaN are false: zeros, and NaN as the scale.
        const u32 code = fabsf(x[i]) >= half ? (x[i] > 0.0f ? 2 : 0) : 1;
        word ^= (code ^ 1) << (i % 4 * 8 + i / 4 * 2);
    }
    return word;
}

} // namespace bitlinear

/// Trits of the weights of which the magnitude is at least half the mean of all.
extern "C" __global__ void __launch_bounds__(256) bitlinear_ternarize(const __grid_constant__ bitlinear::Ternarize t) {
    using namespace bitlinear;
    double sum = 0;
    const u64 blocks = (t.count + sum_values - 1) / sum_values;
#pragma unroll 8
    for (u64 i = threadIdx.x; i < blocks; i += 256) sum += t.sums[i];
    const float quotient = __double2float_rn(block_sum(sum) / double(t.count));
    // Of weights that are not finite NaN; no mean of finite ones is infinite.
    const float mean = quotient < __uint_as_float(0x7f800000) ? fmaxf(quotient, least_mean) : __uint_as_float(0x7fc00000);
    const u32 thread = blockIdx.x * 256 + threadIdx.x;
    for (u32 row = thread; row < t.rows; row += gridDim.x * 256) t.scales[row] = mean;
    if (thread < 3) t.factors[thread] = thread == 0 ? mean : float(thread - 1);
    const float half = 0.5f * mean;
    const u64 halves = u64(t.tiles) * t.columns.chunks * 2;
    for (u64 index = u64(blockIdx.x) * 8 + threadIdx.x / 32; index < halves; index += u64(gridDim.x) * 8) {
        const HalfChunk chunk = HalfChunk::of(index, t.columns);
        u32 words[4];
#pragma unroll
        for (u32 w = 0; w < 4; w++) words[w] = code_word(t, chunk.row, chunk.place + w * block_columns, half);
        t.trits[chunk.piece] = make_uint4(words[0], words[1], words[2], words[3]);
    }
}

/// A warp places a token, and sums it; a lane takes four columns at a time.
extern "C" __global__ void __launch_bounds__(128) bitlinear_place(const __grid_constant__ bitlinear::Place p) {
    const u32 token = blockIdx.x * 4 + threadIdx.x / 32;
    if (token >= p.padded_count) return;
    const u32 padded = p.columns.padded();
    const u32 columns = p.columns.columns;
    const i8* row = p.values + u64(token) * columns;
    const bool there = token < p.count;
    const bool wide = columns % 4 == 0;
    int sum = 0;
#pragma unroll 8
    for (u32 place = threadIdx.x % 32 * 4; place < padded; place += 128) {
        u32 word = 0;
        if (there && place < columns) {
            if (wide) word = *reinterpret_cast<const u32*>(row + place);
            else
                for (u32 i = 0; i < 4 && place + i < columns; i++) word |= u32(u8(row[place + i])) << 8 * i;
        }
        sum = __dp4a(int(word), 0x01010101, sum);
        const u64 offset = p.slabs ? slab_place(token, place, p.padded_count) : u64(token) * padded + place;
        *reinterpret_cast<u32*>(static_cast<u8*>(p.padded) + offset) = word;
    }
    sum = __reduce_add_sync(0xffffffff, sum);
    if (there && threadIdx.x % 32 == 0) p.sums[token] = sum;
}

/// Trits in bf16, [2 rows][columns], the second half as the first; a thread takes eight columns.
extern "C" __global__ void __launch_bounds__(256) bitlinear_unpack(const __grid_constant__ bitlinear::Unpack u) {
    using namespace bitlinear;
    const u32 eights = u.stride / 8;
    const u64 index = u64(blockIdx.x) * 256 + threadIdx.x;
    const u32 row = u32(index / eights);
    const u32 eight = u32(index % eights);
    if (row >= u.padded_rows) return;
    const u32 at = eight / 2;
    const u64 chunk = u64(row / tile_rows) * u.columns.chunks + at / 16;
    const u32 lane = row % 8 * 4 + at % 4;
    // Of the word's sixteen codes those of the lower or upper four bits of every byte.
    const u32 word = u.trits[(chunk * chunk_pieces + row % 16 / 8 * 32 + lane) * 4 + at % 16 / 4] >> eight % 2 * 4;
    u32 out[4];
#pragma unroll
    for (u32 pair = 0; pair < 4; pair++) {
        const u32 low = word >> (pair % 2 * 16 + pair / 2 * 2) & 3;
        const u32 high = word >> (pair % 2 * 16 + 8 + pair / 2 * 2) & 3;
        out[pair] = trit_bits(low) | trit_bits(high) << 16;
    }
    const uint4 values = make_uint4(out[0], out[1], out[2], out[3]);
    u16* target = u.out + index * 8;
    *reinterpret_cast<uint4*>(target) = values;
    *reinterpret_cast<uint4*>(target + u64(u.padded_rows) * u.stride) = values;
}

/// int8 in bf16; a thread takes eight columns.
extern "C" __global__ void __launch_bounds__(256) bitlinear_widen(const __grid_constant__ bitlinear::Widen w) {
    const u32 eights = w.stride / 8;
    const u64 index = u64(blockIdx.x) * 256 + threadIdx.x;
    const u64 token = index / eights;
    const u32 column = u32(index % eights) * 8;
    if (token >= w.count) return;
    const i8* source = w.values + token * w.columns + column;
    u32 bytes[2] = {0, 0};
    if (w.columns % 8 == 0) {
        const uint2 eight = *reinterpret_cast<const uint2*>(source);
        bytes[0] = eight.x, bytes[1] = eight.y;
    } else {
#pragma unroll
        for (u32 i = 0; i < 8; i++)
            if (column + i < w.columns) bytes[i / 4] |= u32(u8(source[i])) << i % 4 * 8;
    }
    u32 out[4];
#pragma unroll
    for (u32 pair = 0; pair < 4; pair++) {
        const u32 two = bytes[pair / 2] >> pair % 2 * 16;
        // Seven bits and a sign: nothing is lost.
        const u32 low = __float_as_uint(float(i8(two & 255))) >> 16;
        const u32 high = __float_as_uint(float(i8(two >> 8 & 255))) & 0xffff0000;
        out[pair] = low | high;
    }
    *reinterpret_cast<uint4*>(w.out + index * 8) = make_uint4(out[0], out[1], out[2], out[3]);
}

namespace bitlinear {

/// Eight values in two bf16 parts each.
__device__ __forceinline__ void cut_eight(const float (&x)[8], uint4& first, uint4& second) {
    u32 high[8], low[8];
#pragma unroll
    for (u32 i = 0; i < 8; i++) {
        high[i] = narrow(x[i]);
        low[i] = narrow(__fsub_rn(x[i], __uint_as_float(high[i] << 16)));
    }
    first = make_uint4(high[0] | high[1] << 16, high[2] | high[3] << 16, high[4] | high[5] << 16, high[6] | high[7] << 16);
    second = make_uint4(low[0] | low[1] << 16, low[2] | low[3] << 16, low[4] | low[5] << 16, low[6] | low[7] << 16);
}

} // namespace bitlinear

/// Two parts in bf16 of f32, each to where it is wanted, and those of the values times a factor of
/// their row where there are factors; a thread takes eight columns.
extern "C" __global__ void __launch_bounds__(256) bitlinear_split(const __grid_constant__ bitlinear::Split s) {
    using namespace bitlinear;
    const u32 eights = s.padded_columns / 8;
    const u64 index = u64(blockIdx.x) * 256 + threadIdx.x;
    const u64 row = index / eights;
    const u32 column = u32(index % eights) * 8;
    if (row >= s.padded_rows) return;
    float x[8];
    load_eight(s.source, row * s.columns + column, row < s.rows && column < s.columns ? s.columns - column : 0, x);
    uint4 first, second;
    cut_eight(x, first, second);
    const u64 at = row * s.row_stride + column;
    *reinterpret_cast<uint4*>(s.first[0] + at) = first;
    if (s.first[1]) *reinterpret_cast<uint4*>(s.first[1] + at) = first;
    if (s.second) *reinterpret_cast<uint4*>(s.second + at) = second;
    if (!s.scales) return;
    const float factor = s.scales[row];
#pragma unroll
    for (u32 i = 0; i < 8; i++) x[i] = __fmul_rn(x[i], factor);
    cut_eight(x, first, second);
    *reinterpret_cast<uint4*>(s.scaled_first + index * 8) = first;
    *reinterpret_cast<uint4*>(s.scaled_second + index * 8) = second;
}
