// Pairs of keys and values in one trace.

import { checkOptions } from "../checks.ts";
import type { Hypervector } from "./hypervector.ts";
import { checkVectors, type Hypervectors } from "./hypervectors.ts";
import type { OutOptions } from "./options.ts";
import { filled } from "./ownership.ts";
import {
  checkStructureMode,
  type StructureMode,
  type StructureOptions,
  Superposition,
  unbindTrace,
} from "./superposition.ts";

/**
 * A map from vectors to vectors, as one vector: the sum of the bound pairs (torchhd's HashTable).
 *
 * `get` returns the value and noise from the other pairs: find the nearest known vector with an
 * `ItemMemory`, or use `AssociativeMemory`, which does. With bipolar keys and values, K pairs, K odd,
 * leave a cosine of about sqrt(2 / (pi K)).
 *
 * @example
 * ```ts
 * import { HashTable, HypervectorBatch } from "tritter-accel";
 *
 * using countries = HypervectorBatch.random(3, 10_000, 1, { distribution: "bipolar" });
 * using capitals = HypervectorBatch.random(3, 10_000, 2, { distribution: "bipolar" });
 * using table = new HashTable(10_000);
 * table.add(countries, capitals);
 * using found = table.get(countries.get(1));
 * console.log([...capitals.similarity(found)].map((cosine) => cosine > 0.25)); // false true false
 * ```
 */
export class HashTable extends Superposition {
  /** How keys and values are bound. */
  readonly mode: StructureMode;

  /**
   * Makes an empty one.
   *
   * @example
   * ```ts
   * import { HashTable } from "tritter-accel";
   *
   * using table = new HashTable(10_000, { mode: "add" });
   * console.log(table.size); // 0
   * ```
   */
  constructor(dim: number, options?: StructureOptions) {
    // Before anything is allocated.
    const mode = checkStructureMode(options);
    super(dim, options);
    this.mode = mode;
  }

  /**
   * Makes one of pairs: the keys and, in the same rows, the values.
   *
   * @example
   * ```ts
   * import { HashTable, HypervectorBatch } from "tritter-accel";
   *
   * using keys = HypervectorBatch.random(5, 10_000, 1, { distribution: "bipolar" });
   * using values = HypervectorBatch.random(5, 10_000, 2, { distribution: "bipolar" });
   * using table = HashTable.from(keys, values);
   * console.log(table.size); // 5
   * ```
   */
  static from(keys: Hypervectors, values: Hypervectors, options?: StructureOptions): HashTable {
    const table = new HashTable(checkVectors(keys, "keys").dim, options);
    return filled(table, () => table.add(keys, values));
  }

  /**
   * Adds a pair, or the pairs of the rows of two batches.
   *
   * @example
   * ```ts
   * import { HashTable, Hypervector } from "tritter-accel";
   *
   * using mexico = Hypervector.random(10_000, 1, { distribution: "bipolar" });
   * using peso = Hypervector.random(10_000, 2, { distribution: "bipolar" });
   * using currencies = new HashTable(10_000);
   * currencies.add(mexico, peso);
   * console.log(currencies.get(mexico).cosine(peso)); // 1
   * ```
   */
  add(keys: Hypervectors, values: Hypervectors): void {
    using pairs = this.#bind(keys, values);
    this.put(pairs);
  }

  /**
   * Removes a pair that was added, or the pairs of the rows of two batches.
   *
   * Which pairs were added is not known: removing others leaves a trace that means nothing. Throws
   * `invalid_value` for more pairs than there are.
   *
   * @example
   * ```ts
   * import { HashTable, Hypervector } from "tritter-accel";
   *
   * using key = Hypervector.random(1000, 1);
   * using value = Hypervector.random(1000, 2);
   * using table = HashTable.from(key, value);
   * table.remove(key, value);
   * console.log(table.size); // 0
   * ```
   */
  remove(keys: Hypervectors, values: Hypervectors): void {
    using pairs = this.#bind(keys, values);
    this.take(pairs);
  }

  /**
   * Replaces the value of a key.
   *
   * @example
   * ```ts
   * import { HashTable, Hypervector } from "tritter-accel";
   *
   * const vector = (seed: number) => Hypervector.random(1000, seed, { distribution: "bipolar" });
   * using table = HashTable.from(vector(1), vector(2));
   * table.replace(vector(1), vector(2), vector(3));
   * console.log(table.get(vector(1)).cosine(vector(3))); // 1
   * ```
   */
  replace(key: Hypervector, previous: Hypervector, next: Hypervector): void {
    using added = this.#bind(key, next);
    this.remove(key, previous);
    this.put(added);
  }

  /**
   * Returns the value of a key, or of each row of a batch of keys, with noise from the other pairs.
   *
   * `out`, of the shape of the keys, takes the result instead of new memory.
   *
   * @example
   * ```ts
   * import { HashTable, Hypervector } from "tritter-accel";
   *
   * const vector = (seed: number) => Hypervector.random(10_000, seed, { distribution: "bipolar" });
   * using table = HashTable.from(vector(1), vector(2));
   * table.add(vector(3), vector(4));
   * using value = table.get(vector(1));
   * console.log(value.cosine(vector(2)) > 0.6); // true
   * ```
   */
  get<V extends Hypervectors>(keys: V, options?: OutOptions<V>): V {
    const { out } = checkOptions(options, "options");
    return unbindTrace(this.trace, checkVectors(keys, "keys", this.dim), this.mode, out);
  }

  #bind(keys: Hypervectors, values: Hypervectors): Hypervectors {
    checkVectors(values, "values", this.dim);
    return checkVectors(keys, "keys", this.dim).bind(values, { mode: this.mode });
  }
}
