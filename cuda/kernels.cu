// Every kernel: what scripts/cuda.mjs compiles into kernels.fatbin.

#include "quantization.cu"
#include "packing.cu"
#include "matmul_one.cu"
#include "matmul_many.cu"
#include "matmul_floats.cu"
#include "vsa.cu"
#include "vsa_bundle.cu"
#include "vsa_compare.cu"
#include "vsa_matrix.cu"
#include "vsa_search.cu"
