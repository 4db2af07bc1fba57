// One token: products whose activations are normed and quantised by every block for itself.
//
//     decode_store   output = W int8(norm(input))
//     decode_add     output += the same: a residual, of which every row has one block
//     decode_gate    output = act(gate) * up, where gate and up are the halves of W
//
// Between two products of one token there is little to do, and a kernel of its own would cost more than
// doing it again in every block: some thousand floats from the L2 cache. What does not depend on the
// kernel before, which is all of the weights, is asked for before that kernel has ended (programmatic
// dependent launch): a block holds its share in registers, WARPS x ROUNDS chunks of TILES x 16 rows.
// Floor: the weights once, or a few synchronisations of a block, whichever is longer.
//
// The sums are those of tensor cores (m16n8k32), of whose eight columns one is used: an AND and a quarter
// of an instruction for 16 weights and lane instead of eleven. A word's four planes of codes stay where
// they are, times 1, 4, 16 and 64, and have sums of their own that are shifted at the end.
//
// Results are those of norm_tokens followed by multiply_one, but for the order of the norm's sum.

#include "common.cuh"

struct Decode {
    const uint4* weights;
    const float* row_scales;
    const float* bias;
    const float* input;
    const float* norm;
    float* output;
    Columns columns;
    /// Of the output.
    u32 rows;
    float epsilon;
    /// 0 squared ReLU, 1 SiLU
    u32 activation;
    u32 reserved;
};

constexpr int decode_store = 0;
constexpr int decode_add = 1;
constexpr int decode_gate = 2;

/// The row as int8 in shared memory, normed; gives its scale, and the sum of its bytes.
template <int WARPS, int FOURS>
__device__ __forceinline__ float quantize_row(const float* input, const float4 (&norm)[FOURS], bool norms, u32 width, float epsilon,
                                              u32* quantized, int& total) {
    constexpr u32 threads = WARPS * 32;
    __shared__ float squares_of[WARPS];
    __shared__ u32 largest_of[WARPS];
    __shared__ int total_of[WARPS];
    const u32 warp = threadIdx.x / 32;
    const u32 lane = threadIdx.x % 32;
    float4 row[FOURS];
#pragma unroll
    for (int f = 0; f < FOURS; f++) {
        const u32 place = (threadIdx.x + f * threads) * 4;
        row[f] = place < width ? *reinterpret_cast<const float4*>(input + place) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    if (norms) {
        float squares = 0.0f;
#pragma unroll
        for (int f = 0; f < FOURS; f++) {
            squares = fmaf(row[f].x, row[f].x, squares);
            squares = fmaf(row[f].y, row[f].y, squares);
            squares = fmaf(row[f].z, row[f].z, squares);
            squares = fmaf(row[f].w, row[f].w, squares);
        }
#pragma unroll
        for (int lanes = 16; lanes > 0; lanes /= 2) squares += __shfl_xor_sync(0xffffffff, squares, lanes);
        if (lane == 0) squares_of[warp] = squares;
        __syncthreads();
        squares = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; w++) squares += squares_of[w];
        const float inverse = inverse_root(squares, width, epsilon);
#pragma unroll
        for (int f = 0; f < FOURS; f++) {
            row[f].x = __fmul_rn(__fmul_rn(row[f].x, inverse), norm[f].x);
            row[f].y = __fmul_rn(__fmul_rn(row[f].y, inverse), norm[f].y);
            row[f].z = __fmul_rn(__fmul_rn(row[f].z, inverse), norm[f].z);
            row[f].w = __fmul_rn(__fmul_rn(row[f].w, inverse), norm[f].w);
        }
    }
    u32 largest = 0;
#pragma unroll
    for (int f = 0; f < FOURS; f++) {
        largest = max(max(largest, __float_as_uint(row[f].x) & 0x7fffffff), __float_as_uint(row[f].y) & 0x7fffffff);
        largest = max(max(largest, __float_as_uint(row[f].z) & 0x7fffffff), __float_as_uint(row[f].w) & 0x7fffffff);
    }
    largest = __reduce_max_sync(0xffffffff, largest);
    if (lane == 0) largest_of[warp] = largest;
    __syncthreads();
#pragma unroll
    for (int w = 0; w < WARPS; w++) largest = max(largest, largest_of[w]);
    const bool finite = largest < 0x7f800000;
    const float absmax = finite ? fmaxf(__uint_as_float(largest), model_absmax_floor) : 1.0f;
    const float inverse = __fdividef(127.0f, absmax);
    int own = 0;
#pragma unroll
    for (int f = 0; f < FOURS; f++) {
        const int q0 = finite ? __float2int_rn(__fmul_rn(row[f].x, inverse)) : 0;
        const int q1 = finite ? __float2int_rn(__fmul_rn(row[f].y, inverse)) : 0;
        const int q2 = finite ? __float2int_rn(__fmul_rn(row[f].z, inverse)) : 0;
        const int q3 = finite ? __float2int_rn(__fmul_rn(row[f].w, inverse)) : 0;
        quantized[threadIdx.x + f * threads] = (q0 & 255) | (q1 & 255) << 8 | (q2 & 255) << 16 | u32(q3) << 24;
        own += q0 + q1 + q2 + q3;
    }
    own = __reduce_add_sync(0xffffffff, own);
    if (lane == 0) total_of[warp] = own;
    __syncthreads();
    total = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) total += total_of[w];
    return finite ? absmax * (1.0f / 127.0f) : __uint_as_float(0x7fc00000);
}

/// Rows of both halves of a tile times the activations of a chunk, a sum for every plane of codes.
__device__ __forceinline__ void multiply_planes(int (&sums)[4][4], const uint4& low, const uint4& high, const int4 (&x)[4]) {
#pragma unroll
    for (int w = 0; w < 4; w += 2)
#pragma unroll
        for (int plane = 0; plane < 4; plane++) {
            const u32 mask = codes_mask << 2 * plane;
            const int4& x0 = x[w];
            const int4& x1 = x[w + 1];
            const int b0 = plane == 0 ? x0.x : plane == 1 ? x0.y : plane == 2 ? x0.z : x0.w;
            const int b1 = plane == 0 ? x1.x : plane == 1 ? x1.y : plane == 2 ? x1.z : x1.w;
            multiply_tile(sums[plane], word_of(low, w) & mask, word_of(high, w) & mask, word_of(low, w + 1) & mask, word_of(high, w + 1) & mask, b0, b1);
        }
}

template <int WARPS, int TILES, int ROUNDS, int MODE>
__device__ void decode_product(const Decode& d) {
    constexpr int FOURS = ROUNDS * 2;
    constexpr u32 threads = WARPS * 32;
    /// Outputs of a tile: with a gate, its halves are rows of the two matrices.
    constexpr u32 outputs = MODE == decode_gate ? 8 : 16;
    __shared__ int4 quantized[WARPS * ROUNDS * 16];
    __shared__ int partial[WARPS][TILES * 16];
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 chunks = d.columns.chunks;
    const u32 width = d.columns.columns;
    const u32 tiles = (d.rows + outputs - 1) / outputs;
    launch_next();
    uint4 pieces[ROUNDS][TILES][2];
#pragma unroll
    for (int tile = 0; tile < TILES; tile++)
#pragma unroll
        for (int side = 0; side < 2; side++) {
            const u32 index = min(blockIdx.x * TILES + tile, tiles - 1);
            const u32 half = MODE == decode_gate ? index + side * tiles : index * 2 + side;
            const uint4* from = d.weights + u64(half / 2) * chunks * chunk_pieces + half % 2 * 32 + lane;
#pragma unroll
            for (int r = 0; r < ROUNDS; r++) {
                const u32 chunk = warp + r * WARPS;
                pieces[r][tile][side] = load_now(from + u64(chunk) * chunk_pieces, chunk < chunks);
            }
        }
    float4 norm[FOURS];
#pragma unroll
    for (int f = 0; f < FOURS; f++) {
        const u32 place = (threadIdx.x + f * threads) * 4;
        norm[f] = d.norm && place < width ? __ldg(reinterpret_cast<const float4*>(d.norm + place)) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    // What the end needs, so that it does not wait for memory then.
    const u32 row = blockIdx.x * TILES * outputs + threadIdx.x;
    const bool has_row = threadIdx.x < TILES * outputs && row < d.rows;
    float row_scale[2] = {};
    float bias[2] = {};
    if (has_row)
#pragma unroll
        for (int which = 0; which < (MODE == decode_gate ? 2 : 1); which++) {
            row_scale[which] = __ldg(d.row_scales + row + which * d.rows);
            if (d.bias) bias[which] = __ldg(d.bias + row + which * d.rows);
        }
    wait_for_previous();
    const float before = MODE == decode_add && has_row ? d.output[row] : 0.0f;
    int total;
    const float scale = quantize_row<WARPS, FOURS>(d.input, norm, d.norm != nullptr, width, d.epsilon, reinterpret_cast<u32*>(quantized), total);
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
        int sums[4][4] = {};
#pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            int4 x[4];
#pragma unroll
            for (int w = 0; w < 4; w++) x[w] = quantized[(warp + r * WARPS) * 16 + w * 4 + lane % 4];
            multiply_planes(sums, pieces[r][tile][0], pieces[r][tile][1], x);
        }
        // Every column of the product is the same token.
        if (lane % 4 == 0)
#pragma unroll
            for (int side = 0; side < 2; side++) {
                const int i = side * 2;
                partial[warp][tile * 16 + side * 8 + lane / 4] = sums[0][i] + (sums[1][i] >> 2) + (sums[2][i] >> 4) + (sums[3][i] >> 6);
            }
    }
    __syncthreads();
    if (!has_row) return;
    float values[2];
#pragma unroll
    for (int which = 0; which < (MODE == decode_gate ? 2 : 1); which++) {
        const u32 place = MODE == decode_gate ? threadIdx.x / 8 * 16 + which * 8 + threadIdx.x % 8 : threadIdx.x;
        int exact = -total;
#pragma unroll
        for (int w = 0; w < WARPS; w++) exact += partial[w][place];
        const float scaled = __fadd_rn(0.0f, __fmul_rn(__int2float_rn(exact), row_scale[which]));
        const float value = __fmul_rn(scaled, scale);
        values[which] = d.bias ? __fadd_rn(value, bias[which]) : value;
    }
    if (MODE == decode_store) d.output[row] = values[0];
    if (MODE == decode_add) d.output[row] = __fadd_rn(before, values[0]);
    if (MODE == decode_gate) d.output[row] = gated(values[0], values[1], d.activation);
}

#define DECODE(MODE, WARPS, TILES, ROUNDS)                                              \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                            \
        MODE##_##WARPS##_##TILES##_##ROUNDS(const __grid_constant__ Decode d) {        \
        decode_product<WARPS, TILES, ROUNDS, MODE>(d);                                  \
    }
DECODE(decode_store, 10, 1, 1)
DECODE(decode_store, 8, 1, 2)
DECODE(decode_add, 10, 1, 1)
DECODE(decode_add, 9, 1, 3)
DECODE(decode_add, 8, 1, 4)
DECODE(decode_gate, 10, 4, 1)
DECODE(decode_gate, 8, 2, 2)
