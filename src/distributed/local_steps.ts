// Many steps of each rank alone, then one together (DiLoCo).

import { checkCount, checkFlag, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import type { GradientExchange, TrainerStep } from "../training/hooks.ts";
import type { Communicator } from "./communicator.ts";
import { FlatArrays } from "./flat.ts";
import { type ExchangeOptions, MeanExchange } from "./mean_exchange.ts";

/** How ranks that train alone come together. */
export interface LocalStepsOptions extends ExchangeOptions {
  /** Steps of each rank between two exchanges. */
  every: number;
  /** Learning rate of the step that all make together. Default: 0.7. */
  learningRate?: number | undefined;
  /** Momentum of the steps that all make together, from 0, below 1. Default: 0.9. */
  momentum?: number | undefined;
  /** Whether these steps look ahead along the momentum. Default: true. */
  nesterov?: boolean | undefined;
}

/**
 * Lets every rank make steps with its own gradients, and every so many steps moves all of them to one
 * place again: against the mean of the ways they went, with momentum.
 *
 * The mean way of a rank, its outer gradient, is what is sent and may be compressed: with `every: 20`
 * and a ratio of 25, training sends 500 times fewer bytes than with float32 gradients at every step.
 * The trainer's steps, evaluations and checkpoints must be at multiples of `every`. A checkpoint has the
 * mean of the optimisers of all ranks, so that a resumed run is much like, but not bit for bit, one that
 * was not interrupted. The metrics get `sentBytes`. Source: DiLoCo, arXiv:2311.08105.
 *
 * @example
 * ```ts
 * import { createCodec, createCommunicator, ErrorFeedback, localSteps } from "tritter-accel";
 *
 * using communicator = createCommunicator();
 * const codec = new ErrorFeedback(createCodec("entropy", { ratio: 25 }));
 * const exchange = localSteps(communicator, { every: 20, codec });
 * console.log(exchange.every); // 20
 * // new Trainer({ communicator, exchange, ... })
 * ```
 */
export function localSteps(
  communicator: Communicator,
  options: LocalStepsOptions,
): GradientExchange {
  const { every, learningRate = 0.7, momentum = 0.9, nesterov = true, ...exchanged } = checkOptions(
    options,
    "options",
  );
  return new LocalSteps(new MeanExchange(communicator, exchanged), {
    every: checkCount(every, "every", { min: 1 }),
    learningRate: checkNumber(learningRate, "learningRate", { min: 0 }),
    momentum: checkNumber(momentum, "momentum", { min: 0, max: 1 - 2 ** -24 }),
    nesterov: checkFlag(nesterov, "nesterov"),
  });
}

interface OuterStep {
  readonly every: number;
  readonly learningRate: number;
  readonly momentum: number;
  readonly nesterov: boolean;
}

class LocalSteps implements GradientExchange {
  readonly name = "local-steps";
  readonly every: number;
  readonly #exchange: MeanExchange;
  readonly #outer: OuterStep;
  /** Where all ranks were together, and the momentum of the steps from there. */
  #anchor: Float32Array | undefined;
  #velocity: Float32Array | undefined;
  #way = new Float32Array(0);

  constructor(exchange: MeanExchange, outer: OuterStep) {
    this.every = outer.every;
    this.#exchange = exchange;
    this.#outer = outer;
  }

  beforeStep({ parameters }: TrainerStep): void {
    if (this.#anchor !== undefined) return;
    const values = new FlatArrays(parameters.map(({ data }) => data));
    const { length } = values;
    this.#velocity ??= new Float32Array(length);
    if (this.#velocity.length !== length) {
      throw tritterError(
        "invalid_format",
        `Tensor hook.${this.name}.velocity must have ${length} elements, got ${this.#velocity.length}`,
      );
    }
    this.#way = new Float32Array(length);
    this.#anchor = new Float32Array(length);
    values.read(this.#anchor);
  }

  afterStep({ step, parameters, metrics }: TrainerStep): void {
    metrics.sentBytes = 0;
    if ((step + 1) % this.every !== 0) return;
    const { learningRate, momentum, nesterov } = this.#outer;
    const values = new FlatArrays(parameters.map(({ data }) => data));
    const [anchor, velocity, way] = [this.#anchor!, this.#velocity!, this.#way];
    const { length } = way;
    values.read(way);
    check(native.gradients_blend(anchor, length, 1, way, length, -1, way, length));
    metrics.sentBytes = this.#exchange.average(way, step);
    const fields = Float64Array.of(
      length,
      momentum === 0 ? 0 : length,
      momentum,
      learningRate,
      1,
      Number(nesterov && momentum > 0),
    );
    const memory = momentum === 0 ? null : velocity;
    check(native.sgd_step(anchor, way, memory, fields, fields.length));
    values.write(anchor);
  }

  state(): ReturnType<MeanExchange["state"]> {
    const { arrays = {} } = this.#exchange.state();
    const velocity = this.#velocity;
    return { arrays: velocity === undefined ? arrays : { ...arrays, velocity } };
  }

  loadState({ arrays = {} }: ReturnType<MeanExchange["state"]>): void {
    const { velocity, ...others } = arrays;
    if (velocity !== undefined && !(velocity instanceof Float32Array)) {
      throw tritterError("invalid_format", `Tensor hook.${this.name}.velocity must be F32`);
    }
    this.#exchange.loadState({ arrays: others });
    this.#velocity = velocity?.slice();
    this.#anchor = undefined;
  }
}
