// What a checkpoint says of a run beside its arrays, and whether it is the same run.

import { tritterError } from "../errors.ts";
import type { LossScalerState } from "./loss_scaler.ts";
import type { TrainerPlan } from "./trainer_options.ts";

/** What must not change between a run and its resume: a different run would follow. */
interface RunKey {
  readonly seed: number;
  readonly batchSize: number;
  readonly accumulation: number;
  readonly length: number;
  readonly rows: number;
  readonly clipNorm: number;
}

/** What identifies a run, of its plan. */
type KeyPlan = Pick<
  TrainerPlan<never>,
  "seed" | "batchSize" | "accumulation" | "clipNorm" | "data"
>;

/** How far a run is. */
export interface RunState extends RunKey {
  readonly step: number;
  readonly position: number;
  readonly tokens: number;
  readonly seconds: number;
  readonly optimizerSteps: number;
  /** The loss scaler as its own JSON; null for none. */
  readonly lossScaler: LossScalerState | null;
  readonly hooks: Readonly<Record<string, unknown>>;
}

/** Returns what identifies a run. */
export function runKey(plan: KeyPlan): RunKey {
  const { seed, batchSize, accumulation, clipNorm, data: { length, rows } } = plan;
  return { seed, batchSize, accumulation, length, rows, clipNorm };
}

/** Checks what was read from a checkpoint against the run that wants to go on with it. */
export function checkRunState(
  json: Readonly<Record<string, unknown>>,
  plan: KeyPlan & Pick<TrainerPlan<never>, "lossScaling"> & {
    readonly hooks: readonly { readonly name: string }[];
  },
  path: string,
): RunState {
  for (const [name, wanted] of Object.entries(runKey(plan))) {
    if (json[name] === wanted) continue;
    throw tritterError(
      "invalid_option",
      `${path} belongs to a run with ${name} ${String(json[name])}, got ${wanted}`,
    );
  }
  for (const name of ["step", "position", "tokens", "optimizerSteps"]) {
    if (Number.isSafeInteger(json[name]) && (json[name] as number) >= 0) continue;
    throw tritterError("invalid_format", `${path}: ${name} must be a count, got ${json[name]}`);
  }
  const { seconds, hooks } = json;
  if (typeof seconds !== "number" || !(seconds >= 0)) {
    throw tritterError("invalid_format", `${path}: seconds must be a number, got ${seconds}`);
  }
  if (typeof hooks !== "object" || hooks === null) {
    throw tritterError("invalid_format", `${path}: hooks must be an object, got ${hooks}`);
  }
  if ((json.lossScaler === null) !== (plan.lossScaling === undefined)) {
    throw tritterError(
      "invalid_option",
      `${path} belongs to a run ${json.lossScaler === null ? "without" : "with"} loss scaling`,
    );
  }
  const names = plan.hooks.map(({ name }) => name);
  if (Object.keys(hooks).sort().join() !== [...names].sort().join()) {
    throw tritterError(
      "invalid_option",
      `${path} belongs to a run with the hooks [${Object.keys(hooks).join(", ")}], got [${
        names.join(", ")
      }]`,
    );
  }
  return json as unknown as RunState;
}
