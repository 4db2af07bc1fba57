// Trits in a Float32Array, wherever an Int8Array of them is taken.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  Hypervector,
  HypervectorBatch,
  SparseHypervector,
  vsaBind,
  vsaBundle,
  vsaSimilarity,
  vsaUnbind,
} from "../mod.ts";
import { assertSame, assertThrowsCode, onEveryTier, randomTrits, wrong } from "./support.ts";

const SIZES = [1, 3, 31, 33, 1000, 65_537];

describe("floats of -1, 0 and 1", () => {
  it("are the trits that they are equal to", () => {
    onEveryTier((label) => {
      for (const length of SIZES) {
        const [a, b] = [randomTrits(length, 1), randomTrits(length, 2)];
        // From an odd place of a buffer, with zeros of both signs.
        const x = new Float32Array(length + 1).subarray(1);
        x.set(a);
        for (let i = 0; i < length; i += 2) if (x[i] === 0) x[i] = -0;
        const y = Float32Array.from(b);
        assertSame(vsaBind(x, b), vsaBind(a, b), label);
        assertSame(vsaBind(a, y, { mode: "multiply" }), vsaBind(a, b, { mode: "multiply" }));
        assertSame(vsaUnbind(x, y), vsaUnbind(a, b));
        assertSame(vsaBundle([x, b, y]), vsaBundle([a, b, b]));
        assert.equal(vsaSimilarity(x, y), vsaSimilarity(a, b));
        assert.ok(vsaBind(x, y) instanceof Int8Array);
        assert.ok(Hypervector.from(x).equals(Hypervector.from(a)), label);
        assert.ok(SparseHypervector.from(x).equals(SparseHypervector.from(a)));
        using batch = HypervectorBatch.from(x, [1, length]);
        assertSame(batch.toInt8Array(), a);
      }
    });
  });

  it("leave no other value through, and say where it is", () => {
    const good = randomTrits(70, 1);
    for (const value of [2, 0.5, -1.5, NaN, Infinity, -Infinity, 1e-45, 1 + 2 ** -23]) {
      const bad = Float32Array.from(good);
      bad[65] = value;
      const calls = [
        () => vsaBind(bad, good),
        () => vsaBind(good, bad),
        () => vsaUnbind(bad, good),
        () => vsaBundle([good, bad]),
        () => vsaSimilarity(good, bad),
        () => Hypervector.from(bad),
        () => HypervectorBatch.from(bad, [7, 10]),
        () => SparseHypervector.from(bad),
      ];
      for (const call of calls) assertThrowsCode(call, "invalid_value", /at index 65$/);
    }
    const floats = Float32Array.of(1, 0);
    assertThrowsCode(() => vsaBind(floats, floats, { out: wrong(floats) }), "invalid_type", /out/);
    assertThrowsCode(() => vsaBind(new Float32Array(0), floats), "invalid_length");
    assertThrowsCode(() => vsaBind(new Float32Array(3), floats), "invalid_length");
    assertThrowsCode(() => vsaBind(wrong(new Float64Array(2)), floats), "invalid_type");
  });
});
