// Ternary matrix products as functions.

import {
  checkArray,
  checkChoice,
  checkCount,
  checkFlag,
  checkNumber,
  checkOptions,
  checkShape,
  describe,
} from "./checks.ts";
import { placeOf } from "./device.ts";
import { tritterError } from "./errors.ts";
import { check, native } from "./native/library.ts";
import { checkScales, packedBytes } from "./packing/bytes.ts";
import {
  activationsCode,
  batchOf,
  outputOf,
  PackedTernary,
  type TernaryMatmulConfig,
} from "./packing/packed_ternary.ts";
import { QuantizationResult } from "./quantization/result.ts";
import { type Dtype, emptyTensor, floatsOf, memoryHandle, Tensor } from "./tensor.ts";

/**
 * Multiplies activations by packed ternary weights: [batch, in] to [batch, out].
 *
 * `packed` and `scales` are those of `packTernaryWeights`, `weightShape` is [out, in]. The weights
 * are prepared anew on every call; keep a `PackedTernary` where they are used more than once.
 * Non-finite activations are treated as in `PackedTernary.matmul`.
 *
 * @example
 * ```ts
 * import { packTernaryWeights, quantizeWeightsAbsmean, ternaryMatmul } from "tritter-accel";
 *
 * const weights = Float32Array.of(0.5, -0.3, 0.1, 0.8, -0.2, 0.6, -0.7, 0.4);
 * const quantized = quantizeWeightsAbsmean(weights, [2, 4]);
 * const { packed, scales } = packTernaryWeights(quantized.ternary, quantized.scales, [2, 4]);
 * console.log(ternaryMatmul(Float32Array.of(1, 2, 3, 4), packed, scales, [2, 4])); // 1.275 1.425
 * ```
 */
export function ternaryMatmul(
  input: Float32Array,
  packed: Uint8Array,
  scales: Float32Array,
  weightShape: readonly [number, number],
  options?: TernaryMatmulConfig,
): Float32Array<ArrayBuffer> {
  const { device, activations, bias, out } = checkOptions(options, "options");
  const place = placeOf(device);
  const [rows, cols] = checkShape(weightShape, "weightShape", 2) as [number, number];
  checkScales(scales, rows, cols);
  checkArray(packed, Uint8Array, "packed", packedBytes(rows, cols));
  checkArray(input, Float32Array, "input");
  if (place !== "cpu") {
    const shape = [rows, cols] as const;
    using weights = PackedTernary.fromPackedBytes(packed, scales, shape, { device: place });
    return weights.matmul(input, { ...options, device: place });
  }
  const output = outputOf(out, batchOf(input.length, cols) * rows);
  const biases = bias === undefined ? null : floatsOf(bias, "bias", rows);
  const sizes = Float64Array.of(
    rows,
    cols,
    activationsCode(activations),
    input.length,
    packed.length,
    scales.length,
    biases?.length ?? 0,
    output.length,
  );
  check(native.matmul_packed(input, packed, scales, biases, output, sizes, sizes.length));
  return output;
}

/**
 * Multiplies activations by packed ternary weights, as `PackedTernary.matmul` does.
 *
 * @example
 * ```ts
 * import { matmul, quantizeAbsmean } from "tritter-accel";
 *
 * const weights = Float32Array.of(0.5, -0.3, 0.1, 0.8, -0.2, 0.6, -0.7, 0.4);
 * using packed = quantizeAbsmean(weights, [2, 4]).toPacked();
 * console.log(matmul(Float32Array.of(1, 2, 3, 4), packed, { activations: "int8" }));
 * ```
 */
export function matmul(
  input: Float32Array,
  weights: PackedTernary,
  config?: TernaryMatmulConfig,
): Float32Array<ArrayBuffer>;
/** Multiplies a tensor, with any leading axes, by packed ternary weights. */
export function matmul(
  input: Tensor,
  weights: PackedTernary,
  config?: TernaryMatmulConfig,
): Tensor<"f32">;
/** Multiplies an array or a tensor by packed ternary weights. */
export function matmul(
  input: Float32Array | Tensor,
  weights: PackedTernary,
  config?: TernaryMatmulConfig,
): Float32Array<ArrayBuffer> | Tensor<"f32">;
export function matmul(
  input: Float32Array | Tensor,
  weights: PackedTernary,
  config?: TernaryMatmulConfig,
): Float32Array<ArrayBuffer> | Tensor<"f32"> {
  return checkPacked(weights, "weights").matmul(input, config);
}

/** Checks that weights are packed, and says how to pack them where they are not. */
export function checkPacked(value: unknown, name: string): PackedTernary {
  if (value instanceof PackedTernary) return value;
  const given = value instanceof QuantizationResult
    ? "a QuantizationResult: call its toPacked() first"
    : value instanceof Tensor
    ? "a Tensor: PackedTernary.fromWeights packs it"
    : describe(value);
  throw tritterError("invalid_type", `${name} must be a PackedTernary, got ${given}`);
}

/** Options of `denseMatmul`. */
export interface DenseMatmulOptions {
  /** True if `a` is given transposed, as [k, m]. Default: false. */
  transposeA?: boolean | undefined;
  /** True if `b` is given transposed, as [n, k]. Default: false. */
  transposeB?: boolean | undefined;
  /** What the product is multiplied by. Default: 1. */
  alpha?: number | undefined;
  /** What `out` is multiplied by before the product is added; 0 overwrites it. Default: 0. */
  beta?: number | undefined;
  /** An array of m x n numbers for the result, apart from `a` and `b`. Default: a new one. */
  out?: Float32Array | undefined;
}

/** Options of `denseMatmul` for tensors. */
export interface DenseTensorOptions extends Omit<DenseMatmulOptions, "out"> {
  /** An f32 tensor of m x n numbers for the result, apart from `a` and `b`. Default: a new one. */
  out?: Tensor | undefined;
  /** What u16 tensors hold the bits of. Default: `"bf16"`. */
  half?: "bf16" | "f16" | undefined;
}

/**
 * Returns alpha A B + beta C of dense 32-bit matrices, row-major: A is [m, k], B [k, n] and C, which is
 * `out`, [m, n].
 *
 * For weights that are not ternary, as in training. Each number of the result adds up over k in one
 * order, 384 terms at a time, so it does not depend on the number of threads; instruction sets with
 * and without fused multiplication round differently, within 1e-5 of the sum of the terms' magnitudes.
 * NaN and infinities go through as in any sum.
 *
 * Tensors on a CUDA device are multiplied there by cuBLAS, in an order of its own, and the result is a
 * tensor: products and sums are f32 (never TF32), within 1e-5 of the sum of the terms' magnitudes; or
 * both are u16 tensors of bfloat16 or half-precision bits, whose products are summed in f32. cuBLAS 12 or
 * 13 is looked for where `TRITTER_CUBLAS_LIB` says, or else where the system has its libraries, below
 * `CUDA_PATH` or `/usr/local/cuda`; without it the call throws `device_unavailable`. Tensors on the CPU
 * are f32.
 *
 * @example
 * ```ts
 * import { denseMatmul } from "tritter-accel";
 *
 * const a = Float32Array.of(1, 2, 3, 4);
 * console.log(denseMatmul(a, Float32Array.of(1, 1), [2, 1, 2])); // 3, 7
 * console.log(denseMatmul(a, Float32Array.of(1, 1), [2, 1, 2], { transposeA: true })); // 4, 6
 * ```
 */
export function denseMatmul(
  a: Float32Array,
  b: Float32Array,
  shape: readonly [m: number, n: number, k: number],
  options?: DenseMatmulOptions,
): Float32Array;
/** Multiplies tensors, where they are. */
export function denseMatmul(
  a: Tensor,
  b: Tensor,
  shape: readonly [m: number, n: number, k: number],
  options?: DenseTensorOptions,
): Tensor<"f32">;
export function denseMatmul(
  a: Float32Array | Tensor,
  b: Float32Array | Tensor,
  shape: readonly [m: number, n: number, k: number],
  options?: DenseMatmulOptions | DenseTensorOptions,
): Float32Array | Tensor<"f32"> {
  const given = checkOptions(options, "options");
  if (!Array.isArray(shape) || shape.length !== 3) {
    throw tritterError("invalid_type", `shape must be [m, n, k], got ${describe(shape)}`);
  }
  const [m, n, k] = shape.map((size, at) => checkCount(size, `shape[${at}]`, { min: 1 })) as [
    number,
    number,
    number,
  ];
  const { transposeA = false, transposeB = false, alpha = 1, beta = 0 } = given;
  checkFlag(transposeA, "transposeA");
  checkFlag(transposeB, "transposeB");
  const factors = [checkNumber(alpha, "alpha"), checkNumber(beta, "beta")];
  const fields = [m, n, k, transposeA ? 1 : 0, transposeB ? 1 : 0, ...factors];
  if (a instanceof Tensor || b instanceof Tensor) {
    return multiplyTensors(a, b, [m, n, k], fields, given as DenseTensorOptions);
  }
  checkArray(a, Float32Array, "a", m * k);
  checkArray(b, Float32Array, "b", k * n);
  const out = given.out === undefined
    ? new Float32Array(m * n)
    : checkArray(given.out as Float32Array, Float32Array, "out", m * n);
  return multiplyArrays(a, b, out, fields);
}

function multiplyArrays(a: Float32Array, b: Float32Array, out: Float32Array, fields: number[]) {
  const all = Float64Array.of(...fields, a.length, b.length, out.length);
  check(native.dense_product(a, b, out, all, all.length));
  return out;
}

/** Checks a factor or the result. */
function matrixOf(value: unknown, size: number, name: string): Tensor {
  if (!(value instanceof Tensor)) {
    throw tritterError("invalid_type", `${name} must be a Tensor as the others are`);
  }
  if (value.size === size) return value;
  throw tritterError("invalid_length", `${name} must have ${size} elements, got ${value.size}`);
}

function multiplyTensors(
  a: unknown,
  b: unknown,
  [m, n, k]: readonly [number, number, number],
  fields: number[],
  { out, half }: DenseTensorOptions,
): Tensor<"f32"> {
  const [first, second] = [matrixOf(a, m * k, "a"), matrixOf(b, k * n, "b")];
  const { device } = first;
  const given = out === undefined ? undefined : matrixOf(out, m * n, "out");
  const format = checkChoice(half, ["f16", "bf16"], "half", "bf16");
  if (device === "cpu") {
    const target = given ?? Tensor.from(new Float32Array(m * n), [m, n], { device });
    const floats = floatsOf(target, "out");
    multiplyArrays(floatsOf(first, "a"), floatsOf(second, "b"), floats, fields);
    return target as Tensor<"f32">;
  }
  const dtype: Dtype = first.dtype === "u16" ? "u16" : "f32";
  const [left, right] = [
    memoryHandle(first, dtype, device, "a"),
    memoryHandle(second, dtype, device, "b"),
  ];
  const target = given ?? emptyTensor([m, n], device);
  if (given === undefined) fields[6] = 0;
  const options = Float64Array.of(...fields, dtype === "f32" ? 0 : format === "f16" ? 1 : 2);
  const into = memoryHandle(target, "f32", device, "out");
  check(native.cuda_dense_product(left, right, into, options, options.length));
  return target as Tensor<"f32">;
}
