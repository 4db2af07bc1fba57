// How long the steps of each phase take.

import type { Phase } from "./phases.ts";
import { readNumber, readWhole } from "./state.ts";

/** Times of full steps and of all steps; all of it is JSON. */
export interface PhaseTimes {
  /** Milliseconds of all steps. */
  totalMs: number;
  /** Milliseconds of warm-up and full steps, which are what plain training would do. */
  plainMs: number;
  /** Number of these steps. */
  plainSteps: number;
}

/** Adds up the times between the beginnings and the ends of steps. */
export class PhaseClock {
  readonly #now: () => number;
  #times: PhaseTimes = { totalMs: 0, plainMs: 0, plainSteps: 0 };
  #began = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  get elapsedMs(): number {
    return this.#times.totalMs;
  }

  begin(): void {
    this.#began = this.#now();
  }

  end(phase: Phase): void {
    const duration = Math.max(0, this.#now() - this.#began);
    this.#times.totalMs += duration;
    if (phase !== "warmup" && phase !== "full") return;
    this.#times.plainMs += duration;
    this.#times.plainSteps += 1;
  }

  /** Time that as many plain steps would have taken over the time that all steps took. */
  speedup(steps: number): number | undefined {
    const { totalMs, plainMs, plainSteps } = this.#times;
    if (plainSteps === 0 || !(totalMs > 0)) return undefined;
    return steps * (plainMs / plainSteps) / totalMs;
  }

  reset(): void {
    this.#times = { totalMs: 0, plainMs: 0, plainSteps: 0 };
  }

  save(): PhaseTimes {
    return { ...this.#times };
  }

  restore(times: PhaseTimes): void {
    this.#times = { ...times };
  }

  static read(values: Record<string, unknown>): PhaseTimes {
    return {
      totalMs: readNumber(values, "totalMs", { min: 0 }),
      plainMs: readNumber(values, "plainMs", { min: 0 }),
      plainSteps: readWhole(values, "plainSteps"),
    };
  }
}
