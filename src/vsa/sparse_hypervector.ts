// Hypervectors of which nearly everything is 0, as lists of the places that are not.

import { describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { checkPayload, headerCount, readContainer, writeContainer } from "./container.ts";
import { Hypervector } from "./hypervector.ts";
import { checkVectors } from "./hypervectors.ts";
import { checkDim, DIM_MAX, type HypervectorOptions, type TritCounts } from "./options.ts";
import {
  countShared,
  isRising,
  merge,
  type Places,
  samePlaces,
  shared,
  sortedPlaces,
} from "./sorted_places.ts";

/** What only this module can pass to the constructor: at run time nothing else makes it private. */
const KEY = Symbol("SparseHypervector");
const KIND = "SparseHypervector";

/** What the similarities of two vectors are made of. */
interface Meeting {
  /** Places at which both are nonzero. */
  common: number;
  /** Places at which both are nonzero, of different sign. */
  opposite: number;
}

/**
 * A vector of -1, 0 and 1 as two sorted lists: the places of 1, and those of -1.
 *
 * Takes 4 bytes a nonzero trit in the memory of JavaScript, less than a `Hypervector` where fewer than
 * one trit in 16 is nonzero. Operations on two of them take time in proportion to their nonzero trits;
 * those with a `Hypervector` look at each of its trits. It owns nothing native and needs no disposal.
 *
 * @example
 * ```ts
 * import { SparseHypervector } from "tritter-accel";
 *
 * const a = SparseHypervector.fromIndices([5, 1], [999], 1000);
 * const b = SparseHypervector.fromIndices([5], [1], 1000);
 * console.log(a.dot(b), a.sparsity); // 0 0.997
 * ```
 */
export class SparseHypervector {
  /** Number of trits. */
  readonly dim: number;

  readonly #positive: Places;
  readonly #negative: Places;

  /** Only for this module: use `from` or `fromIndices`. */
  private constructor(key: symbol, positive: Places, negative: Places, dim: number) {
    if (key !== KEY) {
      throw tritterError(
        "invalid_type",
        "SparseHypervector is made by SparseHypervector.from or SparseHypervector.fromIndices",
      );
    }
    this.dim = dim;
    this.#positive = positive;
    this.#negative = negative;
  }

  /**
   * Takes the nonzero trits of a hypervector.
   *
   * @example
   * ```ts
   * import { Hypervector, SparseHypervector } from "tritter-accel";
   *
   * using dense = Hypervector.random(10_000, 1, { distribution: { zeros: 0.99 } });
   * const sparse = SparseHypervector.from(dense);
   * console.log(sparse.cosine(dense)); // 1
   * ```
   */
  static from(vector: Hypervector): SparseHypervector {
    if (!(vector instanceof Hypervector)) {
      throw tritterError("invalid_type", `vector must be a Hypervector, got ${describe(vector)}`);
    }
    const { positive, negative } = vector.counts();
    const ones = new Uint32Array(positive);
    const minuses = new Uint32Array(negative);
    const trits = vector.toInt8Array();
    let [plus, minus] = [0, 0];
    for (let place = 0; place < trits.length; place++) {
      if (trits[place] === 1) ones[plus++] = place;
      else if (trits[place] === -1) minuses[minus++] = place;
    }
    return new SparseHypervector(KEY, ones, minuses, vector.dim);
  }

  /**
   * Makes a vector from the places of its 1s and its -1s, in any order.
   *
   * Throws `invalid_value` for a place that is not an integer from 0 to `dim` - 1, and for one that is
   * named twice.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * console.log(SparseHypervector.fromIndices([3], [0, 9], 10).counts().negative); // 2
   * ```
   */
  static fromIndices(
    positive: ArrayLike<number>,
    negative: ArrayLike<number>,
    dim: number,
  ): SparseHypervector {
    checkDim(dim);
    const ones = sortedPlaces(positive, "positive", dim);
    const minuses = sortedPlaces(negative, "negative", dim);
    const both = shared(ones, minuses);
    if (both.length > 0) {
      throw tritterError(
        "invalid_value",
        `positive and negative must differ, got ${both[0]} in both`,
      );
    }
    return new SparseHypervector(KEY, ones, minuses, dim);
  }

  /**
   * Reads what `save` returned; throws `invalid_format` for anything else.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([3], [0, 9], 10);
   * console.log(SparseHypervector.load(a.save()).equals(a)); // true
   * ```
   */
  static load(bytes: Uint8Array): SparseHypervector {
    const { header, payload } = readContainer(bytes, KIND);
    const dim = headerCount(header, "dim", { min: 1, max: DIM_MAX });
    const positive = headerCount(header, "positive", { max: dim });
    const negative = headerCount(header, "negative", { max: dim - positive });
    checkPayload(payload, 4 * (positive + negative));
    // A copy, as the bytes may stand at any address.
    const places = new Uint32Array(payload.slice().buffer);
    const ones = places.slice(0, positive);
    const minuses = places.slice(positive);
    if (!isRising(ones, dim) || !isRising(minuses, dim) || countShared(ones, minuses) > 0) {
      throw tritterError("invalid_format", `places must rise, stay below ${dim} and not be shared`);
    }
    return new SparseHypervector(KEY, ones, minuses, dim);
  }

  /**
   * Returns bytes that `load` reads: a header, the places, and a checksum.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * console.log(SparseHypervector.fromIndices([3], [0, 9], 10).save().length); // 108
   * ```
   */
  save(): Uint8Array<ArrayBuffer> {
    const [positive, negative] = [this.#positive, this.#negative];
    const header = { dim: this.dim, positive: positive.length, negative: negative.length };
    return writeContainer(KIND, header, [
      new Uint8Array(positive.buffer),
      new Uint8Array(negative.buffer),
    ]);
  }

  /**
   * Returns the same trits as a hypervector.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * using dense = SparseHypervector.fromIndices([0], [2], 4).toHypervector();
   * console.log(dense.toInt8Array()); // 1 0 -1 0
   * ```
   */
  toHypervector(options?: HypervectorOptions): Hypervector {
    return Hypervector.from(this.toInt8Array(), options);
  }

  /**
   * Returns the trits as bytes of -1, 0 and 1.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * console.log(SparseHypervector.fromIndices([0], [2], 4).toInt8Array()); // 1 0 -1 0
   * ```
   */
  toInt8Array(): Int8Array<ArrayBuffer> {
    const trits = new Int8Array(this.dim);
    for (const place of this.#positive) trits[place] = 1;
    for (const place of this.#negative) trits[place] = -1;
    return trits;
  }

  /** Places of 1, rising; a copy. */
  get positive(): Uint32Array<ArrayBuffer> {
    return this.#positive.slice();
  }

  /** Places of -1, rising; a copy. */
  get negative(): Uint32Array<ArrayBuffer> {
    return this.#negative.slice();
  }

  /** Memory of the places, in bytes. */
  get memoryBytes(): number {
    return 4 * this.#nonzero;
  }

  /** Share of trits that are 0, from 0 to 1. */
  get sparsity(): number {
    return 1 - this.#nonzero / this.dim;
  }

  get #nonzero(): number {
    return this.#positive.length + this.#negative.length;
  }

  /**
   * Counts the trits of each kind.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * console.log(SparseHypervector.fromIndices([3], [0, 9], 10).counts().zero); // 7
   * ```
   */
  counts(): TritCounts {
    const [positive, negative] = [this.#positive.length, this.#negative.length];
    return { positive, negative, zero: this.dim - positive - negative };
  }

  /**
   * Returns whether the other has the same dimensions and the same trits.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([3], [0, 9], 10);
   * console.log(a.equals(SparseHypervector.fromIndices([3], [9, 0], 10))); // true
   * ```
   */
  equals(other: SparseHypervector): boolean {
    checkSparse(other, "other");
    return this.dim === other.dim && samePlaces(this.#positive, other.#positive) &&
      samePlaces(this.#negative, other.#negative);
  }

  /**
   * Changes the sign of every trit.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * console.log(SparseHypervector.fromIndices([3], [0, 9], 10).negate().positive); // 0 9
   * ```
   */
  negate(): SparseHypervector {
    return new SparseHypervector(KEY, this.#negative, this.#positive, this.dim);
  }

  /**
   * Binds by multiplication: `bind` of hypervectors with mode `"multiply"`.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([3], [0, 9], 10);
   * const b = SparseHypervector.fromIndices([9], [3, 4], 10);
   * console.log(a.bind(b).negative); // 3 9
   * ```
   */
  bind(other: SparseHypervector): SparseHypervector {
    checkSparse(other, "other", this.dim);
    const positive = merge(
      shared(this.#positive, other.#positive),
      shared(this.#negative, other.#negative),
    );
    const negative = merge(
      shared(this.#positive, other.#negative),
      shared(this.#negative, other.#positive),
    );
    return new SparseHypervector(KEY, positive, negative, this.dim);
  }

  /**
   * Returns the sum of the products of the trits.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([3], [0, 9], 10);
   * console.log(a.dot(a)); // 3
   * ```
   */
  dot(other: SparseHypervector | Hypervector): number {
    const { common, opposite } = this.#meet(sparseOf(other, this.dim));
    return common - 2 * opposite;
  }

  /**
   * Returns the cosine of the angle between the vectors, from -1 to 1; 0 where one has only zeros.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([3], [0, 9], 10);
   * console.log(a.cosine(a.negate())); // -1
   * ```
   */
  cosine(other: SparseHypervector | Hypervector): number {
    const sparse = sparseOf(other, this.dim);
    const { common, opposite } = this.#meet(sparse);
    const norm = this.#nonzero * sparse.#nonzero;
    return norm === 0 ? 0 : (common - 2 * opposite) / Math.sqrt(norm);
  }

  /**
   * Returns the number of trits that differ.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([3], [0, 9], 10);
   * console.log(a.hamming(a.negate())); // 3
   * ```
   */
  hamming(other: SparseHypervector | Hypervector): number {
    const sparse = sparseOf(other, this.dim);
    const { common, opposite } = this.#meet(sparse);
    return this.#nonzero + sparse.#nonzero - 2 * common + opposite;
  }

  /**
   * Returns the number of places at which both are nonzero.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([3], [0, 9], 10);
   * console.log(a.overlap(SparseHypervector.fromIndices([9, 5], [], 10))); // 1
   * ```
   */
  overlap(other: SparseHypervector | Hypervector): number {
    return this.#meet(sparseOf(other, this.dim)).common;
  }

  /**
   * Returns the overlap divided by the number of places at which either is nonzero; 0 where none is.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([3], [0, 9], 10);
   * console.log(a.jaccard(SparseHypervector.fromIndices([9, 5], [], 10))); // 0.25
   * ```
   */
  jaccard(other: SparseHypervector | Hypervector): number {
    const sparse = sparseOf(other, this.dim);
    const { common } = this.#meet(sparse);
    const either = this.#nonzero + sparse.#nonzero - common;
    return either === 0 ? 0 : common / either;
  }

  #meet(other: SparseHypervector): Meeting {
    const same = countShared(this.#positive, other.#positive) +
      countShared(this.#negative, other.#negative);
    const opposite = countShared(this.#positive, other.#negative) +
      countShared(this.#negative, other.#positive);
    return { common: same + opposite, opposite };
  }
}

function checkSparse(value: SparseHypervector, name: string, dim?: number): SparseHypervector {
  if (!(value instanceof SparseHypervector)) {
    throw tritterError(
      "invalid_type",
      `${name} must be a SparseHypervector, got ${describe(value)}`,
    );
  }
  if (dim !== undefined && value.dim !== dim) {
    throw tritterError("invalid_shape", `${name} must have ${dim} dimensions, got ${value.dim}`);
  }
  return value;
}

function sparseOf(value: SparseHypervector | Hypervector, dim: number): SparseHypervector {
  if (!(value instanceof Hypervector)) return checkSparse(value, "other", dim);
  return SparseHypervector.from(checkVectors(value, "other", dim));
}
