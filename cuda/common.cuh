// What the kernels share: the layout of ternary weights on the device, and the few instructions that
// CUDA C++ has no name for.
//
// Weights. Rows are cut into tiles of 16, columns into blocks of 64 and chunks of 4 blocks. A group of
// columns that has its own scale is padded to whole blocks, a row to whole chunks. A tile's chunk is
// 1 KiB: rows 0-7 as 512 bytes, then rows 8-15, and in each half 16 bytes for every lane of a warp:
//
//     lane = 4 * g + t        g = row within the half, t = 0..3
//     its word w (0..3)       columns 64 * w + 16 * t .. + 15 of the chunk
//     byte j of a word        bits 7-6      5-4      3-2      1-0
//                             col 12+j     8+j      4+j      j
//
// Codes are trit + 1; padding holds 1. A warp reads its part of a chunk as one run of 512 bytes, and
// what a lane then holds is a fragment of mma.m16n8k32 after one shift and one AND for four columns:
// step s of word w takes columns 64 w + 16 t + 8 s .. + 7, for the weights as for the activations,
// which are int8 in rows of the padded columns. The order of columns within a sum does not matter.
//
// Sums of codes times activations are too large by the sum of the activations, which is subtracted
// once. int8 results are those of the CPU to the last bit: integer sums are exact, and the few
// operations on floats are in the CPU's order, each rounded by itself.

#pragma once

typedef signed char i8;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

constexpr u32 tile_rows = 16;
constexpr u32 block_columns = 64;
constexpr u32 chunk_columns = 256;
/// 16-byte pieces of a tile's chunk.
constexpr u32 chunk_pieces = 64;
constexpr u32 codes_mask = 0x03030303;

/// How many columns there are, and where they went; the same for weights and activations.
struct Columns {
    u32 columns;
    u32 groups;
    u32 group_columns;
    /// 64-column blocks of a group, the last one padded.
    u32 group_blocks;
    /// 256-column chunks of a row, the last one padded.
    u32 chunks;
    u32 reserved;

    __device__ u32 padded() const { return chunks * chunk_columns; }

    /// The column that stands at a padded place, or `columns` for padding.
    __device__ u32 column_at(u32 place) const {
        const u32 group = place / (group_blocks * block_columns);
        const u32 within = place - group * group_blocks * block_columns;
        return group < groups && within < group_columns ? group * group_columns + within : columns;
    }

    /// Whether nothing was padded, so that places are columns.
    __device__ bool dense() const { return padded() == columns && group_blocks * block_columns == group_columns; }
};

/// A product: output[token][row] = (sum over groups of float(exact sum) * scale) * token scale + bias.
struct Product {
    const uint4* weights;
    /// [row][group]
    const float* row_scales;
    /// [token][padded column], of int8 or float.
    const void* tokens;
    /// [token][group] sums of the activations; int8 only.
    const int* token_sums;
    /// [token]; int8 only.
    const float* token_scales;
    /// [row], or null.
    const float* bias;
    float* output;
    Columns columns;
    u32 rows;
    u32 count;
};

/// How many tokens more than there are a block may read of the last slab.
constexpr u32 slab_tokens = 128;

/// Where four activations stand, of a token and a place that is a multiple of four: slabs of 128
/// columns, in them a row of 128 bytes for every token. Of 64 columns the word of lane t for step j
/// (columns 16 t + 4 j) is word t of piece j; pieces of 16 bytes are swapped as the tensor cores want.
__device__ __forceinline__ u64 slab_place(u32 token, u32 place, u32 tokens) {
    const u32 word = place / 4 % 16;
    const u32 piece = place / 64 % 2 * 4 + word % 4;
    return (u64(place / 128) * tokens + token) * 128 + (piece ^ token % 8) * 16 + word / 4 * 4;
}

/// Programmatic dependent launch: the next kernel of the stream may start as soon as every block of
/// this one has, and everything it does before `wait_for_previous` overlaps with this one's work. It
/// may not read what kernels write; weights are there before a product is asked for. Such a kernel
/// reads what others write without __ldg, which the compiler might move to before the wait.
__device__ __forceinline__ void launch_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Returns when the kernels before are done and their results can be seen.
__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Weights are read once: they should not push anything out of the L1 cache. Zeros where there is
/// nothing; a predicate instead of a branch, so that several loads are on their way at a time.
__device__ __forceinline__ uint4 load_stream(const uint4* address, bool there = true) {
    uint4 value;
    asm("{\n"
        ".reg .pred there;\n"
        "setp.ne.u32 there, %5, 0;\n"
        "mov.u32 %0, 0;\nmov.u32 %1, 0;\nmov.u32 %2, 0;\nmov.u32 %3, 0;\n"
        "@there ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];\n"
        "}"
        : "=&r"(value.x), "=&r"(value.y), "=&r"(value.z), "=&r"(value.w)
        : "l"(address), "r"(u32(there)));
    return value;
}

/// The same, and not later than it is asked for: the compiler may not move it behind a barrier.
__device__ __forceinline__ uint4 load_now(const uint4* address, bool there) {
    uint4 value;
    asm volatile("{\n"
        ".reg .pred there;\n"
        "setp.ne.u32 there, %5, 0;\n"
        "mov.u32 %0, 0;\nmov.u32 %1, 0;\nmov.u32 %2, 0;\nmov.u32 %3, 0;\n"
        "@there ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];\n"
        "}"
        : "=&r"(value.x), "=&r"(value.y), "=&r"(value.z), "=&r"(value.w)
        : "l"(address), "r"(u32(there)));
    return value;
}

/// Copies 16 bytes, or zeros, to shared memory.
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool there) {
    const u32 address = static_cast<u32>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(there ? 16 : 0));
}

__device__ __forceinline__ u32 word_of(const uint4& piece, int index) {
    return index == 0 ? piece.x : index == 1 ? piece.y : index == 2 ? piece.z : piece.w;
}

/// Codes (bytes without a sign) times int8, four at a time. Codes are at most 2, so signed will do.
__device__ __forceinline__ int dot_word(u32 word, const int4& x, int sum) {
    sum = __dp4a(int(word & codes_mask), x.x, sum);
    sum = __dp4a(int((word >> 2) & codes_mask), x.y, sum);
    sum = __dp4a(int((word >> 4) & codes_mask), x.z, sum);
    return __dp4a(int((word >> 6) & codes_mask), x.w, sum);
}

/// sums (16 rows x 8 tokens) += codes (16 x 32) x activations (32 x 8)
__device__ __forceinline__ void multiply_tile(int (&sums)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// The end of a product with whole-row scales.
__device__ __forceinline__ void store_scaled(const Product& p, u32 row, u32 token, int exact, float token_scale) {
    const float scaled = __fadd_rn(0.0f, __fmul_rn(__int2float_rn(exact), p.row_scales[row]));
    const float value = __fmul_rn(scaled, token_scale);
    p.output[u64(token) * p.rows + row] = p.bias ? __fadd_rn(value, p.bias[row]) : value;
}

__device__ __forceinline__ void store_exact(const Product& p, u32 row, u32 token, int exact) {
    store_scaled(p, row, token, exact, p.token_scales[token]);
}

/// Four 8 x 8 matrices of 16-bit elements from shared memory, as mma takes them.
__device__ __forceinline__ void load_matrices(u32 (&out)[4], u32 shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
        : "r"(shared));
}
