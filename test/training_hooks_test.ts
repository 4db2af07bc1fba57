/** What plugs into a trainer: phases, loss scaling; and training that is described by a file. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import {
  codecHook,
  createCodec,
  DeterministicPhaseTrainer,
  drawLossCurve,
  ErrorFeedback,
  loadTraining,
  phaseHook,
  TokenDataset,
  Trainer,
  type TrainerHook,
  type TrainerOptions,
} from "../mod.ts";
import { withDirectory } from "./make_model.ts";
import { assertSame, assertThrowsCode, wrong } from "./support.ts";
import { ToyModel, ToyOptimizer, toyTokens } from "./toy_model.ts";

const VOCAB = 12;
const data = TokenDataset.fromTokens(toyTokens(2000, VOCAB, 1), 16);

function options(more: Partial<TrainerOptions> = {}): TrainerOptions {
  return {
    model: new ToyModel(VOCAB),
    data,
    optimizer: new ToyOptimizer(),
    learningRate: 0.5,
    steps: 40,
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

describe("a phase trainer as a hook", () => {
  /** Counts backward passes. */
  class Counting extends ToyModel {
    backward = 0;
    override lossAndGradients(...given: Parameters<ToyModel["lossAndGradients"]>): number {
      this.backward++;
      return super.lossAndGradients(...given);
    }
  }

  const phases = () =>
    new DeterministicPhaseTrainer([VOCAB * VOCAB, VOCAB], {
      warmupSteps: 4,
      fullSteps: 3,
      predictSteps: 6,
      correctEvery: 3,
      adaptive: false,
      residualThreshold: Infinity,
    });

  it("decides which steps have a backward pass", () =>
    withDirectory(async (directory) => {
      const metricsFile = join(directory, "metrics.jsonl");
      const model = new Counting(VOCAB);
      const inner = phases();
      const trainer = new Trainer(options({ model, metricsFile, hooks: [phaseHook(inner)] }));
      const { loss } = await trainer.train();
      const { stats } = inner;
      assert.equal(stats.totalSteps, 40);
      assert.equal(model.backward, stats.backwardSteps);
      assert.ok(model.backward < 32);
      assert.equal(stats.currentLoss, loss);
      assert.ok(loss < trainer.losses[0]![1]);
      const lines = readFileSync(metricsFile, "utf8").trimEnd().split("\n").map((line) =>
        JSON.parse(line)
      );
      const seen = lines.map(({ phase }) => phase);
      assert.deepEqual(seen.slice(0, 13), [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 2, 2]);
      for (const { phase, predictionError } of lines) {
        assert.equal(predictionError !== undefined, phase === 3);
      }
    }));

  it("goes on exactly from a checkpoint", () =>
    withDirectory(async (directory) => {
      const whole = options({ hooks: [phaseHook(phases())] });
      await new Trainer(whole).train();
      const checkpointDirectory = join(directory, "run");
      // In the middle of predictions.
      const first = { hooks: [phaseHook(phases())], steps: 12, checkpointDirectory };
      await new Trainer(options(first)).train();
      const rest = options({ hooks: [phaseHook(phases())], checkpointDirectory, resume: true });
      await new Trainer(rest).train();
      for (const [index, { data }] of whole.model.parameters.entries()) {
        assertSame(rest.model.parameters[index]!.data, data);
      }
    }));

  it("must be one", () => {
    assertThrowsCode(() => phaseHook(wrong({})), "invalid_type", /PhaseTrainer/);
  });
});

describe("a codec as a hook", () => {
  /** Keeps the sign and the mean magnitude, and what was lost for the next step. */
  function signs() {
    let residual: Float32Array | undefined;
    const seeds: unknown[] = [];
    return {
      seeds,
      compress(gradients: Float32Array, options?: { seed?: number | bigint }): Uint8Array {
        seeds.push(options?.seed);
        residual ??= new Float32Array(gradients.length);
        const sum = gradients.map((value, index) => value + residual![index]!);
        const mean = sum.reduce((total, value) => total + Math.abs(value), 0) / sum.length;
        const bytes = Uint8Array.from(sum, (value) => Number(value < 0));
        residual = sum.map((value, index) => value - (bytes[index] ? -1 : 1) * Math.fround(mean));
        return new Uint8Array([...new Uint8Array(Float32Array.of(mean).buffer), ...bytes]);
      },
      decompress(bytes: Uint8Array, options?: { out?: Float32Array }): Float32Array {
        const mean = new Float32Array(bytes.slice(0, 4).buffer)[0]!;
        options!.out!.forEach((_, index, out) => out[index] = bytes[4 + index] ? -mean : mean);
        return options!.out!;
      },
      state: () => ({ residual, other: undefined }),
      restore: (state: Record<string, Float32Array>) => void (residual = state.residual!.slice()),
    };
  }

  it("changes the gradients, and goes on exactly from a checkpoint", () =>
    withDirectory(async (directory) => {
      const metricsFile = join(directory, "metrics.jsonl");
      const codec = signs();
      const magnitudes: number[] = [];
      const look: TrainerHook = {
        name: "look",
        beforeUpdate: ({ parameters }) =>
          void magnitudes.push(
            new Set(parameters.flatMap(({ gradient }) => [...gradient].map(Math.abs))).size,
          ),
      };
      const hooks = [codecHook(codec, { seed: 5 }), look];
      const whole = options({ hooks, metricsFile, clipNorm: 0 });
      const trainer = new Trainer(whole);
      const { loss } = await trainer.train();
      assert.ok(loss < trainer.losses[0]![1]);
      assert.deepEqual(codec.seeds, Array.from({ length: 40 }, (_, step) => 5 + step));
      assert.ok(magnitudes.every((count) => count === 1));
      const line = JSON.parse(readFileSync(metricsFile, "utf8").split("\n")[0]!);
      const count = VOCAB * VOCAB + VOCAB;
      assert.equal(line.compressedBytes, count + 4);
      assert.equal(line.compressionRatio, 4 * count / (count + 4));
      assert.ok(line.compressionCosine > 0.2 && line.compressionCosine < 1);

      const checkpointDirectory = join(directory, "run");
      const again = (more: Partial<TrainerOptions>) =>
        options({
          hooks: [codecHook(signs(), { seed: 5 })],
          clipNorm: 0,
          checkpointDirectory,
          ...more,
        });
      await new Trainer(again({ steps: 17 })).train();
      const rest = again({ resume: true });
      await new Trainer(rest).train();
      for (const [index, { data }] of whole.model.parameters.entries()) {
        assertSame(rest.model.parameters[index]!.data, data);
      }
    }));

  for (const mode of ["plain", "ef21"] as const) {
    it(`may be one of the library with error feedback, ${mode}`, () =>
      withDirectory(async (directory) => {
        const hooks = () => [
          codecHook(new ErrorFeedback(createCodec("sign"), { mode, momentum: 0.5 })),
        ];
        const whole = options({ hooks: hooks() });
        const trainer = new Trainer(whole);
        const { loss } = await trainer.train();
        assert.ok(loss < trainer.losses[0]![1]);
        const checkpointDirectory = join(directory, "run");
        await new Trainer(options({ hooks: hooks(), steps: 13, checkpointDirectory })).train();
        const rest = options({ hooks: hooks(), checkpointDirectory, resume: true });
        await new Trainer(rest).train();
        for (const [index, { data }] of whole.model.parameters.entries()) {
          assertSame(rest.model.parameters[index]!.data, data);
        }
      }));
  }

  it("may be the entropy codec, whose losses training hardly notices", async () => {
    const plain = await new Trainer(options()).train();
    const hooks = [codecHook(createCodec("entropy", { cosine: 0.99 }))];
    const cosines: number[] = [];
    hooks.push({
      name: "look",
      afterStep: ({ metrics }) => void cosines.push(metrics.compressionCosine!),
    } as TrainerHook);
    const { loss } = await new Trainer(options({ hooks })).train();
    assert.ok(cosines.every((cosine) => cosine > 0.985));
    assert.ok(Math.abs(loss - plain.loss) < 0.1, `${loss} and ${plain.loss}`);
  });

  it("must be one", () => {
    assertThrowsCode(() => codecHook(wrong("sign")), "invalid_type", /"sign"/);
    assertThrowsCode(() => codecHook(wrong(undefined)), "invalid_type", /compress/);
  });
});

describe("loss scaling", () => {
  it("changes nothing but the range: powers of two are exact", async () => {
    const plain = options();
    const scaled = options({ lossScaling: { initialScale: 1024, growthInterval: 7 } });
    await new Trainer(plain).train();
    await new Trainer(scaled).train();
    for (const [index, { data }] of plain.model.parameters.entries()) {
      assertSame(scaled.model.parameters[index]!.data, data);
    }
  });

  /** Gradients in half precision: what is larger than it can hold overflows. */
  class Half extends ToyModel {
    override lossAndGradients(...given: Parameters<ToyModel["lossAndGradients"]>): number {
      const loss = super.lossAndGradients(...given);
      for (const { gradient } of this.parameters) gradient.set(new Float16Array(gradient));
      return loss;
    }
  }

  it("leaves steps out whose gradients overflow, also after a resume", () =>
    withDirectory(async (directory) => {
      const skipped: number[] = [];
      const seen: string[] = [];
      const hook: TrainerHook = {
        name: "seen",
        beforeUpdate: ({ step }) => void seen.push(`${step}`),
        afterStep: (step) => void (step.skipped && skipped.push(step.step)),
      };
      const given = (more: Partial<TrainerOptions>) =>
        options({
          model: new Half(VOCAB),
          lossScaling: { initialScale: 2 ** 22, growthInterval: 12 },
          hooks: [hook],
          ...more,
        });
      const whole = given({});
      const first = await new Trainer(whole).train();
      assert.ok(skipped.length >= 2 && skipped[0] === 0, `${skipped}`);
      assert.ok(skipped.some((step) => step > 10), "the scale grows again");
      assert.equal(seen.length, 40 - skipped.length);
      assert.equal((whole.optimizer as ToyOptimizer).steps, 40 - skipped.length);
      assert.ok(Number.isFinite(first.loss));

      const metricsFile = join(directory, "metrics.jsonl");
      const checkpointDirectory = join(directory, "run");
      await new Trainer(given({ steps: 9, checkpointDirectory, metricsFile })).train();
      const rest = given({ checkpointDirectory, metricsFile, resume: true });
      await new Trainer(rest).train();
      for (const [index, { data }] of whole.model.parameters.entries()) {
        assertSame(rest.model.parameters[index]!.data, data);
      }
      const lines = readFileSync(metricsFile, "utf8").trimEnd().split("\n").map((line) =>
        JSON.parse(line)
      );
      assert.equal(lines[0].lossScale, 2 ** 22);
      assert.equal(lines[0].skipped, 1);
      assert.equal(lines.filter(({ skipped }) => skipped).length, skipped.length / 2);
      assertThrowsCode(
        () => new Trainer(given({ lossScaling: false, checkpointDirectory, resume: true })),
        "invalid_option",
        /with loss scaling/,
      );
    }));
});

describe("a loss curve", () => {
  it("shows what there is", () => {
    const train = Array.from({ length: 5000 }, (_, i) => [i + 1, 7 * 0.999 ** i] as const);
    const svg = drawLossCurve({ train, validation: [[10, 6.8], [5000, 1.25]], title: "A & <B>" });
    assert.match(svg, /A &amp; &lt;B&gt;: validation 1\.250 at step 5000/);
    assert.equal(svg.match(/<polyline/g)!.length, 2);
    // At most a point for every second column of the image.
    assert.ok(/points="([^"]+)"/.exec(svg)![1]!.split(" ").length <= 338);
    assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
    assert.ok(svg.includes(">4000</text>"));
  });

  it("draws nothing where there is nothing, or one point", () => {
    assert.doesNotMatch(drawLossCurve({ train: [] }), /NaN|polyline|Infinity/);
    assert.doesNotMatch(drawLossCurve({ train: [[1, 2]] }), /NaN|undefined|Infinity/);
    assert.doesNotMatch(drawLossCurve({ train: [[1, NaN], [2, Infinity]] }), /NaN|polyline/);
  });
});

const tokenizer = fileURLToPath(new URL("../examples/models/bitnet-jargon", import.meta.url));

const YAML = `
# A run of its own.
model: { vocab_size: 2048, hidden_size: 16, intermediate_size: 32, layers: 1, heads: 2, seed: 5 }
data:
  files: [texts/a.txt]
  tokenizer: ${JSON.stringify(tokenizer)}
  split: paragraph
  min_length: 3
  validation: 0.25
  length: 8
  eos_token_id: 1
trainer:
  steps: 6
  batch_size: 2
  learning_rate: 0.01
  schedule: linear
  warmup_steps: 2
  optimizer: { name: sgd, momentum: 0.5 }
  metrics_file: out/metrics.jsonl
  checkpoint_directory: out/checkpoints
`;

describe("a training file", () => {
  const write = (directory: string, yaml: string) => {
    mkdirSync(join(directory, "texts"), { recursive: true });
    const text = Array.from({ length: 40 }, (_, index) => `A hacker is person ${index}.`);
    writeFileSync(join(directory, "texts", "a.txt"), text.join("\n\n"));
    const path = join(directory, "run.yaml");
    writeFileSync(path, yaml);
    return path;
  };

  it("is all that a run needs", () =>
    withDirectory(async (directory) => {
      const path = write(directory, YAML);
      const { trainer, model, tokenizer } = await loadTraining(pathToFileURL(path));
      assert.equal(trainer.steps, 6);
      assert.deepEqual([model.config.hiddenSize, model.config.layers], [16, 1]);
      assert.ok(tokenizer!.encode("foo").length > 0);
      const result = await trainer.train();
      assert.ok(result.validationLoss! > 5);
      const lines = readFileSync(join(directory, "out", "metrics.jsonl"), "utf8").trimEnd().split(
        "\n",
      ).map((line) => JSON.parse(line));
      assert.deepEqual(lines.map(({ learningRate }) => learningRate.toFixed(4)), [
        ...["0.0033", "0.0067", "0.0100", "0.0075", "0.0050", "0.0025"],
      ]);
      await rejects(loadTraining(path), "invalid_option", /resume/);
      const rest = await loadTraining(path, { resume: true, steps: 7 });
      assert.equal(rest.trainer.step, 6);
      const nowhere = { checkpointDirectory: undefined, metricsFile: undefined };
      const same = (await loadTraining(path, nowhere)).model;
      const other = await loadTraining(
        write(directory, YAML.replace("seed: 5", "seed: 6")),
        nowhere,
      );
      assert.notEqual(same.parameters[0]!.data[0], other.model.parameters[0]!.data[0]);
    }));

  it("may leave the data to the caller", () =>
    withDirectory(async (directory) => {
      const own = TokenDataset.fromTokens(toyTokens(300, 12, 1), 8);
      const start = YAML.indexOf("data:");
      const path = write(directory, YAML.slice(0, start) + YAML.slice(YAML.indexOf("trainer:")));
      const { trainer, tokenizer } = await loadTraining(path, { data: own, steps: 2 });
      assert.equal(tokenizer, null);
      const { steps, validationLoss } = await trainer.train();
      assert.deepEqual([steps, validationLoss], [2, null]);
      await rejects(loadTraining(path), "invalid_format", /data must hold/);
    }));

  it("is refused where it says what nobody knows", () =>
    withDirectory(async (directory) => {
      const refused = (yaml: string, code: string, message: RegExp) =>
        rejects(loadTraining(write(directory, yaml)), code, message);
      const change = (from: string, to: string) => {
        assert.ok(YAML.includes(from));
        return YAML.replace(from, to);
      };
      await refused("model: [", "invalid_format", /must be YAML: .+[^:]$/);
      await refused("- a", "invalid_format", /named settings/);
      await refused("# nothing", "invalid_format", /named settings/);
      await refused("model: &a [*a]", "invalid_format", /alias inside its own anchor/);
      await refused("model: &a { b: { c: *a } }", "invalid_format", /alias inside its own anchor/);
      await refused(`${YAML}more: 1`, "invalid_format", /got more/);
      await refused(`${YAML}model: {}`, "invalid_format", /YAML/);
      await refused(change("batch_size: 2", "batch_sise: 2"), "invalid_format", /got batchSise/);
      await refused(
        change("batch_size: 2", "batch_size: 2\n  batchSize: 3"),
        "invalid_format",
        /batchSize once/,
      );
      await refused(change("steps: 6", "steps: many"), "invalid_type", /steps.*"many"/);
      await refused(change("name: sgd", "name: adam"), "invalid_type", /"adamw" or "sgd"/);
      await refused(change("schedule: linear", "schedule: steep"), "invalid_option", /schedule/);
      await refused(change("hidden_size: 16", "hidden_sice: 16"), "invalid_type", /hiddenSize/);
      await refused(change("[texts/a.txt]", "texts/a.txt"), "invalid_type", /data\.files/);
      await refused(change("texts/a.txt", "texts/b.txt"), "io", /b\.txt/);
      await refused(change("validation: 0.25", "validation: 2"), "invalid_value", /validation/);
      await refused(change(JSON.stringify(tokenizer), "3"), "invalid_type", /tokenizer/);
      await refused("model: 3\ntrainer: {}\n", "invalid_format", /data must hold/);
      await rejects(loadTraining(join(directory, "none.yaml")), "io", /none\.yaml/);
      await rejects(loadTraining(wrong(3)), "invalid_type", /path/);
    }));

  it("does not let one line grow into a thousand million", () =>
    withDirectory(async (directory) => {
      const levels = ["a: &a [x, x, x, x, x, x, x, x, x]"];
      for (const [from, to] of ["ab", "bc", "cd", "de", "ef", "fg", "gh", "hi"]) {
        levels.push(`${to}: &${to} [${Array(9).fill(`*${from}`).join(", ")}]`);
      }
      const path = write(directory, levels.join("\n"));
      const before = process.memoryUsage().heapUsed;
      await rejects(loadTraining(path), "invalid_format", /alias/);
      assert.ok(process.memoryUsage().heapUsed - before < 2 ** 28);
    }));
});
