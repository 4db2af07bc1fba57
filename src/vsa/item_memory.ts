// Names for hypervectors, and the name that is nearest to a noisy one.

import { checkCount, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import type { Place } from "../device.ts";
import { check } from "../native/library.ts";
import { checkSingle } from "./bundling.ts";
import { checkPayload, headerCount, readContainer, writeContainer } from "./container.ts";
import { Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { ItemNames, ITEMS_MAX } from "./item_names.ts";
import { checkVectors, type Hypervectors } from "./hypervectors.ts";
import { copyRows } from "./handles.ts";
import {
  checkDim,
  DIM_MAX,
  type HypervectorOptions,
  metricCode,
  placeOfOptions,
  type RandomOptions,
  type SimilarityMetric,
} from "./options.ts";
import { filled } from "./ownership.ts";
import { planeBytes, readPlanes, writePlanes } from "./planes.ts";
import type { TopK, TopKOut } from "./search.ts";

/** How an item memory keeps and compares its vectors. */
export interface ItemMemoryOptions extends HypervectorOptions {
  /**
   * Items to make room for at once, at most 2^24; more items make it grow, which copies all vectors.
   * Default: room for 16, with the first item.
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

const CAPACITY_FIRST = 16;
const KIND = "ItemMemory";

/**
 * A codebook: hypervectors by name, and the search for those that a query resembles.
 *
 * Items are numbered from 0 in the order in which they were added; `remove` gives the number of the
 * removed item to the last one. There are at most 2^24 items. It owns native memory: declare it with
 * `using`.
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
  readonly device: Place;

  /** Room for the vectors; none before there is an item, or it is asked for. */
  #vectors: HypervectorBatch | undefined;
  readonly #names: ItemNames = new ItemNames();
  #isDisposed = false;

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
    const { capacity, metric = "cosine" } = checkOptions(options, "options");
    this.device = placeOfOptions(options);
    this.dim = checkDim(dim);
    metricCode(metric);
    this.metric = metric;
    if (capacity !== undefined) this.#reserve(checkCapacity(capacity));
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
    const { capacity, device } = checkOptions(options, "options");
    if (capacity !== undefined) checkCapacity(capacity);
    const { header, payload } = readContainer(bytes, KIND);
    const dim = headerCount(header, "dim", { min: 1, max: DIM_MAX });
    const names = savedNames(header.names);
    const metric = savedMetric(header.metric);
    checkPayload(payload, planeBytes(names.length, dim));
    return filled(new ItemMemory(dim, { metric, device }), (memory) => {
      // The length of the payload vouches for the dimensions only where there is an item.
      const room = Math.max(capacity ?? 0, names.length);
      if (room > 0) memory.#reserve(room);
      if (names.length > 0) writePlanes(memory.#batch, payload);
      memory.#names.add(names);
    });
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
    this.#expectAlive();
    const { dim, metric } = this;
    const planes = this.size === 0 ? [] : [readPlanes(this.#batch, this.size)];
    return writeContainer(KIND, { dim, metric, names: this.#names.list() }, planes);
  }

  /** Number of items. */
  get size(): number {
    return this.#names.size;
  }

  /** Items that there is room for before the memory grows. */
  get capacity(): number {
    return this.#vectors?.count ?? 0;
  }

  /** Memory of the vectors, in bytes, with the room that is not used yet. */
  get memoryBytes(): number {
    return this.#vectors?.memoryBytes ?? 0;
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
    this.#append([name], checkSingle(vector, "vector", this.dim));
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
    this.#names.check([name]);
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
    // A copy, so that what has been checked is what is added.
    this.#append([...names], batch);
  }

  #append(names: readonly string[], vectors: Hypervectors): void {
    this.#names.check(names);
    this.#expectAlive();
    const { size, capacity } = this;
    const count = size + names.length;
    if (count > capacity) {
      this.#reserve(Math.min(Math.max(count, 2 * capacity, CAPACITY_FIRST), ITEMS_MAX));
    }
    this.#batch.set(size, vectors);
    this.#names.add(names);
  }

  /** Takes room for so many items, and moves those that there are. */
  #reserve(capacity: number): void {
    const old = this.#vectors;
    const { dim, device, size } = this;
    this.#vectors = filled(new HypervectorBatch(capacity, dim, { device }), (grown) => {
      if (old) check(copyRows([old, 0], [grown, 0], size));
    });
    old?.[Symbol.dispose]();
  }

  #expectAlive(): void {
    if (this.#isDisposed) throw tritterError("disposed", "The item memory has been disposed");
  }

  /** The vectors, once there is room for them. */
  get #batch(): HypervectorBatch {
    this.#expectAlive();
    return this.#vectors!;
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
    const index = this.#names.find(name);
    if (index === undefined) return false;
    const last = this.size - 1;
    const batch = this.#batch;
    if (index !== last) check(copyRows([batch, last], [batch, index], 1));
    this.#names.remove(name);
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
    return this.#names.find(name) !== undefined;
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
    const index = this.#names.find(name);
    if (index === undefined) {
      throw tritterError("invalid_value", `name must be one of the items, got ${describe(name)}`);
    }
    return this.#batch.get(index, options);
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
    return this.#names.list();
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
    const lists = this.#matches(queries, 1);
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
    const lists = this.#matches(queries, checkCount(k, "k", { min: 1 }));
    return queries instanceof HypervectorBatch ? lists : lists[0]!;
  }

  /**
   * Returns the numbers and scores of the `k` items that each query resembles most, without their
   * names: what `topK` finds, as `HypervectorBatch.topK` returns it.
   *
   * `out` takes them, `k` for each query, and is returned: nothing is allocated. Throws
   * `invalid_value` where k is not from 1 to the number of items.
   *
   * @example
   * ```ts
   * import { ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(10_000);
   * for (const name of ["a", "b", "c"]) memory.addRandom(name);
   * const out = { indices: new Uint32Array(1), scores: new Float64Array(1) };
   * memory.search(memory.get("b"), 1, { out });
   * console.log(memory.nameOf(out.indices[0]!)); // b
   * ```
   */
  search(queries: Hypervectors, k: number, options?: { out?: TopKOut | undefined }): TopK {
    const { out } = checkOptions(options, "options");
    checkVectors(queries, "queries", this.dim);
    this.#expectAlive();
    checkCount(k, "k", { min: 1, max: this.size });
    return this.#batch.topK(queries, k, { metric: this.metric, rows: this.size, out });
  }

  /**
   * Returns the name of an item's number; throws `invalid_value` where there is none.
   *
   * @example
   * ```ts
   * import { ItemMemory } from "tritter-accel";
   *
   * using memory = new ItemMemory(1000);
   * memory.addRandom("a");
   * console.log(memory.nameOf(0)); // a
   * ```
   */
  nameOf(index: number): string {
    const name = this.#names.at(checkCount(index, "index"));
    if (name !== undefined) return name;
    throw tritterError("invalid_value", `index must be below ${this.size}, got ${index}`);
  }

  #matches(queries: Hypervectors, k: number): ItemMemoryMatch[][] {
    checkVectors(queries, "query", this.dim);
    // A memory without items is disposed of like any other.
    this.#expectAlive();
    const found = Math.min(k, this.size);
    if (found === 0) return Array.from({ length: queries.count }, () => []);
    const { indices, scores } = this.search(queries, found);
    const match = (at: number): ItemMemoryMatch => {
      const index = indices[at]!;
      return { name: this.#names.at(index)!, index, score: scores[at]! };
    };
    return Array.from(
      { length: queries.count },
      (_, query) => Array.from({ length: found }, (_, i) => match(query * found + i)),
    );
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#vectors?.[Symbol.dispose]();
  }
}

function checkCapacity(capacity: number): number {
  return checkCount(capacity, "capacity", { min: 1, max: ITEMS_MAX });
}

/** Checks the names that a header holds. */
function savedNames(names: unknown): string[] {
  if (!Array.isArray(names) || !names.every((name) => typeof name === "string")) {
    throw tritterError("invalid_format", `names must be strings, got ${describe(names)}`);
  }
  if (names.length > ITEMS_MAX) {
    throw tritterError("invalid_format", `names must be at most ${ITEMS_MAX}, got ${names.length}`);
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
