import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  AssociativeMemory,
  type Distribution,
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
import { assertSame, assertThrowsCode, wrong } from "./support.ts";

const DIM = 10_000;
const MODES: readonly StructureMode[] = ["multiply", "add"];

/** Cosines of unrelated vectors have a standard deviation of 1 / sqrt(dim); this is six of them. */
const NOISE = 6 / Math.sqrt(DIM);

/** The vectors that a mode is for, and their trits. */
const FITTING = {
  multiply: { distribution: "bipolar", trits: [-1, 1] },
  add: { distribution: "ternary", trits: [-1, 0, 1] },
} as const;
const batchFor = (mode: StructureMode, count: number, seed: number) =>
  HypervectorBatch.random(count, DIM, seed, FITTING[mode]);

const bipolar = (seed: number, dim = DIM) =>
  Hypervector.random(dim, seed, { distribution: "bipolar" });
const bipolarBatch = (count: number, seed: number, dim = DIM) =>
  HypervectorBatch.random(count, dim, seed, { distribution: "bipolar" });

/** An item memory of the rows of a batch, named by their numbers. */
function memoryOf(batch: HypervectorBatch): ItemMemory {
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

const BIND: Record<StructureMode, (a: number, b: number) => number> = {
  multiply: (a, b) => a * b,
  add: (a, b) => (a + b + 4) % 3 - 1,
};
const UNBIND = { multiply: BIND.multiply, add: (a: number, b: number) => (a - b + 4) % 3 - 1 };

/** Expected cosine of a filler with what unbinding gives, where a trace holds K bound pairs. */
function recovery(pairs: number, mode: StructureMode, trits: readonly number[]): number {
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

describe("the trace of K bound pairs", () => {
  const cases: [name: string, StructureMode, Distribution, number[], Record<number, number[]>][] = [
    ["product, thirds", "multiply", "ternary", [-1, 0, 1], {
      1: [0.82],
      2: [0.63],
      3: [0.52],
      5: [0.40],
      8: [0.31],
      16: [0.21],
    }],
    ["mod 3, thirds", "add", "ternary", [-1, 0, 1], {
      1: [1],
      2: [0.34],
      3: [0.34],
      5: [0.24],
      8: [0.18],
      16: [0.13],
    }],
    ["product, bipolar", "multiply", "bipolar", [-1, 1], {
      1: [1],
      2: [0.66, 0.71],
      3: [0.50, 0.53],
      5: [0.38, 0.40],
      8: [0.31, 0.32],
      16: [0.21, 0.22],
    }],
  ];
  for (const [name, mode, distribution, trits, table] of cases) {
    it(`gives a filler back as theory says: ${name}`, () => {
      const dim = 100_000;
      for (const [pairs, known] of Object.entries(table)) {
        const count = Number(pairs);
        const expected = recovery(count, mode, trits);
        // The table has two digits, measured; theory lies within it.
        assert.ok(expected > Math.min(...known) - 0.01, `${name}, ${pairs}: ${expected}`);
        assert.ok(expected < Math.max(...known) + 0.01, `${name}, ${pairs}: ${expected}`);
        using keys = HypervectorBatch.random(count, dim, count, { distribution });
        using fillers = HypervectorBatch.random(count, dim, 100 + count, { distribution });
        using table = HashTable.from(keys, fillers, { mode });
        using found = table.get(keys);
        for (const cosine of fillers.similarity(found)) {
          // Five standard deviations; that of a trit's part is at most 1 / sqrt(share of nonzero fillers).
          const allowed = expected === 1 ? 1e-12 : 5 * Math.sqrt(1.5 / dim);
          assert.ok(Math.abs(cosine - expected) < allowed, `${cosine}, expected ${expected}`);
        }
      }
    });
  }
});

describe("Multiset", () => {
  it("knows its members, and how many of each", () => {
    using vectors = HypervectorBatch.random(200, DIM, 1);
    using first = HypervectorBatch.of(Array.from({ length: 100 }, (_, row) => vectors.get(row)));
    using set = Multiset.from(first);
    set.add(vectors.get(7));
    set.add(vectors.get(7));
    assert.equal(set.size, 102);
    for (let row = 0; row < 200; row++) {
      using vector = vectors.get(row);
      const times = row >= 100 ? 0 : row === 7 ? 3 : 1;
      // Noise of the others: sqrt(102 + 6) members' worth, 0.104 a standard deviation.
      assert.ok(Math.abs(set.count(vector) - times) < 0.52, `${row}: ${set.count(vector)}`);
    }
    assert.ok(set.has(vectors.get(7)) && !set.has(bipolar(9)));
    set.remove(first);
    // What is left is twice vector 7, to the last trit.
    assert.ok(set.toHypervector().equals(vectors.get(7)));
    assert.ok(Math.abs(set.similarity(vectors.get(7)) - 1) < 1e-12);
    assert.ok(Math.abs(set.count(vectors.get(7)) - 2) < 1e-9);
    set.clear();
    assert.equal(set.size, 0);
    assert.equal(set.count(vectors.get(7)), 0);
    assert.equal(set.toHypervector().sparsity, 1);
  });

  it("holds n-grams", () => {
    using letters = bipolarBatch(26, 1);
    const [a, b, c] = [0, 1, 2].map((row) => letters.get(row)) as [
      Hypervector,
      Hypervector,
      Hypervector,
    ];
    using text = HypervectorBatch.of([a, b, c, a, b]);
    using grams = Multiset.fromNgrams(text, 2);
    assert.equal(grams.size, 4);
    const gram = (x: Hypervector, y: Hypervector) => x.permute(1).bind(y, { mode: "multiply" });
    assert.ok(Math.abs(grams.count(gram(a, b)) - 2) < 3 * NOISE);
    assert.ok(grams.has(gram(b, c)) && grams.has(gram(c, a)));
    assert.ok(!grams.has(gram(b, a)));
  });

  it("refuses what is wrong", () => {
    using set = Multiset.from(bipolarBatch(2, 1, 100));
    assertThrowsCode(() => set.remove(bipolarBatch(3, 1, 100)), "invalid_value", /2, got 3/);
    assertThrowsCode(() => set.add(bipolar(1, 99)), "invalid_shape", /100 dimensions/);
    assertThrowsCode(() => set.add(wrong([])), "invalid_type");
    assertThrowsCode(
      () => set.has(wrong(bipolarBatch(1, 1, 100))),
      "invalid_type",
      /a Hypervector,/,
    );
    assertThrowsCode(() => new Multiset(0), "invalid_value");
    assertThrowsCode(() => Multiset.fromNgrams(bipolarBatch(2, 1), 3), "invalid_value", /^n must/);
    assert.equal(set.size, 2);
    set[Symbol.dispose]();
    set[Symbol.dispose]();
    assertThrowsCode(() => set.add(bipolar(1, 100)), "disposed");
    assertThrowsCode(() => set.toHypervector(), "disposed");
  });
});

describe("HashTable", () => {
  for (const mode of MODES) {
    it(`adds, removes and replaces exactly, ${mode}`, () => {
      using keys = batchFor(mode, 3, 1);
      using values = batchFor(mode, 4, 2);
      const key = (row: number) => keys.get(row);
      const value = (row: number) => values.get(row);
      using table = new HashTable(DIM, { mode });
      for (const row of [0, 1, 2]) table.add(key(row), value(row));
      assert.equal(table.size, 3);
      const cosine = recovery(3, mode, FITTING[mode].trits);
      for (const row of [0, 1, 2]) {
        using found = table.get(key(row));
        assert.ok(Math.abs(found.cosine(value(row)) - cosine) < NOISE);
        assert.ok(Math.abs(found.cosine(value(3))) < NOISE);
        using out = new Hypervector(DIM);
        assert.equal(table.get(key(row), { out }), out);
        assert.ok(out.equals(found));
      }
      using all = table.get(keys);
      assert.ok(all.get(2).equals(table.get(key(2))));
      table.remove(key(0), value(0));
      table.remove(key(2), value(2));
      assert.ok(table.get(key(1)).equals(value(1)));
      table.replace(key(1), value(1), value(3));
      assert.ok(table.get(key(1)).equals(value(3)));
      table.clear();
      table.add(key(0), value(0));
      assert.ok(table.get(key(0)).equals(value(0)));
      assert.ok(table.memoryBytes >= 4 * DIM);
    });
  }

  it("refuses what is wrong", () => {
    using table = new HashTable(100);
    const [key, value] = [bipolar(1, 100), bipolar(2, 100)];
    assertThrowsCode(() => table.remove(key, value), "invalid_value", /as many/);
    assertThrowsCode(() => table.replace(key, value, key), "invalid_value");
    assert.equal(table.size, 0);
    assertThrowsCode(() => table.add(key, bipolar(1, 99)), "invalid_shape");
    assertThrowsCode(() => table.add(key, bipolarBatch(2, 1, 100)), "invalid_shape");
    assertThrowsCode(() => table.get(wrong("key")), "invalid_type");
    assertThrowsCode(() => new HashTable(100, { mode: wrong("subtract") }), "invalid_option");
    assertThrowsCode(() => new HashTable(100, wrong(1)), "invalid_type");
  });
});

describe("AssociativeMemory", () => {
  it("recalls 100 pairs among 1000 values", () => {
    using keys = bipolarBatch(100, 1);
    using values = bipolarBatch(1000, 2);
    using memory = memoryOf(values);
    using table = new AssociativeMemory(DIM, { memory });
    // Value 5 r + 3 for key r.
    for (let row = 0; row < 100; row++) table.add(keys.get(row), values.get(5 * row + 3));
    // 8 standard deviations of the noise, more than sqrt(2 ln 1000) + 3 = 6.7.
    const matches = table.recall(keys);
    assert.deepEqual(matches.map((match) => match?.index), matches.map((_, row) => 5 * row + 3));
    for (const match of matches) {
      assert.ok(Math.abs(match!.score - Math.sqrt(2 / (Math.PI * 100))) < NOISE);
    }
    assert.equal(table.recall(keys.get(42))?.name, "213");
  });

  it("takes another memory, and refuses to do without one", () => {
    using table = new AssociativeMemory(100, { mode: "add" });
    using memory = new ItemMemory(100);
    table.add(bipolar(1, 100), bipolar(2, 100));
    assert.equal(table.recall(bipolar(1, 100), { memory }), undefined);
    memory.add("two", bipolar(2, 100));
    memory.add("three", bipolar(3, 100));
    const match = table.recall(bipolar(1, 100), { memory });
    assert.deepEqual(match, { name: "two", index: 0, score: 1 });
    assertThrowsCode(() => table.recall(bipolar(1, 100)), "invalid_value", /memory/);
    assertThrowsCode(() => table.recall(bipolar(1, 100), { memory: wrong({}) }), "invalid_type");
    assertThrowsCode(() => new AssociativeMemory(100, { memory: wrong([]) }), "invalid_type");
  });
});

describe("sequences", () => {
  const WORD = [10, 0, 13, 4, 17, 21, 0];

  it("keep their vectors by position", () => {
    using letters = bipolarBatch(26, 1);
    using memory = memoryOf(letters);
    const read = (word: Sequence) =>
      Array.from({ length: word.size }, (_, index) => memory.cleanup(word.get(index))?.index);
    using word = new Sequence(DIM);
    for (const letter of WORD) word.append(letters.get(letter));
    assert.deepEqual(read(word), WORD);
    word.appendLeft(letters.get(2));
    word.replace(3, letters.get(13), letters.get(25));
    assert.deepEqual(read(word), [2, 10, 0, 25, 4, 17, 21, 0]);
    word.pop(letters.get(0));
    word.popLeft(letters.get(2));
    word.popLeft(letters.get(10));
    assert.deepEqual(read(word), [0, 25, 4, 17, 21]);
    // Exact: the same as if it had been written at once.
    using same = HypervectorBatch.of([0, 25, 4, 17, 21].map((letter) => letters.get(letter)));
    using fresh = Sequence.from(same);
    assert.ok(word.toHypervector().equals(fresh.toHypervector()));
    assert.ok(word.toHypervector().equals(encodeSequence(same)));
    for (const letter of [0, 25, 4, 17, 21]) word.popLeft(letters.get(letter));
    assert.equal(word.size, 0);
    assert.equal(word.toHypervector().sparsity, 1);
  });

  it("refuse what is wrong", () => {
    using word = new Sequence(100);
    assertThrowsCode(() => word.get(0), "invalid_value", /empty/);
    assertThrowsCode(() => word.pop(bipolar(1, 100)), "invalid_value");
    assertThrowsCode(() => word.popLeft(bipolar(1, 100)), "invalid_value");
    word.append(bipolar(1, 100));
    assertThrowsCode(() => word.get(1), "invalid_value", /index/);
    assertThrowsCode(() => word.get(-1), "invalid_value", /index/);
    assertThrowsCode(() => word.append(wrong(bipolarBatch(1, 1, 100))), "invalid_type");
    assertThrowsCode(() => encodeSequence([]), "invalid_value");
    for (const vectors of [7, undefined, bipolar(1, 100)]) {
      assertThrowsCode(() => encodeSequence(wrong(vectors)), "invalid_type", /HypervectorBatch/);
      assertThrowsCode(() => encodeSet(wrong(vectors)), "invalid_type", /HypervectorBatch/);
      assertThrowsCode(() => encodeNgrams(wrong(vectors), 1), "invalid_type", /HypervectorBatch/);
      assertThrowsCode(() => Sequence.from(wrong(vectors)), "invalid_type", /HypervectorBatch/);
    }
  });

  it("encode as sums of permuted vectors and of bound n-grams", () => {
    const dim = 65;
    using batch = HypervectorBatch.random(5, dim, 3);
    const rows = Array.from({ length: 5 }, (_, row) => batch.get(row).toInt8Array());
    const signs = (value: (i: number) => number) =>
      Int8Array.from({ length: dim }, (_, i) => Math.sign(value(i)));
    const at = (row: number, i: number) => rows[row]![(i + dim) % dim]!;
    const positions = [0, 1, 2, 3, 4];
    const sum = (list: number[]) => list.reduce((total, value) => total + value, 0);
    assertSame(
      encodeSequence(batch).toInt8Array(),
      signs((i) => sum(positions.map((row) => at(row, i - row)))),
    );
    assertSame(
      encodeSet(positions.map((row) => batch.get(row))).toInt8Array(),
      signs((i) => sum(positions.map((row) => at(row, i)))),
    );
    for (const mode of MODES) {
      const bind = BIND[mode];
      assertSame(
        encodeNgrams(batch, 3, { mode }).toInt8Array(),
        signs((i) =>
          sum(
            [0, 1, 2].map((row) => bind(bind(at(row, i - 2), at(row + 1, i - 1)), at(row + 2, i))),
          )
        ),
      );
    }
    assertSame(encodeNgrams(batch, 1).toInt8Array(), encodeSet(batch).toInt8Array());
    using out = new Hypervector(dim);
    assert.equal(encodeNgrams(batch, 5, { out, tie: "positive" }), out);
    assert.equal(out.counts().zero, 0);
    assertThrowsCode(() => encodeNgrams(batch, 6), "invalid_value", /^n must/);
    assertThrowsCode(() => encodeNgrams(batch, 0), "invalid_value", /^n must/);
  });
});

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
