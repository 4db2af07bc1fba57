// Many hypervectors of the same dimensions, side by side.

import { checkArray, checkCount, checkOptions, checkShape } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
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
  type HypervectorOptions,
  metricCode,
  type RandomOptions,
  type SimilarityMetric,
} from "./options.ts";

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
    vectors.forEach((vector, row) => batch.set(row, vector));
    return batch;
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
      : checkVectors(out, "out", this.dim);
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
}
