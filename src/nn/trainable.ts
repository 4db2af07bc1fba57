// What a trainer needs to know of a model: its parameters, its loss and its gradients.

/** A tensor that training changes, and its gradient. */
export interface Parameter {
  /** The name of the tensor in Hugging Face checkpoints, as in `model.norm.weight`. */
  readonly name: string;
  /** Sizes of the axes, outermost first. */
  readonly shape: readonly number[];
  /** The values, row-major; an optimiser writes here. */
  readonly data: Float32Array;
  /** The gradient, as long as `data`; whoever steps sets it back to zero. */
  readonly gradient: Float32Array;
  /** True if weight decay applies to it. */
  readonly decay: boolean;
  /** True if the tensor is ternary in the exported model. */
  readonly quantized: boolean;
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
   */
  lossAndGradients(
    ids: Int32Array,
    targets: Int32Array,
    shape: readonly [batch: number, length: number],
    options?: { scale?: number },
  ): number;

  /** Returns the mean loss alone, in nats over the targets that count. */
  loss(ids: Int32Array, targets: Int32Array, shape: readonly [number, number]): number;
}
