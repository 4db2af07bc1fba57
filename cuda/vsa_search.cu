// Many queries against many rows, on tensor cores: one bit a multiplication (mma.m16n8k256 AND, POPC).
//
// With planes (m, n) of a query and (k, l) of a row, and the positive trits p = m ^ n and q = k ^ l,
//
//     common   = |m & k|
//     opposite = |p & l| + |n & q|
//
// and every similarity follows from these two and from the nonzero trits of both: three products of
// bits where int8 would take eight times the bytes. p and q are made of the fragments in registers.
//
// A block computes 128 queries x 128 rows; chunks of 512 trits of both are copied to shared memory
// ahead. A row's chunk is 128 bytes there: 64 of each plane, the 16-byte pieces exchanged by the row's
// number so that eight rows of a fragment lie in different banks. Floor: 3 x queries x rows x dim bit
// products; memory: the rows once, from L2 once for every 128 queries.

#include "vsa.cuh"
#include "vsa_best.cuh"

struct VsaMatrix {
    const Piece* queries;
    const Piece* rows;
    /// [query][row], rows padded to `stride`.
    int* sums;
    /// [nonzero, negative] of queries and rows; needed for distances.
    const uint2* query_counts;
    const uint2* row_counts;
    u32 query_count;
    u32 row_count;
    u32 stride;
    /// Pieces of a plane, a multiple of 4.
    u32 pieces;
    u32 metric;
    u32 reserved;
};

constexpr u32 matrix_side = 128;
/// As many as fit the shared memory of every device.
constexpr int matrix_stages = 3;
/// Bytes of a stage: 128 queries and 128 rows, 128 bytes each.
constexpr u32 matrix_stage_bytes = 2 * matrix_side * 128;

__device__ __forceinline__ void copy_piece(u32 shared, const Piece* source, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(source), "r"(there ? 16 : 0));
}

__device__ __forceinline__ void load_matrices(u32 (&out)[4], u32 shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
        : "r"(shared));
}

/// sums (16 x 8) += |a (16 x 256 bits) & b (256 x 8 bits)|
__device__ __forceinline__ void multiply_bits(int (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Copies a chunk of 512 trits of 128 vectors: piece i of plane j of a row is at (4 j + i) ^ (row % 8).
__device__ __forceinline__ void copy_chunk(u32 shared, const Piece* vectors, u32 first, u32 count, u32 pieces, u32 chunk) {
#pragma unroll
    for (u32 i = 0; i < matrix_side * 8 / 256; i++) {
        const u32 index = i * 256 + threadIdx.x;
        const u32 row = index / 8;
        const u32 piece = index % 8;
        const bool there = first + row < count;
        const Piece* source = vectors + (there ? u64(first + row) * 2 * pieces : 0) + (piece / 4) * pieces + chunk * 4 + piece % 4;
        copy_piece(shared + row * 128 + ((piece ^ (row % 8)) * 16), source, there);
    }
}

/// Warp tiles of 64 queries x 32 rows, 8 warps.
template <int STAGES>
__device__ __forceinline__ void compare_tile(const VsaMatrix& p) {
    extern __shared__ __align__(128) u8 shared_bytes[];
    const u32 shared = u32(__cvta_generic_to_shared(shared_bytes));
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 query_tiles = (p.query_count + matrix_side - 1) / matrix_side;
    const u32 first_query = blockIdx.x % query_tiles * matrix_side;
    const u32 first_row = blockIdx.x / query_tiles * matrix_side;
    const u32 chunks = p.pieces / 4;

    int common[4][4][4];
    int opposite[4][4][4];
#pragma unroll
    for (int i = 0; i < 64; i++) (&common[0][0][0])[i] = (&opposite[0][0][0])[i] = 0;

    auto copy = [&](u32 chunk) {
        if (chunk < chunks) {
            const u32 stage = shared + chunk % STAGES * matrix_stage_bytes;
            copy_chunk(stage, p.queries, first_query, p.query_count, p.pieces, chunk);
            copy_chunk(stage + matrix_side * 128, p.rows, first_row, p.row_count, p.pieces, chunk);
        }
        asm volatile("cp.async.commit_group;");
    };
#pragma unroll
    for (u32 chunk = 0; chunk < STAGES - 1; chunk++) copy(chunk);

    // A fragment's rows: those of matrix `lane / 8`. Queries: rows 0-7 and 8-15, then the second half of
    // the bits; rows: both halves of 8, then those of the next 8.
    const u32 query_row = warp / 4 * 64 + lane % 16;
    const u32 query_half = lane / 16;
    const u32 row_row = warp % 4 * 32 + lane / 16 * 8 + lane % 8;
    const u32 row_half = lane / 8 % 2;

    for (u32 chunk = 0; chunk < chunks; chunk++) {
        asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2));
        __syncthreads();
        copy(chunk + STAGES - 1);
        const u32 queries = shared + chunk % STAGES * matrix_stage_bytes;
        const u32 rows = queries + matrix_side * 128;
#pragma unroll
        for (u32 step = 0; step < 2; step++) {
            u32 k[2][4];
            u32 l[2][4];
#pragma unroll
            for (u32 tile = 0; tile < 2; tile++) {
                const u32 row = row_row + tile * 16;
                load_matrices(k[tile], rows + row * 128 + (((step * 2 + row_half) ^ (row % 8)) * 16));
                load_matrices(l[tile], rows + row * 128 + (((4 + step * 2 + row_half) ^ (row % 8)) * 16));
            }
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                const u32 row = query_row + i * 16;
                u32 m[4];
                u32 n[4];
                load_matrices(m, queries + row * 128 + (((step * 2 + query_half) ^ (row % 8)) * 16));
                load_matrices(n, queries + row * 128 + (((4 + step * 2 + query_half) ^ (row % 8)) * 16));
#pragma unroll
                for (u32 j = 0; j < 4; j++) multiply_bits(common[i][j], m, k[j / 2][j % 2 * 2], k[j / 2][j % 2 * 2 + 1]);
#pragma unroll
                for (u32 word = 0; word < 4; word++) m[word] ^= n[word];
#pragma unroll
                for (u32 j = 0; j < 4; j++) multiply_bits(opposite[i][j], m, l[j / 2][j % 2 * 2], l[j / 2][j % 2 * 2 + 1]);
#pragma unroll
                for (u32 j = 0; j < 4; j++) {
                    const u32 b0 = k[j / 2][j % 2 * 2] ^ l[j / 2][j % 2 * 2];
                    const u32 b1 = k[j / 2][j % 2 * 2 + 1] ^ l[j / 2][j % 2 * 2 + 1];
                    multiply_bits(opposite[i][j], n, b0, b1);
                }
            }
        }
    }

    const Kind kind = kind_of(p.metric);
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const u32 query = first_query + warp / 4 * 64 + i * 16 + half * 8 + lane / 4;
            if (query >= p.query_count) continue;
            const u32 query_nonzeros = kind == kind_distance ? p.query_counts[query].x : 0;
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                const u32 row = first_row + warp % 4 * 32 + j * 8 + lane % 4 * 2;
                int sums[2];
#pragma unroll
                for (u32 c = 0; c < 2; c++) {
                    const u32 both = u32(common[i][j][half * 2 + c]);
                    const u32 against = u32(opposite[i][j][half * 2 + c]);
                    const u32 row_nonzeros = kind == kind_distance && row + c < p.row_count ? p.row_counts[row + c].x : 0;
                    sums[c] = sum_of(p.metric, {both, against, query_nonzeros, row_nonzeros});
                }
                int* target = p.sums + u64(query) * p.stride + row;
                // Rows are padded to pairs: the second of a pair may be none.
                if (row < p.row_count) *reinterpret_cast<int2*>(target) = make_int2(sums[0], sums[1]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 1) vsa_matrix(const __grid_constant__ VsaMatrix p) {
    compare_tile<matrix_stages>(p);
}

/// The best rows of each query, from their sums or from lists of rows.
struct VsaSelect {
    /// [query][row], or null.
    const int* sums;
    const uint2* query_counts;
    const uint2* row_counts;
    /// [query][entry]: keys and rows, where there are no sums.
    const double* keys;
    const u32* places;
    /// [query] x after_stride: the last that was found before, or null.
    const double* after_key;
    const u32* after_row;
    /// [query] x out_stride
    double* best_keys;
    u32* indices;
    /// Rows, or entries, of each query.
    u32 count;
    u32 stride;
    u32 after_stride;
    u32 out_stride;
    u32 dim;
    u32 metric;
    u32 k;
    u32 reserved;
};

/// About the key, in f32: wrong by less than 1e-6 of it.
__device__ __forceinline__ float rough_key(u32 metric, int sum, u32 row_nonzeros, u32 query_nonzeros) {
    const float value = float(sum);
    switch (metric) {
        case metric_cosine: return row_nonzeros == 0 ? 0.0f : value * rsqrtf(float(row_nonzeros));
        case metric_hamming:
        case metric_hamming_similarity: return -value;
        case metric_jaccard: {
            const float either = float(query_nonzeros + row_nonzeros - u32(sum));
            return either == 0 ? 0.0f : value / either;
        }
        default: return value;
    }
}

/// A block has a query. Rows that are below the last of the best by a rough f32 are not looked at.
extern "C" __global__ void __launch_bounds__(512) vsa_select(const __grid_constant__ VsaSelect p) {
    const u32 query = blockIdx.x;
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 warps = blockDim.x / 32;
    const Bound bound = Bound::of(p.after_key, p.after_row, u64(query) * p.after_stride);
    Best best(p.k);
    if (p.sums != nullptr) {
        const int* sums = p.sums + u64(query) * p.stride;
        const bool needs_counts = p.metric == metric_cosine || p.metric == metric_jaccard;
        const u32 query_nonzeros = needs_counts ? p.query_counts[query].x : 0;
        float least = -__int_as_float(0x7f800000);
        // Each warp has stretches of 128 rows, in ascending order.
        for (u64 first = u64(warp) * 128; first < p.count; first += u64(warps) * 128) {
#pragma unroll
            for (u32 part = 0; part < 4; part++) {
                const u32 row = u32(first) + part * 32 + lane;
                const bool there = row < p.count;
                const int sum = there ? sums[row] : 0;
                const u32 row_nonzeros = needs_counts && there ? p.row_counts[row].x : 0;
                const float rough = rough_key(p.metric, sum, row_nonzeros, query_nonzeros);
                if (!__any_sync(all_lanes, there && rough >= least)) continue;
                const double key = key_of(p.metric, sum, query_nonzeros, row_nonzeros, p.dim);
                const bool taken = there && bound.admits(key, row);
                const u32 before = best.least_row;
                best.take_each(taken ? key : -__longlong_as_double(0x7ff0000000000000), taken ? row : no_row);
                if (best.least_row == before || best.least_row == no_row) continue;
                const u32 last = best.least_row;
                const float last_rough = rough_key(p.metric, sums[last], needs_counts ? p.row_counts[last].x : 0, query_nonzeros);
                least = last_rough - fabsf(last_rough) * 4e-6f;
            }
        }
    } else {
        const double* keys = p.keys + u64(query) * p.count;
        const u32* places = p.places + u64(query) * p.count;
        for (u32 first = warp * 32; first < p.count; first += warps * 32) {
            const u32 at = first + lane;
            const bool there = at < p.count;
            best.take_each(there ? keys[at] : -__longlong_as_double(0x7ff0000000000000), there ? places[at] : no_row);
        }
    }
    best.merge_block();
    if (threadIdx.x >= p.k) return;
    const u64 target = u64(query) * p.out_stride + lane;
    p.best_keys[target] = best.key;
    p.indices[target] = best.row;
}

/// Scores of all pairs from their sums: [row][query].
struct VsaScores {
    const int* sums;
    const uint2* query_counts;
    const uint2* row_counts;
    double* scores;
    u32 query_count;
    u32 row_count;
    u32 stride;
    /// Queries of the whole matrix, of which these are some.
    u32 out_stride;
    u32 dim;
    u32 metric;
};

/// Blocks of 32 x 32, turned in shared memory.
extern "C" __global__ void __launch_bounds__(256) vsa_scores(const __grid_constant__ VsaScores p) {
    __shared__ int tile[32][33];
    const u32 x = threadIdx.x % 32;
    const u32 y = threadIdx.x / 32;
    const u32 query_tiles = (p.query_count + 31) / 32;
    const u32 first_query = blockIdx.x % query_tiles * 32;
    const u32 first_row = blockIdx.x / query_tiles * 32;
    for (u32 i = y; i < 32; i += 8) {
        const u32 query = first_query + i;
        const u32 row = first_row + x;
        if (query < p.query_count && row < p.row_count) tile[i][x] = p.sums[u64(query) * p.stride + row];
    }
    __syncthreads();
    for (u32 i = y; i < 32; i += 8) {
        const u32 query = first_query + x;
        const u32 row = first_row + i;
        if (query >= p.query_count || row >= p.row_count) continue;
        const u32 query_nonzeros = p.query_counts[query].x;
        const u32 row_nonzeros = p.row_counts[row].x;
        p.scores[u64(row) * p.out_stride + query] = score_of(p.metric, tile[x][i], row_nonzeros, query_nonzeros, p.dim);
    }
}
