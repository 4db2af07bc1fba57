// What the structures that keep many vectors in one trace have in common.

import { checkChoice, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { Bundler } from "./bundler.ts";
import { checkVector, Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { checkVectors, handleOf, type Hypervectors } from "./hypervectors.ts";
import type { BindMode, HypervectorOptions, OutOptions } from "./options.ts";

/** How structures bind: the modes in which the order of the operands makes no difference. */
export type StructureMode = Exclude<BindMode, "subtract">;

/** Options of the structures that bind. */
export interface StructureOptions extends HypervectorOptions {
  /**
   * How vectors are bound. Default: `"multiply"`, for vectors without zeros (`"bipolar"` ones): it
   * keeps most in a trace. `"add"` is for vectors with a third of zeros (`"ternary"` ones, others it
   * does not hide); it is exact where the trace holds one pair, decays faster, and what it gives back
   * from many resembles the key, too.
   */
  mode?: StructureMode | undefined;
}

const MODES: readonly StructureMode[] = ["multiply", "add"];

/** Checks the mode of a structure. */
export function checkStructureMode(options: StructureOptions | undefined): StructureMode {
  return checkChoice(checkOptions(options, "options").mode, MODES, "mode", "multiply");
}

/** Undoes the binding of one trace with each of the keys. */
export function unbindTrace<V extends Hypervectors>(
  trace: Hypervector,
  keys: V,
  mode: StructureMode,
  out: V | undefined,
): V {
  // Both modes commute, so the keys can stand first: one call serves a whole batch of them.
  if (mode === "multiply") return keys.bind(trace, { mode, out });
  // Where the trace itself takes the result it must be read before it is written.
  if (out === trace as Hypervectors) {
    return trace.unbind(keys, { mode, out: trace }) as Hypervectors as V;
  }
  handleOf(trace);
  const negated = keys.negate({ out });
  return negated.bind(trace, { mode, out: negated });
}

/** Checks that a value is a batch of hypervectors. */
export function checkBatch(value: HypervectorBatch, name: string): HypervectorBatch {
  if (value instanceof HypervectorBatch) return checkVectors(value, name);
  throw tritterError("invalid_type", `${name} must be a HypervectorBatch, got ${describe(value)}`);
}

/**
 * Vectors added up in one trace: the base of `Multiset`, `HashTable`, `Sequence`, `Graph` and
 * `FiniteStateAutomaton`.
 *
 * The trace is kept as exact integer counts, so that what is removed leaves nothing behind; lookups
 * use the signs of the counts. It owns native memory of about 5 bytes a dimension: declare it with
 * `using` or call `[Symbol.dispose]()`.
 */
export abstract class Superposition implements Disposable {
  /** Trits of a vector. */
  readonly dim: number;
  /** Where the trace is. */
  readonly device: "cpu";

  readonly #sum: Bundler;
  readonly #trace: Hypervector;
  #isCurrent = true;
  #norm: number | undefined;

  /** Makes an empty one. */
  protected constructor(dim: number, options?: HypervectorOptions) {
    if (new.target === Superposition) {
      throw tritterError(
        "invalid_type",
        "Superposition is made by the constructors of Multiset, HashTable, Sequence and the like",
      );
    }
    const { device } = checkOptions(options, "options");
    this.#trace = new Hypervector(dim, { device });
    try {
      this.#sum = new Bundler(dim, { device });
    } catch (error) {
      this.#trace[Symbol.dispose]();
      throw error;
    }
    this.dim = this.#trace.dim;
    this.device = this.#sum.device;
  }

  /** How many vectors it holds. */
  get size(): number {
    return this.#sum.total;
  }

  /** Memory that it holds, in bytes. */
  get memoryBytes(): number {
    return this.#sum.memoryBytes + this.#trace.memoryBytes;
  }

  /**
   * Returns the trace as one vector: the signs of the sums, 0 where they are 0.
   *
   * @example
   * ```ts
   * import { Hypervector, Multiset } from "tritter-accel";
   *
   * using fruits = new Multiset(10_000);
   * fruits.add(Hypervector.random(10_000, 1));
   * using trace = fruits.toHypervector();
   * console.log(trace.dim); // 10000
   * ```
   */
  toHypervector(options?: OutOptions<Hypervector>): Hypervector {
    return this.trace.copy(options);
  }

  /** Forgets everything. */
  clear(): void {
    this.#sum.clear();
    this.#changed();
  }

  /** The signs of the sums; they belong to the structure. */
  protected get trace(): Hypervector {
    if (!this.#isCurrent) this.#sum.result({ out: this.#trace });
    this.#isCurrent = true;
    return this.#trace;
  }

  /** Adds vectors to the trace. */
  protected put(vectors: Hypervectors): void {
    this.#sum.add(vectors);
    this.#changed();
  }

  /** Takes vectors out of the trace; it cannot tell whether they were ever added. */
  protected take(vectors: Hypervectors): void {
    if (vectors.count > this.size) {
      throw tritterError(
        "invalid_value",
        `There must be as many vectors to remove as were added, ${this.size}, got ${vectors.count}`,
      );
    }
    this.#sum.remove(vectors);
    this.#changed();
  }

  /** The cosine of the sums themselves, not of their signs, with a vector. */
  protected cosine(vector: Hypervector): number {
    return this.#sum.similarity(checkVector(vector, "vector", this.dim));
  }

  /**
   * About how many times the sums hold a vector: their dot product with it, over its own with itself.
   *
   * Each of n other vectors, unrelated and as dense, adds an error of standard deviation 1 / sqrt(dim).
   */
  protected multiplicity(vector: Hypervector): number {
    const cosine = this.cosine(vector);
    if (cosine === 0) return 0;
    this.#norm ??= Math.sqrt(this.#sum.counts().reduce((sum, count) => sum + count * count, 0));
    return cosine * this.#norm / Math.sqrt(vector.dim * (1 - vector.sparsity));
  }

  #changed(): void {
    this.#isCurrent = false;
    this.#norm = undefined;
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#trace[Symbol.dispose]();
    this.#sum[Symbol.dispose]();
  }
}
