// Optimisers against float64 loops, and schedules of the learning rate.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  AdamW,
  type LearningRateOptions,
  learningRateSchedule,
  type Optimizer,
  type Parameter,
  Sgd,
} from "../mod.ts";
import { assertNear, assertSame, assertThrowsCode, onEveryTier, randomFloats } from "./support.ts";

function parameter(name: string, length: number, decay: boolean): Parameter<Float32Array> {
  return {
    name,
    shape: [length],
    data: randomFloats(length, length),
    gradient: new Float32Array(length),
    decay,
    quantized: false,
  };
}

const SIZES = [1, 3, 31, 33, 1000, 65_537];
const RATES = [0.1, 0.1, 0.05, 0.2];

const makeParameters = () => SIZES.map((size, i) => parameter(`p${i}`, size, i % 2 === 0));

/** Some steps with new gradients each. */
function run(
  optimizer: Optimizer,
  parameters: Parameter<Float32Array>[],
  from = 0,
  to = RATES.length,
): void {
  for (let step = from; step < to; step++) {
    parameters.forEach(({ gradient }, i) => {
      gradient.set(randomFloats(gradient.length, 100 * step + i));
      // What never had a gradient must not move.
      if (gradient.length > 2) gradient[1] = 0;
    });
    optimizer.step(parameters, RATES[step]!);
  }
}

/** The same steps in float64: `update` returns the new value of an element. */
function expected(
  { data, decay }: Parameter<Float32Array>,
  which: number,
  update: (p: number, g: number, rate: number, t: number, memory: number[]) => number,
  weightDecay: number,
): Float64Array {
  const gradients = RATES.map((_, step) => randomFloats(data.length, 100 * step + which));
  return Float64Array.from(data, (start, i) => {
    let p = start;
    const memory = [0, 0];
    RATES.forEach((rate, step) => {
      const g = i === 1 && data.length > 2 ? 0 : gradients[step]![i]!;
      if (decay) p -= rate * weightDecay * p;
      p = update(p, g, rate, step + 1, memory);
    });
    return p;
  });
}

describe("AdamW", () => {
  const options = { beta1: 0.8, beta2: 0.95, epsilon: 1e-6, weightDecay: 0.1 };
  const adam = (p: number, g: number, rate: number, t: number, memory: number[]) => {
    memory[0] = 0.8 * memory[0]! + 0.2 * g;
    memory[1] = 0.95 * memory[1]! + 0.05 * g * g;
    const mean = memory[0] / (1 - 0.8 ** t);
    const square = memory[1] / (1 - 0.95 ** t);
    return p - rate * mean / (Math.sqrt(square) + 1e-6);
  };

  it("makes the steps of a float64 loop, the same on every tier", () => {
    let first: Float32Array[] | undefined;
    onEveryTier((label) => {
      const parameters = makeParameters();
      run(new AdamW(options), parameters);
      const results = parameters.map(({ data }) => data);
      first ??= results;
      results.forEach((data, i) => {
        assertSame(data, first![i]!, label);
        // Four steps of at most 0.2 to 0.5 and ten roundings each.
        assertNear(data, expected(makeParameters()[i]!, i, adam, 0.1), 40 * 2 ** -24, label);
      });
    });
  });

  it("goes on from a saved state bit by bit", () => {
    const [whole, parts] = [makeParameters(), makeParameters()];
    run(new AdamW(options), whole);
    const before = new AdamW(options);
    run(before, parts, 0, 2);
    const saved = Object.fromEntries(
      Object.entries(before.state()).map(([name, array]) => [name, array.slice()]),
    );
    const after = new AdamW(options);
    after.loadState(saved);
    assert.equal(after.steps, 2);
    run(after, parts, 2);
    assert.equal(after.steps, 4);
    whole.forEach(({ data }, i) => assertSame(parts[i]!.data, data));
  });

  it("refuses what would go wrong later", () => {
    for (const given of [{ beta1: 1 }, { beta2: -0.1 }, { epsilon: 0 }, { weightDecay: NaN }]) {
      assertThrowsCode(() => new AdamW(given), "invalid_value");
    }
    const optimizer = new AdamW({ weightDecay: 2 });
    const parameters = [parameter("p", 3, true)];
    for (const rate of [-1, NaN, 0.6]) {
      assertThrowsCode(() => optimizer.step(parameters, rate), "invalid_value");
    }
    assert.equal(optimizer.steps, 0);
    const short = { ...parameters[0]!, gradient: new Float32Array(2) };
    assertThrowsCode(() => optimizer.step([parameters[0]!, short], 0.1), "invalid_length");
    assertSame(parameters[0]!.data, parameter("p", 3, true).data);
  });

  it("refuses states that are none", () => {
    const steps = Float32Array.of(1, 0);
    const optimizer = new AdamW();
    assertThrowsCode(() => optimizer.loadState({}), "invalid_type");
    assertThrowsCode(
      () => optimizer.loadState({ steps: Float32Array.of(1.5, 0) }),
      "invalid_value",
    );
    assertThrowsCode(
      () => optimizer.loadState({ steps: Float32Array.of(NaN, 0) }),
      "invalid_value",
    );
    assertThrowsCode(() => optimizer.loadState({ steps, "velocity.p": steps }), "invalid_value");
    optimizer.loadState({ steps, "mean.p": steps, "square.p": steps });
    assertThrowsCode(() => optimizer.step([parameter("p", 3, true)], 0.1), "invalid_length");
  });
});

describe("Sgd", () => {
  for (const momentum of [0, 0.75]) {
    for (const nesterov of [false, true]) {
      it(`makes the steps of a float64 loop: momentum ${momentum}, Nesterov ${nesterov}`, () => {
        const sgd = (p: number, g: number, rate: number, _: number, memory: number[]) => {
          memory[0] = momentum * memory[0]! + g;
          return p - rate * (nesterov ? g + momentum * memory[0] : memory[0]);
        };
        let first: Float32Array[] | undefined;
        onEveryTier((label) => {
          const parameters = makeParameters();
          run(new Sgd({ momentum, nesterov, weightDecay: 0.3 }), parameters);
          const results = parameters.map(({ data }) => data);
          first ??= results;
          results.forEach((data, i) => {
            assertSame(data, first![i]!, label);
            assertNear(data, expected(makeParameters()[i]!, i, sgd, 0.3), 40 * 2 ** -24, label);
          });
        });
      });
    }
  }

  it("keeps no state without momentum, and goes on with it", () => {
    const [plain, moving] = [new Sgd(), new Sgd({ momentum: 0.5 })];
    const parameters = [parameter("p", 40, false)];
    run(plain, parameters, 0, 1);
    run(moving, parameters, 0, 1);
    assert.deepEqual(Object.keys(plain.state()), ["steps"]);
    assert.deepEqual(Object.keys(moving.state()), ["steps", "velocity.p"]);
    assertSame(moving.state()["velocity.p"]!, parameters[0]!.gradient);
  });
});

describe("learningRateSchedule", () => {
  const rates = (options: LearningRateOptions, steps: number[]) => {
    const rate = learningRateSchedule(options);
    return steps.map((step) => rate(step));
  };

  it("warms up, and stays", () => {
    assertNear(rates({ learningRate: 1, warmupSteps: 3 }, [0, 1, 2, 3, 99]), [
      0.25,
      0.5,
      0.75,
      1,
      1,
    ], 1e-12);
    assert.deepEqual(rates({ learningRate: 2 }, [0, 1e9]), [2, 2]);
  });

  it("goes down by half a cosine or a line", () => {
    const given = { learningRate: 1, steps: 12, warmupSteps: 2, minLearningRate: 0.2 };
    const halves = [2, 7, 12, 100];
    assertNear(rates({ ...given, schedule: "cosine" }, halves), [1, 0.6, 0.2, 0.2], 1e-12);
    assertNear(rates({ ...given, schedule: "linear" }, halves), [1, 0.6, 0.2, 0.2], 1e-12);
    const quarter = 0.2 + 0.8 * (1 + Math.cos(Math.PI / 5)) / 2;
    assertNear(rates({ ...given, schedule: "cosine" }, [4]), [quarter], 1e-12);
  });

  it("stays, then goes down at the end", () => {
    const given = { learningRate: 1, schedule: "warmup-stable-decay", steps: 20 } as const;
    assertNear(
      rates({ ...given, decaySteps: 4 }, [0, 16, 17, 18, 20]),
      [1, 1, 0.75, 0.5, 0],
      1e-12,
    );
    assertNear(rates(given, [18, 19, 20]), [1, 0.5, 0], 1e-12);
    assertNear(rates({ ...given, decaySteps: 0 }, [19, 20]), [1, 0], 1e-12);
  });

  it("refuses what makes no sense", () => {
    const given = { learningRate: 1, schedule: "cosine", steps: 10 } as const;
    assertThrowsCode(() => learningRateSchedule({ ...given, steps: 0 }), "invalid_value");
    assertThrowsCode(() => learningRateSchedule({ ...given, warmupSteps: 11 }), "invalid_value");
    assertThrowsCode(() => learningRateSchedule({ ...given, minLearningRate: 2 }), "invalid_value");
    assertThrowsCode(
      () => learningRateSchedule({ learningRate: 1, schedule: "linear" }),
      "invalid_type",
    );
    assertThrowsCode(() => learningRateSchedule(given)(-1), "invalid_value");
  });
});
