// Attention of whole texts in training.

import { checkArray, checkCount, checkOptions, checkTexts } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { FloatBuffer, kept } from "./buffer.ts";
import type { LayerOutput } from "./trainable_bitlinear.ts";

/** The sizes of `CausalAttention`. */
export interface CausalAttentionOptions {
  /** Number of query heads. */
  heads: number;
  /** Number of key and value heads; divides `heads`. Default: `heads`. */
  kvHeads?: number | undefined;
  /** Numbers of a head, even. */
  headDim: number;
}

/** The gradients that attention gives back. */
export interface AttentionGradients {
  /** Gradient of the queries. */
  readonly queries: Float32Array;
  /** Gradient of the keys. */
  readonly keys: Float32Array;
  /** Gradient of the values. */
  readonly values: Float32Array;
}

interface Inputs {
  readonly queries: Float32Array;
  readonly keys: Float32Array;
  readonly values: Float32Array;
  readonly batch: number;
  readonly length: number;
}

/**
 * Grouped-query attention in which no token sees a later one: softmax(Q K^T / sqrt(headDim)) V.
 *
 * It keeps no weights of all pairs of tokens: the pass backward computes them again, a few tokens at a
 * time. The pass forward has the arithmetic of inference, bit for bit. Source: Vaswani et al.,
 * arXiv:1706.03762, and Ainslie et al., arXiv:2305.13245.
 *
 * @example
 * ```ts
 * import { CausalAttention } from "tritter-accel";
 *
 * const attention = new CausalAttention({ heads: 4, kvHeads: 2, headDim: 8 });
 * const [queries, keys, values] = [32, 16, 16].map((width) => new Float32Array(3 * width).fill(1));
 * const output = attention.forward(queries!, keys!, values!, [1, 3]);
 * console.log(output.length, attention.backward(output).keys.length); // 96 48
 * ```
 */
export class CausalAttention {
  /** Number of query heads. */
  readonly heads: number;
  /** Number of key and value heads. */
  readonly kvHeads: number;
  /** Numbers of a head. */
  readonly headDim: number;
  readonly #output = new FloatBuffer();
  readonly #gradients = [new FloatBuffer(), new FloatBuffer(), new FloatBuffer()] as const;
  #inputs: Inputs | undefined;

  /** Makes attention of the given sizes. */
  constructor(options: CausalAttentionOptions) {
    const { heads, kvHeads = heads, headDim } = checkOptions(options, "options");
    this.heads = checkCount(heads, "heads", { min: 1, max: 2 ** 16 });
    this.kvHeads = checkCount(kvHeads, "kvHeads", { min: 1, max: heads });
    this.headDim = checkCount(headDim, "headDim", { min: 2, max: 2 ** 14 });
    if (heads % kvHeads !== 0) {
      throw tritterError("invalid_value", `kvHeads must divide heads (${heads}), got ${kvHeads}`);
    }
    if (headDim % 2 !== 0) {
      throw tritterError("invalid_value", `headDim must be even, got ${headDim}`);
    }
  }

  /**
   * Attends in `batch` texts of `length` tokens each.
   *
   * Queries and output are [batch, length, heads, headDim], keys and values [batch, length, kvHeads,
   * headDim]. They are kept for `backward`, and must not change until then.
   *
   * @example
   * ```ts
   * import { CausalAttention } from "tritter-accel";
   *
   * const attention = new CausalAttention({ heads: 1, headDim: 2 });
   * const same = Float32Array.of(1, 0, 0, 1);
   * console.log(attention.forward(same, same, same, [1, 2]).subarray(0, 2)); // 1, 0
   * ```
   */
  forward(
    queries: Float32Array,
    keys: Float32Array,
    values: Float32Array,
    shape: readonly [batch: number, length: number],
    options?: LayerOutput,
  ): Float32Array {
    const { out } = checkOptions(options, "options");
    const [batch, length] = checkTexts(shape, 2 ** 20);
    const wide = batch * length * this.heads * this.headDim;
    const narrow = batch * length * this.kvHeads * this.headDim;
    checkArray(queries, Float32Array, "queries", wide);
    checkArray(keys, Float32Array, "keys", narrow);
    checkArray(values, Float32Array, "values", narrow);
    const output = out === undefined
      ? this.#output.take(wide)
      : checkArray(out, Float32Array, "out", wide);
    const fields = this.#fields(batch, length, [wide, narrow, narrow, wide]);
    check(native.attention_forward(queries, keys, values, output, fields, fields.length));
    this.#inputs = { queries, keys, values, batch, length };
    return output;
  }

  #fields(batch: number, length: number, lengths: readonly number[]): Float64Array {
    return Float64Array.of(batch, length, this.heads, this.kvHeads, this.headDim, ...lengths);
  }

  /**
   * Returns the gradients of the last queries, keys and values, in arrays that the layer keeps until
   * its next call.
   *
   * @example
   * ```ts
   * import { CausalAttention } from "tritter-accel";
   *
   * const attention = new CausalAttention({ heads: 1, headDim: 2 });
   * const same = Float32Array.of(1, 0);
   * attention.forward(same, same, same, [1, 1]);
   * console.log(attention.backward(Float32Array.of(1, 2)).values); // 1, 2
   * ```
   */
  backward(
    gradient: Float32Array,
    options?: { out?: AttentionGradients | undefined },
  ): AttentionGradients {
    const { out } = checkOptions(options, "options");
    const { queries, keys, values, batch, length } = kept(this.#inputs, "CausalAttention");
    const [wide, narrow] = [queries.length, keys.length];
    checkArray(gradient, Float32Array, "gradient", wide);
    const result = out === undefined
      ? {
        queries: this.#gradients[0].take(wide),
        keys: this.#gradients[1].take(narrow),
        values: this.#gradients[2].take(narrow),
      }
      : out;
    checkArray(result.queries, Float32Array, "out.queries", wide);
    checkArray(result.keys, Float32Array, "out.keys", narrow);
    checkArray(result.values, Float32Array, "out.values", narrow);
    const lengths = [wide, narrow, narrow, wide, wide, narrow, narrow];
    const fields = this.#fields(batch, length, lengths);
    check(native.attention_backward(
      queries,
      keys,
      values,
      gradient,
      result.queries,
      result.keys,
      result.values,
      fields,
      fields.length,
    ));
    return result;
  }
}
