import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  AssociativeMemory,
  type Distribution,
  encodeNgrams,
  encodeSequence,
  encodeSet,
  HashTable,
  Hypervector,
  HypervectorBatch,
  ItemMemory,
  Multiset,
  Sequence,
  type StructureMode,
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

  it("encode n-grams of as many as there are", () => {
    using batch = HypervectorBatch.random(5, 65, 3);
    using out = new Hypervector(65);
    assert.equal(encodeNgrams(batch, 5, { out, tie: "positive" }), out);
    assert.equal(out.counts().zero, 0);
    assertThrowsCode(() => encodeNgrams(batch, 6), "invalid_value", /^n must/);
    assertThrowsCode(() => encodeNgrams(batch, 0), "invalid_value", /^n must/);
  });
});
