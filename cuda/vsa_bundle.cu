// Bundles: trit by trit the sign of the sum of some rows; see lib/cpu/vsa_bundle.zig.
//
// A thread counts 1 - trit of every row in digits of one bit, 32 trits a word, and then compares the
// counters with n - threshold and n + threshold. Where few bundles have many rows each, blocks count
// parts of the rows and add them up in memory. Weighted sums are f64 in the order of the rows.

#include "vsa.cuh"

enum Tie : u32 { tie_zero, tie_positive, tie_random, tie_first };

struct VsaBundle {
    const u32* source;
    u32* out;
    /// One for each row of a group, or null.
    const float* weights;
    /// [bundle][bit][word], the sums of parts.
    int* counts;
    u64 seed;
    /// Bundles.
    u64 count;
    /// Rows of each.
    u32 group;
    /// 32-bit words of a plane.
    u32 words;
    u32 dim;
    u32 threshold;
    u32 tie;
    /// Rows of a part.
    u32 part;
};

/// Gives sums of zero their trit; `first` is that of the first row.
__device__ __forceinline__ Trits<u32> settle_ties(const VsaBundle& p, Trits<u32> trits, Trits<u32> first, u32 word, u32 random) {
    const u32 zeros = ~trits.nonzero;
    if (p.tie == tie_first) return {trits.nonzero | first.nonzero, trits.negative | (first.negative & zeros)};
    if (p.tie == tie_zero) return trits;
    const u32 ties = zeros & kept_bits(word, p.dim);
    return {trits.nonzero | ties, trits.negative | (p.tie == tie_random ? ties & random : 0)};
}

/// The random bits of ties for W words from `word` on, a multiple of W.
template <int W>
__device__ __forceinline__ Words<W> tie_bits(const VsaBundle& p, u64 row, u32 word) {
    if (p.tie != tie_random) return {};
    const uint4 values = philox(word / 4, row, domain_ties, p.seed);
    Words<W> bits;
    if (W == 1) {
        const u32 low = word & 1 ? values.y : values.x;
        const u32 high = word & 1 ? values.w : values.z;
        bits.word[0] = word & 2 ? high : low;
    } else {
        bits.word[0] = word & 2 ? values.z : values.x;
        bits.word[W - 1] = word & 2 ? values.w : values.y;
    }
    return bits;
}

/// Counters of one bit a digit, 32 side by side.
template <int DIGITS>
struct Digits {
    u32 digit[DIGITS];

    __device__ __forceinline__ Digits() {
#pragma unroll
        for (int i = 0; i < DIGITS; i++) digit[i] = 0;
    }

    /// Adds 1 - trit.
    __device__ __forceinline__ void add(u32 nonzero, u32 negative) {
        const u32 low = ~nonzero;
        u32 carry = digit[0] & low;
        digit[0] ^= low;
        const u32 second = digit[1];
        digit[1] = second ^ negative ^ carry;
        carry = majority(second, negative, carry);
#pragma unroll
        for (int i = 2; i < DIGITS; i++) {
            const u32 next = digit[i] & carry;
            digit[i] ^= carry;
            carry = next;
        }
    }

    /// The sign of `count` minus the counter, where that is larger than the threshold.
    __device__ __forceinline__ Trits<u32> compare(u32 count, u32 threshold) const {
        const u64 low = count > threshold ? count - threshold : 0;
        const u64 high = u64(count) + (threshold < count ? threshold : count);
        u32 reaches = 0xffffffff;
        u32 above = 0;
#pragma unroll
        for (int i = 0; i < DIGITS; i++) {
            reaches = majority(digit[i], reaches, low >> i & 1 ? 0 : 0xffffffff);
            above = majority(digit[i], above, high >> i & 1 ? 0 : 0xffffffff);
        }
        return {~reaches | above, above};
    }
};

/// Counts up to 2^(DIGITS - 1) - 1 rows; W words a thread, 1 or 2, UNROLL rows at a time.
template <int DIGITS, int W, int UNROLL>
__device__ __forceinline__ void bundle_all(const VsaBundle& p) {
    const u32 pieces = p.words / W;
    const u64 index = thread_index();
    if (index >= p.count * pieces) return;
    const Place place = Place::of(index, pieces);
    const Words<W>* first = reinterpret_cast<const Words<W>*>(p.source) + place.row * p.group * 2 * pieces + place.at;
    const Words<W>* at = first;
    Digits<DIGITS> digits[W];
    u32 i = 0;
    for (; i + UNROLL <= p.group; i += UNROLL) {
        Trits<Words<W>> trits[UNROLL];
#pragma unroll
        for (int j = 0; j < UNROLL; j++) trits[j] = load_trits(at + u64(j) * 2 * pieces, pieces);
        at += u64(UNROLL) * 2 * pieces;
#pragma unroll
        for (int j = 0; j < UNROLL; j++) {
#pragma unroll
            for (int w = 0; w < W; w++) digits[w].add(trits[j].nonzero.word[w], trits[j].negative.word[w]);
        }
    }
    for (; i < p.group; i++) {
        const Trits<Words<W>> trits = load_trits(at, pieces);
        at += 2 * pieces;
#pragma unroll
        for (int w = 0; w < W; w++) digits[w].add(trits.nonzero.word[w], trits.negative.word[w]);
    }
    Trits<Words<W>> firsts = {};
    if (p.tie == tie_first) firsts = load_trits(first, pieces);
    const Words<W> random = tie_bits<W>(p, place.row, place.at * W);
    Trits<Words<W>> result;
#pragma unroll
    for (int w = 0; w < W; w++) {
        const u32 word = place.at * W + w;
        const Trits<u32> sign = digits[w].compare(p.group, p.threshold);
        const Trits<u32> trits = settle_ties(p, sign, {firsts.nonzero.word[w], firsts.negative.word[w]}, word, random.word[w]);
        result.nonzero.word[w] = trits.nonzero;
        result.negative.word[w] = trits.negative;
    }
    store_trits(reinterpret_cast<Words<W>*>(p.out) + place.row * 2 * pieces + place.at, pieces, result);
}

/// Up to 31 rows.
extern "C" __global__ void __launch_bounds__(256) vsa_bundle_few(const __grid_constant__ VsaBundle p) {
    bundle_all<6, 2, 16>(p);
}

/// Up to 1023 rows.
extern "C" __global__ void __launch_bounds__(256) vsa_bundle_some(const __grid_constant__ VsaBundle p) {
    bundle_all<11, 1, 8>(p);
}

/// Any number of rows.
extern "C" __global__ void __launch_bounds__(256) vsa_bundle_many(const __grid_constant__ VsaBundle p) {
    bundle_all<33, 1, 8>(p);
}

/// Adds the sums of a part of the rows, at most 127, to the counts: blocks along x have the words of
/// all bundles, those along y the parts.
extern "C" __global__ void __launch_bounds__(128) vsa_count(const __grid_constant__ VsaBundle p) {
    const u64 index = thread_index();
    if (index >= p.count * p.words) return;
    const Place place = Place::of(index, p.words);
    for (u64 from = u64(blockIdx.y) * p.part; from < p.group; from += u64(gridDim.y) * p.part) {
        const u32 rows = u32(from + p.part <= p.group ? p.part : p.group - from);
        const u32* at = p.source + (place.row * p.group + from) * 2 * p.words + place.at;
        Digits<8> digits;
#pragma unroll 8
        for (u32 i = 0; i < rows; i++) {
            digits.add(at[0], at[p.words]);
            at += 2 * u64(p.words);
        }
        int* counts = p.counts + place.row * 32 * p.words + place.at;
#pragma unroll 1
        for (u32 bit = 0; bit < 32; bit++) {
            int sum = int(rows);
#pragma unroll
            for (int i = 0; i < 8; i++) sum -= int(digits.digit[i] >> bit & 1) << i;
            if (sum != 0) atomicAdd(counts + u64(bit) * p.words, sum);
        }
    }
}

/// The signs of the counts.
extern "C" __global__ void __launch_bounds__(128) vsa_count_signs(const __grid_constant__ VsaBundle p) {
    for (u64 index = thread_index(); index < p.count * p.words; index += thread_count()) {
        const Place place = Place::of(index, p.words);
        const int* counts = p.counts + place.row * 32 * p.words + place.at;
        Trits<u32> sign = {0, 0};
        for (u32 bit = 0; bit < 32; bit++) {
            const long long sum = counts[u64(bit) * p.words];
            const u32 negative = sum < -(long long)(p.threshold);
            sign.nonzero |= (negative | u32(sum > (long long)(p.threshold))) << bit;
            sign.negative |= negative << bit;
        }
        Trits<u32> first = {0, 0};
        const u32* at = p.source + place.row * p.group * 2 * p.words + place.at;
        if (p.tie == tie_first) first = {at[0], at[p.words]};
        const Trits<u32> trits = settle_ties(p, sign, first, place.at, tie_bits<1>(p, place.row, place.at).word[0]);
        u32* out = p.out + place.row * 2 * p.words + place.at;
        out[0] = trits.nonzero;
        out[p.words] = trits.negative;
    }
}

/// A warp has 32 trits of a bundle, a lane one of them.
extern "C" __global__ void __launch_bounds__(256) vsa_bundle_weighted(const __grid_constant__ VsaBundle p) {
    const u32 lane = threadIdx.x % 32;
    for (u64 index = thread_index() / 32; index < p.count * p.words; index += thread_count() / 32) {
        const Place place = Place::of(index, p.words);
        const u32* first = p.source + place.row * p.group * 2 * p.words + place.at;
        const u32* at = first;
        double sum = 0;
#pragma unroll 4
        for (u32 i = 0; i < p.group; i++) {
            const u32 nonzero = at[0];
            const u32 negative = at[p.words];
            const double weight = double(p.weights[i]);
            if (nonzero >> lane & 1) sum = __dadd_rn(sum, negative >> lane & 1 ? -weight : weight);
            at += 2 * u64(p.words);
        }
        const double threshold = double(p.threshold);
        const u32 negative = __ballot_sync(all_lanes, sum < -threshold);
        const u32 nonzero = __ballot_sync(all_lanes, sum > threshold) | negative;
        if (lane != 0) continue;
        const Trits<u32> ties = {first[0], first[p.words]};
        const Trits<u32> trits = settle_ties(p, {nonzero, negative}, ties, place.at, tie_bits<1>(p, place.row, place.at).word[0]);
        u32* out = p.out + place.row * 2 * p.words + place.at;
        out[0] = trits.nonzero;
        out[p.words] = trits.negative;
    }
}
