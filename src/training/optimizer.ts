// What optimisers have in common.

import type { Parameter, ParameterData, TrainableData } from "../nn/trainable.ts";

/** Turns gradients into changes of parameters, and remembers what it needs from step to step. */
export interface Optimizer<Data extends TrainableData = ParameterData> {
  /** How many steps have been made. */
  readonly steps: number;

  /** Changes every parameter's data by its gradient; the gradients stay as they are. */
  step(parameters: readonly Parameter<Data>[], learningRate: number): void;

  /**
   * The optimiser's memory by name, for checkpoints: the arrays themselves, no copies but of what is
   * on a device. With an empty array or none before the first step.
   */
  state(): Record<string, Float32Array>;

  /** Takes over what `state` gave, so that the next steps are those that would have followed. */
  loadState(state: Record<string, Float32Array>): void;
}
