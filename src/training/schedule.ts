// How the learning rate changes over the steps of a training.

import { checkChoice, checkCount, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";

/** Options of `learningRateSchedule`. */
export interface LearningRateOptions {
  /** The highest learning rate. */
  learningRate: number;
  /**
   * The way down after the warm-up: none, half a cosine, a line, or a line over the last `decaySteps`
   * only (`"warmup-stable-decay"`). Default: `"constant"`.
   */
  schedule?: "constant" | "cosine" | "linear" | "warmup-stable-decay" | undefined;
  /** Steps of the whole training, at whose end the lowest rate is reached; not for `"constant"`. */
  steps?: number | undefined;
  /** Steps of the way up, a line from near 0. Default: 0. */
  warmupSteps?: number | undefined;
  /** The lowest rate after the way down. Default: 0. */
  minLearningRate?: number | undefined;
  /** Steps of the way down of `"warmup-stable-decay"`. Default: a tenth of `steps`. */
  decaySteps?: number | undefined;
}

const SCHEDULES = ["constant", "cosine", "linear", "warmup-stable-decay"] as const;

/**
 * Returns the learning rate as a function of the step, the first of which is 0.
 *
 * The warm-up gives step i the rate (i + 1) / (`warmupSteps` + 1) of the highest, so that no step is
 * lost on a rate of 0. After the last step the lowest rate stays. Source: Loshchilov and Hutter,
 * arXiv:1608.03983 (cosine); Hu et al., arXiv:2404.06395 (warm-up, stable, decay).
 *
 * @example
 * ```ts
 * import { learningRateSchedule } from "tritter-accel";
 *
 * const rate = learningRateSchedule({
 *   learningRate: 1e-3,
 *   schedule: "cosine",
 *   steps: 1000,
 *   warmupSteps: 9,
 * });
 * console.log(rate(0), rate(9), rate(1000)); // 0.0001 0.001 0
 * ```
 */
export function learningRateSchedule(options: LearningRateOptions): (step: number) => number {
  const given = checkOptions(options, "options");
  const highest = checkNumber(given.learningRate, "learningRate", { min: 0 });
  const schedule = checkChoice(given.schedule, SCHEDULES, "schedule", "constant");
  const warmup = checkCount(given.warmupSteps ?? 0, "warmupSteps");
  const lowest = checkNumber(given.minLearningRate ?? 0, "minLearningRate", {
    min: 0,
    max: highest,
  });
  const steps = schedule === "constant" ? warmup : checkCount(given.steps, "steps", { min: 1 });
  if (steps < warmup) {
    throw tritterError("invalid_value", `warmupSteps must be at most ${steps}, got ${warmup}`);
  }
  const decay = schedule === "warmup-stable-decay"
    ? checkCount(given.decaySteps ?? Math.ceil((steps - warmup) / 10), "decaySteps", {
      max: steps - warmup,
    })
    : steps - warmup;
  return (step) => {
    checkNumber(step, "step", { min: 0 });
    if (step < warmup) return highest * (step + 1) / (warmup + 1);
    if (schedule === "constant") return highest;
    if (step >= steps) return lowest;
    const down = Math.max(0, (step - (steps - decay)) / decay);
    const kept = schedule === "cosine" ? (1 + Math.cos(Math.PI * down)) / 2 : 1 - down;
    return lowest + (highest - lowest) * kept;
  };
}
