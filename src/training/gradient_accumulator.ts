// The mean of the gradients of several micro-batches.

import { checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { scaleInPlace } from "./clip.ts";
import {
  allocate,
  asGiven,
  checkSized,
  checkSizes,
  type Gradients,
  type GradientSizes,
  type GradientsOf,
  type GradientsOutOptions,
  outArrays,
} from "./gradients.ts";

/** How much a micro-batch counts. */
export interface AccumulateOptions {
  /** Weight in the mean, for instance the number of tokens. Default: 1. */
  weight?: number | undefined;
}

const U32_MAX = 2 ** 32 - 1;

/**
 * Adds up the gradients of micro-batches and returns their mean, so that a large batch needs the
 * memory of a small one.
 *
 * Four bytes an element. Every sum and product is computed in float64 and rounded once to float32, in
 * the order of the calls. NaN and infinities pass through into the mean.
 *
 * @example
 * ```ts
 * import { GradientAccumulator } from "tritter-accel";
 *
 * const accumulator = new GradientAccumulator(4);
 * accumulator.accumulate(Float32Array.of(1, 2, 3, 4));
 * accumulator.accumulate(Float32Array.of(2, 4, 6, 8));
 * console.log(accumulator.takeMean()); // 1.5 3 4.5 6
 * ```
 */
export class GradientAccumulator<const S extends GradientSizes = GradientSizes> {
  /** Lengths of the gradients. */
  readonly sizes: S;

  readonly #sizes: readonly number[];
  readonly #sums: readonly Float32Array[];
  #count = 0;
  #weight = 0;

  /** Makes an empty sum for gradients of these lengths. */
  constructor(sizes: S) {
    this.#sizes = checkSizes(sizes, U32_MAX);
    this.sizes = (typeof sizes === "number" ? sizes : Object.freeze([...this.#sizes])) as S;
    this.#sums = this.#sizes.map((size) => allocate(Float32Array, size));
  }

  /** Micro-batches in the sum. */
  get count(): number {
    return this.#count;
  }

  /** Adds the gradients of one micro-batch. */
  accumulate(gradients: Gradients, options?: AccumulateOptions): void {
    const { weight = 1 } = checkOptions(options, "options");
    checkNumber(weight, "weight", { min: 0, max: 2 ** 53 });
    const list = checkSized(gradients, this.#sizes, "gradients");
    list.forEach((values, at) => {
      const sums = this.#sums[at]!;
      check(native.floats_add_scaled(sums, sums.length, values, values.length, weight));
    });
    this.#count += 1;
    this.#weight += weight;
  }

  /** Returns the weighted mean of the micro-batches; throws `invalid_value` where there are none. */
  mean(options?: GradientsOutOptions): GradientsOf<S> {
    const list = outArrays(checkOptions(options, "options").out, this.#sizes);
    if (!(this.#weight > 0)) {
      throw tritterError(
        "invalid_value",
        `the accumulator must have micro-batches of a positive weight, got ${this.#count} of weight ${this.#weight}`,
      );
    }
    list.forEach((values, at) => values.set(this.#sums[at]!));
    if (this.#weight !== 1) scaleInPlace(list, 1 / this.#weight);
    return asGiven(this.sizes, list);
  }

  /** Returns the mean and begins again from nothing. */
  takeMean(options?: GradientsOutOptions): GradientsOf<S> {
    const mean = this.mean(options);
    this.reset();
    return mean;
  }

  /** Forgets all micro-batches. */
  reset(): void {
    for (const sums of this.#sums) sums.fill(0);
    this.#count = 0;
    this.#weight = 0;
  }
}
