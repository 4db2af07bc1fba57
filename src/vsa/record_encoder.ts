// Records: named roles and their fillers.

import { checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import type { SignOptions } from "./bundling.ts";
import { checkVector, Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";

import type { Distribution, OutOptions } from "./options.ts";
import {
  checkStructureMode,
  type StructureMode,
  type StructureOptions,
  unbindTrace,
} from "./superposition.ts";

/** Options of a record encoder. */
export interface RecordEncoderOptions extends StructureOptions {
  /** What the vectors of the roles are drawn from, an integer from 0, below 2^64. Default: 0. */
  seed?: number | bigint | undefined;
  /** How the vectors of the roles are drawn. Default: as the mode wants them. */
  distribution?: Distribution | undefined;
}

/** How a record is bundled, and where it goes. */
export type EncodeRecordOptions = SignOptions<Hypervector>;

/**
 * Encodes records, roles with fillers, as one vector: the bundle of each role bound with its filler.
 *
 * A role has a random vector, row i of `HypervectorBatch.random` for role i; what it is bound with is a
 * vector of yours. `get` returns a role's filler and noise from the other roles: find the nearest known
 * vector with an `ItemMemory`. Two records bound with each other translate one's fillers into the
 * other's (Kanerva 2010, "What we mean when we say 'What's the dollar of Mexico?'").
 *
 * @example
 * ```ts
 * import { Hypervector, RecordEncoder } from "tritter-accel";
 *
 * const vector = (seed: number) => Hypervector.random(10_000, seed, { distribution: "bipolar" });
 * const [mexicoCity, peso, spanish] = [vector(1), vector(2), vector(3)] as const;
 * using encoder = new RecordEncoder(10_000, ["capital", "currency", "language"], { seed: 7 });
 * using mexico = encoder.encode({ capital: mexicoCity, currency: peso, language: spanish });
 * using currency = encoder.get(mexico, "currency");
 * console.log(currency.cosine(peso).toFixed(1), currency.cosine(spanish).toFixed(1)); // 0.5 0.0
 * ```
 */
export class RecordEncoder<Role extends string = string> implements Disposable {
  /** Trits of a vector. */
  readonly dim: number;
  /** Names of the roles. */
  readonly roles: readonly Role[];
  /** How roles and fillers are bound. */
  readonly mode: StructureMode;

  readonly #vectors: HypervectorBatch;
  readonly #rows: ReadonlyMap<string, number>;

  /**
   * Draws the vectors of the roles, the same for the same seed on every machine.
   *
   * Throws `invalid_value` where there is no role or one twice.
   *
   * @example
   * ```ts
   * import { RecordEncoder } from "tritter-accel";
   *
   * using encoder = new RecordEncoder(10_000, ["colour", "shape"], { mode: "add" });
   * console.log(encoder.roles.length); // 2
   * ```
   */
  constructor(dim: number, roles: readonly Role[], options?: RecordEncoderOptions) {
    this.mode = checkStructureMode(options);
    const fitting = this.mode === "multiply" ? "bipolar" : "ternary";
    const { seed = 0, distribution = fitting, device } = checkOptions(options, "options");
    this.#rows = rowsOf(roles);
    this.roles = Object.freeze([...roles]);
    this.#vectors = HypervectorBatch.random(roles.length, dim, seed, { distribution, device });
    this.dim = this.#vectors.dim;
  }

  /** Memory of the vectors of the roles, in bytes. */
  get memoryBytes(): number {
    return this.#vectors.memoryBytes;
  }

  /**
   * Returns a copy of the vector of a role.
   *
   * @example
   * ```ts
   * import { RecordEncoder } from "tritter-accel";
   *
   * using encoder = new RecordEncoder(1000, ["colour", "shape"]);
   * console.log(encoder.role("colour").cosine(encoder.role("shape")) < 0.2); // true
   * ```
   */
  role(role: Role, options?: OutOptions<Hypervector>): Hypervector {
    return this.#vectors.get(this.#row(role), checkOptions(options, "options"));
  }

  /**
   * Encodes a record: a filler for one role or more.
   *
   * `tie`, `seed` and `threshold` are those of `HypervectorBatch.bundle`; `out` takes the result instead
   * of new memory. Throws `invalid_value` for a name that is no role, and for a record of none.
   *
   * @example
   * ```ts
   * import { Hypervector, RecordEncoder } from "tritter-accel";
   *
   * using encoder = new RecordEncoder(1000, ["colour", "shape"]);
   * using record = encoder.encode({ colour: Hypervector.random(1000, 1) });
   * console.log(record.dim); // 1000
   * ```
   */
  encode(
    fillers: { readonly [role in Role]?: Hypervector | undefined },
    options?: EncodeRecordOptions,
  ): Hypervector {
    if (typeof fillers !== "object" || fillers === null) {
      throw tritterError("invalid_type", `fillers must be an object, got ${describe(fillers)}`);
    }
    const filled = Object.entries<Hypervector | undefined>(fillers)
      .filter((entry): entry is [Role, Hypervector] => entry[1] !== undefined)
      .map(([role, filler]) => [this.#row(role), checkVector(filler, role, this.dim)] as const)
      // In the order of the roles, so that how an object is written makes no difference.
      .sort(([a], [b]) => a - b);
    if (filled.length === 0) {
      throw tritterError("invalid_value", "fillers must hold at least one role");
    }
    using pairs = new HypervectorBatch(filled.length, this.dim, { device: this.#vectors.device });
    using pair = new Hypervector(this.dim, { device: this.#vectors.device });
    for (const [index, [row, filler]] of filled.entries()) {
      this.#vectors.get(row, { out: pair }).bind(filler, { mode: this.mode, out: pair });
      pairs.set(index, pair);
    }
    return pairs.bundle(options);
  }

  /**
   * Returns the filler of a role in a record, with noise from the other roles.
   *
   * `out` takes the result instead of new memory.
   *
   * @example
   * ```ts
   * import { Hypervector, RecordEncoder } from "tritter-accel";
   *
   * using encoder = new RecordEncoder(1000, ["colour", "shape"]);
   * using red = Hypervector.random(1000, 1, { distribution: "bipolar" });
   * using record = encoder.encode({ colour: red });
   * console.log(encoder.get(record, "colour").equals(red)); // true
   * ```
   */
  get(record: Hypervector, role: Role, options?: OutOptions<Hypervector>): Hypervector {
    checkVector(record, "record", this.dim);
    const { out } = checkOptions(options, "options");
    using key = this.role(role);
    return unbindTrace(record, key, this.mode, out);
  }

  #row(role: Role): number {
    const row = this.#rows.get(role);
    if (row !== undefined) return row;
    const names = this.roles.slice(0, 8).map((name) => JSON.stringify(name)).join(", ");
    throw tritterError("invalid_value", `role must be one of ${names}, got ${describe(role)}`);
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#vectors[Symbol.dispose]();
  }
}

/** The row of each role. */
function rowsOf(roles: readonly string[]): ReadonlyMap<string, number> {
  if (!Array.isArray(roles)) {
    throw tritterError("invalid_type", `roles must be an array, got ${describe(roles)}`);
  }
  const rows = new Map<string, number>();
  for (const [row, role] of roles.entries()) {
    if (typeof role !== "string") {
      throw tritterError("invalid_type", `roles[${row}] must be a string, got ${describe(role)}`);
    }
    if (rows.has(role)) {
      throw tritterError("invalid_value", `roles must be different, got ${describe(role)} twice`);
    }
    rows.set(role, row);
  }
  if (rows.size === 0) throw tritterError("invalid_value", "roles must hold at least one name");
  return rows;
}
