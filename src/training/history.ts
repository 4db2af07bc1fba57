// The losses of a run, from its first step.

import { tritterError } from "../errors.ts";
import type { SafetensorsData } from "../formats/safetensors_writer.ts";
import type { LossPoint } from "./loss_curve.ts";

/** Losses by step; goes into checkpoints, so that a resumed run knows how it began. */
export class TrainingHistory {
  readonly #losses: number[] = [];
  readonly #validation: LossPoint[] = [];

  /** Adds the loss of the next step. */
  addLoss(loss: number): void {
    this.#losses.push(loss);
  }

  /** Adds a validation loss; a later one for the same step replaces it. */
  addValidation(step: number, loss: number): void {
    if (this.#validation.at(-1)?.[0] === step) this.#validation.pop();
    this.#validation.push([step, loss]);
  }

  /** The loss of every step, the first being step 1. */
  get losses(): LossPoint[] {
    return this.#losses.map((loss, index) => [index + 1, loss]);
  }

  /** Validation losses by the number of steps before them. */
  get validation(): LossPoint[] {
    return [...this.#validation];
  }

  /** The loss of the last step; NaN before the first. */
  get loss(): number {
    return this.#losses.at(-1) ?? NaN;
  }

  /** The last validation loss. */
  get validationLoss(): number | null {
    return this.#validation.at(-1)?.[1] ?? null;
  }

  /** Arrays for a checkpoint. */
  state(): Record<string, SafetensorsData> {
    return {
      losses: Float64Array.from(this.#losses),
      validation_steps: Float64Array.from(this.#validation, ([step]) => step),
      validation_losses: Float64Array.from(this.#validation, ([, loss]) => loss),
    };
  }

  /** Takes over the arrays of a checkpoint after so many steps. */
  static fromState(
    state: Readonly<Record<string, SafetensorsData>>,
    steps: number,
  ): TrainingHistory {
    const { losses, validation_steps: at, validation_losses: values } = state;
    const fits = losses instanceof Float64Array && losses.length === steps &&
      at instanceof Float64Array && values instanceof Float64Array && at.length === values.length;
    if (!fits) {
      throw tritterError(
        "invalid_format",
        `The checkpoint must hold the losses of its ${steps} steps as F64`,
      );
    }
    const history = new TrainingHistory();
    for (const loss of losses) history.addLoss(loss);
    at.forEach((step, index) => history.addValidation(step, values[index]!));
    return history;
  }
}
