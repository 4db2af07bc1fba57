// What the tests of structures share: vectors, and what theory says of their recovery.

import {
  type Distribution,
  Hypervector,
  HypervectorBatch,
  ItemMemory,
  type StructureMode,
} from "../mod.ts";

export const DIM = 10_000;
export const MODES: readonly StructureMode[] = ["multiply", "add"];

/** Cosines of unrelated vectors have a standard deviation of 1 / sqrt(dim); this is six of them. */
export const NOISE: number = 6 / Math.sqrt(DIM);

/** The distribution and the trits of the vectors that a mode is for. */
export const FITTING: Record<StructureMode, { distribution: Distribution; trits: number[] }> = {
  multiply: { distribution: "bipolar", trits: [-1, 1] },
  add: { distribution: "ternary", trits: [-1, 0, 1] },
};

export function batchFor(mode: StructureMode, count: number, seed: number): HypervectorBatch {
  return HypervectorBatch.random(count, DIM, seed, FITTING[mode]);
}

export function bipolar(seed: number, dim: number = DIM): Hypervector {
  return Hypervector.random(dim, seed, { distribution: "bipolar" });
}

export function bipolarBatch(count: number, seed: number, dim: number = DIM): HypervectorBatch {
  return HypervectorBatch.random(count, dim, seed, { distribution: "bipolar" });
}

/** An item memory of the rows of a batch, named by their numbers. */
export function memoryOf(batch: HypervectorBatch): ItemMemory {
  const memory = new ItemMemory(batch.dim, { capacity: batch.count });
  memory.addAll(Array.from({ length: batch.count }, (_, row) => `${row}`), batch);
  return memory;
}

/** The probability that the sum of n independent draws, a trit each with its probability, is a number. */
function sumOf(n: number, trit: ReadonlyMap<number, number>): Map<number, number> {
  let sums = new Map([[0, 1]]);
  for (let draw = 0; draw < n; draw++) {
    const next = new Map<number, number>();
    for (const [sum, p] of sums) {
      for (const [value, q] of trit) next.set(sum + value, (next.get(sum + value) ?? 0) + p * q);
    }
    sums = next;
  }
  return sums;
}

type Combine = (a: number, b: number) => number;

const BIND: Record<StructureMode, Combine> = {
  multiply: (a, b) => a * b,
  add: (a, b) => (a + b + 4) % 3 - 1,
};
const UNBIND: Record<StructureMode, Combine> = {
  multiply: BIND.multiply,
  add: (a, b) => (a - b + 4) % 3 - 1,
};

/** Expected cosine of a filler with what unbinding gives, where a trace holds K bound pairs. */
export function recovery(pairs: number, mode: StructureMode, trits: readonly number[]): number {
  const bound = new Map<number, number>();
  for (const key of trits) {
    for (const filler of trits) {
      const trit = BIND[mode](key, filler);
      bound.set(trit, (bound.get(trit) ?? 0) + 1 / trits.length ** 2);
    }
  }
  let [dot, found, fillers] = [0, 0, 0];
  for (const [others, p] of sumOf(pairs - 1, bound)) {
    for (const key of trits) {
      for (const filler of trits) {
        const weight = p / trits.length ** 2;
        const query = UNBIND[mode](Math.sign(others + BIND[mode](key, filler)), key);
        dot += weight * query * filler;
        found += weight * query ** 2;
        fillers += weight * filler ** 2;
      }
    }
  }
  return dot / Math.sqrt(found * fillers);
}
