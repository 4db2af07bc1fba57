// Many hypervectors of the same dimensions, side by side.

import { checkArray, checkCount, checkOptions, checkShape } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import {
  bindRows,
  type BundleOptions,
  bundleRows,
  checkOut,
  type SignOptions,
} from "./bundling.ts";
import { Hypervector } from "./hypervector.ts";
import {
  checkBytes,
  type Format,
  readSaved,
  thresholdOf,
  type ThresholdOptions,
} from "./formats.ts";
import { checkVectors, handleOf, Hypervectors } from "./hypervectors.ts";
import {
  type BindOptions,
  type HypervectorOptions,
  metricCode,
  type RandomOptions,
  type SimilarityMetric,
} from "./options.ts";

/** The most similar rows of a batch, for each query. */
export interface TopK {
  /** Rows, `k` for each query, best first; equal scores in ascending order of rows. */
  indices: Uint32Array<ArrayBuffer>;
  /** Their similarities. */
  scores: Float64Array<ArrayBuffer>;
}

/** Options of `HypervectorBatch.topK`. */
export interface TopKOptions {
  /** What to rank by; `"hamming"` ranks the smallest distance first. Default: `"cosine"`. */
  metric?: SimilarityMetric | undefined;
  /** Searches only so many rows, from the first on. Default: all. */
  rows?: number | undefined;
}

/**
 * `count` vectors of `dim` trits each, one after the other in native memory.
 *
 * Operations take all rows in one call and share them out to the threads; where two batches meet,
 * rows are paired, and a single `Hypervector` serves every row.
 *
 * @example
 * ```ts
 * import { Hypervector, HypervectorBatch } from "tritter-accel";
 *
 * using words = HypervectorBatch.random(1000, 10_000, 1);
 * using key = Hypervector.random(10_000, 2);
 * using bound = words.bind(key);
 * console.log(bound.unbind(key).equals(words)); // true
 * ```
 */
export class HypervectorBatch extends Hypervectors {
  /**
   * Makes `count` vectors of zeros.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using out = new HypervectorBatch(100, 10_000);
   * console.log(out.memoryBytes); // 256000
   * ```
   */
  constructor(count: number, dim: number, options?: HypervectorOptions) {
    super(checkCount(count, "count", { min: 1 }), dim, options);
  }

  /**
   * Makes vectors of random trits; row 0 is `Hypervector.random` of the same seed.
   *
   * The mapping is the one described there, with row r in the counter (j, r mod 2^32,
   * floor(r / 2^32), 1).
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using items = HypervectorBatch.random(26, 10_000, 1, { distribution: "bipolar" });
   * console.log(items.sparsity); // 0
   * ```
   */
  static random(
    count: number,
    dim: number,
    seed: number | bigint,
    options?: RandomOptions,
  ): HypervectorBatch {
    return new HypervectorBatch(count, dim, options).fillRandom(seed, options);
  }

  /**
   * Makes vectors from bytes of -1, 0 and 1, row by row; any other value throws `invalid_value`.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.from(Int8Array.of(1, 0, -1, 0, 1, 1), [2, 3]);
   * console.log(batch.count, batch.dim); // 2 3
   * ```
   */
  static from(
    trits: Int8Array,
    shape: readonly [count: number, dim: number],
    options?: HypervectorOptions,
  ): HypervectorBatch {
    const [count, dim] = checkShape(shape, "shape", 2) as [number, number];
    checkArray(trits, Int8Array, "trits", count * dim);
    return new HypervectorBatch(count, dim, options).fillTrits(trits);
  }

  /**
   * Copies single vectors into a batch, in their order.
   *
   * @example
   * ```ts
   * import { Hypervector, HypervectorBatch } from "tritter-accel";
   *
   * using a = Hypervector.random(100, 1);
   * using b = Hypervector.random(100, 2);
   * console.log(HypervectorBatch.of([a, b]).count); // 2
   * ```
   */
  static of(vectors: readonly Hypervector[], options?: HypervectorOptions): HypervectorBatch {
    if (!Array.isArray(vectors) || vectors.length === 0) {
      throw tritterError("invalid_value", "vectors must be a list of at least one hypervector");
    }
    const batch = new HypervectorBatch(
      vectors.length,
      checkVectors(vectors[0]!, "vectors[0]").dim,
      options,
    );
    return batch.fill(() => vectors.forEach((vector, row) => batch.set(row, vector)));
  }

  /**
   * Makes vectors from the signs of numbers, row by row: 0 where the magnitude is at most `threshold`
   * (default 0).
   *
   * NaN throws `invalid_value`.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.fromFloats(Float32Array.of(0.7, -0.1, -2, 0), [2, 2]);
   * console.log(batch.toInt8Array()); // 1 -1 -1 0
   * ```
   */
  static fromFloats(
    values: Float32Array,
    shape: readonly [count: number, dim: number],
    options?: ThresholdOptions & HypervectorOptions,
  ): HypervectorBatch {
    const threshold = thresholdOf(options);
    const [count, dim] = checkShape(shape, "shape", 2) as [number, number];
    checkArray(values, Float32Array, "values", count * dim);
    return new HypervectorBatch(count, dim, options).fillFloats(values, threshold);
  }

  /**
   * Makes vectors from what `toPackedBytes` returns, ceil(dim / 4) bytes a row.
   *
   * Bits after the last trit of a row are ignored; the code 11 throws `invalid_value`.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.fromPackedBytes(Uint8Array.of(1, 2), [2, 3]);
   * console.log(batch.toInt8Array()); // 1 0 0 -1 0 0
   * ```
   */
  static fromPackedBytes(
    bytes: Uint8Array,
    shape: readonly [count: number, dim: number],
    options?: HypervectorOptions,
  ): HypervectorBatch {
    return HypervectorBatch.#fromFormat("wire", bytes, shape, options);
  }

  /**
   * Makes vectors from what `toBase3Bytes` returns, ceil(dim / 5) bytes a row.
   *
   * Bytes above 242, and trits after the last of a row that are not 0, throw `invalid_value`.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.fromBase3Bytes(Uint8Array.of(122, 121), [2, 5]);
   * console.log(batch.counts().positive); // 1
   * ```
   */
  static fromBase3Bytes(
    bytes: Uint8Array,
    shape: readonly [count: number, dim: number],
    options?: HypervectorOptions,
  ): HypervectorBatch {
    return HypervectorBatch.#fromFormat("base3", bytes, shape, options);
  }

  static #fromFormat(
    format: Format,
    bytes: Uint8Array,
    shape: readonly [count: number, dim: number],
    options: HypervectorOptions | undefined,
  ): HypervectorBatch {
    const [count, dim] = checkShape(shape, "shape", 2) as [number, number];
    checkBytes(bytes, format, { count, dim });
    return new HypervectorBatch(count, dim, options).fillFormat(format, bytes);
  }

  /**
   * Reads what `save` returned, also that of a single vector; throws `invalid_format` for anything
   * else.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.load(HypervectorBatch.random(3, 100, 1).save());
   * console.log(batch.count, batch.dim); // 3 100
   * ```
   */
  static load(bytes: Uint8Array, options?: HypervectorOptions): HypervectorBatch {
    const { count, dim, planes } = readSaved(bytes);
    return new HypervectorBatch(count, dim, options).fillFormat("planes", planes);
  }

  /** Zeros of as many vectors on the same device. */
  protected override allocate(dim: number = this.dim): this {
    return new HypervectorBatch(this.count, dim, { device: this.device }) as this;
  }

  /**
   * Returns a copy of one row.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.random(3, 100, 1);
   * using last = batch.get(2);
   * console.log(last.dim); // 100
   * ```
   */
  get(row: number, options?: { out?: Hypervector | undefined }): Hypervector {
    const { out } = checkOptions(options, "options");
    const index = checkCount(row, "row", { max: this.count - 1 });
    const target = out === undefined
      ? new Hypervector(this.dim, { device: this.device })
      : checkOut(out, this.dim);
    check(native.vectors_copy(handleOf(this), index, handleOf(target), 0, 1));
    return target;
  }

  /**
   * Copies a vector into a row, or a batch into as many rows from `row` on.
   *
   * @example
   * ```ts
   * import { Hypervector, HypervectorBatch } from "tritter-accel";
   *
   * using batch = new HypervectorBatch(3, 100);
   * batch.set(1, Hypervector.random(100, 1));
   * console.log(batch.counts().zero < 300); // true
   * ```
   */
  set(row: number, vectors: Hypervectors): void {
    checkVectors(vectors, "vectors", this.dim);
    const first = checkCount(row, "row", { max: this.count - vectors.count });
    check(native.vectors_copy(handleOf(vectors), 0, handleOf(this), first, vectors.count));
  }

  /**
   * Returns a similarity for each row: to the same row of another batch, or to one vector.
   *
   * `out`, of `count` elements, takes the result instead of a new array.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.random(4, 1000, 1);
   * console.log(batch.similarity(batch.get(2))[2]); // 1
   * ```
   */
  similarity(
    other: Hypervectors,
    options?: { metric?: SimilarityMetric | undefined; out?: Float64Array | undefined },
  ): Float64Array<ArrayBuffer> {
    const { metric, out } = checkOptions(options, "options");
    checkVectors(other, "other", this.dim);
    if (other.count !== this.count && other.count !== 1) {
      throw tritterError(
        "invalid_shape",
        `other must be 1 or ${this.count} vectors, got ${other.count}`,
      );
    }
    const scores = out === undefined
      ? new Float64Array(this.count)
      : checkArray(out, Float64Array, "out", this.count);
    const code = metricCode(metric);
    check(native.vectors_similarity(handleOf(this), handleOf(other), code, scores, scores.length));
    return scores as Float64Array<ArrayBuffer>;
  }

  /**
   * Bundles all rows: trit by trit the sign of their sum.
   *
   * Options are those of `Hypervector.bundle`, `weights` one for each row.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.random(21, 10_000, 1);
   * using bundle = batch.bundle();
   * console.log(batch.similarity(bundle).every((cosine) => cosine > 0.1)); // true
   * ```
   */
  bundle(options?: BundleOptions<Hypervector>): Hypervector {
    const checked = checkOptions(options, "options");
    return bundleRows(this, this.count, this.#single(checked.out), checked);
  }

  /**
   * Bundles each `size` rows: row i of the result is the bundle of rows i x size to (i + 1) x size.
   *
   * `size` must divide the number of rows, else it throws `invalid_shape`; `out` has count / size rows.
   * Ties of zero are random by the row of the result.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.random(12, 1000, 1);
   * console.log(batch.bundleGroups(3).count); // 4
   * ```
   */
  bundleGroups(size: number, options?: SignOptions<HypervectorBatch>): HypervectorBatch {
    const checked = checkOptions(options, "options");
    checkCount(size, "size", { min: 1 });
    if (this.count % size !== 0) {
      throw tritterError("invalid_shape", `size must divide ${this.count} rows, got ${size}`);
    }
    const count = this.count / size;
    const { tie, seed, threshold, out } = checked;
    if (out !== undefined) {
      checkVectors(out, "out", this.dim);
      if (out.count !== count) {
        throw tritterError("invalid_shape", `out must be ${count} vectors, got ${out.count}`);
      }
    }
    const target = out ?? new HypervectorBatch(count, this.dim, { device: this.device });
    return bundleRows(this, size, target, { tie, seed, threshold });
  }

  /**
   * Binds all rows from the left: the first with the second, that with the third, and so on.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.random(2, 1000, 1);
   * console.log(batch.bindMany().equals(batch.get(0).bind(batch.get(1)))); // true
   * ```
   */
  bindMany(options?: BindOptions<Hypervector>): Hypervector {
    const { mode, out } = checkOptions(options, "options");
    return bindRows(this, this.#single(out), mode);
  }

  /** A single vector to write to. */
  #single(out: Hypervector | undefined): Hypervector {
    return out === undefined
      ? new Hypervector(this.dim, { device: this.device })
      : checkOut(out, this.dim);
  }

  /**
   * Returns the similarity of every row to every row of another batch, [count, other.count] row by row.
   *
   * `out`, of that many elements, takes the result instead of a new array. Throws `invalid_length`
   * where there are 2^32 pairs or more.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using words = HypervectorBatch.random(3, 1000, 1);
   * const scores = words.similarityMatrix(words);
   * console.log(scores[0], scores[4], scores[8]); // 1 1 1
   * ```
   */
  similarityMatrix(
    other: Hypervectors,
    options?: { metric?: SimilarityMetric | undefined; out?: Float64Array | undefined },
  ): Float64Array<ArrayBuffer> {
    const { metric, out } = checkOptions(options, "options");
    checkVectors(other, "other", this.dim);
    const code = metricCode(metric);
    const scores = resultOf(Float64Array, this.count * other.count, out);
    check(native.vectors_similarity_matrix(
      handleOf(this),
      handleOf(other),
      code,
      scores,
      scores.length,
    ));
    return scores;
  }

  /**
   * Returns the `k` rows that are most similar to each query, best first; among equal ones the lower
   * row comes first.
   *
   * Query q has `indices` and `scores` from q * k on. Many queries in one call take a fraction of the
   * time of as many calls. Throws `invalid_value` where k is not from 1 to the number of rows.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using words = HypervectorBatch.random(1000, 10_000, 1);
   * using noise = HypervectorBatch.random(2, 10_000, 2, { distribution: { zeros: 0.9 } });
   * using noisy = HypervectorBatch.of([words.get(7), words.get(42)]).bind(noise);
   * console.log(words.topK(noisy, 1).indices); // 7 42
   * ```
   */
  topK(queries: Hypervectors, k: number, options?: TopKOptions): TopK {
    const { metric, rows } = checkOptions(options, "options");
    checkVectors(queries, "queries", this.dim);
    const count = rows === undefined
      ? this.count
      : checkCount(rows, "rows", { min: 1, max: this.count });
    checkCount(k, "k", { min: 1, max: count });
    const code = metricCode(metric);
    const indices = resultOf(Uint32Array, queries.count * k);
    const scores = resultOf(Float64Array, queries.count * k);
    check(native.vectors_top_k(
      handleOf(this),
      count,
      handleOf(queries),
      code,
      k,
      indices,
      indices.length,
      scores,
      scores.length,
    ));
    return { indices, scores };
  }
}

/** The array given, of `length` elements, or a new one. */
function resultOf<C extends Float64ArrayConstructor | Uint32ArrayConstructor>(
  type: C,
  length: number,
  out?: C["prototype"],
): InstanceType<C> {
  if (out !== undefined) return checkArray(out, type, "out", length) as InstanceType<C>;
  if (length >= 2 ** 32) {
    throw tritterError(
      "invalid_length",
      `an array must have fewer than 2^32 elements, got ${length} pairs`,
    );
  }
  return new type(length) as InstanceType<C>;
}
