// The position of a phase machine, read with mistrust.

import { describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import type { Phase, PhasePosition } from "./phases.ts";
import { readList, readNumber, readPart, readWhole } from "./state.ts";

/** Version of what phase trainers save. */
export const STATE_VERSION = 2;

const PHASES: readonly Phase[] = ["warmup", "full", "predict", "correct"];

function readFlag(values: Record<string, unknown>, field: string): boolean {
  const value = values[field];
  if (typeof value === "boolean") return value;
  throw tritterError("invalid_format", `${field} must be a boolean, got ${describe(value)}`);
}

/** Checks a position, and returns a copy. */
export function readPosition(values: Record<string, unknown>): PhasePosition {
  const phase = PHASES.find((each) => each === values.phase);
  if (phase === undefined) {
    throw tritterError("invalid_format", `phase must be a phase, got ${describe(values.phase)}`);
  }
  const counts = readPart(values, "counts");
  return {
    phase,
    phaseStep: readWhole(values, "phaseStep"),
    step: readWhole(values, "step"),
    cycle: readWhole(values, "cycle"),
    phaseChanged: readFlag(values, "phaseChanged"),
    fullSteps: readWhole(values, "fullSteps", 1),
    predictSteps: readWhole(values, "predictSteps", 1),
    counts: {
      warmup: readWhole(counts, "warmup"),
      full: readWhole(counts, "full"),
      predict: readWhole(counts, "predict"),
      correct: readWhole(counts, "correct"),
    },
    losses: readList(values, "losses").slice(-100)
      .map((losses) => readNumber({ losses }, "losses")),
    open: readFlag(values, "open"),
  };
}
