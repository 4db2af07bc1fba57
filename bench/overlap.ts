// What it saves to send gradients during the backward pass: the second part of bench/distributed.md.
//
//   mpirun -n 2 bun bench/overlap.ts [--rounds 20] [--tokens 128] [--wire bf16]
//
// Steps of either kind, one after the other, on one thread for each rank; the slowest rank counts. Rank 0
// prints medians in milliseconds: of the gradients alone, of the exchange alone, and of both.

import process from "node:process";
import { parseArgs } from "node:util";
import {
  averageGradients,
  createCommunicator,
  setThreads,
  TrainableTransformer,
  type TrainerStep,
} from "../mod.ts";

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    rounds: { type: "string", default: "20" },
    tokens: { type: "string", default: "128" },
    wire: { type: "string" },
  },
});
const WARMUP = 2;
const SIZES = { vocabSize: 4096, hiddenSize: 512, intermediateSize: 1536, layers: 4, heads: 8 };

setThreads(1);
using communicator = createCommunicator();
const { rank, size } = communicator;
const model = new TrainableTransformer(SIZES, { seed: 1 });
const { parameters } = model;
const length = Number(values.tokens);
const ids = Int32Array.from({ length }, (_, index) => (rank + 7 * index) % SIZES.vocabSize);
const exchange = averageGradients(communicator, values.wire === "bf16" ? { wire: "bf16" } : {});
const step: TrainerStep = {
  ...{ step: 0, learningRate: 0, loss: 0, predicted: false, skipped: false, metrics: {} },
  parameters,
};

const kinds: Record<string, () => void> = {
  gradients: () => {
    model.lossAndGradients(ids, ids, [1, length]);
  },
  exchange: () => exchange.afterBackward!(step),
  apart: () => {
    model.lossAndGradients(ids, ids, [1, length]);
    exchange.afterBackward!(step);
  },
  overlapped: () => {
    model.lossAndGradients(ids, ids, [1, length], {
      onGradient: (parameter) => exchange.onGradient!(parameter, step),
    });
    exchange.afterBackward!(step);
  },
};
const times: Record<string, number[]> = {};
for (let round = -WARMUP; round < Number(values.rounds); round += 1) {
  for (const [kind, run] of Object.entries(kinds)) {
    for (const { gradient } of parameters) gradient.fill(0);
    communicator.barrier();
    const begun = performance.now();
    run();
    const slowest = Float64Array.of(performance.now() - begun);
    communicator.allReduce(slowest, { operation: "max" });
    if (round >= 0) (times[kind] ??= []).push(slowest[0]!);
  }
}
const median = (list: number[]) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
const medians = Object.entries(times).map((
  [kind, list],
) => [kind, Number(median(list).toFixed(1))]);
if (rank === 0) {
  const { parameterCount } = model;
  console.log(JSON.stringify({ ranks: size, parameterCount, ...Object.fromEntries(medians) }));
}
