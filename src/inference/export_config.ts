// A model's config as the JSON files of a Hugging Face directory: the way back of config.ts.

import type { ModelConfig, RopeConfig } from "./config.ts";

type Json = Record<string, unknown>;

/** The contents of config.json. */
export function configJson(config: ModelConfig, dtype: string): Json {
  const bitnet = config.architecture === "BitNetForCausalLM";
  const { quantization: { linearClass, mode, useRmsNorm, rmsNormEps } } = config;
  return {
    architectures: [config.architecture],
    model_type: bitnet ? "bitnet" : "llama",
    dtype,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    // BitNet's head size is always the hidden size over the heads; its config has no such field.
    ...(bitnet ? {} : { head_dim: config.headDim }),
    hidden_act: config.activation,
    max_position_embeddings: config.maxPositions,
    rms_norm_eps: config.rmsNormEps,
    tie_word_embeddings: config.tieWordEmbeddings,
    attention_bias: config.attentionBias,
    ...(bitnet ? {} : { mlp_bias: config.mlpBias }),
    // Newer versions of transformers read the one, older ones the other.
    rope_parameters: ropeJson(config.rope),
    rope_theta: config.rope.theta,
    ...tokenJson(config),
    pad_token_id: null,
    use_cache: true,
    quantization_config: {
      quant_method: "bitnet",
      linear_class: linearClass,
      quantization_mode: mode,
      ...(useRmsNorm ? { use_rms_norm: true, rms_norm_eps: rmsNormEps } : {}),
    },
  };
}

/** The contents of generation_config.json. */
export function generationJson(config: ModelConfig): Json {
  return { _from_model_config: true, ...tokenJson(config) };
}

function tokenJson({ bosTokenId, eosTokenIds }: ModelConfig): Json {
  const [first = null] = eosTokenIds;
  return {
    bos_token_id: bosTokenId,
    eos_token_id: eosTokenIds.length > 1 ? [...eosTokenIds] : first,
  };
}

function ropeJson(rope: RopeConfig): Json {
  const { type, theta, factor } = rope;
  const json: Json = { rope_type: type, rope_theta: theta };
  if (type !== "default") json.factor = factor;
  if (type === "llama3") {
    json.low_freq_factor = rope.lowFreqFactor;
    json.high_freq_factor = rope.highFreqFactor;
    json.original_max_position_embeddings = rope.originalMaxPositions;
  }
  return json;
}
