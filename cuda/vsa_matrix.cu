// Many queries against many rows, on tensor cores: one bit a multiplication (mma.m16n8k256 AND, POPC).
//
// Of the planes (nonzero, negative) of a query and a row, m, n and k, l, and of the positive trits
// p = m ^ n and q = k ^ l, fragments are combined in registers, so that one sum of bits is all there is:
//
//     dot       |p & q| + |n & l| + |p & ~l| + |n & ~q| - |m|
//     distance  dim - (|p & q| + |n & l| + |~m & ~k|), padding being equal
//     common    |m & k|
//
// Two sums, of m & k and of what is opposite, would take three products for dot as well, but twice the
// registers, and so half the rows that meet what is read from shared memory.
//
// A block computes 128 queries x 256 rows; chunks of 512 trits of both are copied to shared memory
// ahead. A row's chunk is 128 bytes there: 64 of each plane, the 16-byte pieces exchanged by the row's
// number so that eight rows of a fragment lie in different banks. Floor: 4 (3, 1) x queries x rows x dim
// products of bits, 5.2e15 a second by mma.sync on an H100; memory: the rows once, from L2 once for
// every 128 queries.

#include "vsa.cuh"
#include "vsa_best.cuh"

struct VsaMatrix {
    const Piece* queries;
    const Piece* rows;
    /// [query][row], rows padded to `stride`.
    int* sums;
    /// [query][tile of 64 rows]: the largest rough key, or null.
    float* tops;
    /// [nonzero, negative] of queries and rows.
    const uint2* query_counts;
    const uint2* row_counts;
    u32 query_count;
    u32 row_count;
    u32 stride;
    /// Pieces of a plane, a multiple of 4.
    u32 pieces;
    /// Stages of shared memory: 4, or 2.
    u32 stages;
    u32 metric;
};

/// Queries and rows of a block.
constexpr u32 matrix_queries = 128;
constexpr u32 matrix_rows = 256;
constexpr u32 matrix_stage_bytes = (matrix_queries + matrix_rows) * 128;

__device__ __forceinline__ void copy_piece(u32 shared, const Piece* source, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(source), "r"(there ? 16 : 0));
}

/// sums (16 x 8) += |a (16 x 256 bits) & b (256 x 8 bits)|
__device__ __forceinline__ void multiply_bits(int (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Copies a chunk of 512 trits of some vectors: piece i of plane j of a row is at (4 j + i) ^ (row % 8).
template <u32 COUNT>
__device__ __forceinline__ void copy_chunk(u32 shared, const Piece* vectors, u32 first, u32 count, u32 pieces, u32 chunk) {
#pragma unroll
    for (u32 i = 0; i < COUNT * 8 / 256; i++) {
        const u32 index = i * 256 + threadIdx.x;
        const u32 row = index / 8;
        const u32 piece = index % 8;
        const bool there = first + row < count;
        const Piece* source = vectors + (there ? u64(first + row) * 2 * pieces : 0) + (piece / 4) * pieces + chunk * 4 + piece % 4;
        copy_piece(shared + row * 128 + ((piece ^ (row % 8)) * 16), source, there);
    }
}

/// Where a lane finds piece `piece` of a row's chunk.
__device__ __forceinline__ u32 piece_at(u32 vectors, u32 row, u32 piece) {
    return vectors + row * 128 + ((piece ^ (row % 8)) * 16);
}

/// Fragments of 16 queries: both planes of 256 trits.
struct QueryBits {
    u32 nonzero[4];
    u32 negative[4];
};

/// One product of bits for all 4 x 2 fragments.
template <class A, class B>
__device__ __forceinline__ void multiply_all(int (&sums)[4][8][4], int pair, const QueryBits (&queries)[4], A a_of, B b_of) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
        const u32 b0 = b_of(j, 0);
        const u32 b1 = b_of(j, 1);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 a[4];
#pragma unroll
            for (int word = 0; word < 4; word++) a[word] = a_of(queries[i].nonzero[word], queries[i].negative[word]);
            multiply_bits(sums[i][pair * 2 + j], a, b0, b1);
        }
    }
}

/// What 16 rows of a lane, pairs of every 8 from `first` on, give to rough keys, so that those take few
/// instructions: a block has 128 of them for each thread.
template <int KIND>
struct RowParts {
    /// Rows that there are.
    u32 there;
    /// For dot products a factor, for what is common the nonzero trits.
    float part[16];
    bool is_jaccard;

    __device__ __forceinline__ void read(const VsaMatrix& p, u32 first) {
        const bool needs_counts = p.metric == metric_cosine || p.metric == metric_jaccard;
        is_jaccard = p.metric == metric_jaccard;
        there = 0;
#pragma unroll
        for (u32 j = 0; j < 16; j++) {
            const u32 row = first + j / 2 * 8 + j % 2;
            if (row < p.row_count) there |= 1u << j;
            if constexpr (KIND != kind_distance) {
                const u32 nonzeros = needs_counts && row < p.row_count ? p.row_counts[row].x : 0;
                if (KIND == kind_common) part[j] = float(nonzeros);
                else part[j] = !needs_counts ? 1.0f : nonzeros == 0 ? 0.0f : rsqrtf(float(nonzeros));
            }
        }
    }

    __device__ __forceinline__ float largest(const int (&values)[16], int query_nonzeros) const {
        float top = -__int_as_float(0x7f800000);
#pragma unroll
        for (u32 j = 0; j < 16; j++) {
            const float value = float(values[j]);
            float rough;
            if constexpr (KIND == kind_distance) {
                rough = -value;
            } else if constexpr (KIND == kind_dot) {
                rough = value * part[j];
            } else {
                const float either = float(query_nonzeros) + part[j] - value;
                rough = !is_jaccard ? value : either == 0 ? 0.0f : __fdividef(value, either);
            }
            if (there >> j & 1) top = fmaxf(top, rough);
        }
        return top;
    }
};

/// Warp tiles of 64 queries x 64 rows, 8 warps.
template <int KIND, int STEPS = 1>
__device__ __forceinline__ void compare_tile(const VsaMatrix& p) {
    extern __shared__ __align__(128) u8 shared_bytes[];
    const u32 shared = u32(__cvta_generic_to_shared(shared_bytes));
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 query_tiles = (p.query_count + matrix_queries - 1) / matrix_queries;
    const u32 first_query = blockIdx.x % query_tiles * matrix_queries;
    const u32 first_row = blockIdx.x / query_tiles * matrix_rows;
    const u32 chunks = p.pieces / 4;

    int sums[4][8][4];
#pragma unroll
    for (int i = 0; i < 128; i++) (&sums[0][0][0])[i] = 0;

    u32 ahead = 0;
    u32 ahead_stage = shared;
    const u32 end = shared + p.stages * matrix_stage_bytes;
    auto copy = [&]() {
        if (ahead < chunks) {
            copy_chunk<matrix_queries>(ahead_stage, p.queries, first_query, p.query_count, p.pieces, ahead);
            copy_chunk<matrix_rows>(ahead_stage + matrix_queries * 128, p.rows, first_row, p.row_count, p.pieces, ahead);
        }
        asm volatile("cp.async.commit_group;");
        ahead++;
        ahead_stage = ahead_stage + matrix_stage_bytes == end ? shared : ahead_stage + matrix_stage_bytes;
    };
    for (u32 stage = 1; stage < p.stages; stage++) copy();

    // Fragments of queries: rows 0-7 and 8-15, then the second half of the bits; of rows: both halves of
    // 8, then those of the next 8.
    const u32 query_row = warp / 4 * 64 + lane % 16;
    const u32 query_half = lane / 16;
    const u32 row_row = warp % 4 * 64 + lane / 16 * 8 + lane % 8;
    const u32 row_half = lane / 8 % 2;

    u32 queries = shared;
    for (u32 chunk = 0; chunk < chunks; chunk++) {
        if (p.stages == 4) asm volatile("cp.async.wait_group 2;");
        else asm volatile("cp.async.wait_group 0;");
        __syncthreads();
        copy();
        const u32 rows = queries + matrix_queries * 128;
#pragma unroll STEPS
        for (u32 step = 0; step < 2; step++) {
            QueryBits a[4];
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                load_matrices(a[i].nonzero, piece_at(queries, query_row + i * 16, step * 2 + query_half));
                load_matrices(a[i].negative, piece_at(queries, query_row + i * 16, 4 + step * 2 + query_half));
                // From here on the positive trits, for what has no use for the nonzero ones.
                if constexpr (KIND != kind_common) {
#pragma unroll
                    for (int word = 0; word < 4; word++) a[i].nonzero[word] ^= a[i].negative[word];
                }
            }
#pragma unroll
            for (int pair = 0; pair < 4; pair++) {
                u32 k[4];
                u32 l[4];
                load_matrices(k, piece_at(rows, row_row + pair * 16, step * 2 + row_half));
                load_matrices(l, piece_at(rows, row_row + pair * 16, 4 + step * 2 + row_half));
                auto first = [](u32 positive, u32) { return positive; };
                auto second = [](u32, u32 negative) { return negative; };
                if constexpr (KIND == kind_common) {
                    multiply_all(sums, pair, a, first, [&](int j, int half) { return k[j * 2 + half]; });
                    continue;
                }
                multiply_all(sums, pair, a, first, [&](int j, int half) { return k[j * 2 + half] ^ l[j * 2 + half]; });
                multiply_all(sums, pair, a, second, [&](int j, int half) { return l[j * 2 + half]; });
                if (KIND == kind_distance) {
                    multiply_all(sums, pair, a, [](u32 positive, u32 negative) { return ~(positive | negative); }, [&](int j, int half) { return ~k[j * 2 + half]; });
                } else {
                    multiply_all(sums, pair, a, first, [&](int j, int half) { return ~l[j * 2 + half]; });
                    multiply_all(sums, pair, a, second, [&](int j, int half) { return ~(k[j * 2 + half] ^ l[j * 2 + half]); });
                }
            }
        }
        queries = queries + matrix_stage_bytes == end ? shared : queries + matrix_stage_bytes;
    }

    const u32 tile_row = first_row + warp % 4 * tile_side;
    const u32 tiles = (p.row_count + tile_side - 1) / tile_side;
    // What the lane's 16 rows give to their rough keys.
    RowParts<KIND> parts;
    if (p.tops != nullptr) parts.read(p, tile_row + lane % 4 * 2);
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const u32 query = first_query + warp / 4 * 64 + i * 16 + half * 8 + lane / 4;
            const bool there = query < p.query_count;
            const int nonzeros = there && KIND != kind_distance ? int(p.query_counts[query].x) : 0;
            int values[16];
#pragma unroll
            for (u32 j = 0; j < 16; j++) {
                const int sum = sums[i][j / 2][half * 2 + j % 2];
                values[j] = KIND == kind_dot ? sum - nonzeros : KIND == kind_distance ? int(p.pieces * 128) - sum : sum;
            }
            if (there) {
                int* target = p.sums + u64(query) * p.stride + tile_row + lane % 4 * 2;
                // Rows are padded: the second of a pair may be none.
#pragma unroll
                for (u32 j = 0; j < 8; j++) {
                    if (tile_row + j * 8 + lane % 4 * 2 < p.row_count) *reinterpret_cast<int2*>(target + j * 8) = make_int2(values[2 * j], values[2 * j + 1]);
                }
            }
            if (p.tops == nullptr) continue;
            float top = parts.largest(values, nonzeros);
            top = fmaxf(top, __shfl_xor_sync(all_lanes, top, 1));
            top = fmaxf(top, __shfl_xor_sync(all_lanes, top, 2));
            if (there && lane % 4 == 0 && tile_row < p.row_count) p.tops[u64(query) * tiles + tile_row / tile_side] = top;
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 1) vsa_matrix_dot(const __grid_constant__ VsaMatrix p) {
    compare_tile<kind_dot>(p);
}

extern "C" __global__ void __launch_bounds__(256, 1) vsa_matrix_distance(const __grid_constant__ VsaMatrix p) {
    compare_tile<kind_distance>(p);
}

extern "C" __global__ void __launch_bounds__(256, 1) vsa_matrix_common(const __grid_constant__ VsaMatrix p) {
    compare_tile<kind_common>(p);
}
