import assert from "node:assert/strict";
import { matmul, PackedTernary, Tensor } from "../mod.ts";
import { assertNothingLeft, cudaTest } from "./cuda_support.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  productF64,
  randomFloats,
  randomTrits,
  type Shape,
} from "./support.ts";

/** Weights on both devices; scales of both signs. */
function both([rows, cols]: Shape, groupSize: number, seed: number) {
  const trits = randomTrits(rows * cols, seed);
  const scales = randomFloats(rows * (cols / groupSize), seed + 1);
  return {
    trits,
    scales,
    cpu: PackedTernary.fromTernary(trits, scales, [rows, cols]),
    gpu: PackedTernary.fromTernary(trits, scales, [rows, cols], { device: "cuda" }),
  };
}

/** Rows, columns and group sizes around every edge of the layout and of the kernels' blocks. */
const SHAPES: readonly (readonly [number, number, number])[] = [
  [1, 1, 1],
  [3, 31, 31],
  [7, 33, 33],
  [8, 64, 64],
  [16, 255, 255],
  [17, 256, 256],
  [31, 257, 257],
  [64, 1000, 1000],
  [129, 2560, 2560],
  [1000, 640, 640],
  [6150, 512, 512],
  [8200, 300, 300],
  [20500, 256, 256],
  [5, 12, 3],
  [9, 96, 32],
  [33, 512, 64],
  [40, 1024, 128],
  [24, 3 * 72, 72],
  [20, 5 * 320, 320],
  [2, 6000, 2],
];

const TOKENS = [1, 2, 3, 8, 9, 16, 17, 32, 33, 64, 65, 100, 128, 129, 300];

cudaTest("int8 products are those of the CPU to the last bit", () => {
  assertNothingLeft(() => {
    for (const [rows, cols, groupSize] of SHAPES) {
      const { cpu, gpu } = both([rows, cols], groupSize, rows + cols);
      using _cpu = cpu;
      using _gpu = gpu;
      const tokens = rows > 4000 ? [1, 5, 12, 30, 70] : TOKENS;
      for (const count of tokens) {
        const input = randomFloats(count * cols, count);
        const bias = count % 2 === 0 ? randomFloats(rows, 9) : undefined;
        const options = { activations: "int8", bias } as const;
        const label = `${count} x [${rows}, ${cols}] by ${groupSize}`;
        assertSame(gpu.matmul(input, options), cpu.matmul(input, options), label);
      }
    }
  });
});

cudaTest("int8 products of extreme tokens are those of the CPU", () => {
  const cols = 320;
  const { cpu, gpu } = both([50, cols], cols, 5);
  using _cpu = cpu;
  using _gpu = gpu;
  const rows = [0, 1, 1e-45, 1e-40, 3e-38, 1e30, 3.4e38].map((scale) =>
    randomFloats(cols, 77).map((value) => value * scale)
  );
  // Ties: halves of the step that 127 gives.
  rows.push(Float32Array.from({ length: cols }, (_, index) => index === 0 ? 127 : index % 9 - 4.5));
  for (const batch of [rows.slice(0, 1), rows.slice(2, 3), rows.slice(-1), rows]) {
    const input = Float32Array.from(batch.flatMap((row) => [...row]));
    const expected = cpu.matmul(input, { activations: "int8" });
    assertSame(gpu.matmul(input, { activations: "int8" }), expected);
  }
});

cudaTest("f32 products agree with float64", () => {
  assertNothingLeft(() => {
    for (const [rows, cols, groupSize] of SHAPES) {
      const { trits, scales, cpu, gpu } = both([rows, cols], groupSize, rows * 3 + cols);
      using _cpu = cpu;
      using _gpu = gpu;
      for (const count of rows > 4000 ? [1, 3, 40] : [1, 2, 3, 4, 5, 8, 9, 33, 70, 130, 300]) {
        const input = randomFloats(count * cols, count + 40);
        const { values, magnitudes } = productF64(input, trits, scales, [rows, cols]);
        // 1e-5 of the sum of magnitudes, which the rounding errors of the sum scale with.
        const label = `${count} x [${rows}, ${cols}] by ${groupSize}`;
        assertNear(gpu.matmul(input), values, (index) => 1e-5 * magnitudes[index]! + 1e-44, label);
      }
    }
  });
});

cudaTest("f32 products of long rows keep their digits", () => {
  const cols = 200_000;
  const { trits, scales, gpu } = both([3, cols], cols, 8);
  using _gpu = gpu;
  // Positive numbers: what rounding loses is not averaged away.
  const input = randomFloats(cols, 3).map(Math.abs);
  const ones = trits.fill(1);
  using all = PackedTernary.fromTernary(ones, scales, [3, cols], { device: "cuda" });
  const { values, magnitudes } = productF64(input, ones, scales, [3, cols]);
  assertNear(all.matmul(input), values, (index) => 1e-5 * magnitudes[index]!);
});

cudaTest("f32 products of many tokens keep their digits", () => {
  const [rows, cols, tokens] = [70, 8192, 40];
  const { trits, scales, gpu } = both([rows, cols], cols, 31);
  using _gpu = gpu;
  // Numbers of one sign and of 20 orders of magnitude, whose lowest bits count.
  const signs = randomFloats(tokens * cols, 32).map(Math.abs);
  const orders = randomFloats(tokens * cols, 33).map((value) => value * 10 ** (value * 10));
  const largest = new Float32Array(tokens * cols).fill(3e38 / cols);
  using all = PackedTernary.fromTernary(trits.fill(1), scales, [rows, cols], { device: "cuda" });
  for (const input of [signs, orders, largest]) {
    for (const [weights, codes] of [[gpu, randomTrits(rows * cols, 31)], [all, trits]] as const) {
      const { values, magnitudes } = productF64(input, codes, scales, [rows, cols]);
      assertNear(weights.matmul(input), values, (index) => 1e-5 * magnitudes[index]! + 1e-44);
    }
  }
});

cudaTest("resident tensors stay: leading axes, bias and out on the device", async () => {
  const { cpu, gpu } = both([48, 256], 256, 11);
  using _cpu = cpu;
  using _gpu = gpu;
  const array = randomFloats(6 * 256, 12);
  using input = Tensor.from(array, [2, 3, 256], { device: "cuda" });
  using bias = Tensor.from(randomFloats(48, 13), [48], { device: "cuda" });
  using out = Tensor.from(new Float32Array(6 * 48), [2, 3, 48], { device: "cuda" });
  const options = { activations: "int8", bias, out } as const;
  assert.equal(gpu.matmul(input, options), out);
  const expected = cpu.matmul(array, { activations: "int8", bias: bias.data() as Float32Array });
  assertSame(await out.read(), expected);
  using result = matmul(input, gpu, { activations: "int8" });
  assert.deepEqual(result.shape, [2, 3, 48]);
  assert.equal(result.device, gpu.device);
  assertThrowsCode(() => gpu.matmul(input, { out: input as Tensor<"f32"> }), "invalid_length");
  assertThrowsCode(() => gpu.matmul(out), "invalid_shape");
  const target = new Float32Array(6 * 48);
  assert.equal(gpu.matmul(array, { activations: "int8", out: target }), target);
  assertSame(target, cpu.matmul(array, { activations: "int8" }));
});

cudaTest("a token that is not finite spoils its own outputs only", () => {
  const { gpu } = both([40, 256], 256, 21);
  using _gpu = gpu;
  for (const activations of ["f32", "int8"] as const) {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const array = randomFloats(3 * 256, 22);
      const clean = array.slice();
      array[256 + 100] = bad;
      clean.fill(0, 256, 512);
      using input = Tensor.from(array, [3, 256], { device: "cuda" });
      using result = gpu.matmul(input, { activations });
      const values = result.data();
      const expected = gpu.matmul(clean, { activations });
      assertSame(values.subarray(0, 40), expected.subarray(0, 40));
      assertSame(values.subarray(80), expected.subarray(80));
      // In f32 an infinity stays one where its weight is not 0; a scale of int8 is NaN for the whole token.
      const isSpoilt = activations === "int8" ? Number.isNaN : (x: number) => !Number.isFinite(x);
      assert.ok(values.subarray(40, 80).every(isSpoilt));
    }
  }
  const bad = new Float32Array(256);
  bad[7] = NaN;
  assertThrowsCode(() => gpu.matmul(bad, { activations: "int8" }), "invalid_value", /\[7\]/);
});
