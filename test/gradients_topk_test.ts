/** The codec "topk": which gradients are kept, how they come back, and bytes of strangers. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type CodecOptions,
  compressionStats,
  createCodec,
  decompressGradients,
  TritterError,
} from "../mod.ts";
import { decodeTopk } from "./gradients_entropy_reference.ts";
import { build, gaussian, heavyTailed, parse } from "./gradients_reference.ts";
import { assertSame, assertThrowsCode, onEveryTier, seeded, unaligned, wrong } from "./support.ts";

const SIZES = [1, 2, 3, 31, 33, 64, 1000, 65_537] as const;
const KINDS: Record<string, (count: number) => Float32Array> = {
  normal: (count) => gaussian(count, 1),
  heavy: (count) => heavyTailed(count, 2),
  zeros: (count) => new Float32Array(count),
  constant: (count) => new Float32Array(count).fill(-0.001),
  sparse: (count) => gaussian(count, 3).map((value, i) => i % 50 === 0 ? value : 0),
  subnormal: (count) => gaussian(count, 4).map((value) => value * 1e-42),
  largest: (count) => new Float32Array(count).fill(3.4028234663852886e38),
};
const OPTIONS: readonly CodecOptions[] = [
  { ratio: 20 },
  { ratio: 3 },
  { ratio: 300 },
  { ratio: 50, bits: 4 },
  { ratio: 50, method: "sampled" },
];
/** Container, header and one gradient. */
const BYTES_LEAST = 56 + 24 + 8;

describe("topk", () => {
  it("is what its definition says, the same on every tier, and within its bytes", () => {
    for (const [name, make] of Object.entries(KINDS)) {
      for (const count of SIZES) {
        const gradients = make(count);
        for (const options of OPTIONS) {
          const label = `${name}, ${count}, ${JSON.stringify(options)}`;
          const codec = createCodec("topk", options);
          const bytes = codec.compress(gradients).slice();
          const { payload, parameters } = parse(bytes);
          const expected = decodeTopk(payload, parameters[0]!, count);
          assert.ok(bytes.length <= Math.max(4 * count / options.ratio!, BYTES_LEAST), label);
          onEveryTier((tier) => {
            assertSame(codec.compress(unaligned(gradients)), bytes, `${label}, ${tier}`);
            const out = unaligned(new Float32Array(count));
            assertSame(codec.decompress(bytes, { out }), expected, `${label}, ${tier}`);
          });
        }
      }
    }
  });

  it("keeps the largest gradients, each within a level", () => {
    for (const gradients of [gaussian(30_000, 1), heavyTailed(30_000, 2)]) {
      for (const options of [{ ratio: 10 }, { ratio: 100 }, { ratio: 30, bits: 5 }]) {
        const codec = createCodec("topk", options);
        const restored = codec.decompress(codec.compress(gradients));
        const kept = [...gradients.keys()].filter((index) => restored[index] !== 0);
        const magnitudes = gradients.map(Math.abs).sort().reverse();
        const least = magnitudes[kept.length - 1]!;
        const largest = magnitudes[0]!;
        // Levels divide the bits of a float, which are its logarithm within a factor of 2 a level.
        const levels = 2 ** ((options.bits ?? 8) - 1);
        const factor = 2 ** (1.5 * Math.log2(2 * largest / least) / levels);
        for (const index of kept) {
          assert.ok(Math.abs(gradients[index]!) >= least);
          const quotient = restored[index]! / gradients[index]!;
          assert.ok(quotient < factor && quotient > 1 / factor, `${quotient}, ${factor}`);
        }
      }
    }
  });

  it("uses the bytes that it is given, on dense and on clustered gradients", () => {
    const clustered = gaussian(400_000, 1).map((value, i) =>
      i % 20_000 < 1000 ? value : 0.01 * value
    );
    for (const gradients of [gaussian(400_000, 1), heavyTailed(400_000, 2), clustered]) {
      for (const ratio of [8, 20, 100, 1000]) {
        const codec = createCodec("topk", { ratio });
        const bytes = codec.compress(gradients);
        const wanted = 4 * gradients.length / ratio;
        assert.ok(
          bytes.length <= wanted && bytes.length > 0.95 * wanted,
          `${bytes.length} of ${wanted}`,
        );
      }
    }
  });

  it("takes from a sample what all have, nearly", () => {
    const gradients = heavyTailed(300_000, 1);
    const [exact, sampled] = ["exact", "sampled"].map((method) => {
      const codec = createCodec("topk", { ratio: 50, method });
      const bytes = codec.compress(gradients);
      return compressionStats(gradients, codec.decompress(bytes), bytes);
    });
    assert.ok(sampled!.cosine > exact!.cosine - 0.01);
    assert.ok(sampled!.bytes > 0.8 * exact!.bytes);
  });

  it("takes from a sample what is all alike, or not there", () => {
    const rare = new Float32Array(300_000);
    rare[12_345] = -2;
    const alike = new Float32Array(300_000).fill(-0.001);
    for (const gradients of [rare, alike, new Float32Array(300_000)]) {
      const codec = createCodec("topk", { ratio: 20, method: "sampled" });
      const bytes = codec.compress(gradients).slice();
      assert.ok(bytes.length <= 4 * 300_000 / 20);
      const restored = codec.decompress(bytes);
      assertSame(restored, decodeTopk(parse(bytes).payload, 8, gradients.length));
      const kept = restored.filter((value) => value !== 0).length;
      const most = gradients.filter((value) => value !== 0).length;
      assert.ok(kept <= most && kept >= Math.min(most, 40_000), `${kept} of ${most}`);
      restored.forEach((value, i) => assert.ok(value === 0 || value === gradients[i]));
    }
  });

  it("has several chunks", () => {
    const gradients = heavyTailed(2 ** 21 + 5, 3);
    const codec = createCodec("topk", { ratio: 60 });
    const bytes = codec.compress(gradients).slice();
    const expected = decodeTopk(parse(bytes).payload, 8, gradients.length);
    onEveryTier((tier) => {
      assertSame(codec.compress(gradients), bytes, tier);
      assertSame(codec.decompress(bytes), expected, tier);
    });
  });

  it("refuses options and gradients that are none", () => {
    const refused: readonly [unknown, string, RegExp][] = [
      [{ bits: 3 }, "invalid_value", /bits/],
      [{ bits: 9 }, "invalid_value", /bits/],
      [{ ratio: 0 }, "invalid_value", /ratio/],
      [{ method: "guessed" }, "invalid_option", /method/],
      [{ cosine: 0.9 }, "invalid_option", /cosine/],
    ];
    for (const [options, code, message] of refused) {
      assertThrowsCode(() => createCodec("topk", wrong(options)), code, message);
    }
    for (const value of [NaN, Infinity, -Infinity]) {
      const gradients = gaussian(10_000, 1);
      gradients[7777] = value;
      for (const method of ["exact", "sampled"]) {
        const codec = createCodec("topk", { method });
        assertThrowsCode(() => codec.compress(gradients), "invalid_value", /index 7777$/);
      }
    }
  });

  it("refuses payloads of strangers, or reads them", () => {
    const gradients = heavyTailed(20_000, 1);
    const parsed = parse(createCodec("topk", { ratio: 20 }).compress(gradients));
    const noise = seeded(1);
    for (let round = 0; round < 400; round++) {
      const payload = Uint8Array.from(parsed.payload);
      const within = round % 2 === 0 ? 16 : payload.length;
      for (let i = 0; i < 1 + round % 4; i++) payload[Math.floor(noise() * within)] = 256 * noise();
      const length = round % 5 === 0 ? Math.floor(noise() * payload.length) : payload.length;
      try {
        const restored = decompressGradients(
          build({ ...parsed, payload: payload.subarray(0, length) }),
        );
        assert.ok(restored.length === 20_000 && restored.every(Number.isFinite));
      } catch (error) {
        assert.ok(error instanceof TritterError && error.code === "invalid_format", `${error}`);
      }
    }
  });
});
