// What gradients look like to the library: one flat array, or one for each parameter.

import { checkArray, checkCount, checkList, checkObject, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { clearFloats } from "../nn/device_memory.ts";
import type { Parameter, TrainableData } from "../nn/trainable.ts";
import { floatsOf, memoryHandle, Tensor } from "../tensor.ts";

/**
 * Gradients of a model: one flat array for all of it, or a list with an array for each parameter,
 * always in the same order and of the same lengths, no array twice.
 *
 * Shapes of parameters play no part: norms, fits and errors are taken over all elements of all arrays.
 */
export type Gradients = Float32Array | readonly Float32Array[];

/** The same as f32 tensors, each of which is worked on where it is. */
export type TensorGradients = Tensor | readonly Tensor[];

/** Lengths of gradients: one number for a flat array, a list for a list of arrays. */
export type GradientSizes = number | readonly number[];

/** New arrays for gradients: one where the sizes are a number, a list where they are a list. */
export type GradientsOf<S extends GradientSizes> = S extends number ? Float32Array<ArrayBuffer>
  : Float32Array<ArrayBuffer>[];

/** Where gradients go. */
export interface GradientsOutOptions {
  /** Takes the gradients instead of new arrays. */
  out?: Gradients | undefined;
}

/**
 * Sets the gradients of parameters to zero, wherever they are.
 *
 * Those on a device are cleared there, without waiting. A `Trainer` does it before every step.
 *
 * @example
 * ```ts
 * import { clearGradients, TrainableBitLinear } from "tritter-accel";
 *
 * const { parameters, weight } = new TrainableBitLinear(2, 1);
 * weight.gradient.set([1, -4]);
 * clearGradients(parameters);
 * console.log(weight.gradient); // 0, 0
 * ```
 */
export function clearGradients(parameters: readonly Parameter<TrainableData>[]): void {
  const gradients = checkList(parameters, "parameters").map((parameter, index) =>
    checkObject(parameter, `parameters[${index}]`).gradient
  );
  for (const values of checkAllGradients(gradients, "gradients")) {
    clearFloats(values as Float32Array | Tensor<"f32">);
  }
}

/** Checks gradients of any sizes, and returns the list of their arrays. */
export function checkGradients(value: unknown, name: string): readonly Float32Array[] {
  if (!Array.isArray(value)) {
    if (value instanceof Float32Array) return [checkArray(value, Float32Array, name)];
    throw tritterError(
      "invalid_type",
      `${name} must be a Float32Array or a list of them, got ${describe(value)}`,
    );
  }
  if (value.length === 0) {
    throw tritterError("invalid_length", `${name} must have at least 1 array, got none`);
  }
  const list = Array.from(
    value,
    (array, index) => checkArray(array, Float32Array, `${name}[${index}]`),
  );
  if (new Set(list).size !== list.length) {
    throw tritterError("invalid_value", `${name} must have every array once, got one twice`);
  }
  return list;
}

/** Checks gradients of any sizes, wherever they are: arrays, or f32 tensors on CUDA devices. */
export function checkAllGradients(
  value: unknown,
  name: string,
): readonly (Float32Array | Tensor)[] {
  const isList = Array.isArray(value);
  if (!(value instanceof Tensor) && !(isList && value.some((one) => one instanceof Tensor))) {
    return checkGradients(value, name);
  }
  const list: readonly unknown[] = isList ? value : [value];
  if (new Set(list).size !== list.length) {
    throw tritterError("invalid_value", `${name} must have every tensor once, got one twice`);
  }
  return list.map((tensor, index) => {
    const which = isList ? `${name}[${index}]` : name;
    if (!(tensor instanceof Tensor)) {
      throw tritterError(
        "invalid_type",
        `${which} must be a Tensor as others are, got ${describe(tensor)}`,
      );
    }
    if (tensor.device === "cpu") return floatsOf(tensor, which);
    // Before any of the list is changed: it is alive, and f32.
    memoryHandle(tensor, "f32", tensor.device, which);
    return tensor;
  });
}

/** Checks gradients of known sizes, and returns the list of their arrays. */
export function checkSized(
  value: unknown,
  sizes: readonly number[],
  name: string,
): readonly Float32Array[] {
  const list = checkGradients(value, name);
  if (list.length !== sizes.length) {
    throw tritterError(
      "invalid_length",
      `${name} must have ${sizes.length} arrays, got ${list.length}`,
    );
  }
  list.forEach((array, index) => {
    if (array.length === sizes[index]) return;
    const which = Array.isArray(value) ? `${name}[${index}]` : name;
    throw tritterError(
      "invalid_length",
      `${which} must have ${sizes[index]} elements, got ${array.length}`,
    );
  });
  return list;
}

/** Checks sizes, and returns them as a list; `most` is what one array may have. */
export function checkSizes(value: unknown, most: number): readonly number[] {
  if (!Array.isArray(value)) {
    if (typeof value === "number") return [checkCount(value, "sizes", { min: 1, max: most })];
    throw tritterError(
      "invalid_type",
      `sizes must be a number or a list of numbers, got ${describe(value)}`,
    );
  }
  if (value.length === 0) {
    throw tritterError("invalid_length", "sizes must have at least 1 number, got none");
  }
  return Array.from(
    value,
    (size, index) => checkCount(size, `sizes[${index}]`, { min: 1, max: most }),
  );
}

/** A new array of zeros; throws `out_of_memory` where there is no room for it. */
export function allocate<A>(type: new (length: number) => A, length: number): A {
  try {
    return new type(length);
  } catch (error) {
    throw tritterError("out_of_memory", `There is no memory for an array of ${length} elements`, {
      cause: error,
    });
  }
}

/** Returns arrays in the form that the caller's sizes have. */
export function asGiven<S extends GradientSizes>(
  sizes: S,
  arrays: readonly Float32Array[],
): GradientsOf<S> {
  return (typeof sizes === "number" ? arrays[0] : arrays) as GradientsOf<S>;
}

/** The arrays to write to: those of the caller, or new ones. */
export function outArrays(
  out: Gradients | undefined,
  sizes: readonly number[],
): readonly Float32Array[] {
  if (out === undefined) return sizes.map((size) => allocate(Float32Array, size));
  return checkSized(out, sizes, "out");
}
