// Sums of hypervectors that can grow and shrink.

import { checkArray, checkCount, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import { checkOut, signOf, type SignOptions } from "./bundling.ts";
import { Hypervector } from "./hypervector.ts";
import { checkVectors, handleOf, type Hypervectors } from "./hypervectors.ts";
import { checkDim, deviceOf, type HypervectorOptions, type Tie } from "./options.ts";
import { settled } from "./ownership.ts";

/** How counts become trits: as in bundling, but no vector is the first. */
export interface BundlerResultOptions extends Omit<SignOptions<Hypervector>, "tie"> {
  /** What a count of zero becomes. Default: `"zero"`. */
  tie?: Exclude<Tie, "first"> | undefined;
}

const RESULT_TIES: readonly Tie[] = ["zero", "positive", "random"];
const WEIGHT_MAX = 2 ** 31 - 1;

const newHandle = new BigUint64Array(1);
const oneScore = new Float64Array(1);

/**
 * A sum of hypervectors that keeps the exact integer of every trit, so that vectors can be added, taken
 * off again and weighted by integers.
 *
 * Four bytes a trit in native memory, where a `Hypervector` takes two bits; batches are added much
 * faster than single vectors. It owns native memory: declare it with `using` or call
 * `[Symbol.dispose]()`; every use after that throws `disposed`.
 *
 * @example
 * ```ts
 * import { Bundler, Hypervector } from "tritter-accel";
 *
 * using bundler = new Bundler(10_000);
 * using cat = Hypervector.random(10_000, 1);
 * using dog = Hypervector.random(10_000, 2);
 * bundler.add(cat);
 * bundler.add(dog, 2);
 * bundler.remove(cat);
 * using result = bundler.result();
 * console.log(result.equals(dog)); // true
 * ```
 */
export class Bundler implements Disposable {
  /** Trits of each vector. */
  readonly dim: number;
  /** Where the counts are. */
  readonly device: "cpu";

  readonly #handle: NativeHandle;
  #total = 0;

  /**
   * Makes a sum of nothing.
   *
   * @example
   * ```ts
   * import { Bundler } from "tritter-accel";
   *
   * using bundler = new Bundler(10_000);
   * console.log(bundler.total); // 0
   * ```
   */
  constructor(dim: number, options?: HypervectorOptions) {
    this.device = deviceOf(options);
    this.dim = checkDim(dim);
    check(native.counters_create(dim, newHandle, 1));
    this.#handle = new NativeHandle(newHandle[0]!, "Bundler");
  }

  /** Sum of the weights of all vectors added, less those removed. */
  get total(): number {
    return this.#total;
  }

  /** Memory of the counts, in bytes: 4 bytes a trit, in blocks of 512 trits. */
  get memoryBytes(): number {
    return Math.ceil(this.dim / 512) * 2048;
  }

  /**
   * Adds a vector, or each of a batch, times an integer weight from -(2^31 - 1) to 2^31 - 1.
   *
   * Throws `invalid_value`, and adds nothing, where the largest size of a count, and as much as all
   * vectors together could bring, passes 2^31 - 1.
   *
   * @example
   * ```ts
   * import { Bundler, HypervectorBatch } from "tritter-accel";
   *
   * using bundler = new Bundler(1000);
   * bundler.add(HypervectorBatch.random(100, 1000, 1));
   * console.log(bundler.total); // 100
   * ```
   */
  add(vectors: Hypervectors, weight = 1): this {
    return this.#add(vectors, checkCount(weight, "weight", { min: -WEIGHT_MAX, max: WEIGHT_MAX }));
  }

  /**
   * Takes off a vector, or each of a batch, times an integer weight: `add` with the weight negated, and
   * with its error.
   *
   * @example
   * ```ts
   * import { Bundler, Hypervector } from "tritter-accel";
   *
   * using bundler = new Bundler(1000);
   * using a = Hypervector.random(1000, 1);
   * bundler.add(a, 3);
   * bundler.remove(a, 3);
   * console.log(bundler.counts().every((count) => count === 0)); // true
   * ```
   */
  remove(vectors: Hypervectors, weight = 1): this {
    // Not by a sign, which makes -0 of 0: Deno passes that to no native function.
    const times = 0 - checkCount(weight, "weight", { min: -WEIGHT_MAX, max: WEIGHT_MAX });
    return this.#add(vectors, times);
  }

  #add(vectors: Hypervectors, weight: number): this {
    checkVectors(vectors, "vectors", this.dim);
    check(native.counters_add(this.#handle.value, handleOf(vectors), weight));
    this.#total += vectors.count * weight;
    return this;
  }

  /**
   * Returns the sum of each trit; `out`, of `dim` elements, takes them instead of a new array.
   *
   * @example
   * ```ts
   * import { Bundler, Hypervector } from "tritter-accel";
   *
   * using bundler = new Bundler(3);
   * bundler.add(Hypervector.from(Int8Array.of(1, 0, -1)), 5);
   * console.log(bundler.counts()); // 5 0 -5
   * ```
   */
  counts(options?: { out?: Int32Array | undefined }): Int32Array<ArrayBuffer> {
    const { out } = checkOptions(options, "options");
    const counts = out === undefined
      ? new Int32Array(this.dim)
      : checkArray(out, Int32Array, "out", this.dim);
    check(native.counters_read(this.#handle.value, counts, counts.length));
    return counts as Int32Array<ArrayBuffer>;
  }

  /**
   * Returns the sign of the counts: what bundling all vectors at once gives.
   *
   * @example
   * ```ts
   * import { Bundler, HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.random(7, 1000, 1);
   * using bundler = new Bundler(1000);
   * bundler.add(batch);
   * console.log(bundler.result().equals(batch.bundle())); // true
   * ```
   */
  result(options?: BundlerResultOptions): Hypervector {
    const checked = checkOptions(options, "options");
    const { threshold, tie, seed } = signOf(checked as SignOptions<never>, RESULT_TIES);
    const out = checkOut(checked.out, this);
    const handle = this.#handle.value;
    const target = out ?? new Hypervector(this.dim, { device: this.device });
    const status = native.counters_result(handle, handleOf(target), threshold, tie, seed);
    return settled(status, target, out);
  }

  /**
   * Returns the cosine of the angle between the counts and a vector, from -1 to 1; 0 where one has
   * only zeros.
   *
   * @example
   * ```ts
   * import { Bundler, Hypervector } from "tritter-accel";
   *
   * using bundler = new Bundler(1000);
   * using a = Hypervector.random(1000, 1);
   * bundler.add(a, 3);
   * console.log(bundler.similarity(a)); // 1
   * ```
   */
  similarity(query: Hypervector): number {
    checkVectors(query, "query", this.dim);
    if (query.count !== 1) {
      throw tritterError(
        "invalid_shape",
        `query must be a single vector, got ${query.count} vectors`,
      );
    }
    check(native.counters_cosine(this.#handle.value, handleOf(query), oneScore, 1));
    return oneScore[0]!;
  }

  /**
   * Takes off everything.
   *
   * @example
   * ```ts
   * import { Bundler, Hypervector } from "tritter-accel";
   *
   * using bundler = new Bundler(100);
   * bundler.add(Hypervector.random(100, 1));
   * bundler.clear();
   * console.log(bundler.total); // 0
   * ```
   */
  clear(): void {
    check(native.counters_clear(this.#handle.value));
    this.#total = 0;
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#handle[Symbol.dispose]();
  }
}
