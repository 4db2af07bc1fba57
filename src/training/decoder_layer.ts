// One layer of a transformer in training: attention, then the feed-forward part.

import { check, native } from "../native/library.ts";
import type { ModelConfig } from "../inference/config.ts";
import { ActivationGate } from "../nn/activation_gate.ts";
import { FloatBuffer } from "../nn/buffer.ts";
import { CausalAttention } from "../nn/causal_attention.ts";
import { QuantizedTokens } from "../nn/quantized_tokens.ts";
import type { RotaryEmbedding } from "../nn/rotary_embedding.ts";
import { TrainableBitLinear } from "../nn/trainable_bitlinear.ts";
import { TrainableRmsNorm } from "../nn/trainable_rms_norm.ts";
import type { LatentType, Parameter } from "../nn/trainable.ts";

/** What the layers of a model share: the rotation, and memory for what no layer has to keep. */
export class SharedBuffers {
  /** Turns queries and keys by their positions. */
  readonly rotary: RotaryEmbedding;
  /** Results of norms, on their way to 8 bits; gradients of hidden width. */
  readonly normed: FloatBuffer = new FloatBuffer();
  /** Gradients inside the feed-forward part. */
  readonly inner: FloatBuffer = new FloatBuffer();
  /** Gradients of queries, keys and values. */
  readonly projected: readonly FloatBuffer[] = [
    new FloatBuffer(),
    new FloatBuffer(),
    new FloatBuffer(),
  ];

  /** Shares a rotation. */
  constructor(rotary: RotaryEmbedding) {
    this.rotary = rotary;
  }
}

/** Takes the parameters of a layer whose gradients are final; a layer that is not there has none. */
export type TellParameters = (
  layer: { readonly parameters: readonly Parameter[] } | undefined,
) => void;

/** sum += term */
function add(sum: Float32Array, term: Float32Array): void {
  check(native.vector_add(sum, sum.length, term));
}

/** A decoder layer: what it keeps between the passes is its own, the rest is shared. */
export class DecoderLayer {
  readonly #config: ModelConfig;
  readonly #shared: SharedBuffers;
  readonly #inputNorm: TrainableRmsNorm;
  readonly #query: TrainableBitLinear<LatentType>;
  readonly #key: TrainableBitLinear<LatentType>;
  readonly #value: TrainableBitLinear<LatentType>;
  readonly #attention: CausalAttention;
  readonly #attentionNorm: TrainableRmsNorm | undefined;
  readonly #out: TrainableBitLinear<LatentType>;
  readonly #middleNorm: TrainableRmsNorm;
  readonly #gate: TrainableBitLinear<LatentType>;
  readonly #up: TrainableBitLinear<LatentType>;
  readonly #activation: ActivationGate;
  readonly #innerNorm: TrainableRmsNorm | undefined;
  readonly #down: TrainableBitLinear<LatentType>;
  readonly #tokens: readonly [QuantizedTokens, QuantizedTokens, QuantizedTokens, QuantizedTokens];
  readonly #middle = new FloatBuffer();
  readonly #output = new FloatBuffer();
  #shape: readonly [batch: number, length: number] = [0, 0];

  /** Makes layer number `index` of a model. */
  constructor(config: ModelConfig, latent: LatentType, index: number, shared: SharedBuffers) {
    const { hiddenSize: hidden, intermediateSize: inner, heads, kvHeads, headDim } = config;
    const prefix = `model.layers.${index}`;
    const linear = (name: string, inFeatures: number, outFeatures: number, bias: boolean) =>
      new TrainableBitLinear(inFeatures, outFeatures, { name: `${prefix}.${name}`, bias, latent });
    const norm = (name: string, features: number) =>
      new TrainableRmsNorm(features, { name: `${prefix}.${name}`, epsilon: config.rmsNormEps });
    const bitnet = config.architecture === "BitNetForCausalLM";
    const { attentionBias, mlpBias } = config;
    this.#config = config;
    this.#shared = shared;
    this.#inputNorm = norm("input_layernorm", hidden);
    this.#query = linear("self_attn.q_proj", hidden, heads * headDim, attentionBias);
    this.#key = linear("self_attn.k_proj", hidden, kvHeads * headDim, attentionBias);
    this.#value = linear("self_attn.v_proj", hidden, kvHeads * headDim, attentionBias);
    this.#attention = new CausalAttention({ heads, kvHeads, headDim });
    this.#attentionNorm = bitnet ? norm("self_attn.attn_sub_norm", hidden) : undefined;
    this.#out = linear("self_attn.o_proj", heads * headDim, hidden, attentionBias);
    this.#middleNorm = norm("post_attention_layernorm", hidden);
    this.#gate = linear("mlp.gate_proj", hidden, inner, mlpBias);
    this.#up = linear("mlp.up_proj", hidden, inner, mlpBias);
    this.#activation = new ActivationGate(config.activation);
    this.#innerNorm = bitnet ? norm("mlp.ffn_sub_norm", inner) : undefined;
    this.#down = linear("mlp.down_proj", inner, hidden, mlpBias);
    this.#tokens = [
      new QuantizedTokens(hidden),
      new QuantizedTokens(heads * headDim),
      new QuantizedTokens(hidden),
      new QuantizedTokens(inner),
    ];
  }

  /** The parameters, in the order of the passes. */
  get parameters(): readonly Parameter[] {
    const layers = [
      this.#inputNorm,
      this.#query,
      this.#key,
      this.#value,
      this.#attentionNorm,
      this.#out,
      this.#middleNorm,
      this.#gate,
      this.#up,
      this.#innerNorm,
      this.#down,
    ];
    return layers.flatMap((layer) => layer?.parameters ?? []);
  }

  /** Returns the residual stream after this layer; both are kept for `backward`. */
  forward(x: Float32Array, shape: readonly [batch: number, length: number]): Float32Array {
    const { heads, kvHeads } = this.#config;
    const { rotary } = this.#shared;
    const [forAttention, forOut, forInner, forDown] = this.#tokens;
    this.#shape = shape;
    this.#normalize(this.#inputNorm, x, forAttention);
    const queries = this.#query.forward(forAttention);
    const keys = this.#key.forward(forAttention);
    const values = this.#value.forward(forAttention);
    rotary.forward(queries, shape[1], { heads });
    rotary.forward(keys, shape[1], { heads: kvHeads });
    this.#normalize(
      this.#attentionNorm,
      this.#attention.forward(queries, keys, values, shape),
      forOut,
    );
    const middle = this.#out.forward(forOut, { out: this.#middle.take(x.length) });
    add(middle, x);
    this.#normalize(this.#middleNorm, middle, forInner);
    const gate = this.#gate.forward(forInner);
    const up = this.#up.forward(forInner);
    this.#normalize(this.#innerNorm, this.#activation.forward(gate, up), forDown);
    const output = this.#down.forward(forDown, { out: this.#output.take(x.length) });
    add(output, middle);
    return output;
  }

  #normalize(
    norm: TrainableRmsNorm | undefined,
    input: Float32Array,
    tokens: QuantizedTokens,
  ): void {
    const out = this.#shared.normed.take(input.length);
    tokens.quantize(norm === undefined ? input : norm.forward(input, { out }));
  }

  /** Turns the gradient of the output into that of the input, in place; tells what it is done with. */
  backward(gradient: Float32Array, tell: TellParameters): void {
    const { normed, inner, projected, rotary } = this.#shared;
    const [batch, length] = this.#shape;
    const { heads, kvHeads, headDim, intermediateSize } = this.#config;
    const count = batch * length;
    const dInner = this.#down.backward(gradient, { out: inner.take(count * intermediateSize) });
    tell(this.#down);
    this.#innerNorm?.backward(dInner, { out: dInner });
    tell(this.#innerNorm);
    const gates = this.#activation.backward(dInner, { inPlace: true });
    const hidden = normed.take(gradient.length);
    this.#gate.backward(gates.gate, { out: hidden });
    tell(this.#gate);
    this.#up.backward(gates.up, { out: hidden, accumulate: true });
    tell(this.#up);
    this.#middleNorm.backward(hidden, { out: gradient, accumulate: true });
    tell(this.#middleNorm);

    const dAttended = this.#out.backward(gradient, { out: normed.take(count * heads * headDim) });
    tell(this.#out);
    this.#attentionNorm?.backward(dAttended, { out: dAttended });
    tell(this.#attentionNorm);
    const [queries, keys, values] = [heads, kvHeads, kvHeads].map((number, index) =>
      projected[index]!.take(count * number * headDim)
    ) as [Float32Array, Float32Array, Float32Array];
    this.#attention.backward(dAttended, { out: { queries, keys, values } });
    rotary.backward(queries, length, { heads });
    rotary.backward(keys, length, { heads: kvHeads });
    const input = normed.take(gradient.length);
    this.#query.backward(queries, { out: input });
    tell(this.#query);
    this.#key.backward(keys, { out: input, accumulate: true });
    tell(this.#key);
    this.#value.backward(values, { out: input, accumulate: true });
    tell(this.#value);
    this.#inputNorm.backward(input, { out: gradient, accumulate: true });
    tell(this.#inputNorm);
  }
}
