// From float activations to signed bytes.

import { checkArray, checkOptions, checkShape } from "../checks.ts";
import { check, native } from "../native/library.ts";

/**
 * Quantises each row of activations to signed bytes by its largest absolute value.
 *
 * The scale of a row is max|x| / 127 (1 for a row of zeros); values are rounded to the nearest
 * integer, ties to even, and lie within -127 and 127. `out`, as long as the activations, takes the
 * bytes instead of a new array; it must not overlap the activations. Throws `invalid_value` naming
 * the index for NaN or infinite activations; `out` holds nothing of use then.
 *
 * @example
 * ```ts
 * import { quantizeActivationsAbsmax } from "tritter-accel";
 *
 * const row = Float32Array.of(0.5, -1.2, 0.25, 2);
 * const { quantized, scales } = quantizeActivationsAbsmax(row, [1, 4]);
 * console.log(quantized); // 32 -76 16 127
 * console.log(scales); // 0.015748031
 * ```
 */
export function quantizeActivationsAbsmax(
  activations: Float32Array,
  shape: readonly [number, number],
  options?: { out?: Int8Array | undefined },
): { quantized: Int8Array<ArrayBuffer>; scales: Float32Array<ArrayBuffer> } {
  const { out } = checkOptions(options, "options");
  const [batch, features] = checkShape(shape, "shape", 2) as [number, number];
  checkArray(activations, Float32Array, "activations", batch * features);
  const quantized =
    (out === undefined
      ? new Int8Array(batch * features)
      : checkArray(out, Int8Array, "out", batch * features)) as Int8Array<ArrayBuffer>;
  const scales = new Float32Array(batch);
  check(native.quantize_activations(
    activations,
    activations.length,
    features,
    quantized,
    quantized.length,
    scales,
    batch,
  ));
  return { quantized, scales };
}
