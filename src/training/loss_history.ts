// The losses of a training run, and what they say.

import { checkChoice, checkCount, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { type LossStatistics, meanOf, statisticsOf } from "./loss_statistics.ts";
import type { Phase } from "./phases.ts";
import { readList, readNumber, readPart, readState, readVersion, readWhole } from "./state.ts";

/** What a `LossHistory` keeps and what it takes for news. */
export interface LossHistoryConfig {
  /** Most losses to keep; older ones are forgotten. Default: 1000. */
  maxHistory?: number | undefined;
  /** Losses of rolling statistics and of anomalies. Default: 20. */
  rollingWindow?: number | undefined;
  /** Standard deviations above the mean that make a loss a spike. Default: 3. */
  spikeThreshold?: number | undefined;
  /** Growth of the mean from one window to the next that is a divergence: 1.2 is by a fifth. Default: 1.2. */
  divergenceThreshold?: number | undefined;
  /** Losses that `isConverging` looks at. Default: 50. */
  convergenceWindow?: number | undefined;
  /** Relative drop of the mean that it asks for. Default: 0.01. */
  convergenceThreshold?: number | undefined;
  /** Milliseconds from any fixed moment. Default: `performance.now`. */
  clock?: (() => number) | undefined;
}

/** One recorded loss. */
export interface LossMeasurement {
  /** Number of the record, from 0. */
  step: number;
  /** The loss. */
  loss: number;
  /** The phase it was recorded for. */
  phase: Phase;
  /** Milliseconds since the history began. */
  elapsedMs: number;
}

/** Something about the newest losses that calls for a look. */
export interface LossAnomaly {
  /** A loss far above those before it, or a mean that grows. */
  kind: "spike" | "divergence";
  /** Number of the newest record. */
  step: number;
  /** Standard deviations above the mean of the losses before, or the newer mean over the older. */
  value: number;
  /** What `value` is above of. */
  threshold: number;
}

/** A `LossHistory` as JSON. */
export interface LossHistoryState {
  /** Version of this format. */
  version: 1;
  /** The configuration. */
  config: { [key in Exclude<keyof LossHistoryConfig, "clock">]-?: number };
  /** Records ever made, forgotten ones among them. */
  steps: number;
  /** Milliseconds since the history began. */
  elapsedMs: number;
  /** The records that are kept, oldest first: loss, phase, milliseconds. */
  records: [loss: number, phase: Phase, elapsedMs: number][];
}

const VERSION = 1;
const KEPT_MAX = 2 ** 24;
const PHASES: readonly Phase[] = ["warmup", "full", "predict", "correct"];
/** Spreads below this share of the mean are rounding, not noise. */
const SPREAD_MIN = 1e-6;

function checkConfig(config: LossHistoryConfig): LossHistoryState["config"] {
  const count = (field: "maxHistory" | "rollingWindow" | "convergenceWindow", fallback: number) =>
    checkCount(config[field] ?? fallback, field, {
      min: field === "convergenceWindow" ? 2 : 1,
      max: KEPT_MAX,
    });
  return {
    maxHistory: count("maxHistory", 1000),
    rollingWindow: count("rollingWindow", 20),
    spikeThreshold: checkNumber(config.spikeThreshold ?? 3, "spikeThreshold", { min: 0 }),
    divergenceThreshold: checkNumber(config.divergenceThreshold ?? 1.2, "divergenceThreshold", {
      min: 1,
    }),
    convergenceWindow: count("convergenceWindow", 50),
    convergenceThreshold: checkNumber(
      config.convergenceThreshold ?? 0.01,
      "convergenceThreshold",
    ),
  };
}

/**
 * The losses of a training run: statistics, trends, spikes, and JSON in and out.
 *
 * @example
 * ```ts
 * import { LossHistory } from "tritter-accel";
 *
 * const history = new LossHistory({ rollingWindow: 4 });
 * for (const loss of [2.1, 2, 1.9, 2, 6]) history.record(loss);
 * console.log(history.rollingAverage(), history.detectAnomalies()[0]?.kind); // 2.975 spike
 * const copy = LossHistory.fromJSON(JSON.stringify(history));
 * console.log(copy.currentLoss()); // 6
 * ```
 */
export class LossHistory {
  /** The configuration, without the clock. */
  readonly config: Readonly<LossHistoryState["config"]>;

  readonly #clock: () => number;
  #records: LossMeasurement[] = [];
  #steps = 0;
  #started: number;

  /** Begins with no losses. */
  constructor(config?: LossHistoryConfig) {
    const options = checkOptions(config, "config");
    this.config = Object.freeze(checkConfig(options));
    this.#clock = checkClock(options.clock);
    this.#started = this.#clock();
  }

  /**
   * Restores a history from what `toJSON` gave, as an object or as text; time goes on from there.
   *
   * Throws `invalid_format` where it is anything else.
   */
  static fromJSON(
    state: LossHistoryState | string,
    options?: { clock?: (() => number) | undefined },
  ): LossHistory {
    const values = readState(state, "state");
    const { clock } = checkOptions(options, "options");
    const given = readPart(values, "config");
    const history = new LossHistory({
      maxHistory: readWhole(given, "maxHistory", 1),
      rollingWindow: readWhole(given, "rollingWindow", 1),
      spikeThreshold: readNumber(given, "spikeThreshold", { min: 0 }),
      divergenceThreshold: readNumber(given, "divergenceThreshold", { min: 1 }),
      convergenceWindow: readWhole(given, "convergenceWindow", 2),
      convergenceThreshold: readNumber(given, "convergenceThreshold"),
      clock,
    });
    history.restore(values as unknown as LossHistoryState);
    return history;
  }

  /**
   * Takes over the losses of what `toJSON` gave, not its configuration; time goes on from there.
   *
   * Throws `invalid_format`, and changes nothing, where it is anything else or has more losses than
   * this history keeps.
   */
  restore(state: LossHistoryState | string): void {
    const values = readState(state, "state");
    readVersion(values, VERSION, "state");
    const records = readList(values, "records");
    const steps = readWhole(values, "steps");
    const most = Math.min(steps, this.config.maxHistory);
    if (records.length > most) {
      throw tritterError(
        "invalid_format",
        `records must be at most ${most}, got ${records.length}`,
      );
    }
    const taken = records.map((record, at) => readRecord(record, at, steps - records.length + at));
    const elapsed = readNumber(values, "elapsedMs", { min: 0 });
    this.#records = taken;
    this.#steps = steps;
    this.#started = this.#clock() - elapsed;
  }

  /** Records ever made. */
  get steps(): number {
    return this.#steps;
  }

  /** Records that are kept. */
  get length(): number {
    return this.#records.length;
  }

  /** The newest loss, or `undefined`. */
  currentLoss(): number | undefined {
    return this.#records.at(-1)?.loss;
  }

  /** Milliseconds since the history began. */
  get elapsedMs(): number {
    return this.#clock() - this.#started;
  }

  /** Adds a loss; throws `invalid_value`, and adds nothing, where it is NaN or infinite. */
  record(loss: number, phase: Phase = "full"): void {
    checkNumber(loss, "loss");
    checkChoice(phase, PHASES, "phase", "full");
    this.#records.push({ step: this.#steps, loss, phase, elapsedMs: this.elapsedMs });
    this.#steps += 1;
    if (this.#records.length > this.config.maxHistory) this.#records.shift();
  }

  /** Copies of the records, oldest first; of one phase, or of all. */
  measurements(phase?: Phase): LossMeasurement[] {
    if (phase !== undefined) checkChoice(phase, PHASES, "phase", phase);
    return this.#records.filter((record) => phase === undefined || record.phase === phase)
      .map((record) => ({ ...record }));
  }

  #newest(count: number): number[] {
    return this.#records.slice(-count).map(({ loss }) => loss);
  }

  /**
   * Statistics of the newest losses, of all that are kept without a number; `undefined` where there are
   * none.
   */
  statistics(window?: number): LossStatistics | undefined {
    const count = window === undefined
      ? this.#records.length
      : checkCount(window, "window", { min: 1 });
    return this.#records.length === 0 ? undefined : statisticsOf(this.#newest(count));
  }

  #rolling(window: number | undefined): LossStatistics | undefined {
    const count = checkCount(window ?? this.config.rollingWindow, "window", { min: 1 });
    return this.#records.length < count ? undefined : statisticsOf(this.#newest(count));
  }

  /** Mean of the newest `window` losses (`rollingWindow`), or `undefined` where there are fewer. */
  rollingAverage(window?: number): number | undefined {
    return this.#rolling(window)?.mean;
  }

  /** Population variance of the same losses. */
  rollingVariance(window?: number): number | undefined {
    return this.#rolling(window)?.variance;
  }

  /** Standard deviation of the same losses. */
  rollingStdDev(window?: number): number | undefined {
    return this.#rolling(window)?.stdDev;
  }

  /**
   * Whether the mean of the newer half of the newest `window` losses is below that of the older half by
   * more than `threshold` of its size. The middle one of an odd number counts as new. False where there
   * are fewer losses.
   */
  isConverging(
    options?: { window?: number | undefined; threshold?: number | undefined },
  ): boolean {
    const { window, threshold } = checkOptions(options, "options");
    const count = checkCount(window ?? this.config.convergenceWindow, "window", { min: 2 });
    const least = checkNumber(threshold ?? this.config.convergenceThreshold, "threshold");
    if (this.#records.length < count) return false;
    const losses = this.#newest(count);
    const older = meanOf(losses.slice(0, count >> 1));
    const newer = meanOf(losses.slice(count >> 1));
    return older - newer > least * Math.abs(older);
  }

  /**
   * Share of the oldest loss kept that has gone since: (first - last) / |first|. Negative where the loss
   * has grown, `undefined` with fewer than two losses or a first one of 0.
   */
  improvementRate(): number | undefined {
    const first = this.#records[0]?.loss;
    if (this.#records.length < 2 || !first) return undefined;
    return (first - this.currentLoss()!) / Math.abs(first);
  }

  /**
   * Looks for a spike, the newest loss far above the mean of the `window` losses before it, and for a
   * divergence, the mean of the newest `window` losses above that of the `window` before them.
   *
   * The newest loss is no part of the mean and the deviation that it is compared with. With fewer
   * losses than that there is nothing to find: a spike needs 3, and the window is cut to what there is.
   */
  detectAnomalies(window?: number): LossAnomaly[] {
    const count = checkCount(window ?? this.config.rollingWindow, "window", { min: 2 });
    return [this.#spike(count), this.#divergence(count)].filter((found) => found !== undefined);
  }

  #spike(count: number): LossAnomaly | undefined {
    const losses = this.#newest(count + 1);
    if (losses.length < 3) return undefined;
    const newest = losses.pop()!;
    const { mean, stdDev } = statisticsOf(losses);
    const spread = Math.max(stdDev, SPREAD_MIN * Math.abs(mean), Number.MIN_VALUE);
    const value = (newest - mean) / spread;
    const threshold = this.config.spikeThreshold;
    return value > threshold
      ? {
        kind: "spike",
        step: this.#steps - 1,
        value: Math.min(value, Number.MAX_VALUE),
        threshold,
      }
      : undefined;
  }

  #divergence(count: number): LossAnomaly | undefined {
    if (this.#records.length < 2 * count) return undefined;
    const losses = this.#newest(2 * count);
    const older = meanOf(losses.slice(0, count));
    const newer = meanOf(losses.slice(count));
    const threshold = this.config.divergenceThreshold;
    // For a loss above 0 that is newer > threshold * older.
    if (!(newer - older > (threshold - 1) * Math.abs(older))) return undefined;
    const value = older === 0 ? Number.MAX_VALUE : 1 + (newer - older) / Math.abs(older);
    return { kind: "divergence", step: this.#steps - 1, value, threshold };
  }

  /** Statistics of the losses of each phase that has any. */
  phaseSummary(): Partial<Record<Phase, LossStatistics>> {
    const summary: Partial<Record<Phase, LossStatistics>> = {};
    for (const phase of PHASES) {
      const losses = this.#records.filter((record) => record.phase === phase)
        .map(({ loss }) => loss);
      if (losses.length > 0) summary[phase] = statisticsOf(losses);
    }
    return summary;
  }

  /** Forgets everything, and begins to count and to measure time again. */
  clear(): void {
    this.#records = [];
    this.#steps = 0;
    this.#started = this.#clock();
  }

  /** Returns all there is to know, for `JSON.stringify` and `fromJSON`. */
  toJSON(): LossHistoryState {
    return {
      version: VERSION,
      config: { ...this.config },
      steps: this.#steps,
      elapsedMs: this.elapsedMs,
      records: this.#records.map(({ loss, phase, elapsedMs }) => [loss, phase, elapsedMs]),
    };
  }
}

/** Checks a clock; the default one is the runtime's. */
export function checkClock(clock: (() => number) | undefined): () => number {
  if (clock === undefined) return () => performance.now();
  if (typeof clock === "function") return clock;
  throw tritterError("invalid_type", "clock must be a function that returns milliseconds");
}

function readRecord(value: unknown, at: number, step: number): LossMeasurement {
  if (!Array.isArray(value) || !PHASES.includes(value[1])) {
    throw tritterError(
      "invalid_format",
      `records[${at}] must be a loss, a phase and milliseconds, got something else`,
    );
  }
  const record = { loss: value[0] as unknown, elapsedMs: value[2] as unknown };
  return {
    step,
    loss: readNumber(record, "loss"),
    phase: value[1] as Phase,
    elapsedMs: readNumber(record, "elapsedMs", { min: 0 }),
  };
}
