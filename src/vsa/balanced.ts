// Integers of any size in balanced ternary.
//
//   digits   Int8Array, least significant first     value = sum of digits[i] x 3^i
//   5        [-1, -1, 1]                            -1 - 3 + 9
//
// Conversions go through bigint, whose multiplication and toString the runtimes make faster than
// digit by digit: a million digits take a tenth of a second.

import { checkCount, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { checkTrits, splitSum, type Trit } from "./trit.ts";

/** As many digits as a number holds exactly: (3^34 - 1) / 2 < 2^53. */
const CHUNK = 34;
const CHUNK_POWER = 3n ** BigInt(CHUNK);

/** Checks that a value is an integer that is exact, and returns it as a bigint. */
function checkInteger(value: unknown, name: string): bigint {
  if (typeof value === "bigint") return value;
  if (typeof value !== "number") {
    throw tritterError(
      "invalid_type",
      `${name} must be a number or a bigint, got ${describe(value)}`,
    );
  }
  if (!Number.isSafeInteger(value)) {
    throw tritterError("invalid_value", `${name} must be a safe integer, got ${value}`);
  }
  return BigInt(value);
}

/**
 * Writes an integer of any size in balanced ternary.
 *
 * Digits are -1, 0 and 1, least significant first, as few as the value needs (zero needs one) but at
 * least `minTrits`. Throws `invalid_value` for numbers that are not safe integers: pass a bigint.
 *
 * @example
 * ```ts
 * import { toBalancedTernary } from "tritter-accel";
 *
 * console.log(toBalancedTernary(5)); // Int8Array [ -1, -1, 1 ]
 * console.log(toBalancedTernary(-1n, 3)); // Int8Array [ -1, 0, 0 ]
 * ```
 */
export function toBalancedTernary(value: number | bigint, minTrits = 0): Int8Array<ArrayBuffer> {
  const integer = checkInteger(value, "value");
  const least = checkCount(minTrits, "minTrits");
  const sign = integer < 0n ? -1 : 1;
  const text = (integer < 0n ? -integer : integer).toString(3);
  // More than 11...1 carries into one more digit.
  const needed = text.length + (/^1*2/.test(text) ? 1 : 0);
  const digits = new Int8Array(Math.max(needed, least));
  let carry = 0;
  for (let index = 0; index < needed; index += 1) {
    const plain = index < text.length ? text.charCodeAt(text.length - 1 - index) - 48 : 0;
    const split = splitSum(plain + carry);
    digits[index] = sign * split.digit;
    carry = split.carry;
  }
  return digits;
}

/**
 * Returns the value of balanced ternary digits, least significant first; that of no digits is zero.
 *
 * Throws `invalid_value` naming the index for digits other than -1, 0 and 1.
 *
 * @example
 * ```ts
 * import { fromBalancedTernary } from "tritter-accel";
 *
 * console.log(fromBalancedTernary(Int8Array.of(-1, -1, 1))); // 5n
 * ```
 */
export function fromBalancedTernary(trits: Int8Array): bigint {
  return valueOf(checkTrits(trits, "trits"));
}

function valueOf(digits: Int8Array): bigint {
  let parts: bigint[] = [];
  for (let start = 0; start < digits.length; start += CHUNK) {
    let part = 0;
    for (let index = Math.min(start + CHUNK, digits.length) - 1; index >= start; index -= 1) {
      part = 3 * part + digits[index]!;
    }
    parts.push(BigInt(part));
  }
  // Neighbours in pairs, then pairs of pairs: few products, and most of the work in the largest.
  for (let power = CHUNK_POWER; parts.length > 1; power *= power) {
    const pairs: bigint[] = [];
    for (let index = 0; index < parts.length; index += 2) {
      pairs.push(parts[index]! + power * (parts[index + 1] ?? 0n));
    }
    parts = pairs;
  }
  return parts[0] ?? 0n;
}

/**
 * Adds two integers in balanced ternary, least significant digits first.
 *
 * The sum has as many digits as the longer one, and one more where there is a last carry. Throws
 * `invalid_value` naming the index for digits other than -1, 0 and 1.
 *
 * @example
 * ```ts
 * import { addTernary, fromBalancedTernary, toBalancedTernary } from "tritter-accel";
 *
 * const sum = addTernary(toBalancedTernary(10), toBalancedTernary(2));
 * console.log(fromBalancedTernary(sum)); // 12n
 * ```
 */
export function addTernary(a: Int8Array, b: Int8Array): Int8Array<ArrayBuffer> {
  checkTrits(a, "a");
  checkTrits(b, "b");
  const length = Math.max(a.length, b.length);
  const sum = new Int8Array(length + 1);
  let carry = 0;
  for (let index = 0; index < length; index += 1) {
    const split = splitSum((a[index] ?? 0) + (b[index] ?? 0) + carry);
    sum[index] = split.digit;
    carry = split.carry;
  }
  sum[length] = carry;
  return carry === 0 ? sum.slice(0, length) : sum;
}

/**
 * Multiplies two integers in balanced ternary, least significant digits first.
 *
 * The product has as few digits as it needs; zero has one. Throws `invalid_value` naming the index
 * for digits other than -1, 0 and 1.
 *
 * @example
 * ```ts
 * import { fromBalancedTernary, multiplyTernary, toBalancedTernary } from "tritter-accel";
 *
 * const product = multiplyTernary(toBalancedTernary(4), toBalancedTernary(-2));
 * console.log(fromBalancedTernary(product)); // -8n
 * ```
 */
export function multiplyTernary(a: Int8Array, b: Int8Array): Int8Array<ArrayBuffer> {
  checkTrits(a, "a");
  checkTrits(b, "b");
  return toBalancedTernary(valueOf(a) * valueOf(b));
}

/**
 * Negates an integer in balanced ternary: every digit by itself.
 *
 * Throws `invalid_value` naming the index for digits other than -1, 0 and 1.
 *
 * @example
 * ```ts
 * import { negateTernary } from "tritter-accel";
 *
 * console.log(negateTernary(Int8Array.of(1, -1, 1))); // Int8Array [ -1, 1, -1 ]
 * ```
 */
export function negateTernary(trits: Int8Array): Int8Array<ArrayBuffer> {
  const digits = checkTrits(trits, "trits");
  const negated = new Int8Array(digits.length);
  for (let index = 0; index < digits.length; index += 1) negated[index] = -digits[index]!;
  return negated;
}

/**
 * Compares two integers in balanced ternary: -1 if a < b, 0 if they are equal, 1 if a > b.
 *
 * Zeros in front of the most significant digit make no difference. Throws `invalid_value` naming
 * the index for digits other than -1, 0 and 1.
 *
 * @example
 * ```ts
 * import { compareTernary, toBalancedTernary } from "tritter-accel";
 *
 * console.log(compareTernary(toBalancedTernary(10), toBalancedTernary(5))); // 1
 * ```
 */
export function compareTernary(a: Int8Array, b: Int8Array): Trit {
  checkTrits(a, "a");
  checkTrits(b, "b");
  // All digits below one of weight 3^i together are less than half of 3^i: the first difference decides.
  for (let index = Math.max(a.length, b.length) - 1; index >= 0; index -= 1) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference > 0 ? 1 : -1;
  }
  return 0;
}
