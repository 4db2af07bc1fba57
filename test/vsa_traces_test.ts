/** What structures keep and give back, trit by trit, against loops over bytes. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  AssociativeMemory,
  encodeNgrams,
  encodeSequence,
  encodeSet,
  FiniteStateAutomaton,
  Graph,
  HashTable,
  Hypervector,
  HypervectorBatch,
  ItemMemory,
  Multiset,
  RecordEncoder,
  Resonator,
  Sequence,
  type StructureMode,
} from "../mod.ts";
import { assertNear, assertSame, onEveryTier, randomTrits } from "./support.ts";
import {
  assertTrits,
  BIND,
  bundleOf,
  combine,
  DIMS,
  drawnRows,
  joined,
  ngramsOf,
  rotated,
  rowsOf,
  scoresOf,
  TIES,
  UNBIND,
} from "./vsa_reference.ts";

const MODES: readonly StructureMode[] = ["multiply", "add"];

const bindOf = (mode: StructureMode) => (a: Int8Array, b: Int8Array) => combine(a, b, BIND[mode]);
const unbindOf = (mode: StructureMode) => (a: Int8Array, b: Int8Array) =>
  combine(a, b, UNBIND[mode]);

/** Random rows of a third of zeros each, and the same as vectors. */
function vectorsOf(count: number, dim: number, seed: number) {
  const rows = rowsOf(randomTrits(count * dim, seed), dim);
  const batch = HypervectorBatch.from(joined(rows), [count, dim]);
  return { rows, batch, vectors: rows.map((row) => Hypervector.from(row)) };
}

/** How many times a sum of rows holds a vector. */
function timesOf(rows: readonly Int8Array[], vector: Int8Array): number {
  let [dot, nonzero] = [0, 0];
  for (let i = 0; i < vector.length; i++) {
    for (const row of rows) dot += row[i]! * vector[i]!;
    nonzero += vector[i]! ** 2;
  }
  return nonzero === 0 ? 0 : dot / nonzero;
}

/** Runs a check at every dimension, in both modes. */
function atEverySize(
  name: string,
  check: (dim: number, mode: StructureMode, given: ReturnType<typeof vectorsOf>) => void,
): void {
  it(name, () => {
    for (const dim of DIMS) {
      const given = vectorsOf(dim > 100_000 ? 4 : 6, dim, dim);
      // The largest takes as long as all others together.
      for (const mode of dim > 100_000 ? MODES.slice(0, 1) : MODES) check(dim, mode, given);
      given.batch[Symbol.dispose]();
      for (const vector of given.vectors) vector[Symbol.dispose]();
    }
  });
}

describe("traces are the loops over bytes", () => {
  atEverySize("of sets, sequences and n-grams", (dim, mode, { rows, batch, vectors }) => {
    const weights = rows.map((_, row) => row - 1.5);
    const ways = [{ threshold: 1 }, { weights }, ...TIES.map((tie) => ({ tie, seed: 3n }))]
      .slice(dim > 100_000 ? 4 : 0);
    const shifted = rows.map((row, place) => rotated(row, place));
    const n = rows.length - 2;
    const grams = [1, n].map((n) => ngramsOf(rows, n, mode));
    const expected = ways.map((way) => ({
      set: bundleOf(rows, way),
      sequence: bundleOf(shifted, way),
      ones: bundleOf(grams[0]!, way),
      grams: bundleOf(grams[1]!, { ...way, weights: [2, -1, 1] }),
    }));
    onEveryTier((tier) => {
      using out = new Hypervector(dim);
      ways.forEach((way, i) => {
        const label = `${tier}, ${dim}, ${mode}, way ${i}`;
        const { set, sequence, ones, grams } = expected[i]!;
        const options = { ...way, out };
        assertTrits(encodeSet(vectors, options), set, label);
        assertTrits(encodeSequence(batch, options), sequence, label);
        assertTrits(encodeNgrams(batch, 1, { ...options, mode }), ones, label);
        const weighted = { ...options, mode, weights: [2, -1, 1] };
        assertTrits(encodeNgrams(vectors, n, weighted), grams, label);
      });
    });
  });

  it("of multisets", () => {
    for (const dim of DIMS) {
      const { rows, batch, vectors } = vectorsOf(5, dim, dim);
      const held = [...rows.slice(0, 4), rows[2]!, rows[2]!];
      const expected = bundleOf(held);
      const times = rows.map((row) => timesOf(held, row));
      const pairs = bundleOf(ngramsOf(rows, 2, "multiply"));
      onEveryTier((tier) => {
        const label = `${tier}, ${dim}`;
        using set = Multiset.from(batch);
        set.add(vectors[2]!);
        set.add(vectors[2]!);
        set.remove(vectors[4]!);
        assert.equal(set.size, 6);
        assertTrits(set.toHypervector(), expected, label);
        // A count goes through a norm and a cosine: some roundings of numbers below 10.
        assertNear(vectors.map((vector) => set.count(vector)), times, 1e-12, label);
        assertTrits(Multiset.fromNgrams(batch, 2).toHypervector(), pairs, label);
      });
    }
  });

  atEverySize("of hash tables and associative memories", (dim, mode, { rows, batch, vectors }) => {
    const values = vectorsOf(rows.length, dim, dim + 1);
    const pairs = rows.map((key, row) => bindOf(mode)(key, values.rows[row]!));
    const trace = bundleOf(pairs);
    const found = rows.map((key) => unbindOf(mode)(trace, key));
    const left = bundleOf(pairs.slice(1));
    const nearest = found.map((vector) => {
      const scores = values.rows.map((value) => scoresOf(value, vector).cosine);
      const index = scores.indexOf(Math.max(...scores));
      return { name: `${index}`, index, score: scores[index]! };
    });
    onEveryTier((tier) => {
      const label = `${tier}, ${dim}, ${mode}`;
      using memory = new ItemMemory(dim);
      memory.addAll(rows.map((_, row) => `${row}`), values.batch);
      using table = new AssociativeMemory(dim, { mode, memory });
      table.add(batch, values.batch);
      assertTrits(table.toHypervector(), trace, label);
      assertTrits(table.get(batch), joined(found), label);
      assert.deepEqual(table.recall(batch), nearest, label);
      using out = new Hypervector(dim);
      assertTrits(table.get(vectors[1]!, { out }), found[1]!, label);
      table.remove(vectors[0]!, values.vectors[0]!);
      assertTrits(table.toHypervector({ out }), left, label);
      using single = HashTable.from(vectors[1]!, values.vectors[0]!, { mode });
      single.replace(vectors[1]!, values.vectors[0]!, values.vectors[1]!);
      assertTrits(single.toHypervector({ out }), pairs[1]!, label);
    });
  });

  it("of sequences that change at both ends", () => {
    for (const dim of DIMS) {
      const { rows, batch, vectors } = vectorsOf(4, dim, dim);
      const [a, b, c, d] = vectors as [Hypervector, Hypervector, Hypervector, Hypervector];
      const places = [3, 0, 2, 2].map((row, place) => rotated(rows[row]!, place));
      const trace = bundleOf(places);
      onEveryTier((tier) => {
        const label = `${tier}, ${dim}`;
        // abcd, bcd, bc, dbc, dac, dacc
        using word = Sequence.from(batch);
        word.popLeft(a);
        word.pop(d);
        word.appendLeft(d);
        word.replace(1, b, a);
        word.append(c);
        assert.equal(word.size, 4);
        assertTrits(word.toHypervector(), trace, label);
        for (const place of [0, 1, 3]) {
          assertTrits(word.get(place), rotated(trace, -place), `${label}, ${place}`);
        }
      });
    }
  });

  atEverySize("of graphs", (dim, mode, { rows, vectors }) => {
    const EDGES = [[0, 1], [2, 1], [1, 3]] as const;
    const [bind, unbind] = [bindOf(mode), unbindOf(mode)];
    for (const directed of dim > 100_000 ? [true] : [true, false]) {
      const edge = (from: number, to: number) =>
        bind(rows[from]!, directed ? rotated(rows[to]!, 1) : rows[to]!);
      const edges = EDGES.map(([from, to]) => edge(from, to));
      const trace = bundleOf(edges);
      const found = unbind(trace, rows[1]!);
      const outgoing = directed ? rotated(found, -1) : found;
      const incoming = directed ? unbind(trace, rotated(rows[1]!, 1)) : found;
      const asked = [[0, 1], [1, 0], [3, 2], [1, 3]] as const;
      const times = asked.map(([from, to]) => timesOf(edges, edge(from, to)));
      onEveryTier((tier) => {
        const label = `${tier}, ${dim}, ${mode}, ${directed}`;
        using graph = new Graph(dim, { mode, directed });
        for (const [from, to] of EDGES) graph.addEdge(vectors[from]!, vectors[to]!);
        assertTrits(graph.toHypervector(), trace, label);
        using out = new Hypervector(dim);
        assertTrits(graph.neighbors(vectors[1]!, { out }), outgoing, label);
        const direction = "incoming";
        assertTrits(graph.neighbors(vectors[1]!, { direction, out }), incoming, label);
        asked.forEach(([from, to], i) => {
          // Exactly a half is a matter of rounding.
          if (Math.abs(times[i]! - 0.5) < 1e-12) return;
          assert.equal(graph.hasEdge(vectors[from]!, vectors[to]!), times[i]! > 0.5, label);
        });
      });
    }
  });

  atEverySize("of automata", (dim, mode, { rows, vectors }) => {
    const [bind, unbind] = [bindOf(mode), unbindOf(mode)];
    const STEPS = [[0, 3, 1], [1, 3, 2], [2, 3, 0]] as const;
    const steps = STEPS.map(([from, token, to]) =>
      bind(bind(rotated(rows[to]!, 1), rows[from]!), rows[token]!)
    );
    const trace = bundleOf(steps);
    const next = rotated(unbind(trace, bind(rows[1]!, rows[3]!)), -1);
    const rest = bundleOf(steps.slice(1));
    onEveryTier((tier) => {
      const label = `${tier}, ${dim}, ${mode}`;
      using automaton = new FiniteStateAutomaton(dim, { mode });
      for (const [from, token, to] of STEPS) {
        automaton.addTransition(vectors[from]!, vectors[token]!, vectors[to]!);
      }
      assertTrits(automaton.toHypervector(), trace, label);
      using out = new Hypervector(dim);
      assertTrits(automaton.next(vectors[1]!, vectors[3]!, { out }), next, label);
      automaton.removeTransition(vectors[0]!, vectors[3]!, vectors[1]!);
      assertTrits(automaton.toHypervector({ out }), rest, label);
    });
  });

  atEverySize("of records", (dim, mode, { rows, vectors }) => {
    const names = ["a", "b", "c"];
    const roles = drawnRows(3, dim, 5n, mode === "multiply" ? "bipolar" : "ternary");
    const pairs = roles.map((role, row) => bindOf(mode)(role, rows[row]!));
    const expected = TIES.map((tie) => bundleOf(pairs, { tie, seed: 8n }));
    const found = unbindOf(mode)(expected[0]!, roles[1]!);
    onEveryTier((tier) => {
      const label = `${tier}, ${dim}, ${mode}`;
      using encoder = new RecordEncoder(dim, names, { seed: 5, mode });
      names.forEach((name, row) => assertTrits(encoder.role(name), roles[row]!, label));
      const fillers = { c: vectors[2]!, a: vectors[0]!, b: vectors[1]! };
      using out = new Hypervector(dim);
      TIES.forEach((tie, i) => {
        assertTrits(encoder.encode(fillers, { tie, seed: 8, out }), expected[i]!, label);
      });
      using record = encoder.encode(fillers);
      assertTrits(encoder.get(record, "b", { out }), found, label);
    });
  });
});

/** A resonator network as Frady et al. have it, with ties at random and the largest score in size. */
function factorized(
  product: Int8Array,
  codebooks: readonly (readonly Int8Array[])[],
  rounds: number,
  seed: bigint,
) {
  const bind = bindOf("multiply");
  const estimates = codebooks.map((rows) => bundleOf(rows, { tie: "random", seed }));
  const indices = codebooks.map(() => 0);
  let found = { indices: [0], similarity: 0, iterations: 0, converged: false };
  for (let iterations = 1; iterations <= rounds && !found.converged; iterations++) {
    let changed = false;
    codebooks.forEach((rows, factor) => {
      const rest = estimates.filter((_, other) => other !== factor).reduce(bind, product);
      const scores = rows.map((row) => scoresOf(row, rest).dot);
      const sizes = scores.map(Math.abs);
      indices[factor] = sizes.indexOf(Math.max(...sizes));
      const next = bundleOf(rows, { weights: scores, tie: "random", seed });
      if (scoresOf(next, estimates[factor]!).hamming > 0) changed = true;
      estimates[factor] = next;
    });
    const bound = codebooks.map((rows, factor) => rows[indices[factor]!]!).reduce(bind);
    const similarity = scoresOf(product, bound).cosine;
    const isBetter = Math.abs(similarity) >= Math.abs(found.similarity);
    found = {
      indices: isBetter ? [...indices] : found.indices,
      similarity: isBetter ? similarity : found.similarity,
      iterations,
      converged: !changed || similarity === 1,
    };
  }
  return found;
}

describe("Resonator", () => {
  it("goes round after round as the loops over bytes", () => {
    for (const dim of DIMS) {
      const [count, size, rounds] = dim > 100_000
        ? [2, 3, 2]
        : dim > 10_000
        ? [3, 5, 6]
        : [3, 8, 25];
      const codebooks = Array.from(
        { length: count! },
        (_, factor) => drawnRows(size!, dim, BigInt(factor + 1), "bipolar"),
      );
      const product = codebooks.map((rows, factor) => rows[(factor + 1) % size!]!)
        .reduce(bindOf("multiply"));
      // Some trits are lost.
      const noisy = product.map((trit, i) => i % 5 === 0 ? 0 : trit);
      for (const given of [product, noisy]) {
        const expected = factorized(given, codebooks, rounds!, 9n);
        onEveryTier((tier) => {
          const batches = codebooks.map((rows) =>
            HypervectorBatch.from(joined(rows), [size!, dim])
          );
          using vector = Hypervector.from(given);
          const resonator = new Resonator(batches, { maxIterations: rounds!, seed: 9 });
          const found = resonator.factorize(vector);
          assertSame(found.indices, expected.indices, `${tier}, ${dim}`);
          assert.deepEqual({ ...found, indices: expected.indices }, expected, `${tier}, ${dim}`);
          batches.forEach((batch) => batch[Symbol.dispose]());
        });
      }
    }
  });
});
