import assert from "node:assert/strict";
import { test } from "node:test";
import {
  InferenceEngine,
  info,
  PackedTernary,
  quantizeAbsmean,
  Tensor,
  TernaryLayer,
} from "../mod.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  productF64,
  randomFloats,
  randomTrits,
  wrong,
} from "./support.ts";

const engine = new InferenceEngine();

test("the engine runs on the CPU and checks its options", () => {
  assert.equal(engine.device, "cpu");
  assert.equal(engine.isGpu, false);
  assert.equal(engine.maxBatchSize, 32);
  assert.equal(new InferenceEngine({ device: "auto", maxBatchSize: 1 }).maxBatchSize, 1);
  assertThrowsCode(() => new InferenceEngine({ device: "cuda" }), "device_unavailable");
  assertThrowsCode(() => new InferenceEngine({ device: wrong("tpu") }), "invalid_option");
  for (const maxBatchSize of [0, -1, 2.5, NaN]) {
    assertThrowsCode(() => new InferenceEngine({ maxBatchSize }), "invalid_value");
  }
  assertThrowsCode(() => new InferenceEngine(wrong(null)), "invalid_type");
  const unset = new InferenceEngine({ device: undefined, maxBatchSize: undefined });
  assert.equal(unset.maxBatchSize, 32);
});

test("linear multiplies by dense weights", () => {
  for (const [batch, rows, cols] of [[1, 1, 1], [2, 3, 31], [5, 33, 64], [3, 17, 1000]] as const) {
    const input = randomFloats(batch * cols, 1);
    const weights = randomFloats(rows * cols, 2);
    const bias = randomFloats(rows, 3);
    const expected = new Float64Array(batch * rows);
    const magnitudes = new Float64Array(batch * rows);
    for (let index = 0; index < expected.length; index++) {
      const [token, row] = [Math.floor(index / rows), index % rows];
      for (let col = 0; col < cols; col++) {
        const term = input[token * cols + col]! * weights[row * cols + col]!;
        expected[index]! += term;
        magnitudes[index]! += Math.abs(term);
      }
      expected[index]! += bias[row]!;
      magnitudes[index]! += Math.abs(bias[row]!);
    }
    const x = Tensor.from(input, [1, batch, cols]);
    const matrix = Tensor.from(weights, [rows, cols]);
    // A sum of n products has at most n roundings one after another, two a term.
    const tolerance = (index: number) => 2 * (cols + 1) * 2 ** -24 * magnitudes[index]!;
    const output = engine.linear(x, matrix, bias);
    assert.deepEqual(output.shape, [1, batch, rows]);
    assertNear(output.data(), expected, tolerance);
    const plain = expected.map((value, index) => value - bias[index % rows]!);
    assertNear(engine.linear(x, matrix).data(), plain, tolerance);
    assertSame(engine.linear(x, matrix, Tensor.from(bias, [rows])).data(), output.data());
  }
});

test("ternaryLinear takes packed weights or quantises by absmean", () => {
  const trits = randomTrits(6 * 40, 1);
  const scales = randomFloats(6, 2);
  const x = Tensor.from(randomFloats(3 * 40, 3), [3, 40]);
  const bias = randomFloats(6, 4);
  using packed = PackedTernary.fromTernary(trits, scales, [6, 40]);
  const output = engine.ternaryLinear(x, packed, bias);
  assert.deepEqual(output.shape, [3, 6]);
  assertSame(output.data(), packed.matmul(x.data(), { bias }));

  const weights = randomFloats(6 * 40, 5);
  using layer = TernaryLayer.fromWeights(weights, [6, 40], bias);
  const before = info().handles;
  const quantized = engine.ternaryLinear(x, Tensor.from(weights, [6, 40]), bias);
  assert.equal(info().handles, before);
  assertSame(quantized.data(), layer.forward(x).data());
  assertSame(engine.ternaryLinear(x, layer).data(), layer.forward(x).data());
  assertThrowsCode(() => engine.ternaryLinear(x, layer, bias), "invalid_option", /its own/);
  const result = quantizeAbsmean(weights, [6, 40]);
  assertThrowsCode(() => engine.ternaryLinear(x, wrong(result)), "invalid_type", /toPacked\(\)/);
});

test("batchedForward gives the same for every batch size", () => {
  using packed = PackedTernary.fromTernary(randomTrits(6 * 8, 1), randomFloats(6, 2), [6, 8]);
  const x = Tensor.from(randomFloats(5 * 2 * 8, 3), [5, 2, 8]);
  const expected = packed.matmul(x);
  for (const maxBatchSize of [1, 2, 3, 4, 5, 6]) {
    const batches: number[] = [];
    const output = new InferenceEngine({ maxBatchSize }).batchedForward(x, (rows) => {
      batches.push(rows.shape[0]!);
      return packed.matmul(rows);
    });
    assert.deepEqual(output.shape, [5, 2, 6]);
    assertSame(output.data(), expected.data());
    assert.ok(batches.every((size) => size <= maxBatchSize));
    assert.equal(batches.reduce((sum, size) => sum + size, 0), 5);
  }
});

test("batchedForward checks what the callback returns", () => {
  const small = new InferenceEngine({ maxBatchSize: 2 });
  const x = Tensor.from(new Float32Array(15), [5, 3]);
  let calls = 0;
  const uneven = () => Tensor.from(new Float32Array(2 * ++calls), [2, calls]);
  assertThrowsCode(() => small.batchedForward(x, uneven), "invalid_shape");
  assertThrowsCode(() => small.batchedForward(x, wrong(() => 1)), "invalid_type");
  assertThrowsCode(() => small.batchedForward(x, wrong(null)), "invalid_type");
  const scalar = Tensor.from(new Float32Array(1), []);
  assertThrowsCode(() => small.batchedForward(scalar, (rows) => rows), "invalid_shape");
});

/** A softmax in float64 along an axis of `size` elements `stride` apart. */
function softmax(input: Float32Array, size: number, stride: number): Float64Array {
  const output = new Float64Array(input.length);
  for (let start = 0; start < input.length; start++) {
    if (Math.floor(start / stride) % size !== 0) continue;
    const places = Array.from({ length: size }, (_, index) => start + index * stride);
    const most = Math.max(...places.map((place) => input[place]!));
    const sum = places.reduce((total, place) => total + Math.exp(input[place]! - most), 0);
    for (const place of places) output[place] = Math.exp(input[place]! - most) / sum;
  }
  return output;
}

test("softmax sums to one along any axis", () => {
  const shape = [2, 3, 35];
  const input = randomFloats(210, 1).map((value) => 20 * value);
  const x = Tensor.from(input, shape);
  for (const [axis, size, stride] of [[0, 2, 105], [1, 3, 35], [2, 35, 1]] as const) {
    const expected = softmax(input, size, stride);
    // exp of a float32 difference up to 40 carries up to 40 half units; the sum a few more.
    const tolerance = (index: number) => 100 * 2 ** -24 * expected[index]! + 1e-37;
    const output = engine.softmax(x, axis);
    assert.deepEqual(output.shape, shape);
    assertNear(output.data(), expected, tolerance, `axis ${axis}`);
    assertSame(engine.softmax(x, axis - 3).data(), output.data());
    onEveryTier((tier) => {
      assertNear(engine.softmax(x, axis).data(), expected, tolerance, tier);
    });
  }
  assertSame(engine.softmax(x).data(), engine.softmax(x, 2).data());
  assertSame(engine.softmax(Tensor.from(Float32Array.of(3e38, 3e38), [2])).data(), [0.5, 0.5]);
});

test("layerNorm has mean 0 and variance 1 before weight and bias", () => {
  for (const features of [1, 5, 64, 100]) {
    const input = randomFloats(3 * features, features).map((value) => value + 2);
    const weight = randomFloats(features, 1);
    const bias = randomFloats(features, 2);
    for (const epsilon of [undefined, 1e-3]) {
      const expected = new Float64Array(input.length);
      for (let start = 0; start < input.length; start += features) {
        const row = Array.from(input.subarray(start, start + features));
        const mean = row.reduce((sum, value) => sum + value, 0) / features;
        const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / features;
        const factor = 1 / Math.sqrt(variance + (epsilon ?? 1e-5));
        row.forEach((value, col) =>
          expected[start + col] = (value - mean) * factor * weight[col]! + bias[col]!
        );
      }
      const x = Tensor.from(input, [3, features]);
      // The mean (about 2) is rounded in float32, then magnified by the factor, at most 1/sqrt(1e-5).
      const tolerance = features === 1 ? 2 ** -22 * 320 : 2 ** -22 * 16;
      const output = engine.layerNorm(x, weight, bias, epsilon);
      assert.deepEqual(output.shape, [3, features]);
      assertNear(output.data(), expected, tolerance, `${features} features`);
      const plain = expected.map((value, index) => value - bias[index % features]!);
      assertNear(engine.layerNorm(x, weight, undefined, epsilon).data(), plain, tolerance);
    }
  }
});

test("rmsNorm has mean square 1 before the weight", () => {
  const weight = new Float32Array(70).fill(1);
  const input = randomFloats(2 * 70, 1);
  const output = engine.rmsNorm(Tensor.from(input, [2, 70]), weight, 0);
  for (let start = 0; start < 140; start += 70) {
    const row = output.data().subarray(start, start + 70);
    const meanSquare = row.reduce((sum, value) => sum + value * value, 0) / 70;
    // Seventy additions and a root: fewer than a hundred roundings.
    assert.ok(Math.abs(meanSquare - 1) < 100 * 2 ** -24);
  }
  const scaled = engine.rmsNorm(Tensor.from(input, [2, 70]), weight.map(() => 2), 0);
  assertSame(scaled.data(), output.data().map((value) => 2 * value));
  const zeros = Tensor.from(new Float32Array(70), [70]);
  assertSame(engine.rmsNorm(zeros, weight).data(), new Float32Array(70));
});

test("bad arguments of the engine are refused", () => {
  const x = Tensor.from(new Float32Array(6), [2, 3]);
  const matrix = Tensor.from(new Float32Array(12), [4, 3]);
  assertThrowsCode(() => engine.linear(wrong(new Float32Array(6)), matrix), "invalid_type");
  assertThrowsCode(
    () => engine.linear(x, Tensor.from(new Float32Array(8), [4, 2])),
    "invalid_shape",
  );
  assertThrowsCode(() => engine.linear(x, Tensor.from(new Float32Array(3), [3])), "invalid_shape");
  assertThrowsCode(() => engine.linear(x, matrix, new Float32Array(3)), "invalid_length");
  assertThrowsCode(() => engine.linear(Tensor.from(new Int8Array(3), [3]), matrix), "invalid_type");
  assertThrowsCode(() => engine.ternaryLinear(x, wrong({})), "invalid_type");
  assertThrowsCode(() => engine.ternaryLinear(x, matrix, new Float32Array(3)), "invalid_length");
  const notANumber = Tensor.from(new Float32Array(12).fill(NaN), [4, 3]);
  assertThrowsCode(() => engine.ternaryLinear(x, notANumber), "invalid_value");
  for (const axis of [2, -3, 0.5, NaN]) {
    assertThrowsCode(() => engine.softmax(x, axis), "invalid_value", /axis.*from -2 to 1/);
  }
  for (const axis of ["1", Symbol("axis"), null, {}, 1n]) {
    assertThrowsCode(() => engine.softmax(x, wrong(axis)), "invalid_type", /axis must be a number/);
  }
  const scalar = Tensor.from(new Float32Array(1), []);
  assertThrowsCode(() => engine.softmax(scalar), "invalid_shape", /at least one axis/);
  assertThrowsCode(() => engine.softmax(scalar, 0), "invalid_shape");
  assertThrowsCode(() => engine.layerNorm(x, new Float32Array(2)), "invalid_shape");
  assertThrowsCode(() => engine.layerNorm(x, new Float32Array(0)), "invalid_shape");
  assertThrowsCode(
    () => engine.layerNorm(x, new Float32Array(3), new Float32Array(2)),
    "invalid_length",
  );
  assertThrowsCode(
    () => engine.layerNorm(x, new Float32Array(3), undefined, -1),
    "invalid_value",
  );
  assertThrowsCode(() => engine.rmsNorm(x, new Float32Array(2)), "invalid_shape");
  assertThrowsCode(() => engine.rmsNorm(x, new Float32Array(3), NaN), "invalid_value");
  const disposed = Tensor.from(new Float32Array(3), [3]);
  disposed[Symbol.dispose]();
  assertThrowsCode(() => engine.softmax(disposed), "disposed");
});

test("TernaryLayer has the golden sizes", () => {
  using layer = TernaryLayer.fromWeights(randomFloats(16 * 32, 1), [16, 32]);
  assert.equal(layer.outFeatures, 16);
  assert.equal(layer.inFeatures, 32);
  assert.equal(layer.bias, undefined);
  assert.equal(layer.memoryBytes, 192);
  assert.equal(layer.originalMemoryBytes, 2048);
  assert.equal(layer.compressionRatio.toFixed(2), "10.67");
  using biased = TernaryLayer.fromWeights(
    randomFloats(16 * 32, 1),
    [16, 32],
    new Float32Array(16),
  );
  assert.equal(biased.memoryBytes, 192 + 64);
  assert.equal(biased.originalMemoryBytes, 2048 + 64);
  using odd = TernaryLayer.fromWeights(randomFloats(9, 1), [3, 3]);
  assert.equal(odd.memoryBytes, 3 + 12);
});

test("TernaryLayer multiplies by its quantised weights", () => {
  const weights = randomFloats(7 * 50, 1);
  const bias = randomFloats(7, 2);
  const input = randomFloats(4 * 50, 3);
  using layer = TernaryLayer.fromWeights(weights, [7, 50], bias);
  const trits = layer.weights.toTernary();
  const { values, magnitudes } = productF64(input, trits, layer.weights.scales, [7, 50]);
  const expected = values.map((value, index) => value + bias[index % 7]!);
  // Fifty terms, a scale and a bias: fewer than sixty roundings.
  const tolerance = (index: number) => 60 * 2 ** -24 * (magnitudes[index]! + 1);
  const output = layer.forward(input);
  assertNear(output, expected, tolerance);
  const tensor = layer.forward(Tensor.from(input, [2, 2, 50]));
  assert.deepEqual(tensor.shape, [2, 2, 7]);
  assertSame(tensor.data(), output);
  const out = new Float32Array(28);
  assert.equal(layer.forward(input, { out }), out);
  bias.fill(9);
  assertSame(layer.forward(input), output);
});

test("TernaryLayer frees its weights and checks its arguments", () => {
  const before = info().handles;
  const layer = TernaryLayer.fromWeights(randomFloats(8, 1), [2, 4]);
  layer[Symbol.dispose]();
  layer[Symbol.dispose]();
  assert.equal(info().handles, before);
  assertThrowsCode(() => layer.forward(new Float32Array(4)), "disposed");
  assert.equal(layer.compressionRatio, 32 / (2 + 8));
  const weights = randomFloats(8, 1);
  assertThrowsCode(() => TernaryLayer.fromWeights(weights, [3, 4]), "invalid_length");
  assertThrowsCode(
    () => TernaryLayer.fromWeights(weights, [2, 4], new Float32Array(3)),
    "invalid_length",
  );
  assertThrowsCode(
    () => TernaryLayer.fromWeights(weights, [2, 4], { device: "cuda" }),
    "device_unavailable",
  );
});

test("a TernaryLayer is made in every form of call that says the same", () => {
  const weights = randomFloats(8, 1);
  const bias = Float32Array.of(1, 2);
  const tensor = Tensor.from(weights, [2, 4]);
  using packed = PackedTernary.fromWeights(weights, [2, 4]);
  const floats = randomFloats(4, 2);
  const expected = packed.matmul(floats, { bias });
  const layers = [
    TernaryLayer.fromWeights(weights, [2, 4], bias),
    TernaryLayer.fromWeights(weights, [2, 4], { bias, device: "cpu" }),
    TernaryLayer.fromWeights(weights, [2, 4], Tensor.from(bias, [2])),
    TernaryLayer.fromWeights(tensor, undefined, { bias: Tensor.from(bias, [2]) }),
    TernaryLayer.fromWeights(packed, undefined, { bias }),
    new TernaryLayer(weights, [2, 4], bias),
    new TernaryLayer(tensor, undefined, { bias, device: undefined }),
    new TernaryLayer(packed, [2, 4], bias),
  ];
  const inputs: (Float32Array | Tensor)[] = [floats, Tensor.from(floats, [1, 4])];
  for (const layer of layers) {
    for (const input of inputs) {
      const output = layer.forward(input);
      assertSame(output instanceof Tensor ? output.data() : output, expected);
    }
    layer[Symbol.dispose]();
    assertThrowsCode(() => layer.forward(floats), "disposed");
  }
  // Those that were packed by the caller stay the caller's.
  assert.equal(packed.matmul(floats).length, 2);
  using plain = new TernaryLayer(tensor);
  assert.equal(plain.bias, undefined);
  using unset = new TernaryLayer(weights, [2, 4], { bias: undefined });
  assert.equal(unset.bias, undefined);
});

test("a TernaryLayer of grouped weights counts all scales", () => {
  using packed = PackedTernary.fromWeights(randomFloats(64, 1), [4, 16], { groupSize: 4 });
  using layer = new TernaryLayer(packed);
  assert.equal(layer.memoryBytes, 16 + 4 * 16);
});

test("bad arguments of a TernaryLayer are refused and leave nothing behind", () => {
  const weights = randomFloats(8, 1);
  const tensor = Tensor.from(weights, [2, 4]);
  using packed = PackedTernary.fromWeights(weights, [2, 4]);
  const before = info().handles;
  for (const make of [TernaryLayer.fromWeights, (...args: unknown[]) => construct(...args)]) {
    const call = (...args: unknown[]) => () => wrong(make)(...args);
    assertThrowsCode(call(tensor, [4, 2]), "invalid_shape");
    assertThrowsCode(call(packed, [4, 2]), "invalid_shape");
    assertThrowsCode(call(weights), "invalid_type", /shape/);
    assertThrowsCode(call(), "invalid_type", /weights/);
    assertThrowsCode(call({}, [2, 4]), "invalid_type", /weights/);
    assertThrowsCode(call(weights, [2, 4], { bias: new Float32Array(3) }), "invalid_length");
    assertThrowsCode(call(weights, [2, 4], Float32Array.of(1, NaN)), "invalid_value", /bias\[1\]/);
    assertThrowsCode(call(weights, [2, 4], { device: "cuda" }), "device_unavailable");
    assertThrowsCode(call(packed, [2, 4], { device: "cuda" }), "device_unavailable");
    for (const bias of [null, 1, "bias", [1, 2], new Float64Array(2), new Map()]) {
      assertThrowsCode(call(weights, [2, 4], bias), "invalid_type", /bias/);
    }
  }
  assert.equal(info().handles, before);
});

function construct(...args: unknown[]): TernaryLayer {
  return new (wrong(TernaryLayer))(...args);
}
