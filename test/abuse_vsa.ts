// The same for hypervectors and what is built of them.

import * as api from "../mod.ts";
import { ENCODER_INSTANCES, ENCODERS, VALID_ON_ENCODERS } from "./abuse_encoders.ts";
import { STRUCTURE_INSTANCES, STRUCTURES, VALID_ON_STRUCTURES } from "./abuse_structures.ts";

const DIM = 100;
const vector = (seed = 1) => api.Hypervector.random(DIM, seed);
const batch = (count = 4) => api.HypervectorBatch.random(count, DIM, 2);
const trits = (length: number) => Int8Array.from({ length }, (_, at) => at % 3 - 1);

/** Four items, "a" to "d". */
function memory(): api.ItemMemory {
  const memory = new api.ItemMemory(DIM);
  memory.addAll(["a", "b", "c", "d"], batch());
  return memory;
}

type Calls = Record<string, () => unknown[]>;

/** Made with `new` by anybody, and the arguments for it. */
export const CONSTRUCTED: Calls = {
  Bundler: () => [DIM, { device: "cpu" }],
  ItemMemory: () => [DIM, { capacity: 4, metric: "hamming", device: "cpu" }],
  Hypervector: () => [DIM, { device: "cpu" }],
  HypervectorBatch: () => [4, DIM, { device: "cpu" }],
  ...STRUCTURES,
  ...ENCODERS,
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
  thin: () => [{ keep: 0.5, seed: 3, out: batch() }],
  slice: () => [10, 60, { out: new api.HypervectorBatch(4, 50) }],
};

const sparse = () => api.SparseHypervector.fromIndices([1, 5], [3, 69], DIM);

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
  "Hypervector.bundle":
    () => [[vector(1), vector(2)], { weights: [1, 2], tie: "zero", threshold: 1 }],
  "Hypervector.bindMany": () => [[vector(1), vector(2)], { mode: "add", out: vector() }],
  "HypervectorBatch#bundle": () => [{ weights: [1, 2, 3, 4], tie: "random", seed: 3 }],
  "HypervectorBatch#bundleGroups": () => [2, { tie: "first", weights: [1, 2], out: batch(2) }],
  "HypervectorBatch#bindMany": () => [{ mode: "multiply", out: vector() }],
  "HypervectorBatch#similarityMatrix": () => [batch(2), { out: new Float64Array(8) }],
  "HypervectorBatch#topK": () => [batch(2), 3, {
    metric: "overlap",
    rows: 3,
    out: { indices: new Uint32Array(6), scores: new Float64Array(6) },
  }],
  "Hypervectors#permute": () => [api.Permutation.random(DIM, 1), { out: batch() }],
  "Hypervectors#unpermute": () => [-3, { out: batch() }],
  "Bundler#add": () => [batch(), 3],
  "Bundler#remove": () => [vector(), 2],
  "Bundler#counts": () => [{ out: new Int32Array(DIM) }],
  "Bundler#result": () => [{ tie: "random", seed: 1, out: vector() }],
  "Bundler#similarity": () => [vector()],
  "ItemMemory#add": () => ["new", vector()],
  "ItemMemory#addRandom": () => ["new", 7, { distribution: "bipolar" }],
  "ItemMemory#addAll": () => [["e", "f", "g", "h"], batch()],
  "ItemMemory#remove": () => ["a"],
  "ItemMemory#has": () => ["a"],
  "ItemMemory#get": () => ["a", { out: vector() }],
  "ItemMemory#cleanup": () => [batch()],
  "ItemMemory.load": () => [memory().save(), { capacity: 5 }],
  "ItemMemory#topK": () => [vector(), 2],
  "Hypervector.fromFloats": () => [new Float32Array(DIM), { threshold: 0.5 }],
  "Hypervector.fromPackedBytes": () => [vector().toPackedBytes(), DIM],
  "Hypervector.fromBase3Bytes": () => [vector().toBase3Bytes(), DIM],
  "Hypervector.load": () => [vector().save()],
  "Hypervector.concat": () => [[vector(1), vector(2)], { device: "cpu" }],
  "Hypervector#get": () => [7],
  "HypervectorBatch.fromFloats": () => [new Float32Array(4 * DIM), [4, DIM], { threshold: 0.5 }],
  "HypervectorBatch.fromPackedBytes": () => [batch().toPackedBytes(), [4, DIM]],
  "HypervectorBatch.fromBase3Bytes": () => [batch().toBase3Bytes(), [4, DIM]],
  "HypervectorBatch.load": () => [batch().save()],
  "SparseHypervector.from": () => [vector()],
  "SparseHypervector.fromIndices": () => [[1, 5], [3, 69], DIM],
  "SparseHypervector.load": () => [sparse().save()],
  "SparseHypervector#bind": () => [sparse(), { mode: "add" }],
  "SparseHypervector#unbind": () => [sparse(), { mode: "subtract" }],
  "SparseHypervector#permute": () => [7],
  "SparseHypervector#unpermute": () => [api.Permutation.random(DIM, 1)],
  "SparseHypervector#slice": () => [10, 60],
  "SparseHypervector#toHypervector": () => [{ device: "cpu" }],
  "SparseHypervector.fromBatch": () => [batch()],
  "SparseHypervector.toBatch": () => [[sparse(), sparse()], { device: "cpu" }],
  "SparseHypervector.concat": () => [[sparse(), sparse()]],
  "SparseHypervector.fromPackedBytes": () => [vector().toPackedBytes(), DIM],
  "SparseHypervector.fromBase3Bytes": () => [vector().toBase3Bytes(), DIM],
  "SparseTrits#equals": () => [sparse()],
  "SparseTrits#similarity": () => [batch(), { metric: "overlap", out: new Float64Array(4) }],
  "SparseTrits#dot": () => [vector()],
  "SparseTrits#cosine": () => [sparse()],
  "SparseTrits#hamming": () => [sparse()],
  "SparseTrits#overlap": () => [sparse()],
  "SparseTrits#jaccard": () => [vector()],
  "HypervectorBatch.concat": () => [[batch(), batch(2)], { axis: "rows", device: "cpu" }],
  "HypervectorBatch#bindGroups": () => [2, { mode: "add", out: batch(2) }],
  "HypervectorBatch#rowCounts": () => [],
  "ItemMemory#search": () => [
    batch(2),
    2,
    { out: { indices: new Uint32Array(4), scores: new Float64Array(4) } },
  ],
  "ItemMemory#nameOf": () => [2],
  "Permutation.random": () => [DIM, 1],
  "Permutation#compose": () => [api.Permutation.random(DIM, 2)],
  "Permutation.from": () => [Uint32Array.of(2, 0, 1)],
  ...VALID_ON_STRUCTURES,
  ...VALID_ON_ENCODERS,
};

/** One instance of every class. */
export const VSA_INSTANCES: Record<string, () => unknown> = {
  Hypervectors: batch,
  Hypervector: vector,
  HypervectorBatch: batch,
  Bundler: () => new api.Bundler(DIM).add(batch()),
  ItemMemory: memory,
  SparseHypervector: sparse,
  SparseTrits: sparse,
  Permutation: () => api.Permutation.random(DIM, 1),
  ...STRUCTURE_INSTANCES,
  ...ENCODER_INSTANCES,
};
