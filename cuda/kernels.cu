// Every kernel: what scripts/cuda.mjs compiles into kernels.fatbin.

#include "quantization.cu"
#include "packing.cu"
#include "matmul_one.cu"
#include "matmul_many.cu"
#include "matmul_floats.cu"
#include "floats.cu"
#include "gradients_blocks.cu"
#include "gradients_bundle.cu"
#include "gradients_lowrank.cu"
#include "gradients_projection.cu"
#include "gradients_rotated.cu"
