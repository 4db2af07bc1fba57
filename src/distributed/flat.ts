// All arrays of a model as one, in their order.

import { tritterError } from "../errors.ts";
import type { Parameter, TrainableData } from "../nn/trainable.ts";
import { Tensor } from "../tensor.ts";

/** Arrays that are read and written as if they were one. */
export class FlatArrays {
  /** Elements of all arrays together. */
  readonly length: number;
  readonly #arrays: readonly Float32Array[];

  constructor(arrays: readonly Float32Array[]) {
    this.#arrays = arrays;
    this.length = arrays.reduce((sum, array) => sum + array.length, 0);
  }

  /** Copies elements from `start` on into `out`, as many as it has. */
  read(out: Float32Array, start = 0): void {
    this.#each(start, out, (part, piece) => piece.set(part));
  }

  /** Copies `values` to the elements from `start` on. */
  write(values: Float32Array, start = 0): void {
    this.#each(start, values, (part, piece) => part.set(piece));
  }

  /** The parts of a flat array that belong to each of the arrays. */
  cut(flat: Float32Array): Float32Array[] {
    let end = 0;
    return this.#arrays.map(({ length }) => flat.subarray(end, end += length));
  }

  #each(
    start: number,
    flat: Float32Array,
    copy: (part: Float32Array, piece: Float32Array) => void,
  ): void {
    const end = start + flat.length;
    let first = 0;
    for (const array of this.#arrays) {
      const [from, to] = [Math.max(start, first), Math.min(end, first + array.length)];
      if (from < to) {
        copy(array.subarray(from - first, to - first), flat.subarray(from - start, to - start));
      }
      first += array.length;
    }
  }
}

/** The values of parameters for a method that works on 32-bit floats alone. */
export function floatData(
  parameters: readonly Parameter<TrainableData>[],
  method: string,
): Float32Array[] {
  return parameters.map(({ name, data }) => {
    if (data instanceof Float32Array) return data;
    throw tritterError(
      "unsupported",
      data instanceof Tensor
        ? `${method} needs parameters on the CPU, ${name} is on ${data.device}`
        : `${method} needs parameters stored as 32-bit floats, ${name} is stored as bfloat16`,
    );
  });
}

/** The values of a parameter as they travel: words of bfloat16 as bytes. */
export function travellingData(data: TrainableData): Float32Array | Uint8Array | Tensor<"f32"> {
  return data instanceof Float32Array || data instanceof Tensor
    ? data
    : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
