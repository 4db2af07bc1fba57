// Many hypervectors of the same dimensions, side by side.

import { checkArray, checkCount, checkOptions, checkShape } from "../checks.ts";
import type { Place } from "../device.ts";
import { tritterError } from "../errors.ts";
import { check } from "../native/library.ts";
import {
  bindGroups,
  bundleGroups,
  type BundleOptions,
  checkOut,
  checkSingle,
  groupsOf,
} from "./bundling.ts";
import { Hypervector } from "./hypervector.ts";
import {
  checkBytes,
  checkTrits,
  type Format,
  readSaved,
  thresholdOf,
  type ThresholdOptions,
} from "./formats.ts";
import { copyRows } from "./handles.ts";
import { checkVectors, handleAt, Hypervectors } from "./hypervectors.ts";
import type { BindOptions, HypervectorOptions, RandomOptions } from "./options.ts";
import { filled, settled } from "./ownership.ts";
import { type ConcatOptions, countRows, type Joint, jointOf, type RowCounts } from "./rows.ts";
import {
  bestRows,
  pairScores,
  scoreMatrix,
  type SimilarityOptions,
  type TopK,
  type TopKOptions,
} from "./search.ts";

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
   * Makes vectors from bytes, or floats, of -1, 0 and 1, row by row; any other value throws
   * `invalid_value`.
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
    trits: Int8Array | Float32Array,
    shape: readonly [count: number, dim: number],
    options?: HypervectorOptions,
  ): HypervectorBatch {
    const [count, dim] = checkShape(shape, "shape", 2) as [number, number];
    checkTrits(trits, "trits", count * dim);
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
    const joint = jointOf(vectors, "rows");
    joint.parts.forEach((vector, row) => checkSingle(vector, `vectors[${row}]`));
    return HypervectorBatch.#join(joint, options);
  }

  /**
   * Puts vectors and batches together: the rows of the second below those of the first, and so on.
   *
   * With `axis: "dims"` each row is continued by the same row of the next; a single vector stands for
   * one row. Throws `invalid_shape` where dimensions, or with `"dims"` numbers of rows, differ.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using a = HypervectorBatch.random(3, 100, 1);
   * console.log(HypervectorBatch.concat([a, a]).count); // 6
   * console.log(HypervectorBatch.concat([a, a], { axis: "dims" }).dim); // 200
   * ```
   */
  static concat(vectors: readonly Hypervectors[], options?: ConcatOptions): HypervectorBatch {
    const { axis } = checkOptions(options, "options");
    return HypervectorBatch.#join(jointOf(vectors, axis), options);
  }

  static #join(
    { parts, axis, count, dim }: Joint,
    options: HypervectorOptions | undefined,
  ): HypervectorBatch {
    const batch = new HypervectorBatch(count, dim, options);
    return filled(batch, () => {
      let place = 0;
      for (const part of parts) {
        if (axis === "rows") batch.set(place, part);
        else batch.fillPart(place, part);
        place += axis === "rows" ? part.count : part.dim;
      }
    });
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
  protected override allocate(dim: number = this.dim, device: Place = this.device): this {
    return new HypervectorBatch(this.count, dim, { device }) as this;
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
    checkOut(out, this);
    handleAt(this, this.device, "this");
    const target = out ?? this.#single();
    return settled(copyRows([this, index], [target, 0], 1), target, out);
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
    const last = this.count - vectors.count;
    if (last < 0) {
      throw tritterError(
        "invalid_shape",
        `vectors must be at most ${this.count}, as many as the rows, got ${vectors.count}`,
      );
    }
    const first = checkCount(row, "row", { max: this.count - 1 });
    if (first > last) {
      throw tritterError(
        "invalid_value",
        `row must be at most ${last}, for ${vectors.count} vectors to fit ${this.count} rows, got ${row}`,
      );
    }
    handleAt(vectors, this.device, "vectors");
    check(copyRows([vectors, 0], [this, first], vectors.count));
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
  similarity(other: Hypervectors, options?: SimilarityOptions): Float64Array<ArrayBuffer> {
    return pairScores(this, other, options);
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
    const all = { rows: this, size: this.count, count: 1 };
    return bundleGroups(all, checkOptions(options, "options"), () => this.#single());
  }

  /**
   * Bundles each `size` rows: row i of the result is the bundle of rows i x size to (i + 1) x size.
   *
   * `size` must divide the number of rows, else it throws `invalid_shape`; `out` has count / size rows.
   * Ties of zero are random by the row of the result. `weights` has a factor for each of the `size`
   * rows of a group, the same for every group.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.random(12, 1000, 1);
   * console.log(batch.bundleGroups(3).count); // 4
   * ```
   */
  bundleGroups(size: number, options?: BundleOptions<HypervectorBatch>): HypervectorBatch {
    const groups = groupsOf(this, size);
    return bundleGroups(groups, checkOptions(options, "options"), (count) => this.#rows(count));
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
    const all = { rows: this, size: this.count, count: 1 };
    return bindGroups(all, checkOptions(options, "options"), () => this.#single());
  }

  /**
   * Binds each `size` rows from the left: row i of the result is made of rows i x size to
   * (i + 1) x size.
   *
   * `size` must divide the number of rows, else it throws `invalid_shape`; `out` has count / size rows.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using pairs = HypervectorBatch.random(6, 1000, 1);
   * using bound = pairs.bindGroups(2);
   * console.log(bound.get(1).equals(pairs.get(2).bind(pairs.get(3)))); // true
   * ```
   */
  bindGroups(size: number, options?: BindOptions<HypervectorBatch>): HypervectorBatch {
    const groups = groupsOf(this, size);
    return bindGroups(groups, checkOptions(options, "options"), (count) => this.#rows(count));
  }

  #single(): Hypervector {
    return new Hypervector(this.dim, { device: this.device });
  }

  #rows(count: number): HypervectorBatch {
    return new HypervectorBatch(count, this.dim, { device: this.device });
  }

  /**
   * Counts the trits of each kind in each row; `counts` has the sums.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.from(Int8Array.of(1, 0, -1, 1, 1, 1), [2, 3]);
   * console.log(batch.rowCounts().positive); // 1 3
   * ```
   */
  rowCounts(): RowCounts {
    return countRows(this);
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
  similarityMatrix(other: Hypervectors, options?: SimilarityOptions): Float64Array<ArrayBuffer> {
    return scoreMatrix(this, other, options);
  }

  /**
   * Returns the `k` rows that are most similar to each query, best first; among equal ones the lower
   * row comes first.
   *
   * Query q has `indices` and `scores` from q * k on. Many queries in one call take a fraction of the
   * time of as many calls. `out` takes `indices` and `scores` of that many elements, and is returned:
   * nothing is allocated. Throws `invalid_value` where k is not from 1 to the number of rows.
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
    return bestRows(this, queries, k, options);
  }
}
