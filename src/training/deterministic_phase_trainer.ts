// The phase trainer whose predictions come from a line through past gradients.

import { checkCount, checkOptions } from "../checks.ts";
import { DeterministicPredictor } from "./deterministic_predictor.ts";
import type { GradientSizes } from "./gradients.ts";
import { PhaseTrainer, type PhaseTrainerOptions } from "./phase_trainer.ts";
import type { PhaseAdaptation } from "./phases.ts";

/**
 * What a `DeterministicPhaseTrainer` can be told. Defaults of its lengths: a warm-up of 10 steps, 5 full
 * steps, 20 predicted ones, a correction every 5.
 */
export interface DeterministicPhaseConfig extends PhaseTrainerOptions {
  /** See `DeterministicPredictor`. Default: 8. */
  historyWindow?: number | undefined;
  /** See `DeterministicPredictor`. Default: 0.95. */
  historyDecay?: number | undefined;
  /** See `DeterministicPredictor`. Default: 1. */
  velocityScale?: number | undefined;
}

const ADAPTATION: PhaseAdaptation = {
  worse: [2, -5],
  better: [-1, 3],
  full: [3, 30],
  predict: [5, 50],
};

/**
 * A phase trainer with a `DeterministicPredictor`: a warm-up, then rounds of full, predicted and
 * corrected steps.
 *
 * With the defaults, no adaptation and an infinite `residualThreshold` a round is 26 steps with 9
 * backward passes, so the step speed-up tends to 2.89; what it does to the loss and to the time is
 * another matter, see `PhaseTrainer` and examples/predicted_gradients.ts.
 *
 * The warm-up counts gradients, not what the history holds, so it ends whatever `historyWindow` is.
 *
 * @example
 * ```ts
 * import { DeterministicPhaseTrainer } from "tritter-accel";
 *
 * const trainer = new DeterministicPhaseTrainer(3, { residualThreshold: Infinity });
 * const gradients = new Float32Array(3);
 * for (let step = 0; step < 100; step += 1) {
 *   const { phase } = trainer.next();
 *   if (phase === "predict") trainer.predict({ out: gradients });
 *   else if (phase === "correct") trainer.correct(gradients);
 *   else trainer.recordFull(gradients.fill(step));
 *   trainer.recordLoss(1 / (step + 1));
 * }
 * console.log(trainer.stats.backwardSteps < 50, trainer.stats.stepSpeedup > 2); // true true
 * ```
 */
export class DeterministicPhaseTrainer extends PhaseTrainer {
  /** Makes a trainer for gradients of these lengths. */
  constructor(sizes: GradientSizes, config?: DeterministicPhaseConfig) {
    const options = checkOptions(config, "config");
    const warmupSteps = checkCount(options.warmupSteps ?? 10, "warmupSteps");
    const predictSteps = options.predictSteps ?? 20;
    super(sizes, {
      ...options,
      warmupSteps,
      predictSteps,
      fullSteps: options.fullSteps ?? 5,
      correctEvery: options.correctEvery ?? 5,
      adaptive: (options.adaptive ?? true) === true ? ADAPTATION : options.adaptive,
      predictor: new DeterministicPredictor(sizes, {
        warmupSteps: Math.max(warmupSteps, 1),
        historyWindow: options.historyWindow,
        predictionHorizon: predictSteps,
        historyDecay: options.historyDecay,
        velocityScale: options.velocityScale,
        residualThreshold: options.residualThreshold,
      }),
    });
  }
}
