// What bundles take: options as the library wants them, and lists of vectors.

import { checkArray, checkChoice, checkCount, describe } from "../checks.ts";
import type { Place } from "../device.ts";
import { tritterError } from "../errors.ts";
import * as calls from "./calls.ts";
import { checkVectors, handleAt, type Hypervectors, writeHandlesOf } from "./hypervectors.ts";
import {
  bindOperation,
  type BindOptions,
  checkSeed,
  type OutOptions,
  type Tie,
} from "./options.ts";
import { settled } from "./ownership.ts";

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
let halves = new Uint32Array(handles.buffer);
/** What the vectors of a call have in common. */
interface Like {
  readonly dim: number;
  readonly device: Place;
}

/** Whether they are being written: a getter of the caller's list may bundle others meanwhile. */
let isWriting = false;

function fillHandles(
  vectors: readonly Hypervectors[],
  count: number,
  like: Like,
  target: Uint32Array,
): void {
  const written = writeHandlesOf(vectors, count, like, target);
  if (written === count) return;
  const name = `vectors[${written}]`;
  handleAt(checkVectors(checkSingle(vectors[written]!, name), name, like.dim), like.device, name);
  throw tritterError("invalid_value", `${name} must stay what it is while it is read`);
}

/** The handles of single vectors that are like one, and room for one more. */
function handlesOf(
  vectors: readonly Hypervectors[],
  count: number,
  like: Like,
): BigUint64Array<ArrayBuffer> {
  if (isWriting) {
    const own = new BigUint64Array(count + 1);
    fillHandles(vectors, count, like, new Uint32Array(own.buffer));
    return own;
  }
  if (handles.length <= count) {
    handles = new BigUint64Array(2 * count);
    halves = new Uint32Array(handles.buffer);
  }
  isWriting = true;
  try {
    fillHandles(vectors, count, like, halves);
  } finally {
    isWriting = false;
  }
  return handles;
}

/** Checks that a value is one vector, also that of a batch of one. */
export function checkSingle<T extends Hypervectors>(value: T, name: string, dim?: number): T {
  checkVectors(value, name, dim);
  if (value.count === 1) return value;
  throw tritterError(
    "invalid_shape",
    `${name} must be a single vector, got ${value.count} vectors`,
  );
}

/** Checks that a value is a list of something. */
function checkList(vectors: readonly unknown[]): void {
  if (Array.isArray(vectors) && vectors.length > 0) return;
  throw tritterError(
    "invalid_value",
    `vectors must be a list of at least one hypervector, got ${describe(vectors)}`,
  );
}

/** Checks that a value is a list, and returns a copy: what has been checked is what is read. */
export function copyList<T>(vectors: readonly T[]): T[] {
  checkList(vectors);
  return [...vectors];
}

/** Bundles single vectors; `make` makes the result where there is no `out`. */
export function bundleList<T extends Hypervectors>(
  vectors: readonly T[],
  options: BundleOptions<T>,
  make: (like: T) => T,
): T {
  checkList(vectors);
  const { threshold, tie, seed } = signOf(options as SignOptions<never>);
  const { length } = vectors;
  const weights = weightsOf(options.weights, length);
  const first = checkSingle(vectors[0]!, "vectors[0]");
  const out = checkOut(options.out, first);
  const list = handlesOf(vectors, length, first);
  const target = out ?? make(first);
  list[length] = handleAt(target, first.device, "out");
  return settled(
    calls.bundle(first.device, list, length + 1, weights, weights.length, threshold, tie, seed),
    target,
    out,
  );
}

/** Binds single vectors from the left; `make` makes the result where there is no `out`. */
export function bindList<T extends Hypervectors>(
  vectors: readonly T[],
  options: BindOptions<T>,
  make: (like: T) => T,
): T {
  checkList(vectors);
  const operation = bindOperation(options.mode);
  const { length } = vectors;
  const first = checkSingle(vectors[0]!, "vectors[0]");
  const out = checkOut(options.out, first);
  const list = handlesOf(vectors, length, first);
  const target = out ?? make(first);
  list[length] = handleAt(target, first.device, "out");
  return settled(calls.bindMany(first.device, list, length + 1, operation), target, out);
}

/** Checks what is to take a result, where there is such: as many vectors of these dimensions. */
export function checkOut<T extends Hypervectors>(
  out: T | undefined,
  { dim, device }: Like,
  count = 1,
): T | undefined {
  if (out === undefined) return out;
  if (checkVectors(out, "out", dim).count === count) {
    handleAt(out, device, "out");
    return out;
  }
  const wanted = count === 1 ? "1 vector" : `${count} vectors`;
  throw tritterError("invalid_shape", `out must be ${wanted}, got ${out.count} vectors`);
}

/** Rows that become fewer: each `size` of them one. */
export interface Groups {
  rows: Hypervectors;
  size: number;
  /** Rows of the result. */
  count: number;
}

/** Checks the size of groups of rows. */
export function groupsOf(rows: Hypervectors, size: number): Groups {
  checkCount(size, "size", { min: 1 });
  if (rows.count % size === 0) return { rows, size, count: rows.count / size };
  throw tritterError("invalid_shape", `size must divide ${rows.count} rows, got ${size}`);
}

/** Bundles each group into a row of the result; `make` makes that where there is no `out`. */
export function bundleGroups<T extends Hypervectors>(
  { rows, size, count }: Groups,
  options: BundleOptions<T>,
  make: (count: number) => T,
): T {
  const { threshold, tie, seed } = signOf(options as SignOptions<never>);
  const weights = weightsOf(options.weights, size);
  const { length } = weights;
  const out = checkOut(options.out, rows, count);
  const { device } = rows;
  const from = handleAt(rows, device, "rows");
  const target = out ?? make(count);
  const to = handleAt(target, device, "out");
  return settled(
    calls.bundleRows(device, from, size, to, weights, length, threshold, tie, seed),
    target,
    out,
  );
}

/** Binds each group from the left into a row of the result. */
export function bindGroups<T extends Hypervectors>(
  { rows, size, count }: Groups,
  options: BindOptions<T>,
  make: (count: number) => T,
): T {
  const operation = bindOperation(options.mode);
  const out = checkOut(options.out, rows, count);
  const { device } = rows;
  const from = handleAt(rows, device, "rows");
  const target = out ?? make(count);
  const to = handleAt(target, device, "out");
  return settled(calls.bindRows(device, from, size, to, operation), target, out);
}
