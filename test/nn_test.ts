import assert from "node:assert/strict";
import { test } from "node:test";
import { BitLinear, info, KVCache, PackedTernary, QuantizationResult, Tensor } from "../mod.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  productF64,
  productInt8,
  randomFloats,
  randomTrits,
  wrong,
} from "./support.ts";

/** An RMS norm in float64. */
function rmsNorm(input: Float32Array, weight: Float32Array, epsilon: number): Float64Array {
  const features = weight.length;
  const output = new Float64Array(input.length);
  for (let start = 0; start < input.length; start += features) {
    const row = input.subarray(start, start + features);
    const squares = row.reduce((sum, value) => sum + value * value, 0);
    const factor = 1 / Math.sqrt(squares / features + epsilon);
    row.forEach((value, col) => output[start + col] = value * factor * weight[col]!);
  }
  return output;
}

test("BitLinear quantises weights and activations", () => {
  const weights = randomFloats(24 * 60, 1);
  const input = randomFloats(3 * 60, 2);
  const bias = randomFloats(24, 3);
  for (const groupSize of [60, 12]) {
    const { values, scales } = QuantizationResult.fromWeights(weights, [24, 60], { groupSize });
    using layer = BitLinear.fromWeights(weights, [24, 60], { groupSize, bias });
    using plain = BitLinear.fromWeights(weights, [24, 60], { groupSize });
    assertSame(layer.forward(input), productInt8(input, values, scales, [24, 60], bias));
    assertSame(plain.forward(input), productInt8(input, values, scales, [24, 60]));
  }
});

test("BitLinear takes float activations where asked", () => {
  const trits = randomTrits(10 * 33, 4);
  const scales = randomFloats(10, 5);
  const input = randomFloats(2 * 33, 6);
  using packed = PackedTernary.fromTernary(trits, scales, [10, 33]);
  using layer = BitLinear.fromPacked(packed, { activations: "f32" });
  assert.equal(layer.activations, "f32");
  assertSame(layer.forward(input), packed.matmul(input));
  const { values, magnitudes } = productF64(input, trits, scales, [10, 33]);
  // Thirty-three terms and a scale: fewer than forty roundings.
  assertNear(layer.forward(input), values, (index) => 40 * 2 ** -24 * magnitudes[index]!);
});

test("BitLinear normalises its input first", () => {
  const trits = randomTrits(20 * 50, 7);
  const scales = randomFloats(20, 8);
  const normWeight = randomFloats(50, 9);
  using packed = PackedTernary.fromTernary(trits, scales, [20, 50]);
  for (const epsilon of [1e-5, 0.5]) {
    using layer = BitLinear.fromPacked(packed, { normWeight, epsilon, activations: "f32" });
    for (const batch of [1, 4, 2]) {
      const input = randomFloats(batch * 50, 10 + batch);
      const normalized = Float32Array.from(rmsNorm(input, normWeight, epsilon));
      const { values, magnitudes } = productF64(normalized, trits, scales, [20, 50]);
      // About sixty roundings in the sums and as many in the mean square.
      const tolerance = (index: number) => 128 * 2 ** -24 * magnitudes[index]!;
      assertNear(layer.forward(input), values, tolerance);
      assertNear(layer.forward(Tensor.from(input, [batch, 50])).data(), values, tolerance);
    }
  }
});

test("a norm changes int8 results by no more than its own rounding", () => {
  const weights = randomFloats(16 * 64, 20);
  const normWeight = new Float32Array(64).fill(1);
  using layer = BitLinear.fromWeights(weights, [16, 64], { normWeight });
  using plain = BitLinear.fromWeights(weights, [16, 64]);
  const input = randomFloats(64, 21);
  const normalized = Float32Array.from(rmsNorm(input, normWeight, 1e-5));
  const scale = Math.max(...normalized.map(Math.abs)) / 127;
  // A value next to a rounding tie may move by one step of the scale, times the weight's scale.
  const weightScale = Math.max(...QuantizationResult.fromWeights(weights, [16, 64]).scales);
  assertNear(layer.forward(input), plain.forward(normalized), 2 * scale * weightScale);
});

test("BitLinear describes itself", () => {
  const trits = Int8Array.from({ length: 32 * 64 }, (_, index) => index % 4 === 0 ? 1 : 0);
  using packed = PackedTernary.fromTernary(trits, new Float32Array(32).fill(1), [32, 64]);
  const bias = new Float32Array(32);
  using layer = BitLinear.fromPacked(packed, { bias });
  assert.equal(layer.inFeatures, 64);
  assert.equal(layer.outFeatures, 32);
  assert.equal(layer.activations, "int8");
  assert.equal(layer.sparsity, 0.75);
  assert.equal(layer.memoryBytes, packed.memoryBytes + 32 * 4);
  assert.equal(layer.compressionRatio, (32 * 64 * 4 + 32 * 4) / layer.memoryBytes);
});

test("BitLinear keeps tensors' leading axes and writes to out", () => {
  using layer = BitLinear.fromWeights(randomFloats(8 * 16, 1), [8, 16]);
  const input = randomFloats(6 * 16, 2);
  const expected = layer.forward(input);
  const output = layer.forward(Tensor.from(input, [2, 3, 16]));
  assert.deepEqual(output.shape, [2, 3, 8]);
  assertSame(output.data(), expected);
  const out = new Float32Array(48);
  assert.equal(layer.forward(input, { out }), out);
  assertSame(out, expected);
});

test("BitLinear copies bias and norm weight", () => {
  const bias = new Float32Array(8);
  const normWeight = new Float32Array(16).fill(1);
  using layer = BitLinear.fromWeights(randomFloats(128, 1), [8, 16], { bias, normWeight });
  const input = randomFloats(16, 2);
  const expected = layer.forward(input);
  bias.fill(9);
  normWeight.fill(9);
  assertSame(layer.forward(input), expected);
});

test("BitLinear frees the weights that it made, and no others", () => {
  const before = info().handles;
  const own = BitLinear.fromWeights(randomFloats(128, 1), [8, 16]);
  own[Symbol.dispose]();
  own[Symbol.dispose]();
  assert.equal(info().handles, before);
  assertThrowsCode(() => own.forward(new Float32Array(16)), "disposed");
  using packed = PackedTernary.fromWeights(randomFloats(128, 1), [8, 16]);
  const borrowed = BitLinear.fromPacked(packed);
  borrowed[Symbol.dispose]();
  assertThrowsCode(() => borrowed.forward(new Float32Array(16)), "disposed");
  assert.equal(packed.matmul(new Float32Array(16)).length, 8);
});

test("bad arguments of BitLinear are refused", () => {
  const weights = randomFloats(128, 1);
  const make = (options: unknown) => BitLinear.fromWeights(weights, [8, 16], wrong(options));
  assertThrowsCode(() => make(null), "invalid_type");
  assertThrowsCode(() => make({ bias: new Float32Array(7) }), "invalid_length");
  assertThrowsCode(() => make({ normWeight: new Float32Array(8) }), "invalid_length");
  assertThrowsCode(() => make({ epsilon: -1 }), "invalid_value");
  assertThrowsCode(() => make({ activations: "int4" }), "invalid_option");
  assertThrowsCode(() => make({ groupSize: 5 }), "invalid_option");
  assertThrowsCode(() => BitLinear.fromPacked(wrong({})), "invalid_type");
  const normWeight = new Float32Array(16).fill(1);
  for (const options of [{}, { normWeight }]) {
    using layer = make(options);
    assertThrowsCode(() => layer.forward(new Float32Array(15)), "invalid_length");
    assertThrowsCode(() => layer.forward(new Float32Array(0)), "invalid_length");
    assertThrowsCode(() => layer.forward(wrong(null)), "invalid_type");
    const transposed = Tensor.from(new Float32Array(32), [16, 2]);
    assertThrowsCode(() => layer.forward(transposed), "invalid_shape");
    const spoiled = new Float32Array(32);
    spoiled[19] = NaN;
    assertThrowsCode(() => layer.forward(spoiled), "invalid_value");
  }
});

test("BitLinear takes tensors wherever it takes arrays", () => {
  const weights = randomFloats(128, 1);
  const bias = randomFloats(8, 2);
  const normWeight = randomFloats(16, 3);
  using layer = BitLinear.fromWeights(weights, [8, 16], { bias, normWeight });
  using same = BitLinear.fromWeights(Tensor.from(weights, [8, 16]), undefined, {
    bias: Tensor.from(bias, [8]),
    normWeight: Tensor.from(normWeight, [16]),
    groupSize: undefined,
  });
  const floats = randomFloats(16, 4);
  const inputs: (Float32Array | Tensor)[] = [floats, Tensor.from(floats, [1, 16])];
  for (const input of inputs) {
    const output = same.forward(input, { out: undefined });
    assertSame(output instanceof Tensor ? output.data() : output, layer.forward(floats));
  }
  const transposed = Tensor.from(weights, [16, 8]);
  assertThrowsCode(() => BitLinear.fromWeights(transposed, [8, 16]), "invalid_shape");
});

test("BitLinear names the number that is not finite", () => {
  const before = info().handles;
  const weights = randomFloats(128, 1);
  for (const bad of [NaN, Infinity, -Infinity]) {
    const bias = new Float32Array(8);
    bias[5] = bad;
    assertThrowsCode(
      () => BitLinear.fromWeights(weights, [8, 16], { bias }),
      "invalid_value",
      /bias\[5\]/,
    );
    const normWeight = new Float32Array(16).fill(1);
    normWeight[11] = bad;
    assertThrowsCode(
      () => BitLinear.fromWeights(weights, [8, 16], { normWeight }),
      "invalid_value",
      /normWeight\[11\]/,
    );
    assert.equal(info().handles, before);
    normWeight.fill(1);
    const input = new Float32Array(32);
    input[19] = bad;
    using layer = BitLinear.fromWeights(weights, [8, 16], { normWeight });
    assertThrowsCode(() => layer.forward(input), "invalid_value", /\b19\b/);
    using floats = BitLinear.fromWeights(weights, [8, 16], { normWeight, activations: "f32" });
    assertSame(floats.forward(input).subarray(8), new Float32Array(8).fill(NaN));
  }
});

test("the constructor of BitLinear is not for callers", () => {
  const { constructor } = wrong(BitLinear.prototype);
  using packed = PackedTernary.fromWeights(randomFloats(128, 1), [8, 16]);
  for (const args of [[], [packed, true, {}], [randomFloats(128, 1), [8, 16]], [Symbol()]]) {
    assertThrowsCode(() => new constructor(...args), "invalid_type", /BitLinear is made by/);
  }
  const result = QuantizationResult.fromWeights(randomFloats(128, 1), [8, 16]);
  assertThrowsCode(() => BitLinear.fromPacked(wrong(result)), "invalid_type", /toPacked\(\)/);
});

test("BitLinear gives the same on every tier", () => {
  using layer = BitLinear.fromWeights(randomFloats(100 * 300, 1), [100, 300], { groupSize: 100 });
  const input = randomFloats(7 * 300, 2);
  const expected = layer.forward(input);
  onEveryTier((tier) => assertSame(layer.forward(input), expected, tier));
});

/** Tokens whose every number says which token it is. */
function tokens(first: number, count: number, width: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count * width }, (_, i) => first + Math.floor(i / width));
}

test("KVCache counts tokens and returns them in order", () => {
  using cache = new KVCache({ kvHeads: 2, headDim: 4, maxTokens: 10 });
  assert.equal(cache.isEmpty, true);
  assert.equal(cache.length, 0);
  assertSame(cache.read().keys, []);
  const first = cache.update(tokens(0, 3, 8), tokens(100, 3, 8));
  assertSame(first.keys, tokens(0, 3, 8));
  assertSame(first.values, tokens(100, 3, 8));
  assert.equal(cache.length, 3);
  assert.equal(cache.isEmpty, false);
  const second = cache.update(tokens(3, 1, 8), tokens(103, 1, 8));
  assertSame(second.keys, tokens(0, 4, 8));
  assertSame(second.values, tokens(100, 4, 8));
  assert.equal(cache.length, 4);
  assert.equal(cache.position, 4);
  assert.equal(cache.maxTokens, 10);
});

test("a full KVCache refuses tokens and keeps what it has", () => {
  using cache = new KVCache({ kvHeads: 1, headDim: 4, maxTokens: 3 });
  cache.append(tokens(0, 2, 4), tokens(0, 2, 4));
  assertThrowsCode(() => cache.append(tokens(2, 2, 4), tokens(2, 2, 4)), "cache_full");
  assert.equal(cache.length, 2);
  assertSame(cache.read().keys, tokens(0, 2, 4));
  cache.append(tokens(2, 1, 4), tokens(2, 1, 4));
  assertThrowsCode(() => cache.append(tokens(3, 1, 4), tokens(3, 1, 4)), "cache_full");
  assertSame(cache.read().keys, tokens(0, 3, 4));
});

test("a sliding KVCache keeps the newest tokens", () => {
  using cache = new KVCache({ kvHeads: 1, headDim: 4, maxTokens: 3, policy: "slide" });
  for (let token = 0; token < 8; token++) {
    const held = cache.update(tokens(token, 1, 4), tokens(50 + token, 1, 4));
    const count = Math.min(token + 1, 3);
    assertSame(held.keys, tokens(token + 1 - count, count, 4));
    assertSame(held.values, tokens(51 + token - count, count, 4));
    assert.equal(cache.length, count);
    assert.equal(cache.position, token + 1);
  }
  // More at once than fit: the last three remain.
  assertSame(cache.update(tokens(8, 5, 4), tokens(58, 5, 4)).keys, tokens(10, 3, 4));
  assert.equal(cache.position, 13);
  assertThrowsCode(() => cache.truncate(1), "invalid_option");
  cache.clear();
  assert.equal(cache.isEmpty, true);
  assertSame(cache.update(tokens(1, 1, 4), tokens(1, 1, 4)).keys, tokens(1, 1, 4));
});

test("KVCache layers hold their own tokens", () => {
  using cache = new KVCache({ layers: 3, kvHeads: 1, headDim: 4, maxTokens: 4 });
  for (let layer = 0; layer < 3; layer++) {
    assert.equal(cache.length, 0);
    const held = cache.update(tokens(10 * layer, 2, 4), tokens(10 * layer + 5, 2, 4), layer);
    assertSame(held.keys, tokens(10 * layer, 2, 4));
  }
  assert.equal(cache.length, 2);
  cache.append(tokens(12, 1, 4), tokens(17, 1, 4), 1);
  assertSame(cache.read(1).keys, tokens(10, 3, 4));
  assert.equal(cache.length, 2);
  cache.truncate(2);
  for (let layer = 0; layer < 3; layer++) {
    assertSame(cache.read(layer).keys, tokens(10 * layer, 2, 4));
    assertSame(cache.read(layer).values, tokens(10 * layer + 5, 2, 4));
  }
});

test("KVCache goes back to an earlier token", () => {
  using cache = new KVCache({ kvHeads: 1, headDim: 4, maxTokens: 6 });
  cache.append(tokens(0, 5, 4), tokens(0, 5, 4));
  cache.truncate(2);
  assert.equal(cache.length, 2);
  assert.equal(cache.position, 2);
  assertSame(cache.update(tokens(9, 1, 4), tokens(9, 1, 4)).keys, [
    ...tokens(0, 2, 4),
    ...tokens(9, 1, 4),
  ]);
  cache.clear();
  assert.equal(cache.length, 0);
  assert.equal(cache.position, 0);
});

test("KVCache owns its memory from the start", () => {
  const before = info();
  const cache = new KVCache({ layers: 2, kvHeads: 3, headDim: 16, maxTokens: 100 });
  const { memoryBytes } = cache;
  // Keys and values of at least two bytes a number.
  assert.ok(memoryBytes >= 2 * 3 * 16 * 100 * 2 * 2);
  cache.append(new Float32Array(48 * 100), new Float32Array(48 * 100), 1);
  assert.equal(cache.memoryBytes, memoryBytes);
  cache[Symbol.dispose]();
  cache[Symbol.dispose]();
  assert.equal(info().allocatedBytes, before.allocatedBytes);
  const calls = [
    () => cache.length,
    () => cache.position,
    () => cache.isEmpty,
    () => cache.memoryBytes,
    () => cache.read(),
    () => cache.clear(),
    () => cache.truncate(0),
    () => cache.append(new Float32Array(48), new Float32Array(48)),
  ];
  for (const call of calls) assertThrowsCode(call, "disposed");
});

test("KVCache takes tensors in its own order of axes", () => {
  const keys = tokens(0, 3, 8);
  const values = randomFloats(24, 1);
  for (const shape of [[3, 8], [1, 3, 8], [3, 2, 4], [1, 3, 2, 4]]) {
    using cache = new KVCache({ layers: undefined, kvHeads: 2, headDim: 4, maxTokens: 4 });
    const held = cache.update(Tensor.from(keys, shape), Tensor.from(values, shape));
    assertSame(held.keys, keys);
    assertSame(held.values, values);
    assert.equal(cache.length, 3);
  }
  using one = new KVCache({ kvHeads: 1, headDim: 8, maxTokens: 6, policy: undefined });
  for (const shape of [[3, 8], [3, 1, 8]]) one.append(Tensor.from(keys, shape), values);
  assert.equal(one.length, 6);
  using cache = new KVCache({ kvHeads: 2, headDim: 4, maxTokens: 8 });
  cache.append(Tensor.from(new Float32Array(8), [8]), Tensor.from(new Float32Array(8), [2, 4]));
  for (const shape of [[24], [8, 3], [2, 3, 4], [3, 4, 2], [3, 1, 8]]) {
    const tensor = Tensor.from(keys, shape);
    assertThrowsCode(() => cache.append(tensor, values), "invalid_shape", /keys.*\[tokens, 8\]/);
    assertThrowsCode(() => cache.append(keys, tensor), "invalid_shape", /values/);
  }
  assertThrowsCode(() => cache.append(keys, Tensor.from(keys.slice(8), [2, 8])), "invalid_length");
  assertThrowsCode(() => cache.append(Tensor.from(new Int8Array(8), [8]), keys), "invalid_type");
  assert.equal(cache.length, 1);
});

test("KVCache says what it needs", () => {
  const message = /kvHeads, headDim and maxTokens.*model\.createCache\(\)/;
  for (const options of [16, undefined, null, "16", [1], {}, { maxTokens: 16 }]) {
    assertThrowsCode(() => new KVCache(wrong(options)), "invalid_type", message);
  }
});

test("bad arguments of KVCache are refused", () => {
  const good = { kvHeads: 1, headDim: 4, maxTokens: 8 };
  assertThrowsCode(() => new KVCache(wrong(undefined)), "invalid_type");
  assertThrowsCode(() => new KVCache(wrong(null)), "invalid_type");
  assertThrowsCode(() => new KVCache({ ...good, policy: wrong("drop") }), "invalid_option");
  for (const field of ["layers", "kvHeads", "headDim", "maxTokens"]) {
    for (const value of [0, -1, 1.5, NaN]) {
      assertThrowsCode(() => new KVCache({ ...good, [field]: value }), "invalid_value");
    }
    assertThrowsCode(() => new KVCache({ ...good, [field]: wrong("4") }), "invalid_type");
  }
  using cache = new KVCache(good);
  const token = new Float32Array(4);
  assertThrowsCode(() => cache.append(new Float32Array(5), token), "invalid_length");
  assertThrowsCode(() => cache.append(new Float32Array(0), new Float32Array(0)), "invalid_length");
  assertThrowsCode(() => cache.append(token, new Float32Array(8)), "invalid_length");
  assertThrowsCode(() => cache.append(wrong([1, 2, 3, 4]), token), "invalid_type");
  assertThrowsCode(() => cache.append(token, token, 1), "invalid_value");
  assertThrowsCode(() => cache.read(-1), "invalid_value");
  assertThrowsCode(() => cache.truncate(-1), "invalid_value");
  assertThrowsCode(() => cache.truncate(wrong("1")), "invalid_type");
  assertThrowsCode(() => cache.truncate(1), "invalid_value");
});
