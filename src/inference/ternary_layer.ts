// A linear layer with ternary weights and float activations.

import { checkFinite, checkOptions } from "../checks.ts";
import { type Device, resolveDevice } from "../device.ts";
import { tritterError } from "../errors.ts";
import { PackedTernary } from "../packing/packed_ternary.ts";
import { matrixShape } from "../quantization/weights.ts";
import { floatsOf, type Tensor } from "../tensor.ts";

/** Options of `TernaryLayer`. */
export interface TernaryLayerOptions {
  /** A number per output, added to it. */
  bias?: Float32Array | Tensor | undefined;
  /** Where the layer runs; default: the choice of `setDevice`. */
  device?: Device | undefined;
}

/** True for an object literal; an array or an instance of a class is meant as the bias itself. */
function isOptions(value: object): value is TernaryLayerOptions {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** A bias may stand alone, which is the form of the original library. */
function optionsOf(value: unknown): TernaryLayerOptions {
  if (value === undefined) return {};
  const isLiteral = typeof value === "object" && value !== null && isOptions(value);
  return isLiteral ? value : { bias: value as Float32Array };
}

/**
 * A linear layer whose weights are quantised once, by absmean per row.
 *
 * Its activations stay 32-bit floats; `BitLinear` has more options and 8-bit activations.
 *
 * @example
 * ```ts
 * import { TernaryLayer } from "tritter-accel";
 *
 * const weights = Float32Array.from({ length: 16 * 32 }, (_, index) => Math.sin(index));
 * using layer = TernaryLayer.fromWeights(weights, [16, 32]);
 * console.log(layer.forward(new Float32Array(32).fill(1)).length); // 16
 * console.log(layer.compressionRatio.toFixed(2)); // 10.67
 * ```
 */
export class TernaryLayer implements Disposable {
  /** The packed weights; those that the layer packed itself belong to it. */
  readonly weights: PackedTernary;
  /** A copy of the bias, if the layer has one. */
  readonly bias: Float32Array<ArrayBuffer> | undefined;
  /** Numbers in a row of input. */
  readonly inFeatures: number;
  /** Numbers in a row of output. */
  readonly outFeatures: number;

  readonly #ownsWeights: boolean;
  #disposed = false;

  /**
   * Does what `TernaryLayer.fromWeights` does.
   *
   * @example
   * ```ts
   * import { PackedTernary, TernaryLayer } from "tritter-accel";
   *
   * using packed = PackedTernary.fromTernary(Int8Array.of(1, -1), Float32Array.of(2), [1, 2]);
   * using layer = new TernaryLayer(packed, [1, 2], { bias: Float32Array.of(1) });
   * console.log(layer.forward(Float32Array.of(3, 0))); // 7
   * ```
   */
  constructor(
    weights: Float32Array | Tensor | PackedTernary,
    shape?: readonly [number, number],
    options?: Float32Array | Tensor | TernaryLayerOptions,
  ) {
    const { bias, device } = optionsOf(options);
    resolveDevice(device);
    const isPacked = weights instanceof PackedTernary;
    if (!isPacked) floatsOf(weights, "weights");
    const [rows, cols] = matrixShape(weights, shape);
    // Before anything is packed, so that an error leaves no native memory behind.
    this.bias = bias === undefined ? undefined : new Float32Array(floatsOf(bias, "bias", rows));
    if (this.bias !== undefined) checkFinite(this.bias, "bias");
    this.weights = isPacked
      ? weights
      : PackedTernary.fromWeights(weights, [rows, cols], { device: "cpu" });
    this.#ownsWeights = !isPacked;
    this.outFeatures = rows;
    this.inFeatures = cols;
  }

  /**
   * Quantises weights of shape [out, in]; the third argument is a bias, or options that hold one.
   *
   * A tensor with two axes and packed weights have their shape already: leave `shape` out, or give
   * an equal one. Packed weights are used as they are and stay the caller's, to dispose after the
   * layer. Errors as in `QuantizationResult.fromWeights`; `invalid_value` also for a bias that is
   * not finite.
   *
   * @example
   * ```ts
   * import { TernaryLayer } from "tritter-accel";
   *
   * const weights = Float32Array.of(0.5, -0.3, 0.1, 0.8, -0.2, 0.6, -0.7, 0.4);
   * using layer = TernaryLayer.fromWeights(weights, [2, 4], { bias: Float32Array.of(1, 1) });
   * console.log(layer.forward(Float32Array.of(1, 2, 3, 4))); // 2.275 2.425
   * ```
   */
  static fromWeights(
    weights: Float32Array | Tensor | PackedTernary,
    shape?: readonly [number, number],
    options?: Float32Array | Tensor | TernaryLayerOptions,
  ): TernaryLayer {
    return new TernaryLayer(weights, shape, options);
  }

  /**
   * Size in bytes by the formula of the format: two bits a weight, four bytes a scale and a bias.
   *
   * `weights.memoryBytes` is what the library really allocates, which has padding.
   */
  get memoryBytes(): number {
    const scales = this.outFeatures * (this.inFeatures / this.weights.groupSize);
    return Math.ceil(2 * this.inFeatures * this.outFeatures / 8) + 4 * scales + this.#biasBytes();
  }

  /** Size of weights and bias as 32-bit floats, in bytes. */
  get originalMemoryBytes(): number {
    return 4 * this.inFeatures * this.outFeatures + this.#biasBytes();
  }

  /** `originalMemoryBytes` over `memoryBytes`. */
  get compressionRatio(): number {
    return this.originalMemoryBytes / this.memoryBytes;
  }

  #biasBytes(): number {
    return this.bias?.byteLength ?? 0;
  }

  /**
   * Applies the layer: [..., in] to [..., out]; an array gives an array, a tensor a tensor.
   *
   * Non-finite activations are treated as in `PackedTernary.matmul`.
   *
   * @example
   * ```ts
   * import { Tensor, TernaryLayer } from "tritter-accel";
   *
   * using layer = TernaryLayer.fromWeights(new Float32Array(32).fill(1), [4, 8]);
   * console.log(layer.forward(Tensor.from(new Float32Array(16), [2, 8])).shape); // [ 2, 4 ]
   * ```
   */
  forward(
    input: Float32Array,
    options?: { out?: Float32Array | undefined },
  ): Float32Array<ArrayBuffer>;
  /** Applies the layer to a tensor, with any leading axes. */
  forward(input: Tensor, options?: { out?: Float32Array | undefined }): Tensor<"f32">;
  /** Applies the layer to an array or a tensor. */
  forward(
    input: Float32Array | Tensor,
    options?: { out?: Float32Array | undefined },
  ): Float32Array<ArrayBuffer> | Tensor<"f32">;
  forward(
    input: Float32Array | Tensor,
    options?: { out?: Float32Array | undefined },
  ): Float32Array<ArrayBuffer> | Tensor<"f32"> {
    if (this.#disposed) throw tritterError("disposed", "TernaryLayer is disposed");
    const { out } = checkOptions(options, "options");
    return this.weights.matmul(input, { bias: this.bias, out });
  }

  /** Frees the weights if the layer packed them; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    if (this.#ownsWeights) this.weights[Symbol.dispose]();
  }
}
