// The codec `topk`: what the host's coder needs of gradients that stay on the device, and back.
//
// A block takes 8192 gradients, a thread one word of the bits that say which are kept, and the words of
// a warp follow each other as the gradients do. Kept gradients stay in order: blocks are counted, the
// host adds up the counts, and within a block every thread knows how many come before it.
//
// Floor: 4 bytes read for each gradient, 1/8 written; then 1/8 read, and a sector for each that is kept.
// Back: 1/8 and 4 bytes for each that is kept read, and 4 bytes written for each gradient.

#include "gradients.cuh"

namespace gradients {

struct Largest {
    float* gradients;
    /// Bits of the places, in words of 32; whole blocks of them.
    u32* places;
    float* values;
    /// Of each block: how many are kept, or where they begin.
    u32* counts;
    u32* found;
    u32 count;
    /// The bits of the smallest magnitude that is kept, at least 1.
    u32 least;
};

/// Gradients that the bound is guessed from; see lib/cpu/gradients_topk_choice.zig.
struct Samples {
    const float* gradients;
    /// Magnitudes, and after them whole pieces of the gradients.
    u32* bits;
    float* pieces;
    u64 count;
    /// Runs of 8 neighbours, or 0 where the sample is everything.
    u32 runs;
    u32 sample;
    u32 piece_count;
    u32 piece;
};

constexpr u32 largest_values = 8192;
constexpr u32 largest_threads = 256;
constexpr u32 run_values = 8;

/// How many bits of a block's words come before the word of this thread.
__device__ __forceinline__ u32 kept_before(u32 word) {
    __shared__ u32 totals[largest_threads / 32];
    const u32 lane = threadIdx.x % 32;
    const u32 own = __popc(word);
    u32 sum = own;
#pragma unroll
    for (u32 step = 1; step < 32; step *= 2) {
        const u32 other = __shfl_up_sync(everyone, sum, step);
        if (lane >= step) sum += other;
    }
    if (lane == 31) totals[threadIdx.x / 32] = sum;
    __syncthreads();
    u32 before = sum - own;
    for (u32 warp = 0; warp < threadIdx.x / 32; warp++) before += totals[warp];
    return before;
}

} // namespace gradients

extern "C" __global__ void __launch_bounds__(256) gradients_topk_sample(const __grid_constant__ gradients::Samples s) {
    using namespace gradients;
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < s.sample) {
        u64 place = at;
        if (s.runs > 0) {
            const u64 run = at / run_values;
            const u64 from = run * s.count / s.runs;
            const u64 width = (run + 1) * s.count / s.runs - from - (run_values - 1);
            const u64 hash = (run + 1) * 0x9e3779b97f4a7c15ull;
            place = from + ((hash >> 32) * width >> 32) + at % run_values;
        }
        s.bits[at] = __float_as_uint(s.gradients[place]) & magnitude_mask;
        return;
    }
    const u32 value = at - s.sample;
    const u32 index = value / s.piece;
    if (index >= s.piece_count) return;
    const u64 from = index * (s.count - s.piece) / (s.piece_count - 1);
    s.pieces[value] = s.gradients[from + value % s.piece];
}

extern "C" __global__ void __launch_bounds__(256) gradients_topk_find(const __grid_constant__ gradients::Largest t) {
    using namespace gradients;
    __shared__ u32 counts[largest_threads / 32];
    const u32 lane = threadIdx.x % 32;
    const u64 first = u64(blockIdx.x) * largest_values + threadIdx.x / 32 * 1024 + lane;
    u32 x[32];
#pragma unroll
    for (u32 row = 0; row < 32; row++)
        x[row] = first + row * 32 < t.count ? __float_as_uint(t.gradients[first + row * 32]) & magnitude_mask : 0;
    u32 largest = 0, word = 0;
#pragma unroll
    for (u32 row = 0; row < 32; row++) {
        largest = max(largest, x[row]);
        const u32 kept = __ballot_sync(everyone, x[row] >= t.least);
        if (row == lane) word = kept;
    }
    t.places[u64(blockIdx.x) * largest_threads + threadIdx.x] = word;
    if (largest >= infinity_bits) atomicOr(t.found, not_finite);
    const u32 kept = __reduce_add_sync(everyone, u32(__popc(word)));
    if (lane == 0) counts[threadIdx.x / 32] = kept;
    __syncthreads();
    if (threadIdx.x != 0) return;
    u32 all = 0;
#pragma unroll
    for (u32 warp = 0; warp < largest_threads / 32; warp++) all += counts[warp];
    t.counts[blockIdx.x] = all;
}

extern "C" __global__ void __launch_bounds__(256) gradients_topk_gather(const __grid_constant__ gradients::Largest t) {
    using namespace gradients;
    const u64 index = u64(blockIdx.x) * largest_threads + threadIdx.x;
    u32 word = t.places[index];
    u64 next = u64(t.counts[blockIdx.x]) + kept_before(word);
    for (; word != 0; word &= word - 1) t.values[next++] = t.gradients[index * 32 + (__ffs(int(word)) - 1)];
}

/// Values to their places, zeros to the others.
extern "C" __global__ void __launch_bounds__(256) gradients_topk_place(const __grid_constant__ gradients::Largest t) {
    using namespace gradients;
    const u32 lane = threadIdx.x % 32;
    const u32 word = t.places[u64(blockIdx.x) * largest_threads + threadIdx.x];
    const u32 begin = t.counts[blockIdx.x] + kept_before(word);
    const u64 first = u64(blockIdx.x) * largest_values + threadIdx.x / 32 * 1024 + lane;
#pragma unroll 8
    for (u32 row = 0; row < 32; row++) {
        const u32 bits = __shfl_sync(everyone, word, row);
        const u32 from = __shfl_sync(everyone, begin, row);
        const float value = bits >> lane & 1 ? t.values[u64(from) + __popc(bits & ((1u << lane) - 1))] : 0.0f;
        if (first + row * 32 < t.count) t.gradients[first + row * 32] = value;
    }
}
