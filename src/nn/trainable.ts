// What a trainer needs to know of a model: its parameters, its loss and its gradients.

/** How latent weights are stored: as 32-bit floats, or as bfloat16. */
export type LatentType = "f32" | "bf16";

/** What a parameter's values are stored in: 32-bit floats, or the words of bfloat16. */
export type ParameterData = Float32Array | Uint16Array;

/** A tensor that training changes, and its gradient. */
export interface Parameter<Data extends ParameterData = ParameterData> {
  /** The name of the tensor in Hugging Face checkpoints, as in `model.norm.weight`. */
  readonly name: string;
  /** Sizes of the axes, outermost first. */
  readonly shape: readonly number[];
  /**
   * The values, row-major; an optimiser writes here. Words of bfloat16 are read by `fromBf16`, and
   * what an optimiser writes to them should be rounded at random, or small changes are lost.
   */
  readonly data: Data;
  /** The gradient, as long as `data`; whoever steps sets it back to zero. */
  readonly gradient: Float32Array;
  /** True if weight decay applies to it. */
  readonly decay: boolean;
  /** True if the tensor is ternary in the exported model. */
  readonly quantized: boolean;
}

/** How `Trainable.lossAndGradients` works. */
export interface GradientOptions {
  /** What the loss is multiplied by before the backward pass. Default: 1. */
  scale?: number | undefined;
  /** Is told of each parameter whose gradient is final in this call; may change the gradient. */
  onGradient?: ((parameter: Parameter) => void) | undefined;
}

/** A language model that can be trained. */
export interface Trainable {
  /** Everything that is trained, in a fixed order. */
  readonly parameters: readonly Parameter[];

  /**
   * Adds the gradients of `scale` (default 1) times the mean loss to the parameters' gradients.
   *
   * `ids` and `targets` hold batch x length token ids, row-major: target i is what follows id i, and
   * -100 counts as none. Returns the mean loss, unscaled, in nats over the targets that count.
   *
   * A model may call `onGradient` for each parameter, at most once, as soon as this call adds nothing
   * more to its gradient: a trainer with several ranks then sends it while the others are computed.
   */
  lossAndGradients(
    ids: Int32Array,
    targets: Int32Array,
    shape: readonly [batch: number, length: number],
    options?: GradientOptions,
  ): number;

  /** Returns the mean loss alone, in nats over the targets that count. */
  loss(ids: Int32Array, targets: Int32Array, shape: readonly [number, number]): number;
}
