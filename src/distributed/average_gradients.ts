// Data-parallel training: every rank computes with rows of its own, and all step with the mean.

import type { GradientExchange } from "../training/hooks.ts";
import type { Communicator } from "./communicator.ts";
import { FlatArrays } from "./flat.ts";
import { type ExchangeOptions, MeanExchange } from "./mean_exchange.ts";

/**
 * Averages the gradients of all ranks after every backward pass: what a `Trainer` with a communicator
 * does unless it is told otherwise.
 *
 * All gradients travel as one list, in the order of the parameters; predicted ones are left alone. The
 * metrics get `sentBytes`, what this rank handed over. With an `ErrorFeedback`, what every rank still
 * has to send goes into the checkpoints. Under Adam, plain error feedback makes training worse: use the
 * codec alone, or `CompressedAdam`.
 *
 * @example
 * ```ts
 * import { averageGradients, createCodec, createCommunicator } from "tritter-accel";
 *
 * using communicator = createCommunicator();
 * const codec = createCodec("entropy", { ratio: 10 });
 * const exchange = averageGradients(communicator, { codec });
 * console.log(exchange.name); // average-gradients
 * // new Trainer({ communicator, exchange, ... })
 * ```
 */
export function averageGradients(
  communicator: Communicator,
  options?: ExchangeOptions,
): GradientExchange {
  const exchange = new MeanExchange(communicator, options ?? {});
  const isPlain = options?.codec === undefined && options?.wire === undefined;
  let flat = new Float32Array(0);
  return {
    name: "average-gradients",
    afterBackward({ predicted, parameters, metrics, step }) {
      // Alone, the mean of one is what is there.
      if (predicted || (isPlain && communicator.size === 1)) return;
      const gradients = new FlatArrays(parameters.map(({ gradient }) => gradient));
      if (flat.length !== gradients.length) flat = new Float32Array(gradients.length);
      gradients.read(flat);
      metrics.sentBytes = exchange.average(flat, step);
      gradients.write(flat);
    },
    state: () => exchange.state(),
    loadState: (state) => exchange.loadState(state),
  };
}
