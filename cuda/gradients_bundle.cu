// The codec `vsa`: members of `dim` gradients as ternary hypervectors, bound and bundled into one; see
// lib/cpu/gradients_bundle.zig.
//
// A block of threads takes a block of the bundle, one member after the other; then, and for the way
// back, a block of one member. Floor: each member is read and rotated twice, for the bundle and for its
// scale; back, the gradients are written once.

#include "gradients_hadamard.cuh"

namespace gradients {

/// A block of the bundle: its first dimension, size, and where its trits begin.
__device__ __forceinline__ Stretch bundle_block(const Rotation& r, u32 index) {
    if (index >= r.full) return r.pieces[index - r.full];
    return {index * block_values, block_values, block_values, 4 * r.option * r.blocks + index * 820, 1};
}

/// The same block of a member: which gradients it is of, maybe none.
__device__ __forceinline__ Stretch member_piece(const Rotation& r, const Stretch& block, u32 member) {
    const u64 start = min(u64(member) * r.kept + block.start, r.places);
    return {u32(start), u32(min(u64(block.count), r.places - start)), block.size, block.codes, 1};
}

/// Rotates a piece and multiplies it by its key: values t + 256 r. The sum of its squares is in memory
/// after that; returns the power of two that it was multiplied by.
__device__ __forceinline__ float bind(const Rotation& r, const Stretch& piece, u32 number, Memory& m, float (&x)[16]) {
    // What the member before has left in memory has been read.
    __syncthreads();
    draw_keys(m, number, r.seed);
    const bool wide = piece.count == block_values && piece.start % 4 == 0;
    const float factor = sound_factor(load(r, piece, number, m, x, wide));
    flip<false>(piece, m, factor, x);
    __syncthreads();
    const bool whole = piece.size == block_values;
    if (whole) read_neighbours(m, x);
    sum_squares(m, piece.size);
    if (whole) {
        butterflies(x);
        __syncthreads();
        write_neighbours(m, x);
        upper_levels(m, x);
    } else {
        small_levels(m, piece.size, x);
    }
#pragma unroll
    for (u32 j = 0; j < 16; j++) {
        const u32 i = threadIdx.x + 256 * j;
        x[j] = turned(x[j], m.keys[i / 32] >> i % 32);
    }
    return factor;
}

/// In standard deviations.
constexpr float bundle_threshold = 0.612003181f;

/// Reads the trits of a block as codes into m.words; everybody may use them after a barrier.
__device__ __forceinline__ void read_trits(const Rotation& r, const Stretch& block, Memory& m) {
    u8* codes = reinterpret_cast<u8*>(m.words);
    const u8* bytes = r.payload + block.codes;
    bool good = true;
    for (u32 byte = threadIdx.x; byte < (block.size + 4) / 5; byte += block_threads) {
        const bool is_good = unpack_trits_of(bytes[byte], block.size, byte, [&](u32 at, u32 code) { codes[at] = u8(code); });
        good = good && is_good;
    }
    if (!good) atomicOr(r.found, bad_trits);
}

} // namespace gradients

/// The trits of the bundle.
extern "C" __global__ void __launch_bounds__(256, 4) gradients_bundle_encode(const __grid_constant__ gradients::Rotation r) {
    using namespace gradients;
    __shared__ Memory m;
    const Stretch block = bundle_block(r, blockIdx.x);
    int counts[16] = {};
    for (u32 member = 0; member < r.option; member++) {
        float x[16];
        bind(r, member_piece(r, block, member), member * r.blocks + blockIdx.x, m, x);
        const float limit = __fmul_rn(bundle_threshold, __fsqrt_rn(squares_of(m)));
#pragma unroll
        for (u32 j = 0; j < 16; j++) {
            if (fabsf(x[j]) > limit) counts[j] += __float_as_int(x[j]) < 0 ? -1 : 1;
        }
    }
    u8* codes = reinterpret_cast<u8*>(m.words);
#pragma unroll
    for (u32 j = 0; j < 16; j++) codes[threadIdx.x + 256 * j] = u8(counts[j] > 0 ? 2 : counts[j] < 0 ? 0 : 1);
    __syncthreads();
    for (u32 byte = threadIdx.x; byte < (block.size + 4) / 5; byte += block_threads)
        r.payload[block.codes + byte] = u8(pack_trits_of(codes, block.size, byte));
}

/// The scale of each member: what fits the bundle to it best.
extern "C" __global__ void __launch_bounds__(256, 4) gradients_bundle_scales(const __grid_constant__ gradients::Rotation r) {
    using namespace gradients;
    __shared__ Memory m;
    const Stretch block = bundle_block(r, blockIdx.x);
    read_trits(r, block, m);
    for (u32 member = blockIdx.y; member < r.option; member += gridDim.y) {
        float x[16];
        const float factor = bind(r, member_piece(r, block, member), member * r.blocks + blockIdx.x, m, x);
        const u8* codes = reinterpret_cast<const u8*>(m.words);
        u32 nonzeros = 0;
#pragma unroll
        for (u32 j = 0; j < 16; j++) {
            const u32 i = threadIdx.x + 256 * j;
            if (i >= block.size) continue;
            const int trit = int(codes[i]) - 1;
            nonzeros += trit * trit;
            m.values[place_of(i)] = __fmul_rn(x[j], float(trit));
        }
        nonzeros = __reduce_add_sync(everyone, nonzeros);
        if (threadIdx.x % 32 == 0) m.largest[threadIdx.x / 32] = nonzeros;
        __syncthreads();
        if (!is_turn_of(2)) continue;
        float sum = 0;
        if (block.size == block_values) {
            // Sixteen lanes, which get the halves of a row in turn.
            for_rows<0, 1>(m, [&](float product) {
                sum = __fadd_rn(sum, product);
                const float upper = __shfl_xor_sync(everyone, product, 16);
                sum = __fadd_rn(sum, upper);
            });
        } else {
            for (u32 i = threadIdx.x % 16; i < block.size; i += 16) sum = __fadd_rn(sum, m.values[place_of(i)]);
        }
        // Of the lower half of the warp; the upper one took them the other way round.
        const float dot = sum_halves(sum);
        u32 all = 0;
        for (u32 warp = 0; warp < 8; warp++) all += m.largest[warp];
        const double scale = double(dot) / double(all) / double(block.size) * double(scale_unit(block.size)) / double(factor);
        if (threadIdx.x % 32 == 0)
            reinterpret_cast<float*>(r.payload)[u64(blockIdx.x) * r.option + member] =
                all == 0 ? 0.0f : __double2float_rn(fmin(scale, 3.4028234663852886e38));
    }
}

extern "C" __global__ void __launch_bounds__(256, 4) gradients_bundle_decode(const __grid_constant__ gradients::Rotation r) {
    using namespace gradients;
    __shared__ Memory m;
    const Stretch block = bundle_block(r, blockIdx.x);
    read_trits(r, block, m);
    for (u32 member = blockIdx.y; member < r.option; member += gridDim.y) {
        const Stretch piece = member_piece(r, block, member);
        if (piece.count == 0) continue;
        const u32 number = member * r.blocks + blockIdx.x;
        __syncthreads();
        draw_signs(m, number, r.seed);
        draw_keys(m, number, r.seed);
        __syncthreads();
        float x[16];
        if (threadIdx.x * 16 < block.size) {
            const uint4 own = reinterpret_cast<const uint4*>(m.words)[threadIdx.x];
            const u32 signs = m.keys[threadIdx.x / 2] >> threadIdx.x % 2 * 16;
#pragma unroll
            for (u32 e = 0; e < 16; e++)
                x[e] = turned(float(int(word_of(own, e / 4) >> e % 4 * 8 & 255) - 1), signs >> e);
        }
        if (block.size == block_values) {
            butterflies(x);
            write_neighbours(m, x);
            upper_levels(m, x);
        } else {
            if (threadIdx.x * 16 < block.size) write_neighbours(m, x);
            small_levels(m, block.size, x);
        }
        const float scale = reinterpret_cast<const float*>(r.payload)[u64(blockIdx.x) * r.option + member];
        unflip<false>(r, piece, m, __fdiv_rn(scale, scale_unit(block.size)), x);
    }
}
