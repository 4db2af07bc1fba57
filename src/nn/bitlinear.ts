// The linear layer of BitNet models: ternary weights, quantised activations.

import { checkChoice, checkFinite, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { checkPacked } from "../matmul.ts";
import { check, native } from "../native/library.ts";
import { type Activations, PackedTernary } from "../packing/packed_ternary.ts";
import type { QuantizeConfig } from "../quantization/weights.ts";
import { floatsOf, Tensor } from "../tensor.ts";

/** What a `BitLinear` layer does around its matrix product. */
export interface BitLinearOptions {
  /** A number per output to add. */
  bias?: Float32Array | Tensor | undefined;
  /** Weight of an RMS norm, a number per input, applied to the activations first. */
  normWeight?: Float32Array | Tensor | undefined;
  /** Added to the mean square inside the norm. Default: 1e-5. */
  epsilon?: number | undefined;
  /** How to treat the activations. Default: `"int8"`. */
  activations?: Activations | undefined;
}

/** What only this module can pass to the constructor: at run time nothing else makes it private. */
const KEY = Symbol("BitLinear");

/** Copies what a layer adds or multiplies; NaN there would be found in its results only. */
function copyFinite(
  values: Float32Array | Tensor | undefined,
  name: string,
  length: number,
): Float32Array | undefined {
  if (values === undefined) return undefined;
  const copy = new Float32Array(floatsOf(values, name, length));
  checkFinite(copy, name);
  return copy;
}

/**
 * A linear layer with ternary weights and, unless asked otherwise, 8-bit activations per token.
 *
 * For inference. It keeps copies of the bias and of the norm weight. Source: BitNet b1.58,
 * arXiv:2402.17764.
 *
 * @example
 * ```ts
 * import { BitLinear } from "tritter-accel";
 *
 * const weights = Float32Array.from({ length: 64 * 32 }, (_, index) => Math.sin(index));
 * using layer = BitLinear.fromWeights(weights, [32, 64], { normWeight: new Float32Array(64).fill(1) });
 * console.log(layer.forward(new Float32Array(64).fill(0.5)).length); // 32
 * ```
 */
export class BitLinear implements Disposable {
  /** Numbers in a row of input. */
  readonly inFeatures: number;
  /** Numbers in a row of output. */
  readonly outFeatures: number;
  /** How the activations are treated. */
  readonly activations: Activations;

  readonly #weights: PackedTernary;
  readonly #ownsWeights: boolean;
  readonly #bias: Float32Array | undefined;
  readonly #normWeight: Float32Array | undefined;
  readonly #epsilon: number;
  /** Normalised input of the last call, kept so that a hot layer allocates nothing. */
  #normalized = new Float32Array(0);
  #disposed = false;

  private constructor(
    key: symbol,
    weights: PackedTernary,
    ownsWeights: boolean,
    options: BitLinearOptions,
  ) {
    if (key !== KEY) {
      throw tritterError(
        "invalid_type",
        "BitLinear is made by BitLinear.fromWeights or BitLinear.fromPacked",
      );
    }
    const [rows, cols] = weights.shape;
    const { bias, normWeight, epsilon, activations } = options;
    this.inFeatures = cols;
    this.outFeatures = rows;
    this.activations = checkChoice(activations, ["f32", "int8"], "activations", "int8");
    this.#weights = weights;
    this.#ownsWeights = ownsWeights;
    this.#bias = copyFinite(bias, "bias", rows);
    this.#normWeight = copyFinite(normWeight, "normWeight", cols);
    this.#epsilon = epsilon === undefined ? 1e-5 : checkNumber(epsilon, "epsilon", { min: 0 });
  }

  /**
   * Quantises float weights of shape [out, in]; the default is absmean per row.
   *
   * Errors as in `QuantizationResult.fromWeights`; `invalid_value` also for a bias or a norm weight
   * that is not finite.
   *
   * @example
   * ```ts
   * import { BitLinear } from "tritter-accel";
   *
   * const weights = Float32Array.from({ length: 64 * 32 }, (_, index) => Math.sin(index));
   * using layer = BitLinear.fromWeights(weights, [32, 64], { groupSize: 16 });
   * console.log(layer.compressionRatio);
   * ```
   */
  static fromWeights(
    weights: Float32Array | Tensor,
    shape: readonly [number, number],
    options?: BitLinearOptions & QuantizeConfig,
  ): BitLinear;
  /** Quantises a tensor with two axes. */
  static fromWeights(
    weights: Tensor,
    shape?: readonly [number, number] | undefined,
    options?: BitLinearOptions & QuantizeConfig,
  ): BitLinear;
  static fromWeights(
    weights: Float32Array | Tensor,
    shape?: readonly [number, number],
    options?: BitLinearOptions & QuantizeConfig,
  ): BitLinear {
    const checked = checkOptions(options, "options");
    const packed = PackedTernary.fromWeights(weights as Tensor, shape, checked);
    try {
      return new BitLinear(KEY, packed, true, checked);
    } catch (error) {
      packed[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Uses packed weights as they are; they stay the caller's, to dispose after the layer.
   *
   * @example
   * ```ts
   * import { BitLinear, PackedTernary } from "tritter-accel";
   *
   * using packed = PackedTernary.fromTernary(Int8Array.of(1, -1), Float32Array.of(2), [1, 2]);
   * using layer = BitLinear.fromPacked(packed, { bias: Float32Array.of(1) });
   * console.log(layer.forward(Float32Array.of(3, 0))); // 7
   * ```
   */
  static fromPacked(weights: PackedTernary, options?: BitLinearOptions): BitLinear {
    const packed = checkPacked(weights, "weights");
    return new BitLinear(KEY, packed, false, checkOptions(options, "options"));
  }

  /** Share of weights that are 0, from 0 to 1. */
  get sparsity(): number {
    return this.#weights.sparsity;
  }

  /** Memory of weights, bias and norm weight, in bytes. */
  get memoryBytes(): number {
    return this.#weights.memoryBytes + this.#extraBytes();
  }

  /** Size as 32-bit floats over `memoryBytes`. */
  get compressionRatio(): number {
    return (4 * this.inFeatures * this.outFeatures + this.#extraBytes()) / this.memoryBytes;
  }

  #extraBytes(): number {
    return (this.#bias?.byteLength ?? 0) + (this.#normWeight?.byteLength ?? 0);
  }

  /**
   * Applies the layer: [..., in] to [..., out]; an array gives an array, a tensor a tensor.
   *
   * `out` takes the result and must not overlap the input. Non-finite activations throw
   * `invalid_value` naming the index, unless the layer was made with `activations: "f32"`.
   *
   * @example
   * ```ts
   * import { BitLinear, Tensor } from "tritter-accel";
   *
   * const weights = Float32Array.from({ length: 64 * 32 }, (_, index) => Math.sin(index));
   * using layer = BitLinear.fromWeights(weights, [32, 64]);
   * const tokens = Tensor.from(new Float32Array(3 * 64).fill(1), [1, 3, 64]);
   * console.log(layer.forward(tokens).shape); // [ 1, 3, 32 ]
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
    if (this.#disposed) throw tritterError("disposed", "BitLinear is disposed");
    const { out } = checkOptions(options, "options");
    return this.#weights.matmul(this.#normalize(input), {
      activations: this.activations,
      bias: this.#bias,
      out,
    });
  }

  #normalize(input: Float32Array | Tensor): Float32Array | Tensor {
    const weight = this.#normWeight;
    if (weight === undefined) return input;
    const floats = floatsOf(input, "input");
    if (floats.length % weight.length !== 0) return input; // The product says what is wrong.
    // After the norm a whole row is NaN, and the product would name the first of it.
    if (this.activations === "int8") checkFinite(floats, "input");
    if (this.#normalized.length !== floats.length) {
      this.#normalized = new Float32Array(floats.length);
    }
    const normalized = this.#normalized;
    check(native.rms_norm(
      floats,
      floats.length,
      weight,
      weight.length,
      normalized,
      normalized.length,
      this.#epsilon,
    ));
    if (!(input instanceof Tensor)) return normalized;
    return Tensor.from(normalized, input.shape, { device: "cpu" });
  }

  /** Frees the weights if the layer made them; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    if (this.#ownsWeights) this.#weights[Symbol.dispose]();
  }
}
