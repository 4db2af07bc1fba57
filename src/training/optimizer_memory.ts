// What optimisers remember from step to step, and what they look at before they change anything.

import { checkArray, checkList, checkObject, checkOptions, describe } from "../checks.ts";
import type { Place } from "../device.ts";
import { tritterError } from "../errors.ts";
import { countOf, zeroTensor } from "../nn/device_memory.ts";
import type { Parameter, TrainableData } from "../nn/trainable.ts";
import { memoryHandle, Tensor } from "../tensor.ts";

/** The number of steps as an array of a state: two halves, each exact as a 32-bit float. */
const STEPS = "steps";
const HALF = 2 ** 24;

/** Where a parameter's values are; so is what an optimiser remembers of it. */
function placeOf(data: TrainableData): Place {
  return data instanceof Tensor ? data.device : "cpu";
}

/** Numbers by name, as many as the parameters of the first step have and on their device. */
export class Slots {
  readonly #kinds: readonly string[];
  readonly #arrays = new Map<string, Float32Array | Tensor<"f32">>();
  steps = 0;

  constructor(kinds: readonly string[]) {
    this.#kinds = kinds;
  }

  /** What is remembered of a kind for a parameter, zeros at first. */
  of(kind: string, { name, shape, data }: Parameter<TrainableData>): Float32Array | Tensor<"f32"> {
    const key = `${kind}.${name}`;
    const place = placeOf(data);
    const found = this.#arrays.get(key) ??
      (place === "cpu" ? new Float32Array(countOf(data)) : zeroTensor(shape, place));
    if (found instanceof Tensor) {
      if (found.size !== countOf(data)) {
        throw tritterError(
          "invalid_length",
          `The state ${key} must have ${countOf(data)} elements, got ${found.size}`,
        );
      }
    } else checkArray(found, Float32Array, `The state ${key}`, countOf(data));
    const values = moved(found, shape, place);
    this.#arrays.set(key, values);
    return values;
  }

  save(): Record<string, Float32Array> {
    const steps = Float32Array.of(this.steps % HALF, Math.floor(this.steps / HALF));
    const arrays = [...this.#arrays].map(([key, values]) =>
      [key, values instanceof Tensor ? values.data() : values] as const
    );
    return { [STEPS]: steps, ...Object.fromEntries(arrays) };
  }

  load(state: Record<string, Float32Array>): void {
    const { [STEPS]: steps, ...arrays } = checkOptions(state, "state");
    const [low, high] = checkArray(steps, Float32Array, `state.${STEPS}`, 2);
    const count = low! + high! * HALF;
    if (!Number.isSafeInteger(count) || count < 0) {
      throw tritterError("invalid_value", `state.${STEPS} must be a count, got ${low}, ${high}`);
    }
    const entries = Object.entries(arrays);
    for (const [key, array] of entries) {
      if (!this.#kinds.includes(key.slice(0, key.indexOf(".")))) {
        throw tritterError(
          "invalid_value",
          `state must have arrays of ${this.#kinds.join(" and ") || "nothing"}, got ${key}`,
        );
      }
      checkArray(array, Float32Array, `state["${key}"]`);
    }
    this.dispose();
    this.#arrays.clear();
    for (const [key, array] of entries) this.#arrays.set(key, new Float32Array(array));
    this.steps = count;
  }

  /** Frees what is on devices; a parameter that asks for it again gets the error `disposed`. */
  dispose(): void {
    for (const values of this.#arrays.values()) {
      if (values instanceof Tensor) values[Symbol.dispose]();
    }
  }
}

/** The same values where the parameter is: a state that was loaded is on the CPU. */
function moved(
  values: Float32Array | Tensor<"f32">,
  shape: readonly number[],
  place: Place,
): Float32Array | Tensor<"f32"> {
  if ((values instanceof Tensor ? values.device : "cpu") === place) return values;
  const array = values instanceof Tensor ? values.data() : values;
  if (values instanceof Tensor) values[Symbol.dispose]();
  return place === "cpu" ? array : new Tensor<"f32">(array, shape, { device: place });
}

function checkPair(parameter: Parameter<TrainableData>, index: number): void {
  const { name, data, gradient } = checkObject(parameter, `parameters[${index}]`);
  if (data instanceof Tensor) {
    if (data.device === "cpu") {
      throw tritterError(
        "invalid_value",
        `${name}.data must be an array or a tensor on a CUDA device, got a tensor on the CPU`,
      );
    }
    memoryHandle(data, "f32", data.device, `${name}.data`);
    if (!(gradient instanceof Tensor)) {
      throw tritterError(
        "invalid_type",
        `${name}.gradient must be a Tensor as its data are, got ${describe(gradient)}`,
      );
    }
    memoryHandle(gradient, "f32", data.device, `${name}.gradient`);
    if (gradient.size === data.size) return;
    throw tritterError(
      "invalid_length",
      `${name}.gradient must have ${data.size} elements, got ${gradient.size}`,
    );
  }
  if (!(data instanceof Uint16Array)) checkArray(data, Float32Array, `${name}.data`);
  checkArray(gradient, Float32Array, `${name}.gradient`, data.length);
}

/** Checks what an optimiser is to change. */
export function checkParameters(parameters: readonly Parameter<TrainableData>[]): void {
  checkList(parameters, "parameters").forEach(checkPair);
}
