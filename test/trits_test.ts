import assert from "node:assert/strict";
import { test } from "node:test";
import {
  addTernary,
  compareTernary,
  fromBalancedTernary,
  multiplyTernary,
  negateTernary,
  TernaryWord,
  toBalancedTernary,
  Trit,
  Tryte3,
  Word6,
} from "../mod.ts";
import { assertSame, assertThrowsCode, randomTrits, seeded, wrong } from "./support.ts";

const TRITS: readonly Trit[] = [-1, 0, 1];
const PAIRS = TRITS.flatMap((a) => TRITS.map((b) => [a, b] as const));
const SIGNS = "-0+";

/** The table of a function of two trits: a row for each first trit, as the specification prints it. */
function tableOf(call: (a: Trit, b: Trit) => Trit): string {
  const rows = TRITS.map((a) => TRITS.map((b) => SIGNS[call(a, b) + 1]).join(""));
  for (const [a, b] of PAIRS) assert.ok(!Object.is(call(a, b), -0), `${a}, ${b} gives -0`);
  return rows.join(" ");
}

/** An integer from its digits, one multiplication a digit. */
function hornerValue(trits: Int8Array): bigint {
  return trits.reduceRight((value, trit) => 3n * value + BigInt(trit), 0n);
}

/** The digits of an integer, one division a digit. */
function dividedDigits(value: bigint): number[] {
  const digits: number[] = [];
  for (let rest = value; rest !== 0n;) {
    const digit = Number((rest % 3n + 4n) % 3n) - 1;
    digits.push(digit);
    rest = (rest - BigInt(digit)) / 3n;
  }
  return digits.length > 0 ? digits : [0];
}

/** The product as it is learnt at school: digit by digit, with carries. */
function schoolProduct(a: Int8Array, b: Int8Array): number[] {
  const sums = new Array<number>(a.length + b.length + 1).fill(0);
  a.forEach((left, at) => b.forEach((right, by) => sums[at + by]! += left * right));
  for (let index = 0; index + 1 < sums.length; index += 1) {
    const carry = Math.round(sums[index]! / 3);
    sums[index]! -= 3 * carry;
    sums[index + 1]! += carry;
  }
  while (sums.length > 1 && sums.at(-1) === 0) sums.pop();
  return sums;
}

/** An integer of so many random bits, and of random sign. */
function randomInteger(bits: number, random: () => number): bigint {
  let value = 0n;
  for (let left = bits; left > 0; left -= 16) {
    value = value << 16n | BigInt(Math.floor(random() * 65536));
  }
  return random() < 0.5 ? -value : value;
}

test("the tables of two trits are those of the specification", () => {
  assert.equal(tableOf(Trit.multiply), "+0- 000 -0+");
  assert.equal(tableOf(Trit.addModulo3), "+-0 -0+ 0+-");
  assert.equal(tableOf(Trit.subtractModulo3), "0-+ +0- -+0");
  assert.equal(tableOf((a, b) => Trit.addWithCarry(a, b).digit), "+-0 -0+ 0+-");
  assert.equal(tableOf((a, b) => Trit.addWithCarry(a, b).carry), "-00 000 00+");
  for (const [a, b] of PAIRS) {
    const { digit, carry } = Trit.addWithCarry(a, b);
    assert.equal(digit + 3 * carry, a + b);
    assert.equal(Trit.addModulo3(Trit.subtractModulo3(a, b), b), a);
    assert.equal(Trit.subtractModulo3(Trit.addModulo3(a, b), b), a);
  }
});

test("a trit has a negative, two bits and a sign", () => {
  assert.deepEqual(TRITS.map((trit) => Trit.negate(trit)), [1, 0, -1]);
  assert.deepEqual(TRITS.map((trit) => Trit.format(trit)), [...SIGNS]);
  assert.deepEqual([...SIGNS].map((sign) => Trit.parse(sign)), TRITS);
  const bits = TRITS.map((trit) => Trit.toBits(trit));
  assert.deepEqual(bits, [{ plus: 0, minus: 1 }, { plus: 0, minus: 0 }, { plus: 1, minus: 0 }]);
  assert.deepEqual(bits.map(({ plus, minus }) => Trit.fromBits(plus, minus)), TRITS);
});

test("minus zero is the trit zero", () => {
  const minusZero = wrong(-0) as Trit;
  assert.ok(Trit.is(minusZero));
  const zeros = [
    Trit.from(minusZero),
    Trit.negate(minusZero),
    Trit.negate(0),
    Trit.multiply(minusZero, 1),
    Trit.addModulo3(minusZero, minusZero),
    Trit.subtractModulo3(minusZero, 0),
    Trit.addWithCarry(minusZero, minusZero).digit,
    Trit.fromBits(-0, 0),
  ];
  for (const [index, zero] of zeros.entries()) assert.ok(Object.is(zero, 0), `zeros[${index}]`);
});

test("what is no trit is refused", () => {
  for (const value of [-2, 2, 0.5, NaN, Infinity]) {
    assert.ok(!Trit.is(value));
    const trit = wrong(value) as Trit;
    const calls = {
      value: [() => Trit.from(value)],
      trit: [() => Trit.negate(trit), () => Trit.toBits(trit), () => Trit.format(trit)],
      a: [Trit.multiply, Trit.addModulo3, Trit.subtractModulo3, Trit.addWithCarry]
        .map((call) => () => call(trit, 0)),
      b: [Trit.multiply, Trit.addModulo3, Trit.subtractModulo3, Trit.addWithCarry]
        .map((call) => () => call(0, trit)),
    };
    for (const [name, list] of Object.entries(calls)) {
      const message = new RegExp(`^${name} must be -1, 0 or 1, got ${value}$`);
      for (const call of list) assertThrowsCode(call, "invalid_value", message);
    }
  }
  for (const value of ["1", 1n, null, undefined, true]) {
    assert.ok(!Trit.is(value));
    assertThrowsCode(
      () => Trit.from(wrong(value)),
      "invalid_type",
      /^value must be a number, got /,
    );
  }
  for (const bit of [-1, 2, 0.5, NaN]) {
    assertThrowsCode(() => Trit.fromBits(bit, 0), "invalid_value", /^plus must be /);
    assertThrowsCode(() => Trit.fromBits(0, bit), "invalid_value", /^minus must be /);
  }
  assertThrowsCode(() => Trit.fromBits(wrong("1"), 0), "invalid_type");
  assertThrowsCode(() => Trit.fromBits(1, 1), "invalid_value", /^minus must be 0 where plus is 1/);
  for (const text of ["", "++", "1", "P", " +"]) {
    assertThrowsCode(
      () => Trit.parse(text),
      "invalid_value",
      /^text must be "-", "0" or "\+", got "/,
    );
  }
  assertThrowsCode(() => Trit.parse(wrong(0)), "invalid_type", /^text must be a string, got 0$/);
});

const WORDS = [
  { type: Tryte3, name: "Tryte3", length: 3, max: 13, modulus: 27, zero: 21 },
  { type: Word6, name: "Word6", length: 6, max: 364, modulus: 729, zero: 1365 },
] as const;

for (const { type, name, length, max, modulus, zero } of WORDS) {
  const values = Array.from({ length: modulus }, (_, index) => index - max);
  const make = (value: number): TernaryWord => type.fromValue(value);

  test(`every ${name} has a value, trits, codes and a text`, () => {
    assert.equal(type.max, max);
    assert.equal(make(0).raw, zero);
    for (const value of values) {
      const word = make(value);
      const trits = word.toTrits();
      assert.equal(word.value, value);
      assert.equal(word.length, length);
      assert.equal(trits.length, length);
      assert.ok(trits.every((trit) => Trit.is(trit)));
      assert.equal(trits.reduce((sum, trit, index) => sum + trit * 3 ** index, 0), value);
      for (let index = 0; index < length; index += 1) assert.equal(word.trit(index), trits[index]);
      const codes = trits.reduce((sum, trit, index) => sum + (trit + 1) * 4 ** index, 0);
      assert.equal(word.raw, codes);
      assert.equal(type.fromTrits(trits).value, value);
      assert.equal(type.fromRaw(codes).value, value);
      assert.equal(String(word), Array.from(trits, (trit) => SIGNS[trit + 1]).reverse().join(""));
      assert.equal(word.isZero, value === 0);
      assert.ok(Object.is(word.negate().value, 0 - value));
      assert.ok(word.negate() instanceof type);
    }
  });

  test(`every number is the codes of a ${name} or is refused`, () => {
    let accepted = 0;
    for (let raw = 0; raw < 4 ** length; raw += 1) {
      const codes = Array.from({ length }, (_, index) => Math.floor(raw / 4 ** index) % 4);
      if (codes.includes(3)) {
        const message = new RegExp(
          `^raw must have the codes 0 to 2, got 3 for trit ${codes.lastIndexOf(3)}$`,
        );
        assertThrowsCode(() => type.fromRaw(raw), "invalid_value", message);
      } else {
        assert.equal(type.fromRaw(raw).raw, raw);
        accepted += 1;
      }
    }
    assert.equal(accepted, modulus);
  });

  test(`every pair of ${name} adds, multiplies and compares`, () => {
    const words = values.map(make);
    const inRange = (value: number) =>
      Number.isInteger(value) && Math.abs(value) <= max && !Object.is(value, -0);
    for (const a of words) {
      for (const b of words) {
        // With both parts in their ranges, there is only one way to write a sum or product.
        const { result, carry } = a.add(b);
        const isSum = result.value + modulus * carry === a.value + b.value &&
          inRange(result.value) && Trit.is(carry) && !Object.is(carry, -0);
        const { low, high } = a.multiply(b);
        const isProduct = low.value + modulus * high.value === a.value * b.value &&
          inRange(low.value) && inRange(high.value);
        const order = a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
        const isOrder = a.compare(b) === order && a.equals(b) === (order === 0);
        if (isSum && isProduct && isOrder) continue;
        assert.fail(`${a.value} and ${b.value}: ${result}, ${carry}, ${low}, ${high}`);
      }
    }
    const { result, carry } = make(max).add(make(1));
    assert.ok(result instanceof type && make(1).multiply(make(2)).high instanceof type);
    assert.deepEqual([result.value, carry], [-max, 1]);
  });

  test(`what is no ${name} is refused`, () => {
    for (const value of [max + 1, -max - 1, 0.5, NaN, Infinity]) {
      const message = new RegExp(`^value must be an integer from -${max} to ${max}, got ${value}$`);
      assertThrowsCode(() => type.fromValue(value), "invalid_value", message);
    }
    assertThrowsCode(() => type.fromValue(wrong("1")), "invalid_type");
    for (const raw of [-1, 4 ** length, 1.5, NaN]) {
      assertThrowsCode(
        () => type.fromRaw(raw),
        "invalid_value",
        /^raw must be an integer from 0 to /,
      );
    }
    assertThrowsCode(() => type.fromRaw(wrong(21n)), "invalid_type");
    for (const wrongLength of [0, length - 1, length + 1]) {
      assertThrowsCode(() => type.fromTrits(new Int8Array(wrongLength)), "invalid_length");
    }
    const trits = new Int8Array(length).fill(2, 1, 2);
    assertThrowsCode(
      () => type.fromTrits(trits),
      "invalid_value",
      /^trits\[1\] must be -1, 0 or 1, got 2$/,
    );
    assertThrowsCode(() => type.fromTrits(wrong(new Array(length).fill(0))), "invalid_type");
    for (const index of [-1, length, 0.5, NaN]) {
      assertThrowsCode(
        () => make(1).trit(index),
        "invalid_value",
        /^index must be an integer from 0/,
      );
    }
    const other = type === Tryte3 ? Word6.fromValue(1) : Tryte3.fromValue(1);
    const otherName = type === Tryte3 ? "Word6" : "Tryte3";
    const word = make(1);
    for (const method of ["add", "multiply", "compare", "equals"] as const) {
      const call = (argument: unknown) => () => word[method](wrong(argument));
      const message = new RegExp(`^other must be a ${name}, got a ${otherName}$`);
      assertThrowsCode(call(other), "invalid_type", message);
      for (const argument of [1, null, undefined, { value: 1 }, Object.create(type.prototype)]) {
        assertThrowsCode(
          call(argument),
          "invalid_type",
          new RegExp(`^other must be a ${name}, got `),
        );
      }
    }
    const construct = wrong(type) as new (...args: unknown[]) => unknown;
    assertThrowsCode(() => new construct(1), "invalid_type", new RegExp(`^${name} is made by `));
  });

  test(`a ${name} does not change`, () => {
    const word = make(5);
    for (const key of ["value", "length", "raw"]) {
      assert.throws(() => wrong(word)[key] = 1, TypeError);
    }
    word.toTrits().fill(1);
    assert.equal(word.value, 5);
    assert.equal(word.trit(0), -1);
    assert.ok(Object.is(make(-0).value, 0));
  });
}

test("trytes and words are different types, and both are words of trits", () => {
  const tryte = Tryte3.fromValue(1);
  const word = Word6.fromValue(1);
  assert.ok(tryte instanceof TernaryWord && word instanceof TernaryWord);
  // @ts-expect-error A word is no tryte.
  assertThrowsCode(() => tryte.add(word), "invalid_type");
  const construct = wrong(TernaryWord) as new () => unknown;
  assertThrowsCode(() => new construct(), "invalid_type", /^TernaryWord is made by /);
});

test("the examples of the specification", () => {
  assertSame(toBalancedTernary(5), [-1, -1, 1]);
  const sum = Tryte3.fromValue(13).add(Tryte3.fromValue(1));
  assert.deepEqual([sum.result.value, sum.carry], [-13, 1]);
  assert.equal(Word6.fromValue(300).add(Word6.fromValue(200)).result.value, 500 - 729);
  const tens = Tryte3.fromValue(10).multiply(Tryte3.fromValue(10));
  assert.equal(tens.low.value + 27 * tens.high.value, 100);
  // The largest products: their upper halves are the largest that there are.
  assert.equal(Tryte3.fromValue(13).multiply(Tryte3.fromValue(13)).high.value, 6);
  assert.equal(Word6.fromValue(364).multiply(Word6.fromValue(364)).high.value, 182);
});

test("a word is two trytes", () => {
  for (let value = -364; value <= 364; value += 1) {
    const { low, high } = Word6.fromValue(value).toTrytes();
    assert.ok(low instanceof Tryte3 && high instanceof Tryte3);
    assert.equal(low.value + 27 * high.value, value);
    assert.equal(Word6.fromTrytes(low, high).value, value);
  }
  const tryte = Tryte3.fromValue(1);
  for (const no of [1, null, Word6.fromValue(1), Object.freeze(Object.create(Tryte3.prototype))]) {
    const [low, high] = [/^low must be a Tryte3, got /, /^high must be a Tryte3, got /];
    assertThrowsCode(() => Word6.fromTrytes(wrong(no), tryte), "invalid_type", low);
    assertThrowsCode(() => Word6.fromTrytes(tryte, wrong(no)), "invalid_type", high);
  }
});

test("integers from -1000 to 1000 go to balanced ternary and back", () => {
  for (let value = -1000; value <= 1000; value += 1) {
    const trits = toBalancedTernary(value);
    assertSame(trits, dividedDigits(BigInt(value)), `${value}`);
    assertSame(toBalancedTernary(BigInt(value)), trits, `${value}n`);
    assert.equal(fromBalancedTernary(trits), BigInt(value));
    assertSame(negateTernary(trits), toBalancedTernary(-value), `-(${value})`);
  }
});

test("integers up to 2000 digits go to balanced ternary and back", () => {
  const random = seeded(1);
  for (const bits of [31, 32, 33, 53, 54, 63, 64, 65, 128, 1000, 3170, 6644]) {
    for (let repeat = 0; repeat < 8; repeat += 1) {
      const value = randomInteger(bits, random);
      const trits = toBalancedTernary(value);
      assertSame(trits, dividedDigits(value), `${bits} bits`);
      assert.equal(fromBalancedTernary(trits), value);
    }
  }
  for (const length of [1, 2, 33, 34, 35, 67, 68, 69, 102, 103, 136, 137, 1999, 2000]) {
    const trits = randomTrits(length, length);
    trits[length - 1] = length % 2 === 0 ? 1 : -1;
    assert.equal(fromBalancedTernary(trits), hornerValue(trits));
    assertSame(toBalancedTernary(hornerValue(trits)), trits, `${length} trits`);
  }
});

test("the values where a digit more is needed", () => {
  for (let length = 1; length <= 100; length += 1) {
    const largest = (3n ** BigInt(length) - 1n) / 2n;
    for (const value of [largest, -largest]) {
      assert.equal(toBalancedTernary(value).length, length);
      const next = toBalancedTernary(value < 0n ? value - 1n : value + 1n);
      assert.equal(next.length, length + 1);
      assert.equal(fromBalancedTernary(next), value < 0n ? value - 1n : value + 1n);
    }
  }
  for (const value of [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
    assert.equal(fromBalancedTernary(toBalancedTernary(value)), BigInt(value));
  }
});

test("zeros fill up to the number of digits asked for", () => {
  assertSame(toBalancedTernary(0), [0]);
  assertSame(toBalancedTernary(-0), [0]);
  assertSame(toBalancedTernary(0n, 0), [0]);
  assertSame(toBalancedTernary(0, 3), [0, 0, 0]);
  assertSame(toBalancedTernary(5, 4), [-1, -1, 1, 0]);
  assertSame(toBalancedTernary(-5n, 2), [1, 1, -1]);
  assert.equal(fromBalancedTernary(Int8Array.of(-1, -1, 1, 0, 0)), 5n);
});

test("small integers add, multiply and compare", () => {
  const LIMIT = 60;
  for (let a = -LIMIT; a <= LIMIT; a += 1) {
    for (let b = -LIMIT; b <= LIMIT; b += 1) {
      const left = toBalancedTernary(a, 1 + Math.abs(b) % 6);
      const right = toBalancedTernary(b);
      const label = `${a} and ${b}`;
      const sum = addTernary(left, right);
      assert.equal(fromBalancedTernary(sum), BigInt(a + b), label);
      const longer = Math.max(left.length, right.length);
      assert.ok(sum.length === longer || sum.length === longer + 1 && sum[longer] !== 0, label);
      assertSame(multiplyTernary(left, right), toBalancedTernary(a * b), label);
      assert.equal(compareTernary(left, right), a < b ? -1 : a > b ? 1 : 0, label);
    }
  }
});

test("large integers add, multiply, negate and compare", () => {
  for (const [m, n] of [[2000, 2000], [2000, 1], [1, 700], [333, 1001], [64, 65]] as const) {
    const [a, b] = [randomTrits(m, m), randomTrits(n, n + 1)];
    const [left, right] = [hornerValue(a), hornerValue(b)];
    assert.equal(hornerValue(addTernary(a, b)), left + right);
    assertSame(multiplyTernary(a, b), schoolProduct(a, b), `${m} x ${n} trits`);
    assert.equal(hornerValue(negateTernary(a)), -left);
    assert.equal(compareTernary(a, b), left < right ? -1 : left > right ? 1 : 0);
    assert.equal(compareTernary(a, a), 0);
  }
});

test("a carry runs through all digits", () => {
  const ones = new Int8Array(500).fill(1);
  const sum = addTernary(ones, Int8Array.of(1));
  assertSame(sum, [...new Array(500).fill(-1), 1]);
  assertSame(addTernary(sum, Int8Array.of(-1)), [...ones, 0]);
  assertSame(addTernary(negateTernary(ones), ones), new Int8Array(500));
});

test("no digits are zero", () => {
  const none = new Int8Array(0);
  const five = toBalancedTernary(5);
  assert.equal(fromBalancedTernary(none), 0n);
  assertSame(addTernary(none, none), []);
  assertSame(addTernary(none, five), five);
  assertSame(multiplyTernary(none, five), [0]);
  assertSame(multiplyTernary(none, none), [0]);
  assertSame(negateTernary(none), []);
  assert.equal(compareTernary(none, five), -1);
  assert.equal(compareTernary(none, new Int8Array(9)), 0);
});

test("results are arrays of their own", () => {
  const digits = Int8Array.of(1, 0);
  for (const result of [addTernary(digits, new Int8Array(0)), negateTernary(digits)]) {
    result.fill(0);
    assert.equal(result.byteLength, result.buffer.byteLength);
  }
  assertSame(digits, [1, 0]);
});

test("what is no integer or no digit is refused", () => {
  for (const value of [0.5, NaN, Infinity, 2 ** 53, -(2 ** 53)]) {
    const message = /^value must be a safe integer, got /;
    assertThrowsCode(() => toBalancedTernary(value), "invalid_value", message);
  }
  for (const value of ["5", null, undefined, [5]]) {
    const message = /^value must be a number or a bigint, got /;
    assertThrowsCode(() => toBalancedTernary(wrong(value)), "invalid_type", message);
  }
  for (const least of [-1, 0.5, NaN, 2 ** 32]) {
    assertThrowsCode(() => toBalancedTernary(1, least), "invalid_value", /^minTrits must be /);
  }
  assertThrowsCode(() => toBalancedTernary(1, wrong(3n)), "invalid_type", /^minTrits must be /);
  const good = Int8Array.of(1);
  const bad = { invalid_value: Int8Array.of(0, 1, 2), invalid_type: [0, 1] };
  for (const [code, digits] of Object.entries(bad)) {
    const list = wrong(digits);
    const pattern = (name: string) =>
      code === "invalid_type"
        ? new RegExp(`^${name} must be an Int8Array, got an array of 2$`)
        : new RegExp(`^${name}\\[2\\] must be -1, 0 or 1, got 2$`);
    assertThrowsCode(() => fromBalancedTernary(list), code, pattern("trits"));
    assertThrowsCode(() => negateTernary(list), code, pattern("trits"));
    for (const call of [addTernary, multiplyTernary, compareTernary]) {
      assertThrowsCode(() => call(list, good), code, pattern("a"));
      assertThrowsCode(() => call(good, list), code, pattern("b"));
    }
  }
});
