// What is kept of long-lived objects between two runs of a program, read with mistrust.

import { describe } from "../checks.ts";
import { tritterError } from "../errors.ts";

/**
 * What a predictor or a phase trainer keeps between two runs: numbers as JSON, gradients as arrays.
 *
 * The arrays are views of the object's own memory: write them, or copy them, before the next step.
 */
export interface TrainingState {
  /** JSON values: numbers, strings, lists and objects. */
  values: Record<string, unknown>;
  /** Arrays by name, for a safetensors file. */
  arrays: Record<string, Float32Array>;
}

/** The object that a state must be, from an object or from JSON text. */
export function readState(value: unknown, name: string): Record<string, unknown> {
  let state = value;
  if (typeof value === "string") {
    try {
      state = JSON.parse(value);
    } catch (error) {
      throw tritterError("invalid_format", `${name} must be JSON, got ${describe(value)}`, {
        cause: error,
      });
    }
  }
  if (typeof state !== "object" || state === null || Array.isArray(state)) {
    const code = typeof value === "string" ? "invalid_format" : "invalid_type";
    throw tritterError(code, `${name} must be an object, got ${describe(state)}`);
  }
  return state as Record<string, unknown>;
}

/** An object within a state. */
export function readPart(state: Record<string, unknown>, field: string): Record<string, unknown> {
  const value = state[field];
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw tritterError("invalid_format", `${field} must be an object, got ${describe(value)}`);
}

/** A finite number of a state. */
export function readNumber(
  state: Record<string, unknown>,
  field: string,
  { min = -Infinity, max = Infinity, whole = false }: {
    min?: number;
    max?: number;
    whole?: boolean;
  } = {},
): number {
  const value = state[field];
  const isRight = typeof value === "number" && Number.isFinite(value) && value >= min &&
    value <= max && (!whole || Number.isSafeInteger(value));
  if (isRight) return value;
  const kind = whole ? "an integer" : "a number";
  const range = max === Infinity ? `of at least ${min}` : `from ${min} to ${max}`;
  throw tritterError(
    "invalid_format",
    `${field} must be ${kind}${min === -Infinity ? "" : ` ${range}`}, got ${describe(value)}`,
  );
}

/** A count of a state. */
export function readWhole(state: Record<string, unknown>, field: string, min = 0): number {
  return readNumber(state, field, { min, max: Number.MAX_SAFE_INTEGER, whole: true });
}

/** A list of a state; what it holds is for the caller to check. */
export function readList(state: Record<string, unknown>, field: string): readonly unknown[] {
  const value = state[field];
  if (Array.isArray(value)) return value;
  throw tritterError("invalid_format", `${field} must be a list, got ${describe(value)}`);
}

/** Checks that a state was made by this version. */
export function readVersion(state: Record<string, unknown>, version: number, name: string): void {
  if (state.version === version) return;
  throw tritterError(
    "invalid_format",
    `${name} must be of version ${version}, got ${describe(state.version)}`,
  );
}
