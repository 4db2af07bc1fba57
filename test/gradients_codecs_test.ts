/** Every codec against its definition, at odd sizes, on every tier, with one and two threads. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type CodecName, type CodecOptions, createCodec } from "../mod.ts";
import {
  decode,
  gaussian,
  heavyTailed,
  LEVELS,
  norm,
  parse,
  rotate,
  rotatedBlocks,
  sketch,
} from "./gradients_reference.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  unaligned,
  wrong,
} from "./support.ts";

const SIZES = [1, 3, 31, 33, 600, 1000, 4097, 65_537];
/** From here on threads share the work. */
const LARGE = 300_007;

interface Case {
  name: CodecName;
  options?: CodecOptions;
}

const CASES: readonly Case[] = [
  { name: "sign" },
  { name: "sign", options: { block: 64 } },
  { name: "ternary" },
  { name: "ternary", options: { method: "twn", block: 320 } },
  { name: "ternary", options: { method: "absmean", block: 3200 } },
  ...[1, 1.58, 2, 3, 4].map((bits) => ({ name: "rotated", options: { bits } }) as const),
  { name: "projection" },
  { name: "projection", options: { ratio: 3, gain: "contraction", seed: 2n ** 64n - 1n } },
  { name: "projection", options: { ratio: 1 } },
  { name: "vsa", options: { ratio: 20 } },
  { name: "vsa", options: { ratio: 100, seed: 9 } },
];

const label = ({ name, options }: Case) =>
  `${name} ${
    JSON.stringify(options ?? {}, (_, value) => typeof value === "bigint" ? `${value}` : value)
  }`;

/** Factors of the shape of a matrix, for codecs that need one. */
const matrix = (count: number): Case => {
  const rows = [641, 600, 257, 33, 31, 17, 3, 1].find((rows) => count % rows === 0)!;
  return {
    name: "lowrank",
    options: { shape: [rows, count / rows], rank: Math.min(rows, 5, count / rows) },
  };
};

/** Sums of up to 4096 values in f32, in 12 levels: 12 roundings of at most the largest sum. */
const toleranceOf = (values: ArrayLike<number>) => 12 * 2 ** -24 * Math.max(norm(values), 1e-30);

describe("codecs", () => {
  for (const size of [...SIZES, LARGE]) {
    it(`of ${size} gradients are read as they are defined`, () => {
      for (const kind of [...CASES, matrix(size)]) {
        const codec = createCodec(kind.name, kind.options);
        const gradients = heavyTailed(size, size);
        const bytes = codec.compress(gradients);
        assert.ok(bytes.length <= codec.maxBytes(size));
        const restored = codec.decompress(bytes);
        const expected = decode(bytes);
        assertNear(restored, expected, toleranceOf(expected), label(kind));
      }
    });
  }

  it("give the same bytes and gradients on every tier, with any number of threads", () => {
    const cases = [...SIZES, LARGE].flatMap((size) =>
      [...CASES, matrix(size)].map((kind) => {
        const codec = createCodec(kind.name, kind.options);
        const gradients = heavyTailed(size, size + 7);
        const bytes = codec.compress(gradients);
        return { kind, codec, gradients, bytes, restored: codec.decompress(bytes) };
      })
    );
    onEveryTier((tier) => {
      for (const { kind, codec, gradients, bytes, restored } of cases) {
        codec.reset();
        assertSame(codec.compress(gradients), bytes, `${tier}, ${label(kind)}: bytes`);
        assertSame(codec.decompress(bytes), restored, `${tier}, ${label(kind)}`);
      }
    });
  });

  it("take views that are not aligned, and write where they are told", () => {
    for (const kind of [...CASES, matrix(1000)]) {
      const codec = createCodec(kind.name, kind.options);
      const gradients = gaussian(1000, 5);
      const bytes = codec.compress(gradients);
      codec.reset();
      const out = unaligned(new Uint8Array(codec.maxBytes(1000) + 9));
      const written = codec.compress(unaligned(gradients), { out });
      assert.equal(written.buffer, out.buffer);
      assertSame(written, bytes, label(kind));
      const target = unaligned(new Float32Array(1000));
      assert.equal(codec.decompress(unaligned(bytes), { out: target }), target);
      assertSame(target, codec.decompress(bytes), label(kind));
      assertThrowsCode(
        () => codec.compress(gradients, { out: new Uint8Array(bytes.length - 1) }),
        "invalid_length",
        /at least \d+ elements/,
      );
      assertThrowsCode(
        () => codec.decompress(bytes, { out: new Float32Array(999) }),
        "invalid_length",
      );
    }
  });

  it("keep zeros, and the smallest and largest gradients", () => {
    for (const kind of [...CASES, matrix(1000)]) {
      const codec = createCodec(kind.name, kind.options);
      const zeros = codec.decompress(codec.compress(new Float32Array(1000)));
      assert.ok(zeros.every((value) => value === 0), `${label(kind)}: zeros`);
      const values = gaussian(1000, 1);
      codec.reset();
      const expected = codec.decompress(codec.compress(values));
      for (const exponent of [-110, -70, 60, 90]) {
        codec.reset();
        const scaled = values.map((value) => value * 2 ** exponent);
        const restored = codec.decompress(codec.compress(scaled));
        // Multiplying by a power of two rounds nothing, but below the normal range something is lost.
        const tolerance = toleranceOf(expected) + 1000 * 2 ** (-149 - exponent);
        assertNear(
          restored.map((value) => value / 2 ** exponent),
          expected,
          tolerance,
          `${label(kind)}, 2^${exponent}`,
        );
      }
    }
  });

  it("refuse gradients that are not finite, and name the first", () => {
    for (const kind of [...CASES, matrix(LARGE), matrix(33)]) {
      for (
        const count of kind.options?.shape
          ? [kind.options.shape[0] * kind.options.shape[1]]
          : [33, LARGE]
      ) {
        const codec = createCodec(kind.name, kind.options);
        for (const bad of [NaN, Infinity, -Infinity]) {
          const gradients = new Float32Array(count).fill(1);
          gradients[count - 1] = bad;
          gradients[count - 3] = bad;
          assertThrowsCode(
            () => codec.compress(gradients),
            "invalid_value",
            new RegExp(`at index ${count - 3}$`),
          );
        }
      }
    }
  });

  it("refuse gradients that are none, and options that are not theirs", () => {
    for (const kind of CASES) {
      const codec = createCodec(kind.name, kind.options);
      assertThrowsCode(() => codec.compress(new Float32Array(0)), "invalid_length");
      assertThrowsCode(() => codec.compress(wrong(new Float64Array(3))), "invalid_type");
      assertThrowsCode(() => codec.compress(new Float32Array(3), { seed: -1 }), "invalid_value");
      const shared = new ArrayBuffer(8192);
      assertThrowsCode(
        () => codec.compress(new Float32Array(shared, 0, 100), { out: new Uint8Array(shared) }),
        "invalid_value",
        /overlap/,
      );
    }
    const refused: [CodecName, unknown, string][] = [
      [wrong("gzip"), {}, "invalid_option"],
      [wrong(undefined), {}, "invalid_option"],
      ["sign", { ratio: 10 }, "invalid_option"],
      ["sign", { block: 65 }, "invalid_value"],
      ["sign", { device: "cuda" }, "device_unavailable"],
      ["sign", { device: "cuda:1" }, "device_unavailable"],
      ["sign", { seed: 1.5 }, "invalid_value"],
      ["ternary", { method: "best" }, "invalid_option"],
      ["ternary", { block: 64 }, "invalid_value"],
      ["rotated", { bits: 5 }, "invalid_option"],
      ["rotated", { bits: 2, ratio: 10 }, "invalid_option"],
      ["rotated", { ratio: 33 }, "invalid_option"],
      ["rotated", { cosine: 0.999 }, "invalid_option"],
      ["projection", { ratio: 0 }, "invalid_value"],
      ["projection", { ratio: NaN }, "invalid_value"],
      ["projection", { ratio: "10" }, "invalid_type"],
      ["projection", { gain: "loud" }, "invalid_option"],
      ["lowrank", {}, "invalid_option"],
      ["lowrank", { shape: [4, 4], rank: 5 }, "invalid_value"],
      ["lowrank", { shape: [4, 4], rank: 2, ratio: 2 }, "invalid_option"],
      ["lowrank", { shape: [0, 4] }, "invalid_shape"],
    ];
    for (const [name, options, code] of refused) {
      assertThrowsCode(() => createCodec(name, wrong(options)), code);
    }
    assertThrowsCode(
      () => createCodec("lowrank", { shape: [4, 4] }).compress(new Float32Array(15)),
      "invalid_length",
    );
    assertThrowsCode(
      () => createCodec("projection", { method: "dense" }).compress(new Float32Array(2 ** 20)),
      "invalid_option",
    );
  });
});

describe("sign and ternary", () => {
  it("have the scales of least squared error", () => {
    const gradients = heavyTailed(1000, 3);
    const signs = createCodec("sign").decompress(createCodec("sign").compress(gradients));
    const mean = gradients.reduce((sum, value) => sum + Math.abs(value), 0) / 1000;
    assertNear(signs, Array.from(gradients, (value) => value < 0 ? -mean : mean), mean * 2 ** -23);
    for (const [method, share] of [["twn", 0.7], ["absmean", 0.5]] as const) {
      const codec = createCodec("ternary", { method, block: 3200 });
      const kept = Array.from(gradients, Math.abs).filter((value) => value > share * mean);
      const least = kept.reduce((sum, value) => sum + value, 0) / kept.length;
      const scale = method === "twn" ? least : mean;
      // Sums of 16 lanes in f32; no magnitude lies within rounding of the threshold.
      assertNear(
        codec.decompress(codec.compress(gradients)),
        Array.from(
          gradients,
          (value) => Math.abs(value) > share * mean ? Math.sign(value) * scale : 0,
        ),
        scale * 2 ** -20,
      );
    }
  });

  it("choose a threshold that is nearly the best there is", () => {
    for (const gradients of [gaussian(640, 1), heavyTailed(640, 2), heavyTailed(640, 3)]) {
      const codec = createCodec("ternary");
      const restored = codec.decompress(codec.compress(gradients));
      const dot = restored.reduce((sum, value, i) => sum + value * gradients[i]!, 0);
      const magnitudes = Float64Array.from(gradients, Math.abs).sort().reverse();
      let [sum, best] = [0, 0];
      magnitudes.forEach((value, i) => best = Math.max(best, (sum += value) / Math.sqrt(i + 1)));
      assert.ok(dot / norm(restored) > 0.97 * best);
    }
  });
});

describe("rotated", () => {
  it("takes the nearest level of every value, and the unbiased scale", () => {
    for (const levels of [2, 3, 4, 8, 16]) {
      const bits = levels === 3 ? 1.58 : Math.log2(levels);
      for (const size of [600, 4096 + 1000]) {
        const gradients = heavyTailed(size, levels);
        const parsed = parse(createCodec("rotated", { bits, seed: 5 }).compress(gradients));
        for (const { block, row, levels: chosen, scale } of rotatedBlocks(parsed)) {
          const values = rotate(gradients, block, row, 5n);
          const deviation = norm(values) / Math.sqrt(block.size);
          let dot = 0;
          values.forEach((value, i) => {
            const relative = value / deviation;
            const nearest = Math.min(
              ...LEVELS[levels]!.map((level) => Math.abs(Math.abs(relative) - level)),
            );
            // Values next to a threshold may fall on either side of it.
            assert.ok(Math.abs(relative - chosen[i]!) <= nearest + 1e-4);
            dot += value * chosen[i]!;
          });
          assertNear([scale], [norm(values) ** 2 / dot / block.size], 1e-5 * scale);
        }
      }
    }
  });
});

describe("projection", () => {
  it("keeps what its definition says", () => {
    for (
      const [count, ratio, method] of [
        [1, 10, "hadamard"],
        [1000, 10, "hadamard"],
        [5000, 3, "hadamard"],
        [10_000, 700, "hadamard"],
        [300, 4, "dense"],
      ] as const
    ) {
      const gradients = gaussian(count, count);
      const codec = createCodec("projection", { ratio, method, seed: 77 });
      const { parameters, payload } = parse(codec.compress(gradients));
      const k = Math.max(Math.ceil(count / ratio), 1);
      assert.equal(parameters[0], k);
      const expected = sketch(gradients, k, 77n, method === "dense");
      assertNear(new Float32Array(payload.buffer), expected, toleranceOf(gradients));
    }
  });

  it("decodes dense projections by their definition", () => {
    for (const gain of ["unbiased", "contraction"] as const) {
      const codec = createCodec("projection", { ratio: 4, method: "dense", gain });
      const bytes = codec.compress(gaussian(300, 4));
      const expected = decode(bytes);
      assertNear(codec.decompress(bytes), expected, 1e-5 * norm(expected));
    }
  });
});
