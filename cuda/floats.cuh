// Floats of 16 bits.

#pragma once

#include "common.cuh"

__device__ __forceinline__ float widen_half(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ __forceinline__ float widen_brain(u16 bits) { return __uint_as_float(u32(bits) << 16); }
