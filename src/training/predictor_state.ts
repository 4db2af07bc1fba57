// Predictors between two runs of a program.

import { checkArray } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { ErrorLog, type GradientRing } from "./predictor.ts";
import {
  readList,
  readNumber,
  readPart,
  readState,
  readVersion,
  readWhole,
  type TrainingState,
} from "./state.ts";

/** What a predictor knows besides its gradients. */
export interface PredictorPosition {
  /** The step that comes next. */
  step: number;
  /** The step of the newest gradients, or -1. */
  lastStep: number;
  /** Predictions made. */
  predicted: number;
  /** Relative errors of the last corrections. */
  lastErrors: number[];
  errors: ErrorLog;
}

/** Before the first step. */
export function startPosition(): PredictorPosition {
  return { step: 0, lastStep: -1, predicted: 0, lastErrors: [], errors: new ErrorLog() };
}

const VERSION = 1;

function arrayName(at: number): string {
  return `history.${at}`;
}

/** The state of a predictor; its arrays are those of the ring. */
export function writePredictor(ring: GradientRing, position: PredictorPosition): TrainingState {
  const { errors, ...rest } = position;
  return {
    values: {
      version: VERSION,
      ...rest,
      lastErrors: [...position.lastErrors],
      recorded: ring.recorded,
      steps: [...ring.steps],
      errors: {
        corrections: errors.corrections,
        relativeErrors: errors.relativeErrors,
        cosines: errors.cosines,
      },
    },
    arrays: Object.fromEntries(ring.slots.map((slots, at) => [arrayName(at), slots])),
  };
}

/** The steps of the slots: from the oldest gradients to the newest they grow, up to the last step. */
function readSteps(
  values: readonly unknown[],
  recorded: number,
  capacity: number,
  lastStep: number,
): number[] {
  const used = Math.min(recorded, capacity);
  if (values.length !== used) {
    throw tritterError("invalid_format", `steps must be ${used} numbers, got ${values.length}`);
  }
  const steps = values.map((steps) => readWhole({ steps }, "steps"));
  const first = recorded <= capacity ? 0 : recorded % capacity;
  const inOrder = [...steps.slice(first), ...steps.slice(0, first)];
  const grow = inOrder.every((step, at) => at === 0 || step > inOrder[at - 1]!);
  if (grow && (inOrder.at(-1) ?? -1) === lastStep) return steps;
  throw tritterError(
    "invalid_format",
    `steps must grow up to the last one, ${lastStep}, got ${inOrder.join(", ")}`,
  );
}

/** Checks a state, and only then fills the ring; returns the rest of it. */
export function readPredictor(ring: GradientRing, state: TrainingState): PredictorPosition {
  const given = readState(state, "state");
  const values = readPart(given, "values");
  const arrays = readPart(given, "arrays");
  readVersion(values, VERSION, "state");
  const recorded = readWhole(values, "recorded");
  const step = readWhole(values, "step");
  const lastStep = readNumber(values, "lastStep", { min: -1, max: step - 1, whole: true });
  const steps = readSteps(readList(values, "steps"), recorded, ring.capacity, lastStep);
  const lastErrors = readList(values, "lastErrors").slice(0, 64)
    .map((lastErrors) => readNumber({ lastErrors }, "lastErrors", { min: 0 }));
  const predicted = readWhole(values, "predicted");
  const errors = readErrors(readPart(values, "errors"));
  const sources = ring.slots.map((slots, at) => {
    const array = arrays[arrayName(at)];
    if (array === undefined) {
      throw tritterError("invalid_format", `arrays must have ${arrayName(at)}, got none`);
    }
    return checkArray(array, Float32Array, arrayName(at), slots.length);
  });
  sources.forEach((source, at) => ring.slots[at]!.set(source));
  ring.recorded = recorded;
  ring.steps = steps;
  return { step, lastStep, predicted, lastErrors, errors };
}

function readErrors(values: Record<string, unknown>): ErrorLog {
  const errors = new ErrorLog();
  errors.corrections = readWhole(values, "corrections");
  errors.relativeErrors = readNumber(values, "relativeErrors", { min: 0 });
  errors.cosines = readNumber(values, "cosines");
  return errors;
}
