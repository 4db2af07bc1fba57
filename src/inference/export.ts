// Writes a trained model as a Hugging Face model directory.

import * as fs from "node:fs";
import { checkChoice, checkFinite, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import {
  ioError,
  makeDirectory,
  writeAtomically,
  writeTextAtomically,
} from "../formats/atomic_file.ts";
import { filePath, joinPath } from "../formats/mapped_file.ts";
import { type SafetensorsTensor, writeSafetensors } from "../formats/safetensors_writer.ts";
import { check, native } from "../native/library.ts";
import { valuesOf } from "../nn/buffer.ts";
import { countOf } from "../nn/device_memory.ts";
import type { Parameter, TrainableData } from "../nn/trainable.ts";
import type { ModelConfig } from "./config.ts";
import { configJson, generationJson } from "./export_config.ts";
import { modelTensors, type TensorSpec } from "./layout.ts";

/** A model with float weights: a `TrainableTransformer`, on the CPU or a device, or what looks like one. */
export interface ExportableModel {
  /** What the model is made of. */
  readonly config: ModelConfig;
  /** Its tensors, by their names in Hugging Face checkpoints. */
  readonly parameters: readonly Parameter<TrainableData>[];
}

/** Options of `exportModel`. */
export interface ExportModelOptions {
  /**
   * `"packed"` (default) writes linear layers as ternary weights, four to a byte, with their scales.
   * `"unpacked"` writes the float weights, which are quantised wherever they are loaded
   * (`quantization_mode: "online"`), to be trained further.
   */
  form?: "packed" | "unpacked" | undefined;
  /**
   * Whether weights are multiplied by the stored scales (`"autobitlinear"`, default) or divided
   * (`"bitlinear"`, packed only). Quotients of 32-bit floats lose a last bit here and there.
   */
  linearClass?: "autobitlinear" | "bitlinear" | undefined;
  /**
   * Type of all that is not packed. Default: `"f32"`, which changes nothing; the others round embeddings,
   * norms and scales, and in the unpacked form the weights, some of which then quantise otherwise.
   */
  dtype?: "f32" | "f16" | "bf16" | undefined;
  /** A model directory whose tokenizer files are copied. Default: none, for token ids only. */
  tokenizer?: string | URL | undefined;
}

const DTYPES = { f32: "F32", f16: "F16", bf16: "BF16" } as const;
const DTYPE_NAMES = { f32: "float32", f16: "float16", bf16: "bfloat16" } as const;

/** Copied where they are there; the first must be. */
const TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

const EMBED = "model.embed_tokens.weight";
const HEAD = "lm_head.weight";

/**
 * Writes a model as a Hugging Face directory that `loadModel` and transformers read: config.json,
 * generation_config.json, model.safetensors and the tokenizer's files.
 *
 * Packed with `"autobitlinear"` and `"f32"`, `loadModel` computes with the same weights, to the last bit,
 * as the model does while it trains; biases, which are stored over the scale, may lose a last bit. Each file is written as a whole or not at all, config.json last. Throws
 * `io` where something cannot be written or read, `invalid_format` where a tensor is missing or of
 * another shape than the config wants, `invalid_value` for weights that are not finite, `invalid_option`
 * for `"bitlinear"` unpacked, which no loader knows, and `invalid_shape` where the rows of a packed
 * layer do not divide by 4.
 *
 * @example
 * ```ts
 * import { mkdtempSync } from "node:fs";
 * import { tmpdir } from "node:os";
 * import { join } from "node:path";
 * import { exportModel, loadModel, TrainableTransformer } from "tritter-accel";
 *
 * const sizes = { vocabSize: 2048, hiddenSize: 32, intermediateSize: 64, layers: 1, heads: 4 };
 * const directory = join(mkdtempSync(join(tmpdir(), "tritter-")), "model");
 * exportModel(new TrainableTransformer(sizes), directory, {
 *   tokenizer: "examples/models/bitnet-jargon",
 * });
 * using model = await loadModel(directory);
 * console.log(model.forward(model.tokenizer.encode("foo")).logits.length % 2048); // 0
 * ```
 */
export function exportModel(
  model: ExportableModel,
  directory: string | URL,
  options?: ExportModelOptions,
): void {
  const given = checkOptions(options, "options");
  const form = checkChoice(given.form, ["packed", "unpacked"] as const, "form", "packed");
  const linearClass = checkChoice(
    given.linearClass,
    ["autobitlinear", "bitlinear"] as const,
    "linearClass",
    "autobitlinear",
  );
  const dtype = checkChoice(given.dtype, ["f32", "f16", "bf16"] as const, "dtype", "f32");
  if (form === "unpacked" && linearClass === "bitlinear") {
    throw tritterError("invalid_option", 'linearClass must be "autobitlinear" if unpacked');
  }
  const path = filePath(directory, "directory");
  const files = readTokenizer(given.tokenizer);
  const parameters = findParameters(model);
  const tensors = new Map<string, SafetensorsTensor>();
  // Layers that multiply by their scale do so after their bias is added, which follows the layer here.
  let afterBias = 1;
  for (const [{ name, kind, rows, cols }, parameter] of parameters) {
    const { shape } = parameter;
    const data = valuesOf(parameter);
    checkFinite(data, name);
    if (form === "packed" && kind === "linear") {
      const { packed, mean } = packLinear(name, data, rows, cols);
      const multiplies = linearClass === "autobitlinear";
      const scale = Float32Array.of(multiplies ? mean : 1 / mean);
      tensors.set(name, { shape: [rows / 4, cols], data: packed });
      tensors.set(`${name}_scale`, { shape: [1], data: scale, dtype: DTYPES[dtype] });
      afterBias = multiplies ? mean : 1;
    } else {
      const stored = name.endsWith(".bias") ? data.map((value) => value / afterBias) : data;
      tensors.set(name, { shape, data: stored, dtype: DTYPES[dtype] });
    }
  }
  const config: ModelConfig = {
    ...model.config,
    quantization: {
      ...model.config.quantization,
      linearClass,
      mode: form === "packed" ? "offline" : "online",
    },
  };
  makeDirectory(path);
  writeSafetensors(joinPath(path, "model.safetensors"), tensors, { metadata: { format: "pt" } });
  for (const [name, bytes] of files) writeAtomically(joinPath(path, name), [bytes]);
  writeJson(joinPath(path, "generation_config.json"), generationJson(config));
  writeJson(joinPath(path, "config.json"), configJson(config, DTYPE_NAMES[dtype]));
}

function writeJson(path: string, value: unknown): void {
  writeTextAtomically(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** Every tensor that the config asks for, and the model's. */
function findParameters(model: ExportableModel): [TensorSpec, Parameter<TrainableData>][] {
  const { config, parameters } = checkModel(model);
  const byName = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  const head = config.tieWordEmbeddings ? null : HEAD;
  const found = modelTensors(config, { embed: EMBED, head }).map((spec) => {
    const { name, kind, rows, cols } = spec;
    const parameter = byName.get(name);
    if (parameter === undefined) {
      throw tritterError("invalid_format", `The model must have the parameter ${name}`);
    }
    const shape = kind === "vector" ? [cols] : [rows, cols];
    if (parameter.shape.join() !== shape.join() || countOf(parameter.data) !== rows * cols) {
      throw tritterError(
        "invalid_format",
        `${name} must have the shape [${shape.join(", ")}], got [${parameter.shape.join(", ")}]`,
      );
    }
    byName.delete(name);
    return [spec, parameter] as [TensorSpec, Parameter<TrainableData>];
  });
  const [other] = byName.keys();
  if (other !== undefined) {
    throw tritterError("invalid_format", `The config has no place for the parameter ${other}`);
  }
  return found;
}

function checkModel(model: ExportableModel): ExportableModel {
  if (Array.isArray(model?.parameters) && typeof model.config?.architecture === "string") {
    return model;
  }
  throw tritterError(
    "invalid_type",
    `model must have config and parameters, as TrainableTransformer, got ${describe(model)}`,
  );
}

/**
 * Trits by the mean magnitude, and four of them to a byte: a matrix has its quarters on top of each
 * other, the first in the lowest two bits, with -1, 0 and 1 stored as 0, 1 and 2.
 */
export function packLinear(
  name: string,
  weights: Float32Array,
  rows: number,
  cols: number,
): { packed: Uint8Array; trits: Int8Array; mean: number } {
  if (rows % 4 !== 0) {
    throw tritterError("invalid_shape", `${name} must have a multiple of 4 rows, got ${rows}`);
  }
  const trits = new Int8Array(weights.length);
  const mean = new Float32Array(1);
  check(
    native.bitlinear_quantize_weights(weights, weights.length, cols, trits, trits.length, mean, 1),
  );
  const quarter = trits.length / 4;
  const packed = new Uint8Array(quarter);
  for (let index = 0; index < quarter; index += 1) {
    packed[index] = (trits[index]! + 1) |
      ((trits[quarter + index]! + 1) << 2) |
      ((trits[2 * quarter + index]! + 1) << 4) |
      ((trits[3 * quarter + index]! + 1) << 6);
  }
  return { packed, trits, mean: mean[0]! };
}

function readTokenizer(directory: string | URL | undefined): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  if (directory === undefined) return files;
  const path = filePath(directory, "tokenizer");
  for (const [index, name] of TOKENIZER_FILES.entries()) {
    try {
      files.set(name, fs.readFileSync(joinPath(path, name)));
    } catch (cause) {
      const missing = (cause as { code?: unknown }).code === "ENOENT";
      if (!missing || index === 0) throw ioError(`Cannot read ${joinPath(path, name)}`, cause);
    }
  }
  return files;
}
