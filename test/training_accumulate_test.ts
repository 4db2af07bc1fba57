// Means of the gradients of several micro-batches, as floats and as trits.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GradientAccumulator, TernaryGradientAccumulator } from "../mod.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  randomFloats,
  seeded,
  unaligned,
  wrong,
} from "./support.ts";

const SIZES = [1, 3, 15, 31, 33, 1000, 65_537] as const;

function gaussian(length: number, seed: number): Float32Array<ArrayBuffer> {
  const random = seeded(seed);
  return Float32Array.from(
    { length },
    () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()),
  );
}

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [product, left, right] = [0, 0, 0];
  for (let at = 0; at < a.length; at++) {
    product += a[at]! * b[at]!;
    left += a[at]! ** 2;
    right += b[at]! ** 2;
  }
  return product / Math.sqrt(left * right);
}

describe("GradientAccumulator", () => {
  it("returns the mean and begins again", () => {
    const accumulator = new GradientAccumulator(4);
    accumulator.accumulate(Float32Array.of(1, 2, 3, 4));
    accumulator.accumulate(Float32Array.of(2, 4, 6, 8));
    assert.equal(accumulator.count, 2);
    assertSame(accumulator.takeMean(), [1.5, 3, 4.5, 6]);
    assert.equal(accumulator.count, 0);
    accumulator.accumulate(Float32Array.of(1, 1, 1, 1));
    assertSame(accumulator.mean(), [1, 1, 1, 1]);
    assertSame(accumulator.takeMean(), [1, 1, 1, 1]);
  });

  it("rounds every sum and the mean once, the same on every tier", () => {
    for (const size of SIZES) {
      const batches = [1, 2, 3].map((
        seed,
      ) => [randomFloats(size, seed), randomFloats(33, seed + 9)]);
      const weights = [1, 0.3, 17];
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const expected = [0, 1].map((part) => {
        const sums = new Float32Array(batches[0]![part]!.length);
        batches.forEach((batch, at) => {
          sums.forEach((sum, i) => sums[i] = sum + batch[part]![i]! * weights[at]!);
        });
        return sums.map((sum) => sum * (1 / total));
      });
      onEveryTier((label) => {
        const accumulator = new GradientAccumulator([size, 33]);
        batches.forEach((batch, at) => {
          accumulator.accumulate(batch.map((part) => unaligned(part)), { weight: weights[at] });
        });
        const out = [new Float32Array(size), new Float32Array(33)];
        const mean = accumulator.takeMean({ out });
        assert.equal(mean[0], out[0]);
        mean.forEach((part, at) => assertSame(part, expected[at]!, `${label}, size ${size}`));
      });
    }
  });

  it("passes NaN and infinities on", () => {
    const accumulator = new GradientAccumulator([2]);
    accumulator.accumulate([Float32Array.of(NaN, 1)]);
    accumulator.accumulate([Float32Array.of(1, Infinity)]);
    assertSame(accumulator.takeMean()[0]!, [NaN, Infinity]);
    accumulator.accumulate([Float32Array.of(1, 2)]);
    assertSame(accumulator.mean()[0]!, [1, 2]);
  });

  it("refuses what does not fit, and loses nothing", () => {
    const accumulator = new GradientAccumulator([2, 3]);
    const right = [Float32Array.of(1, 2), Float32Array.of(3, 4, 5)];
    accumulator.accumulate(right);
    const short = [right[0]!, new Float32Array(2)];
    assertThrowsCode(() => accumulator.accumulate(short), "invalid_length", /gradients\[1\]/);
    assertThrowsCode(() => accumulator.accumulate(right[0]!), "invalid_length", /2 arrays, got 1/);
    assertThrowsCode(() => accumulator.accumulate(right, { weight: -1 }), "invalid_value");
    assertThrowsCode(() => accumulator.accumulate(right, { weight: NaN }), "invalid_value");
    assertThrowsCode(() => accumulator.mean({ out: short }), "invalid_length", /out\[1\]/);
    assert.equal(accumulator.count, 1);
    assertSame(accumulator.mean()[1]!, right[1]!);
    assertThrowsCode(() => new GradientAccumulator(2).mean(), "invalid_value", /micro-batches/);
    for (const sizes of [0, -1, 1.5, NaN, [], [0]]) {
      assert.throws(() => new GradientAccumulator(sizes as number), RangeError);
    }
    assertThrowsCode(() => new GradientAccumulator(wrong("4")), "invalid_type");
  });
});

describe("TernaryGradientAccumulator", () => {
  /** What is deterministically kept of gradients, in float64. */
  function kept(values: Float32Array, threshold: number): Float64Array {
    const mean = values.reduce((sum, x) => sum + Math.abs(x), 0) / values.length;
    const above = Math.fround(threshold * mean);
    const chosen = values.filter((x) => Math.abs(x) > above);
    const scale = chosen.reduce((sum, x) => sum + Math.abs(x), 0) / Math.max(1, chosen.length);
    return Float64Array.from(values, (x) => Math.abs(x) > above ? Math.sign(x) * scale : 0);
  }

  it("deterministic: keeps what is above the threshold relative to the mean, at any scale", () => {
    for (const size of SIZES) {
      for (const magnitude of [1, 1e-6, 1e20]) {
        const batches = [1, 2, 3].map((seed) => gaussian(size, seed).map((x) => x * magnitude));
        const expected = new Float64Array(size);
        for (const batch of batches) {
          kept(batch, 0.5).forEach((x, i) => expected[i]! += x / batches.length);
        }
        let first: Float32Array | undefined;
        onEveryTier((label) => {
          const accumulator = new TernaryGradientAccumulator(size, { rounding: "deterministic" });
          for (const batch of batches) accumulator.accumulate(unaligned(batch));
          const mean = accumulator.takeMean();
          first ??= mean;
          assertSame(mean, first, label);
          // Scales and the result are rounded to float32.
          assertNear(mean, expected, 4 * 2 ** -24 * 5 * magnitude, label);
        });
      }
    }
  });

  it("stochastic: right on average, though every micro-batch has its own scale", () => {
    const size = 33;
    const batches = [gaussian(size, 1), gaussian(size, 2).map((x) => 20 * x)];
    const expected = batches[0]!.map((x, i) => (x + batches[1]![i]!) / 2);
    const rounds = 4000;
    const accumulator = new TernaryGradientAccumulator(size, { accumulationSteps: 2, seed: 7 });
    const sums = new Float64Array(size);
    const out = new Float32Array(size);
    for (let round = 0; round < rounds; round++) {
      for (const batch of batches) accumulator.accumulate(batch);
      accumulator.takeMean({ out }).forEach((x, i) => sums[i]! += x);
    }
    const most = batches.map((batch) => Math.max(...batch.map(Math.abs)));
    batches[0]!.forEach((_, i) => {
      // The variance of one trit is scale |x| - x^2; five standard deviations.
      const variance = batches.reduce((sum, batch, at) => {
        return sum + (most[at]! * Math.abs(batch[i]!) - batch[i]! ** 2) / 4;
      }, 0);
      const tolerance = 5 * Math.sqrt(Math.max(variance, 0) / rounds) + 1e-5;
      assertNear([sums[i]! / rounds], [expected[i]!], tolerance, `element ${i}`);
    });
  });

  it("stochastic: the seed decides, on every tier and with any number of threads", () => {
    for (const size of SIZES) {
      const batches = [1, 2].map((seed) => [gaussian(size, seed), gaussian(31, seed + 9)]);
      const run = (seed: number | bigint) => {
        const accumulator = new TernaryGradientAccumulator([size, 31], { seed });
        for (const batch of batches) accumulator.accumulate(batch);
        return accumulator.mean();
      };
      const expected = run(5);
      onEveryTier((label) => run(5n).forEach((part, at) => assertSame(part, expected[at]!, label)));
      if (size > 30) assert.notDeepEqual(run(6), expected);
    }
    // The same gradients again are rounded by other random numbers.
    const again = new TernaryGradientAccumulator(1000, { accumulationSteps: 1 });
    const values = gaussian(1000, 3);
    again.accumulate(values);
    const first = again.takeMean();
    again.accumulate(values);
    assert.notDeepEqual(again.takeMean(), first);
  });

  it("attains the cosines that it promises", () => {
    const values = gaussian(2 ** 20, 11);
    const one = (rounding: "stochastic" | "deterministic") => {
      const accumulator = new TernaryGradientAccumulator(values.length, {
        rounding,
        accumulationSteps: 1,
      });
      accumulator.accumulate(values);
      return cosine(values, accumulator.mean());
    };
    // sqrt(sigma / (0.798 max)) with a maximum of about 5 sigma, and 0.887 for a threshold of mean / 2.
    assertNear([one("stochastic")], [0.51], 0.02);
    assertNear([one("deterministic")], [0.887], 0.005);
  });

  it("says when an update is ready, and refuses more", () => {
    const accumulator = new TernaryGradientAccumulator([4, 5], {
      accumulationSteps: 2,
      rounding: "deterministic",
    });
    assert.equal(accumulator.memoryBytes, 2 * (1 + 2) + 2 * 2 * 4);
    const batch = [Float32Array.of(1, -1, 1, 0), Float32Array.of(0, 0, 0, 0, 0)];
    assert.equal(accumulator.accumulate(batch), false);
    assert.equal(accumulator.accumulate(batch), true);
    assert.equal(accumulator.isReady, true);
    assertThrowsCode(() => accumulator.accumulate(batch), "invalid_value", /take the mean/);
    const mean = accumulator.takeMean();
    assertSame(mean[0]!, [1, -1, 1, 0]);
    assertSame(mean[1]!, [0, 0, 0, 0, 0]);
    assert.equal(accumulator.count, 0);
    assertThrowsCode(() => accumulator.mean(), "invalid_value", /got none/);
  });

  it("keeps 256 micro-batches", () => {
    const accumulator = new TernaryGradientAccumulator(1000, {
      accumulationSteps: 256,
      rounding: "deterministic",
      threshold: 0,
    });
    for (let step = 1; step <= 256; step++) {
      accumulator.accumulate(new Float32Array(1000).fill(step % 2 === 0 ? step : -step));
    }
    // The mean of -1, 2, -3, ... 256.
    assertSame(accumulator.takeMean(), new Float32Array(1000).fill(0.5));
  });

  it("refuses gradients that are not finite, and loses nothing", () => {
    for (const rounding of ["stochastic", "deterministic"] as const) {
      const accumulator = new TernaryGradientAccumulator([2, 3], { rounding });
      accumulator.accumulate([Float32Array.of(1, -1), Float32Array.of(1, 1, 1)]);
      for (const bad of [NaN, Infinity]) {
        const spoilt = [Float32Array.of(5, 5), Float32Array.of(1, bad, 1)];
        assertThrowsCode(() => accumulator.accumulate(spoilt), "invalid_value", /\[1\]\[1\]/);
      }
      assert.equal(accumulator.count, 1);
      assertSame(accumulator.mean()[0]!, [1, -1]);
    }
  });

  it("refuses options that are none", () => {
    const make = (config: object) => () => new TernaryGradientAccumulator(4, config);
    assertThrowsCode(make({ accumulationSteps: 0 }), "invalid_value");
    assertThrowsCode(make({ accumulationSteps: 257 }), "invalid_value");
    assertThrowsCode(make({ rounding: "up" }), "invalid_option");
    assertThrowsCode(make({ threshold: -1 }), "invalid_value");
    assertThrowsCode(make({ threshold: NaN }), "invalid_value");
    assertThrowsCode(make({ seed: -1 }), "invalid_value");
    assertThrowsCode(
      () => new TernaryGradientAccumulator(2 ** 31, { accumulationSteps: 256 }),
      "invalid_value",
      /2\^32/,
    );
  });
});
