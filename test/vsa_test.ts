/** Hypervectors: binding, similarity and random trits, against loops over bytes. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Hypervector, HypervectorBatch, info } from "../mod.ts";
import { assertSame, assertThrowsCode, onEveryTier, randomTrits, wrong } from "./support.ts";
import {
  assertTrits,
  BIND,
  combine,
  countsOf,
  DIMS,
  joined,
  METRICS,
  MODES,
  negated,
  rowsOf,
  scoresOf,
  UNBIND,
} from "./vsa_reference.ts";

describe("binding", () => {
  it("has the truth tables of balanced digits", () => {
    // Rows a, columns b, each N Z P.
    const tables = {
      add: [["P", "N", "Z"], ["N", "Z", "P"], ["Z", "P", "N"]],
      subtract: [["Z", "N", "P"], ["P", "Z", "N"], ["N", "P", "Z"]],
      multiply: [["P", "Z", "N"], ["Z", "Z", "Z"], ["N", "Z", "P"]],
    };
    const all = Int8Array.from({ length: 9 }, (_, index) => Math.floor(index / 3) - 1);
    const keys = Int8Array.from({ length: 9 }, (_, index) => index % 3 - 1);
    for (const mode of MODES) {
      const expected = tables[mode].flat().map((name) => "NZP".indexOf(name) - 1);
      onEveryTier((label) => {
        using a = Hypervector.from(all);
        using b = Hypervector.from(keys);
        using bound = a.bind(b, { mode });
        assertSame(bound.toInt8Array(), expected, `${label}, ${mode}`);
        if (mode === "multiply") return;
        assertSame(bound.unbind(b, { mode }).toInt8Array(), all, `${label}, ${mode} undone`);
      });
    }
  });

  it("is the loop over bytes at every size, and comparing as well", () => {
    for (const dim of DIMS) {
      const [a, b] = [randomTrits(dim, dim), randomTrits(dim, dim + 1)];
      const scores = scoresOf(a, b);
      const bound = MODES.map((mode) => combine(a, b, BIND[mode]));
      const unbound = MODES.map((mode) => combine(a, b, UNBIND[mode]));
      onEveryTier((label) => {
        using x = Hypervector.from(a);
        using y = Hypervector.from(b);
        using out = new Hypervector(dim);
        MODES.forEach((mode, i) => {
          assert.equal(x.bind(y, { mode, out }), out);
          assertTrits(out, bound[i]!, `${label}, ${dim}, ${mode}`);
          x.unbind(y, { mode, out });
          assertTrits(out, unbound[i]!, `${label}, ${dim}, un${mode}`);
          const inverse = mode === "multiply" ? b : negated(b);
          assertTrits(y.inverse({ mode, out }), inverse, `${label}, ${dim}, inverse of ${mode}`);
        });
        assertTrits(x.negate({ out }), negated(a), `${label}, ${dim}, negative`);
        for (const metric of METRICS) {
          const text = `${label}, ${dim}, ${metric}`;
          assert.equal(x.similarity(y, { metric }), scores[metric], text);
        }
        assert.deepEqual([x.dot(y), x.cosine(y), x.hamming(y)], [
          ...[scores.dot, scores.cosine, scores.hamming],
        ]);
      });
    }
  });

  it("pairs the rows of batches, and one vector serves all", () => {
    for (const dim of DIMS) {
      const count = dim > 100_000 ? 2 : dim > 10_000 ? 3 : 7;
      const [a, b] = [randomTrits(count * dim, 1), randomTrits(count * dim, 2)];
      const key = randomTrits(dim, 3);
      const keys = joined(Array.from({ length: count }, () => key));
      const paired = rowsOf(a, dim).map((row, index) => scoresOf(row, rowsOf(b, dim)[index]!));
      const single = rowsOf(a, dim).map((row) => scoresOf(row, key));
      const expected = MODES.map((mode) => ({
        bound: [combine(a, b, BIND[mode]), combine(a, keys, BIND[mode])] as const,
        unbound: [combine(a, b, UNBIND[mode]), combine(a, keys, UNBIND[mode])] as const,
      }));
      onEveryTier((label) => {
        using x = HypervectorBatch.from(a, [count, dim]);
        using y = HypervectorBatch.from(b, [count, dim]);
        using k = Hypervector.from(key);
        using out = new HypervectorBatch(count, dim);
        MODES.forEach((mode, i) => {
          const text = `${label}, ${dim}, ${mode}`;
          [y, k].forEach((other, j) => {
            assert.equal(x.bind(other, { mode, out }), out);
            assertTrits(out, expected[i]!.bound[j]!, text);
            assertTrits(x.unbind(other, { mode, out }), expected[i]!.unbound[j]!, `${text}, un`);
          });
        });
        assertTrits(x.negate({ out }), negated(a), `${label}, ${dim}, negative`);
        for (const metric of METRICS) {
          const text = `${label}, ${dim}, ${metric}`;
          assertSame(x.similarity(k, { metric }), single.map((scores) => scores[metric]), text);
          const scores = new Float64Array(count);
          assert.equal(x.similarity(y, { metric, out: scores }), scores);
          assertSame(scores, paired.map((scores) => scores[metric]), text);
        }
      });
    }
  });

  it("may write to its operands", () => {
    const [a, b] = [randomTrits(777, 1), randomTrits(777, 2)];
    for (const mode of MODES) {
      using x = Hypervector.from(a);
      using y = Hypervector.from(b);
      x.bind(y, { mode, out: x });
      assertSame(x.toInt8Array(), combine(a, b, BIND[mode]));
      y.bind(y, { mode, out: y });
      assertSame(y.toInt8Array(), combine(b, b, BIND[mode]));
    }
  });
});

describe("vectors", () => {
  it("count, copy, compare and move between batches", () => {
    const trits = randomTrits(3000, 5);
    using batch = HypervectorBatch.from(trits, [3, 1000]);
    const count = (value: number) => trits.filter((trit) => trit === value).length;
    const expected = { positive: count(1), negative: count(-1), zero: count(0) };
    assert.deepEqual(batch.counts(), expected);
    assert.equal(batch.sparsity, expected.zero / 3000);
    assert.equal(batch.memoryBytes, 3 * 2 * 128);
    using copy = batch.copy();
    assert.ok(copy.equals(batch));
    copy.set(1, batch.get(0));
    assert.ok(!copy.equals(batch));
    assertSame(copy.get(1).toInt8Array(), trits.subarray(0, 1000));
    using of = HypervectorBatch.of([batch.get(2), batch.get(1)]);
    using row = new Hypervector(1000);
    assertSame(of.get(0, { out: row }).toInt8Array(), trits.subarray(2000));
    assert.ok(!of.equals(batch));
    assert.ok(!row.equals(new Hypervector(999)));
    batch.set(1, of);
    assertSame(
      batch.toInt8Array({ out: new Int8Array(3000) }).subarray(1000, 2000),
      trits.subarray(2000),
    );
  });

  it("count, compare and copy at every size", () => {
    for (const dim of DIMS) {
      for (const rows of dim > 100_000 ? [1] : [1, 3]) {
        const trits = randomTrits(rows * dim, dim + rows);
        const expected = countsOf(trits);
        // Each differs from it in one trit alone; those of the last place are next to padding.
        const places = new Set([0, dim >> 1, dim - 1, trits.length - 1, trits.length - dim]);
        const others = [...places].flatMap((place) =>
          [-1, 0, 1].filter((trit) => trit !== trits[place]).map((trit) => trits.with(place, trit))
        );
        onEveryTier((label) => {
          const text = `${label}, ${rows} x ${dim}`;
          using batch = HypervectorBatch.from(trits, [rows, dim]);
          assert.deepEqual(batch.counts(), expected, text);
          assert.equal(batch.sparsity, expected.zero / (rows * dim), text);
          using same = HypervectorBatch.from(trits, [rows, dim]);
          assert.ok(batch.equals(same) && batch.equals(batch), text);
          for (const other of others) {
            using different = HypervectorBatch.from(other, [rows, dim]);
            assert.ok(!batch.equals(different) && !different.equals(batch), text);
            different.copy({ out: same });
            assertSame(same.toInt8Array(), other, text);
          }
        });
      }
    }
  });

  it("free their memory, and refuse to be used after that", () => {
    const { handles, allocatedBytes } = info();
    const vector = new Hypervector(5_000_000);
    assert.ok(info().allocatedBytes >= allocatedBytes + 1_250_000);
    vector[Symbol.dispose]();
    vector[Symbol.dispose]();
    assert.deepEqual([info().handles, info().allocatedBytes], [handles, allocatedBytes]);
    using other = new Hypervector(5_000_000);
    assertThrowsCode(() => vector.negate(), "disposed");
    assertThrowsCode(() => other.bind(vector), "disposed");
    assertThrowsCode(() => other.bind(other, { out: vector }), "disposed");
    assertThrowsCode(() => other.dot(vector), "disposed");
    assert.equal(info().handles, handles + 1);
  });

  it("are refused with a clear error where they do not fit", () => {
    using a = new Hypervector(10);
    using b = new Hypervector(11);
    using batch = new HypervectorBatch(3, 10);
    for (const dim of [0, -1, 1.5, NaN, 2 ** 31 + 1]) {
      assertThrowsCode(() => new Hypervector(dim), "invalid_value", /dim/);
    }
    assertThrowsCode(() => new HypervectorBatch(0, 10), "invalid_value", /count/);
    assertThrowsCode(() => new Hypervector(wrong("10")), "invalid_type");
    assertThrowsCode(() => new Hypervector(10, { device: "cuda" }), "device_unavailable");
    assertThrowsCode(() => Hypervector.from(Int8Array.of(0, 2)), "invalid_value", /index 1/);
    assertThrowsCode(() => Hypervector.from(new Int8Array(0)), "invalid_value");
    assertThrowsCode(() => Hypervector.from(wrong([1, 0])), "invalid_type");
    assertThrowsCode(() => HypervectorBatch.from(new Int8Array(5), [2, 3]), "invalid_length");
    assertThrowsCode(() => HypervectorBatch.of([]), "invalid_value");
    assertThrowsCode(() => HypervectorBatch.of([a, b]), "invalid_shape");
    assertThrowsCode(() => a.bind(b), "invalid_shape", /10 dimensions, got 11/);
    assertThrowsCode(() => a.bind(batch), "invalid_shape");
    assertThrowsCode(() => a.bind(wrong({})), "invalid_type");
    assertThrowsCode(() => a.bind(a, { mode: wrong("xor") }), "invalid_option", /"xor"/);
    assertThrowsCode(() => a.bind(a, { mode: wrong("toString") }), "invalid_option");
    assertThrowsCode(() => a.bind(a, { out: b }), "invalid_shape");
    assertThrowsCode(() => a.bind(a, wrong(3)), "invalid_type");
    assertThrowsCode(() => a.dot(wrong(batch)), "invalid_shape", /other must be a single/);
    assertThrowsCode(() => a.similarity(a, { metric: wrong("l2") }), "invalid_option", /"l2"/);
    assertThrowsCode(() => batch.similarity(new HypervectorBatch(2, 10)), "invalid_shape");
    assertThrowsCode(() => batch.similarity(a, { out: new Float64Array(2) }), "invalid_length");
    assertThrowsCode(() => batch.get(3), "invalid_value", /row/);
    assertThrowsCode(() => batch.set(2, new HypervectorBatch(2, 10)), "invalid_value");
    assertThrowsCode(() => a.toInt8Array({ out: new Int8Array(9) }), "invalid_length");
    for (const seed of [-1, 0.5, 2 ** 53, -1n, 2n ** 64n]) {
      assertThrowsCode(() => Hypervector.random(10, seed), "invalid_value", /seed/);
    }
    for (const distribution of ["gaussian", null, 3]) {
      const options = { distribution: wrong(distribution) };
      assertThrowsCode(() => Hypervector.random(10, 1, options), "invalid_option");
    }
    const options = { distribution: { zeros: 1.5 } };
    assertThrowsCode(() => Hypervector.random(10, 1, options), "invalid_value", /zeros/);
  });
});
