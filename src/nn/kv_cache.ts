// Keys and values of the tokens that a model has seen.

import { checkChoice, checkCount, describe } from "../checks.ts";
import { cudaIndex, type Device, type Place, placeOf } from "../device.ts";
import { tritterError } from "../errors.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import { floatsOf, Tensor } from "../tensor.ts";

/** Sizes of a `KVCache` and what it does when it is full. */
export interface KVCacheOptions {
  /** Layers of the model. Default: 1. */
  layers?: number | undefined;
  /** Heads that keys and values have; with grouped queries fewer than the query heads. */
  kvHeads: number;
  /** Numbers in a head. */
  headDim: number;
  /** Most tokens to hold. */
  maxTokens: number;
  /**
   * At the end `"error"` (default) refuses tokens with code `cache_full` and changes nothing,
   * `"slide"` forgets the oldest.
   */
  policy?: "error" | "slide" | undefined;
  /** Where the cache is: with the model that fills it. Default: the choice of `setDevice`. */
  device?: Device | undefined;
}

/** Keys and values, each [tokens, kvHeads * headDim], oldest token first. */
export interface KeysAndValues {
  /** The keys. */
  keys: Float32Array<ArrayBuffer>;
  /** The values. */
  values: Float32Array<ArrayBuffer>;
}

/** The options, with those that have no default; a model knows them, so say how to ask it. */
function checkCacheOptions(value: unknown): KVCacheOptions {
  const needed = "kvHeads, headDim and maxTokens (model.createCache() fills them in)";
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw tritterError(
      "invalid_type",
      `options must be an object with ${needed}, got ${describe(value)}`,
    );
  }
  const options = value as KVCacheOptions;
  for (const field of ["kvHeads", "headDim", "maxTokens"] as const) {
    if (options[field] !== undefined) continue;
    throw tritterError("invalid_type", `options must have ${needed}, got no ${field}`);
  }
  return options;
}

const POLICIES = ["error", "slide"] as const;

interface CacheFunctions {
  info: typeof native.cache_info;
  truncate: typeof native.cache_truncate;
  append: typeof native.cache_append;
  read: typeof native.cache_read;
}

const CPU_FUNCTIONS: CacheFunctions = {
  info: native.cache_info,
  truncate: native.cache_truncate,
  append: native.cache_append,
  read: native.cache_read,
};

const CUDA_FUNCTIONS: CacheFunctions = {
  info: native.cuda_cache_info,
  truncate: native.cuda_cache_truncate,
  append: native.cuda_cache_append,
  read: native.cuda_cache_read,
};

let handleOf: (cache: KVCache) => NativeHandle;

/** Returns the native cache, for the models of this library; not part of the public API. */
export function cacheHandle(cache: KVCache): NativeHandle {
  return handleOf(cache);
}

/**
 * Keys and values of a sequence, so that a model computes each token once.
 *
 * It counts tokens, allocates all its memory at the start, and owns it: use `using` or
 * `[Symbol.dispose]()`.
 *
 * @example
 * ```ts
 * import { KVCache } from "tritter-accel";
 *
 * using cache = new KVCache({ kvHeads: 2, headDim: 4, maxTokens: 16 });
 * const token = new Float32Array(8);
 * const { keys } = cache.update(token, token);
 * console.log(cache.length, keys.length); // 1 8
 * ```
 */
export class KVCache implements Disposable {
  /** Layers of the model. */
  readonly layers: number;
  /** Heads that keys and values have. */
  readonly kvHeads: number;
  /** Numbers in a head. */
  readonly headDim: number;
  /** Most tokens that the cache holds. */
  readonly maxTokens: number;
  /** What happens at the end. */
  readonly policy: "error" | "slide";
  /** Where it is: `"cpu"` or `"cuda:N"`. */
  readonly device: string;

  readonly #place: Place;
  readonly #handle: NativeHandle;
  /** Tokens that each layer has beyond those that all have; a model adds to all alike. */
  readonly #ahead: number[];

  /** The library's functions for caches of this device. */
  get #functions(): CacheFunctions {
    return this.#place === "cpu" ? CPU_FUNCTIONS : CUDA_FUNCTIONS;
  }

  static {
    handleOf = (cache) => cache.#handle;
  }

  /** Allocates a cache; throws `out_of_memory` if there is not enough. */
  constructor(options: KVCacheOptions) {
    const { layers = 1, kvHeads, headDim, maxTokens, policy } = checkCacheOptions(options);
    this.layers = checkCount(layers, "layers", { min: 1 });
    this.kvHeads = checkCount(kvHeads, "kvHeads", { min: 1 });
    this.headDim = checkCount(headDim, "headDim", { min: 1 });
    this.maxTokens = checkCount(maxTokens, "maxTokens", { min: 1 });
    this.policy = checkChoice(policy, POLICIES, "policy", "error");
    this.#place = placeOf(options.device);
    this.device = this.#place;
    const sizes = Float64Array.of(
      this.layers,
      this.kvHeads,
      this.headDim,
      this.maxTokens,
      POLICIES.indexOf(this.policy),
    );
    const handle = new BigUint64Array(1);
    check(
      this.#place === "cpu"
        ? native.cache_create(sizes, sizes.length, handle, 1)
        : native.cuda_cache_create(cudaIndex(this.#place), sizes, sizes.length, handle, 1),
    );
    this.#handle = new NativeHandle(handle[0]!, "KVCache");
    this.#ahead = new Array(this.layers).fill(0);
  }

  #info(field: 0 | 2 | 3): number {
    const info = new BigUint64Array(4);
    check(this.#functions.info(this.#handle.value, info, info.length));
    return Number(info[field]);
  }

  /** Tokens that every layer holds. */
  get length(): number {
    return this.#info(0);
  }

  /** Tokens that every layer has ever seen since the cache was empty; a sliding cache forgets some. */
  get position(): number {
    return this.#info(2);
  }

  /** Memory that the library holds for the cache, in bytes. */
  get memoryBytes(): number {
    return this.#info(3);
  }

  /** True while there are no tokens. */
  get isEmpty(): boolean {
    return this.length === 0;
  }

  /**
   * Adds tokens to a layer: `keys` and `values` are [tokens, kvHeads * headDim].
   *
   * Tensors may also be [tokens, kvHeads, headDim], and have axes of size 1 before. Throws `cache_full` and changes nothing if they do not fit and the policy is `"error"`.
   *
   * @example
   * ```ts
   * import { KVCache } from "tritter-accel";
   *
   * using cache = new KVCache({ layers: 2, kvHeads: 1, headDim: 4, maxTokens: 16 });
   * const threeTokens = new Float32Array(12);
   * for (let layer = 0; layer < 2; layer++) cache.append(threeTokens, threeTokens, layer);
   * console.log(cache.length); // 3
   * ```
   */
  append(keys: Float32Array | Tensor, values: Float32Array | Tensor, layer = 0): void {
    const handle = this.#handle.value;
    const index = this.#checkLayer(layer);
    const newKeys = this.#rowsOf(keys, "keys");
    const width = this.kvHeads * this.headDim;
    const { length } = newKeys;
    if (length === 0 || length % width !== 0) {
      throw tritterError(
        "invalid_length",
        `keys must have a positive multiple of ${width} elements, got ${length}`,
      );
    }
    const newValues = this.#rowsOf(values, "values", length);
    check(this.#functions.append(handle, index, newKeys, length, newValues, length));
    this.#ahead[index]! += length / width;
    const common = Math.min(...this.#ahead);
    if (common > 0) this.#ahead.forEach((tokens, index) => this.#ahead[index] = tokens - common);
  }

  /**
   * Returns a copy of the keys and values that a layer holds, oldest token first.
   *
   * @example
   * ```ts
   * import { KVCache } from "tritter-accel";
   *
   * using cache = new KVCache({ kvHeads: 1, headDim: 2, maxTokens: 4 });
   * cache.append(Float32Array.of(1, 2), Float32Array.of(3, 4));
   * console.log(cache.read().values); // 3 4
   * ```
   */
  read(layer = 0): KeysAndValues {
    const handle = this.#handle.value;
    const index = this.#checkLayer(layer);
    const held = Math.min(this.position + this.#ahead[index]!, this.maxTokens);
    const size = held * this.kvHeads * this.headDim;
    const keys = new Float32Array(size);
    const values = new Float32Array(size);
    check(this.#functions.read(handle, index, keys, size, values, size));
    return { keys, values };
  }

  /**
   * Adds tokens to a layer and returns all that it holds.
   *
   * @example
   * ```ts
   * import { KVCache } from "tritter-accel";
   *
   * using cache = new KVCache({ kvHeads: 1, headDim: 2, maxTokens: 2, policy: "slide" });
   * cache.update(Float32Array.of(1, 1, 2, 2), new Float32Array(4));
   * console.log(cache.update(Float32Array.of(3, 3), new Float32Array(2)).keys); // 2 2 3 3
   * ```
   */
  update(
    keys: Float32Array | Tensor,
    values: Float32Array | Tensor,
    layer = 0,
  ): KeysAndValues {
    this.append(keys, values, layer);
    return this.read(layer);
  }

  /**
   * Forgets all but the first `tokens` tokens, to go back to an earlier point of the sequence.
   *
   * A cache that slides no longer has its first tokens: there only 0 is allowed.
   *
   * @example
   * ```ts
   * import { KVCache } from "tritter-accel";
   *
   * using cache = new KVCache({ kvHeads: 1, headDim: 2, maxTokens: 4 });
   * cache.append(new Float32Array(6), new Float32Array(6));
   * cache.truncate(1);
   * console.log(cache.length); // 1
   * ```
   */
  truncate(tokens: number): void {
    check(this.#functions.truncate(this.#handle.value, checkCount(tokens, "tokens")));
    this.#ahead.fill(0);
  }

  /** Forgets all tokens. */
  clear(): void {
    this.truncate(0);
  }

  /** The floats, whose order a tensor must show to be that of the cache: token, head, number. */
  #rowsOf(value: Float32Array | Tensor, name: string, length?: number): Float32Array {
    const floats = floatsOf(value, name, length);
    if (!(value instanceof Tensor)) return floats;
    const { kvHeads, headDim } = this;
    const { shape } = value;
    const isFlat = (axes: readonly number[]) => axes.every((size) => size === 1);
    const isRows = shape.at(-1) === kvHeads * headDim && isFlat(shape.slice(0, -2));
    const isHeads = shape.at(-1) === headDim && shape.at(-2) === kvHeads &&
      isFlat(shape.slice(0, -3));
    if (isRows || isHeads) return floats;
    throw tritterError(
      "invalid_shape",
      `${name} must have shape [tokens, ${kvHeads * headDim}] or ` +
        `[tokens, ${kvHeads}, ${headDim}], got [${shape.join(", ")}]`,
    );
  }

  #checkLayer(layer: number): number {
    return checkCount(layer, "layer", { max: this.layers - 1 });
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#handle[Symbol.dispose]();
  }
}
