// Random projections of gradients on a device: numbers are those of the CPU, to the last bit.
import assert from "node:assert/strict";
import {
  compressGradientsVsa,
  decompressGradientsVsa,
  GradientCompressor,
  setDevice,
  Tensor,
} from "../mod.ts";
import { assertNothingLeft, cudaTest } from "./cuda_support.ts";
import { heavyTailed } from "./gradients_reference.ts";
import { assertSame, assertThrowsCode } from "./support.ts";

const device = "cuda";
const SIZES = [1, 3, 33, 1000, 4096, 4097, 65_537, 300_007];

cudaTest("projections are those of the CPU", () => {
  assertNothingLeft(() => {
    for (const size of SIZES) {
      const gradients = heavyTailed(size, size);
      using there = Tensor.from(gradients, [size], { device });
      for (const ratio of [1, 0.3, 0.001]) {
        const { compressed: expected } = compressGradientsVsa(gradients, ratio, 5, {
          device: "cpu",
        });
        assertSame(compressGradientsVsa(there, ratio, 5).compressed, expected);
        assertSame(compressGradientsVsa(gradients, ratio, 5, { device }).compressed, expected);
        using restored = decompressGradientsVsa(expected, size, 5, { device });
        assert.equal(restored.device, "cuda:0");
        assertSame(restored.data(), decompressGradientsVsa(expected, size, 5));
      }
    }
  });
});

cudaTest("a compressor's results are those of the CPU, clipped or not", () => {
  assertNothingLeft(() => {
    for (const size of SIZES) {
      const gradients = heavyTailed(size, size);
      using there = Tensor.from(gradients, [1, size], { device });
      for (const gradientClipping of [undefined, 1e-3, 1e6]) {
        const cpu = new GradientCompressor({ gradientClipping, seed: 2n ** 64n - 1n });
        const gpu = new GradientCompressor({ gradientClipping, seed: cpu.seed, device });
        assert.equal(gpu.device, "cuda:0");
        const expected = cpu.compress(gradients);
        for (const actual of [cpu.compress(there), gpu.compress(gradients), gpu.compress(there)]) {
          assertSame(actual.data, expected.data);
        }
        assertSame(gpu.decompress(expected), cpu.decompress(expected));
        using out = Tensor.from(new Float32Array(size), [size], { device });
        assert.equal(cpu.decompress(expected, { out }), out);
        assertSame(out.data(), cpu.decompress(expected));
        const ternary = cpu.compressTernary(gradients);
        assert.deepEqual(gpu.compressTernary(there), ternary);
        assertSame(gpu.decompressTernary(ternary), cpu.decompressTernary(ternary));
      }
    }
  });
});

cudaTest("the default device is that of setDevice", () => {
  assertNothingLeft(() => {
    const gradients = heavyTailed(1000, 1);
    const expected = new GradientCompressor({ device: "cpu" }).compressTernary(gradients);
    const { compressed } = compressGradientsVsa(gradients, 0.1, 42);
    const restored = decompressGradientsVsa(compressed, 1000, 42);
    setDevice(device);
    try {
      assert.equal(new GradientCompressor().device, "cuda:0");
      for (const place of [undefined, "cpu", device] as const) {
        const compressor = new GradientCompressor({ device: place });
        assert.deepEqual(compressor.compressTernary(gradients), expected);
      }
      assertSame(compressGradientsVsa(gradients, 0.1, 42).compressed, compressed);
      assertSame(decompressGradientsVsa(compressed, 1000, 42), restored);
    } finally {
      setDevice("auto");
    }
  });
});

cudaTest("what cannot be compressed is named, and nothing is lost", () => {
  assertNothingLeft(() => {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const gradients = heavyTailed(5000, 3);
      gradients[4321] = bad;
      using there = Tensor.from(gradients, [5000], { device });
      for (const gradientClipping of [undefined, 1]) {
        const compressor = new GradientCompressor({ gradientClipping });
        assertThrowsCode(() => compressor.compress(there), "invalid_value", /4321/);
      }
      assertThrowsCode(() => compressGradientsVsa(there, 0.1, 1), "invalid_value", /4321/);
    }
    const dense = new GradientCompressor({ method: "dense", device: "cpu" });
    const small = dense.compress(heavyTailed(100, 4));
    using there = Tensor.from(new Float32Array(100).fill(1), [100], { device });
    assertThrowsCode(() => new GradientCompressor({ method: "dense", device }), "unsupported");
    assertThrowsCode(() => dense.compress(there), "unsupported", /dense/);
    assertThrowsCode(() => dense.decompress(small, { out: there }), "unsupported", /dense/);
    assertThrowsCode(() => dense.decompress(small, { device }), "unsupported", /dense/);
    const compressor = new GradientCompressor({ device });
    using short = Tensor.from(new Float32Array(99), [99], { device });
    const compressed = compressor.compress(there);
    assertThrowsCode(() => compressor.decompress(compressed, { out: short }), "invalid_length");
    assertThrowsCode(
      () => compressor.decompress(compressed, { out: there, device: "cpu" }),
      "invalid_value",
      /out must be on cpu/,
    );
    using ints = Tensor.from(new Int8Array(100), [100], { device });
    assertThrowsCode(() => compressor.compress(ints as Tensor), "invalid_type", /f32/);
    assertSame(there.data(), new Float32Array(100).fill(1));
  });
});
