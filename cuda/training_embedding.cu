// Embeddings in training. The gradient of a table adds up the rows of each id's tokens in their order:
// integer atomics count the tokens of an id and note a few of them, which a warp sorts; for the few ids
// that have more a block looks for them. Floor: the rows of tokens once, those of the table that are
// used once forward and twice backward.

#include "training.cuh"

namespace training {

constexpr u32 none = 0xffffffff;

struct Embedding {
    /// The table, or the gradients of tokens.
    const float* source;
    const u32* ids;
    /// The tokens' rows, or the gradient of the table.
    float* target;
    /// [id] how many tokens have it, and `few` of them in no order.
    u32* counts;
    u32* slots;
    /// How many ids there are among the tokens, and how many of them have more than few tokens.
    u32* numbers;
    /// These ids, in no order.
    u32* all;
    u32* many;
    u32 tokens;
    u32 features;
    u32 vocab;
    u32 reserved;
};

/// Tokens of an id that a warp sorts and adds up.
constexpr u32 few = 32;

/// Four columns of a row, zeros behind the last.
__device__ __forceinline__ float4 columns_at(const float* row, u32 column, u32 features) {
    if (features % 4 == 0) return column < features ? four_at(row + column) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    return make_float4(
        column < features ? row[column] : 0.0f, column + 1 < features ? row[column + 1] : 0.0f,
        column + 2 < features ? row[column + 2] : 0.0f, column + 3 < features ? row[column + 3] : 0.0f);
}

__device__ __forceinline__ void put_columns(float* row, u32 column, u32 features, const float4& values) {
    if (column >= features) return;
    if (features % 4 == 0) return put_four(row + column, values);
    const float each[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
    for (u32 k = 0; k < 4; k++)
        if (column + k < features) row[column + k] = each[k];
}

} // namespace training

/// target[token] = source[id]
extern "C" __global__ void __launch_bounds__(256) training_embed(const __grid_constant__ training::Embedding e) {
    using namespace training;
    const u32 id = e.ids[blockIdx.x];
    const bool there = id < e.vocab;
    const float* row = e.source + u64(there ? id : 0) * e.features;
    float* out = e.target + u64(blockIdx.x) * e.features;
    const float nan = __uint_as_float(0x7fc00000);
    if (e.features % 4 == 0) {
        for (u32 i = threadIdx.x * 4; i < e.features; i += blockDim.x * 4)
            put_four(out + i, there ? four_at(row + i) : make_float4(nan, nan, nan, nan));
    } else {
        for (u32 i = threadIdx.x; i < e.features; i += blockDim.x) out[i] = there ? row[i] : nan;
    }
}

/// Counts the tokens of every id, of which the first few are noted; counts begin at 0.
extern "C" __global__ void __launch_bounds__(256) training_embed_count(const __grid_constant__ training::Embedding e) {
    using namespace training;
    const u32 token = blockIdx.x * 256 + threadIdx.x;
    const u32 id = token < e.tokens ? e.ids[token] : none;
    const u32 lane = threadIdx.x % 32;
    const u32 same = __match_any_sync(everyone, id);
    const u32 leader = __ffs(same) - 1;
    u32 rank = 0;
    if (lane == leader && id < e.vocab) rank = atomicAdd(e.counts + id, __popc(same));
    rank = __shfl_sync(everyone, rank, leader) + __popc(same & ((1u << lane) - 1));
    const bool is_new = id < e.vocab && rank == 0;
    const u32 found = __ballot_sync(everyone, is_new);
    u32 place = lane == 0 && found ? atomicAdd(e.numbers, __popc(found)) : 0;
    place = __shfl_sync(everyone, place, 0) + __popc(found & ((1u << lane) - 1));
    if (is_new) e.all[place] = id;
    if (id >= e.vocab) return;
    if (rank < few) e.slots[u64(id) * few + rank] = token;
    if (rank == few) e.many[atomicAdd(e.numbers + 1, 1)] = id;
}

/// target[id] += source[token], token by token as on the CPU, for ids that come a few times: a warp has
/// 256 features of one.
extern "C" __global__ void __launch_bounds__(256) training_embed_few(const __grid_constant__ training::Embedding e) {
    using namespace training;
    const u32 number = blockIdx.x * 8 + threadIdx.x / 32;
    if (number >= e.numbers[0]) return;
    const u32 id = e.all[number];
    const u32 count = e.counts[id];
    if (count > few) return;
    const u32 lane = threadIdx.x % 32;
    u32 token = lane < count ? e.slots[u64(id) * few + lane] : none;
    // Bitonic: who comes first depends on the order of atomics.
    if (count > 1) {
#pragma unroll
        for (u32 run = 2; run <= 32; run *= 2) {
#pragma unroll
            for (u32 step = run / 2; step > 0; step /= 2) {
                const u32 other = __shfl_xor_sync(everyone, token, step);
                token = ((lane & run) == 0) == ((lane & step) == 0) ? min(token, other) : max(token, other);
            }
        }
    }
    const u32 column = blockIdx.y * 256 + lane * 4;
    float* out = e.target + u64(id) * e.features;
    float4 sums[2];
#pragma unroll
    for (u32 k = 0; k < 2; k++) sums[k] = columns_at(out, column + k * 128, e.features);
    for (u32 at = 0; at < count; at += 4) {
        float4 rows[4][2];
#pragma unroll
        for (u32 r = 0; r < 4; r++) {
            // The last one again, where there are no four.
            const u64 row = __shfl_sync(everyone, token, min(at + r, count - 1));
#pragma unroll
            for (u32 k = 0; k < 2; k++) rows[r][k] = columns_at(e.source + row * e.features, column + k * 128, e.features);
        }
#pragma unroll
        for (u32 r = 0; r < 4; r++) {
            if (at + r >= count) break;
#pragma unroll
            for (u32 k = 0; k < 2; k++) sums[k] = sums[k] + rows[r][k];
        }
    }
#pragma unroll
    for (u32 k = 0; k < 2; k++) put_columns(out, column + k * 128, e.features, sums[k]);
}

/// target[id] += the rows of its tokens, for ids that come more often: a block has 128 features of one,
/// looks for its tokens in their order, and adds every 16th row in a warp.
extern "C" __global__ void __launch_bounds__(512) training_embed_many(const __grid_constant__ training::Embedding e) {
    using namespace training;
    constexpr u32 round = 2048;
    __shared__ u32 places[2 * round];
    __shared__ u32 counts[16];
    __shared__ float4 parts[16][32];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 column = blockIdx.y * 128 + lane * 4;
    const u32 below = (1u << lane) - 1;
    for (u32 number = blockIdx.x; number < e.numbers[1]; number += gridDim.x) {
        const u32 own = e.many[number];
        const u32 total = e.counts[own];
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        u32 held = 0, seen = 0;
        for (u32 from = 0; seen < total; from += round) {
            const u32 first = from + threadIdx.x * 4;
            u32 found = 0, before = 0, all = 0;
#pragma unroll
            for (u32 k = 0; k < 4; k++) {
                const bool same = first + k < e.tokens && e.ids[first + k] == own;
                const u32 votes = __ballot_sync(everyone, same);
                found |= u32(same) << k;
                before += __popc(votes & below);
                all += __popc(votes);
            }
            if (lane == 0) counts[warp] = all;
            __syncthreads();
            before += held;
            for (u32 w = 0; w < 16; w++) {
                if (w < warp) before += counts[w];
                held += counts[w];
                seen += counts[w];
            }
#pragma unroll
            for (u32 k = 0; k < 4; k++)
                if (found >> k & 1) places[before++] = first + k;
            __syncthreads();
            if (held <= round && seen < total) continue;
            for (u32 i = warp; i < held; i += 16 * 8) {
                float4 rows[8];
#pragma unroll
                for (u32 k = 0; k < 8; k++)
                    rows[k] = i + 16 * k < held ? columns_at(e.source + u64(places[i + 16 * k]) * e.features, column, e.features)
                                                : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
                for (u32 k = 0; k < 8; k++) sum = sum + rows[k];
            }
            held = 0;
            __syncthreads();
        }
        parts[warp][lane] = sum;
        __syncthreads();
        if (warp == 0) {
            float* out = e.target + u64(own) * e.features;
            for (u32 w = 1; w < 16; w++) sum = sum + parts[w][lane];
            put_columns(out, column, e.features, columns_at(out, column, e.features) + sum);
        }
        __syncthreads();
    }
}
