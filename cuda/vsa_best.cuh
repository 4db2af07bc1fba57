// Scores out of counts, and the best rows so far: what searches share.

#pragma once

#include "vsa.cuh"

/// In the order of the library's metrics.
enum Metric : u32 { metric_dot, metric_cosine, metric_hamming, metric_hamming_similarity, metric_overlap, metric_jaccard };

/// What is counted for a pair: products, trits that differ, dimensions in which both are nonzero.
enum Kind : int { kind_dot, kind_distance, kind_common };

__device__ __forceinline__ Kind kind_of(u32 metric) {
    return metric <= metric_cosine ? kind_dot : metric <= metric_hamming_similarity ? kind_distance : kind_common;
}

struct PairCounts {
    u32 common;
    u32 opposite;
    u32 nonzero_a;
    u32 nonzero_b;
};

/// The number that a metric is made of; at most 2^31 in size, so that dot products of 2^31 dimensions,
/// which int cannot hold, are refused before.
__device__ __forceinline__ int sum_of(u32 metric, const PairCounts& counts) {
    switch (kind_of(metric)) {
        case kind_dot: return int(counts.common) - 2 * int(counts.opposite);
        case kind_distance: return int(counts.nonzero_a + counts.nonzero_b - 2 * counts.common + counts.opposite);
        default: return int(counts.common);
    }
}

/// lib/cpu/vsa_vectors.zig's scoreOf.
__device__ __forceinline__ double score_of(u32 metric, int sum, u32 nonzero_a, u32 nonzero_b, u32 dim) {
    const double value = double(sum);
    switch (metric) {
        case metric_cosine: {
            if (nonzero_a == 0 || nonzero_b == 0) return 0;
            return __ddiv_rn(value, __dsqrt_rn(__dmul_rn(double(nonzero_a), double(nonzero_b))));
        }
        case metric_hamming_similarity: return __dsub_rn(1, __ddiv_rn(value, double(dim)));
        case metric_jaccard: {
            const double either = double(nonzero_a) + double(nonzero_b) - value;
            return either == 0 ? 0 : __ddiv_rn(value, either);
        }
        default: return value;
    }
}

/// The score, or for distances its negative: the larger the better.
__device__ __forceinline__ double key_of(u32 metric, int sum, u32 nonzero_a, u32 nonzero_b, u32 dim) {
    const double score = score_of(metric, sum, nonzero_a, nonzero_b, dim);
    // Not -score, which would be a zero of its own.
    return metric == metric_hamming ? 0.0 - score : score;
}

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

constexpr u32 no_row = 0xffffffff;

/// Larger keys come first and, among equal ones, lower rows.
__device__ __forceinline__ bool is_before(double key, u32 row, double other, u32 other_row) {
    return key > other || (key == other && row < other_row);
}

/// What has been found in a round before.
struct Bound {
    double key;
    u32 row;
    bool is_there;

    __device__ __forceinline__ static Bound of(const double* key, const u32* row, u64 index = 0) {
        if (key == nullptr) return {0, 0, false};
        return {key[index], row[index], true};
    }

    __device__ __forceinline__ bool admits(double other, u32 other_row) const {
        return !is_there || is_before(key, row, other, other_row);
    }
};

/// The key of no row.
__device__ __forceinline__ double least_of_all() {
    return -__longlong_as_double(0x7ff0000000000000);
}

/// The k best rows that a warp has seen, k at most 32: the first in lane 0, and so on.
struct Best {
    double key;
    u32 row;
    u32 k;
    /// Those of the last.
    double least;
    u32 least_row;

    __device__ __forceinline__ explicit Best(u32 k) : key(least_of_all()), row(no_row), k(k), least(key), least_row(no_row) {}

    /// Takes a row that all lanes know.
    __device__ __forceinline__ void take(double other, u32 other_row) {
        if (!is_before(other, other_row, least, least_row)) return;
        const u32 lane = threadIdx.x % 32;
        const u32 place = __popc(__ballot_sync(all_lanes, is_before(key, row, other, other_row)));
        const double upper = __shfl_up_sync(all_lanes, key, 1);
        const u32 upper_row = __shfl_up_sync(all_lanes, row, 1);
        if (lane == place) {
            key = other;
            row = other_row;
        } else if (lane > place) {
            key = upper;
            row = upper_row;
        }
        least = __shfl_sync(all_lanes, key, k - 1);
        least_row = __shfl_sync(all_lanes, row, k - 1);
    }

    /// Takes a row of every lane.
    __device__ __forceinline__ void take_each(double other, u32 other_row) {
        u32 left = __ballot_sync(all_lanes, is_before(other, other_row, least, least_row));
        while (left != 0) {
            const int from = __ffs(left) - 1;
            left &= left - 1;
            take(__shfl_sync(all_lanes, other, from), __shfl_sync(all_lanes, other_row, from));
        }
    }

    /// Gives the first warp the best of all warps, at most 32, of the block: each entry counts, in the
    /// sorted list of every other warp, what comes before it.
    __device__ __forceinline__ void merge_block() {
        __shared__ double keys[32][33];
        __shared__ u32 rows[32][33];
        __shared__ double best_keys[32];
        __shared__ u32 best_rows[32];
        const u32 lane = threadIdx.x % 32;
        const u32 warp = threadIdx.x / 32;
        keys[warp][lane] = key;
        rows[warp][lane] = row;
        if (warp == 0) {
            best_keys[lane] = least_of_all();
            best_rows[lane] = no_row;
        }
        __syncthreads();
        if (lane < k && row != no_row) {
            u32 rank = lane;
            for (u32 other = 0; other < blockDim.x / 32; other++) {
                if (other == warp) continue;
                u32 from = 0;
                u32 to = k;
                while (from < to) {
                    const u32 middle = (from + to) / 2;
                    if (is_before(keys[other][middle], rows[other][middle], key, row)) from = middle + 1;
                    else to = middle;
                }
                rank += from;
            }
            if (rank < k) {
                best_keys[rank] = key;
                best_rows[rank] = row;
            }
        }
        __syncthreads();
        key = best_keys[lane];
        row = best_rows[lane];
    }
};
