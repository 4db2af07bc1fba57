// Half precision: bf16 and f16, as 16-bit words.

import { checkArray, checkOptions } from "../checks.ts";
import { check, native } from "../native/library.ts";

/** Where 16-bit floats go. */
export interface HalfOutOptions {
  /** Takes the words, as many as there are values, instead of a new array. */
  out?: Uint16Array | undefined;
}

/** Where the values of 16-bit floats go. */
export interface FloatOutOptions {
  /** Takes the values, as many as there are words, instead of a new array. */
  out?: Float32Array | undefined;
}

/** The library's numbers for the formats. */
const F16 = 1;
const BF16 = 2;

function narrow(values: Float32Array, options: HalfOutOptions | undefined, float: number) {
  const { out } = checkOptions(options, "options");
  checkArray(values, Float32Array, "values");
  const length = values.length;
  const words = out === undefined
    ? new Uint16Array(length)
    : checkArray(out, Uint16Array, "out", length);
  if (length > 0) check(native.floats_narrow(values, length, words, length, float));
  return words as Uint16Array<ArrayBuffer>;
}

function widen(words: Uint16Array, options: FloatOutOptions | undefined, float: number) {
  const { out } = checkOptions(options, "options");
  checkArray(words, Uint16Array, "words");
  const length = words.length;
  const values = out === undefined
    ? new Float32Array(length)
    : checkArray(out, Float32Array, "out", length);
  if (length > 0) check(native.floats_widen(words, length, values, length, float));
  return values as Float32Array<ArrayBuffer>;
}

/**
 * Rounds floats to bfloat16: 1 sign, 8 exponent and 7 fraction bits, the upper half of a float32.
 *
 * To nearest, ties to even. NaN stays NaN (quiet, with the upper bits of its payload), infinities
 * stay, and what rounds beyond the largest bfloat16 (3.39e38) becomes infinite. `out` must not overlap
 * the values.
 *
 * @example
 * ```ts
 * import { fromBf16, toBf16 } from "tritter-accel";
 *
 * const words = toBf16(Float32Array.of(3.14159, -1));
 * console.log(words[0]!.toString(16)); // 4049
 * console.log(fromBf16(words)); // 3.140625 -1
 * ```
 */
export function toBf16(values: Float32Array, options?: HalfOutOptions): Uint16Array<ArrayBuffer> {
  return narrow(values, options, BF16);
}

/**
 * Returns the values of bfloat16 words; every one of them is a float32.
 *
 * @example
 * ```ts
 * import { fromBf16 } from "tritter-accel";
 *
 * console.log(fromBf16(Uint16Array.of(0x3f80, 0xc000))); // 1 -2
 * ```
 */
export function fromBf16(words: Uint16Array, options?: FloatOutOptions): Float32Array<ArrayBuffer> {
  return widen(words, options, BF16);
}

/**
 * Rounds floats to IEEE 754 half precision: 1 sign, 5 exponent and 10 fraction bits.
 *
 * To nearest, ties to even. Below 6.1e-5 there are subnormal numbers, down to 6e-8. NaN stays NaN
 * (quiet, with the upper bits of its payload), infinities stay, and from 65,520 on values become
 * infinite: scale the loss (`LossScaler`) or clip first. `out` must not overlap the values.
 *
 * @example
 * ```ts
 * import { fromF16, toF16 } from "tritter-accel";
 *
 * const words = toF16(Float32Array.of(0.1, 65504, 65520));
 * console.log(fromF16(words)); // 0.0999755859375 65504 Infinity
 * ```
 */
export function toF16(values: Float32Array, options?: HalfOutOptions): Uint16Array<ArrayBuffer> {
  return narrow(values, options, F16);
}

/**
 * Returns the values of half-precision words; every one of them is a float32.
 *
 * @example
 * ```ts
 * import { fromF16 } from "tritter-accel";
 *
 * console.log(fromF16(Uint16Array.of(0x3c00, 0xfc00))); // 1 -Infinity
 * ```
 */
export function fromF16(words: Uint16Array, options?: FloatOutOptions): Float32Array<ArrayBuffer> {
  return widen(words, options, F16);
}
