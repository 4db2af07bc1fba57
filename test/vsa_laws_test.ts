/** Algebraic laws of hypervectors, on every tier. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Bundler, Hypervector, HypervectorBatch, Permutation } from "../mod.ts";
import { onEveryTier, seeded } from "./support.ts";
import { METRICS, MODES, TIES } from "./vsa_reference.ts";

interface Drawn {
  dim: number;
  label: string;
  /** Unrelated vectors of thirds. */
  vectors: Hypervector[];
  /** A vector without zeros. */
  key: Hypervector;
  /** Some integer below a number. */
  integer: (limit: number) => number;
}

/** Checks a law on many vectors of many dimensions, on every tier. */
function law(name: string, check: (drawn: Drawn) => void): void {
  it(name, () => {
    const dims = [...Array.from({ length: 20 }, (_, at) => 1 + 97 * at), 64, 512, 10_000, 65_537];
    for (const dim of dims) {
      onEveryTier((tier) => {
        const random = seeded(dim);
        const vectors = [1, 2, 3, 4].map((seed) => Hypervector.random(dim, 10 * dim + seed));
        using key = Hypervector.random(dim, dim, { distribution: "bipolar" });
        const integer = (limit: number) => Math.floor(limit * random());
        check({ dim, label: `${tier}, ${dim}`, vectors, key, integer });
        for (const vector of vectors) vector[Symbol.dispose]();
      });
    }
  });
}

type Four = [Hypervector, Hypervector, Hypervector, Hypervector];

describe("binding", () => {
  law("commutes and associates, but for subtraction", ({ vectors, label }) => {
    const [a, b, c] = vectors as Four;
    for (const mode of ["add", "multiply"] as const) {
      assert.ok(a.bind(b, { mode }).equals(b.bind(a, { mode })), label);
      const left = a.bind(b, { mode }).bind(c, { mode });
      assert.ok(left.equals(a.bind(b.bind(c, { mode }), { mode })), label);
    }
    const difference = a.bind(b, { mode: "subtract" });
    assert.ok(difference.equals(b.bind(a, { mode: "subtract" }).negate()), "a - b = -(b - a)");
  });

  law("is undone", ({ vectors, key, dim, label }) => {
    const [a, b] = vectors as Four;
    for (const mode of ["add", "subtract"] as const) {
      assert.ok(a.bind(b, { mode }).unbind(b, { mode }).equals(a), label);
      assert.ok(a.unbind(b, { mode }).bind(b, { mode }).equals(a), label);
      assert.ok(a.bind(b, { mode }).bind(b.inverse({ mode }), { mode }).equals(a), label);
    }
    assert.ok(a.bind(b).unbind(a).equals(b), "either operand undoes the sum");
    const mode = "multiply";
    assert.ok(a.bind(key, { mode }).unbind(key, { mode }).equals(a), "its own inverse");
    assert.ok(key.inverse({ mode }).equals(key), label);
    // Unbinding a product by a key with zeros loses what they hid: cosine sqrt(2/3) on average.
    const lost = a.bind(b, { mode }).unbind(b, { mode }).cosine(a);
    if (dim > 1000) assert.ok(Math.abs(lost - Math.sqrt(2 / 3)) < 5 / Math.sqrt(dim), label);
  });

  law("is distributed over by negation", ({ vectors, label }) => {
    const [a, b] = vectors as Four;
    for (const mode of ["add", "subtract"] as const) {
      const negated = a.negate().bind(b.negate(), { mode });
      assert.ok(a.bind(b, { mode }).negate().equals(negated), label);
    }
    const product = a.bind(b, { mode: "multiply" }).negate();
    assert.ok(product.equals(a.negate().bind(b, { mode: "multiply" })), label);
    assert.ok(a.negate().negate().equals(a), label);
    assert.ok(a.bind(a).equals(a.negate()), "a + a = -a modulo 3");
    assert.equal(a.bind(a, { mode: "subtract" }).sparsity, 1, label);
  });

  law("with the same key keeps similarities", ({ vectors, key, label }) => {
    const [a, b, c] = vectors as Four;
    for (const metric of METRICS) {
      const bound = key.bind(a, { mode: "multiply" });
      const score = bound.similarity(key.bind(b, { mode: "multiply" }), { metric });
      assert.equal(score, a.similarity(b, { metric }), `${label}, ${metric}`);
    }
    // A sum modulo 3 moves every trit, and leaves only which of them are the same.
    assert.equal(a.bind(c).hamming(b.bind(c)), a.hamming(b), label);
  });
});

describe("permuting", () => {
  law("composes and is undone", ({ vectors: [a], dim, label, integer }) => {
    const [k, l] = [integer(3 * dim), -integer(3 * dim)];
    assert.ok(a!.permute(k).permute(-k).equals(a!), label);
    assert.ok(a!.permute(k).unpermute(k).equals(a!), label);
    assert.ok(a!.permute(k).permute(l).equals(a!.permute(k + l)), label);
    const [p, q] = [Permutation.random(dim, 1), Permutation.random(dim, 2)];
    assert.ok(a!.permute(p).permute(q).equals(a!.permute(p.compose(q))), label);
    assert.ok(a!.permute(p.inverse()).equals(a!.unpermute(p)), label);
  });

  law("distributes over binding, unbinding, bundling and negation", (drawn) => {
    const { vectors, dim, label, integer } = drawn;
    const [a, b] = vectors as Four;
    for (const shift of [integer(2 * dim), -integer(2 * dim), Permutation.random(dim, 3)]) {
      const moved = vectors.map((vector) => vector.permute(shift));
      const [x, y] = moved as Four;
      for (const mode of MODES) {
        const text = `${label}, ${mode}`;
        assert.ok(a.bind(b, { mode }).permute(shift).equals(x.bind(y, { mode })), text);
        assert.ok(a.unbind(b, { mode }).permute(shift).equals(x.unbind(y, { mode })), text);
        const bound = Hypervector.bindMany(vectors, { mode }).permute(shift);
        assert.ok(bound.equals(Hypervector.bindMany(moved, { mode })), text);
      }
      const weights = [0.5, -1, 2, 0.25];
      // Ties at random do not: they go by the place.
      const bundles = [...TIES.filter((tie) => tie !== "random").map((tie) => ({ tie })), {
        threshold: 1,
      }, { weights }];
      for (const options of bundles) {
        const whole = Hypervector.bundle(vectors, options).permute(shift);
        const text = `${label}, ${JSON.stringify(options)}`;
        assert.ok(whole.equals(Hypervector.bundle(moved, options)), text);
      }
      assert.ok(a.negate().permute(shift).equals(x.negate()), label);
      for (const metric of METRICS) {
        const score = x.similarity(y, { metric });
        assert.equal(score, a.similarity(b, { metric }), `${label}, ${metric}`);
      }
      moved.forEach((vector) => vector[Symbol.dispose]());
    }
  });
});

describe("bundling", () => {
  law("does not depend on the order", ({ vectors, label }) => {
    const back = [...vectors].reverse();
    for (const options of [{}, { tie: "positive" }, { tie: "random" }, { threshold: 1 }] as const) {
      const text = `${label}, ${JSON.stringify(options)}`;
      assert.ok(
        Hypervector.bundle(vectors, options).equals(Hypervector.bundle(back, options)),
        text,
      );
    }
  });

  law("of a vector and itself is that vector", ({ vectors: [a, b], label }) => {
    assert.ok(Hypervector.bundle([a!]).equals(a!), label);
    assert.ok(Hypervector.bundle([a!, a!, a!]).equals(a!), label);
    assert.equal(Hypervector.bundle([a!, a!.negate()]).sparsity, 1, label);
    assert.ok(Hypervector.bundle([a!, b!, b!.negate()]).equals(a!), label);
  });

  law("is distributed over by negation and by a key without zeros", ({ vectors, key, label }) => {
    for (const threshold of [0, 1, 2]) {
      const bundle = Hypervector.bundle(vectors, { threshold });
      const negated = vectors.map((vector) => vector.negate());
      assert.ok(Hypervector.bundle(negated, { threshold }).equals(bundle.negate()), label);
      const bound = vectors.map((vector) => vector.bind(key, { mode: "multiply" }));
      const whole = bundle.bind(key, { mode: "multiply" });
      assert.ok(Hypervector.bundle(bound, { threshold }).equals(whole), label);
    }
  });

  law("is that of rows, of equal weights and of counts", ({ vectors, dim, label }) => {
    using batch = HypervectorBatch.of(vectors);
    using bundler = new Bundler(dim);
    bundler.add(batch);
    for (const options of [{}, { threshold: 2 }, { tie: "random", seed: 3 }] as const) {
      const bundle = Hypervector.bundle(vectors, options);
      assert.ok(batch.bundle(options).equals(bundle), label);
      assert.ok(batch.bundleGroups(4, options).get(0).equals(bundle), label);
      assert.ok(bundler.result(options).equals(bundle), label);
    }
    const weighted = Hypervector.bundle(vectors, { weights: [3, 3, 3, 3] });
    assert.ok(weighted.equals(Hypervector.bundle(vectors)), label);
  });
});

describe("similarities", () => {
  law("are symmetric, and those of a vector with itself", ({ vectors, dim, label }) => {
    const [a, b, c] = vectors as Four;
    for (const metric of METRICS) {
      assert.equal(a.similarity(b, { metric }), b.similarity(a, { metric }), label);
    }
    const nonzero = dim - a.counts().zero;
    assert.deepEqual([a.dot(a), a.hamming(a)], [nonzero, 0], label);
    assert.equal(a.similarity(a, { metric: "overlap" }), nonzero, label);
    assert.equal(a.cosine(a), nonzero === 0 ? 0 : 1, label);
    assert.equal(a.dot(b.negate()), -a.dot(b) + 0, label);
    assert.ok(a.hamming(c) <= a.hamming(b) + b.hamming(c), "the triangle inequality");
    assert.ok(Math.abs(a.dot(b)) <= a.similarity(b, { metric: "overlap" }), label);
  });

  law("of parts add up", ({ vectors, dim, label, integer }) => {
    const [a, b] = vectors as Four;
    if (dim === 1) return;
    const cut = 1 + integer(dim - 1);
    const [left, right] = [[a, b].map((x) => x.slice(0, cut)), [a, b].map((x) => x.slice(cut))];
    for (const metric of ["dot", "hamming", "overlap"] as const) {
      const sum = left[0]!.similarity(left[1]!, { metric }) +
        right[0]!.similarity(right[1]!, { metric });
      assert.equal(sum, a.similarity(b, { metric }), `${label}, ${metric}`);
    }
    for (const mode of MODES) {
      const parts = [left, right].map(([x, y]) => x!.bind(y!, { mode }));
      assert.ok(Hypervector.concat(parts).equals(a.bind(b, { mode })), `${label}, ${mode}`);
    }
  });

  law("of a thinned vector are those of what is left", ({ vectors: [a], dim, label }) => {
    using thinned = a!.thin({ keep: 0.3, seed: dim });
    const left = dim - thinned.counts().zero;
    assert.deepEqual([thinned.dot(a!), thinned.dot(thinned)], [left, left], label);
    assert.equal(a!.hamming(thinned), thinned.counts().zero - a!.counts().zero, label);
    assert.ok(thinned.thin({ keep: 0.3, seed: dim }).equals(thinned), "the same are kept again");
  });
});
