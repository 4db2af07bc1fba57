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
  type Parameter,
  Safetensors,
  Sgd,
  ShardedOptimizer,
  toBf16,
  TokenDataset,
  TrainableBitLinear,
  Trainer,
  type TrainerHook,
  type TrainerOptions,
  type TrainerStep,
} from "../mod.ts";
import { assertSame, assertThrowsCode, randomFloats } from "./support.ts";
import { ToyModel, ToyOptimizer, toyTokens } from "./toy_model.ts";

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
  buckets: (communicator) => ({ exchange: averageGradients(communicator, { bucketBytes: 1000 }) }),
  halfBuckets: (communicator) => ({
    exchange: averageGradients(communicator, { wire: "bf16", bucketBytes: 1000 }),
    accumulation: 2,
    lossScaling: true,
  }),
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

/** Sleeps for a while that no other rank sleeps. */
function dawdle(rank: number): void {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  Atomics.wait(cell, 0, 0, 8 * Math.random() + 4 * (rank % 2));
}

/** A model that tells of its gradients in its own way, at its own time. */
class TellingModel extends ToyModel {
  readonly #rank: number;
  readonly #way: string;
  #calls = 0;

  constructor(rank: number, way: string) {
    super(VOCAB, 1 + rank);
    this.#rank = rank;
    this.#way = way;
  }

  override lossAndGradients(...given: Parameters<ToyModel["lossAndGradients"]>): number {
    const [ids, targets, shape, options] = given;
    const onGradient = options?.onGradient;
    const loss = super.lossAndGradients(ids, targets, shape, { scale: options?.scale });
    this.#calls += 1;
    // The gradients of one rank overflow now and then.
    if (this.#rank === 1 && this.#calls % 7 === 0) this.parameters[1]!.gradient[5] = Infinity;
    if (this.#way === "hangs" && this.#rank === 1) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
      process.exit(3);
    }
    const [first, last] = this.parameters;
    const order = this.#way === "forwards" ? [first!, last!] : [last!, first!];
    for (const parameter of this.#way === "never" ? [] : order) {
      dawdle(this.#rank);
      onGradient?.(parameter);
    }
    return loss;
  }
}

/** A step as an exchange sees it. */
function openStep(parameters: readonly Parameter[]): TrainerStep {
  const flags = { predicted: false, skipped: false };
  return { step: 0, parameters, learningRate: 0.1, loss: 1, metrics: {}, ...flags };
}

/** When a model tells of its gradients changes nothing, also where a rank must leave a step out. */
async function overlap(communicator: Communicator): Promise<void> {
  const { rank } = communicator;
  for (const kind of ["f32", "bf16", "adam"] as const) {
    const wire = kind === "bf16" ? kind : undefined;
    const results: Float64Array[] = [];
    for (const way of ["never", "backwards", "forwards", "backwards"]) {
      const sent: number[] = [];
      const see: TrainerHook = {
        name: "see",
        afterStep: ({ skipped, metrics }) => {
          if (!skipped) sent.push(metrics.sentBytes!);
        },
      };
      const model = new TellingModel(rank, way);
      const warmup = { bucketBytes: 900 };
      const optimizer = new CompressedAdam(communicator, { warmupSteps: 10, warmup });
      const exchange = kind === "adam"
        ? optimizer.exchange
        : averageGradients(communicator, { wire, bucketBytes: 900 });
      // Something is left of a step that failed, on all ranks.
      const { parameters } = new ToyModel(VOCAB, 9 + rank);
      exchange.onGradient!(parameters[1]!, openStep(parameters));
      exchange.onGradient!(parameters[0]!, openStep(parameters));
      const given = options(communicator, {
        model,
        exchange,
        ...(kind === "adam" ? { optimizer } : {}),
        lossScaling: { initialScale: 2 ** 10, growthInterval: 5 },
        hooks: [see],
      });
      results.push(await numbersOf(given));
      // 7, 14 and 21 of the 24 steps are left out, by all.
      const bytes = (wire === undefined ? 4 : 2) * (VOCAB + 1) * VOCAB;
      if (kind !== "adam") assert.deepEqual(sent, new Array(STEPS - 3).fill(bytes), way);
    }
    for (const result of results) assertSame(result, results[0]!);
    assert.ok(results[0]![STEPS - 1]! < results[0]![0]! - 0.2, kind);
  }
}

/** Rank 1 hangs in its backward pass; the others have begun to send, and must notice. */
async function hangInStep(communicator: Communicator): Promise<void> {
  const exchange = averageGradients(communicator, { bucketBytes: 900 });
  const model = new TellingModel(communicator.rank, "hangs");
  const trainer = new Trainer(options(communicator, { model, exchange }));
  await assert.rejects(trainer.train(), { code: "timeout", message: /within 2 s.*died, hangs/ });
  console.error(`rank ${communicator.rank} noticed`);
  process.exit(4);
}

/** One layer's parameters, with weights in bfloat16; ranks begin with others. */
function halfParameters(rank: number): readonly Parameter[] {
  return ["a", "b", "c"].flatMap((name, index) => {
    const layer = new TrainableBitLinear(17, 9 + 4 * index, { name, bias: true, latent: "bf16" });
    layer.weight.data.set(toBf16(randomFloats(layer.weight.data.length, 10 * rank + index)));
    return layer.parameters;
  });
}

/** Parameters in bfloat16 are the same everywhere at first, and after steps that are shared out. */
function halves(communicator: Communicator): void {
  const { rank } = communicator;
  const parameters = halfParameters(rank);
  const begin = (parameters: readonly Parameter[]) => {
    const model = { parameters, lossAndGradients: () => 0, loss: () => 0 };
    return new Trainer(options(communicator, { model }));
  };
  begin(parameters);
  const expected = halfParameters(0);
  const all = [new AdamW({ seed: 7 }), new ShardedOptimizer(communicator, new AdamW({ seed: 7 }))];
  for (let step = 0; step < 5; step += 1) {
    for (const [which, list] of [expected, parameters].entries()) {
      list.forEach(({ gradient }, index) =>
        gradient.set(randomFloats(gradient.length, 100 * step + index))
      );
      all[which]!.step(list, 0.01);
    }
    expected.forEach(({ name, data }, index) => assertSame(parameters[index]!.data, data, name));
  }
  const [alone, shared] = all.map((optimizer) => optimizer.state());
  assert.deepEqual(Object.keys(shared!).sort(), Object.keys(alone!).sort());
  for (const name of Object.keys(alone!)) assertSame(shared![name]!, alone![name]!, name);
  // A rank whose weights are of another type would get words for floats.
  if (communicator.size > 1) {
    const latent = rank === 0 ? "bf16" : "f32";
    const mixed = new TrainableBitLinear(4, 4, { latent }).parameters;
    assertThrowsCode(() => begin(mixed), "invalid_value", /bytes in them/);
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
  const step = openStep(new ToyModel(VOCAB).parameters);
  for (
    const more of [{ bucketBytes: 400 + 4 * rank }, rank === 0 ? {} : { wire: "bf16" as const }]
  ) {
    const exchange = averageGradients(communicator, more);
    assertThrowsCode(
      () => exchange.afterBackward!(step),
      "invalid_value",
      /All ranks must average their gradients in the same way: rank 0 has/,
    );
  }
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
  const uneven = new ShardedOptimizer(communicator, new ToyOptimizer());
  const { parameters } = new ToyModel(VOCAB);
  for (const { gradient } of parameters) gradient.fill(rank);
  uneven.step(parameters, 0.1);
  assertThrowsCode(() => uneven.state(), "unsupported", /names its arrays .* velocity.0/);
}

type Scenario = (communicator: Communicator, directory: string) => void | Promise<void>;
const scenarios: Record<string, Scenario> = {
  ...{ training, resume, die, goOn, fail, refuse, overlap, hangInStep },
  halves,
};

if (import.meta.main) {
  const [scenario, directory, timeout = "60"] = process.argv.slice(2);
  using communicator = createCommunicator({ timeoutSeconds: Number(timeout) });
  await scenarios[scenario!]!(communicator, directory!);
  console.log("done");
}
