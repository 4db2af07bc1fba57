// What the encoders of single values have in common: a table of vectors, one for each step.

import { checkCount, checkNumber, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { checkOut } from "./bundling.ts";
import type { Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { checkVectors, handleOf, type Hypervectors, type OutOptions } from "./hypervectors.ts";
import {
  checkSeed,
  deviceOf,
  type HypervectorOptions,
  type RandomOptions,
  randomShare,
} from "./options.ts";
import { filled, settled } from "./ownership.ts";

/** How numbers are encoded. */
export interface ScalarEncoderOptions extends HypervectorOptions {
  /** The number that the first level stands for. Default: 0. */
  min?: number | undefined;
  /** The number that the last level stands for, above `min`. Default: 1. */
  max?: number | undefined;
  /** Number of vectors that numbers are rounded to, from 2 to 2^16. Default: 100. */
  levels?: number | undefined;
}

/** How numbers are encoded to random vectors. */
export interface LevelEncoderOptions extends ScalarEncoderOptions, RandomOptions {
  /** Decides the vectors. Default: 0. */
  seed?: number | bigint | undefined;
}

/** Levels beyond a few for each trit are alike. */
export const LEVELS_MAX: number = 2 ** 16;
/** Encoders make their vectors from one byte a trit, several times over. */
export const ENCODER_DIM_MAX: number = 2 ** 24;

/** Checks the bounds and the number of levels. */
export function checkLevels(
  options: ScalarEncoderOptions,
): { min: number; max: number; levels: number } {
  const min = checkNumber(options.min ?? 0, "min");
  const max = checkNumber(options.max ?? 1, "max");
  if (!(max > min) || !Number.isFinite(max - min)) {
    throw tritterError("invalid_value", `max must be above min, ${min}, got ${max}`);
  }
  return {
    min,
    max,
    levels: checkCount(options.levels ?? 100, "levels", { min: 2, max: LEVELS_MAX }),
  };
}

/** Two random vectors, and an order of their dimensions. */
export interface Ends {
  first: Int8Array;
  last: Int8Array;
  order: Uint32Array;
}

/** The vectors that levels lie between: rows 0 and 1 of `HypervectorBatch.random` of the seed. */
export function randomEnds(dim: number, options: LevelEncoderOptions): Ends {
  const { seed, distribution } = options;
  const key = checkSeed(seed ?? 0);
  const drawn = { distribution: distribution ?? "bipolar", device: "cpu" } as const;
  using ends = HypervectorBatch.random(2, dim, key, drawn);
  const trits = ends.toInt8Array();
  const order = new Uint32Array(dim);
  check(native.permutation_random(key, order, dim));
  return { first: trits.subarray(0, dim), last: trits.subarray(dim), order };
}

/** A table of vectors, row by row: each differs from the one before in the dimensions that are named. */
export function tableOf(
  count: number,
  start: Int8Array,
  options: HypervectorOptions,
  change: (trits: Int8Array, row: number) => void,
): HypervectorBatch {
  const trits = start.slice();
  return filled(new HypervectorBatch(count, start.length, options), (table) => {
    for (let row = 0; row < count; row++) {
      if (row > 0) change(trits, row);
      check(native.vectors_write_i8(handleOf(table), row, trits, trits.length));
    }
  });
}

/** Encoders of values by a table of vectors. */
export abstract class ValueEncoder<Value> implements Disposable {
  /** Trits of each vector. */
  readonly dim: number;
  /** Where it computes. */
  readonly device: "cpu";

  readonly #table: HypervectorBatch;

  /** Takes over a table. */
  protected constructor(table: HypervectorBatch) {
    if (new.target === ValueEncoder) {
      throw tritterError("invalid_type", "ValueEncoder is made by the constructors of encoders");
    }
    this.dim = table.dim;
    handleOf(table);
    this.device = "cpu";
    this.#table = table;
  }

  /** The row of the table that stands for a value. */
  protected abstract rowOf(value: Value, name: string): number;

  /** The value that a row of the table stands for. */
  protected abstract valueOf(row: number): Value;

  /** Memory of the vectors, in bytes. */
  get memoryBytes(): number {
    return this.#table.memoryBytes;
  }

  /**
   * Returns the vector of a value; `out` takes it instead of a new one.
   *
   * @example
   * ```ts
   * import { LevelEncoder } from "tritter-accel";
   *
   * using encoder = new LevelEncoder(10_000, { min: -40, max: 60 });
   * using cold = encoder.encode(-5);
   * using cool = encoder.encode(5);
   * console.log(cold.cosine(cool).toFixed(1)); // 0.9
   * ```
   */
  encode(value: Value, options?: OutOptions<Hypervector>): Hypervector {
    const { out } = checkOptions(options, "options");
    return this.#table.get(this.rowOf(value, "value"), { out });
  }

  /**
   * Returns the vectors of values, one to each row.
   *
   * @example
   * ```ts
   * import { LevelEncoder } from "tritter-accel";
   *
   * using encoder = new LevelEncoder(1000);
   * console.log(encoder.encodeAll([0, 0.5, 1]).count); // 3
   * ```
   */
  encodeAll(values: ArrayLike<Value>, options?: OutOptions<HypervectorBatch>): HypervectorBatch {
    const { out } = checkOptions(options, "options");
    const rows = Uint32Array.from(
      listOf(values),
      (value, index) => this.rowOf(value, `values[${index}]`),
    );
    const { length } = rows;
    checkOut(out, this, length);
    const table = handleOf(this.#table);
    const target = out ?? new HypervectorBatch(length, this.dim, { device: this.device });
    return settled(native.vectors_take(table, rows, length, handleOf(target)), target, out);
  }

  /**
   * Returns the value whose vector is most similar to a vector, by cosine.
   *
   * @example
   * ```ts
   * import { CategoricalEncoder } from "tritter-accel";
   *
   * using colours = new CategoricalEncoder(1000, ["red", "green", "blue"]);
   * console.log(colours.decode(colours.encode("green"))); // green
   * ```
   */
  decode(vector: Hypervector): Value {
    checkVectors<Hypervectors>(vector, "vector", this.dim);
    if (vector.count !== 1) {
      throw tritterError("invalid_shape", `vector must be a single vector, got ${vector.count}`);
    }
    const scores = this.#table.similarity(vector);
    let best = 0;
    for (let row = 1; row < scores.length; row++) if (scores[row]! > scores[best]!) best = row;
    return this.valueOf(best);
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#table[Symbol.dispose]();
  }
}

/** A copy of a list, so that what has been checked is what is encoded. */
function listOf<Value>(values: ArrayLike<Value>): Value[] {
  // Not by the iterator of a typed array, which throws where the buffer is gone.
  const list: Value[] = Array.isArray(values)
    ? Array.from(values as Value[])
    : ArrayBuffer.isView(values)
    ? Array.prototype.slice.call(values)
    : [];
  if (list.length > 0) return list;
  throw tritterError(
    "invalid_value",
    `values must be a list of at least one value, got ${describe(values)}`,
  );
}

/** Checks options that every encoder has. */
export function checkEncoder(dim: number, options: HypervectorOptions | undefined): void {
  deviceOf(options);
  checkCount(dim, "dim", { min: 1, max: ENCODER_DIM_MAX });
  randomShare((checkOptions(options, "options") as RandomOptions).distribution ?? "bipolar");
}
