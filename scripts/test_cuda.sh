#!/usr/bin/env bash
# Everything that needs a GPU, on a machine that has one:
#
#     bash scripts/test_cuda.sh tests       the tests of CUDA with Bun and with Deno, none skipped
#     bash scripts/test_cuda.sh bench       the kernels next to cuBLAS (needs PyTorch), and the calls
#     bash scripts/test_cuda.sh sanitize    compute-sanitizer over a part of the tests
#
# Without arguments: tests. The library is the one in zig-out/. Where node_modules has no Bun or Deno,
# .gpu/bun.xz and .gpu/deno.xz are unpacked, for machines that can fetch nothing.
set -u
cd "$(dirname "$0")/.."
out=${OUT:-.gpu/out}
mkdir -p "$out" .gpu/bin
export TRITTER_REQUIRE_CUDA=1 TRITTER_ACCEL_LIB=$PWD/zig-out/lib/libtritter.so DENO_NO_UPDATE_CHECK=1
failed=0

# The path of a runtime, or nothing.
find_runtime() {
  if [ -x "node_modules/.bin/$1" ]; then
    echo "node_modules/.bin/$1"
  elif [ -f ".gpu/$1.xz" ]; then
    [ -x ".gpu/bin/$1" ] || { python3 -c "import lzma, shutil, sys
shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], 'wb'))" ".gpu/$1.xz" ".gpu/bin/$1" && chmod +x ".gpu/bin/$1"; }
    echo ".gpu/bin/$1"
  fi
}

step() {
  local name=$1 started=$SECONDS
  shift
  echo "=== $name"
  if "$@"; then
    echo "=== $name: passed in $((SECONDS - started)) s"
  else
    failed=$((failed + 1))
    echo "=== $name: FAILED after $((SECONDS - started)) s"
  fi
}

tests=(test/cuda_tensor_test.ts test/cuda_packing_test.ts test/cuda_matmul_test.ts test/cuda_vsa_test.ts test/cuda_gradients_test.ts test/cuda_gradients_topk_test.ts test/cuda_compressor_test.ts test/cuda_floats_test.ts test/cuda_model_test.ts test/cuda_training_test.ts test/cuda_optimizers_test.ts test/cuda_engine_test.ts test/device_test.ts test/tensor_test.ts)
bun=$(find_runtime bun)
deno=$(find_runtime deno)
[ -n "$bun$deno" ] || { echo "neither Bun nor Deno is there"; exit 1; }
runner=("$bun")
[ -n "$bun" ] || runner=("$deno" run -A --no-check)

# The ranks of distributed tests are processes that need memory of their own: the rest may keep most of it.
run_tests() {
  [ -z "$bun" ] || step "ranks with Bun" timeout 200 "$bun" test --timeout=300000 test/cuda_distributed_test.ts
  [ -z "$deno" ] || step "ranks with Deno" timeout 200 "$deno" test -A --no-check test/cuda_distributed_test.ts
  [ -z "$bun" ] || step "tests with Bun" timeout 400 "$bun" test --timeout=300000 "${tests[@]}"
  [ -z "$deno" ] || step "tests with Deno" timeout 400 "$deno" test -A --no-check "${tests[@]}"
}

# What is noted in rows.jsonl becomes bench/cuda.json by bench/report/claims.ts.
run_bench() {
  export TRITTER_BENCH_ROWS=$out/rows.jsonl
  rm -f "$TRITTER_BENCH_ROWS"
  step "kernels" timeout 400 python3 bench/cuda.py --json "$out/cuda.json"
  step "a model" timeout 100 "${runner[@]}" bench/cuda_model.ts
  [ -z "$bun" ] || step "calls, Bun" timeout 100 "$bun" bench/cuda_overhead.ts
  step "hypervectors" timeout 100 "${runner[@]}" bench/cuda_vsa.ts
  [ -z "$deno" ] || step "calls, Deno" timeout 100 "$deno" run -A --no-check bench/cuda_overhead.ts
  step "training" timeout 100 "${runner[@]}" bench/cuda_training.ts
  step "where \"auto\" would win" timeout 100 "${runner[@]}" bench/cuda_auto.ts
}

run_sanitize() {
  local tool options
  for tool in memcheck racecheck initcheck; do
    # It takes what cuBLAS has written for memory that nobody has.
    [ "$tool" = initcheck ] && options=(--without-cublas) || options=()
    step "$tool" timeout 250 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      --target-processes all "${runner[@]}" test/cuda_sanitize.ts "${options[@]}"
  done
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
for part in "${@:-tests}"; do
  "run_$part" 2>&1 | tee -a "$out/log"
  # The counter lives in the pipeline's own shell.
  ! grep -q ': FAILED after' "$out/log" || failed=1
done
exit "$failed"
