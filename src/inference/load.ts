// Loads a model from a Hugging Face model directory.

import { checkChoice, checkOptions } from "../checks.ts";
import { cudaIndex, type Device, type Place, placeOf, setThreads } from "../device.ts";
import { TritterError, tritterError } from "../errors.ts";
import { filePath } from "../formats/mapped_file.ts";
import { SafetensorsSet } from "../formats/safetensors_set.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import { type ModelConfig, readConfig } from "./config.ts";
import { countParameters, modelTensors } from "./layout.ts";
import { createModel, type TernaryModel } from "./model.ts";
import { Pacer } from "./pacer.ts";
import { inverseFrequencies } from "./rope.ts";
import { Tokenizer } from "./tokenizer.ts";
import { findTensors, WeightSetter } from "./weights.ts";

/** Options of `loadModel`. */
export interface LoadModelOptions {
  /**
   * Where the model runs: on the CPU, or on a GPU that holds it with its caches and its scratch memory.
   * Default: the choice of `setDevice`.
   */
  device?: Device | undefined;
  /** Calls `setThreads`, which holds for everything in this process. */
  threads?: number | undefined;
  /** False leaves `tokenizer.json` alone: the model then takes token ids only. Default: true. */
  tokenizer?: boolean | undefined;
  /**
   * How the output layer, which gives the logits, is kept.
   *
   * `"stored"` (default) uses the table in the mapped file as it is. `"bf16"` copies it to memory,
   * rounded to 16 bits where the file has 32: it is read faster, and a table of bf16 gives the same
   * logits. `"int8"` quantises each of its rows, and the token's hidden state, to 8 bits by the
   * largest magnitude: half the bytes of bf16. The logits then differ, by 0.4 to 0.5 % of their
   * length for the models that this library is tested with.
   */
  head?: HeadKind | undefined;
  /**
   * How the ternary weights lie in memory: `"planes"` (default, 2 bits a weight) or `"base3"` (1.6
   * bits), as in `WeightLayout`. The results are the same. Generating reads all weights for every
   * token, so models far larger than the caches gain; prompts take longer.
   */
  layout?: "planes" | "base3" | undefined;
  /** Is told how many bytes of the model's tensors are loaded, and how many there are. */
  onProgress?: ((loadedBytes: number, totalBytes: number) => void) | undefined;
}

/** How the output layer of a model is kept: see the option `head` of `loadModel`. */
export type HeadKind = "stored" | "bf16" | "int8";

/** The native library numbers them by their place. */
const HEADS: readonly HeadKind[] = ["stored", "bf16", "int8"];
const LAYOUTS = ["planes", "base3"] as const;

/** How the large tables are kept in memory. */
interface Kept {
  head: HeadKind;
  layout: typeof LAYOUTS[number];
}

const EMBED = "model.embed_tokens.weight";
const HEAD = "lm_head.weight";

/**
 * Loads a BitNet model from a Hugging Face model directory: config.json, model.safetensors (or
 * several with an index) and, for text, tokenizer.json.
 *
 * Supported are `BitNetForCausalLM` and `LlamaForCausalLM` with a BitNet `quantization_config`, with
 * packed weights or with float weights, which are quantised by their mean while loading. Throws `io`
 * if a file is missing, `invalid_format` naming the field or tensor that does not fit, `unsupported`
 * for other models and `device_unavailable`.
 *
 * The .safetensors files stay mapped, and embedding tables are used in place: until the model is
 * disposed of, nobody may change or truncate them. The model would compute with the changed numbers,
 * and reading behind a new end kills the process. Renaming another file over one of them is safe.
 *
 * With `device: "cuda"` the weights are prepared here and copied to the GPU, and no mapped file is
 * left. Heads of more than 256 numbers are `unsupported` there.
 *
 * A model without a usable tokenizer loads and takes token ids; text throws `unsupported` with the
 * reason.
 *
 * @example
 * ```ts
 * import { loadModel } from "tritter-accel";
 *
 * using model = await loadModel("examples/models/bitnet-jargon");
 * for await (const { text } of model.generate("A hacker is ", { maxTokens: 8 })) {
 *   console.log(text);
 * }
 * ```
 */
export async function loadModel(
  directory: string | URL,
  options?: LoadModelOptions,
): Promise<TernaryModel> {
  const { device, threads, tokenizer = true, onProgress, ...given } = checkOptions(
    options,
    "options",
  );
  const head = checkChoice(given.head, HEADS, "head", "stored");
  const layout = checkChoice(given.layout, LAYOUTS, "layout", "planes");
  const path = filePath(directory, "directory");
  if (typeof tokenizer !== "boolean") {
    throw tritterError("invalid_type", `tokenizer must be true or false, got ${typeof tokenizer}`);
  }
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw tritterError("invalid_type", `onProgress must be a function, got ${typeof onProgress}`);
  }
  const place = placeOf(device);
  if (threads !== undefined) setThreads(threads);
  const config = readConfig(path);
  const words = tokenizer ? await findTokenizer(path) : tritterError(
    "unsupported",
    "Text needs a tokenizer, but the model was loaded with the option tokenizer: false",
  );
  const { handle, parameters } = await loadWeights(path, config, { head, layout }, onProgress);
  const there = place === "cpu" ? handle : moveModel(handle, place);
  return createModel({ config, handle: there, place, parameters, tokenizer: words });
}

/** Copies a loaded model to a device and frees it here. */
function moveModel(loaded: NativeHandle, place: Place): NativeHandle {
  using source = loaded;
  const handle = new BigUint64Array(1);
  check(native.cuda_model_create(source.value, cudaIndex(place), handle, 1));
  return new NativeHandle(handle[0]!, "The model");
}

/** Returns the tokenizer, or why there is none: ids need none, so only text fails, later. */
async function findTokenizer(directory: string): Promise<Tokenizer | Error> {
  try {
    return await Tokenizer.load(directory);
  } catch (error) {
    if (!(error instanceof TritterError)) throw error;
    // The npm package could not be imported, perhaps because there is no network.
    if (error.code === "unsupported") return error;
    if (error.code !== "io") throw error;
    return tritterError("unsupported", `Text needs a tokenizer: ${error.message}`, {
      cause: error,
    });
  }
}

async function loadWeights(
  directory: string,
  config: ModelConfig,
  kept: Kept,
  onProgress?: LoadModelOptions["onProgress"],
): Promise<{ handle: NativeHandle; parameters: number }> {
  using files = new SafetensorsSet(directory);
  const specs = modelTensors(config, chooseTables(files, config));
  const found = findTensors(files, specs);
  const totalBytes = found.reduce((sum, { tensor }) => sum + tensor.sizeBytes, 0);
  const handle = createNative(
    config,
    found.some(({ spec }) => spec.name === HEAD && spec.role === 1),
    kept,
  );
  try {
    const setter = new WeightSetter(handle.value, config, files);
    const pacer = new Pacer();
    let loadedBytes = 0;
    for (const tensor of found) {
      setter.set(tensor);
      loadedBytes += tensor.tensor.sizeBytes;
      onProgress?.(loadedBytes, totalBytes);
      await pacer.breathe();
    }
    check(native.model_finish(handle.value));
  } catch (error) {
    handle[Symbol.dispose]();
    throw error;
  }
  return { handle, parameters: countParameters(specs) };
}

/** Tied models store one of the two tables; if both are there, both count, as in Hugging Face. */
export function chooseTables(
  files: SafetensorsSet,
  { tieWordEmbeddings }: ModelConfig,
): { embed: string; head: string | null } {
  if (!tieWordEmbeddings) return { embed: EMBED, head: HEAD };
  const hasHead = files.find(HEAD) !== undefined;
  if (!hasHead) return { embed: EMBED, head: null };
  return files.find(EMBED) === undefined
    ? { embed: HEAD, head: null }
    : { embed: EMBED, head: HEAD };
}

function createNative(config: ModelConfig, hasHead: boolean, kept: Kept): NativeHandle {
  const options = Float64Array.of(
    config.hiddenSize,
    config.intermediateSize,
    config.layers,
    config.heads,
    config.kvHeads,
    config.headDim,
    config.vocabSize,
    config.rmsNormEps,
    config.activation === "relu2" ? 0 : 1,
    hasHead ? 0 : 1,
    config.architecture === "BitNetForCausalLM" ? 1 : 0,
    1,
    HEADS.indexOf(kept.head),
    LAYOUTS.indexOf(kept.layout),
  );
  const frequencies = inverseFrequencies(config);
  const handle = new BigUint64Array(1);
  check(
    native.model_create(options, options.length, frequencies, frequencies.length, handle, 1),
  );
  return new NativeHandle(handle[0]!, "The model");
}
