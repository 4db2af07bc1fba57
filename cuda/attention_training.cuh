// What the kernels of attention_training.cu share: their arguments, and products of tiles in shared memory.
//
// A tile is rows of both parts, 2 x DIM f16, first the upper parts of all rows, then the lower ones, in
// pieces of 16 bytes that are swapped so that all banks are met (attention_many.cu).

#pragma once

#include "common.cuh"

struct AttendText {
    /// [batch, length, heads, head_dim], as `out` and the gradients of both.
    const float* queries;
    /// [batch, length, kv_heads, head_dim], as the values and the gradients of both.
    const float* keys;
    const float* values;
    float* out;
    /// [batch, heads, length]: log2 of the sum of 2^s.
    float* log_sums;
    const float* gradient;
    /// [batch, heads, length]: sum(g o), which attend_text_queries writes.
    float* sums;
    float* query_gradient;
    float* key_gradient;
    float* value_gradient;
    /// [batch, length, heads, head_dim], or null: what every head adds to the gradients of keys and values,
    /// where there would be too few blocks otherwise.
    float* key_parts;
    float* value_parts;
    /// [batch, length, heads, 2, DIM]: upper and lower parts, zeros behind head_dim; and
    /// [batch, heads, length]: what they are to be multiplied by.
    u16* query_halves;
    u16* key_halves;
    u16* value_halves;
    u16* gradient_halves;
    float* query_scales;
    float* key_scales;
    float* value_scales;
    float* gradient_scales;
    u32 batch;
    u32 length;
    u32 heads;
    u32 kv_heads;
    u32 head_dim;
    /// 1 / sqrt(head_dim)
    float scale;
};

constexpr float log2_of_e = 1.44269504088896341f;

/// Rows of a warp's products.
constexpr u32 warp_rows = 16;

/// Bits that are larger for a larger magnitude.
__device__ __forceinline__ u32 magnitude_of(float x) { return __float_as_uint(x) & 0x7fffffff; }

/// Copies both parts of rows from `first` on; zeros from `length` on.
template <int DIM, int ROWS, int THREADS>
__device__ __forceinline__ void load_rows(u8* tile, const u16* source, u64 stride, u32 first, u32 length) {
    constexpr u32 pieces = DIM / 8;
#pragma unroll 4
    for (u32 index = threadIdx.x; index < ROWS * 2 * pieces; index += THREADS) {
        const u32 piece = index % pieces;
        const u32 part = index / pieces % 2;
        const u32 row = index / pieces / 2;
        const bool there = first + row < length;
        copy_async(tile + part * ROWS * DIM * 2 + swizzled<DIM>(row, piece), source + (there ? (first + row) * stride + part * DIM + piece * 8 : 0), there);
    }
}

/// Copies four bytes for each of some rows, or zeros.
template <int ROWS, int THREADS>
__device__ __forceinline__ void load_words(float* shared, const float* source, u32 first, u32 length) {
    for (u32 row = threadIdx.x; row < ROWS; row += THREADS) {
        const bool there = first + row < length;
        const u32 address = static_cast<u32>(__cvta_generic_to_shared(shared + row));
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(source + (there ? first + row : 0)), "r"(there ? 4 : 0) : "memory");
    }
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int LEFT>
__device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
    __syncthreads();
}

/// scores[n] = 16 rows of `rows`, from `own` on, times rows n * 8 .. + 7 of `others`, without scales.
template <int DIM, int ROWS, int TILES>
__device__ __forceinline__ void score_tile(const u8* rows, u32 own, const u8* others, float (&scores)[TILES][4]) {
    constexpr int together = TILES < 4 ? TILES : 4;
    const u32 lane = threadIdx.x % 32;
    const u32 left = static_cast<u32>(__cvta_generic_to_shared(rows));
    const u32 right = static_cast<u32>(__cvta_generic_to_shared(others));
    float rest[TILES][4] = {};
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) scores[n][i] = 0.0f;
#pragma unroll(DIM <= 64 ? DIM / 16 : 2)
    for (u32 kb = 0; kb < DIM / 16; kb++) {
        u32 upper[4];
        u32 lower[4];
        const u32 place = swizzled<DIM>(own + lane % 16, kb * 2 + lane / 16);
        load_matrices(upper, left + place);
        load_matrices(lower, left + ROWS * DIM * 2 + place);
        // Several at a time, so that no sum waits for the instruction before.
#pragma unroll
        for (int n = 0; n < TILES; n += together) {
            u32 high[together / 2][4];
            u32 low[together / 2][4];
#pragma unroll
            for (int i = 0; i < together / 2; i++) {
                const u32 from = swizzled<DIM>(n * 8 + i * 16 + lane / 16 * 8 + lane % 8, kb * 2 + lane / 8 % 2);
                load_matrices(high[i], right + from);
                load_matrices(low[i], right + TILES * 8 * DIM * 2 + from);
            }
#pragma unroll
            for (int i = 0; i < together; i++) multiply_halves(rest[n + i], lower, high[i / 2][i % 2 * 2], high[i / 2][i % 2 * 2 + 1]);
#pragma unroll
            for (int i = 0; i < together; i++) multiply_halves(scores[n + i], upper, high[i / 2][i % 2 * 2], high[i / 2][i % 2 * 2 + 1]);
#pragma unroll
            for (int i = 0; i < together; i++) multiply_halves(rest[n + i], upper, low[i / 2][i % 2 * 2], low[i / 2][i % 2 * 2 + 1]);
        }
    }
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) scores[n][i] += rest[n][i];
}

/// Sums of 16 rows, as the tensor core has them: of rows g and g + 8 columns 8 d + 2 t and + 1.
template <int DIM>
using Sums = float[DIM / 8][4];

/// sums = sums * keep + weights (16 rows x TILES * 8) times as many rows of `others`, which have `scales`.
template <int DIM, int TILES>
__device__ __forceinline__ void mix_tile(const float (&weights)[TILES][4], const u8* others, const float* scales, Sums<DIM>& sums, const float (&keep)[2]) {
    const u32 lane = threadIdx.x % 32;
    const u32 right = static_cast<u32>(__cvta_generic_to_shared(others));
    float scaled[TILES][4];
    u32 largest[2] = {0, 0};
#pragma unroll
    for (int n = 0; n < TILES; n++) {
        const float2 scale = *reinterpret_cast<const float2*>(scales + n * 8 + lane % 4 * 2);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            scaled[n][i] = weights[n][i] * (i % 2 ? scale.y : scale.x);
            largest[i / 2] = max(largest[i / 2], magnitude_of(scaled[n][i]));
        }
    }
    float unit[2];
    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        largest[half] = max(largest[half], __shfl_xor_sync(0xffffffff, largest[half], 1));
        largest[half] = max(largest[half], __shfl_xor_sync(0xffffffff, largest[half], 2));
        const u32 exponent = exponent_of(largest[half]);
        unit[half] = power_of(exponent);
        inverse[half] = power_of(254 - exponent);
    }
    u32 upper[TILES / 2][4];
    u32 lower[TILES / 2][4];
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float first = scaled[n][half * 2] * inverse[half];
            const float second = scaled[n][half * 2 + 1] * inverse[half];
            split_pair(first, second, upper[n / 2][n % 2 * 2 + half], lower[n / 2][n % 2 * 2 + half]);
        }
#pragma unroll
    for (int d = 0; d < DIM / 8; d += 4) {
        float fresh[4][4] = {};
#pragma unroll
        for (int m = 0; m < TILES / 2; m++) {
            u32 high[2][4];
            u32 low[2][4];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const u32 from = swizzled<DIM>(m * 16 + lane % 16, d + i * 2 + lane / 16);
                load_matrices_turned(high[i], right + from);
                load_matrices_turned(low[i], right + TILES * 8 * DIM * 2 + from);
            }
#pragma unroll
            for (int i = 0; i < 4; i++) multiply_halves(fresh[i], lower[m], high[i / 2][i % 2 * 2], high[i / 2][i % 2 * 2 + 1]);
#pragma unroll
            for (int i = 0; i < 4; i++) multiply_halves(fresh[i], upper[m], low[i / 2][i % 2 * 2], low[i / 2][i % 2 * 2 + 1]);
#pragma unroll
            for (int i = 0; i < 4; i++) multiply_halves(fresh[i], upper[m], high[i / 2][i % 2 * 2], high[i / 2][i % 2 * 2 + 1]);
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) sums[d + i][j] = sums[d + i][j] * keep[j / 2] + fresh[i][j] * unit[j / 2];
    }
}

/// Writes rows from `first` on, each times its factor.
template <int DIM>
__device__ __forceinline__ void store_rows(const Sums<DIM>& sums, float* target, u64 stride, u32 first, u32 length, u32 head_dim, const float (&factors)[2]) {
    const u32 lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const u32 row = first + half * 8 + lane / 4;
        if (row >= length) continue;
        float* to = target + row * stride;
#pragma unroll
        for (int d = 0; d < DIM / 8; d++) {
            const u32 column = d * 8 + lane % 4 * 2;
            if (column < head_dim) *reinterpret_cast<float2*>(to + column) = make_float2(sums[d][half * 2] * factors[half], sums[d][half * 2 + 1] * factors[half]);
        }
    }
}

/// The scales of a warp's rows g and g + 8.
__device__ __forceinline__ void row_scales(float (&scales)[2], const float* source, u32 first, u32 length) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const u32 row = first + half * 8 + threadIdx.x % 32 / 4;
        scales[half] = row < length ? source[row] : 0.0f;
    }
}

/// Which text, which head and which rows a block has; those with most to do come first.
struct Part {
    u32 text;
    u32 head;
    u32 first;

    __device__ Part(u32 batch, u32 heads, u32 length, u32 rows, bool last_first) {
        const u32 tiles = (length + rows - 1) / rows;
        const u32 tile = blockIdx.x / (batch * heads);
        const u32 unit = blockIdx.x % (batch * heads);
        text = unit / heads;
        head = unit % heads;
        first = (last_first ? tiles - 1 - tile : tile) * rows;
    }
};

/// Where the rows of a head begin: in a tensor, in its parts, and in what has a number for every row.
struct Places {
    u64 stride;
    u64 start;
    u64 parts_stride;
    u64 parts;
    u64 words;

    __device__ Places(u32 text, u32 head, u32 heads, u32 length, u32 head_dim, u32 dim) {
        stride = u64(heads) * head_dim;
        start = u64(text) * length * stride + head * head_dim;
        parts_stride = u64(heads) * 2 * dim;
        parts = u64(text) * length * parts_stride + head * 2 * dim;
        words = (u64(text) * heads + head) * length;
    }
};
