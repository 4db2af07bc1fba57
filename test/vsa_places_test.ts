// Sparse vectors: everything that they do, next to the dense vector of the same trits.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  Hypervector,
  HypervectorBatch,
  info,
  Permutation,
  SparseHypervector,
  SparseTrits,
} from "../mod.ts";
import { assertSame, assertThrowsCode, onEveryTier, wrong } from "./support.ts";
import { BIND, combine, METRICS, MODES, scoresOf } from "./vsa_reference.ts";

const DIMS = [1, 2, 63, 64, 65, 512, 513, 1000, 10_000];
const SHARES = [0, 0.05, 0.5, 1];

/** Vectors of a few trits, of some, and of all. */
function* vectors(): Generator<[Hypervector, SparseHypervector, string]> {
  for (const dim of DIMS) {
    for (const [seed, keep] of SHARES.entries()) {
      using random = Hypervector.random(dim, seed);
      using dense = random.thin({ keep, seed });
      yield [dense, SparseHypervector.from(dense), `${dim} ${keep}`];
    }
  }
}

describe("a sparse vector", () => {
  it("comes from every form of its trits, and goes to it", () => {
    for (const [dense, sparse, label] of vectors()) {
      const { dim } = dense;
      const trits = dense.toInt8Array();
      assertSame(sparse.positive, [...trits.keys()].filter((place) => trits[place] === 1), label);
      assertSame(sparse.negative, [...trits.keys()].filter((place) => trits[place] === -1), label);
      assert.equal(sparse.nonzero, sparse.positive.length + sparse.negative.length);
      assert.ok(SparseHypervector.from(trits).equals(sparse), label);
      assert.ok(sparse.toHypervector().equals(dense), label);
      assertSame(sparse.toPackedBytes(), dense.toPackedBytes(), label);
      assertSame(sparse.toBase3Bytes(), dense.toBase3Bytes(), label);
      assert.ok(SparseHypervector.fromPackedBytes(dense.toPackedBytes(), dim).equals(sparse));
      assert.ok(SparseHypervector.fromBase3Bytes(dense.toBase3Bytes(), dim).equals(sparse));
    }
  });

  it("is similar to dense and sparse ones as these are to each other", () => {
    onEveryTier((tier) => {
      for (const [dense, sparse, label] of vectors()) {
        using other = Hypervector.random(dense.dim, 77);
        const partner = SparseHypervector.from(other);
        const scores = scoresOf(dense.toInt8Array(), other.toInt8Array());
        for (const metric of METRICS) {
          const text = `${tier}, ${metric}, ${label}`;
          assert.equal(sparse.similarity(other, { metric }), scores[metric], text);
          assert.equal(sparse.similarity(partner, { metric }), scores[metric], text);
          if (metric !== "hammingSimilarity") {
            assert.equal(sparse[metric](other), scores[metric], text);
            assert.equal(sparse[metric](partner), scores[metric], text);
          }
        }
        assert.equal(sparse.similarity(other), scores.cosine);
      }
    });
  });

  it("is compared with all rows of a batch at once", () => {
    onEveryTier((tier) => {
      for (const [dim, count] of [[65, 3], [1000, 40], [10_000, 300]] as const) {
        using batch = HypervectorBatch.random(count, dim, 1);
        using dense = Hypervector.random(dim, 2, { distribution: { zeros: 0.9 } });
        const sparse = SparseHypervector.from(dense);
        for (const metric of METRICS) {
          const expected = batch.similarity(dense, { metric });
          assertSame(sparse.similarity(batch, { metric }), expected, `${tier} ${metric}`);
        }
        const out = new Float64Array(count);
        assert.equal(sparse.similarity(batch, { metric: "dot", out }), out);
        assertSame(out, batch.similarity(dense, { metric: "dot" }));
        assertThrowsCode(
          () => sparse.similarity(batch, { out: new Float64Array(2) }),
          "invalid_length",
          /out/,
        );
      }
    });
  });

  it("binds and unbinds in every mode", () => {
    for (const [dense, sparse, label] of vectors()) {
      using other = Hypervector.random(dense.dim, 78).thin({ keep: 0.5 });
      const partner = SparseHypervector.from(other);
      for (const mode of MODES) {
        const expected = combine(dense.toInt8Array(), other.toInt8Array(), BIND[mode]);
        const bound = sparse.bind(partner, { mode });
        assertSame(bound.toInt8Array(), expected, `${label} ${mode}`);
        using undone = dense.unbind(other, { mode });
        assertSame(sparse.unbind(partner, { mode }).toInt8Array(), undone.toInt8Array());
        if (mode !== "multiply") assert.ok(bound.unbind(partner, { mode }).equals(sparse));
      }
      assert.ok(sparse.bind(partner).equals(sparse.bind(partner, { mode: "multiply" })));
    }
  });

  it("is moved, cut and joined", () => {
    for (const [dense, sparse, label] of vectors()) {
      const { dim } = dense;
      for (const shift of [0, -0, 1, -1, dim, 7 * dim + 3, -3 * dim - 5, 2 ** 40]) {
        const moved = sparse.permute(shift);
        assertSame(moved.toInt8Array(), dense.permute(shift).toInt8Array(), `${label} ${shift}`);
        assert.ok(moved.unpermute(shift).equals(sparse));
      }
      const order = Permutation.random(dim, 5);
      assertSame(sparse.permute(order).toInt8Array(), dense.permute(order).toInt8Array(), label);
      assert.ok(sparse.permute(order).unpermute(order).equals(sparse));
      for (const [start, end] of [[0, dim], [dim - 1, dim], [dim >> 1, dim]] as const) {
        const cut = sparse.slice(start, end);
        assert.equal(cut.dim, end - start);
        assertSame(cut.toInt8Array(), dense.slice(start, end).toInt8Array(), label);
        // What was cut is whole: it can be saved.
        assert.ok(SparseHypervector.load(cut.save()).equals(cut));
      }
      const joined = SparseHypervector.concat([sparse, sparse.negate(), sparse]);
      using expected = Hypervector.concat([dense, dense.negate(), dense]);
      assertSame(joined.toInt8Array(), expected.toInt8Array(), label);
    }
  });

  it("fills rows of batches", () => {
    using batch = HypervectorBatch.random(5, 513, 3, { distribution: { zeros: 0.8 } });
    const rows = SparseHypervector.fromBatch(batch);
    assert.equal(rows.length, 5);
    using third = batch.get(3);
    assert.ok(rows[3]!.equals(SparseHypervector.from(third)));
    using back = SparseHypervector.toBatch(rows);
    assert.ok(back.equals(batch));
  });

  it("of 2^31 dimensions takes no memory for what is 0", () => {
    const dim = 2 ** 31;
    const a = SparseHypervector.fromIndices([0, dim - 1], [5], dim);
    assert.equal(a.permute(1).positive.join(), "0,1");
    assert.equal(a.dot(a.permute(1)), 1);
    // As two planes, which take an eighth of the bytes that an Int8Array would.
    const before = info().allocatedBytes;
    using dense = a.toHypervector();
    assert.equal(info().allocatedBytes - before, 2 ** 29);
    assert.equal(a.dot(dense), 3);
    assert.equal(a.overlap(dense), 3);
  });

  it("refuses what does not fit", () => {
    const a = SparseHypervector.fromIndices([1], [2], 5);
    using batch = new HypervectorBatch(2, 6);
    assertThrowsCode(() => a.similarity(batch), "invalid_shape", /other must have 5/);
    assertThrowsCode(() => a.dot(wrong(batch)), "invalid_shape", /other must have 5/);
    assertThrowsCode(() => a.dot(wrong(new HypervectorBatch(2, 5))), "invalid_shape", /single/);
    assertThrowsCode(() => a.similarity(wrong(3)), "invalid_type", /other must be/);
    assertThrowsCode(() => a.similarity(a, { metric: wrong("l2") }), "invalid_option", /metric/);
    assertThrowsCode(() => a.bind(a, { mode: wrong("xor") }), "invalid_option", /mode/);
    assertThrowsCode(() => a.permute(0.5), "invalid_value", /shift/);
    assertThrowsCode(() => a.permute(Permutation.random(6, 1)), "invalid_shape", /shift/);
    assertThrowsCode(() => a.slice(3, 2), "invalid_value", /start/);
    assertThrowsCode(() => a.slice(0, 6), "invalid_value", /end/);
    assertThrowsCode(() => SparseHypervector.concat([]), "invalid_value");
    assertThrowsCode(() => SparseHypervector.concat([a, wrong(batch)]), "invalid_type", /\[1\]/);
    assertThrowsCode(() => SparseHypervector.toBatch([a, a.slice(1)]), "invalid_shape", /\[1\]/);
    const huge = SparseHypervector.fromIndices([], [], 2 ** 31);
    assertThrowsCode(() => SparseHypervector.concat([huge, a]), "invalid_value", /dim/);
    assertThrowsCode(() => SparseHypervector.from(Int8Array.of(0, 2)), "invalid_value", /index 1/);
    assertThrowsCode(() => new (wrong(SparseTrits))(), "invalid_type", /^SparseTrits is made by/);
    class Forged extends (SparseTrits as unknown as new (...args: unknown[]) => object) {}
    assertThrowsCode(() => new Forged(Symbol("SparseTrits"), {}, 5), "invalid_type", /is made by/);
  });
});
