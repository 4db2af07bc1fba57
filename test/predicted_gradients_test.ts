/** The parts of the example of predicted gradients: its gradients, its search and its drawing. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { adam, momentum } from "../examples/predicted_gradients/optimizers.ts";
import { drawCurves } from "../examples/predicted_gradients/plot.ts";
import {
  countBackwardPasses,
  findRate,
  predictingMethods,
  train,
} from "../examples/predicted_gradients/runs.ts";
import { CharacterTask, corpusOf } from "../examples/predicted_gradients/task.ts";
import { assertNear } from "./support.ts";

const text = Array.from({ length: 4000 }, (_, at) => "the quick brown fox. "[at * at % 21]).join(
  "",
);

describe("the task of predicted_gradients", () => {
  it("has the gradients that finite differences show", () => {
    const corpus = corpusOf(text);
    const gradients = new CharacterTask(corpus, 1).parameters
      .map(({ length }) => new Float32Array(length));
    /** The first batch's loss with one parameter moved; the seed makes it the same batch. */
    const lossAt = (list: number, place: number, move: number) => {
      const task = new CharacterTask(corpus, 1);
      task.parameters[list]![place]! += move;
      return task.lossAndGradients(gradients);
    };
    const task = new CharacterTask(corpus, 1);
    const exact = gradients.map((gradient) => new Float32Array(gradient.length));
    task.lossAndGradients(exact);
    exact.forEach((gradient, list) => {
      const step = 1e-2;
      for (const place of [0, 7, gradient.length >> 1, gradient.length - 1]) {
        const slope = (lossAt(list, place, step) - lossAt(list, place, -step)) / (2 * step);
        // Third derivatives times the step squared, and float32 losses over the step.
        assertNear([gradient[place]!], [slope], 1e-4 + 0.02 * Math.abs(slope), `${list}[${place}]`);
      }
    });
  });

  it("is learnt by both optimisers, with gradients predicted or not", () => {
    const corpus = corpusOf(text);
    for (const [optimizer, rate] of [[adam, 0.01], [momentum, 0.1]] as const) {
      const setting = {
        task: (seed: number) => new CharacterTask(corpus, seed),
        optimizer,
        windows: [64, 256],
        points: 4,
      } as const;
      for (const method of [{ name: "plain", steps: 60 }, ...predictingMethods(60)]) {
        const { loss, points, backwardPasses } = train(setting, method, rate, 1);
        assert.ok(loss < points[0]!.loss - 0.5, `${method.name}: ${loss}`);
        assert.equal(backwardPasses, countBackwardPasses(method));
      }
      assert.equal(train(setting, predictingMethods(60)[0]!, 1e38, 1).loss, Infinity);
    }
  });
});

describe("findRate", () => {
  it("goes to the least loss, past rates that diverge", () => {
    const loss = (rate: number) => rate > 0.5 ? Infinity : Math.log(rate / 0.03) ** 2;
    for (const start of [0.0001, 0.03, 0.4, 8]) {
      const found = findRate(loss, start);
      assert.ok(found > 0.015 && found < 0.06, `${start} leads to ${found}`);
    }
  });
});

describe("drawCurves", () => {
  it("draws two panels of finite numbers", () => {
    const points = [3, 2, Infinity, 1].map((loss, at) => ({
      backwardPasses: 10 * at,
      milliseconds: 5 * at,
      loss,
    }));
    const svg = drawCurves("a < b", [{ name: "one & all", points }, { name: "two", points }]);
    assert.match(svg, /^<svg .*\n<\/svg>\n$/s);
    assert.match(svg, /a &lt; b/);
    assert.match(svg, /one &amp; all/);
    assert.doesNotMatch(svg, /NaN|Infinity|undefined/);
    assert.equal(svg.match(/stroke-width="1.8"/g)!.length, 4);
  });
});
