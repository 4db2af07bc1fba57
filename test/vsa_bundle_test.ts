import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Hypervector, HypervectorBatch } from "../mod.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  randomTrits,
  seeded,
  wrong,
} from "./support.ts";
import {
  assertTrits,
  bindAll,
  bundleOf,
  DIMS,
  joined,
  MODES,
  negated,
  rowsOf,
  TIES,
} from "./vsa_reference.ts";

const COUNTS = [1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 64, 100, 112, 113, 241, 1000];

/** Dimensions that keep a scalar sum short. */
const SMALL = DIMS.filter((dim) => dim <= 10_000);

const SHAPES: readonly (readonly [count: number, dim: number])[] = [
  ...COUNTS.map((count, i) => [count, SMALL[i % SMALL.length]!] as const),
  ...COUNTS.filter((count) => count < 200).map((count) => [count, 1000] as const),
  ...DIMS.map((dim) => [3, dim] as const),
  ...SMALL.map((dim) => [20, dim] as const),
  [17, 65_537],
];

describe("bundle", () => {
  for (const [count, dim] of SHAPES) {
    it(`of ${count} vectors of ${dim} dimensions is the scalar loop`, () => {
      const trits = randomTrits(count * dim, count + dim);
      const rows = rowsOf(trits, dim);
      // Of tens of vectors hardly any sum is zero: half of these are the other half's negatives.
      for (let r = 1; r < count; r += 2) {
        rows[r]!.set(negated(rows[r - 1]!.subarray(0, dim >> 1)));
      }
      const seed = 77n;
      const expected = TIES.map((tie) => bundleOf(rows, { tie, seed }));
      const above = bundleOf(rows, { threshold: 2 });
      onEveryTier((label) => {
        using batch = HypervectorBatch.from(trits, [count, dim]);
        using out = new Hypervector(dim);
        const list = rows.map((row) => Hypervector.from(row));
        TIES.forEach((tie, i) => {
          batch.bundle({ tie, seed, out });
          assertTrits(out, expected[i]!, `${label}, rows, ${tie}`);
          Hypervector.bundle(list, { tie, seed, out });
          assertTrits(out, expected[i]!, `${label}, list, ${tie}`);
        });
        assertTrits(batch.bundle({ threshold: 2, out }), above, `${label}, threshold`);
        assert.equal(batch.bundle({ threshold: count, out }).counts().zero, dim);
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
          assertSame(out.toInt8Array(), bundleOf(rows, { tie: "first" }));
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
    for (const dim of DIMS) {
      const counts = dim > 100_000 ? [3] : dim > 1000 ? [5] : [1, 3, 17, 64];
      for (const count of counts) {
        const rows = rowsOf(randomTrits(count * dim, dim + count), dim);
        const random = seeded(count);
        const kinds = {
          small: Float32Array.from(rows, () => random() - 0.4),
          large: Float32Array.from(rows, () => (random() - 0.4) * 1e30),
          // Sums of halves are often zero.
          halves: Float32Array.from(rows, (_, r) => r % 3 / 2 - 0.5),
        };
        for (const [name, weights] of Object.entries(kinds)) {
          if (dim > 10_000 && name !== "halves") continue;
          const seed = 5n;
          const expected = TIES.map((tie) => bundleOf(rows, { weights, tie, seed }));
          const above = bundleOf(rows, { weights, threshold: 2 });
          onEveryTier((label) => {
            const text = `${label}, ${count} x ${dim}, ${name}`;
            const list = rows.map((row) => Hypervector.from(row));
            using batch = HypervectorBatch.of(list);
            using out = new Hypervector(dim);
            TIES.forEach((tie, i) => {
              batch.bundle({ weights, tie, seed, out });
              assertTrits(out, expected[i]!, `${text}, rows, ${tie}`);
              Hypervector.bundle(list, { weights: [...weights], tie, seed, out });
              assertTrits(out, expected[i]!, `${text}, list, ${tie}`);
            });
            assertTrits(batch.bundle({ weights, threshold: 2, out }), above, `${text}, threshold`);
            list.forEach((vector) => vector[Symbol.dispose]());
          });
        }
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

describe("bundleGroups", () => {
  it("bundles each group by itself", () => {
    const shapes = [
      ...DIMS.map((dim) => dim > 100_000 ? [4, 2, dim] : [12, 3, dim]),
      ...[[40, 20, 65], [300, 150, 64], [7, 1, 513], [2000, 2, 1000], [30, 5, 10_000]],
    ] as [number, number, number][];
    for (const [count, size, dim] of shapes) {
      const trits = randomTrits(count * dim, dim);
      const rows = rowsOf(trits, dim);
      const groups = Array.from(
        { length: count / size },
        (_, i) => rows.slice(i * size, (i + 1) * size),
      );
      const cases = [{ threshold: 1 }, ...TIES.map((tie) => ({ tie, seed: 9n }))]
        .slice(dim > 100_000 ? 3 : 0);
      const expected = cases.map((options) =>
        joined(groups.map((group, row) => bundleOf(group, { ...options, row })))
      );
      onEveryTier((label) => {
        using batch = HypervectorBatch.from(trits, [count, dim]);
        using out = new HypervectorBatch(count / size, dim);
        cases.forEach((options, i) => {
          assert.equal(batch.bundleGroups(size, { ...options, out }), out);
          assertTrits(out, expected[i]!, `${label}, ${count} of ${dim}, case ${i}`);
        });
        assert.equal(batch.bundleGroups(size, { threshold: size, out }).sparsity, 1);
      });
    }
  });
});

describe("bindMany", () => {
  it("is the loop over bytes, from the left", () => {
    const shapes = [
      ...DIMS.map((dim) => [dim > 100_000 ? 3 : 4, dim] as const),
      ...[[1, 33], [2, 65], [9, 513], [200, 1000], [17, 10_000], [4, 300_000]] as const,
    ];
    for (const [count, dim] of shapes) {
      const trits = randomTrits(count * dim, dim);
      // Few zeros, or many products are nothing else.
      trits.forEach((trit, i) => trit === 0 && i % 16 !== 0 ? trits[i] = i & 1 ? 1 : -1 : trit);
      const rows = rowsOf(trits, dim);
      const expected = MODES.map((mode) => bindAll(rows, mode));
      onEveryTier((label) => {
        using batch = HypervectorBatch.from(trits, [count, dim]);
        MODES.forEach((mode, i) => {
          const text = `${label}, ${count} x ${dim}, ${mode}`;
          const list = rows.map((row) => Hypervector.from(row));
          using out = new Hypervector(dim);
          assert.equal(batch.bindMany({ mode, out }), out);
          assertTrits(out, expected[i]!, text);
          // It may go where one of the vectors is.
          for (const target of dim > 10_000 ? [list.at(-1)!] : [out, list[0]!, list.at(-1)!]) {
            assert.equal(Hypervector.bindMany(list, { mode, out: target }), target);
            assertTrits(target, expected[i]!, text);
            list.forEach((vector, r) =>
              vector === target && list.splice(r, 1, Hypervector.from(rows[r]!))
            );
          }
          list.forEach((vector) => vector[Symbol.dispose]());
        });
      });
    }
  });
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
