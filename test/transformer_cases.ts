// Small transformers for tests of training, and texts for them.

import { TrainableTransformer, type TransformerConfig } from "../mod.ts";
import { seeded } from "./support.ts";

export const BITNET: TransformerConfig = {
  vocabSize: 23,
  hiddenSize: 12,
  intermediateSize: 20,
  layers: 2,
  heads: 3,
  kvHeads: 1,
};
export const LLAMA: TransformerConfig = {
  architecture: "LlamaForCausalLM",
  vocabSize: 19,
  hiddenSize: 10,
  intermediateSize: 17,
  layers: 1,
  heads: 4,
  kvHeads: 2,
  headDim: 6,
  tieWordEmbeddings: false,
  attentionBias: true,
  mlpBias: true,
};

/** Random texts; every fifth target counts for nothing. */
export function texts(
  vocabSize: number,
  [batch, length]: readonly [number, number],
  seed: number,
): { ids: Int32Array; targets: Int32Array } {
  const random = seeded(seed);
  const id = () => Math.floor(random() * vocabSize);
  const ids = Int32Array.from({ length: batch * length }, id);
  const targets = Int32Array.from({ length: batch * length }, (_, i) => i % 5 === 3 ? -100 : id());
  return { ids, targets };
}

/** Weights large enough that every part of the model matters. */
export function makeModel(
  config: TransformerConfig,
  initializerRange = 0.5,
): TrainableTransformer {
  const model = new TrainableTransformer(config, { seed: 5, initializerRange });
  const random = seeded(6);
  for (const { data, shape } of model.parameters) {
    if (shape.length === 1) data.forEach((value, i) => data[i] = value + random() - 0.5);
  }
  return model;
}
