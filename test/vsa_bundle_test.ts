import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type BindMode, Hypervector, HypervectorBatch, type Tie } from "../mod.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  randomTrits,
  seeded,
  wrong,
} from "./support.ts";

/** The bundle by its definition; `tied` is what a sum of zero becomes. */
function bundleOf(
  rows: readonly Int8Array[],
  { weights, threshold = 0, tied = () => 0 }: {
    weights?: ArrayLike<number>;
    threshold?: number;
    tied?: (index: number) => number;
  } = {},
): Int8Array {
  return rows[0]!.map((_, i) => {
    let sum = 0;
    for (let r = 0; r < rows.length; r++) sum += rows[r]![i]! * (weights?.[r] ?? 1);
    if (sum === 0 && threshold === 0) return tied(i);
    return Math.abs(sum) > threshold ? Math.sign(sum) : 0;
  });
}

/** Rows of a batch of trits. */
function rowsOf(trits: Int8Array, dim: number): Int8Array[] {
  return Array.from(
    { length: trits.length / dim },
    (_, r) => trits.subarray(r * dim, (r + 1) * dim),
  );
}

const DIMS = [1, 31, 32, 33, 63, 64, 65, 513, 1000, 10_000];
const COUNTS = [1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 64, 100, 112, 113, 241, 1000];
const TIES: readonly Tie[] = ["zero", "positive", "random", "first"];

/** Dimensions and counts together that keep a scalar sum short. */
const SHAPES: readonly (readonly [count: number, dim: number])[] = [
  ...COUNTS.map((count, i) => [count, DIMS[i % DIMS.length]!] as const),
  ...COUNTS.filter((count) => count < 200).map((count) => [count, 1000] as const),
  ...DIMS.map((dim) => [3, dim] as const),
  ...DIMS.map((dim) => [20, dim] as const),
  [3, 65_537],
  [17, 65_537],
  [5, 1_000_003],
];

describe("bundle", () => {
  for (const [count, dim] of SHAPES) {
    it(`of ${count} vectors of ${dim} dimensions is the scalar loop`, () => {
      const trits = randomTrits(count * dim, count + dim);
      const rows = rowsOf(trits, dim);
      const random = tieTrits(dim, 77);
      // Of tens of vectors hardly any sum is zero: half of these are the other half's negatives.
      for (let r = 1; r < count; r += 2) {
        rows[r]!.set(rows[r - 1]!.subarray(0, dim >> 1).map((trit) => -trit));
      }
      const tied = {
        zero: () => 0,
        positive: () => 1,
        random: (i: number) => random[i]!,
        first: (i: number) => rows[0]![i]!,
      };
      const expected = TIES.map((tie) => bundleOf(rows, { tied: tied[tie] }));
      const above = bundleOf(rows, { threshold: 2 });
      onEveryTier((label) => {
        using batch = HypervectorBatch.from(trits, [count, dim]);
        using out = new Hypervector(dim);
        const list = rows.map((row) => Hypervector.from(row));
        TIES.forEach((tie, i) => {
          batch.bundle({ tie, seed: 77, out });
          assertSame(out.toInt8Array(), expected[i]!, `${label}, rows, ${tie}`);
          Hypervector.bundle(list, { tie, seed: 77, out });
          assertSame(out.toInt8Array(), expected[i]!, `${label}, list, ${tie}`);
        });
        assertSame(batch.bundle({ threshold: 2, out }).toInt8Array(), above, `${label}, threshold`);
        assert.equal(batch.bundle({ threshold: count, out }).counts().zero, dim);
        // Padding stays zero, or what is counted would show it.
        assert.equal(batch.bundle({ tie: "positive", out }).counts().zero, 0);
        list.forEach((vector) => vector[Symbol.dispose]());
      });
    });
  }

  it("may go where one of the vectors is", () => {
    const dim = 1500;
    for (const count of [2, 3, 7, 40, 150]) {
      const rows = rowsOf(randomTrits(count * dim, count), dim);
      for (const place of [0, count - 1]) {
        for (const weights of [undefined, new Float32Array(count).fill(1)]) {
          const list = rows.map((row) => Hypervector.from(row));
          const out = list[place]!;
          assert.equal(Hypervector.bundle(list, { tie: "first", weights, out }), out);
          assertSame(out.toInt8Array(), bundleOf(rows, { tied: (i) => rows[0]![i]! }));
        }
      }
    }
  });

  it("of more vectors than 2^16", () => {
    const [count, dim] = [70_001, 65];
    const trits = randomTrits(count * dim, 5);
    using batch = HypervectorBatch.from(trits, [count, dim]);
    assertSame(batch.bundle().toInt8Array(), bundleOf(rowsOf(trits, dim)));
    const same = Hypervector.from(randomTrits(dim, 6));
    using list = Hypervector.bundle(Array.from({ length: count }, () => same), {
      threshold: count - 1,
    });
    assert.ok(list.equals(same));
  });

  it("weighs in float64, in the order of the vectors", () => {
    for (const [count, dim] of [[1, 64], [3, 65], [17, 1000], [64, 513]] as const) {
      const rows = rowsOf(randomTrits(count * dim, dim), dim);
      const random = seeded(count);
      for (const scale of [1, 1e30]) {
        const weights = Float32Array.from(rows, () => (random() - 0.4) * scale);
        const expected = bundleOf(rows, { weights });
        const above = bundleOf(rows, { weights, threshold: 2 });
        onEveryTier((label) => {
          const list = rows.map((row) => Hypervector.from(row));
          using batch = HypervectorBatch.of(list);
          assertSame(batch.bundle({ weights }).toInt8Array(), expected, label);
          assertSame(
            Hypervector.bundle(list, { weights: [...weights] }).toInt8Array(),
            expected,
            label,
          );
          assertSame(batch.bundle({ weights, threshold: 2 }).toInt8Array(), above, label);
        });
      }
    }
  });

  it("with weights takes ties of exact sums, and the threshold is not above it", () => {
    const list = [[1, 1, 0, -1], [-1, 1, 0, 1], [0, -1, 0, 1]].map((row) =>
      Hypervector.from(Int8Array.from(row))
    );
    const weights = [2.5, 2, 0.5];
    assertSame(Hypervector.bundle(list, { weights }).toInt8Array(), [1, 1, 0, 0]);
    assertSame(Hypervector.bundle(list, { weights, tie: "first" }).toInt8Array(), [1, 1, 0, -1]);
    assertSame(Hypervector.bundle(list, { weights, tie: "positive" }).toInt8Array(), [1, 1, 1, 1]);
    assertSame(Hypervector.bundle(list, { weights, threshold: 4 }).toInt8Array(), [0, 0, 0, 0]);
    assertSame(Hypervector.bundle(list, { weights, threshold: 3 }).toInt8Array(), [0, 1, 0, 0]);
  });

  it("breaks ties at random without a bias, by seed and row", () => {
    const dim = 100_000;
    using zeros = new HypervectorBatch(6, dim);
    using groups = zeros.bundleGroups(2, { tie: "random", seed: 9 });
    const positive = groups.counts().positive;
    // 5 standard deviations of a sum of 3 dim fair coins.
    assert.ok(Math.abs(positive - 1.5 * dim) < 5 * Math.sqrt(3 * dim / 4), `${positive}`);
    assertSame(groups.get(0).toInt8Array(), zeros.bundle({ tie: "random", seed: 9 }).toInt8Array());
    for (
      const other of [
        groups.get(1),
        zeros.bundle({ tie: "random", seed: 10 }),
        Hypervector.random(dim, 9, { distribution: "bipolar" }),
      ]
    ) {
      // Unrelated: the cosine's standard deviation is 1 / sqrt(dim).
      assert.ok(Math.abs(other.cosine(groups.get(0))) < 5 / Math.sqrt(dim));
    }
  });
});

/** Trits that decide ties: Philox4x32-10 for the counter (j, 0, 0, 2), as the documentation says. */
function tieTrits(dim: number, seed: number): Int8Array {
  const trits = new Int8Array(dim);
  for (let j = 0; j * 128 < dim; j++) {
    const words = philox([j, 0, 0, 2], [seed, 0]);
    for (let i = 0; i < 128 && j * 128 + i < dim; i++) {
      trits[j * 128 + i] = words[i >> 5]! >>> (i & 31) & 1 ? -1 : 1;
    }
  }
  return trits;
}

function philox(counter: number[], key: number[]): number[] {
  let [a, b, c, d] = counter as [number, number, number, number];
  let [k, l] = key as [number, number];
  for (let round = 0; round < 10; round++) {
    const x = BigInt(a >>> 0) * 0xd2511f53n;
    const y = BigInt(c >>> 0) * 0xcd9e8d57n;
    [a, b, c, d] = [
      Number(y >> 32n) ^ b ^ k,
      Number(y & 0xffffffffn),
      Number(x >> 32n) ^ d ^ l,
      Number(x & 0xffffffffn),
    ];
    k = (k + 0x9e3779b9) | 0;
    l = (l + 0xbb67ae85) | 0;
  }
  return [a, b, c, d];
}

describe("bundleGroups", () => {
  it("bundles each group by itself", () => {
    for (
      const [count, size, dim] of [[12, 3, 1000], [40, 20, 65], [300, 150, 64], [7, 1, 513], [
        2000,
        2,
        1000,
      ]] as const
    ) {
      const trits = randomTrits(count * dim, dim);
      const rows = rowsOf(trits, dim);
      const expected = Array.from({ length: count / size }, (_, i) => {
        const group = rows.slice(i * size, (i + 1) * size);
        return [...bundleOf(group, { tied: (j) => group[0]![j]! })];
      }).flat();
      onEveryTier((label) => {
        using batch = HypervectorBatch.from(trits, [count, dim]);
        using groups = batch.bundleGroups(size, { tie: "first" });
        assertSame(groups.toInt8Array(), expected, label);
        using above = new HypervectorBatch(count / size, dim);
        assert.equal(batch.bundleGroups(size, { threshold: size, out: above }), above);
        assert.equal(above.sparsity, 1);
      });
    }
  });
});

describe("bindMany", () => {
  for (const mode of ["add", "multiply", "subtract"] as const satisfies BindMode[]) {
    it(`${mode} is bind from the left`, () => {
      for (
        const [count, dim] of [[1, 33], [2, 65], [3, 10_000], [9, 513], [200, 1000], [
          4,
          300_000,
        ]] as const
      ) {
        onEveryTier((label) => {
          using batch = HypervectorBatch.random(count, dim, count, {
            distribution: { zeros: 0.01 },
          });
          const list = Array.from({ length: count }, (_, r) => batch.get(r));
          using expected = list[0]!.copy();
          for (const vector of list.slice(1)) expected.bind(vector, { mode, out: expected });
          assert.ok(batch.bindMany({ mode }).equals(expected), label);
          const out = list.at(-1)!;
          assert.equal(Hypervector.bindMany(list, { mode, out }), out);
          assert.ok(out.equals(expected), label);
        });
      }
    });
  }
});

describe("wrong arguments", () => {
  it("of bundle and bindMany", () => {
    using a = new Hypervector(10);
    using b = new Hypervector(11);
    using batch = new HypervectorBatch(6, 10);
    const gone = new Hypervector(10);
    gone[Symbol.dispose]();
    for (const call of [Hypervector.bundle, Hypervector.bindMany] as const) {
      assertThrowsCode(() => call([]), "invalid_value", /at least one/);
      assertThrowsCode(() => call(wrong(a)), "invalid_value");
      assertThrowsCode(() => call([a, wrong(null)]), "invalid_type", /vectors\[1\]/);
      assertThrowsCode(() => call([wrong(new Int8Array(10)), a]), "invalid_type", /vectors\[0\]/);
      assertThrowsCode(() => call([a, b]), "invalid_shape", /vectors\[1\] must have 10 dimensions/);
      assertThrowsCode(() => call([a, wrong(batch)]), "invalid_shape", /single/);
      assertThrowsCode(() => call([a, gone]), "disposed");
      assertThrowsCode(() => call([gone, a]), "disposed");
      assertThrowsCode(() => call([a], { out: gone }), "disposed");
      assertThrowsCode(() => call([a], { out: b }), "invalid_shape");
      assertThrowsCode(() => call([a], { out: wrong(batch) }), "invalid_shape");
      assertThrowsCode(() => call([a], wrong(3)), "invalid_type");
    }
    assertThrowsCode(() => Hypervector.bindMany([a], { mode: wrong("plus") }), "invalid_option");
    assertThrowsCode(() => batch.bindMany({ mode: wrong("plus") }), "invalid_option");
    assertThrowsCode(() => batch.bindMany({ out: b }), "invalid_shape");
    assertThrowsCode(() => batch.bundle({ out: b }), "invalid_shape");
    assertThrowsCode(() => batch.bundleGroups(4), "invalid_shape", /size must divide 6/);
    assertThrowsCode(() => batch.bundleGroups(0), "invalid_value");
    assertThrowsCode(() => batch.bundleGroups(2, { out: batch }), "invalid_shape", /out must be 3/);
  });

  it("of how sums become trits", () => {
    using batch = new HypervectorBatch(2, 10);
    assertThrowsCode(() => batch.bundle({ tie: wrong("last") }), "invalid_option", /tie must be/);
    assertThrowsCode(() => batch.bundle({ threshold: -1 }), "invalid_value");
    assertThrowsCode(() => batch.bundle({ threshold: 0.5 }), "invalid_value");
    assertThrowsCode(() => batch.bundle({ threshold: 2 ** 32 }), "invalid_value");
    assertThrowsCode(
      () => batch.bundle({ threshold: 1, tie: "random" }),
      "invalid_option",
      /tie must be "zero"/,
    );
    assertThrowsCode(() => batch.bundle({ seed: -1 }), "invalid_value", /seed/);
    assertThrowsCode(() => batch.bundle({ weights: [1] }), "invalid_length", /weights/);
    assertThrowsCode(
      () => batch.bundle({ weights: [1, Infinity] }),
      "invalid_value",
      /weights\[1\]/,
    );
    assertThrowsCode(() => batch.bundle({ weights: [1e39, 1] }), "invalid_value", /weights\[0\]/);
    assertThrowsCode(() => batch.bundle({ weights: Float32Array.of(1, NaN) }), "invalid_value");
    assertThrowsCode(() => batch.bundle({ weights: [1, wrong("1")] }), "invalid_type");
    assertThrowsCode(() => batch.bundle({ weights: wrong(new Float64Array(2)) }), "invalid_type");
    assertThrowsCode(() => batch.bundle({ weights: [] }), "invalid_length");
  });
});

/** Probabilities that a sum of n trits, a third each, is 0 and is 1. */
function sumOfThirds(n: number): [zero: number, one: number] {
  let p = [1];
  for (let i = 0; i < n; i++) {
    p = Array.from(
      { length: p.length + 2 },
      (_, j) => ((p[j] ?? 0) + (p[j - 1] ?? 0) + (p[j - 2] ?? 0)) / 3,
    );
  }
  return [p[n]!, p[n + 1] ?? 0];
}

describe("capacity: the cosine of a bundle with its members follows theory", () => {
  const dim = 100_000;
  // An estimate of a cosine from `dim` trits has a standard deviation of at most 1 / sqrt(dim).
  const tolerance = 5 / Math.sqrt(dim);

  it("for trits of a third each", () => {
    for (let n = 2; n <= 21; n++) {
      const [zero, one] = sumOfThirds(n - 1);
      const expected = 2 / 3 * (zero + one) / Math.sqrt(2 / 3 * (1 - sumOfThirds(n)[0]));
      using batch = HypervectorBatch.random(n, dim, n);
      using bundle = batch.bundle();
      assertNear(batch.similarity(bundle), new Float64Array(n).fill(expected), tolerance, `${n}`);
    }
  });

  it("for an odd number of bipolar vectors", () => {
    let expected = 1;
    for (let n = 1; n <= 21; n += 2) {
      // C(n - 1, (n - 1) / 2) / 2^(n - 1), from the one before.
      if (n > 1) expected *= (n - 2) / (n - 1);
      using batch = HypervectorBatch.random(n, dim, n, { distribution: "bipolar" });
      using bundle = batch.bundle();
      assertNear(batch.similarity(bundle), new Float64Array(n).fill(expected), tolerance, `${n}`);
    }
  });
});
