// Pairs of keys and values in one trace, with clean-up.

import { checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { HashTable } from "./hash_table.ts";
import type { Hypervector } from "./hypervector.ts";
import type { HypervectorBatch } from "./hypervector_batch.ts";
import { checkVectors, type Hypervectors } from "./hypervectors.ts";
import { ItemMemory, type ItemMemoryMatch } from "./item_memory.ts";
import { filled } from "./ownership.ts";
import type { StructureOptions } from "./superposition.ts";

/** Options of an associative memory. */
export interface AssociativeMemoryOptions extends StructureOptions {
  /** The values that `recall` finds, with their names; it stays the caller's to dispose. */
  memory?: ItemMemory | undefined;
}

/** Options of `AssociativeMemory.recall`. */
export interface RecallOptions {
  /** The values to choose from. Default: the memory of the constructor. */
  memory?: ItemMemory | undefined;
}

/**
 * A map from vectors to named vectors, as one vector: a `HashTable` whose values are cleaned up.
 *
 * With bipolar vectors, `"multiply"` and M values to choose from, recall of K pairs is reliable while
 * sqrt(2 dim / (pi K)) is above about sqrt(2 ln M) + 3: some 140 pairs at 10,000 dimensions and
 * M = 1000.
 *
 * @example
 * ```ts
 * import { AssociativeMemory, Hypervector, ItemMemory } from "tritter-accel";
 *
 * const vector = (seed: number) => Hypervector.random(10_000, seed, { distribution: "bipolar" });
 * using currencies = new ItemMemory(10_000);
 * currencies.add("dollar", vector(1));
 * currencies.add("peso", vector(2));
 * const [usa, mexico] = [vector(3), vector(4)];
 * using table = new AssociativeMemory(10_000, { memory: currencies });
 * table.add(usa, vector(1));
 * table.add(mexico, vector(2));
 * console.log(table.recall(mexico)?.name); // peso
 * ```
 */
export class AssociativeMemory extends HashTable {
  readonly #memory: ItemMemory | undefined;

  /**
   * Makes an empty one.
   *
   * @example
   * ```ts
   * import { AssociativeMemory, ItemMemory } from "tritter-accel";
   *
   * using words = new ItemMemory(10_000);
   * using table = new AssociativeMemory(10_000, { memory: words, mode: "add" });
   * console.log(table.size); // 0
   * ```
   */
  constructor(dim: number, options?: AssociativeMemoryOptions) {
    const { memory } = checkOptions(options, "options");
    if (memory !== undefined) checkMemory(memory);
    super(dim, options);
    this.#memory = memory;
  }

  /**
   * Makes one of pairs: the keys and, in the same rows, the values.
   *
   * @example
   * ```ts
   * import { AssociativeMemory, HypervectorBatch, ItemMemory } from "tritter-accel";
   *
   * using keys = HypervectorBatch.random(2, 10_000, 1, { distribution: "bipolar" });
   * using values = HypervectorBatch.random(2, 10_000, 2, { distribution: "bipolar" });
   * using memory = new ItemMemory(10_000);
   * memory.addAll(["one", "two"], values);
   * using table = AssociativeMemory.from(keys, values, { memory });
   * console.log(table.recall(keys.get(1))?.name); // two
   * ```
   */
  static override from(
    keys: Hypervectors,
    values: Hypervectors,
    options?: AssociativeMemoryOptions,
  ): AssociativeMemory {
    const table = new AssociativeMemory(checkVectors(keys, "keys").dim, options);
    return filled(table, () => table.add(keys, values));
  }

  /**
   * Returns the known value that is nearest to that of a key, with its name and score, and undefined
   * where no value is known; for a batch of keys a list, one result a row.
   *
   * Throws `invalid_value` where neither the options nor the constructor name a memory.
   *
   * @example
   * ```ts
   * import { AssociativeMemory, HypervectorBatch, ItemMemory } from "tritter-accel";
   *
   * using keys = HypervectorBatch.random(2, 10_000, 1, { distribution: "bipolar" });
   * using values = HypervectorBatch.random(2, 10_000, 2, { distribution: "bipolar" });
   * using memory = new ItemMemory(10_000);
   * memory.addAll(["one", "two"], values);
   * using table = new AssociativeMemory(10_000);
   * table.add(keys, values);
   * console.log(table.recall(keys, { memory }).map((match) => match?.name)); // one two
   * ```
   */
  recall(key: Hypervector, options?: RecallOptions): ItemMemoryMatch | undefined;
  /** The same for each row of a batch. */
  recall(keys: HypervectorBatch, options?: RecallOptions): (ItemMemoryMatch | undefined)[];
  recall(
    keys: Hypervectors,
    options?: RecallOptions,
  ): ItemMemoryMatch | undefined | (ItemMemoryMatch | undefined)[] {
    const { memory = this.#memory } = checkOptions(options, "options");
    if (memory === undefined) {
      throw tritterError(
        "invalid_value",
        "memory must be an ItemMemory, here or when constructing",
      );
    }
    using values = this.get(keys);
    return checkMemory(memory).cleanup(values as Hypervector);
  }
}

function checkMemory(memory: ItemMemory): ItemMemory {
  if (memory instanceof ItemMemory) return memory;
  throw tritterError("invalid_type", "memory must be an ItemMemory");
}
