/** Clean-up succeeds as often as theory says, and always where the documented bound promises it. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AssociativeMemory } from "../mod.ts";
import { bipolarBatch, memoryOf } from "./vsa_theory.ts";

/** The expected cosine of a value among K pairs, K odd: C(K - 1, (K - 1) / 2) / 2^(K - 1). */
function cosineOf(pairs: number): number {
  let cosine = 1;
  for (let k = 3; k <= pairs; k += 2) cosine *= (k - 2) / (k - 1);
  return cosine;
}

/**
 * The probability that a normal score around `mean` passes those of all others, around 0, where all
 * have a standard deviation of 1: the integral of its density times P(another is below)^others.
 */
function successOf(mean: number, others: number): number {
  const step = 1 / 1024;
  const density = (x: number) => Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
  let [below, total] = [0, 0];
  for (let x = -10; x < mean + 10; x += step) {
    below += step * density(x + step / 2);
    total += step * density(x + step - mean) * Math.min(1, below) ** others;
  }
  return total;
}

/** Dimensions, pairs in the trace, values to choose from, and traces to try. */
const POINTS: [dim: number, pairs: number, values: number, trials: number][] = [
  // Within the bound sqrt(dim) x cosine > sqrt(2 ln values) + 3.
  [10_000, 139, 1000, 3],
  [1000, 13, 1000, 20],
  [2000, 37, 50, 10],
  [3000, 41, 300, 10],
  [500, 5, 5000, 40],
  // Beyond it.
  [10_000, 301, 1000, 2],
  [1000, 31, 1000, 15],
  [1000, 51, 100, 10],
  [500, 25, 5000, 15],
];

describe("clean-up", () => {
  for (const [dim, pairs, values, trials] of POINTS) {
    const strength = Math.sqrt(dim) * cosineOf(pairs);
    const isWithin = strength > Math.sqrt(2 * Math.log(values)) + 3;
    it(`of ${pairs} pairs in ${dim} dimensions among ${values} values, ${isWithin ? "within" : "beyond"} the bound`, () => {
      let found = 0;
      for (let trial = 0; trial < trials; trial++) {
        using keys = bipolarBatch(pairs, 1000 + trial, dim);
        using all = bipolarBatch(values, 5000 + trial, dim);
        using memory = memoryOf(all);
        using table = new AssociativeMemory(dim, { memory });
        for (let row = 0; row < pairs; row++) {
          // Seven is prime to every number of values.
          table.add(keys.get(row), all.get(7 * row % values));
        }
        table.recall(keys).forEach((match, row) => {
          if (match?.index === 7 * row % values) found += 1;
        });
      }
      const tries = trials * pairs;
      const expected = successOf(strength / Math.sqrt(1 - cosineOf(pairs) ** 2), values - 1);
      // Pairs of a trace are not quite independent, and a cosine of 0.4 is noticeably not normal.
      const deviation = Math.sqrt(expected * (1 - expected) / tries);
      const text = `${found} of ${tries}, expected ${(expected * tries).toFixed(1)}`;
      assert.ok(Math.abs(found / tries - expected) <= 5 * deviation + 1 / tries, text);
      if (isWithin) assert.ok(found / tries > 0.99, text);
    });
  }
});
