// Memory of layers and optimisers on CUDA devices.

import type { Place } from "../device.ts";
import { check, native } from "../native/library.ts";
import { emptyTensorOf, memoryHandle, Tensor } from "../tensor.ts";
import type { TrainableData } from "./trainable.ts";

/** How many numbers a parameter or a gradient has, wherever it is. */
export function countOf(data: TrainableData): number {
  return data instanceof Tensor ? data.size : data.length;
}

/** What the library calls a tensor of floats that is on a device. */
export function floatsHandle(tensor: Tensor, name: string): bigint {
  return memoryHandle(tensor, "f32", tensor.device, name);
}

/** Makes all values zero, wherever they are. */
export function clearFloats(values: Float32Array | Tensor<"f32">): void {
  if (values instanceof Tensor) check(native.cuda_tensor_clear(floatsHandle(values, "values")));
  else values.fill(0);
}

/** A tensor of zeros on a device. */
export function zeroTensor(shape: readonly number[], place: Place): Tensor<"f32"> {
  const tensor = emptyTensorOf("f32", shape, place);
  clearFloats(tensor);
  return tensor;
}

/** A tensor that has as many elements as the last user wanted, and what that one left in them. */
export class TensorBuffer<D extends "f32" | "i32" | "i8"> {
  readonly #dtype: D;
  readonly #place: Place;
  #tensor: Tensor<D> | undefined;
  #handle = 0n;

  constructor(dtype: D, place: Place) {
    this.#dtype = dtype;
    this.#place = place;
  }

  /** Makes it `size` elements long: what it held is gone where it had another length. */
  take(size: number): this {
    if (this.#tensor?.size === size) return this;
    this.dispose();
    this.#tensor = emptyTensorOf(this.#dtype, [size], this.#place);
    this.#handle = memoryHandle(this.#tensor, this.#dtype, this.#place, "The buffer");
    return this;
  }

  /** Bytes that it holds on the device. */
  get bytes(): number {
    return (this.#dtype === "i8" ? 1 : 4) * (this.#tensor?.size ?? 0);
  }

  /** What the library calls the memory. */
  get handle(): bigint {
    return this.#handle;
  }

  /** The tensor itself. */
  get tensor(): Tensor<D> {
    return this.#tensor!;
  }

  dispose(): void {
    this.#tensor?.[Symbol.dispose]();
    this.#tensor = undefined;
    this.#handle = 0n;
  }
}
