// Texts as bundles of their n-grams.

import { checkArray, checkCount, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { checkOut, signOf, type SignOptions } from "./bundling.ts";
import { Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { handleOf, type Hypervectors } from "./hypervectors.ts";
import {
  type BindMode,
  bindOperation,
  checkDim,
  checkSeed,
  deviceOf,
  type RandomOptions,
  randomShare,
} from "./options.ts";
import { settled } from "./ownership.ts";
import { SymbolTable, type SymbolText } from "./symbol_table.ts";

/** How texts are encoded. */
export interface NgramEncoderOptions extends RandomOptions {
  /** Symbols of an n-gram, from 1 to 64. Default: 3. */
  n?: number | undefined;
  /** How the symbols of an n-gram are bound. Default: `"multiply"`. */
  mode?: BindMode | undefined;
  /** Decides the vectors of the symbols. Default: 0. */
  seed?: number | bigint | undefined;
}

const N_MAX = 64;
/** Items without zeros bound by multiplication: half the work. */
const MULTIPLY_BIPOLAR = 3;

/**
 * Encodes texts as bundles of their n-grams.
 *
 * An n-gram of the symbols s[0], ..., s[n - 1] is the binding, from the left, of their vectors, that of
 * s[j] permuted by n - 1 - j; a text is the sign of the sum of all its n-grams (Joshi, Halseth,
 * Kanerva 2015). A text shorter than n gives zeros. Symbols are the code points of a string, or the
 * numbers of a Uint32Array. The vector of a symbol is row `symbol` of `HypervectorBatch.random` with the
 * same seed and distribution (`"bipolar"` unless told), so any text can be encoded, and alike in every
 * process; those seen so far are kept, n vectors each.
 *
 * It owns native memory: declare it with `using` or call `[Symbol.dispose]()`.
 *
 * @example
 * ```ts
 * import { NgramEncoder } from "tritter-accel";
 *
 * using encoder = new NgramEncoder(10_000);
 * using a = encoder.encode("the cat sat on the mat");
 * using b = encoder.encode("the cat sat on the hat");
 * using c = encoder.encode("un chat est sur le lit");
 * console.log(a.cosine(b) > 0.5, a.cosine(c) < 0.3); // true true
 * ```
 */
export class NgramEncoder implements Disposable {
  /** Trits of each vector. */
  readonly dim: number;
  /** Symbols of an n-gram. */
  readonly n: number;
  /** Where it computes. */
  readonly device: "cpu";

  readonly #mode: number;
  readonly #table: SymbolTable;

  /**
   * Makes an encoder to vectors of `dim` trits.
   *
   * @example
   * ```ts
   * import { NgramEncoder } from "tritter-accel";
   *
   * using encoder = new NgramEncoder(1000, { n: 4, seed: 7 });
   * console.log(encoder.n); // 4
   * ```
   */
  constructor(dim: number, options?: NgramEncoderOptions) {
    const { n, mode, seed, distribution } = checkOptions(options, "options");
    this.device = deviceOf(options);
    this.dim = checkDim(dim);
    this.n = checkCount(n ?? 3, "n", { min: 1, max: N_MAX });
    const items = distribution ?? "bipolar";
    const operation = bindOperation(mode ?? "multiply");
    this.#mode = operation === 2 && items === "bipolar" ? MULTIPLY_BIPOLAR : operation;
    const { device } = this;
    this.#table = new SymbolTable(dim, this.n, checkSeed(seed ?? 0), randomShare(items), {
      device,
    });
  }

  /** Symbols that have been seen. */
  get symbols(): number {
    return this.#table.size;
  }

  /** Memory of the symbols' vectors, in bytes. */
  get memoryBytes(): number {
    return this.#table.rows.memoryBytes;
  }

  /**
   * Encodes a text. Options are those of bundling; `tie: "first"` takes the trits of the first n-gram.
   *
   * @example
   * ```ts
   * import { NgramEncoder } from "tritter-accel";
   *
   * using encoder = new NgramEncoder(1000);
   * using a = encoder.encode("tritter", { tie: "positive" });
   * console.log(a.sparsity); // 0
   * ```
   */
  encode(text: SymbolText, options?: SignOptions<Hypervector>): Hypervector {
    const checked = checkOptions(options, "options");
    const { dim, device } = this;
    return this.#encode([text], checked, 1, () => new Hypervector(dim, { device }));
  }

  /**
   * Encodes texts, one to each row, in one call. Ties of zero are random by the row.
   *
   * @example
   * ```ts
   * import { NgramEncoder } from "tritter-accel";
   *
   * using encoder = new NgramEncoder(1000);
   * using words = encoder.encodeAll(["apple", "apples", "pear"]);
   * console.log(words.count); // 3
   * ```
   */
  encodeAll(
    texts: readonly SymbolText[],
    options?: SignOptions<HypervectorBatch>,
  ): HypervectorBatch {
    const checked = checkOptions(options, "options");
    const { length } = checkTexts(texts);
    const { dim, device } = this;
    return this.#encode(
      texts,
      checked,
      length,
      () => new HypervectorBatch(length, dim, { device }),
    );
  }

  #encode<T extends Hypervectors>(
    texts: readonly SymbolText[],
    options: SignOptions<T>,
    rows: number,
    make: () => T,
  ): T {
    const { tie, seed, threshold } = signOf(options as SignOptions<never>);
    const out = checkOut(options.out, this, rows);
    const { symbols, count, lengths } = this.#table.read(texts);
    const table = handleOf(this.#table.rows);
    const target = out ?? make();
    return settled(
      native.ngrams_encode(
        table,
        this.n,
        this.#mode,
        symbols,
        count,
        lengths,
        lengths.length,
        handleOf(target),
        tie,
        seed,
        threshold,
      ),
      target,
      out,
    );
  }

  /**
   * Returns the sums of the n-grams' trits of a text, or of each of a list of texts, row by row: what
   * `encode` takes the sign of.
   *
   * `out` takes them instead of a new array.
   *
   * @example
   * ```ts
   * import { NgramEncoder } from "tritter-accel";
   *
   * using encoder = new NgramEncoder(1000);
   * console.log(encoder.counts(["aaaa", "abc"]).length); // 2000
   * ```
   */
  counts(
    texts: SymbolText | readonly SymbolText[],
    options?: { out?: Int32Array | undefined },
  ): Int32Array<ArrayBuffer> {
    const { out } = checkOptions(options, "options");
    const list = Array.isArray(texts) ? checkTexts(texts) : [texts as SymbolText];
    const length = list.length * this.dim;
    if (length >= 2 ** 32) {
      throw tritterError(
        "invalid_length",
        `an array must have fewer than 2^32 elements, got ${length} counts`,
      );
    }
    const counts = out === undefined
      ? new Int32Array(length)
      : checkArray(out, Int32Array, "out", length);
    const { symbols, count, lengths } = this.#table.read(list);
    check(native.ngrams_count(
      handleOf(this.#table.rows),
      this.n,
      this.#mode,
      symbols,
      count,
      lengths,
      lengths.length,
      counts,
      counts.length,
    ));
    return counts as Int32Array<ArrayBuffer>;
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#table[Symbol.dispose]();
  }
}

function checkTexts(texts: readonly SymbolText[]): readonly SymbolText[] {
  if (Array.isArray(texts) && texts.length > 0) return texts;
  throw tritterError(
    "invalid_value",
    `texts must be a list of at least one text, got ${describe(texts)}`,
  );
}
