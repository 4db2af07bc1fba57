// The codec `entropy` back: a warp goes over the steps of a chunk, as gradients_entropy.cu made them.

#include "gradients.cuh"

namespace gradients {

/// Where the parts of a chunk lie in what was uploaded, in units of 4 bytes, with zeros after them.
struct EntropyParts {
    u32 words_at;
    u32 words;
    u32 bits_at;
    u32 bit_bytes;
    u32 kept_at;
    u32 is_wide;
    u32 states[32];
};

struct EntropyDecoder {
    u16 frequencies[32];
    u16 cumulative[32];
    float magnitudes[32];
    float offsets[2][3];
    u32 shift;
    u32 reserved;
};

struct EntropyDecode {
    const EntropyParts* parts;
    const u8* bytes;
    /// Of every block, and then what [class][quantiser][slot] stand for.
    const u8* classes;
    const u8* slots;
    const EntropyDecoder* decoders;
    float* gradients;
    u32* found;
    u32 count;
    /// Of a block; and blocks of a whole chunk.
    u32 steps;
    u32 blocks;
    u32 coded;
    float step;
    float unit;
    float kept_scale;
    u32 reserved;
};

constexpr u32 bad_chunk = 8;
constexpr u32 level_max = 502;
constexpr u32 ring_units = 1024;

/// 32-bit units of a part, from a ring in shared memory that is filled half by half.
struct Ring {
    const u32* source;
    u32* ring;
    u32 units;
    u32 loaded;

    /// Makes sure of all units below `needed`, which is less than half a ring beyond the last.
    __device__ __forceinline__ void ensure(u32 needed) {
        while (needed > loaded) {
            __syncwarp();
#pragma unroll
            for (u32 i = 0; i < ring_units / 64; i++) {
                const u32 at = loaded + i * 32 + threadIdx.x;
                ring[at % ring_units] = at < units ? source[at] : 0;
            }
            loaded += ring_units / 2;
            __syncwarp();
        }
    }

    __device__ __forceinline__ u32 word(u32 at) const { return ring[at / 2 % ring_units] >> at % 2 * 16 & 0xffff; }
};

struct BitReader {
    Ring ring;
    u32 place;

    /// At most 32 bits; the same in all lanes.
    __device__ __forceinline__ u32 take(u32 count) {
        const u32 unit = place / 32;
        ring.ensure(unit + 2);
        const u32 word = __funnelshift_r(ring.ring[unit % ring_units], ring.ring[(unit + 1) % ring_units], place % 32);
        place += count;
        return count == 32 ? word : word & ((1u << count) - 1);
    }
};

/// What a level stands for.
__device__ __forceinline__ float magnitude_of(const EntropyDecoder& decoder, u32 level, u32 quantizer, float step, float unit) {
    if (level == 0) return 0;
    const float offset = decoder.offsets[quantizer][level > 2 ? 2 : level - 1];
    const float place = float(int(2 * level) - int(quantizer));
    return fminf(__fmul_rn(__fmul_rn(__fadd_rn(place, offset), step), unit), 3.4028234663852886e38f);
}

} // namespace gradients

/// A warp for each chunk.
extern "C" __global__ void __launch_bounds__(32) gradients_entropy_decode(const __grid_constant__ gradients::EntropyDecode d) {
    using namespace gradients;
    __shared__ EntropyDecoder decoders[entropy_coded];
    __shared__ u32 rings[2][ring_units];
    const u32 lane = threadIdx.x;
    for (u32 i = lane; i < d.coded * sizeof(EntropyDecoder) / 4; i += 32)
        reinterpret_cast<u32*>(decoders)[i] = reinterpret_cast<const u32*>(d.decoders)[i];
    __syncwarp();
    const EntropyParts& parts = d.parts[blockIdx.x];
    const u64 first = u64(blockIdx.x) * entropy_chunk;
    const u32 size = d.steps * 32;
    const u32 there = u32(min(u64(entropy_chunk), d.count - first));
    const u32 blocks = (there + size - 1) / size;
    const u8* classes = d.classes + u64(blockIdx.x) * d.blocks;
    float* target = d.gradients + first;
    Ring words = {reinterpret_cast<const u32*>(d.bytes) + parts.words_at, rings[0], (parts.words + 1) / 2, 0};
    BitReader bits = {{reinterpret_cast<const u32*>(d.bytes) + parts.bits_at, rings[1], (parts.bit_bytes + 3) / 4, 0}, 0};
    const u16* kept = reinterpret_cast<const u16*>(d.bytes + 4ull * parts.kept_at);
    const bool is_wide = parts.is_wide;
    const u32 word_count = parts.words;
    u32 x = parts.states[is_wide ? lane : 0];
    u32 taken = 0;
    u32 trellis = 0;
    bool good = true;
    for (u32 block = 0; good && block < blocks; block++) {
        const u32 which = classes[block];
        if (which < class_coded) {
            for (u32 step = 0; step < d.steps; step++) {
                float value = 0;
                if (which == class_kept) {
                    value = __fmul_rn(__uint_as_float(u32(kept[step * 32 + lane]) << 16), d.kept_scale);
                    value = fmaxf(fminf(value, 3.4028234663852886e38f), -3.4028234663852886e38f);
                }
                const u32 at = block * size + step * 32 + lane;
                if (at < there) target[at] = value;
            }
            if (which == class_kept) kept += size;
            continue;
        }
        const EntropyDecoder& decoder = decoders[which - class_coded];
        const u8* slots = d.slots + (which - class_coded) * 8192;
        for (u32 step = 0; step < d.steps; step++) {
            const u32 quantizer = trellis & 1;
            u32 symbol = 0;
            words.ensure((taken + 32) / 2 + 1);
            if (is_wide) {
                const u32 slot = x & 4095;
                symbol = slots[quantizer * 4096 + slot];
                x = decoder.frequencies[symbol] * (x >> 12) + slot - decoder.cumulative[symbol];
                const bool few = x < state_least;
                const u32 chosen = __ballot_sync(everyone, few);
                if (few) x = x << 16 | words.word(taken + __popc(chosen & lanes_below()));
                taken += __popc(chosen);
            } else {
                for (u32 other = 0; other < 32; other++) {
                    const u32 its = __shfl_sync(everyone, quantizer, other);
                    const u32 slot = x & 4095;
                    const u32 found = slots[its * 4096 + slot];
                    x = decoder.frequencies[found] * (x >> 12) + slot - decoder.cumulative[found];
                    if (x < state_least) x = x << 16 | words.word(taken++);
                    if (other == lane) symbol = found;
                }
            }
            good = taken <= word_count;
            if (!good) break;
            const u32 token = symbol & 15;
            const u32 escapes = __ballot_sync(everyone, token == escape_token);
            u32 level = token;
            float value;
            if (escapes != 0 || decoder.shift != 0) {
                for (u32 left = escapes; left != 0; left &= left - 1) {
                    const u32 length = bits.take(4);
                    if (length == 0 || length > 10) good = false;
                    const u32 one = length == 0 ? 0 : bits.take(length - 1) | 1u << (length - 1);
                    if (lane == __ffs(left) - 1) level = one;
                }
                // In 16 bits, as on the CPU.
                level = level << decoder.shift & 0xffff;
                for (u32 bit = 0; bit < decoder.shift; bit++) level |= (bits.take(32) >> lane & 1) << bit;
                if (__any_sync(everyone, level > level_max)) good = false;
                if (!good) break;
                value = magnitude_of(decoder, level, quantizer, d.step, d.unit);
            } else {
                value = decoder.magnitudes[symbol];
            }
            const u32 nonzero = __ballot_sync(everyone, level != 0);
            const u32 signs = bits.take(__popc(nonzero));
            const u32 sign = level != 0 ? signs >> __popc(nonzero & lanes_below()) & 1 : 0;
            const u32 at = block * size + step * 32 + lane;
            if (at < there) target[at] = __uint_as_float(__float_as_uint(value) ^ sign << 31);
            const u32 s0 = trellis & 1, s1 = trellis >> 1 & 1, s2 = trellis >> 2;
            trellis = (s0 ^ s1) | (s2 ^ (level & 1)) << 1 | s0 << 2;
        }
    }
    good = good && x == state_least && taken == word_count && (bits.place + 7) / 8 == parts.bit_bytes;
    if (!good) atomicOr(d.found, bad_chunk);
}
