// A table of a vector per token in training.

import { checkArray, checkCount, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { createParameter, FloatBuffer, kept } from "./buffer.ts";
import type { LayerOutput } from "./trainable_bitlinear.ts";
import type { Parameter } from "./trainable.ts";

/** Options of `TrainableEmbedding`. */
export interface TrainableEmbeddingOptions {
  /** What the parameter's name begins with. Default: `"embedding"`. */
  name?: string | undefined;
}

/**
 * An embedding that trains: a vector for each token id.
 *
 * @example
 * ```ts
 * import { TrainableEmbedding } from "tritter-accel";
 *
 * const embedding = new TrainableEmbedding(3, 2);
 * embedding.weight.data.set([1, 2, 3, 4, 5, 6]);
 * console.log(embedding.forward(Int32Array.of(2, 0))); // 5, 6, 1, 2
 * embedding.backward(Float32Array.of(1, 1, 0, 1));
 * console.log(embedding.weight.gradient); // 0, 1, 0, 0, 1, 1
 * ```
 */
export class TrainableEmbedding {
  /** Number of token ids. */
  readonly vocabSize: number;
  /** Numbers in a vector. */
  readonly features: number;
  /** The vectors, [vocabSize, features]. */
  readonly weight: Parameter<Float32Array>;
  readonly #output = new FloatBuffer();
  #ids: Int32Array | undefined;

  /** Makes a table of zeros. */
  constructor(vocabSize: number, features: number, options?: TrainableEmbeddingOptions) {
    const { name = "embedding" } = checkOptions(options, "options");
    this.vocabSize = checkCount(vocabSize, "vocabSize", { min: 1, max: 2 ** 24 });
    this.features = checkCount(features, "features", { min: 1, max: 2 ** 22 });
    if (vocabSize * features >= 2 ** 32) {
      throw tritterError(
        "invalid_shape",
        `An embedding must have fewer than 2^32 numbers, got ${vocabSize} x ${features}`,
      );
    }
    this.weight = createParameter(`${name}.weight`, [vocabSize, features], {
      decay: true,
      quantized: false,
    });
  }

  /** The parameters: the weight alone. */
  get parameters(): readonly Parameter[] {
    return [this.weight];
  }

  /**
   * Looks up the vectors of token ids: [ids] to [ids, features].
   *
   * The ids are kept for `backward`, and must not change until then.
   *
   * @example
   * ```ts
   * import { TrainableEmbedding } from "tritter-accel";
   *
   * console.log(new TrainableEmbedding(10, 4).forward(Int32Array.of(7)).length); // 4
   * ```
   */
  forward(ids: Int32Array, options?: LayerOutput): Float32Array {
    const { out } = checkOptions(options, "options");
    checkArray(ids, Int32Array, "ids");
    const length = ids.length * this.features;
    const output = out === undefined
      ? this.#output.take(length)
      : checkArray(out, Float32Array, "out", length);
    const { data } = this.weight;
    check(native.embedding_forward(
      data,
      data.length,
      this.features,
      ids,
      ids.length,
      output,
      output.length,
    ));
    this.#ids = ids;
    return output;
  }

  /**
   * Adds the gradients of the vectors to those of the table; an id that comes twice gets both.
   *
   * @example
   * ```ts
   * import { TrainableEmbedding } from "tritter-accel";
   *
   * const embedding = new TrainableEmbedding(2, 1);
   * embedding.forward(Int32Array.of(1, 1));
   * embedding.backward(Float32Array.of(3, 4));
   * console.log(embedding.weight.gradient); // 0, 7
   * ```
   */
  backward(gradient: Float32Array): void {
    const ids = kept(this.#ids, "TrainableEmbedding");
    checkArray(gradient, Float32Array, "gradient", ids.length * this.features);
    const rows = this.weight.gradient;
    check(native.embedding_backward(
      gradient,
      gradient.length,
      this.features,
      ids,
      ids.length,
      rows,
      rows.length,
    ));
  }
}
