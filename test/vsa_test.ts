/** Hypervectors: binding, similarity and random trits, against loops over bytes. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type BindMode,
  type Distribution,
  Hypervector,
  HypervectorBatch,
  info,
  type SimilarityMetric,
} from "../mod.ts";
import { assertSame, assertThrowsCode, onEveryTier, randomTrits, wrong } from "./support.ts";

const DIMS = [1, 31, 32, 33, 63, 64, 65, 512, 513, 1000, 10_000, 65_537, 1_000_003];
const MODES: readonly BindMode[] = ["add", "subtract", "multiply"];

const modulo = (sum: number) => sum > 1 ? sum - 3 : sum < -1 ? sum + 3 : sum;
const BIND: Record<BindMode, (a: number, b: number) => number> = {
  add: (a, b) => modulo(a + b),
  subtract: (a, b) => modulo(a - b),
  multiply: (a, b) => a * b + 0,
};
const UNBIND = { add: BIND.subtract, subtract: BIND.add, multiply: BIND.multiply };

const combine = (a: Int8Array, b: Int8Array, rule: (a: number, b: number) => number) =>
  a.map((trit, index) => rule(trit, b[index]!));

/** Every similarity by its definition. */
function scoresOf(a: Int8Array, b: Int8Array): Record<SimilarityMetric, number> {
  let [dot, hamming, overlap, inA, inB] = [0, 0, 0, 0, 0];
  a.forEach((x, index) => {
    const y = b[index]!;
    dot += x * y;
    hamming += x === y ? 0 : 1;
    overlap += x !== 0 && y !== 0 ? 1 : 0;
    inA += x * x;
    inB += y * y;
  });
  const union = inA + inB - overlap;
  return {
    ...{ dot, hamming, overlap, hammingSimilarity: 1 - hamming / a.length },
    cosine: inA * inB === 0 ? 0 : dot / Math.sqrt(inA * inB),
    jaccard: union === 0 ? 0 : overlap / union,
  };
}

describe("binding", () => {
  it("has the truth tables of balanced digits", () => {
    // Rows a, columns b, each N Z P.
    const tables = {
      add: [["P", "N", "Z"], ["N", "Z", "P"], ["Z", "P", "N"]],
      subtract: [["Z", "N", "P"], ["P", "Z", "N"], ["N", "P", "Z"]],
      multiply: [["P", "Z", "N"], ["Z", "Z", "Z"], ["N", "Z", "P"]],
    };
    const all = Int8Array.from({ length: 9 }, (_, index) => Math.floor(index / 3) - 1);
    const keys = Int8Array.from({ length: 9 }, (_, index) => index % 3 - 1);
    for (const mode of MODES) {
      const expected = tables[mode].flat().map((name) => "NZP".indexOf(name) - 1);
      onEveryTier((label) => {
        using a = Hypervector.from(all);
        using b = Hypervector.from(keys);
        using bound = a.bind(b, { mode });
        assertSame(bound.toInt8Array(), expected, `${label}, ${mode}`);
        if (mode === "multiply") return;
        assertSame(bound.unbind(b, { mode }).toInt8Array(), all, `${label}, ${mode} undone`);
      });
    }
  });

  it("is the loop over bytes at every size, and comparing as well", () => {
    for (const dim of DIMS) {
      const [a, b] = [randomTrits(dim, dim), randomTrits(dim, dim + 1)];
      const scores = scoresOf(a, b);
      onEveryTier((label) => {
        using x = Hypervector.from(a);
        using y = Hypervector.from(b);
        using out = new Hypervector(dim);
        for (const mode of MODES) {
          assert.equal(x.bind(y, { mode, out }), out);
          assertSame(out.toInt8Array(), combine(a, b, BIND[mode]), `${label}, ${dim}, ${mode}`);
          x.unbind(y, { mode, out });
          assertSame(out.toInt8Array(), combine(a, b, UNBIND[mode]), `${label}, ${dim}, un${mode}`);
        }
        assertSame(x.negate({ out }).toInt8Array(), a.map((trit) => -trit + 0));
        for (const [metric, expected] of Object.entries(scores)) {
          assert.equal(
            x.similarity(y, { metric: metric as SimilarityMetric }),
            expected,
            `${label}, ${dim}, ${metric}`,
          );
        }
        assert.deepEqual([x.dot(y), x.cosine(y), x.hamming(y)], [
          ...[scores.dot, scores.cosine, scores.hamming],
        ]);
      });
    }
  });

  it("pairs the rows of batches, and one vector serves all", () => {
    const [count, dim] = [7, 1001];
    const [a, b, key] = [
      randomTrits(count * dim, 1),
      randomTrits(count * dim, 2),
      randomTrits(dim, 3),
    ];
    const keys = Int8Array.from(a, (_, index) => key[index % dim]!);
    onEveryTier((label) => {
      using x = HypervectorBatch.from(a, [count, dim]);
      using y = HypervectorBatch.from(b, [count, dim]);
      using k = Hypervector.from(key);
      for (const mode of MODES) {
        assertSame(x.bind(y, { mode }).toInt8Array(), combine(a, b, BIND[mode]), label);
        assertSame(x.bind(k, { mode }).toInt8Array(), combine(a, keys, BIND[mode]), label);
      }
      const rows = Array.from(
        { length: count },
        (_, row) => a.subarray(row * dim, (row + 1) * dim),
      );
      for (const metric of ["cosine", "dot", "jaccard"] as const) {
        const expected = rows.map((row) => scoresOf(row, key)[metric]);
        assertSame(x.similarity(k, { metric }), expected, `${label}, ${metric}`);
      }
      const paired = rows.map((row, index) =>
        scoresOf(row, b.subarray(index * dim, (index + 1) * dim)).cosine
      );
      assertSame(x.similarity(y, { out: new Float64Array(count) }), paired, label);
    });
  });

  it("may write to its operands", () => {
    const [a, b] = [randomTrits(777, 1), randomTrits(777, 2)];
    for (const mode of MODES) {
      using x = Hypervector.from(a);
      using y = Hypervector.from(b);
      x.bind(y, { mode, out: x });
      assertSame(x.toInt8Array(), combine(a, b, BIND[mode]));
      y.bind(y, { mode, out: y });
      assertSame(y.toInt8Array(), combine(b, b, BIND[mode]));
    }
  });

  it("keeps its laws", () => {
    for (let seed = 0; seed < 20; seed++) {
      const dim = 1 + seed * 97;
      const [a, b, c] = [0, 1, 2].map((index) => Hypervector.random(dim, 3 * seed + index));
      for (const mode of ["add", "multiply"] as const) {
        assert.ok(a!.bind(b!, { mode }).equals(b!.bind(a!, { mode })), "commutative");
        const left = a!.bind(b!, { mode }).bind(c!, { mode });
        assert.ok(left.equals(a!.bind(b!.bind(c!, { mode }), { mode })), "associative");
      }
      const bound = a!.bind(b!);
      assert.ok(bound.unbind(a!).equals(b!), "either operand undoes the sum");
      assert.ok(bound.unbind(b!).equals(a!));
      for (const mode of ["add", "subtract"] as const) {
        const options = { mode };
        assert.ok(a!.bind(b!, options).unbind(b!, options).equals(a!), "exact inverse");
        assert.ok(a!.bind(b!, options).bind(b!.inverse(options), options).equals(a!));
      }
      const negated = b!.bind(a!, { mode: "subtract" }).negate();
      assert.ok(a!.bind(b!, { mode: "subtract" }).equals(negated), "a - b = -(b - a)");
      const key = Hypervector.random(dim, seed + 1000, { distribution: "bipolar" });
      const options = { mode: "multiply" } as const;
      assert.ok(a!.bind(key, options).unbind(key, options).equals(a!), "its own inverse");
      assert.ok(key.inverse(options).equals(key));
      // Unbinding a product by a key with zeros loses what they hid: cosine sqrt(2/3) on average.
      const lost = a!.bind(b!, options).unbind(b!, options).cosine(a!);
      if (dim > 1000) assert.ok(Math.abs(lost - Math.sqrt(2 / 3)) < 5 / Math.sqrt(dim));
    }
  });
});

describe("random trits", () => {
  const counted = (distribution: Distribution, seed: number) => {
    using vector = Hypervector.random(300_000, seed, { distribution });
    return vector.counts();
  };

  it("are the same on every tier and for every row", () => {
    for (const distribution of ["ternary", "bipolar", { zeros: 0.9 }] as const) {
      let first: Int8Array | undefined;
      onEveryTier((label) => {
        using batch = HypervectorBatch.random(3, 10_007, 2n ** 40n + 5n, { distribution });
        const trits = batch.toInt8Array();
        assertSame(trits, first ??= trits, label);
      });
      using single = Hypervector.random(10_007, 2n ** 40n + 5n, { distribution });
      assertSame(single.toInt8Array(), first!.subarray(0, 10_007));
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

describe("vectors", () => {
  it("count, copy, compare and move between batches", () => {
    const trits = randomTrits(3000, 5);
    using batch = HypervectorBatch.from(trits, [3, 1000]);
    const count = (value: number) => trits.filter((trit) => trit === value).length;
    const expected = { positive: count(1), negative: count(-1), zero: count(0) };
    assert.deepEqual(batch.counts(), expected);
    assert.equal(batch.sparsity, expected.zero / 3000);
    assert.equal(batch.memoryBytes, 3 * 2 * 128);
    using copy = batch.copy();
    assert.ok(copy.equals(batch));
    copy.set(1, batch.get(0));
    assert.ok(!copy.equals(batch));
    assertSame(copy.get(1).toInt8Array(), trits.subarray(0, 1000));
    using of = HypervectorBatch.of([batch.get(2), batch.get(1)]);
    using row = new Hypervector(1000);
    assertSame(of.get(0, { out: row }).toInt8Array(), trits.subarray(2000));
    assert.ok(!of.equals(batch));
    assert.ok(!row.equals(new Hypervector(999)));
    batch.set(1, of);
    assertSame(
      batch.toInt8Array({ out: new Int8Array(3000) }).subarray(1000, 2000),
      trits.subarray(2000),
    );
  });

  it("free their memory, and refuse to be used after that", () => {
    const { handles, allocatedBytes } = info();
    const vector = new Hypervector(5_000_000);
    assert.ok(info().allocatedBytes >= allocatedBytes + 1_250_000);
    vector[Symbol.dispose]();
    vector[Symbol.dispose]();
    assert.deepEqual([info().handles, info().allocatedBytes], [handles, allocatedBytes]);
    using other = new Hypervector(5_000_000);
    assertThrowsCode(() => vector.negate(), "disposed");
    assertThrowsCode(() => other.bind(vector), "disposed");
    assertThrowsCode(() => other.bind(other, { out: vector }), "disposed");
    assertThrowsCode(() => other.dot(vector), "disposed");
    assert.equal(info().handles, handles + 1);
  });

  it("are refused with a clear error where they do not fit", () => {
    using a = new Hypervector(10);
    using b = new Hypervector(11);
    using batch = new HypervectorBatch(3, 10);
    for (const dim of [0, -1, 1.5, NaN, 2 ** 31 + 1]) {
      assertThrowsCode(() => new Hypervector(dim), "invalid_value", /dim/);
    }
    assertThrowsCode(() => new HypervectorBatch(0, 10), "invalid_value", /count/);
    assertThrowsCode(() => new Hypervector(wrong("10")), "invalid_type");
    assertThrowsCode(() => new Hypervector(10, { device: "cuda" }), "device_unavailable");
    assertThrowsCode(() => Hypervector.from(Int8Array.of(0, 2)), "invalid_value", /index 1/);
    assertThrowsCode(() => Hypervector.from(new Int8Array(0)), "invalid_value");
    assertThrowsCode(() => Hypervector.from(wrong([1, 0])), "invalid_type");
    assertThrowsCode(() => HypervectorBatch.from(new Int8Array(5), [2, 3]), "invalid_length");
    assertThrowsCode(() => HypervectorBatch.of([]), "invalid_value");
    assertThrowsCode(() => HypervectorBatch.of([a, b]), "invalid_shape");
    assertThrowsCode(() => a.bind(b), "invalid_shape", /10 dimensions, got 11/);
    assertThrowsCode(() => a.bind(batch), "invalid_shape");
    assertThrowsCode(() => a.bind(wrong({})), "invalid_type");
    assertThrowsCode(() => a.bind(a, { mode: wrong("xor") }), "invalid_option", /"xor"/);
    assertThrowsCode(() => a.bind(a, { mode: wrong("toString") }), "invalid_option");
    assertThrowsCode(() => a.bind(a, { out: b }), "invalid_shape");
    assertThrowsCode(() => a.bind(a, wrong(3)), "invalid_type");
    assertThrowsCode(() => a.dot(wrong(batch)), "invalid_shape", /other must be a single/);
    assertThrowsCode(() => a.similarity(a, { metric: wrong("l2") }), "invalid_option", /"l2"/);
    assertThrowsCode(() => batch.similarity(new HypervectorBatch(2, 10)), "invalid_shape");
    assertThrowsCode(() => batch.similarity(a, { out: new Float64Array(2) }), "invalid_length");
    assertThrowsCode(() => batch.get(3), "invalid_value", /row/);
    assertThrowsCode(() => batch.set(2, new HypervectorBatch(2, 10)), "invalid_value");
    assertThrowsCode(() => a.toInt8Array({ out: new Int8Array(9) }), "invalid_length");
    for (const seed of [-1, 0.5, 2 ** 53, -1n, 2n ** 64n]) {
      assertThrowsCode(() => Hypervector.random(10, seed), "invalid_value", /seed/);
    }
    for (const distribution of ["gaussian", null, 3]) {
      const options = { distribution: wrong(distribution) };
      assertThrowsCode(() => Hypervector.random(10, 1, options), "invalid_option");
    }
    const options = { distribution: { zeros: 1.5 } };
    assertThrowsCode(() => Hypervector.random(10, 1, options), "invalid_value", /zeros/);
  });
});
