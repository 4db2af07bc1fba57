// Optimisers: how gradients change parameters.

import { checkFlag, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { countOf, floatsHandle } from "../nn/device_memory.ts";
import type { Parameter, TrainableData } from "../nn/trainable.ts";
import { Tensor } from "../tensor.ts";
import { checkSeed } from "../vsa/options.ts";
import type { Optimizer } from "./optimizer.ts";
import { checkParameters, Slots } from "./optimizer_memory.ts";

/** Options of `AdamW`. */
export interface AdamWOptions {
  /** How much of the mean gradient is kept from step to step. Default: 0.9. */
  beta1?: number | undefined;
  /** How much of the mean squared gradient is kept. Default: 0.999. */
  beta2?: number | undefined;
  /** Added to the root of the mean square. Default: 1e-8. */
  epsilon?: number | undefined;
  /** Share that parameters which decay lose per step, times the learning rate. Default: 0.01. */
  weightDecay?: number | undefined;
  /** Decides how parameters that are stored as bfloat16 are rounded. Default: 0. */
  seed?: number | bigint | undefined;
}

/** Options of `Sgd`. */
export interface SgdOptions {
  /** How much of the last change goes on. Default: 0. */
  momentum?: number | undefined;
  /** True looks ahead along the momentum. Default: false. */
  nesterov?: boolean | undefined;
  /** Share that parameters which decay lose per step, times the learning rate. Default: 0. */
  weightDecay?: number | undefined;
  /** Decides how parameters that are stored as bfloat16 are rounded. Default: 0. */
  seed?: number | bigint | undefined;
}

function checkRate(learningRate: number, weightDecay: number): void {
  checkNumber(learningRate, "learningRate", { min: 0 });
  if (learningRate * weightDecay > 1) {
    throw tritterError(
      "invalid_value",
      `learningRate times weightDecay must be at most 1, got ${learningRate * weightDecay}`,
    );
  }
}

/**
 * A row of random numbers for each parameter of each step: by its name (FNV-1a), so that it is the same
 * whatever else is stepped at the same time, as where ranks share parameters out.
 */
function rowOf(step: number, name: string): bigint {
  let hash = 0x811c_9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x0100_0193);
  return BigInt(step) << 32n | BigInt(hash >>> 0);
}

/** A fraction that must stay below 1, or nothing would ever be forgotten. */
function checkBeta(value: number, name: string): number {
  checkNumber(value, name, { min: 0 });
  if (value < 1) return value;
  throw tritterError("invalid_value", `${name} must be below 1, got ${value}`);
}

/**
 * Adam with weight decay apart from the gradient, and bias correction.
 *
 * m = b1 m + (1 - b1) g and v = b2 v + (1 - b2) g^2, then p loses `learningRate` x `weightDecay` of
 * itself where it decays, and `learningRate` x m' / (sqrt(v') + epsilon), where m' and v' are m and v
 * over 1 - b1^t and 1 - b2^t. Everything is 32-bit; parameters that are stored as bfloat16 are rounded
 * at random afterwards, up with the probability that what is cut off is of a step (Philox4x32-10 by
 * `seed`, step and place), so that a run can be repeated and resumed. The same bits on every instruction set and with
 * any number of threads. Source: Loshchilov and Hutter, arXiv:1711.05101.
 *
 * @example
 * ```ts
 * import { AdamW, TrainableBitLinear } from "tritter-accel";
 *
 * const { parameters, weight } = new TrainableBitLinear(2, 1);
 * const optimizer = new AdamW({ weightDecay: 0 });
 * weight.gradient.set([1, -4]);
 * optimizer.step(parameters, 0.1);
 * console.log(weight.data, optimizer.steps); // about -0.1 0.1, and 1
 * ```
 */
export class AdamW implements Optimizer<TrainableData>, Disposable {
  readonly #beta1: number;
  readonly #beta2: number;
  readonly #epsilon: number;
  readonly #weightDecay: number;
  readonly #seed: bigint;
  readonly #slots = new Slots(["mean", "square"]);

  /** Makes an optimiser that has seen nothing. */
  constructor(options?: AdamWOptions) {
    const given = checkOptions(options, "options");
    const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0.01 } = given;
    this.#seed = checkSeed(given.seed ?? 0);
    this.#beta1 = checkBeta(beta1, "beta1");
    this.#beta2 = checkBeta(beta2, "beta2");
    this.#epsilon = checkNumber(epsilon, "epsilon", { min: 1e-30 });
    this.#weightDecay = checkNumber(weightDecay, "weightDecay", { min: 0 });
  }

  /** How many steps have been made. */
  get steps(): number {
    return this.#slots.steps;
  }

  /** Changes every parameter's data by its gradient; the gradients stay as they are. */
  step(parameters: readonly Parameter<TrainableData>[], learningRate: number): void {
    checkRate(learningRate, this.#weightDecay);
    checkParameters(parameters);
    const t = this.#slots.steps + 1;
    const rate = learningRate / (1 - this.#beta1 ** t);
    const squareFactor = 1 / Math.sqrt(1 - this.#beta2 ** t);
    for (const parameter of parameters) {
      const { name, data, gradient, decay } = parameter;
      const fields = Float64Array.of(
        countOf(data),
        this.#beta1,
        this.#beta2,
        rate,
        squareFactor,
        this.#epsilon,
        decay ? 1 - learningRate * this.#weightDecay : 1,
      );
      const mean = this.#slots.of("mean", parameter);
      const square = this.#slots.of("square", parameter);
      if (data instanceof Tensor) {
        const tensors = [data, gradient, mean, square] as readonly Tensor[];
        const [p, g, m, v] = tensors.map((tensor) => floatsHandle(tensor, "values"));
        check(native.cuda_adamw_step(p!, g!, m!, v!, fields.subarray(1), fields.length - 1));
        continue;
      }
      const arrays = [gradient, mean, square] as [Float32Array, Float32Array, Float32Array];
      const rest = [...arrays, fields, fields.length] as const;
      check(
        data instanceof Uint16Array
          ? native.adamw_step_bf16(data, ...rest, this.#seed, rowOf(t, name))
          : native.adamw_step(data, ...rest),
      );
    }
    this.#slots.steps = t;
  }

  /** Means and mean squares by parameter, and the number of steps: the arrays themselves, or copies of tensors. */
  state(): Record<string, Float32Array> {
    return this.#slots.save();
  }

  /** Takes over copies of what `state` gave. */
  loadState(state: Record<string, Float32Array>): void {
    this.#slots.load(state);
  }

  /** Frees what it remembers on a device; it cannot go on there. */
  [Symbol.dispose](): void {
    this.#slots.dispose();
  }
}

/**
 * Gradient descent, with momentum where asked.
 *
 * u = `momentum` x u + g, then p loses `learningRate` x `weightDecay` of itself where it decays, and
 * `learningRate` x u, or x (g + `momentum` x u) after Nesterov. Source: Sutskever et al., ICML 2013, in
 * the form of PyTorch.
 *
 * @example
 * ```ts
 * import { Sgd, TrainableBitLinear } from "tritter-accel";
 *
 * const { parameters, weight } = new TrainableBitLinear(2, 1);
 * weight.gradient.set([1, -4]);
 * new Sgd({ momentum: 0.9 }).step(parameters, 0.5);
 * console.log(weight.data); // -0.5, 2
 * ```
 */
export class Sgd implements Optimizer<TrainableData>, Disposable {
  readonly #momentum: number;
  readonly #nesterov: boolean;
  readonly #weightDecay: number;
  readonly #seed: bigint;
  readonly #slots = new Slots(["velocity"]);

  /** Makes an optimiser that has seen nothing. */
  constructor(options?: SgdOptions) {
    const given = checkOptions(options, "options");
    const { momentum = 0, nesterov = false, weightDecay = 0 } = given;
    this.#seed = checkSeed(given.seed ?? 0);
    this.#momentum = checkBeta(momentum, "momentum");
    this.#nesterov = checkFlag(nesterov, "nesterov");
    this.#weightDecay = checkNumber(weightDecay, "weightDecay", { min: 0 });
  }

  /** How many steps have been made. */
  get steps(): number {
    return this.#slots.steps;
  }

  /** Changes every parameter's data by its gradient; the gradients stay as they are. */
  step(parameters: readonly Parameter<TrainableData>[], learningRate: number): void {
    checkRate(learningRate, this.#weightDecay);
    checkParameters(parameters);
    for (const parameter of parameters) {
      const { name, data, gradient, decay } = parameter;
      const velocity = this.#momentum === 0 ? null : this.#slots.of("velocity", parameter);
      const fields = Float64Array.of(
        countOf(data),
        velocity === null ? 0 : countOf(data),
        this.#momentum,
        learningRate,
        decay ? 1 - learningRate * this.#weightDecay : 1,
        this.#nesterov ? 1 : 0,
      );
      if (data instanceof Tensor) {
        const memory = velocity === null ? 0n : floatsHandle(velocity as Tensor, "values");
        const [p, g] = [data, gradient as Tensor].map((tensor) => floatsHandle(tensor, "values"));
        check(native.cuda_sgd_step(p!, g!, memory, fields.subarray(2), fields.length - 2));
        continue;
      }
      const arrays = [gradient, velocity] as [Float32Array, Float32Array | null];
      const rest = [...arrays, fields, fields.length] as const;
      check(
        data instanceof Uint16Array
          ? native.sgd_step_bf16(data, ...rest, this.#seed, rowOf(this.#slots.steps + 1, name))
          : native.sgd_step(data, ...rest),
      );
    }
    this.#slots.steps += 1;
  }

  /** Velocities by parameter, where there is momentum, and the number of steps. */
  state(): Record<string, Float32Array> {
    return this.#slots.save();
  }

  /** Takes over copies of what `state` gave. */
  loadState(state: Record<string, Float32Array>): void {
    this.#slots.load(state);
  }

  /** Frees what it remembers on a device; it cannot go on there. */
  [Symbol.dispose](): void {
    this.#slots.dispose();
  }
}
