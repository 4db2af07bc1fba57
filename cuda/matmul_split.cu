// Ternary weights times several tokens of float activations on the tensor cores of sm_90a (wgmma).
//
// Every activation is cut into three bf16 parts, exactly: the upper 8 bits of its mantissa, the next 8
// and the last 8. Weights are +-0.5 or 0 in bf16, exact too, and the scale is doubled. What rounds is
// the tensor cores' f32 sum: it is added to a total in registers after every 256 columns.
//
// A block computes 64 x GROUPS rows by TOKENS tokens. One warp copies the parts of 64 columns to shared
// memory, up to STAGES ahead; the weights go straight to registers, a chunk ahead.
//
// Parts, written by `split_tokens`: for every 64 columns and part a row of 128 bytes for every token,
// swizzled by 128. Word t of piece u holds columns 16 t + u and 16 t + u + 8, which is where
// `decode_pairs` finds their weights.
//
// Floor: 6 x rows x columns x tokens at the rate of bf16.

#pragma once

#include "matmul_wgmma.cu"
#include "matmul_floats.cu"

extern "C" __global__ void __launch_bounds__(256) split_tokens(const __grid_constant__ Tokens t) {
    const u32 lane = threadIdx.x % 32;
    const u32 blocks = t.columns.padded() / 64;
    const u32 token = blockIdx.y;
    const u32 block = blockIdx.x * 8 + threadIdx.x / 32;
    if (block >= blocks) return;
    const u32 first = block * 64 + lane % 4 * 16 + lane / 4;
    const float* row = t.input + u64(token) * t.columns.columns;
    float low = token < t.count && first < t.columns.columns ? row[first] : 0.0f;
    float high = token < t.count && first + 8 < t.columns.columns ? row[first + 8] : 0.0f;
    u32* target = static_cast<u32*>(t.padded) + (u64(block) * 3 * t.padded_count + token) * 32 +
        (lane / 4 ^ token % 8) * 4 + lane % 4;
#pragma unroll
    for (u32 part = 0; part < 3; part++) {
        const u32 a = __float_as_uint(low) & 0xffff0000;
        const u32 b = __float_as_uint(high) & 0xffff0000;
        target[u64(part) * t.padded_count * 32] = a >> 16 | b;
        low -= __uint_as_float(a);
        high -= __uint_as_float(b);
    }
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#define F4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define F16(i) F4(i), F4(i + 4), F4(i + 8), F4(i + 12)
#define F64 F16(0), F16(16), F16(32), F16(48)
#define WGMMA_BF16(N, REGISTERS, A0, A1, A2, A3, B, ...)                                                              \
    asm volatile("{\n.reg .pred add;\nsetp.eq.u32 add, 0, 0;\n"                                                       \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" REGISTERS "}, {" #A0 ", " #A1 ", " #A2  \
                 ", " #A3 "}, " #B ", add, 1, 1, 0;\n}"                                                               \
                 : __VA_ARGS__ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))

__device__ __forceinline__ void wgmma(float (&d)[4], const u32 (&a)[4], u64 b) {
    WGMMA_BF16(8, REGISTERS_4, %4, %5, %6, %7, %8, F4(0));
}
__device__ __forceinline__ void wgmma(float (&d)[16], const u32 (&a)[4], u64 b) {
    WGMMA_BF16(32, REGISTERS_16, %16, %17, %18, %19, %20, F16(0));
}
__device__ __forceinline__ void wgmma(float (&d)[32], const u32 (&a)[4], u64 b) {
    WGMMA_BF16(64, REGISTERS_32, %32, %33, %34, %35, %36, F16(0), F16(16));
}
__device__ __forceinline__ void wgmma(float (&d)[64], const u32 (&a)[4], u64 b) {
    WGMMA_BF16(128, REGISTERS_64, %64, %65, %66, %67, %68, F64);
}

/// The weights of a word, halved, as the fragments of four steps: pairs[step][0] holds columns
/// 2 step and 2 step + 8 of the lane's sixteen, pairs[step][1] the two after them.
__device__ __forceinline__ void decode_pairs(u32 word, u32 (&pairs)[4][2]) {
    const u32 even = word & 0x33333333;
    const u32 odd = (word >> 2) & 0x33333333;
    const u32 selectors[4] = {even, even >> 16, odd, odd >> 16};
#pragma unroll
    for (int step = 0; step < 4; step++) {
        const u32 four = __byte_perm(halves_by_code, 0, selectors[step]);
        pairs[step][0] = __byte_perm(four, 0, 0x1404);
        pairs[step][1] = __byte_perm(four, 0, 0x3424);
    }
}

template <int TOKENS, int STAGES>
__device__ __forceinline__ void produce_parts(const Product& p, u32 stages, u32 full, u32 empty, u32 first_token) {
    constexpr u32 part_bytes = TOKENS * 128;
    const u32 lane = threadIdx.x % 32;
    const u32 blocks = p.columns.chunks * 4;
    const u64 part_stride = u64((p.count + 7) / 8 * 8) * 128;
    const u8* parts = static_cast<const u8*>(p.tokens) + u64(first_token) * 128 + lane * part_stride;
    u32 stage = 0;
    u32 parity = 1;
    for (u32 block = 0; block < blocks; block++) {
        if (block >= STAGES) barrier_wait(empty + stage * 8, parity);
        if (lane == 0) barrier_expect(full + stage * 8, 3 * part_bytes);
        __syncwarp();
        if (lane < 3) copy_bulk(stages + (stage * 3 + lane) * part_bytes, parts + block * 3 * part_stride, part_bytes, full + stage * 8);
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
}

template <int GROUPS, int TOKENS, int STAGES>
__device__ __forceinline__ void multiply_split(const Product& p) {
    constexpr u32 stage_bytes = 3 * TOKENS * 128;
    constexpr u32 block_rows = GROUPS * 64;
    extern __shared__ __align__(1024) u8 memory[];
    const u32 stages = (shared_address(memory) + 1023) & ~1023u;
    const u32 full = stages + STAGES * stage_bytes;
    const u32 empty = full + STAGES * 8;
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 row_blocks = (p.rows + block_rows - 1) / block_rows;
    const u32 row_block = blockIdx.x % row_blocks;
    const u32 first_token = blockIdx.x / row_blocks * TOKENS;
    const u32 chunks = p.columns.chunks;
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < STAGES; stage++) {
            barrier_init(full + stage * 8, 1);
            barrier_init(empty + stage * 8, GROUPS * 4);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (warp >= GROUPS * 4) {
        if constexpr (TOKENS >= 128) asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (warp == GROUPS * 4) produce_parts<TOKENS, STAGES>(p, stages, full, empty, first_token);
        return;
    }
    if constexpr (TOKENS >= 128) asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");

    const u32 tile = min(row_block * GROUPS * 4 + warp, (p.rows + 15) / 16 - 1);
    const uint4* weights = p.weights + u64(tile) * chunks * chunk_pieces + lane;
    uint4 next[2] = {load_stream(weights), load_stream(weights + 32)};
    float totals[TOKENS / 2] = {};
    u32 stage = 0;
    u32 parity = 0;
    for (u32 chunk = 0; chunk < chunks; chunk++) {
        const uint4 low = next[0];
        const uint4 high = next[1];
        const u64 ahead = u64(min(chunk + 1, chunks - 1)) * chunk_pieces;
        next[0] = load_stream(weights + ahead);
        next[1] = load_stream(weights + ahead + 32);
        float sums[TOKENS / 2] = {};
#pragma unroll
        for (int w = 0; w < 4; w++) {
            u32 pairs[2][4][2];
            decode_pairs(word_of(low, w), pairs[0]);
            decode_pairs(word_of(high, w), pairs[1]);
            barrier_wait(full + stage * 8, parity);
            const u64 matrix = matrix_at(stages + stage * stage_bytes);
            wgmma_fence();
#pragma unroll
            for (int step = 0; step < 4; step++) {
                const u32 codes[4] = {pairs[0][step][0], pairs[1][step][0], pairs[0][step][1], pairs[1][step][1]};
#pragma unroll
                for (int part = 0; part < 3; part++) wgmma(sums, codes, matrix + (part * TOKENS * 128 + step * 32) / 16);
            }
            wgmma_commit();
            // The last of a chunk is waited for below.
            if (w < 3) wgmma_wait<1>();
            else wgmma_wait<0>();
            if (w > 0) barrier_arrive(empty + (stage == 0 ? STAGES - 1 : stage - 1) * 8, lane == 0);
            if (w == 3) barrier_arrive(empty + stage * 8, lane == 0);
            if (++stage == STAGES) {
                stage = 0;
                parity ^= 1;
            }
        }
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++) {
            asm volatile("" : "+f"(sums[i])::"memory");
            totals[i] += sums[i];
        }
    }

    const u32 first_row = row_block * block_rows + warp * 16 + lane / 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const u32 row = first_row + half * 8;
        if (row >= p.rows) continue;
        const float scale = 2.0f * p.row_scales[row];
        const float bias = p.bias ? p.bias[row] : 0.0f;
#pragma unroll
        for (int i = 0; i < TOKENS / 4; i++) {
            const u32 token = first_token + i / 2 * 8 + lane % 4 * 2 + i % 2;
            const float value = totals[i / 2 * 4 + half * 2 + i % 2] * scale;
            if (token < p.count) p.output[u64(token) * p.rows + row] = p.bias ? value + bias : value;
        }
    }
}

#define MULTIPLY_SPLIT_BODY(...) multiply_split<__VA_ARGS__>(p)
#else
#define MULTIPLY_SPLIT_BODY(...)
#endif

#define MULTIPLY_SPLIT(GROUPS, TOKENS, STAGES, PER_SM)                                                                \
    extern "C" __global__ void __launch_bounds__(GROUPS * 128 + (TOKENS >= 128 ? 128 : 32), PER_SM)                   \
        multiply_split_##GROUPS##_##TOKENS##_##STAGES(const __grid_constant__ Product p) {                            \
        MULTIPLY_SPLIT_BODY(GROUPS, TOKENS, STAGES);                                                                  \
    }
MULTIPLY_SPLIT(2, 128, 4, 1)
MULTIPLY_SPLIT(1, 64, 4, 2)
MULTIPLY_SPLIT(1, 32, 6, 3)
MULTIPLY_SPLIT(1, 8, 8, 3)
