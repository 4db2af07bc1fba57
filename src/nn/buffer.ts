// Memory that a layer keeps from call to call.

import { tritterError } from "../errors.ts";
import type { Parameter } from "./trainable.ts";

/** An array that grows with the longest text and serves shorter ones as a part of itself. */
export class FloatBuffer {
  #data = new Float32Array(0);
  #view = this.#data;

  /** Returns the array with `length` elements, which hold what the last user left there. */
  take(length: number): Float32Array {
    if (this.#view.length === length) return this.#view;
    if (this.#data.length < length) this.#data = new Float32Array(length);
    return this.#view = this.#data.subarray(0, length);
  }
}

/** The runtimes throw a RangeError of their own where memory does not suffice. */
function allocate(length: number, name: string): Float32Array {
  try {
    return new Float32Array(length);
  } catch (cause) {
    throw tritterError("out_of_memory", `No memory for ${length} numbers of ${name}`, { cause });
  }
}

/** Makes a parameter of zeros. */
export function createParameter(
  name: string,
  shape: readonly number[],
  traits: { decay: boolean; quantized: boolean },
): Parameter {
  const length = shape.reduce((product, size) => product * size, 1);
  return Object.freeze({
    name,
    shape: Object.freeze([...shape]),
    data: allocate(length, name),
    gradient: allocate(length, name),
    ...traits,
  });
}

/** Returns what `forward` kept; throws `invalid_value` if there was none. */
export function kept<T>(value: T | undefined, layer: string): T {
  if (value !== undefined) return value;
  throw tritterError("invalid_value", `${layer}.backward must follow a call of forward`);
}
