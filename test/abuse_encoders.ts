// The same for encoders and classifiers of hypervectors.

import * as api from "../mod.ts";

const DIM = 100;
const LABELS = ["a", "b", "a", "b"];
const vector = () => api.Hypervector.random(DIM, 1);
const batch = (count = 4) => api.HypervectorBatch.random(count, DIM, 2);
const levels = () => new api.LevelEncoder(DIM, { levels: 5 });
const classifier = () => new api.CentroidClassifier(DIM).fit(batch(), LABELS);

type Calls = Record<string, () => unknown[]>;

/** Made with `new` by anybody, and the arguments for it. */
export const ENCODERS: Calls = {
  CategoricalEncoder: () => [DIM, ["a", "b"], { seed: 1, distribution: "ternary" }],
  CentroidClassifier: () => [DIM, { device: "cpu" }],
  CircularEncoder: () => [DIM, { period: 360, levels: 5, seed: 1n }],
  LevelEncoder: () => [DIM, { min: 0, max: 2, levels: 5, seed: 1, distribution: { zeros: 0.5 } }],
  NgramEncoder: () => [DIM, { n: 2, mode: "add", seed: 1, distribution: "ternary" }],
  ProjectionEncoder: () => [DIM, 3, { matrix: "bipolar", threshold: 1, seed: 1 }],
  ThermometerEncoder: () => [DIM, { min: 0, max: 2, levels: 5, device: "cpu" }],
};

export const VALID_ON_ENCODERS: Calls = {
  ...ENCODERS,
  "ValueEncoder#encode": () => [0.5, { out: vector() }],
  "ValueEncoder#encodeAll": () => [[0, 0.5], { out: batch(2) }],
  "ValueEncoder#decode": () => [vector()],
  "ProjectionEncoder#encode": () => [new Float32Array(3), { out: vector() }],
  "ProjectionEncoder#encodeAll": () => [new Float32Array(6), { out: batch(2) }],
  "NgramEncoder#encode": () => ["text", { tie: "random", seed: 1, out: vector() }],
  "NgramEncoder#encodeAll": () => [["a text", "b"], { threshold: 1, out: batch(2) }],
  "NgramEncoder#counts": () => [["a text", "b"], { out: new Int32Array(2 * DIM) }],
  "CentroidClassifier.load": () => [classifier().save()],
  "CentroidClassifier#fit": () => [batch(), LABELS, { rule: "online", epochs: 2, seed: 1 }],
  "CentroidClassifier#partialFit": () => [batch(), LABELS, { rule: "perceptron", learningRate: 2 }],
  "CentroidClassifier#scores": () => [batch(), { out: new Float64Array(8) }],
  "CentroidClassifier#predict": () => [new Int32Array(DIM).fill(1)],
  "CentroidClassifier#evaluate": () => [batch(), LABELS],
  "CentroidClassifier#centroid": () => ["a"],
};

/** One instance of every class; those of abstract ones are of another that has no more methods. */
export const ENCODER_INSTANCES: Record<string, () => unknown> = {
  CategoricalEncoder: () => new api.CategoricalEncoder(DIM, ["a", "b"]),
  CentroidClassifier: classifier,
  CircularEncoder: () => new api.CircularEncoder(DIM, { levels: 5 }),
  LevelEncoder: levels,
  NgramEncoder: () => new api.NgramEncoder(DIM),
  ProjectionEncoder: () => new api.ProjectionEncoder(DIM, 3),
  ScalarEncoder: levels,
  ThermometerEncoder: () => new api.ThermometerEncoder(DIM, { levels: 5 }),
  ValueEncoder: levels,
};
