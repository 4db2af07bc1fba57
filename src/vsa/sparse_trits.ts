// What sparse hypervectors are made of, and what is measured on them.

import { checkArray, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { checkSingle } from "./bundling.ts";
import type { Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { checkVectors, handleOf, Hypervectors } from "./hypervectors.ts";
import { metricCode, type SimilarityMetric, type TritCounts } from "./options.ts";
import type { SimilarityOptions } from "./search.ts";
import { countShared, type Places, samePlaces } from "./sorted_places.ts";

/** What only this library can pass to the constructor: at run time nothing else makes it private. */
export const KEY: unique symbol = Symbol("SparseTrits");

/** The places of a vector's trits: rising, without one that is in both. */
export interface SparsePlaces {
  readonly positive: Places;
  readonly negative: Places;
}

/** The metrics by their numbers in the library. */
const [DOT, COSINE, HAMMING, OVERLAP, JACCARD] =
  (["dot", "cosine", "hamming", "overlap", "jaccard"] as const)
    .map(metricCode) as [number, number, number, number, number];
const HAMMING_SIMILARITY = metricCode("hammingSimilarity");

const oneScore = new Float64Array(1);

/** Set by the class, the only place that can read its private fields. */
let readPlaces: (vector: SparseTrits) => SparsePlaces;
let isSparse: (value: unknown) => boolean;

/** The places themselves, not to be changed. */
export function placesOf(vector: SparseTrits): SparsePlaces {
  return readPlaces(vector);
}

/** Checks that a value is a sparse vector, of as many dimensions as asked for. */
export function checkSparse<T extends SparseTrits>(value: T, name: string, dim?: number): T {
  if (!isSparse(value)) {
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

/** The similarity of two sparse vectors. */
function scoreOf(a: SparseTrits, b: SparseTrits, metric: number): number {
  const [x, y] = [readPlaces(a), readPlaces(b)];
  const opposite = countShared(x.positive, y.negative) + countShared(x.negative, y.positive);
  const common = countShared(x.positive, y.positive) + countShared(x.negative, y.negative) +
    opposite;
  const dot = common - 2 * opposite;
  const [nonzeroA, nonzeroB] = [a.nonzero, b.nonzero];
  const differing = nonzeroA + nonzeroB - 2 * common + opposite;
  const either = nonzeroA + nonzeroB - common;
  switch (metric) {
    case DOT:
      return dot;
    case COSINE:
      return nonzeroA === 0 || nonzeroB === 0 ? 0 : dot / Math.sqrt(nonzeroA * nonzeroB);
    case HAMMING:
      return differing;
    case HAMMING_SIMILARITY:
      return 1 - differing / a.dim;
    case OVERLAP:
      return common;
    default:
      return either === 0 ? 0 : common / either;
  }
}

/** The similarity of a sparse vector to each of others. */
function fillScores(
  vector: SparseTrits,
  others: Hypervectors,
  metric: number,
  scores: Float64Array,
): void {
  const { positive, negative } = readPlaces(vector);
  check(native.vectors_similarity_places(
    handleOf(others),
    positive,
    positive.length,
    negative,
    negative.length,
    metric,
    scores,
    scores.length,
  ));
}

/**
 * The places of 1 and those of -1, and what is measured on them: the base of `SparseHypervector`.
 *
 * Measuring two of them takes time in proportion to their nonzero trits; so do `dot` and `overlap`
 * with a `Hypervector`, of which the other measures count all trits once.
 */
export abstract class SparseTrits {
  /** Number of trits. */
  readonly dim: number;

  readonly #positive: Places;
  readonly #negative: Places;

  static {
    readPlaces = (vector) => ({ positive: vector.#positive, negative: vector.#negative });
    isSparse = (value) => typeof value === "object" && value !== null && #positive in value;
  }

  /** Only for this library: use `SparseHypervector.from` or `SparseHypervector.fromIndices`. */
  protected constructor(key: symbol, places: SparsePlaces, dim: number) {
    if (key !== KEY || new.target === SparseTrits) {
      const name = new.target === SparseTrits ? "SparseTrits" : "SparseHypervector";
      throw tritterError(
        "invalid_type",
        `${name} is made by SparseHypervector.from or SparseHypervector.fromIndices`,
      );
    }
    this.dim = dim;
    this.#positive = places.positive;
    this.#negative = places.negative;
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
    return 4 * this.nonzero;
  }

  /** Share of trits that are 0, from 0 to 1. */
  get sparsity(): number {
    return 1 - this.nonzero / this.dim;
  }

  /** Number of trits that are not 0. */
  get nonzero(): number {
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
  equals(other: SparseTrits): boolean {
    checkSparse(other, "other");
    return this.dim === other.dim && samePlaces(this.#positive, other.#positive) &&
      samePlaces(this.#negative, other.#negative);
  }

  /**
   * Returns the similarity to another vector by `metric`, `"cosine"` unless told.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([3], [0, 9], 10);
   * const b = SparseHypervector.fromIndices([3], [9, 5], 10);
   * console.log(a.similarity(b, { metric: "hammingSimilarity" })); // 0.8
   * ```
   */
  similarity(
    other: SparseTrits | Hypervector,
    options?: { metric?: SimilarityMetric | undefined },
  ): number;
  /** Returns the similarity to each row of a batch; `out` takes them instead of a new array. */
  similarity(other: HypervectorBatch, options?: SimilarityOptions): Float64Array<ArrayBuffer>;
  similarity(
    other: SparseTrits | Hypervectors,
    options?: SimilarityOptions,
  ): number | Float64Array<ArrayBuffer> {
    const { metric, out } = checkOptions(options, "options");
    const code = metricCode(metric);
    if (!(other instanceof HypervectorBatch)) return this.#score(other as SparseTrits, code);
    const { count } = checkVectors(other, "other", this.dim);
    const scores = out === undefined
      ? new Float64Array(count)
      : checkArray(out, Float64Array, "out", count);
    fillScores(this, other, code, scores);
    return scores as Float64Array<ArrayBuffer>;
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
  dot(other: SparseTrits | Hypervector): number {
    return this.#score(other, DOT);
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
  cosine(other: SparseTrits | Hypervector): number {
    return this.#score(other, COSINE);
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
  hamming(other: SparseTrits | Hypervector): number {
    return this.#score(other, HAMMING);
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
  overlap(other: SparseTrits | Hypervector): number {
    return this.#score(other, OVERLAP);
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
  jaccard(other: SparseTrits | Hypervector): number {
    return this.#score(other, JACCARD);
  }

  #score(other: SparseTrits | Hypervector, metric: number): number {
    if (!(other instanceof Hypervectors)) {
      return scoreOf(this, checkSparse(other, "other", this.dim), metric);
    }
    checkSingle<Hypervectors>(other, "other", this.dim);
    fillScores(this, other, metric, oneScore);
    return oneScore[0]!;
  }
}
