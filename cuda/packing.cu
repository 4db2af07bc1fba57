// Ternary weights into the layout of common.cuh, from trits, from the wire format or from floats, and
// back to the wire format.
//
// A warp writes half a tile's chunk: 512 bytes, 64 codes a lane. Floor: what is read (1 byte a weight
// as i8, 1/4 in the wire format, 4 as floats) and 1/4 byte written.
//
// Where columns and groups come in whole words, both sides are read and written in runs, and lanes
// exchange what does not lie where it is needed; everything else goes column by column.

#pragma once

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

/// What a lane has seen, for everybody who asks afterwards.
struct Findings {
    u32 nonzeros = 0;
    u32 bad = 0;

    __device__ void report(u64* found) const {
        const u32 count = __reduce_add_sync(0xffffffff, nonzeros);
        const u32 any = __reduce_or_sync(0xffffffff, bad);
        if (threadIdx.x % 32 != 0) return;
        if (count != 0) atomicAdd(found, u64(count));
        if (any != 0) atomicOr(found + 1, u64(1));
    }
};

/// Runs a function for every half chunk, a warp for each.
template <class Function>
__device__ __forceinline__ void for_halves(const Packing& p, Function run) {
    const u64 halves = u64(p.tiles) * p.columns.chunks * 2;
    const u64 warps = u64(gridDim.x) * (blockDim.x / 32);
    for (u64 index = u64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; index < halves; index += warps) run(index);
}

template <class Source>
__device__ void pack_all(const Packing& p, Source source) {
    Findings findings;
    for_halves(p, [&](u64 index) { findings.nonzeros += pack_half(p, source, index); });
    findings.bad = source.bad;
    findings.report(p.found);
}

constexpr u32 low_bits = 0x55555555;

/// Turns element i of byte j, two bits each, into element j of byte i.
__device__ __forceinline__ u32 transpose_codes(u32 x) {
    u32 swapped = ((x >> 6) ^ x) & 0x00cc00cc;
    x ^= swapped ^ swapped << 6;
    swapped = ((x >> 12) ^ x) & 0x0000f0f0;
    return x ^ swapped ^ swapped << 12;
}

/// Word k of lane l of four goes to lane k as word l.
__device__ __forceinline__ void transpose_lanes(u32 (&words)[4]) {
#pragma unroll
    for (int distance = 1; distance <= 2; distance *= 2)
#pragma unroll
        for (int k = 0; k < 4; k++) {
            if (k & distance) continue;
            const bool upper = threadIdx.x & distance;
            const u32 got = __shfl_xor_sync(0xffffffff, upper ? words[k] : words[k + distance], distance);
            (upper ? words[k] : words[k + distance]) = got;
        }
}

/// Whether groups, and so rows, are whole runs of some columns, and the source starts where 16 bytes may.
__device__ __forceinline__ bool in_runs(const Packing& p, u32 run) {
    return p.columns.group_columns % run == 0 && (reinterpret_cast<u64>(p.source) & 15) == 0;
}

/// 16 trits, four bytes of four, become a word of codes.
__device__ __forceinline__ u32 pack_word(const uint4& trits, Findings& findings) {
    u32 word = 0;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const u32 four = word_of(trits, j);
        const u32 ones = four & 0x01010101;
        findings.nonzeros += __popc(ones);
        // A trit is 00, 01 or ff: its other bits follow from the two lowest.
        findings.bad |= four ^ (ones | ((four >> 1) & 0x01010101) * 255);
        word |= (((four & codes_mask) + 0x01010101) & codes_mask) << 2 * j;
    }
    return word;
}

extern "C" __global__ void __launch_bounds__(256) pack_trits(const __grid_constant__ Packing p) {
    if (!in_runs(p, 16)) return pack_all(p, TritSource{static_cast<const i8*>(p.source)});
    const u32 lane = threadIdx.x % 32;
    Findings findings;
    for_halves(p, [&](u64 index) {
        const u32 chunk = (index >> 1) % p.columns.chunks;
        const u64 tile = (index >> 1) / p.columns.chunks;
        const u32 first_row = u32(tile) * tile_rows + (index & 1) * 8 + lane / 16;
        const u32 column = p.columns.column_at(chunk * chunk_columns + lane % 16 * 16);
        u32* words = reinterpret_cast<u32*>(p.weights) + index * 128 + lane / 16 * 16 + lane % 4 * 4 + lane % 16 / 4;
        uint4 trits[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const bool there = column < p.columns.columns && first_row + 2 * i < p.rows;
            const u64 offset = u64(first_row + 2 * i) * p.columns.columns + column;
            trits[i] = load_stream(reinterpret_cast<const uint4*>(static_cast<const i8*>(p.source) + offset), there);
        }
#pragma unroll
        for (u32 i = 0; i < 4; i++) words[i * 32] = pack_word(trits[i], findings);
    });
    findings.report(p.found);
}

extern "C" __global__ void __launch_bounds__(256) pack_wire(const __grid_constant__ Packing p) {
    if (!in_runs(p, 64)) return pack_all(p, WireSource{static_cast<const u8*>(p.source)});
    const u32 lane = threadIdx.x % 32;
    Findings findings;
    for_halves(p, [&](u64 index) {
        const u32 chunk = (index >> 1) % p.columns.chunks;
        const u32 row = u32((index >> 1) / p.columns.chunks) * tile_rows + (index & 1) * 8 + lane / 4;
        const u32 column = chunk * chunk_columns + lane % 4 * 64;
        const u64 offset = u64(row) * (p.columns.columns / 4) + column / 4;
        const bool there = row < p.rows && column < p.columns.columns;
        const uint4 wire = load_stream(reinterpret_cast<const uint4*>(static_cast<const u8*>(p.source) + offset), there);
        u32 words[4];
#pragma unroll
        for (int t = 0; t < 4; t++) {
            const u32 x = word_of(wire, t);
            const u32 nonzeros = (x | x >> 1) & low_bits;
            findings.bad |= x & x >> 1 & low_bits;
            findings.nonzeros += __popc(nonzeros);
            words[t] = transpose_codes((x & low_bits) << 1 | (nonzeros ^ low_bits));
        }
        transpose_lanes(words);
        p.weights[index * 32 + lane] = make_uint4(words[0], words[1], words[2], words[3]);
    });
    findings.report(p.found);
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

/// Does the same for whole rows of a multiple of four columns: a block a row at a time, each read once,
/// and the next two of them are on their way to shared memory. A warp takes 512 columns at a time; where
/// a row is longer than the block has room for, the rest is read twice.
///
/// A sum of f32 magnitudes in f64 is exact, and so the same in every order, where it is less than 2^53
/// times the lowest bit that the least of them can have. Other rows are summed in the CPU's order.
struct RowSum {
    double sum = 0;
    /// The least magnitude that is not 0, less 1.
    u32 least = 0xffffffff;

    __device__ void add(const float4& x) {
        add(x.x);
        add(x.y);
        add(x.z);
        add(x.w);
    }

    __device__ void add(float x) {
        const float magnitude = fabsf(x);
        sum += double(magnitude);
        least = min(least, __float_as_uint(magnitude) - 1);
    }

    /// The sum over the block, for everybody; `turn` alternates between calls.
    __device__ void share(u32 turn) {
        __shared__ double sums[2][32];
        __shared__ u32 bounds[2][32];
        const u32 lane = threadIdx.x % 32;
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffff, sum, distance);
        least = __reduce_min_sync(0xffffffff, least);
        if (lane == 0) {
            sums[turn][threadIdx.x / 32] = sum;
            bounds[turn][threadIdx.x / 32] = least;
        }
        __syncthreads();
        const bool there = lane < blockDim.x / 32;
        sum = there ? sums[turn][lane] : 0.0;
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffff, sum, distance);
        least = __reduce_min_sync(0xffffffff, there ? bounds[turn][lane] : 0xffffffff);
    }

    __device__ bool is_exact() const {
        const u64 exponent = max((least + 1) >> 23, 1u);
        return least == 0xffffffff || sum < __longlong_as_double((1023 + 53 - 150 + exponent) << 52);
    }
};

/// The sum of magnitudes in the CPU's order, by the first half of the first warp; for everybody.
__device__ double sum_in_order(const float* run, u32 size) {
    __shared__ double result;
    const u32 lane = threadIdx.x;
    const u32 whole = size / 16 * 16;
    if (lane < 16) {
        double sum = 0;
#pragma unroll 8
        for (u32 i = lane; i < whole; i += 16) sum += double(fabsf(run[i]));
        double total = __shfl_sync(0xffff, sum, 0, 16);
#pragma unroll
        for (int from = 1; from < 16; from++) total += __shfl_sync(0xffff, sum, from, 16);
        for (u32 i = whole; i < size; i++) total += double(fabsf(run[i]));
        if (lane == 0) result = total;
    }
    __syncthreads();
    return result;
}

constexpr u32 section_columns = 512;
constexpr u32 row_stages = 3;

__device__ __forceinline__ u32 section_column(u32 section, u32 j) {
    return section * section_columns + j * 128 + threadIdx.x % 32 * 4;
}

__device__ __forceinline__ void load_section(const float* row, u32 columns, u32 section, float4 (&x)[4]) {
#pragma unroll
    for (u32 j = 0; j < 4; j++) {
        const u32 column = section_column(section, j);
        x[j] = column < columns ? __ldg(reinterpret_cast<const float4*>(row + column)) : make_float4(0, 0, 0, 0);
    }
}

/// Packs 512 columns of weights that are not zero from a magnitude on; returns how many those are.
__device__ __forceinline__ u32 pack_section(const Packing& p, u32 row, u32 section, const float4 (&x)[4], float least) {
    const u32 lane = threadIdx.x % 32;
    u32 own = 0;
#pragma unroll
    for (u32 j = 0; j < 4; j++) {
        const float values[4] = {x[j].x, x[j].y, x[j].z, x[j].w};
        u32 word = 0x01010101;
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            if (values[i] >= least) word += 1u << 8 * i;
            if (values[i] <= -least) word -= 1u << 8 * i;
        }
        word <<= lane % 4 * 2;
        word |= __shfl_xor_sync(0xffffffff, word, 1);
        word |= __shfl_xor_sync(0xffffffff, word, 2);
        if (lane % 4 == j) own = word;
    }
    // Four lanes have the words of the same 16 columns of four runs of 128, and each writes one.
    const u32 chunk = section * 2 + lane % 4 / 2;
    const u32 word = lane % 2 * 2 + lane / 16;
    const u64 piece = (u64(row / tile_rows) * p.columns.chunks + chunk) * chunk_pieces + row / 8 % 2 * 32 + row % 8 * 4 + lane / 4 % 4;
    if (chunk < p.columns.chunks) reinterpret_cast<u32*>(p.weights)[piece * 4 + word] = own;
    return 16 - __popc(own & low_bits);
}

extern "C" __global__ void __launch_bounds__(512) quantize_absmean_rows(const __grid_constant__ Packing p) {
    extern __shared__ float4 staged[];
    const u32 columns = p.columns.columns;
    const u32 warp = threadIdx.x / 32;
    const u32 warps = blockDim.x / 32;
    const u32 sections = (columns + section_columns - 1) / section_columns;
    const u64 rows = u64(p.tiles) * tile_rows;
    const float* source = static_cast<const float*>(p.source);
    // A thread reads only what it has copied itself: nobody need wait for others.
    const auto fetch = [&](u32 stage, u64 row) {
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            const u32 column = section_column(warp, j);
            const bool there = row < p.rows && column < columns;
            copy_async(staged + (stage * 4 + j) * blockDim.x + threadIdx.x, source + (there ? row * columns + column : 0), there);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    Findings findings;
#pragma unroll
    for (u32 stage = 0; stage < row_stages - 1; stage++) fetch(stage, blockIdx.x + u64(stage) * gridDim.x);
    u32 stage = 0;
    u32 turn = 0;
    for (u64 row = blockIdx.x; row < rows; row += gridDim.x) {
        asm volatile("cp.async.wait_group %0;" ::"n"(row_stages - 2) : "memory");
        float4 first[4];
#pragma unroll
        for (u32 j = 0; j < 4; j++) first[j] = staged[(stage * 4 + j) * blockDim.x + threadIdx.x];
        fetch(stage == 0 ? row_stages - 1 : stage - 1, row + u64(row_stages - 1) * gridDim.x);
        stage = stage + 1 == row_stages ? 0 : stage + 1;
        const bool there = row < p.rows;
        const float* values = source + row * columns;
        float mean = 1.0f;
        if (there) {
            RowSum sum;
#pragma unroll
            for (int j = 0; j < 4; j++) sum.add(first[j]);
            for (u32 section = warp + warps; section < sections; section += warps) {
                float4 x[4];
                load_section(values, columns, section, x);
#pragma unroll
                for (int j = 0; j < 4; j++) sum.add(x[j]);
            }
            sum.share(turn);
            turn ^= 1;
            if (!sum.is_exact()) sum.sum = sum_in_order(values, columns);
            // Finite magnitudes of f32 cannot leave the range of f64.
            if (!(sum.sum < __longlong_as_double(0x7ff0000000000000))) findings.bad = 1;
            mean = __double2float_rn(sum.sum / double(columns));
            if (mean == 0.0f) mean = 1.0f;
            if (threadIdx.x == 0) p.row_scales[row] = mean;
        }
        const float least = __fmul_ru(mean, 0.5f);
        findings.nonzeros += pack_section(p, u32(row), warp, first, least);
        for (u32 section = warp + warps; section < sections; section += warps) {
            float4 x[4];
            load_section(values, there ? columns : 0, section, x);
            findings.nonzeros += pack_section(p, u32(row), section, x, least);
        }
    }
    findings.report(p.found);
}

/// The wire format of packed weights; column by column, a thread writes a byte.
__device__ void unpack_bytes(const Packing& p) {
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

extern "C" __global__ void __launch_bounds__(256) unpack_wire(const __grid_constant__ Packing p) {
    if (!in_runs(p, 64)) return unpack_bytes(p);
    const u32 lane = threadIdx.x % 32;
    u8* bytes = static_cast<u8*>(const_cast<void*>(p.source));
    for_halves(p, [&](u64 index) {
        const u32 chunk = (index >> 1) % p.columns.chunks;
        const u32 row = u32((index >> 1) / p.columns.chunks) * tile_rows + (index & 1) * 8 + lane / 4;
        const u32 column = chunk * chunk_columns + lane % 4 * 64;
        const uint4 piece = load_stream(p.weights + index * 32 + lane);
        u32 words[4] = {piece.x, piece.y, piece.z, piece.w};
        transpose_lanes(words);
        if (row >= p.rows || column >= p.columns.columns) return;
#pragma unroll
        for (int t = 0; t < 4; t++) {
            // Codes 0, 1, 2 are 10, 00, 01.
            const u32 x = transpose_codes(words[t]);
            const u32 high = x >> 1 & low_bits;
            words[t] = high | (~(x | high) & low_bits) << 1;
        }
        const u64 offset = u64(row) * (p.columns.columns / 4) + column / 4;
        *reinterpret_cast<uint4*>(bytes + offset) = make_uint4(words[0], words[1], words[2], words[3]);
    });
}
