// A BitNet model in plain float64 loops: slow, and short enough to compare with the papers.

import type { MadeModel } from "./make_model.ts";

/** Returns the logits after each token, [ids.length, vocab]. */
export function referenceLogits(model: MadeModel, ids: number[]): Float64Array {
  const { recipe, values } = model;
  const { hidden, layers, vocab } = recipe;
  const embed = values.get("model.embed_tokens.weight")!;
  const head = recipe.tied ? embed : values.get("lm_head.weight")!;
  let states: Float64Array[] = ids.map((id) => embed.slice(id * hidden, (id + 1) * hidden));
  for (let layer = 0; layer < layers; layer++) states = decoderLayer(model, layer, states);
  const logits = new Float64Array(ids.length * vocab);
  states.forEach((state, token) => {
    const normed = rmsNorm(state, values.get("model.norm.weight")!, 1e-5);
    for (let id = 0; id < vocab; id++) {
      let sum = 0;
      for (let col = 0; col < hidden; col++) sum += normed[col]! * head[id * hidden + col]!;
      logits[token * vocab + id] = sum;
    }
  });
  return logits;
}

function decoderLayer(model: MadeModel, layer: number, states: Float64Array[]): Float64Array[] {
  const { recipe, values } = model;
  const prefix = `model.layers.${layer}`;
  const weight = (name: string) => values.get(`${prefix}.${name}.weight`)!;
  const normed = states.map((state) => rmsNorm(state, weight("input_layernorm"), 1e-5));
  const attended = attention(model, prefix, normed);
  return states.map((state, token) => {
    let mixed: Float64Array = attended[token]!;
    if (recipe.architecture === "BitNetForCausalLM") {
      mixed = rmsNorm(mixed, weight("self_attn.attn_sub_norm"), 1e-5);
    }
    const middle = add(state, linear(model, `${prefix}.self_attn.o_proj`, mixed));
    const input = rmsNorm(middle, weight("post_attention_layernorm"), 1e-5);
    const up = linear(model, `${prefix}.mlp.up_proj`, input);
    let inner: Float64Array = linear(model, `${prefix}.mlp.gate_proj`, input).map((gate, index) =>
      (recipe.activation === "relu2" ? Math.max(gate, 0) ** 2 : gate / (1 + Math.exp(-gate))) *
      up[index]!
    );
    if (recipe.architecture === "BitNetForCausalLM") {
      inner = rmsNorm(inner, weight("mlp.ffn_sub_norm"), 1e-5);
    }
    return add(middle, linear(model, `${prefix}.mlp.down_proj`, inner));
  });
}

function attention(model: MadeModel, prefix: string, inputs: Float64Array[]): Float64Array[] {
  const { heads, kvHeads, headDim } = model.recipe;
  const project = (name: string) =>
    inputs.map((input) => linear(model, `${prefix}.self_attn.${name}`, input));
  const queries = project("q_proj").map((query, token) => rotate(model, query, token));
  const keys = project("k_proj").map((key, token) => rotate(model, key, token));
  const values = project("v_proj");
  return queries.map((query, token) => {
    const output = new Float64Array(heads * headDim);
    for (let head = 0; head < heads; head++) {
      const shared = Math.floor(head / (heads / kvHeads)) * headDim;
      const scores = [];
      for (let past = 0; past <= token; past++) {
        let dot = 0;
        for (let i = 0; i < headDim; i++) {
          dot += query[head * headDim + i]! * keys[past]![shared + i]!;
        }
        scores.push(dot / Math.sqrt(headDim));
      }
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((a, b) => a + b);
      weights.forEach((weight, past) => {
        for (let i = 0; i < headDim; i++) {
          output[head * headDim + i]! += weight / total * values[past]![shared + i]!;
        }
      });
    }
    return output;
  });
}

/** Rotates pairs (i, i + headDim / 2) of every head by position times frequency. */
function rotate(model: MadeModel, vector: Float64Array, position: number): Float64Array {
  const { headDim } = model.recipe;
  const half = headDim / 2;
  return vector.map((value, index) => {
    const place = index % headDim;
    const angle = position * frequency(model, place % half);
    const other = place < half ? -vector[index + half]! : vector[index - half]!;
    return value * Math.cos(angle) + other * Math.sin(angle);
  });
}

function frequency(model: MadeModel, index: number): number {
  const rope = model.recipe.rope as Record<string, number> & { rope_type: string };
  const plain = rope.rope_theta! ** (-2 * index / model.recipe.headDim);
  if (rope.rope_type === "linear") return plain / rope.factor!;
  if (rope.rope_type !== "llama3") return plain;
  const turns = rope.original_max_position_embeddings! * plain / (2 * Math.PI);
  const blend = (turns - rope.low_freq_factor!) / (rope.high_freq_factor! - rope.low_freq_factor!);
  const kept = Math.min(1, Math.max(0, blend));
  return plain * kept + plain / rope.factor! * (1 - kept);
}

/** A linear layer with int8 activations and ternary weights, as BitLinear and AutoBitLinear do. */
function linear(model: MadeModel, name: string, input: Float64Array): Float64Array {
  const { values, recipe } = model;
  const own = values.get(`${name}.rms_norm.weight`);
  const normed = own ? rmsNorm(input, own, 1e-6) : input;
  const largest = normed.reduce((max, value) => Math.max(max, Math.abs(value)), 1e-5);
  const quantized = normed.map((value) => roundToEven(value * 127 / largest));
  let weights = values.get(`${name}.weight`)!;
  const scale = values.get(`${name}.weight_scale`)?.[0];
  let factor = scale === undefined ? 1 : recipe.linearClass === "bitlinear" ? 1 / scale : scale;
  if (scale === undefined) {
    factor = Math.max(1e-5, weights.reduce((sum, w) => sum + Math.abs(w), 0) / weights.length);
    const mean = factor;
    weights = weights.map((w) => Math.max(-1, Math.min(1, roundToEven(w / mean))));
  }
  const bias = values.get(`${name}.bias`);
  const biasFactor = scale !== undefined && recipe.linearClass === "autobitlinear" ? scale : 1;
  const output = new Float64Array(weights.length / input.length);
  for (let row = 0; row < output.length; row++) {
    let sum = 0;
    for (let col = 0; col < input.length; col++) {
      sum += weights[row * input.length + col]! * quantized[col]!;
    }
    output[row] = sum * largest / 127 * factor + (bias ? bias[row]! * biasFactor : 0);
  }
  return output;
}

function roundToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

function rmsNorm(input: Float64Array, weight: Float64Array, epsilon: number): Float64Array {
  const mean = input.reduce((sum, value) => sum + value * value, 0) / input.length;
  return input.map((value, index) => value / Math.sqrt(mean + epsilon) * weight[index]!);
}

function add(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, index) => value + b[index]!);
}
