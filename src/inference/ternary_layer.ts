// A linear layer with ternary weights and float activations.

import { checkArray, checkOptions } from "../checks.ts";
import type { Device } from "../device.ts";
import { PackedTernary } from "../packing/packed_ternary.ts";
import { floatsOf, type Tensor } from "../tensor.ts";

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
  /** The packed weights; they belong to the layer. */
  readonly weights: PackedTernary;
  /** A copy of the bias, if the layer has one. */
  readonly bias: Float32Array<ArrayBuffer> | undefined;
  /** Numbers in a row of input. */
  readonly inFeatures: number;
  /** Numbers in a row of output. */
  readonly outFeatures: number;

  private constructor(weights: PackedTernary, bias: Float32Array<ArrayBuffer> | undefined) {
    this.weights = weights;
    this.bias = bias;
    this.outFeatures = weights.shape[0];
    this.inFeatures = weights.shape[1];
  }

  /**
   * Quantises weights of shape [out, in]; `bias` has a number per output.
   *
   * Errors as in `QuantizationResult.fromWeights`.
   *
   * @example
   * ```ts
   * import { TernaryLayer } from "tritter-accel";
   *
   * const weights = Float32Array.of(0.5, -0.3, 0.1, 0.8, -0.2, 0.6, -0.7, 0.4);
   * using layer = TernaryLayer.fromWeights(weights, [2, 4], Float32Array.of(1, 1));
   * console.log(layer.forward(Float32Array.of(1, 2, 3, 4))); // 2.275 2.425
   * ```
   */
  static fromWeights(
    weights: Float32Array | Tensor,
    shape: readonly [number, number],
    bias?: Float32Array | Tensor,
    options?: { device?: Device },
  ): TernaryLayer {
    const { device } = checkOptions(options, "options");
    const floats = bias === undefined ? undefined : new Float32Array(floatsOf(bias, "bias"));
    const packed = PackedTernary.fromWeights(weights, shape, { device });
    if (floats !== undefined) checkArray(floats, Float32Array, "bias", packed.shape[0]);
    return new TernaryLayer(packed, floats);
  }

  /**
   * Size in bytes by the formula of the format: two bits a weight, four bytes a scale and a bias.
   *
   * `weights.memoryBytes` is what the library really allocates, which has padding.
   */
  get memoryBytes(): number {
    return Math.ceil(2 * this.inFeatures * this.outFeatures / 8) + 4 * this.outFeatures +
      this.#biasBytes();
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
  forward(input: Float32Array, options?: { out?: Float32Array }): Float32Array<ArrayBuffer>;
  /** Applies the layer to a tensor, with any leading axes. */
  forward(input: Tensor, options?: { out?: Float32Array }): Tensor<"f32">;
  forward(
    input: Float32Array | Tensor,
    options?: { out?: Float32Array },
  ): Float32Array<ArrayBuffer> | Tensor<"f32"> {
    const { out } = checkOptions(options, "options");
    return this.weights.matmul(input, { bias: this.bias, out });
  }

  /** Frees the weights; a second call does nothing. */
  [Symbol.dispose](): void {
    this.weights[Symbol.dispose]();
  }
}
