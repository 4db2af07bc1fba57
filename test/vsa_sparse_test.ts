import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Hypervector, SparseHypervector } from "../mod.ts";
import { container } from "./containers.ts";
import { assertSame, assertThrowsCode, onEveryTier, wrong } from "./support.ts";
import {
  assertTrits,
  BIND,
  combine,
  countsOf,
  DIMS,
  drawnRows,
  negated,
  scoresOf,
} from "./vsa_reference.ts";

describe("SparseHypervector", () => {
  const SCORES = ["dot", "cosine", "hamming", "overlap", "jaccard"] as const;

  it("is the loop over bytes, and the same vector as the dense one", () => {
    for (const dim of DIMS) {
      for (const zeros of dim > 10_000 ? [0.95] : [0, 0.3, 0.95, 1]) {
        const trits = drawnRows(2, dim, BigInt(dim), { zeros });
        const [left, right] = trits as [Int8Array, Int8Array];
        const want = scoresOf(left, right);
        const product = combine(left, right, BIND.multiply);
        const places = (value: number) =>
          Array.from(left.keys()).filter((place) => left[place] === value);
        const [positive, negative] = [places(1), places(-1)];
        onEveryTier((label) => {
          const text = `${label}, ${dim}, ${zeros}`;
          using a = Hypervector.from(left);
          using b = Hypervector.from(right);
          const [x, y] = [SparseHypervector.from(a), SparseHypervector.from(b)];
          assertSame(x.positive, positive, text);
          assertSame(x.negative, negative, text);
          assertSame(x.toInt8Array(), left, text);
          assertTrits(x.toHypervector(), left, text);
          assert.deepEqual(x.counts(), countsOf(left), text);
          assert.ok(Math.abs(x.sparsity - countsOf(left).zero / dim) < 1e-15, text);
          assertSame(x.negate().toInt8Array(), negated(left), text);
          assertSame(x.bind(y).toInt8Array(), product, text);
          for (const metric of SCORES) {
            assert.equal(x[metric](y), want[metric], `${text}, ${metric}`);
            assert.equal(x[metric](b), want[metric], `${text}, ${metric} with a dense vector`);
          }
          assert.ok(SparseHypervector.load(x.save()).equals(x), text);
          assert.equal(x.equals(y), want.hamming === 0, text);
          assert.ok(x.equals(x.negate().negate()), text);
        });
        const back = SparseHypervector.fromIndices(positive.reverse(), negative, dim);
        assertSame(back.toInt8Array(), left);
        assert.equal(back.memoryBytes, 4 * (positive.length + negative.length));
        for (const place of [0, dim - 1]) {
          const other = left.with(place, left[place] === 1 ? -1 : 1);
          const different = SparseHypervector.from(Hypervector.from(other));
          assert.ok(!back.equals(different) && !different.equals(back), `${dim}, ${place}`);
        }
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
