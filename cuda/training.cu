// The layers of training besides products, attention and embeddings: norms, rotations, gates, and sums of
// columns, forward and backward, in f32.
//
//     rms norm    y = x r w, r = 1 / sqrt(mean(x^2) + e):
//                 dx = r (g w) - x r^3 / n sum(g w x),   dw += g x r
//     gate        y = act(a) b:   da = g b act'(a),   db = g act(a)
//
// Formulas are those of lib/cpu/training.zig; what has no sums and no exponentials has its bits. Sums
// have one order, which only the sizes decide: no atomics on floats. Floor: every value is read and
// written once; rows of up to 8192 columns stay in registers between the passes over them.

#include "training.cuh"

namespace training {

struct Norm {
    const float* input;
    const float* weight;
    const float* gradient;
    float* out;
    /// [block][column] sums of the weight's gradient.
    float* partial;
    u32 rows;
    u32 columns;
    u32 block_rows;
    float epsilon;
    u32 accumulate;
    u32 reserved;
};

struct Rope {
    float* values;
    const float* cos;
    const float* sin;
    /// Of one pair, or of four.
    u64 units;
    u32 length;
    u32 heads;
    u32 half;
    u32 reserved;
};

struct Gate {
    const float* gate;
    const float* up;
    const float* gradient;
    float* first;
    float* second;
    u64 count;
    u32 kind;
    u32 reserved;
};

struct Sums {
    const float* values;
    float* sums;
    u32 rows;
    u32 columns;
    u32 block_rows;
    u32 adds;
};

/// The sums of both values over a block of up to 16 warps, in every thread. `parts` may be used again
/// after one further barrier.
__device__ __forceinline__ float2 sum_block(float a, float b, float2* parts) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        a += __shfl_xor_sync(everyone, a, lanes);
        b += __shfl_xor_sync(everyone, b, lanes);
    }
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = make_float2(a, b);
    __syncthreads();
    const u32 warp = threadIdx.x % 16;
    float2 sum = warp < blockDim.x / 32 ? parts[warp] : make_float2(0.0f, 0.0f);
#pragma unroll
    for (int lanes = 8; lanes > 0; lanes /= 2) {
        sum.x += __shfl_xor_sync(everyone, sum.x, lanes);
        sum.y += __shfl_xor_sync(everyone, sum.y, lanes);
    }
    return sum;
}

__device__ __forceinline__ float inverse_of(float squares, const Norm& n) {
    return __fdiv_rn(1.0f, __fsqrt_rn(__fdiv_rn(squares, float(n.columns)) + n.epsilon));
}

/// A block has a row, of which a thread keeps FOURS x 4 values.
template <u32 FOURS>
__device__ __forceinline__ void norm(const Norm& n) {
    __shared__ float2 parts[16];
    const u64 start = u64(blockIdx.x) * n.columns;
    float4 x[FOURS];
    float squares = 0.0f;
#pragma unroll
    for (u32 k = 0; k < FOURS; k++) {
        const u32 i = (threadIdx.x + k * blockDim.x) * 4;
        x[k] = i < n.columns ? four_at(n.input + start + i) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        squares = dot(x[k], x[k], squares);
    }
    const float inverse = inverse_of(sum_block(squares, 0.0f, parts).x, n);
#pragma unroll
    for (u32 k = 0; k < FOURS; k++) {
        const u32 i = (threadIdx.x + k * blockDim.x) * 4;
        if (i < n.columns) put_four(n.out + start + i, x[k] * inverse * four_at(n.weight + i));
    }
}

/// A block has some rows; the gradient of the weight is summed in registers.
template <u32 FOURS>
__device__ __forceinline__ void norm_back(const Norm& n) {
    __shared__ float2 parts[2][16];
    const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float4 weight[FOURS], total[FOURS];
#pragma unroll
    for (u32 k = 0; k < FOURS; k++) {
        const u32 i = (threadIdx.x + k * blockDim.x) * 4;
        weight[k] = i < n.columns ? four_at(n.weight + i) : zero;
        total[k] = zero;
    }
    const u32 first = blockIdx.x * n.block_rows;
    const u32 end = min(n.rows, first + n.block_rows);
    for (u32 row = first; row < end; row++) {
        const u64 start = u64(row) * n.columns;
        float4 x[FOURS], g[FOURS], old[FOURS];
        float squares = 0.0f, products = 0.0f;
#pragma unroll
        for (u32 k = 0; k < FOURS; k++) {
            const u32 i = (threadIdx.x + k * blockDim.x) * 4;
            const bool there = i < n.columns;
            x[k] = there ? four_at(n.input + start + i) : zero;
            g[k] = there ? four_at(n.gradient + start + i) : zero;
            old[k] = there && n.accumulate ? four_at(n.out + start + i) : zero;
        }
#pragma unroll
        for (u32 k = 0; k < FOURS; k++) {
            squares = dot(x[k], x[k], squares);
            products = dot(g[k] * weight[k], x[k], products);
        }
        // Who still reads the sums of a row has not passed the barrier of the next one.
        const float2 sums = sum_block(squares, products, parts[row % 2]);
        const float inverse = inverse_of(sums.x, n);
        const float pull = -(inverse * inverse * inverse * __fdiv_rn(sums.y, float(n.columns)));
#pragma unroll
        for (u32 k = 0; k < FOURS; k++) {
            const u32 i = (threadIdx.x + k * blockDim.x) * 4;
            total[k] = total[k] + g[k] * x[k] * inverse;
            const float4 change = g[k] * weight[k] * inverse + x[k] * pull;
            if (i < n.columns) put_four(n.out + start + i, n.accumulate ? old[k] + change : change);
        }
    }
#pragma unroll
    for (u32 k = 0; k < FOURS; k++) {
        const u32 i = (threadIdx.x + k * blockDim.x) * 4;
        if (i < n.columns) put_four(n.partial + u64(blockIdx.x) * n.columns + i, total[k]);
    }
}

__device__ __forceinline__ float sigmoid(float x) {
    return __fdiv_rn(1.0f, 1.0f + expf(-x));
}

/// The gradients of gate and up.
__device__ __forceinline__ float2 gate_gradients(float a, float b, float g, u32 kind) {
    const float gb = __fmul_rn(g, b);
    if (kind == 0) {
        const float p = a < 0.0f ? 0.0f : a;
        return make_float2(__fmul_rn(gb, __fadd_rn(p, p)), __fmul_rn(g, __fmul_rn(p, p)));
    }
    const float s = sigmoid(a);
    return make_float2(gb * (s * (1.0f + a * (1.0f - s))), g * (a * s));
}

/// The first of two halves of a turned pair, then the second.
__device__ __forceinline__ float2 turn(float a, float b, float c, float s) {
    return make_float2(
        __fsub_rn(__fmul_rn(a, c), __fmul_rn(b, s)), __fadd_rn(__fmul_rn(b, c), __fmul_rn(a, s)));
}

/// A pair's values, cosine and sine: WIDTH of them in a row.
template <u32 WIDTH>
__device__ __forceinline__ void rope(const Rope& r) {
    const u64 unit = u64(blockIdx.x) * 256 + threadIdx.x;
    if (unit >= r.units) return;
    const u32 head_units = r.half / WIDTH;
    const u64 token_units = u64(r.heads) * head_units;
    // Divisions of 64 bits take long, and are hardly ever needed.
    const u64 token = r.units >> 32 ? unit / token_units : u32(unit) / u32(token_units);
    const u32 within = u32(unit - token * token_units);
    const u32 position = r.units >> 32 ? u32(token % r.length) : u32(token) % r.length;
    const u32 head = within / head_units;
    const u32 pair = (within - head * head_units) * WIDTH;
    const u64 place = u64(position) * r.half + pair;
    float* x = r.values + (token * r.heads + head) * 2 * r.half + pair;
    if constexpr (WIDTH == 4) {
        const float4 a = four_at(x), b = four_at(x + r.half), c = four_at(r.cos + place), s = four_at(r.sin + place);
        const float2 turned[4] = {turn(a.x, b.x, c.x, s.x), turn(a.y, b.y, c.y, s.y), turn(a.z, b.z, c.z, s.z), turn(a.w, b.w, c.w, s.w)};
        put_four(x, make_float4(turned[0].x, turned[1].x, turned[2].x, turned[3].x));
        put_four(x + r.half, make_float4(turned[0].y, turned[1].y, turned[2].y, turned[3].y));
    } else {
        const float2 turned = turn(x[0], x[r.half], r.cos[place], r.sin[place]);
        x[0] = turned.x;
        x[r.half] = turned.y;
    }
}

} // namespace training

extern "C" __global__ void __launch_bounds__(512) training_norm_1(const __grid_constant__ training::Norm n) {
    training::norm<1>(n);
}

extern "C" __global__ void __launch_bounds__(512) training_norm_2(const __grid_constant__ training::Norm n) {
    training::norm<2>(n);
}

extern "C" __global__ void __launch_bounds__(512) training_norm_4(const __grid_constant__ training::Norm n) {
    training::norm<4>(n);
}

/// Rows of any length, which are read twice.
extern "C" __global__ void __launch_bounds__(256) training_norm_any(const __grid_constant__ training::Norm n) {
    using namespace training;
    __shared__ float2 parts[16];
    const float* x = n.input + u64(blockIdx.x) * n.columns;
    float* out = n.out + u64(blockIdx.x) * n.columns;
    float squares = 0.0f;
    for (u64 i = threadIdx.x; i < n.columns; i += 256) squares = fmaf(x[i], x[i], squares);
    const float inverse = inverse_of(sum_block(squares, 0.0f, parts).x, n);
    for (u64 i = threadIdx.x; i < n.columns; i += 256) out[i] = x[i] * inverse * n.weight[i];
}

extern "C" __global__ void __launch_bounds__(512) training_norm_back_1(const __grid_constant__ training::Norm n) {
    training::norm_back<1>(n);
}

extern "C" __global__ void __launch_bounds__(512) training_norm_back_2(const __grid_constant__ training::Norm n) {
    training::norm_back<2>(n);
}

extern "C" __global__ void __launch_bounds__(512) training_norm_back_4(const __grid_constant__ training::Norm n) {
    training::norm_back<4>(n);
}

/// Rows of any length: what is summed for the weight stays in memory, where a thread has its columns.
extern "C" __global__ void __launch_bounds__(256) training_norm_back_any(const __grid_constant__ training::Norm n) {
    using namespace training;
    __shared__ float2 parts[2][16];
    float* partial = n.partial + u64(blockIdx.x) * n.columns;
    const u32 first = blockIdx.x * n.block_rows;
    const u32 end = min(n.rows, first + n.block_rows);
    for (u32 row = first; row < end; row++) {
        const float* x = n.input + u64(row) * n.columns;
        const float* g = n.gradient + u64(row) * n.columns;
        float* out = n.out + u64(row) * n.columns;
        float squares = 0.0f, products = 0.0f;
        for (u64 i = threadIdx.x; i < n.columns; i += 256) {
            squares = fmaf(x[i], x[i], squares);
            products = fmaf(g[i] * n.weight[i], x[i], products);
        }
        const float2 sums = sum_block(squares, products, parts[row % 2]);
        const float inverse = inverse_of(sums.x, n);
        const float pull = -(inverse * inverse * inverse * __fdiv_rn(sums.y, float(n.columns)));
        for (u64 i = threadIdx.x; i < n.columns; i += 256) {
            const float own = g[i], value = x[i];
            const float change = own * n.weight[i] * inverse + value * pull;
            partial[i] = (row == first ? 0.0f : partial[i]) + own * value * inverse;
            out[i] = n.accumulate ? out[i] + change : change;
        }
    }
}

/// Sums of 32 columns over a block's rows: a warp takes every 32nd row.
extern "C" __global__ void __launch_bounds__(1024) training_sum_columns(const __grid_constant__ training::Sums s) {
    __shared__ float parts[32][33];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u64 column = u64(blockIdx.x) * 32 + lane;
    const u32 end = min(s.rows, (blockIdx.y + 1) * s.block_rows);
    float sum = 0.0f;
    if (column < s.columns) {
        u32 row = blockIdx.y * s.block_rows + warp;
        const float* values = s.values + column;
        for (; row < end; row += 32 * 8) {
            float x[8];
#pragma unroll
            for (u32 k = 0; k < 8; k++) x[k] = row + 32 * k < end ? values[u64(row + 32 * k) * s.columns] : 0.0f;
#pragma unroll
            for (u32 k = 0; k < 8; k++) sum += x[k];
        }
    }
    parts[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || column >= s.columns) return;
    sum = 0.0f;
#pragma unroll
    for (u32 w = 0; w < 32; w++) sum += parts[w][lane];
    float* out = s.sums + u64(blockIdx.y) * s.columns + column;
    *out = s.adds ? *out + sum : sum;
}

extern "C" __global__ void __launch_bounds__(256) training_rope_1(const __grid_constant__ training::Rope r) {
    training::rope<1>(r);
}

extern "C" __global__ void __launch_bounds__(256) training_rope_4(const __grid_constant__ training::Rope r) {
    training::rope<4>(r);
}

/// first = act(gate) * up
extern "C" __global__ void __launch_bounds__(256) training_gate(const __grid_constant__ training::Gate t) {
    using namespace training;
    for_fours(
        t.count,
        [&](u64 at) {
            const float4 a = four_at(t.gate + at), b = four_at(t.up + at);
            put_four(t.first + at, make_float4(gated(a.x, b.x, t.kind), gated(a.y, b.y, t.kind), gated(a.z, b.z, t.kind), gated(a.w, b.w, t.kind)));
        },
        [&](u64 i) { t.first[i] = gated(t.gate[i], t.up[i], t.kind); });
}

/// first and second = the gradients of gate and up
extern "C" __global__ void __launch_bounds__(256) training_gate_back(const __grid_constant__ training::Gate t) {
    using namespace training;
    for_fours(
        t.count,
        [&](u64 at) {
            const float4 a = four_at(t.gate + at), b = four_at(t.up + at), g = four_at(t.gradient + at);
            const float2 x = gate_gradients(a.x, b.x, g.x, t.kind), y = gate_gradients(a.y, b.y, g.y, t.kind);
            const float2 z = gate_gradients(a.z, b.z, g.z, t.kind), w = gate_gradients(a.w, b.w, g.w, t.kind);
            put_four(t.first + at, make_float4(x.x, y.x, z.x, w.x));
            put_four(t.second + at, make_float4(x.y, y.y, z.y, w.y));
        },
        [&](u64 i) {
            const float2 both = gate_gradients(t.gate[i], t.up[i], t.gradient[i], t.kind);
            t.first[i] = both.x;
            t.second[i] = both.y;
        });
}
