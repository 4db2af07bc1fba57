// A whole language model that trains.

import {
  checkArray,
  checkChoice,
  checkNumber,
  checkOptions,
  checkTexts,
  describe,
} from "../checks.ts";
import { type Device, namedPlace, type Place } from "../device.ts";
import { tritterError } from "../errors.ts";
import type { ModelConfig } from "../inference/config.ts";
import { inverseFrequencies } from "../inference/rope.ts";
import { check, native } from "../native/library.ts";
import { createParameter, FloatBuffer, setValues, valuesOf } from "../nn/buffer.ts";
import { CrossEntropyHead } from "../nn/cross_entropy_head.ts";
import { RotaryEmbedding } from "../nn/rotary_embedding.ts";
import { TrainableEmbedding } from "../nn/trainable_embedding.ts";
import { TrainableRmsNorm } from "../nn/trainable_rms_norm.ts";
import type {
  GradientOptions,
  LatentType,
  Parameter,
  ParameterData,
  Trainable,
  TrainableData,
} from "../nn/trainable.ts";
import type { Tensor } from "../tensor.ts";
import { checkSeed } from "../vsa/options.ts";
import { DecoderLayer, SharedBuffers, type TellParameters } from "./decoder_layer.ts";
import { DeviceModel } from "./device_model.ts";
import { loadParameters } from "./load_parameters.ts";
import { completeConfig, type TransformerConfig } from "./transformer_config.ts";

/** Options of `TrainableTransformer`. */
export interface TrainableTransformerOptions {
  /** Decides the random weights. Default: 0. */
  seed?: number | bigint | undefined;
  /** Standard deviation of the random weights. Default: 0.02. */
  initializerRange?: number | undefined;
  /** How the weights of linear layers are stored, see `TrainableBitLinear`. Default: `"f32"`. */
  latent?: LatentType | undefined;
}

/**
 * A BitNet language model that trains: the model that `loadModel` runs, with latent float weights, and
 * its gradients.
 *
 * Linear layers are `TrainableBitLinear`, whose latent weights may be bfloat16 (`latent`); embeddings,
 * norms and the output layer stay 32-bit floats. The weights begin normal with a standard deviation of 0.02, the norms at 1, biases at 0. The loss is the
 * mean cross-entropy of the targets, and equals the mean of `TernaryModel.nll` of the exported model
 * but for the rounding of sums. Its results are the same, bit for bit, with any number of threads;
 * gradients may differ between instruction sets by their rounding.
 *
 * Memory: besides weights and gradients, about 4 x (11 hiddenSize + 4 intermediateSize) bytes a token
 * and layer, allocated once for the largest batch. Source: BitNet b1.58, arXiv:2402.17764, in the form
 * of Hugging Face's `BitNetForCausalLM` and `LlamaForCausalLM`.
 *
 * @example
 * ```ts
 * import { TrainableTransformer } from "tritter-accel";
 *
 * const model = new TrainableTransformer({
 *   vocabSize: 50,
 *   hiddenSize: 32,
 *   intermediateSize: 64,
 *   layers: 2,
 *   heads: 4,
 * });
 * const ids = Int32Array.of(1, 2, 3, 4);
 * const targets = Int32Array.of(2, 3, 4, -100);
 * const before = model.lossAndGradients(ids, targets, [1, 4]);
 * for (const { data, gradient } of model.parameters) {
 *   for (let i = 0; i < data.length; i++) data[i]! -= 0.1 * gradient[i]!;
 * }
 * console.log(model.loss(ids, targets, [1, 4]) < before); // true
 * ```
 */
export class TrainableTransformer implements Trainable {
  /** What the model is made of. */
  readonly config: ModelConfig;
  /** Everything that is trained, by the names of Hugging Face's checkpoints. */
  readonly parameters: readonly Parameter[];

  readonly #embedding: TrainableEmbedding;
  readonly #layers: readonly DecoderLayer[];
  readonly #norm: TrainableRmsNorm;
  readonly #head: CrossEntropyHead;
  readonly #hidden = new FloatBuffer();
  readonly #gradient = new FloatBuffer();

  /** Makes a model with random weights. */
  constructor(config: TransformerConfig, options?: TrainableTransformerOptions) {
    const { seed = 0, initializerRange = 0.02, latent: given } = checkOptions(options, "options");
    const latent = checkChoice<LatentType>(given, ["f32", "bf16"], "latent", "f32");
    this.config = completeConfig(config);
    const { vocabSize, hiddenSize, layers, rmsNormEps, tieWordEmbeddings } = this.config;
    checkNumber(initializerRange, "initializerRange", { min: 0 });
    const rotary = new RotaryEmbedding(this.config.headDim, {
      frequencies: inverseFrequencies(this.config),
    });
    const shared = new SharedBuffers(rotary);
    this.#embedding = new TrainableEmbedding(vocabSize, hiddenSize, { name: "model.embed_tokens" });
    this.#layers = Array.from(
      { length: layers },
      (_, index) => new DecoderLayer(this.config, latent, index, shared),
    );
    this.#norm = new TrainableRmsNorm(hiddenSize, { name: "model.norm", epsilon: rmsNormEps });
    const head = tieWordEmbeddings
      ? this.#embedding.weight
      : createParameter("lm_head.weight", [vocabSize, hiddenSize], {
        decay: true,
        quantized: false,
      });
    this.#head = new CrossEntropyHead(head);
    this.parameters = Object.freeze([
      this.#embedding.weight,
      ...this.#layers.flatMap((layer) => layer.parameters),
      this.#norm.weight,
      ...(tieWordEmbeddings ? [] : [head]),
    ]);
    this.#initialize(checkSeed(seed), initializerRange);
  }

  /** Matrices become normal numbers, each from a stream of its own; vectors stay as they are. */
  #initialize(seed: bigint, deviation: number): void {
    this.parameters.forEach((parameter, stream) => {
      if (parameter.shape.length !== 2) return;
      const values = valuesOf(parameter);
      check(native.random_normal(values, values.length, seed, stream, deviation));
      setValues(parameter, values);
    });
  }

  /** How many numbers are trained. */
  get parameterCount(): number {
    return this.parameters.reduce((sum, { data }) => sum + data.length, 0);
  }

  /**
   * Adds the gradients of `scale` times the mean loss to the parameters' gradients, and returns the
   * mean loss in nats.
   *
   * `ids` and `targets` hold `batch` texts of `length` tokens each; target i is what follows id i, and
   * -100 counts as none. `onGradient` is told of each parameter when its gradient is final, that of the
   * last layer first. Throws `invalid_value` for ids that the vocabulary does not have, and when
   * weights or activations are not finite any more.
   *
   * @example
   * ```ts
   * import { TrainableTransformer } from "tritter-accel";
   *
   * const sizes = { vocabSize: 9, hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2 };
   * const model = new TrainableTransformer(sizes, { seed: 1 });
   * const loss = model.lossAndGradients(Int32Array.of(1, 2), Int32Array.of(2, 3), [1, 2]);
   * console.log(loss, model.parameters[0]!.gradient.length); // about log 9, 72
   * ```
   */
  lossAndGradients(
    ids: Int32Array,
    targets: Int32Array,
    shape: readonly [batch: number, length: number],
    options?: GradientOptions,
  ): number {
    const { scale, onGradient } = checkGradientOptions(options);
    const tell: TellParameters = (layer) =>
      onGradient && layer?.parameters.forEach((parameter) => onGradient(parameter));
    const hidden = this.#forward(ids, targets, shape);
    const out = this.#gradient.take(hidden.length);
    const { loss, gradient } = this.#head.lossAndGradient(hidden, targets, { scale, out });
    const { weight } = this.#head;
    if (weight !== this.#embedding.weight) tell({ parameters: [weight] });
    this.#norm.backward(gradient, { out: gradient });
    tell(this.#norm);
    for (const layer of [...this.#layers].reverse()) layer.backward(gradient, tell);
    this.#embedding.backward(gradient);
    tell(this.#embedding);
    return loss;
  }

  /**
   * Returns the mean loss alone, in nats over the targets that count.
   *
   * @example
   * ```ts
   * import { TrainableTransformer } from "tritter-accel";
   *
   * const sizes = { vocabSize: 9, hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2 };
   * const model = new TrainableTransformer(sizes);
   * console.log(model.loss(Int32Array.of(1, 2), Int32Array.of(2, -100), [1, 2])); // about log 9
   * ```
   */
  loss(ids: Int32Array, targets: Int32Array, shape: readonly [number, number]): number {
    return this.#head.loss(this.#forward(ids, targets, shape), targets);
  }

  #forward(
    ids: Int32Array,
    targets: Int32Array,
    shape: readonly [batch: number, length: number],
  ): Float32Array {
    const [batch, length] = checkTexts(shape, this.config.maxPositions);
    checkArray(ids, Int32Array, "ids", batch * length);
    checkArray(targets, Int32Array, "targets", batch * length);
    let x = this.#embedding.forward(ids);
    for (const layer of this.#layers) x = layer.forward(x, [batch, length]);
    return this.#norm.forward(x, { out: this.#hidden.take(x.length) });
  }

  /**
   * Takes over the tensors of a checkpoint with float weights, by their names.
   *
   * `read` returns the tensor of a name as 32-bit floats, as `Safetensors.readFloat32` does, or as
   * words of bfloat16. Throws `invalid_length` naming the first tensor of another size, and changes nothing then.
   *
   * @example
   * ```ts
   * import { TrainableTransformer } from "tritter-accel";
   *
   * const sizes = { vocabSize: 9, hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2 };
   * const [a, b] = [1, 2].map((seed) => new TrainableTransformer(sizes, { seed }));
   * const tensors = new Map(a!.parameters.map(({ name, data }) => [name, data]));
   * b!.loadTensors((name) => tensors.get(name)!);
   * console.log(b!.parameters[0]!.data[0] === a!.parameters[0]!.data[0]); // true
   * ```
   */
  loadTensors(read: (name: string) => ParameterData): void {
    loadParameters(this.parameters, read);
  }

  /**
   * Returns the model on a device: itself on the CPU, on CUDA a `CudaTransformer` with copies of the
   * weights.
   *
   * The model stays as it is. Throws `device_unavailable` for a device that is not there, and
   * `unsupported` where weights are stored as bfloat16 (`latent`) or heads have more than 256 numbers,
   * which only the CPU trains.
   *
   * @example
   * ```ts
   * import { cudaAvailable, TrainableTransformer } from "tritter-accel";
   *
   * const sizes = { vocabSize: 9, hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2 };
   * const model = new TrainableTransformer(sizes);
   * console.log(model.to("cpu") === model); // true
   * if (cudaAvailable()) {
   *   using onDevice = model.to("cuda");
   *   console.log(onDevice.device, onDevice.parameterCount === model.parameterCount); // cuda:0 true
   * }
   * ```
   */
  to(device: "cpu"): this;
  /** Returns copies of the weights on a CUDA device. */
  to(device: "cuda" | `cuda:${number}`): CudaTransformer;
  /** Returns the model on a device. */
  to(device: Device): this | CudaTransformer;
  to(device: Device): this | CudaTransformer {
    const place = namedPlace(device);
    return place === "cpu" ? this : construct(this.config, this.parameters, place);
  }
}

function checkGradientOptions<Data extends TrainableData>(
  options: GradientOptions<Data> | undefined,
): GradientOptions<Data> & { scale: number } {
  const { scale = 1, onGradient } = checkOptions(options, "options");
  checkNumber(scale, "scale");
  if (onGradient !== undefined && typeof onGradient !== "function") {
    throw tritterError(
      "invalid_type",
      `onGradient must be a function, got ${describe(onGradient)}`,
    );
  }
  return { scale, onGradient };
}

/** What the kernels of attention take. */
const HEAD_DIM_MAX = 256;

/** What only this module can pass to the constructor: at run time nothing else makes it private. */
const KEY = Symbol("CudaTransformer");

let construct: (
  config: ModelConfig,
  parameters: readonly Parameter<TrainableData>[],
  place: Place,
) => CudaTransformer;

/**
 * A `TrainableTransformer` on a CUDA device, from its method `to`: parameters, gradients and
 * activations are there, and so is what `AdamW` and `Sgd` remember of them.
 *
 * Its products are those of the CPU: exact forward, of 8-bit activations and ternary weights, and in
 * 32-bit floats backward. Other sums have another order, so a loss agrees with the CPU's to about 1e-5
 * until an activation or a weight between two roundings takes the other one. The same calls on the same
 * kind of device give the same bits. Only ids, targets and the loss travel; the pass backward is still
 * running when `lossAndGradients` returns. Heads have at most 256 numbers.
 *
 * It owns device memory: use `using` or `[Symbol.dispose]()`. Besides parameters, gradients and the
 * optimiser's memory, a token takes about 4 x (7 hiddenSize + 3 intermediateSize) bytes in each layer.
 *
 * @example
 * ```ts
 * import { AdamW, cudaAvailable, TrainableTransformer } from "tritter-accel";
 *
 * const sizes = { vocabSize: 50, hiddenSize: 32, intermediateSize: 64, layers: 2, heads: 4 };
 * const start = new TrainableTransformer(sizes, { seed: 1 });
 * if (cudaAvailable()) {
 *   using model = start.to("cuda");
 *   using optimizer = new AdamW();
 *   const [ids, targets] = [Int32Array.of(1, 2, 3, 4), Int32Array.of(2, 3, 4, -100)];
 *   const before = model.lossAndGradients(ids, targets, [1, 4]);
 *   optimizer.step(model.parameters, 1e-2);
 *   console.log(model.loss(ids, targets, [1, 4]) < before); // true
 *   console.log(model.to("cpu").loss(ids, targets, [1, 4])); // the same, to about 1e-5
 * }
 * ```
 */
export class CudaTransformer implements Trainable<Tensor<"f32">>, Disposable {
  /** What the model is made of. */
  readonly config: ModelConfig;
  /** Where it is. */
  readonly device: Place;
  /** Everything that is trained, by the names of Hugging Face's checkpoints. */
  readonly parameters: readonly Parameter<Tensor<"f32">>[];
  readonly #model: DeviceModel;

  static {
    construct = (config, parameters, place) => new CudaTransformer(KEY, config, parameters, place);
  }

  private constructor(
    key: symbol,
    config: ModelConfig,
    parameters: readonly Parameter<TrainableData>[],
    place: Place,
  ) {
    if (key !== KEY) {
      throw tritterError("invalid_type", "CudaTransformer is made by TrainableTransformer.to");
    }
    for (const { name, data } of parameters) {
      if (!(data instanceof Uint16Array)) continue;
      throw tritterError(
        "unsupported",
        `Weights stored as bfloat16 train on the CPU only, ${name} must have latent "f32"`,
      );
    }
    if (config.headDim > HEAD_DIM_MAX) {
      throw tritterError(
        "unsupported",
        `headDim must be at most ${HEAD_DIM_MAX} on a CUDA device, got ${config.headDim}`,
      );
    }
    this.config = config;
    this.device = place;
    this.#model = new DeviceModel(config, parameters, place);
    this.parameters = this.#model.parameters;
  }

  /** How many numbers are trained. */
  get parameterCount(): number {
    return this.parameters.reduce((sum, { data }) => sum + data.size, 0);
  }

  /** Bytes that it holds on the device: weights, gradients, and activations of the last batch. */
  get memoryBytes(): number {
    return this.#model.bytes;
  }

  /**
   * Adds the gradients of `scale` times the mean loss to the parameters' gradients, and returns the
   * mean loss in nats, as `TrainableTransformer.lossAndGradients` does.
   *
   * Throws `invalid_value` for ids that the vocabulary does not have, which changes nothing, and where
   * the loss is not finite: then gradients hold nothing of use.
   *
   * @example
   * ```ts
   * import { cudaAvailable, TrainableTransformer } from "tritter-accel";
   *
   * const sizes = { vocabSize: 9, hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2 };
   * if (cudaAvailable()) {
   *   using model = new TrainableTransformer(sizes).to("cuda");
   *   const loss = model.lossAndGradients(Int32Array.of(1, 2), Int32Array.of(2, 3), [1, 2]);
   *   console.log(loss, model.parameters[0]!.gradient.data().length); // about log 9, 72
   * }
   * ```
   */
  lossAndGradients(
    ids: Int32Array,
    targets: Int32Array,
    shape: readonly [batch: number, length: number],
    options?: GradientOptions<Tensor<"f32">>,
  ): number {
    const { scale, onGradient } = checkGradientOptions(options);
    const texts = this.#check(ids, targets, shape);
    return this.#model.lossAndGradients(ids, targets, texts, {
      scale,
      done: onGradient ?? (() => {}),
    });
  }

  /**
   * Returns the mean loss alone, in nats over the targets that count.
   *
   * @example
   * ```ts
   * import { cudaAvailable, TrainableTransformer } from "tritter-accel";
   *
   * const sizes = { vocabSize: 9, hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2 };
   * if (cudaAvailable()) {
   *   using model = new TrainableTransformer(sizes).to("cuda");
   *   console.log(model.loss(Int32Array.of(1, 2), Int32Array.of(2, -100), [1, 2])); // about log 9
   * }
   * ```
   */
  loss(ids: Int32Array, targets: Int32Array, shape: readonly [number, number]): number {
    return this.#model.loss(ids, targets, this.#check(ids, targets, shape));
  }

  #check(
    ids: Int32Array,
    targets: Int32Array,
    shape: readonly [number, number],
  ): readonly [number, number] {
    const [batch, length] = checkTexts(shape, this.config.maxPositions);
    checkArray(ids, Int32Array, "ids", batch * length);
    checkArray(targets, Int32Array, "targets", batch * length);
    return [batch, length];
  }

  /**
   * Takes over the tensors of a checkpoint by their names, as `TrainableTransformer.loadTensors` does.
   *
   * @example
   * ```ts
   * import { cudaAvailable, TrainableTransformer } from "tritter-accel";
   *
   * const sizes = { vocabSize: 9, hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2 };
   * const other = new TrainableTransformer(sizes, { seed: 2 });
   * const tensors = new Map(other.parameters.map(({ name, data }) => [name, data]));
   * if (cudaAvailable()) {
   *   using model = new TrainableTransformer(sizes).to("cuda");
   *   model.loadTensors((name) => tensors.get(name)!);
   * }
   * ```
   */
  loadTensors(read: (name: string) => ParameterData): void {
    loadParameters(this.parameters, read);
  }

  /**
   * Returns the model on another device, with copies of the weights; itself where it already is.
   *
   * @example
   * ```ts
   * import { cudaAvailable, TrainableTransformer } from "tritter-accel";
   *
   * const sizes = { vocabSize: 9, hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2 };
   * if (cudaAvailable()) {
   *   using model = new TrainableTransformer(sizes).to("cuda");
   *   console.log(model.to("cpu").parameters[0]!.data.length); // 72
   * }
   * ```
   */
  to(device: "cpu"): TrainableTransformer;
  /** Returns copies of the weights on another CUDA device, or this model. */
  to(device: "cuda" | `cuda:${number}`): CudaTransformer;
  /** Returns the model on another device. */
  to(device: Device): TrainableTransformer | CudaTransformer;
  to(device: Device): TrainableTransformer | CudaTransformer {
    const place = namedPlace(device);
    if (place === this.device) return this;
    if (place !== "cpu") return construct(this.config, this.parameters, place);
    const model = new TrainableTransformer(this.config, { initializerRange: 0 });
    const byName = new Map(this.parameters.map((parameter) => [parameter.name, parameter]));
    model.loadTensors((name) => valuesOf(byName.get(name)!));
    return model;
  }

  /** Frees everything that it holds on the device, its parameters too. */
  [Symbol.dispose](): void {
    this.#model.dispose();
  }
}
