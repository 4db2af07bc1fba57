// Predicted gradients against the normal equations in float64.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DeterministicPredictor, GradientPredictor, type TrainingState } from "../mod.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  randomFloats,
  unaligned,
  wrong,
} from "./support.ts";

const SIZES = [1, 3, 31, 33, 1000, 65_537] as const;

/** Baseline and velocity by the normal equations; times relative to the last one. */
function fit(times: readonly number[], values: readonly number[], decay: number) {
  const last = times.at(-1)!;
  let [s, st, stt, sg, stg] = [0, 0, 0, 0, 0];
  times.forEach((time, at) => {
    const weight = decay ** (times.length - 1 - at);
    const t = time - last;
    s += weight;
    st += weight * t;
    stt += weight * t * t;
    sg += weight * values[at]!;
    stg += weight * t * values[at]!;
  });
  const determinant = s * stt - st * st;
  return {
    baseline: (stt * sg - st * stg) / determinant,
    velocity: (s * stg - st * sg) / determinant,
  };
}

/** A predictor of one number that has seen values at these steps, with predictions in between. */
function seen(times: readonly number[], values: readonly number[], config: object = {}) {
  const predictor = new DeterministicPredictor(1, {
    warmupSteps: 1,
    predictionHorizon: 100,
    ...config,
  });
  let step = 0;
  times.forEach((time, at) => {
    for (; step < time; step++) predictor.predict();
    predictor.record(Float32Array.of(values[at]!));
    step++;
  });
  return predictor;
}

/** What is predicted for the step after that many predictions. */
function ahead(predictor: DeterministicPredictor<number>, steps: number): number {
  let value = NaN;
  for (let left = steps; left > 0; left--) value = predictor.predict()[0]!;
  return value;
}

describe("DeterministicPredictor", () => {
  it("fits the line that the golden values are on", () => {
    // Values to 6 digits; float32 is good to 2^-24 of them.
    assertNear([ahead(seen([0, 1, 2, 3, 4], [1, 1.1, 1.2, 1.3, 1.4]), 1)], [1.5], 1e-6);
    assertNear([ahead(seen([0, 1, 2, 3], [1, 3, 2, 5]), 1)], [5.526677], 1e-6);
    assertNear([ahead(seen([0, 1, 2, 5], [1, 3, 2, 5]), 2)], [6.319816], 1e-6);
    const line = fit([0, 1, 2, 3], [1, 3, 2, 5], 0.95);
    assertNear([line.baseline, line.velocity], [4.415865, 1.110812], 1e-6);
    const gap = fit([0, 1, 2, 5], [1, 3, 2, 5], 0.95);
    assertNear([gap.baseline, gap.velocity], [4.890728, 0.714544], 1e-6);
  });

  it("predicts every element alike, whatever the sizes, on every tier", () => {
    const times = [0, 1, 2, 3, 6, 7, 9, 10, 11, 12, 13, 17, 18];
    for (const size of SIZES) {
      const sizes = [size, 33];
      const gradients = times.map((time) => sizes.map((each) => randomFloats(each, time + each)));
      let first: Float32Array[] | undefined;
      onEveryTier((label) => {
        const predictor = new DeterministicPredictor(sizes, { warmupSteps: 4, historyWindow: 5 });
        const out = sizes.map((each) => new Float32Array(each));
        let step = 0;
        times.forEach((time, at) => {
          for (; step < time; step++) predictor.predict({ out });
          predictor.record(gradients[at]!.map((part) => unaligned(part)));
          step++;
        });
        predictor.predict({ out });
        predictor.predict({ out });
        first ??= out;
        out.forEach((part, at) => assertSame(part, first![at]!, `${label}, size ${size}`));
      });
      // The history holds the window and two more.
      const kept = times.slice(-7);
      first!.forEach((part, at) => {
        part.forEach((value, i) => {
          const values = gradients.slice(-7).map((lists) => lists[at]![i]!);
          const { baseline, velocity } = fit(kept, values, 0.95);
          // Baseline and velocity are rounded once each, and so is their sum.
          assertNear([value], [baseline + 2 * velocity], 4 * 2 ** -24 * 2);
        });
      });
    }
  });

  it("with a velocityScale of 0 predicts the weighted mean, and shrinks between", () => {
    const values = [1, 3, 2, 5];
    const weights = values.map((_, at) => 0.95 ** (3 - at));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const mean = values.reduce((sum, value, at) => sum + weights[at]! * value, 0) / total;
    const at = (velocityScale: number) => ahead(seen([0, 1, 2, 3], values, { velocityScale }), 3);
    const line = fit([0, 1, 2, 3], values, 0.95);
    assertNear([at(0)], [mean], 1e-6);
    assertNear([at(1)], [line.baseline + 3 * line.velocity], 1e-6);
    assertNear([at(0.25)], [0.75 * at(0) + 0.25 * at(1)], 1e-6);
  });

  it("repeats a single gradient", () => {
    assert.equal(ahead(seen([0], [3]), 5), 3);
  });

  it("ends a warm-up that is longer than the history", () => {
    const predictor = new DeterministicPredictor(1, { warmupSteps: 25, historyWindow: 2 });
    for (let step = 0; step < 24; step++) predictor.record(Float32Array.of(step));
    assert.equal(predictor.isReady, false);
    assertThrowsCode(() => predictor.predict(), "invalid_value", /25 gradients, got 24/);
    assertThrowsCode(() => predictor.correct(Float32Array.of(24)), "invalid_value");
    predictor.record(Float32Array.of(24));
    assert.equal(predictor.isReady, true);
    assertNear(predictor.predict(), [25], 1e-5);
    assert.equal(predictor.memoryBytes, (4 + 2) * 4);
  });

  it("wants a correction after the horizon, and while the relative error is large", () => {
    const predictor = new DeterministicPredictor([2, 2], { warmupSteps: 2, predictionHorizon: 3 });
    const gradients = (x: number) => [Float32Array.of(x, 0), Float32Array.of(0, x)];
    predictor.record(gradients(1));
    predictor.record(gradients(1));
    for (let step = 0; step < 3; step++) {
      assert.equal(predictor.needsCorrection, false);
      predictor.predict();
    }
    assert.equal(predictor.needsCorrection, true);
    assertNear([predictor.correct(gradients(1.25)).relativeError], [0.2], 1e-6);
    assert.equal(predictor.needsCorrection, false);
    const { relativeError, cosine } = predictor.correct(gradients(-1));
    assert.ok(relativeError > 2 && Math.abs(cosine + 1) < 1e-12);
    assert.equal(predictor.needsCorrection, true);
    predictor.record(gradients(-1));
    assert.equal(predictor.needsCorrection, false);
    assert.equal(predictor.stats.corrections, 2);
    assert.equal(predictor.stats.recorded, 5);
    assert.equal(predictor.stats.predicted, 3);
  });

  it("measures errors over all elements, whatever the shapes and the scale, on every tier", () => {
    for (const size of SIZES) {
      for (const scale of [1e-12, 1, 1e12]) {
        const before = randomFloats(size + 33, 1).map((x) => x * scale);
        const actual = randomFloats(size + 33, 2).map((x) => x * scale);
        const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
        const difference = Math.sqrt(
          actual.reduce((sum, x, at) => sum + (x - before[at]!) ** 2, 0),
        );
        const product = actual.reduce((sum, x, at) => sum + x * before[at]!, 0);
        const found = new Set<number>();
        onEveryTier(() => {
          const predictor = new DeterministicPredictor([size, 33], { warmupSteps: 1 });
          predictor.record([before.subarray(0, size), before.subarray(size)]);
          const error = predictor.correct([actual.subarray(0, size), actual.subarray(size)]);
          // Sums of float64 err by less than n 2^-53; the prediction here is exact.
          assertNear([error.relativeError], [difference / norm(actual)], 1e-9);
          assertNear([error.cosine], [product / (norm(actual) * norm(before))], 1e-9);
          found.add(error.relativeError);
        });
        assert.equal(found.size, 1);
      }
    }
  });

  it("knows what zeros mean", () => {
    const predictor = new DeterministicPredictor(2, { warmupSteps: 1 });
    predictor.record(new Float32Array(2));
    assert.deepEqual(predictor.correct(new Float32Array(2)), { relativeError: 0, cosine: 0 });
    predictor.reset();
    predictor.record(Float32Array.of(1, 1));
    assert.deepEqual(predictor.correct(new Float32Array(2)), {
      relativeError: Number.MAX_VALUE,
      cosine: 0,
    });
    assert.equal(predictor.stats.meanRelativeError, Number.MAX_VALUE);
  });

  it("counts what a correction found once", () => {
    const corrected = seen([0, 1, 2], [1, 3, 2]);
    const plain = seen([0, 1, 2], [1, 3, 2]);
    const actual = Float32Array.of(7);
    corrected.correct(actual);
    plain.record(actual);
    assertSame(actual, [7]);
    assertSame(corrected.predict(), plain.predict());
  });

  it("refuses gradients that are not finite or do not fit, and loses nothing", () => {
    const predictor = new DeterministicPredictor([2, 1], { warmupSteps: 1 });
    predictor.record([Float32Array.of(1, 2), Float32Array.of(3)]);
    const spoilt = [Float32Array.of(9, NaN), Float32Array.of(9)];
    assertThrowsCode(() => predictor.record(spoilt), "invalid_value", /gradients\[0\]\[1\].*NaN/);
    assertThrowsCode(() => predictor.correct(spoilt), "invalid_value");
    assertThrowsCode(() => predictor.record(spoilt[0]!), "invalid_length");
    assertThrowsCode(() => predictor.predict({ out: spoilt.slice(1) }), "invalid_length");
    assert.deepEqual(predictor.stats.recorded, 1);
    const [first, second] = predictor.predict();
    assertSame(first!, [1, 2]);
    assertSame(second!, [3]);
  });

  it("refuses options that are none", () => {
    const make = (config: object) => () => new DeterministicPredictor(1, config);
    assertThrowsCode(make({ warmupSteps: 0 }), "invalid_value");
    assertThrowsCode(make({ historyWindow: 0 }), "invalid_value");
    assertThrowsCode(make({ historyDecay: 0 }), "invalid_value", /above 0/);
    assertThrowsCode(make({ historyDecay: 1.1 }), "invalid_value");
    assertThrowsCode(make({ velocityScale: 2 }), "invalid_value");
    assertThrowsCode(make({ residualThreshold: NaN }), "invalid_value");
    assertThrowsCode(() => new DeterministicPredictor(2 ** 30), "invalid_value", /2\^32/);
    make({ residualThreshold: Infinity })();
  });
});

describe("GradientPredictor", () => {
  it("expects the last change again, by the momentum", () => {
    const predictor = new GradientPredictor(2);
    assertThrowsCode(() => predictor.predict(), "invalid_value", /got none/);
    predictor.record(Float32Array.of(1, 5));
    assertSame(predictor.predict(), [1, 5]);
    predictor.record(Float32Array.of(2, 3));
    assertNear(predictor.predict(), [2.9, 1.2], 1e-6);
    assertNear(predictor.predict(), [2.9, 1.2], 1e-6);
    predictor.record(Float32Array.of(2, 3));
    assertSame(predictor.predict(), [2, 3]);
  });

  it("makes up for a part of the error, in place, on every tier", () => {
    for (const size of SIZES) {
      const seenBefore = [1, 2, 3, 4].map((seed) => randomFloats(size, seed));
      const expected = seenBefore[3]!.map((x, i) => {
        const predicted = 1.9 * seenBefore[2]![i]! - 0.9 * seenBefore[1]![i]!;
        return x + 0.5 * (x - predicted);
      });
      let first: Float32Array | undefined;
      onEveryTier((label) => {
        const predictor = new GradientPredictor(size);
        for (const values of seenBefore.slice(0, 3)) predictor.record(values);
        const actual = unaligned(seenBefore[3]!);
        predictor.correct(actual);
        first ??= actual;
        assertSame(actual, first, label);
        // One rounding of a number below 4.
        assertNear(actual, expected, 4 * 2 ** -24, label);
        // The true gradients were recorded, not the corrected ones.
        const next = seenBefore[3]!.map((x, i) => 1.9 * x - 0.9 * seenBefore[2]![i]!);
        assertNear(predictor.predict(), next, 4 * 2 ** -24, label);
      });
    }
  });

  it("wants corrections by the mean of the last relative errors", () => {
    const predictor = new GradientPredictor(1, { momentum: 0, predictionSteps: 2 });
    predictor.record(Float32Array.of(1));
    assert.equal(predictor.isReady, false);
    predictor.record(Float32Array.of(1));
    assert.equal(predictor.isReady, true);
    predictor.predict();
    assert.equal(predictor.needsCorrection, false);
    predictor.predict();
    assert.equal(predictor.needsCorrection, true);
    predictor.correct(Float32Array.of(-1));
    assert.equal(predictor.needsCorrection, true);
    // Nine perfect ones bring the mean from 2 to 0.2, after five it is 1 / 3.
    for (let step = 0; step < 5; step++) predictor.correct(Float32Array.of(-1));
    assert.equal(predictor.needsCorrection, false);
  });

  it("refuses options that are none", () => {
    const make = (config: object) => () => new GradientPredictor(1, config);
    assertThrowsCode(make({ momentum: -1 }), "invalid_value");
    assertThrowsCode(make({ predictionSteps: 0 }), "invalid_value");
    assertThrowsCode(make({ correctionWeight: 2 }), "invalid_value");
    assertThrowsCode(() => new GradientPredictor(wrong([[2]])), "invalid_type");
  });
});

describe("saved predictors", () => {
  const makers = {
    DeterministicPredictor: () =>
      new DeterministicPredictor([3, 2], { historyWindow: 3, warmupSteps: 2 }),
    GradientPredictor: () => new GradientPredictor([3, 2]),
  };
  for (const [name, make] of Object.entries(makers)) {
    const gradients = (seed: number) => [randomFloats(3, seed), randomFloats(2, seed + 100)];
    const through = (state: TrainingState): TrainingState => ({
      values: JSON.parse(JSON.stringify(state.values)),
      arrays: Object.fromEntries(
        Object.entries(state.arrays).map(([key, array]) => [key, array.slice()]),
      ),
    });

    it(`${name} goes on exactly from where it was saved`, () => {
      for (const steps of [0, 1, 2, 3, 7]) {
        const one = make();
        for (let step = 0; step < steps; step++) one.record(gradients(step));
        if (steps > 2) {
          one.predict();
          one.correct(gradients(50));
          one.predict();
        }
        const other = make();
        other.record(gradients(99));
        other.restore(through(one.save()));
        assert.deepEqual(other.stats, one.stats);
        for (let step = 0; step < 3; step++) {
          one.record(gradients(step + 60));
          other.record(gradients(step + 60));
        }
        assert.deepEqual(other.predict(), one.predict());
        assert.deepEqual(other.correct(gradients(70)), one.correct(gradients(70)));
        assert.equal(other.needsCorrection, one.needsCorrection);
      }
    });

    it(`${name} refuses another state, and changes nothing`, () => {
      const predictor = make();
      for (let step = 0; step < 4; step++) predictor.record(gradients(step));
      const expected = make();
      for (let step = 0; step < 4; step++) expected.record(gradients(step));
      const state = through(predictor.save());
      const bad: Record<string, unknown>[] = [
        { version: 2 },
        { recorded: -1 },
        { recorded: 2 },
        { steps: [0, 1, 2] },
        { steps: [3, 3, 2, 1, 0].slice(0, (state.values.steps as number[]).length) },
        { steps: "no" },
        { step: 1 },
        { lastStep: 77 },
        { lastErrors: [NaN] },
        { errors: null },
        { predicted: 0.5 },
      ];
      for (const values of bad) {
        const spoilt = { ...state, values: { ...state.values, ...values } };
        assertThrowsCode(() => predictor.restore(spoilt), "invalid_format");
      }
      assertThrowsCode(() => predictor.restore({ ...state, arrays: {} }), "invalid_format");
      const short = { "history.0": new Float32Array(1), "history.1": new Float32Array(1) };
      assertThrowsCode(() => predictor.restore({ ...state, arrays: short }), "invalid_length");
      assertThrowsCode(() => predictor.restore(wrong(null)), "invalid_type");
      assert.deepEqual(predictor.predict(), expected.predict());
    });
  }
});
