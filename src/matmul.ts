// Ternary matrix products as functions.

import { checkArray, checkOptions, checkShape, describe } from "./checks.ts";
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
import { floatsOf, Tensor } from "./tensor.ts";

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
