// The same for the structures of hypervectors and the functions on arrays of trits.

import * as api from "../mod.ts";

const DIM = 100;
const vector = (seed = 1) => api.Hypervector.random(DIM, seed, { distribution: "bipolar" });
const batch = (seed = 1) => api.HypervectorBatch.random(4, DIM, seed, { distribution: "bipolar" });
const trits = () => Int8Array.from({ length: DIM }, (_, at) => at % 3 - 1);

function memory(): api.ItemMemory {
  const memory = new api.ItemMemory(DIM);
  memory.addAll(["a", "b", "c", "d"], batch());
  return memory;
}

type Calls = Record<string, () => unknown[]>;

/** Made with `new` by anybody, and the arguments for it. */
export const STRUCTURES: Calls = {
  AssociativeMemory: () => [DIM, { mode: "add", memory: memory() }],
  FiniteStateAutomaton: () => [DIM, { mode: "multiply" }],
  Graph: () => [DIM, { mode: "multiply", directed: true }],
  HashTable: () => [DIM, { mode: "add", device: "cpu" }],
  Multiset: () => [DIM, { device: "cpu" }],
  RecordEncoder: () => [DIM, ["a", "b"], { seed: 1, distribution: "bipolar", mode: "add" }],
  Resonator: () => [[batch(1), batch(2)], { maxIterations: 20, seed: 3n }],
  Sequence: () => [DIM, { device: "cpu" }],
  VsaOps: () => [{ device: "cpu" }],
};

export const VALID_ON_STRUCTURES: Calls = {
  vsaRandom: () => [DIM, 1, { distribution: { zeros: 0.5 }, device: "cpu", out: trits() }],
  vsaBind: () => [trits(), trits(), { mode: "add", device: "auto", out: trits() }],
  vsaUnbind: () => [trits(), trits(), { mode: "subtract" }],
  vsaBundle: () => [[trits(), trits()], { weights: [1, 2], tie: "random", seed: 1, out: trits() }],
  vsaSimilarity: () => [trits(), trits(), { metric: "hamming" }],
  encodeSet: () => [batch(), { tie: "positive", out: vector() }],
  encodeSequence: () => [[vector(1), vector(2)], { tie: "first" }],
  encodeNgrams: () => [batch(), 2, { mode: "add", threshold: 1 }],
  "AssociativeMemory#recall": () => [vector(), { memory: memory() }],
  "FiniteStateAutomaton#addTransition": () => [vector(1), vector(2), vector(3)],
  "FiniteStateAutomaton#removeTransition": () => [vector(4), vector(5), vector(6)],
  "FiniteStateAutomaton#next": () => [vector(1), vector(2), { out: vector() }],
  "Graph#addEdge": () => [vector(1), vector(2)],
  "Graph#removeEdge": () => [vector(3), vector(4)],
  "Graph#hasEdge": () => [vector(1), vector(2)],
  "Graph#neighbors": () => [vector(1), { direction: "incoming", out: vector() }],
  "HashTable.from": () => [batch(1), batch(2), { mode: "add" }],
  "HashTable#add": () => [batch(1), batch(2)],
  "HashTable#remove": () => [vector(3), vector(4)],
  "HashTable#replace": () => [vector(3), vector(4), vector(5)],
  "HashTable#get": () => [batch(1), { out: batch() }],
  "Multiset.from": () => [batch(), { device: "cpu" }],
  "Multiset.fromNgrams": () => [batch(), 2, { mode: "multiply" }],
  "Multiset#add": () => [batch()],
  "Multiset#remove": () => [vector()],
  "Multiset#has": () => [vector()],
  "Multiset#count": () => [vector()],
  "Multiset#similarity": () => [vector()],
  "RecordEncoder#role": () => ["a", { out: vector() }],
  "RecordEncoder#encode": () => [{ a: vector(), b: vector(2) }, { tie: "positive", out: vector() }],
  "RecordEncoder#get": () => [vector(), "b", { out: vector() }],
  "Resonator#factorize": () => [vector()],
  "Sequence.from": () => [batch(), { device: "cpu" }],
  "Sequence#append": () => [vector()],
  "Sequence#appendLeft": () => [vector()],
  "Sequence#pop": () => [vector()],
  "Sequence#popLeft": () => [vector()],
  "Sequence#replace": () => [0, vector(1), vector(2)],
  "Sequence#get": () => [0, { out: vector() }],
  "Superposition#toHypervector": () => [{ out: vector() }],
  "VsaOps#random": () => [DIM, 1, { distribution: "bipolar" }],
  "VsaOps#randomBatch": () => [4, DIM, 1n],
  "VsaOps#fromInt8": () => [trits()],
  "VsaOps#toInt8": () => [vector(), { out: trits() }],
  "VsaOps#bind": () => [batch(), vector(), { mode: "add", out: batch() }],
  "VsaOps#unbind": () => [vector(), vector(), { mode: "multiply" }],
  "VsaOps#inverse": () => [vector(), { mode: "add" }],
  "VsaOps#negate": () => [batch()],
  "VsaOps#bundle": () => [[vector(1), vector(2)], { weights: [1, 2] }],
  "VsaOps#bindMany": () => [[vector(1), vector(2)], { mode: "add" }],
  "VsaOps#thin": () => [batch(), { keep: 0.5 }],
  "VsaOps#slice": () => [vector(), 10, 20],
  "VsaOps#concat": () => [[vector(1), vector(2)]],
  "VsaOps#concatBatches": () => [[batch(), batch()], { axis: "dims" }],
  "VsaOps#similarityMatrix": () => [batch(), batch(), { metric: "dot" }],
  "VsaOps#topK": () => [batch(), vector(), 2, { metric: "dot" }],
  "AssociativeMemory.from": () => [vector(3), vector(4), { memory: memory() }],
  "VsaOps#permute": () => [vector(), 3, { out: vector() }],
  "VsaOps#unpermute": () => [batch(), api.Permutation.random(DIM, 1)],
  "VsaOps#similarity": () => [vector(), vector(), { metric: "dot" }],
  "VsaOps#cosineSimilarity": () => [vector(), vector(2)],
  "VsaOps#dot": () => [vector(), vector(2)],
  "VsaOps#hammingDistance": () => [vector(), vector(2)],
};

/** A structure that holds something. */
function filled<T>(structure: T, fill: (structure: T) => void): T {
  fill(structure);
  return structure;
}

const states = () =>
  filled(
    new api.FiniteStateAutomaton(DIM),
    (automaton) => automaton.addTransition(vector(4), vector(5), vector(6)),
  );
const associations = () =>
  filled(
    new api.AssociativeMemory(DIM, { memory: memory() }),
    (table) => table.add(vector(3), vector(4)),
  );

/** One instance of every class. */
export const STRUCTURE_INSTANCES: Record<string, () => unknown> = {
  AssociativeMemory: associations,
  FiniteStateAutomaton: states,
  Graph: () => filled(new api.Graph(DIM), (graph) => graph.addEdge(vector(3), vector(4))),
  HashTable: () => api.HashTable.from(vector(3), vector(4)),
  Multiset: () => api.Multiset.from(vector()),
  RecordEncoder: () => new api.RecordEncoder(DIM, ["a", "b"]),
  Resonator: () => new api.Resonator([batch(1), batch(2)], { maxIterations: 20 }),
  Sequence: () => api.Sequence.from(batch()),
  Superposition: () => api.Multiset.from(vector()),
  VsaOps: () => new api.VsaOps(),
};
