// What single hypervectors and batches have in common.

import { checkNumber, checkOptions } from "../checks.ts";
import { type Device, namedPlace, type Place } from "../device.ts";
import { tritterError } from "../errors.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import * as calls from "./calls.ts";
import { readFormat, readTrits, saveRows, writeFormat } from "./formats.ts";
import {
  checkVectors,
  copyBetween,
  createVectors,
  grantAccess,
  handleAt,
  handleOf,
  readOnHost,
  writeOnHost,
} from "./handles.ts";
import {
  bindOperation,
  type BindOptions,
  checkDim,
  checkSeed,
  checkShift,
  checkSlice,
  type HypervectorOptions,
  type OutOptions,
  placeOfOptions,
  type RandomOptions,
  randomShare,
  type ThinOptions,
  type TritCounts,
  unbindOperation,
} from "./options.ts";
import { filled, settled } from "./ownership.ts";
import { checkPermutation, type Permutation, sourcesOf } from "./permutation.ts";

export { checkVectors, handleAt, handleOf, writeHandlesOf } from "./handles.ts";
export type { BindOptions, OutOptions, ThinOptions, TritCounts } from "./options.ts";

const newHandle = new BigUint64Array(1);
const newHandleHalves = new Uint32Array(newHandle.buffer);
const twoCounts = new Float64Array(2);
const oneFlag = new Uint32Array(1);

/**
 * Vectors of trits in native memory: the base of `Hypervector` and `HypervectorBatch`.
 *
 * Every trit takes two bits, in blocks of 512: one says whether it is nonzero, one whether it is
 * negative. They own native memory: declare them with `using` or call `[Symbol.dispose]()`; every use
 * after that throws `disposed`.
 *
 * On a CUDA device they have the same bits. What there are kernels for runs there, in the order it
 * was asked for and without waiting; what there are none for throws `unsupported`. They travel only
 * when `to` is called, or what makes or reads arrays and bytes.
 */
export abstract class Hypervectors implements Disposable {
  /** Trits of one vector. */
  readonly dim: number;
  /** Number of vectors. */
  readonly count: number;
  /** Where they are. */
  readonly device: Place;

  readonly #handle: NativeHandle;
  /** The halves of the handle; the low one is 0 after disposal, which no handle's is. */
  #low: number;
  readonly #high: number;

  static {
    grantAccess({
      handle: (vectors) => (vectors as Hypervectors).#handle.value,
      isVectors: (value) => typeof value === "object" && value !== null && #handle in value,
      writeHandles: (list, count, { dim, device }, halves) => {
        let index = 0;
        for (; index < count; index++) {
          const vector = list[index];
          if (typeof vector !== "object" || vector === null || !(#high in vector)) break;
          if (vector.dim !== dim || vector.count !== 1 || vector.#low === 0) break;
          if (vector.device !== device) break;
          halves[2 * index] = vector.#low;
          halves[2 * index + 1] = vector.#high;
        }
        return index;
      },
    });
  }

  /** Allocates vectors of zeros. */
  protected constructor(count: number, dim: number, options?: HypervectorOptions) {
    if (new.target === Hypervectors) {
      throw tritterError(
        "invalid_type",
        "Hypervectors is made by the constructors of Hypervector and HypervectorBatch",
      );
    }
    this.device = placeOfOptions(options);
    this.dim = checkDim(dim);
    this.count = count;
    createVectors(this.device, this, newHandle);
    this.#handle = new NativeHandle(newHandle[0]!, this.constructor.name);
    this.#low = newHandleHalves[0]!;
    this.#high = newHandleHalves[1]!;
  }

  /** Zeros of as many vectors: of the same dimensions, on the same device, or of others. */
  protected abstract allocate(dim?: number, device?: Place): this;

  /**
   * Returns the vectors on another device: themselves where they already are there, else a copy.
   *
   * @example
   * ```ts
   * import { HypervectorBatch } from "tritter-accel";
   *
   * using batch = HypervectorBatch.random(10, 1000, 1);
   * console.log(batch.to("cpu") === batch); // true
   * ```
   */
  to(device: Device): this {
    const place = namedPlace(device);
    if (place === this.device && this.#handle.value) return this;
    return filled(this.allocate(this.dim, place), (copy) => copyBetween(this, copy));
  }

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
    const a = this.#handle.value;
    const b = handleAt(other, this.device, "other");
    const target = this.target(out);
    return settled(calls.bind(this.device, a, b, target.#handle.value, operation), target, out);
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
    const handle = this.#handle.value;
    const target = this.target(checkOptions(options, "options").out);
    check(calls.negate(this.device, handle, target.#handle.value));
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
    const handle = this.#handle.value;
    const target = this.target(checkOptions(options, "options").out);
    if (target === this) return target;
    check(calls.copy(this.device, handle, 0, target.#handle.value, 0, this.count));
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
    const [a, b] = [this.#handle.value, handleAt(other, this.device, "other")];
    check(calls.equal(this.device, a, b, oneFlag, 1));
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
    check(calls.count(this.device, this.#handle.value, 0, this.count, twoCounts, 2));
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
    return readOnHost(this, (handle) => readTrits(handle, this, out));
  }

  /**
   * Moves the trits of each vector: by a number of places round and round, or in another order.
   *
   * With a number k trit i goes to place (i + k) mod dim; k is any integer. With a
   * {@linkcode Permutation} it goes to place p[i]. Dissimilar to the vector itself, so it tells places
   * in a sequence apart; distributes over binding and bundling. `out` may be the vector itself.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.from(Int8Array.of(1, 0, -1));
   * console.log(a.permute(1).toInt8Array()); // -1 1 0
   * ```
   */
  permute(shift: number | Permutation, options?: OutOptions<this>): this {
    const { out } = checkOptions(options, "options");
    return typeof shift === "number" ? this.#rotate(shift, out) : this.#reorder(shift, false, out);
  }

  /**
   * Undoes `permute` of the same shift or permutation.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.random(1000, 1);
   * console.log(a.permute(3).unpermute(3).equals(a)); // true
   * ```
   */
  unpermute(shift: number | Permutation, options?: OutOptions<this>): this {
    const { out } = checkOptions(options, "options");
    return typeof shift === "number" ? this.#rotate(-shift, out) : this.#reorder(shift, true, out);
  }

  #rotate(shift: number, out: this | undefined): this {
    const places = checkShift(shift, this.dim);
    const handle = this.#handle.value;
    const target = this.target(out);
    return settled(calls.rotate(this.device, handle, target.#handle.value, places), target, out);
  }

  #reorder(order: Permutation, inverse: boolean, out: this | undefined): this {
    const sources = sourcesOf(checkPermutation(order, "shift", this.dim), inverse);
    const handle = handleOf(this);
    const target = this.target(out);
    const { length } = sources;
    const status = native.vectors_gather(handle, target.#handle.value, sources, length);
    return settled(status, target, out);
  }

  /**
   * Keeps each nonzero trit with probability `keep` and makes the others 0: a sparser vector that is
   * still similar, by a cosine of about the square root of `keep`.
   *
   * Trit i of row r is kept where w[i] < round(keep 2^32), with w as in `Hypervector.random` but
   * counters (floor(i / 4), r mod 2^32, floor(r / 2^32), 4). `seed` is 0 unless told.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.random(100_000, 1, { distribution: "bipolar" });
   * console.log(a.thin({ keep: 0.1 }).sparsity.toFixed(1)); // 0.9
   * ```
   */
  thin(options: ThinOptions<this>): this {
    const { keep, seed = 0, out } = checkOptions(options, "options");
    const below = Math.round(checkNumber(keep, "keep", { min: 0, max: 1 }) * 2 ** 32) + 0;
    const key = checkSeed(seed);
    if (below >= 2 ** 32) return this.copy({ out });
    const handle = handleOf(this);
    const target = this.target(out);
    return settled(native.vectors_thin(handle, target.#handle.value, key, below), target, out);
  }

  /**
   * Returns the trits from place `start` on up to `end`, which is not included, of each vector.
   *
   * `out`, of `end - start` dimensions and not the vector itself, takes the result instead of new
   * memory.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.from(Int8Array.of(1, 0, -1, -1));
   * console.log(a.slice(1, 3).toInt8Array()); // 0 -1
   * ```
   */
  slice(start: number, end: number = this.dim, options?: OutOptions<this>): this {
    const { out } = checkOptions(options, "options");
    const first = checkSlice(start, end, this.dim);
    const dim = end - first;
    const handle = handleOf(this);
    const target = this.target(out, dim);
    return settled(native.vectors_move(handle, first, target.#handle.value, 0, dim), target, out);
  }

  /**
   * Returns the vectors in the wire format, row by row: 2 bits a trit, 4 a byte, low bits first, 00 = 0, 01 = +1,
   * 10 = -1; each row starts on a byte.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * const bytes = Hypervector.from(Int8Array.of(1, -1, 0, 1)).toPackedBytes();
   * console.log(bytes[0]!.toString(16)); // 49
   * ```
   */
  toPackedBytes(): Uint8Array<ArrayBuffer> {
    return readOnHost(this, (handle) => readFormat(handle, "wire", this));
  }

  /**
   * Returns the vectors with 5 trits a byte, 1.6 bits each: byte j of a row is the sum of
   * (trit 5j + i + 1) 3^i, where trits after the last are 0.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * console.log(Hypervector.from(Int8Array.of(1, 0, 0, 0, 0, -1)).toBase3Bytes()); // 122 120
   * ```
   */
  toBase3Bytes(): Uint8Array<ArrayBuffer> {
    return readOnHost(this, (handle) => readFormat(handle, "base3", this));
  }

  /**
   * Returns bytes that `load` reads: a header, the bits of the trits, and a checksum.
   *
   * @example
   * ```ts
   * import { Hypervector } from "tritter-accel";
   *
   * using a = Hypervector.random(1000, 1);
   * console.log(Hypervector.load(a.save()).equals(a)); // true
   * ```
   */
  save(): Uint8Array<ArrayBuffer> {
    return readOnHost(this, (handle) => saveRows(handle, this));
  }

  /** Fills new vectors by a handle of the CPU, or frees them where that fails. */
  protected fill(write: (handle: bigint) => void): this {
    return filled(this, () => writeOnHost(this, write));
  }

  /** Fills all vectors with random trits. */
  protected fillRandom(seed: number | bigint, options: RandomOptions | undefined): this {
    return filled(this, () => {
      const share = randomShare(checkOptions(options, "options").distribution);
      check(calls.random(this.device, this.#handle.value, checkSeed(seed), share));
    });
  }

  /** Writes all vectors from trits. */
  protected fillTrits(trits: Int8Array | Float32Array): this {
    if (trits instanceof Float32Array) return this.fillFloats(trits, 0);
    return this.fill((handle) => check(native.vectors_write_i8(handle, 0, trits, trits.length)));
  }

  /** Writes all vectors from bytes of a format. */
  protected fillFormat(format: "wire" | "base3" | "planes", bytes: Uint8Array): this {
    return this.fill((handle) => writeFormat(handle, format, bytes));
  }

  /** Writes all vectors from the signs of numbers above a threshold. */
  protected fillFloats(values: Float32Array, threshold: number): this {
    return this.fill((handle) =>
      check(native.vectors_write_f32(handle, 0, values, values.length, threshold))
    );
  }

  /** Writes trits of every vector from place `to` on, from others. */
  protected fillPart(to: number, vectors: Hypervectors): void {
    const { dim } = vectors;
    check(native.vectors_move(handleOf(vectors), 0, handleOf(this), to, dim));
  }

  /** The vectors to write to: those given, of the same shape, or new ones. */
  protected target(out: this | undefined, dim: number = this.dim): this {
    if (out === undefined) return this.allocate(dim);
    checkVectors(out, "out", dim);
    if (out.count !== this.count) {
      throw tritterError("invalid_shape", `out must be ${this.count} vectors, got ${out.count}`);
    }
    handleAt(out, this.device, "out");
    return out;
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#low = 0;
    this.#handle[Symbol.dispose]();
  }
}
