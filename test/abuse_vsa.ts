// The same for hypervectors and what is built of them.

import * as api from "../mod.ts";
import { STRUCTURE_INSTANCES, STRUCTURES, VALID_ON_STRUCTURES } from "./abuse_structures.ts";

const DIM = 100;
const vector = (seed = 1) => api.Hypervector.random(DIM, seed);
const batch = (count = 4) => api.HypervectorBatch.random(count, DIM, 2);
const trits = (length: number) => Int8Array.from({ length }, (_, at) => at % 3 - 1);

type Calls = Record<string, () => unknown[]>;

/** Made with `new` by anybody, and the arguments for it. */
export const CONSTRUCTED: Calls = {
  Hypervector: () => [DIM, { device: "cpu" }],
  HypervectorBatch: () => [4, DIM, { device: "cpu" }],
  ...STRUCTURES,
};

/** What single vectors and batches share, called on a batch. */
const SHARED: Calls = {
  bind: () => [vector(), { mode: "add", out: batch() }],
  unbind: () => [batch(), { mode: "subtract" }],
  inverse: () => [{ mode: "multiply" }],
  negate: () => [{ out: batch() }],
  copy: () => [{}],
  equals: () => [batch()],
  counts: () => [],
  toInt8Array: () => [{ out: new Int8Array(4 * DIM) }],
};

export const VSA_VALID: Calls = {
  ...Object.fromEntries(
    Object.entries(SHARED).map(([name, args]) => [`Hypervectors#${name}`, args]),
  ),
  "Hypervector.random": () => [DIM, 5, { distribution: { zeros: 0.5 } }],
  "Hypervector.from": () => [trits(DIM), { device: "cpu" }],
  "Hypervector#similarity": () => [vector(2), { metric: "jaccard" }],
  "Hypervector#dot": () => [vector(2)],
  "Hypervector#cosine": () => [vector(2)],
  "Hypervector#hamming": () => [vector(2)],
  "HypervectorBatch.random": () => [4, DIM, 5n, { distribution: "bipolar" }],
  "HypervectorBatch.from": () => [trits(4 * DIM), [4, DIM]],
  "HypervectorBatch.of": () => [[vector(1), vector(2)]],
  "HypervectorBatch#get": () => [1, { out: vector() }],
  "HypervectorBatch#set": () => [1, vector()],
  "HypervectorBatch#similarity": () => [vector(), { metric: "dot", out: new Float64Array(4) }],
  ...VALID_ON_STRUCTURES,
};

/** One instance of every class. */
export const VSA_INSTANCES: Record<string, () => unknown> = {
  Hypervectors: batch,
  Hypervector: vector,
  HypervectorBatch: batch,
  ...STRUCTURE_INSTANCES,
};
