// Attention over a cache of keys and values: [kv head][slot][DIM] floats each, where DIM is the head's
// width padded with zeros and position p lies in slot p mod capacity.
//
//     place_tokens   turns queries and keys by their positions, puts keys and values into the cache
//     place_keys     the same without the queries
//     attend_*       a query of every head against the positions that it sees
//
// A block takes the heads of one key's group (up to HEADS) of one token, and a part of its positions;
// eight lanes share a key. What they have seen is kept as the largest score, the sum of weights and the
// weighted values, and joined at the end: within a warp, a block, and by the last block of a head. A
// single token is placed by the kernel that attends. Floor: keys and values of the context, once.

#include "common.cuh"

struct Attention {
    /// [token][stride]: what the projections gave.
    float* queries;
    float* new_keys;
    float* new_values;
    /// This layer's cache.
    float* keys;
    float* values;
    /// [token][head_dim / 2]
    const float* cosines;
    const float* sines;
    float* output;
    /// Of every token, group of heads and part: weighted values, then largest score and sum of weights.
    float* partial;
    u32* tickets;
    const Step* step;
    u32 query_stride;
    u32 key_stride;
    u32 value_stride;
    u32 heads;
    u32 kv_heads;
    u32 head_dim;
    u32 capacity;
    u32 max_tokens;
    u32 count;
    float scale;
};

/// Element i of a head, turned by its position; 0 beyond the head.
template <class Arguments>
__device__ __forceinline__ float turned(const Arguments& a, const float* head, u32 token, u32 i) {
    const u32 half = a.head_dim / 2;
    if (i >= a.head_dim) return 0.0f;
    const u32 pair = i < half ? i : i - half;
    const float c = a.cosines[token * half + pair];
    const float s = a.sines[token * half + pair];
    const float first = head[pair];
    const float second = head[pair + half];
    return i < half ? __fsub_rn(__fmul_rn(first, c), __fmul_rn(second, s)) : __fadd_rn(__fmul_rn(second, c), __fmul_rn(first, s));
}

/// A block takes a token; a warp a head at a time. Queries may be left to who reads them.
template <int DIM, bool QUERIES>
__device__ void place(const Attention& a) {
    const u32 token = blockIdx.x;
    const u32 lane = threadIdx.x % 32;
    const u32 half = a.head_dim / 2;
    const u32 slot = (a.step->position + token) % a.capacity;
    for (u32 head = (QUERIES ? 0 : a.heads) + threadIdx.x / 32; head < a.heads + 2 * a.kv_heads; head += blockDim.x / 32) {
        if (head < a.heads) {
            float* query = a.queries + u64(token) * a.query_stride + head * a.head_dim;
            for (u32 pair = lane; pair < half; pair += 32) {
                const float first = turned(a, query, token, pair);
                const float second = turned(a, query, token, pair + half);
                query[pair] = first;
                query[pair + half] = second;
            }
        } else if (head < a.heads + a.kv_heads) {
            const u32 kv_head = head - a.heads;
            const float* key = a.new_keys + u64(token) * a.key_stride + kv_head * a.head_dim;
            float* target = a.keys + (u64(kv_head) * a.capacity + slot) * DIM;
            for (u32 i = lane; i < DIM; i += 32) target[i] = turned(a, key, token, i);
        } else {
            const u32 kv_head = head - a.heads - a.kv_heads;
            const float* value = a.new_values + u64(token) * a.value_stride + kv_head * a.head_dim;
            float* target = a.values + (u64(kv_head) * a.capacity + slot) * DIM;
            for (u32 i = lane; i < DIM; i += 32) target[i] = i < a.head_dim ? value[i] : 0.0f;
        }
    }
}

constexpr int attend_warps = 8;
constexpr u32 part_tokens_min = 64;

/// What some keys gave a head.
template <int VALUES>
struct Seen {
    float largest;
    float sum;
    float values[VALUES];
};

/// A finite start: the difference of two infinities has no value.
constexpr float nothing_seen = -3.0e38f;

template <int DIM, int HEADS, bool PLACES>
__device__ void attend(const Attention& a) {
    constexpr int FOURS = DIM / 32;
    constexpr u32 groups = attend_warps * 4;
    __shared__ float4 queries[HEADS][DIM / 4];
    __shared__ float4 new_key[DIM / 4];
    __shared__ float4 new_value[DIM / 4];
    __shared__ float4 sums[attend_warps][HEADS][DIM / 4];
    __shared__ float largest_of[attend_warps][HEADS];
    __shared__ float sum_of[attend_warps][HEADS];
    __shared__ bool is_last;

    launch_next();
    wait_for_previous();
    const u32 parts = gridDim.x;
    const u32 group_heads = a.heads / a.kv_heads;
    const u32 head_blocks = (group_heads + HEADS - 1) / HEADS;
    const u32 kv_head = blockIdx.y / head_blocks;
    const u32 first_head = kv_head * group_heads + blockIdx.y % head_blocks * HEADS;
    const u32 heads = min(u32(HEADS), (kv_head + 1) * group_heads - first_head);
    const u32 token = blockIdx.z;
    const u32 end = a.step->position + token + 1;
    const u32 visible = min(end, a.max_tokens);
    const u32 part_tokens = max(part_tokens_min, ((visible + parts - 1) / parts + groups - 1) / groups * groups);
    const u32 used = (visible + part_tokens - 1) / part_tokens;
    if (blockIdx.x >= used) return;
    const u32 from = end - visible + blockIdx.x * part_tokens;
    const bool newest = blockIdx.x + 1 == used;
    // The newest position's key is in shared memory where this kernel places it.
    const u32 to = newest ? (PLACES ? end - 1 : end) : from + part_tokens;

    float* flat = reinterpret_cast<float*>(queries);
    for (u32 i = threadIdx.x; i < HEADS * DIM; i += blockDim.x) {
        const u32 head = i / DIM;
        const float* query = a.queries + u64(token) * a.query_stride + (first_head + head) * a.head_dim;
        flat[i] = head >= heads ? 0.0f : PLACES ? turned(a, query, token, i % DIM) : i % DIM < a.head_dim ? query[i % DIM] : 0.0f;
    }
    if (PLACES && newest) {
        const u32 slot = (end - 1) % a.capacity;
        const u64 place = (u64(kv_head) * a.capacity + slot) * DIM;
        for (u32 i = threadIdx.x; i < DIM; i += blockDim.x) {
            const float key = turned(a, a.new_keys + kv_head * a.head_dim, 0, i);
            const float value = i < a.head_dim ? a.new_values[kv_head * a.head_dim + i] : 0.0f;
            reinterpret_cast<float*>(new_key)[i] = key;
            reinterpret_cast<float*>(new_value)[i] = value;
            if (blockIdx.y % head_blocks == 0) {
                a.keys[place + i] = key;
                a.values[place + i] = value;
            }
        }
    }
    __syncthreads();

    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 group = threadIdx.x / 8;
    const u32 piece = threadIdx.x % 8;
    float4 query[HEADS][FOURS];
    float4 mixed[HEADS][FOURS];
    float largest[HEADS];
    float sum[HEADS];
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        largest[h] = nothing_seen;
        sum[h] = 0.0f;
#pragma unroll
        for (int f = 0; f < FOURS; f++) {
            query[h][f] = queries[h][piece + 8 * f];
            mixed[h][f] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
    }
    const float4* keys = reinterpret_cast<const float4*>(a.keys + u64(kv_head) * a.capacity * DIM) + piece;
    const float4* values = reinterpret_cast<const float4*>(a.values + u64(kv_head) * a.capacity * DIM) + piece;
    const u32 first_slot = from % a.capacity;
    constexpr int AT_ONCE = DIM > 128 ? 1 : 2;
    // Whole warps go round together; lanes whose key is not there leave it out at the end.
    for (u32 round = from; round < end && round < from + part_tokens; round += groups * AT_ONCE) {
        float4 key[AT_ONCE][FOURS];
        float4 value[AT_ONCE][FOURS];
        bool there[AT_ONCE];
#pragma unroll
        for (int n = 0; n < AT_ONCE; n++) {
            const u32 position = round + group + n * groups;
            there[n] = position < to;
            u32 slot = first_slot + (position - from);
            if (slot >= a.capacity) slot -= a.capacity;
            const bool fresh = PLACES && newest && position == end - 1;
#pragma unroll
            for (int f = 0; f < FOURS; f++) {
                key[n][f] = there[n] ? keys[u64(slot) * (DIM / 4) + 8 * f] : fresh ? new_key[piece + 8 * f] : make_float4(0, 0, 0, 0);
                value[n][f] = there[n] ? values[u64(slot) * (DIM / 4) + 8 * f] : fresh ? new_value[piece + 8 * f] : make_float4(0, 0, 0, 0);
            }
            there[n] = there[n] || fresh;
        }
#pragma unroll
        for (int n = 0; n < AT_ONCE; n++)
#pragma unroll
            for (int h = 0; h < HEADS; h++) {
                float dot = 0.0f;
#pragma unroll
                for (int f = 0; f < FOURS; f++) {
                    dot = fmaf(query[h][f].x, key[n][f].x, dot);
                    dot = fmaf(query[h][f].y, key[n][f].y, dot);
                    dot = fmaf(query[h][f].z, key[n][f].z, dot);
                    dot = fmaf(query[h][f].w, key[n][f].w, dot);
                }
#pragma unroll
                for (int lanes = 1; lanes < 8; lanes *= 2) dot += __shfl_xor_sync(0xffffffff, dot, lanes);
                if (!there[n]) continue;
                const float score = dot * a.scale;
                const float most = fmaxf(largest[h], score);
                const float kept = expf(largest[h] - most);
                const float weight = expf(score - most);
                largest[h] = most;
                sum[h] = fmaf(sum[h], kept, weight);
#pragma unroll
                for (int f = 0; f < FOURS; f++) {
                    mixed[h][f].x = fmaf(mixed[h][f].x, kept, weight * value[n][f].x);
                    mixed[h][f].y = fmaf(mixed[h][f].y, kept, weight * value[n][f].y);
                    mixed[h][f].z = fmaf(mixed[h][f].z, kept, weight * value[n][f].z);
                    mixed[h][f].w = fmaf(mixed[h][f].w, kept, weight * value[n][f].w);
                }
            }
    }

    // The four groups of a warp, then the warps.
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        float most = largest[h];
        most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 8));
        most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 16));
        const float kept = expf(largest[h] - most);
        float total = sum[h] * kept;
        total += __shfl_xor_sync(0xffffffff, total, 8);
        total += __shfl_xor_sync(0xffffffff, total, 16);
#pragma unroll
        for (int f = 0; f < FOURS; f++) {
            float four[4] = {mixed[h][f].x * kept, mixed[h][f].y * kept, mixed[h][f].z * kept, mixed[h][f].w * kept};
#pragma unroll
            for (int i = 0; i < 4; i++) {
                four[i] += __shfl_xor_sync(0xffffffff, four[i], 8);
                four[i] += __shfl_xor_sync(0xffffffff, four[i], 16);
            }
            if (lane < 8) sums[warp][h][lane + 8 * f] = make_float4(four[0], four[1], four[2], four[3]);
        }
        if (lane == 0) largest_of[warp][h] = most, sum_of[warp][h] = total;
    }
    __syncthreads();
    const u32 place = (token * gridDim.y + blockIdx.y) * parts;
    float* partial = a.partial + u64(place + blockIdx.x) * HEADS * (DIM + 2);
    for (u32 i = threadIdx.x; i < HEADS * DIM; i += blockDim.x) {
        const u32 head = i / DIM;
        const u32 at = i % DIM;
        float most = nothing_seen;
#pragma unroll
        for (int w = 0; w < attend_warps; w++) most = fmaxf(most, largest_of[w][head]);
        float total = 0.0f;
        float mix = 0.0f;
#pragma unroll
        for (int w = 0; w < attend_warps; w++) {
            const float kept = expf(largest_of[w][head] - most);
            total = fmaf(sum_of[w][head], kept, total);
            mix = fmaf(reinterpret_cast<const float*>(sums[w][head])[at], kept, mix);
        }
        if (used > 1) {
            partial[i] = mix;
            if (at == 0) partial[HEADS * DIM + 2 * head] = most, partial[HEADS * DIM + 2 * head + 1] = total;
        } else if (head < heads && at < a.head_dim) {
            a.output[(u64(token) * a.heads + first_head + head) * a.head_dim + at] = mix * (1.0f / total);
        }
    }
    if (used == 1) return;

    // The last block of these heads joins what all have seen.
    __threadfence();
    __syncthreads();
    u32* ticket = a.tickets + token * gridDim.y + blockIdx.y;
    if (threadIdx.x == 0) {
        is_last = atomicAdd(ticket, 1) == used - 1;
        if (is_last) *ticket = 0;
    }
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    for (u32 i = threadIdx.x; i < heads * DIM; i += blockDim.x) {
        const u32 head = i / DIM;
        const u32 at = i % DIM;
        if (at >= a.head_dim) continue;
        const float* other = a.partial + u64(place) * HEADS * (DIM + 2);
        const u32 stride = HEADS * (DIM + 2);
        const u32 of_head = HEADS * DIM + 2 * head;
        // Loads that do not depend on each other, so that they are on their way together.
        float most = nothing_seen;
#pragma unroll 8
        for (u32 part = 0; part < used; part++) most = fmaxf(most, __ldcg(other + part * stride + of_head));
        float total = 0.0f;
        float mix = 0.0f;
#pragma unroll 8
        for (u32 part = 0; part < used; part++) {
            const float weight = expf(__ldcg(other + part * stride + of_head) - most);
            total = fmaf(weight, __ldcg(other + part * stride + of_head + 1), total);
            mix = fmaf(weight, __ldcg(other + part * stride + i), mix);
        }
        a.output[(u64(token) * a.heads + first_head + head) * a.head_dim + at] = mix * (1.0f / total);
    }
}

#define ATTENTION(DIM, HEADS)                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) place_tokens_##DIM(const __grid_constant__ Attention a) { place<DIM, true>(a); }     \
    extern "C" __global__ void __launch_bounds__(256) attend_one_##DIM(const __grid_constant__ Attention a) { attend<DIM, HEADS, true>(a); } \
    extern "C" __global__ void __launch_bounds__(256) attend_each_##DIM(const __grid_constant__ Attention a) { attend<DIM, HEADS, false>(a); }
ATTENTION(32, 4)
ATTENTION(64, 4)
ATTENTION(128, 4)
ATTENTION(256, 2)
