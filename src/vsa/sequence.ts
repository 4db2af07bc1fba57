// A sequence by position.

import { checkCount, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { checkVector, type Hypervector } from "./hypervector.ts";
import type { HypervectorBatch } from "./hypervector_batch.ts";
import type { HypervectorOptions, OutOptions } from "./options.ts";
import { filled } from "./ownership.ts";
import { checkBatch, Superposition } from "./superposition.ts";

/**
 * A sequence as one vector: the sum of its vectors, vector i permuted cyclically by i.
 *
 * `get` returns a vector and noise from the others: find the nearest known one with an `ItemMemory`.
 * Adding and removing, at both ends, are exact. Source: BundleSequence of torchhd; here the first
 * vector, not the last, is the one that is not permuted.
 *
 * @example
 * ```ts
 * import { HypervectorBatch, Sequence } from "tritter-accel";
 *
 * using letters = HypervectorBatch.random(26, 10_000, 1, { distribution: "bipolar" });
 * using word = new Sequence(10_000);
 * for (const letter of "kanerva") word.append(letters.get(letter.charCodeAt(0) - 97));
 * using third = word.get(2);
 * const scores = letters.similarity(third);
 * console.log(scores.indexOf(Math.max(...scores)) === "n".charCodeAt(0) - 97); // true
 * ```
 */
export class Sequence extends Superposition {
  /** The permutation of the first vector. */
  #first = 0;

  /**
   * Makes an empty one.
   *
   * @example
   * ```ts
   * import { Sequence } from "tritter-accel";
   *
   * using word = new Sequence(10_000);
   * console.log(word.size); // 0
   * ```
   */
  constructor(dim: number, options?: HypervectorOptions) {
    super(dim, options);
  }

  /**
   * Makes one of the rows of a batch.
   *
   * @example
   * ```ts
   * import { HypervectorBatch, Sequence } from "tritter-accel";
   *
   * using word = Sequence.from(HypervectorBatch.random(7, 10_000, 1));
   * console.log(word.size); // 7
   * ```
   */
  static from(vectors: HypervectorBatch, options?: HypervectorOptions): Sequence {
    const sequence = new Sequence(checkBatch(vectors, "vectors").dim, options);
    return filled(sequence, () => {
      for (let row = 0; row < vectors.count; row++) {
        using vector = vectors.get(row);
        sequence.append(vector);
      }
    });
  }

  /**
   * Adds a vector at the end.
   *
   * @example
   * ```ts
   * import { Hypervector, Sequence } from "tritter-accel";
   *
   * using word = new Sequence(1000);
   * word.append(Hypervector.random(1000, 1));
   * console.log(word.size); // 1
   * ```
   */
  append(vector: Hypervector): void {
    using shifted = this.#shifted(vector, this.size);
    this.put(shifted);
  }

  /**
   * Adds a vector at the beginning: it becomes number 0.
   *
   * @example
   * ```ts
   * import { Hypervector, Sequence } from "tritter-accel";
   *
   * using a = Hypervector.random(1000, 1);
   * using word = new Sequence(1000);
   * word.appendLeft(a);
   * console.log(word.get(0).equals(a)); // true
   * ```
   */
  appendLeft(vector: Hypervector): void {
    using shifted = this.#shifted(vector, -1);
    this.put(shifted);
    this.#first -= 1;
  }

  /**
   * Removes the last vector, which must be given: the trace does not know its trits.
   *
   * @example
   * ```ts
   * import { Hypervector, Sequence } from "tritter-accel";
   *
   * using a = Hypervector.random(1000, 1);
   * using word = new Sequence(1000);
   * word.append(a);
   * word.pop(a);
   * console.log(word.size); // 0
   * ```
   */
  pop(vector: Hypervector): void {
    using shifted = this.#shifted(vector, this.size - 1);
    this.take(shifted);
  }

  /**
   * Removes the first vector, which must be given: the trace does not know its trits.
   *
   * @example
   * ```ts
   * import { HypervectorBatch, Sequence } from "tritter-accel";
   *
   * using letters = HypervectorBatch.random(2, 1000, 1);
   * using word = Sequence.from(letters);
   * word.popLeft(letters.get(0));
   * console.log(word.get(0).equals(letters.get(1))); // true
   * ```
   */
  popLeft(vector: Hypervector): void {
    using shifted = this.#shifted(vector, 0);
    this.take(shifted);
    this.#first += 1;
  }

  /**
   * Replaces vector number `index`, which must be given.
   *
   * @example
   * ```ts
   * import { HypervectorBatch, Sequence } from "tritter-accel";
   *
   * using letters = HypervectorBatch.random(2, 1000, 1);
   * using word = new Sequence(1000);
   * word.append(letters.get(0));
   * word.replace(0, letters.get(0), letters.get(1));
   * console.log(word.get(0).equals(letters.get(1))); // true
   * ```
   */
  replace(index: number, previous: Hypervector, next: Hypervector): void {
    this.#checkIndex(index);
    using removed = this.#shifted(previous, index);
    using added = this.#shifted(next, index);
    this.take(removed);
    this.put(added);
  }

  /**
   * Returns vector number `index`, from 0, with noise from the others.
   *
   * Throws `invalid_value` for an index outside the sequence. `out` takes the result instead of new
   * memory.
   *
   * @example
   * ```ts
   * import { HypervectorBatch, Sequence } from "tritter-accel";
   *
   * using letters = HypervectorBatch.random(3, 10_000, 1, { distribution: "bipolar" });
   * using word = Sequence.from(letters);
   * using second = word.get(1);
   * console.log(second.cosine(letters.get(1)).toFixed(1)); // 0.5
   * ```
   */
  get(index: number, options?: OutOptions<Hypervector>): Hypervector {
    this.#checkIndex(index);
    return this.trace.permute(-(this.#first + index), checkOptions(options, "options"));
  }

  /**
   * Returns the sequence as one vector: the signs of the sums, 0 where they are 0.
   *
   * @example
   * ```ts
   * import { encodeSequence, HypervectorBatch, Sequence } from "tritter-accel";
   *
   * using letters = HypervectorBatch.random(3, 1000, 1);
   * using word = Sequence.from(letters);
   * console.log(word.toHypervector().equals(encodeSequence(letters))); // true
   * ```
   */
  override toHypervector(options?: OutOptions<Hypervector>): Hypervector {
    return this.trace.permute(-this.#first, checkOptions(options, "options"));
  }

  /** Forgets everything. */
  override clear(): void {
    super.clear();
    this.#first = 0;
  }

  #shifted(vector: Hypervector, index: number): Hypervector {
    return checkVector(vector, "vector", this.dim).permute(this.#first + index);
  }

  #checkIndex(index: number): void {
    if (this.size === 0) throw tritterError("invalid_value", "The sequence must not be empty");
    checkCount(index, "index", { max: this.size - 1 });
  }
}
