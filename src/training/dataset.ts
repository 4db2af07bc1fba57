// Token ids cut into rows of one length, in an order that is a function of a seed and a position.

import { checkArray, checkCount, checkList, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { Tokenizer } from "../inference/tokenizer.ts";
import { allocate } from "./gradients.ts";
import { Permutation } from "../vsa/permutation.ts";

/** Rows for a model: what it reads, and what follows each token. */
export interface TokenBatch {
  /** Token ids, [rows, length] row-major. */
  readonly ids: Int32Array<ArrayBuffer>;
  /** The id after each of them, or -100 where none counts. */
  readonly targets: Int32Array<ArrayBuffer>;
  /** Rows and length. */
  readonly shape: readonly [rows: number, length: number];
}

/** Options of `TokenDataset.fromTexts`. */
export interface TextDatasetOptions {
  /** Tokens in a row. */
  length: number;
  /** Put before every document; default: the tokenizer's; null for none. */
  bosTokenId?: number | null | undefined;
  /** Put after every document; default: none. */
  eosTokenId?: number | null | undefined;
  /** See {@linkcode TokenDataset.fromTokens}. */
  shift?: boolean | undefined;
}

/** How tokens are cut into rows. */
interface Cut {
  length: number;
  rows: number;
  separate: boolean;
  shifts: boolean;
}

/** What only this module can pass to the constructor: at run time nothing else makes it private. */
const KEY = Symbol("TokenDataset");

/** The epoch is the upper half of the seed that orders it. */
const SEED_MAX = 2 ** 32 - 1;

/** The target of a token whose successor does not count. */
const IGNORED_TARGET = -100;

/**
 * Texts as token ids in rows of one length, for a `Trainer`.
 *
 * Which rows make a batch is a function of the seed and of the position (how many rows were drawn
 * before), so training that goes on from a checkpoint sees what it would have seen. Every epoch has
 * an order of its own: `Permutation.random` with the seed plus 2^32 times the number of the epoch.
 *
 * @example
 * ```ts
 * import { TokenDataset } from "tritter-accel";
 *
 * const tokens = Int32Array.from({ length: 100 }, (_, index) => index);
 * const data = TokenDataset.fromTokens(tokens, 16, { shift: false });
 * const { ids, targets } = data.batch(0, 2, 7);
 * console.log(data.rows, targets[0]! - ids[0]!); // 6 1
 * ```
 */
export class TokenDataset {
  /** Tokens in a row. */
  readonly length: number;
  /** Rows in an epoch. */
  readonly rows: number;

  readonly #tokens: Int32Array;
  /** Whether each row stands alone, or goes on in the next. */
  readonly #separate: boolean;
  readonly #shifts: boolean;
  #order: { key: bigint; places: Uint32Array; shift: number } | undefined;

  private constructor(key: symbol, tokens: Int32Array, cut: Cut) {
    if (key !== KEY) {
      throw tritterError(
        "invalid_type",
        "TokenDataset is made by fromTokens, fromRows or fromTexts",
      );
    }
    this.length = cut.length;
    this.rows = cut.rows;
    this.#tokens = tokens;
    this.#separate = cut.separate;
    this.#shifts = cut.shifts;
  }

  /**
   * Cuts one stream of token ids into rows; the last target of a row is the first id of the next.
   *
   * With `shift` (default: true) every epoch begins at another token, at most `length - 1` later, so
   * that texts are not cut at the same places again. What is left at the ends is not used.
   *
   * @example
   * ```ts
   * import { TokenDataset } from "tritter-accel";
   *
   * console.log(TokenDataset.fromTokens(new Int32Array(1000), 128).rows); // 6
   * ```
   */
  static fromTokens(
    tokens: Int32Array,
    length: number,
    options?: { shift?: boolean | undefined },
  ): TokenDataset {
    checkArray(tokens, Int32Array, "tokens");
    checkTokenIds(tokens);
    const { shift = true } = checkOptions(options, "options");
    const size = checkCount(length, "length", { min: 1 });
    const rows = Math.floor((tokens.length - (shift ? size : 1)) / size);
    if (rows < 1) {
      throw tritterError(
        "invalid_length",
        `tokens must fill a row of ${size}, with one more token${
          shift ? ` and ${size - 1} to shift by` : ""
        }, got ${tokens.length}`,
      );
    }
    return new TokenDataset(KEY, new Int32Array(tokens), {
      length: size,
      rows,
      separate: false,
      shifts: shift,
    });
  }

  /**
   * Takes rows of token ids that have nothing to do with each other: the last id of each has no target.
   *
   * @example
   * ```ts
   * import { TokenDataset } from "tritter-accel";
   *
   * const data = TokenDataset.fromRows([[5, 6, 7], [8, 9, 10]]);
   * console.log(data.inOrder(0, 1).targets); // 6 7 -100
   * ```
   */
  static fromRows(rows: readonly (readonly number[] | Int32Array)[]): TokenDataset {
    const isRow = (row: unknown): row is readonly number[] | Int32Array =>
      Array.isArray(row) || (row instanceof Int32Array && ArrayBuffer.isView(row));
    const list = Array.isArray(rows) && rows.every(isRow) ? rows : [];
    const length = list[0]?.length ?? 0;
    if (length < 2 || list.some((row) => row.length !== length)) {
      throw tritterError(
        "invalid_shape",
        `rows must be an array of rows of one length, at least 2, got ${describe(rows)}`,
      );
    }
    const tokens = Int32Array.from(rows.flatMap((row: ArrayLike<number>) => Array.from(row)));
    checkTokenIds(tokens);
    return new TokenDataset(KEY, tokens, {
      length,
      rows: rows.length,
      separate: true,
      shifts: false,
    });
  }

  /**
   * Encodes documents and cuts them, one after the other, into rows.
   *
   * The stream is BOS, document, EOS, BOS, document, EOS and so on, with the ids that are given.
   *
   * @example
   * ```ts
   * import { readDocuments, TokenDataset, Tokenizer } from "tritter-accel";
   *
   * const tokenizer = await Tokenizer.load("examples/models/bitnet-jargon");
   * const documents = readDocuments(["README.md"], { split: "paragraph" });
   * const data = TokenDataset.fromTexts(documents, tokenizer, { length: 64, eosTokenId: 1 });
   * console.log(data.length, data.rows > 20); // 64 true
   * ```
   */
  static fromTexts(
    documents: readonly string[],
    tokenizer: Tokenizer,
    options: TextDatasetOptions,
  ): TokenDataset {
    const { length, eosTokenId = null, shift, ...given } = checkOptions(options, "options");
    if (!(tokenizer instanceof Tokenizer)) {
      throw tritterError(
        "invalid_type",
        `tokenizer must be a Tokenizer, got ${describe(tokenizer)}`,
      );
    }
    const bosTokenId = given.bosTokenId === undefined ? tokenizer.bosTokenId : given.bosTokenId;
    if (bosTokenId !== null) checkCount(bosTokenId, "bosTokenId", { max: 2 ** 31 - 1 });
    if (eosTokenId !== null) checkCount(eosTokenId, "eosTokenId", { max: 2 ** 31 - 1 });
    const tokens: number[] = [];
    for (const document of checkList(documents, "documents")) {
      if (bosTokenId !== null) tokens.push(bosTokenId);
      for (const id of tokenizer.encode(document, { addSpecialTokens: false })) tokens.push(id);
      if (eosTokenId !== null) tokens.push(eosTokenId);
    }
    return TokenDataset.fromTokens(Int32Array.from(tokens), length, { shift });
  }

  /** Number of token ids that the rows are cut from. */
  get tokens(): number {
    return this.#tokens.length;
  }

  /**
   * Returns the rows that come after `position` others in the order of the seed, epoch after epoch.
   *
   * @example
   * ```ts
   * import { TokenDataset } from "tritter-accel";
   *
   * const data = TokenDataset.fromRows([[1, 2], [3, 4], [5, 6]]);
   * console.log(data.batch(6, 3, 1).ids.toSorted()); // the third epoch: 1 2 3 4 5 6
   * ```
   */
  batch(position: number, count: number, seed: number): TokenBatch {
    checkCount(position, "position", { max: Number.MAX_SAFE_INTEGER });
    checkCount(seed, "seed", { max: SEED_MAX });
    const batch = this.#empty(count);
    for (let row = 0; row < count; row += 1) {
      const epoch = Math.floor((position + row) / this.rows);
      const { places, shift } = this.#orderOf(epoch, seed);
      this.#copy(places[(position + row) % this.rows]!, shift, batch, row);
    }
    return batch;
  }

  /** Returns rows in the order of the text, from row `start`; for evaluation. */
  inOrder(start: number, count: number): TokenBatch {
    checkCount(start, "start", { max: this.rows - 1 });
    checkCount(count, "count", { min: 1, max: this.rows - start });
    const batch = this.#empty(count);
    for (let row = 0; row < count; row += 1) this.#copy(start + row, 0, batch, row);
    return batch;
  }

  #empty(count: number): TokenBatch {
    const rows = checkCount(count, "count", { min: 1 });
    const size = rows * this.length;
    return {
      ids: allocate(Int32Array, size) as Int32Array<ArrayBuffer>,
      targets: allocate(Int32Array, size) as Int32Array<ArrayBuffer>,
      shape: [rows, this.length],
    };
  }

  #orderOf(epoch: number, seed: number): { places: Uint32Array; shift: number } {
    const key = BigInt(seed) + (BigInt(epoch) << 32n);
    if (this.#order?.key !== key) {
      const places = Permutation.random(this.rows, key).toUint32Array();
      const shift = this.#shifts ? Permutation.random(this.length, key).toUint32Array()[0]! : 0;
      this.#order = { key, places, shift };
    }
    return this.#order!;
  }

  #copy(row: number, shift: number, { ids, targets }: TokenBatch, to: number): void {
    const { length } = this;
    const start = shift + row * length;
    const known = this.#separate ? length - 1 : length;
    ids.set(this.#tokens.subarray(start, start + length), to * length);
    targets.set(this.#tokens.subarray(start + 1, start + 1 + known), to * length);
    targets.fill(IGNORED_TARGET, to * length + known, (to + 1) * length);
  }
}

function checkTokenIds(tokens: Int32Array): void {
  const index = tokens.findIndex((id) => id < 0);
  if (index >= 0) {
    throw tritterError(
      "invalid_value",
      `tokens[${index}] must be a token id from 0 up, got ${tokens[index]}`,
    );
  }
}
