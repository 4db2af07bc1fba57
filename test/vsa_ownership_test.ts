// What refused calls leave behind, and what only looks like a vector.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  AssociativeMemory,
  Bundler,
  CategoricalEncoder,
  CentroidClassifier,
  encodeNgrams,
  encodeSet,
  FiniteStateAutomaton,
  Graph,
  HashTable,
  Hypervector,
  HypervectorBatch,
  info,
  ItemMemory,
  LevelEncoder,
  Multiset,
  NgramEncoder,
  Permutation,
  ProjectionEncoder,
  Resonator,
  Sequence,
  SparseHypervector,
  TritterError,
} from "../mod.ts";
import { container } from "./containers.ts";
import { assertThrowsCode, wrong } from "./support.ts";

const DIM = 100;

/** The call throws an error of this library, and as many native objects live as before. */
function assertLeavesNothing(name: string, call: () => unknown): void {
  const before = info().handles;
  assert.throws(call, (error: unknown) => {
    assert.ok(error instanceof TritterError, `${name}: ${error}`);
    return true;
  }, name);
  assert.equal(info().handles, before, name);
}

const gone = (): Hypervector => {
  const vector = Hypervector.random(DIM, 1);
  vector[Symbol.dispose]();
  return vector;
};
const goneBatch = (): HypervectorBatch => {
  const batch = HypervectorBatch.random(4, DIM, 1);
  batch[Symbol.dispose]();
  return batch;
};

describe("refused calls leave no native memory behind", () => {
  const a = Hypervector.random(DIM, 1);
  const b = Hypervector.random(DIM, 2);
  const batch = HypervectorBatch.random(4, DIM, 3);
  const bad = wrong("none");

  it("those of constructors and factories", () => {
    const mode = bad;
    const calls: Record<string, () => unknown> = {
      HashTable: () => new HashTable(DIM, { mode }),
      Graph: () => new Graph(DIM, { mode }),
      AssociativeMemory: () => new AssociativeMemory(DIM, { mode }),
      FiniteStateAutomaton: () => new FiniteStateAutomaton(DIM, { mode }),
      "HashTable.from": () => HashTable.from(a, batch),
      "AssociativeMemory.from": () => AssociativeMemory.from(a, bad),
      "Multiset.from": () => Multiset.from(gone()),
      "Sequence.from": () => Sequence.from(goneBatch()),
      "Hypervector.from": () => Hypervector.from(Int8Array.of(0, 2)),
      "Hypervector.from, floats": () => Hypervector.from(Float32Array.of(0, 2)),
      "HypervectorBatch.from": () => HypervectorBatch.from(Float32Array.of(0, NaN), [1, 2]),
      "HypervectorBatch.of": () => HypervectorBatch.of([a, gone()]),
      "HypervectorBatch.concat": () => HypervectorBatch.concat([batch, goneBatch()]),
      "Hypervector.concat": () => Hypervector.concat([a, gone()]),
      "SparseHypervector.from": () => SparseHypervector.from(Int8Array.of(0, 3)),
      LevelEncoder: () => new LevelEncoder(DIM, { seed: -1 }),
      CategoricalEncoder: () => new CategoricalEncoder(DIM, ["a"], { seed: 0.5 }),
    };
    for (const [name, call] of Object.entries(calls)) {
      assertLeavesNothing(name, call);
    }
  });

  it("those of bundles and bindings", () => {
    const calls: Record<string, () => unknown> = {
      "bundle, tie": () => Hypervector.bundle([a, b], { tie: bad }),
      "bundle, weights": () => Hypervector.bundle([a, b], { weights: [1] }),
      "bundle, disposed": () => Hypervector.bundle([a, gone()]),
      "bundle, batch in the list": () => Hypervector.bundle([a, wrong(batch)]),
      "bindMany, mode": () => Hypervector.bindMany([a, b], { mode: bad }),
      "bindMany, disposed": () => Hypervector.bindMany([a, gone()]),
      "batch.bundle, tie": () => batch.bundle({ tie: bad }),
      "batch.bundle, weights": () => batch.bundle({ weights: [1, 2, NaN, 4] }),
      "batch.bundle, disposed": () => goneBatch().bundle(),
      "batch.bundleGroups, seed": () => batch.bundleGroups(2, { tie: "random", seed: -1 }),
      "batch.bundleGroups, weights": () => batch.bundleGroups(2, { weights: [1, 2, 3] }),
      "batch.bindMany, mode": () => batch.bindMany({ mode: bad }),
      "batch.bindGroups, mode": () => batch.bindGroups(2, { mode: bad }),
      "batch.bindGroups, size": () => batch.bindGroups(3),
      encodeSet: () => encodeSet([a, b], { tie: bad }),
      encodeNgrams: () => encodeNgrams(batch, 2, { weights: [1] }),
    };
    for (const [name, call] of Object.entries(calls)) assertLeavesNothing(name, call);
  });

  it("those of what has been disposed", () => {
    const order = Permutation.random(DIM, 1);
    const calls: Record<string, (vector: Hypervector) => unknown> = {
      bind: (vector) => vector.bind(a),
      "bind with": (vector) => a.bind(vector),
      negate: (vector) => vector.negate(),
      copy: (vector) => vector.copy(),
      permute: (vector) => vector.permute(1),
      "permute by an order": (vector) => vector.permute(order),
      thin: (vector) => vector.thin({ keep: 0.5 }),
      slice: (vector) => vector.slice(1, 2),
      graph: (vector) => new Graph(DIM, { directed: true }).addEdge(vector, a),
    };
    for (const [name, call] of Object.entries(calls)) {
      if (name !== "graph") assertLeavesNothing(name, () => call(gone()));
    }
    using graph = new Graph(DIM, { directed: true });
    using automaton = new FiniteStateAutomaton(DIM);
    assertLeavesNothing("addEdge", () => graph.addEdge(gone(), a));
    assertLeavesNothing("addTransition", () => automaton.addTransition(a, gone(), b));
    assertLeavesNothing("get", () => goneBatch().get(1));
    using bundler = new Bundler(DIM);
    assertLeavesNothing("result", () => bundler.result({ tie: wrong("first") }));
    bundler[Symbol.dispose]();
    assertLeavesNothing("result", () => bundler.result());
  });

  it("those of encoders", () => {
    using ngrams = new NgramEncoder(DIM);
    assertLeavesNothing("NgramEncoder tie", () => ngrams.encode("text", { tie: bad }));
    assertLeavesNothing("NgramEncoder text", () => ngrams.encode(wrong(5)));
    assertLeavesNothing("NgramEncoder texts", () => ngrams.encodeAll(["a", wrong(5)]));
    ngrams[Symbol.dispose]();
    assertLeavesNothing("NgramEncoder gone", () => ngrams.encode("text"));
    using levels = new LevelEncoder(DIM);
    levels[Symbol.dispose]();
    assertLeavesNothing("LevelEncoder gone", () => levels.encode(0.5));
    assertLeavesNothing("LevelEncoder gone", () => levels.encodeAll([0.5]));
    using projection = new ProjectionEncoder(DIM, 2);
    const overflow = Float32Array.of(3e38, 3e38);
    projection[Symbol.dispose]();
    assertLeavesNothing("ProjectionEncoder gone", () => projection.encode(overflow));
  });

  it("those of resonators and classifiers", () => {
    const bipolar = (seed: number) =>
      HypervectorBatch.random(3, DIM, seed, { distribution: "bipolar" });
    const [x, y] = [bipolar(1), bipolar(2)];
    const resonator = new Resonator([x, y]);
    y[Symbol.dispose]();
    assertLeavesNothing("Resonator", () => resonator.factorize(a));
    using classifier = new CentroidClassifier(DIM);
    assertLeavesNothing("fit", () => classifier.fit(gone(), ["a"]));
    // With one class, and then for one more.
    classifier.fit(a, ["a"]);
    classifier[Symbol.dispose]();
    assertLeavesNothing("partialFit", () => classifier.partialFit(b, ["b"]));
    assertLeavesNothing("fit", () => classifier.fit(b, ["b"]));
  });
});

describe("lists that are read while they change", () => {
  it("bundle and bind what they held when it was asked", () => {
    const [a, b, c] = [1, 2, 3].map((seed) => Hypervector.random(DIM, seed)) as [
      Hypervector,
      Hypervector,
      Hypervector,
    ];
    const others = Array.from({ length: 200 }, (_, seed) => Hypervector.random(DIM, seed + 10));
    const tricky = () => {
      const list = [a, b, c];
      Object.defineProperty(list, 1, {
        get: () => {
          // More handles than fit, so that what is shared is replaced as well.
          Hypervector.bundle(others)[Symbol.dispose]();
          return b;
        },
      });
      return list;
    };
    assert.ok(Hypervector.bundle(tricky()).equals(Hypervector.bundle([a, b, c])));
    assert.ok(Hypervector.bindMany(tricky()).equals(Hypervector.bindMany([a, b, c])));
    let reads = 0;
    const changing = [a, b];
    Object.defineProperty(changing, 1, { get: () => reads++ === 0 ? b : wrong(batchOfTwo) });
    const batchOfTwo = HypervectorBatch.random(2, DIM, 1);
    assert.equal(HypervectorBatch.of(changing).count, 2);
  });
});

describe("what only looks like a vector", () => {
  const a = Hypervector.random(DIM, 1);
  const fakes = () => [
    Object.create(Hypervector.prototype),
    Object.assign(Object.create(Hypervector.prototype), { dim: DIM, count: 1 }),
    Object.assign(Object.create(HypervectorBatch.prototype), { dim: DIM, count: 1 }),
    new Proxy(a, {}),
  ];

  it("is refused as a value of the wrong type", () => {
    using batch = HypervectorBatch.random(2, DIM, 1);
    using classifier = new CentroidClassifier(DIM);
    for (const fake of fakes().map(wrong)) {
      for (
        const call of [
          () => a.dot(fake),
          () => a.equals(fake),
          () => a.bind(fake),
          () => a.copy({ out: fake }),
          () => batch.set(0, fake),
          () => batch.topK(fake, 1),
          () => Hypervector.bundle([a, fake]),
          () => Hypervector.concat([a, fake]),
          () => Multiset.from(fake),
          () => classifier.fit(fake, ["a"]),
          () => SparseHypervector.fromIndices([1], [2], DIM).dot(fake),
        ]
      ) assertThrowsCode(call, "invalid_type");
    }
  });

  it("holds for sparse vectors and permutations", () => {
    const sparse = SparseHypervector.fromIndices([1], [2], DIM);
    const fake = wrong(Object.create(SparseHypervector.prototype, { dim: { value: DIM } }));
    for (
      const call of [() => sparse.dot(fake), () => sparse.bind(fake), () => sparse.equals(fake)]
    ) {
      assertThrowsCode(call, "invalid_type", /must be a SparseHypervector/);
    }
    const order = wrong(Object.create(Permutation.prototype, { dim: { value: DIM } }));
    assertThrowsCode(() => a.permute(order), "invalid_type");
  });

  it("is told apart from what does not fit", () => {
    using batch = HypervectorBatch.random(3, DIM, 1);
    for (const metric of ["dot", "cosine", "hamming"] as const) {
      assertThrowsCode(() => a[metric](wrong(batch)), "invalid_shape", /^other must be a single/);
    }
    assertThrowsCode(() => batch.set(1, batch), "invalid_value", /^row must be at most 0, for 3/);
    using two = HypervectorBatch.random(2, DIM, 1);
    assertThrowsCode(() => two.set(0, batch), "invalid_shape", /^vectors must be at most 2/);
    assertThrowsCode(() => Hypervector.bundle([a, wrong(batch)]), "invalid_shape", /vectors\[1\]/);
    assertThrowsCode(() => HypervectorBatch.of([wrong(batch)]), "invalid_shape", /vectors\[0\]/);
    assertThrowsCode(() => Hypervector.from(wrong([1])), "invalid_type", /an Int8Array, got/);
  });
});

describe("sizes that only a header or a caller claims", () => {
  it("cost nothing where there is nothing to hold", () => {
    const before = info().allocatedBytes;
    const dim = 2 ** 31;
    const header = { kind: "ItemMemory", dim, metric: "cosine", names: [] };
    using memory = ItemMemory.load(container(header, new Uint8Array(0)));
    assert.deepEqual([memory.size, memory.capacity, memory.memoryBytes], [0, 0, 0]);
    const labels = { kind: "CentroidClassifier", dim, labels: [] };
    using classifier = CentroidClassifier.load(container(labels, new Uint8Array(0)));
    assert.deepEqual([classifier.dim, classifier.labels.length], [dim, 0]);
    assert.equal(classifier.memoryBytes, 0);
    assert.equal(info().allocatedBytes, before);
  });

  it("do not keep what is empty from being used", () => {
    using memory = ItemMemory.load(new ItemMemory(DIM).save());
    using query = Hypervector.random(DIM, 1);
    assert.equal(memory.cleanup(query), undefined);
    memory.add("a", query);
    assert.equal(memory.cleanup(query)?.name, "a");
    using classifier = CentroidClassifier.load(new CentroidClassifier(DIM).save());
    assertThrowsCode(() => classifier.predict(query), "invalid_value", /learnt something/);
    assert.equal(classifier.partialFit(query, ["a"]), 0);
    assert.equal(classifier.predict(query), "a");
  });

  it("of lists of places are believed only as they are read", () => {
    const claims = wrong({ length: 2 ** 31, 0: 0 });
    assertThrowsCode(
      () => SparseHypervector.fromIndices(claims, [], 2 ** 31),
      "invalid_value",
      /positive\[1\]/,
    );
    const many = Array.from({ length: 5000 }, (_, place) => 2 * place);
    assert.equal(SparseHypervector.fromIndices(many, [], 10_000).counts().positive, 5000);
  });

  it("of item memories end at 2^24 items", () => {
    const most = 2 ** 24;
    assertThrowsCode(() => new ItemMemory(1, { capacity: most + 1 }), "invalid_value", /capacity/);
    using memory = new ItemMemory(1);
    using batch = new HypervectorBatch(most + 1, 1);
    const names = new Array(most + 1).fill("a");
    assertThrowsCode(() => memory.addAll(names, batch), "invalid_length", /at most 16777216/);
    assert.equal(memory.size, 0);
  });
});

describe("what is no TritterError in the making", () => {
  it("is checked first", () => {
    using classifier = new CentroidClassifier(DIM);
    using sample = Hypervector.random(DIM, 1);
    const onEpoch = wrong(5);
    assertThrowsCode(
      () => classifier.fit(sample, ["a"], { rule: "online", onEpoch }),
      "invalid_type",
      /onEpoch must be a function/,
    );
    assert.deepEqual(classifier.labels, []);
  });
});

describe("AssociativeMemory.from", () => {
  it("recalls from the memory that it is given", () => {
    using keys = HypervectorBatch.random(3, 1000, 1, { distribution: "bipolar" });
    using values = HypervectorBatch.random(3, 1000, 2, { distribution: "bipolar" });
    using memory = new ItemMemory(1000);
    memory.addAll(["a", "b", "c"], values);
    using table = AssociativeMemory.from(keys, values, { memory, mode: "multiply" });
    assert.ok(table instanceof AssociativeMemory);
    assert.deepEqual(table.recall(keys).map((match) => match?.name), ["a", "b", "c"]);
    using plain = HashTable.from(keys, values);
    assert.ok(plain.toHypervector().equals(table.toHypervector()));
  });
});
