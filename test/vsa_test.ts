import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Hypervector, HypervectorBatch } from "../mod.ts";
import { assertSame, onEveryTier, randomTrits } from "./support.ts";

const DIMS = [1, 31, 32, 33, 63, 64, 65, 512, 513, 1000, 10_000, 65_537, 1_000_003];

const modulo = (sum: number) => ((sum + 4) % 3) - 1;
const BINDINGS = {
  add: (a: number, b: number) => modulo(a + b),
  subtract: (a: number, b: number) => modulo(a - b),
  multiply: (a: number, b: number) => a * b || 0,
} as const;

describe("bind", () => {
  for (const mode of ["add", "subtract", "multiply"] as const) {
    it(`${mode} is the scalar loop`, () => {
      for (const dim of DIMS) {
        const [a, b] = [randomTrits(dim, dim), randomTrits(dim, dim + 1)];
        const expected = a.map((trit, i) => BINDINGS[mode](trit, b[i]!));
        onEveryTier((label) => {
          using x = Hypervector.from(a);
          using y = Hypervector.from(b);
          using bound = x.bind(y, { mode });
          assertSame(bound.toInt8Array(), expected, `${label}, ${dim}`);
          assert.equal(x.dot(y), a.reduce((sum, trit, i) => sum + trit * b[i]!, 0));
          assert.equal(x.hamming(y), a.filter((trit, i) => trit !== b[i]).length);
        });
      }
    });
  }
});

it("random is the same on every tier", () => {
  for (const distribution of ["ternary", "bipolar", { zeros: 0.9 }] as const) {
    let first: Int8Array | undefined;
    onEveryTier(() => {
      using batch = HypervectorBatch.random(3, 10_007, 2n ** 40n + 5n, { distribution });
      const trits = batch.toInt8Array();
      first ??= trits;
      assertSame(trits, first);
    });
  }
});
