// A bag of vectors.

import { boundNgrams, type EncodeNgramsOptions } from "./encodings.ts";
import type { Hypervector } from "./hypervector.ts";
import type { HypervectorBatch } from "./hypervector_batch.ts";
import { checkVectors, type Hypervectors } from "./hypervectors.ts";
import type { HypervectorOptions } from "./options.ts";
import { filled } from "./ownership.ts";
import { checkBatch, checkStructureMode, Superposition } from "./superposition.ts";

/**
 * A set in which a vector may be several times, as one vector (torchhd's Multiset).
 *
 * Adding and removing are exact. It holds dim / 50 unrelated vectors of the same density before `has`
 * errs once in 5000 calls: what they add to `count` has a standard deviation of sqrt(n / dim).
 *
 * @example
 * ```ts
 * import { Hypervector, Multiset } from "tritter-accel";
 *
 * using apple = Hypervector.random(10_000, 1);
 * using pear = Hypervector.random(10_000, 2);
 * using basket = new Multiset(10_000);
 * basket.add(apple);
 * console.log(basket.has(apple), basket.has(pear)); // true false
 * ```
 */
export class Multiset extends Superposition {
  /**
   * Makes an empty one.
   *
   * @example
   * ```ts
   * import { Multiset } from "tritter-accel";
   *
   * using basket = new Multiset(10_000);
   * console.log(basket.size); // 0
   * ```
   */
  constructor(dim: number, options?: HypervectorOptions) {
    super(dim, options);
  }

  /**
   * Makes one of the rows of a batch, or of a single vector.
   *
   * @example
   * ```ts
   * import { HypervectorBatch, Multiset } from "tritter-accel";
   *
   * using basket = Multiset.from(HypervectorBatch.random(5, 10_000, 1));
   * console.log(basket.size); // 5
   * ```
   */
  static from(vectors: Hypervectors, options?: HypervectorOptions): Multiset {
    const multiset = new Multiset(checkVectors(vectors, "vectors").dim, options);
    return filled(multiset, () => multiset.add(vectors));
  }

  /**
   * Makes one of the n-grams of a sequence; see `encodeNgrams`.
   *
   * @example
   * ```ts
   * import { HypervectorBatch, Multiset } from "tritter-accel";
   *
   * using letters = HypervectorBatch.random(5, 10_000, 1, { distribution: "bipolar" });
   * using pairs = Multiset.fromNgrams(letters, 2);
   * console.log(pairs.size); // 4
   * ```
   */
  static fromNgrams(
    vectors: HypervectorBatch,
    n: number,
    options?: HypervectorOptions & Pick<EncodeNgramsOptions, "mode">,
  ): Multiset {
    using grams = boundNgrams(checkBatch(vectors, "vectors"), n, checkStructureMode(options));
    return Multiset.from(grams, options);
  }

  /**
   * Adds one vector, or each row of a batch.
   *
   * @example
   * ```ts
   * import { Hypervector, Multiset } from "tritter-accel";
   *
   * using basket = new Multiset(1000);
   * using apple = Hypervector.random(1000, 1);
   * basket.add(apple);
   * basket.add(apple);
   * console.log(basket.size); // 2
   * ```
   */
  add(vectors: Hypervectors): void {
    this.put(vectors);
  }

  /**
   * Removes one vector once, or each row of a batch.
   *
   * Which vectors were added is not known: removing others leaves a trace that means nothing.
   * Throws `invalid_value` for more vectors than there are.
   *
   * @example
   * ```ts
   * import { Hypervector, Multiset } from "tritter-accel";
   *
   * using apple = Hypervector.random(1000, 1);
   * using basket = Multiset.from(apple);
   * basket.remove(apple);
   * console.log(basket.has(apple)); // false
   * ```
   */
  remove(vectors: Hypervectors): void {
    this.take(checkVectors(vectors, "vectors", this.dim));
  }

  /**
   * Returns whether a vector is probably a member: its `count` is above 0.5.
   *
   * @example
   * ```ts
   * import { HypervectorBatch, Multiset } from "tritter-accel";
   *
   * using vectors = HypervectorBatch.random(20, 10_000, 1);
   * using basket = Multiset.from(vectors);
   * console.log(basket.has(vectors.get(7))); // true
   * ```
   */
  has(vector: Hypervector): boolean {
    return this.multiplicity(vector) > 0.5;
  }

  /**
   * Returns an estimate of how many times a vector is a member; 0 for one of zeros.
   *
   * It is the dot product of the vector with the sum of the members, over that with itself.
   *
   * @example
   * ```ts
   * import { Hypervector, Multiset } from "tritter-accel";
   *
   * using apple = Hypervector.random(10_000, 1);
   * using basket = Multiset.from(Hypervector.random(10_000, 2));
   * basket.add(apple);
   * basket.add(apple);
   * console.log(Math.round(basket.count(apple))); // 2
   * ```
   */
  count(vector: Hypervector): number {
    return this.multiplicity(vector);
  }

  /**
   * Returns the cosine of a vector with the sum of the members, from -1 to 1.
   *
   * @example
   * ```ts
   * import { Hypervector, Multiset } from "tritter-accel";
   *
   * using apple = Hypervector.random(10_000, 1);
   * using basket = Multiset.from(apple);
   * console.log(basket.similarity(apple).toFixed(3)); // 1.000
   * ```
   */
  similarity(vector: Hypervector): number {
    return this.cosine(vector);
  }
}
