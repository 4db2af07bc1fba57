// Trains one small transformer in several processes that exchange compressed gradients.
//
//   mpirun -n 4 bun examples/train_distributed.ts [--exchange none|bf16|entropy|adam|local] [--steps N]
//     [--output FOLDER] [--resume] [--text FILE] [--threads N] [--device cpu|cuda] [--quick]
//   mpirun -n 4 deno run --allow-ffi --allow-run=apt-get,dpkg-deb --allow-env --allow-read --allow-write \
//     examples/train_distributed.ts
//
// Open MPI or MPICH starts the processes (apt-get install mpich). On a host with GPUs, start a process
// for each with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT set, as torchrun does, and
// gradients travel over NCCL; with --device cuda the models are on the GPUs as well, and the exchange is
// none or bf16. Started alone, it trains alone.
//
// Every process computes with rows of its own; rank 0 writes checkpoints to the output folder, and
// --resume goes on from the last one, also with another number of processes. Without --text, the text is
// the Jargon File of Debian's archive. Several processes compute with a thread each, one with all.

import { readFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import {
  AdamW,
  averageGradients,
  type Communicator,
  CompressedAdam,
  createCodec,
  createCommunicator,
  ErrorFeedback,
  localSteps,
  setThreads,
  TokenDataset,
  type TrainableData,
  TrainableTransformer,
  Trainer,
  type TrainerHook,
  type TrainerOptions,
} from "tritter-accel";
import { fetchText } from "./train_bitnet/jargon.ts";

const LENGTH = 64;
/** Steps that each rank makes alone with `--exchange local`; checkpoints are at multiples. */
const LOCAL_STEPS = 20;

const { values: options } = parseArgs({
  options: {
    exchange: { type: "string" },
    device: { type: "string", default: "cpu" },
    steps: { type: "string" },
    output: { type: "string" },
    resume: { type: "boolean", default: false },
    text: { type: "string" },
    threads: { type: "string" },
    quick: { type: "boolean", default: false },
  },
});
const steps = Number(options.steps ?? (options.quick ? 40 : 1000));

type Exchange = Pick<TrainerOptions<TrainableData>, "exchange" | "optimizer">;

/** What the processes exchange, from everything to very little. */
const EXCHANGES: Record<string, (communicator: Communicator) => Exchange> = {
  none: () => ({}),
  bf16: (communicator) => ({ exchange: averageGradients(communicator, { wire: "bf16" }) }),
  entropy: (communicator) => ({
    exchange: averageGradients(communicator, {
      codec: new ErrorFeedback(createCodec("entropy", { ratio: 10 })),
      balance: true,
    }),
  }),
  adam(communicator) {
    const optimizer = new CompressedAdam(communicator, {
      warmupSteps: Math.ceil(0.25 * steps),
      warmup: { codec: createCodec("entropy", { ratio: 10 }), balance: true },
      beta2: 0.99,
    });
    return { optimizer, exchange: optimizer.exchange };
  },
  local: (communicator) => ({
    exchange: localSteps(communicator, {
      every: LOCAL_STEPS,
      codec: new ErrorFeedback(createCodec("entropy", { ratio: 25 })),
    }),
  }),
};

/** Rank 0 reads the text; the others get it from there. ASCII characters are ids, all else is one. */
async function shareTokens(communicator: Communicator): Promise<Int32Array> {
  const read = async () =>
    options.text === undefined ? await fetchText() : readFileSync(options.text, "utf8");
  const text = communicator.rank === 0 ? await read() : "";
  const own = Int32Array.from(text, (character) => Math.min(character.charCodeAt(0), 127));
  const length = Float64Array.of(own.length);
  communicator.broadcast(length);
  const tokens = communicator.rank === 0 ? own : new Int32Array(length[0]!);
  communicator.broadcast(tokens);
  return tokens;
}

/** Adds up what is sent. */
class Sent implements TrainerHook {
  readonly name = "sent";
  bytes = 0;

  afterStep({ metrics }: { metrics: Record<string, number> }): void {
    this.bytes += metrics.sentBytes ?? 0;
  }
}

const onGpu = options.device === "cuda";
const exchange = options.exchange ?? (onGpu ? "bf16" : "entropy");
const make = EXCHANGES[exchange];
if (make === undefined) {
  console.error(`error: --exchange must be one of ${Object.keys(EXCHANGES).join(", ")}`);
  process.exit(1);
}
// Whoever dies or hangs, the others end with an error after a minute.
using communicator = createCommunicator({ timeoutSeconds: 60 });
const { rank, size, backend } = communicator;
if (options.threads !== undefined || size > 1) setThreads(Number(options.threads ?? 1));
const tokens = await shareTokens(communicator);
const cut = Math.floor(0.95 * tokens.length);
const start = new TrainableTransformer({
  vocabSize: 128,
  hiddenSize: 96,
  intermediateSize: 256,
  layers: 2,
  heads: 4,
  maxPositions: LENGTH,
}, { seed: 1 });
const model = start.to(onGpu ? `cuda:${Number(process.env.LOCAL_RANK ?? 0)}` : "cpu");
const sent = new Sent();
const trainer = new Trainer<TrainableData>({
  model,
  data: TokenDataset.fromTokens(tokens.subarray(0, cut), LENGTH),
  validation: TokenDataset.fromTokens(tokens.subarray(cut, cut + 200 * LENGTH), LENGTH),
  optimizer: new AdamW({ beta2: 0.99 }),
  learningRate: 2e-3,
  schedule: "cosine",
  warmupSteps: Math.min(50, steps / 2),
  steps,
  batchSize: 4,
  seed: 1,
  communicator,
  hooks: [sent],
  ...(options.output === undefined
    ? {}
    : { checkpointDirectory: options.output, checkpointEvery: 100, resume: options.resume }),
  ...make(communicator),
});
const { loss, validationLoss, seconds } = await trainer.train();
if (rank === 0) {
  const perParameter = sent.bytes / model.parameterCount / steps;
  console.log(`${size} ranks over ${backend}, exchange "${exchange}", ${steps} steps`);
  console.log(`Loss ${loss.toFixed(4)}, validation ${validationLoss!.toFixed(4)} nats a character`);
  console.log(`Each rank sent ${perParameter.toFixed(4)} bytes for each parameter and step`);
  console.error(`${seconds.toFixed(1)} s`);
}
