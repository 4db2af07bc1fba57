import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  cudaAvailable,
  type DevicePreference,
  Hypervector,
  HypervectorBatch,
  vsaBind,
  vsaBundle,
  VsaOps,
  vsaRandom,
  vsaSimilarity,
  vsaUnbind,
} from "../mod.ts";
import { assertSame, assertThrowsCode, onEveryTier, randomTrits, wrong } from "./support.ts";

const DIMS = [1, 31, 32, 33, 63, 64, 65, 1000, 10_000, 65_537, 1_000_003];
const MODES = ["add", "subtract", "multiply"] as const;
const METRICS = ["cosine", "dot", "hamming", "hammingSimilarity", "overlap", "jaccard"] as const;

const modulo = (sum: number) => ((sum + 4) % 3) - 1;
const BIND = {
  add: (a: number, b: number) => modulo(a + b),
  subtract: (a: number, b: number) => modulo(a - b),
  multiply: (a: number, b: number) => a * b || 0,
};
const UNBIND = { ...BIND, add: BIND.subtract, subtract: BIND.add };

/** Every similarity of two arrays, by plain loops. */
function similarities(a: Int8Array, b: Int8Array): Record<(typeof METRICS)[number], number> {
  const nonzero = (trits: Int8Array) => trits.filter((trit) => trit !== 0).length;
  const dot = a.reduce((sum, trit, i) => sum + trit * b[i]!, 0);
  const hamming = a.filter((trit, i) => trit !== b[i]).length;
  const overlap = a.filter((trit, i) => trit !== 0 && b[i] !== 0).length;
  const either = a.filter((trit, i) => trit !== 0 || b[i] !== 0).length;
  return {
    cosine: dot === 0 ? 0 : dot / Math.sqrt(nonzero(a) * nonzero(b)),
    dot,
    hamming,
    hammingSimilarity: 1 - hamming / a.length,
    overlap,
    jaccard: either === 0 ? 0 : overlap / either,
  };
}

describe("functions on arrays", () => {
  it("bind, unbind and compare as the scalar loops, on every tier", () => {
    for (const dim of DIMS) {
      const [a, b] = [randomTrits(dim, dim), randomTrits(dim, dim + 1)];
      const scores = similarities(a, b);
      const expected = MODES.map((mode) => ({
        mode,
        bound: a.map((trit, i) => BIND[mode](trit, b[i]!)),
        unbound: a.map((trit, i) => UNBIND[mode](trit, b[i]!)),
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
    for (const [dim, count] of [[1, 1], [65, 2], [1000, 5], [10_000, 16], [65_537, 3]] as const) {
      const vectors = Array.from({ length: count }, (_, seed) => randomTrits(dim, seed + 1));
      const sums = Array.from({ length: dim }, (_, i) => {
        return vectors.reduce((sum, vector) => sum + vector[i]!, 0);
      });
      onEveryTier((label) => {
        assertSame(vsaBundle(vectors), sums.map((sum) => Math.sign(sum)), `${label}, ${dim}`);
        const positive = sums.map((sum) => sum === 0 ? 1 : Math.sign(sum));
        assertSame(vsaBundle(vectors, { tie: "positive" }), positive, `${label}, ${dim}`);
      });
    }
  });

  it("draw the trits of Hypervector.random", () => {
    for (const distribution of ["ternary", "bipolar", { zeros: 0.8 }] as const) {
      using vector = Hypervector.random(1001, 2n ** 63n, { distribution });
      assertSame(vsaRandom(1001, 2n ** 63n, { distribution }), vector.toInt8Array());
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
    const scores = similarities(a, b);
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
