// The gradient compression of tritter-accel: random projections, as functions and as a class.

import { checkArray, checkCount, checkNumber, checkOptions, describe } from "../checks.ts";
import { type Device, resolveDevice } from "../device.ts";
import { tritterError } from "../errors.ts";
import { packTernaryWeights, unpackTernaryWeights } from "../packing/bytes.ts";
import { ternarize } from "../quantization/weights.ts";
import { checkSeed } from "../vsa/options.ts";
import { COUNT_MAX } from "./container.ts";
import {
  checkMethod,
  checkShare,
  keptOf,
  project,
  type ProjectionMethod,
  unproject,
} from "./projection.ts";
import { checkAllFinite, measure } from "./stats.ts";

/** Options of `GradientCompressor`. */
export interface TrainingConfig {
  /** Share of the numbers that is kept, above 0 and at most 1. Default: 0.1. */
  defaultCompressionRatio?: number | undefined;
  /** What the projection is drawn from, an integer from 0, below 2^64. Default: 42. */
  seed?: number | bigint | undefined;
  /** Longest that gradients may be, as Euclidean norm; longer ones are shortened. Default: none. */
  gradientClipping?: number | undefined;
  /**
   * `"hadamard"` (default) takes n log n additions; `"dense"` draws the n x k entries of a matrix of
   * -1, 0 and 1 as the Rust crate does, for at most 2^30 of them.
   */
  method?: ProjectionMethod | undefined;
  /** Device that computes. Default: the default device. */
  device?: Device | undefined;
}

/** Gradients after a random projection. */
export interface CompressedGradient {
  /** The numbers that are kept. */
  data: Float32Array<ArrayBuffer>;
  /** How many gradients there were. */
  originalDim: number;
  /** What the projection was drawn from. */
  seed: number | bigint;
  /** Share that was asked for. */
  ratio: number;
}

/** Gradients after a random projection, as trits. */
export interface TernaryCompressedGradient {
  /** The trits, four a byte, in the wire format of `packTernaryWeights`. */
  data: Uint8Array<ArrayBuffer>;
  /** What the trits are multiplied by. */
  scale: number;
  /** How many gradients there were. */
  originalDim: number;
  /** How many trits there are. */
  compressedDim: number;
  /** What the projection was drawn from. */
  seed: number | bigint;
  /** How many times smaller than f32: 32 n / (2 k + 32), the trits and their scale. */
  compressionRatio: number;
}

const bytesOf = (samples: Float32Array) =>
  new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);

function checkGradients(gradients: Float32Array): void {
  checkArray(gradients, Float32Array, "gradients");
  if (gradients.length > 0) return;
  throw tritterError("invalid_length", "gradients must have at least one element, got none");
}

function checkObject(value: unknown, name: string): void {
  if (typeof value === "object" && value !== null) return;
  throw tritterError("invalid_type", `${name} must be an object, got ${describe(value)}`);
}

/** Checks samples and the number of gradients that they are to become. */
function checkSamples(samples: Float32Array, dim: unknown, name: string): number {
  checkArray(samples, Float32Array, name);
  const count = checkCount(dim, "originalDim", { min: 1, max: COUNT_MAX });
  if (samples.length >= 1 && samples.length <= count) return count;
  throw tritterError(
    "invalid_length",
    `${name} must have from 1 to ${count} elements, got ${samples.length}`,
  );
}

/**
 * Projects gradients to fewer numbers: k = max(ceil(n x ratio), 1) of them.
 *
 * A linear sketch: those of several workers with the same seed can be added, which is an all-reduce
 * of k numbers instead of n. What `decompressGradientsVsa` makes of it is unbiased, the mean over
 * many seeds is the gradients; but of one sketch the cosine to the gradients is only about
 * sqrt(ratio), 0.32 at 0.1, whatever the gradients are, and no linear projection can do better. For
 * gradients that come back nearly as they were use `createCodec("rotated")` or its kin. Computed as a
 * subsampled randomised Hadamard transform. Throws `invalid_value` for a ratio outside (0, 1] and,
 * naming the index, for gradients that are NaN or infinite.
 *
 * @example
 * ```ts
 * import { compressGradientsVsa, decompressGradientsVsa } from "tritter-accel";
 *
 * const gradients = Float32Array.from({ length: 10_000 }, (_, index) => Math.sin(index));
 * const { compressed, seed } = compressGradientsVsa(gradients, 0.1, 7);
 * console.log(compressed.length); // 1000
 * console.log(decompressGradientsVsa(compressed, gradients.length, seed).length); // 10000
 * ```
 */
export function compressGradientsVsa(
  gradients: Float32Array,
  compressionRatio: number,
  seed: number,
): { compressed: Float32Array<ArrayBuffer>; seed: number } {
  checkGradients(gradients);
  const share = checkShare(compressionRatio, "compressionRatio");
  const compressed = new Float32Array(keptOf(gradients.length, share));
  project(gradients, 0, checkSeed(seed), 1, bytesOf(compressed));
  return { compressed, seed };
}

/**
 * Returns gradients of which the mean over many seeds is what `compressGradientsVsa` was given.
 *
 * They are sqrt(n / k) times as long as the gradients, mostly noise; see there. The seed must be the
 * one that they were compressed with: there is no way to notice another. Throws `invalid_length`
 * unless there are from 1 to `originalDim` numbers.
 *
 * @example
 * ```ts
 * import { compressGradientsVsa, decompressGradientsVsa } from "tritter-accel";
 *
 * const gradients = Float32Array.of(1, -2, 3, -4);
 * const { compressed, seed } = compressGradientsVsa(gradients, 1, 7);
 * console.log(decompressGradientsVsa(compressed, 4, seed)); // about 1 -2 3 -4: nothing was left out
 * ```
 */
export function decompressGradientsVsa(
  compressed: Float32Array,
  originalDim: number,
  seed: number,
): Float32Array<ArrayBuffer> {
  const count = checkSamples(compressed, originalDim, "compressed");
  const drawn = checkSeed(seed);
  checkAllFinite(compressed, "compressed");
  const gradients = new Float32Array(count);
  unproject(bytesOf(compressed), 0, drawn, 0, gradients);
  return gradients;
}

/**
 * Random projections of gradients with a seed, a ratio and a clipping of their own.
 *
 * What `compressGradientsVsa` says about the quality holds here: a cosine of about sqrt(ratio).
 *
 * @example
 * ```ts
 * import { GradientCompressor } from "tritter-accel";
 *
 * const compressor = new GradientCompressor({ defaultCompressionRatio: 0.25, gradientClipping: 1 });
 * const compressed = compressor.compress(new Float32Array(1000).fill(0.5));
 * console.log(compressed.data.length); // 250
 * console.log(compressor.decompress(compressed).length); // 1000
 * ```
 */
export class GradientCompressor {
  /** Share of the numbers that is kept where a call names none. */
  readonly defaultCompressionRatio: number;
  /** What the projection is drawn from. */
  readonly seed: number | bigint;
  /** Longest that gradients may be; undefined where they are not clipped. */
  readonly gradientClipping: number | undefined;
  /** How the projection is computed. */
  readonly method: ProjectionMethod;
  /** Where it computes. */
  readonly device: "cpu";

  readonly #seed: bigint;
  readonly #dense: number;

  /**
   * Takes the options; throws `invalid_value` for a ratio outside (0, 1] or a clipping that is not
   * above 0.
   *
   * @example
   * ```ts
   * import { GradientCompressor } from "tritter-accel";
   *
   * console.log(new GradientCompressor().defaultCompressionRatio); // 0.1
   * ```
   */
  constructor(config?: TrainingConfig) {
    const {
      defaultCompressionRatio = 0.1,
      seed = 42,
      gradientClipping,
      method = "hadamard",
      device,
    } = checkOptions(config, "config");
    this.defaultCompressionRatio = checkShare(defaultCompressionRatio, "defaultCompressionRatio");
    this.#seed = checkSeed(seed);
    this.seed = seed;
    if (gradientClipping !== undefined) {
      checkNumber(gradientClipping, "gradientClipping", { min: Number.MIN_VALUE });
    }
    this.gradientClipping = gradientClipping;
    this.#dense = checkMethod(method, 1, 1);
    this.method = method;
    this.device = resolveDevice(device);
  }

  /** How many times the gradients are to be taken, so that they are not too long. */
  #clip(gradients: Float32Array): number {
    if (this.gradientClipping === undefined) return 1;
    const norm = Math.sqrt(measure(gradients, gradients).a);
    return norm > this.gradientClipping ? this.gradientClipping / norm : 1;
  }

  /**
   * Projects gradients to max(ceil(n x ratio), 1) numbers, after clipping them.
   *
   * Throws `invalid_value` for a ratio outside (0, 1] and, naming the index, for gradients that are
   * NaN or infinite.
   *
   * @example
   * ```ts
   * import { GradientCompressor } from "tritter-accel";
   *
   * const compressed = new GradientCompressor().compress(new Float32Array(64).fill(1), 0.5);
   * console.log(compressed.data.length, compressed.originalDim); // 32 64
   * ```
   */
  compress(gradients: Float32Array, ratio?: number): CompressedGradient {
    checkGradients(gradients);
    const share = ratio === undefined ? this.defaultCompressionRatio : checkShare(ratio, "ratio");
    const kept = keptOf(gradients.length, share);
    checkMethod(this.method, gradients.length, kept);
    const data = new Float32Array(kept);
    project(gradients, this.#dense, this.#seed, this.#clip(gradients), bytesOf(data));
    return { data, originalDim: gradients.length, seed: this.seed, ratio: share };
  }

  /**
   * Returns unbiased gradients for what `compress` made with the same seed and method.
   *
   * Throws `invalid_value` where the seed is another one.
   *
   * @example
   * ```ts
   * import { GradientCompressor } from "tritter-accel";
   *
   * const compressor = new GradientCompressor();
   * const compressed = compressor.compress(new Float32Array(1000).fill(1));
   * console.log(compressor.decompress(compressed).length); // 1000
   * ```
   */
  decompress(compressed: CompressedGradient): Float32Array<ArrayBuffer> {
    checkObject(compressed, "compressed");
    return this.#restore(compressed.data, compressed.originalDim, compressed.seed);
  }

  /**
   * Projects gradients and keeps a trit of each number: 16 times smaller once more.
   *
   * A number counts as its sign where it is at least half the mean magnitude. The cosine to the
   * gradients is about 0.89 sqrt(ratio).
   *
   * @example
   * ```ts
   * import { GradientCompressor } from "tritter-accel";
   *
   * const gradients = Float32Array.from({ length: 1000 }, (_, index) => Math.sin(index));
   * const { compressionRatio } = new GradientCompressor().compressTernary(gradients);
   * console.log(compressionRatio.toFixed(1)); // 137.9
   * ```
   */
  compressTernary(gradients: Float32Array, ratio?: number): TernaryCompressedGradient {
    const { data: samples, originalDim, seed } = this.compress(gradients, ratio);
    const shape = [1, samples.length] as const;
    const { ternary, scales } = ternarize(samples, shape, { scale: "leastSquares" });
    return {
      data: packTernaryWeights(ternary, scales, shape).packed,
      scale: scales[0]!,
      originalDim,
      compressedDim: samples.length,
      seed,
      compressionRatio: 32 * originalDim / (2 * samples.length + 32),
    };
  }

  /**
   * Returns gradients for what `compressTernary` made with the same seed and method.
   *
   * Throws `invalid_value` where the seed is another one or a code is no trit.
   *
   * @example
   * ```ts
   * import { GradientCompressor } from "tritter-accel";
   *
   * const compressor = new GradientCompressor();
   * const compressed = compressor.compressTernary(new Float32Array(1000).fill(1));
   * console.log(compressor.decompressTernary(compressed).length); // 1000
   * ```
   */
  decompressTernary(compressed: TernaryCompressedGradient): Float32Array<ArrayBuffer> {
    checkObject(compressed, "compressed");
    const { data, scale, originalDim, compressedDim, seed } = compressed;
    const count = checkCount(originalDim, "originalDim", { min: 1, max: COUNT_MAX });
    const kept = checkCount(compressedDim, "compressedDim", { min: 1, max: count });
    checkArray(data, Uint8Array, "data", Math.ceil(kept / 4));
    checkNumber(scale, "scale");
    const samples = unpackTernaryWeights(data, Float32Array.of(scale), [1, kept]);
    return this.#restore(samples, count, seed);
  }

  #restore(samples: Float32Array, dim: number, seed: number | bigint): Float32Array<ArrayBuffer> {
    const count = checkSamples(samples, dim, "data");
    if (checkSeed(seed) !== this.#seed) {
      throw tritterError(
        "invalid_value",
        `seed must be that of the compressor, ${this.seed}, got ${seed}`,
      );
    }
    checkMethod(this.method, count, samples.length);
    checkAllFinite(samples, "data");
    const gradients = new Float32Array(count);
    unproject(bytesOf(samples), this.#dense, this.#seed, 0, gradients);
    return gradients;
  }
}
