// What every rank of distributed_training_test.ts does.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import {
  AdamW,
  averageGradients,
  type Communicator,
  CompressedAdam,
  createCodec,
  createCommunicator,
  ErrorFeedback,
  localSteps,
  Safetensors,
  Sgd,
  ShardedOptimizer,
  TokenDataset,
  Trainer,
  type TrainerHook,
  type TrainerOptions,
} from "../mod.ts";
import { assertSame, assertThrowsCode } from "./support.ts";
import { ToyModel, toyTokens } from "./toy_model.ts";

const VOCAB = 48;
const STEPS = 24;

/** A run like all others, with a part of it replaced. */
export function options(
  communicator: Communicator | undefined,
  more: Partial<TrainerOptions> = {},
): TrainerOptions {
  return {
    // Rank 0 gives the others its parameters, whatever they began with.
    model: new ToyModel(VOCAB, 1 + (communicator?.rank ?? 0)),
    data: TokenDataset.fromTokens(toyTokens(9000, VOCAB, 1), 16),
    validation: TokenDataset.fromTokens(toyTokens(1000, VOCAB, 2), 16),
    optimizer: new AdamW(),
    learningRate: 0.02,
    steps: STEPS,
    batchSize: 2,
    seed: 3,
    communicator,
    ...more,
  };
}

/** The numbers of a run: its losses and its parameters, which all ranks must have alike. */
async function numbersOf(given: TrainerOptions): Promise<Float64Array> {
  const trainer = new Trainer(given);
  await trainer.train();
  const losses = [...trainer.losses, ...trainer.validationLosses].map(([, loss]) => loss);
  const parameters = given.model.parameters.flatMap(({ data }) => [...data]);
  const numbers = Float64Array.of(...losses, ...parameters);
  const { communicator } = given;
  if (communicator !== undefined) {
    const all = communicator.allGather(numbers);
    for (let rank = 0; rank < communicator.size; rank += 1) {
      const start = rank * numbers.length;
      assertSame(all.subarray(start, start + numbers.length), numbers, `rank ${rank}`);
    }
  }
  return numbers;
}

/** How parts of a run are made anew, for every run of its kind. */
type Make = (communicator: Communicator) => Partial<TrainerOptions>;

const codec = (name: "entropy" | "sign" | "projection" | "rotated") =>
  createCodec(name, name === "entropy" ? { ratio: 10 } : name === "projection" ? { ratio: 4 } : {});

const KINDS: Record<string, Make> = {
  plain: () => ({}),
  accumulated: () => ({ accumulation: 3, lossScaling: true }),
  bf16: (communicator) => ({ exchange: averageGradients(communicator, { wire: "bf16" }) }),
  entropy: (communicator) => ({
    exchange: averageGradients(communicator, { codec: codec("entropy") }),
  }),
  balanced: (communicator) => ({
    exchange: averageGradients(communicator, { codec: codec("entropy"), balance: true }),
  }),
  rotated: (communicator) => ({
    exchange: averageGradients(communicator, { codec: codec("rotated"), seed: 5 }),
  }),
  sketches: (communicator) => ({
    exchange: averageGradients(communicator, { codec: codec("projection") }),
  }),
  signs: (communicator) => ({
    optimizer: new Sgd({ momentum: 0.9 }),
    learningRate: 0.5,
    exchange: averageGradients(communicator, { codec: new ErrorFeedback(codec("sign")) }),
  }),
  adam: (communicator) => {
    const optimizer = new CompressedAdam(communicator, { warmupSteps: 6 });
    return { optimizer, exchange: optimizer.exchange };
  },
  sharded: (communicator) => ({ optimizer: new ShardedOptimizer(communicator, new AdamW()) }),
  local: (communicator) => ({
    exchange: localSteps(communicator, {
      every: 4,
      codec: new ErrorFeedback(codec("entropy")),
    }),
  }),
};

/** Every way of exchanging learns, the same every time, and goes on from a checkpoint. */
async function training(communicator: Communicator, directory: string): Promise<void> {
  const results = new Map<string, Float64Array>();
  for (const [name, make] of Object.entries(KINDS)) {
    const whole = await numbersOf(options(communicator, make(communicator)));
    results.set(name, whole);
    const [first, last] = [whole[0]!, whole[STEPS - 1]!];
    assert.ok(last < first - 0.2, `${name}: from ${first} to ${last}`);
    assertSame(await numbersOf(options(communicator, make(communicator))), whole, name);

    const checkpointDirectory = join(directory, name);
    const part = { checkpointDirectory, steps: STEPS / 2, resume: true };
    await numbersOf(options(communicator, { ...make(communicator), ...part }));
    const rest = { checkpointDirectory, resume: true };
    const resumed = await numbersOf(options(communicator, { ...make(communicator), ...rest }));
    if (name === "local") {
      // Every rank goes on with the mean of all optimisers.
      assert.ok(Math.abs(resumed[STEPS - 1]! - last) < 0.1, `${resumed[STEPS - 1]} and ${last}`);
    } else {
      // The first half was evaluated at its end as well: one more validation loss.
      assertSame(resumed.subarray(0, STEPS), whole.subarray(0, STEPS), `${name}, resumed`);
      assertSame(resumed.subarray(STEPS + 2), whole.subarray(STEPS + 1), `${name}, resumed`);
    }
  }
  assertSame(results.get("sharded")!, results.get("plain")!, "sharded");
  // The same rows as in micro-batches of one process, added in another order.
  const alone = await numbersOf(options(undefined, { accumulation: communicator.size }));
  const plain = results.get("plain")!;
  for (let step = 0; step < STEPS; step += 1) {
    assert.ok(Math.abs(alone[step]! - plain[step]!) < 1e-4, `step ${step}`);
  }
}

/** Goes on with what another number of ranks has left. */
async function resume(communicator: Communicator, directory: string): Promise<void> {
  for (const [name, make] of Object.entries(KINDS)) {
    const checkpointDirectory = join(directory, name);
    const more = { checkpointDirectory, resume: true, steps: 2 * STEPS };
    const numbers = await numbersOf(options(communicator, { ...make(communicator), ...more }));
    const [first, last] = [numbers[0]!, numbers[2 * STEPS - 1]!];
    assert.ok(last < first - 0.4, `${name}: from ${first} to ${last}`);
    if (communicator.rank === 0 && name === "sharded") checkShards(checkpointDirectory);
  }
}

/** The memory of all parameters is there, once. */
function checkShards(directory: string): void {
  using file = Safetensors.open(join(directory, readdirSync(directory).sort().at(-1)!));
  const names = file.names.filter((name) => name.startsWith("optimizer."));
  assert.deepEqual(names.sort(), [
    ...["optimizer.mean.toy.bias", "optimizer.mean.toy.table.weight"],
    ...["optimizer.square.toy.bias", "optimizer.square.toy.table.weight", "optimizer.steps"],
  ]);
}

/** Rank 1 is gone in the middle of a run. */
async function die(communicator: Communicator, directory: string): Promise<void> {
  const killer: TrainerHook = {
    name: "killer",
    afterStep({ step }) {
      if (communicator.rank === 1 && step === 12) process.kill(process.pid, "SIGKILL");
    },
  };
  const more = { checkpointDirectory: directory, checkpointEvery: 5, resume: true };
  await numbersOf(options(communicator, { ...more, hooks: [killer] }));
}

/** The run that was cut off goes on, and ends as if nothing had been. */
async function goOn(communicator: Communicator, directory: string): Promise<void> {
  const hooks: TrainerHook[] = [{ name: "killer" }];
  const whole = await numbersOf(options(communicator, { hooks }));
  const more = { checkpointDirectory: directory, resume: true, hooks };
  const trainer = new Trainer(options(communicator, more));
  assert.equal(trainer.step, 10);
  communicator.barrier();
  assertSame(await numbersOf(options(communicator, more)), whole);
}

/** One rank fails by itself: its own error comes at once, and the others do not wait for ever. */
async function fail(communicator: Communicator): Promise<void> {
  const bad: TrainerHook = {
    name: "bad",
    afterBackward({ step }) {
      if (communicator.rank === 0 && step === 3) throw new Error("rank 0 fails");
    },
  };
  await numbersOf(options(communicator, { hooks: [bad] }));
}

/** Mistakes that can be made with several ranks. */
function refuse(communicator: Communicator): void {
  const { rank } = communicator;
  assertThrowsCode(
    () => new Trainer(options(communicator, { model: new ToyModel(VOCAB + rank) })),
    "invalid_value",
    /All ranks must begin with the same model/,
  );
  const exchange = localSteps(communicator, { every: 5 });
  assertThrowsCode(
    () => new Trainer(options(communicator, { exchange })),
    "invalid_option",
    /steps must be a multiple of the exchange's every \(5\), got 24/,
  );
}

type Scenario = (communicator: Communicator, directory: string) => void | Promise<void>;
const scenarios: Record<string, Scenario> = { training, resume, die, goOn, fail, refuse };

if (import.meta.main) {
  const [scenario, directory, timeout = "60"] = process.argv.slice(2);
  using communicator = createCommunicator({ timeoutSeconds: Number(timeout) });
  await scenarios[scenario!]!(communicator, directory!);
  console.log("done");
}
