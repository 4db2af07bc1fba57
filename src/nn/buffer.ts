// Memory that a layer keeps from call to call.

import { tritterError } from "../errors.ts";
import { fromBf16, toBf16 } from "../formats/half.ts";
import { Tensor, writeTensor } from "../tensor.ts";
import type { Parameter, ParameterData, TrainableData } from "./trainable.ts";

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
function allocate<A>(type: new (length: number) => A, length: number, name: string): A {
  try {
    return new type(length);
  } catch (cause) {
    throw tritterError("out_of_memory", `No memory for ${length} numbers of ${name}`, { cause });
  }
}

/** Makes a parameter of zeros. */
export function createParameter<A extends ParameterData = Float32Array>(
  name: string,
  shape: readonly number[],
  traits: { decay: boolean; quantized: boolean },
  type: new (length: number) => A = Float32Array as unknown as new (length: number) => A,
): Parameter<A> {
  const length = shape.reduce((product, size) => product * size, 1);
  return Object.freeze({
    name,
    shape: Object.freeze([...shape]),
    data: allocate(type, length, name),
    gradient: allocate(Float32Array, length, name),
    ...traits,
  }) as unknown as Parameter<A>;
}

/** The values of a parameter: the array itself, or a copy of what is on a device or bfloat16. */
export function valuesOf({ data }: Parameter<TrainableData>): Float32Array {
  if (data instanceof Tensor) return data.data();
  return data instanceof Uint16Array ? fromBf16(data) : data;
}

/** Sets the values of a parameter, rounded to nearest where it is stored as bfloat16. */
export function setValues({ data }: Parameter<TrainableData>, values: Float32Array): void {
  if (data instanceof Tensor) writeTensor(data, values);
  else if (data instanceof Uint16Array) toBf16(values, { out: data });
  else data.set(values);
}

/** Returns what `forward` kept; throws `invalid_value` if there was none. */
export function kept<T>(value: T | undefined, layer: string): T {
  if (value !== undefined) return value;
  throw tritterError("invalid_value", `${layer}.backward must follow a call of forward`);
}
