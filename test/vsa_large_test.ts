/** The most dimensions that there may be: sizes that no 32-bit number holds. */
import assert from "node:assert/strict";
import { freemem } from "node:os";
import { describe, it } from "node:test";
import { Hypervector, TritterError } from "../mod.ts";
import { rotated, wordOf } from "./vsa_reference.ts";

const DIM = 2 ** 31;
const SEED = 77n;

/** The documented trit of a place. */
const tritAt = (place: number) =>
  wordOf(Math.floor(place / 32), SEED, 0, 1) >>> place % 32 & 1 ? -1 : 1;

describe("2^31 dimensions", () => {
  it("are drawn, counted, compared, cut and read", () => {
    // Twice what the vector takes.
    if (freemem() < 2 ** 30) {
      console.log(`skipped for lack of memory: ${Math.floor(freemem() / 2 ** 20)} MiB are free`);
      return;
    }
    using vector = largeVector();
    if (vector === undefined) return;
    for (const place of [0, 63, 64, 2 ** 30 + 5, DIM - 2, DIM - 1]) {
      assert.equal(vector.get(place), tritAt(place), `${place}`);
    }
    const { positive, negative, zero } = vector.counts();
    assert.deepEqual([positive + negative, zero], [DIM, 0]);
    // Five standard deviations of a sum of fair coins.
    assert.ok(Math.abs(positive - DIM / 2) < 5 * Math.sqrt(DIM / 4), `${positive}`);
    assert.deepEqual([vector.dot(vector), vector.hamming(vector)], [DIM, 0]);
    assert.deepEqual([vector.cosine(vector), vector.sparsity], [1, 0]);
    using end = vector.slice(DIM - 1000);
    const expected = Int8Array.from({ length: 1000 }, (_, place) => tritAt(DIM - 1000 + place));
    assert.deepEqual(end.toInt8Array(), expected);
    assert.deepEqual(end.permute(DIM - 1).toInt8Array(), rotated(expected, DIM - 1));
  });
});

/** The vector, or nothing where there is not enough memory. */
function largeVector(): Hypervector | undefined {
  try {
    return Hypervector.random(DIM, SEED, { distribution: "bipolar" });
  } catch (error) {
    if (!(error instanceof TritterError) || error.code !== "out_of_memory") throw error;
    console.log(`skipped: ${error.message}`);
  }
}
