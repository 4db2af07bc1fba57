// Token after token: prompt in, choose, out with its text, feed it back.

import { checkCount, checkNumber, checkOptions } from "../checks.ts";
import { TritterError, tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { KVCache } from "../nn/kv_cache.ts";
import {
  checkCache,
  checkIds,
  checkRoom,
  claimCache,
  type ModelCore,
  releaseCache,
  runChoose,
  runForward,
  tokenizerOf,
} from "./core.ts";
import { Pacer } from "./pacer.ts";
import { StopFilter } from "./stop_filter.ts";
import type { StreamDecoder } from "./stream_decoder.ts";
import { firstTokenId } from "./tokenizer.ts";

/** Options of `TernaryModel.generate`. */
export interface GenerateOptions {
  /** Most tokens to generate. Default: 256. */
  maxTokens?: number | undefined;
  /** 0 (default) always takes the likeliest token; 1 draws by the model's probabilities. */
  temperature?: number | undefined;
  /** Draws among this many likeliest tokens; 0 (default) means all. */
  topK?: number | undefined;
  /** Draws among the likeliest tokens that together have this probability. Default: 1, all. */
  topP?: number | undefined;
  /** The same seed and prompt give the same text. Default: a new one each time. */
  seed?: number | undefined;
  /** Ends the text before the first of these strings. */
  stop?: string | readonly string[] | undefined;
  /** Aborts between tokens and between pieces of the prompt, with the signal's reason. */
  signal?: AbortSignal | undefined;
  /**
   * Goes on after the tokens in this cache, and leaves prompt and generated tokens in it. From the
   * first token taken until the iteration ends, no other generation may use it.
   */
  cache?: KVCache | undefined;
}

/** A token that was generated. */
export interface GeneratedToken {
  /** Its id. */
  id: number;
  /** Its text; empty while a character is incomplete, which then comes with a later token. */
  text: string;
  /** Natural logarithm of the model's probability for it (at temperature 1). */
  logprob?: number;
}

/** Long prompts are fed in pieces, so that the process can do other things between them. */
const PROMPT_CHUNK = 256;
/** The same on a GPU, which longer pieces fill. */
const CUDA_PROMPT_CHUNK = 2048;
/** A cache of our own begins with room for this many new tokens and doubles. */
const FIRST_ROOM = 256;

interface Request {
  prompt: Uint32Array;
  maxTokens: number;
  sampling: Float64Array;
  stops: readonly string[];
  signal: AbortSignal | undefined;
  cache: KVCache | undefined;
}

/** Checks everything at once, then generates as the result is iterated. */
export function generateTokens(
  core: ModelCore,
  prompt: string | ArrayLike<number>,
  options?: GenerateOptions,
): AsyncGenerator<GeneratedToken, void, void> {
  void core.handle.value;
  const given = checkOptions(options, "options");
  const { signal } = given;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw tritterError("invalid_type", `signal must be an AbortSignal, got ${typeof signal}`);
  }
  const cache = checkCache(given.cache, core);
  const request: Request = {
    maxTokens: checkCount(given.maxTokens ?? 256, "maxTokens"),
    sampling: Float64Array.of(
      checkNumber(given.temperature ?? 0, "temperature", { min: 0 }),
      Math.min(checkCount(given.topK ?? 0, "topK"), core.config.vocabSize),
      checkTopP(given.topP ?? 1),
      given.seed === undefined
        ? crypto.getRandomValues(new Uint32Array(1))[0]!
        : checkCount(given.seed, "seed", { max: Number.MAX_SAFE_INTEGER }),
      0,
    ),
    stops: checkStops(given.stop, core),
    prompt: promptIds(core, prompt, cache === undefined || cache.isEmpty),
    signal,
    cache,
  };
  if (cache !== undefined) checkRoom(cache, request.prompt.length);
  return run(core, request);
}

function checkTopP(value: number): number {
  if (checkNumber(value, "topP", { min: 0, max: 1 }) === 0) {
    throw tritterError("invalid_value", "topP must be more than 0 and at most 1, got 0");
  }
  return value;
}

function checkStops(value: unknown, core: ModelCore): readonly string[] {
  if (value === undefined) return [];
  const stops: unknown[] = Array.isArray(value) ? [...value] : [value];
  for (const stop of stops) {
    if (typeof stop !== "string") {
      throw tritterError("invalid_type", `stop must be strings, got ${typeof stop}`);
    }
    if (stop === "") throw tritterError("invalid_value", "stop must not be an empty string");
  }
  if (stops.length > 0) tokenizerOf(core);
  return stops as string[];
}

/** A text that begins the sequence gets the token that the model expects in front of it. */
function promptIds(core: ModelCore, prompt: unknown, first: boolean): Uint32Array {
  if (typeof prompt !== "string") return checkIds(prompt, core);
  if (prompt === "") throw tritterError("invalid_length", "prompt must not be empty");
  const tokenizer = tokenizerOf(core);
  // Special tokens begin a text; a text that goes on after the cache has had them.
  const ids = tokenizer.encode(prompt, { addSpecialTokens: first });
  const bos = firstTokenId(tokenizer, core.config.bosTokenId);
  if (first && bos !== null && ids[0] !== bos) ids.unshift(bos);
  return checkIds(ids, core);
}

async function* run(
  core: ModelCore,
  request: Request,
): AsyncGenerator<GeneratedToken, void, void> {
  const sequence = new Sequence(core, request);
  try {
    const pacer = new Pacer(request.signal);
    request.signal?.throwIfAborted();
    await sequence.feedPrompt(pacer);
    const { tokenizer } = core;
    const decoder = tokenizer instanceof Error ? undefined : tokenizer.stream(request.prompt);
    const text = new TokenText(decoder, request.stops);
    for (let count = 0; count < request.maxTokens; count += 1) {
      if (count > 0) await pacer.breathe();
      const token = sequence.next();
      if (core.config.eosTokenIds.includes(token.id)) break;
      sequence.accept(token.id);
      for (const ready of text.push(token)) {
        sequence.yielded += 1;
        yield ready;
      }
      if (text.stopped) break;
    }
    for (const ready of text.finish()) {
      sequence.yielded += 1;
      yield ready;
    }
  } finally {
    sequence.finish();
  }
}

/** The tokens of one generation in their cache. */
class Sequence {
  /** How many tokens the caller has seen. */
  yielded = 0;
  #core: ModelCore;
  #request: Request;
  #cache: KVCache;
  #logits: Float32Array;
  #start: number;
  #position: number;
  #prompted = false;
  /** The last token, not yet fed to the model: often it turns out to be the end. */
  #unfed: number | undefined;
  /** Greedy on a GPU: what it has chosen, so that logits need not leave it. */
  readonly #choice: Float64Array | undefined;

  constructor(core: ModelCore, request: Request) {
    this.#core = core;
    this.#request = request;
    const room = request.prompt.length + Math.min(request.maxTokens, FIRST_ROOM);
    this.#cache = request.cache ?? newCache(core, room);
    const choosesThere = core.place !== "cpu" && request.sampling[0] === 0;
    this.#choice = choosesThere ? new Float64Array(2) : undefined;
    this.#logits = new Float32Array(choosesThere ? 0 : core.config.vocabSize);
    this.#start = this.#cache.length;
    this.#position = this.#cache.position;
    // Last, because a sequence that could not be made is never finished.
    if (request.cache !== undefined) claimCache(request.cache);
  }

  /** Runs the prompt; only the logits of its last token are computed. */
  async feedPrompt(pacer: Pacer): Promise<void> {
    const { prompt } = this.#request;
    const chunk = this.#core.place === "cpu" ? PROMPT_CHUNK : CUDA_PROMPT_CHUNK;
    for (let start = 0; start < prompt.length; start += chunk) {
      if (start > 0) await pacer.breathe();
      const last = start + chunk >= prompt.length;
      const ids = prompt.subarray(start, start + chunk);
      if (last) this.#feed(ids);
      else runForward(this.#core, this.#cache, ids);
    }
    this.#position += prompt.length;
    this.#prompted = true;
  }

  /** Feeds tokens, and gets what the next is chosen from, or the choice itself. */
  #feed(ids: Uint32Array): void {
    if (this.#choice === undefined) runForward(this.#core, this.#cache, ids, this.#logits);
    else runChoose(this.#core, this.#cache, ids, this.#choice);
  }

  /** Feeds the token before and chooses the next. */
  next(): GeneratedToken {
    if (this.#unfed !== undefined) {
      this.#makeRoom();
      this.#feed(Uint32Array.of(this.#unfed));
      this.#unfed = undefined;
    }
    if (this.#choice !== undefined) {
      return { id: this.#choice[0]!, text: "", logprob: this.#choice[1]! };
    }
    const { sampling } = this.#request;
    // A draw depends on seed and position alone, so a text can be continued from a cache.
    sampling[4] = this.#position;
    const choice = new Float64Array(2);
    check(
      native.sample(this.#logits, this.#logits.length, sampling, sampling.length, choice, 2),
    );
    return { id: choice[0]!, text: "", logprob: choice[1]! };
  }

  /** Takes a chosen token into the sequence. */
  accept(id: number): void {
    this.#unfed = id;
    this.#position += 1;
  }

  #makeRoom(): void {
    if (this.#request.cache !== undefined) {
      checkRoom(this.#cache, 1);
    } else if (this.#cache.length === this.#cache.maxTokens) {
      const larger = newCache(this.#core, 2 * this.#cache.maxTokens);
      for (let layer = 0; layer < larger.layers; layer += 1) {
        const { keys, values } = this.#cache.read(layer);
        larger.append(keys, values, layer);
      }
      this.#cache[Symbol.dispose]();
      this.#cache = larger;
    }
  }

  /** Frees our own cache; leaves a caller's with the prompt and the tokens that the caller has seen. */
  finish(): void {
    const { cache } = this.#request;
    if (cache === undefined) {
      this.#cache[Symbol.dispose]();
      return;
    }
    try {
      this.#settle();
    } catch (error) {
      // The caller may have disposed of model or cache meanwhile, or filled the cache to the end:
      // then the last token stays out.
      const codes = ["disposed", "cache_full"];
      if (!(error instanceof TritterError && codes.includes(error.code))) throw error;
    } finally {
      releaseCache(cache);
    }
  }

  #settle(): void {
    const cache = this.#cache;
    const seen = this.#prompted ? this.#request.prompt.length + this.yielded : 0;
    if (cache.policy === "error" && cache.length > this.#start + seen) {
      cache.truncate(this.#start + seen);
    } else if (this.#unfed !== undefined && this.#prompted) {
      if (cache.policy === "slide" || cache.length < this.#start + seen) {
        runForward(this.#core, cache, Uint32Array.of(this.#unfed));
      }
    }
  }
}

function newCache({ config, place }: ModelCore, maxTokens: number): KVCache {
  const { layers, kvHeads, headDim } = config;
  return new KVCache({ layers, kvHeads, headDim, maxTokens, device: place });
}

/** Gives each token its text; keeps tokens back while their text is incomplete or may be a stop. */
class TokenText {
  /** True after a stop string. */
  stopped = false;
  #decoder: StreamDecoder | undefined;
  #filter: StopFilter;
  #waiting: GeneratedToken[] = [];
  #text = "";

  constructor(decoder: StreamDecoder | undefined, stops: readonly string[]) {
    this.#decoder = decoder;
    this.#filter = new StopFilter(stops);
  }

  /** Adds a token; returns those whose text is settled. */
  push(token: GeneratedToken): GeneratedToken[] {
    this.#waiting.push(token);
    if (this.#decoder === undefined) return this.#release();
    const { text, stopped } = this.#filter.push(this.#decoder.push(token.id));
    this.#text += text;
    this.stopped = stopped;
    return stopped || !(this.#decoder.pending || this.#filter.pending) ? this.#release() : [];
  }

  /** Returns the tokens still waiting, with the text that is left. */
  finish(): GeneratedToken[] {
    if (this.#waiting.length === 0) return [];
    if (!this.stopped && this.#decoder !== undefined) {
      this.#text += this.#filter.push(this.#decoder.finish()).text + this.#filter.finish();
    }
    return this.#release();
  }

  /** The text of several tokens comes with the last of them. */
  #release(): GeneratedToken[] {
    const ready = this.#waiting;
    ready.at(-1)!.text = this.#text;
    this.#waiting = [];
    this.#text = "";
    return ready;
  }
}
