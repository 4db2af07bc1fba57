// The tensors of a checkpoint as the parameters of a model.

import { checkArray, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { fromBf16 } from "../formats/half.ts";
import { setValues } from "../nn/buffer.ts";
import { countOf } from "../nn/device_memory.ts";
import type { Parameter, ParameterData, TrainableData } from "../nn/trainable.ts";

/** Takes over tensors by the names of parameters, all or none. */
export function loadParameters(
  parameters: readonly Parameter<TrainableData>[],
  read: (name: string) => ParameterData,
): void {
  if (typeof read !== "function") {
    throw tritterError("invalid_type", `read must be a function, got ${describe(read)}`);
  }
  const tensors = parameters.map(({ name, data }) => {
    const tensor = read(name);
    const count = countOf(data);
    if (!(tensor instanceof Uint16Array)) return checkArray(tensor, Float32Array, name, count);
    return fromBf16(checkArray(tensor, Uint16Array, name, count));
  });
  parameters.forEach((parameter, index) => setValues(parameter, tensors[index]!));
}
