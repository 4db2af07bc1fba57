// Half precision, clipping, norms and the loss scale.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  clipByGlobalNorm,
  clipByValue,
  fromBf16,
  fromF16,
  globalNorm,
  hasOverflow,
  LossScaler,
  toBf16,
  toF16,
} from "../mod.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  randomFloats,
  seeded,
  unaligned,
  wrong,
} from "./support.ts";

const SIZES = [1, 3, 15, 16, 31, 33, 1000, 65_537] as const;
const F32_MAX = (2 - 2 ** -23) * 2 ** 127;

/** Values of all exponents, with ties, subnormal numbers, zeros, infinities and NaN among them. */
function oddFloats(length: number, seed: number): Float32Array<ArrayBuffer> {
  const random = seeded(seed);
  const bits = Uint32Array.from({ length }, (_, at) => {
    const word = Math.floor(random() * 2 ** 32);
    const exponent = Math.floor(random() * 40) + 100;
    if (at % 4 === 0) return word;
    if (at % 4 === 1) return (word & 0xffff_8000) >>> 0;
    if (at % 4 === 2) return (word & 0x807f_f000 | exponent << 23) >>> 0;
    return [0, 0x8000_0000, 1, 0x7f80_0000, 0xff80_0000, 0x7f7f_ffff, 0x7fc0_0000][at % 7]!;
  });
  return new Float32Array(bits.buffer);
}

function roundTiesToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** The nearest number with so many fraction bits, exponents from `least` to `most`, by float64. */
function roundTo(value: number, fraction: number, least: number, most: number): number {
  if (!Number.isFinite(value) || value === 0) return value;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))), least);
  // A logarithm close to an integer may be rounded across it.
  const exact = Math.abs(value) >= 2 ** (exponent + 1)
    ? exponent + 1
    : Math.abs(value) < 2 ** exponent && exponent > least
    ? exponent - 1
    : exponent;
  const unit = 2 ** (exact - fraction);
  const magnitude = roundTiesToEven(Math.abs(value) / unit) * unit;
  const bounded = magnitude >= 2 ** (most + 1) ? Infinity : magnitude;
  return Math.sign(value) < 0 ? -bounded : bounded;
}

const FORMATS = [
  { name: "bf16", to: toBf16, from: fromBf16, fraction: 7, least: -126, most: 127 },
  { name: "f16", to: toF16, from: fromF16, fraction: 10, least: -14, most: 15 },
] as const;

describe("half precision", () => {
  for (const { name, to, from, fraction, least, most } of FORMATS) {
    it(`${name} is the nearest number, ties to even, on every tier`, () => {
      for (const size of SIZES) {
        const values = oddFloats(size, size);
        const expected = Float32Array.from(values, (x) => roundTo(x, fraction, least, most));
        onEveryTier((label) => {
          assertSame(from(to(values)), expected, `${name} ${label}, size ${size}`);
          assertSame(from(to(unaligned(values))), expected, `${name} ${label}, unaligned`);
        });
      }
    });

    it(`${name} words all survive the way to float32 and back`, () => {
      const words = Uint16Array.from({ length: 65536 }, (_, at) => at);
      const values = from(words);
      const exponent = name === "f16" ? 0x7c00 : 0x7f80;
      onEveryTier((label) => {
        const back = to(from(words));
        for (const [at, word] of words.entries()) {
          const isNaNWord = (word & exponent) === exponent && (word & ~(exponent | 0x8000)) !== 0;
          assert.equal(Number.isNaN(values[at]), isNaNWord);
          // A NaN becomes quiet: its first fraction bit is set.
          const quiet = isNaNWord ? word | 1 << (fraction - 1) : word;
          if (!isNaNWord) assert.equal(back[at], quiet, `${label}: ${word.toString(16)}`);
          else assert.ok(Number.isNaN(from(back.subarray(at, at + 1))[0]));
        }
      });
    });

    it(`${name} writes to out, and nothing but that`, () => {
      const values = randomFloats(33, 1);
      const room = new Uint16Array(35).fill(7);
      const result = to(values, { out: room.subarray(1, 34) });
      assert.equal(result.buffer, room.buffer);
      assertSame(room.subarray(1, 34), to(values));
      assert.deepEqual([room[0], room[34]], [7, 7]);
      const floats = new Float32Array(33);
      assert.equal(from(result, { out: floats }), floats);
      assertSame(floats, from(to(values)));
      assert.equal(to(new Float32Array(0)).length, 0);
      assert.equal(from(new Uint16Array(0)).length, 0);
    });

    it(`${name} refuses what is no array of the right kind and length`, () => {
      assertThrowsCode(() => to(wrong([1, 2])), "invalid_type", /Float32Array/);
      assertThrowsCode(() => from(wrong(new Uint8Array(2))), "invalid_type", /Uint16Array/);
      assertThrowsCode(
        () => to(new Float32Array(3), { out: new Uint16Array(2) }),
        "invalid_length",
        /3 elements, got 2/,
      );
      assertThrowsCode(
        () => from(new Uint16Array(3), { out: new Float32Array(4) }),
        "invalid_length",
      );
      const shared = new ArrayBuffer(64);
      const overlap = () =>
        to(new Float32Array(shared, 0, 8), { out: new Uint16Array(shared, 4, 8) });
      assertThrowsCode(overlap, "invalid_value", /separate memory/);
    });
  }

  it("rounds where truncation does not", () => {
    // Golden values: both ways give 0x4049 for pi; 1.00390625 + 2^-9 is above the tie.
    const words = toBf16(Float32Array.of(3.14159, 1.00390625 + 2 ** -9, 1.00390625, 1.01171875));
    assert.deepEqual([...words], [0x4049, 0x3f81, 0x3f80, 0x3f82]);
    assert.equal(fromBf16(words)[0], 3.140625);
    // The largest float32 rounds beyond the largest bfloat16.
    assert.deepEqual([...toBf16(Float32Array.of(F32_MAX, -Infinity))], [0x7f80, 0xff80]);
  });

  it("f16 has subnormal numbers, and infinities from 65520 on", () => {
    const values = [2 ** -24, 2 ** -25, 2 ** -25 * 1.001, 3 * 2 ** -25, -(2 ** -14), 65504];
    assert.deepEqual(
      [...toF16(Float32Array.from(values))],
      [1, 0, 1, 2, 0x8400, 0x7bff],
    );
    assert.deepEqual(
      [...toF16(Float32Array.of(65519.996, 65520, -1e9, NaN))],
      [0x7bff, 0x7c00, 0xfc00, 0x7e00],
    );
  });
});

describe("overflow of gradients", () => {
  it("is found wherever it is", () => {
    for (const size of SIZES) {
      const values = randomFloats(size, size);
      onEveryTier(() => assert.equal(hasOverflow(values), false));
      for (const bad of [NaN, Infinity, -Infinity]) {
        for (const place of new Set([0, size >> 1, size - 1])) {
          const spoilt = values.slice();
          spoilt[place] = bad;
          onEveryTier((label) => {
            assert.equal(hasOverflow(spoilt), true, `${label}: ${bad} at ${place} of ${size}`);
            assert.equal(hasOverflow([values, new Float32Array(0), unaligned(spoilt)]), true);
          });
        }
      }
    }
    assert.equal(hasOverflow(Float32Array.of(F32_MAX, -F32_MAX, 1e-45)), false);
    assert.equal(hasOverflow(new Float32Array(0)), false);
  });

  it("is asked of arrays of floats only", () => {
    assertThrowsCode(() => hasOverflow(wrong([1])), "invalid_type", /gradients\[0\]/);
    assertThrowsCode(() => hasOverflow(wrong("no")), "invalid_type", /list of them/);
    assertThrowsCode(() => hasOverflow([]), "invalid_length", /at least 1/);
    const twice = new Float32Array(2);
    assertThrowsCode(() => hasOverflow([twice, twice]), "invalid_value", /twice/);
  });
});

describe("norms and clipping", () => {
  it("the global norm is that of float64, the same to the last bit on every tier", () => {
    for (const size of SIZES) {
      const parts = [randomFloats(size, 1), randomFloats(33, 2)];
      const exact = Math.sqrt(
        parts.flatMap((part) => [...part]).reduce((sum, x) => sum + x * x, 0),
      );
      const norms = new Set<number>();
      onEveryTier(() => {
        norms.add(globalNorm(parts));
        norms.add(globalNorm(parts.map((part) => unaligned(part))));
      });
      assert.equal(norms.size, 1);
      // A sum of n terms above 0 in float64 errs by at most n 2^-53 of itself.
      assertNear([...norms], [exact], 2 * size * 2 ** -53 * exact);
    }
  });

  it("the norm neither overflows nor vanishes", () => {
    assert.equal(globalNorm(new Float32Array(4).fill(F32_MAX)), 2 * F32_MAX);
    assert.equal(globalNorm(new Float32Array(4).fill(2 ** -149)), 2 ** -148);
    assert.equal(globalNorm(new Float32Array(0)), 0);
  });

  it("clips to the norm, each product rounded once", () => {
    for (const size of SIZES) {
      const parts = [randomFloats(size, 3), randomFloats(31, 4)];
      const norm = globalNorm(parts);
      const factor = 0.25 / norm;
      const expected = parts.map((part) => Float32Array.from(part, (x) => x * factor));
      onEveryTier((label) => {
        const copies = parts.map((part) => unaligned(part));
        assert.equal(clipByGlobalNorm(copies, 0.25), norm);
        copies.forEach((copy, at) => assertSame(copy, expected[at]!, label));
        // Rounding moves the norm by 2^-24 of itself at most.
        assertNear([globalNorm(copies)], [0.25], 0.25 * 2 ** -24);
      });
    }
  });

  it("leaves alone what is short enough, and what no factor can mend", () => {
    for (const values of [[3, 4], [NaN, 1e30], [Infinity, 1], [0, 0]]) {
      const gradients = Float32Array.from(values);
      const norm = clipByGlobalNorm(gradients, 5);
      assertSame(gradients, Float32Array.from(values));
      assert.ok(Object.is(norm, Math.hypot(...values)));
    }
    const long = new Float32Array(100).fill(F32_MAX);
    clipByGlobalNorm(long, 1);
    assertNear(long, new Float32Array(100).fill(0.1), 1e-8);
    assert.equal(clipByGlobalNorm(long, 0) > 0.99, true);
    assertSame(long, new Float32Array(100));
  });

  it("clips by value, with NaN kept or made 0", () => {
    for (const size of SIZES) {
      const values = oddFloats(size, size + 7);
      const [min, max] = [-1.5, 2 ** 20];
      const clipped = (nan: number) =>
        Float32Array.from(values, (x) => Number.isNaN(x) ? nan : Math.min(Math.max(x, min), max));
      onEveryTier((label) => {
        const kept = unaligned(values);
        clipByValue(kept, min, max);
        assertSame(kept, clipped(NaN), label);
        const zeroed = values.slice();
        clipByValue([zeroed], min, max, { nan: "zero" });
        assertSame(zeroed, clipped(0), label);
      });
    }
    const inside = Float32Array.of(NaN);
    clipByValue(inside, 1, 2, { nan: "zero" });
    assertSame(inside, [1]);
  });

  it("refuses bounds that are none", () => {
    const one = new Float32Array(1);
    assertThrowsCode(() => clipByGlobalNorm(one, -1), "invalid_value", /at least 0/);
    assertThrowsCode(() => clipByGlobalNorm(one, NaN), "invalid_value");
    assertThrowsCode(() => clipByValue(one, 1, -1), "invalid_value", /at most max/);
    assertThrowsCode(() => clipByValue(one, -Infinity, 1), "invalid_value");
    assertThrowsCode(() => clipByValue(one, -1, 1, { nan: wrong("drop") }), "invalid_option");
  });
});

describe("LossScaler", () => {
  it("backs off at an overflow and grows after 2000 good steps", () => {
    const scaler = new LossScaler();
    assert.equal(scaler.factor, 65536);
    scaler.update(true);
    assert.equal(scaler.factor, 32768);
    for (let step = 0; step < 1999; step++) scaler.update(false);
    assert.equal(scaler.factor, 32768);
    scaler.update(false);
    assert.equal(scaler.factor, 65536);
    // The counter began again at the growth, and does so at an overflow.
    for (let step = 0; step < 1999; step++) scaler.update(false);
    scaler.update(true);
    for (let step = 0; step < 1999; step++) scaler.update(false);
    assert.equal(scaler.factor, 32768);
    assert.equal(scaler.goodSteps, 1999);
  });

  it("stays within its bounds", () => {
    const scaler = new LossScaler({ growthInterval: 1, minScale: 0.25, maxScale: 2 ** 20 });
    for (let step = 0; step < 100; step++) scaler.update(true);
    assert.equal(scaler.factor, 0.25);
    for (let step = 0; step < 100; step++) scaler.update(false);
    assert.equal(scaler.factor, 2 ** 20);
    assert.deepEqual([scaler.skippedSteps, scaler.appliedSteps], [100, 100]);
  });

  it("unscales and applies, or skips, in one step", () => {
    const scaler = new LossScaler({ initialScale: 1024, growthInterval: 2 });
    const values = randomFloats(1000, 5);
    const gradients = [values.map((x) => x * 1024), Float32Array.of(2048)];
    let calls = 0;
    assert.equal(
      scaler.step(gradients, (given) => {
        calls += 1;
        assert.equal(given, gradients);
        assertSame(given[0]!, values);
        assertSame(given[1]!, [2]);
      }),
      true,
    );
    for (const bad of [NaN, Infinity, -Infinity]) {
      assert.equal(scaler.step([values.slice(), Float32Array.of(bad)], () => calls += 1), false);
    }
    assert.equal(calls, 1);
    assert.equal(scaler.factor, 128);
    assert.equal(scaler.scale(3), 384);
  });

  it("finds what only its own division makes infinite", () => {
    const scaler = new LossScaler({ initialScale: 0.5, minScale: 0.25 });
    assert.equal(scaler.step(Float32Array.of(3e38), () => assert.fail("applied")), false);
    assert.equal(scaler.factor, 0.25);
  });

  it("keeps the scale where apply throws", () => {
    const scaler = new LossScaler({ growthInterval: 1 });
    assert.throws(
      () => scaler.step(new Float32Array(1), () => assert.fail("in apply")),
      /in apply/,
    );
    assert.deepEqual([scaler.factor, scaler.appliedSteps], [65536, 0]);
  });

  it("goes through JSON", () => {
    const scaler = new LossScaler({ initialScale: 512, growthInterval: 7, maxScale: 4096 });
    for (let step = 0; step < 10; step++) scaler.update(step === 4);
    for (const state of [JSON.stringify(scaler), scaler.toJSON()]) {
      const copy = LossScaler.fromJSON(state);
      for (let step = 0; step < 9; step++) {
        copy.update(false);
        if (typeof state === "string") scaler.update(false);
      }
      assert.deepEqual(copy.toJSON(), scaler.toJSON());
    }
  });

  it("refuses a state that is not one of its own", () => {
    const state = new LossScaler().toJSON();
    const bad: [string, unknown][] = [
      ["version", 2],
      ["scale", NaN],
      ["scale", 2 ** 40],
      ["goodSteps", -1],
      ["goodSteps", 1.5],
      ["growthInterval", 0],
      ["backoffFactor", 0],
      ["maxScale", "1"],
      ["minScale", undefined],
    ];
    for (const [field, value] of bad) {
      assertThrowsCode(() => LossScaler.fromJSON({ ...state, [field]: value }), "invalid_format");
    }
    assertThrowsCode(() => LossScaler.fromJSON("{"), "invalid_format", /JSON/);
    assertThrowsCode(() => LossScaler.fromJSON("[]"), "invalid_format");
    assertThrowsCode(() => LossScaler.fromJSON(wrong(3)), "invalid_type");
  });

  it("refuses factors and bounds that contradict", () => {
    assertThrowsCode(() => new LossScaler({ growthFactor: 0.5 }), "invalid_value", /growthFactor/);
    assertThrowsCode(() => new LossScaler({ backoffFactor: 0 }), "invalid_value", /above 0/);
    assertThrowsCode(() => new LossScaler({ backoffFactor: 2 }), "invalid_value");
    assertThrowsCode(() => new LossScaler({ minScale: 8, maxScale: 4 }), "invalid_value");
    assertThrowsCode(() => new LossScaler({ initialScale: 2 ** 32 }), "invalid_value");
    assertThrowsCode(() => new LossScaler({ growthInterval: 0 }), "invalid_value");
    assertThrowsCode(() => new LossScaler().step(new Float32Array(1), wrong(1)), "invalid_type");
    assertThrowsCode(() => new LossScaler().update(wrong(1)), "invalid_type");
    assertThrowsCode(() => new LossScaler().scale(wrong("1")), "invalid_type");
  });
});
