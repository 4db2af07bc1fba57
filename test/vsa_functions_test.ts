import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  cudaAvailable,
  type DevicePreference,
  HypervectorBatch,
  vsaBind,
  vsaBundle,
  VsaOps,
  vsaRandom,
  vsaSimilarity,
  vsaUnbind,
} from "../mod.ts";
import { assertSame, assertThrowsCode, onEveryTier, randomTrits, wrong } from "./support.ts";
import {
  BIND,
  bundleOf,
  combine,
  DIMS,
  drawn,
  METRICS,
  MODES,
  rowsOf,
  scoresOf,
  TIES,
  UNBIND,
} from "./vsa_reference.ts";

describe("functions on arrays", () => {
  it("bind, unbind and compare as the scalar loops, on every tier", () => {
    for (const dim of DIMS) {
      const [a, b] = [randomTrits(dim, dim), randomTrits(dim, dim + 1)];
      const scores = scoresOf(a, b);
      const expected = MODES.map((mode) => ({
        mode,
        bound: combine(a, b, BIND[mode]),
        unbound: combine(a, b, UNBIND[mode]),
      }));
      onEveryTier((label) => {
        for (const { mode, bound, unbound } of expected) {
          assertSame(vsaBind(a, b, { mode }), bound, `${label}, bind, ${mode}, ${dim}`);
          assertSame(vsaUnbind(a, b, { mode }), unbound, `${label}, unbind, ${mode}, ${dim}`);
        }
        for (const metric of METRICS) {
          assert.equal(vsaSimilarity(a, b, { metric }), scores[metric], `${label}, ${metric}`);
        }
      });
    }
  });

  it("bundle as the sign of the sum", () => {
    for (const dim of DIMS) {
      for (const count of dim > 100_000 ? [2] : dim > 1000 ? [3, 16] : [1, 2, 5, 16]) {
        const vectors = rowsOf(randomTrits(count * dim, dim + count), dim);
        const weights = vectors.map((_, row) => row % 4 / 2 - 0.5);
        const cases = [
          { threshold: 1 },
          { weights },
          { weights, threshold: 1 },
          ...TIES.map((tie) => ({ tie, seed: 2n ** 60n + 1n })),
        ];
        const expected = cases.map((options) => bundleOf(vectors, options));
        onEveryTier((label) => {
          cases.forEach((options, i) =>
            assertSame(
              vsaBundle(vectors, options),
              expected[i]!,
              `${label}, ${count} x ${dim}, case ${i}`,
            )
          );
        });
      }
    }
  });

  it("draw the documented trits", () => {
    for (const distribution of ["ternary", "bipolar", { zeros: 0.8 }] as const) {
      const seed = 2n ** 63n;
      assertSame(vsaRandom(1001, seed, { distribution }), drawn(1001, seed, distribution));
    }
    assert.notDeepEqual(vsaRandom(100, 1), vsaRandom(100, 2));
  });

  it("write to out, which may be an operand", () => {
    const [a, b] = [randomTrits(1000, 1), randomTrits(1000, 2)];
    const expected = vsaBind(a, b);
    const out = new Int8Array(1000);
    assert.equal(vsaBind(a, b, { out }), out);
    assertSame(out, expected);
    const own = a.slice();
    assertSame(vsaBind(own, b, { out: own }), expected);
    assertSame(vsaUnbind(own, b, { out: own }), a);
    assert.equal(vsaBundle([a, b, a], { out }), out);
    assertSame(out, vsaBundle([a, b, a]));
    assert.equal(vsaRandom(1000, 3, { out }), out);
    assertSame(out, vsaRandom(1000, 3));
  });

  it("give the golden values of the specification", () => {
    const [N, Z, P] = [-1, 0, 1];
    const rows = Int8Array.of(N, N, N, Z, Z, Z, P, P, P);
    const columns = Int8Array.of(N, Z, P, N, Z, P, N, Z, P);
    const table = (mode: "add" | "subtract") => vsaBind(rows, columns, { mode });
    assertSame(table("subtract"), [Z, N, P, P, Z, N, N, P, Z]);
    assertSame(table("add"), [P, N, Z, N, Z, P, Z, P, N]);
    const bundled = vsaBundle([
      Int8Array.of(1, 1, -1, 0),
      Int8Array.of(1, -1, -1, 1),
      Int8Array.of(1, 0, 1, -1),
    ]);
    assertSame(bundled, [1, 0, -1, 0]);
    // Where plurality would say 0.
    assertSame(vsaBundle([Int8Array.of(1), Int8Array.of(0)]), [1]);
    const [a, b] = [Int8Array.of(1, 0, -1, 1), Int8Array.of(1, -1, -1, 0)];
    assert.equal(vsaSimilarity(a, b, { metric: "dot" }), 2);
    assert.equal(vsaSimilarity(a, b, { metric: "hamming" }), 2);
    assert.equal(vsaSimilarity(a, b), 2 / 3);
  });

  it("recover red from the red apple", () => {
    const apple = vsaRandom(10_000, 42);
    const red = vsaRandom(10_000, 43);
    const redApple = vsaBind(apple, red);
    assert.equal(vsaSimilarity(vsaUnbind(redApple, apple), red), 1);
    assert.equal(vsaSimilarity(vsaUnbind(redApple, red), apple), 1);
    // What binds is hidden: unrelated vectors have a standard deviation of 0.01.
    assert.ok(Math.abs(vsaSimilarity(redApple, red)) < 0.05);
    // The product keeps two thirds of the trits: cosine sqrt(2/3), standard deviation below 0.005.
    const product = vsaBind(apple, red, { mode: "multiply" });
    const found = vsaSimilarity(vsaUnbind(product, apple, { mode: "multiply" }), red);
    assert.ok(Math.abs(found - Math.sqrt(2 / 3)) < 0.025, `${found}`);
  });

  it("refuse what is wrong", () => {
    const [a, b] = [randomTrits(8, 1), randomTrits(8, 2)];
    const bad = Int8Array.of(0, 0, 0, 0, 0, 2, 0, 0);
    for (const call of [vsaBind, vsaUnbind, vsaSimilarity]) {
      assertThrowsCode(() => call(a, randomTrits(7, 1)), "invalid_length", /must have 8 elements/);
      assertThrowsCode(() => call(wrong([1]), b), "invalid_type", /must be an Int8Array/);
      assertThrowsCode(() => call(bad, b), "invalid_value", /got 2 at index 5/);
      assertThrowsCode(() => call(a, bad), "invalid_value", /got 2 at index 5/);
      assertThrowsCode(() => call(new Int8Array(0), new Int8Array(0)), "invalid_length");
      assertThrowsCode(() => call(a, b, wrong(1)), "invalid_type", /options/);
    }
    for (const call of [vsaBind, vsaUnbind]) {
      assertThrowsCode(() => call(a, b, { mode: wrong("plus") }), "invalid_option", /mode/);
      assertThrowsCode(() => call(a, b, { out: new Int8Array(7) }), "invalid_length", /out/);
    }
    assertThrowsCode(() => vsaSimilarity(a, b, { metric: wrong("l2") }), "invalid_option");
    assertThrowsCode(() => vsaBundle([]), "invalid_value", /at least one vector/);
    assertThrowsCode(() => vsaBundle(wrong(a)), "invalid_type", /must be an array/);
    assertThrowsCode(() => vsaBundle([a, randomTrits(7, 1)]), "invalid_length", /vectors\[1\]/);
    assertThrowsCode(() => vsaBundle([a, bad]), "invalid_value");
    assertThrowsCode(() => vsaBundle([a], { tie: wrong("none") }), "invalid_option", /tie/);
    assertThrowsCode(() => vsaRandom(0, 1), "invalid_value", /dim/);
    assertThrowsCode(() => vsaRandom(8, -1), "invalid_value", /seed/);
    assertThrowsCode(() => vsaRandom(8, 1, { out: new Int8Array(9) }), "invalid_length");
  });

  it("know the names of devices in upper and lower case", () => {
    const [a, b] = [randomTrits(8, 1), randomTrits(8, 2)];
    const calls = [
      (device: DevicePreference) => vsaBind(a, b, { device }),
      (device: DevicePreference) => vsaUnbind(a, b, { device }),
      (device: DevicePreference) => vsaBundle([a, b], { device }),
      (device: DevicePreference) => vsaSimilarity(a, b, { device }),
      (device: DevicePreference) => vsaRandom(8, 1, { device }),
      (device: DevicePreference) => new VsaOps({ device }),
    ];
    for (const call of calls) {
      for (const device of ["cpu", "CPU", "auto", "Auto"]) call(wrong(device));
      for (const device of ["tpu", "cuda:", "cuda:x", "", 0, null]) {
        assertThrowsCode(() => call(wrong(device)), "invalid_option", /"gpu"/);
      }
      if (cudaAvailable()) continue;
      for (const device of ["gpu", "GPU", "cuda", "Cuda:0"]) {
        assertThrowsCode(() => call(wrong(device)), "device_unavailable");
      }
    }
  });
});

describe("VsaOps", () => {
  const ops = new VsaOps({ device: "cpu" });

  it("computes what the vectors compute", () => {
    const [a, b] = [randomTrits(1000, 1), randomTrits(1000, 2)];
    using x = ops.fromInt8(a);
    using y = ops.fromInt8(b);
    for (const mode of MODES) {
      assertSame(ops.toInt8(ops.bind(x, y, { mode })), vsaBind(a, b, { mode }));
      assertSame(ops.toInt8(ops.unbind(x, y, { mode })), vsaUnbind(a, b, { mode }));
      assert.ok(ops.inverse(x, { mode }).equals(x.inverse({ mode })));
    }
    const scores = scoresOf(a, b);
    assert.equal(ops.cosineSimilarity(x, y), scores.cosine);
    assert.equal(ops.dot(x, y), scores.dot);
    assert.equal(ops.hammingDistance(x, y), scores.hamming);
    for (const metric of METRICS) assert.equal(ops.similarity(x, y, { metric }), scores[metric]);
    assertSame(ops.toInt8(ops.negate(x)), a.map((trit) => 0 - trit));
    assert.ok(ops.unpermute(ops.permute(x, 7), 7).equals(x));
    assert.equal(ops.toInt8(ops.permute(x, 7))[8], a[1]);
    assertSame(ops.toInt8(ops.bundle([x, y, x])), a.map((trit, i) => Math.sign(2 * trit + b[i]!)));
  });

  it("takes batches", () => {
    using batch = ops.randomBatch(5, 1000, 7);
    using first = ops.random(1000, 7);
    assert.ok(batch.get(0).equals(first));
    assert.ok(ops.bind(batch, first).equals(batch.bind(first)));
    assert.deepEqual(ops.similarity(batch, first), batch.similarity(first));
    assert.ok(ops.bundle(batch).equals(batch.bundle()));
    using bipolar = ops.random(1000, 7, { distribution: "bipolar" });
    assert.equal(bipolar.sparsity, 0);
  });

  it("refuses what is wrong", () => {
    using x = ops.random(100, 1);
    using batch = HypervectorBatch.random(2, 100, 1);
    assertThrowsCode(() => ops.cosineSimilarity(wrong(batch), x), "invalid_type", /Batch/);
    assertThrowsCode(() => ops.dot(x, wrong(batch)), "invalid_type", /Batch/);
    assertThrowsCode(() => ops.bind(wrong(randomTrits(100, 1)), x), "invalid_type", /^a must be/);
    assertThrowsCode(() => ops.bind(x, wrong(undefined)), "invalid_type");
    assertThrowsCode(() => ops.similarity(x, ops.random(99, 1)), "invalid_shape");
    assertThrowsCode(() => ops.fromInt8(Int8Array.of(3)), "invalid_value");
    assertThrowsCode(() => ops.random(0, 1), "invalid_value");
    assertThrowsCode(() => new VsaOps(wrong("cpu")), "invalid_type");
  });
});
