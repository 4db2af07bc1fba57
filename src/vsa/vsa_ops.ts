// The operations on hypervectors as methods of one object that has chosen a device.

import { checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { type DevicePreference, resolvePreference } from "./device_preference.ts";
import type { BundleOptions } from "./bundling.ts";
import { Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { checkVectors, type Hypervectors } from "./hypervectors.ts";
import type { BindOptions, Distribution, OutOptions, SimilarityMetric } from "./options.ts";
import type { Permutation } from "./permutation.ts";

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
  readonly device: "cpu";

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
    this.device = resolvePreference(checkOptions(config, "config").device);
  }

  /** Makes one vector of random trits, the same for the same seed on every machine. */
  random(
    dim: number,
    seed: number | bigint,
    options?: { distribution?: Distribution | undefined },
  ): Hypervector {
    const { distribution } = checkOptions(options, "options");
    return Hypervector.random(dim, seed, { distribution, device: this.device });
  }

  /** Makes `count` vectors of random trits; the first is `random` of the same seed. */
  randomBatch(
    count: number,
    dim: number,
    seed: number | bigint,
    options?: { distribution?: Distribution | undefined },
  ): HypervectorBatch {
    const { distribution } = checkOptions(options, "options");
    return HypervectorBatch.random(count, dim, seed, { distribution, device: this.device });
  }

  /** Makes a vector from bytes of -1, 0 and 1; any other value throws `invalid_value`. */
  fromInt8(trits: Int8Array): Hypervector {
    return Hypervector.from(trits, { device: this.device });
  }

  /** Returns the trits, row by row, as bytes of -1, 0 and 1. */
  toInt8(
    vectors: Hypervectors,
    options?: { out?: Int8Array | undefined },
  ): Int8Array<ArrayBuffer> {
    return checkVectors(vectors, "vectors").toInt8Array(options);
  }

  /** Binds vectors, row by row; a single `b` serves every row of `a`. */
  bind<V extends Hypervectors>(a: V, b: Hypervectors, options?: BindOptions<V>): V {
    return checkVectors(a, "a").bind(b, options);
  }

  /** Undoes `bind` with the same key and mode. */
  unbind<V extends Hypervectors>(bound: V, key: Hypervectors, options?: BindOptions<V>): V {
    return checkVectors(bound, "bound").unbind(key, options);
  }

  /** Returns the vector that binding with undoes binding with this one. */
  inverse<V extends Hypervectors>(a: V, options?: BindOptions<V>): V {
    return checkVectors(a, "a").inverse(options);
  }

  /** Changes the sign of every trit. */
  negate<V extends Hypervectors>(a: V, options?: OutOptions<V>): V {
    return checkVectors(a, "a").negate(options);
  }

  /** Bundles vectors: the sign of their sum. */
  bundle(
    vectors: readonly Hypervector[] | HypervectorBatch,
    options?: BundleOptions<Hypervector>,
  ): Hypervector {
    return vectors instanceof HypervectorBatch
      ? vectors.bundle(options)
      : Hypervector.bundle(vectors, options);
  }

  /** Moves trits: result[(i + shift) mod dim] = source[i], or as a permutation says. */
  permute<V extends Hypervectors>(a: V, shift: number | Permutation, options?: OutOptions<V>): V {
    return checkVectors(a, "a").permute(shift, options);
  }

  /** Undoes `permute`. */
  unpermute<V extends Hypervectors>(a: V, shift: number | Permutation, options?: OutOptions<V>): V {
    return checkVectors(a, "a").unpermute(shift, options);
  }

  /** Returns the similarity of two vectors by `metric`, `"cosine"` unless told. */
  similarity(
    a: Hypervector,
    b: Hypervector,
    options?: { metric?: SimilarityMetric | undefined },
  ): number;
  /** Returns the similarity of each row of `a` to the same row of `b`, or to a single `b`. */
  similarity(
    a: HypervectorBatch,
    b: Hypervectors,
    options?: { metric?: SimilarityMetric | undefined; out?: Float64Array | undefined },
  ): Float64Array<ArrayBuffer>;
  similarity(
    a: Hypervectors,
    b: Hypervectors,
    options?: { metric?: SimilarityMetric | undefined; out?: Float64Array | undefined },
  ): number | Float64Array<ArrayBuffer> {
    if (a instanceof HypervectorBatch) return a.similarity(b, options);
    return checkSingle(a, "a").similarity(checkSingle(b, "b"), options);
  }

  /** Returns the cosine of the angle between two vectors; 0 where one has only zeros. */
  cosineSimilarity(a: Hypervector, b: Hypervector): number {
    return checkSingle(a, "a").cosine(checkSingle(b, "b"));
  }

  /** Returns the sum of the products of the trits. */
  dot(a: Hypervector, b: Hypervector): number {
    return checkSingle(a, "a").dot(checkSingle(b, "b"));
  }

  /** Returns the number of trits that differ. */
  hammingDistance(a: Hypervector, b: Hypervector): number {
    return checkSingle(a, "a").hamming(checkSingle(b, "b"));
  }
}

/** Checks that a value is one hypervector, not a batch. */
function checkSingle(value: Hypervectors, name: string): Hypervector {
  checkVectors(value, name);
  if (value instanceof Hypervector) return value;
  throw tritterError("invalid_type", `${name} must be a Hypervector, got a batch`);
}
