// Hypervectors of which nearly everything is 0, as lists of the places that are not.

import { checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { copyList } from "./bundling.ts";
import { checkPayload, headerCount, readContainer, writeContainer } from "./container.ts";
import { checkVector, Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { checkVectors, handleOf, type Hypervectors } from "./hypervectors.ts";
import {
  type BindMode,
  bindOperation,
  checkDim,
  checkShift,
  checkSlice,
  DIM_MAX,
  type HypervectorOptions,
  unbindOperation,
} from "./options.ts";
import { filled } from "./ownership.ts";
import { checkPermutation, type Permutation, sourcesOf } from "./permutation.ts";
import {
  countShared,
  isRising,
  moved,
  type Places,
  rotated,
  shared,
  sliced,
  sortedPlaces,
} from "./sorted_places.ts";
import { bindPlaces } from "./sparse_binding.ts";
import { checkSparse, KEY, placesOf, type SparsePlaces, SparseTrits } from "./sparse_trits.ts";

/** How sparse vectors are bound. */
export interface SparseBindOptions {
  /** What binding means. Default: `"multiply"`, which leaves only the places that both have. */
  mode?: BindMode | undefined;
}

const KIND = "SparseHypervector";

const twoCounts = new Float64Array(2);

/** The places of a row's trits. */
function readRow(vectors: Hypervectors, row: number): SparsePlaces {
  const handle = handleOf(vectors);
  check(native.vectors_count(handle, row, 1, twoCounts, 2));
  const [nonzero, minuses] = [twoCounts[0]!, twoCounts[1]!];
  const positive = new Uint32Array(nonzero - minuses);
  const negative = new Uint32Array(minuses);
  check(native.vectors_read_places(handle, row, positive, positive.length, negative, minuses));
  return { positive, negative };
}

/** Writes the trits of a row. */
function writeRow(vectors: Hypervectors, row: number, vector: SparseHypervector): void {
  const { positive, negative } = placesOf(vector);
  const [plus, minus] = [positive.length, negative.length];
  check(native.vectors_write_places(handleOf(vectors), row, positive, plus, negative, minus));
}

/**
 * A vector of -1, 0 and 1 as two sorted lists: the places of 1, and those of -1.
 *
 * Takes 4 bytes a nonzero trit in the memory of JavaScript, less than a `Hypervector` where fewer than
 * one trit in 16 is nonzero, and its operations take time in proportion to their number. It owns
 * nothing native and needs no disposal.
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
export class SparseHypervector extends SparseTrits {
  /** Only for this library: use `from` or `fromIndices`. */
  private constructor(key: symbol, places: SparsePlaces, dim: number) {
    super(key, places, dim);
  }

  /**
   * Takes the nonzero trits of a hypervector, or of an array of -1, 0 and 1; other values throw
   * `invalid_value`.
   *
   * @example
   * ```ts
   * import { Hypervector, SparseHypervector } from "tritter-accel";
   *
   * using dense = Hypervector.random(10_000, 1, { distribution: { zeros: 0.99 } });
   * const sparse = SparseHypervector.from(dense);
   * console.log(sparse.cosine(dense)); // 1
   * console.log(SparseHypervector.from(Int8Array.of(0, 1, 0)).positive); // 1
   * ```
   */
  static from(source: Hypervector | Int8Array | Float32Array): SparseHypervector {
    if (ArrayBuffer.isView(source)) {
      using dense = Hypervector.from(source, { device: "cpu" });
      return SparseHypervector.from(dense);
    }
    const { dim } = checkVector(source, "source");
    return new SparseHypervector(KEY, readRow(source, 0), dim);
  }

  /**
   * Takes the nonzero trits of each row of a batch.
   *
   * @example
   * ```ts
   * import { HypervectorBatch, SparseHypervector } from "tritter-accel";
   *
   * using batch = HypervectorBatch.from(Int8Array.of(0, 1, 0, -1, 0, 0), [2, 3]);
   * const [first, second] = SparseHypervector.fromBatch(batch);
   * console.log(first!.positive, second!.negative); // 1 0
   * ```
   */
  static fromBatch(batch: Hypervectors): SparseHypervector[] {
    const { count, dim } = checkVectors(batch, "batch");
    return Array.from(
      { length: count },
      (_, row) => new SparseHypervector(KEY, readRow(batch, row), dim),
    );
  }

  /**
   * Puts vectors into the rows of a batch.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([0], [2], 4);
   * using batch = SparseHypervector.toBatch([a, a.negate()]);
   * console.log(batch.toInt8Array()); // 1 0 -1 0 -1 0 1 0
   * ```
   */
  static toBatch(
    vectors: readonly SparseHypervector[],
    options?: HypervectorOptions,
  ): HypervectorBatch {
    const rows = checkList(vectors);
    const { dim } = rows[0]!;
    rows.forEach((vector, row) => checkSparse(vector, `vectors[${row}]`, dim));
    return filled(
      new HypervectorBatch(rows.length, dim, options),
      (batch) => rows.forEach((vector, row) => writeRow(batch, row, vector)),
    );
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
    return new SparseHypervector(KEY, { positive: ones, negative: minuses }, dim);
  }

  /**
   * Makes a vector of `dim` trits from what `toPackedBytes` returns, as `Hypervector` does.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * console.log(SparseHypervector.fromPackedBytes(Uint8Array.of(0x48), 4).positive); // 3
   * ```
   */
  static fromPackedBytes(bytes: Uint8Array, dim: number): SparseHypervector {
    using dense = Hypervector.fromPackedBytes(bytes, dim, { device: "cpu" });
    return SparseHypervector.from(dense);
  }

  /**
   * Makes a vector of `dim` trits from what `toBase3Bytes` returns, as `Hypervector` does.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * console.log(SparseHypervector.fromBase3Bytes(Uint8Array.of(122), 2).positive); // 0
   * ```
   */
  static fromBase3Bytes(bytes: Uint8Array, dim: number): SparseHypervector {
    using dense = Hypervector.fromBase3Bytes(bytes, dim, { device: "cpu" });
    return SparseHypervector.from(dense);
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
    return new SparseHypervector(KEY, { positive: ones, negative: minuses }, dim);
  }

  /**
   * Puts vectors one after the other into a longer one.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([0], [2], 4);
   * console.log(SparseHypervector.concat([a, a]).positive); // 0 4
   * ```
   */
  static concat(vectors: readonly SparseHypervector[]): SparseHypervector {
    const list = checkList(vectors);
    const dim = checkDim(list.reduce((sum, part) => sum + part.dim, 0));
    const join = (of: (places: SparsePlaces) => Places): Places => {
      const all = new Uint32Array(list.reduce((sum, part) => sum + of(placesOf(part)).length, 0));
      let [index, first] = [0, 0];
      for (const part of list) {
        for (const place of of(placesOf(part))) all[index++] = first + place;
        first += part.dim;
      }
      return all;
    };
    const positive = join((places) => places.positive);
    return new SparseHypervector(
      KEY,
      { positive, negative: join((places) => places.negative) },
      dim,
    );
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
    const { positive, negative } = placesOf(this);
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
    return filled(new Hypervector(this.dim, options), (vector) => writeRow(vector, 0, this));
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
    const { positive, negative } = placesOf(this);
    const trits = new Int8Array(this.dim);
    for (const place of positive) trits[place] = 1;
    for (const place of negative) trits[place] = -1;
    return trits;
  }

  /**
   * Returns the trits in the wire format, as `Hypervector` does.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * console.log(SparseHypervector.fromIndices([3], [1], 4).toPackedBytes()[0]); // 72
   * ```
   */
  toPackedBytes(): Uint8Array<ArrayBuffer> {
    using dense = this.toHypervector();
    return dense.toPackedBytes();
  }

  /**
   * Returns the trits with 5 of them a byte, as `Hypervector` does.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * console.log(SparseHypervector.fromIndices([0], [], 2).toBase3Bytes()[0]); // 122
   * ```
   */
  toBase3Bytes(): Uint8Array<ArrayBuffer> {
    using dense = this.toHypervector();
    return dense.toBase3Bytes();
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
    const { positive, negative } = placesOf(this);
    return new SparseHypervector(KEY, { positive: negative, negative: positive }, this.dim);
  }

  /**
   * Binds two vectors by `mode`, `"multiply"` unless told; all modes are those of `Hypervector`, whose
   * default is `"add"`.
   *
   * `"multiply"` leaves the places that both have, `"add"` and `"subtract"` all that either has, and
   * can be undone.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([3], [0, 9], 10);
   * const b = SparseHypervector.fromIndices([9], [3, 4], 10);
   * console.log(a.bind(b).negative); // 3 9
   * console.log(a.bind(b, { mode: "add" }).negative); // 0 4
   * ```
   */
  bind(other: SparseHypervector, options?: SparseBindOptions): SparseHypervector {
    const { mode = "multiply" } = checkOptions(options, "options");
    return this.#combine(other, bindOperation(mode));
  }

  /**
   * Undoes `bind` with the same key and mode: exactly with `"add"` and `"subtract"`, with `"multiply"`
   * where the key is not 0.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([3], [0, 9], 10);
   * const key = SparseHypervector.fromIndices([9], [3, 4], 10);
   * const bound = a.bind(key, { mode: "add" });
   * console.log(bound.unbind(key, { mode: "add" }).equals(a)); // true
   * ```
   */
  unbind(key: SparseHypervector, options?: SparseBindOptions): SparseHypervector {
    const { mode = "multiply" } = checkOptions(options, "options");
    return this.#combine(key, unbindOperation(mode));
  }

  #combine(other: SparseHypervector, operation: number): SparseHypervector {
    checkSparse(other, "other", this.dim);
    const places = bindPlaces(placesOf(this), placesOf(other), operation);
    return new SparseHypervector(KEY, places, this.dim);
  }

  /** The same change of both lists. */
  #map(change: (places: Places) => Places, dim: number = this.dim): SparseHypervector {
    const { positive, negative } = placesOf(this);
    return new SparseHypervector(
      KEY,
      { positive: change(positive), negative: change(negative) },
      dim,
    );
  }

  /**
   * Returns the trits from place `start` on up to `end`, which is not included.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * console.log(SparseHypervector.fromIndices([3], [0, 9], 10).slice(2, 5).positive); // 1
   * ```
   */
  slice(start: number, end: number = this.dim): SparseHypervector {
    const first = checkSlice(start, end, this.dim);
    return this.#map((places) => sliced(places, first, end), end - first);
  }

  /**
   * Moves the trits: trit i goes to place (i + shift) mod dim, or where a permutation says, as with
   * `Hypervector.permute`.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * console.log(SparseHypervector.fromIndices([3], [0, 9], 10).permute(2).negative); // 1 2
   * ```
   */
  permute(shift: number | Permutation): SparseHypervector {
    return typeof shift === "number" ? this.#rotate(shift) : this.#reorder(shift, true);
  }

  /**
   * Undoes `permute` of the same shift or permutation.
   *
   * @example
   * ```ts
   * import { SparseHypervector } from "tritter-accel";
   *
   * const a = SparseHypervector.fromIndices([3], [0, 9], 10);
   * console.log(a.permute(4).unpermute(4).equals(a)); // true
   * ```
   */
  unpermute(shift: number | Permutation): SparseHypervector {
    return typeof shift === "number" ? this.#rotate(-shift) : this.#reorder(shift, false);
  }

  #rotate(shift: number): SparseHypervector {
    const by = checkShift(shift, this.dim);
    return this.#map((places) => rotated(places, by, this.dim));
  }

  #reorder(order: Permutation, forth: boolean): SparseHypervector {
    // Where the trits of the inverse come from is where these go.
    const targets = sourcesOf(checkPermutation(order, "shift", this.dim), forth);
    return this.#map((places) => moved(places, targets));
  }
}

/** Checks that a value is a list of sparse vectors, and returns a copy. */
function checkList(vectors: readonly SparseHypervector[]): SparseHypervector[] {
  const list = copyList(vectors);
  list.forEach((vector, index) => checkSparse(vector, `vectors[${index}]`));
  return list;
}
