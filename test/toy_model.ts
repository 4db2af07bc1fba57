// The smallest model that learns something: the logits of the next token are a row of a table.

import type { GradientOptions, Optimizer, Parameter, Trainable } from "../mod.ts";
import { randomFloats } from "./support.ts";

/** A bigram model: one table, one bias. */
export class ToyModel implements Trainable {
  readonly parameters: readonly Parameter[];
  readonly #vocab: number;
  readonly #table: Parameter;
  readonly #bias: Parameter;

  constructor(vocab: number, seed = 1) {
    this.#vocab = vocab;
    const size = vocab * vocab;
    this.#table = {
      name: "toy.table.weight",
      shape: [vocab, vocab],
      data: randomFloats(size, seed),
      gradient: new Float32Array(size),
      decay: true,
      quantized: false,
    };
    this.#bias = {
      name: "toy.bias",
      shape: [vocab],
      data: new Float32Array(vocab),
      gradient: new Float32Array(vocab),
      decay: false,
      quantized: false,
    };
    this.parameters = [this.#table, this.#bias];
  }

  lossAndGradients(
    ids: Int32Array,
    targets: Int32Array,
    _shape: readonly [number, number],
    options?: GradientOptions,
  ): number {
    const loss = this.#run(ids, targets, options?.scale ?? 1);
    for (const parameter of [this.#bias, this.#table]) options?.onGradient?.(parameter);
    return loss;
  }

  loss(ids: Int32Array, targets: Int32Array, _shape: readonly [number, number]): number {
    return this.#run(ids, targets, 0);
  }

  /** A scale of 0 leaves the gradients alone. */
  #run(ids: Int32Array, targets: Int32Array, scale: number): number {
    const vocab = this.#vocab;
    const counted = targets.reduce((sum, target) => sum + Number(target >= 0), 0);
    const table = this.#table;
    const bias = this.#bias;
    let loss = 0;
    for (const [place, target] of targets.entries()) {
      if (target < 0) continue;
      const row = ids[place]! * vocab;
      const logits = Array.from(bias.data, (value, id) => value + table.data[row + id]!);
      const most = Math.max(...logits);
      const exponentials = logits.map((logit) => Math.exp(logit - most));
      const total = exponentials.reduce((a, b) => a + b, 0);
      loss += Math.log(total) + most - logits[target]!;
      if (scale === 0) continue;
      for (let id = 0; id < vocab; id++) {
        const change = (exponentials[id]! / total - Number(id === target)) * scale / counted;
        table.gradient[row + id]! += change;
        bias.gradient[id]! += change;
      }
    }
    return loss / counted;
  }
}

/** Gradient descent with momentum, which has something to remember from step to step. */
export class ToyOptimizer implements Optimizer {
  #velocities: Float32Array[] = [];
  #steps = new Float32Array(1);

  get steps(): number {
    return this.#steps[0]!;
  }

  step(parameters: readonly Parameter[], learningRate: number): void {
    for (const [index, { data, gradient }] of parameters.entries()) {
      const velocity = this.#velocities[index] ??= new Float32Array(data.length);
      for (let at = 0; at < data.length; at++) {
        velocity[at] = 0.9 * velocity[at]! + gradient[at]!;
        data[at]! -= learningRate * velocity[at]!;
      }
    }
    this.#steps[0]! += 1;
  }

  state(): Record<string, Float32Array> {
    const velocities = this.#velocities.map((array, index) =>
      [`velocity.${index}`, array] as const
    );
    return { steps: this.#steps, ...Object.fromEntries(velocities) };
  }

  loadState(state: Record<string, Float32Array>): void {
    this.#steps = Float32Array.from(state.steps ?? [0]);
    this.#velocities = [];
    for (let index = 0; state[`velocity.${index}`] !== undefined; index++) {
      this.#velocities.push(Float32Array.from(state[`velocity.${index}`]!));
    }
  }
}

/** A text with structure: the next token is mostly a function of the last one. */
export function toyTokens(length: number, vocab: number, seed: number): Int32Array<ArrayBuffer> {
  const random = randomFloats(length, seed);
  let last = 0;
  return Int32Array.from({ length }, (_, index) => {
    const noise = random[index]! > 0.6 ? Math.floor(Math.abs(random[index]!) * vocab) : 0;
    last = (3 * last + 1 + noise) % vocab;
    return last;
  });
}
