// Encoder of lists of features.

import { checkArray, checkChoice, checkCount, checkFinite, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { native } from "../native/library.ts";
import { PackedTernary } from "../packing/packed_ternary.ts";
import { checkOut } from "./bundling.ts";
import { thresholdOf, type ThresholdOptions } from "./formats.ts";
import { Hypervector } from "./hypervector.ts";
import { HypervectorBatch } from "./hypervector_batch.ts";
import { handleOf, type Hypervectors, type OutOptions } from "./hypervectors.ts";
import { checkSeed, deviceOf, type HypervectorOptions } from "./options.ts";
import { settled } from "./ownership.ts";
import { ENCODER_DIM_MAX } from "./value_encoder.ts";

/** How features are projected. */
export interface ProjectionEncoderOptions extends HypervectorOptions, ThresholdOptions {
  /** What the matrix is drawn from: thirds of -1, 0 and 1, or -1 and 1. Default: `"ternary"`. */
  matrix?: "ternary" | "bipolar" | undefined;
  /** Decides the matrix. Default: 0. */
  seed?: number | bigint | undefined;
}

/**
 * Encodes lists of real features by a random ternary projection: trit i is the sign of row i of the
 * matrix times the features, or 0 where that is at most `threshold` in size.
 *
 * Lists in similar directions get similar vectors: without zeros, the share of trits that differ is
 * about their angle / pi. So features should be centred and scaled alike. Row i of the matrix is row i
 * of `HypervectorBatch.random(dim, features, seed)`; with fewer than about 8 features many rows are
 * the same, and a `LevelEncoder` for each feature serves better. Products are sums in float32 in a fixed
 * order, the same on every tier.
 *
 * It owns native memory, about dim x features / 4 bytes: declare it with `using` or call
 * `[Symbol.dispose]()`.
 *
 * @example
 * ```ts
 * import { ProjectionEncoder } from "tritter-accel";
 *
 * using encoder = new ProjectionEncoder(10_000, 20, { seed: 1 });
 * const a = Float32Array.from({ length: 20 }, (_, index) => Math.sin(index));
 * using x = encoder.encode(a);
 * using y = encoder.encode(a.map((value) => 3 * value + 0.01));
 * console.log(x.cosine(y) > 0.9); // true
 * ```
 */
export class ProjectionEncoder implements Disposable {
  /** Trits of each vector. */
  readonly dim: number;
  /** Numbers of a list. */
  readonly features: number;
  /** Products of at most this size become 0. */
  readonly threshold: number;
  /** Where it computes. */
  readonly device: "cpu";

  readonly #matrix: PackedTernary;
  /** Products of one list, used again. */
  #products: Float32Array;

  /**
   * Draws the matrix, of at most 2^24 rows.
   *
   * @example
   * ```ts
   * import { ProjectionEncoder } from "tritter-accel";
   *
   * using encoder = new ProjectionEncoder(1000, 784, { matrix: "bipolar", threshold: 2 });
   * console.log(encoder.features); // 784
   * ```
   */
  constructor(dim: number, features: number, options?: ProjectionEncoderOptions) {
    const checked = checkOptions(options, "options");
    this.device = deviceOf(checked);
    this.dim = checkCount(dim, "dim", { min: 1, max: ENCODER_DIM_MAX });
    this.features = checkCount(features, "features", { min: 1 });
    this.threshold = thresholdOf(checked);
    const distribution = checkChoice(
      checked.matrix,
      ["ternary", "bipolar"] as const,
      "matrix",
      "ternary",
    );
    const seed = checkSeed(checked.seed ?? 0);
    if (dim * features >= 2 ** 32) {
      throw tritterError(
        "invalid_shape",
        `the matrix must have fewer than 2^32 elements, got ${dim} x ${features}`,
      );
    }
    const { device } = this;
    using rows = HypervectorBatch.random(dim, features, seed, { distribution, device });
    const scales = new Float32Array(dim).fill(1);
    const shape = [dim, features] as const;
    this.#matrix = PackedTernary.fromTernary(rows.toInt8Array(), scales, shape, { device });
    this.#products = new Float32Array(dim);
  }

  /** Memory of the matrix, in bytes. */
  get memoryBytes(): number {
    return this.#matrix.memoryBytes;
  }

  /**
   * Returns the vector of one list of features; `out` takes it instead of a new one.
   *
   * NaN and infinities throw `invalid_value`.
   *
   * @example
   * ```ts
   * import { ProjectionEncoder } from "tritter-accel";
   *
   * using encoder = new ProjectionEncoder(1000, 3);
   * using vector = encoder.encode(Float32Array.of(0.1, -2, 0.7));
   * console.log(vector.dim); // 1000
   * ```
   */
  encode(features: Float32Array, options?: OutOptions<Hypervector>): Hypervector {
    const { out } = checkOptions(options, "options");
    checkArray(features, Float32Array, "features", this.features);
    checkFinite(features, "features");
    checkOut(out, this);
    const products = this.#matrix.matmul(features, { out: this.#products });
    return this.#sign(products, out, () => new Hypervector(this.dim, { device: this.device }));
  }

  /**
   * Returns the vectors of lists of features, one after the other in one array.
   *
   * @example
   * ```ts
   * import { ProjectionEncoder } from "tritter-accel";
   *
   * using encoder = new ProjectionEncoder(1000, 3);
   * console.log(encoder.encodeAll(Float32Array.of(1, 2, 3, -1, -2, -3)).count); // 2
   * ```
   */
  encodeAll(features: Float32Array, options?: OutOptions<HypervectorBatch>): HypervectorBatch {
    const { out } = checkOptions(options, "options");
    checkArray(features, Float32Array, "features");
    const count = features.length / this.features;
    if (count < 1 || !Number.isInteger(count)) {
      throw tritterError(
        "invalid_length",
        `features must have a positive multiple of ${this.features} elements, got ${features.length}`,
      );
    }
    checkFinite(features, "features");
    checkOut(out, this, count);
    const products = this.#matrix.matmul(features);
    const { dim, device } = this;
    return this.#sign(products, out, () => new HypervectorBatch(count, dim, { device }));
  }

  #sign<T extends Hypervectors>(products: Float32Array, out: T | undefined, make: () => T): T {
    const { threshold } = this;
    const target = out ?? make();
    const handle = handleOf(target);
    // Finite features may still add up to more than float32 holds, and infinities to NaN.
    const status = native.vectors_write_f32(handle, 0, products, products.length, threshold);
    return settled(status, target, out);
  }

  /** Frees the native memory; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#matrix[Symbol.dispose]();
  }
}
