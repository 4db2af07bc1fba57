// Ternary weights times many tokens of int8 activations on the tensor cores of sm_90a (wgmma).
//
// A block computes 64 x GROUPS x BLOCKS rows by TOKENS tokens. One warp copies chunks of 256 columns of
// both operands to shared memory, up to STAGES ahead; GROUPS warpgroups take the weights from there
// into registers, where one shift and one AND decode four of them, and multiply with the activations
// that the tensor cores read from shared memory.
//
//     m64nTOKENSk32: A = codes in registers: a fragment is four of mma.m16n8k32, one per warp, so
//                    the layout of common.cuh fits
//                    B = activations in shared memory, rows of 128 bytes, swizzled by 128
//
// The quantiser writes activations in the order of the tensor cores (`slab_place`): what a block needs
// of a slab of 128 columns is one run of memory, and so is a tile's chunk of weights.
//
// Floor: 2 x rows x columns x tokens at 4096 multiply-adds a cycle and multiprocessor. Decoding takes
// 15 instructions a warp for 2 x 64 x TOKENS x 32, 128 cycles at TOKENS = 128. L2: (TOKENS + rows / 4)
// bytes a column, 24 bytes a cycle and multiprocessor for 256 x 128.

#pragma once

#include "common.cuh"

template <int GROUPS, int BLOCKS, int TOKENS, int STAGES>
struct Wgmma {
    static constexpr u32 rows = GROUPS * BLOCKS * 64;
    static constexpr u32 tiles = rows / tile_rows;
    static constexpr u32 slab_bytes = TOKENS * 128;
    static constexpr u32 tokens_bytes = 2 * slab_bytes;
    static constexpr u32 stage_bytes = tokens_bytes + tiles * 1024;
    /// Whether sums fill so many registers that the copying warp's group must give some of its own up.
    static constexpr bool is_large = BLOCKS * TOKENS >= 256;
    static constexpr u32 threads = GROUPS * 128 + (is_large ? 128 : 32);
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

__device__ __forceinline__ u32 shared_address(const void* pointer) {
    return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void barrier_init(u32 barrier, u32 count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

__device__ __forceinline__ void barrier_wait(u32 barrier, u32 parity) {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@done bra over;\n"
        "bra again;\n"
        "over:\n"
        "}" ::"r"(barrier), "r"(parity) : "memory");
}

/// A predicate, not a branch: the compiler serialises wgmma where paths part.
__device__ __forceinline__ void barrier_arrive(u32 barrier, bool here) {
    asm volatile(
        "{\n"
        ".reg .pred here;\n"
        "setp.ne.u32 here, %1, 0;\n"
        "@here mbarrier.arrive.shared::cta.b64 _, [%0];\n"
        "}" ::"r"(barrier), "r"(u32(here)) : "memory");
}

__device__ __forceinline__ void barrier_expect(u32 barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

__device__ __forceinline__ void copy_bulk(u32 shared, const void* global, u32 bytes, u32 barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared),
                 "l"(global), "r"(bytes), "r"(barrier) : "memory");
}

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

/// A matrix in shared memory: rows of 128 bytes, swizzled by 128, eight of them 1024 bytes.
__device__ __forceinline__ u64 matrix_at(u32 address) {
    return u64(1) << 62 | u64(64) << 32 | u64(1) << 16 | (address & 0x3ffff) >> 4;
}

#define D4(i) "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3])
#define D16(i) D4(i), D4(i + 4), D4(i + 8), D4(i + 12)
#define D64 D16(0), D16(16), D16(32), D16(48)
#define WGMMA(N, REGISTERS, A0, A1, A2, A3, B, ...)                                                                   \
    asm volatile("{\n.reg .pred add;\nsetp.eq.u32 add, 0, 0;\n"                                                       \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k32.s32.u8.s8 {" REGISTERS "}, {" #A0 ", " #A1 ", " #A2      \
                 ", " #A3 "}, " #B ", add;\n}"                                                                        \
                 : __VA_ARGS__ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))

#define REGISTERS_4 "%0, %1, %2, %3"
#define REGISTERS_8 REGISTERS_4 ", %4, %5, %6, %7"
#define REGISTERS_16 REGISTERS_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define REGISTERS_32 REGISTERS_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define REGISTERS_64                                                                                                  \
    REGISTERS_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, "  \
                 "%51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

/// d (64 rows x 2 tokens a register) += codes x activations
__device__ __forceinline__ void wgmma(int (&d)[16], const u32 (&a)[4], u64 b) {
    WGMMA(32, REGISTERS_16, %16, %17, %18, %19, %20, D16(0));
}
__device__ __forceinline__ void wgmma(int (&d)[32], const u32 (&a)[4], u64 b) {
    WGMMA(64, REGISTERS_32, %32, %33, %34, %35, %36, D16(0), D16(16));
}
__device__ __forceinline__ void wgmma(int (&d)[64], const u32 (&a)[4], u64 b) {
    WGMMA(128, REGISTERS_64, %64, %65, %66, %67, %68, D64);
}

template <class Shape, int STAGES>
__device__ __forceinline__ void produce(const Product& p, u32 stages, u32 full, u32 empty, u32 row_block, u32 first_token) {
    const u32 lane = threadIdx.x % 32;
    const u32 chunks = p.columns.chunks;
    const u32 tiles = (p.rows + 15) / 16;
    const u64 slab_stride = u64((p.count + 7) / 8 * 8) * 128;
    const u8* tokens = static_cast<const u8*>(p.tokens) + u64(first_token) * 128;
    const u8* weights[(Shape::tiles + 31) / 32];
#pragma unroll
    for (u32 i = 0; i < (Shape::tiles + 31) / 32; i++)
        weights[i] = reinterpret_cast<const u8*>(p.weights) + u64(min(row_block * Shape::tiles + i * 32 + lane, tiles - 1)) * chunks * 1024;
    u32 stage = 0;
    u32 parity = 1;
    for (u32 chunk = 0; chunk < chunks; chunk++) {
        if (chunk >= STAGES) barrier_wait(empty + stage * 8, parity);
        if (lane == 0) barrier_expect(full + stage * 8, Shape::stage_bytes);
        __syncwarp();
        const u32 target = stages + stage * Shape::stage_bytes;
        if (lane < 2) copy_bulk(target + lane * Shape::slab_bytes, tokens + (chunk * 2 + lane) * slab_stride, Shape::slab_bytes, full + stage * 8);
#pragma unroll
        for (u32 i = 0; i < (Shape::tiles + 31) / 32; i++)
            if (i * 32 + lane < Shape::tiles)
                copy_bulk(target + Shape::tokens_bytes + (i * 32 + lane) * 1024, weights[i] + u64(chunk) * 1024, 1024, full + stage * 8);
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
}

template <int GROUPS, int BLOCKS, int TOKENS, int STAGES>
__device__ __forceinline__ void multiply_wgmma(const Product& p) {
    using Shape = Wgmma<GROUPS, BLOCKS, TOKENS, STAGES>;
    extern __shared__ __align__(1024) u8 memory[];
    const u32 stages = (shared_address(memory) + 1023) & ~1023u;
    const u32 full = stages + STAGES * Shape::stage_bytes;
    const u32 empty = full + STAGES * 8;
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 row_blocks = (p.rows + Shape::rows - 1) / Shape::rows;
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
        if constexpr (Shape::is_large) asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (warp == GROUPS * 4) produce<Shape, STAGES>(p, stages, full, empty, row_block, first_token);
        return;
    }
    if constexpr (Shape::is_large) asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    int sums[BLOCKS][TOKENS / 2] = {};
    const u32 group = warp / 4;
    const u32 own = Shape::tokens_bytes + (group * BLOCKS * 4 + warp % 4) * 1024 + lane * 16;
    u32 stage = 0;
    u32 parity = 0;
    for (u32 chunk = 0; chunk < chunks; chunk++) {
        const u32 base = stages + stage * Shape::stage_bytes;
        barrier_wait(full + stage * 8, parity);
        uint4 pieces[BLOCKS][2];
#pragma unroll
        for (int b = 0; b < BLOCKS; b++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                uint4& piece = pieces[b][half];
                asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                             : "=r"(piece.x), "=r"(piece.y), "=r"(piece.z), "=r"(piece.w) : "r"(base + own + b * 4096 + half * 512));
            }
        const u64 matrix = matrix_at(base);
#pragma unroll
        for (int w = 0; w < 4; w++) {
            u32 codes[2][BLOCKS][4];
#pragma unroll
            for (int step = 0; step < 2; step++)
#pragma unroll
                for (int b = 0; b < BLOCKS; b++) {
                    const u32 low = word_of(pieces[b][0], w) >> (4 * step);
                    const u32 high = word_of(pieces[b][1], w) >> (4 * step);
                    codes[step][b][0] = low & codes_mask;
                    codes[step][b][1] = high & codes_mask;
                    codes[step][b][2] = (low >> 2) & codes_mask;
                    codes[step][b][3] = (high >> 2) & codes_mask;
                }
            wgmma_fence();
#pragma unroll
            for (int step = 0; step < 2; step++)
#pragma unroll
                for (int b = 0; b < BLOCKS; b++)
                    wgmma(sums[b], codes[step][b], matrix + (w / 2 * Shape::slab_bytes + w % 2 * 64 + step * 32) / 16);
            wgmma_commit();
            wgmma_wait<1>();
            // What the stage before held has been multiplied.
            if (w == 0) barrier_arrive(empty + (stage == 0 ? STAGES - 1 : stage - 1) * 8, chunk > 0 && lane == 0);
        }
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
    wgmma_wait<0>();
#pragma unroll
    for (int b = 0; b < BLOCKS; b++)
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++) asm volatile("" : "+r"(sums[b][i])::"memory");

    const u32 first_row = row_block * Shape::rows + (group * BLOCKS * 4 + warp % 4) * 16 + lane / 4;
    float scales[BLOCKS][2];
    float biases[BLOCKS][2];
#pragma unroll
    for (int b = 0; b < BLOCKS; b++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const u32 row = min(first_row + b * 64 + half * 8, p.rows - 1);
            scales[b][half] = p.row_scales[row];
            biases[b][half] = p.bias ? p.bias[row] : 0.0f;
        }
#pragma unroll
    for (int i = 0; i < TOKENS / 4; i++) {
        const u32 token = first_token + i / 2 * 8 + lane % 4 * 2 + i % 2;
        if (token >= p.count) continue;
        const int sum = p.token_sums[token];
        const float token_scale = p.token_scales[token];
        float* output = p.output + u64(token) * p.rows + first_row;
#pragma unroll
        for (int b = 0; b < BLOCKS; b++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                if (first_row + b * 64 + half * 8 >= p.rows) continue;
                const int exact = sums[b][i / 2 * 4 + half * 2 + i % 2] - sum;
                const float value = __fmul_rn(__fadd_rn(0.0f, __fmul_rn(__int2float_rn(exact), scales[b][half])), token_scale);
                output[b * 64 + half * 8] = p.bias ? __fadd_rn(value, biases[b][half]) : value;
            }
    }
}

#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define MULTIPLY_WGMMA_BODY(...) multiply_wgmma<__VA_ARGS__>(p)
#else
#define MULTIPLY_WGMMA_BODY(...)
#endif

/// Only sm_90a has a body; lib/cuda/product.zig asks no other device.
#define MULTIPLY_WGMMA(GROUPS, BLOCKS, TOKENS, STAGES, PER_SM)                                                        \
    extern "C" __global__ void __launch_bounds__(Wgmma<GROUPS, BLOCKS, TOKENS, STAGES>::threads, PER_SM)               \
        multiply_wgmma_##GROUPS##_##BLOCKS##_##TOKENS##_##STAGES(const __grid_constant__ Product p) {                 \
        MULTIPLY_WGMMA_BODY(GROUPS, BLOCKS, TOKENS, STAGES);                                                          \
    }
MULTIPLY_WGMMA(2, 2, 128, 4, 1)
MULTIPLY_WGMMA(2, 1, 128, 5, 1)
MULTIPLY_WGMMA(2, 1, 64, 4, 2)
MULTIPLY_WGMMA(1, 1, 64, 5, 2)
MULTIPLY_WGMMA(2, 1, 32, 6, 2)
MULTIPLY_WGMMA(1, 1, 32, 6, 3)
