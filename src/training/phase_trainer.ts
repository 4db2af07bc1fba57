// Training that predicts some of its gradients, for any training loop to plug in.

import { checkNumber, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { GradientPredictor } from "./gradient_predictor.ts";
import type { Gradients, GradientSizes } from "./gradients.ts";
import {
  checkClock,
  LossHistory,
  type LossHistoryConfig,
  type LossHistoryState,
} from "./loss_history.ts";
import { PhaseClock } from "./phase_clock.ts";
import {
  checkAdaptation,
  checkLengths,
  type Phase,
  type PhaseAdaptation,
  type PhaseCounts,
  type PhaseLengths,
  PhaseMachine,
  type StepInfo,
} from "./phases.ts";
import { readPosition, STATE_VERSION } from "./phase_state.ts";
import {
  checkThreshold,
  type PredictionError,
  type Predictor,
  type PredictorStats,
} from "./predictor.ts";
import { readPart, readState, readVersion, type TrainingState } from "./state.ts";

/** What every phase trainer can be told. */
export interface PhaseTrainerOptions extends PhaseLengths {
  /** Whether, or how, phase lengths follow the loss. Default: true. */
  adaptive?: boolean | PhaseAdaptation | undefined;
  /** Growth of the loss that makes for fewer predictions: 0.1 is by a tenth. Default: 0.1. */
  lossThreshold?: number | undefined;
  /** Relative error of predictions above which corrections follow at once. Default: 0.5. */
  residualThreshold?: number | undefined;
  /** How losses are kept. */
  lossHistory?: LossHistoryConfig | undefined;
  /** Milliseconds from any fixed moment. Default: `performance.now`. */
  clock?: (() => number) | undefined;
}

/**
 * What a `PhaseTrainer` can be told. Defaults of its lengths: no warm-up, 10 full steps, 40 predicted
 * ones, a correction every 10.
 */
export interface PhaseConfig extends PhaseTrainerOptions {
  /** See `GradientPredictor`. Default: 0.9. */
  momentum?: number | undefined;
  /** See `GradientPredictor`. Default: 0.5. */
  correctionWeight?: number | undefined;
  /** Predicts in place of a `GradientPredictor` of the sizes. */
  predictor?: Predictor | undefined;
}

/** What a phase trainer has done, and what it gained. */
export interface PhaseStats extends PredictorStats {
  /** Steps that have ended. */
  totalSteps: number;
  /** How many of them were of each phase. */
  steps: PhaseCounts;
  /** Steps with a backward pass. */
  backwardSteps: number;
  /** Rounds of full, predicted and corrected steps. */
  cycles: number;
  /** Full steps of a round at present. */
  fullSteps: number;
  /** Predicted and corrected steps of a round at present. */
  predictSteps: number;
  /** All steps over those with a backward pass: what would be gained if the rest were free. */
  stepSpeedup: number;
  /**
   * The time that as many full steps would have taken over the time that the steps took, measured from
   * `next` to `recordLoss`; `undefined` before there was a full step and a moment passed.
   */
  wallSpeedup: number | undefined;
  /** Time of all steps in milliseconds. */
  elapsedMs: number;
  /** The newest loss. */
  currentLoss: number | undefined;
}

const ADAPTATION: PhaseAdaptation = {
  worse: [5, -10],
  better: [-5, 10],
  full: [5, 50],
  predict: [10, 100],
};

/**
 * Tells a training loop at each step whether to compute gradients or to take predicted ones.
 *
 * | phase                   | what the loop does                                                    |
 * | ----------------------- | --------------------------------------------------------------------- |
 * | `"warmup"`, `"full"`    | computes gradients, hands them to `recordFull`, applies them          |
 * | `"predict"`             | takes them from `predict`, applies them                               |
 * | `"correct"`             | computes gradients, hands them to `correct`, which may change them, applies them |
 *
 * Every step begins with `next` and ends with `recordLoss`, or with `skip` where its gradients are of no
 * use. A round is `fullSteps` full steps and `predictSteps` predicted ones, with corrections in between.
 *
 * Predicting gradients is off by default in this library, because it loses to spending the backward
 * passes on plain training in every trial we know: see examples/predicted_gradients.ts.
 *
 * @example
 * ```ts
 * import { PhaseTrainer } from "tritter-accel";
 *
 * // Minimises (w - 3)^2.
 * const trainer = new PhaseTrainer(1, { fullSteps: 4, predictSteps: 6, correctEvery: 3 });
 * const weight = Float32Array.of(0);
 * const gradient = new Float32Array(1);
 * for (let step = 0; step < 60; step += 1) {
 *   const { phase } = trainer.next();
 *   if (phase === "predict") trainer.predict({ out: gradient });
 *   else {
 *     gradient[0] = 2 * (weight[0]! - 3);
 *     if (phase === "correct") trainer.correct(gradient);
 *     else trainer.recordFull(gradient);
 *   }
 *   weight[0]! -= 0.05 * gradient[0]!;
 *   trainer.recordLoss((weight[0]! - 3) ** 2);
 * }
 * console.log(weight[0]!.toFixed(1), trainer.stats.backwardSteps < 60); // 3.0 true
 * ```
 */
export class PhaseTrainer {
  /** What predicts the gradients. */
  readonly predictor: Predictor;
  /** The losses of all steps that had one. */
  readonly losses: LossHistory;

  readonly #machine: PhaseMachine;
  readonly #clock: PhaseClock;
  #current: StepInfo | undefined;
  #isDelivered = false;

  /** Makes a trainer for gradients of these lengths. */
  constructor(sizes: GradientSizes, config?: PhaseConfig) {
    const options = checkOptions(config, "config");
    const lengths = checkLengths({
      warmupSteps: options.warmupSteps ?? 0,
      fullSteps: options.fullSteps ?? 10,
      predictSteps: options.predictSteps ?? 40,
      correctEvery: options.correctEvery ?? 10,
    });
    const { adaptive = true } = options;
    const adaptation = adaptive === true
      ? ADAPTATION
      : adaptive === false
      ? undefined
      : checkAdaptation(adaptive);
    const lossThreshold = checkNumber(options.lossThreshold ?? 0.1, "lossThreshold", { min: 0 });
    this.predictor = options.predictor === undefined
      ? new GradientPredictor(sizes, {
        momentum: options.momentum,
        correctionWeight: options.correctionWeight,
        predictionSteps: lengths.predictSteps,
        residualThreshold: checkThreshold(options.residualThreshold ?? 0.5),
      })
      : checkPredictor(options.predictor);
    const clock = checkClock(options.clock);
    this.losses = new LossHistory({ clock, ...checkOptions(options.lossHistory, "lossHistory") });
    this.#clock = new PhaseClock(clock);
    this.#machine = new PhaseMachine(lengths, adaptation, lossThreshold);
  }

  /** The phase of the step that has begun, or of the one before. */
  get phase(): Phase {
    return this.#machine.position.phase;
  }

  /** What has been done and gained so far. */
  get stats(): PhaseStats {
    const { counts, step, cycle, fullSteps, predictSteps } = this.#machine.position;
    const backwardSteps = counts.warmup + counts.full + counts.correct;
    return {
      ...this.predictor.stats,
      totalSteps: step,
      steps: { ...counts },
      backwardSteps,
      cycles: cycle,
      fullSteps,
      predictSteps,
      stepSpeedup: step / Math.max(1, backwardSteps),
      wallSpeedup: this.#clock.speedup(step),
      elapsedMs: this.#clock.elapsedMs,
      currentLoss: this.losses.currentLoss(),
    };
  }

  /** Begins a step, and returns what it is; throws `invalid_value` where the last one has not ended. */
  next(): StepInfo {
    if (this.#current !== undefined) {
      throw tritterError(
        "invalid_value",
        "the last step must have ended, by recordLoss or skip, got another next",
      );
    }
    const { isReady, needsCorrection } = this.predictor;
    this.#current = this.#machine.begin({ isReady, needsCorrection });
    this.#isDelivered = false;
    this.#clock.begin();
    return { ...this.#current };
  }

  /** Checks that a step has begun that takes gradients in this way. */
  #expect(method: string, phases: readonly Phase[]): void {
    const phase = this.#current?.phase;
    if (phase !== undefined && phases.includes(phase) && !this.#isDelivered) return;
    const got = phase === undefined
      ? "none"
      : this.#isDelivered
      ? "one whose gradients are there already"
      : `"${phase}"`;
    const wanted = phases.map((each) => `"${each}"`).join(" or ");
    throw tritterError(
      "invalid_value",
      `${method} must be called once in a step of phase ${wanted}, got ${got}`,
    );
  }

  /** Takes the gradients of a warm-up or full step; throws `invalid_value` where they are not finite. */
  recordFull(gradients: Gradients): void {
    this.#expect("recordFull", ["warmup", "full"]);
    this.predictor.record(gradients);
    this.#isDelivered = true;
  }

  /** Writes the predicted gradients of a step of phase `"predict"` to `out`. */
  predict(options: { out: Gradients }): void {
    this.#expect("predict", ["predict"]);
    const { out } = checkOptions(options, "options");
    if (out === undefined) {
      throw tritterError("invalid_type", "options must have out, got none");
    }
    this.predictor.predict({ out });
    this.#isDelivered = true;
  }

  /**
   * Takes the true gradients of a step of phase `"correct"`, and returns how far the prediction was off;
   * afterwards they are what should be applied. Throws `invalid_value` where they are not finite.
   */
  correct(gradients: Gradients): PredictionError {
    this.#expect("correct", ["correct"]);
    const error = this.predictor.correct(gradients);
    this.#isDelivered = true;
    return error;
  }

  /**
   * Ends a step whose gradients were delivered. Without a loss, because no forward pass was made, the
   * step counts and adds nothing to the losses.
   */
  recordLoss(loss?: number): void {
    if (this.#current === undefined || !this.#isDelivered) {
      throw tritterError(
        "invalid_value",
        `recordLoss must follow the gradients of a step, got ${
          this.#current === undefined ? "no step" : "no gradients"
        }`,
      );
    }
    if (loss !== undefined) this.losses.record(loss, this.#current.phase);
    this.#machine.end(loss);
    this.#clock.end(this.#current.phase);
    this.#current = undefined;
  }

  /**
   * Gives up a step before its gradients were delivered, for instance because they overflowed: it counts
   * nowhere, and the next one is of the same phase.
   */
  skip(): void {
    if (this.#current === undefined || this.#isDelivered) {
      throw tritterError(
        "invalid_value",
        `skip must be called in a step before its gradients are there, got ${
          this.#current === undefined ? "no step" : "one that has them"
        }`,
      );
    }
    this.#current = undefined;
  }

  /** Begins again: with the configured lengths, no gradients and no losses. */
  reset(): void {
    this.#current = undefined;
    this.#machine.moveTo();
    this.#clock.reset();
    this.predictor.reset();
    this.losses.clear();
  }

  /**
   * Returns what `restore` needs to go on exactly from here, its losses included. Throws `invalid_value` within a step, `unsupported` where the predictor cannot be saved.
   */
  save(): TrainingState {
    this.#expectBetweenSteps("save");
    const predictor = this.predictor.save?.();
    if (predictor === undefined) throw this.#notSaved();
    return {
      values: {
        version: STATE_VERSION,
        position: structuredClone(this.#machine.position),
        times: this.#clock.save(),
        losses: this.losses.toJSON(),
        predictor: predictor.values,
      },
      arrays: predictor.arrays,
    };
  }

  /**
   * Goes on from where a trainer of the same sizes and configuration was saved.
   *
   * Throws `invalid_format`, and changes nothing, where the state is not one of these.
   */
  restore(state: TrainingState): void {
    this.#expectBetweenSteps("restore");
    const given = readState(state, "state");
    const values = readPart(given, "values");
    readVersion(values, STATE_VERSION, "state");
    const position = readPosition(readPart(values, "position"));
    const times = PhaseClock.read(readPart(values, "times"));
    const losses = readPart(values, "losses") as unknown as LossHistoryState;
    // What it is checked by, before anything has changed.
    new LossHistory(this.losses.config).restore(losses);
    if (this.predictor.restore === undefined) throw this.#notSaved();
    this.predictor.restore({
      values: readPart(values, "predictor"),
      arrays: readPart(given, "arrays") as TrainingState["arrays"],
    });
    this.#machine.moveTo(position);
    this.#clock.restore(times);
    this.losses.restore(losses);
  }

  #notSaved(): Error {
    return tritterError("unsupported", "The predictor can be neither saved nor restored");
  }

  #expectBetweenSteps(method: string): void {
    if (this.#current === undefined) return;
    throw tritterError(
      "invalid_value",
      `${method} must be called between two steps, got a call within one`,
    );
  }
}

const METHODS = ["record", "predict", "correct", "reset"] as const;

function checkPredictor(value: Predictor): Predictor {
  const isOne = typeof value === "object" && value !== null &&
    METHODS.every((method) => typeof value[method] === "function");
  if (isOne) return value;
  throw tritterError(
    "invalid_type",
    `predictor must be an object with the methods ${METHODS.join(", ")}, got ${describe(value)}`,
  );
}
