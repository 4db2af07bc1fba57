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

/// Rows of a tile that has its largest key noted.
constexpr u32 tile_side = 64;

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

/// The best rows of each query from their sums.
struct VsaSelect {
    /// [query][row]
    const int* sums;
    /// [query][tile]
    const float* tops;
    const uint2* query_counts;
    const uint2* row_counts;
    /// [query] x after_stride: the last that was found before, or null.
    const double* after_key;
    const u32* after_row;
    /// [query] x out_stride
    double* best_keys;
    u32* indices;
    /// Rows, and integers from a query's sums to the next, a multiple of 4.
    u32 count;
    u32 stride;
    u32 after_stride;
    u32 out_stride;
    u32 dim;
    u32 metric;
    u32 k;
    u32 reserved;
};

/// Floats in their order.
__device__ __forceinline__ u32 ordered(float value) {
    const u32 bits = __float_as_uint(value);
    return bits >> 31 ? ~bits : bits | 0x80000000;
}

__device__ __forceinline__ float unordered(u32 bits) {
    return __uint_as_float(bits >> 31 ? bits & 0x7fffffff : ~bits);
}

/// A block has a query. The k-th largest of the tiles' largest keys is one that k rows reach: tiles below
/// it are not looked at, nor what is below the last of any warp's best.
extern "C" __global__ void __launch_bounds__(256) vsa_select(const __grid_constant__ VsaSelect p) {
    __shared__ u32 shared_least;
    const u32 query = blockIdx.x;
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 warps = blockDim.x / 32;
    const u32 tiles = (p.count + tile_side - 1) / tile_side;
    const float* tops = p.tops + u64(query) * tiles;
    const int* sums = p.sums + u64(query) * p.stride;
    const Bound bound = Bound::of(p.after_key, p.after_row, u64(query) * p.after_stride);
    const bool needs_counts = p.metric == metric_cosine || p.metric == metric_jaccard;
    const u32 query_nonzeros = needs_counts ? p.query_counts[query].x : 0;
    auto nonzeros_of = [&](u32 row) { return needs_counts ? p.row_counts[row].x : 0; };
    auto note = [&](float rough) { atomicMax(&shared_least, ordered(rough - fabsf(rough) * 4e-6f)); };
    if (threadIdx.x == 0) shared_least = 0;
    __syncthreads();
    if (!bound.is_there && tiles >= p.k) {
        Best best(p.k);
        for (u32 first = warp * 32; first < tiles; first += warps * 32) {
            const u32 tile = first + lane;
            best.take_each(tile < tiles ? double(tops[tile]) : least_of_all(), tile < tiles ? tile : no_row);
        }
        best.merge_block();
        if (threadIdx.x == p.k - 1) note(float(best.key));
        __syncthreads();
    }
    Best best(p.k);
    for (u32 first = warp * 32; first < tiles; first += warps * 32) {
        const u32 tile = first + lane;
        const u32 top = tile < tiles ? ordered(tops[tile]) : 0;
        u32 left = __ballot_sync(all_lanes, tile < tiles && top >= *static_cast<volatile u32*>(&shared_least));
        while (left != 0) {
            const u32 from = __ffs(left) - 1;
            left &= left - 1;
            const u32 least = *static_cast<volatile u32*>(&shared_least);
            if (__shfl_sync(all_lanes, top, from) < least) continue;
#pragma unroll
            for (u32 part = 0; part < tile_side; part += 32) {
                const u32 row = (first + from) * tile_side + part + lane;
                double key = least_of_all();
                u32 taken = no_row;
                if (row < p.count) {
                    const int sum = sums[row];
                    const u32 nonzeros = nonzeros_of(row);
                    if (ordered(rough_key(p.metric, sum, nonzeros, query_nonzeros)) >= least) {
                        const double exact = key_of(p.metric, sum, query_nonzeros, nonzeros, p.dim);
                        if (bound.admits(exact, row)) {
                            key = exact;
                            taken = row;
                        }
                    }
                }
                best.take_each(key, taken);
            }
            if (best.least_row == no_row || lane != 0) continue;
            note(rough_key(p.metric, sums[best.least_row], nonzeros_of(best.least_row), query_nonzeros));
        }
    }
    __syncthreads();
    best.merge_block();
    if (threadIdx.x >= p.k) return;
    const u64 target = u64(query) * p.out_stride + lane;
    p.best_keys[target] = best.key;
    p.indices[target] = best.row;
}

/// The best of lists of k, each sorted, at most 1024.
struct VsaMerge {
    const double* keys;
    const u32* places;
    double* best_keys;
    u32* indices;
    u32 lists;
    u32 k;
};

/// An entry of a list: the key as an integer of the same order.
struct Entry {
    u32 high;
    u32 low;
    u32 row;

    __device__ __forceinline__ static Entry none() { return {0, 0, no_row}; }

    __device__ __forceinline__ static Entry of(double key, u32 row) {
        const u64 bits = u64(__double_as_longlong(key));
        const u64 place = bits >> 63 ? ~bits : bits | u64(1) << 63;
        return {u32(place >> 32), u32(place), row};
    }

    __device__ __forceinline__ double key() const {
        if (row == no_row) return least_of_all();
        const u64 place = u64(high) << 32 | low;
        return __longlong_as_double((long long)(place >> 63 ? place & ~(u64(1) << 63) : ~place));
    }
};

/// The first of what the lanes have, k times: a lane has a list, `next` gives its entries.
template <class Next>
__device__ __forceinline__ Entry merge_lists(u32 k, Next next) {
    const u32 lane = threadIdx.x % 32;
    Entry found = Entry::none();
    // Four of each list are at hand, as few lists have more of the best: a load would be waited for.
    Entry own[4];
    u32 ahead = 0;
    u32 left = 0;
    for (u32 i = 0; i < k; i++) {
        if (left == 0) {
#pragma unroll
            for (u32 j = 0; j < 4; j++) own[j] = next(ahead + j);
            ahead += 4;
            left = 4;
        }
        __syncwarp();
        const u32 high = __reduce_max_sync(all_lanes, own[0].high);
        const u32 low = __reduce_max_sync(all_lanes, own[0].high == high ? own[0].low : 0);
        const u32 row = __reduce_min_sync(all_lanes, own[0].high == high && own[0].low == low ? own[0].row : no_row);
        if (row == no_row) break;
        if (lane == i) found = {high, low, row};
        if (own[0].row == row) {
#pragma unroll
            for (u32 j = 0; j < 3; j++) own[j] = own[j + 1];
            left--;
        }
        __syncwarp();
    }
    return found;
}

/// One block: each warp merges some lists, the first one theirs.
extern "C" __global__ void __launch_bounds__(1024) vsa_merge(const __grid_constant__ VsaMerge p) {
    __shared__ Entry entries[32][33];
    const u32 lane = threadIdx.x % 32;
    const u32 warp = threadIdx.x / 32;
    const u32 list = lane * 32 + warp;
    entries[warp][lane] = merge_lists(p.k, [&](u32 place) {
        if (list >= p.lists || place >= p.k) return Entry::none();
        return Entry::of(p.keys[list * p.k + place], p.places[list * p.k + place]);
    });
    __syncthreads();
    if (warp != 0) return;
    const Entry found = merge_lists(p.k, [&](u32 place) { return place < p.k ? entries[lane][place] : Entry::none(); });
    if (lane >= p.k) return;
    p.best_keys[lane] = found.key();
    p.indices[lane] = found.row;
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
