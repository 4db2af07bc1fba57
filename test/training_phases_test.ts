// Which step is of which phase, what that gains, and that it cannot get stuck.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  DeterministicPhaseTrainer,
  type Phase,
  type PhaseConfig,
  PhaseTrainer,
  type StepInfo,
} from "../mod.ts";
import { assertNear, assertSame, assertThrowsCode, randomFloats, wrong } from "./support.ts";

const gradients = Float32Array.of(1, -1);

/** Makes one step, with gradients that are always the same where they are computed. */
function step(trainer: PhaseTrainer, loss?: number, given = gradients): StepInfo {
  const info = trainer.next();
  if (info.phase === "predict") trainer.predict({ out: new Float32Array(given.length) });
  else if (info.phase === "correct") trainer.correct(given.slice());
  else trainer.recordFull(given);
  trainer.recordLoss(loss);
  return info;
}

const letters: Record<Phase, string> = { warmup: "W", full: "F", predict: "P", correct: "C" };

function trace(trainer: PhaseTrainer, steps: number): string {
  return Array.from({ length: steps }, () => letters[step(trainer).phase]).join("");
}

const quiet = { residualThreshold: Infinity, adaptive: false } as const;

describe("DeterministicPhaseTrainer", () => {
  it("has the phases of the golden trace", () => {
    const trainer = new DeterministicPhaseTrainer(2, quiet);
    const round = "FFFFFPPPPPCPPPPCPPPPCPPPPC";
    const phases = trace(trainer, 100);
    assert.equal(phases, ("W".repeat(10) + round.repeat(4)).slice(0, 100));
    assert.deepEqual(trainer.stats.steps, { warmup: 10, full: 20, predict: 57, correct: 13 });
    assert.equal(trainer.stats.totalSteps, 100);
    assert.equal(trainer.stats.backwardSteps, 43);
    assertNear([trainer.stats.stepSpeedup], [2.3256], 5e-5);
    trace(trainer, 9900);
    assertNear([trainer.stats.stepSpeedup], [2.881], 5e-4);
    assert.equal(trainer.stats.cycles, 384);
  });

  it("tells what a step is", () => {
    const trainer = new DeterministicPhaseTrainer(2, { ...quiet, warmupSteps: 2, fullSteps: 1 });
    const seen = Array.from({ length: 12 }, () => step(trainer));
    assert.deepEqual(seen[0], {
      phase: "warmup",
      phaseStep: 0,
      step: 0,
      cycle: 0,
      phaseChanged: true,
      needsBackward: true,
    });
    assert.deepEqual(seen.map(({ phaseChanged }) => phaseChanged), [
      ...[true, false, true, true],
      ...[false, false, false, false, true],
      ...[true, false, false],
    ]);
    assert.deepEqual(seen.map(({ needsBackward }) => needsBackward).indexOf(false), 3);
    assert.deepEqual(seen[8], {
      phase: "correct",
      phaseStep: 5,
      step: 8,
      cycle: 0,
      phaseChanged: true,
      needsBackward: true,
    });
  });

  it("ends its warm-up, however short the history", () => {
    for (const warmupSteps of [0, 1, 11, 15, 100]) {
      const trainer = new DeterministicPhaseTrainer(2, { ...quiet, warmupSteps, historyWindow: 2 });
      assert.match(trace(trainer, warmupSteps + 26), new RegExp(`^W{${warmupSteps}}FFFFFPPPPPC`));
    }
  });

  it("corrects at every second step while predictions are bad, at any scale", () => {
    for (const scale of [1e-15, 1, 1e15]) {
      const trainer = new DeterministicPhaseTrainer(64, { adaptive: false });
      const phases = Array.from({ length: 40 }, (_, at) => {
        const noise = randomFloats(64, at).map((x) => x * scale);
        return letters[step(trainer, undefined, noise).phase];
      }).join("");
      assert.match(phases, /^W{10}F{5}PPPPPC(PC){7}F{5}/);
      assert.ok(trainer.stats.meanRelativeError! > 0.5);
      const calm = new DeterministicPhaseTrainer(2, { adaptive: false });
      assert.match(trace(calm, 40), /^W{10}FFFFFPPPPPCPPPPC/);
    }
  });

  it("predicts what its predictor would", () => {
    const trainer = new DeterministicPhaseTrainer(1, { warmupSteps: 4, fullSteps: 1, ...quiet });
    for (const value of [1, 2, 3, 4, 5]) {
      trainer.next();
      trainer.recordFull(Float32Array.of(value));
      trainer.recordLoss();
    }
    const out = new Float32Array(1);
    for (const value of [6, 7, 8]) {
      assert.equal(trainer.next().phase, "predict");
      trainer.predict({ out });
      trainer.recordLoss();
      assertNear(out, [value], 1e-5);
    }
  });
});

describe("PhaseTrainer", () => {
  it("has its own lengths and no warm-up", () => {
    const trainer = new PhaseTrainer([1, 1], quiet);
    const both = [new Float32Array(1), new Float32Array(1)];
    const phases = Array.from({ length: 62 }, () => {
      const { phase } = trainer.next();
      if (phase === "predict") trainer.predict({ out: both });
      else if (phase === "correct") trainer.correct(both);
      else trainer.recordFull(both);
      trainer.recordLoss();
      return letters[phase];
    }).join("");
    assert.match(phases, /^F{10}P{10}C(P{9}C){3}F{10}P/);
  });

  it("makes no prediction before two gradients were recorded", () => {
    const trainer = new PhaseTrainer(2, {
      ...quiet,
      fullSteps: 1,
      predictSteps: 2,
      correctEvery: 5,
    });
    assert.equal(trace(trainer, 8), "FFPPCFPP");
  });

  it("corrects in place", () => {
    const trainer = new PhaseTrainer(1, {
      ...quiet,
      fullSteps: 2,
      predictSteps: 2,
      correctEvery: 1,
      momentum: 0,
    });
    for (const value of [1, 1]) {
      trainer.next();
      trainer.recordFull(Float32Array.of(value));
      trainer.recordLoss();
    }
    trainer.next();
    trainer.predict({ out: new Float32Array(1) });
    trainer.recordLoss();
    trainer.next();
    const actual = Float32Array.of(2);
    assert.equal(trainer.correct(actual).relativeError, 0.5);
    assertSame(actual, [2.5]);
    trainer.recordLoss();
  });

  it("takes a predictor of the caller's", () => {
    const calls: string[] = [];
    const predictor = {
      isReady: true,
      needsCorrection: false,
      stats: {
        recorded: 0,
        predicted: 0,
        corrections: 0,
        meanRelativeError: undefined,
        meanCosine: undefined,
      },
      record: () => void calls.push("record"),
      predict: () => calls.push("predict"),
      correct: () => {
        calls.push("correct");
        return { relativeError: 1, cosine: 0 };
      },
      reset: () => void calls.push("reset"),
    };
    const config = { ...quiet, predictor, fullSteps: 1, predictSteps: 2, correctEvery: 1 };
    const trainer = new PhaseTrainer(2, config);
    assert.equal(trace(trainer, 5), "FPCFP");
    trainer.reset();
    assert.deepEqual(calls, ["record", "predict", "correct", "record", "predict", "reset"]);
    assertThrowsCode(() => trainer.save(), "unsupported");
    assertThrowsCode(() => new PhaseTrainer(2, { predictor: wrong({}) }), "invalid_type", /record/);
  });
});

describe("steps of a phase trainer", () => {
  it("are refused out of order, and lose nothing", () => {
    const trainer = new PhaseTrainer(2, {
      ...quiet,
      fullSteps: 2,
      predictSteps: 4,
      correctEvery: 2,
    });
    const out = new Float32Array(2);
    assertThrowsCode(() => trainer.recordFull(gradients), "invalid_value", /got none/);
    assertThrowsCode(() => trainer.recordLoss(1), "invalid_value", /no step/);
    assertThrowsCode(() => trainer.skip(), "invalid_value", /no step/);
    trainer.next();
    assertThrowsCode(() => trainer.next(), "invalid_value", /recordLoss or skip/);
    assertThrowsCode(() => trainer.predict({ out }), "invalid_value", /"predict", got "full"/);
    assertThrowsCode(() => trainer.correct(gradients), "invalid_value", /got "full"/);
    assertThrowsCode(() => trainer.recordLoss(1), "invalid_value", /no gradients/);
    assertThrowsCode(() => trainer.recordFull(Float32Array.of(1, NaN)), "invalid_value", /finite/);
    assertThrowsCode(() => trainer.recordFull(new Float32Array(3)), "invalid_length");
    assertThrowsCode(() => trainer.save(), "invalid_value", /between two steps/);
    trainer.recordFull(gradients);
    assertThrowsCode(() => trainer.recordFull(gradients), "invalid_value", /there already/);
    assertThrowsCode(() => trainer.skip(), "invalid_value");
    assertThrowsCode(() => trainer.recordLoss(NaN), "invalid_value");
    trainer.recordLoss(1);
    assert.equal(trace(trainer, 8), "FPPCPCFF");
    assertThrowsCode(() => trainer.predict(wrong({})), "invalid_value");
    trainer.next();
    assertThrowsCode(() => trainer.predict(wrong({})), "invalid_type", /out/);
    trainer.predict({ out });
    trainer.recordLoss();
  });

  it("are repeated after a skip, in every phase", () => {
    const config = { ...quiet, fullSteps: 2, predictSteps: 4, correctEvery: 2 };
    const expected = trace(new PhaseTrainer(2, config), 30);
    const trainer = new PhaseTrainer(2, config);
    let phases = "";
    for (let left = 30; left > 0; left--) {
      const skipped = trainer.next();
      trainer.skip();
      const again = step(trainer);
      assert.deepEqual(again, skipped);
      phases += letters[again.phase];
    }
    assert.equal(phases, expected);
    assert.equal(trainer.stats.totalSteps, 30);
  });

  it("count without a loss, and record one where there is one", () => {
    const trainer = new PhaseTrainer(2, quiet);
    step(trainer);
    step(trainer, 3);
    assert.equal(trainer.stats.totalSteps, 2);
    assert.equal(trainer.losses.length, 1);
    assert.equal(trainer.stats.currentLoss, 3);
  });

  it("refuse lengths that are none", () => {
    const make = (config: PhaseConfig) => () => new PhaseTrainer(2, config);
    assertThrowsCode(make({ fullSteps: 0 }), "invalid_value");
    assertThrowsCode(make({ predictSteps: 0 }), "invalid_value");
    assertThrowsCode(make({ correctEvery: 0 }), "invalid_value");
    assertThrowsCode(make({ warmupSteps: -1 }), "invalid_value");
    assertThrowsCode(make({ lossThreshold: -1 }), "invalid_value");
    assertThrowsCode(make({ clock: wrong(1) }), "invalid_type");
    assertThrowsCode(make({ adaptive: wrong({}) }), "invalid_type", /pair/);
    assertThrowsCode(
      () => new DeterministicPhaseTrainer(2, { warmupSteps: wrong("x") }),
      "invalid_type",
    );
    assertThrowsCode(() => new DeterministicPhaseTrainer(0), "invalid_value");
  });
});

describe("adaptation of the phases", () => {
  /** Lengths after rounds in which the loss moves by a factor at each step. */
  function lengths(trainer: PhaseTrainer, factor: number, steps: number) {
    let loss = 1;
    for (let left = steps; left > 0; left--) {
      loss *= factor;
      step(trainer, loss);
    }
    const { fullSteps, predictSteps } = trainer.stats;
    return [fullSteps, predictSteps];
  }

  it("predicts less while the loss grows, more while it shrinks, within limits", () => {
    const loud = { residualThreshold: Infinity };
    // The first round of 26 steps ends with enough losses.
    assert.deepEqual(lengths(new DeterministicPhaseTrainer(2, loud), 1.02, 37), [7, 15]);
    assert.deepEqual(lengths(new DeterministicPhaseTrainer(2, loud), 0.98, 37), [4, 23]);
    assert.deepEqual(lengths(new DeterministicPhaseTrainer(2, loud), 1, 37), [5, 20]);
    assert.deepEqual(lengths(new DeterministicPhaseTrainer(2, loud), 1.02, 2000), [30, 5]);
    assert.deepEqual(lengths(new DeterministicPhaseTrainer(2, loud), 0.98, 2000), [3, 50]);
    assert.deepEqual(lengths(new PhaseTrainer(2, loud), 1.02, 52), [15, 30]);
    assert.deepEqual(lengths(new PhaseTrainer(2, loud), 0.98, 5000), [5, 100]);
    const gentle = { ...loud, lossThreshold: 2 };
    assert.deepEqual(lengths(new DeterministicPhaseTrainer(2, gentle), 1.02, 37), [5, 20]);
  });

  it("follows the caller's rule, and never excludes what was configured", () => {
    const adaptive = { worse: [1, -1], better: [0, 0], full: [2, 3], predict: [4, 6] } as const;
    const trainer = new PhaseTrainer(2, {
      residualThreshold: Infinity,
      adaptive,
      fullSteps: 5,
      predictSteps: 20,
    });
    assert.deepEqual(lengths(trainer, 1.02, 2000), [5, 4]);
  });

  it("is undone by reset", () => {
    const trainer = new DeterministicPhaseTrainer(2, { residualThreshold: Infinity });
    lengths(trainer, 1.02, 500);
    trainer.reset();
    assert.deepEqual([trainer.stats.fullSteps, trainer.stats.predictSteps], [5, 20]);
    assert.equal(trainer.stats.totalSteps, 0);
    assert.equal(trainer.losses.length, 0);
    assert.equal(trace(trainer, 36), "W".repeat(10) + "FFFFFPPPPPCPPPPCPPPPCPPPPC");
  });
});

describe("speed-up", () => {
  it("is measured by the clock beside the number of steps", () => {
    let now = 1000;
    const trainer = new DeterministicPhaseTrainer(2, { ...quiet, clock: () => now });
    assert.equal(trainer.stats.wallSpeedup, undefined);
    const cost = { warmup: 10, full: 10, predict: 4, correct: 12 };
    for (let left = 100; left > 0; left--) {
      const { phase } = trainer.next();
      now += cost[phase];
      if (phase === "predict") trainer.predict({ out: new Float32Array(2) });
      else if (phase === "correct") trainer.correct(gradients.slice());
      else trainer.recordFull(gradients);
      trainer.recordLoss();
      // What happens between two steps is nobody's cost.
      now += 1000;
    }
    const { steps, elapsedMs, wallSpeedup } = trainer.stats;
    assert.equal(elapsedMs, 30 * 10 + steps.predict * 4 + steps.correct * 12);
    assert.equal(wallSpeedup, 100 * 10 / elapsedMs);
  });
});

describe("saved phase trainers", () => {
  const make = () => new DeterministicPhaseTrainer(2, { warmupSteps: 3, clock: () => 0 });
  const loss = (at: number) => 1 + Math.sin(at);

  it("go on exactly from where they were saved", () => {
    for (const steps of [0, 1, 5, 17, 40, 90]) {
      const one = make();
      for (let at = 0; at < steps; at++) step(one, loss(at));
      const state = one.save();
      const other = make();
      other.restore({
        values: JSON.parse(JSON.stringify(state.values)),
        arrays: Object.fromEntries(
          Object.entries(state.arrays).map(([name, array]) => [name, array.slice()]),
        ),
      });
      for (let at = steps; at < steps + 60; at++) {
        assert.deepEqual(step(other, loss(at)), step(one, loss(at)));
      }
      assert.deepEqual(other.stats, one.stats);
      const lossesOf = ({ losses }: PhaseTrainer) => losses.toJSON().records.map(([loss]) => loss);
      assert.deepEqual(lossesOf(other), lossesOf(one));
    }
  });

  it("refuse another state", () => {
    const trainer = make();
    for (let at = 0; at < 10; at++) step(trainer, loss(at));
    const state = trainer.save();
    const position = state.values.position as object;
    const bad: Record<string, unknown>[] = [
      { version: 9 },
      { position: null },
      { position: { ...position, phase: "rest" } },
      { position: { ...position, open: 1 } },
      { position: { ...position, losses: [NaN] } },
      { position: { ...position, fullSteps: 0 } },
      { position: { ...position, counts: {} } },
      { times: { totalMs: -1, plainMs: 0, plainSteps: 0 } },
      { predictor: {} },
      { losses: {} },
      { losses: { ...trainer.losses.toJSON(), records: [[NaN, "full", 1]] } },
    ];
    for (const values of bad) {
      const spoilt = { ...state, values: { ...state.values, ...values } };
      assert.throws(() => make().restore(spoilt), { name: /Tritter/ });
    }
    assertThrowsCode(() => make().restore(wrong("x")), "invalid_format");
  });
});
