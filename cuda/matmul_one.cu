// Ternary weights times one token of int8 activations.
//
// Floor: the weights once, 2 bits each. A warp reads runs of 512 bytes; per 16 weights four dp4a, four
// ANDs and three shifts. The warps of a block share the rows and cut the columns into chunks, so that
// a small matrix is in flight at once. HALVES is how many times 8 rows a block takes: few for small
// matrices, whose blocks must fill the device, more for large ones, which then fetch the activations
// less often. Activations are read plainly: loads of what is said never to change could be moved to
// where the kernel before is still writing it.

#pragma once

#include "quantization.cu"

/// A chunk's weights.
template <int HALVES>
__device__ __forceinline__ void load_pieces(uint4 (&pieces)[HALVES], const uint4* const (&rows)[HALVES], u32 chunk, u32 chunks) {
#pragma unroll
    for (int h = 0; h < HALVES; h++) pieces[h] = load_now(rows[h] + u64(chunk) * chunk_pieces, chunk < chunks);
}

/// Adds a chunk's codes times its activations, which lane t of four reads from its 16 bytes on.
template <int HALVES>
__device__ __forceinline__ void add_chunk(int (&sums)[HALVES], const uint4 (&pieces)[HALVES], const int4* values) {
#pragma unroll
    for (int w = 0; w < 4; w++) {
        const int4 four = values[w * 4 + threadIdx.x % 4];
#pragma unroll
        for (int h = 0; h < HALVES; h++) sums[h] = dot_word(word_of(pieces[h], w), four, sums[h]);
    }
}

/// Adds up four lanes each, and stores a sum for every row of a warp.
template <int HALVES>
__device__ __forceinline__ void store_partial(int (&partial)[HALVES * 8], int (&sums)[HALVES]) {
    const u32 lane = threadIdx.x % 32;
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        sums[h] += __shfl_xor_sync(0xffffffff, sums[h], 1);
        sums[h] += __shfl_xor_sync(0xffffffff, sums[h], 2);
        if (lane % 4 == 0) partial[h * 8 + lane / 4] = sums[h];
    }
}

template <int WARPS, int HALVES>
__device__ void multiply_one(const Product& p) {
    __shared__ int partial[WARPS][HALVES * 8];
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 chunks = p.columns.chunks;
    const u32 halves = (p.rows + 7) / 8;
    const int4* x = static_cast<const int4*>(p.tokens);
    const uint4* rows[HALVES];
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        const u32 half = min(blockIdx.x * HALVES + h, halves - 1);
        rows[h] = p.weights + u64(half / 2) * chunks * chunk_pieces + half % 2 * 32 + lane;
    }
    launch_next();
    uint4 pieces[HALVES];
    load_pieces(pieces, rows, warp, chunks);
    wait_for_previous();
    int sums[HALVES] = {};
    for (u32 chunk = warp; chunk < chunks; chunk += WARPS) {
        if (chunk != warp) load_pieces(pieces, rows, chunk, chunks);
        add_chunk(sums, pieces, x + chunk * 16);
    }
    store_partial(partial[warp], sums);
    __syncthreads();
    const u32 row = blockIdx.x * HALVES * 8 + threadIdx.x;
    if (threadIdx.x >= HALVES * 8 || row >= p.rows) return;
    int sum = 0;
#pragma unroll
    for (int other = 0; other < WARPS; other++) sum += partial[other][threadIdx.x];
    store_exact(p, row, 0, sum - p.token_sums[0]);
}

#define MULTIPLY_ONE(WARPS, HALVES)                                          \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                 \
        multiply_one_##WARPS##_##HALVES(const __grid_constant__ Product p) { \
        multiply_one<WARPS, HALVES>(p);                                      \
    }
MULTIPLY_ONE(16, 4)
MULTIPLY_ONE(10, 4)

/// A token of floats as int8 in shared memory, with its sum and its scale.
struct SharedToken {
    const int4* values;
    int sum;
    float scale;

    /// By the whole block.
    template <int WARPS>
    __device__ static SharedToken quantize(const Product& p) {
        __shared__ int total;
        extern __shared__ int4 quantized[];
        const float* token = static_cast<const float*>(p.tokens);
        const u32 columns = p.columns.columns;
        if (threadIdx.x == 0) total = 0;
        u32 largest = 0;
        for (u32 column = threadIdx.x * 4; column < columns; column += WARPS * 128)
            largest = max(largest, largest_of(*reinterpret_cast<const float4*>(token + column)));
        const TokenScale scale(block_largest(largest));
        int own = 0;
        for (u32 column = threadIdx.x * 4; column < p.columns.padded(); column += WARPS * 128) {
            int sum = 0;
            u32 word = 0;
            if (column < columns) word = scale.quantize(*reinterpret_cast<const float4*>(token + column), sum);
            reinterpret_cast<u32*>(quantized)[column / 4] = word;
            own += sum;
        }
        own = __reduce_add_sync(0xffffffff, own);
        if (threadIdx.x % 32 == 0) atomicAdd(&total, own);
        __syncthreads();
        return {quantized, total, scale.scale};
    }
};

/// The same for a token of floats, in whole rows of a multiple of four columns: every block quantises
/// it, while its first weights are on their way.
template <int WARPS, int HALVES>
__device__ void multiply_token(const Product& p) {
    __shared__ int partial[WARPS][HALVES * 8];
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 chunks = p.columns.chunks;
    const u32 halves = (p.rows + 7) / 8;
    const uint4* rows[HALVES];
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        const u32 half = min(blockIdx.x * HALVES + h, halves - 1);
        rows[h] = p.weights + u64(half / 2) * chunks * chunk_pieces + half % 2 * 32 + lane;
    }
    launch_next();
    uint4 pieces[HALVES];
    load_pieces(pieces, rows, warp, chunks);
    wait_for_previous();
    const SharedToken token = SharedToken::quantize<WARPS>(p);
    int sums[HALVES] = {};
    for (u32 chunk = warp; chunk < chunks; chunk += WARPS) {
        if (chunk != warp) load_pieces(pieces, rows, chunk, chunks);
        add_chunk(sums, pieces, token.values + chunk * 16);
    }
    store_partial(partial[warp], sums);
    __syncthreads();
    const u32 row = blockIdx.x * HALVES * 8 + threadIdx.x;
    if (threadIdx.x >= HALVES * 8 || row >= p.rows) return;
    int sum = -token.sum;
#pragma unroll
    for (int other = 0; other < WARPS; other++) sum += partial[other][threadIdx.x];
    store_scaled(p, row, 0, sum, token.scale);
}

#define MULTIPLY_TOKEN(WARPS, HALVES)                                          \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                   \
        multiply_token_##WARPS##_##HALVES(const __grid_constant__ Product p) { \
        multiply_token<WARPS, HALVES>(p);                                      \
    }
MULTIPLY_TOKEN(16, 2)
MULTIPLY_TOKEN(10, 4)

/// Columns in groups with scales of their own: their exact sums meet in shared memory, a window of
/// groups at a time, and are scaled and added in order. One block takes 8 rows of one token.
constexpr u32 window_groups = 1024;

extern "C" __global__ void __launch_bounds__(256) multiply_groups(const __grid_constant__ Product p) {
    __shared__ int sums[8][window_groups];
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 token = blockIdx.y;
    const Columns& c = p.columns;
    const int4* x = static_cast<const int4*>(p.tokens) + (u64(token) * c.padded()) / 16 + lane % 4;
    const uint4* weights = p.weights + u64(blockIdx.x / 2) * c.chunks * chunk_pieces + blockIdx.x % 2 * 32 + lane;
    float total = 0.0f;
    for (u32 first = 0; first < c.groups; first += window_groups) {
        const u32 count = min(window_groups, c.groups - first);
        for (u32 i = threadIdx.x; i < 8 * count; i += blockDim.x) sums[i / count][i % count] = 0;
        __syncthreads();
        const u32 blocks_from = first * c.group_blocks;
        const u32 blocks_to = (first + count) * c.group_blocks;
        for (u32 chunk = blocks_from / 4 + warp; chunk < (blocks_to + 3) / 4; chunk += blockDim.x / 32) {
            const uint4 piece = load_stream(weights + u64(chunk) * chunk_pieces);
#pragma unroll
            for (u32 w = 0; w < 4; w++) {
                const u32 block = chunk * 4 + w;
                if (block < blocks_from || block >= blocks_to) continue;
                int sum = dot_word(word_of(piece, w), __ldg(x + chunk * 16 + w * 4), 0);
                sum += __shfl_xor_sync(0xffffffff, sum, 1);
                sum += __shfl_xor_sync(0xffffffff, sum, 2);
                if (lane % 4 == 0) atomicAdd(&sums[lane / 4][block / c.group_blocks - first], sum);
            }
        }
        __syncthreads();
        const u32 row = blockIdx.x * 8 + threadIdx.x;
        if (threadIdx.x < 8 && row < p.rows) {
            for (u32 group = 0; group < count; group++) {
                const int exact = sums[threadIdx.x][group] - p.token_sums[u64(token) * c.groups + first + group];
                const float scale = p.row_scales[u64(row) * c.groups + first + group];
                total = __fadd_rn(total, __fmul_rn(__int2float_rn(exact), scale));
            }
        }
        __syncthreads();
    }
    const u32 row = blockIdx.x * 8 + threadIdx.x;
    if (threadIdx.x >= 8 || row >= p.rows) return;
    const float value = __fmul_rn(total, p.token_scales[token]);
    p.output[u64(token) * p.rows + row] = p.bias ? __fadd_rn(value, p.bias[row]) : value;
}
