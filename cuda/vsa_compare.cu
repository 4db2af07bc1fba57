// Similarities of hypervectors, pair by pair, and the best rows of one query.
//
// A warp has a row, a lane every 32nd of its pieces. Scores are f64 by the operations of the CPU in its
// order (lib/cpu/vsa_vectors.zig), so that they are the same to the last bit.
//
// Floor: the rows once, 2 bits a trit. The query comes from the L1 cache.

#include "vsa.cuh"
#include "vsa_best.cuh"

struct VsaPairs {
    const Piece* a;
    const Piece* b;
    /// One for each pair, or counts of u32 [row][nonzero, negative].
    void* scores;
    u64 count;
    /// Pieces from a row to the next, 0 where one vector serves all.
    u32 a_stride;
    u32 b_stride;
    u32 pieces;
    u32 dim;
    u32 metric;
    u32 reserved;
};

/// Whole warps: their number, and how many there are.
__device__ __forceinline__ u64 warp_index() {
    return thread_index() / 32;
}

extern "C" __global__ void __launch_bounds__(256) vsa_pairs(const __grid_constant__ VsaPairs p) {
    const u32 lane = threadIdx.x % 32;
    for (u64 row = warp_index(); row < p.count; row += thread_count() / 32) {
        const Piece* a = p.a + row * p.a_stride;
        const Piece* b = p.b + row * p.b_stride;
        PairCounts counts = {0, 0, 0, 0};
#pragma unroll 2
        for (u32 i = lane; i < p.pieces; i += 32) {
            const Trits<Piece> x = load_trits(a + i, p.pieces);
            const Trits<Piece> y = load_trits(b + i, p.pieces);
#pragma unroll
            for (int w = 0; w < 4; w++) {
                const u32 both = x.nonzero.word[w] & y.nonzero.word[w];
                counts.common += __popc(both);
                counts.opposite += __popc(both & (x.negative.word[w] ^ y.negative.word[w]));
                counts.nonzero_a += __popc(x.nonzero.word[w]);
                counts.nonzero_b += __popc(y.nonzero.word[w]);
            }
        }
        counts.common = __reduce_add_sync(all_lanes, counts.common);
        counts.opposite = __reduce_add_sync(all_lanes, counts.opposite);
        counts.nonzero_a = __reduce_add_sync(all_lanes, counts.nonzero_a);
        counts.nonzero_b = __reduce_add_sync(all_lanes, counts.nonzero_b);
        if (lane == 0) static_cast<double*>(p.scores)[row] = score_of(p.metric, sum_of(p.metric, counts), counts.nonzero_a, counts.nonzero_b, p.dim);
    }
}

/// Nonzero and negative trits of every row.
extern "C" __global__ void __launch_bounds__(256) vsa_count_rows(const __grid_constant__ VsaPairs p) {
    const u32 lane = threadIdx.x % 32;
    for (u64 row = warp_index(); row < p.count; row += thread_count() / 32) {
        const Piece* a = p.a + row * p.a_stride;
        u32 nonzero = 0;
        u32 negative = 0;
#pragma unroll 2
        for (u32 i = lane; i < p.pieces; i += 32) {
            const Trits<Piece> x = load_trits(a + i, p.pieces);
#pragma unroll
            for (int w = 0; w < 4; w++) {
                nonzero += __popc(x.nonzero.word[w]);
                negative += __popc(x.negative.word[w]);
            }
        }
        nonzero = __reduce_add_sync(all_lanes, nonzero);
        negative = __reduce_add_sync(all_lanes, negative);
        if (lane == 0) static_cast<uint2*>(p.scores)[row] = make_uint2(nonzero, negative);
    }
}

/// One query against all rows.
struct VsaScan {
    const Piece* rows;
    const Piece* query;
    /// The k best of every block, best first; ended by ones of no row.
    double* keys;
    u32* places;
    /// Only what comes after these is looked for, where there is such.
    const double* after_key;
    const u32* after_row;
    u64 count;
    u32 pieces;
    u32 dim;
    u32 metric;
    u32 k;
};

/// KIND as of `sum_of`: what is counted for a pair.
template <int KIND, int ROWS>
__device__ __forceinline__ void scan_rows(const VsaScan& p) {
    const u32 lane = threadIdx.x % 32;
    const u64 warps = thread_count() / 32;
    Best best(p.k);
    const Bound bound = Bound::of(p.after_key, p.after_row);
    u32 query_nonzeros = 0;
    for (u32 i = lane; i < p.pieces; i += 32) {
#pragma unroll
        for (int w = 0; w < 4; w++) query_nonzeros += __popc(p.query[i].word[w]);
    }
    query_nonzeros = __reduce_add_sync(all_lanes, query_nonzeros);
    for (u64 row = warp_index() * ROWS; row < p.count; row += warps * ROWS) {
        u32 first[ROWS];
        u32 second[ROWS];
        u32 nonzeros[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) first[r] = second[r] = nonzeros[r] = 0;
#pragma unroll 3
        for (u32 i = lane; i < p.pieces; i += 32) {
            Trits<Piece> x[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const u64 at = row + r < p.count ? row + r : row;
                const uint4* piece = reinterpret_cast<const uint4*>(p.rows + at * 2 * p.pieces + i);
                const uint4 nonzero = load_stream(piece);
                const uint4 negative = load_stream(piece + p.pieces);
                x[r] = {{nonzero.x, nonzero.y, nonzero.z, nonzero.w}, {negative.x, negative.y, negative.z, negative.w}};
            }
            const Trits<Piece> y = load_trits(p.query + i, p.pieces);
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
#pragma unroll
                for (int w = 0; w < 4; w++) {
                    const u32 m = x[r].nonzero.word[w];
                    const u32 n = x[r].negative.word[w];
                    const u32 k = y.nonzero.word[w];
                    const u32 l = y.negative.word[w];
                    if (KIND == kind_distance) {
                        first[r] += __popc((m ^ k) | (n ^ l));
                        continue;
                    }
                    first[r] += __popc(m & k);
                    if (KIND == kind_dot) second[r] += __popc(m & k & (n ^ l));
                    nonzeros[r] += __popc(m);
                }
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            int sum = int(__reduce_add_sync(all_lanes, first[r]));
            if (KIND == kind_dot) sum -= 2 * int(__reduce_add_sync(all_lanes, second[r]));
            const u32 row_nonzeros = KIND == kind_distance ? 0 : __reduce_add_sync(all_lanes, nonzeros[r]);
            if (row + r >= p.count) continue;
            const double key = key_of(p.metric, sum, row_nonzeros, query_nonzeros, p.dim);
            if (bound.admits(key, u32(row + r))) best.take(key, u32(row + r));
        }
    }
    best.merge_block();
    if (threadIdx.x < p.k) {
        p.keys[u64(blockIdx.x) * p.k + lane] = best.key;
        p.places[u64(blockIdx.x) * p.k + lane] = best.row;
    }
}

extern "C" __global__ void __launch_bounds__(256) vsa_scan_dot(const __grid_constant__ VsaScan p) {
    scan_rows<kind_dot, 2>(p);
}

extern "C" __global__ void __launch_bounds__(256) vsa_scan_distance(const __grid_constant__ VsaScan p) {
    scan_rows<kind_distance, 2>(p);
}

extern "C" __global__ void __launch_bounds__(256) vsa_scan_common(const __grid_constant__ VsaScan p) {
    scan_rows<kind_common, 2>(p);
}
