// The output layer: logits = hidden state times a table with a row for every token id.
//
// Floor: the table, once for every group of tokens. A warp takes two rows at a time and reads them in
// pieces of 16 bytes, ten on their way at once; the hidden states lie in shared memory. int8 tables
// are exact sums of int8 products.

#include "floats.cuh"

struct Head {
    const void* table;
    /// int8 only: a scale a row.
    const float* row_scales;
    /// [token][stride], of floats or int8
    const void* hidden;
    /// int8 only: a scale a token.
    const float* token_scales;
    /// [token][row]
    float* logits;
    /// The norm of the hidden state, for one token of floats; null where it is normed already.
    const float* norm;
    /// For one token of floats: the choice of the next, where there is room for it.
    Choose choose;
    u32 rows;
    u32 width;
    /// Elements from one row of the table to the next, and from one hidden state to the next.
    u32 table_stride;
    u32 hidden_stride;
    u32 count;
    float epsilon;
};

/// The best of the logits that a warp has seen.
struct BestToken {
    float most = -INFINITY;
    u32 id = 0xffffffff;
    float sum = 0.0f;
    u32 bad = 0;

    __device__ __forceinline__ void see(float logit, u32 row) {
        bad |= !(logit < INFINITY);
        if (logit > most) {
            // What has seen nothing keeps nothing.
            sum = (sum == 0.0f ? 0.0f : sum * expf(most - logit)) + 1.0f;
            most = logit;
            id = row;
        } else if (most > -INFINITY) {
            sum += expf(logit - most);
        }
    }
};

constexpr int head_f32 = 0;
constexpr int head_f16 = 1;
constexpr int head_bf16 = 2;

template <int KIND>
__device__ __forceinline__ float table_at(const void* table, u64 index) {
    if constexpr (KIND == head_f32) return static_cast<const float*>(table)[index];
    if constexpr (KIND == head_f16) return widen_half(static_cast<const u16*>(table)[index]);
    return widen_brain(static_cast<const u16*>(table)[index]);
}

/// The elements of a piece of 16 bytes.
template <int KIND>
__device__ __forceinline__ void piece_values(const uint4& piece, float (&values)[KIND == head_f32 ? 4 : 8]) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const u32 word = word_of(piece, i);
        if constexpr (KIND == head_f32) {
            values[i] = __uint_as_float(word);
        } else if constexpr (KIND == head_bf16) {
            values[2 * i] = __uint_as_float(word << 16);
            values[2 * i + 1] = __uint_as_float(word & 0xffff0000);
        } else {
            values[2 * i] = widen_half(u16(word));
            values[2 * i + 1] = widen_half(u16(word >> 16));
        }
    }
}

template <int TOKENS, int ROWS>
__device__ __forceinline__ void store_logits(const Head& h, u32 row, u32 first_token, float (&sums)[ROWS][TOKENS], BestToken& best) {
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            float sum = sums[r][token];
#pragma unroll
            for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0xffffffff, sum, lanes);
            if (row + r >= h.rows || first_token + token >= h.count) continue;
            if (threadIdx.x % 32 == 0) h.logits[u64(first_token + token) * h.rows + row + r] = sum;
            if (TOKENS == 1) best.see(sum, row + r);
        }
}

template <int KIND, int TOKENS>
__device__ void multiply_head(const Head& h, const float* x, u32 x_stride, BestToken& best) {
    constexpr int ROWS = 2;
    constexpr int PER = KIND == head_f32 ? 4 : 8;
    constexpr int DEPTH = 5;
    const u32 lane = threadIdx.x % 32;
    const u32 warps = gridDim.x * (blockDim.x / 32);
    const u32 first_token = blockIdx.y * TOKENS;
    const bool wide = h.width % PER == 0 && h.table_stride % PER == 0;
    const u32 pieces = h.width / PER;
    for (u32 row = (blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32) * ROWS; row < h.rows; row += warps * ROWS) {
        float sums[ROWS][TOKENS] = {};
        if (!wide) {
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const u64 from = u64(min(row + r, h.rows - 1)) * h.table_stride;
                for (u32 i = lane; i < h.width; i += 32) {
                    const float weight = table_at<KIND>(h.table, from + i);
#pragma unroll
                    for (int token = 0; token < TOKENS; token++) sums[r][token] = fmaf(weight, x[token * x_stride + i], sums[r][token]);
                }
            }
            store_logits<TOKENS, ROWS>(h, row, first_token, sums, best);
            continue;
        }
        const uint4* table[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) table[r] = static_cast<const uint4*>(h.table) + u64(min(row + r, h.rows - 1)) * (h.table_stride / PER);
        for (u32 start = lane; start < pieces; start += 32 * DEPTH) {
            uint4 loaded[ROWS][DEPTH];
#pragma unroll
            for (int r = 0; r < ROWS; r++)
#pragma unroll
                for (int d = 0; d < DEPTH; d++) loaded[r][d] = load_stream(table[r] + start + 32 * d, start + 32 * d < pieces);
#pragma unroll
            for (int d = 0; d < DEPTH; d++) {
                const u32 piece = start + 32 * d;
                if (piece >= pieces) break;
                float weights[ROWS][PER];
#pragma unroll
                for (int r = 0; r < ROWS; r++) piece_values<KIND>(loaded[r][d], weights[r]);
#pragma unroll
                for (int token = 0; token < TOKENS; token++)
#pragma unroll
                    for (int four = 0; four < PER / 4; four++) {
                        const float4 v = *reinterpret_cast<const float4*>(x + token * x_stride + piece * PER + four * 4);
#pragma unroll
                        for (int r = 0; r < ROWS; r++) {
                            float sum = sums[r][token];
                            sum = fmaf(weights[r][4 * four], v.x, sum);
                            sum = fmaf(weights[r][4 * four + 1], v.y, sum);
                            sum = fmaf(weights[r][4 * four + 2], v.z, sum);
                            sums[r][token] = fmaf(weights[r][4 * four + 3], v.w, sum);
                        }
                    }
            }
        }
        store_logits<TOKENS, ROWS>(h, row, first_token, sums, best);
    }
}

/// Hidden states that shared memory does not hold are read where they are.
constexpr u32 head_shared_floats = 11 * 1024;

/// The first bytes that a warp will read, which do not depend on the kernel before.
template <int KIND>
__device__ __forceinline__ void ask_for_rows(const Head& h) {
    const u32 row = (blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32) * 2;
    const u32 bytes = h.table_stride * (KIND == head_f32 ? 4 : 2);
    if (row >= h.rows) return;
    const char* from = static_cast<const char*>(h.table) + u64(row) * bytes;
    for (u32 at = threadIdx.x % 32 * 128; at < bytes; at += 32 * 128) asm volatile("prefetch.global.L2 [%0];" ::"l"(from + at));
}

template <int KIND, int TOKENS>
__device__ void head_of(const Head& h) {
    extern __shared__ __align__(16) float shared_hidden[];
    launch_next();
    if (TOKENS == 1) ask_for_rows<KIND>(h);
    wait_for_previous();
    BestToken best;
    const float* hidden = static_cast<const float*>(h.hidden) + u64(blockIdx.y) * TOKENS * h.hidden_stride;
    const u32 stride = (h.width + 3) / 4 * 4;
    if (stride * TOKENS <= head_shared_floats) {
        float squares = 0.0f;
        for (u32 i = threadIdx.x; i < stride * TOKENS; i += blockDim.x) {
            const u32 token = i / stride;
            const bool there = i % stride < h.width && blockIdx.y * TOKENS + token < h.count;
            const float value = there ? hidden[u64(token) * h.hidden_stride + i % stride] : 0.0f;
            shared_hidden[i] = value;
            squares = fmaf(value, value, squares);
        }
        if (TOKENS == 1 && h.norm) {
            const float inverse = inverse_root(block_sum(squares), h.width, h.epsilon);
            for (u32 i = threadIdx.x; i < h.width; i += blockDim.x) shared_hidden[i] = __fmul_rn(__fmul_rn(shared_hidden[i], inverse), h.norm[i]);
        }
        __syncthreads();
        multiply_head<KIND, TOKENS>(h, shared_hidden, stride, best);
    } else {
        multiply_head<KIND, TOKENS>(h, hidden, h.hidden_stride, best);
    }
    // A warp's lanes have all seen the same.
    if (TOKENS == 1 && h.choose.choice) finish_choice(h.choose, best.most, best.id, threadIdx.x % 32 == 0 ? best.sum : 0.0f, best.bad);
}

#define HEAD(NAME, KIND, TOKENS) \
    extern "C" __global__ void __launch_bounds__(256) NAME(const __grid_constant__ Head h) { head_of<KIND, TOKENS>(h); }
HEAD(head_f32_1, head_f32, 1)
HEAD(head_f16_1, head_f16, 1)
HEAD(head_bf16_1, head_bf16, 1)
HEAD(head_f32_4, head_f32, 4)
HEAD(head_f16_4, head_f16, 4)
HEAD(head_bf16_4, head_bf16, 4)

/// The table in rows of `table_stride` bytes, a multiple of 16, as the hidden states.
extern "C" __global__ void __launch_bounds__(256) head_int8(const __grid_constant__ Head h) {
    launch_next();
    wait_for_previous();
    const u32 lane = threadIdx.x % 32;
    const u32 token = blockIdx.y;
    const u32 warps = gridDim.x * (blockDim.x / 32);
    const int4* x = reinterpret_cast<const int4*>(static_cast<const i8*>(h.hidden) + u64(token) * h.hidden_stride);
    const u32 pieces = h.table_stride / 16;
    for (u32 row = (blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32) * 2; row < h.rows; row += warps * 2) {
        int sums[2] = {};
        const uint4* table[2];
#pragma unroll
        for (int r = 0; r < 2; r++) table[r] = static_cast<const uint4*>(h.table) + u64(min(row + r, h.rows - 1)) * pieces;
        for (u32 start = lane; start < pieces; start += 32 * 5) {
            uint4 loaded[2][5];
#pragma unroll
            for (int r = 0; r < 2; r++)
#pragma unroll
                for (int d = 0; d < 5; d++) loaded[r][d] = load_stream(table[r] + start + 32 * d, start + 32 * d < pieces);
#pragma unroll
            for (int d = 0; d < 5; d++) {
                if (start + 32 * d >= pieces) break;
                const int4 v = __ldg(x + start + 32 * d);
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    sums[r] = __dp4a(int(loaded[r][d].x), v.x, sums[r]);
                    sums[r] = __dp4a(int(loaded[r][d].y), v.y, sums[r]);
                    sums[r] = __dp4a(int(loaded[r][d].z), v.z, sums[r]);
                    sums[r] = __dp4a(int(loaded[r][d].w), v.w, sums[r]);
                }
            }
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int exact = __reduce_add_sync(0xffffffff, sums[r]);
            if (lane == 0 && row + r < h.rows)
                h.logits[u64(token) * h.rows + row + r] = __fmul_rn(__fmul_rn(__int2float_rn(exact), h.row_scales[row + r]), h.token_scales[token]);
        }
    }
}
