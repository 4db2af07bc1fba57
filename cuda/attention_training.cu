// Causal grouped-query attention of whole texts, forward and backward, for training: f32 throughout, on
// tensor cores (mma.m16n8k8, tf32), and nothing of the size length x length in memory.
//
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
// A product of f32 is three of tf32: x = high + low, where `high` is x without its last 13 bits, and
// what is left fits the 11 bits that the tensor core takes to within 2^-22 of x. Of a x b the product of
// the low parts is left out. The tensor core cuts off what its sums do not hold, so that long sums would
// drift: every tile has sums of its own, which are added to the rest with rounding.
//
// Tiles are rows of DIM floats in shared memory, head_dim padded with zeros. A contraction may take its
// columns in any order: lane t takes columns 4 t .. + 3 of 16 for two steps, so that everything is read in
// pieces of 16 bytes; the pieces of a row are swapped so that all banks are met. Weights leave one product
// in the registers in which the next one takes them.
//
// Every sum has one order: no atomics, and a gradient is computed by one block.
//
// Floor: of pairs of query and key that see each other, 2 products of 2 x head_dim operations forward and
// 5 backward (7 here: scores and dw are computed twice), each three times at the rate of tf32.

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

/// How the 16-byte pieces of a row are swapped: rows 2 a and 2 a + 1 differ in bit 2, and rows of the same
/// parity in bits 1 and 2.
__device__ __forceinline__ u32 turn_of(u32 row) { return (row >> 1 & 3) << 1 ^ (row & 1) << 2; }

struct Split {
    u32 high;
    u32 low;
};

__device__ __forceinline__ Split split(float x) {
    const u32 high = __float_as_uint(x) & 0xffffe000;
    return {high, __float_as_uint(x - __uint_as_float(high))};
}

__device__ __forceinline__ void multiply_tf32(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float part(const float4& piece, int index) {
    return index == 0 ? piece.x : index == 1 ? piece.y : index == 2 ? piece.z : piece.w;
}

/// Copies rows from `first` on; zeros from `length` on and behind head_dim.
template <int DIM, int ROWS, int THREADS>
__device__ __forceinline__ void load_rows(float* tile, const float* source, u64 stride, u32 first, u32 length, u32 head_dim) {
    constexpr u32 pieces = DIM / 4;
    if (head_dim % 4 == 0) {
#pragma unroll 4
        for (u32 index = threadIdx.x; index < ROWS * pieces; index += THREADS) {
            const u32 row = index / pieces;
            const u32 piece = index % pieces;
            const bool there = first + row < length && piece * 4 < head_dim;
            copy_async(tile + row * DIM + (piece ^ turn_of(row)) * 4, source + (there ? (first + row) * stride + piece * 4 : 0), there);
        }
    } else {
        for (u32 index = threadIdx.x; index < ROWS * DIM / 2; index += THREADS) {
            const u32 row = index / (DIM / 2);
            const u32 column = index % (DIM / 2) * 2;
            const bool there = first + row < length && column < head_dim;
            const float2 pair = there ? *reinterpret_cast<const float2*>(source + (first + row) * stride + column) : make_float2(0.0f, 0.0f);
            *reinterpret_cast<float2*>(tile + row * DIM + (column / 4 ^ turn_of(row)) * 4 + column % 4) = pair;
        }
    }
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int LEFT>
__device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
    __syncthreads();
}

/// scores[n] = 16 rows of `rows` times rows n * 8 .. + 7 of `others`.
template <int DIM, int TILES>
__device__ __forceinline__ void score_tile(const float* rows, const float* others, float (&scores)[TILES][4]) {
    const u32 g = threadIdx.x % 32 / 4;
    const u32 t = threadIdx.x % 4;
    float rest[TILES][4] = {};
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) scores[n][i] = 0.0f;
#pragma unroll(DIM <= 64 ? DIM / 16 : 2)
    for (u32 kk = 0; kk < DIM / 16; kk++) {
        const u32 place = ((kk * 4 + t) ^ turn_of(g)) * 4;
        const float4 upper = *reinterpret_cast<const float4*>(rows + g * DIM + place);
        const float4 lower = *reinterpret_cast<const float4*>(rows + (g + 8) * DIM + place);
        u32 high[2][4];
        u32 low[2][4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const Split a = split(part(upper, i));
            const Split b = split(part(lower, i));
            high[i / 2][i % 2 * 2] = a.high;
            low[i / 2][i % 2 * 2] = a.low;
            high[i / 2][i % 2 * 2 + 1] = b.high;
            low[i / 2][i % 2 * 2 + 1] = b.low;
        }
        // Several at a time, so that no sum waits for the instruction before.
        constexpr int together = TILES < 4 ? TILES : 4;
#pragma unroll
        for (int n = 0; n < TILES; n += together) {
            float4 other[together];
#pragma unroll
            for (int i = 0; i < together; i++) other[i] = *reinterpret_cast<const float4*>(others + ((n + i) * 8 + g) * DIM + place);
#pragma unroll
            for (int step = 0; step < 2; step++) {
                Split first[together];
                Split second[together];
#pragma unroll
                for (int i = 0; i < together; i++) {
                    first[i] = split(part(other[i], step * 2));
                    second[i] = split(part(other[i], step * 2 + 1));
                }
#pragma unroll
                for (int i = 0; i < together; i++) multiply_tf32(rest[n + i], low[step], first[i].high, second[i].high);
#pragma unroll
                for (int i = 0; i < together; i++) multiply_tf32(scores[n + i], high[step], first[i].high, second[i].high);
#pragma unroll
                for (int i = 0; i < together; i++) multiply_tf32(rest[n + i], high[step], first[i].low, second[i].low);
            }
        }
    }
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) scores[n][i] += rest[n][i];
}

/// Sums of 16 rows: of group d, tile i, column 2 t + j of the product, which is column
/// 32 d + 8 t + 4 j + i of the head.
template <int DIM>
using Sums = float[DIM / 32][4][4];

/// sums = sums * keep + weights (16 rows x TILES * 8) times as many rows of `others`.
template <int DIM, int TILES>
__device__ __forceinline__ void mix_tile(const float (&weights)[TILES][4], const float* others, Sums<DIM>& sums, const float (&keep)[2]) {
    const u32 g = threadIdx.x % 32 / 4;
    const u32 t = threadIdx.x % 4;
#pragma unroll
    for (int d = 0; d < DIM / 32; d++) {
        float fresh[4][4] = {};
#pragma unroll
        for (int n = 0; n < TILES; n++) {
            u32 high[4];
            u32 low[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                // The product's rows g and g + 8, columns 2 t and 2 t + 1, are the next one's steps t and t + 4.
                const Split a = split(weights[n][i % 2 * 2 + i / 2]);
                high[i] = a.high;
                low[i] = a.low;
            }
            const float* row = others + (n * 8 + t * 2) * DIM;
            const float4 even = *reinterpret_cast<const float4*>(row + ((d * 8 + g) ^ turn_of(t * 2)) * 4);
            const float4 odd = *reinterpret_cast<const float4*>(row + DIM + ((d * 8 + g) ^ turn_of(t * 2 + 1)) * 4);
            Split first[4];
            Split second[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                first[i] = split(part(even, i));
                second[i] = split(part(odd, i));
            }
#pragma unroll
            for (int i = 0; i < 4; i++) multiply_tf32(fresh[i], low, first[i].high, second[i].high);
#pragma unroll
            for (int i = 0; i < 4; i++) multiply_tf32(fresh[i], high, first[i].low, second[i].low);
#pragma unroll
            for (int i = 0; i < 4; i++) multiply_tf32(fresh[i], high, first[i].high, second[i].high);
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) sums[d][i][j] = sums[d][i][j] * keep[j / 2] + fresh[i][j];
    }
}

/// Writes rows from `first` on, each times its factor.
template <int DIM>
__device__ __forceinline__ void store_rows(const Sums<DIM>& sums, float* target, u64 stride, u32 first, u32 length, u32 head_dim, const float (&factors)[2]) {
    const u32 g = threadIdx.x % 32 / 4;
    const u32 t = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const u32 row = first + half * 8 + g;
        if (row >= length) continue;
        float* to = target + row * stride;
#pragma unroll
        for (int d = 0; d < DIM / 32; d++)
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const u32 column = d * 32 + t * 8 + j * 4;
                const float4 piece = make_float4(sums[d][0][half * 2 + j] * factors[half], sums[d][1][half * 2 + j] * factors[half],
                    sums[d][2][half * 2 + j] * factors[half], sums[d][3][half * 2 + j] * factors[half]);
                if (column >= head_dim) continue;
                if (head_dim % 4 == 0) {
                    *reinterpret_cast<float4*>(to + column) = piece;
                } else {
                    *reinterpret_cast<float2*>(to + column) = make_float2(piece.x, piece.y);
                    if (column + 2 < head_dim) *reinterpret_cast<float2*>(to + column + 2) = make_float2(piece.z, piece.w);
                }
            }
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

extern __shared__ __align__(128) float text_tiles[];

template <int DIM, int WARPS, int COLUMNS>
__device__ void attend_text_forward(const AttendText& a) {
    constexpr u32 rows = WARPS * warp_rows;
    constexpr u32 threads = WARPS * 32;
    constexpr int tiles = COLUMNS / 8;
    float* queries = text_tiles;
    float* keys = queries + rows * DIM;
    float* values = keys + COLUMNS * DIM;
    const Part part(a.batch, a.heads, a.length, rows, true);
    const u32 lane = threadIdx.x % 32;
    const u32 own = threadIdx.x / 32 * warp_rows;
    const u64 query_stride = u64(a.heads) * a.head_dim;
    const u64 key_stride = u64(a.kv_heads) * a.head_dim;
    const u64 query_place = u64(part.text) * a.length * query_stride + part.head * a.head_dim;
    const u64 key_place = u64(part.text) * a.length * key_stride + part.head / (a.heads / a.kv_heads) * a.head_dim;
    load_rows<DIM, rows, threads>(queries, a.queries + query_place, query_stride, part.first, a.length, a.head_dim);
    load_rows<DIM, COLUMNS, threads>(keys, a.keys + key_place, key_stride, 0, a.length, a.head_dim);
    commit_copies();

    const u32 end = min(part.first + rows, a.length);
    const u32 first_row = part.first + own;
    const float factor = a.scale * log2_of_e;
    Sums<DIM> mixed = {};
    float largest[2] = {-INFINITY, -INFINITY};
    float total[2] = {0.0f, 0.0f};
    for (u32 key = 0; key < end; key += COLUMNS) {
        // The keys are there, and everybody is done with the values before.
        wait_copies<0>();
        load_rows<DIM, COLUMNS, threads>(values, a.values + key_place, key_stride, key, a.length, a.head_dim);
        commit_copies();
        const bool sees = key < first_row + warp_rows;
        float weights[tiles][4];
        float keep[2];
        if (sees) {
            score_tile<DIM, tiles>(queries + own * DIM, keys, weights);
            const bool masks = key + COLUMNS > first_row;
            float most[2] = {largest[0], largest[1]};
#pragma unroll
            for (int n = 0; n < tiles; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    weights[n][i] *= factor;
                    if (masks && key + n * 8 + lane % 4 * 2 + i % 2 > first_row + i / 2 * 8 + lane / 4) weights[n][i] = -INFINITY;
                    most[i / 2] = fmaxf(most[i / 2], weights[n][i]);
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
        if (key + COLUMNS < end) load_rows<DIM, COLUMNS, threads>(keys, a.keys + key_place, key_stride, key + COLUMNS, a.length, a.head_dim);
        commit_copies();
        if (sees) mix_tile<DIM, tiles>(weights, values, mixed, keep);
    }
    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        total[half] += __shfl_xor_sync(0xffffffff, total[half], 1);
        total[half] += __shfl_xor_sync(0xffffffff, total[half], 2);
        inverse[half] = 1.0f / total[half];
        const u32 row = first_row + half * 8 + lane / 4;
        if (lane % 4 == 0 && row < a.length) a.log_sums[(u64(part.text) * a.heads + part.head) * a.length + row] = largest[half] + log2f(total[half]);
    }
    store_rows<DIM>(mixed, a.out + query_place, query_stride, first_row, a.length, a.head_dim, inverse);
}

/// weights = 2^(scores factor - log_sums), or 0 where a key comes after its query.
__device__ __forceinline__ float weight_of(float score, float factor, float log_sum, bool seen) {
    return seen ? exp2f(score * factor - log_sum) : 0.0f;
}

template <int DIM, int WARPS, int COLUMNS, int STAGES>
__device__ void attend_text_queries(const AttendText& a) {
    constexpr u32 rows = WARPS * warp_rows;
    constexpr u32 threads = WARPS * 32;
    constexpr int tiles = COLUMNS / 8;
    constexpr u32 stage_floats = 2 * COLUMNS * DIM;
    float* queries = text_tiles;
    float* gradients = queries + rows * DIM;
    float* stages = gradients + rows * DIM;
    const Part part(a.batch, a.heads, a.length, rows, true);
    const u32 lane = threadIdx.x % 32;
    const u32 own = threadIdx.x / 32 * warp_rows;
    const u64 query_stride = u64(a.heads) * a.head_dim;
    const u64 key_stride = u64(a.kv_heads) * a.head_dim;
    const u64 query_place = u64(part.text) * a.length * query_stride + part.head * a.head_dim;
    const u64 key_place = u64(part.text) * a.length * key_stride + part.head / (a.heads / a.kv_heads) * a.head_dim;
    const auto load_stage = [&](u32 stage, u32 key) {
        float* to = stages + stage * stage_floats;
        load_rows<DIM, COLUMNS, threads>(to, a.keys + key_place, key_stride, key, a.length, a.head_dim);
        load_rows<DIM, COLUMNS, threads>(to + COLUMNS * DIM, a.values + key_place, key_stride, key, a.length, a.head_dim);
    };
    load_rows<DIM, rows, threads>(queries, a.queries + query_place, query_stride, part.first, a.length, a.head_dim);
    load_rows<DIM, rows, threads>(gradients, a.gradient + query_place, query_stride, part.first, a.length, a.head_dim);
    load_stage(0, 0);
    commit_copies();

    const u32 end = min(part.first + rows, a.length);
    const u32 first_row = part.first + own;
    float log_sum[2] = {0.0f, 0.0f};
    float sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const u32 row = first_row + half * 8 + lane / 4;
        const u64 place = (u64(part.text) * a.heads + part.head) * a.length + row;
        if (row < a.length) {
            const u64 from = query_place + row * query_stride;
            for (u32 column = lane % 4 * 2; column < a.head_dim; column += 8) {
                const float2 o = *reinterpret_cast<const float2*>(a.out + from + column);
                const float2 g = *reinterpret_cast<const float2*>(a.gradient + from + column);
                sum[half] += o.x * g.x + o.y * g.y;
            }
            log_sum[half] = a.log_sums[place];
        }
        sum[half] += __shfl_xor_sync(0xffffffff, sum[half], 1);
        sum[half] += __shfl_xor_sync(0xffffffff, sum[half], 2);
        if (lane % 4 == 0 && row < a.length) a.sums[place] = sum[half];
    }
    const float factor = a.scale * log2_of_e;
    const float keep[2] = {1.0f, 1.0f};
    Sums<DIM> mixed = {};
    u32 stage = 0;
    for (u32 key = 0; key < end; key += COLUMNS) {
        if (STAGES > 1) {
            if (key + COLUMNS < end) load_stage(stage ^ 1, key + COLUMNS);
            commit_copies();
        }
        wait_copies<STAGES - 1>();
        const float* keys = stages + stage * stage_floats;
        if (key < first_row + warp_rows) {
            float weights[tiles][4];
            float changes[tiles][4];
            score_tile<DIM, tiles>(queries + own * DIM, keys, weights);
            const bool masks = key + COLUMNS > first_row;
#pragma unroll
            for (int n = 0; n < tiles; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const bool seen = !masks || key + n * 8 + lane % 4 * 2 + i % 2 <= first_row + i / 2 * 8 + lane / 4;
                    weights[n][i] = weight_of(weights[n][i], factor, log_sum[i / 2], seen);
                }
            score_tile<DIM, tiles>(gradients + own * DIM, keys + COLUMNS * DIM, changes);
#pragma unroll
            for (int n = 0; n < tiles; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) changes[n][i] = weights[n][i] * (changes[n][i] - sum[i / 2]);
            mix_tile<DIM, tiles>(changes, keys, mixed, keep);
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
    store_rows<DIM>(mixed, a.query_gradient + query_place, query_stride, first_row, a.length, a.head_dim, factors);
}

/// Copies four bytes, or zeros, to shared memory.
__device__ __forceinline__ void copy_word(void* shared, const void* global, bool there) {
    const u32 address = static_cast<u32>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(global), "r"(there ? 4 : 0) : "memory");
}

/// Zeros for what is behind a text do no harm: their weights are 1, their gradients 0.
template <int DIM, int WARPS, int COLUMNS, int STAGES, bool FOR_KEYS, bool FOR_VALUES>
__device__ void attend_text_keys(const AttendText& a) {
    constexpr u32 rows = WARPS * warp_rows;
    constexpr u32 threads = WARPS * 32;
    constexpr int tiles = COLUMNS / 8;
    constexpr u32 stage_floats = 2 * COLUMNS * DIM + 2 * COLUMNS;
    float* keys = text_tiles;
    float* values = keys + rows * DIM;
    float* stages = values + rows * DIM;
    const bool alone = a.key_parts != nullptr;
    const u32 group = a.heads / a.kv_heads;
    const u32 query_heads = alone ? 1 : group;
    const Part part(a.batch, alone ? a.heads : a.kv_heads, a.length, rows, false);
    const u32 lane = threadIdx.x % 32;
    const u32 own = threadIdx.x / 32 * warp_rows;
    const u64 query_stride = u64(a.heads) * a.head_dim;
    const u64 key_stride = u64(a.kv_heads) * a.head_dim;
    const u64 key_place = u64(part.text) * a.length * key_stride + (alone ? part.head / group : part.head) * a.head_dim;
    // The queries from `start` on see some of the keys.
    const u32 start = part.first;
    const u32 steps = (a.length - start + COLUMNS - 1) / COLUMNS;
    const auto load_stage = [&](u32 stage, u32 step) {
        float* to = stages + stage * stage_floats;
        const u32 head = part.head * query_heads + step / steps;
        const u32 query = start + step % steps * COLUMNS;
        const u64 place = u64(part.text) * a.length * query_stride + head * a.head_dim;
        load_rows<DIM, COLUMNS, threads>(to, a.queries + place, query_stride, query, a.length, a.head_dim);
        load_rows<DIM, COLUMNS, threads>(to + COLUMNS * DIM, a.gradient + place, query_stride, query, a.length, a.head_dim);
        for (u32 index = threadIdx.x; index < 2 * COLUMNS; index += threads) {
            const u32 row = query + index % COLUMNS;
            const float* source = index < COLUMNS ? a.log_sums : a.sums;
            copy_word(to + 2 * COLUMNS * DIM + index, source + (u64(part.text) * a.heads + head) * a.length + (row < a.length ? row : 0), row < a.length);
        }
    };
    load_rows<DIM, rows, threads>(keys, a.keys + key_place, key_stride, part.first, a.length, a.head_dim);
    load_rows<DIM, rows, threads>(values, a.values + key_place, key_stride, part.first, a.length, a.head_dim);
    load_stage(0, 0);
    commit_copies();

    const u32 first_row = part.first + own;
    const float factor = a.scale * log2_of_e;
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
        const float* queries = stages + stage * stage_floats;
        const float* gradients = queries + COLUMNS * DIM;
        const float* log_sums = gradients + COLUMNS * DIM;
        if (query + COLUMNS > first_row) {
            float weights[tiles][4];
            score_tile<DIM, tiles>(keys + own * DIM, queries, weights);
            const bool masks = query < first_row + warp_rows;
#pragma unroll
            for (int n = 0; n < tiles; n++) {
                const float2 log_sum = *reinterpret_cast<const float2*>(log_sums + n * 8 + lane % 4 * 2);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const bool seen = !masks || query + n * 8 + lane % 4 * 2 + i % 2 >= first_row + i / 2 * 8 + lane / 4;
                    weights[n][i] = weight_of(weights[n][i], factor, i % 2 ? log_sum.y : log_sum.x, seen);
                }
            }
            if (FOR_VALUES) mix_tile<DIM, tiles>(weights, gradients, value_sums, keep);
            if (FOR_KEYS) {
                float changes[tiles][4];
                score_tile<DIM, tiles>(values + own * DIM, gradients, changes);
#pragma unroll
                for (int n = 0; n < tiles; n++) {
                    const float2 sum = *reinterpret_cast<const float2*>(log_sums + COLUMNS + n * 8 + lane % 4 * 2);
#pragma unroll
                    for (int i = 0; i < 4; i++) weights[n][i] *= changes[n][i] - (i % 2 ? sum.y : sum.x);
                }
                mix_tile<DIM, tiles>(weights, queries, key_sums, keep);
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
    const u64 stride = alone ? query_stride : key_stride;
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
// The numbers are those of attention_training.zig: no block takes more than 99 KiB of shared memory.
ATTEND_TEXT(forward_32, 4, 2, attend_text_forward<32, 4, 64>)
ATTEND_TEXT(forward_64, 4, 2, attend_text_forward<64, 4, 64>)
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
