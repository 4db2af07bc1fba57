import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { describe, it } from "node:test";
import {
  CategoricalEncoder,
  CentroidClassifier,
  Hypervector,
  HypervectorBatch,
  type LearningRule,
  LevelEncoder,
  NgramEncoder,
  Permutation,
} from "../mod.ts";
import { assertGuarded, container } from "./containers.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  randomTrits,
  seeded,
  wrong,
} from "./support.ts";
import { DIMS } from "./vsa_reference.ts";

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [dot, inA, inB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    inA += a[i]! * a[i]!;
    inB += b[i]! * b[i]!;
  }
  return inA * inB === 0 ? 0 : dot / Math.sqrt(inA * inB);
}

/** A classifier in plain numbers, with every update rounded as in float32. */
class Reference {
  readonly centroids: Float32Array[];

  constructor(classes: number, dim: number) {
    this.centroids = Array.from({ length: classes }, () => new Float32Array(dim));
  }

  scores(sample: ArrayLike<number>): number[] {
    return this.centroids.map((centroid) => cosine(centroid, sample));
  }

  predict(scores: number[]): number {
    return this.centroids.reduce(
      (best, centroid, index) =>
        centroid.some((value) => value !== 0) && (best < 0 || scores[index]! > scores[best]!)
          ? index
          : best,
      -1,
    );
  }

  add(index: number, sample: ArrayLike<number>, weight: number): void {
    const rounded = Math.fround(weight);
    const values = this.centroids[index]!;
    for (let i = 0; i < values.length; i++) values[i]! += rounded * sample[i]!;
  }

  learn(sample: ArrayLike<number>, label: number, rule: LearningRule, rate: number, first = true) {
    if (rule === "centroid") {
      this.add(label, sample, rate);
      return 0;
    }
    const scores = this.scores(sample);
    const predicted = this.predict(scores);
    const weight = (index: number) => rule === "perceptron" ? rate : rate * (1 - scores[index]!);
    const isWrong = predicted !== label;
    if (isWrong || (rule === "online" && first)) this.add(label, sample, weight(label));
    if (isWrong && predicted >= 0) this.add(predicted, sample, -weight(predicted));
    return isWrong ? 1 : 0;
  }
}

/** Samples of classes: a random prototype each, of whose trits a share is drawn anew. */
function noisyPrototypes(dim: number, classes: number, each: number, noise: number, seed: number) {
  const random = seeded(seed);
  const draw = () => random() < 0.5 ? -1 : 1;
  const prototypes = Array.from({ length: classes }, () => Int8Array.from({ length: dim }, draw));
  const labels = Array.from({ length: classes * each }, (_, row) => `class ${row % classes}`);
  const trits = new Int8Array(labels.length * dim);
  labels.forEach((_, row) =>
    trits.set(
      prototypes[row % classes]!.map((trit) => random() < noise ? draw() : trit),
      row * dim,
    )
  );
  return { labels, trits, samples: HypervectorBatch.from(trits, [labels.length, dim]) };
}

describe("learning", () => {
  it("adds samples to their classes, and scores by cosine", () => {
    for (const dim of DIMS) {
      const rows = dim > 100_000 ? 4 : 7;
      const trits = randomTrits(rows * dim, dim);
      const counts = new Int32Array(trits.length).map((_, index) =>
        trits[index]! * (1 + index % 5)
      );
      const row = (values: Int8Array | Int32Array, index: number) =>
        values.subarray(index * dim, (index + 1) * dim);
      const labels = Array.from({ length: rows }, (_, index) => "abc"[index % 3]!);
      const reference = new Reference(3, dim);
      labels.forEach((_, index) => reference.learn(row(trits, index), index % 3, "centroid", 1));
      // Sums of small integers are exact; only the square root and the division round.
      const [expected, counted] = [trits, counts].map((values) =>
        labels.flatMap((_, index) => reference.scores(row(values, index)))
      ) as [number[], number[]];
      onEveryTier((label) => {
        using samples = HypervectorBatch.from(trits, [rows, dim]);
        using classifier = new CentroidClassifier(dim);
        classifier.fit(samples, labels);
        assert.deepEqual(classifier.labels, ["a", "b", "c"]);
        for (let index = 0; index < 3; index++) {
          assertSame(classifier.centroid("abc"[index]!), reference.centroids[index]!, label);
        }
        assertNear(classifier.scores(samples), expected, 1e-15, `${label}, ${dim}`);
        assertNear(classifier.scores(counts), counted, 1e-15, `${label}, ${dim}`);
        const out = new Float64Array(rows * 3);
        assert.equal(classifier.scores(samples, { out }), out);
      });
    }
  });

  it("follows the rules sample by sample", () => {
    const classes = 4;
    for (const dim of DIMS) {
      const each = dim > 100_000 ? 1 : dim > 10_000 ? 5 : 20;
      const { labels, trits, samples } = noisyPrototypes(dim, classes, each, 0.9, 3);
      for (const rule of ["centroid", "perceptron", "online"] as const) {
        // In few dimensions classes are often equally near, by sums that must be exact to tell.
        for (const learningRate of dim > 10_000 ? [0.3] : dim > 100 ? [1, 0.3] : [1, 0.5]) {
          const reference = new Reference(classes, dim);
          const expected = labels.reduce((errors, _, row) => {
            const values = trits.subarray(row * dim, (row + 1) * dim);
            return errors + reference.learn(values, row % classes, rule, learningRate);
          }, 0);
          onEveryTier((label) => {
            const text = `${label}, ${dim}, ${rule}, ${learningRate}`;
            using classifier = new CentroidClassifier(dim);
            let errors = 0;
            labels.forEach((name, row) => {
              using sample = samples.get(row);
              errors += classifier.partialFit(sample, [name], { rule, learningRate });
            });
            assert.equal(errors, expected, text);
            assert.ok(rule === "centroid" ? errors === 0 : errors > 0, text);
            classifier.labels.forEach((name, index) => {
              // 40 updates of up to 1, whose weights and sums round by 2^-24 of about 20 each.
              const tolerance = rule === "online" ? 40 * 20 * 2 ** -23 : 0;
              assertNear(classifier.centroid(name), reference.centroids[index]!, tolerance, text);
            });
          });
        }
      }
      samples[Symbol.dispose]();
    }
  });

  it("fit is a first pass and then passes in the order of a permutation", () => {
    const classes = 3;
    for (const dim of [300, 1000, 10_000, 65_537]) {
      const each = dim > 10_000 ? 6 : 30;
      const { labels, trits, samples } = noisyPrototypes(dim, classes, each, 0.9, 5);
      for (const rule of ["perceptron", "online"] as const) {
        const reference = new Reference(classes, dim);
        const row = (index: number) => trits.subarray(index * dim, (index + 1) * dim);
        const first = rule === "perceptron" ? "centroid" : rule;
        labels.forEach((_, index) => reference.learn(row(index), index % classes, first, 1));
        const expected: number[] = [];
        for (let epoch = 0; epoch < 3; epoch++) {
          const places = Permutation.random(labels.length, 40 + epoch).inverse().toUint32Array();
          let errors = 0;
          for (const index of places) {
            errors += reference.learn(row(index), index % classes, rule, 1, false);
          }
          expected.push(errors);
          if (errors === 0) break;
        }
        onEveryTier((label) => {
          using classifier = new CentroidClassifier(dim);
          const errors: number[] = [];
          classifier.fit(samples, labels, {
            rule,
            epochs: 3,
            seed: 40,
            onEpoch: (epoch, count) => errors[epoch] = count,
          });
          assert.deepEqual(errors, expected, `${label}, ${dim}, ${rule}`);
          classifier.labels.forEach((name, index) => {
            // As above, with twice as many updates.
            const tolerance = rule === "online" ? 80 * 20 * 2 ** -23 : 0;
            const centroid = reference.centroids[index]!;
            assertNear(classifier.centroid(name), centroid, tolerance, `${label}, ${dim}, ${rule}`);
          });
        });
      }
      samples[Symbol.dispose]();
    }
  });

  it("is the same on every tier and with every number of threads", () => {
    const { labels, samples } = noisyPrototypes(10_000, 12, 5, 0.95, 6);
    using encoder = new NgramEncoder(10_000);
    const counts = encoder.counts(labels.map((label, row) => `${label} ${row} ${row * row}`));
    for (const rule of ["centroid", "perceptron", "online"] as const) {
      let first: Uint8Array | undefined;
      onEveryTier((label) => {
        using classifier = new CentroidClassifier(10_000);
        classifier.fit(samples, labels, { rule, learningRate: 0.7, epochs: 2 });
        classifier.partialFit(counts, labels, { rule, learningRate: 0.7 });
        const saved = classifier.save();
        const scores = new Uint8Array(classifier.scores(samples).buffer);
        const all = new Uint8Array([...saved, ...scores]);
        first ??= all;
        assert.equal(Buffer.compare(all, first), 0, `${label}, ${rule}`);
      });
    }
  });

  it("scales counts to the length of a vector without zeros", () => {
    using classifier = new CentroidClassifier(4);
    classifier.fit(Int32Array.of(3, 0, 0, -4, 0, 0, 0, 0), ["a", "none"]);
    assertSame(classifier.centroid("a"), Float32Array.of(1.2, 0, 0, -1.6));
    assertSame(classifier.centroid("none"), new Float32Array(4));
    assert.deepEqual(classifier.predict(Int32Array.of(-1, 0, 0, 1)), ["a"], "the only one learnt");
  });

  it("new classes may come at any time", () => {
    const { samples, labels } = noisyPrototypes(1000, 40, 1, 0, 8);
    using once = new CentroidClassifier(1000);
    once.fit(samples, labels);
    using bit = new CentroidClassifier(1000);
    labels.forEach((label, row) => bit.partialFit(samples.get(row), [label]));
    assert.deepEqual(bit.save(), once.save());
    assert.ok(bit.memoryBytes >= 40 * 1000 * 4);
  });
});

describe("accuracy", () => {
  it("noisy prototypes are told apart", () => {
    // Of 2000 trits 60 % are drawn anew, so a sample agrees with its prototype by 0.4: 17 standard
    // deviations of an unrelated one.
    const { samples, labels, trits } = noisyPrototypes(2000, 10, 20, 0.6, 1);
    for (const rule of ["centroid", "perceptron", "online"] as const) {
      using classifier = new CentroidClassifier(2000);
      using train = HypervectorBatch.from(trits.slice(0, 100 * 2000), [100, 2000]);
      using test = HypervectorBatch.from(trits.slice(100 * 2000), [100, 2000]);
      classifier.fit(train, labels.slice(0, 100), { rule });
      const { accuracy, confusion } = classifier.evaluate(test, labels.slice(100));
      assert.equal(accuracy, 1);
      const diagonal = Array.from(confusion, (_, at) => at % 11 === 0 ? 10 : 0);
      assertSame(confusion, diagonal);
    }
    samples[Symbol.dispose]();
  });

  it("flowers by four measures, as records of levels", () => {
    const random = seeded(2);
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    // Means and spreads of the iris data (Fisher 1936): the first species stands apart.
    const species = {
      setosa: [[5.01, 0.35], [3.43, 0.38], [1.46, 0.17], [0.25, 0.11]],
      versicolor: [[5.94, 0.52], [2.77, 0.31], [4.26, 0.47], [1.33, 0.2]],
      virginica: [[6.59, 0.64], [2.97, 0.32], [5.55, 0.55], [2.03, 0.27]],
    } as const;
    const dim = 4096;
    using keys = new CategoricalEncoder(dim, ["0", "1", "2", "3"], { seed: 1 });
    using levels = new LevelEncoder(dim, { min: 0, max: 8, levels: 161, seed: 2 });
    const draw = (each: number) => {
      const names = Object.keys(species).flatMap((name) => Array(each).fill(name) as string[]);
      const vectors = names.map((name) =>
        Hypervector.bundle(
          species[name as keyof typeof species].map(([mean, spread], feature) =>
            levels.encode(mean + spread * normal()).bind(keys.encode(String(feature)), {
              mode: "multiply",
            })
          ),
        )
      );
      return { names, vectors: HypervectorBatch.of(vectors) };
    };
    const [train, test] = [draw(50), draw(100)];
    using classifier = new CentroidClassifier(dim);
    const plain = classifier.fit(train.vectors, train.names).evaluate(test.vectors, test.names);
    const online = classifier.fit(train.vectors, train.names, { rule: "online", epochs: 20 })
      .evaluate(test.vectors, test.names);
    // The best there is on such normal distributions is about 0.97.
    assert.ok(plain.accuracy > 0.85, `${plain.accuracy}`);
    assert.ok(online.accuracy > 0.93, `${online.accuracy}`);
    assert.ok(online.confusion[0] === 100, "the first species is always recognised");
  });
});

describe("save and load", () => {
  const { samples, labels } = noisyPrototypes(200, 3, 4, 0.5, 4);
  const make = () => new CentroidClassifier(200).fit(samples, labels, { rule: "online" });

  it("gives the same classifier", () => {
    using classifier = make();
    using copy = CentroidClassifier.load(classifier.save());
    assert.deepEqual(copy.labels, classifier.labels);
    assertSame(copy.scores(samples), classifier.scores(samples));
    assert.deepEqual(copy.save(), classifier.save());
    copy.partialFit(samples, labels.map((label) => `${label} too`));
    assert.equal(copy.labels.length, 6);
    using empty = CentroidClassifier.load(new CentroidClassifier(5).save());
    assert.deepEqual(empty.labels, []);
  });

  it("is laid out as documented", () => {
    using classifier = new CentroidClassifier(2);
    classifier.fit(Hypervector.from(Int8Array.of(1, -1)), ["é"]);
    const header = { kind: "CentroidClassifier", dim: 2, labels: ["é"] };
    const payload = new Uint8Array(Float32Array.of(1, -1).buffer);
    assert.deepEqual(classifier.save(), container(header, payload));
  });

  it("refuses bytes that were damaged, cut off or made of something else", () => {
    using small = new CentroidClassifier(9);
    small.fit(HypervectorBatch.random(2, 9, 1), ["a", "b"]);
    assertGuarded(small.save(), (bytes) => CentroidClassifier.load(bytes));
    assertThrowsCode(() => CentroidClassifier.load(samples.save()), "invalid_format", /saved/);
    assertThrowsCode(() => CentroidClassifier.load(wrong("x")), "invalid_type");
  });

  it("refuses hostile contents although their checksum is right", () => {
    const payload = (...values: number[]) => new Uint8Array(Float32Array.of(...values).buffer);
    const load = (header: object, bytes: Uint8Array) => () =>
      CentroidClassifier.load(container({ kind: "CentroidClassifier", ...header }, bytes));
    const one = payload(1, 2);
    load({ dim: 2, labels: ["a"] }, one)()[Symbol.dispose]();
    load({ dim: 2, labels: ["a"] }, payload(2 ** 80, -(2 ** 80)))()[Symbol.dispose]();
    for (const value of [NaN, Infinity, -Infinity, 2 ** 81]) {
      const call = load({ dim: 2, labels: ["a"] }, payload(1, value));
      assertThrowsCode(call, "invalid_format", /at index 1/);
    }
    for (const dim of [0, -2, 1.5, "2", null, 2 ** 31 + 1, undefined]) {
      assertThrowsCode(load({ dim, labels: ["a"] }, one), "invalid_format", /dim/);
    }
    for (const labels of ["a", [1], [null], undefined, {}]) {
      assertThrowsCode(load({ dim: 2, labels }, one), "invalid_format", /labels/);
    }
    assertThrowsCode(load({ dim: 1, labels: ["a", "a"] }, one), "invalid_format", /twice/);
    assertThrowsCode(load({ dim: 3, labels: ["a"] }, one), "invalid_format", /payload/);
    assertThrowsCode(load({ dim: 2 ** 31, labels: ["a"] }, one), "invalid_format", /payload/);
    assertThrowsCode(load({ dim: 2, labels: [] }, one), "invalid_format", /payload/);
  });
});

describe("errors", () => {
  const samples = HypervectorBatch.random(4, 100, 1);
  const labels = ["a", "b", "a", "b"];
  const make = () => new CentroidClassifier(100).fit(samples, labels);

  it("refuses labels that do not fit, and forgets nothing", () => {
    using classifier = make();
    const before = classifier.save();
    const short = ["a", "b"];
    assertThrowsCode(() => classifier.fit(samples, short), "invalid_length", /labels must be as/);
    assertThrowsCode(() => classifier.partialFit(samples, short), "invalid_length");
    assertThrowsCode(() => classifier.evaluate(samples, short), "invalid_length");
    assertThrowsCode(() => classifier.fit(samples, wrong("abab")), "invalid_type", /list/);
    const numbers = wrong(["a", "b", 3, "a"]);
    assertThrowsCode(() => classifier.fit(samples, numbers), "invalid_type", /labels\[2\]/);
    const unknown = ["a", "b", "c", "a"];
    assertThrowsCode(() => classifier.evaluate(samples, unknown), "invalid_value", /labels\[2\]/);
    assert.throws(() =>
      classifier.fit(samples, labels.toReversed(), {
        rule: "perceptron",
        onEpoch: () => {
          throw new Error("stop");
        },
      })
    );
    assert.deepEqual(classifier.save(), before);
  });

  it("refuses samples and options that do not fit", () => {
    using classifier = make();
    const other = HypervectorBatch.random(4, 101, 1);
    assertThrowsCode(() => classifier.predict(other), "invalid_shape", /samples must have 100/);
    assertThrowsCode(() => classifier.predict(new Int32Array(150)), "invalid_length", /multiple/);
    assertThrowsCode(() => classifier.predict(new Int32Array(0)), "invalid_length");
    assertThrowsCode(() => classifier.predict(wrong(new Int8Array(100))), "invalid_type");
    assertThrowsCode(() => classifier.fit(samples, labels, { rule: wrong("x") }), "invalid_option");
    for (const learningRate of [NaN, -1, Infinity, 2 ** 21]) {
      assertThrowsCode(() => classifier.fit(samples, labels, { learningRate }), "invalid_value");
    }
    const epochs = -1;
    assertThrowsCode(() => classifier.fit(samples, labels, { epochs }), "invalid_value", /epochs/);
    const out = new Float64Array(7);
    assertThrowsCode(
      () => classifier.scores(samples, { out }),
      "invalid_length",
      /out must have 8/,
    );
    assertThrowsCode(() => classifier.centroid("c"), "invalid_value", /class/);
    assertThrowsCode(() => new CentroidClassifier(0), "invalid_value");
  });

  it("predicts nothing before it has learnt something, and nothing after disposal", () => {
    using empty = new CentroidClassifier(100);
    assertThrowsCode(() => empty.predict(samples), "invalid_value", /learnt/);
    assert.equal(empty.scores(samples).length, 0);
    const classifier = make();
    classifier[Symbol.dispose]();
    classifier[Symbol.dispose]();
    assertThrowsCode(() => classifier.predict(samples), "disposed");
    assertThrowsCode(() => classifier.fit(samples, labels), "disposed");
    assertThrowsCode(() => classifier.partialFit(samples, ["x", "y", "z", "u"]), "disposed");
  });

  it("stays finite with the largest weights", () => {
    using classifier = new CentroidClassifier(100);
    for (let pass = 0; pass < 50; pass++) {
      classifier.partialFit(samples, labels, { rule: "online", learningRate: 2 ** 20 });
    }
    assert.ok(classifier.scores(samples).every((score) => Math.abs(score) <= 1));
  });
});
