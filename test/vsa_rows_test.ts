// Batches as lists of rows: put together, counted, bundled and bound in groups, searched without garbage.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Hypervector, HypervectorBatch, ItemMemory, VsaOps } from "../mod.ts";
import { assertSame, assertThrowsCode, onEveryTier, randomTrits, wrong } from "./support.ts";
import { bindAll, countsOf, joined, MODES, rowsOf } from "./vsa_reference.ts";

const DIMS = [1, 33, 64, 513, 1000];

describe("HypervectorBatch.concat", () => {
  it("puts rows below rows, and dimensions after dimensions", () => {
    onEveryTier((label) => {
      for (const dim of DIMS) {
        const [a, b] = [randomTrits(3 * dim, 1), randomTrits(2 * dim, 2)];
        using x = HypervectorBatch.from(a, [3, dim]);
        using y = HypervectorBatch.from(b, [2, dim]);
        using one = Hypervector.from(b.subarray(0, dim));
        using rows = HypervectorBatch.concat([x, one, y]);
        assert.deepEqual([rows.count, rows.dim], [6, dim]);
        assertSame(rows.toInt8Array(), joined([a, b.subarray(0, dim), b]), label);

        const c = randomTrits(3 * (dim + 5), 3);
        using z = HypervectorBatch.from(c, [3, dim + 5]);
        using wide = HypervectorBatch.concat([x, z, x], { axis: "dims" });
        const parts = [rowsOf(a, dim), rowsOf(c, dim + 5), rowsOf(a, dim)];
        const expected = joined([0, 1, 2].flatMap((row) => parts.map((part) => part[row]!)));
        assert.deepEqual([wide.count, wide.dim], [3, 3 * dim + 5]);
        assertSame(wide.toInt8Array(), expected, label);
      }
    });
  });

  it("refuses what does not fit together", () => {
    using x = new HypervectorBatch(3, 10);
    const axis = "dims";
    assertThrowsCode(() => HypervectorBatch.concat([]), "invalid_value", /at least one/);
    assertThrowsCode(() => HypervectorBatch.concat(wrong(x)), "invalid_value", /a list/);
    assertThrowsCode(
      () => HypervectorBatch.concat([x, new Hypervector(9)]),
      "invalid_shape",
      /vectors\[1\] must have 10/,
    );
    assertThrowsCode(
      () => HypervectorBatch.concat([x, new Hypervector(10)], { axis }),
      "invalid_shape",
      /vectors\[1\] must be 3 vectors/,
    );
    assertThrowsCode(() => HypervectorBatch.concat([x, wrong({})]), "invalid_type");
    assertThrowsCode(
      () => HypervectorBatch.concat([x], { axis: wrong("columns") }),
      "invalid_option",
      /axis/,
    );
  });
});

describe("HypervectorBatch.rowCounts", () => {
  it("counts each row", () => {
    onEveryTier((label) => {
      for (const dim of [...DIMS, 65_537]) {
        const trits = randomTrits(7 * dim, 1);
        using batch = HypervectorBatch.from(trits, [7, dim]);
        const counts = batch.rowCounts();
        const expected = rowsOf(trits, dim).map(countsOf);
        for (const kind of ["positive", "negative", "zero"] as const) {
          assertSame(counts[kind], expected.map((row) => row[kind]), `${label} ${kind}`);
        }
      }
    });
  });
});

describe("groups of rows", () => {
  it("are bound from the left", () => {
    onEveryTier((label) => {
      for (const dim of DIMS) {
        const trits = randomTrits(12 * dim, 5);
        using batch = HypervectorBatch.from(trits, [12, dim]);
        for (const mode of MODES) {
          for (const size of [1, 3, 12]) {
            const count = 12 / size;
            using out = new HypervectorBatch(count, dim);
            assert.equal(batch.bindGroups(size, { mode, out }), out);
            const rows = rowsOf(trits, dim);
            const expected = Array.from(
              { length: count },
              (_, group) => bindAll(rows.slice(group * size, (group + 1) * size), mode),
            );
            assertSame(out.toInt8Array(), joined(expected), `${label} ${mode} ${size}`);
          }
        }
      }
    });
  });

  it("are bundled with the same weights in each", () => {
    onEveryTier((label) => {
      const [dim, size] = [513, 3];
      using batch = HypervectorBatch.random(12, dim, 1);
      const weights = [0.5, -2, 1.25];
      using groups = batch.bundleGroups(size, { weights });
      for (let group = 0; group < 4; group++) {
        const rows = [0, 1, 2].map((row) => batch.get(group * size + row));
        using expected = Hypervector.bundle(rows, { weights });
        using actual = groups.get(group);
        assert.ok(actual.equals(expected), `${label} group ${group}`);
      }
    });
  });

  it("are refused where they do not come out even", () => {
    using batch = new HypervectorBatch(4, 10);
    assertThrowsCode(() => batch.bindGroups(3), "invalid_shape", /divide 4 rows/);
    assertThrowsCode(() => batch.bindGroups(0), "invalid_value", /size/);
    assertThrowsCode(() => batch.bindGroups(2, { out: batch }), "invalid_shape", /2 vectors/);
    assertThrowsCode(() => batch.bindGroups(2, { mode: wrong("x") }), "invalid_option", /mode/);
    assertThrowsCode(
      () => batch.bundleGroups(2, { weights: [1, 2, 3, 4] }),
      "invalid_length",
      /weights must have 2/,
    );
  });
});

describe("search into given arrays", () => {
  const batch = HypervectorBatch.random(50, 1000, 1);
  const queries = HypervectorBatch.random(3, 1000, 2);

  it("finds the same as into new ones", () => {
    const out = { indices: new Uint32Array(6), scores: new Float64Array(6) };
    const expected = batch.topK(queries, 2, { metric: "hamming", rows: 40 });
    const found = batch.topK(queries, 2, { metric: "hamming", rows: 40, out });
    assert.equal(found, out);
    assert.equal(found.indices, out.indices);
    assertSame(out.indices, expected.indices);
    assertSame(out.scores, expected.scores);
  });

  it("serves item memories", () => {
    using memory = new ItemMemory(1000, { metric: "overlap" });
    memory.addAll(Array.from({ length: 50 }, (_, row) => `word ${row}`), batch);
    const out = { indices: new Uint32Array(6), scores: new Float64Array(6) };
    assert.equal(memory.search(queries, 2, { out }), out);
    const matches = memory.topK(queries, 2).flat();
    assertSame(out.indices, matches.map(({ index }) => index));
    assertSame(out.scores, matches.map(({ score }) => score));
    assert.equal(memory.nameOf(out.indices[0]!), matches[0]!.name);
    assertThrowsCode(() => memory.nameOf(50), "invalid_value", /below 50/);
    assertThrowsCode(() => memory.nameOf(-1), "invalid_value", /index/);
    assertThrowsCode(() => memory.search(queries, 51), "invalid_value", /k must/);
    memory.remove("word 0");
    assert.equal(memory.nameOf(0), "word 49");
    memory[Symbol.dispose]();
    assertThrowsCode(() => memory.search(queries, 1), "disposed");
  });

  it("refuses arrays that do not fit", () => {
    const make = (indices: unknown, scores: unknown) => () =>
      batch.topK(queries, 2, { out: { indices: wrong(indices), scores: wrong(scores) } });
    const [indices, scores] = [new Uint32Array(6), new Float64Array(6)];
    assertThrowsCode(make(new Uint32Array(5), scores), "invalid_length", /out\.indices/);
    assertThrowsCode(make(indices, new Float64Array(7)), "invalid_length", /out\.scores/);
    assertThrowsCode(make(indices, new Float32Array(6)), "invalid_type", /out\.scores/);
    assertThrowsCode(() => batch.topK(queries, 2, { out: wrong(5) }), "invalid_type", /out must/);
  });
});

describe("VsaOps", () => {
  it("has the methods of vectors and batches", () => {
    const ops = new VsaOps();
    using a = ops.random(1000, 1);
    using b = ops.random(1000, 2);
    using batch = HypervectorBatch.of([a, b]);
    assert.ok(ops.bindMany([a, b], { mode: "subtract" }).equals(a.bind(b, { mode: "subtract" })));
    assert.ok(ops.bindMany(batch).equals(a.bind(b)));
    assert.ok(ops.thin(batch, { keep: 0.5, seed: 3 }).equals(batch.thin({ keep: 0.5, seed: 3 })));
    assert.ok(ops.slice(a, 10, 20).equals(a.slice(10, 20)));
    assert.ok(ops.slice(batch, 990).equals(batch.slice(990)));
    assert.ok(ops.concat([a, b]).equals(Hypervector.concat([a, b])));
    assert.ok(ops.concatBatches([a, b]).equals(batch));
    assert.equal(ops.concatBatches([batch, batch], { axis: "dims" }).dim, 2000);
    assertSame(ops.similarityMatrix(batch, a), batch.similarityMatrix(a));
    assertSame(ops.topK(batch, b, 2, { metric: "dot" }).indices, [1, 0]);
    assertThrowsCode(() => ops.topK(wrong(a), b, 1), "invalid_type", /rows must be/);
    assertThrowsCode(() => ops.thin(wrong({}), { keep: 1 }), "invalid_type", /a must be/);
  });
});
