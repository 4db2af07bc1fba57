// The gradient compression of tritter-accel: random projections, as functions and as a class.

import { checkArray, checkCount, checkNumber, checkOptions, describe } from "../checks.ts";
import { type Device, type Place, placeOf } from "../device.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { packTernaryWeights, unpackTernaryWeights } from "../packing/bytes.ts";
import { ternarize } from "../quantization/weights.ts";
import type { Tensor } from "../tensor.ts";
import { checkSeed } from "../vsa/options.ts";
import { COUNT_MAX } from "./container.ts";
import type { Values } from "./kind.ts";
import {
  checkMethod,
  checkShare,
  keptOf,
  project,
  type ProjectionMethod,
  refuseDense,
  unproject,
} from "./projection.ts";
import { checkAllFinite } from "./stats.ts";
import {
  type DecompressOptions,
  type DecompressTensorOptions,
  restore,
  withValues,
} from "./values.ts";

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
  /**
   * Device that computes on arrays; tensors are projected where they are. Default: the default
   * device. `"dense"` is for the CPU alone.
   */
  device?: Device | undefined;
}

/** Where `compressGradientsVsa` computes. */
export interface CompressGradientsOptions {
  /** Device that computes on arrays; tensors are projected where they are. Default: the default device. */
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

type Restored = Float32Array<ArrayBuffer> | Tensor<"f32">;

const oneSum = new Float64Array(1);

const bytesOf = (samples: Float32Array) =>
  new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);

/** The Euclidean norm, with the same bits on every device. */
function normOf(gradients: Values): number {
  if (gradients instanceof Float32Array) {
    check(native.floats_sum_squares(gradients, gradients.length, oneSum, 1));
  } else {
    check(native.cuda_floats_sum_squares_all(BigUint64Array.of(gradients.handle), 1, oneSum, 1));
  }
  return Math.sqrt(oneSum[0]!);
}

function checkObject(value: unknown, name: string): void {
  if (typeof value === "object" && value !== null) return;
  throw tritterError("invalid_type", `${name} must be an object, got ${describe(value)}`);
}

/** The bytes of samples, which are read while `out` is written: copies where it may be their memory. */
function apartFrom(out: Values, samples: Float32Array): Uint8Array {
  const shared = out instanceof Float32Array && out.buffer === samples.buffer;
  return bytesOf(shared ? samples.slice() : samples);
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
 * A tensor on a CUDA device stays there and only what is kept comes back, the same numbers that the
 * CPU makes; arrays travel to the device of the options first.
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
  gradients: Float32Array | Tensor,
  compressionRatio: number,
  seed: number,
  options?: CompressGradientsOptions,
): { compressed: Float32Array<ArrayBuffer>; seed: number } {
  const place = placeOf(checkOptions(options, "options").device);
  const share = checkShare(compressionRatio, "compressionRatio");
  const drawn = checkSeed(seed);
  const compressed = withValues(gradients, place, (values) => {
    const samples = new Float32Array(keptOf(values.length, share));
    project(values, 0, drawn, 1, bytesOf(samples));
    return samples;
  });
  return { compressed, seed };
}

/**
 * Returns gradients of which the mean over many seeds is what `compressGradientsVsa` was given.
 *
 * They are sqrt(n / k) times as long as the gradients, mostly noise; see there. The seed must be the
 * one that they were compressed with: there is no way to notice another. Throws `invalid_length`
 * unless there are from 1 to `originalDim` numbers. With a tensor as `out`, or a `device`, they come
 * back as a tensor that is there.
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
  options?: DecompressOptions,
): Float32Array<ArrayBuffer>;
/** Returns them as a tensor. */
export function decompressGradientsVsa(
  compressed: Float32Array,
  originalDim: number,
  seed: number,
  options: DecompressTensorOptions,
): Tensor<"f32">;
export function decompressGradientsVsa(
  compressed: Float32Array,
  originalDim: number,
  seed: number,
  options?: DecompressOptions | DecompressTensorOptions,
): Restored {
  const count = checkSamples(compressed, originalDim, "compressed");
  const drawn = checkSeed(seed);
  checkAllFinite(compressed, "compressed");
  const write = (out: Values) => unproject(apartFrom(out, compressed), 0, drawn, 0, out);
  return restore({ count, write }, options, placeOf());
}

/**
 * Random projections of gradients with a seed, a ratio and a clipping of their own.
 *
 * What `compressGradientsVsa` says about the quality and about tensors holds here: a cosine of about
 * sqrt(ratio), and results of the CPU to the last bit wherever they are computed.
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
  /** Where it computes on arrays; tensors are where they are. */
  readonly device: Place;

  readonly #seed: bigint;
  readonly #dense: number;

  /**
   * Takes the options; throws `invalid_value` for a ratio outside (0, 1] or a clipping that is not
   * above 0, `unsupported` for `"dense"` on a CUDA device.
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
    this.device = placeOf(device);
    if (this.#dense === 1 && this.device !== "cpu") refuseDense();
  }

  /** How many times the gradients are to be taken, so that they are not too long. */
  #clip(gradients: Values): number {
    if (this.gradientClipping === undefined) return 1;
    const norm = normOf(gradients);
    return norm > this.gradientClipping ? this.gradientClipping / norm : 1;
  }

  /**
   * Projects gradients to max(ceil(n x ratio), 1) numbers, after clipping them.
   *
   * Throws `invalid_value` for a ratio outside (0, 1] and, naming the index, for gradients that are
   * NaN or infinite. A tensor on a CUDA device stays there and only what is kept comes back, the same
   * numbers that the CPU makes.
   *
   * @example
   * ```ts
   * import { GradientCompressor } from "tritter-accel";
   *
   * const compressed = new GradientCompressor().compress(new Float32Array(64).fill(1), 0.5);
   * console.log(compressed.data.length, compressed.originalDim); // 32 64
   * ```
   */
  compress(gradients: Float32Array | Tensor, ratio?: number): CompressedGradient {
    const share = ratio === undefined ? this.defaultCompressionRatio : checkShare(ratio, "ratio");
    return withValues(gradients, this.device, (values) => {
      const kept = keptOf(values.length, share);
      checkMethod(this.method, values.length, kept);
      const data = new Float32Array(kept);
      project(values, this.#dense, this.#seed, this.#clip(values), bytesOf(data));
      return { data, originalDim: values.length, seed: this.seed, ratio: share };
    });
  }

  /**
   * Returns unbiased gradients for what `compress` made with the same seed and method.
   *
   * Throws `invalid_value` where the seed is another one. With a tensor as `out`, or a `device`, they
   * come back as a tensor that is there.
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
  decompress(
    compressed: CompressedGradient,
    options?: DecompressOptions,
  ): Float32Array<ArrayBuffer>;
  /** Returns them as a tensor. */
  decompress(compressed: CompressedGradient, options: DecompressTensorOptions): Tensor<"f32">;
  decompress(
    compressed: CompressedGradient,
    options?: DecompressOptions | DecompressTensorOptions,
  ): Restored {
    checkObject(compressed, "compressed");
    return this.#restore(compressed.data, compressed.originalDim, compressed.seed, options);
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
  compressTernary(gradients: Float32Array | Tensor, ratio?: number): TernaryCompressedGradient {
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
   * Throws `invalid_value` where the seed is another one or a code is no trit; options as for
   * `decompress`.
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
  decompressTernary(
    compressed: TernaryCompressedGradient,
    options?: DecompressOptions,
  ): Float32Array<ArrayBuffer>;
  /** Returns them as a tensor. */
  decompressTernary(
    compressed: TernaryCompressedGradient,
    options: DecompressTensorOptions,
  ): Tensor<"f32">;
  decompressTernary(
    compressed: TernaryCompressedGradient,
    options?: DecompressOptions | DecompressTensorOptions,
  ): Restored {
    checkObject(compressed, "compressed");
    const { data, scale, originalDim, compressedDim, seed } = compressed;
    const count = checkCount(originalDim, "originalDim", { min: 1, max: COUNT_MAX });
    const kept = checkCount(compressedDim, "compressedDim", { min: 1, max: count });
    checkArray(data, Uint8Array, "data", Math.ceil(kept / 4));
    checkNumber(scale, "scale");
    const samples = unpackTernaryWeights(data, Float32Array.of(scale), [1, kept]);
    return this.#restore(samples, count, seed, options);
  }

  #restore(
    samples: Float32Array,
    dim: number,
    seed: number | bigint,
    options: DecompressOptions | DecompressTensorOptions | undefined,
  ): Restored {
    const count = checkSamples(samples, dim, "data");
    if (checkSeed(seed) !== this.#seed) {
      throw tritterError(
        "invalid_value",
        `seed must be that of the compressor, ${this.seed}, got ${seed}`,
      );
    }
    checkMethod(this.method, count, samples.length);
    checkAllFinite(samples, "data");
    const write = (out: Values) =>
      unproject(apartFrom(out, samples), this.#dense, this.#seed, 0, out);
    return restore({ count, write }, options, this.device);
  }
}
