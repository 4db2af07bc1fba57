// What the operations on hypervectors take: names, and the numbers that stand for them natively.

import { checkCount, checkNumber, checkOptions, describe } from "../checks.ts";
import { type Device, type Place, placeOf, resolveDevice } from "../device.ts";
import { tritterError } from "../errors.ts";

/** The most dimensions that a hypervector can have. */
export const DIM_MAX: number = 2 ** 31;

/**
 * How two hypervectors are bound, element by element in balanced digits.
 *
 * | mode         | bind         | unbind       | good for                                                |
 * | ------------ | ------------ | ------------ | ------------------------------------------------------- |
 * | `"add"`      | (a + b) mod 3 | (a - b) mod 3 | exact recovery from a pair; commutative, associative   |
 * | `"multiply"` | a * b        | a * b        | records; its own inverse where the key has no zero      |
 * | `"subtract"` | (a - b) mod 3 | (a + b) mod 3 | what trit-vsa computes; not commutative                 |
 */
export type BindMode = "add" | "multiply" | "subtract";

/**
 * How random trits are drawn: a third each of -1, 0 and 1, none of 0, or a share of zeros.
 */
export type Distribution = "ternary" | "bipolar" | {
  /** Probability of 0, from 0 to 1; -1 and 1 share the rest. */
  zeros: number;
};

/**
 * What a similarity measures.
 *
 * | metric                | value                                                                 |
 * | --------------------- | --------------------------------------------------------------------- |
 * | `"cosine"`            | dot / sqrt(nonzeros of a x nonzeros of b); 0 where one has none       |
 * | `"dot"`               | sum of the products                                                   |
 * | `"hamming"`           | trits that differ                                                     |
 * | `"hammingSimilarity"` | 1 - trits that differ / dimensions                                    |
 * | `"overlap"`           | dimensions in which both are nonzero                                  |
 * | `"jaccard"`           | overlap / dimensions in which either is nonzero; 0 where none is      |
 */
export type SimilarityMetric =
  | "cosine"
  | "dot"
  | "hamming"
  | "hammingSimilarity"
  | "overlap"
  | "jaccard";

/**
 * What a sum of zero becomes when vectors are bundled.
 *
 * | tie          | trit                                                                            |
 * | ------------ | ------------------------------------------------------------------------------- |
 * | `"zero"`     | 0                                                                               |
 * | `"positive"` | 1                                                                               |
 * | `"random"`   | that of a bipolar random vector of the seed, with 2 as last word of the counter |
 * | `"first"`    | that of the first vector, which may be 0                                        |
 */
export type Tie = "zero" | "positive" | "random" | "first";

/** Where new hypervectors are kept. */
export interface HypervectorOptions {
  /** Device that holds them and computes with them. Default: the default device. */
  device?: Device | undefined;
}

/** How random hypervectors are drawn. */
export interface RandomOptions extends HypervectorOptions {
  /** Share of each trit. Default: `"ternary"`, a third each. */
  distribution?: Distribution | undefined;
}

/** How many trits of each kind there are. */
export interface TritCounts {
  /** Trits of 1. */
  positive: number;
  /** Trits of -1. */
  negative: number;
  /** Trits of 0. */
  zero: number;
}

/** Where a result goes; `Out` is a `Hypervector` or a `HypervectorBatch`. */
export interface OutOptions<Out> {
  /** Vectors of the result's shape to write to instead of allocating; may be an operand. */
  out?: Out | undefined;
}

/** Options of binding. */
export interface BindOptions<Out> extends OutOptions<Out> {
  /** What binding means. Default: `"add"`. */
  mode?: BindMode | undefined;
}

/** Options of thinning. */
export interface ThinOptions<Out> extends OutOptions<Out> {
  /** Probability with which a nonzero trit is kept, from 0 to 1. */
  keep: number;
  /** What the choice is made from, an integer from 0, below 2^64. Default: 0. */
  seed?: number | bigint | undefined;
}

const METRICS: readonly SimilarityMetric[] = [
  "dot",
  "cosine",
  "hamming",
  "hammingSimilarity",
  "overlap",
  "jaccard",
];

/** In the order of the operations of the library. */
const BIND = { add: 0, subtract: 1, multiply: 2 } as const;
const UNBIND = { add: 1, subtract: 0, multiply: 2 } as const;

/** Asked of strings only: what an object is as a name is its own code. */
function isMode(mode: unknown): mode is BindMode {
  return typeof mode === "string" && Object.hasOwn(BIND, mode);
}

function checkMode(mode: unknown): never {
  throw tritterError(
    "invalid_option",
    `mode must be one of "add", "multiply", "subtract", got ${describe(mode)}`,
  );
}

/** The native operation that binds. */
export function bindOperation(mode: BindMode = "add"): number {
  return isMode(mode) ? BIND[mode] : checkMode(mode);
}

/** The native operation that unbinds. */
export function unbindOperation(mode: BindMode = "add"): number {
  return isMode(mode) ? UNBIND[mode] : checkMode(mode);
}

/** The number of a metric in the library. */
export function metricCode(metric: SimilarityMetric = "cosine"): number {
  const code = METRICS.indexOf(metric);
  if (code >= 0) return code;
  const names = METRICS.map((name) => `"${name}"`).join(", ");
  throw tritterError("invalid_option", `metric must be one of ${names}, got ${describe(metric)}`);
}

/** Stands for bipolar vectors where the library takes a share. */
const BIPOLAR = 2 ** 32 - 1;

/** The share of -1, and of 1, times 2^32, of a distribution. */
export function randomShare(distribution: Distribution = "ternary"): number {
  if (distribution === "ternary") return Math.floor(2 ** 32 / 3);
  if (distribution === "bipolar") return BIPOLAR;
  if (typeof distribution !== "object" || distribution === null) {
    throw tritterError(
      "invalid_option",
      `distribution must be "ternary", "bipolar" or { zeros }, got ${describe(distribution)}`,
    );
  }
  const { zeros } = checkOptions(distribution, "distribution");
  return Math.round((1 - checkNumber(zeros, "zeros", { min: 0, max: 1 })) * 2 ** 31);
}

/** Checks a number of dimensions. */
export function checkDim(dim: unknown, name = "dim"): number {
  return checkCount(dim, name, { min: 1, max: DIM_MAX });
}

/** Checks a seed, an integer from 0 to 2^64 - 1 as number or bigint, and returns it as the library takes it. */
export function checkSeed(seed: unknown): bigint {
  if (typeof seed === "bigint" && seed >= 0n && seed < 1n << 64n) return seed;
  if (typeof seed === "number" && Number.isSafeInteger(seed) && seed >= 0) return BigInt(seed);
  if (typeof seed !== "number" && typeof seed !== "bigint") {
    throw tritterError("invalid_type", `seed must be a number or a bigint, got ${describe(seed)}`);
  }
  throw tritterError(
    "invalid_value",
    `seed must be an integer from 0 to 2^53 - 1, or a bigint below 2^64, got ${describe(seed)}`,
  );
}

/** Checks a number of places to move trits by, and returns the same from 0, below `dim`. */
export function checkShift(shift: number, dim: number): number {
  if (!Number.isSafeInteger(shift)) {
    throw tritterError("invalid_value", `shift must be a safe integer, got ${shift}`);
  }
  const rest = shift % dim;
  // Also for -0, which Deno passes to no native function.
  return rest < 0 ? rest + dim : rest + 0;
}

/** Checks the ends of a slice of `dim` trits, and returns its first place. */
export function checkSlice(start: number, end: number, dim: number): number {
  checkCount(end, "end", { min: 1, max: dim });
  return checkCount(start, "start", { max: end - 1 });
}

/** Checks options that name a device, and returns the device. */
export function placeOfOptions(options: HypervectorOptions | undefined): Place {
  return placeOf(checkOptions(options, "options").device);
}

/** Does the same for what only the CPU has kernels for, and throws `unsupported` for another. */
export function deviceOf(options: HypervectorOptions | undefined): "cpu" {
  return resolveDevice(checkOptions(options, "options").device);
}
