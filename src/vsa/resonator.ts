// Factorisation of a bound product.
//
//   product s = a * b * c, one row of each codebook    find the rows
//
//   estimate of factor f <- sign(X' X (s * the other estimates))    X = codebook f, a row for each item
//
// A fixed point of these is, with overwhelming probability, the factorisation; until then each estimate
// is a superposition of the items that still fit.

import { checkCount, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { checkVector, Hypervector } from "./hypervector.ts";
import type { HypervectorBatch } from "./hypervector_batch.ts";
import { checkVectors } from "./hypervectors.ts";
import { checkSeed } from "./options.ts";
import { checkBatch } from "./superposition.ts";

/** How a resonator searches. */
export interface ResonatorOptions {
  /**
   * Rounds, each of which updates every factor once, before it begins again or gives up. Default: 200.
   */
  maxIterations?: number | undefined;
  /** Decides ties, an integer from 0, below 2^64. Default: 0. */
  seed?: number | bigint | undefined;
  /**
   * Times that it begins again, each with the seed after the last one, while the estimates have not
   * stopped changing. Default: 0.
   */
  restarts?: number | undefined;
}

/** What a resonator found. */
export interface Factorization {
  /** For each codebook the row that its estimate resembles most. */
  indices: Uint32Array<ArrayBuffer>;
  /** Cosine of the product with the binding of these rows: 1 where they are its factors. */
  similarity: number;
  /** Rounds that it took, with those of all beginnings. */
  iterations: number;
  /** Whether the estimates stopped changing, or the rows bind to the product exactly. */
  converged: boolean;
}

/** The state of one factor. */
interface Factor {
  readonly codebook: HypervectorBatch;
  /** What the factor may be: a superposition of items. */
  readonly estimate: Hypervector;
  readonly scores: Float64Array;
  readonly weights: Float32Array;
  index: number;
}

/**
 * Finds which row of each codebook a product was bound from, without trying all combinations.
 *
 * The product is bound with mode `"multiply"`, the only one under which a bound superposition is the
 * superposition of what is bound, and the codebooks are bipolar; noise in the product is tolerated.
 * How well it does depends on the number of combinations, M^3 for three codebooks of M rows. Measured
 * with 60 to 400 random products each:
 *
 * | dim    | M   | combinations / dim^2 | found in 200 rounds | median rounds | 9 of 10 within |
 * | ------ | --- | -------------------- | ------------------- | ------------- | -------------- |
 * | 10,000 | 100 | 0.01                 | 100 %               | 6             | 28             |
 * | 10,000 | 150 | 0.03                 | 100 %               | 13            | 69             |
 * | 10,000 | 215 | 0.1                  | 93 %                | 46            | 198            |
 * | 1000   | 46  | 0.1                  | 99 %                | 13            | 66             |
 * | 1000   | 60  | 0.2                  | 93 %                | 29            | 169            |
 * | 1000   | 100 | 1                    | 43 %                | 200           | 200            |
 *
 * One that is not found shows in `converged`; up to 0.2, `restarts: 3` found all of those, and at 1 it
 * raised 43 % to 85 %. Source: Frady, Kent, Olshausen, Sommer 2020, "Resonator Networks, 1".
 *
 * @example
 * ```ts
 * import { HypervectorBatch, Resonator } from "tritter-accel";
 *
 * const codebook = (seed: number) =>
 *   HypervectorBatch.random(20, 10_000, seed, { distribution: "bipolar" });
 * const [shapes, colours, places] = [codebook(1), codebook(2), codebook(3)] as const;
 * using scene = shapes.get(4).bind(colours.get(15), { mode: "multiply" });
 * scene.bind(places.get(9), { mode: "multiply", out: scene });
 * const resonator = new Resonator([shapes, colours, places]);
 * console.log(resonator.factorize(scene).indices); // Uint32Array(3) [ 4, 15, 9 ]
 * ```
 */
export class Resonator {
  /** Trits of a vector. */
  readonly dim: number;
  /** The rows to choose the factors from, one batch for each factor; they stay the caller's. */
  readonly codebooks: readonly HypervectorBatch[];
  /** Rounds before it begins again or gives up. */
  readonly maxIterations: number;
  /** Times that it begins again. */
  readonly restarts: number;

  readonly #seed: bigint;

  /**
   * Takes two codebooks or more, of the same dimensions.
   *
   * Throws `invalid_value` for codebooks that hold zeros.
   *
   * @example
   * ```ts
   * import { HypervectorBatch, Resonator } from "tritter-accel";
   *
   * const items = HypervectorBatch.random(9, 1000, 1, { distribution: "bipolar" });
   * const resonator = new Resonator([items, items.permute(1)], { maxIterations: 50 });
   * console.log(resonator.codebooks.length); // 2
   * ```
   */
  constructor(codebooks: readonly HypervectorBatch[], options?: ResonatorOptions) {
    const { maxIterations = 200, seed = 0, restarts = 0 } = checkOptions(options, "options");
    this.maxIterations = checkCount(maxIterations, "maxIterations", { min: 1 });
    this.restarts = checkCount(restarts, "restarts");
    this.#seed = checkSeed(seed);
    this.codebooks = Object.freeze(checkCodebooks(codebooks));
    this.dim = codebooks[0]!.dim;
  }

  /**
   * Returns the rows whose binding is the product, or came nearest, in either sign, in any round.
   *
   * Where a product has no such rows, or there are too many to choose from, `converged` is false or
   * `similarity` far from 1.
   *
   * @example
   * ```ts
   * import { HypervectorBatch, Resonator } from "tritter-accel";
   *
   * const a = HypervectorBatch.random(9, 1000, 1, { distribution: "bipolar" });
   * const b = HypervectorBatch.random(9, 1000, 2, { distribution: "bipolar" });
   * using product = a.get(3).bind(b.get(8), { mode: "multiply" });
   * const { indices, similarity, converged } = new Resonator([a, b]).factorize(product);
   * console.log(indices.join(" "), similarity, converged); // 3 8 1 true
   * ```
   */
  factorize(product: Hypervector): Factorization {
    checkVector(product, "product", this.dim);
    let best = this.#attempt(product, this.#seed);
    let { iterations } = best;
    for (let again = 1; again <= this.restarts && !best.converged; again++) {
      const next = this.#attempt(product, BigInt.asUintN(64, this.#seed + BigInt(again)));
      iterations += next.iterations;
      const isBetter = Math.abs(next.similarity) > Math.abs(best.similarity);
      if (next.converged || isBetter) best = next;
    }
    return { ...best, iterations };
  }

  /** One beginning, in which a seed decides the ties. */
  #attempt(product: Hypervector, seed: bigint): Factorization {
    const factors: Factor[] = [];
    try {
      for (const codebook of this.codebooks) {
        factors.push({
          codebook,
          // At first each factor may be any of its items.
          estimate: codebook.bundle({ tie: "random", seed }),
          scores: new Float64Array(codebook.count),
          weights: new Float32Array(codebook.count),
          index: 0,
        });
      }
      return this.#resonate(product, factors, seed);
    } finally {
      for (const { estimate } of factors) estimate[Symbol.dispose]();
    }
  }

  #resonate(product: Hypervector, factors: readonly Factor[], seed: bigint): Factorization {
    using rest = product.copy();
    let indices = new Uint32Array(factors.length);
    let best = 0;
    for (let iterations = 1;; iterations++) {
      let changed = false;
      for (const factor of factors) {
        const others = factors.filter((other) => other !== factor).map(({ estimate }) => estimate);
        Hypervector.bindMany([product, ...others], { mode: "multiply", out: rest });
        if (update(factor, rest, seed)) changed = true;
      }
      const similarity = similarityOf(product, factors, rest);
      if (Math.abs(similarity) >= Math.abs(best)) {
        best = similarity;
        indices = Uint32Array.from(factors, ({ index }) => index);
      }
      const converged = !changed || similarity === 1;
      if (converged || iterations === this.maxIterations) {
        return { indices, similarity: best, iterations, converged };
      }
    }
  }
}

/** Moves the estimate of a factor towards the items like `target`; returns whether it changed. */
function update(factor: Factor, target: Hypervector, seed: bigint): boolean {
  const { codebook, estimate, scores, weights } = factor;
  codebook.similarity(target, { metric: "dot", out: scores });
  weights.set(scores);
  factor.index = largest(scores);
  // `target` has served: it takes the next estimate, and the estimate the old one's place.
  codebook.bundle({ weights, tie: "random", seed, out: target });
  if (target.equals(estimate)) return false;
  target.copy({ out: estimate });
  return true;
}

/** The cosine of the product with the binding of the rows that the estimates resemble most. */
function similarityOf(
  product: Hypervector,
  factors: readonly Factor[],
  scratch: Hypervector,
): number {
  using row = product.copy();
  for (const [number, { codebook, index }] of factors.entries()) {
    codebook.get(index, { out: number === 0 ? scratch : row });
    if (number > 0) scratch.bind(row, { mode: "multiply", out: scratch });
  }
  return product.cosine(scratch);
}

/** The index of the score of largest size: two estimates of the opposite sign fit the product as well. */
function largest(scores: Float64Array): number {
  let best = 0;
  for (let index = 1; index < scores.length; index++) {
    if (Math.abs(scores[index]!) > Math.abs(scores[best]!)) best = index;
  }
  return best;
}

function checkCodebooks(codebooks: readonly HypervectorBatch[]): HypervectorBatch[] {
  if (!Array.isArray(codebooks)) {
    throw tritterError("invalid_type", `codebooks must be an array, got ${describe(codebooks)}`);
  }
  if (codebooks.length < 2) {
    throw tritterError(
      "invalid_value",
      `codebooks must be at least two batches, got ${codebooks.length}`,
    );
  }
  return codebooks.map((codebook, index) => {
    const name = `codebooks[${index}]`;
    checkVectors(checkBatch(codebook, name), name, codebooks[0].dim);
    const { zero } = codebook.counts();
    if (zero === 0) return codebook;
    throw tritterError("invalid_value", `${name} must hold no zeros, got ${zero}`);
  });
}
