// Ternary weights times float activations: each weight is +-0.5 or 0, and the scale is doubled.
//
// Two byte permutes look four codes up (the top byte of 0.5, -0.5 or 0), one more moves each to the
// top of a word of zeros, and a fused multiply-add, exact in its product, adds it: about 2.6
// instructions a weight for one token, 1.6 + 1 each for several. Sums of 64 columns a lane are added
// to the lane's total, so that rounding does not grow with the columns. Floor: the weights once.
//
// A token that holds NaN or an infinity gives no finite output: a weight of 0 times either is NaN.

#pragma once

#include "common.cuh"

/// Bytes of -0.5, 0 and 0.5 by code.
constexpr u32 halves_by_code = 0x003f00bf;

__device__ __forceinline__ float top_byte(u32 four, int index) {
    return __uint_as_float(__byte_perm(four, 0, index << 12 | 0x444));
}

/// The sixteen weights of a word, halved, in the order of columns.
__device__ __forceinline__ void decode_halves(u32 word, float (&weights)[16]) {
    const u32 even = word & 0x33333333;
    const u32 odd = (word >> 2) & 0x33333333;
    // Nibbles of `even` are columns 0, 8, 1, 9, 2, 10, 3, 11; of `odd` those and 4.
    const u32 fours[4] = {
        __byte_perm(halves_by_code, 0, even), __byte_perm(halves_by_code, 0, even >> 16),
        __byte_perm(halves_by_code, 0, odd), __byte_perm(halves_by_code, 0, odd >> 16),
    };
#pragma unroll
    for (int i = 0; i < 16; i++) {
        const int plane = i / 4;
        weights[i] = top_byte(fours[plane % 2 * 2 + i % 4 / 2], i % 2 * 2 + plane / 2);
    }
}

template <int WARPS, int HALVES, int TOKENS>
__device__ void multiply_floats(const Product& p) {
    __shared__ float partial[WARPS][HALVES * 8][TOKENS];
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const Columns& c = p.columns;
    const u32 halves = (p.rows + 7) / 8;
    const u32 first_token = blockIdx.y * TOKENS;
    const float4* x[TOKENS];
#pragma unroll
    for (int token = 0; token < TOKENS; token++)
        x[token] = static_cast<const float4*>(p.tokens) + u64(min(first_token + token, p.count - 1)) * (c.padded() / 4) + lane % 4 * 4;
    const uint4* weights[HALVES];
    const float* scales[HALVES];
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        const u32 half = min(blockIdx.x * HALVES + h, halves - 1);
        weights[h] = p.weights + u64(half / 2) * c.chunks * chunk_pieces + half % 2 * 32 + lane;
        scales[h] = p.row_scales + u64(min(half * 8 + lane / 4, p.rows - 1)) * c.groups;
    }
    float totals[HALVES][TOKENS] = {};
    for (u32 chunk = warp; chunk < c.chunks; chunk += WARPS) {
        uint4 pieces[HALVES];
#pragma unroll
        for (int h = 0; h < HALVES; h++) pieces[h] = load_stream(weights[h] + u64(chunk) * chunk_pieces);
        float sums[HALVES][TOKENS] = {};
#pragma unroll
        for (int w = 0; w < 4; w++) {
            float values[TOKENS][16];
#pragma unroll
            for (int token = 0; token < TOKENS; token++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const float4 four = __ldg(x[token] + chunk * 64 + w * 16 + i);
                    values[token][4 * i] = four.x;
                    values[token][4 * i + 1] = four.y;
                    values[token][4 * i + 2] = four.z;
                    values[token][4 * i + 3] = four.w;
                }
#pragma unroll
            for (int h = 0; h < HALVES; h++) {
                float decoded[16];
                decode_halves(word_of(pieces[h], w), decoded);
#pragma unroll
                for (int token = 0; token < TOKENS; token++)
#pragma unroll
                    for (int i = 0; i < 16; i++) sums[h][token] = fmaf(decoded[i], values[token][i], sums[h][token]);
            }
            if (c.groups == 1) continue;
            const u32 group = min((chunk * 4 + w) / c.group_blocks, c.groups - 1);
#pragma unroll
            for (int h = 0; h < HALVES; h++)
#pragma unroll
                for (int token = 0; token < TOKENS; token++) {
                    totals[h][token] = fmaf(sums[h][token], scales[h][group], totals[h][token]);
                    sums[h][token] = 0.0f;
                }
        }
#pragma unroll
        for (int h = 0; h < HALVES; h++)
#pragma unroll
            for (int token = 0; token < TOKENS; token++) totals[h][token] += sums[h][token];
    }
#pragma unroll
    for (int h = 0; h < HALVES; h++)
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            float total = totals[h][token];
            total += __shfl_xor_sync(0xffffffff, total, 1);
            total += __shfl_xor_sync(0xffffffff, total, 2);
            if (lane % 4 == 0) partial[warp][h * 8 + lane / 4][token] = total;
        }
    __syncthreads();
    for (u32 i = threadIdx.x; i < HALVES * 8 * TOKENS; i += WARPS * 32) {
        const u32 within = i % (HALVES * 8);
        const u32 token = i / (HALVES * 8);
        const u32 row = blockIdx.x * HALVES * 8 + within;
        if (row >= p.rows || first_token + token >= p.count) continue;
        float total = 0.0f;
#pragma unroll
        for (int other = 0; other < WARPS; other++) total += partial[other][within][token];
        total *= c.groups == 1 ? 2.0f * p.row_scales[row] : 2.0f;
        p.output[u64(first_token + token) * p.rows + row] = p.bias ? total + p.bias[row] : total;
    }
}

#define MULTIPLY_FLOATS(WARPS, HALVES, TOKENS)                                              \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                                \
        multiply_floats_##WARPS##_##HALVES##_##TOKENS(const __grid_constant__ Product p) { \
        multiply_floats<WARPS, HALVES, TOKENS>(p);                                          \
    }
MULTIPLY_FLOATS(4, 2, 1)
MULTIPLY_FLOATS(8, 2, 1)
MULTIPLY_FLOATS(8, 2, 2)
MULTIPLY_FLOATS(8, 2, 4)
