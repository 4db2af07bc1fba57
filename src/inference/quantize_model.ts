// From a model with float weights to one with packed ternary weights, directory to directory.

import * as fs from "node:fs";
import { resolve, sep } from "node:path";
import {
  checkChoice,
  checkFinite,
  checkFlag,
  checkList,
  checkOptions,
  describe,
} from "../checks.ts";
import { tritterError } from "../errors.ts";
import {
  ioError,
  writeAtomically,
  writeDirectoryAtomically,
  writeTextAtomically,
} from "../formats/atomic_file.ts";
import { filePath, joinPath, readJsonObject } from "../formats/mapped_file.ts";
import { SafetensorsSet } from "../formats/safetensors_set.ts";
import { type SafetensorsTensor, writeSafetensors } from "../formats/safetensors_writer.ts";
import { parseConfig } from "./config.ts";
import { packLinear } from "./export.ts";
import { modelTensors } from "./layout.ts";
import { chooseTables } from "./load.ts";
import { Pacer } from "./pacer.ts";
import { findTensors, type FoundTensor } from "./weights.ts";

/** Options of `quantizeModel`. */
export interface QuantizeModelOptions {
  /**
   * Linear layers that keep their float weights: names like `model.layers.0.self_attn.q_proj`, in which
   * `*` stands for any characters. Such models are for transformers; `loadModel` has no float layers.
   * Default: none.
   */
  skip?: readonly string[] | undefined;
  /**
   * Whether weights are multiplied by the stored scales (`"autobitlinear"`, default) or divided
   * (`"bitlinear"`).
   */
  linearClass?: "autobitlinear" | "bitlinear" | undefined;
  /** Replaces a directory that is there already. Default: false. */
  overwrite?: boolean | undefined;
  /** Aborts between tensors, with the signal's reason, and leaves nothing behind. */
  signal?: AbortSignal | undefined;
  /** Is told of each layer that is quantised, how many are, and how many there will be. */
  onProgress?: ((layer: QuantizedLayer, done: number, total: number) => void) | undefined;
}

/** What became of a linear layer. */
export interface QuantizedLayer {
  /** Name of the layer, without `.weight`. */
  readonly name: string;
  /** Outputs. */
  readonly rows: number;
  /** Inputs. */
  readonly cols: number;
  /** Mean magnitude of the float weights, which every trit stands for. */
  readonly scale: number;
  /** Share of the weights that became 0. */
  readonly zeros: number;
  /** Share of the weights that became +1. */
  readonly positives: number;
  /** Share of the weights that became -1. */
  readonly negatives: number;
  /** Norm of the error over the norm of the float weights. */
  readonly relativeError: number;
  /** Size in the file that was read. */
  readonly bytesBefore: number;
  /** Size in the file that was written. */
  readonly bytesAfter: number;
}

/** What `quantizeModel` did. */
export interface QuantizedModel {
  /** The layers that were quantised, in the order of the model. */
  readonly layers: readonly QuantizedLayer[];
  /** Names of the layers that were skipped. */
  readonly skipped: readonly string[];
  /** Bytes of all tensors that were read. */
  readonly bytesBefore: number;
  /** Bytes of all tensors that were written. */
  readonly bytesAfter: number;
}

/** Copied where they are there. */
const OTHER_FILES = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "tokenizer.model",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
];

/**
 * Quantises a Hugging Face directory with float weights (`LlamaForCausalLM`, `BitNetForCausalLM`) to
 * packed BitNet weights that `loadModel` and transformers read.
 *
 * Every linear layer becomes trits by the absmean rule with one scale (arXiv:2402.17764); embeddings, norms
 * and the output layer stay as they are, to the last bit, and so does everything else in config.json. A
 * model that was not trained for it writes poor text afterwards; `relativeError` says how far each layer
 * moved. `target` is there as a whole or not at all. Throws `io`, `unsupported` for other architectures,
 * `invalid_format` where a tensor is missing, has another shape or is quantised already, `invalid_value` for
 * weights that are not finite, `invalid_shape` where the rows of a layer do not divide by 4, and
 * `invalid_option` where `target` is there already or a pattern of `skip` fits no layer.
 *
 * @example
 * ```ts
 * import { mkdtempSync } from "node:fs";
 * import { tmpdir } from "node:os";
 * import { join } from "node:path";
 * import { exportModel, loadModel, quantizeModel, TrainableTransformer } from "tritter-accel";
 *
 * const folder = mkdtempSync(join(tmpdir(), "tritter-"));
 * const sizes = { vocabSize: 64, hiddenSize: 32, intermediateSize: 64, layers: 1, heads: 4 };
 * exportModel(new TrainableTransformer(sizes), join(folder, "float"), { form: "unpacked" });
 * const { layers } = await quantizeModel(join(folder, "float"), join(folder, "packed"));
 * using model = await loadModel(join(folder, "packed"), { tokenizer: false });
 * console.log(layers.length, model.forward([1, 2]).logits.length); // 7 128
 * ```
 */
export async function quantizeModel(
  directory: string | URL,
  target: string | URL,
  options?: QuantizeModelOptions,
): Promise<QuantizedModel> {
  const { onProgress, signal, ...given } = checkOptions(options, "options");
  const linearClass = checkChoice(
    given.linearClass,
    ["autobitlinear", "bitlinear"] as const,
    "linearClass",
    "autobitlinear",
  );
  const overwrite = checkFlag(given.overwrite ?? false, "overwrite");
  const skip = checkList(given.skip ?? [], "skip");
  const from = filePath(directory, "directory");
  const to = filePath(target, "target");
  checkApart(from, to);
  const json = readJsonObject(joinPath(from, "config.json"));
  const quantization = quantizationJson(json.quantization_config, linearClass);
  const config = parseConfig({ ...json, quantization_config: quantization });
  using files = new SafetensorsSet(from);
  const found = findTensors(files, modelTensors(config, chooseTables(files, config)));
  const linear = found.filter(({ spec }) => spec.kind === "linear");
  for (const layer of linear) checkFloats(files, layer);
  const skipped = matchPatterns(skip, linear.map(({ spec }) => moduleName(spec.name)));
  const chosen = linear.filter(({ spec }) => !skipped.includes(moduleName(spec.name)));
  const kept = skipped.length > 0 ? { modules_to_not_convert: ["lm_head", ...skipped] } : {};
  const work = new Conversion(files, linearClass === "autobitlinear");
  const pacer = new Pacer(signal);
  await writeDirectoryAtomically(to, async (temporary) => {
    for (const layer of chosen) {
      await pacer.breathe();
      const done = work.quantize(layer);
      onProgress?.(done, work.layers.length, chosen.length);
    }
    for (const name of files.names) {
      await pacer.breathe();
      work.keep(name);
    }
    writeSafetensors(joinPath(temporary, "model.safetensors"), work.tensors, {
      metadata: { format: "pt" },
    });
    copyFiles(from, temporary);
    const written = { ...json, quantization_config: { ...quantization, ...kept } };
    writeTextAtomically(
      joinPath(temporary, "config.json"),
      `${JSON.stringify(written, null, 2)}\n`,
    );
    await pacer.breathe();
  }, overwrite);
  const { layers, bytesBefore, bytesAfter } = work;
  return { layers, skipped, bytesBefore, bytesAfter };
}

/** Replacing a directory must not take away what is read. */
function checkApart(from: string, to: string): void {
  const [source, place] = [from, to].map((path) => {
    try {
      return fs.realpathSync(path);
    } catch {
      // What is not there yet holds nothing.
      return resolve(path);
    }
  });
  if (source === place || source!.startsWith(place!.replace(/[\\/]?$/, sep))) {
    throw tritterError(
      "invalid_option",
      `target must be another directory than ${from} and not hold it, got ${to}`,
    );
  }
}

const moduleName = (tensor: string) => tensor.replace(/\.(weight|bias)$/, "");

/** A config of float weights says nothing or "online"; what it says of norms stays. */
function quantizationJson(given: unknown, linearClass: string): Record<string, unknown> {
  const own = typeof given === "object" && given !== null ? given as Record<string, unknown> : {};
  return {
    quant_method: "bitnet",
    ...own,
    linear_class: linearClass,
    quantization_mode: "offline",
  };
}

function checkFloats(files: SafetensorsSet, { spec, tensor }: FoundTensor): void {
  const packed = tensor.dtype === "U8" || tensor.dtype === "I8";
  if (!packed && files.find(`${spec.name}_scale`) === undefined) return;
  throw tritterError(
    "invalid_format",
    `Tensor ${spec.name} must have float weights without a scale: it is quantised already`,
  );
}

/** The names that fit a pattern; one that fits none is a mistake. */
function matchPatterns(patterns: readonly string[], names: readonly string[]): string[] {
  const matched = new Set<string>();
  for (const pattern of patterns) {
    if (typeof pattern !== "string") {
      throw tritterError("invalid_type", `skip must be strings, got ${describe(pattern)}`);
    }
    const parts = pattern.split("*").map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, "\\$&"));
    const expression = new RegExp(`^${parts.join(".*")}$`);
    const fits = names.filter((name) => expression.test(name));
    if (fits.length === 0) {
      throw tritterError(
        "invalid_option",
        `skip must name linear layers, like ${names[0]}, got ${JSON.stringify(pattern)}`,
      );
    }
    for (const name of fits) matched.add(name);
  }
  return names.filter((name) => matched.has(name));
}

/** Turns tensor after tensor into what is written. */
class Conversion {
  readonly tensors: Map<string, SafetensorsTensor> = new Map();
  readonly layers: QuantizedLayer[] = [];
  bytesBefore = 0;
  bytesAfter = 0;
  readonly #files: SafetensorsSet;
  readonly #multiplies: boolean;
  readonly #means = new Map<string, number>();

  constructor(files: SafetensorsSet, multiplies: boolean) {
    this.#files = files;
    this.#multiplies = multiplies;
  }

  quantize({ spec, tensor }: FoundTensor): QuantizedLayer {
    const { name, rows, cols } = spec;
    const weights = tensor.file.readFloat32(name);
    checkFinite(weights, name);
    const { packed, trits, mean } = packLinear(name, weights, rows, cols);
    const scale = Float32Array.of(this.#multiplies ? mean : 1 / mean);
    this.#add(name, { shape: [rows / 4, cols], data: packed });
    this.#add(`${name}_scale`, { shape: [1], data: scale });
    this.#means.set(moduleName(name), mean);
    this.bytesBefore += tensor.sizeBytes;
    const layer = {
      name: moduleName(name),
      rows,
      cols,
      scale: mean,
      ...compare(weights, trits, mean),
      bytesBefore: tensor.sizeBytes,
      bytesAfter: packed.byteLength + scale.byteLength,
    };
    this.layers.push(layer);
    return layer;
  }

  /** Takes over what is not a quantised layer. */
  keep(name: string): void {
    if (this.tensors.has(name)) return;
    const { file, dtype, shape, sizeBytes } = this.#files.find(name)!;
    const mean = name.endsWith(".bias") ? this.#means.get(moduleName(name)) : undefined;
    this.bytesBefore += sizeBytes;
    if (mean !== undefined && this.#multiplies) {
      // Such layers multiply by their scale after the bias is added, so it is stored over the scale.
      this.#add(name, { shape, data: file.readFloat32(name).map((value) => value / mean) });
    } else {
      this.#add(name, { shape, data: file.read(name), dtype });
    }
  }

  #add(name: string, tensor: SafetensorsTensor): void {
    this.tensors.set(name, tensor);
    this.bytesAfter += tensor.data.byteLength;
  }
}

/** Shares of the trits, and how far they are from the weights. */
function compare(
  weights: Float32Array,
  trits: Int8Array,
  scale: number,
): Pick<QuantizedLayer, "zeros" | "positives" | "negatives" | "relativeError"> {
  let [positives, negatives, squares, errors] = [0, 0, 0, 0];
  for (let index = 0; index < trits.length; index += 1) {
    const weight = weights[index]!;
    const trit = trits[index]!;
    if (trit > 0) positives += 1;
    if (trit < 0) negatives += 1;
    squares += weight * weight;
    errors += (weight - scale * trit) ** 2;
  }
  const share = (count: number) => count / trits.length;
  return {
    zeros: share(trits.length - positives - negatives),
    positives: share(positives),
    negatives: share(negatives),
    relativeError: squares === 0 ? 0 : Math.sqrt(errors / squares),
  };
}

function copyFiles(from: string, to: string): void {
  for (const name of OTHER_FILES) {
    let bytes: Uint8Array;
    try {
      bytes = fs.readFileSync(joinPath(from, name));
    } catch (cause) {
      if ((cause as { code?: unknown }).code === "ENOENT") continue;
      throw ioError(`Cannot read ${joinPath(from, name)}`, cause);
    }
    writeAtomically(joinPath(to, name), [bytes]);
  }
}
