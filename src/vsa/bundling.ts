// What bundles take: options as the library wants them, and lists of vectors.

import { checkArray, checkChoice, checkCount, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { checkVectors, handleOf, type Hypervectors } from "./hypervectors.ts";
import { type BindMode, bindOperation, checkSeed, type OutOptions, type Tie } from "./options.ts";

/** Options of the sign of a sum. */
export interface SignOptions<Out> extends OutOptions<Out> {
  /** What a sum of zero becomes. Default: `"zero"`. */
  tie?: Tie | undefined;
  /** Seed of `tie: "random"`, an integer from 0, below 2^64. Default: 0. */
  seed?: number | bigint | undefined;
  /**
   * Sums of at most this size become 0, an integer from 0, below 2^32; above 0 it asks for
   * `tie: "zero"`. Default: 0.
   */
  threshold?: number | undefined;
}

/** Options of bundling. */
export interface BundleOptions<Out> extends SignOptions<Out> {
  /** A finite factor for each vector, rounded to float32. Default: 1 each. */
  weights?: Float32Array | readonly number[] | undefined;
}

/** In the order of the library. */
const TIES: readonly Tie[] = ["zero", "positive", "random", "first"];

/** How sums become trits, as the library takes it. */
export interface Sign {
  threshold: number;
  tie: number;
  seed: bigint;
}

const PLAIN: Sign = { threshold: 0, tie: 0, seed: 0n };

/** Checks how sums become trits. */
export function signOf(options: SignOptions<never>, ties: readonly Tie[] = TIES): Sign {
  const { tie, seed, threshold } = options;
  if (tie === undefined && seed === undefined && threshold === undefined) return PLAIN;
  const sign: Sign = {
    threshold: threshold === undefined ? 0 : checkCount(threshold, "threshold"),
    tie: TIES.indexOf(checkChoice(tie, ties, "tie", "zero")),
    seed: seed === undefined ? 0n : checkSeed(seed),
  };
  if (sign.threshold > 0 && sign.tie !== 0) {
    throw tritterError(
      "invalid_option",
      `tie must be "zero" with a threshold, got ${describe(tie)}`,
    );
  }
  return sign;
}

const NO_WEIGHTS = new Float32Array(0);

/** Checks weights, one for each of `count` vectors; an empty array where all are 1. */
export function weightsOf(weights: BundleOptions<never>["weights"], count: number): Float32Array {
  if (weights === undefined) return NO_WEIGHTS;
  if (Array.isArray(weights)) {
    weights.forEach((weight: unknown, index) => {
      if (typeof weight === "number") return;
      throw tritterError(
        "invalid_type",
        `weights[${index}] must be a number, got ${describe(weight)}`,
      );
    });
  }
  const values = Array.isArray(weights) ? Float32Array.from(weights) : weights as Float32Array;
  checkArray(values, Float32Array, "weights", count);
  for (let index = 0; index < count; index++) {
    if (Number.isFinite(values[index])) continue;
    throw tritterError(
      "invalid_value",
      `weights[${index}] must be finite as float32, got ${weights[index]}`,
    );
  }
  return values;
}

/** Handles of a call's vectors and of its result; grows and is used again. */
let handles = new BigUint64Array(64);

/** Checks single vectors and writes down their handles; the result's comes after them. */
function list(vectors: readonly Hypervectors[], out: Hypervectors): number {
  const count = vectors.length;
  if (handles.length <= count) handles = new BigUint64Array(2 * count);
  for (let index = 0; index < count; index++) {
    const vector = checkSingle(vectors[index]!, index);
    if (vector.dim !== out.dim) checkVectors(vector, `vectors[${index}]`, out.dim);
    handles[index] = handleOf(vector);
  }
  handles[count] = handleOf(out);
  return count + 1;
}

function checkSingle<T extends Hypervectors>(vector: T, index: number): T {
  checkVectors(vector, `vectors[${index}]`);
  if (vector.count === 1) return vector;
  throw tritterError(
    "invalid_shape",
    `vectors[${index}] must be a single vector, got ${vector.count} vectors`,
  );
}

/** Checks a list of vectors and returns the first. */
export function firstOf<T extends Hypervectors>(vectors: readonly T[]): T {
  if (!Array.isArray(vectors) || vectors.length === 0) {
    throw tritterError(
      "invalid_value",
      `vectors must be a list of at least one hypervector, got ${describe(vectors)}`,
    );
  }
  return checkSingle(vectors[0] as T, 0);
}

/** Bundles single vectors into another. */
export function bundleList<T extends Hypervectors>(
  vectors: readonly T[],
  out: T,
  options: BundleOptions<T>,
): T {
  const { threshold, tie, seed } = signOf(options as SignOptions<never>);
  const weights = weightsOf(options.weights, vectors.length);
  const length = list(vectors, out);
  check(native.vectors_bundle(
    handles,
    length,
    weights,
    weights.length,
    threshold,
    tie,
    seed,
  ));
  return out;
}

/** Bundles each `group` rows into a row of the result. */
export function bundleRows<T extends Hypervectors>(
  rows: Hypervectors,
  group: number,
  out: T,
  options: BundleOptions<T>,
): T {
  const { threshold, tie, seed } = signOf(options as SignOptions<never>);
  const weights = weightsOf(options.weights, group);
  check(native.vectors_bundle_rows(
    handleOf(rows),
    group,
    handleOf(out),
    weights,
    weights.length,
    threshold,
    tie,
    seed,
  ));
  return out;
}

/** Binds single vectors from the left into another. */
export function bindList<T extends Hypervectors>(
  vectors: readonly T[],
  out: T,
  mode: BindMode | undefined,
): T {
  const operation = bindOperation(mode);
  const length = list(vectors, out);
  check(native.vectors_bind_many(handles, length, operation));
  return out;
}

/** Binds rows from the left into a vector. */
export function bindRows<T extends Hypervectors>(
  rows: Hypervectors,
  out: T,
  mode: BindMode | undefined,
): T {
  check(native.vectors_bind_rows(handleOf(rows), handleOf(out), bindOperation(mode)));
  return out;
}

/** Checks that a vector to write to is a single one of these dimensions. */
export function checkOut<T extends Hypervectors>(out: T, dim: number): T {
  checkVectors(out, "out", dim);
  if (out.count === 1) return out;
  throw tritterError("invalid_shape", `out must be a single vector, got ${out.count} vectors`);
}
