// What a trainer does with the other ranks, beside what its exchange does.

import { checkAlike } from "../distributed/alike.ts";
import type { Communicator } from "../distributed/communicator.ts";
import { travellingData } from "../distributed/flat.ts";
import { countOf } from "../nn/device_memory.ts";
import type { Parameter, TrainableData } from "../nn/trainable.ts";
import { Tensor } from "../tensor.ts";
import type { Optimizer } from "./optimizer.ts";

function bytesOf(data: TrainableData): number {
  return data instanceof Tensor ? 4 * data.size : data.byteLength;
}

/** Checks that all ranks begin with the same step and model, and gives them rank 0's parameters. */
export function beginTogether(
  communicator: Communicator,
  parameters: readonly Parameter<TrainableData>[],
  step: number,
): void {
  if (communicator.size === 1) return;
  checkAlike(
    communicator,
    {
      "steps": step,
      "parameters": parameters.length,
      "values in them": parameters.reduce((sum, { data }) => sum + countOf(data), 0),
      "bytes in them": parameters.reduce((sum, { data }) => sum + bytesOf(data), 0),
    },
    "All ranks must begin with the same model and checkpoint",
  );
  for (const { data } of parameters) communicator.broadcast(travellingData(data));
  if (parameters.some(({ data }) => data instanceof Tensor)) communicator.wait();
}

/** The mean over all ranks of what their optimisers remember. */
export function meanArrays(
  communicator: Communicator,
  optimizer: Pick<Optimizer, "state">,
): Record<string, Float32Array> {
  return Object.fromEntries(
    Object.entries(optimizer.state()).map(([name, array]) => {
      // In float64, so that what is the same everywhere stays as it is.
      const mean = Float64Array.from(array);
      communicator.allReduce(mean, { operation: "mean" });
      return [name, Float32Array.from(mean)];
    }),
  );
}
