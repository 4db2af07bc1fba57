// Activations as the linear layers of BitNet models see them.

import { checkArray, checkCount } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";

/**
 * Activations rounded to 8 bits token by token, for several `TrainableBitLinear` layers to share.
 *
 * A token x becomes round(127 x / m) with the scale m / 127, where m is its largest magnitude and at
 * least 1e-5, as in the training of Hugging Face's BitNet models; ties go to the even integer. The
 * arrays are reused by the next call of `quantize`.
 *
 * @example
 * ```ts
 * import { QuantizedTokens } from "tritter-accel";
 *
 * const tokens = new QuantizedTokens(4).quantize(Float32Array.of(1, -0.5, 0, 0.25));
 * console.log(tokens.values, tokens.count); // Int8Array(4) [ 127, -64, 0, 32 ] 1
 * ```
 */
export class QuantizedTokens {
  /** Activations of a token. */
  readonly features: number;
  #values = new Int8Array(0);
  #scales = new Float32Array(0);
  #sums = new Int32Array(0);

  /** Makes room for tokens of `features` activations; none are there yet. */
  constructor(features: number) {
    this.features = checkCount(features, "features", { min: 1, max: 2 ** 22 });
  }

  /** How many tokens there are. */
  get count(): number {
    return this.#scales.length;
  }

  /** The rounded activations, [count, features]. */
  get values(): Int8Array {
    return this.#values;
  }

  /** What a token's values are multiplied by. */
  get scales(): Float32Array {
    return this.#scales;
  }

  /** The sum of a token's values. */
  get sums(): Int32Array {
    return this.#sums;
  }

  /**
   * Rounds activations [count, features] and returns this object.
   *
   * Throws `invalid_value` naming the first activation that is not finite.
   *
   * @example
   * ```ts
   * import { QuantizedTokens } from "tritter-accel";
   *
   * console.log(new QuantizedTokens(2).quantize(Float32Array.of(1, 2, 3, 4)).count); // 2
   * ```
   */
  quantize(input: Float32Array): this {
    checkArray(input, Float32Array, "input");
    const count = input.length / this.features;
    if (!Number.isInteger(count)) {
      throw tritterError(
        "invalid_length",
        `input must have a multiple of ${this.features} elements, got ${input.length}`,
      );
    }
    if (this.#scales.length !== count) {
      this.#values = new Int8Array(input.length);
      this.#scales = new Float32Array(count);
      this.#sums = new Int32Array(count);
    }
    check(native.bitlinear_quantize_tokens(
      input,
      input.length,
      this.features,
      this.#values,
      this.#values.length,
      this.#scales,
      this.#sums,
      count,
    ));
    return this;
  }
}
