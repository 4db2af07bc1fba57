// Encoder of names.

import { checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { checkSeed, type RandomOptions } from "./options.ts";
import { checkEncoder, ValueEncoder } from "./value_encoder.ts";

/** How names are encoded. */
export interface CategoricalEncoderOptions extends RandomOptions {
  /** Decides the vectors. Default: 0. */
  seed?: number | bigint | undefined;
}

/**
 * Encodes names as random vectors that are dissimilar to each other: name i of the list is row i of
 * `HypervectorBatch.random` with the same seed and distribution (`"bipolar"` unless told).
 *
 * A name that is not in the list throws `invalid_value`. It owns native memory: declare it with `using`
 * or call `[Symbol.dispose]()`.
 *
 * @example
 * ```ts
 * import { CategoricalEncoder } from "tritter-accel";
 *
 * using colours = new CategoricalEncoder(10_000, ["red", "green", "blue"]);
 * using red = colours.encode("red");
 * console.log(Math.abs(red.cosine(colours.encode("blue"))) < 0.05); // true
 * ```
 */
export class CategoricalEncoder extends ValueEncoder<string> {
  /** The names, in order. */
  readonly names: readonly string[];

  readonly #rows: ReadonlyMap<string, number>;

  /**
   * Makes a vector for each name; no name may be there twice.
   *
   * @example
   * ```ts
   * import { CategoricalEncoder } from "tritter-accel";
   *
   * using encoder = new CategoricalEncoder(1000, ["yes", "no"], { seed: 7 });
   * console.log(encoder.names); // yes no
   * ```
   */
  constructor(dim: number, names: readonly string[], options?: CategoricalEncoderOptions) {
    const checked = checkOptions(options, "options");
    checkEncoder(dim, checked);
    const rows = rowsOf(names);
    const { device, distribution, seed } = checked;
    super(HypervectorBatch.random(rows.size, dim, checkSeed(seed ?? 0), {
      device,
      distribution: distribution ?? "bipolar",
    }));
    this.names = Object.freeze([...rows.keys()]);
    this.#rows = rows;
  }

  /** The row of a name. */
  protected override rowOf(value: string, name: string): number {
    const row = this.#rows.get(value);
    if (row !== undefined) return row;
    throw tritterError(
      "invalid_value",
      `${name} must be one of the ${this.names.length} names, got ${describe(value)}`,
    );
  }

  /** The name of a row. */
  protected override valueOf(row: number): string {
    return this.names[row]!;
  }
}

function rowsOf(names: readonly string[]): Map<string, number> {
  if (!Array.isArray(names) || names.length === 0) {
    throw tritterError(
      "invalid_value",
      `names must be a list of at least one string, got ${describe(names)}`,
    );
  }
  const rows = new Map<string, number>();
  for (const name of names) {
    if (typeof name !== "string") {
      throw tritterError("invalid_type", `names must be strings, got ${describe(name)}`);
    }
    if (rows.has(name)) {
      throw tritterError(
        "invalid_value",
        `names must be there once each, got ${describe(name)} twice`,
      );
    }
    rows.set(name, rows.size);
  }
  return rows;
}
