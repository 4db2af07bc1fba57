import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Bundler, Hypervector, HypervectorBatch } from "../mod.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  randomTrits,
  wrong,
} from "./support.ts";
import { assertTrits, DIMS, rowsOf, signsOf } from "./vsa_reference.ts";

describe("Bundler", () => {
  for (const dim of DIMS) {
    it(`counts exactly what is added and removed in ${dim} dimensions`, () => {
      const count = dim > 100_000 ? 6 : dim > 10_000 ? 40 : 300;
      const trits = randomTrits(count * dim, dim);
      const rows = rowsOf(trits, dim);
      const counts = new Int32Array(dim);
      const include = (from: number, to: number, weight: number) => {
        for (const row of rows.slice(from, to)) {
          for (let i = 0; i < dim; i++) counts[i]! += weight * row[i]!;
        }
      };
      const [third, half] = [count / 3 | 0, count / 2];
      include(0, count, 1);
      include(1, 2, -1);
      include(2, 3, 1000);
      include(3, 5, -3);
      include(third, half, 77);
      const signs = signsOf(counts, {});
      const tied = (["positive", "random"] as const).map((tie) => ({ tie, seed: 3n }));
      const others = tied.map((options) => signsOf(counts, options));
      const above = signsOf(counts, { threshold: 999 });
      onEveryTier((label) => {
        using bundler = new Bundler(dim);
        const part = (from: number, to: number) =>
          HypervectorBatch.from(trits.subarray(from * dim, to * dim), [to - from, dim]);
        assert.equal(bundler.add(part(0, count)), bundler);
        bundler.remove(Hypervector.from(rows[1]!));
        bundler.add(Hypervector.from(rows[2]!), 1000);
        bundler.remove(part(3, 5), 3);
        bundler.add(part(third, half), 77);
        bundler.add(part(0, 2), 0);
        assertSame(bundler.counts(), counts, label);
        assert.equal(bundler.total, count - 1 + 1000 - 6 + (half - third) * 77);
        assertTrits(bundler.result(), signs, label);
        using out = new Hypervector(dim);
        tied.forEach((options, i) => {
          assert.equal(bundler.result({ ...options, out }), out);
          assertTrits(out, others[i]!, `${label}, ${options.tie}`);
        });
        assertTrits(bundler.result({ threshold: 999, out }), above, `${label}, threshold`);
        bundler.remove(part(third, half), 77).add(part(3, 5), 3);
        bundler.remove(Hypervector.from(rows[2]!), 1000).add(Hypervector.from(rows[1]!));
        bundler.remove(part(0, count - 1)).remove(part(count - 1, count));
        assert.equal(bundler.total, 0);
        const left = bundler.counts({ out: new Int32Array(dim).fill(7) });
        assert.ok(left.every((count) => count === 0));
      });
    });
  }

  it("adds batches of every size", () => {
    const dim = 600;
    for (const count of [1, 2, 3, 4, 5, 7, 16, 17, 111, 112, 113, 225, 1000]) {
      const trits = randomTrits(count * dim, count);
      const counts = new Int32Array(dim).fill(0);
      rowsOf(trits, dim).forEach((row) => row.forEach((trit, i) => counts[i]! -= 1_000_003 * trit));
      onEveryTier((label) => {
        using bundler = new Bundler(dim);
        bundler.add(HypervectorBatch.from(trits, [count, dim]), -1_000_003);
        assertSame(bundler.counts(), counts, `${label}, ${count}`);
      });
    }
  });

  it("adds and removes nothing by a weight of 0", () => {
    using bundler = new Bundler(65);
    using vector = Hypervector.random(65, 1);
    assert.equal(bundler.add(vector, 0).remove(vector, 0).total, 0);
    assert.ok(bundler.counts().every((count) => count === 0));
  });

  it("is the bundle of all", () => {
    using batch = HypervectorBatch.random(64, 1000, 3);
    using bundler = new Bundler(1000);
    bundler.add(batch);
    for (const options of [{}, { threshold: 5 }, { tie: "random", seed: 3 }] as const) {
      assert.ok(bundler.result(options).equals(batch.bundle(options)));
    }
    assert.equal(bundler.memoryBytes, 4096);
    bundler.clear();
    assert.equal(bundler.total, 0);
    assert.equal(bundler.result().sparsity, 1);
    assert.equal(bundler.result({ tie: "positive" }).counts().positive, 1000);
  });

  it("has the cosine of the counts with a vector", () => {
    for (const dim of DIMS) {
      const [a, b] = [randomTrits(dim, 1), randomTrits(dim, 2)];
      let [dot, squares, nonzero] = [0, 0, 0];
      a.forEach((trit, i) => {
        const count = 2 ** 30 * trit - 12_345 * b[i]!;
        dot += count * b[i]!;
        squares += count * count;
        nonzero += b[i]! * b[i]!;
      });
      const expected = squares === 0 || nonzero === 0 ? 0 : dot / Math.sqrt(squares * nonzero);
      let first: number | undefined;
      onEveryTier(() => {
        using bundler = new Bundler(dim);
        using query = Hypervector.from(b);
        assert.equal(bundler.similarity(query), 0);
        bundler.add(Hypervector.from(a), 2 ** 30).remove(query, 12_345);
        const cosine = bundler.similarity(query);
        // The reference rounds each of its additions of squares, and so do the library's sums.
        assertNear([cosine], [expected], 1e-15 + dim * 2 ** -53);
        first ??= cosine;
        assert.equal(cosine, first);
        assert.equal(bundler.similarity(new Hypervector(dim)), 0);
        bundler.clear();
        bundler.add(query, -3);
        assertNear([bundler.similarity(query)], [nonzero === 0 ? 0 : -1], 1e-15);
      });
    }
  });

  it("refuses what could leave the range of a count", () => {
    const most = 2 ** 31 - 1;
    using bundler = new Bundler(70);
    using one = Hypervector.random(70, 1, { distribution: "bipolar" });
    using pair = HypervectorBatch.of([one, one]);
    bundler.add(one, most - 1);
    assertThrowsCode(() => bundler.add(pair), "invalid_value", /2147483647/);
    assert.equal(bundler.total, most - 1);
    bundler.add(one);
    assertThrowsCode(() => bundler.add(one), "invalid_value");
    assertThrowsCode(() => bundler.remove(one, -1), "invalid_value");
    assertSame(bundler.counts(), Int32Array.from(one.toInt8Array(), (trit) => trit * most));
    // What counts is their size, and not how much has come and gone.
    bundler.clear();
    for (let i = 0; i < 9; i++) bundler.add(pair, 2 ** 28).remove(pair, 2 ** 28);
    assert.ok(bundler.counts().every((count) => count === 0));
    bundler.remove(one, most);
    assertThrowsCode(() => bundler.remove(one), "invalid_value");
    assert.ok(bundler.result().negate().equals(one));
  });

  it("refuses what is none", () => {
    using bundler = new Bundler(10);
    using vector = new Hypervector(10);
    using two = new HypervectorBatch(2, 10);
    assertThrowsCode(() => new Bundler(0), "invalid_value", /dim must be/);
    assertThrowsCode(() => new Bundler(wrong("10")), "invalid_type");
    assertThrowsCode(() => bundler.add(wrong(new Int8Array(10))), "invalid_type", /vectors must/);
    assertThrowsCode(() => bundler.add(new Hypervector(11)), "invalid_shape");
    assertThrowsCode(() => bundler.add(vector, 1.5), "invalid_value", /weight/);
    assertThrowsCode(() => bundler.remove(vector, -(2 ** 31)), "invalid_value", /weight/);
    assertThrowsCode(() => bundler.result({ tie: wrong("first") }), "invalid_option", /tie must/);
    assertThrowsCode(() => bundler.result({ tie: "positive", threshold: 1 }), "invalid_option");
    assertThrowsCode(() => bundler.result({ out: new Hypervector(9) }), "invalid_shape");
    assertThrowsCode(() => bundler.result({ out: wrong(two) }), "invalid_shape");
    assertThrowsCode(() => bundler.counts({ out: new Int32Array(9) }), "invalid_length");
    assertThrowsCode(() => bundler.similarity(wrong(two)), "invalid_shape");
    assertThrowsCode(() => bundler.similarity(new Hypervector(9)), "invalid_shape");
    bundler[Symbol.dispose]();
    bundler[Symbol.dispose]();
    const uses = [
      () => bundler.add(vector),
      () => bundler.counts(),
      () => bundler.result(),
      () => bundler.similarity(vector),
      () => bundler.clear(),
    ];
    for (const use of uses) assertThrowsCode(use, "disposed", /Bundler/);
  });
});
