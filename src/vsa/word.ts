// The two sizes of words: trytes of three trits and words of six.

import {
  checkValue,
  checkWord,
  KEY,
  TernaryWord,
  valueOfRaw,
  valueOfTrits,
  type WordKind,
} from "./ternary_word.ts";

const TRYTE3: WordKind = {
  name: "Tryte3",
  trits: 3,
  modulus: 27,
  max: 13,
  make: (value) => Tryte3.fromValue(value),
};

/**
 * A tryte: three trits, an integer from -13 to 13.
 *
 * @example
 * ```ts
 * import { Tryte3 } from "tritter-accel";
 *
 * const tryte = Tryte3.fromValue(5);
 * console.log(`${tryte}`, tryte.raw, tryte.negate().value); // +-- 32 -5
 * ```
 */
export class Tryte3 extends TernaryWord {
  /** The largest value; the smallest is its negative. */
  static readonly max: number = TRYTE3.max;

  /** Number of trits. */
  declare readonly length: 3;

  private constructor(key: symbol, value: number) {
    super(key, TRYTE3, value);
  }

  /**
   * Makes the tryte of a value; throws `invalid_value` unless it is an integer from -13 to 13.
   *
   * @example
   * ```ts
   * import { Tryte3 } from "tritter-accel";
   *
   * console.log(Tryte3.fromValue(-13).toTrits()); // Int8Array [ -1, -1, -1 ]
   * ```
   */
  static fromValue(value: number): Tryte3 {
    return new Tryte3(KEY, checkValue(value, TRYTE3));
  }

  /**
   * Makes the tryte of three trits, least significant first.
   *
   * Throws `invalid_length` for any other number of trits, and `invalid_value` naming the index for
   * values other than -1, 0 and 1.
   *
   * @example
   * ```ts
   * import { Tryte3 } from "tritter-accel";
   *
   * console.log(Tryte3.fromTrits(Int8Array.of(-1, -1, 1)).value); // 5
   * ```
   */
  static fromTrits(trits: Int8Array): Tryte3 {
    return new Tryte3(KEY, valueOfTrits(trits, TRYTE3));
  }

  /**
   * Makes the tryte of six bits as `raw` has them.
   *
   * Throws `invalid_value` for numbers that are not integers from 0 to 63 and for the code 3, which
   * trit-vsa reads as a trit of 0.
   *
   * @example
   * ```ts
   * import { Tryte3 } from "tritter-accel";
   *
   * console.log(Tryte3.fromRaw(0b100101).value); // 9
   * ```
   */
  static fromRaw(raw: number): Tryte3 {
    return new Tryte3(KEY, valueOfRaw(raw, TRYTE3));
  }
}

const WORD6: WordKind = {
  name: "Word6",
  trits: 6,
  modulus: 729,
  max: 364,
  make: (value) => Word6.fromValue(value),
};

/**
 * A word: six trits, an integer from -364 to 364.
 *
 * @example
 * ```ts
 * import { Word6 } from "tritter-accel";
 *
 * const { low, high } = Word6.fromValue(50).multiply(Word6.fromValue(50));
 * console.log(low.value, high.value, low.value + 729 * high.value); // 313 3 2500
 * ```
 */
export class Word6 extends TernaryWord {
  /** The largest value; the smallest is its negative. */
  static readonly max: number = WORD6.max;

  /** Number of trits. */
  declare readonly length: 6;

  private constructor(key: symbol, value: number) {
    super(key, WORD6, value);
  }

  /**
   * Makes the word of a value; throws `invalid_value` unless it is an integer from -364 to 364.
   *
   * @example
   * ```ts
   * import { Word6 } from "tritter-accel";
   *
   * console.log(`${Word6.fromValue(364)}`); // ++++++
   * ```
   */
  static fromValue(value: number): Word6 {
    return new Word6(KEY, checkValue(value, WORD6));
  }

  /**
   * Makes the word of six trits, least significant first.
   *
   * Throws `invalid_length` for any other number of trits, and `invalid_value` naming the index for
   * values other than -1, 0 and 1.
   *
   * @example
   * ```ts
   * import { Word6 } from "tritter-accel";
   *
   * console.log(Word6.fromTrits(Int8Array.of(0, 0, 1, 0, 0, 1)).value); // 252
   * ```
   */
  static fromTrits(trits: Int8Array): Word6 {
    return new Word6(KEY, valueOfTrits(trits, WORD6));
  }

  /**
   * Makes the word of twelve bits as `raw` has them.
   *
   * Throws `invalid_value` for numbers that are not integers from 0 to 4095 and for the code 3,
   * which trit-vsa reads as a trit of 0.
   *
   * @example
   * ```ts
   * import { Word6 } from "tritter-accel";
   *
   * console.log(Word6.fromRaw(0b010101010101).value); // 0
   * ```
   */
  static fromRaw(raw: number): Word6 {
    return new Word6(KEY, valueOfRaw(raw, WORD6));
  }

  /**
   * Makes the word of two trytes: its value is low + 27 x high.
   *
   * Throws `invalid_type` for anything but trytes.
   *
   * @example
   * ```ts
   * import { Tryte3, Word6 } from "tritter-accel";
   *
   * console.log(Word6.fromTrytes(Tryte3.fromValue(-2), Tryte3.fromValue(4)).value); // 106
   * ```
   */
  static fromTrytes(low: Tryte3, high: Tryte3): Word6 {
    return new Word6(
      KEY,
      checkWord(low, TRYTE3, "low") + TRYTE3.modulus * checkWord(high, TRYTE3, "high"),
    );
  }

  /**
   * Returns the three least and the three most significant trits.
   *
   * @example
   * ```ts
   * import { Word6 } from "tritter-accel";
   *
   * const { low, high } = Word6.fromValue(106).toTrytes();
   * console.log(low.value, high.value); // -2 4
   * ```
   */
  toTrytes(): { low: Tryte3; high: Tryte3 } {
    const trits = this.toTrits();
    return { low: Tryte3.fromTrits(trits.slice(0, 3)), high: Tryte3.fromTrits(trits.slice(3)) };
  }
}
