// Many vectors as one: sets, sequences by position, sequences by n-grams.

import { checkCount, checkOptions } from "../checks.ts";
import { native } from "../native/library.ts";
import type { BundleOptions } from "./bundling.ts";
import type { Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { handleOf } from "./hypervectors.ts";
import { filled, settled } from "./ownership.ts";
import { checkBatch, checkStructureMode, type StructureMode } from "./superposition.ts";

/** Several vectors of the same dimensions, in order. */
export type VectorList = HypervectorBatch | readonly Hypervector[];

/** Options of `encodeNgrams`. */
export interface EncodeNgramsOptions extends BundleOptions<Hypervector> {
  /** How the vectors of an n-gram are bound. Default: `"multiply"`. */
  mode?: StructureMode | undefined;
}

/** Calls a function with the vectors as a batch, which is gone afterwards unless it was one. */
function withBatch<T>(vectors: VectorList, use: (batch: HypervectorBatch) => T): T {
  if (!Array.isArray(vectors)) return use(checkBatch(vectors as HypervectorBatch, "vectors"));
  using batch = HypervectorBatch.of(vectors);
  return use(batch);
}

/**
 * Encodes a set of vectors as one that is similar to each of them: their bundle.
 *
 * A vector that is given twice counts twice. The options are those of `HypervectorBatch.bundle`.
 * Among n random bipolar vectors, n odd, each has a cosine of about sqrt(2 / (pi n)) with the set.
 *
 * @example
 * ```ts
 * import { encodeSet, Hypervector, HypervectorBatch } from "tritter-accel";
 *
 * using colours = HypervectorBatch.random(3, 10_000, 1, { distribution: "bipolar" });
 * using set = encodeSet(colours);
 * using red = colours.get(0);
 * using loud = Hypervector.random(10_000, 2);
 * console.log(set.cosine(red) > 0.4, Math.abs(set.cosine(loud)) < 0.1); // true true
 * ```
 */
export function encodeSet(vectors: VectorList, options?: BundleOptions<Hypervector>): Hypervector {
  return withBatch(vectors, (batch) => batch.bundle(options));
}

/**
 * Encodes a sequence as the bundle of its vectors, vector i permuted cyclically by i.
 *
 * `sequence.unpermute(i)` is then similar to vector i: clean it up with an `ItemMemory`. The options
 * are those of `HypervectorBatch.bundle`. Source: bundle_sequence of torchhd; here the first vector,
 * not the last, is the one that is not permuted. `Sequence` is the same with vectors added and
 * removed at both ends.
 *
 * @example
 * ```ts
 * import { encodeSequence, HypervectorBatch } from "tritter-accel";
 *
 * using letters = HypervectorBatch.random(3, 10_000, 1, { distribution: "bipolar" });
 * using word = encodeSequence(letters);
 * using last = word.unpermute(2);
 * console.log([...letters.similarity(last)].map((cosine) => cosine > 0.25)); // false false true
 * ```
 */
export function encodeSequence(
  vectors: VectorList,
  options?: BundleOptions<Hypervector>,
): Hypervector {
  return withBatch(vectors, (batch) => {
    using shifted = batch.copy();
    using vector = batch.get(0);
    for (let row = 1; row < batch.count; row++) {
      batch.get(row, { out: vector }).permute(row, { out: vector });
      shifted.set(row, vector);
    }
    return shifted.bundle(options);
  });
}

/**
 * Encodes a sequence as the bundle of its n-grams, each the binding of n neighbours.
 *
 * In an n-gram the last vector stays as it is, the one before it is permuted cyclically by 1, and so
 * on, so that order matters (Joshi, Halseth, Kanerva 2016; ngrams of torchhd). One n-gram of all
 * vectors is what torchhd calls bind_sequence. Throws `invalid_value` where `n` is larger than the
 * number of vectors. The other options are those of `HypervectorBatch.bundle`.
 *
 * @example
 * ```ts
 * import { encodeNgrams, HypervectorBatch } from "tritter-accel";
 *
 * using letters = HypervectorBatch.random(5, 10_000, 1, { distribution: "bipolar" });
 * using trigrams = encodeNgrams(letters, 3);
 * console.log(trigrams.sparsity); // 0: the bundle of three bipolar trigrams has no ties
 * ```
 */
export function encodeNgrams(
  vectors: VectorList,
  n: number,
  options?: EncodeNgramsOptions,
): Hypervector {
  return withBatch(vectors, (batch) => {
    using grams = boundNgrams(batch, n, checkStructureMode(options));
    const { tie, seed, threshold, weights, out } = checkOptions(options, "options");
    return grams.bundle({ tie, seed, threshold, weights, out });
  });
}

/** The n-grams themselves, a row for each. */
export function boundNgrams(
  vectors: HypervectorBatch,
  n: number,
  mode: StructureMode,
): HypervectorBatch {
  checkCount(n, "n", { min: 1, max: vectors.count });
  return filled(rowsFrom(vectors, n - 1, vectors.count - n + 1), (grams) => {
    for (let before = 1; before < n; before++) {
      using part = rowsFrom(vectors, n - 1 - before, grams.count);
      grams.bind(part.permute(before, { out: part }), { mode, out: grams });
    }
  });
}

/** A copy of some of the rows. */
function rowsFrom(vectors: HypervectorBatch, row: number, count: number): HypervectorBatch {
  const from = handleOf(vectors);
  const part = new HypervectorBatch(count, vectors.dim, { device: vectors.device });
  return settled(native.vectors_copy(from, row, handleOf(part), 0, count), part, undefined);
}
