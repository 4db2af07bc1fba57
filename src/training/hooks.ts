// Where other code takes part in training: what a trainer calls, and when.

import { tritterError } from "../errors.ts";
import type { SafetensorsData } from "../formats/safetensors_writer.ts";
import type { Parameter, ParameterData, TrainableData } from "../nn/trainable.ts";
import { Tensor } from "../tensor.ts";

/** What a trainer tells its hooks about the step that is being made. */
export interface TrainerStep<Data extends TrainableData = ParameterData> {
  /** Number of the step, from 0. */
  readonly step: number;
  /** The model's parameters; their gradients may be changed, where the hook's comment says so. */
  readonly parameters: readonly Parameter<Data>[];
  /** The learning rate of this step. */
  readonly learningRate: number;
  /** The mean loss over the step's tokens, in nats; NaN before it is known. */
  readonly loss: number;
  /** True if a hook filled in the gradients, without a backward pass. */
  readonly predicted: boolean;
  /** True if the gradients overflowed under loss scaling, so that nothing changes in this step. */
  readonly skipped: boolean;
  /** Numbers to write into the step's line of metrics, beside the trainer's own. */
  readonly metrics: Record<string, number>;
}

/** What a hook wants to find again after a resume. */
export interface HookState {
  /** Arrays by name. */
  arrays?: Readonly<Record<string, SafetensorsData>> | undefined;
  /** Anything that JSON can hold. */
  json?: unknown;
}

/**
 * Code that takes part in every step of a `Trainer`; all methods are optional.
 *
 * A step is: `beforeStep`, the backward passes of its micro-batches (or `predictGradients`),
 * `afterBackward`, clipping, `beforeUpdate`, the optimiser, `afterStep`. Hooks are called in the order
 * in which the trainer got them. A step whose gradients overflowed under loss scaling ends after
 * the backward passes with `afterStep`.
 *
 * @example
 * ```ts
 * import type { TrainerHook } from "tritter-accel";
 *
 * // Adds the share of gradients that are zero to the metrics.
 * const sparsity: TrainerHook = {
 *   name: "sparsity",
 *   beforeUpdate({ parameters, metrics }) {
 *     const count = (sum: number, value: number) => sum + Number(value === 0);
 *     const zeros = parameters.reduce((sum, { gradient }) => gradient.reduce(count, sum), 0);
 *     const all = parameters.reduce((sum, { gradient }) => sum + gradient.length, 0);
 *     metrics.zeroGradients = zeros / all;
 *   },
 * };
 * console.log(sparsity.name);
 * ```
 */
export interface TrainerHook<Data extends TrainableData = ParameterData> {
  /** Names the hook in checkpoints; unique within a trainer. */
  readonly name: string;
  /** Before anything is computed; false asks for no backward pass: `predictGradients` is called then. */
  beforeStep?(step: TrainerStep<Data>): boolean | void;
  /** Fills in the gradients, which are zero. Only for the first hook whose `beforeStep` said false. */
  predictGradients?(step: TrainerStep<Data>): void;
  /** The gradients are the mean over the step's micro-batches, unscaled and unclipped; may change them. */
  afterBackward?(step: TrainerStep<Data>): void;
  /** The gradients are clipped, the optimiser comes next; may change them. */
  beforeUpdate?(step: TrainerStep<Data>): void;
  /** The parameters have their new values. */
  afterStep?(step: TrainerStep<Data>): void;
  /** What goes into a checkpoint. */
  state?(): HookState;
  /** Takes over what `state` gave; throws where it does not fit. */
  loadState?(state: HookState): void;
}

/**
 * A hook that makes several ranks train one model: it exchanges gradients or parameters between them.
 *
 * It is called before all other hooks; its `state` is called by all ranks, so that it may gather there.
 */
export interface GradientExchange<Data extends TrainableData = ParameterData>
  extends TrainerHook<Data> {
  /**
   * After how many steps all ranks have the same parameters again. Default: after every step.
   */
  readonly every?: number | undefined;
  /**
   * During the backward pass of the last micro-batch, if the model tells: the gradient of this parameter
   * is what `afterBackward` will find there, of this rank alone, and must stay so until then. Called
   * once for each parameter that the model tells of, in the same order on all ranks. A step that is
   * skipped goes on with `afterStep`.
   */
  onGradient?(parameter: Parameter<Data>, step: TrainerStep<Data>): void;
}

/** Checks the hooks of a trainer. */
export function checkHooks<Data extends TrainableData>(
  hooks: readonly TrainerHook<Data>[] | undefined,
): readonly TrainerHook<Data>[] {
  if (hooks === undefined) return [];
  if (!Array.isArray(hooks)) {
    throw tritterError("invalid_type", `hooks must be an array, got ${typeof hooks}`);
  }
  const names = new Set<string>();
  for (const [index, hook] of hooks.entries()) {
    const name: unknown = hook?.name;
    if (typeof name !== "string" || !/^[\w-]+$/.test(name)) {
      throw tritterError(
        "invalid_type",
        `hooks[${index}].name must be a word of letters, digits, - and _, got ${String(name)}`,
      );
    }
    if (names.has(name)) {
      throw tritterError(
        "invalid_option",
        `hooks must have names of their own, got two of ${name}`,
      );
    }
    names.add(name);
  }
  return [...hooks];
}

/** Throws `unsupported` for parameters on a device: for hooks that only know arrays. */
export function checkOnCpu(parameters: readonly Parameter<TrainableData>[], method: string): void {
  for (const { name, data } of parameters) {
    if (!(data instanceof Tensor)) continue;
    throw tritterError(
      "unsupported",
      `${method} needs parameters on the CPU, ${name} is on ${data.device}`,
    );
  }
}
