import assert from "node:assert/strict";
import { InferenceEngine, PackedTernary, Tensor, TernaryLayer } from "../mod.ts";
import { assertNothingLeft, cudaTest } from "./cuda_support.ts";
import { assertThrowsCode, randomFloats } from "./support.ts";

const device = "cuda";

/**
 * Both are f32 sums of `terms` terms in different orders and of exponentials within a few units in the
 * last place: below 1e-5 of the largest value for the sizes here.
 */
function assertClose(actual: Tensor<"f32">, expected: Tensor<"f32">, label: string): void {
  assert.deepEqual(actual.shape, expected.shape, label);
  const [a, b] = [actual.data(), expected.data()];
  const most = b.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  a.forEach((value, i) => {
    const off = Math.abs(value - b[i]!);
    assert.ok(off <= 1e-5 * most, `${label}: element ${i} is ${value}, not ${b[i]}`);
  });
}

/** Runs on both devices and compares. */
function compare(
  label: string,
  shape: readonly number[],
  run: (engine: InferenceEngine, input: Tensor<"f32">) => Tensor<"f32">,
  scale = 3,
): void {
  const size = shape.reduce((product, axis) => product * axis, 1);
  const floats = randomFloats(size, 7).map((value) => value * scale);
  const expected = run(
    new InferenceEngine({ device: "cpu" }),
    Tensor.from(floats, shape, { device: "cpu" }),
  );
  using there = Tensor.from(floats, shape, { device });
  using actual = run(new InferenceEngine({ device }), there);
  assert.equal(actual.device, "cuda:0");
  assertClose(actual, expected, label);
}

cudaTest("softmax along any axis is that of the CPU", () => {
  assertNothingLeft(() => {
    for (
      const shape of [[1], [3], [5, 31], [7, 33], [2, 1000], [3, 2048], [2, 5001], [9, 32_000]]
    ) {
      compare(`[${shape}]`, shape, (engine, x) => engine.softmax(x));
    }
    for (const axis of [0, 1, 2, 3, -2]) {
      compare(`axis ${axis}`, [3, 5, 33, 7], (engine, x) => engine.softmax(x, axis));
    }
    compare("large", [4, 100], (engine, x) => engine.softmax(x), 1e4);
    compare("axis 0", [1000, 300], (engine, x) => engine.softmax(x, 0));
  });
});

cudaTest("softmax of what is not finite is that of the CPU", () => {
  const floats = Float32Array.of(NaN, 1, 2, -Infinity, 1, 2, -Infinity, -Infinity, -Infinity);
  using there = Tensor.from(floats, [3, 3], { device });
  using actual = new InferenceEngine({ device }).softmax(there);
  const expected = new InferenceEngine({ device: "cpu" }).softmax(
    Tensor.from(floats, [3, 3], { device: "cpu" }),
  );
  const [a, b] = [actual.data(), expected.data()];
  for (const [i, value] of a.entries()) {
    assert.ok(Object.is(value, b[i]) || Math.abs(value - b[i]!) < 1e-6, `${i}: ${value}, ${b[i]}`);
  }
});

cudaTest("norms are those of the CPU", () => {
  assertNothingLeft(() => {
    for (const size of [1, 3, 31, 33, 1000, 2048, 4096, 5001]) {
      const weight = randomFloats(size, 3);
      const bias = randomFloats(size, 4);
      const shape = [3, 2, size];
      compare(`rms ${size}`, shape, (engine, x) => engine.rmsNorm(x, weight));
      if (size === 1) continue; // nothing but what rounding leaves
      compare(`layer ${size}`, shape, (engine, x) => engine.layerNorm(x, weight));
      compare(`layer, bias ${size}`, shape, (engine, x) => engine.layerNorm(x, weight, bias, 1e-3));
      compare(`tensors ${size}`, shape, (engine, x) => {
        using weights = Tensor.from(weight, [size], { device: x.device });
        using biases = Tensor.from(bias, [size], { device: x.device });
        return engine.layerNorm(x, weights, biases);
      });
    }
  });
});

cudaTest("dense layers are those of the CPU", () => {
  assertNothingLeft(() => {
    for (const [rows, cols] of [[1, 1], [3, 31], [33, 100], [257, 1000]] as const) {
      const floats = randomFloats(rows * cols, 5);
      const bias = randomFloats(rows, 6);
      for (const biases of [undefined, bias]) {
        compare(`${rows} x ${cols}`, [2, 5, cols], (engine, x) => {
          using weights = Tensor.from(floats, [rows, cols], { device: x.device });
          return engine.linear(x, weights, biases);
        });
      }
    }
  });
});

cudaTest("ternary layers are those of the CPU", () => {
  assertNothingLeft(() => {
    for (const [rows, cols] of [[1, 4], [3, 31], [33, 1000]] as const) {
      const floats = randomFloats(rows * cols, 5);
      const bias = randomFloats(rows, 6);
      compare("float weights", [4, cols], (engine, x) => {
        using weights = Tensor.from(floats, [rows, cols], { device: x.device });
        return engine.ternaryLinear(x, weights, bias);
      });
      compare("packed weights", [4, cols], (engine, x) => {
        using packed = PackedTernary.fromWeights(floats, [rows, cols], { device: engine.device });
        return engine.ternaryLinear(x, packed, bias);
      });
      compare("a layer", [4, cols], (engine, x) => {
        using layer = TernaryLayer.fromWeights(floats, [rows, cols], {
          bias,
          device: engine.device,
        });
        assert.equal(layer.weights.device, engine.device);
        return engine.ternaryLinear(x, layer);
      });
      compare("a layer of tensors", [4, cols], (_, x) => {
        using weights = Tensor.from(floats, [rows, cols], { device: x.device });
        using biases = Tensor.from(bias, [rows], { device: x.device });
        using layer = TernaryLayer.fromWeights(weights, undefined, { bias: biases });
        return layer.forward(x);
      });
      const expected = TernaryLayer.fromWeights(floats, [rows, cols], { bias, device: "cpu" });
      using there = TernaryLayer.fromWeights(floats, [rows, cols], { bias, device });
      const input = randomFloats(2 * cols, 8);
      using a = Tensor.from(there.forward(input), [2, rows], { device: "cpu" });
      using b = Tensor.from(expected.forward(input), [2, rows], { device: "cpu" });
      assertClose(a, b, "arrays travel");
      expected[Symbol.dispose]();
    }
  });
});

cudaTest("batches are cut and joined on the device", () => {
  assertNothingLeft(() => {
    for (const rows of [1, 2, 3, 7]) {
      compare(`${rows} rows`, [rows, 5, 3], (engine, x) => {
        const small = new InferenceEngine({ device: engine.device, maxBatchSize: 2 });
        return small.batchedForward(x, (batch) => {
          assert.ok(batch.shape[0]! <= 2);
          return small.softmax(batch);
        });
      });
    }
    const engine = new InferenceEngine({ device, maxBatchSize: 1 });
    using x = Tensor.from(randomFloats(6, 1), [3, 2], { device });
    let calls = 0;
    const uneven = (batch: Tensor) =>
      calls++ === 1
        ? Tensor.from(new Float32Array(3), [1, 3], { device })
        : engine.softmax(batch as Tensor<"f32">);
    assertThrowsCode(() => engine.batchedForward(x, uneven), "invalid_shape");
    assertThrowsCode(
      () =>
        engine.batchedForward(x, () => Tensor.from(new Float32Array(2), [1, 2], { device: "cpu" })),
      "invalid_value",
      /on cuda:0/,
    );
    // A result that is the slice itself.
    using same = engine.batchedForward(x, (batch) => batch);
    assert.deepEqual(same.data(), x.data());
  });
});

cudaTest("nothing travels unasked to an engine", () => {
  assertNothingLeft(() => {
    const engine = new InferenceEngine({ device });
    assert.equal(engine.device, "cuda:0");
    assert.ok(engine.isGpu);
    using here = Tensor.from(randomFloats(8, 1), [2, 4], { device: "cpu" });
    using there = here.to(device);
    const ones = new Float32Array(4).fill(1);
    for (
      const call of [
        () => engine.softmax(here),
        () => engine.layerNorm(here, ones),
        () => engine.rmsNorm(here, ones),
        () => engine.linear(here, there),
        () => engine.linear(there, here),
        () => engine.ternaryLinear(here, there),
        () => engine.ternaryLinear(there, here),
        () => engine.rmsNorm(there, Tensor.from(ones, [4], { device: "cpu" })),
      ]
    ) assertThrowsCode(call, "invalid_value", /on cuda:0/);
    using packed = PackedTernary.fromWeights(here, undefined, { device: "cpu" });
    assertThrowsCode(() => engine.ternaryLinear(there, packed), "invalid_option");
    assertThrowsCode(
      () => TernaryLayer.fromWeights(packed, undefined, { device }),
      "invalid_option",
    );
    assertThrowsCode(() => engine.layerNorm(there, new Float32Array(3)), "invalid_shape");
    assertThrowsCode(() => engine.layerNorm(there, ones, new Float32Array(3)), "invalid_length");
    assertThrowsCode(() => engine.softmax(there, 2), "invalid_value");
    using bytes = Tensor.from(new Int8Array(4), [2, 2], { device });
    assertThrowsCode(() => engine.softmax(bytes), "invalid_type");
  });
});
