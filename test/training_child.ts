// The run of training_checkpoint_test.ts, also as a program that the test can kill.

import { join } from "node:path";
import process from "node:process";
import { TokenDataset, Trainer, type TrainerHook, type TrainerOptions } from "../mod.ts";
import { ToyModel, ToyOptimizer, toyTokens } from "./toy_model.ts";

const VOCAB = 24;

/** Everything that a checkpoint has to remember: data, momentum, a hook, evaluations. */
export function runOptions(directory: string): TrainerOptions {
  return {
    model: new ToyModel(VOCAB),
    data: TokenDataset.fromTokens(toyTokens(4000, VOCAB, 1), 32),
    validation: TokenDataset.fromTokens(toyTokens(500, VOCAB, 2), 32),
    optimizer: new ToyOptimizer(),
    learningRate: (step) => 0.5 / (1 + step / 50),
    hooks: [noise()],
    steps: 300,
    batchSize: 3,
    accumulation: 2,
    seed: 11,
    evaluateEvery: 16,
    checkpointEvery: 3,
    keepCheckpoints: 2,
    checkpointDirectory: join(directory, "checkpoints"),
    metricsFile: join(directory, "metrics.jsonl"),
    curveFile: join(directory, "curve.svg"),
    resume: true,
  };
}

/** Changes the gradients by what it remembers. */
function noise(): TrainerHook {
  let state = Uint32Array.of(1);
  return {
    name: "noise",
    beforeUpdate({ parameters }) {
      state[0] = Math.imul(state[0]!, 1664525) + 1013904223;
      parameters[0]!.gradient[state[0]! % 100]! += 0.01;
    },
    state: () => ({ arrays: { state } }),
    loadState: ({ arrays }) => void (state = Uint32Array.from(arrays!.state as Uint32Array)),
  };
}

if (import.meta.main) await new Trainer(runOptions(process.argv[2]!)).train();
