// Every kernel: what scripts/cuda.mjs compiles into kernels.fatbin.

#include "quantization.cu"
#include "packing.cu"
#include "matmul_one.cu"
#include "matmul_many.cu"
#include "matmul_wgmma.cu"
#include "matmul_floats.cu"
#include "matmul_split.cu"
#include "nn.cu"
#include "decode.cu"
#include "attention.cu"
#include "attention_many.cu"
#include "head.cu"
