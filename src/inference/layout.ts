// The tensors of a model by name: what a file must hold, and what each is for.

import type { ModelConfig } from "./config.ts";

/** What a tensor is for; the native library numbers its roles the same way. */
export const ROLES = {
  embed: 0,
  head: 1,
  final_norm: 2,
  input_norm: 3,
  post_norm: 4,
  attn_sub_norm: 5,
  ffn_sub_norm: 6,
  q: 10,
  k: 11,
  v: 12,
  o: 13,
  gate: 14,
  up: 15,
  down: 16,
} as const;

/** A bias or a norm of a linear layer has the role of the layer plus this. */
export const BIAS = 10;
/** See {@linkcode BIAS}. */
export const INPUT_NORM = 20;

/** A tensor that a file must hold. */
export interface TensorSpec {
  /** Name in the file. */
  readonly name: string;
  /** Number of the role. */
  readonly role: number;
  /** Number of the layer, 0 where there is none. */
  readonly layer: number;
  /** Rows; 1 for a vector. */
  readonly rows: number;
  /** Columns, or the length of a vector. */
  readonly cols: number;
  /** A 16 or 32-bit table, a vector, or a linear layer with its companions. */
  readonly kind: "table" | "vector" | "linear";
}

/** Lists every tensor of a model, linear layers before their biases. */
export function modelTensors(
  config: ModelConfig,
  tables: { embed: string; head: string | null },
): TensorSpec[] {
  const { hiddenSize: hidden, vocabSize: vocab } = config;
  const specs: TensorSpec[] = [
    { name: tables.embed, role: ROLES.embed, layer: 0, rows: vocab, cols: hidden, kind: "table" },
  ];
  if (tables.head !== null) {
    specs.push(
      { name: tables.head, role: ROLES.head, layer: 0, rows: vocab, cols: hidden, kind: "table" },
    );
  }
  for (let layer = 0; layer < config.layers; layer += 1) specs.push(...layerTensors(config, layer));
  specs.push(vector("model.norm.weight", ROLES.final_norm, 0, hidden));
  return specs;
}

function layerTensors(config: ModelConfig, layer: number): TensorSpec[] {
  const { hiddenSize: hidden, intermediateSize: inner, attentionBias, mlpBias } = config;
  const queries = config.heads * config.headDim;
  const keys = config.kvHeads * config.headDim;
  const prefix = `model.layers.${layer}`;
  const linear = (name: string, role: number, rows: number, cols: number, bias: boolean) => {
    const path = `${prefix}.${name}`;
    const specs: TensorSpec[] = [
      { name: `${path}.weight`, role, layer, rows, cols, kind: "linear" },
    ];
    if (bias) specs.push(vector(`${path}.bias`, role + BIAS, layer, rows));
    if (config.quantization.useRmsNorm) {
      specs.push(vector(`${path}.rms_norm.weight`, role + INPUT_NORM, layer, cols));
    }
    return specs;
  };
  const specs = [
    vector(`${prefix}.input_layernorm.weight`, ROLES.input_norm, layer, hidden),
    ...linear("self_attn.q_proj", ROLES.q, queries, hidden, attentionBias),
    ...linear("self_attn.k_proj", ROLES.k, keys, hidden, attentionBias),
    ...linear("self_attn.v_proj", ROLES.v, keys, hidden, attentionBias),
    ...linear("self_attn.o_proj", ROLES.o, hidden, queries, attentionBias),
    vector(`${prefix}.post_attention_layernorm.weight`, ROLES.post_norm, layer, hidden),
    ...linear("mlp.gate_proj", ROLES.gate, inner, hidden, mlpBias),
    ...linear("mlp.up_proj", ROLES.up, inner, hidden, mlpBias),
    ...linear("mlp.down_proj", ROLES.down, hidden, inner, mlpBias),
  ];
  if (config.architecture === "BitNetForCausalLM") {
    specs.push(
      vector(`${prefix}.self_attn.attn_sub_norm.weight`, ROLES.attn_sub_norm, layer, hidden),
      vector(`${prefix}.mlp.ffn_sub_norm.weight`, ROLES.ffn_sub_norm, layer, inner),
    );
  }
  return specs;
}

function vector(name: string, role: number, layer: number, length: number): TensorSpec {
  return { name, role, layer, rows: 1, cols: length, kind: "vector" };
}

/** Returns how many numbers a model holds, packed or not. */
export function countParameters(specs: readonly TensorSpec[]): number {
  return specs.reduce((sum, spec) => sum + spec.rows * spec.cols, 0);
}
