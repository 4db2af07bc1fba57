// Rotary positions in training.

import { checkArray, checkCount, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";

/** Cosines, sines and sines to turn back with, [length, frequencies]. */
export function ropeTables(
  frequencies: Float32Array,
  length: number,
): readonly [cos: Float32Array, sin: Float32Array, back: Float32Array] {
  const size = length * frequencies.length;
  const [cos, sin] = [new Float32Array(size), new Float32Array(size)];
  check(native.rope_tables(frequencies, frequencies.length, 1, cos, size, sin));
  return [cos, sin, sin.map((value) => -value)];
}

/** Options of `RotaryEmbedding`. */
export interface RotaryEmbeddingOptions {
  /** The angle per position of each pair of a head's numbers. Default: `theta`^(-2 i / headDim). */
  frequencies?: Float32Array | undefined;
  /** Base of the default frequencies. Default: 10,000. */
  theta?: number | undefined;
}

/**
 * Turns the pairs (i, i + headDim / 2) of each head by its token's position times a frequency.
 *
 * The sines and cosines of the longest text so far are kept. Source: Su et al., arXiv:2104.09864, in
 * the arrangement of Hugging Face's models.
 *
 * @example
 * ```ts
 * import { RotaryEmbedding } from "tritter-accel";
 *
 * const rotary = new RotaryEmbedding(2);
 * const queries = Float32Array.of(1, 0, 1, 0); // two tokens of one head of two numbers
 * rotary.forward(queries, 2);
 * console.log(queries); // 1, 0, then cos 1 and sin 1
 * ```
 */
export class RotaryEmbedding {
  /** Numbers of a head, even. */
  readonly headDim: number;
  readonly #frequencies: Float32Array;
  #positions = 0;
  #cos: Float32Array = new Float32Array(0);
  #sin: Float32Array = new Float32Array(0);
  #backward: Float32Array = new Float32Array(0);

  /** Makes the rotation of heads of `headDim` numbers. */
  constructor(headDim: number, options?: RotaryEmbeddingOptions) {
    const { frequencies, theta = 10_000 } = checkOptions(options, "options");
    this.headDim = checkCount(headDim, "headDim", { min: 2, max: 2 ** 14 });
    if (headDim % 2 !== 0) {
      throw tritterError("invalid_value", `headDim must be even, got ${headDim}`);
    }
    this.#frequencies = frequencies === undefined
      ? Float32Array.from({ length: headDim / 2 }, (_, index) => theta ** (-2 * index / headDim))
      : new Float32Array(checkArray(frequencies, Float32Array, "frequencies", headDim / 2));
  }

  /**
   * Turns, in place, tokens of one or more texts of `length` tokens: [texts, length, heads, headDim].
   *
   * @example
   * ```ts
   * import { RotaryEmbedding } from "tritter-accel";
   *
   * new RotaryEmbedding(32).forward(new Float32Array(2 * 5 * 3 * 32), 5, { heads: 3 });
   * ```
   */
  forward(values: Float32Array, length: number, options?: { heads?: number | undefined }): void {
    this.#turn(values, length, options, false);
  }

  /**
   * Turns gradients back, in place.
   *
   * @example
   * ```ts
   * import { RotaryEmbedding } from "tritter-accel";
   *
   * const rotary = new RotaryEmbedding(2);
   * const values = Float32Array.of(3, 4, 3, 4);
   * rotary.forward(values, 2);
   * rotary.backward(values, 2);
   * console.log(values); // 3, 4, 3, 4 or nearly so
   * ```
   */
  backward(values: Float32Array, length: number, options?: { heads?: number | undefined }): void {
    this.#turn(values, length, options, true);
  }

  #turn(
    values: Float32Array,
    length: number,
    options: { heads?: number | undefined } | undefined,
    back: boolean,
  ): void {
    const { heads = 1 } = checkOptions(options, "options");
    checkArray(values, Float32Array, "values");
    checkCount(length, "length", { min: 1, max: 2 ** 20 });
    checkCount(heads, "heads", { min: 1 });
    this.#reach(length);
    const sin = back ? this.#backward : this.#sin;
    const fields = Float64Array.of(
      length,
      heads,
      this.headDim,
      values.length,
      this.#cos.length,
      sin.length,
    );
    check(native.rope_turn(values, this.#cos, sin, fields, fields.length));
  }

  /** Computes sines and cosines up to a text's length. */
  #reach(length: number): void {
    if (length <= this.#positions) return;
    [this.#cos, this.#sin, this.#backward] = ropeTables(this.#frequencies, length);
    this.#positions = length;
  }
}
