// The codec `entropy`: blocks of 64 gradients are measured, chunks of 2^19 are quantised along their
// trellis and coded by rANS, and both back; lib/cpu/gradients_{trellis,rans}.zig say how.
//
// A chunk has one path through the trellis and 32 states of rANS: a warp, whose lanes are those of the
// CPU. It goes over 512 steps of 32 gradients forward and back in shared memory, then writes symbols and
// plain bits, and codes the symbols of the whole chunk from the last to the first. Everything is integer
// arithmetic but the magnitudes (one product) and what levels stand for (a sum and two products).
//
// Floor: a warp issues some 170 instructions a step to encode and 60 to decode, one in a cycle at best,
// and there are as many warps as chunks: below 528 chunks an H100 is not full, and a chunk's 16384 steps
// take their time (1.6 ms and 0.6 ms), however few there are.

#include "gradients.cuh"

namespace gradients {

/// Passes over blocks; what is used depends on the pass.
struct EntropyPass {
    const float* source;
    /// Restored gradients to compare with.
    const float* second;
    const u32* places;
    void* target;
    float* largest;
    u32* found;
    u32 count;
    u32 units;
    float factor;
    float rest;
};

constexpr u32 entropy_size = 64;
constexpr u32 entropy_chunk = 1 << 19;
constexpr u32 entropy_fine = 28;
constexpr u32 entropy_coded = 14;
constexpr u32 class_kept = 1;
constexpr u32 class_coded = 2;
constexpr u32 state_least = 1 << 15;
constexpr u32 escape_token = 15;
/// Symbols of a chunk from which on every lane has a state.
constexpr u32 wide_steps = 512;

/// As lib/cpu/gradients_entropy_table.zig has them.
struct EntropyTables {
    struct { short slope, odd, zero_even, zero_odd; } costs[entropy_fine];
    struct { u32 shift, last[2]; } tokens[entropy_fine];
    u32 reserved[4];
    struct { u32 packed[32], reciprocals[32]; } coders[entropy_coded];
};

/// What encoding a chunk leaves on the device; `states` has one that counts or all.
struct EntropyResult {
    u32 words;
    u32 bit_bytes;
    u32 states[32];
};

struct EntropyEncode {
    /// Of the first chunk.
    const float* values;
    /// Coded blocks of all chunks: place in the chunk, class << 16, fine class << 24.
    const u32* active;
    /// Where those of a chunk begin, and where the last ones end.
    const u32* starts;
    const EntropyTables* tables;
    /// Rooms of a chunk's size: the two symbols of a lane for every block, words, plain bits.
    u16* symbols;
    u16* words;
    u32* bits;
    EntropyResult* results;
    /// Gradients from the first chunk on.
    u32 count;
    float factor;
};

constexpr u32 symbols_room = entropy_chunk / 2;
constexpr u32 words_room = entropy_chunk;
constexpr u32 bits_room = 3 * entropy_chunk / 4 + 64;

__device__ __forceinline__ u32 lanes_below() { return (1u << threadIdx.x % 32) - 1; }

__device__ __forceinline__ int saturated(int sum) { return max(min(sum, 32767), -32768); }

/// What a level that does not exist costs, and to begin in another state than the lane's.
constexpr int never = 16384;
constexpr int elsewhere = 12000;
constexpr int fraction = 5;

/// Costs after a step; returns for each state where its path came from (8 bits), and whether zero is
/// the best even and odd level.
__device__ __forceinline__ u32 forward(int (&sums)[8], int magnitude, int slope, int odd, int zero_even, int zero_odd) {
    const int rest = magnitude & 31;
    const int below = magnitude >> fraction;
    int near[4];
    near[0] = below < 2 ? never : (rest + 32) * (rest + 32) - slope;
    near[1] = below < 1 ? never : rest * rest;
    near[2] = (32 - rest) * (32 - rest) + slope;
    near[3] = (64 - rest) * (64 - rest) + 2 * slope;
    const bool turn_one = below & 1;
    const bool turn_two = below & 2;
    int turned[4], subsets[4];
#pragma unroll
    for (int i = 0; i < 4; i++) turned[i] = turn_one ? near[(i + 3) % 4] : near[i];
#pragma unroll
    for (int i = 0; i < 4; i++) subsets[(i + 3) % 4] = turn_two ? turned[(i + 2) % 4] : turned[i];
    subsets[1] += odd;
    subsets[3] += odd;
    const int small = min(magnitude, 4 << fraction);
    const int distance = small * small - slope * (small >> fraction);
    const int even_cost = distance + zero_even;
    const int odd_cost = distance + zero_odd;
    u32 decisions = u32(even_cost < subsets[0]) << 8 | u32(odd_cost < subsets[3]) << 9;
    subsets[0] = min(subsets[0], even_cost);
    subsets[3] = min(subsets[3], odd_cost);
    int next[8];
#pragma unroll
    for (int state = 0; state < 8; state++) {
        const int s0 = state & 1, s1 = state >> 1 & 1, s2 = state >> 2;
        const int from = s2 | (s0 ^ s2) << 1;
        const int low = saturated(sums[from] + subsets[s2 == 0 ? 2 * s1 : 3 - 2 * s1]);
        const int high = saturated(sums[from | 4] + subsets[s2 == 0 ? 2 * (s1 ^ 1) : 3 - 2 * (s1 ^ 1)]);
        decisions |= u32(high < low) << state;
        next[state] = min(low, high);
    }
    sums[0] = 0;
#pragma unroll
    for (int state = 1; state < 8; state++) sums[state] = saturated(next[state] - next[0]);
    return decisions;
}

/// Undoes a step: the level, and in bit 14 the quantiser.
__device__ __forceinline__ u32 back(u32& state, u32 decisions, int magnitude) {
    const u32 s0 = state & 1, s1 = state >> 1 & 1, s2 = state >> 2;
    const u32 from = decisions >> state & 1;
    const u32 parity = s1 ^ from;
    const bool zero = parity == 0 && (decisions >> (8 + s2) & 1);
    state = s2 | (s0 ^ s2) << 1 | from << 2;
    const int first = (magnitude >> fraction) - 1;
    const int residue = s2 ? 3 - 2 * int(parity) : 2 * int(parity);
    const int nearest = first + ((residue - first) & 3);
    return (zero ? 0 : u32(nearest + 1) >> 1) | s2 << 14;
}

/// Plain bits, the lowest first; the same in all lanes.
struct BitWriter {
    u32* target;
    u64 word;
    u32 filled;
    u32 used;

    __device__ __forceinline__ void append(u32 value, u32 count) {
        word |= u64(value) << filled;
        filled += count;
        if (filled < 32) return;
        if (threadIdx.x == 0) target[used] = u32(word);
        used++;
        word >>= 32;
        filled -= 32;
    }

    /// Returns the bytes.
    __device__ __forceinline__ u32 finish() {
        if (threadIdx.x == 0 && filled > 0) target[used] = u32(word);
        return used * 4 + (filled + 7) / 8;
    }
};

/// The bits of a step; returns the lane's symbol.
__device__ __forceinline__ u32 write_symbol(BitWriter& bits, u32 packed, u32 shift, u32 last_even, u32 last_odd) {
    const u32 level = packed & 0x3fff;
    const u32 quantizer = packed >> 14 & 1;
    const u32 value = level >> shift;
    const bool escaped = value > (quantizer ? last_odd : last_even);
    for (u32 left = __ballot_sync(everyone, escaped); left != 0; left &= left - 1) {
        const u32 one = __shfl_sync(everyone, value, __ffs(left) - 1);
        const u32 length = 32 - __clz(one);
        bits.append(length, 4);
        bits.append(one & ~(1u << (length - 1)), length - 1);
    }
    for (u32 bit = 0; bit < shift; bit++) bits.append(__ballot_sync(everyone, level >> bit & 1), 32);
    const u32 nonzero = __ballot_sync(everyone, level != 0);
    const u32 sign = level != 0 && packed >> 15 ? 1u << __popc(nonzero & lanes_below()) : 0;
    bits.append(__reduce_or_sync(everyone, sign), __popc(nonzero));
    return (escaped ? escape_token : value) | quantizer << 4;
}

/// What a state becomes by a symbol, after its word if it is full.
__device__ __forceinline__ u32 advance(u32 x, u32 entry, u32 reciprocal) {
    const u32 quotient = u32(u64(x) * reciprocal >> (entry >> 26));
    return x + quotient * (4096 - (entry & 0x1fff)) + (entry >> 13 & 0x1fff);
}

constexpr u32 segment_blocks = 256;

} // namespace gradients

/// Half a warp adds up a block as the CPU does.
extern "C" __global__ void __launch_bounds__(256) gradients_entropy_measure(const __grid_constant__ gradients::EntropyPass p) {
    using namespace gradients;
    const u32 lane = threadIdx.x % 16;
    const u64 block = u64(blockIdx.x) * 16 + threadIdx.x / 16;
    float sum = 0;
    u32 largest = 0;
#pragma unroll
    for (u32 row = 0; row < entropy_size / 16; row++) {
        const u64 at = block * entropy_size + row * 16 + lane;
        const float magnitude = at < p.count ? fabsf(p.source[at]) : 0.0f;
        sum = __fadd_rn(sum, magnitude);
        largest = max(largest, __float_as_uint(magnitude));
    }
    sum = sum_halves(sum);
#pragma unroll
    for (int step = 8; step > 0; step /= 2) largest = max(largest, __shfl_xor_sync(everyone, largest, step, 16));
    if (lane != 0 || block >= p.units) return;
    if (largest >= infinity_bits) atomicOr(p.found, not_finite);
    static_cast<float*>(p.target)[block] = sum;
    p.largest[block] = __uint_as_float(largest);
}

/// Gradients times two powers of two.
extern "C" __global__ void __launch_bounds__(256) gradients_entropy_scale(const __grid_constant__ gradients::EntropyPass p) {
    const u64 at = u64(blockIdx.x) * 256 + threadIdx.x;
    if (at < p.count) static_cast<float*>(p.target)[at] = __fmul_rn(__fmul_rn(p.source[at], p.factor), p.rest);
}

/// The gradients of the blocks at `places`, with zeros after the last.
extern "C" __global__ void __launch_bounds__(256) gradients_entropy_sample(const __grid_constant__ gradients::EntropyPass p) {
    using namespace gradients;
    const u32 block = blockIdx.x * 4 + threadIdx.x / entropy_size;
    if (block >= p.units) return;
    const u64 at = u64(p.places[block]) * entropy_size + threadIdx.x % entropy_size;
    static_cast<float*>(p.target)[u64(block) * entropy_size + threadIdx.x % entropy_size] = at < p.count ? p.source[at] : 0.0f;
}

/// The same as bf16, rounded to nearest.
extern "C" __global__ void __launch_bounds__(256) gradients_entropy_keep(const __grid_constant__ gradients::EntropyPass p) {
    using namespace gradients;
    const u32 block = blockIdx.x * 4 + threadIdx.x / entropy_size;
    if (block >= p.units) return;
    const u64 at = u64(p.places[block]) * entropy_size + threadIdx.x % entropy_size;
    const u32 bits = at < p.count ? __float_as_uint(p.source[at]) : 0;
    static_cast<u16*>(p.target)[u64(block) * entropy_size + threadIdx.x % entropy_size] = u16((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// Sums of products and squares of 65536 gradients and what they were restored to, as
/// lib/cpu/gradients_sums.zig adds them up.
extern "C" __global__ void __launch_bounds__(32) gradients_entropy_sums(const __grid_constant__ gradients::EntropyPass p) {
    using namespace gradients;
    const u32 lane = threadIdx.x % 16;
    const u32 unit = blockIdx.x * 2 + threadIdx.x / 16;
    const u64 first = u64(unit) << 16;
    const u32 there = first < p.count ? u32(min(u64(1 << 16), p.count - first)) : 0;
    double dot = 0, squares_a = 0, squares_b = 0;
#pragma unroll 16
    for (u32 at = lane; at < there; at += 16) {
        const double a = p.source[first + at], b = p.second[first + at];
        dot = __dadd_rn(dot, __dmul_rn(a, b));
        squares_a = __dadd_rn(squares_a, __dmul_rn(a, a));
        squares_b = __dadd_rn(squares_b, __dmul_rn(b, b));
    }
    __syncwarp();
#pragma unroll
    for (int step = 8; step > 0; step /= 2) {
        dot = __dadd_rn(dot, __shfl_xor_sync(everyone, dot, step, 16));
        squares_a = __dadd_rn(squares_a, __shfl_xor_sync(everyone, squares_a, step, 16));
        squares_b = __dadd_rn(squares_b, __shfl_xor_sync(everyone, squares_b, step, 16));
    }
    if (lane != 0 || unit >= p.units) return;
    double* target = static_cast<double*>(p.target) + 3ull * unit;
    target[0] = dot;
    target[1] = squares_a;
    target[2] = squares_b;
}

/// A warp for each chunk; the dynamic shared memory holds the steps of a segment.
extern "C" __global__ void __launch_bounds__(32) gradients_entropy_encode(const __grid_constant__ gradients::EntropyEncode e) {
    using namespace gradients;
    extern __shared__ __align__(16) u32 path[];
    __shared__ EntropyTables tables;
    const u32 lane = threadIdx.x;
    const u32 chunk = blockIdx.x;
    for (u32 i = lane; i < sizeof(EntropyTables) / 4; i += 32)
        reinterpret_cast<u32*>(&tables)[i] = reinterpret_cast<const u32*>(e.tables)[i];
    __syncwarp();
    const u64 first = u64(chunk) * entropy_chunk;
    const u32* active = e.active + e.starts[chunk];
    const u32 count = e.starts[chunk + 1] - e.starts[chunk];
    u16* symbols = e.symbols + u64(chunk) * symbols_room;
    u16* words = e.words + u64(chunk) * words_room;
    BitWriter bits = {e.bits + u64(chunk) * bits_room, 0, 0, 0};
    u32 state = 0;
    for (u32 from = 0; from < count; from += segment_blocks) {
        const u32 blocks = min(count - from, segment_blocks);
#pragma unroll 16
        for (u32 step = 0; step < 2 * blocks; step++) {
            const u64 at = first + (active[from + step / 2] & 0xffff) * entropy_size + step % 2 * 32 + lane;
            const float value = at < e.count ? e.values[at] : 0.0f;
            const u32 magnitude = u32(__float2int_rz(__fmul_rn(fabsf(value), e.factor))) & 0x7fff;
            path[step * 32 + lane] = magnitude | __float_as_uint(value) >> 31 << 15;
        }
        int sums[8];
#pragma unroll
        for (u32 i = 0; i < 8; i++) sums[i] = i == state ? 0 : elsewhere;
        for (u32 block = 0; block < blocks; block++) {
            const auto costs = tables.costs[active[from + block] >> 24];
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                u32& own = path[(2 * block + half) * 32 + lane];
                const u32 seen = own;
                own = seen | forward(sums, seen & 0x7fff, costs.slope, costs.odd, costs.zero_even, costs.zero_odd) << 16;
            }
        }
        int least = sums[0];
        state = 0;
#pragma unroll
        for (u32 i = 1; i < 8; i++) {
            if (sums[i] < least) state = i;
            least = min(least, sums[i]);
        }
        u32 at_state = state;
        for (u32 step = 2 * blocks; step > 0; step--) {
            u32& own = path[(step - 1) * 32 + lane];
            const u32 seen = own;
            own = back(at_state, seen >> 16, seen & 0x7fff) | (seen & 0x8000);
        }
        for (u32 block = 0; block < blocks; block++) {
            const auto& tokens = tables.tokens[active[from + block] >> 24];
            const u32 shift = tokens.shift, even = tokens.last[0], odd = tokens.last[1];
            const u32 one = write_symbol(bits, path[2 * block * 32 + lane], shift, even, odd);
            const u32 two = write_symbol(bits, path[(2 * block + 1) * 32 + lane], shift, even, odd);
            symbols[(from + block) * 32 + lane] = u16(one | two << 8);
        }
    }
    const u32 bit_bytes = bits.finish();
    const bool is_wide = 2 * count >= wide_steps;
    u32 x = state_least;
    u32 target = words_room;
    for (u32 end = count; end > 0;) {
        constexpr u32 at_once = 8;
        const u32 begin = end > at_once ? end - at_once : 0;
        u32 both[at_once], classes[at_once];
#pragma unroll
        for (u32 i = 0; i < at_once; i++) {
            const bool there = begin + i < end;
            both[i] = there ? symbols[(begin + i) * 32 + lane] : 0;
            classes[i] = there ? (active[begin + i] >> 16 & 0xff) - class_coded : 0;
        }
#pragma unroll
        for (u32 i = at_once; i-- > 0;) {
            if (begin + i >= end) continue;
            const auto& coder = tables.coders[classes[i]];
#pragma unroll
            for (u32 half = 2; half-- > 0;) {
                const u32 symbol = both[i] >> 8 * half & 0xff;
                const u32 entry = coder.packed[symbol];
                const u32 reciprocal = coder.reciprocals[symbol];
                if (is_wide) {
                    const bool full = x >= (entry & 0x1fff) << 19;
                    const u32 chosen = __ballot_sync(everyone, full);
                    target -= __popc(chosen);
                    if (full) words[target + __popc(chosen & lanes_below())] = u16(x);
                    x = advance(full ? x >> 16 : x, entry, reciprocal);
                } else {
                    for (u32 other = 32; other-- > 0;) {
                        const u32 its = __shfl_sync(everyone, entry, other);
                        const u32 its_reciprocal = __shfl_sync(everyone, reciprocal, other);
                        if (x >= (its & 0x1fff) << 19) {
                            target--;
                            if (lane == 0) words[target] = u16(x);
                            x >>= 16;
                        }
                        x = advance(x, its, its_reciprocal);
                    }
                }
            }
        }
        end = begin;
    }
    EntropyResult& result = e.results[chunk];
    if (lane == 0) {
        result.words = words_room - target;
        result.bit_bytes = bit_bytes;
    }
    result.states[lane] = x;
}
