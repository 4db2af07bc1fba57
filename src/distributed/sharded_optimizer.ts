// An optimiser whose memory lies on several ranks (ZeRO, stage 1).

import { tritterError } from "../errors.ts";
import { countOf } from "../nn/device_memory.ts";
import type { Parameter, TrainableData } from "../nn/trainable.ts";
import type { Optimizer } from "../training/optimizer.ts";
import { checkParameters } from "../training/optimizer_memory.ts";
import { Tensor } from "../tensor.ts";
import { checkCommunicator, type Communicator } from "./communicator.ts";
import { FlatArrays, travellingData } from "./flat.ts";

/**
 * Shares the memory of an optimiser out to the ranks: each steps for some of the parameters, and sends
 * the others what they have become.
 *
 * A parameter belongs to one rank as a whole: the largest go first, each to the rank that has least. The
 * gradients must be the same on all ranks, as `averageGradients` makes them; results are then those of
 * the optimiser alone, bit for bit. A checkpoint holds the memory of all ranks, and any number of ranks
 * can go on with it, if the optimiser names its arrays after the parameters, as `AdamW` and `Sgd` do.
 * Source: ZeRO stage 1, arXiv:1910.02054.
 *
 * @example
 * ```ts
 * import { AdamW, createCommunicator, ShardedOptimizer } from "tritter-accel";
 *
 * using communicator = createCommunicator();
 * const optimizer = new ShardedOptimizer(communicator, new AdamW());
 * console.log(optimizer.steps); // 0
 * // new Trainer({ communicator, optimizer, ... })
 * ```
 */
export class ShardedOptimizer implements Optimizer<TrainableData> {
  readonly #communicator: Communicator;
  readonly #optimizer: Optimizer<TrainableData>;
  #owners: readonly number[] = [];
  /** A state that was loaded has the memory of all ranks, until it is known what belongs to whom. */
  #holdsAll = false;

  /** Wraps an optimiser that belongs to this rank alone. */
  constructor(communicator: Communicator, optimizer: Optimizer<TrainableData>) {
    if (typeof optimizer?.step !== "function") {
      throw tritterError("invalid_type", "optimizer must be an Optimizer");
    }
    this.#communicator = checkCommunicator(communicator, "communicator");
    this.#optimizer = optimizer;
  }

  /** How many steps have been made. */
  get steps(): number {
    return this.#optimizer.steps;
  }

  /** Changes the data of this rank's parameters by their gradients, and takes over the others'. */
  step(parameters: readonly Parameter<TrainableData>[], learningRate: number): void {
    checkParameters(parameters);
    const { rank, size } = this.#communicator;
    if (this.#owners.length !== parameters.length) this.#owners = shareOut(parameters, size);
    if (this.#holdsAll) this.#dropOthers(parameters);
    const own = parameters.filter((_, index) => this.#owners[index] === rank);
    this.#optimizer.step(own, learningRate);
    parameters.forEach(({ data }, index) => {
      this.#communicator.broadcast(travellingData(data), { root: this.#owners[index]! });
    });
    if (parameters.some(({ data }) => data instanceof Tensor)) this.#communicator.wait();
  }

  /** The memory of all ranks; all of them call it. */
  state(): Record<string, Float32Array> {
    const own = this.#optimizer.state();
    const names = new TextEncoder().encode(
      JSON.stringify(Object.entries(own).map(([name, { length }]) => [name, length])),
    );
    const arrays = new FlatArrays(Object.values(own));
    const flat = new Float32Array(arrays.length);
    arrays.read(flat);
    const allNames = this.#communicator.allGatherV(names);
    const allValues = this.#communicator.allGatherV(flat);
    const state: Record<string, Float32Array> = {};
    for (const [rank, bytes] of allNames.entries()) {
      let start = 0;
      for (const [name, length] of JSON.parse(new TextDecoder().decode(bytes))) {
        const values = allValues[rank]!.subarray(start, start + length);
        checkSame(name, state[name] ?? values, values);
        state[name] = values;
        start += length;
      }
    }
    return state;
  }

  /** Takes over what `state` gave; what belongs to other ranks is dropped at the next step. */
  loadState(state: Record<string, Float32Array>): void {
    this.#optimizer.loadState(state);
    this.#holdsAll = true;
  }

  /** Arrays are named after their parameters: `mean.model.norm.weight`. */
  #dropOthers(parameters: readonly Parameter<TrainableData>[]): void {
    const { rank } = this.#communicator;
    const others = new Set(
      parameters.filter((_, index) => this.#owners[index] !== rank).map(({ name }) => name),
    );
    const kept = Object.entries(this.#optimizer.state())
      .filter(([key]) => !others.has(key.slice(key.indexOf(".") + 1)));
    this.#optimizer.loadState(Object.fromEntries(kept));
    this.#holdsAll = false;
  }
}

/** What several ranks have must be the same, such as a number of steps. */
function checkSame(name: string, one: Float32Array, other: Float32Array): void {
  const isSame = one.length === other.length &&
    one.every((value, index) => Object.is(value, other[index]));
  if (isSame) return;
  throw tritterError(
    "unsupported",
    `ShardedOptimizer needs an optimizer that names its arrays after the parameters, got ${name} of several`,
  );
}

/** The rank that each parameter belongs to. */
function shareOut(parameters: readonly Parameter<TrainableData>[], size: number): number[] {
  const loads = new Array<number>(size).fill(0);
  const owners = new Array<number>(parameters.length).fill(0);
  const order = parameters.map(({ data }, index) => ({ index, length: countOf(data) }))
    .sort((a, b) => b.length - a.length || a.index - b.index);
  for (const { index, length } of order) {
    const owner = loads.indexOf(Math.min(...loads));
    owners[index] = owner;
    loads[owner]! += length;
  }
  return owners;
}
