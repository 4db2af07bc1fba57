// The head of a language model with its loss: what stands around its products, which cuBLAS computes.
//
//     logits = h E^T,  loss = -log softmax(logits)[target],  g = factor (softmax - one hot)
//     dh = g E,  dE += g^T h
//
// A factor of these products is the sum of two bf16 (an error below 2^-17 of each value), and a product
// that of the three larger of their four pairs. A target of -100 counts for nothing; one outside of the
// table gives a loss of NaN. Sums have one order. Floor: logits are written once and read three times.

#include "floats.cuh"

namespace head_loss {

struct Pass {
    const void* source;
    const int* targets;
    u16* first;
    u16* second;
    /// [token]
    double* losses;
    /// The sum of the losses, and how many targets count.
    double* result;
    double scale;
    u64 count;
    u32 columns;
    /// Whether gradients are wanted; or whether the third part is the second half.
    u32 option;
};

constexpr int ignored = -100;

} // namespace head_loss

/// Rows of two halves, three wide: first, first, second; or first, second, first with option 1.
extern "C" __global__ void __launch_bounds__(256) head_loss_split(const __grid_constant__ head_loss::Pass p) {
    const float* source = static_cast<const float*>(p.source);
    floats::for_values(
        p.count,
        [&](u64 at) {
            const u64 row = at / p.columns;
            if (p.columns % 4 != 0) {
                for (u64 i = at; i < at + 4; i++) {
                    u16* place = p.first + i + i / p.columns * 2 * p.columns;
                    u16 first, second;
                    bitlinear::split(source[i], first, second);
                    place[0] = first, place[p.columns] = p.option ? second : first, place[2 * p.columns] = p.option ? first : second;
                }
                return;
            }
            const float4 four = floats::load_four(source, at);
            const float x[4] = {four.x, four.y, four.z, four.w};
            u16 first[4], second[4];
#pragma unroll
            for (int i = 0; i < 4; i++) bitlinear::split(x[i], first[i], second[i]);
            u16* place = p.first + at + row * 2 * p.columns;
            bitlinear::store_four(place, first);
            bitlinear::store_four(place + p.columns, p.option ? second : first);
            bitlinear::store_four(place + 2 * p.columns, p.option ? first : second);
        },
        [&](u64 i) {
            u16* place = p.first + i + i / p.columns * 2 * p.columns;
            u16 first, second;
            bitlinear::split(source[i], first, second);
            place[0] = first, place[p.columns] = p.option ? second : first, place[2 * p.columns] = p.option ? first : second;
        });
}

/// result[1] = how many targets count; one block
extern "C" __global__ void __launch_bounds__(256) head_loss_count(const __grid_constant__ head_loss::Pass p) {
    double own = 0;
    for (u64 i = threadIdx.x; i < p.count; i += 256) own += p.targets[i] != head_loss::ignored;
    own = bitlinear::sum_of_block(own);
    if (threadIdx.x == 0) p.result[1] = own;
}

/// The loss of a token, and the gradient of its logits as two halves; a block for each
extern "C" __global__ void __launch_bounds__(256) head_loss_softmax(const __grid_constant__ head_loss::Pass p) {
    using namespace head_loss;
    const u64 start = u64(blockIdx.x) * p.columns;
    const float* logits = static_cast<const float*>(p.source) + start;
    const int target = p.targets[blockIdx.x];
    u16* first = p.first + start;
    u16* second = p.second + start;
    if (target == ignored) {
        if (threadIdx.x == 0) p.losses[blockIdx.x] = 0;
        if (p.option)
            for (u32 i = threadIdx.x; i < p.columns; i += 256) first[i] = second[i] = 0;
        return;
    }
    float most = -INFINITY;
    for (u32 i = threadIdx.x; i < p.columns; i += 256) most = fmaxf(most, logits[i]);
    __shared__ float tops[8];
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, lanes));
    if (threadIdx.x % 32 == 0) tops[threadIdx.x / 32] = most;
    __syncthreads();
    most = tops[0];
#pragma unroll
    for (int warp = 1; warp < 8; warp++) most = fmaxf(most, tops[warp]);
    double sum = 0;
    for (u32 i = threadIdx.x; i < p.columns; i += 256) sum += expf(logits[i] - most);
    sum = bitlinear::sum_of_block(sum);
    const bool known = target >= 0 && u32(target) < p.columns;
    if (threadIdx.x == 0) p.losses[blockIdx.x] = known ? log(sum) + (double(most) - double(logits[target])) : __longlong_as_double(0x7ff8000000000000);
    if (!p.option) return;
    const float factor = __double2float_rn(p.scale / p.result[1]);
    const float each = __double2float_rn(double(factor) / sum);
    for (u32 i = threadIdx.x; i < p.columns; i += 256) {
        float gradient = __fmul_rn(expf(logits[i] - most), each);
        if (int(i) == target) gradient = __fsub_rn(gradient, factor);
        bitlinear::split(gradient, first[i], second[i]);
    }
}

/// result[0] = the sum of the losses; one block
extern "C" __global__ void __launch_bounds__(256) head_loss_total(const __grid_constant__ head_loss::Pass p) {
    double own = 0;
    for (u64 i = threadIdx.x; i < p.count; i += 256) own += p.losses[i];
    own = bitlinear::sum_of_block(own);
    if (threadIdx.x == 0) p.result[0] = own;
}
