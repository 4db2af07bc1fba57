// One hypervector.

import { checkArray, checkCount, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import type { Place } from "../device.ts";
import { check, native } from "../native/library.ts";
import * as calls from "./calls.ts";
import { bindList, bundleList, type BundleOptions } from "./bundling.ts";
import {
  checkBytes,
  checkTrits,
  readSaved,
  thresholdOf,
  type ThresholdOptions,
} from "./formats.ts";
import { checkVectors, handleAt, handleOf, Hypervectors } from "./hypervectors.ts";
import {
  type BindOptions,
  type HypervectorOptions,
  metricCode,
  type RandomOptions,
  type SimilarityMetric,
} from "./options.ts";
import { filled } from "./ownership.ts";

const oneScore = new Float64Array(1);
const oneTrit = new Int8Array(1);

/** Checks that a value is one hypervector, which a batch of one is not. */
export function checkVector(value: Hypervectors, name: string, dim?: number): Hypervector {
  if (value instanceof Hypervector) return checkVectors(value, name, dim);
  const isBatch = value instanceof Hypervectors;
  const given = isBatch ? `a HypervectorBatch of ${value.count}` : describe(value);
  throw tritterError("invalid_type", `${name} must be a Hypervector, got ${given}`);
}

/** A new vector of the dimensions, and on the device, of others. */
function vectorLike({ dim, device }: Hypervectors): Hypervector {
  return new Hypervector(dim, { device });
}

/**
 * A vector of -1, 0 and 1 of 1 to 2^31 dimensions, two bits a trit in native memory.
 *
 * For many vectors `HypervectorBatch` is faster: one call for all of them.
 *
 * @example
 * ```ts
 * import { Hypervector } from "tritter-accel";
 *
 * using country = Hypervector.random(10_000, 1, { distribution: "bipolar" });
 * using mexico = Hypervector.random(10_000, 2, { distribution: "bipolar" });
 * using bound = country.bind(mexico, { mode: "multiply" });
 * console.log(bound.cosine(mexico).toFixed(1)); // about 0: binding hides both
 * ```
 */
export class Hypervector extends Hypervectors {
  /**
   * Makes a vector of zeros.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using out = new Hypervector(10_000);
   * console.log(out.sparsity); // 1
   * ```
   */
  constructor(dim: number, options?: HypervectorOptions) {
    super(1, dim, options);
  }

  /**
   * Makes a vector of random trits, the same for the same seed on every machine.
   *
   * Philox4x32-10 (Salmon et al. 2011) with the seed as key gives 32-bit words w[0], w[1], ...: output
   * i mod 4 of the block for the counter (floor(i / 4), 0, 0, 1) is w[i]. Trit i is -1 where
   * w[i] < b, +1 where w[i] >= 2^32 - b and 0 in between, with b = floor(2^32 / 3) for `"ternary"` and
   * b = round((1 - p) 2^31) for `{ zeros: p }`. For `"bipolar"` trit i is -1 where bit i mod 32 of
   * w[floor(i / 32)] is set, else +1. The seed is an integer from 0, below 2^64.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using sparse = Hypervector.random(100_000, 42, { distribution: { zeros: 0.9 } });
   * console.log(sparse.sparsity.toFixed(1)); // 0.9
   * ```
   */
  static random(dim: number, seed: number | bigint, options?: RandomOptions): Hypervector {
    return new Hypervector(dim, options).fillRandom(seed, options);
  }

  /**
   * Makes a vector from bytes, or floats, of -1, 0 and 1; any other value throws `invalid_value`.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.from(Int8Array.of(1, 0, -1));
   * console.log(a.dim); // 3
   * ```
   */
  static from(trits: Int8Array | Float32Array, options?: HypervectorOptions): Hypervector {
    checkTrits(trits, "trits");
    return new Hypervector(trits.length, options).fillTrits(trits);
  }

  /**
   * Makes a vector from the signs of numbers: 0 where the magnitude is at most `threshold` (default 0).
   *
   * NaN throws `invalid_value`.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.fromFloats(Float32Array.of(0.7, -0.1, -2), { threshold: 0.5 });
   * console.log(a.toInt8Array()); // 1 0 -1
   * ```
   */
  static fromFloats(
    values: Float32Array,
    options?: ThresholdOptions & HypervectorOptions,
  ): Hypervector {
    const threshold = thresholdOf(options);
    checkArray(values, Float32Array, "values");
    return new Hypervector(values.length, options).fillFloats(values, threshold);
  }

  /**
   * Makes a vector of `dim` trits from what `toPackedBytes` returns, ceil(dim / 4) bytes.
   *
   * Bits after the last trit are ignored; the code 11 throws `invalid_value`.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * console.log(Hypervector.fromPackedBytes(Uint8Array.of(0x49), 4).toInt8Array()); // 1 -1 0 1
   * ```
   */
  static fromPackedBytes(
    bytes: Uint8Array,
    dim: number,
    options?: HypervectorOptions,
  ): Hypervector {
    checkBytes(bytes, "wire", { count: 1, dim });
    return new Hypervector(dim, options).fillFormat("wire", bytes);
  }

  /**
   * Makes a vector of `dim` trits from what `toBase3Bytes` returns, ceil(dim / 5) bytes.
   *
   * Bytes above 242, and trits after the last that are not 0, throw `invalid_value`.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * console.log(Hypervector.fromBase3Bytes(Uint8Array.of(122), 2).toInt8Array()); // 1 0
   * ```
   */
  static fromBase3Bytes(bytes: Uint8Array, dim: number, options?: HypervectorOptions): Hypervector {
    checkBytes(bytes, "base3", { count: 1, dim });
    return new Hypervector(dim, options).fillFormat("base3", bytes);
  }

  /**
   * Reads what `save` returned; throws `invalid_format` for anything else.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.load(Hypervector.from(Int8Array.of(1, -1)).save());
   * console.log(a.dim); // 2
   * ```
   */
  static load(bytes: Uint8Array, options?: HypervectorOptions): Hypervector {
    const { dim, planes } = readSaved(bytes, 1);
    return new Hypervector(dim, options).fillFormat("planes", planes);
  }

  /**
   * Puts vectors one after the other into a longer one.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.from(Int8Array.of(1, -1));
   * console.log(Hypervector.concat([a, a, a]).dim); // 6
   * ```
   */
  static concat(vectors: readonly Hypervector[], options?: HypervectorOptions): Hypervector {
    if (!Array.isArray(vectors) || vectors.length === 0) {
      throw tritterError("invalid_value", "vectors must be a list of at least one hypervector");
    }
    // A list of its own, so that what has been checked is what is read.
    const parts = Array.from(vectors, (vector, index) => checkVector(vector, `vectors[${index}]`));
    const joined = new Hypervector(parts.reduce((sum, { dim }) => sum + dim, 0), options);
    return filled(joined, () => {
      let place = 0;
      for (const vector of parts) {
        joined.fillPart(place, vector);
        place += vector.dim;
      }
    });
  }

  /**
   * Bundles vectors: trit by trit the sign of their sum, which is similar to each of them.
   *
   * `weights` gives each vector a factor; sums are then float64, in the order of the vectors. `out` may
   * be one of the vectors. Throws `invalid_shape` where dimensions differ, `invalid_value` for an empty
   * list or a weight that is not finite.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * const animals = [1, 2, 3].map((seed) => Hypervector.random(10_000, seed));
   * using bundle = Hypervector.bundle(animals);
   * console.log(bundle.cosine(animals[0]!) > 0.5); // true
   * ```
   */
  static bundle(
    vectors: readonly Hypervector[],
    options?: BundleOptions<Hypervector>,
  ): Hypervector {
    return bundleList(vectors, checkOptions(options, "options"), vectorLike);
  }

  /**
   * Binds vectors from the left: the first with the second, that with the third, and so on.
   *
   * `out` may be one of the vectors. Throws `invalid_shape` where dimensions differ.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * const [a, b, c] = [1, 2, 3].map((seed) => Hypervector.random(1000, seed));
   * using bound = Hypervector.bindMany([a!, b!, c!]);
   * console.log(bound.equals(a!.bind(b!).bind(c!))); // true
   * ```
   */
  static bindMany(
    vectors: readonly Hypervector[],
    options?: BindOptions<Hypervector>,
  ): Hypervector {
    return bindList(vectors, checkOptions(options, "options"), vectorLike);
  }

  /** Zeros of as many vectors on the same device. */
  protected override allocate(dim: number = this.dim, device: Place = this.device): this {
    return new Hypervector(dim, { device }) as this;
  }

  /**
   * Returns one trit: -1, 0 or 1.
   *
   * Each is a call: `toInt8Array` returns all at once.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * console.log(Hypervector.from(Int8Array.of(1, 0, -1)).get(2)); // -1
   * ```
   */
  get(index: number): -1 | 0 | 1 {
    const place = checkCount(index, "index", { max: this.dim - 1 });
    check(native.vectors_get(handleOf(this), 0, place, oneTrit, 1));
    return oneTrit[0] as -1 | 0 | 1;
  }

  /**
   * Returns the similarity to another vector by `metric`, `"cosine"` unless told.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.from(Int8Array.of(1, 0, -1, 1));
   * using b = Hypervector.from(Int8Array.of(1, -1, -1, 0));
   * console.log(a.similarity(b, { metric: "hamming" })); // 2
   * ```
   */
  similarity(other: Hypervector, options?: { metric?: SimilarityMetric | undefined }): number {
    return this.#score(other, metricCode(checkOptions(options, "options").metric));
  }

  /**
   * Returns the sum of the products of the trits.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.from(Int8Array.of(1, 0, -1, 1));
   * console.log(a.dot(Hypervector.from(Int8Array.of(1, -1, -1, 0)))); // 2
   * ```
   */
  dot(other: Hypervector): number {
    return this.#score(other, 0);
  }

  /**
   * Returns the cosine of the angle between the vectors, from -1 to 1; 0 where one has only zeros.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.random(1000, 1);
   * console.log(a.cosine(a), a.cosine(a.negate())); // 1 -1
   * ```
   */
  cosine(other: Hypervector): number {
    return this.#score(other, 1);
  }

  /**
   * Returns the number of trits that differ.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.random(1000, 1);
   * console.log(a.hamming(a)); // 0
   * ```
   */
  hamming(other: Hypervector): number {
    return this.#score(other, 2);
  }

  #score(other: Hypervector, metric: number): number {
    if (checkVectors(other, "other", this.dim).count !== 1) {
      throw tritterError(
        "invalid_shape",
        `other must be a single vector, got ${other.count} vectors`,
      );
    }
    const [a, b] = [handleAt(this, this.device, "this"), handleAt(other, this.device, "other")];
    check(calls.similarity(this.device, a, b, metric, oneScore, 1));
    return oneScore[0]!;
  }
}
