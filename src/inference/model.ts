// A loaded BitNet model.

import { checkChoice, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { KVCache } from "../nn/kv_cache.ts";
import type { ModelConfig } from "./config.ts";
import {
  checkCache,
  checkIds,
  checkRoom,
  type ModelCore,
  runForward,
  tokenizerOf,
} from "./core.ts";
import { type GeneratedToken, type GenerateOptions, generateTokens } from "./generate.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Options of `TernaryModel.forward`. */
export interface ForwardOptions {
  /** Goes on after the tokens in this cache and adds these to it. */
  cache?: KVCache | undefined;
  /** `"last"` computes the logits of the last token only. Default: `"all"`. */
  logits?: "all" | "last" | undefined;
}

/** Options of `TernaryModel.createCache`. */
export interface CreateCacheOptions {
  /** Most tokens to hold. Default: the longest text that the model was trained on. */
  maxTokens?: number | undefined;
  /** What happens at the end. Default: `"error"`. */
  policy?: "error" | "slide" | undefined;
}

/** What only this module can pass to the constructor: at run time nothing else makes it private. */
const KEY = Symbol("TernaryModel");

let construct: (core: ModelCore) => TernaryModel;

/** Makes a model of its parts; for `loadModel`. */
export function createModel(core: ModelCore): TernaryModel {
  return construct(core);
}

/**
 * A BitNet language model in memory, from `loadModel`.
 *
 * It owns native memory: use `using` or `[Symbol.dispose]()`. On the CPU results are the same, bit for
 * bit, on every instruction set, with any number of threads, with and without a cache, and however a
 * text is cut into calls. On a GPU sums have another order: f32 numbers agree to its precision, and an
 * activation that lies between two int8 values may take the other one. The files of a model on the CPU
 * stay mapped and must not be changed: see {@linkcode loadModel}.
 *
 * @example
 * ```ts
 * import { loadModel } from "tritter-accel";
 *
 * using model = await loadModel("examples/models/bitnet-jargon");
 * let text = "";
 * for await (const token of model.generate("foo: ", { maxTokens: 16 })) text += token.text;
 * console.log(text);
 * ```
 */
export class TernaryModel implements Disposable {
  /** What the model is made of. */
  readonly config: ModelConfig;
  /** How many numbers the model holds. */
  readonly parameterCount: number;
  /** Where the model runs: `"cpu"` or `"cuda:N"`. */
  readonly device: string;
  #core: ModelCore;

  static {
    construct = (core) => new TernaryModel(KEY, core);
  }

  private constructor(key: symbol, core: ModelCore) {
    if (key !== KEY) throw tritterError("invalid_type", "TernaryModel is made by loadModel");
    this.#core = core;
    this.config = core.config;
    this.parameterCount = core.parameters;
    this.device = core.place;
  }

  /** True if the model takes and gives text. */
  get hasTokenizer(): boolean {
    return !(this.#core.tokenizer instanceof Error);
  }

  /**
   * Its tokenizer.
   *
   * Throws `unsupported` with the reason if there is none: the directory has no tokenizer.json, the
   * npm package could not be imported, or the option `tokenizer` was false.
   */
  get tokenizer(): Tokenizer {
    return tokenizerOf(this.#core);
  }

  /** Memory of all weights, in bytes, including tables that lie in the mapped files. */
  get memoryBytes(): number {
    return this.#info()[0];
  }

  /** Memory of the ternary weights alone, in bytes. */
  get ternaryBytes(): number {
    return this.#info()[1];
  }

  /**
   * Memory of the table that logits are computed from, in bytes, as the option `head` keeps it: with
   * `ternaryBytes`, what generating one token reads, besides the cache.
   */
  get headBytes(): number {
    return this.#info()[2];
  }

  #info(): [number, number, number] {
    const info = new BigUint64Array(3);
    const model = this.#core.handle.value;
    check(
      this.#core.place === "cpu"
        ? native.model_info(model, info, info.length)
        : native.cuda_model_info(model, info, info.length),
    );
    return [Number(info[0]), Number(info[1]), Number(info[2])];
  }

  /**
   * Returns the logits after each token, [ids.length, vocab] row-major, or only those of the last.
   *
   * With a cache the tokens go on after those in it; without, they begin a text. Throws
   * `cache_full` and changes nothing if they do not fit, and `invalid_value` while a generation uses
   * the cache.
   *
   * @example
   * ```ts
   * import { loadModel } from "tritter-accel";
   *
   * using model = await loadModel("examples/models/bitnet-jargon");
   * const { logits } = model.forward([0, 582, 617, 222]);
   * console.log(logits.length / model.config.vocabSize); // 4
   * ```
   */
  forward(
    ids: readonly number[] | Uint32Array | Int32Array,
    options?: ForwardOptions,
  ): { logits: Float32Array<ArrayBuffer> } {
    void this.#core.handle.value;
    const given = checkOptions(options, "options");
    const cache = checkCache(given.cache, this.#core);
    const wanted = checkChoice(given.logits, ["all", "last"], "logits", "all");
    const checked = checkIds(ids, this.#core);
    const size = (wanted === "all" ? checked.length : 1) * this.config.vocabSize;
    if (size >= 2 ** 30) {
      throw tritterError(
        "invalid_length",
        `ids must have fewer tokens than make 2^30 logits, got ${checked.length}`,
      );
    }
    if (cache !== undefined) checkRoom(cache, checked.length);
    const logits = new Float32Array(size);
    runForward(this.#core, cache, checked, logits);
    return { logits };
  }

  /**
   * Generates text after a prompt, token by token.
   *
   * A text prompt gets the model's begin token in front unless it goes on after a cache or
   * tokenizer_config.json has `add_bos_token: false`. The text ends at the model's end token, which
   * is not among the tokens, before a stop string, or after `maxTokens`. Options are checked at once,
   * the work is done as the tokens are taken.
   *
   * A cache that was passed in holds the prompt and the tokens taken from here when the iteration
   * ends, also when it ends early; if it is full, the next token throws `cache_full`. From the first
   * token to the end of the iteration it serves this generation alone: another one, and `forward`,
   * throw `invalid_value`.
   *
   * @example
   * ```ts
   * import { loadModel } from "tritter-accel";
   *
   * using model = await loadModel("examples/models/bitnet-jargon");
   * const options = { maxTokens: 24, temperature: 0.8, topP: 0.9, seed: 7, stop: "." };
   * for await (const { text } of model.generate("A kluge is ", options)) console.log(text);
   * ```
   */
  generate(
    prompt: string | readonly number[] | Uint32Array | Int32Array,
    options?: GenerateOptions,
  ): AsyncGenerator<GeneratedToken, void, void> {
    return generateTokens(this.#core, prompt, options);
  }

  /**
   * Returns the mean negative log-likelihood, in nats, of each token after the first given those
   * before it; its exponential is the perplexity.
   *
   * @example
   * ```ts
   * import { loadModel } from "tritter-accel";
   *
   * using model = await loadModel("examples/models/bitnet-jargon");
   * console.log(model.nll(model.tokenizer.encode("The hacker ethic is the belief that")));
   * ```
   */
  nll(ids: readonly number[] | Uint32Array | Int32Array): number {
    const model = this.#core.handle.value;
    const checked = checkIds(ids, this.#core, 2);
    const nll = new Float64Array(1);
    check(
      this.#core.place === "cpu"
        ? native.model_nll(model, checked, checked.length, nll, nll.length)
        : native.cuda_model_nll(model, checked, checked.length, nll, nll.length),
    );
    return nll[0]!;
  }

  /**
   * Returns an empty cache of the model's sizes.
   *
   * @example
   * ```ts
   * import { loadModel } from "tritter-accel";
   *
   * using model = await loadModel("examples/models/bitnet-jargon");
   * using cache = model.createCache({ maxTokens: 128 });
   * for await (const _ of model.generate("The ", { cache, maxTokens: 8 })) { // Taken into the cache.
   * }
   * console.log(cache.length);
   * ```
   */
  createCache(options?: CreateCacheOptions): KVCache {
    void this.#core.handle.value;
    const { maxTokens, policy } = checkOptions(options, "options");
    const { layers, kvHeads, headDim, maxPositions } = this.config;
    return new KVCache({
      layers,
      kvHeads,
      headDim,
      maxTokens: maxTokens ?? maxPositions,
      device: this.#core.place,
      ...(policy === undefined ? {} : { policy }),
    });
  }

  /** Frees the model; more calls do nothing, other methods throw `disposed` afterwards. */
  [Symbol.dispose](): void {
    this.#core.handle[Symbol.dispose]();
  }
}
