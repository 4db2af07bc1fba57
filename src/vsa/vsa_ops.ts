// The operations on hypervectors as methods of one object that has chosen a device.

import { checkOptions } from "../checks.ts";
import type { Place } from "../device.ts";
import { type DevicePreference, preferredPlace } from "./device_preference.ts";
import type { BundleOptions } from "./bundling.ts";
import { checkVector, Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { checkVectors, type Hypervectors } from "./hypervectors.ts";
import type {
  BindOptions,
  Distribution,
  OutOptions,
  SimilarityMetric,
  ThinOptions,
} from "./options.ts";
import type { Permutation } from "./permutation.ts";
import type { ConcatOptions } from "./rows.ts";
import type { SimilarityOptions, TopK, TopKOptions } from "./search.ts";
import { checkBatch } from "./superposition.ts";

/** What `VsaOps` computes on. */
export interface VsaConfig {
  /** Device of new vectors. Default: the default device. */
  device?: DevicePreference | undefined;
}

/**
 * The operations of vector symbolic architectures on one device.
 *
 * Each is the method of the same name on `Hypervector` and `HypervectorBatch`, which document what
 * they compute, take and throw. A device that is not there throws `device_unavailable`.
 *
 * @example
 * ```ts
 * import { VsaOps } from "tritter-accel";
 *
 * const ops = new VsaOps({ device: "auto" });
 * using apple = ops.random(10_000, 42);
 * using red = ops.random(10_000, 43);
 * using redApple = ops.bind(apple, red);
 * using query = ops.unbind(redApple, apple);
 * console.log(ops.cosineSimilarity(query, red)); // 1
 * ```
 */
export class VsaOps {
  /** Where new vectors are. */
  readonly device: Place;

  /**
   * Chooses the device.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * console.log(new VsaOps({ device: "cpu" }).device); // cpu
   * ```
   */
  constructor(config?: VsaConfig) {
    this.device = preferredPlace(checkOptions(config, "config").device);
  }

  /**
   * Makes one vector of random trits, the same for the same seed on every machine.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using apple = ops.random(10_000, 42, { distribution: "bipolar" });
   * console.log(apple.sparsity); // 0
   * ```
   */
  random(
    dim: number,
    seed: number | bigint,
    options?: { distribution?: Distribution | undefined },
  ): Hypervector {
    const { distribution } = checkOptions(options, "options");
    return Hypervector.random(dim, seed, { distribution, device: this.device });
  }

  /**
   * Makes `count` vectors of random trits; the first is `random` of the same seed.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using words = ops.randomBatch(100, 10_000, 1);
   * console.log(words.count); // 100
   * ```
   */
  randomBatch(
    count: number,
    dim: number,
    seed: number | bigint,
    options?: { distribution?: Distribution | undefined },
  ): HypervectorBatch {
    const { distribution } = checkOptions(options, "options");
    return HypervectorBatch.random(count, dim, seed, { distribution, device: this.device });
  }

  /**
   * Makes a vector from bytes, or floats, of -1, 0 and 1; any other value throws `invalid_value`.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using a = ops.fromInt8(Int8Array.of(1, 0, -1));
   * console.log(a.dim); // 3
   * ```
   */
  fromInt8(trits: Int8Array | Float32Array): Hypervector {
    return Hypervector.from(trits, { device: this.device });
  }

  /**
   * Returns the trits, row by row, as bytes of -1, 0 and 1.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * console.log(ops.toInt8(ops.fromInt8(Int8Array.of(1, 0, -1)))); // 1 0 -1
   * ```
   */
  toInt8(
    vectors: Hypervectors,
    options?: { out?: Int8Array | undefined },
  ): Int8Array<ArrayBuffer> {
    return checkVectors(vectors, "vectors").toInt8Array(options);
  }

  /**
   * Binds vectors, row by row; a single `b` serves every row of `a`.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using bound = ops.bind(ops.random(1000, 1), ops.random(1000, 2), { mode: "multiply" });
   * console.log(bound.dim); // 1000
   * ```
   */
  bind<V extends Hypervectors>(a: V, b: Hypervectors, options?: BindOptions<V>): V {
    return checkVectors(a, "a").bind(b, options);
  }

  /**
   * Undoes `bind` with the same key and mode.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * const [a, key] = [ops.random(1000, 1), ops.random(1000, 2)] as const;
   * console.log(ops.unbind(ops.bind(a, key), key).equals(a)); // true
   * ```
   */
  unbind<V extends Hypervectors>(bound: V, key: Hypervectors, options?: BindOptions<V>): V {
    return checkVectors(bound, "bound").unbind(key, options);
  }

  /**
   * Returns the vector that binding with undoes binding with this one.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * const [a, key] = [ops.random(1000, 1), ops.random(1000, 2)] as const;
   * console.log(ops.bind(ops.bind(a, key), ops.inverse(key)).equals(a)); // true
   * ```
   */
  inverse<V extends Hypervectors>(a: V, options?: BindOptions<V>): V {
    return checkVectors(a, "a").inverse(options);
  }

  /**
   * Changes the sign of every trit.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using a = ops.random(1000, 1);
   * console.log(ops.cosineSimilarity(a, ops.negate(a))); // -1
   * ```
   */
  negate<V extends Hypervectors>(a: V, options?: OutOptions<V>): V {
    return checkVectors(a, "a").negate(options);
  }

  /**
   * Bundles vectors: the sign of their sum.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using words = ops.randomBatch(3, 10_000, 1);
   * using all = ops.bundle(words);
   * console.log(ops.similarity(words, all).every((cosine) => cosine > 0.4)); // true
   * ```
   */
  bundle(
    vectors: readonly Hypervector[] | HypervectorBatch,
    options?: BundleOptions<Hypervector>,
  ): Hypervector {
    return vectors instanceof HypervectorBatch
      ? vectors.bundle(options)
      : Hypervector.bundle(vectors, options);
  }

  /**
   * Binds vectors, or the rows of a batch, from the left: the first with the second, and so on.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * const [a, b] = [ops.random(1000, 1), ops.random(1000, 2)] as const;
   * console.log(ops.bindMany([a, b]).equals(ops.bind(a, b))); // true
   * ```
   */
  bindMany(
    vectors: readonly Hypervector[] | HypervectorBatch,
    options?: BindOptions<Hypervector>,
  ): Hypervector {
    return vectors instanceof HypervectorBatch
      ? vectors.bindMany(options)
      : Hypervector.bindMany(vectors, options);
  }

  /**
   * Keeps each nonzero trit with probability `keep` and makes the others 0.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using a = ops.random(100_000, 1, { distribution: "bipolar" });
   * console.log(ops.thin(a, { keep: 0.1 }).sparsity.toFixed(1)); // 0.9
   * ```
   */
  thin<V extends Hypervectors>(a: V, options: ThinOptions<V>): V {
    return checkVectors(a, "a").thin(options);
  }

  /**
   * Returns the trits from place `start` on up to `end`, which is not included, of each vector.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using a = ops.fromInt8(Int8Array.of(1, 0, -1, -1));
   * console.log(ops.toInt8(ops.slice(a, 1, 3))); // 0 -1
   * ```
   */
  slice<V extends Hypervectors>(a: V, start: number, end?: number, options?: OutOptions<V>): V {
    return checkVectors(a, "a").slice(start, end, options);
  }

  /**
   * Puts vectors one after the other into a longer one.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using a = ops.random(1000, 1);
   * console.log(ops.concat([a, a]).dim); // 2000
   * ```
   */
  concat(vectors: readonly Hypervector[]): Hypervector {
    return Hypervector.concat(vectors, { device: this.device });
  }

  /**
   * Puts batches together, by rows or by dimensions: `HypervectorBatch.concat`.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using words = ops.randomBatch(3, 1000, 1);
   * console.log(ops.concatBatches([words, words]).count); // 6
   * ```
   */
  concatBatches(
    vectors: readonly Hypervectors[],
    options?: { axis?: ConcatOptions["axis"] },
  ): HypervectorBatch {
    const { axis } = checkOptions(options, "options");
    return HypervectorBatch.concat(vectors, { axis, device: this.device });
  }

  /**
   * Moves trits: result[(i + shift) mod dim] = source[i], or as a permutation says.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using a = ops.fromInt8(Int8Array.of(1, 0, -1));
   * console.log(ops.toInt8(ops.permute(a, 1))); // -1 1 0
   * ```
   */
  permute<V extends Hypervectors>(a: V, shift: number | Permutation, options?: OutOptions<V>): V {
    return checkVectors(a, "a").permute(shift, options);
  }

  /**
   * Undoes `permute`.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using a = ops.random(1000, 1);
   * console.log(ops.unpermute(ops.permute(a, 7), 7).equals(a)); // true
   * ```
   */
  unpermute<V extends Hypervectors>(a: V, shift: number | Permutation, options?: OutOptions<V>): V {
    return checkVectors(a, "a").unpermute(shift, options);
  }

  /**
   * Returns the similarity of two vectors by `metric`, `"cosine"` unless told.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * const [a, b] = [ops.random(1000, 1), ops.random(1000, 2)] as const;
   * console.log(ops.similarity(a, b, { metric: "overlap" }) > 0); // true
   * ```
   */
  similarity(
    a: Hypervector,
    b: Hypervector,
    options?: { metric?: SimilarityMetric | undefined },
  ): number;
  /** Returns the similarity of each row of `a` to the same row of `b`, or to a single `b`. */
  similarity(
    a: HypervectorBatch,
    b: Hypervectors,
    options?: SimilarityOptions,
  ): Float64Array<ArrayBuffer>;
  similarity(
    a: Hypervectors,
    b: Hypervectors,
    options?: SimilarityOptions,
  ): number | Float64Array<ArrayBuffer> {
    return a instanceof HypervectorBatch
      ? a.similarity(b, options)
      : checkVector(a, "a").similarity(checkVector(b, "b", a.dim), options);
  }

  /**
   * Returns the similarity of every row of `rows` to every row of `other`, row by row.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using words = ops.randomBatch(2, 1000, 1);
   * console.log(ops.similarityMatrix(words, words)[3]); // 1
   * ```
   */
  similarityMatrix(
    rows: HypervectorBatch,
    other: Hypervectors,
    options?: SimilarityOptions,
  ): Float64Array<ArrayBuffer> {
    return checkBatch(rows, "rows").similarityMatrix(other, options);
  }

  /**
   * Returns the `k` rows that are most similar to each query, best first.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using words = ops.randomBatch(9, 1000, 1);
   * console.log(ops.topK(words, words.get(7), 1).indices); // 7
   * ```
   */
  topK(rows: HypervectorBatch, queries: Hypervectors, k: number, options?: TopKOptions): TopK {
    return checkBatch(rows, "rows").topK(queries, k, options);
  }

  /**
   * Returns the cosine of the angle between two vectors; 0 where one has only zeros.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * const [a, b] = [Int8Array.of(1, 0, -1, 1), Int8Array.of(1, -1, -1, 0)] as const;
   * console.log(ops.cosineSimilarity(ops.fromInt8(a), ops.fromInt8(b)).toFixed(3)); // 0.667
   * ```
   */
  cosineSimilarity(a: Hypervector, b: Hypervector): number {
    return checkVector(a, "a").cosine(checkVector(b, "b", a.dim));
  }

  /**
   * Returns the sum of the products of the trits.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using a = ops.random(1000, 1, { distribution: "bipolar" });
   * console.log(ops.dot(a, a)); // 1000
   * ```
   */
  dot(a: Hypervector, b: Hypervector): number {
    return checkVector(a, "a").dot(checkVector(b, "b", a.dim));
  }

  /**
   * Returns the number of trits that differ.
   *
   * @example
   * ```ts
   * import { VsaOps } from "tritter-accel";
   *
   * const ops = new VsaOps();
   * using a = ops.random(1000, 1);
   * console.log(ops.hammingDistance(a, a)); // 0
   * ```
   */
  hammingDistance(a: Hypervector, b: Hypervector): number {
    return checkVector(a, "a").hamming(checkVector(b, "b", a.dim));
  }
}
