import assert from "node:assert/strict";
import {
  type BindMode,
  Bundler,
  Hypervector,
  HypervectorBatch,
  ItemMemory,
  type SimilarityMetric,
  type Tie,
  vsaBind,
  vsaBundle,
  VsaOps,
  vsaRandom,
  vsaSimilarity,
  vsaUnbind,
} from "../mod.ts";
import { assertNothingLeft, cudaTest } from "./cuda_support.ts";
import { assertSame, assertThrowsCode } from "./support.ts";

const device = "cuda";

/** Around every edge of words, pieces and blocks of 512. */
const DIMS = [1, 3, 31, 32, 33, 127, 512, 513, 1000, 10_240] as const;
const METRICS: readonly SimilarityMetric[] = [
  "dot",
  "cosine",
  "hamming",
  "hammingSimilarity",
  "overlap",
  "jaccard",
];

/** The same random vectors on both. */
function both(count: number, dim: number, seed: number) {
  const cpu = HypervectorBatch.random(count, dim, seed);
  return { cpu, gpu: cpu.to(device) };
}

function assertEqual(gpu: HypervectorBatch | Hypervector, cpu: typeof gpu, label: string): void {
  assert.match(gpu.device, /^cuda:\d+$/);
  using copy = gpu.to("cpu");
  assert.ok(copy.equals(cpu), label);
}

cudaTest("random vectors are those of the CPU", () => {
  assertNothingLeft(() => {
    for (const dim of DIMS) {
      for (const count of [1, 3, 37]) {
        for (const distribution of ["ternary", "bipolar", { zeros: 0.9 }, { zeros: 0 }] as const) {
          const seed = 0xfedcba9876543210n + BigInt(dim);
          using cpu = HypervectorBatch.random(count, dim, seed, { distribution });
          using gpu = HypervectorBatch.random(count, dim, seed, { distribution, device });
          assertEqual(gpu, cpu, `${count} x ${dim}`);
        }
      }
    }
  });
});

cudaTest("vectors travel there and back, in every format", () => {
  assertNothingLeft(() => {
    for (const dim of DIMS) {
      const { cpu, gpu } = both(5, dim, 3);
      using _cpu = cpu;
      using _gpu = gpu;
      assertSame(gpu.toInt8Array(), cpu.toInt8Array());
      assertSame(gpu.toPackedBytes(), cpu.toPackedBytes());
      assertSame(gpu.toBase3Bytes(), cpu.toBase3Bytes());
      assertSame(gpu.save(), cpu.save());
      using loaded = HypervectorBatch.load(cpu.save(), { device });
      assert.ok(loaded.equals(gpu));
      using made = HypervectorBatch.from(cpu.toInt8Array(), [5, dim], { device });
      assert.ok(made.equals(gpu));
      using wired = HypervectorBatch.fromPackedBytes(cpu.toPackedBytes(), [5, dim], { device });
      assert.ok(wired.equals(gpu));
      using copy = gpu.copy();
      assert.ok(copy.equals(gpu));
      assert.equal(gpu.to(device), gpu);
      using row = gpu.get(4);
      using wanted = cpu.get(4);
      assertEqual(row, wanted, "a row");
      copy.set(0, row);
      using changed = cpu.copy();
      changed.set(0, wanted);
      assertEqual(copy, changed, "a changed row");
      assert.deepEqual(gpu.counts(), cpu.counts());
      assert.deepEqual(gpu.rowCounts(), cpu.rowCounts());
      if (dim > 1) assert.equal(copy.equals(gpu), changed.equals(cpu));
    }
  });
});

cudaTest("bindings, negation and rotation are those of the CPU", () => {
  assertNothingLeft(() => {
    for (const dim of DIMS) {
      for (const count of [1, 3, 100]) {
        using a = HypervectorBatch.random(count, dim, 1);
        using b = HypervectorBatch.random(count, dim, 2);
        using key = Hypervector.random(dim, 3);
        using x = a.to(device);
        using y = b.to(device);
        using z = key.to(device);
        for (const mode of ["add", "subtract", "multiply"] as BindMode[]) {
          using bound = x.bind(y, { mode });
          using wanted = a.bind(b, { mode });
          assertEqual(bound, wanted, `${mode} ${dim}`);
          using back = bound.unbind(z, { mode });
          using wantedBack = wanted.unbind(key, { mode });
          assertEqual(back, wantedBack, `${mode} by one key`);
          using many = x.bindMany({ mode });
          using wantedMany = a.bindMany({ mode });
          assertEqual(many, wantedMany, `${mode} of all`);
          assert.equal(back.bind(z, { mode, out: back }), back);
          wantedBack.bind(key, { mode, out: wantedBack });
          assertEqual(back, wantedBack, `${mode} in place`);
        }
        using negative = x.negate();
        using wantedNegative = a.negate();
        assertEqual(negative, wantedNegative, "negate");
        for (const shift of [0, 1, 31, 32, 33, dim - 1, -5, 1000]) {
          using moved = x.permute(shift);
          using wanted = a.permute(shift);
          assertEqual(moved, wanted, `permute by ${shift}`);
          assert.equal(moved.unpermute(shift, { out: moved }), moved);
          assertEqual(moved, a, `unpermute by ${shift}`);
        }
      }
    }
  });
});

cudaTest("bundles are those of the CPU, with every tie, threshold and weight", () => {
  const ties: readonly Tie[] = ["zero", "positive", "random", "first"];
  assertNothingLeft(() => {
    for (const dim of [1, 33, 513, 1000]) {
      for (
        const [size, groups] of [[1, 5], [2, 9], [3, 37], [16, 20], [31, 3], [32, 3], [100, 2], [
          1100,
          1,
        ], [5000, 1]] as const
      ) {
        const { cpu, gpu } = both(size * groups, dim, size);
        using _cpu = cpu;
        using _gpu = gpu;
        const weights = Float32Array.from({ length: size }, (_, i) => Math.sin(i + 1));
        const options = [
          ...ties.map((tie) => ({ tie, seed: 7 })),
          { threshold: 1 },
          { threshold: 3 * size },
          ...(size <= 100 ? [{ weights }, { weights, tie: "first" as const }] : []),
        ];
        for (const option of options) {
          using bundle = gpu.bundleGroups(size, option);
          using wanted = cpu.bundleGroups(size, option);
          assertEqual(bundle, wanted, `${groups} of ${size} x ${dim} ${JSON.stringify(option)}`);
        }
      }
    }
  });
});

cudaTest("lists of single vectors are bundled and bound", () => {
  assertNothingLeft(() => {
    const cpu = [1, 2, 3, 4, 5].map((seed) => Hypervector.random(1000, seed));
    const gpu = cpu.map((vector) => vector.to(device));
    using bundle = Hypervector.bundle(gpu, { tie: "random", seed: 5 });
    using wanted = Hypervector.bundle(cpu, { tie: "random", seed: 5 });
    assertEqual(bundle, wanted, "bundle");
    assert.equal(Hypervector.bindMany(gpu, { out: gpu[2] }), gpu[2]);
    Hypervector.bindMany(cpu, { out: cpu[2] });
    assertEqual(gpu[2]!, cpu[2]!, "bindMany");
    using batch = HypervectorBatch.of(gpu, { device });
    using wantedBatch = HypervectorBatch.of(cpu);
    assertEqual(batch, wantedBatch, "of");
    for (const vector of [...cpu, ...gpu]) vector[Symbol.dispose]();
  });
});

cudaTest("similarities are those of the CPU to the last bit", () => {
  assertNothingLeft(() => {
    for (const dim of DIMS) {
      const { cpu, gpu } = both(9, dim, 5);
      using _cpu = cpu;
      using _gpu = gpu;
      using zeroHere = new Hypervector(dim);
      cpu.set(2, zeroHere);
      using zero = new Hypervector(dim, { device });
      gpu.set(2, zero);
      const other = both(9, dim, 6);
      using _otherCpu = other.cpu;
      using _otherGpu = other.gpu;
      using one = cpu.get(3);
      using oneThere = gpu.get(3);
      for (const metric of METRICS) {
        assertSame(gpu.similarity(other.gpu, { metric }), cpu.similarity(other.cpu, { metric }));
        assertSame(gpu.similarity(oneThere, { metric }), cpu.similarity(one, { metric }));
        const [there, here] = [
          gpu.similarityMatrix(other.gpu, { metric }),
          cpu.similarityMatrix(other.cpu, { metric }),
        ];
        assertSame(there, here, `${metric} ${dim}`);
        assert.equal(
          zero.similarity(oneThere, { metric }),
          zeroHere.similarity(one, { metric }),
        );
      }
      assert.equal(oneThere.dot(oneThere), one.dot(one));
    }
  });
});

cudaTest("the best rows are those of the CPU, ties included", () => {
  assertNothingLeft(() => {
    for (
      const [dim, count, queries] of [[3, 50, 1], [3, 300, 9], [33, 200, 1], [513, 129, 130], [
        1000,
        5000,
        1,
      ], [2048, 700, 131]] as const
    ) {
      const { cpu, gpu } = both(count, dim, 8);
      const asked = both(queries, dim, 9);
      using _cpu = cpu;
      using _gpu = gpu;
      using _askedCpu = asked.cpu;
      using _askedGpu = asked.gpu;
      for (const metric of METRICS) {
        for (const k of [1, 7, 32, 33, 50]) {
          for (const rows of [undefined, 50]) {
            const there = gpu.topK(asked.gpu, k, { metric, rows });
            const here = cpu.topK(asked.cpu, k, { metric, rows });
            assertSame(there.indices, here.indices, `${metric} ${dim} x ${count}, ${k} of ${rows}`);
            assertSame(there.scores, here.scores, `${metric} ${dim} x ${count}, ${k} of ${rows}`);
          }
        }
      }
    }
  });
});

cudaTest("an item memory lives on the device", () => {
  assertNothingLeft(() => {
    using memory = new ItemMemory(1000, { device, metric: "hamming" });
    using wanted = new ItemMemory(1000, { metric: "hamming" });
    for (let item = 0; item < 100; item++) {
      memory.addRandom(`item ${item}`);
      wanted.addRandom(`item ${item}`);
    }
    for (const one of [memory, wanted]) one.remove("item 5");
    using noise = Hypervector.random(1000, 1, { distribution: { zeros: 0.9 } });
    using query = wanted.get("item 7");
    using noisy = query.bind(noise);
    using there = noisy.to(device);
    assert.equal(memory.cleanup(there)?.name, "item 7");
    assert.deepEqual(memory.topK(there, 40), wanted.topK(noisy, 40));
    assertSame(memory.save(), wanted.save());
    using loaded = ItemMemory.load(wanted.save(), { device });
    assert.equal(loaded.cleanup(there)?.name, "item 7");
    assertThrowsCode(() => memory.cleanup(noisy), "invalid_value", /cuda:0/);
  });
});

cudaTest("what is elsewhere, or has no kernels, is refused", () => {
  assertNothingLeft(() => {
    const { cpu, gpu } = both(4, 100, 1);
    using _cpu = cpu;
    using _gpu = gpu;
    using out = new HypervectorBatch(4, 100);
    using single = new HypervectorBatch(1, 100);
    using here = cpu.get(0);
    using there = gpu.get(0);
    using bundler = new Bundler(100);
    assertThrowsCode(() => gpu.bind(cpu), "invalid_value", /other must be on cuda:0/);
    assertThrowsCode(() => cpu.bind(gpu), "invalid_value", /other must be on cpu/);
    assertThrowsCode(() => gpu.bind(gpu, { out }), "invalid_value", /out must be on cuda:0/);
    assertThrowsCode(
      () => gpu.bundleGroups(4, { out: single }),
      "invalid_value",
    );
    assertThrowsCode(() => gpu.equals(cpu), "invalid_value");
    assertThrowsCode(() => gpu.similarity(cpu), "invalid_value");
    assertThrowsCode(() => gpu.topK(cpu, 1), "invalid_value");
    assertThrowsCode(() => gpu.set(0, cpu), "invalid_value");
    assertThrowsCode(
      () => Hypervector.bundle([here, there]),
      "invalid_value",
      /vectors\[1\]/,
    );
    assertThrowsCode(() => gpu.thin({ keep: 0.5 }), "unsupported");
    assertThrowsCode(() => gpu.slice(1, 3), "unsupported");
    assertThrowsCode(() => bundler.add(gpu), "unsupported");
    assertThrowsCode(() => new Bundler(100, { device }), "unsupported");
    assertThrowsCode(
      () => HypervectorBatch.from(Int8Array.of(2), [1, 1], { device }),
      "invalid_value",
    );
    const gone = gpu.copy();
    gone[Symbol.dispose]();
    assertThrowsCode(() => gone.bind(gpu), "disposed");
    assertThrowsCode(() => gone.to("cpu"), "disposed");
  });
});

cudaTest("VsaOps makes vectors on its device", () => {
  assertNothingLeft(() => {
    const ops = new VsaOps({ device: "gpu" });
    assert.match(ops.device, /^cuda/);
    using a = ops.random(1000, 1);
    using b = ops.random(1000, 2);
    using bound = ops.bind(a, b);
    using found = ops.unbind(bound, a);
    assert.equal(ops.cosineSimilarity(found, b), 1);
  });
});

cudaTest("functions of arrays give what they give on the CPU", () => {
  assertNothingLeft(() => {
    for (const dim of [1, 33, 1000]) {
      const [a, b] = [1, 2].map((seed) => vsaRandom(dim, seed, { device })) as [
        Int8Array,
        Int8Array,
      ];
      assertSame(a, vsaRandom(dim, 1, { device: "cpu" }));
      for (const mode of ["add", "multiply", "subtract"] as const) {
        const bound = vsaBind(a, b, { mode, device });
        assertSame(bound, vsaBind(a, b, { mode, device: "cpu" }));
        assertSame(
          vsaUnbind(bound, a, { mode, device }),
          vsaUnbind(bound, a, { mode, device: "cpu" }),
        );
      }
      for (const options of [{}, { weights: [1, 2.5, 1] }, { tie: "random", seed: 3 }] as const) {
        const vectors = [a, b, vsaRandom(dim, 3, { device })];
        assertSame(
          vsaBundle(vectors, { ...options, device }),
          vsaBundle(vectors, { ...options, device: "cpu" }),
        );
      }
      for (const metric of ["cosine", "dot", "hamming"] as const) {
        const [there, here] = [device, "cpu"].map((device) =>
          vsaSimilarity(a, b, { metric, device: device as "cpu" })
        );
        assert.equal(there, here, metric);
      }
    }
    assertThrowsCode(() => vsaBind(Int8Array.of(2), Int8Array.of(1), { device }), "invalid_value");
    assertThrowsCode(
      () => vsaBind(Int8Array.of(1), Int8Array.of(1, 0), { device }),
      "invalid_length",
    );
  });
});
