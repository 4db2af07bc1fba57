// Norms, clipping and overflow of gradients.

import { checkChoice, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { floatsHandle } from "../nn/device_memory.ts";
import { Tensor } from "../tensor.ts";
import { checkAllGradients, type Gradients, type TensorGradients } from "./gradients.ts";

/** What `clipByValue` does with NaN. */
export interface ClipByValueOptions {
  /** `"keep"` leaves NaN for the overflow check to find, `"zero"` makes it 0. Default: `"keep"`. */
  nan?: "keep" | "zero" | undefined;
}

const F32_MAX = (2 - 2 ** -23) * 2 ** 127;

const oneSum = new Float64Array(1);
const oneWord = new Uint32Array(1);

/** The places in a list of the tensors of each device, and what the library calls them. */
function tensorsByDevice(
  list: readonly (Float32Array | Tensor)[],
): { places: number[]; handles: BigUint64Array }[] {
  const groups = Map.groupBy(
    list.keys().filter((place) => list[place] instanceof Tensor),
    (place) => (list[place] as Tensor).device,
  );
  return [...groups.values()].map((places) => ({
    places,
    handles: BigUint64Array.from(
      places,
      (place) => floatsHandle(list[place] as Tensor, "gradients"),
    ),
  }));
}

/** The index of the first NaN or infinity, or -1. */
function findOverflow(values: Float32Array | Tensor): number {
  if (values instanceof Tensor) {
    check(native.cuda_floats_find_not_finite(floatsHandle(values, "gradients"), oneSum, 1));
    return oneSum[0] === values.size ? -1 : oneSum[0]!;
  }
  if (values.length === 0) return -1;
  check(native.floats_find_not_finite(values, values.length, oneWord, 1));
  return oneWord[0] === values.length ? -1 : oneWord[0]!;
}

/**
 * Returns whether any gradient is NaN or infinite.
 *
 * One pass over the arrays on all threads, which ends at the first one found. Tensors are looked at on
 * the device where they are.
 *
 * @example
 * ```ts
 * import { hasOverflow } from "tritter-accel";
 *
 * console.log(hasOverflow([Float32Array.of(1, 2), Float32Array.of(3, NaN)])); // true
 * ```
 */
export function hasOverflow(gradients: Gradients | TensorGradients): boolean {
  return checkAllGradients(gradients, "gradients").some((values) => findOverflow(values) >= 0);
}

/** Throws `invalid_value` naming the place where gradients are not finite. */
export function checkFiniteGradients(list: readonly Float32Array[], name: string): void {
  list.forEach((values, at) => {
    const index = findOverflow(values);
    if (index < 0) return;
    const where = list.length === 1 ? `${name}[${index}]` : `${name}[${at}][${index}]`;
    throw tritterError("invalid_value", `${where} must be finite, got ${values[index]}`);
  });
}

/** Multiplies in place; returns whether any product is NaN or infinite. */
export function scaleInPlace(
  list: readonly (Float32Array | Tensor)[],
  factor: number,
): boolean {
  let overflow = false;
  for (const { handles } of tensorsByDevice(list)) {
    check(native.cuda_floats_scale_all(handles, handles.length, factor, oneWord, 1));
    overflow ||= oneWord[0] === 1;
  }
  for (const values of list) {
    if (values instanceof Tensor || values.length === 0) continue;
    check(native.floats_scale(values, values.length, factor, oneWord, 1));
    overflow ||= oneWord[0] === 1;
  }
  return overflow;
}

/**
 * Returns the Euclidean norm over all elements of all arrays.
 *
 * The squares are summed in float64 and in an order that depends on neither the machine nor the number
 * of threads, so that the norm is the same to the last bit everywhere, and no sum overflows. NaN or
 * infinite where a gradient is. That of tensors on a device has the same bits.
 *
 * @example
 * ```ts
 * import { globalNorm } from "tritter-accel";
 *
 * console.log(globalNorm([Float32Array.of(3), Float32Array.of(0, 4)])); // 5
 * ```
 */
export function globalNorm(gradients: Gradients | TensorGradients): number {
  const list = checkAllGradients(gradients, "gradients");
  const sums = new Float64Array(list.length);
  for (const { places, handles } of tensorsByDevice(list)) {
    const found = new Float64Array(handles.length);
    check(native.cuda_floats_sum_squares_all(handles, handles.length, found, found.length));
    places.forEach((place, index) => sums[place] = found[index]!);
  }
  list.forEach((values, place) => {
    if (values instanceof Tensor || values.length === 0) return;
    check(native.floats_sum_squares(values, values.length, oneSum, 1));
    sums[place] = oneSum[0]!;
  });
  // In the order of the list, wherever they are.
  return Math.sqrt(sums.reduce((total, sum) => total + sum, 0));
}

/**
 * Scales gradients in place so that their global norm is at most `maxNorm`, and returns the norm that
 * they had.
 *
 * Where the norm is NaN or infinite the gradients are left as they are, for no factor would mend them:
 * look at the returned norm, or ask `hasOverflow`, and skip the step. Each product is rounded once.
 *
 * @example
 * ```ts
 * import { clipByGlobalNorm } from "tritter-accel";
 *
 * const gradients = [Float32Array.of(3), Float32Array.of(0, 4)];
 * console.log(clipByGlobalNorm(gradients, 1)); // 5
 * console.log(gradients[0]![0], gradients[1]![1]); // 0.6 0.8, to float32
 * ```
 */
export function clipByGlobalNorm(
  gradients: Gradients | TensorGradients,
  maxNorm: number,
): number {
  const list = checkAllGradients(gradients, "gradients");
  checkNumber(maxNorm, "maxNorm", { min: 0 });
  const norm = globalNorm(gradients);
  if (Number.isFinite(norm) && norm > maxNorm) scaleInPlace(list, maxNorm / norm);
  return norm;
}

/**
 * Moves gradients outside of `min` to `max` to these bounds, in place; infinities become bounds.
 *
 * NaN stays NaN, so that an overflow check still finds it, or becomes 0 with `{ nan: "zero" }` (and
 * then a bound, where 0 is outside of them). The bounds are rounded to float32.
 *
 * @example
 * ```ts
 * import { clipByValue } from "tritter-accel";
 *
 * const gradients = Float32Array.of(-3, 0.5, Infinity, NaN);
 * clipByValue(gradients, -1, 1, { nan: "zero" });
 * console.log(gradients); // -1 0.5 1 0
 * ```
 */
export function clipByValue(
  gradients: Gradients | TensorGradients,
  min: number,
  max: number,
  options?: ClipByValueOptions,
): void {
  const nan = checkChoice(checkOptions(options, "options").nan, ["keep", "zero"], "nan", "keep");
  const list = checkAllGradients(gradients, "gradients");
  checkNumber(min, "min", { min: -F32_MAX, max: F32_MAX });
  checkNumber(max, "max", { min: -F32_MAX, max: F32_MAX });
  if (min > max) {
    throw tritterError("invalid_value", `min must be at most max, ${max}, got ${min}`);
  }
  const nanToZero = Number(nan === "zero");
  for (const values of list) {
    if (values instanceof Tensor) {
      check(native.cuda_floats_clip(floatsHandle(values, "gradients"), min, max, nanToZero));
    } else if (values.length > 0) {
      check(native.floats_clip(values, values.length, min, max, nanToZero));
    }
  }
}
