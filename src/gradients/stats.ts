// How good a compression was, and how small.

import { checkArray, checkCount } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";

/** What a compression did to gradients. */
export interface CompressionStats {
  /** Everything that was sent. */
  bytes: number;
  /** Bits for each gradient. */
  bitsPerParameter: number;
  /** How many times smaller than f32. */
  ratio: number;
  /** Of the angle between the gradients and what came back; 0 where one of them is all zeros. */
  cosine: number;
  /** |gradients - restored| / |gradients|; 0 where nothing was lost. */
  relativeError: number;
  /** |restored| / |gradients|. */
  gain: number;
}

const sums = new Float64Array(4);

/** The sums of a b, a^2, b^2 and (a - b)^2 of lists of one length. */
export function measure(
  a: Float32Array,
  b: Float32Array,
): { dot: number; a: number; b: number; difference: number } {
  check(native.gradients_measure(a, a.length, b, b.length, sums, sums.length));
  return { dot: sums[0]!, a: sums[1]!, b: sums[2]!, difference: sums[3]! };
}

/** Throws `invalid_value` naming the first value that is not finite; natively, as far as possible. */
export function checkAllFinite(values: Float32Array, name: string): void {
  if (Number.isFinite(measure(values, values).a)) return;
  const index = values.findIndex((value) => !Number.isFinite(value));
  throw tritterError("invalid_value", `${name}[${index}] must be finite, got ${values[index]}`);
}

/**
 * Returns how close gradients came back and how many bytes they took.
 *
 * `compressed` is what was sent, or its number of bytes. The sums are taken in f64, in one order
 * whatever the number of threads.
 *
 * @example
 * ```ts
 * import { compressionStats, createCodec } from "tritter-accel";
 *
 * const gradients = Float32Array.from({ length: 10_000 }, (_, index) => Math.sin(index * index));
 * const codec = createCodec("rotated", { bits: 2 });
 * const bytes = codec.compress(gradients);
 * const { cosine, ratio } = compressionStats(gradients, codec.decompress(bytes), bytes);
 * console.log(cosine > 0.93, ratio > 15); // true true
 * ```
 */
export function compressionStats(
  original: Float32Array,
  restored: Float32Array,
  compressed: Uint8Array | number,
): CompressionStats {
  checkArray(original, Float32Array, "original");
  checkArray(restored, Float32Array, "restored", original.length);
  const bytes = typeof compressed === "number"
    ? checkCount(compressed, "compressed", { max: Number.MAX_SAFE_INTEGER })
    : checkArray(compressed, Uint8Array, "compressed").length;
  const { dot, a, b, difference } = measure(original, restored);
  return {
    bytes,
    bitsPerParameter: 8 * bytes / original.length,
    ratio: 4 * original.length / bytes,
    cosine: a === 0 || b === 0 ? 0 : dot / Math.sqrt(a) / Math.sqrt(b),
    relativeError: difference === 0 ? 0 : Math.sqrt(difference) / Math.sqrt(a),
    gain: b === 0 ? 0 : Math.sqrt(b) / Math.sqrt(a),
  };
}
