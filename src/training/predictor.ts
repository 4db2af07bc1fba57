// What predicts gradients, and the memory of past ones that it predicts from.

import { checkNumber } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { checkFiniteGradients } from "./clip.ts";
import { allocate, checkSized, type Gradients } from "./gradients.ts";
import type { TrainingState } from "./state.ts";

/** How far a prediction was from the true gradients. */
export interface PredictionError {
  /**
   * Norm of the difference over the norm of the true gradients, over all elements: 0 is perfect, 1 is as
   * bad as predicting zeros. `Number.MAX_VALUE` where only the true gradients are zero.
   */
  relativeError: number;
  /** Cosine of the angle between the two; 0 where either is zero. */
  cosine: number;
}

/** What a predictor has done. */
export interface PredictorStats {
  /** Gradients recorded, those of corrections among them. */
  recorded: number;
  /** Predictions made. */
  predicted: number;
  /** Predictions that were compared with true gradients. */
  corrections: number;
  /** Mean relative error of the corrections, or `undefined` where there were none. */
  meanRelativeError: number | undefined;
  /** Mean cosine of the corrections. */
  meanCosine: number | undefined;
}

/**
 * What a phase trainer asks of a predictor; `GradientPredictor` and `DeterministicPredictor` are two.
 *
 * Each of the first three methods is one step of training.
 */
export interface Predictor {
  /** Whether it has seen enough gradients to predict. */
  readonly isReady: boolean;
  /** Whether true gradients should be computed at the next step. */
  readonly needsCorrection: boolean;
  /** What it has done. */
  readonly stats: PredictorStats;
  /** Takes the true gradients of a step. */
  record(gradients: Gradients): void;
  /** Writes the predicted gradients of a step. */
  predict(options: { out: Gradients }): unknown;
  /**
   * Takes the true gradients of a step after comparing them with what it would have predicted; may
   * change them in place to what should be applied.
   */
  correct(gradients: Gradients): PredictionError;
  /** Forgets everything. */
  reset(): void;
  /** Returns what `restore` needs to go on from here; only who saves a phase trainer needs it. */
  save?(): TrainingState;
  /** Goes on from a saved state. */
  restore?(state: TrainingState): void;
}

const sums = new Float64Array(4);

/** Checks a threshold, which may be infinite. */
export function checkThreshold(value: unknown): number {
  return value === Infinity ? Infinity : checkNumber(value, "residualThreshold", { min: 0 });
}

/** Sums of comparisons, from which the statistics come. */
export class ErrorLog {
  corrections = 0;
  relativeErrors = 0;
  cosines = 0;

  add({ relativeError, cosine }: PredictionError): void {
    this.corrections += 1;
    this.relativeErrors = Math.min(this.relativeErrors + relativeError, Number.MAX_VALUE);
    this.cosines += cosine;
  }

  means(): Pick<PredictorStats, "corrections" | "meanRelativeError" | "meanCosine"> {
    const { corrections } = this;
    if (corrections === 0) {
      return { corrections, meanRelativeError: undefined, meanCosine: undefined };
    }
    return {
      corrections,
      meanRelativeError: this.relativeErrors / corrections,
      meanCosine: this.cosines / corrections,
    };
  }
}

/** The newest gradients, in slots of which the oldest is overwritten next. */
export class GradientRing {
  readonly sizes: readonly number[];
  readonly capacity: number;
  /** [slot][element] of each array. */
  readonly slots: readonly Float32Array[];
  /** The step of each slot's gradients. */
  steps: number[] = [];
  /** Gradients ever recorded. */
  recorded = 0;

  constructor(sizes: readonly number[], capacity: number) {
    this.sizes = sizes;
    this.capacity = capacity;
    for (const size of sizes) {
      if (size * capacity < 2 ** 32) continue;
      throw tritterError(
        "invalid_value",
        `sizes must be such that ${capacity} gradients of an array have fewer than 2^32 elements, got ${size}`,
      );
    }
    this.slots = sizes.map((size) => allocate(Float32Array, size * capacity));
  }

  /** Slots in use. */
  get used(): number {
    return Math.min(this.recorded, this.capacity);
  }

  /** Slots from the oldest gradients to the newest. */
  inOrder(): number[] {
    const first = this.recorded <= this.capacity ? 0 : this.recorded % this.capacity;
    return Array.from({ length: this.used }, (_, at) => (first + at) % this.capacity);
  }

  /** Keeps gradients; throws and changes nothing where they are not finite. */
  push(gradients: Gradients, step: number): void {
    const list = checkSized(gradients, this.sizes, "gradients");
    checkFiniteGradients(list, "gradients");
    const slot = this.recorded % this.capacity;
    list.forEach((values, at) => this.slots[at]!.set(values, slot * values.length));
    this.steps[slot] = step;
    this.recorded += 1;
  }

  /** Combinations of the slots in use: the coefficients are those of the outputs, one after the other. */
  combine(coefficients: Float64Array, outputs: readonly Float32Array[]): void {
    combineArrays(this.slots, this.sizes, this.used, coefficients, outputs);
  }

  clear(): void {
    this.recorded = 0;
    this.steps = [];
  }
}

/** Combinations of the first sources of each array. */
export function combineArrays(
  sources: readonly Float32Array[],
  sizes: readonly number[],
  count: number,
  coefficients: Float64Array,
  outputs: readonly Float32Array[],
): void {
  outputs.forEach((out, at) => {
    const [source, size] = [sources[at]!, sizes[at]!];
    check(native.gradients_combine(
      source,
      count * size,
      coefficients,
      coefficients.length,
      out,
      out.length,
      size,
    ));
  });
}

/** How far the combination of the first sources of each array is from true gradients. */
export function compareArrays(
  sources: readonly Float32Array[],
  coefficients: Float64Array,
  actual: readonly Float32Array[],
): PredictionError {
  let [difference, actualSquares, predictedSquares, product] = [0, 0, 0, 0];
  actual.forEach((values, at) => {
    const count = coefficients.length;
    const length = count * values.length;
    check(native.gradients_compare(
      sources[at]!,
      length,
      coefficients,
      count,
      values,
      values.length,
      sums,
      sums.length,
    ));
    difference += sums[0]!;
    actualSquares += sums[1]!;
    predictedSquares += sums[2]!;
    product += sums[3]!;
  });
  const ratio = difference === 0 ? 0 : Math.sqrt(difference / actualSquares);
  const relativeError = Math.min(ratio, Number.MAX_VALUE);
  const norms = Math.sqrt(actualSquares) * Math.sqrt(predictedSquares);
  return { relativeError, cosine: norms === 0 ? 0 : product / norms };
}
