// Names for hypervectors, and the name that is nearest to a noisy one.

import { checkCount, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { checkPayload, headerCount, readContainer, writeContainer } from "./container.ts";
import { Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { checkVectors, handleOf, type Hypervectors } from "./hypervectors.ts";
import {
  checkDim,
  deviceOf,
  DIM_MAX,
  type HypervectorOptions,
  metricCode,
  type RandomOptions,
  type SimilarityMetric,
} from "./options.ts";
import { planeBytes, readPlanes, writePlanes } from "./planes.ts";

/** How an item memory keeps and compares its vectors. */
export interface ItemMemoryOptions extends HypervectorOptions {
  /**
   * Items to make room for; more items make it grow, which copies all vectors. Default: 16.
   *
   * Room that is not used costs address space, but no memory.
   */
  capacity?: number | undefined;
  /** What the nearest item is nearest by. Default: `"cosine"`. */
  metric?: SimilarityMetric | undefined;
}

/** An item that a query resembles. */
export interface ItemMemoryMatch {
  /** Its name. */
  name: string;
  /** Its place in `names()`. */
  index: number;
  /** Its similarity to the query, by the memory's metric. */
  score: number;
}

const CAPACITY_MAX = 2 ** 32 - 1;
const KIND = "ItemMemory";

/**
 * A codebook: hypervectors by name, and the search for those that a query resembles.
 *
 * Items are numbered from 0 in the order in which they were added; `remove` gives the number of the
 * removed item to the last one. It owns native memory: declare it with `using`.
 *
 * @example
 * ```ts
 * import { Hypervector, ItemMemory } from "tritter-accel";
 *
 * using fruits = new ItemMemory(10_000);
 * for (const name of ["apple", "pear", "plum"]) fruits.addRandom(name);
 * using key = Hypervector.random(10_000, 1);
 * using bound = fruits.get("pear").bind(key);
 * console.log(fruits.cleanup(bound.unbind(key))?.name); // pear
 * ```
 */
export class ItemMemory implements Disposable {
  /** Trits of each vector. */
  readonly dim: number;
  /** What the nearest item is nearest by. */
  readonly metric: SimilarityMetric;
  /** Where the vectors are. */
  readonly device: "cpu";

  #vectors: HypervectorBatch;
  #names: string[] = [];
  #indices: Map<string, number> = new Map();

  /**
   * Makes a memory without items.
   *
   * @example
   * ```ts
   * import { ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(10_000, { capacity: 1000, metric: "hamming" });
   * console.log(memory.size); // 0
   * ```
   */
  constructor(dim: number, options?: ItemMemoryOptions) {
    const { capacity = 16, metric = "cosine" } = checkOptions(options, "options");
    this.device = deviceOf(options);
    this.dim = checkDim(dim);
    metricCode(metric);
    this.metric = metric;
    checkCount(capacity, "capacity", { min: 1, max: CAPACITY_MAX });
    this.#vectors = new HypervectorBatch(capacity, dim, { device: this.device });
  }

  /**
   * Makes a memory from the bytes of `save`, with room for its items alone unless `capacity` asks for
   * more. Damaged or foreign bytes throw `invalid_format`.
   *
   * @example
   * ```ts
   * import { ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(1000);
   * memory.addRandom("a");
   * using copy = ItemMemory.load(memory.save());
   * console.log(copy.get("a").equals(memory.get("a"))); // true
   * ```
   */
  static load(bytes: Uint8Array, options?: Omit<ItemMemoryOptions, "metric">): ItemMemory {
    const { capacity = 1, device } = checkOptions(options, "options");
    checkCount(capacity, "capacity", { min: 1, max: CAPACITY_MAX });
    const { header, payload } = readContainer(bytes, KIND);
    const dim = headerCount(header, "dim", { min: 1, max: DIM_MAX });
    const names = savedNames(header.names);
    const metric = savedMetric(header.metric);
    checkPayload(payload, planeBytes(names.length, dim));
    const memory = new ItemMemory(dim, {
      capacity: Math.max(capacity, names.length),
      metric,
      device,
    });
    try {
      if (names.length > 0) writePlanes(memory.#vectors, payload);
    } catch (error) {
      memory[Symbol.dispose]();
      throw error;
    }
    memory.#names = names;
    memory.#indices = new Map(names.map((name, index) => [name, index]));
    return memory;
  }

  /**
   * Returns bytes that `load` reads: names, vectors, the metric and a checksum.
   *
   * Throws `invalid_length` where they would be 2^32 or more.
   *
   * @example
   * ```ts
   * import { ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(1000);
   * for (const name of ["a", "b"]) memory.addRandom(name);
   * console.log(memory.save().length); // 568
   * ```
   */
  save(): Uint8Array<ArrayBuffer> {
    handleOf(this.#vectors);
    const { dim, metric } = this;
    const planes = this.size === 0 ? [] : [readPlanes(this.#vectors, this.size)];
    return writeContainer(KIND, { dim, metric, names: this.#names }, planes);
  }

  /** Number of items. */
  get size(): number {
    return this.#names.length;
  }

  /** Items that there is room for before the memory grows. */
  get capacity(): number {
    return this.#vectors.count;
  }

  /** Memory of the vectors, in bytes, with the room that is not used yet. */
  get memoryBytes(): number {
    return this.#vectors.memoryBytes;
  }

  /**
   * Adds a copy of a vector under a name that is not there yet; else throws `invalid_value`.
   *
   * @example
   * ```ts
   * import { Hypervector, ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(1000);
   * memory.add("a", Hypervector.random(1000, 1));
   * console.log(memory.has("a")); // true
   * ```
   */
  add(name: string, vector: Hypervector): void {
    this.#append([name], checkOne(vector, "vector", this.dim));
  }

  /**
   * Adds a random vector: the one of `Hypervector.random` for the seed.
   *
   * Without a seed it is the 64-bit FNV-1a hash of the name as UTF-8, so that a name stands for the
   * same vector in every memory.
   *
   * @example
   * ```ts
   * import { ItemMemory } from "tritter-accel";
   *
   * using letters = new ItemMemory(10_000);
   * for (const letter of "abc") letters.addRandom(letter, undefined, { distribution: "bipolar" });
   * console.log(letters.get("a").sparsity); // 0
   * ```
   */
  addRandom(name: string, seed?: number | bigint, options?: Omit<RandomOptions, "device">): void {
    this.#checkNew(name);
    const { distribution } = checkOptions(options, "options");
    using vector = Hypervector.random(this.dim, seed ?? hashOf(name), {
      distribution,
      device: this.device,
    });
    this.#append([name], vector);
  }

  /**
   * Adds copies of all rows of a batch, each under its name. Adds none where one name is taken.
   *
   * @example
   * ```ts
   * import { HypervectorBatch, ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(1000);
   * memory.addAll(["a", "b"], HypervectorBatch.random(2, 1000, 1));
   * console.log(memory.size); // 2
   * ```
   */
  addAll(names: readonly string[], batch: Hypervectors): void {
    if (!Array.isArray(names)) {
      throw tritterError(
        "invalid_type",
        `names must be an array of strings, got ${describe(names)}`,
      );
    }
    checkVectors(batch, "batch", this.dim);
    if (names.length !== batch.count) {
      throw tritterError(
        "invalid_length",
        `names must have ${batch.count} elements, got ${names.length}`,
      );
    }
    this.#append(names, batch);
  }

  #checkNew(name: unknown): void {
    if (typeof name !== "string") {
      throw tritterError("invalid_type", `name must be a string, got ${describe(name)}`);
    }
    if (this.#indices.has(name)) {
      throw tritterError("invalid_value", `name must be new, got ${describe(name)} again`);
    }
  }

  #append(names: readonly string[], vectors: Hypervectors): void {
    for (const name of names) this.#checkNew(name);
    if (new Set(names).size !== names.length) {
      throw tritterError("invalid_value", "names must differ from one another, got one twice");
    }
    const size = this.size;
    this.#reserve(size + names.length);
    this.#vectors.set(size, vectors);
    for (let i = 0; i < names.length; i++) {
      this.#indices.set(names[i]!, size + i);
      this.#names.push(names[i]!);
    }
  }

  /** Makes room for `count` items. */
  #reserve(count: number): void {
    if (count <= this.capacity) return;
    if (count > CAPACITY_MAX) {
      throw tritterError("invalid_length", `items must be at most ${CAPACITY_MAX}, got ${count}`);
    }
    const capacity = Math.min(Math.max(count, 2 * this.capacity), CAPACITY_MAX);
    const grown = new HypervectorBatch(capacity, this.dim, { device: this.device });
    check(
      native.vectors_copy(handleOf(this.#vectors), 0, handleOf(grown), 0, this.size),
    );
    this.#vectors[Symbol.dispose]();
    this.#vectors = grown;
  }

  /**
   * Removes an item and returns whether there was one; the last item takes its place.
   *
   * @example
   * ```ts
   * import { ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(1000);
   * for (const name of ["a", "b", "c"]) memory.addRandom(name);
   * memory.remove("a");
   * console.log(memory.names()); // [ "c", "b" ]
   * ```
   */
  remove(name: string): boolean {
    const index = this.#indices.get(name);
    if (index === undefined) return false;
    const last = this.size - 1;
    const handle = handleOf(this.#vectors);
    if (index !== last) {
      check(native.vectors_copy(handle, last, handle, index, 1));
      this.#names[index] = this.#names[last]!;
      this.#indices.set(this.#names[index]!, index);
    }
    this.#names.pop();
    this.#indices.delete(name);
    return true;
  }

  /**
   * Returns whether there is an item of this name.
   *
   * @example
   * ```ts
   * import { ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(1000);
   * console.log(memory.has("a")); // false
   * ```
   */
  has(name: string): boolean {
    return this.#indices.has(name);
  }

  /**
   * Returns a copy of the vector of a name; throws `invalid_value` where there is none.
   *
   * @example
   * ```ts
   * import { Hypervector, ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(1000);
   * memory.addRandom("a", 7);
   * console.log(memory.get("a").equals(Hypervector.random(1000, 7))); // true
   * ```
   */
  get(name: string, options?: { out?: Hypervector | undefined }): Hypervector {
    const index = this.#indices.get(name);
    if (index === undefined) {
      throw tritterError("invalid_value", `name must be one of the items, got ${describe(name)}`);
    }
    return this.#vectors.get(index, options);
  }

  /**
   * Returns the names in the order of their indices.
   *
   * @example
   * ```ts
   * import { ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(1000);
   * memory.addRandom("a");
   * console.log(memory.names()); // [ "a" ]
   * ```
   */
  names(): string[] {
    return this.#names.slice();
  }

  /**
   * Returns the item that a query resembles most, or one for each row of a batch; undefined where the
   * memory has no items.
   *
   * @example
   * ```ts
   * import { Hypervector, ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(10_000);
   * for (const name of ["a", "b"]) memory.addRandom(name);
   * using noise = Hypervector.random(10_000, 1, { distribution: { zeros: 0.8 } });
   * console.log(memory.cleanup(memory.get("b").bind(noise))?.name); // b
   * ```
   */
  cleanup(query: Hypervector): ItemMemoryMatch | undefined;
  /** The same for each row of a batch. */
  cleanup(queries: HypervectorBatch): (ItemMemoryMatch | undefined)[];
  cleanup(
    queries: Hypervectors,
  ): ItemMemoryMatch | undefined | (ItemMemoryMatch | undefined)[] {
    const lists = this.#search(queries, 1);
    return queries instanceof HypervectorBatch ? lists.map((list) => list[0]) : lists[0]![0];
  }

  /**
   * Returns the `k` items that a query resembles most, best first, or a list for each row of a batch;
   * all of them where there are no more than `k`. Among equal ones the lower index comes first.
   *
   * @example
   * ```ts
   * import { ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(10_000);
   * for (const name of ["a", "b", "c"]) memory.addRandom(name);
   * console.log(memory.topK(memory.get("b"), 2)[0]?.name); // b
   * ```
   */
  topK(query: Hypervector, k: number): ItemMemoryMatch[];
  /** The same for each row of a batch. */
  topK(queries: HypervectorBatch, k: number): ItemMemoryMatch[][];
  topK(queries: Hypervectors, k: number): ItemMemoryMatch[] | ItemMemoryMatch[][] {
    const lists = this.#search(queries, checkCount(k, "k", { min: 1 }));
    return queries instanceof HypervectorBatch ? lists : lists[0]!;
  }

  #search(queries: Hypervectors, k: number): ItemMemoryMatch[][] {
    checkVectors(queries, "query", this.dim);
    handleOf(this.#vectors); // A memory without items is disposed of like any other.
    const rows = this.size;
    const found = Math.min(k, rows);
    if (found === 0) return Array.from({ length: queries.count }, () => []);
    const { indices, scores } = this.#vectors.topK(queries, found, { metric: this.metric, rows });
    return Array.from(
      { length: queries.count },
      (_, query) =>
        Array.from({ length: found }, (_, i) => {
          const index = indices[query * found + i]!;
          return { name: this.#names[index]!, index, score: scores[query * found + i]! };
        }),
    );
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#vectors[Symbol.dispose]();
  }
}

function checkOne(vector: Hypervector, name: string, dim: number): Hypervector {
  checkVectors(vector, name, dim);
  if (vector.count !== 1) {
    throw tritterError("invalid_shape", `${name} must be 1 vector, got ${vector.count}`);
  }
  return vector;
}

/** Checks the names that a header holds. */
function savedNames(names: unknown): string[] {
  if (!Array.isArray(names) || !names.every((name) => typeof name === "string")) {
    throw tritterError("invalid_format", `names must be strings, got ${describe(names)}`);
  }
  if (new Set(names).size !== names.length) {
    throw tritterError("invalid_format", "names must differ from one another, got one twice");
  }
  return names;
}

/** Checks the metric that a header holds. */
function savedMetric(metric: unknown): SimilarityMetric {
  try {
    metricCode(metric as SimilarityMetric);
    if (metric !== undefined) return metric as SimilarityMetric;
  } catch {
    // Said below, with the code of a bad file.
  }
  throw tritterError("invalid_format", `metric must be a known one, got ${describe(metric)}`);
}

/** FNV-1a, 64 bits, of the UTF-8 bytes. */
function hashOf(name: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(name)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash;
}
