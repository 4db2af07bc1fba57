// Causal grouped-query attention of whole texts, forward and backward, for training: f32 throughout, on
// tensor cores (mma.m16n8k16, f16), and nothing of the size length x length in memory.
//
//     attend_text_split_*     queries, keys, values and gradients as pairs of f16, every row of a head with
//                             its own scale
//     attend_text_forward_*   out and, for the backward pass, the log-sum of every row
//     attend_text_queries_*   the gradient of the queries; a block has some queries and goes through keys
//     attend_text_keys_*      those of keys and values; a block has some keys and goes through the queries
//                             of every head that shares them, or of one of these heads
//     attend_text_add         adds up what the heads gave, where it was one each
//
//     s = c q k^T, w = 2^(s - log_sum), o = w v            c = log2(e) / sqrt(head_dim)
//     d = sum(g o), dw = g v^T, ds = w (dw - d), dq = ds k / sqrt(head_dim), dk = ds^T q / sqrt(head_dim),
//     dv = w^T g
//
// As in attention_many.cu an f32 number, scaled by a power of two, is a sum of two f16 ones to within
// 2^-22 of the row's largest, and a product three, without that of the lower parts. Where the sum runs
// over rows that have scales of their own, these go into the other factor, which is scaled row by row of
// every tile. The tensor core cuts off what its sums do not hold, so that long sums would drift: every
// tile has sums of its own, which are added to the rest with rounding.
//
// Every sum has one order: no atomics, and what a head gives to a gradient is computed by one block.
// A NaN or an infinity gives NaN, maybe in rows before it too.
//
// Floor: of pairs of query and key that see each other, 2 products of 2 x head_dim operations forward and
// 5 backward (7 here: scores and dw are computed twice), each three times at the rate of f16.

#include "attention_training.cuh"

/// Splits rows of heads, of the tensor that the block's second number says; a lane takes 4 of a row's elements
/// at a time, and a warp as many rows as it has lanes for, twice.
template <int DIM>
__device__ void attend_text_split(const AttendText& a) {
    constexpr u32 lanes = DIM < 128 ? DIM / 4 : 32;
    constexpr int pieces = DIM / 4 / lanes;
    constexpr int rows = 2;
    const u32 which = blockIdx.y;
    const u32 heads = which == 0 || which == 3 ? a.heads : a.kv_heads;
    const u32 count = a.batch * a.length * heads;
    const float* source = which == 0 ? a.queries : which == 1 ? a.keys : which == 2 ? a.values : a.gradient;
    u16* halves = which == 0 ? a.query_halves : which == 1 ? a.key_halves : which == 2 ? a.value_halves : a.gradient_halves;
    float* scales = which == 0 ? a.query_scales : which == 1 ? a.key_scales : which == 2 ? a.value_scales : a.gradient_scales;
    const u32 lane = threadIdx.x % lanes;
    const u32 together = blockDim.x / lanes;
    const u32 first = blockIdx.x * rows * together + threadIdx.x / lanes;
    float4 values[rows][pieces];
#pragma unroll
    for (int i = 0; i < rows; i++)
#pragma unroll
        for (int j = 0; j < pieces; j++) {
            const u32 row = first + i * together;
            const u32 at = (j * lanes + lane) * 4;
            values[i][j] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (row >= count || at >= a.head_dim) continue;
            const float* from = source + u64(row) * a.head_dim + at;
            if (a.head_dim % 4 == 0) {
                values[i][j] = *reinterpret_cast<const float4*>(from);
            } else {
                const float2 start = *reinterpret_cast<const float2*>(from);
                const float2 end = at + 2 < a.head_dim ? *reinterpret_cast<const float2*>(from + 2) : make_float2(0.0f, 0.0f);
                values[i][j] = make_float4(start.x, start.y, end.x, end.y);
            }
        }
#pragma unroll
    for (int i = 0; i < rows; i++) {
        const u32 row = first + i * together;
        u32 largest = 0;
#pragma unroll
        for (int j = 0; j < pieces; j++) {
            const float4 x = values[i][j];
            largest = max(largest, max(magnitude_of(x.x), magnitude_of(x.y)));
            largest = max(largest, max(magnitude_of(x.z), magnitude_of(x.w)));
        }
#pragma unroll
        for (u32 other = lanes / 2; other > 0; other /= 2) largest = max(largest, __shfl_xor_sync(0xffffffff, largest, other));
        const u32 exponent = exponent_of(largest);
        const float inverse = power_of(254 - exponent);
        if (row >= count) continue;
        u32* parts = reinterpret_cast<u32*>(halves + u64(row) * 2 * DIM);
#pragma unroll
        for (int j = 0; j < pieces; j++) {
            const float4 x = values[i][j];
            uint2 upper, lower;
            split_pair(x.x * inverse, x.y * inverse, upper.x, lower.x);
            split_pair(x.z * inverse, x.w * inverse, upper.y, lower.y);
            *reinterpret_cast<uint2*>(parts + (j * lanes + lane) * 2) = upper;
            *reinterpret_cast<uint2*>(parts + DIM / 2 + (j * lanes + lane) * 2) = lower;
        }
        if (lane > 0) continue;
        const u32 position = row / heads;
        const u32 text = position / a.length;
        scales[(u64(text) * heads + row % heads) * a.length + position - text * a.length] = power_of(exponent);
    }
}

extern __shared__ __align__(128) u8 text_tiles[];

/// weights = 2^(scores factor - log_sums), or 0 where a key comes after its query.
__device__ __forceinline__ float weight_of(float score, float factor, float log_sum, bool seen) {
    return seen ? exp2f(score * factor - log_sum) : 0.0f;
}

template <int DIM, int WARPS, int COLUMNS>
__device__ void attend_text_forward(const AttendText& a) {
    constexpr u32 rows = WARPS * warp_rows;
    constexpr u32 threads = WARPS * 32;
    constexpr int tiles = COLUMNS / 8;
    u8* queries = text_tiles;
    u8* keys = queries + rows * DIM * 4;
    u8* values = keys + COLUMNS * DIM * 4;
    float* key_scales = reinterpret_cast<float*>(values + COLUMNS * DIM * 4);
    float* value_scales = key_scales + COLUMNS;
    const Part part(a.batch, a.heads, a.length, rows, true);
    const u32 lane = threadIdx.x % 32;
    const u32 own = threadIdx.x / 32 * warp_rows;
    const Places at(part.text, part.head, a.heads, a.length, a.head_dim, DIM);
    const Places from(part.text, part.head / (a.heads / a.kv_heads), a.kv_heads, a.length, a.head_dim, DIM);
    const auto load_keys = [&](u32 key) {
        load_rows<DIM, COLUMNS, threads>(keys, a.key_halves + from.parts, from.parts_stride, key, a.length);
        load_words<COLUMNS, threads>(key_scales, a.key_scales + from.words, key, a.length);
    };
    load_rows<DIM, rows, threads>(queries, a.query_halves + at.parts, at.parts_stride, part.first, a.length);
    load_keys(0);
    commit_copies();

    const u32 end = min(part.first + rows, a.length);
    const u32 first_row = part.first + own;
    float scale[2];
    row_scales(scale, a.query_scales + at.words, first_row, a.length);
    const float factor[2] = {scale[0] * (a.scale * log2_of_e), scale[1] * (a.scale * log2_of_e)};
    Sums<DIM> mixed = {};
    float largest[2] = {-INFINITY, -INFINITY};
    float total[2] = {0.0f, 0.0f};
    for (u32 key = 0; key < end; key += COLUMNS) {
        // The keys are there, and everybody is done with the values before.
        wait_copies<0>();
        load_rows<DIM, COLUMNS, threads>(values, a.value_halves + from.parts, from.parts_stride, key, a.length);
        load_words<COLUMNS, threads>(value_scales, a.value_scales + from.words, key, a.length);
        commit_copies();
        const bool sees = key < first_row + warp_rows;
        float weights[tiles][4];
        float keep[2];
        if (sees) {
            score_tile<DIM, rows, tiles>(queries, own, keys, weights);
            const bool masks = key + COLUMNS > first_row;
            float most[2] = {largest[0], largest[1]};
#pragma unroll
            for (int n = 0; n < tiles; n++) {
                const float2 scales = *reinterpret_cast<const float2*>(key_scales + n * 8 + lane % 4 * 2);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    weights[n][i] *= factor[i / 2] * (i % 2 ? scales.y : scales.x);
                    if (masks && key + n * 8 + lane % 4 * 2 + i % 2 > first_row + i / 2 * 8 + lane / 4) weights[n][i] = -INFINITY;
                    most[i / 2] = fmaxf(most[i / 2], weights[n][i]);
                }
            }
#pragma unroll
            for (int half = 0; half < 2; half++) {
                most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffff, most[half], 1));
                most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffff, most[half], 2));
                keep[half] = exp2f(largest[half] - most[half]);
                largest[half] = most[half];
                total[half] *= keep[half];
            }
#pragma unroll
            for (int n = 0; n < tiles; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    weights[n][i] = exp2f(weights[n][i] - largest[i / 2]);
                    total[i / 2] += weights[n][i];
                }
        }
        // The values are there, and everybody is done with the keys.
        wait_copies<0>();
        if (key + COLUMNS < end) load_keys(key + COLUMNS);
        commit_copies();
        if (sees) mix_tile<DIM, tiles>(weights, values, value_scales, mixed, keep);
    }
    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        total[half] += __shfl_xor_sync(0xffffffff, total[half], 1);
        total[half] += __shfl_xor_sync(0xffffffff, total[half], 2);
        inverse[half] = 1.0f / total[half];
        const u32 row = first_row + half * 8 + lane / 4;
        if (lane % 4 == 0 && row < a.length) a.log_sums[at.words + row] = largest[half] + log2f(total[half]);
    }
    store_rows<DIM>(mixed, a.out + at.start, at.stride, first_row, a.length, a.head_dim, inverse);
}

template <int DIM, int WARPS, int COLUMNS, int STAGES>
__device__ void attend_text_queries(const AttendText& a) {
    constexpr u32 rows = WARPS * warp_rows;
    constexpr u32 threads = WARPS * 32;
    constexpr int tiles = COLUMNS / 8;
    constexpr u32 stage_bytes = 2 * COLUMNS * DIM * 4 + 2 * COLUMNS * 4;
    u8* queries = text_tiles;
    u8* gradients = queries + rows * DIM * 4;
    u8* stages = gradients + rows * DIM * 4;
    const Part part(a.batch, a.heads, a.length, rows, true);
    const u32 lane = threadIdx.x % 32;
    const u32 own = threadIdx.x / 32 * warp_rows;
    const Places at(part.text, part.head, a.heads, a.length, a.head_dim, DIM);
    const Places from(part.text, part.head / (a.heads / a.kv_heads), a.kv_heads, a.length, a.head_dim, DIM);
    const auto load_stage = [&](u32 stage, u32 key) {
        u8* to = stages + stage * stage_bytes;
        load_rows<DIM, COLUMNS, threads>(to, a.key_halves + from.parts, from.parts_stride, key, a.length);
        load_rows<DIM, COLUMNS, threads>(to + COLUMNS * DIM * 4, a.value_halves + from.parts, from.parts_stride, key, a.length);
        float* scales = reinterpret_cast<float*>(to + 2 * COLUMNS * DIM * 4);
        load_words<COLUMNS, threads>(scales, a.key_scales + from.words, key, a.length);
        load_words<COLUMNS, threads>(scales + COLUMNS, a.value_scales + from.words, key, a.length);
    };
    load_rows<DIM, rows, threads>(queries, a.query_halves + at.parts, at.parts_stride, part.first, a.length);
    load_rows<DIM, rows, threads>(gradients, a.gradient_halves + at.parts, at.parts_stride, part.first, a.length);
    load_stage(0, 0);
    commit_copies();

    const u32 end = min(part.first + rows, a.length);
    const u32 first_row = part.first + own;
    float log_sum[2] = {0.0f, 0.0f};
    float sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const u32 row = first_row + half * 8 + lane / 4;
        if (row < a.length) {
            const u64 first = at.start + row * at.stride;
            for (u32 column = lane % 4 * 2; column < a.head_dim; column += 8) {
                const float2 o = *reinterpret_cast<const float2*>(a.out + first + column);
                const float2 g = *reinterpret_cast<const float2*>(a.gradient + first + column);
                sum[half] += o.x * g.x + o.y * g.y;
            }
            log_sum[half] = a.log_sums[at.words + row];
        }
        sum[half] += __shfl_xor_sync(0xffffffff, sum[half], 1);
        sum[half] += __shfl_xor_sync(0xffffffff, sum[half], 2);
        if (lane % 4 == 0 && row < a.length) a.sums[at.words + row] = sum[half];
    }
    float factor[2];
    float gradient_scale[2];
    row_scales(factor, a.query_scales + at.words, first_row, a.length);
    row_scales(gradient_scale, a.gradient_scales + at.words, first_row, a.length);
    factor[0] *= a.scale * log2_of_e;
    factor[1] *= a.scale * log2_of_e;
    const float keep[2] = {1.0f, 1.0f};
    Sums<DIM> mixed = {};
    u32 stage = 0;
    for (u32 key = 0; key < end; key += COLUMNS) {
        if (STAGES > 1) {
            if (key + COLUMNS < end) load_stage(stage ^ 1, key + COLUMNS);
            commit_copies();
        }
        wait_copies<STAGES - 1>();
        const u8* keys = stages + stage * stage_bytes;
        const u8* values = keys + COLUMNS * DIM * 4;
        const float* scales = reinterpret_cast<const float*>(values + COLUMNS * DIM * 4);
        if (key < first_row + warp_rows) {
            float weights[tiles][4];
            float changes[tiles][4];
            score_tile<DIM, rows, tiles>(queries, own, keys, weights);
            const bool masks = key + COLUMNS > first_row;
#pragma unroll
            for (int n = 0; n < tiles; n++) {
                const float2 of_keys = *reinterpret_cast<const float2*>(scales + n * 8 + lane % 4 * 2);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const bool seen = !masks || key + n * 8 + lane % 4 * 2 + i % 2 <= first_row + i / 2 * 8 + lane / 4;
                    weights[n][i] = weight_of(weights[n][i], factor[i / 2] * (i % 2 ? of_keys.y : of_keys.x), log_sum[i / 2], seen);
                }
            }
            score_tile<DIM, rows, tiles>(gradients, own, values, changes);
#pragma unroll
            for (int n = 0; n < tiles; n++) {
                const float2 of_values = *reinterpret_cast<const float2*>(scales + COLUMNS + n * 8 + lane % 4 * 2);
#pragma unroll
                for (int i = 0; i < 4; i++) changes[n][i] = weights[n][i] * (changes[n][i] * (gradient_scale[i / 2] * (i % 2 ? of_values.y : of_values.x)) - sum[i / 2]);
            }
            mix_tile<DIM, tiles>(changes, keys, scales, mixed, keep);
        }
        __syncthreads();
        if (STAGES == 1) {
            if (key + COLUMNS < end) load_stage(0, key + COLUMNS);
            commit_copies();
        } else {
            stage ^= 1;
        }
    }
    const float factors[2] = {a.scale, a.scale};
    store_rows<DIM>(mixed, a.query_gradient + at.start, at.stride, first_row, a.length, a.head_dim, factors);
}

/// Zeros for what is behind a text do no harm: the scales of its rows are 0, and so are its gradients.
template <int DIM, int WARPS, int COLUMNS, int STAGES, bool FOR_KEYS, bool FOR_VALUES>
__device__ void attend_text_keys(const AttendText& a) {
    constexpr u32 rows = WARPS * warp_rows;
    constexpr u32 threads = WARPS * 32;
    constexpr int tiles = COLUMNS / 8;
    constexpr u32 stage_bytes = 2 * COLUMNS * DIM * 4 + 4 * COLUMNS * 4;
    u8* keys = text_tiles;
    u8* values = keys + rows * DIM * 4;
    u8* stages = values + rows * DIM * 4;
    const bool alone = a.key_parts != nullptr;
    const u32 group = a.heads / a.kv_heads;
    const u32 query_heads = alone ? 1 : group;
    const Part part(a.batch, alone ? a.heads : a.kv_heads, a.length, rows, false);
    const u32 lane = threadIdx.x % 32;
    const u32 own = threadIdx.x / 32 * warp_rows;
    const Places at(part.text, alone ? part.head / group : part.head, a.kv_heads, a.length, a.head_dim, DIM);
    // The queries from `start` on see some of the keys.
    const u32 start = part.first;
    const u32 steps = (a.length - start + COLUMNS - 1) / COLUMNS;
    const auto load_stage = [&](u32 stage, u32 step) {
        u8* to = stages + stage * stage_bytes;
        const Places from(part.text, part.head * query_heads + step / steps, a.heads, a.length, a.head_dim, DIM);
        const u32 query = start + step % steps * COLUMNS;
        load_rows<DIM, COLUMNS, threads>(to, a.query_halves + from.parts, from.parts_stride, query, a.length);
        load_rows<DIM, COLUMNS, threads>(to + COLUMNS * DIM * 4, a.gradient_halves + from.parts, from.parts_stride, query, a.length);
        float* words = reinterpret_cast<float*>(to + 2 * COLUMNS * DIM * 4);
        load_words<COLUMNS, threads>(words, a.log_sums + from.words, query, a.length);
        load_words<COLUMNS, threads>(words + COLUMNS, a.sums + from.words, query, a.length);
        load_words<COLUMNS, threads>(words + 2 * COLUMNS, a.query_scales + from.words, query, a.length);
        load_words<COLUMNS, threads>(words + 3 * COLUMNS, a.gradient_scales + from.words, query, a.length);
    };
    load_rows<DIM, rows, threads>(keys, a.key_halves + at.parts, at.parts_stride, part.first, a.length);
    load_rows<DIM, rows, threads>(values, a.value_halves + at.parts, at.parts_stride, part.first, a.length);
    load_stage(0, 0);
    commit_copies();

    const u32 first_row = part.first + own;
    float factor[2];
    float value_scale[2];
    row_scales(factor, a.key_scales + at.words, first_row, a.length);
    row_scales(value_scale, a.value_scales + at.words, first_row, a.length);
    factor[0] *= a.scale * log2_of_e;
    factor[1] *= a.scale * log2_of_e;
    const float keep[2] = {1.0f, 1.0f};
    Sums<DIM> key_sums = {};
    Sums<DIM> value_sums = {};
    u32 stage = 0;
    for (u32 step = 0; step < steps * query_heads; step++) {
        const u32 query = start + step % steps * COLUMNS;
        if (STAGES > 1) {
            if (step + 1 < steps * query_heads) load_stage(stage ^ 1, step + 1);
            commit_copies();
        }
        wait_copies<STAGES - 1>();
        const u8* queries = stages + stage * stage_bytes;
        const u8* gradients = queries + COLUMNS * DIM * 4;
        const float* words = reinterpret_cast<const float*>(gradients + COLUMNS * DIM * 4);
        if (query + COLUMNS > first_row) {
            float weights[tiles][4];
            score_tile<DIM, rows, tiles>(keys, own, queries, weights);
            const bool masks = query < first_row + warp_rows;
#pragma unroll
            for (int n = 0; n < tiles; n++) {
                const float2 log_sum = *reinterpret_cast<const float2*>(words + n * 8 + lane % 4 * 2);
                const float2 of_queries = *reinterpret_cast<const float2*>(words + 2 * COLUMNS + n * 8 + lane % 4 * 2);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const bool seen = !masks || query + n * 8 + lane % 4 * 2 + i % 2 >= first_row + i / 2 * 8 + lane / 4;
                    weights[n][i] = weight_of(weights[n][i], factor[i / 2] * (i % 2 ? of_queries.y : of_queries.x), i % 2 ? log_sum.y : log_sum.x, seen);
                }
            }
            if (FOR_VALUES) mix_tile<DIM, tiles>(weights, gradients, words + 3 * COLUMNS, value_sums, keep);
            if (FOR_KEYS) {
                float changes[tiles][4];
                score_tile<DIM, rows, tiles>(values, own, gradients, changes);
#pragma unroll
                for (int n = 0; n < tiles; n++) {
                    const float2 sum = *reinterpret_cast<const float2*>(words + COLUMNS + n * 8 + lane % 4 * 2);
                    const float2 of_gradients = *reinterpret_cast<const float2*>(words + 3 * COLUMNS + n * 8 + lane % 4 * 2);
#pragma unroll
                    for (int i = 0; i < 4; i++) changes[n][i] = weights[n][i] * (changes[n][i] * (value_scale[i / 2] * (i % 2 ? of_gradients.y : of_gradients.x)) - (i % 2 ? sum.y : sum.x));
                }
                mix_tile<DIM, tiles>(changes, queries, words + 2 * COLUMNS, key_sums, keep);
            }
        }
        __syncthreads();
        if (STAGES == 1) {
            if (step + 1 < steps * query_heads) load_stage(0, step + 1);
            commit_copies();
        } else {
            stage ^= 1;
        }
    }
    const float scaled[2] = {a.scale, a.scale};
    const u64 stride = alone ? u64(a.heads) * a.head_dim : at.stride;
    const u64 place = u64(part.text) * a.length * stride + part.head * a.head_dim;
    if (FOR_KEYS) store_rows<DIM>(key_sums, (alone ? a.key_parts : a.key_gradient) + place, stride, first_row, a.length, a.head_dim, scaled);
    if (FOR_VALUES) store_rows<DIM>(value_sums, (alone ? a.value_parts : a.value_gradient) + place, stride, first_row, a.length, a.head_dim, keep);
}

/// A pair of elements of a key and of its value each.
extern "C" __global__ void __launch_bounds__(256) attend_text_add(const __grid_constant__ AttendText a) {
    const u32 group = a.heads / a.kv_heads;
    const u32 pairs = a.head_dim / 2;
    const u64 index = u64(blockIdx.x) * 256 + threadIdx.x;
    if (index >= u64(a.batch) * a.length * a.kv_heads * pairs) return;
    const u64 from = index / pairs * group * pairs + index % pairs;
    float2 key = make_float2(0.0f, 0.0f);
    float2 value = make_float2(0.0f, 0.0f);
    for (u32 head = 0; head < group; head++) {
        const float2 of_key = reinterpret_cast<const float2*>(a.key_parts)[from + head * pairs];
        const float2 of_value = reinterpret_cast<const float2*>(a.value_parts)[from + head * pairs];
        key = make_float2(key.x + of_key.x, key.y + of_key.y);
        value = make_float2(value.x + of_value.x, value.y + of_value.y);
    }
    reinterpret_cast<float2*>(a.key_gradient)[index] = key;
    reinterpret_cast<float2*>(a.value_gradient)[index] = value;
}

#define ATTEND_TEXT(NAME, WARPS, BLOCKS, ...) \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS) attend_text_##NAME(const __grid_constant__ AttendText a) { __VA_ARGS__(a); }
// The numbers are those of attention_kernels.zig: no block takes more than 99 KiB of shared memory.
ATTEND_TEXT(split_32, 8, 1, attend_text_split<32>)
ATTEND_TEXT(split_64, 8, 1, attend_text_split<64>)
ATTEND_TEXT(split_128, 8, 1, attend_text_split<128>)
ATTEND_TEXT(split_256, 8, 1, attend_text_split<256>)
ATTEND_TEXT(forward_32, 4, 2, attend_text_forward<32, 4, 64>)
ATTEND_TEXT(forward_64, 4, 3, attend_text_forward<64, 4, 64>)
ATTEND_TEXT(forward_128, 4, 2, attend_text_forward<128, 4, 64>)
ATTEND_TEXT(forward_256, 2, 2, attend_text_forward<256, 2, 32>)
ATTEND_TEXT(queries_32, 4, 2, attend_text_queries<32, 4, 32, 2>)
ATTEND_TEXT(queries_64, 4, 3, attend_text_queries<64, 4, 32, 1>)
ATTEND_TEXT(queries_128, 4, 2, attend_text_queries<128, 4, 32, 1>)
ATTEND_TEXT(queries_256, 2, 2, attend_text_queries<256, 2, 16, 1>)
ATTEND_TEXT(keys_32, 4, 2, attend_text_keys<32, 4, 32, 2, true, true>)
ATTEND_TEXT(keys_64, 4, 3, attend_text_keys<64, 4, 32, 2, true, true>)
ATTEND_TEXT(keys_128, 4, 2, attend_text_keys<128, 4, 32, 1, true, true>)
ATTEND_TEXT(keys_256, 2, 2, attend_text_keys<256, 2, 16, 1, true, false>)
ATTEND_TEXT(values_256, 2, 2, attend_text_keys<256, 2, 16, 1, false, true>)
