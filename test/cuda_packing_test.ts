import assert from "node:assert/strict";
import { PackedTernary, Tensor } from "../mod.ts";
import { assertNothingLeft, cudaTest } from "./cuda_support.ts";
import { assertSame, assertThrowsCode, randomFloats, randomTrits } from "./support.ts";

const SHAPES: readonly (readonly [number, number, number])[] = [
  [1, 1, 1],
  [3, 31, 31],
  [16, 256, 256],
  [17, 257, 257],
  [33, 1000, 250],
  [100, 96, 32],
  [5, 12, 3],
  [300, 2560, 2560],
  [40, 6912, 6912],
  [19, 12_000, 12_000],
  [35, 64, 64],
  [50, 1024, 128],
];

cudaTest("weights come back as they went", () => {
  assertNothingLeft(() => {
    for (const [rows, cols, groupSize] of SHAPES) {
      const trits = randomTrits(rows * cols, rows);
      const scales = randomFloats(rows * cols / groupSize, cols);
      using cpu = PackedTernary.fromTernary(trits, scales, [rows, cols]);
      using there = PackedTernary.fromTernary(trits, scales, [rows, cols], { device: "cuda" });
      assert.match(there.device, /^cuda:/);
      assert.deepEqual(there.shape, [rows, cols]);
      assert.equal(there.groupSize, groupSize);
      assert.equal(there.sparsity, cpu.sparsity);
      assertSame(there.toTernary(), trits);
      assertSame(there.scales, scales);
      assertSame(there.toPackedBytes(), cpu.toPackedBytes());
      assertSame(there.toFloat32(), cpu.toFloat32());
      using back = there.to("cpu");
      assertSame(back.toTernary(), trits);
      using again = back.to("cuda");
      assertSame(again.toPackedBytes(), cpu.toPackedBytes());
      using ternary = Tensor.from(trits, [rows, cols], { device: "cuda" });
      using packed = PackedTernary.fromTernary(ternary, scales, [rows, cols]);
      assert.equal(packed.device, there.device);
      assert.equal(packed.sparsity, cpu.sparsity);
      assertSame(packed.toPackedBytes(), cpu.toPackedBytes());
    }
  });
});

cudaTest("absmean on the device is that of the CPU to the last bit", () => {
  assertNothingLeft(() => {
    for (const [rows, cols, groupSize] of SHAPES) {
      for (const scale of [1, 1e-44, 1e-38, 1e30]) {
        const weights = randomFloats(rows * cols, rows + cols).map((value) => value * scale);
        weights[0] = 0;
        using cpu = PackedTernary.fromWeights(weights, [rows, cols], { groupSize });
        using tensor = Tensor.from(weights, [rows, cols], { device: "cuda" });
        using there = PackedTernary.fromWeights(tensor, undefined, { groupSize });
        assertSame(there.scales, cpu.scales);
        assertSame(there.toTernary(), cpu.toTernary());
        assert.equal(there.sparsity, cpu.sparsity);
      }
    }
    // 30 orders of magnitude: the sum depends on the order.
    for (const cols of [512, 2560, 10_004]) {
      const exponents = randomFloats(7 * cols, 5);
      const weights = randomFloats(7 * cols, 6).map((x, i) => x * 10 ** (exponents[i]! * 15));
      using cpu = PackedTernary.fromWeights(weights, [7, cols]);
      using tensor = Tensor.from(weights, [7, cols], { device: "cuda" });
      using there = PackedTernary.fromWeights(tensor);
      assertSame(there.scales, cpu.scales);
      assertSame(there.toTernary(), cpu.toTernary());
    }
    using zeros = Tensor.from(new Float32Array(512), [2, 256], { device: "cuda" });
    using packed = PackedTernary.fromWeights(zeros);
    assertSame(packed.scales, [1, 1]);
    assert.equal(packed.sparsity, 1);
  });
});

cudaTest("ties of absmean are kept", () => {
  // The mean is 2, so that 1 and -1 are exactly at half of it.
  const weights = Float32Array.of(1, -1, 3, -3, 2, 2, 2, 2);
  using tensor = Tensor.from(weights, [1, 8], { device: "cuda" });
  using there = PackedTernary.fromWeights(tensor);
  assertSame(there.toTernary(), [1, -1, 1, -1, 1, 1, 1, 1]);
});

cudaTest("bad weights are refused, and nothing is left", () => {
  assertNothingLeft(() => {
    const scales = Float32Array.of(1);
    using twos = Tensor.from(Int8Array.of(1, 2), [1, 2], { device: "cuda" });
    assertThrowsCode(() => PackedTernary.fromTernary(twos, scales, [1, 2]), "invalid_value");
    assertThrowsCode(() => PackedTernary.fromTernary(twos, scales, [1, 3]), "invalid_length");
    for (const bad of [NaN, Infinity, -Infinity]) {
      using tensor = Tensor.from(Float32Array.of(1, bad, 2, 3), [2, 2], { device: "cuda" });
      assertThrowsCode(() => PackedTernary.fromWeights(tensor), "invalid_value", /finite/);
      assertThrowsCode(
        () => PackedTernary.fromWeights(tensor, undefined, { method: "twn" }),
        "unsupported",
      );
      assertThrowsCode(
        () => PackedTernary.fromWeights(tensor, undefined, { device: "cpu" }),
        "invalid_option",
      );
    }
    for (const [cols, at] of [[64, 0], [4096, 4095], [6912, 5000]] as const) {
      const weights = randomFloats(3 * cols, 1);
      weights[cols + at] = Infinity;
      using tensor = Tensor.from(weights, [3, cols], { device: "cuda" });
      assertThrowsCode(() => PackedTernary.fromWeights(tensor), "invalid_value", /finite/);
      for (const bad of [2, -2, 3, 4, 127, -128]) {
        const trits = randomTrits(3 * cols, 2);
        trits[cols + at] = bad;
        using ternary = Tensor.from(trits, [3, cols], { device: "cuda" });
        const three = new Float32Array(3).fill(1);
        assertThrowsCode(
          () => PackedTernary.fromTernary(ternary, three, [3, cols]),
          "invalid_value",
        );
      }
    }
    const trits = Int8Array.of(1, 0);
    const options = { device: "cuda", layout: "base3" } as const;
    assertThrowsCode(
      () => PackedTernary.fromTernary(trits, scales, [1, 2], options),
      "invalid_option",
    );
  });
});
