// Gradients predicted from the last two.

import { checkCount, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import {
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
  compareArrays,
  GradientRing,
  type PredictionError,
  type Predictor,
  type PredictorStats,
} from "./predictor.ts";
import { readPredictor, startPosition, writePredictor } from "./predictor_state.ts";
import type { TrainingState } from "./state.ts";

/** How a `GradientPredictor` predicts, and when it wants to be corrected. */
export interface GradientPredictorConfig {
  /** Share of the last change that is expected again; 0 repeats the last gradient. Default: 0.9. */
  momentum?: number | undefined;
  /** Predictions in a row after which a correction is wanted. Default: 4. */
  predictionSteps?: number | undefined;
  /** Share of the error of a prediction that a correction makes up for. Default: 0.5. */
  correctionWeight?: number | undefined;
  /** Mean relative error of the last 10 corrections above which the next step should be one. Default: 0.5. */
  residualThreshold?: number | undefined;
}

/** The two gradients that predictions come from, and the true one that they are compared with. */
const CAPACITY = 3;
const ERRORS_KEPT = 10;

/**
 * Predicts that the last change of the gradients goes on: last + momentum x (last - the one before).
 *
 * A correction compares the true gradients with that, and adds `correctionWeight` of the difference to
 * them, which makes up for what the predicted steps before it got wrong. Holds three copies of the
 * gradients. Predictions seldom pay: see examples/predicted_gradients.ts.
 *
 * @example
 * ```ts
 * import { GradientPredictor } from "tritter-accel";
 *
 * const predictor = new GradientPredictor(1, { momentum: 0.5 });
 * predictor.record(Float32Array.of(1));
 * predictor.record(Float32Array.of(2));
 * console.log(predictor.predict()); // 2.5
 * const gradients = Float32Array.of(3);
 * console.log(predictor.correct(gradients).relativeError.toFixed(3), gradients); // 0.167 3.25
 * ```
 */
export class GradientPredictor<const S extends GradientSizes = GradientSizes> implements Predictor {
  /** Lengths of the gradients. */
  readonly sizes: S;
  /** The configuration. */
  readonly config: Readonly<{ [key in keyof GradientPredictorConfig]-?: number }>;

  readonly #ring: GradientRing;
  #position = startPosition();

  /** Makes a predictor for gradients of these lengths that has seen none. */
  constructor(sizes: S, config?: GradientPredictorConfig) {
    const options = checkOptions(config, "config");
    this.config = Object.freeze({
      momentum: checkNumber(options.momentum ?? 0.9, "momentum", { min: 0, max: 1 }),
      predictionSteps: checkCount(options.predictionSteps ?? 4, "predictionSteps", { min: 1 }),
      correctionWeight: checkNumber(options.correctionWeight ?? 0.5, "correctionWeight", {
        min: 0,
        max: 1,
      }),
      residualThreshold: checkThreshold(options.residualThreshold ?? 0.5),
    });
    const list = checkSizes(sizes, 2 ** 31 - 1);
    this.sizes = (typeof sizes === "number" ? sizes : Object.freeze([...list])) as S;
    this.#ring = new GradientRing(list, CAPACITY);
  }

  /** Whether two gradients have been recorded; `predict` repeats a single one. */
  get isReady(): boolean {
    return this.#ring.recorded >= 2;
  }

  /**
   * Whether there were `predictionSteps` predictions since the last true gradients, or the last
   * corrections found a mean relative error above `residualThreshold`.
   */
  get needsCorrection(): boolean {
    const errors = this.#position.lastErrors;
    const mean = errors.reduce((sum, error) => sum + error, 0) / Math.max(1, errors.length);
    const since = this.#position.step - 1 - this.#position.lastStep;
    return since >= this.config.predictionSteps || mean > this.config.residualThreshold;
  }

  /** What the predictor has done. */
  get stats(): PredictorStats {
    const { recorded } = this.#ring;
    return { recorded, predicted: this.#position.predicted, ...this.#position.errors.means() };
  }

  /** Memory of the stored gradients, in bytes. */
  get memoryBytes(): number {
    return this.#ring.slots.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Takes the true gradients of a step; throws `invalid_value` where they are not finite. */
  record(gradients: Gradients): void {
    this.#ring.push(gradients, this.#position.step);
    this.#position.lastStep = this.#position.step;
    this.#position.step += 1;
  }

  /** Returns the predicted gradients of a step; throws `invalid_value` where none were recorded. */
  predict(options?: GradientsOutOptions): GradientsOf<S> {
    const list = outArrays(checkOptions(options, "options").out, this.#ring.sizes);
    this.#ring.combine(this.#coefficients(), list);
    this.#position.step += 1;
    this.#position.predicted += 1;
    return asGiven(this.sizes, list);
  }

  /**
   * Takes the true gradients of a step, adds `correctionWeight` x (true - predicted) to them in place,
   * and returns how far the prediction was off. Throws `invalid_value` where they are not finite or
   * none were recorded.
   */
  correct(gradients: Gradients): PredictionError {
    const list = checkSized(gradients, this.#ring.sizes, "gradients");
    const coefficients = this.#coefficients();
    const error = compareArrays(this.#ring.slots, coefficients, list);
    this.record(gradients);
    this.#ring.combine(this.#corrected(coefficients), list);
    this.#position.errors.add(error);
    this.#position.lastErrors = [...this.#position.lastErrors, error.relativeError].slice(
      -ERRORS_KEPT,
    );
    return error;
  }

  /** The prediction as a combination of the slots in use. */
  #coefficients(): Float64Array {
    const order = this.#ring.inOrder();
    if (order.length === 0) {
      throw tritterError("invalid_value", "the predictor must have recorded gradients, got none");
    }
    const coefficients = new Float64Array(order.length);
    const [last, before] = [order.at(-1)!, order.at(-2)];
    if (before === undefined) {
      coefficients[last] = 1;
    } else {
      coefficients[last] = 1 + this.config.momentum;
      coefficients[before] = -this.config.momentum;
    }
    return coefficients;
  }

  /**
   * (1 + w) true - w predicted, once the true gradients have been recorded. Of three slots they took the
   * one that predictions did not come from.
   */
  #corrected(predicted: Float64Array): Float64Array {
    const weight = this.config.correctionWeight;
    const coefficients = new Float64Array(this.#ring.used);
    predicted.forEach((coefficient, slot) => coefficients[slot] = -weight * coefficient);
    coefficients[this.#ring.inOrder().at(-1)!] = 1 + weight;
    return coefficients;
  }

  /** Forgets all gradients and statistics. */
  reset(): void {
    this.#ring.clear();
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
  }
}
