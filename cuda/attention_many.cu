// Attention of many tokens over the cache, on tensor cores (mma.m16n8k8, tf32).
//
// The queries of a kv head, token by token and within a token head by head, are its rows. A block of 8
// warps takes 128 of them, 16 a warp, and goes through the positions that they see, 32 at a time, which
// are copied to shared memory one step ahead. Scores and weights never leave registers: with keys taken
// in the order 0, 2, 4, 6, 1, 3, 5, 7 what the first product gives is what the second one takes.
//
// A product of f32 numbers is three of tf32 ones: of the upper parts, and of each upper part with the
// other's rest; what is left out is below 2^-21 of it. Floor: 12 x head_dim operations a visible pair
// of row and position, at the rate of mma.sync.

#include "common.cuh"

constexpr int tile_keys = 32;
constexpr int tile_rows_many = 128;

/// Floats from one key to the next, and one value: no two lanes that read at a time meet in a bank.
template <int DIM>
constexpr int key_stride = DIM + 16;
template <int DIM>
constexpr int value_stride = DIM + 4;
template <int DIM>
constexpr int many_stage_floats = tile_keys * (key_stride<DIM> + value_stride<DIM>);

struct Split {
    u32 high;
    u32 low;

    __device__ __forceinline__ explicit Split(float x) {
        high = __float_as_uint(x) & 0xffffe000;
        low = __float_as_uint(x - __uint_as_float(high));
    }
};

__device__ __forceinline__ void multiply_tf32(float (&sums)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void multiply_split(float (&sums)[4], const Split (&a)[4], const Split& b0, const Split& b1) {
    multiply_tf32(sums, a[0].low, a[1].low, a[2].low, a[3].low, b0.high, b1.high);
    multiply_tf32(sums, a[0].high, a[1].high, a[2].high, a[3].high, b0.low, b1.low);
    multiply_tf32(sums, a[0].high, a[1].high, a[2].high, a[3].high, b0.high, b1.high);
}

/// Copies keys and values of positions from `position` on; zeros from `end` on.
template <int DIM>
__device__ __forceinline__ void stage_keys(const Attention& a, float* stage, u32 kv_head, u32 position, u32 end) {
    const u64 base = u64(kv_head) * a.capacity * DIM;
    const u32 first_slot = position % a.capacity;
#pragma unroll
    for (int i = 0; i < tile_keys * DIM / 4 / 256; i++) {
        const u32 piece = threadIdx.x + i * 256;
        const u32 key = piece / (DIM / 4);
        const u32 four = piece % (DIM / 4);
        u32 slot = first_slot + key;
        if (slot >= a.capacity) slot -= a.capacity;
        const bool there = position + key < end;
        const u64 from = base + u64(there ? slot : 0) * DIM + four * 4;
        copy_async(stage + key * key_stride<DIM> + four * 4, a.keys + from, there);
        copy_async(stage + tile_keys * key_stride<DIM> + key * value_stride<DIM> + four * 4, a.values + from, there);
    }
    asm volatile("cp.async.commit_group;");
}

template <int DIM>
__device__ void attend_many(const Attention& a) {
    extern __shared__ __align__(16) float stages_many[];
    const u32 lane = threadIdx.x % 32;
    const u32 g = lane / 4;
    const u32 t = lane % 4;
    const u32 kv_head = blockIdx.y;
    const u32 group_heads = a.heads / a.kv_heads;
    const u32 rows = a.count * group_heads;
    // Later tokens see more: they begin first.
    const u32 first_row = (gridDim.x - 1 - blockIdx.x) * tile_rows_many;
    const u32 last_row = min(first_row + tile_rows_many, rows) - 1;
    const u32 start = a.step->position;
    const u32 end = start + last_row / group_heads + 1;
    const u32 first_end = start + first_row / group_heads + 1;
    const u32 from = first_end - min(first_end, a.max_tokens);
    const u32 all_from = end - min(end, a.max_tokens);

    // Rows g and g + 8 of the warp's 16.
    u32 row_end[2];
    u32 row_from[2];
    u64 row_place[2];
    bool row_there[2];
    float query[DIM / 16][2][4];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const u32 row = first_row + threadIdx.x / 32 * 16 + half * 8 + g;
        row_there[half] = row < rows;
        const u32 token = min(row, rows - 1) / group_heads;
        const u32 head = kv_head * group_heads + min(row, rows - 1) % group_heads;
        row_end[half] = start + token + 1;
        row_from[half] = row_end[half] - min(row_end[half], a.max_tokens);
        row_place[half] = (u64(token) * a.heads + head) * a.head_dim;
        const float* source = a.queries + u64(token) * a.query_stride + head * a.head_dim;
#pragma unroll
        for (int kb = 0; kb < DIM / 16; kb++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const u32 at = kb * 16 + t * 4 + i;
                query[kb][half][i] = at < a.head_dim ? source[at] : 0.0f;
            }
    }
    float mixed[DIM / 8][4] = {};
    float largest[2] = {nothing_seen, nothing_seen};
    float total[2] = {0.0f, 0.0f};
    const float scale = a.scale * 1.44269504088896341f;

    stage_keys<DIM>(a, stages_many, kv_head, from, end);
    u32 stage_index = 0;
    for (u32 position = from; position < end; position += tile_keys, stage_index ^= 1) {
        if (position + tile_keys < end) {
            stage_keys<DIM>(a, stages_many + (stage_index ^ 1) * many_stage_floats<DIM>, kv_head, position + tile_keys, end);
            asm volatile("cp.async.wait_group 1;");
        } else {
            asm volatile("cp.async.wait_group 0;");
        }
        __syncthreads();
        const float* keys = stages_many + stage_index * many_stage_floats<DIM>;
        const float* values = keys + tile_keys * key_stride<DIM>;
        float scores[tile_keys / 8][4] = {};
#pragma unroll
        for (int kb = 0; kb < DIM / 16; kb++) {
            const Split low[4] = {Split(query[kb][0][0]), Split(query[kb][1][0]), Split(query[kb][0][1]), Split(query[kb][1][1])};
            const Split high[4] = {Split(query[kb][0][2]), Split(query[kb][1][2]), Split(query[kb][0][3]), Split(query[kb][1][3])};
#pragma unroll
            for (int n = 0; n < tile_keys / 8; n++) {
                const float4 key = *reinterpret_cast<const float4*>(keys + (n * 8 + g) * key_stride<DIM> + kb * 16 + t * 4);
                multiply_split(scores[n], low, Split(key.x), Split(key.y));
                multiply_split(scores[n], high, Split(key.z), Split(key.w));
            }
        }
        const bool masks = position < all_from || position + tile_keys > first_end;
        float most[2] = {largest[0], largest[1]};
#pragma unroll
        for (int n = 0; n < tile_keys / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const u32 at = position + n * 8 + t * 2 + i % 2;
                float score = scores[n][i] * scale;
                if (masks && (at < row_from[i / 2] || at >= row_end[i / 2])) score = -INFINITY;
                scores[n][i] = score;
                most[i / 2] = fmaxf(most[i / 2], score);
            }
        float kept[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffff, most[half], 1));
            most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffff, most[half], 2));
            kept[half] = exp2f(largest[half] - most[half]);
            largest[half] = most[half];
            total[half] *= kept[half];
        }
#pragma unroll
        for (int n = 0; n < tile_keys / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                scores[n][i] = exp2f(scores[n][i] - most[i / 2]);
                total[i / 2] += scores[n][i];
            }
#pragma unroll
        for (int d = 0; d < DIM / 8; d++)
#pragma unroll
            for (int i = 0; i < 4; i++) mixed[d][i] *= kept[i / 2];
#pragma unroll
        for (int n = 0; n < tile_keys / 8; n++) {
            const Split weights[4] = {Split(scores[n][0]), Split(scores[n][2]), Split(scores[n][1]), Split(scores[n][3])};
#pragma unroll
            for (int four = 0; four < DIM / 32; four++) {
                const float* value = values + (n * 8 + t * 2) * value_stride<DIM> + four * 32 + g * 4;
                const float4 even = *reinterpret_cast<const float4*>(value);
                const float4 odd = *reinterpret_cast<const float4*>(value + value_stride<DIM>);
                multiply_split(mixed[four * 4], weights, Split(even.x), Split(odd.x));
                multiply_split(mixed[four * 4 + 1], weights, Split(even.y), Split(odd.y));
                multiply_split(mixed[four * 4 + 2], weights, Split(even.z), Split(odd.z));
                multiply_split(mixed[four * 4 + 3], weights, Split(even.w), Split(odd.w));
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        total[half] += __shfl_xor_sync(0xffffffff, total[half], 1);
        total[half] += __shfl_xor_sync(0xffffffff, total[half], 2);
        if (!row_there[half]) continue;
        const float inverse = 1.0f / total[half];
        // Column c of the j-th product of 32 dimensions is dimension 4 c + j.
#pragma unroll
        for (int four = 0; four < DIM / 32; four++)
#pragma unroll
            for (int i = 0; i < 8; i++) {
                const u32 at = four * 32 + t * 8 + i;
                if (at < a.head_dim) a.output[row_place[half] + at] = mixed[four * 4 + i % 4][half * 2 + i / 4] * inverse;
            }
    }
}

#define ATTEND_MANY(DIM) \
    extern "C" __global__ void __launch_bounds__(256) attend_many_##DIM(const __grid_constant__ Attention a) { attend_many<DIM>(a); }
ATTEND_MANY(32)
ATTEND_MANY(64)
ATTEND_MANY(128)
