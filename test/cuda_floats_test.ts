// Half precision and dense products on a device.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  clipByGlobalNorm,
  clipByValue,
  cudaAvailable,
  denseMatmul,
  fromBf16,
  fromF16,
  globalNorm,
  hasOverflow,
  LossScaler,
  Tensor,
  toBf16,
  toF16,
} from "../mod.ts";
import { cudaTest } from "./cuda_support.ts";
import { assertSame, assertThrowsCode, randomFloats, wrong } from "./support.ts";

const device = "cuda";

/** Every kind of number: all exponents, ties, the largest ones, NaN with payloads. */
function allFloats(): Float32Array {
  const words = Uint32Array.from({ length: 1 << 17 }, (_, index) => index << 15);
  const ties = words.map((word) => word | 0x1000);
  const others = words.map((word, index) => word ^ Math.imul(index, 2654435761) >>> 17);
  const all = new Uint32Array(3 * words.length + 1);
  for (const [at, part] of [words, ties, others].entries()) all.set(part, at * words.length);
  return new Float32Array(all.buffer);
}

interface Options {
  transposeA?: boolean;
  transposeB?: boolean;
}

/** Products in f64, and the sums of the terms' magnitudes. */
function reference(
  a: Float32Array,
  b: Float32Array,
  [m, n, k]: readonly [number, number, number],
  { transposeA = false, transposeB = false }: Options,
): { values: Float64Array; magnitudes: Float64Array } {
  const values = new Float64Array(m * n);
  const magnitudes = new Float64Array(m * n);
  for (let index = 0; index < m * n; index++) {
    const [row, column] = [Math.floor(index / n), index % n];
    for (let at = 0; at < k; at++) {
      const x = a[transposeA ? at * m + row : row * k + at]!;
      const y = b[transposeB ? column * k + at : at * n + column]!;
      values[index]! += x * y;
      magnitudes[index]! += Math.abs(x * y);
    }
  }
  return { values, magnitudes };
}

cudaTest("half precision is the CPU's to the last bit", () => {
  const floats = allFloats();
  const words = Uint16Array.from({ length: 65536 }, (_, index) => index);
  using values = Tensor.from(floats, [floats.length], { device });
  using halves = Tensor.from(words, [256, 256], { device });
  for (const [narrow, widen] of [[toBf16, fromBf16], [toF16, fromF16]] as const) {
    using narrowed = narrow(values);
    assert.equal(narrowed.dtype, "u16");
    assertSame(narrowed.data(), narrow(floats));
    using widened = widen(halves);
    assert.deepEqual(widened.shape, [256, 256]);
    const bits = (array: Float32Array) => new Uint32Array(array.buffer);
    assertSame(bits(widened.data()), bits(widen(words)));
    using out = Tensor.from(new Float32Array(65536), [65536], { device });
    assert.equal(widen(halves, { out }), out);
    assertSame(bits(out.data()), bits(widen(words)));
  }
  assertThrowsCode(() => toBf16(wrong(halves)), "invalid_type", /f32/);
  assertThrowsCode(() => fromBf16(wrong(values)), "invalid_type", /u16/);
  using here = Tensor.from(new Float32Array(4), [4], { device: "cpu" });
  using there = Tensor.from(new Uint16Array(4), [4], { device });
  assertThrowsCode(() => toBf16(here, { out: there }), "invalid_value", /out must be on cpu/);
  assertThrowsCode(() => fromBf16(there, { out: here }), "invalid_value", /out must be on cuda/);
});

test("half precision of tensors on the CPU", () => {
  using values = Tensor.from(Float32Array.of(1, -2.5, 0.1, 7), [2, 2]);
  using halves = toBf16(values);
  assert.deepEqual(halves.shape, [2, 2]);
  assertSame(halves.data(), toBf16(values.data()));
  using out = Tensor.from(new Float32Array(4), [4]);
  assert.equal(fromBf16(halves, { out }), out);
  assertSame(out.data(), fromBf16(halves.data()));
});

test("dense products of tensors on the CPU are those of arrays", () => {
  const [a, b] = [randomFloats(6, 1), randomFloats(12, 2)];
  using left = Tensor.from(a, [2, 3]);
  using right = Tensor.from(b, [3, 4]);
  using product = denseMatmul(left, right, [2, 4, 3]);
  assert.deepEqual(product.shape, [2, 4]);
  assertSame(product.data(), denseMatmul(a, b, [2, 4, 3]));
  assertThrowsCode(
    () => denseMatmul(wrong(left), wrong(b), [2, 4, 3]),
    "invalid_type",
    /b must be/,
  );
  assertThrowsCode(() => denseMatmul(left, right, [2, 4, 2]), "invalid_length", /4 elements/);
});

/** Whether cuBLAS can be found; a machine with a GPU need not have it. */
function hasCublas(): boolean {
  if (!cudaAvailable()) return false;
  using one = Tensor.from(Float32Array.of(1), [1], { device });
  try {
    denseMatmul(one, one, [1, 1, 1])[Symbol.dispose]();
    return true;
  } catch (error) {
    assert.equal((error as { code?: string }).code, "device_unavailable");
    assert.match((error as Error).message, /TRITTER_CUBLAS_LIB/);
    return false;
  }
}

cudaTest("dense products by cuBLAS are within their tolerance", () => {
  if (!hasCublas()) return;
  for (const [m, n, k] of [[1, 1, 1], [3, 5, 7], [31, 33, 100], [128, 65, 257]] as const) {
    const [a, b] = [randomFloats(m * k, 1), randomFloats(k * n, 2)];
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const before = randomFloats(m * n, 3);
        using left = Tensor.from(a, [a.length], { device });
        using right = Tensor.from(b, [b.length], { device });
        using out = Tensor.from(before, [m, n], { device });
        const options = { transposeA, transposeB };
        const scaled = { ...options, alpha: 0.5, beta: -2, out };
        assert.equal(denseMatmul(left, right, [m, n, k], scaled), out);
        using fresh = denseMatmul(left, right, [m, n, k], options);
        const [plain, actual] = [fresh.data(), out.data()];
        const { values, magnitudes } = reference(a, b, [m, n, k], options);
        for (const [index, value] of values.entries()) {
          // 1e-5 of the sum of the terms' magnitudes, and the rounding of the rest.
          assert.ok(Math.abs(plain[index]! - value) <= 1e-5 * magnitudes[index]!);
          const whole = 0.5 * value - 2 * before[index]!;
          assert.ok(Math.abs(actual[index]! - whole) <= 1e-5 * (magnitudes[index]! + 2));
        }
      }
    }
  }
});

cudaTest("dense products of half precision add up in f32", () => {
  if (!hasCublas()) return;
  const [m, n, k] = [33, 40, 129];
  using a = Tensor.from(randomFloats(m * k, 4), [m, k], { device });
  using b = Tensor.from(randomFloats(n * k, 5), [n, k], { device });
  for (
    const [half, narrow, widen] of [["bf16", toBf16, fromBf16], ["f16", toF16, fromF16]] as const
  ) {
    using left = narrow(a);
    using right = narrow(b);
    using product = denseMatmul(left, right, [m, n, k], { transposeB: true, half });
    const [x, y] = [widen(left.data()), widen(right.data())];
    const { values } = reference(x, y, [m, n, k], { transposeB: true });
    const actual = product.data();
    // Products of halves are exact in f32; k additions of sums below k.
    for (const [index, value] of values.entries()) {
      assert.ok(Math.abs(actual[index]! - value) <= k * k * 2 ** -24, `${half} ${index}`);
    }
  }
  assertThrowsCode(() => denseMatmul(a, wrong(b.data()), [m, n, k]), "invalid_type");
});

cudaTest("norms, clipping and scaling are the CPU's to the last bit", () => {
  // A launch takes 128 tensors, and a block 65,536 values of one.
  const many = Array.from({ length: 130 }, (_, at) => 1 + at * 613 % 9000);
  const lists = [[1], [3, 33], [16_383, 16_384, 16_385], [65_536, 65_537, 300_007], many];
  for (const sizes of lists) {
    const arrays = sizes.map((size) => randomFloats(size, size));
    const tensors = arrays.map((array) => Tensor.from(array, [array.length], { device }));
    const assertAll = (label: string) =>
      tensors.forEach((tensor, at) => assertSame(tensor.data(), arrays[at]!, label));
    assert.equal(globalNorm(tensors), globalNorm(arrays));
    assert.equal(hasOverflow(tensors), false);
    assert.equal(clipByGlobalNorm(tensors, 0.7), clipByGlobalNorm(arrays, 0.7));
    assertAll("clipped by norm");
    clipByValue(tensors, -0.01, 0.005);
    clipByValue(arrays, -0.01, 0.005);
    assertAll("clipped by value");
    const [scaler, known] = [new LossScaler(), new LossScaler()];
    assert.equal(scaler.unscale(tensors), known.unscale(arrays));
    assertAll("unscaled");
    for (const value of [NaN, Infinity]) {
      const last = arrays.at(-1)!;
      last[last.length - 1] = value;
      using bad = Tensor.from(last, [last.length], { device });
      assert.equal(hasOverflow(bad), true);
      assert.equal(globalNorm(bad), globalNorm(last));
      assert.equal(scaler.step(bad, () => assert.fail("applied")), false);
      clipByValue(bad, -1, 1, { nan: "zero" });
      clipByValue(last, -1, 1, { nan: "zero" });
    }
    for (const tensor of tensors) tensor[Symbol.dispose]();
  }
});

test("gradients are arrays or tensors, not both, and none twice", () => {
  const array = Float32Array.of(3);
  using tensor = Tensor.from(Float32Array.of(4), [1]);
  assert.equal(globalNorm(tensor), 4);
  assertThrowsCode(() => globalNorm(wrong([array, tensor])), "invalid_type", /gradients\[0\]/);
  assertThrowsCode(() => globalNorm([tensor, tensor]), "invalid_value", /once/);
  using ints = Tensor.from(Int32Array.of(1), [1]);
  assertThrowsCode(() => hasOverflow(ints), "invalid_type", /f32/);
});
