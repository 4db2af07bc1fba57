// The passes of a transformer in training on a CUDA device; CudaTransformer is its public face.

import type { Place } from "../device.ts";
import { tritterError } from "../errors.ts";
import type { ModelConfig } from "../inference/config.ts";
import { inverseFrequencies } from "../inference/rope.ts";
import { check, native } from "../native/library.ts";
import {
  type DeviceParameter,
  deviceParameter,
  DeviceRmsNorm,
  DeviceRotary,
  type GradientDone,
} from "../nn/device_layers.ts";
import { floatsHandle, TensorBuffer } from "../nn/device_memory.ts";
import type { Parameter, TrainableData } from "../nn/trainable.ts";
import { writeTensor } from "../tensor.ts";
import { type BatchShape, DeviceDecoderLayer, DeviceShared } from "./device_decoder_layer.ts";

const EMBEDDING = "model.embed_tokens.weight";
const HEAD = "lm_head.weight";
const NORM = "model.norm.weight";

/** The target that counts for nothing. */
const IGNORED = -100;

/** How gradients are wanted. */
interface GradientRequest {
  readonly scale: number;
  readonly done: GradientDone;
}

/** A model whose parameters, gradients and activations are on a device. */
export class DeviceModel {
  readonly parameters: readonly DeviceParameter[];

  readonly #config: ModelConfig;
  readonly #embedding: DeviceParameter;
  readonly #layers: readonly DeviceDecoderLayer[];
  readonly #norm: DeviceRmsNorm;
  readonly #head: DeviceParameter;
  readonly #shared: DeviceShared;
  readonly #ids: TensorBuffer<"i32">;
  readonly #targets: TensorBuffer<"i32">;
  readonly #embedded: TensorBuffer<"f32">;
  readonly #hidden: TensorBuffer<"f32">;
  readonly #gradient: TensorBuffer<"f32">;
  readonly #result = new Float64Array(2);
  #disposed = false;

  /** Copies the parameters of a model of this config to a device. */
  constructor(config: ModelConfig, parameters: readonly Parameter<TrainableData>[], place: Place) {
    this.#config = config;
    this.parameters = Object.freeze(parameters.map((given) => deviceParameter(given, place)));
    const byName = new Map(this.parameters.map((parameter) => [parameter.name, parameter]));
    const rotary = new DeviceRotary(inverseFrequencies(config), place);
    this.#shared = new DeviceShared(rotary, place);
    this.#embedding = byName.get(EMBEDDING)!;
    this.#head = byName.get(HEAD) ?? this.#embedding;
    this.#norm = new DeviceRmsNorm(byName.get(NORM)!, config.rmsNormEps);
    this.#layers = Array.from(
      { length: config.layers },
      (_, index) => new DeviceDecoderLayer(config, byName, index, this.#shared, place),
    );
    this.#ids = new TensorBuffer("i32", place);
    this.#targets = new TensorBuffer("i32", place);
    this.#embedded = new TensorBuffer("f32", place);
    this.#hidden = new TensorBuffer("f32", place);
    this.#gradient = new TensorBuffer("f32", place);
  }

  /** Adds gradients; returns the mean loss, and the device goes on with the pass backward. */
  lossAndGradients(
    ids: Int32Array,
    targets: Int32Array,
    shape: BatchShape,
    { scale, done }: GradientRequest,
  ): number {
    const hidden = this.#forward(ids, targets, shape);
    const gradient = this.#gradient.take(ids.length * this.#config.hiddenSize).handle;
    const loss = this.#lossOf(hidden, gradient, scale);
    if (this.#head !== this.#embedding) done(this.#head);
    this.#norm.backward(gradient, gradient, done);
    for (const layer of [...this.#layers].reverse()) layer.backward(gradient, done);
    const { gradient: table, name } = this.#embedding;
    check(native.cuda_embedding_backward(
      gradient,
      this.#ids.handle,
      floatsHandle(table, name),
      this.#config.hiddenSize,
    ));
    done(this.#embedding);
    return loss;
  }

  /** The mean loss alone. */
  loss(ids: Int32Array, targets: Int32Array, shape: BatchShape): number {
    return this.#lossOf(this.#forward(ids, targets, shape), 0n, 0);
  }

  /** Asks for the pass forward; returns the normed hidden states. */
  #forward(ids: Int32Array, targets: Int32Array, shape: BatchShape): bigint {
    if (this.#disposed) throw tritterError("disposed", "CudaTransformer is disposed");
    const { hiddenSize, vocabSize } = this.#config;
    checkIds(ids, vocabSize, "ids");
    checkIds(targets, vocabSize, "targets", IGNORED);
    const count = ids.length;
    writeTensor(this.#ids.take(count).tensor, ids);
    writeTensor(this.#targets.take(count).tensor, targets);
    const embedded = this.#embedded.take(count * hiddenSize).handle;
    const { data, name } = this.#embedding;
    check(native.cuda_embedding_forward(
      floatsHandle(data, name),
      this.#ids.handle,
      embedded,
      hiddenSize,
    ));
    let x = embedded;
    for (const layer of this.#layers) x = layer.forward(x, shape);
    const hidden = this.#hidden.take(count * hiddenSize).handle;
    this.#norm.forward(x, hidden);
    return hidden;
  }

  /** Waits for the loss; gradients are wanted where there is one to write to. */
  #lossOf(hidden: bigint, gradient: bigint, scale: number): number {
    const { data, gradient: table, name } = this.#head;
    const handles = BigUint64Array.of(
      hidden,
      floatsHandle(data, name),
      this.#targets.handle,
      gradient,
      gradient === 0n ? 0n : floatsHandle(table, name),
    );
    const result = this.#result;
    const { hiddenSize } = this.#config;
    check(native.cuda_head_loss(handles, handles.length, hiddenSize, scale, result, result.length));
    const loss = result[0]!;
    if (Number.isFinite(loss)) return loss;
    throw tritterError(
      "invalid_value",
      `Weights and activations must be finite, got a loss of ${loss}`,
    );
  }

  /** Bytes of parameters, gradients and activations. */
  get bytes(): number {
    const own = [this.#ids, this.#targets, this.#embedded, this.#hidden, this.#gradient];
    const parts = [...own, ...this.#layers, this.#shared];
    const parameters = this.parameters.reduce((sum, { data }) => sum + 8 * data.size, 0);
    return parts.reduce((sum, { bytes }) => sum + bytes, parameters);
  }

  dispose(): void {
    this.#disposed = true;
    for (const { data, gradient } of this.parameters) {
      data[Symbol.dispose]();
      gradient[Symbol.dispose]();
    }
    for (const layer of this.#layers) layer.dispose();
    this.#shared.dispose();
    const own = [this.#ids, this.#targets, this.#embedded, this.#hidden, this.#gradient];
    for (const buffer of own) buffer.dispose();
  }
}

function checkIds(ids: Int32Array, vocabSize: number, name: string, ignored?: number): void {
  for (let index = 0; index < ids.length; index += 1) {
    const id = ids[index]!;
    if ((id >= 0 && id < vocabSize) || id === ignored) continue;
    throw tritterError(
      "invalid_value",
      `${name} must be from 0 to ${vocabSize - 1}, got ${id} at index ${index}`,
    );
  }
}
