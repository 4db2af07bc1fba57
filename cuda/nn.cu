// What stands between the products of a model: embedding, norms, the gate, and the quantisation of the
// next product's input, in as few kernels as there are products.
//
//     embed_tokens       x = table[id], and the sines and cosines of the token's position
//     norm_tokens        x += what the product before gave; norm; norm of the projection; int8
//     gate_tokens        act(gate) * up; norm; norm of the projection; int8
//     choose_token       the likeliest token and its log-probability
//
// A block takes a token, whose row lies in shared memory between the passes over it. Floor: the floats
// read and written, once each. Quantisation is that of quantize_tokens, with the floor that models put
// under the largest magnitude; a token that holds NaN or an infinity gets a scale of NaN.

#include "floats.cuh"

/// Where a sequence is: on the device, so that a captured graph moves on by itself.
struct Step {
    u32 position;
    u32 id;
};

struct SetStep {
    Step* step;
    u32 position;
    u32 id;
};

extern "C" __global__ void set_step(const __grid_constant__ SetStep s) {
    s.step->position = s.position;
    if (s.id != 0xffffffff) s.step->id = s.id;
}

struct Embed {
    const void* table;
    const u32* ids;
    const Step* step;
    float* x;
    const float* frequencies;
    /// [token][half]
    float* cosines;
    float* sines;
    u32 hidden;
    u32 half;
    /// 0 f32, 1 f16, 2 bf16
    u32 kind;
    float rope_scale;
    u32 vocab;
    u32 reserved;
};

__device__ __forceinline__ double horner(const double (&series)[6], double z) {
    double sum = 0;
#pragma unroll
    for (int i = 5; i >= 0; i--) sum = sum * z + series[i];
    return sum;
}

/// As lib/model/rope.zig: the angle is a product in f32, what follows is f64.
__device__ void sine_cosine(float angle, float scale, float& sine, float& cosine) {
    const double x = angle;
    const double n = floor(x * 0.63661977236758134308 + 0.5);
    const double r = ((x - n * 0x1.921fb54p+0) - n * 0x1.10b4610p-30) - n * 0x1.a62633145c06ep-58;
    const double z = r * r;
    const double sines[6] = {-1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04,
                             2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10};
    const double cosines[6] = {4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
                               -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11};
    const double s = r + r * z * horner(sines, z);
    const double c = 1 - (0.5 * z - z * z * horner(cosines, z));
    const double quadrant = n - 4 * floor(n * 0.25);
    const double sine_value = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
    const double cosine_value = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
    sine = __fmul_rn(float(sine_value), scale);
    cosine = __fmul_rn(float(cosine_value), scale);
}

extern "C" __global__ void __launch_bounds__(256) embed_tokens(const __grid_constant__ Embed e) {
    launch_next();
    wait_for_previous();
    const u32 token = blockIdx.x;
    // Whoever asked has been checked, but may have changed the ids meanwhile.
    const u64 from = u64(min(e.ids[token], e.vocab - 1)) * e.hidden;
    float* x = e.x + u64(token) * e.hidden;
    for (u32 i = threadIdx.x; i < e.hidden; i += blockDim.x)
        x[i] = e.kind == 0   ? static_cast<const float*>(e.table)[from + i]
               : e.kind == 1 ? widen_half(static_cast<const u16*>(e.table)[from + i])
                             : widen_brain(static_cast<const u16*>(e.table)[from + i]);
    const float position = float(e.step->position + token);
    for (u32 i = threadIdx.x; i < e.half; i += blockDim.x) {
        float sine, cosine;
        sine_cosine(__fmul_rn(position, e.frequencies[i]), e.rope_scale, sine, cosine);
        e.cosines[u64(token) * e.half + i] = cosine;
        e.sines[u64(token) * e.half + i] = sine;
    }
}

struct Rows {
    /// x, or the gate.
    const float* input;
    /// What is added to x, or `up`; null adds nothing.
    const float* other;
    /// Where the sum goes; null keeps it here.
    float* x;
    /// Null leaves a norm out.
    const float* norm;
    const float* own_norm;
    /// For rows that shared memory does not hold.
    float* memory;
    /// The row as floats, instead of int8, where it is not null.
    float* floats;
    i8* values;
    int* sums;
    float* scales;
    u64 input_stride;
    u64 other_stride;
    Columns columns;
    u32 count;
    /// Tokens with the zeros that fill the last tile.
    u32 padded_count;
    float epsilon;
    float own_epsilon;
    /// 0 squared ReLU, 1 SiLU
    u32 activation;
    /// Not zero: in slabs (`slab_place`), for wgmma.
    u32 slabs;

    __device__ i8* value_at(u32 token, u32 place) const {
        const u64 offset = slabs ? slab_place(token, place & ~3u, padded_count) + place % 4 : u64(token) * columns.padded() + place;
        return values + offset;
    }
};

/// Below this, 127 / absmax would overflow: see lib/cpu/activations.zig.
constexpr float model_absmax_floor = 1e-5f;

__device__ __forceinline__ float block_sum(float value) {
    __shared__ float parts[32];
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffff, value, lanes);
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = threadIdx.x % 32 < blockDim.x / 32 ? parts[threadIdx.x % 32] : 0.0f;
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffff, value, lanes);
    return value;
}

template <int WIDTH>
struct Values {
    float at[WIDTH];
};

template <int WIDTH>
__device__ __forceinline__ Values<WIDTH> load_values(const float* address) {
    Values<WIDTH> v;
    if constexpr (WIDTH == 4) {
        const float4 four = *reinterpret_cast<const float4*>(address);
        v.at[0] = four.x, v.at[1] = four.y, v.at[2] = four.z, v.at[3] = four.w;
    } else {
        v.at[0] = *address;
    }
    return v;
}

template <int WIDTH>
__device__ __forceinline__ void store_values(float* address, const Values<WIDTH>& v) {
    if constexpr (WIDTH == 4)
        *reinterpret_cast<float4*>(address) = make_float4(v.at[0], v.at[1], v.at[2], v.at[3]);
    else
        *address = v.at[0];
}

__device__ __forceinline__ float gated(float gate, float up, u32 activation) {
    if (activation == 0) {
        const float positive = gate < 0.0f ? 0.0f : gate;
        return __fmul_rn(__fmul_rn(positive, positive), up);
    }
    return __fmul_rn(__fdiv_rn(gate, 1.0f + expf(-gate)), up);
}

/// Within 2^-22; the exact operations would take longer than the rest of a norm of one token.
__device__ __forceinline__ float inverse_root(float squares, u32 width, float epsilon) {
    return rsqrtf(__fdividef(squares, float(width)) + epsilon);
}

template <int WIDTH, bool GATE>
__device__ void rows_to_int8(const Rows& r) {
    extern __shared__ __align__(16) float shared_row[];
    launch_next();
    wait_for_previous();
    const u32 token = blockIdx.x;
    const u32 width = r.columns.columns;
    const u32 padded = r.columns.padded();
    if (token >= r.count) {
        for (u32 place = threadIdx.x * 4; place < padded; place += blockDim.x * 4) *reinterpret_cast<u32*>(r.value_at(token, place)) = 0;
        return;
    }
    const float* input = r.input + token * r.input_stride;
    const float* other = r.other ? r.other + token * r.other_stride : nullptr;
    float* row = r.memory ? r.memory + u64(token) * width : shared_row;
    const u32 first = threadIdx.x * WIDTH;
    const u32 stride = blockDim.x * WIDTH;

    // Every thread meets the same elements in every pass.
    float squares = 0.0f;
    for (u32 i = first; i < width; i += stride) {
        Values<WIDTH> v = load_values<WIDTH>(input + i);
        if (other) {
            const Values<WIDTH> second = load_values<WIDTH>(other + i);
#pragma unroll
            for (int k = 0; k < WIDTH; k++) v.at[k] = GATE ? gated(v.at[k], second.at[k], r.activation) : __fadd_rn(v.at[k], second.at[k]);
        }
        if (!GATE && r.x) store_values<WIDTH>(r.x + u64(token) * width + i, v);
        store_values<WIDTH>(row + i, v);
#pragma unroll
        for (int k = 0; k < WIDTH; k++) squares = fmaf(v.at[k], v.at[k], squares);
    }
    for (int pass = 0; pass < 2; pass++) {
        const float* weight = pass == 0 ? r.norm : r.own_norm;
        if (!weight) continue;
        const float inverse = inverse_root(block_sum(squares), width, pass == 0 ? r.epsilon : r.own_epsilon);
        squares = 0.0f;
        for (u32 i = first; i < width; i += stride) {
            Values<WIDTH> v = load_values<WIDTH>(row + i);
            const Values<WIDTH> w = load_values<WIDTH>(weight + i);
#pragma unroll
            for (int k = 0; k < WIDTH; k++) {
                v.at[k] = __fmul_rn(__fmul_rn(v.at[k], inverse), w.at[k]);
                squares = fmaf(v.at[k], v.at[k], squares);
            }
            store_values<WIDTH>(row + i, v);
        }
    }
    if (r.floats) {
        for (u32 i = first; i < width; i += stride) store_values<WIDTH>(r.floats + u64(token) * width + i, load_values<WIDTH>(row + i));
        return;
    }

    u32 largest = 0;
    for (u32 i = first; i < width; i += stride) {
        const Values<WIDTH> v = load_values<WIDTH>(row + i);
#pragma unroll
        for (int k = 0; k < WIDTH; k++) largest = max(largest, __float_as_uint(v.at[k]) & 0x7fffffff);
    }
    largest = block_largest(largest);
    const bool finite = largest < 0x7f800000;
    const float absmax = finite ? fmaxf(__uint_as_float(largest), model_absmax_floor) : 1.0f;
    const float inverse = __fdividef(127.0f, absmax);
    __shared__ int total;
    if (threadIdx.x == 0) {
        r.scales[token] = finite ? absmax * (1.0f / 127.0f) : __uint_as_float(0x7fc00000);
        total = 0;
    }
    __syncthreads();
    int own = 0;
    for (u32 i = first; i < padded; i += stride) {
        int q[WIDTH] = {};
        if (i < width && finite) {
            const Values<WIDTH> v = load_values<WIDTH>(row + i);
#pragma unroll
            for (int k = 0; k < WIDTH; k++) q[k] = __float2int_rn(__fmul_rn(v.at[k], inverse));
        }
#pragma unroll
        for (int k = 0; k < WIDTH; k++) own += q[k];
        if constexpr (WIDTH == 4)
            *reinterpret_cast<u32*>(r.value_at(token, i)) = (q[0] & 255) | (q[1] & 255) << 8 | (q[2] & 255) << 16 | u32(q[3]) << 24;
        else
            *r.value_at(token, i) = i8(q[0]);
    }
    own = __reduce_add_sync(0xffffffff, own);
    if (threadIdx.x % 32 == 0) atomicAdd(&total, own);
    __syncthreads();
    if (threadIdx.x == 0) r.sums[token] = total;
}

#define ROWS_TO_INT8(NAME, WIDTH, GATE) \
    extern "C" __global__ void __launch_bounds__(1024) NAME(const __grid_constant__ Rows r) { rows_to_int8<WIDTH, GATE>(r); }
ROWS_TO_INT8(norm_tokens, 4, false)
ROWS_TO_INT8(norm_tokens_odd, 1, false)
ROWS_TO_INT8(gate_tokens, 4, true)
ROWS_TO_INT8(gate_tokens_odd, 1, true)

/// A choice, as the host reads it.
struct Choice {
    u32 id;
    /// 1 where a logit is NaN or infinite, or none is finite.
    u32 bad;
    double log_probability;
};

struct Choose {
    const float* logits;
    Choice* choice;
    /// Is moved on to the next position, with the chosen token.
    Step* step;
    /// One for every block, and how many blocks are done.
    double* sums;
    float* largest;
    u32* ids;
    u32* done;
    u32 count;
    u32 reserved;
};

/// The larger logit, the lower id where they are equal.
__device__ __forceinline__ void better(float& value, u32& id, float other, u32 other_id) {
    if (other > value || (other == value && other_id < id)) value = other, id = other_id;
}

/// The best of a block's threads and the sum of all exponentials below it, for everybody.
__device__ void block_best(float& value, u32& id, double& sum, u32& bad) {
    __shared__ float values[32];
    __shared__ u32 ids[32];
    __shared__ double sums[32];
    __shared__ u32 bads[32];
    const u32 lane = threadIdx.x % 32;
    const float own = value;
    for (int round = 0; round < 2; round++) {
#pragma unroll
        for (int lanes = 16; lanes > 0; lanes /= 2) {
            const float other = __shfl_xor_sync(0xffffffff, value, lanes);
            better(value, id, other, __shfl_xor_sync(0xffffffff, id, lanes));
        }
        if (round == 1) break;
        if (lane == 0) values[threadIdx.x / 32] = value, ids[threadIdx.x / 32] = id;
        __syncthreads();
        const bool there = lane < blockDim.x / 32;
        value = there ? values[lane] : -INFINITY;
        id = there ? ids[lane] : 0xffffffff;
    }
    // An empty sum is 0 whatever the difference of two infinities is.
    sum = sum == 0.0 ? 0.0 : sum * exp(double(own) - double(value));
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0xffffffff, sum, lanes);
    bad = __any_sync(0xffffffff, bad);
    if (lane == 0) sums[threadIdx.x / 32] = sum, bads[threadIdx.x / 32] = bad;
    __syncthreads();
    sum = 0.0;
    bad = 0;
    for (u32 warp = 0; warp < blockDim.x / 32; warp++) sum += sums[warp], bad |= bads[warp];
    __syncthreads();
}

/// Joins a block's best with those of the others, once the last of them is there.
__device__ void finish_choice(const Choose& c, float most, u32 id, double sum, u32 bad) {
    __shared__ bool is_last;
    block_best(most, id, sum, bad);
    if (threadIdx.x == 0) {
        c.sums[blockIdx.x] = sum;
        c.largest[blockIdx.x] = bad ? NAN : most;
        c.ids[blockIdx.x] = id;
        __threadfence();
        is_last = atomicAdd(c.done, 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    most = -INFINITY;
    id = 0xffffffff;
    sum = 0.0;
    bad = 0;
    for (u32 block = threadIdx.x; block < gridDim.x; block += blockDim.x) {
        const float its_most = __ldcg(c.largest + block);
        const double its_sum = __ldcg(c.sums + block);
        bad |= its_most != its_most;
        // What has seen nothing adds nothing: the difference of two infinities has no value.
        if (its_most > most) {
            sum = its_sum + (sum == 0.0 ? 0.0 : sum * exp(double(most) - double(its_most)));
        } else if (its_sum != 0.0) {
            sum += its_sum * exp(double(its_most) - double(most));
        }
        better(most, id, its_most, __ldcg(c.ids + block));
    }
    block_best(most, id, sum, bad);
    if (threadIdx.x != 0) return;
    *c.done = 0;
    const bool usable = !bad && most > -INFINITY;
    c.choice->id = usable ? id : 0;
    c.choice->bad = !usable;
    c.choice->log_probability = -log(sum);
    c.step->id = usable ? id : 0;
    c.step->position += 1;
}

extern "C" __global__ void __launch_bounds__(256) choose_token(const __grid_constant__ Choose c) {
    launch_next();
    wait_for_previous();
    float most = -INFINITY;
    u32 id = 0xffffffff;
    u32 bad = 0;
    const u32 stride = gridDim.x * blockDim.x;
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < c.count; i += stride) {
        const float logit = c.logits[i];
        bad |= !(logit < INFINITY);
        if (logit > most) most = logit, id = i;
    }
    float total = 0.0f;
    if (most > -INFINITY)
        for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < c.count; i += stride) total += expf(c.logits[i] - most);
    finish_choice(c, most, id, total, bad);
}
