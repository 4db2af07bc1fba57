// Attention of many tokens over the cache, on tensor cores (mma.m16n8k16, f16).
//
//     split_cache    keys and values of a layer as pairs of f16, every head of a token with its own scale
//     attend_many_*  the queries of a chunk against the positions that they see
//
// An f32 number, scaled by a power of two, is a sum of two f16 ones to within 2^-22 of the head's
// largest. A product is then three: of the upper parts, and of each upper part with the other's lower
// one. Nothing overflows, because scales are exact and are multiplied back in f32.
//
// The queries of a kv head, token by token and within a token head by head, are its rows. A block of 4
// warps takes 64 of them, 16 a warp, and goes through the positions that they see, 32 at a time, which
// are copied to shared memory two steps ahead. Scores and weights never leave registers. Floor: 12 x
// head_dim operations a visible pair of row and position, at the rate of mma.sync; what comes first is
// reading the fragments from shared memory.

#include "common.cuh"

struct Splitting {
    const float* keys;
    const float* values;
    /// [kv head][slot][4][DIM]: upper and lower part of the key, then of the value.
    u16* parts;
    /// [kv head][slot][2]: what the key's and the value's parts are to be multiplied by.
    float* scales;
    const Step* step;
    u32 kv_heads;
    u32 capacity;
    u32 max_tokens;
    /// Tokens of the chunk; the parts of all that they see are made.
    u32 count;
};

__device__ __forceinline__ u32 pack_halves(float low, float high) {
    u32 packed;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

__device__ __forceinline__ float low_half(u32 packed) { return widen_half(u16(packed)); }
__device__ __forceinline__ float high_half(u32 packed) { return widen_half(u16(packed >> 16)); }

/// Two numbers as two pairs.
__device__ __forceinline__ void split_pair(float first, float second, u32& upper, u32& lower) {
    upper = pack_halves(first, second);
    lower = pack_halves(first - low_half(upper), second - high_half(upper));
}

/// The power of two that brings a largest magnitude to [1, 2), for all that f32 has but its edges.
__device__ __forceinline__ u32 exponent_of(u32 largest) { return min(max(largest >> 23, 2u), 252u); }
__device__ __forceinline__ float power_of(u32 exponent) { return __uint_as_float(exponent << 23); }

/// A warp splits a key or a value.
template <int DIM>
__device__ void split_cache(const Splitting& s) {
    constexpr int PAIRS = DIM / 64 > 0 ? DIM / 64 : 1;
    const u32 lane = threadIdx.x % 32;
    const u32 end = s.step->position + s.count;
    const u32 seen = min(end, s.max_tokens + s.count - 1);
    const u32 index = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    const u32 which = blockIdx.z;
    if (index >= seen) return;
    const u32 slot = (end - seen + index) % s.capacity;
    const u64 row = u64(blockIdx.y) * s.capacity + slot;
    const float* source = (which ? s.values : s.keys) + row * DIM;
    float2 pairs[PAIRS];
    u32 largest = 0;
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        const u32 at = (i * 32 + lane) * 2;
        pairs[i] = at < DIM ? *reinterpret_cast<const float2*>(source + at) : make_float2(0.0f, 0.0f);
        largest = max(largest, max(__float_as_uint(pairs[i].x) & 0x7fffffff, __float_as_uint(pairs[i].y) & 0x7fffffff));
    }
    const u32 exponent = exponent_of(__reduce_max_sync(0xffffffff, largest));
    const float inverse = power_of(254 - exponent);
    u32* parts = reinterpret_cast<u32*>(s.parts + (row * 4 + which * 2) * DIM);
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        if (u32(i * 32 + lane) * 2 >= DIM) continue;
        u32 upper, lower;
        split_pair(pairs[i].x * inverse, pairs[i].y * inverse, upper, lower);
        parts[i * 32 + lane] = upper;
        parts[DIM / 2 + i * 32 + lane] = lower;
    }
    if (lane == 0) s.scales[row * 2 + which] = power_of(exponent);
}

constexpr int tile_keys = 32;
constexpr int many_rows = 64;
constexpr int many_threads = many_rows * 2;
constexpr int many_stages = 3;

/// A stage: 32 keys of four parts, and their scales.
template <int DIM>
constexpr int many_stage_bytes_of = tile_keys * (4 * DIM * 2 + 8);

struct AttendMany {
    /// Not turned yet.
    const float* queries;
    /// [token][head_dim / 2]
    const float* cosines;
    const float* sines;
    const u16* parts;
    const float* scales;
    float* output;
    const Step* step;
    u32 query_stride;
    u32 heads;
    u32 kv_heads;
    u32 head_dim;
    u32 capacity;
    u32 max_tokens;
    u32 count;
    float scale;
};

/// Where 16 bytes of a key's part stand: lanes that read eight keys at a time meet all banks.
template <int DIM>
__device__ __forceinline__ u32 swizzled(u32 key, u32 piece) {
    constexpr u32 pieces = DIM / 8;
    const u32 turn = pieces >= 8 ? key % 8 : key / (8 / pieces) % pieces;
    return (key * pieces + (piece ^ turn)) * 16;
}

/// Copies the parts and scales of positions from `position` on; zeros from `end` on.
template <int DIM>
__device__ __forceinline__ void stage_parts(const AttendMany& a, u8* stage, u32 kv_head, u32 position, u32 end) {
    constexpr u32 pieces = DIM / 8;
    if (position < end) {
        const u64 head = u64(kv_head) * a.capacity;
        const u32 first_slot = position % a.capacity;
#pragma unroll
        for (int i = 0; i < int(tile_keys * 4 * pieces / many_threads); i++) {
            const u32 index = threadIdx.x + i * many_threads;
            const u32 piece = index % pieces;
            const u32 part = index / pieces % 4;
            const u32 key = index / pieces / 4;
            u32 slot = first_slot + key;
            if (slot >= a.capacity) slot -= a.capacity;
            const bool there = position + key < end;
            const u16* from = a.parts + ((head + (there ? slot : 0)) * 4 + part) * DIM + piece * 8;
            copy_async(stage + part * tile_keys * DIM * 2 + swizzled<DIM>(key, piece), from, there);
        }
        if (threadIdx.x < tile_keys) {
            u32 slot = first_slot + threadIdx.x;
            if (slot >= a.capacity) slot -= a.capacity;
            const bool there = position + threadIdx.x < end;
            const u32 target = static_cast<u32>(__cvta_generic_to_shared(stage + tile_keys * 4 * DIM * 2 + threadIdx.x * 8));
            asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(target), "l"(a.scales + (head + (there ? slot : 0)) * 2), "r"(there ? 8 : 0));
        }
    }
    asm volatile("cp.async.commit_group;");
}

__device__ __forceinline__ void load_matrices_turned(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}

__device__ __forceinline__ void multiply_halves(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <int DIM>
__device__ void attend_many(const AttendMany& a) {
    extern __shared__ __align__(128) u8 stages_many[];
    const u32 lane = threadIdx.x % 32;
    const u32 g = lane / 4;
    const u32 t = lane % 4;
    const u32 kv_head = blockIdx.y;
    const u32 group_heads = a.heads / a.kv_heads;
    const u32 rows = a.count * group_heads;
    // Later tokens see more: they begin first.
    const u32 first_row = (gridDim.x - 1 - blockIdx.x) * many_rows;
    const u32 last_row = min(first_row + many_rows, rows) - 1;
    const u32 start = a.step->position;
    const u32 end = start + last_row / group_heads + 1;
    const u32 first_end = start + first_row / group_heads + 1;
    const u32 from = first_end - min(first_end, a.max_tokens);
    const u32 all_from = end - min(end, a.max_tokens);
    constexpr int stage_bytes = many_stage_bytes_of<DIM>;
    stage_parts<DIM>(a, stages_many, kv_head, from, end);
    stage_parts<DIM>(a, stages_many + stage_bytes, kv_head, from + tile_keys, end);

    // Rows g and g + 8 of the warp's 16, as fragments of both parts.
    u32 row_end[2];
    u32 row_from[2];
    float row_scale[2];
    u32 upper[DIM / 16][4];
    u32 lower[DIM / 16][4];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const u32 row = min(first_row + threadIdx.x / 32 * 16 + half * 8 + g, rows - 1);
        const u32 token = row / group_heads;
        row_end[half] = start + token + 1;
        row_from[half] = row_end[half] - min(row_end[half], a.max_tokens);
        const float* source = a.queries + u64(token) * a.query_stride + (kv_head * group_heads + row % group_heads) * a.head_dim;
        u32 most_bits = 0;
        for (u32 at = t; at < a.head_dim; at += 4) most_bits = max(most_bits, __float_as_uint(turned(a, source, token, at)) & 0x7fffffff);
        most_bits = max(most_bits, __shfl_xor_sync(0xffffffff, most_bits, 1));
        most_bits = max(most_bits, __shfl_xor_sync(0xffffffff, most_bits, 2));
        const u32 exponent = exponent_of(most_bits);
        const float inverse = power_of(254 - exponent);
        row_scale[half] = power_of(exponent) * (a.scale * 1.44269504088896341f);
#pragma unroll
        for (int kb = 0; kb < DIM / 16; kb++)
#pragma unroll
            for (int side = 0; side < 2; side++) {
                const u32 at = kb * 16 + side * 8 + t * 2;
                const float first = turned(a, source, token, at) * inverse;
                const float second = turned(a, source, token, at + 1) * inverse;
                split_pair(first, second, upper[kb][side * 2 + half], lower[kb][side * 2 + half]);
            }
    }
    float mixed[DIM / 8][4] = {};
    float largest[2] = {nothing_seen, nothing_seen};
    float total[2] = {0.0f, 0.0f};
    // What `mixed` is to be multiplied by: the largest scale of the values so far.
    float unit = power_of(1);

    u32 stage_index = 0;
    for (u32 position = from; position < end; position += tile_keys) {
        asm volatile("cp.async.wait_group 1;");
        __syncthreads();
        // Everybody is done with the stage before, which takes the tile after the next.
        const u32 next_stage = stage_index >= 1 ? stage_index - 1 : many_stages - 1;
        stage_parts<DIM>(a, stages_many + next_stage * stage_bytes, kv_head, position + 2 * tile_keys, end);
        const u8* stage = stages_many + stage_index * stage_bytes;
        stage_index = stage_index + 1 == many_stages ? 0 : stage_index + 1;
        const u32 base = static_cast<u32>(__cvta_generic_to_shared(stage));
        constexpr u32 part_bytes = tile_keys * DIM * 2;

        float scores[tile_keys / 8][4] = {};
#pragma unroll
        for (int kb = 0; kb < DIM / 16; kb++) {
            // Matrices: keys n * 8 and (n + 1) * 8, the lower and upper eight dimensions of each. Sums take
            // turns, so that none waits for the instruction before.
            u32 high[2][4];
            u32 low[2][4];
#pragma unroll
            for (int n = 0; n < 2; n++) {
                const u32 place = swizzled<DIM>(n * 16 + lane / 16 * 8 + lane % 8, kb * 2 + lane / 8 % 2);
                load_matrices(high[n], base + place);
                load_matrices(low[n], base + part_bytes + place);
            }
#pragma unroll
            for (int n = 0; n < 4; n++) multiply_halves(scores[n], lower[kb], high[n / 2][n % 2 * 2], high[n / 2][n % 2 * 2 + 1]);
#pragma unroll
            for (int n = 0; n < 4; n++) multiply_halves(scores[n], upper[kb], low[n / 2][n % 2 * 2], low[n / 2][n % 2 * 2 + 1]);
#pragma unroll
            for (int n = 0; n < 4; n++) multiply_halves(scores[n], upper[kb], high[n / 2][n % 2 * 2], high[n / 2][n % 2 * 2 + 1]);
            }
        const float2* scales = reinterpret_cast<const float2*>(stage + 4 * part_bytes);
        const bool masks = position < all_from || position + tile_keys > first_end;
        float most[2] = {largest[0], largest[1]};
        float next_unit = unit;
#pragma unroll
        for (int n = 0; n < tile_keys / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const float2 both = scales[n * 8 + t * 2 + i];
                next_unit = fmaxf(next_unit, both.y);
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const u32 at = position + n * 8 + t * 2 + i;
                    float score = scores[n][half * 2 + i] * both.x * row_scale[half];
                    if (masks && (at < row_from[half] || at >= row_end[half])) score = -INFINITY;
                    scores[n][half * 2 + i] = score;
                    most[half] = fmaxf(most[half], score);
                }
            }
        next_unit = fmaxf(next_unit, __shfl_xor_sync(0xffffffff, next_unit, 1));
        next_unit = fmaxf(next_unit, __shfl_xor_sync(0xffffffff, next_unit, 2));
        const float shrink = unit / next_unit;
        unit = next_unit;
        const float per_unit = 1.0f / unit;
        float kept[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffff, most[half], 1));
            most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffff, most[half], 2));
            kept[half] = exp2f(largest[half] - most[half]);
            largest[half] = most[half];
            total[half] *= kept[half];
            kept[half] *= shrink;
        }
#pragma unroll
        for (int d = 0; d < DIM / 8; d++)
#pragma unroll
            for (int i = 0; i < 4; i++) mixed[d][i] *= kept[i / 2];
#pragma unroll
        for (int n = 0; n < tile_keys / 8; n += 2) {
            u32 weight[4];
            u32 rest[4];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const float even = scales[(n + i) * 8 + t * 2].y * per_unit;
                const float odd = scales[(n + i) * 8 + t * 2 + 1].y * per_unit;
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const float first = exp2f(scores[n + i][half * 2] - most[half]);
                    const float second = exp2f(scores[n + i][half * 2 + 1] - most[half]);
                    total[half] += first + second;
                    split_pair(first * even, second * odd, weight[i * 2 + half], rest[i * 2 + half]);
                }
            }
#pragma unroll
            for (int d = 0; d < DIM / 8; d += 4) {
                // Matrices: dimensions d * 8 of the lower and upper eight keys, then (d + 1) * 8.
                u32 high[2][4];
                u32 low[2][4];
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const u32 place = swizzled<DIM>(n * 8 + lane % 16, d + i * 2 + lane / 16);
                    load_matrices_turned(high[i], base + 2 * part_bytes + place);
                    load_matrices_turned(low[i], base + 3 * part_bytes + place);
                }
#pragma unroll
                for (int i = 0; i < 4; i++) multiply_halves(mixed[d + i], rest, high[i / 2][i % 2 * 2], high[i / 2][i % 2 * 2 + 1]);
#pragma unroll
                for (int i = 0; i < 4; i++) multiply_halves(mixed[d + i], weight, low[i / 2][i % 2 * 2], low[i / 2][i % 2 * 2 + 1]);
#pragma unroll
                for (int i = 0; i < 4; i++) multiply_halves(mixed[d + i], weight, high[i / 2][i % 2 * 2], high[i / 2][i % 2 * 2 + 1]);
            }
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        total[half] += __shfl_xor_sync(0xffffffff, total[half], 1);
        total[half] += __shfl_xor_sync(0xffffffff, total[half], 2);
        const u32 row = first_row + threadIdx.x / 32 * 16 + half * 8 + g;
        if (row >= rows) continue;
        const float inverse = unit / total[half];
        float* output = a.output + (u64(row / group_heads) * a.heads + kv_head * group_heads + row % group_heads) * a.head_dim;
#pragma unroll
        for (int d = 0; d < DIM / 8; d++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const u32 at = d * 8 + t * 2 + i;
                if (at < a.head_dim) output[at] = mixed[d][half * 2 + i] * inverse;
            }
    }
}

#define ATTEND_MANY(DIM)                                                                                                                \
    extern "C" __global__ void __launch_bounds__(256) place_keys_##DIM(const __grid_constant__ Attention a) { place<DIM, false>(a); } \
    extern "C" __global__ void __launch_bounds__(256) split_cache_##DIM(const __grid_constant__ Splitting s) { split_cache<DIM>(s); } \
    extern "C" __global__ void __launch_bounds__(many_threads) attend_many_##DIM(const __grid_constant__ AttendMany a) { attend_many<DIM>(a); }
ATTEND_MANY(32)
ATTEND_MANY(64)
ATTEND_MANY(128)
