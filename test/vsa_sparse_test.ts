import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Hypervector, SparseHypervector } from "../mod.ts";
import { container } from "./containers.ts";
import { assertSame, assertThrowsCode, wrong } from "./support.ts";

const scalar = (a: Int8Array, b: Int8Array) => {
  const count = (test: (x: number, y: number) => unknown) =>
    a.reduce((sum, x, index) => sum + (test(x, b[index]!) ? 1 : 0), 0);
  const common = count((x, y) => x && y);
  const either = count((x, y) => x || y);
  const dot = a.reduce((sum, x, index) => sum + x * b[index]!, 0);
  const norm = Math.sqrt(count((x) => x) * count((_, y) => y));
  return {
    dot,
    cosine: norm === 0 ? 0 : dot / norm,
    hamming: count((x, y) => x !== y),
    overlap: common,
    jaccard: either === 0 ? 0 : common / either,
  };
};

describe("SparseHypervector", () => {
  const METRICS = ["dot", "cosine", "hamming", "overlap", "jaccard"] as const;

  it("is the same vector as the dense one", () => {
    for (const dim of [1, 2, 64, 1000, 10_000]) {
      for (const keep of [0, 0.05, 1]) {
        const rows = [1, 2].map((seed) => Hypervector.random(dim, seed).thin({ keep, seed }));
        const [a, b] = rows as [Hypervector, Hypervector];
        const [x, y] = [SparseHypervector.from(a), SparseHypervector.from(b)];
        const [left, right] = [a.toInt8Array(), b.toInt8Array()];
        assertSame(x.toInt8Array(), left);
        assert.ok(x.toHypervector().equals(a));
        assert.deepEqual(x.counts(), a.counts());
        assert.ok(Math.abs(x.sparsity - a.sparsity) < 1e-15);
        assert.ok(x.negate().toHypervector().equals(a.negate()));
        assert.ok(x.bind(y).toHypervector().equals(a.bind(b, { mode: "multiply" })));
        const want = scalar(left, right);
        for (const metric of METRICS) {
          assert.equal(x[metric](y), want[metric], `${metric}, ${dim}`);
          assert.equal(x[metric](b), want[metric], `${metric} with a dense vector, ${dim}`);
        }
        assert.ok(SparseHypervector.load(x.save()).equals(x));
        assert.ok(SparseHypervector.fromIndices(x.positive.reverse(), x.negative, dim).equals(x));
        assert.equal(x.memoryBytes, 4 * (x.positive.length + x.negative.length));
        assert.equal(x.equals(y), a.equals(b));
      }
    }
  });

  it("keeps its places apart from the caller's", () => {
    const a = SparseHypervector.fromIndices([1], [2], 5);
    a.positive[0] = 4;
    assertSame(a.toInt8Array(), [0, 1, -1, 0, 0]);
    assert.ok(!a.equals(SparseHypervector.fromIndices([1], [2], 6)));
  });

  it("refuses bad places and partners", () => {
    const make = (positive: unknown, negative: unknown, dim: unknown) => () =>
      SparseHypervector.fromIndices(wrong(positive), wrong(negative), wrong(dim));
    for (const place of [-1, 10, 0.5, NaN, "1", null]) {
      assertThrowsCode(make([place], [], 10), "invalid_value", /positive\[0\] must be an integer/);
      assertThrowsCode(make([], [place], 10), "invalid_value", /negative\[0\] must be an integer/);
    }
    assertThrowsCode(make([1, 2, 1], [], 10), "invalid_value", /got 1 twice/);
    assertThrowsCode(make([1, 2], [2], 10), "invalid_value", /got 2 in both/);
    assertThrowsCode(make([0, 1], [], 1), "invalid_length", /at most 1 places, got 2/);
    assertThrowsCode(make({ length: 2 ** 52 }, [], 10), "invalid_length");
    assertThrowsCode(make(null, [], 10), "invalid_type", /positive must be a list/);
    assertThrowsCode(make([], [], 0), "invalid_value", /dim must be/);
    const a = SparseHypervector.fromIndices([1], [2], 5);
    assertThrowsCode(
      () => a.dot(SparseHypervector.fromIndices([], [], 6)),
      "invalid_shape",
      /other/,
    );
    assertThrowsCode(() => a.dot(Hypervector.random(6, 1)), "invalid_shape", /other must have 5/);
    assertThrowsCode(
      () => a.bind(wrong(Hypervector.random(5, 1))),
      "invalid_type",
      /a SparseHyperv/,
    );
    assertThrowsCode(() => a.equals(wrong(1)), "invalid_type", /other must be/);
    assertThrowsCode(
      () => SparseHypervector.from(wrong(a)),
      "invalid_type",
      /must be a Hypervector/,
    );
    assertThrowsCode(() => new (wrong(SparseHypervector))(), "invalid_type", /is made by/);
  });

  it("refuses saved places that are none although their checksum is right", () => {
    const load = (places: number[], header: object) => () =>
      SparseHypervector.load(
        container(
          { kind: "SparseHypervector", ...header },
          new Uint8Array(Uint32Array.from(places).buffer),
        ),
      );
    const header = { dim: 10, positive: 2, negative: 1 };
    assert.equal(load([1, 2, 9], header)().dot(load([1, 2, 9], header)()), 3);
    for (const places of [[2, 1, 9], [1, 1, 9], [1, 10, 9], [1, 2, 10], [1, 2, 2], [1, 2]]) {
      assertThrowsCode(load(places, header), "invalid_format");
    }
    const absurd = [{ dim: 0 }, { dim: 2 ** 32 }, { positive: 11 }, { negative: -1 }, {
      positive: null,
    }];
    for (const change of absurd) {
      assertThrowsCode(load([1, 2, 9], { ...header, ...change }), "invalid_format");
    }
  });
});
