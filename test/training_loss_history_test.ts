// Statistics of losses, and JSON in and out.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LossHistory, type Phase } from "../mod.ts";
import { assertNear, assertThrowsCode, seeded, wrong } from "./support.ts";

function recorded(losses: readonly number[], config: object = {}): LossHistory {
  const history = new LossHistory(config);
  for (const loss of losses) history.record(loss);
  return history;
}

describe("LossHistory", () => {
  it("keeps losses with their phase, number and time", () => {
    let now = 50;
    const history = new LossHistory({ clock: () => now, maxHistory: 3 });
    assert.equal(history.currentLoss(), undefined);
    for (const [at, phase] of (["warmup", "full", "predict", "full"] as Phase[]).entries()) {
      now += 10;
      history.record(at, phase);
    }
    assert.equal(history.length, 3);
    assert.equal(history.steps, 4);
    assert.deepEqual(history.measurements("full"), [
      { step: 1, loss: 1, phase: "full", elapsedMs: 20 },
      { step: 3, loss: 3, phase: "full", elapsedMs: 40 },
    ]);
    assert.equal(history.measurements().length, 3);
    assert.equal(history.elapsedMs, 40);
    history.clear();
    assert.equal(history.elapsedMs, 0);
    assert.equal(history.steps, 0);
  });

  it("computes statistics of a window", () => {
    const history = recorded([9, 1, 2, 3, 6], { rollingWindow: 4 });
    assert.deepEqual(history.statistics(4), {
      count: 4,
      mean: 3,
      variance: 3.5,
      stdDev: Math.sqrt(3.5),
      min: 1,
      max: 6,
      median: 2.5,
    });
    assert.equal(history.statistics()!.median, 3);
    assert.equal(history.statistics(100)!.count, 5);
    assert.equal(history.rollingAverage(), 3);
    assert.equal(history.rollingVariance(), 3.5);
    assert.equal(history.rollingStdDev(4), Math.sqrt(3.5));
    assert.equal(history.rollingAverage(6), undefined);
    assert.equal(new LossHistory().statistics(), undefined);
  });

  it("sees convergence, with every loss in one half for odd windows too", () => {
    // Of 5 the older two have the mean 4, the newer three 3.9.
    const losses = [4, 4, 3.9, 3.9, 3.9];
    const history = recorded(losses);
    assert.equal(history.isConverging({ window: 5, threshold: 0.02 }), true);
    assert.equal(history.isConverging({ window: 5, threshold: 0.03 }), false);
    assert.equal(history.isConverging({ window: 6 }), false);
    assert.equal(recorded([-1, -1, -2, -2]).isConverging({ window: 4 }), true);
    assert.equal(recorded([1, 1, 2, 2]).isConverging({ window: 4 }), false);
    assert.equal(recorded(losses).isConverging(), false);
  });

  it("knows how much of the loss has gone", () => {
    assert.equal(recorded([4, 9, 3]).improvementRate(), 0.25);
    assert.equal(recorded([4, 5]).improvementRate(), -0.25);
    assert.equal(recorded([-4, -5]).improvementRate(), 0.25);
    assert.equal(recorded([4]).improvementRate(), undefined);
    assert.equal(recorded([0, 4]).improvementRate(), undefined);
  });

  it("finds a spike in any window, because the newest loss is not part of what it is compared with", () => {
    const random = seeded(1);
    const noise = Array.from({ length: 30 }, () => 1 + 0.1 * (random() - 0.5));
    for (const window of [2, 3, 5, 10, 20]) {
      const history = recorded([...noise, 3]);
      const [spike] = history.detectAnomalies(window);
      assert.equal(spike?.kind, "spike", `window ${window}`);
      assert.equal(spike?.step, 30);
      assert.ok(spike!.value > spike!.threshold);
      assert.deepEqual(recorded([...noise, 1]).detectAnomalies(window), []);
      // What falls is no spike.
      assert.deepEqual(recorded([...noise, -3]).detectAnomalies(window), []);
    }
    const before = [1, 2, 1, 2];
    // Mean 1.5, standard deviation 0.5.
    assert.equal(recorded([...before, 3.01]).detectAnomalies(4)[0]!.kind, "spike");
    assertNear([recorded([...before, 3.5]).detectAnomalies(4)[0]!.value], [4], 1e-12);
    assert.deepEqual(recorded([...before, 2.99]).detectAnomalies(4), []);
    assert.deepEqual(recorded([1, 9]).detectAnomalies(), []);
  });

  it("takes rounding for no spike, and a step up from a constant for one", () => {
    const flat = new Array(10).fill(0.3);
    assert.deepEqual(recorded([...flat, 0.3 + 1e-12]).detectAnomalies(), []);
    assert.equal(recorded([...flat, 0.31]).detectAnomalies()[0]?.kind, "spike");
    assert.equal(recorded([...new Array(10).fill(0), 1]).detectAnomalies()[0]?.kind, "spike");
  });

  it("finds divergence from one window to the next", () => {
    const grown = [...new Array(5).fill(1), 1.3, 1.1, 1.3, 1.1, 1.3];
    const [found] = recorded(grown).detectAnomalies(5);
    assert.equal(found?.kind, "divergence");
    assertNear([found!.value], [1.22], 1e-12);
    assert.deepEqual(recorded(grown).detectAnomalies(6), []);
    assert.deepEqual(recorded(grown, { divergenceThreshold: 1.25 }).detectAnomalies(5), []);
    assert.deepEqual(recorded(grown.map((x) => -x)).detectAnomalies(5), []);
    assert.equal(recorded(grown.map((x) => x - 3)).detectAnomalies(5).length, 0);
  });

  it("sums up the phases that it has seen", () => {
    const history = new LossHistory();
    history.record(1, "full");
    history.record(3, "full");
    history.record(5, "predict");
    const summary = history.phaseSummary();
    assert.deepEqual(Object.keys(summary), ["full", "predict"]);
    assert.equal(summary.full!.mean, 2);
    assert.equal(summary.predict!.count, 1);
  });

  it("goes through JSON, and time goes on", () => {
    let now = 0;
    const clock = () => now;
    const history = new LossHistory({ clock, maxHistory: 4, rollingWindow: 3 });
    for (let at = 0; at < 6; at++) {
      now += 5;
      history.record(at / 3, at % 2 === 0 ? "full" : "correct");
    }
    now = 100;
    const text = JSON.stringify(history);
    now = 1_000_000;
    for (const state of [text, JSON.parse(text)]) {
      const copy = LossHistory.fromJSON(state, { clock });
      assert.deepEqual(copy.measurements(), history.measurements());
      assert.deepEqual(copy.config, history.config);
      assert.equal(copy.steps, 6);
      assert.equal(copy.elapsedMs, 100);
      assert.equal(JSON.stringify(copy), text);
    }
  });

  it("refuses JSON that is not its own", () => {
    const state = JSON.parse(JSON.stringify(recorded([1, 2])));
    const bad: Record<string, unknown>[] = [
      { version: 0 },
      { config: null },
      { config: { ...state.config, maxHistory: 0 } },
      { config: { ...state.config, spikeThreshold: null } },
      { steps: 1 },
      { steps: -1 },
      { elapsedMs: "now" },
      { records: {} },
      { records: [[1, "full"]] },
      { records: [[1, "rest", 0]] },
      { records: [[null, "full", 0]] },
      { records: [7] },
    ];
    for (const fields of bad) {
      assertThrowsCode(() => LossHistory.fromJSON({ ...state, ...fields }), "invalid_format");
    }
    assertThrowsCode(() => LossHistory.fromJSON("nonsense"), "invalid_format");
    assertThrowsCode(() => LossHistory.fromJSON(wrong(undefined)), "invalid_type");
  });

  it("refuses losses and options that are none, and loses nothing", () => {
    const history = recorded([1]);
    for (const loss of [NaN, Infinity, -Infinity]) {
      assertThrowsCode(() => history.record(loss), "invalid_value");
    }
    assertThrowsCode(() => history.record(wrong("1")), "invalid_type");
    assertThrowsCode(() => history.record(1, wrong("rest")), "invalid_option");
    assert.equal(history.steps, 1);
    assertThrowsCode(() => history.statistics(0), "invalid_value");
    assertThrowsCode(() => history.detectAnomalies(1), "invalid_value");
    assertThrowsCode(() => new LossHistory({ maxHistory: 0 }), "invalid_value");
    assertThrowsCode(() => new LossHistory({ divergenceThreshold: 0.5 }), "invalid_value");
    assertThrowsCode(() => new LossHistory({ clock: wrong("now") }), "invalid_type");
  });
});
