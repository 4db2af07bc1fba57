// Classes of hypervectors, learnt from labelled samples.

import { checkArray, checkChoice, checkCount, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import { readContainer, writeContainer } from "./container.ts";
import { Hypervector } from "./hypervector.ts";
import { checkVectors, handleOf, Hypervectors } from "./hypervectors.ts";
import {
  checkLabels,
  checkRate,
  checkSaved,
  type Evaluation,
  FIRST_PASS,
  type FitOptions,
  LATER_PASS,
  type LearnOptions,
  RULES,
  type Samples,
  shuffle,
  SINGLE_PASS,
  train,
  visitsOf,
} from "./learning.ts";
import { checkDim, checkSeed, deviceOf, type HypervectorOptions } from "./options.ts";
import { filled } from "./ownership.ts";

const NOTHING_LEARNT = 2 ** 32 - 1;
const KIND = "CentroidClassifier";

const newHandle = new BigUint64Array(1);

function allocate(dim: number, classes: number): NativeHandle {
  check(native.centroids_create(dim, classes, newHandle, 1));
  return new NativeHandle(newHandle[0]!, "The classifier");
}

function nothingLearnt(): Error {
  return tritterError("invalid_value", "the classifier must have learnt something, got nothing");
}

/**
 * Classifies hypervectors by the most similar of one centroid for each class.
 *
 * A centroid is a sum of samples in f32, exact up to 2^24 and rounded from there on; similarity is the
 * cosine. Samples are hypervectors, or rows of counts (`NgramEncoder.counts`), which are scaled to the
 * length of a vector without zeros. Results are the same on every tier and with any number of threads.
 *
 * The rules are those of centroid classification as in torchhd, AdaptHD (Imani et al. 2019) and OnlineHD
 * (Hernandez-Cano et al. 2021). It owns native memory: declare it with `using`.
 *
 * @example
 * ```ts
 * import { CentroidClassifier, HypervectorBatch } from "tritter-accel";
 *
 * using samples = HypervectorBatch.random(4, 10_000, 1);
 * using classifier = new CentroidClassifier(10_000);
 * classifier.fit(samples, ["a", "a", "b", "b"]);
 * console.log(classifier.predict(samples.get(3))); // b
 * ```
 */
export class CentroidClassifier implements Disposable {
  /** Dimensions of the samples. */
  readonly dim: number;
  /** Where it computes. */
  readonly device: "cpu";

  /** The centroids; none before there is a class. */
  #handle: NativeHandle | undefined;
  /** Classes that there is room for. */
  #capacity = 0;
  #isDisposed = false;
  #classes: Map<string, number> = new Map();

  /**
   * Makes a classifier that knows no class.
   *
   * @example
   * ```ts
   * import { CentroidClassifier } from "tritter-accel";
   *
   * using classifier = new CentroidClassifier(10_000);
   * console.log(classifier.labels.length); // 0
   * ```
   */
  constructor(dim: number, options?: HypervectorOptions) {
    this.device = deviceOf(options);
    this.dim = checkDim(dim);
  }

  /** The classes, in the order in which they were first seen. */
  get labels(): readonly string[] {
    return [...this.#classes.keys()];
  }

  /** Memory of the centroids, in bytes; none before there is a class. */
  get memoryBytes(): number {
    return this.#capacity * Math.ceil(this.dim / 512) * 2048;
  }

  /**
   * Forgets everything and learns from samples, one label each.
   *
   * `"perceptron"` and `"online"` pass over the samples again, at most `epochs` times, in an order that
   * `seed` decides. Throws `invalid_length` where there are not as many labels as samples; then nothing
   * is forgotten.
   *
   * @example
   * ```ts
   * import { CentroidClassifier, HypervectorBatch } from "tritter-accel";
   *
   * using samples = HypervectorBatch.random(4, 1000, 1);
   * using classifier = new CentroidClassifier(1000);
   * classifier.fit(samples, ["a", "b", "a", "b"], { rule: "perceptron", epochs: 5 });
   * console.log(classifier.evaluate(samples, ["a", "b", "a", "b"]).accuracy); // 1
   * ```
   */
  fit(samples: Samples, labels: readonly string[], options?: FitOptions): this {
    const { rule, learningRate, epochs, seed, onEpoch } = checkOptions(options, "options");
    const name = checkChoice(rule, RULES, "rule", "centroid");
    const rate = checkRate(learningRate);
    const passes = checkCount(epochs ?? 10, "epochs");
    const order = checkSeed(seed ?? 0);
    if (onEpoch !== undefined && typeof onEpoch !== "function") {
      throw tritterError("invalid_type", `onEpoch must be a function, got ${describe(onEpoch)}`);
    }
    const rows = this.#checkSamples(samples);
    checkLabels(labels, rows);
    const classes = new Map<string, number>();
    for (const label of labels) if (!classes.has(label)) classes.set(label, classes.size);
    const capacity = Math.max(classes.size, 1);
    const handle = filled(allocate(this.dim, capacity), (handle) => {
      const visits = visitsOf(labels, classes);
      train(handle, samples, visits, FIRST_PASS[name], rate);
      for (let epoch = 0; name !== "centroid" && epoch < passes; epoch++) {
        const shuffled = shuffle(visits, BigInt.asUintN(64, order + BigInt(epoch)));
        const errors = train(handle, samples, shuffled, LATER_PASS[name], rate);
        onEpoch?.(epoch, errors);
        if (errors === 0) break;
      }
    });
    this.#replace(handle, capacity);
    this.#classes = classes;
    return this;
  }

  /**
   * Learns from further samples, in their order; labels not seen before become new classes.
   *
   * Returns how many were classified wrongly before they were learnt, 0 with the rule `"centroid"`,
   * which does not look.
   *
   * @example
   * ```ts
   * import { CentroidClassifier, Hypervector } from "tritter-accel";
   *
   * using classifier = new CentroidClassifier(1000);
   * using sample = Hypervector.random(1000, 1);
   * classifier.partialFit(sample, ["a"], { rule: "online" });
   * console.log(classifier.partialFit(sample, ["a"], { rule: "online" })); // 0
   * ```
   */
  partialFit(samples: Samples, labels: readonly string[], options?: LearnOptions): number {
    const { rule, learningRate } = checkOptions(options, "options");
    const name = checkChoice(rule, RULES, "rule", "centroid");
    const rate = checkRate(learningRate);
    checkLabels(labels, this.#checkSamples(samples));
    const classes = new Map(this.#classes);
    for (const label of labels) if (!classes.has(label)) classes.set(label, classes.size);
    if (classes.size > this.#capacity) {
      const capacity = Math.max(classes.size, 2 * this.#capacity);
      const old = this.#handle;
      this.#expectAlive();
      const grown = allocate(this.dim, capacity);
      this.#replace(
        filled(grown, () => old && check(native.centroids_copy(old.value, grown.value))),
        capacity,
      );
    }
    const errors = train(
      this.#centroids,
      samples,
      visitsOf(labels, classes),
      SINGLE_PASS[name],
      rate,
    );
    this.#classes = classes;
    return errors;
  }

  /**
   * Returns the cosines of each sample with the centroid of each class, row by row; 0 for a class that
   * has learnt nothing.
   *
   * `out`, of samples x classes elements, takes them instead of a new array.
   *
   * @example
   * ```ts
   * import { CentroidClassifier, Hypervector } from "tritter-accel";
   *
   * using sample = Hypervector.random(1000, 1);
   * using classifier = new CentroidClassifier(1000);
   * classifier.fit(sample, ["a"]);
   * console.log(classifier.scores(sample)[0]); // 1
   * ```
   */
  scores(
    samples: Samples,
    options?: { out?: Float64Array | undefined },
  ): Float64Array<ArrayBuffer> {
    const { out } = checkOptions(options, "options");
    const rows = this.#checkSamples(samples);
    const classes = this.#classes.size;
    const scores = out === undefined
      ? new Float64Array(rows * classes)
      : checkArray(out, Float64Array, "out", rows * classes);
    this.#expectAlive();
    if (scores.length > 0) this.#score(samples, scores);
    return scores as Float64Array<ArrayBuffer>;
  }

  #score(samples: Samples, scores: Float64Array): void {
    const handle = this.#centroids.value;
    const classes = this.#classes.size;
    check(
      samples instanceof Hypervectors
        ? native.centroids_scores(handle, handleOf(samples), classes, scores, scores.length)
        : native.centroids_scores_counts(
          handle,
          samples,
          samples.length,
          classes,
          scores,
          scores.length,
        ),
    );
  }

  /**
   * Returns the class of one vector, or a list of the classes of many samples.
   *
   * Where scores are equal the class that was seen first wins. Throws `invalid_value` where nothing has
   * been learnt.
   *
   * @example
   * ```ts
   * import { CentroidClassifier, HypervectorBatch } from "tritter-accel";
   *
   * using samples = HypervectorBatch.random(2, 1000, 1);
   * using classifier = new CentroidClassifier(1000);
   * classifier.fit(samples, ["a", "b"]);
   * console.log(classifier.predict(samples)); // a b
   * ```
   */
  predict(sample: Hypervector): string;
  /** Returns the classes of many samples. */
  predict(samples: Samples): string[];
  predict(samples: Samples): string | string[] {
    const labels = this.labels;
    const names = Array.from(this.#predictions(samples), (index) => labels[index]!);
    return samples instanceof Hypervector ? names[0]! : names;
  }

  #predictions(samples: Samples): Uint32Array {
    const scores = this.scores(samples);
    if (this.#classes.size === 0) throw nothingLearnt();
    const predictions = new Uint32Array(this.#checkSamples(samples));
    check(native.centroids_best(
      this.#centroids.value,
      scores,
      scores.length,
      predictions,
      predictions.length,
    ));
    if (predictions.includes(NOTHING_LEARNT)) throw nothingLearnt();
    return predictions;
  }

  /**
   * Classifies labelled samples and counts what is taken for what.
   *
   * Throws `invalid_value` for a label that is no class.
   *
   * @example
   * ```ts
   * import { CentroidClassifier, HypervectorBatch } from "tritter-accel";
   *
   * using samples = HypervectorBatch.random(2, 1000, 1);
   * using classifier = new CentroidClassifier(1000);
   * classifier.fit(samples, ["a", "b"]);
   * console.log(classifier.evaluate(samples, ["a", "a"]).confusion); // 1 1 0 0
   * ```
   */
  evaluate(samples: Samples, labels: readonly string[]): Evaluation {
    const rows = this.#checkSamples(samples);
    checkLabels(labels, rows);
    const names = this.labels;
    const expected = labels.map((label, index) => {
      const known = this.#classes.get(label);
      if (known !== undefined) return known;
      throw tritterError(
        "invalid_value",
        `labels[${index}] must be a class of the classifier, got ${describe(label)}`,
      );
    });
    const confusion = new Uint32Array(names.length ** 2);
    let right = 0;
    this.#predictions(samples).forEach((predicted, row) => {
      confusion[expected[row]! * names.length + predicted]! += 1;
      if (predicted === expected[row]) right += 1;
    });
    return { accuracy: right / rows, labels: names, confusion };
  }

  /**
   * Returns a copy of what a class has learnt: one number a dimension.
   *
   * @example
   * ```ts
   * import { CentroidClassifier, Hypervector } from "tritter-accel";
   *
   * using classifier = new CentroidClassifier(3);
   * classifier.fit(Hypervector.from(Int8Array.of(1, 0, -1)), ["a"]);
   * console.log(classifier.centroid("a")); // 1 0 -1
   * ```
   */
  centroid(label: string): Float32Array<ArrayBuffer> {
    const index = this.#classes.get(label);
    if (index === undefined) {
      throw tritterError(
        "invalid_value",
        `label must be a class of the classifier, got ${describe(label)}`,
      );
    }
    const values = new Float32Array(this.dim);
    check(native.centroids_read(this.#centroids.value, index, values, values.length));
    return values;
  }

  /**
   * Returns everything as bytes for `load`: the labels, and the centroids as f32.
   *
   * @example
   * ```ts
   * import { CentroidClassifier, Hypervector } from "tritter-accel";
   *
   * using sample = Hypervector.random(1000, 1);
   * using classifier = new CentroidClassifier(1000);
   * using copy = CentroidClassifier.load(classifier.fit(sample, ["a"]).save());
   * console.log(copy.predict(sample)); // a
   * ```
   */
  save(): Uint8Array<ArrayBuffer> {
    this.#expectAlive();
    const parts = this.labels.map((label) => new Uint8Array(this.centroid(label).buffer));
    return writeContainer(KIND, { dim: this.dim, labels: this.labels }, parts);
  }

  /**
   * Reads what `save` wrote; throws `invalid_format` for anything else.
   *
   * @example
   * ```ts
   * import { CentroidClassifier } from "tritter-accel";
   *
   * using empty = CentroidClassifier.load(new CentroidClassifier(100).save());
   * console.log(empty.dim); // 100
   * ```
   */
  static load(bytes: Uint8Array, options?: HypervectorOptions): CentroidClassifier {
    const { header, payload } = readContainer(bytes, KIND);
    const { dim, labels } = checkSaved(header, payload);
    return filled(new CentroidClassifier(dim, options), (classifier) => {
      // The length of the payload vouches for the dimensions only where there is a class.
      if (labels.length > 0) classifier.#replace(allocate(dim, labels.length), labels.length);
      classifier.#classes = new Map(labels.map((label, index) => [label, index]));
      labels.forEach((_, index) => classifier.#restore(index, payload));
    });
  }

  #restore(index: number, payload: Uint8Array): void {
    const size = 4 * this.dim;
    const values = new Float32Array(payload.slice(index * size, (index + 1) * size).buffer);
    const status = native.centroids_write(this.#centroids.value, index, values, values.length);
    try {
      check(status);
    } catch (error) {
      throw tritterError("invalid_format", (error as Error).message, { cause: error });
    }
  }

  #replace(handle: NativeHandle, capacity: number): void {
    // After disposal nothing is taken over.
    if (this.#isDisposed) handle.dispose();
    this.#expectAlive();
    this.#handle?.dispose();
    this.#handle = handle;
    this.#capacity = capacity;
  }

  #expectAlive(): void {
    if (this.#isDisposed) throw tritterError("disposed", "The classifier has been disposed");
  }

  /** The centroids, once there is a class. */
  get #centroids(): NativeHandle {
    this.#expectAlive();
    return this.#handle!;
  }

  /** Checks samples and returns how many they are. */
  #checkSamples(samples: Samples): number {
    if (samples instanceof Int32Array) {
      checkArray(samples, Int32Array, "samples");
      if (samples.length % this.dim === 0 && samples.length > 0) return samples.length / this.dim;
      throw tritterError(
        "invalid_length",
        `samples must have a positive multiple of ${this.dim} counts, got ${samples.length}`,
      );
    }
    if (!(samples instanceof Hypervectors)) {
      throw tritterError(
        "invalid_type",
        `samples must be hypervectors or an Int32Array of counts, got ${describe(samples)}`,
      );
    }
    return checkVectors(samples, "samples", this.dim).count;
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#handle?.[Symbol.dispose]();
  }
}
