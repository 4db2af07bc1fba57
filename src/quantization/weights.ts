// From float weights to trits and scales. The rules themselves are in the native library.

import {
  checkArray,
  checkChoice,
  checkCount,
  checkNumber,
  checkOptions,
  checkShape,
} from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { floatsOf, type Tensor } from "../tensor.ts";

/** How many weights share a scale, and how large that scale is. */
export interface QuantizeScaleConfig {
  /** Columns that share a scale; must divide the number of columns. Default: the whole row. */
  groupSize?: number | undefined;
  /**
   * `"method"` (default) keeps the scale that the method defines; `"leastSquares"` takes the mean
   * |w| of the weights that became +1 or -1, which makes the squared error least for these trits.
   */
  scale?: "method" | "leastSquares" | undefined;
}

/**
 * How weights become trits.
 *
 * With `w` the weights of a group, a weight is kept as its sign where |w| exceeds a threshold:
 *
 * | method | threshold | scale |
 * |---|---|---|
 * | `"absmean"` (default) | at least mean\|w\| / 2 | mean\|w\| |
 * | `"absmax"` | above max\|w\| / 2 | max\|w\| |
 * | `"twn"` | above 0.7 mean\|w\| | mean\|w\| of the kept |
 * | `"percentile"` | above the percentile of \|w\| | mean\|w\| of the kept |
 * | `"meanStd"` | above mean\|w\| + k std\|w\| | mean\|w\| of the kept |
 * | `"manual"` | above `threshold` | mean\|w\| of the kept |
 *
 * A scale that would be 0 is 1. absmean is the rule of BitNet b1.58 (arXiv:2402.17764), twn that of
 * Ternary Weight Networks (arXiv:1605.04711).
 */
export type QuantizeConfig =
  & QuantizeScaleConfig
  & (
    | { method?: "absmean" | "absmax" | "twn" | undefined }
    | {
      method: "percentile";
      /** From 0 to 100: about this share of the weights becomes 0. */
      percentile: number;
    }
    | {
      method: "meanStd";
      /** Standard deviations above the mean; may be negative. */
      k: number;
    }
    | {
      method: "manual";
      /** Largest |w| that becomes 0. */
      threshold: number;
    }
  );

/** Name of a rule that turns weights into trits. */
export type QuantizeMethod = NonNullable<QuantizeConfig["method"]>;

/** In the order of the native library's method numbers. */
const METHODS = ["absmean", "absmax", "twn", "percentile", "meanStd", "manual"] as const;
const SCALES = ["method", "leastSquares"] as const;

/** Trits and scales with the sizes that belong to them. */
export interface Ternarized {
  ternary: Int8Array<ArrayBuffer>;
  scales: Float32Array<ArrayBuffer>;
  shape: readonly [number, number];
  groupSize: number;
}

/** The one number that some methods take. */
function methodArgument(method: QuantizeMethod, config: QuantizeConfig): number {
  const given = config as { percentile?: unknown; k?: unknown; threshold?: unknown };
  if (method === "percentile") {
    return checkNumber(given.percentile, "percentile", { min: 0, max: 100 });
  }
  if (method === "meanStd") return checkNumber(given.k, "k");
  if (method === "manual") return checkNumber(given.threshold, "threshold", { min: 0 });
  return 0;
}

/**
 * Returns the rows and columns of weights: those asked for, or those that a tensor has.
 *
 * A tensor with two axes must not be read as another shape: that would be a mistake, and a silent one.
 */
export function matrixShape(
  weights: { readonly shape: readonly number[] } | Float32Array,
  shape: readonly [number, number] | undefined,
): readonly [number, number] {
  const own = ArrayBuffer.isView(weights) ? undefined : weights.shape;
  if (own !== undefined && shape === undefined) {
    if (own.length === 2) return own as readonly [number, number];
    throw tritterError(
      "invalid_shape",
      `weights must have 2 axes where shape is left out, got [${own.join(", ")}]`,
    );
  }
  const asked = checkShape(shape, "shape", 2) as readonly [number, number];
  if (own?.length === 2 && (own[0] !== asked[0] || own[1] !== asked[1])) {
    throw tritterError(
      "invalid_shape",
      `shape must be that of weights, [${own.join(", ")}], got [${asked.join(", ")}]`,
    );
  }
  return asked;
}

/** Checked arguments of a quantisation, as the native library takes them. */
export interface QuantizeRequest {
  floats: Float32Array;
  rows: number;
  cols: number;
  groupSize: number;
  options: Float64Array<ArrayBuffer>;
}

/** Checks what a caller gave to have weights quantised. */
export function quantizeRequest(
  weights: Float32Array | Tensor,
  shape: readonly [number, number] | undefined,
  config: QuantizeConfig,
): QuantizeRequest {
  const floats = floatsOf(weights, "weights");
  const [rows, cols] = matrixShape(weights, shape);
  checkLength(floats.length, rows, cols);
  const groupSize = config.groupSize === undefined
    ? cols
    : checkCount(config.groupSize, "groupSize", { min: 1 });
  if (cols % groupSize !== 0) {
    throw tritterError(
      "invalid_option",
      `groupSize must divide the ${cols} columns, got ${groupSize}`,
    );
  }
  const method = checkChoice(config.method, METHODS, "method", "absmean");
  const scale = checkChoice(config.scale, SCALES, "scale", "method");
  const options = Float64Array.of(
    rows,
    cols,
    groupSize,
    METHODS.indexOf(method),
    SCALES.indexOf(scale),
    methodArgument(method, config),
  );
  return { floats, rows, cols, groupSize, options };
}

/** Quantises a [rows, columns] matrix by any of the methods, into `out` where it is given. */
export function ternarize(
  weights: Float32Array | Tensor,
  shape: readonly [number, number] | undefined,
  config: QuantizeConfig,
  out?: Int8Array,
): Ternarized {
  const { floats, rows, cols, groupSize, options } = quantizeRequest(weights, shape, config);
  const ternary =
    (out === undefined
      ? new Int8Array(rows * cols)
      : checkArray(out, Int8Array, "out", rows * cols)) as Int8Array<ArrayBuffer>;
  const scales = new Float32Array(rows * (cols / groupSize));
  check(native.quantize_weights(
    floats,
    floats.length,
    ternary,
    ternary.length,
    scales,
    scales.length,
    options,
    options.length,
  ));
  return { ternary, scales, shape: Object.freeze([rows, cols] as const), groupSize };
}

function checkLength(length: number, rows: number, cols: number): void {
  if (length === rows * cols) return;
  throw tritterError(
    "invalid_length",
    `weights must have ${rows} x ${cols} = ${rows * cols} elements, got ${length}`,
  );
}

/**
 * Quantises weights to -1, 0, +1 by the absmean rule of BitNet b1.58, with a scale per row or group.
 *
 * The scale s is mean|w| (1 if all are zero); a weight becomes +1 where w/s >= 0.5 and -1 where
 * w/s <= -0.5. `scales` holds the groups of row 0, then those of row 1, and so on. `out`, as
 * long as the weights, takes the trits instead of a new array; it must not overlap the weights.
 * Throws `invalid_value` for NaN or infinite weights; `out` holds nothing of use then. Source:
 * arXiv:2402.17764.
 *
 * @example
 * ```ts
 * import { quantizeWeightsAbsmean } from "tritter-accel";
 *
 * const weights = Float32Array.of(0.5, -0.3, 0.1, 0.8, -0.2, 0.6, -0.7, 0.4);
 * const { ternary, scales } = quantizeWeightsAbsmean(weights, [2, 4]);
 * console.log(ternary); // 1 -1 0 1 0 1 -1 1
 * console.log(scales); // 0.425 0.475
 * ```
 */
export function quantizeWeightsAbsmean(
  weights: Float32Array,
  shape: readonly [number, number],
  options?: { groupSize?: number | undefined; out?: Int8Array | undefined },
): { ternary: Int8Array<ArrayBuffer>; scales: Float32Array<ArrayBuffer> } {
  const { groupSize, out } = checkOptions(options, "options");
  const { ternary, scales } = ternarize(weights, shape, { groupSize }, out);
  return { ternary, scales };
}
