/** The loop of training: what it computes, what its hooks see, what it writes. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { TokenDataset, Trainer, type TrainerHook, type TrainerOptions } from "../mod.ts";
import { withDirectory } from "./make_model.ts";
import { assertSame, assertThrowsCode, wrong } from "./support.ts";
import { ToyModel, ToyOptimizer, toyTokens } from "./toy_model.ts";

const VOCAB = 12;
const data = TokenDataset.fromTokens(toyTokens(2000, VOCAB, 1), 16);
const validation = TokenDataset.fromTokens(toyTokens(400, VOCAB, 2), 16, { shift: false });

function options(more: Partial<TrainerOptions> = {}): TrainerOptions {
  return {
    model: new ToyModel(VOCAB),
    data,
    validation,
    optimizer: new ToyOptimizer(),
    learningRate: 0.5,
    steps: 30,
    batchSize: 4,
    seed: 7,
    ...more,
  };
}

async function rejects(promise: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  await assert.rejects(promise, (error) => {
    assertThrowsCode(
      () => {
        throw error;
      },
      code,
      message,
    );
    return true;
  });
}

describe("a trainer", () => {
  it("does what a loop of one's own does", async () => {
    const model = new ToyModel(VOCAB);
    const optimizer = new ToyOptimizer();
    const losses: number[] = [];
    for (let step = 0; step < 30; step++) {
      for (const { gradient } of model.parameters) gradient.fill(0);
      const { ids, targets, shape } = data.batch(4 * step, 4, 7);
      losses.push(model.lossAndGradients(ids, targets, shape));
      optimizer.step(model.parameters, 0.5 / (1 + step));
    }
    const given = options({ clipNorm: 0, learningRate: (step) => 0.5 / (1 + step) });
    const trainer = new Trainer(given);
    const result = await trainer.train();
    assert.deepEqual(trainer.losses, losses.map((loss, index) => [index + 1, loss]));
    for (const [index, { data }] of given.model.parameters.entries()) {
      assertSame(data, model.parameters[index]!.data);
    }
    const { ids, targets, shape } = validation.inOrder(0, validation.rows);
    const whole = model.loss(ids, targets, shape);
    // Means of parts, in float64.
    assert.ok(Math.abs(result.validationLoss! - whole) < 1e-12);
    assert.equal(result.loss, losses.at(-1));
    assert.deepEqual([result.steps, result.tokens, result.aborted], [30, 30 * 4 * 16, false]);
    assert.deepEqual(trainer.validationLosses, [[30, result.validationLoss]]);
  });

  it("averages micro-batches", async () => {
    const large = new Trainer(options({ batchSize: 8 }));
    const small = new Trainer(options({ batchSize: 2, accumulation: 4 }));
    await large.train();
    await small.train();
    assert.equal((await small.train()).tokens, 30 * 8 * 16);
    large.losses.forEach(([, loss], index) => {
      // The same numbers added in another order, in float32, and fed back for 30 steps.
      assert.ok(Math.abs(loss - small.losses[index]![1]) < 1e-4);
    });
  });

  it("clips by the norm of all gradients together", async () => {
    const norms: number[] = [];
    const clipped: number[] = [];
    const norm = (parameters: TrainerOptions["model"]["parameters"]) =>
      Math.hypot(...parameters.flatMap(({ gradient }) => [...gradient]));
    const hook: TrainerHook = {
      name: "norms",
      afterBackward: ({ parameters }) => void norms.push(norm(parameters)),
      beforeUpdate: ({ parameters }) => void clipped.push(norm(parameters)),
    };
    await new Trainer(options({ clipNorm: 0.05, hooks: [hook] })).train();
    assert.ok(norms.some((value) => value > 0.05));
    for (const [index, value] of norms.entries()) {
      // Float32 rounding of each of a hundred numbers.
      assert.ok(Math.abs(clipped[index]! - Math.min(value, 0.05)) < 1e-6);
    }
  });

  it("counts epochs, also parts of one", () => {
    const steps = (epochs: number) => new Trainer(options({ steps: undefined, epochs })).steps;
    assert.equal(steps(1), Math.ceil(data.rows / 4));
    assert.equal(steps(2.5), Math.ceil(2.5 * data.rows / 4));
  });

  it("calls its hooks in order", async () => {
    const calls: string[] = [];
    const hook = (name: string): TrainerHook => ({
      name,
      beforeStep: ({ step, loss }) => void calls.push(`${name} before ${step} ${loss}`),
      afterBackward: ({ predicted }) => void calls.push(`${name} backward ${predicted}`),
      beforeUpdate: ({ learningRate }) => void calls.push(`${name} update ${learningRate}`),
      afterStep: ({ metrics, loss }) =>
        void calls.push(`${name} after ${Object.keys(metrics)} ${loss > 0}`),
    });
    await new Trainer(options({ steps: 1, hooks: [hook("a"), hook("b")] })).train();
    assert.deepEqual(calls, [
      ...["a before 0 NaN", "b before 0 NaN", "a backward false", "b backward false"],
      ...["a update 0.5", "b update 0.5", "a after gradientNorm true", "b after gradientNorm true"],
    ]);
  });

  it("leaves the backward pass out where a hook predicts the gradients", async () => {
    let backward = 0;
    class Counting extends ToyModel {
      override lossAndGradients(...given: Parameters<ToyModel["lossAndGradients"]>): number {
        backward++;
        return super.lossAndGradients(...given);
      }
    }
    let last: Float32Array[] = [];
    const hook: TrainerHook = {
      name: "every-second",
      beforeStep: ({ step }) => step % 2 === 0,
      predictGradients({ parameters }) {
        for (const [index, { gradient }] of parameters.entries()) {
          assert.ok(gradient.every((value) => value === 0));
          gradient.set(last[index]!);
        }
      },
      beforeUpdate({ parameters, predicted, step }) {
        assert.equal(predicted, step % 2 === 1);
        last = parameters.map(({ gradient }) => new Float32Array(gradient));
      },
    };
    const trainer = new Trainer(options({ model: new Counting(VOCAB), hooks: [hook] }));
    const { loss } = await trainer.train();
    assert.equal(backward, 15);
    assert.equal(trainer.losses.length, 30);
    assert.ok(loss < trainer.losses[0]![1]);
    const mute: TrainerHook = { name: "mute", beforeStep: () => false };
    await rejects(new Trainer(options({ hooks: [mute] })).train(), "invalid_value", /mute/);
  });

  it("stops at numbers that are not finite, and does not go on", async () => {
    const bad: TrainerHook = {
      name: "bad",
      afterBackward: ({ step, parameters }) =>
        void (step === 3 && (parameters[0]!.gradient[5] = NaN)),
    };
    const trainer = new Trainer(options({ hooks: [bad] }));
    await rejects(trainer.train(), "invalid_value", /gradients must be finite, got NaN in step 4/);
    assert.equal(trainer.step, 3);
    await rejects(trainer.train(), "invalid_value", /resume/);
    const wild = new Trainer(options({ learningRate: () => NaN }));
    await rejects(wild.train(), "invalid_value", /learning rate.*NaN/);
    class Lost extends ToyModel {
      override lossAndGradients = () => Infinity;
    }
    const lost = new Trainer(options({ model: new Lost(VOCAB) }));
    await rejects(lost.train(), "invalid_value", /loss must be finite, got Infinity in step 1/);
  });

  it("stops when it is told to, and goes on", async () => {
    const controller = new AbortController();
    const hook: TrainerHook = {
      name: "stop",
      afterStep: ({ step }) => void (step === 9 && controller.abort()),
    };
    const trainer = new Trainer(options({ hooks: [hook], signal: controller.signal }));
    const result = await trainer.train();
    assert.deepEqual([result.steps, result.aborted, result.validationLoss], [10, true, null]);
  });

  it("is not started twice at once", async () => {
    const trainer = new Trainer(options());
    const first = trainer.train();
    await rejects(trainer.train(), "invalid_value", /while it is training/);
    assert.equal((await first).steps, 30);
    assert.equal((await trainer.train()).steps, 30);
  });
});

describe("what a trainer writes", () => {
  it("is a line for each step, and a curve", () =>
    withDirectory(async (directory) => {
      const metricsFile = join(directory, "logs", "metrics.jsonl");
      const curveFile = join(directory, "logs", "curve.svg");
      const hook: TrainerHook = {
        name: "extra",
        beforeUpdate: ({ metrics, step }) => void (metrics.extra = 2 * step),
      };
      const trainer = new Trainer(
        options({ metricsFile, curveFile, evaluateEvery: 20, hooks: [hook] }),
      );
      await trainer.train();
      const text = readFileSync(metricsFile, "utf8");
      const lines = text.trimEnd().split("\n").map((line) => JSON.parse(line));
      assert.equal(lines.length, 30);
      for (const [index, line] of lines.entries()) {
        assert.equal(line.step, index + 1);
        assert.equal(line.loss, trainer.losses[index]![1]);
        assert.equal(line.learningRate, 0.5);
        assert.equal(line.extra, 2 * index);
        assert.equal(line.tokens, 64 * (index + 1));
        assert.ok(line.gradientNorm > 0 && line.seconds > 0 && line.tokensPerSecond > 0);
        assert.equal("validationLoss" in line, [19, 29].includes(index));
      }
      assert.equal(lines[29].validationLoss, trainer.validationLosses[1]![1]);
      assert.match(readFileSync(curveFile, "utf8"), /^<svg[^]*validation[^]*<\/svg>\n$/);
      assert.deepEqual(readdirSync(join(directory, "logs")).sort(), ["curve.svg", "metrics.jsonl"]);
    }));

  it("cuts the lines that a resumed run writes again", () =>
    withDirectory(async (directory) => {
      const metricsFile = join(directory, "metrics.jsonl");
      const checkpointDirectory = join(directory, "run");
      const first = { metricsFile, checkpointDirectory, steps: 10 };
      await new Trainer(options(first)).train();
      const written = readFileSync(metricsFile, "utf8");
      // A run that was killed in the middle of its twelfth line, and a note of somebody else.
      writeFileSync(metricsFile, `# a note\n${written}{"step":11,"loss":1}\n{"step":12,"lo`);
      assertThrowsCode(
        () => new Trainer(options({ metricsFile })),
        "invalid_option",
        /metricsFile must be empty.*resume/,
      );
      await new Trainer(options({ ...first, steps: 12, resume: true })).train();
      const lines = readFileSync(metricsFile, "utf8").trimEnd().split("\n");
      assert.equal(lines.shift(), "# a note");
      assert.deepEqual(lines.map((line) => JSON.parse(line).step), [
        ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
      ]);
      assert.equal(`${lines.slice(0, 10).join("\n")}\n`, written);
    }));

  /** What a run writes to standard error, which claims to be a terminal or not. */
  async function progressOf(terminal: boolean, progress: boolean | undefined): Promise<string> {
    const { stderr } = process;
    const [write, isTTY] = ["write", "isTTY"].map((name) =>
      Object.getOwnPropertyDescriptor(stderr, name)
    );
    let seen = "";
    const replace = (name: string, value: unknown) =>
      Object.defineProperty(stderr, name, { value, configurable: true, writable: true });
    replace("write", (text: string) => (seen += text, true));
    replace("isTTY", terminal);
    try {
      await new Trainer(options({ progress, evaluateEvery: 10 })).train();
    } finally {
      for (const [name, old] of [["write", write], ["isTTY", isTTY]] as const) {
        if (old === undefined) Reflect.deleteProperty(stderr, name);
        else Object.defineProperty(stderr, name, old);
      }
    }
    return seen;
  }

  it("is a line on a terminal, with rate and time", async () => {
    const seen = await progressOf(true, undefined);
    // Without the escape before the rest of the line is cleared.
    const states = seen.replaceAll("\x1b", "").split("\r").slice(1);
    assert.ok(states.length >= 2);
    assert.match(
      states[0]!,
      /^Step 1\/30 \[#\.{19}\] loss \d\.\d{3} \d+ tokens\/s ETA \d+:\d\d\[K$/,
    );
    assert.match(
      states.at(-1)!,
      /^Step 30\/30 \[#{20}\] loss \d\.\d{3} validation \d\.\d{3} \d+ tokens\/s ETA 0:00\[K\n$/,
    );
  });

  it("is told elsewhere only if asked for", async () => {
    assert.equal(await progressOf(false, undefined), "");
    assert.equal(await progressOf(true, false), "");
    const lines = (await progressOf(false, true)).trimEnd().split("\n");
    assert.equal(lines.length, 2);
    assert.match(lines[1]!, /^Step 30\/30 loss \d\.\d{3} validation .* ETA 0:00$/);
  });

  it("is nothing, unless asked for", () =>
    withDirectory(async (directory) => {
      await new Trainer(options({ steps: 2 })).train();
      assert.deepEqual(readdirSync(directory), []);
      assert.ok(!existsSync("metrics.jsonl"));
    }));
});

describe("a trainer refuses", () => {
  const refused = (more: Record<string, unknown>, code: string, message: RegExp) =>
    assertThrowsCode(() => new Trainer(options(more as Partial<TrainerOptions>)), code, message);

  it("options that do not fit", () => {
    refused({ steps: undefined }, "invalid_option", /neither/);
    refused({ epochs: 2 }, "invalid_option", /both/);
    refused({ steps: 0 }, "invalid_value", /steps/);
    refused({ steps: 1.5 }, "invalid_value", /steps/);
    refused({ steps: undefined, epochs: 0 }, "invalid_value", /number of steps/);
    refused({ batchSize: 0 }, "invalid_value", /batchSize/);
    refused({ accumulation: -1 }, "invalid_value", /accumulation/);
    refused({ clipNorm: -1 }, "invalid_value", /clipNorm/);
    refused({ seed: 2 ** 32 }, "invalid_value", /seed/);
    refused({ learningRate: "fast" }, "invalid_type", /learningRate/);
    refused({ learningRate: undefined }, "invalid_type", /learningRate/);
    refused({ learningRate: () => 1, schedule: "cosine" }, "invalid_option", /for schedule/);
    refused({ warmupSteps: 31, schedule: "linear" }, "invalid_value", /warmupSteps/);
    refused({ lossScaling: 3 }, "invalid_type", /lossScaling/);
    refused({ keepCheckpoints: 0 }, "invalid_value", /keepCheckpoints/);
    refused({ checkpointEvery: 5 }, "invalid_option", /checkpointDirectory/);
    refused({ resume: true }, "invalid_option", /checkpointDirectory/);
    refused({ resume: "yes" }, "invalid_type", /resume/);
    refused({ progress: 1 }, "invalid_type", /progress/);
    refused({ signal: {} }, "invalid_type", /signal/);
    refused({ metricsFile: 3 }, "invalid_type", /metricsFile/);
  });

  it("models, data, optimisers and hooks that are none", () => {
    refused({ model: {} }, "invalid_type", /Trainable/);
    refused({ model: undefined }, "invalid_type", /model/);
    refused({ data: [[1, 2]] }, "invalid_type", /TokenDataset/);
    refused({ validation: {} }, "invalid_type", /validation/);
    refused({ optimizer: "adamw" }, "invalid_type", /Optimizer/);
    refused({ optimizer: { name: "adam" } }, "invalid_type", /"adamw" or "sgd"/);
    refused({ optimizer: { name: "sgd", momentum: 2 } }, "invalid_value", /momentum/);
    refused({ hooks: {} }, "invalid_type", /hooks/);
    refused({ hooks: [{}] }, "invalid_type", /hooks\[0\]/);
    refused({ hooks: [{ name: "a/b" }] }, "invalid_type", /a\/b/);
    refused({ hooks: [{ name: "a" }, { name: "a" }] }, "invalid_option", /two of a/);
    assertThrowsCode(() => new Trainer(wrong(undefined)), "invalid_type");
  });

  it("to save or evaluate without the means", async () => {
    assertThrowsCode(() => new Trainer(options()).saveCheckpoint(), "invalid_option");
    const blind = new Trainer(options({ validation: undefined }));
    await rejects(blind.evaluate(), "invalid_option", /validation/);
    assert.equal((await blind.train()).validationLoss, null);
  });
});
