// Dense products against loops in float64.

import { describe, it } from "node:test";
import { denseMatmul } from "../mod.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  randomFloats,
  unaligned,
} from "./support.ts";

type Shape = readonly [m: number, n: number, k: number];

/** Some elements of the product: all, or about 200 of many. */
function sample(
  a: Float32Array,
  b: Float32Array,
  [m, n, k]: Shape,
  transposeA: boolean,
  transposeB: boolean,
): { at: number; value: number; size: number }[] {
  const step = Math.max(1, Math.floor(m * n / 200));
  const elements = [];
  for (let at = 0; at < m * n; at += step) {
    const [row, column] = [Math.floor(at / n), at % n];
    let [value, size] = [0, 0];
    for (let i = 0; i < k; i++) {
      const left = a[transposeA ? i * m + row : row * k + i]!;
      const term = left * b[transposeB ? column * k + i : i * n + column]!;
      value += term;
      size += Math.abs(term);
    }
    elements.push({ at, value, size });
  }
  return elements;
}

const SHAPES: Shape[] = [
  [1, 1, 1],
  [1, 31, 3],
  [3, 1, 33],
  [12, 32, 384],
  [13, 33, 385],
  [31, 33, 1000],
  [97, 129, 17],
  [300, 50, 770],
  [2305, 7, 5],
  [5, 2310, 9],
];

describe("denseMatmul", () => {
  for (const shape of SHAPES) {
    for (
      const [transposeA, transposeB] of [[false, false], [false, true], [true, false], [true, true]]
    ) {
      it(`multiplies ${shape.join(" x ")}, transposed ${transposeA}, ${transposeB}`, () => {
        const [m, n, k] = shape;
        const a = unaligned(randomFloats(m * k, 1));
        const b = unaligned(randomFloats(k * n, 2));
        const old = randomFloats(m * n, 3);
        const elements = sample(a, b, shape, transposeA!, transposeB!);
        const byTier = new Map<string, Float32Array>();
        onEveryTier((label) => {
          const plain = denseMatmul(a, b, shape, { transposeA, transposeB });
          const options = { transposeA, transposeB, alpha: -0.5, beta: 2, out: unaligned(old) };
          const scaled = denseMatmul(a, b, shape, options);
          for (const { at, value, size } of elements) {
            // Each of k terms is rounded in a sum of at most `size`; in practice far less.
            const tolerance = (Math.min(k, 50) + 4) * 2 ** -24 * (size + 4);
            assertNear([plain[at]!], [value], tolerance, label);
            assertNear([scaled[at]!], [2 * old[at]! - 0.5 * value], tolerance, label);
          }
          const tier = label.split(",")[0]!;
          assertSame(plain, byTier.get(tier) ?? plain, label);
          byTier.set(tier, plain);
        });
      });
    }
  }

  it("does not read what beta 0 overwrites, and lets NaN through", () => {
    const out = new Float32Array(4).fill(NaN);
    assertSame(denseMatmul(Float32Array.of(1, 2), Float32Array.of(3, 4), [2, 2, 1], { out }), [
      3,
      4,
      6,
      8,
    ]);
    const nan = denseMatmul(Float32Array.of(NaN, 1), Float32Array.of(0, 1), [2, 2, 1]);
    assertSame(nan, [NaN, NaN, 0, 1]);
    assertSame(denseMatmul(Float32Array.of(Infinity), Float32Array.of(0), [1, 1, 1]), [NaN]);
  });

  it("refuses what does not fit", () => {
    const four = new Float32Array(4);
    assertThrowsCode(() => denseMatmul(four, four, [2, 2, 3]), "invalid_length");
    assertThrowsCode(() => denseMatmul(four, four, [2, 0, 2]), "invalid_value");
    assertThrowsCode(
      () => denseMatmul(four, four, [2, 2, 2], { out: four }),
      "invalid_value",
      /overlap/,
    );
    assertThrowsCode(() => denseMatmul(four, four, [2, 2, 2], { alpha: NaN }), "invalid_value");
  });
});
