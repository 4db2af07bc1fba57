// What both the CPU and CUDA devices do with vectors, by where those are; each returns a status.
//
// The arguments are those of the library's functions. Functions of a module and not an object of them:
// what is called is then known when the caller is compiled, which short vectors notice.

import type { Place } from "../device.ts";
import { native } from "../native/library.ts";

/** Binds rows. */
export function bind(place: Place, a: bigint, b: bigint, out: bigint, operation: number): number {
  return place === "cpu"
    ? native.vectors_bind(a, b, out, operation)
    : native.cuda_vectors_bind(a, b, out, operation);
}

/** Binds single vectors from the left. */
export function bindMany(
  place: Place,
  list: BigUint64Array,
  listLength: number,
  operation: number,
): number {
  return place === "cpu"
    ? native.vectors_bind_many(list, listLength, operation)
    : native.cuda_vectors_bind_many(list, listLength, operation);
}

/** Binds groups of rows from the left. */
export function bindRows(
  place: Place,
  source: bigint,
  group: number,
  out: bigint,
  operation: number,
): number {
  return place === "cpu"
    ? native.vectors_bind_rows(source, group, out, operation)
    : native.cuda_vectors_bind_rows(source, group, out, operation);
}

/** Bundles single vectors. */
export function bundle(
  place: Place,
  list: BigUint64Array,
  listLength: number,
  weights: Float32Array,
  weightsLength: number,
  threshold: number,
  tie: number,
  seed: bigint,
): number {
  return place === "cpu"
    ? native.vectors_bundle(list, listLength, weights, weightsLength, threshold, tie, seed)
    : native.cuda_vectors_bundle(list, listLength, weights, weightsLength, threshold, tie, seed);
}

/** Bundles groups of rows. */
export function bundleRows(
  place: Place,
  source: bigint,
  group: number,
  out: bigint,
  weights: Float32Array,
  weightsLength: number,
  threshold: number,
  tie: number,
  seed: bigint,
): number {
  return place === "cpu"
    ? native.vectors_bundle_rows(source, group, out, weights, weightsLength, threshold, tie, seed)
    : native.cuda_vectors_bundle_rows(
      source,
      group,
      out,
      weights,
      weightsLength,
      threshold,
      tie,
      seed,
    );
}

/** Copies rows. */
export function copy(
  place: Place,
  source: bigint,
  sourceRow: number,
  target: bigint,
  targetRow: number,
  rows: number,
): number {
  return place === "cpu"
    ? native.vectors_copy(source, sourceRow, target, targetRow, rows)
    : native.cuda_vectors_copy(source, sourceRow, target, targetRow, rows);
}

/** Counts trits over rows. */
export function count(
  place: Place,
  handle: bigint,
  row: number,
  rows: number,
  counts: Float64Array,
  countsLength: number,
): number {
  return place === "cpu"
    ? native.vectors_count(handle, row, rows, counts, countsLength)
    : native.cuda_vectors_count(handle, row, rows, counts, countsLength);
}

/** Counts trits of each row. */
export function countRows(
  place: Place,
  handle: bigint,
  counts: Uint32Array,
  countsLength: number,
): number {
  return place === "cpu"
    ? native.vectors_count_rows(handle, counts, countsLength)
    : native.cuda_vectors_count_rows(handle, counts, countsLength);
}

/** Compares all trits. */
export function equal(
  place: Place,
  a: bigint,
  b: bigint,
  equal: Uint32Array,
  equalLength: number,
): number {
  return place === "cpu"
    ? native.vectors_equal(a, b, equal, equalLength)
    : native.cuda_vectors_equal(a, b, equal, equalLength);
}

/** Changes signs. */
export function negate(place: Place, a: bigint, out: bigint): number {
  return place === "cpu" ? native.vectors_negate(a, out) : native.cuda_vectors_negate(a, out);
}

/** Draws random trits. */
export function random(place: Place, handle: bigint, seed: bigint, below: number): number {
  return place === "cpu"
    ? native.vectors_random(handle, seed, below)
    : native.cuda_vectors_random(handle, seed, below);
}

/** Moves trits round and round. */
export function rotate(place: Place, a: bigint, out: bigint, shift: number): number {
  return place === "cpu"
    ? native.vectors_rotate(a, out, shift)
    : native.cuda_vectors_rotate(a, out, shift);
}

/** Scores pairs of rows. */
export function similarity(
  place: Place,
  a: bigint,
  b: bigint,
  metric: number,
  scores: Float64Array,
  scoresLength: number,
): number {
  return place === "cpu"
    ? native.vectors_similarity(a, b, metric, scores, scoresLength)
    : native.cuda_vectors_similarity(a, b, metric, scores, scoresLength);
}

/** Scores all pairs. */
export function similarityMatrix(
  place: Place,
  rows: bigint,
  queries: bigint,
  metric: number,
  scores: Float64Array,
  scoresLength: number,
): number {
  return place === "cpu"
    ? native.vectors_similarity_matrix(rows, queries, metric, scores, scoresLength)
    : native.cuda_vectors_similarity_matrix(rows, queries, metric, scores, scoresLength);
}

/** Finds the best rows. */
export function topK(
  place: Place,
  rows: bigint,
  rowCount: number,
  queries: bigint,
  metric: number,
  k: number,
  indices: Uint32Array,
  indicesLength: number,
  scores: Float64Array,
  scoresLength: number,
): number {
  return place === "cpu"
    ? native.vectors_top_k(
      rows,
      rowCount,
      queries,
      metric,
      k,
      indices,
      indicesLength,
      scores,
      scoresLength,
    )
    : native.cuda_vectors_top_k(
      rows,
      rowCount,
      queries,
      metric,
      k,
      indices,
      indicesLength,
      scores,
      scoresLength,
    );
}
