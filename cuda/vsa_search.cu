// The best rows of queries, from the sums of vsa_matrix.cu or the lists of vsa_compare.cu, and scores of
// all pairs.
//
// Floor: what tells tiles of rows apart, 1/64 of the sums, and the tiles with the best. Scores read the
// sums and write 8 bytes for each.

#include "vsa.cuh"
#include "vsa_best.cuh"

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
