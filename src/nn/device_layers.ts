// The layers of a model in training on a CUDA device. They ask the device for work and do not wait.

import { cudaIndex, type Place } from "../device.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import { Tensor } from "../tensor.ts";
import { valuesOf } from "./buffer.ts";
import { floatsHandle, TensorBuffer, zeroTensor } from "./device_memory.ts";
import { ropeTables } from "./rotary_embedding.ts";
import type { Parameter, TrainableData } from "./trainable.ts";

/** A parameter whose values and gradient are on a device. */
export type DeviceParameter = Parameter<Tensor<"f32">>;

/** Called with a parameter whose gradient is complete. */
export type GradientDone = (parameter: DeviceParameter) => void;

/** Copies a parameter's values to a device; its gradient there is zero. */
export function deviceParameter(
  parameter: Parameter<TrainableData>,
  place: Place,
): DeviceParameter {
  const { name, shape, data, decay, quantized } = parameter;
  const copy = data instanceof Tensor
    ? data.to(place)
    : new Tensor<"f32">(valuesOf(parameter), shape, { device: place });
  return Object.freeze({
    name,
    shape,
    data: copy,
    gradient: zeroTensor(shape, place),
    decay,
    quantized,
  });
}

/** Activations rounded to 8 bits token by token. */
export class DeviceTokens {
  readonly #features: number;
  readonly #values: TensorBuffer<"i8">;
  readonly #scales: TensorBuffer<"f32">;

  constructor(features: number, place: Place) {
    this.#features = features;
    this.#values = new TensorBuffer("i8", place);
    this.#scales = new TensorBuffer("f32", place);
  }

  get values(): bigint {
    return this.#values.handle;
  }

  get scales(): bigint {
    return this.#scales.handle;
  }

  quantize(input: bigint, count: number): this {
    this.#values.take(count * this.#features);
    this.#scales.take(count);
    check(native.cuda_tokens_quantize(input, this.values, this.scales, this.#features));
    return this;
  }

  get bytes(): number {
    return this.#values.bytes + this.#scales.bytes;
  }

  dispose(): void {
    this.#values.dispose();
    this.#scales.dispose();
  }
}

/** A linear layer whose weights compute as if they were ternary. */
export class DeviceBitLinear {
  readonly #weight: DeviceParameter;
  readonly #bias: DeviceParameter | undefined;
  readonly #layer: NativeHandle;
  #tokens: DeviceTokens | undefined;

  constructor(weight: DeviceParameter, bias: DeviceParameter | undefined) {
    const [rows, columns] = weight.shape as readonly [number, number];
    const handle = new BigUint64Array(1);
    check(native.cuda_bitlinear_create(cudaIndex(weight.data.device), columns, rows, handle, 1));
    this.#layer = new NativeHandle(handle[0]!, "The layer");
    this.#weight = weight;
    this.#bias = bias;
  }

  forward(tokens: DeviceTokens, out: bigint): void {
    const bias = this.#bias === undefined ? 0n : floatsHandle(this.#bias.data, this.#bias.name);
    check(native.cuda_bitlinear_forward(
      this.#layer.value,
      floatsHandle(this.#weight.data, this.#weight.name),
      tokens.values,
      tokens.scales,
      bias,
      out,
    ));
    this.#tokens = tokens;
  }

  /** The gradient of the input is written to `out`, or added to what is there. */
  backward(gradient: bigint, out: bigint, done: GradientDone, accumulate = false): void {
    const { values, scales } = this.#tokens!;
    const [weight, bias] = [this.#weight, this.#bias];
    const handles = BigUint64Array.of(
      gradient,
      values,
      scales,
      floatsHandle(weight.gradient, weight.name),
      bias === undefined ? 0n : floatsHandle(bias.gradient, bias.name),
      out,
    );
    check(native.cuda_bitlinear_backward(
      this.#layer.value,
      handles,
      handles.length,
      Number(accumulate),
    ));
    done(weight);
    if (bias !== undefined) done(bias);
  }

  dispose(): void {
    this.#layer.dispose();
  }
}

/** A root mean square norm. */
export class DeviceRmsNorm {
  readonly #weight: DeviceParameter;
  readonly #epsilon: number;
  #input = 0n;

  constructor(weight: DeviceParameter, epsilon: number) {
    this.#weight = weight;
    this.#epsilon = epsilon;
  }

  /** The input must stay as it is until the pass backward. */
  forward(input: bigint, out: bigint): void {
    const weight = floatsHandle(this.#weight.data, this.#weight.name);
    check(native.cuda_rms_norm_forward(input, weight, out, this.#epsilon));
    this.#input = input;
  }

  /** `out` may be the gradient, unless it is added to. */
  backward(gradient: bigint, out: bigint, done: GradientDone, accumulate = false): void {
    const { data, gradient: sums, name } = this.#weight;
    check(native.cuda_rms_norm_backward(
      this.#input,
      floatsHandle(data, name),
      gradient,
      out,
      floatsHandle(sums, name),
      this.#epsilon,
      Number(accumulate),
    ));
    done(this.#weight);
  }
}

/** Turns queries and keys by their positions; keeps the sines of the longest text so far. */
export class DeviceRotary {
  readonly #frequencies: Float32Array;
  readonly #place: Place;
  #positions = 0;
  #tables: readonly Tensor<"f32">[] = [];

  constructor(frequencies: Float32Array, place: Place) {
    this.#frequencies = frequencies;
    this.#place = place;
  }

  forward(values: bigint, length: number, heads: number): void {
    this.#turn(values, length, heads, 1);
  }

  backward(values: bigint, length: number, heads: number): void {
    this.#turn(values, length, heads, 2);
  }

  #turn(values: bigint, length: number, heads: number, sines: 1 | 2): void {
    this.#reach(length);
    const [cos, sin] = [this.#tables[0]!, this.#tables[sines]!].map((table) =>
      floatsHandle(table, "The table")
    );
    const fields = Float64Array.of(length, heads, 2 * this.#frequencies.length);
    check(native.cuda_rope_turn(values, cos!, sin!, fields, fields.length));
  }

  #reach(length: number): void {
    if (length <= this.#positions) return;
    const shape = [length, this.#frequencies.length];
    const tables = ropeTables(this.#frequencies, length);
    this.dispose();
    this.#tables = tables.map((table) => new Tensor<"f32">(table, shape, { device: this.#place }));
    this.#positions = length;
  }

  get bytes(): number {
    return this.#tables.reduce((sum, { size }) => sum + 4 * size, 0);
  }

  dispose(): void {
    for (const table of this.#tables) table[Symbol.dispose]();
    this.#tables = [];
    this.#positions = 0;
  }
}
