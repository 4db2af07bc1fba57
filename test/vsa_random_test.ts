/** Random trits: the documented mapping, their shares, and that seeds and rows have nothing in common. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Distribution, Hypervector, HypervectorBatch, vsaRandom } from "../mod.ts";
import { assertSame, onEveryTier } from "./support.ts";
import { assertTrits, DIMS, drawn, drawnRows, joined, philox } from "./vsa_reference.ts";

const DISTRIBUTIONS: readonly Distribution[] = [
  ...["ternary", "bipolar", { zeros: 0 }, { zeros: 0.25 }, { zeros: 0.9 }, { zeros: 1 }] as const,
];

describe("the reference", () => {
  it("has the test vectors of the authors of Philox4x32-10", () => {
    // kat_vectors of Random123.
    const ones = 0xffff_ffff;
    const cases = [
      [[0, 0, 0, 0], 0n, [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
      [[ones, ones, ones, ones], 2n ** 64n - 1n, [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]],
      [
        [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
        0x299f31d0_a4093822n,
        [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
      ],
    ] as const;
    for (const [counter, key, words] of cases) assertSame(philox(counter, key), words);
  });
});

describe("random trits", () => {
  const counted = (distribution: Distribution, seed: number) => {
    using vector = Hypervector.random(300_000, seed, { distribution });
    return vector.counts();
  };

  it("are those of the documented mapping at every size", () => {
    for (const dim of DIMS) {
      const distributions = dim > 100_000 ? DISTRIBUTIONS.slice(0, 4) : DISTRIBUTIONS;
      for (const distribution of distributions) {
        const seed = 2n ** 40n + BigInt(dim);
        const expected = drawn(dim, seed, distribution);
        const text = `${dim}, ${JSON.stringify(distribution)}`;
        onEveryTier((label) => {
          using vector = Hypervector.random(dim, seed, { distribution });
          assertTrits(vector, expected, `${label}, ${text}`);
        });
        assertSame(vsaRandom(dim, seed, { distribution }), expected, text);
      }
    }
  });

  it("are those of the documented mapping for every row and seed", () => {
    for (const dim of [1, 33, 64, 513, 10_007]) {
      const seeds = dim > 1000 ? [5n] : [0n, 5n, 2n ** 32n, 2n ** 64n - 1n];
      for (const seed of seeds) {
        for (const distribution of ["ternary", "bipolar", { zeros: 0.7 }] as const) {
          const expected = joined(drawnRows(5, dim, seed, distribution));
          onEveryTier((label) => {
            using batch = HypervectorBatch.random(5, dim, seed, { distribution });
            assertTrits(batch, expected, `${label}, ${dim}, ${seed}`);
          });
        }
      }
    }
  });

  it("are these, today and tomorrow", () => {
    assert.equal(Hypervector.random(12, 1).toInt8Array().join(), GOLDEN.ternary);
    const options = { distribution: "bipolar" } as const;
    assert.equal(Hypervector.random(12, 1, options).toInt8Array().join(), GOLDEN.bipolar);
  });

  it("have the shares that were asked for, within five standard deviations", () => {
    const [dim, seed] = [300_000, 7];
    const expectShare = (actual: number, share: number) => {
      assert.ok(Math.abs(actual - dim * share) <= 5 * Math.sqrt(dim * share * (1 - share)));
    };
    for (const zeros of [1 / 3, 0, 0.5, 0.99, 1]) {
      const { positive, negative, zero } = counted(zeros === 1 / 3 ? "ternary" : { zeros }, seed);
      expectShare(zero, zeros);
      expectShare(positive, (1 - zeros) / 2);
      expectShare(negative, (1 - zeros) / 2);
    }
    const { positive, zero } = counted("bipolar", seed);
    assert.equal(zero, 0);
    expectShare(positive, 0.5);
  });

  it("of other seeds and rows are unrelated", () => {
    const dim = 100_000;
    using batch = HypervectorBatch.random(4, dim, 1);
    using other = HypervectorBatch.random(4, dim, 2n ** 32n + 1n);
    for (let row = 0; row < 4; row++) {
      batch.similarity(other.get(row)).forEach((cosine) =>
        assert.ok(Math.abs(cosine) < 5 / Math.sqrt(dim), `${cosine}`)
      );
    }
    assert.ok(Math.abs(batch.get(0).cosine(batch.get(1))) < 5 / Math.sqrt(dim));
  });
});

const GOLDEN = {
  ternary: "-1,-1,-1,-1,-1,0,-1,1,-1,0,1,-1",
  bipolar: "-1,1,1,1,1,1,-1,1,1,-1,-1,-1",
};
