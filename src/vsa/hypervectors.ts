// What single hypervectors and batches have in common.

import { checkArray, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import {
  type BindMode,
  bindOperation,
  checkDim,
  checkSeed,
  deviceOf,
  type HypervectorOptions,
  type RandomOptions,
  randomShare,
  unbindOperation,
} from "./options.ts";

/** How many trits of each kind there are. */
export interface TritCounts {
  /** Trits of 1. */
  positive: number;
  /** Trits of -1. */
  negative: number;
  /** Trits of 0. */
  zero: number;
}

/** Where a result goes; `Out` is a `Hypervector` or a `HypervectorBatch`. */
export interface OutOptions<Out> {
  /** Vectors of the result's shape to write to instead of allocating; may be an operand. */
  out?: Out | undefined;
}

/** Options of binding. */
export interface BindOptions<Out> extends OutOptions<Out> {
  /** What binding means. Default: `"add"`. */
  mode?: BindMode | undefined;
}

const COUNT_MAX = 2 ** 32 - 1;
const newHandle = new BigUint64Array(1);
const newHandleHalves = new Uint32Array(newHandle.buffer);
const twoCounts = new Float64Array(2);
const oneFlag = new Uint32Array(1);

/** Set by the class, the only place that can read its private fields. */
let readHandle: (vectors: Hypervectors) => bigint;
let writeHandles: (list: readonly unknown[], dim: number, halves: Uint32Array) => number;

/** The number that the library knows the vectors by; throws `disposed` after disposal. */
export function handleOf(vectors: Hypervectors): bigint {
  return readHandle(vectors);
}

/**
 * Writes the handles of single vectors, two halves each, and returns how many came before the first
 * value that is none, that has other dimensions or that has been disposed.
 *
 * Halves, as storing a bigint takes Bun longer than all the rest.
 */
export function writeHandlesOf(
  list: readonly unknown[],
  dim: number,
  halves: Uint32Array,
): number {
  return writeHandles(list, dim, halves);
}

/** Checks that a value is a hypervector or a batch, of as many dimensions as asked for. */
export function checkVectors<T extends Hypervectors>(value: T, name: string, dim?: number): T {
  if (!(value instanceof Hypervectors)) {
    throw tritterError(
      "invalid_type",
      `${name} must be a Hypervector or a HypervectorBatch, got ${describe(value)}`,
    );
  }
  if (dim !== undefined && value.dim !== dim) {
    throw tritterError("invalid_shape", `${name} must have ${dim} dimensions, got ${value.dim}`);
  }
  return value;
}

/**
 * Vectors of trits in native memory: the base of `Hypervector` and `HypervectorBatch`.
 *
 * Every trit takes two bits, in blocks of 512: one says whether it is nonzero, one whether it is
 * negative. They own native memory: declare them with `using` or call `[Symbol.dispose]()`; every use
 * after that throws `disposed`.
 */
export abstract class Hypervectors implements Disposable {
  /** Trits of one vector. */
  readonly dim: number;
  /** Number of vectors. */
  readonly count: number;
  /** Where they are. */
  readonly device: "cpu";

  readonly #handle: NativeHandle;
  /** The halves of the handle; the low one is 0 after disposal, which no handle's is. */
  #low: number;
  readonly #high: number;

  static {
    readHandle = (vectors) => vectors.#handle.value;
    writeHandles = (list, dim, halves) => {
      let index = 0;
      for (; index < list.length; index++) {
        const vector = list[index];
        if (typeof vector !== "object" || vector === null || !(#high in vector)) break;
        if (vector.dim !== dim || vector.count !== 1 || vector.#low === 0) break;
        halves[2 * index] = vector.#low;
        halves[2 * index + 1] = vector.#high;
      }
      return index;
    };
  }

  /** Allocates vectors of zeros. */
  protected constructor(count: number, dim: number, options?: HypervectorOptions) {
    this.device = deviceOf(options);
    this.dim = checkDim(dim);
    this.count = count;
    check(native.vectors_create(count, dim, newHandle, 1));
    this.#handle = new NativeHandle(newHandle[0]!, this.constructor.name);
    this.#low = newHandleHalves[0]!;
    this.#high = newHandleHalves[1]!;
  }

  /** Zeros of the same shape on the same device. */
  protected abstract allocate(): this;

  /** Memory of the vectors, in bytes: 2 bits a trit, in blocks of 512 trits. */
  get memoryBytes(): number {
    return this.count * Math.ceil(this.dim / 512) * 128;
  }

  /**
   * Binds each vector with a key, or with the vector of the same row, by `mode` (default `"add"`).
   *
   * `out`, of the same shape, takes the result instead of new memory and may be an operand. Throws
   * `invalid_shape` where dimensions or numbers of vectors differ.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using apple = Hypervector.random(10_000, 1);
   * using red = Hypervector.random(10_000, 2);
   * using bound = apple.bind(red);
   * using found = bound.unbind(apple);
   * console.log(found.cosine(red)); // 1
   * ```
   */
  bind(other: Hypervectors, options?: BindOptions<this>): this {
    const { mode, out } = checkOptions(options, "options");
    return this.#combine(other, bindOperation(mode), out);
  }

  /**
   * Undoes `bind` with the same key and mode; see {@linkcode BindMode} for when that is exact.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.from(Int8Array.of(1, 0, -1));
   * using key = Hypervector.from(Int8Array.of(1, 1, 1));
   * console.log(a.bind(key).unbind(key).toInt8Array()); // 1 0 -1
   * ```
   */
  unbind(key: Hypervectors, options?: BindOptions<this>): this {
    const { mode, out } = checkOptions(options, "options");
    return this.#combine(key, unbindOperation(mode), out);
  }

  #combine(other: Hypervectors, operation: number, out: this | undefined): this {
    checkVectors(other, "other", this.dim);
    if (other.count !== this.count && other.count !== 1) {
      throw tritterError(
        "invalid_shape",
        `other must be 1 or ${this.count} vectors, got ${other.count}`,
      );
    }
    const target = this.target(out);
    check(native.vectors_bind(
      this.#handle.value,
      other.#handle.value,
      target.#handle.value,
      operation,
    ));
    return target;
  }

  /**
   * Returns the vector that binding with undoes binding with this one: the negative for `"add"` and
   * `"subtract"`, a copy for `"multiply"`.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.random(1000, 1);
   * using key = Hypervector.random(1000, 2);
   * console.log(a.bind(key).bind(key.inverse()).equals(a)); // true
   * ```
   */
  inverse(options?: BindOptions<this>): this {
    const { mode, out } = checkOptions(options, "options");
    return bindOperation(mode) === 2 ? this.copy({ out }) : this.negate({ out });
  }

  /**
   * Changes the sign of every trit.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * console.log(Hypervector.from(Int8Array.of(1, 0, -1)).negate().toInt8Array()); // -1 0 1
   * ```
   */
  negate(options?: OutOptions<this>): this {
    const target = this.target(checkOptions(options, "options").out);
    check(native.vectors_negate(this.#handle.value, target.#handle.value));
    return target;
  }

  /**
   * Copies the vectors.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.random(100, 7);
   * using b = a.copy();
   * console.log(a.equals(b)); // true
   * ```
   */
  copy(options?: OutOptions<this>): this {
    const target = this.target(checkOptions(options, "options").out);
    if (target === this) return target;
    check(native.vectors_copy(this.#handle.value, 0, target.#handle.value, 0, this.count));
    return target;
  }

  /**
   * Returns whether the other has the same dimensions, as many vectors, and the same trits.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * console.log(Hypervector.random(100, 7).equals(Hypervector.random(100, 7))); // true
   * ```
   */
  equals(other: Hypervectors): boolean {
    checkVectors(other, "other");
    if (other.dim !== this.dim || other.count !== this.count) return false;
    check(native.vectors_equal(this.#handle.value, other.#handle.value, oneFlag, 1));
    return oneFlag[0] === 1;
  }

  /**
   * Counts the trits of each kind, over all vectors.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * console.log(Hypervector.from(Int8Array.of(1, 0, -1, -1)).counts().negative); // 2
   * ```
   */
  counts(): TritCounts {
    check(native.vectors_count(this.#handle.value, 0, this.count, twoCounts, 2));
    const [nonzero, negative] = [twoCounts[0]!, twoCounts[1]!];
    return {
      positive: nonzero - negative,
      negative,
      zero: this.count * this.dim - nonzero,
    };
  }

  /** Share of trits that are 0, from 0 to 1. */
  get sparsity(): number {
    return this.counts().zero / (this.count * this.dim);
  }

  /**
   * Returns the trits, row by row, as bytes of -1, 0 and 1; `out` takes them instead of a new array.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * console.log(Hypervector.random(5, 1).toInt8Array().length); // 5
   * ```
   */
  toInt8Array(options?: { out?: Int8Array | undefined }): Int8Array<ArrayBuffer> {
    const { out } = checkOptions(options, "options");
    const length = this.count * this.dim;
    if (length > COUNT_MAX) {
      throw tritterError(
        "invalid_length",
        `an array must have fewer than 2^32 elements, got ${length} trits`,
      );
    }
    const trits = out === undefined
      ? new Int8Array(length)
      : checkArray(out, Int8Array, "out", length);
    check(native.vectors_read_i8(this.#handle.value, 0, trits, trits.length));
    return trits as Int8Array<ArrayBuffer>;
  }

  /** Fills all vectors with random trits. */
  protected fillRandom(seed: number | bigint, options: RandomOptions | undefined): this {
    const share = randomShare(checkOptions(options, "options").distribution);
    check(native.vectors_random(this.#handle.value, checkSeed(seed), share));
    return this;
  }

  /** Writes all vectors from bytes. */
  protected fillTrits(trits: Int8Array): this {
    check(native.vectors_write_i8(this.#handle.value, 0, trits, trits.length));
    return this;
  }

  /** The vectors to write to: those given, of the same shape, or new ones. */
  protected target(out: this | undefined): this {
    if (out === undefined) return this.allocate();
    checkVectors(out, "out", this.dim);
    if (out.count !== this.count) {
      throw tritterError("invalid_shape", `out must be ${this.count} vectors, got ${out.count}`);
    }
    return out;
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#low = 0;
    this.#handle[Symbol.dispose]();
  }
}
