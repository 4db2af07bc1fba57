// A mean over all ranks that is made while this one goes on computing.

import type { Communicator } from "./communicator.ts";

/** Waits for a mean, and writes it. */
export type EndMean = (out: Float32Array) => void;

/**
 * What communicators of this library can do beside what all can: begin an all-reduce and come back.
 *
 * All ranks begin the same ones in the same order, with as many elements; what they call in between
 * changes nothing. Nobody waits before the end, which has the communicator's time limit.
 */
export interface MeanStarter {
  /** Begins to make the mean of a copy of the values. */
  startMean(values: Float32Array, wire: "bf16" | undefined): EndMean;
  /** Lets what has begun go on, for libraries that do nothing unless they are called. */
  advanceMeans(): void;
}

function canStart(communicator: Communicator): communicator is Communicator & MeanStarter {
  return "startMean" in communicator && "advanceMeans" in communicator;
}

/** Begins to make a mean; a communicator that cannot do that makes it at once. */
export function startMean(
  communicator: Communicator,
  values: Float32Array,
  wire: "bf16" | undefined,
): EndMean {
  if (canStart(communicator)) return communicator.startMean(values, wire);
  const mean = values.slice();
  communicator.allReduce(mean, { operation: "mean", wire });
  return (out) => out.set(mean);
}

/** Lets means that have begun go on. */
export function advanceMeans(communicator: Communicator): void {
  if (canStart(communicator)) communicator.advanceMeans();
}
