// The sizes of a transformer that trains: few have to be given.

import { checkChoice, checkCount, checkFlag, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import type { BitNetQuantization, ModelConfig, RopeConfig } from "../inference/config.ts";

/**
 * What a model to train is made of: the fields of `ModelConfig`, of which the sizes must be given and
 * the others have defaults.
 *
 * The defaults are those of a BitNet model: `BitNetForCausalLM`, as many key and value heads as query
 * heads, heads of `hiddenSize / heads` numbers, `"relu2"` (`"silu"` in `LlamaForCausalLM`), an epsilon
 * of 1e-5, 2048 positions, tied embeddings, no biases, and rotary positions with the base 500,000
 * (10,000 in `LlamaForCausalLM`).
 */
export type TransformerConfig =
  & Pick<ModelConfig, "vocabSize" | "hiddenSize" | "intermediateSize" | "layers" | "heads">
  & Partial<ModelConfig>;

/** Checks a config and fills in the defaults. */
export function completeConfig(given: TransformerConfig): ModelConfig {
  const config = checkOptions(given, "config");
  const architecture = checkChoice<ModelConfig["architecture"]>(
    config.architecture,
    ["BitNetForCausalLM", "LlamaForCausalLM"],
    "architecture",
    "BitNetForCausalLM",
  );
  const bitnet = architecture === "BitNetForCausalLM";
  const hiddenSize = checkCount(config.hiddenSize, "hiddenSize", { min: 1, max: 2 ** 20 });
  const heads = checkCount(config.heads, "heads", { min: 1, max: 2 ** 16 });
  const kvHeads = checkCount(config.kvHeads ?? heads, "kvHeads", { min: 1, max: heads });
  if (heads % kvHeads !== 0) {
    throw tritterError("invalid_value", `kvHeads must divide heads (${heads}), got ${kvHeads}`);
  }
  const headDim = checkCount(config.headDim ?? hiddenSize / heads, "headDim", {
    min: 2,
    max: 2 ** 14,
  });
  if (headDim % 2 !== 0) {
    throw tritterError("invalid_value", `headDim must be even, got ${headDim}`);
  }
  if (bitnet && heads * headDim !== hiddenSize) {
    throw tritterError(
      "invalid_value",
      `headDim must be ${hiddenSize / heads}, which the norm after attention needs, got ${headDim}`,
    );
  }
  const maxPositions = checkCount(config.maxPositions ?? 2048, "maxPositions", {
    min: 1,
    max: 2 ** 20,
  });
  const quantization = config.quantization;
  if (quantization?.useRmsNorm === true) {
    throw tritterError(
      "unsupported",
      "quantization.useRmsNorm must be false: linear layers with norms of their own do not train",
    );
  }
  return Object.freeze({
    architecture,
    vocabSize: checkCount(config.vocabSize, "vocabSize", { min: 1, max: 2 ** 24 }),
    hiddenSize,
    intermediateSize: checkCount(config.intermediateSize, "intermediateSize", {
      min: 1,
      max: 2 ** 22,
    }),
    layers: checkCount(config.layers, "layers", { min: 1, max: 2 ** 12 }),
    heads,
    kvHeads,
    headDim,
    activation: checkChoice<ModelConfig["activation"]>(
      config.activation,
      ["relu2", "silu"],
      "activation",
      bitnet ? "relu2" : "silu",
    ),
    rmsNormEps: checkNumber(config.rmsNormEps ?? 1e-5, "rmsNormEps", { min: 0 }),
    maxPositions,
    tieWordEmbeddings: checkFlag(config.tieWordEmbeddings ?? true, "tieWordEmbeddings"),
    attentionBias: checkFlag(config.attentionBias ?? false, "attentionBias"),
    mlpBias: checkFlag(config.mlpBias ?? false, "mlpBias"),
    rope: completeRope(config.rope, maxPositions, bitnet ? 500_000 : 10_000),
    quantization: Object.freeze<BitNetQuantization>(
      quantization ??
        { linearClass: "autobitlinear", mode: "offline", useRmsNorm: false, rmsNormEps: 1e-6 },
    ),
    bosTokenId: config.bosTokenId ?? null,
    eosTokenIds: Object.freeze([...config.eosTokenIds ?? []]),
  });
}

function completeRope(
  rope: RopeConfig | undefined,
  maxPositions: number,
  theta: number,
): RopeConfig {
  if (rope === undefined) {
    return Object.freeze({
      type: "default",
      theta,
      factor: 1,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositions: maxPositions,
    });
  }
  checkOptions(rope, "rope");
  checkChoice(rope.type, ["default", "linear", "llama3"], "rope.type", "default");
  checkNumber(rope.theta, "rope.theta", { min: 1e-30 });
  checkNumber(rope.factor, "rope.factor", { min: 1e-30 });
  return Object.freeze({ ...rope });
}
