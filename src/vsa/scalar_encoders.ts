// Encoders of numbers: levels, thermometers and circles.

import { checkCount, checkNumber, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import type { HypervectorBatch } from "./hypervector_batch.ts";
import type { RandomOptions } from "./options.ts";
import {
  checkEncoder,
  checkLevels,
  type Ends,
  type LevelEncoderOptions,
  randomEnds,
  type ScalarEncoderOptions,
  tableOf,
  ValueEncoder,
} from "./value_encoder.ts";

/** Trits that have changed on the way from one end to the other. */
function share(part: number, dim: number): number {
  return Math.round(part * dim);
}

/** Replaces the trits at the places order[from] to order[to]. */
function replace(
  trits: Int8Array,
  source: Int8Array,
  order: Uint32Array,
  from: number,
  to: number,
) {
  for (let place = from; place < to; place++) trits[order[place]!] = source[order[place]!]!;
}

/** Encoders of numbers between two bounds, rounded to evenly spaced levels. */
export abstract class ScalarEncoder extends ValueEncoder<number> {
  /** The number that the first level stands for; smaller ones are taken for it. */
  readonly min: number;
  /** The number that the last level stands for; larger ones are taken for it. */
  readonly max: number;
  /** Number of vectors that numbers are rounded to. */
  readonly levels: number;

  /** Takes over a table. */
  protected constructor(
    table: HypervectorBatch,
    { min, max, levels }: { min: number; max: number; levels: number },
  ) {
    super(table);
    this.min = min;
    this.max = max;
    this.levels = levels;
  }

  /** The row of the nearest level. */
  protected override rowOf(value: number, name: string): number {
    // An infinity is beyond a bound, NaN is nowhere.
    if (typeof value !== "number" || Number.isNaN(value)) checkNumber(value, name);
    const part = (Math.min(Math.max(value, this.min), this.max) - this.min) / (this.max - this.min);
    return Math.round(part * (this.levels - 1));
  }

  /** The number that a level stands for. */
  protected override valueOf(row: number): number {
    return this.min + row / (this.levels - 1) * (this.max - this.min);
  }
}

/**
 * Encodes numbers so that similarity falls linearly with their distance.
 *
 * `levels` vectors between `min` and `max` go from one random vector to another: each step replaces an
 * equal share of the dimensions, in an order that `seed` decides. The cosine of the vectors of x and y
 * is 1 - |x - y| / (max - min) up to 1 / sqrt(dim) or so. Numbers beyond the bounds are taken for the
 * bounds; NaN throws `invalid_value`.
 *
 * It owns native memory: declare it with `using` or call `[Symbol.dispose]()`.
 *
 * @example
 * ```ts
 * import { LevelEncoder } from "tritter-accel";
 *
 * using ages = new LevelEncoder(10_000, { min: 0, max: 100, levels: 101 });
 * using child = ages.encode(10);
 * console.log(child.cosine(ages.encode(20)).toFixed(1)); // 0.9
 * console.log(ages.decode(child)); // 10
 * ```
 */
export class LevelEncoder extends ScalarEncoder {
  /**
   * Makes the vectors of the levels.
   *
   * @example
   * ```ts
   * import { LevelEncoder } from "tritter-accel";
   *
   * using encoder = new LevelEncoder(1000, { levels: 10 });
   * console.log(encoder.levels); // 10
   * ```
   */
  constructor(dim: number, options?: LevelEncoderOptions) {
    const checked = checkOptions(options, "options");
    checkEncoder(dim, checked);
    const range = checkLevels(checked);
    const { first, last, order } = randomEnds(dim, checked);
    const table = tableOf(range.levels, first, checked, (trits, row) => {
      const [from, to] = [row - 1, row].map((step) => share(step / (range.levels - 1), dim));
      replace(trits, last, order, from!, to!);
    });
    super(table, range);
  }
}

/**
 * Encodes numbers as a growing row of 1 in front of -1, as a thermometer.
 *
 * The vector of level i of `levels` has 1 in the first round(i / (levels - 1) x dim) dimensions. The
 * cosine of the vectors of x and y is 1 - 2 |x - y| / (max - min), to within one dimension. Numbers
 * beyond the bounds are taken for the bounds; NaN throws `invalid_value`.
 *
 * It owns native memory: declare it with `using` or call `[Symbol.dispose]()`.
 *
 * @example
 * ```ts
 * import { ThermometerEncoder } from "tritter-accel";
 *
 * using encoder = new ThermometerEncoder(4, { levels: 5 });
 * console.log(encoder.encode(0.25).toInt8Array()); // 1 -1 -1 -1
 * ```
 */
export class ThermometerEncoder extends ScalarEncoder {
  /**
   * Makes the vectors of the levels.
   *
   * @example
   * ```ts
   * import { ThermometerEncoder } from "tritter-accel";
   *
   * using encoder = new ThermometerEncoder(1000, { max: 10, levels: 11 });
   * console.log(encoder.encode(10).counts().positive); // 1000
   * ```
   */
  constructor(dim: number, options?: ScalarEncoderOptions) {
    const checked = checkOptions(options, "options");
    checkEncoder(dim, checked);
    const range = checkLevels(checked);
    const table = tableOf(range.levels, new Int8Array(dim).fill(-1), checked, (trits, row) => {
      trits.fill(1, 0, share(row / (range.levels - 1), dim));
    });
    super(table, range);
  }
}

/** How angles and other numbers that come round again are encoded. */
export interface CircularEncoderOptions extends RandomOptions {
  /** The length of a turn, above 0. Default: 1. */
  period?: number | undefined;
  /** Number of vectors that numbers are rounded to, at least 2. Default: 100. */
  levels?: number | undefined;
  /** Decides the vectors. Default: 0. */
  seed?: number | bigint | undefined;
}

/**
 * Encodes numbers that come round again, such as angles and times of day.
 *
 * Half a turn replaces the dimensions of one random vector by those of another, share by share, and the
 * other half brings them back in the same order: the cosine of the vectors of x and y is
 * 1 - 2 d / period up to 1 / sqrt(dim) or so, with d the shorter way between them. Infinities and NaN
 * throw `invalid_value`.
 *
 * It owns native memory: declare it with `using` or call `[Symbol.dispose]()`.
 *
 * @example
 * ```ts
 * import { CircularEncoder } from "tritter-accel";
 *
 * using hours = new CircularEncoder(10_000, { period: 24, levels: 24 });
 * using late = hours.encode(23);
 * console.log(late.cosine(hours.encode(1)).toFixed(1)); // 0.8
 * ```
 */
export class CircularEncoder extends ValueEncoder<number> {
  /** The length of a turn. */
  readonly period: number;
  /** Number of vectors that numbers are rounded to. */
  readonly levels: number;

  /**
   * Makes the vectors of the levels.
   *
   * @example
   * ```ts
   * import { CircularEncoder } from "tritter-accel";
   *
   * using encoder = new CircularEncoder(1000, { period: 360, levels: 36 });
   * console.log(encoder.encode(-10).equals(encoder.encode(350))); // true
   * ```
   */
  constructor(dim: number, options?: CircularEncoderOptions) {
    const checked = checkOptions(options, "options");
    checkEncoder(dim, checked);
    const period = checkNumber(checked.period ?? 1, "period");
    if (period <= 0) throw tritterError("invalid_value", `period must be above 0, got ${period}`);
    const levels = checkCount(checked.levels ?? 100, "levels", { min: 2, max: 2 ** 24 });
    const ends = randomEnds(dim, checked);
    super(tableOf(levels, ends.first, checked, (trits, row) => turn(trits, ends, row, levels)));
    this.period = period;
    this.levels = levels;
  }

  /** The row of the nearest level. */
  protected override rowOf(value: number, name: string): number {
    const part = (checkNumber(value, name) % this.period) / this.period;
    // Adding 0 makes 0 of -0, which is no row.
    return Math.round((part < 0 ? part + 1 : part) * this.levels) % this.levels + 0;
  }

  /** The number that a level stands for. */
  protected override valueOf(row: number): number {
    return row / this.levels * this.period;
  }
}

/** Takes the trits of a circle from the level before to this one. */
function turn(trits: Int8Array, { first, last, order }: Ends, row: number, levels: number): void {
  const dim = trits.length;
  // Of each half turn, the dimensions it has replaced so far.
  const [from, to] = [row - 1, row].map((step) => share(Math.min(2 * step / levels, 1), dim));
  replace(trits, last, order, from!, to!);
  const [backFrom, backTo] = [row - 1, row].map((step) =>
    share(Math.max(2 * step / levels - 1, 0), dim)
  );
  replace(trits, first, order, backFrom!, backTo!);
}
