// Gradients predicted by a line through past ones.

import { checkCount, checkNumber, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import {
  allocate,
  asGiven,
  checkSized,
  checkSizes,
  type Gradients,
  type GradientSizes,
  type GradientsOf,
  type GradientsOutOptions,
  outArrays,
} from "./gradients.ts";
import {
  checkThreshold,
  combineArrays,
  compareArrays,
  GradientRing,
  type PredictionError,
  type Predictor,
  type PredictorStats,
} from "./predictor.ts";
import { readPredictor, startPosition, writePredictor } from "./predictor_state.ts";
import type { TrainingState } from "./state.ts";

/** How a `DeterministicPredictor` fits, and when it wants to be corrected. */
export interface DeterministicPredictorConfig {
  /** Gradients to record before the first prediction; may exceed the history. Default: 10. */
  warmupSteps?: number | undefined;
  /** The history holds two gradients more than this, as the original's does. Default: 8. */
  historyWindow?: number | undefined;
  /** Predictions in a row after which a correction is wanted. Default: 4. */
  predictionHorizon?: number | undefined;
  /** Weight of a gradient relative to the one after it, above 0 and up to 1. Default: 0.95. */
  historyDecay?: number | undefined;
  /**
   * Share of the fitted slope that is used, from 0 (the weighted mean of the history) to 1 (the line).
   * Default: 1.
   */
  velocityScale?: number | undefined;
  /** Relative error of a correction above which the next step should be one too. Default: 0.5. */
  residualThreshold?: number | undefined;
}

const SINGULAR = 1e-10;

/** The weighted least-squares line through values at `times`, as combinations of these values. */
export function fitCoefficients(
  times: readonly number[],
  decay: number,
  velocityScale: number,
): { baseline: Float64Array; velocity: Float64Array } {
  const count = times.length;
  const last = times[count - 1]!;
  const weights = times.map((_, at) => decay ** (count - 1 - at));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const mean = weights.reduce((sum, weight, at) => sum + weight * (times[at]! - last), 0) / total;
  const offsets = times.map((time) => time - last - mean);
  const spread = weights.reduce((sum, weight, at) => sum + weight * offsets[at]! ** 2, 0);
  // total * spread is the determinant of the normal equations.
  if (total * spread < SINGULAR) {
    const baseline = new Float64Array(count);
    baseline[count - 1] = 1;
    return { baseline, velocity: new Float64Array(count) };
  }
  const velocity = Float64Array.from(
    weights,
    (weight, at) => velocityScale * weight * offsets[at]! / spread,
  );
  const baseline = Float64Array.from(
    weights,
    (weight, at) => weight / total - mean * velocity[at]!,
  );
  return { baseline, velocity };
}

/**
 * Predicts gradients by extrapolating the weighted least-squares line through the stored ones.
 *
 * For each element g(t) = baseline + velocity x (t - last step), fitted with weights
 * historyDecay^age. All elements share the weights, so baseline and velocity are two linear
 * combinations of the stored gradients, computed in one pass when a prediction first needs them. The
 * history is historyWindow + 2 copies of the gradients, 4 bytes an element each, and the fit two more.
 *
 * A correction compares the true gradients with the prediction for the same step, over all elements of
 * all parameters, relative to the true norm: whatever the shapes and the scale. The true gradients then
 * enter the history like any others, once.
 *
 * Results are the same on every machine. Predictions seldom pay: see examples/predicted_gradients.ts.
 *
 * @example
 * ```ts
 * import { DeterministicPredictor } from "tritter-accel";
 *
 * const predictor = new DeterministicPredictor(1, { warmupSteps: 5 });
 * for (const gradient of [1, 1.1, 1.2, 1.3, 1.4]) predictor.record(Float32Array.of(gradient));
 * console.log(predictor.predict()[0]!.toFixed(4)); // 1.5000
 * ```
 */
export class DeterministicPredictor<const S extends GradientSizes = GradientSizes>
  implements Predictor {
  /** Lengths of the gradients. */
  readonly sizes: S;
  /** The configuration. */
  readonly config: Readonly<{ [key in keyof DeterministicPredictorConfig]-?: number }>;

  readonly #ring: GradientRing;
  /** [baseline, velocity][element] of each array. */
  readonly #fits: readonly Float32Array[];
  #isFitted = false;
  /** Its last errors are one, that of the last correction, if that was the last record. */
  #position = startPosition();

  /** Makes a predictor for gradients of these lengths, with an empty history. */
  constructor(sizes: S, config?: DeterministicPredictorConfig) {
    const options = checkOptions(config, "config");
    this.config = Object.freeze({
      warmupSteps: checkCount(options.warmupSteps ?? 10, "warmupSteps", { min: 1 }),
      historyWindow: checkCount(options.historyWindow ?? 8, "historyWindow", { min: 1, max: 1024 }),
      predictionHorizon: checkCount(options.predictionHorizon ?? 4, "predictionHorizon", {
        min: 1,
      }),
      historyDecay: checkDecay(options.historyDecay ?? 0.95),
      velocityScale: checkNumber(options.velocityScale ?? 1, "velocityScale", { min: 0, max: 1 }),
      residualThreshold: checkThreshold(options.residualThreshold ?? 0.5),
    });
    const list = checkSizes(sizes, 2 ** 31 - 1);
    this.sizes = (typeof sizes === "number" ? sizes : Object.freeze([...list])) as S;
    this.#ring = new GradientRing(list, this.config.historyWindow + 2);
    this.#fits = list.map((size) => allocate(Float32Array, 2 * size));
  }

  /** Whether `warmupSteps` gradients have been recorded. */
  get isReady(): boolean {
    return this.#ring.recorded >= this.config.warmupSteps;
  }

  /**
   * Whether there were `predictionHorizon` predictions since the last true gradients, or the last
   * correction found a relative error above `residualThreshold`.
   */
  get needsCorrection(): boolean {
    const since = this.#position.step - 1 - this.#position.lastStep;
    return since >= this.config.predictionHorizon ||
      (this.#position.lastErrors[0] ?? 0) > this.config.residualThreshold;
  }

  /** What the predictor has done. */
  get stats(): PredictorStats {
    const { recorded } = this.#ring;
    return { recorded, predicted: this.#position.predicted, ...this.#position.errors.means() };
  }

  /** Memory of the history and the fit, in bytes. */
  get memoryBytes(): number {
    return [...this.#ring.slots, ...this.#fits].reduce(
      (sum, { byteLength }) => sum + byteLength,
      0,
    );
  }

  /** Takes the true gradients of a step; throws `invalid_value` where they are not finite. */
  record(gradients: Gradients): void {
    this.#ring.push(gradients, this.#position.step);
    this.#position.lastStep = this.#position.step;
    this.#position.step += 1;
    this.#isFitted = false;
    this.#position.lastErrors = [];
  }

  /** Returns the predicted gradients of a step; throws `invalid_value` before the warm-up has ended. */
  predict(options?: GradientsOutOptions): GradientsOf<S> {
    const list = outArrays(checkOptions(options, "options").out, this.#ring.sizes);
    const coefficients = this.#prepare();
    combineArrays(this.#fits, this.#ring.sizes, 2, coefficients, list);
    this.#position.step += 1;
    this.#position.predicted += 1;
    return asGiven(this.sizes, list);
  }

  /**
   * Takes the true gradients of a step, and returns how far the prediction would have been off. Leaves
   * them as they are. Throws `invalid_value` where they are not finite or before the warm-up has ended.
   */
  correct(gradients: Gradients): PredictionError {
    const list = checkSized(gradients, this.#ring.sizes, "gradients");
    const error = compareArrays(this.#fits, this.#prepare(), list);
    this.record(gradients);
    this.#position.lastErrors = [error.relativeError];
    this.#position.errors.add(error);
    return error;
  }

  /** Fits if need be; returns the coefficients of baseline and velocity for this step. */
  #prepare(): Float64Array {
    if (!this.isReady) {
      throw tritterError(
        "invalid_value",
        `the predictor must have recorded ${this.config.warmupSteps} gradients, got ${this.#ring.recorded}`,
      );
    }
    if (!this.#isFitted) this.#fit();
    return Float64Array.of(1, this.#position.step - this.#position.lastStep);
  }

  #fit(): void {
    const { historyDecay, velocityScale } = this.config;
    const order = this.#ring.inOrder();
    const times = order.map((slot) => this.#ring.steps[slot]!);
    const { baseline, velocity } = fitCoefficients(times, historyDecay, velocityScale);
    const coefficients = new Float64Array(2 * order.length);
    order.forEach((slot, at) => {
      coefficients[slot] = baseline[at]!;
      coefficients[order.length + slot] = velocity[at]!;
    });
    this.#ring.combine(coefficients, this.#fits);
    this.#isFitted = true;
  }

  /** Forgets all gradients and statistics. */
  reset(): void {
    this.#ring.clear();
    this.#isFitted = false;
    this.#position = startPosition();
  }

  /** Returns what `restore` needs to go on exactly from here. */
  save(): TrainingState {
    return writePredictor(this.#ring, this.#position);
  }

  /**
   * Goes on from where a predictor of the same sizes and configuration was saved.
   *
   * Throws `invalid_format`, and changes nothing, where the state is not one of these.
   */
  restore(state: TrainingState): void {
    this.#position = readPredictor(this.#ring, state);
    this.#isFitted = false;
  }
}

function checkDecay(value: unknown): number {
  const decay = checkNumber(value, "historyDecay", { max: 1 });
  if (decay > 0) return decay;
  throw tritterError("invalid_value", `historyDecay must be above 0, got ${describe(decay)}`);
}
