// A root mean square norm in training.

import { checkArray, checkCount, checkFlag, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { createParameter, FloatBuffer, kept } from "./buffer.ts";
import type { LayerGradient, LayerOutput } from "./trainable_bitlinear.ts";
import type { Parameter } from "./trainable.ts";

/** Options of `TrainableRmsNorm`. */
export interface TrainableRmsNormOptions {
  /** What the parameter's name begins with. Default: `"norm"`. */
  name?: string | undefined;
  /** Added to the mean square. Default: 1e-5. */
  epsilon?: number | undefined;
}

/**
 * A norm that trains: each row over its root mean square, times a weight per feature, which begins
 * at 1.
 *
 * Source: Zhang and Sennrich, arXiv:1910.07467.
 *
 * @example
 * ```ts
 * import { TrainableRmsNorm } from "tritter-accel";
 *
 * const norm = new TrainableRmsNorm(4);
 * console.log(norm.forward(Float32Array.of(2, -2, 2, -2))); // close to 1, -1, 1, -1
 * console.log(norm.backward(Float32Array.of(1, 0, 0, 0)), norm.weight.gradient);
 * ```
 */
export class TrainableRmsNorm {
  /** Numbers in a row. */
  readonly features: number;
  /** The weights, [features]. */
  readonly weight: Parameter<Float32Array>;
  readonly #epsilon: number;
  readonly #output = new FloatBuffer();
  readonly #gradient = new FloatBuffer();
  #input: Float32Array | undefined;

  /** Makes a norm whose weights are 1. */
  constructor(features: number, options?: TrainableRmsNormOptions) {
    const { name = "norm", epsilon = 1e-5 } = checkOptions(options, "options");
    this.features = checkCount(features, "features", { min: 1, max: 2 ** 22 });
    this.#epsilon = checkNumber(epsilon, "epsilon", { min: 0 });
    this.weight = createParameter(`${name}.weight`, [features], {
      decay: false,
      quantized: false,
    });
    this.weight.data.fill(1);
  }

  /** The parameters: the weight alone. */
  get parameters(): readonly Parameter[] {
    return [this.weight];
  }

  /**
   * Applies the norm to each row of [rows, features].
   *
   * The input is kept as it is for `backward`, and must not change until then.
   *
   * @example
   * ```ts
   * import { TrainableRmsNorm } from "tritter-accel";
   *
   * console.log(new TrainableRmsNorm(2).forward(Float32Array.of(3, 3, 0, 0))); // 1, 1, 0, 0 or nearly so
   * ```
   */
  forward(input: Float32Array, options?: LayerOutput): Float32Array {
    const { out } = checkOptions(options, "options");
    checkArray(input, Float32Array, "input");
    if (input.length % this.features !== 0) {
      throw tritterError(
        "invalid_length",
        `input must have a multiple of ${this.features} elements, got ${input.length}`,
      );
    }
    const output = out === undefined
      ? this.#output.take(input.length)
      : checkArray(out, Float32Array, "out", input.length);
    const weight = this.weight.data;
    check(native.rms_norm(
      input,
      input.length,
      weight,
      weight.length,
      output,
      output.length,
      this.#epsilon,
    ));
    this.#input = input;
    return output;
  }

  /**
   * Adds to the weight's gradient and returns the gradient of the last input; `out` may be `gradient`.
   *
   * @example
   * ```ts
   * import { TrainableRmsNorm } from "tritter-accel";
   *
   * const norm = new TrainableRmsNorm(2, { epsilon: 0 });
   * norm.forward(Float32Array.of(3, 4));
   * norm.backward(Float32Array.of(1, 1));
   * console.log(norm.weight.gradient); // about 0.849 1.131
   * ```
   */
  backward(gradient: Float32Array, options?: LayerGradient): Float32Array {
    const { out, accumulate = false } = checkOptions(options, "options");
    const input = kept(this.#input, "TrainableRmsNorm");
    checkArray(gradient, Float32Array, "gradient", input.length);
    const dx = out === undefined
      ? this.#gradient.take(input.length)
      : checkArray(out, Float32Array, "out", input.length);
    const { data, gradient: dw } = this.weight;
    const fields = Float64Array.of(
      this.#epsilon,
      checkFlag(accumulate, "accumulate") ? 1 : 0,
      input.length,
      data.length,
      gradient.length,
      dx.length,
      dw.length,
    );
    check(native.rms_norm_backward(input, data, gradient, dx, dw, fields, fields.length));
    return dx;
  }
}
