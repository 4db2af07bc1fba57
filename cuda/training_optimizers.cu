// Element-wise updates of parameters, with the bits of lib/cpu/optimizers.zig: nothing is fused, roots
// and quotients are rounded to nearest. Floor: AdamW reads 16 bytes and writes 12 an element, SGD with
// momentum reads 12 and writes 8.

#include "training.cuh"

namespace training {

struct AdamW {
    float* data;
    const float* gradient;
    float* mean;
    float* square;
    u64 count;
    float beta1;
    float beta2;
    float rate;
    float square_factor;
    float epsilon;
    float keep;

    __device__ __forceinline__ void step(float& value, float g, float& m, float& v) const {
        m = __fadd_rn(__fmul_rn(beta1, m), __fmul_rn(__fsub_rn(1.0f, beta1), g));
        v = __fadd_rn(__fmul_rn(beta2, v), __fmul_rn(__fsub_rn(1.0f, beta2), __fmul_rn(g, g)));
        const float size = __fadd_rn(__fmul_rn(__fsqrt_rn(v), square_factor), epsilon);
        value = __fsub_rn(__fmul_rn(value, keep), __fmul_rn(rate, __fdiv_rn(m, size)));
    }
};

struct Sgd {
    float* data;
    const float* gradient;
    /// Null where there is no momentum.
    float* velocity;
    u64 count;
    float momentum;
    float rate;
    float keep;
    u32 nesterov;

    __device__ __forceinline__ void step(float& value, float g, float* u) const {
        float change = g;
        if (u) {
            *u = __fadd_rn(__fmul_rn(momentum, *u), g);
            change = nesterov ? __fadd_rn(g, __fmul_rn(momentum, *u)) : *u;
        }
        value = __fsub_rn(__fmul_rn(value, keep), __fmul_rn(rate, change));
    }
};

} // namespace training

extern "C" __global__ void __launch_bounds__(256) training_adamw(const __grid_constant__ training::AdamW t) {
    using namespace training;
    for_fours(
        t.count,
        [&](u64 at) {
            const float4 g = four_at(t.gradient + at);
            float4 value = four_at(t.data + at), m = four_at(t.mean + at), v = four_at(t.square + at);
            t.step(value.x, g.x, m.x, v.x);
            t.step(value.y, g.y, m.y, v.y);
            t.step(value.z, g.z, m.z, v.z);
            t.step(value.w, g.w, m.w, v.w);
            put_four(t.data + at, value);
            put_four(t.mean + at, m);
            put_four(t.square + at, v);
        },
        [&](u64 i) { t.step(t.data[i], t.gradient[i], t.mean[i], t.square[i]); });
}

extern "C" __global__ void __launch_bounds__(256) training_sgd(const __grid_constant__ training::Sgd t) {
    using namespace training;
    for_fours(
        t.count,
        [&](u64 at) {
            const float4 g = four_at(t.gradient + at);
            float4 value = four_at(t.data + at);
            float4 u = t.velocity ? four_at(t.velocity + at) : g;
            t.step(value.x, g.x, t.velocity ? &u.x : nullptr);
            t.step(value.y, g.y, t.velocity ? &u.y : nullptr);
            t.step(value.z, g.z, t.velocity ? &u.z : nullptr);
            t.step(value.w, g.w, t.velocity ? &u.w : nullptr);
            put_four(t.data + at, value);
            if (t.velocity) put_four(t.velocity + at, u);
        },
        [&](u64 i) { t.step(t.data[i], t.gradient[i], t.velocity ? t.velocity + i : nullptr); });
}
