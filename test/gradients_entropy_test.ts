/** The codec "entropy": its format, its promises, and bytes of strangers. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type CodecOptions,
  compressionStats,
  createCodec,
  decompressGradients,
  TritterError,
} from "../mod.ts";
import { decodeEntropy, readModel } from "./gradients_entropy_reference.ts";
import { build, gaussian, heavyTailed, parse } from "./gradients_reference.ts";
import { assertSame, assertThrowsCode, onEveryTier, seeded, unaligned, wrong } from "./support.ts";

const SIZES = [1, 2, 3, 31, 33, 63, 64, 65, 1000, 65_537] as const;
const random = seeded(5);

/** Gradients of all kinds. */
const KINDS: Record<string, (count: number) => Float32Array> = {
  normal: (count) => gaussian(count, 1),
  heavy: (count) => heavyTailed(count, 2),
  zeros: (count) => new Float32Array(count),
  constant: (count) => new Float32Array(count).fill(-0.001),
  signs: (count) => Float32Array.from({ length: count }, () => random() < 0.5 ? 3 : -3),
  spike: (count) => {
    const values = new Float32Array(count);
    values[count >> 1] = -7;
    return values;
  },
  outliers: (count) => gaussian(count, 3).map((value, i) => i % 997 === 5 ? value * 1e5 : value),
  subnormal: (count) => gaussian(count, 4).map((value) => value * 1e-42),
  huge: (count) => gaussian(count, 6).map((value) => value * 5e37),
  largest: (count) => new Float32Array(count).fill(3.4028234663852886e38),
  wide: (count) => gaussian(count, 7).map((value) => value * 10 ** (60 * random() - 30)),
};
const OPTIONS: readonly CodecOptions[] = [
  { ratio: 20 },
  { ratio: 4 },
  { ratio: 100 },
  { cosine: 0.95 },
  { cosine: 0.9999 },
];
/** Container, and the least that the codec asks for. */
const BYTES_LEAST = 48 + 256 + 8;

function statsOf(gradients: Float32Array, options: CodecOptions) {
  const codec = createCodec("entropy", options);
  const bytes = codec.compress(gradients);
  return compressionStats(gradients, codec.decompress(bytes), bytes);
}

describe("entropy: the payload", () => {
  it("is what its definition says, the same on every tier", () => {
    for (const [name, make] of Object.entries(KINDS)) {
      for (const count of SIZES) {
        const gradients = make(count);
        for (const options of OPTIONS) {
          const label = `${name}, ${count}, ${JSON.stringify(options)}`;
          const codec = createCodec("entropy", options);
          const bytes = codec.compress(gradients).slice();
          const expected = decodeEntropy(parse(bytes).payload, count);
          if (count > 1000 && options.ratio !== 20) {
            assertSame(codec.decompress(bytes), expected, label);
            continue;
          }
          onEveryTier((tier) => {
            assertSame(codec.compress(unaligned(gradients)), bytes, `${label}, ${tier}`);
            const out = unaligned(new Float32Array(count));
            assertSame(codec.decompress(bytes, { out }), expected, `${label}, ${tier}`);
          });
        }
      }
    }
  });

  it("has several chunks, cut at fixed places", () => {
    const gradients = heavyTailed(2 ** 20 + 77, 8);
    const codec = createCodec("entropy", { ratio: 25 });
    const bytes = codec.compress(gradients).slice();
    const expected = decodeEntropy(parse(bytes).payload, gradients.length);
    onEveryTier((tier) => {
      assertSame(codec.compress(gradients), bytes, tier);
      assertSame(codec.decompress(bytes), expected, tier);
    });
  });

  it("has one class where all blocks are alike, and more where they are not", () => {
    const model = (gradients: Float32Array) =>
      readModel(parse(createCodec("entropy", { ratio: 12 }).compress(gradients)).payload);
    assert.equal(model(gaussian(2 ** 18, 1)).classes.length, 1);
    assert.ok(model(heavyTailed(2 ** 18, 1)).classes.length > 3);
  });
});

describe("entropy: promises", () => {
  it("hold for the ratio, container included, and nearly exhaust it", () => {
    for (const gradients of [gaussian(200_000, 1), heavyTailed(200_000, 2)]) {
      for (const ratio of [3, 8, 10, 16, 20, 32, 50, 100, 1 / 20]) {
        const { bytes } = statsOf(gradients, { ratio });
        const wanted = 4 * gradients.length / (ratio < 1 ? 1 / ratio : ratio);
        assert.ok(bytes <= wanted, `at ${ratio}: ${bytes} of ${wanted}`);
        assert.ok(
          bytes > 0.95 * wanted,
          `at ${ratio}: ${bytes} of ${wanted}`,
        );
      }
    }
  });

  it("hold for gradients of every kind", () => {
    for (const [name, make] of Object.entries(KINDS)) {
      for (const count of SIZES) {
        const gradients = make(count);
        for (const options of OPTIONS) {
          const { bytes, cosine } = statsOf(gradients, options);
          const label = `${name}, ${count}, ${JSON.stringify(options)}: ${bytes}, ${cosine}`;
          if (options.ratio !== undefined) {
            assert.ok(bytes <= Math.max(4 * count / options.ratio, BYTES_LEAST), label);
          }
          // Norms of such values leave the range of f32, not that of the sums.
          assert.ok(name === "zeros" || cosine >= (options.cosine ?? 1e-9), label);
        }
      }
    }
  });

  it("hold for the cosine, at no more than it needs", () => {
    const gradients = gaussian(2 ** 18, 1);
    for (const wanted of [0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999]) {
      const { cosine, bytes } = statsOf(gradients, { cosine: wanted });
      assert.ok(cosine >= wanted && 1 - cosine > 0.9 * (1 - wanted), `${wanted}: ${cosine}`);
      // 0.3 bits above what the theory of rate and distortion allows any codec.
      const bits = -Math.log2(1 - wanted ** 2) / 2;
      assert.ok(8 * bytes / gradients.length < bits + 0.3, `${wanted}: ${bytes} bytes`);
    }
  });

  it("reach the cosines of the documentation on normal gradients", () => {
    const gradients = gaussian(2 ** 20, 1);
    for (const [ratio, cosine] of [[10, 0.9925], [16, 0.961], [20, 0.931], [32, 0.82]] as const) {
      const stats = statsOf(gradients, { ratio });
      assert.ok(stats.ratio >= ratio && stats.cosine > cosine, `at ${ratio}: ${stats.cosine}`);
      // What comes back is the mean of what it stands for, so it is shorter by the cosine.
      assert.ok(Math.abs(stats.gain - stats.cosine) < 0.02, `at ${ratio}: ${stats.gain}`);
    }
  });

  it("are those of one ratio of 20 by default", () => {
    const gradients = gaussian(10_000, 1);
    const bytes = createCodec("entropy", { ratio: 20 }).compress(gradients);
    assertSame(createCodec("entropy").compress(gradients), bytes);
  });
});

describe("entropy: refusals", () => {
  it("name options that are none", () => {
    const refused: readonly [unknown, string, RegExp][] = [
      [{ ratio: 10, cosine: 0.9 }, "invalid_option", /both/],
      [{ cosine: 0 }, "invalid_value", /cosine/],
      [{ cosine: 1 }, "invalid_value", /0\.99999/],
      [{ cosine: NaN }, "invalid_value", /cosine/],
      [{ cosine: "high" }, "invalid_type", /cosine/],
      [{ ratio: 0 }, "invalid_value", /ratio/],
      [{ ratio: -3 }, "invalid_value", /ratio/],
      [{ bits: 2 }, "invalid_option", /bits/],
    ];
    for (const [options, code, message] of refused) {
      assertThrowsCode(() => createCodec("entropy", wrong(options)), code, message);
    }
  });

  it("name the place of what is not finite", () => {
    for (const count of [1, 70, 100_000]) {
      for (const value of [NaN, Infinity, -Infinity]) {
        const gradients = gaussian(count, 1);
        const place = count - 1 >> 1;
        gradients[place] = value;
        for (const options of [{ ratio: 10 }, { cosine: 0.9 }]) {
          assertThrowsCode(
            () => createCodec("entropy", options).compress(gradients),
            "invalid_value",
            new RegExp(`index ${place}$`),
          );
        }
      }
    }
  });

  it("meet payloads of strangers, whatever they are", () => {
    for (const [seed, count] of [[1, 5000], [2, 40_000], [3, 64]] as const) {
      const gradients = heavyTailed(count, seed);
      gradients[count >> 1]! *= 1e6;
      const parsed = parse(createCodec("entropy", { ratio: 8 }).compress(gradients));
      const noise = seeded(seed);
      let refused = 0;
      for (let round = 0; round < 400; round++) {
        const payload = Uint8Array.from(parsed.payload);
        const changes = 1 + Math.floor(noise() * (round % 8));
        const within = round % 3 === 0 ? Math.min(200, payload.length) : payload.length;
        for (let i = 0; i < changes; i++) payload[Math.floor(noise() * within)] = 256 * noise();
        const length = round % 5 === 0 ? Math.floor(noise() * payload.length) : payload.length;
        const bytes = build({ ...parsed, payload: payload.subarray(0, length) });
        try {
          assert.equal(decompressGradients(bytes).length, count);
        } catch (error) {
          assert.ok(error instanceof TritterError && error.code === "invalid_format", `${error}`);
          refused += 1;
        }
      }
      // Words that are wrong leave states that are wrong.
      assert.ok(refused > 100, `${refused}`);
    }
  });
});
