// Hypervectors as plain loops over bytes: what the library is compared with.

import { Buffer } from "node:buffer";
import type {
  BindMode,
  Distribution,
  Hypervector,
  HypervectorBatch,
  SimilarityMetric,
  Tie,
} from "../mod.ts";
import { assertSame } from "./support.ts";

/** Around words of 32 and 64 bits and blocks of 512 trits, and large ones. */
export const DIMS: readonly number[] = [
  ...[1, 31, 32, 33, 63, 64, 65, 512, 513, 1000, 10_000, 65_537, 1_000_003],
];
export const MODES: readonly BindMode[] = ["add", "subtract", "multiply"];
export const TIES: readonly Tie[] = ["zero", "positive", "random", "first"];
export const METRICS: readonly SimilarityMetric[] = [
  ...["cosine", "dot", "hamming", "hammingSimilarity", "overlap", "jaccard"] as const,
];

const modulo = (sum: number) => sum > 1 ? sum - 3 : sum < -1 ? sum + 3 : sum;
type Combine = (a: number, b: number) => number;

export const BIND: Record<BindMode, Combine> = {
  add: (a, b) => modulo(a + b),
  subtract: (a, b) => modulo(a - b),
  multiply: (a, b) => a * b + 0,
};
export const UNBIND: Record<BindMode, Combine> = {
  add: BIND.subtract,
  subtract: BIND.add,
  multiply: BIND.multiply,
};

/** A rule applied trit by trit. */
export function combine(a: Int8Array, b: Int8Array, rule: Combine): Int8Array<ArrayBuffer> {
  const result = new Int8Array(a.length);
  for (let i = 0; i < a.length; i++) result[i] = rule(a[i]!, b[i]!);
  return result;
}

export const bindAll = (rows: readonly Int8Array[], mode: BindMode): Int8Array =>
  rows.reduce((bound, row) => combine(bound, row, BIND[mode]));

export const negated = (trits: Int8Array): Int8Array<ArrayBuffer> =>
  new Int8Array(trits.length).map((_, i) => 0 - trits[i]!);

/** Rows of a batch of trits. */
export function rowsOf<T extends Int8Array | Int32Array>(values: T, dim: number): T[] {
  return Array.from(
    { length: values.length / dim },
    (_, row) => values.subarray(row * dim, (row + 1) * dim) as T,
  );
}

/** Rows one after the other. */
export function joined(rows: readonly Int8Array[]): Int8Array<ArrayBuffer> {
  const trits = new Int8Array(rows.reduce((sum, row) => sum + row.length, 0));
  let place = 0;
  for (const row of rows) {
    trits.set(row, place);
    place += row.length;
  }
  return trits;
}

export function countsOf(trits: Int8Array): { positive: number; negative: number; zero: number } {
  const counts = { positive: 0, negative: 0, zero: 0 };
  trits.forEach((trit) => counts[trit > 0 ? "positive" : trit < 0 ? "negative" : "zero"]++);
  return counts;
}

/** Every similarity by its definition. */
export function scoresOf(a: Int8Array, b: Int8Array): Record<SimilarityMetric, number> {
  let [dot, hamming, overlap, inA, inB] = [0, 0, 0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]!, b[i]!];
    dot += x * y;
    hamming += x === y ? 0 : 1;
    overlap += Math.abs(x * y);
    inA += x * x;
    inB += y * y;
  }
  const union = inA + inB - overlap;
  return {
    ...{ dot, hamming, overlap, hammingSimilarity: 1 - hamming / a.length },
    cosine: inA * inB === 0 ? 0 : dot / Math.sqrt(inA * inB),
    jaccard: union === 0 ? 0 : overlap / union,
  };
}

/** result[place(i)] = trits[i] */
export function moved(trits: Int8Array, place: (index: number) => number): Int8Array<ArrayBuffer> {
  const result = new Int8Array(trits.length);
  trits.forEach((trit, index) => result[place(index)] = trit);
  return result;
}

/** result[(i + shift) mod dim] = trits[i] */
export function rotated(trits: Int8Array, shift: number): Int8Array<ArrayBuffer> {
  const dim = trits.length;
  const places = ((shift % dim) + dim) % dim;
  const result = new Int8Array(dim);
  result.set(trits.subarray(0, dim - places), places);
  result.set(trits.subarray(dim - places));
  return result;
}

/** How a bundle is made; `row` is that of its ties. */
export interface Bundling {
  weights?: ArrayLike<number>;
  threshold?: number;
  tie?: Tie;
  seed?: bigint;
  row?: number;
}

/** The sign of sums; `first` are the trits that ties may be taken from. */
export function signsOf(
  sums: ArrayLike<number>,
  { threshold = 0, tie = "zero", seed = 0n, row = 0 }: Bundling,
  first?: Int8Array,
): Int8Array<ArrayBuffer> {
  const ties = {
    zero: () => undefined,
    positive: () => new Int8Array(sums.length).fill(1),
    random: () => bipolarTrits(sums.length, seed, row, 2),
    first: () => first,
  }[tie]();
  const signs = new Int8Array(sums.length);
  for (let i = 0; i < signs.length; i++) {
    const sum = sums[i]!;
    if (sum === 0) signs[i] = ties?.[i] ?? 0;
    else signs[i] = sum > threshold ? 1 : sum < -threshold ? -1 : 0;
  }
  return signs;
}

/** The bundle by its definition, weighed in float64 in the order of the rows. */
export function bundleOf(
  rows: readonly Int8Array[],
  options: Bundling = {},
): Int8Array<ArrayBuffer> {
  const sums = new Float64Array(rows[0]!.length);
  rows.forEach((row, r) => {
    const weight = options.weights?.[r] ?? 1;
    for (let i = 0; i < row.length; i++) sums[i]! += row[i]! * weight;
  });
  return signsOf(sums, options, rows[0]);
}

/** The n-grams of rows: bound from the left, the earlier the further moved. */
export function ngramsOf(rows: readonly Int8Array[], n: number, mode: BindMode): Int8Array[] {
  return Array.from({ length: Math.max(0, rows.length - n + 1) }, (_, start) =>
    bindAll(
      rows.slice(start, start + n).map((row, place) => rotated(row, n - 1 - place)),
      mode,
    ));
}

/** The high half of the product of two words. */
function high(a: number, b: number): number {
  const low = (a & 0xffff) * b;
  return Math.floor(((a >>> 16) * b + Math.floor(low / 2 ** 16)) / 2 ** 16);
}

/** Philox4x32-10 as the paper has it (Salmon et al. 2011). */
export function philox(counter: readonly number[], seed: bigint): [number, number, number, number] {
  let [a, b, c, d] = counter as [number, number, number, number];
  let low = Number(seed & 0xffff_ffffn);
  let top = Number(seed >> 32n);
  for (let round = 0; round < 10; round++) {
    const [first, second] = [high(a, 0xd2511f53), high(c, 0xcd9e8d57)];
    const [x, y] = [Math.imul(a, 0xd2511f53) >>> 0, Math.imul(c, 0xcd9e8d57) >>> 0];
    a = (second ^ b ^ low) >>> 0;
    b = y;
    c = (first ^ d ^ top) >>> 0;
    d = x;
    low = (low + 0x9e3779b9) >>> 0;
    top = (top + 0xbb67ae85) >>> 0;
  }
  return [a, b, c, d];
}

/** Word n of a seed, a row and the last word of the counter. */
export const wordOf = (n: number, seed: bigint, row: number, domain: number): number =>
  philox([Math.floor(n / 4), row, 0, domain], seed)[n % 4]!;

/** The first words of them. */
export function wordsOf(count: number, seed: bigint, row: number, domain: number): Uint32Array {
  const words = new Uint32Array(4 * Math.ceil(count / 4));
  for (let n = 0; n < count; n += 4) words.set(philox([n / 4, row, 0, domain], seed), n);
  return words.subarray(0, count);
}

function bipolarTrits(
  dim: number,
  seed: bigint,
  row: number,
  domain: number,
): Int8Array<ArrayBuffer> {
  const words = wordsOf(Math.ceil(dim / 32), seed, row, domain);
  return new Int8Array(dim).map((_, i) => words[i >>> 5]! >>> (i & 31) & 1 ? -1 : 1);
}

/** A random vector by the documented mapping. */
export function drawn(
  dim: number,
  seed: bigint,
  distribution: Distribution = "ternary",
  row = 0,
): Int8Array<ArrayBuffer> {
  if (distribution === "bipolar") return bipolarTrits(dim, seed, row, 1);
  const below = distribution === "ternary"
    ? Math.floor(2 ** 32 / 3)
    : Math.round((1 - distribution.zeros) * 2 ** 31);
  const words = wordsOf(dim, seed, row, 1);
  return new Int8Array(dim).map((_, i) =>
    words[i]! < below ? -1 : words[i]! >= 2 ** 32 - below ? 1 : 0
  );
}

/** Random rows. */
export const drawnRows = (
  count: number,
  dim: number,
  seed: bigint,
  distribution: Distribution = "ternary",
): Int8Array[] => Array.from({ length: count }, (_, row) => drawn(dim, seed, distribution, row));

export function thinned(trits: Int8Array, keep: number, seed: bigint, row = 0): Int8Array {
  const words = wordsOf(trits.length, seed, row, 4);
  const below = Math.round(keep * 2 ** 32);
  return trits.map((trit, i) => words[i]! < below ? trit : 0);
}

/** Counted once for all tiers. */
const nonzeros = new WeakMap<Int8Array, number>();

/** The vectors hold these trits, and nothing after them that is counted. */
export function assertTrits(
  actual: Hypervector | HypervectorBatch,
  expected: Int8Array,
  label: string,
): void {
  const trits = actual.toInt8Array();
  if (Buffer.compare(new Uint8Array(trits.buffer), bytesOf(expected)) !== 0) {
    assertSame(trits, expected, label);
  }
  const { positive, negative, zero } = actual.counts();
  const { length } = expected;
  const nonzero = nonzeros.get(expected) ?? expected.filter((trit) => trit !== 0).length;
  nonzeros.set(expected, nonzero);
  assertSame([positive + negative, zero], [nonzero, length - nonzero], `${label}, counts`);
}

const bytesOf = (trits: Int8Array) => new Uint8Array(trits.buffer, trits.byteOffset, trits.length);
