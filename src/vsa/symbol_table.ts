// The vectors that stand for the symbols of a text, at every place of an n-gram.

import { checkArray, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { handleOf } from "./hypervectors.ts";
import type { HypervectorOptions } from "./options.ts";
import { filled } from "./ownership.ts";

/** A text: its code points are the symbols; or the symbols themselves, any numbers below 2^32. */
export type SymbolText = string | Uint32Array;

/** Symbols of one or more texts, as indices into the table. */
export interface Indices {
  /** Those of all texts; longer than needed. */
  symbols: Uint32Array;
  /** How many there are. */
  count: number;
  /** How many each text has. */
  lengths: Uint32Array;
}

const CODE_UNITS = 2 ** 16;
const CAPACITY_FIRST = 64;
const NEW = -1;

let scratch = new Uint32Array(4096);
const oneLength = new Uint32Array(1);

/**
 * A table that grows with the symbols it is asked for: row n * i + j is the item of the i-th symbol,
 * permuted n - 1 - j times.
 */
export class SymbolTable implements Disposable {
  readonly #n: number;
  readonly #seed: bigint;
  readonly #share: number;
  readonly #device: HypervectorOptions;
  #rows: HypervectorBatch;
  /** Index of each symbol; of those below 2^16 in an array. */
  readonly #indices: Map<number, number> = new Map();
  readonly #units: Int32Array = new Int32Array(CODE_UNITS).fill(NEW);

  constructor(dim: number, n: number, seed: bigint, share: number, options: HypervectorOptions) {
    this.#n = n;
    this.#seed = seed;
    this.#share = share;
    this.#device = options;
    this.#rows = new HypervectorBatch(CAPACITY_FIRST * n, dim, options);
  }

  /** The vectors. */
  get rows(): HypervectorBatch {
    return this.#rows;
  }

  /** Symbols that have been seen. */
  get size(): number {
    return this.#indices.size;
  }

  /** The indices of the symbols of texts, valid until the next call. New symbols get vectors. */
  read(texts: readonly SymbolText[]): Indices {
    // A copy, so that what has been checked is what is read.
    const list = Array.from(texts, checkText);
    const most = list.reduce((sum, text) => sum + text.length, 0);
    if (most >= 2 ** 32) {
      throw tritterError("invalid_length", `texts must have fewer than 2^32 symbols, got ${most}`);
    }
    if (scratch.length < most) scratch = new Uint32Array(Math.min(2 * most, 2 ** 32 - 1));
    const lengths = list.length === 1 ? oneLength : new Uint32Array(list.length);
    const fresh: number[] = [];
    let count = 0;
    for (let index = 0; index < list.length; index++) {
      const text = list[index]!;
      const end = typeof text === "string"
        ? this.#readString(text, count, fresh)
        : this.#readSymbols(text, count, fresh);
      lengths[index] = end - count;
      count = end;
    }
    if (fresh.length > 0) this.#learn(fresh);
    return { symbols: scratch, count, lengths };
  }

  #readString(text: string, start: number, fresh: number[]): number {
    const units = this.#units;
    let count = start;
    for (let place = 0; place < text.length; place++) {
      let symbol = text.charCodeAt(place);
      if (symbol >= 0xd800 && symbol < 0xdc00) {
        symbol = text.codePointAt(place)!;
        if (symbol >= CODE_UNITS) place++;
      }
      const index = symbol < CODE_UNITS ? units[symbol]! : NEW;
      scratch[count++] = index === NEW ? this.#find(symbol, fresh) : index;
    }
    return count;
  }

  #readSymbols(symbols: Uint32Array, start: number, fresh: number[]): number {
    // Shared memory may have grown since its length was asked; what was not counted is left out.
    const length = Math.min(symbols.length, scratch.length - start);
    for (let place = 0; place < length; place++) {
      scratch[start + place] = this.#find(symbols[place]!, fresh);
    }
    return start + length;
  }

  /** The index of a symbol; that of a new one is the next, and it is noted. */
  #find(symbol: number, fresh: number[]): number {
    const known = this.#indices.get(symbol);
    if (known !== undefined) return known;
    const index = this.#indices.size;
    this.#indices.set(symbol, index);
    if (symbol < CODE_UNITS) this.#units[symbol] = index;
    fresh.push(symbol);
    return index;
  }

  /** Makes the vectors of the symbols that were noted last; without memory for them they are forgotten. */
  #learn(fresh: readonly number[]): void {
    const first = this.#indices.size - fresh.length;
    try {
      this.#reserve(this.#indices.size);
      using items = new HypervectorBatch(fresh.length, this.#rows.dim, this.#device);
      const symbols = Uint32Array.from(fresh);
      check(native.vectors_random_rows(
        handleOf(items),
        0,
        symbols,
        symbols.length,
        this.#seed,
        this.#share,
      ));
      const rows = handleOf(this.#rows);
      for (let place = this.#n - 1; place >= 0; place--) {
        for (let index = 0; index < fresh.length; index++) {
          const row = (first + index) * this.#n + place;
          check(native.vectors_copy(handleOf(items), index, rows, row, 1));
        }
        if (place > 0) items.permute(1, { out: items });
      }
    } catch (error) {
      for (const symbol of fresh) {
        this.#indices.delete(symbol);
        if (symbol < CODE_UNITS) this.#units[symbol] = NEW;
      }
      throw error;
    }
  }

  #reserve(size: number): void {
    const { count, dim } = this.#rows;
    if (size * this.#n <= count) return;
    const capacity = Math.max(size, 2 * Math.floor(count / this.#n));
    const grown = new HypervectorBatch(capacity * this.#n, dim, this.#device);
    const rows = filled(grown, () => grown.set(0, this.#rows));
    this.#rows[Symbol.dispose]();
    this.#rows = rows;
  }

  [Symbol.dispose](): void {
    this.#rows[Symbol.dispose]();
  }
}

function checkText(text: SymbolText, index: number): SymbolText {
  if (typeof text === "string") return text;
  if (text instanceof Uint32Array) return checkArray(text, Uint32Array, `texts[${index}]`);
  throw tritterError(
    "invalid_type",
    `texts[${index}] must be a string or a Uint32Array, got ${describe(text)}`,
  );
}
