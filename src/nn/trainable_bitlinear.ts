// The linear layer of BitNet models in training.

import { checkArray, checkChoice, checkCount, checkFlag, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { createParameter, FloatBuffer, kept } from "./buffer.ts";
import { QuantizedTokens } from "./quantized_tokens.ts";
import type { LatentType, Parameter, ParameterData } from "./trainable.ts";

/** The array that latent weights are stored in. */
export type LatentArray<Latent extends LatentType> = Latent extends "bf16" ? Uint16Array
  : Float32Array;

/** Options of `TrainableBitLinear`. */
export interface TrainableBitLinearOptions<Latent extends LatentType = LatentType> {
  /** What the parameters' names begin with. Default: `"linear"`. */
  name?: string | undefined;
  /** True adds a bias, which is not quantised. Default: false. */
  bias?: boolean | undefined;
  /**
   * How the latent weights are stored. Default: `"f32"`. As `"bf16"` they take half the memory, and
   * optimisers round them at random, so that changes too small for them are right in the mean.
   */
  latent?: Latent | undefined;
}

/** Where the result of a layer's pass goes. */
export interface LayerOutput {
  /** An array for the result. Default: one that the layer keeps, until its next call. */
  out?: Float32Array | undefined;
}

/** Where the gradient of a layer's input goes. */
export interface LayerGradient extends LayerOutput {
  /** True adds to what `out` holds. Default: false. */
  accumulate?: boolean | undefined;
}

/**
 * A linear layer that trains: latent float weights that compute as if they were ternary.
 *
 * Forward it computes what inference computes, to the last bit: weights of -1, 0 or 1 times their mean
 * magnitude m (at least m / 2 in size becomes 1 or -1), activations as in `QuantizedTokens`. Backward,
 * gradients pass the rounding as if it were not there (the straight-through estimator): with the
 * rounded weights W and activations X, that of the input is G W and that of the weights G^T X.
 *
 * Layers that train are called `Trainable...`; `BitLinear` is the same layer for inference. Weights may
 * change between a pass forward and its pass backward only after the latter. Source: BitNet b1.58,
 * arXiv:2402.17764.
 *
 * @example
 * ```ts
 * import { TrainableBitLinear } from "tritter-accel";
 *
 * const layer = new TrainableBitLinear(64, 32);
 * layer.weight.data.forEach((_, index, data) => data[index] = Math.sin(index));
 * const output = layer.forward(new Float32Array(2 * 64).fill(1));
 * const inputGradient = layer.backward(output.map((value) => value - 1));
 * console.log(inputGradient.length, layer.weight.gradient.length); // 128 2048
 * ```
 */
export class TrainableBitLinear<Latent extends LatentType = "f32"> {
  /** Numbers in a row of input. */
  readonly inFeatures: number;
  /** Numbers in a row of output. */
  readonly outFeatures: number;
  /** The latent weights, [outFeatures, inFeatures]. */
  readonly weight: Parameter<LatentArray<Latent>>;
  /** The bias, if there is one. */
  readonly bias: Parameter<Float32Array> | undefined;

  readonly #trits: Int8Array;
  readonly #scale = new Float32Array(1);
  readonly #output = new FloatBuffer();
  readonly #gradient = new FloatBuffer();
  #own: QuantizedTokens | undefined;
  #tokens: QuantizedTokens | undefined;

  /** Makes a layer of zeros. */
  constructor(
    inFeatures: number,
    outFeatures: number,
    options?: TrainableBitLinearOptions<Latent>,
  ) {
    const { name = "linear", bias = false, latent } = checkOptions(options, "options");
    const type = checkChoice<LatentType>(latent, ["f32", "bf16"], "latent", "f32") === "bf16"
      ? Uint16Array
      : Float32Array;
    this.inFeatures = checkCount(inFeatures, "inFeatures", { min: 1, max: 2 ** 22 });
    this.outFeatures = checkCount(outFeatures, "outFeatures", { min: 1 });
    if (inFeatures * outFeatures >= 2 ** 32) {
      throw tritterError(
        "invalid_shape",
        `A layer must have fewer than 2^32 weights, got ${outFeatures} x ${inFeatures}`,
      );
    }
    this.weight = createParameter(
      `${name}.weight`,
      [outFeatures, inFeatures],
      { decay: true, quantized: true },
      type as unknown as new (length: number) => LatentArray<Latent>,
    );
    this.bias = checkFlag(bias, "bias")
      ? createParameter(`${name}.bias`, [outFeatures], { decay: false, quantized: false })
      : undefined;
    this.#trits = new Int8Array(this.weight.data.length);
  }

  /** The parameters, the weight first. */
  get parameters(): readonly Parameter[] {
    return this.bias === undefined ? [this.weight] : [this.weight, this.bias];
  }

  /**
   * Applies the layer: [tokens, in] to [tokens, out].
   *
   * Quantised tokens are kept as they are for `backward`, and must not change until then. Throws
   * `invalid_value` for weights or activations that are not finite.
   *
   * @example
   * ```ts
   * import { QuantizedTokens, TrainableBitLinear } from "tritter-accel";
   *
   * const tokens = new QuantizedTokens(4).quantize(Float32Array.of(1, 2, 3, 4));
   * const [a, b] = [new TrainableBitLinear(4, 8), new TrainableBitLinear(4, 2)];
   * console.log(a.forward(tokens).length, b.forward(tokens).length); // 8 2
   * ```
   */
  forward(input: Float32Array | QuantizedTokens, options?: LayerOutput): Float32Array {
    const { out } = checkOptions(options, "options");
    const tokens = this.#quantize(input);
    const length = tokens.count * this.outFeatures;
    const output = out === undefined
      ? this.#output.take(length)
      : checkArray(out, Float32Array, "out", length);
    const trits = this.#trits;
    const data: ParameterData = this.weight.data;
    const rest = [data.length, this.inFeatures, trits, trits.length, this.#scale, 1] as const;
    check(
      data instanceof Uint16Array
        ? native.bitlinear_quantize_bf16(data, ...rest)
        : native.bitlinear_quantize_weights(data, ...rest),
    );
    const bias = this.bias?.data ?? null;
    const fields = Float64Array.of(
      this.inFeatures,
      this.#scale[0]!,
      tokens.values.length,
      tokens.count,
      tokens.count,
      trits.length,
      bias?.length ?? 0,
      output.length,
    );
    check(native.bitlinear_forward(
      tokens.values,
      tokens.scales,
      tokens.sums,
      trits,
      bias,
      output,
      fields,
      fields.length,
    ));
    this.#tokens = tokens;
    return output;
  }

  #quantize(input: Float32Array | QuantizedTokens): QuantizedTokens {
    if (!(input instanceof QuantizedTokens)) {
      this.#own ??= new QuantizedTokens(this.inFeatures);
      return this.#own.quantize(input);
    }
    if (input.features !== this.inFeatures) {
      throw tritterError(
        "invalid_shape",
        `input must have tokens of ${this.inFeatures} activations, got ${input.features}`,
      );
    }
    return input;
  }

  /**
   * Adds to the parameters' gradients and returns the gradient of the last input.
   *
   * `gradient` is that of the last output.
   *
   * @example
   * ```ts
   * import { TrainableBitLinear } from "tritter-accel";
   *
   * const layer = new TrainableBitLinear(4, 2, { bias: true });
   * layer.forward(Float32Array.of(1, 2, 3, 4));
   * layer.backward(Float32Array.of(1, -1));
   * console.log(layer.bias!.gradient); // Float32Array(2) [ 1, -1 ]
   * ```
   */
  backward(gradient: Float32Array, options?: LayerGradient): Float32Array {
    const { out, accumulate = false } = checkOptions(options, "options");
    const tokens = kept(this.#tokens, "TrainableBitLinear");
    checkArray(gradient, Float32Array, "gradient", tokens.count * this.outFeatures);
    const length = tokens.count * this.inFeatures;
    const dx = out === undefined
      ? this.#gradient.take(length)
      : checkArray(out, Float32Array, "out", length);
    const { inFeatures } = this;
    const dw = this.weight.gradient;
    const forWeights = Float64Array.of(
      inFeatures,
      gradient.length,
      tokens.values.length,
      tokens.count,
      dw.length,
    );
    check(native.bitlinear_backward_weights(
      gradient,
      tokens.values,
      tokens.scales,
      dw,
      forWeights,
      forWeights.length,
    ));
    const db = this.bias?.gradient;
    if (db !== undefined) check(native.column_sums(gradient, gradient.length, db, db.length));
    const forInput = Float64Array.of(
      inFeatures,
      this.#scale[0]!,
      checkFlag(accumulate, "accumulate") ? 1 : 0,
      gradient.length,
      this.#trits.length,
      dx.length,
    );
    check(native.bitlinear_backward_input(gradient, this.#trits, dx, forInput, forInput.length));
    return dx;
  }
}
