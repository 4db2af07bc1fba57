// The end of a language model in training: logits and loss in one.

import { checkArray, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import type { Parameter } from "./trainable.ts";

/** Options of `CrossEntropyHead.lossAndGradient`. */
export interface HeadGradientOptions {
  /** What the mean loss is multiplied by before its gradients are taken. Default: 1. */
  scale?: number | undefined;
  /** An array for the gradient of the hidden states. Default: a new one. */
  out?: Float32Array | undefined;
}

/**
 * The output layer of a language model with its loss: softmax cross-entropy of hidden states times a
 * table of a row per token id.
 *
 * Logits are computed some tokens at a time and never kept, so memory does not grow with tokens times
 * vocabulary. A target of -100 counts for nothing.
 *
 * @example
 * ```ts
 * import { CrossEntropyHead, TrainableEmbedding } from "tritter-accel";
 *
 * const { weight } = new TrainableEmbedding(8, 4); // zeros: every id is as likely
 * const head = new CrossEntropyHead(weight);
 * console.log(head.loss(new Float32Array(2 * 4), Int32Array.of(3, -100))); // log 8
 * ```
 */
export class CrossEntropyHead {
  /** The table, [vocabSize, features]; its gradient is added to. */
  readonly weight: Parameter<Float32Array>;
  readonly #features: number;
  readonly #result = new Float64Array(2);

  /** Uses a table; that of the embedding where both are tied. */
  constructor(weight: Parameter<Float32Array>) {
    const features = weight?.shape?.[1];
    if (weight?.shape?.length !== 2 || features === undefined) {
      throw tritterError(
        "invalid_type",
        "weight must be a parameter of the shape [vocab, features]",
      );
    }
    this.weight = weight;
    this.#features = features;
  }

  /**
   * Returns the mean loss in nats over the targets that count, 0 if none does.
   *
   * @example
   * ```ts
   * import { CrossEntropyHead, TrainableEmbedding } from "tritter-accel";
   *
   * const head = new CrossEntropyHead(new TrainableEmbedding(2, 1).weight);
   * console.log(head.loss(Float32Array.of(1), Int32Array.of(0))); // log 2
   * ```
   */
  loss(hidden: Float32Array, targets: Int32Array): number {
    this.#run(hidden, targets, 0, new Float32Array(0), new Float32Array(0));
    return this.#result[0]!;
  }

  /**
   * The same, and adds the gradient of the table to its parameter; `gradient` is that of the hidden
   * states.
   *
   * @example
   * ```ts
   * import { CrossEntropyHead, TrainableEmbedding } from "tritter-accel";
   *
   * const head = new CrossEntropyHead(new TrainableEmbedding(2, 1).weight);
   * head.lossAndGradient(Float32Array.of(1), Int32Array.of(0));
   * console.log(head.weight.gradient); // -0.5, 0.5
   * ```
   */
  lossAndGradient(
    hidden: Float32Array,
    targets: Int32Array,
    options?: HeadGradientOptions,
  ): { loss: number; gradient: Float32Array } {
    const { scale = 1, out } = checkOptions(options, "options");
    checkNumber(scale, "scale");
    checkArray(hidden, Float32Array, "hidden");
    const gradient = out === undefined
      ? new Float32Array(hidden.length)
      : checkArray(out, Float32Array, "out", hidden.length);
    this.#run(hidden, targets, scale, gradient, this.weight.gradient);
    return { loss: this.#result[0]!, gradient };
  }

  #run(
    hidden: Float32Array,
    targets: Int32Array,
    scale: number,
    dHidden: Float32Array,
    dTable: Float32Array,
  ): void {
    checkArray(targets, Int32Array, "targets");
    checkArray(hidden, Float32Array, "hidden", targets.length * this.#features);
    const { data } = this.weight;
    const fields = Float64Array.of(
      this.#features,
      scale,
      hidden.length,
      data.length,
      targets.length,
      dHidden.length,
      dTable.length,
    );
    check(native.head_loss(
      hidden,
      data,
      targets,
      dHidden,
      dTable,
      this.#result,
      fields,
      fields.length,
    ));
  }
}
