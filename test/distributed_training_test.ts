/** Training with several ranks: the same every time, whatever is exchanged, and after failures. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  AdamW,
  averageGradients,
  CompressedAdam,
  createCodec,
  createCommunicator,
  ErrorFeedback,
  localSteps,
  ShardedOptimizer,
  TrainableTransformer,
  Trainer,
  type TrainerOptions,
} from "../mod.ts";
import { launchers, runRanks, withoutMpi } from "./distributed_support.ts";
import { options } from "./distributed_training_child.ts";
import { withDirectory } from "./make_model.ts";
import { assertSame, assertThrowsCode, wrong } from "./support.ts";

async function numbersOf(given: TrainerOptions): Promise<number[]> {
  const trainer = new Trainer(given);
  await trainer.train();
  const losses = [...trainer.losses, ...trainer.validationLosses].map(([, loss]) => loss);
  return [...losses, ...given.model.parameters.flatMap(({ data }) => [...data])];
}

describe("training in a world of one", () => {
  it("is what a trainer without a communicator does, bit for bit", async () => {
    using communicator = createCommunicator({ backend: "local" });
    const plain = await numbersOf(options(undefined));
    assertSame(await numbersOf(options(communicator)), plain);
    const optimizer = new ShardedOptimizer(communicator, new AdamW());
    assertSame(await numbersOf(options(communicator, { optimizer })), plain);
    // The steps of the warm-up are those of AdamW.
    const adam = new CompressedAdam(communicator, { warmupSteps: 100 });
    const more = { optimizer: adam, exchange: adam.exchange };
    assertSame(await numbersOf(options(communicator, more)), plain);
  });

  it("goes nowhere else by local steps with an outer rate of 1 and no momentum", async () => {
    using communicator = createCommunicator({ backend: "local" });
    const outer = { every: 4, learningRate: 1, momentum: 0 };
    const exchange = localSteps(communicator, outer);
    const moved = await numbersOf(options(communicator, { exchange }));
    const plain = await numbersOf(options(undefined));
    // x - (x - y) is y but for a rounding, at every fourth of 24 steps, of numbers below 4; Adam
    // divides by the size of the gradients, which makes some of that larger.
    moved.forEach((value, index) => assert.ok(Math.abs(value - plain[index]!) < 1e-4, `${index}`));
  });

  it("compresses as codecs do, and remembers what was not sent", () =>
    withDirectory(async (checkpointDirectory) => {
      using communicator = createCommunicator({ backend: "local" });
      const sent: number[] = [];
      const make = () => {
        const codec = new ErrorFeedback(createCodec("topk", { ratio: 20 }));
        const exchange = averageGradients(communicator, { codec });
        const see = {
          name: "see",
          afterStep: ({ metrics }: { metrics: Record<string, number> }) =>
            void sent.push(metrics.sentBytes!),
        };
        return options(communicator, { exchange, hooks: [see], checkpointDirectory, resume: true });
      };
      const half = { ...make(), steps: 12 };
      await numbersOf(half);
      const resumed = await numbersOf(make());
      const whole = await numbersOf({
        ...make(),
        checkpointDirectory: join(checkpointDirectory, "whole"),
      });
      assertSame(resumed.slice(0, 24), whole.slice(0, 24));
      assertSame(resumed.slice(26), whole.slice(25));
      const parameters = half.model.parameters.reduce((sum, { data }) => sum + data.length, 0);
      assert.equal(sent.length, 48);
      assert.ok(sent.every((bytes) => bytes > 100 && bytes <= Math.max(312, 4 * parameters / 19)));
    }));

  it("refuses what does not fit", () => {
    using communicator = createCommunicator({ backend: "local" });
    const refused = (call: () => unknown, code: string, message: RegExp) =>
      assertThrowsCode(call, code, message);
    const trainer = (more: unknown) => new Trainer(options(communicator, wrong(more)));
    refused(() => trainer({ communicator: {} }), "invalid_type", /Communicator/);
    refused(
      () => new Trainer(options(undefined, { exchange: averageGradients(communicator) })),
      "invalid_option",
      /communicator must be given for exchange/,
    );
    const exchange = localSteps(communicator, { every: 5 });
    refused(() => trainer({ exchange }), "invalid_option", /steps must be a multiple .* got 24/);
    refused(
      () => trainer({ exchange, steps: 10, evaluateEvery: 3 }),
      "invalid_option",
      /evaluateEvery/,
    );
    refused(() => localSteps(communicator, { every: 0 }), "invalid_value", /every/);
    refused(
      () => localSteps(communicator, { every: 2, momentum: 1 }),
      "invalid_value",
      /momentum/,
    );
    refused(
      () => averageGradients(communicator, { codec: wrong("sign") }),
      "invalid_type",
      /codec must be/,
    );
    refused(
      () => averageGradients(communicator, { wire: "bf16", codec: createCodec("sign") }),
      "invalid_option",
      /wire/,
    );
    const buckets = (more: object) => averageGradients(communicator, { bucketBytes: 64, ...more });
    refused(() => buckets({ codec: createCodec("sign") }), "invalid_option", /bucketBytes/);
    refused(() => buckets({ balance: true }), "invalid_option", /bucketBytes/);
    refused(() => buckets({ bucketBytes: 3 }), "invalid_value", /bucketBytes/);
    refused(() => buckets({ bucketBytes: "1" }), "invalid_type", /bucketBytes/);
    const ef21 = new ErrorFeedback(createCodec("sign"), { mode: "ef21" });
    refused(() => averageGradients(communicator, { codec: ef21 }), "invalid_option", /plain/);
    refused(
      () => new CompressedAdam(communicator, { warmupSteps: 0 }),
      "invalid_value",
      /warmupSteps/,
    );
    refused(() => new ShardedOptimizer(communicator, wrong({})), "invalid_type", /Optimizer/);
  });

  it("refuses parameters in bfloat16 where a method works on 32-bit floats", async () => {
    using communicator = createCommunicator({ backend: "local" });
    const sizes = { vocabSize: 48, hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2 };
    const given = () =>
      options(communicator, { model: new TrainableTransformer(sizes, { latent: "bf16" }) });
    const adam = new CompressedAdam(communicator, { warmupSteps: 2 });
    const refused = (more: Partial<TrainerOptions>, message: RegExp) =>
      assert.rejects(new Trainer({ ...given(), ...more }).train(), {
        code: "unsupported",
        message,
      });
    await refused(
      { optimizer: adam, exchange: adam.exchange },
      /CompressedAdam needs parameters .* model\.layers\.0\..* is stored as bfloat16/,
    );
    await refused(
      { exchange: localSteps(communicator, { every: 2 }) },
      /localSteps needs parameters .* is stored as bfloat16/,
    );
    // These take them.
    const more = { optimizer: new ShardedOptimizer(communicator, new AdamW()) };
    const shared = await numbersOf({ ...given(), ...more });
    assertSame(shared, await numbersOf({ ...given(), communicator: undefined }));
  });

  it("refuses checkpoints that lack what a rank remembered", () => {
    using communicator = createCommunicator({ backend: "local" });
    const exchange = averageGradients(communicator, {
      codec: new ErrorFeedback(createCodec("sign")),
    });
    for (
      const arrays of [
        { "memory.1": new Float32Array(3) },
        { "memory.0": new Float32Array(3), "memory.2": new Float32Array(3) },
        { "memory.0": new Float32Array(3), "memory.1": new Float32Array(4) },
        { "memory.99999999999": new Float32Array(3) },
      ]
    ) {
      assertThrowsCode(
        () => exchange.loadState!({ arrays }),
        "invalid_format",
        /Tensors memory\.\* must be there for every rank/,
      );
    }
  });

  it("keeps its state across another object, also that of compressed Adam", async () => {
    using communicator = createCommunicator({ backend: "local" });
    const make = () => new CompressedAdam(communicator, { warmupSteps: 3 });
    const first = make();
    await numbersOf(options(communicator, { optimizer: first, exchange: first.exchange }));
    const second = make();
    second.loadState(first.state());
    assert.equal(second.steps, 24);
    const [a, b] = [first.state(), second.state()];
    assert.deepEqual(Object.keys(b), Object.keys(a));
    for (const name of Object.keys(a)) assertSame(b[name]!, a[name]!, name);
    const late = new CompressedAdam(communicator, { warmupSteps: 30 });
    assertThrowsCode(() => late.loadState(first.state()), "invalid_value", /at least warmupSteps/);
  });
});

if (withoutMpi) it(`several ranks (skipped: ${withoutMpi})`, { skip: true }, () => {});
for (const launcher of launchers) {
  describe(`training with several ranks of ${launcher.name}`, () => {
    const run = (ranks: number, ...given: string[]) =>
      runRanks(launcher, ranks, "./distributed_training_child.ts", ...given);

    it("learns the same every time, and goes on with any number of ranks", () =>
      withDirectory((directory) => {
        for (const [ranks, scenario] of [[4, "training"], [3, "resume"]] as const) {
          const { status, output } = run(ranks, scenario, directory);
          assert.equal(status, 0, output);
          assert.equal(output.match(/^done$/gm)?.length, ranks, output);
        }
      }));

    for (
      const [name, scenario] of [
        ["does not depend on when gradients are sent", "overlap"],
        ["shares parameters in bfloat16", "halves"],
      ] as const
    ) {
      it(name, () => {
        const { status, output } = run(3, scenario, "");
        assert.equal(status, 0, output);
        assert.equal(output.match(/^done$/gm)?.length, 3, output);
      });
    }

    it("ends when a rank hangs while others send", () => {
      const { status, output, seconds } = run(3, "hangInStep", "", "2");
      assert.notEqual(status, 0);
      assert.match(output, /rank [02] noticed/);
      assert.ok(seconds < 40, `${seconds} s`);
    });

    it("refuses ranks that do not fit each other", () => {
      const { status, output } = run(2, "refuse", "");
      assert.equal(status, 0, output);
    });

    it("ends when a rank is killed, and goes on from the last checkpoint", () =>
      withDirectory((directory) => {
        const { status, output, seconds } = run(4, "die", directory, "5");
        assert.notEqual(status, 0, output);
        assert.doesNotMatch(output, /^done$/m);
        assert.ok(seconds < 60, `${seconds} s`);
        assert.ok(readdirSync(directory).includes("checkpoint-00000010.safetensors"), output);
        const again = run(4, "goOn", directory);
        assert.equal(again.status, 0, again.output);
      }));

    it("ends with the error of a rank that fails", () => {
      const { status, output, seconds } = run(4, "fail", "", "5");
      assert.notEqual(status, 0);
      assert.match(output, /rank 0 fails/);
      assert.ok(seconds < 60, `${seconds} s`);
    });
  });
}
