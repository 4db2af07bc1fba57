// Hypervectors as arrays of bytes: one function for each operation.

import { checkArray, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import type { BundleOptions } from "./bundling.ts";
import type { Place } from "../device.ts";
import { type DevicePreference, preferredPlace } from "./device_preference.ts";
import { checkTrits } from "./formats.ts";
import { Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { handleOf } from "./hypervectors.ts";
import {
  type BindMode,
  bindOperation,
  checkDim,
  type Distribution,
  metricCode,
  type SimilarityMetric,
  unbindOperation,
} from "./options.ts";

/** What the functions on arrays of trits have in common. */
export interface VsaFunctionOptions {
  /**
   * Device that computes. Arrays travel to a GPU and back, which takes longer than the CPU needs for the
   * work; what stays there is a `Hypervector`. Default: the default device.
   */
  device?: DevicePreference | undefined;
}

/** Options of the functions on arrays of trits that return such an array. */
export interface VsaArrayOptions extends VsaFunctionOptions {
  /** Takes the result, of as many elements, instead of a new array; may be an operand. */
  out?: Int8Array | undefined;
}

/** Options of `vsaRandom`. */
export interface VsaRandomOptions extends VsaArrayOptions {
  /** Share of each trit. Default: `"ternary"`, a third each. */
  distribution?: Distribution | undefined;
}

/** Options of `vsaBind` and `vsaUnbind`. */
export interface VsaBindOptions extends VsaArrayOptions {
  /** What binding means. Default: `"add"`. */
  mode?: BindMode | undefined;
}

/** Options of `vsaSimilarity`. */
export interface VsaSimilarityOptions extends VsaFunctionOptions {
  /** What is measured; `"hamming"` is the number of trits that differ. Default: `"cosine"`. */
  metric?: SimilarityMetric | undefined;
}

/** Options of `vsaBundle`: those of `Hypervector.bundle`, and where it runs. */
export interface VsaBundleOptions
  extends VsaArrayOptions, Omit<BundleOptions<Hypervector>, "out"> {}

const oneScore = new Float64Array(1);

/** Checks an array of trits, and returns them as bytes; what bytes are is checked natively. */
function tritsOf(trits: Int8Array | Float32Array, name: string, length?: number): Int8Array {
  const checked = checkTrits(trits, name, length);
  if (checked.length > 0) return checked instanceof Int8Array ? checked : new Int8Array(checked);
  throw tritterError("invalid_length", `${name} must have at least 1 element, got 0`);
}

/** Where a result goes. */
function targetOf(out: Int8Array | undefined, length: number): Int8Array<ArrayBuffer> {
  return (out === undefined
    ? new Int8Array(length)
    : checkArray(out, Int8Array, "out", length)) as Int8Array<ArrayBuffer>;
}

/** Runs something on copies of two arrays on a device. */
function withCopies<T>(
  x: Int8Array,
  y: Int8Array,
  device: Place,
  run: (x: Hypervector, y: Hypervector) => T,
): T {
  using first = Hypervector.from(x, { device });
  using second = Hypervector.from(y, { device });
  return run(first, second);
}

/** What binding and its undoing take, by these names, and what the library calls them. */
const COMBINATIONS = {
  bind: { names: ["a", "b"], operationOf: bindOperation },
  unbind: { names: ["bound", "key"], operationOf: unbindOperation },
} as const;

/** Binds or unbinds two arrays. */
function combine(
  how: keyof typeof COMBINATIONS,
  a: Int8Array | Float32Array,
  b: Int8Array | Float32Array,
  options: VsaBindOptions | undefined,
): Int8Array<ArrayBuffer> {
  const { device, out, mode } = checkOptions(options, "options");
  const { names, operationOf } = COMBINATIONS[how];
  const operation = operationOf(mode);
  const place = preferredPlace(device);
  const x = tritsOf(a, names[0]);
  const y = tritsOf(b, names[1], x.length);
  const target = targetOf(out, x.length);
  if (place !== "cpu") {
    return withCopies(x, y, place, (first, second) => {
      using result = first[how](second, { mode });
      return result.toInt8Array({ out: target });
    });
  }
  check(native.trits_bind(x, x.length, y, y.length, target, target.length, operation));
  return target;
}

/**
 * Returns a random vector of -1, 0 and 1, the same for the same seed on every machine.
 *
 * The trits are those of `Hypervector.random`, whose documentation has the mapping. The seed is an
 * integer from 0, below 2^64.
 *
 * @example
 * ```ts
 * import { vsaRandom } from "tritter-accel";
 *
 * const apple = vsaRandom(10_000, 42);
 * console.log(apple.length); // 10000
 * ```
 */
export function vsaRandom(
  dim: number,
  seed: number | bigint,
  options?: VsaRandomOptions,
): Int8Array<ArrayBuffer> {
  const { distribution, device, out } = checkOptions(options, "options");
  // Before the work, which may take seconds.
  if (out !== undefined) checkArray(out, Int8Array, "out", checkDim(dim));
  using vector = Hypervector.random(dim, seed, { distribution, device: preferredPlace(device) });
  return vector.toInt8Array({ out });
}

/**
 * Binds two vectors of -1, 0 and 1, element by element.
 *
 * With the default mode, the sum modulo 3 in balanced digits, `vsaUnbind` gives either operand back
 * exactly. A Float32Array may hold the trits as well; the result is an Int8Array. Throws
 * `invalid_length` for arrays of different lengths and `invalid_value` for other values.
 *
 * @example
 * ```ts
 * import { vsaBind, vsaRandom, vsaSimilarity, vsaUnbind } from "tritter-accel";
 *
 * const apple = vsaRandom(10_000, 42);
 * const red = vsaRandom(10_000, 43);
 * const redApple = vsaBind(apple, red);
 * console.log(vsaSimilarity(vsaUnbind(redApple, apple), red)); // 1
 * ```
 */
export function vsaBind(
  a: Int8Array | Float32Array,
  b: Int8Array | Float32Array,
  options?: VsaBindOptions,
): Int8Array<ArrayBuffer> {
  return combine("bind", a, b, options);
}

/**
 * Undoes `vsaBind` with the same key and mode; see {@linkcode BindMode} for when that is exact.
 *
 * Throws `invalid_length` for arrays of different lengths and `invalid_value` for other values than
 * -1, 0 and 1.
 *
 * @example
 * ```ts
 * import { vsaBind, vsaUnbind } from "tritter-accel";
 *
 * const bound = vsaBind(Int8Array.of(1, 0, -1), Int8Array.of(1, 1, 1));
 * console.log(vsaUnbind(bound, Int8Array.of(1, 1, 1))); // Int8Array(3) [ 1, 0, -1 ]
 * ```
 */
export function vsaUnbind(
  bound: Int8Array | Float32Array,
  key: Int8Array | Float32Array,
  options?: VsaBindOptions,
): Int8Array<ArrayBuffer> {
  return combine("unbind", bound, key, options);
}

/**
 * Bundles vectors of -1, 0 and 1: the sign of their sum, element by element; 0 where that is 0.
 *
 * `weights`, `tie`, `seed` and `threshold` are those of `Hypervector.bundle`. Throws `invalid_value` for
 * an empty list and for other values than -1, 0 and 1, `invalid_length` for arrays of different
 * lengths.
 *
 * @example
 * ```ts
 * import { vsaBundle } from "tritter-accel";
 *
 * const votes = [Int8Array.of(1, 1, -1, 0), Int8Array.of(1, -1, -1, 1), Int8Array.of(1, 0, 1, -1)];
 * console.log(vsaBundle(votes)); // Int8Array(4) [ 1, 0, -1, 0 ]
 * ```
 */
export function vsaBundle(
  vectors: readonly (Int8Array | Float32Array)[],
  options?: VsaBundleOptions,
): Int8Array<ArrayBuffer> {
  const { weights, tie, seed, threshold, device, out } = checkOptions(options, "options");
  if (!Array.isArray(vectors)) {
    throw tritterError("invalid_type", `vectors must be an array, got ${describe(vectors)}`);
  }
  if (vectors.length === 0) {
    throw tritterError("invalid_value", "vectors must hold at least one vector");
  }
  const dim = tritsOf(vectors[0], "vectors[0]").length;
  // A list of its own, so that what has been checked is what is read.
  const rows = Array.from(vectors, (vector, index) => tritsOf(vector, `vectors[${index}]`, dim));
  const target = targetOf(out, dim);
  const place = preferredPlace(device);
  using host = new HypervectorBatch(rows.length, dim, { device: "cpu" });
  rows.forEach((vector, row) => {
    check(native.vectors_write_i8(handleOf(host), row, vector, dim));
  });
  using batch = host.to(place);
  using bundled = batch.bundle({ weights, tie, seed, threshold });
  return bundled.toInt8Array({ out: target });
}

/**
 * Returns how similar two vectors of -1, 0 and 1 are by `metric`, the cosine unless told.
 *
 * Throws `invalid_length` for arrays of different lengths and `invalid_value` for other values.
 *
 * @example
 * ```ts
 * import { vsaSimilarity } from "tritter-accel";
 *
 * const a = Int8Array.of(1, 0, -1, 1);
 * const b = Int8Array.of(1, -1, -1, 0);
 * console.log(vsaSimilarity(a, b, { metric: "dot" })); // 2
 * console.log(vsaSimilarity(a, b, { metric: "hamming" })); // 2
 * ```
 */
export function vsaSimilarity(
  a: Int8Array | Float32Array,
  b: Int8Array | Float32Array,
  options?: VsaSimilarityOptions,
): number {
  const { metric, device } = checkOptions(options, "options");
  const place = preferredPlace(device);
  const code = metricCode(metric);
  const x = tritsOf(a, "a");
  const y = tritsOf(b, "b", x.length);
  if (place !== "cpu") {
    return withCopies(x, y, place, (first, second) => first.similarity(second, { metric }));
  }
  check(native.trits_similarity(x, x.length, y, y.length, code, oneScore, 1));
  return oneScore[0]!;
}
