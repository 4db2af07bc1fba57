// What words of a few trits have in common, with the two-bit codes of trit-vsa.
//
//   raw    bits 2i, 2i+1 = trit i, least significant first     0 = -1, 1 = 0, 2 = +1, 3 is no trit

import { checkCount, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { checkTrits, formatTrit, type Trit } from "./trit.ts";

/** What only the library can pass to the constructors: at run time nothing else makes them private. */
export const KEY: unique symbol = Symbol("TernaryWord");

/** What sets one kind of word apart from another. */
export interface WordKind {
  readonly name: string;
  readonly trits: number;
  /** 3 to the power of `trits`. */
  readonly modulus: number;
  /** The largest value; the smallest is its negative. */
  readonly max: number;
  make(value: number): TernaryWord;
}

/** A sum of two words: result + carry x 3^length. */
export interface WordSum<W extends TernaryWord> {
  /** The sum, brought into the range of the class. */
  readonly result: W;
  /** What it had to be brought by, in units of 3^length. */
  readonly carry: Trit;
}

/** A product of two words: low + high x 3^length. */
export interface WordProduct<W extends TernaryWord> {
  /** The product, brought into the range of the class. */
  readonly low: W;
  /** The rest, in units of 3^length. */
  readonly high: W;
}

let kindOf: (value: unknown) => WordKind | undefined;

/**
 * What `Tryte3` and `Word6` have in common: a small integer of a fixed number of trits.
 *
 * Words are immutable. Operations of two words take two of the same class and throw `invalid_type`
 * otherwise. The arithmetic and the codes of `raw` are those of trit-vsa.
 *
 * @example
 * ```ts
 * import { type TernaryWord, Tryte3, Word6 } from "tritter-accel";
 *
 * const words: TernaryWord[] = [Tryte3.fromValue(5), Word6.fromValue(5)];
 * console.log(words.map(String)); // [ "+--", "000+--" ]
 * ```
 */
export abstract class TernaryWord {
  /** Number of trits. */
  readonly length: number;
  /** The integer that the word stands for. */
  readonly value: number;

  readonly #kind: WordKind;

  /** Words are made by the functions of the classes that inherit from this one. */
  protected constructor(key: symbol, kind: object, value: number) {
    if (key !== KEY) {
      const { name } = new.target;
      throw tritterError(
        "invalid_type",
        new.target === TernaryWord as unknown
          ? "TernaryWord is made by the functions of Tryte3 and Word6"
          : `${name} is made by ${name}.fromValue, fromTrits or fromRaw`,
      );
    }
    this.#kind = kind as WordKind;
    this.length = this.#kind.trits;
    this.value = value + 0; // Never minus zero.
    Object.freeze(this);
  }

  static {
    // Only what went through the constructor has a kind: an object that merely inherits has none.
    kindOf = (value) =>
      typeof value === "object" && value !== null && #kind in value ? value.#kind : undefined;
  }

  /** The value of the other word, if it is one of the same class. */
  #valueOf(other: unknown): number {
    return checkWord(other, this.#kind, "other");
  }

  /** Writes an integer as low + modulus x high, with low within the range of the class. */
  #split(integer: number): { low: number; high: number } {
    const { modulus } = this.#kind;
    // The modulus is odd: no quotient lies halfway between two integers.
    const high = Math.round(integer / modulus);
    return { low: integer - modulus * high, high };
  }

  /**
   * The trits as two-bit codes: 0 for -1, 1 for 0, 2 for 1, trit i at bits 2i and 2i + 1.
   *
   * @example
   * ```ts
   * import { Tryte3 } from "tritter-accel";
   *
   * console.log(Tryte3.fromValue(0).raw); // 21, which is 0b010101
   * ```
   */
  get raw(): number {
    return this.toTrits().reduce((raw, trit, index) => raw | (trit + 1) << 2 * index, 0);
  }

  /** Whether the value is zero. */
  get isZero(): boolean {
    return this.value === 0;
  }

  /**
   * Returns one trit; index 0 is the least significant one.
   *
   * Throws `invalid_value` for an index that the word does not have.
   *
   * @example
   * ```ts
   * import { Tryte3 } from "tritter-accel";
   *
   * console.log(Tryte3.fromValue(9).trit(2)); // 1
   * ```
   */
  trit(index: number): Trit {
    checkCount(index, "index", { max: this.#kind.trits - 1 });
    // With the largest value added, the digits -1, 0 and 1 become 0, 1 and 2.
    return Math.floor((this.value + this.#kind.max) / 3 ** index) % 3 - 1 as Trit;
  }

  /**
   * Returns all trits, least significant first.
   *
   * @example
   * ```ts
   * import { Tryte3 } from "tritter-accel";
   *
   * console.log(Tryte3.fromValue(5).toTrits()); // Int8Array [ -1, -1, 1 ]
   * ```
   */
  toTrits(): Int8Array<ArrayBuffer> {
    const { trits } = this.#kind;
    return Int8Array.from({ length: trits }, (_, index) => this.trit(index));
  }

  /**
   * Returns the word of the negative value.
   *
   * @example
   * ```ts
   * import { Word6 } from "tritter-accel";
   *
   * console.log(Word6.fromValue(364).negate().value); // -364
   * ```
   */
  negate(): this {
    return this.#kind.make(-this.value) as this;
  }

  /**
   * Adds: the true sum is result + carry x 3^length.
   *
   * @example
   * ```ts
   * import { Tryte3 } from "tritter-accel";
   *
   * const { result, carry } = Tryte3.fromValue(13).add(Tryte3.fromValue(1));
   * console.log(result.value, carry); // -13 1
   * ```
   */
  add(other: this): WordSum<this> {
    const { low, high } = this.#split(this.value + this.#valueOf(other));
    return { result: this.#kind.make(low) as this, carry: high + 0 as Trit };
  }

  /**
   * Multiplies: the true product is low + high x 3^length.
   *
   * @example
   * ```ts
   * import { Tryte3 } from "tritter-accel";
   *
   * const { low, high } = Tryte3.fromValue(10).multiply(Tryte3.fromValue(10));
   * console.log(low.value, high.value); // -8 4
   * ```
   */
  multiply(other: this): WordProduct<this> {
    const { low, high } = this.#split(this.value * this.#valueOf(other));
    return { low: this.#kind.make(low) as this, high: this.#kind.make(high) as this };
  }

  /**
   * Compares the values: -1 if this one is less than the other, 0 if they are equal, 1 if it is more.
   *
   * @example
   * ```ts
   * import { Word6 } from "tritter-accel";
   *
   * const words = [7, -300, 40].map((value) => Word6.fromValue(value));
   * console.log(words.sort((a, b) => a.compare(b)).map(({ value }) => value)); // [ -300, 7, 40 ]
   * ```
   */
  compare(other: this): Trit {
    return Math.sign(this.value - this.#valueOf(other)) as Trit;
  }

  /**
   * Returns whether the values are equal.
   *
   * @example
   * ```ts
   * import { Tryte3 } from "tritter-accel";
   *
   * console.log(Tryte3.fromValue(1).equals(Tryte3.fromRaw(0b010110))); // true
   * ```
   */
  equals(other: this): boolean {
    return this.value === this.#valueOf(other);
  }

  /**
   * Returns the trits as "-", "0" and "+", the most significant one first.
   *
   * @example
   * ```ts
   * import { Tryte3 } from "tritter-accel";
   *
   * console.log(`${Tryte3.fromValue(-4)}`); // 0--
   * ```
   */
  toString(): string {
    return Array.from(this.toTrits(), formatTrit).reverse().join("");
  }
}

/** Checks that a value is a word of one kind, and returns what it stands for. */
export function checkWord(word: unknown, kind: WordKind, name: string): number {
  const actual = kindOf(word);
  if (actual === kind) return (word as TernaryWord).value;
  throw tritterError(
    "invalid_type",
    `${name} must be a ${kind.name}, got ${actual ? `a ${actual.name}` : describe(word)}`,
  );
}

/** Checks that a value is within the range of a kind of words. */
export function checkValue(value: number, { max }: WordKind): number {
  return checkCount(value, "value", { min: -max, max });
}

/** The value of trits, least significant first. */
export function valueOfTrits(trits: Int8Array, kind: WordKind): number {
  return checkTrits(trits, "trits", kind.trits)
    .reduceRight((value, trit) => 3 * value + trit, 0);
}

/** The value of two-bit codes. */
export function valueOfRaw(raw: number, kind: WordKind): number {
  checkCount(raw, "raw", { max: 4 ** kind.trits - 1 });
  let value = 0;
  for (let index = kind.trits - 1; index >= 0; index -= 1) {
    const code = raw >> 2 * index & 3;
    if (code === 3) {
      throw tritterError(
        "invalid_value",
        `raw must have the codes 0 to 2, got 3 for trit ${index}`,
      );
    }
    value = 3 * value + code - 1;
  }
  return value;
}
