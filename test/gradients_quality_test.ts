/** What codecs promise: cosines at true bytes, unbiasedness, contraction, statistics. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  addCompressed,
  type CodecName,
  type CodecOptions,
  compressedInfo,
  compressGradientsVsa,
  compressionStats,
  createCodec,
  decompressGradients,
  decompressGradientsVsa,
  GradientCompressor,
  Tensor,
} from "../mod.ts";
import { gaussian, heavyTailed, norm } from "./gradients_reference.ts";
import { assertNear, assertSame, assertThrowsCode, onEveryTier, wrong } from "./support.ts";

const COUNT = 2 ** 20;
const normal = gaussian(COUNT, 1);
const heavy = heavyTailed(COUNT, 2);

function statsOf(gradients: Float32Array, name: CodecName, options?: CodecOptions) {
  const codec = createCodec(name, options);
  const bytes = codec.compress(gradients);
  return compressionStats(gradients, codec.decompress(bytes), bytes);
}

/** The mean of what comes back, over many seeds. */
function meanOf(
  gradients: Float32Array,
  name: CodecName,
  options: CodecOptions,
  seeds: number,
): Float64Array {
  const codec = createCodec(name, options);
  const mean = new Float64Array(gradients.length);
  for (let seed = 0; seed < seeds; seed++) {
    const restored = codec.decompress(codec.compress(gradients, { seed }));
    restored.forEach((value, i) => mean[i]! += value / seeds);
  }
  return mean;
}

/** The part of a list along another, and how far it is from it, in lengths of the other. */
function against(values: ArrayLike<number>, gradients: Float32Array) {
  const length = norm(gradients);
  let [dot, distance] = [0, 0];
  gradients.forEach((gradient, i) => {
    dot += gradient * values[i]!;
    distance += (gradient - values[i]!) ** 2;
  });
  return { along: dot / length ** 2, distance: Math.sqrt(distance) / length };
}

describe("cosines", () => {
  it("of rotated gradients do not depend on the gradients", () => {
    const cases = [
      [1, 0.797, 31.7],
      [1.58, 0.899, 19.8],
      [2, 0.939, 15.9],
      [3, 0.982, 10.6],
      [4, 0.995, 7.97],
    ] as const;
    for (const [bits, cosine, ratio] of cases) {
      for (const gradients of [normal, heavy]) {
        const stats = statsOf(gradients, "rotated", { bits });
        // What is not normal, even after the rotation, comes back a little better.
        const above = gradients === heavy ? 0.01 : 0.005;
        const isNear = stats.cosine > cosine - 0.005 && stats.cosine < cosine + above;
        assert.ok(isNear, `${bits} bits: ${stats.cosine}`);
        assert.ok(stats.ratio > ratio, `${bits} bits: ${stats.ratio} times smaller`);
      }
    }
  });

  it("of signs and trits are those of their levels", () => {
    // sqrt(2 / pi), and that of the best three levels, for a normal distribution.
    assert.ok(Math.abs(statsOf(normal, "sign").cosine - 0.7979) < 0.002);
    assert.ok(statsOf(normal, "sign").ratio > 31.7);
    assert.ok(Math.abs(statsOf(normal, "ternary").cosine - 0.8999) < 0.002);
    assert.ok(statsOf(normal, "ternary").ratio > 19.3);
    // Thresholds that fit the gradients are worth something where they are not normal.
    const [fixed, fitting] = ["twn", "optimal"].map((method) =>
      statsOf(heavy, "ternary", { method }).cosine
    );
    assert.ok(fitting! > fixed! + 0.05, `${fitting} and ${fixed}`);
  });

  it("of projections are the root of the share that is kept", () => {
    for (const gradients of [normal, heavy]) {
      for (const ratio of [4, 10, 100]) {
        const { cosine, gain } = statsOf(gradients, "projection", { ratio });
        assert.ok(Math.abs(cosine - ratio ** -0.5) < 0.01, `at ${ratio}: ${cosine}`);
        assert.ok(Math.abs(gain * cosine - 1) < 0.06, `at ${ratio}: ${gain}`);
      }
      assert.ok(Math.abs(statsOf(gradients, "projection", { ratio: 10 }).cosine - 0.31) < 0.01);
    }
  });

  it("of bundles are those that the documentation names", () => {
    for (const [ratio, cosine] of [[20, 0.9], [40, 0.6], [60, 0.48], [100, 0.36]] as const) {
      for (const gradients of [normal, heavy]) {
        const stats = statsOf(gradients, "vsa", { ratio });
        assert.ok(Math.abs(stats.cosine - cosine) < 0.01, `at ${ratio}: ${stats.cosine}`);
        assert.ok(stats.ratio > 0.96 * ratio, `at ${ratio}: ${stats.ratio}`);
      }
    }
  });

  it("of matrices of low rank are nearly 1, from the second step on", () => {
    const [rows, cols, rank] = [200, 300, 3];
    const [left, right] = [gaussian(rows * rank, 3), gaussian(cols * rank, 4)];
    const gradients = Float32Array.from({ length: rows * cols }, (_, index) => {
      let sum = 0;
      for (let k = 0; k < rank; k++) {
        sum += left[Math.floor(index / cols) * rank + k]! * right[index % cols * rank + k]!;
      }
      return sum;
    });
    const codec = createCodec("lowrank", { shape: [rows, cols], rank });
    const restored = codec.decompress(codec.compress(gradients));
    assert.ok(compressionStats(gradients, restored, 0).cosine > 0.9999);
    // With noise, power iteration from where it was comes nearer and nearer.
    const noise = gaussian(rows * cols, 5);
    const noisy = gradients.map((value, i) => value + 2 * noise[i]!);
    codec.reset();
    const first = codec.compress(noisy);
    const cosines = [first, ...Array.from({ length: 4 }, () => codec.compress(noisy))]
      .map((bytes) => compressionStats(noisy, codec.decompress(bytes), bytes).cosine);
    assert.ok(cosines[4]! > cosines[0]! + 0.02, cosines.join(" "));
    codec.reset();
    assertSame(codec.compress(noisy), first);
  });

  it("of what options ask for are reached", () => {
    for (const cosine of [0.5, 0.9, 0.93, 0.98, 0.99]) {
      assert.ok(statsOf(heavy, "rotated", { cosine }).cosine > cosine - 0.002);
    }
    for (const ratio of [8, 10, 16, 20, 32, 1 / 20]) {
      const times = ratio < 1 ? 1 / ratio : ratio;
      assert.ok(statsOf(heavy, "rotated", { ratio }).ratio > 0.99 * times);
    }
    const shape = [400, 300] as const;
    const matrix = heavy.subarray(0, 120_000);
    assert.ok(statsOf(matrix, "lowrank", { shape, ratio: 20 }).ratio > 19.9);
  });
});

describe("unbiased codecs", () => {
  // The error of a mean of m is that of one, over sqrt(m), if nothing stays.
  const spike = new Float32Array(1000);
  spike[137] = 3;
  for (
    const [name, gradients] of [
      ["normal", gaussian(1000, 6)],
      ["heavy-tailed", heavyTailed(1000, 7)],
      ["one", spike],
    ] as const
  ) {
    it(`give back ${name} gradients on average: projection`, () => {
      const seeds = 400;
      const { along, distance } = against(
        meanOf(gradients, "projection", { ratio: 10 }, seeds),
        gradients,
      );
      // One has an error of sqrt(n / k - 1) = 3 lengths, of which a part lies along the gradients.
      assert.ok(Math.abs(along - 1) < 0.1, `along ${along}`);
      assert.ok(distance < 1.3 * 3 / Math.sqrt(seeds), `distance ${distance}`);
    });

    it(`give back ${name} gradients on average: rotated`, () => {
      const seeds = 400;
      for (const [bits, cosine] of [[1, 0.797], [2, 0.939]] as const) {
        const { along, distance } = against(
          meanOf(gradients, "rotated", { bits }, seeds),
          gradients,
        );
        const one = Math.sqrt(cosine ** -2 - 1);
        // The scale makes the part along the gradients 1 in every single one.
        assert.ok(Math.abs(along - 1) < 1e-4, `along ${along}`);
        // A Hadamard transform is not quite a random rotation: where few gradients of a block have
        // most of the energy, some 6 % of the error of one stays.
        const stays = name === "heavy-tailed" ? 0.06 * one : 0;
        assert.ok(distance < 1.3 * one / Math.sqrt(seeds) + stays, `distance ${distance}`);
      }
    });
  }

  it("are dense projections as well, on average", () => {
    const gradients = gaussian(200, 8);
    const seeds = 300;
    const mean = meanOf(gradients, "projection", { ratio: 4, method: "dense" }, seeds);
    const { along, distance } = against(mean, gradients);
    assert.ok(Math.abs(along - 1) < 0.05 && distance < 1.3 * 2.2 / Math.sqrt(seeds));
  });

  it("become contractions where error feedback wants them", () => {
    for (const method of ["hadamard", "dense"]) {
      for (const ratio of [2, 10]) {
        const gradients = heavyTailed(2000, 9);
        const stats = statsOf(gradients, "projection", { ratio, method, gain: "contraction" });
        assert.ok(stats.relativeError < 1, `${method}: ${stats.relativeError}`);
        assert.ok(statsOf(gradients, "projection", { ratio, method }).relativeError > 0.9);
      }
    }
  });
});

describe("sketches", () => {
  it("add up to that of the sum", () => {
    const [a, b] = [gaussian(5000, 1), heavyTailed(5000, 2)];
    for (const options of [{}, { method: "dense", ratio: 50 }, { gain: "contraction" } as const]) {
      const codec = createCodec("projection", options);
      const sum = codec.compress(a.map((value, i) => value + b[i]!));
      const added = addCompressed(codec.compress(a), codec.compress(b));
      assert.equal(added.length, sum.length);
      const expected = codec.decompress(sum);
      assertNear(codec.decompress(added), expected, 1e-5 * norm(expected));
    }
  });

  it("are added in place, and not where they differ", () => {
    const codec = createCodec("projection");
    const [a, b] = [codec.compress(gaussian(100, 1)), codec.compress(gaussian(100, 2))];
    const expected = addCompressed(a, b);
    assertSame(addCompressed(a, b, { out: a }), expected);
    const others = [
      createCodec("projection", { seed: 1 }).compress(gaussian(100, 2)),
      createCodec("projection").compress(gaussian(99, 2)),
      createCodec("projection", { ratio: 9 }).compress(gaussian(100, 2)),
      createCodec("projection", { gain: "contraction" }).compress(gaussian(100, 2)),
      createCodec("sign").compress(gaussian(100, 2)),
    ];
    for (const other of others) {
      assertThrowsCode(() => addCompressed(b, other), "invalid_value", /same/);
    }
    const signs = createCodec("sign").compress(gaussian(100, 2));
    assertThrowsCode(() => addCompressed(signs, signs), "invalid_option", /summable/);
    const large = createCodec("projection", { ratio: 1 }).compress(Float32Array.of(2e38));
    assertThrowsCode(() => addCompressed(large, large), "invalid_value");
    assertThrowsCode(() => addCompressed(a.subarray(1), b), "invalid_format");
    assertThrowsCode(() => addCompressed(a, b, { out: new Uint8Array(3) }), "invalid_length");
  });
});

describe("functions and GradientCompressor", () => {
  it("keep max(ceil(n ratio), 1) numbers, all of them at ratio 1", () => {
    for (
      const [n, ratio, k] of [[4, 0.1, 1], [1000, 0.1, 100], [1001, 0.1, 101], [7, 1, 7]] as const
    ) {
      const gradients = gaussian(n, n);
      const { compressed, seed } = compressGradientsVsa(gradients, ratio, 5);
      assert.equal(compressed.length, k);
      const restored = decompressGradientsVsa(compressed, n, seed);
      assert.equal(restored.length, n);
      if (ratio === 1) assertNear(restored, gradients, 1e-6 * norm(gradients));
      const compressor = new GradientCompressor({ seed: 5 });
      assertSame(compressor.compress(gradients, ratio).data, compressed);
      assertSame(compressor.decompress(compressor.compress(gradients, ratio)), restored);
    }
  });

  it("clip by the norm before they project", () => {
    const gradients = gaussian(1000, 3);
    const compressor = new GradientCompressor({
      gradientClipping: 0.5,
      defaultCompressionRatio: 1,
    });
    const restored = compressor.decompress(compressor.compress(gradients));
    assertNear([norm(restored)], [0.5], 1e-6);
    const short = gradients.map((value) => value / 100);
    assertSame(
      compressor.compress(short).data,
      new GradientCompressor().compress(short, 1).data,
    );
  });

  it("count ternary gradients as what they take", () => {
    const gradients = gaussian(1000, 4);
    for (const method of ["hadamard", "dense"] as const) {
      const compressor = new GradientCompressor({ method });
      const compressed = compressor.compressTernary(gradients);
      assert.equal(compressed.compressedDim, 100);
      assert.equal(compressed.data.length, 25);
      assert.equal(compressed.compressionRatio.toFixed(1), "137.9");
      const restored = compressor.decompressTernary(compressed);
      const { cosine } = compressionStats(gradients, restored, 29);
      assert.ok(cosine > 0.2 && cosine < 0.36, `${cosine}`);
    }
  });

  it("take tensors and write where they are told to", () => {
    const gradients = gaussian(1000, 6);
    const tensor = Tensor.from(gradients, [10, 100], { device: "cpu" });
    const { compressed } = compressGradientsVsa(tensor, 0.3, 9, { device: "cpu" });
    assertSame(compressed, compressGradientsVsa(gradients, 0.3, 9).compressed);
    const restored = decompressGradientsVsa(compressed, 1000, 9);
    const out = new Float32Array(1000);
    assert.equal(decompressGradientsVsa(compressed, 1000, 9, { out }), out);
    assertSame(out, restored);
    const there = decompressGradientsVsa(compressed, 1000, 9, { device: "cpu" });
    assert.deepEqual(there.shape, [1000]);
    assertSame(there.data(), restored);
    // The samples' own memory.
    const all = compressGradientsVsa(gradients, 1, 9).compressed;
    const expected = decompressGradientsVsa(all, 1000, 9);
    assertSame(decompressGradientsVsa(all, 1000, 9, { out: all }), expected);

    for (const method of ["hadamard", "dense"] as const) {
      const compressor = new GradientCompressor({ method, seed: 9, gradientClipping: 1 });
      const small = compressor.compress(tensor);
      assertSame(small.data, compressor.compress(gradients).data);
      const target = Tensor.from(new Float32Array(1000), [100, 10], { device: "cpu" });
      assert.equal(compressor.decompress(small, { out: target }), target);
      assertSame(target.data(), compressor.decompress(small));
      const ternary = compressor.compressTernary(tensor);
      assert.deepEqual(ternary, compressor.compressTernary(gradients));
      assert.equal(compressor.decompressTernary(ternary, { out: target }), target);
      assertSame(target.data(), compressor.decompressTernary(ternary));
      assertThrowsCode(
        () => compressor.decompress(small, { out: new Float32Array(999) }),
        "invalid_length",
      );
      assertThrowsCode(
        () => compressor.decompress(small, wrong({ device: "cpu", out: new Float32Array(1000) })),
        "invalid_type",
        /out must be a Tensor/,
      );
    }
    assertThrowsCode(
      () => compressGradientsVsa(Tensor.from(new Int8Array(4), [4], { device: "cpu" }), 1, 1),
      "invalid_type",
      /f32/,
    );
    assertThrowsCode(
      () => compressGradientsVsa(gradients, 1, 1, { device: "cuda" }),
      "device_unavailable",
    );
  });

  it("refuse other seeds, ratios and lengths", () => {
    const gradients = gaussian(100, 5);
    const compressor = new GradientCompressor();
    const compressed = compressor.compress(gradients);
    const ternary = compressor.compressTernary(gradients);
    assertThrowsCode(
      () => compressor.decompress({ ...compressed, seed: 43 }),
      "invalid_value",
      /seed must be that of the compressor, 42, got 43/,
    );
    assertThrowsCode(
      () => compressor.decompressTernary({ ...ternary, seed: 43n }),
      "invalid_value",
    );
    for (const ratio of [0, -1, 1.01, NaN]) {
      assertThrowsCode(() => compressor.compress(gradients, ratio), "invalid_value", /\(0, 1\]/);
      assertThrowsCode(
        () => compressGradientsVsa(gradients, ratio, 1),
        "invalid_value",
        /\(0, 1\]/,
      );
      assertThrowsCode(
        () => new GradientCompressor({ defaultCompressionRatio: ratio }),
        "invalid_value",
        /\(0, 1\]/,
      );
    }
    assertThrowsCode(() => compressor.compress(new Float32Array(0)), "invalid_length");
    assertThrowsCode(() => decompressGradientsVsa(new Float32Array(5), 4, 1), "invalid_length");
    assertThrowsCode(() => decompressGradientsVsa(new Float32Array(0), 4, 1), "invalid_length");
    assertThrowsCode(() => decompressGradientsVsa(Float32Array.of(1, NaN), 4, 1), "invalid_value");
    assertThrowsCode(
      () => compressGradientsVsa(Float32Array.of(1, NaN), 1, 1),
      "invalid_value",
      /index 1/,
    );
    assertThrowsCode(() => compressor.decompress(wrong(null)), "invalid_type");
    assertThrowsCode(
      () => compressor.decompressTernary({ ...ternary, data: new Uint8Array(3).fill(255) }),
      "invalid_value",
    );
    assertThrowsCode(() => new GradientCompressor({ gradientClipping: 0 }), "invalid_value");
    assertThrowsCode(() => new GradientCompressor({ device: "cuda" }), "device_unavailable");
    const huge = new Float32Array(4096).fill(3e38);
    assertThrowsCode(() => compressGradientsVsa(huge, 1, 1), "invalid_value", /f32 can hold/);
  });
});

describe("statistics", () => {
  it("are those of a loop in float64, on every tier", () => {
    for (const count of [1, 15, 17, 65_535, 300_007]) {
      const [a, b] = [gaussian(count, 1), heavyTailed(count, 2)];
      const { along, distance } = against(b, a);
      const cosine = along * norm(a) / norm(b);
      onEveryTier((tier) => {
        const stats = compressionStats(a, b, 100);
        const actual = [stats.cosine, stats.relativeError, stats.gain];
        // Sums of up to 300,007 terms in f64.
        assertNear(actual, [cosine, distance, norm(b) / norm(a)], 1e-9, tier);
        assert.equal(stats.bitsPerParameter, 800 / count);
        assert.equal(stats.ratio, count / 25);
      });
    }
  });

  it("of zeros and of nothing lost are numbers", () => {
    const [zeros, ones] = [new Float32Array(5), new Float32Array(5).fill(1)];
    assert.equal(compressionStats(zeros, zeros, 1).relativeError, 0);
    assert.equal(compressionStats(ones, zeros, 1).cosine, 0);
    assert.equal(compressionStats(ones, ones, 1).relativeError, 0);
    assertThrowsCode(() => compressionStats(ones, new Float32Array(4), 1), "invalid_length");
    assertThrowsCode(() => compressionStats(ones, ones, wrong("1")), "invalid_type");
  });

  it("are said by the bytes themselves", () => {
    const bytes = createCodec("rotated", { bits: 1, seed: 7 }).compress(normal);
    const info = compressedInfo(bytes);
    assert.equal(info.codec, "rotated");
    assert.equal(info.count, COUNT);
    assert.equal(info.seed, 7n);
    assert.equal(info.bytes, bytes.length);
    assert.equal(info.ratio, 4 * COUNT / bytes.length);
    assertSame(decompressGradients(bytes), createCodec("rotated").decompress(bytes));
  });
});
