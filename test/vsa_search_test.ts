import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  getThreads,
  Hypervector,
  HypervectorBatch,
  info,
  ItemMemory,
  setThreads,
  type SimilarityMetric,
} from "../mod.ts";
import { assertGuarded, container, planesOf } from "./containers.ts";
import { assertSame, assertThrowsCode, onEveryTier, randomTrits, wrong } from "./support.ts";
import { METRICS, rowsOf, scoresOf as ofPair } from "./vsa_reference.ts";

/** Rows and queries for each number of dimensions. */
const CASES: [dim: number, rows: number, queries: number][] = [
  [1, 70, 3],
  [31, 5, 33],
  [32, 9, 4],
  [33, 131, 19],
  [63, 7, 7],
  [64, 1, 1],
  [65, 66, 5],
  [1000, 20, 18],
  [10_000, 11, 6],
  [65_537, 4, 5],
  [1_000_003, 3, 2],
];

/** All similarities of pairs, row by row, which every metric needs; computed once. */
const pairs = new Map<number, Record<SimilarityMetric, number>[]>();

/** All scores, row by row. */
function scoresOf(
  rows: Int8Array,
  queries: Int8Array,
  dim: number,
  metric: SimilarityMetric,
): Float64Array {
  const known = pairs.get(dim) ??
    rowsOf(rows, dim).flatMap((row) => rowsOf(queries, dim).map((query) => ofPair(row, query)));
  pairs.set(dim, known);
  return Float64Array.from(known, (scores) => scores[metric]);
}

/** The rows of a query, best first. */
function order(scores: Float64Array, queries: number, query: number, metric: SimilarityMetric) {
  const sign = metric === "hamming" ? -1 : 1;
  return Array.from({ length: scores.length / queries }, (_, row) => row).sort((a, b) =>
    sign * (scores[b * queries + query]! - scores[a * queries + query]!) || a - b
  );
}

describe("batch against batch", () => {
  for (const metric of METRICS) {
    it(`${metric}: all scores and the best rows are those of the definition`, () => {
      for (const [dim, rows, queries] of CASES) {
        const [a, b] = [randomTrits(rows * dim, dim), randomTrits(queries * dim, dim + 1)];
        // One of zeros on either side.
        if (dim > 1) {
          a.fill(0, 0, dim);
          b.fill(0, b.length - dim);
        }
        const expected = scoresOf(a, b, dim, metric);
        onEveryTier((label) => {
          using x = HypervectorBatch.from(a, [rows, dim]);
          using y = HypervectorBatch.from(b, [queries, dim]);
          assertSame(x.similarityMatrix(y, { metric }), expected, `${label}, ${dim}`);
          for (const k of [1, Math.min(3, rows), rows]) {
            const { indices, scores } = x.topK(y, k, { metric });
            for (let query = 0; query < queries; query++) {
              const best = order(expected, queries, query, metric).slice(0, k);
              assertSame(indices.subarray(query * k, (query + 1) * k), best, `${label}, ${dim}`);
              assertSame(
                scores.subarray(query * k, (query + 1) * k),
                best.map((row) => expected[row * queries + query]!),
                `${label}, ${dim}`,
              );
            }
          }
        });
      }
    });
  }

  it("any number of threads finds the same", () => {
    using rows = HypervectorBatch.random(5000, 1000, 1);
    using queries = HypervectorBatch.random(9, 1000, 2);
    using one = Hypervector.random(1000, 3);
    const threads = getThreads();
    try {
      setThreads(1);
      const [many, single] = [rows.topK(queries, 50), rows.topK(one, 5000)];
      const [wide, tall] = [queries.topK(rows, 3), rows.similarityMatrix(queries)];
      for (const count of [2, 3, 5, 16]) {
        setThreads(count);
        assert.deepEqual(rows.topK(queries, 50), many);
        assert.deepEqual(rows.topK(one, 5000), single);
        assert.deepEqual(queries.topK(rows, 3), wide);
        assertSame(rows.similarityMatrix(queries), tall);
      }
    } finally {
      setThreads(threads);
    }
  });

  it("equal scores come in the order of the rows", () => {
    using one = Hypervector.random(100, 1);
    using rows = HypervectorBatch.of(Array.from({ length: 300 }, () => one));
    for (const metric of METRICS) {
      const { indices, scores } = rows.topK(one, 299, { metric });
      assertSame(indices, Array.from({ length: 299 }, (_, row) => row), metric);
      assert.equal(new Set(scores).size, 1);
      assert.deepEqual(Array.from(rows.topK(one, 1, { metric }).indices), [0]);
    }
  });

  it("rows restrict the search, and out takes the scores", () => {
    using batch = HypervectorBatch.random(10, 1000, 1);
    using last = batch.get(9);
    assert.deepEqual(Array.from(batch.topK(last, 1).indices), [9]);
    assert.notEqual(batch.topK(last, 1, { rows: 9 }).indices[0], 9);
    assert.equal(batch.topK(last, 9, { rows: 9 }).indices.length, 9);
    const out = new Float64Array(20);
    assert.equal(batch.similarityMatrix(HypervectorBatch.random(2, 1000, 2), { out }), out);
    assert.equal(batch.similarityMatrix(last)[9], 1);
  });

  it("refuses what does not fit", () => {
    using batch = HypervectorBatch.random(10, 100, 1);
    using query = Hypervector.random(100, 2);
    using longer = Hypervector.random(101, 2);
    for (const k of [0, 11, 1.5, -1, NaN]) {
      assertThrowsCode(() => batch.topK(query, k), "invalid_value", /^k must/);
    }
    assertThrowsCode(() => batch.topK(query, 5, { rows: 4 }), "invalid_value", /^k must/);
    for (const rows of [0, 11]) {
      assertThrowsCode(() => batch.topK(query, 1, { rows }), "invalid_value", /^rows must/);
    }
    assertThrowsCode(() => batch.topK(longer, 1), "invalid_shape");
    assertThrowsCode(() => batch.similarityMatrix(longer), "invalid_shape");
    assertThrowsCode(() => batch.topK(wrong(new Int8Array(100)), 1), "invalid_type");
    assertThrowsCode(() => batch.topK(query, 1, { metric: wrong("sine") }), "invalid_option");
    const short = { out: new Float64Array(9) };
    assertThrowsCode(() => batch.similarityMatrix(query, short), "invalid_length");
    assertThrowsCode(
      () => {
        using many = new HypervectorBatch(2 ** 17, 1);
        many.similarityMatrix(many);
      },
      "invalid_length",
      /2\^32/,
    );
    const gone = Hypervector.random(100, 1);
    gone[Symbol.dispose]();
    assertThrowsCode(() => batch.topK(gone, 1), "disposed");
  });
});

describe("item memory", () => {
  it("cleans up, one query or many", () => {
    using memory = new ItemMemory(10_000, { capacity: 2 });
    using noise = Hypervector.random(10_000, 1, { distribution: { zeros: 0.7 } });
    const names = Array.from({ length: 100 }, (_, i) => `item ${i}`);
    for (const name of names) memory.addRandom(name);
    using queries = HypervectorBatch.of([7, 42, 99].map((i) => memory.get(names[i]!).bind(noise)));
    const found = memory.cleanup(queries);
    assert.deepEqual(found.map((match) => match?.name), ["item 7", "item 42", "item 99"]);
    assert.deepEqual(memory.cleanup(queries.get(1)), found[1]);
    assert.equal(found[1]!.score, memory.get("item 42").cosine(queries.get(1)));
    const lists = memory.topK(queries, 200);
    assert.equal(lists[0]!.length, 100);
    assert.deepEqual(lists[2], memory.topK(queries.get(2), 100));
    assert.deepEqual(lists[2]!.slice(0, 1), [found[2]]);
  });

  it("adds, grows, gets and removes", () => {
    const dim = 333;
    using memory = new ItemMemory(dim, { capacity: 1, metric: "hamming" });
    using batch = HypervectorBatch.random(50, dim, 1);
    const expected = new Map<string, number>();
    memory.add("single", batch.get(0));
    expected.set("single", 0);
    memory.addAll(Array.from({ length: 50 }, (_, i) => `n${i}`), batch);
    for (let i = 0; i < 50; i++) expected.set(`n${i}`, i);
    for (const name of ["n0", "n49", "single", "n17"]) {
      assert.equal(memory.remove(name), true);
      expected.delete(name);
    }
    assert.equal(memory.remove("n17"), false);
    assert.equal(memory.has("n17"), false);
    memory.add("n17", batch.get(3));
    expected.set("n17", 3);
    assert.equal(memory.size, expected.size);
    assert.ok(memory.capacity >= memory.size);
    assert.deepEqual(new Set(memory.names()), new Set(expected.keys()));
    using out = new Hypervector(dim);
    for (const [name, row] of expected) {
      assert.equal(memory.get(name, { out }), out);
      assert.ok(out.equals(batch.get(row)), name);
      const match = memory.topK(out, 2).find((item) => item.name === name)!;
      assert.deepEqual([match.score, memory.names()[match.index]], [0, name]);
    }
  });

  it("a name has the same random vector everywhere", () => {
    using a = new ItemMemory(1000);
    using b = new ItemMemory(1000);
    for (const name of ["", "ü", "\0"]) a.addRandom(name);
    for (const name of ["x", "ü"]) b.addRandom(name);
    assert.ok(a.get("ü").equals(b.get("ü")));
    // FNV-1a of no bytes is its offset basis.
    assert.ok(a.get("").equals(Hypervector.random(1000, 0xcbf29ce484222325n)));
    a.addRandom("seeded", 5, { distribution: "bipolar" });
    assert.ok(
      a.get("seeded").equals(Hypervector.random(1000, 5, { distribution: "bipolar" })),
    );
  });

  it("without items finds nothing", () => {
    using memory = new ItemMemory(100);
    using query = Hypervector.random(100, 1);
    assert.equal(memory.cleanup(query), undefined);
    assert.deepEqual(memory.topK(query, 3), []);
    assert.deepEqual(memory.cleanup(HypervectorBatch.of([query, query])), [undefined, undefined]);
    assert.equal(memory.size, 0);
  });

  it("refuses what it cannot keep, and keeps what it had", () => {
    using memory = new ItemMemory(100);
    using vector = Hypervector.random(100, 1);
    using pair = HypervectorBatch.random(2, 100, 2);
    memory.add("a", vector);
    assertThrowsCode(() => memory.add("a", vector), "invalid_value", /again$/);
    assertThrowsCode(() => memory.addRandom("a"), "invalid_value");
    assertThrowsCode(() => memory.add(wrong(5), vector), "invalid_type");
    assertThrowsCode(() => memory.add("b", wrong(pair)), "invalid_shape");
    assertThrowsCode(() => memory.add("b", Hypervector.random(99, 1)), "invalid_shape");
    assertThrowsCode(() => memory.addAll(["b", "b"], pair), "invalid_value", /differ/);
    assertThrowsCode(() => memory.addAll(["b", "a"], pair), "invalid_value");
    assertThrowsCode(() => memory.addAll(["b"], pair), "invalid_length");
    assertThrowsCode(() => memory.addAll(wrong("bc"), pair), "invalid_type");
    assertThrowsCode(() => memory.get("b"), "invalid_value", /one of the items/);
    assertThrowsCode(() => memory.topK(vector, 0), "invalid_value");
    assertThrowsCode(() => memory.cleanup(Hypervector.random(99, 1)), "invalid_shape");
    assertThrowsCode(() => new ItemMemory(0), "invalid_value");
    assertThrowsCode(() => new ItemMemory(10, { capacity: 0 }), "invalid_value");
    assertThrowsCode(() => new ItemMemory(10, { metric: wrong("sine") }), "invalid_option");
    assert.deepEqual(memory.names(), ["a"]);
    memory[Symbol.dispose]();
    assertThrowsCode(() => memory.cleanup(vector), "disposed");
    assertThrowsCode(() => memory.get("a"), "disposed");
    assertThrowsCode(() => memory.save(), "disposed");
  });

  it("finds one of a million", () => {
    const [count, dim] = [1_000_000, 1000];
    using memory = new ItemMemory(dim, { capacity: count });
    using batch = HypervectorBatch.random(count, dim, 1);
    memory.addAll(Array.from({ length: count }, (_, i) => `${i}`), batch);
    using noise = Hypervector.random(dim, 2, { distribution: { zeros: 0.5 } });
    using query = batch.get(777_777).bind(noise);
    assert.equal(memory.cleanup(query)?.name, "777777");
  });

  it("room for ten million vectors of 10,000 trits is there, or refused", () => {
    const before = info().allocatedBytes;
    let memory: ItemMemory;
    try {
      memory = new ItemMemory(10_000, { capacity: 10_000_000 });
    } catch (error) {
      assertThrowsCode(() => {
        throw error;
      }, "out_of_memory");
      return;
    }
    try {
      memory.addRandom("a");
      assert.equal(memory.cleanup(memory.get("a"))?.score, 1);
      assert.equal(memory.memoryBytes, 25_600_000_000);
    } finally {
      memory[Symbol.dispose]();
    }
    assert.equal(info().allocatedBytes, before);
  });
});

describe("a saved item memory", () => {
  const trits = randomTrits(3 * 70, 1);
  const header = { kind: "ItemMemory", dim: 70, metric: "jaccard", names: ["a", "ü", "\ud800"] };

  it("is a container of names and planes, and comes back", () => {
    using memory = new ItemMemory(70, { metric: "jaccard" });
    using batch = HypervectorBatch.from(trits, [3, 70]);
    memory.addAll(header.names, batch);
    const saved = memory.save();
    assertSame(saved, container(header, planesOf(trits, 70)));
    using back = ItemMemory.load(saved, { capacity: 100 });
    assert.deepEqual([back.dim, back.metric, back.capacity], [70, "jaccard", 100]);
    assert.deepEqual(back.names(), header.names);
    for (const name of header.names) assert.ok(back.get(name).equals(memory.get(name)));
    back.addRandom("d");
    assert.equal(back.cleanup(back.get("d"))?.name, "d");
    using empty = ItemMemory.load(new ItemMemory(70).save());
    assert.deepEqual([empty.size, empty.dim, empty.metric], [0, 70, "cosine"]);
  });

  it("is refused where it is damaged or hostile", () => {
    const before = info().handles;
    const planes = planesOf(trits, 70);
    assertGuarded(container(header, planes), (bytes) => ItemMemory.load(bytes));
    const changed = [
      { kind: "Hypervectors" },
      { dim: 0 },
      { dim: 73 },
      { dim: 2 ** 31 },
      { dim: "70" },
      { metric: "sine" },
      { metric: undefined },
      { metric: 3 },
      { names: ["a", "b"] },
      { names: ["a", "b", "a"] },
      { names: ["a", "b", 3] },
      { names: "abc" },
      { names: undefined },
    ];
    for (const change of changed) {
      assertThrowsCode(
        () => ItemMemory.load(container({ ...header, ...change }, planes)),
        "invalid_format",
      );
    }
    const negativeZero = planes.slice();
    negativeZero[9]! |= ~negativeZero[0]!;
    const padding = planes.slice();
    padding[8]! |= 0x80;
    for (const bad of [negativeZero, padding, planes.subarray(1), new Uint8Array()]) {
      assertThrowsCode(() => ItemMemory.load(container(header, bad)), "invalid_format");
    }
    assertThrowsCode(() => ItemMemory.load(wrong("saved")), "invalid_type");
    assert.equal(info().handles, before);
  });
});
