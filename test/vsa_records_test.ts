import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  FiniteStateAutomaton,
  Graph,
  Hypervector,
  HypervectorBatch,
  ItemMemory,
  RecordEncoder,
  Resonator,
} from "../mod.ts";
import { assertThrowsCode, wrong } from "./support.ts";
import {
  batchFor,
  bipolar,
  bipolarBatch,
  DIM,
  FITTING,
  memoryOf,
  MODES,
  NOISE,
  recovery,
} from "./vsa_theory.ts";

describe("Graph", () => {
  /** Node 0 leads to 1 and 2, 2 to 3, 4 to 0. */
  const EDGES = [[0, 1], [0, 2], [2, 3], [4, 0]] as const;
  for (const mode of MODES) {
    for (const directed of [true, false]) {
      it(`knows its edges and neighbours, ${mode}, ${directed ? "directed" : "undirected"}`, () => {
        using nodes = batchFor(mode, 10, 1);
        using graph = new Graph(DIM, { mode, directed });
        const node = (row: number) => nodes.get(row);
        for (const [from, to] of EDGES) graph.addEdge(node(from), node(to));
        graph.addEdge(node(8), node(9));
        graph.removeEdge(node(8), node(9));
        assert.equal(graph.size, 4);
        for (let from = 0; from < 10; from++) {
          for (let to = 0; to < 10; to++) {
            if (from === to) continue;
            const isEdge = EDGES.some(([a, b]) =>
              a === from && b === to || !directed && a === to && b === from
            );
            assert.equal(graph.hasEdge(node(from), node(to)), isEdge, `${from} to ${to}`);
          }
        }
        const near = (vector: Hypervector) => {
          const scores = nodes.similarity(vector);
          // Halfway between unrelated ones and the weakest of four.
          const limit = recovery(4, mode, FITTING[mode].trits) / 2;
          // Without a permutation, what is unbound by addition resembles the key as well.
          const isKey = (row: number) => mode === "add" && !directed && row === 0;
          return [...scores.keys()].filter((row) => scores[row]! > limit && !isKey(row));
        };
        assert.deepEqual(near(graph.neighbors(node(0))), directed ? [1, 2] : [1, 2, 4]);
        const incoming = graph.neighbors(node(0), { direction: "incoming" });
        assert.deepEqual(near(incoming), directed ? [4] : [1, 2, 4]);
        using out = node(0);
        assert.ok(graph.neighbors(out, { direction: "incoming", out }).equals(incoming));
      });
    }
  }

  it("refuses what is wrong", () => {
    using graph = new Graph(100);
    assertThrowsCode(() => graph.removeEdge(bipolar(1, 100), bipolar(2, 100)), "invalid_value");
    assertThrowsCode(() => graph.addEdge(bipolar(1, 100), bipolar(2, 99)), "invalid_shape", /^to/);
    assertThrowsCode(() => new Graph(100, { directed: wrong("yes") }), "invalid_type", /directed/);
    assertThrowsCode(
      () => graph.neighbors(bipolar(1, 100), { direction: wrong("up") }),
      "invalid_option",
      /direction/,
    );
  });
});

describe("FiniteStateAutomaton", () => {
  it("counts ones modulo 3, step by step with clean-up", () => {
    for (const mode of MODES) {
      using states = batchFor(mode, 3, 1);
      using tokens = batchFor(mode, 2, 2);
      using memory = memoryOf(states);
      using automaton = new FiniteStateAutomaton(DIM, { mode });
      for (let state = 0; state < 3; state++) {
        for (let token = 0; token < 2; token++) {
          const next = states.get((state + token) % 3);
          automaton.addTransition(states.get(state), tokens.get(token), next);
        }
      }
      let state = 0;
      for (const token of [1, 0, 1, 1, 0, 0, 1, 1]) {
        using next = automaton.next(states.get(state), tokens.get(token));
        const expected = (state + token) % 3;
        state = memory.cleanup(next)!.index;
        assert.equal(state, expected);
      }
      automaton.removeTransition(states.get(0), tokens.get(1), states.get(1));
      using nowhere = automaton.next(states.get(0), tokens.get(1));
      assert.ok(Math.abs(nowhere.cosine(states.get(1))) < NOISE);
      assert.equal(automaton.size, 5);
    }
  });
});

describe("RecordEncoder", () => {
  const ROLES = ["country", "capital", "currency"] as const;

  it("keeps fillers by role", () => {
    for (const mode of MODES) {
      using fillers = batchFor(mode, 6, 1);
      using encoder = new RecordEncoder(DIM, ROLES, { seed: 5, mode });
      using record = encoder.encode({
        country: fillers.get(0),
        capital: fillers.get(1),
        currency: fillers.get(2),
      });
      for (const [row, role] of ROLES.entries()) {
        using found = encoder.get(record, role);
        const scores = fillers.similarity(found);
        assert.ok(Math.abs(scores[row]! - recovery(3, mode, FITTING[mode].trits)) < NOISE);
        assert.equal(scores.indexOf(Math.max(...scores)), row);
      }
      using swapped = encoder.encode({
        currency: fillers.get(2),
        capital: fillers.get(1),
        country: fillers.get(0),
      });
      assert.ok(swapped.equals(record));
      using partial = encoder.encode({ capital: fillers.get(1), country: undefined });
      assert.ok(encoder.get(partial, "capital").equals(fillers.get(1)));
      using same = new RecordEncoder(DIM, ROLES, { seed: 5, mode });
      assert.ok(same.role("capital").equals(encoder.role("capital")));
      // The record itself may take the filler.
      assert.equal(encoder.get(partial, "capital", { out: partial }), partial);
      assert.ok(partial.equals(fillers.get(1)));
    }
  });

  it("translates between records: the dollar of Mexico", () => {
    using memory = new ItemMemory(DIM);
    const names = ["USA", "Washington", "dollar", "Mexico", "Mexico City", "peso", "yen", "euro"];
    for (const name of names) memory.addRandom(name, undefined, { distribution: "bipolar" });
    using encoder = new RecordEncoder(DIM, ROLES);
    const record = (country: string, capital: string, currency: string) =>
      encoder.encode({
        country: memory.get(country),
        capital: memory.get(capital),
        currency: memory.get(currency),
      });
    using usa = record("USA", "Washington", "dollar");
    using mexico = record("Mexico", "Mexico City", "peso");
    using mapping = usa.bind(mexico, { mode: "multiply" });
    for (const [a, b] of [["dollar", "peso"], ["Washington", "Mexico City"], ["Mexico", "USA"]]) {
      const match = memory.cleanup(memory.get(a!).bind(mapping, { mode: "multiply" }));
      assert.equal(match?.name, b);
      // The pair survives in both records with a cosine of 1/2 each.
      assert.ok(Math.abs(match!.score - 0.25) < NOISE, `${match!.score}`);
    }
  });

  it("refuses what is wrong", () => {
    using encoder = new RecordEncoder(100, ["a", "b"]);
    const vector = bipolar(1, 100);
    assertThrowsCode(() => encoder.encode({}), "invalid_value", /at least one role/);
    assertThrowsCode(() => encoder.encode(wrong({ c: vector })), "invalid_value", /"a", "b"/);
    assertThrowsCode(() => encoder.encode(wrong({ a: 1 })), "invalid_type", /^a must be/);
    assertThrowsCode(() => encoder.encode(wrong(null)), "invalid_type");
    assertThrowsCode(() => encoder.encode({ a: bipolar(1, 99) }), "invalid_shape");
    assertThrowsCode(() => encoder.get(vector, wrong("c")), "invalid_value", /role/);
    assertThrowsCode(() => encoder.role(wrong("toString")), "invalid_value");
    assertThrowsCode(() => new RecordEncoder(100, []), "invalid_value");
    assertThrowsCode(() => new RecordEncoder(100, ["a", "a"]), "invalid_value", /twice/);
    assertThrowsCode(() => new RecordEncoder(100, wrong([1])), "invalid_type");
    assertThrowsCode(() => new RecordEncoder(100, wrong("ab")), "invalid_type");
  });
});

describe("Resonator", () => {
  const product = (codebooks: HypervectorBatch[], rows: number[]) =>
    Hypervector.bindMany(codebooks.map((codebook, f) => codebook.get(rows[f]!)), {
      mode: "multiply",
    });

  it("factorises products of three codebooks of 30", () => {
    const codebooks = [1, 2, 3].map((seed) => bipolarBatch(30, seed));
    const resonator = new Resonator(codebooks);
    for (let trial = 0; trial < 12; trial++) {
      const rows = [7 * trial % 30, 11 * trial % 30, 13 * trial % 30];
      const { indices, similarity, iterations, converged } = resonator.factorize(
        product(codebooks, rows),
      );
      assert.deepEqual([...indices], rows);
      assert.deepEqual([similarity, converged], [1, true]);
      assert.ok(iterations <= 50, `${iterations}`);
    }
    assert.deepEqual(
      resonator.factorize(product(codebooks, [1, 2, 3])),
      new Resonator(codebooks).factorize(product(codebooks, [1, 2, 3])),
    );
  });

  it("factorises two and four codebooks, and noisy products", () => {
    for (const [count, size] of [[2, 50], [4, 10]] as const) {
      const codebooks = Array.from({ length: count }, (_, f) => bipolarBatch(size, f + 1));
      const rows = [3, 8, 5, 9].slice(0, count);
      using bound = product(codebooks, rows);
      assert.deepEqual([...new Resonator(codebooks).factorize(bound).indices], rows);
      using noisy = bound.thin({ keep: 0.5, seed: 1 });
      const found = new Resonator(codebooks).factorize(noisy);
      assert.deepEqual([...found.indices], rows);
      // Half of the trits are left.
      assert.ok(found.converged);
      assert.ok(Math.abs(found.similarity - Math.sqrt(0.5)) < NOISE);
    }
  });

  it("says where it found nothing", () => {
    const codebooks = [1, 2, 3].map((seed) => bipolarBatch(30, seed));
    const found = new Resonator(codebooks, { maxIterations: 5 }).factorize(bipolar(99));
    assert.ok(Math.abs(found.similarity) < NOISE);
    assert.ok(found.iterations <= 5);
  });

  it("refuses what is wrong", () => {
    const codebooks = [bipolarBatch(3, 1, 100), bipolarBatch(3, 2, 100)];
    const resonator = new Resonator(codebooks);
    assertThrowsCode(() => resonator.factorize(bipolar(1, 99)), "invalid_shape");
    assertThrowsCode(() => resonator.factorize(wrong(codebooks[0])), "invalid_type");
    assertThrowsCode(() => new Resonator([codebooks[0]!]), "invalid_value", /at least two/);
    assertThrowsCode(() => new Resonator(wrong("ab")), "invalid_type");
    assertThrowsCode(() => new Resonator([codebooks[0]!, wrong(1)]), "invalid_type", /\[1\]/);
    const other = bipolarBatch(3, 1, 99);
    assertThrowsCode(() => new Resonator([codebooks[0]!, other]), "invalid_shape");
    const zeros = HypervectorBatch.random(3, 100, 1);
    assertThrowsCode(() => new Resonator([codebooks[0]!, zeros]), "invalid_value", /zeros/);
    assertThrowsCode(() => new Resonator(codebooks, { maxIterations: 0 }), "invalid_value");
    assertThrowsCode(() => new Resonator(codebooks, { seed: -1 }), "invalid_value");
  });
});
