// Ternary weights in the layout that the kernels read, kept in native memory.

import { checkArray, checkChoice, checkOptions, checkShape } from "../checks.ts";
import { type Device, namedPlace, type Place, placeOf } from "../device.ts";
import { tritterError } from "../errors.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import { type QuantizeConfig, quantizeRequest } from "../quantization/weights.ts";
import { floatsOf, Tensor } from "../tensor.ts";
import { checkScales, packedBytes } from "./bytes.ts";
import {
  cudaPackedBytes,
  cudaScales,
  cudaWeightsInfo,
  moveToCuda,
  multiplyOnCuda,
  packOnCuda,
  quantizeOnCuda,
  type WeightsInfo,
  weightsInfoOf,
} from "./cuda_weights.ts";
import {
  type Keep,
  keepOf,
  LAYOUTS,
  type PackOptions,
  residentOf,
  type WeightLayout,
} from "./keep.ts";

/**
 * How a layer sees its activations.
 *
 * `"f32"` sums 32-bit floats; `"int8"` quantises every row as `quantizeActivationsAbsmax` does and
 * sums integers exactly, which is what BitNet models are trained for and is faster.
 */
export type Activations = "f32" | "int8";

/** Options of a ternary matrix product. */
export interface TernaryMatmulConfig {
  /** Where to compute; the weights must be there. Default: where they are. */
  device?: Device | undefined;
  /** How to treat the activations. Default: `"f32"`, or `"int8"` for weights laid out as base3. */
  activations?: Activations | undefined;
  /** A number per output to add. */
  bias?: Float32Array | Tensor | undefined;
  /**
   * Where to write the result, of batch x outputs elements; must not overlap input or bias. A tensor
   * where the input is a tensor on CUDA.
   */
  out?: Float32Array | Tensor<"f32"> | undefined;
}

/** What only this module can pass to the constructor: at run time nothing else makes it private. */
const KEY = Symbol("PackedTernary");

const ACTIVATIONS = ["f32", "int8"] as const;
const NO_OPTIONS: TernaryMatmulConfig = Object.freeze({});

/** The number that stands for a kind of activations in the native library. */
export function activationsCode(activations: Activations | undefined): 0 | 1 {
  if (activations === undefined || activations === "f32") return 0;
  if (activations === "int8") return 1;
  checkChoice(activations, ACTIVATIONS, "activations", "f32");
  return 0;
}

/** Returns what the library knows of weights on the CPU. */
function cpuWeightsInfo(handle: bigint): WeightsInfo {
  const described = new BigUint64Array(6);
  check(native.weights_info(handle, described, described.length));
  return weightsInfoOf(described);
}

/** Returns how many rows of `features` numbers an input has. */
export function batchOf(length: number, features: number): number {
  const batch = length / features;
  if (batch >= 1 && Number.isInteger(batch)) return batch;
  throw tritterError(
    "invalid_length",
    `input must have a positive multiple of ${features} elements, got ${length}`,
  );
}

/** Returns the array to write to: the one given or a new one. */
export function outputOf(
  out: Float32Array | Tensor | undefined,
  length: number,
): Float32Array<ArrayBuffer> {
  if (out !== undefined) {
    return checkArray(out, Float32Array, "out", length) as Float32Array<ArrayBuffer>;
  }
  if (length >= 2 ** 32) {
    throw tritterError(
      "invalid_shape",
      `the result must have fewer than 2^32 elements, got ${length}`,
    );
  }
  return new Float32Array(length);
}

/**
 * A ternary weight matrix, packed for matrix products: two bits a weight or less, and the scales.
 *
 * It owns native memory: declare it with `using` or call `[Symbol.dispose]()`; every use after that
 * throws `disposed`. A forgotten one is freed after garbage collection.
 *
 * @example
 * ```ts
 * import { PackedTernary } from "tritter-accel";
 *
 * const trits = Int8Array.of(1, -1, 1, -1, 1, 1, 0, 0);
 * using weights = PackedTernary.fromTernary(trits, Float32Array.of(1, 1), [2, 4]);
 * console.log(weights.matmul(Float32Array.of(1, 2, 3, 4))); // -2 3
 * ```
 */
export class PackedTernary implements Disposable {
  /** Rows (outputs) and columns (inputs). */
  readonly shape: readonly [number, number];
  /** Columns that share a scale. */
  readonly groupSize: number;
  /** Share of weights that are 0, from 0 to 1. */
  readonly sparsity: number;
  /** Memory that the library holds for the weights, in bytes; rows may be padded. */
  readonly memoryBytes: number;
  /** How the weights lie in memory. */
  readonly layout: WeightLayout;
  /** Where the weights are. */
  readonly device: Place;

  readonly #handle: NativeHandle;
  readonly #rows: number;
  readonly #cols: number;

  private constructor(key: symbol, handle: bigint, keep: Keep) {
    if (key !== KEY) {
      throw tritterError(
        "invalid_type",
        "PackedTernary is made by PackedTernary.fromTernary, fromWeights or fromPackedBytes",
      );
    }
    const { place, layout } = keep;
    this.#handle = new NativeHandle(handle, "PackedTernary");
    this.layout = layout;
    this.device = place;
    try {
      if (place === "cpu") check(native.weights_change_layout(handle, LAYOUTS.indexOf(layout)));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    const { rows, cols, groupSize, memoryBytes, nonzeros } = place === "cpu"
      ? cpuWeightsInfo(handle)
      : cudaWeightsInfo(handle);
    this.#rows = rows;
    this.#cols = cols;
    this.shape = Object.freeze([rows, cols] as const);
    this.groupSize = groupSize;
    this.memoryBytes = memoryBytes;
    this.sparsity = 1 - nonzeros / (rows * cols);
  }

  /** Weights that the CPU has prepared, where they shall be. */
  static #keep(prepared: bigint, keep: Keep): PackedTernary {
    const handle = keep.place === "cpu" ? prepared : moveToCuda(prepared, keep.place);
    return new PackedTernary(KEY, handle, keep);
  }

  /**
   * Packs trits; `scales` has one scale a row, or one a group of columns, the groups of row 0 first.
   * Trits may be a tensor of dtype i8 or f32; one on CUDA, of i8, is packed where it is.
   *
   * Throws `invalid_value` naming the index for values other than -1, 0 and 1 and for scales that
   * are not finite, `device_unavailable` for a device that is not there, `invalid_option` for an
   * unknown layout.
   *
   * @example
   * ```ts
   * import { PackedTernary } from "tritter-accel";
   *
   * const trits = Float32Array.of(1, 0, -1, 1);
   * using weights = PackedTernary.fromTernary(trits, Float32Array.of(0.5, 2), [1, 4]);
   * console.log(weights.groupSize); // 2
   * ```
   */
  static fromTernary(
    ternary: Int8Array | Float32Array | Tensor,
    scales: Float32Array,
    shape: readonly [number, number],
    options?: PackOptions,
  ): PackedTernary {
    const own = ternary instanceof Tensor ? ternary : undefined;
    const keep = keepOf(options, "options", own);
    const [rows, cols] = checkShape(shape, "shape", 2) as [number, number];
    const resident = residentOf(ternary, keep, "ternary");
    if (resident !== undefined) {
      return new PackedTernary(KEY, packOnCuda(resident, scales, [rows, cols]), keep);
    }
    if (ternary instanceof Tensor) ternary = ternary.data() as Int8Array | Float32Array;
    checkScales(scales, rows, cols);
    const handle = new BigUint64Array(1);
    const length = rows * cols;
    const count = scales.length;
    if (ternary instanceof Float32Array) {
      checkArray(ternary, Float32Array, "ternary", length);
      const prepare = native.weights_from_ternary_f32;
      check(prepare(ternary, length, scales, count, rows, cols, handle, 1));
    } else {
      checkArray(ternary, Int8Array, "ternary", length);
      const prepare = native.weights_from_ternary;
      check(prepare(ternary, length, scales, count, rows, cols, handle, 1));
    }
    return PackedTernary.#keep(handle[0]!, keep);
  }

  /**
   * Quantises float weights and packs them; the default is absmean per row.
   *
   * The trits and scales are those of `QuantizationResult.fromWeights`, but exist in packed form only.
   * A tensor with two axes has its shape already: leave `shape` out, or give an equal one. One on
   * CUDA is quantised where it is, by absmean only. Errors as in `QuantizationResult.fromWeights` and `fromTernary`.
   *
   * @example
   * ```ts
   * import { PackedTernary } from "tritter-accel";
   *
   * const weights = Float32Array.from({ length: 128 }, (_, index) => Math.sin(index));
   * using packed = PackedTernary.fromWeights(weights, [2, 64], { method: "twn", groupSize: 32 });
   * console.log(packed.sparsity);
   * ```
   */
  static fromWeights(
    weights: Float32Array | Tensor,
    shape: readonly [number, number],
    config?: QuantizeConfig & PackOptions,
  ): PackedTernary;
  /** Quantises a tensor with two axes and packs it. */
  static fromWeights(
    weights: Tensor,
    shape?: readonly [number, number] | undefined,
    config?: QuantizeConfig & PackOptions,
  ): PackedTernary;
  static fromWeights(
    weights: Float32Array | Tensor,
    shape?: readonly [number, number],
    config?: QuantizeConfig & PackOptions,
  ): PackedTernary {
    const checked = checkOptions(config, "config");
    const keep = keepOf(checked, "config", weights instanceof Tensor ? weights : undefined);
    const resident = residentOf(weights, keep, "weights");
    if (resident !== undefined) {
      return new PackedTernary(KEY, quantizeOnCuda(resident, shape, checked), keep);
    }
    const { floats, options } = quantizeRequest(weights, shape, checked);
    const handle = new BigUint64Array(1);
    check(native.weights_from_f32(floats, floats.length, options, options.length, handle, 1));
    return PackedTernary.#keep(handle[0]!, keep);
  }

  /**
   * Reads the wire format of `packTernaryWeights`.
   *
   * Throws `invalid_length` for wrong sizes and `invalid_value` naming the index for the code 11.
   *
   * @example
   * ```ts
   * import { PackedTernary } from "tritter-accel";
   *
   * const bytes = Uint8Array.of(0x49);
   * using weights = PackedTernary.fromPackedBytes(bytes, Float32Array.of(1), [1, 4]);
   * console.log(weights.toTernary()); // 1 -1 0 1
   * ```
   */
  static fromPackedBytes(
    bytes: Uint8Array,
    scales: Float32Array,
    shape: readonly [number, number],
    options?: PackOptions,
  ): PackedTernary {
    const keep = keepOf(options, "options");
    const [rows, cols] = checkShape(shape, "shape", 2) as [number, number];
    checkScales(scales, rows, cols);
    checkArray(bytes, Uint8Array, "bytes", packedBytes(rows, cols));
    const handle = new BigUint64Array(1);
    check(native.weights_from_packed(
      bytes,
      bytes.length,
      scales,
      scales.length,
      rows,
      cols,
      handle,
      1,
    ));
    return PackedTernary.#keep(handle[0]!, keep);
  }

  /**
   * Returns the weights on another device: themselves where they already are there, else a copy in
   * the layout `"planes"`.
   *
   * @example
   * ```ts
   * import { PackedTernary } from "tritter-accel";
   *
   * using weights = PackedTernary.fromTernary(Int8Array.of(1, -1), Float32Array.of(1), [1, 2]);
   * console.log(weights.to("cpu") === weights); // true
   * ```
   */
  to(device: Device): PackedTernary {
    // Throws for weights that have been disposed of.
    void this.#handle.value;
    const place = namedPlace(device);
    if (place === this.device) return this;
    return PackedTernary.fromPackedBytes(this.toPackedBytes(), this.scales, this.shape, {
      device: place,
    });
  }

  /** Returns the trits in the wire format of `packTernaryWeights`. */
  toPackedBytes(): Uint8Array<ArrayBuffer> {
    if (this.device !== "cpu") {
      return cudaPackedBytes(this.#handle.value, this.#rows, this.#cols);
    }
    const bytes = new Uint8Array(packedBytes(this.#rows, this.#cols));
    check(native.weights_to_packed(this.#handle.value, bytes, bytes.length));
    return bytes;
  }

  /** Returns the trits, row-major. */
  toTernary(): Int8Array<ArrayBuffer> {
    if (this.device !== "cpu") {
      using copy = this.to("cpu");
      return copy.toTernary();
    }
    const trits = new Int8Array(this.#rows * this.#cols);
    check(native.weights_to_ternary(this.#handle.value, trits, trits.length));
    return trits;
  }

  /** Returns the weights, trit times scale, row-major. */
  toFloat32(): Float32Array<ArrayBuffer> {
    if (this.device !== "cpu") {
      using copy = this.to("cpu");
      return copy.toFloat32();
    }
    const weights = new Float32Array(this.#rows * this.#cols);
    check(native.weights_to_f32(this.#handle.value, weights, weights.length));
    return weights;
  }

  /** A copy of the scales, the groups of row 0 first. */
  get scales(): Float32Array<ArrayBuffer> {
    const count = this.#rows * (this.#cols / this.groupSize);
    if (this.device !== "cpu") return cudaScales(this.#handle.value, count);
    const scales = new Float32Array(count);
    check(native.weights_scales(this.#handle.value, scales, scales.length));
    return scales;
  }

  /** Size as 32-bit floats over `memoryBytes`. */
  get compressionRatio(): number {
    return 4 * this.#rows * this.#cols / this.memoryBytes;
  }

  /**
   * Multiplies activations by the transposed weights: [..., columns] to [..., rows].
   *
   * An array holds batch x columns numbers and gives an array; a tensor, with any leading axes,
   * gives a tensor. With `out` nothing is allocated. With `"f32"` activations a row of input that
   * holds NaN or an infinity gives NaN in every output of that row and leaves the others alone;
   * `"int8"` throws `invalid_value` naming the index. Activations that the layout does not serve are an
   * `invalid_option`.
   *
   * Weights on CUDA multiply there: a tensor must be on the same device, and so is the result, which
   * the device may still be computing on return; an array is copied there and its result back. int8
   * results are those of the CPU to the last bit, f32 agree to 1e-5. A row of a tensor on CUDA that
   * holds NaN or an infinity gives NaN with `"int8"`, too: nobody waits for the device to complain.
   *
   * @example
   * ```ts
   * import { PackedTernary } from "tritter-accel";
   *
   * const trits = Int8Array.of(1, -1, 1, -1, 1, 1, 0, 0);
   * using weights = PackedTernary.fromTernary(trits, Float32Array.of(1, 1), [2, 4]);
   * const out = new Float32Array(2);
   * weights.matmul(Float32Array.of(1, 2, 3, 4), { bias: Float32Array.of(1, 1), out });
   * console.log(out); // -1 4
   * ```
   */
  matmul(input: Float32Array, options?: TernaryMatmulConfig): Float32Array<ArrayBuffer>;
  /** Multiplies a tensor, with any leading axes. */
  matmul(input: Tensor, options?: TernaryMatmulConfig): Tensor<"f32">;
  /** Multiplies an array or a tensor. */
  matmul(
    input: Float32Array | Tensor,
    options?: TernaryMatmulConfig,
  ): Float32Array<ArrayBuffer> | Tensor<"f32">;
  matmul(
    input: Float32Array | Tensor,
    options: TernaryMatmulConfig = NO_OPTIONS,
  ): Float32Array<ArrayBuffer> | Tensor<"f32"> {
    const { device, activations, bias, out } = checkOptions(options, "options");
    checkWeightsDevice(device, this.device);
    if (this.device !== "cpu") return this.#multiplyOnCuda(input, options);
    const floats = floatsOf(input, "input");
    if (input instanceof Tensor) checkFeatures(input, this.#cols);
    const output = outputOf(out, batchOf(floats.length, this.#cols) * this.#rows);
    const biases = bias === undefined ? null : floatsOf(bias, "bias", this.#rows);
    check(native.weights_matmul(
      this.#handle.value,
      floats,
      floats.length,
      biases,
      biases?.length ?? 0,
      output,
      output.length,
      activationsCode(activations ?? (this.layout === "base3" ? "int8" : "f32")),
    ));
    if (!(input instanceof Tensor)) return output;
    return Tensor.from(output, [...input.shape.slice(0, -1), this.#rows], { device: "cpu" });
  }

  #multiplyOnCuda(
    input: Float32Array | Tensor,
    { activations, bias, out }: TernaryMatmulConfig,
  ): Float32Array<ArrayBuffer> | Tensor<"f32"> {
    if (input instanceof Tensor) {
      checkFeatures(input, this.#cols);
      if (out !== undefined && !(out instanceof Tensor)) {
        throw tritterError("invalid_type", "out must be a Tensor where the input is one on CUDA");
      }
    } else {
      checkArray(input, Float32Array, "input");
      const length = batchOf(input.length, this.#cols) * this.#rows;
      if (out !== undefined) outputOf(out, length);
    }
    return multiplyOnCuda(this.#handle.value, this.shape, this.device, {
      input,
      activations: activationsCode(activations),
      bias,
      out,
    });
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#handle[Symbol.dispose]();
  }
}

/** Checks a device that is named for weights which are somewhere already. */
export function checkWeightsDevice(device: Device | undefined, place: Place): void {
  if (device === undefined || device === "auto" || placeOf(device) === place) return;
  throw tritterError(
    "invalid_option",
    `device must be that of the weights, "${place}", got "${placeOf(device)}"`,
  );
}

/** Checks that the last axis of a tensor has as many elements as a layer has inputs. */
function checkFeatures(input: Tensor, features: number): void {
  if (input.shape.at(-1) === features) return;
  throw tritterError(
    "invalid_shape",
    `input must have ${features} elements along its last axis, got [${input.shape.join(", ")}]`,
  );
}
