// Writes small BitNet models with random weights, every variant of the format that models come in.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seeded } from "./support.ts";

/** The floating-point types of model files. */
export type FloatType = "F32" | "F16" | "BF16";

/** A tensor as a file holds it. */
export interface StoredTensor {
  dtype: string;
  shape: number[];
  bytes: Uint8Array;
}

/** What to make; everything has a small default. */
export interface Recipe {
  architecture?: "BitNetForCausalLM" | "LlamaForCausalLM";
  hidden?: number;
  intermediate?: number;
  layers?: number;
  heads?: number;
  kvHeads?: number;
  headDim?: number;
  vocab?: number;
  tied?: boolean;
  float?: FloatType;
  linearClass?: "autobitlinear" | "bitlinear";
  mode?: "offline" | "online";
  /** How linear weights are stored: two bits, int8, floats that are trits, floats of any value. */
  weights?: "packed" | "int8" | "trits" | "floats";
  useRmsNorm?: boolean;
  attentionBias?: boolean;
  mlpBias?: boolean;
  activation?: "relu2" | "silu";
  rope?: Record<string, unknown>;
  config?: Record<string, unknown>;
  seed?: number;
}

/** A model in memory: what is written, and what the numbers mean. */
export interface MadeModel {
  recipe: Required<Recipe>;
  config: Record<string, unknown>;
  tensors: Map<string, StoredTensor>;
  /** The numbers of every tensor; of a linear layer its trits or floats, unscaled. */
  values: Map<string, Float64Array>;
}

/** Makes a model. */
export function makeModel(given: Recipe = {}): MadeModel {
  const bitnet = (given.architecture ?? "BitNetForCausalLM") === "BitNetForCausalLM";
  const hidden = given.hidden ?? 48;
  const heads = given.heads ?? 4;
  const recipe: Required<Recipe> = {
    architecture: "BitNetForCausalLM",
    hidden,
    intermediate: 72,
    layers: 2,
    heads,
    kvHeads: 2,
    headDim: hidden / heads,
    vocab: 97,
    tied: false,
    float: "F32",
    linearClass: "autobitlinear",
    mode: "offline",
    weights: "packed",
    useRmsNorm: false,
    attentionBias: false,
    mlpBias: false,
    activation: bitnet ? "relu2" : "silu",
    rope: { rope_type: "default", rope_theta: 10_000 },
    config: {},
    seed: 1,
    ...given,
  };
  const made: MadeModel = {
    recipe,
    config: { ...configOf(recipe), ...recipe.config },
    tensors: new Map(),
    values: new Map(),
  };
  fill(made);
  return made;
}

function configOf(recipe: Required<Recipe>): Record<string, unknown> {
  return {
    architectures: [recipe.architecture],
    vocab_size: recipe.vocab,
    hidden_size: recipe.hidden,
    intermediate_size: recipe.intermediate,
    num_hidden_layers: recipe.layers,
    num_attention_heads: recipe.heads,
    num_key_value_heads: recipe.kvHeads,
    head_dim: recipe.headDim,
    hidden_act: recipe.activation,
    max_position_embeddings: 128,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: recipe.tied,
    attention_bias: recipe.attentionBias,
    mlp_bias: recipe.mlpBias,
    rope_parameters: recipe.rope,
    bos_token_id: 0,
    eos_token_id: 1,
    quantization_config: {
      quant_method: "bitnet",
      linear_class: recipe.linearClass,
      quantization_mode: recipe.mode,
      use_rms_norm: recipe.useRmsNorm,
      rms_norm_eps: 1e-6,
    },
  };
}

function fill(made: MadeModel): void {
  const { recipe, tensors, values } = made;
  const draw = seeded(recipe.seed);
  const store = (name: string, shape: number[], make: () => number) => {
    const drawn = Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, make);
    const { bytes, numbers } = encode(drawn, recipe.float);
    values.set(name, numbers);
    tensors.set(name, { dtype: recipe.float, shape, bytes });
  };
  const normal = () => draw() + draw() + draw() - 1.5;
  // A few numbers are so small that half precision has no full digits for them.
  const table = () => normal() * (draw() < 0.01 ? 1e-6 : 1);
  const norm = () => 0.75 + draw() / 2;
  const linear = (name: string, rows: number, cols: number, bias: boolean) => {
    const scale = (0.5 + draw()) / Math.sqrt(cols);
    if (recipe.weights === "floats") {
      store(`${name}.weight`, [rows, cols], normal);
    } else {
      const trits = Float64Array.from({ length: rows * cols }, () => Math.floor(draw() * 3) - 1);
      values.set(`${name}.weight`, trits);
      tensors.set(`${name}.weight`, tritTensor(trits, rows, cols, recipe));
    }
    if (recipe.mode === "offline" && recipe.weights !== "floats") {
      store(
        `${name}.weight_scale`,
        [1],
        () => recipe.linearClass === "bitlinear" ? 1 / scale : scale,
      );
    }
    if (bias) store(`${name}.bias`, [rows], normal);
    if (recipe.useRmsNorm) store(`${name}.rms_norm.weight`, [cols], norm);
  };
  const { hidden, intermediate, attentionBias, mlpBias } = recipe;
  store("model.embed_tokens.weight", [recipe.vocab, hidden], table);
  if (!recipe.tied) store("lm_head.weight", [recipe.vocab, hidden], table);
  for (let layer = 0; layer < recipe.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    const queries = recipe.heads * recipe.headDim;
    const keys = recipe.kvHeads * recipe.headDim;
    store(`${prefix}.input_layernorm.weight`, [hidden], norm);
    store(`${prefix}.post_attention_layernorm.weight`, [hidden], norm);
    linear(`${prefix}.self_attn.q_proj`, queries, hidden, attentionBias);
    linear(`${prefix}.self_attn.k_proj`, keys, hidden, attentionBias);
    linear(`${prefix}.self_attn.v_proj`, keys, hidden, attentionBias);
    linear(`${prefix}.self_attn.o_proj`, hidden, queries, attentionBias);
    linear(`${prefix}.mlp.gate_proj`, intermediate, hidden, mlpBias);
    linear(`${prefix}.mlp.up_proj`, intermediate, hidden, mlpBias);
    linear(`${prefix}.mlp.down_proj`, hidden, intermediate, mlpBias);
    if (recipe.architecture === "BitNetForCausalLM") {
      store(`${prefix}.self_attn.attn_sub_norm.weight`, [hidden], norm);
      store(`${prefix}.mlp.ffn_sub_norm.weight`, [intermediate], norm);
    }
  }
  store("model.norm.weight", [hidden], norm);
}

/** Stores trits in the recipe's way; packed, byte (p, c) holds rows p, p + n, p + 2n, p + 3n. */
function tritTensor(
  trits: Float64Array,
  rows: number,
  cols: number,
  recipe: Required<Recipe>,
): StoredTensor {
  if (recipe.weights === "trits") {
    return { dtype: recipe.float, shape: [rows, cols], bytes: encode(trits, recipe.float).bytes };
  }
  if (recipe.weights === "int8") {
    return {
      dtype: "I8",
      shape: [rows, cols],
      bytes: new Uint8Array(Int8Array.from(trits).buffer),
    };
  }
  const quarter = rows / 4;
  const bytes = new Uint8Array(quarter * cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      bytes[(row % quarter) * cols + col]! |= (trits[row * cols + col]! + 1) <<
        (2 * Math.floor(row / quarter));
    }
  }
  return { dtype: "U8", shape: [quarter, cols], bytes };
}

/** Rounds numbers to a type; returns the bytes, and the numbers that they stand for. */
function encode(
  exact: Float64Array,
  type: FloatType,
): { bytes: Uint8Array; numbers: Float64Array } {
  const floats = Float32Array.from(exact);
  if (type === "F32") {
    return { bytes: new Uint8Array(floats.buffer), numbers: Float64Array.from(floats) };
  }
  if (type === "F16") {
    const bits = Uint16Array.from(floats, float16Bits);
    return { bytes: new Uint8Array(bits.buffer), numbers: Float64Array.from(bits, float16Value) };
  }
  // A bfloat16 is the upper half of a float32; cutting the rest off is rounding enough here.
  const words = new Uint32Array(floats.buffer);
  const bits = Uint16Array.from(words, (word) => word >>> 16);
  words.forEach((word, index) => words[index] = word & 0xffff0000);
  return { bytes: new Uint8Array(bits.buffer), numbers: Float64Array.from(floats) };
}

/** Bits of the half-precision number next to a small number. */
function float16Bits(value: number): number {
  const sign = value < 0 ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size < 2 ** -14) return sign | Math.round(size * 2 ** 24);
  const exponent = Math.floor(Math.log2(size));
  return sign | (((exponent + 15) << 10) + Math.round((size / 2 ** exponent - 1) * 1024));
}

function float16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  if (exponent === 0) return sign * (bits & 1023) * 2 ** -24;
  return sign * (1024 + (bits & 1023)) * 2 ** (exponent - 25);
}

/** Builds a safetensors file. */
export function safetensorsBytes(tensors: Map<string, StoredTensor>): Uint8Array {
  // A list of entries: assigning to `__proto__` would not make an entry.
  const header: [string, unknown][] = [["__metadata__", { format: "pt" }]];
  let end = 0;
  for (const [name, { dtype, shape, bytes }] of tensors) {
    header.push([name, { dtype, shape, data_offsets: [end, end += bytes.length] }]);
  }
  const data = [...tensors.values()].map(({ bytes }) => bytes);
  return withHeader(JSON.stringify(Object.fromEntries(header)), data);
}

/** Puts a length and a header in front of data, whatever they say. */
export function withHeader(header: string, data: Uint8Array[] = []): Uint8Array {
  const json = new TextEncoder().encode(header);
  const size = data.reduce((sum, bytes) => sum + bytes.length, 8 + json.length);
  const file = new Uint8Array(size);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  let offset = 8 + json.length;
  for (const bytes of data) {
    file.set(bytes, offset);
    offset += bytes.length;
  }
  return file;
}

/** Writes a model directory, in one file or several. */
export function writeModel(directory: string, model: MadeModel, shards = 1): void {
  writeFileSync(join(directory, "config.json"), JSON.stringify(model.config));
  if (shards === 1) {
    writeFileSync(join(directory, "model.safetensors"), safetensorsBytes(model.tensors));
    return;
  }
  const weights: Record<string, string> = {};
  const parts = Array.from({ length: shards }, () => new Map<string, StoredTensor>());
  [...model.tensors].forEach(([name, tensor], index) => {
    parts[index % shards]!.set(name, tensor);
    weights[name] = `model-0000${index % shards + 1}-of-0000${shards}.safetensors`;
  });
  parts.forEach((part, index) => {
    const name = `model-0000${index + 1}-of-0000${shards}.safetensors`;
    writeFileSync(join(directory, name), safetensorsBytes(part));
  });
  writeFileSync(
    join(directory, "model.safetensors.index.json"),
    JSON.stringify({ metadata: {}, weight_map: weights }),
  );
}

/** Runs a function with an empty directory and removes it. */
export async function withDirectory<T>(use: (directory: string) => T | Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "tritter-"));
  try {
    return await use(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
