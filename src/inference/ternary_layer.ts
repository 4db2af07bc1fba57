// A linear layer with ternary weights and float activations.

import { checkFinite, checkOptions } from "../checks.ts";
import type { Device } from "../device.ts";
import { tritterError } from "../errors.ts";
import { checkWeightsDevice, PackedTernary } from "../packing/packed_ternary.ts";
import { matrixShape } from "../quantization/weights.ts";
import { floatsOf, memoryHandle, Tensor } from "../tensor.ts";

/** Options of `TernaryLayer`. */
export interface TernaryLayerOptions {
  /** A number per output, added to it. */
  bias?: Float32Array | Tensor | undefined;
  /**
   * Where the layer runs. Default: where packed weights or a tensor of weights are, or else the choice of
   * `setDevice`.
   */
  device?: Device | undefined;
}

/** True for an object literal; an array or an instance of a class is meant as the bias itself. */
function isOptions(value: object): value is TernaryLayerOptions {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Checks weights before anything is made of them. */
function checkWeights(weights: Float32Array | Tensor | PackedTernary, device?: Device): void {
  if (weights instanceof PackedTernary) return checkWeightsDevice(device, weights.device);
  const isResident = weights instanceof Tensor && weights.device !== "cpu";
  if (isResident) memoryHandle(weights, "f32", weights.device, "weights");
  else floatsOf(weights, "weights");
}

/** A copy of a bias on the host. */
function biasOf(bias: Float32Array | Tensor, rows: number): Float32Array<ArrayBuffer> {
  const isResident = bias instanceof Tensor && bias.device !== "cpu" && bias.dtype === "f32";
  const values = new Float32Array(
    floatsOf(isResident ? bias.data() as Float32Array : bias, "bias", rows),
  );
  checkFinite(values, "bias");
  return values;
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
 * Its activations stay 32-bit floats; `BitLinear` has more options and 8-bit activations. On a CUDA
 * device weights and bias stay there; tensors must be there, arrays travel.
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
  /** The bias where the weights are. */
  readonly #bias: Float32Array | Tensor | undefined;
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
    const isPacked = weights instanceof PackedTernary;
    checkWeights(weights, device);
    const [rows, cols] = matrixShape(weights, shape);
    // Before anything is packed, so that an error leaves no native memory behind.
    this.bias = bias === undefined ? undefined : biasOf(bias, rows);
    this.weights = isPacked
      ? weights
      : PackedTernary.fromWeights(weights, [rows, cols], { device });
    this.#ownsWeights = !isPacked;
    this.#bias = this.#moveBias();
    this.outFeatures = rows;
    this.inFeatures = cols;
  }

  /** The bias on the device of the weights. */
  #moveBias(): Float32Array | Tensor | undefined {
    const { bias, weights: { device } } = this;
    if (bias === undefined || device === "cpu") return bias;
    try {
      return Tensor.from(bias, [bias.length], { device });
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
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
    // An array that travels takes the bias along.
    const bias = input instanceof Tensor ? this.#bias : this.bias;
    return this.weights.matmul(input, { bias, out });
  }

  /** Frees the weights if the layer packed them; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    if (this.#bias instanceof Tensor) this.#bias[Symbol.dispose]();
    if (this.#ownsWeights) this.weights[Symbol.dispose]();
  }
}
