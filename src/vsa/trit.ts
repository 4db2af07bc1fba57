// One trit: its tables, its two bits and its sign on paper.

import { checkArray, checkCount, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";

/**
 * A balanced ternary digit; the object of the same name has its arithmetic.
 *
 * @example
 * ```ts
 * import { Trit } from "tritter-accel";
 *
 * const trit: Trit = Trit.multiply(-1, 1);
 * console.log(trit, Trit.format(trit)); // -1 -
 * ```
 */
export type Trit = -1 | 0 | 1;

/** Checks that a value is a trit; minus zero becomes zero. */
function checkTrit(value: unknown, name: string): Trit {
  if (typeof value !== "number") {
    throw tritterError("invalid_type", `${name} must be a number, got ${describe(value)}`);
  }
  if (value !== -1 && value !== 0 && value !== 1) {
    throw tritterError("invalid_value", `${name} must be -1, 0 or 1, got ${value}`);
  }
  return value + 0 as Trit;
}

/** Checks that an Int8Array holds only trits, and is of one length where a length is given. */
export function checkTrits(value: unknown, name: string, length?: number): Int8Array {
  const trits = checkArray(value, Int8Array, name, length);
  for (let index = 0; index < trits.length; index += 1) {
    const trit = trits[index]!;
    if (trit < -1 || trit > 1) {
      throw tritterError("invalid_value", `${name}[${index}] must be -1, 0 or 1, got ${trit}`);
    }
  }
  return trits;
}

/** Writes a sum from -3 to 3 as digit + 3 x carry. */
export function splitSum(sum: number): { digit: Trit; carry: Trit } {
  const carry = sum > 1 ? 1 : sum < -1 ? -1 : 0;
  return { digit: sum - 3 * carry as Trit, carry };
}

/** The sign of a trit on paper. */
export function formatTrit(trit: number): string {
  return trit > 0 ? "+" : trit < 0 ? "-" : "0";
}

/** The functions of `Trit`, with what they take, return and throw. */
export interface TritArithmetic {
  /**
   * Returns whether a value is one of the numbers -1, 0 and 1.
   *
   * @example
   * ```ts
   * import { Trit } from "tritter-accel";
   *
   * console.log(Trit.is(-1), Trit.is(2), Trit.is("1")); // true false false
   * ```
   */
  is(value: unknown): value is Trit;

  /**
   * Returns a number as a trit, and throws `invalid_value` if it is none.
   *
   * @example
   * ```ts
   * import { Trit } from "tritter-accel";
   *
   * const trit: Trit = Trit.from(Math.sign(-0.3));
   * console.log(trit); // -1
   * ```
   */
  from(value: number): Trit;

  /**
   * Swaps -1 and 1.
   *
   * @example
   * ```ts
   * import { Trit } from "tritter-accel";
   *
   * console.log(Trit.negate(1), Trit.negate(0)); // -1 0
   * ```
   */
  negate(trit: Trit): Trit;

  /**
   * Returns the ordinary product, which is a trit again.
   *
   * @example
   * ```ts
   * import { Trit } from "tritter-accel";
   *
   * console.log(Trit.multiply(-1, -1)); // 1
   * ```
   */
  multiply(a: Trit, b: Trit): Trit;

  /**
   * Returns the ordinary sum as two digits: a + b = digit + 3 x carry.
   *
   * @example
   * ```ts
   * import { Trit } from "tritter-accel";
   *
   * console.log(Trit.addWithCarry(-1, -1)); // { digit: 1, carry: -1 }
   * ```
   */
  addWithCarry(a: Trit, b: Trit): { digit: Trit; carry: Trit };

  /**
   * Returns the trit that equals a + b modulo 3.
   *
   * Commutative and associative; `subtractModulo3` undoes it. Elementwise it binds hypervectors
   * with the mode `"add"`; trit-vsa calls it unbind.
   *
   * @example
   * ```ts
   * import { Trit } from "tritter-accel";
   *
   * console.log(Trit.addModulo3(1, 1)); // -1
   * ```
   */
  addModulo3(a: Trit, b: Trit): Trit;

  /**
   * Returns the trit that equals a - b modulo 3.
   *
   * Neither commutative nor associative; `addModulo3` undoes it. Elementwise it binds hypervectors
   * with the mode `"subtract"`, which is trit-vsa's bind.
   *
   * @example
   * ```ts
   * import { Trit } from "tritter-accel";
   *
   * console.log(Trit.subtractModulo3(-1, 1)); // 1
   * ```
   */
  subtractModulo3(a: Trit, b: Trit): Trit;

  /**
   * Returns the bits of a trit in the two planes of a hypervector.
   *
   * @example
   * ```ts
   * import { Trit } from "tritter-accel";
   *
   * console.log(Trit.toBits(-1)); // { plus: 0, minus: 1 }
   * ```
   */
  toBits(trit: Trit): { plus: 0 | 1; minus: 0 | 1 };

  /**
   * Returns the trit that two bits stand for: plus - minus.
   *
   * Throws `invalid_value` for numbers other than 0 and 1, and if both bits are set, which
   * trit-vsa reads as 1.
   *
   * @example
   * ```ts
   * import { Trit } from "tritter-accel";
   *
   * console.log(Trit.fromBits(1, 0)); // 1
   * ```
   */
  fromBits(plus: number, minus: number): Trit;

  /**
   * Returns "-", "0" or "+".
   *
   * @example
   * ```ts
   * import { Trit } from "tritter-accel";
   *
   * console.log(Trit.format(1)); // +
   * ```
   */
  format(trit: Trit): string;

  /**
   * Returns the trit that "-", "0" or "+" stands for, and throws `invalid_value` for other text.
   *
   * @example
   * ```ts
   * import { Trit } from "tritter-accel";
   *
   * console.log(Trit.parse("-")); // -1
   * ```
   */
  parse(text: string): Trit;
}

/**
 * The arithmetic of single trits: plain functions, on plain numbers.
 *
 * Arguments other than the numbers -1, 0 and 1 throw `invalid_type` or `invalid_value`. Results are
 * never minus zero. The tables are those of trit-vsa.
 *
 * @example
 * ```ts
 * import { Trit } from "tritter-accel";
 *
 * console.log(Trit.addWithCarry(1, 1)); // { digit: -1, carry: 1 }
 * ```
 */
export const Trit: TritArithmetic = {
  is(value: unknown): value is Trit {
    return value === -1 || value === 0 || value === 1;
  },
  from(value: number): Trit {
    return checkTrit(value, "value");
  },
  negate(trit: Trit): Trit {
    return 0 - checkTrit(trit, "trit") as Trit;
  },
  multiply(a: Trit, b: Trit): Trit {
    return checkTrit(a, "a") * checkTrit(b, "b") + 0 as Trit;
  },
  addWithCarry(a: Trit, b: Trit): { digit: Trit; carry: Trit } {
    return splitSum(checkTrit(a, "a") + checkTrit(b, "b"));
  },
  addModulo3(a: Trit, b: Trit): Trit {
    return splitSum(checkTrit(a, "a") + checkTrit(b, "b")).digit;
  },
  subtractModulo3(a: Trit, b: Trit): Trit {
    return splitSum(checkTrit(a, "a") - checkTrit(b, "b")).digit;
  },
  toBits(trit: Trit): { plus: 0 | 1; minus: 0 | 1 } {
    checkTrit(trit, "trit");
    return { plus: trit === 1 ? 1 : 0, minus: trit === -1 ? 1 : 0 };
  },
  fromBits(plus: number, minus: number): Trit {
    checkCount(plus, "plus", { max: 1 });
    checkCount(minus, "minus", { max: 1 });
    if (plus === 1 && minus === 1) {
      throw tritterError("invalid_value", "minus must be 0 where plus is 1, got 1");
    }
    return plus - minus + 0 as Trit;
  },
  format(trit: Trit): string {
    return formatTrit(checkTrit(trit, "trit"));
  },
  parse(text: string): Trit {
    if (typeof text !== "string") {
      throw tritterError("invalid_type", `text must be a string, got ${describe(text)}`);
    }
    if (text !== "-" && text !== "0" && text !== "+") {
      throw tritterError("invalid_value", `text must be "-", "0" or "+", got ${describe(text)}`);
    }
    return text === "-" ? -1 : text === "0" ? 0 : 1;
  },
};
