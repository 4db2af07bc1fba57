// What a model's methods share: its native object, and one checked call per forward pass.

import type { Place } from "../device.ts";
import { tritterError } from "../errors.ts";
import { check, native, type NativeHandle } from "../native/library.ts";
import { cacheHandle, KVCache } from "../nn/kv_cache.ts";
import type { ModelConfig } from "./config.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** The parts of a loaded model. */
export interface ModelCore {
  /** Its config. */
  readonly config: ModelConfig;
  /** The native model. */
  readonly handle: NativeHandle;
  /** Where it is. */
  readonly place: Place;
  /** How many numbers it holds. */
  readonly parameters: number;
  /** Its tokenizer, or why it has none. */
  readonly tokenizer: Tokenizer | Error;
}

const NO_LOGITS = new Float32Array(0);

/** The caches that generations write to at the moment. */
const cachesInUse = new WeakSet<KVCache>();

/** Returns the tokenizer of a model; throws `unsupported` with the reason if it has none. */
export function tokenizerOf({ tokenizer }: ModelCore): Tokenizer {
  if (tokenizer instanceof Error) {
    // A new error, so that its stack shows who wanted text.
    throw tritterError("unsupported", tokenizer.message, { cause: tokenizer });
  }
  return tokenizer;
}

/** Runs tokens through the model; the length of `logits` says for which positions they are wanted. */
export function runForward(
  core: ModelCore,
  cache: KVCache | undefined,
  ids: Uint32Array,
  logits: Float32Array = NO_LOGITS,
): void {
  const model = core.handle.value;
  const cached = cache === undefined ? 0n : cacheHandle(cache).value;
  check(
    core.place === "cpu"
      ? native.model_forward(model, cached, ids, ids.length, logits, logits.length)
      : native.cuda_model_forward(model, cached, ids, ids.length, logits, logits.length),
  );
}

/** Runs tokens through a model on a device, which also chooses the likeliest token after them. */
export function runChoose(
  core: ModelCore,
  cache: KVCache,
  ids: Uint32Array,
  choice: Float64Array,
): void {
  const cached = cacheHandle(cache).value;
  check(
    native.cuda_model_choose(core.handle.value, cached, ids, ids.length, choice, choice.length),
  );
}

/** Checks token ids and returns a copy of them. */
export function checkIds(value: unknown, core: ModelCore, min = 1): Uint32Array<ArrayBuffer> {
  if (!Array.isArray(value) && !(value instanceof Uint32Array) && !(value instanceof Int32Array)) {
    throw tritterError(
      "invalid_type",
      `ids must be an array of token ids, got ${value === null ? "null" : typeof value}`,
    );
  }
  if (value.length < min) {
    throw tritterError(
      "invalid_length",
      `ids must have at least ${min} element${min === 1 ? "" : "s"}, got ${value.length}`,
    );
  }
  const { vocabSize } = core.config;
  const ids = new Uint32Array(value.length);
  for (let index = 0; index < ids.length; index += 1) {
    const id: unknown = value[index];
    if (typeof id !== "number") {
      throw tritterError("invalid_type", `ids[${index}] must be a number, got ${typeof id}`);
    }
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
      throw tritterError(
        "invalid_value",
        `ids[${index}] must be a token id from 0 to ${vocabSize - 1}, got ${id}`,
      );
    }
    ids[index] = id;
  }
  return ids;
}

/** Checks that a cache is one, alive, free, and of the model's sizes. */
export function checkCache(value: unknown, core: ModelCore): KVCache | undefined {
  if (value === undefined) return undefined;
  if (!(value instanceof KVCache)) {
    throw tritterError("invalid_type", `cache must be a KVCache, got ${typeof value}`);
  }
  const { layers, kvHeads, headDim } = core.config;
  if (value.layers !== layers || value.kvHeads !== kvHeads || value.headDim !== headDim) {
    throw tritterError(
      "invalid_shape",
      `cache must have ${layers} layers, ${kvHeads} heads and head dimension ${headDim}, got ${value.layers}, ${value.kvHeads} and ${value.headDim}`,
    );
  }
  if (value.device !== core.place) {
    throw tritterError(
      "invalid_value",
      `cache must be on the model's device, "${core.place}", got one on "${value.device}"`,
    );
  }
  void cacheHandle(value).value;
  checkFree(value);
  return value;
}

function checkFree(cache: KVCache): void {
  if (cachesInUse.has(cache)) {
    throw tritterError("invalid_value", "cache is in use by another generation");
  }
}

/** Keeps a cache for one generation: the tokens of two would mix into nonsense without an error. */
export function claimCache(cache: KVCache): void {
  checkFree(cache);
  cachesInUse.add(cache);
}

/** Lets others use a cache again. */
export function releaseCache(cache: KVCache): void {
  cachesInUse.delete(cache);
}

/** Throws `cache_full` if `count` more tokens do not fit. */
export function checkRoom(cache: KVCache, count: number): void {
  if (cache.policy === "error" && cache.length + count > cache.maxTokens) {
    throw tritterError(
      "cache_full",
      `The cache must have room for ${count} more token${
        count === 1 ? "" : "s"
      }, but holds ${cache.length} of ${cache.maxTokens}`,
    );
  }
}
