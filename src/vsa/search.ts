// Rows of vectors against others.

import { checkArray, checkCount, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check } from "../native/library.ts";
import * as calls from "./calls.ts";
import { checkVectors, handleAt, type Hypervectors } from "./hypervectors.ts";
import { metricCode, type SimilarityMetric } from "./options.ts";

/** The most similar rows of a batch, for each query. */
export interface TopK {
  /** Rows, `k` for each query, best first; equal scores in ascending order of rows. */
  indices: Uint32Array<ArrayBuffer>;
  /** Their similarities. */
  scores: Float64Array<ArrayBuffer>;
}

/** Where the most similar rows go: arrays of `k` elements for each query. */
export interface TopKOut {
  /** Takes the rows. */
  indices: Uint32Array;
  /** Takes their similarities. */
  scores: Float64Array;
}

/** Options of `HypervectorBatch.topK`. */
export interface TopKOptions {
  /** What to rank by; `"hamming"` ranks the smallest distance first. Default: `"cosine"`. */
  metric?: SimilarityMetric | undefined;
  /** Searches only so many rows, from the first on. Default: all. */
  rows?: number | undefined;
  /** Takes the result, and is returned, instead of a new object with new arrays. */
  out?: TopKOut | undefined;
}

/** Options of similarities that fill an array. */
export interface SimilarityOptions {
  /** What is measured. Default: `"cosine"`. */
  metric?: SimilarityMetric | undefined;
  /** Takes the result instead of a new array. */
  out?: Float64Array | undefined;
}

/** The array given, of `length` elements, or a new one. */
function resultOf<C extends Float64ArrayConstructor | Uint32ArrayConstructor>(
  type: C,
  length: number,
  out: C["prototype"] | undefined,
  name: string,
): InstanceType<C> {
  if (out !== undefined) return checkArray(out, type, name, length) as InstanceType<C>;
  if (length >= 2 ** 32) {
    throw tritterError(
      "invalid_length",
      `an array must have fewer than 2^32 elements, got ${length} pairs`,
    );
  }
  return new type(length) as InstanceType<C>;
}

/** Checks vectors that go with rows: as many, or one for all. */
export function checkPartner<T extends Hypervectors>(other: T, rows: Hypervectors): T {
  checkVectors(other, "other", rows.dim);
  if (other.count === rows.count || other.count === 1) return other;
  throw tritterError(
    "invalid_shape",
    `other must be 1 or ${rows.count} vectors, got ${other.count}`,
  );
}

/** The handles of rows and of what they meet, which must be where they are. */
function handlesOf(rows: Hypervectors, other: Hypervectors, name: string): [bigint, bigint] {
  const { device } = rows;
  return [handleAt(rows, device, "rows"), handleAt(other, device, name)];
}

/** The similarity of each row to its partner. */
export function pairScores(
  rows: Hypervectors,
  other: Hypervectors,
  options: SimilarityOptions | undefined,
): Float64Array<ArrayBuffer> {
  const { metric, out } = checkOptions(options, "options");
  checkPartner(other, rows);
  const code = metricCode(metric);
  const scores = resultOf(Float64Array, rows.count, out, "out");
  const [a, b] = handlesOf(rows, other, "other");
  check(calls.similarity(rows.device, a, b, code, scores, scores.length));
  return scores;
}

/** The similarity of each row to each of others. */
export function scoreMatrix(
  rows: Hypervectors,
  other: Hypervectors,
  options: SimilarityOptions | undefined,
): Float64Array<ArrayBuffer> {
  const { metric, out } = checkOptions(options, "options");
  checkVectors(other, "other", rows.dim);
  const code = metricCode(metric);
  const scores = resultOf(Float64Array, rows.count * other.count, out, "out");
  const [a, b] = handlesOf(rows, other, "other");
  check(calls.similarityMatrix(rows.device, a, b, code, scores, scores.length));
  return scores;
}

/** The `k` rows that are most similar to each query. */
export function bestRows(
  vectors: Hypervectors,
  queries: Hypervectors,
  k: number,
  options: TopKOptions | undefined,
): TopK {
  const { metric, rows, out } = checkOptions(options, "options");
  checkVectors(queries, "queries", vectors.dim);
  const count = rows === undefined
    ? vectors.count
    : checkCount(rows, "rows", { min: 1, max: vectors.count });
  checkCount(k, "k", { min: 1, max: count });
  const code = metricCode(metric);
  const taken = out === undefined ? undefined : checkOptions(out, "out");
  const found = queries.count * k;
  const indices = resultOf(Uint32Array, found, taken?.indices, "out.indices");
  const scores = resultOf(Float64Array, found, taken?.scores, "out.scores");
  const [a, b] = handlesOf(vectors, queries, "queries");
  check(calls.topK(vectors.device, a, count, b, code, k, indices, found, scores, found));
  return taken === undefined ? { indices, scores } : taken as TopK;
}
