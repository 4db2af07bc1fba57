// Programmatic dependent launch: a kernel's blocks may start before the kernel before has ended. Where it
// is not asked for at launch, and before compute capability 9.0, both do nothing.

#pragma once

#include "common.cuh"

/// Lets the next kernel's blocks start; they wait by themselves for what they need.
__device__ __forceinline__ void start_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Waits until the kernel before is done and what it wrote can be read.
__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
