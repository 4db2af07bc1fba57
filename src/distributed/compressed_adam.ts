// Adam whose gradients are averaged at first, and whose compressed momentum is later (1-bit Adam).

import { checkArray, checkCount, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { createCodec, type GradientCodec } from "../gradients/codec.ts";
import { ErrorFeedback } from "../gradients/error_feedback.ts";
import { check, native } from "../native/library.ts";
import type { Parameter } from "../nn/trainable.ts";
import type { GradientExchange } from "../training/hooks.ts";
import type { Optimizer } from "../training/optimizer.ts";
import { checkOnCpu } from "../training/hooks.ts";
import { checkParameters } from "../training/optimizer_memory.ts";
import { AdamW, type AdamWOptions } from "../training/optimizers.ts";
import { averageGradients, type AverageGradientsOptions } from "./average_gradients.ts";
import type { Communicator } from "./communicator.ts";
import { FlatArrays, floatData } from "./flat.ts";
import { MeanExchange } from "./mean_exchange.ts";

/** Options of `CompressedAdam`. */
export interface CompressedAdamOptions extends AdamWOptions {
  /** Steps of AdamW with averaged gradients, after which the mean squares stay as they are. */
  warmupSteps: number;
  /** How gradients travel during the warm-up. Default: as float32. */
  warmup?: AverageGradientsOptions | undefined;
  /** Compresses the momentum. Default: `createCodec("sign")`, a bit for each parameter. */
  codec?: GradientCodec | undefined;
  /** What the codec's random choices are made from. Default: 0. */
  seed?: number | undefined;
}

/** The root of a mean square counts as at least so much of the root of the parameter's mean. */
const ROOT_SHARE_MIN = 0.1;
const HALF = 2 ** 24;

/**
 * 1-bit Adam: an optimiser together with what the ranks exchange, for one trainer.
 *
 * For `warmupSteps` it is AdamW with averaged gradients. Then the mean squares are frozen, and every
 * rank adds its own gradients, divided by their roots, to the common momentum, and sends that
 * compressed, with error feedback; the mean over the ranks is the next momentum and the step. (The
 * paper compresses the momentum before it is divided; behind the division no entry of a small root
 * suffers from the others' errors.) A root counts as at least a tenth of the parameter's. Clipping acts
 * on the gradients of each rank from then on. The metrics get `sentBytes`. Source: 1-bit Adam,
 * arXiv:2102.02888.
 *
 * @example
 * ```ts
 * import { CompressedAdam, createCommunicator } from "tritter-accel";
 *
 * using communicator = createCommunicator();
 * const adam = new CompressedAdam(communicator, { warmupSteps: 100 });
 * console.log(adam.steps); // 0
 * // new Trainer({ communicator, optimizer: adam, exchange: adam.exchange, ... })
 * ```
 */
export class CompressedAdam implements Optimizer {
  /** What the ranks exchange, for the trainer's option of this name. */
  readonly exchange: GradientExchange;

  readonly #options: {
    beta1: number;
    beta2: number;
    epsilon: number;
    weightDecay: number;
  };
  readonly #warmupSteps: number;
  readonly #adam: AdamW;
  readonly #momenta: MeanExchange;
  #steps = 0;
  /** After the warm-up: what gradients are divided by, inverted, and the common momentum of that. */
  #inverse: Float32Array | undefined;
  #momentum = new Float32Array(0);
  #metrics: Record<string, number> = {};

  /** Makes an optimiser that has seen nothing. */
  constructor(communicator: Communicator, options: CompressedAdamOptions) {
    const { warmupSteps, warmup, codec = createCodec("sign"), seed, ...adam } = checkOptions(
      options,
      "options",
    );
    this.#warmupSteps = checkCount(warmupSteps, "warmupSteps", { min: 1 });
    this.#adam = new AdamW(adam);
    const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0.01 } = adam;
    this.#options = { beta1, beta2, epsilon, weightDecay };
    this.#momenta = new MeanExchange(communicator, {
      codec: new ErrorFeedback(codec),
      seed,
    });
    this.exchange = this.#makeExchange(
      averageGradients(communicator, warmup),
      this.#momenta,
    );
  }

  /** How many steps have been made. */
  get steps(): number {
    return this.#steps;
  }

  /** Averages the gradients during the warm-up; later they stay those of this rank. */
  #makeExchange(
    warmup: GradientExchange,
    momenta: MeanExchange,
  ): GradientExchange {
    return {
      name: "compressed-adam",
      afterBackward: (step) => {
        this.#metrics = step.metrics;
        if (this.#steps < this.#warmupSteps) warmup.afterBackward?.(step);
      },
      onGradient: (parameter, step) => {
        if (this.#steps < this.#warmupSteps) warmup.onGradient?.(parameter, step);
      },
      // What has been sent of a step that was skipped, or that failed.
      beforeStep: (step) => {
        checkOnCpu(step.parameters, "CompressedAdam");
        warmup.beforeStep?.(step);
      },
      afterStep: (step) => {
        if (this.#steps < this.#warmupSteps) warmup.afterStep?.(step);
      },
      state: () => this.#steps < this.#warmupSteps ? warmup.state?.() ?? {} : momenta.state(),
      loadState: (state) => {
        if (this.#steps < this.#warmupSteps) warmup.loadState?.(state);
        else momenta.loadState(state);
      },
    };
  }

  /** Changes every parameter's data; all ranks call it. */
  step(parameters: readonly Parameter[], learningRate: number): void {
    checkParameters(parameters);
    const values = floatData(parameters, "CompressedAdam");
    if (this.#steps < this.#warmupSteps) {
      this.#adam.step(parameters, learningRate);
    } else this.#compressedStep(parameters, values, learningRate);
    this.#steps += 1;
  }

  #compressedStep(
    parameters: readonly Parameter[],
    values: readonly Float32Array[],
    learningRate: number,
  ): void {
    checkNumber(learningRate, "learningRate", { min: 0 });
    const inverse = this.#inverse ?? this.#freeze(parameters);
    const { beta1, weightDecay } = this.#options;
    const momentum = this.#momentum;
    const gradients = new FlatArrays(
      parameters.map(({ gradient }) => gradient),
    );
    const work = new Float32Array(
      checkArray(momentum, Float32Array, "The momentum", gradients.length)
        .length,
    );
    gradients.read(work);
    for (let index = 0; index < work.length; index += 1) {
      work[index]! *= inverse[index]!;
    }
    const count = work.length;
    check(
      native.gradients_blend(
        work,
        count,
        1 - beta1,
        momentum,
        count,
        beta1,
        momentum,
        count,
      ),
    );
    this.#metrics.sentBytes = this.#momenta.average(momentum, this.#steps);
    const rate = learningRate / (1 - beta1 ** (this.#steps + 1));
    let start = 0;
    for (const [index, data] of values.entries()) {
      const { decay } = parameters[index]!;
      const keep = decay ? 1 - learningRate * weightDecay : 1;
      const change = momentum.subarray(start, start + data.length);
      const fields = Float64Array.of(data.length, 0, 0, rate, keep, 0);
      check(native.sgd_step(data, change, null, fields, fields.length));
      start += data.length;
    }
  }

  /** Makes the factors of the gradients from the mean squares, and the momentum that of the warm-up. */
  #freeze(parameters: readonly Parameter[]): Float32Array {
    const { beta2, epsilon } = this.#options;
    const state = this.#adam.state();
    const total = parameters.reduce((sum, { data }) => sum + data.length, 0);
    const inverse = new Float32Array(total);
    const momentum = new Float32Array(total);
    const correction = 1 - beta2 ** this.#steps;
    let start = 0;
    for (const { name, data } of parameters) {
      const mean = checkArray(
        state[`mean.${name}`],
        Float32Array,
        `The mean of ${name}`,
      );
      const square = checkArray(
        state[`square.${name}`],
        Float32Array,
        `The square of ${name}`,
      );
      const average = square.reduce((sum, value) => sum + value, 0) /
        data.length;
      const least = ROOT_SHARE_MIN * Math.sqrt(average / correction);
      for (let index = 0; index < data.length; index += 1) {
        const root = Math.sqrt(square[index]! / correction);
        const factor = 1 / (Math.max(root, least) + epsilon);
        inverse[start + index] = factor;
        momentum[start + index] = mean[index]! * factor;
      }
      start += data.length;
    }
    this.#momentum = momentum;
    this.#inverse = inverse;
    return inverse;
  }

  /** The memory of `AdamW` during the warm-up; then the momentum, its factors and the steps. */
  state(): Record<string, Float32Array> {
    if (this.#inverse === undefined) return this.#adam.state();
    const steps = Float32Array.of(
      this.#steps % HALF,
      Math.floor(this.#steps / HALF),
    );
    return { steps, momentum: this.#momentum, inverse: this.#inverse };
  }

  /** Takes over copies of what `state` gave. */
  loadState(state: Record<string, Float32Array>): void {
    const { momentum, inverse, steps } = checkOptions(state, "state");
    if (inverse === undefined) {
      this.#adam.loadState(state);
      this.#steps = this.#adam.steps;
      this.#inverse = undefined;
      return;
    }
    const [low, high] = checkArray(steps, Float32Array, "state.steps", 2);
    const count = low! + high! * HALF;
    if (!Number.isSafeInteger(count) || count < this.#warmupSteps) {
      throw tritterError(
        "invalid_value",
        `state.steps must be a count of at least warmupSteps (${this.#warmupSteps}), got ${count}`,
      );
    }
    checkArray(inverse, Float32Array, "state.inverse");
    this.#momentum = checkArray(
      momentum,
      Float32Array,
      "state.momentum",
      inverse.length,
    ).slice();
    this.#inverse = inverse.slice();
    this.#steps = count;
  }
}
