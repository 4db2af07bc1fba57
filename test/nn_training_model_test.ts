// A whole model that trains, against the same model on a tape and against the model for inference.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  AdamW,
  getThreads,
  setThreads,
  TrainableTransformer,
  type TransformerConfig,
} from "../mod.ts";
import { Tape } from "./gradient_tape.ts";
import { assertSame, onEveryTier, seeded } from "./support.ts";
import { modelLoss } from "./training_reference.ts";

const BITNET: TransformerConfig = {
  vocabSize: 23,
  hiddenSize: 12,
  intermediateSize: 20,
  layers: 2,
  heads: 3,
  kvHeads: 1,
};
const LLAMA: TransformerConfig = {
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
function texts(vocabSize: number, [batch, length]: readonly [number, number], seed: number) {
  const random = seeded(seed);
  const id = () => Math.floor(random() * vocabSize);
  const ids = Int32Array.from({ length: batch * length }, id);
  const targets = Int32Array.from({ length: batch * length }, (_, i) => i % 5 === 3 ? -100 : id());
  return { ids, targets };
}

/** Weights large enough that every part of the model matters. */
function makeModel(config: TransformerConfig): TrainableTransformer {
  const model = new TrainableTransformer(config, { seed: 5, initializerRange: 0.5 });
  const random = seeded(6);
  for (const { data, shape } of model.parameters) {
    if (shape.length === 1) data.forEach((value, i) => data[i] = value + random() - 0.5);
  }
  return model;
}

function gradientsOf(model: TrainableTransformer): Map<string, Float32Array> {
  return new Map(model.parameters.map(({ name, gradient }) => [name, gradient.slice()]));
}

function clearGradients(model: TrainableTransformer): void {
  for (const { gradient } of model.parameters) gradient.fill(0);
}

describe("a model that trains", () => {
  for (const config of [BITNET, LLAMA]) {
    it(`has the loss and the gradients of a tape: ${config.architecture ?? "BitNet"}`, () => {
      const model = makeModel(config);
      const shape = [2, 7] as const;
      const { ids, targets } = texts(config.vocabSize, shape, 1);
      const tape = new Tape();
      const nodes = new Map(model.parameters.map(({ name, data }) => [name, tape.inputs(data)]));
      const loss = modelLoss(tape, model.config, nodes, ids, targets, shape);
      const gradients = tape.gradientsOf(loss);
      onEveryTier((label) => {
        clearGradients(model);
        const scale = 3;
        const actual = model.lossAndGradients(ids, targets, shape, { scale });
        assert.ok(Math.abs(actual - tape.at(loss)) < 2e-6 * tape.at(loss), `${label}: ${actual}`);
        assert.equal(model.loss(ids, targets, shape), actual);
        for (const { name, gradient } of model.parameters) {
          const expected = gradients(nodes.get(name)!);
          const largest = Math.max(...expected.map(Math.abs));
          expected.forEach((value, i) => {
            // A few hundred roundings of 2^-24 each, of terms as large as the largest gradient.
            const error = Math.abs(gradient[i]! / scale - value);
            assert.ok(error < 2e-5 * largest, `${label}: ${name}[${i}] is off by ${error}`);
          });
        }
      });
    });
  }
});
void [AdamW, getThreads, setThreads, assertSame, gradientsOf];
