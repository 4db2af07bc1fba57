// One layer of a transformer in training on a CUDA device: as decoder_layer.ts, with tensors.

import type { Place } from "../device.ts";
import type { ModelConfig } from "../inference/config.ts";
import { check, native } from "../native/library.ts";
import {
  DeviceBitLinear,
  type DeviceParameter,
  DeviceRmsNorm,
  type DeviceRotary,
  DeviceTokens,
  type GradientDone,
} from "../nn/device_layers.ts";
import { TensorBuffer } from "../nn/device_memory.ts";

/** The shape of a batch. */
export type BatchShape = readonly [batch: number, length: number];

/** Buffers that the layers of a model share, for what no layer has to keep. */
const SHARED = ["normed", "inner", "attended", "queries", "keys", "values"] as const;
/** Buffers of a layer, for what its pass backward needs. */
const OWN = [
  "queries",
  "keys",
  "values",
  "attended",
  "logSums",
  "middle",
  "gate",
  "up",
  "gated",
  "output",
] as const;

type LinearName = "query" | "key" | "value" | "out" | "gate" | "up" | "down";
type Buffers<Name extends string> = Readonly<Record<Name, TensorBuffer<"f32">>>;

function buffersOf<Name extends string>(names: readonly Name[], place: Place): Buffers<Name> {
  const entries = names.map((name) => [name, new TensorBuffer("f32", place)]);
  return Object.fromEntries(entries) as Buffers<Name>;
}

/** What the layers of a model share. */
export class DeviceShared {
  readonly rotary: DeviceRotary;
  readonly buffers: Buffers<typeof SHARED[number]>;

  constructor(rotary: DeviceRotary, place: Place) {
    this.rotary = rotary;
    this.buffers = buffersOf(SHARED, place);
  }

  get bytes(): number {
    return bytesOf(this.buffers) + this.rotary.bytes;
  }

  dispose(): void {
    this.rotary.dispose();
    for (const buffer of Object.values(this.buffers)) buffer.dispose();
  }
}

function bytesOf(buffers: Buffers<string>): number {
  return Object.values(buffers).reduce((sum, { bytes }) => sum + bytes, 0);
}

/** sum += term */
function add(sum: bigint, term: bigint): void {
  check(native.cuda_floats_combine(sum, 1, term, 1, sum));
}

/** A decoder layer: what it keeps between the passes is its own, the rest is shared. */
export class DeviceDecoderLayer {
  readonly #config: ModelConfig;
  readonly #shared: DeviceShared;
  readonly #linear: Readonly<Record<LinearName, DeviceBitLinear>>;
  readonly #inputNorm: DeviceRmsNorm;
  readonly #attentionNorm: DeviceRmsNorm | undefined;
  readonly #middleNorm: DeviceRmsNorm;
  readonly #innerNorm: DeviceRmsNorm | undefined;
  readonly #kind: number;
  readonly #tokens: readonly [DeviceTokens, DeviceTokens, DeviceTokens, DeviceTokens];
  readonly #own: Buffers<typeof OWN[number]>;
  #shape: BatchShape = [0, 0];

  /** Makes layer number `index` of a model over parameters of a device. */
  constructor(
    config: ModelConfig,
    parameters: ReadonlyMap<string, DeviceParameter>,
    index: number,
    shared: DeviceShared,
    place: Place,
  ) {
    const { hiddenSize: hidden, intermediateSize: inner, heads, headDim } = config;
    const named = (name: string) => parameters.get(`model.layers.${index}.${name}`);
    const norm = (name: string) => {
      const weight = named(`${name}.weight`);
      return weight === undefined ? undefined : new DeviceRmsNorm(weight, config.rmsNormEps);
    };
    const linear = (name: string) =>
      new DeviceBitLinear(named(`${name}.weight`)!, named(`${name}.bias`));
    this.#config = config;
    this.#shared = shared;
    this.#linear = {
      query: linear("self_attn.q_proj"),
      key: linear("self_attn.k_proj"),
      value: linear("self_attn.v_proj"),
      out: linear("self_attn.o_proj"),
      gate: linear("mlp.gate_proj"),
      up: linear("mlp.up_proj"),
      down: linear("mlp.down_proj"),
    };
    this.#inputNorm = norm("input_layernorm")!;
    this.#attentionNorm = norm("self_attn.attn_sub_norm");
    this.#middleNorm = norm("post_attention_layernorm")!;
    this.#innerNorm = norm("mlp.ffn_sub_norm");
    this.#kind = config.activation === "relu2" ? 0 : 1;
    this.#tokens = [
      new DeviceTokens(hidden, place),
      new DeviceTokens(heads * headDim, place),
      new DeviceTokens(hidden, place),
      new DeviceTokens(inner, place),
    ];
    this.#own = buffersOf(OWN, place);
  }

  /** Returns the residual stream after this layer; both are kept for `backward`. */
  forward(x: bigint, shape: BatchShape): bigint {
    const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = this.#config;
    const { rotary, buffers } = this.#shared;
    const [forAttention, forOut, forInner, forDown] = this.#tokens;
    const { query, key, value, out, gate, up, down } = this.#linear;
    const [batch, length] = this.#shape = shape;
    const count = batch * length;
    const own = this.#own;
    const normed = buffers.normed.take(count * hiddenSize).handle;
    const inner = buffers.inner.take(count * intermediateSize).handle;
    this.#normalize(this.#inputNorm, x, forAttention, count, normed);
    const queries = own.queries.take(count * heads * headDim).handle;
    const keys = own.keys.take(count * kvHeads * headDim).handle;
    const values = own.values.take(count * kvHeads * headDim).handle;
    query.forward(forAttention, queries);
    key.forward(forAttention, keys);
    value.forward(forAttention, values);
    rotary.forward(queries, length, heads);
    rotary.forward(keys, length, kvHeads);
    const attended = own.attended.take(count * heads * headDim).handle;
    const logSums = own.logSums.take(count * heads).handle;
    const fields = this.#attentionFields();
    check(native.cuda_attention_forward(
      queries,
      keys,
      values,
      attended,
      logSums,
      fields,
      fields.length,
    ));
    this.#normalize(this.#attentionNorm, attended, forOut, count, normed);
    const middle = own.middle.take(count * hiddenSize).handle;
    out.forward(forOut, middle);
    add(middle, x);
    this.#normalize(this.#middleNorm, middle, forInner, count, normed);
    const gates = own.gate.take(count * intermediateSize).handle;
    const ups = own.up.take(count * intermediateSize).handle;
    gate.forward(forInner, gates);
    up.forward(forInner, ups);
    // Without a norm behind it, nobody needs what the gate gave once it has 8 bits.
    const gated = this.#innerNorm === undefined
      ? inner
      : own.gated.take(count * intermediateSize).handle;
    check(native.cuda_gate_forward(gates, ups, gated, this.#kind));
    this.#normalize(this.#innerNorm, gated, forDown, count, inner);
    const output = own.output.take(count * hiddenSize).handle;
    down.forward(forDown, output);
    add(output, middle);
    return output;
  }

  #attentionFields(): Float64Array {
    const { heads, kvHeads, headDim } = this.#config;
    return Float64Array.of(...this.#shape, heads, kvHeads, headDim);
  }

  /** Rounds activations to 8 bits, after their norm where there is one, which writes to `normed`. */
  #normalize(
    norm: DeviceRmsNorm | undefined,
    input: bigint,
    tokens: DeviceTokens,
    count: number,
    normed: bigint,
  ): void {
    norm?.forward(input, normed);
    tokens.quantize(norm === undefined ? input : normed, count);
  }

  /** Turns the gradient of the output into that of the input, in place. */
  backward(gradient: bigint, done: GradientDone): void {
    const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = this.#config;
    const { rotary, buffers } = this.#shared;
    const { query, key, value, out, gate, up, down } = this.#linear;
    const own = this.#own;
    const [batch, length] = this.#shape;
    const count = batch * length;
    const inner = buffers.inner.take(count * intermediateSize).handle;
    down.backward(gradient, inner, done);
    this.#innerNorm?.backward(inner, inner, done);
    const [gates, ups] = [own.gate.handle, own.up.handle];
    check(native.cuda_gate_backward(gates, ups, inner, gates, ups, this.#kind));
    const hidden = buffers.normed.take(count * hiddenSize).handle;
    gate.backward(gates, hidden, done);
    up.backward(ups, hidden, done, true);
    this.#middleNorm.backward(hidden, gradient, done, true);

    const attended = buffers.attended.take(count * heads * headDim).handle;
    out.backward(gradient, attended, done);
    this.#attentionNorm?.backward(attended, attended, done);
    const queries = buffers.queries.take(count * heads * headDim).handle;
    const keys = buffers.keys.take(count * kvHeads * headDim).handle;
    const values = buffers.values.take(count * kvHeads * headDim).handle;
    const kept = [own.queries, own.keys, own.values, own.attended, own.logSums];
    const handles = BigUint64Array.of(
      ...kept.map(({ handle }) => handle),
      attended,
      queries,
      keys,
      values,
    );
    const fields = this.#attentionFields();
    check(native.cuda_attention_backward(handles, handles.length, fields, fields.length));
    rotary.backward(queries, length, heads);
    rotary.backward(keys, length, kvHeads);
    query.backward(queries, hidden, done);
    key.backward(keys, hidden, done, true);
    value.backward(values, hidden, done, true);
    this.#inputNorm.backward(hidden, gradient, done, true);
  }

  get bytes(): number {
    return bytesOf(this.#own) + this.#tokens.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  dispose(): void {
    for (const layer of Object.values(this.#linear)) layer.dispose();
    for (const tokens of this.#tokens) tokens.dispose();
    for (const buffer of Object.values(this.#own)) buffer.dispose();
  }
}
