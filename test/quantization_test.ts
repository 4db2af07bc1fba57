import assert from "node:assert/strict";
import { test } from "node:test";
import {
  QuantizationResult,
  quantizeAbsmax,
  quantizeAbsmean,
  quantizeActivationsAbsmax,
  type QuantizeConfig,
  quantizeWeightsAbsmean,
  Tensor,
} from "../mod.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  quantizeRow,
  randomFloats,
  type Shape,
  unaligned,
  wrong,
} from "./support.ts";

const WEIGHTS = Float32Array.of(0.5, -0.3, 0.1, 0.8, -0.2, 0.6, -0.7, 0.4);
const SHAPE = [2, 4] as const;

/** A mean of numbers below 1 is right to one unit in the last place of a float32: 2^-24. */
const ULP = 2 ** -24;

interface Rule {
  threshold: number;
  /** Whether a weight at the threshold is kept. */
  inclusive: boolean;
  /** Undefined: the mean of the kept. */
  scale?: number;
}

/** The rules as the documentation states them, in float64. */
function ruleOf(magnitudes: number[], config: QuantizeConfig): Rule {
  const mean = magnitudes.reduce((sum, value) => sum + value, 0) / magnitudes.length;
  const largest = Math.max(...magnitudes);
  switch (config.method ?? "absmean") {
    case "absmean": {
      const scale = mean === 0 ? 1 : Math.fround(mean);
      return { threshold: scale / 2, inclusive: true, scale };
    }
    case "absmax": {
      const scale = largest <= 1e-10 ? 1 : largest;
      return { threshold: scale / 2, inclusive: false, scale };
    }
    case "twn":
      return { threshold: 0.7 * mean, inclusive: false };
    case "percentile": {
      const { percentile } = config as { percentile: number };
      const sorted = magnitudes.toSorted((a, b) => a - b);
      const place = Math.floor(percentile / 100 * (sorted.length - 1));
      return { threshold: sorted[place]!, inclusive: false };
    }
    case "meanStd": {
      const { k } = config as { k: number };
      const squares = magnitudes.reduce((sum, value) => sum + (value - mean) ** 2, 0);
      return { threshold: mean + k * Math.sqrt(squares / magnitudes.length), inclusive: false };
    }
    case "manual":
      return { threshold: (config as { threshold: number }).threshold, inclusive: false };
  }
}

/** Trits and scales by the rules; weights too near a threshold to call are left undefined. */
function reference(weights: Float32Array, [rows, cols]: Shape, config: QuantizeConfig) {
  const groupSize = config.groupSize ?? cols;
  const trits: (number | undefined)[] = [];
  const scales: number[] = [];
  for (let start = 0; start < rows * cols; start += groupSize) {
    const group = Array.from(weights.subarray(start, start + groupSize));
    const { threshold, inclusive, scale } = ruleOf(group.map(Math.abs), config);
    const kept: number[] = [];
    for (const weight of group) {
      const size = Math.abs(weight);
      const above = inclusive ? size >= threshold : size > threshold;
      if (above && weight !== 0) kept.push(size);
      const close = size !== threshold && Math.abs(size - threshold) < 1e-6 * threshold;
      trits.push(close ? undefined : above ? Math.sign(weight) : 0);
    }
    const mean = kept.length === 0 ? 1 : kept.reduce((sum, size) => sum + size, 0) / kept.length;
    scales.push(config.scale === "leastSquares" ? mean : scale ?? mean);
  }
  return { trits, scales };
}

function assertQuantized(
  result: QuantizationResult,
  weights: Float32Array,
  config: QuantizeConfig,
) {
  const { trits, scales } = reference(weights, result.shape, config);
  const open = trits.filter((trit) => trit === undefined).length;
  assert.ok(open <= trits.length / 100, `${open} weights lie on a threshold`);
  const label = JSON.stringify(config);
  assertSame(result.values, trits.map((trit, index) => trit ?? result.values[index]!), label);
  assertNear(result.scales, scales, (index) => 2 * ULP * scales[index]!, label);
}

test("absmean gives the golden trits and scales", () => {
  const { ternary, scales } = quantizeWeightsAbsmean(WEIGHTS, SHAPE);
  assertSame(ternary, [1, -1, 0, 1, 0, 1, -1, 1]);
  assertNear(scales, [0.425, 0.475], ULP);
  const result = quantizeAbsmean(WEIGHTS, SHAPE);
  assertSame(result.values, ternary);
  assertSame(result.scales, scales);
  assert.deepEqual(result.shape, [2, 4]);
  assert.equal(result.groupSize, 4);
});

test("least-squares scales are the golden ones, for the same trits", () => {
  const result = quantizeAbsmean(WEIGHTS, SHAPE, { scale: "leastSquares" });
  assertSame(result.values, [1, -1, 0, 1, 0, 1, -1, 1]);
  assertNear(result.scales, [1.6 / 3, 1.7 / 3], ULP);
});

test("absmax gives the golden trits and scales", () => {
  const { values, scales } = quantizeAbsmax(WEIGHTS, SHAPE);
  assertSame(values, [1, 0, 0, 1, 0, 1, -1, 1]);
  assertSame(scales, [Math.fround(0.8), Math.fround(0.7)]);
});

test("a weight at half the scale is kept by absmean and dropped by absmax", () => {
  const absmean = quantizeWeightsAbsmean(Float32Array.of(1, -1, 3, -3), [1, 4]);
  assertSame(absmean.ternary, [1, -1, 1, -1]);
  assertSame(absmean.scales, [2]);
  assertSame(quantizeAbsmax(Float32Array.of(1, -1, 2, -2), [1, 4]).values, [0, 0, 1, -1]);
});

test("zeros have scale 1", () => {
  const zeros = new Float32Array(8);
  for (const method of ["absmean", "absmax", "twn"] as const) {
    const { values, scales } = QuantizationResult.fromWeights(zeros, SHAPE, { method });
    assertSame(values, new Int8Array(8), method);
    assertSame(scales, [1, 1], method);
  }
  assertSame(quantizeAbsmax(Float32Array.of(1e-10, -1e-11), [1, 2]).scales, [1]);
});

test("tiny and huge weights keep their sign", () => {
  for (const size of [1e-40, 1e-30, 1e30, 3e38]) {
    const { ternary, scales } = quantizeWeightsAbsmean(Float32Array.of(size, -size), [1, 2]);
    assertSame(ternary, [1, -1]);
    assertSame(scales, [Math.fround(size)]);
  }
});

test("every method follows its rule, for every group size and scale", () => {
  const methods: QuantizeConfig[] = [
    {},
    { method: "absmean" },
    { method: "absmax" },
    { method: "twn" },
    { method: "percentile", percentile: 0 },
    { method: "percentile", percentile: 50 },
    { method: "percentile", percentile: 99.5 },
    { method: "percentile", percentile: 100 },
    { method: "meanStd", k: 0.5 },
    { method: "meanStd", k: -1 },
    { method: "manual", threshold: 0 },
    { method: "manual", threshold: 0.6 },
    { method: "manual", threshold: 2 },
  ];
  const weights = randomFloats(7 * 240, 1);
  // Zeros and equal magnitudes are where rules differ.
  weights.fill(0, 0, 20);
  weights.fill(0.25, 100, 110);
  weights.fill(-0.25, 110, 120);
  for (const method of methods) {
    for (const groupSize of [undefined, 1, 3, 5, 48, 240]) {
      for (const scale of ["method", "leastSquares"] as const) {
        const config = { ...method, scale, ...(groupSize === undefined ? {} : { groupSize }) };
        assertQuantized(QuantizationResult.fromWeights(weights, [7, 240], config), weights, config);
      }
    }
  }
});

test("a manual threshold drops what equals it", () => {
  const config = { method: "manual", threshold: 0.5 } as const;
  const { values, scales } = QuantizationResult.fromWeights(
    Float32Array.of(0.5, -0.5, 0.75, -0.25),
    [1, 4],
    config,
  );
  assertSame(values, [0, 0, 1, 0]);
  assertSame(scales, [0.75]);
});

test("the percentile is an element of the sorted magnitudes", () => {
  const weights = Float32Array.of(5, -4, 3, -2, 1);
  for (const [percentile, kept] of [[0, 4], [49, 3], [50, 2], [99, 1], [100, 0]] as const) {
    const config = { method: "percentile", percentile } as const;
    const { values } = QuantizationResult.fromWeights(weights, [1, 5], config);
    assert.equal(values.filter((trit) => trit !== 0).length, kept, `percentile ${percentile}`);
  }
});

test("least-squares scales have the smallest squared error", () => {
  const weights = randomFloats(3 * 64, 2);
  const error = (scales: Float32Array, values: Int8Array, factor: number) =>
    values.reduce((sum, trit, index) => {
      const scale = scales[Math.floor(index / 64)]! * factor;
      return sum + (weights[index]! - trit * scale) ** 2;
    }, 0);
  for (const method of ["absmean", "absmax", "twn"] as const) {
    const { values, scales } = QuantizationResult.fromWeights(weights, [3, 64], {
      method,
      scale: "leastSquares",
    });
    const best = error(scales, values, 1);
    assert.ok(best < error(scales, values, 1.01) && best < error(scales, values, 0.99), method);
  }
});

test("dequantised weights are trits times the scales of their groups", () => {
  const result = quantizeAbsmean(WEIGHTS, SHAPE, { groupSize: 2 });
  assert.equal(result.groupSize, 2);
  assert.equal(result.scales.length, 4);
  const expected = Float32Array.from(
    result.values,
    (trit, index) => trit * result.scales[Math.floor(index / 2)]!,
  );
  assertSame(result.dequantize(), expected);
  using packed = result.toPacked();
  assertSame(packed.scales, result.scales);
  assertSame(packed.toTernary(), result.values);
  assertSame(packed.toFloat32(), expected);
});

test("tensors and unaligned views quantise as their elements do", () => {
  const expected = quantizeAbsmean(WEIGHTS, SHAPE);
  const tensor = Tensor.from(WEIGHTS, [8]);
  assertSame(quantizeAbsmean(tensor, SHAPE).scales, expected.scales);
  assertSame(quantizeAbsmean(unaligned(WEIGHTS), SHAPE).values, expected.values);
});

test("a tensor with two axes keeps its own shape", () => {
  const tensor = Tensor.from(WEIGHTS, SHAPE);
  const expected = quantizeAbsmean(WEIGHTS, SHAPE);
  const config = { groupSize: undefined, scale: undefined, method: undefined };
  const calls = [
    (shape?: readonly [number, number]) => quantizeAbsmean(tensor, shape, { groupSize: undefined }),
    (shape?: readonly [number, number]) => quantizeAbsmax(tensor, shape),
    (shape?: readonly [number, number]) => QuantizationResult.fromWeights(tensor, shape, config),
  ];
  for (const call of calls) {
    assert.deepEqual(call().shape, [2, 4]);
    assertSame(call().values, call(SHAPE).values);
    assertThrowsCode(() => call([4, 2]), "invalid_shape", /\[2, 4\], got \[4, 2\]/);
    assertThrowsCode(() => call(wrong(null)), "invalid_type");
  }
  assertSame(quantizeAbsmean(tensor).scales, expected.scales);
  assertSame(
    quantizeWeightsAbsmean(WEIGHTS, SHAPE, { groupSize: undefined }).scales,
    expected.scales,
  );
  const vector = Tensor.from(WEIGHTS, [8]);
  assertThrowsCode(() => quantizeAbsmean(vector), "invalid_shape", /2 axes.*got \[8\]/);
  assertThrowsCode(() => quantizeAbsmean(wrong(WEIGHTS)), "invalid_type", /shape/);
});

test("the fields of a result cannot be replaced", () => {
  const result = quantizeAbsmean(WEIGHTS, SHAPE);
  for (const field of ["values", "scales", "shape", "groupSize"]) {
    assert.throws(() => wrong(result)[field] = 1, TypeError);
  }
  assert.throws(() => wrong(result.shape)[0] = 1, TypeError);
  const { constructor } = wrong(QuantizationResult.prototype);
  for (const args of [[], [result], [Symbol("QuantizationResult"), result]]) {
    assertThrowsCode(() => new constructor(...args), "invalid_type", /made by/);
  }
});

test("weights that are not finite are refused by index", () => {
  for (const bad of [NaN, Infinity, -Infinity]) {
    for (const index of [0, 37, 63]) {
      const weights = randomFloats(64, 3);
      weights[index] = bad;
      const message = new RegExp(`\\b${index}\\b`);
      assertThrowsCode(() => quantizeWeightsAbsmean(weights, [1, 64]), "invalid_value", message);
      assertThrowsCode(() => quantizeAbsmax(weights, [4, 16]), "invalid_value", message);
    }
  }
});

test("bad arguments of weight quantisation are refused", () => {
  const quantize = (config: unknown) =>
    QuantizationResult.fromWeights(WEIGHTS, SHAPE, wrong(config));
  assertThrowsCode(() => quantizeWeightsAbsmean(wrong([1, 2]), [1, 2]), "invalid_type");
  assertThrowsCode(() => quantizeWeightsAbsmean(WEIGHTS, [2, 5]), "invalid_length");
  assertThrowsCode(() => quantizeWeightsAbsmean(WEIGHTS, wrong([8])), "invalid_shape");
  assertThrowsCode(() => quantizeWeightsAbsmean(WEIGHTS, wrong(8)), "invalid_type");
  assertThrowsCode(() => quantizeWeightsAbsmean(WEIGHTS, [0, 8]), "invalid_shape");
  assertThrowsCode(() => quantizeWeightsAbsmean(WEIGHTS, SHAPE, wrong(4)), "invalid_type");
  assertThrowsCode(() => quantize({ groupSize: 3 }), "invalid_option", /4 columns/);
  assertThrowsCode(() => quantize({ groupSize: 8 }), "invalid_option");
  assertThrowsCode(() => quantize({ groupSize: 0 }), "invalid_value");
  assertThrowsCode(() => quantize({ groupSize: "2" }), "invalid_type");
  assertThrowsCode(() => quantize({ method: "median" }), "invalid_option");
  assertThrowsCode(() => quantize({ scale: "mean" }), "invalid_option");
  assertThrowsCode(() => quantize({ method: "percentile" }), "invalid_type");
  assertThrowsCode(() => quantize({ method: "percentile", percentile: 101 }), "invalid_value");
  assertThrowsCode(() => quantize({ method: "percentile", percentile: -1 }), "invalid_value");
  assertThrowsCode(() => quantize({ method: "meanStd", k: NaN }), "invalid_value");
  assertThrowsCode(() => quantize({ method: "manual", threshold: -1 }), "invalid_value");
  assertThrowsCode(
    () => quantizeAbsmean(WEIGHTS, SHAPE, wrong({ method: "twn" })),
    "invalid_option",
  );
  const bytes = Tensor.from(new Int8Array(8), [2, 4]);
  assertThrowsCode(() => quantizeAbsmean(bytes, SHAPE), "invalid_type", /f32/);
});

test("activations give the golden bytes and scale", () => {
  const input = Float32Array.of(0.5, -1.2, 0.25, 2, 0, 0, 0, 0);
  const { quantized, scales } = quantizeActivationsAbsmax(input, [2, 4]);
  assertSame(quantized, [32, -76, 16, 127, 0, 0, 0, 0]);
  assertSame(scales, [Math.fround(2 / 127), 1]);
});

test("activations are rounded to the nearest byte, ties to even", () => {
  const input = Float32Array.of(127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, 0.49, -127);
  const { quantized, scales } = quantizeActivationsAbsmax(input, [1, 11]);
  assertSame(quantized, [127, 0, 2, 2, 0, -2, -2, 126, -126, 0, -127]);
  assertSame(scales, [1]);
});

test("activations are the same on every tier, at any size and magnitude", () => {
  onEveryTier((label) => {
    for (const features of [1, 3, 31, 33, 64, 1000]) {
      for (const magnitude of [1, 1e-40, 1e-30, 1e30, 3e38]) {
        const input = unaligned(randomFloats(3 * features, features));
        for (let index = 0; index < input.length; index++) input[index]! *= magnitude;
        const { quantized, scales } = quantizeActivationsAbsmax(input, [3, features]);
        for (let token = 0; token < 3; token++) {
          const from = token * features;
          const expected = quantizeRow(input.subarray(from, from + features));
          const where = `${label}, ${features} x ${magnitude}`;
          // Int8Array has no negative zero; neither may the reference.
          const bytes = Int8Array.from(expected.quantized);
          assertSame(quantized.subarray(from, from + features), bytes, where);
          assertSame([scales[token]!], [expected.scale], where);
        }
      }
    }
  });
});

test("trits and activations are written where they are asked to be", () => {
  const weights = randomFloats(3 * 77, 6);
  const shape = [3, 77] as const;
  const expected = quantizeWeightsAbsmean(weights, shape);
  const activations = quantizeActivationsAbsmax(weights, shape);
  const room = new Int8Array(3 * 77 + 2).fill(99);
  const out = room.subarray(1, -1);
  assert.equal(quantizeWeightsAbsmean(weights, shape, { out }).ternary, out);
  assertSame(out, expected.ternary);
  const again = quantizeActivationsAbsmax(weights, shape, { out });
  assert.equal(again.quantized, out);
  assertSame(out, activations.quantized);
  assertSame(again.scales, activations.scales);
  assert.deepEqual([room[0], room.at(-1)], [99, 99]);
  const inside = new Int8Array(weights.buffer, 0, 3 * 77);
  for (const quantize of [quantizeWeightsAbsmean, quantizeActivationsAbsmax]) {
    assertThrowsCode(
      () => quantize(weights, shape, { out: new Int8Array(5) }),
      "invalid_length",
      /out/,
    );
    assertThrowsCode(
      () => quantize(weights, shape, { out: wrong(new Uint8Array(231)) }),
      "invalid_type",
      /out/,
    );
    assertThrowsCode(() => quantize(weights, shape, { out: inside }), "invalid_value", /overlap/);
    assertThrowsCode(() => quantize(weights, shape, wrong(7)), "invalid_type", /options/);
  }
});

test("large batches are the same on every tier and any number of threads", () => {
  const input = randomFloats(129 * 1000, 8);
  const expected = quantizeActivationsAbsmax(input, [129, 1000]);
  const trits = quantizeWeightsAbsmean(input, [129, 1000], { groupSize: 250 });
  onEveryTier((label) => {
    const { quantized, scales } = quantizeActivationsAbsmax(input, [129, 1000]);
    assertSame(quantized, expected.quantized, label);
    assertSame(scales, expected.scales, label);
    const result = quantizeWeightsAbsmean(input, [129, 1000], { groupSize: 250 });
    assertSame(result.ternary, trits.ternary, label);
    assertSame(result.scales, trits.scales, label);
    const bad = input.slice();
    bad[128_500] = NaN;
    assertThrowsCode(
      () => quantizeActivationsAbsmax(bad, [129, 1000]),
      "invalid_value",
      /\b128500\b/,
    );
    assertThrowsCode(
      () => quantizeWeightsAbsmean(bad, [129, 1000]),
      "invalid_value",
      /\b128500\b/,
    );
  });
});

test("bad activations are refused", () => {
  for (const bad of [NaN, Infinity, -Infinity]) {
    const input = randomFloats(100, 4);
    input[71] = bad;
    assertThrowsCode(() => quantizeActivationsAbsmax(input, [2, 50]), "invalid_value", /\b71\b/);
  }
  assertThrowsCode(() => quantizeActivationsAbsmax(WEIGHTS, [2, 5]), "invalid_length");
  assertThrowsCode(() => quantizeActivationsAbsmax(wrong(null), [2, 4]), "invalid_type");
  assertThrowsCode(() => quantizeActivationsAbsmax(WEIGHTS, wrong([2, 4, 1])), "invalid_shape");
});
