// What the numbers must reach, and aim at: the table that the kernels were written against. Two
// threads, weights prepared, timed through the public face.

import type { Row } from "./row.ts";

/** One line of the table; rows that it covers get its numbers. */
interface Target {
  must: number;
  aim: number;
  /** Why it is missed where it is; the report prints it with such numbers only. */
  reason?: string;
  covers(row: Row): boolean;
}

type Pair = readonly [must: number, aim: number];

const isShape = (row: Row, rows: number) => row.shape?.[0] === rows && row.shape[1] === 4096;
const isSquare = (row: Row) => isShape(row, 4096);
const isBest = (row: Row) => row.isa === "avx512";

/** Products of one kind of activations at some batch sizes, compared with a peer. */
function against(
  peer: string,
  activations: "int8" | "f32",
  byBatch: Record<number, Pair>,
  covers: (row: Row) => boolean = (row) => isSquare(row) && isBest(row),
): Target[] {
  return Object.entries(byBatch).map(([batch, [must, aim]]) => ({
    must,
    aim,
    covers: (row) =>
      row.peer === peer && row.activations === activations &&
      row.batch === Number(batch) &&
      row.suite === "products" && covers(row),
  }));
}

/** Products with int8 activations, as a share of the measured limit. */
function share(
  batches: readonly number[],
  [must, aim]: Pair,
  rows: number,
): Target {
  return {
    must,
    aim,
    covers: (row) =>
      row.suite === "products" && row.share !== undefined &&
      row.activations === "int8" &&
      batches.includes(row.batch!) && isShape(row, rows) && isBest(row),
  };
}

/** Hypervectors by the name of the case, and by the peer where there are several. */
function vsa(
  name: RegExp,
  [must, aim]: Pair,
  reason?: string,
  peer?: string,
): Target {
  return {
    must,
    aim,
    ...(reason === undefined ? {} : { reason }),
    covers: (row) =>
      row.suite === "vsa" && name.test(row.name) && reached(row) >= 0 &&
      (peer === undefined || row.peer === peer),
  };
}

/** Gradient codecs by the name of the case. */
function gradients(name: RegExp, [must, aim]: Pair): Target {
  return {
    must,
    aim,
    covers: (row) => row.suite === "gradients" && name.test(row.name) && reached(row) >= 0,
  };
}

const TARGETS: readonly Target[] = [
  ...against("OpenBLAS fp32", "int8", { 1: [40, 50], 512: [4, 4.5] }),
  ...against(
    "OpenBLAS fp32",
    "int8",
    { 1: [40, 50] },
    (row) => isShape(row, 14336) && isBest(row),
  ),
  share([1], [0.8, 0.9], 4096),
  share([1], [0.8, 0.9], 14336),
  share([8, 32, 128, 512], [0.85, 0.95], 4096),
  ...against("OpenBLAS fp32", "f32", {
    1: [15, 20],
    32: [3.5, 4],
    512: [1.8, 2.1],
  }),
  ...against(
    "OpenBLAS fp32",
    "int8",
    { 1: [10, 14], 512: [1.5, 2.5] },
    (row) => isSquare(row) && row.isa === "avx2",
  ),
  ...against("ORT 2-bit", "int8", { 1: [3, 4], 32: [2, 3], 512: [2, 3] }),
  ...against("TypeScript", "int8", { 1: [100, 200] }),
  {
    must: 0.8,
    aim: 0.95,
    reason: "in the caches checking and packing take the instructions about as long as the read",
    covers: (row) => row.suite === "packing" && /^pack f32, (10|256) MB$/.test(row.name),
  },
  {
    must: 15.9,
    aim: 16,
    covers: (row) => row.suite === "memory" && isSquare(row),
  },
  {
    must: 0.7,
    aim: 0.85,
    covers: (row) => row.suite === "model" && row.batch === undefined,
  },
  {
    must: 0.6,
    aim: 0.8,
    covers: (row) => row.suite === "model" && row.batch === 512,
  },
  vsa(
    /^bind .* in place/,
    [1, 2],
    "writing takes as long as reading in these caches",
  ),
  vsa(/^(dot|cosine|hamming) of two vectors of 1,000,000/, [0.8, 0.95]),
  vsa(/^bundle 3 /, [1, 2]),
  vsa(/^bundle 16 /, [1, 1.5]),
  vsa(/^bundle 64 /, [1, 2 / 1.2]),
  vsa(/^top 10 .* one query/, [0.8, 0.95]),
  vsa(/^top 10 .* 64 queries/, [4, 8]),
  vsa(/^dot /, [1, 2], undefined, "2 x simsimd bit Hamming"),
  vsa(/^dot /, [2, 4], undefined, "simsimd int8 dot"),
  vsa(/^(bind|dot) /, [30, 60], undefined, "TypeScript"),
  vsa(/^a call /, [1, 1]),
  gradients(/^compress .* rotated, 4 levels/, [0.25, 0.5]),
  gradients(/^compress .* ternary/, [0.6, 0.8]),
  gradients(/^compress .* sign/, [0.7, 1]),
  gradients(/^compress .* topk \(sampled\)/, [0.4, 0.6]),
  gradients(/^(de)?compress .* entropy, (10|16|20|32)x/, [1, 3]),
  gradients(/^project /, [1000, 3000]),
  // The whole call, kernel included, is what can be timed; so this is stricter than what was asked.
  {
    must: 1,
    aim: 1,
    covers: (row) => row.suite === "overhead" && row.ratio !== undefined,
  },
];

/** What is judged: the ratio of a row that has one, else its share. */
export const reached = (row: Row): number => row.ratio ?? row.share ?? NaN;

/** The same row with what it must reach, if anything was asked for, and why it does not. */
export function withTarget(row: Row): Row {
  const target = TARGETS.find((target) => target.covers(row));
  if (target === undefined) return row;
  const { must, aim, reason } = target;
  const isMissed = !(reached(row) >= must);
  const note = [row.note, isMissed ? reason : undefined].filter(Boolean).join(
    "; ",
  );
  return { ...row, must, aim, ...(note === "" ? {} : { note }) };
}
