// Quantised weights that know their shape.

import { checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import type { PackOptions } from "../packing/keep.ts";
import { PackedTernary } from "../packing/packed_ternary.ts";
import type { Tensor } from "../tensor.ts";
import {
  type QuantizeConfig,
  type QuantizeScaleConfig,
  ternarize,
  type Ternarized,
} from "./weights.ts";

/** What only this module can pass to the constructor: at run time nothing else makes it private. */
const KEY = Symbol("QuantizationResult");

/**
 * Trits and scales of a quantised weight matrix.
 *
 * Made by `fromWeights`, `quantizeAbsmean` and `quantizeAbsmax`; its fields cannot be replaced.
 *
 * @example
 * ```ts
 * import { quantizeAbsmean } from "tritter-accel";
 *
 * const weights = Float32Array.of(0.5, -0.3, 0.1, 0.8, -0.2, 0.6, -0.7, 0.4);
 * const result = quantizeAbsmean(weights, [2, 4], { groupSize: 2 });
 * using packed = result.toPacked();
 * console.log(packed.matmul(Float32Array.of(1, 2, 3, 4)));
 * ```
 */
export class QuantizationResult {
  /** The trits, row-major. */
  readonly values: Int8Array<ArrayBuffer>;
  /** The scales, the groups of row 0 first. */
  readonly scales: Float32Array<ArrayBuffer>;
  /** Rows (outputs) and columns (inputs). */
  readonly shape: readonly [number, number];
  /** Columns that share a scale. */
  readonly groupSize: number;

  private constructor(key: symbol, quantized: Ternarized) {
    if (key !== KEY) {
      throw tritterError(
        "invalid_type",
        "QuantizationResult is made by QuantizationResult.fromWeights, quantizeAbsmean or quantizeAbsmax",
      );
    }
    this.values = quantized.ternary;
    this.scales = quantized.scales;
    this.shape = quantized.shape;
    this.groupSize = quantized.groupSize;
    Object.freeze(this);
  }

  /**
   * Quantises a [rows, columns] weight matrix by any of the methods; the default is absmean per row.
   *
   * A tensor with two axes has its shape already: leave `shape` out, or give an equal one. Throws
   * `invalid_value` naming the index for NaN or infinite weights, `invalid_shape` if a tensor has
   * another shape, `invalid_option` if the group size does not divide the columns.
   *
   * @example
   * ```ts
   * import { QuantizationResult } from "tritter-accel";
   *
   * const weights = Float32Array.from({ length: 64 }, (_, index) => Math.sin(index));
   * const config = { method: "percentile", percentile: 40 } as const;
   * console.log(QuantizationResult.fromWeights(weights, [2, 32], config).scales);
   * ```
   */
  static fromWeights(
    weights: Float32Array | Tensor,
    shape: readonly [number, number],
    config?: QuantizeConfig,
  ): QuantizationResult;
  /** Quantises a tensor with two axes. */
  static fromWeights(
    weights: Tensor,
    shape?: readonly [number, number] | undefined,
    config?: QuantizeConfig,
  ): QuantizationResult;
  static fromWeights(
    weights: Float32Array | Tensor,
    shape?: readonly [number, number],
    config?: QuantizeConfig,
  ): QuantizationResult {
    const quantized = ternarize(weights, shape, checkOptions(config, "config"));
    return new QuantizationResult(KEY, quantized);
  }

  /**
   * Packs the trits for matrix products; every group keeps its own scale. Options and errors as in
   * `PackedTernary.fromTernary`.
   *
   * @example
   * ```ts
   * import { quantizeAbsmax } from "tritter-accel";
   *
   * using packed = quantizeAbsmax(Float32Array.of(1, -2, 3, -4), [2, 2]).toPacked();
   * console.log(packed.shape); // [ 2, 2 ]
   * ```
   */
  toPacked(options?: PackOptions): PackedTernary {
    return PackedTernary.fromTernary(this.values, this.scales, this.shape, options);
  }

  /**
   * Returns the weights that the trits stand for: trit times the scale of its group.
   *
   * @example
   * ```ts
   * import { quantizeAbsmax } from "tritter-accel";
   *
   * console.log(quantizeAbsmax(Float32Array.of(1, -4), [1, 2]).dequantize()); // 0 -4
   * ```
   */
  dequantize(): Float32Array<ArrayBuffer> {
    const { values, scales, groupSize } = this;
    const weights = new Float32Array(values.length);
    for (let index = 0; index < weights.length; index++) {
      weights[index] = values[index]! * scales[Math.floor(index / groupSize)]!;
    }
    return weights;
  }
}

/**
 * Quantises a weight matrix by the absmean rule: threshold mean|w| / 2, scale mean|w|.
 *
 * Errors as in `QuantizationResult.fromWeights`. Source: arXiv:2402.17764.
 *
 * @example
 * ```ts
 * import { quantizeAbsmean } from "tritter-accel";
 *
 * const weights = Float32Array.of(0.5, -0.3, 0.1, 0.8);
 * console.log(quantizeAbsmean(weights, [1, 4]).values); // 1 -1 0 1
 * console.log(quantizeAbsmean(weights, [1, 4], { scale: "leastSquares" }).scales); // 0.5333
 * ```
 */
export function quantizeAbsmean(
  weights: Float32Array | Tensor,
  shape: readonly [number, number],
  config?: QuantizeScaleConfig,
): QuantizationResult;
/** Quantises a tensor with two axes by the absmean rule. */
export function quantizeAbsmean(
  weights: Tensor,
  shape?: readonly [number, number] | undefined,
  config?: QuantizeScaleConfig,
): QuantizationResult;
export function quantizeAbsmean(
  weights: Float32Array | Tensor,
  shape?: readonly [number, number],
  config?: QuantizeScaleConfig,
): QuantizationResult {
  return quantizeBy("absmean", weights, shape, config);
}

/**
 * Quantises a weight matrix by the absmax rule: kept above max|w| / 2, scale max|w|.
 *
 * The scale is 1 where max|w| is at most 1e-10. Errors as in `QuantizationResult.fromWeights`.
 *
 * @example
 * ```ts
 * import { quantizeAbsmax } from "tritter-accel";
 *
 * const result = quantizeAbsmax(Float32Array.of(0.5, -0.3, 0.1, 0.8), [1, 4]);
 * console.log(result.values, result.scales); // 1 0 0 1, 0.8
 * ```
 */
export function quantizeAbsmax(
  weights: Float32Array | Tensor,
  shape: readonly [number, number],
  config?: QuantizeScaleConfig,
): QuantizationResult;
/** Quantises a tensor with two axes by the absmax rule. */
export function quantizeAbsmax(
  weights: Tensor,
  shape?: readonly [number, number] | undefined,
  config?: QuantizeScaleConfig,
): QuantizationResult;
export function quantizeAbsmax(
  weights: Float32Array | Tensor,
  shape?: readonly [number, number],
  config?: QuantizeScaleConfig,
): QuantizationResult {
  return quantizeBy("absmax", weights, shape, config);
}

function quantizeBy(
  method: "absmean" | "absmax",
  weights: Float32Array | Tensor,
  shape: readonly [number, number] | undefined,
  config: QuantizeScaleConfig | undefined,
): QuantizationResult {
  const checked = checkOptions(config, "config");
  const asked: unknown = (checked as QuantizeConfig).method;
  if (asked !== undefined && asked !== method) {
    throw tritterError(
      "invalid_option",
      `method must be "${method}" or left out; QuantizationResult.fromWeights takes the others`,
    );
  }
  return QuantizationResult.fromWeights(weights as Tensor, shape, { ...checked, method });
}
