// What a classifier learns from, and how.

import { checkNumber, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native, type NativeHandle } from "../native/library.ts";
import { checkPayload, type ContainerHeader, headerCount } from "./container.ts";
import { handleOf, Hypervectors } from "./hypervectors.ts";
import { DIM_MAX } from "./options.ts";

/**
 * How a classifier learns from a sample.
 *
 * | rule           | what a sample changes                                                            |
 * | -------------- | -------------------------------------------------------------------------------- |
 * | `"centroid"`   | it is added to its class                                                         |
 * | `"perceptron"` | taken for another class, it is added to its own and taken off the other (AdaptHD) |
 * | `"online"`     | the same, weighted by 1 - the similarity to that class (OnlineHD)                 |
 *
 * With `"online"` the first pass adds every sample to its class, whatever it was taken for.
 */
export type LearningRule = "centroid" | "perceptron" | "online";

/** How a sample is learnt. */
export interface LearnOptions {
  /** What a sample changes. Default: `"centroid"`. */
  rule?: LearningRule | undefined;
  /** Weight of every change, from 0 to 2^20. Default: 1. */
  learningRate?: number | undefined;
}

/** How a set of samples is learnt. */
export interface FitOptions extends LearnOptions {
  /** Passes that correct errors, after the first one; fewer where a pass finds none. Default: 10. */
  epochs?: number | undefined;
  /** Decides the order of the samples in these passes. Default: 0. */
  seed?: number | bigint | undefined;
  /** Is told after each of these passes how many samples were classified wrongly in it. */
  onEpoch?: ((epoch: number, errors: number) => void) | undefined;
}

/** How well samples are classified. */
export interface Evaluation {
  /** Share of samples that are classified as labelled, from 0 to 1. */
  accuracy: number;
  /** The classes, in the order of rows and columns of `confusion`. */
  labels: readonly string[];
  /** Numbers of samples: row = the label, column = the prediction. */
  confusion: Uint32Array<ArrayBuffer>;
}

/** What can be learnt and classified: vectors, or rows of `dim` counts as encoders sum them up. */
export type Samples = Hypervectors | Int32Array;

/** The names of the rules. */
export const RULES = ["centroid", "perceptron", "online"] as const;
/** The first of several passes, in the library's numbers: errors are not looked at yet. */
export const FIRST_PASS = { centroid: 0, perceptron: 0, online: 3 } as const;
/** The passes after it learn from errors only. */
export const LATER_PASS = { centroid: 0, perceptron: 1, online: 2 } as const;
/** The only pass over further samples. */
export const SINGLE_PASS = { centroid: 0, perceptron: 1, online: 3 } as const;
const RATE_MAX = 2 ** 20;

const oneCount = new Uint32Array(1);

/** Checks a learning rate. */
export function checkRate(rate: number | undefined): number {
  return checkNumber(rate ?? 1, "learningRate", { min: 0, max: RATE_MAX });
}

/** Checks that there is a label for each sample. */
export function checkLabels(labels: readonly string[], rows: number): void {
  if (!Array.isArray(labels)) {
    throw tritterError("invalid_type", `labels must be a list of strings, got ${describe(labels)}`);
  }
  if (labels.length !== rows) {
    throw tritterError(
      "invalid_length",
      `labels must be as many as the samples, ${rows}, got ${labels.length}`,
    );
  }
  const index = labels.findIndex((label) => typeof label !== "string");
  if (index >= 0) {
    throw tritterError(
      "invalid_type",
      `labels[${index}] must be a string, got ${describe(labels[index])}`,
    );
  }
}

/** Pairs of a row and its class. */
export function visitsOf(labels: readonly string[], classes: Map<string, number>): Uint32Array {
  const visits = new Uint32Array(2 * labels.length);
  labels.forEach((label, row) => visits.set([row, classes.get(label)!], 2 * row));
  return visits;
}

/** The same pairs in a random order. */
export function shuffle(visits: Uint32Array, seed: bigint): Uint32Array {
  const places = new Uint32Array(visits.length / 2);
  check(native.permutation_random(seed, places, places.length));
  const shuffled = new Uint32Array(visits.length);
  places.forEach((place, row) => {
    shuffled[2 * place] = visits[2 * row]!;
    shuffled[2 * place + 1] = visits[2 * row + 1]!;
  });
  return shuffled;
}

/** Learns, and returns how many samples were classified wrongly before. */
export function train(
  handle: NativeHandle,
  samples: Samples,
  visits: Uint32Array,
  rule: number,
  rate: number,
): number {
  const [value, length] = [handle.value, visits.length];
  check(
    samples instanceof Hypervectors
      ? native.centroids_train(value, handleOf(samples), visits, length, rule, rate, oneCount, 1)
      : native.centroids_train_counts(
        value,
        samples,
        samples.length,
        visits,
        length,
        rule,
        rate,
        oneCount,
        1,
      ),
  );
  return oneCount[0]!;
}

/** Checks what a classifier was saved as, and returns its dimensions and labels. */
export function checkSaved(
  header: ContainerHeader,
  payload: Uint8Array,
): { dim: number; labels: string[] } {
  const dim = headerCount(header, "dim", { min: 1, max: DIM_MAX });
  const { labels } = header;
  if (!Array.isArray(labels) || labels.some((label) => typeof label !== "string")) {
    throw tritterError(
      "invalid_format",
      `labels must be a list of strings, got ${describe(labels)}`,
    );
  }
  if (new Set(labels).size !== labels.length) {
    throw tritterError("invalid_format", "labels must name every class once, got one twice");
  }
  checkPayload(payload, 4 * dim * labels.length);
  return { dim, labels };
}
