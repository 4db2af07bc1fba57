// The phases of predicted-gradient training, and the rules by which they follow each other.

import { checkCount, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { meanOf } from "./loss_statistics.ts";

/**
 * What a step of training is.
 *
 * | phase       | gradients                                                            |
 * | ----------- | -------------------------------------------------------------------- |
 * | `"warmup"`  | backward pass; the predictor has not seen enough yet                 |
 * | `"full"`    | backward pass                                                        |
 * | `"predict"` | predicted from earlier ones, no backward pass                        |
 * | `"correct"` | backward pass, which also shows how far off a prediction would be    |
 */
export type Phase = "warmup" | "full" | "predict" | "correct";

/** A step that begins. */
export interface StepInfo {
  /** What the step is. */
  phase: Phase;
  /** Steps that the phase has had; corrections count among predictions. */
  phaseStep: number;
  /** Steps before this one. */
  step: number;
  /** Rounds of full, predicted and corrected steps before this one. */
  cycle: number;
  /** Whether the step before was of another phase. */
  phaseChanged: boolean;
  /** Whether the step needs a backward pass: all phases but `"predict"`. */
  needsBackward: boolean;
}

/**
 * How phase lengths follow the loss, at the beginning of each round.
 *
 * Of the last 100 losses, at least 20, the mean of the newest 10 is compared with that of the oldest
 * 10: where it has grown by more than `lossThreshold` the `worse` changes are made, where it has
 * shrunk by more than 5 % the `better` ones.
 */
export interface PhaseAdaptation {
  /** Changes of full and predicted steps when the loss grows. */
  worse: readonly [full: number, predict: number];
  /** Changes of full and predicted steps when it shrinks. */
  better: readonly [full: number, predict: number];
  /** Least and most full steps. */
  full: readonly [least: number, most: number];
  /** Least and most predicted steps. */
  predict: readonly [least: number, most: number];
}

/** Lengths of the phases. */
export interface PhaseLengths {
  /** Steps before the first prediction. */
  warmupSteps?: number | undefined;
  /** Full steps of a round. */
  fullSteps?: number | undefined;
  /** Predicted and corrected steps of a round. */
  predictSteps?: number | undefined;
  /** A correction follows where the number of steps in the round's predictions divides by this. */
  correctEvery?: number | undefined;
}

/** How many steps there were of each phase. */
export type PhaseCounts = Record<Phase, number>;

/** What a machine needs to know of its predictor. */
export interface PhaseConditions {
  /** Whether there can be predictions. */
  isReady: boolean;
  /** Whether the next step should rather be a correction. */
  needsCorrection: boolean;
}

const LOSSES_KEPT = 100;
const LOSSES_NEEDED = 20;
const LOSSES_COMPARED = 10;
const BETTER = 0.95;

/** Checks the lengths of phases; all must be given. */
export function checkLengths(
  lengths: Required<PhaseLengths>,
): { [key in keyof PhaseLengths]-?: number } {
  return {
    warmupSteps: checkCount(lengths.warmupSteps, "warmupSteps"),
    fullSteps: checkCount(lengths.fullSteps, "fullSteps", { min: 1 }),
    predictSteps: checkCount(lengths.predictSteps, "predictSteps", { min: 1 }),
    correctEvery: checkCount(lengths.correctEvery, "correctEvery", { min: 1 }),
  };
}

function checkPair(
  value: unknown,
  name: string,
  { min }: { min: number },
): readonly [number, number] {
  if (!Array.isArray(value) || value.length !== 2) {
    throw tritterError("invalid_type", `${name} must be a pair of numbers`);
  }
  return [0, 1].map((at) => {
    const number = checkNumber(value[at], `${name}[${at}]`, { min, max: 2 ** 31 });
    if (Number.isInteger(number)) return number;
    throw tritterError("invalid_value", `${name}[${at}] must be an integer, got ${number}`);
  }) as [number, number];
}

/** Checks how phases adapt, and returns a copy. */
export function checkAdaptation(value: PhaseAdaptation): PhaseAdaptation {
  const options = checkOptions(value, "adaptive");
  const copy = {
    worse: checkPair(options.worse, "adaptive.worse", { min: -(2 ** 31) }),
    better: checkPair(options.better, "adaptive.better", { min: -(2 ** 31) }),
    full: checkPair(options.full, "adaptive.full", { min: 1 }),
    predict: checkPair(options.predict, "adaptive.predict", { min: 1 }),
  };
  for (const field of ["full", "predict"] as const) {
    const [least, most] = copy[field];
    if (least <= most) continue;
    throw tritterError(
      "invalid_value",
      `adaptive.${field} must have its least number first, got ${least} and ${most}`,
    );
  }
  return copy;
}

/** Limits never exclude what was configured. */
function moved(length: number, change: number, limits: readonly [number, number], given: number) {
  const [least, most] = [Math.min(limits[0], given), Math.max(limits[1], given)];
  return Math.min(Math.max(length + change, least), most);
}

/** Where a machine stands; all of it is JSON. */
export interface PhasePosition {
  phase: Phase;
  phaseStep: number;
  step: number;
  cycle: number;
  phaseChanged: boolean;
  fullSteps: number;
  predictSteps: number;
  counts: PhaseCounts;
  losses: number[];
  /** Whether a step has begun that has not ended. */
  open: boolean;
}

/** The phases as a machine: one transition at most before each step. */
export class PhaseMachine {
  readonly #lengths: { [key in keyof PhaseLengths]-?: number };
  readonly #adaptation: PhaseAdaptation | undefined;
  readonly #lossThreshold: number;
  #position: PhasePosition;

  constructor(
    lengths: { [key in keyof PhaseLengths]-?: number },
    adaptation: PhaseAdaptation | undefined,
    lossThreshold: number,
  ) {
    this.#lengths = lengths;
    this.#adaptation = adaptation;
    this.#lossThreshold = lossThreshold;
    this.#position = this.#start();
  }

  #start(): PhasePosition {
    return {
      phase: this.#lengths.warmupSteps > 0 ? "warmup" : "full",
      phaseStep: 0,
      step: 0,
      cycle: 0,
      phaseChanged: true,
      fullSteps: this.#lengths.fullSteps,
      predictSteps: this.#lengths.predictSteps,
      counts: { warmup: 0, full: 0, predict: 0, correct: 0 },
      losses: [],
      open: false,
    };
  }

  /** Where the machine stands. */
  get position(): PhasePosition {
    return this.#position;
  }

  /** Goes back to the beginning, or to another position. */
  moveTo(position: PhasePosition = this.#start()): void {
    this.#position = position;
  }

  /** The next step; one that has begun and not ended begins again as it was. */
  begin(conditions: PhaseConditions): StepInfo {
    const at = this.#position;
    if (!at.open) {
      const next = this.#nextPhase(conditions);
      at.phaseChanged = next !== at.phase || at.step === 0;
      if (next !== at.phase) this.#enter(next);
      at.open = true;
    }
    const { phase, phaseStep, step, cycle, phaseChanged } = at;
    return { phase, phaseStep, step, cycle, phaseChanged, needsBackward: phase !== "predict" };
  }

  #nextPhase({ isReady, needsCorrection }: PhaseConditions): Phase {
    const { phase, phaseStep, fullSteps, predictSteps } = this.#position;
    switch (phase) {
      case "warmup":
        return isReady && phaseStep >= this.#lengths.warmupSteps ? "full" : "warmup";
      case "full":
        return isReady && phaseStep >= fullSteps ? "predict" : "full";
      case "predict":
        if (phaseStep > 0 && phaseStep % this.#lengths.correctEvery === 0) return "correct";
        if (phaseStep > 0 && needsCorrection) return "correct";
        return phaseStep >= predictSteps ? "full" : "predict";
      case "correct":
        return phaseStep < predictSteps ? "predict" : "full";
    }
  }

  #enter(next: Phase): void {
    const at = this.#position;
    const from = at.phase;
    at.phase = next;
    if (next === "full") {
      at.phaseStep = 0;
      if (from === "warmup") return;
      at.cycle += 1;
      this.#adapt();
    } else if (from === "full") {
      at.phaseStep = 0;
    }
  }

  /** Counts the step that began. */
  end(loss: number | undefined): void {
    const at = this.#position;
    at.counts[at.phase] += 1;
    at.phaseStep += 1;
    at.step += 1;
    at.open = false;
    if (loss === undefined) return;
    at.losses.push(loss);
    if (at.losses.length > LOSSES_KEPT) at.losses.shift();
  }

  #adapt(): void {
    const at = this.#position;
    if (this.#adaptation === undefined || at.losses.length < LOSSES_NEEDED) return;
    const early = meanOf(at.losses.slice(0, LOSSES_COMPARED));
    const late = meanOf(at.losses.slice(-LOSSES_COMPARED));
    const change = late > early + this.#lossThreshold * Math.abs(early)
      ? this.#adaptation.worse
      : late < early - (1 - BETTER) * Math.abs(early)
      ? this.#adaptation.better
      : [0, 0] as const;
    const { full, predict } = this.#adaptation;
    at.fullSteps = moved(at.fullSteps, change[0], full, this.#lengths.fullSteps);
    at.predictSteps = moved(at.predictSteps, change[1], predict, this.#lengths.predictSteps);
  }
}
