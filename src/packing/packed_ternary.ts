// Ternary weights in the layout that the kernels read, kept in native memory.

import { checkArray, checkChoice, checkOptions, checkShape } from "../checks.ts";
import { type Device, resolveDevice } from "../device.ts";
import { tritterError } from "../errors.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import { type QuantizeConfig, quantizeRequest } from "../quantization/weights.ts";
import { floatsOf, Tensor } from "../tensor.ts";
import { checkScales, packedBytes } from "./bytes.ts";

/**
 * How a layer sees its activations.
 *
 * `"f32"` sums 32-bit floats; `"int8"` quantises every row as `quantizeActivationsAbsmax` does and
 * sums integers exactly, which is what BitNet models are trained for and is faster.
 */
export type Activations = "f32" | "int8";

/**
 * How prepared weights lie in memory.
 *
 * | layout      | bits a weight | activations | for                                                  |
 * | ----------- | ------------- | ----------- | ---------------------------------------------------- |
 * | `"planes"`  | 2             | both        | everything; the fastest with int8 activations        |
 * | `"triples"` | 1.78          | f32         | f32 activations with AVX-512, a third to a half faster |
 * | `"base3"`   | 1.6           | int8        | less memory; fast only where memory is the limit     |
 *
 * Groups of columns are padded to whole multiples of 16, 18 or 20 columns.
 */
export type WeightLayout = "planes" | "base3" | "triples";

/** Options of packing. */
export interface PackOptions {
  /** Where to keep the weights. Default: the default device. */
  device?: Device | undefined;
  /** How to lay the weights out. Default: `"planes"`. */
  layout?: WeightLayout | undefined;
}

/** Options of a ternary matrix product. */
export interface TernaryMatmulConfig {
  /** Where to compute; the weights must be there. Default: where they are. */
  device?: Device | undefined;
  /** How to treat the activations. Default: `"f32"`, or `"int8"` for weights laid out as base3. */
  activations?: Activations | undefined;
  /** A number per output to add. */
  bias?: Float32Array | Tensor | undefined;
  /** Where to write the result, of batch x outputs elements; must not overlap input or bias. */
  out?: Float32Array | undefined;
}

/** What only this module can pass to the constructor: at run time nothing else makes it private. */
const KEY = Symbol("PackedTernary");

const ACTIVATIONS = ["f32", "int8"] as const;
const LAYOUTS = ["planes", "base3", "triples"] as const;
const NO_OPTIONS: TernaryMatmulConfig = Object.freeze({});

/** The number that stands for a kind of activations in the native library. */
export function activationsCode(activations: Activations | undefined): 0 | 1 {
  if (activations === undefined || activations === "f32") return 0;
  if (activations === "int8") return 1;
  checkChoice(activations, ACTIVATIONS, "activations", "f32");
  return 0;
}

/** Checks where and how to keep weights, and returns the layout. */
function layoutOf(options: PackOptions | undefined, name: string): WeightLayout {
  const { device, layout } = checkOptions(options, name);
  resolveDevice(device);
  return checkChoice(layout, LAYOUTS, "layout", "planes");
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
  out: Float32Array | undefined,
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

  readonly #handle: NativeHandle;
  readonly #rows: number;
  readonly #cols: number;

  private constructor(key: symbol, handle: bigint, layout: WeightLayout) {
    if (key !== KEY) {
      throw tritterError(
        "invalid_type",
        "PackedTernary is made by PackedTernary.fromTernary, fromWeights or fromPackedBytes",
      );
    }
    this.#handle = new NativeHandle(handle, "PackedTernary");
    this.layout = layout;
    try {
      check(native.weights_change_layout(handle, LAYOUTS.indexOf(layout)));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    const described = new BigUint64Array(6);
    check(native.weights_info(handle, described, described.length));
    const [rows, cols, groupSize, , memoryBytes, nonzeros] = Array.from(described, Number) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    this.#rows = rows;
    this.#cols = cols;
    this.shape = Object.freeze([rows, cols] as const);
    this.groupSize = groupSize;
    this.memoryBytes = memoryBytes;
    this.sparsity = 1 - nonzeros / (rows * cols);
  }

  /**
   * Packs trits; `scales` has one scale a row, or one a group of columns, the groups of row 0 first.
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
    ternary: Int8Array | Float32Array,
    scales: Float32Array,
    shape: readonly [number, number],
    options?: PackOptions,
  ): PackedTernary {
    const layout = layoutOf(options, "options");
    const [rows, cols] = checkShape(shape, "shape", 2) as [number, number];
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
    return new PackedTernary(KEY, handle[0]!, layout);
  }

  /**
   * Quantises float weights and packs them; the default is absmean per row.
   *
   * The trits and scales are those of `QuantizationResult.fromWeights`, but exist in packed form only.
   * A tensor with two axes has its shape already: leave `shape` out, or give an equal one. Errors as in `QuantizationResult.fromWeights` and `fromTernary`.
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
    const layout = layoutOf(checked, "config");
    const { floats, options } = quantizeRequest(weights, shape, checked);
    const handle = new BigUint64Array(1);
    check(native.weights_from_f32(floats, floats.length, options, options.length, handle, 1));
    return new PackedTernary(KEY, handle[0]!, layout);
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
    const layout = layoutOf(options, "options");
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
    return new PackedTernary(KEY, handle[0]!, layout);
  }

  /** Returns the trits in the wire format of `packTernaryWeights`. */
  toPackedBytes(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(packedBytes(this.#rows, this.#cols));
    check(native.weights_to_packed(this.#handle.value, bytes, bytes.length));
    return bytes;
  }

  /** Returns the trits, row-major. */
  toTernary(): Int8Array<ArrayBuffer> {
    const trits = new Int8Array(this.#rows * this.#cols);
    check(native.weights_to_ternary(this.#handle.value, trits, trits.length));
    return trits;
  }

  /** Returns the weights, trit times scale, row-major. */
  toFloat32(): Float32Array<ArrayBuffer> {
    const weights = new Float32Array(this.#rows * this.#cols);
    check(native.weights_to_f32(this.#handle.value, weights, weights.length));
    return weights;
  }

  /** A copy of the scales, the groups of row 0 first. */
  get scales(): Float32Array<ArrayBuffer> {
    const scales = new Float32Array(this.#rows * (this.#cols / this.groupSize));
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
    if (device !== undefined) resolveDevice(device);
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
    return Tensor.from(output, [...input.shape.slice(0, -1), this.#rows]);
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#handle[Symbol.dispose]();
  }
}

/** Checks that the last axis of a tensor has as many elements as a layer has inputs. */
function checkFeatures(input: Tensor, features: number): void {
  if (input.shape.at(-1) === features) return;
  throw tritterError(
    "invalid_shape",
    `input must have ${features} elements along its last axis, got [${input.shape.join(", ")}]`,
  );
}
