// The same for data, trainers and their hooks.

import { fileURLToPath } from "node:url";
import * as api from "../mod.ts";
import { ToyModel, ToyOptimizer, toyTokens } from "./toy_model.ts";

const readme = fileURLToPath(new URL("../README.md", import.meta.url));
const tokenizer = await api.Tokenizer.load(
  new URL("../examples/models/bitnet-jargon/", import.meta.url),
);

type Calls = Record<string, () => unknown[]>;

const dataset = () => api.TokenDataset.fromTokens(toyTokens(200, 8, 1), 8);
const phases = () => new api.DeterministicPhaseTrainer([64, 8]);

/** Nothing in it names a file, so that garbage never becomes one. */
const options = () => ({
  model: new ToyModel(8),
  data: dataset(),
  validation: dataset(),
  optimizer: new ToyOptimizer(),
  learningRate: 0.1,
  steps: 3,
  batchSize: 2,
  accumulation: 1,
  clipNorm: 1,
  lossScaling: true,
  seed: 1,
  evaluateEvery: 2,
  hooks: [api.phaseHook(phases())],
});

/** Made with `new` by anybody, and the arguments for it. */
export const TRAINERS: Calls = { Trainer: () => [options()] };

export const VALID_ON_TRAINERS: Calls = {
  splitText: () => ["a\n\nb", { split: "paragraph", minLength: 1 }],
  readDocuments: () => [[readme], { split: "line", minLength: 1 }],
  splitDocuments: () => [["a", "b", "c"], { share: 0.5, seed: 1 }],
  "TokenDataset.fromTokens": () => [toyTokens(200, 8, 1), 8, { shift: true }],
  "TokenDataset.fromRows": () => [[[1, 2, 3], [4, 5, 6]]],
  "TokenDataset.fromTexts":
    () => [["A hacker is a person"], tokenizer, { length: 2, bosTokenId: 0, eosTokenId: 1 }],
  "TokenDataset#batch": () => [3, 2, 1],
  "TokenDataset#inOrder": () => [1, 2],
  drawLossCurve: () => [{ train: [[1, 2], [2, 1]], validation: [[2, 1]], title: "Loss" }],
  phaseHook: () => [phases()],
  codecHook: () => [
    { compress: () => new Uint8Array(1), decompress: () => new Float32Array(1) },
    { seed: 1 },
  ],
};

export const TRAINER_INSTANCES: Record<string, () => unknown> = {
  TokenDataset: dataset,
  Trainer: () => new api.Trainer(options()),
};
