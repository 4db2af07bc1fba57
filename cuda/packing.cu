// Ternary weights into the layout of common.cuh, from trits, from the wire format or from floats, and
// back to the wire format.
//
// A warp writes half a tile's chunk: 512 bytes, 64 codes a lane. Floor: what is read (1 byte a weight
// as i8, 1/4 in the wire format, 4 as floats) and 1/4 byte written.

#include "common.cuh"

struct Packing {
    /// Row-major trits or floats, or wire format.
    const void* source;
    uint4* weights;
    float* row_scales;
    /// [0] nonzero weights, [1] not zero where a value was bad.
    u64* found;
    Columns columns;
    u32 rows;
    u32 tiles;
};

/// The place of a warp's half chunk, or none.
struct HalfChunk {
    u64 piece;
    u32 row;
    u32 place;

    __device__ static HalfChunk of(u64 index, const Columns& columns) {
        const u32 lane = threadIdx.x % 32;
        const u32 chunk = (index >> 1) % columns.chunks;
        const u64 tile = (index >> 1) / columns.chunks;
        const u32 half = index & 1;
        return {
            (tile * columns.chunks + chunk) * chunk_pieces + half * 32 + lane,
            u32(tile) * tile_rows + half * 8 + lane / 4,
            chunk * chunk_columns + lane % 4 * 16,
        };
    }
};

struct TritSource {
    const i8* trits;
    u32 bad = 0;

    __device__ u32 code(u32 row, u32 column, u32 columns) {
        const int trit = trits[u64(row) * columns + column];
        if (trit < -1 || trit > 1) {
            bad = 1;
            return 1;
        }
        return u32(trit + 1);
    }
};

/// 00 = 0, 01 = +1, 10 = -1; rows start on a byte.
struct WireSource {
    const u8* bytes;
    u32 bad = 0;

    __device__ u32 code(u32 row, u32 column, u32 columns) {
        const u32 bits = bytes[u64(row) * ((columns + 3) / 4) + column / 4] >> column % 4 * 2 & 3;
        if (bits == 3) bad = 1;
        return 0x1021 >> bits * 4 & 3;
    }
};

/// Weights whose magnitude is at least half their group's mean.
struct FloatSource {
    const float* weights;
    const float* scales;
    Columns columns;

    __device__ u32 code(u32 row, u32 column, u32 count) const {
        const float weight = weights[u64(row) * count + column];
        const float mean = scales[u64(row) * columns.groups + column / columns.group_columns];
        // A mean of 0 is written as a scale of 1 and a group of zeros.
        if (!(fabsf(weight) * 2.0f >= mean) || weight == 0.0f) return 1;
        return weight > 0.0f ? 2 : 0;
    }
};

template <class Source>
__device__ u32 pack_half(const Packing& p, Source& source, u64 index) {
    const HalfChunk half = HalfChunk::of(index, p.columns);
    u32 words[4];
    u32 nonzeros = 0;
#pragma unroll
    for (u32 w = 0; w < 4; w++) {
        words[w] = 0x55555555;
        if (half.row >= p.rows) continue;
        const u32 place = half.place + w * block_columns;
#pragma unroll
        for (u32 i = 0; i < 16; i++) {
            const u32 column = p.columns.column_at(place + i);
            const u32 code = column < p.columns.columns ? source.code(half.row, column, p.columns.columns) : 1;
            nonzeros += code != 1;
            words[w] ^= (code ^ 1) << (i % 4 * 8 + i / 4 * 2);
        }
    }
    p.weights[half.piece] = make_uint4(words[0], words[1], words[2], words[3]);
    return nonzeros;
}

template <class Source>
__device__ void pack_all(const Packing& p, Source source) {
    const u64 halves = u64(p.tiles) * p.columns.chunks * 2;
    const u64 warps = u64(gridDim.x) * (blockDim.x / 32);
    u32 nonzeros = 0;
    for (u64 index = u64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; index < halves; index += warps)
        nonzeros += pack_half(p, source, index);
    nonzeros = __reduce_add_sync(0xffffffff, nonzeros);
    const u32 bad = __reduce_or_sync(0xffffffff, source.bad);
    if (threadIdx.x % 32 != 0) return;
    if (nonzeros != 0) atomicAdd(p.found, u64(nonzeros));
    if (bad != 0) atomicOr(p.found + 1, u64(1));
}

extern "C" __global__ void __launch_bounds__(256) pack_trits(const __grid_constant__ Packing p) {
    pack_all(p, TritSource{static_cast<const i8*>(p.source)});
}

extern "C" __global__ void __launch_bounds__(256) pack_wire(const __grid_constant__ Packing p) {
    pack_all(p, WireSource{static_cast<const u8*>(p.source)});
}

/// Quantises by the mean magnitude and packs: a block for the 16 rows of a tile, half a warp a row.
///
/// The mean is the CPU's to the last bit: element i is added in f64 to sum i mod 16, the sixteen sums
/// are added in order and what is left over after them.
extern "C" __global__ void __launch_bounds__(256) quantize_absmean(const __grid_constant__ Packing p) {
    const u32 lane = threadIdx.x % 16;
    const u32 row = blockIdx.x * tile_rows + threadIdx.x / 16;
    const u32 size = p.columns.group_columns;
    const u32 whole = size / 16 * 16;
    bool bad = false;
    if (row < p.rows) {
        for (u32 group = 0; group < p.columns.groups; group++) {
            const float* run = static_cast<const float*>(p.source) + u64(row) * p.columns.columns + u64(group) * size;
            double sum = 0;
#pragma unroll 8
            for (u32 i = lane; i < whole; i += 16) sum += double(fabsf(run[i]));
            const u32 mask = 0xffffu << (threadIdx.x & 16);
            double total = __shfl_sync(mask, sum, 0, 16);
#pragma unroll
            for (int from = 1; from < 16; from++) total += __shfl_sync(mask, sum, from, 16);
            for (u32 i = whole; i < size; i++) total += double(fabsf(run[i]));
            const double quotient = total / double(size);
            // Finite magnitudes of f32 cannot leave the range of f64.
            if (!(quotient <= 3.4028234663852886e38)) bad = true;
            if (lane == 0) {
                const float mean = __double2float_rn(quotient);
                p.row_scales[u64(row) * p.columns.groups + group] = mean == 0.0f ? 1.0f : mean;
            }
        }
    }
    if (bad && lane == 0) atomicOr(p.found + 1, u64(1));
    __syncthreads();
    u32 nonzeros = 0;
    FloatSource source{static_cast<const float*>(p.source), p.row_scales, p.columns};
    const u64 first = u64(blockIdx.x) * p.columns.chunks * 2;
    for (u32 half = threadIdx.x / 32; half < p.columns.chunks * 2; half += 8) nonzeros += pack_half(p, source, first + half);
    nonzeros = __reduce_add_sync(0xffffffff, nonzeros);
    if (threadIdx.x % 32 == 0 && nonzeros != 0) atomicAdd(p.found, u64(nonzeros));
}

/// The wire format of packed weights: a thread writes a byte.
extern "C" __global__ void __launch_bounds__(256) unpack_wire(const __grid_constant__ Packing p) {
    const u32 row_bytes = (p.columns.columns + 3) / 4;
    const u64 count = u64(p.rows) * row_bytes;
    u8* bytes = static_cast<u8*>(const_cast<void*>(p.source));
    const u32* words = reinterpret_cast<const u32*>(p.weights);
    for (u64 index = u64(blockIdx.x) * blockDim.x + threadIdx.x; index < count; index += u64(gridDim.x) * blockDim.x) {
        const u32 row = u32(index / row_bytes);
        const u32 first = u32(index % row_bytes) * 4;
        u32 byte = 0;
        for (u32 i = 0; i < 4 && first + i < p.columns.columns; i++) {
            const u32 column = first + i;
            const u32 group = column / p.columns.group_columns;
            const u32 place = group * p.columns.group_blocks * block_columns + column % p.columns.group_columns;
            const u32 chunk = place / chunk_columns;
            const u32 block = place / block_columns % 4;
            const u32 lane = row % 8 * 4 + place / 16 % 4;
            const u64 piece = (u64(row / tile_rows) * p.columns.chunks + chunk) * chunk_pieces + row / 8 % 2 * 32 + lane;
            const u32 code = words[piece * 4 + block] >> (place % 4 * 8 + place / 4 % 4 * 2) & 3;
            byte |= (code == 2 ? 1u : code == 0 ? 2u : 0u) << i * 2;
        }
        bytes[index] = u8(byte);
    }
}
