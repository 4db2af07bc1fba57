// What a trainer needs to know of a model: its parameters, its loss and its gradients.

import type { Tensor } from "../tensor.ts";

/** How latent weights are stored: as 32-bit floats, or as bfloat16. */
export type LatentType = "f32" | "bf16";

/** What a parameter's values are stored in: 32-bit floats, or the words of bfloat16. */
export type ParameterData = Float32Array | Uint16Array;

/** What a parameter's values can be stored in: arrays, or an f32 tensor on a CUDA device. */
export type TrainableData = ParameterData | Tensor<"f32">;

/** What a parameter's gradient is stored in: 32-bit floats, where the values are. */
export type GradientData<Data extends TrainableData> = Data extends ParameterData ? Float32Array
  : Tensor<"f32">;

/** A tensor that training changes, and its gradient; on a device both are a `Tensor` there. */
export interface Parameter<Data extends TrainableData = ParameterData> {
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
  readonly gradient: GradientData<Data>;
  /** True if weight decay applies to it. */
  readonly decay: boolean;
  /** True if the tensor is ternary in the exported model. */
  readonly quantized: boolean;
}

/** How gradients are computed. */
export interface GradientOptions<Data extends TrainableData = ParameterData> {
  /** What the mean loss is multiplied by before its gradients are taken. Default: 1. */
  scale?: number | undefined;
  /**
   * Called with each parameter as soon as nothing more is added to its gradient in this call, so that
   * it can travel while the others are computed. It must not throw, nor change the gradients.
   */
  onGradient?: ((parameter: Parameter<Data>) => void) | undefined;
}

/** A language model that can be trained; its parameters are arrays, or tensors on one device. */
export interface Trainable<Data extends TrainableData = ParameterData> {
  /** Everything that is trained, in a fixed order. */
  readonly parameters: readonly Parameter<Data>[];

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
    options?: GradientOptions<Data>,
  ): number;

  /** Returns the mean loss alone, in nats over the targets that count. */
  loss(ids: Int32Array, targets: Int32Array, shape: readonly [number, number]): number;
}
