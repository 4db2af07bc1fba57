// config.json of a Hugging Face model directory, checked and with the defaults filled in.

import { TritterError, tritterError } from "../errors.ts";
import { joinPath, readJsonObject } from "../formats/mapped_file.ts";

/** How positions turn into rotation angles. */
export interface RopeConfig {
  /** `"default"`, or a way to stretch it to longer texts. */
  readonly type: "default" | "linear" | "llama3";
  /** Base of the frequencies. */
  readonly theta: number;
  /** By how much the angles are stretched; 1 for the type `"default"`. */
  readonly factor: number;
  /** llama3: waves longer than `originalMaxPositions / lowFreqFactor` are stretched. */
  readonly lowFreqFactor: number;
  /** llama3: waves shorter than `originalMaxPositions / highFreqFactor` are kept. */
  readonly highFreqFactor: number;
  /** llama3: the length that the model was first trained on. */
  readonly originalMaxPositions: number;
}

/** How the linear layers are quantised. */
export interface BitNetQuantization {
  /** `"autobitlinear"` multiplies by the weight scale, `"bitlinear"` divides by it. */
  readonly linearClass: "autobitlinear" | "bitlinear";
  /** `"online"`: the file holds float weights, quantised at load. */
  readonly mode: "offline" | "online";
  /** True if every linear layer normalises its own input. */
  readonly useRmsNorm: boolean;
  /** Epsilon of those norms. */
  readonly rmsNormEps: number;
}

/** What a model is made of, from its config.json. */
export interface ModelConfig {
  /** The model class. */
  readonly architecture: "BitNetForCausalLM" | "LlamaForCausalLM";
  /** Number of token ids. */
  readonly vocabSize: number;
  /** Width of the residual stream. */
  readonly hiddenSize: number;
  /** Width inside the feed-forward layers. */
  readonly intermediateSize: number;
  /** Number of decoder layers. */
  readonly layers: number;
  /** Number of query heads. */
  readonly heads: number;
  /** Number of key and value heads; divides `heads`. */
  readonly kvHeads: number;
  /** Width of a head. */
  readonly headDim: number;
  /** Activation of the feed-forward gate. */
  readonly activation: "relu2" | "silu";
  /** Epsilon of the norms. */
  readonly rmsNormEps: number;
  /** The longest text that the model was trained on, in tokens. */
  readonly maxPositions: number;
  /** True if the output layer is the embedding table. */
  readonly tieWordEmbeddings: boolean;
  /** True if q, k, v and o have a bias. */
  readonly attentionBias: boolean;
  /** True if gate, up and down have a bias. */
  readonly mlpBias: boolean;
  /** Rotary position embedding. */
  readonly rope: RopeConfig;
  /** Quantisation of the linear layers. */
  readonly quantization: BitNetQuantization;
  /** The token that begins a text, if the model has one. */
  readonly bosTokenId: number | null;
  /** The tokens that end a text. */
  readonly eosTokenIds: readonly number[];
}

type Json = Record<string, unknown>;

/** The kinds of layer that may stay unquantised, by the names that Hugging Face matches. */
const UNQUANTIZED = /^(model\.)?(lm_head|embed_tokens|norm)$/;

/** Reads the config of a model directory. */
export function readConfig(directory: string): ModelConfig {
  const json = readJsonObject(joinPath(directory, "config.json"));
  let generation: Json = {};
  try {
    generation = readJsonObject(joinPath(directory, "generation_config.json"));
  } catch (error) {
    // The file is optional; one that is there and damaged is an error.
    if (!(error instanceof TritterError && error.code === "io")) throw error;
  }
  return parseConfig(json, generation);
}

/** Checks a parsed config.json, and the generation_config.json beside it. */
export function parseConfig(json: Json, generation: Json = {}): ModelConfig {
  const architecture = parseArchitecture(json);
  const bitnet = architecture === "BitNetForCausalLM";
  const vocabSize = size(json, "vocab_size", 2 ** 24);
  const hiddenSize = size(json, "hidden_size", 2 ** 20);
  const heads = size(json, "num_attention_heads", 2 ** 16);
  const kvHeads = json.num_key_value_heads === null
    ? heads
    : size(json, "num_key_value_heads", heads, bitnet ? 5 : heads);
  if (heads % kvHeads !== 0) {
    throw invalid("num_key_value_heads", `a divisor of num_attention_heads (${heads})`, kvHeads);
  }
  const headDim = size(json, "head_dim", 2 ** 14, hiddenSize / heads);
  if (headDim % 2 !== 0) throw invalid("head_dim", "even", headDim);
  if (bitnet && heads * headDim !== hiddenSize) {
    throw invalid(
      "head_dim",
      `${hiddenSize / heads}, which the norm after attention needs`,
      headDim,
    );
  }
  const maxPositions = size(json, "max_position_embeddings", 2 ** 31, 2048);
  return Object.freeze({
    architecture,
    vocabSize,
    hiddenSize,
    intermediateSize: size(json, "intermediate_size", 2 ** 22),
    layers: size(json, "num_hidden_layers", 2 ** 12),
    heads,
    kvHeads,
    headDim,
    activation: choice(json, "hidden_act", ["relu2", "silu"], bitnet ? "relu2" : "silu"),
    rmsNormEps: number(json, "rms_norm_eps", 0, bitnet ? 1e-5 : 1e-6),
    maxPositions,
    tieWordEmbeddings: flag(json, "tie_word_embeddings"),
    attentionBias: flag(json, "attention_bias"),
    mlpBias: bitnet ? false : flag(json, "mlp_bias"),
    rope: parseRope(json, maxPositions, bitnet ? 500_000 : 10_000),
    quantization: parseQuantization(json.quantization_config),
    bosTokenId: tokenIds(json, "bos_token_id", vocabSize)[0] ?? null,
    eosTokenIds: Object.freeze([
      ...new Set([
        ...tokenIds(json, "eos_token_id", vocabSize),
        ...tokenIds(generation, "eos_token_id", vocabSize),
      ]),
    ]),
  });
}

function parseArchitecture(json: Json): ModelConfig["architecture"] {
  const names = json.architectures ?? [];
  if (!Array.isArray(names)) throw invalid("architectures", "an array", names);
  const given = names[0] ??
    (json.model_type === "bitnet"
      ? "BitNetForCausalLM"
      : json.model_type === "llama"
      ? "LlamaForCausalLM"
      : json.model_type);
  if (given !== "BitNetForCausalLM" && given !== "LlamaForCausalLM") {
    throw tritterError(
      "unsupported",
      `config.json: architectures must name BitNetForCausalLM or LlamaForCausalLM, got ${
        show(given)
      }`,
    );
  }
  return given;
}

function parseQuantization(value: unknown): BitNetQuantization {
  if (value === undefined || value === null) {
    throw tritterError(
      "unsupported",
      "config.json: quantization_config must be there: only BitNet models are supported",
    );
  }
  const json = object(value, "quantization_config");
  if (json.quant_method !== "bitnet") {
    throw tritterError(
      "unsupported",
      `config.json: quantization_config.quant_method must be "bitnet", got ${
        show(json.quant_method)
      }`,
    );
  }
  checkUnquantized(json.modules_to_not_convert ?? null);
  return Object.freeze({
    linearClass: choice(json, "linear_class", ["bitlinear", "autobitlinear"], "bitlinear"),
    mode: choice(json, "quantization_mode", ["offline", "online"], "offline"),
    useRmsNorm: flag(json, "use_rms_norm"),
    rmsNormEps: number(json, "rms_norm_eps", 0, 1e-6),
  });
}

/** Null leaves lm_head alone; a list must name it, or Hugging Face would quantise it as well. */
function checkUnquantized(value: unknown): void {
  if (value === null) return;
  if (!Array.isArray(value)) {
    throw invalid("quantization_config.modules_to_not_convert", "an array or null", value);
  }
  const other = value.find((name) => typeof name !== "string" || !UNQUANTIZED.test(name));
  if (other !== undefined || !value.includes("lm_head")) {
    throw tritterError(
      "unsupported",
      `config.json: quantization_config.modules_to_not_convert must name lm_head and nothing but embeddings, got ${
        show(other ?? value)
      }`,
    );
  }
}

function parseRope(json: Json, maxPositions: number, defaultTheta: number): RopeConfig {
  // An empty rope_scaling counts as none, and the older name wins over the newer one.
  const scaling = object(json.rope_scaling ?? {}, "rope_scaling");
  const rope = Object.keys(scaling).length > 0
    ? scaling
    : object(json.rope_parameters ?? {}, "rope_parameters");
  const type = rope.rope_type ?? rope.type ?? "default";
  if (type !== "default" && type !== "linear" && type !== "llama3") {
    throw tritterError(
      "unsupported",
      `config.json: rope_type must be "default", "linear" or "llama3", got ${show(type)}`,
    );
  }
  const partial = rope.partial_rotary_factor ?? json.partial_rotary_factor ?? 1;
  if (partial !== 1) {
    throw tritterError(
      "unsupported",
      `config.json: partial_rotary_factor must be 1, got ${show(partial)}`,
    );
  }
  const theta = (rope.rope_theta ?? null) === null
    ? number(json, "rope_theta", 1e-30, defaultTheta)
    : number(rope, "rope_theta", 1e-30);
  const llama3 = type === "llama3";
  const lowFreqFactor = llama3 ? number(rope, "low_freq_factor", 1e-30) : 1;
  const highFreqFactor = llama3 ? number(rope, "high_freq_factor", 1e-30) : 4;
  if (highFreqFactor <= lowFreqFactor) {
    throw invalid(
      "high_freq_factor",
      `more than low_freq_factor (${lowFreqFactor})`,
      highFreqFactor,
    );
  }
  const original = json.original_max_position_embeddings === undefined ? rope : json;
  return Object.freeze({
    type,
    theta,
    factor: type === "default" ? 1 : number(rope, "factor", 1e-30),
    lowFreqFactor,
    highFreqFactor,
    originalMaxPositions: llama3
      ? size(original, "original_max_position_embeddings", 2 ** 31, maxPositions)
      : maxPositions,
  });
}

function tokenIds(json: Json, field: string, vocabSize: number): number[] {
  const value = json[field] ?? [];
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  for (const id of ids) {
    if (!Number.isInteger(id) || (id as number) < 0) {
      throw invalid(field, "a token id or a list of them", id);
    }
  }
  // An id past the vocabulary can never be produced; some published configs have one.
  return (ids as number[]).filter((id) => id < vocabSize);
}

function size(json: Json, field: string, max: number, fallback?: number): number {
  const value = json[field] ?? fallback;
  if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > max) {
    throw invalid(field, `an integer from 1 to ${max}`, value);
  }
  return value as number;
}

function number(json: Json, field: string, min: number, fallback?: number): number {
  const value = json[field] ?? fallback;
  if (typeof value !== "number" || !(value >= min) || Math.fround(value) === Infinity) {
    throw invalid(field, `a finite number from ${min} up`, value);
  }
  return value;
}

function flag(json: Json, field: string): boolean {
  const value = json[field] ?? false;
  if (typeof value !== "boolean") throw invalid(field, "true or false", value);
  return value;
}

function choice<T extends string>(json: Json, field: string, choices: T[], fallback: T): T {
  const value = json[field] ?? fallback;
  if (typeof value !== "string") throw invalid(field, "a string", value);
  if (!choices.includes(value as T)) {
    throw tritterError(
      "unsupported",
      `config.json: ${field} must be ${choices.map(show).join(" or ")}, got ${show(value)}`,
    );
  }
  return value as T;
}

function object(value: unknown, field: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid(field, "an object", value);
  }
  return value as Json;
}

function invalid(field: string, expected: string, value: unknown): Error {
  return tritterError(
    "invalid_format",
    `config.json: ${field} must be ${expected}, got ${show(value)}`,
  );
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 100 ? text.slice(0, 100) + "…" : text;
}
