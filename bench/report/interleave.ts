// Measuring several subjects in turn, A B C A B C, so that what changes on the machine in the
// meantime (clock, neighbours, temperature) meets all of them alike.

import { type Limit, type LimitKind, measureLimits } from "../../mod.ts";
import { isBusy, type Load, watchLoad } from "./load.ts";
import { median } from "./statistics.ts";

/** How thorough to be. */
export interface Effort {
  quick: boolean;
  rounds: number;
  /** Time for the samples of one subject in one round. */
  sample_ms: number;
  warmup_ms: number;
  pause_ms: number;
}

/**
 * The pause between two subjects lets the threads of the one before go to sleep: OpenBLAS's spin for
 * about 20 ms after a product, and on two cores they would take one away from the next subject. It
 * also ends our own workers' spinning, so each subject begins cold and warms itself up.
 */
export const FULL: Effort = {
  quick: false,
  rounds: 7,
  sample_ms: 30,
  warmup_ms: 12,
  pause_ms: 60,
};

/** Only to see that everything works. */
export const QUICK: Effort = {
  quick: true,
  rounds: 1,
  sample_ms: 2,
  warmup_ms: 0,
  pause_ms: 1,
};

/** Calls shorter than this are timed several at once, so that the clock does not count. */
const BATCH_MS = 0.02;

const pause = (time_ms: number) => new Promise((resolve) => setTimeout(resolve, time_ms));

/** Something that takes its turn in each round. */
export interface Turn {
  take(effort: Effort): void | Promise<void>;
  /** Forgets what was measured. */
  reset(): void;
}

/** Times single calls. */
export class Timed implements Turn {
  readonly samples_us: number[] = [];
  readonly #run: () => void | Promise<void>;

  constructor(run: () => void | Promise<void>) {
    this.#run = run;
  }

  async take(effort: Effort): Promise<void> {
    const run = this.#run;
    // At least one call that is not timed: it wakes threads and fetches the weights into the caches.
    let calls = 0;
    let shortest = Infinity;
    const began = performance.now();
    do {
      const start = performance.now();
      const promise = run();
      if (promise !== undefined) await promise;
      shortest = Math.min(shortest, performance.now() - start);
      calls++;
    } while (performance.now() - began < effort.warmup_ms);
    const repeat = shortest < BATCH_MS ? Math.ceil(BATCH_MS / Math.max(shortest, 1e-5)) : 1;
    const least = calls === 1 ? 2 : 3;
    let taken = 0;
    const from = performance.now();
    while (taken < least || performance.now() - from < effort.sample_ms) {
      const start = performance.now();
      for (let left = repeat; left > 0; left--) {
        const promise = run();
        if (promise !== undefined) await promise;
      }
      this.samples_us.push((performance.now() - start) * 1000 / repeat);
      taken++;
    }
  }

  reset(): void {
    this.samples_us.length = 0;
  }
}

/** Measures a limit of the machine, in the same rounds as what is compared with it. */
export class Probe implements Turn {
  readonly #limits: Limit[] = [];
  readonly #kind: LimitKind;
  readonly #size_bytes: number;

  constructor(kind: LimitKind, size_bytes: number = 2 ** 20) {
    this.#kind = kind;
    this.#size_bytes = size_bytes;
  }

  take(effort: Effort): void {
    // Reads of several hundred megabytes need some time for a few passes.
    const durationMs = effort.quick ? 2 : this.#size_bytes > 2 ** 26 ? 120 : effort.sample_ms;
    this.#limits.push(
      measureLimits({
        kind: this.#kind,
        sizeBytes: this.#size_bytes,
        durationMs,
      }),
    );
  }

  reset(): void {
    this.#limits.length = 0;
  }

  /** Per second: the median of the rounds' medians, and the best part of any round. */
  get result(): Limit {
    return {
      median: median(this.#limits.map((limit) => limit.median)),
      best: Math.max(...this.#limits.map((limit) => limit.best)),
    };
  }
}

/** How often a case is measured before it is taken as it is. */
const ATTEMPTS = 3;

/**
 * Gives every turn its turn, round after round.
 *
 * What was disturbed by others is thrown away and measured again: the load decides, never a result.
 * Returns the load of what was kept.
 */
export async function interleave(
  turns: readonly Turn[],
  effort: Effort,
): Promise<Load> {
  for (let attempt = 1;; attempt++) {
    const load = watchLoad();
    for (let round = 0; round < effort.rounds; round++) {
      for (const turn of turns) {
        await pause(effort.pause_ms);
        await turn.take(effort);
      }
    }
    const found = load();
    if (effort.quick || attempt === ATTEMPTS || !isBusy(found)) return found;
    for (const turn of turns) turn.reset();
  }
}
