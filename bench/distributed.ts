// What compressed exchanges cost in validation loss, and what they send: the trial of bench/distributed.md.
//
//   mpirun -n 4 bun bench/distributed.ts [--only NAME,NAME] [--seeds 1,2,3] [--steps 800] [--write]
//
// Every rank computes; rank 0 keeps the results in bench/distributed.json, where runs that are done are
// not made again, and with --write makes the report and its picture of them. The text is the Jargon File
// of Debian's archive, by characters.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { fetchText } from "../examples/train_bitnet/jargon.ts";
import {
  type Communicator,
  createCommunicator,
  setThreads,
  TokenDataset,
  TrainableTransformer,
  Trainer,
} from "../mod.ts";
import { METHODS } from "./report/distributed_methods.ts";
import { drawTrial, type Run, writeTrial } from "./report/distributed_trial.ts";

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url));
const RESULTS = here("./distributed.json");
const LENGTH = 64;
const ROWS = 4;
const VALIDATION_SHARE = 0.05;
/** The best of 1e-3, 2e-3 and 4e-3 for the uncompressed run. */
const LEARNING_RATE = 2e-3;

/** The characters of a text as ids: what is not ASCII is one id of its own. */
function tokensOf(text: string): Int32Array<ArrayBuffer> {
  return Int32Array.from(text, (character) => {
    const code = character.charCodeAt(0);
    return code >= 32 && code < 127 ? code - 31 : code === 10 ? 0 : 96;
  });
}

/** Rank 0 has the text and gives it to the others. */
async function shareTokens(communicator: Communicator): Promise<Int32Array> {
  const own = communicator.rank === 0 ? tokensOf(await fetchText()) : new Int32Array(0);
  const length = Float64Array.of(own.length);
  communicator.broadcast(length);
  const tokens = communicator.rank === 0 ? own : new Int32Array(length[0]!);
  communicator.broadcast(tokens);
  return tokens;
}

interface Trial {
  readonly communicator: Communicator;
  readonly data: TokenDataset;
  readonly validation: TokenDataset;
  readonly steps: number;
}

async function run(trial: Trial, name: string, seed: number): Promise<Run> {
  const { communicator, data, validation, steps } = trial;
  const model = new TrainableTransformer({
    vocabSize: 97,
    hiddenSize: 96,
    intermediateSize: 256,
    layers: 2,
    heads: 4,
    maxPositions: LENGTH,
  }, { seed });
  const sent = new Float64Array(steps);
  const adam = { beta1: 0.9, beta2: 0.99, weightDecay: 0.01 };
  const { learningRate = LEARNING_RATE, make } = METHODS[name]!;
  const { optimizer, exchange } = make(communicator, {
    adam,
    steps,
    seed,
  });
  const trainer = new Trainer({
    model,
    data,
    validation,
    communicator,
    optimizer,
    exchange,
    hooks: [{
      name: "sent",
      afterStep: ({ metrics, step }) => void (sent[step] = metrics.sentBytes ?? 0),
    }],
    learningRate,
    schedule: "cosine",
    warmupSteps: 50,
    minLearningRate: learningRate / 10,
    steps,
    batchSize: ROWS,
    evaluationBatchSize: 16,
    seed,
    progress: false,
  });
  const { validationLoss, seconds } = await trainer.train();
  const perStep = (part: Float64Array) =>
    part.reduce((sum, bytes) => sum + bytes, 0) / part.length /
    model.parameterCount;
  return {
    name,
    seed,
    steps,
    ranks: communicator.size,
    parameters: model.parameterCount,
    tokens: steps * communicator.size * ROWS * LENGTH,
    validationLoss: validationLoss!,
    bytes: perStep(sent),
    // What a long run would come to, whose warm-up hardly counts.
    laterBytes: perStep(sent.subarray(Math.floor(steps / 2))),
    seconds,
  };
}

function readRuns(): Run[] {
  return existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, "utf8")) : [];
}

/** What rank 0 knows to be done already, as all must agree on it. */
function isDone(
  communicator: Communicator,
  runs: readonly Run[],
  wanted: Partial<Run>,
): boolean {
  const { name, seed, steps } = wanted;
  const found = runs.some((run) => run.name === name && run.seed === seed && run.steps === steps);
  const done = Int32Array.of(Number(found));
  communicator.broadcast(done);
  return done[0] === 1;
}

async function measure(
  names: readonly string[],
  seeds: readonly number[],
  steps: number,
) {
  using communicator = createCommunicator();
  setThreads(1);
  const tokens = await shareTokens(communicator);
  const cut = Math.floor(tokens.length * (1 - VALIDATION_SHARE));
  const trial: Trial = {
    communicator,
    steps,
    data: TokenDataset.fromTokens(tokens.subarray(0, cut), LENGTH),
    validation: TokenDataset.fromTokens(
      tokens.subarray(cut, cut + 512 * LENGTH + 1),
      LENGTH,
      {
        shift: false,
      },
    ),
  };
  for (const seed of seeds) {
    for (const name of names) {
      if (isDone(communicator, readRuns(), { name, seed, steps })) continue;
      const result = await run(trial, name, seed);
      if (communicator.rank > 0) continue;
      console.log(
        `${name}, seed ${seed}: ${result.validationLoss.toFixed(4)} nats, ` +
          `${result.bytes.toFixed(4)} bytes, ${result.seconds.toFixed(0)} s`,
      );
      writeFileSync(
        RESULTS,
        JSON.stringify([...readRuns(), result], null, 2) + "\n",
      );
    }
  }
  return communicator.rank;
}

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    seeds: { type: "string", default: "1,2,3" },
    steps: { type: "string", default: "800" },
    write: { type: "boolean", default: false },
  },
});
const names = values.only?.split(",") ?? Object.keys(METHODS);
const steps = Number(values.steps);
const rank = await measure(names, values.seeds.split(",").map(Number), steps);
if (values.write && rank === 0) {
  const runs = readRuns().filter((run) => run.steps === steps);
  writeFileSync(here("./distributed.md"), writeTrial(runs));
  writeFileSync(here("./distributed.svg"), drawTrial(runs));
}
process.exitCode = 0;
