// Hypervectors element by element: random ones, bindings, bundles; the layout is that of vsa.cuh.
//
// All results are those of the CPU to the last bit. A thread has 128 trits, or 32, of one row.
//
// Floors: bytes. Binding reads 4 planes and writes 2; a bundle of n reads 2 n planes and writes 2,
// with some 10 instructions for each word and vector. Random trits by threshold take 8 rounds of
// Philox for 32 trits, some 700 instructions: arithmetic, not bytes.

#include "vsa.cuh"

struct VsaRandom {
    u32* out;
    u64 seed;
    u64 count;
    /// 32-bit words of a plane.
    u32 words;
    u32 dim;
    u32 below;
    u32 reserved;
};

/// A thread draws 32 trits.
extern "C" __global__ void __launch_bounds__(256) vsa_random(const __grid_constant__ VsaRandom p) {
    for (u64 index = thread_index(); index < p.count * p.words; index += thread_count()) {
        const Place place = Place::of(index, p.words);
        u32 nonzero = 0;
        u32 negative = 0;
#pragma unroll 2
        for (u32 i = 0; i < 8; i++) {
            const uint4 values = philox(place.at * 8 + i, place.row, domain_vectors, p.seed);
            const u32 value[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                const u32 minus = value[j] < p.below;
                negative |= minus << (i * 4 + j);
                nonzero |= (minus | u32(value[j] > ~p.below)) << (i * 4 + j);
            }
        }
        const u32 kept = kept_bits(place.at, p.dim);
        u32* out = p.out + place.row * 2 * p.words + place.at;
        out[0] = nonzero & kept;
        out[p.words] = negative & kept;
    }
}

/// A thread draws 128 trits.
extern "C" __global__ void __launch_bounds__(256) vsa_random_bipolar(const __grid_constant__ VsaRandom p) {
    const u32 pieces = p.words / 4;
    for (u64 index = thread_index(); index < p.count * pieces; index += thread_count()) {
        const Place place = Place::of(index, pieces);
        const uint4 values = philox(place.at, place.row, domain_vectors, p.seed);
        const u32 value[4] = {values.x, values.y, values.z, values.w};
        Trits<Piece> trits;
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const u32 kept = kept_bits(place.at * 4 + i, p.dim);
            trits.nonzero.word[i] = kept;
            trits.negative.word[i] = kept & value[i];
        }
        store_trits(reinterpret_cast<Piece*>(p.out) + place.row * 2 * pieces + place.at, pieces, trits);
    }
}

/// Rows of a and b to rows of `out`, which may be one of them.
struct VsaBind {
    const Piece* a;
    const Piece* b;
    Piece* out;
    u64 count;
    /// Pieces from a row to the next, 0 where one vector serves all.
    u32 a_stride;
    u32 b_stride;
    /// Pieces of a plane.
    u32 pieces;
    u32 operation;
    /// Rows that become one, for vsa_fold.
    u32 group;
    u32 reserved;
};

template <int OPERATION, int ITEMS>
__device__ __forceinline__ void bind_all(const VsaBind& p) {
    const u64 total = p.count * p.pieces;
    const u64 first = u64(blockIdx.x) * blockDim.x * ITEMS + threadIdx.x;
    Trits<Piece> a[ITEMS];
    Trits<Piece> b[ITEMS];
    Piece* out[ITEMS];
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        const u64 index = first + i * blockDim.x;
        if (index >= total) continue;
        const Place place = Place::of(index, p.pieces);
        out[i] = p.out + place.row * 2 * p.pieces + place.at;
        a[i] = load_trits(p.a + place.row * p.a_stride + place.at, p.pieces);
        b[i] = load_trits(p.b + place.row * p.b_stride + place.at, p.pieces);
    }
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        if (first + i * blockDim.x < total) store_trits(out[i], p.pieces, bind_words(OPERATION, a[i], b[i]));
    }
}

constexpr int bind_items = 2;

extern "C" __global__ void __launch_bounds__(256) vsa_add(const __grid_constant__ VsaBind p) {
    bind_all<bind_add, bind_items>(p);
}

extern "C" __global__ void __launch_bounds__(256) vsa_subtract(const __grid_constant__ VsaBind p) {
    bind_all<bind_subtract, bind_items>(p);
}

extern "C" __global__ void __launch_bounds__(256) vsa_multiply(const __grid_constant__ VsaBind p) {
    bind_all<bind_multiply, bind_items>(p);
}

/// out = -a
extern "C" __global__ void __launch_bounds__(256) vsa_negate(const __grid_constant__ VsaBind p) {
    for (u64 index = thread_index(); index < p.count * p.pieces; index += thread_count()) {
        const Place place = Place::of(index, p.pieces);
        Trits<Piece> trits = load_trits(p.a + place.row * p.a_stride + place.at, p.pieces);
#pragma unroll
        for (int i = 0; i < 4; i++) trits.negative.word[i] ^= trits.nonzero.word[i];
        store_trits(p.out + place.row * 2 * p.pieces + place.at, p.pieces, trits);
    }
}

/// Each `group` rows of a become one, bound from the left.
extern "C" __global__ void __launch_bounds__(256) vsa_fold(const __grid_constant__ VsaBind p) {
    for (u64 index = thread_index(); index < p.count * p.pieces; index += thread_count()) {
        const Place place = Place::of(index, p.pieces);
        const Piece* at = p.a + place.row * p.group * p.a_stride + place.at;
        Trits<Piece> result = load_trits(at, p.pieces);
#pragma unroll 4
        for (u32 i = 1; i < p.group; i++) {
            at += p.a_stride;
            result = bind_words(p.operation, result, load_trits(at, p.pieces));
        }
        store_trits(p.out + place.row * 2 * p.pieces + place.at, p.pieces, result);
    }
}

/// Rows of a moved round and round into `out`, another batch.
struct VsaRotate {
    const u32* a;
    u32* out;
    u64 count;
    /// 32-bit words of a plane.
    u32 words;
    u32 dim;
    u32 shift;
    u32 reserved;
};

/// 32 bits of a plane from a place on, round and round.
__device__ __forceinline__ u32 bits_from(const u32* plane, u32 place, u32 dim) {
    if (place + 32 <= dim) {
        const u32 word = place / 32;
        return place % 32 == 0 ? plane[word] : __funnelshift_r(plane[word], plane[word + 1], place % 32);
    }
    u32 bits = 0;
    for (u32 i = 0; i < 32; i++) {
        bits |= (plane[place / 32] >> place % 32 & 1) << i;
        place = place + 1 == dim ? 0 : place + 1;
    }
    return bits;
}

extern "C" __global__ void __launch_bounds__(256) vsa_rotate(const __grid_constant__ VsaRotate p) {
    for (u64 index = thread_index(); index < p.count * p.words; index += thread_count()) {
        const Place place = Place::of(index, p.words);
        const u32 kept = kept_bits(place.at, p.dim);
        const u32* a = p.a + place.row * 2 * p.words;
        u32* out = p.out + place.row * 2 * p.words + place.at;
        u32 nonzero = 0;
        u32 negative = 0;
        if (kept != 0) {
            // Padding in a plane is zeros, and bits behind `dim` are cut off: whole words may be read.
            const u32 to = place.at * 32;
            const u32 from = to >= p.shift ? to - p.shift : p.dim - p.shift + to;
            nonzero = bits_from(a, from, p.dim) & kept;
            negative = bits_from(a + p.words, from, p.dim) & kept;
        }
        out[0] = nonzero;
        out[p.words] = negative;
    }
}

/// Whether two batches differ anywhere: `different` becomes 1.
struct VsaEqual {
    const uint4* a;
    const uint4* b;
    u32* different;
    /// Pieces of all planes.
    u64 count;
};

extern "C" __global__ void __launch_bounds__(256) vsa_equal(const __grid_constant__ VsaEqual p) {
    u32 found = 0;
    for (u64 index = thread_index(); index < p.count; index += thread_count()) {
        const uint4 a = p.a[index];
        const uint4 b = p.b[index];
        found |= (a.x ^ b.x) | (a.y ^ b.y) | (a.z ^ b.z) | (a.w ^ b.w);
    }
    if (found != 0) *p.different = 1;
}
